/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The account files understood: in memory, and from an /etc of the test's own, in a mount namespace
 * of its own. Touches nothing of the host.
 */
#include "common/cleanup.h"
#include "common/clock.h"
#include "provision/files.h"
#include "tests/unit/table-properties.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include <cmocka.h>

static enum uidpool_status parse_text(enum account_file file, const char *text,
                                      struct account_table *ret, struct problem *p)
{
    size_t size = strlen(text);
    char *data = malloc(size + 1);

    assert_non_null(data);
    memcpy(data, text, size);
    return table_parse(file, data, size, ret, p);
}

static struct account_table parse(enum account_file file, const char *text)
{
    struct account_table t = {0};
    struct problem p = {0};

    if (parse_text(file, text, &t, &p) != UIDPOOL_OK)
        fail_msg("\"%s\": %s", text, p.text);
    assert_int_equal(t.file, file);
    return t;
}

static void refuse(enum account_file file, const char *text, const char *words)
{
    struct account_table t = {.n = 77};
    struct problem p = {0};

    if (parse_text(file, text, &t, &p) != UIDPOOL_FAILED)
        fail_msg("\"%s\" was not refused", text);
    assert_int_equal(p.status, UIDPOOL_FAILED);
    assert_int_equal(t.n, 77);
    if (!strstr(p.text, words))
        fail_msg("\"%s\" where \"%s\" was due", p.text, words);
}

static bool entry_is(const struct entry *e, const char *name)
{
    return e && e->name_length == strlen(name) && memcmp(e->name, name, e->name_length) == 0;
}

static void test_names(void **state)
{
    static const char *const names[] = {"subuid", "subgid", "gshadow", "group", "shadow", "passwd"};
    char path[32];

    (void)state;
    for (size_t i = 0; i < ACCOUNT_FILES; i++) {
        snprintf(path, sizeof(path), "/etc/%s", names[i]);
        assert_string_equal(account_file_name((enum account_file)i), names[i]);
        assert_string_equal(account_file_path((enum account_file)i), path);
    }
}

static void test_passwd(void **state)
{
    struct account_table t = parse(FILE_PASSWD, "root:x:0:0:root:/root:/bin/bash\n"
                                                "# people\n"
                                                "alice:x:1000:4294967294:::\n"
                                                "toor:x:0:1::/:");

    (void)state;
    assert_int_equal(t.n, 3);
    assert_int_equal(t.n_odd, 0);
    assert_true(entry_is(&t.entries[1], "alice"));
    assert_int_equal(t.entries[1].id, 1000);
    assert_int_equal(t.entries[1].gid, 4294967294u);
    assert_int_equal(t.entries[1].line, 2);
    assert_ptr_equal(table_by_name(&t, "alice"), &t.entries[1]);
    assert_ptr_equal(table_by_name(&t, "toor"), &t.entries[2]);
    assert_null(table_by_name(&t, "alic"));
    assert_null(table_by_name(&t, "alicee"));
    assert_null(table_by_name(&t, ""));
    assert_null(table_by_name(&t, "# people"));
    assert_ptr_equal(table_by_id(&t, 0), &t.entries[0]);
    assert_ptr_equal(table_by_id(&t, 1000), &t.entries[1]);
    assert_null(table_by_id(&t, 1));
    assert_null(table_by_id(&t, 4294967295u));
    table_clear(&t);
    assert_null(t.entries);
}

static void test_the_other_files(void **state)
{
    struct account_table t = parse(FILE_GROUP, "root:x:0:\nusers:x:100:alice,bob\n");

    (void)state;
    assert_int_equal(t.n, 2);
    assert_int_equal(t.entries[1].id, 100);
    assert_ptr_equal(table_by_id(&t, 100), table_by_name(&t, "users"));
    table_clear(&t);
    t = parse(FILE_SHADOW, "root:$y$secret:19000:0:99999:7:::\nalice:!*:::::::\n");
    assert_int_equal(t.n, 2);
    assert_true(entry_is(table_by_name(&t, "alice"), "alice"));
    assert_null(table_by_id(&t, 0));
    assert_null(table_in_range(&t, 0, UINT32_MAX, 0));
    table_clear(&t);
    t = parse(FILE_GSHADOW, "root:*::\nusers:!:alice:bob\n");
    assert_int_equal(t.n, 2);
    assert_int_equal(table_by_name(&t, "users")->line, 1);
    assert_null(table_by_id(&t, 0));
    table_clear(&t);
}

