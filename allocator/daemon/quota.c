/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A list: there are no more users than connections and calls, and it is walked once for each
 * connection. */
#include "allocator/daemon/quota.h"

#include <errno.h>
#include <stdlib.h>

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

void quota_init(struct quota *q, const struct server_limits *limits, unsigned long descriptors)
{
    *q = (struct quota){.connections_max = limits->connections,
                        .connections_each = limits->connections_each,
                        .calls_each = limits->calls_each};
    if (q->connections_max > descriptors / 2)
        q->connections_max = (unsigned)(descriptors / 2);
    q->connections_each = least(q->connections_each, q->connections_max);
}

void quota_clear(struct quota *q)
{
    while (q->users) {
        struct quota_user *user = q->users;

        q->users = user->next;
        free(user);
    }
    q->connections = q->ordinary = 0;
}

static struct quota_user *find_or_add(struct quota *q, uid_t uid)
{
    struct quota_user *user = q->users;

    while (user && user->uid != uid)
        user = user->next;
    if (!user) {
        user = calloc(1, sizeof(*user));
        if (!user)
            return NULL;
        user->uid = uid;
        user->next = q->users;
        q->users = user;
    }
    return user;
}

static void forget_if_idle(struct quota *q, struct quota_user *user)
{
    struct quota_user **at = &q->users;

    if (user->connections > 0 || user->calls > 0)
        return;
    while (*at != user)
        at = &(*at)->next;
    *at = user->next;
    free(user);
}

int quota_connect(struct quota *q, const struct peer *peer, struct quota_user **ret)
{
    struct quota_user *user;

    if (q->connections >= q->connections_max ||
        (!peer->may_change && q->ordinary >= q->connections_max - q->connections_max / 4))
        return -EUSERS;
    user = find_or_add(q, peer->uid);
    if (!user)
        return -ENOMEM;
    if (user->uid != 0 && user->connections >= q->connections_each) {
        forget_if_idle(q, user);
        return -EDQUOT;
    }
    user->connections++;
    q->connections++;
    q->ordinary += !peer->may_change;
    *ret = user;
    return 0;
}

void quota_disconnect(struct quota *q, const struct peer *peer, struct quota_user *user)
{
    user->connections--;
    q->connections--;
    q->ordinary -= !peer->may_change;
    forget_if_idle(q, user);
}

int quota_begin(const struct quota *q, struct quota_user *user)
{
    if (user->uid != 0 && user->calls >= q->calls_each)
        return -EDQUOT;
    user->calls++;
    return 0;
}

void quota_end(struct quota *q, struct quota_user *user)
{
    user->calls--;
    forget_if_idle(q, user);
}
