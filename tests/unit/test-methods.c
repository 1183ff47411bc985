/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The methods of io.uidpool over a real ledger and a real server: what they ask for, what they
 * answer and when, long lists and slow readers. Who gives leases and who revokes are stand-ins that
 * note what they are asked. Runs nothing as any uid.
 */
#include "allocator/daemon/methods.h"
#include "allocator/daemon/revocations.h"
#include "allocator/lease/granter.h"
#include "tests/unit/visitor.h"

#include <sys/wait.h>

#define BASE 2114977792u
#define UUID "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
#define INVALID "org.varlink.service.InvalidParameter"

/*
 * Stand-ins.
 */

static struct {
    int error; /* what the next ones return */
    size_t n;
    struct {
        struct grant_request request;
        char pool[64], name[64], uuid[64];
        struct uidpool_lease lease; /* of a revocation */
        bool asked;
        int64_t timeout;
        outcome_fn done;
        void *userdata;
    } jobs[8];
} asked;

static void note(outcome_fn done, void *userdata)
{
    assert_true(asked.n < ELEMENTS_OF(asked.jobs));
    asked.jobs[asked.n].done = done;
    asked.jobs[asked.n].userdata = userdata;
    asked.n++;
}

static void copy_text(char to[static 64], const char *text)
{
    (void)snprintf(to, 64, "%s", text ? text : "(null)");
}

int granter_new(struct allocator *a, sd_event *event, struct granter **ret)
{
    (void)a;
    (void)event;
    (void)ret;
    return -ENOSYS;
}

void granter_free(struct granter *g)
{
    (void)g;
}

size_t granter_pending(const struct granter *g)
{
    (void)g;
    return 0;
}

int granter_add(struct granter *g, const struct grant_request *request, outcome_fn done,
                void *userdata)
{
    (void)g;
    if (asked.error < 0)
        return asked.error;
    asked.jobs[asked.n].request = *request;
    copy_text(asked.jobs[asked.n].pool, request->lease.pool);
    copy_text(asked.jobs[asked.n].name, request->lease.name);
    copy_text(asked.jobs[asked.n].uuid, request->lease.uuid);
    note(done, userdata);
    return 0;
}

int revocations_add(struct revocations *r, const struct uidpool_lease *lease, bool is_asked,
                    int64_t timeout, outcome_fn done, void *userdata)
{
    (void)r;
    if (asked.error < 0)
        return asked.error;
    asked.jobs[asked.n].lease = *lease;
    asked.jobs[asked.n].asked = is_asked;
    asked.jobs[asked.n].timeout = timeout;
    note(done, userdata);
    return 0;
}

/* The job comes to this. */
static void done(size_t job, const struct uidpool_lease *lease, enum uidpool_status status,
                 const struct uidpool_survivor *survivors, size_t n)
{
    struct problem p = {.status = status};
    struct outcome outcome = {lease, &p, survivors, n};

    if (status != UIDPOOL_OK)
        (void)snprintf(p.text, sizeof(p.text), "because %d", (int)status);
    assert_true(job < asked.n);
    asked.jobs[job].done(&outcome, asked.jobs[job].userdata);
}

/*
 * The scene.
 */

struct fixture {
    struct visitor *v;
    struct methods *methods;
    struct uidpool_pool pool;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    const struct interface *interface;

    assert_non_null(f);
    memset(&asked, 0, sizeof(asked));
    f->v = visitor_new();
    f->v->limits.output = 16384;
    assert_int_equal(methods_new(&f->v->daemon, &f->methods), 0);
    interface = methods_interface(f->methods);
    visitor_serve(f->v, &interface);
    f->pool = visitor_pool(f->v, (struct uidpool_pool){.name = "p", .base = BASE, .size = 4000});
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    visitor_leave(f->v);
    methods_free(f->methods);
    visitor_free(f->v);
    free(f);
    return 0;
}

/* Until nothing happens any more. */
static void settle(struct fixture *f)
{
    while (visitor_turn(f->v, 20 * USEC_PER_MSEC))
        ;
}

static void silent(struct fixture *f)
{
    settle(f);
    assert_null(visitor_take(f->v));
}

/* Many leases by name from BASE on, in one transaction. */
static void fill(struct fixture *f, uid_t first, uint32_t n)
{
    struct problem p = {0};

    OK(ledger_begin(f->v->daemon.allocator.ledger, &p));
    for (uint32_t i = 0; i < n; i++) {
        char name[16];

        (void)snprintf(name, sizeof(name), "n%u", first + i);
        visitor_grant(f->v, &f->pool, first + i, 1, name, 0);
    }
    OK(ledger_commit(f->v->daemon.allocator.ledger, &p));
}

