/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What may be leased to whom: what the owner has already, which candidates pool_walk names, and
 * what is in their way. One that can be had is claimed and goes to the census, whose answer is
 * award.c's. Touches the ledger, which it only reads but for rests that are over, and the claims;
 * an unproven lease that is in the way is revoked first.
 *
 * 1. A candidate MUST be claimed before it is looked at.
 * 2. The claim MUST be dropped before something is revoked: that wants it, and would wait for us.
 */
#include "allocator/allocator.h"
#include "allocator/committer.h"
#include "allocator/lease/grant.h"
#include "allocator/machine.h"
#include "allocator/pool.h"
#include "allocator/revocation/revoker.h"
#include "common/cleanup.h"
#include "common/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* How often the ledger may refuse what was just found to be free: by then something else is wrong.
 */
#define REFUSALS_MAX 16
/* Microseconds before the ledger is looked at again. */
#define REFUSAL_PAUSE (2 * USEC_PER_MSEC)
/* Rests ended when the pool is exhausted, and in so many pieces at most. */
#define RESTED_CHUNK 32
#define RESTED_CHUNKS 8
/* Of the time, what may be spent on counting: one part in so many. */
#define COUNT_SHARE 20

/* What a look at a candidate came to, besides a status. */
enum verdict {
    VERDICT_OVER,  /* the status stands */
    VERDICT_AGAIN, /* the ledger changed meanwhile: from the start */
    VERDICT_NEXT,  /* not this candidate, another */
    VERDICT_WAIT,  /* something is under way that comes first */
};

static struct ledger *ledger_of(const struct grant *g)
{
    return g->granter->allocator->ledger;
}

/*
 * The pool and the owner.
 */

struct only_pool {
    struct uidpool_pool pool;
    struct uidpool_pool unfinished; /* or no id */
    unsigned n;
};

static bool count_active(const struct uidpool_pool *pool, void *userdata)
{
    struct only_pool *only = userdata;

    if (pool->provisioning)
        only->unfinished = *pool;
    if (pool->retired)
        return true;
    only->pool = *pool;
    return ++only->n < 2;
}

static enum uidpool_status find_only_pool(struct grant *g)
{
    struct only_pool only = {0};
    enum uidpool_status status = ledger_pool_each(ledger_of(g), count_active, &only, &g->problem);

    if (status != UIDPOOL_OK)
        return status;
    if (only.n == 0 && only.unfinished.id)
        return allocator_pool_check_active(&only.unfinished, &g->problem);
    if (only.n == 0)
        return problem_set(&g->problem, UIDPOOL_NOT_FOUND,
                           "there is no pool; 'uidpool pool add' makes one");
    if (only.n > 1)
        return problem_set(&g->problem, UIDPOOL_USAGE,
                           "there are several pools: name one ('uidpool pool list')");
    g->pool = only.pool;
    return UIDPOOL_OK;
}

/* The pool, and the reservation if the name has one there. */
static enum uidpool_status find_pool(struct grant *g)
{
    const struct uidpool_lease_request *request = &g->request.lease;
    struct ledger *l = ledger_of(g);
    enum uidpool_status status = UIDPOOL_NOT_FOUND;

    if (request->name)
        status = ledger_reservation_by_name(l, request->name, &g->reserved, &g->problem);
    if (status != UIDPOOL_OK && status != UIDPOOL_NOT_FOUND)
        return status;
    g->is_reserved =
        status == UIDPOOL_OK && (!request->pool || strcmp(request->pool, g->reserved.pool) == 0);
    if (g->is_reserved)
        status = ledger_pool_by_id(l, g->reserved.pool_id, &g->pool, &g->problem);
    else if (request->pool)
        status = ledger_pool_by_name(l, request->pool, &g->pool, &g->problem);
    else
        status = find_only_pool(g);
    return status == UIDPOOL_OK ? allocator_pool_check_active(&g->pool, &g->problem) : status;
}

static bool is_live(const struct uidpool_lease *lease)
{
    return lease->state == UIDPOOL_STATE_LEASED || lease->state == UIDPOOL_STATE_REVOKING;
}

enum uidpool_status grant_read_owner(const struct grant *g, struct lease_list *ret,
                                     struct problem *p)
{
    const struct uidpool_selector owner = {
        .struct_size = sizeof(owner),
        .pool = g->pool.name,
        .domid = g->request.lease.domid,
        .name = g->request.lease.name,
        .uid = UIDPOOL_NO_UID,
    };

