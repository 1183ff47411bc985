/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a plan tells the ledger: pools and accounts that are begun, changed and finished. Pure. */
#include "provision/planning.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The next step, all zero; NULL: no memory. */
static struct ledger_step *add_step(struct planning *p, enum ledger_step_kind kind)
{
    struct plan *plan = &p->plan;
    struct ledger_step *steps = reallocarray(plan->steps, plan->n_steps + 1, sizeof(*plan->steps));

    if (!steps) {
        p->error = -ENOMEM;
        return NULL;
    }
    plan->steps = steps;
    steps += plan->n_steps++;
    *steps = (struct ledger_step){.kind = kind};
    return steps;
}

static struct uidpool_pool wanted_pool(const struct chosen_pool *chosen)
{
    const struct pool_settings *s = chosen->settings;
    struct uidpool_pool pool = {.base = chosen->base, .next_uid = chosen->base};

    if (chosen->known)
        pool = *chosen->known;
    memcpy(pool.name, s->name, sizeof(pool.name));
    pool.size = s->size;
    pool.policy = s->policy;
    pool.group_per_uid = s->group_per_uid;
    pool.gid = chosen->gid;
    pool.quarantine = s->quarantine;
    pool.follow = s->follow;
    pool.resolve = s->resolve;
    return pool;
}

/* Append ", WHAT FROM -> TO". */
static void note_change(char detail[static 160], const char *what, const char *from, const char *to)
{
    size_t used = strlen(detail);

    (void)snprintf(detail + used, 160 - used, "%s%s %s -> %s", used ? ", " : "", what, from, to);
}

static void note_number(char detail[static 160], const char *what, uint32_t from, uint32_t to)
{
    char before[16], after[16];

    (void)snprintf(before, sizeof(before), "%u", from);
    (void)snprintf(after, sizeof(after), "%u", to);
    if (from != to)
        note_change(detail, what, before, after);
}

static void note_word(char detail[static 160], const char *what, bool from, bool to)
{
    if (from != to)
        note_change(detail, what, from ? "yes" : "no", to ? "yes" : "no");
}

/* What becomes other, for people: empty if nothing does. */
static void describe_change(const struct uidpool_pool *from, const struct uidpool_pool *to,
                            char ret[static 160])
{
    char before[16] = "per-uid", after[16] = "per-uid";

    if (!from->group_per_uid)
        (void)snprintf(before, sizeof(before), "%u", from->gid);
    if (!to->group_per_uid)
        (void)snprintf(after, sizeof(after), "%u", to->gid);
    *ret = '\0';
    if (from->policy != to->policy)
        note_change(ret, "policy", uidpool_policy_name(from->policy),
                    uidpool_policy_name(to->policy));
    if (strcmp(before, after) != 0)
        note_change(ret, "group", before, after);
    note_number(ret, "quarantine", from->quarantine, to->quarantine);
    note_word(ret, "follow", from->follow, to->follow);
    note_word(ret, "resolve", from->resolve, to->resolve);
}

static void begin_pool(struct planning *p, const struct chosen_pool *chosen)
{
    struct uidpool_pool pool = wanted_pool(chosen);
    struct ledger_step *step;
    char detail[160];

    if (chosen->known) {
        describe_change(chosen->known, &pool, detail);
        if (!*detail || !(step = add_step(p, STEP_POOL_CHANGE)))
            return;
        memcpy(step->detail, detail, sizeof(detail));
    } else {
        pool.retired = pool.provisioning = true;
        if (!(step = add_step(p, STEP_POOL_BEGIN)))
            return;
        (void)snprintf(step->detail, sizeof(step->detail), "uids %u to %u", pool.base,
                       uid_range_last((struct uid_range){pool.base, pool.size}));
    }
    step->pool = pool;
}

static void finish_pool(struct planning *p, const struct chosen_pool *chosen)
{
    struct ledger_step *step;

    if (chosen->fate == POOL_KNOWN || !(step = add_step(p, STEP_POOL_FINISH)))
        return;
    step->pool = wanted_pool(chosen);
    step->pool.retired = step->pool.provisioning = false;
}

