/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The phases of a revocation, seen from the revoker: they are begun once, and told of the scan they
 * asked for. Everything else they do by the job's own events. */
#ifndef ALLOCATOR_REVOKE_H
#define ALLOCATOR_REVOKE_H

struct job;
struct scan;

/* The first phase of a job that nobody began yet. */
void revocation_begin(struct job *job);
/* The scan that the job wanted is done; NULL: it could not begin. */
void revocation_scanned(struct job *job, const struct scan *scan);

#endif
