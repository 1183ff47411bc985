/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bytes become messages in the same way however they are cut, and a message that is too long is
 * noticed at the limit. */
#include "allocator/daemon/frame.h"

#include "common/cleanup.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* As much of it as there is room for. */
static size_t give_some(struct frame *f, const char *data, size_t size)
{
    size_t room;
    char *to;

    assert_int_equal(frame_room(f, &to, &room), 0);
    assert_true(room > 0);
    if (room > size)
        room = size;
    memcpy(to, data, room);
    frame_filled(f, room);
    return room;
}

static void expect(struct frame *f, const char *text)
{
    const char *message;
    size_t size;

    assert_true(frame_is_whole(f));
    assert_true(frame_take(f, &message, &size));
    assert_int_equal(size, strlen(text));
    /* The NUL as well. */
    assert_memory_equal(message, text, size + 1);
}

static void expect_none(struct frame *f)
{
    const char *message;
    size_t size;

    assert_false(frame_is_whole(f));
    assert_false(frame_take(f, &message, &size));
}

static void test_many_at_once(void **state)
{
    struct frame *f = frame_new(100);
    size_t room;
    char *to;

    (void)state;
    expect_none(f);
    assert_int_equal(frame_pending(f), 0);
    assert_int_equal(give_some(f, "one\0two\0\0thr", 12), 12);
    assert_int_equal(frame_pending(f), 3);
    assert_int_equal(frame_room(f, &to, &room), -EBUSY);
    expect(f, "one");
    assert_int_equal(frame_room(f, &to, &room), -EBUSY);
    expect(f, "two");
    expect(f, "");
    expect_none(f);
    assert_int_equal(frame_pending(f), 3);
    give_some(f, "ee", 3);
    assert_int_equal(frame_pending(f), 0);
    expect(f, "three");
    expect_none(f);
    frame_free(f);
    frame_free(NULL);
}

/* Every limit, every size around it, and in pieces of every size. */
static void test_every_cut(void **state)
{
    char text[64];

    (void)state;
    memset(text, 'x', sizeof(text));
    for (size_t limit = 0; limit < 20; limit++) {
        for (size_t size = 0; size <= limit; size++) {
            for (size_t piece = 1; piece <= size + 1; piece++) {
                struct frame *f = frame_new(limit);
                size_t given = 0;

                text[size] = '\0';
                while (given <= size) {
                    size_t n = size + 1 - given;

                    expect_none(f);
                    given += give_some(f, text + given, n < piece ? n : piece);
                }
                expect(f, text);
                expect_none(f);
                text[size] = 'x';
                frame_free(f);
            }
        }
    }
}

static void test_too_long(void **state)
{
    static const size_t limits[] = {0, 1, 2047, 2048, 4096, 65536};
    size_t room, given;
    char *to;

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(limits); i++) {
        struct frame *f = frame_new(limits[i]);

        for (given = 0; frame_room(f, &to, &room) == 0; given += room) {
            assert_true(room > 0 && room <= limits[i] + 1);
            memset(to, 'x', room);
            frame_filled(f, room);
            expect_none(f);
        }
        assert_int_equal(frame_room(f, &to, &room), -EMSGSIZE);
        assert_int_equal(given, limits[i] + 1);
        assert_int_equal(frame_pending(f), limits[i] + 1);
        frame_free(f);
    }
}

/* What is whole is taken, whatever comes behind it. */
static void test_too_long_behind_a_whole_one(void **state)
{
    struct frame *f = frame_new(4);
    size_t room;
    char *to;

    (void)state;
    assert_int_equal(give_some(f, "ab\0xx", 5), 5);
    expect(f, "ab");
    expect_none(f);
    give_some(f, "xxx", 3);
    expect_none(f);
    assert_int_equal(frame_room(f, &to, &room), -EMSGSIZE);
    frame_free(f);
}

/* A long stream, in pieces that do not fit its messages. */
static void test_stream(void **state)
{
    struct frame *f = frame_new(5000);
    size_t taken = 0, sent = 0, size, room, at = 0;
    const char *message;
    char *to;

    (void)state;
    while (taken < 3000) {
        while (frame_take(f, &message, &size)) {
            assert_int_equal(size, (taken * 37) % 5001);
            assert_int_equal(strspn(message, "y"), size);
            taken++;
        }
        assert_int_equal(frame_room(f, &to, &room), 0);
        room = room < 777 ? room : 777;
        for (size_t i = 0; i < room; i++) {
            if (at == (sent * 37) % 5001) {
                to[i] = '\0';
                sent++;
                at = 0;
            } else {
                to[i] = 'y';
                at++;
            }
        }
        frame_filled(f, room);
    }
    frame_free(f);
}

static void test_limit_without_end(void **state)
{
    (void)state;
    assert_null(frame_new(SIZE_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_at_once), cmocka_unit_test(test_every_cut),
        cmocka_unit_test(test_too_long),     cmocka_unit_test(test_too_long_behind_a_whole_one),
        cmocka_unit_test(test_stream),       cmocka_unit_test(test_limit_without_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
