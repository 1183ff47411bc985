/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The door to revocations on an event loop; engine.h runs them on a private one. What each does is
 * told in allocator/revocation/revocation.h. Jobs in flight share their scans.
 */
#ifndef ALLOCATOR_REVOKER_H
#define ALLOCATOR_REVOKER_H

#include "allocator/revocation/revocation.h"

#include <systemd/sd-event.h>

struct revoker;

/* The allocator and the event loop must outlive it. 0 or a negative errno. */
int revoker_new(struct allocator *a, sd_event *event, struct revoker **ret);
/* Drops jobs that are not done, without calling their functions; their leases stay revoking. */
void revoker_free(struct revoker *r);
static inline void revoker_freep(struct revoker **r)
{
    revoker_free(*r);
}

/* Add a job; `done` is called once, from the loop. It has `timeout` microseconds from when it
 * begins, which may be later: a hundred run at once, fewer where few descriptors may be open.
 * `guard` (or NULL) must outlive the job. 0 or
 * -ENOMEM. */
int revoker_add(struct revoker *r, enum revocation_kind kind, const struct uidpool_lease *lease,
                int64_t timeout, const struct revocation_guard *guard, outcome_fn done,
                void *userdata);

/* Drop the jobs that were added with this userdata, as revoker_free() does. */
void revoker_forget(struct revoker *r, const void *userdata);

/* Jobs that are not done yet. */
size_t revoker_pending(const struct revoker *r);

#endif
