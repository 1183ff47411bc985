/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Following, put together: what the helper says (xenhelper.h) and what the ledger has go into a
 * plan (follow-plan.h), and what comes out goes to the granter, to the revocations, to the store
 * and to the journal. Reads the ledger; all that is written there is the jobs' business.
 */
#include "allocator/daemon/follow.h"

#include "allocator/daemon/follow-plan.h"
#include "allocator/daemon/journal.h"
#include "allocator/daemon/revocations.h"
#include "allocator/daemon/xenhelper.h"
#include "allocator/lease/granter.h"
#include "build_config.h"
#include "common/cleanup.h"
#include "common/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#define HELPER_PATH UIDPOOL_HELPER_DIR "/uidpool-xenwatch"

/* Microseconds after a commit, or a scan, until we look: what comes together is looked at once. */
#define SOON (5 * USEC_PER_MSEC)
/* And so many times as long as the last look took, so that leases go first. */
#define PAUSE_FACTOR 5
/* After a look at the ledger that failed. */
#define LEDGER_AGAIN (5 * USEC_PER_SEC)
/* In case nobody tells of a commit: no watch could be had. */
#define LOOK_ALWAYS (60 * USEC_PER_SEC)
/* Longer than anybody waits for the guard's answer. */
#define QUESTION_PATIENCE (10 * USEC_PER_SEC)
/* What a request for a lease may take: it may wait for another job on its uid. */
#define LEASE_TIMEOUT (UIDPOOL_TIMEOUT_USUAL * USEC_PER_SEC)

struct follow {
    struct daemon *d;
    const char *socket;
    void (*changed)(void *userdata);
    void *userdata;
    struct xenhelper *helper; /* NULL: no pool follows */
    sd_event_source *timer, *commits;
    int64_t look_at, looked_at, look_took;

    bool scanning, connected; /* `incoming` is filled; `view` is true */
    bool unreachable;         /* there is no store, as far as we know */
    struct follow_view view, incoming;
    size_t room;                                /* of incoming.domains */
    uint64_t connection, incoming_connection;   /* as the helper counts them */
    uint64_t sight;                             /* as we do, over all helpers */
    unsigned char wanted[(DOMID_LAST + 8) / 8]; /* told to the helper */

    struct uidpool_pool *pools;
    struct uidpool_lease *leases;
    size_t n_pools, n_leases, pools_room, leases_room;
    int64_t newest_event;
    bool no_memory; /* while reading them */
    bool failed;    /* to read them, and told */
    char ledger[48];

    struct follow_memory memory;
    struct follow_request *requests;
    struct revocation_guard guard;
    struct follow_question *questions;
    int64_t questions_since;
    char why[XENWATCH_TEXT_MAX + 1]; /* there is no connection */
    char status[XENWATCH_TEXT_MAX + 64];
};

/* A lease that was asked for. */
struct follow_request {
    struct follow *follow;
    struct follow_request *next;
    struct uidpool_lease wanted; /* what is known of it, for the journal */
};

/* Look then, or earlier. */
static void look_at(struct follow *f, int64_t at)
{
    int64_t least = f->looked_at + PAUSE_FACTOR * f->look_took;

    if (at < least)
        at = least;
    if (f->look_at != 0 && f->look_at <= at)
        return;
    f->look_at = at;
    if (sd_event_source_set_time(f->timer, (uint64_t)at) < 0 ||
        sd_event_source_set_enabled(f->timer, SD_EVENT_ONESHOT) < 0)
        journal_say(LOG_ERR, "no timer, so xenstore is not followed any more");
}

static void look_soon(struct follow *f)
{
    look_at(f, clock_monotonic_usec() + SOON);
}

static void status_changed(struct follow *f)
{
    if (f->changed)
        f->changed(f->userdata);
}

/*
 * The guard.
 */

/* A question that waits until there is somebody who can be asked. */
struct follow_question {
    struct follow_question *next;
    struct uidpool_lease lease;
    int answer_fd;
};

static int ask_store(struct follow *f, const struct uidpool_lease *lease, int answer_fd)
{
    struct xenwatch_message m = {.kind = XENWATCH_ASK,
                                 .connection = f->connection,
                                 .domid = lease->domid,
                                 .uid = UIDPOOL_NO_UID};
    const char *uuid = "";

    if (!follow_guard(&f->memory, lease, &uuid))
        return -ENOTCONN;
    (void)snprintf(m.uuid, sizeof(m.uuid), "%s", uuid);
    return xenhelper_send(f->helper, &m, answer_fd);
}