static void step_account(struct planning *p, enum ledger_step_kind kind,
                         const struct ledger_account *a, enum ledger_account_state state)
{
    struct ledger_step *step = add_step(p, kind);

    if (!step)
        return;
    step->account = *a;
    step->account.state = state;
    (void)snprintf(step->detail, sizeof(step->detail), "uid %u", a->uid);
}

static bool is_requested(const struct planning *p, const struct ledger_account *a)
{
    return p->request && strcmp(p->request->name, a->name) == 0;
}

static void begin_account(struct planning *p, const struct ledger_account *a)
{
    if (!is_requested(p, a))
        return;
    if (p->request->remove &&
        (a->state == LEDGER_ACCOUNT_ADDING || a->state == LEDGER_ACCOUNT_PRESENT))
        step_account(p, STEP_ACCOUNT_REMOVE, a, LEDGER_ACCOUNT_REMOVING);
    else if (!p->request->remove && a->state == LEDGER_ACCOUNT_REMOVED)
        step_account(p, STEP_ACCOUNT_BEGIN, a, LEDGER_ACCOUNT_ADDING);
    else if (!p->request->remove && a->state == LEDGER_ACCOUNT_REMOVING)
        planning_complain(p, COMPLAINT_REMOVING,
                          "the removal of %s was cut off: 'uidpool-provision apply' finishes it, "
                          "and then it can be added again",
                          a->name);
}

/* Whatever it was begun for, by this run or by one that was cut off. */
static void finish_account(struct planning *p, const struct ledger_account *a)
{
    bool removed = a->state == LEDGER_ACCOUNT_REMOVED,
         due = a->state == LEDGER_ACCOUNT_ADDING || a->state == LEDGER_ACCOUNT_REMOVING,
         remove = removed || a->state == LEDGER_ACCOUNT_REMOVING;

    if (is_requested(p, a)) {
        due = due || p->request->remove != removed;
        remove = p->request->remove;
    }
    if (due)
        step_account(p, STEP_ACCOUNT_FINISH, a,
                     remove ? LEDGER_ACCOUNT_REMOVED : LEDGER_ACCOUNT_PRESENT);
}

/* The account that the request makes, and the ledger does not have. */
static bool is_new(const struct planning *p, struct ledger_account *ret)
{
    const struct user_request *request = p->request;
    const struct uidpool_pool *pool;

    if (!request || request->remove || state_account(p->state, request->name))
        return false;
    pool = state_pool(p->state, request->pool);
    *ret = (struct ledger_account){
        .pool_id = pool ? pool->id : 0, .uid = request->uid, .gid = request->gid};
    memcpy(ret->name, request->name, sizeof(ret->name));
    memcpy(ret->pool, request->pool, sizeof(ret->pool));
    return true;
}

/* Everything that is begun, then everything that is finished. */
void plan_ledger(struct planning *p)
{
    const struct choices *c = p->choices;
    const struct state *s = p->state;
    struct ledger_account new;
    bool has_new = is_new(p, &new);

    for (size_t i = 0; i < c->n; i++)
        if (roster_has_pool(&c->pools[i]))
            begin_pool(p, &c->pools[i]);
    for (size_t i = 0; i < s->n_accounts; i++)
        begin_account(p, &s->accounts[i]);
    if (has_new)
        step_account(p, STEP_ACCOUNT_BEGIN, &new, LEDGER_ACCOUNT_ADDING);
    for (size_t i = 0; i < c->n; i++)
        if (roster_has_pool(&c->pools[i]))
            finish_pool(p, &c->pools[i]);
    for (size_t i = 0; i < s->n_accounts; i++)
        finish_account(p, &s->accounts[i]);
    if (has_new)
        step_account(p, STEP_ACCOUNT_FINISH, &new, LEDGER_ACCOUNT_PRESENT);
}
