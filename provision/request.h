/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What `user add` and `user remove` ask for, from a name and perhaps a pool or a uid. */
#ifndef PROVISION_REQUEST_H
#define PROVISION_REQUEST_H

#include "provision/roster.h"

/*
 * An account of the ledger's keeps its pool and uid, whatever state it is in. A new one gets the
 * pool, or, with `pool` NULL, the only one of the configuration, and `uid`, or UIDPOOL_NO_UID: to
 * be chosen by request_choose_uid().
 * `*ret_later`: nothing can be asked for before the ledger has the pool whole; carry the plan out
 * without a request, and ask again.
 * UIDPOOL_NOT_FOUND: the configuration has no such pool. UIDPOOL_USAGE: it has several.
 * UIDPOOL_CONFLICT: the account has another pool or uid; the uid is not the pool's; the pool is
 * retired, or cannot have accounts of single uids, since libxl refuses uids that resolve, or since
 * all have one.
 */
enum uidpool_status request_add(const struct choices *choices, const struct state *state,
                                const char *name, const char *pool, uid_t uid,
                                struct user_request *ret, bool *ret_later, struct problem *p);

/* The uid that is reserved for the name already, else the highest free one, else what the request
 * has. UIDPOOL_CONFLICT: the name is reserved for something else. UIDPOOL_EXHAUSTED. */
enum uidpool_status request_choose_uid(struct ledger *l, struct user_request *request,
                                       struct problem *p);

/* UIDPOOL_NOT_FOUND: the ledger has no such account. UIDPOOL_CONFLICT: its uid is leased. */
enum uidpool_status request_remove(struct ledger *l, const struct state *state, const char *name,
                                   struct user_request *ret, struct problem *p);

#endif
