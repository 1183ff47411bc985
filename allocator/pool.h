/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A pool's policy: which uids a request may get, in which order. Pure: it asks for free blocks
 * through a function and changes nothing. */
#ifndef ALLOCATOR_POOL_H
#define ALLOCATOR_POOL_H

#include "common/problem.h"
#include "common/range.h"
#include "uidpool.h"

/* Find the first free block of `count` uids at or after `from` in the pool. UIDPOOL_EXHAUSTED:
 * none. */
typedef enum uidpool_status (*pool_find_fn)(void *userdata, uid_t from, uint32_t count, uid_t *ret,
                                            struct problem *p);

/* A walk over the candidates for one request, each at most once. */
struct pool_walk {
    const struct uidpool_pool *pool;
    uint32_t count;
    uid_t fixed; /* the only candidate, or UIDPOOL_NO_UID */
    uid_t start; /* where the walk began */
    uid_t from;  /* where to look next */
    bool wrapped;
    bool over;
};

/*
 * Begin. `reserved` (or NULL) is the request's reservation. domid UIDPOOL_NO_DOMID: by name.
 * UIDPOOL_EXHAUSTED: the pool has no uid for that domid, or is smaller than the block.
 * UIDPOOL_CONFLICT: the reservation has another size than `count`.
 * UIDPOOL_NOT_FOUND: by name, without a reservation, in a pool whose uids follow domids.
 */
enum uidpool_status pool_walk_begin(const struct uidpool_pool *pool, int64_t domid, uint32_t count,
                                    const struct uidpool_reservation *reserved,
                                    struct pool_walk *ret, struct problem *p);

/* The next candidate. UIDPOOL_EXHAUSTED: there are no more, `p` is not filled. A fixed one is not
 * looked for: it may be in use. */
enum uidpool_status pool_walk_next(struct pool_walk *walk, pool_find_fn find, void *userdata,
                                   struct uid_range *ret, struct problem *p);

/* Where the policy `next` looks first after it gave these uids. */
uid_t pool_next_after(const struct uidpool_pool *pool, struct uid_range given);

#endif