static void test_subids(void **state)
{
    struct account_table t = parse(FILE_SUBUID, "alice:100000:65536\n"
                                                "1000:165536:4294967296\n"
                                                "alice:5:0\n"
                                                "alice:0x10:1\nalice:1\nalice:1:2:3\nalice::\n"
                                                "alice:4294967295:1\n"
                                                " bob:7:1\n"
                                                "~uidpool:2113929216:32752");

    (void)state;
    assert_int_equal(t.n, 4);
    assert_int_equal(t.n_odd, 6);
    assert_ptr_equal(table_by_name(&t, "alice"), &t.entries[0]);
    assert_int_equal(t.entries[0].count, 65536);
    assert_int_equal(t.entries[1].count, UINT32_MAX - 165536);
    assert_int_equal(t.entries[2].id, 5);
    assert_int_equal(t.entries[2].count, 0);
    assert_true(table_has_odd(&t, "alice") && table_has_odd(&t, "bob"));
    assert_ptr_equal(table_in_range(&t, 0, 100001, 0), &t.entries[2]);
    assert_ptr_equal(table_in_range(&t, 0, 100001, 1), &t.entries[0]);
    assert_null(table_in_range(&t, 0, 100001, 2));
    assert_int_equal(table_by_name(&t, "~uidpool")->count, 32752);
    assert_int_equal(t.n_odd_ids, 0);
    table_clear(&t);
    t = parse(FILE_SUBGID, "");
    assert_int_equal(t.n, 0);
    assert_null(table_by_name(&t, "alice"));
    assert_null(table_by_id(&t, 0));
    assert_false(table_has_odd(&t, "alice"));
    assert_null(table_odd_in_range(&t, 0, UINT32_MAX, 0));
    assert_int_equal(t.add_at, 0);
    table_clear(&t);
}

static void test_odd_lines(void **state)
{
    static const struct {
        enum account_file file;
        const char *line;
        const char *name;
        int64_t id; /* -1: none */
    } odd[] = {
        {FILE_PASSWD, "odd:x:5005:5005:g:/:/bin/sh:more", "odd", 5005},
        {FILE_PASSWD, "odd:x:5005:5005:g:/", "odd", 5005},
        {FILE_PASSWD, "odd:x:5005:5005", "odd", 5005},
        {FILE_PASSWD, "odd:x: +005005:5005", "odd", 5005},
        {FILE_PASSWD, "odd:x:000:5005", "odd", 0},
        {FILE_PASSWD, "odd:x:4294967295:0", "odd", 4294967295},
        {FILE_PASSWD, "odd:x:4294967296:0", "odd", -1},
        {FILE_PASSWD, "odd:x:-5005:5005", "odd", -1},
        {FILE_PASSWD, "odd:x:5005 :5005", "odd", -1},
        {FILE_PASSWD, "odd:x:++5005:5005", "odd", -1},
        {FILE_PASSWD, "odd:x: +:5005", "odd", -1},
        {FILE_PASSWD, "odd:x:", "odd", -1},
        {FILE_PASSWD, "odd", "odd", -1},
        {FILE_PASSWD, "\v \t odd:x:5005:5005::/:", "odd", 5005},
        {FILE_PASSWD, ":x:5005:5005::/:", "", 5005},
        {FILE_PASSWD, "+odd:x:5005:5005::/:", "+odd", -1},
        {FILE_PASSWD, " -odd:x:5005:5005::/:", "-odd", -1},
        {FILE_PASSWD, "+::::::", "+", -1},
        {FILE_PASSWD, "+", "+", -1},
        {FILE_GROUP, "odd:x:5005", "odd", 5005},
        {FILE_GROUP, "odd:x:5005:a:b", "odd", 5005},
        {FILE_GROUP, "odd:x", "odd", -1},
        {FILE_GROUP, " odd:x:5005:", "odd", 5005},
        {FILE_SHADOW, "odd:!*:5005:::::", "odd", -1},
        {FILE_SHADOW, "odd:!*:5005:::::::", "odd", -1},
        {FILE_SHADOW, ":!*:5005::::::", "", -1},
        {FILE_GSHADOW, "odd:!:5005", "odd", -1},
        {FILE_GSHADOW, "\todd:!:5005:", "odd", -1},
    };

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(odd); i++) {
        struct account_table t = parse(odd[i].file, odd[i].line);
        const struct id_at *id = table_odd_in_range(&t, 0, UINT32_MAX, 0);

        if (odd[i].id == UINT32_MAX)
            id = table_odd_in_range(&t, UINT32_MAX, 1, 0);
        if (t.n != 0 || t.n_odd != 1 || !table_has_odd(&t, odd[i].name) ||
            table_has_odd(&t, "od") || table_by_name(&t, odd[i].name))
            fail_msg("\"%s\" is not odd, or not %s's", odd[i].line, odd[i].name);
        if (odd[i].id < 0 ? t.n_odd_ids != 0 : !id || id->id != odd[i].id || id->at != 0)
            fail_msg("\"%s\" is not %lld's", odd[i].line, (long long)odd[i].id);
        assert_string_equal(t.odd[0], odd[i].line);
        table_clear(&t);
    }
}

