/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Start a helper program and learn its end from a pidfd, inside programs that are not ours. */
#ifndef COMMON_SPAWN_H
#define COMMON_SPAWN_H

#include <stddef.h>
#include <sys/types.h>

/*
 * Run `path` (no PATH search) with `argv` and an empty environment. Standard input and output are
 * /dev/null, standard error is ours; `keep` (at most 4 descriptors) become 3, 4, ... in the
 * child; everything else is closed there. The child's signal mask is empty and its handlers are
 * default.
 *
 * The child shares our memory until it has executed (clone(2), CLONE_VM | CLONE_VFORK), so that a
 * toolstack of several gigabytes pays nothing for it, and it has no exit signal, so that the
 * caller's own SIGCHLD handling never sees it: only spawn_reap() on the pidfd does.
 *
 * Returns a pidfd (poll it for POLLIN), or a negative errno, also when execve(2) failed.
 */
int spawn_helper(const char *path, char *const argv[], const int *keep, size_t n_keep);

/*
 * Take the end of a helper whose pidfd is readable; closes nothing.
 * 0..255: its exit status. -ECHILD: killed by a signal or reaped by somebody else, so that nothing
 * is known. -EAGAIN: it still runs.
 */
int spawn_reap(int pidfd);

/* The same, waiting up to `timeout_msec`; a helper that is late is killed, reaped, and -ETIMEDOUT
 * returned. */
int spawn_wait(int pidfd, int timeout_msec);

#endif
