/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which numbers are chosen, and what is in the way of them. The world is a fake that stands in
 * provision/world.c's place; tables come from text. Touches nothing of the host.
 */
#include "allocator/hostrange.h"
#include "common/cleanup.h"
#include "common/ids.h"
#include "provision/choose.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define BASE HOSTRANGE_AUTO_FIRST
#define STEP HOSTRANGE_AUTO_STEP
#define POOLS_MAX 6

/*
 * The world, as the test wants it.
 */

static struct {
    const char *names; /* ",a,b,": what another name service knows */
    uint32_t ids[4];   /* the same; 0: no more */
    bool outage;
    bool full; /* no automatic base */
    struct uid_range system_ids;
    struct {
        char pool[16];
        struct uid_range range;
        enum finding_kind kind;
        bool skip_processes;
    } asked[16]; /* world_check_range_but() */
    size_t n_asked;
    unsigned names_asked;
} fake;

static enum uidpool_status outage(struct problem *p)
{
    return problem_set(p, UIDPOOL_FAILED, "an outage");
}

enum uidpool_status world_check_range_but(const struct world *w, const struct account_files *files,
                                          const char *pool, struct uid_range range,
                                          bool (*is_own)(const struct account_table *t,
                                                         const struct entry *e, void *userdata),
                                          void *userdata, enum finding_kind kind,
                                          struct findings *findings, struct problem *p)
{
    static const enum account_file files_with_ids[] = {FILE_PASSWD, FILE_GROUP};

    if (fake.outage)
        return outage(p);
    for (size_t f = 0; f < ELEMENTS_OF(files_with_ids); f++) {
        const struct account_table *t = &files->tables[files_with_ids[f]];
        const struct entry *e;

        for (size_t i = 0; (e = table_in_range(t, range.first, range.count, i)); i++)
            if (!is_own(t, e, userdata))
                findings_add(findings, kind, "in the way of %s: %s %.*s", pool,
                             account_file_name(t->file), (int)e->name_length, e->name);
    }
    if (fake.n_asked < ELEMENTS_OF(fake.asked)) {
        snprintf(fake.asked[fake.n_asked].pool, sizeof(fake.asked[0].pool), "%s", pool);
        fake.asked[fake.n_asked].range = range;
        fake.asked[fake.n_asked].kind = kind;
        fake.asked[fake.n_asked].skip_processes = w->skip_processes;
        fake.n_asked++;
    }
    return UIDPOOL_OK;
}

enum uidpool_status world_name_taken(const struct world *w, const char *name, bool *ret_taken,
                                     struct problem *p)
{
    char text[64];

    (void)w;
    fake.names_asked++;
    if (fake.outage)
        return outage(p);
    snprintf(text, sizeof(text), ",%s,", name);
    *ret_taken = fake.names && strstr(fake.names, text);
    return UIDPOOL_OK;
}

enum uidpool_status world_id_taken(const struct world *w, uint32_t id, bool *ret_taken,
                                   struct problem *p)
{
    (void)w;
    if (fake.outage)
        return outage(p);
    for (size_t i = 0; i < ELEMENTS_OF(fake.ids) && fake.ids[i]; i++)
        if (fake.ids[i] == id)
            *ret_taken = true;
    return UIDPOOL_OK;
}

enum uidpool_status world_system_ids(struct uid_range *ret, struct problem *p)
{
    if (fake.system_ids.count == 0)
        return problem_set(p, UIDPOOL_FAILED, "login.defs is odd");
    *ret = fake.system_ids;
    return UIDPOOL_OK;
}

enum uidpool_status world_find_base(const struct world *w, const struct account_files *files,
                                    uint32_t size, bool (*taken)(struct uid_range, void *userdata),
                                    void *userdata, uid_t *ret, struct problem *p)
{
    (void)w;
    if (fake.outage)
        return outage(p);
    for (uint64_t base = BASE; !fake.full && base + size <= HOSTRANGE_AUTO_END; base += STEP) {
        struct uid_range range = {(uid_t)base, size};

        if (taken(range, userdata) ||
            table_in_range(&files->tables[FILE_PASSWD], range.first, size, 0) ||
            table_in_range(&files->tables[FILE_GROUP], range.first, size, 0))
            continue;
        *ret = range.first;
        return UIDPOOL_OK;
    }
    return problem_set(p, UIDPOOL_CONFLICT, "nothing is free");
}

/*
 * A host.
 */

static struct {
    struct pool_settings sections[POOLS_MAX];
    struct uidpool_pool known[POOLS_MAX];
    struct ledger_account accounts[2];
    struct settings settings;
    struct state state;
    struct account_files files;
    struct world world;
    bool thorough;
    /* What came of it: */
    enum uidpool_status status;
    struct problem problem;
    struct choices choices;
    struct findings findings;
} host;

static void clear(void)
{
    choices_clear(&host.choices);
    findings_clear(&host.findings);
    for (size_t i = 0; i < ACCOUNT_FILES; i++)
        table_clear(&host.files.tables[i]);
    memset(&host, 0, sizeof(host));
    memset(&fake, 0, sizeof(fake));
}

static void set_file(enum account_file file, const char *text)
{
    size_t size = strlen(text);
    char *data = malloc(size + 1);
    struct problem p = {0};

    assert_non_null(data);
    memcpy(data, text, size);
    table_clear(&host.files.tables[file]);
    if (table_parse(file, data, size, &host.files.tables[file], &p) != UIDPOOL_OK)
        fail_msg("%s", p.text);
}

static void set_files(const char *passwd, const char *group)
{
    set_file(FILE_PASSWD, passwd);
    set_file(FILE_GROUP, group);
}

static int begin(void **state)
{
    (void)state;
    clear();
    host.settings.pools = host.sections;
    host.state = (struct state){
        .exists = true,
        .pools = host.known,
        .accounts = host.accounts,
        .reaper_first = LEDGER_REAPER_FIRST,
        .reaper_count = LEDGER_REAPER_COUNT,
    };
    fake.system_ids = (struct uid_range){101, 899};
    set_files("root:x:0:0::/root:/bin/sh\n", "root:x:0:\n");
    return 0;
}

static int end(void **state)
{
    (void)state;
    clear();
    return 0;
}

/* A section; base 0 is auto. The prefix is the name. */
static struct pool_settings *add_section(const char *name, uid_t base, uint32_t size,
                                         unsigned accounts)
{
    struct pool_settings *s = &host.sections[host.settings.n++];

    snprintf(s->name, sizeof(s->name), "%s", name);
    snprintf(s->prefix, sizeof(s->prefix), "%s", name);
    if (accounts & ACCOUNTS_RANGE_BASE)
        snprintf(s->range_base, sizeof(s->range_base), "%.16s-range-base", name);
    s->base_auto = base == 0;
    s->base = base;
    s->size = size;
    s->accounts = accounts;
    return s;
}