static int keep_question(struct follow *f, const struct uidpool_lease *lease, int *answer_fd)
{
    struct follow_question *q = malloc(sizeof(*q));

    if (!q)
        return -ENOMEM;
    if (!f->questions)
        f->questions_since = clock_monotonic_usec();
    *q = (struct follow_question){f->questions, *lease, take_fd(answer_fd)};
    f->questions = q;
    return 0;
}

/* Ask them all, or answer with silence: that it cannot be told. */
static void end_questions(struct follow *f, bool ask)
{
    while (f->questions) {
        struct follow_question *q = f->questions;

        f->questions = q->next;
        if (ask)
            (void)ask_store(f, &q->lease, q->answer_fd);
        close_fd(q->answer_fd);
        free(q);
    }
}

static int guard_ask(const struct uidpool_lease *lease, void *userdata)
{
    struct follow *f = userdata;
    _cleanup_fd_ int ours = -1, its = -1;
    int fds[2], r;

    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    ours = fds[0];
    its = fds[1];
    if (f->connected && f->memory.marked)
        r = ask_store(f, lease, its);
    else if (f->unreachable)
        r = -ENOTCONN;
    else
        r = keep_question(f, lease, &its); /* we have just begun */
    return r < 0 ? r : take_fd(&ours);
}

static enum revocation_permission guard_answer(int fd, void *userdata)
{
    char said = '\0';
    ssize_t n;

    (void)userdata;
    do
        n = read(fd, &said, sizeof(said));
    while (n < 0 && errno == EINTR);
    if (n == 1 && said == XENWATCH_MAY)
        return REVOCATION_ALLOWED;
    return n == 1 && said == XENWATCH_MAY_NOT ? REVOCATION_FORBIDDEN : REVOCATION_UNKNOWN;
}

/* Also where the pool cannot be read: then the answer will be that nobody knows. */
static const struct revocation_guard *choose_guard(const struct uidpool_lease *lease,
                                                   void *userdata)
{
    struct follow *f = userdata;
    struct uidpool_pool pool;

    if (lease->domid <= 0)
        return NULL;
    if (ledger_pool_by_id(f->d->allocator.ledger, lease->pool_id, &pool, NULL) == UIDPOOL_OK &&
        !pool.follow)
        return NULL;
    return &f->guard;
}

/*
 * What the helper says.
 */

static void view_clear(struct follow_view *v)
{
    free(v->domains);
    *v = (struct follow_view){0};
}

static void lose_view(struct follow *f, const char *why)
{
    if (f->connected)
        journal_say(LOG_WARNING, "xenstore is not followed until it is back: %s", why);
    else if (!f->unreachable)
        journal_say(LOG_NOTICE, "xenstore is not there yet, and waited for: %s", why);
    f->scanning = f->connected = false;
    f->unreachable = true;
    end_questions(f, false);
    follow_memory_interrupted(&f->memory);
    (void)snprintf(f->why, sizeof(f->why), "%s", why);
    status_changed(f);
}

/* In order of domid, as the helper looks at them; anything else is no scan. */
static bool add_domain(struct follow *f, const struct xenwatch_message *m)
{
    struct follow_view *v = &f->incoming;
    struct follow_domain d = {.domid = m->domid, .kill_uid = m->uid};

    if (v->n_domains > 0 && v->domains[v->n_domains - 1].domid >= m->domid)
        return false;
    if (v->n_domains == f->room) {
        size_t room = f->room ? f->room * 2 : 64;
        struct follow_domain *all = reallocarray(v->domains, room, sizeof(*all));

        if (!all)
            return false;
        v->domains = all;
        f->room = room;
    }
    memcpy(d.uuid, m->uuid, sizeof(d.uuid));
    memcpy(d.name, m->name, sizeof(d.name));
    v->domains[v->n_domains++] = d;
    return true;
}

static void end_scan(struct follow *f)
{
    bool news = !f->connected || f->view.n_domains != f->incoming.n_domains;

    f->scanning = false;
    if (!f->connected || f->connection != f->incoming_connection)
        f->sight++;
    if (!f->connected)
        journal_say(LOG_INFO, "following xenstore, with %zu domains", f->incoming.n_domains);
    view_clear(&f->view);
    f->view = f->incoming;
    f->incoming = (struct follow_view){0};
    f->room = 0;
    f->connection = f->incoming_connection;
    f->connected = true;
    f->unreachable = false;
    look_soon(f);
    if (news)
        status_changed(f);
}

