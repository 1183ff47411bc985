/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Listening sockets. Touches what was passed, the variables that say so, and, for a socket of our
 * own, its directory: DIR, DIR/NAME and the lock DIR/.NAME.lock.
 *
 * MUST: no descriptor is used before it was seen to be a listening Unix stream socket; nothing is
 * removed that somebody answers on; nobody can connect before mode and owner are right; a path is
 * never cut.
 */
#include "allocator/daemon/activation.h"

#include "allocator/daemon/instance.h"
#include "common/cleanup.h"
#include "common/ids.h"
#include "common/lockfile.h"
#include "common/pathsafe.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#define SOCKET_NAME "io.uidpool"
/* How many may wait to be accepted; the kernel's own limit may be lower (net.core.somaxconn). */
#define BACKLOG 1024

/*
 * What was passed.
 */

/* 0 or a negative errno: a descriptor that is safe to give to the server. */
static int check_listening(int fd)
{
    int r = sd_is_socket(fd, AF_UNIX, SOCK_STREAM, 1);
    int flags;

    if (r <= 0)
        return r < 0 ? r : -ENOTSOCK;
    flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;
    return 0;
}

/* Is it bound to DIR/io.uidpool? */
static bool is_bound_to(int fd, const char *dir)
{
    struct sockaddr_un address = {.sun_family = AF_UNSPEC};
    socklen_t length = sizeof(address);
    char path[PATH_MAX];

    if (getsockname(fd, (struct sockaddr *)&address, &length) < 0 ||
        length <= offsetof(struct sockaddr_un, sun_path) || length > sizeof(address))
        return false;
    length -= offsetof(struct sockaddr_un, sun_path);
    (void)snprintf(path, sizeof(path), "%s/" SOCKET_NAME, dir);
    /* The kernel's copy may lack the NUL. */
    return strnlen(address.sun_path, length) == strlen(path) &&
           memcmp(address.sun_path, path, strlen(path)) == 0;
}

/* One descriptor into its place. `name` may be NULL. */
static enum uidpool_status take_one(int fd, const char *name, const char *runtime_dir,
                                    const char *userdb_dir, struct activation *a, struct problem *p)
{
    int r = check_listening(fd);
    int *place = NULL;

    if (r < 0)
        return problem_set(p, UIDPOOL_FAILED,
                           "descriptor %d, which was passed, is no listening Unix stream socket",
                           fd);
    if (name && strcmp(name, "varlink") == 0)
        place = &a->varlink;
    else if (name && strcmp(name, "userdb") == 0)
        place = &a->userdb;
    else if (is_bound_to(fd, runtime_dir))
        place = &a->varlink;
    else if (is_bound_to(fd, userdb_dir))
        place = &a->userdb;
    if (!place)
        return problem_set(p, UIDPOOL_FAILED,
                           "socket %d (%s), which was passed, is neither %s/" SOCKET_NAME
                           " nor %s/" SOCKET_NAME
                           ", nor is it named varlink or userdb (FileDescriptorName=)",
                           fd, name ? name : "no name", runtime_dir, userdb_dir);
    if (*place >= 0)
        return problem_set(p, UIDPOOL_FAILED, "two sockets were passed for %s/" SOCKET_NAME,
                           place == &a->varlink ? runtime_dir : userdb_dir);
    *place = fd;
    return UIDPOOL_OK;
}

static void free_names(char ***names)
{
    for (char **name = *names; name && *name; name++)
        free(*name);
    free(*names);
}

/* systemd, and whoever does as it does. LISTEN_PID keeps what was passed to a parent of ours from
 * being taken for ours. */
static enum uidpool_status take_listen_fds(const char *runtime_dir, const char *userdb_dir,
                                           struct activation *a, struct problem *p)
{
    _cleanup_(free_names) char **names = NULL;
    int n = sd_listen_fds_with_names(1, &names);
    enum uidpool_status status = UIDPOOL_OK;

    if (n < 0)
        return problem_errno(p, n, "LISTEN_FDS is not as sd_listen_fds(3) has it");
    for (int i = 0; i < n && status == UIDPOOL_OK; i++)
        status = take_one(SD_LISTEN_FDS_START + i, names ? names[i] : NULL, runtime_dir, userdb_dir,
                          a, p);
    return status;
}

