/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the methods of io.uidpool ask of the allocator, and its answers. Each checks the members of
 * its call, then the request's shape (request.h), then asks. Touches the ledger only to read.
 *
 * A lease or a revocation that was begun goes on whether or not somebody waits for the answer.
 */
#include "allocator/daemon/methods.h"

#include "allocator/daemon/describe.h"
#include "allocator/daemon/journal.h"
#include "allocator/daemon/message.h"
#include "allocator/daemon/revocations.h"
#include "allocator/daemon/subscribe.h"
#include "allocator/lease/granter.h"
#include "allocator/request.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/ids.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "io.uidpool.inc"

/* Name no more of them in one answer; a fork bomb that cannot be killed has thousands. */
#define SURVIVORS_NAMED 100

struct methods {
    struct daemon *daemon;
    struct subscribe *subscribe;
    struct pending *pending; /* leases and releases that are not answered yet */
    struct interface interface;
};

/* A call that a job works for. */
struct pending {
    struct methods *methods;
    struct pending *next, **link;
    struct call *call;
    char pool[UIDPOOL_NAME_MAX + 1]; /* what it is about, as it was asked */
    uid_t uid;
    int64_t domid;
    size_t waiting;    /* of a release: revocations that are not done */
    json_t *released;  /* and what came of them */
    json_t *survivors; /* at most SURVIVORS_NAMED */
    size_t unnamed;    /* and so many more */
    struct problem problem;
    struct uidpool_lease problem_lease; /* the first that failed, and why */
};

/*
 * Refusals.
 */

static void refuse(struct call *call, const struct problem *p, const struct subject *about)
{
    call_error(call, describe_error(p->status), describe_problem(p, about));
}

static void refuse_peer(struct call *call, const char *message)
{
    struct problem p = {0};

    (void)problem_set(&p, UIDPOOL_NOT_PERMITTED, "%s", message);
    call_error(call, "io.uidpool.NotPermitted", describe_problem(&p, &SUBJECT_NONE));
}

static void refuse_memory(struct call *call)
{
    struct problem p = {0};

    (void)problem_set(&p, UIDPOOL_FAILED, "no memory for the call");
    refuse(call, &p, &SUBJECT_NONE);
}

/*
 * Calls that wait for a job.
 */

static struct pending *pending_new(struct methods *m, struct call *call, const char *pool,
                                   uid_t uid, int64_t domid)
{
    struct pending *pending = calloc(1, sizeof(*pending));

    if (!pending) {
        refuse_memory(call);
        return NULL;
    }
    pending->methods = m;
    pending->call = call;
    pending->uid = uid;
    pending->domid = domid;
    pending->released = json_array();
    pending->survivors = json_array();
    (void)snprintf(pending->pool, sizeof(pending->pool), "%s", pool ? pool : "");
    pending->next = m->pending;
    pending->link = &m->pending;
    if (pending->next)
        pending->next->link = &pending->next;
    m->pending = pending;
    return pending;
}

static void pending_free(struct pending *pending)
{
    *pending->link = pending->next;
    if (pending->next)
        pending->next->link = pending->link;
    json_decref(pending->released);
    json_decref(pending->survivors);
    free(pending);
}

static void add_survivors(struct pending *pending, const struct outcome *outcome)
{
    for (size_t i = 0; i < outcome->n_survivors; i++) {
        if (json_array_size(pending->survivors) == SURVIVORS_NAMED ||
            json_array_append_new(pending->survivors, describe_survivor(&outcome->survivors[i])) <
                0)
            pending->unnamed++;
    }
}

/* What is known of the lease goes before what was asked for. */
static struct subject subject_of(const struct pending *pending)
{
    const struct uidpool_lease *lease = &pending->problem_lease;
    struct subject s = {pending->pool, pending->uid, pending->domid};

    if (lease->pool[0])
        s.pool = lease->pool;
    if (lease->uid > 0)
        s.uid = lease->uid;
    if (lease->id > 0)
        s.domid = lease->domid;
    return s;
}

/* What a job that failed comes to. What was released is told also where something else was not. */
static json_t *describe_failure(struct pending *pending)
{
    struct subject about = subject_of(pending);
    json_t *o = describe_problem(&pending->problem, &about);

    if (!o || pending->problem.status != UIDPOOL_NOT_PROVEN)
        return o;
    if (json_object_set_new(o, "survivors", take_ptr(pending->survivors)) < 0 ||
        json_object_set_new(o, "unnamed", json_integer((json_int_t)pending->unnamed)) < 0 ||
        json_object_set_new(o, "released", take_ptr(pending->released)) < 0) {
        json_decref(o);
        return NULL;
    }
    return o;
}

