/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which files below some directories carry ids of a range? Reads directories and changes nothing,
 * not even their access times where that can be.
 *
 * Below a place it follows no symbolic link and crosses no mount point, but says where one is; the
 * place itself may be either. Files that come and go meanwhile are no trouble. Whatever else keeps
 * it from looking is an error: what was not seen is not known to be clean.
 */
#ifndef PROVISION_PLACES_H
#define PROVISION_PLACES_H

#include "common/problem.h"
#include "common/range.h"

#include <stdbool.h>

struct place_file {
    const char *path; /* below the place; valid during the call */
    bool is_mount;    /* another file system begins here and is not looked at; no ids */
    uid_t uid;
    gid_t gid;
};

/* `places` is a NULL-terminated list of absolute directories. `each` is told of every file whose
 * uid or gid lies in the range, places included, and of every mount point, until it returns false;
 * `progress` (or NULL) now and then, at most once a second. UIDPOOL_OK, or UIDPOOL_FAILED: what it
 * could not look at, and why. */
enum uidpool_status places_look(const char *const *places, struct uid_range range,
                                bool (*each)(const struct place_file *file, void *userdata),
                                void (*progress)(const char *text, void *userdata), void *userdata,
                                struct problem *p);

#endif
