/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What was found clear by those who may take long to answer: name services, directories. Whoever
 * asks them before he locks the account files need not ask again under the locks, which keep
 * neither from changing. Nothing else is kept: what is in the way is asked for each time.
 */
#ifndef PROVISION_MEMORY_H
#define PROVISION_MEMORY_H

#include "common/range.h"

#include <stddef.h>

/* More ranges are not kept; a host has a few pools. */
#define MEMORY_RANGES 64

enum memory_of { MEMORY_OF_NAME_SERVICES, MEMORY_OF_DIRECTORIES, MEMORIES };

struct memory {
    struct {
        struct uid_range ranges[MEMORY_RANGES];
        size_t n;
    } clear[MEMORIES];
    void *names; /* a tree of tsearch(3) */
};

/* `m` may be NULL everywhere: none, which keeps nothing. */
bool memory_has_range(const struct memory *m, enum memory_of of, struct uid_range range);
void memory_keep_range(struct memory *m, enum memory_of of, struct uid_range range);
/* Names that no name service has. */
bool memory_has_name(const struct memory *m, const char *name);
void memory_keep_name(struct memory *m, const char *name);
void memory_clear(struct memory *m);

#endif
