/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The schema's steps and the settings of every connection. The steps are db/schema/NNN-*.sql,
 * embedded by the build; there is no other copy of the schema. */
#include "common/cleanup.h"
#include "common/clock.h"
#include "db/internal.h"

#include <string.h>

#include "schema.inc"

#define BUSY_PATIENCE_MSEC 30000

/* The log is tended when it has grown by this many frames, by the one or the few whose commit ends
 * in the window behind that: a commit writes fewer frames than the window has. */
#define LOG_FRAMES 1000
#define LOG_WINDOW 64
#define LOG_PATIENCE_MSEC 250

int schema_version(void)
{
    return (int)ELEMENTS_OF(schema_steps);
}

static void sql_boot_id(sqlite3_context *context, int argc, sqlite3_value **argv)
{
    const struct ledger *l = sqlite3_user_data(context);

    (void)argc;
    (void)argv;
    sqlite3_result_text(context, l->boot, -1, SQLITE_TRANSIENT);
}

static void sql_boot_usec(sqlite3_context *context, int argc, sqlite3_value **argv)
{
    (void)argc;
    (void)argv;
    sqlite3_result_int64(context, clock_boot_usec());
}

/*
 * After a commit, still in the writers' queue. SQLite's own checkpoint begins the log anew only
 * when a writer happens to find nobody reading the old one. With many processes that never happens:
 * the log would fill the disk, and each commit copy its pages once more. So wait for the readers,
 * who are quick, and not long, since one may be stuck. Ignoring the result: there is a next time.
 */
static int tend_log(void *userdata, sqlite3 *db, const char *schema, int frames)
{
    (void)userdata;
    if (frames < LOG_FRAMES || frames % LOG_FRAMES >= LOG_WINDOW)
        return SQLITE_OK;
    sqlite3_busy_timeout(db, LOG_PATIENCE_MSEC);
    (void)sqlite3_wal_checkpoint_v2(db, schema, SQLITE_CHECKPOINT_RESTART, NULL, NULL);
    sqlite3_busy_timeout(db, BUSY_PATIENCE_MSEC);
    return SQLITE_OK;
}

/* Defensive mode and an untrusted schema: a ledger that somebody prepared must not be able to run
 * more than its own triggers, which need our two innocuous functions. Closing makes no checkpoint,
 * because every command closes: that would copy the log and sync twice for each lease. */
enum uidpool_status ledger_prepare_connection(struct ledger *l, sqlite3 *db, struct problem *p)
{
    const int flags = SQLITE_UTF8 | SQLITE_INNOCUOUS;
    static const struct {
        int option;
        int value;
    } options[] = {
        {SQLITE_DBCONFIG_DEFENSIVE, 1},      {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
        {SQLITE_DBCONFIG_DQS_DML, 0},        {SQLITE_DBCONFIG_DQS_DDL, 0},
        {SQLITE_DBCONFIG_ENABLE_FKEY, 1},    {SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1},
        {SQLITE_DBCONFIG_ENABLE_TRIGGER, 1}, {SQLITE_DBCONFIG_ENABLE_VIEW, 1},
    };

    for (size_t i = 0; i < ELEMENTS_OF(options); i++)
        if (sqlite3_db_config(db, options[i].option, options[i].value, NULL) != SQLITE_OK)
            return problem_set(p, UIDPOOL_FAILED, "SQLite refuses option %d", options[i].option);

    if (sqlite3_create_function_v2(db, "uidpool_boot_id", 0, flags, l, sql_boot_id, NULL, NULL,
                                   NULL) != SQLITE_OK ||
        sqlite3_create_function_v2(db, "uidpool_boot_usec", 0, flags, l, sql_boot_usec, NULL, NULL,
                                   NULL) != SQLITE_OK)
        return problem_set(p, UIDPOOL_FAILED, "SQLite refuses a function: %s", sqlite3_errmsg(db));

    /* The queue in front (ledger_begin) keeps our own writers apart; this is for a shell's. */
    sqlite3_busy_timeout(db, BUSY_PATIENCE_MSEC);
    if (sqlite3_exec(db,
                     "PRAGMA synchronous = FULL; PRAGMA cell_size_check = ON;"
                     "PRAGMA temp_store = MEMORY;",
                     NULL, NULL, NULL) != SQLITE_OK)
        return ledger_problem(l, p, "cannot set up the ledger %s", l->path);
    (void)sqlite3_wal_hook(db, tend_log, NULL);
    return UIDPOOL_OK;
}

static enum uidpool_status apply_step(struct ledger *l, sqlite3 *db, int step, struct problem *p)
{
    char version[64];

