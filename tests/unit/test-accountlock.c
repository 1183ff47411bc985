/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Both families of locks: that they keep off the real tools and are kept off by them, and that what
 * those leave when they are killed is taken over, and nothing else. In a mount namespace of its own
 * with a tmpfs over /etc, which is this test's alone.
 */
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/lockfile.h"
#include "provision/alive.h"
#include "provision/files.h"
#include "provision/lock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <shadow.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define LIMIT 30 /* seconds after which waiting for a condition has failed */
#define STRANGER 2115000102u

static char top[] = "/tmp/test-accountlock-XXXXXX";

/*
 * Programs.
 */
static pid_t start(const char *const argv[])
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);

        if (dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0)
            _exit(126);
        execvp(argv[0], (char *const *)argv);
        _exit(127);
    }
    return pid;
}

static int finish(pid_t pid)
{
    int status = -1;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

#define RUN(...) finish(start((const char *const[]){__VA_ARGS__, NULL}))

static void stop(pid_t pid)
{
    assert_int_equal(kill(pid, SIGKILL), 0);
    (void)finish(pid);
}

/* One that only lives. */
static pid_t start_sleeper(void)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        for (;;)
            pause();
    return pid;
}

static pid_t dead_pid(void)
{
    pid_t pid = start_sleeper();

    stop(pid);
    return pid;
}

static bool read_line(const char *path, char *buf, size_t size)
{
    _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);

    if (n < 0)
        return false;
    buf[n] = '\0';
    return true;
}

/* Until the process is in that system call. */
static void wait_for_call(pid_t pid, long call)
{
    int64_t deadline = clock_monotonic_usec() + LIMIT * USEC_PER_SEC;
    char path[64], wanted[32], now[256];

    snprintf(path, sizeof(path), "/proc/%d/syscall", (int)pid);
    snprintf(wanted, sizeof(wanted), "%ld ", call);
    do {
        assert_true(clock_monotonic_usec() < deadline);
        sched_yield();
    } while (!read_line(path, now, sizeof(now)) || strncmp(now, wanted, strlen(wanted)) != 0);
}

/* Until somebody has made the file. */
static void wait_for_file(const char *path)
{
    int64_t deadline = clock_monotonic_usec() + LIMIT * USEC_PER_SEC;

    while (access(path, F_OK) < 0) {
        assert_true(clock_monotonic_usec() < deadline);
        sched_yield();
    }
}

/*
 * /etc.
 */
static void make_file(const char *path, const void *data, size_t size)
{
    _cleanup_fd_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

    if (fd < 0)
        fail_msg("%s: %s", path, strerror(errno));
    assert_int_equal(write(fd, data, size), size);
}

static void make_text(const char *path, const char *text)
{
    make_file(path, text, strlen(text));
}

static void set_mtime(const char *path, int64_t usec)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}};

    times[1].tv_sec = usec / USEC_PER_SEC;
    times[1].tv_nsec = usec % USEC_PER_SEC * 1000;
    assert_int_equal(utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW), 0);
}

/* As shadow writes it. */
static void make_lock(const char *path, pid_t pid)
{
    char text[32];

    make_file(path, text, (size_t)snprintf(text, sizeof(text), "%d", (int)pid) + 1);
}

static void mount_etc(const char *options)
{
    (void)umount2("/etc", MNT_DETACH);
    if (mount("tmpfs", "/etc", "tmpfs", 0, options) < 0)
        fail_msg("cannot mount a tmpfs: %s", strerror(errno));
}

/* A copy of what this machine has, with nobody asked but the files. */
static int make_etc(void **state)
{
    char from[PATH_MAX];

    (void)state;
    mount_etc("mode=755");
    snprintf(from, sizeof(from), "%s/.", top);
    assert_int_equal(RUN("cp", "-a", from, "/etc"), 0);
    return 0;
}

static int is_entry(const struct dirent *d)
{
    return strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0;
}

struct text {
    char *data;
    size_t size;
};

static void text_end(struct text *t)
{
    free(t->data);
}

/* Names, with what tells one file from another. */
static struct text take_snapshot(void)
{
    struct text text = {0};
    struct dirent **entries = NULL;
    FILE *to = open_memstream(&text.data, &text.size);
    int n = scandir("/etc", &entries, is_entry, alphasort);

