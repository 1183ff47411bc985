/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Replace files of one directory so that at every instant, a loss of power included, each is whole:
 * the old one or the new one. A life of new, add, prepare, commit:
 *
 *   prepare  looks at everything that could refuse later (read-only file system, immutable or
 *            append-only file, a mount point or a symbolic link in its place), writes every
 *            temporary beside its target (O_EXCL, then owner, mode, ACL and labels of the file that
 *            it replaces), those of the backups too, and syncs each.
 *            A failure, a full disk too, has removed what was made: nothing else was touched.
 *   commit   gives the backups their names, and then renames the temporaries over their targets, in
 *            the order they were added, and syncs the directory. Only a failing disk can refuse
 *            here; it says which were replaced.
 */
#ifndef COMMON_ATOMICFILE_H
#define COMMON_ATOMICFILE_H

#include "common/problem.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

struct atomicfile;

/* Between the target's name and the end of a temporary's: ".NAME.uidpool". One name a target, so
 * that what the dead leave is found and never heaps up; the caller's lock makes it safe. */
#define ATOMICFILE_SUFFIX ".uidpool"

/* For files of `directory`, an absolute path that is no symbolic link in its last component.
 * UIDPOOL_FAILED or UIDPOOL_NOT_PERMITTED as problem_errno() says. */
enum uidpool_status atomicfile_new(const char *directory, struct atomicfile **ret,
                                   struct problem *p);
/* Removes the temporaries that were not committed. NULL is allowed. */
void atomicfile_free(struct atomicfile *a);
static inline void atomicfile_freep(struct atomicfile **a)
{
    atomicfile_free(*a);
}

/* `name`, an existing regular file of the directory, is to hold these pieces one after the other;
 * they are not copied, and must live until it is prepared, as the array must. With `backup` the old
 * contents are kept as NAME-, with owner, mode and times, as shadow and systemd-sysusers do it. */
enum uidpool_status atomicfile_add(struct atomicfile *a, const char *name,
                                   const struct iovec *pieces, size_t n, bool backup,
                                   struct problem *p);
enum uidpool_status atomicfile_prepare(struct atomicfile *a, struct problem *p);
enum uidpool_status atomicfile_commit(struct atomicfile *a, struct problem *p);

#endif
