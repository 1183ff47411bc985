/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Following xenstore: in pools with `follow` a domain that appears gets its lease, and a lease
 * whose domain is gone for good is revoked. What xenstore says comes from a helper of its own
 * (xenwatch.h), since a store that hangs must not hang leases. Here are the conclusions, and every
 * reason not to draw one.
 */
#ifndef DAEMON_FOLLOW_H
#define DAEMON_FOLLOW_H

#include "allocator/daemon/daemon.h"

/* Follow, from the loop, as soon as a pool does: the helper runs as long as one is there, so this
 * is for every host. `socket` is xenstored's (it is not copied), NULL for libxenstore's own choice.
 * Sets the revocations' guard. `changed` as in revocations.h. 0 or a negative errno. */
int follow_new(struct daemon *d, const char *socket, void (*changed)(void *userdata),
               void *userdata, struct follow **ret);
/* Ends the helper, and forgets the jobs that were asked for: the loop may not run them any more.
 * NULL is allowed. */
void follow_free(struct follow *f);

/* For the status: "xenstore: 12 domains", "waiting for xenstore: no such file"; NULL if no pool
 * follows. Valid until the next call. */
const char *follow_status(const struct follow *f);

#endif
