/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Processes with odd ids, made to be seen, counted and killed. They and whatever kills them live in
 * PID and mount namespaces of their own: run_isolated() comes first in such a program's main(). */
#ifndef UNIT_PROCESSES_H
#define UNIT_PROCESSES_H

#include "common/cleanup.h"
#include "common/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_USEC (30 * USEC_PER_SEC)

/* Each test takes uids of its own, so that a zombie of one is not counted in the next, and each run
 * begins elsewhere: the kernel counts those of another run on this machine too. */
#define TEST_UID_FIRST 2114519040u
#define TEST_UID_STEP 256u
#define TEST_UID_STEPS 255u
#define TEST_UID_LAST (TEST_UID_FIRST + (TEST_UID_STEPS + 1) * TEST_UID_STEP - 1)

#define INSIDE "UIDPOOL_TEST_INSIDE"

static inline uid_t fresh_uids(uint32_t count)
{
    static uid_t next;
    uid_t uid;

    if (next == 0) {
        uint32_t random;

        assert_int_equal(getrandom(&random, sizeof(random), 0), sizeof(random));
        next = TEST_UID_FIRST + random % TEST_UID_STEPS * TEST_UID_STEP;
        print_message("uids from %u\n", next);
    }
    uid = next;
    next += count;
    return uid;
}

/* Run this program again as pid 1 of its own namespace, so that kill(-1) reaches nobody else.
 * Returns there and there alone. */
static inline void run_isolated(char *argv[])
{
    char program[4096] = "";

    if (geteuid() != 0) {
        fputs("SKIP: needs root, for other uids and for namespaces\n", stderr);
        exit(77);
    }
    if (getpid() == 1 && getenv(INSIDE))
        return;
    if (setenv(INSIDE, "1", 1) < 0 || readlink("/proc/self/exe", program, sizeof(program) - 1) < 0)
        abort();
    execlp("unshare", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--", program,
           argv[1], (char *)NULL);
    perror("unshare");
    exit(1);
}

static inline void wait_until(bool (*condition)(void *), void *userdata)
{
    int64_t deadline = clock_monotonic_usec() + PATIENCE_USEC;

    while (!condition(userdata)) {
        assert_true(clock_monotonic_usec() < deadline);
        usleep(1000);
    }
}

/* A life: the ids, what it does before it is looked at, and after. `before` may be NULL; NULL for
 * `after` waits for a signal. Neither may use cmocka. */
struct life {
    uid_t real, effective, saved;
    void (*before)(void);
    void (*after)(void);
};

static inline void must(bool ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    _exit(99);
}

/* Skips the test that calls it where nobody may make one: in a chroot(2), for example. */
static inline void need_user_namespaces(void)
{
    int status = 0;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(unshare(CLONE_NEWUSER) < 0 ? errno : 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (status == 0)
        return;
    print_message("SKIP: no user namespaces here: %s\n", strerror(WEXITSTATUS(status)));
    skip();
}

/* By the system call: glibc's function changes the ids of every thread. */
static inline void set_ids(uid_t real, uid_t effective, uid_t saved)
{
    must(syscall(SYS_setresuid, real, effective, saved) == 0, "setresuid");
}

static inline void pause_forever(void)
{
    for (;;)
        pause();
}

static inline void say_ready(int fd)
{
    must(write(fd, "r", 1) == 1, "write");
}

/* Start it and wait until it is what it shall be. */
static inline pid_t start_life(struct life life)
{
    int ready[2];
    char c = 0;
    pid_t pid;

    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        set_ids(life.real, life.effective, life.saved);
        if (life.before)
            life.before();
        say_ready(ready[1]);
        if (life.after)
            life.after();
        pause_forever();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &c, 1), 1);
    close(ready[0]);
    return pid;
}

static inline pid_t start_as(uid_t real, uid_t effective, uid_t saved)
{
    return start_life((struct life){.real = real, .effective = effective, .saved = saved});
}

static inline pid_t start_plain(uid_t uid)
{
    return start_as(uid, uid, uid);
}

