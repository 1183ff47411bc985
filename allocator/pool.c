/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A pool's policy. `domid`: uid = base + domid, as libxl computes it (tools/libs/light/libxl_dm.c),
 * a block begins there. `next`: round the range from where the last lease ended, so that a freed
 * uid comes back as late as possible. Touches nothing but its arguments. */
#include "allocator/pool.h"

#include "common/ids.h"

#include <inttypes.h>

enum uidpool_status pool_walk_begin(const struct uidpool_pool *pool, int64_t domid, uint32_t count,
                                    const struct uidpool_reservation *reserved,
                                    struct pool_walk *ret, struct problem *p)
{
    struct pool_walk walk = {.pool = pool, .fixed = UIDPOOL_NO_UID};

    walk.count = count ? count : reserved ? reserved->count : 1;
    if (reserved && walk.count != reserved->count)
        return problem_set(p, UIDPOOL_CONFLICT,
                           "pool %s: %s has %u uids reserved, not %u: leave the count out",
                           pool->name, reserved->name, reserved->count, walk.count);
    if (reserved)
        walk.fixed = reserved->uid;
    else if (pool->policy == UIDPOOL_POLICY_DOMID && domid == UIDPOOL_NO_DOMID)
        return problem_set(p, UIDPOOL_NOT_FOUND,
                           "pool %s gives uids by domid: a lease by name needs a reservation there "
                           "('uidpool reserve NAME --pool=%s'), or a pool with the policy next",
                           pool->name, pool->name);
    else if (pool->policy == UIDPOOL_POLICY_DOMID) {
        if ((uint64_t)domid + walk.count > pool->size)
            return problem_set(p, UIDPOOL_EXHAUSTED,
                               "pool %s has uids for the domids 0 to %u, not for %u from domid "
                               "%" PRId64 " on",
                               pool->name, pool->size - 1, walk.count, domid);
        walk.fixed = pool->base + (uid_t)domid;
    } else if (walk.count > pool->size)
        return problem_set(p, UIDPOOL_EXHAUSTED, "pool %s has only %u uids", pool->name,
                           pool->size);
    walk.start = pool->next_uid;
    if (!uid_range_has((struct uid_range){pool->base, pool->size}, walk.start))
        walk.start = pool->base;
    walk.from = walk.start;
    *ret = walk;
    return UIDPOOL_OK;
}

/* From the base again, unless the walk has been there. */
static void wrap(struct pool_walk *walk)
{
    walk->over = walk->wrapped || walk->start == walk->pool->base;
    walk->wrapped = true;
    walk->from = walk->pool->base;
}

static enum uidpool_status look(struct pool_walk *walk, pool_find_fn find, void *userdata,
                                uid_t *ret, struct problem *p)
{
    enum uidpool_status status = find(userdata, walk->from, walk->count, ret, p);

    /* The second time round ends where the first began. */
    if (status == UIDPOOL_OK && walk->wrapped && *ret >= walk->start)
        status = UIDPOOL_EXHAUSTED;
    return status;
}

enum uidpool_status pool_walk_next(struct pool_walk *walk, pool_find_fn find, void *userdata,
                                   struct uid_range *ret, struct problem *p)
{
    enum uidpool_status status = UIDPOOL_EXHAUSTED;
    uid_t found = 0;

    if (walk->over)
        return UIDPOOL_EXHAUSTED;
    if (walk->fixed != UIDPOOL_NO_UID) {
        walk->over = true;
        *ret = (struct uid_range){walk->fixed, walk->count};
        return UIDPOOL_OK;
    }
    while (!walk->over && (status = look(walk, find, userdata, &found, p)) == UIDPOOL_EXHAUSTED)
        wrap(walk);
    if (status != UIDPOOL_OK)
        return status;

    *ret = (struct uid_range){found, walk->count};
    walk->from = found + 1;
    if (walk->from - walk->pool->base >= walk->pool->size)
        wrap(walk);
    return UIDPOOL_OK;
}

uid_t pool_next_after(const struct uidpool_pool *pool, struct uid_range given)
{
    uid_t next = given.first + given.count;

    return next - pool->base >= pool->size ? pool->base : next;
}
