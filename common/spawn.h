/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Start a helper program and learn its end from a pidfd, inside programs that are not ours. */
#ifndef COMMON_SPAWN_H
#define COMMON_SPAWN_H

#include <stddef.h>
#include <sys/types.h>

/*
 * Run `path` (no PATH search) with `argv` and an empty environment. Standard input and output are
 * /dev/null, standard error is ours; `keep` (at most 20 descriptors) become 3, 4, ... in the
 * child; everything else is closed there. The child's signal mask is empty and its handlers are
 * default.
 *
 * It shares our memory until it has executed (clone(2), CLONE_VM | CLONE_VFORK), so that a
 * toolstack of several gigabytes pays nothing for it. It is not our child but that of a minder,
 * which is, which executes nothing and so has no exit signal: the caller's own SIGCHLD handling
 * never sees either, only spawn_reap() on the pidfd does.
 *
 * Returns a pidfd of the minder, which ends when the helper has ended and as it did (poll it for
 * POLLIN), or a negative errno, also when execve(2) failed. The minder holds no descriptors.
 */
int spawn_helper(const char *path, char *const argv[], const int *keep, size_t n_keep);

/*
 * Take the end of a helper whose pidfd is readable; closes nothing.
 * 0..255: its exit status. -ECHILD: killed by a signal or reaped by somebody else, so that nothing
 * is known. -EAGAIN: it still runs.
 */
int spawn_reap(int pidfd);

/* Kill a helper that still runs. A SIGKILL to the pidfd would end the minder alone. 0, or a
 * negative errno. */
int spawn_kill(int pidfd);

/* spawn_reap(), waiting up to `timeout_msec`; a helper that is late is killed, reaped, and
 * -ETIMEDOUT returned. */
int spawn_wait(int pidfd, int timeout_msec);

#endif
