/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One wait on an event loop (await.h). */
#include "allocator/await.h"

#include "common/clock.h"

#include <sys/epoll.h>

void await_clear(struct await *a)
{
    a->timer = sd_event_source_disable_unref(a->timer);
    a->io = sd_event_source_disable_unref(a->io);
    a->wake = NULL;
}

/* Cleared first: whoever is woken waits for the next thing, or is gone when it returns. */
static int dispatch(struct await *a)
{
    void (*wake)(void *) = a->wake;
    void *userdata = a->userdata;

    await_clear(a);
    wake(userdata);
    return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    (void)source;
    (void)usec;
    return dispatch(userdata);
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    (void)source;
    (void)fd;
    (void)events;
    return dispatch(userdata);
}

int await_set(struct await *a, sd_event *event, int fd, int64_t usec, void (*wake)(void *userdata),
              void *userdata)
{
    int r = 0;

    await_clear(a);
    a->wake = wake;
    a->userdata = userdata;
    if (fd >= 0)
        r = sd_event_add_io(event, &a->io, fd, EPOLLIN, on_io, a);
    if (r >= 0)
        r = sd_event_add_time(event, &a->timer, CLOCK_MONOTONIC,
                              (uint64_t)(clock_monotonic_usec() + usec), 1, on_timer, a);
    if (r < 0)
        await_clear(a);
    return r < 0 ? r : 0;
}
