/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What becomes of a claimed candidate when the census has answered: it is leased by one write, in a
 * transaction that others share; or a stranger is there, and the uid is held for him. Touches the
 * ledger by the committer.
 *
 * 1. The claim MUST be kept until the write is durable.
 * 2. The write MUST look again at what the ledger's own rules leave open: that the owner has none.
 * 3. Only EMPTY lets a candidate be leased, but for an adopted one, of which BUSY is expected.
 */
#include "allocator/allocator.h"
#include "allocator/committer.h"
#include "allocator/lease/grant.h"
#include "allocator/machine.h"
#include "allocator/pool.h"
#include "common/cleanup.h"

#include <errno.h>
#include <stdio.h>

/* So many uids in a row in use by strangers, and the range itself is in doubt. */
#define FOREIGN_MAX 64
/* Quarantines ended with each lease: more than one, so that they cannot pile up. */
#define RESTED_MAX 2
/* Of a lease that was adopted. */
#define RAN_ALREADY "it ran already"

/*
 * The write.
 */

/* End what is rested: a little with every lease, and whatever lies in the candidate. */
static enum uidpool_status end_rested(struct ledger *l, struct uid_range want, struct problem *p)
{
    struct uidpool_lease rested[RESTED_MAX];
    uint32_t n = 0, left = want.count;
    enum uidpool_status status = ledger_lease_rested(l, RESTED_MAX, rested, &n, p);

    for (uint32_t i = 0; i < n && status == UIDPOOL_OK; i++)
        status = lease_step(l, &rested[i], LEASE_EVENT_RESTED, NULL, 0, p);
    while (left > 0 && status == UIDPOOL_OK) {
        struct uidpool_lease lease;

        status = ledger_lease_at(l, want.first, left, &lease, p);
        if (status == UIDPOOL_NOT_FOUND)
            return UIDPOOL_OK;
        if (status != UIDPOOL_OK)
            return status;
        left = lease.uid > want.first ? lease.uid - want.first : 0;
        status = lease_step(l, &lease, LEASE_EVENT_RESTED, NULL, 0, p);
    }
    return status;
}

/* Round the pool; a pointer at its end is one at its base. */
static uint32_t distance(const struct uidpool_pool *pool, uid_t from, uid_t to)
{
    if (to - pool->base >= pool->size)
        to = pool->base;
    return to >= from ? to - from : to + pool->size - from;
}

/* Behind the uids that were given; not back, where others behind them were given meanwhile. */
static enum uidpool_status move_next(struct ledger *l, const struct grant *g, struct problem *p)
{
    uid_t start = g->walk.start, last = uid_range_last(g->want);
    struct uidpool_pool now;
    enum uidpool_status status = ledger_pool_by_id(l, g->pool.id, &now, p);

    if (status != UIDPOOL_OK ||
        distance(&g->pool, start, now.next_uid) > distance(&g->pool, start, last))
        return status;
    return ledger_pool_set_next(l, g->pool.id, pool_next_after(&g->pool, g->want), p);
}

static struct uidpool_lease make_lease(const struct grant *g)
{
    struct uidpool_lease lease = {
        .uid = g->want.first,
        .count = g->want.count,
        .gid = g->pool.group_per_uid ? g->want.first : g->pool.gid,
        .pool_id = g->pool.id,
        .domid = g->request.lease.domid,
    };

    (void)snprintf(lease.pool, sizeof(lease.pool), "%s", g->pool.name);
    (void)snprintf(lease.name, sizeof(lease.name), "%s", g->name);
    (void)snprintf(lease.uuid, sizeof(lease.uuid), "%s", g->uuid);
    return lease;
}

/* Whoever asked said why, and an adopted one is told from the others. */
static const char *reason_of(const struct grant *g, char *buf, size_t size)
{
    if (!g->ran_already)
        return g->request.reason;
    if (g->request.reason)
        (void)snprintf(buf, size, RAN_ALREADY "; %s", g->request.reason);
    else
        (void)snprintf(buf, size, RAN_ALREADY);
    return buf;
}

/* Rule 2. */
static enum uidpool_status write_lease(struct ledger *l, void *userdata, struct problem *p)
{
    struct grant *g = userdata;
    _cleanup_(lease_list_clear) struct lease_list list = {0};
    struct uidpool_lease lease = make_lease(g);
    char reason[UIDPOOL_REASON_MAX + 1];
    enum uidpool_status status = grant_read_owner(g, &list, p);

    g->overtaken = status == UIDPOOL_OK && list.n > 0;
    if (g->overtaken)
        return problem_set(p, UIDPOOL_CONFLICT, "pool %s: the owner has a lease by now",
                           g->pool.name);
    if (status == UIDPOOL_OK)
        status = end_rested(l, g->want, p);
    if (status == UIDPOOL_OK)
        status =
            lease_step(l, &lease, LEASE_EVENT_GRANT, reason_of(g, reason, sizeof(reason)), 0, p);
    if (status == UIDPOOL_OK && g->pool.policy == UIDPOOL_POLICY_NEXT && !g->is_reserved)
        status = move_next(l, g, p);
    if (status == UIDPOOL_OK)
        g->lease = lease;
    return status;
}

