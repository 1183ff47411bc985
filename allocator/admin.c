/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pools and reservations: made, brought back, retired and ended. Touches the ledger, and asks the
 * host whose uids a range already is. */
#include "allocator/allocator.h"
#include "allocator/hostrange.h"
#include "common/ids.h"

#include <stdio.h>
#include <string.h>

struct range_search {
    struct allocator *allocator;
    struct uid_range range;
    char pool[UIDPOOL_NAME_MAX + 1]; /* the one in the way */
    struct problem *problem;
};

static bool note_overlap(const struct uidpool_pool *pool, void *userdata)
{
    struct range_search *s = userdata;

    if (!uid_ranges_overlap(pool->base, pool->size, s->range.first, s->range.count))
        return true;
    (void)snprintf(s->pool, sizeof(s->pool), "%s", pool->name);
    return false;
}

/* UIDPOOL_CONFLICT if a pool or the reaper has one of these uids. */
static enum uidpool_status check_ledger(struct range_search *s)
{
    uid_t reaper;
    uint32_t n;
    enum uidpool_status status;

    s->pool[0] = '\0';
    status = ledger_pool_each(s->allocator->ledger, note_overlap, s, s->problem);
    if (status == UIDPOOL_OK)
        status = ledger_reaper_range(s->allocator->ledger, &reaper, &n, s->problem);
    if (status != UIDPOOL_OK)
        return status;
    if (s->pool[0])
        return problem_set(s->problem, UIDPOOL_CONFLICT,
                           "uids %u to %u overlap pool %s ('uidpool pool show %s'); choose another "
                           "base, or --base=auto",
                           s->range.first, uid_range_last(s->range), s->pool, s->pool);
    if (uid_ranges_overlap(reaper, n, s->range.first, s->range.count))
        return problem_set(s->problem, UIDPOOL_CONFLICT,
                           "uids %u to %u meet the reaper's, %u to %u; choose another base, or "
                           "--base=auto",
                           s->range.first, uid_range_last(s->range), reaper, reaper + n - 1);
    return UIDPOOL_OK;
}

static bool is_taken(struct uid_range range, void *userdata)
{
    struct range_search *s = userdata;

    s->range = range;
    return check_ledger(s) != UIDPOOL_OK;
}

static void forward_progress(const char *text, void *userdata)
{
    struct range_search *s = userdata;

    allocator_progress(s->allocator, "%s", text);
}

/* A base that was given may carry the one account that libxl looks for (range-base); the rest of
 * the range must be nobody's. That somebody could be granted it is the administrator's to weigh:
 * Xen's own documented base lies in the first subordinate grant. */
static enum uidpool_status check_given(struct range_search *s, struct problem *warning)
{
    struct uid_range behind_base = {s->range.first + 1, s->range.count - 1};
    enum uidpool_status status = check_ledger(s);

    if (status == UIDPOOL_OK)
        status = hostrange_check_owners(behind_base, forward_progress, s, s->problem);
    if (status == UIDPOOL_OK)
        (void)hostrange_check_claims(s->range, warning);
    return status;
}

static bool same_rules(const struct uidpool_pool *pool, const struct uidpool_pool_request *r)
{
    gid_t gid = r->group_is_base ? pool->base : r->gid;

    return (r->base_auto || pool->base == r->base) && pool->size == r->size &&
           pool->policy == r->policy && pool->group_per_uid == r->group_per_uid &&
           (r->group_per_uid || pool->gid == gid) && pool->quarantine == r->quarantine &&
           pool->follow == r->follow && pool->resolve == r->resolve;
}

enum uidpool_status allocator_pool_check_finished(const struct uidpool_pool *pool,
                                                  struct problem *p)
{
    if (!pool->provisioning)
        return UIDPOOL_OK;
    return problem_set(p, UIDPOOL_CONFLICT,
                       "pool %s is still being provisioned, its accounts are not finished; run "
                       "'uidpool-provision apply'",
                       pool->name);
}

enum uidpool_status allocator_pool_check_active(const struct uidpool_pool *pool, struct problem *p)
{
    enum uidpool_status status = allocator_pool_check_finished(pool, p);

