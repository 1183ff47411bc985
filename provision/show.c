/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a run found and did, for people and, by jansson, for programs. Writes to standard output,
 * and findings to standard error. */
#include "provision/show.h"

#include "common/cleanup.h"
#include "common/log.h"
#include "provision/diff.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

bool show_has_changes(const struct showing *s)
{
    return !plan_is_empty(s->plan) || s->n_leftovers > 0;
}

int show_findings(const struct findings *findings)
{
    static const char *const kinds[] = {
        [FINDING_CONFLICT] = "conflict",
        [FINDING_DRIFT] = "drift",
        [FINDING_WARNING] = "warning",
    };

    for (size_t i = 0; i < findings->n; i++)
        log_error("%s: %s", kinds[findings->items[i].kind], findings->items[i].text);
    return findings->no_memory ? -ENOMEM : 0;
}

/*
 * The ledger's steps.
 */

static bool is_pool_step(const struct ledger_step *step)
{
    return step->kind == STEP_POOL_BEGIN || step->kind == STEP_POOL_CHANGE ||
           step->kind == STEP_POOL_FINISH;
}

/* Does it only finish what an earlier step of this plan begins? */
static bool is_told_before(const struct plan *plan, size_t at)
{
    const struct ledger_step *step = &plan->steps[at];

    if (step->kind != STEP_POOL_FINISH && step->kind != STEP_ACCOUNT_FINISH)
        return false;
    for (size_t i = 0; i < at; i++) {
        const struct ledger_step *earlier = &plan->steps[i];

        if (step->kind == STEP_POOL_FINISH && earlier->kind == STEP_POOL_BEGIN &&
            strcmp(earlier->pool.name, step->pool.name) == 0)
            return true;
        if (step->kind == STEP_ACCOUNT_FINISH && !is_pool_step(earlier) &&
            strcmp(earlier->account.name, step->account.name) == 0)
            return true;
    }
    return false;
}

static void print_pool_step(const struct ledger_step *step)
{
    const struct uidpool_pool *pool = &step->pool;

    printf("+pool %s: ", pool->name);
    if (step->kind == STEP_POOL_CHANGE) {
        printf("%s\n", step->detail);
        return;
    }
    if (step->kind == STEP_POOL_FINISH) {
        printf("finished: it may give leases\n");
        return;
    }
    printf("uids %" PRIu32 " to %" PRIu32 ", policy %s, ", pool->base,
           pool->base + (pool->size - 1), uidpool_policy_name(pool->policy));
    if (pool->group_per_uid)
        printf("a gid for each uid");
    else
        printf("shared gid %" PRIu32, pool->gid);
    printf(", quarantine %" PRIu32 " s%s%s\n", pool->quarantine, pool->follow ? ", follow" : "",
           pool->resolve ? ", resolve" : "");
}

static void print_account_step(const struct ledger_step *step)
{
    const struct ledger_account *account = &step->account;

    printf("+account %s: ", account->name);
    if (step->kind == STEP_ACCOUNT_BEGIN)
        printf("uid %" PRIu32 " of pool %s, gid %" PRIu32 "\n", account->uid, account->pool,
               account->gid);
    else if (step->kind == STEP_ACCOUNT_REMOVE)
        printf("removed; uid %" PRIu32 " of pool %s stays out of use\n", account->uid,
               account->pool);
    else
        printf("finished: uid %" PRIu32 " of pool %s\n", account->uid, account->pool);
}

static void print_ledger(const struct plan *plan)
{
    if (plan->n_steps > 0)
        puts("--- ledger\n+++ ledger");
    for (size_t i = 0; i < plan->n_steps; i++) {
        if (is_told_before(plan, i))
            continue;
        if (is_pool_step(&plan->steps[i]))
            print_pool_step(&plan->steps[i]);
        else
            print_account_step(&plan->steps[i]);
    }
}

/*
 * For people.
 */

static void print_leftover(const struct leftover *leftover)
{
    char path[sizeof(leftover->path)], why[sizeof(leftover->why)];

    snprintf(path, sizeof(path), "%s", leftover->path);
    snprintf(why, sizeof(why), "%s", leftover->why);
    text_make_printable(path);
    text_make_printable(why);
    printf("- %s (%s)\n", path, why);
}