static struct uidpool_pool *add_known(const char *name, uid_t base, uint32_t size)
{
    struct uidpool_pool *pool = &host.known[host.state.n_pools++];

    snprintf(pool->name, sizeof(pool->name), "%s", name);
    pool->id = base;
    pool->base = pool->gid = base;
    pool->size = size;
    return pool;
}

static void run(void)
{
    choices_clear(&host.choices);
    findings_clear(&host.findings);
    host.problem = (struct problem){0};
    fake.n_asked = fake.names_asked = 0;
    host.status = choose(&host.settings, &host.state, &host.files, &host.world, host.thorough,
                         &host.choices, &host.findings, &host.problem);
}

static const struct chosen_pool *chosen(size_t i)
{
    if (host.status != UIDPOOL_OK)
        fail_msg("%d: %s", host.status, host.problem.text);
    assert_int_equal(host.choices.n, host.settings.n);
    return &host.choices.pools[i];
}

/* Exactly one finding, of this kind and with these words. */
static void expect_one(enum finding_kind kind, const char *words)
{
    (void)chosen(0);
    for (size_t i = 0; i < host.findings.n; i++)
        if (host.findings.n > 1 || host.findings.items[i].kind != kind ||
            !strstr(host.findings.items[i].text, words))
            fail_msg("finding %zu (%d): %s", i, host.findings.items[i].kind,
                     host.findings.items[i].text);
    if (host.findings.n == 0)
        fail_msg("nothing found where this was due: %s", words);
}

/* The last of them, which is forgotten then. */
static void expect_last(enum finding_kind kind, const char *words)
{
    struct finding *last;

    (void)chosen(0);
    assert_true(host.findings.n > 0);
    last = &host.findings.items[host.findings.n - 1];
    if (last->kind != kind || !strstr(last->text, words))
        fail_msg("last finding (%d): %s", last->kind, last->text);
    free(last->text);
    host.findings.n--;
}

static void expect_nothing(void)
{
    (void)chosen(0);
    if (host.findings.n > 0)
        fail_msg("%s", host.findings.items[0].text);
}

/*
 * Ranges.
 */

static void test_automatic_bases(void **state)
{
    (void)state;
    add_section("a", 0, 32752, 0);
    add_section("b", 0, 65537, 0);
    add_section("c", 0, 1, 0);
    run();
    expect_nothing();
    assert_int_equal(chosen(0)->base, BASE);
    assert_int_equal(chosen(1)->base, BASE + STEP);
    assert_int_equal(chosen(2)->base, BASE + 3 * STEP);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(chosen(i)->fate, POOL_NEW);
        assert_false(chosen(i)->adopted);
        assert_int_equal(chosen(i)->gid, chosen(i)->base);
        assert_null(chosen(i)->known);
        assert_int_equal(chosen(i)->shared_id + chosen(i)->reaper_id, 0);
    }
    /* Found clear of everything: not asked about again. */
    assert_int_equal(fake.n_asked, 0);
}

/* Whatever else names a range comes first, wherever it stands. */
static void test_auto_comes_last(void **state)
{
    (void)state;
    add_section("auto", 0, 100, 0);
    add_section("number", BASE, 100, 0);
    add_section("adopted", 0, 100, ACCOUNTS_RANGE_BASE);
    add_section("known", 0, 100, 0);
    add_known("known", BASE + 2 * STEP, 100);
    add_known("another", BASE + 3 * STEP + 7, 100)->retired = true;
    set_file(FILE_PASSWD, "adopted-range-base:x:2113994802:2113994802::/:\n");
    assert_int_equal(BASE + STEP + 50, 2113994802);
    run();
    expect_nothing();
    assert_int_equal(chosen(0)->base, BASE + 4 * STEP);
    assert_int_equal(chosen(1)->base, BASE);
    assert_int_equal(chosen(2)->base, BASE + STEP + 50);
    assert_int_equal(chosen(3)->base, BASE + 2 * STEP);
}

/* A pool had that range, whatever the ledger knows: guards of other sizes, in either file. */
static void test_auto_keeps_off_guards(void **state)
{
    (void)state;
    add_section("a", 0, 100, 0);
    set_file(FILE_SUBUID, "root:100000:65536\n~uidpool:2113929300:7\n");
    set_file(FILE_SUBGID, "~uidpool:2113994752:32752\n~uidpoolx:2114060288:9\n");
    run();
    expect_nothing();
    assert_int_equal(chosen(0)->base, BASE + 2 * STEP);
}

static void test_no_automatic_base(void **state)
{
    (void)state;
    add_section("a", 0, 100, ACCOUNTS_RANGE_BASE | ACCOUNTS_SHARED);
    add_section("b", BASE, 100, 0);
    fake.full = true;
    run();
    expect_one(FINDING_CONFLICT, "pool a: nothing is free");
    assert_int_equal(chosen(0)->fate, POOL_STUCK);
    assert_int_equal(chosen(0)->base, 0);
    assert_int_equal(chosen(0)->shared_id, 0);
    assert_int_equal(chosen(1)->base, BASE);
    fake.outage = true;
    run();
    assert_int_equal(host.status, UIDPOOL_FAILED);
    assert_string_equal(host.problem.text, "pool a: an outage");
    assert_null(host.choices.pools);
}

static void test_fates(void **state)
{
    (void)state;
    add_section("known", BASE + 9, 100, 0);
    add_section("begun", 0, 100, 0);
    add_section("retired", 0, 1, ACCOUNTS_SHARED | ACCOUNTS_RANGE_BASE);
    add_known("known", BASE + 9, 100);
    add_known("begun", BASE + 500, 100);
    host.known[1].provisioning = host.known[1].retired = true;
    add_known("retired", BASE + 700, 100)->retired = true;
    run();
    expect_one(FINDING_WARNING,
               "pool retired is retired, so its section does nothing; remove the section, or bring "
               "the pool back with 'uidpool pool add retired --base=2113929916 --size=100' and");
    assert_int_equal(chosen(0)->fate, POOL_KNOWN);
    assert_int_equal(chosen(0)->base, BASE + 9);
    assert_ptr_equal(chosen(0)->known, &host.known[0]);
    assert_int_equal(chosen(1)->fate, POOL_BEGUN);
    assert_int_equal(chosen(1)->base, BASE + 500);
    assert_int_equal(chosen(2)->fate, POOL_RETIRED);
    assert_int_equal(chosen(2)->shared_id, 0);
    assert_int_equal(fake.names_asked, 0);
}

