/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Kills (volley.h): a reaper's uid taken, shown empty, used by one helper, given back. Touches the
 * helpers and the reaper's lock; what it kills for has the claim on its uids, and the helper holds
 * the claims of all of them.
 *
 * 1. The helper MUST be told exactly the uids of the jobs that the volley has at that moment.
 * 2. It MUST NOT start before every one of them is ready: its lease durably in revoking.
 * 3. A job with a guard is alone: an answer is worth least when it is oldest.
 */
#include "allocator/revocation/volley.h"

#include "allocator/census.h"
#include "allocator/revocation/job.h"
#include "allocator/revocation/revoke.h"
#include "common/cleanup.h"
#include "common/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Jobs of one helper: it goes through the uids one by one, and the other processors wait. */
#define MEMBERS_MAX REAPER_CLAIMS_MAX
/* And their uids: blocks take long enough by themselves. */
#define UIDS_MAX CENSUS_TALLIES_MAX
/* Microseconds for the tally, which runs before the kill and as the uids: their processes can stop
 * it, and must not put off their own end by that. */
#define TALLY_PATIENCE (250 * USEC_PER_MSEC)
/* Microseconds between two looks for a reaper that other processes have; doubles up to the last. */
#define BACKOFF_FIRST (5 * USEC_PER_MSEC)
#define BACKOFF_LAST (500 * USEC_PER_MSEC)

enum volley_state {
    VOLLEY_NEW,
    VOLLEY_WAITS,  /* for a reaper */
    VOLLEY_ASKS,   /* whether somebody else runs as the reaper */
    VOLLEY_LOADED, /* nobody does */
    VOLLEY_FAILED, /* there is no reaper to be had */
    VOLLEY_FIRED,
};

struct volley {
    struct revoker *revoker;
    struct volley *next;
    enum volley_state state;
    struct job *members;
    size_t n_members;
    struct uid_range range; /* of all members */
    struct reaper reaper;
    uid_t reaper_in_use; /* the last one that the census found to be */
    int census_fd, helper_fd, tally_fd;
    int64_t backoff;
    bool woken;                /* from its back-off */
    struct await await, tally; /* for the reaper or the helper; for the tally */
    char why[256];
};

static void look_for_reaper(void *userdata);

static struct volley *volley_new(struct revoker *r)
{
    struct volley *v = calloc(1, sizeof(*v)), **at = &r->volleys;

    if (!v)
        return NULL;
    v->revoker = r;
    v->reaper.lock_fd = v->census_fd = v->helper_fd = v->tally_fd = -1;
    v->reaper_in_use = UIDPOOL_NO_UID;
    v->backoff = BACKOFF_FIRST;
    while (*at)
        at = &(*at)->next;
    *at = v;
    return v;
}

static void give_reaper_back(struct volley *v)
{
    bool had = v->reaper.lock_fd >= 0;

    v->reaper.lock_fd = close_fd(v->reaper.lock_fd);
    if (had)
        volley_wake(v->revoker);
}

static void volley_free(struct volley *v)
{
    struct volley **at = &v->revoker->volleys;

    while (*at != v)
        at = &(*at)->next;
    *at = v->next;
    await_clear(&v->await);
    await_clear(&v->tally);
    v->census_fd = close_fd(v->census_fd);
    v->tally_fd = close_fd(v->tally_fd);
    if (v->helper_fd >= 0)
        revoker_bury(v->revoker, take_fd(&v->helper_fd));
    give_reaper_back(v);
    free(v);
}

/* The loop has no memory for another event: look again at whatever it was when it has. */
static void wait_for(struct volley *v, int fd, int64_t usec, void (*wake)(void *))
{
    int r = await_set(&v->await, v->revoker->event, fd, usec, wake, v);

    if (r < 0) {
        v->state = VOLLEY_FAILED;
        (void)snprintf(v->why, sizeof(v->why), "the event loop failed: %s", strerror(-r));
    }
}

static void remove_member(struct job *job)
{
    struct volley *v = job->volley;
    struct job **at = &v->members;

    while (*at != job)
        at = &(*at)->beside;
    *at = job->beside;
    v->n_members--;
    job->volley = NULL;
    job->beside = NULL;
}

