/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Streams by themselves: the call is a stand-in that counts what it is told and says when it has
 * enough. Numbers are streamed, on a real loop.
 */
#include "allocator/daemon/stream.h"
#include "common/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/*
 * The stand-in.
 */

struct call {
    size_t continued, last, none, failed, released;
    size_t room; /* answers until it has enough */
    json_int_t newest;
    struct peer peer;
    bool gone, over; /* over: it was answered for the last time */
    void (*resume)(struct call *call, void *userdata);
    void *userdata;
};

const struct peer *call_peer(const struct call *call)
{
    return &call->peer;
}

bool call_is_gone(const struct call *call)
{
    return call->gone;
}

static void told(struct call *call, json_t *parameters)
{
    json_t *number = json_object_get(parameters, "n");

    assert_false(call->over);
    if (number) {
        assert_int_equal(json_integer_value(number), call->newest + 1);
        call->newest++;
    }
    json_decref(parameters);
}

bool call_continue(struct call *call, json_t *parameters)
{
    assert_true(call->room > 0);
    told(call, parameters);
    call->continued++;
    return --call->room > 0 && !call->gone;
}

void call_reply(struct call *call, json_t *parameters)
{
    told(call, parameters);
    call->last++;
    call->over = true;
}

void call_on_resume(struct call *call, void (*resume)(struct call *, void *), void *userdata)
{
    call->resume = resume;
    call->userdata = userdata;
}

/*
 * What is streamed.
 */

struct numbers {
    struct call *call;
    int64_t at, end;
    size_t at_once; /* of one reading; 0: as many as have room */
    bool fails, no_memory;
};

static enum uidpool_status read_numbers(void *state, struct stream_page *page, bool *ret_over,
                                        struct problem *p)
{
    struct numbers *n = state;

    assert_false(n->call->over);
    if (n->fails && n->at >= n->end)
        return problem_set(p, UIDPOOL_LEDGER, "no more");
    for (size_t i = 0; n->at < n->end && (n->at_once == 0 || i < n->at_once); i++) {
        n->at++;
        if (!stream_add(page, n->no_memory ? NULL : json_pack("{s:I}", "n", (json_int_t)n->at)))
            break;
    }
    *ret_over = n->at >= n->end && !n->fails;
    return UIDPOOL_OK;
}

static void none(struct call *call)
{
    call->none++;
    call_reply(call, NULL);
}

static void failed(struct call *call, const struct problem *p)
{
    assert_true(p->status != UIDPOOL_OK && p->text[0]);
    call->failed++;
    call_reply(call, NULL);
}

static json_t *last(const void *state)
{
    const struct numbers *n = state;

    return json_pack("{s:I}", "last", (json_int_t)n->at);
}

static void release(void *state)
{
    struct numbers *n = state;

    n->call->released++;
}

static const struct stream_kind bounded = {read_numbers, none, failed, NULL, release};
static const struct stream_kind endless = {read_numbers, none, failed, last, release};

struct fixture {
    sd_event *event;
    struct streams *streams;
    struct call call;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    assert_true(sd_event_new(&f->event) >= 0);
    assert_int_equal(streams_new(f->event, &f->streams), 0);
    f->call.room = SIZE_MAX;
    *state = f;
    return 0;
}

/* Whatever came, it was answered once for the last time, and its state released. */
static int teardown(void **state)
{
    struct fixture *f = *state;

    streams_free(f->streams);
    assert_true(f->call.over);
    assert_int_equal(f->call.last, 1);
    assert_int_equal(f->call.released, 1);
    sd_event_unref(f->event);
    free(f);
    return 0;
}

static struct numbers *begin_for(struct fixture *f, struct call *call,
                                 const struct stream_kind *kind, int64_t end)
{
    struct numbers *n = calloc(1, sizeof(*n));

    assert_non_null(n);
    *n = (struct numbers){.call = call, .end = end};
    stream_begin(f->streams, call, kind, n);
    assert_int_equal(n->at, 0);
    return n;
}

static struct numbers *begin(struct fixture *f, const struct stream_kind *kind, int64_t end)
{
    return begin_for(f, &f->call, kind, end);
}

/* How many turns until nothing happens any more. */
static size_t settle(struct fixture *f)
{
    size_t turns = 0;

    while (sd_event_run(f->event, 0) > 0)
        assert_true(++turns < 100000);
    return turns;
}

static void test_every_length(void **state)
{
    struct fixture *f = *state;

    for (int64_t length = 1; length <= 3 * STREAM_PAGE + 1; length++) {
        memset(&f->call, 0, sizeof(f->call));
        f->call.room = SIZE_MAX;
        begin(f, &bounded, length);
        settle(f);
        assert_int_equal(f->call.newest, length);
        assert_int_equal(f->call.continued, length - 1);
        assert_true(f->call.over);
        assert_int_equal(f->call.released, 1);
    }
}

static void test_readings_that_bring_little(void **state)
{
    struct fixture *f = *state;
    struct numbers *n = begin(f, &bounded, 10);

    n->at_once = 1;
    assert_true(settle(f) >= 10);
    assert_int_equal(f->call.newest, 10);
}

