/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A pool's policy over an array in place of the ledger: which uids a request may get, in which
 * order. Pure. SEED=N repeats a random run.
 */
#include "allocator/pool.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/ids.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define BASE 2114846720u
#define SIZE_MAX_HERE 64u

/* The pool's uids as the ledger would know them. */
struct field {
    struct uidpool_pool pool;
    bool taken[SIZE_MAX_HERE];
    unsigned asked;             /* how often find was called */
    enum uidpool_status answer; /* what find says instead of looking, unless UIDPOOL_OK */
};

static bool is_free_block(const struct field *f, uint32_t at, uint32_t count)
{
    if (at + count > f->pool.size)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (f->taken[at + i])
            return false;
    return true;
}

static enum uidpool_status find(void *userdata, uid_t from, uint32_t count, uid_t *ret,
                                struct problem *p)
{
    struct field *f = userdata;

    f->asked++;
    assert_true(f->asked < 1000);
    if (f->answer != UIDPOOL_OK)
        return problem_set(p, f->answer, "find says no");
    assert_true(uid_range_has((struct uid_range){f->pool.base, f->pool.size}, from));
    for (uint32_t at = from - f->pool.base; at < f->pool.size; at++)
        if (is_free_block(f, at, count)) {
            *ret = f->pool.base + at;
            return UIDPOOL_OK;
        }
    return UIDPOOL_EXHAUSTED;
}

static struct field make_field(enum uidpool_policy policy, uint32_t size)
{
    struct field f = {
        .pool = {.name = "p", .base = BASE, .size = size, .policy = policy, .next_uid = BASE}};

    return f;
}

static enum uidpool_status begin(const struct field *f, int64_t domid, uint32_t count,
                                 const struct uidpool_reservation *reserved, struct pool_walk *ret,
                                 struct problem *p)
{
    return pool_walk_begin(&f->pool, domid, count, reserved, ret, p);
}

/* All candidates of one walk. */
static size_t walk_all(struct field *f, int64_t domid, uint32_t count, uid_t *ret)
{
    struct pool_walk walk;
    struct uid_range got;
    size_t n = 0;

    assert_int_equal(begin(f, domid, count, NULL, &walk, NULL), UIDPOOL_OK);
    while (pool_walk_next(&walk, find, f, &got, NULL) == UIDPOOL_OK) {
        assert_int_equal(got.count, count ? count : 1);
        assert_true(n < SIZE_MAX_HERE);
        ret[n++] = got.first;
    }
    assert_true(walk.over);
    /* It stays over. */
    assert_int_equal(pool_walk_next(&walk, find, f, &got, NULL), UIDPOOL_EXHAUSTED);
    return n;
}

/*
 * Policy domid.
 */

static void test_domid_is_base_plus_domid(void **state)
{
    struct field f = make_field(UIDPOOL_POLICY_DOMID, 40);
    static const int64_t domids[] = {0, 1, 5, 38, 39};

    (void)state;
    /* What is taken is for the caller to see: it may be this domid's own. */
    memset(f.taken, true, sizeof(f.taken));
    for (size_t i = 0; i < ELEMENTS_OF(domids); i++) {
        uid_t got[SIZE_MAX_HERE];

        assert_int_equal(walk_all(&f, domids[i], 1, got), 1);
        assert_int_equal(got[0], BASE + (uid_t)domids[i]);
        assert_int_equal(walk_all(&f, domids[i], 0, got), 1);
        assert_int_equal(got[0], BASE + (uid_t)domids[i]);
    }
    assert_int_equal(f.asked, 0);
}

