/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The phases of a revocation, seen from who works for many of them: they are begun once, and told
 * of what they asked for: the kill, the scan, the census, the look for residue. Everything else
 * they do by their own events. */
#ifndef ALLOCATOR_REVOKE_H
#define ALLOCATOR_REVOKE_H

#include "allocator/revocation/job.h"

/* The first phase of a job that nobody began yet. */
void revocation_begin(struct job *job);
/* Ask the job's guard, if it has one, and go on with `allowed` if that may be; the job ends
 * otherwise. Last statement of whoever calls it. */
void revocation_ask_guard(struct job *job, phase_fn allowed);
/* The helper has sent the signal that the job wanted. */
void revocation_killed(struct job *job);
/* It was not sent, and will not be. `why` is for the administrator. */
void revocation_not_killed(struct job *job, const char *why);
/* The scan that the job wanted is done; NULL: it could not begin. */
void revocation_scanned(struct job *job, const struct scan *scan);
/* The census of all its uids, without any zombie. */
void revocation_counted(struct job *job, enum witness answer);
/* Somebody looked for what is left of it, and of others: nothing, or that must be told apart. */
void revocation_swept(struct job *job, bool clean);

#endif
