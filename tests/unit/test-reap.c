/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The helper that kills: whom it kills and whom it spares, and all that makes it refuse. Needs
 * root, and kills by uid within PID namespaces of its own.
 */
#include "build_config.h"
#include "tests/unit/processes.h"

#include <cap-ng.h>
#include <linux/securebits.h>

#define HELPER UIDPOOL_HELPER_DIR "/uidpool-reap"

/* The pool of each test is its target's 16 uids; then come the reaper and a stranger. */
#define POOL_SIZE 16

struct scene {
    uid_t pool, target, reaper, stranger;
};

static struct scene fresh_scene(void)
{
    uid_t first = fresh_uids(POOL_SIZE + 2);

    return (struct scene){first, first + 4, first + POOL_SIZE, first + POOL_SIZE + 1};
}

static struct ending run_helper(const char *reaper, const char *pool, const char *target,
                                const char *more)
{
    char *argv[] = {(char[]){HELPER}, (char *)reaper, (char *)pool,
                    (char *)target,   (char *)more,   NULL};

    return run_program(argv, NULL);
}

static struct ending reap_as(struct scene s, uint32_t count, void (*before)(void))
{
    char reaper[32], pool[48], target[32];
    char *argv[] = {(char[]){HELPER}, reaper, pool, target, NULL};

    (void)snprintf(reaper, sizeof(reaper), "--reaper=%u", s.reaper);
    (void)snprintf(pool, sizeof(pool), "--pool=%u+%u", s.pool, POOL_SIZE);
    (void)snprintf(target, sizeof(target), "%u+%u", s.target, count);
    return run_program(argv, before);
}

static void assert_done(struct ending o)
{
    assert_string_equal(o.said, "");
    assert_int_equal(o.status, 0);
}

static void assert_refused(struct ending o, int status, const char *says)
{
    assert_int_equal(o.status, status);
    assert_ptr_equal(strstr(o.said, "uidpool-reap: "), o.said);
    assert_non_null(strstr(o.said, says));
}

/*
 * Whom it kills.
 */
static int inner_pid[2];

static void leave_one_in_namespaces(void)
{
    pid_t pid;

    must(unshare(CLONE_NEWUSER | CLONE_NEWPID) == 0, "unshare");
    pid = fork();
    must(pid >= 0, "fork");
    if (pid == 0)
        pause_forever();
    must(write(inner_pid[1], &pid, sizeof(pid)) == sizeof(pid), "write");
}

static void end_self(void)
{
    _exit(0);
}

static void forbid_dumps(void)
{
    must(prctl(PR_SET_DUMPABLE, 0) == 0, "prctl");
}

static void ignore_signals(void)
{
    for (int sig = 1; sig < SIGRTMAX; sig++)
        (void)signal(sig, SIG_IGN);
}

static void every_process_of_the_target_dies(void **state)
{
    struct scene s = fresh_scene();
    uid_t t = s.target, x = s.stranger;
    pid_t dies[] = {
        start_plain(t),
        start_as(t, x, x),
        start_as(x, x, t),
        start_as(t, 0, 0),
        start_life((struct life){t, t, t, start_two_threads, NULL}),
        start_life((struct life){t, t, t, start_two_threads, end_leader}),
        start_life((struct life){t, t, t, forbid_dumps, NULL}),
        start_life((struct life){t, t, t, ignore_signals, NULL}),
        start_plain(t),
    };
    pid_t last = dies[ELEMENTS_OF(dies) - 1];

    (void)state;
    assert_int_equal(kill(last, SIGSTOP), 0);
    wait_until(is_stopped_or_dead, &last);
    assert_done(reap_as(s, 1, NULL));
    for (size_t i = 0; i < ELEMENTS_OF(dies); i++)
        assert_killed(dies[i]);
}

