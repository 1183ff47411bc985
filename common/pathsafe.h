/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* May this file be trusted with root's decisions? */
#ifndef COMMON_PATHSAFE_H
#define COMMON_PATHSAFE_H

#include <stddef.h>

/*
 * Check the directory that holds `path`, and every directory above it: owned by root or by us,
 * and not writable by group or others, but for a sticky directory such as /tmp above the last one.
 * Then `path` itself and `path` + each of the NULL-terminated `suffixes`, those that exist: regular
 * files, one link, owned by root or us, not writable by group or others, not symbolic links. 0;
 * -ENOENT if the directory is missing; -EPERM if something is not safe, then `why` says what and
 * how to mend it; or another negative errno.
 */
int path_check_safe(const char *path, const char *const *suffixes, char *why, size_t why_size);

#endif
