/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Is the ledger what its rules say? Reads only. The rules are asked again from the rows, so that
 * what a broken disk, a removed trigger or another program did is found. */
#include "common/cleanup.h"
#include "db/internal.h"

#include <string.h>

/* Each gives one line of text for everything that is wrong. */
static const char *const invariants[] = {
    "SELECT printf('pools %s and %s overlap', a.name, b.name) FROM pool AS a JOIN pool AS b "
    "ON a.base < b.base AND a.base + a.size > b.base",

    "SELECT printf('pool %s meets the reaper''s uids', name) FROM pool, ledger "
    "WHERE reaper_first < base + size AND reaper_first + reaper_count > base",

    "SELECT printf('pool %s is being provisioned, but not retired', name) FROM pool "
    "WHERE provisioning AND NOT retired",

    "SELECT printf('leases at uid %d and %d overlap', uid, nx) FROM "
    "(SELECT uid, count, lead(uid) OVER (ORDER BY uid) AS nx FROM lease) WHERE uid + count > nx",

    "SELECT printf('reservations at uid %d and %d overlap', uid, nx) FROM "
    "(SELECT uid, count, lead(uid) OVER (ORDER BY uid) AS nx FROM reservation) "
    "WHERE uid + count > nx",

    "SELECT printf('free stretches ending at uid %d and %d overlap or touch', pv, last) FROM "
    "(SELECT first, last, pool, lag(last) OVER (ORDER BY last) AS pv, "
    "lag(pool) OVER (ORDER BY last) AS pp FROM free) "
    "WHERE pv >= first OR (pv = first - 1 AND pp = pool)",

    "SELECT printf('the lease at uid %d lies in no pool', uid) FROM lease WHERE NOT EXISTS "
    "(SELECT 1 FROM pool WHERE base = lease.pool AND uid >= base "
    "AND uid + count <= base + size)",

    "SELECT printf('the reservation %s lies in no pool', name) FROM reservation AS r "
    "WHERE NOT EXISTS (SELECT 1 FROM pool WHERE base = r.pool AND uid >= base "
    "AND uid + count <= base + size)",

    "SELECT printf('uid %d is leased, but reserved for %s', l.uid, r.name) "
    "FROM lease AS l JOIN reservation AS r ON r.uid = (SELECT max(uid) FROM reservation "
    "WHERE uid < l.uid + l.count) WHERE r.uid + r.count > l.uid AND l.state = 'leased' "
    "AND (l.name IS NOT r.name OR l.uid <> r.uid OR l.count <> r.count)",

    "SELECT printf('uid %d is the account %s, but not reserved for it', a.uid, a.name) "
    "FROM account AS a WHERE NOT EXISTS (SELECT 1 FROM reservation AS r WHERE r.uid = a.uid "
    "AND r.count = 1 AND r.name = a.name AND r.pool = a.pool)",

    "SELECT printf('the account %s is %s, but history says otherwise', name, state) "
    "FROM account AS a WHERE 'account-' || state IS NOT (SELECT what FROM history AS h "
    "WHERE h.uid = a.uid AND h.name = a.name AND what LIKE 'account-%' ORDER BY id DESC LIMIT 1)",

    "SELECT printf('free stretch %d-%d meets a lease', first, last) FROM free "
    "WHERE (SELECT uid + count FROM lease WHERE uid <= last ORDER BY uid DESC LIMIT 1) > first",

    "SELECT printf('free stretch %d-%d meets a reservation', first, last) FROM free "
    "WHERE (SELECT uid + count FROM reservation WHERE uid <= last ORDER BY uid DESC LIMIT 1) "
    "> first",

    "SELECT printf('pool %s: %d uids are neither free nor in use', name, missing) FROM "
    "(SELECT name, size"
    " - (SELECT coalesce(sum(last - first + 1), 0) FROM free WHERE pool = base)"
    " - (SELECT coalesce(sum(count), 0) FROM reservation WHERE pool = base)"
    " - (SELECT coalesce(sum(count), 0) FROM lease WHERE pool = base AND coalesce("
    "(SELECT uid + count FROM reservation WHERE uid <= lease.uid ORDER BY uid DESC LIMIT 1), 0) "
    "<= lease.uid) AS missing FROM pool) WHERE missing <> 0",

    "SELECT printf('history has %d events, but the newest is number %d', n, m) FROM "
    "(SELECT count(*) AS n, coalesce(max(id), 0) AS m FROM history) WHERE n <> m",

    "SELECT printf('the lease at uid %d has no first event', uid) FROM lease WHERE NOT EXISTS "
    "(SELECT 1 FROM history AS h WHERE h.id = lease.id AND h.uid = lease.uid "
    "AND h.what IN ('leased', 'held'))",

    "SELECT printf('%d leases live, but history gave %d and ended %d', live, gave, ended) FROM "
    "(SELECT (SELECT count(*) FROM lease) AS live, "
    "(SELECT count(*) FROM history WHERE id = lease) AS gave, "
    "(SELECT count(*) FROM history WHERE what = 'freed') AS ended) WHERE live <> gave - ended",

    "SELECT printf('the lease %d ended without evidence', f.lease) FROM history AS f "
    "WHERE f.what = 'freed' AND NOT EXISTS (SELECT 1 FROM history AS e WHERE e.uid = f.uid "
    "AND e.lease = f.lease AND e.what = 'proven' AND e.id < f.id)",

    "SELECT printf('the quarantined lease at uid %d has no evidence', uid) FROM lease "
    "WHERE state = 'quarantined' AND NOT EXISTS (SELECT 1 FROM evidence AS e "
    "WHERE e.id = lease.evidence AND e.lease = lease.id AND scan = 'empty' AND census = 'empty')",

    "SELECT printf('domid %d has several leases in one pool', domid) FROM lease "
    "WHERE state = 'leased' AND domid IS NOT NULL GROUP BY pool, domid HAVING count(*) > 1",

    "SELECT printf('%s has several leases in one pool', name) FROM lease "
    "WHERE state = 'leased' AND name IS NOT NULL GROUP BY pool, name HAVING count(*) > 1",
};

