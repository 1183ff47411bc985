/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files of one directory, replaced whole. MUSTs:
 *
 *   1. No target, and nothing that has a target's name, is ever opened for writing.
 *   2. No target is renamed over before every temporary and every backup is on the disk.
 *   3. No temporary can be read by anybody who cannot read its target, at no moment.
 *   4. Whatever fails before the first rename leaves nothing behind.
 *   5. Whoever only prepares, and does not commit, has touched no backup.
 *
 * Touches its targets, their NAME- and its own temporaries, all of them in that one directory.
 */
#include "common/atomicfile.h"

#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ACL_ATTRIBUTE "system.posix_acl_access"

/* A file that is to take another's name. */
struct temporary {
    char name[NAME_MAX + 1];
    char target[NAME_MAX + 1];
    int fd;      /* while it is written, else -1 */
    bool exists; /* under its own name: to be renamed or removed */
};

struct file {
    const struct iovec *pieces;
    size_t n_pieces;
    int old; /* what it replaces, open for reading, or -1 */
    struct stat st;
    bool wants_backup;
    struct temporary fresh, backup;
};

struct atomicfile {
    char *directory;
    int fd;
    struct file *files;
    size_t n;
    bool was_prepared, is_prepared;
};

enum uidpool_status atomicfile_new(const char *directory, struct atomicfile **ret,
                                   struct problem *p)
{
    _cleanup_(atomicfile_freep) struct atomicfile *a = NULL;

    if (directory[0] != '/')
        return problem_errno(p, -EINVAL, "%s is no absolute path", directory);
    a = calloc(1, sizeof(*a));
    if (!a)
        return problem_errno(p, -ENOMEM, "cannot replace files of %s", directory);
    a->fd = -1;
    a->directory = strdup(directory);
    if (!a->directory)
        return problem_errno(p, -ENOMEM, "cannot replace files of %s", directory);
    a->fd = open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (a->fd < 0)
        return problem_errno(p, -errno, "cannot open %s as a directory", directory);
    *ret = take_ptr(a);
    return UIDPOOL_OK;
}

static void remove_temporary(struct atomicfile *a, struct temporary *t)
{
    t->fd = close_fd(t->fd);
    if (t->exists)
        (void)unlinkat(a->fd, t->name, 0);
    t->exists = false;
}

static void remove_temporaries(struct atomicfile *a)
{
    for (size_t i = 0; i < a->n; i++) {
        remove_temporary(a, &a->files[i].fresh);
        remove_temporary(a, &a->files[i].backup);
    }
}

void atomicfile_free(struct atomicfile *a)
{
    if (!a)
        return;
    remove_temporaries(a);
    for (size_t i = 0; i < a->n; i++)
        close_fd(a->files[i].old);
    close_fd(a->fd);
    free(a->files);
    free(a->directory);
    free(a);
}

static int temporary_init(struct temporary *t, const char *name, const char *mark)
{
    if ((size_t)snprintf(t->target, sizeof(t->target), "%s%s", name, mark) >= sizeof(t->target) ||
        (size_t)snprintf(t->name, sizeof(t->name), ".%s%s" ATOMICFILE_SUFFIX, name, mark) >=
            sizeof(t->name))
        return -ENAMETOOLONG;
    t->fd = -1;
    return 0;
}

/* Is some file to be written under one of this one's names already? */
static bool clashes(const struct atomicfile *a, const struct file *file)
{
    for (size_t i = 0; i < a->n; i++) {
        const struct file *other = &a->files[i];

        if (strcmp(file->fresh.target, other->fresh.target) == 0 ||
            (other->wants_backup && strcmp(file->fresh.target, other->backup.target) == 0) ||
            (file->wants_backup && strcmp(file->backup.target, other->fresh.target) == 0))
            return true;
    }
    return false;
}

