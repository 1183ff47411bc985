/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Leases in the ledger. Statements alone: the schema refuses what breaks a rule, and which edge to
 * take is allocator/machine.c's decision. */
#include "common/clock.h"
#include "common/ids.h"
#include "db/internal.h"

#include <stdio.h>
#include <string.h>

#define LEASE_SELECT                                                                         \
    "SELECT l.uid, l.count, l.id, l.pool, p.name, l.gid, l.domid, l.name, l.uuid, l.state, " \
    "l.step, l.attempts, l.reason, l.boot, l.leased_at, l.since, l.rest_until "              \
    "FROM lease AS l JOIN pool AS p ON p.base = l.pool "

static const char *const state_names[] = {
    [UIDPOOL_STATE_LEASED] = "leased",
    [UIDPOOL_STATE_REVOKING] = "revoking",
    [UIDPOOL_STATE_QUARANTINED] = "quarantined",
    [UIDPOOL_STATE_HELD] = "held",
};

const char *uidpool_state_name(enum uidpool_state state)
{
    return state >= UIDPOOL_STATE_LEASED && state <= UIDPOOL_STATE_HELD ? state_names[state] : NULL;
}

const char *uidpool_policy_name(enum uidpool_policy policy)
{
    switch (policy) {
    case UIDPOOL_POLICY_DOMID:
        return "domid";
    case UIDPOOL_POLICY_NEXT:
        return "next";
    }
    return NULL;
}

/* 0 for a name that is none. */
enum uidpool_state state_parse(const char *name)
{
    for (enum uidpool_state s = UIDPOOL_STATE_LEASED; s <= UIDPOOL_STATE_HELD; s++)
        if (strcmp(name, state_names[s]) == 0)
            return s;
    return 0;
}

/* Whole seconds, rounded up: a rest of 0 is over. A hold's rest runs too, and may outlast it. */
static uint32_t rest_left(const struct uidpool_lease *lease, int64_t rest_until)
{
    int64_t left = rest_until - clock_boot_usec();

    bool rests = lease->state == UIDPOOL_STATE_QUARANTINED || lease->state == UIDPOOL_STATE_HELD;

    if (!rests || lease->other_boot || left <= 0)
        return 0;
    left = (left + USEC_PER_SEC - 1) / USEC_PER_SEC;
    return left > UINT32_MAX ? UINT32_MAX : (uint32_t)left;
}

static enum uidpool_status read_lease(struct ledger *l, sqlite3_stmt *stmt,
                                      struct uidpool_lease *ret, struct problem *p)
{
    struct uidpool_lease lease = {0};
    int64_t uid = sqlite3_column_int64(stmt, 0), count = sqlite3_column_int64(stmt, 1);
    char state[16], boot[33];

    column_text(stmt, 9, state, sizeof(state));
    lease.state = state_parse(state);
    if (uid < 1 || count < 1 || !uid_range_is_usable((uint64_t)uid, (uint64_t)count) ||
        !lease.state)
        return ledger_damaged(l, p, "a lease's range or state is impossible");
    lease.uid = (uid_t)uid;
    lease.count = (uint32_t)count;
    lease.id = sqlite3_column_int64(stmt, 2);
    lease.pool_id = sqlite3_column_int64(stmt, 3);
    column_text(stmt, 4, lease.pool, sizeof(lease.pool));
    lease.gid = (gid_t)sqlite3_column_int64(stmt, 5);
    lease.domid = sqlite3_column_type(stmt, 6) == SQLITE_NULL ? UIDPOOL_NO_DOMID
                                                              : sqlite3_column_int64(stmt, 6);
    column_text(stmt, 7, lease.name, sizeof(lease.name));
    column_text(stmt, 8, lease.uuid, sizeof(lease.uuid));
    lease.step = (uint32_t)sqlite3_column_int64(stmt, 10);
    lease.attempts = (uint32_t)sqlite3_column_int64(stmt, 11);
    column_text(stmt, 12, lease.reason, sizeof(lease.reason));
    column_text(stmt, 13, boot, sizeof(boot));
    lease.other_boot = strcmp(boot, l->boot) != 0;
    lease.leased_at = sqlite3_column_int64(stmt, 14);
    lease.since = sqlite3_column_int64(stmt, 15);
    lease.rest_left = rest_left(&lease, sqlite3_column_int64(stmt, 16));
    *ret = lease;
    return UIDPOOL_OK;
}

