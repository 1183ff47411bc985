/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One account on one uid of a pool. Reads the ledger, changes nothing. */
#include "provision/request.h"

#include <stdio.h>
#include <string.h>

static void fill(struct user_request *r, const char *name, const char *pool)
{
    (void)snprintf(r->name, sizeof(r->name), "%s", name);
    (void)snprintf(r->pool, sizeof(r->pool), "%s", pool);
}

static struct user_request request_of(const struct ledger_account *a)
{
    struct user_request r = {.uid = a->uid, .gid = a->gid, .group_per_uid = a->gid == a->uid};

    fill(&r, a->name, a->pool);
    return r;
}

static enum uidpool_status add_again(const struct ledger_account *a, const char *pool, uid_t uid,
                                     struct user_request *ret, struct problem *p)
{
    if ((pool && strcmp(pool, a->pool) != 0) || (uid != UIDPOOL_NO_UID && uid != a->uid))
        return problem_set(p, UIDPOOL_CONFLICT,
                           "%s is an account of pool %s on uid %u already; accounts keep both, so "
                           "take another name",
                           a->name, a->pool, a->uid);
    *ret = request_of(a);
    return UIDPOOL_OK;
}

static enum uidpool_status find_pool(const struct choices *choices, const char *name,
                                     const struct chosen_pool **ret, struct problem *p)
{
    if (!name && choices->n == 0)
        return problem_set(p, UIDPOOL_NOT_FOUND,
                           "the configuration has no pool; see uidpool.conf(5)");
    if (!name && choices->n > 1)
        return problem_set(p, UIDPOOL_USAGE,
                           "the configuration has several pools: name one with --pool");
    for (size_t i = 0; i < choices->n; i++)
        if (!name || strcmp(choices->pools[i].settings->name, name) == 0) {
            *ret = &choices->pools[i];
            return UIDPOOL_OK;
        }
    return problem_set(p, UIDPOOL_NOT_FOUND,
                       "the configuration has no section [pool %s]; see uidpool.conf(5)", name);
}

/* Is it a pool in which single uids may have accounts? */
static enum uidpool_status check_accounts(const struct pool_settings *s, struct problem *p)
{
    if (s->accounts & ACCOUNTS_RANGE_BASE)
        return problem_set(p, UIDPOOL_CONFLICT,
                           "pool %s has the account %s, from which libxl counts: it refuses a "
                           "domain whose uid resolves to a name; make the account in a pool "
                           "without range-base",
                           s->name, s->range_base);
    if (s->accounts & ACCOUNTS_PER_DOMID)
        return problem_set(p, UIDPOOL_CONFLICT,
                           "every uid of pool %s has an account already, %s-domid<N>; make the "
                           "account in a pool without per-domid",
                           s->name, s->prefix);
    return UIDPOOL_OK;
}

enum uidpool_status request_add(const struct choices *choices, const struct state *state,
                                const char *name, const char *pool, uid_t uid,
                                struct user_request *ret, bool *ret_later, struct problem *p)
{
    const struct ledger_account *account = state_account(state, name);
    const struct chosen_pool *chosen = NULL;
    enum uidpool_status status;

    *ret_later = false;
    if (account)
        return add_again(account, pool, uid, ret, p);
    status = find_pool(choices, pool, &chosen, p);
    if (!chosen)
        return status;
    status = check_accounts(chosen->settings, p);
    if (status != UIDPOOL_OK)
        return status;
    if (chosen->fate == POOL_RETIRED)
        return problem_set(p, UIDPOOL_CONFLICT, "pool %s is retired", chosen->settings->name);
    if (uid != UIDPOOL_NO_UID && chosen->fate != POOL_STUCK &&
        !uid_range_has((struct uid_range){chosen->base, chosen->settings->size}, uid))
        return problem_set(p, UIDPOOL_CONFLICT, "uid %u is not in pool %s, %u to %u", uid,
                           chosen->settings->name, chosen->base,
                           chosen->base + (chosen->settings->size - 1));
    *ret_later = chosen->fate != POOL_KNOWN;
    if (*ret_later)
        return UIDPOOL_OK;
    *ret = (struct user_request){
        .uid = uid,
        .gid = chosen->settings->group_per_uid ? uid : chosen->gid,
        .group_per_uid = chosen->settings->group_per_uid,
    };
    fill(ret, name, chosen->settings->name);
    return UIDPOOL_OK;
}

static enum uidpool_status take_reserved(const struct uidpool_reservation *r,
                                         struct user_request *request, struct problem *p)
{
    if (strcmp(r->pool, request->pool) != 0 || r->count != 1 ||
        (request->uid != UIDPOOL_NO_UID && request->uid != r->uid))
        return problem_set(p, UIDPOOL_CONFLICT,
                           "%s has %u uids from %u on reserved in pool %s; 'uidpool unreserve %s' "
                           "ends that",
                           r->name, r->count, r->uid, r->pool, r->name);
    request->uid = r->uid;
    return UIDPOOL_OK;
}

static enum uidpool_status take_last(struct ledger *l, struct user_request *request,
                                     struct problem *p)
{
    struct uidpool_pool pool;
    enum uidpool_status status = ledger_pool_by_name(l, request->pool, &pool, p);

    if (status == UIDPOOL_OK)
        status = ledger_free_block_last(l, &pool, 1, &request->uid, p);
    if (status == UIDPOOL_EXHAUSTED)
        return problem_set(p, status, "pool %s has no free uid", request->pool);
    return status;
}

enum uidpool_status request_choose_uid(struct ledger *l, struct user_request *request,
                                       struct problem *p)
{
    struct uidpool_reservation reserved;
    enum uidpool_status status = ledger_reservation_by_name(l, request->name, &reserved, p);

    if (status == UIDPOOL_OK)
        status = take_reserved(&reserved, request, p);
    else if (status == UIDPOOL_NOT_FOUND)
        status = request->uid == UIDPOOL_NO_UID ? take_last(l, request, p) : UIDPOOL_OK;
    if (status == UIDPOOL_OK && request->group_per_uid)
        request->gid = request->uid;
    return status;
}

enum uidpool_status request_remove(struct ledger *l, const struct state *state, const char *name,
                                   struct user_request *ret, struct problem *p)
{
    const struct ledger_account *account = state_account(state, name);
    struct uidpool_lease lease;
    enum uidpool_status status;

    if (!account)
        return problem_set(p, UIDPOOL_NOT_FOUND,
                           "the ledger has no account %s; accounts that 'user add' did not make "
                           "are not removed",
                           name);
    status = ledger_lease_at(l, account->uid, 1, &lease, p);
    if (status == UIDPOOL_OK &&
        (lease.state == UIDPOOL_STATE_LEASED || lease.state == UIDPOOL_STATE_REVOKING))
        return problem_set(p, UIDPOOL_CONFLICT,
                           "uid %u of %s is %s; release it first ('uidpool release --name=%s')",
                           account->uid, name, uidpool_state_name(lease.state), name);
    if (status != UIDPOOL_OK && status != UIDPOOL_NOT_FOUND)
        return status;
    *ret = request_of(account);
    ret->remove = true;
    return UIDPOOL_OK;
}
