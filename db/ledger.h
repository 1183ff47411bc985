/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ledger: one SQLite file that holds pools, reservations, leases, evidence and history, and
 * that refuses by its own triggers whatever would break a rule (db/schema). The only door to
 * it, and the only room that knows SQL.
 *
 * Reads see one consistent state when made between ledger_begin() and ledger_rollback(); alone,
 * each is its own transaction. Writes need ledger_begin(). A failed write leaves the transaction to
 * be rolled back.
 *
 * Every function that takes a `struct problem` fills it on failure and returns the same status:
 * UIDPOOL_LEDGER for a damaged, too new or not safely owned ledger, UIDPOOL_CONFLICT where a rule
 * of the ledger refused, UIDPOOL_NOT_FOUND where nothing matched, UIDPOOL_FAILED for a full disk
 * and the like.
 */
#ifndef DB_LEDGER_H
#define DB_LEDGER_H

#include "common/problem.h"
#include "common/range.h"
#include "uidpool.h"

#include <stdbool.h>
#include <stdint.h>

struct ledger;

/* The reaper's uids of a new ledger: at the end of what hostrange.h calls automatic, below
 * systemd's foreign ids (2147352576, systemd docs/UIDS-GIDS.md). So many helpers may kill at once.
 */
#define LEDGER_REAPER_FIRST UINT32_C(2147287040)
#define LEDGER_REAPER_COUNT UINT32_C(64)

enum ledger_access {
    LEDGER_READ,   /* must exist; no write is possible */
    LEDGER_WRITE,  /* must exist; an older schema is refused with the advice to upgrade */
    LEDGER_CREATE, /* made, with its directory (0700), if it does not exist */
};

/* What a witness says about uids. Zero is UNKNOWN, so that a forgotten answer is never EMPTY. */
enum witness {
    WITNESS_UNKNOWN = 0, /* could not look, or could not see everything: counts as BUSY */
    WITNESS_BUSY,
    WITNESS_EMPTY,
};

/* "unknown", "busy", "empty". */
const char *witness_name(enum witness w);

/* What one attempt to prove uids empty came to. */
struct evidence {
    struct uid_range uids; /* the lease's uids */
    int64_t lease;         /* struct uidpool_lease.id */
    uint32_t step;         /* and .step: evidence counts for this state of the lease alone */
    enum witness scan;
    enum witness census;
    uint32_t tasks_scanned; /* tasks the scan looked at, of any uid */
    uint32_t tasks_killed;  /* tasks of these uids that were seen and are now dead */
    uint32_t zombies;       /* dead tasks of these uids that nobody has reaped yet */
    uint32_t residue;       /* things left behind that an administrator must look at */
    const char *detail;     /* survivors, residue; or NULL */
};

enum uidpool_status ledger_open(const char *path, enum ledger_access access, struct ledger **ret,
                                struct problem *p);
void ledger_close(struct ledger *l);
static inline void ledger_closep(struct ledger **l)
{
    ledger_close(*l);
}
const char *ledger_path(const struct ledger *l);

/* Join the writers' queue (common/lockfile.h) and begin a write transaction. */
enum uidpool_status ledger_begin(struct ledger *l, struct problem *p);
/* The same without waiting for others. With *ret_begun false nothing has begun yet: ask again in a
 * moment; the place in the queue is kept until then, or until ledger_begin_never(). */
enum uidpool_status ledger_begin_soon(struct ledger *l, bool *ret_begun, struct problem *p);
void ledger_begin_never(struct ledger *l);
/* Begin a read transaction: no queue, no lock that a writer would notice. */
enum uidpool_status ledger_begin_read(struct ledger *l, struct problem *p);
/* Durable when it returns UIDPOOL_OK. On failure the transaction is rolled back. */
enum uidpool_status ledger_commit(struct ledger *l, struct problem *p);
/* A part of the write transaction that can be undone by itself; parts do not nest. `keep` false
 * undoes it, whatever happened in it. */
enum uidpool_status ledger_part_begin(struct ledger *l, struct problem *p);
enum uidpool_status ledger_part_end(struct ledger *l, bool keep, struct problem *p);
/* Undo and leave the queue; nothing to do outside a transaction. */
void ledger_rollback(struct ledger *l);

/*
 * Claim uids for a revocation or for the look before a lease: at most one job on this host may
 * census, kill or lease a uid at a time. A claim is a lock on the uids' bytes in the ledger's lock
 * file; it lives until the last duplicate of the descriptor is closed, helpers included.
 * Returns a descriptor, -EAGAIN if somebody has one of them, -ESTALE if the lock file is not the
 * one any more that this ledger opened, or another negative errno.
 */
int ledger_claim_uids(struct ledger *l, uid_t first, uint32_t count);

/* The uids kept for the reaper: chosen when the ledger was made, outside every pool for ever. */
enum uidpool_status ledger_reaper_range(struct ledger *l, uid_t *ret_first, uint32_t *ret_count,
                                        struct problem *p);

