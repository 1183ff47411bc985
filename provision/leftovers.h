/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What programs that were killed leave beside the account files: which files those are, and the
 * list of them. Rooms besides lock.c have no business here. */
#ifndef PROVISION_LEFTOVERS_H
#define PROVISION_LEFTOVERS_H

#include "provision/files.h"
#include "provision/lock.h"

#include <stdint.h>
#include <sys/types.h>
#include <time.h>

struct leftovers {
    struct leftover *items;
    size_t n;
};

/* Room for one more, so that the next leftovers_add() finds it. 0 or -ENOMEM. */
int leftovers_reserve(struct leftovers *l);
/* A name in the account files' directory. Needs leftovers_reserve(). */
void leftovers_add(struct leftovers *l, const char *name, const char *why, ...)
    __attribute__((format(printf, 3, 4)));
/* By path. */
void leftovers_sort(struct leftovers *l);
void leftovers_clear(struct leftovers *l);

/* The pid in a lock file of shadow's: decimal digits, then a NUL, a newline, or nothing. -EINVAL:
 * something else, or nothing at all; or another negative errno. */
int read_lock_pid(int fd, pid_t *ret);

/* The temporaries of the dead in `directory`, which is FILES_DIRECTORY. The caller holds .pwd.lock,
 * so all but shadow's with --prefix are of the dead; those are told apart by their pid, or, where
 * the name has none, by `is_locked`: does somebody alive, but us, hold that FILE.lock? With
 * `remove` they are removed. UIDPOOL_FAILED or UIDPOOL_NOT_PERMITTED: could not. */
enum uidpool_status leftovers_sweep(struct leftovers *l, int directory, bool remove,
                                    bool (*is_locked)(int directory, enum account_file file),
                                    struct problem *p);

#endif
