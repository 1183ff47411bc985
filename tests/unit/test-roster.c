/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which accounts, groups and guards there should be: for each word of Accounts=, each group rule,
 * the ledger's own accounts, and a request. Pure. */
#include "common/cleanup.h"
#include "provision/roster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define BASE 2114600960u
#define POOLS_MAX 3

struct scene {
    struct pool_settings settings[POOLS_MAX];
    struct chosen_pool pools[POOLS_MAX];
    struct choices choices;
    struct uidpool_pool known[POOLS_MAX];
    struct ledger_account accounts[8];
    struct state state;
};

/* A new pool p0, p1, ... of four uids; its base a thousand behind the last one's. */
static struct chosen_pool *add_pool(struct scene *s, unsigned accounts, bool per_uid)
{
    size_t i = s->choices.n++;
    struct pool_settings *settings = &s->settings[i];
    struct chosen_pool *pool = &s->pools[i];

    snprintf(settings->name, sizeof(settings->name), "p%zu", i);
    snprintf(settings->prefix, sizeof(settings->prefix), "vm%zu", i);
    snprintf(settings->range_base, sizeof(settings->range_base), "first%zu", i);
    settings->size = 4;
    settings->accounts = accounts;
    settings->group_per_uid = per_uid;
    pool->settings = settings;
    pool->base = pool->gid = BASE + 1000 * (uint32_t)i;
    pool->shared_id = accounts & ACCOUNTS_SHARED ? 500 + 10 * (uint32_t)i : 0;
    pool->reaper_id = accounts & ACCOUNTS_REAPER ? 501 + 10 * (uint32_t)i : 0;
    s->choices.pools = s->pools;
    return pool;
}

static void add_known(struct scene *s, const char *name, bool per_uid, gid_t gid)
{
    struct uidpool_pool *known = &s->known[s->state.n_pools++];

    snprintf(known->name, sizeof(known->name), "%s", name);
    known->group_per_uid = per_uid;
    known->gid = gid;
    s->state.pools = s->known;
}

static void add_account(struct scene *s, const char *name, const char *pool, uid_t uid, gid_t gid,
                        enum ledger_account_state state)
{
    struct ledger_account *a = &s->accounts[s->state.n_accounts++];

    snprintf(a->name, sizeof(a->name), "%s", name);
    snprintf(a->pool, sizeof(a->pool), "%s", pool);
    a->uid = uid;
    a->gid = gid;
    a->state = state;
    s->state.accounts = s->accounts;
}

/* One line an item; numbers are told as from BASE if they are above it. */
static size_t put_id(char *to, size_t size, uint32_t id)
{
    return (size_t)snprintf(to, size, id >= BASE ? "+%u" : "%u", id >= BASE ? id - BASE : id);
}

static void render(const struct roster *r, char *to, size_t size)
{
    size_t n = 0;

    for (size_t i = 0; i < r->n_users; i++) {
        const struct wanted_user *u = &r->users[i];

        n += (size_t)snprintf(to + n, size - n, "%s ", u->name);
        n += put_id(to + n, size - n, u->uid);
        n += (size_t)snprintf(to + n, size - n, " ");
        n += put_id(to + n, size - n, u->gid);
        n += (size_t)snprintf(to + n, size - n, "%s%s%s\n", u->gid_follows ? " follows" : "",
                              u->removable ? " removable" : "", u->expired ? " expired" : "");
        assert_non_null(u->comment);
        assert_null(strpbrk(u->comment, ":,\n"));
    }
    for (size_t i = 0; i < r->n_groups; i++) {
        const struct wanted_group *g = &r->groups[i];

        n += (size_t)snprintf(to + n, size - n, "group %s ", g->name);
        n += put_id(to + n, size - n, g->gid);
        n += (size_t)snprintf(to + n, size - n, "%s%s\n", g->any_name ? " any" : "",
                              g->of_user ? " of-user" : "");
    }
    for (size_t i = 0; i < r->n_guards; i++)
        n += (size_t)snprintf(to + n, size - n, "guard +%u %u\n", r->guards[i].range.first - BASE,
                              r->guards[i].range.count);
    assert_true(n < size);
}