static void test_begun_without_a_section(void **state)
{
    (void)state;
    add_section("a", 0, 10, 0);
    add_known("b", BASE, 10);
    add_known("c", BASE + 100, 10)->retired = true;
    run();
    expect_nothing();
    add_known("d", BASE + 200, 10);
    host.known[2].retired = host.known[2].provisioning = true;
    run();
    expect_one(FINDING_DRIFT,
               "pool d was begun and not finished, and the configuration has no section for it any "
               "more; put [pool d] with Base=2113929416 and Size=10 back, so that "
               "'uidpool-provision apply' finishes it");
}

static void test_a_range_never_changes(void **state)
{
    (void)state;
    add_section("known", 0, 101, 0);
    add_known("known", BASE, 100);
    run();
    expect_one(FINDING_CONFLICT,
               "pool known: the configuration says Size=101, the ledger 100; the name and range of "
               "a pool never change: set Size=100 back, or retire it ('uidpool-provision retire "
               "known') and give the new range another name");
    host.sections[0].size = 100;
    host.sections[0].base_auto = false;
    host.sections[0].base = BASE + 1;
    run();
    expect_one(
        FINDING_CONFLICT,
        "pool known: the configuration says Base=2113929217, the ledger 2113929216; the name "
        "and range of a pool never change: set Base=2113929216 back, or Base=auto, or retire "
        "it ('uidpool-provision retire known')");
    assert_int_equal(chosen(0)->base, BASE);
    /* The ledger's size is what is in use. */
    host.sections[0].base = BASE;
    host.sections[0].size = 10;
    add_section("b", BASE + 50, 10, 0);
    host.thorough = true;
    run();
    assert_int_equal(fake.asked[0].range.count, 100);
    assert_int_equal(findings_count(&host.findings, FINDING_CONFLICT), 2);
    assert_non_null(strstr(host.findings.items[1].text, "overlap those of pool known"));
}

static void test_overlaps(void **state)
{
    (void)state;
    add_section("a", BASE, 100, 0);
    add_section("b", BASE + 99, 100, 0);
    run();
    expect_one(FINDING_CONFLICT, "pool b: the uids 2113929315 to 2113929414 overlap those of pool "
                                 "a; choose another Base=, or Base=auto");
    host.sections[1].base++;
    run();
    expect_nothing();
    add_known("gone", BASE + 199, 1)->retired = true;
    run();
    expect_one(FINDING_CONFLICT, "pool b: the uids 2113929316 to 2113929415 overlap those of pool "
                                 "gone; choose");
    host.sections[1].base = LEDGER_REAPER_FIRST + LEDGER_REAPER_COUNT - 1;
    run();
    expect_one(FINDING_CONFLICT, "overlap those of the reaper; choose another");
    host.sections[1].base++;
    run();
    expect_nothing();
}

/*
 * Accounts made by hand.
 */

static void test_adopt(void **state)
{
    (void)state;
    add_section("x", 0, 32752, ACCOUNTS_RANGE_BASE);
    set_files("root:x:0:0::/:\nx-range-base:x:131072:131072::/:\n",
              "root:x:0:\nx-range-base:x:131072:\n");
    run();
    expect_nothing();
    assert_true(chosen(0)->adopted);
    assert_int_equal(chosen(0)->fate, POOL_NEW);
    assert_int_equal(chosen(0)->base, 131072);
    assert_int_equal(chosen(0)->gid, 131072);
    /* Found by hand, so the world is asked. */
    assert_int_equal(fake.n_asked, 1);
    assert_int_equal(fake.asked[0].range.first, 131072);
    assert_int_equal(fake.asked[0].range.count, 32752);

    /* The same number said is no conflict, another is. */
    host.sections[0].base_auto = false;
    host.sections[0].base = 131072;
    run();
    expect_nothing();
    assert_true(chosen(0)->adopted);
    host.sections[0].base = 131073;
    run();
    expect_one(
        FINDING_CONFLICT,
        "pool x: the configuration says Base=131073, but the account x-range-base has uid "
        "131072; set Base=131072 or Base=auto to take its range over, or set RangeBase= to another "
        "name, or remove the account while none of its domains runs ('userdel x-range-base')");
    /* Where no such account is wanted nobody is adopted. */
    host.sections[0].accounts = 0;
    host.sections[0].range_base[0] = '\0';
    host.sections[0].base = 7000000;
    run();
    expect_nothing();
    assert_false(chosen(0)->adopted);
}

/* What a killed systemd-sysusers has made of our own lines: the range stays where they said. */
static void test_traces_are_adopted(void **state)
{
    static const struct {
        unsigned accounts;
        bool per_uid;
        const char *passwd, *group;
        uid_t base;
    } rows[] = {
        {ACCOUNTS_RANGE_BASE, false, "", "x-range-base:x:2113994752:\n", BASE + STEP},
        {ACCOUNTS_PER_DOMID, false, "", "x:x:2113994752:\n", BASE + STEP},
        {ACCOUNTS_PER_DOMID, true, "", "x-domid0:x:2113994752:\n", BASE + STEP},
        {ACCOUNTS_PER_DOMID, false, "x-domid0:x:2113994752:2113994752::/:\n", "", BASE + STEP},
        /* Not by us. */
        {ACCOUNTS_PER_DOMID, true, "", "x:x:2113994752:\n", BASE},
        {ACCOUNTS_RANGE_BASE, false, "", "x:x:2113994752:\n", BASE},
        {ACCOUNTS_SHARED, false, "", "x-range-base:x:2113994752:\n", BASE},
        {ACCOUNTS_PER_DOMID, false, "", "x-domid0:x:2113994752:\n", BASE},
        {ACCOUNTS_RANGE_BASE, false, "", "x-range-base:x:2113994753:\n", BASE},
        {ACCOUNTS_RANGE_BASE, false, "", "x-range-base:x:998:\n", BASE},
        {ACCOUNTS_RANGE_BASE, false, "", "x-range-base:x:2147221504:\n", BASE},
    };

    (void)state;
    add_section("x", 0, 70000, 0);
    assert_int_equal(BASE + STEP, 2113994752);
    assert_int_equal(HOSTRANGE_AUTO_END - STEP, 2147221504);
    for (size_t i = 0; i < ELEMENTS_OF(rows); i++) {
        host.sections[0].accounts = rows[i].accounts;
        host.sections[0].group_per_uid = rows[i].per_uid;
        snprintf(host.sections[0].range_base, sizeof(host.sections[0].range_base), "x-range-base");
        set_files(rows[i].passwd, rows[i].group);
        run();
        assert_int_equal(chosen(0)->adopted, rows[i].base != BASE);
        if (rows[i].base != BASE) {
            expect_nothing();
            assert_int_equal(chosen(0)->base, rows[i].base);
        }
    }
}

