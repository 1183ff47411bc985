/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Giving out a lease: pool_walk names candidates, the claim keeps others away, the census says that
 * nobody runs as them, and one ledger transaction makes it so. Touches the ledger and the census;
 * an unproven lease that is in the way is revoked first.
 */
#include "allocator/allocator.h"
#include "allocator/census.h"
#include "allocator/machine.h"
#include "allocator/pool.h"
#include "allocator/revoker.h"
#include "allocator/scan.h"
#include "allocator/tasks.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/ids.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* So many uids in a row in use by strangers, and the range itself is in doubt. */
#define FOREIGN_MAX 64
/* How often the ledger may refuse what was just found to be free: by then something else is wrong.
 */
#define REFUSALS_MAX 16
/* Quarantines ended with each lease: more than one, so that they cannot pile up. */
#define RESTED_MAX 2
/* Looks at a uid that is in use, and milliseconds between two: a task on its last moments, a
 * helper's orphan among them, is no stranger, and a hold needs an administrator to end it. */
#define STRANGER_LOOKS 5
#define STRANGER_PAUSE_MSEC 10

struct grant {
    struct allocator *allocator;
    const struct uidpool_lease_request *request;
    uint32_t timeout;
    int64_t deadline;
    struct uidpool_pool pool;
    struct uidpool_reservation reserved;
    bool is_reserved;
    unsigned foreign;
    bool in_hands;              /* a free candidate was claimed by somebody else */
    struct uidpool_lease lease; /* the result */
    bool found;                 /* it is in the ledger */
    struct problem *problem;
};

/* What one attempt came to, besides a status. */
enum attempt {
    ATTEMPT_OVER,  /* the status stands */
    ATTEMPT_AGAIN, /* the ledger changed meanwhile: from the start */
    ATTEMPT_NEXT,  /* not this candidate, another */
    ATTEMPT_WAIT,  /* what is free is in others' hands: from the start, in a moment */
};

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
    enum uidpool_status status =
        ledger_pool_each(g->allocator->ledger, count_active, &only, g->problem);

    if (status != UIDPOOL_OK)
        return status;
    if (only.n == 0 && only.unfinished.id)
        return allocator_pool_check_active(&only.unfinished, g->problem);
    if (only.n == 0)
        return problem_set(g->problem, UIDPOOL_NOT_FOUND,
                           "there is no pool; 'uidpool pool add' makes one");
    if (only.n > 1)
        return problem_set(g->problem, UIDPOOL_USAGE,
                           "there are several pools: name one ('uidpool pool list')");
    g->pool = only.pool;
    return UIDPOOL_OK;
}

/* The pool, and the reservation if the name has one there. */
static enum uidpool_status find_pool(struct grant *g)
{
    const struct uidpool_lease_request *request = g->request;
    struct ledger *l = g->allocator->ledger;
    enum uidpool_status status = UIDPOOL_NOT_FOUND;

    if (request->name)
        status = ledger_reservation_by_name(l, request->name, &g->reserved, g->problem);
    if (status != UIDPOOL_OK && status != UIDPOOL_NOT_FOUND)
        return status;
    g->is_reserved =
        status == UIDPOOL_OK && (!request->pool || strcmp(request->pool, g->reserved.pool) == 0);
    if (g->is_reserved)
        status = ledger_pool_by_id(l, g->reserved.pool_id, &g->pool, g->problem);
    else if (request->pool)
        status = ledger_pool_by_name(l, request->pool, &g->pool, g->problem);
    else
        status = find_only_pool(g);
    return status == UIDPOOL_OK ? allocator_pool_check_active(&g->pool, g->problem) : status;
}

static struct uidpool_selector owner_of(const struct grant *g)
{
    return (struct uidpool_selector){
        .struct_size = sizeof(struct uidpool_selector),
        .pool = g->pool.name,
        .domid = g->request->domid,
        .name = g->request->name,
        .uid = UIDPOOL_NO_UID,
    };
}

static bool is_live(const struct uidpool_lease *lease)
{
    return lease->state == UIDPOOL_STATE_LEASED || lease->state == UIDPOOL_STATE_REVOKING;
}

