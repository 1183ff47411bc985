/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Readiness: what is told to whom, by a parent that waits for it as each init does. */
#include "allocator/daemon/readiness.h"
#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cmocka.h>

static void assert_parsed(const char *text, enum readiness_kind kind, int fd)
{
    struct readiness r = {.kind = READINESS_AUTO, .fd = -2};

    assert_int_equal(readiness_parse(text, &r), 0);
    assert_int_equal(r.kind, kind);
    assert_int_equal(r.fd, fd);
}

static void test_parse(void **state)
{
    static const char *const wrong[] = {
        "",      "Auto", "auto ",         "fd",    "fd:",  "fd:-1",  "fd:+1",
        "fd:1 ", "fd:a", "fd:4294967296", "fd:01", "none", "systemd"};
    struct readiness r = {.kind = READINESS_SIGSTOP, .fd = -2};

    (void)state;
    assert_parsed("auto", READINESS_AUTO, -1);
    assert_parsed("notify", READINESS_NOTIFY, -1);
    assert_parsed("sigstop", READINESS_SIGSTOP, -1);
    assert_parsed("fd:3", READINESS_FD, 3);
    assert_parsed("fd:0", READINESS_FD, 0);
    for (size_t i = 0; i < ELEMENTS_OF(wrong); i++) {
        assert_int_equal(readiness_parse(wrong[i], &r), -EINVAL);
        assert_int_equal(r.kind, READINESS_SIGSTOP);
    }
}

static void test_fd(void **state)
{
    struct problem p = {0};
    struct readiness r;
    int pipe[2];
    char text[8];

    (void)state;
    assert_int_equal(pipe2(pipe, 0), 0);
    r = (struct readiness){READINESS_FD, pipe[1]};
    assert_int_equal(readiness_prepare(&r, &p), UIDPOOL_OK);
    assert_int_equal(fcntl(pipe[1], F_GETFD), FD_CLOEXEC);
    assert_int_equal(readiness_ready(&r, &p), UIDPOOL_OK);
    /* The newline, and then the end: nobody else has it. */
    assert_int_equal(read(pipe[0], text, sizeof(text)), 1);
    assert_int_equal(text[0], '\n');
    assert_int_equal(read(pipe[0], text, sizeof(text)), 0);
    /* A second time is none: the number may be another file's by now. */
    assert_int_equal(readiness_ready(&r, &p), UIDPOOL_OK);
    close(pipe[0]);
}

static void test_fd_that_is_not_there(void **state)
{
    struct problem p = {0};
    struct readiness r = {READINESS_FD, 77};
    int fd;

    (void)state;
    assert_int_equal(readiness_prepare(&r, &p), UIDPOOL_FAILED);
    assert_non_null(strstr(p.text, "fd:77"));
    fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    r.fd = fd;
    assert_int_equal(readiness_prepare(&r, &p), UIDPOOL_FAILED);
    close(fd);
}

static void test_fd_whose_reader_has_gone(void **state)
{
    struct problem p = {0};
    struct readiness r;
    int pipe[2];

    (void)state;
    assert_int_equal(pipe2(pipe, O_CLOEXEC), 0);
    close(pipe[0]);
    r = (struct readiness){READINESS_FD, pipe[1]};
    assert_int_equal(readiness_prepare(&r, &p), UIDPOOL_OK);
    assert_int_equal(readiness_ready(&r, &p), UIDPOOL_OK);
}

