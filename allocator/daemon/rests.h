/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Quarantines that are over: their uids become free in the background, a few in a transaction. One
 * whose uid is wanted before that is ended by whoever leases it. */
#ifndef DAEMON_RESTS_H
#define DAEMON_RESTS_H

#include "allocator/daemon/daemon.h"

struct rests;

/* 0 or a negative errno. */
int rests_new(struct daemon *d, struct rests **ret);
/* NULL is allowed. */
void rests_free(struct rests *r);

#endif
