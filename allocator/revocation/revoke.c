/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The phases of a revocation. Each function below named phase_* is one step of revocation.h's line;
 * it either goes on to the next or arms one event and returns. Touches the ledger, /proc and the
 * helpers; signals only through allocator/revocation/volley.h and allocator/reaper.h.
 *
 * 1. A job MUST hold the claim on its uids before it looks at the lease and until its last commit.
 * 2. The lease MUST be durably in `revoking` before the first signal: only volley_ready() lets the
 *    kill begin, and it is called when the ledger says so.
 * 3. The scan MUST begin after the kill has returned, and the census after the scan's tasks are
 * dead.
 * 4. Whatever was not asked, failed, or was late is UNKNOWN, and UNKNOWN proves nothing.
 * 5. The guard MUST be asked right before each signal, and after the lease is in `revoking`: a
 * domid that gets its next owner after that is refused by the ledger.
 */
#include "allocator/revocation/revoke.h"

#include "allocator/census.h"
#include "allocator/revocation/job.h"
#include "allocator/revocation/rollcall.h"
#include "allocator/revocation/volley.h"
#include "common/cleanup.h"
#include "common/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>

/* Directory entries looked at before the loop is asked for other work. */
#define RESIDUE_CHUNK 256
/* Between the end of a process and that of its entries in /proc. */
#define LAST_MOMENT INT64_C(200)
/* After so long a wait, kill and scan anew: somebody may have come meanwhile. */
#define KILL_AGAIN USEC_PER_SEC
/* Microseconds for the guard's answer. */
#define GUARD_PATIENCE (5 * USEC_PER_SEC)

static void phase_mark(struct job *job);
static void phase_kill_again(struct job *job);
static void phase_scan(struct job *job);
static void phase_wait(struct job *job);
static void phase_census(struct job *job);
static void phase_recount(struct job *job);
static void phase_residue(struct job *job);

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

/* Store what was found, and let the lease make its step. */
static enum uidpool_status write_end(struct ledger *l, void *userdata, struct problem *p)
{
    struct job *job = userdata;
    enum uidpool_status status;

    job->stepped = job->lease;
    job->evidence.lease = job->lease.id;
    job->evidence.step = job->lease.step;
    job->evidence.uids = lease_range(&job->lease);
    job->evidence.detail = job->detail[0] ? job->detail : NULL;
    status = ledger_evidence_insert(l, &job->evidence, p);
    if (status == UIDPOOL_OK)
        status = lease_step(l, &job->stepped, job->event, job->reason[0] ? job->reason : NULL,
                            job->rest, p);
    if (status == UIDPOOL_OK && job->stepped.state == UIDPOOL_STATE_QUARANTINED && job->rest == 0) {
        struct uidpool_lease gone = job->stepped;

        status = lease_step(l, &gone, LEASE_EVENT_RESTED, NULL, 0, p);
    }
    return status;
}

