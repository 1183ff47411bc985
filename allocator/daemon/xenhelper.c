/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The life of uidpool-xenwatch, seen from the daemon. Touches its own child and the socket to it,
 * and never waits for either. */
#include "allocator/daemon/xenhelper.h"

#include "allocator/daemon/journal.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* Microseconds to the next start; doubles up to the last, and begins anew when a whole scan came
 * out of one. */
#define START_FIRST (100 * USEC_PER_MSEC)
#define START_LAST (30 * USEC_PER_SEC)
/* Messages taken before the loop is asked for other work. */
#define MESSAGES_AT_ONCE 256
/* Milliseconds to notice that we have gone; one that hangs is killed. */
#define END_PATIENCE_MSEC 100

struct xenhelper {
    sd_event *event;
    const char *path, *socket;
    const struct xenhelper_calls *calls;
    void *userdata;
    int pidfd, fd; /* -1: none runs; it does not listen any more */
    int64_t backoff;
    int told; /* the reason why it could not be started, negative; 0: none was told */
    sd_event_source *end, *messages;
    sd_event_source *timer; /* to the next start, or to the end of our patience */
};

static void schedule(struct xenhelper *h, int64_t usec)
{
    int r = sd_event_source_set_time(h->timer, (uint64_t)(clock_monotonic_usec() + usec));

    if (r >= 0)
        r = sd_event_source_set_enabled(h->timer, SD_EVENT_ONESHOT);
    if (r < 0)
        journal_say(LOG_ERR, "no timer, so xenstore is not followed any more: %s", strerror(-r));
}

/* Hear no more of it, and have it end. Its pidfd tells when it has. */
static void give_up(struct xenhelper *h)
{
    h->messages = sd_event_source_disable_unref(h->messages);
    h->fd = close_fd(h->fd);
    (void)sd_event_source_set_enabled(h->timer, SD_EVENT_OFF);
    if (h->pidfd >= 0)
        (void)spawn_kill(h->pidfd);
}

static int on_end(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    struct xenhelper *h = userdata;
    int status = spawn_reap(fd);

    (void)source;
    (void)events;
    if (status == -EAGAIN)
        return 0;
    give_up(h);
    h->end = sd_event_source_disable_unref(h->end);
    h->pidfd = close_fd(h->pidfd);
    journal_say(LOG_WARNING,
                "uidpool-xenwatch, which asks xenstore, %s; it is started again in %.1f s",
                status < 0 ? "was killed" : "has ended", (double)h->backoff / USEC_PER_SEC);
    schedule(h, h->backoff);
    h->backoff = h->backoff * 2 > START_LAST ? START_LAST : h->backoff * 2;
    h->calls->ended(h->userdata);
    return 0;
}

static int on_message(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    struct xenhelper *h = userdata;

    (void)source;
    (void)events;
    for (int i = 0; i < MESSAGES_AT_ONCE && h->fd == fd; i++) {
        struct xenwatch_message m;
        int r = xenwatch_receive(fd, &m, NULL);

        if (r == -EAGAIN)
            break;
        if (r < 0) {
            if (r != -EPIPE && r != -ECONNRESET)
                journal_say(LOG_ERR, "uidpool-xenwatch said what it never says: %s", strerror(-r));
            give_up(h);
            return 0;
        }
        schedule(h, XENWATCH_PATIENCE_SEC * USEC_PER_SEC);
        if (m.kind == XENWATCH_END)
            h->backoff = START_FIRST;
        h->calls->said(&m, h->userdata);
    }
    return 0;
}

static int make_pair(int *ret_ours, int *ret_its)
{
    _cleanup_fd_ int ours = -1, its = -1;
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        return -errno;
    ours = fds[0];
    its = fds[1];
    if (fcntl(ours, F_SETFL, O_NONBLOCK) < 0)
        return -errno;
    *ret_ours = take_fd(&ours);
    *ret_its = take_fd(&its);
    return 0;
}