    return lease_list_read(ledger_of(g), &owner, is_live, ret, p);
}

/* A lease in this boot for the same owner: the same one again, a clash, or one to revoke first. A
 * uuid on one side alone is neither: taking it for another would kill a machine that runs. */
static enum uidpool_status compare(struct grant *g, const struct uidpool_lease *lease,
                                   bool *ret_revoke)
{
    const char *uuid = g->request.lease.uuid ? g->request.lease.uuid : "";
    char owner[96];

    (void)lease_owner(lease, owner, sizeof(owner));
    if ((uuid[0] == '\0') != (lease->uuid[0] == '\0'))
        return problem_set(&g->problem, UIDPOOL_CONFLICT,
                           "pool %s, %s has uid %u with %s%s; repeat the request like that, or "
                           "release it first",
                           g->pool.name, owner, lease->uid, lease->uuid[0] ? "uuid " : "no uuid",
                           lease->uuid);
    if (strcmp(uuid, lease->uuid) != 0) {
        *ret_revoke = true;
        return UIDPOOL_OK;
    }
    if (g->request.lease.count && g->request.lease.count != lease->count)
        return problem_set(&g->problem, UIDPOOL_CONFLICT,
                           "pool %s, %s has %u uids from %u on, not %u; release them first",
                           g->pool.name, owner, lease->count, lease->uid, g->request.lease.count);
    g->lease = *lease;
    g->lease.existing = true;
    return UIDPOOL_OK;
}

/* Rule 2. One that was told of the last of them goes on. */
static void on_revoked(const struct outcome *outcome, void *userdata)
{
    struct grant *g = userdata;

    /* The first problem is kept: later ones are often its echo. */
    if (outcome->problem->status != UIDPOOL_OK && g->failed.status == UIDPOOL_OK)
        g->failed = *outcome->problem;
    grant_keep_survivors(g, outcome);
    if (--g->revoking > 0)
        return;
    if (g->failed.status == UIDPOOL_OK) {
        grant_soon(g, grant_begin);
        return;
    }
    g->problem = g->failed;
    grant_end(g, g->failed.status);
}

/* Who may run already would be killed with what is in the way: it has the same uid. */
static enum uidpool_status refuse_to_kill(struct grant *g, const struct uidpool_lease *lease)
{
    char owner[96];

    return problem_set(&g->problem, UIDPOOL_CONFLICT,
                       "pool %s, uid %u is %s for %s, and nothing is killed for one that runs "
                       "already; when that one may die, run 'uidpool release --uid=%u'",
                       g->pool.name, lease->uid, uidpool_state_name(lease->state),
                       lease_owner(lease, owner, sizeof(owner)), lease->uid);
}

/* Afterwards, if not all of it failed, g->revoking is not 0, and on_revoked() goes on. */
static enum uidpool_status revoke_first(struct grant *g, const struct uidpool_lease *leases,
                                        size_t n)
{
    struct revoker *revoker = g->granter->allocator->revoker;
    int r = 0;

    if (g->request.adopt || g->request.hold_nothing)
        return refuse_to_kill(g, &leases[0]);
    grant_unclaim(g);
    for (size_t i = 0; i < n && r >= 0; i++) {
        r = revoker_add(revoker, REVOCATION_KILL, &leases[i], g->request.timeout, NULL, on_revoked,
                        g);
        g->revoking += r >= 0;
    }
    if (r >= 0)
        return UIDPOOL_OK;
    (void)problem_errno(&g->failed, r, "pool %s: cannot revoke what is in the way", g->pool.name);
    g->problem = g->failed;
    return g->revoking > 0 ? UIDPOOL_OK : g->failed.status;
}

/* What the owner has already. Afterwards it has one (g->lease.id), or some are being revoked, or
 * it has none that is not proven. */
static enum uidpool_status settle_owner(struct grant *g)
{
    _cleanup_(lease_list_clear) struct lease_list list = {0};
    size_t n = 0;
    enum uidpool_status status = grant_read_owner(g, &list, &g->problem);

    for (size_t i = 0; i < list.n && status == UIDPOOL_OK; i++) {
        bool revoke = lease_is_unproven(&list.items[i]);

        if (!revoke)
            status = compare(g, &list.items[i], &revoke);
        if (revoke)
            list.items[n++] = list.items[i];
    }
    return status == UIDPOOL_OK && n > 0 ? revoke_first(g, list.items, n) : status;
}

