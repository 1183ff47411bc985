/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * io.systemd.UserDatabase: leased uids of pools with `resolve` as users, and as groups where each
 * has its own. Only reads the ledger, and asks no name service, whose one it is.
 *
 * A name is that of one uid, whatever pools and leases are called:
 *  - POOL-domidN for a lease by domid, POOL-NAME for one by name, for the lease's first uid;
 *  - else uidpool-UID, as for the other uids of a block, for what would be no login name, for what
 *    looks like one of the other kinds, and for what begins like the names of a pool with a longer
 *    name (the pools a and a-b, and the name b-c in a: a-b-c).
 * So every name leads to the one lease it can be of, and whether it is that lease's is compared.
 */
#include "allocator/daemon/userdb.h"

#include "allocator/daemon/message.h"
#include "allocator/daemon/stream.h"
#include "common/cleanup.h"
#include "common/ids.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "io.systemd.UserDatabase.inc"

#define ERROR(name) "io.systemd.UserDatabase." name
#define NUMBER_PREFIX "uidpool-"
#define DOMID_PREFIX "domid"

/* Leases looked at in one go, when all are wanted. */
#define LEASES_AT_ONCE 128

struct userdb {
    struct daemon *daemon;
    struct streams *streams;
    struct interface interface;
};

/* Pools that give names, in order of base. */
struct pools {
    struct uidpool_pool *items;
    size_t n;
    bool failed;
};

/* One uid of a lease, and what it is called. */
struct entry {
    const struct uidpool_pool *pool;
    struct uidpool_lease lease;
    uid_t uid;
    char name[LOGIN_NAME_MAX_LENGTH + 1];
};

/* What is asked for. */
struct question {
    bool groups;
    int64_t id;       /* or -1 */
    const char *name; /* or NULL */
};

/*
 * Pools.
 */

static void pools_clear(struct pools *pools)
{
    free(pools->items);
}

static bool add_pool(const struct uidpool_pool *pool, void *userdata)
{
    struct pools *pools = userdata;
    struct uidpool_pool *items;

    if (!pool->resolve)
        return true;
    items = reallocarray(pools->items, pools->n + 1, sizeof(*items));
    pools->failed = !items;
    if (!items)
        return false;
    pools->items = items;
    pools->items[pools->n++] = *pool;
    return true;
}

static enum uidpool_status pools_read(struct ledger *l, struct pools *ret, struct problem *p)
{
    enum uidpool_status status = ledger_pool_each(l, add_pool, ret, p);

    if (status == UIDPOOL_OK && ret->failed)
        status = problem_set(p, UIDPOOL_FAILED, "no memory for the pools");
    return status;
}

static const struct uidpool_pool *pool_of_lease(const struct pools *pools,
                                                const struct uidpool_lease *lease)
{
    for (size_t i = 0; i < pools->n; i++)
        if (pools->items[i].id == lease->pool_id)
            return &pools->items[i];
    return NULL;
}

/* The one whose names begin so: of several the one with the longest name. */
static const struct uidpool_pool *pool_of_name(const struct pools *pools, const char *name)
{
    const struct uidpool_pool *found = NULL;
    size_t longest = 0;

    for (size_t i = 0; i < pools->n; i++) {
        size_t length = strlen(pools->items[i].name);

        if (length >= longest && strncmp(name, pools->items[i].name, length) == 0 &&
            name[length] == '-') {
            found = &pools->items[i];
            longest = length;
        }
    }
    return found;
}

/*
 * Names.
 */

static bool parse_number_name(const char *name, uid_t *ret)
{
    size_t length = strlen(NUMBER_PREFIX);

    return strncmp(name, NUMBER_PREFIX, length) == 0 && parse_uid(name + length, ret) == 0;
}

static bool parse_domid_name(const char *name, int64_t *ret)
{
    size_t length = strlen(DOMID_PREFIX);

    return strncmp(name, DOMID_PREFIX, length) == 0 && parse_domid(name + length, ret) == 0;
}

static bool is_free_name(const struct pools *pools, const struct entry *e, const char *name)
{
    int64_t domid;
    uid_t uid;

    return login_name_is_valid(name) && pool_of_name(pools, name) == e->pool &&
           !parse_number_name(name, &uid) &&
           (e->lease.domid != UIDPOOL_NO_DOMID || !parse_domid_name(e->lease.name, &domid));
}

