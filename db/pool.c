/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pools and their free stretches in the ledger. Statements alone: which uid to take is the
 * allocator's decision. */
#include "common/clock.h"
#include "common/ids.h"
#include "db/internal.h"

#include <string.h>

#define POOL_SELECT                                                                      \
    "SELECT base, size, name, policy, gid, quarantine, follow, resolve, retired, next, " \
    "provisioning FROM pool "

static enum uidpool_status read_pool(struct ledger *l, sqlite3_stmt *stmt, struct uidpool_pool *ret,
                                     struct problem *p)
{
    struct uidpool_pool pool = {0};
    char policy[16];
    int64_t base = sqlite3_column_int64(stmt, 0), size = sqlite3_column_int64(stmt, 1);

    column_text(stmt, 2, pool.name, sizeof(pool.name));
    column_text(stmt, 3, policy, sizeof(policy));
    if (base < 1 || size < 1 || !uid_range_is_usable((uint64_t)base, (uint64_t)size) ||
        !name_is_valid(pool.name))
        return ledger_damaged(l, p, "a pool's name or range is impossible");
    pool.id = base;
    pool.base = (uid_t)base;
    pool.size = (uint32_t)size;
    pool.policy = strcmp(policy, "domid") == 0 ? UIDPOOL_POLICY_DOMID : UIDPOOL_POLICY_NEXT;
    pool.group_per_uid = sqlite3_column_type(stmt, 4) == SQLITE_NULL;
    pool.gid = (gid_t)sqlite3_column_int64(stmt, 4);
    pool.quarantine = (uint32_t)sqlite3_column_int64(stmt, 5);
    pool.follow = sqlite3_column_int(stmt, 6) != 0;
    pool.resolve = sqlite3_column_int(stmt, 7) != 0;
    pool.retired = sqlite3_column_int(stmt, 8) != 0;
    pool.next_uid = (uid_t)sqlite3_column_int64(stmt, 9);
    pool.provisioning = sqlite3_column_int(stmt, 10) != 0;
    *ret = pool;
    return UIDPOOL_OK;
}

enum uidpool_status ledger_pool_insert(struct ledger *l, const struct uidpool_pool *pool,
                                       struct problem *p)
{
    sqlite3_stmt *stmt;
    enum uidpool_status status = statement_get(
        l,
        "INSERT INTO pool (base, size, name, policy, quarantine, follow, resolve, next, "
        "created_at, gid, retired, provisioning) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        &stmt, p);

    if (status != UIDPOOL_OK)
        return status;
    statement_bind(stmt, "iittiiiiioii", (int64_t)pool->base, (int64_t)pool->size, pool->name,
                   uidpool_policy_name(pool->policy), (int64_t)pool->quarantine,
                   (int64_t)pool->follow, (int64_t)pool->resolve, (int64_t)pool->base,
                   clock_wall_usec(), pool->group_per_uid ? ABSENT : (int64_t)pool->gid,
                   (int64_t)pool->retired, (int64_t)pool->provisioning);
    return statement_run(l, stmt, NULL, p);
}

enum uidpool_status ledger_pool_by_name(struct ledger *l, const char *name,
                                        struct uidpool_pool *ret, struct problem *p)
{
    sqlite3_stmt *stmt;
    enum uidpool_status status = statement_get(l, POOL_SELECT "WHERE name = ?", &stmt, p);

    if (status != UIDPOOL_OK)
        return status;
    statement_bind(stmt, "t", name);
    status = statement_row(l, stmt, p);
    if (status == UIDPOOL_NOT_FOUND)
        return problem_set(p, UIDPOOL_NOT_FOUND,
                           "no pool is called %s; 'uidpool pool list' names them", name);
    if (status == UIDPOOL_OK)
        status = read_pool(l, stmt, ret, p);
    sqlite3_reset(stmt);
    return status;
}

enum uidpool_status ledger_pool_by_id(struct ledger *l, int64_t id, struct uidpool_pool *ret,
                                      struct problem *p)
{
    sqlite3_stmt *stmt;
    enum uidpool_status status = statement_get(l, POOL_SELECT "WHERE base = ?", &stmt, p);

