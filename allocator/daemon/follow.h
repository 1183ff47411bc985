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

/* Start the helper and follow. `socket` is xenstored's, NULL for libxenstore's own choice. Sets the
 * revocations' guard. `changed` as in revocations.h. 0 or a negative errno. */
int follow_new(struct daemon *d, const char *socket, void (*changed)(void *userdata),
               void *userdata, struct follow **ret);
/* Ends the helper. NULL is allowed. */
void follow_free(struct follow *f);

/* For the status: "xenstore: 12 domains", "waiting for xenstore", "xenstore does not answer". Valid
 * until the next call. */
const char *follow_status(const struct follow *f);

#endif
