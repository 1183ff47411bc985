/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The temporaries that a killed program leaves in /etc, by their exact names. Removes such files,
 * regular ones of root's alone, and touches nothing else.
 */
#include "provision/leftovers.h"

#include "common/atomicfile.h"
#include "common/cleanup.h"
#include "common/ids.h"
#include "provision/alive.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The kernel's PID_MAX_LIMIT: no process has a larger number. */
#define PID_MAX 4194304

int leftovers_reserve(struct leftovers *l)
{
    struct leftover *items = reallocarray(l->items, l->n + 1, sizeof(*items));

    if (!items)
        return -ENOMEM;
    l->items = items;
    return 0;
}

void leftovers_add(struct leftovers *l, const char *name, const char *why, ...)
{
    struct leftover *item = &l->items[l->n++];
    va_list ap;

    snprintf(item->path, sizeof(item->path), FILES_DIRECTORY "/%s", name);
    va_start(ap, why);
    if (vsnprintf(item->why, sizeof(item->why), why, ap) < 0)
        item->why[0] = '\0';
    va_end(ap);
}

static int compare_paths(const void *a, const void *b)
{
    const struct leftover *x = a, *y = b;

    return strcmp(x->path, y->path);
}

void leftovers_sort(struct leftovers *l)
{
    if (l->n > 0)
        qsort(l->items, l->n, sizeof(*l->items), compare_paths);
}

void leftovers_clear(struct leftovers *l)
{
    free(l->items);
    *l = (struct leftovers){0};
}

/* What is behind `prefix`, or NULL. */
static const char *behind(const char *text, const char *prefix)
{
    size_t length = strlen(prefix);

    return strncmp(text, prefix, length) == 0 ? text + length : NULL;
}

/* `n` characters of this set, and nothing else. */
static bool is_made_of(const char *text, size_t n, const char *set)
{
    return strlen(text) == n && strspn(text, set) == n;
}

#define HEXADECIMAL "0123456789abcdef"
#define LETTERS_AND_DIGITS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

/* As mkstemp(3) fills XXXXXX. */
static bool is_mkstemp(const char *text)
{
    return is_made_of(text, 6, LETTERS_AND_DIGITS);
}

enum maker {
    NOBODY,
    SHADOW_LOCK,  /* FILE.PID, to be linked to FILE.lock (lib/commonio.c, do_lock_file) */
    SHADOW_WRITE, /* FILE+; from 4.20 on FILE.cioXXXXXX, the backup's too (commonio_close) */
    SYSUSERS,     /* .#FILEXXXXXX (systemd 252), .#FILE and 16 hexadecimal digits (later) */
    OURS,         /* atomicfile.h */
};

/* Whose temporary of this account file is that, by its name? */
static enum maker maker_of(const char *name, const char *file, pid_t *ret_pid)
{
    const char *rest = behind(name, file), *tail;
    uint64_t pid;

    if (rest && strcmp(rest, "+") == 0)
        return SHADOW_WRITE;
    if (rest && (tail = behind(rest, ".cio")) && is_mkstemp(tail))
        return SHADOW_WRITE;
    if (rest && (tail = behind(rest, ".")) && parse_u64(tail, PID_MAX, &pid) == 0 && pid > 0) {
        *ret_pid = (pid_t)pid;
        return SHADOW_LOCK;
    }
    if ((rest = behind(name, ".#")) && (tail = behind(rest, file)))
        return is_mkstemp(tail) || is_made_of(tail, 16, HEXADECIMAL) ? SYSUSERS : NOBODY;
    if ((rest = behind(name, ".")) && (tail = behind(rest, file)))
        return strcmp(tail, ATOMICFILE_SUFFIX) == 0 || strcmp(tail, "-" ATOMICFILE_SUFFIX) == 0
                   ? OURS
                   : NOBODY;
    return NOBODY;
}

