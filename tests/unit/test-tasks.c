/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a scan saw of one lease's uids and what became of it: counting, naming and comparing by
 * lists made by hand, looking again by real processes. Needs root.
 */
#include "allocator/tasks.h"
#include "tests/unit/processes.h"

#define T 2114900000u
#define OUTSIDE (T + 100u)

static struct task task(pid_t pid, uid_t real, enum task_fate fate)
{
    struct task t = {.is = {.pid = pid, .tid = pid, .uids = {real, T, T, T}, .state = 'R'},
                     .fate = fate,
                     .counted = true};

    (void)snprintf(t.is.command, sizeof(t.is.command), "qemu");
    return t;
}

static void test_reachable(void **state)
{
    static const struct {
        uid_t uids[4];
        bool reachable;
    } cases[] = {
        {{T, T, T, T}, true},
        {{T, 0, 0, 0}, true},
        {{0, 0, T, 0}, true},
        {{T + 1, OUTSIDE, OUTSIDE, OUTSIDE}, true},
        {{0, T, 0, T}, false}, /* effective alone */
        {{OUTSIDE, T, OUTSIDE, T}, false},
        {{0, 0, 0, T}, false}, /* file system alone */
        {{T + 2, T, T - 1, T}, false},
    };

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        struct scan_task is = {.state = 'R'};

        memcpy(is.uids, cases[i].uids, sizeof(is.uids));
        if (task_is_reachable(&is, (struct uid_range){T, 2}) != cases[i].reachable)
            fail_msg("case %zu", i);
    }
}

/* kill(2) reaches a task by its saved uid, but the census does not know what that one started. */
static void test_counted(void **state)
{
    const struct scan_task by_real = {.uids = {T, 0, 0, 0}}, by_saved = {.uids = {1, 1, T, 1}};

    (void)state;
    assert_true(task_is_counted(&by_real, (struct uid_range){T, 1}));
    assert_false(task_is_counted(&by_saved, (struct uid_range){T, 1}));
    assert_true(task_is_reachable(&by_saved, (struct uid_range){T, 1}));
}

static void test_all_counted(void **state)
{
    struct task items[] = {task(1, T, TASK_ALIVE), task(2, T, TASK_DEAD)};
    struct tasks t = {{T, 1}, items, 2};

    (void)state;
    assert_true(tasks_all_counted(&t));
    /* Dead or not: what it started before it died is in no census. */
    items[1].counted = false;
    assert_false(tasks_all_counted(&t));
    t.n = 0;
    assert_true(tasks_all_counted(&t));
}

static void test_counts(void **state)
{
    struct task items[] = {
        task(1, T, TASK_ALIVE),      task(2, T, TASK_ZOMBIE), task(3, T, TASK_ZOMBIE),
        task(4, T + 1, TASK_ZOMBIE), task(5, 0, TASK_ZOMBIE), /* it has the uid as another than the
                                                                 real one */
        task(6, T, TASK_DEAD),
    };
    struct tasks t = {{T, 2}, items, ELEMENTS_OF(items)};

    (void)state;
    assert_int_equal(tasks_count(&t, TASK_ALIVE), 1);
    assert_int_equal(tasks_count(&t, TASK_ZOMBIE), 4);
    assert_int_equal(tasks_count(&t, TASK_DEAD), 1);
    assert_int_equal(tasks_count(&t, TASK_OTHER), 0);
    /* As the kernel counts: by real uid. */
    assert_int_equal(tasks_zombies_of(&t, T), 2);
    assert_int_equal(tasks_zombies_of(&t, T + 1), 1);
    assert_int_equal(tasks_zombies_of(&t, T + 2), 0);
}

static void test_describe(void **state)
{
    struct task items[12];
    struct tasks t = {{T, 1}, items, 0};
    char buf[512], small[20];

    (void)state;
    assert_string_equal(tasks_describe(&t, buf, sizeof(buf)), "");
    items[t.n++] = task(1, T, TASK_DEAD);
    items[t.n++] = task(12, T, TASK_ALIVE);
    items[1].is.tid = 13;
    assert_string_equal(
        tasks_describe(&t, buf, sizeof(buf)),
        "pid 12 tid 13 (qemu) state R uids 2114900000/2114900000/2114900000/2114900000");
    while (t.n < ELEMENTS_OF(items)) {
        items[t.n] = task(100 + (pid_t)t.n, T, TASK_ALIVE);
        t.n++;
    }
    (void)tasks_describe(&t, buf, sizeof(buf));
    assert_non_null(strstr(buf, ", pid 102 tid 102 (qemu)"));
    assert_null(strstr(buf, "pid 1 "));
    assert_string_equal(buf + strlen(buf) - strlen(", and 7 more"), ", and 7 more");
    /* Cut, and ended within its place. */
    memset(small, 'x', sizeof(small));
    (void)tasks_describe(&t, small, sizeof(small) - 1);
    assert_int_equal(strlen(small), sizeof(small) - 2);
    assert_int_equal(small[sizeof(small) - 1], 'x');
}

/* A whole scan, taken. Returns how many of the former ones are gone. */
static size_t take(struct tasks *t, struct uid_range range)
{
    struct scan *s;
    size_t gone = 99;

    assert_int_equal(scan_new(&range, 1, &s), 0);
    while (scan_step(s, 100) > 0)
        ;
    assert_null(scan_blind(s));
    assert_int_equal(tasks_take(t, s, range, &gone), 0);
    scan_free(s);
    return gone;
}

static size_t find(const struct tasks *t, pid_t pid)
{
    size_t i = 0;

    while (i < t->n && t->items[i].is.pid != pid)
        i++;
    assert_true(i < t->n);
    return i;
}

