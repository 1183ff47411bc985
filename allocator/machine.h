/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The lease's state machine: the one place that says what may follow what, and the one that moves
 * a lease in the ledger. */
#ifndef ALLOCATOR_MACHINE_H
#define ALLOCATOR_MACHINE_H

#include "db/ledger.h"

/* A free uid has no lease. */
#define LEASE_FREE ((enum uidpool_state)0)
/* No such edge. */
#define LEASE_REFUSED ((enum uidpool_state) - 1)

enum lease_event {
    LEASE_EVENT_GRANT,      /* a domid or a name gets it */
    LEASE_EVENT_FOREIGN,    /* the census found a task that no lease explains */
    LEASE_EVENT_RELEASE,    /* asked for, the domain is gone, or the host was rebooted */
    LEASE_EVENT_NOT_PROVEN, /* an attempt ended without both witnesses saying EMPTY */
    LEASE_EVENT_PROVEN,     /* both said EMPTY, and no residue is left */
    LEASE_EVENT_RESIDUE,    /* both said EMPTY, but residue is left */
    LEASE_EVENT_RESTED,     /* the quarantine is over */
};
#define LEASE_EVENTS 7

/* Pure: the state after `event`, LEASE_FREE or LEASE_REFUSED. */
enum uidpool_state lease_next(enum uidpool_state state, enum lease_event event);

/*
 * Move `lease` by `event` within the ledger's write transaction. GRANT and FOREIGN insert it: its
 * fields but id, state and times must be filled in. RESTED deletes it. `reason` (or NULL) is
 * stored; `rest` is the quarantine in seconds, for an event that leads there. Evidence must have
 * been stored before PROVEN and RESIDUE. UIDPOOL_CONFLICT: no such edge, or somebody else moved the
 * lease since it was read.
 */
enum uidpool_status lease_step(struct ledger *l, struct uidpool_lease *lease,
                               enum lease_event event, const char *reason, uint32_t rest,
                               struct problem *p);

#endif