/*
 * The members of calls. False: one was wrong, and the call was refused.
 */

static bool only_known(struct call *call, const char *const *known)
{
    const char *unknown = message_unknown(call_parameters(call), known);

    if (unknown)
        call_invalid(call, unknown);
    return !unknown;
}

static bool take_integer(struct call *call, const char *name, int64_t least, int64_t most,
                         int64_t *ret)
{
    int r = message_get_integer(call_parameters(call), name, least, most, ret);

    if (r < 0)
        call_invalid(call, name);
    return r >= 0;
}

static bool take_text(struct call *call, const char *name, const char **ret)
{
    int r = message_get_text(call_parameters(call), name, ret);

    if (r < 0)
        call_invalid(call, name);
    return r >= 0;
}

static bool take_time(struct call *call, const char *name, int64_t *ret)
{
    const char *text = NULL;

    if (!take_text(call, name, &text))
        return false;
    if (!text || parse_time(text, ret) == 0)
        return true;
    call_invalid(call, name);
    return false;
}

static bool take_uid(struct call *call, uid_t *ret)
{
    int64_t uid = UIDPOOL_NO_UID;

    if (!take_integer(call, "uid", 0, UIDPOOL_NO_UID - 1, &uid))
        return false;
    *ret = (uid_t)uid;
    return true;
}

static bool take_timeout(struct call *call, int64_t *ret_usec)
{
    int64_t seconds = UIDPOOL_TIMEOUT_USUAL;

    if (!take_integer(call, "timeout", 0, REQUEST_SECONDS_MAX, &seconds))
        return false;
    *ret_usec = seconds * USEC_PER_SEC;
    return true;
}

/* All of pool, domid, name, uid; whoever does not know the last has refused it already. */
static bool take_selector(struct call *call, struct uidpool_selector *ret)
{
    return take_text(call, "pool", &ret->pool) &&
           take_integer(call, "domid", 0, DOMID_LAST, &ret->domid) &&
           take_text(call, "name", &ret->name) && take_uid(call, &ret->uid);
}

/*
 * Lease.
 */

static void on_granted(const struct outcome *outcome, void *userdata)
{
    struct pending *pending = userdata;
    struct call *call = pending->call;
    const struct uidpool_lease *lease = outcome->lease;
    enum uidpool_status status = outcome->problem->status;
    char owner[UIDPOOL_NAME_MAX + 8];
    json_t *parameters;

    if (status == UIDPOOL_OK) {
        if (!lease->existing)
            journal_lease(LOG_INFO, JOURNAL_LEASED, lease,
                          "pool %s: leased uid %u to %s, asked by uid %u", lease->pool, lease->uid,
                          lease_owner(lease, owner, sizeof(owner)), call_peer(call)->uid);
        parameters = describe_as("lease", describe_lease(lease));
    } else {
        pending->problem = *outcome->problem;
        if (lease)
            pending->problem_lease = *lease;
        add_survivors(pending, outcome);
        parameters = describe_failure(pending);
    }
    pending_free(pending);
    if (status == UIDPOOL_OK)
        call_reply(call, parameters);
    else
        call_error(call, describe_error(status), parameters);
}

static bool take_lease(struct call *call, struct grant_request *ret)
{
    static const char *const known[] = {"pool", "domid", "name", "uuid", "count", "timeout", NULL};
    struct uidpool_selector owner = UIDPOOL_SELECTOR_INIT;
    int64_t count = 0;

    if (!only_known(call, known) || !take_selector(call, &owner) ||
        !take_text(call, "uuid", &ret->lease.uuid) ||
        !take_integer(call, "count", 1, UID_END - 1, &count) || !take_timeout(call, &ret->timeout))
        return false;
    ret->lease.pool = owner.pool;
    ret->lease.domid = owner.domid;
    ret->lease.name = owner.name;
    ret->lease.count = (uint32_t)count;
    return true;
}

static void method_lease(struct call *call, void *userdata)
{
    struct methods *m = userdata;
    struct grant_request request = {.lease = UIDPOOL_LEASE_REQUEST_INIT};
    struct problem p = {0};
    char uuid[UIDPOOL_UUID_LEN + 1];
    struct pending *pending;

    if (!take_lease(call, &request))
        return;
    if (request_check_lease(&request.lease, uuid, &p) != UIDPOOL_OK) {
        refuse(call, &p,
               &(struct subject){request.lease.pool, UIDPOOL_NO_UID, request.lease.domid});
        return;
    }
    request.lease.uuid = uuid[0] ? uuid : NULL;
    pending = pending_new(m, call, request.lease.pool, UIDPOOL_NO_UID, request.lease.domid);
    if (!pending)
        return;
    if (granter_add(m->daemon->allocator.granter, &request, on_granted, pending) < 0) {
        pending_free(pending);
        refuse_memory(call);
    }
}

