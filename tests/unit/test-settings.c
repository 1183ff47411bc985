/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * [pool NAME] sections: every key, every default, every wrong value and what is said of it; the
 * shipped profiles; and the list of findings. Writes into a temporary directory.
 */
#include "provision/settings.h"

#include "common/cleanup.h"
#include "provision/findings.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char directory[] = "/tmp/test-settings-XXXXXX";

static void put(const char *text)
{
    char path[64];
    FILE *file;

    snprintf(path, sizeof(path), "%s/uidpool.conf", directory);
    file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static enum uidpool_status read_text(const char *text, struct settings *ret, struct problem *p)
{
    _cleanup_(config_freep) struct config *config = NULL;

    put(text);
    if (config_read(NULL, directory, &config, p) != UIDPOOL_OK)
        fail_msg("%s: %s", text, p->text);
    return settings_read(config, ret, p);
}

static struct settings accept(const char *text)
{
    struct settings s = {0};
    struct problem p = {0};

    if (read_text(text, &s, &p) != UIDPOOL_OK)
        fail_msg("%s: %s", text, p.text);
    return s;
}

/* Refused, with all of these words (NULL: no more) in what is said. */
static void refuse(const char *text, const char *const words[])
{
    struct settings s = {.pools = (void *)-1, .n = 77};
    struct problem p = {0};

    if (read_text(text, &s, &p) != UIDPOOL_FAILED)
        fail_msg("%s: was not refused", text);
    assert_int_equal(p.status, UIDPOOL_FAILED);
    assert_ptr_equal(s.pools, (void *)-1);
    assert_int_equal(s.n, 77);
    for (size_t i = 0; words[i]; i++)
        if (!strstr(p.text, words[i]))
            fail_msg("%s: \"%s\" does not say \"%s\"", text, p.text, words[i]);
}

#define REFUSE(text, ...) refuse(text, (const char *const[]){__VA_ARGS__, NULL})

static void test_nothing(void **state)
{
    struct settings s = accept("# only a comment\n");

    (void)state;
    assert_int_equal(s.n, 0);
    assert_null(settings_pool(&s, "xen"));
    settings_clear(&s);
    s = accept("[residue]\nPlaces=/srv\n");
    assert_int_equal(s.n, 0);
    settings_clear(&s);
    assert_null(s.pools);
}

/* The values of [residue] are the library's, but a misspelt key would be nobody's. */
static void test_others_section(void **state)
{
    struct settings s = accept("[residue]\nPlaces=srv\n");

    (void)state;
    settings_clear(&s);
    REFUSE("[residue]\nPlace=/srv\n", "/uidpool.conf, [residue] Place=", "has Places");
}

static void test_defaults(void **state)
{
    struct settings s = accept("[pool xen]\nSize=1\n");
    const struct pool_settings *pool = settings_pool(&s, "xen");

    (void)state;
    assert_int_equal(s.n, 1);
    assert_ptr_equal(pool, s.pools);
    assert_string_equal(pool->name, "xen");
    assert_true(pool->base_auto);
    assert_int_equal(pool->size, 1);
    assert_int_equal(pool->policy, UIDPOOL_POLICY_DOMID);
    assert_false(pool->group_per_uid);
    assert_int_equal(pool->quarantine, 60);
    assert_false(pool->follow);
    assert_false(pool->resolve);
    assert_int_equal(pool->accounts, 0);
    assert_string_equal(pool->prefix, "xen-qemuuser");
    assert_string_equal(pool->range_base, "");
    settings_clear(&s);
}

static void test_every_key(void **state)
{
    struct settings s = accept("[pool b.2]\nBase=131072\nSize=2147352576\nPolicy=next\n"
                               "Group=per-uid\nQuarantine=2h\nFollow=yes\nResolve=yes\n"
                               "Accounts=reaper  shared\nPrefix=_v\n"
                               "[pool a]\nSize=\"32752\"\nPolicy=domid\nGroup=shared\n"
                               "Quarantine=0\nFollow=no\nResolve=no\nAccounts=\trange-base\n"
                               "Prefix=qemu\nRangeBase=qemu_base\n");
    const struct pool_settings *b = settings_pool(&s, "b.2"), *a = settings_pool(&s, "a");

    (void)state;
    assert_int_equal(s.n, 2);
    assert_ptr_equal(b, s.pools); /* in the order of the file */
    assert_false(b->base_auto);
    assert_int_equal(b->base, 131072);
    assert_int_equal(b->size, 2147352576);
    assert_int_equal(b->policy, UIDPOOL_POLICY_NEXT);
    assert_true(b->group_per_uid);
    assert_int_equal(b->quarantine, 7200);
    assert_true(b->follow);
    assert_true(b->resolve);
    assert_int_equal(b->accounts, ACCOUNTS_SHARED | ACCOUNTS_REAPER);
    assert_string_equal(b->prefix, "_v");
    assert_string_equal(b->range_base, "");
    assert_true(a->base_auto);
    assert_int_equal(a->policy, UIDPOOL_POLICY_DOMID);
    assert_false(a->group_per_uid);
    assert_int_equal(a->quarantine, 0);
    assert_false(a->follow);
    assert_false(a->resolve);
    assert_int_equal(a->accounts, ACCOUNTS_RANGE_BASE);
    assert_string_equal(a->range_base, "qemu_base");
    assert_null(settings_pool(&s, "b"));
    settings_clear(&s);
}

static void test_good_values(void **state)
{
    struct settings s;

    (void)state;
    s = accept("[pool x]\nSize=9\nAccounts=range-base\n");
    assert_string_equal(s.pools->range_base, "xen-qemuuser-range-base");
    settings_clear(&s);
    s = accept("[pool x]\nSize=9\nAccounts=none\n");
    assert_int_equal(s.pools->accounts, 0);
    settings_clear(&s);
    s = accept("[pool x]\nSize=9\nBase=auto\nAccounts=reaper per-domid shared\n");
    assert_true(s.pools->base_auto);
    assert_int_equal(s.pools->accounts, ACCOUNTS_PER_DOMID | ACCOUNTS_REAPER | ACCOUNTS_SHARED);
    settings_clear(&s);
    /* The last uid there can be, and ranges that end before nobody and begin behind it. */
    s = accept("[pool x]\nBase=2147483647\nSize=1\n[pool y]\nBase=65533\nSize=1\n"
               "[pool z]\nBase=65536\nSize=2147418112\nQuarantine=3650d\n");
    assert_int_equal(s.n, 3);
    settings_clear(&s);
    /* As long as they may be: 31 characters of a login name, 63 of a pool's. */
    s = accept("[pool abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0]\nSize=9\n"
               "Accounts=range-base\nPrefix=abcdefghijklmnopqrst\n");
    assert_string_equal(s.pools->range_base, "abcdefghijklmnopqrst-range-base");
    assert_int_equal(strlen(s.pools->range_base), 31);
    assert_int_equal(strlen(s.pools->name), 63);
    settings_clear(&s);
    s = accept("[pool x]\nSize=32752\nAccounts=per-domid\nPrefix=abcdefghijklmnopqrst\n");
    settings_clear(&s);
    s = accept(
        "[pool x]\nSize=9\nAccounts=range-base\n"
        "RangeBase=abcdefghijklmnopqrstuvwxyz_0-12\nPrefix=abcdefghijklmnopqrstuvwxyzabcde\n");
    settings_clear(&s);
    /* The same prefix where it makes different names. */
    s = accept("[pool x]\nSize=9\nAccounts=range-base\n[pool y]\nSize=9\nAccounts=reaper\n"
               "[pool z]\nSize=9\n[pool q]\nSize=5\nAccounts=per-domid\nPrefix=q\nGroup=per-uid\n"
               "[pool r]\nSize=9\nAccounts=range-base\nRangeBase=q-domid5\n"
               "[pool s]\nSize=9\nAccounts=range-base\nRangeBase=q\n");
    assert_int_equal(s.n, 6);
    settings_clear(&s);
}

/* KEY=VALUE alone in a pool, and what may stand there. */
static const struct {
    const char *setting, *wanted;
} wrong[] = {
    {"Base=0", "'auto' or a uid from 1 to 2147483647"},
    {"Base=4294967295", "'auto' or a uid"},
    {"Base=4294967296", "'auto' or a uid"},
    {"Base=18446744073709551617", "'auto' or a uid"},
    {"Base=2147483648", "'auto' or a uid"},
    {"Base=-1", "'auto' or a uid"},
    {"Base=5x", "'auto' or a uid"},
    {"Base=0x20000", "'auto' or a uid"},
    {"Base=010", "'auto' or a uid"},
    {"Base=65534", "not 65534 or 65535"},
    {"Base=65535", "not 65534 or 65535"},
    {"Base=Auto", "'auto' or a uid"},
    {"Base=\"\"", "'auto' or a uid"},
    {"Size=0", "a number of uids from 1 to 2147483647"},
    {"Size=2147483648", "a number of uids"},
    {"Size=4294967297", "a number of uids"},
    {"Size=-1", "a number of uids"},
    {"Size=5x", "a number of uids"},
    {"Size=64k", "a number of uids"},
    {"Size=\" 5\"", "a number of uids"},
    {"Policy=Domid", "'domid' or 'next'"},
    {"Policy=random", "'domid' or 'next'"},
    {"Policy=\"\"", "'domid' or 'next'"},
    {"Group=Shared", "'shared' or 'per-uid'"},
    {"Group=per_uid", "'shared' or 'per-uid'"},
    {"Group=1000", "'shared' or 'per-uid'"},
    {"Quarantine=-1", "a number of seconds"},
    {"Quarantine=1w", "s, m, h or d"},
    {"Quarantine=3651d", "up to ten years"},
    {"Quarantine=1 m", "a number of seconds"},
    {"Follow=Yes", "'yes' or 'no'"},
    {"Follow=true", "'yes' or 'no'"},
    {"Resolve=1", "'yes' or 'no'"},
    {"Resolve=NO", "'yes' or 'no'"},
    {"Accounts=None", "'none' alone, or"},
    {"Accounts=none reaper", "'none' alone, or"},
    {"Accounts=reaper none", "'none' alone, or"},
    {"Accounts=none none", "'none' alone, or"},
    {"Accounts=reaper shared reaper", "each once"},
    {"Accounts=range-base,reaper", "one or more of"},
    {"Accounts=range-bas", "'range-base', 'shared', 'reaper' and 'per-domid'"},
    {"Accounts=range-based", "one or more of"},
    {"Accounts=Reaper", "one or more of"},
    {"Accounts=\"\"", "'none' alone, or"},
    {"Accounts=\"  \"", "'none' alone, or"},
    {"Prefix=\"\"", "a login name"},
    {"Prefix=Xen", "lower-case"},
    {"Prefix=0xen", "beginning with a letter"},
    {"Prefix=-xen", "beginning with a letter"},
    {"Prefix=xen.qemu", "a login name"},
    {"Prefix=xen qemu", "a login name"},
    {"Prefix=xen:qemu", "a login name"},
    {"Prefix=x\xc3\xa9n", "a login name"},
    {"Prefix=abcdefghijklmnopqrstuvwxyzabcdef", "at most 31"},
    {"RangeBase=Qemu_base", "a login name"},
    {"RangeBase=qemu/base", "a login name"},
    {"RangeBase=abcdefghijklmnopqrstuvwxyzabcdef", "at most 31"},
};

static void test_wrong_values(void **state)
{
    char text[256], named[256];

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(wrong); i++) {
        const char *quote = strchr(wrong[i].setting, '"');

        snprintf(text, sizeof(text), "[pool x]\n%s\n", wrong[i].setting);
        /* Quotes are config.c's, and are not shown. */
        snprintf(named, sizeof(named), "[pool x] %.*s",
                 quote ? (int)(quote - wrong[i].setting) : 255, wrong[i].setting);
        REFUSE(text, named, "may be ", wrong[i].wanted);
    }
}

