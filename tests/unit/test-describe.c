/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon's JSON: every field under its name, what is missing as null, texts that are no UTF-8,
 * and the name of each error. Pure.
 */
#include "allocator/daemon/describe.h"
#include "common/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define UUID "11111111-2222-3333-4444-555555555555"
#define NOON INT64_C(1763380800000001)

/* Takes `value`. */
static void expect(json_t *value, const char *text)
{
    _cleanup_free_ char *got = json_dumps(value, JSON_COMPACT);

    assert_non_null(got);
    assert_string_equal(got, text);
    json_decref(value);
}

static struct uidpool_lease full_lease(void)
{
    return (struct uidpool_lease){.id = 7,
                                  .pool = "xen",
                                  .uid = 2113929221,
                                  .gid = 2113929216,
                                  .count = 2,
                                  .domid = 5,
                                  .name = "web",
                                  .uuid = UUID,
                                  .state = UIDPOOL_STATE_REVOKING,
                                  .reason = "why",
                                  .leased_at = NOON,
                                  .since = NOON,
                                  .rest_left = 3,
                                  .other_boot = true,
                                  .existing = true,
                                  .attempts = 4,
                                  .zombies = 8,
                                  .tasks_killed = 9,
                                  .tasks_scanned = 10};
}

static void test_lease(void **state)
{
    struct uidpool_lease lease = full_lease();

    (void)state;
    expect(describe_lease(&lease),
           "{\"lease\":7,\"pool\":\"xen\",\"uid\":2113929221,\"gid\":2113929216,\"count\":2,"
           "\"domid\":5,\"name\":\"web\",\"uuid\":\"" UUID
           "\",\"state\":\"revoking\",\"existing\":true,"
           "\"leased_at\":\"2025-11-17T12:00:00.000001+00:00\","
           "\"since\":\"2025-11-17T12:00:00.000001+00:00\",\"rest_left\":3,\"other_boot\":true,"
           "\"attempts\":4,\"reason\":\"why\"}");
}

static void test_what_is_missing(void **state)
{
    struct uidpool_lease lease = {.id = 1,
                                  .pool = "p",
                                  .uid = 1000,
                                  .gid = 1000,
                                  .count = 1,
                                  .domid = UIDPOOL_NO_DOMID,
                                  .state = UIDPOOL_STATE_LEASED};

    (void)state;
    expect(describe_lease(&lease),
           "{\"lease\":1,\"pool\":\"p\",\"uid\":1000,\"gid\":1000,\"count\":1,\"domid\":null,"
           "\"name\":null,\"uuid\":null,\"state\":\"leased\",\"existing\":false,"
           "\"leased_at\":null,\"since\":null,\"rest_left\":0,\"other_boot\":false,\"attempts\":0,"
           "\"reason\":null}");
}

static void test_domid_zero(void **state)
{
    struct uidpool_lease lease = full_lease();
    json_t *o;

    (void)state;
    lease.domid = 0;
    o = describe_lease(&lease);
    assert_true(json_is_integer(json_object_get(o, "domid")));
    json_decref(o);
}

static void test_released(void **state)
{
    struct uidpool_lease lease = full_lease();
    json_t *o = describe_released(&lease), *plain = describe_lease(&lease);

    (void)state;
    assert_int_equal(json_integer_value(json_object_get(o, "tasks_scanned")), 10);
    assert_int_equal(json_integer_value(json_object_get(o, "tasks_killed")), 9);
    assert_int_equal(json_integer_value(json_object_get(o, "zombies")), 8);
    assert_int_equal(json_object_size(o), json_object_size(plain) + 3);
    json_decref(o);
    json_decref(plain);
}