static void on_said(const struct xenwatch_message *m, void *userdata)
{
    struct follow *f = userdata;

    switch (m->kind) {
    case XENWATCH_DOWN:
        lose_view(f, m->text);
        break;
    case XENWATCH_SCAN:
        view_clear(&f->incoming);
        f->room = 0;
        f->scanning = true;
        f->incoming_connection = m->connection;
        break;
    case XENWATCH_MARKER:
        memcpy(f->incoming.marker, m->text, sizeof(f->incoming.marker));
        break;
    case XENWATCH_DOMAIN:
        f->scanning = f->scanning && add_domain(f, m);
        break;
    case XENWATCH_ABSENT:
        f->incoming.absent[m->domid / 8] |= (unsigned char)(1u << (m->domid % 8));
        break;
    case XENWATCH_END:
        if (f->scanning)
            end_scan(f);
        break;
    case XENWATCH_ALIVE:
    case XENWATCH_WANT:
    case XENWATCH_AGAIN:
    case XENWATCH_MARK:
    case XENWATCH_KILL_UID:
    case XENWATCH_ASK:
    default:
        break;
    }
}

/* It knows nothing yet, and must know what we want before its first scan. */
static void on_began(void *userdata)
{
    struct follow *f = userdata;

    memset(f->wanted, 0, sizeof(f->wanted));
    (void)snprintf(f->why, sizeof(f->why), "no answer yet");
    f->look_at = 0;
    look_at(f, 0);
}

static void on_ended(void *userdata)
{
    lose_view(userdata, "it does not answer");
}

static void say(struct follow *f, const struct xenwatch_message *m)
{
    /* What was not heard is said again, as long as the store shows that it was not. */
    if (xenhelper_send(f->helper, m, -1) < 0)
        look_at(f, clock_monotonic_usec() + USEC_PER_SEC);
}

/* The domids of leases, each once. */
static void tell_wanted(struct follow *f)
{
    struct xenwatch_message m = {.kind = XENWATCH_WANT, .uid = UIDPOOL_NO_UID};
    const struct xenwatch_message again = {.kind = XENWATCH_AGAIN, .uid = UIDPOOL_NO_UID};
    bool any = false;

    for (size_t i = 0; i <= f->n_leases; i++) {
        int64_t domid = i < f->n_leases ? f->leases[i].domid : 0;
        bool is_new = domid > 0 && !(f->wanted[domid / 8] >> (domid % 8) & 1);

        if (is_new)
            m.wanted[m.n_wanted++] = domid;
        if (m.n_wanted == XENWATCH_WANT_MAX || (i == f->n_leases && m.n_wanted > 0)) {
            if (xenhelper_send(f->helper, &m, -1) < 0) {
                look_at(f, clock_monotonic_usec() + USEC_PER_SEC);
                return;
            }
            for (size_t j = 0; j < m.n_wanted; j++)
                f->wanted[m.wanted[j] / 8] |= (unsigned char)(1u << (m.wanted[j] % 8));
            m.n_wanted = 0;
            any = true;
        }
    }
    if (any)
        say(f, &again);
}

/*
 * What the ledger has.
 */

static void *make_room(void *items, size_t n, size_t *room, size_t size)
{
    void *all = items;

    if (n == *room) {
        all = reallocarray(items, *room ? *room * 2 : 16, size);
        if (all)
            *room = *room ? *room * 2 : 16;
    }
    return all;
}

static bool add_pool(const struct uidpool_pool *pool, void *userdata)
{
    struct follow *f = userdata;
    struct uidpool_pool *all;

    if (!pool->follow)
        return true;
    all = make_room(f->pools, f->n_pools, &f->pools_room, sizeof(*all));
    if (!all) {
        f->no_memory = true;
        return false;
    }
    f->pools = all;
    f->pools[f->n_pools++] = *pool;
    return true;
}

static bool add_lease(const struct uidpool_lease *lease, void *userdata)
{
    struct follow *f = userdata;
    struct uidpool_lease *all = make_room(f->leases, f->n_leases, &f->leases_room, sizeof(*all));

    if (!all) {
        f->no_memory = true;
        return false;
    }
    f->leases = all;
    f->leases[f->n_leases++] = *lease;
    return true;
}

static enum uidpool_status read_all(struct follow *f, struct problem *p)
{
    struct ledger *l = f->d->allocator.ledger;
    struct uidpool_selector of = UIDPOOL_SELECTOR_INIT;
    enum uidpool_status status = ledger_pool_each(l, add_pool, f, p);

