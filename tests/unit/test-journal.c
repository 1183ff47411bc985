/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the administrator reads: fields in the journal, datagrams at syslog's socket, lines in a
 * pipe; and that nobody waits for a logger that does not read. Journal and syslog are the test's
 * own sockets, on file systems that go with the namespace.
 */
#include "allocator/daemon/journal.h"
#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include <cmocka.h>

static const struct uidpool_lease lease = {.id = 77,
                                           .pool = "xen",
                                           .uid = 2115108870,
                                           .count = 1,
                                           .domid = 5,
                                           .uuid = "01234567-89ab-cdef-0123-456789abcdef"};
static int standard_error;

/* Standard error is `fd` until restore(). */
static void redirect(int fd, int least)
{
    standard_error = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
    assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
    journal_open(least);
}

static void restore(void)
{
    assert_int_equal(dup2(standard_error, STDERR_FILENO), STDERR_FILENO);
    close(standard_error);
    unsetenv("JOURNAL_STREAM");
    journal_open(LOG_INFO);
}

static int make_receiver(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

/* What can be read there now, as text; empty: nothing. */
static const char *heard(int fd)
{
    static char text[16384];
    ssize_t n = read(fd, text, sizeof(text) - 1);

    text[n < 0 ? 0 : n] = '\0';
    return text;
}

static void test_lines(void **state)
{
    int pipe[2];

    (void)state;
    assert_int_equal(pipe2(pipe, O_CLOEXEC), 0);
    assert_int_equal(fcntl(pipe[0], F_SETFL, O_NONBLOCK), 0);
    redirect(pipe[1], LOG_NOTICE);
    journal_say(LOG_ERR, "one %d", 1);
    journal_say(LOG_INFO, "not of interest");
    journal_lease(LOG_NOTICE, JOURNAL_LEASED, &lease, "leased to a\nb\033[2J\xff");
    restore();
    assert_string_equal(heard(pipe[0]), "uidpoold: one 1\nuidpoold: leased to a?b?[2J?\n");
    /* The pipe is as it was for whoever else has it. */
    assert_int_equal(fcntl(pipe[1], F_GETFL) & O_NONBLOCK, 0);
    close(pipe[0]);
    close(pipe[1]);
}

static void test_a_long_line_is_cut(void **state)
{
    char text[9000];
    int pipe[2];
    const char *line;

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(pipe2(pipe, O_CLOEXEC), 0);
    redirect(pipe[1], LOG_INFO);
    journal_say(LOG_ERR, "%s", text);
    restore();
    line = heard(pipe[0]);
    assert_in_range(strlen(line), 1000, 2200);
    assert_int_equal(line[strlen(line) - 1], '\n');
    close(pipe[0]);
    close(pipe[1]);
}

/* It would hang here. */
static void test_nobody_reads(void **state)
{
    static char text[1 << 20];
    int pipe[2];
    ssize_t n;

    (void)state;
    assert_int_equal(pipe2(pipe, O_CLOEXEC), 0);
    redirect(pipe[1], LOG_INFO);
    for (unsigned i = 0; i < 100000; i++)
        journal_say(LOG_ERR, "line %u", i);
    n = read(pipe[0], text, sizeof(text) - 1);
    assert_true(n > 0);
    journal_say(LOG_ERR, "the last");
    journal_say(LOG_ERR, "and one more");
    restore();
    close(pipe[1]);
    n = read(pipe[0], text, sizeof(text) - 1);
    assert_true(n > 0);
    text[n] = '\0';
    assert_non_null(
        strstr(text, " lines were lost before this) the last\nuidpoold: and one more\n"));
    close(pipe[0]);
}

/* As journald's stream: the priority is before the line where its own socket is not to be had. */
static void test_the_journals_stream(void **state)
{
    char id[64];
    struct stat st;
    int pair[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    assert_int_equal(fstat(pair[1], &st), 0);
    snprintf(id, sizeof(id), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    setenv("JOURNAL_STREAM", id, 1);
    redirect(pair[1], LOG_INFO);
    journal_lease(LOG_WARNING, JOURNAL_NOT_PROVEN, &lease, "not yet");
    restore();
    assert_string_equal(heard(pair[0]), "<4>not yet\n");
    /* Of another descriptor: redirected since. */
    setenv("JOURNAL_STREAM", "1:1", 1);
    redirect(pair[1], LOG_INFO);
    journal_say(LOG_WARNING, "elsewhere");
    restore();
    assert_string_equal(heard(pair[0]), "uidpoold: elsewhere\n");
    close(pair[0]);
    close(pair[1]);
}

static void test_the_journal(void **state)
{
    static const char *const fields[] = {
        "MESSAGE=uid 2115108870 cannot be proven empty",
        "PRIORITY=4",
        "SYSLOG_IDENTIFIER=uidpoold",
        "MESSAGE_ID=1a0656b2cdef4f4ca250a003a988de07",
        "UIDPOOL_POOL=xen",
        "UIDPOOL_UID=2115108870",
        "UIDPOOL_DOMID=5",
        "UIDPOOL_LEASE=77",
        "UIDPOOL_UUID=01234567-89ab-cdef-0123-456789abcdef",
    };
    struct stat st;
    const char *text;
    char id[64], line[128];
    int pair[2], fd;

    (void)state;
    assert_int_equal(mkdir("/run/systemd", 0755), 0);
    assert_int_equal(mkdir("/run/systemd/journal", 0755), 0);
    fd = make_receiver("/run/systemd/journal/socket");
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    assert_int_equal(fstat(pair[1], &st), 0);
    snprintf(id, sizeof(id), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    setenv("JOURNAL_STREAM", id, 1);
    redirect(pair[1], LOG_INFO);
    journal_lease(LOG_WARNING, JOURNAL_NOT_PROVEN, &lease, "uid %u cannot be proven empty",
                  lease.uid);
    restore();
    text = heard(fd);
    for (size_t i = 0; i < ELEMENTS_OF(fields); i++) {
        snprintf(line, sizeof(line), "%s\n", fields[i]);
        assert_non_null(strstr(text, line));
    }
    assert_null(strstr(text, "UIDPOOL_NAME"));
    assert_null(strstr(text, "CODE_FILE"));
    /* Once, not on the stream as well. */
    assert_string_equal(heard(pair[0]), "");
    close(pair[0]);
    close(pair[1]);
    close(fd);
}

static void test_syslog(void **state)
{
    const char *text;
    int null, fd;

    (void)state;
    assert_int_equal(mount("tmpfs", "/dev", "tmpfs", 0, "mode=0755"), 0);
    assert_int_equal(mknod("/dev/null", S_IFCHR | 0666, makedev(1, 3)), 0);
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    assert_true(null >= 0);
    redirect(null, LOG_INFO);
    journal_say(LOG_ERR, "nobody is there yet");
    fd = make_receiver("/dev/log");
    journal_say(LOG_ERR, "one");
    text = heard(fd);
    assert_ptr_equal(strstr(text, "<27>"), text);
    assert_non_null(strstr(text, " uidpoold["));
    assert_non_null(strstr(text, "]: one"));
    /* It was started anew. */
    close(fd);
    assert_int_equal(unlink("/dev/log"), 0);
    fd = make_receiver("/dev/log");
    journal_say(LOG_WARNING, "two");
    assert_non_null(strstr(heard(fd), "]: two"));
    /* It is stuck: nobody waits. */
    for (unsigned i = 0; i < 100000; i++)
        journal_say(LOG_ERR, "line %u", i);
    restore();
    close(fd);
    close(null);
}

static int set_up(void **state)
{
    (void)state;
    unsetenv("JOURNAL_STREAM");
    return mount("tmpfs", "/run", "tmpfs", 0, "mode=0755");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),        cmocka_unit_test(test_a_long_line_is_cut),
        cmocka_unit_test(test_nobody_reads), cmocka_unit_test(test_the_journals_stream),
        cmocka_unit_test(test_the_journal),  cmocka_unit_test(test_syslog),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
