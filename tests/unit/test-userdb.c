/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names for uids, over a real ledger and a real server: which lease is called what, that a name is
 * never that of two, every refusal, and the walk over all. Runs nothing as any uid.
 */
#include "allocator/daemon/userdb.h"
#include "tests/unit/visitor.h"

#define BASE 2114912256u
#define USERDB "io.systemd.UserDatabase."

struct fixture {
    struct visitor *v;
    struct userdb *userdb;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    const struct interface *interface;

    assert_non_null(f);
    f->v = visitor_new();
    assert_int_equal(userdb_new(&f->v->daemon, &f->userdb), 0);
    interface = userdb_interface(f->userdb);
    visitor_serve(f->v, &interface);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    visitor_leave(f->v);
    userdb_free(f->userdb);
    visitor_free(f->v);
    free(f);
    return 0;
}

static struct uidpool_pool pool_at(struct fixture *f, const char *name, uid_t base, bool resolve,
                                   bool group_per_uid)
{
    struct uidpool_pool pool = {
        .base = base, .size = 1000, .resolve = resolve, .group_per_uid = group_per_uid};

    (void)snprintf(pool.name, sizeof(pool.name), "%s", name);
    return visitor_pool(f->v, pool);
}

/* Ask for a user, or a group, by what is given: uid -1 and name NULL are not. */
static json_t *ask(struct fixture *f, bool groups, int64_t id, const char *name)
{
    json_t *parameters = json_pack("{s:s}", "service", USERDB_SERVICE);

    if (id >= 0)
        json_object_set_new(parameters, groups ? "gid" : "uid", json_integer(id));
    if (name)
        json_object_set_new(parameters, groups ? "groupName" : "userName", json_string(name));
    return visitor_ask(f->v, groups ? USERDB "GetGroupRecord" : USERDB "GetUserRecord", parameters);
}

static void refused(struct fixture *f, bool groups, int64_t id, const char *name, const char *error)
{
    json_t *message = ask(f, groups, id, name);

    if (strcmp(error_of(message), error) != 0)
        fail_msg("%" PRId64 ", %s: %s instead of %s", id, name ? name : "-", json_dumps(message, 0),
                 error);
    json_decref(message);
}

static void nobody(struct fixture *f, int64_t uid, const char *name)
{
    refused(f, false, uid, name, USERDB "NoRecordFound");
}

/* The uid is called so, and the name leads back to it. */
static void called(struct fixture *f, uid_t uid, const char *name)
{
    for (int i = 0; i < 3; i++) {
        json_t *message = ask(f, false, i == 1 ? -1 : (int64_t)uid, i == 0 ? NULL : name);
        json_t *record = member(message, "record");

        if (strcmp(text_of(record, "userName"), name) != 0)
            fail_msg("uid %u, %s: %s", uid, name, json_dumps(message, 0));
        assert_int_equal(number_of(record, "uid"), uid);
        json_decref(message);
    }
}

static void test_record(void **state)
{
    struct fixture *f = *state;
    struct uidpool_pool pool = pool_at(f, "xen", BASE, true, false);
    json_t *message, *record;

    visitor_lease(f->v, &pool, BASE + 5, 1, NULL, 5);
    message = ask(f, false, BASE + 5, NULL);
    assert_true(json_is_false(member(message, "incomplete")));
    record = member(message, "record");
    assert_string_equal(text_of(record, "userName"), "xen-domid5");
    assert_int_equal(number_of(record, "uid"), BASE + 5);
    assert_int_equal(number_of(record, "gid"), BASE);
    assert_string_equal(text_of(record, "realName"), "Device model of domid 5, pool xen");
    assert_string_equal(text_of(record, "homeDirectory"), "/");
    assert_string_equal(text_of(record, "shell"), "/usr/sbin/nologin");
    assert_true(json_is_true(json_object_get(record, "locked")));
    assert_string_equal(text_of(record, "service"), "io.uidpool");
    assert_string_equal(text_of(record, "disposition"), "dynamic");
    assert_int_equal(json_object_size(record), 9);
    json_decref(message);
}

