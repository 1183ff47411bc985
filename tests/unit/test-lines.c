/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files to lines and back: every byte that is accepted comes back. In memory alone. */
#include "common/cleanup.h"
#include "common/clock.h"
#include "provision/lines.h"
#include "tests/unit/compose.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define PATH "/etc/passwd"

/* Exactly as long as the contract asks for, so that the address sanitizer sees a byte too far. */
static enum uidpool_status split_bytes(const char *bytes, size_t size, struct lines *ret,
                                       struct problem *p)
{
    char *data = malloc(size + 1);

    assert_non_null(data);
    memcpy(data, bytes, size);
    return lines_split(PATH, data, size, ret, p);
}

static struct lines split(const char *text)
{
    struct lines l = {0};
    struct problem p = {0};

    if (split_bytes(text, strlen(text), &l, &p) != UIDPOOL_OK)
        fail_msg("\"%s\": %s", text, p.text);
    return l;
}

static void refuse_bytes(const char *bytes, size_t size, const char *words)
{
    struct lines l = {.n = 77};
    struct problem p = {0};

    assert_int_equal(split_bytes(bytes, size, &l, &p), UIDPOOL_FAILED);
    assert_int_equal(p.status, UIDPOOL_FAILED);
    assert_int_equal(l.n, 77);
    if (!strstr(p.text, words))
        fail_msg("\"%s\" where \"%s\" was due", p.text, words);
}

static void refuse(const char *text, const char *words)
{
    refuse_bytes(text, strlen(text), words);
}

static void expect_composed(const struct draft *d, const struct lines *l, const char *want)
{
    _cleanup_free_ char *data = NULL;
    size_t size = 0;

    assert_int_equal(compose(d, l, &data, &size), 0);
    if (size != strlen(want) || memcmp(data, want, size) != 0)
        fail_msg("\"%.*s\" where \"%s\" was due", (int)size, data, want);
}

static void test_split(void **state)
{
    static const struct {
        const char *text;
        size_t n;
        bool cut_off;
    } files[] = {
        {"", 0, false},         {"\n", 1, false},  {"a", 1, true},     {"a\n", 1, false},
        {"a\n\nb\n", 3, false}, {"a\nb", 2, true}, {"\n\n", 2, false}, {" \r \n\r\rx\n", 2, false},
    };
    const struct draft none = {0};

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(files); i++) {
        struct lines l = split(files[i].text);

        assert_int_equal(l.n, files[i].n);
        assert_int_equal(l.cut_off, files[i].cut_off);
        assert_int_equal(l.size, strlen(files[i].text));
        expect_composed(&none, &l, files[i].text);
        lines_clear(&l);
        assert_null(l.data);
    }
}

static void test_the_lines_themselves(void **state)
{
    struct lines l = split("first:1\n\n#third\nlast");

    (void)state;
    assert_string_equal(l.items[0], "first:1");
    assert_string_equal(l.items[1], "");
    assert_string_equal(l.items[2], "#third");
    assert_string_equal(l.items[3], "last");
    lines_clear(&l);
}

static void test_refused_bytes(void **state)
{
    (void)state;
    refuse_bytes("a\nb\0c\n", 6, PATH ", line 2 holds a NUL byte");
    refuse_bytes("\0", 1, ", line 1 holds a NUL");
    refuse_bytes("a\n\0", 3, "restore the file from its backup " PATH "-");
    refuse("a\nb\r\nc\n", PATH ", line 2 ends in a carriage return");
    refuse("a\r", ", line 1 ends in a carriage return");
    refuse("\r\n", "sed -i 's/\\r$//' " PATH);
}

static void test_refused_lengths(void **state)
{
    size_t size = LINES_FILE_MAX + 1;
    _cleanup_free_ char *large = malloc(size);
    struct lines l = {0};

    (void)state;
    assert_non_null(large);
    memset(large, 'x', size);
    large[1] = '\n';
    refuse_bytes(large, LINES_LENGTH_MAX + 3, PATH ", line 2 is longer than 1048576 bytes; mend");
    assert_int_equal(split_bytes(large, LINES_LENGTH_MAX + 2, &l, NULL), UIDPOOL_OK);
    lines_clear(&l);
    memset(large, '\n', size);
    refuse_bytes(large, size, PATH " is larger than 67108864 bytes");
    assert_int_equal(split_bytes(large, 10000000, &l, NULL), UIDPOOL_OK);
    assert_int_equal(l.n, 10000000);
    lines_clear(&l);
}

static void test_add(void **state)
{
    static const struct {
        const char *text;
        size_t at;
        const char *want;
    } files[] = {
        {"", 0, "x\nyy\n"},
        {"", 9, "x\nyy\n"},
        {"a\nb\n", 2, "a\nb\nx\nyy\n"},
        {"a\nb\n", 1, "a\nx\nyy\nb\n"},
        {"a\nb\n", 0, "x\nyy\na\nb\n"},
        {"a\nb", 2, "a\nb\nx\nyy\n"},
        {"a\nb", 9, "a\nb\nx\nyy\n"},
        {"a\nb", 1, "a\nx\nyy\nb"},
        {"\n", 1, "\nx\nyy\n"},
    };

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(files); i++) {
        struct lines l = split(files[i].text);
        struct draft d = {.add_at = files[i].at};

        assert_true(draft_is_empty(&d));
        assert_int_equal(draft_add(&d, "x"), 0);
        assert_int_equal(draft_add(&d, "yy"), 0);
        assert_int_equal(d.n_added, 2);
        assert_false(draft_is_empty(&d));
        expect_composed(&d, &l, files[i].want);
        draft_clear(&d);
        assert_true(draft_is_empty(&d));
        lines_clear(&l);
    }
}