static void test_ranges(void **state)
{
    (void)state;
    REFUSE("[pool x]\nBase=131072\n", "[pool x] Size=", "must be set", "32752");
    REFUSE("[pool x]\n", "[pool x] Size=", "must be set");
    REFUSE("[pool x]\nBase=2147483647\nSize=2\n", "[pool x] Base=2147483647", "Size=2",
           "the last uid is 2147483648", "ends at 2147483647");
    REFUSE("[pool x]\nSize=2147483647\nBase=2147483647\n", "the last uid is 4294967293");
    REFUSE("[pool x]\nBase=65500\nSize=35\n", "[pool x] Base=65500", "65534");
    REFUSE("[pool x]\nBase=1\nSize=2147483647\n", "65534");
}

static void test_accounts_that_exclude(void **state)
{
    (void)state;
    REFUSE("[pool x]\nSize=9\nAccounts=per-domid range-base\n", "[pool x] Accounts=", "libxl");
    REFUSE("[pool x]\nSize=9\nAccounts=range-base\nPolicy=next\n", "[pool x] Policy=next",
           "must be 'domid'", "range-base");
    REFUSE("[pool x]\nSize=9\nAccounts=per-domid\nPolicy=next\n", "[pool x] Policy=next",
           "per-domid");
    REFUSE("[pool x]\nSize=9\nAccounts=range-base\nResolve=yes\n", "[pool x] Resolve=yes",
           "must be 'no'", "libxl");
    REFUSE("[pool x]\nSize=32753\nAccounts=per-domid\n", "[pool x] Accounts=per-domid",
           "Size=32753", "32752");
    REFUSE("[pool x]\nSize=9\nRangeBase=qemu_base\n", "[pool x] RangeBase=qemu_base",
           "Accounts=range-base");
    REFUSE("[pool x]\nSize=9\nRangeBase=qemu_base\nAccounts=none\n", "RangeBase=qemu_base");
}

