/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The door to leases on an event loop: each request is an asynchronous job. engine.h runs the same
 * job on a private loop until it is done.
 *
 *   look: has the owner one? > what is in the way and unproven is revoked > a candidate, claimed >
 *   the census says EMPTY > one write, shared with whoever is ready too (committer.h) > done
 *
 * The claim is held from the look at the candidate until the write is durable.
 */
#ifndef ALLOCATOR_GRANTER_H
#define ALLOCATOR_GRANTER_H

#include "allocator/allocator.h"

#include <systemd/sd-event.h>

struct granter;

struct grant_request {
    struct uidpool_lease_request lease; /* its shape checked by request.h; strings are copied */
    int64_t timeout;                    /* microseconds from when it is added */
    /* Written into the lease as its reason, or NULL. Copied. */
    const char *reason;
    /* If the census says BUSY: no stranger, but the owner itself, which began before it had a
     * lease. The lease is given, with "it ran already" in its reason; nothing is held. Only for a
     * domid, and only where somebody outside of the ledger knows that the uid is this domain's.
     * Nothing is revoked for it, since that would kill the owner too. */
    bool adopt;
    /* If it says BUSY of another: leave the uid free, in the ledger, and revoke nothing that is in
     * the way. For one who asks again, since what uses it may turn out to be the owner. */
    bool hold_nothing;
};

/* The allocator (with its committer and revoker) and the loop must outlive it. 0 or a negative
 * errno. */
int granter_new(struct allocator *a, sd_event *event, struct granter **ret);
/* Drops jobs that are not done, without calling their functions; what is not durable by then was
 * never leased. The revoker must be gone, whose jobs tell ours. NULL is allowed. */
void granter_free(struct granter *g);

/* `done` is called once, from the loop, never from within this call. UIDPOOL_OK: the lease is
 * durable. Else as uidpool_lease(). 0 or -ENOMEM. */
int granter_add(struct granter *g, const struct grant_request *request, outcome_fn done,
                void *userdata);

/* Jobs that are not done yet. */
size_t granter_pending(const struct granter *g);

#endif
