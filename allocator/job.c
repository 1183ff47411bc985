/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The life of a revocation's job between its phases: what wakes it, and how it ends. One timer and
 * one descriptor at most are armed at a time. Touches the event loop, and ends its own helpers.
 */
#include "allocator/job.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/spawn.h"

#include <sys/epoll.h>

/* Microseconds between two looks at what cannot be waited for; doubles up to the second. */
#define BACKOFF_FIRST (5 * USEC_PER_MSEC)
#define BACKOFF_LAST (500 * USEC_PER_MSEC)
/* Microseconds a helper may take before it counts as failed; the census has a shorter limit of its
 * own. */
#define HELPER_PATIENCE (20 * USEC_PER_SEC)
/* And more for each uid of a block: a helper goes through them one by one. */
#define HELPER_PATIENCE_EACH (10 * USEC_PER_MSEC)

struct job *job_new(struct revoker *r, enum revocation_kind kind, const struct uidpool_lease *lease,
                    int64_t timeout)
{
    struct job *job = calloc(1, sizeof(*job));

    if (!job)
        return NULL;
    job->revoker = r;
    job->kind = kind;
    job->lease = *lease;
    job->timeout = timeout;
    job->backoff = BACKOFF_FIRST;
    job->reaper_in_use = UIDPOOL_NO_UID;
    job->claim_fd = job->helper_fd = job->wait_fd = job->reaper.lock_fd = -1;
    job->census_fd = job->tally_fd = -1;
    return job;
}

/*
 * Events.
 */

static int dispatch(struct job *job)
{
    phase_fn wake = job->wake;

    job->timer = sd_event_source_disable_unref(job->timer);
    job->io = sd_event_source_disable_unref(job->io);
    job->wake = NULL;
    wake(job);
    return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    (void)source;
    (void)usec;
    return dispatch(userdata);
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    (void)source;
    (void)fd;
    (void)events;
    return dispatch(userdata);
}

/* Without events a job could only hang. */
static void no_events(struct job *job, int error)
{
    (void)problem_errno(&job->problem, error, "uid %u: the event loop failed", job->lease.uid);
    job_end(job, UIDPOOL_FAILED);
}

void job_later(struct job *job, int fd, int64_t usec, phase_fn wake)
{
    int r = 0;

    job->wake = wake;
    if (fd >= 0)
        r = sd_event_add_io(job->revoker->event, &job->io, fd, EPOLLIN, on_io, job);
    if (r >= 0)
        r = sd_event_add_time(job->revoker->event, &job->timer, CLOCK_MONOTONIC,
                              (uint64_t)(clock_monotonic_usec() + usec), 1, on_timer, job);
    if (r < 0)
        no_events(job, r);
}

void job_await(struct job *job, int pidfd, uint32_t uids, phase_fn wake)
{
    job_later(job, pidfd, HELPER_PATIENCE + (int64_t)uids * HELPER_PATIENCE_EACH, wake);
}

bool job_is_late(const struct job *job)
{
    return clock_monotonic_usec() >= job->deadline;
}

int64_t job_backoff(struct job *job)
{
    int64_t left = job->deadline - clock_monotonic_usec(), pause = job->backoff;

    job->backoff = job->backoff * 2 > BACKOFF_LAST ? BACKOFF_LAST : job->backoff * 2;
    return pause > left ? (left > 0 ? left : 0) : pause;
}

void revoker_wake(struct revoker *r)
{
    (void)sd_event_source_set_enabled(r->work, SD_EVENT_ON);
}

/*
 * Ends.
 */

/* A helper whose answer nobody wants any more: it must end all the same, and be reaped. */
static int drop_helper(int pidfd)
{
    if (pidfd >= 0)
        (void)spawn_wait(pidfd, 0);
    return close_fd(pidfd);
}

void job_free(struct job *job)
{
    job->timer = sd_event_source_disable_unref(job->timer);
    job->io = sd_event_source_disable_unref(job->io);
    job->claim_fd = close_fd(job->claim_fd);
    job->helper_fd = drop_helper(job->helper_fd);
    job->census_fd = close_fd(job->census_fd);
    job->tally_fd = close_fd(job->tally_fd);
    job->wait_fd = close_fd(job->wait_fd);
    job->reaper.lock_fd = close_fd(job->reaper.lock_fd);
    tasks_clear(&job->tasks);
    residue_free(job->residue);
    free(job);
}

void job_end(struct job *job, enum uidpool_status status)
{
    struct revoker *r = job->revoker;
    struct job **at = &r->jobs;

    while (*at != job)
        at = &(*at)->next;
    *at = job->next;
    r->n_jobs--;
    r->n_active -= job->active;
    job->problem.status = status;
    if (status == UIDPOOL_OK)
        job->problem.text[0] = '\0';
    job->claim_fd = close_fd(job->claim_fd);
    if (job->done)
        job->done(&job->lease, &job->problem, job->userdata);
    job_free(job);
    revoker_wake(r);
}