static void test_another_name_is_adopted(void **state)
{
    struct pool_settings *s = add_section("xapi", 0, 100, ACCOUNTS_RANGE_BASE);

    (void)state;
    snprintf(s->range_base, sizeof(s->range_base), "qemu_base");
    set_file(FILE_PASSWD, "xapi-range-base:x:5000:5000::/:\nqemu_base:x:65737:65737::/:\n");
    run();
    expect_nothing();
    assert_int_equal(chosen(0)->base, 65737);
}

static void test_adopted_gid(void **state)
{
    (void)state;
    add_section("x", 0, 100, ACCOUNTS_RANGE_BASE);
    set_file(FILE_PASSWD, "x-range-base:x:131072:7001::/:\n");
    run();
    expect_nothing();
    assert_int_equal(chosen(0)->gid, 7001);

    set_file(FILE_PASSWD, "x-range-base:x:131072:65534::/:\n");
    run();
    expect_one(FINDING_WARNING,
               "pool x: the account x-range-base is in the group of nobody (65534), so that every "
               "device model will be; 'groupadd -g 131072 x-range-base' and 'usermod -g 131072 "
               "x-range-base' give it a group of its own");
    assert_int_equal(chosen(0)->gid, UID_NOBODY);

    set_file(FILE_PASSWD, "x-range-base:x:131072:0::/:\n");
    run();
    expect_one(FINDING_CONFLICT, "pool x: the account x-range-base has gid 0, which no device "
                                 "model may have; give it a group of its own ('groupadd -g 131072 "
                                 "x-range-base' and 'usermod -g 131072 x-range-base')");
    set_file(FILE_PASSWD, "x-range-base:x:131072:4294967294::/:\n");
    run();
    expect_one(FINDING_CONFLICT, "has gid 4294967294, which");

    set_file(FILE_PASSWD, "x-range-base:x:131072:7001::/:\n");
    host.sections[0].group_per_uid = true;
    run();
    expect_one(FINDING_CONFLICT,
               "pool x: the account x-range-base has gid 7001, but Group=per-uid makes it 131072, "
               "as its uid; 'groupadd -g 131072 x-range-base' and 'usermod -g 131072 "
               "x-range-base' move it there, or set Group=shared");
    assert_int_equal(chosen(0)->gid, 131072);
    set_file(FILE_PASSWD, "x-range-base:x:131072:131072::/:\n");
    run();
    expect_nothing();
}

static void test_adopted_where_no_range_fits(void **state)
{
    static const char *const uids[] = {"0", "65500", "65534", "65535", "2147483600", "4294967294"};

    (void)state;
    add_section("x", 0, 100, ACCOUNTS_RANGE_BASE | ACCOUNTS_REAPER);
    for (size_t i = 0; i < ELEMENTS_OF(uids); i++) {
        char line[128], words[256];

        snprintf(line, sizeof(line), "x-range-base:x:%s:100::/:\n", uids[i]);
        set_file(FILE_PASSWD, line);
        run();
        snprintf(words, sizeof(words),
                 "pool x: the account x-range-base has uid %s, where no 100 uids can begin; set "
                 "RangeBase= to another name%s",
                 uids[i], i == 0 ? "" : ", or remove the account while none of its domains runs");
        expect_one(FINDING_CONFLICT, words);
        /* Nobody is told to remove root. */
        assert_int_equal(!strstr(host.findings.items[0].text, "userdel"), i == 0);
        assert_int_equal(chosen(0)->fate, POOL_STUCK);
        assert_int_equal(chosen(0)->base, 0);
        assert_int_equal(chosen(0)->reaper_id, 0);
    }
}

/* The account is there, the section that says a number is told. */
static void test_adopted_before_numbers(void **state)
{
    (void)state;
    add_section("number", 131000, 100, 0);
    add_section("x", 0, 100, ACCOUNTS_RANGE_BASE);
    add_section("y", 0, 100, ACCOUNTS_RANGE_BASE);
    set_file(FILE_PASSWD, "x-range-base:x:131072:131072::/:\ny-range-base:x:131200:131200::/:\n");
    run();
    /* Said twice: as a range that overlaps, and as an account in it. */
    assert_int_equal(findings_count(&host.findings, FINDING_CONFLICT), 2);
    assert_string_equal(host.findings.items[0].text,
                        "pool number: the uids 131000 to 131099 overlap those of pool x; choose "
                        "another Base=, or Base=auto");
    assert_string_equal(host.findings.items[1].text, "in the way of number: passwd x-range-base");
}

/* libxl uses the account's gid, so it is the pool's, whatever the ledger says. */
static void test_gid_of_a_known_pool(void **state)
{
    struct uidpool_pool *known = add_known("x", 131072, 100);

    (void)state;
    add_section("x", 0, 100, ACCOUNTS_RANGE_BASE);
    known->gid = 4711;
    run();
    expect_nothing();
    assert_int_equal(chosen(0)->gid, 4711);
    set_file(FILE_PASSWD, "x-range-base:x:131072:7001::/:\n");
    run();
    expect_nothing();
    assert_int_equal(chosen(0)->gid, 7001);
    /* Not that of one on another uid, which is another conflict. */
    set_file(FILE_PASSWD, "x-range-base:x:131073:7001::/:\n");
    run();
    assert_int_equal(chosen(0)->gid, 4711);
    set_file(FILE_PASSWD, "root:x:0:0::/:\n");
    known->group_per_uid = true;
    run();
    assert_int_equal(chosen(0)->gid, 131072);
    known->group_per_uid = false;
    host.sections[0].group_per_uid = true;
    run();
    assert_int_equal(chosen(0)->gid, 131072);
    expect_nothing();
}

/*
 * Who is asked about which range.
 */

static void test_the_world_is_asked(void **state)
{
    (void)state;
    add_section("auto", 0, 10, 0);
    add_section("number", 7000000, 20, 0);
    add_section("known", 0, 30, 0);
    add_section("begun", 0, 40, 0);
    add_section("retired", 0, 50, 0);
    add_known("known", 7000100, 30);
    add_known("begun", 7000200, 40)->provisioning = true;
    add_known("retired", 7000300, 50)->retired = true;
    run();
    (void)chosen(0);
    assert_int_equal(fake.n_asked, 2);
    assert_string_equal(fake.asked[0].pool, "number");
    assert_int_equal(fake.asked[0].range.first, 7000000);
    assert_int_equal(fake.asked[0].range.count, 20);
    assert_int_equal(fake.asked[0].kind, FINDING_CONFLICT);
    assert_false(fake.asked[0].skip_processes);
    assert_string_equal(fake.asked[1].pool, "begun");
    assert_int_equal(fake.asked[1].range.first, 7000200);
    assert_int_equal(fake.asked[1].kind, FINDING_CONFLICT);
    assert_false(fake.asked[1].skip_processes);

    host.thorough = true;
    run();
    (void)chosen(0);
    assert_int_equal(fake.n_asked, 3);
    assert_string_equal(fake.asked[1].pool, "known");
    assert_int_equal(fake.asked[1].range.first, 7000100);
    assert_int_equal(fake.asked[1].range.count, 30);
    assert_int_equal(fake.asked[1].kind, FINDING_DRIFT);
    /* Device models run there. */
    assert_true(fake.asked[1].skip_processes);

    fake.outage = true;
    host.settings.n = 2;
    host.sections[0] = host.sections[1];
    run();
    assert_int_equal(host.status, UIDPOOL_FAILED);
    assert_string_equal(host.problem.text, "an outage");
}