static int print_plan(const struct showing *s)
{
    for (enum account_file file = 0; file < ACCOUNT_FILES; file++) {
        int r = diff_print(stdout, &s->files->tables[file], &s->plan->drafts[file]);

        if (r < 0)
            return r;
    }
    print_ledger(s->plan);
    for (size_t i = 0; i < s->n_leftovers; i++)
        print_leftover(&s->leftovers[i]);
    return 0;
}

/*
 * For programs. NULL, for want of memory, is what jansson takes for a failure too.
 */

static int print_json(json_t *root)
{
    if (!root)
        return -ENOMEM;
    if (json_dumpf(root, stdout, JSON_COMPACT) == 0)
        putchar('\n');
    return 0;
}

static json_t *json_id(bool is_there, uint32_t id)
{
    return is_there ? json_integer(id) : json_null();
}

/* What may come from a file, or from a command's name. */
static json_t *json_text(const char *text)
{
    _cleanup_free_ char *copy = strdup(text);

    if (!copy)
        return NULL;
    text_make_printable(copy);
    return json_string(copy);
}

static json_t *json_line(enum account_file file, const char *line)
{
    _cleanup_free_ char *shown = NULL;

    return diff_show_line(file, line, 0, &shown) < 0 ? NULL : json_string(shown);
}

/* Takes `item` over, as jansson does. */
static bool append(json_t *array, json_t *item)
{
    return json_array_append_new(array, item) == 0;
}

static json_t *json_added(enum account_file file, const struct draft *draft)
{
    const char *line = draft->added, *end = line + draft->added_size;
    json_auto_t *array = json_array();

    while (array && line < end) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        _cleanup_free_ char *copy = strndup(line, (size_t)(newline - line));

        if (!copy || !append(array, json_line(file, copy)))
            return NULL;
        line = newline + 1;
    }
    return take_ptr(array);
}

static json_t *json_replaced(const struct account_table *table, const struct draft *draft)
{
    json_auto_t *array = json_array();

    for (size_t i = 0; array && i < draft->n_replaced; i++) {
        const struct line_replacement *r = &draft->replaced[i];

        if (!append(array, json_pack("{s:I, s:o, s:o, s:s}", "line", (json_int_t)r->line + 1,
                                     "from", json_line(table->file, table->lines.items[r->line]),
                                     "to", json_line(table->file, r->text), "why", r->why)))
            return NULL;
    }
    return take_ptr(array);
}

static json_t *json_files(const struct showing *s)
{
    json_auto_t *array = json_array();

    for (enum account_file file = 0; array && file < ACCOUNT_FILES; file++) {
        const struct draft *draft = &s->plan->drafts[file];

        if (!draft_is_empty(draft) &&
            !append(array, json_pack("{s:s, s:o, s:o}", "file", account_file_path(file), "add",
                                     json_added(file, draft), "replace",
                                     json_replaced(&s->files->tables[file], draft))))
            return NULL;
    }
    return take_ptr(array);
}

static json_t *json_step(const struct ledger_step *step)
{
    static const char *const names[] = {
        [STEP_POOL_BEGIN] = "pool-begin",         [STEP_POOL_CHANGE] = "pool-change",
        [STEP_POOL_FINISH] = "pool-finish",       [STEP_ACCOUNT_BEGIN] = "account-begin",
        [STEP_ACCOUNT_FINISH] = "account-finish", [STEP_ACCOUNT_REMOVE] = "account-remove",
    };
    const struct uidpool_pool *pool = &step->pool;
    const struct ledger_account *account = &step->account;

    if (is_pool_step(step))
        return json_pack(
            "{s:s, s:s, s:I, s:I, s:s, s:o, s:I, s:b, s:b, s:o}", "step", names[step->kind], "pool",
            pool->name, "base", (json_int_t)pool->base, "size", (json_int_t)pool->size, "policy",
            uidpool_policy_name(pool->policy), "gid", json_id(!pool->group_per_uid, pool->gid),
            "quarantine", (json_int_t)pool->quarantine, "follow", pool->follow, "resolve",
            pool->resolve, "detail", json_text(step->detail));
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:o}", "step", names[step->kind], "account",
                     account->name, "pool", account->pool, "uid", (json_int_t)account->uid, "gid",
                     (json_int_t)account->gid, "detail", json_text(step->detail));
}