    if (status != UIDPOOL_OK)
        return status;
    statement_bind(stmt, "i", id);
    status = statement_row(l, stmt, p);
    if (status == UIDPOOL_NOT_FOUND)
        return ledger_damaged(l, p, "a lease's pool is missing");
    if (status == UIDPOOL_OK)
        status = read_pool(l, stmt, ret, p);
    sqlite3_reset(stmt);
    return status;
}

enum uidpool_status ledger_pool_each(struct ledger *l,
                                     bool (*each)(const struct uidpool_pool *, void *),
                                     void *userdata, struct problem *p)
{
    sqlite3_stmt *stmt;
    struct uidpool_pool pool;
    enum uidpool_status status = statement_get(l, POOL_SELECT "ORDER BY base", &stmt, p);

    if (status != UIDPOOL_OK)
        return status;
    while ((status = statement_row(l, stmt, p)) == UIDPOOL_OK) {
        status = read_pool(l, stmt, &pool, p);
        if (status != UIDPOOL_OK || !each(&pool, userdata))
            break;
    }
    sqlite3_reset(stmt);
    return status == UIDPOOL_NOT_FOUND ? UIDPOOL_OK : status;
}

static enum uidpool_status sum_of(struct ledger *l, const char *sql,
                                  const struct uidpool_pool *pool, uint32_t *ret, struct problem *p)
{
    sqlite3_stmt *stmt;
    enum uidpool_status status = statement_get(l, sql, &stmt, p);

    if (status != UIDPOOL_OK)
        return status;
    statement_bind(stmt, "ii", (int64_t)pool->base, (int64_t)pool->base + pool->size - 1);
    status = statement_row(l, stmt, p);
    if (status == UIDPOOL_OK)
        *ret = (uint32_t)sqlite3_column_int64(stmt, 0);
    sqlite3_reset(stmt);
    return status;
}

enum uidpool_status ledger_pool_count(struct ledger *l, struct uidpool_pool *pool,
                                      struct problem *p)
{
    sqlite3_stmt *stmt;
    enum uidpool_status status = statement_get(
        l, "SELECT state, sum(count) FROM lease WHERE uid BETWEEN ? AND ? GROUP BY state", &stmt,
        p);
    uint32_t counts[UIDPOOL_STATE_HELD + 1] = {0};

    if (status != UIDPOOL_OK)
        return status;
    statement_bind(stmt, "ii", (int64_t)pool->base, (int64_t)pool->base + pool->size - 1);
    while ((status = statement_row(l, stmt, p)) == UIDPOOL_OK) {
        char name[16];

        column_text(stmt, 0, name, sizeof(name));
        counts[state_parse(name)] = (uint32_t)sqlite3_column_int64(stmt, 1);
    }
    if (status != UIDPOOL_NOT_FOUND)
        return status;
    status = sum_of(l, "SELECT coalesce(sum(count), 0) FROM reservation WHERE uid BETWEEN ? AND ?",
                    pool, &pool->reserved, p);
    if (status == UIDPOOL_OK)
        status = sum_of(
            l, "SELECT coalesce(sum(last - first + 1), 0) FROM free WHERE last BETWEEN ? AND ?",
            pool, &pool->free, p);
    pool->leased = counts[UIDPOOL_STATE_LEASED];
    pool->revoking = counts[UIDPOOL_STATE_REVOKING];
    pool->quarantined = counts[UIDPOOL_STATE_QUARANTINED];
    pool->held = counts[UIDPOOL_STATE_HELD];
    return status;
}

static enum uidpool_status update(struct ledger *l, const char *sql, int64_t value, int64_t id,
                                  struct problem *p)
{
    sqlite3_stmt *stmt;
    enum uidpool_status status = statement_get(l, sql, &stmt, p);

    if (status != UIDPOOL_OK)
        return status;
    statement_bind(stmt, "ii", value, id);
    return statement_run(l, stmt, NULL, p);
}

enum uidpool_status ledger_pool_set_retired(struct ledger *l, int64_t id, bool retired,
                                            struct problem *p)
{
    return update(l, "UPDATE pool SET retired = ? WHERE base = ?", retired, id, p);
}

enum uidpool_status ledger_pool_set_next(struct ledger *l, int64_t id, uid_t next,
                                         struct problem *p)
{
    return update(l, "UPDATE pool SET next = ? WHERE base = ?", next, id, p);
}

enum uidpool_status ledger_pool_update(struct ledger *l, const struct uidpool_pool *pool,
                                       struct problem *p)
{
    sqlite3_stmt *stmt;
    enum uidpool_status status =
        statement_get(l,
                      "UPDATE pool SET policy = ?, gid = ?, quarantine = ?, follow = ?, "
                      "resolve = ? WHERE base = ?",
                      &stmt, p);

    if (status != UIDPOOL_OK)
        return status;
    statement_bind(stmt, "toiiii", uidpool_policy_name(pool->policy),
                   pool->group_per_uid ? ABSENT : (int64_t)pool->gid, (int64_t)pool->quarantine,
                   (int64_t)pool->follow, (int64_t)pool->resolve, pool->id);
    return statement_run(l, stmt, NULL, p);
}

enum uidpool_status ledger_pool_finish(struct ledger *l, int64_t id, struct problem *p)
{
    sqlite3_stmt *stmt;
    enum uidpool_status status = statement_get(
        l, "UPDATE pool SET retired = 0, provisioning = 0 WHERE base = ? AND provisioning", &stmt,
        p);
    int changed = 0;

