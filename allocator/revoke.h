/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Revocation: kill by uid, prove it, look for residue. Each is an asynchronous job on an event
 * loop; jobs in flight share their scans. The commands run the same jobs on a private loop.
 *
 *   claim the uids > revoking, durable > reaper's uid, shown empty > helper kills > scan > wait on
 *   pidfds > census > residue > evidence and the next state, durable
 *
 * The claim is held from the first look at the lease to the commit at the end, by us and by every
 * helper: a helper that outlives us keeps the uids from being leased and killed under their next
 * owner.
 */
#ifndef ALLOCATOR_REVOKE_H
#define ALLOCATOR_REVOKE_H

#include "allocator/allocator.h"

#include <systemd/sd-event.h>

struct revoker;

enum revocation_kind {
    REVOCATION_KILL,  /* of a lease that is leased or revoking */
    REVOCATION_CLEAR, /* of a hold: the witnesses and the residue are asked, nothing is killed */
};

/*
 * What a job came to. UIDPOOL_OK: `lease` is now quarantined or held (KILL), or quarantined
 * (CLEAR). UIDPOOL_NOT_PROVEN: it stays as it was. UIDPOOL_CONFLICT (CLEAR): residue. Else the
 * ledger could not be written. `problem` says why. Survivors were added to the allocator's.
 */
typedef void (*revocation_done_fn)(const struct uidpool_lease *lease, const struct problem *problem,
                                   void *userdata);

/* The allocator and the event loop must outlive it. 0 or a negative errno. */
int revoker_new(struct allocator *a, sd_event *event, struct revoker **ret);
/* Drops jobs that are not done, without calling their functions; their leases stay revoking. */
void revoker_free(struct revoker *r);
static inline void revoker_freep(struct revoker **r)
{
    revoker_free(*r);
}

/* Add a job; `done` is called once, from the loop. It has `timeout` microseconds from when it
 * begins, which may be later: so many run at once. 0 or -ENOMEM. */
int revoker_add(struct revoker *r, enum revocation_kind kind, const struct uidpool_lease *lease,
                int64_t timeout, revocation_done_fn done, void *userdata);

/* Jobs that are not done yet. */
size_t revoker_pending(const struct revoker *r);

/* Run jobs for these leases on a private loop until all are done. `timeout` in seconds for each.
 * Returns the worst status, its problem in `p`. */
enum uidpool_status revoke_all(struct allocator *a, enum revocation_kind kind,
                               const struct uidpool_lease *leases, size_t n, uint32_t timeout,
                               bool (*each)(const struct uidpool_lease *, void *), void *userdata,
                               struct problem *p);

#endif