static inline void reap(pid_t pid)
{
    while (waitpid(pid, NULL, 0) < 0)
        assert_int_equal(errno, EINTR);
}

static inline void end(pid_t pid)
{
    assert_int_equal(kill(pid, SIGKILL), 0);
    reap(pid);
}

/* One of our children, not reaped yet. */
static inline bool has_ended(pid_t pid)
{
    siginfo_t info = {0};

    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT), 0);
    return info.si_pid == pid;
}

static inline bool pid_has_ended(void *pid)
{
    return has_ended(*(pid_t *)pid);
}

/* Dead, and nobody has reaped it: reap() it later. */
static inline pid_t start_zombie(uid_t uid)
{
    pid_t pid = start_plain(uid);

    assert_int_equal(kill(pid, SIGKILL), 0);
    wait_until(pid_has_ended, &pid);
    return pid;
}

static inline void *wait_in_thread(void *unused)
{
    pause_forever();
    return unused;
}

static inline void start_thread(void *(*body)(void *))
{
    pthread_t thread;

    must(pthread_create(&thread, NULL, body, NULL) == 0, "pthread_create");
}

static inline void start_two_threads(void)
{
    start_thread(wait_in_thread);
    start_thread(wait_in_thread);
}

/* The leader ends, its threads go on: a zombie whose process lives. */
static inline void end_leader(void)
{
    (void)syscall(SYS_exit, 0);
}

static inline char read_state(pid_t pid)
{
    char path[64], text[512] = "";
    _cleanup_fd_ int fd = -1;
    const char *at;

    (void)snprintf(path, sizeof(path), "/proc/%d/status", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
        return '-';
    at = strstr(text, "\nState:\t");
    return at ? at[strlen("\nState:\t")] : '-';
}

static inline bool is_zombie(void *pid)
{
    return read_state(*(pid_t *)pid) == 'Z';
}

static inline bool is_stopped_or_dead(void *pid)
{
    return strchr("TZ", read_state(*(pid_t *)pid)) != NULL;
}

/* Nothing has killed it, nor is about to: one with SIGKILL pending does not stop, it dies. */
static inline void assert_unharmed(pid_t pid)
{
    assert_int_equal(kill(pid, SIGSTOP), 0);
    wait_until(is_stopped_or_dead, &pid);
    assert_int_equal(read_state(pid), 'T');
    assert_int_equal(kill(pid, SIGCONT), 0);
}

/* Something has, and the test may reap it. */
static inline void assert_killed(pid_t pid)
{
    wait_until(pid_has_ended, &pid);
    reap(pid);
}

/* Run `body` in a child and return its exit status; 0 to 98 are its own. */
static inline int run_in_child(int (*body)(void *), void *userdata)
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(body(userdata));
    while (waitpid(pid, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* How a program ended, and the beginning of what it said on standard error. */
struct ending {
    int status; /* -1: killed */
    char said[512];
};

/* Start it; `before`, if not NULL, runs in the child. It may not use cmocka. */
static inline pid_t start_program(char *argv[], void (*before)(void), int *ret_said)
{
    int said[2];
    pid_t pid;

    assert_int_equal(pipe2(said, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        /* Whoever it becomes may have no way into the build directory. */
        int program = open(argv[0], O_PATH | O_CLOEXEC);

        must(dup2(said[1], STDERR_FILENO) >= 0, "dup2");
        if (before)
            before();
        (void)fexecve(program, argv, environ);
        must(false, argv[0]);
    }
    close(said[1]);
    *ret_said = said[0];
    return pid;
}

static inline struct ending run_program(char *argv[], void (*before)(void))
{
    struct ending o = {.status = -1};
    _cleanup_fd_ int said = -1;
    pid_t pid = start_program(argv, before, &said);
    size_t length = 0;
    int status;
    ssize_t n;

    while ((n = read(said, o.said + length, sizeof(o.said) - 1 - length)) > 0)
        length += (size_t)n;
    while (waitpid(pid, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    if (WIFEXITED(status))
        o.status = WEXITSTATUS(status);
    return o;
}

#endif