static void test_strangers_in_the_range(void **state)
{
    (void)state;
    add_section("x", 7000000, 10, ACCOUNTS_RANGE_BASE);
    set_file(FILE_PASSWD, "alice:x:7000009:7000009::/:\nbob:x:7000010:7000010::/:\n");
    run();
    expect_one(FINDING_CONFLICT, "in the way of x: passwd alice");
    /* A group of another name on the gid that is to be ours. */
    set_files("root:x:0:0::/:\n", "alice:x:7000000:\n");
    run();
    expect_one(FINDING_CONFLICT, "in the way of x: group alice");
    /* The name is right, the number is not. */
    set_files("root:x:0:0::/:\n", "x-range-base:x:7000001:\n");
    run();
    expect_one(FINDING_CONFLICT, "in the way of x: group x-range-base");
    add_known("x", 7000000, 10);
    run();
    expect_nothing();
    host.thorough = true;
    run();
    expect_one(FINDING_DRIFT, "in the way of x: group x-range-base");
}

/* What a run that was cut off has written, or an image brought, is not in the way. */
static void test_our_own_in_the_range(void **state)
{
    (void)state;
    add_section("x", 7000000, 10, ACCOUNTS_PER_DOMID)->group_per_uid = true;
    add_section("y", 7000100, 10, ACCOUNTS_PER_DOMID);
    add_section("z", 7000200, 10, ACCOUNTS_RANGE_BASE);
    set_files("x-domid0:x:7000000:7000000::/:\nx-domid9:x:7000009:7000009::/:\n"
              "y-domid3:x:7000103:7000100::/:\n",
              "x-domid0:x:7000000:\nx-domid9:x:7000009:\ny:x:7000100:\nz-range-base:x:7000200:\n");
    run();
    expect_nothing();
    host.state.n_pools = 0;
    add_known("x", 7000000, 10)->provisioning = true;
    add_known("y", 7000100, 10)->provisioning = true;
    add_known("z", 7000200, 10)->provisioning = true;
    run();
    expect_nothing();
    assert_int_equal(fake.n_asked, 3);

    /* Our names, but elsewhere. */
    set_files("x-domid1:x:7000000:7000000::/:\n", "x:x:7000009:\n");
    run();
    assert_int_equal(findings_count(&host.findings, FINDING_CONFLICT), 2);
    set_files("x:x:7000000:7000000::/:\ny:x:7000100:7000100::/:\n", "y:x:7000101:\n");
    run();
    assert_int_equal(findings_count(&host.findings, FINDING_CONFLICT), 3);
    set_files("root:x:0:0::/:\n", "y-domid3:x:7000103:\n");
    run();
    expect_one(FINDING_CONFLICT, "in the way of y: group y-domid3");
}

static void test_whatever_group_has_the_gid(void **state)
{
    (void)state;
    add_section("x", 0, 10, ACCOUNTS_RANGE_BASE);
    set_files("x-range-base:x:7000000:7000000::/:\n", "xen:x:7000000:\n");
    run();
    expect_nothing();
    set_files("x-range-base:x:7000000:7000005::/:\n", "xen:x:7000005:\n");
    run();
    expect_nothing();
    set_files("x-range-base:x:7000000:7000005::/:\n", "xen:x:7000005:\nother:x:7000000:\n");
    run();
    /* That range was nobody's choice. */
    expect_last(FINDING_WARNING,
                "pool x: its range begins at 7000000, the uid of the account x-range-base that is "
                "there already; to have another, remove the account while none of its domains "
                "runs ('userdel x-range-base'), and");
    expect_one(FINDING_CONFLICT, "in the way of x: group other");
    host.sections[0].base_auto = false;
    host.sections[0].base = 7000000;
    run();
    expect_last(FINDING_WARNING, "('userdel x-range-base'), set Base=auto, and");
    host.sections[0].base_auto = true;
    host.thorough = true;
    add_known("x", 7000000, 10)->gid = 7000005;
    run();
    expect_one(FINDING_DRIFT, "in the way of x: group other");
    /* In use without an account: the group of a pool that was made by hand. */
    host.sections[0].accounts = 0;
    set_file(FILE_PASSWD, "root:x:0:0::/:\n");
    run();
    expect_one(FINDING_DRIFT, "in the way of x: group other");
    set_file(FILE_GROUP, "other:x:7000000:\n");
    host.sections[0].group_per_uid = true;
    host.known[0].group_per_uid = true;
    host.known[0].gid = 7000000;
    run();
    expect_one(FINDING_DRIFT, "in the way of x: group other");
    host.known[0].group_per_uid = host.sections[0].group_per_uid = false;
    run();
    expect_nothing();
    set_file(FILE_PASSWD, "other:x:7000000:100::/:\n");
    run();
    expect_one(FINDING_DRIFT, "in the way of x: passwd other");
    /* Adopted, and then cut off. */
    host.sections[0].accounts = ACCOUNTS_RANGE_BASE;
    host.known[0].provisioning = true;
    set_files("x-range-base:x:7000000:7000000::/:\n", "xen:x:7000000:\n");
    run();
    expect_nothing();
    set_files("x-range-base:x:7000001:7000000::/:\n", "xen:x:7000000:\n");
    run();
    assert_int_equal(findings_count(&host.findings, FINDING_CONFLICT), 2);
}

static void test_accounts_of_the_ledger(void **state)
{
    (void)state;
    add_section("x", 0, 10, 0);
    add_known("x", 7000000, 10);
    host.thorough = true;
    host.state.n_accounts = 1;
    host.accounts[0] = (struct ledger_account){.name = "backup", .uid = 7000009, .gid = 7000000};
    set_files("backup:x:7000009:7000000::/:\n", "root:x:0:\n");
    run();
    expect_nothing();
    set_files("backup:x:7000008:7000000::/:\n", "root:x:0:\n");
    run();
    expect_one(FINDING_DRIFT, "in the way of x: passwd backup");
    set_files("backups:x:7000009:7000000::/:\n", "root:x:0:\n");
    run();
    expect_one(FINDING_DRIFT, "in the way of x: passwd backups");
}

