/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The two families of locks on the account files. Makes and removes /etc/FILE.lock, and a FILE.PID
 * on the way; makes /etc/.pwd.lock where it is missing. MUSTs:
 *
 *   1. A FILE.lock of a process that may be alive is never removed.
 *   2. Whatever is ours is gone when we release, and nothing that is not.
 *   3. While somebody else holds a FILE.lock we hold none: shadow's tools take theirs in orders of
 *      their own, and wait only with --prefix.
 */
#include "provision/lock.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/lockfile.h"
#include "provision/alive.h"
#include "provision/leftovers.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PWD_LOCK FILES_DIRECTORY "/.pwd.lock"
/* All of it, as lckpwdf(3) does. */
#define WHOLE_FILE INT64_MAX

static const enum account_file lock_order[ACCOUNT_FILES] = {
    FILE_PASSWD, FILE_GROUP, FILE_SHADOW, FILE_GSHADOW, FILE_SUBUID, FILE_SUBGID,
};

struct account_lock {
    int directory;
    int pwd_lock; /* or -1: there is none to share */
    /* The file that each FILE.lock of ours is a link to. It stays open so that no other file can
     * have its inode number. -1 where there are no such locks. */
    int file;
    char file_name[64]; /* passwd.PID while it has that name, else empty */
    bool is_held[ACCOUNT_FILES];
    struct leftovers leftovers;
    bool has_mask;
    sigset_t mask; /* of signals, as it was before */
};

/*
 * Signals that ask us to end wait until we have released: whoever types Ctrl-C leaves no locks
 * behind, of which others would have to find out that they are of the dead; in another PID
 * namespace, as in an image that is taken elsewhere, they might not.
 */
static const int endings[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM};

