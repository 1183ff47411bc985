/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Leases with processes that are to be revoked on a loop, for tests of who does that. A ledger of
 * its own on a /run of its own; run_isolated() and TEST_UIDs as in processes.h. */
#ifndef UNIT_REVOKING_H
#define UNIT_REVOKING_H

#include "allocator/census.h"
#include "allocator/committer.h"
#include "allocator/engine.h"
#include "allocator/machine.h"
#include "allocator/revocation/revoker.h"
#include "tests/unit/processes.h"

#include <sys/eventfd.h>

#define POOL_SIZE 256u
#define DISK "/run"
#define LEDGER DISK "/ledger/l.db"

static struct problem problem;

#define OK(expression)                                     \
    do {                                                   \
        if ((expression) != UIDPOOL_OK)                    \
            fail_msg("%s: %s", #expression, problem.text); \
    } while (0)

struct world {
    struct allocator a;
    sd_event *event;
    struct uidpool_pool pool;
};

static inline void add_pool(struct world *w, uint32_t quarantine)
{
    struct uidpool_pool pool = {
        .name = "p",
        .policy = UIDPOOL_POLICY_DOMID,
        .size = POOL_SIZE,
        .quarantine = quarantine,
    };

    pool.base = pool.next_uid = pool.gid = fresh_uids(TEST_UID_STEP);
    OK(ledger_begin(w->a.ledger, &problem));
    OK(ledger_pool_insert(w->a.ledger, &pool, &problem));
    OK(ledger_commit(w->a.ledger, &problem));
    OK(ledger_pool_by_name(w->a.ledger, "p", &w->pool, &problem));
}

static inline void world_open(struct world *w)
{
    OK(ledger_open(LEDGER, LEDGER_CREATE, &w->a.ledger, &problem));
    w->a.census = census_new();
    assert_non_null(w->a.census);
    assert_int_equal(sd_event_new(&w->event), 0);
    assert_int_equal(allocator_attach(&w->a, w->event), 0);
}

static inline void world_close(struct world *w)
{
    allocator_detach(&w->a);
    w->event = sd_event_unref(w->event);
    census_free(w->a.census);
    ledger_close(w->a.ledger);
    free(w->a.survivors);
    w->a = (struct allocator){0};
}

static inline void world_make(struct world *w, uint32_t quarantine)
{
    assert_int_equal(mount("tmpfs", DISK, "tmpfs", 0, "size=16m,mode=0755"), 0);
    world_open(w);
    add_pool(w, quarantine);
}

static inline void world_end(struct world *w)
{
    world_close(w);
    assert_int_equal(umount2(DISK, MNT_DETACH), 0);
}

static inline struct uidpool_lease grant(struct world *w, int64_t domid, uint32_t count)
{
    struct uidpool_lease lease = {
        .pool_id = w->pool.id,
        .uid = w->pool.base + (uid_t)domid,
        .gid = w->pool.gid,
        .count = count,
        .domid = domid,
    };

    (void)snprintf(lease.pool, sizeof(lease.pool), "%s", w->pool.name);
    OK(ledger_begin(w->a.ledger, &problem));
    OK(lease_step(w->a.ledger, &lease, LEASE_EVENT_GRANT, NULL, 0, &problem));
    OK(ledger_commit(w->a.ledger, &problem));
    return lease;
}

/* As somebody else sees it who opens the ledger now: what is durable. 0: there is no lease. */
static inline enum uidpool_state state_of(uid_t uid)
{
    _cleanup_(ledger_closep) struct ledger *l = NULL;
    struct uidpool_lease lease = {0};
    enum uidpool_status status;

    OK(ledger_open(LEDGER, LEDGER_READ, &l, &problem));
    status = ledger_lease_at(l, uid, 1, &lease, &problem);
    if (status == UIDPOOL_NOT_FOUND)
        return 0;
    OK(status);
    return lease.state;
}

/* What became of one. */
struct told {
    unsigned n;
    enum uidpool_status status;
    struct uidpool_lease lease;
    char text[1024];
    size_t n_survivors;
    pid_t survivor;
};

static inline void on_told(const struct outcome *outcome, void *userdata)
{
    struct told *t = userdata;

    t->n++;
    t->status = outcome->problem->status;
    t->lease = *outcome->lease;
    (void)snprintf(t->text, sizeof(t->text), "%s", outcome->problem->text);
    t->n_survivors = outcome->n_survivors;
    t->survivor = outcome->n_survivors > 0 ? outcome->survivors[0].pid : 0;
}

static inline int on_no_patience(sd_event_source *source, uint64_t usec, void *userdata)
{
    (void)source;
    (void)usec;
    *(bool *)userdata = true;
    return 0;
}

/* Run the loop until it is true. */
static inline void run_until(struct world *w, bool (*condition)(void *), void *userdata)
{
    sd_event_source *timer = NULL;
    bool late = false;

    assert_true(sd_event_add_time_relative(w->event, &timer, CLOCK_MONOTONIC,
                                           (uint64_t)PATIENCE_USEC, 0, on_no_patience, &late) >= 0);
    while (!condition(userdata) && !late)
        assert_true(sd_event_run(w->event, UINT64_MAX) >= 0);
    sd_event_source_disable_unref(timer);
    assert_false(late);
}

static inline bool was_told(void *told)
{
    return ((struct told *)told)->n > 0;
}

#define ASSERT_SAYS(told, words)                             \
    do {                                                     \
        if (!strstr((told)->text, (words)))                  \
            fail_msg("line %d: %s", __LINE__, (told)->text); \
    } while (0)

/*
 * A guard that says what it is told to, and looks at the lease when it is asked.
 */
struct sentry {
    unsigned asked;
    enum revocation_permission says[8]; /* the first time, the second, ... */
    bool mute;                          /* never answers */
    bool unable;                        /* cannot ask */
    enum uidpool_state found;           /* the lease's state when it was last asked */
    struct uidpool_lease lease;
};

static inline int sentry_ask(const struct uidpool_lease *lease, void *userdata)
{
    struct sentry *s = userdata;

    s->lease = *lease;
    s->found = state_of(lease->uid);
    s->asked++;
    return s->unable ? -ENOTCONN : eventfd(s->mute ? 0 : 1, EFD_CLOEXEC | EFD_NONBLOCK);
}

static inline enum revocation_permission sentry_answer(int fd, void *userdata)
{
    struct sentry *s = userdata;
    eventfd_t value;

    if (eventfd_read(fd, &value) < 0)
        return REVOCATION_UNKNOWN;
    assert_in_range(s->asked, 1, ELEMENTS_OF(s->says));
    return s->says[s->asked - 1];
}

static inline struct revocation_guard guard_of(struct sentry *s)
{
    return (struct revocation_guard){.ask = sentry_ask, .answer = sentry_answer, .userdata = s};
}

#endif