enum uidpool_status atomicfile_add(struct atomicfile *a, const char *name,
                                   const struct iovec *pieces, size_t n, bool backup,
                                   struct problem *p)
{
    struct file file = {.pieces = pieces, .n_pieces = n, .wants_backup = backup, .old = -1};
    struct file *files;
    int r;

    if (!*name || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return problem_errno(p, -EINVAL, "%s is no name of a file", name);
    r = temporary_init(&file.fresh, name, "");
    if (r == 0)
        r = temporary_init(&file.backup, name, "-");
    if (r == 0 && clashes(a, &file))
        r = -EEXIST;
    files = r == 0 ? reallocarray(a->files, a->n + 1, sizeof(*files)) : NULL;
    if (files)
        a->files = files;
    else if (r == 0)
        r = -ENOMEM;
    if (r < 0)
        return problem_errno(p, r, "cannot replace %s/%s", a->directory, name);
    a->files[a->n++] = file;
    return UIDPOOL_OK;
}

/* The attribute for which the kernel refuses a rename over this file, or into this directory, as
 * the letter of chattr(1); or 0. Not every file system answers both questions, and one that answers
 * neither has no such attributes. */
static char find_chattr(int fd)
{
    struct statx sx = {0};
    int flags = 0;

    if (statx(fd, "", AT_EMPTY_PATH, 0, &sx) < 0)
        sx.stx_attributes = 0;
    if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
        flags = 0;
    if ((sx.stx_attributes & STATX_ATTR_IMMUTABLE) || (flags & FS_IMMUTABLE_FL))
        return 'i';
    if ((sx.stx_attributes & STATX_ATTR_APPEND) || (flags & FS_APPEND_FL))
        return 'a';
    return 0;
}

static enum uidpool_status check_directory(const struct atomicfile *a, struct problem *p)
{
    struct statvfs vfs;
    char attribute;

    if (fstatvfs(a->fd, &vfs) < 0)
        return problem_errno(p, -errno, "cannot examine %s", a->directory);
    if (vfs.f_flag & ST_RDONLY)
        return problem_errno(p, -EROFS, "cannot replace files of %s; remount it writable",
                             a->directory);
    attribute = find_chattr(a->fd);
    if (attribute)
        return problem_set(p, UIDPOOL_NOT_PERMITTED,
                           "cannot replace files of %s, which has the attribute '%c'; first run "
                           "'chattr -%c %s'",
                           a->directory, attribute, attribute, a->directory);
    return UIDPOOL_OK;
}

/* Kernels before 5.8 do not say. There the device tells, but an overlay whose layers lie on
 * several file systems gives its files other ones than its directories. */
static bool is_mount(const struct statx *sx, const struct stat *st, const struct stat *directory)
{
    if (sx->stx_attributes_mask & STATX_ATTR_MOUNT_ROOT)
        return sx->stx_attributes & STATX_ATTR_MOUNT_ROOT;
    return st->st_dev != directory->st_dev;
}

/* What refuses to be replaced, of an open file. A second hard link does not: nothing is ever
 * written into the old file, so the other name keeps the old bytes, which is what those want who
 * copy trees with `cp -al`, such as cowbuilder. */
static enum uidpool_status check_target(const struct atomicfile *a, const char *name, int fd,
                                        const struct stat *st, struct problem *p)
{
    struct statx sx = {0};
    struct stat directory;
    char attribute;

    if (!S_ISREG(st->st_mode))
        return problem_set(p, UIDPOOL_FAILED, "%s/%s is no regular file; put one there",
                           a->directory, name);
    if (fstat(a->fd, &directory) < 0 || statx(fd, "", AT_EMPTY_PATH, 0, &sx) < 0)
        return problem_errno(p, -errno, "cannot examine %s/%s", a->directory, name);
    if (is_mount(&sx, st, &directory))
        return problem_errno(p, -EBUSY,
                             "cannot replace %s/%s, on which something is mounted; unmount it, or "
                             "mount its whole directory",
                             a->directory, name);
    attribute = find_chattr(fd);
    if (attribute)
        return problem_set(p, UIDPOOL_NOT_PERMITTED,
                           "cannot replace %s/%s, which has the attribute '%c'; first run 'chattr "
                           "-%c %s/%s'",
                           a->directory, name, attribute, attribute, a->directory, name);
    return UIDPOOL_OK;
}

/* Open what stands under a target's name. -1 as the descriptor if nothing does, where `may_miss`.
 */
static enum uidpool_status open_target(const struct atomicfile *a, const char *name, bool may_miss,
                                       int *ret, struct stat *ret_st, struct problem *p)
{
    _cleanup_fd_ int fd = -1;
    enum uidpool_status status;
    struct stat st = {0};

    /* O_NONBLOCK: a FIFO must not hang us. */
    fd = openat(a->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 && errno == ELOOP)
        return problem_set(p, UIDPOOL_FAILED,
                           "%s/%s is a symbolic link, which a file would replace; put the file "
                           "itself there",
                           a->directory, name);
    if (fd < 0 && !(may_miss && errno == ENOENT))
        return problem_errno(p, -errno, "cannot read %s/%s", a->directory, name);
    if (fd >= 0) {
        if (fstat(fd, &st) < 0)
            return problem_errno(p, -errno, "cannot examine %s/%s", a->directory, name);
        status = check_target(a, name, fd, &st, p);
        if (status != UIDPOOL_OK)
            return status;
    }
    *ret = take_fd(&fd);
    *ret_st = st;
    return UIDPOOL_OK;
}

static enum uidpool_status inspect(const struct atomicfile *a, struct file *file, struct problem *p)
{
    _cleanup_fd_ int former_backup = -1;
    enum uidpool_status status;
    struct stat st;

