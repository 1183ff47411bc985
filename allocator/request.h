/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The shape of what callers ask for, checked before anything is opened: the library's and the
 * daemon's one way to say no. Pure. */
#ifndef ALLOCATOR_REQUEST_H
#define ALLOCATOR_REQUEST_H

#include "common/problem.h"
#include "uidpool.h"

/* The most seconds a caller may wait, and a uid may rest: ten years, as parse_seconds() has it. */
#define REQUEST_SECONDS_MAX UINT32_C(315360000)

/* All return UIDPOOL_OK, or UIDPOOL_USAGE with the words in `p`. `what` is "pool", "lease", ... */
enum uidpool_status request_check_name(const char *name, const char *what, struct problem *p);
enum uidpool_status request_check_timeout(uint32_t seconds, struct problem *p);
enum uidpool_status request_check_selector(const struct uidpool_selector *s, struct problem *p);
/* The same, and it must say which lease: a domid, a name or a uid. */
enum uidpool_status request_check_release(const struct uidpool_selector *s, struct problem *p);
/* `ret_uuid` becomes the uuid in lower case, or "". */
enum uidpool_status request_check_lease(const struct uidpool_lease_request *r,
                                        char ret_uuid[static UIDPOOL_UUID_LEN + 1],
                                        struct problem *p);
enum uidpool_status request_check_history(const struct uidpool_history_query *q, struct problem *p);

#endif
