/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The server's life, and who comes in. A crowd at the door does no harm: so many are let in at a
 * time, everybody beyond the limits is told so and closed, and when the process or the host is out
 * of descriptors one that was kept back serves to refuse with.
 */
#include "allocator/daemon/server.h"

#include "allocator/daemon/connection.h"
#include "allocator/daemon/journal.h"
#include "common/cleanup.h"
#include "common/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

/* Peers that are let in before others have their turn. */
#define ACCEPTS_AT_ONCE 32
/* How long the door stays closed when not even a refusal is possible. */
#define PAUSE_USEC (USEC_PER_SEC / 2)

/* Between two lines in the journal about refusals. */
#define TELLING_USEC (60 * USEC_PER_SEC)

/* Behind whatever else the loop has to do, but for what it does when it is idle: a deferred event
 * is older than all others, so that among its equals those who always want something would keep the
 * loop from the rest: connections, helpers that have ended, leases and commits. */
#define TURN_PRIORITY (SD_EVENT_PRIORITY_NORMAL + 50)

struct listener {
    struct server *server;
    struct listener *next;
    int fd;
    sd_event_source *io;
};

const struct server_limits server_limits_default = {
    .connections = 1024,
    .connections_each = 128,
    .calls_each = 128,
    .message = 64 * 1024,
    .output = 64 * 1024,
    .receive_sec = 10,
    .send_sec = 30,
};