static const char *or_null(const char *text)
{
    return text[0] ? text : NULL;
}

enum uidpool_status ledger_lease_insert(struct ledger *l, struct uidpool_lease *lease,
                                        struct problem *p)
{
    sqlite3_stmt *stmt;
    int64_t now = clock_wall_usec(), newest = 0;
    enum uidpool_status status = history_newest(l, &newest, p);

    if (status == UIDPOOL_OK)
        status = statement_get(
            l,
            "INSERT INTO lease (uid, count, id, pool, gid, name, uuid, state, reason, boot, "
            "leased_at, since, domid) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            &stmt, p);
    if (status != UIDPOOL_OK)
        return status;
    statement_bind(stmt, "iiiiitttttiio", (int64_t)lease->uid, (int64_t)lease->count, newest + 1,
                   lease->pool_id, (int64_t)lease->gid, or_null(lease->name), or_null(lease->uuid),
                   uidpool_state_name(lease->state), or_null(lease->reason), l->boot, now, now,
                   lease->domid);
    status = statement_run(l, stmt, NULL, p);
    if (status != UIDPOOL_OK)
        return status;
    lease->id = newest + 1;
    lease->leased_at = lease->since = now;
    lease->step = lease->attempts = lease->rest_left = 0;
    lease->other_boot = false;
    return UIDPOOL_OK;
}

enum uidpool_status ledger_lease_at(struct ledger *l, uid_t first, uint32_t count,
                                    struct uidpool_lease *ret, struct problem *p)
{
    sqlite3_stmt *stmt;
    struct uidpool_lease lease;
    enum uidpool_status status =
        statement_get(l, LEASE_SELECT "WHERE l.uid <= ? ORDER BY l.uid DESC LIMIT 1", &stmt, p);

