/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reservations in the ledger. Statements alone; the rules are the schema's. */
#include "common/clock.h"
#include "common/ids.h"
#include "db/internal.h"

#define RESERVATION_SELECT                                         \
    "SELECT r.uid, r.count, r.pool, r.name, r.created_at, p.name " \
    "FROM reservation AS r JOIN pool AS p ON p.base = r.pool "

static enum uidpool_status read_reservation(struct ledger *l, sqlite3_stmt *stmt,
                                            struct uidpool_reservation *ret, struct problem *p)
{
    struct uidpool_reservation r = {0};
    int64_t uid = sqlite3_column_int64(stmt, 0), count = sqlite3_column_int64(stmt, 1);

    column_text(stmt, 3, r.name, sizeof(r.name));
    column_text(stmt, 5, r.pool, sizeof(r.pool));
    if (uid < 1 || count < 1 || !uid_range_is_usable((uint64_t)uid, (uint64_t)count) ||
        !name_is_valid(r.name))
        return ledger_damaged(l, p, "a reservation's name or range is impossible");
    r.uid = (uid_t)uid;
    r.count = (uint32_t)count;
    r.pool_id = sqlite3_column_int64(stmt, 2);
    r.created_at = sqlite3_column_int64(stmt, 4);
    *ret = r;
    return UIDPOOL_OK;
}

enum uidpool_status ledger_reservation_insert(struct ledger *l, const struct uidpool_reservation *r,
                                              struct problem *p)
{
    sqlite3_stmt *stmt;
    enum uidpool_status status = statement_get(
        l, "INSERT INTO reservation (uid, count, pool, name, created_at) VALUES (?, ?, ?, ?, ?)",
        &stmt, p);

    if (status != UIDPOOL_OK)
        return status;
    statement_bind(stmt, "iiiti", (int64_t)r->uid, (int64_t)r->count, r->pool_id, r->name,
                   clock_wall_usec());
    return statement_run(l, stmt, NULL, p);
}

enum uidpool_status ledger_reservation_delete(struct ledger *l, const char *name, struct problem *p)
{
    sqlite3_stmt *stmt;
    enum uidpool_status status =
        statement_get(l, "DELETE FROM reservation WHERE name = ?", &stmt, p);
    int changed = 0;

    if (status != UIDPOOL_OK)
        return status;
    statement_bind(stmt, "t", name);
    status = statement_run(l, stmt, &changed, p);
    if (status == UIDPOOL_OK && changed == 0)
        return problem_set(p, UIDPOOL_NOT_FOUND, "nothing is reserved for %s", name);
    return status;
}

enum uidpool_status ledger_reservation_by_name(struct ledger *l, const char *name,
                                               struct uidpool_reservation *ret, struct problem *p)
{
    sqlite3_stmt *stmt;
    enum uidpool_status status = statement_get(l, RESERVATION_SELECT "WHERE r.name = ?", &stmt, p);

    if (status != UIDPOOL_OK)
        return status;
    statement_bind(stmt, "t", name);
    status = statement_row(l, stmt, p);
    if (status == UIDPOOL_NOT_FOUND)
        return problem_set(p, UIDPOOL_NOT_FOUND, "nothing is reserved for %s", name);
    if (status == UIDPOOL_OK)
        status = read_reservation(l, stmt, ret, p);
    sqlite3_reset(stmt);
    return status;
}

enum uidpool_status ledger_reservation_at(struct ledger *l, uid_t first, uint32_t count,
                                          struct uidpool_reservation *ret, struct problem *p)
{
    sqlite3_stmt *stmt;
    struct uidpool_reservation r;
    enum uidpool_status status = statement_get(
        l, RESERVATION_SELECT "WHERE r.uid <= ? ORDER BY r.uid DESC LIMIT 1", &stmt, p);

    if (status != UIDPOOL_OK)
        return status;
    statement_bind(stmt, "i", (int64_t)first + count - 1);
    status = statement_row(l, stmt, p);
    if (status == UIDPOOL_OK)
        status = read_reservation(l, stmt, &r, p);
    sqlite3_reset(stmt);
    if (status == UIDPOOL_NOT_FOUND || (status == UIDPOOL_OK && (uint64_t)r.uid + r.count <= first))
        return problem_set(p, UIDPOOL_NOT_FOUND, "uid %u is not reserved", first);
    if (status == UIDPOOL_OK)
        *ret = r;
    return status;
}

enum uidpool_status ledger_reservation_each(struct ledger *l, int64_t pool_id,
                                            bool (*each)(const struct uidpool_reservation *,
                                                         void *),
                                            void *userdata, struct problem *p)
{
    sqlite3_stmt *stmt;
    struct uidpool_reservation r;
    enum uidpool_status status =
        statement_get(l, RESERVATION_SELECT "WHERE ?1 = 0 OR r.pool = ?1 ORDER BY r.uid", &stmt, p);

    if (status != UIDPOOL_OK)
        return status;
    statement_bind(stmt, "i", pool_id);
    while ((status = statement_row(l, stmt, p)) == UIDPOOL_OK) {
        status = read_reservation(l, stmt, &r, p);
        if (status != UIDPOOL_OK || !each(&r, userdata))
            break;
    }
    sqlite3_reset(stmt);
    return status == UIDPOOL_NOT_FOUND ? UIDPOOL_OK : status;
}
