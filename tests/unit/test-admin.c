/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pools and reservations over a ledger in a directory of its own: what may be reserved within
 * somebody else's transaction, and what is refused while a pool is being provisioned. Runs nothing
 * as any uid, and asks the host nothing. */
#include "allocator/allocator.h"
#include "common/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define BASE 2115698688u
#define SIZE 8u

struct fixture {
    char dir[64];
    char path[96];
    struct allocator a;
    struct uidpool_pool pool;
};

static void check_ok(enum uidpool_status status, const struct problem *p, int line)
{
    if (status != UIDPOOL_OK)
        fail_msg("line %d: status %d: %s", line, (int)status, p->text);
}

/* `p` is in scope. */
#define OK(call) check_ok((call), &p, __LINE__)

/* Status, and that the message says so. */
#define REFUSED(call, want, words)                           \
    do {                                                     \
        assert_int_equal((call), (want));                    \
        if (!strstr(p.text, (words)))                        \
            fail_msg("line %d: \"%s\"", __LINE__, (p.text)); \
    } while (0)

static void add_pool(struct fixture *f, const char *name, uid_t base, bool provisioning)
{
    struct uidpool_pool pool = {.base = base,
                                .size = SIZE,
                                .policy = UIDPOOL_POLICY_NEXT,
                                .gid = base,
                                .quarantine = 60,
                                .retired = provisioning,
                                .provisioning = provisioning};
    struct problem p = {0};

    (void)snprintf(pool.name, sizeof(pool.name), "%s", name);
    OK(ledger_begin(f->a.ledger, &p));
    OK(ledger_pool_insert(f->a.ledger, &pool, &p));
    OK(ledger_commit(f->a.ledger, &p));
    OK(ledger_pool_by_name(f->a.ledger, name, &f->pool, &p));
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct problem p = {0};

    assert_non_null(f);
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/uidpool-test-admin-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->path, sizeof(f->path), "%s/l.db", f->dir);
    OK(ledger_open(f->path, LEDGER_CREATE, &f->a.ledger, &p));
    add_pool(f, "begun", BASE + 100, true);
    add_pool(f, "p", BASE, false);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal", ".lock"};
    struct fixture *f = *state;

    ledger_close(f->a.ledger);
    for (size_t i = 0; i < ELEMENTS_OF(suffixes); i++) {
        char path[128];

        (void)snprintf(path, sizeof(path), "%s%s", f->path, suffixes[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(f->dir), 0);
    free(f);
    return 0;
}

static struct uidpool_reservation want(const char *name, const char *pool, uid_t uid,
                                       uint32_t count)
{
    struct uidpool_reservation r = {.uid = uid, .count = count};

    (void)snprintf(r.name, sizeof(r.name), "%s", name);
    (void)snprintf(r.pool, sizeof(r.pool), "%s", pool);
    return r;
}

/* A reservation and what stands on it are there together, or neither is. */
static void test_within_a_transaction(void **state)
{
    struct fixture *f = *state;
    struct ledger *l = f->a.ledger;
    struct uidpool_reservation r = want("web", "p", UIDPOOL_NO_UID, 1), found;
    struct ledger_account account = {.name = "web", .pool_id = f->pool.id, .gid = BASE};
    struct problem p = {0};

    for (unsigned round = 0; round < 2; round++) {
        OK(ledger_begin(l, &p));
        OK(allocator_reserve_within(&f->a, &r, &p));
        assert_true(r.uid == BASE + SIZE - 1 && r.count == 1 && r.pool_id == f->pool.id);
        assert_true(r.created_at > 0);
        account.uid = r.uid;
        OK(ledger_account_insert(l, &account, &p));
        if (round == 0)
            ledger_rollback(l);
        else
            OK(ledger_commit(l, &p));
        assert_int_equal(ledger_reservation_by_name(l, "web", &found, &p),
                         round == 0 ? UIDPOOL_NOT_FOUND : UIDPOOL_OK);
        assert_int_equal(ledger_account_by_name(l, "web", &account, &p),
                         round == 0 ? UIDPOOL_NOT_FOUND : UIDPOOL_OK);
        r.uid = UIDPOOL_NO_UID;
    }
    /* And the same again, whether or not the uid is known. */
    OK(ledger_begin(l, &p));
    OK(allocator_reserve_within(&f->a, &r, &p));
    OK(allocator_reserve_within(&f->a, &r, &p));
    assert_int_equal(r.uid, BASE + SIZE - 1);
    ledger_rollback(l);
}

static void test_what_cannot_be_reserved(void **state)
{
    struct fixture *f = *state;
    struct ledger *l = f->a.ledger;
    struct uidpool_reservation r = want("web", "p", BASE + 3, 2), before;
    struct problem p = {0};
    static const struct {
        const char *name, *pool;
        uid_t uid;
        uint32_t count;
        enum uidpool_status status;
        const char *words;
    } cases[] = {
        {"web", "p", BASE + 4, 2, UIDPOOL_CONFLICT, "unreserve web"},
        {"web", "p", BASE + 3, 1, UIDPOOL_CONFLICT, "unreserve web"},
        {"web", "begun", BASE + 103, 2, UIDPOOL_CONFLICT, "unreserve web"},
        {"db", "p", BASE + 4, 1, UIDPOOL_CONFLICT, "reserved for web"},
        {"db", "p", BASE + 7, 2, UIDPOOL_CONFLICT, "not all in pool p"},
        {"db", "p", BASE - 1, 1, UIDPOOL_CONFLICT, "not all in pool p"},
        {"db", "p", UIDPOOL_NO_UID, 4, UIDPOOL_EXHAUSTED, "no 4 free uids in a row"},
        {"db", "begun", UIDPOOL_NO_UID, 1, UIDPOOL_CONFLICT, "uidpool-provision apply"},
        {"db", "gone", UIDPOOL_NO_UID, 1, UIDPOOL_NOT_FOUND, "no pool is called gone"},
    };

    OK(allocator_reserve(&f->a, "web", "p", BASE + 3, 2, &r, &p));
    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        r = before = want(cases[i].name, cases[i].pool, cases[i].uid, cases[i].count);
        OK(ledger_begin(l, &p));
        REFUSED(allocator_reserve_within(&f->a, &r, &p), cases[i].status, cases[i].words);
        assert_memory_equal(&r, &before, sizeof(r));
        ledger_rollback(l);
    }
}

