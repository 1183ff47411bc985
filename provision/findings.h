/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What there is to say to the administrator, one line each, collected so that all of it is said at
 * once and not one a run. */
#ifndef PROVISION_FINDINGS_H
#define PROVISION_FINDINGS_H

#include "common/problem.h"

#include <stddef.h>

enum finding_kind {
    FINDING_CONFLICT, /* in the way: nothing is changed while it is there; exit status 4 */
    FINDING_DRIFT,    /* not as the configuration and the ledger say; exit status 10 of check */
    FINDING_WARNING,  /* to be known; changes no exit status */
};

struct finding {
    enum finding_kind kind;
    char *text; /* one line: what, on which pool, uid or file, and what to do */
};

struct findings {
    struct finding *items;
    size_t n;
    bool no_memory; /* one could not be kept */
};

/* Control characters become '?'. */
void findings_add(struct findings *f, enum finding_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
size_t findings_count(const struct findings *f, enum finding_kind kind);
void findings_clear(struct findings *f);

#endif