/*
 * Release.
 */

static void release_settle(struct pending *pending)
{
    struct call *call = pending->call;
    enum uidpool_status status = pending->problem.status;
    json_t *parameters;

    if (--pending->waiting > 0)
        return;
    if (status == UIDPOOL_OK)
        parameters = describe_as("released", take_ptr(pending->released));
    else
        parameters = describe_failure(pending);
    pending_free(pending);
    if (status == UIDPOOL_OK)
        call_reply(call, parameters);
    else
        call_error(call, describe_error(status), parameters);
}

/* The first problem is told, as the command does: later ones are often its echo. But what survives
 * is told before anything else. */
static void release_failed(struct pending *pending, const struct uidpool_lease *lease,
                           const struct problem *p)
{
    if (pending->problem.status == UIDPOOL_NOT_PROVEN ||
        (pending->problem.status != UIDPOOL_OK && p->status != UIDPOOL_NOT_PROVEN))
        return;
    pending->problem = *p;
    pending->problem_lease = *lease;
}

static void release_add(struct pending *pending, const struct uidpool_lease *lease)
{
    struct problem p = {0};

    if (json_array_append_new(pending->released, describe_released(lease)) < 0) {
        (void)problem_set(&p, UIDPOOL_FAILED,
                          "pool %s, uid %u: released, but there is no memory to say so",
                          lease->pool, lease->uid);
        release_failed(pending, lease, &p);
    }
}

static void on_released(const struct outcome *outcome, void *userdata)
{
    struct pending *pending = userdata;

    if (outcome->problem->status == UIDPOOL_OK)
        release_add(pending, outcome->lease);
    else
        release_failed(pending, outcome->lease, outcome->problem);
    add_survivors(pending, outcome);
    release_settle(pending);
}

static void release_all(struct pending *pending, const struct lease_list *live, int64_t timeout)
{
    struct revocations *revocations = pending->methods->daemon->revocations;
    struct problem p = {0};

    for (size_t i = 0; i < live->n; i++) {
        const struct uidpool_lease *lease = &live->items[i];

        pending->waiting++;
        /* There 0 is the usual time; here it is a try without waiting. */
        if (revocations_add(revocations, lease, true, timeout > 0 ? timeout : 1, on_released,
                            pending) == 0)
            continue;
        pending->waiting--;
        (void)problem_set(&p, UIDPOOL_FAILED, "pool %s, uid %u: no memory for the release",
                          lease->pool, lease->uid);
        release_failed(pending, lease, &p);
    }
}

static bool take_release(struct call *call, struct uidpool_selector *ret, int64_t *ret_timeout)
{
    static const char *const known[] = {"pool", "domid", "name", "uid", "timeout", NULL};
    struct problem p = {0};

    if (!only_known(call, known) || !take_selector(call, ret) || !take_timeout(call, ret_timeout))
        return false;
    if (request_check_release(ret, &p) == UIDPOOL_OK)
        return true;
    refuse(call, &p, &(struct subject){ret->pool, ret->uid, ret->domid});
    return false;
}

static void method_release(struct call *call, void *userdata)
{
    struct methods *m = userdata;
    _cleanup_(lease_list_clear) struct lease_list live = {0}, over = {0};
    struct uidpool_selector selector = UIDPOOL_SELECTOR_INIT;
    struct problem p = {0};
    struct pending *pending;
    int64_t timeout;

    if (!take_release(call, &selector, &timeout))
        return;
    if (allocator_release_which(&m->daemon->allocator, &selector, &live, &over, &p) != UIDPOOL_OK) {
        refuse(call, &p, &(struct subject){selector.pool, selector.uid, selector.domid});
        return;
    }
    pending = pending_new(m, call, selector.pool, selector.uid, selector.domid);
    if (!pending)
        return;
    pending->waiting = 1; /* until all were added */
    release_all(pending, &live, timeout);
    for (size_t i = 0; i < over.n; i++)
        release_add(pending, &over.items[i]);
    release_settle(pending);
}

/*
 * Describe, List, History, Subscribe.
 */

