/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The structures of uidpool.h as JSON, under the names that `uidpool --json` gives their fields,
 * and what went wrong as an error of io.uidpool. Pure. */
#ifndef DAEMON_DESCRIBE_H
#define DAEMON_DESCRIBE_H

#include "common/problem.h"
#include "uidpool.h"

#include <jansson.h>

/* All return a new reference, or NULL if there is no memory. */
json_t *describe_lease(const struct uidpool_lease *lease);
/* The same with what its revocation looked at and killed. */
json_t *describe_released(const struct uidpool_lease *lease);
json_t *describe_event(const struct uidpool_event *event);
json_t *describe_survivor(const struct uidpool_survivor *survivor);

/* An object with one member; takes `value`, which may be NULL for want of memory. */
json_t *describe_as(const char *name, json_t *value);

/* What an error is about, as far as it is known. */
struct subject {
    const char *pool; /* or NULL */
    uid_t uid;        /* or UIDPOOL_NO_UID */
    int64_t domid;    /* or UIDPOOL_NO_DOMID */
};
#define SUBJECT_NONE ((struct subject){.uid = UIDPOOL_NO_UID, .domid = UIDPOOL_NO_DOMID})

/* "io.uidpool.NotFound" and so on; what is no error of that interface is "io.uidpool.Failed". */
const char *describe_error(enum uidpool_status status);
/* Its parameters: pool, uid, domid, message. */
json_t *describe_problem(const struct problem *problem, const struct subject *about);

#endif
