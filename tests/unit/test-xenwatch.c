/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The messages between the daemon and its helper for xenstore: there and back, and what is refused;
 * and the life of the helper, with programs in its place that end, say nonsense, or nothing. */
#include "allocator/daemon/xenhelper.h"
#include "common/cleanup.h"
#include "common/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cmocka.h>

#define UUID "01234567-89ab-cdef-0123-456789abcdef"
#define PATIENCE (30 * USEC_PER_SEC)

static void there_and_back(void **state)
{
    static const char *const texts[] = {
        "alive",
        "down",
        "down No such file or directory",
        "scan 0",
        "scan 17",
        "marker",
        "marker 1-2 3 lost",
        "domain 5 - - -",
        "domain 32751 " UUID " 2147483647 web.1",
        "absent 0",
        "end",
        "want",
        "want 1 2 32751",
        "again",
        "mark 3 1-2 3",
        "kill-uid 5 - 1234",
        ("kill-uid 5 " UUID " 1234"),
        "ask 1 5 -",
        "ask 9223372036854775807 5 " UUID,
    };
    char back[XENWATCH_MESSAGE_MAX];
    struct xenwatch_message m;

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(texts); i++) {
        assert_int_equal(xenwatch_read(texts[i], &m), 0);
        assert_int_equal(xenwatch_write(&m, back), strlen(texts[i]));
        assert_string_equal(back, texts[i]);
    }
}

static void what_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        " ",
        "alive ",
        " alive",
        "aliv",
        "alive x",
        "ALIVE",
        "scan",
        "scan ",
        "scan -1",
        "scan 9223372036854775808",
        "scan 1 2",
        "end 1",
        "absent",
        "absent 32752",
        "absent -1",
        "absent 05",
        "absent 5 6",
        "absent  5",
        "domain 5",
        "domain 5 - -",
        "domain 5 - - ",
        "domain 5 - - - -",
        "domain 5 x - -",
        "domain 5 " UUID "0 - -",
        "domain 5 - 0 -",
        "domain 5 - 65534 -",
        "domain 5 - 2147483648 -",
        "domain 5 - - a/b",
        "domain 5 - - -x",
        "want x",
        "want 1  2",
        "want 1 2 ",
        "kill-uid 5 -",
        "kill-uid 5 1234",
        "ask 1 5",
        "ask 5 -",
        "mark x y",
    };
    struct xenwatch_message m = {.kind = XENWATCH_END};
    char text[XENWATCH_MESSAGE_MAX + 8];

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(texts); i++)
        if (xenwatch_read(texts[i], &m) != -EBADMSG)
            fail_msg("'%s' was taken", texts[i]);
    memset(text, 'x', sizeof(text));
    memcpy(text, "down ", 5);
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(xenwatch_read(text, &m), -EBADMSG);
    text[5 + XENWATCH_TEXT_MAX + 1] = '\0';
    assert_int_equal(xenwatch_read(text, &m), -EBADMSG);
    assert_int_equal(m.kind, XENWATCH_END); /* untouched */
    text[5 + XENWATCH_TEXT_MAX] = '\0';
    assert_int_equal(xenwatch_read(text, &m), 0);
    assert_int_equal(strlen(m.text), XENWATCH_TEXT_MAX);
}

/* The longest of each kind fits. */
static void the_longest_fits(void **state)
{
    struct xenwatch_message m = {.kind = XENWATCH_WANT}, back;
    char text[XENWATCH_MESSAGE_MAX];

    (void)state;
    for (m.n_wanted = 0; m.n_wanted < XENWATCH_WANT_MAX; m.n_wanted++)
        m.wanted[m.n_wanted] = DOMID_LAST;
    assert_true(xenwatch_write(&m, text) < XENWATCH_MESSAGE_MAX - 1);
    assert_int_equal(xenwatch_read(text, &back), 0);
    assert_int_equal(back.n_wanted, XENWATCH_WANT_MAX);
    (void)snprintf(text + strlen(text), 3, " 1");
    assert_int_equal(xenwatch_read(text, &back), -EBADMSG);
}

