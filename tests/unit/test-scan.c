/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The scan: its parser by a table, its sight by real processes with odd uids, its blindness by
 * taking away what it needs. Needs root.
 */
#include "allocator/scan.h"
#include "tests/unit/processes.h"

#include <cap-ng.h>
#include <grp.h>
#include <sys/fsuid.h>
#include <sys/mman.h>

#define X TEST_UID_LAST /* a stranger, whom nobody asks for */

static struct scan *scan_range(struct uid_range range)
{
    struct scan *s;

    assert_int_equal(scan_new(&range, 1, &s), 0);
    while (scan_step(s, 3))
        ;
    return s;
}

/* What a whole scan says of one uid; `ret` the only task that it found, if not NULL. */
static enum witness scan_uid(uid_t uid, struct scan_task *ret)
{
    struct scan *s = scan_range((struct uid_range){uid, 1});
    enum witness answer = scan_answer(s, (struct uid_range){uid, 1});
    const struct scan_task *tasks;
    size_t n = scan_tasks(s, &tasks);

    assert_null(scan_blind(s));
    if (ret) {
        assert_int_equal(n, 1);
        *ret = tasks[0];
    }
    scan_free(s);
    return answer;
}

static size_t count_tasks(uid_t uid)
{
    struct scan *s = scan_range((struct uid_range){uid, 1});
    const struct scan_task *tasks;
    size_t n = scan_tasks(s, &tasks);

    scan_free(s);
    return n;
}

/*
 * The parser.
 */
#define HEAD "Name:\tqemu\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t5\n"

static const struct {
    const char *text;
    int r;
    char state;
    uid_t uids[4];
    const char *command;
    unsigned threads;
} statuses[] = {
    {HEAD "Uid:\t1\t2\t3\t4\nThreads:\t7\n", 0, 'S', {1, 2, 3, 4}, "qemu", 7},
    {HEAD "Uid:\t0\t0\t0\t4294967294\n", 0, 'S', {0, 0, 0, 4294967294u}, "qemu", 0},
    {HEAD "Uid:\t1\t2\t3\t4", 0, 'S', {1, 2, 3, 4}, "qemu", 0},
    {HEAD "Uid:\t1\t2\t3\t4\nThreads:\tx\n", 0, 'S', {1, 2, 3, 4}, "qemu", 0},
    {HEAD "Uid:\t1\t2\t3\t4\nThreads:\t99999999999999999\n", 0, 'S', {1, 2, 3, 4}, "qemu", 0},
    {"Name:\ta\\nUid:\t0\t0\t0\t0)\nState:\tZ (zombie)\nUid:\t9\t9\t9\t9\n",
     0,
     'Z',
     {9, 9, 9, 9},
     "a\\nUid:?0?0?0?0)",
     0},
    {"Name:\t\nState:\tX (dead)\nUid:\t9\t9\t9\t9\n", 0, 'X', {9, 9, 9, 9}, "", 0},
    {"Name:\t\x1b[2J\x07\nState:\tR\nUid:\t9\t9\t9\t9\n", 0, 'R', {9, 9, 9, 9}, "?[2J?", 0},
    {"Name:\tkworker/u8:0-events_unbound_and_more\nState:\tI\nUid:\t0\t0\t0\t0\n",
     0,
     'I',
     {0, 0, 0, 0},
     "kworker/u8:0-events_unbound_and",
     0},
    {HEAD "Uid:\t1\t2\t3\n", -EBADMSG, 0, {0}, "", 0},
    {HEAD "Uid:\t1\t2\t3\t4\t5\n", -EBADMSG, 0, {0}, "", 0},
    {HEAD "Uid:\t1\t2\t3\t4294967295\n", -EBADMSG, 0, {0}, "", 0},
    {HEAD "Uid:\t1\t2\t3\t4294967296\n", -EBADMSG, 0, {0}, "", 0},
    {HEAD "Uid:\t1\t2\t3\t-1\n", -EBADMSG, 0, {0}, "", 0},
    {HEAD "Uid:\t1\t2\t\t4\n", -EBADMSG, 0, {0}, "", 0},
    {HEAD "Uid: 1 2 3 4\n", -EBADMSG, 0, {0}, "", 0},
    {HEAD "Uid:\t\n", -EBADMSG, 0, {0}, "", 0},
    {HEAD "NSUid:\t1\t2\t3\t4\n", -EBADMSG, 0, {0}, "", 0},
    {HEAD, -EBADMSG, 0, {0}, "", 0},
    {"Name:\tx\nUid:\t1\t2\t3\t4\n", -EBADMSG, 0, {0}, "", 0},
    {"Name:\tx\nState:\t\nUid:\t1\t2\t3\t4\n", -EBADMSG, 0, {0}, "", 0},
    {"State:\tS\nUid:\t1\t2\t3\t4\n", -EBADMSG, 0, {0}, "", 0},
    {"", -EBADMSG, 0, {0}, "", 0},
    {"Name:", -EBADMSG, 0, {0}, "", 0},
};

