/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What following xenstore concludes: from what the store said, what the ledger says, and what was
 * seen before, to leases, revocations and nodes to be written. No clock, no store, no ledger: same
 * arguments, same plan.
 *
 * MUST
 *  1. Revoke only a lease by domid whose domid is absent, beyond doubt, from a store that knows us
 *     (the marker), and only if that domain is known to have been there: it was seen in this store,
 *     or the lease was made by us for one that was, or it stayed absent for a long time, from a
 *     store that never lost anything.
 *  2. Count nothing as absent for a lease that is older than the store, unless it was seen in it: a
 *     store that was restarted empty knows none of those who live.
 *  3. Ask for no lease where that would first revoke another: its uid may be the next owner's.
 *  4. Leave domain 0, and leases by name, which are their owners' to release.
 */
#ifndef DAEMON_FOLLOW_PLAN_H
#define DAEMON_FOLLOW_PLAN_H

#include "allocator/daemon/xenwatch.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Is in the reason of the leases that are made by following. */
#define FOLLOW_REASON "its domain is in xenstore"

/* Microseconds that a domain must be absent where nobody has ever seen it. */
#define FOLLOW_ABSENT_LONG INT64_C(600000000)

enum follow_presence {
    FOLLOW_UNKNOWN = 0, /* nobody asked */
    FOLLOW_ABSENT,
    FOLLOW_PRESENT,
};

struct follow_domain {
    int64_t domid;
    char uuid[UIDPOOL_UUID_LEN + 1]; /* or "" */
    char name[UIDPOOL_NAME_MAX + 1]; /* or "" */
    uid_t kill_uid;                  /* or UIDPOOL_NO_UID */
};

/* What one whole scan said. */
struct follow_view {
    struct follow_domain *domains; /* in order of domid */
    size_t n_domains;
    unsigned char absent[(DOMID_LAST + 8) / 8]; /* a bit a domid */
    char marker[XENWATCH_TEXT_MAX + 1];         /* or "" */
};

/* `ret` may be NULL; it is set with FOLLOW_PRESENT alone. */
enum follow_presence follow_view_find(const struct follow_view *v, int64_t domid,
                                      const struct follow_domain **ret);

/* What was learned about a lease, as long as the ledger has it. */
struct follow_lease_memory {
    int64_t id;
    bool seen;        /* its domain, in this store */
    bool gone;        /* that domain, for good: whoever has the domid now is another */
    bool asked;       /* its revocation is under way */
    bool told;        /* of the next owner, who is there */
    bool retried;     /* what stood in the way of its kill has gone, and that was said */
    bool absent;      /* when it was last looked for */
    bool died_before; /* a store that was lost called it gone, and its domid free, until the end */
    bool hidden;      /* a next owner was seen in a store that was lost, and may live */
    bool old;         /* it was leased before the last reboot; the ledger forgets that when it is
                         being revoked */
    int64_t absent_since; /* in our sight all the time; 0: it is not */
    int64_t ask_at;       /* not before, after a failure */
};

/* What was tried for a domain: a lease in a pool, or (pool 0) its kill-uid. */
struct follow_try {
    int64_t pool_id, domid;
    char uuid[UIDPOOL_UUID_LEN + 1];
    bool pending; /* a request for a lease is under way */
    bool had;     /* it had a lease: if it has none any more, somebody released it */
    bool told;    /* of the failure */
    unsigned failures;
    int64_t first_seen, tried_at, next_at;
    int64_t event;  /* the newest when it was tried */
    uid_t kill_uid; /* as it was when it was tried */
};

/* What is kept from one plan to the next. All zero at the start. */
struct follow_memory {
    struct follow_lease_memory *leases; /* in order of id */
    size_t n_leases;
    struct follow_try *tries; /* in order of pool_id, domid */
    size_t n_tries;
    bool marked; /* the store has our marker: leases with a greater id than `since` are younger */
    int64_t since;
    bool lost; /* it is not the first store of this boot: who lives need not be in it */
    bool told_lost;
    int64_t mark_at;     /* not before: a store may refuse it */
    uint64_t connection; /* of the last plan */
};

void follow_memory_clear(struct follow_memory *m);

/* Keep what is of these leases, and of the domains that are there in the pools with the policy
 * `domid`; a domain with another uuid is another. 0 or -ENOMEM, with the memory as it was. */
struct follow_facts;
int follow_memory_renew(struct follow_memory *m, const struct follow_facts *facts);
/* NULL: it is not there. */
struct follow_lease_memory *follow_memory_lease(const struct follow_memory *m, int64_t id);
struct follow_try *follow_memory_try(const struct follow_memory *m, int64_t pool_id, int64_t domid);
/* The store is another one: what was seen in the last one counts for nothing. */
void follow_memory_forget_store(struct follow_memory *m);
/* The store was out of sight: what was absent before need not have been absent all the time. */
void follow_memory_interrupted(struct follow_memory *m);
/* It failed: later each time. */
void follow_try_failed(struct follow_try *t, int64_t now);

/* A lease was asked for, and it failed or not. True: it failed, and was not told yet. */
bool follow_memory_leased(struct follow_memory *m, int64_t pool_id, int64_t domid, const char *uuid,
                          bool failed, int64_t now);
/* The revocation of a lease ended, and it failed or not. */
void follow_memory_revoked(struct follow_memory *m, int64_t lease, bool failed, int64_t now);

/* May the store be asked whether to kill? False: what it says would prove nothing. The uuid with
 * which the lease's domid may be introduced then, "" for none: it must not be introduced at all. */
bool follow_guard(const struct follow_memory *m, const struct uidpool_lease *lease,
                  const char **ret_uuid);

enum follow_kind {
    FOLLOW_LEASE,      /* pool, domain, adopt */
    FOLLOW_REVOKE,     /* lease */
    FOLLOW_RETRY,      /* lease: its revocation, if it waits */
    FOLLOW_KILL_UID,   /* domain, uid */
    FOLLOW_MARK,       /* since, lost */
    FOLLOW_NEXT_OWNER, /* tell: lease, domain */
    FOLLOW_STORE_LOST, /* tell: lease, the first of `count` that stay */
};

/* All pointers are into the facts. */
struct follow_action {
    enum follow_kind kind;
    const struct uidpool_pool *pool;
    const struct uidpool_lease *lease;
    const struct follow_domain *domain;
    bool adopt; /* the store says that the uid is this domain's */
    uid_t uid;
    int64_t since;
    bool lost;
    size_t count;
};

struct follow_facts {
    const struct follow_view *view;
    uint64_t connection; /* another number after each time that the store was out of sight */
    const struct uidpool_pool *pools; /* those that follow */
    size_t n_pools;
    const struct uidpool_lease *leases; /* of these pools, in any state */
    size_t n_leases;
    const char *ledger;   /* which one it is, a word */
    int64_t newest_event; /* of that ledger, read after the scan */
    int64_t now;          /* monotonic, microseconds, not 0 */
};

struct follow_plan {
    struct follow_action *actions;
    size_t n;
    int64_t look_at; /* plan again then, if nothing happens before; 0: no need */
};

/* 0 or -ENOMEM. The memory takes for granted that the actions are carried out. */
int follow_plan_make(struct follow_memory *m, const struct follow_facts *facts,
                     struct follow_plan *ret);
void follow_plan_clear(struct follow_plan *p);

/* The marker's text: the ledger, its newest event when the store was marked, and whether the store
 * had lost something by then. */
void follow_marker(const char *ledger, int64_t since, bool lost, char *buf, size_t size);

#endif
