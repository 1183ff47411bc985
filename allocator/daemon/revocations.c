/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Leases that are to end, until they are proven (revocations.h). Gives jobs to the revoker, tells
 * the journal, keeps a timer for each lease whose last try failed. Reads the ledger at the start;
 * writes nothing.
 *
 * What somebody asks for begins at once. What nobody asked for this moment, a second try, what a
 * crash or a reboot left, a domain that is gone, waits in a queue of which some run at a time, so
 * that whoever asks always finds the revoker with room.
 */
#include "allocator/daemon/revocations.h"

#include "allocator/daemon/journal.h"
#include "allocator/daemon/rests.h"
#include "allocator/revocation/revoker.h"
#include "common/cleanup.h"
#include "common/clock.h"

#include <errno.h>
#include <string.h>

/* Microseconds for a try whose asker did not say. */
#define TIMEOUT_USUAL (UIDPOOL_TIMEOUT_USUAL * USEC_PER_SEC)
/* Before the second try; doubles up to the last. */
#define PAUSE_FIRST USEC_PER_SEC
#define PAUSE_LAST (300 * USEC_PER_SEC)
/* Tries at once that nobody asked for this moment: half of what the revoker runs. */
#define UNASKED_MAX 50
/* Of these begun before the loop is asked for other work. */
#define BEGIN_CHUNK 8
#define BUCKETS 1024

struct asker {
    struct asker *next;
    bool asked;
    int64_t timeout;
    outcome_fn done;
    void *userdata;
};

enum pursuit_state {
    PURSUIT_PAUSED, /* its last try failed */
    PURSUIT_QUEUED,
    PURSUIT_RUNNING,
};

struct pursuit {
    struct revocations *revocations;
    struct pursuit *next, *next_queued;
    enum pursuit_state state;
    bool asked; /* the try under way */
    struct uidpool_lease lease;
    int64_t timeout, pause;
    sd_event_source *timer;
    struct asker *askers;
};

/* What was unproven at the start and was not begun with yet. */
struct backlog {
    uid_t *uids;
    size_t n, at;
    bool failed;
};

struct revocations {
    struct daemon *daemon;
    void (*changed)(void *userdata);
    void *changed_userdata;
    revocations_guard_fn guard;
    void *guard_userdata;
    struct rests *rests;
    sd_event_source *pump;
    struct pursuit *buckets[BUCKETS]; /* by the lease's id */
    struct pursuit *queue, **queue_end;
    size_t n_running, n_unasked, n_queued, n_paused;
    struct backlog backlog;
};

static void say_changed(const struct revocations *r)
{
    if (r->changed)
        r->changed(r->changed_userdata);
}

static struct pursuit **bucket_of(struct revocations *r, int64_t lease)
{
    return &r->buckets[(uint64_t)lease % BUCKETS];
}

static struct pursuit *find(struct revocations *r, int64_t lease)
{
    struct pursuit *p = *bucket_of(r, lease);

    while (p && p->lease.id != lease)
        p = p->next;
    return p;
}

/*
 * What state it is in, with the counts.
 */

static void queue_remove(struct pursuit *p)
{
    struct revocations *r = p->revocations;
    struct pursuit **at = &r->queue;

    while (*at != p)
        at = &(*at)->next_queued;
    *at = p->next_queued;
    if (!*at)
        r->queue_end = at;
    p->next_queued = NULL;
}

static void leave_state(struct pursuit *p)
{
    struct revocations *r = p->revocations;

    switch (p->state) {
    case PURSUIT_PAUSED:
        (void)sd_event_source_set_enabled(p->timer, SD_EVENT_OFF);
        r->n_paused--;
        break;
    case PURSUIT_QUEUED:
        queue_remove(p);
        r->n_queued--;
        break;
    case PURSUIT_RUNNING:
        r->n_running--;
        r->n_unasked -= !p->asked;
        break;
    }
}

