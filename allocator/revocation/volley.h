/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A kill under one reaper's uid, by one helper: for one job, or for several that want it at the
 * same time and whose uids adjoin. Whether the reaper's uid is anybody else's is asked once, and
 * one program is started.
 */
#ifndef ALLOCATOR_VOLLEY_H
#define ALLOCATOR_VOLLEY_H

#include <stdbool.h>

struct job;
struct revoker;
struct volley;

/* The job will want its uids killed. Its reaper is looked for, and what runs as its uids counted
 * for the evidence, while the job marks its lease. */
void volley_join(struct job *job);
/* Its lease is durably in revoking: they may be killed. Later revocation_killed() or
 * revocation_not_killed(), perhaps from within this call. */
void volley_ready(struct job *job);
/* The job is at its end: nothing is killed for it that is not yet. */
void volley_leave(struct job *job);

/* Begin with those that have joined. */
void volley_muster(struct revoker *r);
/* Is anybody about to be killed who may be soon, so that a scan would better wait. */
bool volley_is_near(const struct revoker *r);

/* A reaper's uid was given back: whoever waits for one may look. */
void volley_wake(struct revoker *r);
/* The revoker is at its end, and so are all jobs. */
void volley_drop_all(struct revoker *r);

#endif
