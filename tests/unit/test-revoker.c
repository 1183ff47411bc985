/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Many revocations on one loop: what is durable before whom is killed, who is asked before that,
 * what neighbours have in common, and what goes on when one of them goes away. Real processes;
 * needs root.
 */
#include "allocator/revocation/job.h"
#include "allocator/revocation/revoker.h"
#include "common/spawn.h"
#include "tests/unit/revoking.h"

#include <sys/resource.h>

#define MANY 100u

static struct world world;

static void add(const struct uidpool_lease *lease, const struct revocation_guard *guard,
                struct told *told)
{
    assert_int_equal(
        revoker_add(world.a.revoker, REVOCATION_KILL, lease, PATIENCE_USEC, guard, on_told, told),
        0);
}

static struct told revoke_now(const struct uidpool_lease *lease,
                              const struct revocation_guard *guard)
{
    struct told told = {0};

    add(lease, guard, &told);
    run_until(&world, was_told, &told);
    assert_int_equal(told.n, 1);
    return told;
}

static void test_killed_and_proven(void **state)
{
    struct uidpool_lease lease = grant(&world, 5, 1);
    pid_t pid = start_plain(lease.uid);
    struct told told = revoke_now(&lease, NULL);

    (void)state;
    assert_int_equal(told.status, UIDPOOL_OK);
    assert_string_equal(told.text, "");
    assert_int_equal(told.lease.state, UIDPOOL_STATE_QUARANTINED);
    assert_int_equal(told.lease.tasks_killed, 1);
    assert_int_equal(told.n_survivors, 0);
    assert_int_equal(state_of(lease.uid), UIDPOOL_STATE_QUARANTINED);
    assert_killed(pid);
}

/*
 * The guard.
 */

struct watched {
    struct sentry sentry;
    pid_t pid;
};

static int ask_and_look(const struct uidpool_lease *lease, void *userdata)
{
    struct watched *w = userdata;

    assert_unharmed(w->pid);
    return sentry_ask(lease, &w->sentry);
}

static enum revocation_permission answer_watched(int fd, void *userdata)
{
    return sentry_answer(fd, &((struct watched *)userdata)->sentry);
}

static void test_asked_when_revoking_is_durable(void **state)
{
    struct uidpool_lease lease = grant(&world, 5, 1);
    struct watched w = {.sentry = {.says = {REVOCATION_ALLOWED}}, .pid = start_plain(lease.uid)};
    struct revocation_guard guard = {ask_and_look, answer_watched, &w};
    struct told told = revoke_now(&lease, &guard);

    (void)state;
    assert_int_equal(told.status, UIDPOOL_OK);
    assert_int_equal(w.sentry.asked, 1);
    assert_int_equal(w.sentry.found, UIDPOOL_STATE_REVOKING);
    assert_int_equal(w.sentry.lease.id, lease.id);
    assert_int_equal(w.sentry.lease.state, UIDPOOL_STATE_REVOKING);
    assert_killed(w.pid);
}

static void test_forbidden(void **state)
{
    struct uidpool_lease lease = grant(&world, 5, 1);
    struct sentry sentry = {.says = {REVOCATION_FORBIDDEN, REVOCATION_ALLOWED}};
    struct revocation_guard guard = guard_of(&sentry);
    pid_t pid = start_plain(lease.uid);
    struct told told = revoke_now(&lease, &guard);

    (void)state;
    assert_int_equal(told.status, UIDPOOL_CONFLICT);
    ASSERT_SAYS(&told, "domid 5");
    ASSERT_SAYS(&told, "another owner");
    assert_unharmed(pid);
    assert_int_equal(told.lease.state, UIDPOOL_STATE_REVOKING);
    assert_int_equal(told.lease.attempts, 0);
    assert_int_equal(state_of(lease.uid), UIDPOOL_STATE_REVOKING);
    /* And later it may be. */
    told = revoke_now(&told.lease, &guard);
    assert_int_equal(told.status, UIDPOOL_OK);
    assert_int_equal(sentry.asked, 2);
    assert_killed(pid);
}