static void entry_name(const struct pools *pools, struct entry *e)
{
    char name[2 * UIDPOOL_NAME_MAX + 2];

    if (e->lease.domid != UIDPOOL_NO_DOMID)
        (void)snprintf(name, sizeof(name), "%s-" DOMID_PREFIX "%" PRId64, e->pool->name,
                       e->lease.domid);
    else
        (void)snprintf(name, sizeof(name), "%s-%s", e->pool->name, e->lease.name);
    if (e->uid == e->lease.uid && is_free_name(pools, e, name))
        (void)snprintf(e->name, sizeof(e->name), "%.*s", LOGIN_NAME_MAX_LENGTH, name);
    else
        (void)snprintf(e->name, sizeof(e->name), NUMBER_PREFIX "%" PRIu32, e->uid);
}

/* Does the lease's owner run with a gid of its own? By what the lease has: the pool's rule may have
 * changed since. */
static bool has_group(const struct entry *e)
{
    return e->pool->group_per_uid && e->lease.gid == e->lease.uid;
}

/* False: the lease gives none of what is asked for. Who rests or is held is nobody's. */
static bool entry_fill(const struct pools *pools, const struct uidpool_lease *lease, uid_t uid,
                       bool groups, struct entry *ret)
{
    struct entry e = {.pool = pool_of_lease(pools, lease), .lease = *lease, .uid = uid};

    if (!e.pool ||
        (lease->state != UIDPOOL_STATE_LEASED && lease->state != UIDPOOL_STATE_REVOKING) ||
        (groups && !has_group(&e)))
        return false;
    entry_name(pools, &e);
    *ret = e;
    return true;
}

/* Of the heap, and the caller's. */
static json_t *describe_entry(const struct entry *e, bool groups)
{
    char owner[UIDPOOL_NAME_MAX + 8], words[2 * UIDPOOL_NAME_MAX + 64];

    (void)snprintf(words, sizeof(words), "Device model of %s, pool %s",
                   lease_owner(&e->lease, owner, sizeof(owner)), e->pool->name);
    for (char *c = words; *c; c++)
        if (*c == ':') /* ends the field in passwd(5) */
            *c = '.';
    if (groups)
        return json_pack("{s:{s:s, s:I, s:s, s:s, s:s}, s:b}", "record", "groupName", e->name,
                         "gid", (json_int_t)e->uid, "description", words, "service", USERDB_SERVICE,
                         "disposition", "dynamic", "incomplete", 0);
    return json_pack("{s:{s:s, s:I, s:I, s:s, s:s, s:s, s:b, s:s, s:s}, s:b}", "record", "userName",
                     e->name, "uid", (json_int_t)e->uid, "gid",
                     (json_int_t)(has_group(e) ? e->uid : e->lease.gid), "realName", words,
                     "homeDirectory", "/", "shell", "/usr/sbin/nologin", "locked", 1, "service",
                     USERDB_SERVICE, "disposition", "dynamic", "incomplete", 0);
}

/*
 * One of them.
 */

static enum uidpool_status find_by_id(struct ledger *l, const struct pools *pools, uid_t uid,
                                      bool groups, struct entry *ret, struct problem *p)
{
    struct uidpool_lease lease;
    enum uidpool_status status = ledger_lease_at(l, uid, 1, &lease, p);

    if (status == UIDPOOL_OK && !entry_fill(pools, &lease, uid, groups, ret))
        status = UIDPOOL_NOT_FOUND;
    return status;
}

struct search {
    const struct pools *pools;
    const struct question *question;
    struct entry entry;
    bool found;
};

static bool is_it(const struct uidpool_lease *lease, void *userdata)
{
    struct search *s = userdata;

    s->found = entry_fill(s->pools, lease, lease->uid, s->question->groups, &s->entry) &&
               strcmp(s->entry.name, s->question->name) == 0;
    return !s->found;
}

static enum uidpool_status find_by_name(struct ledger *l, const struct pools *pools,
                                        const struct question *q, struct entry *ret,
                                        struct problem *p)
{
    struct search search = {.pools = pools, .question = q};
    struct uidpool_selector selector = UIDPOOL_SELECTOR_INIT;
    const struct uidpool_pool *pool = pool_of_name(pools, q->name);
    enum uidpool_status status;
    uid_t uid;

