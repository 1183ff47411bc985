/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Many revocations on one event loop: how many run at once, the scan that they share, and helpers
 * whose answer nobody wants any more. Touches the event loop and the scan; what a revocation does
 * is revoke.c's.
 */
#include "allocator/revoker.h"

#include "allocator/job.h"
#include "allocator/revoke.h"
#include "allocator/volley.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/spawn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>

/* Jobs at once. */
#define ACTIVE_MAX 100
/* Descriptors that a job may have open at once, with its part of a kill and of the walk for
 * residue: of a process that may open fewer, some must be left for others. */
#define JOB_DESCRIPTORS 8
/* Jobs begun, and processes looked at, before the loop is asked for other work. */
#define BEGIN_CHUNK 8
#define SCAN_CHUNK 128
/* Microseconds after which the scan's next step waits for nobody any more: a loop that always has
 * something better to do would never prove anything. */
#define SCAN_PATIENCE (20 * USEC_PER_MSEC)

/*
 * The shared scan.
 */

static void begin_scan(struct revoker *r)
{
    struct uid_range *ranges = calloc(ACTIVE_MAX, sizeof(*ranges));
    size_t n = 0;

    for (struct job *job = r->jobs; job && ranges; job = job->next)
        if (job->wants_scan && n < ACTIVE_MAX) {
            ranges[n++] = lease_range(&job->lease);
            job->wants_scan = false;
            job->scanning = true;
        }
    if (n > 0 && scan_new(ranges, n, &r->scan) < 0)
        r->scan = NULL;
    free(ranges);
}

/* A job may end in revocation_scanned(), and its owner may add others: look from the start each
 * time. */
static void end_scan(struct revoker *r)
{
    struct scan *scan = take_ptr(r->scan);
    struct job *job = r->jobs;

    while (job) {
        if (!job->scanning) {
            job = job->next;
            continue;
        }
        job->scanning = false;
        revocation_scanned(job, scan);
        job = r->jobs;
    }
    scan_free(scan);
}

static void step_scan(struct revoker *r)
{
    bool waiting = false;

    if (r->scan) {
        if (scan_step(r->scan, SCAN_CHUNK) > 0)
            return;
        end_scan(r);
    }
    begin_scan(r);
    for (struct job *job = r->jobs; job; job = job->next)
        waiting |= job->scanning || job->wants_scan;
    if (!r->scan && waiting)
        end_scan(r); /* there was no memory for it */
    if (!waiting) {
        (void)sd_event_source_set_enabled(r->work, SD_EVENT_OFF);
        (void)sd_event_source_set_enabled(r->hurry, SD_EVENT_OFF);
    }
}

static void set_patience(struct revoker *r)
{
    (void)sd_event_source_set_time(r->hurry, (uint64_t)(clock_monotonic_usec() + SCAN_PATIENCE));
    (void)sd_event_source_set_enabled(r->hurry, SD_EVENT_ONESHOT);
}

static int on_work(sd_event_source *source, void *userdata)
{
    (void)source;
    set_patience(userdata);
    step_scan(userdata);
    return 0;
}

static int on_hurry(sd_event_source *source, uint64_t usec, void *userdata)
{
    (void)usec;
    return on_work(source, userdata);
}

/*
 * The jobs that wait for their turn.
 */

static struct job *first_waiting(struct revoker *r)
{
    struct job *job = r->n_active < r->active_max ? r->jobs : NULL;

    while (job && job->active)
        job = job->next;
    return job;
}

static int on_begin(sd_event_source *source, void *userdata)
{
    struct revoker *r = userdata;
    struct job *job;

    for (unsigned i = 0; i < BEGIN_CHUNK && (job = first_waiting(r)); i++) {
        job->active = true;
        r->n_active++;
        job->deadline = clock_monotonic_usec() + job->timeout;
        revocation_begin(job);
    }
    if (!first_waiting(r))
        (void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
    return 0;
}

void revoker_wake(struct revoker *r)
{
    if (first_waiting(r))
        (void)sd_event_source_set_enabled(r->begin, SD_EVENT_ON);
}

void revoker_want_scan(struct revoker *r)
{
    set_patience(r);
    (void)sd_event_source_set_enabled(r->work, SD_EVENT_ON);
}

/*
 * Helpers that are late.
 */

struct orphan {
    struct orphan *next;
    struct revoker *revoker;
    sd_event_source *source;
    int pidfd;
};

static void orphan_free(struct orphan *o)
{
    struct orphan **at = &o->revoker->orphans;

    while (*at && *at != o)
        at = &(*at)->next;
    if (*at)
        *at = o->next;
    sd_event_source_disable_unref(o->source);
    (void)spawn_wait(o->pidfd, 0);
    (void)close_fd(o->pidfd);
    free(o);
}

static int on_orphan_end(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    (void)source;
    (void)fd;
    (void)events;
    orphan_free(userdata);
    return 0;
}

void revoker_bury(struct revoker *r, int pidfd)
{
    struct orphan *o = calloc(1, sizeof(*o));

    if (!o || spawn_kill(pidfd) < 0 ||
        sd_event_add_io(r->event, &o->source, pidfd, EPOLLIN, on_orphan_end, o) < 0) {
        /* It has ended, or there is no memory: then the wait is here. */
        (void)spawn_wait(pidfd, 0);
        (void)close_fd(pidfd);
        free(o);
        return;
    }
    o->revoker = r;
    o->pidfd = pidfd;
    o->next = r->orphans;
    r->orphans = o;
}

/*
 * The revoker.
 */

static size_t most_at_once(void)
{
    struct rlimit limit;
    size_t n = ACTIVE_MAX;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur / JOB_DESCRIPTORS < n)
        n = (size_t)(limit.rlim_cur / JOB_DESCRIPTORS);
    return n > 0 ? n : 1;
}

