/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every lease that is to end, until it is proven: whoever asks adds it here; a lease that could not
 * be proven is tried again, later each time, for as long as it takes, and is named in the journal
 * and in the status. Also what a crash or a reboot left, from the daemon's start on, and rests that
 * are over.
 */
#ifndef DAEMON_REVOCATIONS_H
#define DAEMON_REVOCATIONS_H

#include "allocator/daemon/daemon.h"
#include "allocator/revocation/revocation.h"

/* Reads what is unproven and begins with it. `changed` (or NULL) is called from the loop whenever
 * revocations_status() would say something else. */
enum uidpool_status revocations_new(struct daemon *d, void (*changed)(void *userdata),
                                    void *userdata, struct revocations **ret, struct problem *p);
/* Drops the jobs; their leases stay as they are. NULL is allowed. */
void revocations_free(struct revocations *r);

/*
 * Who is asked before a kill that nobody asked for this moment, a second try among them; see
 * revocation.h. Returns NULL for a lease that nobody else knows about. Set by follow.c.
 */
typedef const struct revocation_guard *(*revocations_guard_fn)(const struct uidpool_lease *lease,
                                                               void *userdata);
void revocations_set_guard(struct revocations *r, revocations_guard_fn guard, void *userdata);

/*
 * Revoke it. `timeout` in microseconds for the first try, 0 for the usual; several may ask for one
 * lease, and each is told how the try ended that was under way or began then. `asked`: somebody who
 * knows asks for it now (a Release): no guard, and a waiting second try begins at once; if one with
 * a guard is under way and fails, another one follows for him. `done` may
 * be NULL. 0 or -ENOMEM.
 */
int revocations_add(struct revocations *r, const struct uidpool_lease *lease, bool asked,
                    int64_t timeout, outcome_fn done, void *userdata);

/* Something has changed for this lease, such as its guard's mind: if it waits for another try, that
 * has its turn now. */
void revocations_retry(struct revocations *r, int64_t lease);

struct revocations_status {
    size_t running;  /* tries under way or waiting for their turn */
    size_t unproven; /* leases whose last try failed; they wait for the next one */
    uid_t example;   /* one of them */
};
void revocations_status(const struct revocations *r, struct revocations_status *ret);

#endif
