/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the allocator's operations share: the ledger, the configuration, and how to tell a person
 * what takes long. One a handle; it serves one thread. */
#ifndef ALLOCATOR_ALLOCATOR_H
#define ALLOCATOR_ALLOCATOR_H

#include "common/problem.h"
#include "common/range.h"
#include "db/ledger.h"

#include <systemd/sd-event.h>

struct census;
struct committer;
struct granter;
struct revoker;

struct allocator {
    struct ledger *ledger;
    struct census *census;
    /* The loop, and what works on it: none until allocator_attach() (engine.h). */
    sd_event *event;
    struct committer *committer;
    struct revoker *revoker;
    struct granter *granter;
    const char *const *places; /* where to look for residue besides the usual, or NULL */
    void (*progress)(const char *text, void *userdata); /* or NULL */
    void *progress_userdata;
    int64_t progress_at; /* clock_monotonic_usec() of the last one */
    struct uidpool_survivor *survivors;
    size_t n_survivors;
};

/* What a lease's or a revocation's job came to. All of it belongs to the job and is gone when the
 * function returns; `problem->status` says whether it is done, `lease` is what it is about. */
struct outcome {
    const struct uidpool_lease *lease;
    const struct problem *problem;
    const struct uidpool_survivor *survivors; /* of UIDPOOL_NOT_PROVEN */
    size_t n_survivors;
};
typedef void (*outcome_fn)(const struct outcome *outcome, void *userdata);

/* Append its survivors to an array of the heap. Without memory some are missing: the problem still
 * names the first few. */
void outcome_keep_survivors(const struct outcome *outcome, struct uidpool_survivor **items,
                            size_t *n);

/* Say it, at most once a second. */
void allocator_progress(struct allocator *a, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The lease's or reservation's uids. */
static inline struct uid_range lease_range(const struct uidpool_lease *lease)
{
    return (struct uid_range){lease->uid, lease->count};
}

/* "domid 5", "name web", or "nobody", for messages. Returns `buf`. */
const char *lease_owner(const struct uidpool_lease *lease, char *buf, size_t size);

/* Leases, read in one go, so that they can be written while one walks over them. */
struct lease_list {
    struct uidpool_lease *items;
    size_t n;
    bool (*wanted)(const struct uidpool_lease *lease); /* for the reading */
    bool failed;
};

/* Those the selector matches and `wanted` (or NULL: all) says true for, in order of uid. */
enum uidpool_status lease_list_read(struct ledger *l, const struct uidpool_selector *selector,
                                    bool (*wanted)(const struct uidpool_lease *),
                                    struct lease_list *ret, struct problem *p);
void lease_list_clear(struct lease_list *list);

/* Must it be killed and proven before its uids or its owner can have another lease: revoking, or
 * leased before the last reboot. */
bool lease_is_unproven(const struct uidpool_lease *lease);
/* Quarantined, and the rest is over. */
bool lease_is_rested(const struct uidpool_lease *lease);

/* End every rested lease of the pool (or, with NULL, of all) in one transaction. */
enum uidpool_status allocator_free_rested(struct allocator *a, const char *pool, size_t *ret_freed,
                                          struct problem *p);

/* allocator/recover.c. See uidpool_release(), uidpool_recover(), uidpool_clear(). */
enum uidpool_status allocator_release(struct allocator *a, const struct uidpool_selector *selector,
                                      uint32_t timeout,
                                      bool (*each)(const struct uidpool_lease *, void *),
                                      void *userdata, struct problem *p);
/* Which leases a release is about: *ret_live are to be revoked. If there are none, *ret_over are
 * those that were before, and still rest or are held: they count as released. UIDPOOL_NOT_FOUND:
 * none of either, or no such pool. */
enum uidpool_status allocator_release_which(struct allocator *a,
                                            const struct uidpool_selector *selector,
                                            struct lease_list *ret_live,
                                            struct lease_list *ret_over, struct problem *p);
enum uidpool_status allocator_recover(struct allocator *a, uint32_t timeout,
                                      bool (*each)(const struct uidpool_lease *, void *),
                                      void *userdata, struct problem *p);
enum uidpool_status allocator_clear(struct allocator *a, uid_t uid, uint32_t timeout,
                                    struct uidpool_lease *ret, struct problem *p);

/* allocator/admin.c. Pools and reservations; see uidpool.h. */
enum uidpool_status allocator_pool_add(struct allocator *a,
                                       const struct uidpool_pool_request *request,
                                       struct uidpool_pool *ret, struct problem *p);
enum uidpool_status allocator_pool_retire(struct allocator *a, const char *name, struct problem *p);
/* UIDPOOL_CONFLICT if the pool is being provisioned: uidpool-provision alone may go on with it. */
enum uidpool_status allocator_pool_check_finished(const struct uidpool_pool *pool,
                                                  struct problem *p);
/* The same, and if it is retired: it gives nothing. */
enum uidpool_status allocator_pool_check_active(const struct uidpool_pool *pool, struct problem *p);
enum uidpool_status allocator_reserve(struct allocator *a, const char *name, const char *pool,
                                      uid_t uid, uint32_t count, struct uidpool_reservation *ret,
                                      struct problem *p);
/* The same inside a transaction that the caller has begun and will commit. `r` has name, pool, uid
 * (or UIDPOOL_NO_UID) and count; the rest is filled in. Rested leases are in the way here. */
enum uidpool_status allocator_reserve_within(struct allocator *a, struct uidpool_reservation *r,
                                             struct problem *p);
enum uidpool_status allocator_unreserve(struct allocator *a, const char *name, struct problem *p);

#endif