/*
 * Names.
 */

static void test_names_of_other_services(void **state)
{
    (void)state;
    add_section("x", BASE, 10, ACCOUNTS_RANGE_BASE | ACCOUNTS_SHARED | ACCOUNTS_REAPER);
    fake.names = ",x,x-domid0,y-reaper,";
    run();
    expect_nothing();
    fake.names = ",x-range-base,";
    run();
    expect_one(FINDING_CONFLICT,
               "pool x: another name service than the files knows a user or a group x-range-base "
               "('getent passwd x-range-base', 'getent group x-range-base'); remove it there, or "
               "choose other names with Prefix= and RangeBase=");
    fake.names = ",x-shared,";
    run();
    expect_one(FINDING_CONFLICT, "knows a user or a group x-shared (");
    fake.names = ",x-reaper,";
    run();
    expect_one(FINDING_CONFLICT, "knows a user or a group x-reaper (");
    /* Some repeat the files, so a name that these know is not asked for. */
    set_file(FILE_PASSWD, "x-reaper:x:120:120::/:\n");
    run();
    expect_nothing();
    set_files("root:x:0:0::/:\n", "x-reaper:x:120:\n");
    run();
    expect_nothing();
    assert_int_equal(fake.names_asked, 2);

    host.sections[0].accounts = 0;
    run();
    assert_int_equal(fake.names_asked, 0);
    host.sections[0].accounts = ACCOUNTS_REAPER;
    add_known("x", BASE, 10);
    set_file(FILE_GROUP, "root:x:0:\n");
    run();
    expect_one(FINDING_CONFLICT, "a group x-reaper (");
    host.known[0].retired = true;
    run();
    assert_int_equal(fake.names_asked, 0);
    host.known[0].retired = false;
    fake.outage = true;
    run();
    assert_int_equal(host.status, UIDPOOL_FAILED);
    assert_string_equal(host.problem.text, "an outage");
}

static void test_names_per_domid(void **state)
{
    (void)state;
    add_section("x", BASE, 32752, ACCOUNTS_PER_DOMID);
    fake.names = ",x,x-domid0,x-domid1,x-domid2,x-domid3,x-domid4,x-domid5,x-domid6,x-domid7,"
                 "x-domid8,x-domid32751,x-domid32752,";
    run();
    assert_int_equal(chosen(0)->base, BASE);
    assert_int_equal(fake.names_asked, 32753);
    assert_int_equal(host.findings.n, 9);
    assert_int_equal(findings_count(&host.findings, FINDING_CONFLICT), 9);
    assert_non_null(strstr(host.findings.items[0].text, "a group x ("));
    assert_non_null(strstr(host.findings.items[7].text, "a group x-domid6 ("));
    assert_string_equal(host.findings.items[8].text,
                        "pool x: another name service knows 3 more of its names");
    /* A group for each: none is called like the prefix. */
    host.sections[0].group_per_uid = true;
    fake.names = ",x,x-domid7,";
    run();
    expect_one(FINDING_CONFLICT, "a group x-domid7 (");
    assert_int_equal(fake.names_asked, 32752);
}

/*
 * Accounts outside of the pools.
 */

static void test_free_ids(void **state)
{
    (void)state;
    add_section("x", BASE, 10, ACCOUNTS_SHARED | ACCOUNTS_REAPER);
    add_section("y", BASE + 10, 10, ACCOUNTS_REAPER);
    run();
    expect_nothing();
    assert_int_equal(chosen(0)->shared_id, 999);
    assert_int_equal(chosen(0)->reaper_id, 998);
    assert_int_equal(chosen(1)->shared_id, 0);
    assert_int_equal(chosen(1)->reaper_id, 997);

    /* Free as uid and as gid, in the files and elsewhere; odd lines count. */
    fake.system_ids = (struct uid_range){990, 10};
    fake.ids[0] = 997;
    set_files("a:x:999:100::/:\n  b:x:996:100::/:\n", "a:x:998:\nb:x:995:x:y\n");
    run();
    expect_nothing();
    assert_int_equal(chosen(0)->shared_id, 994);
    assert_int_equal(chosen(0)->reaper_id, 993);
    assert_int_equal(chosen(1)->reaper_id, 992);
    fake.system_ids.first += 4;
    fake.system_ids.count -= 4;
    run();
    assert_int_equal(findings_count(&host.findings, FINDING_CONFLICT), 2);
    assert_string_equal(host.findings.items[0].text,
                        "pool x: none of the ids 994 to 999 is free as uid and gid for the account "
                        "x-reaper; make room, or set SYS_UID_MIN and SYS_UID_MAX in "
                        "/etc/login.defs");
    assert_int_equal(chosen(0)->shared_id, 994);
    assert_int_equal(chosen(0)->reaper_id, 0);
}

/* Where the system's ids reach into a pool, or beyond what is an id. */
static void test_free_ids_outside_of_pools(void **state)
{
    (void)state;
    add_section("x", 65530, 4, ACCOUNTS_REAPER);
    add_known("y", 65528, 1);
    fake.system_ids = (struct uid_range){65520, 16};
    run();
    expect_nothing();
    assert_int_equal(chosen(0)->reaper_id, 65529);
    set_file(FILE_GROUP, "a:x:65529:\n");
    run();
    assert_int_equal(chosen(0)->reaper_id, 65527);
    fake.system_ids = (struct uid_range){0, 1};
    run();
    expect_one(FINDING_CONFLICT, "none of the ids 0 to 0 is free");
    fake.system_ids.count = 0;
    run();
    assert_int_equal(host.status, UIDPOOL_FAILED);
    assert_string_equal(host.problem.text, "login.defs is odd");
    fake.system_ids.count = 5;
    fake.outage = true;
    host.settings.n = 1;
    host.sections[0].accounts = ACCOUNTS_REAPER;
    host.sections[0].base_auto = true;
    snprintf(host.known[0].name, sizeof(host.known[0].name), "x");
    host.known[0].size = 4;
    set_file(FILE_PASSWD, "x:x:7:7::/:\n");
    run();
    assert_int_equal(host.status, UIDPOOL_FAILED);
}

static void test_existing_accounts(void **state)
{
    (void)state;
    add_section("x", BASE, 10, ACCOUNTS_SHARED | ACCOUNTS_REAPER);
    set_files("x-shared:x:130:65534::/:\n", "x-reaper:x:131:\nx-shared:x:132:\n");
    fake.ids[0] = 130;
    run();
    expect_nothing();
    assert_int_equal(chosen(0)->shared_id, 130);
    assert_int_equal(chosen(0)->reaper_id, 131);
    /* Nothing has to be free. */
    fake.system_ids = (struct uid_range){0};
    run();
    expect_nothing();
    assert_int_equal(chosen(0)->shared_id, 130);
}