    assert_non_null(to);
    assert_true(n >= 0);
    for (int i = 0; i < n; i++) {
        char path[PATH_MAX];
        struct stat st;

        snprintf(path, sizeof(path), "/etc/%s", entries[i]->d_name);
        assert_int_equal(lstat(path, &st), 0);
        fprintf(to, "%s ino=%ju links=%ju size=%jd mtime=%jd.%ld\n", entries[i]->d_name,
                (uintmax_t)st.st_ino, (uintmax_t)st.st_nlink, (intmax_t)st.st_size,
                (intmax_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
        free(entries[i]);
    }
    free(entries);
    assert_int_equal(fclose(to), 0);
    return text;
}

static void assert_unchanged(const struct text *before)
{
    _cleanup_(text_end) struct text now = take_snapshot();

    assert_string_equal(now.data, before->data);
}

/*
 * Locks.
 */
static const char *const file_locks[] = {"/etc/passwd.lock", "/etc/group.lock",
                                         "/etc/shadow.lock", "/etc/gshadow.lock",
                                         "/etc/subuid.lock", "/etc/subgid.lock"};

static struct account_lock *take(uint32_t timeout)
{
    struct account_lock *l = NULL;
    struct problem p = {0};

    if (account_lock_take(timeout, NULL, NULL, &l, &p) != UIDPOOL_OK)
        fail_msg("%s", p.text);
    return l;
}

static struct account_lock *share(uint32_t timeout)
{
    struct account_lock *l = NULL;
    struct problem p = {0};

    if (account_lock_share(timeout, NULL, NULL, &l, &p) != UIDPOOL_OK)
        fail_msg("%s", p.text);
    return l;
}

static void assert_says(const struct problem *p, const char *words)
{
    if (!strstr(p->text, words))
        fail_msg("\"%s\" does not say \"%s\"", p->text, words);
}

static void assert_take_refused(enum uidpool_status wanted, const char *words)
{
    struct account_lock *l = NULL;
    struct problem p = {0};

    assert_int_equal(account_lock_take(0, NULL, NULL, &l, &p), wanted);
    assert_int_equal(p.status, wanted);
    assert_null(l);
    assert_says(&p, words);
}

/* Refused, and nothing is otherwise than before. */
static void assert_take_changes_nothing(enum uidpool_status wanted, const char *words)
{
    _cleanup_(text_end) struct text before = take_snapshot();

    assert_take_refused(wanted, words);
    assert_unchanged(&before);
}

static void assert_none_held(void)
{
    for (size_t i = 0; i < ELEMENTS_OF(file_locks); i++)
        if (access(file_locks[i], F_OK) == 0)
            fail_msg("%s is there", file_locks[i]);
}

static void assert_all_held(void)
{
    char text[64], wanted[32];

    snprintf(wanted, sizeof(wanted), "%d", (int)getpid());
    for (size_t i = 0; i < ELEMENTS_OF(file_locks); i++) {
        struct stat st;

        assert_true(read_line(file_locks[i], text, sizeof(text)));
        assert_string_equal(text, wanted);
        assert_int_equal(stat(file_locks[i], &st), 0);
        assert_int_equal(st.st_size, strlen(wanted) + 1);
        assert_int_equal(st.st_mode, S_IFREG | 0600);
        assert_int_equal(st.st_nlink, ELEMENTS_OF(file_locks));
    }
}

static void assert_no_leftovers(const struct account_lock *l)
{
    const struct leftover *found = NULL;

    if (account_lock_leftovers(l, &found) > 0)
        fail_msg("%s: %s", found[0].path, found[0].why);
}

static void assert_leftover(const struct account_lock *l, const char *path, const char *why)
{
    const struct leftover *found = NULL;
    size_t n = account_lock_leftovers(l, &found);

    assert_int_equal(n, 1);
    assert_string_equal(found[0].path, path);
    if (!strstr(found[0].why, why))
        fail_msg("%s: \"%s\" is not \"%s\"", path, found[0].why, why);
}

/* Both kinds of lock report it, and taking removes it. */
static void assert_taken_over(const char *path, const char *why)
{
    struct account_lock *l;
    struct stat before, st;

    assert_int_equal(stat(path, &before), 0);
    close_fd(open("/etc/.pwd.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    l = share(0);
    assert_leftover(l, path, why);
    account_lock_free(l);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_ino, before.st_ino);
    l = take(0);
    assert_leftover(l, path, why);
    assert_all_held();
    account_lock_free(l);
    assert_none_held();
}

static void test_take(void **state)
{
    _cleanup_(text_end) struct text before = {0};
    struct account_lock *l = take(0);
    struct stat st;
    char path[64];

    (void)state;
    assert_all_held();
    assert_no_leftovers(l);
    assert_int_equal(lstat("/etc/.pwd.lock", &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0600);
    assert_take_refused(UIDPOOL_FAILED, "another program holds /etc/.pwd.lock");
    assert_all_held();
    account_lock_free(l);
    assert_none_held();
    assert_int_equal(access("/etc/.pwd.lock", F_OK), 0);

    /* Somebody had our number, and was killed. */
    before = take_snapshot();
    snprintf(path, sizeof(path), "/etc/passwd.%d", (int)getpid());
    make_lock(path, getpid());
    account_lock_free(take(0));
    assert_unchanged(&before);
    account_lock_free(NULL);
}

/* A lock that somebody has put in our lock's place stays. */
static void test_release_only_ours(void **state)
{
    struct account_lock *l = take(0);

    (void)state;
    assert_int_equal(unlink("/etc/group.lock"), 0);
    make_text("/etc/group.lock", "theirs");
    assert_int_equal(unlink("/etc/subuid.lock"), 0);
    account_lock_free(l);
    assert_int_equal(unlink("/etc/group.lock"), 0);
    assert_none_held();
}

/*
 * The first family, against libc's own.
 */

/* Holds .pwd.lock by lckpwdf(3), says so, and stays. */
static pid_t start_libc_holder(void)
{
    int ends[2];
    pid_t pid;
    char c;

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (lckpwdf() < 0 || write(ends[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close_fd(ends[1]);
    assert_int_equal(read(ends[0], &c, 1), 1);
    close_fd(ends[0]);
    return pid;
}

static void test_libc_holds(void **state)
{
    pid_t pid = start_libc_holder();
    char words[128];

    (void)state;
    snprintf(words, sizeof(words), "process %d (test-accountloc) holds /etc/.pwd.lock", (int)pid);
    assert_take_changes_nothing(UIDPOOL_FAILED, words);
    stop(pid);
    account_lock_free(take(0));
}

/* All of it, not some byte of it. */
static void test_whole_file(void **state)
{
    int fd = open("/etc/.pwd.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    (void)state;
    assert_int_equal(lockfile_try(fd, 1000, 1), 0);
    assert_take_changes_nothing(UIDPOOL_FAILED, "another program holds /etc/.pwd.lock");
    close_fd(fd);
    account_lock_free(take(0));
}

/* The child must not have been born with our lock, which would be its own too. */
static void test_libc_waits(void **state)
{
    struct account_lock *l;
    int ends[2];
    pid_t pid;
    char c;

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (read(ends[0], &c, 1) != 1)
            _exit(3);
        _exit(lckpwdf() < 0 ? 1 : access("/etc/passwd.lock", F_OK) < 0 ? 0 : 2);
    }
    l = take(0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    wait_for_call(pid, SYS_fcntl);
    account_lock_free(l);
    assert_int_equal(finish(pid), 0);
    close_fd(ends[0]);
    close_fd(ends[1]);
}

/* The kernel does not say whose locks of our kind are. */
static void test_we_hold(void **state)
{
    char words[128], c;
    int ends[2];
    pid_t pid;

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)take(0);
        if (write(ends[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close_fd(ends[1]);
    assert_int_equal(read(ends[0], &c, 1), 1);
    close_fd(ends[0]);
    snprintf(words, sizeof(words), "process %d (test-accountloc) holds /etc/.pwd.lock", (int)pid);
    assert_take_changes_nothing(UIDPOOL_FAILED, words);
    stop(pid);
    account_lock_free(take(0));
}

struct word {
    unsigned said;
    pid_t to_kill;
    char text[512];
    bool held_one;
    int64_t at[8];
};

static void hear(const char *text, void *userdata)
{
    struct word *w = userdata;

    snprintf(w->text, sizeof(w->text), "%s", text);
    if (w->said < ELEMENTS_OF(w->at))
        w->at[w->said] = clock_monotonic_usec();
    w->said++;
    w->held_one = access("/etc/passwd.lock", F_OK) == 0;
    if (w->said == 2 && w->to_kill > 0)
        stop(w->to_kill);
}

/* It is told for whom we wait, once a second, and goes on as soon as that one is gone. */
static void test_waiting(void **state)
{
    struct word word = {.to_kill = start_libc_holder()};
    struct account_lock *l = NULL;
    struct problem p = {0};
    char words[128];

    (void)state;
    snprintf(words, sizeof(words), "waiting: process %d (test-accountloc) holds /etc/.pwd.lock",
             (int)word.to_kill);
    assert_int_equal(account_lock_take(LIMIT, hear, &word, &l, &p), UIDPOOL_OK);
    assert_int_equal(word.said, 2);
    assert_string_equal(word.text, words);
    assert_true(word.at[1] - word.at[0] >= USEC_PER_SEC);
    assert_all_held();
    account_lock_free(l);
}

/* Nor longer than told. */
static void test_deadline(void **state)
{
    struct word word = {0};
    struct account_lock *l = NULL;
    struct problem p = {0};
    pid_t pid = start_libc_holder();
    int64_t begin = clock_monotonic_usec(), took;

    (void)state;
    assert_int_equal(account_lock_take(2, hear, &word, &l, &p), UIDPOOL_FAILED);
    took = clock_monotonic_usec() - begin;
    assert_true(took >= 2 * USEC_PER_SEC && took < LIMIT * USEC_PER_SEC);
    assert_says(&p, "did so for 2 s");
    assert_int_equal(account_lock_share(0, hear, &word, &l, &p), UIDPOOL_FAILED);
    assert_says(&p, "holds /etc/.pwd.lock");
    stop(pid);
}

/*
 * The second family.
 */
static void test_dead_locks(void **state)
{
    static const char *const texts[] = {
        "", "garbage", "0", "-1", "12 ", "\n", "007", "1x", "99999999999999", "4294967297"};
    pid_t sleeper = start_sleeper(), zombie = start_sleeper();
    char why[128];

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(texts); i++) {
        make_text(file_locks[i % ELEMENTS_OF(file_locks)], texts[i]);
        assert_taken_over(file_locks[i % ELEMENTS_OF(file_locks)], "holds no process's number");
    }
    make_text("/etc/passwd.lock", "11111111111111111111111111111111111111111111");
    assert_taken_over("/etc/passwd.lock", "holds no process's number");

    make_lock("/etc/gshadow.lock", INT32_MAX);
    assert_taken_over("/etc/gshadow.lock", "a lock of process 2147483647, which is gone");
    make_lock("/etc/gshadow.lock", dead_pid());
    assert_taken_over("/etc/gshadow.lock", "which is gone");
    make_lock("/etc/gshadow.lock", getpid());
    assert_taken_over("/etc/gshadow.lock", "the number is another's now");
    make_lock("/etc/subgid.lock", sleeper);
    set_mtime("/etc/subgid.lock", clock_wall_usec() - 3600 * USEC_PER_SEC);
    assert_taken_over("/etc/subgid.lock", "which is gone; the number is another's now");

    /* Dead, and not waited for. */
    assert_int_equal(kill(zombie, SIGKILL), 0);
    assert_int_equal(waitid(P_PID, (id_t)zombie, NULL, WEXITED | WNOWAIT), 0);
    make_lock("/etc/passwd.lock", zombie);
    snprintf(why, sizeof(why), "a lock of process %d, which is gone", (int)zombie);
    assert_taken_over("/etc/passwd.lock", why);
    (void)finish(zombie);
    stop(sleeper);
}

static _Noreturn void *sit(void *userdata)
{
    _Atomic pid_t *tid = userdata;

    *tid = gettid();
    for (;;)
        pause();
}

/* A number that is in use, but not by a process: kill(2) would say that it lives. */
static void test_number_of_no_process(void **state)
{
    pthread_t thread;
    _Atomic pid_t tid = 0;
    pid_t leader, member;
    int ends[2];
    char c;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, sit, &tid), 0);
    while (tid == 0)
        sched_yield();
    assert_int_equal(kill(tid, 0), 0);
    make_lock("/etc/passwd.lock", tid);
    assert_taken_over("/etc/passwd.lock", "which is gone");
    assert_int_equal(pthread_cancel(thread), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);

    /* A process group whose leader is dead. */
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    leader = fork();
    assert_true(leader >= 0);
    if (leader == 0) {
        if (setpgid(0, 0) < 0)
            _exit(1);
        member = fork();
        if (member == 0) {
            close_fd(ends[0]);
            for (;;)
                pause();
        }
        if (write(ends[1], &member, sizeof(member)) != sizeof(member))
            _exit(1);
        _exit(0);
    }
    assert_int_equal(read(ends[0], &member, sizeof(member)), sizeof(member));
    assert_int_equal(finish(leader), 0);
    assert_int_equal(kill(-leader, 0), 0);
    make_lock("/etc/passwd.lock", leader);
    assert_taken_over("/etc/passwd.lock", "which is gone");
    assert_int_equal(kill(member, SIGKILL), 0);
    close_fd(ends[1]);
    assert_int_equal(read(ends[0], &c, 1), 0);
    close_fd(ends[0]);
}

static void assert_respected(const char *path, pid_t pid)
{
    char words[128];

    snprintf(words, sizeof(words), "process %d", (int)pid);
    assert_take_refused(UIDPOOL_FAILED, words);
    assert_take_changes_nothing(UIDPOOL_FAILED, path);
    account_lock_free(share(0));
    assert_int_equal(unlink(path), 0);
}

static void test_living_locks(void **state)
{
    pid_t pid = start_sleeper();
    char text[64];

    (void)state;
    account_lock_free(take(0));
    for (size_t i = 0; i < ELEMENTS_OF(file_locks); i++) {
        make_lock(file_locks[i], pid);
        assert_respected(file_locks[i], pid);
    }
    /* By hand. */
    snprintf(text, sizeof(text), "%d\n", (int)pid);
    make_text("/etc/group.lock", text);
    assert_respected("/etc/group.lock", pid);
    snprintf(text, sizeof(text), "%d", (int)pid);
    make_text("/etc/group.lock", text);
    assert_respected("/etc/group.lock", pid);
    /* Shadow reads to the NUL. */
    memset(text + strlen(text) + 1, 'x', 9);
    make_file("/etc/group.lock", text, strlen(text) + 10);
    assert_respected("/etc/group.lock", pid);

    /* Where times have no fractions the lock may look older than its maker. */
    make_lock("/etc/group.lock", pid);
    set_mtime("/etc/group.lock", (clock_wall_usec() / USEC_PER_SEC - 1) * USEC_PER_SEC);
    assert_respected("/etc/group.lock", pid);
    /* The clock was set back. */
    make_lock("/etc/group.lock", pid);
    set_mtime("/etc/group.lock", clock_wall_usec() + 86400 * USEC_PER_SEC);
    assert_respected("/etc/group.lock", pid);
    stop(pid);
}

/* While somebody else has one of them, we have none, and wait. */
static void test_waiting_for_file(void **state)
{
    struct word word = {.to_kill = start_sleeper()};
    struct account_lock *l = NULL;
    struct problem p = {0};
    char words[128];

    (void)state;
    make_lock("/etc/subgid.lock", word.to_kill);
    snprintf(words, sizeof(words), "waiting: process %d (test-accountloc) holds /etc/subgid.lock",
             (int)word.to_kill);
    assert_int_equal(account_lock_take(LIMIT, hear, &word, &l, &p), UIDPOOL_OK);
    assert_string_equal(word.text, words);
    assert_false(word.held_one);
    assert_leftover(l, "/etc/subgid.lock", "which is gone");
    assert_all_held();
    account_lock_free(l);
}

/* What cannot be shadow's. */
static void test_no_locks(void **state)
{
    (void)state;
    account_lock_free(take(0));
    assert_int_equal(symlink("passwd", "/etc/shadow.lock"), 0);
    assert_take_changes_nothing(UIDPOOL_FAILED, "/etc/shadow.lock is no regular file; remove it");
    assert_int_equal(unlink("/etc/shadow.lock"), 0);
    assert_int_equal(mkdir("/etc/shadow.lock", 0700), 0);
    assert_take_changes_nothing(UIDPOOL_FAILED, "/etc/shadow.lock is no regular file; remove it");
    assert_int_equal(rmdir("/etc/shadow.lock"), 0);
    assert_int_equal(mkfifo("/etc/shadow.lock", 0600), 0);
    assert_take_changes_nothing(UIDPOOL_FAILED, "/etc/shadow.lock is no regular file; remove it");
    assert_int_equal(unlink("/etc/shadow.lock"), 0);

    assert_int_equal(chmod("/etc/.pwd.lock", 0666), 0);
    assert_take_changes_nothing(UIDPOOL_NOT_PERMITTED, "nobody else may write");
    assert_int_equal(unlink("/etc/.pwd.lock"), 0);
    assert_int_equal(symlink("passwd", "/etc/.pwd.lock"), 0);
    assert_take_changes_nothing(UIDPOOL_NOT_PERMITTED, "nobody else may write");
    account_lock_free(share(0));
}

/*
 * Other places: without /proc, with somebody else's, read-only, full.
 */
static void test_without_proc(void **state)
{
    int64_t since_boot = clock_boot_usec();
    pid_t pid = start_sleeper();

    (void)state;
    account_lock_free(take(0));
    assert_int_equal(umount2("/proc", MNT_DETACH), 0);
    make_lock("/etc/passwd.lock", pid);
    set_mtime("/etc/passwd.lock", clock_wall_usec() - since_boot / 2);
    assert_respected("/etc/passwd.lock", pid);
    make_lock("/etc/passwd.lock", pid);
    assert_take_refused(UIDPOOL_FAILED, "holds /etc/passwd.lock");
    /* It did not begin before the kernel. */
    set_mtime("/etc/passwd.lock", clock_wall_usec() - since_boot - 5 * USEC_PER_SEC);
    assert_taken_over("/etc/passwd.lock", "the number is another's now");
    make_lock("/etc/passwd.lock", dead_pid());
    assert_taken_over("/etc/passwd.lock", "which is gone");
    assert_int_equal(mount("proc", "/proc", "proc", 0, NULL), 0);
    stop(pid);
}

/* In a PID namespace of its own, with the /proc of this one: whoever has the same number here is
 * not asked. Exit status for the parent. */
static int judge_by_foreign_proc(pid_t number)
{
    struct timespec since = {.tv_sec = clock_wall_usec() / USEC_PER_SEC - 10};
    char text[32], name[64];
    pid_t pid;
    int fd;

    fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
    snprintf(text, sizeof(text), "%d", (int)number - 1);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        return 77;
    pid = fork();
    if (pid == 0)
        for (;;)
            pause();
    if (pid != number || getpid() != 1)
        return 2;
    if (strchr(process_text(number, name, sizeof(name)), '('))
        return 3;
    return fate_of_writer(number, since) == FATE_ALIVE ? 0 : 4;
}

static void test_foreign_proc(void **state)
{
    pid_t same = start_sleeper(), child;
    struct timespec since = {.tv_sec = clock_wall_usec() / USEC_PER_SEC - 10};
    int status;

    (void)state;
    assert_true(clock_boot_usec() > 20 * USEC_PER_SEC);
    assert_int_equal(fate_of_writer(same, since), FATE_ANOTHER);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        pid_t init;

        if (unshare(CLONE_NEWPID) < 0)
            _exit(77);
        init = fork();
        if (init == 0)
            _exit(judge_by_foreign_proc(same));
        if (waitpid(init, &status, 0) != init || !WIFEXITED(status))
            _exit(1);
        _exit(WEXITSTATUS(status));
    }
    status = finish(child);
    stop(same);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        print_message("SKIP: no PID namespace in which to choose a pid\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* Whatever a process calls itself. */
static void test_names_of_processes(void **state)
{
    static const char *const names[] = {"a) S 1 1", "((((", "x\ny z", ") R 7 7 7 7 7"};
    char text[128];

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(names); i++) {
        struct timespec now, before;
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0) {
            (void)prctl(PR_SET_NAME, names[i]);
            for (;;)
                pause();
        }
        wait_for_call(pid, SYS_pause);
        assert_int_equal(clock_gettime(CLOCK_REALTIME, &now), 0);
        before = (struct timespec){.tv_sec = now.tv_sec - 5, .tv_nsec = 1};
        assert_int_equal(fate_of_writer(pid, now), FATE_ALIVE);
        assert_int_equal(fate_of_writer(pid, before), FATE_ANOTHER);
        before.tv_sec = INT64_MIN;
        assert_int_equal(fate_of_writer(pid, before), FATE_ANOTHER);
        before.tv_sec = INT64_MAX;
        assert_int_equal(fate_of_writer(pid, before), FATE_ALIVE);
        assert_null(strchr(process_text(pid, text, sizeof(text)), '\n'));
        stop(pid);
        assert_int_equal(fate_of_writer(pid, now), FATE_GONE);
    }
}

static void test_read_only(void **state)
{
    struct account_lock *l;

    (void)state;
    account_lock_free(take(0));
    assert_int_equal(mount(NULL, "/etc", NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
    assert_take_changes_nothing(UIDPOOL_FAILED, "/etc/.pwd.lock: Read-only file system");
    l = share(0);
    assert_no_leftovers(l);
    account_lock_free(l);
}

/* As many inodes as it needs, less and less; then no room for a pid. Links cost one as well. */
static void test_disk_full(void **state)
{
    unsigned failed = 0;

    (void)state;
    for (unsigned left = 8; left > 0; left--) {
        char options[64];

        snprintf(options, sizeof(options), "mode=755,nr_inodes=%u", left + 1);
        mount_etc(options);
        close_fd(open("/etc/.pwd.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        if (left == 8) {
            account_lock_free(take(0));
            continue;
        }
        assert_take_changes_nothing(UIDPOOL_FAILED, "No space left on device");
        failed++;
    }
    assert_int_equal(failed, 7);
    mount_etc("mode=755,nr_blocks=1");
    make_text("/etc/passwd", "x");
    close_fd(open("/etc/.pwd.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    assert_take_changes_nothing(UIDPOOL_FAILED, "No space left on device");
}

static void test_share(void **state)
{
    _cleanup_(text_end) struct text before = {0};
    const struct leftover *found = NULL;
    struct account_lock *a, *b;

    (void)state;
    /* There is no .pwd.lock, so nobody is at work. */
    make_lock("/etc/passwd.lock", dead_pid());
    make_text("/etc/.#shadowAb3dE6", "half of it");
    before = take_snapshot();
    a = share(0);
    assert_int_equal(account_lock_leftovers(a, &found), 2);
    assert_string_equal(found[0].path, "/etc/.#shadowAb3dE6");
    assert_string_equal(found[1].path, "/etc/passwd.lock");
    account_lock_free(a);
    assert_unchanged(&before);
    assert_int_equal(unlink("/etc/passwd.lock"), 0);
    assert_int_equal(unlink("/etc/.#shadowAb3dE6"), 0);
    /* There is one, which says nothing. */
    make_lock("/etc/passwd.lock", dead_pid());
    assert_int_equal(symlink("passwd", "/etc/.pwd.lock"), 0);
    a = share(0);
    assert_no_leftovers(a);
    account_lock_free(a);
    assert_int_equal(unlink("/etc/.pwd.lock"), 0);
    assert_int_equal(unlink("/etc/passwd.lock"), 0);

    account_lock_free(take(0));
    a = share(0);
    b = share(0);
    assert_take_refused(UIDPOOL_FAILED, "another program holds /etc/.pwd.lock");
    account_lock_free(a);
    assert_take_refused(UIDPOOL_FAILED, "another program holds /etc/.pwd.lock");
    account_lock_free(b);
    assert_int_equal(seteuid(STRANGER), 0);
    a = share(0);
    assert_int_equal(seteuid(0), 0);
    assert_no_leftovers(a);
    b = take(0);
    account_lock_free(a);
    account_lock_free(b);
}

/*
 * What the dead leave.
 */
static const char *const of_the_dead[] = {
    "passwd+",
    "shadow+",
    "group+",
    "gshadow+",
    "subuid+",
    "subgid+",
    "passwd.cioA1b2C3",
    ".#passwd0123456789abcdef",
    ".#groupfedcba9876543210",
    ".#shadowAb3dE6",
    ".passwd.uidpool",
    ".passwd-.uidpool",
    ".gshadow.uidpool",
    ".subgid-.uidpool",
};

static const char *const of_others[] = {
    "passwd++",
    "passwd-+",
    "hosts+",
    "passwd.cioA1b2C",
    "passwd.cioA1b2C34",
    "passwd.cio-1b2C3",
    "xpasswd+",
    ".#passwd",
    ".#passwd0123456789abcde",
    ".#passwd0123456789ABCDEF",
    ".#passwd0123456789abcdef0",
    ".#hosts0123456789abcdef",
    ".#passwdAb3d-6",
    "passwd.uidpool",
    ".passwd.uidpool~",
    ".hosts.uidpool",
    ".passwd--.uidpool",
    "passwd-",
    "passwd.org",
    "passwd.dpkg-old",
    "passwd.edit",
    "shadow.2147483647",
    "passwd.0",
    "passwd.007",
    "passwd.",
    "passwd.1a",
    "passwd.4194305",
};

static bool is_among(const char *const *names, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

/* Exactly those, in order. */
static void assert_found_dead(const struct account_lock *l)
{
    const struct leftover *found = NULL;
    size_t n = account_lock_leftovers(l, &found), known = 0;

    for (size_t i = 0; i < n; i++) {
        known += is_among(of_the_dead, ELEMENTS_OF(of_the_dead), found[i].path + strlen("/etc/"));
        assert_true(strlen(found[i].why) > 20);
        assert_true(i == 0 || strcmp(found[i - 1].path, found[i].path) < 0);
    }
    assert_int_equal(known, ELEMENTS_OF(of_the_dead));
    assert_int_equal(n, ELEMENTS_OF(of_the_dead));
}

static void make_in_etc(const char *name)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "/etc/%s", name);
    make_text(path, "half of it");
}

static void test_leftovers(void **state)
{
    _cleanup_(text_end) struct text before = {0}, with = {0};
    struct account_lock *l;

    (void)state;
    account_lock_free(take(0));
    (void)unlink("/etc/passwd-");
    for (size_t i = 0; i < ELEMENTS_OF(of_others); i++)
        make_in_etc(of_others[i]);
    /* By name such, but no regular files, or not root's. */
    assert_int_equal(symlink("passwd", "/etc/.#passwdAAAAAA"), 0);
    assert_int_equal(mkdir("/etc/.#passwdBBBBBB", 0700), 0);
    assert_int_equal(mkfifo("/etc/.#passwdCCCCCC", 0600), 0);
    make_text("/etc/.#passwdDDDDDD", "");
    assert_int_equal(chown("/etc/.#passwdDDDDDD", STRANGER, 0), 0);
    before = take_snapshot();
    for (size_t i = 0; i < ELEMENTS_OF(of_the_dead); i++)
        make_in_etc(of_the_dead[i]);
    with = take_snapshot();
    l = share(0);
    assert_found_dead(l);
    account_lock_free(l);
    assert_unchanged(&with);
    l = take(0);
    assert_found_dead(l);
    account_lock_free(l);
    assert_unchanged(&before);
    l = take(0);
    assert_no_leftovers(l);
    account_lock_free(l);
}

/* FILE.PID: by who has the pid, and by what is in the file. */
static void test_leftover_pids(void **state)
{
    pid_t living = start_sleeper(), dead = dead_pid();
    char path[64];

    (void)state;
    account_lock_free(take(0));
    snprintf(path, sizeof(path), "/etc/shadow.%d", (int)living);
    make_lock(path, living);
    account_lock_free(take(0));
    assert_int_equal(access(path, F_OK), 0);
    set_mtime(path, clock_wall_usec() - 3600 * USEC_PER_SEC);
    assert_taken_over(path, "was about to take");
    stop(living);

    snprintf(path, sizeof(path), "/etc/shadow.%d", (int)dead);
    make_lock(path, dead);
    assert_taken_over(path, "was about to take");
    make_text(path, "");
    assert_taken_over(path, "was about to take");
    /* Somebody's copy. */
    make_text(path, "root:x:0:0::/root:/bin/sh\n");
    account_lock_free(take(0));
    assert_int_equal(unlink(path), 0);
    make_text(path, "4711");
    account_lock_free(take(0));
    assert_int_equal(unlink(path), 0);
    make_text(path, "\nroot:x:0:0::/root:/bin/sh\n");
    account_lock_free(take(0));
    assert_int_equal(unlink(path), 0);
    /* No process's number: a date, say. */
    make_text("/etc/shadow.20260101", "");
    account_lock_free(take(0));
    assert_int_equal(unlink("/etc/shadow.20260101"), 0);
    /* Killed behind link(2). */
    make_lock(path, dead);
    assert_int_equal(link(path, "/etc/shadow.lock"), 0);
    {
        const struct leftover *found = NULL;
        struct account_lock *l = take(0);

        assert_int_equal(account_lock_leftovers(l, &found), 2);
        assert_string_equal(found[0].path, path);
        assert_string_equal(found[1].path, "/etc/shadow.lock");
        account_lock_free(l);
    }
    assert_none_held();
}

/* What somebody alive writes with --prefix is theirs, and only a look sees it. */
static void test_leftover_of_the_living(void **state)
{
    pid_t pid = start_sleeper();
    struct account_lock *l;

    (void)state;
    account_lock_free(take(0));
    make_lock("/etc/group.lock", pid);
    make_text("/etc/group+", "half");
    make_text("/etc/group.cioABCDEF", "half");
    make_text("/etc/shadow+", "half");
    l = share(0);
    assert_leftover(l, "/etc/shadow+", "killed");
    account_lock_free(l);
    assert_take_changes_nothing(UIDPOOL_FAILED, "holds /etc/group.lock");
    stop(pid);
}

/*
 * Against the real tools.
 */
static bool is_missing(const char *tool)
{
    char command[64];

    snprintf(command, sizeof(command), "command -v %s", tool);
    if (RUN("sh", "-c", command) == 0)
        return false;
    print_message("SKIP: %s is not installed\n", tool);
    return true;
}

static bool has_user(const char *name)
{
    _cleanup_file_ FILE *file = fopen("/etc/passwd", "re");
    size_t length = strlen(name);
    char line[1024];

    assert_non_null(file);
    while (fgets(line, sizeof(line), file))
        if (strncmp(line, name, length) == 0 && line[length] == ':')
            return true;
    return false;
}

/* It waits for .pwd.lock. */
static void test_useradd_waits(void **state)
{
    struct account_lock *l;
    pid_t pid;

    (void)state;
    if (is_missing("useradd"))
        skip();
    l = take(0);
    pid = start((const char *const[]){"useradd", "-M", "later", NULL});
    wait_for_call(pid, SYS_fcntl);
    assert_false(has_user("later"));
    account_lock_free(l);
    assert_int_equal(finish(pid), 0);
    assert_true(has_user("later"));
    assert_none_held();
}

/* With --prefix it heeds the second family alone. */
static void test_useradd_with_prefix_waits(void **state)
{
    char prefix[PATH_MAX], etc[PATH_MAX + 8];
    struct account_lock *l;
    pid_t pid;

    (void)state;
    if (is_missing("useradd"))
        skip();
    snprintf(prefix, sizeof(prefix), "%s/prefix", top);
    snprintf(etc, sizeof(etc), "%s/etc", prefix);
    assert_int_equal(mkdir(prefix, 0755), 0);
    assert_int_equal(mkdir(etc, 0755), 0);
    assert_int_equal(mount("/etc", etc, NULL, MS_BIND, NULL), 0);
    l = take(0);
    pid = start((const char *const[]){"useradd", "--prefix", prefix, "-M", "later", NULL});
    wait_for_call(pid, SYS_clock_nanosleep);
    assert_false(has_user("later"));
    assert_all_held();
    account_lock_free(l);
    assert_int_equal(finish(pid), 0);
    assert_true(has_user("later"));
    assert_none_held();
    assert_int_equal(umount2(etc, MNT_DETACH), 0);
    assert_int_equal(rmdir(etc), 0);
    assert_int_equal(rmdir(prefix), 0);
}

/* vipw holds both while its editor runs. Killed, it leaves one behind. */
static void test_vipw_holds(void **state)
{
    struct account_lock *l;
    char words[128];
    pid_t pid;

    (void)state;
    if (is_missing("vipw"))
        skip();
    assert_int_equal(setenv("VISUAL", "sh -c 'touch /etc/ready; sleep 600'", 1), 0);
    pid = start((const char *const[]){"vipw", NULL});
    wait_for_file("/etc/ready");
    assert_int_equal(access("/etc/passwd.lock", F_OK), 0);
    snprintf(words, sizeof(words), "process %d (vipw) holds /etc/.pwd.lock", (int)pid);
    assert_take_changes_nothing(UIDPOOL_FAILED, words);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitid(P_PID, (id_t)pid, NULL, WEXITED | WNOWAIT), 0);
    l = take(0);
    assert_leftover(l, "/etc/passwd.lock", "which is gone");
    account_lock_free(l);
    (void)finish(pid);
}

/* No name that was not there, but those that belong there. */
static void assert_clean(void)
{
    struct dirent **entries = NULL;
    int n = scandir("/etc", &entries, is_entry, alphasort);

    assert_true(n >= 0);
    for (int i = 0; i < n; i++) {
        const char *name = entries[i]->d_name, *account = name + strspn(name, ".#");
        bool is_account =
            strncmp(account, "passwd", 6) == 0 || strncmp(account, "shadow", 6) == 0 ||
            strncmp(account, "gshadow", 7) == 0 || strncmp(account, "group", 5) == 0 ||
            strncmp(account, "subuid", 6) == 0 || strncmp(account, "subgid", 6) == 0;
        size_t plain = strspn(name, "abcdefghijklmnopqrstuvwxyz");

        if (is_account && name[plain] && strcmp(name + plain, "-") != 0)
            fail_msg("%s is left", name);
        free(entries[i]);
    }
    free(entries);
}

/* Let a tool be killed by its n-th call of a sort, then take the locks at once. False if it came
 * through. */
static bool kill_tool(const char *tool, const char *call, unsigned nth)
{
    char inject[128];
    int status;

    (void)make_etc(NULL);
    snprintf(inject, sizeof(inject), "inject=%s:signal=SIGKILL:when=%u", call, nth);
    status = RUN("timeout", "60", "strace", "-f", "-qq", "-o", "/dev/null", "-e", inject, "sh",
                 "-c", tool);
    account_lock_free(take(0));
    assert_none_held();
    assert_clean();
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 124);
    /* strace ends as what it traced. */
    return status != 0;
}

static void kill_tool_everywhere(const char *tool)
{
    static const char *const calls[] = {"link", "unlink", "rename", "fsync,fdatasync",
                                        "fchmod,fchown"};
    unsigned killed = 0;

    for (size_t i = 0; i < ELEMENTS_OF(calls); i++)
        for (unsigned nth = 1; nth < 100 && kill_tool(tool, calls[i], nth); nth++)
            killed++;
    print_message("killed %u times: %s\n", killed, tool);
    assert_true(killed > 10);
}

static void test_killed_tools(void **state)
{
    char command[PATH_MAX + 64];

    (void)state;
    if (is_missing("strace"))
        skip();
    if (!is_missing("useradd"))
        kill_tool_everywhere("exec useradd -M killed");
    if (!is_missing("newusers")) {
        char path[PATH_MAX];

        snprintf(path, sizeof(path), "%s/accounts", top);
        make_text(path, "one:secret:::::/bin/sh\ntwo:secret:::::/bin/sh\n");
        snprintf(command, sizeof(command), "exec newusers %s", path);
        kill_tool_everywhere(command);
    }
    if (!is_missing("systemd-sysusers"))
        kill_tool_everywhere("echo 'u killed 2115000200' | exec systemd-sysusers -");
}

/*
 * Many at once, the real one among them.
 */
struct contest {
    atomic_uint inside, clashes, entries;
};

static _Noreturn void contend(struct contest *c)
{
    for (unsigned i = 0; i < 40; i++) {
        struct account_lock *l = NULL;
        struct problem p = {0};

        if (account_lock_take(LIMIT, NULL, NULL, &l, &p) != UIDPOOL_OK)
            _exit(1);
        if (atomic_fetch_add(&c->inside, 1) != 0 || access("/etc/subgid.lock", F_OK) < 0)
            atomic_fetch_add(&c->clashes, 1);
        atomic_fetch_add(&c->entries, 1);
        sched_yield();
        atomic_fetch_sub(&c->inside, 1);
        account_lock_free(l);
    }
    _exit(0);
}

static void test_many(void **state)
{
    struct contest *c =
        mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bool with_useradd = !is_missing("useradd");
    pid_t pids[4];

    (void)state;
    assert_true(c != MAP_FAILED);
    for (size_t i = 0; i < ELEMENTS_OF(pids); i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0)
            contend(c);
    }
    for (unsigned i = 0; with_useradd && i < 5; i++) {
        assert_int_equal(RUN("useradd", "-M", "beside"), 0);
        assert_int_equal(RUN("userdel", "beside"), 0);
    }
    for (size_t i = 0; i < ELEMENTS_OF(pids); i++)
        assert_int_equal(finish(pids[i]), 0);
    assert_int_equal(c->clashes, 0);
    assert_int_equal(c->entries, 160);
    assert_none_held();
    assert_clean();
    assert_int_equal(munmap(c, sizeof(*c)), 0);
}

/* Whatever a run of ours is killed at: the next one takes over. */
static void test_killed_ourselves(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        int ends[2];
        struct account_lock *l;
        pid_t pid;
        char c;

        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            if (write(ends[1], "x", 1) != 1)
                _exit(1);
            for (;;)
                account_lock_free(take(0));
        }
        assert_int_equal(read(ends[0], &c, 1), 1);
        for (unsigned turns = 0; turns < i * 20; turns++)
            sched_yield();
        stop(pid);
        l = take(0);
        assert_all_held();
        account_lock_free(l);
        assert_clean();
        close_fd(ends[0]);
        close_fd(ends[1]);
    }
}

/*
 * Ctrl-C and its like.
 */
static pid_t start_to_be_ended(void (*run)(int to), int *ret_from)
{
    int ends[2];
    pid_t pid;

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close_fd(ends[0]);
        run(ends[1]);
        _exit(0);
    }
    close_fd(ends[1]);
    *ret_from = ends[0];
    return pid;
}

/* Says when it has the locks, and lets them go when it was told to end. */
static void hold_until_told(int to)
{
    struct account_lock *l = take(0);
    sigset_t pending;

    if (write(to, "x", 1) != 1)
        _exit(1);
    do {
        sched_yield();
        (void)sigpending(&pending);
    } while (sigismember(&pending, SIGINT) != 1);
    assert_all_held();
    if (write(to, "y", 1) != 1)
        _exit(1);
    account_lock_free(l);
}

static void wait_in_vain(int to)
{
    struct account_lock *l = NULL;
    struct problem p = {0};

    (void)to;
    if (account_lock_take(10 * LIMIT, NULL, NULL, &l, &p) != UIDPOOL_OK)
        _exit(3);
    account_lock_free(l);
}

static void wait_and_ignore(int to)
{
    (void)signal(SIGINT, SIG_IGN);
    wait_in_vain(to);
}

/* It ends when all is released, and no sooner. */
static void test_told_to_end_while_held(void **state)
{
    _cleanup_fd_ int from = -1;
    pid_t pid = start_to_be_ended(hold_until_told, &from);
    int status;
    char c[2] = "";

    (void)state;
    assert_int_equal(read(from, c, 1), 1);
    assert_int_equal(kill(pid, SIGINT), 0);
    assert_int_equal(read(from, c + 1, 1), 1);
    status = finish(pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGINT);
    assert_memory_equal(c, "xy", 2);
    assert_none_held();
    assert_clean();
}

/* Nobody has to wait for who waits. */
static void test_told_to_end_while_waiting(void **state)
{
    pid_t holder = start_sleeper(), pid;
    _cleanup_fd_ int from = -1;
    char name[64];
    int status;

    (void)state;
    make_lock("/etc/group.lock", holder);
    pid = start_to_be_ended(wait_in_vain, &from);
    snprintf(name, sizeof(name), "/etc/passwd.%d", (int)pid);
    wait_for_file(name);
    assert_int_equal(kill(pid, SIGTERM), 0);
    status = finish(pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGTERM);
    assert_int_equal(access(name, F_OK), -1);
    assert_respected("/etc/group.lock", holder);

    /* nohup(1) */
    make_lock("/etc/group.lock", holder);
    pid = start_to_be_ended(wait_and_ignore, &from);
    snprintf(name, sizeof(name), "/etc/passwd.%d", (int)pid);
    wait_for_file(name);
    assert_int_equal(kill(pid, SIGINT), 0);
    wait_for_call(pid, SYS_clock_nanosleep);
    assert_int_equal(unlink("/etc/group.lock"), 0);
    assert_int_equal(finish(pid), 0);
    stop(holder);
}

/*
 * Races, made by functions of this file that stand before the system's.
 */
static struct {
    unsigned at_link, at_pidfd; /* act before which of them, from 1; 0: none */
    void (*act)(void);
    unsigned links, pidfds;
    unsigned syncs, links_before_sync;
    int sync_error; /* or 0 */
} race;

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    if (++race.links == race.at_link)
        race.act();
    return (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
}

int pidfd_open(pid_t pid, unsigned flags)
{
    if (++race.pidfds == race.at_pidfd)
        race.act();
    return (int)syscall(SYS_pidfd_open, pid, flags);
}

int fdatasync(int fd)
{
    if (race.syncs++ == 0)
        race.links_before_sync = race.links;
    errno = race.sync_error;
    return race.sync_error ? -1 : (int)syscall(SYS_fdatasync, fd);
}

static int reset_race(void **state)
{
    memset(&race, 0, sizeof(race));
    return make_etc(state);
}

static void steal_passwd(void)
{
    assert_int_equal(unlink("/etc/passwd.lock"), 0);
}

/* Somebody takes a lock of ours for a dead one's while we take the others. */
static void test_stolen(void **state)
{
    struct account_lock *l;

    (void)state;
    race.at_link = 6;
    race.act = steal_passwd;
    l = take(LIMIT);
    assert_int_equal(race.links, 12);
    assert_all_held();
    account_lock_free(l);
    assert_none_held();
}

/* A lock that a loss of power empties would stop shadow's tools for ever. */
static void test_synced(void **state)
{
    (void)state;
    account_lock_free(take(0));
    assert_int_equal(race.syncs, 1);
    assert_int_equal(race.links_before_sync, 0);
    assert_int_equal(race.links, ELEMENTS_OF(file_locks));
    race.sync_error = EIO;
    assert_take_changes_nothing(UIDPOOL_FAILED, "Input/output error");
}

static void free_group(void)
{
    assert_int_equal(unlink("/etc/group.lock"), 0);
}

/* A lock goes away while we look at it. */
static void test_vanishes(void **state)
{
    struct account_lock *l;

    (void)state;
    make_lock("/etc/group.lock", dead_pid());
    race.at_pidfd = 1;
    race.act = free_group;
    l = take(0);
    assert_no_leftovers(l);
    assert_all_held();
    account_lock_free(l);
    assert_none_held();
}

static pid_t living;

static void pass_group_on(void)
{
    free_group();
    make_lock("/etc/group.lock", living);
}

/* Or is a living one's by then. */
static void test_changes_hands(void **state)
{
    char words[64];

    (void)state;
    make_lock("/etc/group.lock", dead_pid());
    living = start_sleeper();
    race.at_pidfd = 1;
    race.act = pass_group_on;
    snprintf(words, sizeof(words), "process %d ", (int)living);
    assert_take_refused(UIDPOOL_FAILED, words);
    assert_respected("/etc/group.lock", living);
    stop(living);
}

/*
 * A mount namespace of its own, and there a copy of what the tools need of /etc.
 */
static int make_top(void **state)
{
    static const char *const wanted[] = {"passwd", "group",      "shadow",  "gshadow", "subuid",
                                         "subgid", "login.defs", "default", "pam.d",   "security"};

    (void)state;
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        print_message("no mount namespace: %s\n", strerror(errno));
        return -1;
    }
    if (!mkdtemp(top) || chmod(top, 0755) < 0)
        return -1;
    for (size_t i = 0; i < ELEMENTS_OF(wanted); i++) {
        char from[64];

        snprintf(from, sizeof(from), "/etc/%s", wanted[i]);
        if (access(from, F_OK) == 0)
            assert_int_equal(RUN("cp", "-a", from, top), 0);
    }
    assert_int_equal(mount("tmpfs", "/etc", "tmpfs", 0, "mode=755"), 0);
    make_text("/etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\n");
    assert_int_equal(RUN("cp", "-a", "/etc/nsswitch.conf", top), 0);
    return 0;
}

static int remove_top(void **state)
{
    (void)state;
    (void)umount2("/etc", MNT_DETACH);
    return RUN("rm", "-r", top);
}

#define TEST(f) cmocka_unit_test_setup(f, make_etc)
#define RACE(f) cmocka_unit_test_setup(f, reset_race)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_take),
        TEST(test_release_only_ours),
        TEST(test_libc_holds),
        TEST(test_whole_file),
        TEST(test_libc_waits),
        TEST(test_we_hold),
        TEST(test_waiting),
        TEST(test_deadline),
        TEST(test_told_to_end_while_held),
        TEST(test_told_to_end_while_waiting),
        TEST(test_dead_locks),
        TEST(test_number_of_no_process),
        TEST(test_living_locks),
        TEST(test_waiting_for_file),
        TEST(test_no_locks),
        TEST(test_without_proc),
        TEST(test_foreign_proc),
        TEST(test_names_of_processes),
        TEST(test_read_only),
        TEST(test_disk_full),
        TEST(test_share),
        TEST(test_leftovers),
        TEST(test_leftover_pids),
        TEST(test_leftover_of_the_living),
        TEST(test_useradd_waits),
        TEST(test_useradd_with_prefix_waits),
        TEST(test_vipw_holds),
        TEST(test_killed_tools),
        TEST(test_many),
        TEST(test_killed_ourselves),
        RACE(test_synced),
        RACE(test_stolen),
        RACE(test_vanishes),
        RACE(test_changes_hands),
    };

    return cmocka_run_group_tests(tests, make_top, remove_top);
}
