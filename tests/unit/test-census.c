/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The census, through its helper: what the kernel counts, what stops or kills the one who asks, and
 * what the helper refuses. Needs root.
 */
#include "allocator/census.h"
#include "allocator/scan.h"
#include "build_config.h"
#include "tests/unit/processes.h"

#include <linux/capability.h>
#include <linux/securebits.h>
#include <poll.h>

#define HELPER UIDPOOL_HELPER_DIR "/uidpool-census"

static int claim = -1;
static struct census *census;

static enum witness ask_range(uid_t first, uint32_t count, uint32_t zombies)
{
    return census_ask(census, (struct uid_range){first, count}, zombies, claim);
}

static enum witness ask(uid_t uid, uint32_t zombies)
{
    return ask_range(uid, 1, zombies);
}

/*
 * What it counts.
 */
static void nobody_is_empty(void **state)
{
    uid_t t = fresh_uids(20);

    (void)state;
    assert_int_equal(ask(t, 0), WITNESS_EMPTY);
    assert_int_equal(ask_range(t, 20, 0), WITNESS_EMPTY);
    /* Nothing of the first question is left for the second to count. */
    for (int i = 0; i < 100; i++)
        assert_int_equal(ask(t, 0), WITNESS_EMPTY);
}

static void one_task_is_busy(void **state)
{
    uid_t t = fresh_uids(3) + 1;
    pid_t pid = start_plain(t);

    (void)state;
    assert_int_equal(ask(t, 0), WITNESS_BUSY);
    assert_int_equal(ask(t - 1, 0), WITNESS_EMPTY);
    assert_int_equal(ask(t + 1, 0), WITNESS_EMPTY);
    assert_int_equal(ask_range(t - 1, 3, 0), WITNESS_BUSY);
    end(pid);
    assert_int_equal(ask_range(t - 1, 3, 0), WITNESS_EMPTY);
}

static void threads_are_busy(void **state)
{
    uid_t t = fresh_uids(1);
    pid_t pid = start_life((struct life){t, t, t, start_two_threads, end_leader});

    (void)state;
    wait_until(is_zombie, &pid);
    assert_int_equal(ask(t, 0), WITNESS_BUSY);
    assert_int_equal(ask(t, 1), WITNESS_BUSY);
    assert_int_equal(ask(t, 2), WITNESS_BUSY);
    end(pid);
    assert_int_equal(ask(t, 0), WITNESS_EMPTY);
}

static void the_real_uid_alone_counts(void **state)
{
    uid_t t = fresh_uids(2), x = t + 1;
    pid_t real = start_as(t, x, x), effective;

    (void)state;
    assert_int_equal(ask(t, 0), WITNESS_BUSY);
    end(real);
    effective = start_as(x, t, t);
    assert_int_equal(ask(t, 0), WITNESS_EMPTY);
    end(effective);
}

static void zombies_are_counted_exactly(void **state)
{
    uid_t t = fresh_uids(1);
    pid_t zombies[] = {start_zombie(t), start_zombie(t)}, alive;

    (void)state;
    assert_int_equal(ask(t, 0), WITNESS_BUSY);
    assert_int_equal(ask(t, 1), WITNESS_BUSY);
    assert_int_equal(ask(t, 2), WITNESS_EMPTY);
    assert_int_equal(ask(t, 3), WITNESS_UNKNOWN);
    assert_int_equal(ask(t, 1000), WITNESS_UNKNOWN);
    alive = start_plain(t);
    assert_int_equal(ask(t, 2), WITNESS_BUSY);
    reap(zombies[0]);
    /* One has gone and one lives: the number alone cannot tell. The scan can. */
    assert_int_equal(ask(t, 2), WITNESS_EMPTY);
    assert_int_equal(ask(t, 1), WITNESS_BUSY);
    end(alive);
    assert_int_equal(ask(t, 2), WITNESS_UNKNOWN);
    assert_int_equal(ask(t, 1), WITNESS_EMPTY);
    reap(zombies[1]);
}

/* One child goes round many uids, and then another goes on. */
static void each_uid_of_a_range_is_asked(void **state)
{
    const uint32_t places[] = {0, 1, 62, 63, 64, 65, 127, 128, 129};
    uid_t t = fresh_uids(130);

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(places); i++) {
        pid_t pid = start_plain(t + places[i]);

        assert_int_equal(ask_range(t, 130, 0), WITNESS_BUSY);
        end(pid);
        assert_int_equal(ask_range(t, 130, 0), WITNESS_EMPTY);
    }
}