static int open_spare(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Whoever may change nothing: one connection, then everything else again. */
static void on_turn(void *userdata)
{
    struct server *s = userdata;
    struct turn *turn = turns_take(&s->turns);

    if (turn)
        connection_work(
            (struct connection *)(void *)((char *)turn - offsetof(struct connection, turn)));
    if (!turns_is_empty(&s->turns))
        deferred_wake(&s->turn);
}

static int on_pause_over(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct server *s = userdata;

    (void)source;
    (void)usec;
    for (struct listener *l = s->listeners; l && !s->draining; l = l->next)
        (void)sd_event_source_set_enabled(l->io, SD_EVENT_ON);
    return 0;
}

/* All that takes a descriptor or memory is had before it is needed. */
static int add_sources(struct server *s)
{
    int r = deferred_init(&s->turn, s->event, TURN_PRIORITY, on_turn, s);

    if (r >= 0)
        r = sd_event_add_time(s->event, &s->pause, CLOCK_MONOTONIC, 0, 0, on_pause_over, s);
    if (r >= 0)
        r = sd_event_source_set_enabled(s->pause, SD_EVENT_OFF);
    return r;
}

static unsigned long descriptors(void)
{
    struct rlimit limit;

    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 1024;
}

static int set_interfaces(struct server *s, const struct interface *const *interfaces, size_t n)
{
    s->interfaces = calloc(n + 1, sizeof(s->interfaces[0]));
    if (!s->interfaces)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        s->interfaces[i] = interfaces[i];
    s->service = service_interface(s);
    s->interfaces[n] = &s->service;
    s->n_interfaces = n + 1;
    return 0;
}

int server_new(sd_event *event, const struct policy *policy, const struct server_limits *limits,
               const struct interface *const *interfaces, size_t n_interfaces, struct server **ret)
{
    _cleanup_(server_freep) struct server *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return -ENOMEM;
    *s = (struct server){.event = sd_event_ref(event), .policy = policy, .limits = *limits};
    s->refusals.event = event;
    s->spare = open_spare();
    if (s->spare < 0)
        return -errno;
    /* While there are descriptors to read /dev/urandom with. */
    json_object_seed(0);
    quota_init(&s->quota, limits, descriptors());
    r = set_interfaces(s, interfaces, n_interfaces);
    if (r == 0)
        r = add_sources(s);
    if (r < 0)
        return r;
    *ret = take_ptr(s);
    return 0;
}

static void listener_free(struct listener *l)
{
    sd_event_source_disable_unref(l->io);
    close_fd(l->fd);
    free(l);
}

void server_free(struct server *s)
{
    if (!s)
        return;
    while (s->listeners) {
        struct listener *l = s->listeners;

        s->listeners = l->next;
        listener_free(l);
    }
    while (s->connections)
        connection_free(s->connections, false);
    for (struct call *call = s->calls; call; call = call->next) {
        call->server = NULL;
        call->later = sd_event_source_disable_unref(call->later);
    }
    refusals_clear(&s->refusals);
    quota_clear(&s->quota);
    deferred_clear(&s->turn);
    sd_event_source_disable_unref(s->pause);
    close_fd(s->spare);
    free(s->interfaces);
    sd_event_unref(s->event);
    free(s);
}

static void refuse(struct server *s, int fd, bool wait, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Not more often than that, so that a crowd does not fill the journal. */
static void tell_administrator(struct server *s, const char *why)
{
    int64_t now = clock_monotonic_usec();

    s->refused++;
    if (s->told && now - s->told < TELLING_USEC)
        return;
    journal_say(LOG_WARNING, "%u connection%s refused: %s", s->refused,
                s->refused == 1 ? " was" : "s were", why);
    s->refused = 0;
    s->told = now;
}

/* Takes the descriptor. */
static void refuse(struct server *s, int fd, bool wait, const char *format, ...)
{
    _cleanup_free_ char *message = NULL;
    char text[256];
    size_t size;
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    tell_administrator(s, text);
    message = refusal_text(SERVER_TOO_MANY, text, &size);
    if (message)
        refusals_tell(&s->refusals, fd, message, size, wait);
    else
        close_fd(fd);
}

int server_adopt(struct server *s, int fd)
{
    struct quota_user *user;
    struct peer peer;
    int r;

    r = policy_identify(s->policy, fd, &peer);
    if (r == 0)
        r = quota_connect(&s->quota, &peer, &user);
    if (r == 0)
        return connection_new(s, fd, &peer, user);
    if (r == -EDQUOT) {
        refuse(s, fd, true, "uid %u has %u connections, and more it may not have: close some",
               peer.uid, s->quota.connections_each);
        return 0;
    }
    if (r == -EUSERS) {
        refuse(s, fd, true, "%u connections are open, and more are not possible: try again later",
               s->quota.connections);
        return 0;
    }
    close_fd(fd);
    return r;
}

/* Who is at the door stays there, and the loop is not told of him again and again. */
static int pause_listening(struct server *s)
{
    int r = sd_event_source_set_time_relative(s->pause, PAUSE_USEC);

    if (r >= 0)
        r = sd_event_source_set_enabled(s->pause, SD_EVENT_ONESHOT);
    for (struct listener *l = s->listeners; l && r >= 0; l = l->next)
        r = sd_event_source_set_enabled(l->io, SD_EVENT_OFF);
    return 0;
}

static int accept_one(const struct listener *l)
{
    int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    return fd < 0 ? -errno : fd;
}

/* False: not even that. */
static bool refuse_with_spare(struct listener *l)
{
    struct server *s = l->server;
    int fd;

    if (s->spare < 0)
        s->spare = open_spare();
    if (s->spare < 0)
        return false;
    s->spare = close_fd(s->spare);
    fd = accept_one(l);
    if (fd >= 0)
        refuse(s, fd, false, "no descriptors are left: try again later");
    s->spare = open_spare();
    return fd >= 0 || fd == -EAGAIN;
}

static int on_connect(sd_event_source *source, int listening, uint32_t revents, void *userdata)
{
    struct listener *l = userdata;

    (void)source;
    (void)listening;
    (void)revents;
    for (unsigned i = 0; i < ACCEPTS_AT_ONCE; i++) {
        int fd = accept_one(l);

        if (fd >= 0)
            (void)server_adopt(l->server, fd);
        else if (fd == -EAGAIN)
            return 0;
        else if (fd == -EMFILE && refuse_with_spare(l))
            continue;
        else if (fd != -EINTR && fd != -ECONNABORTED)
            return pause_listening(l->server);
    }
    return 0;
}

int server_listen(struct server *s, int fd)
{
    struct listener *l = calloc(1, sizeof(*l));
    int r, flags;

    if (!l) {
        close_fd(fd);
        return -ENOMEM;
    }
    *l = (struct listener){.server = s, .fd = fd};
    flags = fcntl(fd, F_GETFL);
    r = flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
    if (r == 0)
        r = sd_event_add_io(s->event, &l->io, fd, EPOLLIN, on_connect, l);
    if (r < 0) {
        listener_free(l);
        return r;
    }
    l->next = s->listeners;
    s->listeners = l;
    return 0;
}

bool server_drain(struct server *s)
{
    bool drained = !s->calls;

    if (!s->draining) {
        s->draining = true;
        for (struct listener *l = s->listeners; l; l = l->next)
            (void)sd_event_source_set_enabled(l->io, SD_EVENT_OFF);
        for (struct connection *c = s->connections; c; c = c->next)
            connection_update(c);
    }
    for (struct connection *c = s->connections; c && drained; c = c->next)
        drained = output_waiting(&c->output) == 0;
    return drained;
}

unsigned server_connections(const struct server *s)
{
    return s->quota.connections;
}
