/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Locks in files, for processes and for jobs within one: open-file-description locks (fcntl(2),
 * F_OFD_SETLK). A lock lives until the last duplicate of its descriptor is closed, so a helper
 * that inherits it keeps the lock when its parent is killed. Nothing here unlinks a lock file. */
#ifndef COMMON_LOCKFILE_H
#define COMMON_LOCKFILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Open or create a lock file: O_NOFOLLOW, O_CLOEXEC, mode 0600, a regular file that belongs to us
 * or to root and that nobody else may write (else -EPERM). Returns a descriptor or a negative
 * errno. */
int lockfile_open(const char *path);

/* Lock bytes [at, at+length) for writing, without waiting: 0, -EAGAIN, or another negative errno.
 */
int lockfile_try(int fd, off_t at, off_t length);
/* The same for reading, which others may share; the descriptor may be read-only. */
int lockfile_try_shared(int fd, off_t at, off_t length);
/* The process whose lock keeps others from writing bytes [at, at+length); 0 if the kernel does not
 * say whose it is (a lock of an open file description, a process of another PID namespace), or if
 * nobody's is there any longer. Or a negative errno. */
int lockfile_holder(int fd, off_t at, off_t length, pid_t *ret);
/* For writing, waiting. -EINTR is retried. */
int lockfile_wait(int fd, off_t at, off_t length);
int lockfile_unlock(int fd, off_t at, off_t length);

/*
 * A fair queue over the bytes of the file from `at` on, all of them: lock nothing else there. The
 * kernel wakes all waiters of a lock and lets whoever runs first have it, so a process that locks
 * in a loop wins against all others, and more so the busier the machine is. Here a newcomer takes
 * the place behind the last who waits, and waits for that one alone. Whoever dies is passed over.
 */
int lockfile_queue_enter(int fd, off_t at);
int lockfile_queue_leave(int fd, off_t at);

/*
 * To enter without waiting: ask until it is 0. -EAGAIN: not yet; the place in the queue, once there
 * is one, is kept in `turn`, which begins as all zero, and is so again afterwards. Others behind us
 * wait as long as we do not ask.
 */
struct lockfile_turn {
    off_t place; /* 0: none yet */
    bool is_next;
};
int lockfile_queue_ask(int fd, off_t at, struct lockfile_turn *turn);
/* Give the place up. */
void lockfile_queue_give_up(int fd, struct lockfile_turn *turn);

#endif