/* Is `word` one of the words of `list`? */
static bool has_word(const char *list, const char *word)
{
    size_t length = strlen(word);

    for (const char *at = list; *at; at += strspn(at, " ")) {
        size_t n = strcspn(at, " ");

        if (n == length && memcmp(at, word, n) == 0)
            return true;
        at += n;
    }
    return false;
}

/* upstart(7), socket-event(7): the number of one socket, if the job was started by "socket". */
static enum uidpool_status take_upstart_fds(const char *runtime_dir, const char *userdb_dir,
                                            struct activation *a, struct problem *p)
{
    const char *fds = getenv("UPSTART_FDS"), *events = getenv("UPSTART_EVENTS");
    uint64_t fd;

    if (!fds || !events || !has_word(events, "socket"))
        return UIDPOOL_OK;
    if (parse_u64(fds, INT_MAX, &fd) < 0)
        return problem_set(p, UIDPOOL_FAILED, "UPSTART_FDS='%.80s' is no number of a descriptor",
                           fds);
    return take_one((int)fd, NULL, runtime_dir, userdb_dir, a, p);
}

enum uidpool_status activation_take(const char *runtime_dir, const char *userdb_dir,
                                    struct activation *ret, struct problem *p)
{
    struct activation a = {-1, -1};
    enum uidpool_status status = take_listen_fds(runtime_dir, userdb_dir, &a, p);

    if (status == UIDPOOL_OK)
        status = take_upstart_fds(runtime_dir, userdb_dir, &a, p);
    if (unsetenv("UPSTART_FDS") < 0 || unsetenv("UPSTART_EVENTS") < 0)
        errno = 0; /* cannot fail for such names */
    if (status == UIDPOOL_OK)
        *ret = a;
    return status;
}

/*
 * Sockets of our own.
 */

struct place {
    const char *dir;
    struct sockaddr_un address; /* DIR/NAME */
    char lock[PATH_MAX];        /* DIR/.NAME.lock */
};

static enum uidpool_status name_place(const char *dir, const char *name, struct place *ret,
                                      struct problem *p)
{
    struct place place = {.dir = dir, .address = {.sun_family = AF_UNIX}};
    size_t size = sizeof(place.address.sun_path);

    if ((size_t)snprintf(place.address.sun_path, size, "%s/%s", dir, name) >= size ||
        (size_t)snprintf(place.lock, sizeof(place.lock), "%s/.%s.lock", dir, name) >=
            sizeof(place.lock))
        return problem_set(p, UIDPOOL_FAILED,
                           "%s/%s: a socket's path has at most %zu bytes; use a shorter directory",
                           dir, name, size - 1);
    *ret = place;
    return UIDPOOL_OK;
}

/* The directory is there afterwards, and nobody but root and us can put anything into it. */
static enum uidpool_status prepare_directory(const struct place *place, struct problem *p)
{
    char why[512] = "";
    int r = path_check_safe(place->lock, NULL, why, sizeof(why));

    if (r == -ENOENT) {
        /* Whatever the umask is: who may connect is the socket's own mode to say. */
        if (mkdir(place->dir, 0755) < 0 ? errno != EEXIST : chmod(place->dir, 0755) < 0)
            return problem_errno(p, -errno, "cannot make the directory %s", place->dir);
        r = path_check_safe(place->lock, NULL, why, sizeof(why));
    }
    if (r == -EPERM)
        return problem_set(p, UIDPOOL_FAILED, "%s is no safe place for a socket: %s", place->dir,
                           why);
    if (r < 0)
        return problem_errno(p, r, "cannot look at %s", place->dir);
    return UIDPOOL_OK;
}

/* 1: somebody answers there; 0: nobody; or a negative errno. *ret_peer is the connection then, or
 * -1 if their queue is full. */
static int reach(const struct sockaddr_un *address, int *ret_peer)
{
    _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0) {
        *ret_peer = take_fd(&fd);
        return 1;
    }
    /* EAGAIN: it is alive, and its queue is full. EPROTOTYPE: it is of another type. */
    if (errno == EAGAIN || errno == EINPROGRESS || errno == EPROTOTYPE) {
        *ret_peer = -1;
        return 1;
    }
    return errno == ECONNREFUSED || errno == ENOENT ? 0 : -errno;
}

