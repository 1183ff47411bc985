/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Listening sockets: what is taken of what was passed, what is refused, and that a socket of our
 * own replaces the dead and nobody living. What is passed is passed to a child.
 */
#include "allocator/daemon/activation.h"
#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cmocka.h>

#define STRANGER 2115108864u
#define TOGETHER 6
#define ROUNDS 5 /* of two seconds: whoever finds another believes in it only then */

static char dir[] = "/tmp/test-activation-XXXXXX";

static const char *in_dir(const char *name)
{
    static char path[2][PATH_MAX];
    static unsigned turn;

    turn = !turn;
    snprintf(path[turn], sizeof(path[turn]), "%s/%s", dir, name);
    return path[turn];
}

static struct sockaddr_un address_of(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    assert_true(strlen(path) < sizeof(address.sun_path));
    memcpy(address.sun_path, path, strlen(path) + 1);
    return address;
}

/* Bound to `path`; backlog -1: not listening. */
static int make_socket(const char *path, int type, int backlog)
{
    struct sockaddr_un address = address_of(path);
    int fd = socket(AF_UNIX, type, 0);

    assert_true(fd >= 0);
    (void)unlink(path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    if (backlog >= 0)
        assert_int_equal(listen(fd, backlog), 0);
    return fd;
}

/* 0 or a negative errno. */
static int connect_to(const char *path)
{
    struct sockaddr_un address = address_of(path);
    _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

    assert_true(fd >= 0);
    return connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 ? 0 : -errno;
}

/*
 * What was passed.
 */

struct passing {
    int fds[3]; /* become 3, 4, 5; -1 ends them */
    const char *names, *upstart, *events;
    bool is_anothers; /* LISTEN_PID is not ours */
};

struct taken {
    enum uidpool_status status;
    struct activation a;
    struct problem p;
    bool is_clean; /* nothing is left in the environment */
    bool is_ready; /* what was taken does not block and is not inherited */
};

static bool is_ready(int fd)
{
    return fd < 0 || ((fcntl(fd, F_GETFL) & O_NONBLOCK) && (fcntl(fd, F_GETFD) & FD_CLOEXEC));
}

static void take_as_child(const struct passing *passing, struct taken *ret)
{
    char text[32];
    int n = 0, high[3];

    for (; n < 3 && passing->fds[n] >= 0; n++)
        high[n] = fcntl(passing->fds[n], F_DUPFD, 100);
    for (int i = 0; i < n; i++)
        dup2(high[i], 3 + i);
    snprintf(text, sizeof(text), "%d", (int)getpid() + passing->is_anothers);
    setenv("LISTEN_PID", text, 1);
    snprintf(text, sizeof(text), "%d", n);
    if (n > 0 && !passing->upstart)
        setenv("LISTEN_FDS", text, 1);
    if (passing->names)
        setenv("LISTEN_FDNAMES", passing->names, 1);
    if (passing->upstart)
        setenv("UPSTART_FDS", passing->upstart, 1);
    if (passing->events)
        setenv("UPSTART_EVENTS", passing->events, 1);
    ret->a = (struct activation){-2, -2};
    ret->status = activation_take(in_dir("run"), in_dir("userdb"), &ret->a, &ret->p);
    ret->is_clean = !getenv("LISTEN_FDS") && !getenv("LISTEN_FDNAMES") && !getenv("UPSTART_FDS") &&
                    !getenv("UPSTART_EVENTS");
    ret->is_ready = is_ready(ret->a.varlink) && is_ready(ret->a.userdb);
}

static struct taken take(const struct passing *passing)
{
    struct taken *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct taken taken;
    int status;
    pid_t pid;

    assert_true(shared != MAP_FAILED);
    pid = fork();
    if (pid == 0) {
        take_as_child(passing, shared);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    taken = *shared;
    munmap(shared, sizeof(*shared));
    return taken;
}

static void assert_taken(const struct passing *passing, int varlink, int userdb)
{
    struct taken taken = take(passing);

    assert_string_equal(taken.p.text, "");
    assert_int_equal(taken.status, UIDPOOL_OK);
    assert_int_equal(taken.a.varlink, varlink);
    assert_int_equal(taken.a.userdb, userdb);
    assert_true(taken.is_clean);
    assert_true(taken.is_ready);
}

static void assert_refused(const struct passing *passing, const char *why)
{
    struct taken taken = take(passing);

    assert_int_equal(taken.status, UIDPOOL_FAILED);
    assert_non_null(strstr(taken.p.text, why));
    assert_int_equal(taken.a.varlink, -2);
    assert_true(taken.is_clean);
}

static void test_nothing_is_passed(void **state)
{
    int fd = make_socket(in_dir("run/io.uidpool"), SOCK_STREAM, 5);

    (void)state;
    assert_taken(&(struct passing){.fds = {-1, -1, -1}}, -1, -1);
    /* To a parent of ours. */
    assert_taken(&(struct passing){.fds = {fd, -1, -1}, .names = "varlink", .is_anothers = true},
                 -1, -1);
    close(fd);
}

static void test_passed_by_systemd(void **state)
{
    int varlink = make_socket(in_dir("run/io.uidpool"), SOCK_STREAM, 5);
    int userdb = make_socket(in_dir("userdb/io.uidpool"), SOCK_STREAM, 5);
    int other = make_socket(in_dir("other"), SOCK_STREAM, 5);

    (void)state;
    assert_taken(&(struct passing){.fds = {varlink, userdb, -1}, .names = "varlink:userdb"}, 3, 4);
    assert_taken(&(struct passing){.fds = {userdb, varlink, -1}, .names = "userdb:varlink"}, 4, 3);
    /* By what they are bound to, whatever their names. */
    assert_taken(&(struct passing){.fds = {userdb, varlink, -1}, .names = "a.socket:b.socket"}, 4,
                 3);
    assert_taken(&(struct passing){.fds = {userdb, -1, -1}}, -1, 3);
    /* By name, wherever they are bound. */
    assert_taken(&(struct passing){.fds = {other, -1, -1}, .names = "varlink"}, 3, -1);
    assert_refused(&(struct passing){.fds = {other, -1, -1}, .names = "other"}, "neither");
    assert_refused(&(struct passing){.fds = {varlink, other, -1}, .names = "varlink:varlink"},
                   "two sockets");
    assert_refused(&(struct passing){.fds = {varlink, userdb, other}, .names = "varlink:userdb:x"},
                   "socket 5 (x)");
    close(varlink);
    close(userdb);
    close(other);
}

static void test_passed_what_is_no_listening_socket(void **state)
{
    int pair[2], fd;

    (void)state;
    fd = open("/dev/null", O_RDWR);
    assert_refused(&(struct passing){.fds = {fd, -1, -1}, .names = "varlink"}, "no listening");
    close(fd);
    fd = make_socket(in_dir("run/io.uidpool"), SOCK_STREAM, -1);
    assert_refused(&(struct passing){.fds = {fd, -1, -1}, .names = "varlink"}, "no listening");
    close(fd);
    fd = make_socket(in_dir("run/io.uidpool"), SOCK_DGRAM, -1);
    assert_refused(&(struct passing){.fds = {fd, -1, -1}, .names = "varlink"}, "no listening");
    close(fd);
    fd = make_socket(in_dir("run/io.uidpool"), SOCK_SEQPACKET, 5);
    assert_refused(&(struct passing){.fds = {fd, -1, -1}, .names = "varlink"}, "no listening");
    close(fd);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_refused(&(struct passing){.fds = {pair[0], -1, -1}, .names = "varlink"}, "no listening");
    close(pair[0]);
    close(pair[1]);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd >= 0 && listen(fd, 5) == 0)
        assert_refused(&(struct passing){.fds = {fd, -1, -1}, .names = "varlink"}, "no listening");
    close_fd(fd);
}

static void test_passed_by_upstart(void **state)
{
    int fd = make_socket(in_dir("run/io.uidpool"), SOCK_STREAM, 5);
    struct passing passing = {.fds = {fd, -1, -1}, .upstart = "3", .events = "socket"};

    (void)state;
    assert_taken(&passing, 3, -1);
    passing.events = "runlevel socket";
    assert_taken(&passing, 3, -1);
    /* Not started by a socket. */
    passing.events = "runlevel socket-like";
    assert_taken(&passing, -1, -1);
    passing.events = NULL;
    assert_taken(&passing, -1, -1);
    passing.events = "socket";
    passing.upstart = "three";
    assert_refused(&passing, "UPSTART_FDS");
    passing.upstart = "-3";
    assert_refused(&passing, "UPSTART_FDS");
    passing.upstart = "99999999999";
    assert_refused(&passing, "UPSTART_FDS");
    passing.upstart = "77";
    assert_refused(&passing, "descriptor 77");
    close(fd);
}

/*
 * Sockets of our own.
 */

static void assert_conflict(const char *why)
{
    struct problem p = {0};
    struct stat before, after;
    int fd = -2;

    assert_int_equal(lstat(in_dir("own/s"), &before), 0);
    assert_int_equal(activation_listen(in_dir("own"), "s", 0666, &fd, &p), UIDPOOL_CONFLICT);
    assert_non_null(strstr(p.text, why));
    assert_non_null(strstr(p.text, "own/s"));
    assert_int_equal(fd, -2);
    assert_int_equal(lstat(in_dir("own/s"), &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
}

static void test_listen(void **state)
{
    struct problem p = {0};
    mode_t mask = umask(0077);
    struct stat st;
    int fd = -1;

    (void)state;
    assert_int_equal(activation_listen(in_dir("own"), "s", 0666, &fd, &p), UIDPOOL_OK);
    umask(mask);
    assert_int_equal(stat(in_dir("own"), &st), 0);
    assert_int_equal(st.st_mode, S_IFDIR | 0755);
    assert_int_equal(lstat(in_dir("own/s"), &st), 0);
    assert_int_equal(st.st_mode, S_IFSOCK | 0666);
    assert_int_equal(st.st_uid, 0);
    assert_true(is_ready(fd));
    assert_int_equal(connect_to(in_dir("own/s")), 0);
    /* Ours lives. */
    assert_conflict("somebody listens");
    assert_int_equal(connect_to(in_dir("own/s")), 0);
    close(fd);
    /* And now it is dead. */
    assert_int_equal(connect_to(in_dir("own/s")), -ECONNREFUSED);
    assert_int_equal(activation_listen(in_dir("own"), "s", 0600, &fd, &p), UIDPOOL_OK);
    assert_int_equal(lstat(in_dir("own/s"), &st), 0);
    assert_int_equal(st.st_mode, S_IFSOCK | 0600);
    assert_int_equal(connect_to(in_dir("own/s")), 0);
    activation_remove(in_dir("own"), "s");
    assert_int_equal(connect_to(in_dir("own/s")), -ENOENT);
    close(fd);
    activation_remove(in_dir("own"), "s");
    close(make_socket(in_dir("own/s"), SOCK_STREAM, 5));
}

static void test_a_full_queue_is_alive(void **state)
{
    int fd = make_socket(in_dir("own/s"), SOCK_STREAM, 0);
    struct sockaddr_un address = address_of(in_dir("own/s"));
    int full[8], r = 0;
    size_t n = 0;

    (void)state;
    for (; n < ELEMENTS_OF(full) && r == 0; n++) {
        full[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        r = connect(full[n], (struct sockaddr *)&address, sizeof(address));
    }
    assert_int_equal(errno, EAGAIN);
    assert_conflict("somebody listens");
    while (n > 0)
        close(full[--n]);
    close(fd);
}

static void test_what_is_no_stream_socket_stays(void **state)
{
    int fd = make_socket(in_dir("own/s"), SOCK_DGRAM, -1);

    (void)state;
    assert_conflict("somebody listens");
    close(fd);
    assert_int_equal(unlink(in_dir("own/s")), 0);
    fd = open(in_dir("own/s"), O_CREAT | O_EXCL | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_conflict("no socket");
    assert_int_equal(unlink(in_dir("own/s")), 0);
    assert_int_equal(mkdir(in_dir("own/s"), 0755), 0);
    assert_conflict("no socket");
    assert_int_equal(rmdir(in_dir("own/s")), 0);
    /* A link to a dead socket, which would be removed if it were followed. */
    close(make_socket(in_dir("dead"), SOCK_STREAM, 5));
    assert_int_equal(symlink(in_dir("dead"), in_dir("own/s")), 0);
    assert_conflict("symbolic link");
    assert_int_equal(access(in_dir("dead"), F_OK), 0);
    assert_int_equal(unlink(in_dir("own/s")), 0);
}

static void assert_unsafe(const char *name, const char *why)
{
    struct problem p = {0};
    int fd = -2;

    assert_int_equal(activation_listen(in_dir(name), "s", 0666, &fd, &p), UIDPOOL_FAILED);
    assert_non_null(strstr(p.text, why));
    assert_int_equal(fd, -2);
}

static void test_a_directory_of_others(void **state)
{
    char deep[200];
    struct stat st;

    (void)state;
    assert_int_equal(mkdir(in_dir("shared"), 0755), 0);
    assert_int_equal(chmod(in_dir("shared"), 0775), 0);
    assert_unsafe("shared", "chmod go-w");
    assert_int_equal(chmod(in_dir("shared"), 01777), 0);
    assert_unsafe("shared", "chmod go-w");
    assert_int_equal(chmod(in_dir("shared"), 0755), 0);
    assert_int_equal(chown(in_dir("shared"), STRANGER, STRANGER), 0);
    assert_unsafe("shared", "chown it to root");
    assert_int_equal(symlink(in_dir("own"), in_dir("link")), 0);
    assert_int_equal(lchown(in_dir("link"), STRANGER, STRANGER), 0);
    assert_unsafe("link", "symbolic link");
    assert_unsafe("missing/below", "cannot make the directory");
    /* A path that is too long for a socket is no other socket's. */
    snprintf(deep, sizeof(deep), "%0120d", 0);
    assert_unsafe(deep, "at most");
    assert_int_equal(lstat(in_dir(deep), &st), -1);
}

/* One of many that start at the same moment: 0 it listens, 4 another does. It keeps listening until
 * `until` is at its end. */
static int start_together(int begin, int done, int until)
{
    struct problem p = {0};
    int fd = -1;
    char byte;

    if (read(begin, &byte, 1) != 0)
        return 1;
    int status = (int)activation_listen(in_dir("own"), "s", 0666, &fd, &p);
    byte = (char)status;
    return write(done, &byte, 1) == 1 && read(until, &byte, 1) == 0 ? status : 1;
}

static void start_many(void)
{
    int begin[2], done[2], until[2], status, winners = 0;
    pid_t pids[TOGETHER];
    char byte;

    assert_int_equal(pipe2(begin, O_CLOEXEC) | pipe2(done, O_CLOEXEC) | pipe2(until, O_CLOEXEC), 0);
    for (size_t i = 0; i < TOGETHER; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            close(begin[1]);
            close(until[1]);
            _exit(start_together(begin[0], done[1], until[0]));
        }
    }
    close(begin[1]);
    for (size_t i = 0; i < TOGETHER; i++)
        assert_int_equal(read(done[0], &byte, 1), 1);
    assert_int_equal(connect_to(in_dir("own/s")), 0);
    close(until[1]);
    for (size_t i = 0; i < TOGETHER; i++) {
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFEXITED(status));
        winners += WEXITSTATUS(status) == 0;
        assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == UIDPOOL_CONFLICT);
    }
    assert_int_equal(winners, 1);
    close(begin[0]);
    close(done[0]);
    close(done[1]);
    close(until[0]);
}

/* Over the dead socket of the round before, which each of them would remove. */
static void test_one_of_many_wins(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ROUNDS; i++)
        start_many();
}

static int set_up(void **state)
{
    (void)state;
    /* On a file system that goes with the namespace. */
    if (mount("tmpfs", "/tmp", "tmpfs", 0, "mode=1777") < 0 || !mkdtemp(dir))
        return -1;
    return mkdir(in_dir("run"), 0755) | mkdir(in_dir("userdb"), 0755);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_passed),
        cmocka_unit_test(test_passed_by_systemd),
        cmocka_unit_test(test_passed_what_is_no_listening_socket),
        cmocka_unit_test(test_passed_by_upstart),
        cmocka_unit_test(test_listen),
        cmocka_unit_test(test_a_full_queue_is_alive),
        cmocka_unit_test(test_what_is_no_stream_socket_stays),
        cmocka_unit_test(test_a_directory_of_others),
        cmocka_unit_test(test_one_of_many_wins),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
