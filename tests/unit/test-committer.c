/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Group commit: who shares a transaction, and what becomes of the others when one fails. */
#include "allocator/committer.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "db/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define BASE 2113929216u

struct fixture {
    char dir[64], path[96];
    struct ledger *ledger, *other;
    sd_event *event;
    struct committer *committer;
    unsigned told; /* in which order */
};

struct want {
    struct fixture *f;
    const char *name; /* of a pool, or NULL: refuse */
    uid_t base;
    enum uidpool_status status; /* what it was told */
    unsigned turn;              /* and as how manyeth; 0: not yet */
    struct want *then;          /* added when it is told */
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct problem p = {0};

    assert_non_null(f);
    snprintf(f->dir, sizeof(f->dir), "/tmp/uidpool-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof(f->path), "%s/ledger.db", f->dir);
    assert_int_equal(ledger_open(f->path, LEDGER_CREATE, &f->ledger, &p), UIDPOOL_OK);
    assert_int_equal(ledger_open(f->path, LEDGER_READ, &f->other, &p), UIDPOOL_OK);
    assert_int_equal(sd_event_new(&f->event), 0);
    assert_int_equal(committer_new(f->ledger, f->event, false, &f->committer), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    static const char *const suffixes[] = {"", "-wal", "-shm", ".lock"};

    committer_free(f->committer);
    sd_event_unref(f->event);
    ledger_close(f->ledger);
    ledger_close(f->other);
    for (size_t i = 0; i < ELEMENTS_OF(suffixes); i++) {
        char path[128];

        snprintf(path, sizeof(path), "%s%s", f->path, suffixes[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(f->dir), 0);
    free(f);
    return 0;
}

static enum uidpool_status write_pool(struct ledger *l, void *userdata, struct problem *p)
{
    const struct want *w = userdata;
    struct uidpool_pool pool = {
        .base = w->base, .size = 10, .policy = UIDPOOL_POLICY_NEXT, .gid = w->base};

    snprintf(pool.name, sizeof(pool.name), "%s", w->name ? w->name : "refused");
    enum uidpool_status status = ledger_pool_insert(l, &pool, p);
    if (status == UIDPOOL_OK && !w->name)
        return problem_set(p, UIDPOOL_EXHAUSTED, "refused after it was written");
    return status;
}

static void told(enum uidpool_status status, const struct problem *problem, void *userdata)
{
    struct want *w = userdata;

    assert_int_equal(w->turn, 0);
    w->status = status;
    w->turn = ++w->f->told;
    assert_int_equal(problem->text[0] != '\0', status != UIDPOOL_OK);
    if (w->then)
        assert_int_equal(committer_add(w->f->committer, write_pool, told, w->then), 0);
}

static void add(struct fixture *f, struct want *w)
{
    w->f = f;
    assert_int_equal(committer_add(f->committer, write_pool, told, w), 0);
}

/* One turn of the loop. */
static void turn(struct fixture *f)
{
    assert_int_equal(sd_event_run(f->event, 0) >= 0, 1);
}

/* As another connection sees it: what is not committed is not there. */
static bool is_durable(struct fixture *f, const char *name)
{
    struct uidpool_pool pool;
    struct problem p = {0};

    return ledger_pool_by_name(f->other, name, &pool, &p) == UIDPOOL_OK;
}

static void test_what_fails_is_undone_alone(void **state)
{
    struct fixture *f = *state;
    struct want a = {.name = "a", .base = BASE}, b = {.base = BASE + 100},
                c = {.name = "c", .base = BASE + 200};

    add(f, &a);
    add(f, &b);
    add(f, &c);
    assert_int_equal(a.turn, 0);
    turn(f);
    assert_int_equal(a.status, UIDPOOL_OK);
    assert_int_equal(b.status, UIDPOOL_EXHAUSTED);
    assert_int_equal(c.status, UIDPOOL_OK);
    assert_int_equal(a.turn, 1);
    assert_int_equal(b.turn, 2);
    assert_int_equal(c.turn, 3);
    assert_true(is_durable(f, "a"));
    assert_false(is_durable(f, "refused"));
    assert_true(is_durable(f, "c"));
}

/* The second sees what the first wrote: they overlap. */
static void test_a_clash_within_one_transaction(void **state)
{
    struct fixture *f = *state;
    struct want a = {.name = "a", .base = BASE}, b = {.name = "b", .base = BASE + 5};

    add(f, &a);
    add(f, &b);
    turn(f);
    assert_int_equal(a.status, UIDPOOL_OK);
    assert_int_equal(b.status, UIDPOOL_CONFLICT);
    assert_true(is_durable(f, "a"));
    assert_false(is_durable(f, "b"));
}

static void test_no_one_is_told_success_when_the_commit_fails(void **state)
{
    struct fixture *f = *state;
    struct want a = {.name = "a", .base = BASE}, b = {.base = BASE + 100};
    char lock[128];

    snprintf(lock, sizeof(lock), "%s.lock", f->path);
    assert_int_equal(unlink(lock), 0); /* so that no transaction can begin */
    add(f, &a);
    add(f, &b);
    turn(f);
    assert_int_equal(a.status, UIDPOOL_LEDGER);
    assert_int_equal(b.status, UIDPOOL_LEDGER);
    assert_false(is_durable(f, "a"));
}

/* As if the disk had been full in the middle: SQLite may roll back everything by itself. */
static enum uidpool_status write_and_lose_all(struct ledger *l, void *userdata, struct problem *p)
{
    (void)userdata;
    assert_int_equal(sqlite3_exec(l->db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    return problem_set(p, UIDPOOL_FAILED, "the disk is full");
}

static void test_a_disk_that_is_full_is_no_damage(void **state)
{
    struct fixture *f = *state;
    struct want before = {.name = "a", .base = BASE}, full = {.name = "b", .base = BASE + 100},
                after = {.name = "c", .base = BASE + 200}, later = {.name = "d", .base = BASE};

    add(f, &before);
    full.f = f;
    assert_int_equal(committer_add(f->committer, write_and_lose_all, told, &full), 0);
    add(f, &after);
    turn(f);
    assert_int_equal(before.status, UIDPOOL_FAILED);
    assert_int_equal(full.status, UIDPOOL_FAILED);
    assert_int_equal(after.status, UIDPOOL_FAILED);
    assert_false(is_durable(f, "a"));
    assert_false(is_durable(f, "c"));
    add(f, &later);
    turn(f);
    assert_int_equal(later.status, UIDPOOL_OK);
    assert_true(is_durable(f, "d"));
}

static void test_who_is_told_may_add(void **state)
{
    struct fixture *f = *state;
    struct want b = {.f = f, .name = "b", .base = BASE + 100},
                a = {.name = "a", .base = BASE, .then = &b};

    add(f, &a);
    turn(f);
    assert_int_equal(a.turn, 1);
    assert_int_equal(b.turn, 0);
    turn(f);
    assert_int_equal(b.turn, 2);
    assert_true(is_durable(f, "b"));
}

static void test_the_forgotten_are_neither_written_nor_told(void **state)
{
    struct fixture *f = *state;
    struct want a = {.name = "a", .base = BASE}, b = {.name = "b", .base = BASE + 100};

    add(f, &a);
    add(f, &b);
    committer_forget(f->committer, &b);
    turn(f);
    assert_int_equal(b.turn, 0);
    assert_false(is_durable(f, "b"));
    assert_true(is_durable(f, "a"));

    struct want c = {.name = "c", .base = BASE + 200};
    add(f, &c);
    turn(f);
    assert_int_equal(c.turn, 2);
}

static int never_idle(sd_event_source *source, void *userdata)
{
    (void)source;
    (void)userdata;
    return 0;
}

/* Ordinary events without end must not put off what somebody waits for. */
static void test_a_busy_loop_commits_too(void **state)
{
    struct fixture *f = *state;
    struct want a = {.name = "a", .base = BASE};
    int64_t end = clock_monotonic_usec() + 30 * USEC_PER_SEC;
    sd_event_source *busy = NULL;

    assert_true(sd_event_add_defer(f->event, &busy, never_idle, NULL) >= 0);
    assert_true(sd_event_source_set_enabled(busy, SD_EVENT_ON) >= 0);
    add(f, &a);
    while (a.turn == 0 && clock_monotonic_usec() < end)
        turn(f);
    sd_event_source_disable_unref(busy);
    assert_int_equal(a.turn, 1);
    assert_int_equal(a.status, UIDPOOL_OK);
}

static int count(sd_event_source *source, uint64_t usec, void *userdata)
{
    unsigned *ticks = userdata;

    ++*ticks;
    (void)sd_event_source_set_time(source, usec + USEC_PER_MSEC);
    return 0;
}

/* Somebody is stopped within his turn: the loop goes on, and the write is made when he has gone. */
static void test_others_turns_are_waited_for_beside_the_loop(void **state)
{
    struct fixture *f = *state;
    struct want a = {.name = "a", .base = BASE};
    struct ledger *stopped = NULL;
    struct problem p = {0};
    unsigned ticks = 0;
    sd_event_source *clock = NULL;
    int64_t end = clock_monotonic_usec() + 30 * USEC_PER_SEC;

    assert_int_equal(ledger_open(f->path, LEDGER_WRITE, &stopped, &p), UIDPOOL_OK);
    assert_int_equal(ledger_begin(stopped, &p), UIDPOOL_OK);
    assert_true(sd_event_add_time(f->event, &clock, CLOCK_MONOTONIC,
                                  (uint64_t)clock_monotonic_usec(), 1, count, &ticks) >= 0);
    assert_true(sd_event_source_set_enabled(clock, SD_EVENT_ON) >= 0);
    add(f, &a);
    while (ticks < 50 && clock_monotonic_usec() < end)
        assert_true(sd_event_run(f->event, 1000 * USEC_PER_MSEC) >= 0);
    assert_int_equal(ticks, 50);
    assert_int_equal(a.turn, 0);
    ledger_rollback(stopped);
    while (a.turn == 0 && clock_monotonic_usec() < end)
        assert_true(sd_event_run(f->event, 1000 * USEC_PER_MSEC) >= 0);
    assert_int_equal(a.status, UIDPOOL_OK);
    assert_true(is_durable(f, "a"));
    /* And the queue is whole: both can write again. */
    assert_int_equal(ledger_begin(stopped, &p), UIDPOOL_OK);
    ledger_close(stopped);
    sd_event_source_disable_unref(clock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_fails_is_undone_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_clash_within_one_transaction, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_one_is_told_success_when_the_commit_fails, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_disk_that_is_full_is_no_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_who_is_told_may_add, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_forgotten_are_neither_written_nor_told, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_busy_loop_commits_too, setup, teardown),
        cmocka_unit_test_setup_teardown(test_others_turns_are_waited_for_beside_the_loop, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
