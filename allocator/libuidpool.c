/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The library's public face: the shape of every request is checked here, then the allocator is
 * called. Touches nothing itself but the configuration. */
#include "uidpool.h"

#include "allocator/allocator.h"
#include "allocator/census.h"
#include "allocator/engine.h"
#include "allocator/places.h"
#include "allocator/request.h"
#include "build_config.h"
#include "common/cleanup.h"
#include "common/ids.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct uidpool {
    char *ledger_path;
    char *config_dir;
    struct allocator allocator;
    bool writable;   /* the open ledger is */
    bool calling;    /* a callback runs, or may: it must find the handle closed to it */
    bool configured; /* `places` was read */
    struct places places;
    struct problem problem;
    struct uidpool_pool pool; /* what the last operation returned */
    struct uidpool_lease lease;
    struct uidpool_reservation reservation;
};

/* Whoever works on the ledger goes first. */
static void close_ledger(struct uidpool *u)
{
    allocator_detach(&u->allocator);
    ledger_close(u->allocator.ledger);
    u->allocator.ledger = NULL;
}

enum uidpool_status uidpool_new(const char *ledger, const char *config, struct uidpool **ret)
{
    struct uidpool *u = calloc(1, sizeof(*u));

    if (!u)
        return UIDPOOL_FAILED;
    u->ledger_path = strdup(ledger ? ledger : UIDPOOL_LEDGER_PATH);
    u->config_dir = config ? strdup(config) : NULL;
    u->allocator.census = census_new();
    if (!u->ledger_path || (config && !u->config_dir) || !u->allocator.census) {
        uidpool_free(u);
        return UIDPOOL_FAILED;
    }
    *ret = u;
    return UIDPOOL_OK;
}

void uidpool_free(struct uidpool *u)
{
    if (!u)
        return;
    close_ledger(u);
    census_free(u->allocator.census);
    free(u->allocator.survivors);
    places_clear(&u->places);
    free(u->config_dir);
    free(u->ledger_path);
    free(u);
}

const char *uidpool_message(const struct uidpool *u)
{
    return u->problem.text;
}

void uidpool_set_progress(struct uidpool *u, void (*progress)(const char *, void *), void *userdata)
{
    u->allocator.progress = progress;
    u->allocator.progress_userdata = userdata;
}

size_t uidpool_survivors(const struct uidpool *u, const struct uidpool_survivor **ret)
{
    *ret = u->allocator.survivors;
    return u->allocator.n_survivors;
}

/*
 * Before and after every operation.
 */

static enum uidpool_status bad(struct uidpool *u, const char *what)
{
    return problem_set(&u->problem, UIDPOOL_USAGE, "%s", what);
}

/* A line that says nothing went wrong is none. */
static enum uidpool_status end(struct uidpool *u, enum uidpool_status status)
{
    if (status == UIDPOOL_OK && u->problem.status != UIDPOOL_OK)
        u->problem = (struct problem){0};
    return status;
}

static enum uidpool_status open_ledger(struct uidpool *u, enum ledger_access access)
{
    bool writable = access != LEDGER_READ;

    if (u->allocator.ledger && (u->writable || !writable))
        return UIDPOOL_OK;
    close_ledger(u);
    u->writable = writable;
    return ledger_open(u->ledger_path, access, &u->allocator.ledger, &u->problem);
}

/* An operation that may call somebody back. What it has in hand, the ledger's statements first of
 * all, would be taken from it by another operation on its handle. */
#define CALLING(u, operation)        \
    ({                               \
        enum uidpool_status _status; \
                                     \
        (u)->calling = true;         \
        _status = (operation);       \
        (u)->calling = false;        \
        _status;                     \
    })

/* Clears what the last operation left, then opens the ledger. The operation that called us back is
 * not the last one: its words stay. */
static enum uidpool_status begin(struct uidpool *u, enum ledger_access access)
{
    if (u->calling)
        return UIDPOOL_USAGE;
    u->problem = (struct problem){0};
    u->allocator.n_survivors = 0;
    u->allocator.progress_at = 0;
    if (geteuid() != 0)
        return problem_set(&u->problem, UIDPOOL_NOT_PERMITTED,
                           "this needs root: the ledger and the witnesses do");
    return open_ledger(u, access);
}

/* Where a revocation looks for residue; only operations that may revoke need the configuration.
 * One that is wrong is read again, and refused again, by the next operation. */
static enum uidpool_status begin_revoking(struct uidpool *u)
{
    enum uidpool_status status = begin(u, LEDGER_WRITE);