    status = open_target(a, file->fresh.target, false, &file->old, &file->st, p);
    if (status == UIDPOOL_OK && file->wants_backup)
        status = open_target(a, file->backup.target, true, &former_backup, &st, p);
    return status;
}

/* Labels and what users keep there go along. What vouches for the contents (ima, evm) does not, and
 * capabilities belong to programs. */
static bool attribute_is_kept(const char *name)
{
    static const char *const dropped[] = {"security.ima", "security.evm", "security.capability"};

    for (size_t i = 0; i < ELEMENTS_OF(dropped); i++)
        if (strcmp(name, dropped[i]) == 0)
            return false;
    return strcmp(name, ACL_ATTRIBUTE) == 0 || strncmp(name, "security.", 9) == 0 ||
           strncmp(name, "user.", 5) == 0;
}

/* `value` has room for two of the longest. */
static int copy_attribute(int from, int to, const char *name, char *value)
{
    ssize_t n, present;

    n = fgetxattr(from, name, value, XATTR_SIZE_MAX);
    if (n < 0)
        return errno == ENODATA ? 0 : -errno;
    /* A label that came with the file's creation may be one that we are not allowed to set. */
    present = fgetxattr(to, name, value + XATTR_SIZE_MAX, XATTR_SIZE_MAX);
    if (present == n && memcmp(value, value + XATTR_SIZE_MAX, (size_t)n) == 0)
        return 0;
    return fsetxattr(to, name, value, (size_t)n, 0) < 0 ? -errno : 0;
}

static int copy_attributes(int from, int to)
{
    _cleanup_free_ char *names = malloc(XATTR_LIST_MAX), *value = malloc(2 * XATTR_SIZE_MAX);
    ssize_t size;
    int r = 0;

    if (!names || !value)
        return -ENOMEM;
    size = flistxattr(from, names, XATTR_LIST_MAX);
    if (size < 0)
        return errno == EOPNOTSUPP ? 0 : -errno;
    for (const char *name = names; r == 0 && name < names + size; name += strlen(name) + 1)
        if (attribute_is_kept(name))
            r = copy_attribute(from, to, name, value);
    return r;
}

/*
 * Owner, mode, ACL and labels of the old file. Whatever step we are at, only those can read the new
 * one who can read the old: it begins as 0600, loses what it inherited from the directory's default
 * ACL (which 0600 has masked so far), changes hands, and only then is opened to others.
 */
static int copy_metadata(int from, const struct stat *st, int to)
{
    struct stat now;
    int r;

    if (fremovexattr(to, ACL_ATTRIBUTE) < 0 && errno != ENODATA && errno != EOPNOTSUPP)
        return -errno;
    if (fstat(to, &now) < 0)
        return -errno;
    if ((now.st_uid != st->st_uid || now.st_gid != st->st_gid) &&
        fchown(to, st->st_uid, st->st_gid) < 0)
        return -errno;
    r = copy_attributes(from, to);
    if (r < 0)
        return r;
    return fchmod(to, st->st_mode & 07777) < 0 ? -errno : 0;
}

static int create_temporary(const struct atomicfile *a, const struct file *file,
                            struct temporary *t)
{
    if (unlinkat(a->fd, t->name, 0) < 0 && errno != ENOENT)
        return -errno;
    t->fd = openat(a->fd, t->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC,
                   0600);
    if (t->fd < 0)
        return -errno;
    t->exists = true;
    /* Before the first byte: to some a label is what keeps readers off. */
    return copy_metadata(file->old, &file->st, t->fd);
}

static int write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, data, size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        data += n;
        size -= (size_t)n;
    }
    return 0;
}

