/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where a revocation looks for residue besides the usual places: [residue] Places= of
 * uidpool.conf(5). */
#ifndef ALLOCATOR_PLACES_H
#define ALLOCATOR_PLACES_H

#include "common/problem.h"

/* As struct allocator.places wants them. */
struct places {
    char **items; /* absolute paths, NULL-terminated; NULL: none are set */
    char *text;   /* what they point into */
};

/* From the layers of the configuration, or with `dir` from that directory alone. UIDPOOL_FAILED
 * names the file and what is wrong: a misspelt key would leave files unseen. */
enum uidpool_status places_read(const char *dir, struct places *ret, struct problem *p);
void places_clear(struct places *places);

#endif