static void zombies_of_a_range_are_counted_exactly(void **state)
{
    uid_t t = fresh_uids(3);
    pid_t zombies[] = {start_zombie(t), start_zombie(t + 1), start_zombie(t + 2)};

    (void)state;
    assert_int_equal(ask_range(t, 3, 0), WITNESS_BUSY);
    assert_int_equal(ask_range(t, 3, 1), WITNESS_EMPTY);
    assert_int_equal(ask_range(t, 3, 2), WITNESS_UNKNOWN);
    reap(zombies[2]);
    assert_int_equal(ask_range(t, 3, 1), WITNESS_UNKNOWN);
    reap(zombies[0]);
    reap(zombies[1]);
    assert_int_equal(ask_range(t, 3, 0), WITNESS_EMPTY);
}

static int tally(uid_t first, uint32_t count)
{
    _cleanup_fd_ int fd = census_tally_start(census, (struct uid_range){first, count}, claim);
    int n;

    assert_true(fd >= 0);
    while ((n = census_tally_finish(fd)) == -EAGAIN)
        usleep(1000);
    return n;
}

static void a_tally_counts(void **state)
{
    uid_t t = fresh_uids(4);
    pid_t threads, zombie, many[CENSUS_TALLY_MAX + 10];

    (void)state;
    assert_int_equal(tally(t, 4), 0);
    threads = start_life((struct life){t, t, t, start_two_threads, NULL});
    assert_int_equal(tally(t, 1), 3);
    zombie = start_zombie(t + 1);
    assert_int_equal(tally(t + 1, 1), 1);
    assert_int_equal(tally(t, 4), 4);
    for (size_t i = 0; i < ELEMENTS_OF(many); i++) {
        if (i == CENSUS_TALLY_MAX - 1)
            assert_int_equal(tally(t + 3, 1), CENSUS_TALLY_MAX - 1);
        many[i] = start_plain(t + 3);
    }
    assert_int_equal(tally(t + 3, 1), CENSUS_TALLY_MAX);
    assert_int_equal(tally(t, 4), CENSUS_TALLY_MAX);
    for (size_t i = 0; i < ELEMENTS_OF(many); i++)
        end(many[i]);
    assert_int_equal(tally(t, 4), 4);
    end(threads);
    reap(zombie);
    assert_int_equal(tally(0, 1), -ECHILD);
}

static int tallies(uid_t first, uint32_t count, uint8_t *ret)
{
    _cleanup_fd_ int fd = census_tallies_start(census, (struct uid_range){first, count}, &claim, 1);
    int r;

    assert_true(fd >= 0);
    while ((r = census_tallies_finish(fd, count, ret)) == -EAGAIN)
        usleep(1000);
    return r;
}

static void tallies_count_each(void **state)
{
    uid_t t = fresh_uids(CENSUS_TALLIES_MAX);
    pid_t threads = start_life((struct life){t, t, t, start_two_threads, NULL});
    pid_t plain = start_plain(t + 2), zombie = start_zombie(t + CENSUS_TALLIES_MAX - 1);
    uint8_t counts[CENSUS_TALLIES_MAX];

    (void)state;
    memset(counts, 77, sizeof(counts));
    assert_int_equal(tallies(t, CENSUS_TALLIES_MAX, counts), 0);
    assert_int_equal(counts[0], 3);
    assert_int_equal(counts[1], 0);
    assert_int_equal(counts[2], 1);
    for (size_t i = 3; i < CENSUS_TALLIES_MAX - 1; i++)
        assert_int_equal(counts[i], 0);
    assert_int_equal(counts[CENSUS_TALLIES_MAX - 1], 1);
    /* Nobody is left who would be counted. */
    end(threads);
    end(plain);
    reap(zombie);
    assert_int_equal(ask_range(t, CENSUS_TALLIES_MAX, 0), WITNESS_EMPTY);
    assert_int_equal(
        census_tallies_start(census, (struct uid_range){t, CENSUS_TALLIES_MAX + 1}, &claim, 1),
        -E2BIG);
    counts[0] = 77;
    assert_true(tallies(0, 1, counts) < 0);
    assert_int_equal(counts[0], 77);
}

