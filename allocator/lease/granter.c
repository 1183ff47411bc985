/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The life of a lease's job between its steps: turns, events, claims, and how it ends. Touches the
 * event loop and the claims; what may be leased is lease.c's to say.
 */
#include "allocator/lease/granter.h"

#include "allocator/census.h"
#include "allocator/lease/grant.h"
#include "common/cleanup.h"
#include "common/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

/* Behind ordinary events, so that all requests that are there already are asked about together, and
 * before the committer, so that all of them are in its next transaction. */
#define WORK_PRIORITY (SD_EVENT_PRIORITY_NORMAL + 5)
/* Microseconds between two tries at what cannot be waited for; doubles. */
#define BACKOFF_FIRST (2 * USEC_PER_MSEC)
#define BACKOFF_LAST (64 * USEC_PER_MSEC)

void granter_wake(struct granter *granter)
{
    deferred_wake(&granter->work);
}

/*
 * Claims.
 */

int grant_claim(struct grant *g)
{
    struct granter *granter = g->granter;
    int fd = granter->n_claims < GRANT_CLAIMS_MAX
                 ? ledger_claim_uids(granter->allocator->ledger, g->want.first, g->want.count)
                 : -EAGAIN;

    if (fd < 0)
        return fd;
    g->claim_fd = fd;
    g->claim = granter->n_claims++;
    granter->claims[g->claim] = g;
    return 0;
}

void grant_unclaim(struct grant *g)
{
    struct granter *granter = g->granter;
    struct grant *last;

    if (g->claim_fd < 0)
        return;
    g->claim_fd = close_fd(g->claim_fd);
    last = granter->claims[--granter->n_claims];
    granter->claims[g->claim] = last;
    last->claim = g->claim;
    /* Somebody may have waited for it to be one less. */
    if (granter->n_claims == GRANT_CLAIMS_MAX - 1)
        granter_wake(granter);
}

bool grant_meets_claims(const struct grant *g, struct uid_range range, uid_t *ret_behind)
{
    for (size_t i = 0; i < g->granter->n_claims; i++) {
        struct uid_range claimed = g->granter->claims[i]->want;

        if (claimed.first > uid_range_last(range) || range.first > uid_range_last(claimed))
            continue;
        *ret_behind = uid_range_last(claimed) + 1;
        return true;
    }
    return false;
}

static bool is_same_owner(const struct grant *a, const struct grant *b)
{
    return a->pool.id != 0 && a->pool.id == b->pool.id &&
           a->request.lease.domid == b->request.lease.domid && strcmp(a->name, b->name) == 0;
}

bool grant_is_behind(const struct grant *g)
{
    for (const struct grant *other = g->granter->jobs; other != g; other = other->next)
        if (is_same_owner(other, g))
            return true;
    return false;
}

/*
 * Events.
 */

static void disarm(struct grant *g)
{
    g->timer = sd_event_source_disable_unref(g->timer);
    g->io = sd_event_source_disable_unref(g->io);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct grant *g = userdata;

    (void)source;
    (void)usec;
    disarm(g);
    g->wake(g);
    return 0;
}

static int on_answer(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    struct grant *g = userdata;
    enum witness answer = census_finish(fd);

    (void)source;
    (void)events;
    disarm(g);
    g->answer_fd = close_fd(g->answer_fd);
    g->then(g, answer);
    return 0;
}

/* Without events a job could only hang. */
static void no_events(struct grant *g, int error)
{
    grant_end(g, problem_errno(&g->problem, error, "pool %s: the event loop failed", g->pool.name));
}

void grant_soon(struct grant *g, grant_fn wake)
{
    disarm(g);
    g->wake = wake;
    g->ready = true;
    granter_wake(g->granter);
}

void grant_later(struct grant *g, int64_t usec, grant_fn wake)
{
    int r = sd_event_add_time(g->granter->event, &g->timer, CLOCK_MONOTONIC,
                              (uint64_t)(clock_monotonic_usec() + usec), 1, on_timer, g);

    g->wake = wake;
    if (r < 0)
        no_events(g, r);
}

void grant_ask_now(struct grant *g, struct uid_range range, uint32_t zombies, grant_answer_fn then)
{
    int r = census_start(g->granter->allocator->census, range, zombies, g->claim_fd);

    if (r < 0) {
        then(g, WITNESS_UNKNOWN);
        return;
    }
    g->answer_fd = r;
    g->then = then;
    r = sd_event_add_io(g->granter->event, &g->io, g->answer_fd, EPOLLIN, on_answer, g);
    if (r < 0)
        no_events(g, r);
}

void grant_write(struct grant *g, commit_write_fn write, commit_done_fn done)
{
    int r = committer_add(g->granter->allocator->committer, write, done, g);

    if (r < 0)
        grant_end(g, problem_errno(&g->problem, r, "pool %s: cannot write", g->pool.name));
}

bool grant_is_late(const struct grant *g)
{
    return clock_monotonic_usec() >= g->deadline;
}

int64_t grant_backoff(struct grant *g)
{
    int64_t left = g->deadline - clock_monotonic_usec(), pause = g->backoff;

    g->backoff = g->backoff * 2 > BACKOFF_LAST ? BACKOFF_LAST : g->backoff * 2;
    return pause > left ? (left > 0 ? left : 0) : pause;
}