static void enter_state(struct pursuit *p, enum pursuit_state state)
{
    struct revocations *r = p->revocations;

    p->state = state;
    switch (state) {
    case PURSUIT_PAUSED:
        r->n_paused++;
        break;
    case PURSUIT_QUEUED:
        *r->queue_end = p;
        r->queue_end = &p->next_queued;
        r->n_queued++;
        break;
    case PURSUIT_RUNNING:
        r->n_running++;
        r->n_unasked += !p->asked;
        break;
    }
    (void)sd_event_source_set_enabled(r->pump, SD_EVENT_ON);
}

static void queue(struct pursuit *p)
{
    leave_state(p);
    enter_state(p, PURSUIT_QUEUED);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct pursuit *p = userdata;

    (void)source;
    (void)usec;
    queue(p);
    say_changed(p->revocations);
    return 0;
}

static void put_off(struct pursuit *p)
{
    int64_t until = clock_monotonic_usec() + p->pause;

    leave_state(p);
    enter_state(p, PURSUIT_PAUSED);
    p->pause = p->pause * 2 > PAUSE_LAST ? PAUSE_LAST : p->pause * 2;
    p->timeout = TIMEOUT_USUAL;
    (void)sd_event_source_set_time(p->timer, (uint64_t)until);
    (void)sd_event_source_set_enabled(p->timer, SD_EVENT_ONESHOT);
}

static void askers_free(struct asker *askers)
{
    while (askers) {
        struct asker *asker = askers;

        askers = asker->next;
        free(asker);
    }
}

static void pursuit_free(struct pursuit *p)
{
    struct revocations *r = p->revocations;
    struct pursuit **at = bucket_of(r, p->lease.id);

    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    leave_state(p);
    sd_event_source_disable_unref(p->timer);
    askers_free(p->askers);
    free(p);
}

/* Queued; NULL: no memory. */
static struct pursuit *pursuit_new(struct revocations *r, const struct uidpool_lease *lease)
{
    struct pursuit *p = calloc(1, sizeof(*p)), **at = bucket_of(r, lease->id);

    if (!p)
        return NULL;
    if (sd_event_add_time(r->daemon->event, &p->timer, CLOCK_MONOTONIC, UINT64_MAX, 0, on_timer,
                          p) < 0) {
        free(p);
        return NULL;
    }
    (void)sd_event_source_set_enabled(p->timer, SD_EVENT_OFF);
    p->revocations = r;
    p->lease = *lease;
    p->timeout = TIMEOUT_USUAL;
    p->pause = PAUSE_FIRST;
    p->next = *at;
    *at = p;
    enter_state(p, PURSUIT_QUEUED);
    return p;
}

/*
 * Tries.
 */

static void tell_success(const struct uidpool_lease *lease)
{
    char owner[96];

    (void)lease_owner(lease, owner, sizeof(owner));
    if (lease->state == UIDPOOL_STATE_HELD)
        journal_lease(LOG_WARNING, JOURNAL_HELD, lease,
                      "pool %s, uid %u (%s) is proven empty, but held: %s. When that is gone, run "
                      "'uidpool clear %u'",
                      lease->pool, lease->uid, owner, lease->reason, lease->uid);
    else
        journal_lease(LOG_INFO, JOURNAL_RELEASED, lease,
                      "pool %s, uid %u (%s) is released: %u tasks killed, proven empty",
                      lease->pool, lease->uid, owner, lease->tasks_killed);
}

/* Whose uid it is by now, or what still runs: the problem's words. */
static void tell_failure(const struct pursuit *p, const struct outcome *outcome, bool over)
{
    enum journal_message message =
        outcome->problem->status == UIDPOOL_CONFLICT ? JOURNAL_NEXT_OWNER : JOURNAL_NOT_PROVEN;

    if (over)
        journal_lease(LOG_WARNING, message, outcome->lease, "%s", outcome->problem->text);
    else
        journal_lease(LOG_WARNING, message, outcome->lease, "%s; trying again in %u s",
                      outcome->problem->text, (unsigned)(p->pause / USEC_PER_SEC));
}

/* A try that the guard may have kept from its end is no answer to somebody who knows: they get one
 * of their own, at once, with their time. Takes those out of `askers` that are to be told now. */
static struct asker *take_answered(struct pursuit *p, struct asker *askers)
{
    struct asker *answered = NULL;
    int64_t timeout = 0;