static int64_t newest(struct fixture *f)
{
    struct problem p = {0};
    int64_t id = 0;

    OK(ledger_history_newest(f->v->daemon.allocator.ledger, &id, &p));
    return id;
}

/*
 * Lease.
 */

static void test_lease(void **state)
{
    struct fixture *f = *state;
    struct uidpool_lease lease;
    json_t *message;

    visitor_send(f->v, "io.uidpool.Lease",
                 json_pack("{s:s,s:i,s:s,s:i,s:i}", "pool", "p", "domid", 5, "uuid",
                           "AAAAAAAA-bbbb-cccc-dddd-EEEEEEEEEEEE", "count", 2, "timeout", 7),
                 false);
    silent(f); /* nothing is durable yet */
    assert_int_equal(asked.n, 1);
    assert_string_equal(asked.jobs[0].pool, "p");
    assert_int_equal(asked.jobs[0].request.lease.domid, 5);
    assert_string_equal(asked.jobs[0].name, "(null)");
    assert_string_equal(asked.jobs[0].uuid, UUID);
    assert_int_equal(asked.jobs[0].request.lease.count, 2);
    assert_int_equal(asked.jobs[0].request.timeout, 7 * USEC_PER_SEC);
    assert_false(asked.jobs[0].request.adopt);

    lease = visitor_lease(f->v, &f->pool, BASE + 5, 2, NULL, 5);
    lease.existing = true;
    done(0, &lease, UIDPOOL_OK, NULL, 0);
    message = visitor_receive(f->v);
    assert_int_equal(number_of(member(message, "lease"), "uid"), BASE + 5);
    assert_int_equal(number_of(member(message, "lease"), "lease"), lease.id);
    assert_true(json_is_true(json_object_get(member(message, "lease"), "existing")));
    json_decref(message);
}

static void test_lease_of_defaults(void **state)
{
    struct fixture *f = *state;
    struct uidpool_lease lease;

    visitor_send(f->v, "io.uidpool.Lease",
                 json_pack("{s:s,s:n,s:n}", "name", "web", "pool", "domid"), false);
    silent(f);
    assert_int_equal(asked.n, 1);
    assert_string_equal(asked.jobs[0].pool, "(null)");
    assert_string_equal(asked.jobs[0].name, "web");
    assert_string_equal(asked.jobs[0].uuid, "(null)");
    assert_int_equal(asked.jobs[0].request.lease.domid, UIDPOOL_NO_DOMID);
    assert_int_equal(asked.jobs[0].request.lease.count, 0);
    assert_int_equal(asked.jobs[0].request.timeout, UIDPOOL_TIMEOUT_USUAL * USEC_PER_SEC);
    lease = visitor_lease(f->v, &f->pool, BASE, 1, "web", 0);
    done(0, &lease, UIDPOOL_OK, NULL, 0);
    json_decref(visitor_receive(f->v));
}

static void test_lease_refused(void **state)
{
    static const struct {
        enum uidpool_status status;
        const char *error;
    } cases[] = {
        {UIDPOOL_FAILED, "io.uidpool.Failed"},        {UIDPOOL_NOT_FOUND, "io.uidpool.NotFound"},
        {UIDPOOL_CONFLICT, "io.uidpool.Conflict"},    {UIDPOOL_EXHAUSTED, "io.uidpool.Exhausted"},
        {UIDPOOL_NOT_PROVEN, "io.uidpool.NotProven"}, {UIDPOOL_LEDGER, "io.uidpool.LedgerUnusable"},
    };
    struct fixture *f = *state;
    struct uidpool_lease other = {.id = 3, .pool = "other", .uid = BASE + 9, .domid = 6};
    struct uidpool_survivor survivor = {.pid = 1, .tid = 2, .state = 'S'};

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        json_t *message;

        asked.n = 0;
        visitor_send(f->v, "io.uidpool.Lease", json_pack("{s:i}", "domid", 0), false);
        settle(f);
        done(0, i == 0 ? &other : NULL, cases[i].status, &survivor,
             cases[i].status == UIDPOOL_NOT_PROVEN);
        message = visitor_receive(f->v);
        assert_string_equal(error_of(message), cases[i].error);
        assert_int_equal(json_array_size(member(message, "survivors")),
                         cases[i].status == UIDPOOL_NOT_PROVEN);
        assert_non_null(strstr(json_string_value(member(message, "message")), "because"));
        if (i == 0) {
            assert_string_equal(json_string_value(member(message, "pool")), "other");
            assert_int_equal(json_integer_value(member(message, "uid")), BASE + 9);
            assert_int_equal(json_integer_value(member(message, "domid")), 6);
        } else {
            assert_true(json_is_null(member(message, "pool")));
            assert_true(json_is_null(member(message, "uid")));
            assert_true(json_is_integer(member(message, "domid")));
        }
        json_decref(message);
    }
}

