/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What List, History and Subscribe read, and when a subscriber has something to read. Reads the
 * ledger, watches its lock file. */
#include "allocator/daemon/subscribe.h"

#include "allocator/daemon/describe.h"
#include "allocator/daemon/journal.h"
#include "allocator/daemon/stream.h"
#include "common/cleanup.h"
#include "common/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>

/* Events looked at in one go, most of which a query may not ask for. About a millisecond. */
#define EVENTS_AT_ONCE 1000
/* Should the kernel not tell of a commit: no watch can be had, its writer was killed before the
 * mark. */
#define LOOK_AGAIN_USEC USEC_PER_SEC

struct subscribe {
    struct daemon *daemon;
    struct streams *streams;
    size_t subscribers;
    sd_event_source *watch, *timer;
};

static void answer_problem(struct call *call, const struct problem *p)
{
    call_error(call, describe_error(p->status), describe_problem(p, &SUBJECT_NONE));
}

/* Every stream's state begins with it. */
struct reading {
    struct subscribe *subscribe;
    struct stream_page *page; /* while it is filled */
};

static void *reading_new(struct subscribe *s, struct call *call, size_t size)
{
    struct problem p = {.status = UIDPOOL_FAILED, .text = "no memory for the answer"};
    struct reading *r = calloc(1, size);

    if (r)
        r->subscribe = s;
    else
        answer_problem(call, &p);
    return r;
}

static struct ledger *ledger_of(const struct reading *r)
{
    return r->subscribe->daemon->allocator.ledger;
}

/*
 * List.
 */

struct listing {
    struct reading reading;
    uid_t after, last; /* first uids of leases: the one read last, the last one wanted */
    bool full;
};

static bool add_lease(const struct uidpool_lease *lease, void *userdata)
{
    struct listing *l = userdata;

    if (lease->uid > l->last)
        return false;
    l->after = lease->uid;
    l->full = !stream_add(l->reading.page, describe_as("lease", describe_lease(lease)));
    return !l->full;
}

static enum uidpool_status read_leases(void *state, struct stream_page *page, bool *ret_over,
                                       struct problem *p)
{
    struct listing *l = state;
    enum uidpool_status status;

    l->reading.page = page;
    l->full = false;
    status = ledger_lease_each_after(ledger_of(&l->reading), NULL, l->after, add_lease, l, p);
    *ret_over = !l->full;
    return status;
}

static void no_lease(struct call *call)
{
    call_reply(call, describe_as("lease", json_null()));
}

void subscribe_list(struct subscribe *s, struct call *call, const struct uidpool_pool *pool_or_null)
{
    static const struct stream_kind kind = {read_leases, no_lease, answer_problem};
    struct listing *l = reading_new(s, call, sizeof(*l));

    if (!l)
        return;
    /* By the pool's range and not by its name, which would have the ledger look at every lease
     * behind it too. */
    l->after = pool_or_null ? pool_or_null->base - 1 : 0;
    l->last = pool_or_null ? pool_or_null->base + (pool_or_null->size - 1) : UIDPOOL_NO_UID;
    stream_begin(s->streams, call, &kind, l);
}

/*
 * History, and what a subscriber reads of it.
 */

struct events {
    struct reading reading;
    struct uidpool_history_query query; /* .after_id is the position */
    char pool[UIDPOOL_NAME_MAX + 1], name[UIDPOOL_NAME_MAX + 1];
    int64_t end;  /* the last id wanted */
    bool greeted; /* of a subscriber: it was told "subscribed" */
    bool full;
};

static bool add_event(const struct uidpool_event *event, void *userdata)
{
    struct events *e = userdata;

    e->query.after_id = event->id;
    e->full = !stream_add(e->reading.page, describe_as("event", describe_event(event)));
    return !e->full;
}

/* A part of what is left up to `end`. */
static enum uidpool_status read_events(void *state, struct stream_page *page, bool *ret_over,
                                       struct problem *p)
{
    struct events *e = state;
    int64_t last = e->end;
    enum uidpool_status status;

    if (last - e->query.after_id > EVENTS_AT_ONCE)
        last = e->query.after_id + EVENTS_AT_ONCE;
    e->reading.page = page;
    e->full = false;
    status = ledger_history_each_until(ledger_of(&e->reading), &e->query, last, add_event, e, p);
    if (status != UIDPOOL_OK)
        return status;
    if (!e->full)
        e->query.after_id = last;
    *ret_over = e->query.after_id >= e->end;
    return UIDPOOL_OK;
}

static void no_event(struct call *call)
{
    call_reply(call, describe_as("event", json_null()));
}

static const char *copy_name(char to[static UIDPOOL_NAME_MAX + 1], const char *name)
{
    if (name)
        (void)snprintf(to, UIDPOOL_NAME_MAX + 1, "%s", name);
    return name ? to : NULL;
}

void subscribe_history(struct subscribe *s, struct call *call,
                       const struct uidpool_history_query *query)
{
    static const struct stream_kind kind = {read_events, no_event, answer_problem};
    struct problem p = {0};
    int64_t newest = 0;
    struct events *e;

    if (ledger_history_newest(s->daemon->allocator.ledger, &newest, &p) != UIDPOOL_OK) {
        answer_problem(call, &p);
        return;
    }
    e = reading_new(s, call, sizeof(*e));
    if (!e)
        return;
    e->query = *query;
    e->query.of.pool = copy_name(e->pool, query->of.pool);
    e->query.of.name = copy_name(e->name, query->of.name);
    e->end = newest;
    stream_begin(s->streams, call, &kind, e);
}