static void test_existing_accounts_that_will_not_do(void **state)
{
    (void)state;
    add_section("x", BASE, 10, ACCOUNTS_REAPER);
    set_file(FILE_PASSWD, "x-reaper:x:0:0::/:\n");
    run();
    expect_one(FINDING_CONFLICT,
               "pool x: the account x-reaper has the id 0, which it may not have; "
               "remove it ('userdel x-reaper'), or choose another Prefix=");
    assert_int_equal(chosen(0)->reaper_id, 0);
    set_files("root:x:0:0::/:\n", "x-reaper:x:65534:\n");
    run();
    expect_one(FINDING_CONFLICT, "pool x: the group x-reaper has the id 65534, which it may not "
                                 "have; remove it ('groupdel x-reaper'), or");
    set_files("x-reaper:x:7000009:7000009::/:\n", "root:x:0:\n");
    add_known("other", 7000000, 10);
    run();
    expect_one(FINDING_CONFLICT,
               "pool x: the account x-reaper has the id 7000009, one of those of pool other, but "
               "must be outside of every pool; remove it ('userdel x-reaper'), or choose another "
               "Prefix=");
    assert_int_equal(chosen(0)->reaper_id, 7000009);
    set_file(FILE_PASSWD, "x-reaper:x:2147287040:7::/:\n");
    run();
    expect_one(FINDING_CONFLICT, "has the id 2147287040, one of those of the reaper, but");

    /* A reaper kills whatever else runs as its uid. */
    host.sections[0].accounts |= ACCOUNTS_SHARED;
    set_files("x-reaper:x:131:131::/:\nx-shared:x:131:131::/:\n", "root:x:0:\n");
    run();
    expect_one(FINDING_CONFLICT,
               "pool x: the account x-reaper has the id 131, and so has another account of pool x; "
               "remove one of them ('userdel x-reaper'), or choose another Prefix=");
}

static void test_no_pools(void **state)
{
    (void)state;
    run();
    assert_int_equal(host.status, UIDPOOL_OK);
    assert_int_equal(host.choices.n, 0);
    assert_int_equal(host.findings.n, 0);
}

/*
 * Any host.
 */

#define SEED UINT64_C(0x9E3779B97F4A7C15)
#define ROUNDS 20000

static uint64_t random_state;

static uint32_t random_below(uint32_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 32) % n;
}

/* Somewhere in the first three automatic blocks, where all else is too. */
static uid_t random_uid(void)
{
    return BASE + random_below(3) * STEP + random_below(4) * 50 + random_below(3);
}

static const char *const suffixes[] = {"-range-base", "-shared", "-reaper", "-domid3", ""};

struct text {
    char bytes[4096];
    size_t length;
};

