/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Work that stands behind ordinary events, so that it is done once for all that happened meanwhile;
 * but not for ever: a loop that is never idle would never come to it. Touches the event loop alone.
 */
#ifndef ALLOCATOR_DEFERRED_H
#define ALLOCATOR_DEFERRED_H

#include <stdint.h>
#include <systemd/sd-event.h>

struct deferred {
    sd_event_source *work, *hurry;
    void (*run)(void *userdata);
    void *userdata;
};

/* `priority` as sd_event_source_set_priority(3) has it. The loop must outlive it. 0 or a negative
 * errno, with nothing left to clear. */
int deferred_init(struct deferred *d, sd_event *event, int64_t priority,
                  void (*run)(void *userdata), void *userdata);
/* Have it run, once: when nothing of a higher priority waits, and in 20 ms whatever waits. */
void deferred_wake(struct deferred *d);
void deferred_clear(struct deferred *d);

#endif
