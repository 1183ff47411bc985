/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One run: what is read, in which order and under which locks, and how what was planned becomes
 * durable. Writes the account files and the ledger; all else of this program only reads.
 */
#include "provision/provision.h"

#include "build_config.h"
#include "common/atomicfile.h"
#include "common/cleanup.h"
#include "provision/planner.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/*
 * Looking.
 */

static void say(const struct provision *v, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void say(const struct provision *v, const char *format, ...)
{
    char text[512];
    va_list ap;

    if (!v->progress)
        return;
    va_start(ap, format);
    (void)vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    v->progress(text, v->userdata);
}

static enum uidpool_status keep_leftovers(struct provision *v, struct problem *p)
{
    const struct leftover *leftovers = NULL;
    size_t n = account_lock_leftovers(v->lock, &leftovers);

    if (n == 0)
        return UIDPOOL_OK;
    v->leftovers = reallocarray(NULL, n, sizeof(*leftovers));
    if (!v->leftovers)
        return problem_errno(p, -ENOMEM, "cannot list what was left beside the account files");
    memcpy(v->leftovers, leftovers, n * sizeof(*leftovers));
    v->n_leftovers = n;
    return UIDPOOL_OK;
}

static enum uidpool_status lock_files(struct provision *v, bool exclusive, struct problem *p)
{
    enum uidpool_status status =
        exclusive ? account_lock_take(v->timeout, v->progress, v->userdata, &v->lock, p)
                  : account_lock_share(v->timeout, v->progress, v->userdata, &v->lock, p);

    return status == UIDPOOL_OK ? keep_leftovers(v, p) : status;
}

static void release(struct provision *v)
{
    account_lock_free(v->lock);
    v->lock = NULL;
}

static enum uidpool_status open_to_write(struct provision *v, struct problem *p)
{
    int from = 0, to = 0;
    enum uidpool_status status = ledger_upgrade(UIDPOOL_LEDGER_PATH, &from, &to, p);

    if (status == UIDPOOL_OK && from != to)
        say(v, "the ledger %s had schema %d, now it has %d", UIDPOOL_LEDGER_PATH, from, to);
    if (status == UIDPOOL_OK)
        status = ledger_open(UIDPOOL_LEDGER_PATH, LEDGER_WRITE, &v->ledger, p);
    return status;
}

/* A missing ledger is not made yet: whoever only finds conflicts leaves nothing behind. */
static enum uidpool_status read_ledger(struct provision *v, bool exclusive, struct problem *p)
{
    struct problem why = {0};
    enum uidpool_status status =
        exclusive ? open_to_write(v, &why)
                  : ledger_open(UIDPOOL_LEDGER_PATH, LEDGER_READ, &v->ledger, &why);

    if (status != UIDPOOL_OK && status != UIDPOOL_NOT_FOUND)
        return problem_set(p, status, "%s", why.text);
    return state_read(v->ledger, &v->state, p);
}

static enum uidpool_status read_files_and_ledger(struct provision *v, bool to_write,
                                                 struct problem *p)
{
    enum uidpool_status status = files_read(&v->files, p);

    return status == UIDPOOL_OK ? read_ledger(v, to_write, p) : status;
}

static enum uidpool_status read_all(struct provision *v, bool exclusive, struct problem *p)
{
    enum uidpool_status status = settings_read(v->config, &v->settings, p);

    if (status == UIDPOOL_OK)
        status = lock_files(v, exclusive, p);
    return status == UIDPOOL_OK ? read_files_and_ledger(v, exclusive, p) : status;
}

static enum uidpool_status make_choices(struct provision *v, struct problem *p)
{
    v->world.unseen = &v->findings;
    v->world.memory = &v->memory;
    return choose(&v->settings, &v->state, &v->files, &v->world, v->thorough, &v->choices,
                  &v->findings, p);
}

static enum uidpool_status make_plan(struct provision *v, struct problem *p)
{
    enum uidpool_status status = make_choices(v, p);
    int r;

    /* Who forgot to link a profile would see nothing at all. */
    if (v->settings.n == 0)
        say(v, "the configuration has no section [pool NAME]; see uidpool.conf(5)");
    if (status == UIDPOOL_OK && v->ask)
        status = v->ask(v, p);
    if (status != UIDPOOL_OK)
        return status;
    r = roster_make(&v->choices, &v->state, v->request, &v->roster);
    if (r == 0)
        r = plan_make(&v->choices, &v->state, &v->files, &v->roster, v->request, &v->plan,
                      &v->findings);
    if (r == 0 && v->findings.no_memory)
        r = -ENOMEM;
    return r < 0 ? problem_errno(p, r, "cannot plan") : UIDPOOL_OK;
}

static void forget(struct provision *v)
{
    plan_clear(&v->plan);
    roster_clear(&v->roster);
    choices_clear(&v->choices);
    findings_clear(&v->findings);
    state_clear(&v->state);
    files_clear(&v->files);
    settings_clear(&v->settings);
    ledger_close(take_ptr(v->ledger));
    release(v);
    free(take_ptr(v->leftovers));
    v->n_leftovers = 0;
}

/* While we hold the locks others wait, and give up after 15 seconds (lckpwdf(3)); to ask name
 * services for all ids of a pool may take longer. So they are asked before, and the memory of it
 * serves under the locks, where all else is read again. What cannot be read now is for then. */
static enum uidpool_status ask_ahead(struct provision *v, struct problem *p)
{
    enum uidpool_status status = UIDPOOL_OK;
    struct problem ignored;

    if (world_may_take_long(&v->world) &&
        settings_read(v->config, &v->settings, &ignored) == UIDPOOL_OK &&
        read_files_and_ledger(v, false, &ignored) == UIDPOOL_OK)
        status = make_choices(v, p);
    forget(v);
    return status;
}

enum uidpool_status provision_look(struct provision *v, bool exclusive, struct problem *p)
{
    enum uidpool_status status = UIDPOOL_OK;

    forget(v);
    if (exclusive)
        status = ask_ahead(v, p);
    if (status == UIDPOOL_OK)
        status = read_all(v, exclusive, p);
    /* What follows may take long, since name services are asked, and all has been read. */
    if (!exclusive)
        release(v);
    if (status == UIDPOOL_OK)
        status = make_plan(v, p);
    if (status != UIDPOOL_OK)
        release(v);
    return status;
}

void provision_clear(struct provision *v)
{
    forget(v);
    memory_clear(&v->memory);
}

/*
 * Carrying out.
 *
 *   1. Every temporary is written and synced beside its target, those of the backups too.
 *   2. The ledger is told what is begun: the intent, one transaction.
 *   3. The backups get their names, and the temporaries are renamed over their targets.
 *   4. The ledger is told what is finished, one transaction.
 *
 * The intent is durable before the first file changes, so whatever stands in the files of a cut-off
 * run, the ledger knows whose it is and with which numbers to carry on. The files are prepared
 * before that, because a full disk, a read-only /etc or an immutable passwd show there, and then
 * not even the ledger has changed. The price is a temporary that a run leaves when it is killed
 * between the two, or when the ledger refuses: the former is removed by the next run, the latter by
 * this one.
 */

struct carrying {
    struct provision *v;
    struct allocator allocator;
    struct atomicfile *files;
    struct draft_text texts[ACCOUNT_FILES]; /* what `files` is to write, until it has */
};

static void carrying_done(struct carrying *c)
{
    atomicfile_free(c->files);
    for (size_t i = 0; i < ACCOUNT_FILES; i++)
        free(c->texts[i].kept);
}

static enum uidpool_status add_file(struct carrying *c, enum account_file file, struct problem *p)
{
    const struct draft *draft = &c->v->plan.drafts[file];
    enum uidpool_status status = UIDPOOL_OK;
    struct draft_text *text = &c->texts[file];
    int r;

    if (draft_is_empty(draft))
        return UIDPOOL_OK;
    if (!c->files)
        status = atomicfile_new(FILES_DIRECTORY, &c->files, p);
    if (status != UIDPOOL_OK)
        return status;
    r = draft_compose(draft, &c->v->files.tables[file].lines, text);
    if (r < 0)
        return problem_errno(p, r, "cannot write %s", account_file_path(file));
    return atomicfile_add(c->files, account_file_name(file), text->pieces,
                          ELEMENTS_OF(text->pieces), true, p);
}

/* In the order of the enum, in which they are renamed later. None: only the ledger changes. */
static enum uidpool_status prepare_files(struct carrying *c, struct problem *p)
{
    enum uidpool_status status = UIDPOOL_OK;

    for (enum account_file file = 0; file < ACCOUNT_FILES && status == UIDPOOL_OK; file++)
        status = add_file(c, file, p);
    return status == UIDPOOL_OK && c->files ? atomicfile_prepare(c->files, p) : status;
}

static enum uidpool_status begin_pool(struct ledger *l, const struct uidpool_pool *pool,
                                      struct problem *p)
{
    struct uidpool_pool begun = *pool;

    /* Nobody may lease from it before its accounts are there. */
    begun.retired = begun.provisioning = true;
    return ledger_pool_insert(l, &begun, p);
}

/* By its name: a pool that was begun in this run has its id from the ledger. */
static enum uidpool_status finish_pool(struct ledger *l, const char *name, struct problem *p)
{
    struct uidpool_pool pool;
    enum uidpool_status status = ledger_pool_by_name(l, name, &pool, p);

    return status == UIDPOOL_OK ? ledger_pool_finish(l, pool.id, p) : status;
}

static enum uidpool_status begin_account(struct allocator *a, const struct ledger_account *account,
                                         struct problem *p)
{
    struct uidpool_reservation r = {.uid = account->uid, .count = 1};
    struct ledger_account begun = *account, have;
    enum uidpool_status status;

    memcpy(r.name, account->name, sizeof(account->name));
    memcpy(r.pool, account->pool, sizeof(account->pool));
    status = allocator_reserve_within(a, &r, p);
    if (status != UIDPOOL_OK)
        return status;
    status = ledger_account_by_name(a->ledger, account->name, &have, p);
    /* It was removed once, and keeps what it had. */
    if (status == UIDPOOL_OK)
        return ledger_account_set_state(a->ledger, account->name, LEDGER_ACCOUNT_ADDING, p);
    if (status != UIDPOOL_NOT_FOUND)
        return status;
    begun.pool_id = r.pool_id;
    return ledger_account_insert(a->ledger, &begun, p);
}

static enum uidpool_status take_step(struct allocator *a, const struct ledger_step *step,
                                     struct problem *p)
{
    switch (step->kind) {
    case STEP_POOL_BEGIN:
        return begin_pool(a->ledger, &step->pool, p);
    case STEP_POOL_CHANGE:
        return ledger_pool_update(a->ledger, &step->pool, p);
    case STEP_POOL_FINISH:
        return finish_pool(a->ledger, step->pool.name, p);
    case STEP_ACCOUNT_BEGIN:
        return begin_account(a, &step->account, p);
    case STEP_ACCOUNT_REMOVE:
    case STEP_ACCOUNT_FINISH:
        return ledger_account_set_state(a->ledger, step->account.name, step->account.state, p);
    }
    return problem_set(p, UIDPOOL_FAILED, "there is no such step as %d", (int)step->kind);
}

static bool finishes(const struct ledger_step *step)
{
    return step->kind == STEP_POOL_FINISH || step->kind == STEP_ACCOUNT_FINISH;
}

/* All steps that finish something, or all that do not, in one transaction. */
static enum uidpool_status tell_ledger(struct carrying *c, bool finish, struct problem *p)
{
    const struct plan *plan = &c->v->plan;
    enum uidpool_status status = UIDPOOL_OK;
    size_t n = 0;

    for (size_t i = 0; i < plan->n_steps; i++)
        n += finishes(&plan->steps[i]) == finish;
    if (n == 0)
        return UIDPOOL_OK;
    status = ledger_begin(c->v->ledger, p);
    for (size_t i = 0; i < plan->n_steps && status == UIDPOOL_OK; i++)
        if (finishes(&plan->steps[i]) == finish)
            status = take_step(&c->allocator, &plan->steps[i], p);
    if (status == UIDPOOL_OK)
        status = ledger_commit(c->v->ledger, p);
    ledger_rollback(c->v->ledger);
    return status;
}

static enum uidpool_status record_intent(struct carrying *c, struct problem *p)
{
    enum uidpool_status status = UIDPOOL_OK;

    if (!c->v->ledger && c->v->plan.n_steps > 0)
        status = ledger_open(UIDPOOL_LEDGER_PATH, LEDGER_CREATE, &c->v->ledger, p);
    c->allocator.ledger = c->v->ledger;
    return status == UIDPOOL_OK ? tell_ledger(c, false, p) : status;
}

static enum uidpool_status failed(enum uidpool_status status, struct problem *p, const char *words)
{
    struct problem why = *p;

    if (strstr(why.text, words))
        return status;
    return problem_set(p, status, "%s; %s", why.text, words);
}

static enum uidpool_status carry_out(struct carrying *c, struct problem *p)
{
    enum uidpool_status status = prepare_files(c, p);

    if (status == UIDPOOL_OK)
        status = record_intent(c, p);
    if (status != UIDPOOL_OK)
        return failed(status, p, "nothing was changed");
    if (c->files)
        status = atomicfile_commit(c->files, p);
    if (status != UIDPOOL_OK)
        return failed(status, p, "the next run carries on from here");
    status = tell_ledger(c, true, p);
    if (status != UIDPOOL_OK)
        return failed(status, p,
                      "the account files are written, the ledger does not know yet that all is "
                      "done; the next run finishes that");
    return status;
}

enum uidpool_status provision_carry_out(struct provision *v, struct problem *p)
{
    _cleanup_(carrying_done) struct carrying c = {.v = v};
    size_t conflicts = findings_count(&v->findings, FINDING_CONFLICT);
    enum uidpool_status status = UIDPOOL_OK;

    if (!v->lock)
        return problem_set(p, UIDPOOL_FAILED, "the account files are not locked");
    if (conflicts > 0)
        status = problem_set(p, UIDPOOL_CONFLICT, "%zu conflict%s in the way; nothing was changed",
                             conflicts, conflicts == 1 ? " is" : "s are");
    else
        status = carry_out(&c, p);
    /* Temporaries go while others still wait. */
    atomicfile_free(take_ptr(c.files));
    release(v);
    return status;
}
