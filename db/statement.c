/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Prepared statements: cached per ledger, bound and stepped with one line each. Touches the open
 * database alone. */
#include "db/internal.h"

#include <stdarg.h>
#include <stdio.h>

enum uidpool_status statement_get(struct ledger *l, const char *sql, sqlite3_stmt **ret,
                                  struct problem *p)
{
    size_t i = 0;

    while (i < STATEMENTS_MAX && l->statements[i].sql && l->statements[i].sql != sql)
        i++;
    if (i == STATEMENTS_MAX)
        return problem_set(p, UIDPOOL_FAILED, "more statements than STATEMENTS_MAX");
    if (!l->statements[i].sql) {
        if (sqlite3_prepare_v3(l->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &l->statements[i].stmt,
                               NULL) != SQLITE_OK)
            return ledger_problem(l, p, "cannot read the ledger %s", l->path);
        l->statements[i].sql = sql;
    }
    *ret = l->statements[i].stmt;
    sqlite3_reset(*ret);
    sqlite3_clear_bindings(*ret);
    return UIDPOOL_OK;
}

/* Binding cannot fail but for a wrong index, a bug, or memory; the step then runs with NULL, which
 * the ledger's NOT NULL rules refuse. */
void statement_bind(sqlite3_stmt *stmt, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    for (int i = 1; format[i - 1]; i++) {
        if (format[i - 1] == 't') {
            (void)sqlite3_bind_text(stmt, i, va_arg(ap, const char *), -1, SQLITE_STATIC);
            continue;
        }
        int64_t number = va_arg(ap, int64_t);
        if (format[i - 1] == 'o' && number == ABSENT)
            (void)sqlite3_bind_null(stmt, i);
        else
            (void)sqlite3_bind_int64(stmt, i, number);
    }
    va_end(ap);
}

enum uidpool_status statement_row(struct ledger *l, sqlite3_stmt *stmt, struct problem *p)
{
    enum uidpool_status status;

    switch (sqlite3_step(stmt)) {
    case SQLITE_ROW:
        return UIDPOOL_OK;
    case SQLITE_DONE:
        sqlite3_reset(stmt);
        return UIDPOOL_NOT_FOUND;
    default:
        status = ledger_problem(l, p, "cannot read the ledger %s", l->path);
        sqlite3_reset(stmt);
        return status;
    }
}

enum uidpool_status statement_run(struct ledger *l, sqlite3_stmt *stmt, int *ret_changed,
                                  struct problem *p)
{
    enum uidpool_status status = UIDPOOL_OK;

    if (sqlite3_step(stmt) != SQLITE_DONE)
        status = ledger_problem(l, p, "cannot write the ledger %s", l->path);
    else if (ret_changed)
        *ret_changed = sqlite3_changes(l->db);
    sqlite3_reset(stmt);
    return status;
}

void column_text(sqlite3_stmt *stmt, int column, char *to, size_t size)
{
    const unsigned char *text = sqlite3_column_text(stmt, column);

    (void)snprintf(to, size, "%s", text ? (const char *)text : "");
}
