/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Starting helpers inside programs that are not ours. Creates processes and waits for its own, by
 * pidfd alone; leaves signal handlers, signal masks and other children of the caller as they were.
 *
 * Why not fork(2): it copies the page tables of a toolstack of gigabytes. Why not posix_spawn(3),
 * or one clone(2) without exit signal: execve(2) resets the exit signal to SIGCHLD, so that a
 * caller that ignores SIGCHLD, or reaps whatever waitpid(-1) finds, takes the status away from us.
 * Only a child that never executes anything stays out of its sight. So a minder stands between:
 * the caller's child, on a small stack of its own in the caller's memory, the helper's parent, and
 * it ends as the helper does.
 */
#include "common/spawn.h"

#include "common/cleanup.h"
#include "common/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define KEEP_MAX 20
#define KEEP_FIRST 3
/* The frames on it are small; the rest is for what sanitizers put there. */
#define STACK_SIZE (64 * 1024)
/* A killed helper that is still not gone after this sleeps in the kernel. */
#define KILL_PATIENCE_MSEC 5000

/* These run outside of any thread that a sanitizer knows of. */
#define UNSANITIZED __attribute__((no_sanitize("address"), no_sanitize("undefined")))

struct minder {
    struct minder *next;
    /* Not 0 while somebody uses this; the kernel sets it to 0 when the minder has left its stack
     * (CLONE_CHILD_CLEARTID). */
    atomic_int in_use;

    /* What to start; the caller waits while this is read. */
    const char *path;
    char *const *argv;
    const int *keep;
    size_t n_keep;
    int report; /* a pipe: 0 when the helper runs, or the negative errno why it could not */
    int error;  /* the same, from helper to minder */

    _Alignas(64) char stack[STACK_SIZE];
    char helper_stack[STACK_SIZE];
};

/* As many as ever ran at once; kept for the next. Nothing is ever taken out of the list. */
static _Atomic(struct minder *) minders;

/* A lock would be held for ever in a forked child of the caller: claim by exchange. */
static struct minder *minder_new(void)
{
    struct minder *m;