    while (askers) {
        struct asker *asker = askers;
        struct asker **to = asker->asked ? &p->askers : &answered;

        askers = asker->next;
        if (asker->asked && timeout < asker->timeout)
            timeout = asker->timeout;
        asker->next = *to;
        *to = asker;
    }
    if (timeout > 0)
        p->timeout = timeout;
    return answered;
}

/* Nothing was begun, and who asked is told so: the lease is as it was, and theirs. */
static bool is_untouched(const struct pursuit *p, const struct uidpool_lease *lease)
{
    return p->asked && !lease_is_unproven(lease);
}

static int begin(struct pursuit *p, bool asked);

static void on_done(const struct outcome *outcome, void *userdata)
{
    struct pursuit *p = userdata;
    struct revocations *r = p->revocations;
    struct asker *askers = take_ptr(p->askers);
    bool proven = outcome->problem->status == UIDPOOL_OK;
    bool over = proven || is_untouched(p, outcome->lease), guarded = !p->asked;

    if (proven)
        tell_success(outcome->lease);
    else
        tell_failure(p, outcome, over);
    if (over)
        pursuit_free(p);
    else {
        p->lease = *outcome->lease;
        put_off(p);
        if (guarded)
            askers = take_answered(p, askers);
        if (p->askers && begin(p, true) < 0)
            (void)sd_event_source_set_time(p->timer, 0);
    }
    (void)sd_event_source_set_enabled(r->pump, SD_EVENT_ON);
    /* From here on `p` is not ours: whoever is told may ask again. */
    for (const struct asker *asker = askers; asker; asker = asker->next)
        if (asker->done)
            asker->done(outcome, asker->userdata);
    askers_free(askers);
    say_changed(r);
}

/* 0 or -ENOMEM: it is in the state that it was in. */
static int begin(struct pursuit *p, bool asked)
{
    struct revocations *r = p->revocations;
    const struct revocation_guard *guard = NULL;
    int e;

    if (!asked && r->guard)
        guard = r->guard(&p->lease, r->guard_userdata);
    e = revoker_add(r->daemon->allocator.revoker, REVOCATION_KILL, &p->lease, p->timeout, guard,
                    on_done, p);
    if (e < 0)
        return e;
    leave_state(p);
    p->asked = asked;
    enter_state(p, PURSUIT_RUNNING);
    return 0;
}

/*
 * What nobody asked for this moment.
 */

/* The next of those that were unproven at the start and still are. */
static struct pursuit *take_backlog(struct revocations *r)
{
    while (r->backlog.at < r->backlog.n) {
        struct uidpool_lease lease;
        struct problem p = {0};
        uid_t uid = r->backlog.uids[r->backlog.at++];

        if (ledger_lease_at(r->daemon->allocator.ledger, uid, 1, &lease, &p) == UIDPOOL_OK &&
            lease_is_unproven(&lease) && !find(r, lease.id))
            return pursuit_new(r, &lease);
    }
    return NULL;
}

static bool may_begin(const struct revocations *r)
{
    return r->n_unasked < UNASKED_MAX && (r->queue || r->backlog.at < r->backlog.n);
}