static void assert_roster(const struct scene *s, const struct user_request *request,
                          const char *expected)
{
    _cleanup_(roster_clear) struct roster r = {0};
    char text[4096] = "";

    assert_int_equal(roster_make(&s->choices, &s->state, request, &r), 0);
    render(&r, text, sizeof(text));
    assert_string_equal(text, expected);
}

static void test_nothing(void **state)
{
    struct scene s = {0};

    (void)state;
    assert_roster(&s, NULL, "");
    add_pool(&s, 0, false);
    assert_roster(&s, NULL, "guard +0 4\n");
}

static void test_range_base_shared_reaper(void **state)
{
    unsigned all = ACCOUNTS_RANGE_BASE | ACCOUNTS_SHARED | ACCOUNTS_REAPER;
    struct scene s = {0};
    struct chosen_pool *pool = add_pool(&s, all, false);

    (void)state;
    assert_roster(&s, NULL,
                  "first0 +0 +0 follows\n"
                  "vm0-shared 500 500 follows\n"
                  "vm0-reaper 501 501 follows\n"
                  "group first0 +0 any of-user\n"
                  "group vm0-shared 500 any of-user\n"
                  "group vm0-reaper 501 any of-user\n"
                  "guard +0 4\n");
    /* An adopted account's group is the pool's. What choose() found no number for is not 0. */
    pool->gid = 123;
    pool->shared_id = pool->reaper_id = 0;
    assert_roster(&s, NULL,
                  "first0 +0 123 follows\n"
                  "group first0 123 any of-user\n"
                  "guard +0 4\n");
}

static void test_per_domid(void **state)
{
    struct scene s = {0};
    struct chosen_pool *pool = add_pool(&s, ACCOUNTS_PER_DOMID, false);

    (void)state;
    assert_roster(&s, NULL,
                  "vm0-domid0 +0 +0\nvm0-domid1 +1 +0\nvm0-domid2 +2 +0\nvm0-domid3 +3 +0\n"
                  "group vm0 +0\n"
                  "guard +0 4\n");
    pool->gid = 77;
    s.settings[0].size = 1;
    assert_roster(&s, NULL, "vm0-domid0 +0 77\ngroup vm0 77 any\nguard +0 1\n");
    s.settings[0].size = 12;
    s.settings[0].group_per_uid = true;
    assert_roster(&s, NULL,
                  "vm0-domid0 +0 +0\nvm0-domid1 +1 +1\nvm0-domid2 +2 +2\nvm0-domid3 +3 +3\n"
                  "vm0-domid4 +4 +4\nvm0-domid5 +5 +5\nvm0-domid6 +6 +6\nvm0-domid7 +7 +7\n"
                  "vm0-domid8 +8 +8\nvm0-domid9 +9 +9\nvm0-domid10 +10 +10\nvm0-domid11 +11 +11\n"
                  "group vm0-domid0 +0\ngroup vm0-domid1 +1\ngroup vm0-domid2 +2\n"
                  "group vm0-domid3 +3\ngroup vm0-domid4 +4\ngroup vm0-domid5 +5\n"
                  "group vm0-domid6 +6\ngroup vm0-domid7 +7\ngroup vm0-domid8 +8\n"
                  "group vm0-domid9 +9\ngroup vm0-domid10 +10\ngroup vm0-domid11 +11\n"
                  "guard +0 12\n");
}

static void test_fates(void **state)
{
    static const enum pool_fate fates[] = {POOL_NEW, POOL_BEGUN, POOL_KNOWN, POOL_RETIRED,
                                           POOL_STUCK};

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(fates); i++) {
        struct scene s = {0};

        add_pool(&s, ACCOUNTS_RANGE_BASE, false)->fate = fates[i];
        assert_int_equal(roster_has_pool(&s.pools[0]), i < 3);
        assert_roster(&s, NULL,
                      i < 3 ? "first0 +0 +0 follows\ngroup first0 +0 any of-user\nguard +0 4\n"
                            : "");
    }
}

