/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The engine (engine.h). Touches the event loop alone; what is done there is the jobs'. */
#include "allocator/engine.h"

#include "allocator/committer.h"
#include "allocator/lease/granter.h"
#include "allocator/revocation/revoker.h"
#include "common/cleanup.h"
#include "common/clock.h"

int allocator_attach(struct allocator *a, sd_event *event)
{
    int r = 0;

    if (a->event)
        return 0;
    if (event)
        a->event = sd_event_ref(event);
    else
        r = sd_event_new(&a->event);
    if (r >= 0)
        r = committer_new(a->ledger, a->event, !event, &a->committer);
    if (r >= 0)
        r = revoker_new(a, a->event, &a->revoker);
    if (r >= 0)
        r = granter_new(a, a->event, &a->granter);
    if (r < 0)
        allocator_detach(a);
    return r < 0 ? r : 0;
}

/* The revoker's jobs are perhaps those of the granter's, which wait for them. */
void allocator_detach(struct allocator *a)
{
    revoker_free(a->revoker);
    a->revoker = NULL;
    granter_free(a->granter);
    a->granter = NULL;
    committer_free(a->committer);
    a->committer = NULL;
    a->event = sd_event_unref(a->event);
}

/*
 * One on a private loop.
 */

struct single {
    struct allocator *allocator;
    bool done;
    struct uidpool_lease lease;
    struct problem problem;
};

static void on_single(const struct outcome *outcome, void *userdata)
{
    struct single *s = userdata;

    s->done = true;
    s->lease = *outcome->lease;
    s->problem = *outcome->problem;
    outcome_keep_survivors(outcome, &s->allocator->survivors, &s->allocator->n_survivors);
}

enum uidpool_status allocator_lease(struct allocator *a,
                                    const struct uidpool_lease_request *request, uint32_t timeout,
                                    struct uidpool_lease *ret, struct problem *p)
{
    struct grant_request wish = {.lease = *request, .timeout = (int64_t)timeout * USEC_PER_SEC};
    struct single s = {.allocator = a};
    int r = allocator_attach(a, NULL);

    if (r >= 0)
        r = granter_add(a->granter, &wish, on_single, &s);
    while (r >= 0 && !s.done)
        r = sd_event_run(a->event, UINT64_MAX);
    if (r < 0) {
        /* The job must not outlive `s`. */
        allocator_detach(a);
        return problem_errno(p, r, "the event loop failed; nothing was leased");
    }
    if (s.problem.status == UIDPOOL_OK)
        *ret = s.lease;
    else if (p)
        *p = s.problem;
    return s.problem.status;
}

/*
 * All on the private loop.
 */

struct batch {
    struct allocator *allocator;
    bool (*each)(const struct uidpool_lease *, void *);
    void *userdata;
    struct problem *problem;
    enum uidpool_status status;
    size_t pending;
};

/* The first problem is kept: later ones are often its echo. */
static void on_one_of_batch(const struct outcome *outcome, void *userdata)
{
    const struct problem *problem = outcome->problem;
    struct batch *b = userdata;

    b->pending--;
    outcome_keep_survivors(outcome, &b->allocator->survivors, &b->allocator->n_survivors);
    if (problem->status == UIDPOOL_OK) {
        if (b->each && !b->each(outcome->lease, b->userdata))
            b->each = NULL;
    } else if (b->status == UIDPOOL_OK) {
        b->status = problem->status;
        if (b->problem)
            *b->problem = *problem;
    }
}

enum uidpool_status revoke_all(struct allocator *a, enum revocation_kind kind,
                               const struct uidpool_lease *leases, size_t n, uint32_t timeout,
                               bool (*each)(const struct uidpool_lease *, void *), void *userdata,
                               struct problem *p)
{
    struct batch batch = {.allocator = a, .each = each, .userdata = userdata, .problem = p};
    int e = allocator_attach(a, NULL);

    for (size_t i = 0; i < n && e >= 0; i++) {
        e = revoker_add(a->revoker, kind, &leases[i], (int64_t)timeout * USEC_PER_SEC, NULL,
                        on_one_of_batch, &batch);
        batch.pending += e >= 0;
    }
    while (e >= 0 && batch.pending > 0)
        e = sd_event_run(a->event, UINT64_MAX);
    if (e < 0) {
        /* The jobs that are left know this batch. */
        allocator_detach(a);
        return problem_errno(p, e, "the event loop failed; unfinished leases stay in revoking");
    }
    return batch.status;
}