static void test_no_memory(void **state)
{
    struct fixture *f = *state;

    asked.error = -ENOMEM;
    visitor_refused(f->v, "io.uidpool.Lease", json_pack("{s:i}", "domid", 0), "io.uidpool.Failed");
    visitor_lease(f->v, &f->pool, BASE, 1, NULL, 0);
    visitor_refused(f->v, "io.uidpool.Release", json_pack("{s:i}", "domid", 0),
                    "io.uidpool.Failed");
}

/* The member is named, and nobody is asked for anything. */
static void invalid(struct fixture *f, const char *method, json_t *parameters, const char *name)
{
    json_t *message = visitor_ask(f->v, method, parameters);

    assert_string_equal(error_of(message), INVALID);
    assert_string_equal(json_string_value(member(message, "parameter")), name);
    assert_int_equal(asked.n, 0);
    json_decref(message);
}

static void test_wrong_members(void **state)
{
    static const char *const methods[] = {"io.uidpool.Lease", "io.uidpool.Release"};
    struct fixture *f = *state;

    for (size_t i = 0; i < ELEMENTS_OF(methods); i++) {
        invalid(f, methods[i], json_pack("{s:i,s:i}", "domid", 1, "colour", 1), "colour");
        invalid(f, methods[i], json_pack("{s:s}", "domid", "1"), "domid");
        invalid(f, methods[i], json_pack("{s:f}", "domid", 1.0), "domid");
        invalid(f, methods[i], json_pack("{s:b}", "domid", 1), "domid");
        invalid(f, methods[i], json_pack("{s:i}", "domid", -1), "domid");
        invalid(f, methods[i], json_pack("{s:i}", "domid", 32752), "domid");
        invalid(f, methods[i], json_pack("{s:i}", "name", 1), "name");
        invalid(f, methods[i], json_pack("{s:i,s:[]}", "domid", 1, "pool"), "pool");
        invalid(f, methods[i], json_pack("{s:i,s:i}", "domid", 1, "timeout", -1), "timeout");
        invalid(f, methods[i], json_pack("{s:i,s:I}", "domid", 1, "timeout", (json_int_t)1 << 40),
                "timeout");
    }
    invalid(f, "io.uidpool.Lease", json_pack("{s:i,s:i}", "domid", 1, "uid", 1), "uid");
    invalid(f, "io.uidpool.Lease", json_pack("{s:i,s:i}", "domid", 1, "count", 0), "count");
    invalid(f, "io.uidpool.Lease", json_pack("{s:i,s:I}", "domid", 1, "count", (json_int_t)1 << 31),
            "count");
    invalid(f, "io.uidpool.Lease", json_pack("{s:i,s:i}", "domid", 1, "uuid", 1), "uuid");
    invalid(f, "io.uidpool.Release", json_pack("{s:I}", "uid", (json_int_t)1 << 32), "uid");
    invalid(f, "io.uidpool.Release", json_pack("{s:I}", "uid", (json_int_t)4294967295), "uid");
    invalid(f, "io.uidpool.Describe", json_object(), "uid");
    invalid(f, "io.uidpool.Describe", json_pack("{s:i}", "uid", -1), "uid");
}

static void test_wrong_shapes(void **state)
{
    struct fixture *f = *state;
    json_t *const wrong[] = {
        json_object(),
        json_pack("{s:i,s:s}", "domid", 1, "name", "web"),
        json_pack("{s:s}", "name", ""),
        json_pack("{s:s}", "name", "a b"),
        json_pack("{s:i,s:s}", "domid", 1, "uuid", "1"),
        json_pack("{s:i,s:s}", "domid", 1, "pool", "/"),
    };

    for (size_t i = 0; i < ELEMENTS_OF(wrong); i++) {
        json_t *message = visitor_ask(f->v, "io.uidpool.Lease", wrong[i]);

        assert_string_equal(error_of(message), "io.uidpool.InvalidParameter");
        assert_true(json_string_length(member(message, "message")) > 10);
        json_decref(message);
    }
    visitor_refused(f->v, "io.uidpool.Release", json_pack("{s:s}", "pool", "p"),
                    "io.uidpool.InvalidParameter");
    visitor_refused(f->v, "io.uidpool.Release", json_pack("{s:s}", "name", "a b"),
                    "io.uidpool.InvalidParameter");
    assert_int_equal(asked.n, 0);
}

/*
 * Release.
 */

