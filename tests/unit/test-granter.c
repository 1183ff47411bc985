/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Many leases at once on one loop: who gets which uid, who waits for whom, and what is in the way.
 * A ledger of its own on a disk of its own; kills by uid, so in a PID namespace alone.
 */
#include "allocator/census.h"
#include "allocator/committer.h"
#include "allocator/engine.h"
#include "allocator/lease/grant.h"
#include "allocator/lease/granter.h"
#include "allocator/machine.h"
#include "db/internal.h"
#include "tests/unit/processes.h"

#define POOL_SIZE 200u
/* Pools of its own, more of them than other tests need uids, and others at each run: the kernel
 * counts what runs as a uid beside this one too. */
#define POOLS_FIRST 2117000192u
#define POOLS_STEP 256u
#define POOLS_RUN 128u
#define MANY 64u
#define DISK "/run"
#define LEDGER DISK "/l.db"

#define OK(expression)                                     \
    do {                                                   \
        if ((expression) != UIDPOOL_OK)                    \
            fail_msg("%s: %s", #expression, problem.text); \
    } while (0)

static struct problem problem;

struct fixture {
    struct allocator a;
    sd_event *event;
    uid_t base;
};

/* A request and what became of it. */
struct want {
    struct fixture *f;
    struct grant_request request;
    unsigned told;
    enum uidpool_status status;
    struct uidpool_lease lease;
    char text[1024];
    size_t n_survivors;
};

static uid_t next_base(void)
{
    static uid_t next;
    uint32_t random;
    uid_t base;

    if (next == 0) {
        assert_int_equal(getrandom(&random, sizeof(random), 0), sizeof(random));
        next = POOLS_FIRST + random % 64 * POOLS_RUN * POOLS_STEP;
        print_message("uids from %u\n", next);
    }
    base = next;
    next += POOLS_STEP;
    return base;
}

static uid_t add_pool(struct fixture *f, const char *name, enum uidpool_policy policy,
                      uint32_t size)
{
    struct uidpool_pool pool = {.policy = policy, .size = size, .quarantine = 0};

    pool.base = pool.next_uid = next_base();
    pool.gid = pool.base;
    (void)snprintf(pool.name, sizeof(pool.name), "%s", name);
    OK(ledger_begin(f->a.ledger, &problem));
    OK(ledger_pool_insert(f->a.ledger, &pool, &problem));
    OK(ledger_commit(f->a.ledger, &problem));
    return pool.base;
}

static void open_all(struct fixture *f)
{
    OK(ledger_open(LEDGER, LEDGER_CREATE, &f->a.ledger, &problem));
    f->a.census = census_new();
    assert_non_null(f->a.census);
    assert_int_equal(sd_event_new(&f->event), 0);
    assert_int_equal(allocator_attach(&f->a, f->event), 0);
}

static void close_all(struct fixture *f)
{
    allocator_detach(&f->a);
    f->event = sd_event_unref(f->event);
    census_free(f->a.census);
    ledger_close(f->a.ledger);
    free(f->a.survivors);
    f->a = (struct allocator){0};
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    assert_int_equal(mount("tmpfs", DISK, "tmpfs", 0, "size=8m,mode=0700"), 0);
    open_all(f);
    f->base = add_pool(f, "next", UIDPOOL_POLICY_NEXT, POOL_SIZE);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    close_all(f);
    free(f);
    return umount2(DISK, MNT_DETACH);
}

static void on_done(const struct outcome *outcome, void *userdata)
{
    struct want *w = userdata;

    w->told++;
    w->status = outcome->problem->status;
    w->lease = *outcome->lease;
    w->n_survivors = outcome->n_survivors;
    (void)snprintf(w->text, sizeof(w->text), "%s", outcome->problem->text);
}

static struct want wish(struct fixture *f, const char *pool, int64_t domid)
{
    struct uidpool_lease_request request = UIDPOOL_LEASE_REQUEST_INIT;
    struct want w = {.f = f, .request = {.lease = request, .timeout = PATIENCE_USEC}};

    w.request.lease.pool = pool;
    w.request.lease.domid = domid;
    return w;
}

static struct want wish_by_name(struct fixture *f, const char *pool, const char *name)
{
    struct want w = wish(f, pool, UIDPOOL_NO_DOMID);

    w.request.lease.name = name;
    return w;
}

/* The strings are the caller's, and may go when this returns. */
static void add(struct want *w)
{
    char pool[UIDPOOL_NAME_MAX + 1], name[UIDPOOL_NAME_MAX + 1];
    struct grant_request request = w->request;

    (void)snprintf(pool, sizeof(pool), "%s", request.lease.pool);
    (void)snprintf(name, sizeof(name), "%s", request.lease.name ? request.lease.name : "");
    request.lease.pool = pool;
    request.lease.name = request.lease.name ? name : NULL;
    assert_int_equal(granter_add(w->f->a.granter, &request, on_done, w), 0);
    assert_int_equal(w->told, 0);
    memset(pool, 'X', sizeof(pool));
    memset(name, 'X', sizeof(name));
}

static void turn(struct fixture *f)
{
    assert_true(sd_event_run(f->event, (uint64_t)PATIENCE_USEC) > 0);
}

static void run(struct fixture *f)
{
    while (granter_pending(f->a.granter) > 0)
        turn(f);
    assert_int_equal(f->a.granter->n_claims, 0);
}

static void run_one(struct want *w)
{
    add(w);
    run(w->f);
    assert_int_equal(w->told, 1);
}

static void assert_got(const struct want *w, uid_t uid)
{
    assert_int_equal(w->told, 1);
    if (w->status != UIDPOOL_OK)
        fail_msg("%s", w->text);
    assert_int_equal(w->lease.uid, uid);
    assert_int_equal(w->lease.state, UIDPOOL_STATE_LEASED);
    assert_string_equal(w->text, "");
}

static void assert_refused(const struct want *w, enum uidpool_status status, const char *says)
{
    assert_int_equal(w->told, 1);
    assert_int_equal(w->status, status);
    if (!strstr(w->text, says))
        fail_msg("'%s' does not say '%s'", w->text, says);
}

/* What the ledger has there; a state of 0 for nothing. */
static struct uidpool_lease at(struct fixture *f, uid_t uid)
{
    struct uidpool_lease lease = {0};
    struct problem p;
    enum uidpool_status status = ledger_lease_at(f->a.ledger, uid, 1, &lease, &p);

    assert_true(status == UIDPOOL_OK || status == UIDPOOL_NOT_FOUND);
    return lease;
}

static void after(struct fixture *f, int64_t usec, sd_event_time_handler_t handler, void *userdata)
{
    uint64_t when = (uint64_t)(clock_monotonic_usec() + usec);

    assert_true(sd_event_add_time(f->event, NULL, CLOCK_MONOTONIC, when, 1, handler, userdata) >=
                0);
}

static int claim(struct fixture *f, uid_t uid)
{
    int fd = ledger_claim_uids(f->a.ledger, uid, 1);

    assert_true(fd >= 0);
    return fd;
}

/* A helper that was asked keeps what was claimed for it until it has the answer. */
static bool is_free(void *userdata)
{
    const struct want *w = userdata;
    int fd = ledger_claim_uids(w->f->a.ledger, w->lease.uid, 1);

    return fd >= 0 && close(fd) == 0;
}

/*
 * Many.
 */

static void test_many_at_once_get_neighbours(void **state)
{
    struct fixture *f = *state;
    struct want w[MANY];
    struct uidpool_pool pool;

    for (unsigned i = 0; i < MANY; i++) {
        w[i] = wish(f, "next", i);
        add(&w[i]);
    }
    assert_int_equal(granter_pending(f->a.granter), MANY);
    run(f);
    for (unsigned i = 0; i < MANY; i++) {
        assert_got(&w[i], f->base + i);
        assert_int_equal(w[i].lease.domid, i);
        assert_int_equal(at(f, f->base + i).domid, i);
    }
    /* The next one goes on behind them. */
    OK(ledger_pool_by_name(f->a.ledger, "next", &pool, &problem));
    assert_int_equal(pool.next_uid, f->base + MANY);
}

/* More than there may be claims at once. */
static void test_more_than_may_run_at_once(void **state)
{
    struct fixture *f = *state;
    uid_t base = add_pool(f, "domid", UIDPOOL_POLICY_DOMID, POOL_SIZE);
    struct want *w = calloc(POOL_SIZE, sizeof(*w));
    bool full = false;

    assert_non_null(w);
    for (unsigned i = 0; i < POOL_SIZE; i++) {
        w[i] = wish(f, "domid", i);
        add(&w[i]);
    }
    while (granter_pending(f->a.granter) > 0) {
        turn(f);
        full |= f->a.granter->n_claims == GRANT_CLAIMS_MAX;
    }
    assert_true(full);
    assert_int_equal(f->a.granter->n_claims, 0);
    for (unsigned i = 0; i < POOL_SIZE; i++)
        assert_got(&w[i], base + i);
    free(w);
}

/* All that were asked about together are asked alone when one of them is in use. */
static void test_a_stranger_among_neighbours(void **state)
{
    struct fixture *f = *state;
    pid_t stranger = start_plain(f->base + 2);
    struct want w[6];
    char who[32];

    for (unsigned i = 0; i < ELEMENTS_OF(w); i++) {
        w[i] = wish(f, "next", i);
        add(&w[i]);
    }
    run(f);
    for (unsigned i = 0; i < ELEMENTS_OF(w); i++)
        assert_got(&w[i], i == 2 ? f->base + ELEMENTS_OF(w) : f->base + i);
    assert_int_equal(at(f, f->base + 2).state, UIDPOOL_STATE_HELD);
    (void)snprintf(who, sizeof(who), "pid %d tid %d", stranger, stranger);
    assert_non_null(strstr(at(f, f->base + 2).reason, "in use without a lease by"));
    assert_non_null(strstr(at(f, f->base + 2).reason, who));
    end(stranger);
}

/* One question is about uids that follow one another, and about each of them. */
static void test_who_is_no_neighbour_is_asked_too(void **state)
{
    static const unsigned domids[] = {10, 0, 1, 4};
    struct fixture *f = *state;
    uid_t base = add_pool(f, "domid", UIDPOOL_POLICY_DOMID, 16);
    pid_t stranger = start_plain(base + 10);
    struct want w[ELEMENTS_OF(domids)];

    for (unsigned i = 0; i < ELEMENTS_OF(w); i++) {
        w[i] = wish(f, "domid", domids[i]);
        add(&w[i]);
    }
    run(f);
    for (unsigned i = 0; i < ELEMENTS_OF(w); i++)
        if (domids[i] == 10)
            assert_refused(&w[i], UIDPOOL_CONFLICT, "in use without a lease");
        else
            assert_got(&w[i], base + domids[i]);
    end(stranger);
}

/* Whoever is held up is not in the way of those behind, and does not send the next one back. */
static void test_next_does_not_go_back(void **state)
{
    struct fixture *f = *state;
    pid_t zombie = start_zombie(f->base);
    struct want slow = wish(f, "next", 1), quick = wish(f, "next", 2);
    struct uidpool_pool pool;

    add(&slow);
    add(&quick);
    run(f); /* nearly always in the other order */
    assert_got(&slow, f->base);
    assert_got(&quick, f->base + 1);
    OK(ledger_pool_by_name(f->a.ledger, "next", &pool, &problem));
    assert_int_equal(pool.next_uid, f->base + 2);
    reap(zombie);
}

/*
 * Owners.
 */

static void test_one_owner_twice_at_once(void **state)
{
    struct fixture *f = *state;
    struct want a = wish_by_name(f, "next", "web"), b = a, c = a;

    c.request.lease.uuid = "11111111-2222-3333-4444-555555555555";
    b.request.timeout = c.request.timeout = 100 * PATIENCE_USEC;
    add(&a);
    add(&b);
    add(&c);
    run(f);
    assert_got(&a, f->base);
    assert_false(a.lease.existing);
    assert_got(&b, f->base);
    assert_true(b.lease.existing);
    assert_true(a.lease.id == b.lease.id);
    assert_refused(&c, UIDPOOL_CONFLICT, "has uid");
}

/* The second waits behind the first, but not beyond its own time. */
static void test_one_owner_twice_and_no_time(void **state)
{
    struct fixture *f = *state;
    uid_t base = add_pool(f, "domid", UIDPOOL_POLICY_DOMID, 8);
    struct want a = wish(f, "domid", 3), b = a;
    int fd = claim(f, base + 3);

    b.request.timeout = 20 * USEC_PER_MSEC;
    add(&a);
    add(&b);
    while (!b.told)
        turn(f);
    assert_refused(&b, UIDPOOL_CONFLICT, "another request for it is under way");
    assert_int_equal(a.told, 0);
    close(fd);
    run(f);
    assert_got(&a, base + 3);
}

static void test_two_owners_of_one_uid(void **state)
{
    struct fixture *f = *state;
    uid_t base = add_pool(f, "domid", UIDPOOL_POLICY_DOMID, 8);
    struct want block = wish(f, "domid", 0), one = wish(f, "domid", 1);

    block.request.lease.count = 2;
    add(&block);
    add(&one);
    run(f);
    assert_got(&block, base);
    assert_int_equal(block.lease.count, 2);
    assert_refused(&one, UIDPOOL_CONFLICT, "is leased for domid 0");
    assert_int_equal(one.lease.uid, base + 1);
    assert_int_equal(one.lease.domid, 1);
    assert_string_equal(one.lease.pool, "domid");
}

/* What another process writes while we ask the census. */
static void write_lease(struct fixture *f, uid_t uid, const char *name)
{
    struct uidpool_lease lease = {.uid = uid, .gid = f->base, .count = 1, .pool_id = f->base};

    lease.domid = UIDPOOL_NO_DOMID;
    (void)snprintf(lease.name, sizeof(lease.name), "%s", name);
    OK(ledger_begin(f->a.ledger, &problem));
    OK(lease_step(f->a.ledger, &lease, LEASE_EVENT_GRANT, NULL, 0, &problem));
    OK(ledger_commit(f->a.ledger, &problem));
}

static void test_somebody_was_faster(void **state)
{
    struct fixture *f = *state;
    struct want owner = wish_by_name(f, "next", "web"), uid = wish_by_name(f, "next", "db"),
                third = wish_by_name(f, "next", "mail");

    add(&owner);
    add(&uid);
    add(&third);
    turn(f);
    assert_int_equal(f->a.granter->n_claims, 3);
    write_lease(f, f->base + 50, "web");
    write_lease(f, f->base + 1, "other");
    run(f);
    assert_got(&owner, f->base + 50);
    assert_true(owner.lease.existing);
    assert_int_not_equal(uid.lease.uid, f->base + 1);
    assert_got(&uid, uid.lease.uid);
    assert_got(&third, f->base + 2);
}

/* A machine that was made anew under its domid: the old one is killed and proven first. */
static void test_another_uuid_revokes_first(void **state)
{
    struct fixture *f = *state;
    struct want old = wish(f, "next", 5), new = old, same = old;
    pid_t pid;

    old.request.lease.uuid = "11111111-2222-3333-4444-555555555555";
    new.request.lease.uuid = same.request.lease.uuid = "21111111-2222-3333-4444-555555555555";
    run_one(&old);
    assert_got(&old, f->base);
    pid = start_plain(f->base);
    add(&new);
    add(&same);
    run(f);
    assert_killed(pid);
    assert_got(&new, f->base + 1);
    assert_false(new.lease.existing);
    assert_got(&same, f->base + 1);
    assert_true(same.lease.existing);
}

/* Somebody else's revocation that is not done lies in the place: it is brought to its end. */
static void test_what_is_unproven_in_the_place(void **state)
{
    struct fixture *f = *state;
    uid_t base = add_pool(f, "domid", UIDPOOL_POLICY_DOMID, 8);
    struct want block = wish(f, "domid", 0), one = wish(f, "domid", 1);
    pid_t pid;

    block.request.lease.count = 2;
    run_one(&block);
    OK(ledger_begin(f->a.ledger, &problem));
    OK(lease_step(f->a.ledger, &block.lease, LEASE_EVENT_RELEASE, NULL, 0, &problem));
    OK(ledger_commit(f->a.ledger, &problem));
    pid = start_plain(base);
    run_one(&one);
    assert_killed(pid);
    assert_got(&one, base + 1);
    assert_int_equal(at(f, base).state, 0);
}

/* What the reaper may not kill stays, and is told with the lease that could not be had. */
static void test_what_cannot_be_revoked(void **state)
{
    struct fixture *f = *state;
    uid_t base = add_pool(f, "domid", UIDPOOL_POLICY_DOMID, 8);
    struct want old = wish(f, "domid", 5), new = old;
    pid_t pid;

    old.request.lease.uuid = "11111111-2222-3333-4444-555555555555";
    new.request.lease.uuid = "21111111-2222-3333-4444-555555555555";
    new.request.timeout = 200 * USEC_PER_MSEC;
    run_one(&old);
    pid = start_as(0, base + 5, 0);
    run_one(&new);
    assert_refused(&new, UIDPOOL_NOT_PROVEN, "is not proven empty");
    assert_int_equal(new.n_survivors, 1);
    assert_int_equal(at(f, base + 5).state, UIDPOOL_STATE_REVOKING);
    end(pid);
    new.told = 0;
    new.request.timeout = PATIENCE_USEC;
    run_one(&new);
    assert_got(&new, base + 5);
}

/*
 * Claims of others.
 */

static int drop_claim(sd_event_source *source, uint64_t usec, void *userdata)
{
    int *fd = userdata;

    (void)source;
    (void)usec;
    *fd = close_fd(*fd);
    return 0;
}

static void test_a_claim_is_waited_for_or_passed_by(void **state)
{
    struct fixture *f = *state;
    uid_t base = add_pool(f, "domid", UIDPOOL_POLICY_DOMID, 8);
    struct want fixed = wish(f, "domid", 2), late = wish(f, "domid", 3), found = wish(f, "next", 2);
    int fixed_fd = claim(f, base + 2), late_fd = claim(f, base + 3), found_fd = claim(f, f->base);

    late.request.timeout = 0;
    add(&fixed);
    add(&late);
    add(&found);
    while (!late.told || !found.told)
        turn(f);
    assert_refused(&late, UIDPOOL_CONFLICT, "another uidpool process is at work on it");
    assert_got(&found, f->base + 1);
    assert_int_equal(fixed.told, 0);
    after(f, 0, drop_claim, &fixed_fd);
    run(f);
    assert_int_equal(fixed_fd, -1);
    assert_got(&fixed, base + 2);
    close(late_fd);
    close(found_fd);
}

/* The one that was started first, of those that are called so. */
static pid_t find_helper(void)
{
    for (pid_t pid = 2; pid < INT16_MAX; pid++) {
        char path[64], name[32] = "";
        _cleanup_fd_ int fd = -1;

        (void)snprintf(path, sizeof(path), "/proc/%d/comm", pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0 && read(fd, name, sizeof(name) - 1) > 0 &&
            strcmp(name, "uidpool-census\n") == 0)
            return pid;
    }
    fail_msg("there is no helper");
    return 0;
}

/* Whoever waits for one of the claims that there may be is not refused for that. */
static void test_no_room_is_no_conflict(void **state)
{
    struct fixture *f = *state;
    uid_t base = add_pool(f, "domid", UIDPOOL_POLICY_DOMID, 8);
    struct want *w = calloc(GRANT_CLAIMS_MAX, sizeof(*w)), first = wish(f, "domid", 0),
                waits = wish(f, "domid", 1);
    int fd = claim(f, base + 1);
    struct grant *job;
    pid_t helper;

    assert_non_null(w);
    run_one(&first);
    helper = find_helper();
    assert_int_equal(kill(helper, SIGSTOP), 0);
    add(&waits);
    turn(f);
    job = f->a.granter->jobs;
    for (unsigned i = 0; i < GRANT_CLAIMS_MAX; i++) {
        w[i] = wish(f, "next", i);
        add(&w[i]);
    }
    while (f->a.granter->n_claims < GRANT_CLAIMS_MAX)
        turn(f);
    close(fd);
    job->deadline = 0;
    while (!waits.told && !job->ready)
        turn(f);
    assert_int_equal(waits.told, 0);
    assert_int_equal(kill(helper, SIGCONT), 0);
    run(f);
    assert_got(&waits, base + 1);
    for (unsigned i = 0; i < GRANT_CLAIMS_MAX; i++)
        assert_got(&w[i], f->base + i);
    free(w);
}

/* The only one that is free may come back; then the pool is not exhausted. */
static void test_what_is_in_hands_may_be_free_in_a_moment(void **state)
{
    struct fixture *f = *state;
    uid_t base = add_pool(f, "tiny", UIDPOOL_POLICY_NEXT, 1);
    struct want a = wish(f, "tiny", 2), late = wish(f, "tiny", 3);
    int fd = claim(f, base);

    late.request.timeout = 0;
    add(&a);
    add(&late);
    while (!late.told)
        turn(f);
    assert_refused(&late, UIDPOOL_EXHAUSTED, "pool tiny has no 1 free uid in a row");
    after(f, 0, drop_claim, &fd);
    run(f);
    assert_got(&a, base);
    late.told = 0;
    run_one(&late);
    assert_refused(&late, UIDPOOL_EXHAUSTED, "of 1, 1 are leased");
}

/* Leased, proven and at rest: over now, or, with a rest in seconds, not for long. */
static void put_to_rest(struct fixture *f, uid_t uid, int64_t pool, uint32_t rest)
{
    struct uidpool_lease lease = {.uid = uid, .gid = 1, .count = 1, .pool_id = pool};
    struct evidence evidence = {.scan = WITNESS_EMPTY, .census = WITNESS_EMPTY};

    lease.domid = uid - (uid_t)pool;
    OK(lease_step(f->a.ledger, &lease, LEASE_EVENT_GRANT, NULL, 0, &problem));
    OK(lease_step(f->a.ledger, &lease, LEASE_EVENT_RELEASE, NULL, 0, &problem));
    evidence.uids = lease_range(&lease);
    evidence.lease = lease.id;
    evidence.step = lease.step;
    OK(ledger_evidence_insert(f->a.ledger, &evidence, &problem));
    OK(lease_step(f->a.ledger, &lease, LEASE_EVENT_PROVEN, NULL, rest, &problem));
}

static uid_t add_resting_pool(struct fixture *f, uint32_t size, uint32_t rest)
{
    uid_t base = add_pool(f, "resting", UIDPOOL_POLICY_NEXT, size);

    OK(ledger_begin(f->a.ledger, &problem));
    for (uid_t uid = base; uid < base + size; uid++)
        put_to_rest(f, uid, base, rest);
    OK(ledger_commit(f->a.ledger, &problem));
    return base;
}

/* All rests that are over end where nothing else is left, not two with each lease. */
static void test_a_pool_at_rest_is_not_exhausted(void **state)
{
    struct fixture *f = *state;
    uid_t base = add_resting_pool(f, 80, 0);
    struct want w = wish(f, "resting", 1);

    w.request.lease.count = 80;
    run_one(&w);
    assert_got(&w, base);
}

static void test_rests_that_a_reboot_ended(void **state)
{
    struct fixture *f = *state;
    uid_t base = add_resting_pool(f, 3, 1000);
    struct want w = wish(f, "resting", 1);

    run_one(&w);
    assert_refused(&w, UIDPOOL_EXHAUSTED, "3 in quarantine");
    /* As if the host had been rebooted since. */
    f->a.ledger->boot[0] = f->a.ledger->boot[0] == '0' ? '1' : '0';
    f->a.granter->count_took = 0;
    w.told = 0;
    run_one(&w);
    assert_got(&w, base);
    assert_int_equal(at(f, base + 1).state, 0);
}

/* Many who are refused are not counted for each. */
static void test_counted_once_for_many(void **state)
{
    struct fixture *f = *state;
    struct want w[MANY];

    (void)add_resting_pool(f, 200, 1000);
    for (unsigned i = 0; i < MANY; i++) {
        w[i] = wish(f, "resting", 1000 + i);
        add(&w[i]);
    }
    turn(f);
    assert_int_equal(f->a.granter->counted.quarantined, 200);
    f->a.granter->count_took = PATIENCE_USEC;
    f->a.granter->counted.quarantined = 4711;
    for (unsigned i = 0; i < MANY; i++) {
        w[i].told = 0;
        add(&w[i]);
    }
    run(f);
    for (unsigned i = 0; i < MANY; i++)
        assert_refused(&w[i], UIDPOOL_EXHAUSTED, "4711 in quarantine");
}

/*
 * Strangers.
 */

static void test_a_stranger_in_a_fixed_place(void **state)
{
    struct fixture *f = *state;
    uid_t base = add_pool(f, "domid", UIDPOOL_POLICY_DOMID, 8);
    struct want w = wish(f, "domid", 1), again = w;
    pid_t stranger = start_plain(base + 1);

    run_one(&w);
    assert_refused(&w, UIDPOOL_CONFLICT, "it is held from now on");
    assert_int_equal(at(f, base + 1).state, UIDPOOL_STATE_HELD);
    assert_unharmed(stranger);
    run_one(&again);
    assert_refused(&again, UIDPOOL_CONFLICT, "is held: in use without a lease by");
    end(stranger);
}

/* Of a block those uids are held that are in use, no others. */
static void test_strangers_in_a_block(void **state)
{
    struct fixture *f = *state;
    struct want w = wish(f, "next", 1);
    pid_t a = start_plain(f->base + 1), b = start_plain(f->base + 3);

    w.request.lease.count = 4;
    run_one(&w);
    assert_got(&w, f->base + 4);
    assert_int_equal(w.lease.count, 4);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(at(f, f->base + i).state, i % 2 ? UIDPOOL_STATE_HELD : 0);
    end(a);
    end(b);
}

static void test_the_dead_are_no_strangers(void **state)
{
    struct fixture *f = *state;
    struct want w = wish(f, "next", 1);
    pid_t one = start_zombie(f->base), two = start_zombie(f->base + 1);

    w.request.lease.count = 3;
    run_one(&w);
    assert_got(&w, f->base);
    reap(one);
    reap(two);
}

static int end_now(sd_event_source *source, uint64_t usec, void *userdata)
{
    pid_t *pid = userdata;

    (void)source;
    (void)usec;
    end(*pid);
    *pid = 0;
    return 0;
}

/* Who goes while he is looked at was none. */
static void test_who_goes_is_no_stranger(void **state)
{
    struct fixture *f = *state;
    struct want w = wish(f, "next", 1);
    pid_t pid = start_plain(f->base);

    add(&w);
    while (!w.told && w.f->a.granter->jobs->who.looks < 1)
        turn(f);
    after(f, 0, end_now, &pid);
    run(f);
    assert_int_equal(pid, 0);
    assert_got(&w, f->base);
}

static int on_always(sd_event_source *source, void *userdata)
{
    (void)source;
    (void)userdata;
    return 0;
}

/* What else the loop has to do may put off the look at a stranger, but not for ever. */
static void test_a_stranger_and_a_loop_that_is_never_idle(void **state)
{
    struct fixture *f = *state;
    struct want w = wish(f, "next", 1);
    int64_t end_at = clock_monotonic_usec() + PATIENCE_USEC;
    sd_event_source *always = NULL;
    pid_t pid = start_plain(f->base);

    assert_true(sd_event_add_defer(f->event, &always, on_always, NULL) >= 0);
    assert_true(sd_event_source_set_priority(always, SD_EVENT_PRIORITY_NORMAL + 1) >= 0);
    assert_true(sd_event_source_set_enabled(always, SD_EVENT_ON) >= 0);
    add(&w);
    while (w.told == 0 && clock_monotonic_usec() < end_at)
        turn(f);
    sd_event_source_disable_unref(always);
    assert_got(&w, f->base + 1);
    assert_int_equal(at(f, f->base).state, UIDPOOL_STATE_HELD);
    end(pid);
}

/*
 * Reservations.
 */

static void test_reservations(void **state)
{
    struct fixture *f = *state;
    uid_t base = add_pool(f, "domid", UIDPOOL_POLICY_DOMID, 8);
    struct uidpool_reservation reserved;
    struct want own = wish_by_name(f, "domid", "tpm"), none = wish_by_name(f, "domid", "web"),
                other = wish(f, "domid", 3), first = wish(f, "next", 3);

    OK(allocator_reserve(&f->a, "tpm", "domid", base + 2, 2, &reserved, &problem));
    OK(allocator_reserve(&f->a, "pinned", "next", f->base, 1, &reserved, &problem));
    add(&other);
    add(&own);
    add(&none);
    add(&first);
    run(f);
    assert_refused(&other, UIDPOOL_CONFLICT, "is reserved for tpm");
    assert_got(&own, base + 2);
    assert_int_equal(own.lease.count, 2);
    assert_refused(&none, UIDPOOL_NOT_FOUND, "needs a reservation");
    assert_got(&first, f->base + 1);
}

/*
 * Adoption.
 */

static void test_adoption(void **state)
{
    struct fixture *f = *state;
    uid_t base = add_pool(f, "domid", UIDPOOL_POLICY_DOMID, 8);
    struct want ran = wish(f, "domid", 1), idle = wish(f, "domid", 2);
    pid_t pid = start_plain(base + 1);

    ran.request.adopt = idle.request.adopt = true;
    ran.request.reason = idle.request.reason = "xenstore says so";
    add(&ran);
    add(&idle);
    run(f);
    assert_got(&ran, base + 1);
    assert_string_equal(ran.lease.reason, "it ran already; xenstore says so");
    assert_string_equal(at(f, base + 1).reason, "it ran already; xenstore says so");
    assert_got(&idle, base + 2);
    assert_string_equal(at(f, base + 2).reason, "xenstore says so");
    assert_unharmed(pid);
    end(pid);
}

/* Whoever is adopted runs already: no kill may come before his lease, neither of his domid's last
 * owner nor of what is unproven in his place. */
static void test_adoption_kills_nobody(void **state)
{
    struct fixture *f = *state;
    uid_t base = add_pool(f, "domid", UIDPOOL_POLICY_DOMID, 8);
    struct want old = wish(f, "domid", 5), new = old, unproven = wish(f, "domid", 6);
    pid_t pid, other;

    old.request.lease.uuid = "11111111-2222-3333-4444-555555555555";
    new.request.lease.uuid = "21111111-2222-3333-4444-555555555555";
    run_one(&old);
    run_one(&unproven);
    OK(ledger_begin(f->a.ledger, &problem));
    OK(lease_step(f->a.ledger, &unproven.lease, LEASE_EVENT_RELEASE, NULL, 0, &problem));
    OK(ledger_commit(f->a.ledger, &problem));
    pid = start_plain(base + 5);
    other = start_plain(base + 6);
    for (unsigned i = 0; i < 2; i++) {
        new.told = unproven.told = 0;
        new.request.adopt = unproven.request.adopt = i == 0;
        new.request.hold_nothing = unproven.request.hold_nothing = i == 1;
        add(&new);
        add(&unproven);
        run(f);
        assert_unharmed(pid);
        assert_unharmed(other);
        assert_refused(&new, UIDPOOL_CONFLICT, "nothing is killed for one that runs already");
        assert_refused(&unproven, UIDPOOL_CONFLICT, "nothing is killed for one that runs already");
        assert_int_equal(at(f, base + 5).state, UIDPOOL_STATE_LEASED);
        assert_int_equal(at(f, base + 6).state, UIDPOOL_STATE_REVOKING);
    }
    end(pid);
    end(other);
}

/* Only what is otherwise free, and only where the domid says which uid it is. */
static void test_what_is_not_adopted(void **state)
{
    struct fixture *f = *state;
    uid_t base = add_pool(f, "domid", UIDPOOL_POLICY_DOMID, 8);
    struct uidpool_reservation reserved;
    struct want held = wish(f, "domid", 1), found = wish(f, "next", 1),
                named = wish_by_name(f, "domid", "web");
    pid_t a = start_plain(base + 1), b = start_plain(f->base), c = start_plain(base + 3);

    OK(allocator_reserve(&f->a, "web", "domid", base + 3, 1, &reserved, &problem));
    run_one(&held);
    assert_refused(&held, UIDPOOL_CONFLICT, "it is held from now on");
    held.told = 0;
    held.request.adopt = found.request.adopt = named.request.adopt = true;
    add(&held);
    add(&found);
    add(&named);
    run(f);
    assert_refused(&held, UIDPOOL_CONFLICT, "is held");
    assert_got(&found, f->base + 1);
    assert_string_equal(found.lease.reason, "");
    assert_int_equal(at(f, f->base).state, UIDPOOL_STATE_HELD);
    assert_refused(&named, UIDPOOL_CONFLICT, "it is held from now on");
    end(a);
    end(b);
    end(c);
}

/* For one who asks again: it is refused, and the next one finds the uid as it was. */
static void test_nothing_is_held(void **state)
{
    struct fixture *f = *state;
    uid_t base = add_pool(f, "domid", UIDPOOL_POLICY_DOMID, 8);
    struct want w = wish(f, "domid", 1);
    pid_t pid = start_plain(base + 1);

    w.request.hold_nothing = true;
    run_one(&w);
    assert_refused(&w, UIDPOOL_CONFLICT, "in use without a lease by");
    assert_unharmed(pid);
    end(pid);
    w.told = 0;
    run_one(&w);
    assert_got(&w, base + 1);
}

/*
 * Trouble.
 */

static void fill_disk(void)
{
    static const char nothing[65536];
    int fd = open(DISK "/filler", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    for (size_t piece = sizeof(nothing); piece > 0; piece /= 2)
        while (write(fd, nothing, piece) > 0)
            ;
    assert_int_equal(errno, ENOSPC);
    close(fd);
}

static void test_a_full_disk_fails_all(void **state)
{
    struct fixture *f = *state;
    struct want w[8];

    fill_disk();
    for (unsigned i = 0; i < ELEMENTS_OF(w); i++) {
        w[i] = wish(f, "next", i);
        add(&w[i]);
    }
    run(f);
    for (unsigned i = 0; i < ELEMENTS_OF(w); i++) {
        assert_refused(&w[i], UIDPOOL_FAILED, "");
        assert_int_not_equal(w[i].text[0], '\0');
        assert_int_equal(at(f, f->base + i).state, 0);
    }
    assert_int_equal(unlink(DISK "/filler"), 0);
    for (unsigned i = 0; i < ELEMENTS_OF(w); i++) {
        wait_until(is_free, &w[i]);
        w[i].told = 0;
        run_one(&w[i]);
        assert_got(&w[i], f->base + i);
    }
}

/* Nobody is told, nothing is leased that was not before, and nothing stays claimed. */
static void test_dropped_in_the_middle(void **state)
{
    struct fixture *f = *state;

    for (unsigned turns = 0; turns < 8; turns++) {
        struct want w[8];

        for (unsigned i = 0; i < ELEMENTS_OF(w); i++) {
            w[i] = wish(f, "next", (int64_t)(turns * ELEMENTS_OF(w) + i));
            w[i].lease.uid = f->base + (uid_t)(turns * ELEMENTS_OF(w)) + i;
            add(&w[i]);
        }
        for (unsigned i = 0; i < turns && granter_pending(f->a.granter) > 0; i++)
            turn(f);
        allocator_detach(&f->a);
        for (unsigned i = 0; i < ELEMENTS_OF(w); i++) {
            assert_true(w[i].told == 0 || w[i].status == UIDPOOL_OK);
            wait_until(is_free, &w[i]);
        }
        assert_int_equal(allocator_attach(&f->a, f->event), 0);
        for (unsigned i = 0; i < ELEMENTS_OF(w); i++) {
            bool was_told = w[i].told;

            w[i].told = 0;
            run_one(&w[i]);
            assert_int_equal(w[i].status, UIDPOOL_OK);
            assert_true(w[i].lease.existing || !was_told);
        }
    }
}

/* Somebody who waits for a revocation, or looks at a stranger, goes as well. */
static void test_dropped_while_it_waits(void **state)
{
    struct fixture *f = *state;
    uid_t base = add_pool(f, "domid", UIDPOOL_POLICY_DOMID, 8);
    struct want old = wish(f, "domid", 5), new = old, stranger = wish(f, "domid", 6);
    pid_t pid, other;

    old.request.lease.uuid = "11111111-2222-3333-4444-555555555555";
    new.request.lease.uuid = "21111111-2222-3333-4444-555555555555";
    run_one(&old);
    pid = start_as(0, base + 5, 0);
    other = start_plain(base + 6);
    add(&new);
    add(&stranger);
    while (at(f, base + 5).state != UIDPOOL_STATE_REVOKING ||
           f->a.granter->jobs->next->who.looks == 0)
        turn(f);
    close_all(f);
    assert_int_equal(new.told + stranger.told, 0);
    open_all(f);
    end(pid);
    end(other);
    run_one(&new);
    assert_got(&new, base + 5);
    run_one(&stranger);
    assert_got(&stranger, base + 6);
}

static void test_a_helper_that_cannot_tell_proves_nothing(void **state)
{
    struct fixture *f = *state;
    struct want w[3];

    for (unsigned i = 0; i < ELEMENTS_OF(w); i++) {
        w[i] = wish(f, "next", i);
        add(&w[i]);
    }
    census_free(f->a.census);
    f->a.census = census_new();
    /* The helper cannot see in which user namespace it is. */
    assert_int_equal(mount("none", "/proc", "tmpfs", 0, NULL), 0);
    run(f);
    assert_int_equal(umount("/proc"), 0);
    for (unsigned i = 0; i < ELEMENTS_OF(w); i++) {
        assert_refused(&w[i], UIDPOOL_NOT_PROVEN, "the census has no answer");
        assert_int_equal(at(f, f->base + i).state, 0);
    }
}

int main(int argc, char *argv[])
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_many_at_once_get_neighbours),
        TEST(test_more_than_may_run_at_once),
        TEST(test_a_stranger_among_neighbours),
        TEST(test_who_is_no_neighbour_is_asked_too),
        TEST(test_next_does_not_go_back),
        TEST(test_one_owner_twice_at_once),
        TEST(test_one_owner_twice_and_no_time),
        TEST(test_two_owners_of_one_uid),
        TEST(test_somebody_was_faster),
        TEST(test_another_uuid_revokes_first),
        TEST(test_what_is_unproven_in_the_place),
        TEST(test_what_cannot_be_revoked),
        TEST(test_a_claim_is_waited_for_or_passed_by),
        TEST(test_no_room_is_no_conflict),
        TEST(test_what_is_in_hands_may_be_free_in_a_moment),
        TEST(test_a_pool_at_rest_is_not_exhausted),
        TEST(test_rests_that_a_reboot_ended),
        TEST(test_counted_once_for_many),
        TEST(test_a_stranger_in_a_fixed_place),
        TEST(test_strangers_in_a_block),
        TEST(test_the_dead_are_no_strangers),
        TEST(test_who_goes_is_no_stranger),
        TEST(test_a_stranger_and_a_loop_that_is_never_idle),
        TEST(test_reservations),
        TEST(test_adoption),
        TEST(test_adoption_kills_nobody),
        TEST(test_what_is_not_adopted),
        TEST(test_nothing_is_held),
        TEST(test_a_full_disk_fails_all),
        TEST(test_dropped_in_the_middle),
        TEST(test_dropped_while_it_waits),
        TEST(test_a_helper_that_cannot_tell_proves_nothing),
    };

    (void)argc;
    run_isolated(argv);
    alarm(120);
    return cmocka_run_group_tests_name("granter", tests, NULL, NULL);
}