static int start(struct xenhelper *h)
{
    char *argv[] = {(char[]){"uidpool-xenwatch"}, (char *)h->socket, NULL};
    _cleanup_fd_ int ours = -1, its = -1;
    int r = make_pair(&ours, &its);

    if (r < 0)
        return r;
    h->pidfd = spawn_helper(h->path, argv, &its, 1);
    if (h->pidfd < 0)
        return h->pidfd;
    h->fd = take_fd(&ours);
    r = sd_event_add_io(h->event, &h->end, h->pidfd, EPOLLIN, on_end, h);
    if (r >= 0)
        r = sd_event_add_io(h->event, &h->messages, h->fd, EPOLLIN, on_message, h);
    return r < 0 ? r : 0;
}

static void try_start(struct xenhelper *h)
{
    int r = start(h);

    if (r == 0) {
        h->told = 0;
        schedule(h, XENWATCH_PATIENCE_SEC * USEC_PER_SEC);
        h->calls->began(h->userdata);
        return;
    }
    if (h->told != r)
        journal_say(LOG_ERR,
                    "cannot start %s: %s; xenstore is not followed, and no lease of a domid is "
                    "revoked unless somebody asks. Trying on",
                    h->path, strerror(-r));
    h->told = r;
    h->messages = sd_event_source_disable_unref(h->messages);
    h->end = sd_event_source_disable_unref(h->end);
    h->fd = close_fd(h->fd);
    if (h->pidfd >= 0)
        (void)spawn_wait(h->pidfd, 0);
    h->pidfd = close_fd(h->pidfd);
    schedule(h, h->backoff);
    h->backoff = h->backoff * 2 > START_LAST ? START_LAST : h->backoff * 2;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct xenhelper *h = userdata;

    (void)source;
    (void)usec;
    if (h->pidfd < 0) {
        try_start(h);
        return 0;
    }
    journal_say(LOG_WARNING,
                "uidpool-xenwatch has shown no sign of life for %d s: xenstore does not answer. "
                "Ending it, to try anew",
                XENWATCH_PATIENCE_SEC);
    give_up(h);
    return 0;
}

int xenhelper_new(sd_event *event, const char *path, const char *socket,
                  const struct xenhelper_calls *calls, void *userdata, struct xenhelper **ret)
{
    struct xenhelper *h = malloc(sizeof(*h));
    int r;

    if (!h)
        return -ENOMEM;
    *h = (struct xenhelper){.event = sd_event_ref(event),
                            .path = path,
                            .socket = socket,
                            .calls = calls,
                            .userdata = userdata,
                            .pidfd = -1,
                            .fd = -1,
                            .backoff = START_FIRST};
    r = sd_event_add_time(event, &h->timer, CLOCK_MONOTONIC, 0, 1, on_timer, h);
    /* Behind the messages: after a long pause of ours they come first, and show that it lives. */
    if (r >= 0)
        r = sd_event_source_set_priority(h->timer, SD_EVENT_PRIORITY_NORMAL + 1);
    if (r < 0) {
        xenhelper_free(h);
        return r;
    }
    *ret = h;
    return 0;
}

void xenhelper_free(struct xenhelper *h)
{
    if (!h)
        return;
    sd_event_source_disable_unref(h->messages);
    sd_event_source_disable_unref(h->end);
    sd_event_source_disable_unref(h->timer);
    h->fd = close_fd(h->fd);
    if (h->pidfd >= 0)
        (void)spawn_wait(h->pidfd, END_PATIENCE_MSEC);
    h->pidfd = close_fd(h->pidfd);
    sd_event_unref(h->event);
    free(h);
}

int xenhelper_send(struct xenhelper *h, const struct xenwatch_message *m, int fd)
{
    return h->fd < 0 ? -ENOTCONN : xenwatch_send(h->fd, m, fd);
}