static void test_names(void **state)
{
    struct fixture *f = *state;
    struct uidpool_pool pool = pool_at(f, "xen", BASE, true, false);
    struct uidpool_pool upper = pool_at(f, "Xen", BASE + 2000, true, false);
    char number[64];

    visitor_lease(f->v, &pool, BASE + 5, 1, NULL, 5);
    visitor_lease(f->v, &pool, BASE + 6, 3, "web-1", 0);
    visitor_lease(f->v, &pool, BASE + 10, 1, "Web.2", 0);
    visitor_lease(f->v, &pool, BASE + 11, 1, "a-name-of-twenty-7-bytes-xx", 0);
    visitor_lease(f->v, &pool, BASE + 12, 1, "a-name-of-twenty-8-bytes-xxx", 0);
    visitor_lease(f->v, &upper, BASE + 2000, 1, NULL, 0);
    called(f, BASE + 5, "xen-domid5");
    called(f, BASE + 6, "xen-web-1");
    called(f, BASE + 11, "xen-a-name-of-twenty-7-bytes-xx");
    for (uid_t uid = BASE + 7; uid <= BASE + 12; uid++) {
        if (uid == BASE + 9 || uid == BASE + 11)
            continue;
        (void)snprintf(number, sizeof(number), "uidpool-%u", uid);
        called(f, uid, number);
    }
    (void)snprintf(number, sizeof(number), "uidpool-%u", BASE + 2000);
    called(f, BASE + 2000, number);
}

/* Exactly: a look-up is not compared by whoever asked. */
static void test_exactly(void **state)
{
    struct fixture *f = *state;
    struct uidpool_pool pool = pool_at(f, "xen", BASE, true, false);
    char number[64];

    visitor_lease(f->v, &pool, BASE + 5, 1, NULL, 5);
    visitor_lease(f->v, &pool, BASE + 6, 1, "web", 0);
    for (uid_t uid = 0; uid < 3; uid++)
        nobody(f, uid, NULL);
    nobody(f, BASE + 4, NULL);
    nobody(f, BASE + 7, NULL);
    nobody(f, 4294967294, NULL);
    nobody(f, -1, "root");
    nobody(f, -1, "");
    nobody(f, -1, "xen");
    nobody(f, -1, "xen-");
    nobody(f, -1, "xen-domid");
    nobody(f, -1, "xen-domid05");
    nobody(f, -1, "xen-domid55");
    nobody(f, -1, "xen-domid5 ");
    nobody(f, -1, "XEN-domid5");
    nobody(f, -1, "xen-we");
    nobody(f, -1, "xen-webs");
    nobody(f, -1, "xen-Web");
    nobody(f, -1, "web");
    nobody(f, -1, "uidpool-");
    nobody(f, -1, "uidpool-0");
    nobody(f, -1, "uidpool-99999999999999999999");
    /* It has a name of its own. */
    (void)snprintf(number, sizeof(number), "uidpool-%u", BASE + 5);
    nobody(f, -1, number);
}

static void test_no_two_have_one_name(void **state)
{
    struct fixture *f = *state;
    struct uidpool_pool a = pool_at(f, "a", BASE, true, false);
    struct uidpool_pool ab = pool_at(f, "a-b", BASE + 1000, true, false);
    struct uidpool_pool uidpool = pool_at(f, "uidpool", BASE + 2000, true, false);
    char number[64];

    visitor_lease(f->v, &a, BASE, 1, "b-c", 0);
    (void)snprintf(number, sizeof(number), "uidpool-%u", BASE);
    called(f, BASE, number);
    nobody(f, -1, "a-b-c");
    visitor_lease(f->v, &ab, BASE + 1000, 1, "c", 0);
    called(f, BASE + 1000, "a-b-c");
    called(f, BASE, number);

    visitor_lease(f->v, &a, BASE + 1, 1, "domid7", 0);
    nobody(f, -1, "a-domid7");
    visitor_lease(f->v, &a, BASE + 2, 1, NULL, 7);
    called(f, BASE + 2, "a-domid7");
    (void)snprintf(number, sizeof(number), "uidpool-%u", BASE + 1);
    called(f, BASE + 1, number);

    /* A lease that would be called as another's uid is. */
    (void)snprintf(number, sizeof(number), "%u", BASE + 1);
    visitor_lease(f->v, &uidpool, BASE + 2000, 1, number, 0);
    (void)snprintf(number, sizeof(number), "uidpool-%u", BASE + 1);
    called(f, BASE + 1, number);
    (void)snprintf(number, sizeof(number), "uidpool-%u", BASE + 2000);
    called(f, BASE + 2000, number);
    visitor_lease(f->v, &uidpool, BASE + 2001, 1, NULL, 3);
    called(f, BASE + 2001, "uidpool-domid3");
}