/* A lease in this boot for the same owner: the same one again, a clash, or one to revoke first. A
 * uuid on one side alone is neither: taking it for another would kill a machine that runs. */
static enum uidpool_status compare(struct grant *g, const struct uidpool_lease *lease,
                                   bool *ret_revoke)
{
    const char *uuid = g->request->uuid ? g->request->uuid : "";
    char owner[96];

    (void)lease_owner(lease, owner, sizeof(owner));
    if ((uuid[0] == '\0') != (lease->uuid[0] == '\0'))
        return problem_set(g->problem, UIDPOOL_CONFLICT,
                           "pool %s, %s has uid %u with %s%s; repeat the request like that, or "
                           "release it first",
                           g->pool.name, owner, lease->uid, lease->uuid[0] ? "uuid " : "no uuid",
                           lease->uuid);
    if (strcmp(uuid, lease->uuid) != 0) {
        *ret_revoke = true;
        return UIDPOOL_OK;
    }
    if (g->request->count && g->request->count != lease->count)
        return problem_set(g->problem, UIDPOOL_CONFLICT,
                           "pool %s, %s has %u uids from %u on, not %u; release them first",
                           g->pool.name, owner, lease->count, lease->uid, g->request->count);
    g->lease = *lease;
    g->lease.existing = true;
    g->found = true;
    return UIDPOOL_OK;
}

static enum uidpool_status revoke_first(struct grant *g, const struct uidpool_lease *leases,
                                        size_t n)
{
    return revoke_all(g->allocator, REVOCATION_KILL, leases, n, g->timeout, NULL, NULL, g->problem);
}

/* What the owner has already. Afterwards it has one (g->found) or none that is not proven. */
static enum uidpool_status settle_owner(struct grant *g)
{
    _cleanup_(lease_list_clear) struct lease_list list = {0};
    struct uidpool_selector owner = owner_of(g);
    size_t n = 0;
    enum uidpool_status status =
        lease_list_read(g->allocator->ledger, &owner, is_live, &list, g->problem);

    for (size_t i = 0; i < list.n && status == UIDPOOL_OK; i++) {
        bool revoke = lease_is_unproven(&list.items[i]);

        if (!revoke)
            status = compare(g, &list.items[i], &revoke);
        if (revoke)
            list.items[n++] = list.items[i];
    }
    return status == UIDPOOL_OK && n > 0 ? revoke_first(g, list.items, n) : status;
}

static enum uidpool_status explain_taken(struct grant *g, const struct uidpool_lease *lease)
{
    char owner[96];

    (void)lease_owner(lease, owner, sizeof(owner));
    switch (lease->state) {
    case UIDPOOL_STATE_QUARANTINED:
        return problem_set(
            g->problem, UIDPOOL_CONFLICT,
            "pool %s, uid %u (last %s) is in quarantine for %u s more; wait, or take "
            "another domid",
            g->pool.name, lease->uid, owner, lease->rest_left);
    case UIDPOOL_STATE_HELD:
        return problem_set(g->problem, UIDPOOL_CONFLICT,
                           "pool %s, uid %u is held: %s. When that is gone, run 'uidpool clear %u'",
                           g->pool.name, lease->uid, lease->reason, lease->uid);
    case UIDPOOL_STATE_LEASED:
    case UIDPOOL_STATE_REVOKING:
        break;
    }
    return problem_set(g->problem, UIDPOOL_CONFLICT, "pool %s, uid %u is %s for %s", g->pool.name,
                       lease->uid, uidpool_state_name(lease->state), owner);
}

/* The request's own reservation may be an account's, which is perhaps not there to be used. */
static enum uidpool_status check_account(struct grant *g)
{
    struct ledger_account account;
    enum uidpool_status status =
        ledger_account_by_name(g->allocator->ledger, g->reserved.name, &account, g->problem);

    if (status == UIDPOOL_OK && account.state != LEDGER_ACCOUNT_PRESENT)
        return problem_set(g->problem, UIDPOOL_CONFLICT,
                           "pool %s, uid %u is the account %s, which is removed or not finished; "
                           "'uidpool-provision user add %s' makes it",
                           g->pool.name, account.uid, account.name, account.name);
    return status == UIDPOOL_NOT_FOUND ? UIDPOOL_OK : status;
}

