/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * animal KIND --uid=T [--other=X] [--self=PATH]: become one of the processes that are hard to kill,
 * to see or to count, say "ready PID TID KEEPER" on standard output, and stay. KEEPER is the first
 * process of it, perhaps the same. Started by root, inside a PID namespace made for it.
 */
#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static uid_t target, other;
static pid_t keeper;
static const char *self; /* setuid-foreign: a copy of this program that belongs to the target */

_Noreturn static void die(const char *what)
{
    fprintf(stderr, "animal: %s: %s\n", what, strerror(errno));
    _exit(1);
}

static void ready(pid_t pid, pid_t tid)
{
    char text[64];
    int length = snprintf(text, sizeof(text), "ready %d %d %d\n", (int)pid, (int)tid, (int)keeper);

    if (write(STDOUT_FILENO, text, (size_t)length) != length)
        die("write");
}

_Noreturn static void stay(void)
{
    for (;;)
        pause();
}

static void become(uid_t uid)
{
    if (uid == 0 || setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 ||
        setresuid(uid, uid, uid) < 0)
        die("setresuid");
}

static pid_t fork_or_die(void)
{
    pid_t pid = fork();

    if (pid < 0)
        die("fork");
    return pid;
}

static void plain(void)
{
    become(target);
    ready(getpid(), gettid());
}

/* Full when it says ready: whatever dies is replaced at once. */
static void forkbomb(void)
{
    struct rlimit limit = {.rlim_cur = 500, .rlim_max = 500};
    pid_t first = getpid();
    bool full = false;

    if (setrlimit(RLIMIT_NPROC, &limit) < 0)
        die("setrlimit");
    signal(SIGCHLD, SIG_IGN);
    become(target);
    for (;;) {
        if (fork() >= 0 || errno != EAGAIN || full || getpid() != first)
            continue;
        full = true;
        ready(first, first);
    }
}

/* Everything that it may signal dies, whenever it comes: all that has T as real or saved uid. */
static void killer(void)
{
    become(target);
    ready(getpid(), gettid());
    for (;;)
        kill(-1, SIGKILL);
}

static void *stay_in_thread(void *leader_is_dead)
{
    char path[64], line[256] = "";

    /* Until the leader is a zombie, nothing is odd. */
    while (leader_is_dead && !strstr(line, ") Z ")) {
        FILE *stat;

        snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)getpid());
        stat = fopen(path, "re");
        if (!stat || !fgets(line, sizeof(line), stat))
            die(path);
        fclose(stat);
        sched_yield();
    }
    ready(getpid(), gettid());
    stay();
    return NULL;
}

static void dead_leader(void)
{
    pthread_t thread;

    become(target);
    if (pthread_create(&thread, NULL, stay_in_thread, &target) != 0)
        die("pthread_create");
    pthread_exit(NULL);
}

static void nondumpable(void)
{
    become(target);
    if (prctl(PR_SET_DUMPABLE, 0) < 0)
        die("PR_SET_DUMPABLE");
    ready(getpid(), gettid());
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");

    if (!file || fputs(text, file) < 0 || fclose(file) != 0)
        die(path);
}

/* The first process of its own PID namespace, root of its own user namespace, with a /proc of its
 * own and a child. */
static void namespaces(void)
{
    char map[64];
    int ends[2];
    pid_t pid;

    become(target);
    if (pipe(ends) < 0 || prctl(PR_SET_DUMPABLE, 1) < 0 ||
        unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS) < 0)
        die("unshare");
    write_file("/proc/self/setgroups", "deny");
    snprintf(map, sizeof(map), "0 %u 1", target);
    write_file("/proc/self/uid_map", map);
    pid = fork_or_die();
    if (pid == 0) {
        if (setuid(0) < 0 || mount("tmpfs", "/mnt", "tmpfs", 0, NULL) < 0)
            die("mount");
        if (fork_or_die() > 0 && write(ends[1], "", 1) != 1)
            die("write");
        stay();
    }
    if (read(ends[0], map, 1) != 1)
        die("read");
    ready(pid, pid);
}

static void stopped(void)
{
    become(target);
    ready(getpid(), gettid());
    raise(SIGSTOP);
}