static void test_not_known(void **state)
{
    struct sentry sentries[] = {
        {.unable = true}, {.says = {REVOCATION_UNKNOWN}}, {.mute = true}, /* this one takes 5 s */
    };

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(sentries); i++) {
        struct uidpool_lease lease = grant(&world, (int64_t)i, 1);
        struct revocation_guard guard = guard_of(&sentries[i]);
        pid_t pid = start_plain(lease.uid);
        int64_t begin = clock_monotonic_usec();
        struct told told = revoke_now(&lease, &guard);

        assert_in_range(clock_monotonic_usec() - begin, 0, 15 * USEC_PER_SEC);
        assert_int_equal(told.status, UIDPOOL_NOT_PROVEN);
        ASSERT_SAYS(&told, "cannot be told");
        assert_unharmed(pid);
        assert_int_equal(told.lease.attempts, 1);
        assert_int_equal(state_of(lease.uid), UIDPOOL_STATE_REVOKING);
        end(pid);
    }
}

/* Nobody may be killed for an effective uid whose real one is root's: so it is tried again, by the
 * helper and singly. */
static void test_asked_before_each_kill(void **state)
{
    struct uidpool_lease lease = grant(&world, 5, 1);
    struct sentry sentry = {.says = {REVOCATION_ALLOWED, REVOCATION_ALLOWED, REVOCATION_ALLOWED,
                                     REVOCATION_ALLOWED, REVOCATION_FORBIDDEN}};
    struct revocation_guard guard = guard_of(&sentry);
    pid_t pid = start_as(0, lease.uid, 0);
    struct told told = revoke_now(&lease, &guard);

    (void)state;
    assert_int_equal(told.status, UIDPOOL_CONFLICT);
    assert_int_equal(sentry.asked, 5);
    assert_unharmed(pid);
    end(pid);
}

static void test_asked_before_a_single_kill(void **state)
{
    static const enum revocation_permission answers[] = {
        REVOCATION_FORBIDDEN,
        REVOCATION_UNKNOWN,
        REVOCATION_ALLOWED,
    };
    static const enum uidpool_status statuses[] = {
        UIDPOOL_CONFLICT,
        UIDPOOL_NOT_PROVEN,
        UIDPOOL_OK,
    };
    uid_t other = fresh_uids(1);

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(answers); i++) {
        struct uidpool_lease lease = grant(&world, (int64_t)i, 1);
        struct sentry sentry = {.says = {REVOCATION_ALLOWED, answers[i], REVOCATION_ALLOWED}};
        struct revocation_guard guard = guard_of(&sentry);
        pid_t pid = start_as(other, lease.uid, other);
        struct told told = revoke_now(&lease, &guard);

        assert_int_equal(told.status, statuses[i]);
        assert_in_range(sentry.asked, 2, 3);
        if (told.status == UIDPOOL_OK) {
            assert_killed(pid);
            continue;
        }
        assert_unharmed(pid);
        assert_int_equal(told.n_survivors, told.status == UIDPOOL_NOT_PROVEN);
        assert_int_equal(state_of(lease.uid), UIDPOOL_STATE_REVOKING);
        end(pid);
    }
}

/*
 * Many.
 */

struct many {
    struct uidpool_lease leases[MANY];
    pid_t pids[MANY];
    struct told told[MANY];
    unsigned n;
};

static bool all_were_told(void *userdata)
{
    const struct many *m = userdata;

    for (unsigned i = 0; i < m->n; i++)
        if (m->told[i].n == 0)
            return false;
    return true;
}

/* Leases `step` uids apart, each with a process. */
static void begin_many(struct many *m, unsigned n, unsigned step)
{
    *m = (struct many){.n = n};
    for (unsigned i = 0; i < n; i++) {
        m->leases[i] = grant(&world, i * step, 1);
        m->pids[i] = start_plain(m->leases[i].uid);
    }
}

static void assert_all_proven(const struct many *m)
{
    for (unsigned i = 0; i < m->n; i++) {
        const struct told *told = &m->told[i];

        if (told->n != 1 || told->status != UIDPOOL_OK)
            fail_msg("%u: told %u times, status %d: %s", i, told->n, (int)told->status, told->text);
        assert_int_equal(told->lease.id, m->leases[i].id);
        assert_int_equal(told->lease.tasks_killed, 1);
        assert_killed(m->pids[i]);
    }
}