    if (status != UIDPOOL_OK || u->configured)
        return status;
    status = places_read(u->config_dir, &u->places, &u->problem);
    if (status != UIDPOOL_OK)
        return status;
    u->configured = true;
    u->allocator.places = (const char *const *)u->places.items;
    return UIDPOOL_OK;
}

/*
 * Pools and reservations.
 */

static enum uidpool_status check_pool_request(struct uidpool *u,
                                              const struct uidpool_pool_request *r)
{
    if (!r || r->struct_size < sizeof(*r) || !r->name)
        return bad(u, "the pool request was not initialised");
    if (request_check_name(r->name, "pool", &u->problem) != UIDPOOL_OK)
        return UIDPOOL_USAGE;
    if (!uidpool_policy_name(r->policy))
        return bad(u, "a pool's policy is domid or next");
    if (r->size == 0 || (!r->base_auto && !uid_range_is_usable(r->base, r->size)))
        return bad(u, "a pool's uids lie in 1 to 2147483647, without 65534 and 65535");
    if (!r->group_per_uid && !r->group_is_base && !uid_is_usable(r->gid))
        return bad(u, "a pool's gid lies in 1 to 2147483647 and is not 65534 or 65535");
    if (r->quarantine > REQUEST_SECONDS_MAX)
        return bad(u, "a quarantine is at most ten years");
    return UIDPOOL_OK;
}

enum uidpool_status uidpool_pool_add(struct uidpool *u, const struct uidpool_pool_request *request,
                                     const struct uidpool_pool **ret)
{
    enum uidpool_status status = check_pool_request(u, request);

    if (status == UIDPOOL_OK)
        status = begin(u, LEDGER_CREATE);
    if (status == UIDPOOL_OK)
        status = CALLING(u, allocator_pool_add(&u->allocator, request, &u->pool, &u->problem));
    if (status == UIDPOOL_OK && ret)
        *ret = &u->pool;
    return end(u, status);
}

enum uidpool_status uidpool_pool_get(struct uidpool *u, const char *name,
                                     const struct uidpool_pool **ret)
{
    enum uidpool_status status = request_check_name(name, "pool", &u->problem);

    if (status == UIDPOOL_OK)
        status = begin(u, LEDGER_READ);
    if (status == UIDPOOL_OK)
        status = ledger_pool_by_name(u->allocator.ledger, name, &u->pool, &u->problem);
    if (status == UIDPOOL_OK)
        status = ledger_pool_count(u->allocator.ledger, &u->pool, &u->problem);
    if (status == UIDPOOL_OK)
        *ret = &u->pool;
    return end(u, status);
}

struct pool_array {
    struct uidpool_pool *items;
    size_t n;
    bool failed;
};

static bool add_pool(const struct uidpool_pool *pool, void *userdata)
{
    struct pool_array *array = userdata;
    struct uidpool_pool *items = reallocarray(array->items, array->n + 1, sizeof(*items));

    array->failed = !items;
    if (!items)
        return false;
    array->items = items;
    array->items[array->n++] = *pool;
    return true;
}

static enum uidpool_status each_pool(const struct pool_array *pools,
                                     bool (*each)(const struct uidpool_pool *, void *),
                                     void *userdata)
{
    for (size_t i = 0; i < pools->n; i++)
        if (!each(&pools->items[i], userdata))
            break;
    return UIDPOOL_OK;
}

/* Read them all first: counting asks the ledger again for each. */
enum uidpool_status uidpool_pool_list(struct uidpool *u,
                                      bool (*each)(const struct uidpool_pool *, void *),
                                      void *userdata)
{
    struct pool_array pools = {0};
    enum uidpool_status status = begin(u, LEDGER_READ);

    if (status == UIDPOOL_OK)
        status = ledger_begin_read(u->allocator.ledger, &u->problem);
    if (status == UIDPOOL_OK)
        status = ledger_pool_each(u->allocator.ledger, add_pool, &pools, &u->problem);
    if (status == UIDPOOL_OK && pools.failed)
        status = problem_errno(&u->problem, -ENOMEM, "cannot list the pools");
    for (size_t i = 0; i < pools.n && status == UIDPOOL_OK; i++)
        status = ledger_pool_count(u->allocator.ledger, &pools.items[i], &u->problem);
    if (u->allocator.ledger && !u->calling)
        ledger_rollback(u->allocator.ledger);
    if (status == UIDPOOL_OK)
        status = CALLING(u, each_pool(&pools, each, userdata));
    free(pools.items);
    return end(u, status);
}