/* Pools. Counts (leased, free, ...) are filled by ledger_pool_count() alone. A pool that is
 * inserted as `provisioning` must be `retired` as well. */
enum uidpool_status ledger_pool_insert(struct ledger *l, const struct uidpool_pool *pool,
                                       struct problem *p);
enum uidpool_status ledger_pool_by_name(struct ledger *l, const char *name,
                                        struct uidpool_pool *ret, struct problem *p);
enum uidpool_status ledger_pool_by_id(struct ledger *l, int64_t id, struct uidpool_pool *ret,
                                      struct problem *p);
enum uidpool_status ledger_pool_each(struct ledger *l,
                                     bool (*each)(const struct uidpool_pool *, void *),
                                     void *userdata, struct problem *p);
enum uidpool_status ledger_pool_count(struct ledger *l, struct uidpool_pool *pool,
                                      struct problem *p);
enum uidpool_status ledger_pool_set_retired(struct ledger *l, int64_t id, bool retired,
                                            struct problem *p);
enum uidpool_status ledger_pool_set_next(struct ledger *l, int64_t id, uid_t next,
                                         struct problem *p);

/* Policy, gid rule, quarantine, follow and resolve become the pool's; the ledger itself notes in
 * its history what changed. The name and the range never change. */
enum uidpool_status ledger_pool_update(struct ledger *l, const struct uidpool_pool *pool,
                                       struct problem *p);
/* A pool that was inserted as `provisioning` may give leases from now on: neither that nor retired
 * any more. UIDPOOL_CONFLICT if it is not being provisioned. */
enum uidpool_status ledger_pool_finish(struct ledger *l, int64_t id, struct problem *p);

/*
 * Accounts of single uids: made by uidpool-provision on a reserved uid of a pool, never deleted.
 * While one is there its reservation, which has the same name, cannot end. Its uid is leased, to
 * that name, only while it is PRESENT.
 */
enum ledger_account_state {
    LEDGER_ACCOUNT_ADDING = 1, /* to be made in the account files */
    LEDGER_ACCOUNT_PRESENT,
    LEDGER_ACCOUNT_REMOVING, /* to be locked in the account files */
    LEDGER_ACCOUNT_REMOVED,  /* locked; its uid stays out of use */
};

struct ledger_account {
    char name[32]; /* a login name: at most 31 bytes (useradd(8)) */
    char pool[UIDPOOL_NAME_MAX + 1];
    int64_t pool_id;
    uid_t uid;
    gid_t gid;
    enum ledger_account_state state;
};

/* Takes name, pool_id, uid, gid; begins as ADDING. The reservation must be there. */
enum uidpool_status ledger_account_insert(struct ledger *l, const struct ledger_account *account,
                                          struct problem *p);
/* ADDING to PRESENT, PRESENT to REMOVING, REMOVING to REMOVED, ADDING to REMOVING, REMOVED to
 * ADDING; UIDPOOL_CONFLICT for everything else. */
enum uidpool_status ledger_account_set_state(struct ledger *l, const char *name,
                                             enum ledger_account_state state, struct problem *p);
/* UIDPOOL_NOT_FOUND: there is none. */
enum uidpool_status ledger_account_by_name(struct ledger *l, const char *name,
                                           struct ledger_account *ret, struct problem *p);
/* In order of name. */
enum uidpool_status ledger_account_each(struct ledger *l,
                                        bool (*each)(const struct ledger_account *, void *),
                                        void *userdata, struct problem *p);

/*
 * The first free block of `count` uids of the pool at or after `from` (and below its end; no going
 * round). Constant time but for the logarithm of the number of leases. Blocks of more than one uid
 * may be passed over where the free stretch is less than twice as long, as long as others are
 * found. UIDPOOL_EXHAUSTED if there is none; `p` is not filled then.
 */
enum uidpool_status ledger_free_block(struct ledger *l, const struct uidpool_pool *pool, uid_t from,
                                      uint32_t count, uid_t *ret, struct problem *p);
/* The highest free block of the pool, for reservations without a uid. */
enum uidpool_status ledger_free_block_last(struct ledger *l, const struct uidpool_pool *pool,
                                           uint32_t count, uid_t *ret, struct problem *p);

/* Reservations. */
enum uidpool_status ledger_reservation_insert(struct ledger *l, const struct uidpool_reservation *r,
                                              struct problem *p);
enum uidpool_status ledger_reservation_delete(struct ledger *l, const char *name,
                                              struct problem *p);
enum uidpool_status ledger_reservation_by_name(struct ledger *l, const char *name,
                                               struct uidpool_reservation *ret, struct problem *p);
/* The reservation that meets [first, first+count) at its highest uid. */
enum uidpool_status ledger_reservation_at(struct ledger *l, uid_t first, uint32_t count,
                                          struct uidpool_reservation *ret, struct problem *p);