/* Those who wait for a claim's slot stay ready; whoever has one may go on. */
static void on_work(void *userdata)
{
    struct granter *granter = userdata;
    struct grant *next;

    granter->in_turn = true;
    for (struct grant *g = granter->jobs; g; g = next) {
        next = g->next;
        if (!g->ready || (g->claim_fd < 0 && granter->n_claims >= GRANT_CLAIMS_MAX))
            continue;
        g->ready = false;
        g->wake(g);
    }
    granter->in_turn = false;
    granter_send_questions(granter);
}

/*
 * Begin and end.
 */

void grant_keep_survivors(struct grant *g, const struct outcome *outcome)
{
    outcome_keep_survivors(outcome, &g->survivors, &g->n_survivors);
}

static void grant_free(struct grant *g)
{
    committer_forget(g->granter->allocator->committer, g);
    disarm(g);
    g->answer_fd = close_fd(g->answer_fd);
    grant_unclaim(g);
    tasks_clear(&g->who.tasks);
    free(g->survivors);
    free(g);
}

static void unlink_job(struct grant *g)
{
    struct granter *granter = g->granter;
    struct grant **at = &granter->jobs;

    while (*at != g)
        at = &(*at)->next;
    *at = g->next;
    if (granter->end == &g->next)
        granter->end = at;
    granter->n_jobs--;
}

/* What it was about, for whoever is told that it failed. */
static void describe_wish(struct grant *g)
{
    struct uidpool_lease *lease = &g->lease;
    bool has_uid = g->want.count > 0;

    *lease = (struct uidpool_lease){
        .uid = has_uid ? g->want.first : UIDPOOL_NO_UID,
        .count = has_uid ? g->want.count : g->request.lease.count,
        .pool_id = g->pool.id,
        .domid = g->request.lease.domid,
    };
    (void)snprintf(lease->pool, sizeof(lease->pool), "%s",
                   g->pool.id ? g->pool.name : g->pool_name);
    (void)snprintf(lease->name, sizeof(lease->name), "%s", g->name);
    (void)snprintf(lease->uuid, sizeof(lease->uuid), "%s", g->uuid);
}

void grant_end(struct grant *g, enum uidpool_status status)
{
    struct outcome outcome = {&g->lease, &g->problem, g->survivors, g->n_survivors};

    unlink_job(g);
    grant_unclaim(g);
    for (struct grant *other = g->granter->jobs; other; other = other->next)
        if (other->queued && is_same_owner(other, g))
            grant_soon(other, grant_begin);
    g->problem.status = status;
    if (status == UIDPOOL_OK)
        g->problem.text[0] = '\0';
    else
        describe_wish(g);
    g->done(&outcome, g->userdata);
    grant_free(g);
}

int granter_new(struct allocator *a, sd_event *event, struct granter **ret)
{
    struct granter *granter = calloc(1, sizeof(*granter));
    int r;

    if (!granter)
        return -ENOMEM;
    granter->allocator = a;
    granter->event = event;
    granter->end = &granter->jobs;
    r = deferred_init(&granter->work, event, WORK_PRIORITY, on_work, granter);
    if (r < 0) {
        granter_free(granter);
        return r;
    }
    *ret = granter;
    return 0;
}

void granter_free(struct granter *granter)
{
    if (!granter)
        return;
    granter_drop_questions(granter);
    while (granter->jobs) {
        struct grant *g = granter->jobs;

        granter->jobs = g->next;
        grant_free(g);
    }
    stranger_drop_scan(granter);
    deferred_clear(&granter->work);
    free(granter);
}

/* A copy, or NULL for NULL. The shape was checked: nothing is cut. */
static const char *keep(char *to, size_t size, const char *from)
{
    if (!from)
        return NULL;
    (void)snprintf(to, size, "%s", from);
    return to;
}

static void keep_request(struct grant *g, const struct grant_request *request)
{
    struct uidpool_lease_request *lease = &g->request.lease;

    g->request = *request;
    lease->pool = keep(g->pool_name, sizeof(g->pool_name), lease->pool);
    lease->name = keep(g->name, sizeof(g->name), lease->name);
    lease->uuid = keep(g->uuid, sizeof(g->uuid), lease->uuid);
    g->request.reason = keep(g->reason, sizeof(g->reason), request->reason);
}

int granter_add(struct granter *granter, const struct grant_request *request, outcome_fn done,
                void *userdata)
{
    struct grant *g = calloc(1, sizeof(*g));

    if (!g)
        return -ENOMEM;
    g->granter = granter;
    g->claim_fd = g->answer_fd = -1;
    g->backoff = BACKOFF_FIRST;
    g->deadline = clock_monotonic_usec() + request->timeout;
    g->done = done;
    g->userdata = userdata;
    keep_request(g, request);
    *granter->end = g;
    granter->end = &g->next;
    granter->n_jobs++;
    grant_soon(g, grant_begin);
    return 0;
}

size_t granter_pending(const struct granter *granter)
{
    return granter->n_jobs;
}