static void test_several_pools(void **state)
{
    struct scene s = {0};

    (void)state;
    add_pool(&s, ACCOUNTS_RANGE_BASE, false);
    add_pool(&s, ACCOUNTS_REAPER, true)->fate = POOL_KNOWN;
    add_pool(&s, ACCOUNTS_SHARED, false)->fate = POOL_RETIRED;
    assert_roster(&s, NULL,
                  "first0 +0 +0 follows\nvm1-reaper 511 511 follows\n"
                  "group first0 +0 any of-user\ngroup vm1-reaper 511 any of-user\n"
                  "guard +0 4\nguard +1000 4\n");
}

static void test_accounts(void **state)
{
    struct scene s = {0};

    (void)state;
    add_pool(&s, 0, false)->fate = POOL_KNOWN;
    add_pool(&s, 0, true)->fate = POOL_KNOWN;
    add_account(&s, "a", "p0", BASE, BASE, LEDGER_ACCOUNT_PRESENT);
    add_account(&s, "b", "p0", BASE + 1, BASE, LEDGER_ACCOUNT_ADDING);
    add_account(&s, "c", "p1", BASE + 1000, BASE + 1000, LEDGER_ACCOUNT_REMOVING);
    add_account(&s, "d", "p0", BASE + 3, BASE, LEDGER_ACCOUNT_REMOVED);
    /* All of a shared gid have one group, called as the pool; a uid's own is called as the user. */
    assert_roster(&s, NULL,
                  "a +0 +0 removable\nb +1 +0 removable\n"
                  "c +1000 +1000 removable expired\nd +3 +0 removable expired\n"
                  "group p0 +0 any\ngroup c +1000 any\n"
                  "guard +0 4\nguard +1000 4\n");
}

static void test_accounts_of_pools_that_are_not_chosen(void **state)
{
    struct scene s = {0};

    (void)state;
    add_pool(&s, 0, false)->fate = POOL_RETIRED;
    add_known(&s, "p0", false, BASE);
    add_known(&s, "Gone:1", false, BASE + 1000);
    add_known(&s, "own", true, BASE + 2000);
    add_account(&s, "a", "p0", BASE, BASE, LEDGER_ACCOUNT_PRESENT);
    add_account(&s, "b", "Gone:1", BASE + 1000, BASE + 1000, LEDGER_ACCOUNT_PRESENT);
    add_account(&s, "c", "Gone:1", BASE + 1001, BASE + 1000, LEDGER_ACCOUNT_PRESENT);
    add_account(&s, "d", "own", BASE + 2000, BASE + 2000, LEDGER_ACCOUNT_PRESENT);
    assert_roster(&s, NULL,
                  "a +0 +0 removable\nb +1000 +1000 removable\nc +1001 +1000 removable\n"
                  "d +2000 +2000 removable\n"
                  "group p0 +0 any\n"
                  "group b +1000 any\n" /* "Gone:1" can be no group's name */
                  "group d +2000 any\n");
}

static void test_accounts_beside_others(void **state)
{
    struct scene s = {0};

    (void)state;
    add_pool(&s, ACCOUNTS_PER_DOMID, false)->fate = POOL_KNOWN;
    s.settings[0].size = 1;
    add_account(&s, "a", "p0", BASE + 3, BASE, LEDGER_ACCOUNT_PRESENT);
    /* The pool's group is there already. */
    assert_roster(&s, NULL, "vm0-domid0 +0 +0\na +3 +0 removable\ngroup vm0 +0\nguard +0 1\n");
    /* The rule was another one when the account was made. */
    s.settings[0].accounts = 0;
    s.settings[0].group_per_uid = true;
    add_account(&s, "b", "p0", BASE + 1, BASE + 1, LEDGER_ACCOUNT_PRESENT);
    assert_roster(&s, NULL,
                  "a +3 +0 removable\nb +1 +1 removable\n"
                  "group p0 +0 any\ngroup b +1 any\nguard +0 1\n");
}

