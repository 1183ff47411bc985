/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether a file and the way to it are in the hands of root and us alone. Only looks: opens
 * directories with O_PATH and stats, changes nothing.
 */
#include "common/pathsafe.h"

#include "common/cleanup.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* As many symbolic links as the kernel follows in one path. */
#define LINKS_MAX 40

/* A walk from the root to a directory, one component at a time, so that every directory that
 * could redirect it is seen, the ones that hold symbolic links too. */
struct walk {
    int fd;
    unsigned links;
    char here[PATH_MAX]; /* where it stands, without links; empty for the root. /proc would tell it
                          * too, but messages have to name it where there is none */
    char rest[PATH_MAX]; /* still to be gone */
    char *why;
    size_t why_size;
};

static void walk_end(struct walk *w)
{
    w->fd = close_fd(w->fd);
}

static int refuse(char *why, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int refuse(char *why, size_t size, const char *format, ...)
{
    va_list ap;

    if (size == 0)
        return -EPERM;
    va_start(ap, format);
    if (vsnprintf(why, size, format, ap) < 0)
        why[0] = '\0';
    va_end(ap);
    text_make_printable(why);
    return -EPERM;
}

static const char *name_of(const struct walk *w)
{
    return *w->here ? w->here : "/";
}

static bool owner_is_trusted(const struct stat *st)
{
    return st->st_uid == 0 || st->st_uid == geteuid();
}

/* The directory where the walk stands. */
static int check_directory(const struct walk *w, bool is_last)
{
    struct stat st;

    if (fstat(w->fd, &st) < 0)
        return -errno;
    if (!owner_is_trusted(&st))
        return refuse(w->why, w->why_size, "%s belongs to uid %u; chown it to root", name_of(w),
                      st.st_uid);
    /* In a sticky directory nobody moves away what is not theirs, but anybody can put a file of
     * their own where one of ours is missing: good enough on the way, not for the last one. */
    if (!(st.st_mode & (S_IWGRP | S_IWOTH)) || (!is_last && (st.st_mode & S_ISVTX)))
        return 0;
    return refuse(w->why, w->why_size, "%s may be written by others (mode %04o); chmod go-w it",
                  name_of(w), (unsigned)st.st_mode & 07777u);
}

/* Moves the first component of w->rest to `name`. 1, or 0 if there is no more, or an errno. */
static int walk_take(struct walk *w, char name[static NAME_MAX + 1])
{
    size_t skip = strspn(w->rest, "/");
    size_t length = strcspn(w->rest + skip, "/");

    if (length == 0)
        return 0;
    if (length > NAME_MAX)
        return -ENAMETOOLONG;
    memcpy(name, w->rest + skip, length);
    name[length] = '\0';
    memmove(w->rest, w->rest + skip + length, strlen(w->rest + skip + length) + 1);
    return 1;
}

/* Puts what the link says before the rest. */
static int walk_follow(struct walk *w, const char *name, const struct stat *st)
{
    char target[PATH_MAX], joined[2 * PATH_MAX];
    ssize_t n;

    if (++w->links > LINKS_MAX)
        return -ELOOP;
    if (!owner_is_trusted(st))
        return refuse(w->why, w->why_size,
                      "the symbolic link %s in %s belongs to uid %u; use the path without it", name,
                      name_of(w), st->st_uid);
    n = readlinkat(w->fd, name, target, sizeof(target) - 1);
    if (n < 0)
        return -errno;
    target[n] = '\0';
    if (target[0] == '/') {
        close_fd(w->fd);
        w->fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (w->fd < 0)
            return -errno;
        w->here[0] = '\0';
    }
    snprintf(joined, sizeof(joined), "%s/%s", target, w->rest);
    if (strlen(joined) >= sizeof(w->rest))
        return -ENAMETOOLONG;
    memcpy(w->rest, joined, strlen(joined) + 1);
    return 0;
}

/* The walk went into this directory. */
static int walk_note(struct walk *w, const char *name)
{
    size_t used = strlen(w->here);
    char *slash = strrchr(w->here, '/');

    if (strcmp(name, ".") == 0)
        return 0;
    if (strcmp(name, "..") == 0) {
        if (slash)
            *slash = '\0';
        return 0;
    }
    if ((size_t)snprintf(w->here + used, sizeof(w->here) - used, "/%s", name) >=
        sizeof(w->here) - used)
        return -ENAMETOOLONG;
    return 0;
}

static int walk_step(struct walk *w, const char *name)
{
    struct stat st;
    int next, r;

    if (fstatat(w->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (S_ISLNK(st.st_mode))
        return walk_follow(w, name, &st);
    next = openat(w->fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (next < 0)
        return -errno;
    close_fd(w->fd);
    w->fd = next;
    r = walk_note(w, name);
    return r < 0 ? r : check_directory(w, false);
}

/* `w->rest` is an absolute path, or one from the working directory. */
static int walk_directory(struct walk *w)
{
    char name[NAME_MAX + 1];
    int r;

    w->fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (w->fd < 0)
        return -errno;
    r = check_directory(w, false);
    if (r < 0)
        return r;
    while ((r = walk_take(w, name)) > 0) {
        r = walk_step(w, name);
        if (r < 0)
            return r;
    }
    if (r < 0)
        return r;
    return check_directory(w, true);
}

/* One file in the directory where the walk stands. It may be missing. */
static int check_file(const struct walk *w, const char *name)
{
    struct stat st;
    const char *what = NULL;

    if (fstatat(w->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (S_ISLNK(st.st_mode))
        what = "is a symbolic link; name the file itself";
    else if (!S_ISREG(st.st_mode))
        what = "is no regular file";
    else if (st.st_nlink != 1)
        what = "has more than one name (hard links); remove the others";
    else if (!owner_is_trusted(&st))
        what = "belongs to another user; chown it to root";
    else if (st.st_mode & (S_IWGRP | S_IWOTH))
        what = "may be written by others; chmod go-w it";
    if (!what)
        return 0;
    return refuse(w->why, w->why_size, "%s/%s %s", w->here, name, what);
}

/* The path from the root to the directory that holds `path`. */
static int directory_of(const char *path, char ret[static PATH_MAX], const char **ret_name)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    size_t length = (size_t)(name - path);
    size_t used = 0;

    if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return -EINVAL;
    if (path[0] != '/') {
        if (!getcwd(ret, PATH_MAX))
            return errno == ERANGE ? -ENAMETOOLONG : -errno;
        used = strlen(ret);
        ret[used++] = '/';
    }
    if (used + length >= PATH_MAX)
        return -ENAMETOOLONG;
    memcpy(ret + used, path, length);
    ret[used + length] = '\0';
    *ret_name = name;
    return 0;
}

int path_check_safe(const char *path, const char *const *suffixes, char *why, size_t why_size)
{
    _cleanup_(walk_end) struct walk w = {.fd = -1, .why = why, .why_size = why_size};
    char file[NAME_MAX + 1];
    const char *name = path;
    int r;

    r = directory_of(path, w.rest, &name);
    if (r < 0)
        return r;
    r = walk_directory(&w);
    if (r < 0)
        return r;
    r = check_file(&w, name);
    for (size_t i = 0; r == 0 && suffixes && suffixes[i]; i++) {
        if ((size_t)snprintf(file, sizeof(file), "%s%s", name, suffixes[i]) >= sizeof(file))
            return -ENAMETOOLONG;
        r = check_file(&w, file);
    }
    return r;
}