/* All of them, for who has an answer for each. The volley is gone. */
static struct job *take_members(struct volley *v)
{
    struct job *members = v->members;

    for (struct job *job = members; job; job = job->beside)
        job->volley = NULL;
    v->members = NULL;
    v->n_members = 0;
    volley_free(v);
    return members;
}

static struct job *next_member(struct job **members)
{
    struct job *job = *members;

    if (job) {
        *members = job->beside;
        job->beside = NULL;
    }
    return job;
}

/* Each by itself: one is gone from their midst, or the helper failed for one of them. */
static void part(struct job *members)
{
    for (struct job *job; (job = next_member(&members));) {
        bool ready = job->ready;

        job->killed_alone = true;
        volley_join(job);
        job->ready = ready;
    }
}

static void fail_all(struct volley *v)
{
    struct job *members;
    char why[sizeof(v->why)];

    (void)snprintf(why, sizeof(why), "%s", v->why);
    members = take_members(v);
    for (struct job *job; (job = next_member(&members));)
        revocation_not_killed(job, why);
}

static bool all_are_ready(const struct volley *v)
{
    const struct job *job = v->members;

    while (job && job->ready)
        job = job->beside;
    return !job;
}

static bool one_is_late(const struct volley *v)
{
    const struct job *job = v->members;

    while (job && !(job->ready && job_is_late(job)))
        job = job->beside;
    return job != NULL;
}

/*
 * The helper.
 */

static bool has_ended(int pidfd)
{
    struct pollfd ended = {.fd = pidfd, .events = POLLIN};

    return poll(&ended, 1, 0) == 1;
}

/* What one that is late does, it does with the claims and the reaper's lock in its hands. */
static void helper_done(void *userdata)
{
    struct volley *v = userdata;
    int r = has_ended(v->helper_fd) ? reaper_finish(v->helper_fd) : -ETIMEDOUT;
    bool several = v->n_members > 1;
    struct job *members;
    char why[160];

    if (r != -ETIMEDOUT)
        v->helper_fd = close_fd(v->helper_fd);
    members = take_members(v);
    if (r < 0 && several) {
        part(members);
        return;
    }
    (void)snprintf(why, sizeof(why),
                   "the helper uidpool-reap did not kill (%s); it said why on standard error",
                   strerror(-r));
    for (struct job *job; (job = next_member(&members));)
        if (r < 0)
            revocation_not_killed(job, why);
        else
            revocation_killed(job);
}

/* Rules 1 and 2: what is claimed and marked is a stretch without a gap, or nothing is killed. */
static bool claims_are_whole(const struct volley *v, int claims[static MEMBERS_MAX])
{
    uint64_t uids = 0;
    size_t n = 0;

    for (const struct job *job = v->members; job; job = job->beside) {
        struct uid_range range = lease_range(&job->lease);

        if (n == MEMBERS_MAX || !job->ready || job->claim_fd < 0 ||
            job->lease.state != UIDPOOL_STATE_REVOKING || !uid_range_has(v->range, range.first) ||
            !uid_range_has(v->range, uid_range_last(range)))
            return false;
        claims[n++] = job->claim_fd;
        uids += range.count;
    }
    return n > 0 && uids == v->range.count;
}

static void launch(struct volley *v)
{
    struct uid_range pool = {v->members->pool.base, v->members->pool.size};
    int claims[MEMBERS_MAX];

    v->state = VOLLEY_FIRED;
    if (!claims_are_whole(v, claims))
        v->helper_fd = -EBADE;
    else
        v->helper_fd = reaper_start(&v->reaper, pool, v->range, claims, v->n_members);
    if (v->helper_fd < 0) {
        (void)snprintf(v->why, sizeof(v->why), "the helper uidpool-reap cannot be started: %s",
                       strerror(-v->helper_fd));
        v->helper_fd = -1;
        fail_all(v);
        return;
    }
    wait_for(v, v->helper_fd, helper_patience(v->range.count), helper_done);
    if (v->state == VOLLEY_FAILED)
        fail_all(v);
}

/* The guard has allowed it. */
static void launch_for(struct job *job)
{
    launch(job->volley);
}

