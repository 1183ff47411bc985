/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The loop and what works on it, put together: on the loop of whoever has one (the daemon), or on a
 * private one for those who wait until it is done (the library, and so the commands). Both run the
 * same jobs.
 */
#ifndef ALLOCATOR_ENGINE_H
#define ALLOCATOR_ENGINE_H

#include "allocator/revocation/revocation.h"

/*
 * Make the committer, the revoker and the granter, on the loop of whoever has one, or with NULL on
 * a private one, which stays as long as the allocator. The ledger must be open for writing, and
 * open until allocator_detach(). Does nothing when it was done before. 0 or a negative errno.
 */
int allocator_attach(struct allocator *a, sd_event *event);
/* Drop the jobs that are not done, and all that was made. Before the ledger is closed. */
void allocator_detach(struct allocator *a);

/* A lease, waited for; see uidpool_lease(). The request's shape has been checked: exactly one of
 * domid and name, a valid name, uuid in lower case or NULL. */
enum uidpool_status allocator_lease(struct allocator *a,
                                    const struct uidpool_lease_request *request, uint32_t timeout,
                                    struct uidpool_lease *ret, struct problem *p);

/* Run jobs for these leases on the allocator's private loop until all are done. `timeout` in
 * seconds for each. Returns the worst status, its problem in `p`; survivors are added to the
 * allocator's. Never called where the loop is somebody else's (allocator_attach()). */
enum uidpool_status revoke_all(struct allocator *a, enum revocation_kind kind,
                               const struct uidpool_lease *leases, size_t n, uint32_t timeout,
                               bool (*each)(const struct uidpool_lease *, void *), void *userdata,
                               struct problem *p);

#endif
