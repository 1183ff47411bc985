/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Helpers started inside awkward programs: SIGCHLD ignored, a thread that reaps everything,
 * descriptors in each other's places. This program is its own helper.
 */
#include "common/cleanup.h"
#include "common/ids.h"
#include "common/spawn.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#define PATIENCE_MSEC 30000
#define SELF "/proc/self/exe"

static int start(const char *mode, const char *argument, const int *keep, size_t n_keep)
{
    char *argv[] = {(char *)"helper", (char *)mode, (char *)argument, NULL};

    return spawn_helper(SELF, argv, keep, n_keep);
}

static int run(const char *mode, const char *argument)
{
    _cleanup_fd_ int pidfd = start(mode, argument, NULL, 0);

    assert_true(pidfd >= 0);
    return spawn_wait(pidfd, PATIENCE_MSEC);
}

static void assert_no_children(void)
{
    assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), -1);
    assert_int_equal(errno, ECHILD);
}

static void assert_end_of_file(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char c;

    assert_int_equal(poll(&p, 1, PATIENCE_MSEC), 1);
    assert_int_equal(read(fd, &c, 1), 0);
}

static void test_status(void **state)
{
    (void)state;
    assert_int_equal(run("exit", "0"), 0);
    assert_int_equal(run("exit", "1"), 1);
    assert_int_equal(run("exit", "77"), 77);
    assert_int_equal(run("exit", "255"), 255);
    assert_int_equal(run("die", NULL), -ECHILD);
    assert_no_children();
}

static void test_cannot_run(void **state)
{
    char *argv[] = {(char *)"x", NULL};
    const int bad = 1000000;

    (void)state;
    assert_int_equal(spawn_helper("/nonexistent/helper", argv, NULL, 0), -ENOENT);
    assert_int_equal(spawn_helper("/", argv, NULL, 0), -EACCES);
    assert_int_equal(spawn_helper(SELF, argv, &bad, 1), -EBADF);
    assert_int_equal(spawn_helper(SELF, argv, &bad, 21), -E2BIG);
    assert_no_children();
}

static void test_clean_slate(void **state)
{
    sigset_t set, after;

    (void)state;
    /* What the helper must not inherit. */
    setenv("SPAWN_TEST", "1", 1);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_SETMASK, &set, NULL);

    assert_int_equal(run("check", NULL), 0);

    sigprocmask(SIG_SETMASK, NULL, &after);
    assert_true(sigismember(&after, SIGUSR1));
    assert_false(sigismember(&after, SIGUSR2));
    sigemptyset(&set);
    sigprocmask(SIG_SETMASK, &set, NULL);
    assert_ptr_equal(signal(SIGPIPE, SIG_DFL), SIG_IGN);
    assert_ptr_equal(signal(SIGCHLD, SIG_DFL), SIG_IGN);
}

/* Give four pipes' writing ends as 6, 5, 4 and 3; each must arrive in the place asked for. */
static void test_keep_permuted(void **state)
{
    int ends[4][2], keep[4], saved[4], pidfd;
    char text[2] = "";

    (void)state;
    for (int i = 0; i < 4; i++) {
        saved[i] = fcntl(3 + i, F_DUPFD_CLOEXEC, 50);
        assert_int_equal(pipe2(ends[i], O_CLOEXEC), 0);
        for (int j = 0; j < 2; j++) {
            int high = fcntl(ends[i][j], F_DUPFD_CLOEXEC, 100);

            assert_true(high >= 100);
            close_fd(ends[i][j]);
            ends[i][j] = high;
        }
    }
    for (int i = 0; i < 4; i++) {
        keep[i] = 6 - i;
        assert_true(dup3(ends[i][1], keep[i], O_CLOEXEC) == keep[i]);
        close_fd(ends[i][1]);
    }
    pidfd = start("keep", "4", keep, 4);
    for (int i = 0; i < 4; i++) {
        if (saved[i] < 0)
            close_fd(3 + i);
        else
            assert_true(dup2(saved[i], 3 + i) == 3 + i);
        close_fd(saved[i]);
    }
    assert_true(pidfd >= 0);
    assert_int_equal(spawn_wait(pidfd, PATIENCE_MSEC), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(read(ends[i][0], text, 1), 1);
        assert_int_equal(text[0], '0' + 3 + i);
        assert_end_of_file(ends[i][0]);
        close_fd(ends[i][0]);
    }
    close_fd(pidfd);
}

static void test_keep_one_twice(void **state)
{
    int ends[2], keep[2], pidfd;
    char text[2];

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    keep[0] = keep[1] = ends[1];
    pidfd = start("keep", "2", keep, 2);
    assert_true(pidfd >= 0);
    assert_int_equal(spawn_wait(pidfd, PATIENCE_MSEC), 0);
    assert_int_equal(read(ends[0], text, 2), 2);
    assert_memory_equal(text, "34", 2);
    close_fd(ends[0]);
    close_fd(ends[1]);
    close_fd(pidfd);
}