    if (status != UIDPOOL_OK || !pool->retired)
        return status;
    return problem_set(p, UIDPOOL_CONFLICT,
                       "pool %s is retired and gives no uids; 'uidpool pool add' with its range "
                       "brings it back",
                       pool->name);
}

/* The name is taken: by the same pool, perhaps retired, or by another. */
static enum uidpool_status add_again(struct allocator *a, const struct uidpool_pool_request *r,
                                     struct uidpool_pool *pool, struct problem *p)
{
    if (!same_rules(pool, r))
        return problem_set(p, UIDPOOL_CONFLICT,
                           "pool %s exists with another range or rule ('uidpool pool show %s'); "
                           "nothing was changed",
                           pool->name, pool->name);
    if (!pool->retired)
        return UIDPOOL_OK;

    enum uidpool_status status = allocator_pool_check_finished(pool, p);
    if (status == UIDPOOL_OK)
        status = ledger_begin(a->ledger, p);
    if (status == UIDPOOL_OK)
        status = ledger_pool_set_retired(a->ledger, pool->id, false, p);
    if (status == UIDPOOL_OK)
        status = ledger_commit(a->ledger, p);
    ledger_rollback(a->ledger);
    if (status == UIDPOOL_OK)
        pool->retired = false;
    return status;
}

static enum uidpool_status choose_range(struct range_search *s,
                                        const struct uidpool_pool_request *r, struct problem *p)
{
    uid_t base = r->base;

    if (r->base_auto) {
        enum uidpool_status status =
            hostrange_find(r->size, is_taken, forward_progress, s, &base, p);

        if (status != UIDPOOL_OK)
            return status;
    }
    s->range = (struct uid_range){base, r->size};
    return UIDPOOL_OK;
}

static enum uidpool_status insert_pool(struct allocator *a, const struct uidpool_pool_request *r,
                                       uid_t base, struct problem *p)
{
    struct uidpool_pool pool = {
        .base = base,
        .size = r->size,
        .policy = r->policy,
        .group_per_uid = r->group_per_uid,
        .gid = r->group_is_base ? base : r->gid,
        .quarantine = r->quarantine,
        .follow = r->follow,
        .resolve = r->resolve,
    };

    (void)snprintf(pool.name, sizeof(pool.name), "%s", r->name);
    enum uidpool_status status = ledger_begin(a->ledger, p);
    if (status == UIDPOOL_OK)
        status = ledger_pool_insert(a->ledger, &pool, p);
    if (status == UIDPOOL_OK)
        status = ledger_commit(a->ledger, p);
    ledger_rollback(a->ledger);
    return status;
}

static enum uidpool_status add_new(struct allocator *a, const struct uidpool_pool_request *request,
                                   struct uidpool_pool *ret, struct problem *warning,
                                   struct problem *p)
{
    struct range_search search = {.allocator = a, .problem = p};
    enum uidpool_status status = choose_range(&search, request, p);

    if (status == UIDPOOL_OK)
        status = request->base_auto ? check_ledger(&search) : check_given(&search, warning);
    if (status == UIDPOOL_OK)
        status = insert_pool(a, request, search.range.first, p);
    if (status == UIDPOOL_OK)
        status = ledger_pool_by_name(a->ledger, request->name, ret, p);
    return status;
}

/* UIDPOOL_OK with a text in `p` is a warning. */
enum uidpool_status allocator_pool_add(struct allocator *a,
                                       const struct uidpool_pool_request *request,
                                       struct uidpool_pool *ret, struct problem *p)
{
    struct problem warning = {0};
    enum uidpool_status status = ledger_pool_by_name(a->ledger, request->name, ret, p);
    bool found = status == UIDPOOL_OK;

    if (status == UIDPOOL_NOT_FOUND) {
        status = add_new(a, request, ret, &warning, p);
        /* Somebody may have been faster with the same request. */
        found = status == UIDPOOL_CONFLICT &&
                ledger_pool_by_name(a->ledger, request->name, ret, NULL) == UIDPOOL_OK;
    }
    if (found)
        status = add_again(a, request, ret, p);
    if (status == UIDPOOL_OK)
        status = ledger_pool_count(a->ledger, ret, p);
    if (status == UIDPOOL_OK && warning.status != UIDPOOL_OK)
        (void)problem_set(p, UIDPOOL_OK, "warning: %s", warning.text);
    return status;
}

