/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads nothing of what such a peer says: that it did is enough. */
#include "allocator/daemon/refusals.h"

#include "common/cleanup.h"
#include "common/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

struct refusal {
    struct refusals *all;
    struct refusal *previous, *next;
    int fd;
    sd_event_source *io, *timer;
};

static void refusal_free(struct refusal *r)
{
    if (r->next)
        r->next->previous = r->previous;
    if (r->previous)
        r->previous->next = r->next;
    else
        r->all->first = r->next;
    r->all->waiting--;
    sd_event_source_disable_unref(r->io);
    sd_event_source_disable_unref(r->timer);
    close_fd(r->fd);
    free(r);
}

static int on_said(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    (void)source;
    (void)fd;
    (void)revents;
    refusal_free(userdata);
    return 0;
}

static int on_time(sd_event_source *source, uint64_t usec, void *userdata)
{
    (void)source;
    (void)usec;
    refusal_free(userdata);
    return 0;
}

/* Takes the descriptor if it succeeds. */
static int wait_for_peer(struct refusals *all, int fd)
{
    struct refusal *r = calloc(1, sizeof(*r));
    int error;

    if (!r)
        return -ENOMEM;
    *r = (struct refusal){.all = all, .next = all->first, .fd = -1};
    if (all->first)
        all->first->previous = r;
    all->first = r;
    all->waiting++;
    error = sd_event_add_io(all->event, &r->io, fd, EPOLLIN, on_said, r);
    if (error >= 0)
        error = sd_event_add_time_relative(all->event, &r->timer, CLOCK_MONOTONIC,
                                           (uint64_t)USEC_PER_SEC, 0, on_time, r);
    if (error < 0) {
        refusal_free(r);
        return error;
    }
    r->fd = fd;
    return 0;
}

void refusals_tell(struct refusals *r, int fd, const char *message, size_t size, bool wait)
{
    ssize_t n = send(fd, message, size, MSG_DONTWAIT | MSG_NOSIGNAL);

    wait = wait && n >= 0 && r->waiting < REFUSALS_WAITING_MAX;
    if (!wait || wait_for_peer(r, fd) < 0)
        close_fd(fd);
}

void refusals_clear(struct refusals *r)
{
    while (r->first)
        refusal_free(r->first);
}
