/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening, locking and transactions of the ledger. Touches the ledger's file, its -wal and -shm,
 * and LEDGER.lock, which holds the writers' queue, the claims on uids, and the high-water mark. */
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/ids.h"
#include "common/lockfile.h"
#include "common/pathsafe.h"
#include "db/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <string.h>
#include <sys/stat.h>

/* "0000000000000004711\n": always the same length, so that one pwrite replaces it whole. */
#define MARK_LENGTH 20

/*
 * The high-water mark. A write-ahead log with a torn frame in its middle loses every later
 * transaction silently, and so does an old backup that was copied over the ledger: leases would be
 * forgotten and their uids given out again. The lock file remembers the newest event's id, written
 * after each commit, so it is never ahead of an undamaged ledger.
 */
static int64_t mark_read(int fd)
{
    char text[MARK_LENGTH + 1] = "";
    uint64_t mark;
    const char *digits = text;

    if (fd < 0 || pread(fd, text, MARK_LENGTH, 0) != MARK_LENGTH || text[MARK_LENGTH - 1] != '\n')
        return 0;
    text[MARK_LENGTH - 1] = '\0';
    while (digits[0] == '0' && digits[1] != '\0')
        digits++;
    return parse_u64(digits, INT64_MAX, &mark) == 0 ? (int64_t)mark : 0;
}

