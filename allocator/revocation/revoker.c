/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Many revocations on one event loop: how many run at once, the scan that they share, and helpers
 * whose answer nobody wants any more. Touches the event loop and the scan; what a revocation does
 * is revoke.c's.
 */
#include "allocator/revocation/revoker.h"

#include "allocator/revocation/job.h"
#include "allocator/revocation/revoke.h"
#include "allocator/revocation/rollcall.h"
#include "allocator/revocation/volley.h"
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
#define SWEEP_CHUNK 256
/* Microseconds after which the next step of these waits for nobody any more: a loop that always has
 * something better to do would never prove anything. */
#define WORK_PATIENCE (20 * USEC_PER_MSEC)
/* Microseconds that a scan waits for others who will want it too, at least and at most. */
#define SCAN_GATHER (5 * USEC_PER_MSEC)
#define SCAN_GATHER_MOST (250 * USEC_PER_MSEC)
/* Before the committer, so that helpers run while it waits for the disk. */
#define MUSTER_PRIORITY (SD_EVENT_PRIORITY_NORMAL + 5)

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

/*
 * The shared look for residue. It says yes for all or nothing.
 */

static bool wants_sweep(const struct job *job)
{
    return job->wants_sweep;
}

static bool is_sweeping(const struct revoker *r)
{
    const struct job *job = r->jobs;

    while (job && !job->sweeping)
        job = job->next;
    return job != NULL;
}

static void begin_sweep(struct revoker *r)
{
    _cleanup_free_ struct job **jobs = calloc(r->n_active ? r->n_active : 1, sizeof(struct job *));
    _cleanup_free_ struct uid_range *ranges = calloc(ACTIVE_MAX, sizeof(*ranges));
    size_t n = jobs && ranges ? revoker_collect(r, wants_sweep, jobs) : 0;

    for (size_t i = 0; i < n; i++) {
        ranges[i] = lease_range(&jobs[i]->lease);
        jobs[i]->wants_sweep = false;
        jobs[i]->sweeping = true;
    }
    if (n > 0 && residue_new_look(ranges, n, r->allocator->places, &r->sweep) < 0)
        r->sweep = NULL;
}

/* As end_scan(). */
static void end_sweep(struct revoker *r)
{
    struct residue *sweep = take_ptr(r->sweep);
    bool clean = sweep && residue_count(sweep) == 0;
    struct job *job = r->jobs;

    residue_free(sweep);
    while (job) {
        if (!job->sweeping) {
            job = job->next;
            continue;
        }
        job->sweeping = false;
        revocation_swept(job, clean);
        job = r->jobs;
    }
}

/*
 * Both, step by step.
 */

enum work {
    WORK_NONE,
    WORK_WAITS, /* for those who will want the same in a moment */
    WORK_DONE,
};

/* Who is killed in a moment wants a scan that begins after that. To wait for them is worth what the
 * scan itself costs, and no more. */
static bool scan_waits(const struct revoker *r)
{
    int64_t patience = r->scan_cost > SCAN_GATHER ? r->scan_cost : SCAN_GATHER;

    if (patience > SCAN_GATHER_MOST)
        patience = SCAN_GATHER_MOST;
    return volley_is_near(r) && clock_monotonic_usec() - r->scan_wanted < patience;
}

static bool wants_scan(const struct revoker *r)
{
    const struct job *job = r->jobs;

    while (job && !job->wants_scan)
        job = job->next;
    return job != NULL;
}

static enum work step_scan(struct revoker *r)
{
    if (!r->scan) {
        if (!wants_scan(r))
            return WORK_NONE;
        if (r->scan_wanted == 0)
            r->scan_wanted = clock_monotonic_usec();
        if (scan_waits(r))
            return WORK_WAITS;
        r->scan_begun = clock_monotonic_usec();
        r->scan_wanted = 0;
        begin_scan(r);
    }
    /* Without memory for it there is none, and its jobs are told. */
    if (r->scan && scan_step(r->scan, SCAN_CHUNK) > 0)
        return WORK_DONE;
    r->scan_cost = clock_monotonic_usec() - r->scan_begun;
    end_scan(r);
    return WORK_DONE;
}

