/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of this room share: the open ledger and its cached statements. Nobody outside of
 * db/ includes this. */
#ifndef DB_INTERNAL_H
#define DB_INTERNAL_H

#include "common/lockfile.h"
#include "db/ledger.h"

#include <sqlite3.h>

/* "UIDP", in the file's header (sqlite.org/fileformat2.html, application id). */
#define LEDGER_APPLICATION_ID 0x55494450

/* More than there are statements in this room. */
#define STATEMENTS_MAX 64

struct ledger {
    sqlite3 *db;
    char *path;
    char *lock_path;
    int lock_fd;               /* -1 for readers */
    struct lockfile_turn turn; /* in the queue, of ledger_begin_soon() */
    bool writing;              /* in the queue and in a transaction */
    bool reading;              /* in a read transaction */
    char boot[33];
    struct {
        const char *sql; /* the literal's address is the key */
        sqlite3_stmt *stmt;
    } statements[STATEMENTS_MAX];
};

/* Where the writers' queue stands in the lock file: behind every uid's byte. */
#define LOCK_QUEUE_AT ((off_t)1 << 40)

/* db/error.c */
/* Turn SQLite's last error into a status and a line: "<format>: <SQLite's message>". */
enum uidpool_status ledger_problem(const struct ledger *l, struct problem *p, const char *format,
                                   ...) __attribute__((format(printf, 3, 4)));

/* A row that no version of this program wrote. */
enum uidpool_status ledger_damaged(const struct ledger *l, struct problem *p, const char *what);

/* db/statement.c */

/* The cached statement for a literal, reset and with nothing bound. It stays the ledger's. */
enum uidpool_status statement_get(struct ledger *l, const char *sql, sqlite3_stmt **ret,
                                  struct problem *p);

/* Bind in order: 'i' an int64_t, 'o' an int64_t or, for ABSENT, NULL; 't' a text or NULL, which
 * must live until the step. */
#define ABSENT INT64_C(-1)
void statement_bind(sqlite3_stmt *stmt, const char *format, ...);

/* UIDPOOL_OK: a row is there. UIDPOOL_NOT_FOUND: no more rows, the statement is reset, `p` is not
 * filled. Else an error, reset too. */
enum uidpool_status statement_row(struct ledger *l, sqlite3_stmt *stmt, struct problem *p);

/* Run a statement that gives no rows, then reset it. *ret_changed (or NULL): rows changed. */
enum uidpool_status statement_run(struct ledger *l, sqlite3_stmt *stmt, int *ret_changed,
                                  struct problem *p);

/* A text column, "" for NULL; cut to the size. */
void column_text(sqlite3_stmt *stmt, int column, char *to, size_t size);

/* db/history.c: the newest event's id, 0 if there is none. */
enum uidpool_status history_newest(struct ledger *l, int64_t *ret, struct problem *p);

/* db/migrate.c */
int schema_version(void);
/* Prepare a connection: functions, defensive mode, pragmas. */
enum uidpool_status ledger_prepare_connection(struct ledger *l, sqlite3 *db, struct problem *p);
/* Bring a database from `from` to schema_version(), each step in a transaction of its own. */
enum uidpool_status ledger_migrate(struct ledger *l, int from, struct problem *p);
/* Make a blank database a ledger of schema_version(), in one transaction. */
enum uidpool_status ledger_fill(struct ledger *l, struct problem *p);
/* An in-memory ledger with this version's schema, to compare with. */
enum uidpool_status ledger_reference(struct ledger *l, sqlite3 **ret, struct problem *p);

enum uidpool_state state_parse(const char *name);

#endif