static void test_nothing_is_nobody(void **state)
{
    static const char *const nothing[] = {"", " ", "\t\v\f", "#", "#a:x:1:1:::", " # a:x:1:1:::"};

    (void)state;
    for (enum account_file file = 0; file < ACCOUNT_FILES; file++) {
        for (size_t i = 0; i < ELEMENTS_OF(nothing); i++) {
            struct account_table t = parse(file, nothing[i]);

            assert_true(t.n == 0 && t.n_odd == 0 && t.n_odd_ids == 0);
            table_clear(&t);
        }
    }
}

/* Many, in an order that sorts badly. */
static void test_odd_lines_are_found(void **state)
{
    struct account_table t = parse(FILE_GROUP, "m:x:7\nb:x:9\n zz:x:7:\nb:x:8\nbb:x:1\n+\n"
                                               "d:x:300\nc\na:x:70000\nb:x:9:\n");
    static const struct id_at found[] = {{1, 4}, {7, 0}, {7, 2}, {8, 3}, {9, 1}, {300, 6}};

    (void)state;
    assert_int_equal(t.n, 1);
    assert_int_equal(t.n_odd, 9);
    for (const char *name = "abcdm+"; *name; name++)
        assert_true(table_has_odd(&t, (char[]){*name, '\0'}));
    assert_true(table_has_odd(&t, "bb") && table_has_odd(&t, "zz"));
    assert_false(table_has_odd(&t, "z") || table_has_odd(&t, "e") || table_has_odd(&t, " zz") ||
                 table_has_odd(&t, ""));
    for (size_t i = 0; i < ELEMENTS_OF(found); i++) {
        const struct id_at *id = table_odd_in_range(&t, 0, 70000, i);

        assert_true(id && id->id == found[i].id && id->at == found[i].at);
    }
    assert_null(table_odd_in_range(&t, 0, 70000, ELEMENTS_OF(found)));
    assert_int_equal(table_odd_in_range(&t, 0, 70001, ELEMENTS_OF(found))->at, 8);
    table_clear(&t);
}

static void test_refused_numbers(void **state)
{
    static const char *const bad[] = {
        "",    "-1",         "+1",         " 1",  "1 ",
        "01",  "0x1",        "4294967295", "1e3", "18446744073709551616",
        "one", "4294967296", "00",         "1\t", "99999999999999999999999999999"};
    char text[128], words[128];

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(bad); i++) {
        snprintf(words, sizeof(words), "/etc/passwd, line 2: the uid \"%s\" of al is no plain",
                 strcmp(bad[i], "1\t") == 0 ? "1?" : bad[i]);
        snprintf(text, sizeof(text), "root:x:0:0:::\nal:x:%s:0:::\n", bad[i]);
        refuse(FILE_PASSWD, text, words);
        snprintf(text, sizeof(text), "\nal:x:0:%s:::\n", bad[i]);
        refuse(FILE_PASSWD, text, "/etc/passwd, line 2: the gid");
        snprintf(text, sizeof(text), "al:x:%s:", bad[i]);
        refuse(FILE_GROUP, text, "/etc/group, line 1: the gid");
    }
    refuse(FILE_GROUP, "a:x:a:", "below 4294967295; mend or remove the line");
}