static void test_release(void **state)
{
    struct fixture *f = *state;
    struct uidpool_pool other =
        visitor_pool(f->v, (struct uidpool_pool){.name = "q", .base = BASE + 10000, .size = 10});
    struct uidpool_lease a = visitor_lease(f->v, &f->pool, BASE + 5, 1, NULL, 5);
    struct uidpool_lease b = visitor_lease(f->v, &other, BASE + 10000, 1, NULL, 5);
    json_t *message, *released;

    visitor_lease(f->v, &f->pool, BASE + 6, 1, NULL, 6);
    visitor_send(f->v, "io.uidpool.Release", json_pack("{s:i,s:i}", "domid", 5, "timeout", 3),
                 false);
    silent(f);
    assert_int_equal(asked.n, 2);
    assert_int_equal(asked.jobs[0].lease.id, a.id);
    assert_int_equal(asked.jobs[1].lease.id, b.id);
    assert_true(asked.jobs[0].asked && asked.jobs[1].asked);
    assert_int_equal(asked.jobs[0].timeout, 3 * USEC_PER_SEC);

    b.state = a.state = UIDPOOL_STATE_QUARANTINED;
    b.tasks_killed = 17;
    done(1, &b, UIDPOOL_OK, NULL, 0);
    silent(f); /* the other had no try yet */
    done(0, &a, UIDPOOL_OK, NULL, 0);
    message = visitor_receive(f->v);
    assert_string_equal(error_of(message), "");
    released = member(message, "released");
    assert_int_equal(json_array_size(released), 2);
    assert_string_equal(text_of(json_array_get(released, 0), "pool"), "q");
    assert_int_equal(number_of(json_array_get(released, 0), "tasks_killed"), 17);
    assert_string_equal(text_of(json_array_get(released, 1), "state"), "quarantined");
    json_decref(message);
}

/* To revocations_add() 0 is the usual time, half a minute. */
static void test_release_without_waiting(void **state)
{
    struct fixture *f = *state;
    struct uidpool_lease lease = visitor_lease(f->v, &f->pool, BASE + 5, 1, NULL, 5);

    visitor_send(f->v, "io.uidpool.Release", json_pack("{s:i,s:i}", "domid", 5, "timeout", 0),
                 false);
    settle(f);
    assert_int_equal(asked.n, 1);
    assert_int_equal(asked.jobs[0].timeout, 1);
    done(0, &lease, UIDPOOL_OK, NULL, 0);
    json_decref(visitor_receive(f->v));
}

static void test_release_by_each(void **state)
{
    struct fixture *f = *state;
    struct uidpool_lease lease = visitor_lease(f->v, &f->pool, BASE + 5, 3, "web", 0);
    json_t *const ways[] = {
        json_pack("{s:s}", "name", "web"),
        json_pack("{s:I}", "uid", (json_int_t)BASE + 7),
        json_pack("{s:I,s:s,s:s}", "uid", (json_int_t)BASE + 5, "name", "web", "pool", "p"),
    };

    for (size_t i = 0; i < ELEMENTS_OF(ways); i++) {
        asked.n = 0;
        visitor_send(f->v, "io.uidpool.Release", ways[i], false);
        settle(f);
        assert_int_equal(asked.n, 1);
        assert_int_equal(asked.jobs[0].lease.id, lease.id);
        assert_int_equal(asked.jobs[0].timeout, UIDPOOL_TIMEOUT_USUAL * USEC_PER_SEC);
        done(0, &lease, UIDPOOL_OK, NULL, 0);
        json_decref(visitor_receive(f->v));
    }
    asked.n = 0;
    visitor_refused(f->v, "io.uidpool.Release",
                    json_pack("{s:s,s:I}", "name", "other", "uid", (json_int_t)BASE + 5),
                    "io.uidpool.NotFound");
    assert_int_equal(asked.n, 0);
}