/* In a caller without standard descriptors these places belong to whatever it opens next. */
static void test_without_standard_fds(void **state)
{
    int saved[3], r;

    (void)state;
    for (int i = 0; i < 3; i++) {
        saved[i] = fcntl(i, F_DUPFD_CLOEXEC, 20);
        assert_true(saved[i] >= 0);
    }
    for (int i = 0; i < 3; i++)
        close_fd(i);
    r = run("check", NULL);
    for (int i = 0; i < 3; i++) {
        (void)dup2(saved[i], i);
        close_fd(saved[i]);
    }
    assert_int_equal(r, 0);
}

static atomic_int sigchld_seen;
static atomic_int stolen;
static atomic_bool stop_reaping;

static void on_sigchld(int sig)
{
    (void)sig;
    atomic_fetch_add(&sigchld_seen, 1);
}

static void *reap_everything(void *userdata)
{
    (void)userdata;
    while (!atomic_load(&stop_reaping)) {
        if (waitpid(-1, NULL, 0) > 0)
            atomic_fetch_add(&stolen, 1);
        sched_yield();
    }
    return NULL;
}

static void test_caller_that_reaps(void **state)
{
    pthread_t thread;

    (void)state;
    signal(SIGCHLD, on_sigchld);
    assert_int_equal(pthread_create(&thread, NULL, reap_everything, NULL), 0);
    for (int i = 0; i < 100; i++)
        assert_int_equal(run("exit", "5"), 5);
    atomic_store(&stop_reaping, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(atomic_load(&sigchld_seen), 0);
    assert_int_equal(atomic_load(&stolen), 0);
    signal(SIGCHLD, SIG_DFL);
}

static void test_caller_that_ignores(void **state)
{
    (void)state;
    signal(SIGCHLD, SIG_IGN);
    for (int i = 0; i < 100; i++)
        assert_int_equal(run("exit", "6"), 6);
    signal(SIGCHLD, SIG_DFL);
    assert_no_children();
}

#define FORKS 400

struct forker {
    atomic_bool stop;
    pid_t children[FORKS];
    size_t n;
};

/* Children that execute nothing, and so keep what we had open when they were made. */
static void *fork_often(void *userdata)
{
    struct forker *f = userdata;

    while (!f->stop && f->n < FORKS) {
        f->children[f->n] = fork();
        if (f->children[f->n] == 0) {
            for (;;)
                pause();
        }
        assert_true(f->children[f->n] > 0);
        f->n++;
    }
    return NULL;
}

static void too_late(int sig)
{
    (void)sig;
    _exit(1);
}

/* Waiting for all ends of a pipe to be closed would be waiting for these children. The alarm is
 * another thread's: whoever starts a helper has all signals blocked. */
static void test_caller_that_forks(void **state)
{
    struct forker f = {.stop = false};
    pthread_t thread;

    (void)state;
    (void)signal(SIGALRM, too_late);
    (void)alarm(PATIENCE_MSEC / 1000);
    assert_int_equal(pthread_create(&thread, NULL, fork_often, &f), 0);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(run("exit", "7"), 7);
    f.stop = true;
    assert_int_equal(pthread_join(thread, NULL), 0);
    (void)alarm(0);
    (void)signal(SIGALRM, SIG_DFL);
    for (size_t i = 0; i < f.n; i++) {
        assert_int_equal(kill(f.children[i], SIGKILL), 0);
        assert_int_equal(waitpid(f.children[i], NULL, 0), f.children[i]);
    }
    assert_no_children();
}

static void test_late(void **state)
{
    int ends[2], pidfd;

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pidfd = start("hang", NULL, &ends[1], 1);
    assert_true(pidfd >= 0);
    close_fd(ends[1]);
    assert_int_equal(spawn_reap(pidfd), -EAGAIN);
    assert_int_equal(spawn_wait(pidfd, 50), -ETIMEDOUT);
    /* The helper itself is gone, not the minder alone. */
    assert_end_of_file(ends[0]);
    close_fd(ends[0]);
    close_fd(pidfd);
    assert_no_children();
}

static void test_killed(void **state)
{
    int pidfd = start("hang", NULL, NULL, 0);

    (void)state;
    assert_true(pidfd >= 0);
    assert_int_equal(spawn_kill(pidfd), 0);
    assert_int_equal(spawn_wait(pidfd, PATIENCE_MSEC), -ECHILD);
    assert_int_equal(spawn_kill(pidfd), -ESRCH);
    close_fd(pidfd);
}

/* Whatever the caller has open must not live on in the minder or the helper. */
static void test_holds_nothing(void **state)
{
    int ends[2], pidfd;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    pidfd = start("hang", NULL, NULL, 0);
    assert_true(pidfd >= 0);
    close_fd(ends[1]);
    assert_end_of_file(ends[0]);
    assert_int_equal(spawn_reap(pidfd), -EAGAIN);
    assert_int_equal(spawn_wait(pidfd, 0), -ETIMEDOUT);
    close_fd(ends[0]);
    close_fd(pidfd);
}

/* Kilobytes of address space. */
static size_t address_space(void)
{
    _cleanup_file_ FILE *f = fopen("/proc/self/statm", "re");
    char text[64] = "";
    uint64_t pages = 0;

    assert_non_null(f);
    assert_non_null(fgets(text, sizeof(text), f));
    text[strcspn(text, " ")] = '\0';
    assert_int_equal(parse_u64(text, UINT64_MAX, &pages), 0);
    return pages * (size_t)sysconf(_SC_PAGESIZE) / 1024;
}

static void test_many_at_once(void **state)
{
    enum { N = 100 };
    int pidfds[N];
    char number[16];
    size_t before = 0, after;

    (void)state;
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < N; i++) {
            snprintf(number, sizeof(number), "%d", i);
            pidfds[i] = start("exit", number, NULL, 0);
            assert_true(pidfds[i] >= 0);
        }
        for (int i = 0; i < N; i++) {
            assert_int_equal(spawn_wait(pidfds[i], PATIENCE_MSEC), i);
            close_fd(pidfds[i]);
        }
        if (round == 0)
            before = address_space();
    }
    /* Stacks, of 129 KiB, are used again: at most one for each that ever ran at once. */
    after = address_space();
    assert_true(after <= before + N * 160);
    assert_no_children();
}

