/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lock files: which are refused, what excludes whom, and that the queue starves nobody. Processes
 * of its own contend.
 */
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/lockfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#define STRANGER 2114453505u
#define PATIENCE (30 * USEC_PER_SEC)

static char dir[] = "/tmp/test-lockfile-XXXXXX";

static const char *in_dir(const char *name)
{
    static char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static int open_lock(const char *name)
{
    int fd = lockfile_open(in_dir(name));

    assert_true(fd >= 0);
    return fd;
}

static void test_open(void **state)
{
    struct stat st;
    mode_t mask = umask(0);
    int fd = open_lock("new");

    (void)state;
    umask(mask);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close_fd(fd);
    close_fd(open_lock("new"));

    assert_int_equal(chmod(in_dir("new"), 0644), 0);
    close_fd(open_lock("new"));
    assert_int_equal(chmod(in_dir("new"), 0620), 0);
    assert_int_equal(lockfile_open(in_dir("new")), -EPERM);
    assert_int_equal(chmod(in_dir("new"), 0602), 0);
    assert_int_equal(lockfile_open(in_dir("new")), -EPERM);
    assert_int_equal(unlink(in_dir("new")), 0);

    assert_int_equal(symlink("elsewhere", in_dir("link")), 0);
    assert_int_equal(lockfile_open(in_dir("link")), -EPERM);
    assert_int_equal(access(in_dir("elsewhere"), F_OK), -1);
    assert_int_equal(mkfifo(in_dir("fifo"), 0600), 0);
    assert_int_equal(lockfile_open(in_dir("fifo")), -EPERM);
    assert_true(lockfile_open(dir) < 0);
    assert_int_equal(lockfile_open(in_dir("no/such")), -ENOENT);
    assert_int_equal(unlink(in_dir("link")), 0);
    assert_int_equal(unlink(in_dir("fifo")), 0);
}

static void test_open_strangers(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        print_message("SKIP: only root can make files of another user\n");
        skip();
    }
    close_fd(open_lock("theirs"));
    assert_int_equal(chown(in_dir("theirs"), STRANGER, STRANGER), 0);
    assert_int_equal(lockfile_open(in_dir("theirs")), -EPERM);
    assert_int_equal(unlink(in_dir("theirs")), 0);
}

/* Two descriptions in one process exclude each other; byte ranges are independent. */
static void test_exclusion(void **state)
{
    int a = open_lock("lock"), b = open_lock("lock"), c;

    (void)state;
    assert_int_equal(lockfile_try(a, 10, 5), 0);
    assert_int_equal(lockfile_try(b, 14, 1), -EAGAIN);
    assert_int_equal(lockfile_try(b, 0, 11), -EAGAIN);
    assert_int_equal(lockfile_try(b, 15, 5), 0);
    assert_int_equal(lockfile_try(b, 9, 1), 0);
    assert_int_equal(lockfile_try(a, 10, 5), 0);
    assert_int_equal(lockfile_unlock(a, 12, 1), 0);
    assert_int_equal(lockfile_try(b, 12, 1), 0);
    assert_int_equal(lockfile_try(a, INT64_C(0x7fffffff), 1), 0);
    assert_int_equal(lockfile_try(b, 11, 1), -EAGAIN);

    /* A third one opened and closed takes nothing away, as it would with fcntl's older locks. */
    c = open_lock("lock");
    close_fd(c);
    assert_int_equal(lockfile_try(b, 11, 1), -EAGAIN);
    close_fd(a);
    assert_int_equal(lockfile_try(b, 11, 1), 0);
    close_fd(b);

    assert_int_equal(lockfile_try(-1, 0, 1), -EBADF);
    a = open_lock("lock");
    assert_int_equal(lockfile_try(a, 0, 0), -EINVAL);
    assert_int_equal(lockfile_try(a, -1, 1), -EINVAL);
    assert_int_equal(lockfile_wait(a, 0, -1), -EINVAL);
    close_fd(a);
}