static void test_release_not_proven(void **state)
{
    struct fixture *f = *state;
    struct uidpool_pool other =
        visitor_pool(f->v, (struct uidpool_pool){.name = "q", .base = BASE + 10000, .size = 10});
    struct uidpool_pool third =
        visitor_pool(f->v, (struct uidpool_pool){.name = "r", .base = BASE + 20000, .size = 10});
    struct uidpool_lease a = visitor_lease(f->v, &f->pool, BASE + 5, 1, NULL, 5);
    struct uidpool_lease b = visitor_lease(f->v, &other, BASE + 10000, 1, NULL, 5);
    struct uidpool_lease c = visitor_lease(f->v, &third, BASE + 20000, 1, NULL, 5);
    struct uidpool_survivor survivors[70] = {{.pid = 10, .tid = 11, .state = 'D'}};
    json_t *message;

    visitor_send(f->v, "io.uidpool.Release", json_pack("{s:i}", "domid", 5), false);
    settle(f);
    assert_int_equal(asked.n, 3);
    done(0, &a, UIDPOOL_LEDGER, NULL, 0);
    done(1, &b, UIDPOOL_NOT_PROVEN, survivors, 70);
    c.state = UIDPOOL_STATE_HELD;
    done(2, &c, UIDPOOL_OK, NULL, 0);
    message = visitor_receive(f->v);
    assert_string_equal(error_of(message), "io.uidpool.NotProven");
    assert_string_equal(json_string_value(member(message, "pool")), "q");
    assert_int_equal(json_integer_value(member(message, "uid")), BASE + 10000);
    assert_int_equal(json_integer_value(member(message, "domid")), 5);
    assert_int_equal(json_array_size(member(message, "survivors")), 70);
    assert_int_equal(number_of(json_array_get(member(message, "survivors"), 0), "tid"), 11);
    assert_int_equal(json_integer_value(member(message, "unnamed")), 0);
    assert_int_equal(json_array_size(member(message, "released")), 1);
    json_decref(message);

    asked.n = 0;
    visitor_send(f->v, "io.uidpool.Release", json_pack("{s:i}", "domid", 5), false);
    settle(f);
    done(0, &a, UIDPOOL_NOT_PROVEN, survivors, 70);
    done(1, &b, UIDPOOL_NOT_PROVEN, survivors, 70);
    done(2, &c, UIDPOOL_FAILED, NULL, 0);
    message = visitor_receive(f->v);
    assert_string_equal(error_of(message), "io.uidpool.NotProven");
    assert_string_equal(json_string_value(member(message, "pool")), "p");
    assert_int_equal(json_array_size(member(message, "survivors")), 100);
    assert_int_equal(json_integer_value(member(message, "unnamed")), 40);
    json_decref(message);
}

static void test_release_of_what_is_over(void **state)
{
    struct fixture *f = *state;
    struct uidpool_lease lease = visitor_lease(f->v, &f->pool, BASE + 5, 1, NULL, 5);
    json_t *message;

    visitor_revoke(f->v, &lease, 1000);
    message = visitor_ask(f->v, "io.uidpool.Release", json_pack("{s:i}", "domid", 5));
    assert_int_equal(json_array_size(member(message, "released")), 1);
    json_decref(message);
    message =
        visitor_ask(f->v, "io.uidpool.Release", json_pack("{s:i,s:s}", "domid", 6, "pool", "p"));
    assert_string_equal(error_of(message), "io.uidpool.NotFound");
    assert_string_equal(json_string_value(member(message, "pool")), "p");
    assert_int_equal(json_integer_value(member(message, "domid")), 6);
    json_decref(message);
    visitor_refused(f->v, "io.uidpool.Release", json_pack("{s:i,s:s}", "domid", 5, "pool", "none"),
                    "io.uidpool.NotFound");
    assert_int_equal(asked.n, 0);
}

/* Whoever waits may go; what was begun goes on, and is told to nobody. */
static void test_the_peer_goes(void **state)
{
    struct fixture *f = *state;
    struct uidpool_lease lease = visitor_lease(f->v, &f->pool, BASE + 5, 1, NULL, 5);

    visitor_send(f->v, "io.uidpool.Release", json_pack("{s:i}", "domid", 5), false);
    settle(f);
    visitor_connect(f->v);
    visitor_send(f->v, "io.uidpool.Lease", json_pack("{s:i}", "domid", 7), false);
    settle(f);
    visitor_connect(f->v);
    settle(f);
    assert_int_equal(asked.n, 2);
    assert_int_equal(server_connections(f->v->server), 1);
    done(0, &lease, UIDPOOL_OK, NULL, 0);
    done(1, &lease, UIDPOOL_OK, NULL, 0);
    silent(f);
}

/* The daemon ends with calls that are being worked on. */
static void test_the_daemon_goes(void **state)
{
    struct fixture *f = *state;

    visitor_lease(f->v, &f->pool, BASE + 5, 1, NULL, 5);
    visitor_send(f->v, "io.uidpool.Release", json_pack("{s:i}", "domid", 5), false);
    settle(f);
    visitor_connect(f->v);
    visitor_send(f->v, "io.uidpool.Subscribe", json_object(), true);
    settle(f);
    assert_int_equal(asked.n, 1);
}

/*
 * Describe, List, History.
 */