    for (size_t i = 0; i < f->n_pools && status == UIDPOOL_OK; i++) {
        of.pool = f->pools[i].name;
        status = ledger_lease_each(l, &of, add_lease, f, p);
    }
    if (status == UIDPOOL_OK)
        status = ledger_history_newest(l, &f->newest_event, p);
    if (status == UIDPOOL_OK && f->no_memory)
        status = problem_errno(p, -ENOMEM, "the leases of pools that follow");
    return status;
}

static bool read_ledger(struct follow *f)
{
    struct ledger *l = f->d->allocator.ledger;
    struct problem p = {0};
    enum uidpool_status status;

    f->n_pools = f->n_leases = 0;
    f->no_memory = false;
    status = ledger_begin_read(l, &p);
    if (status == UIDPOOL_OK)
        status = read_all(f, &p);
    ledger_rollback(l);
    if (status != UIDPOOL_OK) {
        if (!f->failed)
            journal_say(LOG_ERR, "xenstore is not followed: %s. Trying on", p.text);
        look_at(f, clock_monotonic_usec() + LEDGER_AGAIN);
    }
    f->failed = status != UIDPOOL_OK;
    return !f->failed;
}

/*
 * What is to be done.
 */

/* "domid 5 (web, 1111...)", for messages. */
static const char *describe(const struct follow_domain *d, char *buf, size_t size)
{
    (void)snprintf(buf, size, "domid %" PRId64 " (%s%s%s)", d->domid, d->name[0] ? d->name : "",
                   d->name[0] ? ", " : "", d->uuid[0] ? d->uuid : "no uuid");
    return buf;
}

static void forget_request(struct follow_request *request)
{
    struct follow_request **at = &request->follow->requests;

    while (*at != request)
        at = &(*at)->next;
    *at = request->next;
    free(request);
}

static void on_leased(const struct outcome *outcome, void *userdata)
{
    struct follow_request *request = userdata;
    struct follow *f = request->follow;
    const struct uidpool_lease *wanted = &request->wanted;
    bool failed = outcome->problem->status != UIDPOOL_OK;

    if (follow_memory_leased(&f->memory, wanted->pool_id, wanted->domid, wanted->uuid, failed,
                             clock_monotonic_usec()))
        journal_lease(LOG_WARNING, JOURNAL_REFUSED, wanted,
                      "domid %" PRId64
                      " runs without a lease of its uid: %s. It is tried again when something "
                      "changes, and now and then",
                      wanted->domid, outcome->problem->text);
    if (!failed && !outcome->lease->existing)
        journal_lease(LOG_INFO, JOURNAL_LEASED, outcome->lease,
                      "pool %s: leased uid %u for domid %" PRId64 ", seen in xenstore",
                      outcome->lease->pool, outcome->lease->uid, outcome->lease->domid);
    forget_request(request);
    look_soon(f);
}

static int ask_for_lease(struct follow *f, const struct follow_action *a)
{
    struct follow_request *request = calloc(1, sizeof(*request));
    struct grant_request wanted = {
        .lease = UIDPOOL_LEASE_REQUEST_INIT,
        .timeout = LEASE_TIMEOUT,
        .reason = FOLLOW_REASON,
        .adopt = a->adopt,
        /* libxl may say a moment later that it is this domain's. */
        .hold_nothing = true,
    };
    int r;

    if (!request)
        return -ENOMEM;
    request->follow = f;
    request->wanted.pool_id = a->pool->id;
    request->wanted.domid = a->domain->domid;
    request->wanted.count = 1;
    request->wanted.uid = a->pool->base + (uid_t)a->domain->domid;
    memcpy(request->wanted.pool, a->pool->name, sizeof(request->wanted.pool));
    memcpy(request->wanted.uuid, a->domain->uuid, sizeof(request->wanted.uuid));
    wanted.lease.pool = request->wanted.pool;
    wanted.lease.domid = request->wanted.domid;
    wanted.lease.uuid = request->wanted.uuid[0] ? request->wanted.uuid : NULL;
    r = granter_add(f->d->allocator.granter, &wanted, on_leased, request);
    if (r < 0) {
        free(request);
        return r;
    }
    request->next = f->requests;
    f->requests = request;
    return 0;
}

static void on_revoked(const struct outcome *outcome, void *userdata)
{
    struct follow *f = userdata;

    follow_memory_revoked(&f->memory, outcome->lease->id, outcome->problem->status != UIDPOOL_OK,
                          clock_monotonic_usec());
    look_soon(f);
}

