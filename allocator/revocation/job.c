/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The life of a revocation's job between its phases: what wakes it, what it writes, and how it
 * ends. It waits for one thing at a time. Touches the event loop and the committer.
 */
#include "allocator/revocation/job.h"

#include "allocator/revocation/rollcall.h"
#include "allocator/revocation/volley.h"
#include "common/cleanup.h"
#include "common/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

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
    job->claim_fd = job->wait_fd = job->guard_fd = -1;
    job->census_fd = -1;
    return job;
}

/*
 * Events.
 */

static void on_wake(void *userdata)
{
    struct job *job = userdata;

    job->wake(job);
}

/* Without events a job could only hang. */
static void no_events(struct job *job, int error)
{
    (void)problem_errno(&job->problem, error, "uid %u: the event loop failed", job->lease.uid);
    job_end(job, UIDPOOL_FAILED);
}

void job_later(struct job *job, int fd, int64_t usec, phase_fn wake)
{
    int r;

    job->wake = wake;
    r = await_set(&job->await, job->revoker->event, fd, usec, on_wake, job);
    if (r < 0)
        no_events(job, r);
}

int64_t helper_patience(uint32_t uids)
{
    return HELPER_PATIENCE + (int64_t)uids * HELPER_PATIENCE_EACH;
}

void job_await(struct job *job, int fd, uint32_t uids, phase_fn wake)
{
    job_later(job, fd, helper_patience(uids), wake);
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

void job_commit(struct job *job, commit_write_fn write, commit_done_fn done)
{
    int r = committer_add(job->revoker->allocator->committer, write, done, job);

    if (r < 0) {
        struct problem problem = {0};

        (void)problem_errno(&problem, r, "uid %u: cannot write the ledger", job->lease.uid);
        done(UIDPOOL_FAILED, &problem, job);
    }
}

void job_keep_survivors(struct job *job)
{
    const struct tasks *t = &job->tasks;
    size_t n = tasks_count(t, TASK_ALIVE);
    struct uidpool_survivor *all = calloc(n ? n : 1, sizeof(*all));

    if (!all)
        return; /* the message still names the first few */
    free(job->survivors);
    job->survivors = all;
    job->n_survivors = 0;
    for (size_t i = 0; i < t->n; i++) {
        const struct scan_task *task = &t->items[i].is;
        struct uidpool_survivor s = {.pid = task->pid, .tid = task->tid, .state = task->state};

        if (t->items[i].fate != TASK_ALIVE)
            continue;
        memcpy(s.uids, task->uids, sizeof(s.uids));
        (void)snprintf(s.command, sizeof(s.command), "%s", task->command);
        all[job->n_survivors++] = s;
    }
}

/*
 * Ends.
 */

void job_free(struct job *job)
{
    committer_forget(job->revoker->allocator->committer, job);
    volley_leave(job);
    rollcall_leave(job);
    await_clear(&job->await);
    job->claim_fd = close_fd(job->claim_fd);
    job->guard_fd = close_fd(job->guard_fd);
    job->census_fd = close_fd(job->census_fd);
    job->wait_fd = close_fd(job->wait_fd);
    tasks_clear(&job->tasks);
    residue_free(job->residue);
    free(job->survivors);
    free(job);
}

void job_unlink(struct job *job)
{
    struct revoker *r = job->revoker;
    struct job **at = &r->jobs;

    while (*at != job)
        at = &(*at)->next;
    *at = job->next;
    if (!*at)
        r->end = at;
    r->n_jobs--;
    r->n_active -= job->active;
}

void job_end(struct job *job, enum uidpool_status status)
{
    struct revoker *r = job->revoker;
    struct outcome outcome = {.lease = &job->lease, .problem = &job->problem};

    job_unlink(job);
    job->problem.status = status;
    if (status == UIDPOOL_OK)
        job->problem.text[0] = '\0';
    if (status == UIDPOOL_NOT_PROVEN) {
        outcome.survivors = job->survivors;
        outcome.n_survivors = job->n_survivors;
    }
    /* The uids are everybody's again before anybody is told so. */
    volley_leave(job);
    job->claim_fd = close_fd(job->claim_fd);
    if (job->done)
        job->done(&outcome, job->userdata);
    job_free(job);
    revoker_wake(r);
}