static void parser_reads(void **state)
{
    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(statuses); i++) {
        struct scan_task task = {.state = '!'};
        unsigned threads = 77;

        assert_int_equal(scan_parse_status(statuses[i].text, &task, &threads), statuses[i].r);
        if (statuses[i].r < 0) {
            assert_int_equal(task.state, '!');
            assert_int_equal(threads, 77);
            continue;
        }
        assert_int_equal(task.state, statuses[i].state);
        assert_memory_equal(task.uids, statuses[i].uids, sizeof(task.uids));
        assert_string_equal(task.command, statuses[i].command);
        assert_int_equal(threads, statuses[i].threads);
    }
}

/*
 * What it sees.
 */
static void nobody_is_empty(void **state)
{
    (void)state;
    assert_int_equal(scan_uid(fresh_uids(1), NULL), WITNESS_EMPTY);
}

static void each_of_the_first_three_uids_counts(void **state)
{
    uid_t t = fresh_uids(1);
    const uid_t ids[][3] = {{t, t, t}, {t, X, X}, {X, t, X}, {X, X, t}, {0, t, 0}};

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(ids); i++) {
        pid_t pid = start_as(ids[i][0], ids[i][1], ids[i][2]);
        struct scan_task task;

        assert_int_equal(scan_uid(t, &task), WITNESS_BUSY);
        assert_int_equal(task.pid, pid);
        assert_int_equal(task.tid, pid);
        assert_memory_equal(task.uids, ids[i], sizeof(ids[i]));
        assert_string_equal(task.command, "test-scan");
        assert_int_equal(scan_uid(t + 1, NULL), WITNESS_EMPTY);
        assert_int_equal(scan_uid(t - 1, NULL), WITNESS_EMPTY);
        end(pid);
        assert_int_equal(scan_uid(t, NULL), WITNESS_EMPTY);
    }
}

static uid_t thread_uid;

static void set_file_system_uid(void)
{
    (void)setfsuid(thread_uid);
}

static void the_file_system_uid_counts(void **state)
{
    struct scan_task task;
    pid_t pid;

    (void)state;
    thread_uid = fresh_uids(1);
    pid = start_life((struct life){.before = set_file_system_uid});
    assert_int_equal(scan_uid(thread_uid, &task), WITNESS_BUSY);
    assert_int_equal(task.uids[1], 0);
    assert_int_equal(task.uids[3], thread_uid);
    end(pid);
}

static int thread_ready[2];

static void *become_in_thread(void *unused)
{
    set_ids(thread_uid, thread_uid, thread_uid);
    say_ready(thread_ready[1]);
    return wait_in_thread(unused);
}

static void start_odd_thread(void)
{
    char c;

    must(pipe(thread_ready) == 0, "pipe");
    start_thread(become_in_thread);
    must(read(thread_ready[0], &c, 1) == 1, "read");
}

static void one_odd_thread_counts(void **state)
{
    struct scan_task task;
    pid_t pid;

    (void)state;
    thread_uid = fresh_uids(1);
    pid = start_life((struct life){.before = start_odd_thread});
    assert_int_equal(scan_uid(thread_uid, &task), WITNESS_BUSY);
    assert_int_equal(task.pid, pid);
    assert_int_not_equal(task.tid, pid);
    end(pid);
}

static void every_thread_is_looked_at(void **state)
{
    uid_t t = fresh_uids(1);
    struct scan *s = scan_range((struct uid_range){t, 1});
    uint32_t before = scan_looked(s);
    pid_t pid;

    (void)state;
    scan_free(s);
    pid = start_life((struct life){t, t, t, start_two_threads, NULL});
    s = scan_range((struct uid_range){t, 1});
    assert_int_equal(scan_looked(s), before + 3);
    scan_free(s);
    assert_int_equal(count_tasks(t), 3);
    end(pid);
}