static void test_describe(void **state)
{
    struct fixture *f = *state;
    struct uidpool_lease lease = visitor_lease(f->v, &f->pool, BASE + 5, 2, "web", 0);
    json_t *message =
        visitor_ask(f->v, "io.uidpool.Describe", json_pack("{s:I}", "uid", (json_int_t)BASE + 6));

    assert_int_equal(number_of(member(message, "lease"), "lease"), lease.id);
    assert_string_equal(text_of(member(message, "lease"), "name"), "web");
    json_decref(message);
    for (json_int_t uid = 0; uid <= 4294967294; uid += 4294967294) {
        message = visitor_ask(f->v, "io.uidpool.Describe", json_pack("{s:I}", "uid", uid));
        assert_true(json_is_null(member(message, "lease")));
        json_decref(message);
    }
}

/* Call with more, and take everything: the numbers `key` of each answer's `name`, in order. */
static size_t stream(struct fixture *f, const char *method, json_t *parameters, const char *name,
                     const char *key, json_int_t *ret, size_t max)
{
    size_t n = 0;
    bool more = true;

    visitor_send(f->v, method, parameters, true);
    while (more) {
        json_t *message = visitor_receive(f->v);

        assert_string_equal(error_of(message), "");
        assert_true(n < max);
        if (!json_is_null(member(message, name)))
            ret[n++] = number_of(member(message, name), key);
        more = json_is_true(json_object_get(message, "continues"));
        json_decref(message);
    }
    return n;
}

static void test_list(void **state)
{
    static const uint32_t counts[] = {0, 1, 31, 32, 33, 64, 1000};
    struct fixture *f = *state;
    struct uidpool_pool next =
        visitor_pool(f->v, (struct uidpool_pool){.name = "q", .base = BASE + 4000, .size = 10});
    json_int_t uids[1100];
    uint32_t there = 0;

    visitor_lease(f->v, &next, BASE + 4000, 1, NULL, 1);
    for (size_t i = 0; i < ELEMENTS_OF(counts); i++) {
        size_t n;

        fill(f, BASE + there, counts[i] - there);
        there = counts[i];
        n = stream(f, "io.uidpool.List", json_pack("{s:s}", "pool", "p"), "lease", "uid", uids,
                   ELEMENTS_OF(uids));
        assert_int_equal(n, there);
        for (uint32_t j = 0; j < there; j++)
            assert_int_equal(uids[j], BASE + j);
        n = stream(f, "io.uidpool.List", json_object(), "lease", "uid", uids, ELEMENTS_OF(uids));
        assert_int_equal(n, there + 1);
        assert_int_equal(uids[there], BASE + 4000);
        n = stream(f, "io.uidpool.List", json_pack("{s:s}", "pool", "q"), "lease", "uid", uids,
                   ELEMENTS_OF(uids));
        assert_int_equal(n, 1);
        assert_int_equal(uids[0], BASE + 4000);
    }
}

static void test_list_refused(void **state)
{
    struct fixture *f = *state;

    visitor_refused(f->v, "io.uidpool.List", json_object(), "org.varlink.service.ExpectedMore");
    visitor_send(f->v, "io.uidpool.List", json_pack("{s:s}", "pool", "none"), true);
    json_t *message = visitor_receive(f->v);
    assert_string_equal(error_of(message), "io.uidpool.NotFound");
    json_decref(message);
    visitor_send(f->v, "io.uidpool.List", json_pack("{s:s}", "pool", "a b"), true);
    message = visitor_receive(f->v);
    assert_string_equal(error_of(message), "io.uidpool.InvalidParameter");
    json_decref(message);
}

/* It waits, with a page in hand, while others are answered; then nothing is missing. */
static void test_a_reader_that_does_not_read(void **state)
{
    struct fixture *f = *state;
    json_int_t expected = BASE;
    bool more = true;
    int slow;

    fill(f, BASE, 3000);
    visitor_send(f->v, "io.uidpool.List", json_object(), true);
    settle(f);
    slow = f->v->fd;
    f->v->fd = -1;
    visitor_connect(f->v);
    json_decref(visitor_ask(f->v, "io.uidpool.Describe", json_pack("{s:I}", "uid", 1)));
    /* What was made behind its position is told, as the list is no picture of one moment. */
    fill(f, BASE + 3000, 1);
    close_fd(f->v->fd);
    f->v->fd = slow;
    while (more) {
        json_t *message = visitor_receive(f->v);

        assert_int_equal(number_of(member(message, "lease"), "uid"), expected);
        expected++;
        more = json_is_true(json_object_get(message, "continues"));
        json_decref(message);
    }
    assert_int_equal(expected, BASE + 3001);
}

struct known {
    json_int_t ids[9000];
    size_t n;
};

static bool add_known(const struct uidpool_event *event, void *userdata)
{
    struct known *known = userdata;

    known->ids[known->n++] = event->id;
    return true;
}