/* May a fixed candidate be had? Every lease that meets it must be rested. One that is not proven is
 * revoked: with the claim still in our hands that would wait for ourselves, so drop it. */
static enum uidpool_status look_at_fixed(struct grant *g, struct uid_range want, int *claim,
                                         enum attempt *ret)
{
    struct uidpool_reservation other;
    uint32_t left = want.count;

    while (left > 0) {
        struct uidpool_lease lease;
        enum uidpool_status status =
            ledger_lease_at(g->allocator->ledger, want.first, left, &lease, g->problem);

        if (status == UIDPOOL_NOT_FOUND)
            break;
        if (status != UIDPOOL_OK)
            return status;
        if (lease_is_unproven(&lease)) {
            *claim = close_fd(*claim);
            *ret = ATTEMPT_AGAIN;
            return revoke_first(g, &lease, 1);
        }
        if (!lease_is_rested(&lease))
            return explain_taken(g, &lease);
        left = lease.uid > want.first ? lease.uid - want.first : 0;
    }
    if (g->is_reserved)
        return check_account(g);
    enum uidpool_status status =
        ledger_reservation_at(g->allocator->ledger, want.first, want.count, &other, g->problem);
    if (status == UIDPOOL_OK)
        return problem_set(g->problem, UIDPOOL_CONFLICT, "pool %s, uid %u is reserved for %s",
                           g->pool.name, other.uid, other.name);
    return status == UIDPOOL_NOT_FOUND ? UIDPOOL_OK : status;
}

/* Is a candidate that was found free still free, now that we have the claim? */
static enum uidpool_status look_at_found(struct grant *g, struct uid_range want, enum attempt *ret)
{
    uid_t first = 0;
    enum uidpool_status status = ledger_free_block(g->allocator->ledger, &g->pool, want.first,
                                                   want.count, &first, g->problem);

    if (status == UIDPOOL_EXHAUSTED || (status == UIDPOOL_OK && first != want.first)) {
        *ret = ATTEMPT_NEXT;
        return UIDPOOL_OK;
    }
    return status;
}

/* What the scan sees of these uids. False: it cannot see everything. */
static bool look_for_tasks(struct uid_range range, struct tasks *ret)
{
    struct scan *scan = NULL;
    bool sees = scan_new(&range, 1, &scan) == 0;

    while (sees && scan_step(scan, UINT32_MAX) > 0)
        ;
    sees = sees && tasks_take(ret, scan, range, NULL) == 0 && !scan_blind(scan);
    scan_free(scan);
    return sees;
}

/* A name for the stranger, if the scan sees it. */
static void describe_foreign(struct uid_range range, char *buf, size_t size)
{
    struct tasks tasks = {0};

    (void)snprintf(buf, size, "a task that the scan cannot see");
    (void)look_for_tasks(range, &tasks);
    if (tasks_count(&tasks, TASK_ALIVE) > 0)
        (void)tasks_describe(&tasks, buf, size);
    tasks_clear(&tasks);
}

/* Ask again, for exactly the dead that the scan sees. */
static enum witness census_beside_zombies(struct census *census, struct uid_range range, int claim)
{
    struct tasks tasks = {0};
    enum witness answer = WITNESS_BUSY;

    if (look_for_tasks(range, &tasks) && tasks_count(&tasks, TASK_ZOMBIE) == tasks.n) {
        answer = WITNESS_EMPTY;
        for (uint32_t i = 0; i < range.count && answer == WITNESS_EMPTY; i++)
            answer = census_ask(census, (struct uid_range){range.first + i, 1},
                                tasks_zombies_of(&tasks, range.first + i), claim);
        if (answer == WITNESS_EMPTY && !tasks_zombies_stayed(&tasks))
            answer = WITNESS_UNKNOWN;
    }
    tasks_clear(&tasks);
    return answer;
}