/* From both descriptors' offsets to the end of the file. */
static int copy_by_hand(int from, int to)
{
    char buffer[32768];

    for (;;) {
        ssize_t n = read(from, buffer, sizeof(buffer));
        int r;

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        r = write_all(to, buffer, (size_t)n);
        if (r < 0)
            return r;
    }
}

static int copy_contents(int from, int to, off_t size)
{
    while (size > 0) {
        ssize_t n = copy_file_range(from, NULL, to, NULL, (size_t)size, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EXDEV && errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL)
            return -errno;
        /* Some file systems cannot, and some say 0 for that. */
        if (n <= 0)
            break;
        size -= n;
    }
    return copy_by_hand(from, to);
}

/* The kernel may begin to write it to the disk, beside the others: waiting for each in turn would
 * cost a journal's commit for each. Only fsync(2) tells of errors. */
static void start_writeback(int fd)
{
    (void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

static int write_fresh(const struct atomicfile *a, struct file *file)
{
    int r = create_temporary(a, file, &file->fresh);

    for (size_t i = 0; i < file->n_pieces && r == 0; i++)
        r = write_all(file->fresh.fd, file->pieces[i].iov_base, file->pieces[i].iov_len);
    if (r == 0)
        start_writeback(file->fresh.fd);
    return r;
}

static int write_backup(const struct atomicfile *a, struct file *file)
{
    const struct timespec times[] = {file->st.st_atim, file->st.st_mtim};
    int r = create_temporary(a, file, &file->backup);

    if (r == 0)
        r = copy_contents(file->old, file->backup.fd, file->st.st_size);
    if (r == 0 && futimens(file->backup.fd, times) < 0)
        r = -errno;
    if (r == 0)
        start_writeback(file->backup.fd);
    return r;
}

static enum uidpool_status write_temporaries(const struct atomicfile *a, struct problem *p)
{
    for (size_t i = 0; i < a->n; i++) {
        struct file *file = &a->files[i];
        const struct temporary *t = &file->fresh;
        int r = write_fresh(a, file);

        if (r == 0 && file->wants_backup) {
            t = &file->backup;
            r = write_backup(a, file);
        }
        if (r < 0)
            return problem_errno(p, r, "cannot write %s/%s", a->directory, t->name);
    }
    return UIDPOOL_OK;
}

static int sync_fd(int fd)
{
    while (fsync(fd) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

static enum uidpool_status sync_temporary(const struct atomicfile *a, struct temporary *t,
                                          struct problem *p)
{
    int r = sync_fd(t->fd);

    /* Linux has closed it, whatever it says; what it says may be a write that failed. */
    if (close(take_fd(&t->fd)) < 0 && errno != EINTR && r == 0)
        r = -errno;
    if (r < 0)
        return problem_errno(p, r, "cannot write %s/%s", a->directory, t->name);
    return UIDPOOL_OK;
}

static enum uidpool_status sync_temporaries(const struct atomicfile *a, struct problem *p)
{
    enum uidpool_status status = UIDPOOL_OK;

    for (size_t i = 0; status == UIDPOOL_OK && i < a->n; i++) {
        status = sync_temporary(a, &a->files[i].fresh, p);
        if (status == UIDPOOL_OK && a->files[i].wants_backup)
            status = sync_temporary(a, &a->files[i].backup, p);
    }
    return status;
}

static int rename_temporary(const struct atomicfile *a, struct temporary *t)
{
    if (renameat(a->fd, t->name, a->fd, t->target) < 0)
        return -errno;
    t->exists = false;
    return 0;
}

/* On the disk before any target, so that whatever the power leaves has what it replaced. */
static int rename_backups(const struct atomicfile *a, const char **ret_target)
{
    int r = 0;

    *ret_target = NULL;
    for (size_t i = 0; i < a->n && r == 0; i++) {
        if (!a->files[i].wants_backup)
            continue;
        *ret_target = a->files[i].backup.target;
        r = rename_temporary(a, &a->files[i].backup);
    }
    return r == 0 && *ret_target ? sync_fd(a->fd) : r;
}

enum uidpool_status atomicfile_prepare(struct atomicfile *a, struct problem *p)
{
    enum uidpool_status status;

    if (a->was_prepared)
        return problem_errno(p, -EBUSY, "the files of %s were prepared before", a->directory);
    a->was_prepared = true;
    status = check_directory(a, p);
    for (size_t i = 0; status == UIDPOOL_OK && i < a->n; i++)
        status = inspect(a, &a->files[i], p);
    if (status == UIDPOOL_OK)
        status = write_temporaries(a, p);
    if (status == UIDPOOL_OK)
        status = sync_temporaries(a, p);
    if (status != UIDPOOL_OK)
        remove_temporaries(a);
    else
        a->is_prepared = true;
    return status;
}

/* "group, gshadow", or "nothing": the first `n`. */
static const char *name_files(const struct atomicfile *a, size_t n, char *buf, size_t size)
{
    size_t used = 0;

    snprintf(buf, size, "nothing");
    for (size_t i = 0; i < n && used < size; i++)
        used += (size_t)snprintf(buf + used, size - used, "%s%s", i > 0 ? ", " : "",
                                 a->files[i].fresh.target);
    return buf;
}

enum uidpool_status atomicfile_commit(struct atomicfile *a, struct problem *p)
{
    const char *target = NULL;
    char replaced[512];
    size_t n = 0;
    int r, synced;

    if (!a->is_prepared)
        return problem_errno(p, -EINVAL, "the files of %s are not prepared", a->directory);
    a->is_prepared = false;
    r = rename_backups(a, &target);
    while (r == 0 && n < a->n) {
        target = a->files[n].fresh.target;
        r = rename_temporary(a, &a->files[n].fresh);
        n += r == 0;
    }
    synced = sync_fd(a->fd);
    if (r < 0)
        return problem_errno(p, r, "replaced %s of %s, but cannot replace %s",
                             name_files(a, n, replaced, sizeof(replaced)), a->directory, target);
    if (synced < 0)
        return problem_errno(p, synced,
                             "replaced %s of %s, but cannot sync the directory: after a loss of "
                             "power the old ones may be back",
                             name_files(a, n, replaced, sizeof(replaced)), a->directory);
    return UIDPOOL_OK;
}
