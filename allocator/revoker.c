/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Many revocations on one event loop: how many run at once, and the scan that they share. Touches
 * the event loop and the scan; what a revocation does is revoke.c's.
 */
#include "allocator/revoker.h"

#include "allocator/job.h"
#include "allocator/revoke.h"
#include "common/cleanup.h"
#include "common/clock.h"

#include <errno.h>

/* Jobs at once. Each needs some descriptors, and a reaper uid for the moment of its kill. */
#define ACTIVE_MAX 64
/* Processes looked at before the loop is asked for other work. */
#define SCAN_CHUNK 128

/*
 * The shared scan, and the jobs that wait for their turn.
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

static void activate(struct revoker *r)
{
    struct job *job = r->jobs;

    while (job && r->n_active < ACTIVE_MAX) {
        if (job->active) {
            job = job->next;
            continue;
        }
        job->active = true;
        r->n_active++;
        job->deadline = clock_monotonic_usec() + job->timeout;
        revocation_begin(job);
        job = r->jobs;
    }
}

static int on_work(sd_event_source *source, void *userdata)
{
    struct revoker *r = userdata;

    activate(r);
    if (r->scan) {
        if (scan_step(r->scan, SCAN_CHUNK) > 0)
            return 0;
        end_scan(r);
    }
    begin_scan(r);
    bool waiting = false;
    for (struct job *job = r->jobs; job; job = job->next)
        waiting |= job->scanning || job->wants_scan || (!job->active && r->n_active < ACTIVE_MAX);
    if (!r->scan && waiting)
        end_scan(r); /* there was no memory for it */
    if (!waiting)
        (void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
    return 0;
}

int revoker_new(struct allocator *a, sd_event *event, struct revoker **ret)
{
    _cleanup_(revoker_freep) struct revoker *r = calloc(1, sizeof(*r));
    int e;

    if (!r)
        return -ENOMEM;
    r->allocator = a;
    r->event = sd_event_ref(event);
    /* Behind everything else: a deferred source is always the oldest that waits, so among its
     * equals it would let nobody run until a scan is over, and no two jobs would ever share one. */
    e = sd_event_add_defer(event, &r->work, on_work, r);
    if (e >= 0)
        e = sd_event_source_set_priority(r->work, SD_EVENT_PRIORITY_IDLE);
    if (e < 0)
        return e;
    (void)sd_event_source_set_enabled(r->work, SD_EVENT_OFF);
    *ret = take_ptr(r);
    return 0;
}

void revoker_free(struct revoker *r)
{
    if (!r)
        return;
    while (r->jobs) {
        struct job *job = r->jobs;

        r->jobs = job->next;
        job_free(job);
    }
    scan_free(r->scan);
    sd_event_source_disable_unref(r->work);
    sd_event_unref(r->event);
    free(r);
}

int revoker_add(struct revoker *r, enum revocation_kind kind, const struct uidpool_lease *lease,
                int64_t timeout, revocation_done_fn done, void *userdata)
{
    struct job *job = job_new(r, kind, lease, timeout), **at = &r->jobs;

    if (!job)
        return -ENOMEM;
    job->done = done;
    job->userdata = userdata;
    while (*at)
        at = &(*at)->next;
    *at = job;
    r->n_jobs++;
    revoker_wake(r);
    return 0;
}

size_t revoker_pending(const struct revoker *r)
{
    return r->n_jobs;
}

/*
 * All on a private loop.
 */

struct batch {
    bool (*each)(const struct uidpool_lease *, void *);
    void *userdata;
    struct problem *problem;
    enum uidpool_status status;
};

/* The first problem is kept: later ones are often its echo. */
static void on_done(const struct uidpool_lease *lease, const struct problem *problem,
                    void *userdata)
{
    struct batch *b = userdata;

    if (problem->status == UIDPOOL_OK) {
        if (b->each && !b->each(lease, b->userdata))
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
    _cleanup_(sd_event_unrefp) sd_event *event = NULL;
    _cleanup_(revoker_freep) struct revoker *r = NULL;
    struct batch batch = {.each = each, .userdata = userdata, .problem = p};
    int e = sd_event_new(&event);

    if (e >= 0)
        e = revoker_new(a, event, &r);
    for (size_t i = 0; i < n && e >= 0; i++)
        e = revoker_add(r, kind, &leases[i], (int64_t)timeout * USEC_PER_SEC, on_done, &batch);
    while (e >= 0 && revoker_pending(r) > 0)
        e = sd_event_run(event, UINT64_MAX);
    if (e < 0)
        return problem_errno(p, e, "the event loop failed; unfinished leases stay in revoking");
    return batch.status;
}
