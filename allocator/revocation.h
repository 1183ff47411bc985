/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Revocation: kill by uid, prove it, look for residue. Each is an asynchronous job on an event
 * loop (allocator/revoker.h); the commands run the same jobs on a private one.
 *
 *   claim the uids > revoking, durable > reaper's uid, shown empty > helper kills > scan > wait on
 *   pidfds > census > residue > evidence and the next state, durable
 *
 * The claim is held from the first look at the lease to the commit at the end, by us and by every
 * helper: a helper that outlives us keeps the uids from being leased and killed under their next
 * owner.
 */
#ifndef ALLOCATOR_REVOCATION_H
#define ALLOCATOR_REVOCATION_H

#include "allocator/allocator.h"

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

#endif
