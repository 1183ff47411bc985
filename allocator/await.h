/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One wait on an event loop: for a descriptor, for a time, or for whichever comes first. Arms at
 * most one event of each kind; touches nothing else. */
#ifndef ALLOCATOR_AWAIT_H
#define ALLOCATOR_AWAIT_H

#include <stdint.h>
#include <systemd/sd-event.h>

struct await {
    sd_event_source *timer, *io;
    void (*wake)(void *userdata); /* NULL: nothing is waited for */
    void *userdata;
};

/* Call `wake` once, in `usec`, or as soon as `fd` (unless -1) is readable. Replaces what was waited
 * for. 0, or a negative errno: nothing is waited for then. The loop must outlive it. */
int await_set(struct await *a, sd_event *event, int fd, int64_t usec, void (*wake)(void *userdata),
              void *userdata);
/* Before the descriptor is closed. */
void await_clear(struct await *a);

#endif
