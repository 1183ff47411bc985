/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The last question to the census, for jobs whose uids adjoin and that ask at the same time: one
 * process of the helper goes round. */
#ifndef ALLOCATOR_ROLLCALL_H
#define ALLOCATOR_ROLLCALL_H

#include <stdbool.h>

struct job;
struct revoker;
struct rollcall;

/* Have all uids of the job counted, none of which has a zombie. Later revocation_counted(). */
void rollcall_join(struct job *job);
/* The job is at its end, and wants to know nothing any more. */
void rollcall_leave(struct job *job);

/* Ask for those that have joined. */
void rollcall_muster(struct revoker *r);
/* The revoker is at its end, and so are all jobs. */
void rollcall_drop_all(struct revoker *r);

#endif