/* Two at once for one owner would each find that it has none. */
static void wait_behind(struct grant *g)
{
    int64_t left = g->deadline - clock_monotonic_usec();
    struct uidpool_lease owner = {.domid = g->request.lease.domid};
    char text[96];

    if (left > 0) {
        g->queued = true;
        grant_later(g, left, grant_begin);
        return;
    }
    (void)snprintf(owner.name, sizeof(owner.name), "%s", g->name);
    grant_end(g, problem_set(&g->problem, UIDPOOL_CONFLICT,
                             "pool %s, %s: another request for it is under way; repeat it",
                             g->pool.name, lease_owner(&owner, text, sizeof(text))));
}

/*
 * Candidates.
 */

static enum uidpool_status explain_taken(struct grant *g, const struct uidpool_lease *lease)
{
    char owner[96];

    (void)lease_owner(lease, owner, sizeof(owner));
    switch (lease->state) {
    case UIDPOOL_STATE_QUARANTINED:
        return problem_set(
            &g->problem, UIDPOOL_CONFLICT,
            "pool %s, uid %u (last %s) is in quarantine for %u s more; wait, or take "
            "another domid",
            g->pool.name, lease->uid, owner, lease->rest_left);
    case UIDPOOL_STATE_HELD:
        return problem_set(&g->problem, UIDPOOL_CONFLICT,
                           "pool %s, uid %u is held: %s. When that is gone, run 'uidpool clear %u'",
                           g->pool.name, lease->uid, lease->reason, lease->uid);
    case UIDPOOL_STATE_LEASED:
    case UIDPOOL_STATE_REVOKING:
        break;
    }
    return problem_set(&g->problem, UIDPOOL_CONFLICT, "pool %s, uid %u is %s for %s", g->pool.name,
                       lease->uid, uidpool_state_name(lease->state), owner);
}

/* The request's own reservation may be an account's, which is perhaps not there to be used. */
static enum uidpool_status check_account(struct grant *g)
{
    struct ledger_account account;
    enum uidpool_status status =
        ledger_account_by_name(ledger_of(g), g->reserved.name, &account, &g->problem);

    if (status == UIDPOOL_OK && account.state != LEDGER_ACCOUNT_PRESENT)
        return problem_set(&g->problem, UIDPOOL_CONFLICT,
                           "pool %s, uid %u is the account %s, which is removed or not finished; "
                           "'uidpool-provision user add %s' makes it",
                           g->pool.name, account.uid, account.name, account.name);
    return status == UIDPOOL_NOT_FOUND ? UIDPOOL_OK : status;
}

static bool is_own(const struct grant *g, const struct uidpool_lease *lease)
{
    return lease->state == UIDPOOL_STATE_LEASED && lease->pool_id == g->pool.id &&
           lease->domid == g->request.lease.domid && strcmp(lease->name, g->name) == 0;
}

/* May a fixed candidate be had? Every lease that meets it must be rested. One that is not proven is
 * revoked. The owner's own came since we looked: look again. */
static enum uidpool_status look_at_fixed(struct grant *g, struct uid_range want, enum verdict *ret)
{
    struct uidpool_reservation other;
    uint32_t left = want.count;

    while (left > 0) {
        struct uidpool_lease lease;
        enum uidpool_status status =
            ledger_lease_at(ledger_of(g), want.first, left, &lease, &g->problem);

        if (status == UIDPOOL_NOT_FOUND)
            break;
        if (status != UIDPOOL_OK)
            return status;
        if (lease_is_unproven(&lease)) {
            *ret = VERDICT_WAIT;
            return revoke_first(g, &lease, 1);
        }
        if (is_own(g, &lease)) {
            *ret = VERDICT_AGAIN;
            return UIDPOOL_OK;
        }
        if (!lease_is_rested(&lease))
            return explain_taken(g, &lease);
        left = lease.uid > want.first ? lease.uid - want.first : 0;
    }
    if (g->is_reserved)
        return check_account(g);
    enum uidpool_status status =
        ledger_reservation_at(ledger_of(g), want.first, want.count, &other, &g->problem);
    if (status == UIDPOOL_OK)
        return problem_set(&g->problem, UIDPOOL_CONFLICT, "pool %s, uid %u is reserved for %s",
                           g->pool.name, other.uid, other.name);
    return status == UIDPOOL_NOT_FOUND ? UIDPOOL_OK : status;
}