static enum work step_sweep(struct revoker *r)
{
    if (!r->sweep) {
        begin_sweep(r);
        if (!r->sweep && !is_sweeping(r))
            return WORK_NONE;
    }
    if (r->sweep && residue_count(r->sweep) == 0 && residue_step(r->sweep, SWEEP_CHUNK) > 0)
        return WORK_DONE;
    end_sweep(r);
    return WORK_DONE;
}

static void set_patience(struct revoker *r, int64_t usec)
{
    (void)sd_event_source_set_time(r->hurry, (uint64_t)(clock_monotonic_usec() + usec));
    (void)sd_event_source_set_enabled(r->hurry, SD_EVENT_ONESHOT);
}

static int on_work(sd_event_source *source, void *userdata)
{
    struct revoker *r = userdata;
    enum work scan, sweep;

    (void)source;
    set_patience(r, WORK_PATIENCE);
    scan = step_scan(r);
    sweep = step_sweep(r);
    if (scan == WORK_DONE || sweep == WORK_DONE)
        return 0;
    (void)sd_event_source_set_enabled(r->work, SD_EVENT_OFF);
    if (scan == WORK_WAITS)
        set_patience(r, USEC_PER_MSEC);
    else
        (void)sd_event_source_set_enabled(r->hurry, SD_EVENT_OFF);
    return 0;
}

static int on_hurry(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct revoker *r = userdata;

    (void)usec;
    (void)sd_event_source_set_enabled(r->work, SD_EVENT_ON);
    return on_work(source, r);
}

void revoker_work(struct revoker *r)
{
    set_patience(r, WORK_PATIENCE);
    (void)sd_event_source_set_enabled(r->work, SD_EVENT_ON);
}

/*
 * Those who want the same at the same time.
 */

static int compare_uids(const void *a, const void *b)
{
    const struct job *const *x = a, *const *y = b;

    return ((*x)->lease.uid > (*y)->lease.uid) - ((*x)->lease.uid < (*y)->lease.uid);
}

size_t revoker_collect(const struct revoker *r, bool (*wants)(const struct job *), struct job **ret)
{
    size_t n = 0;

    for (struct job *job = r->jobs; job; job = job->next)
        if (job->active && wants(job))
            ret[n++] = job;
    if (n > 1)
        qsort(ret, n, sizeof(struct job *), compare_uids);
    return n;
}

static void on_muster(void *userdata)
{
    struct revoker *r = userdata;

    volley_muster(r);
    rollcall_muster(r);
}

void revoker_muster(struct revoker *r)
{
    deferred_wake(&r->muster);
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

static int add_deferred(struct revoker *r, sd_event_source **ret, sd_event_handler_t handler,
                        int64_t priority)
{
    int e = sd_event_add_defer(r->event, ret, handler, r);

    if (e >= 0)
        e = sd_event_source_set_priority(*ret, priority);
    return e < 0 ? e : sd_event_source_set_enabled(*ret, SD_EVENT_OFF);
}

/* Jobs begin as others of the loop's events come; the rest is for all that are ready by then. The
 * scan comes behind everything else: a deferred source is always the oldest that waits, so among
 * its equals it would let nobody run until a scan is over, and no two jobs would ever share one. */
static int add_sources(struct revoker *r)
{
    int e = add_deferred(r, &r->begin, on_begin, SD_EVENT_PRIORITY_NORMAL);

    if (e >= 0)
        e = deferred_init(&r->muster, r->event, MUSTER_PRIORITY, on_muster, r);
    if (e >= 0)
        e = add_deferred(r, &r->work, on_work, SD_EVENT_PRIORITY_IDLE);
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
    rollcall_drop_all(r);
    while (r->jobs) {
        struct job *job = r->jobs;

        r->jobs = job->next;
        job_free(job);
    }
    while (r->orphans)
        orphan_free(r->orphans);
    scan_free(r->scan);
    residue_free(r->sweep);
    sd_event_source_disable_unref(r->begin);
    deferred_clear(&r->muster);
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