/* The beginning of the file; no pid is as long as that. Its length, or a negative errno. */
static ssize_t read_beginning(int fd, char ret[static 32])
{
    ssize_t n;

    do {
        n = pread(fd, ret, 32, 0);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

int read_lock_pid(int fd, pid_t *ret)
{
    char text[33];
    ssize_t n = read_beginning(fd, text);
    uint64_t pid;

    if (n < 0)
        return (int)n;
    text[n] = '\0';
    text[strcspn(text, "\n")] = '\0';
    if (parse_u64(text, INT32_MAX, &pid) < 0 || pid == 0)
        return -EINVAL;
    *ret = (pid_t)pid;
    return 0;
}

/* Does shadow's FILE.PID hold that pid and a NUL, or a beginning of it, nothing at all too?
 * Somebody's copy of the account file, passwd.2025, does not. */
static bool holds_pid(int fd, pid_t pid)
{
    char text[32], wanted[32];
    ssize_t n = read_beginning(fd, text);
    int length = snprintf(wanted, sizeof(wanted), "%d", (int)pid);

    return n >= 0 && n <= length + 1 && memcmp(wanted, text, (size_t)n) == 0;
}

struct sweep {
    struct leftovers *found;
    int directory;
    bool remove;
    bool (*is_locked)(int directory, enum account_file file);
};

/* The lock is asked before the file, so that what a program renames before it unlocks is not taken
 * for one of the dead. */
static bool is_of_the_dead(const struct sweep *s, const char *name, enum account_file file,
                           enum maker maker, pid_t pid)
{
    bool is_locked = maker == SHADOW_WRITE && s->is_locked(s->directory, file);
    _cleanup_fd_ int fd = -1;
    struct stat st;

    fd = openat(s->directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (is_locked || fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != 0)
        return false;
    return maker != SHADOW_LOCK ||
           (holds_pid(fd, pid) && fate_of_writer(pid, st.st_mtim) != FATE_ALIVE);
}

static void add(struct leftovers *l, const char *name, enum maker maker, pid_t pid)
{
    switch (maker) {
    case SHADOW_LOCK:
        leftovers_add(l, name, "a lock that process %d, which is gone, was about to take",
                      (int)pid);
        break;
    case SHADOW_WRITE:
        leftovers_add(l, name, "written by one of useradd's family, which was killed");
        break;
    case SYSUSERS:
        leftovers_add(l, name, "written by systemd-sysusers, which was killed");
        break;
    case OURS:
        leftovers_add(l, name, "written by a run of ours that was killed");
        break;
    case NOBODY:
        break;
    }
}

static enum uidpool_status sweep_entry(const struct sweep *s, const char *name, struct problem *p)
{
    enum account_file file;
    enum maker maker = NOBODY;
    pid_t pid = 0;

    for (file = 0; file < ACCOUNT_FILES && maker == NOBODY; file++)
        maker = maker_of(name, account_file_name(file), &pid);
    if (maker == NOBODY || !is_of_the_dead(s, name, file - 1, maker, pid))
        return UIDPOOL_OK;
    if (leftovers_reserve(s->found) < 0)
        return problem_errno(p, -ENOMEM, "cannot list what is left in " FILES_DIRECTORY);
    if (s->remove && unlinkat(s->directory, name, 0) < 0 && errno != ENOENT)
        return problem_errno(p, -errno, "cannot remove " FILES_DIRECTORY "/%s", name);
    add(s->found, name, maker, pid);
    return UIDPOOL_OK;
}

/* A description of its own, as a walk moves the offset. */
static DIR *open_walk(int directory)
{
    _cleanup_fd_ int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);

    if (d)
        (void)take_fd(&fd);
    return d;
}

enum uidpool_status leftovers_sweep(struct leftovers *l, int directory, bool remove,
                                    bool (*is_locked)(int directory, enum account_file file),
                                    struct problem *p)
{
    const struct sweep s = {l, directory, remove, is_locked};
    _cleanup_dir_ DIR *d = open_walk(directory);
    enum uidpool_status status = UIDPOOL_OK;
    const struct dirent *entry;

    if (!d)
        return problem_errno(p, -errno, "cannot read " FILES_DIRECTORY);
    while (status == UIDPOOL_OK && (errno = 0, entry = readdir(d)))
        status = sweep_entry(&s, entry->d_name, p);
    if (status == UIDPOOL_OK && errno != 0)
        return problem_errno(p, -errno, "cannot read " FILES_DIRECTORY);
    return status;
}
