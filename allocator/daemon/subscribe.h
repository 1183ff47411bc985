/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The answers of io.uidpool that go on: List, History and Subscribe.
 *
 * A subscriber is told of every commit on the ledger, whoever made it, by the lock file beside it:
 * that is written behind each commit (db/ledger.c, the high-water mark), while the write-ahead log
 * is written before the commit can be seen. What it is told is read from the ledger behind the last
 * event it was told, so nothing is kept for those who read slowly, and nothing is lost on them.
 */
#ifndef DAEMON_SUBSCRIBE_H
#define DAEMON_SUBSCRIBE_H

#include "allocator/daemon/daemon.h"
#include "allocator/daemon/server.h"

struct subscribe;

int subscribe_new(struct daemon *d, struct subscribe **ret);
void subscribe_free(struct subscribe *s);
/* See methods_end_streams(). */
void subscribe_end(struct subscribe *s);

/* Answer the call from now on. Every lease, in order of uid, or those of one pool. */
void subscribe_list(struct subscribe *s, struct call *call,
                    const struct uidpool_pool *pool_or_null);
/* Every event that matches and is there by now, oldest first; texts are copied. */
void subscribe_history(struct subscribe *s, struct call *call,
                       const struct uidpool_history_query *query);
/* "subscribed", then every event with a greater id than `after`; -1: than the newest there is. */
void subscribe_events(struct subscribe *s, struct call *call, int64_t after);

#endif