static struct user_request request_for(const char *name, bool remove)
{
    struct user_request request = {.pool = "p0", .remove = remove, .uid = BASE + 2, .gid = BASE};

    snprintf(request.name, sizeof(request.name), "%s", name);
    return request;
}

static void assert_request(const struct scene *s, const char *name, bool remove,
                           const char *expected)
{
    struct user_request request = request_for(name, remove);

    assert_roster(s, &request, expected);
}

static void test_requests(void **state)
{
    struct scene s = {0};

    (void)state;
    add_pool(&s, 0, false)->fate = POOL_KNOWN;
    assert_request(&s, "new", false, "new +2 +0 removable\ngroup p0 +0 any\nguard +0 4\n");
    assert_request(&s, "new", true, "guard +0 4\n");
    add_account(&s, "b", "p0", BASE, BASE, LEDGER_ACCOUNT_PRESENT);
    add_account(&s, "d", "p0", BASE + 1, BASE, LEDGER_ACCOUNT_REMOVED);
    assert_request(&s, "a", false,
                   "a +2 +0 removable\nb +0 +0 removable\nd +1 +0 removable expired\n"
                   "group p0 +0 any\nguard +0 4\n");
    assert_request(&s, "c", false,
                   "b +0 +0 removable\nc +2 +0 removable\nd +1 +0 removable expired\n"
                   "group p0 +0 any\nguard +0 4\n");
    assert_request(&s, "e", false,
                   "b +0 +0 removable\nd +1 +0 removable expired\ne +2 +0 removable\n"
                   "group p0 +0 any\nguard +0 4\n");
    assert_request(&s, "b", true,
                   "b +0 +0 removable expired\nd +1 +0 removable expired\n"
                   "group p0 +0 any\nguard +0 4\n");
    /* The ledger's numbers, not the request's. */
    assert_request(&s, "d", false,
                   "b +0 +0 removable\nd +1 +0 removable\ngroup p0 +0 any\nguard +0 4\n");
    assert_request(&s, "b", false,
                   "b +0 +0 removable\nd +1 +0 removable expired\ngroup p0 +0 any\nguard +0 4\n");
}

/* A run that was cut off is carried on in the order that it had. */
static void test_a_request_is_where_the_ledger_will_have_it(void **state)
{
    static const char *const names[] = {"a", "c", "e"};

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(names); i++) {
        struct user_request request = request_for(names[i], false);
        struct scene before = {0}, behind = {0};
        char text[4096] = "";
        _cleanup_(roster_clear) struct roster r = {0};

        add_pool(&before, 0, false);
        add_pool(&behind, 0, false);
        add_account(&before, "b", "p0", BASE, BASE, LEDGER_ACCOUNT_PRESENT);
        add_account(&before, "d", "p0", BASE + 1, BASE, LEDGER_ACCOUNT_PRESENT);
        for (size_t k = 0; k <= 2; k++) {
            if (k == i)
                add_account(&behind, names[i], "p0", BASE + 2, BASE, LEDGER_ACCOUNT_ADDING);
            if (k < 2)
                add_account(&behind, before.accounts[k].name, "p0", before.accounts[k].uid, BASE,
                            LEDGER_ACCOUNT_PRESENT);
        }
        assert_int_equal(roster_make(&behind.choices, &behind.state, NULL, &r), 0);
        render(&r, text, sizeof(text));
        assert_roster(&before, &request, text);
        assert_roster(&behind, &request, text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_range_base_shared_reaper),
        cmocka_unit_test(test_per_domid),
        cmocka_unit_test(test_fates),
        cmocka_unit_test(test_several_pools),
        cmocka_unit_test(test_accounts),
        cmocka_unit_test(test_accounts_of_pools_that_are_not_chosen),
        cmocka_unit_test(test_accounts_beside_others),
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_a_request_is_where_the_ledger_will_have_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
