/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The reaper: whose uid the killing helper runs under, and starting that helper. The helper
 * itself, uidpool-reap, is allocator/helpers/reap.c.
 */
#ifndef ALLOCATOR_REAPER_H
#define ALLOCATOR_REAPER_H

#include "common/problem.h"
#include "common/range.h"
#include "db/ledger.h"

#include <stdbool.h>
#include <stddef.h>

/* A reaper uid that is ours alone as long as lock_fd is open, here or in a helper. */
struct reaper {
    uid_t uid;
    int lock_fd;
};

/*
 * What the name services said of accounts, for at most a minute: they may take long to answer, and
 * whoever revokes many waits with all of them. An account that is made since is harmless, for the
 * census has the last word on whether somebody runs as the reaper's uid. Begins as zeroes.
 */
struct reaper_accounts {
    int64_t reaper_until, libxl_until; /* clock_monotonic_usec(); 0: never asked */
    bool has_reaper;
    uid_t reaper;
    struct uid_range libxl[3]; /* its reaper's and its device models' */
    size_t n_libxl;
};

/*
 * Take a reaper uid: the account uidpool-reaper if it exists, else one of the ledger's. The lock is
 * host-wide (in /run/uidpool, byte = uid), because two helpers under one reaper uid kill each
 * other, also from two ledgers. Refuses a reaper that is 0 or in a pool. UIDPOOL_OK with lock_fd
 * -1: all are busy, try again later. Before it kills, the census must say EMPTY of it, and
 * reaper_check() UIDPOOL_OK. `after` (or UIDPOOL_NO_UID): one that was taken before and that
 * somebody runs as; it comes last.
 */
enum uidpool_status reaper_take(struct ledger *l, struct reaper_accounts *accounts, uid_t after,
                                struct reaper *ret, struct problem *p);

/* Refuse a reaper that is one of libxl's accounts (xen-qemuuser-reaper, -range-base, -shared).
 * Apart from reaper_take(), because it asks the name services thrice: the census of the reaper can
 * run meanwhile. */
enum uidpool_status reaper_check(struct reaper_accounts *accounts, const struct reaper *r,
                                 struct problem *p);

/* Start the helper: kill everything that runs as a uid of `target`, which must lie in `pool`.
 * Inherits the reaper's lock and the claims, at most REAPER_CLAIMS_MAX. Returns a pidfd or a
 * negative errno. */
#define REAPER_CLAIMS_MAX 16
int reaper_start(const struct reaper *r, struct uid_range pool, struct uid_range target,
                 const int *claim_fds, size_t n_claim_fds);

/* Once the pidfd is readable: 0, the signal was sent (which proves nothing), or a negative errno;
 * the helper said why on standard error. */
int reaper_finish(int pidfd);

/*
 * Kill one process that kill(-1) cannot reach: its task `t` has an effective uid in `range` and an
 * unprivileged real uid outside of it. Opens a pidfd, looks at the task again through /proc, and
 * only then signals. 0 killed; -ESRCH gone or no longer what it was; -EPERM refused: a real,
 * effective or saved uid of the task or of its leader is 0, or only a file-system uid matches, so
 * that the process may be a server that works for many; or a negative errno.
 */
struct scan_task;
int reaper_kill_task(const struct scan_task *t, struct uid_range range);

#endif