enum uidpool_status allocator_pool_retire(struct allocator *a, const char *name, struct problem *p)
{
    struct uidpool_pool pool;
    enum uidpool_status status = ledger_begin(a->ledger, p);

    if (status == UIDPOOL_OK)
        status = ledger_pool_by_name(a->ledger, name, &pool, p);
    if (status == UIDPOOL_OK)
        status = allocator_pool_check_finished(&pool, p);
    if (status == UIDPOOL_OK)
        status = ledger_pool_count(a->ledger, &pool, p);
    if (status == UIDPOOL_OK && pool.leased + pool.revoking > 0)
        status = problem_set(p, UIDPOOL_CONFLICT,
                             "pool %s: %u uids are leased and %u being revoked; release them first "
                             "('uidpool list --pool=%s')",
                             name, pool.leased, pool.revoking, name);
    if (status == UIDPOOL_OK && !pool.retired)
        status = ledger_pool_set_retired(a->ledger, pool.id, true, p);
    if (status == UIDPOOL_OK)
        status = ledger_commit(a->ledger, p);
    ledger_rollback(a->ledger);
    return status;
}

/* Say who is in the way; the ledger's own rule would only say that somebody is. */
static enum uidpool_status explain_reserved(struct allocator *a,
                                            const struct uidpool_reservation *want,
                                            struct problem *p)
{
    struct uidpool_reservation other;
    struct uidpool_lease lease;
    char owner[96];

    if (ledger_reservation_at(a->ledger, want->uid, want->count, &other, NULL) == UIDPOOL_OK)
        return problem_set(p, UIDPOOL_CONFLICT, "uid %u of pool %s is reserved for %s", other.uid,
                           want->pool, other.name);
    if (ledger_lease_at(a->ledger, want->uid, want->count, &lease, NULL) == UIDPOOL_OK)
        return problem_set(p, UIDPOOL_CONFLICT, "uid %u of pool %s is %s for %s", lease.uid,
                           want->pool, uidpool_state_name(lease.state),
                           lease_owner(&lease, owner, sizeof(owner)));
    return p->status;
}

static enum uidpool_status choose_uids(struct allocator *a, const struct uidpool_pool *pool,
                                       struct uidpool_reservation *want, struct problem *p)
{
    if (want->uid == UIDPOOL_NO_UID) {
        enum uidpool_status status =
            ledger_free_block_last(a->ledger, pool, want->count, &want->uid, p);

        return status != UIDPOOL_EXHAUSTED
                   ? status
                   : problem_set(p, UIDPOOL_EXHAUSTED, "pool %s has no %u free uids in a row",
                                 pool->name, want->count);
    }
    if (want->uid < pool->base ||
        (uint64_t)want->uid + want->count > (uint64_t)pool->base + pool->size)
        return problem_set(p, UIDPOOL_CONFLICT,
                           "%u uids from %u on are not all in pool %s (%u to %u)", want->count,
                           want->uid, pool->name, pool->base, pool->base + pool->size - 1);
    return UIDPOOL_OK;
}

/* The name has a reservation already: is it the one that is wanted? */
static enum uidpool_status reserve_again(const struct uidpool_reservation *have,
                                         const struct uidpool_pool *pool,
                                         const struct uidpool_reservation *want, struct problem *p)
{
    if (have->pool_id == pool->id && have->count == want->count &&
        (want->uid == UIDPOOL_NO_UID || want->uid == have->uid))
        return UIDPOOL_OK;
    return problem_set(p, UIDPOOL_CONFLICT,
                       "%s has %u uids from %u on reserved in pool %s; 'uidpool unreserve %s' ends "
                       "that",
                       have->name, have->count, have->uid, have->pool, have->name);
}