static void test_refused_twice(void **state)
{
    (void)state;
    refuse(FILE_PASSWD, "a:x:1:1:::\n\nb:x:2:2:::\na:x:3:3:::\n",
           "/etc/passwd, line 4 is a second line for a, who has line 1 already; remove one of "
           "them, or run pwck");
    refuse(FILE_SHADOW, "a:!:::::::\na:!:::::::\n", "/etc/shadow, line 2");
    refuse(FILE_GROUP, "a:x:1:\na:x:2:\n", "run grpck");
    refuse(FILE_GSHADOW, "a:!::\nb:!::\nb:!::", "/etc/gshadow, line 3");
    refuse(FILE_PASSWD, "a:x:1:1::\r\n", "carriage return");
    /* Not even a part of a password. */
    refuse(FILE_SHADOW, "a:$y$one:1::::::\na:$y$two:1::::::\n", "second line for a, who");
}

static void test_new_lines_go_before_nis(void **state)
{
    static const struct {
        const char *text;
        size_t add_at;
    } files[] = {
        {"", 0},
        {"a:x:1:\n", 1},
        {"a:x:1:\n\n# end\n", 3},
        {"a:x:1:\n+:::\n", 1},
        {"a:x:1:\n+b:::\n-c:::\n+", 1},
        {"a:x:1:\n +b:::\n", 1},
        {"a:x:1:\n# NIS\n\n+b:::\n\n# more\n-c:::\n", 3},
        {"a:x:1:\n+b:::\n\n# end\n\n", 1},
        {"+b:::\na:x:1:\n", 2},
        {"+b:::\na:x:1:\n+c:::\n", 2},
        {"+b:::\nodd\n+c:::\n", 2},
        {"+:::\n", 0},
    };

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(files); i++) {
        struct account_table t = parse(FILE_GROUP, files[i].text);

        if (t.add_at != files[i].add_at)
            fail_msg("%zu for \"%s\"", t.add_at, files[i].text);
        table_clear(&t);
    }
}

static void test_ranges(void **state)
{
    struct account_table t =
        parse(FILE_GROUP, "g:x:70000:\ne:x:4294967294:\nd:x:7:\na:x:5:\nc:x:7:\nb:x:256:\n");
    static const char order[] = "adcbge";

    (void)state;
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(table_in_range(&t, 0, UINT32_MAX, i)->name[0], order[i]);
    assert_null(table_in_range(&t, 0, UINT32_MAX, 6));
    assert_null(table_in_range(&t, 0, UINT32_MAX, SIZE_MAX));
    assert_null(table_in_range(&t, 0, 0, 0));
    assert_null(table_in_range(&t, 7, 0, 0));
    assert_null(table_in_range(&t, 0, 5, 0));
    assert_true(entry_is(table_in_range(&t, 5, 1, 0), "a"));
    assert_null(table_in_range(&t, 6, 1, 0));
    assert_true(entry_is(table_in_range(&t, 6, 2, 1), "c"));
    assert_null(table_in_range(&t, 6, 2, 2));
    assert_true(entry_is(table_in_range(&t, 4294967290u, 10, 0), "e"));
    assert_null(table_in_range(&t, 4294967295u, 1, 0));
    assert_true(entry_is(table_by_id(&t, 7), "d"));
    table_clear(&t);
}

static void test_fields(void **state)
{
    const char *line = "a:bc::d";
    size_t length = 77;

    (void)state;
    assert_ptr_equal(line_field(line, 0, &length), line);
    assert_int_equal(length, 1);
    assert_ptr_equal(line_field(line, 1, &length), line + 2);
    assert_int_equal(length, 2);
    assert_ptr_equal(line_field(line, 2, &length), line + 5);
    assert_int_equal(length, 0);
    assert_ptr_equal(line_field(line, 3, &length), line + 6);
    length = 77;
    assert_null(line_field(line, 4, &length));
    assert_int_equal(length, 77);
    assert_true(line_field_is(line, 1, "bc") && line_field_is(line, 2, ""));
    assert_false(line_field_is(line, 1, "b") || line_field_is(line, 1, "bcd") ||
                 line_field_is(line, 1, "bc::d") || line_field_is(line, 4, ""));
}

/*
 * Random files.
 */

#define PROPERTY_RUNS 4000
#define PROPERTY_LINES 12

static unsigned dice;

static uint32_t random_below(uint32_t end)
{
    return (uint32_t)rand_r(&dice) % end;
}

