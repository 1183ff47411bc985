/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a plan is made from, put together by hand: pools as they were chosen, a ledger, and account
 * files as texts. And what comes of it, files and ledger, when it is carried out.
 */
#ifndef TESTS_SCENE_H
#define TESTS_SCENE_H

#include "common/cleanup.h"
#include "provision/planner.h"
#include "tests/unit/compose.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SCENE_BASE 2114650112u
#define SCENE_POOLS 4
#define SCENE_ACCOUNTS 12

struct scene {
    struct pool_settings settings[SCENE_POOLS];
    struct chosen_pool pools[SCENE_POOLS];
    struct choices choices;
    struct uidpool_pool known[SCENE_POOLS];
    struct ledger_account accounts[SCENE_ACCOUNTS];
    struct state state;
    struct user_request request;
    bool has_request;
    char *text[ACCOUNT_FILES]; /* of the heap; NULL: missing */
};

/* What became of it. */
struct outcome {
    struct account_files files;
    struct roster roster;
    struct plan plan;
    struct findings findings;
    char *text[ACCOUNT_FILES];
};

static inline void scene_clear(struct scene *s)
{
    for (size_t i = 0; i < ACCOUNT_FILES; i++)
        free(s->text[i]);
    *s = (struct scene){0};
}

/* Pointers from one part of the scene to another, after it was copied. */
static inline void scene_anchor(struct scene *s, const struct scene *from)
{
    s->choices.pools = s->pools;
    s->state.pools = s->known;
    s->state.accounts = s->accounts;
    for (size_t i = 0; i < s->choices.n; i++) {
        s->pools[i].settings = &s->settings[i];
        if (s->pools[i].known)
            s->pools[i].known = &s->known[s->pools[i].known - from->known];
    }
}

static inline char *scene_strdup(const char *text)
{
    char *copy = strdup(text);

    assert_non_null(copy);
    return copy;
}

static inline struct scene scene_copy(const struct scene *from)
{
    struct scene s = *from;

    for (size_t i = 0; i < ACCOUNT_FILES; i++)
        if (from->text[i])
            s.text[i] = scene_strdup(from->text[i]);
    return s; /* to be anchored where it comes to stand */
}

static inline void scene_set(struct scene *s, enum account_file file, const char *text)
{
    free(s->text[file]);
    s->text[file] = text ? scene_strdup(text) : NULL;
}

/* A new pool p0, p1, ... with the prefix vm0, vm1, ... */
static inline struct chosen_pool *scene_pool(struct scene *s, unsigned accounts, uint32_t size)
{
    size_t i = s->choices.n++;
    struct pool_settings *settings = &s->settings[i];
    struct chosen_pool *pool = &s->pools[i];

    assert_true(i < SCENE_POOLS);
    snprintf(settings->name, sizeof(settings->name), "p%zu", i);
    snprintf(settings->prefix, sizeof(settings->prefix), "vm%zu", i);
    snprintf(settings->range_base, sizeof(settings->range_base), "vm%zu-range-base", i);
    settings->size = size;
    settings->accounts = accounts;
    settings->policy = UIDPOOL_POLICY_DOMID;
    settings->quarantine = 60;
    pool->settings = settings;
    pool->base = pool->gid = SCENE_BASE + 100000 * (uint32_t)i;
    pool->shared_id = accounts & ACCOUNTS_SHARED ? 500 + 10 * (uint32_t)i : 0;
    pool->reaper_id = accounts & ACCOUNTS_REAPER ? 501 + 10 * (uint32_t)i : 0;
    scene_anchor(s, s);
    return pool;
}

/* The ledger gets a pool as the settings are. */
static inline struct uidpool_pool *scene_know(struct scene *s, struct chosen_pool *pool,
                                              enum pool_fate fate)
{
    const struct pool_settings *settings = pool->settings;
    struct uidpool_pool *known = &s->known[s->state.n_pools++];

    assert_true(s->state.n_pools <= SCENE_POOLS);
    *known = (struct uidpool_pool){.id = (int64_t)s->state.n_pools,
                                   .base = pool->base,
                                   .size = settings->size,
                                   .policy = settings->policy,
                                   .group_per_uid = settings->group_per_uid,
                                   .gid = pool->gid,
                                   .quarantine = settings->quarantine,
                                   .follow = settings->follow,
                                   .resolve = settings->resolve,
                                   .retired = fate != POOL_KNOWN,
                                   .provisioning = fate == POOL_BEGUN,
                                   .next_uid = pool->base};
    memcpy(known->name, settings->name, sizeof(known->name));
    pool->known = known;
    pool->fate = fate;
    return known;
}

static inline void scene_name(char *to, size_t size, const char *name)
{
    assert_true(snprintf(to, size, "%s", name) < (int)size);
}

/* In order of name, as the ledger gives them. */
static inline struct ledger_account *scene_account(struct scene *s, const char *name,
                                                   const char *pool, uid_t uid, gid_t gid,
                                                   enum ledger_account_state state)
{
    size_t at = s->state.n_accounts++;
    struct ledger_account *a = s->accounts;

    assert_true(at < SCENE_ACCOUNTS);
    for (; at > 0 && strcmp(a[at - 1].name, name) > 0; at--)
        a[at] = a[at - 1];
    a[at] = (struct ledger_account){.uid = uid, .gid = gid, .state = state};
    scene_name(a[at].name, sizeof(a[at].name), name);
    scene_name(a[at].pool, sizeof(a[at].pool), pool);
    return &a[at];
}

static inline void scene_request(struct scene *s, const char *name, const char *pool, uid_t uid,
                                 gid_t gid, bool remove)
{
    s->has_request = true;
    s->request = (struct user_request){.remove = remove, .uid = uid, .gid = gid};
    scene_name(s->request.name, sizeof(s->request.name), name);
    scene_name(s->request.pool, sizeof(s->request.pool), pool);
}

