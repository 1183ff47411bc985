/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What user add and user remove ask for: which pool and uid an account gets, and what is refused.
 * Makes a ledger in a temporary directory.
 */
#include "provision/request.h"

#include "common/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define BASE 2114060288u
#define SIZE 8u

enum { PLAIN, LIBXL, EACH, PER_UID, POOLS };

/* Four pools, one after the other; the first is the one that may have accounts. */
struct fixture {
    char dir[64], path[96];
    struct ledger *ledger;
    struct pool_settings settings[POOLS];
    struct chosen_pool pools[POOLS];
    struct choices choices;
    struct ledger_account account;
    struct state state;
    struct problem p;
};

static int setup(void **state)
{
    static const struct pool_settings settings[POOLS] = {
        [PLAIN] = {.name = "plain"},
        [LIBXL] = {.name = "libxl",
                   .accounts = ACCOUNTS_RANGE_BASE,
                   .range_base = "xen-qemuuser-range-base"},
        [EACH] = {.name = "each", .accounts = ACCOUNTS_PER_DOMID, .prefix = "vm"},
        [PER_UID] = {.name = "per-uid", .group_per_uid = true},
    };
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    snprintf(f->dir, sizeof(f->dir), "/tmp/uidpool-test-request-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof(f->path), "%s/l.db", f->dir);
    assert_int_equal(ledger_open(f->path, LEDGER_CREATE, &f->ledger, &f->p), UIDPOOL_OK);
    assert_int_equal(ledger_begin(f->ledger, &f->p), UIDPOOL_OK);
    for (unsigned i = 0; i < POOLS; i++) {
        struct uidpool_pool pool = {.base = BASE + i * SIZE, .size = SIZE, .gid = BASE + i * SIZE};

        f->settings[i] = settings[i];
        f->settings[i].size = SIZE;
        f->pools[i] = (struct chosen_pool){
            .settings = &f->settings[i], .fate = POOL_KNOWN, .base = pool.base, .gid = pool.gid};
        memcpy(pool.name, settings[i].name, sizeof(pool.name));
        pool.policy = UIDPOOL_POLICY_NEXT;
        pool.group_per_uid = settings[i].group_per_uid;
        assert_int_equal(ledger_pool_insert(f->ledger, &pool, &f->p), UIDPOOL_OK);
    }
    assert_int_equal(ledger_commit(f->ledger, &f->p), UIDPOOL_OK);
    f->choices = (struct choices){f->pools, POOLS};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", ".lock"};
    struct fixture *f = *state;

    ledger_close(f->ledger);
    for (size_t i = 0; i < ELEMENTS_OF(suffixes); i++) {
        char path[128];

        snprintf(path, sizeof(path), "%s%s", f->path, suffixes[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(f->dir), 0);
    free(f);
    return 0;
}

static struct user_request add(struct fixture *f, const char *pool, uid_t uid)
{
    struct user_request r;
    bool later = true;

    if (request_add(&f->choices, &f->state, "swtpm", pool, uid, &r, &later, &f->p) != UIDPOOL_OK)
        fail_msg("%s", f->p.text);
    assert_false(later);
    return r;
}

/* Refused with this status, and with this word in the message. */
static void refuse_add(struct fixture *f, const char *pool, uid_t uid, enum uidpool_status status,
                       const char *word)
{
    struct user_request r = {.uid = 77};
    bool later = true;

    assert_int_equal(request_add(&f->choices, &f->state, "swtpm", pool, uid, &r, &later, &f->p),
                     status);
    assert_int_equal(r.uid, 77);
    assert_false(later);
    if (!strstr(f->p.text, word))
        fail_msg("'%s' is not in: %s", word, f->p.text);
}

static void know_account(struct fixture *f)
{
    f->account = (struct ledger_account){.name = "swtpm",
                                         .pool = "plain",
                                         .uid = BASE + 3,
                                         .gid = BASE,
                                         .state = LEDGER_ACCOUNT_REMOVED};
    f->state.accounts = &f->account;
    f->state.n_accounts = 1;
}

static void test_the_pool(void **state)
{
    struct fixture *f = *state;
    struct user_request r = add(f, "plain", BASE + 2);

    assert_string_equal(r.name, "swtpm");
    assert_string_equal(r.pool, "plain");
    assert_int_equal(r.uid, BASE + 2);
    assert_int_equal(r.gid, BASE);
    assert_false(r.remove);
    assert_int_equal(add(f, "plain", BASE + SIZE - 1).uid, BASE + SIZE - 1);
    refuse_add(f, "plain", BASE - 1, UIDPOOL_CONFLICT, "not in pool plain");
    refuse_add(f, "plain", BASE + SIZE, UIDPOOL_CONFLICT, "not in pool plain");
    refuse_add(f, "nonsense", BASE, UIDPOOL_NOT_FOUND, "[pool nonsense]");
    refuse_add(f, NULL, BASE, UIDPOOL_USAGE, "--pool");
    f->choices.n = 1;
    assert_string_equal(add(f, NULL, BASE).pool, "plain");
    f->choices.n = 0;
    refuse_add(f, NULL, BASE, UIDPOOL_NOT_FOUND, "has no pool");
}

static void test_pools_without_accounts(void **state)
{
    struct fixture *f = *state;

    refuse_add(f, "libxl", UIDPOOL_NO_UID, UIDPOOL_CONFLICT, "xen-qemuuser-range-base");
    refuse_add(f, "each", UIDPOOL_NO_UID, UIDPOOL_CONFLICT, "vm-domid<N>");
    f->pools[PLAIN].fate = POOL_RETIRED;
    refuse_add(f, "plain", UIDPOOL_NO_UID, UIDPOOL_CONFLICT, "retired");
}

static void test_pools_to_come(void **state)
{
    static const enum pool_fate fates[] = {POOL_NEW, POOL_BEGUN, POOL_STUCK};
    struct fixture *f = *state;

    for (size_t i = 0; i < ELEMENTS_OF(fates); i++) {
        struct user_request r = {.uid = 77};
        bool later = false;

        f->pools[PLAIN].fate = fates[i];
        assert_int_equal(request_add(&f->choices, &f->state, "swtpm", "plain", UIDPOOL_NO_UID, &r,
                                     &later, &f->p),
                         UIDPOOL_OK);
        assert_true(later);
        assert_int_equal(r.uid, 77);
    }
    /* It would not help to make that one, nor is it made for a uid that it will not have. */
    f->pools[LIBXL].fate = POOL_NEW;
    refuse_add(f, "libxl", UIDPOOL_NO_UID, UIDPOOL_CONFLICT, "range-base");
    f->pools[PLAIN].fate = POOL_NEW;
    refuse_add(f, "plain", BASE + SIZE, UIDPOOL_CONFLICT, "not in pool plain");
}

static void test_the_same_again(void **state)
{
    struct fixture *f = *state;
    struct user_request r;

    know_account(f);
    /* Also when its pool is no longer one that could get new ones. */
    f->pools[PLAIN].fate = POOL_RETIRED;
    r = add(f, NULL, UIDPOOL_NO_UID);
    assert_string_equal(r.pool, "plain");
    assert_int_equal(r.uid, BASE + 3);
    assert_int_equal(r.gid, BASE);
    assert_int_equal(add(f, "plain", BASE + 3).uid, BASE + 3);
    refuse_add(f, "libxl", UIDPOOL_NO_UID, UIDPOOL_CONFLICT, "of pool plain");
    refuse_add(f, "plain", BASE + 4, UIDPOOL_CONFLICT, "on uid 2114060291");
}

static void reserve(struct fixture *f, const char *name, uid_t uid, uint32_t count)
{
    struct uidpool_reservation r = {.pool = "plain", .pool_id = BASE, .uid = uid, .count = count};

    snprintf(r.name, sizeof(r.name), "%s", name);
    assert_int_equal(ledger_begin(f->ledger, &f->p), UIDPOOL_OK);
    assert_int_equal(ledger_reservation_insert(f->ledger, &r, &f->p), UIDPOOL_OK);
    assert_int_equal(ledger_commit(f->ledger, &f->p), UIDPOOL_OK);
}

static void test_the_uid(void **state)
{
    struct fixture *f = *state;
    struct user_request r = add(f, "plain", UIDPOOL_NO_UID);

    assert_int_equal(request_choose_uid(f->ledger, &r, &f->p), UIDPOOL_OK);
    assert_int_equal(r.uid, BASE + SIZE - 1);
    assert_int_equal(r.gid, BASE);
    reserve(f, "other", BASE + SIZE - 2, 2);
    r = add(f, "plain", UIDPOOL_NO_UID);
    assert_int_equal(request_choose_uid(f->ledger, &r, &f->p), UIDPOOL_OK);
    assert_int_equal(r.uid, BASE + SIZE - 3);
    r = add(f, "plain", BASE + 1);
    assert_int_equal(request_choose_uid(f->ledger, &r, &f->p), UIDPOOL_OK);
    assert_int_equal(r.uid, BASE + 1);
    r = add(f, "per-uid", UIDPOOL_NO_UID);
    assert_int_equal(request_choose_uid(f->ledger, &r, &f->p), UIDPOOL_OK);
    assert_int_equal(r.uid, BASE + POOLS * SIZE - 1);
    assert_int_equal(r.gid, r.uid);
    reserve(f, "rest", BASE, SIZE - 2);
    r = add(f, "plain", UIDPOOL_NO_UID);
    assert_int_equal(request_choose_uid(f->ledger, &r, &f->p), UIDPOOL_EXHAUSTED);
    assert_non_null(strstr(f->p.text, "pool plain"));
}

static void test_the_reserved_uid(void **state)
{
    struct fixture *f = *state;
    struct user_request r = add(f, "plain", UIDPOOL_NO_UID);

    reserve(f, "swtpm", BASE + 2, 1);
    assert_int_equal(request_choose_uid(f->ledger, &r, &f->p), UIDPOOL_OK);
    assert_int_equal(r.uid, BASE + 2);
    r = add(f, "plain", BASE + 2);
    assert_int_equal(request_choose_uid(f->ledger, &r, &f->p), UIDPOOL_OK);
    r = add(f, "plain", BASE + 1);
    assert_int_equal(request_choose_uid(f->ledger, &r, &f->p), UIDPOOL_CONFLICT);
    r = add(f, "per-uid", UIDPOOL_NO_UID);
    assert_int_equal(request_choose_uid(f->ledger, &r, &f->p), UIDPOOL_CONFLICT);
    assert_non_null(strstr(f->p.text, "pool plain"));
}

/* An account is on one uid. */
static void test_a_reserved_block(void **state)
{
    struct fixture *f = *state;
    struct user_request r = add(f, "plain", UIDPOOL_NO_UID);

    reserve(f, "swtpm", BASE + 2, 2);
    assert_int_equal(request_choose_uid(f->ledger, &r, &f->p), UIDPOOL_CONFLICT);
}

static void lease(struct fixture *f, enum uidpool_state to)
{
    struct uidpool_lease l = {.pool_id = BASE,
                              .uid = BASE + 3,
                              .gid = BASE,
                              .count = 1,
                              .domid = UIDPOOL_NO_DOMID,
                              .state = to};

    snprintf(l.pool, sizeof(l.pool), "plain");
    /* A hold is nobody's. */
    if (to != UIDPOOL_STATE_HELD)
        snprintf(l.name, sizeof(l.name), "swtpm");
    assert_int_equal(ledger_begin(f->ledger, &f->p), UIDPOOL_OK);
    if (ledger_lease_insert(f->ledger, &l, &f->p) != UIDPOOL_OK)
        fail_msg("%s", f->p.text);
    assert_int_equal(ledger_commit(f->ledger, &f->p), UIDPOOL_OK);
}

static enum uidpool_status remove_swtpm(struct fixture *f, struct user_request *ret)
{
    return request_remove(f->ledger, &f->state, "swtpm", ret, &f->p);
}

static void test_remove(void **state)
{
    struct fixture *f = *state;
    struct user_request r;

    assert_int_equal(remove_swtpm(f, &r), UIDPOOL_NOT_FOUND);
    /* A host without a ledger. */
    assert_int_equal(request_remove(NULL, &f->state, "swtpm", &r, &f->p), UIDPOOL_NOT_FOUND);
    know_account(f);
    assert_int_equal(remove_swtpm(f, &r), UIDPOOL_OK);
    assert_true(r.remove);
    assert_string_equal(r.name, "swtpm");
    assert_string_equal(r.pool, "plain");
    assert_int_equal(r.uid, BASE + 3);
    assert_int_equal(r.gid, BASE);
    lease(f, UIDPOOL_STATE_LEASED);
    assert_int_equal(remove_swtpm(f, &r), UIDPOOL_CONFLICT);
    assert_non_null(strstr(f->p.text, "uidpool release --name=swtpm"));
}

static void test_remove_what_is_held(void **state)
{
    struct fixture *f = *state;
    struct user_request r;

    know_account(f);
    lease(f, UIDPOOL_STATE_HELD);
    assert_int_equal(remove_swtpm(f, &r), UIDPOOL_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_pool, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pools_without_accounts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pools_to_come, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_same_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_uid, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_reserved_uid, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_reserved_block, setup, teardown),
        cmocka_unit_test_setup_teardown(test_remove, setup, teardown),
        cmocka_unit_test_setup_teardown(test_remove_what_is_held, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
