/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What SQLite says, in our words: which status a failure is, and what to do next. Touches nothing
 * but the last error of the connection. */
#include "db/internal.h"

#include <stdarg.h>
#include <stdio.h>

static enum uidpool_status status_of(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_FORMAT:
    case SQLITE_MISMATCH:
    case SQLITE_SCHEMA:
    case SQLITE_ERROR: /* a table or column that this version wants is not there */
        return UIDPOOL_LEDGER;
    case SQLITE_CONSTRAINT:
        return UIDPOOL_CONFLICT;
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return UIDPOOL_NOT_PERMITTED;
    default:
        return UIDPOOL_FAILED;
    }
}

enum uidpool_status ledger_problem(const struct ledger *l, struct problem *p, const char *format,
                                   ...)
{
    int rc = sqlite3_extended_errcode(l->db);
    enum uidpool_status status = status_of(rc);
    char what[512];
    const char *next = "";
    va_list ap;

    va_start(ap, format);
    if (vsnprintf(what, sizeof(what), format, ap) < 0)
        what[0] = '\0';
    va_end(ap);

    if (status == UIDPOOL_LEDGER)
        next = "; the ledger was not changed. Run 'uidpool ledger check', or restore a backup";
    else if ((rc & 0xff) == SQLITE_FULL)
        next = "; the ledger was not changed. Make room on that file system and repeat the command";
    else if ((rc & 0xff) == SQLITE_READONLY)
        next = "; the ledger was not changed. Is the file system mounted read-only?";
    else if ((rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_CANTOPEN)
        next = "; the ledger was not changed. Look at the kernel's log and at the free space there";
    return problem_set(p, status, "%s: %s%s", what, sqlite3_errmsg(l->db), next);
}

enum uidpool_status ledger_damaged(const struct ledger *l, struct problem *p, const char *what)
{
    return problem_set(p, UIDPOOL_LEDGER,
                       "the ledger %s is damaged: %s; nothing was changed. Run 'uidpool ledger "
                       "check', or restore a backup",
                       l->path, what);
}
