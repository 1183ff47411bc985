/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Evidence and history in the ledger: appended to by evidence and by the schema's triggers, and
 * asked. Nothing here changes or removes an event. */
#include "common/clock.h"
#include "db/internal.h"

#define EVENT_SELECT                                                                        \
    "SELECT h.id, h.at, h.boot, h.what, p.name, h.lease, h.uid, h.count, h.domid, h.name, " \
    "h.uuid, h.detail FROM history AS h LEFT JOIN pool AS p ON p.base = h.pool "

/* What a query asks for, ?1 to ?7. A pool's own events carry its whole range; they answer for a
 * pool, not for a uid. */
#define EVENT_MATCHES                                                                            \
    EVENT_SELECT                                                                                 \
    "WHERE (?1 IS NULL OR (h.uid <= ?1 AND h.uid + h.count > ?1 AND h.what NOT LIKE 'pool-%')) " \
    "AND (?2 IS NULL OR p.name = ?2) AND (?3 IS NULL OR h.domid = ?3) "                          \
    "AND (?4 IS NULL OR h.name = ?4) AND (?5 IS NULL OR h.at >= ?5) "                            \
    "AND (?6 IS NULL OR h.at <= ?6) AND h.id > ?7 "

const char *witness_name(enum witness w)
{
    switch (w) {
    case WITNESS_BUSY:
        return "busy";
    case WITNESS_EMPTY:
        return "empty";
    case WITNESS_UNKNOWN:
        break;
    }
    return "unknown";
}

enum uidpool_status history_newest(struct ledger *l, int64_t *ret, struct problem *p)
{
    sqlite3_stmt *stmt;
    enum uidpool_status status =
        statement_get(l, "SELECT coalesce(max(id), 0) FROM history", &stmt, p);

    if (status == UIDPOOL_OK)
        status = statement_row(l, stmt, p);
    if (status != UIDPOOL_OK)
        return status;
    *ret = sqlite3_column_int64(stmt, 0);
    sqlite3_reset(stmt);
    return UIDPOOL_OK;
}

enum uidpool_status ledger_history_newest(struct ledger *l, int64_t *ret, struct problem *p)
{
    return history_newest(l, ret, p);
}

enum uidpool_status ledger_evidence_insert(struct ledger *l, const struct evidence *e,
                                           struct problem *p)
{
    sqlite3_stmt *stmt;
    enum uidpool_status status = statement_get(
        l,
        "INSERT INTO evidence (id, lease, step, uid, count, at, boot, scan, census, "
        "tasks_scanned, tasks_killed, zombies, residue, detail) "
        "VALUES ((SELECT coalesce(max(id), 0) + 1 FROM evidence), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, "
        "?, ?, ?)",
        &stmt, p);

    if (status != UIDPOOL_OK)
        return status;
    statement_bind(stmt, "iiiiitttiiiit", e->lease, (int64_t)e->step, (int64_t)e->uids.first,
                   (int64_t)e->uids.count, clock_wall_usec(), l->boot, witness_name(e->scan),
                   witness_name(e->census), (int64_t)e->tasks_scanned, (int64_t)e->tasks_killed,
                   (int64_t)e->zombies, (int64_t)e->residue, e->detail);
    return statement_run(l, stmt, NULL, p);
}

static const char *text_of(sqlite3_stmt *stmt, int column)
{
    return (const char *)sqlite3_column_text(stmt, column);
}

static void read_event(sqlite3_stmt *stmt, struct uidpool_event *ret)
{
    *ret = (struct uidpool_event){
        .id = sqlite3_column_int64(stmt, 0),
        .at = sqlite3_column_int64(stmt, 1),
        .boot = text_of(stmt, 2),
        .what = text_of(stmt, 3),
        .pool = text_of(stmt, 4),
        .lease = sqlite3_column_int64(stmt, 5),
        .uid = sqlite3_column_type(stmt, 6) == SQLITE_NULL ? UIDPOOL_NO_UID
                                                           : (uid_t)sqlite3_column_int64(stmt, 6),
        .count = (uint32_t)sqlite3_column_int64(stmt, 7),
        .domid = sqlite3_column_type(stmt, 8) == SQLITE_NULL ? UIDPOOL_NO_DOMID
                                                             : sqlite3_column_int64(stmt, 8),
        .name = text_of(stmt, 9),
        .uuid = text_of(stmt, 10),
        .detail = text_of(stmt, 11),
    };
}

