/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon's revocations: those that somebody asks for, those that are tried again until they
 * work, what was left of another boot, and rests that are over. Real processes; needs root.
 */
#include "allocator/daemon/journal.h"
#include "allocator/daemon/revocations.h"
#include "tests/unit/revoking.h"

#include <sqlite3.h>

#define MANY 100u

static struct world world;
static struct daemon daemon_;
static unsigned changes;

static void on_changed(void *userdata)
{
    ++*(unsigned *)userdata;
}

static void begin_daemon(void)
{
    daemon_ = (struct daemon){.event = world.event, .allocator = world.a};
    OK(revocations_new(&daemon_, on_changed, &changes, &daemon_.revocations, &problem));
}

static void end_daemon(void)
{
    revocations_free(daemon_.revocations);
    daemon_.revocations = NULL;
}

static void add(const struct uidpool_lease *lease, bool asked, int64_t timeout, struct told *told)
{
    assert_int_equal(revocations_add(daemon_.revocations, lease, asked, timeout, on_told, told), 0);
}

static void assert_status(size_t running, size_t unproven)
{
    struct revocations_status status;

    revocations_status(daemon_.revocations, &status);
    assert_int_equal(status.running, running);
    assert_int_equal(status.unproven, unproven);
}

static void test_asked_and_proven(void **state)
{
    struct uidpool_lease lease = grant(&world, 5, 1);
    pid_t pid = start_plain(lease.uid);
    struct told told[3] = {0};

    (void)state;
    begin_daemon();
    /* Three want the same. */
    for (size_t i = 0; i < ELEMENTS_OF(told); i++)
        add(&lease, i != 1, 0, &told[i]);
    assert_status(1, 0);
    for (size_t i = 0; i < ELEMENTS_OF(told); i++) {
        run_until(&world, was_told, &told[i]);
        assert_int_equal(told[i].status, UIDPOOL_OK);
        assert_int_equal(told[i].lease.state, UIDPOOL_STATE_QUARANTINED);
        assert_int_equal(told[i].n, 1);
    }
    assert_killed(pid);
    assert_status(0, 0);
    assert_true(changes > 0);
    end_daemon();
}

static bool is_over(void *lease)
{
    return state_of(((struct uidpool_lease *)lease)->uid) == UIDPOOL_STATE_QUARANTINED;
}

/* Nobody asks again; it is tried all the same, until it works. */
static void test_tried_again(void **state)
{
    struct uidpool_lease lease = grant(&world, 5, 1);
    pid_t pid = start_as(0, lease.uid, 0);
    struct revocations_status status;
    struct told told = {0};

    (void)state;
    begin_daemon();
    add(&lease, true, USEC_PER_SEC / 2, &told);
    run_until(&world, was_told, &told);
    assert_int_equal(told.status, UIDPOOL_NOT_PROVEN);
    assert_int_equal(told.n_survivors, 1);
    assert_int_equal(told.survivor, pid);
    assert_int_equal(state_of(lease.uid), UIDPOOL_STATE_REVOKING);
    assert_status(0, 1);
    revocations_status(daemon_.revocations, &status);
    assert_int_equal(status.example, lease.uid);
    end(pid);
    run_until(&world, is_over, &lease);
    assert_int_equal(told.n, 1);
    end_daemon();
}

/* Who asks does not wait for the pause's end. */
static void test_asked_again(void **state)
{
    struct uidpool_lease lease = grant(&world, 5, 1);
    pid_t pid = start_as(0, lease.uid, 0);
    struct told told[5] = {0};

    (void)state;
    begin_daemon();
    for (size_t i = 0; i < 4; i++) {
        add(&lease, true, USEC_PER_SEC / 10, &told[i]);
        run_until(&world, was_told, &told[i]);
        assert_int_equal(told[i].status, UIDPOOL_NOT_PROVEN);
        assert_status(0, 1);
    }
    end(pid);
    add(&lease, true, 0, &told[4]);
    assert_status(1, 0);
    run_until(&world, was_told, &told[4]);
    assert_int_equal(told[4].status, UIDPOOL_OK);
    assert_status(0, 0);
    end_daemon();
}

static bool is_revoking(void *lease)
{
    return state_of(((struct uidpool_lease *)lease)->uid) == UIDPOOL_STATE_REVOKING;
}

