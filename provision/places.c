/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The walk over files. Directories that are still to be read are kept by name and opened from the
 * place again, so that one is open at a time however deep they are, and no entry is kept at all
 * however many a directory has. Reads directories, writes nothing.
 *
 * fts(3) would do it in fewer lines, but takes an error of readdir(3) for the end of a directory.
 */
#include "provision/places.h"

#include "common/cleanup.h"
#include "common/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* Entries between two looks at the clock. */
#define CLOCK_EVERY 1024

#define STATX_WANTED (STATX_TYPE | STATX_UID | STATX_GID)

struct walk {
    struct uid_range range;
    bool (*each)(const struct place_file *file, void *userdata);
    void (*progress)(const char *text, void *userdata);
    void *userdata;
    struct problem *problem;
    const char *place; /* without slashes at its end */
    int place_length;
    int fd;           /* of the place */
    char **waiting;   /* directories to be read, below the place: "" or "/a/b" */
    size_t n_waiting; /* the last one is the next */
    bool stopped;     /* `each` wants no more */
    uint64_t looked;
    int64_t told;
};

static void walk_clear(struct walk *w)
{
    while (w->n_waiting > 0)
        free(w->waiting[--w->n_waiting]);
    free(w->waiting);
    w->fd = close_fd(w->fd);
}

/* `name` is NULL for the directory itself. */
static enum uidpool_status could_not_look(struct walk *w, const char *below, const char *name,
                                          int error)
{
    return problem_set(w->problem, UIDPOOL_FAILED,
                       "cannot tell whether files carry the ids %" PRIu32 " to %" PRIu32
                       ": %.*s%s%s%s: %s; mend that, or leave the place out",
                       w->range.first, uid_range_last(w->range), w->place_length, w->place, below,
                       name || w->place_length + strlen(below) == 0 ? "/" : "", name ? name : "",
                       strerrordesc_np(error));
}

/* On the same mount and without following a link, as often as others change the way there. A
 * descriptor or a negative errno. */