/* pool_id 0: all. */
enum uidpool_status ledger_reservation_each(struct ledger *l, int64_t pool_id,
                                            bool (*each)(const struct uidpool_reservation *,
                                                         void *),
                                            void *userdata, struct problem *p);

/* Leases. Insert takes pool_id, uid, gid, count, domid, name, uuid, state (LEASED, or HELD for a
 * uid that somebody foreign uses) and reason, and fills in the rest. */
enum uidpool_status ledger_lease_insert(struct ledger *l, struct uidpool_lease *lease,
                                        struct problem *p);
/* The live lease that meets [first, first+count) at its highest uid. UIDPOOL_NOT_FOUND: none. */
enum uidpool_status ledger_lease_at(struct ledger *l, uid_t first, uint32_t count,
                                    struct uidpool_lease *ret, struct problem *p);
/* In order of uid. selector->pool is by name. `each` may not write. */
enum uidpool_status ledger_lease_each(struct ledger *l, const struct uidpool_selector *selector,
                                      bool (*each)(const struct uidpool_lease *, void *),
                                      void *userdata, struct problem *p);
/* Those of one pool by name, or with NULL of all, whose first uid is greater than `after`: so that
 * a long list can be read in pieces, each a picture of its moment. */
enum uidpool_status ledger_lease_each_after(struct ledger *l, const char *pool, uid_t after,
                                            bool (*each)(const struct uidpool_lease *, void *),
                                            void *userdata, struct problem *p);
/* Move the lease from exactly this state and step to another: state `to`, reason, and, into
 * quarantine or a hold, `rest` seconds that begin now; a hold that stays one keeps its own.
 * UIDPOOL_CONFLICT if somebody moved it meanwhile, or if the ledger refuses the edge. Only
 * allocator/machine.c calls it. */
enum uidpool_status ledger_lease_set_state(struct ledger *l, struct uidpool_lease *lease,
                                           enum uidpool_state to, const char *reason, uint32_t rest,
                                           struct problem *p);
/* End it: quarantined, rested and with evidence, or the ledger refuses. Only allocator/machine.c
 * calls it. */
enum uidpool_status ledger_lease_delete(struct ledger *l, const struct uidpool_lease *lease,
                                        struct problem *p);
/* Up to `limit` quarantined leases whose rest is over, longest rested first. */
enum uidpool_status ledger_lease_rested(struct ledger *l, uint32_t limit, struct uidpool_lease *ret,
                                        uint32_t *ret_n, struct problem *p);

/* The same of one pool, in no order that matters: those whose rest is over on the boot clock, or,
 * with `other_boot`, those that a reboot ended, whatever the clock says. The latter goes over every
 * quarantine of the ledger. */
enum uidpool_status ledger_lease_rested_of(struct ledger *l, int64_t pool_id, bool other_boot,
                                           uint32_t limit, struct uidpool_lease *ret,
                                           uint32_t *ret_n, struct problem *p);

/* Evidence for or against the lease in its present step; also a line of history. */
enum uidpool_status ledger_evidence_insert(struct ledger *l, const struct evidence *e,
                                           struct problem *p);

enum uidpool_status ledger_history_each(struct ledger *l, const struct uidpool_history_query *query,
                                        bool (*each)(const struct uidpool_event *, void *),
                                        void *userdata, struct problem *p);
/* The same in pieces: only events up to the id `last`, and without `limit`. Takes about as long as
 * it takes to read every event between after_id and `last`, however few of them match. */
enum uidpool_status ledger_history_each_until(struct ledger *l,
                                              const struct uidpool_history_query *query,
                                              int64_t last,
                                              bool (*each)(const struct uidpool_event *, void *),
                                              void *userdata, struct problem *p);
/* The id of the newest event; 0: there is none. */
enum uidpool_status ledger_history_newest(struct ledger *l, int64_t *ret, struct problem *p);
/* The id of the lease that covered `uid` at `at` (microseconds since 1970). */
enum uidpool_status ledger_lease_at_time(struct ledger *l, uid_t uid, int64_t at, int64_t *ret,
                                         struct problem *p);
/* Every event of one lease, oldest first. */
enum uidpool_status ledger_history_of_lease(struct ledger *l, int64_t lease,
                                            bool (*each)(const struct uidpool_event *, void *),
                                            void *userdata, struct problem *p);

/* Findings, one line each. UIDPOOL_FOUND if there is one. */
enum uidpool_status ledger_check(struct ledger *l, bool (*each)(const char *finding, void *),
                                 void *userdata, struct problem *p);
enum uidpool_status ledger_backup(struct ledger *l, const char *file, struct problem *p);
/* Opens by itself, as ledger_open() with LEDGER_WRITE would refuse. */
enum uidpool_status ledger_upgrade(const char *path, int *ret_from, int *ret_to, struct problem *p);

#endif