static inline void scene_parse(const struct scene *s, struct account_files *ret)
{
    for (size_t i = 0; i < ACCOUNT_FILES; i++) {
        struct problem p = {0};
        const char *text = s->text[i] ? s->text[i] : "";

        if (table_parse((enum account_file)i, scene_strdup(text), strlen(text), &ret->tables[i],
                        &p) != UIDPOOL_OK)
            fail_msg("%s: %s", p.text, text);
        ret->tables[i].missing = !s->text[i];
    }
}

static inline void outcome_clear(struct outcome *o)
{
    for (size_t i = 0; i < ACCOUNT_FILES; i++) {
        table_clear(&o->files.tables[i]);
        free(o->text[i]);
    }
    roster_clear(&o->roster);
    plan_clear(&o->plan);
    findings_clear(&o->findings);
    *o = (struct outcome){0};
}

static inline struct outcome scene_plan(const struct scene *s)
{
    const struct user_request *request = s->has_request ? &s->request : NULL;
    struct outcome o = {0};

    scene_parse(s, &o.files);
    assert_int_equal(roster_make(&s->choices, &s->state, request, &o.roster), 0);
    assert_int_equal(
        plan_make(&s->choices, &s->state, &o.files, &o.roster, request, &o.plan, &o.findings), 0);
    for (size_t i = 0; i < ACCOUNT_FILES; i++) {
        size_t size = 0;
        char *text = NULL;

        if (!s->text[i]) {
            assert_true(draft_is_empty(&o.plan.drafts[i]));
            continue;
        }
        assert_int_equal(compose(&o.plan.drafts[i], &o.files.tables[i].lines, &text, &size), 0);
        o.text[i] = realloc(text, size + 1);
        assert_non_null(o.text[i]);
        o.text[i][size] = '\0';
        assert_int_equal(strlen(o.text[i]), size);
    }
    return o;
}

static inline struct chosen_pool *scene_chosen(struct scene *s, const char *name)
{
    size_t i = 0;

    while (i < s->choices.n && strcmp(s->settings[i].name, name) != 0)
        i++;
    assert_true(i < s->choices.n);
    return &s->pools[i];
}

static inline void scene_step_pool(struct scene *s, const struct ledger_step *step)
{
    struct chosen_pool *chosen = scene_chosen(s, step->pool.name);
    struct uidpool_pool *known = (struct uidpool_pool *)chosen->known;

    if (step->kind == STEP_POOL_BEGIN) {
        assert_null(known);
        assert_true(step->pool.retired && step->pool.provisioning);
        known = scene_know(s, chosen, POOL_BEGUN);
        assert_memory_equal(&known->policy, &step->pool.policy, sizeof(known->policy));
        assert_int_equal(known->base, step->pool.base);
        assert_int_equal(known->size, step->pool.size);
        assert_int_equal(step->pool.next_uid, step->pool.base);
        return;
    }
    assert_non_null(known);
    /* A plan cannot know the number of a pool that is still to be inserted. */
    assert_true(known->id == step->pool.id || (step->pool.id == 0 && known->provisioning));
    if (step->kind == STEP_POOL_CHANGE) {
        assert_true(*step->detail);
        *known = step->pool;
        return;
    }
    assert_true(known->provisioning && known->retired);
    assert_false(step->pool.provisioning || step->pool.retired);
    known->provisioning = known->retired = false;
    chosen->fate = POOL_KNOWN;
}

/* The ledger's edges (db/schema/002-provision.sql). */
static inline void scene_step_account(struct scene *s, const struct ledger_step *step)
{
    const struct ledger_account *a = state_account(&s->state, step->account.name);
    enum ledger_account_state from, to = step->account.state;

    if (!a) {
        assert_int_equal(step->kind, STEP_ACCOUNT_BEGIN);
        assert_int_equal(to, LEDGER_ACCOUNT_ADDING);
        (void)scene_account(s, step->account.name, step->account.pool, step->account.uid,
                            step->account.gid, to);
        return;
    }
    from = a->state;
    switch (step->kind) {
    case STEP_ACCOUNT_BEGIN:
        assert_true(from == LEDGER_ACCOUNT_REMOVED && to == LEDGER_ACCOUNT_ADDING);
        break;
    case STEP_ACCOUNT_REMOVE:
        assert_true(from == LEDGER_ACCOUNT_ADDING || from == LEDGER_ACCOUNT_PRESENT);
        assert_int_equal(to, LEDGER_ACCOUNT_REMOVING);
        break;
    case STEP_ACCOUNT_FINISH:
        assert_true((from == LEDGER_ACCOUNT_ADDING && to == LEDGER_ACCOUNT_PRESENT) ||
                    (from == LEDGER_ACCOUNT_REMOVING && to == LEDGER_ACCOUNT_REMOVED));
        break;
    case STEP_POOL_BEGIN:
    case STEP_POOL_CHANGE:
    case STEP_POOL_FINISH:
    default:
        fail();
    }
    s->accounts[a - s->accounts].state = to;
}

static inline bool step_is_end(const struct ledger_step *step)
{
    return step->kind == STEP_POOL_FINISH || step->kind == STEP_ACCOUNT_FINISH;
}

/* Tell the ledger: what is begun, or what is finished. */
static inline void scene_tell_ledger(struct scene *s, const struct plan *plan, bool end)
{
    for (size_t i = 0; i < plan->n_steps; i++) {
        const struct ledger_step *step = &plan->steps[i];

        if (step_is_end(step) != end)
            continue;
        if (step->kind <= STEP_POOL_FINISH)
            scene_step_pool(s, step);
        else
            scene_step_account(s, step);
    }
}

#endif
