/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The phases of a revocation. Each function below named phase_* is one step of revocation.h's line;
 * it either goes on to the next or arms one event and returns. Touches the ledger, /proc and the
 * helpers; signals only through allocator/reaper.h.
 *
 * 1. A job MUST hold the claim on its uids before it looks at the lease and until its last commit.
 * 2. The lease MUST be durably in `revoking` before the first signal.
 * 3. The scan MUST begin after the kill has returned, and the census after the scan's tasks are
 * dead.
 * 4. Whatever was not asked, failed, or was late is UNKNOWN, and UNKNOWN proves nothing.
 */
#include "allocator/revoke.h"

#include "allocator/census.h"
#include "allocator/job.h"
#include "allocator/machine.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/spawn.h"

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
/* Microseconds for the tally, which runs before the kill and as the uid: its processes can stop it,
 * and must not put off their own end by that. */
#define TALLY_PATIENCE (250 * USEC_PER_MSEC)

static void phase_reaper(struct job *job);
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

/* A helper that is late is ended, so that it does not signal behind our back. */
static bool helper_is_late(int pidfd)
{
    if (has_ended(pidfd))
        return false;
    (void)spawn_wait(pidfd, 0);
    return true;
}

/* The census's answer, UNKNOWN if it is late: whoever asks has the claim until he knows, so nothing
 * happens behind our back. */
static enum witness take_census(struct job *job)
{
    enum witness answer = census_finish(job->census_fd);

    job->census_fd = close_fd(job->census_fd);
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
    int n = census_tally_finish(job->tally_fd);

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
        job->census_fd =
            census_start(a->census, (struct uid_range){job->reaper.uid, 1}, 0, job->reaper.lock_fd);
    if (!job->tallied)
        job->tally_fd = census_tally_start(a->census, lease_range(&job->lease), job->claim_fd);
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
    else if (job->census_fd < 0) {
        int error = job->census_fd;

        job->census_fd = -1;
        job_give_up(job, "the helper uidpool-census cannot be started: %s", strerror(-error));
    } else
        job_await(job, job->census_fd, 1, phase_reaper_seen);
}

/* Ask for a scan that begins after now; the revoker calls revocation_scanned() with it. */
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
    enum witness answer = take_census(job);

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