static void method_describe(struct call *call, void *userdata)
{
    static const char *const known[] = {"uid", NULL};
    struct methods *m = userdata;
    struct uidpool_lease lease;
    struct problem p = {0};
    uid_t uid = UIDPOOL_NO_UID;
    enum uidpool_status status;

    if (!only_known(call, known) || !take_uid(call, &uid))
        return;
    if (uid == UIDPOOL_NO_UID) {
        call_invalid(call, "uid");
        return;
    }
    status = ledger_lease_at(m->daemon->allocator.ledger, uid, 1, &lease, &p);
    if (status == UIDPOOL_OK)
        call_reply(call, describe_as("lease", describe_lease(&lease)));
    else if (status == UIDPOOL_NOT_FOUND)
        call_reply(call, describe_as("lease", json_null()));
    else
        refuse(call, &p, &(struct subject){NULL, uid, UIDPOOL_NO_DOMID});
}

static void method_list(struct call *call, void *userdata)
{
    static const char *const known[] = {"pool", NULL};
    struct methods *m = userdata;
    struct uidpool_selector selector = UIDPOOL_SELECTOR_INIT;
    struct uidpool_pool pool;
    struct problem p = {0};
    enum uidpool_status status;

    if (!only_known(call, known) || !take_text(call, "pool", &selector.pool))
        return;
    status = request_check_selector(&selector, &p);
    if (status == UIDPOOL_OK && selector.pool)
        status = ledger_pool_by_name(m->daemon->allocator.ledger, selector.pool, &pool, &p);
    if (status != UIDPOOL_OK) {
        refuse(call, &p, &(struct subject){selector.pool, UIDPOOL_NO_UID, UIDPOOL_NO_DOMID});
        return;
    }
    subscribe_list(m->subscribe, call, selector.pool ? &pool : NULL);
}

static void method_history(struct call *call, void *userdata)
{
    static const char *const known[] = {"pool", "uid", "domid", "name", "since", "until", NULL};
    struct methods *m = userdata;
    struct uidpool_history_query query = UIDPOOL_HISTORY_QUERY_INIT;
    struct problem p = {0};

    if (!only_known(call, known) || !take_selector(call, &query.of) ||
        !take_time(call, "since", &query.since) || !take_time(call, "until", &query.until))
        return;
    if (request_check_history(&query, &p) != UIDPOOL_OK) {
        refuse(call, &p, &(struct subject){query.of.pool, query.of.uid, query.of.domid});
        return;
    }
    subscribe_history(m->subscribe, call, &query);
}

static void method_subscribe(struct call *call, void *userdata)
{
    static const char *const known[] = {"after", NULL};
    struct methods *m = userdata;
    int64_t after = -1;

    if (only_known(call, known) && take_integer(call, "after", 0, INT64_MAX, &after))
        subscribe_events(m->subscribe, call, after);
}

static const struct method methods[] = {
    {"Lease", PERMISSION_CHANGE, false, method_lease},
    {"Release", PERMISSION_CHANGE, false, method_release},
    {"Describe", PERMISSION_READ, false, method_describe},
    {"List", PERMISSION_READ, true, method_list},
    {"History", PERMISSION_INSPECT, true, method_history},
    {"Subscribe", PERMISSION_INSPECT, true, method_subscribe},
};

int methods_new(struct daemon *d, struct methods **ret)
{
    struct methods *m = calloc(1, sizeof(*m));
    int r;

    if (!m)
        return -ENOMEM;
    m->daemon = d;
    m->interface = (struct interface){.name = "io.uidpool",
                                      .description = io_uidpool,
                                      .methods = methods,
                                      .n_methods = ELEMENTS_OF(methods),
                                      .userdata = m,
                                      .refuse = refuse_peer};
    r = subscribe_new(d, &m->subscribe);
    if (r < 0) {
        free(m);
        return r;
    }
    *ret = m;
    return 0;
}

/* Their jobs are gone, or go on without anybody to tell. */
static void end_pending(struct methods *m)
{
    while (m->pending) {
        struct problem p = {0};
        struct call *call = m->pending->call;

        (void)problem_set(&p, UIDPOOL_FAILED,
                          "the daemon ends before this is done: connect again and repeat the call");
        pending_free(m->pending);
        refuse(call, &p, &SUBJECT_NONE);
    }
}

void methods_free(struct methods *m)
{
    if (!m)
        return;
    end_pending(m);
    subscribe_free(m->subscribe);
    free(m);
}

void methods_end_streams(struct methods *m)
{
    subscribe_end(m->subscribe);
}

const struct interface *methods_interface(const struct methods *m)
{
    return &m->interface;
}