/*
 * Namespaces.
 */
static int inner_pid[2];

/* Leaves one process behind, alone in the namespaces that it made. */
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

static void namespaces_hide_nobody(void **state)
{
    uid_t t = fresh_uids(1);
    pid_t outer, inner;

    (void)state;
    need_user_namespaces();
    assert_int_equal(pipe2(inner_pid, O_CLOEXEC), 0);
    outer = start_life((struct life){t, t, t, leave_one_in_namespaces, end_self});
    reap(outer);
    assert_int_equal(read(inner_pid[0], &inner, sizeof(inner)), sizeof(inner));
    assert_int_equal(ask(t, 0), WITNESS_BUSY);
    assert_int_equal(kill(inner, SIGKILL), 0);
    reap(inner);
    assert_int_equal(ask(t, 0), WITNESS_EMPTY);
    close(inner_pid[0]);
    close(inner_pid[1]);
}

/* Asks from a PID namespace of its own, with its own /proc, in which nobody else is seen. */
static int ask_from_below(void *userdata)
{
    int status;
    pid_t pid;

    must(unshare(CLONE_NEWPID | CLONE_NEWNS) == 0, "unshare");
    pid = fork();
    if (pid == 0) {
        must(mount("proc", "/proc", "proc", 0, NULL) == 0, "mount");
        _exit((int)ask(*(uid_t *)userdata, 0));
    }
    must(waitpid(pid, &status, 0) == pid && WIFEXITED(status), "waitpid");
    return WEXITSTATUS(status);
}

static void who_is_outside_is_counted(void **state)
{
    uid_t t = fresh_uids(1);
    pid_t pid = start_plain(t);

    (void)state;
    assert_int_equal(run_in_child(ask_from_below, &t), WITNESS_BUSY);
    end(pid);
    assert_int_equal(run_in_child(ask_from_below, &t), WITNESS_EMPTY);
}