/* What rests or is held is nobody's; what is being revoked may still run. */
static void test_states(void **state)
{
    struct fixture *f = *state;
    struct uidpool_pool pool = pool_at(f, "xen", BASE, true, false);
    struct uidpool_lease lease = visitor_lease(f->v, &pool, BASE + 5, 1, NULL, 5);

    visitor_revoke(f->v, &lease, 0);
    called(f, BASE + 5, "xen-domid5");
    visitor_revoke(f->v, &lease, 1000);
    nobody(f, BASE + 5, NULL);
    nobody(f, -1, "xen-domid5");
    visitor_lease(f->v, &pool, BASE + 6, 1, NULL, 5);
    called(f, BASE + 6, "xen-domid5");
}

static void test_only_where_it_is_wanted(void **state)
{
    struct fixture *f = *state;
    struct uidpool_pool quiet = pool_at(f, "xen", BASE, false, false);

    visitor_lease(f->v, &quiet, BASE + 5, 1, NULL, 5);
    nobody(f, BASE + 5, NULL);
    nobody(f, -1, "xen-domid5");
}

static void test_both_given(void **state)
{
    struct fixture *f = *state;
    struct uidpool_pool pool = pool_at(f, "xen", BASE, true, false);

    visitor_lease(f->v, &pool, BASE + 5, 1, NULL, 5);
    visitor_lease(f->v, &pool, BASE + 6, 1, NULL, 6);
    refused(f, false, BASE + 5, "xen-domid6", USERDB "ConflictingRecordFound");
    refused(f, false, BASE + 5, "root", USERDB "ConflictingRecordFound");
    refused(f, false, BASE + 7, "xen-domid5", USERDB "ConflictingRecordFound");
    refused(f, false, BASE + 7, "root", USERDB "NoRecordFound");
}

static void test_groups(void **state)
{
    struct fixture *f = *state;
    struct uidpool_pool own = pool_at(f, "own", BASE, true, true);
    struct uidpool_pool shared = pool_at(f, "shared", BASE + 1000, true, false);
    json_t *message, *record;

    visitor_lease(f->v, &own, BASE + 5, 2, NULL, 5);
    visitor_lease(f->v, &shared, BASE + 1000, 1, NULL, 5);
    message = ask(f, true, -1, "own-domid5");
    record = member(message, "record");
    assert_string_equal(text_of(record, "groupName"), "own-domid5");
    assert_int_equal(number_of(record, "gid"), BASE + 5);
    assert_string_equal(text_of(record, "service"), "io.uidpool");
    assert_string_equal(text_of(record, "disposition"), "dynamic");
    json_decref(message);
    message = ask(f, false, BASE + 6, NULL);
    assert_int_equal(number_of(member(message, "record"), "gid"), BASE + 6);
    json_decref(message);
    refused(f, true, BASE + 1000, NULL, USERDB "NoRecordFound");
    refused(f, true, -1, "shared-domid5", USERDB "NoRecordFound");
    refused(f, true, BASE + 5, "shared-domid5", USERDB "ConflictingRecordFound");
    refused(f, true, BASE + 7, NULL, USERDB "NoRecordFound");
}

static void test_refusals(void **state)
{
    static const char *const methods[] = {USERDB "GetUserRecord", USERDB "GetGroupRecord",
                                          USERDB "GetMemberships"};
    struct fixture *f = *state;

    for (size_t i = 0; i < ELEMENTS_OF(methods); i++) {
        visitor_refused(f->v, methods[i], json_object(), USERDB "BadService");
        visitor_refused(f->v, methods[i], json_pack("{s:s}", "service", "io.systemd.DynamicUser"),
                        USERDB "BadService");
        visitor_refused(f->v, methods[i], json_pack("{s:i}", "service", 1),
                        "org.varlink.service.InvalidParameter");
        visitor_refused(f->v, methods[i],
                        json_pack("{s:s,s:i}", "service", USERDB_SERVICE, "uidMin", 1),
                        "org.varlink.service.InvalidParameter");
    }
    for (size_t i = 0; i < 2; i++) {
        const char *id = i == 0 ? "uid" : "gid", *name = i == 0 ? "userName" : "groupName";

        visitor_refused(
            f->v, methods[i],
            json_pack("{s:s,s:I}", "service", USERDB_SERVICE, id, (json_int_t)4294967295),
            "org.varlink.service.InvalidParameter");
        visitor_refused(f->v, methods[i],
                        json_pack("{s:s,s:s}", "service", USERDB_SERVICE, id, "0"),
                        "org.varlink.service.InvalidParameter");
        visitor_refused(f->v, methods[i],
                        json_pack("{s:s,s:i}", "service", USERDB_SERVICE, name, 0),
                        "org.varlink.service.InvalidParameter");
        visitor_refused(f->v, methods[i], json_pack("{s:s}", "service", USERDB_SERVICE),
                        USERDB "EnumerationNotSupported");
    }
    visitor_refused(f->v, USERDB "GetMemberships",
                    json_pack("{s:s,s:i}", "service", USERDB_SERVICE, "userName", 1),
                    "org.varlink.service.InvalidParameter");
    visitor_refused(f->v, USERDB "GetMemberships",
                    json_pack("{s:s,s:s}", "service", USERDB_SERVICE, "userName", "root"),
                    USERDB "NoRecordFound");
}