/* Does anything run as these uids? The kernel also counts the dead whom nobody has reaped yet,
 * such as a former holder's; they are no stranger. UNKNOWN when they are being reaped all the time.
 */
static enum witness anybody_there(struct census *census, struct uid_range range, int claim)
{
    const struct timespec pause = {.tv_nsec = STRANGER_PAUSE_MSEC * 1000000};
    enum witness answer = census_ask(census, range, 0, claim);

    if (answer != WITNESS_BUSY)
        return answer;
    for (unsigned i = 0; i < STRANGER_LOOKS; i++) {
        if (i > 0)
            (void)nanosleep(&pause, NULL);
        answer = census_beside_zombies(census, range, claim);
        if (answer == WITNESS_EMPTY)
            break;
    }
    return answer;
}

/* End what is rested: a little with every lease, and whatever lies in the candidate. */
static enum uidpool_status end_rested(struct grant *g, struct uid_range want)
{
    struct ledger *l = g->allocator->ledger;
    struct uidpool_lease rested[RESTED_MAX];
    uint32_t n = 0, left = want.count;
    enum uidpool_status status = ledger_lease_rested(l, RESTED_MAX, rested, &n, g->problem);

    for (uint32_t i = 0; i < n && status == UIDPOOL_OK; i++)
        status = lease_step(l, &rested[i], LEASE_EVENT_RESTED, NULL, 0, g->problem);
    while (left > 0 && status == UIDPOOL_OK) {
        struct uidpool_lease lease;

        status = ledger_lease_at(l, want.first, left, &lease, g->problem);
        if (status == UIDPOOL_NOT_FOUND)
            return UIDPOOL_OK;
        if (status != UIDPOOL_OK)
            return status;
        left = lease.uid > want.first ? lease.uid - want.first : 0;
        status = lease_step(l, &lease, LEASE_EVENT_RESTED, NULL, 0, g->problem);
    }
    return status;
}

/* Hold one uid that somebody else runs as, so that it is not asked again at every lease. */
static enum uidpool_status hold_foreign(struct grant *g, uid_t uid)
{
    struct ledger *l = g->allocator->ledger;
    struct uidpool_lease hold = {
        .uid = uid,
        .gid = g->pool.group_per_uid ? uid : g->pool.gid,
        .count = 1,
        .pool_id = g->pool.id,
        .domid = UIDPOOL_NO_DOMID,
    };
    char who[256], reason[320];

    describe_foreign((struct uid_range){uid, 1}, who, sizeof(who));
    (void)snprintf(reason, sizeof(reason), "in use without a lease by %s", who);
    enum uidpool_status status = ledger_begin(l, g->problem);
    if (status == UIDPOOL_OK)
        status = end_rested(g, (struct uid_range){uid, 1});
    if (status == UIDPOOL_OK)
        status = lease_step(l, &hold, LEASE_EVENT_FOREIGN, reason, 0, g->problem);
    if (status == UIDPOOL_OK)
        status = ledger_commit(l, g->problem);
    ledger_rollback(l);
    if (status != UIDPOOL_OK)
        return status;
    g->foreign++;
    return problem_set(g->problem, UIDPOOL_CONFLICT,
                       "pool %s, uid %u is %s; it is held from now on. End that, then run 'uidpool "
                       "clear %u'",
                       g->pool.name, uid, reason, uid);
}

/* The census said BUSY of the block: hold those that are. */
static enum uidpool_status hold_busy(struct grant *g, struct uid_range range, int claim)
{
    enum uidpool_status status = UIDPOOL_CONFLICT;

    if (range.count == 1)
        return hold_foreign(g, range.first);
    (void)problem_set(g->problem, UIDPOOL_CONFLICT,
                      "pool %s, one of the uids %u to %u was in use a moment ago", g->pool.name,
                      range.first, uid_range_last(range));
    for (uint32_t i = 0; i < range.count && status == UIDPOOL_CONFLICT; i++) {
        struct uid_range one = {range.first + i, 1};

        if (anybody_there(g->allocator->census, one, claim) == WITNESS_BUSY)
            status = hold_foreign(g, one.first);
    }
    return status;
}

