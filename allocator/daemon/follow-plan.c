/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The rules of following, MUST by MUST as in follow-plan.h. Pure: touches the memory and the plan
 * that it is given. */
#include "allocator/daemon/follow-plan.h"

#include "common/cleanup.h"
#include "common/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Microseconds that a domain without a uuid may take to get one. */
#define UUID_PATIENCE (3 * USEC_PER_SEC)
/* What failed is tried again when something has changed, but this often at most, times failures. */
#define CHANGE_PAUSE USEC_PER_SEC
#define CHANGE_PAUSE_MOST (10 * USEC_PER_SEC)
/* Between two tries to write the marker. */
#define MARK_AGAIN (2 * USEC_PER_SEC)
/* At the end of a marker. */
#define LOST " lost"

enum follow_presence follow_view_find(const struct follow_view *v, int64_t domid,
                                      const struct follow_domain **ret)
{
    size_t low = 0, high = v->n_domains;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (v->domains[middle].domid == domid) {
            if (ret)
                *ret = &v->domains[middle];
            return FOLLOW_PRESENT;
        }
        if (v->domains[middle].domid < domid)
            low = middle + 1;
        else
            high = middle;
    }
    if (domid < 0 || domid > DOMID_LAST)
        return FOLLOW_UNKNOWN;
    return v->absent[domid / 8] >> (domid % 8) & 1 ? FOLLOW_ABSENT : FOLLOW_UNKNOWN;
}

void follow_marker(const char *ledger, int64_t since, bool lost, char *buf, size_t size)
{
    (void)snprintf(buf, size, "%s %lld%s", ledger, (long long)since, lost ? LOST : "");
}

/* True if it is ours. */
static bool read_marker(const char *text, const char *ledger, int64_t *ret, bool *ret_lost)
{
    size_t length = strlen(ledger), digits;
    char number[24];
    uint64_t since;
    bool lost;

    if (strncmp(text, ledger, length) != 0 || text[length] != ' ')
        return false;
    text += length + 1;
    digits = strcspn(text, " ");
    lost = strcmp(text + digits, LOST) == 0;
    if (digits >= sizeof(number) || (text[digits] && !lost))
        return false;
    (void)snprintf(number, sizeof(number), "%.*s", (int)digits, text);
    if (parse_u64(number, INT64_MAX, &since) < 0)
        return false;
    *ret = (int64_t)since;
    *ret_lost = lost;
    return true;
}

/*
 * Leases, to be found by owner.
 */

struct planning {
    struct follow_memory *m;
    const struct follow_facts *f;
    const struct uidpool_lease **by_domid; /* and by pool_id before that */
    const struct uidpool_lease **by_name;
    const struct uidpool_lease **by_uid;
    const struct follow_domain **names; /* the domains, by name */
    struct follow_plan plan;
    size_t room;
    bool failed;
};