static void add_line(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add_line(struct text *t, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    t->length += (size_t)vsnprintf(t->bytes + t->length, sizeof(t->bytes) - t->length, format, ap);
    va_end(ap);
    assert_true(t->length < sizeof(t->bytes));
}

static void make_random_files(struct text *passwd, struct text *group)
{
    add_line(passwd, "root:x:0:0::/:\n");
    add_line(group, "root:x:0:\n");
    for (size_t i = 0; i < POOLS_MAX; i++)
        for (size_t k = 0; k < ELEMENTS_OF(suffixes); k++) {
            uid_t uid = k == 1 || k == 2 ? 900 + random_below(100) : random_uid();

            if (random_below(12) == 0)
                add_line(passwd, "p%zu%s:x:%u:%u::/:\n", i, suffixes[k], uid,
                         random_below(3) ? uid : 900 + random_below(100));
            if (random_below(12) == 0)
                add_line(group, "p%zu%s:x:%u:\n", i, suffixes[k], uid);
        }
    set_files(passwd->bytes, group->bytes);
}

static void make_random_host(struct text *passwd, struct text *group)
{
    size_t n = 1 + random_below(POOLS_MAX);

    (void)begin(NULL);
    fake.system_ids = (struct uid_range){980, 20};
    for (size_t i = 0; i < n; i++) {
        unsigned accounts = random_below(8) | (random_below(4) ? 0 : ACCOUNTS_PER_DOMID);
        char name[8];

        snprintf(name, sizeof(name), "p%zu", i);
        if (accounts & ACCOUNTS_PER_DOMID)
            accounts &= ~(unsigned)ACCOUNTS_RANGE_BASE;
        add_section(name, random_below(2) ? random_uid() : 0, 1 + random_below(60), accounts)
            ->group_per_uid = random_below(3) == 0;
    }
    for (size_t i = 0; i < POOLS_MAX; i++) {
        uid_t base = random_uid();
        uint32_t size = i < n ? host.sections[i].size : 1 + random_below(60);
        char name[8];

        snprintf(name, sizeof(name), "p%zu", i);
        if (random_below(3) == 0 && !state_overlap(&host.state, (struct uid_range){base, size})) {
            struct uidpool_pool *pool = add_known(name, base, size);

            pool->provisioning = random_below(3) == 0;
            pool->retired = pool->provisioning || random_below(4) == 0;
        }
    }
    make_random_files(passwd, group);
}

static bool is_done_for(const struct chosen_pool *c)
{
    return c->fate != POOL_RETIRED && c->fate != POOL_STUCK;
}

static void check_ids(const struct chosen_pool *c, const char *suffix, uint32_t id)
{
    const struct entry *user, *group;
    char name[96];

    snprintf(name, sizeof(name), "%s%s", c->settings->name, suffix);
    user = table_by_name(&host.files.tables[FILE_PASSWD], name);
    group = table_by_name(&host.files.tables[FILE_GROUP], name);
    for (size_t i = 0; i < host.choices.n; i++) {
        const struct chosen_pool *other = &host.choices.pools[i];

        if (is_done_for(other))
            assert_false(uid_ranges_overlap(other->base, other->settings->size, id, 1));
        if (other->shared_id == id || other->reaper_id == id)
            assert_true(other == c || user || group);
    }
    assert_null(state_overlap(&host.state, (struct uid_range){id, 1}));
    assert_true(user || group || (id >= 980 && id <= 999));
    if (user || group)
        assert_int_equal(id, user ? user->id : group->id);
    else {
        assert_null(table_by_id(&host.files.tables[FILE_PASSWD], id));
        assert_null(table_by_id(&host.files.tables[FILE_GROUP], id));
    }
}

static void check_pool(const struct chosen_pool *c)
{
    struct uid_range range = {c->base, c->settings->size};
    const struct pool_settings *s = c->settings;

    assert_true(uid_range_is_usable(range.first, range.count));
    for (const struct chosen_pool *other = host.choices.pools; other < c; other++)
        if (is_done_for(other))
            assert_false(
                uid_ranges_overlap(other->base, other->settings->size, range.first, range.count));
    for (size_t i = 0; i < host.state.n_pools; i++)
        if (&host.state.pools[i] != c->known)
            assert_false(uid_ranges_overlap(host.state.pools[i].base, host.state.pools[i].size,
                                            range.first, range.count));
    if (s->accounts & ACCOUNTS_SHARED)
        check_ids(c, "-shared", c->shared_id);
    if (s->accounts & ACCOUNTS_REAPER)
        check_ids(c, "-reaper", c->reaper_id);
    if (c->shared_id)
        assert_int_not_equal(c->shared_id, c->reaper_id);
    if (s->group_per_uid)
        assert_int_equal(c->gid, c->base);
}

/* As carrying it out would leave it, or, `cut_off`, some of it: a name is in a file unless it was
 * there before, or its turn had not come. */
static void write_account(struct text *passwd, struct text *group, const char *name, uint32_t uid,
                          uint32_t gid, bool cut_off)
{
    if (!table_by_name(&host.files.tables[FILE_GROUP], name) && (!cut_off || random_below(2)))
        add_line(group, "%s:x:%u:\n", name, gid);
    if (!table_by_name(&host.files.tables[FILE_PASSWD], name) && (!cut_off || random_below(2)))
        add_line(passwd, "%s:x:%u:%u::/:\n", name, uid, gid);
}

static void write_accounts(struct text *passwd, struct text *group, const struct chosen_pool *c,
                           bool cut_off)
{
    const char *prefix = c->settings->prefix;
    unsigned accounts = c->settings->accounts;
    char name[64];

    if (accounts & ACCOUNTS_RANGE_BASE)
        write_account(passwd, group, c->settings->range_base, c->base, c->gid, cut_off);
    snprintf(name, sizeof(name), "%s-shared", prefix);
    if (accounts & ACCOUNTS_SHARED)
        write_account(passwd, group, name, c->shared_id, c->shared_id, cut_off);
    snprintf(name, sizeof(name), "%s-reaper", prefix);
    if (accounts & ACCOUNTS_REAPER)
        write_account(passwd, group, name, c->reaper_id, c->reaper_id, cut_off);
    if (accounts & ACCOUNTS_PER_DOMID && !c->settings->group_per_uid &&
        !table_by_name(&host.files.tables[FILE_GROUP], prefix))
        add_line(group, "%s:x:%u:\n", prefix, c->gid);
}

static void carry_out(struct text *passwd, struct text *group, bool cut_off)
{
    for (size_t i = 0; i < host.choices.n; i++) {
        const struct chosen_pool *c = &host.choices.pools[i];
        struct uidpool_pool *pool = NULL;

        if (!is_done_for(c))
            continue;
        write_accounts(passwd, group, c, cut_off);
        for (size_t k = 0; k < host.state.n_pools; k++)
            if (strcmp(host.known[k].name, c->settings->name) == 0)
                pool = &host.known[k];
        if (!pool)
            pool = add_known(c->settings->name, c->base, c->settings->size);
        pool->gid = c->gid;
        pool->group_per_uid = c->settings->group_per_uid;
        if (c->fate != POOL_KNOWN)
            pool->retired = pool->provisioning = cut_off;
    }
    set_files(passwd->bytes, group->bytes);
}

static void check_again(const struct chosen_pool *before, size_t n, bool cut_off)
{
    run();
    assert_int_equal(host.choices.n, n);
    for (size_t i = 0; i < n; i++) {
        const struct chosen_pool *c = chosen(i);

        assert_int_equal(c->base, before[i].base);
        assert_int_equal(c->gid, before[i].gid);
        assert_int_equal(c->reaper_id, before[i].reaper_id);
        assert_int_equal(c->shared_id, before[i].shared_id);
        if (is_done_for(c))
            assert_int_equal(c->fate,
                             cut_off && before[i].fate != POOL_KNOWN ? POOL_BEGUN : POOL_KNOWN);
    }
    for (size_t i = 0; i < host.findings.n; i++)
        if (host.findings.items[i].kind != FINDING_WARNING)
            fail_msg("%s", host.findings.items[i].text);
}

/* A cut-off run may not have written an account outside of the pools, so its number is free to be
 * chosen again; it is the same, because nothing else changed. */
static bool test_one_round(void)
{
    struct text passwd = {.length = 0}, group = {.length = 0};
    struct chosen_pool before[POOLS_MAX];
    bool cut_off;
    size_t n;

    make_random_host(&passwd, &group);
    host.thorough = true;
    run();
    (void)chosen(0);
    if (host.findings.n > findings_count(&host.findings, FINDING_WARNING))
        return false;
    n = host.choices.n;
    for (size_t i = 0; i < n; i++) {
        if (is_done_for(chosen(i)))
            check_pool(chosen(i));
        before[i] = *chosen(i);
    }
    /* The same arguments, the same choice. */
    run();
    assert_memory_equal(host.choices.pools, before, n * sizeof(before[0]));

    cut_off = random_below(2) == 0;
    carry_out(&passwd, &group, cut_off);
    check_again(before, n, cut_off);
    return true;
}

static void test_any_host(void **state)
{
    unsigned without_conflict = 0;

    (void)state;
    random_state = SEED;
    for (unsigned i = 0; i < ROUNDS; i++)
        without_conflict += test_one_round();
    /* Or it tested nothing. */
    assert_in_range(without_conflict, ROUNDS / 10, ROUNDS - ROUNDS / 10);
}

#define on_host(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_host(test_automatic_bases),
        on_host(test_auto_comes_last),
        on_host(test_auto_keeps_off_guards),
        on_host(test_no_automatic_base),
        on_host(test_fates),
        on_host(test_begun_without_a_section),
        on_host(test_a_range_never_changes),
        on_host(test_overlaps),
        on_host(test_adopt),
        on_host(test_traces_are_adopted),
        on_host(test_another_name_is_adopted),
        on_host(test_adopted_gid),
        on_host(test_adopted_where_no_range_fits),
        on_host(test_adopted_before_numbers),
        on_host(test_gid_of_a_known_pool),
        on_host(test_the_world_is_asked),
        on_host(test_strangers_in_the_range),
        on_host(test_our_own_in_the_range),
        on_host(test_whatever_group_has_the_gid),
        on_host(test_accounts_of_the_ledger),
        on_host(test_names_of_other_services),
        on_host(test_names_per_domid),
        on_host(test_free_ids),
        on_host(test_free_ids_outside_of_pools),
        on_host(test_existing_accounts),
        on_host(test_existing_accounts_that_will_not_do),
        on_host(test_no_pools),
        on_host(test_any_host),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