static void test_domid_blocks_and_bounds(void **state)
{
    static const struct {
        int64_t domid;
        uint32_t count;
        enum uidpool_status status;
    } cases[] = {
        {39, 1, UIDPOOL_OK},
        {40, 1, UIDPOOL_EXHAUSTED},
        {41, 1, UIDPOOL_EXHAUSTED},
        {DOMID_LAST, 1, UIDPOOL_EXHAUSTED},
        {0, 40, UIDPOOL_OK},
        {0, 41, UIDPOOL_EXHAUSTED},
        {1, 40, UIDPOOL_EXHAUSTED},
        {36, 4, UIDPOOL_OK},
        {37, 4, UIDPOOL_EXHAUSTED},
        {39, 2, UIDPOOL_EXHAUSTED},
        {39, UINT32_MAX, UIDPOOL_EXHAUSTED},
        {0, UINT32_MAX, UIDPOOL_EXHAUSTED},
    };
    struct field f = make_field(UIDPOOL_POLICY_DOMID, 40);

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        struct pool_walk walk;
        struct uid_range got;
        struct problem p = {0};

        if (begin(&f, cases[i].domid, cases[i].count, NULL, &walk, &p) != cases[i].status)
            fail_msg("domid %d, %u uids: not %d", (int)cases[i].domid, cases[i].count,
                     (int)cases[i].status);
        assert_int_equal(p.status, cases[i].status);
        if (cases[i].status != UIDPOOL_OK)
            continue;
        assert_int_equal(pool_walk_next(&walk, find, &f, &got, &p), UIDPOOL_OK);
        assert_int_equal(got.first, BASE + (uid_t)cases[i].domid);
        assert_int_equal(got.count, cases[i].count);
    }
}

/* The last pool there can be: nothing may wrap round. */
static void test_domid_at_the_end_of_all_uids(void **state)
{
    struct field f = make_field(UIDPOOL_POLICY_DOMID, 16);
    uid_t got[SIZE_MAX_HERE];

    (void)state;
    f.pool.base = f.pool.next_uid = (uid_t)(UID_END - 16);
    assert_int_equal(walk_all(&f, 15, 1, got), 1);
    assert_int_equal(got[0], (uid_t)(UID_END - 1));
    f.pool.policy = UIDPOOL_POLICY_NEXT;
    f.pool.next_uid = (uid_t)(UID_END - 1);
    assert_int_equal(walk_all(&f, UIDPOOL_NO_DOMID, 1, got), 16);
    assert_int_equal(got[0], (uid_t)(UID_END - 1));
    assert_int_equal(got[1], f.pool.base);
}

/*
 * Names and reservations.
 */

static void test_name_in_a_pool_by_domid(void **state)
{
    struct field f = make_field(UIDPOOL_POLICY_DOMID, 40);
    struct pool_walk walk = {.count = 77};
    struct problem p = {0};

    (void)state;
    assert_int_equal(begin(&f, UIDPOOL_NO_DOMID, 1, NULL, &walk, &p), UIDPOOL_NOT_FOUND);
    assert_non_null(strstr(p.text, "uidpool reserve"));
    assert_int_equal(walk.count, 77);
    /* In a pool that goes round, a name needs no reservation. */
    f.pool.policy = UIDPOOL_POLICY_NEXT;
    assert_int_equal(begin(&f, UIDPOOL_NO_DOMID, 1, NULL, &walk, &p), UIDPOOL_OK);
}

static void test_reservation_is_the_only_candidate(void **state)
{
    static const enum uidpool_policy policies[] = {UIDPOOL_POLICY_DOMID, UIDPOOL_POLICY_NEXT};
    struct uidpool_reservation r = {.name = "web", .uid = BASE + 11, .count = 3};

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(policies); i++)
        for (uint32_t count = 0; count <= 3; count += 3) {
            struct field f = make_field(policies[i], 40);
            struct pool_walk walk;
            struct uid_range got;

            assert_int_equal(begin(&f, UIDPOOL_NO_DOMID, count, &r, &walk, NULL), UIDPOOL_OK);
            assert_int_equal(walk.fixed, BASE + 11);
            assert_int_equal(pool_walk_next(&walk, find, &f, &got, NULL), UIDPOOL_OK);
            assert_int_equal(got.first, BASE + 11);
            assert_int_equal(got.count, 3);
            assert_int_equal(pool_walk_next(&walk, find, &f, &got, NULL), UIDPOOL_EXHAUSTED);
            assert_int_equal(f.asked, 0);
        }
}

static void test_reservation_of_another_size(void **state)
{
    struct field f = make_field(UIDPOOL_POLICY_NEXT, 40);
    struct uidpool_reservation r = {.name = "web", .uid = BASE + 11, .count = 3};
    static const uint32_t counts[] = {1, 2, 4, UINT32_MAX};

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(counts); i++) {
        struct pool_walk walk;
        struct problem p = {0};

        assert_int_equal(begin(&f, UIDPOOL_NO_DOMID, counts[i], &r, &walk, &p), UIDPOOL_CONFLICT);
        assert_non_null(strstr(p.text, "web has 3 uids reserved"));
    }
}