static unsigned seed(void)
{
    const char *text = getenv("SEED");
    unsigned chosen = text ? (unsigned)strtoul(text, NULL, 10) : (unsigned)clock_wall_usec();

    print_message("SEED=%u\n", chosen);
    return chosen;
}

/* An entry, more often than not; else one field too many or too few, or something before the name,
 * and then the number may be as odd. */
static void random_line(enum account_file file, FILE *to)
{
    static const unsigned fields[ACCOUNT_FILES] = {3, 3, 4, 4, 7, 9};
    static const char *const before[] = {"", " ", "\t\v", "+", "-", "#", " +"};
    static const char *const signs[] = {"", " ", "0", "+", "-", " -00", "-1844674407370955160"};
    bool odd = random_below(3) == 0;
    unsigned n = fields[file] + (odd ? random_below(5) - 2 : 0);

    fprintf(to, "%sn%u", odd ? before[random_below(ELEMENTS_OF(before))] : "", random_below(300));
    for (unsigned i = 1; i < n; i++) {
        if (i == 2 || (i == 3 && file == FILE_PASSWD) || (i == 1 && fields[file] == 3))
            fprintf(to, ":%s%u", odd ? signs[random_below(ELEMENTS_OF(signs))] : "",
                    random_below(20));
        else
            fprintf(to, "%s", random_below(4) ? ":" : ":x");
    }
}

/* The caller frees it. */
static char *random_file(enum account_file file, size_t *ret_size)
{
    char *bytes = NULL;
    FILE *to = open_memstream(&bytes, ret_size);

    assert_non_null(to);
    for (uint32_t i = random_below(PROPERTY_LINES); i > 0; i--) {
        if (random_below(8) > 0)
            random_line(file, to);
        if (i > 1 || random_below(3) > 0)
            fputc('\n', to);
    }
    assert_int_equal(fclose(to), 0);
    return bytes;
}

static void test_any_file(void **state)
{
    unsigned accepted = 0;

    (void)state;
    dice = seed();
    for (unsigned i = 0; i < PROPERTY_RUNS; i++) {
        enum account_file file = (enum account_file)random_below(ACCOUNT_FILES);
        struct account_table t = {0};
        size_t size = 0;
        _cleanup_free_ char *bytes = random_file(file, &size);
        const char *broken = NULL;

        if (parse_text(file, bytes, &t, NULL) == UIDPOOL_OK) {
            accepted++;
            broken = table_broken(&t, bytes, size);
        }
        if (broken)
            fail_msg("%s: %s: \"%s\"", broken, account_file_name(file), bytes);
        table_clear(&t);
    }
    assert_true(accepted > PROPERTY_RUNS / 4);
}

/* As many as there can be, in the worst order for ids and for names alike. */
static void test_many(void **state)
{
    const uint32_t n = 200000;
    size_t size = 0;
    _cleanup_free_ char *bytes = NULL;
    FILE *to = open_memstream(&bytes, &size);
    struct account_table t = {0};
    char name[32];

    (void)state;
    assert_non_null(to);
    for (uint32_t i = 0; i < n; i++)
        fprintf(to, "user-%u:x:%u:%u::/:/bin/sh\nodd-%u\n", i * 7919 % n, i * 9973 % n + 1, i, i);
    assert_int_equal(fclose(to), 0);
    assert_int_equal(parse_text(FILE_PASSWD, bytes, &t, NULL), UIDPOOL_OK);
    assert_true(t.n == n && t.n_odd == n);
    for (uint32_t i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "user-%u", i);
        assert_true(entry_is(table_by_name(&t, name), name));
        snprintf(name, sizeof(name), "odd-%u", i);
        assert_true(table_has_odd(&t, name));
        assert_int_equal(table_by_id(&t, i + 1)->id, i + 1);
        assert_int_equal(table_in_range(&t, 1, n, i)->id, i + 1);
    }
    table_clear(&t);
}

/*
 * From the disk.
 */

static void write_bytes(const char *path, const char *bytes, size_t length)
{
    _cleanup_file_ FILE *file = fopen(path, "we");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
}

static void write_text(const char *path, const char *text)
{
    write_bytes(path, text, strlen(text));
}

