/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The library as a toolstack may misuse it: callbacks that call back, arguments that are missing,
 * a configuration that is wrong. A ledger of its own; kills by uid, so in a PID namespace alone.
 */
#include "uidpool.h"

#include "common/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define BASE 2115436544u

struct fixture {
    char dir[64];
    char ledger[96];
    char config[96];
    struct uidpool *u;
    unsigned calls;
    enum uidpool_status nested;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct uidpool_pool_request pool = UIDPOOL_POOL_REQUEST_INIT;

    assert_non_null(f);
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/uidpool-test-library-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->ledger, sizeof(f->ledger), "%s/l.db", f->dir);
    (void)snprintf(f->config, sizeof(f->config), "%s/uidpool.conf", f->dir);
    assert_int_equal(uidpool_new(f->ledger, f->dir, &f->u), UIDPOOL_OK);
    pool.name = "p";
    pool.base = BASE;
    pool.size = 8;
    pool.quarantine = 0;
    assert_int_equal(uidpool_pool_add(f->u, &pool, NULL), UIDPOOL_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal", ".lock"};
    struct fixture *f = *state;

    uidpool_free(f->u);
    for (size_t i = 0; i < ELEMENTS_OF(suffixes); i++) {
        char path[128];

        (void)snprintf(path, sizeof(path), "%s%s", f->ledger, suffixes[i]);
        (void)unlink(path);
    }
    (void)unlink(f->config);
    assert_int_equal(rmdir(f->dir), 0);
    free(f);
    return 0;
}

static void lease(struct fixture *f, int64_t domid)
{
    struct uidpool_lease_request request = UIDPOOL_LEASE_REQUEST_INIT;

    request.domid = domid;
    assert_int_equal(uidpool_lease(f->u, &request, 10, NULL), UIDPOOL_OK);
}

static struct uidpool_selector by_domid(int64_t domid)
{
    struct uidpool_selector selector = UIDPOOL_SELECTOR_INIT;

    selector.domid = domid;
    return selector;
}

/*
 * Callbacks.
 */

static bool release_it(const struct uidpool_lease *found, void *userdata)
{
    struct fixture *f = userdata;
    struct uidpool_selector selector = by_domid(found->domid);

    f->calls++;
    f->nested = uidpool_release(f->u, &selector, 10, NULL, NULL);
    return f->calls < 10;
}

static bool upgrade_it(const struct uidpool_lease *found, void *userdata)
{
    struct fixture *f = userdata;
    int from, to;

    (void)found;
    f->calls++;
    f->nested = uidpool_ledger_upgrade(f->u, &from, &to);
    return true;
}

/* A fresh handle: its ledger is open for reading alone, and releasing opens it anew. */
static void test_a_callback_may_not_use_its_handle(void **state)
{
    struct fixture *f = *state;
    struct uidpool_selector all = UIDPOOL_SELECTOR_INIT, one = by_domid(1);

    lease(f, 1);
    lease(f, 2);
    uidpool_free(f->u);
    assert_int_equal(uidpool_new(f->ledger, f->dir, &f->u), UIDPOOL_OK);
    assert_int_equal(uidpool_lease_list(f->u, &all, release_it, f), UIDPOOL_OK);
    assert_int_equal(f->calls, 2);
    assert_int_equal(f->nested, UIDPOOL_USAGE);
    assert_string_equal(uidpool_message(f->u), "");

    f->nested = UIDPOOL_OK;
    assert_int_equal(uidpool_release(f->u, &one, 10, upgrade_it, f), UIDPOOL_OK);
    assert_int_equal(f->calls, 3);
    assert_int_equal(f->nested, UIDPOOL_USAGE);
    /* And afterwards it serves again. */
    one = by_domid(2);
    assert_int_equal(uidpool_release(f->u, &one, 10, NULL, NULL), UIDPOOL_OK);
}

static bool release_by_another(const struct uidpool_lease *found, void *userdata)
{
    struct fixture *f = userdata;
    struct uidpool_selector selector = by_domid(found->domid);
    struct uidpool *other;

    f->calls++;
    assert_int_equal(uidpool_new(f->ledger, f->dir, &other), UIDPOOL_OK);
    f->nested = uidpool_release(other, &selector, 10, NULL, NULL);
    uidpool_free(other);
    return true;
}

static void test_a_callback_may_use_another_handle(void **state)
{
    struct fixture *f = *state;
    struct uidpool_selector all = UIDPOOL_SELECTOR_INIT;

    lease(f, 1);
    f->nested = UIDPOOL_FAILED;
    assert_int_equal(uidpool_lease_list(f->u, &all, release_by_another, f), UIDPOOL_OK);
    assert_int_equal(f->calls, 1);
    assert_int_equal(f->nested, UIDPOOL_OK);
}

/*
 * Arguments.
 */

static void test_missing_arguments(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(uidpool_release(f->u, NULL, 1, NULL, NULL), UIDPOOL_USAGE);
    assert_int_equal(uidpool_lease_list(f->u, NULL, release_it, f), UIDPOOL_USAGE);
    assert_int_equal(uidpool_lease(f->u, NULL, 1, NULL), UIDPOOL_USAGE);
    assert_int_equal(uidpool_pool_add(f->u, NULL, NULL), UIDPOOL_USAGE);
    assert_int_equal(uidpool_history(f->u, NULL, NULL, NULL), UIDPOOL_USAGE);
    assert_int_equal(uidpool_reserve(f->u, NULL, NULL, BASE, 1, NULL), UIDPOOL_USAGE);
    assert_int_equal(f->calls, 0);
}

/*
 * Configuration.
 */

/* What could not be read once is not known to be empty the second time. */
static void test_wrong_places_are_refused_each_time(void **state)
{
    struct fixture *f = *state;
    static const char *const texts[] = {"Places=/srv relative", "Place=/srv"};
    struct uidpool_selector one = by_domid(1);

    lease(f, 1);
    uidpool_free(f->u);
    assert_int_equal(uidpool_new(f->ledger, f->dir, &f->u), UIDPOOL_OK);
    for (unsigned i = 0; i < 4; i++) {
        FILE *config = fopen(f->config, "we");

        assert_non_null(config);
        (void)fprintf(config, "[residue]\n%s\n", texts[i / 2]);
        assert_int_equal(fclose(config), 0);
        assert_int_equal(uidpool_release(f->u, &one, 10, NULL, NULL), UIDPOOL_FAILED);
        assert_non_null(strstr(uidpool_message(f->u), "/uidpool.conf, [residue] Place"));
    }
    assert_int_equal(unlink(f->config), 0);
    assert_int_equal(uidpool_release(f->u, &one, 10, NULL, NULL), UIDPOOL_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_callback_may_not_use_its_handle, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_callback_may_use_another_handle, setup, teardown),
        cmocka_unit_test_setup_teardown(test_missing_arguments, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrong_places_are_refused_each_time, setup, teardown),
    };

    return cmocka_run_group_tests_name("library", tests, NULL, NULL);
}
