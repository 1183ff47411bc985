/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Residue: what uids leave behind when nothing runs as them any more. System V IPC objects and
 * POSIX message queues are removed. Files are found and named, never removed: they may be the
 * administrator's evidence.
 *
 * Works in steps, as the scan does. Below a place it follows no symbolic link and crosses no mount
 * point; the place itself may be either.
 */
#ifndef ALLOCATOR_RESIDUE_H
#define ALLOCATOR_RESIDUE_H

#include "common/range.h"

#include <stddef.h>

struct residue;

/* `places` is a NULL-terminated list of absolute directories (copied) besides /tmp, /var/tmp,
 * /dev/shm, /run/lock and the spools of cron and at; NULL is none. One that does not exist is no
 * residue. */
int residue_new(struct uid_range range, const char *const *places, struct residue **ret);
/* A look for several that removes and names nothing: is there anything of one of them, or anything
 * that cannot be looked at? residue_count() says so, from when it is found. Most often there is
 * not, and then nobody has to look for each. */
int residue_new_look(const struct uid_range *ranges, size_t n_ranges, const char *const *places,
                     struct residue **ret);
void residue_free(struct residue *r);
static inline void residue_freep(struct residue **r)
{
    residue_free(*r);
}

/* Look at up to `max_entries` more. 1: there is more, 0: done. Trouble is no error here, it is
 * counted as residue: what could not be looked at is not known to be clean. */
int residue_step(struct residue *r, unsigned max_entries);

/* After it is done: how many things an administrator must look at, 0 = clean. */
size_t residue_count(const struct residue *r);
/* And how many IPC objects were removed. */
size_t residue_removed(const struct residue *r);
/* The first few of them by name, and how many more, in one line of printable characters; "" if
 * clean. The residue owns it. */
const char *residue_text(const struct residue *r);

/* One line of /proc/sysvipc/{shm,msg,sem}: the ids of its owner and creator. 0 or -EBADMSG. Public
 * for its fuzzer. `kind` is the file's name. */
int residue_parse_ipc(const char *kind, const char *line, int *ret_id, uid_t *ret_uid,
                      uid_t *ret_cuid);

#endif
