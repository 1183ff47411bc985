/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Revocations as jobs on an event loop. Each function below named phase_* is one step of
 * revoke.h's line; it either goes on to the next or arms one event and returns. Touches the
 * ledger, /proc and the helpers; signals only through allocator/reaper.h.
 *
 * 1. A job MUST hold the claim on its uids before it looks at the lease and until its last commit.
 * 2. The lease MUST be durably in `revoking` before the first signal.
 * 3. The scan MUST begin after the kill has returned, and the census after the scan's tasks are
 * dead.
 * 4. Whatever was not asked, failed, or was late is UNKNOWN, and UNKNOWN proves nothing.
 */
#include "allocator/revoke.h"

#include "allocator/census.h"
#include "allocator/machine.h"
#include "allocator/reaper.h"
#include "allocator/residue.h"
#include "allocator/scan.h"
#include "allocator/tasks.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/spawn.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>

/* Jobs at once. Each needs some descriptors, and a reaper uid for the moment of its kill. */
#define ACTIVE_MAX 64
/* Processes and directory entries looked at before the loop is asked for other work. */
#define SCAN_CHUNK 128
#define RESIDUE_CHUNK 256
/* Microseconds between two looks at what cannot be waited for; doubles up to the second. */
#define BACKOFF_FIRST (5 * USEC_PER_MSEC)
#define BACKOFF_LAST (500 * USEC_PER_MSEC)
/* Between the end of a process and that of its entries in /proc. */
#define LAST_MOMENT INT64_C(200)
/* After so long a wait, kill and scan anew: somebody may have come meanwhile. */
#define KILL_AGAIN USEC_PER_SEC
/* Microseconds a helper may take before it counts as failed; the census has a shorter limit of its
 * own. */
#define HELPER_PATIENCE (20 * USEC_PER_SEC)
/* And more for each uid of a block: a helper goes through them one by one. */
#define HELPER_PATIENCE_EACH (10 * USEC_PER_MSEC)
/* Microseconds for the tally, which runs before the kill and as the uid: its processes can stop it,
 * and must not put off their own end by that. */
#define TALLY_PATIENCE (250 * USEC_PER_MSEC)

struct job;
typedef void (*phase_fn)(struct job *job);

struct job {
    struct revoker *revoker;
    struct job *next;
    enum revocation_kind kind;
    struct uidpool_lease lease;
    struct uidpool_pool pool;
    bool was_other_boot;
    int64_t timeout, deadline;
    revocation_done_fn done;
    void *userdata;

    bool active, wants_scan, scanning;
    phase_fn wake; /* what the armed event runs */
    sd_event_source *timer, *io;
    int64_t backoff, killed_at;

    int claim_fd, helper_fd, tally_fd, wait_fd;
    struct reaper reaper;
    uid_t reaper_in_use; /* the last one that the census found to be */
    struct tasks tasks;
    size_t task;          /* the one waited for */
    uint32_t census_done; /* uids of the range the census has called empty */
    uint32_t census_now;  /* and how many it is asked about */
    bool tallied;
    uint32_t tally;  /* tasks the kernel counted before the first kill */
    uint32_t killed; /* tasks that earlier scans saw and later ones did not */
    struct residue *residue;
    char residue_text[384];
    struct evidence evidence;
    struct problem problem;
};

struct revoker {
    struct allocator *allocator;
    sd_event *event;
    struct job *jobs; /* in order of arrival */
    size_t n_jobs, n_active;
    struct scan *scan;
    sd_event_source *work; /* begins and steps the scan, and starts waiting jobs */
};

static void phase_claim(struct job *job);
static void phase_reaper(struct job *job);
static void phase_scan(struct job *job);
static void phase_wait(struct job *job);
static void phase_census(struct job *job);
static void phase_recount(struct job *job);
static void phase_residue(struct job *job);

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

static void job_end(struct job *job, enum uidpool_status status);

/* Without events a job could only hang. */
static void no_events(struct job *job, int error)
{
    (void)problem_errno(&job->problem, error, "uid %u: the event loop failed", job->lease.uid);
    job_end(job, UIDPOOL_FAILED);
}

