/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The line of STATUS=. Reads the ledger and asks the rooms; touches nothing. */
#include "allocator/daemon/status.h"

#include "allocator/daemon/readiness.h"
#include "common/cleanup.h"
#include "common/clock.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>

struct status {
    struct daemon *daemon;
    sd_event_source *timer; /* on: it has changed, and is told when it elapses */
    sd_event_source *log;   /* the ledger's write-ahead log */
    int64_t told_at;        /* clock_monotonic_usec() */
    char text[512];         /* what was told last */
};

struct counting {
    struct ledger *ledger;
    uint64_t leased;
};

static bool count_pool(const struct uidpool_pool *pool, void *userdata)
{
    struct counting *counting = userdata;
    struct uidpool_pool copy = *pool;

    if (ledger_pool_count(counting->ledger, &copy, NULL) == UIDPOOL_OK)
        counting->leased += copy.leased;
    return true;
}

static void write_text(const struct daemon *d, char *ret, size_t size)
{
    struct counting counting = {.ledger = d->allocator.ledger};

    if (ledger_pool_each(counting.ledger, count_pool, &counting, NULL) != UIDPOOL_OK)
        (void)snprintf(ret, size, "the ledger cannot be read");
    else
        (void)snprintf(ret, size, "%ju uids leased", (uintmax_t)counting.leased);
}

static int tell(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct status *s = userdata;
    char text[sizeof(s->text)];

    (void)source;
    (void)usec;
    s->told_at = clock_monotonic_usec();
    write_text(s->daemon, text, sizeof(text));
    if (strcmp(text, s->text) != 0) {
        memcpy(s->text, text, sizeof(text));
        readiness_status(text);
    }
    return 0;
}

void status_changed(void *userdata)
{
    struct status *s = userdata;
    int enabled = SD_EVENT_OFF;

    if (sd_event_source_get_enabled(s->timer, &enabled) > 0)
        return;
    /* A line that is late is told with the next change: ignoring. */
    if (sd_event_source_set_time(s->timer, (uint64_t)(s->told_at + USEC_PER_SEC)) >= 0)
        (void)sd_event_source_set_enabled(s->timer, SD_EVENT_ONESHOT);
}

static int on_log(sd_event_source *source, const struct inotify_event *event, void *userdata)
{
    (void)source;
    (void)event;
    status_changed(userdata);
    return 0;
}

/* A look at the ledger costs more than the event, and less than anything that a client asks for;
 * the loop's other work goes first. */
static int prepare(struct status *s)
{
    sd_event *event = s->daemon->event;
    char path[PATH_MAX];
    int r = sd_event_add_time(event, &s->timer, CLOCK_MONOTONIC, 0, 100 * USEC_PER_MSEC, tell, s);

    if (r >= 0)
        r = sd_event_source_set_priority(s->timer, SD_EVENT_PRIORITY_IDLE);
    if (r < 0)
        return r;
    if (snprintf(path, sizeof(path), "%s-wal", ledger_path(s->daemon->allocator.ledger)) >=
        (int)sizeof(path))
        return -ENAMETOOLONG;
    /* The log is there as long as we have the ledger open. */
    r = sd_event_add_inotify(event, &s->log, path, IN_MODIFY, on_log, s);
    return r < 0 ? r : 0;
}

int status_new(struct daemon *d, struct status **ret)
{
    struct status *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return -ENOMEM;
    s->daemon = d;
    r = prepare(s);
    if (r < 0)
        status_free(s);
    else
        *ret = s;
    return r;
}

void status_free(struct status *s)
{
    if (!s)
        return;
    sd_event_source_disable_unref(s->log);
    sd_event_source_disable_unref(s->timer);
    free(s);
}