static enum uidpool_status each_event(struct ledger *l, sqlite3_stmt *stmt,
                                      bool (*each)(const struct uidpool_event *, void *),
                                      void *userdata, struct problem *p)
{
    enum uidpool_status status;
    struct uidpool_event event;

    while ((status = statement_row(l, stmt, p)) == UIDPOOL_OK) {
        read_event(stmt, &event);
        if (!each(&event, userdata))
            break;
    }
    sqlite3_reset(stmt);
    return status == UIDPOOL_NOT_FOUND ? UIDPOOL_OK : status;
}

/* `eighth` is the statement's own. */
static void bind_query(sqlite3_stmt *stmt, const struct uidpool_history_query *query,
                       int64_t eighth)
{
    statement_bind(
        stmt, "ototooii", query->of.uid == UIDPOOL_NO_UID ? ABSENT : (int64_t)query->of.uid,
        query->of.pool, query->of.domid, query->of.name, query->since ? query->since : ABSENT,
        query->until ? query->until : ABSENT, query->after_id, eighth);
}

enum uidpool_status ledger_history_each(struct ledger *l, const struct uidpool_history_query *query,
                                        bool (*each)(const struct uidpool_event *, void *),
                                        void *userdata, struct problem *p)
{
    sqlite3_stmt *stmt;
    enum uidpool_status status = statement_get(
        l, "SELECT * FROM (" EVENT_MATCHES "ORDER BY h.id DESC LIMIT ?8) ORDER BY 1", &stmt, p);

    if (status != UIDPOOL_OK)
        return status;
    bind_query(stmt, query, query->limit > 0 ? query->limit : INT64_MAX);
    return each_event(l, stmt, each, userdata, p);
}

enum uidpool_status ledger_history_each_until(struct ledger *l,
                                              const struct uidpool_history_query *query,
                                              int64_t last,
                                              bool (*each)(const struct uidpool_event *, void *),
                                              void *userdata, struct problem *p)
{
    sqlite3_stmt *stmt;
    /* In the order of the table itself, so that the first are told before the last are read. */
    enum uidpool_status status =
        statement_get(l, EVENT_MATCHES "AND h.id <= ?8 ORDER BY h.id", &stmt, p);

    if (status != UIDPOOL_OK)
        return status;
    bind_query(stmt, query, last);
    return each_event(l, stmt, each, userdata, p);
}

enum uidpool_status ledger_history_of_lease(struct ledger *l, int64_t lease,
                                            bool (*each)(const struct uidpool_event *, void *),
                                            void *userdata, struct problem *p)
{
    sqlite3_stmt *stmt;
    /* A lease's first event has the lease's own id, and all its events the same uid. */
    enum uidpool_status status = statement_get(
        l,
        EVENT_SELECT "WHERE h.uid = (SELECT uid FROM history WHERE id = ?1) AND h.lease = ?1 "
                     "ORDER BY h.id",
        &stmt, p);

    if (status != UIDPOOL_OK)
        return status;
    statement_bind(stmt, "i", lease);
    return each_event(l, stmt, each, userdata, p);
}

enum uidpool_status ledger_lease_at_time(struct ledger *l, uid_t uid, int64_t at, int64_t *ret,
                                         struct problem *p)
{
    sqlite3_stmt *stmt;
    enum uidpool_status status = statement_get(
        l,
        "SELECT h.lease FROM history AS h WHERE h.uid <= ?1 AND h.uid + h.count > ?1 "
        "AND h.id = h.lease AND h.at <= ?2 AND NOT EXISTS (SELECT 1 FROM history AS f "
        "WHERE f.uid = h.uid AND f.lease = h.lease AND f.what = 'freed' AND f.at <= ?2) "
        "ORDER BY h.id DESC LIMIT 1",
        &stmt, p);

    if (status != UIDPOOL_OK)
        return status;
    statement_bind(stmt, "ii", (int64_t)uid, at);
    status = statement_row(l, stmt, p);
    if (status == UIDPOOL_OK)
        *ret = sqlite3_column_int64(stmt, 0);
    sqlite3_reset(stmt);
    if (status == UIDPOOL_NOT_FOUND)
        return problem_set(p, UIDPOOL_NOT_FOUND, "nobody held uid %u at that time", uid);
    return status;
}
