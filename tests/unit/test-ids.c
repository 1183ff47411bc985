/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Text to numbers, names and uuids: what is taken, what is refused, and that refusal leaves the
 * output alone.
 */
#include "common/cleanup.h"
#include "common/ids.h"
#include "uidpool.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Not a number for any of the parsers. */
static const char *const rubbish[] = {
    "",
    " ",
    "-",
    "-1",
    "+1",
    " 1",
    "1 ",
    "1\n",
    "\t1",
    "0x1",
    "1x",
    "x1",
    "01",
    "00",
    "007",
    "1.0",
    "1e3",
    "1,0",
    "1_000",
    "0b1",
    "\xc2\xb2",
    "١",
    "--1",
    "1-",
    "1;",
    "nan",
    "inf",
    "auto",
    "99999999999999999999x",
    "0000000000000000000000001",
};

static void test_u64(void **state)
{
    static const struct {
        const char *text;
        uint64_t max;
        int result;
        uint64_t value;
    } table[] = {
        {"0", 0, 0, 0},
        {"1", 0, -ERANGE, 0},
        {"9", 10, 0, 9},
        {"10", 10, 0, 10},
        {"11", 10, -ERANGE, 0},
        {"18446744073709551615", UINT64_MAX, 0, UINT64_MAX},
        {"18446744073709551616", UINT64_MAX, -ERANGE, 0},
        {"18446744073709551619", UINT64_MAX, -ERANGE, 0},
        {"184467440737095516150", UINT64_MAX, -ERANGE, 0},
        {"99999999999999999999999999999999", UINT64_MAX, -ERANGE, 0},
    };
    uint64_t value = 42;

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(rubbish); i++) {
        assert_int_equal(parse_u64(rubbish[i], UINT64_MAX, &value), -EINVAL);
        assert_int_equal(value, 42);
    }
    assert_int_equal(parse_u64(NULL, 1, &value), -EINVAL);
    for (size_t i = 0; i < ELEMENTS_OF(table); i++) {
        value = 42;
        assert_int_equal(parse_u64(table[i].text, table[i].max, &value), table[i].result);
        assert_int_equal(value, table[i].result < 0 ? 42 : table[i].value);
    }
}

static void test_uid(void **state)
{
    static const struct {
        const char *text;
        int result;
        uid_t value;
    } table[] = {
        {"1", 0, 1},
        {"65533", 0, 65533},
        {"65536", 0, 65536},
        {"2113929216", 0, 2113929216},
        {"2147483647", 0, 2147483647},
        {"0", -ERANGE, 0},
        {"65534", -ERANGE, 0},
        {"65535", -ERANGE, 0},
        {"2147483648", -ERANGE, 0},
        {"4294967294", -ERANGE, 0},
        {"4294967295", -ERANGE, 0},
        {"4294967296", -ERANGE, 0},
        {"4294967297", -ERANGE, 0},
        {"18446744073709551617", -ERANGE, 0},
        {"root", -EINVAL, 0},
        {"-1", -EINVAL, 0},
    };

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(table); i++) {
        uid_t uid = 42;
        gid_t gid = 42;

        assert_int_equal(parse_uid(table[i].text, &uid), table[i].result);
        assert_int_equal(parse_gid(table[i].text, &gid), table[i].result);
        assert_int_equal(uid, table[i].result < 0 ? 42 : table[i].value);
        assert_int_equal(gid, uid);
    }
}

static void test_domid_and_count(void **state)
{
    int64_t domid = 42;
    uint32_t count = 42;

    (void)state;
    assert_int_equal(parse_domid("32752", &domid), -ERANGE);
    assert_int_equal(parse_domid("-1", &domid), -EINVAL);
    assert_int_equal(domid, 42);
    assert_int_equal(parse_domid("32751", &domid), 0);
    assert_int_equal(domid, 32751);
    assert_int_equal(parse_domid("0", &domid), 0);
    assert_int_equal(domid, 0);

    assert_int_equal(parse_count("0", &count), -ERANGE);
    assert_int_equal(parse_count("2147483648", &count), -ERANGE);
    assert_int_equal(parse_count("4294967297", &count), -ERANGE);
    assert_int_equal(parse_count("", &count), -EINVAL);
    assert_int_equal(count, 42);
    assert_int_equal(parse_count("2147483647", &count), 0);
    assert_int_equal(count, 2147483647);
    assert_int_equal(parse_count("1", &count), 0);
    assert_int_equal(count, 1);
}

static void test_seconds(void **state)
{
    static const struct {
        const char *text;
        int result;
        uint32_t value;
    } table[] = {
        {"0", 0, 0},
        {"0d", 0, 0},
        {"60", 0, 60},
        {"60s", 0, 60},
        {"90m", 0, 5400},
        {"2h", 0, 7200},
        {"1d", 0, 86400},
        {"3650d", 0, 315360000},
        {"315360000", 0, 315360000},
        {"3651d", -ERANGE, 0},
        {"87601h", -ERANGE, 0},
        {"315360001", -ERANGE, 0},
        {"4294967296", -ERANGE, 0},
        {"49711d", -ERANGE, 0},
        {"99999999999999999999d", -ERANGE, 0},
        {"s", -EINVAL, 0},
        {"", -EINVAL, 0},
        {"1w", -EINVAL, 0},
        {"1M", -EINVAL, 0},
        {"1ms", -EINVAL, 0},
        {"1 m", -EINVAL, 0},
        {"-1m", -EINVAL, 0},
        {"1m30s", -EINVAL, 0},
        {"01m", -EINVAL, 0},
    };

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(table); i++) {
        uint32_t value = 42;

        assert_int_equal(parse_seconds(table[i].text, &value), table[i].result);
        assert_int_equal(value, table[i].result < 0 ? 42 : table[i].value);
    }
    assert_int_equal(parse_seconds(NULL, NULL), -EINVAL);
}