struct findings {
    bool (*each)(const char *finding, void *userdata);
    void *userdata;
    bool any;
    bool stopped;
};

static void found(struct findings *f, const char *text)
{
    f->any = true;
    if (!f->stopped && f->each && !f->each(text ? text : "?", f->userdata))
        f->stopped = true;
}

/* Every row of `sql` but one that says "ok" is a finding. */
static enum uidpool_status ask(struct ledger *l, const char *sql, const char *prefix,
                               struct findings *f, struct problem *p)
{
    sqlite3_stmt *stmt = NULL;
    enum uidpool_status status = UIDPOOL_OK;
    int rc;

    if (sqlite3_prepare_v2(l->db, sql, -1, &stmt, NULL) != SQLITE_OK)
        return ledger_problem(l, p, "cannot check the ledger %s", l->path);
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW && !f->stopped) {
        const char *text = (const char *)sqlite3_column_text(stmt, 0);
        char line[512];

        if (text && strcmp(text, "ok") == 0)
            continue;
        (void)snprintf(line, sizeof(line), "%s%s", prefix, text ? text : "?");
        found(f, line);
    }
    if (rc != SQLITE_DONE && rc != SQLITE_ROW)
        status = ledger_problem(l, p, "cannot check the ledger %s", l->path);
    sqlite3_finalize(stmt);
    return status;
}

static bool schema_has(sqlite3 *db, const char *type, const char *name, const char *sql)
{
    sqlite3_stmt *stmt = NULL;
    bool has = false;

    if (sqlite3_prepare_v2(db,
                           "SELECT 1 FROM sqlite_schema WHERE type = ? AND name = ? AND sql IS ?",
                           -1, &stmt, NULL) == SQLITE_OK) {
        statement_bind(stmt, "ttt", type, name, sql);
        has = sqlite3_step(stmt) == SQLITE_ROW;
    }
    sqlite3_finalize(stmt);
    return has;
}

/* Every object of `of` that is not the same in `in`. */
static enum uidpool_status compare_schema(struct ledger *l, sqlite3 *of, sqlite3 *in,
                                          const char *wrong, struct findings *f, struct problem *p)
{
    sqlite3_stmt *stmt = NULL;
    char line[512];

    if (sqlite3_prepare_v2(of,
                           "SELECT type, name, sql FROM sqlite_schema "
                           "WHERE name NOT LIKE 'sqlite_stat%'",
                           -1, &stmt, NULL) != SQLITE_OK) {
        sqlite3_finalize(stmt);
        return ledger_problem(l, p, "cannot check the ledger %s", l->path);
    }
    while (sqlite3_step(stmt) == SQLITE_ROW) {
        const char *type = (const char *)sqlite3_column_text(stmt, 0);
        const char *name = (const char *)sqlite3_column_text(stmt, 1);

        if (schema_has(in, type, name, (const char *)sqlite3_column_text(stmt, 2)))
            continue;
        (void)snprintf(line, sizeof(line), "the schema's %s %s %s", type ? type : "?",
                       name ? name : "?", wrong);
        found(f, line);
    }
    sqlite3_finalize(stmt);
    return UIDPOOL_OK;
}

static enum uidpool_status check_schema(struct ledger *l, struct findings *f, struct problem *p)
{
    sqlite3 *reference = NULL;
    enum uidpool_status status = ledger_reference(l, &reference, p);

    if (status != UIDPOOL_OK)
        return status;
    status = compare_schema(l, reference, l->db, "is missing or was changed", f, p);
    if (status == UIDPOOL_OK)
        status = compare_schema(l, l->db, reference, "is not ours", f, p);
    sqlite3_close_v2(reference);
    return status;
}

enum uidpool_status ledger_check(struct ledger *l, bool (*each)(const char *finding, void *),
                                 void *userdata, struct problem *p)
{
    struct findings f = {.each = each, .userdata = userdata};
    enum uidpool_status status = ask(l, "PRAGMA integrity_check(100)", "", &f, p);

    if (status == UIDPOOL_OK)
        status = ask(l, "SELECT \"table\" FROM pragma_foreign_key_check", "foreign key of table ",
                     &f, p);
    if (status == UIDPOOL_OK)
        status = check_schema(l, &f, p);
    for (size_t i = 0; i < ELEMENTS_OF(invariants) && status == UIDPOOL_OK; i++)
        status = ask(l, invariants[i], "", &f, p);
    if (status == UIDPOOL_OK && f.any)
        return problem_set(p, UIDPOOL_FOUND, "the ledger %s is not in order; nothing was changed",
                           l->path);
    return status;
}