/* Jobs begin as others of the loop's events come. The scan comes behind everything else: a deferred
 * source is always the oldest that waits, so among its equals it would let nobody run until a scan
 * is over, and no two jobs would ever share one. */
static int add_sources(struct revoker *r)
{
    int e = sd_event_add_defer(r->event, &r->begin, on_begin, r);

    if (e >= 0)
        e = sd_event_source_set_enabled(r->begin, SD_EVENT_OFF);
    if (e >= 0)
        e = sd_event_add_defer(r->event, &r->work, on_work, r);
    if (e >= 0)
        e = sd_event_source_set_priority(r->work, SD_EVENT_PRIORITY_IDLE);
    if (e >= 0)
        e = sd_event_source_set_enabled(r->work, SD_EVENT_OFF);
    if (e >= 0)
        e = sd_event_add_time(r->event, &r->hurry, CLOCK_MONOTONIC, UINT64_MAX, USEC_PER_MSEC,
                              on_hurry, r);
    if (e >= 0)
        e = sd_event_source_set_enabled(r->hurry, SD_EVENT_OFF);
    return e;
}

int revoker_new(struct allocator *a, sd_event *event, struct revoker **ret)
{
    _cleanup_(revoker_freep) struct revoker *r = calloc(1, sizeof(*r));
    int e;

    if (!r)
        return -ENOMEM;
    r->allocator = a;
    r->end = &r->jobs;
    r->event = sd_event_ref(event);
    r->active_max = most_at_once();
    e = add_sources(r);
    if (e < 0)
        return e;
    *ret = take_ptr(r);
    return 0;
}

void revoker_free(struct revoker *r)
{
    if (!r)
        return;
    volley_drop_all(r);
    while (r->jobs) {
        struct job *job = r->jobs;

        r->jobs = job->next;
        job_free(job);
    }
    while (r->orphans)
        orphan_free(r->orphans);
    scan_free(r->scan);
    sd_event_source_disable_unref(r->begin);
    sd_event_source_disable_unref(r->work);
    sd_event_source_disable_unref(r->hurry);
    sd_event_unref(r->event);
    free(r);
}

int revoker_add(struct revoker *r, enum revocation_kind kind, const struct uidpool_lease *lease,
                int64_t timeout, const struct revocation_guard *guard, outcome_fn done,
                void *userdata)
{
    struct job *job = job_new(r, kind, lease, timeout);

    if (!job)
        return -ENOMEM;
    job->guard = guard;
    job->done = done;
    job->userdata = userdata;
    *r->end = job;
    r->end = &job->next;
    r->n_jobs++;
    revoker_wake(r);
    return 0;
}

/* What goes may take others with it: look from the start each time. */
void revoker_forget(struct revoker *r, const void *userdata)
{
    struct job *job = r->jobs;

    while (job) {
        if (job->userdata != userdata) {
            job = job->next;
            continue;
        }
        job_unlink(job);
        job_free(job);
        job = r->jobs;
    }
    revoker_wake(r);
}

size_t revoker_pending(const struct revoker *r)
{
    return r->n_jobs;
}

/*
 * All on the private loop.
 */

struct batch {
    struct allocator *allocator;
    bool (*each)(const struct uidpool_lease *, void *);
    void *userdata;
    struct problem *problem;
    enum uidpool_status status;
    size_t pending;
};

static void add_survivors(struct allocator *a, const struct outcome *outcome)
{
    struct uidpool_survivor *all;

    if (outcome->n_survivors == 0)
        return;
    all = reallocarray(a->survivors, a->n_survivors + outcome->n_survivors, sizeof(*all));
    if (!all)
        return; /* the message still names the first few */
    memcpy(all + a->n_survivors, outcome->survivors, outcome->n_survivors * sizeof(*all));
    a->survivors = all;
    a->n_survivors += outcome->n_survivors;
}

/* The first problem is kept: later ones are often its echo. */
static void on_done(const struct outcome *outcome, void *userdata)
{
    const struct problem *problem = outcome->problem;
    struct batch *b = userdata;

    b->pending--;
    add_survivors(b->allocator, outcome);
    if (problem->status == UIDPOOL_OK) {
        if (b->each && !b->each(outcome->lease, b->userdata))
            b->each = NULL;
    } else if (b->status == UIDPOOL_OK) {
        b->status = problem->status;
        if (b->problem)
            *b->problem = *problem;
    }
}

enum uidpool_status revoke_all(struct allocator *a, enum revocation_kind kind,
                               const struct uidpool_lease *leases, size_t n, uint32_t timeout,
                               bool (*each)(const struct uidpool_lease *, void *), void *userdata,
                               struct problem *p)
{
    struct batch batch = {.allocator = a, .each = each, .userdata = userdata, .problem = p};
    int e = allocator_attach(a, NULL);

    for (size_t i = 0; i < n && e >= 0; i++) {
        e = revoker_add(a->revoker, kind, &leases[i], (int64_t)timeout * USEC_PER_SEC, NULL,
                        on_done, &batch);
        batch.pending += e >= 0;
    }
    while (e >= 0 && batch.pending > 0)
        e = sd_event_run(a->event, UINT64_MAX);
    if (e < 0) {
        /* The jobs that are left know this batch. */
        allocator_detach(a);
        return problem_errno(p, e, "the event loop failed; unfinished leases stay in revoking");
    }
    return batch.status;
}