    if (parse_number_name(q->name, &uid)) {
        status = find_by_id(l, pools, uid, q->groups, &search.entry, p);
        search.found = status == UIDPOOL_OK && strcmp(search.entry.name, q->name) == 0;
    } else if (pool && login_name_is_valid(q->name)) {
        selector.pool = pool->name;
        selector.name = q->name + strlen(pool->name) + 1;
        if (parse_domid_name(selector.name, &selector.domid))
            selector.name = NULL;
        status = ledger_lease_each(l, &selector, is_it, &search, p);
    } else
        return UIDPOOL_NOT_FOUND;
    if (status == UIDPOOL_OK && !search.found)
        status = UIDPOOL_NOT_FOUND;
    if (status == UIDPOOL_OK)
        *ret = search.entry;
    return status;
}

static void answer_unavailable(struct call *call, const struct problem *p)
{
    (void)p; /* the interface has no room for it */
    call_error(call, ERROR("ServiceNotAvailable"), NULL);
}

static void answer_none(struct call *call)
{
    call_error(call, ERROR("NoRecordFound"), NULL);
}

static void answer_one(struct userdb *u, struct call *call, const struct question *q)
{
    _cleanup_(pools_clear) struct pools pools = {0};
    struct ledger *l = u->daemon->allocator.ledger;
    struct problem p = {0};
    struct entry e, other;
    enum uidpool_status status = pools_read(l, &pools, &p);

    if (status == UIDPOOL_OK)
        status = q->id >= 0 ? find_by_id(l, &pools, (uid_t)q->id, q->groups, &e, &p)
                            : find_by_name(l, &pools, q, &e, &p);
    if (status == UIDPOOL_OK && q->name && strcmp(e.name, q->name) != 0)
        status = UIDPOOL_CONFLICT;
    else if (status == UIDPOOL_NOT_FOUND && q->id >= 0 && q->name) {
        status = find_by_name(l, &pools, q, &other, &p);
        if (status == UIDPOOL_OK)
            status = UIDPOOL_CONFLICT;
    }
    if (status == UIDPOOL_OK)
        call_reply(call, describe_entry(&e, q->groups));
    else if (status == UIDPOOL_NOT_FOUND)
        answer_none(call);
    else if (status == UIDPOOL_CONFLICT)
        call_error(call, ERROR("ConflictingRecordFound"), NULL);
    else
        answer_unavailable(call, &p);
}

/*
 * All of them.
 */

struct walk {
    struct userdb *userdb;
    bool groups;
    uint64_t next; /* the first uid that was not looked at */
};

static bool take_lease(const struct uidpool_lease *lease, void *userdata)
{
    *(struct uidpool_lease *)userdata = *lease;
    return false;
}

/* The lease that has `uid`, or the first behind it, if it begins before `end`. */
static enum uidpool_status lease_from(struct ledger *l, uid_t uid, uint64_t end,
                                      struct uidpool_lease *ret, struct problem *p)
{
    struct uidpool_lease lease = {0};
    enum uidpool_status status = ledger_lease_at(l, uid, 1, &lease, p);

    if (status == UIDPOOL_NOT_FOUND) {
        status = ledger_lease_each_after(l, NULL, uid, take_lease, &lease, p);
        if (status == UIDPOOL_OK && (lease.uid == 0 || lease.uid >= end))
            status = UIDPOOL_NOT_FOUND;
    }
    if (status == UIDPOOL_OK)
        *ret = lease;
    return status;
}

/* Its uids from `next` on, as many as have room. */
static void walk_lease(struct walk *w, const struct pools *pools, const struct uidpool_lease *lease,
                       struct stream_page *page)
{
    uint64_t end = (uint64_t)lease->uid + lease->count;
    struct entry e;

    if (w->next < lease->uid)
        w->next = lease->uid;
    while (w->next < end && page->n < STREAM_PAGE && !page->failed) {
        if (!entry_fill(pools, lease, (uid_t)w->next, w->groups, &e)) {
            w->next = end;
            return;
        }
        w->next++;
        (void)stream_add(page, describe_entry(&e, w->groups));
    }
}

static const struct uidpool_pool *pool_from(const struct pools *pools, uint64_t uid)
{
    for (size_t i = 0; i < pools->n; i++)
        if (uid < (uint64_t)pools->items[i].base + pools->items[i].size)
            return &pools->items[i];
    return NULL;
}

static enum uidpool_status read_entries(void *state, struct stream_page *page, bool *ret_over,
                                        struct problem *p)
{
    _cleanup_(pools_clear) struct pools pools = {0};
    struct walk *w = state;
    struct ledger *l = w->userdb->daemon->allocator.ledger;
    struct uidpool_lease lease;
    enum uidpool_status status = pools_read(l, &pools, p);

