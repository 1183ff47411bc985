/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Streams: whose turn it is, what was read and not yet sent. Reads and words are their kind's. */
#include "allocator/daemon/stream.h"

#include "common/cleanup.h"

#include <errno.h>
#include <string.h>

/* As important as the shared commits (allocator/committer.c), with which they take turns: a stream
 * that always has more to say must not keep a lease from being written. */
#define STREAM_PRIORITY (SD_EVENT_PRIORITY_NORMAL + 10)

struct stream {
    struct streams *streams;
    struct stream *next, **link;
    struct call *call;
    const struct stream_kind *kind;
    void *state;
    struct stream_page page; /* read and not yet sent */
    bool over;               /* nothing is left to read, for now */
    bool paused;             /* the peer has enough to read */
    sd_event_source *turn;
};

struct streams {
    sd_event *event;
    struct stream *first;
};

bool stream_add(struct stream_page *page, json_t *parameters)
{
    if (!parameters || page->n == STREAM_PAGE) {
        page->failed |= !parameters;
        json_decref(parameters);
        return false;
    }
    page->items[page->n++] = parameters;
    return page->n < STREAM_PAGE;
}

/* Takes what was last answered with it. */
static void stream_free(struct stream *st)
{
    if (st->link) {
        *st->link = st->next;
        if (st->next)
            st->next->link = st->link;
    }
    sd_event_source_disable_unref(st->turn);
    for (size_t i = 0; i < st->page.n; i++)
        json_decref(st->page.items[i]);
    if (st->kind->release)
        st->kind->release(st->state);
    free(st->state);
    free(st);
}

static void stream_fail(struct stream *st, const struct problem *p)
{
    struct call *call = st->call;
    const struct stream_kind *kind = st->kind;

    stream_free(st);
    kind->fail(call, p);
}

static void stream_cut(struct stream *st)
{
    struct problem p = {0};
    struct call *call = st->call;
    json_t *last = st->kind->last ? st->kind->last(st->state) : NULL;

    if (!last) {
        (void)problem_set(&p, UIDPOOL_FAILED, "the daemon ends before the list does: ask again");
        stream_fail(st, &p);
        return;
    }
    stream_free(st);
    call_reply(call, last);
}

static json_t *page_shift(struct stream_page *page)
{
    json_t *item = page->items[0];

    page->n--;
    memmove(page->items, page->items + 1, page->n * sizeof(page->items[0]));
    return item;
}

/* Send what is in the page, but for what may be the last. False: the stream has ended. */
static bool stream_send(struct stream *st)
{
    bool endless = st->kind->last;
    size_t keep = endless ? 0 : 1;

    while (st->page.n > keep && !st->paused)
        st->paused = !call_continue(st->call, page_shift(&st->page));
    if (endless || !st->over || st->paused || st->page.n > keep)
        return true;

    struct call *call = st->call;
    const struct stream_kind *kind = st->kind;
    json_t *last = st->page.n > 0 ? page_shift(&st->page) : NULL;

    stream_free(st);
    if (last)
        call_reply(call, last);
    else
        kind->none(call);
    return false;
}

static enum uidpool_status stream_read(struct stream *st, struct problem *p)
{
    bool over = false;
    enum uidpool_status status = st->kind->read(st->state, &st->page, &over, p);

    if (status == UIDPOOL_OK && st->page.failed)
        status = problem_set(p, UIDPOOL_FAILED, "no memory for the answer");
    st->over = over;
    return status;
}

/* There is nobody to answer. */
static void stream_drop(struct stream *st)
{
    struct call *call = st->call;

    stream_free(st);
    call_reply(call, NULL);
}

static int on_turn(sd_event_source *source, void *userdata)
{
    struct stream *st = userdata;
    struct problem p = {0};

    (void)source;
    if (call_is_gone(st->call)) {
        stream_drop(st);
        return 0;
    }
    /* One that was paused may still have a page to send. */
    if (st->page.n <= 1 && !st->over && stream_read(st, &p) != UIDPOOL_OK) {
        stream_fail(st, &p);
        return 0;
    }
    if (stream_send(st) && !st->paused && !st->over)
        (void)sd_event_source_set_enabled(st->turn, SD_EVENT_ONESHOT);
    return 0;
}

/* Also when the peer has gone, which is seen then. */
static void on_resume(struct call *call, void *userdata)
{
    struct stream *st = userdata;

    (void)call;
    st->paused = false;
    (void)sd_event_source_set_enabled(st->turn, SD_EVENT_ONESHOT);
}

int streams_new(sd_event *event, struct streams **ret)
{
    struct streams *s = calloc(1, sizeof(*s));

    if (!s)
        return -ENOMEM;
    s->event = sd_event_ref(event);
    *ret = s;
    return 0;
}

void streams_free(struct streams *s)
{
    if (!s)
        return;
    streams_end(s);
    sd_event_unref(s->event);
    free(s);
}

/* 0 or a negative errno. */
static int stream_add_turn(struct stream *st)
{
    int r = sd_event_add_defer(st->streams->event, &st->turn, on_turn, st);

    if (r >= 0)
        r = sd_event_source_set_priority(st->turn, STREAM_PRIORITY);
    return r < 0 ? r : 0;
}

void stream_begin(struct streams *s, struct call *call, const struct stream_kind *kind, void *state)
{
    struct stream *st = calloc(1, sizeof(*st));
    struct problem p = {0};
    int r;

    if (!st) {
        if (kind->release)
            kind->release(state);
        free(state);
        (void)problem_set(&p, UIDPOOL_FAILED, "no memory for the answer");
        kind->fail(call, &p);
        return;
    }
    *st = (struct stream){.streams = s, .call = call, .kind = kind, .state = state};
    r = stream_add_turn(st);
    if (r < 0) {
        (void)problem_errno(&p, r, "cannot begin to answer");
        stream_fail(st, &p);
        return;
    }
    st->next = s->first;
    st->link = &s->first;
    if (st->next)
        st->next->link = &st->next;
    s->first = st;
    call_on_resume(call, on_resume, st);
}

void streams_wake(struct streams *s)
{
    for (struct stream *st = s->first; st; st = st->next) {
        if (!st->kind->last)
            continue;
        st->over = false;
        if (!st->paused)
            (void)sd_event_source_set_enabled(st->turn, SD_EVENT_ONESHOT);
    }
}

void streams_end(struct streams *s)
{
    while (s->first)
        stream_cut(s->first);
}