    for (m = atomic_load(&minders); m; m = m->next) {
        int expected = 0;

        if (atomic_compare_exchange_strong(&m->in_use, &expected, 1))
            return m;
    }
    m = mmap(NULL, sizeof(*m), PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
    if (m == MAP_FAILED)
        return NULL;
    atomic_store(&m->in_use, 1);
    m->next = atomic_load(&minders);
    while (!atomic_compare_exchange_weak(&minders, &m->next, m))
        ;
    return m;
}

/* Handlers would run on the caller's memory, and ignored signals stay ignored over execve(2). By
 * the bare system call: the C library's may take a lock that another thread of the caller holds,
 * and refuses the two signals it uses itself. The kernel's struct sigaction is not larger. */
UNSANITIZED static void reset_signals(void)
{
    static const struct sigaction default_action = {.sa_handler = SIG_DFL};

    for (int sig = 1; sig < _NSIG; sig++)
        (void)syscall(SYS_rt_sigaction, sig, &default_action, NULL, _NSIG / 8);
}

/* Descriptors 0 to 2, `keep` as 3, 4, ..., nothing else after execve(2). */
UNSANITIZED static int arrange_fds(const int *keep, size_t n_keep)
{
    int moved[KEEP_MAX];
    int null, flags;

    /* First all of them above the places that they will take, for one may be in another's. */
    for (size_t i = 0; i < n_keep; i++) {
        moved[i] = fcntl(keep[i], F_DUPFD_CLOEXEC, KEEP_FIRST + KEEP_MAX);
        if (moved[i] < 0)
            return -errno;
    }
    null = open("/dev/null", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (null < 0)
        return -errno;
    null = fcntl(null, F_DUPFD_CLOEXEC, KEEP_FIRST + KEEP_MAX);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
        return -errno;
    /* In a caller without standard error some other file may have its place, as `null` may here;
     * these are closed on execve(2), or should be. */
    flags = fcntl(STDERR_FILENO, F_GETFD);
    if ((flags < 0 || (flags & FD_CLOEXEC)) && dup2(null, STDERR_FILENO) < 0)
        return -errno;
    for (size_t i = 0; i < n_keep; i++)
        if (dup2(moved[i], KEEP_FIRST + (int)i) < 0)
            return -errno;
    if (close_range(KEEP_FIRST + (unsigned)n_keep, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
        return -errno;
    return 0;
}

/* The helper until it has executed. In the caller's memory: no allocation, no lock, no stdio. */
UNSANITIZED static int run_helper(void *userdata)
{
    static char *const environment[] = {NULL};
    static const sigset_t none;
    struct minder *m = userdata;
    int r;

    r = arrange_fds(m->keep, m->n_keep);
    if (r == 0) {
        (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, _NSIG / 8);
        execve(m->path, m->argv, environment);
        r = -errno;
    }
    m->error = r;
    _exit(127);
}

/* Wait for the helper; SIGTERM kills it. From here on the caller's thread runs too, and shares its
 * errno with us: only system calls that do not fail. */
UNSANITIZED static int wait_for_helper(pid_t pid)
{
    siginfo_t info;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    for (;;) {
        info.si_pid = 0;
        if (syscall(SYS_waitid, P_PID, pid, &info, WEXITED | WNOHANG, NULL) < 0)
            return -1;
        if (info.si_pid == pid)
            return info.si_code == CLD_EXITED ? info.si_status : -1;
        if (syscall(SYS_rt_sigtimedwait, &set, NULL, NULL, _NSIG / 8) == SIGTERM)
            (void)syscall(SYS_kill, pid, SIGKILL);
    }
}

/* Our copies of the caller's descriptors would keep its locks and connections alive: all of them
 * but the one that it waits for go before the caller runs on. */
UNSANITIZED static void close_all(int report)
{
    if (report > 0)
        (void)close_range(0, (unsigned)report - 1, 0);
    (void)close_range((unsigned)report + 1, ~0u, 0);
}

UNSANITIZED static int run_minder(void *userdata)
{
    struct minder *m = userdata;
    int report = m->report;
    int status = 127, error;
    pid_t pid;

    /* Also SIGCHLD, which the caller may ignore: we would lose the helper's status as it would. */
    reset_signals();
    (void)prctl(PR_SET_NAME, "uidpool-minder");
    pid = clone(run_helper, m->helper_stack + STACK_SIZE, CLONE_VM | CLONE_VFORK | SIGCHLD, m);
    if (pid < 0)
        m->error = -errno;
    error = m->error;
    close_all(report);
    (void)!write(report, &error, sizeof(error));
    (void)close(report);

    if (pid > 0)
        status = wait_for_helper(pid);
    if (status < 0)
        (void)syscall(SYS_kill, getpid(), SIGKILL);
    _exit(status);
}

/* 0 if the helper runs, or if somebody killed the minder before it said a word; its pidfd tells.
 * The end of file would not do: a child that another thread of the caller has just forked keeps the
 * pipe's other end open for as long as it executes nothing. */
static int read_report(int fd, int pidfd)
{
    struct pollfd p[] = {{.fd = fd, .events = POLLIN}, {.fd = pidfd, .events = POLLIN}};
    int error = 0;
    ssize_t n;

    do
        n = poll(p, ELEMENTS_OF(p), -1);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    do
        n = read(fd, &error, sizeof(error));
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN ? 0 : -errno;
    return n == (ssize_t)sizeof(error) ? error : 0;
}

/* Returns a pidfd or a negative errno. Called with signals blocked, in a thread that cannot be
 * cancelled: the children share its memory and must not act on either. */
static int start_minder(struct minder *m)
{
    _cleanup_fd_ int wait_fd = -1, report_fd = -1, pidfd = -1;
    int pipe_fds[2];
    int error;

    if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) < 0) {
        error = -errno;
        atomic_store(&m->in_use, 0);
        return error;
    }
    wait_fd = pipe_fds[0];
    report_fd = pipe_fds[1];
    m->report = report_fd;
    m->error = 0;
    if (clone(run_minder, m->stack + STACK_SIZE, CLONE_VM | CLONE_PIDFD | CLONE_CHILD_CLEARTID, m,
              &pidfd, NULL, &m->in_use) < 0) {
        error = -errno;
        atomic_store(&m->in_use, 0);
        return error;
    }
    /* From here on `m` belongs to the minder, and may already be somebody else's. */
    report_fd = close_fd(report_fd);
    error = read_report(wait_fd, pidfd);
    if (error < 0) {
        (void)spawn_wait(pidfd, KILL_PATIENCE_MSEC);
        return error;
    }
    return take_fd(&pidfd);
}

int spawn_helper(const char *path, char *const argv[], const int *keep, size_t n_keep)
{
    sigset_t all, before;
    struct minder *m;
    int cancel, pidfd;

    if (n_keep > KEEP_MAX)
        return -E2BIG;
    m = minder_new();
    if (!m)
        return -ENOMEM;
    m->path = path;
    m->argv = argv;
    m->keep = keep;
    m->n_keep = n_keep;

    sigfillset(&all);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pidfd = start_minder(m);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_setcancelstate(cancel, NULL);
    return pidfd;
}

int spawn_reap(int pidfd)
{
    siginfo_t info;
    int r;

    info.si_pid = 0;
    /* __WALL: a minder has no exit signal, which other waits pass over. */
    do
        r = waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG | __WALL);
    while (r < 0 && errno == EINTR);
    if (r < 0)
        return -errno;
    if (info.si_pid == 0)
        return -EAGAIN;
    return info.si_code == CLD_EXITED ? info.si_status : -ECHILD;
}

/* 0 if it ended in time, -ETIMEDOUT, or another negative errno. */
static int wait_for_end(int pidfd, int timeout_msec)
{
    int64_t deadline = clock_monotonic_usec() + timeout_msec * USEC_PER_MSEC;
    struct pollfd end = {.fd = pidfd, .events = POLLIN};

    for (;;) {
        int64_t left = (deadline - clock_monotonic_usec() + USEC_PER_MSEC - 1) / USEC_PER_MSEC;
        int n = poll(&end, 1, left > 0 ? (int)left : 0);

        if (n > 0)
            return end.revents & POLLNVAL ? -EBADF : 0;
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0 && left <= 0)
            return -ETIMEDOUT;
    }
}

int spawn_kill(int pidfd)
{
    return syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, NULL, 0) < 0 ? -errno : 0;
}

int spawn_wait(int pidfd, int timeout_msec)
{
    int r = wait_for_end(pidfd, timeout_msec);

    if (r == 0)
        return spawn_reap(pidfd);
    if (r != -ETIMEDOUT)
        return r;
    (void)spawn_kill(pidfd);
    if (wait_for_end(pidfd, KILL_PATIENCE_MSEC) == 0)
        (void)spawn_reap(pidfd);
    return -ETIMEDOUT;
}