static void a_dead_leader_hides_no_thread(void **state)
{
    uid_t t = fresh_uids(1);
    pid_t pid = start_life((struct life){t, t, t, start_two_threads, end_leader});

    (void)state;
    wait_until(is_zombie, &pid);
    assert_int_equal(scan_uid(t, NULL), WITNESS_BUSY);
    assert_int_equal(count_tasks(t), 3);
    end(pid);
}

static void a_zombie_is_seen_but_is_empty(void **state)
{
    uid_t t = fresh_uids(1);
    pid_t pid = start_zombie(t);
    struct scan_task task;

    (void)state;
    assert_int_equal(scan_uid(t, &task), WITNESS_EMPTY);
    assert_int_equal(task.state, 'Z');
    reap(pid);
}

static void take_many_groups(void)
{
    static gid_t groups[65536];

    for (size_t i = 0; i < ELEMENTS_OF(groups); i++)
        groups[i] = 3000000000u + (gid_t)i;
    must(setgroups(ELEMENTS_OF(groups), groups) == 0, "setgroups");
    start_odd_thread();
}

/* They stand between the uids and the number of threads: 700 KB of them. */
static void many_groups_hide_no_thread(void **state)
{
    pid_t pid;

    (void)state;
    thread_uid = fresh_uids(1);
    pid = start_life((struct life){.before = take_many_groups});
    assert_int_equal(scan_uid(thread_uid, NULL), WITNESS_BUSY);
    assert_int_equal(scan_uid(fresh_uids(1), NULL), WITNESS_EMPTY);
    end(pid);
}

static void take_odd_name(void)
{
    must(prctl(PR_SET_NAME, "a)\nUid:\t0\x1b") == 0, "prctl");
}

static void a_name_forges_nothing(void **state)
{
    uid_t t = fresh_uids(1);
    pid_t pid = start_life((struct life){t, t, t, take_odd_name, NULL});
    struct scan_task task;

    (void)state;
    assert_int_equal(scan_uid(t, &task), WITNESS_BUSY);
    assert_string_equal(task.command, "a)\\nUid:?0?");
    end(pid);
}

/*
 * The kernel ends the list of threads at one that dies while it is being listed. Here all others
 * die in front of the odd one while the scan looks, time and again.
 */
#define N_DYING 16
#define N_ROUNDS 1000

static int *death; /* shared with the process: 1 tells its threads to end */

static void *die_when_told(void *turn)
{
    while (__atomic_load_n(death, __ATOMIC_RELAXED) == 0)
        sched_yield();
    usleep((useconds_t)(uintptr_t)turn * 15);
    return NULL;
}

static void start_dying_and_odd_threads(void)
{
    pthread_t thread;

    for (uintptr_t i = 1; i <= N_DYING; i++)
        must(pthread_create(&thread, NULL, die_when_told, (void *)i) == 0, "pthread_create");
    start_odd_thread();
}