static enum uidpool_status reserve_new(struct allocator *a, const struct uidpool_pool *pool,
                                       struct uidpool_reservation *want, struct problem *p)
{
    enum uidpool_status status = allocator_pool_check_active(pool, p);

    want->pool_id = pool->id;
    if (status == UIDPOOL_OK)
        status = choose_uids(a, pool, want, p);
    if (status == UIDPOOL_OK) {
        status = ledger_reservation_insert(a->ledger, want, p);
        if (status == UIDPOOL_CONFLICT)
            status = explain_reserved(a, want, p);
    }
    return status;
}

enum uidpool_status allocator_reserve_within(struct allocator *a, struct uidpool_reservation *r,
                                             struct problem *p)
{
    struct uidpool_reservation want = *r, have;
    struct uidpool_pool pool;
    enum uidpool_status status = ledger_pool_by_name(a->ledger, want.pool, &pool, p);

    if (status != UIDPOOL_OK)
        return status;
    status = ledger_reservation_by_name(a->ledger, want.name, &have, p);
    if (status == UIDPOOL_OK)
        status = reserve_again(&have, &pool, &want, p);
    else if (status == UIDPOOL_NOT_FOUND) {
        status = reserve_new(a, &pool, &want, p);
        if (status == UIDPOOL_OK)
            status = ledger_reservation_by_name(a->ledger, want.name, &have, p);
    }
    if (status == UIDPOOL_OK)
        *r = have;
    return status;
}

enum uidpool_status allocator_reserve(struct allocator *a, const char *name, const char *pool,
                                      uid_t uid, uint32_t count, struct uidpool_reservation *ret,
                                      struct problem *p)
{
    struct uidpool_reservation want = {.uid = uid, .count = count};
    size_t freed;
    enum uidpool_status status = allocator_free_rested(a, pool, &freed, p);

    (void)snprintf(want.name, sizeof(want.name), "%s", name);
    (void)snprintf(want.pool, sizeof(want.pool), "%s", pool);
    if (status == UIDPOOL_OK)
        status = ledger_begin(a->ledger, p);
    if (status == UIDPOOL_OK)
        status = allocator_reserve_within(a, &want, p);
    if (status == UIDPOOL_OK)
        status = ledger_commit(a->ledger, p);
    ledger_rollback(a->ledger);
    if (status == UIDPOOL_OK)
        *ret = want;
    return status;
}

/* May the reservation end? */
static enum uidpool_status check_unreserved(struct allocator *a,
                                            const struct uidpool_reservation *r, struct problem *p)
{
    struct ledger_account account;
    struct uidpool_lease lease;
    char owner[96];

    if (ledger_account_by_name(a->ledger, r->name, &account, NULL) == UIDPOOL_OK)
        return problem_set(p, UIDPOOL_CONFLICT,
                           "uid %u is the account %s, so it stays reserved for ever: files may "
                           "carry it. 'uidpool-provision user remove %s' locks the account",
                           account.uid, account.name, account.name);
    if (ledger_lease_at(a->ledger, r->uid, r->count, &lease, NULL) == UIDPOOL_OK)
        return problem_set(p, UIDPOOL_CONFLICT,
                           "uid %u, reserved for %s, is %s for %s; wait for its end, or release "
                           "it",
                           lease.uid, r->name, uidpool_state_name(lease.state),
                           lease_owner(&lease, owner, sizeof(owner)));
    return UIDPOOL_OK;
}

enum uidpool_status allocator_unreserve(struct allocator *a, const char *name, struct problem *p)
{
    struct uidpool_reservation r;
    size_t freed;
    enum uidpool_status status = allocator_free_rested(a, NULL, &freed, p);

    if (status == UIDPOOL_OK)
        status = ledger_begin(a->ledger, p);
    if (status == UIDPOOL_OK)
        status = ledger_reservation_by_name(a->ledger, name, &r, p);
    if (status == UIDPOOL_OK)
        status = check_unreserved(a, &r, p);
    if (status == UIDPOOL_OK)
        status = ledger_reservation_delete(a->ledger, name, p);
    if (status == UIDPOOL_OK)
        status = ledger_commit(a->ledger, p);
    ledger_rollback(a->ledger);
    return status;
}
