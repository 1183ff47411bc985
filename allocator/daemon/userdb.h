/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The interface io.systemd.UserDatabase: names for leased uids of pools with `resolve`, for
 * nss-systemd and whoever else asks. Source: systemd docs/USER_GROUP_API.md. */
#ifndef DAEMON_USERDB_H
#define DAEMON_USERDB_H

#include "allocator/daemon/daemon.h"
#include "allocator/daemon/server.h"

/* The service's name, which is its socket's name in the userdb directory as well. */
#define USERDB_SERVICE "io.uidpool"

struct userdb;
int userdb_new(struct daemon *d, struct userdb **ret);
void userdb_free(struct userdb *u);
const struct interface *userdb_interface(const struct userdb *u);

#endif