static int revoke_lease(struct follow *f, const struct uidpool_lease *lease)
{
    journal_lease(LOG_INFO, JOURNAL_PLAIN, lease,
                  "pool %s: domid %" PRId64 " has gone; revoking uid %u", lease->pool, lease->domid,
                  lease->uid);
    return revocations_add(f->d->revocations, lease, false, 0, on_revoked, f);
}

static void tell_next_owner(const struct follow_action *a)
{
    char who[160];

    journal_lease(
        LOG_WARNING, JOURNAL_NEXT_OWNER, a->lease,
        "%s is there, while uid %u (pool %s) is still the lease of another before it%s%s. "
        "Nothing of that uid is killed until this one has gone too; it has no lease of "
        "its own",
        describe(a->domain, who, sizeof(who)), a->lease->uid, a->lease->pool,
        a->lease->uuid[0] ? ", uuid " : "", a->lease->uuid);
}

static void tell_store_lost(const struct follow_action *a)
{
    journal_lease(LOG_ERR, JOURNAL_STORE_LOST, a->lease,
                  "xenstore does not know us: it was restarted and lost what it knew, or we meet "
                  "it for the first time. %zu leases (uid %u of domid %" PRId64
                  ", ...) are of domains that it does not know; they stay. Release those whose "
                  "domain has gone",
                  a->count, a->lease->uid, a->lease->domid);
}

static void write_kill_uid(struct follow *f, const struct follow_action *a)
{
    struct xenwatch_message m = {
        .kind = XENWATCH_KILL_UID, .domid = a->domain->domid, .uid = a->uid};

    memcpy(m.uuid, a->domain->uuid, sizeof(m.uuid));
    say(f, &m);
}

static void write_marker(struct follow *f, const struct follow_action *a)
{
    struct xenwatch_message m = {
        .kind = XENWATCH_MARK, .connection = f->connection, .uid = UIDPOOL_NO_UID};

    follow_marker(f->ledger, a->since, a->lost, m.text, sizeof(m.text));
    say(f, &m);
}

static int carry_out(struct follow *f, const struct follow_action *a)
{
    switch (a->kind) {
    case FOLLOW_LEASE:
        return ask_for_lease(f, a);
    case FOLLOW_REVOKE:
        return revoke_lease(f, a->lease);
    case FOLLOW_RETRY:
        revocations_retry(f->d->revocations, a->lease->id);
        break;
    case FOLLOW_KILL_UID:
        write_kill_uid(f, a);
        break;
    case FOLLOW_MARK:
        write_marker(f, a);
        break;
    case FOLLOW_NEXT_OWNER:
        tell_next_owner(a);
        break;
    case FOLLOW_STORE_LOST:
        tell_store_lost(a);
        break;
    }
    return 0;
}

/* What was not carried out must not be remembered as such; to forget is the safe side. */
static void plan(struct follow *f)
{
    struct follow_facts facts = {
        .view = &f->view,
        .connection = f->sight,
        .pools = f->pools,
        .n_pools = f->n_pools,
        .leases = f->leases,
        .n_leases = f->n_leases,
        .ledger = f->ledger,
        .newest_event = f->newest_event,
        .now = clock_monotonic_usec(),
    };
    struct follow_plan plan = {0};
    int r = follow_plan_make(&f->memory, &facts, &plan);

    for (size_t i = 0; i < plan.n && r == 0; i++)
        r = carry_out(f, &plan.actions[i]);
    if (r < 0) {
        journal_say(LOG_ERR, "following xenstore: %s; beginning anew", strerror(-r));
        follow_memory_clear(&f->memory);
        look_at(f, clock_monotonic_usec() + LEDGER_AGAIN);
    }
    if (plan.look_at)
        look_at(f, plan.look_at);
    follow_plan_clear(&plan);
    if (f->memory.marked || clock_monotonic_usec() - f->questions_since > QUESTION_PATIENCE)
        end_questions(f, f->memory.marked);
}

static const struct xenhelper_calls helper_calls = {on_began, on_said, on_ended};

/* The helper is there as long as a pool follows. */
static void mind_helper(struct follow *f)
{
    int r;

    if (f->n_pools == 0) {
        if (f->connected)
            lose_view(f, "no pool follows any more");
        end_questions(f, false);
        xenhelper_free(take_ptr(f->helper));
    } else if (!f->helper) {
        (void)snprintf(f->why, sizeof(f->why), "no answer yet");
        r = xenhelper_new(f->d->event, HELPER_PATH, f->socket, &helper_calls, f, &f->helper);
        if (r < 0)
            journal_say(LOG_ERR, "cannot follow xenstore: %s; trying on", strerror(-r));
        status_changed(f);
    }
}