/*
 * Policy next.
 */

static void test_next_starts_behind_the_last_and_wraps(void **state)
{
    struct field f = make_field(UIDPOOL_POLICY_NEXT, 6);
    static const uid_t order[] = {4, 5, 0, 1, 2, 3};
    uid_t got[SIZE_MAX_HERE];

    (void)state;
    f.pool.next_uid = BASE + 4;
    assert_int_equal(walk_all(&f, 3, 1, got), 6);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(got[i], BASE + order[i]);
    f.taken[0] = f.taken[5] = f.taken[2] = true;
    assert_int_equal(walk_all(&f, 3, 1, got), 3);
    assert_int_equal(got[0], BASE + 4);
    assert_int_equal(got[1], BASE + 1);
    assert_int_equal(got[2], BASE + 3);
}

/* The ledger may remember a place that is not in the pool: its end, or anything, once damaged. */
static void test_next_from_outside(void **state)
{
    static const uid_t places[] = {BASE + 6, BASE - 1, 0, UIDPOOL_NO_UID, BASE + 7};
    struct field f = make_field(UIDPOOL_POLICY_NEXT, 6);

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(places); i++) {
        uid_t got[SIZE_MAX_HERE];

        f.pool.next_uid = places[i];
        f.asked = 0;
        assert_int_equal(walk_all(&f, UIDPOOL_NO_DOMID, 1, got), 6);
        assert_int_equal(got[0], BASE);
        assert_int_equal(got[5], BASE + 5);
    }
}

static void test_next_full_and_empty(void **state)
{
    struct field f = make_field(UIDPOOL_POLICY_NEXT, 40);
    struct pool_walk walk;
    uid_t got[SIZE_MAX_HERE];
    struct problem p = {0};

    (void)state;
    memset(f.taken, true, sizeof(f.taken));
    f.pool.next_uid = BASE + 20;
    assert_int_equal(walk_all(&f, 1, 1, got), 0);
    assert_int_equal(f.asked, 2);
    f.pool.next_uid = BASE;
    f.asked = 0;
    assert_int_equal(walk_all(&f, 1, 1, got), 0);
    assert_int_equal(f.asked, 1);
    /* A block as large as the pool, and one larger. */
    memset(f.taken, false, sizeof(f.taken));
    f.asked = 0;
    assert_int_equal(walk_all(&f, 1, 40, got), 1);
    assert_int_equal(got[0], BASE);
    assert_int_equal(begin(&f, 1, 41, NULL, &walk, &p), UIDPOOL_EXHAUSTED);
    assert_int_equal(begin(&f, 1, UINT32_MAX, NULL, &walk, &p), UIDPOOL_EXHAUSTED);
    /* A pool of one. */
    f = make_field(UIDPOOL_POLICY_NEXT, 1);
    assert_int_equal(walk_all(&f, 1, 1, got), 1);
    f.taken[0] = true;
    assert_int_equal(walk_all(&f, 1, 1, got), 0);
}

/* Not exhausted: the ledger could not be asked. */
static void test_next_trouble_is_passed_on(void **state)
{
    struct field f = make_field(UIDPOOL_POLICY_NEXT, 40);
    struct uid_range got = {1, 2};
    struct pool_walk walk;
    struct problem p = {0};

    (void)state;
    f.answer = UIDPOOL_LEDGER;
    assert_int_equal(begin(&f, 1, 1, NULL, &walk, &p), UIDPOOL_OK);
    assert_int_equal(pool_walk_next(&walk, find, &f, &got, &p), UIDPOOL_LEDGER);
    assert_int_equal(f.asked, 1);
    assert_int_equal(got.first, 1);
    assert_int_equal(got.count, 2);
}

