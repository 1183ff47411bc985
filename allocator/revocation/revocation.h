/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Revocation: kill by uid, prove it, look for residue. Each is an asynchronous job on an event
 * loop (allocator/revocation/revoker.h); the commands run the same jobs on a private one.
 *
 *   claim the uids > revoking, durable > reaper's uid, shown empty > the guard, if there is one >
 *   helper kills > scan > wait on pidfds > census > residue > evidence and the next state, durable
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
 * Who is asked before each signal whether the uid is still the lease's owner's to be killed, where
 * somebody knows that better than the ledger: a domid that has a next owner already runs as the
 * same uid. Asked anew each time that the job is about to kill.
 */
enum revocation_permission {
    REVOCATION_UNKNOWN = 0, /* cannot be told now: nothing is killed; NOT_PROVEN */
    REVOCATION_FORBIDDEN,   /* the uid is somebody else's by now: nothing is killed; CONFLICT */
    REVOCATION_ALLOWED,
};

struct revocation_guard {
    /* Begin to ask. A descriptor that becomes readable when there is an answer, owned by the job,
     * or a negative errno (as UNKNOWN). */
    int (*ask)(const struct uidpool_lease *lease, void *userdata);
    /* The answer, once it is readable, or UNKNOWN if it is not by then; does not close it. */
    enum revocation_permission (*answer)(int fd, void *userdata);
    void *userdata;
};

/*
 * What a job came to, in its outcome's problem. UIDPOOL_OK: `lease` is now quarantined or held
 * (KILL), or quarantined (CLEAR). UIDPOOL_NOT_PROVEN: it stays as it was, survivors are told.
 * UIDPOOL_CONFLICT: residue (CLEAR), or the guard forbade it, and the lease stays as it was, leased
 * or revoking. Else the ledger could not be written.
 */

#endif