static void test_a_retired_pool_and_one_in_the_making(void **state)
{
    struct fixture *f = *state;
    struct uidpool_pool_request request = UIDPOOL_POOL_REQUEST_INIT;
    struct uidpool_reservation r = want("web", "p", UIDPOOL_NO_UID, 1);
    struct uidpool_pool pool;
    struct problem p = {0};

    request.name = "begun";
    request.base = BASE + 100;
    request.size = SIZE;
    request.policy = UIDPOOL_POLICY_NEXT;
    REFUSED(allocator_pool_add(&f->a, &request, &pool, &p), UIDPOOL_CONFLICT,
            "uidpool-provision apply");
    REFUSED(allocator_pool_retire(&f->a, "begun", &p), UIDPOOL_CONFLICT, "uidpool-provision apply");
    OK(ledger_pool_by_name(f->a.ledger, "begun", &pool, &p));
    assert_true(pool.retired && pool.provisioning);

    OK(allocator_pool_retire(&f->a, "p", &p));
    OK(ledger_begin(f->a.ledger, &p));
    REFUSED(allocator_reserve_within(&f->a, &r, &p), UIDPOOL_CONFLICT, "pool p is retired");
    ledger_rollback(f->a.ledger);
    request.name = "p";
    request.base = BASE;
    OK(allocator_pool_add(&f->a, &request, &pool, &p));
    assert_false(pool.retired);
}

static void test_unreserve(void **state)
{
    struct fixture *f = *state;
    struct uidpool_reservation r = want("web", "p", BASE, 1);
    struct ledger_account account = {.name = "web", .pool_id = f->pool.id, .uid = BASE, .gid = 5};
    struct problem p = {0};

    OK(allocator_reserve(&f->a, "db", "p", BASE + 1, 1, &r, &p));
    OK(allocator_unreserve(&f->a, "db", &p));
    REFUSED(allocator_unreserve(&f->a, "db", &p), UIDPOOL_NOT_FOUND, "nothing is reserved for db");

    OK(allocator_reserve(&f->a, "web", "p", BASE, 1, &r, &p));
    OK(ledger_begin(f->a.ledger, &p));
    OK(ledger_account_insert(f->a.ledger, &account, &p));
    OK(ledger_commit(f->a.ledger, &p));
    REFUSED(allocator_unreserve(&f->a, "web", &p), UIDPOOL_CONFLICT, "user remove web");
    OK(ledger_reservation_by_name(f->a.ledger, "web", &r, &p));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_within_a_transaction),
        TEST(test_what_cannot_be_reserved),
        TEST(test_a_retired_pool_and_one_in_the_making),
        TEST(test_unreserve),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
