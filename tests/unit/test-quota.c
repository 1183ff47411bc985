/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Nobody has all connections, all calls or all turns. */
#include "allocator/daemon/quota.h"

#include "common/cleanup.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define USER 2114000100u

static const struct server_limits limits = {
    .connections = 16, .connections_each = 3, .calls_each = 2};

static const struct peer root = {.uid = 0, .may_change = true};

static void test_connections_of_one(void **state)
{
    const struct peer one = {.uid = USER}, member = {.uid = USER + 1, .may_change = true};
    struct quota_user *user, *same, *other;
    struct quota q;

    (void)state;
    quota_init(&q, &limits, ULONG_MAX);
    assert_int_equal(quota_connect(&q, &one, &user), 0);
    assert_int_equal(quota_connect(&q, &one, &same), 0);
    assert_ptr_equal(user, same);
    assert_int_equal(quota_connect(&q, &one, &same), 0);
    same = NULL;
    assert_int_equal(quota_connect(&q, &one, &same), -EDQUOT);
    assert_null(same);
    assert_int_equal(q.connections, 3);
    quota_disconnect(&q, &one, user);
    assert_int_equal(quota_connect(&q, &one, &user), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(quota_connect(&q, &member, &other), 0);
    assert_int_equal(quota_connect(&q, &member, &other), -EDQUOT);
    for (int i = 0; i < 10; i++)
        assert_int_equal(quota_connect(&q, &root, &same), 0);
    assert_int_equal(quota_connect(&q, &root, &same), -EUSERS);
    quota_clear(&q);
}

/* However many uids they have. */
static void test_a_quarter_is_kept(void **state)
{
    struct quota_user *user, *users[12];
    struct quota q;

    (void)state;
    quota_init(&q, &limits, ULONG_MAX);
    for (unsigned i = 0; i < 12; i++)
        assert_int_equal(quota_connect(&q, &(struct peer){.uid = USER + i}, &users[i]), 0);
    assert_int_equal(quota_connect(&q, &(struct peer){.uid = USER + 99}, &user), -EUSERS);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(quota_connect(&q, &root, &user), 0);
    assert_int_equal(quota_connect(&q, &root, &user), -EUSERS);
    quota_disconnect(&q, &(struct peer){.uid = USER}, users[0]);
    assert_int_equal(q.connections, 15);
    assert_int_equal(quota_connect(&q, &(struct peer){.uid = USER + 99}, &user), 0);
    quota_clear(&q);
    assert_null(q.users);
}

static void test_descriptors(void **state)
{
    struct quota q;

    (void)state;
    quota_init(&q, &limits, 20);
    assert_int_equal(q.connections_max, 10);
    assert_int_equal(q.connections_each, 3);
    quota_init(&q, &limits, 4);
    assert_int_equal(q.connections_max, 2);
    assert_int_equal(q.connections_each, 2);
}

static void test_calls(void **state)
{
    const struct peer one = {.uid = USER};
    struct quota_user *user, *rooted;
    struct quota q;

    (void)state;
    quota_init(&q, &limits, ULONG_MAX);
    assert_int_equal(quota_connect(&q, &one, &user), 0);
    assert_int_equal(quota_begin(&q, user), 0);
    assert_int_equal(quota_begin(&q, user), 0);
    assert_int_equal(quota_begin(&q, user), -EDQUOT);
    quota_end(&q, user);
    assert_int_equal(quota_begin(&q, user), 0);
    /* Gone, but not forgotten: its calls count. */
    quota_disconnect(&q, &one, user);
    assert_int_equal(quota_connect(&q, &one, &user), 0);
    assert_int_equal(quota_begin(&q, user), -EDQUOT);
    assert_int_equal(quota_connect(&q, &root, &rooted), 0);
    for (int i = 0; i < 10; i++)
        assert_int_equal(quota_begin(&q, rooted), 0);
    for (int i = 0; i < 10; i++)
        quota_end(&q, rooted);
    quota_disconnect(&q, &root, rooted);
    quota_disconnect(&q, &one, user);
    quota_end(&q, user);
    quota_end(&q, user);
    assert_null(q.users);
}

static void test_turns(void **state)
{
    struct turn_user many = {0}, few = {0}, none = {0};
    struct turn a[5] = {0}, b[2] = {0}, c = {0};
    struct turns t = {0};

    (void)state;
    assert_null(turns_take(&t));
    for (size_t i = 0; i < ELEMENTS_OF(a); i++)
        turns_add(&t, &many, &a[i]);
    turns_add(&t, &few, &b[0]);
    turns_add(&t, &few, &b[1]);
    turns_add(&t, &many, &a[0]);
    turns_add(&t, &none, &c);
    turns_remove(&t, &none, &c);
    turns_remove(&t, &none, &c);
    turns_remove(&t, &many, &a[2]);
    assert_ptr_equal(turns_take(&t), &a[0]);
    assert_ptr_equal(turns_take(&t), &b[0]);
    /* Again, at the end. */
    turns_add(&t, &few, &b[0]);
    assert_ptr_equal(turns_take(&t), &a[1]);
    assert_ptr_equal(turns_take(&t), &b[1]);
    assert_ptr_equal(turns_take(&t), &a[3]);
    assert_ptr_equal(turns_take(&t), &b[0]);
    assert_false(turns_is_empty(&t));
    assert_ptr_equal(turns_take(&t), &a[4]);
    assert_true(turns_is_empty(&t));
    assert_null(turns_take(&t));
    turns_add(&t, &many, &a[4]);
    turns_remove(&t, &many, &a[4]);
    assert_true(turns_is_empty(&t));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connections_of_one),
        cmocka_unit_test(test_a_quarter_is_kept),
        cmocka_unit_test(test_descriptors),
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_turns),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
