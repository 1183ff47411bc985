/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What following remembers from one plan to the next, about leases and about tries, and for how
 * long. Pure: touches only what it is given. */
#include "allocator/daemon/follow-plan.h"
#include "common/cleanup.h"
#include "common/clock.h"

#include <errno.h>
#include <string.h>

/* Microseconds to the next try of what failed; doubles up to the last. */
#define TRY_FIRST USEC_PER_SEC
#define TRY_LAST (60 * USEC_PER_SEC)
/* Before a revocation is asked for again; it is tried again by itself, so this is the spare. */
#define REVOKE_AGAIN (5 * USEC_PER_SEC)

void follow_memory_clear(struct follow_memory *m)
{
    free(m->leases);
    free(m->tries);
    *m = (struct follow_memory){0};
}

static int by_id(const void *a, const void *b)
{
    const struct follow_lease_memory *x = a, *y = b;

    return (x->id > y->id) - (x->id < y->id);
}

static int by_pool_and_domid(const void *a, const void *b)
{
    const struct follow_try *x = a, *y = b;

    if (x->pool_id != y->pool_id)
        return x->pool_id > y->pool_id ? 1 : -1;
    return (x->domid > y->domid) - (x->domid < y->domid);
}

struct follow_lease_memory *follow_memory_lease(const struct follow_memory *m, int64_t id)
{
    struct follow_lease_memory key = {.id = id};

    return m->n_leases == 0 ? NULL : bsearch(&key, m->leases, m->n_leases, sizeof(key), by_id);
}

struct follow_try *follow_memory_try(const struct follow_memory *m, int64_t pool_id, int64_t domid)
{
    struct follow_try key = {.pool_id = pool_id, .domid = domid};

    return m->n_tries == 0 ? NULL
                           : bsearch(&key, m->tries, m->n_tries, sizeof(key), by_pool_and_domid);
}

static struct follow_lease_memory *renew_leases(const struct follow_memory *m,
                                                const struct follow_facts *f)
{
    struct follow_lease_memory *all = calloc(f->n_leases + 1, sizeof(*all));

    for (size_t i = 0; all && i < f->n_leases; i++) {
        const struct follow_lease_memory *old = follow_memory_lease(m, f->leases[i].id);

        if (old)
            all[i] = *old;
        all[i].id = f->leases[i].id;
        all[i].old |= f->leases[i].other_boot;
    }
    if (all && f->n_leases > 0)
        qsort(all, f->n_leases, sizeof(*all), by_id);
    return all;
}

static struct follow_try renew_try(const struct follow_memory *m, int64_t pool_id,
                                   const struct follow_domain *d, int64_t now)
{
    const struct follow_try *old = follow_memory_try(m, pool_id, d->domid);
    struct follow_try t = {.pool_id = pool_id,
                           .domid = d->domid,
                           .first_seen = now,
                           .event = -1,
                           .kill_uid = UIDPOOL_NO_UID};

    /* A uuid that came late is the same domain's. */
    if (old && (!old->uuid[0] || strcmp(old->uuid, d->uuid) == 0))
        t = *old;
    memcpy(t.uuid, d->uuid, sizeof(t.uuid));
    return t;
}

static struct follow_try *renew_tries(const struct follow_memory *m, const struct follow_facts *f,
                                      size_t *ret_n)
{
    const struct follow_view *v = f->view;
    struct follow_try *all = calloc((f->n_pools + 1) * v->n_domains + 1, sizeof(*all));
    size_t n = 0;

    for (size_t i = 0; all && i < v->n_domains; i++) {
        all[n++] = renew_try(m, 0, &v->domains[i], f->now);
        for (size_t j = 0; j < f->n_pools; j++)
            if (f->pools[j].policy == UIDPOOL_POLICY_DOMID)
                all[n++] = renew_try(m, f->pools[j].id, &v->domains[i], f->now);
    }
    if (all && n > 0)
        qsort(all, n, sizeof(*all), by_pool_and_domid);
    *ret_n = n;
    return all;
}

int follow_memory_renew(struct follow_memory *m, const struct follow_facts *f)
{
    size_t n_tries = 0;
    _cleanup_free_ struct follow_lease_memory *leases = renew_leases(m, f);
    _cleanup_free_ struct follow_try *tries = renew_tries(m, f, &n_tries);

    if (!leases || !tries)
        return -ENOMEM;
    free(m->leases);
    free(m->tries);
    m->leases = take_ptr(leases);
    m->n_leases = f->n_leases;
    m->tries = take_ptr(tries);
    m->n_tries = n_tries;
    return 0;
}

/* Between the last look at the lost store and its end a domid that was free may have got a next
 * owner, unseen: a moment, in a time of a minute and more in which Xen gives it to nobody. */
void follow_memory_forget_store(struct follow_memory *m)
{
    m->marked = false;
    m->since = 0;
    for (size_t i = 0; i < m->n_leases; i++) {
        struct follow_lease_memory *k = &m->leases[i];

        k->died_before |= k->gone && k->absent;
        k->hidden |= k->told;
        k->seen = k->told = k->absent = k->retried = false;
        k->absent_since = 0;
    }
}

void follow_memory_interrupted(struct follow_memory *m)
{
    for (size_t i = 0; i < m->n_leases; i++) {
        m->leases[i].absent_since = 0;
        m->leases[i].retried = false;
    }
}

void follow_try_failed(struct follow_try *t, int64_t now)
{
    int64_t pause = TRY_FIRST;

    for (unsigned i = 0; i < t->failures && pause < TRY_LAST; i++)
        pause *= 2;
    t->failures++;
    t->next_at = now + (pause < TRY_LAST ? pause : TRY_LAST);
}

bool follow_memory_leased(struct follow_memory *m, int64_t pool_id, int64_t domid, const char *uuid,
                          bool failed, int64_t now)
{
    struct follow_try *t = follow_memory_try(m, pool_id, domid);

    if (!t || strcmp(t->uuid, uuid) != 0)
        return failed;
    t->pending = false;
    if (!failed) {
        t->failures = 0;
        t->told = false;
        t->had = true;
        return false;
    }
    follow_try_failed(t, now);
    failed = !t->told;
    t->told = true;
    return failed;
}

void follow_memory_revoked(struct follow_memory *m, int64_t lease, bool failed, int64_t now)
{
    struct follow_lease_memory *k = follow_memory_lease(m, lease);

    if (!k)
        return;
    k->asked = false;
    k->ask_at = failed ? now + REVOKE_AGAIN : 0;
}

bool follow_guard(const struct follow_memory *m, const struct uidpool_lease *lease,
                  const char **ret_uuid)
{
    const struct follow_lease_memory *k = follow_memory_lease(m, lease->id);

    /* A store that is not known to be ours is perhaps younger than those who live. */
    if (!m->marked || !k || k->hidden)
        return false;
    /* In the first store of this boot all are who came in it. In a later one only those who came
     * since, and whom we saw there. */
    if (m->lost && (k->old || lease->id <= m->since) && !k->seen && !k->died_before)
        return false;
    *ret_uuid = k->seen && !k->gone && !k->old ? lease->uuid : "";
    return true;
}