/* What a daemon that was killed has left. *ret_alive: it is a socket, and somebody answers. */
static enum uidpool_status remove_stale(const struct sockaddr_un *address, bool *ret_alive,
                                        int *ret_peer, struct problem *p)
{
    const char *path = address->sun_path;
    struct stat st;
    int r;

    if (lstat(path, &st) < 0)
        return errno == ENOENT ? UIDPOOL_OK : problem_errno(p, -errno, "cannot look at %s", path);
    if (!S_ISSOCK(st.st_mode))
        return problem_set(p, UIDPOOL_CONFLICT, "%s is there and is no socket%s; remove it", path,
                           S_ISLNK(st.st_mode) ? " but a symbolic link" : "");
    r = reach(address, ret_peer);
    if (r < 0)
        return problem_errno(p, r, "cannot find out whether somebody listens on %s", path);
    *ret_alive = r > 0;
    if (r > 0)
        return problem_set(p, UIDPOOL_CONFLICT,
                           "somebody listens on %s already; stop that service, or give this one "
                           "another directory",
                           path);
    if (unlink(path) < 0 && errno != ENOENT)
        return problem_errno(p, -errno, "cannot remove the dead socket %s", path);
    return UIDPOOL_OK;
}

/* Between bind(2) and listen(2) nobody can connect: that is when the mode is set. */
static enum uidpool_status bind_and_listen(const struct sockaddr_un *address, mode_t mode, int *ret,
                                           struct problem *p)
{
    _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const char *path = address->sun_path;

    if (fd < 0)
        return problem_errno(p, -errno, "cannot make a socket");
    if (bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
        return problem_errno(p, -errno, "cannot make the socket %s", path);
    /* Of the path, as a socket's own descriptor says nothing of its file; nobody else can put
     * another one there. */
    if (lchown(path, geteuid(), getegid()) < 0 || chmod(path, mode) < 0 ||
        listen(fd, BACKLOG) < 0) {
        int error = -errno;

        (void)unlink(path);
        return problem_errno(p, error, "cannot listen on %s", path);
    }
    *ret = take_fd(&fd);
    return UIDPOOL_OK;
}

/* Two that start together would both find it dead, and the second would remove the first one's. So
 * the lock is held until it listens, by root alone, and never for long. */
static enum uidpool_status try_to_listen(const struct place *place, mode_t mode, bool *ret_alive,
                                         int *ret_peer, int *ret, struct problem *p)
{
    _cleanup_fd_ int lock = lockfile_open(place->lock);
    enum uidpool_status status;
    int r = lock < 0 ? lock : lockfile_wait(lock, 0, 1);

    if (r < 0)
        return problem_errno(p, r, "cannot lock %s", place->lock);
    status = remove_stale(&place->address, ret_alive, ret_peer, p);
    return status == UIDPOOL_OK ? bind_and_listen(&place->address, mode, ret, p) : status;
}

/* It may be one that dies just now (instance.h): then the connection breaks, which is seen without
 * asking again and again. Closes it. False: it is old enough to be believed. */
static bool may_die(int peer, int64_t end)
{
    struct pollfd poller = {.fd = peer, .events = POLLRDHUP};
    int64_t left = end - clock_monotonic_usec();

    if (left <= 0) {
        close_fd(peer);
        return false;
    }
    if (peer < 0)
        clock_sleep(INSTANCE_LOOK_USEC);
    else if (poll(&poller, 1, (int)(left / USEC_PER_MSEC) + 1) > 0)
        /* Or it does not want us, and lives. */
        clock_sleep(INSTANCE_LOOK_USEC);
    close_fd(peer);
    return true;
}

enum uidpool_status activation_listen(const char *dir, const char *name, mode_t mode, int *ret,
                                      struct problem *p)
{
    int64_t end = clock_monotonic_usec() + INSTANCE_GRACE_USEC;
    struct place place;
    enum uidpool_status status = name_place(dir, name, &place, p);
    bool alive = true;

    if (status == UIDPOOL_OK)
        status = prepare_directory(&place, p);
    if (status != UIDPOOL_OK)
        return status;
    while (alive) {
        int peer = -1;

        alive = false;
        status = try_to_listen(&place, mode, &alive, &peer, ret, p);
        alive = alive && may_die(peer, end);
    }
    return status;
}

void activation_remove(const char *dir, const char *name)
{
    struct place place;

    /* What stays is dead, and the next one removes it: ignoring. */
    if (name_place(dir, name, &place, NULL) == UIDPOOL_OK && unlink(place.address.sun_path) < 0)
        errno = 0;
}