static int compare(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static int order_domid(const void *a, const void *b)
{
    const struct uidpool_lease *x = *(const struct uidpool_lease *const *)a;
    const struct uidpool_lease *y = *(const struct uidpool_lease *const *)b;
    int r = compare(x->pool_id, y->pool_id);

    return r ? r : compare(x->domid, y->domid);
}

static int order_name(const void *a, const void *b)
{
    const struct uidpool_lease *x = *(const struct uidpool_lease *const *)a;
    const struct uidpool_lease *y = *(const struct uidpool_lease *const *)b;
    int r = strcmp(x->name, y->name);

    return r ? r : compare(x->uid, y->uid);
}

static int order_uid(const void *a, const void *b)
{
    const struct uidpool_lease *x = *(const struct uidpool_lease *const *)a;
    const struct uidpool_lease *y = *(const struct uidpool_lease *const *)b;

    return compare(x->uid, y->uid);
}

static const struct uidpool_lease **make_index(const struct follow_facts *f,
                                               int (*order)(const void *, const void *))
{
    const struct uidpool_lease **index = calloc(f->n_leases + 1, sizeof(const void *));

    for (size_t i = 0; index && i < f->n_leases; i++)
        index[i] = &f->leases[i];
    if (index && f->n_leases > 0)
        qsort(index, f->n_leases, sizeof(const void *), order);
    return index;
}

/* The first lease of the index that is not before `key`. */
static size_t find_first(const struct planning *p, const struct uidpool_lease **index,
                         const struct uidpool_lease *key, int (*order)(const void *, const void *))
{
    size_t low = 0, high = p->f->n_leases;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (order(&index[middle], &key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The lease of these pools that has the uid, or NULL. */
static const struct uidpool_lease *lease_of_uid(const struct planning *p, uid_t uid)
{
    struct uidpool_lease key = {.uid = uid + 1};
    size_t i = find_first(p, p->by_uid, &key, order_uid);
    const struct uidpool_lease *l = i > 0 ? p->by_uid[i - 1] : NULL;

    return l && uid - l->uid < l->count ? l : NULL;
}

static struct follow_action *add(struct planning *p, enum follow_kind kind)
{
    static struct follow_action lost;

    if (p->plan.n == p->room) {
        size_t room = p->room ? p->room * 2 : 16;
        struct follow_action *all = reallocarray(p->plan.actions, room, sizeof(*all));

        if (!all) {
            p->failed = true;
            return &lost;
        }
        p->plan.actions = all;
        p->room = room;
    }
    struct follow_action *a = &p->plan.actions[p->plan.n++];
    *a = (struct follow_action){.kind = kind, .uid = UIDPOOL_NO_UID};
    return a;
}

static void look_at(struct planning *p, int64_t at)
{
    if (p->plan.look_at == 0 || at < p->plan.look_at)
        p->plan.look_at = at;
}

/*
 * What they are.
 */

/* The same, as far as both are known. */
static bool may_be_same(const char *a, const char *b)
{
    return !a[0] || !b[0] || strcmp(a, b) == 0;
}

static bool is_leased(const struct uidpool_lease *l)
{
    return l->state == UIDPOOL_STATE_LEASED && !l->other_boot;
}

static bool is_unproven(const struct uidpool_lease *l)
{
    return l->state == UIDPOOL_STATE_REVOKING ||
           (l->state == UIDPOOL_STATE_LEASED && l->other_boot);
}

/*
 * Leases whose domain has gone.
 */

static void tell_next_owner(struct planning *p, const struct uidpool_lease *l,
                            struct follow_lease_memory *k, const struct follow_domain *d)
{
    struct follow_action *a;

    if (k->told)
        return;
    k->told = true;
    a = add(p, FOLLOW_NEXT_OWNER);
    a->lease = l;
    a->domain = d;
}

/* MUST 2. Does it mean anything that this store does not know the domain? */
static bool absence_counts(const struct follow_memory *m, const struct uidpool_lease *l,
                           const struct follow_lease_memory *k)
{
    return m->marked && (l->id > m->since || k->seen || k->died_before);
}

/* MUST 1. */
static bool had_been_there(struct planning *p, const struct uidpool_lease *l,
                           const struct follow_lease_memory *k)
{
    if (k->seen || k->died_before || strstr(l->reason, FOLLOW_REASON))
        return true;
    /* Somebody may have leased for one that lives, but that only the lost store knew. */
    if (p->m->lost)
        return false;
    if (p->f->now - k->absent_since >= FOLLOW_ABSENT_LONG)
        return true;
    look_at(p, k->absent_since + FOLLOW_ABSENT_LONG);
    return false;
}

static void judge_absent(struct planning *p, const struct uidpool_lease *l,
                         struct follow_lease_memory *k)
{
    if (k->absent_since == 0)
        k->absent_since = p->f->now;
    k->absent = absence_counts(p->m, l, k);
    k->told = false;
    /* The guard may say yes from now on. */
    if (p->m->marked && is_unproven(l) && !k->retried) {
        k->retried = true;
        add(p, FOLLOW_RETRY)->lease = l;
    }
    if (!k->absent)
        return;
    k->gone |= k->seen || l->state == UIDPOOL_STATE_REVOKING;
    if (!is_leased(l) || k->asked || !had_been_there(p, l, k))
        return;
    if (p->f->now < k->ask_at) {
        look_at(p, k->ask_at);
        return;
    }
    k->gone = k->asked = true;
    add(p, FOLLOW_REVOKE)->lease = l;
}

static void judge_present(struct planning *p, const struct uidpool_lease *l,
                          struct follow_lease_memory *k, const struct follow_domain *d)
{
    bool same = may_be_same(l->uuid, d->uuid);

    k->absent_since = 0;
    k->absent = k->hidden = k->died_before = k->retried = false;
    if (is_leased(l) && same && !k->asked) {
        k->seen = true;
        k->gone = k->told = false;
        return;
    }
    /* Whoever is there now came after the last boot, after it was seen gone, or is another. */
    if (k->old || k->gone || !same) {
        k->gone = true;
        tell_next_owner(p, l, k, d);
    }
}

/* Does the lease stay although its domain may have gone, since an empty store proves nothing? */
static bool judge_lease(struct planning *p, const struct uidpool_lease *l)
{
    struct follow_lease_memory *k = follow_memory_lease(p->m, l->id);
    const struct follow_domain *d = NULL;
    enum follow_presence presence = follow_view_find(p->f->view, l->domid, &d);

    /* MUST 4. */
    if (l->domid <= 0 || (!is_leased(l) && !is_unproven(l)))
        return false;
    switch (presence) {
    case FOLLOW_PRESENT:
        judge_present(p, l, k, d);
        break;
    case FOLLOW_ABSENT:
        judge_absent(p, l, k);
        break;
    case FOLLOW_UNKNOWN:
        k->absent_since = 0;
        k->absent = k->retried = false;
        break;
    }
    return !k->old && presence != FOLLOW_PRESENT;
}

/*
 * The store itself.
 */

/* Is it the one that was marked? It keeps the marker as long as it keeps its state. With a greater
 * number it was marked once more, to be believed less; what has a smaller one we never marked. */
static void judge_store(struct planning *p)
{
    struct follow_memory *m = p->m;
    bool another = m->connection != p->f->connection, lost = false;
    int64_t since;

    m->connection = p->f->connection;
    if (read_marker(p->f->view->marker, p->f->ledger, &since, &lost) &&
        !(m->marked && since < m->since)) {
        if (m->marked ? m->since != since : another)
            follow_memory_forget_store(m);
        m->marked = true;
        m->since = since;
        m->lost = lost;
        return;
    }
    m->lost |= m->marked;
    if (m->marked || another)
        follow_memory_forget_store(m);
}

/* With a lease whose domain is not there it is not the first store that we meet, or others used the
 * first one before us. */
static void mark_store(struct planning *p, const struct uidpool_lease *first, size_t stay)
{
    struct follow_memory *m = p->m;
    struct follow_action *a;

    m->lost |= stay > 0;
    if (p->f->now >= m->mark_at) {
        a = add(p, FOLLOW_MARK);
        a->since = p->f->newest_event;
        a->lost = m->lost;
        m->mark_at = p->f->now + MARK_AGAIN;
    }
    look_at(p, m->mark_at);
    if (stay == 0 || m->told_lost)
        return;
    a = add(p, FOLLOW_STORE_LOST);
    a->lease = first;
    a->count = stay;
    m->told_lost = true;
}

static void judge_leases(struct planning *p)
{
    const struct uidpool_lease *first = NULL;
    size_t stay = 0;

    for (size_t i = 0; i < p->f->n_leases; i++)
        if (judge_lease(p, &p->f->leases[i])) {
            first = first ? first : &p->f->leases[i];
            stay++;
        }
    if (p->m->marked)
        p->m->told_lost = false;
    else
        mark_store(p, first, stay);
}

/*
 * Domains that want a lease.
 */

/* Has the domain one by its name, in this pool (or, with NULL, in any)? The one with the lowest
 * uid, or NULL. */
static const struct uidpool_lease *lease_by_name(const struct planning *p,
                                                 const struct uidpool_pool *pool,
                                                 const struct follow_domain *d)
{
    struct uidpool_lease key = {0};

    if (!d->name[0])
        return NULL;
    memcpy(key.name, d->name, sizeof(key.name));
    for (size_t i = find_first(p, p->by_name, &key, order_name);
         i < p->f->n_leases && strcmp(p->by_name[i]->name, d->name) == 0; i++) {
        const struct uidpool_lease *l = p->by_name[i];

        if (is_leased(l) && may_be_same(l->uuid, d->uuid) && (!pool || l->pool_id == pool->id))
            return l;
    }
    return NULL;
}

/* The lease by domid that this very domain has in the pool, or NULL; or another one that is in the
 * way of one. */
static const struct uidpool_lease *lease_by_domid(const struct planning *p,
                                                  const struct uidpool_pool *pool,
                                                  const struct follow_domain *d,
                                                  bool *ret_in_the_way)
{
    struct uidpool_lease key = {.pool_id = pool->id, .domid = d->domid};

    for (size_t i = find_first(p, p->by_domid, &key, order_domid);
         i < p->f->n_leases && p->by_domid[i]->pool_id == pool->id &&
         p->by_domid[i]->domid == d->domid;
         i++) {
        const struct uidpool_lease *l = p->by_domid[i];

        if (is_leased(l) && may_be_same(l->uuid, d->uuid))
            return l;
        /* MUST 3. And one that was released while its domain lives stays released. */
        *ret_in_the_way |= is_leased(l) || is_unproven(l) ||
                           (d->uuid[0] && strcmp(l->uuid, d->uuid) == 0 && l->domid == d->domid);
    }
    return NULL;
}

/* MUST 3, for the uid that the domain would have. */
static bool uid_is_taken(const struct planning *p, const struct uidpool_pool *pool, int64_t domid)
{
    const struct uidpool_lease *l =
        (uint64_t)domid < pool->size ? lease_of_uid(p, pool->base + (uid_t)domid) : NULL;

    return l && (is_leased(l) || is_unproven(l));
}

/* Is it time for another try? */
static bool is_due(struct planning *p, const struct follow_try *t, const struct follow_domain *d)
{
    int64_t now = p->f->now, pause = t->failures * CHANGE_PAUSE, at = t->next_at;

    if (t->failures == 0 || t->kill_uid != d->kill_uid)
        return true;
    pause = pause < CHANGE_PAUSE_MOST ? pause : CHANGE_PAUSE_MOST;
    if (t->event != p->f->newest_event && t->tried_at + pause < at)
        at = t->tried_at + pause;
    if (now < at)
        look_at(p, at);
    return now >= at;
}

static void judge_domain(struct planning *p, const struct uidpool_pool *pool,
                         const struct follow_domain *d)
{
    struct follow_try *t = follow_memory_try(p->m, pool->id, d->domid);
    bool in_the_way = false;
    struct follow_action *a;

    if (lease_by_name(p, pool, d) || lease_by_domid(p, pool, d, &in_the_way)) {
        t->had = true;
        return;
    }
    if (t->pending || t->had || in_the_way || uid_is_taken(p, pool, d->domid))
        return;
    if (!d->uuid[0] && p->f->now < t->first_seen + UUID_PATIENCE) {
        look_at(p, t->first_seen + UUID_PATIENCE);
        return;
    }
    if (!is_due(p, t, d))
        return;
    t->pending = true;
    t->tried_at = p->f->now;
    t->event = p->f->newest_event;
    t->kill_uid = d->kill_uid;
    a = add(p, FOLLOW_LEASE);
    a->pool = pool;
    a->domain = d;
    a->adopt = (uint64_t)d->domid < pool->size && d->kill_uid == pool->base + (uid_t)d->domid;
}

/*
 * Nodes that say whom libxl shall kill.
 */

static int order_domain_name(const void *a, const void *b)
{
    const struct follow_domain *x = *(const struct follow_domain *const *)a;
    const struct follow_domain *y = *(const struct follow_domain *const *)b;

    return strcmp(x->name, y->name);
}

static const struct follow_domain **index_names(const struct follow_view *v)
{
    const struct follow_domain **index = calloc(v->n_domains + 1, sizeof(const void *));

    for (size_t i = 0; index && i < v->n_domains; i++)
        index[i] = &v->domains[i];
    if (index && v->n_domains > 0)
        qsort(index, v->n_domains, sizeof(const void *), order_domain_name);
    return index;
}

/* Two domains of one name: whose lease it is, nobody can tell. */
static bool name_is_unique(const struct planning *p, const struct follow_domain *d)
{
    const struct follow_domain **all = p->names;
    size_t n = p->f->view->n_domains, i;

    const struct follow_domain **found =
        bsearch(&d, all, n, sizeof(const void *), order_domain_name);
    if (!found)
        return false;
    i = (size_t)(found - all);
    return (i == 0 || strcmp(all[i - 1]->name, d->name) != 0) &&
           (i + 1 == n || strcmp(all[i + 1]->name, d->name) != 0);
}

/* The lease whose uid libxl could not know by itself. */
static const struct uidpool_lease *lease_to_kill(const struct planning *p,
                                                 const struct follow_domain *d)
{
    const struct uidpool_lease *l = lease_by_name(p, NULL, d);
    bool ignored = false;

    if (l)
        return name_is_unique(p, d) ? l : NULL;
    for (size_t i = 0; i < p->f->n_pools && !l; i++)
        if (p->f->pools[i].policy == UIDPOOL_POLICY_NEXT)
            l = lease_by_domid(p, &p->f->pools[i], d, &ignored);
    return l;
}

static void judge_kill_uid(struct planning *p, const struct follow_domain *d)
{
    const struct uidpool_lease *l = lease_to_kill(p, d);
    struct follow_try *t = follow_memory_try(p->m, 0, d->domid);
    struct follow_action *a;

    if (!l || l->uid == d->kill_uid) {
        t->failures = 0;
        return;
    }
    /* It was written, and is not there: refused, or somebody writes something else, on and on. */
    if (t->failures > 0 && t->kill_uid == d->kill_uid && p->f->now < t->next_at) {
        look_at(p, t->next_at);
        return;
    }
    follow_try_failed(t, p->f->now);
    t->kill_uid = d->kill_uid;
    a = add(p, FOLLOW_KILL_UID);
    a->domain = d;
    a->uid = l->uid;
}

static void judge_domains(struct planning *p)
{
    const struct follow_view *v = p->f->view;

    for (size_t i = 0; i < v->n_domains; i++) {
        if (v->domains[i].domid <= 0)
            continue; /* MUST 4 */
        for (size_t j = 0; j < p->f->n_pools; j++) {
            const struct uidpool_pool *pool = &p->f->pools[j];

            if (pool->policy == UIDPOOL_POLICY_DOMID && !pool->retired && !pool->provisioning)
                judge_domain(p, pool, &v->domains[i]);
        }
        judge_kill_uid(p, &v->domains[i]);
    }
}

int follow_plan_make(struct follow_memory *m, const struct follow_facts *f, struct follow_plan *ret)
{
    _cleanup_free_ const struct uidpool_lease **by_domid = make_index(f, order_domid);
    _cleanup_free_ const struct uidpool_lease **by_name = make_index(f, order_name);
    _cleanup_free_ const struct uidpool_lease **by_uid = make_index(f, order_uid);
    _cleanup_free_ const struct follow_domain **names = index_names(f->view);
    struct planning p = {
        .m = m, .f = f, .by_domid = by_domid, .by_name = by_name, .by_uid = by_uid, .names = names};

    if (!by_domid || !by_name || !by_uid || !names || follow_memory_renew(m, f) < 0)
        return -ENOMEM;
    judge_store(&p);
    judge_leases(&p);
    judge_domains(&p);
    if (p.failed) {
        follow_plan_clear(&p.plan);
        return -ENOMEM;
    }
    *ret = p.plan;
    return 0;
}

void follow_plan_clear(struct follow_plan *p)
{
    free(p->actions);
    *p = (struct follow_plan){0};
}
