/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The configuration's layers and what hostile files come to, in a temporary directory.
 */
#include "common/cleanup.h"
#include "common/config.h"

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static char root[] = "/tmp/test-config-XXXXXX";

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void empty_root(void)
{
    (void)nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    assert_int_equal(mkdir(root, 0700), 0);
}

/* A path below the root, its directories made. */
static const char *place(const char *name)
{
    static char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/%s", root, name);
    for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        (void)mkdir(path, 0700);
        *slash = '/';
    }
    return path;
}

static void put_bytes(const char *name, const void *bytes, size_t size)
{
    _cleanup_file_ FILE *f = fopen(place(name), "we");

    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
}

static void put(const char *name, const char *text)
{
    put_bytes(name, text, strlen(text));
}

static struct config *read_dir(void)
{
    struct config *c = NULL;
    struct problem p = {0};

    if (config_read(NULL, root, &c, &p) != UIDPOOL_OK)
        fail_msg("%s", p.text);
    return c;
}

static struct config *read_layers(void)
{
    struct config *c = NULL;
    struct problem p = {0};

    if (config_read(root, NULL, &c, &p) != UIDPOOL_OK)
        fail_msg("%s", p.text);
    return c;
}

static void refuse(const char *what, const char *words)
{
    struct config *c = NULL;
    struct problem p = {0};

    if (config_read(NULL, root, &c, &p) != UIDPOOL_FAILED)
        fail_msg("%s: was not refused", what);
    assert_null(c);
    assert_int_equal(p.status, UIDPOOL_FAILED);
    if (!strstr(p.text, words))
        fail_msg("%s: \"%s\" does not say \"%s\"", what, p.text, words);
}

static void test_nothing(void **state)
{
    struct config *c;

    (void)state;
    empty_root();
    c = read_dir();
    assert_null(config_sections(c)[0]);
    assert_null(config_keys(c, "pool xen")[0]);
    assert_null(config_get(c, "pool xen", "Base"));
    config_free(c);
    c = read_layers();
    assert_null(config_sections(c)[0]);
    config_free(c);
    config_free(NULL);
}

static void test_example(void **state)
{
    static const char *const keys[] = {"Base", "Size", "Policy", "Accounts", "Prefix"};
    struct config *c;

    (void)state;
    empty_root();
    put("uidpool.conf", "# A comment, Key=Value in it\n"
                        "\n"
                        "[pool xen-qemuuser]\n"
                        "Base=auto                  # or a uid\n"
                        "Size=32752\n"
                        "   # indented = comment\n"
                        "Policy = domid\n"
                        " \t \n"
                        "  Accounts=range-base reaper # range-base | shared\n"
                        "Prefix=\"xen qemuuser\"\n"
                        "[pool empty]   # nothing in it\n");
    c = read_dir();
    assert_string_equal(config_sections(c)[0], "pool xen-qemuuser");
    assert_string_equal(config_sections(c)[1], "pool empty");
    assert_null(config_sections(c)[2]);
    for (size_t i = 0; i < ELEMENTS_OF(keys); i++)
        assert_string_equal(config_keys(c, "pool xen-qemuuser")[i], keys[i]);
    assert_null(config_keys(c, "pool xen-qemuuser")[ELEMENTS_OF(keys)]);
    assert_null(config_keys(c, "pool empty")[0]);
    assert_string_equal(config_get(c, "pool xen-qemuuser", "Base"), "auto");
    assert_string_equal(config_get(c, "pool xen-qemuuser", "Size"), "32752");
    assert_string_equal(config_get(c, "pool xen-qemuuser", "Policy"), "domid");
    assert_string_equal(config_get(c, "pool xen-qemuuser", "Accounts"), "range-base reaper");
    assert_string_equal(config_get(c, "pool xen-qemuuser", "Prefix"), "xen qemuuser");
    assert_null(config_get(c, "pool xen-qemuuser", "base"));
    assert_null(config_get(c, "pool empty", "Base"));
    config_free(c);
}