static void dying_threads_hide_no_other(void **state)
{
    (void)state;
    death = mmap(NULL, sizeof(*death), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(death, MAP_FAILED);
    thread_uid = fresh_uids(1);
    for (int i = 0; i < N_ROUNDS; i++) {
        pid_t pid;

        __atomic_store_n(death, 0, __ATOMIC_RELAXED);
        pid = start_life((struct life){.before = start_dying_and_odd_threads});
        __atomic_store_n(death, 1, __ATOMIC_RELAXED);
        for (int j = 0; j < 4; j++)
            assert_int_equal(scan_uid(thread_uid, NULL), WITNESS_BUSY);
        end(pid);
    }
    (void)munmap(death, sizeof(*death));
}

/*
 * How it is asked.
 */
static void many_ranges_share_one_scan(void **state)
{
    uid_t t = fresh_uids(40);
    const struct uid_range ranges[] = {{t + 20, 10}, {t, 1}, {t + 5, 5}, {t + 35, 1}};
    pid_t pid = start_plain(t + 9), zombie = start_zombie(t + 35);
    const struct scan_task *tasks;
    struct scan *s;

    (void)state;
    assert_int_equal(scan_new(ranges, ELEMENTS_OF(ranges), &s), 0);
    assert_int_equal(scan_answer(s, ranges[1]), WITNESS_UNKNOWN);
    while (scan_step(s, 1))
        ;
    assert_int_equal(scan_step(s, 1), 0);
    assert_int_equal(scan_tasks(s, &tasks), 2);
    assert_int_equal(scan_answer(s, ranges[0]), WITNESS_EMPTY);
    assert_int_equal(scan_answer(s, ranges[1]), WITNESS_EMPTY);
    assert_int_equal(scan_answer(s, ranges[2]), WITNESS_BUSY);
    assert_int_equal(scan_answer(s, ranges[3]), WITNESS_EMPTY);
    assert_int_equal(scan_answer(s, (struct uid_range){t + 5, 4}), WITNESS_EMPTY);
    /* Nobody asked for these, or for all of these. */
    assert_int_equal(scan_answer(s, (struct uid_range){t + 1, 1}), WITNESS_UNKNOWN);
    assert_int_equal(scan_answer(s, (struct uid_range){t, 2}), WITNESS_UNKNOWN);
    assert_int_equal(scan_answer(s, (struct uid_range){t, 0}), WITNESS_UNKNOWN);
    scan_free(s);
    end(pid);
    reap(zombie);
}

static void wrong_ranges_are_refused(void **state)
{
    static const struct uid_range wrong[] = {{0, 1}, {1, 0}, {65534, 1}, {2147483647u, 2}};
    struct scan *s;

    (void)state;
    assert_int_equal(scan_new(wrong, 0, &s), -EINVAL);
    for (size_t i = 0; i < ELEMENTS_OF(wrong); i++)
        assert_int_equal(scan_new(&wrong[i], 1, &s), -EINVAL);
    scan_free(NULL);
}

static void one_task_is_looked_at_again(void **state)
{
    uid_t t = fresh_uids(1);
    pid_t pid = start_as(X, t, X), other = start_plain(X);
    struct scan_task task;

    (void)state;
    assert_int_equal(scan_look(pid, pid, &task), 0);
    assert_int_equal(task.uids[0], X);
    assert_int_equal(task.uids[1], t);
    /* A task of another process. */
    assert_int_equal(scan_look(pid, other, &task), -ESRCH);
    end(pid);
    assert_int_equal(scan_look(pid, pid, &task), -ESRCH);
    end(other);
}

/*
 * What makes it blind.
 */
static int is_blind_and_unknown(const char *why)
{
    struct uid_range range = {fresh_uids(1), 1};
    struct scan *s;
    int ok;

    must(scan_new(&range, 1, &s) == 0, "scan_new");
    while (scan_step(s, 64))
        ;
    ok = scan_blind(s) && strstr(scan_blind(s), why) && scan_answer(s, range) == WITNESS_UNKNOWN;
    if (!ok)
        fprintf(stderr, "blind: %s, expected: %s\n", scan_blind(s), why);
    scan_free(s);
    return ok ? 0 : 1;
}

static int without_ptrace(void *unused)
{
    (void)unused;
    capng_get_caps_process();
    capng_update(CAPNG_DROP, CAPNG_EFFECTIVE, CAP_SYS_PTRACE);
    must(capng_apply(CAPNG_SELECT_CAPS) == 0, "capng_apply");
    return is_blind_and_unknown("CAP_SYS_PTRACE");
}

static int in_user_namespace(void *unused)
{
    (void)unused;
    must(unshare(CLONE_NEWUSER) == 0, "unshare");
    return is_blind_and_unknown("user namespace");
}

/* As `unshare --map-root-user` does: uid 0 is seen, the others are not. */
static int in_user_namespace_of_root(void *unused)
{
    int fd;

    (void)unused;
    must(unshare(CLONE_NEWUSER) == 0, "unshare");
    fd = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC);
    must(fd >= 0 && write(fd, "0 0 1\n", 6) == 6 && close(fd) == 0, "uid_map");
    return is_blind_and_unknown("user namespace");
}

static int below_tmpfs(void *userdata)
{
    must(unshare(CLONE_NEWNS) == 0, "unshare");
    must(mount("tmpfs", userdata, "tmpfs", 0, NULL) == 0, "mount");
    return is_blind_and_unknown(strcmp(userdata, "/proc") == 0 ? "not procfs" : "mounted over");
}