    for (unsigned i = 0; i < LEASES_AT_ONCE && status == UIDPOOL_OK && page->n < STREAM_PAGE; i++) {
        const struct uidpool_pool *pool = pool_from(&pools, w->next);

        *ret_over = !pool;
        if (!pool)
            break;
        if (w->next < pool->base)
            w->next = pool->base;
        uint64_t end = (uint64_t)pool->base + pool->size;
        status = lease_from(l, (uid_t)w->next, end, &lease, p);
        if (status == UIDPOOL_OK)
            walk_lease(w, &pools, &lease, page);
        else if (status == UIDPOOL_NOT_FOUND) {
            w->next = end;
            status = UIDPOOL_OK;
        }
    }
    return status;
}

static void answer_all(struct userdb *u, struct call *call, bool groups)
{
    static const struct stream_kind kind = {read_entries, answer_none, answer_unavailable};
    struct walk *w;

    if (!call_wants_more(call)) {
        call_error(call, ERROR("EnumerationNotSupported"), NULL);
        return;
    }
    w = calloc(1, sizeof(*w));
    if (!w) {
        answer_unavailable(call, NULL);
        return;
    }
    w->userdb = u;
    w->groups = groups;
    stream_begin(u->streams, call, &kind, w);
}

/*
 * Calls.
 */

/* Members that came with later systemds are refused by their name; it asks again without. */
static bool check_call(struct call *call, const char *const *known)
{
    const char *unknown = message_unknown(call_parameters(call), known), *service = NULL;

    if (unknown)
        call_invalid(call, unknown);
    else if (message_get_text(call_parameters(call), "service", &service) < 0)
        call_invalid(call, "service");
    else if (!service || strcmp(service, USERDB_SERVICE) != 0)
        call_error(call, ERROR("BadService"), NULL);
    else
        return true;
    return false;
}

static void answer_records(struct userdb *u, struct call *call, bool groups)
{
    const char *id = groups ? "gid" : "uid", *name = groups ? "groupName" : "userName";
    const char *const known[] = {id, name, "service", NULL};
    struct question q = {.groups = groups, .id = -1};

    if (!check_call(call, known))
        return;
    if (message_get_integer(call_parameters(call), id, 0, UIDPOOL_NO_UID - 1, &q.id) < 0)
        call_invalid(call, id);
    else if (message_get_text(call_parameters(call), name, &q.name) < 0)
        call_invalid(call, name);
    else if (q.id < 0 && !q.name)
        answer_all(u, call, groups);
    else
        answer_one(u, call, &q);
}

static void method_users(struct call *call, void *userdata)
{
    answer_records(userdata, call, false);
}

static void method_groups(struct call *call, void *userdata)
{
    answer_records(userdata, call, true);
}

static void method_memberships(struct call *call, void *userdata)
{
    static const char *const known[] = {"userName", "groupName", "service", NULL};
    const char *name;

    (void)userdata;
    if (!check_call(call, known))
        return;
    for (size_t i = 0; i < 2; i++)
        if (message_get_text(call_parameters(call), known[i], &name) < 0) {
            call_invalid(call, known[i]);
            return;
        }
    answer_none(call);
}

static const struct method methods[] = {
    {"GetUserRecord", PERMISSION_ANYONE, false, method_users},
    {"GetGroupRecord", PERMISSION_ANYONE, false, method_groups},
    {"GetMemberships", PERMISSION_ANYONE, false, method_memberships},
};

int userdb_new(struct daemon *d, struct userdb **ret)
{
    struct userdb *u = calloc(1, sizeof(*u));
    int r;

    if (!u)
        return -ENOMEM;
    u->daemon = d;
    u->interface = (struct interface){.name = "io.systemd.UserDatabase",
                                      .description = io_systemd_UserDatabase,
                                      .methods = methods,
                                      .n_methods = ELEMENTS_OF(methods),
                                      .userdata = u};
    r = streams_new(d->event, &u->streams);
    if (r < 0) {
        free(u);
        return r;
    }
    *ret = u;
    return 0;
}

void userdb_free(struct userdb *u)
{
    if (!u)
        return;
    streams_free(u->streams);
    free(u);
}

const struct interface *userdb_interface(const struct userdb *u)
{
    return &u->interface;
}
