/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A copy of the ledger while it is in use, by SQLite's own online backup. The copy appears under
 * its name only when it is whole and on the disk. */
#include "common/cleanup.h"
#include "db/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <string.h>
#include <sys/stat.h>

/* One step: a backup in several starts again whenever somebody writes meanwhile, for ever on a
 * busy host. Readers do not hinder writers with a write-ahead log. */
static int copy_pages(sqlite3 *to, sqlite3 *from)
{
    sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");

    if (!backup)
        return sqlite3_errcode(to);
    int rc = sqlite3_backup_step(backup, -1);
    int finish = sqlite3_backup_finish(backup);
    return rc == SQLITE_DONE ? finish : rc;
}

/* A rollback journal, so that the copy is one file. */
static enum uidpool_status copy_into(struct ledger *l, const char *file, struct problem *p)
{
    sqlite3 *to = NULL;
    int rc = sqlite3_open_v2(file, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW, NULL);

    if (rc == SQLITE_OK) {
        sqlite3_busy_timeout(to, 30000);
        rc = copy_pages(to, l->db);
    }
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(to, "PRAGMA journal_mode = DELETE", NULL, NULL, NULL);
    enum uidpool_status status =
        rc == SQLITE_OK ? UIDPOOL_OK
                        : problem_set(p, UIDPOOL_FAILED, "cannot copy the ledger %s to %s: %s",
                                      l->path, file, sqlite3_errstr(rc));
    sqlite3_close_v2(to);
    return status;
}

static int publish(const char *temporary, const char *file)
{
    _cleanup_free_ char *copy = strdup(file);
    _cleanup_fd_ int fd = open(temporary, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

    if (!copy || fd < 0 || fsync(fd) < 0)
        return -errno;
    if (renameat2(AT_FDCWD, temporary, AT_FDCWD, file, RENAME_NOREPLACE) < 0)
        return -errno;
    fd = close_fd(fd);
    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 && fsync(fd) == 0 ? 0 : -errno;
}

enum uidpool_status ledger_backup(struct ledger *l, const char *file, struct problem *p)
{
    _cleanup_free_ char *temporary = NULL;
    struct stat st;

    if (lstat(file, &st) == 0)
        return problem_set(p, UIDPOOL_CONFLICT, "%s exists: name a new file", file);
    if (asprintf(&temporary, "%s.XXXXXX", file) < 0) {
        temporary = NULL;
        return problem_errno(p, -ENOMEM, "cannot make %s", file);
    }
    _cleanup_fd_ int fd = mkostemp(temporary, O_CLOEXEC); /* 0600, O_EXCL */
    if (fd < 0)
        return problem_errno(p, -errno, "cannot make %s", temporary);

    enum uidpool_status status = copy_into(l, temporary, p);
    if (status == UIDPOOL_OK) {
        int r = publish(temporary, file);

        if (r == -EEXIST)
            status = problem_set(p, UIDPOOL_CONFLICT, "%s exists: name a new file", file);
        else if (r < 0)
            status = problem_errno(p, r, "cannot write %s", file);
    }
    if (status != UIDPOOL_OK)
        (void)unlink(temporary);
    return status;
}