static void test_take_and_look_again(void **state)
{
    uid_t uid = fresh_uids(2);
    struct uid_range range = {uid, 2};
    pid_t dies = start_plain(uid), lives = start_plain(uid + 1), zombie = start_zombie(uid);
    pid_t odd = start_as(OUTSIDE, uid, OUTSIDE), beside = start_plain(uid + 2);
    struct tasks t = {0};

    (void)state;
    assert_int_equal(take(&t, range), 0);
    assert_int_equal(t.n, 4);
    assert_int_equal(tasks_count(&t, TASK_ALIVE), 3);
    assert_int_equal(t.items[find(&t, zombie)].fate, TASK_ZOMBIE);
    assert_int_equal(tasks_zombies_of(&t, uid), 1);
    assert_false(t.items[find(&t, odd)].counted);
    assert_true(t.items[find(&t, lives)].counted);
    assert_true(tasks_zombies_stayed(&t));

    end(dies);
    assert_int_equal(tasks_look(&t, find(&t, dies)), TASK_DEAD);
    assert_int_equal(tasks_look(&t, find(&t, lives)), TASK_ALIVE);
    assert_int_equal(tasks_look(&t, find(&t, zombie)), TASK_ZOMBIE);
    reap(zombie);
    assert_false(tasks_zombies_stayed(&t));
    assert_int_equal(take(&t, range), 2);
    assert_int_equal(t.n, 2);
    end(lives);
    end(odd);
    assert_int_equal(take(&t, range), 2);
    assert_int_equal(t.n, 0);
    end(beside);
    tasks_clear(&t);
}

static int told[2];

static void leave_when_told(void)
{
    char c;

    must(read(told[0], &c, 1) == 1, "read");
    /* Root by its saved uid, then somebody else for good. */
    must(syscall(SYS_setresuid, -1, 0, -1) == 0, "setresuid");
    set_ids(OUTSIDE, OUTSIDE, OUTSIDE);
}

static bool has_left(void *t)
{
    return tasks_look(t, 0) == TASK_OTHER;
}

/* It lives and is somebody else: neither dead nor ours. */
static void test_changed_ids(void **state)
{
    uid_t uid = fresh_uids(1);
    struct tasks t = {0};
    pid_t pid;

    (void)state;
    assert_int_equal(pipe2(told, O_CLOEXEC), 0);
    pid = start_life((struct life){uid, uid, 0, NULL, leave_when_told});
    assert_int_equal(take(&t, (struct uid_range){uid, 1}), 0);
    assert_int_equal(t.n, 1);
    assert_int_equal(tasks_look(&t, 0), TASK_ALIVE);
    assert_int_equal(write(told[1], "c", 1), 1);
    wait_until(has_left, &t);
    assert_int_equal(tasks_count(&t, TASK_OTHER), 1);
    end(pid);
    assert_int_equal(tasks_look(&t, 0), TASK_DEAD);
    tasks_clear(&t);
}

static void test_all_threads_go(void **state)
{
    uid_t uid = fresh_uids(1);
    struct tasks t = {0};
    pid_t pid = start_life((struct life){uid, uid, uid, start_two_threads, end_leader});

    (void)state;
    wait_until(is_zombie, &pid);
    assert_int_equal(take(&t, (struct uid_range){uid, 1}), 0);
    assert_int_equal(t.n, 3);
    assert_int_equal(tasks_count(&t, TASK_ZOMBIE), 1);
    assert_int_equal(tasks_count(&t, TASK_ALIVE), 2);
    end(pid);
    for (size_t i = 0; i < t.n; i++)
        assert_int_equal(tasks_look(&t, i), TASK_DEAD);
    assert_int_equal(take(&t, (struct uid_range){uid, 1}), 3);
    tasks_clear(&t);
}

static void *end_when_told(void *unused)
{
    char c;

    must(read(told[0], &c, 1) == 1, "read");
    return unused;
}

static void start_one_that_ends(void)
{
    start_thread(end_when_told);
    start_thread(wait_in_thread);
}

static bool second_is_dead(void *t)
{
    return tasks_look(t, 1) == TASK_DEAD;
}

/* In the middle of the list, so that both lists must be followed by tid. */
static void test_one_thread_of_three_ends(void **state)
{
    uid_t uid = fresh_uids(1);
    struct tasks t = {0};
    pid_t pid;

    (void)state;
    assert_int_equal(pipe2(told, O_CLOEXEC), 0);
    pid = start_life((struct life){uid, uid, uid, start_one_that_ends, NULL});
    assert_int_equal(take(&t, (struct uid_range){uid, 1}), 0);
    assert_int_equal(t.n, 3);
    assert_int_equal(write(told[1], "c", 1), 1);
    wait_until(second_is_dead, &t);
    assert_int_equal(take(&t, (struct uid_range){uid, 1}), 1);
    assert_int_equal(t.n, 2);
    assert_int_equal(tasks_count(&t, TASK_ALIVE), 2);
    end(pid);
    assert_int_equal(take(&t, (struct uid_range){uid, 1}), 2);
    tasks_clear(&t);
}

int main(int argc, char *argv[])
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reachable),
        cmocka_unit_test(test_counted),
        cmocka_unit_test(test_all_counted),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_describe),
        cmocka_unit_test(test_take_and_look_again),
        cmocka_unit_test(test_changed_ids),
        cmocka_unit_test(test_all_threads_go),
        cmocka_unit_test(test_one_thread_of_three_ends),
    };

    (void)argc;
    run_isolated(argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