/* 0: there is none. */
static int64_t mark_of(const struct ledger *l)
{
    _cleanup_fd_ int fd = open(l->lock_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    return mark_read(fd);
}

static void mark_write(int fd, int64_t mark)
{
    char text[MARK_LENGTH + 1];

    (void)snprintf(text, sizeof(text), "%019" PRId64 "\n", mark);
    /* Failing leaves an older mark, which is still true: ignoring. */
    if (pwrite(fd, text, MARK_LENGTH, 0) != MARK_LENGTH)
        errno = 0;
}

static enum uidpool_status lost_events(const struct ledger *l, int64_t newest, int64_t mark,
                                       struct problem *p)
{
    return problem_set(p, UIDPOOL_LEDGER,
                       "the ledger %s lost events: its newest is %" PRId64 ", but %" PRId64
                       " was committed. Its log is torn, or an old copy was put in its place: "
                       "leases may be missing. To go on with it as it is, make sure that no "
                       "virtual machine runs, empty %s ('truncate -s 0', do not remove it), and "
                       "run 'uidpool recover'",
                       l->path, newest, mark, l->lock_path);
}

/* The mark is read before the ledger is: a commit between the two only makes the ledger newer. */
static enum uidpool_status check_mark(struct ledger *l, struct problem *p)
{
    _cleanup_fd_ int fd = open(l->lock_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    int64_t mark = 0, newest = 0;
    enum uidpool_status status = UIDPOOL_OK;

    /* Twice: the first may have met the mark half written. */
    for (unsigned i = 0; i < 2 && status == UIDPOOL_OK; i++) {
        mark = mark_read(fd);
        status = history_newest(l, &newest, p);
        if (newest >= mark)
            return status;
    }
    return status == UIDPOOL_OK ? lost_events(l, newest, mark, p) : status;
}

static enum uidpool_status pragma_int(struct ledger *l, const char *sql, int64_t *ret,
                                      struct problem *p)
{
    sqlite3_stmt *stmt = NULL;

    if (sqlite3_prepare_v2(l->db, sql, -1, &stmt, NULL) != SQLITE_OK ||
        sqlite3_step(stmt) != SQLITE_ROW) {
        enum uidpool_status status = ledger_problem(l, p, "cannot read the ledger %s", l->path);

        sqlite3_finalize(stmt);
        /* Not even its first page can be read as a database. */
        return status;
    }
    *ret = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return UIDPOOL_OK;
}

/* A file that was made but never filled: its creator was killed. */
static enum uidpool_status is_blank(struct ledger *l, bool *ret, struct problem *p)
{
    int64_t tables = 0, application = 0;
    enum uidpool_status status = pragma_int(l, "SELECT count(*) FROM sqlite_schema", &tables, p);

    if (status == UIDPOOL_OK)
        status = pragma_int(l, "PRAGMA application_id", &application, p);
    if (status == UIDPOOL_OK)
        *ret = tables == 0 && application == 0;
    return status;
}

static enum uidpool_status check_version(struct ledger *l, bool upgrade, int *ret_version,
                                         struct problem *p)
{
    int64_t application = 0, version = 0;
    enum uidpool_status status = pragma_int(l, "PRAGMA application_id", &application, p);

    if (status == UIDPOOL_OK)
        status = pragma_int(l, "PRAGMA user_version", &version, p);
    if (status != UIDPOOL_OK)
        return status;
    if (application != LEDGER_APPLICATION_ID)
        return problem_set(p, UIDPOOL_LEDGER,
                           "%s is a database, but no uidpool ledger; nothing was changed", l->path);
    if (version > schema_version() || version < 1)
        return problem_set(p, UIDPOOL_LEDGER,
                           "the ledger %s has schema %" PRId64 ", this uidpool knows 1 to %d; "
                           "nothing was changed. Use the uidpool that wrote it",
                           l->path, version, schema_version());
    if (version < schema_version() && !upgrade)
        return problem_set(p, UIDPOOL_LEDGER,
                           "the ledger %s has schema %" PRId64 ", this uidpool needs %d; make a "
                           "backup and run 'uidpool ledger upgrade'",
                           l->path, version, schema_version());
    *ret_version = (int)version;
    return UIDPOOL_OK;
}

/* The application id comes with the transaction that makes everything else, so a ledger is either
 * whole or blank. */
static enum uidpool_status finish_creation(struct ledger *l, struct problem *p)
{
    bool blank = false;
    enum uidpool_status status = is_blank(l, &blank, p);

    if (status != UIDPOOL_OK || !blank)
        return status;
    /* Not one whose creator was killed: somebody emptied it. */
    int64_t mark = mark_read(l->lock_fd);
    return mark > 0 ? lost_events(l, 0, mark, p) : ledger_fill(l, p);
}

static int sync_directory_of(const char *path)
{
    _cleanup_free_ char *copy = strdup(path);
    _cleanup_fd_ int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

    return fd >= 0 && fsync(fd) == 0 ? 0 : -errno;
}

static int make_file(const char *path)
{
    _cleanup_free_ char *copy = strdup(path);
    _cleanup_fd_ int fd = -1;

    if (!copy)
        return -ENOMEM;
    if (mkdir(dirname(copy), 0700) < 0 && errno != EEXIST)
        return -errno;
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno == EEXIST ? 0 : -errno;
    return sync_directory_of(path);
}

/* It, and so the directory that it is to make for itself, has none to be in. */
static enum uidpool_status cannot_make(const char *path, int error, struct problem *p)
{
    _cleanup_free_ char *copy = strdup(path);
    const char *above = copy ? dirname(dirname(copy)) : "";

    if (error == -ENOENT && *above == '/')
        return problem_set(p, UIDPOOL_FAILED,
                           "cannot make the ledger %s: there is no directory %s; make that first",
                           path, above);
    return problem_errno(p, error, "cannot make the ledger %s", path);
}

/* There is none, or it is blank. `mark` was read before that was seen: if there is one, somebody
 * removed or emptied the ledger. */
static enum uidpool_status no_ledger(const struct ledger *l, int64_t mark, const char *words,
                                     struct problem *p)
{
    if (mark > 0)
        return lost_events(l, 0, mark, p);
    return problem_set(p, UIDPOOL_NOT_FOUND,
                       "%s %s; 'uidpool pool add' or 'uidpool-provision apply' makes one", words,
                       l->path);
}

static enum uidpool_status check_path(struct ledger *l, struct problem *p)
{
    static const char *const suffixes[] = {"-wal", "-shm", "-journal", ".lock", NULL};
    char why[512] = "";
    int r = path_check_safe(l->path, suffixes, why, sizeof(why));

    if (r == -EPERM)
        return problem_set(p, UIDPOOL_LEDGER, "the ledger %s is not safe: %s; nothing was changed",
                           l->path, why);
    if (r == -ENOENT)
        return problem_set(
            p, UIDPOOL_NOT_FOUND,
            "there is no ledger %s; 'uidpool pool add' or 'uidpool-provision apply' makes one",
            l->path);
    if (r < 0)
        return problem_errno(p, r, "cannot look at the ledger %s", l->path);
    return UIDPOOL_OK;
}

static enum uidpool_status open_database(struct ledger *l, enum ledger_access access,
                                         struct problem *p)
{
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_EXRESCODE |
                      SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE;

    if (sqlite3_open_v2(l->path, &l->db, flags, NULL) != SQLITE_OK)
        return ledger_problem(l, p, "cannot open the ledger %s", l->path);
    enum uidpool_status status = ledger_prepare_connection(l, l->db, p);
    if (status == UIDPOOL_OK && access == LEDGER_READ &&
        sqlite3_exec(l->db, "PRAGMA query_only = ON", NULL, NULL, NULL) != SQLITE_OK)
        status = ledger_problem(l, p, "cannot open the ledger %s", l->path);
    return status;
}

static enum uidpool_status create(struct ledger *l, struct problem *p)
{
    int r = lockfile_queue_enter(l->lock_fd, LOCK_QUEUE_AT);

    if (r < 0)
        return problem_errno(p, r, "cannot lock %s", l->lock_path);
    enum uidpool_status status = finish_creation(l, p);
    (void)lockfile_queue_leave(l->lock_fd, LOCK_QUEUE_AT);
    return status;
}

static enum uidpool_status prepare_files(struct ledger *l, enum ledger_access access, int64_t mark,
                                         struct problem *p)
{
    struct stat st;
    int r;

    if (access == LEDGER_CREATE && (r = make_file(l->path)) < 0)
        return cannot_make(l->path, r, p);
    enum uidpool_status status = check_path(l, p);
    if (status != UIDPOOL_OK)
        return status;
    if (lstat(l->path, &st) < 0)
        return errno == ENOENT ? no_ledger(l, mark, "there is no ledger", p)
                               : problem_errno(p, -errno, "cannot look at the ledger %s", l->path);
    if (access == LEDGER_READ)
        return UIDPOOL_OK;
    l->lock_fd = lockfile_open(l->lock_path);
    if (l->lock_fd < 0)
        return problem_errno(p, l->lock_fd, "cannot open %s", l->lock_path);
    return UIDPOOL_OK;
}

static enum uidpool_status open_checked(struct ledger *l, enum ledger_access access, bool upgrade,
                                        int *ret_version, struct problem *p)
{
    int64_t mark = mark_of(l);
    bool blank = false;
    enum uidpool_status status = prepare_files(l, access, mark, p);

    if (status == UIDPOOL_OK)
        status = open_database(l, access, p);
    if (status == UIDPOOL_OK && access == LEDGER_CREATE)
        status = create(l, p);
    if (status == UIDPOOL_OK)
        status = is_blank(l, &blank, p);
    if (status == UIDPOOL_OK && blank)
        status = no_ledger(l, mark, "there is nothing yet in the ledger", p);
    if (status == UIDPOOL_OK)
        status = check_version(l, upgrade, ret_version, p);
    if (status == UIDPOOL_OK)
        status = check_mark(l, p);
    /* A restored backup has a rollback journal, which is as safe but six times slower. The look
     * after it makes the -wal, which the daemon watches. Ignoring a refusal: somebody reads it. */
    if (status == UIDPOOL_OK && access != LEDGER_READ)
        (void)sqlite3_exec(l->db, "PRAGMA journal_mode = WAL; PRAGMA user_version", NULL, NULL,
                           NULL);
    return status;
}

static enum uidpool_status ledger_new(const char *path, struct ledger **ret, struct problem *p)
{
    struct ledger *l = calloc(1, sizeof(*l));

    if (!l || !(l->path = strdup(path)) || asprintf(&l->lock_path, "%s.lock", path) < 0) {
        if (l)
            free(l->path);
        free(l);
        return problem_errno(p, -ENOMEM, "cannot open the ledger");
    }
    l->lock_fd = -1;
    *ret = l;
    int r = clock_boot_id(l->boot);
    return r < 0 ? problem_errno(p, r, "cannot read the kernel's boot id") : UIDPOOL_OK;
}

enum uidpool_status ledger_open(const char *path, enum ledger_access access, struct ledger **ret,
                                struct problem *p)
{
    _cleanup_(ledger_closep) struct ledger *l = NULL;
    int version;
    enum uidpool_status status = ledger_new(path, &l, p);

    if (status == UIDPOOL_OK)
        status = open_checked(l, access, false, &version, p);
    if (status == UIDPOOL_OK)
        *ret = take_ptr(l);
    return status;
}

enum uidpool_status ledger_upgrade(const char *path, int *ret_from, int *ret_to, struct problem *p)
{
    _cleanup_(ledger_closep) struct ledger *l = NULL;
    int version = 0;
    enum uidpool_status status = ledger_new(path, &l, p);

    if (status == UIDPOOL_OK)
        status = open_checked(l, LEDGER_WRITE, true, &version, p);
    if (status != UIDPOOL_OK)
        return status;

    int r = lockfile_queue_enter(l->lock_fd, LOCK_QUEUE_AT);
    if (r < 0)
        return problem_errno(p, r, "cannot lock %s", l->lock_path);
    /* Once more inside the queue: another upgrade may have been faster. */
    status = check_version(l, true, &version, p);
    if (status == UIDPOOL_OK)
        status = ledger_migrate(l, version, p);
    (void)lockfile_queue_leave(l->lock_fd, LOCK_QUEUE_AT);
    if (status == UIDPOOL_OK) {
        *ret_from = version;
        *ret_to = schema_version();
    }
    return status;
}

void ledger_close(struct ledger *l)
{
    if (!l)
        return;
    ledger_rollback(l);
    for (size_t i = 0; i < STATEMENTS_MAX; i++)
        sqlite3_finalize(l->statements[i].stmt);
    sqlite3_close_v2(l->db);
    l->lock_fd = close_fd(l->lock_fd);
    free(l->lock_path);
    free(l->path);
    free(l);
}

const char *ledger_path(const struct ledger *l)
{
    return l->path;
}

static enum uidpool_status run(struct ledger *l, const char *sql, struct problem *p)
{
    sqlite3_stmt *stmt;
    enum uidpool_status status = statement_get(l, sql, &stmt, p);

    return status == UIDPOOL_OK ? statement_run(l, stmt, NULL, p) : status;
}

/* Is the lock file still the one that we opened? Those who open it now lock another one. 0,
 * -ESTALE, or another negative errno. */
static int check_lock_file(const struct ledger *l, int fd)
{
    struct stat ours, now;

    if (fstat(l->lock_fd, &ours) < 0)
        return -errno;
    if ((fd >= 0 ? fstat(fd, &now) : lstat(l->lock_path, &now)) < 0)
        return errno == ENOENT ? -ESTALE : -errno;
    return ours.st_dev == now.st_dev && ours.st_ino == now.st_ino ? 0 : -ESTALE;
}

static enum uidpool_status begin_in_queue(struct ledger *l, struct problem *p)
{
    int r = check_lock_file(l, -1);

    if (r == -ESTALE)
        return problem_set(p, UIDPOOL_LEDGER,
                           "%s was removed or replaced while it was in use, so others cannot see "
                           "what this process locks; nothing was changed. Begin anew: repeat the "
                           "command, restart the program",
                           l->lock_path);
    if (r < 0)
        return problem_errno(p, r, "cannot look at %s", l->lock_path);
    return run(l, "BEGIN IMMEDIATE", p);
}

/* Our turn has come, or what kept it from coming. */
static enum uidpool_status begin_entered(struct ledger *l, int entered, struct problem *p)
{
    enum uidpool_status status;

    if (entered < 0)
        return problem_errno(p, entered, "cannot lock %s", l->lock_path);
    status = begin_in_queue(l, p);
    if (status != UIDPOOL_OK)
        (void)lockfile_queue_leave(l->lock_fd, LOCK_QUEUE_AT);
    l->writing = status == UIDPOOL_OK;
    return status;
}

enum uidpool_status ledger_begin(struct ledger *l, struct problem *p)
{
    ledger_begin_never(l);
    return begin_entered(l, lockfile_queue_enter(l->lock_fd, LOCK_QUEUE_AT), p);
}

enum uidpool_status ledger_begin_soon(struct ledger *l, bool *ret_begun, struct problem *p)
{
    int r = lockfile_queue_ask(l->lock_fd, LOCK_QUEUE_AT, &l->turn);
    enum uidpool_status status = r == -EAGAIN ? UIDPOOL_OK : begin_entered(l, r, p);

    if (status == UIDPOOL_OK)
        *ret_begun = r == 0;
    return status;
}

void ledger_begin_never(struct ledger *l)
{
    lockfile_queue_give_up(l->lock_fd, &l->turn);
}

enum uidpool_status ledger_begin_read(struct ledger *l, struct problem *p)
{
    enum uidpool_status status = run(l, "BEGIN", p);

    l->reading = status == UIDPOOL_OK;
    return status;
}

enum uidpool_status ledger_commit(struct ledger *l, struct problem *p)
{
    int64_t newest = 0;
    enum uidpool_status status = history_newest(l, &newest, p);

    if (status == UIDPOOL_OK)
        status = run(l, "COMMIT", p);
    if (status == UIDPOOL_OK) {
        mark_write(l->lock_fd, newest);
        (void)lockfile_queue_leave(l->lock_fd, LOCK_QUEUE_AT);
        l->writing = false;
    } else
        ledger_rollback(l);
    return status;
}

enum uidpool_status ledger_part_begin(struct ledger *l, struct problem *p)
{
    return run(l, "SAVEPOINT part", p);
}

/* A full disk may have rolled back all of it: then there is no part to end, which is told. */
enum uidpool_status ledger_part_end(struct ledger *l, bool keep, struct problem *p)
{
    enum uidpool_status status = keep ? UIDPOOL_OK : run(l, "ROLLBACK TO part", p);

    return status == UIDPOOL_OK ? run(l, "RELEASE part", p) : status;
}

void ledger_rollback(struct ledger *l)
{
    if (!l->writing && !l->reading)
        return;
    /* A full disk may have rolled back already. */
    if (!sqlite3_get_autocommit(l->db))
        (void)run(l, "ROLLBACK", NULL);
    if (l->writing)
        (void)lockfile_queue_leave(l->lock_fd, LOCK_QUEUE_AT);
    l->writing = l->reading = false;
}

/* A descriptor of its own for every claim: these locks belong to the open file description, so two
 * jobs of one process exclude each other too. */
int ledger_claim_uids(struct ledger *l, uid_t first, uint32_t count)
{
    _cleanup_fd_ int fd = lockfile_open(l->lock_path);
    int r;

    if (fd < 0)
        return fd;
    r = check_lock_file(l, fd);
    if (r == 0)
        r = lockfile_try(fd, (off_t)first, (off_t)count);
    return r < 0 ? r : take_fd(&fd);
}