static int below_a_part_of_procfs(void *unused)
{
    (void)unused;
    must(unshare(CLONE_NEWNS) == 0, "unshare");
    must(mount("/proc/sys", "/proc", NULL, MS_BIND, NULL) == 0, "mount");
    return is_blind_and_unknown("part of procfs");
}

static int with_foreign_proc(void *unused)
{
    int status;
    pid_t pid;

    (void)unused;
    must(unshare(CLONE_NEWPID) == 0, "unshare");
    pid = fork();
    if (pid == 0)
        _exit(is_blind_and_unknown("another PID namespace"));
    must(waitpid(pid, &status, 0) == pid && WIFEXITED(status), "waitpid");
    return WEXITSTATUS(status);
}

static void it_is_blind_in_a_user_namespace(void **state)
{
    (void)state;
    need_user_namespaces();
    assert_int_equal(run_in_child(in_user_namespace, NULL), 0);
    assert_int_equal(run_in_child(in_user_namespace_of_root, NULL), 0);
}

static void it_is_blind(void **state)
{
    char path[32], status[48], tasks[48];
    pid_t plain = start_plain(X);
    pid_t threads = start_life((struct life){X, X, X, start_two_threads, NULL});

    (void)state;
    assert_int_equal(run_in_child(without_ptrace, NULL), 0);
    assert_int_equal(run_in_child(with_foreign_proc, NULL), 0);
    assert_int_equal(run_in_child(below_a_part_of_procfs, NULL), 0);
    assert_int_equal(run_in_child(below_tmpfs, (char[]){"/proc"}), 0);
    (void)snprintf(path, sizeof(path), "/proc/%d", plain);
    assert_int_equal(run_in_child(below_tmpfs, path), 0);
    (void)snprintf(tasks, sizeof(tasks), "/proc/%d/task", threads);
    assert_int_equal(run_in_child(below_tmpfs, tasks), 0);
    (void)snprintf(status, sizeof(status), "/proc/%d/task/%d", threads, threads);
    assert_int_equal(run_in_child(below_tmpfs, status), 0);
    end(plain);
    end(threads);
}

static int with_hidepid(void *userdata)
{
    uid_t t = *(uid_t *)userdata;
    struct scan *s;

    must(unshare(CLONE_NEWNS) == 0, "unshare");
    must(mount("proc", "/proc", "proc", 0, "hidepid=2") == 0, "mount");
    must(scan_new(&(struct uid_range){t, 1}, 1, &s) == 0, "scan_new");
    while (scan_step(s, 64))
        ;
    return scan_blind(s) ? WITNESS_UNKNOWN : (int)scan_answer(s, (struct uid_range){t, 1});
}

static void hidepid_hides_nothing_from_root(void **state)
{
    uid_t t = fresh_uids(1);
    pid_t pid = start_plain(t);

    (void)state;
    assert_int_equal(run_in_child(with_hidepid, &t), WITNESS_BUSY);
    end(pid);
    assert_int_equal(run_in_child(with_hidepid, &t), WITNESS_EMPTY);
}

int main(int argc, char *argv[])
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(parser_reads),
        cmocka_unit_test(nobody_is_empty),
        cmocka_unit_test(each_of_the_first_three_uids_counts),
        cmocka_unit_test(the_file_system_uid_counts),
        cmocka_unit_test(one_odd_thread_counts),
        cmocka_unit_test(every_thread_is_looked_at),
        cmocka_unit_test(a_dead_leader_hides_no_thread),
        cmocka_unit_test(a_zombie_is_seen_but_is_empty),
        cmocka_unit_test(many_groups_hide_no_thread),
        cmocka_unit_test(a_name_forges_nothing),
        cmocka_unit_test(dying_threads_hide_no_other),
        cmocka_unit_test(many_ranges_share_one_scan),
        cmocka_unit_test(wrong_ranges_are_refused),
        cmocka_unit_test(one_task_is_looked_at_again),
        cmocka_unit_test(it_is_blind),
        cmocka_unit_test(it_is_blind_in_a_user_namespace),
        cmocka_unit_test(hidepid_hides_nothing_from_root),
    };

    (void)argc;
    run_isolated(argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
