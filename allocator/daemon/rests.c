/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Quarantines that are over (rests.h). Touches the ledger, through the committer, by a timer. */
#include "allocator/daemon/rests.h"

#include "allocator/committer.h"
#include "allocator/daemon/journal.h"
#include "allocator/machine.h"
#include "common/cleanup.h"
#include "common/clock.h"

#include <errno.h>

/* In one transaction, which others wait for. */
#define CHUNK 64
/* Microseconds between two looks: nobody waits for these. */
#define PERIOD (10 * USEC_PER_SEC)

struct rests {
    struct daemon *daemon;
    sd_event_source *timer;
    uid_t *old; /* of another boot, whose clock may have been further: not found by theirs */
    size_t n_old;
    struct uidpool_lease chunk[CHUNK];
    uint32_t n, freed;
    bool failed; /* said so */
};

static void look_in(struct rests *r, int64_t usec)
{
    (void)sd_event_source_set_time(r->timer, (uint64_t)(clock_monotonic_usec() + usec));
    (void)sd_event_source_set_enabled(r->timer, SD_EVENT_ONESHOT);
}

/* Somebody who leased the uid anew has ended it already: that is no failure. */
static enum uidpool_status write_chunk(struct ledger *l, void *userdata, struct problem *p)
{
    struct rests *r = userdata;

    r->freed = 0;
    for (uint32_t i = 0; i < r->n; i++) {
        enum uidpool_status status = lease_step(l, &r->chunk[i], LEASE_EVENT_RESTED, NULL, 0, p);

        if (status != UIDPOOL_OK && status != UIDPOOL_CONFLICT)
            return status;
        r->freed += status == UIDPOOL_OK;
    }
    return UIDPOOL_OK;
}

static void chunk_done(enum uidpool_status status, const struct problem *problem, void *userdata)
{
    struct rests *r = userdata;
    bool more = r->n_old > 0 || (r->n == CHUNK && r->freed > 0);

    if (status != UIDPOOL_OK && !r->failed)
        journal_say(LOG_ERR, "cannot end quarantines: %s; trying again until it works",
                    problem->text);
    r->failed = status != UIDPOOL_OK;
    look_in(r, status == UIDPOOL_OK && more ? 0 : PERIOD);
}

static enum uidpool_status read_chunk(struct rests *r, struct problem *p)
{
    struct ledger *l = r->daemon->allocator.ledger;
    enum uidpool_status status = UIDPOOL_OK;

    r->n = 0;
    if (r->n_old == 0)
        return ledger_lease_rested(l, CHUNK, r->chunk, &r->n, p);
    while (r->n < CHUNK && r->n_old > 0 && (status == UIDPOOL_OK || status == UIDPOOL_NOT_FOUND)) {
        status = ledger_lease_at(l, r->old[--r->n_old], 1, &r->chunk[r->n], p);
        r->n += status == UIDPOOL_OK && lease_is_rested(&r->chunk[r->n]);
    }
    return status == UIDPOOL_NOT_FOUND ? UIDPOOL_OK : status;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct rests *r = userdata;
    struct problem p = {0};
    enum uidpool_status status = read_chunk(r, &p);

    (void)source;
    (void)usec;
    if (status == UIDPOOL_OK && r->n > 0 &&
        committer_add(r->daemon->allocator.committer, write_chunk, chunk_done, r) == 0)
        return 0;
    chunk_done(status, &p, r);
    return 0;
}

static bool is_old(const struct uidpool_lease *lease)
{
    return lease->other_boot && lease_is_rested(lease);
}

static int read_old(struct rests *r)
{
    static const struct uidpool_selector everything = UIDPOOL_SELECTOR_INIT;
    _cleanup_(lease_list_clear) struct lease_list list = {0};
    struct problem p = {0};

    if (lease_list_read(r->daemon->allocator.ledger, &everything, is_old, &list, &p) != UIDPOOL_OK)
        return -EIO;
    r->old = reallocarray(NULL, list.n ? list.n : 1, sizeof(*r->old));
    if (!r->old)
        return -ENOMEM;
    for (size_t i = 0; i < list.n; i++)
        r->old[r->n_old++] = list.items[i].uid;
    return 0;
}

int rests_new(struct daemon *d, struct rests **ret)
{
    struct rests *r = calloc(1, sizeof(*r));
    int e;

    if (!r)
        return -ENOMEM;
    r->daemon = d;
    e = read_old(r);
    if (e == 0)
        e = sd_event_add_time(d->event, &r->timer, CLOCK_MONOTONIC, 0, USEC_PER_SEC, on_timer, r);
    if (e < 0) {
        rests_free(r);
        return e;
    }
    *ret = r;
    return 0;
}

void rests_free(struct rests *r)
{
    if (!r)
        return;
    committer_forget(r->daemon->allocator.committer, r);
    sd_event_source_disable_unref(r->timer);
    free(r->old);
    free(r);
}