static void nobody_else_dies(void **state)
{
    struct scene s = fresh_scene();
    uid_t t = s.target, x = s.stranger;
    pid_t dies = start_plain(t);
    pid_t lives[] = {
        start_plain(t - 1), start_plain(t + 1), start_plain(s.pool),
        start_plain(x),     start_plain(65534), start_plain(0),
        start_as(x, t, x),  start_as(0, t, 0),  start_as(0, 0, x),
    };

    (void)state;
    assert_done(reap_as(s, 1, NULL));
    assert_killed(dies);
    for (size_t i = 0; i < ELEMENTS_OF(lives); i++) {
        assert_unharmed(lives[i]);
        end(lives[i]);
    }
}

static void a_block_dies_and_its_neighbours_live(void **state)
{
    struct scene s = fresh_scene();
    pid_t dies[3], before = start_plain(s.target - 1), behind = start_plain(s.target + 3);

    (void)state;
    for (uint32_t i = 0; i < ELEMENTS_OF(dies); i++)
        dies[i] = start_plain(s.target + i);
    assert_done(reap_as(s, 3, NULL));
    for (size_t i = 0; i < ELEMENTS_OF(dies); i++)
        assert_killed(dies[i]);
    assert_unharmed(before);
    assert_unharmed(behind);
    end(before);
    end(behind);
}

static void nobody_there_is_success(void **state)
{
    (void)state;
    assert_done(reap_as(fresh_scene(), POOL_SIZE - 4, NULL));
}

static void namespaces_shelter_nobody(void **state)
{
    struct scene s = fresh_scene();
    pid_t outer, inner;

    (void)state;
    need_user_namespaces();
    assert_int_equal(pipe2(inner_pid, O_CLOEXEC), 0);
    outer =
        start_life((struct life){s.target, s.target, s.target, leave_one_in_namespaces, end_self});
    reap(outer);
    assert_int_equal(read(inner_pid[0], &inner, sizeof(inner)), sizeof(inner));
    assert_done(reap_as(s, 1, NULL));
    assert_killed(inner);
}

/*
 * Those who resist.
 */
static void limit_processes(void)
{
    struct rlimit limit = {200, 200};

    must(setrlimit(RLIMIT_NPROC, &limit) == 0, "setrlimit");
}

static void fork_for_ever(void)
{
    (void)signal(SIGCHLD, SIG_IGN);
    for (;;)
        (void)fork();
}

/* Reaps the bomb's orphans, which are ours as pid 1, until there are none. */
static bool all_are_reaped(void *unused)
{
    (void)unused;
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    return waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD;
}

static void a_fork_bomb_dies_at_once(void **state)
{
    struct scene s = fresh_scene();

    (void)state;
    (void)start_life((struct life){s.target, s.target, s.target, limit_processes, fork_for_ever});
    usleep(100 * 1000);
    assert_done(reap_as(s, 1, NULL));
    wait_until(all_are_reaped, NULL);
}

static void kill_all(void)
{
    for (;;)
        (void)kill(-1, SIGKILL);
}

static void the_target_cannot_kill_first(void **state)
{
    struct scene s = fresh_scene();

    (void)state;
    for (int i = 0; i < 200; i++) {
        pid_t pid = start_life((struct life){s.target, s.target, s.target, NULL, kill_all});

        assert_done(reap_as(s, 1, NULL));
        assert_killed(pid);
    }
}

/* Whoever has the reaper's uid can. It must not look like success. */
static void a_killed_helper_has_failed(void **state)
{
    struct scene s = fresh_scene();
    pid_t pid = start_life((struct life){s.stranger, s.reaper, s.stranger, NULL, kill_all});
    int64_t first = clock_monotonic_usec();
    struct ending o;

    (void)state;
    do
        o = reap_as(s, 4, NULL);
    while (o.status == 0 && clock_monotonic_usec() < first + PATIENCE_USEC);
    assert_refused(o, 1, "somebody killed the child that kills");
    end(pid);
}

/*
 * What it refuses: each time somebody of the target is there, who must not be killed.
 */
#define REAPER "--reaper=2114519039"
#define POOL "--pool=2114519040+65536"
#define TARGET "2114519050+1"

