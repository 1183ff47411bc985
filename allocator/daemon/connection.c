/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One peer: bytes in, calls begun in order, answers out. Everything happens in connection_work(),
 * which the event loop calls and which does a bounded piece at a time; answers that come from
 * elsewhere are put into the output, and only the loop closes a connection.
 *
 * A peer that has gone cannot be told anything, so no more of its calls are begun but those that
 * want no answer.
 */
#include "allocator/daemon/connection.h"

#include "common/cleanup.h"
#include "common/clock.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdarg.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* Calls that may begin in one piece of work. Others have their turns one call at a time. */
#define CALLS_AT_ONCE 8

static bool can_begin(const struct connection *c)
{
    return !c->call && !c->closing && !c->broken && !c->server->draining &&
           output_waiting(&c->output) < c->server->limits.output;
}

static bool can_read(const struct connection *c)
{
    return can_begin(c) && !c->eof && !frame_is_whole(c->frame);
}

static bool can_resume(const struct connection *c)
{
    return c->call && c->call->waiting &&
           output_waiting(&c->output) <= c->server->limits.output / 2;
}

/* Something is to be done as soon as the peer takes what was written. */
static bool has_to_write(struct connection *c)
{
    return output_waiting(&c->output) > 0 || can_resume(c) ||
           (can_begin(c) && frame_is_whole(c->frame));
}

static bool is_over(const struct connection *c)
{
    if (c->broken)
        return true;
    if (c->call || output_waiting(&c->output) > 0)
        return false;
    /* Input is read only when no whole message waits: none does at its end. */
    return c->closing || c->eof || (c->gone && c->server->draining);
}

static void lose_peer(struct connection *c)
{
    struct call *call;

    if (c->gone)
        return;
    c->gone = true;
    output_clear(&c->output);
    if (c->call && !c->call->message.oneway) {
        call = take_ptr(c->call);
        call->connection = NULL;
        call_resume(call);
    }
}

static void send_waiting(struct connection *c)
{
    long n = output_send(&c->output, c->fd);

    if (n < 0)
        lose_peer(c);
    c->moved |= n > 0;
}

static void receive(struct connection *c)
{
    size_t size;
    ssize_t n;
    char *room;
    int r;

    r = frame_room(c->frame, &room, &size);
    if (r < 0) {
        c->broken = true;
        return;
    }
    n = recv(c->fd, room, size, MSG_DONTWAIT);
    if (n > 0) {
        frame_filled(c->frame, (size_t)n);
    } else if (n == 0) {
        c->eof = true;
    } else if (errno != EAGAIN && errno != EINTR) {
        c->eof = true;
        lose_peer(c);
    }
}

static void check_length(struct connection *c)
{
    size_t most = c->server->limits.message;

    if (can_read(c) && frame_pending(c->frame) > most)
        connection_refuse(c, SERVER_TOO_LONG, "a message may have %zu bytes, and this has more",
                          most);
}

static void begin_calls(struct connection *c)
{
    unsigned left = c->peer.may_change ? CALLS_AT_ONCE : 1;
    const char *text;
    size_t size;

    while (left-- > 0 && can_begin(c) && frame_take(c->frame, &text, &size)) {
        c->receive_by = 0;
        call_begin(c, text, size);
    }
}

void connection_work(struct connection *c)
{
    uint32_t events = c->events;

    c->events = 0;
    c->working = true;
    if (events & (EPOLLHUP | EPOLLERR))
        lose_peer(c);
    send_waiting(c);
    if (can_read(c))
        receive(c);
    begin_calls(c);
    check_length(c);
    if (can_resume(c))
        call_resume(c->call);
    send_waiting(c);
    c->working = false;
    if (is_over(c))
        connection_free(c, true);
    else
        connection_update(c);
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct connection *c = userdata;
    struct server *s = c->server;

    (void)source;
    (void)fd;
    c->events |= revents;
    if (c->peer.may_change) {
        connection_work(c);
        return 0;
    }
    turns_add(&s->turns, &c->user->turns, &c->turn);
    deferred_wake(&s->turn);
    return 0;
}

/* What the peer has not read yet. */
static int queued_bytes(const struct connection *c)
{
    int n = 0;

    return ioctl(c->fd, SIOCOUTQ, &n) < 0 ? 0 : n;
}

static void wait_for_reader(struct connection *c, int64_t now, int queued)
{
    c->send_by = now + c->server->limits.send_sec * USEC_PER_SEC;
    c->queued = queued;
}

/* A socket is not writable before three quarters were read, and that may take a slow peer longer
 * than the limit: it has to read something. */
static void check_reader(struct connection *c, int64_t now)
{
    int queued = queued_bytes(c);

    if (queued < c->queued)
        wait_for_reader(c, now, queued);
    else
        c->broken = true;
}

static int on_time(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct connection *c = userdata;
    int64_t now = clock_monotonic_usec();

    (void)source;
    (void)usec;
    c->timer_at = 0;
    /* Who does not read cannot be told anything. */
    if (c->send_by && c->send_by <= now)
        check_reader(c, now);
    if (c->receive_by && c->receive_by <= now)
        connection_refuse(c, SERVER_TOO_SLOW, "a message has to be whole within %u seconds",
                          c->server->limits.receive_sec);
    if (is_over(c))
        connection_free(c, true);
    else
        connection_update(c);
    return 0;
}