    if (status != UIDPOOL_OK)
        return status;
    statement_bind(stmt, "i", (int64_t)first + count - 1);
    status = statement_row(l, stmt, p);
    if (status == UIDPOOL_OK)
        status = read_lease(l, stmt, &lease, p);
    sqlite3_reset(stmt);
    if (status == UIDPOOL_NOT_FOUND ||
        (status == UIDPOOL_OK && (uint64_t)lease.uid + lease.count <= first))
        return problem_set(p, UIDPOOL_NOT_FOUND, "uid %u has no lease", first);
    if (status == UIDPOOL_OK)
        *ret = lease;
    return status;
}

/* One statement for each way in, so that each uses its own index. */
static const char *select_for(const struct uidpool_selector *s)
{
    if (s->uid != UIDPOOL_NO_UID)
        return LEASE_SELECT "WHERE l.uid = (SELECT max(uid) FROM lease WHERE uid <= ?1) "
                            "AND l.uid + l.count > ?1 AND (?2 IS NULL OR p.name = ?2) "
                            "AND (?3 IS NULL OR l.domid = ?3) AND (?4 IS NULL OR l.name = ?4)";
    if (s->domid != UIDPOOL_NO_DOMID)
        return LEASE_SELECT "WHERE (?1 IS NULL OR 1) AND (?2 IS NULL OR p.name = ?2) "
                            "AND l.domid = ?3 AND (?4 IS NULL OR l.name = ?4) ORDER BY l.uid";
    if (s->name)
        return LEASE_SELECT "WHERE (?1 IS NULL OR 1) AND (?2 IS NULL OR p.name = ?2) "
                            "AND (?3 IS NULL OR 1) AND l.name = ?4 ORDER BY l.uid";
    return LEASE_SELECT "WHERE (?1 IS NULL OR 1) AND (?2 IS NULL OR p.name = ?2) ORDER BY l.uid";
}

/* Give every row to `each`, until it has enough. */
static enum uidpool_status each_row(struct ledger *l, sqlite3_stmt *stmt,
                                    bool (*each)(const struct uidpool_lease *, void *),
                                    void *userdata, struct problem *p)
{
    struct uidpool_lease lease;
    enum uidpool_status status;

    while ((status = statement_row(l, stmt, p)) == UIDPOOL_OK) {
        status = read_lease(l, stmt, &lease, p);
        if (status != UIDPOOL_OK || !each(&lease, userdata))
            break;
    }
    sqlite3_reset(stmt);
    return status == UIDPOOL_NOT_FOUND ? UIDPOOL_OK : status;
}

enum uidpool_status ledger_lease_each(struct ledger *l, const struct uidpool_selector *selector,
                                      bool (*each)(const struct uidpool_lease *, void *),
                                      void *userdata, struct problem *p)
{
    sqlite3_stmt *stmt;
    enum uidpool_status status = statement_get(l, select_for(selector), &stmt, p);

    if (status != UIDPOOL_OK)
        return status;
    statement_bind(stmt, "otot", selector->uid == UIDPOOL_NO_UID ? ABSENT : (int64_t)selector->uid,
                   selector->pool, selector->domid, selector->name);
    return each_row(l, stmt, each, userdata, p);
}

enum uidpool_status ledger_lease_each_after(struct ledger *l, const char *pool, uid_t after,
                                            bool (*each)(const struct uidpool_lease *, void *),
                                            void *userdata, struct problem *p)
{
    sqlite3_stmt *stmt;
    enum uidpool_status status = statement_get(
        l, LEASE_SELECT "WHERE l.uid > ? AND (?2 IS NULL OR p.name = ?2) ORDER BY l.uid", &stmt, p);

    if (status != UIDPOOL_OK)
        return status;
    statement_bind(stmt, "it", (int64_t)after, pool);
    return each_row(l, stmt, each, userdata, p);
}

/* Which evidence a lease shows in its new state: what was just stored when it was proven, the same
 * as before when a hold stays one, and none on the way into a revocation. */
static const char *update_for(enum uidpool_state from, enum uidpool_state to)
{
#define UPDATE_LEASE(evidence)                                                                     \
    "UPDATE lease SET state = ?, step = step + 1, attempts = attempts + ?, reason = ?, boot = ?, " \
    "since = ?, rest_until = ?, evidence = " evidence                                              \
    " WHERE uid = ? AND id = ? AND step = ? AND state = ?"
    if (to == UIDPOOL_STATE_REVOKING)
        return UPDATE_LEASE("NULL");
    if (from == to)
        return UPDATE_LEASE("evidence");
    return UPDATE_LEASE("(SELECT max(id) FROM evidence)");
#undef UPDATE_LEASE
}

enum uidpool_status ledger_lease_set_state(struct ledger *l, struct uidpool_lease *lease,
                                           enum uidpool_state to, const char *reason, uint32_t rest,
                                           struct problem *p)
{
    sqlite3_stmt *stmt;
    int64_t now = clock_wall_usec(), attempts = lease->state == to && to == UIDPOOL_STATE_REVOKING;
    uint32_t rests = lease->state == to ? lease->rest_left : rest; /* a hold that stays rests on */
    int changed = 0;
    enum uidpool_status status = statement_get(l, update_for(lease->state, to), &stmt, p);

    if (status != UIDPOOL_OK)
        return status;
    statement_bind(
        stmt, "tittioiiit", uidpool_state_name(to), attempts, reason, l->boot, now,
        to == UIDPOOL_STATE_REVOKING ? ABSENT : clock_boot_usec() + (int64_t)rests * USEC_PER_SEC,
        (int64_t)lease->uid, lease->id, (int64_t)lease->step, uidpool_state_name(lease->state));
    status = statement_run(l, stmt, &changed, p);
    if (status == UIDPOOL_OK && changed != 1)
        return problem_set(p, UIDPOOL_CONFLICT,
                           "the lease of uid %u changed meanwhile: repeat the command", lease->uid);
    if (status != UIDPOOL_OK)
        return status;
    lease->state = to;
    lease->step++;
    lease->attempts += (uint32_t)attempts;
    lease->since = now;
    lease->other_boot = false;
    lease->rest_left = to == UIDPOOL_STATE_REVOKING ? 0 : rests;
    (void)snprintf(lease->reason, sizeof(lease->reason), "%s", reason ? reason : "");
    return UIDPOOL_OK;
}

enum uidpool_status ledger_lease_delete(struct ledger *l, const struct uidpool_lease *lease,
                                        struct problem *p)
{
    sqlite3_stmt *stmt;
    int changed = 0;
    enum uidpool_status status =
        statement_get(l, "DELETE FROM lease WHERE uid = ? AND id = ? AND step = ?", &stmt, p);