static const char *const wrong_arguments[][5] = {
    {NULL},
    {REAPER, NULL},
    {REAPER, POOL, NULL},
    {REAPER, POOL, TARGET, "2114519051+1"},
    {REAPER, POOL, TARGET, ""},
    {POOL, REAPER, TARGET},
    {REAPER, TARGET, POOL},
    {TARGET, REAPER, POOL},
    {"--reaper", "2114519039", POOL, TARGET},
    {"-reaper=2114519039", POOL, TARGET},
    /* The reaper. */
    {"--reaper=", POOL, TARGET},
    {"--reaper=0", POOL, TARGET},
    {"--reaper=65534", POOL, TARGET},
    {"--reaper=65535", POOL, TARGET},
    {"--reaper=2147483648", POOL, TARGET},
    {"--reaper=4294967295", POOL, TARGET},
    {"--reaper=4294967296", POOL, TARGET},
    {"--reaper=-1", POOL, TARGET},
    {"--reaper=root", POOL, TARGET},
    {"--reaper=2114519039 ", POOL, TARGET},
    {"--reaper=2114519040", POOL, TARGET},
    {"--reaper=2114519050", POOL, TARGET},
    {"--reaper=2114584575", POOL, TARGET},
    /* The pool. */
    {REAPER, "--pool=", TARGET},
    {REAPER, "--pool=2114519040", TARGET},
    {REAPER, "--pool=2114519040+0", TARGET},
    {REAPER, "--pool=0+2147483647", TARGET},
    {REAPER, "--pool=1+2147483647", TARGET},
    {REAPER, "--pool=65534+1", TARGET},
    {REAPER, "--pool=2114519040+18446744073709551615", TARGET},
    {REAPER, "--pool=2114519050+1", "2114519049+1"},
    /* The target. */
    {REAPER, POOL, ""},
    {REAPER, POOL, "2114519050"},
    {REAPER, POOL, "2114519050+"},
    {REAPER, POOL, "+1"},
    {REAPER, POOL, "2114519050+0"},
    {REAPER, POOL, "2114519050-1"},
    {REAPER, POOL, "2114519050+1+1"},
    {REAPER, POOL, "2114519050+1x"},
    {REAPER, POOL, "2114519050+01"},
    {REAPER, POOL, " 2114519050+1"},
    {REAPER, POOL, "0x7E090D0A+1"},
    {REAPER, POOL, "0+1"},
    {REAPER, POOL, "65534+1"},
    {REAPER, POOL, "65535+1"},
    {REAPER, POOL, "4294967295+1"},
    {REAPER, POOL, "4294967296+1"},
    {REAPER, POOL, "2114519039+1"},
    {REAPER, POOL, "2114519039+2"},
    {REAPER, POOL, "2114584576+1"},
    {REAPER, POOL, "2114584575+2"},
    {REAPER, POOL, "2114519040+65537"},
    {REAPER, POOL, "2114519050+4294967295"},
    {REAPER, POOL, "2114519050+2147483647"},
};

static void wrong_arguments_are_refused(void **state)
{
    pid_t lives[] = {start_plain(2114519050), start_plain(2114519039), start_plain(0),
                     start_plain(65534)};

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(wrong_arguments); i++) {
        const char *const *a = wrong_arguments[i];

        assert_refused(run_helper(a[0], a[1], a[2], a[3]), 2, "");
    }
    for (size_t i = 0; i < ELEMENTS_OF(lives); i++) {
        assert_unharmed(lives[i]);
        end(lives[i]);
    }
}

/* Ids and capabilities as systemd's User=, AmbientCapabilities= would give them. */
static void be_nobody_with_capabilities(void)
{
    must(prctl(PR_SET_KEEPCAPS, 1) == 0, "prctl");
    set_ids(65534, 65534, 65534);
    capng_clear(CAPNG_SELECT_ALL);
    must(capng_updatev(CAPNG_ADD,
                       (capng_type_t)(CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_INHERITABLE),
                       CAP_SETUID, CAP_SETGID, CAP_KILL, -1) == 0 &&
             capng_apply(CAPNG_SELECT_CAPS) == 0,
         "capng");
    capng_get_caps_process();
    must(capng_updatev(CAPNG_ADD, CAPNG_AMBIENT, CAP_SETUID, CAP_SETGID, CAP_KILL, -1) == 0 &&
             capng_apply(CAPNG_SELECT_AMBIENT) == 0,
         "ambient");
}