static int on_pump(sd_event_source *source, void *userdata)
{
    struct revocations *r = userdata;

    for (unsigned i = 0; i < BEGIN_CHUNK && may_begin(r); i++) {
        struct pursuit *p = r->queue ? r->queue : take_backlog(r);

        if (p && begin(p, false) < 0)
            put_off(p);
    }
    if (!may_begin(r))
        (void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
    say_changed(r);
    return 0;
}

static bool add_to_backlog(const struct uidpool_lease *lease, void *userdata)
{
    struct backlog *b = userdata;
    uid_t *uids;

    if (!lease_is_unproven(lease))
        return true;
    /* A power of two at a time. */
    uids = (b->n & (b->n - 1)) == 0 ? reallocarray(b->uids, b->n ? b->n * 2 : 1, sizeof(*uids))
                                    : b->uids;
    if (!uids) {
        b->failed = true;
        return false;
    }
    b->uids = uids;
    b->uids[b->n++] = lease->uid;
    return true;
}

static enum uidpool_status read_backlog(struct revocations *r, struct problem *p)
{
    static const struct uidpool_selector everything = UIDPOOL_SELECTOR_INIT;
    enum uidpool_status status =
        ledger_lease_each(r->daemon->allocator.ledger, &everything, add_to_backlog, &r->backlog, p);

    if (status == UIDPOOL_OK && r->backlog.failed)
        status = problem_set(p, UIDPOOL_FAILED, "no memory for the list of leases");
    if (status == UIDPOOL_OK && r->backlog.n > 0)
        journal_say(LOG_NOTICE, "%zu leases of another boot or unproven: killing and proving them",
                    r->backlog.n);
    return status;
}

/*
 * The door.
 */

int revocations_add(struct revocations *r, const struct uidpool_lease *lease, bool asked,
                    int64_t timeout, outcome_fn done, void *userdata)
{
    struct asker *asker = calloc(1, sizeof(*asker));
    struct pursuit *p = find(r, lease->id);
    bool known = p != NULL;

    if (asker && !p)
        p = pursuit_new(r, lease);
    if (!asker || !p) {
        free(asker);
        return -ENOMEM;
    }
    if (p->state != PURSUIT_RUNNING && timeout > 0)
        p->timeout = timeout;
    if (asked)
        p->pause = PAUSE_FIRST;
    if (asked && p->state != PURSUIT_RUNNING && begin(p, true) < 0) {
        free(asker);
        if (!known)
            pursuit_free(p);
        return -ENOMEM;
    }
    *asker = (struct asker){
        .next = p->askers,
        .asked = asked,
        .timeout = timeout,
        .done = done,
        .userdata = userdata,
    };
    p->askers = asker;
    say_changed(r);
    return 0;
}

void revocations_set_guard(struct revocations *r, revocations_guard_fn guard, void *userdata)
{
    r->guard = guard;
    r->guard_userdata = userdata;
}

void revocations_retry(struct revocations *r, int64_t lease)
{
    struct pursuit *p = find(r, lease);

    if (!p || p->state != PURSUIT_PAUSED)
        return;
    p->pause = PAUSE_FIRST;
    queue(p);
    say_changed(r);
}

void revocations_status(const struct revocations *r, struct revocations_status *ret)
{
    *ret = (struct revocations_status){
        .running = r->n_running + r->n_queued + (r->backlog.n - r->backlog.at),
        .unproven = r->n_paused,
        .example = UIDPOOL_NO_UID,
    };
    for (size_t i = 0; i < BUCKETS && r->n_paused > 0 && ret->example == UIDPOOL_NO_UID; i++)
        for (const struct pursuit *p = r->buckets[i]; p; p = p->next)
            if (p->state == PURSUIT_PAUSED)
                ret->example = p->lease.uid;
}

static void revocations_freep(struct revocations **r)
{
    revocations_free(*r);
}

enum uidpool_status revocations_new(struct daemon *d, void (*changed)(void *userdata),
                                    void *userdata, struct revocations **ret, struct problem *p)
{
    _cleanup_(revocations_freep) struct revocations *r = calloc(1, sizeof(*r));
    enum uidpool_status status;
    int e;

    if (!r)
        return problem_errno(p, -ENOMEM, "cannot begin");
    r->daemon = d;
    r->changed = changed;
    r->changed_userdata = userdata;
    r->queue_end = &r->queue;
    e = sd_event_add_defer(d->event, &r->pump, on_pump, r);
    if (e >= 0)
        e = sd_event_source_set_enabled(r->pump, SD_EVENT_ON);
    if (e >= 0)
        e = rests_new(d, &r->rests);
    if (e < 0)
        return problem_errno(p, e, "cannot begin with revocations");
    status = read_backlog(r, p);
    if (status == UIDPOOL_OK)
        *ret = take_ptr(r);
    return status;
}

void revocations_free(struct revocations *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < BUCKETS; i++)
        while (r->buckets[i]) {
            struct pursuit *p = r->buckets[i];

            if (p->state == PURSUIT_RUNNING)
                revoker_forget(r->daemon->allocator.revoker, p);
            pursuit_free(p);
        }
    rests_free(r->rests);
    sd_event_source_disable_unref(r->pump);
    free(r->backlog.uids);
    free(r);
}
