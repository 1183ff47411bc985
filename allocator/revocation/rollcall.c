/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Census for neighbours (rollcall.h). Touches the census and the event loop. Only EMPTY is an
 * answer for all of them; any other may be about one alone, and so each is asked again by itself.
 */
#include "allocator/revocation/rollcall.h"

#include "allocator/census.h"
#include "allocator/revocation/job.h"
#include "allocator/revocation/revoke.h"
#include "common/cleanup.h"

#include <assert.h>

/* One process goes through the uids; so several of them use all processors. */
#define MEMBERS_MAX 25
/* Blocks of more take long enough by themselves. */
#define BLOCK_MAX 4

static_assert(MEMBERS_MAX <= CENSUS_CLAIMS_MAX, "each has a claim");

struct rollcall {
    struct revoker *revoker;
    struct rollcall *next;
    struct job *members;
    size_t n_members, n_asked;
    struct uid_range range;
    int fd;
    struct await await;
};

static void rollcall_free(struct rollcall *c)
{
    struct rollcall **at = &c->revoker->rollcalls;

    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    await_clear(&c->await);
    c->fd = close_fd(c->fd);
    free(c);
}

static struct job *take_members(struct rollcall *c)
{
    struct job *members = c->members;

    for (struct job *job = members; job; job = job->beside)
        job->rollcall = NULL;
    rollcall_free(c);
    return members;
}

static void tell_all(struct rollcall *c, enum witness answer)
{
    bool again = c->n_asked > 1 && answer != WITNESS_EMPTY;
    struct job *members = take_members(c), *job;

    while ((job = members)) {
        members = job->beside;
        job->beside = NULL;
        if (again) {
            job->counted_alone = true;
            rollcall_join(job);
        } else
            revocation_counted(job, answer);
    }
}

static void on_answer(void *userdata)
{
    struct rollcall *c = userdata;

    tell_all(c, census_finish_late(c->revoker->allocator->census, c->fd));
}

/* Trouble is an answer: UNKNOWN. */
static void ask(struct rollcall *c)
{
    int claims[MEMBERS_MAX];
    size_t n = 0;

    for (const struct job *job = c->members; job; job = job->beside)
        claims[n++] = job->claim_fd;
    c->n_asked = n;
    c->fd = census_start_shared(c->revoker->allocator->census, c->range, 0, claims, n);
    if (c->fd < 0 || await_set(&c->await, c->revoker->event, c->fd, helper_patience(c->range.count),
                               on_answer, c) < 0) {
        c->fd = c->fd < 0 ? -1 : c->fd;
        tell_all(c, WITNESS_UNKNOWN);
    }
}

void rollcall_join(struct job *job)
{
    job->wants_count = true;
    revoker_muster(job->revoker);
}

static bool wants_count(const struct job *job)
{
    return job->wants_count;
}

static bool fits(const struct rollcall *c, const struct job *job)
{
    const struct job *last = c->members;

    return c->n_members < MEMBERS_MAX && !last->counted_alone && !job->counted_alone &&
           last->lease.count <= BLOCK_MAX && job->lease.count <= BLOCK_MAX &&
           job->lease.uid == uid_range_last(c->range) + 1;
}

static void add_member(struct rollcall *c, struct job *job)
{
    if (c->n_members == 0)
        c->range.first = job->lease.uid;
    c->range.count += job->lease.count;
    job->wants_count = false;
    job->rollcall = c;
    job->beside = c->members;
    c->members = job;
    c->n_members++;
}

static struct rollcall *rollcall_new(struct revoker *r)
{
    struct rollcall *c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    c->revoker = r;
    c->fd = -1;
    c->next = r->rollcalls;
    r->rollcalls = c;
    return c;
}

/* All are formed before the first is asked: an answer may end jobs. */
static void form(struct revoker *r, struct job **jobs, size_t n)
{
    struct rollcall *c = NULL;

    for (size_t i = 0; i < n; i++) {
        if (!c || !fits(c, jobs[i]))
            c = rollcall_new(r);
        if (!c)
            return; /* the rest wants it still, and is mustered again */
        add_member(c, jobs[i]);
    }
}

static struct rollcall *first_silent(const struct revoker *r)
{
    struct rollcall *c = r->rollcalls;

    while (c && c->fd >= 0)
        c = c->next;
    return c;
}

void rollcall_muster(struct revoker *r)
{
    _cleanup_free_ struct job **jobs = calloc(r->n_active ? r->n_active : 1, sizeof(struct job *));
    struct rollcall *c;

    if (jobs)
        form(r, jobs, revoker_collect(r, wants_count, jobs));
    while ((c = first_silent(r)))
        ask(c);
}

void rollcall_leave(struct job *job)
{
    struct rollcall *c = job->rollcall;
    struct job **at;

    job->wants_count = false;
    if (!c)
        return;
    at = &c->members;
    while (*at != job)
        at = &(*at)->beside;
    *at = job->beside;
    job->rollcall = NULL;
    job->beside = NULL;
    if (--c->n_members == 0)
        rollcall_free(c);
}

void rollcall_drop_all(struct revoker *r)
{
    while (r->rollcalls)
        (void)take_members(r->rollcalls);
}