/* All uids of the users, or groups, that there are, in order; *ret_n of them. */
static void walk(struct fixture *f, bool groups, uid_t *ret, size_t *ret_n)
{
    bool more = true;
    size_t n = 0;

    visitor_send(f->v, groups ? USERDB "GetGroupRecord" : USERDB "GetUserRecord",
                 json_pack("{s:s}", "service", USERDB_SERVICE), true);
    for (; more; n++) {
        json_t *message = visitor_receive(f->v);

        assert_string_equal(error_of(message), "");
        assert_true(n < 2000);
        ret[n] = (uid_t)number_of(member(message, "record"), groups ? "gid" : "uid");
        more = json_is_true(json_object_get(message, "continues"));
        json_decref(message);
    }
    *ret_n = n;
}

static void test_all(void **state)
{
    struct fixture *f = *state;
    struct ledger *l = f->v->daemon.allocator.ledger;
    struct uidpool_pool a = pool_at(f, "a", BASE, true, false);
    struct uidpool_pool quiet = pool_at(f, "b", BASE + 1000, false, true);
    struct uidpool_pool c = pool_at(f, "c", BASE + 2000, true, true);
    struct problem p = {0};
    uid_t found[2000];
    size_t n = 0;

    OK(ledger_begin(l, &p));
    for (uid_t i = 0; i < 400; i++) {
        char name[16];

        (void)snprintf(name, sizeof(name), "n%u", i);
        visitor_grant(f->v, &quiet, BASE + 1000 + 2 * i, 1, name, 0);
        visitor_grant(f->v, &a, BASE + 2 * i, 1, name, 0);
    }
    visitor_grant(f->v, &c, BASE + 2300, 300, "block", 0);
    OK(ledger_commit(l, &p));

    walk(f, false, found, &n);
    assert_int_equal(n, 700);
    for (uid_t i = 0; i < 400; i++)
        assert_int_equal(found[i], BASE + 2 * i);
    for (uid_t i = 0; i < 300; i++)
        assert_int_equal(found[400 + i], BASE + 2300 + i);
    walk(f, true, found, &n);
    assert_int_equal(n, 300);
    assert_int_equal(found[0], BASE + 2300);
    assert_int_equal(found[299], BASE + 2599);
}

static void test_none_at_all(void **state)
{
    struct fixture *f = *state;
    json_t *message;

    for (int i = 0; i < 2; i++) {
        visitor_send(f->v, USERDB "GetUserRecord", json_pack("{s:s}", "service", USERDB_SERVICE),
                     true);
        message = visitor_receive(f->v);
        assert_string_equal(error_of(message), USERDB "NoRecordFound");
        json_decref(message);
        if (i == 0)
            pool_at(f, "xen", BASE, true, false);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_record, setup, teardown),
        cmocka_unit_test_setup_teardown(test_names, setup, teardown),
        cmocka_unit_test_setup_teardown(test_exactly, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_two_have_one_name, setup, teardown),
        cmocka_unit_test_setup_teardown(test_states, setup, teardown),
        cmocka_unit_test_setup_teardown(test_only_where_it_is_wanted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_both_given, setup, teardown),
        cmocka_unit_test_setup_teardown(test_groups, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_all, setup, teardown),
        cmocka_unit_test_setup_teardown(test_none_at_all, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
