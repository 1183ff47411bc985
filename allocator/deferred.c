/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Deferred work (deferred.h): a deferred event of low priority, and a timer of a higher one than
 * ordinary events have. */
#include "allocator/deferred.h"

#include "common/clock.h"

/* Microseconds that ordinary events may keep it waiting. */
#define PATIENCE (20 * USEC_PER_MSEC)

/* Off first: whatever is run may wake it again. */
static void run(struct deferred *d)
{
    (void)sd_event_source_set_enabled(d->work, SD_EVENT_OFF);
    (void)sd_event_source_set_enabled(d->hurry, SD_EVENT_OFF);
    d->run(d->userdata);
}

static int on_work(sd_event_source *source, void *userdata)
{
    (void)source;
    run(userdata);
    return 0;
}

static int on_hurry(sd_event_source *source, uint64_t usec, void *userdata)
{
    (void)source;
    (void)usec;
    run(userdata);
    return 0;
}

int deferred_init(struct deferred *d, sd_event *event, int64_t priority,
                  void (*run_it)(void *userdata), void *userdata)
{
    int r;

    *d = (struct deferred){.run = run_it, .userdata = userdata};
    r = sd_event_add_defer(event, &d->work, on_work, d);
    if (r >= 0)
        r = sd_event_source_set_priority(d->work, priority);
    if (r >= 0)
        r = sd_event_source_set_enabled(d->work, SD_EVENT_OFF);
    if (r >= 0)
        r = sd_event_add_time(event, &d->hurry, CLOCK_MONOTONIC, UINT64_MAX, 1, on_hurry, d);
    if (r >= 0)
        r = sd_event_source_set_priority(d->hurry, SD_EVENT_PRIORITY_NORMAL - 10);
    if (r >= 0)
        r = sd_event_source_set_enabled(d->hurry, SD_EVENT_OFF);
    if (r < 0)
        deferred_clear(d);
    return r < 0 ? r : 0;
}

void deferred_wake(struct deferred *d)
{
    int enabled = SD_EVENT_OFF;

    (void)sd_event_source_get_enabled(d->work, &enabled);
    if (enabled != SD_EVENT_OFF)
        return; /* its time runs already */
    (void)sd_event_source_set_time(d->hurry, (uint64_t)(clock_monotonic_usec() + PATIENCE));
    (void)sd_event_source_set_enabled(d->hurry, SD_EVENT_ONESHOT);
    (void)sd_event_source_set_enabled(d->work, SD_EVENT_ON);
}

void deferred_clear(struct deferred *d)
{
    d->work = sd_event_source_disable_unref(d->work);
    d->hurry = sd_event_source_disable_unref(d->hurry);
}
