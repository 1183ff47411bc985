/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What went wrong, in the words an administrator reads: one status, one line. Library code fills
 * it where it knows most; the caller shows it, once. */
#ifndef COMMON_PROBLEM_H
#define COMMON_PROBLEM_H

#include "uidpool.h"

struct problem {
    enum uidpool_status status;
    char text[1024]; /* one line, no newline; longer ones are cut */
};

/* Set it, return `status`. `p` may be NULL. Control characters become '?'. */
enum uidpool_status problem_set(struct problem *p, enum uidpool_status status, const char *format,
                                ...) __attribute__((format(printf, 3, 4)));

/* The same for a failed system call: appends ": " and strerror(-error). `error` is a negative
 * errno. EPERM and EACCES become UIDPOOL_NOT_PERMITTED, everything else UIDPOOL_FAILED. */
enum uidpool_status problem_errno(struct problem *p, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