/* Is a candidate that was found free still free, now that we have the claim? */
static enum uidpool_status look_at_found(struct grant *g, struct uid_range want, enum verdict *ret)
{
    uid_t first = 0;
    enum uidpool_status status =
        ledger_free_block(ledger_of(g), &g->pool, want.first, want.count, &first, &g->problem);

    if (status == UIDPOOL_EXHAUSTED || (status == UIDPOOL_OK && first != want.first)) {
        *ret = VERDICT_NEXT;
        return UIDPOOL_OK;
    }
    return status;
}

/* From the start, in a moment: somebody else was faster. On a busy host that may happen many times
 * in a row. */
void grant_look_again(struct grant *g, enum uidpool_status status)
{
    grant_unclaim(g);
    g->refusals += status == UIDPOOL_CONFLICT || grant_is_late(g);
    if (g->refusals >= REFUSALS_MAX)
        grant_end(g, problem_set(&g->problem, UIDPOOL_CONFLICT,
                                 "pool %s: the ledger kept changing under the request; repeat it",
                                 g->pool.name));
    else
        grant_later(g, REFUSAL_PAUSE, grant_begin);
}

/*
 * The walk.
 */

/* What jobs of ours have claimed is passed over without a lock being tried. */
static enum uidpool_status find_free(void *userdata, uid_t from, uint32_t count, uid_t *ret,
                                     struct problem *p)
{
    struct grant *g = userdata;
    uid_t end = g->pool.base + g->pool.size, found = 0;

    while (from < end) {
        enum uidpool_status status =
            ledger_free_block(ledger_of(g), &g->pool, from, count, &found, p);

        if (status != UIDPOOL_OK)
            return status;
        from = found;
        while (grant_meets_claims(g, (struct uid_range){from, count}, &from))
            g->in_hands = true;
        if (from == found) {
            *ret = found;
            return UIDPOOL_OK;
        }
    }
    return UIDPOOL_EXHAUSTED;
}

/* A fixed one is waited for, and then all is looked at anew. */
static enum uidpool_status wait_for_claim(struct grant *g, enum verdict *ret)
{
    g->in_hands = true;
    if (!grant_is_fixed(g)) {
        *ret = VERDICT_NEXT;
        return UIDPOOL_OK;
    }
    if (grant_is_late(g))
        return problem_set(&g->problem, UIDPOOL_CONFLICT,
                           "pool %s, uid %u: another uidpool process is at work on it",
                           g->pool.name, g->want.first);
    *ret = VERDICT_WAIT;
    grant_later(g, grant_backoff(g), grant_begin);
    return UIDPOOL_OK;
}

/* Rule 1. */
static enum uidpool_status take_candidate(struct grant *g, enum verdict *ret)
{
    int r = grant_claim(g);

    *ret = VERDICT_OVER;
    if (r == -EAGAIN)
        return wait_for_claim(g, ret);
    if (r < 0)
        return problem_errno(&g->problem, r, "cannot lock %s.lock", ledger_path(ledger_of(g)));
    return grant_is_fixed(g) ? look_at_fixed(g, g->want, ret) : look_at_found(g, g->want, ret);
}

/* To count takes long in a large pool, and those whom it refuses come again and again. What they
 * are told may be out of date by some times as long as that takes. */
static bool is_counted(const struct grant *g)
{
    const struct granter *granter = g->granter;

    return granter->counted.id == g->pool.id &&
           clock_monotonic_usec() - granter->counted_at < COUNT_SHARE * granter->count_took;
}

static enum uidpool_status count_pool(struct grant *g)
{
    struct granter *granter = g->granter;
    int64_t begin = clock_monotonic_usec();
    enum uidpool_status status = ledger_pool_count(ledger_of(g), &g->pool, &g->problem);

    if (status != UIDPOOL_OK)
        return status;
    granter->counted = g->pool;
    granter->counted_at = clock_monotonic_usec();
    granter->count_took = granter->counted_at - begin;
    return UIDPOOL_OK;
}

static enum uidpool_status exhausted(struct grant *g, uint32_t count)
{
    const struct uidpool_pool *pool = &g->granter->counted;
    enum uidpool_status status = is_counted(g) ? UIDPOOL_OK : count_pool(g);

