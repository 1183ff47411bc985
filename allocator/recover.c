/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Release, recovery and clearing: which leases to bring to where the proof says. The bringing is
 * allocator/revocation/revoke.c's. */
#include "allocator/allocator.h"
#include "allocator/engine.h"
#include "allocator/machine.h"
#include "common/cleanup.h"

#include <inttypes.h>
#include <stdio.h>

/* Quarantines ended in one transaction, so that other writers get their turn. */
#define FREE_CHUNK 256

static const struct uidpool_selector everything = UIDPOOL_SELECTOR_INIT;

static enum uidpool_status free_chunk(struct allocator *a, const struct uidpool_lease *leases,
                                      size_t n, struct problem *p)
{
    enum uidpool_status status = ledger_begin(a->ledger, p);

    for (size_t i = 0; i < n && status == UIDPOOL_OK; i++) {
        struct uidpool_lease lease = leases[i];

        status = lease_step(a->ledger, &lease, LEASE_EVENT_RESTED, NULL, 0, p);
        /* Somebody who leased the uid anew has ended it already. */
        if (status == UIDPOOL_CONFLICT)
            status = UIDPOOL_OK;
    }
    if (status == UIDPOOL_OK)
        status = ledger_commit(a->ledger, p);
    ledger_rollback(a->ledger);
    return status;
}

enum uidpool_status allocator_free_rested(struct allocator *a, const char *pool, size_t *ret_freed,
                                          struct problem *p)
{
    _cleanup_(lease_list_clear) struct lease_list list = {0};
    struct uidpool_selector selector = everything;

    selector.pool = pool;
    enum uidpool_status status = lease_list_read(a->ledger, &selector, lease_is_rested, &list, p);
    for (size_t i = 0; i < list.n && status == UIDPOOL_OK; i += FREE_CHUNK)
        status =
            free_chunk(a, list.items + i, list.n - i < FREE_CHUNK ? list.n - i : FREE_CHUNK, p);
    if (status == UIDPOOL_OK)
        *ret_freed = list.n;
    return status;
}

static bool is_live(const struct uidpool_lease *lease)
{
    return lease->state == UIDPOOL_STATE_LEASED || lease->state == UIDPOOL_STATE_REVOKING;
}

static bool is_over(const struct uidpool_lease *lease)
{
    return !is_live(lease);
}

static enum uidpool_status none_found(const struct uidpool_selector *s, struct problem *p)
{
    char what[128] = "it";

    if (s->uid != UIDPOOL_NO_UID)
        (void)snprintf(what, sizeof(what), "uid %u", s->uid);
    else if (s->domid != UIDPOOL_NO_DOMID)
        (void)snprintf(what, sizeof(what), "domid %" PRId64, s->domid);
    else if (s->name)
        (void)snprintf(what, sizeof(what), "name %s", s->name);
    return problem_set(p, UIDPOOL_NOT_FOUND,
                       "there is no lease for %s%s%s; 'uidpool list' shows all", what,
                       s->pool ? " in pool " : "", s->pool ? s->pool : "");
}

enum uidpool_status allocator_release_which(struct allocator *a,
                                            const struct uidpool_selector *selector,
                                            struct lease_list *ret_live,
                                            struct lease_list *ret_over, struct problem *p)
{
    _cleanup_(lease_list_clear) struct lease_list live = {0}, over = {0};
    struct uidpool_pool pool;
    enum uidpool_status status = UIDPOOL_OK;

    if (selector->pool)
        status = ledger_pool_by_name(a->ledger, selector->pool, &pool, p);
    if (status == UIDPOOL_OK)
        status = lease_list_read(a->ledger, selector, is_live, &live, p);
    if (status == UIDPOOL_OK && live.n == 0)
        status = lease_list_read(a->ledger, selector, is_over, &over, p);
    if (status == UIDPOOL_OK && live.n == 0 && over.n == 0)
        status = none_found(selector, p);
    if (status != UIDPOOL_OK)
        return status;
    *ret_live = live;
    *ret_over = over;
    live = over = (struct lease_list){0};
    return UIDPOOL_OK;
}

enum uidpool_status allocator_release(struct allocator *a, const struct uidpool_selector *selector,
                                      uint32_t timeout,
                                      bool (*each)(const struct uidpool_lease *, void *),
                                      void *userdata, struct problem *p)
{
    _cleanup_(lease_list_clear) struct lease_list live = {0}, over = {0};
    enum uidpool_status status = allocator_release_which(a, selector, &live, &over, p);

    if (status == UIDPOOL_OK && live.n > 0)
        return revoke_all(a, REVOCATION_KILL, live.items, live.n, timeout, each, userdata, p);
    for (size_t i = 0; i < over.n && each; i++)
        if (!each(&over.items[i], userdata))
            break;
    return status;
}

enum uidpool_status allocator_recover(struct allocator *a, uint32_t timeout,
                                      bool (*each)(const struct uidpool_lease *, void *),
                                      void *userdata, struct problem *p)
{
    _cleanup_(lease_list_clear) struct lease_list list = {0};
    size_t freed;
    enum uidpool_status status = allocator_free_rested(a, NULL, &freed, p);

    if (status == UIDPOOL_OK)
        status = lease_list_read(a->ledger, &everything, lease_is_unproven, &list, p);
    if (status != UIDPOOL_OK || list.n == 0)
        return status;
    return revoke_all(a, REVOCATION_KILL, list.items, list.n, timeout, each, userdata, p);
}

struct cleared {
    struct uidpool_lease *lease;
};

static bool take_cleared(const struct uidpool_lease *lease, void *userdata)
{
    struct cleared *cleared = userdata;

    *cleared->lease = *lease;
    return true;
}

enum uidpool_status allocator_clear(struct allocator *a, uid_t uid, uint32_t timeout,
                                    struct uidpool_lease *ret, struct problem *p)
{
    struct uidpool_lease lease;
    struct cleared cleared = {ret};
    enum uidpool_status status = ledger_lease_at(a->ledger, uid, 1, &lease, p);

    if (status == UIDPOOL_NOT_FOUND)
        return problem_set(p, UIDPOOL_NOT_FOUND, "uid %u is not held, nor leased", uid);
    if (status != UIDPOOL_OK)
        return status;
    return revoke_all(a, REVOCATION_CLEAR, &lease, 1, timeout, take_cleared, &cleared, p);
}