static void test_event(void **state)
{
    struct uidpool_event event = {.id = 12,
                                  .at = NOON,
                                  .boot = "b",
                                  .what = "leased",
                                  .pool = "xen",
                                  .lease = 12,
                                  .uid = 2113929221,
                                  .count = 1,
                                  .domid = 0,
                                  .name = NULL,
                                  .uuid = UUID,
                                  .detail = "d"};

    (void)state;
    expect(describe_event(&event),
           "{\"id\":12,\"at\":\"2025-11-17T12:00:00.000001+00:00\",\"boot\":\"b\",\"what\":"
           "\"leased\",\"pool\":\"xen\",\"lease\":12,\"uid\":2113929221,\"count\":1,\"domid\":0,"
           "\"name\":null,\"uuid\":\"" UUID "\",\"detail\":\"d\"}");
    event = (struct uidpool_event){
        .id = 1, .what = "made", .uid = UIDPOOL_NO_UID, .domid = UIDPOOL_NO_DOMID};
    expect(describe_event(&event),
           "{\"id\":1,\"at\":null,\"boot\":null,\"what\":\"made\",\"pool\":null,\"lease\":0,"
           "\"uid\":null,\"count\":0,\"domid\":null,\"name\":null,\"uuid\":null,\"detail\":null}");
}

static void test_text_that_is_no_utf8(void **state)
{
    struct uidpool_event event = {
        .id = 1, .what = "made", .uid = 1, .domid = 1, .detail = "/tmp/\xff\x1b[31m \xc3\xa4"};
    json_t *o = describe_event(&event);

    (void)state;
    assert_non_null(o);
    assert_string_equal(json_string_value(json_object_get(o, "detail")), "/tmp/??[31m \xc3\xa4");
    json_decref(o);
}

static void test_survivor(void **state)
{
    struct uidpool_survivor survivor = {
        .pid = 10, .tid = 11, .uids = {1, 2, 3, 4}, .state = 'D', .command = "qemu"};

    (void)state;
    expect(describe_survivor(&survivor),
           "{\"pid\":10,\"tid\":11,\"command\":\"qemu\",\"state\":\"D\",\"real\":1,"
           "\"effective\":2,\"saved\":3,\"filesystem\":4}");
    survivor.state = '\0';
    survivor.command[0] = '\0';
    expect(describe_survivor(&survivor),
           "{\"pid\":10,\"tid\":11,\"command\":null,\"state\":null,\"real\":1,\"effective\":2,"
           "\"saved\":3,\"filesystem\":4}");
}

static void test_errors(void **state)
{
    static const struct {
        enum uidpool_status status;
        const char *name;
    } errors[] = {
        {UIDPOOL_FAILED, "Failed"},         {UIDPOOL_USAGE, "InvalidParameter"},
        {UIDPOOL_NOT_FOUND, "NotFound"},    {UIDPOOL_CONFLICT, "Conflict"},
        {UIDPOOL_EXHAUSTED, "Exhausted"},   {UIDPOOL_NOT_PROVEN, "NotProven"},
        {UIDPOOL_LEDGER, "LedgerUnusable"}, {UIDPOOL_NOT_PERMITTED, "Failed"},
        {UIDPOOL_FOUND, "Failed"},
    };

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(errors); i++) {
        const char *error = describe_error(errors[i].status);

        assert_int_equal(strncmp(error, "io.uidpool.", 11), 0);
        assert_string_equal(error + 11, errors[i].name);
    }
}

static void test_problem(void **state)
{
    struct problem p = {.status = UIDPOOL_CONFLICT, .text = "no"};

    (void)state;
    expect(describe_problem(&p, &(struct subject){"xen", 7, 0}),
           "{\"pool\":\"xen\",\"uid\":7,\"domid\":0,\"message\":\"no\"}");
    p.text[0] = '\0';
    expect(describe_problem(&p, &SUBJECT_NONE),
           "{\"pool\":null,\"uid\":null,\"domid\":null,\"message\":\"\"}");
}

static void test_no_memory_before(void **state)
{
    (void)state;
    assert_null(describe_as("lease", NULL));
    expect(describe_as("lease", json_null()), "{\"lease\":null}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lease),      cmocka_unit_test(test_what_is_missing),
        cmocka_unit_test(test_domid_zero), cmocka_unit_test(test_released),
        cmocka_unit_test(test_event),      cmocka_unit_test(test_text_that_is_no_utf8),
        cmocka_unit_test(test_survivor),   cmocka_unit_test(test_errors),
        cmocka_unit_test(test_problem),    cmocka_unit_test(test_no_memory_before),
    };

    setenv("TZ", "UTC", 1);
    tzset();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