static void write_file(pid_t pid, const char *name, const char *text)
{
    char path[64];
    _cleanup_fd_ int fd = -1;

    (void)snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static int go[2];

static void enter_user_namespace(void)
{
    must(unshare(CLONE_NEWUSER) == 0, "unshare");
}

static void become_root_there(void)
{
    char c;

    must(read(go[0], &c, 1) == 1, "read");
    set_ids(0, 0, 0);
    say_ready(inner_pid[1]);
}

/* A container that root made for T: its tasks are charged to root. The scan must see them. */
static void the_scan_sees_what_is_charged_to_others(void **state)
{
    uid_t t = fresh_uids(1);
    struct uid_range range = {t, 1};
    struct scan *s;
    char map[32], c;
    pid_t pid;

    (void)state;
    need_user_namespaces();
    assert_int_equal(pipe2(go, O_CLOEXEC), 0);
    assert_int_equal(pipe2(inner_pid, O_CLOEXEC), 0);
    pid = start_life((struct life){.before = enter_user_namespace, .after = become_root_there});
    (void)snprintf(map, sizeof(map), "0 %u 1", t);
    write_file(pid, "uid_map", map);
    say_ready(go[1]);
    assert_int_equal(read(inner_pid[0], &c, 1), 1);

    assert_int_not_equal(ask(t, 0), WITNESS_UNKNOWN);
    assert_int_equal(scan_new(&range, 1, &s), 0);
    while (scan_step(s, 64))
        ;
    assert_int_equal(scan_answer(s, range), WITNESS_BUSY);
    scan_free(s);
    end(pid);
}

/*
 * Somebody works against the one who asks: with T as effective uid alone he is not counted, but
 * may signal whoever has T as real uid.
 */
static void stop_all(void)
{
    for (;;)
        (void)kill(-1, SIGSTOP);
}

static void kill_all(void)
{
    for (;;)
        (void)kill(-1, SIGKILL);
}

static pid_t start_against(uid_t t, void (*what)(void))
{
    return start_life((struct life){t + 1, t, t + 1, NULL, what});
}

static void assert_stopped_is_busy(uint32_t count)
{
    uid_t t = fresh_uids(count + 1);
    pid_t pid = start_against(t + count - 1, stop_all);
    enum witness answer = WITNESS_EMPTY;
    int64_t first = clock_monotonic_usec(), before = first, took = 0;

    while (answer == WITNESS_EMPTY && before < first + PATIENCE_USEC) {
        before = clock_monotonic_usec();
        answer = ask_range(t, count, 0);
        took = clock_monotonic_usec() - before;
    }
    assert_int_equal(answer, WITNESS_BUSY);
    assert_true(took >= CENSUS_PATIENCE_SEC * USEC_PER_SEC);
    assert_true(took < CENSUS_PATIENCE_SEC * USEC_PER_SEC + PATIENCE_USEC);
    end(pid);
    assert_int_equal(ask_range(t, count, 0), WITNESS_EMPTY);
}

static void a_census_that_is_stopped_is_busy(void **state)
{
    (void)state;
    assert_stopped_is_busy(1);
    assert_stopped_is_busy(3);
}

static void assert_killed_is_busy(uint32_t count)
{
    uid_t t = fresh_uids(count + 1);
    pid_t pid = start_against(t + count - 1, kill_all);
    enum witness answer = WITNESS_EMPTY;
    int64_t first = clock_monotonic_usec();

    while (answer == WITNESS_EMPTY && clock_monotonic_usec() < first + PATIENCE_USEC)
        answer = ask_range(t, count, 0);
    assert_int_equal(answer, WITNESS_BUSY);
    end(pid);
    assert_int_equal(ask_range(t, count, 0), WITNESS_EMPTY);
}

static void a_census_that_is_killed_is_busy(void **state)
{
    (void)state;
    assert_killed_is_busy(1);
    assert_killed_is_busy(3);
}

/* The census child: the only task with T as real uid. 0 if there is none. */
static pid_t find_child(uid_t t)
{
    const struct scan_task *tasks;
    struct uid_range range = {t, 1};
    pid_t found = 0;
    struct scan *s;
    size_t n;

    assert_int_equal(scan_new(&range, 1, &s), 0);
    while (scan_step(s, 64))
        ;
    n = scan_tasks(s, &tasks);
    for (size_t i = 0; i < n; i++)
        if (tasks[i].uids[0] == t)
            found = tasks[i].pid;
    scan_free(s);
    return found;
}

/* Until its child hangs, stopped; helpers that get through are followed by the next. */
static pid_t start_helper_that_hangs(uid_t t, pid_t *ret_child)
{
    char range[32];
    char *argv[] = {(char[]){HELPER}, range, (char[]){"0"}, NULL};
    int64_t first = clock_monotonic_usec();

    (void)snprintf(range, sizeof(range), "%u+1", t);
    while (clock_monotonic_usec() < first + PATIENCE_USEC) {
        _cleanup_fd_ int said = -1;
        pid_t pid = start_program(argv, NULL, &said);

        while (!has_ended(pid)) {
            pid_t child = find_child(t);

            if (child > 0 && read_state(child) == 'T') {
                *ret_child = child;
                return pid;
            }
        }
        reap(pid);
    }
    fail();
    return -1;
}

static void the_child_dies_with_the_helper(void **state)
{
    uid_t t = fresh_uids(2);
    pid_t against = start_against(t, stop_all), child = 0, helper;

    (void)state;
    helper = start_helper_that_hangs(t, &child);
    end(against);
    end(helper);
    /* It is our child now, as we are the namespace's pid 1. */
    wait_until(pid_has_ended, &child);
    reap(child);
    assert_int_equal(ask(t, 0), WITNESS_EMPTY);
}

/*
 * What the helper refuses.
 */
static struct ending run_helper(const char *range, const char *zombies, const char *more,
                                void (*before)(void))
{
    char *argv[] = {(char[]){HELPER}, (char *)range, (char *)zombies, (char *)more, NULL};

    return run_program(argv, before);
}

static void assert_refused(struct ending o, int status)
{
    assert_int_equal(o.status, status);
    assert_ptr_equal(strstr(o.said, "uidpool-census: "), o.said);
}

static void wrong_arguments_are_refused(void **state)
{
    static const char *const table[][3] = {
        {NULL},
        {"2114530000+1", NULL},
        {"2114530000+1", "0", "0"},
        {"2114530000", "0"},
        {"2114530000+0", "0"},
        {"2114530000+", "0"},
        {"+1", "0"},
        {"0+1", "0"},
        {"65534+1", "0"},
        {"65535+1", "0"},
        {"65000+1000", "0"},
        {"2147483647+2", "0"},
        {"2147483648+1", "0"},
        {"4294967295+1", "0"},
        {"4294967296+1", "0"},
        {"99999999999999999999+1", "0"},
        {"2114530000+1+1", "0"},
        {"2114530000-1", "0"},
        {" 2114530000+1", "0"},
        {"2114530000+1 ", "0"},
        {"02114530000+1", "0"},
        {"0x7e000000+1", "0"},
        {"2114530000+1", ""},
        {"2114530000+1", "-1"},
        {"2114530000+1", "x"},
        {"2114530000+1", "4294967296"},
    };

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(table); i++)
        assert_refused(run_helper(table[i][0], table[i][1], table[i][2], NULL), 2);
    assert_int_equal(run_helper("2114530000+1", "0", NULL, NULL).status, 0);
}