/* Who asks during a try of the daemon's own gets another one, with the time that was asked for. */
static void test_asked_meanwhile(void **state)
{
    struct uidpool_lease lease = grant(&world, 5, 1);
    int64_t begun = clock_monotonic_usec();
    struct told told[2] = {0};
    pid_t pid = start_as(0, lease.uid, 0);

    (void)state;
    begin_daemon();
    add(&lease, false, USEC_PER_SEC / 2, &told[0]);
    run_until(&world, is_revoking, &lease);
    add(&lease, true, 1, &told[1]);
    run_until(&world, was_told, &told[1]);
    assert_int_equal(told[0].n, 1);
    assert_int_equal(told[1].status, UIDPOOL_NOT_PROVEN);
    assert_true(clock_monotonic_usec() - begun < 20 * USEC_PER_SEC);
    end(pid);
    run_until(&world, is_over, &lease);
    end_daemon();
}

static struct sentry sentry;
static struct revocation_guard guard;

static const struct revocation_guard *guard_for(const struct uidpool_lease *lease, void *userdata)
{
    (void)lease;
    assert_ptr_equal(userdata, &sentry);
    return &guard;
}

static bool was_asked_twice(void *nothing)
{
    (void)nothing;
    return sentry.asked == 2;
}

static void begin_guarded(struct sentry as)
{
    sentry = as;
    guard = guard_of(&sentry);
    begin_daemon();
    revocations_set_guard(daemon_.revocations, guard_for, &sentry);
}

static void test_guard_forbids(void **state)
{
    struct uidpool_lease lease = grant(&world, 5, 1);
    pid_t pid = start_plain(lease.uid);
    struct told told[2] = {0};

    (void)state;
    begin_guarded((struct sentry){.says = {REVOCATION_FORBIDDEN, REVOCATION_FORBIDDEN,
                                           REVOCATION_FORBIDDEN, REVOCATION_FORBIDDEN}});
    add(&lease, false, 0, &told[0]);
    run_until(&world, was_told, &told[0]);
    assert_int_equal(told[0].status, UIDPOOL_CONFLICT);
    assert_status(0, 1);
    /* And asked again by itself. */
    run_until(&world, was_asked_twice, NULL);
    assert_unharmed(pid);
    /* Who asks for it knows better, also while a try is under way that is forbidden. */
    add(&lease, true, 0, &told[1]);
    run_until(&world, was_told, &told[1]);
    assert_int_equal(told[1].status, UIDPOOL_OK);
    assert_killed(pid);
    assert_status(0, 0);
    end_daemon();
}

static void test_guard_cannot_tell(void **state)
{
    struct uidpool_lease lease = grant(&world, 5, 1);
    pid_t pid = start_plain(lease.uid);
    struct told told = {0};

    (void)state;
    begin_guarded((struct sentry){.says = {REVOCATION_UNKNOWN, REVOCATION_ALLOWED}});
    add(&lease, false, 0, &told);
    run_until(&world, was_told, &told);
    assert_int_equal(told.status, UIDPOOL_NOT_PROVEN);
    assert_unharmed(pid);
    run_until(&world, is_over, &lease);
    assert_int_equal(sentry.asked, 2);
    assert_killed(pid);
    end_daemon();
}

struct many {
    struct told told[MANY];
    size_t n;
};

static bool all_were_told(void *userdata)
{
    const struct many *m = userdata;

    for (size_t i = 0; i < m->n; i++)
        if (m->told[i].n == 0)
            return false;
    return true;
}

/* Half of them by somebody who asks. */
static void test_many(void **state)
{
    static struct many m;
    static pid_t pids[MANY];

    (void)state;
    m = (struct many){.n = MANY};
    begin_daemon();
    for (unsigned i = 0; i < MANY; i++) {
        struct uidpool_lease lease = grant(&world, i * 2, 1);

        pids[i] = start_plain(lease.uid);
        add(&lease, i % 2 == 0, 0, &m.told[i]);
    }
    assert_status(MANY, 0);
    run_until(&world, all_were_told, &m);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(m.told[i].status, UIDPOOL_OK);
        assert_killed(pids[i]);
    }
    assert_status(0, 0);
    end_daemon();
}

static void say_boot(sqlite3_context *context, int n, sqlite3_value **values)
{
    (void)n;
    (void)values;
    sqlite3_result_text(context, "0123456789abcdef0123456789abcdef", -1, SQLITE_STATIC);
}

static void run_sql(sqlite3 *db, const char *sql)
{
    char *why = NULL;

    if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK)
        fail_msg("%s: %s", sql, why);
}