static void hold_signals(struct account_lock *l)
{
    sigset_t held;

    (void)sigemptyset(&held);
    for (size_t i = 0; i < ELEMENTS_OF(endings); i++) {
        struct sigaction action;

        /* One that is ignored would not end us, but could be pending while it is blocked. */
        if (sigaction(endings[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
            (void)sigaddset(&held, endings[i]);
    }
    l->has_mask = pthread_sigmask(SIG_BLOCK, &held, &l->mask) == 0;
}

/* What came meanwhile comes now. */
static void let_signals_come(struct account_lock *l)
{
    if (l->has_mask)
        (void)pthread_sigmask(SIG_SETMASK, &l->mask, NULL);
    l->has_mask = false;
}

static bool is_told_to_end(const struct account_lock *l)
{
    sigset_t pending;

    if (!l->has_mask || sigpending(&pending) < 0)
        return false;
    for (size_t i = 0; i < ELEMENTS_OF(endings); i++)
        if (sigismember(&pending, endings[i]) == 1 && sigismember(&l->mask, endings[i]) == 0)
            return true;
    return false;
}

/*
 * Waiting.
 */
struct patience {
    int64_t deadline, next_word; /* CLOCK_MONOTONIC, microseconds */
    int64_t pause;
    uint32_t timeout; /* seconds */
    void (*progress)(const char *text, void *userdata);
    void *userdata;
};

#define PAUSE_MIN (1 * USEC_PER_MSEC)
#define PAUSE_MAX (50 * USEC_PER_MSEC)

static struct patience patience_of(uint32_t timeout,
                                   void (*progress)(const char *text, void *userdata),
                                   void *userdata)
{
    int64_t now = clock_monotonic_usec();

    return (struct patience){
        .deadline = now + (int64_t)timeout * USEC_PER_SEC,
        .next_word = now + USEC_PER_SEC,
        .pause = PAUSE_MIN,
        .timeout = timeout,
        .progress = progress,
        .userdata = userdata,
    };
}

/* A moment. False if the time is over, or ours is. `why` says who holds what. */
static bool wait_a_moment(const struct account_lock *l, struct patience *w, const char *why)
{
    int64_t now = clock_monotonic_usec(), pause = w->pause;
    struct timespec ts = {0};
    char text[320];

    if (now >= w->deadline || is_told_to_end(l))
        return false;
    if (w->progress && now >= w->next_word) {
        snprintf(text, sizeof(text), "waiting: %s", why);
        w->progress(text, w->userdata);
        w->next_word = now + USEC_PER_SEC;
    }
    if (pause > w->deadline - now)
        pause = w->deadline - now;
    ts.tv_nsec = (long)(pause * 1000);
    (void)nanosleep(&ts, NULL);
    if (w->pause < PAUSE_MAX)
        w->pause *= 2;
    return true;
}

static enum uidpool_status too_late(const struct patience *w, const char *why, struct problem *p)
{
    return problem_set(p, UIDPOOL_FAILED,
                       "cannot lock the account files: %s, and did so for %u s; let it end, or "
                       "allow more time with --timeout",
                       why, w->timeout);
}

/*
 * A FILE.lock of others.
 */
static const char *lock_name(enum account_file file, char name[static 32])
{
    snprintf(name, 32, "%s.lock", account_file_name(file));
    return name;
}

/* What a FILE.lock is, that is there and not ours. */
struct found_lock {
    pid_t pid; /* 0: it holds none */
    enum fate fate;
    dev_t device;
    ino_t inode;
};

/* 0; -ENOENT: it has gone; another negative errno: it is no lock of shadow's, or unreadable. */
static int read_file_lock(int directory, const char *name, struct found_lock *ret)
{
    struct found_lock found = {.fate = FATE_GONE};
    _cleanup_fd_ int fd = -1;
    struct stat st;
    int r;

    fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
    /* Shadow writes its pid, and syncs it, before it makes the link: a lock without one was cut off
     * by a loss of power, or made by nobody that could release it. Shadow's tools themselves refuse
     * to run beside it for ever. */
    r = read_lock_pid(fd, &found.pid);
    if (r < 0 && r != -EINVAL)
        return r;
    if (r == 0)
        found.fate = fate_of_writer(found.pid, st.st_mtim);
    found.device = st.st_dev;
    found.inode = st.st_ino;
    *ret = found;
    return 0;
}

/*
 * The first family.
 */
/* The kernel names the holder of lckpwdf(3)'s kind of lock. Of another kind, as ours and newer
 * systemd's are, the second family may tell. */
static void tell_pwd_holder(const struct account_lock *l, char *why, size_t size)
{
    char holder[128] = "another program", name[32];
    struct found_lock found;
    pid_t pid = 0;

    if (lockfile_holder(l->pwd_lock, 0, WHOLE_FILE, &pid) < 0)
        pid = 0;
    if (pid == 0 && read_file_lock(l->directory, lock_name(FILE_PASSWD, name), &found) == 0 &&
        found.fate == FATE_ALIVE)
        pid = found.pid;
    if (pid > 0)
        (void)process_text(pid, holder, sizeof(holder));
    snprintf(why, size, "%s holds " PWD_LOCK, holder);
}

static enum uidpool_status lock_pwd(const struct account_lock *l,
                                    int (*try)(int fd, off_t at, off_t length), struct patience *w,
                                    struct problem *p)
{
    char why[256];
    int r;

    while ((r = try(l->pwd_lock, 0, WHOLE_FILE)) == -EAGAIN) {
        tell_pwd_holder(l, why, sizeof(why));
        if (!wait_a_moment(l, w, why))
            return too_late(w, why, p);
    }
    return r < 0 ? problem_errno(p, r, "cannot lock " PWD_LOCK) : UIDPOOL_OK;
}

/* The kernel refused root: `path` is most likely immutable. */
static enum uidpool_status refuse_attribute(const char *what, const char *name, const char *path,
                                            struct problem *p)
{
    return problem_set(p, UIDPOOL_NOT_PERMITTED,
                       "cannot %s " FILES_DIRECTORY "/%s: Operation not permitted; 'lsattr -d %s' "
                       "tells if that is immutable, and 'chattr -i %s' ends it",
                       what, name, path, path);
}

/* Either the kernel refused, or we do. */
static enum uidpool_status refuse_pwd_lock(struct problem *p)
{
    struct stat st;

    if (lstat(PWD_LOCK, &st) < 0)
        return refuse_attribute("make", ".pwd.lock", FILES_DIRECTORY, p);
    if (S_ISREG(st.st_mode) && st.st_uid == 0 && !(st.st_mode & (S_IWGRP | S_IWOTH)))
        return refuse_attribute("open", ".pwd.lock", PWD_LOCK, p);
    return problem_set(p, UIDPOOL_NOT_PERMITTED,
                       "cannot lock " PWD_LOCK ", which has to be a regular file of root's that "
                       "nobody else may write; look at it, and remove it");
}

static enum uidpool_status open_pwd_lock(int *ret, struct problem *p)
{
    int fd = lockfile_open(PWD_LOCK);

    if (fd == -EPERM)
        return refuse_pwd_lock(p);
    if (fd < 0)
        return problem_errno(p, fd, "cannot lock " PWD_LOCK);
    *ret = fd;
    return UIDPOOL_OK;
}

/*
 * The second family.
 */
static bool is_inode(int directory, const char *name, dev_t device, ino_t inode)
{
    struct stat st;

    return fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_dev == device &&
           st.st_ino == inode;
}

static void tell_of_dead_lock(struct leftovers *l, const char *name, const struct found_lock *found)
{
    if (found->pid == 0)
        leftovers_add(l, name, "a lock that holds no process's number");
    else if (found->fate == FATE_GONE)
        leftovers_add(l, name, "a lock of process %d, which is gone", (int)found->pid);
    else
        leftovers_add(l, name, "a lock of process %d, which is gone; the number is another's now",
                      (int)found->pid);
}

static int remove_dead_lock(struct account_lock *l, const char *name,
                            const struct found_lock *found)
{
    int r = leftovers_reserve(&l->leftovers);

    if (r < 0)
        return r;
    /* Others may find the same lock dead, and have theirs in its place by now. They are shadow's
     * tools with --prefix, and for those this is as narrow as they make it for each other; whoever
     * loses all the same sees it by the number of links. */
    if (!is_inode(l->directory, name, found->device, found->inode))
        return 0;
    if (unlinkat(l->directory, name, 0) < 0)
        return errno == ENOENT ? 0 : -errno;
    tell_of_dead_lock(&l->leftovers, name, found);
    return 0;
}

/* 0, -EAGAIN with `why`, or another negative errno. */
static int try_file_lock(struct account_lock *l, enum account_file file, char *why, size_t size)
{
    char name[32], holder[128];

    (void)lock_name(file, name);
    /* Again after whatever was in the way is gone; others may be as quick as we a few times. */
    for (unsigned i = 0; i < 10; i++) {
        struct found_lock found;
        int r;

        if (linkat(l->directory, l->file_name, l->directory, name, 0) == 0) {
            l->is_held[file] = true;
            return 0;
        }
        if (errno != EEXIST)
            return -errno;
        r = read_file_lock(l->directory, name, &found);
        if (r == 0 && found.fate == FATE_ALIVE) {
            snprintf(why, size, "%s holds " FILES_DIRECTORY "/%s",
                     process_text(found.pid, holder, sizeof(holder)), name);
            return -EAGAIN;
        }
        if (r == 0)
            r = remove_dead_lock(l, name, &found);
        if (r < 0 && r != -ENOENT)
            return r;
    }
    snprintf(why, size, "others keep taking " FILES_DIRECTORY "/%s", name);
    return -EAGAIN;
}

static void release_files(struct account_lock *l)
{
    struct stat st;
    char name[32];

    if (l->file < 0 || fstat(l->file, &st) < 0)
        return;
    for (size_t i = ACCOUNT_FILES; i > 0; i--) {
        enum account_file file = lock_order[i - 1];

        if (l->is_held[file] && is_inode(l->directory, lock_name(file, name), st.st_dev, st.st_ino))
            (void)unlinkat(l->directory, name, 0);
        l->is_held[file] = false;
    }
}

/* shadow's file for a pid. One for all six locks: each of them holds the same, and must hold it
 * after a loss of power too, so it is synced. */
static int make_file(struct account_lock *l)
{
    char pid[32];
    ssize_t n;
    int length;

    length = snprintf(pid, sizeof(pid), "%d", (int)getpid());
    snprintf(l->file_name, sizeof(l->file_name), "%s.%s", account_file_name(FILE_PASSWD), pid);
    /* Whoever had our number has not got it any longer. */
    if (unlinkat(l->directory, l->file_name, 0) < 0 && errno != ENOENT)
        return -errno;
    l->file = openat(l->directory, l->file_name,
                     O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC, 0600);
    if (l->file < 0)
        return -errno;
    n = write(l->file, pid, (size_t)length + 1);
    if (n < 0)
        return -errno;
    if (n != length + 1)
        return -ENOSPC;
    while (fdatasync(l->file) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

static void drop_file_name(struct account_lock *l)
{
    if (l->file >= 0 && l->file_name[0])
        (void)unlinkat(l->directory, l->file_name, 0);
    l->file_name[0] = '\0';
}

/* Shadow's last look: has somebody taken a lock of ours for a dead one's? */
static int check_links(const struct account_lock *l, char *why, size_t size)
{
    struct stat st;

    if (fstat(l->file, &st) < 0)
        return -errno;
    if (st.st_nlink == 1 + ACCOUNT_FILES)
        return 0;
    snprintf(why, size, "another program removed our locks in " FILES_DIRECTORY);
    return -EAGAIN;
}

/* All or none. *ret_name: which could not be taken. */
static int try_files(struct account_lock *l, char *why, size_t size, enum account_file *ret_file)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < ACCOUNT_FILES; i++) {
        *ret_file = lock_order[i];
        r = try_file_lock(l, lock_order[i], why, size);
    }
    if (r == 0)
        r = check_links(l, why, size);
    if (r < 0)
        release_files(l);
    return r;
}

static enum uidpool_status refuse_lock(int error, enum account_file file, struct problem *p)
{
    const char *path = account_file_path(file);

    if (error == -ELOOP || error == -EISDIR || error == -EINVAL)
        return problem_set(p, UIDPOOL_FAILED,
                           "cannot lock %s: %s.lock is no regular file; remove it", path, path);
    return problem_errno(p, error, "cannot lock %s with %s.lock", path, path);
}

static enum uidpool_status lock_files(struct account_lock *l, struct patience *w, struct problem *p)
{
    enum account_file file = FILE_PASSWD;
    char why[256] = "";
    int r;

    r = make_file(l);
    if (r == -EPERM)
        return refuse_attribute("make", l->file_name, FILES_DIRECTORY, p);
    if (r < 0)
        return problem_errno(p, r, "cannot lock the account files with " FILES_DIRECTORY "/%s",
                             l->file_name);
    while ((r = try_files(l, why, sizeof(why), &file)) == -EAGAIN)
        if (!wait_a_moment(l, w, why))
            return too_late(w, why, p);
    if (r < 0)
        return refuse_lock(r, file, p);
    drop_file_name(l);
    return UIDPOOL_OK;
}

/*
 * Both, and what the dead left.
 */
static enum uidpool_status new_lock(struct account_lock **ret, struct problem *p)
{
    _cleanup_(account_lock_freep) struct account_lock *l = calloc(1, sizeof(*l));

    if (!l)
        return problem_errno(p, -ENOMEM, "cannot lock the account files");
    l->pwd_lock = l->file = -1;
    l->directory = open(FILES_DIRECTORY, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (l->directory < 0)
        return problem_errno(p, -errno, "cannot open " FILES_DIRECTORY);
    *ret = take_ptr(l);
    return UIDPOOL_OK;
}

/* Ours are not asked for: no lock is another's where we hold them all. */
static bool nobody_locks(int directory, enum account_file file)
{
    (void)directory;
    (void)file;
    return false;
}

enum uidpool_status account_lock_take(uint32_t timeout,
                                      void (*progress)(const char *text, void *userdata),
                                      void *userdata, struct account_lock **ret, struct problem *p)
{
    _cleanup_(account_lock_freep) struct account_lock *l = NULL;
    struct patience w = patience_of(timeout, progress, userdata);
    enum uidpool_status status;

    status = new_lock(&l, p);
    if (status == UIDPOOL_OK)
        hold_signals(l);
    if (status == UIDPOOL_OK)
        status = open_pwd_lock(&l->pwd_lock, p);
    if (status == UIDPOOL_OK)
        status = lock_pwd(l, lockfile_try, &w, p);
    if (status == UIDPOOL_OK)
        status = lock_files(l, &w, p);
    if (status == UIDPOOL_OK)
        status = leftovers_sweep(&l->leftovers, l->directory, true, nobody_locks, p);
    if (status != UIDPOOL_OK)
        return status;
    leftovers_sort(&l->leftovers);
    *ret = take_ptr(l);
    return UIDPOOL_OK;
}

static bool somebody_locks(int directory, enum account_file file)
{
    struct found_lock found;
    char name[32];
    int r = read_file_lock(directory, lock_name(file, name), &found);

    return r < 0 ? r != -ENOENT : found.fate == FATE_ALIVE;
}

static enum uidpool_status list_dead_locks(struct account_lock *l, struct problem *p)
{
    for (enum account_file file = 0; file < ACCOUNT_FILES; file++) {
        struct found_lock found;
        char name[32];

        if (read_file_lock(l->directory, lock_name(file, name), &found) < 0 ||
            found.fate == FATE_ALIVE)
            continue;
        if (leftovers_reserve(&l->leftovers) < 0)
            return problem_errno(p, -ENOMEM, "cannot list what is left in " FILES_DIRECTORY);
        tell_of_dead_lock(&l->leftovers, name, &found);
    }
    return UIDPOOL_OK;
}

static bool has_no_pwd_lock(const struct account_lock *l)
{
    struct stat st;

    return fstatat(l->directory, ".pwd.lock", &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
}

/* Those that account_lock_take() would remove. Where there is no .pwd.lock nobody who takes it is
 * at work, as long as there is none. */
static enum uidpool_status list_leftovers(struct account_lock *l, struct problem *p)
{
    enum uidpool_status status = UIDPOOL_OK;

    if (l->pwd_lock < 0 && !has_no_pwd_lock(l))
        return UIDPOOL_OK;
    status = list_dead_locks(l, p);
    if (status == UIDPOOL_OK)
        status = leftovers_sweep(&l->leftovers, l->directory, false, somebody_locks, p);
    if (status == UIDPOOL_OK && l->pwd_lock < 0 && !has_no_pwd_lock(l))
        leftovers_clear(&l->leftovers);
    leftovers_sort(&l->leftovers);
    return status;
}

/* -1 where there is no lock file for us. */
static int open_pwd_lock_to_share(void)
{
    _cleanup_fd_ int fd = -1;
    struct stat st;

    fd = open(PWD_LOCK, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return -1;
    return take_fd(&fd);
}

enum uidpool_status account_lock_share(uint32_t timeout,
                                       void (*progress)(const char *text, void *userdata),
                                       void *userdata, struct account_lock **ret, struct problem *p)
{
    _cleanup_(account_lock_freep) struct account_lock *l = NULL;
    struct patience w = patience_of(timeout, progress, userdata);
    enum uidpool_status status;

    status = new_lock(&l, p);
    if (status != UIDPOOL_OK)
        return status;
    l->pwd_lock = open_pwd_lock_to_share();
    if (l->pwd_lock >= 0)
        status = lock_pwd(l, lockfile_try_shared, &w, p);
    if (status == UIDPOOL_OK)
        status = list_leftovers(l, p);
    if (status != UIDPOOL_OK)
        return status;
    *ret = take_ptr(l);
    return UIDPOOL_OK;
}

size_t account_lock_leftovers(const struct account_lock *l, const struct leftover **ret)
{
    *ret = l->leftovers.items;
    return l->leftovers.n;
}

void account_lock_free(struct account_lock *l)
{
    if (!l)
        return;
    release_files(l);
    drop_file_name(l);
    close_fd(l->file);
    close_fd(l->pwd_lock);
    close_fd(l->directory);
    leftovers_clear(&l->leftovers);
    let_signals_come(l);
    free(l);
}
