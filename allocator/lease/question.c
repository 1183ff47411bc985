/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Questions of the census for the jobs of one turn: neighbouring uids, as the policy `next` gives
 * them to many who ask at once, are asked about together, by one process of the helper instead of
 * one each. Touches the census and the event loop.
 *
 * Only EMPTY is an answer for all of them. Anything else may be about one alone, and so each is
 * asked again by itself.
 */
#include "allocator/census.h"
#include "allocator/lease/grant.h"
#include "common/cleanup.h"
#include "common/clock.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

/* Uids in one question: one process goes round them, so that two questions use two processors. */
#define TOGETHER_MAX 32
/* Microseconds after which the helper itself is given up, and for each uid. It has its own patience
 * with those that it asks by. */
#define HELPER_PATIENCE (2 * CENSUS_PATIENCE_SEC * USEC_PER_SEC)
#define HELPER_PATIENCE_EACH (10 * USEC_PER_MSEC)

static_assert(TOGETHER_MAX <= CENSUS_CLAIMS_MAX, "each has a claim");

struct question {
    struct granter *granter;
    struct question *next;
    struct uid_range range;
    struct grant *members; /* linked by ->beside */
    size_t n;
    int fd;
    sd_event_source *io, *timer;
};

void grant_ask(struct grant *g, grant_answer_fn then)
{
    g->then = then;
    g->asks = true;
    if (!g->granter->in_turn)
        granter_wake(g->granter);
}

static void question_free(struct question *q)
{
    struct question **at = &q->granter->questions;

    while (*at && *at != q)
        at = &(*at)->next;
    if (*at)
        *at = q->next;
    sd_event_source_disable_unref(q->io);
    sd_event_source_disable_unref(q->timer);
    (void)close_fd(q->fd);
    free(q);
}

void granter_drop_questions(struct granter *granter)
{
    while (granter->questions)
        question_free(granter->questions);
}

/* The members are told, or ask by themselves. A job that is told may end. */
static void answer_all(struct question *q, enum witness answer)
{
    struct grant *members = q->members, *g;
    bool again = q->n > 1 && answer != WITNESS_EMPTY;

    question_free(q);
    while ((g = members)) {
        members = g->beside;
        g->beside = NULL;
        g->asks_alone = again;
        if (again)
            grant_ask(g, g->then);
        else
            g->then(g, answer);
    }
}

static int on_answer(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    (void)source;
    (void)events;
    answer_all(userdata, census_finish(fd));
    return 0;
}

static int on_late(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct question *q = userdata;

    (void)source;
    (void)usec;
    census_give_up(q->granter->allocator->census);
    answer_all(q, WITNESS_UNKNOWN);
    return 0;
}

static int question_await(struct question *q)
{
    int64_t patience = HELPER_PATIENCE + q->range.count * HELPER_PATIENCE_EACH;
    int r = sd_event_add_io(q->granter->event, &q->io, q->fd, EPOLLIN, on_answer, q);

    return r < 0 ? r
                 : sd_event_add_time_relative(q->granter->event, &q->timer, CLOCK_MONOTONIC,
                                              (uint64_t)patience, 0, on_late, q);
}

/* Trouble is an answer: UNKNOWN. */
static void question_send(struct question *q)
{
    int claims[TOGETHER_MAX];
    size_t n = 0;
    int r;

    for (const struct grant *g = q->members; g; g = g->beside)
        claims[n++] = g->claim_fd;
    r = census_start_shared(q->granter->allocator->census, q->range, 0, claims, n);
    if (r >= 0) {
        q->fd = r;
        r = question_await(q);
    }
    if (r < 0)
        answer_all(q, WITNESS_UNKNOWN);
}

/* Single uids alone: a block takes long enough by itself. */
static bool may_join(const struct question *q, const struct grant *g)
{
    return q->range.count == q->n && !q->members->asks_alone && g->want.count == 1 &&
           !g->asks_alone && g->want.first == uid_range_last(q->range) + 1;
}

/* One for the first of these, and those that join it. Returns how many that are; 0: no memory. */
static size_t question_make(struct granter *granter, struct grant **jobs, size_t n_jobs)
{
    struct question *q = calloc(1, sizeof(*q));
    struct grant **last;

    if (!q)
        return 0;
    q->granter = granter;
    q->fd = -1;
    q->range = jobs[0]->want;
    q->members = jobs[0];
    q->n = 1;
    last = &jobs[0]->beside;
    while (q->n < n_jobs && q->n < TOGETHER_MAX && may_join(q, jobs[q->n])) {
        *last = jobs[q->n];
        last = &jobs[q->n]->beside;
        q->range.count++;
        q->n++;
    }
    q->next = granter->questions;
    granter->questions = q;
    size_t n = q->n;
    question_send(q);
    return n;
}

static int compare_uids(const void *a, const void *b)
{
    const struct grant *const *x = a, *const *y = b;

    return ((*x)->want.first > (*y)->want.first) - ((*x)->want.first < (*y)->want.first);
}

/* All that ask have a claim, so there is room for them. */
static size_t take_asking(struct granter *granter, struct grant *ret[static GRANT_CLAIMS_MAX])
{
    size_t n = 0;

    for (struct grant *g = granter->jobs; g && n < GRANT_CLAIMS_MAX; g = g->next)
        if (g->asks) {
            g->asks = false;
            ret[n++] = g;
        }
    return n;
}

void granter_send_questions(struct granter *granter)
{
    struct grant *jobs[GRANT_CLAIMS_MAX];
    size_t n = take_asking(granter, jobs);

    if (n > 1)
        qsort(jobs, n, sizeof(jobs[0]), compare_uids);
    for (size_t i = 0, sent; i < n; i += sent) {
        sent = question_make(granter, jobs + i, n - i);
        if (sent == 0) {
            jobs[i]->then(jobs[i], WITNESS_UNKNOWN);
            sent = 1;
        }
    }
}