static void become_nobody(void)
{
    set_ids(65534, 65534, 65534);
}

static void become_half_root(void)
{
    set_ids(65534, 0, 0);
}

static void keep_capabilities(void)
{
    must(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP) == 0, "prctl");
}

static void lower_hard_limit(void)
{
    struct rlimit limit = {1, 1};

    must(prctl(PR_CAPBSET_DROP, CAP_SYS_RESOURCE) == 0, "prctl");
    must(setrlimit(RLIMIT_NPROC, &limit) == 0, "setrlimit");
}

static void enter_user_namespace_as_root(void)
{
    int fd;

    enter_user_namespace();
    fd = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC);
    must(fd >= 0 && write(fd, "0 0 1", 5) == 5 && close(fd) == 0, "uid_map");
}

static void ignore_children(void)
{
    (void)signal(SIGCHLD, SIG_IGN);
}

/* Whoever asks about one uid, and whoever goes round. */
static void assert_unfit(void (*unfit)(void), const char *says)
{
    static const char *const ranges[] = {"2114530000+1", "2114530000+2"};

    for (size_t i = 0; i < ELEMENTS_OF(ranges); i++) {
        struct ending o = run_helper(ranges[i], "0", NULL, unfit);

        assert_refused(o, 3);
        assert_non_null(strstr(o.said, says));
    }
}

static void a_user_namespace_gets_unknown(void **state)
{
    (void)state;
    need_user_namespaces();
    assert_unfit(enter_user_namespace, "must all be 0");
    assert_unfit(enter_user_namespace_as_root, "initial user namespace");
}

static void an_unfit_caller_gets_unknown(void **state)
{
    static const struct {
        void (*unfit)(void);
        const char *says;
    } table[] = {
        {become_nobody, "must all be 0"},
        {become_half_root, "must all be 0"},
        {keep_capabilities, "capabilities are left"},
        {lower_hard_limit, "RLIMIT_NPROC"},
    };

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(table); i++)
        assert_unfit(table[i].unfit, table[i].says);
    assert_int_equal(run_helper("2114530000+1", "0", NULL, ignore_children).status, 0);
}

/*
 * One helper for many questions.
 */

/* The live processes called uidpool-census; how many, and one of them. */
static size_t find_census(pid_t *ret)
{
    _cleanup_dir_ DIR *proc = opendir("/proc");
    struct dirent *entry;
    size_t n = 0;

    assert_non_null(proc);
    while ((entry = readdir(proc))) {
        _cleanup_fd_ int fd = -1;
        char path[300], text[512];
        ssize_t length;

        (void)snprintf(path, sizeof(path), "/proc/%s/stat", entry->d_name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        length = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
        if (length <= 0)
            continue;
        text[length] = '\0';
        if (!strstr(text, "(uidpool-census)") || strstr(text, "(uidpool-census) Z"))
            continue;
        n++;
        *ret = (pid_t)strtol(entry->d_name, NULL, 10);
    }
    return n;
}

/* Whoever asked the last question may be on its way out. */
static bool is_one_census(void *pid)
{
    return find_census(pid) == 1;
}

static bool is_no_census(void *pid)
{
    return find_census(pid) == 0;
}

static bool is_readable(int fd, int msec)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, msec) == 1;
}

/* A question about a uid that somebody stops whoever has: it takes the census's whole patience. */
static int start_question_that_hangs(uid_t t, int held)
{
    int64_t first = clock_monotonic_usec();

    while (clock_monotonic_usec() < first + PATIENCE_USEC) {
        int fd = census_start(census, (struct uid_range){t, 1}, 0, held);
        pid_t child;

        assert_true(fd >= 0);
        while (!is_readable(fd, 0)) {
            child = find_child(t);
            if (child > 0 && read_state(child) == 'T')
                return fd;
        }
        (void)close(fd);
    }
    fail();
    return -1;
}