enum uidpool_status uidpool_pool_retire(struct uidpool *u, const char *name)
{
    enum uidpool_status status = request_check_name(name, "pool", &u->problem);

    if (status == UIDPOOL_OK)
        status = begin(u, LEDGER_WRITE);
    if (status == UIDPOOL_OK)
        status = allocator_pool_retire(&u->allocator, name, &u->problem);
    return end(u, status);
}

enum uidpool_status uidpool_reserve(struct uidpool *u, const char *name, const char *pool,
                                    uid_t uid, uint32_t count,
                                    const struct uidpool_reservation **ret)
{
    enum uidpool_status status = request_check_name(name, "reservation", &u->problem);

    if (status == UIDPOOL_OK)
        status = request_check_name(pool, "pool", &u->problem);
    if (status == UIDPOOL_OK &&
        (count == 0 || (uid != UIDPOOL_NO_UID && !uid_range_is_usable(uid, count))))
        status = bad(u, "reserved uids lie in 1 to 2147483647, without 65534 and 65535");
    if (status == UIDPOOL_OK)
        status = begin(u, LEDGER_WRITE);
    if (status == UIDPOOL_OK)
        status =
            allocator_reserve(&u->allocator, name, pool, uid, count, &u->reservation, &u->problem);
    if (status == UIDPOOL_OK && ret)
        *ret = &u->reservation;
    return end(u, status);
}

enum uidpool_status uidpool_unreserve(struct uidpool *u, const char *name)
{
    enum uidpool_status status = request_check_name(name, "reservation", &u->problem);

    if (status == UIDPOOL_OK)
        status = begin(u, LEDGER_WRITE);
    if (status == UIDPOOL_OK)
        status = allocator_unreserve(&u->allocator, name, &u->problem);
    return end(u, status);
}

enum uidpool_status uidpool_reservation_list(struct uidpool *u, const char *pool_or_null,
                                             bool (*each)(const struct uidpool_reservation *,
                                                          void *),
                                             void *userdata)
{
    struct uidpool_pool pool = {0};
    enum uidpool_status status =
        pool_or_null ? request_check_name(pool_or_null, "pool", &u->problem) : UIDPOOL_OK;

    if (status == UIDPOOL_OK)
        status = begin(u, LEDGER_READ);
    if (status == UIDPOOL_OK && pool_or_null)
        status = ledger_pool_by_name(u->allocator.ledger, pool_or_null, &pool, &u->problem);
    if (status == UIDPOOL_OK)
        status = CALLING(
            u, ledger_reservation_each(u->allocator.ledger, pool.id, each, userdata, &u->problem));
    return end(u, status);
}

/*
 * Leases.
 */

enum uidpool_status uidpool_lease(struct uidpool *u, const struct uidpool_lease_request *request,
                                  uint32_t timeout, const struct uidpool_lease **ret)
{
    struct uidpool_lease_request r;
    char uuid[UIDPOOL_UUID_LEN + 1] = "";
    enum uidpool_status status = request_check_lease(request, uuid, &u->problem);

    if (status == UIDPOOL_OK)
        status = request_check_timeout(timeout, &u->problem);
    if (status == UIDPOOL_OK)
        status = begin_revoking(u);
    if (status != UIDPOOL_OK)
        return status;
    r = *request;
    r.uuid = uuid[0] ? uuid : NULL;
    status = CALLING(u, allocator_lease(&u->allocator, &r, timeout, &u->lease, &u->problem));
    if (status == UIDPOOL_OK && ret)
        *ret = &u->lease;
    return end(u, status);
}

enum uidpool_status uidpool_release(struct uidpool *u, const struct uidpool_selector *selector,
                                    uint32_t timeout,
                                    bool (*each)(const struct uidpool_lease *, void *),
                                    void *userdata)
{
    enum uidpool_status status = request_check_release(selector, &u->problem);

    if (status == UIDPOOL_OK)
        status = request_check_timeout(timeout, &u->problem);
    if (status == UIDPOOL_OK)
        status = begin_revoking(u);
    if (status == UIDPOOL_OK)
        status = CALLING(
            u, allocator_release(&u->allocator, selector, timeout, each, userdata, &u->problem));
    return end(u, status);
}

