/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The lease's state machine. Total over state x event; the ledger's triggers hold the same edges,
 * so that a mistake here is refused there. */
#include "allocator/machine.h"

#include "common/cleanup.h"

#include <stdio.h>

#define NO LEASE_REFUSED
#define FREE LEASE_FREE
#define LEASED UIDPOOL_STATE_LEASED
#define REVOKING UIDPOOL_STATE_REVOKING
#define QUARANTINED UIDPOOL_STATE_QUARANTINED
#define HELD UIDPOOL_STATE_HELD

/* A revocation that was not proven stays one. Nothing leads back to leased. */
/* clang-format off */
static const enum uidpool_state table[][LEASE_EVENTS] = {
    /*                GRANT   FOREIGN RELEASE   NOT_PROVEN PROVEN       RESIDUE RESTED */
    [FREE] =        { LEASED, HELD,   NO,       NO,        NO,          NO,     NO   },
    [LEASED] =      { NO,     NO,     REVOKING, NO,        NO,          NO,     NO   },
    [REVOKING] =    { NO,     NO,     NO,       REVOKING,  QUARANTINED, HELD,   NO   },
    [QUARANTINED] = { NO,     NO,     NO,       NO,        NO,          NO,     FREE },
    [HELD] =        { NO,     NO,     NO,       HELD,      QUARANTINED, HELD,   NO   },
};

/* clang-format on */

static const char *const event_names[LEASE_EVENTS] = {
    [LEASE_EVENT_GRANT] = "be leased",
    [LEASE_EVENT_FOREIGN] = "be held for a foreign task",
    [LEASE_EVENT_RELEASE] = "be revoked",
    [LEASE_EVENT_NOT_PROVEN] = "fail to be proven",
    [LEASE_EVENT_PROVEN] = "be proven empty",
    [LEASE_EVENT_RESIDUE] = "be held for its residue",
    [LEASE_EVENT_RESTED] = "end",
};

enum uidpool_state lease_next(enum uidpool_state state, enum lease_event event)
{
    if ((size_t)state >= ELEMENTS_OF(table) || (size_t)event >= LEASE_EVENTS)
        return LEASE_REFUSED;
    return table[state][event];
}

static enum uidpool_status refuse(const struct uidpool_lease *lease, enum lease_event event,
                                  struct problem *p)
{
    const char *state = lease->state == FREE ? "free" : uidpool_state_name(lease->state);

    return problem_set(p, UIDPOOL_CONFLICT, "uid %u is %s and cannot %s", lease->uid,
                       state ? state : "in an unknown state",
                       (size_t)event < LEASE_EVENTS ? event_names[event] : "do that");
}

enum uidpool_status lease_step(struct ledger *l, struct uidpool_lease *lease,
                               enum lease_event event, const char *reason, uint32_t rest,
                               struct problem *p)
{
    enum uidpool_state to = lease_next(lease->state, event);

    if (to == LEASE_REFUSED)
        return refuse(lease, event, p);
    if (to == FREE)
        return ledger_lease_delete(l, lease, p);
    if (lease->state != FREE)
        return ledger_lease_set_state(l, lease, to, reason, rest, p);

    lease->state = to;
    (void)snprintf(lease->reason, sizeof(lease->reason), "%s", reason ? reason : "");
    enum uidpool_status status = ledger_lease_insert(l, lease, p);
    if (status != UIDPOOL_OK)
        lease->state = FREE;
    return status;
}
