/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Streams: whose turn it is, what was read and not yet sent. Reads and words are their kind's. */
#include "allocator/daemon/stream.h"

#include "allocator/daemon/turns.h"
#include "common/cleanup.h"

#include <errno.h>
#include <string.h>

/* As unimportant as the scans of revocations (allocator/revocation/revoker.c), with which they take
 * turns: a stream that always has more to say must keep no lease from being written and no uid from
 * being proven. */
#define STREAM_PRIORITY SD_EVENT_PRIORITY_IDLE

/* One uid that streams. */
struct stream_user {
    struct stream_user *next;
    uid_t uid;
    size_t streams;
    struct turn_user turns;
};

struct stream {
    struct turn turn; /* the first member */
    struct streams *streams;
    struct stream_user *user;
    struct stream *next, **link;
    struct call *call;
    const struct stream_kind *kind;
    void *state;
    struct stream_page page; /* read and not yet sent */
    bool over;               /* nothing is left to read, for now */
    bool paused;             /* the peer has enough to read */
};

struct streams {
    struct stream *first;
    struct stream_user *users;
    struct turns turns;
    sd_event_source *work; /* one stream's page at a time */
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

static struct stream_user *user_get(struct streams *s, uid_t uid)
{
    struct stream_user *user = s->users;

    while (user && user->uid != uid)
        user = user->next;
    if (!user) {
        user = calloc(1, sizeof(*user));
        if (!user)
            return NULL;
        user->uid = uid;
        user->next = s->users;
        s->users = user;
    }
    user->streams++;
    return user;
}

static void user_put(struct streams *s, struct stream_user *user)
{
    struct stream_user **at = &s->users;

    if (--user->streams > 0)
        return;
    while (*at != user)
        at = &(*at)->next;
    *at = user->next;
    free(user);
}

/* Wait for its turn. */
static void stream_wait(struct stream *st)
{
    turns_add(&st->streams->turns, &st->user->turns, &st->turn);
    (void)sd_event_source_set_enabled(st->streams->work, SD_EVENT_ONESHOT);
}

/* Takes what was last answered with it. */
static void stream_free(struct stream *st)
{
    *st->link = st->next;
    if (st->next)
        st->next->link = st->link;
    turns_remove(&st->streams->turns, &st->user->turns, &st->turn);
    user_put(st->streams, st->user);
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

static void stream_go_on(struct stream *st)
{
    struct problem p = {0};

    if (call_is_gone(st->call)) {
        stream_drop(st);
        return;
    }
    /* One that was paused may still have a page to send. */
    if (st->page.n <= 1 && !st->over && stream_read(st, &p) != UIDPOOL_OK) {
        stream_fail(st, &p);
        return;
    }
    if (stream_send(st) && !st->paused && !st->over)
        stream_wait(st);
}

static int on_work(sd_event_source *source, void *userdata)
{
    struct streams *s = userdata;
    struct stream *st = (struct stream *)turns_take(&s->turns);

    if (st)
        stream_go_on(st);
    if (turns_is_empty(&s->turns))
        return 0;
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* Also when the peer has gone, which is seen then. */
static void on_resume(struct call *call, void *userdata)
{
    struct stream *st = userdata;

    (void)call;
    st->paused = false;
    stream_wait(st);
}

int streams_new(sd_event *event, struct streams **ret)
{
    struct streams *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return -ENOMEM;
    r = sd_event_add_defer(event, &s->work, on_work, s);
    if (r >= 0)
        r = sd_event_source_set_priority(s->work, STREAM_PRIORITY);
    if (r < 0) {
        streams_free(s);
        return r;
    }
    *ret = s;
    return 0;
}

void streams_free(struct streams *s)
{
    if (!s)
        return;
    streams_end(s);
    sd_event_source_disable_unref(s->work);
    free(s);
}

static struct stream *stream_new(struct streams *s, struct call *call)
{
    struct stream *st = calloc(1, sizeof(*st));

    if (!st)
        return NULL;
    st->user = user_get(s, call_peer(call)->uid);
    if (!st->user) {
        free(st);
        return NULL;
    }
    st->streams = s;
    st->call = call;
    return st;
}

void stream_begin(struct streams *s, struct call *call, const struct stream_kind *kind, void *state)
{
    struct stream *st = stream_new(s, call);
    struct problem p = {0};

    if (!st) {
        if (kind->release)
            kind->release(state);
        free(state);
        (void)problem_set(&p, UIDPOOL_FAILED, "no memory for the answer");
        kind->fail(call, &p);
        return;
    }
    st->kind = kind;
    st->state = state;
    st->next = s->first;
    st->link = &s->first;
    if (st->next)
        st->next->link = &st->next;
    s->first = st;
    call_on_resume(call, on_resume, st);
    stream_wait(st);
}

void streams_wake(struct streams *s)
{
    for (struct stream *st = s->first; st; st = st->next) {
        if (!st->kind->last)
            continue;
        st->over = false;
        if (!st->paused)
            stream_wait(st);
    }
}

void streams_end(struct streams *s)
{
    while (s->first)
        stream_cut(s->first);
}