/* Run `wake` in `usec`, or, with a descriptor, as soon as that is readable. */
static void job_later(struct job *job, int fd, int64_t usec, phase_fn wake)
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

/* The same, with the patience that a helper for so many uids deserves. */
static void job_await(struct job *job, int pidfd, uint32_t uids, phase_fn wake)
{
    job_later(job, pidfd, HELPER_PATIENCE + (int64_t)uids * HELPER_PATIENCE_EACH, wake);
}

static bool job_is_late(const struct job *job)
{
    return clock_monotonic_usec() >= job->deadline;
}

/* The next pause, never beyond the deadline. */
static int64_t job_backoff(struct job *job)
{
    int64_t left = job->deadline - clock_monotonic_usec(), pause = job->backoff;

    job->backoff = job->backoff * 2 > BACKOFF_LAST ? BACKOFF_LAST : job->backoff * 2;
    return pause > left ? (left > 0 ? left : 0) : pause;
}

static void revoker_wake(struct revoker *r)
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

static void job_free(struct job *job)
{
    job->timer = sd_event_source_disable_unref(job->timer);
    job->io = sd_event_source_disable_unref(job->io);
    job->claim_fd = close_fd(job->claim_fd);
    job->helper_fd = drop_helper(job->helper_fd);
    job->tally_fd = drop_helper(job->tally_fd);
    job->wait_fd = close_fd(job->wait_fd);
    job->reaper.lock_fd = close_fd(job->reaper.lock_fd);
    tasks_clear(&job->tasks);
    residue_free(job->residue);
    free(job);
}

/* Takes the job out of the revoker, tells its owner, frees it. */
static void job_end(struct job *job, enum uidpool_status status)
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

/* Dead now of what the kernel counted before the kill, or of what the scans saw, if that is more:
 * tasks that have the uid as effective uid alone, and those who came later. */
static uint32_t killed_so_far(const struct job *job)
{
    uint32_t alive = (uint32_t)tasks_count(&job->tasks, TASK_ALIVE);
    uint32_t counted = job->tally > alive ? job->tally - alive : 0;
    uint32_t seen = job->killed + (uint32_t)(tasks_count(&job->tasks, TASK_DEAD) +
                                             tasks_count(&job->tasks, TASK_ZOMBIE));

    if (job->kind == REVOCATION_CLEAR)
        return 0;
    return counted > seen ? counted : seen;
}

static void add_survivors(struct allocator *a, const struct tasks *t)
{
    size_t n = tasks_count(t, TASK_ALIVE);
    struct uidpool_survivor *all = reallocarray(a->survivors, a->n_survivors + n + 1, sizeof(*all));

    if (!all)
        return; /* the message still names the first few */
    a->survivors = all;
    for (size_t i = 0; i < t->n; i++) {
        const struct scan_task *task = &t->items[i].is;
        struct uidpool_survivor s = {.pid = task->pid, .tid = task->tid, .state = task->state};

        if (t->items[i].fate != TASK_ALIVE)
            continue;
        memcpy(s.uids, task->uids, sizeof(s.uids));
        (void)snprintf(s.command, sizeof(s.command), "%s", task->command);
        all[a->n_survivors++] = s;
    }
}

/* Store what was found and let the lease make this step, in one transaction. */
static enum uidpool_status store(struct job *job, enum lease_event event, const char *reason,
                                 uint32_t rest)
{
    struct ledger *l = job->revoker->allocator->ledger;
    struct uidpool_lease lease = job->lease;
    enum uidpool_status status = ledger_begin(l, &job->problem);

    if (status != UIDPOOL_OK)
        return status;
    job->evidence.lease = lease.id;
    job->evidence.step = lease.step;
    job->evidence.uids = lease_range(&lease);
    status = ledger_evidence_insert(l, &job->evidence, &job->problem);
    if (status == UIDPOOL_OK)
        status = lease_step(l, &lease, event, reason, rest, &job->problem);
    if (status == UIDPOOL_OK && lease.state == UIDPOOL_STATE_QUARANTINED && rest == 0) {
        struct uidpool_lease gone = lease;

        status = lease_step(l, &gone, LEASE_EVENT_RESTED, NULL, 0, &job->problem);
    }
    if (status == UIDPOOL_OK)
        status = ledger_commit(l, &job->problem);
    ledger_rollback(l);
    if (status != UIDPOOL_OK)
        return status;
    lease.tasks_killed = job->evidence.tasks_killed;
    lease.tasks_scanned = job->evidence.tasks_scanned;
    lease.zombies = job->evidence.zombies;
    job->lease = lease;
    return UIDPOOL_OK;
}