/*
 * Subscribe.
 */

static json_t *describe_sign(const char *what, int64_t id)
{
    struct uidpool_event event = {.id = id,
                                  .at = clock_wall_usec(),
                                  .what = what,
                                  .uid = UIDPOOL_NO_UID,
                                  .domid = UIDPOOL_NO_DOMID};

    return describe_as("event", describe_event(&event));
}

static enum uidpool_status read_new_events(void *state, struct stream_page *page, bool *ret_over,
                                           struct problem *p)
{
    struct events *e = state;
    enum uidpool_status status = UIDPOOL_OK;

    if (!e->greeted) {
        e->greeted = true;
        (void)stream_add(page, describe_sign("subscribed", e->end));
    } else
        status = ledger_history_newest(ledger_of(&e->reading), &e->end, p);
    if (status != UIDPOOL_OK)
        return status;
    *ret_over = e->query.after_id >= e->end;
    return *ret_over ? UIDPOOL_OK : read_events(state, page, ret_over, p);
}

static json_t *describe_end(const void *state)
{
    const struct events *e = state;

    return describe_sign("ended", e->query.after_id);
}

static void stop_watching(struct subscribe *s)
{
    s->watch = sd_event_source_disable_unref(s->watch);
    s->timer = sd_event_source_disable_unref(s->timer);
}

static void unsubscribe(void *state)
{
    struct events *e = state;

    if (--e->reading.subscribe->subscribers == 0)
        stop_watching(e->reading.subscribe);
}

static int on_commit(sd_event_source *source, const struct inotify_event *event, void *userdata)
{
    struct subscribe *s = userdata;

    (void)source;
    (void)event;
    streams_wake(s->streams);
    return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct subscribe *s = userdata;

    (void)usec;
    streams_wake(s->streams);
    (void)sd_event_source_set_time_relative(source, LOOK_AGAIN_USEC);
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* Without a watch, whose number is limited for each uid, news are late but come. */
static int begin_watching(struct subscribe *s)
{
    sd_event *event = s->daemon->event;
    _cleanup_free_ char *path = NULL;
    int r = asprintf(&path, "%s.lock", ledger_path(s->daemon->allocator.ledger));

    if (r < 0) {
        path = NULL;
        return -ENOMEM;
    }
    r = sd_event_add_time_relative(event, &s->timer, CLOCK_MONOTONIC, LOOK_AGAIN_USEC, 0, on_timer,
                                   s);
    if (r < 0)
        return r;
    r = sd_event_add_inotify(event, &s->watch, path, IN_MODIFY, on_commit, s);
    if (r < 0)
        journal_say(LOG_WARNING,
                    "cannot watch %s, so subscribers hear of events up to %" PRId64 " s later: %s",
                    path, LOOK_AGAIN_USEC / USEC_PER_SEC, strerror(-r));
    return 0;
}

/* What it was told last is not in this ledger: it is another one, or an old copy. */
static bool is_beyond(struct call *call, int64_t after, int64_t newest)
{
    struct problem p = {0};

    if (after <= newest)
        return false;
    (void)problem_set(&p, UIDPOOL_CONFLICT,
                      "event %" PRId64 " is not in this ledger, whose newest is %" PRId64
                      ": it is not the one that you know; list the leases anew",
                      after, newest);
    answer_problem(call, &p);
    return true;
}

void subscribe_events(struct subscribe *s, struct call *call, int64_t after)
{
    static const struct uidpool_history_query all = UIDPOOL_HISTORY_QUERY_INIT;
    static const struct stream_kind kind = {read_new_events, no_event, answer_problem, describe_end,
                                            unsubscribe};
    struct problem p = {0};
    int64_t newest = 0;
    struct events *e;

    if (ledger_history_newest(s->daemon->allocator.ledger, &newest, &p) != UIDPOOL_OK) {
        answer_problem(call, &p);
        return;
    }
    if (is_beyond(call, after, newest))
        return;
    int r = s->subscribers == 0 ? begin_watching(s) : 0;
    if (r < 0) {
        (void)problem_errno(&p, r, "cannot watch the ledger");
        answer_problem(call, &p);
        stop_watching(s);
        return;
    }
    e = reading_new(s, call, sizeof(*e));
    if (!e) {
        if (s->subscribers == 0)
            stop_watching(s);
        return;
    }
    s->subscribers++;
    e->query = all;
    e->query.after_id = after < 0 ? newest : after;
    e->end = newest;
    stream_begin(s->streams, call, &kind, e);
}

/*
 * All of them.
 */

int subscribe_new(struct daemon *d, struct subscribe **ret)
{
    struct subscribe *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return -ENOMEM;
    s->daemon = d;
    r = streams_new(d->event, &s->streams);
    if (r < 0) {
        free(s);
        return r;
    }
    *ret = s;
    return 0;
}

void subscribe_free(struct subscribe *s)
{
    if (!s)
        return;
    streams_free(s->streams);
    stop_watching(s);
    free(s);
}

void subscribe_end(struct subscribe *s)
{
    streams_end(s->streams);
}