static bool is_gone(void *pid)
{
    return kill(*(pid_t *)pid, 0) < 0 && errno == ESRCH;
}

static void a_helper_that_was_killed_is_replaced(void **state)
{
    uid_t t = fresh_uids(1);
    pid_t first = 0, second = 0;

    (void)state;
    assert_int_equal(ask(t, 0), WITNESS_EMPTY);
    wait_until(is_one_census, &first);
    assert_int_equal(kill(first, SIGKILL), 0);
    wait_until(is_gone, &first); /* its minder has reaped it */
    assert_int_equal(ask(t, 0), WITNESS_EMPTY);
    wait_until(is_one_census, &second);
    assert_int_not_equal(first, second);
}

static void one_that_hangs_delays_nobody(void **state)
{
    uid_t t = fresh_uids(3);
    pid_t against = start_against(t, stop_all);
    _cleanup_fd_ int hangs = start_question_that_hangs(t, claim);

    (void)state;
    for (int i = 0; i < 20; i++)
        assert_int_equal(ask(t + 2, 0), WITNESS_EMPTY);
    assert_false(is_readable(hangs, 0));
    assert_int_equal(census_finish(hangs), WITNESS_UNKNOWN); /* not yet */
    assert_true(is_readable(hangs, PATIENCE_USEC / 1000));
    assert_int_equal(census_finish(hangs), WITNESS_BUSY);
    end(against);
}

static bool can_be_locked(void *userdata)
{
    struct flock lock = {.l_type = F_WRLCK, .l_len = 1};

    return fcntl(*(const int *)userdata, F_OFD_SETLK, &lock) == 0;
}

/* We gave up our claim, and even the helper is gone: whoever asks has it still. */
static void a_question_keeps_its_claim(void **state)
{
    uid_t t = fresh_uids(2);
    pid_t against = start_against(t, stop_all);
    char path[] = "/tmp/uidpool-test-census-XXXXXX";
    int held = mkostemp(path, O_CLOEXEC), hangs;
    _cleanup_fd_ int other = open(path, O_RDWR | O_CLOEXEC);

    (void)state;
    assert_true(held >= 0 && other >= 0);
    assert_int_equal(unlink(path), 0);
    assert_true(can_be_locked(&held));
    hangs = start_question_that_hangs(t, held);
    (void)close(held);
    assert_false(can_be_locked(&other));
    census_free(census);
    census = census_new();
    assert_non_null(census);
    assert_false(can_be_locked(&other));
    assert_true(is_readable(hangs, PATIENCE_USEC / 1000));
    assert_int_equal(census_finish(hangs), WITNESS_BUSY);
    (void)close(hangs);
    end(against);
    wait_until(can_be_locked, &other);
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
}

/* 0: there is none that is stopped. */
static pid_t find_stopped_child(uid_t t)
{
    pid_t child = find_child(t);

    return child > 0 && read_state(child) == 'T' ? child : 0;
}

/* Of one that goes round: the only capability that it has is the one to come back. */
static void assert_harmless(pid_t child)
{
    char path[64], text[4096] = "";
    _cleanup_fd_ int fd = -1;

    (void)snprintf(path, sizeof(path), "/proc/%d/status", child);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
    assert_non_null(strstr(text, "\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000080\n"
                                 "CapEff:\t0000000000000000\n"));
    assert_non_null(strstr(text, "\nGroups:\t \n"));
}