static void test_ranges(void **state)
{
    (void)state;
    assert_true(uid_is_usable(1));
    assert_false(uid_is_usable(0));
    assert_false(uid_is_usable(65534));
    assert_false(uid_is_usable(65535));
    assert_true(uid_is_usable(UID_END - 1));
    assert_false(uid_is_usable(UID_END));
    assert_false(uid_is_usable(UINT32_MAX));
    assert_false(uid_is_usable(UINT64_MAX));

    assert_true(uid_range_is_usable(1, 65533));
    assert_false(uid_range_is_usable(1, 65534));
    assert_false(uid_range_is_usable(65535, 1));
    assert_true(uid_range_is_usable(65536, 1));
    assert_true(uid_range_is_usable(65536, UID_END - 65536));
    assert_false(uid_range_is_usable(65536, UID_END - 65535));
    assert_false(uid_range_is_usable(0, 1));
    assert_false(uid_range_is_usable(1, 0));
    assert_false(uid_range_is_usable(UID_END - 1, 2));
    assert_false(uid_range_is_usable(UID_END, 1));
    assert_false(uid_range_is_usable(100000, UINT64_MAX));
    assert_false(uid_range_is_usable(UINT64_MAX, 2));

    assert_true(uid_ranges_overlap(10, 5, 14, 1));
    assert_true(uid_ranges_overlap(14, 1, 10, 5));
    assert_true(uid_ranges_overlap(10, 5, 11, 2));
    assert_true(uid_ranges_overlap(10, 1, 10, 1));
    assert_false(uid_ranges_overlap(10, 5, 15, 5));
    assert_false(uid_ranges_overlap(15, 5, 10, 5));
    assert_false(uid_ranges_overlap(10, 0, 10, 5));
    assert_false(uid_ranges_overlap(10, 5, 12, 0));
    assert_true(uid_ranges_overlap(UINT64_MAX, 5, UINT64_MAX, 5));
    assert_true(uid_ranges_overlap(0, UINT64_MAX, UINT64_MAX - 1, 1));
    assert_false(uid_ranges_overlap(UINT64_MAX, 5, 0, 4));
}

/* Against counting one by one. */
static void test_ranges_exhaustively(void **state)
{
    (void)state;
    for (unsigned a = 0; a < 6; a++)
        for (unsigned an = 0; an < 6; an++)
            for (unsigned b = 0; b < 6; b++)
                for (unsigned bn = 0; bn < 6; bn++) {
                    bool meet = false;

                    for (unsigned i = a; i < a + an; i++)
                        if (i >= b && i < b + bn)
                            meet = true;
                    assert_int_equal(uid_ranges_overlap(a, an, b, bn), meet);
                }
}

static void test_name(void **state)
{
    static const char *const good[] = {
        "a",
        "Z",
        "0",
        "_",
        "xen-qemuuser",
        "a.b",
        "host:vm1",
        "me@host",
        "x+y",
        "5",
        "_-",
        "123456789012345678901234567890123456789012345678901234567890abc",
    };
    static const char *const bad[] = {
        "",    "-a",    ".",   "..",
        ".a",  ":",     "@",   "+",
        "a b", " a",    "a ",  "a/b",
        "a\n", "a\x7f", "ä",   "a\xff",
        "a*",  "a%n",   "a'b", "a\"",
        "a;b", "a$b",   "a\\", "123456789012345678901234567890123456789012345678901234567890abcd",
    };

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(good); i++)
        if (!name_is_valid(good[i]))
            fail_msg("refused: %s", good[i]);
    for (size_t i = 0; i < ELEMENTS_OF(bad); i++)
        if (name_is_valid(bad[i]))
            fail_msg("taken: %s", bad[i]);
    assert_false(name_is_valid(NULL));
    assert_int_equal(strlen(good[ELEMENTS_OF(good) - 1]), UIDPOOL_NAME_MAX);
}

static void test_uuid(void **state)
{
    static const char *const bad[] = {
        "",
        "0",
        "01234567-89ab-cdef-0123-456789abcde",
        "01234567-89ab-cdef-0123-456789abcdef0",
        "0123456789abcdef0123456789abcdef",
        "01234567-89ab-cdef-0123-456789abcdeg",
        "01234567-89ab-cdef-0123-456789abcde ",
        " 01234567-89ab-cdef-0123-456789abcdef",
        "{01234567-89ab-cdef-0123-456789abcdef}",
        "01234567_89ab_cdef_0123_456789abcdef",
        "0123456-789ab-cdef-0123-456789abcdef",
        "-1234567-89ab-cdef-0123-456789abcdef",
    };
    char uuid[37] = "unchanged";

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(bad); i++) {
        assert_int_equal(parse_uuid(bad[i], uuid), -EINVAL);
        assert_string_equal(uuid, "unchanged");
    }
    assert_int_equal(parse_uuid(NULL, uuid), -EINVAL);
    assert_int_equal(parse_uuid("01234567-89AB-cDEf-0123-456789ABCDEF", uuid), 0);
    assert_string_equal(uuid, "01234567-89ab-cdef-0123-456789abcdef");
    assert_int_equal(strlen(uuid), UIDPOOL_UUID_LEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_u64),     cmocka_unit_test(test_uid),
        cmocka_unit_test(test_seconds), cmocka_unit_test(test_domid_and_count),
        cmocka_unit_test(test_ranges),  cmocka_unit_test(test_ranges_exhaustively),
        cmocka_unit_test(test_name),    cmocka_unit_test(test_uuid),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