static void test_nothing(void **state)
{
    struct fixture *f = *state;

    begin(f, &bounded, 0);
    settle(f);
    assert_int_equal(f->call.none, 1);
}

/* Not one answer more than was wanted. */
static void test_pauses(void **state)
{
    struct fixture *f = *state;
    size_t n = 0;

    begin(f, &bounded, 200);
    while (!f->call.over) {
        f->call.room = 1;
        settle(f);
        if (!f->call.over) {
            assert_int_equal(f->call.continued, ++n);
            f->call.resume(&f->call, f->call.userdata);
        }
    }
    /* The last one was an answer of its own too. */
    assert_int_equal(n, 199);
    assert_int_equal(f->call.continued, 199);
    assert_int_equal(f->call.room, 1);
    assert_int_equal(f->call.newest, 200);
}

static void test_turns(void **state)
{
    struct fixture *f = *state;

    begin(f, &bounded, 100 * STREAM_PAGE);
    assert_true(settle(f) >= 100);
}

static void test_endless(void **state)
{
    struct fixture *f = *state;
    struct numbers *n = begin(f, &endless, 0);

    for (n->end = 0; n->end <= 500; n->end += 50) {
        streams_wake(f->streams);
        settle(f);
        assert_int_equal(f->call.newest, n->end);
        assert_int_equal(settle(f), 0);
    }
    assert_false(f->call.over);
    streams_end(f->streams);
    assert_int_equal(f->call.failed, 0);
}

/* A pause outlasts news. */
static void test_endless_pauses(void **state)
{
    struct fixture *f = *state;
    struct numbers *n;

    f->call.room = 3;
    n = begin(f, &endless, 40);
    settle(f);
    assert_int_equal(f->call.newest, 3);
    for (n->end = 50; n->end < 500; n->end += 50) {
        streams_wake(f->streams);
        settle(f);
    }
    assert_int_equal(f->call.newest, 3);
    assert_true(n->at < 2 * STREAM_PAGE);
    f->call.room = SIZE_MAX;
    f->call.resume(&f->call, f->call.userdata);
    settle(f);
    assert_int_equal(f->call.newest, n->end);
}

static void test_failure(void **state)
{
    struct fixture *f = *state;
    struct numbers *n = begin(f, &bounded, 100);

    n->fails = true;
    settle(f);
    assert_int_equal(f->call.failed, 1);
    assert_true(f->call.newest >= 60);
}

static void test_no_memory(void **state)
{
    struct fixture *f = *state;
    struct numbers *n = begin(f, &endless, 100);

    n->no_memory = true;
    settle(f);
    assert_int_equal(f->call.failed, 1);
    assert_int_equal(f->call.newest, 0);
}

static void test_gone_in_a_pause(void **state)
{
    struct fixture *f = *state;
    struct numbers *n;
    int64_t at;

    f->call.room = 5;
    n = begin(f, &bounded, 1000);
    settle(f);
    at = n->at;
    assert_true(at < 100);
    f->call.gone = true;
    f->call.resume(&f->call, f->call.userdata);
    settle(f);
    assert_true(f->call.over);
    assert_int_equal(f->call.continued, 5);
}

static void test_gone_while_nothing_happens(void **state)
{
    struct fixture *f = *state;

    begin(f, &endless, 0);
    settle(f);
    f->call.gone = true;
    f->call.resume(&f->call, f->call.userdata);
    settle(f);
    assert_true(f->call.over);
}

static void test_cut_short(void **state)
{
    struct fixture *f = *state;

    f->call.room = 5;
    begin(f, &bounded, 1000);
    settle(f);
    streams_end(f->streams);
    assert_true(f->call.over);
    assert_int_equal(f->call.failed, 1);
    assert_int_equal(settle(f), 0);
}

/* One that is alone is told as fast as many of another uid together. */
static void test_users_take_turns(void **state)
{
    struct fixture *f = *state;
    struct call many[20];

    memset(many, 0, sizeof(many));
    for (size_t i = 0; i < ELEMENTS_OF(many); i++) {
        many[i].room = SIZE_MAX;
        many[i].peer.uid = 7;
        begin_for(f, &many[i], &endless, 1 << 20);
    }
    begin(f, &bounded, 10 * STREAM_PAGE);
    for (size_t i = 0; i < 25; i++)
        assert_true(sd_event_run(f->event, 0) > 0);
    assert_true(f->call.over);
    streams_end(f->streams);
    for (size_t i = 0; i < ELEMENTS_OF(many); i++)
        assert_true(many[i].over);
}

static void test_freed_before_the_first_turn(void **state)
{
    begin(*state, &endless, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_length, setup, teardown),
        cmocka_unit_test_setup_teardown(test_readings_that_bring_little, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pauses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(test_endless, setup, teardown),
        cmocka_unit_test_setup_teardown(test_endless_pauses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failure, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gone_in_a_pause, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gone_while_nothing_happens, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cut_short, setup, teardown),
        cmocka_unit_test_setup_teardown(test_users_take_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(test_freed_before_the_first_turn, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