static int on_look(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct follow *f = userdata;
    int64_t begin = clock_monotonic_usec();

    (void)source;
    (void)usec;
    f->look_at = 0;
    if (read_ledger(f)) {
        mind_helper(f);
        if (f->helper)
            tell_wanted(f);
        if (f->helper && f->connected)
            plan(f);
    }
    f->looked_at = clock_monotonic_usec();
    f->look_took = f->looked_at - begin;
    look_at(f, f->looked_at + LOOK_ALWAYS);
    return 0;
}

static int on_commit(sd_event_source *source, const struct inotify_event *event, void *userdata)
{
    (void)source;
    (void)event;
    look_soon(userdata);
    return 0;
}

/* The number of the file: a copy that takes its place is another ledger. */
static int name_ledger(struct follow *f)
{
    struct stat st;

    if (stat(ledger_path(f->d->allocator.ledger), &st) < 0)
        return -errno;
    (void)snprintf(f->ledger, sizeof(f->ledger), "%ju-%ju", (uintmax_t)st.st_dev,
                   (uintmax_t)st.st_ino);
    return 0;
}

/* The lock file is written behind each commit, whoever made it (db/ledger.c). Without a watch we
 * look now and then. */
static int watch_ledger(struct follow *f)
{
    _cleanup_free_ char *path = NULL;
    int r;

    if (asprintf(&path, "%s.lock", ledger_path(f->d->allocator.ledger)) < 0) {
        path = NULL;
        return -ENOMEM;
    }
    r = sd_event_add_inotify(f->d->event, &f->commits, path, IN_MODIFY, on_commit, f);
    if (r < 0)
        journal_say(LOG_WARNING, "cannot watch %s, so following is slower: %s", path, strerror(-r));
    r = sd_event_add_time(f->d->event, &f->timer, CLOCK_MONOTONIC, 0, 1, on_look, f);
    if (r < 0)
        return r;
    /* Behind whatever a client asks for. */
    r = sd_event_source_set_priority(f->timer, SD_EVENT_PRIORITY_NORMAL + 20);
    return r < 0 ? r : 0;
}

/* Before anything is revoked: which leases are older than the boot is seen only until then. */
static int remember_leases(struct follow *f)
{
    struct follow_facts facts = {.view = &f->view, .now = clock_monotonic_usec()};

    if (!read_ledger(f))
        return 0; /* the helper will not be started either */
    facts.leases = f->leases;
    facts.n_leases = f->n_leases;
    return follow_memory_renew(&f->memory, &facts);
}

int follow_new(struct daemon *d, const char *socket, void (*changed)(void *userdata),
               void *userdata, struct follow **ret)
{
    struct follow *f = calloc(1, sizeof(*f));
    int r;

    if (!f)
        return -ENOMEM;
    f->d = d;
    f->socket = socket;
    f->changed = changed;
    f->userdata = userdata;
    f->guard = (struct revocation_guard){guard_ask, guard_answer, f};
    (void)snprintf(f->why, sizeof(f->why), "no pool follows");
    r = name_ledger(f);
    if (r == 0)
        r = watch_ledger(f);
    if (r == 0)
        r = remember_leases(f);
    if (r < 0) {
        follow_free(f);
        return r;
    }
    if (d->revocations)
        revocations_set_guard(d->revocations, choose_guard, f);
    *ret = f;
    return 0;
}

void follow_free(struct follow *f)
{
    if (!f)
        return;
    if (f->d->revocations)
        revocations_set_guard(f->d->revocations, NULL, NULL);
    sd_event_source_disable_unref(f->timer);
    sd_event_source_disable_unref(f->commits);
    xenhelper_free(f->helper);
    end_questions(f, false);
    while (f->requests)
        forget_request(f->requests);
    view_clear(&f->view);
    view_clear(&f->incoming);
    follow_memory_clear(&f->memory);
    free(f->pools);
    free(f->leases);
    free(f);
}

const char *follow_status(const struct follow *f)
{
    struct follow *own = (struct follow *)f;

    if (!f->helper)
        return NULL;
    if (f->connected)
        (void)snprintf(own->status, sizeof(own->status), "xenstore: %zu domains",
                       f->view.n_domains);
    else
        (void)snprintf(own->status, sizeof(own->status), "waiting for xenstore: %s", f->why);
    return f->status;
}