static void all_claims_are_kept(void **state)
{
    uid_t t = fresh_uids(3);
    pid_t against = start_against(t + 1, stop_all);
    int held[CENSUS_CLAIMS_MAX + 1], others[ELEMENTS_OF(held)], hangs = -1;
    struct uid_range range = {t, 2};
    pid_t child = 0;

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(held); i++) {
        char path[] = "/tmp/uidpool-test-census-XXXXXX";

        held[i] = mkostemp(path, O_CLOEXEC);
        others[i] = open(path, O_RDWR | O_CLOEXEC);
        assert_true(held[i] >= 0 && others[i] >= 0 && unlink(path) == 0);
        assert_true(can_be_locked(&held[i]));
    }
    assert_int_equal(census_start_shared(census, range, 0, held, ELEMENTS_OF(held)), -EINVAL);
    assert_int_equal(census_start_shared(census, range, 0, held, 0), -EINVAL);
    while (child == 0) {
        (void)close_fd(hangs);
        hangs = census_start_shared(census, range, 0, held, CENSUS_CLAIMS_MAX);
        assert_true(hangs >= 0);
        while (child == 0 && !is_readable(hangs, 0))
            child = find_stopped_child(t + 1);
    }
    assert_harmless(child);
    for (size_t i = 0; i < ELEMENTS_OF(held); i++)
        (void)close(held[i]);
    for (size_t i = 0; i < CENSUS_CLAIMS_MAX; i++)
        assert_false(can_be_locked(&others[i]));
    assert_true(can_be_locked(&others[CENSUS_CLAIMS_MAX]));
    assert_true(is_readable(hangs, PATIENCE_USEC / 1000));
    assert_int_equal(census_finish(hangs), WITNESS_BUSY);
    (void)close(hangs);
    end(against);
    for (size_t i = 0; i < ELEMENTS_OF(others); i++) {
        wait_until(can_be_locked, &others[i]);
        (void)close(others[i]);
    }
}

/* A child of ours that executed nothing has our end of the socket too. */
static void a_child_of_ours_keeps_no_helper(void **state)
{
    uid_t t = fresh_uids(1);
    pid_t helper = 0, pid;

    (void)state;
    assert_int_equal(ask(t, 0), WITNESS_EMPTY);
    pid = fork();
    if (pid == 0)
        for (;;)
            (void)pause();
    assert_true(pid > 0);
    wait_until(is_one_census, &helper);
    census_free(census);
    census = census_new();
    assert_non_null(census);
    wait_until(is_no_census, &helper);
    end(pid);
}

/* A question that nobody answers, as the helper refuses it. */
static void nonsense_is_unknown(void **state)
{
    (void)state;
    assert_int_equal(ask_range(0, 1, 0), WITNESS_UNKNOWN);
    assert_int_equal(ask_range(65534, 1, 0), WITNESS_UNKNOWN);
    assert_int_equal(ask_range(2147483647u, 2, 0), WITNESS_UNKNOWN);
    assert_int_equal(tally(0, 1), -ECHILD);
    assert_int_equal(ask(fresh_uids(1), 0), WITNESS_EMPTY);
}

static int begin(void **state)
{
    (void)state;
    claim = open("/dev/null", O_RDWR | O_CLOEXEC);
    census = census_new();
    return claim < 0 || !census ? -1 : 0;
}

static int finish(void **state)
{
    (void)state;
    census_free(census);
    return close(claim);
}

int main(int argc, char *argv[])
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_empty),
        cmocka_unit_test(one_task_is_busy),
        cmocka_unit_test(threads_are_busy),
        cmocka_unit_test(the_real_uid_alone_counts),
        cmocka_unit_test(zombies_are_counted_exactly),
        cmocka_unit_test(each_uid_of_a_range_is_asked),
        cmocka_unit_test(zombies_of_a_range_are_counted_exactly),
        cmocka_unit_test(a_tally_counts),
        cmocka_unit_test(tallies_count_each),
        cmocka_unit_test(namespaces_hide_nobody),
        cmocka_unit_test(who_is_outside_is_counted),
        cmocka_unit_test(the_scan_sees_what_is_charged_to_others),
        cmocka_unit_test(a_census_that_is_stopped_is_busy),
        cmocka_unit_test(a_census_that_is_killed_is_busy),
        cmocka_unit_test(the_child_dies_with_the_helper),
        cmocka_unit_test(a_helper_that_was_killed_is_replaced),
        cmocka_unit_test(one_that_hangs_delays_nobody),
        cmocka_unit_test(a_question_keeps_its_claim),
        cmocka_unit_test(all_claims_are_kept),
        cmocka_unit_test(a_child_of_ours_keeps_no_helper),
        cmocka_unit_test(nonsense_is_unknown),
        cmocka_unit_test(wrong_arguments_are_refused),
        cmocka_unit_test(an_unfit_caller_gets_unknown),
        cmocka_unit_test(a_user_namespace_gets_unknown),
    };

    (void)argc;
    run_isolated(argv);
    return cmocka_run_group_tests(tests, begin, finish);
}