static void describe_failure(struct job *job, const char *why)
{
    const struct uidpool_lease *lease = &job->lease;
    char owner[96];

    (void)lease_owner(lease, owner, sizeof(owner));
    if (job->kind == REVOCATION_CLEAR)
        (void)problem_set(
            &job->problem, UIDPOOL_NOT_PROVEN,
            "pool %s, uid %u stays held, it is not proven empty: %s. End what runs as "
            "it, then run 'uidpool clear %u' again",
            lease->pool, lease->uid, why, lease->uid);
    else
        (void)problem_set(
            &job->problem, UIDPOOL_NOT_PROVEN,
            "pool %s, uid %u (%s) is not proven empty: %s. The lease stays in revoking "
            "and its uid is given to nobody. End what is named, then repeat the "
            "command or run 'uidpool recover'",
            lease->pool, lease->uid, owner, why);
}

/* Not proven. `why` is for the administrator; the survivors, if any, are named first. */
static void job_give_up(struct job *job, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void job_give_up(struct job *job, const char *format, ...)
{
    char why[640], alive[512];
    va_list ap;

    va_start(ap, format);
    (void)vsnprintf(why, sizeof(why), format, ap);
    va_end(ap);
    if (tasks_count(&job->tasks, TASK_ALIVE) > 0) {
        job->evidence.scan = WITNESS_BUSY;
        (void)snprintf(why, sizeof(why), "still there: %s",
                       tasks_describe(&job->tasks, alive, sizeof(alive)));
        add_survivors(job->revoker->allocator, &job->tasks);
    }
    job->evidence.tasks_killed = killed_so_far(job);
    job->evidence.detail = why;
    if (store(job, LEASE_EVENT_NOT_PROVEN, why, 0) != UIDPOOL_OK) {
        /* The lease is in revoking (or held) all the same; say both. */
        struct problem ledger = job->problem;

        describe_failure(job, why);
        (void)problem_set(&job->problem, UIDPOOL_NOT_PROVEN, "%.500s; and %.400s",
                          job->problem.text, ledger.text);
    } else
        describe_failure(job, why);
    job_end(job, UIDPOOL_NOT_PROVEN);
}

/*
 * Phases.
 */

/* What the lease is now that it is ours to look at. */
static void look_at_lease(struct job *job)
{
    struct allocator *a = job->revoker->allocator;
    struct uidpool_lease now;
    enum uidpool_status status = ledger_lease_at(a->ledger, job->lease.uid, 1, &now, &job->problem);

    if (status == UIDPOOL_NOT_FOUND || (status == UIDPOOL_OK && now.id != job->lease.id)) {
        /* Somebody else proved it while we queued, and its rest is over too. */
        job->lease.state = UIDPOOL_STATE_QUARANTINED;
        job->lease.rest_left = 0;
        job_end(job, UIDPOOL_OK);
        return;
    }
    if (status == UIDPOOL_OK)
        status = ledger_pool_by_id(a->ledger, now.pool_id, &job->pool, &job->problem);
    if (status != UIDPOOL_OK) {
        job_end(job, status);
        return;
    }
    job->lease = now;
    job->was_other_boot = now.other_boot;
    if (job->kind == REVOCATION_CLEAR) {
        if (now.state == UIDPOOL_STATE_HELD)
            phase_scan(job);
        else
            job_end(job, problem_set(&job->problem, UIDPOOL_CONFLICT, "uid %u is %s, not held",
                                     now.uid, uidpool_state_name(now.state)));
        return;
    }
    if (now.state == UIDPOOL_STATE_QUARANTINED || now.state == UIDPOOL_STATE_HELD) {
        job_end(job, UIDPOOL_OK);
        return;
    }
    phase_reaper(job);
}

static void phase_claim(struct job *job)
{
    struct ledger *l = job->revoker->allocator->ledger;

    job->claim_fd = ledger_claim_uids(l, job->lease.uid, job->lease.count);
    if (job->claim_fd >= 0) {
        look_at_lease(job);
        return;
    }
    if (job->claim_fd != -EAGAIN) {
        int error = job->claim_fd;

        job->claim_fd = -1;
        job_end(job, problem_errno(&job->problem, error, "uid %u: cannot lock %s.lock",
                                   job->lease.uid, ledger_path(l)));
        return;
    }
    job->claim_fd = -1;
    if (job_is_late(job)) {
        job_end(job, problem_set(&job->problem, UIDPOOL_NOT_PROVEN,
                                 "pool %s, uid %u: another uidpool process is at work on it; "
                                 "nothing was released. Wait for it and repeat the command",
                                 job->lease.pool, job->lease.uid));
        return;
    }
    job_later(job, -1, job_backoff(job), phase_claim);
}

static bool has_ended(int pidfd)
{
    struct pollfd ended = {.fd = pidfd, .events = POLLIN};

    return poll(&ended, 1, 0) == 1;
}

/* A helper that is late is ended, so that it does not signal behind our back. */
static bool helper_is_late(int pidfd)
{
    if (has_ended(pidfd))
        return false;
    (void)spawn_wait(pidfd, 0);
    return true;
}

/* The census's answer, UNKNOWN if it is late. */
static enum witness take_census(struct job *job)
{
    enum witness answer =
        helper_is_late(job->helper_fd) ? WITNESS_UNKNOWN : census_finish(job->helper_fd);

    job->helper_fd = close_fd(job->helper_fd);
    return answer;
}

static void phase_kill_done(struct job *job)
{
    int r = helper_is_late(job->helper_fd) ? -ETIMEDOUT : reaper_finish(job->helper_fd);

    job->helper_fd = close_fd(job->helper_fd);
    job->reaper.lock_fd = close_fd(job->reaper.lock_fd);
    if (r < 0) {
        job_give_up(job, "the helper uidpool-reap did not kill (%s); it said why on standard error",
                    strerror(-r));
        return;
    }
    job->killed_at = clock_monotonic_usec();
    phase_scan(job);
}

static void phase_kill(struct job *job)
{
    struct uid_range pool = {job->pool.base, job->pool.size};

    job->helper_fd = reaper_start(&job->reaper, pool, lease_range(&job->lease), job->claim_fd);
    if (job->helper_fd < 0) {
        int error = job->helper_fd;

        job->helper_fd = -1;
        job_give_up(job, "the helper uidpool-reap cannot be started: %s", strerror(-error));
        return;
    }
    job_await(job, job->helper_fd, job->lease.count, phase_kill_done);
}

static void phase_tally_done(struct job *job)
{
    int n = helper_is_late(job->tally_fd) ? -ETIMEDOUT : census_tally_finish(job->tally_fd);

    job->tally_fd = close_fd(job->tally_fd);
    job->tally = n > 0 ? (uint32_t)n : 0;
    phase_kill(job);
}

/* How many there are to kill, for the evidence: the tally was begun before. */
static void phase_tally(struct job *job)
{
    if (job->tally_fd >= 0)
        job_later(job, job->tally_fd, TALLY_PATIENCE, phase_tally_done);
    else
        phase_kill(job);
}

static void phase_reaper_seen(struct job *job)
{
    enum witness answer = take_census(job);

    if (answer == WITNESS_EMPTY) {
        phase_tally(job);
        return;
    }
    job->reaper.lock_fd = close_fd(job->reaper.lock_fd);
    if (answer == WITNESS_BUSY && !job_is_late(job)) {
        job->reaper_in_use = job->reaper.uid;
        job_later(job, -1, job_backoff(job), phase_reaper);
        return;
    }
    job_give_up(job, "the reaper's uid %u is %s, so killing would hit others; see who runs as it",
                job->reaper.uid, answer == WITNESS_BUSY ? "in use" : "not shown to be unused");
}

/* Rule 2. Durable before anything is signalled; the helpers that were started run meanwhile. */
static enum uidpool_status mark_revoking(struct job *job)
{
    struct ledger *l = job->revoker->allocator->ledger;
    enum uidpool_status status;

    if (job->lease.state == UIDPOOL_STATE_REVOKING)
        return UIDPOOL_OK;
    status = ledger_begin(l, &job->problem);
    if (status == UIDPOOL_OK)
        status = lease_step(l, &job->lease, LEASE_EVENT_RELEASE,
                            job->was_other_boot ? "the host was rebooted" : NULL, 0, &job->problem);
    if (status == UIDPOOL_OK)
        status = ledger_commit(l, &job->problem);
    ledger_rollback(l);
    return status;
}

static void phase_reaper(struct job *job)
{
    struct allocator *a = job->revoker->allocator;
    struct problem problem = {0};
    enum uidpool_status status = reaper_take(a->ledger, job->reaper_in_use, &job->reaper, &problem);

    if (status != UIDPOOL_OK)
        job->reaper.lock_fd = -1;
    else if (job->reaper.lock_fd >= 0)
        job->helper_fd =
            census_start((struct uid_range){job->reaper.uid, 1}, 0, job->reaper.lock_fd);
    if (!job->tallied)
        job->tally_fd = census_tally_start(lease_range(&job->lease), job->claim_fd);
    job->tallied = true;

    enum uidpool_status marked = mark_revoking(job);
    if (marked != UIDPOOL_OK) {
        job_end(job, marked);
        return;
    }
    if (status == UIDPOOL_OK && job->reaper.lock_fd >= 0)
        status = reaper_check(&job->reaper, &problem);
    if (status != UIDPOOL_OK)
        job_give_up(job, "no uid to kill with: %s", problem.text);
    else if (job->reaper.lock_fd < 0 && !job_is_late(job))
        job_later(job, -1, job_backoff(job), phase_reaper);
    else if (job->reaper.lock_fd < 0)
        job_give_up(job, "all uids to kill with are busy in other revocations");
    else if (job->helper_fd < 0) {
        int error = job->helper_fd;

        job->helper_fd = -1;
        job_give_up(job, "the helper uidpool-census cannot be started: %s", strerror(-error));
    } else
        job_await(job, job->helper_fd, 1, phase_reaper_seen);
}

/* Ask for a scan that begins after now; the revoker's work calls phase_scanned(). */
static void phase_scan(struct job *job)
{
    job->wants_scan = true;
    job->evidence.scan = job->evidence.census = WITNESS_UNKNOWN;
    revoker_wake(job->revoker);
}

/* Those kill(-1) could not reach, one by one. */
static void kill_unreachable(struct job *job)
{
    if (job->kind == REVOCATION_CLEAR)
        return;
    for (size_t i = 0; i < job->tasks.n; i++) {
        const struct task *task = &job->tasks.items[i];

        /* Refused ones stay alive in the list and so become survivors. */
        if (task->fate == TASK_ALIVE && !task_is_reachable(&task->is, job->tasks.range))
            (void)reaper_kill_task(&task->is, job->tasks.range);
    }
}

static void phase_scanned(struct job *job, const struct scan *scan)
{
    size_t gone = 0;
    int r = tasks_take(&job->tasks, scan, lease_range(&job->lease), &gone);

    job->killed += (uint32_t)gone;
    job->evidence.tasks_scanned = scan_looked(scan);
    if (r < 0)
        job_give_up(job, "no memory for what the scan saw");
    else if (scan_blind(scan))
        job_give_up(job, "the scan cannot see every task: %s", scan_blind(scan));
    else {
        kill_unreachable(job);
        job->task = 0;
        phase_wait(job);
    }
}

static void progress_on_wait(struct job *job)
{
    char alive[256];

    allocator_progress(job->revoker->allocator, "uid %u: waiting for %s", job->lease.uid,
                       tasks_describe(&job->tasks, alive, sizeof(alive)));
}

/* Nothing the scan saw can have left something behind that it did not see: there were but zombies,
 * or all that lived had the kill pending and so could not fork. Otherwise only another scan tells.
 */
static bool scan_is_settled(const struct job *job)
{
    const struct tasks *t = &job->tasks;

    if (tasks_count(t, TASK_ZOMBIE) == t->n)
        return true;
    return job->kind == REVOCATION_KILL && tasks_all_reachable(t) &&
           tasks_count(t, TASK_OTHER) == 0;
}

/* Wait until everything the scan saw has ended, one after the other. */
static void phase_wait(struct job *job)
{
    job->wait_fd = close_fd(job->wait_fd);
    while (job->task < job->tasks.n && tasks_look(&job->tasks, job->task) != TASK_ALIVE)
        job->task++;

    if (job->task == job->tasks.n) {
        if (scan_is_settled(job)) {
            job->evidence.scan = WITNESS_EMPTY;
            phase_recount(job);
        } else if (job_is_late(job))
            job_give_up(job, "tasks of the uid came and went until the time was up");
        else
            job_later(job, -1, job_backoff(job), phase_scan);
        return;
    }
    if (job_is_late(job) || job->kind == REVOCATION_CLEAR) {
        for (size_t i = job->task; i < job->tasks.n; i++)
            (void)tasks_look(&job->tasks, i);
        job_give_up(job, "something still runs");
        return;
    }
    if (clock_monotonic_usec() - job->killed_at > KILL_AGAIN) {
        progress_on_wait(job);
        job->killed_at = clock_monotonic_usec();
        job_later(job, -1, job_backoff(job), phase_reaper);
        return;
    }
    /* A pidfd tells the end of the whole process at once; the pause is for what never ends. What
     * has ended but can still be seen goes in a moment: its pidfd would only wake us on and on. */
    job->wait_fd = pidfd_open(job->tasks.items[job->task].is.pid, 0);
    if (job->wait_fd < 0 ? errno == ESRCH : has_ended(job->wait_fd)) {
        job->wait_fd = close_fd(job->wait_fd);
        job_later(job, -1, LAST_MOMENT, phase_wait);
    } else
        job_later(job, job->wait_fd, job_backoff(job), phase_wait);
}

/* The kernel counts more than the scan could see, or could not be asked. */
static void census_failed(struct job *job, enum witness answer)
{
    uid_t uid = job->lease.uid + job->census_done;

    job->evidence.census = answer;
    if (answer == WITNESS_UNKNOWN && !job_is_late(job) && !tasks_zombies_stayed(&job->tasks)) {
        job_later(job, -1, job_backoff(job), phase_recount);
        return;
    }
    if (job->kind == REVOCATION_KILL && !job_is_late(job)) {
        allocator_progress(job->revoker->allocator,
                           "uid %u: the census still counts a task that the scan does not see",
                           uid);
        job_later(job, -1, job_backoff(job), phase_reaper);
        return;
    }
    if (answer == WITNESS_BUSY)
        job_give_up(job,
                    "the census counts a task of uid %u that the scan cannot see: it runs in a PID "
                    "namespace outside of this one, or came since",
                    uid);
    else
        job_give_up(job, "the census of uid %u has no answer", uid);
}

/* Zombies were reaped since the scan, or while the census counted them. They can have left nobody
 * behind, so what the scan saw still holds, and the census alone is asked again. */
static void phase_recount(struct job *job)
{
    bool came_back;

    (void)tasks_zombies_stayed(&job->tasks);
    /* Or its number is another's by now, who is not in what the scan saw. */
    came_back = tasks_count(&job->tasks, TASK_ALIVE) > 0;
    job->census_done = 0;
    if (came_back)
        phase_scan(job);
    else
        phase_census(job);
}

static void phase_census_done(struct job *job)
{
    enum witness answer =
        helper_is_late(job->helper_fd) ? WITNESS_UNKNOWN : census_finish(job->helper_fd);

    job->helper_fd = close_fd(job->helper_fd);
    if (answer != WITNESS_EMPTY) {
        census_failed(job, answer);
        return;
    }
    job->census_done += job->census_now;
    phase_census(job);
}

/* As many uids at once as have the same number of zombies, mostly all with none. */
static void phase_census(struct job *job)
{
    uid_t uid = job->lease.uid + job->census_done;
    uint32_t zombies = tasks_zombies_of(&job->tasks, uid);

    if (job->census_done == job->lease.count) {
        if (tasks_zombies_stayed(&job->tasks)) {
            job->evidence.census = WITNESS_EMPTY;
            phase_residue(job);
        } else if (job_is_late(job))
            job_give_up(job, "dead tasks were reaped while the census counted them");
        else
            job_later(job, -1, job_backoff(job), phase_recount);
        return;
    }
    job->census_now = 1;
    while (job->census_done + job->census_now < job->lease.count &&
           tasks_zombies_of(&job->tasks, uid + job->census_now) == zombies)
        job->census_now++;
    job->helper_fd = census_start((struct uid_range){uid, job->census_now}, zombies, job->claim_fd);
    if (job->helper_fd < 0) {
        int error = job->helper_fd;

        job->helper_fd = -1;
        job_give_up(job, "the helper uidpool-census cannot be started: %s", strerror(-error));
        return;
    }
    job_await(job, job->helper_fd, job->census_now, phase_census_done);
}

/* Seconds of quarantine. A reboot ends every descriptor and mapping that could outlive a process,
 * so what only a reboot killed rests no longer. A hold's own rest began when it was proven; that of
 * a stranger's uid begins now, for nobody knows since when the stranger is gone. */
static uint32_t rest_of(const struct job *job)
{
    bool stranger = job->lease.domid == UIDPOOL_NO_DOMID && !job->lease.name[0];

    if (job->kind == REVOCATION_CLEAR && !stranger)
        return job->lease.rest_left;
    if (job->kind == REVOCATION_CLEAR)
        return job->pool.quarantine;
    return job->was_other_boot && job->evidence.tasks_killed == 0 ? 0 : job->pool.quarantine;
}

static void phase_store(struct job *job)
{
    size_t found = residue_count(job->residue);
    char reason[UIDPOOL_REASON_MAX + 1] = "";
    enum uidpool_status status;

    (void)snprintf(job->residue_text, sizeof(job->residue_text), "%s", residue_text(job->residue));
    job->evidence.residue = (uint32_t)found;
    job->evidence.zombies = (uint32_t)tasks_count(&job->tasks, TASK_ZOMBIE);
    job->evidence.tasks_killed = killed_so_far(job);
    if (found)
        (void)snprintf(reason, sizeof(reason), "left behind: %s", job->residue_text);
    else if (residue_removed(job->residue) > 0)
        (void)snprintf(reason, sizeof(reason), "removed %zu IPC objects",
                       residue_removed(job->residue));
    job->evidence.detail = reason[0] ? reason : NULL;
    status = store(job, found ? LEASE_EVENT_RESIDUE : LEASE_EVENT_PROVEN, found ? reason : NULL,
                   rest_of(job));
    if (status == UIDPOOL_OK && found && job->kind == REVOCATION_CLEAR)
        status = problem_set(&job->problem, UIDPOOL_CONFLICT,
                             "uid %u stays held: left behind: %s. Look at it, remove it or give it "
                             "another owner, and run 'uidpool clear %u' again",
                             job->lease.uid, job->residue_text, job->lease.uid);
    job_end(job, status);
}

static void phase_residue_step(struct job *job)
{
    if (residue_step(job->residue, RESIDUE_CHUNK) > 0)
        job_later(job, -1, 0, phase_residue_step);
    else
        phase_store(job);
}

static void phase_residue(struct job *job)
{
    int r = residue_new(lease_range(&job->lease), job->revoker->allocator->places, &job->residue);

    if (r < 0)
        job_give_up(job, "the look for residue cannot begin: %s", strerror(-r));
    else
        phase_residue_step(job);
}

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

/* A job may end in phase_scanned(), and its owner may add others: look from the start each time. */
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
        if (scan)
            phase_scanned(job, scan);
        else
            job_give_up(job, "the scan cannot begin");
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
        phase_claim(job);
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
    struct job *job = calloc(1, sizeof(*job)), **at = &r->jobs;

    if (!job)
        return -ENOMEM;
    job->revoker = r;
    job->kind = kind;
    job->lease = *lease;
    job->timeout = timeout;
    job->done = done;
    job->userdata = userdata;
    job->backoff = BACKOFF_FIRST;
    job->reaper_in_use = UIDPOOL_NO_UID;
    job->claim_fd = job->helper_fd = job->tally_fd = job->wait_fd = job->reaper.lock_fd = -1;
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
