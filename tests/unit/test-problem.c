/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Problems, and the text that reaches a terminal: one line, well-formed, nothing that steers it.
 */
#include "common/cleanup.h"
#include "common/log.h"
#include "common/problem.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_set(void **state)
{
    struct problem p = {0};

    (void)state;
    assert_int_equal(problem_set(&p, UIDPOOL_CONFLICT, "uid %u is %s", 7u, "taken"),
                     UIDPOOL_CONFLICT);
    assert_int_equal(p.status, UIDPOOL_CONFLICT);
    assert_string_equal(p.text, "uid 7 is taken");
    assert_int_equal(problem_set(NULL, UIDPOOL_LEDGER, "%s", "nobody listens"), UIDPOOL_LEDGER);
    /* Words around the text that is already there. */
    problem_set(&p, UIDPOOL_FAILED, "pool x: %s", p.text);
    assert_string_equal(p.text, "pool x: uid 7 is taken");
}

static void test_errno(void **state)
{
    struct problem p = {0};

    (void)state;
    assert_int_equal(problem_errno(&p, -ENOENT, "cannot open %s", "/x"), UIDPOOL_FAILED);
    assert_string_equal(p.text, "cannot open /x: No such file or directory");
    assert_int_equal(problem_errno(&p, -EPERM, "cannot kill"), UIDPOOL_NOT_PERMITTED);
    assert_int_equal(p.status, UIDPOOL_NOT_PERMITTED);
    assert_string_equal(p.text, "cannot kill: Operation not permitted");
    assert_int_equal(problem_errno(&p, -EACCES, "x"), UIDPOOL_NOT_PERMITTED);
    assert_int_equal(problem_errno(NULL, -EACCES, "x"), UIDPOOL_NOT_PERMITTED);
    assert_int_equal(problem_errno(NULL, -ENOSPC, "x"), UIDPOOL_FAILED);
}

static void test_long(void **state)
{
    struct problem p = {0};
    char text[3000];

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    problem_set(&p, UIDPOOL_FAILED, "%s", text);
    assert_int_equal(strlen(p.text), sizeof(p.text) - 1);
    problem_errno(&p, -ENOENT, "%s", text);
    assert_int_equal(strlen(p.text), sizeof(p.text) - 1);
    /* Cut in the middle of a character. */
    text[sizeof(p.text) - 2] = '\xc3';
    text[sizeof(p.text) - 1] = '\xa4';
    problem_set(&p, UIDPOOL_FAILED, "%s", text);
    assert_int_equal(p.text[sizeof(p.text) - 2], '?');
}

static void test_printable(void **state)
{
    static const struct {
        const char *from, *to;
    } table[] = {
        {"plain", "plain"},
        {"", ""},
        {"a\nb\tc\x1b[31m\x7f", "a?b?c?[31m?"},
        {"\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80", "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80"},
        {"\xc2\x9b"
         "31m",
         "??31m"},
        {"\xc2\xa0", "\xc2\xa0"},
        {"\xc3", "?"},
        {"\xe2\x82", "??"},
        {"\xe2\x82x", "??x"},
        {"\xa4\xff\xfe", "???"},
        {"\xc0\xaf \xe0\x80\xaf \xf0\x80\x80\xaf", "?? ??? ????"},
        {"\xed\xa0\x80", "???"},
        {"\xf4\x90\x80\x80 \xf5\x80\x80\x80", "???? ????"},
        {"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"},
    };
    struct problem p = {0};

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(table); i++) {
        problem_set(&p, UIDPOOL_FAILED, "%s", table[i].from);
        assert_string_equal(p.text, table[i].to);
    }
}

static void test_sanitize(void **state)
{
    char to[8] = "1234567";

    (void)state;
    text_sanitize(to, sizeof(to), "a\nb\xc3\xa4\x7fgh");
    assert_string_equal(to, "a?b???g");
    text_sanitize(to, 1, "abc");
    assert_string_equal(to, "");
    to[0] = 'x';
    text_sanitize(to, 0, "abc");
    assert_int_equal(to[0], 'x');
    text_sanitize(to, sizeof(to), "abc");
    assert_string_equal(to, "abc");
}

static void test_log(void **state)
{
    char text[256];
    int ends[2], saved;
    ssize_t n;

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    assert_true(saved >= 0 && dup2(ends[1], STDERR_FILENO) == STDERR_FILENO);
    log_error("uid %d\nis lost", 7);
    log_set_name("uidpoold");
    log_warning("w");
    log_notice("n");
    assert_true(dup2(saved, STDERR_FILENO) == STDERR_FILENO);
    close_fd(saved);
    close_fd(ends[1]);
    n = read(ends[0], text, sizeof(text) - 1);
    assert_true(n > 0);
    text[n] = '\0';
    assert_string_equal(text, "uidpool: uid 7?is lost\nuidpoold: warning: w\nuidpoold: n\n");
    close_fd(ends[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set),      cmocka_unit_test(test_errno),
        cmocka_unit_test(test_long),     cmocka_unit_test(test_printable),
        cmocka_unit_test(test_sanitize), cmocka_unit_test(test_log),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