static void test_names_that_get_too_long(void **state)
{
    struct settings s;

    (void)state;
    REFUSE("[pool x]\nSize=9\nAccounts=range-base\nPrefix=abcdefghijklmnopqrstu\n",
           "[pool x] Prefix=abcdefghijklmnopqrstu", "abcdefghijklmnopqrstu-range-base",
           "at most 31");
    REFUSE("[pool x]\nSize=9\nAccounts=shared\nPrefix=abcdefghijklmnopqrstuvwxy\n", "at most 31",
           "-shared");
    REFUSE("[pool x]\nSize=9\nAccounts=reaper\nPrefix=abcdefghijklmnopqrstuvwxy\n", "at most 31",
           "-reaper");
    /* 22 + 6 + three digits fit, a fourth does not: the last name counts. */
    s = accept("[pool x]\nSize=1000\nAccounts=per-domid\nPrefix=abcdefghijklmnopqrstuv\n");
    settings_clear(&s);
    REFUSE("[pool x]\nSize=1001\nAccounts=per-domid\nPrefix=abcdefghijklmnopqrstuv\n",
           "[pool x] Prefix=", "abcdefghijklmnopqrstuv-domid1000", "at most 31");
}

static void test_one_account_twice(void **state)
{
    (void)state;
    REFUSE("[pool x]\nSize=9\nAccounts=range-base\n[pool y]\nSize=9\nAccounts=range-base\n",
           "[pool x] and [pool y]", "xen-qemuuser-range-base", "Prefix=");
    REFUSE("[pool x]\nSize=9\nAccounts=reaper\n[pool y]\nSize=9\n[pool z]\nSize=9\n"
           "Accounts=shared reaper\n",
           "[pool x] and [pool z]", "xen-qemuuser-reaper");
    REFUSE("[pool x]\nSize=9\nAccounts=shared\n[pool y]\nSize=9\nAccounts=shared\n",
           "xen-qemuuser-shared");
    REFUSE("[pool x]\nSize=9\nAccounts=range-base shared\nPrefix=q\nRangeBase=q-shared\n",
           "[pool x] RangeBase=q-shared", "another");
    REFUSE("[pool x]\nSize=9\nAccounts=per-domid\nPrefix=q\n[pool y]\nSize=1\n"
           "Accounts=per-domid\nPrefix=q\nGroup=per-uid\n",
           "[pool x] and [pool y]", "q-domid0");
    REFUSE("[pool x]\nSize=9\nAccounts=per-domid\nPrefix=q\n[pool y]\nSize=9\n"
           "Accounts=range-base\nRangeBase=q-domid8\n",
           "q-domid8");
    REFUSE("[pool y]\nSize=9\nAccounts=range-base\nRangeBase=q-domid8\n[pool x]\nSize=9\n"
           "Accounts=per-domid\nPrefix=q\n",
           "q-domid8");
    /* The group that they share. */
    REFUSE("[pool x]\nSize=9\nAccounts=per-domid\nPrefix=q\n[pool y]\nSize=9\n"
           "Accounts=range-base\nRangeBase=q\n",
           "the account q;");
}