/* Whatever there is to do once everybody is ready. */
static void proceed(struct volley *v)
{
    if (!all_are_ready(v))
        return;
    if (v->state == VOLLEY_FAILED)
        fail_all(v);
    else if (v->state == VOLLEY_LOADED && v->tally_fd < 0)
        revocation_ask_guard(v->members, launch_for);
}

/*
 * The reaper.
 */

static void fail(struct volley *v, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void fail(struct volley *v, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    (void)vsnprintf(v->why, sizeof(v->why), format, ap);
    va_end(ap);
    v->state = VOLLEY_FAILED;
    proceed(v);
}

static void look_again(struct volley *v)
{
    int64_t pause = v->backoff;

    v->backoff = v->backoff * 2 > BACKOFF_LAST ? BACKOFF_LAST : v->backoff * 2;
    v->state = VOLLEY_WAITS;
    wait_for(v, -1, pause, look_for_reaper);
    proceed(v);
}

/* Somebody's time may be up, and the others' not. True: there is no such volley any more. */
static bool late_ones_part(struct volley *v)
{
    if (v->n_members == 1 || !one_is_late(v))
        return false;
    part(take_members(v));
    return true;
}

static void reaper_seen(void *userdata)
{
    struct volley *v = userdata;
    enum witness answer = census_finish_late(v->revoker->allocator->census, v->census_fd);

    v->census_fd = close_fd(v->census_fd);
    if (answer == WITNESS_EMPTY) {
        v->state = VOLLEY_LOADED;
        proceed(v);
        return;
    }
    v->reaper_in_use = v->reaper.uid;
    give_reaper_back(v);
    if (late_ones_part(v))
        return;
    if (answer == WITNESS_BUSY && !one_is_late(v))
        look_again(v);
    else
        fail(v, "the reaper's uid %u is %s, so killing would hit others; see who runs as it",
             v->reaper_in_use, answer == WITNESS_BUSY ? "in use" : "not shown to be unused");
}

static void no_reaper_now(struct volley *v)
{
    if (late_ones_part(v))
        return;
    if (one_is_late(v))
        fail(v, "all uids to kill with are busy in other revocations");
    else
        look_again(v);
}

/* The name services are asked while the census of the reaper runs. */
static void show_reaper(struct volley *v)
{
    struct revoker *r = v->revoker;
    struct problem problem = {0};
    int fd = census_start(r->allocator->census, (struct uid_range){v->reaper.uid, 1}, 0,
                          v->reaper.lock_fd);

    v->census_fd = fd < 0 ? -1 : fd;
    if (reaper_check(&r->accounts, &v->reaper, &problem) != UIDPOOL_OK) {
        v->census_fd = close_fd(v->census_fd);
        give_reaper_back(v);
        fail(v, "no uid to kill with: %s", problem.text);
    } else if (fd < 0) {
        give_reaper_back(v);
        fail(v, "the helper uidpool-census cannot be started: %s", strerror(-fd));
    } else {
        v->state = VOLLEY_ASKS;
        wait_for(v, v->census_fd, helper_patience(1), reaper_seen);
        proceed(v);
    }
}

static void look_for_reaper(void *userdata)
{
    struct volley *v = userdata;
    struct problem problem = {0};

    v->woken = false;
    if (reaper_take(v->revoker->allocator->ledger, &v->revoker->accounts, v->reaper_in_use,
                    &v->reaper, &problem) != UIDPOOL_OK) {
        v->reaper.lock_fd = -1;
        fail(v, "no uid to kill with: %s", problem.text);
    } else if (v->reaper.lock_fd < 0)
        no_reaper_now(v);
    else
        show_reaper(v);
}

void volley_wake(struct revoker *r)
{
    for (struct volley *v = r->volleys; v; v = v->next)
        if (v->state == VOLLEY_WAITS && v->await.wake && !v->woken) {
            v->woken = true;
            wait_for(v, -1, 0, look_for_reaper);
            return;
        }
}

/*
 * The tally.
 */

static void end_tally(struct volley *v)
{
    await_clear(&v->tally);
    v->tally_fd = close_fd(v->tally_fd);
    proceed(v);
}

static void tally_done(void *userdata)
{
    struct volley *v = userdata;
    uint8_t counts[UIDS_MAX] = {0};
    int n;

    if (v->n_members > 1) {
        (void)census_tallies_finish(v->tally_fd, v->range.count, counts);
        for (struct job *job = v->members; job; job = job->beside)
            for (uint32_t i = 0; i < job->lease.count; i++)
                job->tally += counts[job->lease.uid - v->range.first + i];
    } else {
        n = census_tally_finish(v->tally_fd);
        v->members->tally = n > 0 ? (uint32_t)n : 0;
    }
    end_tally(v);
}

/* How many there are to kill, for the evidence. What cannot be told is not waited for. */
static void begin_tally(struct volley *v)
{
    struct census *census = v->revoker->allocator->census;
    int claims[MEMBERS_MAX];
    size_t n = 0;

    if (v->members->tallied)
        return;
    for (struct job *job = v->members; job; job = job->beside) {
        job->tallied = true;
        claims[n++] = job->claim_fd;
    }
    v->tally_fd = n > 1 ? census_tallies_start(census, v->range, claims, n)
                        : census_tally_start(census, v->range, claims[0]);
    if (v->tally_fd < 0 ||
        await_set(&v->tally, v->revoker->event, v->tally_fd, TALLY_PATIENCE, tally_done, v) < 0)
        v->tally_fd = v->tally_fd < 0 ? -1 : close_fd(v->tally_fd);
}

/*
 * Members.
 */

void volley_join(struct job *job)
{
    job->ready = false;
    job->wants_kill = true;
    revoker_muster(job->revoker);
}

void volley_ready(struct job *job)
{
    job->ready = true;
    if (job->volley)
        proceed(job->volley);
}

static bool wants_kill(const struct job *job)
{
    return job->wants_kill;
}

static bool fits(const struct volley *v, const struct job *job)
{
    const struct job *last = v->members;

    return v->n_members < MEMBERS_MAX && v->range.count + job->lease.count <= UIDS_MAX &&
           !last->killed_alone && !job->killed_alone && !last->guard && !job->guard &&
           last->tallied == job->tallied && last->lease.pool_id == job->lease.pool_id &&
           job->lease.uid == uid_range_last(v->range) + 1;
}

static void add_member(struct volley *v, struct job *job)
{
    if (v->n_members == 0)
        v->range.first = job->lease.uid;
    v->range.count += job->lease.count;
    job->wants_kill = false;
    job->volley = v;
    job->beside = v->members;
    v->members = job;
    v->n_members++;
}

static void form(struct revoker *r, struct job **jobs, size_t n)
{
    struct volley *v = NULL;

    for (size_t i = 0; i < n; i++) {
        if (!v || !fits(v, jobs[i]))
            v = volley_new(r);
        if (!v)
            return; /* the rest wants it still, and is mustered again */
        add_member(v, jobs[i]);
    }
}

static struct volley *first_new(const struct revoker *r)
{
    struct volley *v = r->volleys;

    while (v && v->state != VOLLEY_NEW)
        v = v->next;
    return v;
}

/* All are formed before the first begins: one that fails may end jobs. */
void volley_muster(struct revoker *r)
{
    _cleanup_free_ struct job **jobs = calloc(r->n_active ? r->n_active : 1, sizeof(struct job *));
    struct volley *v;

    if (jobs)
        form(r, jobs, revoker_collect(r, wants_kill, jobs));
    while ((v = first_new(r))) {
        v->state = VOLLEY_WAITS;
        begin_tally(v);
        look_for_reaper(v);
    }
}

bool volley_is_near(const struct revoker *r)
{
    const struct volley *v = r->volleys;

    while (v && v->state == VOLLEY_WAITS)
        v = v->next;
    return v != NULL;
}

/* What was to be killed for the others was one stretch with what is gone. */
void volley_leave(struct job *job)
{
    struct volley *v = job->volley;

    job->wants_kill = false;
    if (!v)
        return;
    remove_member(job);
    if (v->n_members == 0)
        volley_free(v);
    else if (v->state != VOLLEY_FIRED)
        part(take_members(v));
}

void volley_drop_all(struct revoker *r)
{
    while (r->volleys)
        (void)take_members(r->volleys);
}