enum uidpool_status uidpool_lease_list(struct uidpool *u, const struct uidpool_selector *selector,
                                       bool (*each)(const struct uidpool_lease *, void *),
                                       void *userdata)
{
    struct uidpool_pool pool;
    enum uidpool_status status = request_check_selector(selector, &u->problem);

    if (status == UIDPOOL_OK)
        status = begin(u, LEDGER_READ);
    if (status == UIDPOOL_OK && selector->pool)
        status = ledger_pool_by_name(u->allocator.ledger, selector->pool, &pool, &u->problem);
    if (status == UIDPOOL_OK)
        status = CALLING(
            u, ledger_lease_each(u->allocator.ledger, selector, each, userdata, &u->problem));
    return end(u, status);
}

enum uidpool_status uidpool_describe(struct uidpool *u, uid_t uid, const struct uidpool_lease **ret)
{
    enum uidpool_status status = begin(u, LEDGER_READ);

    if (status == UIDPOOL_OK)
        status = ledger_lease_at(u->allocator.ledger, uid, 1, &u->lease, &u->problem);
    if (status == UIDPOOL_OK)
        *ret = &u->lease;
    return end(u, status);
}

enum uidpool_status uidpool_history(struct uidpool *u, const struct uidpool_history_query *query,
                                    bool (*each)(const struct uidpool_event *, void *),
                                    void *userdata)
{
    enum uidpool_status status = request_check_history(query, &u->problem);

    if (status == UIDPOOL_OK)
        status = begin(u, LEDGER_READ);
    if (status == UIDPOOL_OK)
        status = CALLING(
            u, ledger_history_each(u->allocator.ledger, query, each, userdata, &u->problem));
    return end(u, status);
}

enum uidpool_status uidpool_who(struct uidpool *u, uid_t uid, int64_t at,
                                bool (*each)(const struct uidpool_event *, void *), void *userdata)
{
    int64_t lease = 0;
    enum uidpool_status status = begin(u, LEDGER_READ);

    if (status == UIDPOOL_OK)
        status = ledger_lease_at_time(u->allocator.ledger, uid, at, &lease, &u->problem);
    if (status == UIDPOOL_OK)
        status = CALLING(
            u, ledger_history_of_lease(u->allocator.ledger, lease, each, userdata, &u->problem));
    return end(u, status);
}

enum uidpool_status uidpool_recover(struct uidpool *u, uint32_t timeout,
                                    bool (*each)(const struct uidpool_lease *, void *),
                                    void *userdata)
{
    enum uidpool_status status = request_check_timeout(timeout, &u->problem);

    if (status == UIDPOOL_OK)
        status = begin_revoking(u);
    if (status == UIDPOOL_OK)
        status = CALLING(u, allocator_recover(&u->allocator, timeout, each, userdata, &u->problem));
    return end(u, status);
}

enum uidpool_status uidpool_clear(struct uidpool *u, uid_t uid, uint32_t timeout,
                                  const struct uidpool_lease **ret)
{
    enum uidpool_status status = request_check_timeout(timeout, &u->problem);

    if (status == UIDPOOL_OK)
        status = begin_revoking(u);
    if (status == UIDPOOL_OK)
        status = CALLING(u, allocator_clear(&u->allocator, uid, timeout, &u->lease, &u->problem));
    if (status == UIDPOOL_OK && ret)
        *ret = &u->lease;
    return end(u, status);
}

/*
 * The ledger itself.
 */

enum uidpool_status uidpool_ledger_check(struct uidpool *u, bool (*each)(const char *, void *),
                                         void *userdata)
{
    enum uidpool_status status = begin(u, LEDGER_READ);

    if (status == UIDPOOL_OK)
        status = CALLING(u, ledger_check(u->allocator.ledger, each, userdata, &u->problem));
    return end(u, status);
}

enum uidpool_status uidpool_ledger_backup(struct uidpool *u, const char *file)
{
    enum uidpool_status status = begin(u, LEDGER_READ);

    if (status == UIDPOOL_OK)
        status = ledger_backup(u->allocator.ledger, file, &u->problem);
    return end(u, status);
}

enum uidpool_status uidpool_ledger_upgrade(struct uidpool *u, int *ret_from, int *ret_to)
{
    if (u->calling)
        return UIDPOOL_USAGE;
    u->problem = (struct problem){0};
    close_ledger(u);
    if (geteuid() != 0)
        return problem_set(&u->problem, UIDPOOL_NOT_PERMITTED,
                           "this needs root: the ledger and the witnesses do");
    return end(u, ledger_upgrade(u->ledger_path, ret_from, ret_to, &u->problem));
}
