/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A ledger in a directory of its own, an interface of the daemon served over it on a real loop, and
 * somebody connected who calls its methods. For unit tests of what is behind the socket.
 */
#ifndef TESTS_VISITOR_H
#define TESTS_VISITOR_H

#include "allocator/daemon/daemon.h"
#include "allocator/daemon/server.h"
#include "allocator/machine.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "db/ledger.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define VISITOR_LIMIT (30 * USEC_PER_SEC)

struct visitor {
    char dir[64], path[96];
    struct daemon daemon;
    struct policy policy;
    struct server_limits limits;
    struct server *server;
    int fd;
    char *buffer; /* what has come of the next messages */
    size_t size;
};

static inline void visitor_ok(enum uidpool_status status, const struct problem *p, int line)
{
    if (status != UIDPOOL_OK)
        fail_msg("line %d: status %d: %s", line, (int)status, p->text);
}

/* `p` is in scope. */
#define OK(call) visitor_ok((call), &p, __LINE__)

static inline struct visitor *visitor_new(void)
{
    struct visitor *v = calloc(1, sizeof(*v));
    struct problem p = {0};

    assert_non_null(v);
    v->fd = -1;
    v->policy.group = (gid_t)-1;
    v->limits = server_limits_default;
    (void)snprintf(v->dir, sizeof(v->dir), "/tmp/uidpool-test-visitor-XXXXXX");
    assert_non_null(mkdtemp(v->dir));
    (void)snprintf(v->path, sizeof(v->path), "%s/l.db", v->dir);
    OK(ledger_open(v->path, LEDGER_CREATE, &v->daemon.allocator.ledger, &p));
    assert_true(sd_event_new(&v->daemon.event) >= 0);
    v->daemon.allocator.event = v->daemon.event;
    return v;
}

/* Connect anew. */
static inline void visitor_connect(struct visitor *v)
{
    int fds[2];

    close_fd(v->fd);
    v->size = 0;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    assert_int_equal(server_adopt(v->server, fds[0]), 0);
    v->fd = fds[1];
}

static inline void visitor_serve(struct visitor *v, const struct interface *const *interfaces)
{
    assert_int_equal(server_new(v->daemon.event, &v->policy, &v->limits, interfaces, 1, &v->server),
                     0);
    visitor_connect(v);
}

/* Before what it serves is freed. */
static inline void visitor_leave(struct visitor *v)
{
    v->fd = close_fd(v->fd);
    server_free(v->server);
    v->server = NULL;
}

static inline void visitor_free(struct visitor *v)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal", ".lock"};

    ledger_close(v->daemon.allocator.ledger);
    sd_event_unref(v->daemon.event);
    for (size_t i = 0; i < ELEMENTS_OF(suffixes); i++) {
        char path[128];

        (void)snprintf(path, sizeof(path), "%s%s", v->path, suffixes[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(v->dir), 0);
    free(v->buffer);
    free(v);
}

/* One turn of the loop; false: nothing happened for so long. */
static inline bool visitor_turn(struct visitor *v, int64_t usec)
{
    int r = sd_event_run(v->daemon.event, (uint64_t)usec);

    assert_true(r >= 0);
    return r > 0;
}

/* `parameters` is taken. */
static inline void visitor_send(struct visitor *v, const char *method, json_t *parameters,
                                bool more)
{
    json_t *call =
        json_pack("{s:s, s:o, s:b}", "method", method, "parameters", parameters, "more", (int)more);
    _cleanup_free_ char *text = json_dumps(call, JSON_COMPACT);

    assert_non_null(text);
    assert_int_equal(send(v->fd, text, strlen(text) + 1, 0), strlen(text) + 1);
    json_decref(call);
}

/* What has come by now: a message, or NULL. */
static inline json_t *visitor_take(struct visitor *v)
{
    char piece[4096], *end;
    ssize_t n;
    json_t *message;

    while ((n = recv(v->fd, piece, sizeof(piece), MSG_DONTWAIT)) > 0) {
        v->buffer = realloc(v->buffer, v->size + (size_t)n);
        assert_non_null(v->buffer);
        memcpy(v->buffer + v->size, piece, (size_t)n);
        v->size += (size_t)n;
    }
    end = v->size > 0 ? memchr(v->buffer, '\0', v->size) : NULL;
    if (!end)
        return NULL;
    message = json_loads(v->buffer, 0, NULL);
    assert_non_null(message);
    v->size -= (size_t)(end + 1 - v->buffer);
    memmove(v->buffer, end + 1, v->size);
    return message;
}

/* The next message, for which the loop runs. */
static inline json_t *visitor_receive(struct visitor *v)
{
    int64_t end = clock_monotonic_usec() + VISITOR_LIMIT;
    json_t *message;

    while (!(message = visitor_take(v))) {
        if (clock_monotonic_usec() > end)
            fail_msg("no answer");
        (void)visitor_turn(v, USEC_PER_SEC);
    }
    return message;
}

static inline json_t *visitor_ask(struct visitor *v, const char *method, json_t *parameters)
{
    visitor_send(v, method, parameters, false);
    return visitor_receive(v);
}

/* The message's error, "" if it is none. */
static inline const char *error_of(const json_t *message)
{
    const char *error = json_string_value(json_object_get(message, "error"));

    return error ? error : "";
}

/* A member of its parameters. */
static inline json_t *member(const json_t *message, const char *name)
{
    return json_object_get(json_object_get(message, "parameters"), name);
}

static inline json_int_t number_of(const json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name);

    if (!json_is_integer(value))
        fail_msg("%s is no number", name);
    return json_integer_value(value);
}