/* Past the ledger's own rule of that name, which keeps the program from it. */
static void change_ledger(const char *rule, const char *sql)
{
    char text[256], saved[8192];
    sqlite3_stmt *stmt;
    sqlite3 *db;

    assert_int_equal(sqlite3_open(LEDGER, &db), SQLITE_OK);
    sqlite3_create_function(db, "uidpool_boot_id", 0, SQLITE_UTF8, NULL, say_boot, NULL, NULL);
    sqlite3_create_function(db, "uidpool_boot_usec", 0, SQLITE_UTF8, NULL, say_boot, NULL, NULL);
    (void)snprintf(text, sizeof(text), "SELECT sql FROM sqlite_schema WHERE name = '%s'", rule);
    assert_int_equal(sqlite3_prepare_v2(db, text, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    (void)snprintf(saved, sizeof(saved), "%s", (const char *)sqlite3_column_text(stmt, 0));
    sqlite3_finalize(stmt);
    (void)snprintf(text, sizeof(text), "DROP TRIGGER %s", rule);
    run_sql(db, text);
    run_sql(db, sql);
    run_sql(db, saved);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static bool is_free(void *lease)
{
    return state_of(((struct uidpool_lease *)lease)->uid) == 0;
}

static bool nothing_runs(void *nothing)
{
    struct revocations_status status;

    (void)nothing;
    revocations_status(daemon_.revocations, &status);
    return status.running == 0;
}

static void test_other_boot(void **state)
{
    struct uidpool_lease leases[80], resting = grant(&world, 200, 1), now = grant(&world, 210, 1);
    struct told told = {0};
    pid_t pid, living = start_plain(now.uid);

    (void)state;
    begin_daemon();
    add(&resting, true, 0, &told);
    run_until(&world, was_told, &told);
    assert_int_equal(told.lease.state, UIDPOOL_STATE_QUARANTINED);
    end_daemon();
    for (size_t i = 0; i < ELEMENTS_OF(leases); i++)
        leases[i] = grant(&world, (int64_t)i, 1);
    pid = start_plain(leases[3].uid);
    /* As if the host had been rebooted since. */
    change_ledger("lease_update", "UPDATE lease SET boot = uidpool_boot_id() WHERE domid <= 200");
    begin_daemon();
    assert_status(ELEMENTS_OF(leases), 0);
    run_until(&world, nothing_runs, NULL);
    for (size_t i = 0; i < ELEMENTS_OF(leases); i++) {
        enum uidpool_state is = state_of(leases[i].uid);

        /* Where the reboot has killed already nothing rests. */
        assert_int_equal(is, i == 3 ? UIDPOOL_STATE_QUARANTINED : 0);
    }
    assert_killed(pid);
    /* That one's boot is over, and so is its rest. */
    run_until(&world, is_free, &resting);
    assert_int_equal(state_of(now.uid), UIDPOOL_STATE_LEASED);
    assert_unharmed(living);
    end(living);
    end_daemon();
}

static void test_rests_end(void **state)
{
    struct uidpool_lease lease = grant(&world, 5, 1), other = grant(&world, 6, 1);
    struct told told[2] = {0};

    (void)state;
    change_ledger("pool_update", "UPDATE pool SET quarantine = 1");
    begin_daemon();
    add(&lease, true, 0, &told[0]);
    run_until(&world, was_told, &told[0]);
    assert_int_equal(told[0].lease.state, UIDPOOL_STATE_QUARANTINED);
    assert_int_equal(state_of(lease.uid), UIDPOOL_STATE_QUARANTINED);
    change_ledger("pool_update", "UPDATE pool SET quarantine = 3600");
    add(&other, true, 0, &told[1]);
    run_until(&world, was_told, &told[1]);
    run_until(&world, is_free, &lease);
    assert_int_equal(state_of(other.uid), UIDPOOL_STATE_QUARANTINED);
    end_daemon();
}

/* The daemon ends in the middle: its jobs tell nobody, and the ledger knows. */
static void test_ends_in_the_middle(void **state)
{
    struct uidpool_lease lease = grant(&world, 5, 1);
    pid_t pid = start_as(0, lease.uid, 0);
    struct told told = {0};

    (void)state;
    begin_daemon();
    add(&lease, true, 0, &told);
    while (state_of(lease.uid) != UIDPOOL_STATE_REVOKING)
        assert_true(sd_event_run(world.event, UINT64_MAX) >= 0);
    end_daemon();
    end(pid);
    begin_daemon();
    assert_status(1, 0);
    run_until(&world, is_over, &lease);
    assert_int_equal(told.n, 0);
    end_daemon();
}

static int setup(void **state)
{
    (void)state;
    world_make(&world, 60);
    changes = 0;
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
        TEST(asked_and_proven), TEST(tried_again),        TEST(asked_again), TEST(asked_meanwhile),
        TEST(guard_forbids),    TEST(guard_cannot_tell),  TEST(many),        TEST(other_boot),
        TEST(rests_end),        TEST(ends_in_the_middle),
    };

    (void)argc;
    run_isolated(argv);
    journal_open(LOG_ERR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
