/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The line of STATUS=. Reads the ledger and asks the rooms; touches nothing. */
#include "allocator/daemon/status.h"

#include "allocator/daemon/follow.h"
#include "allocator/daemon/readiness.h"
#include "allocator/daemon/revocations.h"
#include "common/cleanup.h"
#include "common/clock.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>

struct text {
    char line[512];
};

struct status {
    struct daemon *daemon;
    void (*looked)(void *userdata);
    void *userdata;
    sd_event_source *timer; /* on: it has changed, and is told when it elapses */
    sd_event_source *log;   /* the ledger's write-ahead log */
    int64_t told_at;        /* clock_monotonic_usec() */
    struct text text;       /* what was told last */
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

static void add(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(struct text *t, const char *format, ...)
{
    size_t used = strlen(t->line);
    va_list ap;

    va_start(ap, format);
    if (vsnprintf(t->line + used, sizeof(t->line) - used, format, ap) < 0)
        t->line[used] = '\0';
    va_end(ap);
}

/* "12 uids leased, 3 revocations under way, 1 not proven (uid 2113929221)" */
static void write_text(const struct daemon *d, struct text *ret)
{
    struct counting counting = {.ledger = d->allocator.ledger};
    struct revocations_status r = {0};

    ret->line[0] = '\0';
    if (ledger_pool_each(counting.ledger, count_pool, &counting, NULL) == UIDPOOL_OK)
        add(ret, "%ju %s leased", (uintmax_t)counting.leased,
            counting.leased == 1 ? "uid" : "uids");
    else
        add(ret, "the ledger cannot be read");
    revocations_status(d->revocations, &r);
    if (r.running > 0)
        add(ret, ", %zu %s under way", r.running, r.running == 1 ? "revocation" : "revocations");
    if (r.unproven > 0)
        add(ret, ", %zu not proven (%suid %u)", r.unproven, r.unproven > 1 ? "as " : "", r.example);
    if (d->follow && follow_status(d->follow))
        add(ret, ", %s", follow_status(d->follow));
}

static int tell(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct status *s = userdata;
    struct text text;

    (void)source;
    (void)usec;
    s->told_at = clock_monotonic_usec();
    write_text(s->daemon, &text);
    if (strcmp(text.line, s->text.line) != 0) {
        s->text = text;
        readiness_status(text.line);
    }
    s->looked(s->userdata);
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

int status_new(struct daemon *d, void (*looked)(void *userdata), void *userdata,
               struct status **ret)
{
    struct status *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return -ENOMEM;
    s->daemon = d;
    s->looked = looked;
    s->userdata = userdata;
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