static void make_pair(int fds[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
}

static void over_a_socket(void **state)
{
    struct xenwatch_message m = {.kind = XENWATCH_ASK, .domid = 5}, back;
    int fds[2], pipe_fds[2], got = -1;
    char c;

    (void)state;
    make_pair(fds);
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    assert_int_equal(xenwatch_receive(fds[1], &back, &got), -EAGAIN);
    assert_int_equal(xenwatch_send(fds[0], &m, pipe_fds[1]), 0);
    close(pipe_fds[1]);
    assert_int_equal(xenwatch_receive(fds[1], &back, &got), 0);
    assert_int_equal(back.domid, 5);
    assert_int_equal(write(got, "y", 1), 1);
    close(got);
    assert_int_equal(read(pipe_fds[0], &c, 1), 1);
    assert_int_equal(read(pipe_fds[0], &c, 1), 0);
    /* A descriptor that nobody wants is no part of any message, and closed. */
    close(pipe_fds[0]);
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    assert_int_equal(xenwatch_send(fds[0], &m, pipe_fds[1]), 0);
    close(pipe_fds[1]);
    assert_int_equal(xenwatch_receive(fds[1], &back, NULL), -EBADMSG);
    assert_int_equal(read(pipe_fds[0], &c, 1), 0);
    close(pipe_fds[0]);
    /* Nonsense, and what comes after it. */
    assert_int_equal(send(fds[0], "ali\0ve", 6, 0), 6);
    assert_int_equal(send(fds[0], "alive", 5, 0), 5);
    assert_int_equal(xenwatch_receive(fds[1], &back, NULL), -EBADMSG);
    assert_int_equal(xenwatch_receive(fds[1], &back, NULL), 0);
    assert_int_equal(back.kind, XENWATCH_ALIVE);
    close(fds[0]);
    assert_int_equal(xenwatch_receive(fds[1], &back, NULL), -EPIPE);
    assert_int_equal(xenwatch_send(fds[1], &m, -1), -EPIPE);
    close(fds[1]);
}

/*
 * The life of a helper.
 */

struct life {
    sd_event *event;
    struct xenhelper *helper;
    unsigned began, ended, said;
    struct xenwatch_message last;
    char path[64];
};

static void on_began(void *userdata)
{
    ((struct life *)userdata)->began++;
}

static void on_said(const struct xenwatch_message *m, void *userdata)
{
    struct life *l = userdata;

    l->said++;
    l->last = *m;
}

static void on_ended(void *userdata)
{
    ((struct life *)userdata)->ended++;
}

static const struct xenhelper_calls calls = {on_began, on_said, on_ended};

/* A shell script in its place: descriptor 3 takes a message with each write. */
static void begin(struct life *l, const char *script)
{
    _cleanup_file_ FILE *file = NULL;
    int fd;

    *l = (struct life){0};
    (void)snprintf(l->path, sizeof(l->path), "/tmp/xenwatch-test-XXXXXX");
    fd = mkstemp(l->path);
    assert_true(fd >= 0);
    file = fdopen(fd, "w");
    assert_non_null(file);
    assert_true(fprintf(file, "#!/bin/sh\n%s\n", script) > 0);
    assert_int_equal(fchmod(fd, 0700), 0);
    assert_int_equal(sd_event_new(&l->event), 0);
    assert_int_equal(xenhelper_new(l->event, l->path, "/x", &calls, l, &l->helper), 0);
}

static void finish(struct life *l)
{
    xenhelper_free(l->helper);
    sd_event_unref(l->event);
    (void)unlink(l->path);
}

static void run_until(struct life *l, const unsigned *count, unsigned is)
{
    int64_t deadline = clock_monotonic_usec() + PATIENCE;

    while (*count < is) {
        assert_true(clock_monotonic_usec() < deadline);
        assert_true(sd_event_run(l->event, (uint64_t)USEC_PER_SEC) >= 0);
    }
}

static void it_speaks_and_listens(void **state)
{
    struct xenwatch_message m = {.kind = XENWATCH_AGAIN};
    struct life l;

    (void)state;
    /* It is told its socket, hears one message, and repeats it. */
    begin(&l, "printf 'down %s' \"$1\" >&3\n"
              "m=$(dd bs=1024 count=1 <&3 2>/dev/null)\nprintf \"$m\" >&3\nexec sleep 1000");
    assert_int_equal(xenhelper_send(l.helper, &m, -1), -ENOTCONN);
    run_until(&l, &l.said, 1);
    assert_int_equal(l.began, 1);
    assert_int_equal(l.last.kind, XENWATCH_DOWN);
    assert_string_equal(l.last.text, "/x");
    assert_int_equal(xenhelper_send(l.helper, &m, -1), 0);
    run_until(&l, &l.said, 2);
    assert_int_equal(l.last.kind, XENWATCH_AGAIN);
    finish(&l);
}

static void one_that_ends_is_started_again_later_each_time(void **state)
{
    int64_t begun = clock_monotonic_usec();
    struct life l;

    (void)state;
    begin(&l, "printf alive >&3\nexit 3");
    run_until(&l, &l.ended, 4);
    assert_int_equal(l.began, 4);
    /* 0.1, 0.2, 0.4 s between them. */
    assert_true(clock_monotonic_usec() - begun >= 700 * USEC_PER_MSEC);
    finish(&l);
}

static void one_that_talks_nonsense_is_ended(void **state)
{
    struct xenwatch_message m = {.kind = XENWATCH_AGAIN};
    struct life l;

    (void)state;
    begin(&l, "printf nonsense >&3\nexec sleep 1000");
    run_until(&l, &l.ended, 2);
    assert_int_equal(l.said, 0);
    assert_int_equal(xenhelper_send(l.helper, &m, -1), -ENOTCONN);
    finish(&l);
}

static void one_that_hangs_up_is_ended(void **state)
{
    struct life l;

    (void)state;
    begin(&l, "exec 3>&-\nexec sleep 1000");
    run_until(&l, &l.ended, 2);
    finish(&l);
}

static void one_that_is_not_there_is_waited_for(void **state)
{
    struct life l;
    unsigned none = 0;
    int64_t until;

    (void)state;
    begin(&l, "exec sleep 1000");
    assert_int_equal(chmod(l.path, 0600), 0);
    until = clock_monotonic_usec() + 300 * USEC_PER_MSEC;
    while (clock_monotonic_usec() < until)
        assert_true(sd_event_run(l.event, 10000) >= 0);
    assert_int_equal(l.began, none);
    assert_int_equal(chmod(l.path, 0700), 0);
    run_until(&l, &l.began, 1);
    finish(&l);
}

/* A whole scan shows that it can: then the next one is started soon again. */
static void a_scan_is_a_success(void **state)
{
    int64_t begun;
    struct life l;

    (void)state;
    begin(&l, "printf end >&3\nexit 0");
    run_until(&l, &l.ended, 1);
    begun = clock_monotonic_usec();
    run_until(&l, &l.ended, 11);
    assert_true(clock_monotonic_usec() - begun < PATIENCE);
    finish(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(the_longest_fits),
        cmocka_unit_test(over_a_socket),
        cmocka_unit_test(it_speaks_and_listens),
        cmocka_unit_test(one_that_ends_is_started_again_later_each_time),
        cmocka_unit_test(one_that_talks_nonsense_is_ended),
        cmocka_unit_test(one_that_hangs_up_is_ended),
        cmocka_unit_test(one_that_is_not_there_is_waited_for),
        cmocka_unit_test(a_scan_is_a_success),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