static void test_unknown(void **state)
{
    (void)state;
    REFUSE("[pool x]\nSize=9\nColour=red\n", "[pool x] Colour=", "no such key", "Base, Size,",
           "RangeBase");
    REFUSE("[pool x]\nsize=9\n", "[pool x] size=", "no such key");
    REFUSE("[residue]\nPlaces=/srv\n[pools]\nSize=9\n", "[pools]", "no such section", "[pool NAME]",
           "[residue]");
    REFUSE("[Pool x]\nSize=9\n", "[Pool x]", "no such section");
    REFUSE("[Residue]\nPlaces=/srv\n", "[Residue]", "no such section");
    REFUSE("[pool]\nSize=9\n", "[pool]", "no such section");
    REFUSE("[pool  x]\nSize=9\n", "[pool  x]", "one blank");
    REFUSE("[pool x y]\nSize=9\n", "[pool x y]", "letters, digits");
    REFUSE("[pool /x]\nSize=9\n", "[pool /x]", "1 to 63");
    REFUSE("[pool abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz01]\nSize=9\n",
           "1 to 63");
}

/* However long it is, what may stand there is said. */
static void test_long_texts(void **state)
{
    char text[1024], name[301], shown[128];

    (void)state;
    memset(name, 'a', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    snprintf(shown, sizeof(shown), "%.80s...: may be a login name", name);
    snprintf(text, sizeof(text), "[pool x]\nSize=9\nPrefix=%s\n", name);
    REFUSE(text, "[pool x] Prefix=aaaa", shown, "at most 31");
    snprintf(text, sizeof(text), "[pool x]\nSize=9\nAccounts=range-base\nRangeBase=%s\n", name);
    REFUSE(text, "[pool x] RangeBase=aaaa", "at most 31");
    snprintf(text, sizeof(text), "[pool %s]\nSize=9\n", name);
    REFUSE(text, "[pool aaaa", "...]", "1 to 63");
    snprintf(text, sizeof(text), "[pool x]\nSize=9\n%s=1\n", name);
    REFUSE(text, "[pool x] aaaa", "no such key", "RangeBase");
    snprintf(text, sizeof(text), "[%s]\nSize=9\n", name);
    REFUSE(text, "[aaaa", "...]", "no such section");
}

/* The profile by name, alone. */
static struct settings read_profile(const char *name)
{
    _cleanup_(config_freep) struct config *config = NULL;
    char profile[PATH_MAX], link[128];
    struct settings s = {0};
    struct problem p = {0};

    snprintf(profile, sizeof(profile), "%s/data/pools.d/%s", UIDPOOL_SOURCE, name);
    snprintf(link, sizeof(link), "%s/uidpool.conf.d/%s", directory, name);
    assert_int_equal(symlink(profile, link), 0);
    if (config_read(NULL, directory, &config, &p) != UIDPOOL_OK ||
        settings_read(config, &s, &p) != UIDPOOL_OK)
        fail_msg("%s: %s", name, p.text);
    assert_int_equal(unlink(link), 0);
    return s;
}

/* What the shipped profiles promise to the toolstacks. */
static void test_profiles(void **state)
{
    struct settings s;

    (void)state;
    put("");
    s = read_profile("libxl.conf");
    assert_int_equal(s.n, 1);
    assert_string_equal(s.pools->name, "xen-qemuuser");
    assert_true(s.pools->base_auto);
    assert_int_equal(s.pools->size, 32752);
    assert_int_equal(s.pools->policy, UIDPOOL_POLICY_DOMID);
    assert_false(s.pools->group_per_uid);
    assert_true(s.pools->follow);
    assert_false(s.pools->resolve);
    assert_int_equal(s.pools->accounts, ACCOUNTS_RANGE_BASE | ACCOUNTS_REAPER);
    assert_string_equal(s.pools->prefix, "xen-qemuuser");
    assert_string_equal(s.pools->range_base, "xen-qemuuser-range-base");
    settings_clear(&s);

    s = read_profile("xapi.conf");
    assert_int_equal(s.n, 2);
    assert_string_equal(s.pools[0].range_base, "qemu_base");
    assert_string_equal(s.pools[1].range_base, "swtpm_base");
    for (size_t i = 0; i < s.n; i++) {
        assert_int_equal(s.pools[i].size, 32752);
        assert_int_equal(s.pools[i].policy, UIDPOOL_POLICY_DOMID);
        assert_true(s.pools[i].group_per_uid);
        assert_int_equal(s.pools[i].accounts, ACCOUNTS_RANGE_BASE);
    }
    settings_clear(&s);

    s = read_profile("vmm.conf");
    assert_int_equal(s.n, 1);
    assert_int_equal(s.pools->size, 65536);
    assert_int_equal(s.pools->policy, UIDPOOL_POLICY_NEXT);
    assert_true(s.pools->group_per_uid);
    assert_int_equal(s.pools->accounts, 0);
    settings_clear(&s);
}

/* All that there are, on one host. */
static void test_profiles_together(void **state)
{
    char all[64], link[96];
    struct problem p = {0};
    struct config *config = NULL;
    struct settings s = {0};

    (void)state;
    snprintf(all, sizeof(all), "%s/all", directory);
    snprintf(link, sizeof(link), "%s/uidpool.conf.d", all);
    assert_int_equal(mkdir(all, 0700), 0);
    assert_int_equal(symlink(UIDPOOL_SOURCE "/data/pools.d", link), 0);
    if (config_read(NULL, all, &config, &p) != UIDPOOL_OK ||
        settings_read(config, &s, &p) != UIDPOOL_OK)
        fail_msg("%s", p.text);
    assert_true(s.n >= 4);
    settings_clear(&s);
    config_free(config);
    assert_int_equal(unlink(link), 0);
    assert_int_equal(rmdir(all), 0);
}

static void test_login_names(void **state)
{
    (void)state;
    assert_true(login_name_is_valid("a"));
    assert_true(login_name_is_valid("_-0"));
    assert_true(login_name_is_valid("abcdefghijklmnopqrstuvwxyzabcde"));
    assert_false(login_name_is_valid(""));
    assert_false(login_name_is_valid("abcdefghijklmnopqrstuvwxyzabcdef"));
    assert_false(login_name_is_valid("A"));
    assert_false(login_name_is_valid("aB"));
    assert_false(login_name_is_valid("1a"));
    assert_false(login_name_is_valid("a$"));
    assert_false(login_name_is_valid("~uidpool"));
}

static void test_findings(void **state)
{
    struct findings f = {0};

    (void)state;
    findings_clear(&f);
    for (unsigned i = 0; i < 100; i++)
        findings_add(&f, i % 10 == 0 ? FINDING_CONFLICT : FINDING_DRIFT, "number %u", i);
    findings_add(&f, FINDING_WARNING, "%s", "one\nline\x1b[31m, \xc3\xa9");
    assert_int_equal(f.n, 101);
    assert_int_equal(findings_count(&f, FINDING_CONFLICT), 10);
    assert_int_equal(findings_count(&f, FINDING_DRIFT), 90);
    assert_int_equal(findings_count(&f, FINDING_WARNING), 1);
    assert_string_equal(f.items[99].text, "number 99");
    assert_int_equal(f.items[90].kind, FINDING_CONFLICT);
    assert_string_equal(f.items[100].text, "one?line?[31m, \xc3\xa9");
    assert_false(f.no_memory);
    findings_clear(&f);
    assert_int_equal(f.n, 0);
    assert_null(f.items);
}

static int make_directory(void **state)
{
    char path[64];

    (void)state;
    if (!mkdtemp(directory))
        return -1;
    snprintf(path, sizeof(path), "%s/uidpool.conf.d", directory);
    return mkdir(path, 0700);
}

static int remove_directory(void **state)
{
    char path[64];

    (void)state;
    snprintf(path, sizeof(path), "%s/uidpool.conf", directory);
    (void)unlink(path);
    snprintf(path, sizeof(path), "%s/uidpool.conf.d", directory);
    (void)rmdir(path);
    return rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_others_section),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_every_key),
        cmocka_unit_test(test_good_values),
        cmocka_unit_test(test_wrong_values),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_accounts_that_exclude),
        cmocka_unit_test(test_names_that_get_too_long),
        cmocka_unit_test(test_one_account_twice),
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_long_texts),
        cmocka_unit_test(test_profiles),
        cmocka_unit_test(test_profiles_together),
        cmocka_unit_test(test_login_names),
        cmocka_unit_test(test_findings),
    };

    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
