/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The account files from the disk. Opens them for reading, and nothing else. */
#include "provision/files.h"

#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static bool file_is_optional(enum account_file file)
{
    return file == FILE_SUBUID || file == FILE_SUBGID;
}

static const char *name_of_type(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFLNK:
        return "a symbolic link";
    case S_IFDIR:
        return "a directory";
    case S_IFIFO:
        return "a pipe";
    case S_IFSOCK:
        return "a socket";
    default:
        return "a device";
    }
}

/* The tools that replace an account file put a regular file there, and the link's target keeps the
 * old accounts. */
static enum uidpool_status refuse_type(const char *path, mode_t mode, struct problem *p)
{
    return problem_set(p, UIDPOOL_FAILED, "%s is %s; put the file itself there", path,
                       name_of_type(mode));
}

static enum uidpool_status refuse_missing(enum account_file file, struct problem *p)
{
    const char *path = account_file_path(file);

    if (file == FILE_SHADOW || file == FILE_GSHADOW)
        return problem_set(p, UIDPOOL_FAILED, "%s is missing; run %s, which makes it", path,
                           file == FILE_SHADOW ? "pwconv" : "grpconv");
    return problem_set(p, UIDPOOL_FAILED, "%s is missing; restore it from %s-", path, path);
}

/* Opening a link or a socket fails in ways of its own. */
static enum uidpool_status refuse_open(const char *path, int error, struct problem *p)
{
    struct stat st;

    if ((error == -ELOOP || error == -ENXIO) && lstat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return refuse_type(path, st.st_mode, p);
    return problem_errno(p, error, "cannot open %s", path);
}

/* An open descriptor in *ret, or -1: it is missing and may be. O_NONBLOCK, or a pipe would make us
 * wait for its writer. */
static enum uidpool_status open_file(enum account_file file, int *ret, struct problem *p)
{
    const char *path = account_file_path(file);
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0 && errno == ENOENT && !file_is_optional(file))
        return refuse_missing(file, p);
    if (fd < 0 && errno != ENOENT)
        return refuse_open(path, -errno, p);
    *ret = fd;
    return UIDPOOL_OK;
}

/* Up to the end of the file, which may have moved since fstat(2), or up to where it is too long
 * anyhow. `*data` always has room for one byte more. 0 or a negative errno. */
static int read_to_end(int fd, char **data, size_t allocated, size_t *ret_size)
{
    size_t size = 0;

    while (size <= LINES_FILE_MAX) {
        ssize_t n;

        if (allocated - size < 2) {
            char *more = realloc(*data, 2 * allocated);

            if (!more)
                return -ENOMEM;
            *data = more;
            allocated *= 2;
        }
        n = read(fd, *data + size, allocated - size - 1);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            break;
        size += n > 0 ? (size_t)n : 0;
    }
    *ret_size = size;
    return 0;
}

/* Its bytes, with room for one more. */
static enum uidpool_status read_bytes(const char *path, int fd, char **ret, size_t *ret_size,
                                      struct problem *p)
{
    _cleanup_free_ char *data = NULL;
    size_t allocated = 4096, size = 0;
    struct stat st;
    int r;

    if (fstat(fd, &st) < 0)
        return problem_errno(p, -errno, "cannot read %s", path);
    if (!S_ISREG(st.st_mode))
        return refuse_type(path, st.st_mode, p);
    if (st.st_size > 0)
        allocated = (size_t)(st.st_size < LINES_FILE_MAX ? st.st_size : LINES_FILE_MAX) + 3;
    data = malloc(allocated);
    r = data ? read_to_end(fd, &data, allocated, &size) : -ENOMEM;
    if (r == 0 && fstat(fd, &st) < 0)
        r = -errno;
    if (r < 0)
        return problem_errno(p, r, "cannot read %s", path);
    /* Somebody writes into it in place, and without a lock: what was read may be the half of it. A
     * size of 0 may mean that nobody knows it. */
    if (st.st_size > 0 && size <= LINES_FILE_MAX && (uintmax_t)st.st_size != size)
        return problem_set(p, UIDPOOL_FAILED, "%s changed while it was read; try again", path);
    *ret = take_ptr(data);
    *ret_size = size;
    return UIDPOOL_OK;
}

static enum uidpool_status read_file(enum account_file file, struct account_table *ret,
                                     struct problem *p)
{
    const char *path = account_file_path(file);
    enum uidpool_status status;
    _cleanup_fd_ int fd = -1;
    char *data = NULL;
    size_t size = 0;

    status = open_file(file, &fd, p);
    if (status != UIDPOOL_OK)
        return status;
    if (fd < 0) {
        *ret = (struct account_table){.file = file, .missing = true};
        return UIDPOOL_OK;
    }
    status = read_bytes(path, fd, &data, &size, p);
    return status == UIDPOOL_OK ? table_parse(file, data, size, ret, p) : status;
}

static bool table_is_empty(const struct account_table *t)
{
    for (size_t i = 0; i < t->lines.n; i++)
        if (t->lines.items[i][strspn(t->lines.items[i], " \t")] != '\0')
            return false;
    return true;
}

/* Does somebody here have the password in another file? */
static bool table_needs_shadow(const struct account_table *t)
{
    for (size_t i = 0; i < t->n; i++)
        if (line_field_is(t->lines.items[t->entries[i].line], 1, "x"))
            return true;
    return false;
}

/* A loss of power has left empty files on record (systemd#24324). What is added to such a file
 * makes it look whole, and takes the place of its backup. */
static enum uidpool_status check_empty(const struct account_files *files, enum account_file file,
                                       enum account_file shadow, const char *maker,
                                       struct problem *p)
{
    const char *path = account_file_path(file), *shadow_path = account_file_path(shadow);

    if (table_is_empty(&files->tables[file]))
        return problem_set(p, UIDPOOL_FAILED,
                           "%s is empty, as a loss of power leaves it; restore it from %s-", path,
                           path);
    if (table_is_empty(&files->tables[shadow]) && table_needs_shadow(&files->tables[file]))
        return problem_set(p, UIDPOOL_FAILED,
                           "%s is empty, as a loss of power leaves it, and has the passwords of "
                           "%s; restore it from %s-, or run %s for locked ones",
                           shadow_path, path, shadow_path, maker);
    return UIDPOOL_OK;
}

enum uidpool_status files_read(struct account_files *ret, struct problem *p)
{
    _cleanup_(files_clear) struct account_files files = {0};
    enum uidpool_status status = UIDPOOL_OK;

    /* From the last to the first: where all are missing it is not for grpconv to make one. */
    for (size_t i = ACCOUNT_FILES; i > 0 && status == UIDPOOL_OK; i--)
        status = read_file((enum account_file)(i - 1), &files.tables[i - 1], p);
    if (status == UIDPOOL_OK)
        status = check_empty(&files, FILE_PASSWD, FILE_SHADOW, "pwconv", p);
    if (status == UIDPOOL_OK)
        status = check_empty(&files, FILE_GROUP, FILE_GSHADOW, "grpconv", p);
    if (status != UIDPOOL_OK)
        return status;
    *ret = files;
    files = (struct account_files){0};
    return UIDPOOL_OK;
}

void files_clear(struct account_files *f)
{
    for (size_t i = 0; i < ACCOUNT_FILES; i++)
        table_clear(&f->tables[i]);
    *f = (struct account_files){0};
}