static void on_written(enum uidpool_status status, const struct problem *problem, void *userdata)
{
    struct grant *g = userdata;

    if (status != UIDPOOL_OK)
        g->problem = *problem;
    if (status == UIDPOOL_CONFLICT)
        grant_look_again(g, g->overtaken ? UIDPOOL_OK : UIDPOOL_CONFLICT);
    else
        grant_end(g, status);
}

/*
 * Strangers.
 */

static const char *foreign_reason(const struct grant *g, char *buf, size_t size)
{
    char who[256];

    (void)snprintf(buf, size, "in use without a lease by %s",
                   stranger_describe(g, who, sizeof(who)));
    return buf;
}

/* Hold one uid that somebody else runs as, so that it is not asked again at every lease. */
static enum uidpool_status write_hold(struct ledger *l, void *userdata, struct problem *p)
{
    struct grant *g = userdata;
    struct uid_range uid = g->who.range;
    char reason[320];
    struct uidpool_lease hold = {
        .uid = uid.first,
        .gid = g->pool.group_per_uid ? uid.first : g->pool.gid,
        .count = 1,
        .pool_id = g->pool.id,
        .domid = UIDPOOL_NO_DOMID,
    };
    enum uidpool_status status = end_rested(l, uid, p);

    if (status == UIDPOOL_OK)
        status = lease_step(l, &hold, LEASE_EVENT_FOREIGN,
                            foreign_reason(g, reason, sizeof(reason)), 0, p);
    return status;
}

static void step_block(struct grant *g);

/* All that are in the way are held now. */
static void step_beyond(struct grant *g)
{
    grant_unclaim(g);
    if (!grant_is_fixed(g) && g->foreign < FOREIGN_MAX)
        grant_next_candidate(g);
    else
        grant_end(g, UIDPOOL_CONFLICT);
}

static void on_held(enum uidpool_status status, const struct problem *problem, void *userdata)
{
    struct grant *g = userdata;
    uid_t uid = g->who.range.first;
    char reason[320];

    if (status != UIDPOOL_OK) {
        g->problem = *problem;
        grant_end(g, status);
        return;
    }
    g->foreign++;
    (void)problem_set(&g->problem, UIDPOOL_CONFLICT,
                      "pool %s, uid %u is %s; it is held from now on. End that, then run 'uidpool "
                      "clear %u'",
                      g->pool.name, uid, foreign_reason(g, reason, sizeof(reason)), uid);
    if (g->want.count == 1)
        step_beyond(g);
    else
        step_block(g);
}

static void on_block_answer(struct grant *g, enum witness answer)
{
    g->hold_at++;
    if (answer == WITNESS_BUSY)
        grant_write(g, write_hold, on_held);
    else
        grant_soon(g, step_block);
}

/* Which uids of a busy block are busy. */
static void step_block(struct grant *g)
{
    struct uid_range one = {g->want.first + g->hold_at, 1};

    if (g->hold_at < g->want.count)
        stranger_ask(g, one, on_block_answer);
    else
        step_beyond(g);
}

static void refuse_busy(struct grant *g)
{
    char reason[320];

    grant_end(g, problem_set(&g->problem, UIDPOOL_CONFLICT, "pool %s, uid %u is %s", g->pool.name,
                             g->want.first, foreign_reason(g, reason, sizeof(reason))));
}

static void step_hold(struct grant *g)
{
    if (g->request.hold_nothing) {
        refuse_busy(g);
        return;
    }
    if (g->want.count == 1) {
        grant_write(g, write_hold, on_held);
        return;
    }
    (void)problem_set(&g->problem, UIDPOOL_CONFLICT,
                      "pool %s, one of the uids %u to %u was in use a moment ago", g->pool.name,
                      g->want.first, uid_range_last(g->want));
    g->hold_at = 0;
    step_block(g);
}

static void not_told(struct grant *g)
{
    grant_end(g, problem_set(&g->problem, UIDPOOL_NOT_PROVEN,
                             "pool %s, uid %u: the census has no answer, so nothing was leased; "
                             "the helper uidpool-census said why on standard error",
                             g->pool.name, g->want.first));
}

static void on_judged(struct grant *g, enum witness answer)
{
    switch (answer) {
    case WITNESS_EMPTY:
        grant_write(g, write_lease, on_written);
        return;
    case WITNESS_BUSY:
        step_hold(g);
        return;
    case WITNESS_UNKNOWN:
        break;
    }
    not_told(g);
}

static bool may_adopt(const struct grant *g)
{
    return g->request.adopt && grant_is_fixed(g) && g->request.lease.domid != UIDPOOL_NO_DOMID;
}

/* Rule 3. */
void award_asked(struct grant *g, enum witness answer)
{
    g->ran_already = answer == WITNESS_BUSY && may_adopt(g);
    if (g->ran_already)
        grant_write(g, write_lease, on_written);
    else if (answer == WITNESS_BUSY)
        stranger_look(g, g->want, on_judged);
    else
        on_judged(g, answer);
}