    if (status != UIDPOOL_OK)
        return status;
    statement_bind(stmt, "iii", (int64_t)lease->uid, lease->id, (int64_t)lease->step);
    status = statement_run(l, stmt, &changed, p);
    if (status == UIDPOOL_OK && changed != 1)
        return problem_set(p, UIDPOOL_CONFLICT,
                           "the lease of uid %u changed meanwhile: repeat the command", lease->uid);
    return status;
}

static enum uidpool_status read_some(struct ledger *l, sqlite3_stmt *stmt, uint32_t limit,
                                     struct uidpool_lease *ret, uint32_t *ret_n, struct problem *p)
{
    uint32_t n = 0;
    enum uidpool_status status = UIDPOOL_OK;

    while (n < limit && (status = statement_row(l, stmt, p)) == UIDPOOL_OK) {
        status = read_lease(l, stmt, &ret[n], p);
        if (status != UIDPOOL_OK)
            break;
        n++;
    }
    sqlite3_reset(stmt);
    if (status != UIDPOOL_OK && status != UIDPOOL_NOT_FOUND)
        return status;
    *ret_n = n;
    return UIDPOOL_OK;
}

/* By the boot clock alone: one of an earlier boot whose clock was further is found when its uid is
 * wanted, when the pool is full, and by recovery. */
enum uidpool_status ledger_lease_rested(struct ledger *l, uint32_t limit, struct uidpool_lease *ret,
                                        uint32_t *ret_n, struct problem *p)
{
    sqlite3_stmt *stmt;
    enum uidpool_status status =
        statement_get(l,
                      LEASE_SELECT "WHERE l.state = 'quarantined' AND l.rest_until <= ? "
                                   "ORDER BY l.rest_until LIMIT ?",
                      &stmt, p);

    if (status != UIDPOOL_OK)
        return status;
    statement_bind(stmt, "ii", clock_boot_usec(), (int64_t)limit);
    return read_some(l, stmt, limit, ret, ret_n, p);
}

enum uidpool_status ledger_lease_rested_of(struct ledger *l, int64_t pool_id, bool other_boot,
                                           uint32_t limit, struct uidpool_lease *ret,
                                           uint32_t *ret_n, struct problem *p)
{
    sqlite3_stmt *stmt;
    enum uidpool_status status = statement_get(
        l,
        other_boot ? LEASE_SELECT "WHERE l.state = 'quarantined' AND l.pool = ?1 "
                                  "AND (?2 IS NULL OR 1) AND l.boot <> ?3 LIMIT ?4"
                   : LEASE_SELECT "WHERE l.state = 'quarantined' AND l.pool = ?1 "
                                  "AND l.rest_until <= ?2 AND (?3 IS NULL OR 1) LIMIT ?4",
        &stmt, p);

    if (status != UIDPOOL_OK)
        return status;
    statement_bind(stmt, "iiti", pool_id, clock_boot_usec(), l->boot, (int64_t)limit);
    return read_some(l, stmt, limit, ret, ret_n, p);
}

enum uidpool_status ledger_reaper_range(struct ledger *l, uid_t *ret_first, uint32_t *ret_count,
                                        struct problem *p)
{
    sqlite3_stmt *stmt;
    int64_t first, count;
    enum uidpool_status status =
        statement_get(l, "SELECT reaper_first, reaper_count FROM ledger", &stmt, p);

    if (status == UIDPOOL_OK)
        status = statement_row(l, stmt, p);
    if (status == UIDPOOL_NOT_FOUND)
        return ledger_damaged(l, p, "the reaper's uids are missing");
    if (status != UIDPOOL_OK)
        return status;
    first = sqlite3_column_int64(stmt, 0);
    count = sqlite3_column_int64(stmt, 1);
    sqlite3_reset(stmt);
    if (first < 1 || count < 1 || !uid_range_is_usable((uint64_t)first, (uint64_t)count))
        return ledger_damaged(l, p, "the reaper's uids are impossible");
    *ret_first = (uid_t)first;
    *ret_count = (uint32_t)count;
    return UIDPOOL_OK;
}
