/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Asks name services once and the kernel for each connection; judges by nothing else. */
#include "allocator/daemon/policy.h"

#include "common/cleanup.h"

#include <errno.h>
#include <grp.h>
#include <sys/socket.h>

#define GROUP_BUFFER_LEAST 4096
#define GROUP_BUFFER_MOST (1 << 22)
/* The kernel's NGROUPS_MAX. */
#define GROUPS_MOST 65536

/* 0 and *ret (-1: there is none); -ERANGE: more room is needed. */
static int ask_name_services(size_t size, gid_t *ret)
{
    _cleanup_free_ char *buffer = malloc(size);
    struct group group, *found = NULL;
    int r;

    if (!buffer)
        return -ENOMEM;
    r = getgrnam_r(POLICY_GROUP, &group, buffer, size, &found);
    /* getgrnam_r(3): some of these mean "not found", depending on the module. ENOLINK is
     * nss-systemd's word for what SYSTEMD_BYPASS_USERDB told it, and comes after the modules before
     * it. */
    if (r != 0 && r != ENOENT && r != ESRCH && r != ENOLINK)
        return -r;
    *ret = found ? found->gr_gid : (gid_t)-1;
    return 0;
}

int policy_load(struct policy *ret)
{
    gid_t group = (gid_t)-1;
    int r = -ERANGE;

    for (size_t size = GROUP_BUFFER_LEAST; r == -ERANGE && size <= GROUP_BUFFER_MOST; size *= 4)
        r = ask_name_services(size, &group);
    ret->group = r < 0 ? (gid_t)-1 : group;
    return r;
}

static bool is_among(gid_t group, const gid_t *groups, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (groups[i] == group)
            return true;
    }
    return false;
}

/* Supplementary groups. 1 a member, 0 not. */
static int ask_groups(gid_t group, int fd)
{
    _cleanup_free_ gid_t *many = NULL;
    gid_t few[32], *groups = few;
    socklen_t size = sizeof(few);
    int r = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size);

    if (r < 0 && errno == ERANGE && size <= GROUPS_MOST * sizeof(gid_t)) {
        many = groups = malloc(size);
        if (!many)
            return -ENOMEM;
        r = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size);
    }
    if (r < 0)
        return errno == ENODATA ? 0 : -errno;
    return is_among(group, groups, size / sizeof(gid_t));
}

int policy_identify(const struct policy *p, int fd, struct peer *ret)
{
    struct ucred cred;
    socklen_t size = sizeof(cred);
    struct peer peer;
    int r;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0)
        return -errno;
    /* What the kernel says of a socket without a peer. */
    if (size != sizeof(cred) || cred.uid == (uid_t)-1)
        return -ENOTCONN;
    peer = (struct peer){.uid = cred.uid, .gid = cred.gid, .pid = cred.pid};
    peer.may_change = peer.uid == 0;
    if (!peer.may_change && p->group != (gid_t)-1) {
        r = peer.gid == p->group ? 1 : ask_groups(p->group, fd);
        if (r < 0)
            return r;
        peer.may_change = r > 0;
    }
    *ret = peer;
    return 0;
}

bool policy_allows(const struct peer *peer, enum permission needed)
{
    switch (needed) {
    case PERMISSION_ANYONE:
    case PERMISSION_READ:
        return true;
    case PERMISSION_INSPECT:
    case PERMISSION_CHANGE:
        return peer->may_change;
    }
    return false;
}
