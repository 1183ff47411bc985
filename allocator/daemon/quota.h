/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who has how many connections and calls, so that nobody has them all. Pure. */
#ifndef DAEMON_QUOTA_H
#define DAEMON_QUOTA_H

#include "allocator/daemon/policy.h"
#include "allocator/daemon/server.h"
#include "allocator/daemon/turns.h"

/* One uid that is connected or has a call that is being worked on. */
struct quota_user {
    struct quota_user *next;
    uid_t uid;
    unsigned connections, calls;
    struct turn_user turns; /* of its connections */
};

struct quota {
    unsigned connections_max, connections_each, calls_each;
    unsigned connections; /* in all */
    unsigned ordinary;    /* of peers that may not change anything */
    struct quota_user *users;
};

/* `descriptors` is how many files the process may have open: connections get half of them at most,
 * for what is to be done needs some as well. */
void quota_init(struct quota *q, const struct server_limits *limits, unsigned long descriptors);
/* Forgets everybody. */
void quota_clear(struct quota *q);

/*
 * A peer connects. -EDQUOT: its uid has enough of them (never root); -EUSERS: all together have.
 * A quarter of all is kept for peers that may change something, so that others cannot keep those
 * out, whatever many uids they have (user namespaces lend thousands). Or -ENOMEM.
 */
int quota_connect(struct quota *q, const struct peer *peer, struct quota_user **ret);
/* It has closed; `user` is not valid any more, unless it has calls. */
void quota_disconnect(struct quota *q, const struct peer *peer, struct quota_user *user);

/* A call begins: 0, or -EDQUOT: enough calls of its uid are being worked on (never root). */
int quota_begin(const struct quota *q, struct quota_user *user);
/* It has ended; `user` is not valid any more, unless it is connected or has calls. */
void quota_end(struct quota *q, struct quota_user *user);

#endif