static void test_layers(void **state)
{
    struct config *c;

    (void)state;
    empty_root();
    put("usr/lib/uidpool/uidpool.conf", "[a]\nVendor=1\n");
    put("usr/lib/uidpool/uidpool.conf.d/50-x.conf", "[a]\nA=usr\nB=usr\nC=usr\n[b]\nK=usr\n");
    put("run/uidpool/uidpool.conf.d/10-y.conf", "[a]\nB=run\nC=run\n");
    put("etc/uidpool/uidpool.conf", "[a]\nC=etc\n[c]\nK=etc\n");
    c = read_layers();
    /* The administrator's file takes the place of the vendor's. */
    assert_null(config_get(c, "a", "Vendor"));
    assert_string_equal(config_get(c, "a", "A"), "usr");
    assert_string_equal(config_get(c, "a", "B"), "run");
    assert_string_equal(config_get(c, "a", "C"), "etc");
    assert_string_equal(config_get(c, "b", "K"), "usr");
    assert_string_equal(config_get(c, "c", "K"), "etc");
    assert_string_equal(config_sections(c)[0], "a");
    assert_string_equal(config_sections(c)[1], "b");
    assert_string_equal(config_sections(c)[2], "c");
    config_free(c);

    put("etc/uidpool/uidpool.conf.d/50-x.conf", "[a]\nA=etc\n");
    assert_int_equal(symlink("/dev/null", place("etc/uidpool/uidpool.conf.d/10-y.conf")), 0);
    c = read_layers();
    assert_string_equal(config_get(c, "a", "A"), "etc");
    assert_null(config_get(c, "a", "B"));
    assert_null(config_get(c, "b", "K"));
    config_free(c);
}

static void test_drop_ins(void **state)
{
    struct config *c;

    (void)state;
    empty_root();
    put("uidpool.conf", "[a]\nK=main\nL=main\nM=main\n");
    put("uidpool.conf.d/10-first.conf", "[a]\nK=first\nL=first\n");
    put("uidpool.conf.d/9-last.conf", "[a]\nK=last\n");
    put("uidpool.conf.d/99.conf.bak", "nonsense\n");
    put("uidpool.conf.d/README", "nonsense\n");
    put("uidpool.conf.d/.hidden.conf", "nonsense\n");
    put("uidpool.conf.d/.conf", "nonsense\n");
    c = read_dir();
    assert_string_equal(config_get(c, "a", "K"), "last");
    assert_string_equal(config_get(c, "a", "L"), "first");
    assert_string_equal(config_get(c, "a", "M"), "main");
    config_free(c);

    put("uidpool.conf.d/20-bad.conf", "[a]\nwhat is this\n");
    refuse("a bad drop-in", "uidpool.conf.d/20-bad.conf:2: ");
}

static void assert_file(const struct config *c, const char *section, const char *key,
                        const char *file)
{
    assert_string_equal(config_file(c, section, key), place(file));
}

/* A message can say which of many files to look at. */
static void test_files(void **state)
{
    static const char *const known[] = {"A", "K", NULL};
    struct problem p = {0};
    struct config *c;

    (void)state;
    empty_root();
    put("usr/lib/uidpool/uidpool.conf.d/x.conf", "[a]\nA=usr\nK=usr\n[b]\n");
    put("usr/lib/uidpool/uidpool.conf.d/y.conf", "[b]\nK=usr\n");
    put("etc/uidpool/uidpool.conf", "[a]\nK=etc\n[b]\nL=etc\n[c]\n");
    c = read_layers();
    assert_file(c, "a", "A", "usr/lib/uidpool/uidpool.conf.d/x.conf");
    assert_file(c, "a", "K", "etc/uidpool/uidpool.conf");
    assert_file(c, "a", NULL, "usr/lib/uidpool/uidpool.conf.d/x.conf");
    assert_file(c, "a", "missing", "usr/lib/uidpool/uidpool.conf.d/x.conf");
    assert_file(c, "b", "K", "usr/lib/uidpool/uidpool.conf.d/y.conf");
    assert_file(c, "c", NULL, "etc/uidpool/uidpool.conf");
    assert_string_equal(config_file(c, "d", "K"), "uidpool.conf");
    assert_int_equal(config_check_keys(c, "a", known, &p), UIDPOOL_OK);
    assert_int_equal(config_check_keys(c, "d", known, &p), UIDPOOL_OK);
    assert_int_equal(config_check_keys(c, "b", known, &p), UIDPOOL_FAILED);
    assert_non_null(strstr(p.text, "etc/uidpool/uidpool.conf, [b] L=: "));
    assert_non_null(strstr(p.text, "A, K"));
    config_free(c);
}