/* As the ledger has it in one go. `parameters` is taken. */
static size_t history(struct fixture *f, json_t *parameters,
                      const struct uidpool_history_query *query)
{
    static struct known known;
    static json_int_t ids[9000];
    struct problem p = {0};
    size_t n;

    known.n = 0;
    OK(ledger_history_each(f->v->daemon.allocator.ledger, query, add_known, &known, &p));
    n = stream(f, "io.uidpool.History", parameters, "event", "id", ids, ELEMENTS_OF(ids));
    assert_int_equal(n, known.n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(ids[i], known.ids[i]);
    return n;
}

static void test_history(void **state)
{
    struct fixture *f = *state;
    struct uidpool_history_query all = UIDPOOL_HISTORY_QUERY_INIT, query = all;
    struct uidpool_lease lease;
    char time[64];

    assert_true(history(f, json_object(), &all) > 0);
    fill(f, BASE, 2500);
    lease = visitor_lease(f->v, &f->pool, BASE + 3000, 2, NULL, 9);
    visitor_revoke(f->v, &lease, 100);
    fill(f, BASE + 3100, 20);
    assert_true(history(f, json_object(), &all) > 2520);

    query.of.domid = 9;
    assert_int_equal(history(f, json_pack("{s:i}", "domid", 9), &query), 4);
    query.of.domid = 10;
    assert_int_equal(history(f, json_pack("{s:i}", "domid", 10), &query), 0);
    query = all;
    query.of.uid = BASE + 3001;
    assert_int_equal(history(f, json_pack("{s:I}", "uid", (json_int_t)BASE + 3001), &query), 4);
    query = all;
    query.of.name = "n2114977800";
    query.of.pool = "p";
    assert_int_equal(history(f, json_pack("{s:s,s:s}", "name", query.of.name, "pool", "p"), &query),
                     1);
    query.of.pool = "q";
    assert_int_equal(history(f, json_pack("{s:s,s:s}", "name", query.of.name, "pool", "q"), &query),
                     0);
    query = all;
    query.since = lease.since;
    assert_true(history(f,
                        json_pack("{s:s}", "since", format_time(lease.since, time, sizeof(time))),
                        &query) < 25);
    query = all;
    query.until = lease.since;
    assert_true(history(f,
                        json_pack("{s:s}", "until", format_time(lease.since, time, sizeof(time))),
                        &query) > 2500);
}

static void test_history_refused(void **state)
{
    struct fixture *f = *state;

    visitor_refused(f->v, "io.uidpool.History", json_object(), "org.varlink.service.ExpectedMore");
    visitor_send(f->v, "io.uidpool.History", json_pack("{s:s}", "since", "soon"), true);
    json_t *message = visitor_receive(f->v);
    assert_string_equal(error_of(message), INVALID);
    assert_string_equal(json_string_value(member(message, "parameter")), "since");
    json_decref(message);
}

/*
 * Subscribe.
 */

/* The next answer is this event. */
static void heard(struct fixture *f, int64_t id, const char *what)
{
    json_t *message = visitor_receive(f->v);

    assert_string_equal(error_of(message), "");
    assert_int_equal(number_of(member(message, "event"), "id"), id);
    if (what)
        assert_string_equal(text_of(member(message, "event"), "what"), what);
    json_decref(message);
}

static void test_subscribe(void **state)
{
    struct fixture *f = *state;
    int64_t id;

    fill(f, BASE, 10);
    id = newest(f);
    visitor_send(f->v, "io.uidpool.Subscribe", json_object(), true);
    heard(f, id, "subscribed");
    silent(f);
    for (uint32_t i = 10; i < 200; i += 50) {
        fill(f, BASE + i, 50);
        for (uint32_t j = 0; j < 50; j++)
            heard(f, ++id, "leased");
    }
    silent(f);
}

/* Told by the ledger's mark, and not by the look that is taken each second. */
static void test_what_others_do(void **state)
{
    struct fixture *f = *state;
    int64_t id = newest(f), best = INT64_MAX;

    visitor_send(f->v, "io.uidpool.Subscribe", json_object(), true);
    heard(f, id, "subscribed");
    for (uint32_t i = 0; i < 5; i++) {
        int64_t begin = clock_monotonic_usec();
        pid_t pid = fork();
        int status = -1;

        assert_true(pid >= 0);
        if (pid == 0) {
            struct problem p = {0};
            struct ledger *l;
            struct uidpool_lease lease = {
                .pool_id = f->pool.id, .uid = BASE + i, .gid = BASE, .count = 1, .domid = i};

            _exit(ledger_open(f->v->path, LEDGER_WRITE, &l, &p) != UIDPOOL_OK ||
                  ledger_begin(l, &p) != UIDPOOL_OK ||
                  lease_step(l, &lease, LEASE_EVENT_GRANT, NULL, 0, &p) != UIDPOOL_OK ||
                  ledger_commit(l, &p) != UIDPOOL_OK);
        }
        heard(f, ++id, "leased");
        begin = clock_monotonic_usec() - begin;
        best = begin < best ? begin : best;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
    }
    assert_true(best < USEC_PER_SEC / 3);
}

static void test_go_on_behind_an_event(void **state)
{
    struct fixture *f = *state;
    json_t *message;
    int64_t id = newest(f), last;

    fill(f, BASE, 100);
    last = newest(f);
    visitor_send(f->v, "io.uidpool.Subscribe", json_pack("{s:I}", "after", (json_int_t)id), true);
    heard(f, last, "subscribed");
    while (id < last)
        heard(f, ++id, "leased");
    silent(f);
    visitor_connect(f->v);
    visitor_send(f->v, "io.uidpool.Subscribe", json_pack("{s:I}", "after", (json_int_t)last + 1),
                 true);
    message = visitor_receive(f->v);
    assert_string_equal(error_of(message), "io.uidpool.Conflict");
    json_decref(message);
    visitor_send(f->v, "io.uidpool.Subscribe", json_pack("{s:i}", "after", 0), true);
    heard(f, last, "subscribed");
    heard(f, 1, NULL);
}

/* Nothing piles up for it, and nothing is lost on it. */
static void test_a_subscriber_that_does_not_read(void **state)
{
    struct fixture *f = *state;
    int64_t id = newest(f), last;

    visitor_send(f->v, "io.uidpool.Subscribe", json_object(), true);
    heard(f, id, "subscribed");
    for (uint32_t i = 0; i < 3000; i += 500) {
        fill(f, BASE + i, 500);
        settle(f);
    }
    last = newest(f);
    while (id < last)
        heard(f, ++id, "leased");
    fill(f, BASE + 3000, 1);
    heard(f, ++id, "leased");
}

static void test_the_end_of_streams(void **state)
{
    struct fixture *f = *state;
    int64_t id = newest(f);
    json_t *message;
    size_t n = 0;

    visitor_send(f->v, "io.uidpool.Subscribe", json_object(), true);
    heard(f, id, "subscribed");
    methods_end_streams(f->methods);
    message = visitor_receive(f->v);
    assert_string_equal(text_of(member(message, "event"), "what"), "ended");
    assert_int_equal(number_of(member(message, "event"), "id"), id);
    assert_false(json_is_true(json_object_get(message, "continues")));
    json_decref(message);

    fill(f, BASE, 3000);
    visitor_send(f->v, "io.uidpool.List", json_object(), true);
    settle(f);
    methods_end_streams(f->methods);
    while (error_of(message = visitor_receive(f->v))[0] == '\0') {
        n++;
        json_decref(message);
    }
    assert_string_equal(error_of(message), "io.uidpool.Failed");
    assert_true(n > 10 && n < 3000);
    json_decref(message);
    /* The connection is as good as before. */
    json_decref(visitor_ask(f->v, "io.uidpool.Describe", json_pack("{s:i}", "uid", 1)));
}

static void test_a_subscriber_goes(void **state)
{
    struct fixture *f = *state;
    int64_t id = newest(f);

    for (int i = 0; i < 3; i++) {
        visitor_send(f->v, "io.uidpool.Subscribe", json_object(), true);
        heard(f, id, "subscribed");
        if (i == 1) {
            fill(f, BASE, 1000);
            settle(f);
            id = newest(f);
        }
        visitor_connect(f->v);
        settle(f);
        assert_int_equal(server_connections(f->v->server), 1);
    }
    /* Nobody waits for anything. */
    assert_true(server_drain(f->v->server));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lease, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lease_of_defaults, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lease_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrong_members, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrong_shapes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_release, setup, teardown),
        cmocka_unit_test_setup_teardown(test_release_without_waiting, setup, teardown),
        cmocka_unit_test_setup_teardown(test_release_by_each, setup, teardown),
        cmocka_unit_test_setup_teardown(test_release_not_proven, setup, teardown),
        cmocka_unit_test_setup_teardown(test_release_of_what_is_over, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_peer_goes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_daemon_goes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_describe, setup, teardown),
        cmocka_unit_test_setup_teardown(test_list, setup, teardown),
        cmocka_unit_test_setup_teardown(test_list_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_reader_that_does_not_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_history, setup, teardown),
        cmocka_unit_test_setup_teardown(test_history_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_subscribe, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_others_do, setup, teardown),
        cmocka_unit_test_setup_teardown(test_go_on_behind_an_event, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_subscriber_that_does_not_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_end_of_streams, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_subscriber_goes, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