static void test_replace(void **state)
{
    static const size_t in_order[] = {0, 2, 3};
    struct lines l = split("a\nbb\nccc\nd");
    struct draft d = {.add_at = 3};

    (void)state;
    assert_int_equal(draft_replace(&d, 3, "last", "fourth"), 0);
    assert_int_equal(draft_replace(&d, 0, "", "first"), 0);
    assert_int_equal(draft_replace(&d, 2, "C", "third"), 0);
    assert_false(draft_is_empty(&d));
    expect_composed(&d, &l, "\nbb\nC\nlast");
    assert_int_equal(draft_replace(&d, 2, "longer than it was", "again"), 0);
    assert_int_equal(d.n_replaced, 3);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(d.replaced[i].line, in_order[i]);
    assert_string_equal(d.replaced[1].why, "again");
    assert_string_equal(draft_line(&d, &l, 0), "");
    assert_string_equal(draft_line(&d, &l, 1), "bb");
    assert_string_equal(draft_line(&d, &l, 2), "longer than it was");
    assert_int_equal(draft_add(&d, "new"), 0);
    expect_composed(&d, &l, "\nbb\nlonger than it was\nnew\nlast");
    d.add_at = 4;
    expect_composed(&d, &l, "\nbb\nlonger than it was\nlast\nnew\n");
    draft_clear(&d);
    lines_clear(&l);
}

/* Whoever could put a newline into a line could put an account into the file. */
static void test_one_line_is_one_line(void **state)
{
    struct lines l = split("a\n");
    struct draft d = {0};

    (void)state;
    assert_int_equal(draft_add(&d, "x\nroot2:x:0:0::/:/bin/sh"), -EINVAL);
    assert_int_equal(draft_add(&d, "x\n"), -EINVAL);
    assert_int_equal(draft_replace(&d, 0, "x\ny", "why"), -EINVAL);
    assert_true(draft_is_empty(&d));
    expect_composed(&d, &l, "a\n");
    draft_clear(&d);
    lines_clear(&l);
}

/*
 * Random files and drafts, and a second, simple way to the same bytes.
 */

#define PROPERTY_RUNS 2000
#define PROPERTY_SIZE 400
#define PROPERTY_DRAFT 40

static unsigned dice;

static uint32_t random_below(uint32_t end)
{
    return (uint32_t)rand_r(&dice) % end;
}

static size_t random_text(char *to, size_t most, const char *letters)
{
    size_t size = random_below((uint32_t)most + 1), n = strlen(letters);

    for (size_t i = 0; i < size; i++)
        to[i] = letters[random_below((uint32_t)n)];
    to[size] = '\0';
    return size;
}

/* What draft_compose() is to give, a line at a time. */
static size_t compose_slowly(const struct draft *d, const struct lines *l, char *to, size_t room)
{
    size_t used = 0;

    for (size_t i = 0; i <= l->n; i++) {
        bool added_behind = i + 1 >= l->n && d->n_added > 0 && d->add_at >= l->n;

        if (d->n_added > 0 && (i == d->add_at || (i == l->n && d->add_at > i)))
            used += (size_t)snprintf(to + used, room - used, "%.*s", (int)d->added_size, d->added);
        if (i == l->n)
            break;
        used += (size_t)snprintf(to + used, room - used, "%s%s", draft_line(d, l, i),
                                 i + 1 < l->n || !l->cut_off || added_behind ? "\n" : "");
    }
    assert_true(used < room);
    return used;
}

static void random_draft(struct draft *d, const struct lines *l)
{
    char text[32];

    d->add_at = random_below((uint32_t)l->n + 2);
    for (uint32_t i = random_below(PROPERTY_DRAFT); i > 0; i--) {
        random_text(text, sizeof(text) - 1, "abc: #");
        if (l->n > 0 && random_below(3) > 0)
            assert_int_equal(draft_replace(d, random_below((uint32_t)l->n), text, "why"), 0);
        else
            assert_int_equal(draft_add(d, text), 0);
    }
}

static void check_random_file(void)
{
    char text[PROPERTY_SIZE + 1], want[PROPERTY_SIZE + PROPERTY_DRAFT * 32 + 2];
    size_t size = random_text(text, PROPERTY_SIZE, "ab:#+- \t\n\n"), composed = 0, due;
    _cleanup_free_ char *data = NULL;
    struct lines l = split(text);
    struct draft d = {0};

    expect_composed(&d, &l, text);
    assert_int_equal(l.size, size);
    random_draft(&d, &l);
    due = compose_slowly(&d, &l, want, sizeof(want));
    assert_int_equal(compose(&d, &l, &data, &composed), 0);
    if (composed != due || memcmp(data, want, due) != 0)
        fail_msg("\"%.*s\" where \"%.*s\" was due", (int)composed, data, (int)due, want);
    draft_clear(&d);
    lines_clear(&l);
}

static unsigned seed(void)
{
    const char *text = getenv("SEED");
    unsigned chosen = text ? (unsigned)strtoul(text, NULL, 10) : (unsigned)clock_wall_usec();

    print_message("SEED=%u\n", chosen);
    return chosen;
}

static void test_any_file_comes_back(void **state)
{
    (void)state;
    dice = seed();
    for (int i = 0; i < PROPERTY_RUNS; i++)
        check_random_file();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_the_lines_themselves),
        cmocka_unit_test(test_refused_bytes),
        cmocka_unit_test(test_refused_lengths),
        cmocka_unit_test(test_add),
        cmocka_unit_test(test_replace),
        cmocka_unit_test(test_one_line_is_one_line),
        cmocka_unit_test(test_any_file_comes_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