static json_t *json_ledger(const struct plan *plan)
{
    json_auto_t *array = json_array();

    for (size_t i = 0; array && i < plan->n_steps; i++)
        if (!append(array, json_step(&plan->steps[i])))
            return NULL;
    return take_ptr(array);
}

static json_t *json_leftovers(const struct showing *s)
{
    json_auto_t *array = json_array();

    for (size_t i = 0; array && i < s->n_leftovers; i++)
        if (!append(array, json_pack("{s:o, s:o}", "path", json_text(s->leftovers[i].path), "why",
                                     json_text(s->leftovers[i].why))))
            return NULL;
    return take_ptr(array);
}

static json_t *json_pools(const struct choices *choices)
{
    static const char *const fates[] = {
        [POOL_NEW] = "new",         [POOL_BEGUN] = "begun", [POOL_KNOWN] = "known",
        [POOL_RETIRED] = "retired", [POOL_STUCK] = "stuck",
    };
    json_auto_t *array = json_array();

    for (size_t i = 0; array && i < choices->n; i++) {
        const struct chosen_pool *pool = &choices->pools[i];
        const struct pool_settings *settings = pool->settings;
        /* What a section says of a retired pool does nothing. */
        const struct uidpool_pool *retired = pool->fate == POOL_RETIRED ? pool->known : NULL;
        bool has_gid =
            pool->base != 0 && !(retired ? retired->group_per_uid : settings->group_per_uid);

        if (!append(array, json_pack("{s:s, s:o, s:I, s:o, s:s}", "name", settings->name, "base",
                                     json_id(pool->base != 0, pool->base), "size",
                                     (json_int_t)(retired ? retired->size : settings->size), "gid",
                                     json_id(has_gid, retired ? retired->gid : pool->gid), "state",
                                     fates[pool->fate])))
            return NULL;
    }
    return take_ptr(array);
}

static json_t *json_findings(const struct findings *findings, enum finding_kind kind)
{
    json_auto_t *array = json_array();

    for (size_t i = 0; array && i < findings->n; i++)
        if (findings->items[i].kind == kind && !append(array, json_text(findings->items[i].text)))
            return NULL;
    return findings->no_memory ? NULL : take_ptr(array);
}

static int print_plan_json(const struct showing *s)
{
    json_auto_t *root =
        json_pack("{s:s, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "verb", s->verb, "changed",
                  show_has_changes(s), "files", json_files(s), "ledger", json_ledger(s->plan),
                  "leftovers", json_leftovers(s), "pools", json_pools(s->choices), "conflicts",
                  json_findings(s->findings, FINDING_CONFLICT), "drifts",
                  json_findings(s->findings, FINDING_DRIFT), "warnings",
                  json_findings(s->findings, FINDING_WARNING));

    return print_json(root);
}

int show_plan(const struct showing *s)
{
    int r, found;

    if (s->json)
        return print_plan_json(s);
    r = s->quiet ? 0 : print_plan(s);
    found = show_findings(s->findings);
    return r < 0 ? r : found;
}

int show_user(const struct user_request *user, bool json)
{
    json_auto_t *root = NULL;

    if (!json) {
        printf("%" PRIu32 ":%" PRIu32 "\n", user->uid, user->gid);
        return 0;
    }
    root = json_pack("{s:s, s:I, s:I, s:s, s:b}", "name", user->name, "uid", (json_int_t)user->uid,
                     "gid", (json_int_t)user->gid, "pool", user->pool, "removed", user->remove);
    return print_json(root);
}

int show_retired(const char *pool, bool json)
{
    json_auto_t *root = NULL;

    if (json) {
        root = json_pack("{s:s}", "retired", pool);
        return print_json(root);
    }
    printf("retired %s: its range stays taken, it gives no more leases; its accounts and its lines "
           "in /etc/subuid and /etc/subgid stay\n",
           pool);
    return 0;
}