/* A child that has become the target, and stays. */
static pid_t child_as_target(void)
{
    int ends[2];
    char byte;
    pid_t pid;

    if (pipe(ends) < 0)
        die("pipe");
    pid = fork_or_die();
    if (pid == 0) {
        become(target);
        if (write(ends[1], "", 1) != 1)
            die("write");
        stay();
    }
    if (close(ends[1]) < 0 || read(ends[0], &byte, 1) != 1)
        die("read");
    return pid;
}

/* A tracer who is root, holds its tracee stopped, and never asks for it again. */
static void ptraced_with(int options)
{
    pid_t pid = child_as_target();

    if (ptrace(PTRACE_SEIZE, pid, NULL, (void *)(intptr_t)options) < 0 ||
        ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) < 0 || waitpid(pid, NULL, __WALL) != pid)
        die("ptrace");
    ready(pid, pid);
}

static void ptraced(void)
{
    ptraced_with(0);
}

/* The same, and the tracee stops once more on its way out. */
static void ptraced_exit(void)
{
    ptraced_with(PTRACE_O_TRACEEXIT);
}

/* X runs a program that is setuid to T, which then gives up its saved id: r=X, e=T, s=X. */
static void setuid_foreign(void)
{
    char uid[32];

    snprintf(uid, sizeof(uid), "--uid=%u", target);
    become(other);
    execl(self ? self : "", "animal", "drop-saved", uid, NULL);
    die("exec");
}

static void drop_saved(void)
{
    uid_t r = 0, e = 0, s = 0;

    if (setresuid(getuid(), geteuid(), getuid()) < 0 || getresuid(&r, &e, &s) < 0)
        die("setresuid");
    if (r == target || e != target || s != r)
        die("the program was not setuid");
    ready(getpid(), gettid());
}

static void root_euid(void)
{
    if (setresuid(0, target, 0) < 0)
        die("setresuid");
    ready(getpid(), gettid());
}

static void *stay_in_foreign_thread(void *unused)
{
    (void)unused;
    if (syscall(SYS_setresuid, target, target, target) < 0)
        die("setresuid");
    return stay_in_thread(NULL);
}

/* A server that takes on ids thread by thread. */
static void root_thread(void)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, stay_in_foreign_thread, NULL) != 0)
        die("pthread_create");
}

static void root_fsuid(void)
{
    setfsuid(target);
    if ((uid_t)setfsuid((uid_t)-1) != target)
        die("setfsuid");
    ready(getpid(), gettid());
}

/* A dead child of a parent of another uid that never reaps. */
static void zombie(void)
{
    siginfo_t info;
    pid_t pid = fork_or_die();

    if (pid == 0) {
        become(target);
        _exit(0);
    }
    become(other);
    if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) < 0)
        die("waitid");
    ready(pid, pid);
}

/* The same, still alive. */
static void never_reaped(void)
{
    pid_t pid = child_as_target();

    become(other);
    ready(pid, pid);
}

static const struct {
    const char *name;
    void (*become)(void);
} kinds[] = {
    {"plain", plain},
    {"forkbomb", forkbomb},
    {"killer", killer},
    {"dead-leader", dead_leader},
    {"nondumpable", nondumpable},
    {"namespaces", namespaces},
    {"stopped", stopped},
    {"ptraced", ptraced},
    {"ptraced-exit", ptraced_exit},
    {"setuid-foreign", setuid_foreign},
    {"drop-saved", drop_saved},
    {"root-euid", root_euid},
    {"root-thread", root_thread},
    {"root-fsuid", root_fsuid},
    {"zombie", zombie},
    {"never-reaped", never_reaped},
};

int main(int argc, char *argv[])
{
    keeper = getpid();
    for (int i = 2; i < argc; i++) {
        if (strncmp(argv[i], "--uid=", 6) == 0)
            target = (uid_t)strtoul(argv[i] + 6, NULL, 10);
        else if (strncmp(argv[i], "--other=", 8) == 0)
            other = (uid_t)strtoul(argv[i] + 8, NULL, 10);
        else if (strncmp(argv[i], "--self=", 7) == 0)
            self = argv[i] + 7;
    }
    for (size_t i = 0; argc > 1 && i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(argv[1], kinds[i].name) == 0 && target != 0) {
            kinds[i].become();
            stay();
        }
    fprintf(stderr, "usage: animal KIND --uid=T [--other=X] [--self=PATH]\n");
    return 2;
}
