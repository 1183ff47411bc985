/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who may do what: judged by what the kernel says of the socket's other end when it connected
 * (SO_PEERCRED, SO_PEERGROUPS), never by what it says of itself. */
#ifndef DAEMON_POLICY_H
#define DAEMON_POLICY_H

#include <stdbool.h>
#include <sys/types.h>

/* The group whose members may change leases. */
#define POLICY_GROUP "uidpool"

enum permission {
    PERMISSION_ANYONE, /* what varlink itself asks of a service */
    PERMISSION_READ, /* what `uidpool list` shows: anyone too, so that this is said in one place */
    PERMISSION_INSPECT, /* history, who used what when: root and the group */
    PERMISSION_CHANGE,  /* root and the group */
};

struct peer {
    uid_t uid;
    gid_t gid;
    pid_t pid;       /* decoration: it may be another's by now */
    bool may_change; /* root, or in the group, when it connected */
};

struct policy {
    gid_t group; /* or (gid_t)-1: there is none, root alone may change */
};

/* Look the group up (name services: not from within a call). A service that cannot answer counts as
 * no group: then root alone may change. 0, or a negative errno after which `group` is -1. */
int policy_load(struct policy *ret);
/* Ask the kernel about a connected socket. 0 or a negative errno. */
int policy_identify(const struct policy *p, int fd, struct peer *ret);
/* Pure. */
bool policy_allows(const struct peer *peer, enum permission needed);

#endif