static void revoke_many(unsigned n, unsigned step)
{
    static struct many m;

    begin_many(&m, n, step);
    for (unsigned i = 0; i < n; i++)
        add(&m.leases[i], NULL, &m.told[i]);
    assert_int_equal(revoker_pending(world.a.revoker), n);
    run_until(&world, all_were_told, &m);
    assert_int_equal(revoker_pending(world.a.revoker), 0);
    assert_all_proven(&m);
}

static void test_neighbours(void **state)
{
    (void)state;
    revoke_many(MANY, 1);
}

/* More than there are reapers, and nothing to share. */
static void test_scattered(void **state)
{
    (void)state;
    revoke_many(MANY, 2);
}

static void test_few_descriptors(void **state)
{
    struct rlimit before, few;

    (void)state;
    allocator_detach(&world.a);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = (struct rlimit){.rlim_cur = 96, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    assert_int_equal(allocator_attach(&world.a, world.event), 0);
    revoke_many(40, 2);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

/* Blocks beside each other, of which one is left out: it lives. */
static void test_neighbours_of_the_living(void **state)
{
    struct uidpool_lease first = grant(&world, 10, 3), living = grant(&world, 13, 1),
                         last = grant(&world, 14, 2);
    pid_t a = start_plain(first.uid + 2), b = start_plain(living.uid), c = start_plain(last.uid);
    struct told told[2] = {0};

    (void)state;
    add(&last, NULL, &told[1]);
    add(&first, NULL, &told[0]);
    run_until(&world, was_told, &told[0]);
    run_until(&world, was_told, &told[1]);
    assert_int_equal(told[0].status, UIDPOOL_OK);
    assert_int_equal(told[1].status, UIDPOOL_OK);
    assert_killed(a);
    assert_killed(c);
    assert_unharmed(b);
    assert_int_equal(state_of(living.uid), UIDPOOL_STATE_LEASED);
    end(b);
}

/* One of three neighbours goes away when their kill is prepared. */
static void test_forgotten(void **state)
{
    static struct many m;

    (void)state;
    begin_many(&m, 3, 1);
    for (unsigned i = 0; i < m.n; i++)
        add(&m.leases[i], NULL, &m.told[i]);
    for (unsigned i = 0; i < 10 && !world.a.revoker->volleys; i++)
        assert_true(sd_event_run(world.event, UINT64_MAX) >= 0);
    assert_non_null(world.a.revoker->volleys);
    revoker_forget(world.a.revoker, &m.told[1]);
    assert_int_equal(revoker_pending(world.a.revoker), 2);
    m.told[1].n = 1;
    run_until(&world, all_were_told, &m);
    assert_int_equal(m.told[0].status, UIDPOOL_OK);
    assert_int_equal(m.told[2].status, UIDPOOL_OK);
    assert_int_equal(m.told[1].n, 1);
    assert_unharmed(m.pids[1]);
    assert_killed(m.pids[0]);
    assert_killed(m.pids[2]);
    end(m.pids[1]);
    /* Its claim is gone with it. */
    m.told[1] = revoke_now(&m.leases[1], NULL);
    assert_int_equal(m.told[1].status, UIDPOOL_OK);
}

static void test_survivors_are_each_ones_own(void **state)
{
    struct uidpool_lease one = grant(&world, 5, 1), two = grant(&world, 6, 1);
    /* Nobody may be killed for an effective uid whose real one is root's. */
    pid_t survivor = start_as(0, one.uid, 0), victim = start_plain(two.uid);
    struct told told[2] = {0};

    (void)state;
    assert_int_equal(
        revoker_add(world.a.revoker, REVOCATION_KILL, &one, USEC_PER_SEC, NULL, on_told, &told[0]),
        0);
    add(&two, NULL, &told[1]);
    run_until(&world, was_told, &told[0]);
    run_until(&world, was_told, &told[1]);
    assert_int_equal(told[0].status, UIDPOOL_NOT_PROVEN);
    assert_int_equal(told[0].n_survivors, 1);
    assert_int_equal(told[0].survivor, survivor);
    assert_int_equal(told[1].status, UIDPOOL_OK);
    assert_int_equal(told[1].n_survivors, 0);
    assert_int_equal(world.a.n_survivors, 0);
    end(survivor);
    assert_killed(victim);
}

static int on_always(sd_event_source *source, void *userdata)
{
    (void)source;
    (void)userdata;
    return 0;
}

/* Neither what is done for all at once nor what is done when nothing else is to do may wait for
 * ever. */
static void test_loop_that_is_never_idle(void **state)
{
    static const int64_t priorities[] = {SD_EVENT_PRIORITY_IDLE - 1, SD_EVENT_PRIORITY_NORMAL + 1};

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(priorities); i++) {
        struct uidpool_lease lease = grant(&world, 5 + (int64_t)i, 1);
        sd_event_source *always = NULL;
        pid_t pid = start_plain(lease.uid);
        struct told told;

        assert_true(sd_event_add_defer(world.event, &always, on_always, NULL) >= 0);
        assert_true(sd_event_source_set_priority(always, priorities[i]) >= 0);
        assert_true(sd_event_source_set_enabled(always, SD_EVENT_ON) >= 0);
        told = revoke_now(&lease, NULL);
        assert_int_equal(told.status, UIDPOOL_OK);
        sd_event_source_disable_unref(always);
        assert_killed(pid);
    }
}

static bool no_orphans(void *nothing)
{
    (void)nothing;
    return !world.a.revoker->orphans;
}

static void test_late_helper_is_not_waited_for(void **state)
{
    char *argv[] = {(char[]){"sleep"}, (char[]){"1000"}, NULL};
    int pipe_fds[2];
    char c;

    (void)state;
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    int pidfd = spawn_helper("/bin/sleep", argv, &pipe_fds[1], 1);
    assert_true(pidfd >= 0);
    close(pipe_fds[1]);
    revoker_bury(world.a.revoker, pidfd);
    assert_non_null(world.a.revoker->orphans);
    run_until(&world, no_orphans, NULL);
    /* It is dead: nobody has the pipe any more. */
    assert_int_equal(read(pipe_fds[0], &c, 1), 0);
    close(pipe_fds[0]);
}

static void test_all_on_the_private_loop(void **state)
{
    struct uidpool_lease leases[2] = {grant(&world, 5, 1), grant(&world, 9, 1)};
    pid_t survivor = start_as(0, leases[1].uid, 0), victim = start_plain(leases[0].uid);
    struct problem p = {0};

    (void)state;
    allocator_detach(&world.a);
    assert_int_equal(revoke_all(&world.a, REVOCATION_KILL, leases, 2, 1, NULL, NULL, &p),
                     UIDPOOL_NOT_PROVEN);
    assert_int_equal(world.a.n_survivors, 1);
    assert_int_equal(world.a.survivors[0].pid, survivor);
    assert_int_equal(state_of(leases[0].uid), UIDPOOL_STATE_QUARANTINED);
    end(survivor);
    assert_killed(victim);
    assert_int_equal(revoke_all(&world.a, REVOCATION_KILL, leases, 2, 30, NULL, NULL, &p),
                     UIDPOOL_OK);
}

static int setup(void **state)
{
    (void)state;
    world_make(&world, 60);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    world_end(&world);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(int argc, char *argv[])
{
    static const struct CMUnitTest tests[] = {
        TEST(killed_and_proven),
        TEST(asked_when_revoking_is_durable),
        TEST(forbidden),
        TEST(not_known),
        TEST(asked_before_each_kill),
        TEST(asked_before_a_single_kill),
        TEST(neighbours),
        TEST(scattered),
        TEST(few_descriptors),
        TEST(neighbours_of_the_living),
        TEST(forgotten),
        TEST(survivors_are_each_ones_own),
        TEST(loop_that_is_never_idle),
        TEST(late_helper_is_not_waited_for),
        TEST(all_on_the_private_loop),
    };

    (void)argc;
    run_isolated(argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