/* Texts with one right answer: K in section a. */
static void test_good_texts(void **state)
{
    static const struct {
        const char *text, *value;
    } table[] = {
        {"[a]\nK=1", "1"},
        {"[a]\r\nK=1\r\n", "1"},
        {"[a]\r\nK=1\r\n\r\n\r\n", "1"},
        {"[a]\r\n\r\nK=one two\r\n# comment\r\n", "one two"},
        {"[a]\nK=1\n   \n\t\n  # comment\n", "1"},
        {"[a]\nK=1\n\n  # K=2\n", "1"},
        {"[a]\nK=\"\"\n", ""},
        {"[a]\nK=\"\"\n   \n", ""},
        {"[a]\nK=\"  b c  \"  \n", "  b c  "},
        {"[a]\nK=b=c\n", "b=c"},
        {"[a]\nK==\n", "="},
        {"[a]\nK\t=\t1 \t\n", "1"},
        {"\n\n  [a]  \nK=1\n", "1"},
        {"[a]\nL=1\n[b]\nK=2\n[a]\nK=1\n", "1"},
        {"[a]\nK=\xc3\xa4\n", "\xc3\xa4"},
        {"[a]\nK=[b]\n", "[b]"},
        {"[a]\nL=1\n[b]\n", NULL},
        {"[A]\nK=1\n", NULL},
        /* libeconf 0.5.1 does not list this key. */
        {"[b]\nK=2\n[a]\nK=1\n", "1"},
        {"", NULL},
        {"\n", NULL},
        {"#", NULL},
    };

    (void)state;
    empty_root();
    for (size_t i = 0; i < ELEMENTS_OF(table); i++) {
        struct config *c;
        const char *value;

        put("uidpool.conf", table[i].text);
        c = read_dir();
        value = config_get(c, "a", "K");
        if (table[i].value ? !value || strcmp(value, table[i].value) != 0 : value != NULL)
            fail_msg("case %zu: got %s", i, value ? value : "(nothing)");
        config_free(c);
    }
}

static void test_bad_texts(void **state)
{
    static const struct {
        const char *text, *place;
    } table[] = {
        {"K=1\n", ":1: "},
        {"[a]\nK\n", ":2: "},
        {"[a]\nK=1\nmore of it\n", ":3: "},
        {"[a]\nK=1\n more of it\n", ":3: "},
        {"[a]\nK=\n", ":2: "},
        {"[a]\nK=   # nothing\n", ":2: "},
        {"[a]\n=1\n", ":2: "},
        {"[a]\nK L=1\n", ":2: "},
        {"[a]\n1K=1\n", ":2: "},
        {"[a]\n; K=1\n", ":2: "},
        {"[a\nK=1\n", ":1: "},
        {"[a] K=1\n", ":1: "},
        {"[]\n", ":1: "},
        {"[", ":1: "},
        {"]", ":1: "},
        {"[[a]]\n", ":1: "},
        {"[ a ]\n", ":1: "},
        {"[_none_]\nK=1\n", ":1: "},
        {"[#a]\n", ":1: "},
        {"\n\n[a#b]\n", ":3: "},
        {"[a]\nK=\"\n", ":2: "},
        {"[a]\nK=\"b\n", ":2: "},
        {"[a]\nK=b\"c\n", ":2: "},
        {"[a]\nK=\"b\" \"c\"\n", ":2: "},
        {"[a]\nK=\"b#c\"\n", ":2: "},
        {"[a]\nK=1\rL=2\n", ":2: "},
        {"[a]\nK=\x1b[31m\n", ":2: "},
        {"[a]\nK=\x7f\n", ":2: "},
        {"\xef\xbb\xbf[a]\nK=1\n", ":1: "},
        {"[a]\nK=1\nK=2\n", ":3: this line sets what was set before"},
        {"[a]\nK=1\n[b]\nL=1\n[a]\nK=1\n", ":6: "},
    };

    (void)state;
    empty_root();
    for (size_t i = 0; i < ELEMENTS_OF(table); i++) {
        put("uidpool.conf", table[i].text);
        refuse(table[i].text, table[i].place);
    }
    put_bytes("uidpool.conf", "[a]\nK=1\0L=2\n", 12);
    refuse("a NUL", ":2: this line holds a control character");
    put_bytes("uidpool.conf", "\0", 1);
    refuse("a NUL alone", ":1: this line holds a control character");
}