/* Standard output is still something afterwards, or the next file would be it. */
static void test_fd_that_is_standard_output(void **state)
{
    int pipe[2], status;
    char byte;
    pid_t pid;

    (void)state;
    assert_int_equal(pipe2(pipe, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        struct readiness r = {READINESS_FD, STDOUT_FILENO};
        bool is_right = dup2(pipe[1], STDOUT_FILENO) == STDOUT_FILENO &&
                        readiness_prepare(&r, NULL) == UIDPOOL_OK &&
                        readiness_ready(&r, NULL) == UIDPOOL_OK &&
                        fcntl(STDOUT_FILENO, F_GETFD) == 0;

        _exit(is_right ? 0 : 1);
    }
    close(pipe[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(read(pipe[0], &byte, 1), 1);
    assert_int_equal(read(pipe[0], &byte, 1), 0);
    close(pipe[0]);
}

/* As an init listens. */
static int make_notify_socket(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/tmp/notify"};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    (void)unlink(address.sun_path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(setenv("NOTIFY_SOCKET", address.sun_path, 1), 0);
    return fd;
}

/* NULL: nothing was said. */
static const char *heard(int fd)
{
    static char text[512];
    ssize_t n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);

    text[n < 0 ? 0 : n] = '\0';
    return n < 0 ? NULL : text;
}

static void test_notify(void **state)
{
    struct problem p = {0};
    struct readiness r = {READINESS_AUTO, -1};
    int fd = make_notify_socket();
    const char *text;

    (void)state;
    assert_int_equal(readiness_prepare(&r, &p), UIDPOOL_OK);
    assert_null(heard(fd));
    assert_int_equal(readiness_ready(&r, &p), UIDPOOL_OK);
    assert_string_equal(heard(fd), "READY=1");
    readiness_status("12 uids leased");
    assert_string_equal(heard(fd), "STATUS=12 uids leased");
    readiness_reloading();
    text = heard(fd);
    assert_ptr_equal(strstr(text, "RELOADING=1\nMONOTONIC_USEC="), text);
    readiness_reloaded();
    assert_string_equal(heard(fd), "READY=1");
    readiness_stopping();
    assert_string_equal(heard(fd), "STOPPING=1");
    (void)problem_set(&p, UIDPOOL_NOT_FOUND, "there is no ledger");
    readiness_failed(&p);
    assert_string_equal(heard(fd), "STATUS=there is no ledger\nERRNO=2");
    close(fd);
    /* Asked for by name, and nobody listens. */
    r = (struct readiness){READINESS_NOTIFY, -1};
    assert_int_equal(readiness_prepare(&r, &p), UIDPOOL_OK);
    assert_int_equal(readiness_ready(&r, &p), UIDPOOL_FAILED);
    unsetenv("NOTIFY_SOCKET");
    assert_int_equal(readiness_prepare(&r, &p), UIDPOOL_FAILED);
    assert_non_null(strstr(p.text, "NOTIFY_SOCKET"));
}

static void test_nobody_listens(void **state)
{
    struct problem p = {0};
    struct readiness r = {READINESS_AUTO, -1};

    (void)state;
    assert_int_equal(readiness_prepare(&r, &p), UIDPOOL_OK);
    assert_int_equal(r.kind, READINESS_AUTO);
    assert_int_equal(readiness_ready(&r, &p), UIDPOOL_OK);
    readiness_status("x");
    readiness_reloading();
    readiness_stopping();
}

/* How a child ends, or stops, that is ready under this job's name. */
static int ready_under(const char *job, enum readiness_kind kind)
{
    struct readiness r = {kind, -1};
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        if (job)
            setenv("UPSTART_JOB", job, 1);
        _exit(readiness_prepare(&r, NULL) == UIDPOOL_OK ? (int)readiness_ready(&r, NULL) : 99);
    }
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    if (WIFSTOPPED(status)) {
        int end;

        assert_int_equal(kill(pid, SIGCONT), 0);
        assert_int_equal(waitpid(pid, &end, 0), pid);
        assert_int_equal(end, 0);
    }
    return status;
}

static void test_sigstop(void **state)
{
    int status = ready_under("uidpoold", READINESS_AUTO);

    (void)state;
    assert_true(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    status = ready_under(NULL, READINESS_SIGSTOP);
    assert_true(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    /* Of a session of upstart: nobody would wake it. */
    assert_int_equal(ready_under("gnome-session", READINESS_AUTO), 0);
    assert_int_equal(ready_under(NULL, READINESS_AUTO), 0);
}

static int set_up(void **state)
{
    (void)state;
    (void)signal(SIGPIPE, SIG_IGN);
    unsetenv("NOTIFY_SOCKET");
    unsetenv("UPSTART_JOB");
    return mount("tmpfs", "/tmp", "tmpfs", 0, "mode=1777");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_fd),
        cmocka_unit_test(test_fd_that_is_not_there),
        cmocka_unit_test(test_fd_whose_reader_has_gone),
        cmocka_unit_test(test_fd_that_is_standard_output),
        cmocka_unit_test(test_notify),
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_sigstop),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