/* Readers share, and keep writers out; a read-only descriptor is enough for one. */
static void test_shared(void **state)
{
    int writer = open_lock("lock"), a, b;

    (void)state;
    a = open(in_dir("lock"), O_RDONLY | O_CLOEXEC);
    b = open(in_dir("lock"), O_RDONLY | O_CLOEXEC);
    assert_true(a >= 0 && b >= 0);
    assert_int_equal(lockfile_try_shared(a, 0, 10), 0);
    assert_int_equal(lockfile_try_shared(b, 5, 10), 0);
    assert_int_equal(lockfile_try(writer, 0, 1), -EAGAIN);
    assert_int_equal(lockfile_try(writer, 14, 1), -EAGAIN);
    assert_int_equal(lockfile_try(writer, 15, 1), 0);
    assert_int_equal(lockfile_unlock(a, 0, 10), 0);
    assert_int_equal(lockfile_try(writer, 0, 5), 0);
    assert_int_equal(lockfile_try_shared(a, 0, 1), -EAGAIN);
    assert_int_equal(lockfile_try_shared(a, 4, 2), -EAGAIN);
    assert_int_equal(lockfile_try_shared(a, 5, 1), 0);
    assert_int_equal(lockfile_try_shared(a, 0, 0), -EINVAL);
    close_fd(a);
    close_fd(b);
    close_fd(writer);
}