/* [a], then K= and so many times x, without a newline. */
static void put_long_value(size_t length)
{
    _cleanup_file_ FILE *f = fopen(place("uidpool.conf"), "we");

    assert_non_null(f);
    fputs("[a]\nK=", f);
    for (size_t i = 0; i < length; i++)
        fputc('x', f);
}

static void test_large(void **state)
{
    struct config *c;

    (void)state;
    empty_root();
    put_long_value(4093);
    c = read_dir();
    assert_int_equal(strlen(config_get(c, "a", "K")), 4093);
    config_free(c);
    put_long_value(4094);
    refuse("a long line", ":2: this line is too long");
    put_long_value(8192);
    refuse("a line that libeconf would split", ":2: this line is too long");
    put_long_value(1024 * 1024 - 6);
    refuse("a line as long as a file may be", ":2: this line is too long");
    put_long_value(10 * 1024 * 1024);
    refuse("10 MiB", "larger than 1048576 bytes");
}

static void test_many_lines(void **state)
{
    _cleanup_file_ FILE *f = NULL;
    struct config *c;
    size_t n = 0;

    (void)state;
    empty_root();
    f = fopen(place("uidpool.conf"), "we");
    assert_non_null(f);
    for (int i = 0; i < 4096; i++)
        fprintf(f, "[s%d]\nK=%d\n", i, i);
    fflush(f);
    c = read_dir();
    while (config_sections(c)[n])
        n++;
    assert_int_equal(n, 4096);
    assert_string_equal(config_get(c, "s4095", "K"), "4095");
    config_free(c);
    fputs("\n", f);
    fflush(f);
    refuse("too many lines", "more than 8192 lines");
}

static void test_no_file(void **state)
{
    struct config *c = NULL;
    struct problem p = {0};

    (void)state;
    empty_root();
    assert_int_equal(mkfifo(place("uidpool.conf"), 0600), 0);
    refuse("a FIFO", "is no regular file");
    empty_root();
    assert_int_equal(mkdir(place("uidpool.conf"), 0700), 0);
    refuse("a directory", "is no regular file");
    empty_root();
    put("uidpool.conf.d", "a file\n");
    refuse("a file for a directory", "uidpool.conf.d: Not a directory");
    empty_root();
    assert_int_equal(symlink("uidpool.conf", place("uidpool.conf")), 0);
    refuse("a loop", "Too many levels of symbolic links");
    empty_root();
    put("uidpool.conf.d/a.conf", "[a]\n");
    assert_int_equal(symlink("/nowhere/b.conf", place("uidpool.conf.d/b.conf")), 0);
    refuse("a profile that is not there", "uidpool.conf.d/b.conf is a symbolic link to a file");
    assert_int_equal(config_read(NULL, place("missing"), &c, &p), UIDPOOL_FAILED);
    assert_null(c);
    assert_non_null(strstr(p.text, "/missing: No such file or directory"));
    assert_int_equal(config_read(NULL, "/dev/null", &c, NULL), UIDPOOL_FAILED);
}

static int make_root(void **state)
{
    (void)state;
    return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
    (void)state;
    return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing),    cmocka_unit_test(test_example),
        cmocka_unit_test(test_layers),     cmocka_unit_test(test_drop_ins),
        cmocka_unit_test(test_good_texts), cmocka_unit_test(test_bad_texts),
        cmocka_unit_test(test_large),      cmocka_unit_test(test_many_lines),
        cmocka_unit_test(test_no_file),    cmocka_unit_test(test_files),
    };

    return cmocka_run_group_tests(tests, make_root, remove_root);
}