    sqlite3_snprintf(sizeof(version), version, "PRAGMA user_version = %d;", step + 1);
    if (sqlite3_exec(db, schema_steps[step], NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(db, version, NULL, NULL, NULL) != SQLITE_OK)
        return ledger_problem(l, p, "cannot bring the ledger %s to schema %d", l->path, step + 1);
    return UIDPOOL_OK;
}

/* End the transaction: for good if all went well so far, else undo it. */
static enum uidpool_status end_step(struct ledger *l, enum uidpool_status status, struct problem *p)
{
    if (status == UIDPOOL_OK && sqlite3_exec(l->db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
        status = ledger_problem(l, p, "cannot write the ledger %s", l->path);
    if (!sqlite3_get_autocommit(l->db))
        (void)sqlite3_exec(l->db, "ROLLBACK", NULL, NULL, NULL);
    return status;
}

enum uidpool_status ledger_migrate(struct ledger *l, int from, struct problem *p)
{
    enum uidpool_status status = UIDPOOL_OK;

    for (int step = from; step < schema_version() && status == UIDPOOL_OK; step++) {
        if (sqlite3_exec(l->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
            return ledger_problem(l, p, "cannot write the ledger %s", l->path);
        status = end_step(l, apply_step(l, l->db, step, p), p);
    }
    return status;
}

/* All in one transaction: a creator that is killed leaves an empty file, which the next one fills.
 */
enum uidpool_status ledger_fill(struct ledger *l, struct problem *p)
{
    enum uidpool_status status = UIDPOOL_OK;
    char sql[256];

    sqlite3_snprintf(sizeof(sql), sql,
                     "INSERT INTO ledger (one, reaper_first, reaper_count, created_at) "
                     "VALUES (1, %u, %u, %lld); PRAGMA application_id = %d;",
                     LEDGER_REAPER_FIRST, LEDGER_REAPER_COUNT, (long long)clock_wall_usec(),
                     LEDGER_APPLICATION_ID);
    if (sqlite3_exec(l->db, "PRAGMA journal_mode = WAL; BEGIN IMMEDIATE", NULL, NULL, NULL) !=
        SQLITE_OK)
        return ledger_problem(l, p, "cannot make the ledger %s", l->path);
    for (int step = 0; step < schema_version() && status == UIDPOOL_OK; step++)
        status = apply_step(l, l->db, step, p);
    if (status == UIDPOOL_OK && sqlite3_exec(l->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        status = ledger_problem(l, p, "cannot make the ledger %s", l->path);
    return end_step(l, status, p);
}

enum uidpool_status ledger_reference(struct ledger *l, sqlite3 **ret, struct problem *p)
{
    sqlite3 *db = NULL;
    enum uidpool_status status = UIDPOOL_OK;

    if (sqlite3_open_v2(":memory:", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_MEMORY, NULL) !=
        SQLITE_OK)
        status = problem_set(p, UIDPOOL_FAILED, "SQLite has no memory");
    if (status == UIDPOOL_OK)
        status = ledger_prepare_connection(l, db, p);
    for (int step = 0; step < schema_version() && status == UIDPOOL_OK; step++)
        status = apply_step(l, db, step, p);
    if (status != UIDPOOL_OK) {
        sqlite3_close_v2(db);
        return status;
    }
    *ret = db;
    return UIDPOOL_OK;
}
