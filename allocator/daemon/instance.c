/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who serves a ledger. Touches LEDGER.daemon, and watches the ledger's directory. */
#include "allocator/daemon/instance.h"

#include "common/cleanup.h"
#include "common/lockfile.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

/* Which file a path leads to. */
struct identity {
    dev_t device;
    ino_t inode;
};

struct instance {
    char ledger[PATH_MAX], ledger_lock[PATH_MAX], own[PATH_MAX];
    int fd;                                /* of `own`, locked */
    struct identity opened, locked, owned; /* the ledger, its lock file, and `own` */
    sd_event_source *source;
    void (*replaced)(const char *path, void *userdata);
    void *userdata;
};

static int identify(const char *path, struct identity *ret)
{
    struct stat st;

    if (lstat(path, &st) < 0)
        return -errno;
    *ret = (struct identity){st.st_dev, st.st_ino};
    return 0;
}

static bool is_same(const char *path, const struct identity *was)
{
    struct identity now;

    return identify(path, &now) == 0 && now.device == was->device && now.inode == was->inode;
}

/* "4711 /run/uidpool/io.uidpool" of whoever has the lock; it may be writing it just now. */
static enum uidpool_status somebody_else(const struct instance *i, struct problem *p)
{
    char text[PATH_MAX + 32] = "";
    ssize_t n = pread(i->fd, text, sizeof(text) - 1, 0);
    char *line = text, *pid = strsep(&line, " \n"), *socket = strsep(&line, "\n");

    if (n <= 0 || !pid || !socket)
        return problem_set(p, UIDPOOL_CONFLICT,
                           "another uidpoold serves the ledger %s; stop that one first", i->ledger);
    return problem_set(
        p, UIDPOOL_CONFLICT,
        "another uidpoold serves the ledger %s: pid %s, at %s. Ask that one, or stop "
        "it first",
        i->ledger, pid, socket);
}

static int lock_in_time(int fd)
{
    int64_t end = clock_monotonic_usec() + INSTANCE_GRACE_USEC;
    int r;

    while ((r = lockfile_try(fd, 0, 1)) == -EAGAIN && clock_monotonic_usec() < end)
        clock_sleep(INSTANCE_LOOK_USEC);
    return r;
}

static enum uidpool_status take_lock(struct instance *i, const char *socket, struct problem *p)
{
    char text[PATH_MAX + 32];
    int n, r;

    i->fd = lockfile_open(i->own);
    if (i->fd == -EPERM)
        return problem_set(p, UIDPOOL_LEDGER,
                           "%s is a link, no file, or may be written by others; find out who made "
                           "it, and remove it; nothing was changed",
                           i->own);
    if (i->fd < 0)
        return problem_errno(p, i->fd, "cannot open %s", i->own);
    r = lock_in_time(i->fd);
    if (r == -EAGAIN)
        return somebody_else(i, p);
    if (r == 0)
        r = identify(i->own, &i->owned);
    if (r < 0)
        return problem_errno(p, r, "cannot lock %s", i->own);
    n = snprintf(text, sizeof(text), "%d %s\n", (int)getpid(), socket);
    /* It is for a message: a full disk is no reason not to serve. Ignoring. */
    if (ftruncate(i->fd, 0) < 0 || pwrite(i->fd, text, (size_t)n, 0) < 0)
        errno = 0;
    return UIDPOOL_OK;
}

static int name_files(struct instance *i, const char *ledger)
{
    if (snprintf(i->ledger, sizeof(i->ledger), "%s", ledger) >= PATH_MAX ||
        snprintf(i->ledger_lock, sizeof(i->ledger_lock), "%s.lock", ledger) >= PATH_MAX ||
        snprintf(i->own, sizeof(i->own), "%s.daemon", ledger) >= PATH_MAX)
        return -ENAMETOOLONG;
    return 0;
}

enum uidpool_status instance_new(const char *ledger, const char *socket, struct instance **ret,
                                 struct problem *p)
{
    struct instance *i = calloc(1, sizeof(*i));
    enum uidpool_status status;
    int r;

    if (!i)
        return problem_errno(p, -ENOMEM, "cannot lock the ledger %s", ledger);
    i->fd = -1;
    r = name_files(i, ledger);
    if (r == 0)
        r = identify(i->ledger, &i->opened);
    if (r == 0)
        r = identify(i->ledger_lock, &i->locked);
    status = r < 0 ? problem_errno(p, r, "cannot look at the ledger %s", ledger)
                   : take_lock(i, socket, p);
    if (status == UIDPOOL_OK)
        *ret = i;
    else
        instance_free(i);
    return status;
}

void instance_free(struct instance *i)
{
    if (!i)
        return;
    sd_event_source_disable_unref(i->source);
    close_fd(i->fd);
    free(i);
}

/* NULL: all are what was opened. */
static const char *find_replaced(const struct instance *i)
{
    if (!is_same(i->ledger, &i->opened))
        return i->ledger;
    if (!is_same(i->ledger_lock, &i->locked))
        return i->ledger_lock;
    return is_same(i->own, &i->owned) ? NULL : i->own;
}

static int on_directory(sd_event_source *source, const struct inotify_event *event, void *userdata)
{
    struct instance *i = userdata;
    const char *path = find_replaced(i);

    (void)source;
    (void)event;
    if (!path)
        return 0;
    (void)sd_event_source_set_enabled(i->source, SD_EVENT_OFF);
    i->replaced(path, i->userdata);
    return 0;
}

int instance_watch(struct instance *i, sd_event *event,
                   void (*replaced)(const char *path, void *userdata), void *userdata)
{
    char copy[PATH_MAX];
    int r;

    i->replaced = replaced;
    i->userdata = userdata;
    memcpy(copy, i->ledger, sizeof(copy));
    r = sd_event_add_inotify(event, &i->source, dirname(copy),
                             IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF |
                                 IN_MOVE_SELF | IN_ONLYDIR,
                             on_directory, i);
    return r < 0 ? r : 0;
}