/* Whose it is can be told of the older locks, which lckpwdf(3) takes, alone. */
static void test_holder(void **state)
{
    int ends[2], fd = open_lock("lock"), other = open_lock("lock");
    pid_t pid, holder = -1;
    char c;

    (void)state;
    assert_int_equal(lockfile_holder(fd, 0, 1, &holder), 0);
    assert_int_equal(holder, 0);
    assert_int_equal(lockfile_try(other, 0, 1), 0);
    holder = -1;
    assert_int_equal(lockfile_holder(fd, 0, 1, &holder), 0);
    assert_int_equal(holder, 0);
    assert_int_equal(lockfile_holder(fd, 0, 0, &holder), -EINVAL);

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 5};

        if (fcntl(fd, F_SETLK, &lock) < 0 || write(ends[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    assert_int_equal(read(ends[0], &c, 1), 1);
    assert_int_equal(lockfile_holder(fd, 5, INT64_MAX - 5, &holder), 0);
    assert_int_equal(holder, pid);
    assert_int_equal(lockfile_try(fd, 5, 1), -EAGAIN);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    close_fd(ends[0]);
    close_fd(ends[1]);
    close_fd(other);
    close_fd(fd);
}

/* A child that inherited the description keeps the lock when we are done with it. */
static void test_inherited(void **state)
{
    int ends[2], a = open_lock("lock"), b = open_lock("lock");
    char nothing;
    pid_t pid;

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(lockfile_try(a, 0, 1), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close_fd(ends[1]);
        _exit(read(ends[0], &nothing, 1) == 0 ? 0 : 1);
    }
    close_fd(a);
    assert_int_equal(lockfile_try(b, 0, 1), -EAGAIN);
    close_fd(ends[0]);
    close_fd(ends[1]);
    assert_int_equal(lockfile_wait(b, 0, 1), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    close_fd(b);
}

enum { CONTENDERS_MAX = 4, ENTRIES_WANTED = 2000 };

struct contest {
    atomic_uint ready;
    atomic_bool stop;
    atomic_uint inside;
    atomic_uint clashes;
    atomic_uint entries[CONTENDERS_MAX];
    /* Whoever waits: how many entries there had been when it came, plus one. Else 0. */
    atomic_uint waits_since[CONTENDERS_MAX];
    /* Of whoever is inside: */
    unsigned total, last, again, late;
};

/* Have we come in twice in a row although somebody waited all that time? */
static bool is_again(const struct contest *c, unsigned self, unsigned contenders)
{
    if (c->last != self)
        return false;
    for (unsigned i = 0; i < contenders; i++) {
        unsigned since = atomic_load(&c->waits_since[i]);

        if (i != self && since != 0 && since < c->total)
            return true;
    }
    return false;
}

static void be_inside(struct contest *c, unsigned self, unsigned contenders)
{
    int64_t until = clock_monotonic_usec() + 100;
    unsigned came = atomic_load(&c->waits_since[self]) - 1;

    /* All the others may have stood before us, and each may come once more while we join. */
    if (c->total - came > 2 * contenders)
        c->late++;
    atomic_store(&c->waits_since[self], 0);
    if (atomic_fetch_add(&c->inside, 1) != 0)
        atomic_fetch_add(&c->clashes, 1);
    if (is_again(c, self, contenders))
        c->again++;
    c->last = self;
    c->total++;
    while (clock_monotonic_usec() < until)
        ;
    atomic_fetch_add(&c->entries[self], 1);
    atomic_fetch_sub(&c->inside, 1);
}

/* Enter and leave without a pause, as a busy toolstack commits; a short stay inside. */
static _Noreturn void contend(struct contest *c, unsigned self, unsigned contenders)
{
    int fd = lockfile_open(in_dir("queue"));

    if (fd < 0)
        _exit(1);
    atomic_fetch_add(&c->ready, 1);
    while (atomic_load(&c->ready) < contenders)
        sched_yield();
    while (!atomic_load(&c->stop)) {
        atomic_store(&c->waits_since[self], *(volatile unsigned *)&c->total + 1);
        if (lockfile_queue_enter(fd, 0) < 0)
            _exit(2);
        be_inside(c, self, contenders);
        if (lockfile_queue_leave(fd, 0) < 0)
            _exit(3);
    }
    _exit(0);
}

/* Until one of them has been in often enough. */
static void run_contest(struct contest *c, unsigned contenders)
{
    int64_t deadline = clock_monotonic_usec() + PATIENCE;
    pid_t pids[CONTENDERS_MAX];
    bool done = false;

    for (unsigned i = 0; i < contenders; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0)
            contend(c, i, contenders);
    }
    while (!done && clock_monotonic_usec() < deadline) {
        struct timespec pause = {.tv_nsec = 1000000};

        nanosleep(&pause, NULL);
        for (unsigned i = 0; i < contenders; i++)
            if (atomic_load(&c->entries[i]) >= ENTRIES_WANTED)
                done = true;
    }
    atomic_store(&c->stop, true);
    for (unsigned i = 0; i < contenders; i++) {
        int status = -1;

        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    assert_true(done);
}

static void check_fair(unsigned contenders)
{
    struct contest *c =
        mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert_true(c != MAP_FAILED);
    run_contest(c, contenders);
    for (unsigned i = 0; i < contenders; i++)
        print_message("%u of %u: %u times\n", i + 1, contenders, atomic_load(&c->entries[i]));
    print_message("past somebody who waited: %u, late: %u, of %u\n", c->again, c->late, c->total);
    assert_int_equal(atomic_load(&c->clashes), 0);
    assert_true(c->again < c->total / 20);
    /* How often each came is the scheduler's; how long who came had to wait is the queue's. */
    assert_true(c->late < c->total / 20);
    for (unsigned i = 0; i < contenders; i++)
        assert_true(atomic_load(&c->entries[i]) > 0);
    assert_int_equal(munmap(c, sizeof(*c)), 0);
}

static void test_fair_two(void **state)
{
    (void)state;
    check_fair(2);
}

static void test_fair_four(void **state)
{
    (void)state;
    check_fair(4);
}

/* A child that enters, says so, and stays. */
static pid_t start_entering(int say)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        int fd = lockfile_open(in_dir("queue"));

        if (lockfile_queue_enter(fd, 0) < 0 || write(say, "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    return pid;
}

static void stop(pid_t pid)
{
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* Until somebody holds that byte. Only asks: a lock of ours would be in the queue's way. */
static void wait_until_held(off_t at)
{
    int64_t deadline = clock_monotonic_usec() + PATIENCE;
    int fd = open_lock("queue");
    struct flock lock;

    do {
        lock = (struct flock){.l_type = F_WRLCK, .l_start = at, .l_len = 1};
        assert_int_equal(fcntl(fd, F_OFD_GETLK, &lock), 0);
        assert_true(clock_monotonic_usec() < deadline);
        sched_yield();
    } while (lock.l_type == F_UNLCK);
    close_fd(fd);
}

static void test_death_inside(void **state)
{
    int ends[2], fd = open_lock("queue"), other = open_lock("queue");
    char c;
    pid_t pid;

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid = start_entering(ends[1]);
    assert_int_equal(read(ends[0], &c, 1), 1);
    assert_int_equal(lockfile_try(fd, 1, 1), -EAGAIN);
    stop(pid);
    assert_int_equal(lockfile_queue_enter(fd, 0), 0);
    /* Nothing but the place inside is taken. */
    assert_int_equal(lockfile_try(other, 1, 1), -EAGAIN);
    assert_int_equal(lockfile_try(other, 0, 1), 0);
    assert_int_equal(lockfile_try(other, 2, 1000), 0);
    assert_int_equal(lockfile_queue_leave(fd, 0), 0);
    assert_int_equal(lockfile_try(other, 1, 1), 0);
    close_fd(ends[0]);
    close_fd(ends[1]);
    close_fd(other);
    close_fd(fd);
}

/* In order of asking, without waiting, and the queue is as it was afterwards. */
static void test_asking(void **state)
{
    struct lockfile_turn first = {0}, second = {0}, third = {0};
    int inside = open_lock("queue"), a = open_lock("queue"), b = open_lock("queue"),
        c = open_lock("queue");

    (void)state;
    assert_int_equal(lockfile_queue_enter(inside, 0), 0);
    assert_int_equal(lockfile_queue_ask(a, 0, &first), -EAGAIN);
    assert_int_equal(lockfile_queue_ask(b, 0, &second), -EAGAIN);
    assert_int_equal(lockfile_queue_ask(c, 0, &third), -EAGAIN);
    assert_int_equal(lockfile_queue_leave(inside, 0), 0);
    assert_int_equal(lockfile_queue_ask(c, 0, &third), -EAGAIN);
    assert_int_equal(lockfile_queue_ask(b, 0, &second), -EAGAIN);
    assert_int_equal(lockfile_queue_ask(a, 0, &first), 0);
    assert_int_equal(first.place, 0);
    assert_int_equal(lockfile_queue_ask(b, 0, &second), -EAGAIN);
    assert_int_equal(lockfile_queue_leave(a, 0), 0);
    /* Next in line, and gives up: nobody is left waiting for him. */
    lockfile_queue_give_up(b, &second);
    assert_int_equal(lockfile_queue_ask(c, 0, &third), 0);
    assert_int_equal(lockfile_try(inside, 2, 1000), 0);
    assert_int_equal(lockfile_try(inside, 0, 1), 0);
    assert_int_equal(lockfile_queue_leave(c, 0), 0);
    close_fd(inside);
    close_fd(a);
    close_fd(b);
    close_fd(c);
}

/* We are inside, one waits, another behind that one, which dies: the other moves up, not in. */
static void test_death_of_a_waiter(void **state)
{
    int ends[2], fd = open_lock("queue");
    struct pollfd said;
    pid_t first, second;

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    said = (struct pollfd){.fd = ends[0], .events = POLLIN};
    assert_int_equal(lockfile_queue_enter(fd, 0), 0);
    first = start_entering(ends[1]);
    wait_until_held(2);
    second = start_entering(ends[1]);
    wait_until_held(3);
    stop(first);
    wait_until_held(2);
    assert_int_equal(poll(&said, 1, 0), 0);
    assert_int_equal(lockfile_queue_leave(fd, 0), 0);
    assert_int_equal(poll(&said, 1, (int)(PATIENCE / USEC_PER_MSEC)), 1);
    stop(second);
    assert_int_equal(lockfile_queue_enter(fd, 0), 0);
    close_fd(ends[0]);
    close_fd(ends[1]);
    close_fd(fd);
}

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    (void)unlink(in_dir("lock"));
    (void)unlink(in_dir("queue"));
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_open_strangers),
        cmocka_unit_test(test_exclusion),
        cmocka_unit_test(test_shared),
        cmocka_unit_test(test_holder),
        cmocka_unit_test(test_inherited),
        cmocka_unit_test(test_fair_two),
        cmocka_unit_test(test_fair_four),
        cmocka_unit_test(test_death_inside),
        cmocka_unit_test(test_asking),
        cmocka_unit_test(test_death_of_a_waiter),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