static int make_etc(void **state)
{
    (void)state;
    for (enum account_file file = 0; file < ACCOUNT_FILES; file++)
        if (unlink(account_file_path(file)) < 0 && errno != ENOENT)
            (void)rmdir(account_file_path(file));
    write_text("/etc/passwd", "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/:\n");
    write_text("/etc/shadow", "root:*:1::::::\nalice:!:1::::::\n");
    write_text("/etc/group", "root:x:0:\nalice:x:1000:\nusers:x:100:alice\n");
    write_text("/etc/gshadow", "root:*::\nalice:!::\nusers:*::alice\n");
    write_text("/etc/subuid", "alice:100000:65536\n");
    write_text("/etc/subgid", "alice:100000:65536\nalice:300000:65536");
    return 0;
}

static void expect_read(enum uidpool_status want, const char *words)
{
    struct account_files files = {0};
    struct problem p = {0};
    enum uidpool_status status = files_read(&files, &p);

    if (status != want || (words && !strstr(p.text, words)))
        fail_msg("%d and \"%s\" where %d and \"%s\" were due", status, p.text, want, words);
    if (status != UIDPOOL_OK)
        for (size_t i = 0; i < ACCOUNT_FILES; i++)
            assert_null(files.tables[i].lines.data);
    files_clear(&files);
}

static void test_read(void **state)
{
    static const size_t entries[ACCOUNT_FILES] = {1, 2, 3, 3, 2, 2};
    struct account_files files = {0};
    struct problem p = {0};

    (void)state;
    assert_int_equal(files_read(&files, &p), UIDPOOL_OK);
    for (enum account_file file = 0; file < ACCOUNT_FILES; file++) {
        assert_int_equal(files.tables[file].file, file);
        assert_int_equal(files.tables[file].n, entries[file]);
        assert_false(files.tables[file].missing);
    }
    assert_true(files.tables[FILE_SUBGID].lines.cut_off);
    files_clear(&files);
}

static void test_read_missing(void **state)
{
    struct account_files files = {0};

    (void)state;
    assert_int_equal(unlink("/etc/subuid"), 0);
    assert_int_equal(unlink("/etc/subgid"), 0);
    assert_int_equal(files_read(&files, NULL), UIDPOOL_OK);
    assert_true(files.tables[FILE_SUBUID].missing && files.tables[FILE_SUBGID].missing);
    assert_int_equal(files.tables[FILE_SUBGID].file, FILE_SUBGID);
    assert_false(files.tables[FILE_PASSWD].missing);
    assert_null(table_by_name(&files.tables[FILE_SUBUID], "alice"));
    assert_null(table_in_range(&files.tables[FILE_SUBUID], 0, UINT32_MAX, 0));
    files_clear(&files);
    assert_int_equal(unlink("/etc/gshadow"), 0);
    expect_read(UIDPOOL_FAILED, "/etc/gshadow is missing; run grpconv");
    assert_int_equal(unlink("/etc/shadow"), 0);
    write_text("/etc/gshadow", "");
    write_text("/etc/group", "root::0:\n");
    expect_read(UIDPOOL_FAILED, "/etc/shadow is missing; run pwconv");
    assert_int_equal(unlink("/etc/passwd"), 0);
    expect_read(UIDPOOL_FAILED, "/etc/passwd is missing; restore it from /etc/passwd-");
    write_text("/etc/passwd", "root::0:0::/:\n");
    write_text("/etc/shadow", "");
    assert_int_equal(unlink("/etc/group"), 0);
    assert_int_equal(unlink("/etc/gshadow"), 0);
    expect_read(UIDPOOL_FAILED, "/etc/group is missing; restore it from /etc/group-");
}

static void test_read_empty(void **state)
{
    (void)state;
    write_text("/etc/passwd", "");
    expect_read(UIDPOOL_FAILED, "/etc/passwd is empty, as a loss of power leaves it; restore it "
                                "from /etc/passwd-");
    write_text("/etc/passwd", "\n \n");
    expect_read(UIDPOOL_FAILED, "/etc/passwd is empty");
    make_etc(NULL);
    write_text("/etc/group", "");
    expect_read(UIDPOOL_FAILED, "/etc/group is empty");
    make_etc(NULL);
    write_text("/etc/shadow", "");
    expect_read(UIDPOOL_FAILED, "/etc/shadow is empty, as a loss of power leaves it, and has the "
                                "passwords of /etc/passwd; restore it from /etc/shadow-, or run "
                                "pwconv");
    write_text("/etc/passwd", "root:*:0:0::/:\nxx:!x:1:1::/:\n");
    expect_read(UIDPOOL_OK, NULL);
    write_text("/etc/gshadow", "\n");
    expect_read(UIDPOOL_FAILED, "/etc/gshadow is empty");
    write_text("/etc/group", "root:*:0:\n");
    expect_read(UIDPOOL_OK, NULL);
    write_text("/etc/subuid", "");
    expect_read(UIDPOOL_OK, NULL);
    /* Comments alone are somebody's work. */
    write_text("/etc/passwd", "# none yet\n");
    expect_read(UIDPOOL_OK, NULL);
}