static enum uidpool_status write_lease(struct grant *g, struct uid_range want)
{
    struct ledger *l = g->allocator->ledger;
    const struct uidpool_lease_request *request = g->request;
    struct uidpool_lease lease = {
        .uid = want.first,
        .count = want.count,
        .gid = g->pool.group_per_uid ? want.first : g->pool.gid,
        .pool_id = g->pool.id,
        .domid = request->domid,
    };

    (void)snprintf(lease.pool, sizeof(lease.pool), "%s", g->pool.name);
    (void)snprintf(lease.name, sizeof(lease.name), "%s", request->name ? request->name : "");
    (void)snprintf(lease.uuid, sizeof(lease.uuid), "%s", request->uuid ? request->uuid : "");
    enum uidpool_status status = end_rested(g, want);
    if (status == UIDPOOL_OK)
        status = lease_step(l, &lease, LEASE_EVENT_GRANT, NULL, 0, g->problem);
    if (status == UIDPOOL_OK && g->pool.policy == UIDPOOL_POLICY_NEXT && !g->is_reserved)
        status = ledger_pool_set_next(l, g->pool.id, pool_next_after(&g->pool, want), g->problem);
    if (status == UIDPOOL_OK)
        status = ledger_commit(l, g->problem);
    if (status != UIDPOOL_OK)
        return status;
    g->lease = lease;
    g->found = true;
    return UIDPOOL_OK;
}

/* The one transaction. The owner is asked for again inside: somebody may have been faster. */
static enum uidpool_status grant(struct grant *g, struct uid_range want, enum attempt *ret)
{
    struct ledger *l = g->allocator->ledger;
    _cleanup_(lease_list_clear) struct lease_list list = {0};
    struct uidpool_selector owner = owner_of(g);
    enum uidpool_status status = ledger_begin(l, g->problem);

    if (status == UIDPOOL_OK)
        status = lease_list_read(l, &owner, is_live, &list, g->problem);
    if (status == UIDPOOL_OK && list.n > 0)
        *ret = ATTEMPT_AGAIN;
    else if (status == UIDPOOL_OK) {
        status = write_lease(g, want);
        if (status == UIDPOOL_CONFLICT)
            *ret = ATTEMPT_AGAIN;
    }
    ledger_rollback(l);
    return status;
}

static void pause_for_claims(void)
{
    const struct timespec pause = {.tv_nsec = 2000000};

    (void)nanosleep(&pause, NULL);
}

static int claim(struct grant *g, struct uid_range want, bool wait)
{
    int fd;

    while ((fd = ledger_claim_uids(g->allocator->ledger, want.first, want.count)) == -EAGAIN &&
           wait && clock_monotonic_usec() < g->deadline)
        pause_for_claims();
    return fd;
}

static enum uidpool_status try_candidate(struct grant *g, struct uid_range want, bool fixed,
                                         enum attempt *ret)
{
    _cleanup_fd_ int fd = claim(g, want, fixed);
    enum uidpool_status status;

    *ret = ATTEMPT_OVER;
    if (fd == -EAGAIN) {
        g->in_hands = true;
        *ret = fixed ? ATTEMPT_OVER : ATTEMPT_NEXT;
        return problem_set(g->problem, UIDPOOL_CONFLICT,
                           "pool %s, uid %u: another uidpool process is at work on it",
                           g->pool.name, want.first);
    }
    if (fd < 0)
        return problem_errno(g->problem, fd, "cannot lock %s.lock",
                             ledger_path(g->allocator->ledger));
    status = fixed ? look_at_fixed(g, want, &fd, ret) : look_at_found(g, want, ret);
    if (status != UIDPOOL_OK || *ret != ATTEMPT_OVER)
        return status;

    switch (anybody_there(g->allocator->census, want, fd)) {
    case WITNESS_EMPTY:
        return grant(g, want, ret);
    case WITNESS_BUSY:
        status = hold_busy(g, want, fd);
        if (status == UIDPOOL_CONFLICT && !fixed && g->foreign < FOREIGN_MAX)
            *ret = ATTEMPT_NEXT;
        return status;
    case WITNESS_UNKNOWN:
        break;
    }
    return problem_set(g->problem, UIDPOOL_NOT_PROVEN,
                       "pool %s, uid %u: the census has no answer, so nothing was leased; the "
                       "helper uidpool-census said why on standard error",
                       g->pool.name, want.first);
}