static void be_root_with_ambient_capability(void)
{
    capng_get_caps_process();
    must(capng_update(CAPNG_ADD, CAPNG_INHERITABLE, CAP_KILL) == 0 &&
             capng_apply(CAPNG_SELECT_CAPS) == 0,
         "capng");
    must(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0) == 0, "ambient");
}

static void be_nobody(void)
{
    set_ids(65534, 65534, 65534);
}

/* As a program setuid to root finds itself. */
static void be_effective_root_alone(void)
{
    set_ids(65534, 0, 0);
}

static void keep_capabilities(void)
{
    must(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP) == 0, "prctl");
}

static void keep_capabilities_for_good(void)
{
    must(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED |
                                      SECBIT_NOROOT | SECBIT_KEEP_CAPS_LOCKED) == 0,
         "prctl");
}

static void lose_setuid(void)
{
    must(prctl(PR_CAPBSET_DROP, CAP_SETUID) == 0, "prctl");
}

static void lose_setgid(void)
{
    must(prctl(PR_CAPBSET_DROP, CAP_SETGID) == 0, "prctl");
}

static void allow_no_child(void)
{
    struct rlimit limit = {0, 0};

    must(setrlimit(RLIMIT_NPROC, &limit) == 0, "setrlimit");
    must(prctl(PR_CAPBSET_DROP, CAP_SYS_RESOURCE) == 0, "prctl");
    must(prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN) == 0, "prctl");
}

static void an_unfit_caller_is_refused(void **state)
{
    static const struct {
        void (*unfit)(void);
        const char *says;
    } table[] = {
        {be_nobody, "must all be 0"},
        {be_nobody_with_capabilities, "must all be 0"},
        {be_effective_root_alone, "must all be 0"},
        {be_root_with_ambient_capability, "ambient"},
        {keep_capabilities, "secure bits"},
        {keep_capabilities_for_good, "secure bits"},
        {lose_setuid, "setresuid"},
        {lose_setgid, "setgroups"},
    };
    struct scene s = fresh_scene();
    pid_t lives[] = {start_plain(s.target), start_plain(s.stranger), start_plain(0)};

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(table); i++)
        assert_refused(reap_as(s, 1, table[i].unfit), 1, table[i].says);
    for (size_t i = 0; i < ELEMENTS_OF(lives); i++) {
        assert_unharmed(lives[i]);
        end(lives[i]);
    }
}

static void ignore_children(void)
{
    (void)signal(SIGCHLD, SIG_IGN);
}

static void a_strange_caller_is_served(void **state)
{
    struct scene s = fresh_scene();
    pid_t first = start_plain(s.target), second;

    (void)state;
    assert_done(reap_as(s, 1, ignore_children));
    assert_killed(first);
    /* Root is above the limit on processes. */
    second = start_plain(s.target);
    assert_done(reap_as(s, 1, allow_no_child));
    assert_killed(second);
}

int main(int argc, char *argv[])
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_process_of_the_target_dies),
        cmocka_unit_test(nobody_else_dies),
        cmocka_unit_test(a_block_dies_and_its_neighbours_live),
        cmocka_unit_test(nobody_there_is_success),
        cmocka_unit_test(namespaces_shelter_nobody),
        cmocka_unit_test(a_fork_bomb_dies_at_once),
        cmocka_unit_test(the_target_cannot_kill_first),
        cmocka_unit_test(a_killed_helper_has_failed),
        cmocka_unit_test(wrong_arguments_are_refused),
        cmocka_unit_test(an_unfit_caller_is_refused),
        cmocka_unit_test(a_strange_caller_is_served),
    };

    (void)argc;
    run_isolated(argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