static void update_deadlines(struct connection *c)
{
    bool halfway = can_read(c) && frame_pending(c->frame) > 0;
    bool waiting = has_to_write(c);
    int64_t now = halfway || waiting ? clock_monotonic_usec() : 0;

    if (!halfway)
        c->receive_by = 0;
    else if (!c->receive_by)
        c->receive_by = now + c->server->limits.receive_sec * USEC_PER_SEC;
    if (!waiting)
        c->send_by = 0;
    else if (!c->send_by || c->moved)
        wait_for_reader(c, now, queued_bytes(c));
    c->moved = false;
}

static int update_timer(struct connection *c)
{
    int64_t by = c->receive_by;
    int r;

    if (c->send_by && (!by || c->send_by < by))
        by = c->send_by;
    /* At once, and from the loop; epoll says nothing while the peer does not read. */
    if (is_over(c))
        by = 1;
    /* Set anew it would not be pending any more: a busy peer's time would never be over. */
    if (by == c->timer_at)
        return 0;
    c->timer_at = by;
    if (!by)
        return c->timer ? sd_event_source_set_enabled(c->timer, SD_EVENT_OFF) : 0;
    if (!c->timer)
        return sd_event_add_time(c->server->event, &c->timer, CLOCK_MONOTONIC, (uint64_t)by, 0,
                                 on_time, c);
    r = sd_event_source_set_time(c->timer, (uint64_t)by);
    return r < 0 ? r : sd_event_source_set_enabled(c->timer, SD_EVENT_ONESHOT);
}

static int update_io(struct connection *c)
{
    uint32_t events = 0;
    int r, enabled = c->peer.may_change ? SD_EVENT_ON : SD_EVENT_ONESHOT;

    /* That the peer has gone is known, and would be told again and again. */
    if (c->gone && c->call)
        return sd_event_source_set_enabled(c->io, SD_EVENT_OFF);
    if (can_read(c))
        events |= EPOLLIN;
    if (has_to_write(c))
        events |= EPOLLOUT;
    r = sd_event_source_set_io_events(c->io, events);
    return r < 0 ? r : sd_event_source_set_enabled(c->io, enabled);
}

void connection_update(struct connection *c)
{
    if (c->working)
        return;
    update_deadlines(c);
    /* Without memory for an event it would never be looked at again. */
    if (update_timer(c) < 0)
        c->broken = true;
    if (!c->turn.waiting)
        (void)update_io(c);
}

void connection_say(struct connection *c, const char *message, size_t size, bool now)
{
    if (c->gone)
        return;
    if (!message || output_add(&c->output, message, size) < 0) {
        c->broken = true;
        return;
    }
    /* An error is found again, from the loop. */
    if (now && !c->working)
        c->moved |= output_send(&c->output, c->fd) > 0;
}

void connection_refuse(struct connection *c, const char *error, const char *format, ...)
{
    _cleanup_free_ char *message = NULL;
    char text[256];
    size_t size = 0;
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    message = refusal_text(error, text, &size);
    connection_say(c, message, size, true);
    c->receive_by = 0;
    c->closing = true;
}

static struct connection *connection_link(struct server *s, struct connection *c)
{
    c->next = s->connections;
    if (c->next)
        c->next->previous = c;
    s->connections = c;
    return c;
}

int connection_new(struct server *s, int fd, const struct peer *peer, struct quota_user *user)
{
    struct connection *c = calloc(1, sizeof(*c));
    int r;

    if (!c) {
        quota_disconnect(&s->quota, peer, user);
        close_fd(fd);
        return -ENOMEM;
    }
    *c = (struct connection){.server = s, .user = user, .peer = *peer, .fd = fd};
    connection_link(s, c);
    c->frame = frame_new(s->limits.message);
    r = c->frame ? sd_event_add_io(s->event, &c->io, fd, EPOLLIN, on_io, c) : -ENOMEM;
    /* To stand in line is soon done, once for each turn, and must not have to wait itself. */
    if (r >= 0 && !peer->may_change)
        r = sd_event_source_set_priority(c->io, SD_EVENT_PRIORITY_NORMAL - 1);
    if (r < 0) {
        connection_free(c, false);
        return r;
    }
    connection_update(c);
    return 0;
}

void connection_free(struct connection *c, bool tell)
{
    struct server *s = c->server;
    struct call *call = take_ptr(c->call);

    turns_remove(&s->turns, &c->user->turns, &c->turn);
    if (c->next)
        c->next->previous = c->previous;
    if (c->previous)
        c->previous->next = c->next;
    else
        s->connections = c->next;
    quota_disconnect(&s->quota, &c->peer, c->user);
    sd_event_source_disable_unref(c->io);
    sd_event_source_disable_unref(c->timer);
    frame_free(c->frame);
    output_clear(&c->output);
    close_fd(c->fd);
    if (call)
        call->connection = NULL;
    free(c);
    if (call && tell && call_is_gone(call))
        call_resume(call);
}
