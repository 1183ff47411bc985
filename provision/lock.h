/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Both families of locks on the account files, and what the dead left beside them.
 *
 *   /etc/.pwd.lock  fcntl(2), taken by glibc's lckpwdf(3), and so by shadow, systemd-sysusers,
 *                   pam_unix. Never unlinked.
 *   /etc/FILE.lock  a link to a file that holds the pid, made by shadow for each file, and without
 *                   the other lock where it runs with --prefix (lib/commonio.c).
 *
 * Order: .pwd.lock, then FILE.lock in the order of shadow's useradd: passwd, group, shadow,
 * gshadow, subuid, subgid. Nobody waits for the second family in the kernel, so nothing deadlocks.
 */
#ifndef PROVISION_LOCK_H
#define PROVISION_LOCK_H

#include "common/problem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct account_lock;

/* A file beside the account files that belongs to nobody alive. */
struct leftover {
    char path[64];
    char why[96]; /* "a lock of process 4711, which is gone" */
};

/*
 * Take all of them, waiting up to `timeout` seconds; `progress` (or NULL) is told for whom, at most
 * once a second. A FILE.lock that is empty, or holds no pid, or that of a process that is gone or
 * younger than the lock, is of the dead and is taken over; the dead's temporaries are removed:
 * shadow's FILE.PID, FILE+ and FILE.cio*, systemd-sysusers' .#FILE*, our own. UIDPOOL_FAILED: not
 * in time; the message names the holder's pid and command. Nothing is left locked or changed then,
 * but for what the dead had left. From here until account_lock_free() SIGHUP, SIGINT, SIGQUIT and
 * SIGTERM are blocked, but end the waiting.
 */
enum uidpool_status account_lock_take(uint32_t timeout,
                                      void (*progress)(const char *text, void *userdata),
                                      void *userdata, struct account_lock **ret, struct problem *p);

/* For a look that changes nothing, not even a lock file: a shared lock on .pwd.lock if that exists
 * and can be opened, waiting as above; else none. Both are UIDPOOL_OK. */
enum uidpool_status account_lock_share(uint32_t timeout,
                                       void (*progress)(const char *text, void *userdata),
                                       void *userdata, struct account_lock **ret,
                                       struct problem *p);

/* What account_lock_take() removed, or, under the shared lock, would remove. Belongs to the lock.
 * Empty where nobody could be asked to wait, but for where there is no .pwd.lock at all. */
size_t account_lock_leftovers(const struct account_lock *l, const struct leftover **ret);

/* Release. NULL is allowed. */
void account_lock_free(struct account_lock *l);
static inline void account_lock_freep(struct account_lock **l)
{
    account_lock_free(*l);
}

#endif