    if (status != UIDPOOL_OK)
        return status;
    statement_bind(stmt, "i", id);
    status = statement_run(l, stmt, &changed, p);
    if (status == UIDPOOL_OK && changed == 0)
        return problem_set(p, UIDPOOL_CONFLICT, "the pool is not being provisioned any more");
    return status;
}

/* A free stretch found by `stmt`, cut to what is not before `from`, if `count` fit in. */
static enum uidpool_status fit(struct ledger *l, sqlite3_stmt *stmt, uid_t from, uint32_t count,
                               uid_t *ret, struct problem *p)
{
    enum uidpool_status status = statement_row(l, stmt, p);

    if (status != UIDPOOL_OK)
        return status;
    int64_t first = sqlite3_column_int64(stmt, 0), last = sqlite3_column_int64(stmt, 1);
    if (first < from)
        first = from;
    if (last - first + 1 < count)
        status = UIDPOOL_NOT_FOUND;
    else
        *ret = (uid_t)first;
    sqlite3_reset(stmt);
    return status;
}

static unsigned class_of(uint32_t count)
{
    unsigned class = 0;

    while (class < 16 && count >> (class + 1))
        class ++;
    return class;
}

/* In one class: all stretches of a greater class than the block's fit, so the first will do. Those
 * of the block's own class may be too short, so they are looked through one by one, last of all. */
static enum uidpool_status fit_in_class(struct ledger *l, const struct uidpool_pool *pool,
                                        unsigned class, uid_t from, uint32_t count, uid_t *ret,
                                        struct problem *p)
{
    sqlite3_stmt *stmt;
    enum uidpool_status status =
        statement_get(l,
                      "SELECT first, last FROM free WHERE pool = ? AND class = ? AND last >= ? "
                      "AND last - max(first, ?3) + 1 >= ? ORDER BY last LIMIT 1",
                      &stmt, p);

    if (status != UIDPOOL_OK)
        return status;
    statement_bind(stmt, "iiii", pool->id, (int64_t) class, (int64_t)from, (int64_t)count);
    return fit(l, stmt, from, count, ret, p);
}

static enum uidpool_status fit_block(struct ledger *l, const struct uidpool_pool *pool, uid_t from,
                                     uint32_t count, uid_t *ret, struct problem *p)
{
    unsigned own = class_of(count);
    bool found = false;
    uid_t best = 0, here = 0;

    for (unsigned class = own + 1; class <= 16; class ++) {
        enum uidpool_status status = fit_in_class(l, pool, class, from, count, &here, p);

        if (status == UIDPOOL_OK && (!found || here < best)) {
            found = true;
            best = here;
        } else if (status != UIDPOOL_OK && status != UIDPOOL_NOT_FOUND)
            return status;
    }
    if (!found)
        return fit_in_class(l, pool, own, from, count, ret, p);
    *ret = best;
    return UIDPOOL_OK;
}

enum uidpool_status ledger_free_block(struct ledger *l, const struct uidpool_pool *pool, uid_t from,
                                      uint32_t count, uid_t *ret, struct problem *p)
{
    sqlite3_stmt *stmt;
    enum uidpool_status status = statement_get(
        l, "SELECT first, last FROM free WHERE last BETWEEN ? AND ? ORDER BY last LIMIT 1", &stmt,
        p);

    if (status != UIDPOOL_OK)
        return status;
    statement_bind(stmt, "ii", (int64_t)from, (int64_t)pool->base + pool->size - 1);
    status = fit(l, stmt, from, count, ret, p);
    if (status == UIDPOOL_NOT_FOUND && count > 1)
        status = fit_block(l, pool, from, count, ret, p);
    return status == UIDPOOL_NOT_FOUND ? UIDPOOL_EXHAUSTED : status;
}

enum uidpool_status ledger_free_block_last(struct ledger *l, const struct uidpool_pool *pool,
                                           uint32_t count, uid_t *ret, struct problem *p)
{
    sqlite3_stmt *stmt;
    enum uidpool_status status = statement_get(
        l,
        "SELECT last FROM free WHERE pool = ? AND last - first + 1 >= ? ORDER BY last DESC LIMIT 1",
        &stmt, p);

    if (status != UIDPOOL_OK)
        return status;
    statement_bind(stmt, "ii", pool->id, (int64_t)count);
    status = statement_row(l, stmt, p);
    if (status == UIDPOOL_OK)
        *ret = (uid_t)(sqlite3_column_int64(stmt, 0) - (count - 1));
    sqlite3_reset(stmt);
    return status == UIDPOOL_NOT_FOUND ? UIDPOOL_EXHAUSTED : status;
}
