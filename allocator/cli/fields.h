/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The structures of uidpool.h as people and programs see them: which fields, in which order, under
 * which names. The JSON keys are an interface: they may be added to, never renamed. */
#ifndef CLI_FIELDS_H
#define CLI_FIELDS_H

#include "allocator/cli/render.h"
#include "uidpool.h"

extern const struct fields fields_grant;       /* struct uidpool_lease, as `lease` answers */
extern const struct fields fields_lease;       /* struct uidpool_lease, as `list` shows it */
extern const struct fields fields_released;    /* struct uidpool_lease, after a revocation */
extern const struct fields fields_pool;        /* struct uidpool_pool */
extern const struct fields fields_reservation; /* struct uidpool_reservation */
extern const struct fields fields_event;       /* struct uidpool_event */
extern const struct fields fields_survivor;    /* struct uidpool_survivor */

/* Room for each of the texts below. */
#define FIELDS_TEXT 160

/* "uid 2113929221" or "uids 2113929221-2113929224". Returns `buf`. */
const char *fields_uids(uid_t uid, uint32_t count, char buf[static FIELDS_TEXT]);
/* "domid 5", "name fred" or "no domain". Returns `buf`. */
const char *fields_holder(int64_t domid, const char *name, char buf[static FIELDS_TEXT]);

/* A pool whose meaningless gid is gone, so that it shows as missing. */
struct uidpool_pool fields_pool_view(const struct uidpool_pool *pool);

#endif
