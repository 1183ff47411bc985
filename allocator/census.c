/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The census, this side of the helper: starting it, asking it and understanding what it says. The
 * helper itself, uidpool-census, is allocator/helpers/census.c.
 */
#include "allocator/census.h"

#include "build_config.h"
#include "common/cleanup.h"
#include "common/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define HELPER_PATH UIDPOOL_HELPER_DIR "/uidpool-census"

/* What the helper says. Everything else is UNKNOWN. */
#define SAYS_EMPTY 0
#define SAYS_BUSY 1

/* Milliseconds that the helper may take to notice that nobody will ask again. */
#define END_PATIENCE_MSEC 500
/* Bytes of questions that wait for the helper; the kernel cuts it to what is allowed, which is some
 * 500 questions. A daemon asks 300 at most: of its leases, its revocations and their reapers. */
#define ROOM (1 << 20)

struct census {
    int pidfd; /* -1: not started */
    int socket;
};

struct census *census_new(void)
{
    struct census *c = malloc(sizeof(*c));

    if (c)
        *c = (struct census){.pidfd = -1, .socket = -1};
    return c;
}

/* It goes when the socket ends; killed where a child that the caller forked keeps our end open. It
 * leaves nothing behind, for those who ask are processes of their own. */
static void helper_end(struct census *c)
{
    c->socket = close_fd(c->socket);
    if (c->pidfd >= 0)
        (void)spawn_wait(c->pidfd, END_PATIENCE_MSEC);
    c->pidfd = close_fd(c->pidfd);
}

void census_free(struct census *c)
{
    if (!c)
        return;
    helper_end(c);
    free(c);
}

void census_give_up(struct census *c)
{
    if (c->pidfd >= 0)
        (void)spawn_kill(c->pidfd);
    helper_end(c);
}

static int helper_start(struct census *c)
{
    static const int room = ROOM;
    char *argv[] = {(char[]){"uidpool-census"}, (char[]){"serve"}, NULL};
    _cleanup_fd_ int ours = -1, its = -1;
    int fds[2], pidfd;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        return -errno;
    ours = fds[0];
    its = fds[1];
    /* With less it is given up sooner: ignoring. */
    if (setsockopt(ours, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)) < 0)
        errno = 0;
    pidfd = spawn_helper(HELPER_PATH, argv, &its, 1);
    if (pidfd < 0)
        return pidfd;
    c->pidfd = pidfd;
    c->socket = take_fd(&ours);
    return 0;
}

/* The claims come first, where to answer last. */
struct question {
    char text[64];
    int fds[CENSUS_CLAIMS_MAX + 1];
    size_t n_fds;
};

static int send_question(int to, const struct question *q)
{
    size_t size = q->n_fds * sizeof(*q->fds);
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(q->fds))];
    } control = {0};
    struct iovec data = {(char *)q->text, strlen(q->text)};
    struct msghdr message = {
        .msg_iov = &data,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = CMSG_SPACE(size),
    };
    ssize_t n;

    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(&control.header), q->fds, size);
    do
        n = sendmsg(to, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

/* To the helper that runs, or to a new one where none does, or where that one was killed. There is
 * room for more questions than are ever asked at once, so one that takes none is stuck. */
static int ask(struct census *c, struct uid_range range, const char *what, const int *claim_fds,
               size_t n_claims)
{
    _cleanup_fd_ int ours = -1, its = -1;
    struct question q = {.n_fds = n_claims + 1};
    int fds[2], r;

    if (n_claims == 0 || n_claims > CENSUS_CLAIMS_MAX)
        return -EINVAL;
    (void)snprintf(q.text, sizeof(q.text), "%u+%u %s", range.first, range.count, what);
    memcpy(q.fds, claim_fds, n_claims * sizeof(*claim_fds));
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    ours = fds[0];
    q.fds[n_claims] = its = fds[1];
    r = c->pidfd >= 0 ? send_question(c->socket, &q) : -EPIPE;
    if (r == -EPIPE || r == -ECONNRESET || r == -EAGAIN) {
        census_give_up(c);
        r = helper_start(c);
        if (r == 0)
            r = send_question(c->socket, &q);
    }
    return r < 0 ? r : take_fd(&ours);
}

int census_start_shared(struct census *c, struct uid_range range, uint32_t zombies,
                        const int *claim_fds, size_t n_claims)
{
    char what[16];

    (void)snprintf(what, sizeof(what), "%u", zombies);
    return ask(c, range, what, claim_fds, n_claims);
}

int census_start(struct census *c, struct uid_range range, uint32_t zombies, int claim_fd)
{
    return census_start_shared(c, range, zombies, &claim_fd, 1);
}

int census_tally_start(struct census *c, struct uid_range range, int claim_fd)
{
    return ask(c, range, "tally", &claim_fd, 1);
}

/* The byte, or a negative errno; -ECHILD: whoever asked ended without a word. */
static int read_answer(int fd)
{
    unsigned char byte;
    ssize_t n;

    do
        n = read(fd, &byte, sizeof(byte));
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    return n == 0 ? -ECHILD : byte;
}

int census_tally_finish(int fd)
{
    int r = read_answer(fd);

    return r > CENSUS_TALLY_MAX ? -EIO : r;
}

int census_tallies_start(struct census *c, struct uid_range range, const int *claim_fds,
                         size_t n_claims)
{
    if (range.count > CENSUS_TALLIES_MAX)
        return -E2BIG;
    return ask(c, range, "tallies", claim_fds, n_claims);
}

int census_tallies_finish(int fd, uint32_t count, uint8_t *ret)
{
    uint8_t counts[CENSUS_TALLIES_MAX];
    ssize_t n;

    if (count > sizeof(counts))
        return -E2BIG;
    do
        n = read(fd, counts, sizeof(counts));
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    if (n != (ssize_t)count)
        return -EIO;
    for (uint32_t i = 0; i < count; i++)
        ret[i] = counts[i] > CENSUS_TALLY_MAX ? 0 : counts[i];
    return 0;
}

enum witness census_finish(int fd)
{
    switch (read_answer(fd)) {
    case SAYS_EMPTY:
        return WITNESS_EMPTY;
    case SAYS_BUSY:
        return WITNESS_BUSY;
    default:
        return WITNESS_UNKNOWN;
    }
}

enum witness census_finish_late(struct census *c, int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    if (fd >= 0 && poll(&p, 1, 0) == 0)
        census_give_up(c);
    return census_finish(fd);
}

enum witness census_ask(struct census *c, struct uid_range range, uint32_t zombies, int claim_fd)
{
    _cleanup_fd_ int fd = census_start(c, range, zombies, claim_fd);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int n;

    if (fd < 0)
        return WITNESS_UNKNOWN;
    /* Without end: the helper has its own patience, and nobody but root can stop it. */
    do
        n = poll(&p, 1, -1);
    while (n < 0 && errno == EINTR);
    return n == 1 ? census_finish(fd) : WITNESS_UNKNOWN;
}