static void *run_some(void *userdata)
{
    size_t *failures = userdata;

    for (int i = 0; i < 50; i++) {
        char number[16];
        int pidfd, r;

        snprintf(number, sizeof(number), "%d", i);
        pidfd = start("exit", number, NULL, 0);
        r = pidfd < 0 ? pidfd : spawn_wait(pidfd, PATIENCE_MSEC);
        close_fd(pidfd);
        if (r != i) {
            ++*failures;
            break;
        }
    }
    return NULL;
}

static void test_threads(void **state)
{
    enum { N = 8 };
    pthread_t threads[N];
    size_t failures[N] = {0};

    (void)state;
    for (int i = 0; i < N; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_some, &failures[i]), 0);
    for (int i = 0; i < N; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(failures[i], 0);
    }
}

/*
 * The helper's side: exit statuses name what was wrong.
 */
static bool is_null_device(int fd)
{
    struct stat st, null;

    return fstat(fd, &st) == 0 && stat("/dev/null", &null) == 0 && S_ISCHR(st.st_mode) &&
           st.st_rdev == null.st_rdev;
}

static int highest_fd(void)
{
    _cleanup_dir_ DIR *d = opendir("/proc/self/fd");
    struct dirent *e;
    int highest = -1;

    if (!d)
        return 1000;
    while ((e = readdir(d))) {
        uint64_t fd;

        if (parse_u64(e->d_name, INT32_MAX, &fd) == 0 && (int)fd != dirfd(d) && (int)fd > highest)
            highest = (int)fd;
    }
    return highest;
}

static int helper_check(void)
{
    sigset_t mask;
    struct sigaction action;

    if (!is_null_device(0) || !is_null_device(1))
        return 2;
    if (fcntl(2, F_GETFD) < 0)
        return 3;
    if (highest_fd() != 2)
        return 4;
    /* A sanitizer adds variables of its own. */
    if (getenv("SPAWN_TEST") || getenv("PATH"))
        return 5;
    sigprocmask(SIG_SETMASK, NULL, &mask);
    for (int sig = 1; sig <= SIGRTMAX; sig++)
        if (sigismember(&mask, sig) > 0)
            return 6;
    if (sigaction(SIGPIPE, NULL, &action) < 0 || action.sa_handler != SIG_DFL ||
        sigaction(SIGCHLD, NULL, &action) < 0 || action.sa_handler != SIG_DFL)
        return 7;
    return 0;
}

static int helper_keep(uint64_t n)
{
    if (highest_fd() != 2 + (int)n)
        return 8;
    for (int fd = 3; fd < 3 + (int)n; fd++) {
        char c = (char)('0' + fd);

        if (write(fd, &c, 1) != 1)
            return 9;
    }
    return 0;
}

static int helper_main(const char *mode, const char *argument)
{
    uint64_t number = 0;

    if (argument && parse_u64(argument, 255, &number) < 0)
        return 10;
    if (strcmp(mode, "exit") == 0)
        return (int)number;
    if (strcmp(mode, "check") == 0)
        return helper_check();
    if (strcmp(mode, "keep") == 0)
        return helper_keep(number);
    if (strcmp(mode, "die") == 0)
        raise(SIGKILL);
    if (strcmp(mode, "hang") == 0)
        for (;;)
            pause();
    return 11;
}

int main(int argc, char *argv[])
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_cannot_run),
        cmocka_unit_test(test_clean_slate),
        cmocka_unit_test(test_keep_permuted),
        cmocka_unit_test(test_keep_one_twice),
        cmocka_unit_test(test_without_standard_fds),
        cmocka_unit_test(test_caller_that_reaps),
        cmocka_unit_test(test_caller_that_ignores),
        cmocka_unit_test(test_caller_that_forks),
        cmocka_unit_test(test_late),
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_holds_nothing),
        cmocka_unit_test(test_many_at_once),
        cmocka_unit_test(test_threads),
    };

    if (argc > 1)
        return helper_main(argv[1], argc > 2 ? argv[2] : NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