static int open_below(int at, const char *path, int flags)
{
    struct open_how how = {
        .flags = (uint64_t)(flags | O_CLOEXEC),
        .resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    int fd = (int)syscall(SYS_openat2, at, path, &how, sizeof(how));

    return fd < 0 ? -errno : fd;
}

/* Read a directory without a mark on it, where the kernel lets us. */
static int open_directory(int at, const char *path)
{
    int flags = O_RDONLY | O_DIRECTORY | O_NONBLOCK;
    int fd = open_below(at, path, flags | O_NOATIME);

    return fd == -EPERM ? open_below(at, path, flags) : fd;
}

/* Asks without touching it: it may be somebody's FUSE file system, which refuses even root. */
static bool is_mount_point(int at, const char *name)
{
    _cleanup_fd_ int fd = open_below(at, name, O_PATH);

    return fd == -EXDEV;
}

/* Removed, or something else in its place. */
static bool is_gone(int error)
{
    return error == ENOENT || error == ENOTDIR || error == ELOOP;
}

static int wait_for(struct walk *w, const char *below, const char *name)
{
    /* Doubles at the powers of two. */
    if ((w->n_waiting & (w->n_waiting - 1)) == 0) {
        char **more = reallocarray(w->waiting, w->n_waiting ? 2 * w->n_waiting : 1, sizeof(*more));

        if (!more)
            return -ENOMEM;
        w->waiting = more;
    }
    if (asprintf(&w->waiting[w->n_waiting], "%s%s%s", below, name ? "/" : "", name ? name : "") < 0)
        return -ENOMEM;
    w->n_waiting++;
    return 0;
}

/* `stx` is NULL for a mount point. */
static void tell(struct walk *w, const char *below, const char *name, const struct statx *stx)
{
    struct place_file file = {.is_mount = !stx};
    _cleanup_free_ char *path = NULL;

    if (stx && !uid_range_has(w->range, stx->stx_uid) && !uid_range_has(w->range, stx->stx_gid))
        return;
    if (asprintf(&path, "%.*s%s%s%s", w->place_length, w->place, below, name ? "/" : "",
                 name ? name : "") < 0)
        path = NULL;
    /* It must be told of; where there is no memory, without its end. */
    file.path = path ? path : w->place;
    if (stx) {
        file.uid = stx->stx_uid;
        file.gid = stx->stx_gid;
    }
    w->stopped = !w->each(&file, w->userdata);
}

static void count_entry(struct walk *w)
{
    char text[256];

    if (++w->looked % CLOCK_EVERY != 0 || !w->progress ||
        clock_monotonic_usec() - w->told < USEC_PER_SEC)
        return;
    snprintf(text, sizeof(text),
             "looking for files with the ids from %" PRIu32 " on in %.*s: %" PRIu64 " so far",
             w->range.first, w->place_length, w->place, w->looked);
    w->progress(text, w->userdata);
    w->told = clock_monotonic_usec();
}

static enum uidpool_status look_at(struct walk *w, int at, const char *below, const char *name)
{
    struct statx stx;

    count_entry(w);
    /* DONT_SYNC: a file system of somebody's own making is not asked, so it cannot hang us. */
    if (statx(at, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC, STATX_WANTED,
              &stx) < 0) {
        int error = errno;

        if (error == ENOENT)
            return UIDPOOL_OK;
        if (!is_mount_point(at, name))
            return could_not_look(w, below, name, error);
        tell(w, below, name, NULL);
        return UIDPOOL_OK;
    }
    if (stx.stx_attributes & STATX_ATTR_MOUNT_ROOT) {
        tell(w, below, name, NULL);
        return UIDPOOL_OK;
    }
    tell(w, below, name, &stx);
    if (S_ISDIR(stx.stx_mode) && wait_for(w, below, name) < 0)
        return could_not_look(w, below, name, ENOMEM);
    return UIDPOOL_OK;
}

static enum uidpool_status read_directory(struct walk *w, const char *below)
{
    enum uidpool_status status = UIDPOOL_OK;
    _cleanup_dir_ DIR *dir = NULL;
    int fd = open_directory(w->fd, below[0] ? below + 1 : ".");

    /* EXDEV: mounted over since. */
    if (fd == -EXDEV)
        tell(w, below, NULL, NULL);
    if (fd == -EXDEV || is_gone(-fd))
        return UIDPOOL_OK;
    if (fd >= 0)
        dir = fdopendir(fd);
    if (!dir) {
        int error = fd < 0 ? -fd : errno;

        close_fd(fd);
        return could_not_look(w, below, NULL, error);
    }
    while (status == UIDPOOL_OK && !w->stopped) {
        struct dirent *entry;

        errno = 0;
        entry = readdir(dir);
        if (!entry && errno != 0 && errno != ENOENT)
            status = could_not_look(w, below, NULL, errno);
        if (!entry)
            break;
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            status = look_at(w, dirfd(dir), below, entry->d_name);
    }
    return status;
}

/* The place itself: its path is the administrator's word, so it must be there. */
static enum uidpool_status place_enter(struct walk *w, const char *place)
{
    struct statx stx;

    w->place = place;
    w->place_length = (int)strlen(place);
    while (w->place_length > 1 && place[w->place_length - 1] == '/')
        w->place_length--;
    w->fd = open(place, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (w->fd < 0)
        return could_not_look(w, "", NULL, errno);
    if (statx(w->fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_WANTED, &stx) < 0)
        return could_not_look(w, "", NULL, errno);
    tell(w, "", NULL, &stx);
    if (w->place_length == 1) /* "/" and "/etc", not "//etc" */
        w->place_length = 0;
    return wait_for(w, "", NULL) < 0 ? could_not_look(w, "", NULL, ENOMEM) : UIDPOOL_OK;
}

enum uidpool_status places_look(const char *const *places, struct uid_range range,
                                bool (*each)(const struct place_file *file, void *userdata),
                                void (*progress)(const char *text, void *userdata), void *userdata,
                                struct problem *p)
{
    enum uidpool_status status = UIDPOOL_OK;
    int64_t told = clock_monotonic_usec();
    bool stopped = false;

    for (; *places && status == UIDPOOL_OK && !stopped; places++) {
        _cleanup_(walk_clear) struct walk w = {
            .range = range,
            .each = each,
            .progress = progress,
            .userdata = userdata,
            .problem = p,
            .fd = -1,
            .told = told,
        };

        status = place_enter(&w, *places);
        while (status == UIDPOOL_OK && !w.stopped && w.n_waiting > 0) {
            _cleanup_free_ char *below = w.waiting[--w.n_waiting];

            status = read_directory(&w, below);
        }
        told = w.told;
        stopped = w.stopped;
    }
    return status;
}