static enum uidpool_status find_free(void *userdata, uid_t from, uint32_t count, uid_t *ret,
                                     struct problem *p)
{
    struct grant *g = userdata;

    return ledger_free_block(g->allocator->ledger, &g->pool, from, count, ret, p);
}

static enum uidpool_status exhausted(struct grant *g, uint32_t count)
{
    struct uidpool_pool *pool = &g->pool;
    enum uidpool_status status = ledger_pool_count(g->allocator->ledger, pool, g->problem);

    if (status != UIDPOOL_OK)
        return status;
    return problem_set(g->problem, UIDPOOL_EXHAUSTED,
                       "pool %s has no %u free uid%s in a row: of %u, %u are leased, %u being "
                       "revoked, %u in quarantine, %u held, %u reserved, %u free. See 'uidpool "
                       "list --pool=%s'",
                       pool->name, count, count == 1 ? "" : "s", pool->size, pool->leased,
                       pool->revoking, pool->quarantined, pool->held, pool->reserved, pool->free,
                       pool->name);
}

/* One walk over the candidates. */
static enum uidpool_status attempt(struct grant *g, enum attempt *ret)
{
    struct pool_walk walk = {0};
    struct uid_range want;
    enum uidpool_status status =
        pool_walk_begin(&g->pool, g->request->domid, g->request->count,
                        g->is_reserved ? &g->reserved : NULL, &walk, g->problem);

    *ret = ATTEMPT_OVER;
    g->in_hands = false;
    while (status == UIDPOOL_OK &&
           (status = pool_walk_next(&walk, find_free, g, &want, g->problem)) == UIDPOOL_OK) {
        status = try_candidate(g, want, walk.fixed != UIDPOOL_NO_UID, ret);
        if (*ret != ATTEMPT_NEXT)
            return status;
        status = UIDPOOL_OK;
    }
    if (status != UIDPOOL_EXHAUSTED || !walk.over)
        return status; /* also when the walk could not begin */

    /* Rests that are over, but whose turn had not come. */
    size_t freed = 0;
    status = allocator_free_rested(g->allocator, g->pool.name, &freed, g->problem);
    if (status == UIDPOOL_OK && freed > 0)
        *ret = ATTEMPT_AGAIN;
    else if (status == UIDPOOL_OK && g->in_hands && clock_monotonic_usec() < g->deadline)
        *ret = ATTEMPT_WAIT;
    else if (status == UIDPOOL_OK)
        status = exhausted(g, walk.count);
    return status;
}

enum uidpool_status allocator_lease(struct allocator *a,
                                    const struct uidpool_lease_request *request, uint32_t timeout,
                                    struct uidpool_lease *ret, struct problem *p)
{
    struct grant g = {
        .allocator = a,
        .request = request,
        .timeout = timeout,
        .deadline = clock_monotonic_usec() + (int64_t)timeout * USEC_PER_SEC,
        .problem = p,
    };

    for (unsigned refusals = 0; refusals < REFUSALS_MAX;) {
        enum attempt next = ATTEMPT_OVER;
        enum uidpool_status status = find_pool(&g);

        if (status == UIDPOOL_OK)
            status = settle_owner(&g);
        if (status == UIDPOOL_OK && !g.found)
            status = attempt(&g, &next);
        if (status == UIDPOOL_OK && g.found)
            *ret = g.lease;
        if (g.found || next == ATTEMPT_OVER || (status != UIDPOOL_OK && status != UIDPOOL_CONFLICT))
            return status;
        /* Somebody else was faster. On a busy host that may happen many times in a row. */
        refusals += status == UIDPOOL_CONFLICT || clock_monotonic_usec() >= g.deadline;
        pause_for_claims();
    }
    return problem_set(p, UIDPOOL_CONFLICT,
                       "pool %s: the ledger kept changing under the request; repeat it",
                       g.pool.name);
}