static inline const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "(null)";
}

/* Ask, and be refused so. */
static inline void visitor_refused(struct visitor *v, const char *method, json_t *parameters,
                                   const char *error)
{
    json_t *message = visitor_ask(v, method, parameters);

    assert_string_equal(error_of(message), error);
    json_decref(message);
}

/*
 * The ledger.
 */

/* Takes name, base, size and what else is not 0. */
static inline struct uidpool_pool visitor_pool(struct visitor *v, struct uidpool_pool pool)
{
    struct ledger *l = v->daemon.allocator.ledger;
    struct problem p = {0};

    pool.next_uid = pool.base;
    pool.gid = pool.gid ? pool.gid : pool.base;
    pool.policy = pool.policy ? pool.policy : UIDPOOL_POLICY_NEXT;
    OK(ledger_begin(l, &p));
    OK(ledger_pool_insert(l, &pool, &p));
    OK(ledger_commit(l, &p));
    OK(ledger_pool_by_name(l, pool.name, &pool, &p));
    return pool;
}

/* By name, or, with NULL, by domid. Within a transaction. */
static inline struct uidpool_lease visitor_grant(struct visitor *v, const struct uidpool_pool *pool,
                                                 uid_t uid, uint32_t count, const char *name,
                                                 int64_t domid)
{
    struct uidpool_lease lease = {.pool_id = pool->id,
                                  .uid = uid,
                                  .gid = pool->group_per_uid ? uid : pool->gid,
                                  .count = count,
                                  .domid = name ? UIDPOOL_NO_DOMID : domid};
    struct problem p = {0};

    (void)snprintf(lease.pool, sizeof(lease.pool), "%s", pool->name);
    (void)snprintf(lease.name, sizeof(lease.name), "%s", name ? name : "");
    OK(lease_step(v->daemon.allocator.ledger, &lease, LEASE_EVENT_GRANT, NULL, 0, &p));
    return lease;
}

/* In a transaction of its own. */
static inline struct uidpool_lease visitor_lease(struct visitor *v, const struct uidpool_pool *pool,
                                                 uid_t uid, uint32_t count, const char *name,
                                                 int64_t domid)
{
    struct ledger *l = v->daemon.allocator.ledger;
    struct uidpool_lease lease;
    struct problem p = {0};

    OK(ledger_begin(l, &p));
    lease = visitor_grant(v, pool, uid, count, name, domid);
    OK(ledger_commit(l, &p));
    return lease;
}

/* To revoking, and on to quarantined if `rest` is given. */
static inline void visitor_revoke(struct visitor *v, struct uidpool_lease *lease, uint32_t rest)
{
    struct ledger *l = v->daemon.allocator.ledger;
    struct evidence e = {.uids = {lease->uid, lease->count},
                         .lease = lease->id,
                         .scan = WITNESS_EMPTY,
                         .census = WITNESS_EMPTY,
                         .tasks_scanned = 100};
    struct problem p = {0};

    OK(ledger_begin(l, &p));
    if (lease->state == UIDPOOL_STATE_LEASED)
        OK(lease_step(l, lease, LEASE_EVENT_RELEASE, NULL, 0, &p));
    e.step = lease->step;
    if (rest > 0) {
        OK(ledger_evidence_insert(l, &e, &p));
        OK(lease_step(l, lease, LEASE_EVENT_PROVEN, NULL, rest, &p));
    }
    OK(ledger_commit(l, &p));
}

#endif