    if (status != UIDPOOL_OK)
        return status;
    return problem_set(&g->problem, UIDPOOL_EXHAUSTED,
                       "pool %s has no %u free uid%s in a row: of %u, %u are leased, %u being "
                       "revoked, %u in quarantine, %u held, %u reserved, %u free. See 'uidpool "
                       "list --pool=%s'",
                       pool->name, count, count == 1 ? "" : "s", pool->size, pool->leased,
                       pool->revoking, pool->quarantined, pool->held, pool->reserved, pool->free,
                       pool->name);
}

/* Others may be done with what they have in hands. */
static void step_exhausted(struct grant *g)
{
    if (g->in_hands && !grant_is_late(g))
        grant_later(g, grant_backoff(g), grant_begin);
    else
        grant_end(g, exhausted(g, g->walk.count));
}

/* Rests that are over, but whose turn had not come. */
static enum uidpool_status write_rested(struct ledger *l, void *userdata, struct problem *p)
{
    struct grant *g = userdata;
    enum uidpool_status status = UIDPOOL_OK;
    uint32_t n = RESTED_CHUNK;

    for (unsigned i = 0; i < RESTED_CHUNKS && n == RESTED_CHUNK && status == UIDPOOL_OK; i++) {
        struct uidpool_lease rested[RESTED_CHUNK];

        status = ledger_lease_rested_of(l, g->pool.id, g->other_boot, RESTED_CHUNK, rested, &n, p);
        for (uint32_t j = 0; j < n && status == UIDPOOL_OK; j++)
            status = lease_step(l, &rested[j], LEASE_EVENT_RESTED, NULL, 0, p);
    }
    return status;
}

static void on_rested(enum uidpool_status status, const struct problem *problem, void *userdata)
{
    struct grant *g = userdata;

    if (status == UIDPOOL_OK) {
        grant_look_again(g, UIDPOOL_OK);
        return;
    }
    g->problem = *problem;
    grant_end(g, status);
}

/* Those of another boot are few, and soon gone, but long to look for. */
static void step_walked(struct grant *g)
{
    struct ledger *l = ledger_of(g);
    struct uidpool_lease rested;
    uint32_t n = 0;
    enum uidpool_status status;

    g->other_boot = false;
    status = ledger_lease_rested_of(l, g->pool.id, false, 1, &rested, &n, &g->problem);
    if (status == UIDPOOL_OK && n == 0 && !is_counted(g)) {
        g->other_boot = true;
        status = ledger_lease_rested_of(l, g->pool.id, true, 1, &rested, &n, &g->problem);
    }
    if (status != UIDPOOL_OK)
        grant_end(g, status);
    else if (n > 0)
        grant_write(g, write_rested, on_rested);
    else
        step_exhausted(g);
}

/* The next candidate that can be had goes on to the census. */
void grant_next_candidate(struct grant *g)
{
    enum verdict verdict;
    enum uidpool_status status;

    do {
        grant_unclaim(g);
        verdict = VERDICT_OVER;
        status = pool_walk_next(&g->walk, find_free, g, &g->want, &g->problem);
        if (status == UIDPOOL_EXHAUSTED && g->walk.over) {
            step_walked(g);
            return;
        }
        if (status == UIDPOOL_OK)
            status = take_candidate(g, &verdict);
    } while (status == UIDPOOL_OK && verdict == VERDICT_NEXT);

    if (status != UIDPOOL_OK)
        grant_end(g, status);
    else if (verdict == VERDICT_AGAIN)
        grant_look_again(g, UIDPOOL_OK);
    else if (verdict == VERDICT_OVER)
        grant_ask(g, award_asked);
}

void grant_begin(struct grant *g)
{
    const struct uidpool_lease_request *request = &g->request.lease;
    enum uidpool_status status;

    if (g->granter->n_claims == GRANT_CLAIMS_MAX) {
        grant_soon(g, grant_begin);
        return;
    }
    g->queued = g->in_hands = false;
    g->lease = (struct uidpool_lease){0};
    status = find_pool(g);
    if (status == UIDPOOL_OK && grant_is_behind(g)) {
        wait_behind(g);
        return;
    }
    if (status == UIDPOOL_OK)
        status = settle_owner(g);
    if (g->revoking > 0)
        return;
    if (status == UIDPOOL_OK && g->lease.id == 0)
        status = pool_walk_begin(&g->pool, request->domid, request->count,
                                 g->is_reserved ? &g->reserved : NULL, &g->walk, &g->problem);
    if (status != UIDPOOL_OK || g->lease.id != 0)
        grant_end(g, status);
    else
        grant_next_candidate(g);
}