/* It is durable. */
static void take_stepped(struct job *job)
{
    job->lease = job->stepped;
    job->lease.tasks_killed = job->evidence.tasks_killed;
    job->lease.tasks_scanned = job->evidence.tasks_scanned;
    job->lease.zombies = job->evidence.zombies;
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

/* The lease is in revoking (or held) also where that could not be written; say both. */
static void gave_up(enum uidpool_status status, const struct problem *problem, void *userdata)
{
    struct job *job = userdata;

    describe_failure(job, job->detail);
    if (status == UIDPOOL_OK)
        take_stepped(job);
    else
        (void)problem_set(&job->problem, UIDPOOL_NOT_PROVEN, "%.500s; and %.400s",
                          job->problem.text, problem->text);
    job_end(job, UIDPOOL_NOT_PROVEN);
}

/* Not proven. `why` is for the administrator; the survivors, if any, are named first. */
static void job_give_up(struct job *job, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void job_give_up(struct job *job, const char *format, ...)
{
    char alive[512];
    va_list ap;

    va_start(ap, format);
    (void)vsnprintf(job->detail, sizeof(job->detail), format, ap);
    va_end(ap);
    volley_leave(job);
    if (tasks_count(&job->tasks, TASK_ALIVE) > 0) {
        job->evidence.scan = WITNESS_BUSY;
        (void)snprintf(job->detail, sizeof(job->detail), "still there: %s",
                       tasks_describe(&job->tasks, alive, sizeof(alive)));
        job_keep_survivors(job);
    }
    job->evidence.tasks_killed = killed_so_far(job);
    job->event = LEASE_EVENT_NOT_PROVEN;
    (void)snprintf(job->reason, sizeof(job->reason), "%.*s", UIDPOOL_REASON_MAX, job->detail);
    job_commit(job, write_end, gave_up);
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
    phase_mark(job);
}

void revocation_begin(struct job *job)
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
    job_later(job, -1, job_backoff(job), revocation_begin);
}

static bool has_ended(int pidfd)
{
    struct pollfd ended = {.fd = pidfd, .events = POLLIN};

    return poll(&ended, 1, 0) == 1;
}

/* The census's answer, UNKNOWN if it is late: whoever asks has the claim until he knows, so nothing
 * happens behind our back. */
static enum witness take_census(struct job *job)
{
    enum witness answer = census_finish_late(job->revoker->allocator->census, job->census_fd);

    job->census_fd = close_fd(job->census_fd);
    return answer;
}

/*
 * The guard.
 */

static void guard_said(struct job *job, enum revocation_permission permission)
{
    phase_fn allowed = job->allowed;
    char owner[96];

    job->allowed = NULL;
    switch (permission) {
    case REVOCATION_ALLOWED:
        allowed(job);
        return;
    case REVOCATION_FORBIDDEN:
        job_end(job,
                problem_set(&job->problem, UIDPOOL_CONFLICT,
                            "pool %s, uid %u (%s) is not killed: its domid has another owner by "
                            "now, who runs as the same uid. The lease stays in revoking until "
                            "that one is gone too",
                            job->lease.pool, job->lease.uid,
                            lease_owner(&job->lease, owner, sizeof(owner))));
        return;
    case REVOCATION_UNKNOWN:
        break;
    }
    job_give_up(job, "it cannot be told whether the uid is another owner's by now, so nothing more "
                     "is killed");
}

static void phase_guard_answered(struct job *job)
{
    enum revocation_permission permission = job->guard->answer(job->guard_fd, job->guard->userdata);

    job->guard_fd = close_fd(job->guard_fd);
    guard_said(job, permission);
}

void revocation_ask_guard(struct job *job, phase_fn allowed)
{
    if (!job->guard) {
        allowed(job);
        return;
    }
    job->allowed = allowed;
    job->guard_fd = job->guard->ask(&job->lease, job->guard->userdata);
    if (job->guard_fd >= 0) {
        job_later(job, job->guard_fd, GUARD_PATIENCE, phase_guard_answered);
        return;
    }
    job->guard_fd = -1;
    guard_said(job, REVOCATION_UNKNOWN);
}

/*
 * The kill.
 */

void revocation_killed(struct job *job)
{
    job->killed_at = clock_monotonic_usec();
    phase_scan(job);
}

void revocation_not_killed(struct job *job, const char *why)
{
    job_give_up(job, "%s", why);
}

static enum uidpool_status write_mark(struct ledger *l, void *userdata, struct problem *p)
{
    struct job *job = userdata;

    job->stepped = job->lease;
    return lease_step(l, &job->stepped, LEASE_EVENT_RELEASE,
                      job->was_other_boot ? "the host was rebooted" : NULL, 0, p);
}

static void marked(enum uidpool_status status, const struct problem *problem, void *userdata)
{
    struct job *job = userdata;

    if (status != UIDPOOL_OK) {
        job->problem = *problem;
        job_end(job, status);
        return;
    }
    job->lease = job->stepped;
    volley_ready(job);
}

/* What the kill needs is begun with while the mark is made durable. */
static void phase_mark(struct job *job)
{
    volley_join(job);
    if (job->lease.state == UIDPOOL_STATE_REVOKING)
        volley_ready(job);
    else
        job_commit(job, write_mark, marked);
}

/* The mark stands. */
static void phase_kill_again(struct job *job)
{
    volley_join(job);
    volley_ready(job);
}

/* Ask for a scan that begins after now; the revoker calls revocation_scanned() with it. */
static void phase_scan(struct job *job)
{
    job->wants_scan = true;
    job->evidence.scan = job->evidence.census = WITNESS_UNKNOWN;
    revoker_work(job->revoker);
}

static bool is_unreachable(const struct job *job, const struct task *task)
{
    return task->fate == TASK_ALIVE && !task_is_reachable(&task->is, job->tasks.range);
}

/* Those kill(-1) could not reach, one by one. */
static void phase_kill_unreachable(struct job *job)
{
    for (size_t i = 0; i < job->tasks.n; i++) {
        const struct task *task = &job->tasks.items[i];

        /* Refused ones stay alive in the list and so become survivors. */
        if (is_unreachable(job, task))
            (void)reaper_kill_task(&task->is, job->tasks.range);
    }
    phase_wait(job);
}

static void phase_scanned(struct job *job)
{
    bool unreachable = false;

    job->task = 0;
    for (size_t i = 0; i < job->tasks.n && job->kind == REVOCATION_KILL; i++)
        unreachable = unreachable || is_unreachable(job, &job->tasks.items[i]);
    if (unreachable)
        revocation_ask_guard(job, phase_kill_unreachable);
    else
        phase_wait(job);
}

void revocation_scanned(struct job *job, const struct scan *scan)
{
    size_t gone = 0;

    if (!scan) {
        job_give_up(job, "the scan cannot begin");
        return;
    }
    int r = tasks_take(&job->tasks, scan, lease_range(&job->lease), &gone);
    job->killed += (uint32_t)gone;
    job->evidence.tasks_scanned = scan_looked(scan);
    if (r < 0)
        job_give_up(job, "no memory for what the scan saw");
    else if (scan_blind(scan))
        job_give_up(job, "the scan cannot see every task: %s", scan_blind(scan));
    else
        phase_scanned(job);
}

static void progress_on_wait(struct job *job)
{
    char alive[256];

    allocator_progress(job->revoker->allocator, "uid %u: waiting for %s", job->lease.uid,
                       tasks_describe(&job->tasks, alive, sizeof(alive)));
}

/* Nothing the scan saw can have left something behind that neither witness would see: there were
 * but zombies, or the census counts all that lived and whatever they started. Otherwise only
 * another scan tells. */
static bool scan_is_settled(const struct job *job)
{
    const struct tasks *t = &job->tasks;

    if (tasks_count(t, TASK_ZOMBIE) == t->n)
        return true;
    return job->kind == REVOCATION_KILL && tasks_all_counted(t) && tasks_count(t, TASK_OTHER) == 0;
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
        job_later(job, -1, job_backoff(job), phase_kill_again);
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
        job_later(job, -1, job_backoff(job), phase_kill_again);
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
    enum witness answer = take_census(job);

    if (answer != WITNESS_EMPTY) {
        census_failed(job, answer);
        return;
    }
    job->census_done += job->census_now;
    phase_census(job);
}

static bool has_zombies(const struct job *job)
{
    for (uint32_t i = 0; i < job->lease.count; i++)
        if (tasks_zombies_of(&job->tasks, job->lease.uid + i) > 0)
            return true;
    return false;
}

void revocation_counted(struct job *job, enum witness answer)
{
    if (answer != WITNESS_EMPTY) {
        census_failed(job, answer);
        return;
    }
    job->census_done = job->lease.count;
    phase_census(job);
}

/* As many uids at once as have the same number of zombies; with none at all, together with the
 * neighbours. */
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
    if (job->census_done == 0 && !has_zombies(job)) {
        rollcall_join(job);
        return;
    }
    job->census_now = 1;
    while (job->census_done + job->census_now < job->lease.count &&
           tasks_zombies_of(&job->tasks, uid + job->census_now) == zombies)
        job->census_now++;
    job->census_fd = census_start(job->revoker->allocator->census,
                                  (struct uid_range){uid, job->census_now}, zombies, job->claim_fd);
    if (job->census_fd < 0) {
        int error = job->census_fd;

        job->census_fd = -1;
        job_give_up(job, "the helper uidpool-census cannot be started: %s", strerror(-error));
        return;
    }
    job_await(job, job->census_fd, job->census_now, phase_census_done);
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

static void stored(enum uidpool_status status, const struct problem *problem, void *userdata)
{
    struct job *job = userdata;

    if (status != UIDPOOL_OK)
        job->problem = *problem;
    else
        take_stepped(job);
    if (status == UIDPOOL_OK && job->kind == REVOCATION_CLEAR && job->event == LEASE_EVENT_RESIDUE)
        status =
            problem_set(&job->problem, UIDPOOL_CONFLICT,
                        "uid %u stays held: %s. Look at it, remove it or give it another owner, "
                        "and run 'uidpool clear %u' again",
                        job->lease.uid, job->detail, job->lease.uid);
    job_end(job, status);
}

static void phase_store(struct job *job)
{
    size_t found = job->residue ? residue_count(job->residue) : 0;
    size_t removed = job->residue ? residue_removed(job->residue) : 0;

    job->evidence.residue = (uint32_t)found;
    job->evidence.zombies = (uint32_t)tasks_count(&job->tasks, TASK_ZOMBIE);
    job->evidence.tasks_killed = killed_so_far(job);
    if (found)
        (void)snprintf(job->detail, sizeof(job->detail), "left behind: %s",
                       residue_text(job->residue));
    else if (removed > 0)
        (void)snprintf(job->detail, sizeof(job->detail), "removed %zu IPC objects", removed);
    if (found)
        (void)snprintf(job->reason, sizeof(job->reason), "%.*s", UIDPOOL_REASON_MAX, job->detail);
    job->event = found ? LEASE_EVENT_RESIDUE : LEASE_EVENT_PROVEN;
    job->rest = rest_of(job);
    job_commit(job, write_end, stored);
}

static void phase_residue_step(struct job *job)
{
    if (residue_step(job->residue, RESIDUE_CHUNK) > 0)
        job_later(job, -1, 0, phase_residue_step);
    else
        phase_store(job);
}

static void look_for_residue(struct job *job)
{
    int r = residue_new(lease_range(&job->lease), job->revoker->allocator->places, &job->residue);

    if (r < 0)
        job_give_up(job, "the look for residue cannot begin: %s", strerror(-r));
    else
        phase_residue_step(job);
}

/* Mostly there is none, of anybody: one look for all who want one. */
static void phase_residue(struct job *job)
{
    job->wants_sweep = true;
    revoker_work(job->revoker);
}

void revocation_swept(struct job *job, bool clean)
{
    if (clean)
        phase_store(job);
    else
        look_for_residue(job);
}