static void make_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    close(fd);
}

static void test_read_what_is_no_file(void **state)
{
    (void)state;
    assert_int_equal(rename("/etc/passwd", "/etc/elsewhere"), 0);
    assert_int_equal(symlink("elsewhere", "/etc/passwd"), 0);
    expect_read(UIDPOOL_FAILED, "/etc/passwd is a symbolic link; put the file itself there");
    make_etc(NULL);
    assert_int_equal(unlink("/etc/subuid"), 0);
    assert_int_equal(symlink("nowhere", "/etc/subuid"), 0);
    expect_read(UIDPOOL_FAILED, "/etc/subuid is a symbolic link");
    make_etc(NULL);
    assert_int_equal(unlink("/etc/shadow"), 0);
    assert_int_equal(mkdir("/etc/shadow", 0700), 0);
    expect_read(UIDPOOL_FAILED, "/etc/shadow is a directory");
    make_etc(NULL);
    assert_int_equal(unlink("/etc/group"), 0);
    assert_int_equal(mkfifo("/etc/group", 0600), 0);
    expect_read(UIDPOOL_FAILED, "/etc/group is a pipe");
    assert_int_equal(unlink("/etc/group"), 0);
    make_socket("/etc/group");
    expect_read(UIDPOOL_FAILED, "/etc/group is a socket");
    assert_int_equal(unlink("/etc/group"), 0);
    assert_int_equal(mknod("/etc/group", S_IFCHR | 0600, makedev(1, 3)), 0);
    expect_read(UIDPOOL_FAILED, "/etc/group is a device");
}

static void test_read_what_is_broken(void **state)
{
    int fd;

    (void)state;
    write_bytes("/etc/shadow", "root:*:1::::::\nal\0ce\n", 21);
    expect_read(UIDPOOL_FAILED, "/etc/shadow, line 2 holds a NUL byte");
    make_etc(NULL);
    /* 10 GB of nothing must not be read before they are refused. */
    fd = open("/etc/gshadow", O_WRONLY | O_CLOEXEC);
    assert_int_equal(ftruncate(fd, 10000000000), 0);
    close(fd);
    expect_read(UIDPOOL_FAILED, "/etc/gshadow is larger than");
}

/* A file whose size is not known beforehand is read to its end all the same. */
static void test_read_to_the_end(void **state)
{
    struct account_files files = {0};

    (void)state;
    /* A bind mount of a file in /proc says that its size is 0. */
    assert_int_equal(mount("/proc/self/maps", "/etc/subuid", NULL, MS_BIND, NULL), 0);
    assert_int_equal(files_read(&files, NULL), UIDPOOL_OK);
    assert_true(files.tables[FILE_SUBUID].lines.size > 4096);
    assert_non_null(strstr(files.tables[FILE_SUBUID].odd[0], ":"));
    assert_int_equal(umount("/etc/subuid"), 0);
    files_clear(&files);
}

#define on_etc(test) cmocka_unit_test_setup(test, make_etc)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_passwd),
        cmocka_unit_test(test_the_other_files),
        cmocka_unit_test(test_subids),
        cmocka_unit_test(test_odd_lines),
        cmocka_unit_test(test_nothing_is_nobody),
        cmocka_unit_test(test_odd_lines_are_found),
        cmocka_unit_test(test_refused_numbers),
        cmocka_unit_test(test_refused_twice),
        cmocka_unit_test(test_new_lines_go_before_nis),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_any_file),
        cmocka_unit_test(test_many),
        on_etc(test_read),
        on_etc(test_read_missing),
        on_etc(test_read_empty),
        on_etc(test_read_what_is_no_file),
        on_etc(test_read_what_is_broken),
        on_etc(test_read_to_the_end),
    };

    if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", "/etc", "tmpfs", 0, NULL) < 0) {
        print_message("SKIP: needs root and an /etc of its own: %s\n", strerror(errno));
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