static void test_next_after(void **state)
{
    struct field f = make_field(UIDPOOL_POLICY_NEXT, 40);

    (void)state;
    assert_int_equal(pool_next_after(&f.pool, (struct uid_range){BASE, 1}), BASE + 1);
    assert_int_equal(pool_next_after(&f.pool, (struct uid_range){BASE + 38, 1}), BASE + 39);
    assert_int_equal(pool_next_after(&f.pool, (struct uid_range){BASE + 39, 1}), BASE);
    assert_int_equal(pool_next_after(&f.pool, (struct uid_range){BASE + 30, 10}), BASE);
    assert_int_equal(pool_next_after(&f.pool, (struct uid_range){BASE, 40}), BASE);
    assert_int_equal(pool_next_after(&f.pool, (struct uid_range){BASE + 30, 9}), BASE + 39);
}

/* What a walk must visit, said once more in the plainest way. */
static size_t expect(const struct field *f, uint32_t count, uid_t *ret)
{
    uint32_t start = f->pool.next_uid - f->pool.base;
    size_t n = 0;

    for (uint32_t at = start; at < f->pool.size; at++)
        if (is_free_block(f, at, count))
            ret[n++] = f->pool.base + at;
    for (uint32_t at = 0; at < start; at++)
        if (is_free_block(f, at, count))
            ret[n++] = f->pool.base + at;
    return n;
}

static unsigned seed(void)
{
    const char *text = getenv("SEED");
    unsigned chosen = text ? (unsigned)strtoul(text, NULL, 10) : (unsigned)clock_wall_usec();

    print_message("SEED=%u\n", chosen);
    return chosen;
}

static void test_next_against_a_model(void **state)
{
    unsigned dice = seed();

    (void)state;
    for (unsigned round = 0; round < 20000; round++) {
        struct field f =
            make_field(UIDPOOL_POLICY_NEXT, 1 + (uint32_t)rand_r(&dice) % SIZE_MAX_HERE);
        int density = rand_r(&dice) % 101;
        uint32_t count = 1 + (uint32_t)rand_r(&dice) % (f.pool.size < 6 ? f.pool.size : 6);
        uid_t got[SIZE_MAX_HERE], want[SIZE_MAX_HERE];

        for (uint32_t i = 0; i < f.pool.size; i++)
            f.taken[i] = rand_r(&dice) % 100 < density;
        f.pool.next_uid = BASE + (uint32_t)rand_r(&dice) % f.pool.size;
        size_t n = walk_all(&f, UIDPOOL_NO_DOMID, count, got);
        assert_int_equal(n, expect(&f, count, want));
        assert_memory_equal(got, want, n * sizeof(*got));
    }
}

/* As the allocator uses it, with a rest of nothing: a freed uid comes back last of all. */
static void test_next_gives_a_freed_uid_last(void **state)
{
    struct field f = make_field(UIDPOOL_POLICY_NEXT, SIZE_MAX_HERE);
    unsigned dice = seed();

    (void)state;
    for (unsigned round = 1; round < 20000; round++) {
        struct pool_walk walk;
        struct uid_range got;

        assert_int_equal(begin(&f, 1, 1, NULL, &walk, NULL), UIDPOOL_OK);
        if (pool_walk_next(&walk, find, &f, &got, NULL) == UIDPOOL_OK) {
            uint32_t at = got.first - BASE;

            /* Whatever it passed over on the way here is in use. */
            for (uint32_t i = f.pool.next_uid - BASE; i != at; i = (i + 1) % f.pool.size)
                assert_true(f.taken[i]);
            f.taken[at] = true;
            f.pool.next_uid = pool_next_after(&f.pool, got);
        }
        f.asked = 0;
        if (rand_r(&dice) % 3)
            f.taken[(uint32_t)rand_r(&dice) % f.pool.size] = false;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_domid_is_base_plus_domid),
        cmocka_unit_test(test_domid_blocks_and_bounds),
        cmocka_unit_test(test_domid_at_the_end_of_all_uids),
        cmocka_unit_test(test_name_in_a_pool_by_domid),
        cmocka_unit_test(test_reservation_is_the_only_candidate),
        cmocka_unit_test(test_reservation_of_another_size),
        cmocka_unit_test(test_next_starts_behind_the_last_and_wraps),
        cmocka_unit_test(test_next_from_outside),
        cmocka_unit_test(test_next_full_and_empty),
        cmocka_unit_test(test_next_trouble_is_passed_on),
        cmocka_unit_test(test_next_after),
        cmocka_unit_test(test_next_against_a_model),
        cmocka_unit_test(test_next_gives_a_freed_uid_last),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
