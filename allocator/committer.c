/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Group commit (committer.h). Touches the ledger's transactions and deferred work, which
 * stands behind ordinary events: so whoever is ready at the same time is in the same transaction,
 * and while one commit is being made durable the next one fills up by itself.
 */
#include "allocator/committer.h"

#include "allocator/await.h"
#include "allocator/deferred.h"
#include "common/cleanup.h"
#include "common/clock.h"

#include <errno.h>
#include <stdlib.h>

/* Between ordinary events and the revoker's scans, which are the idle ones. */
#define COMMIT_PRIORITY (SD_EVENT_PRIORITY_NORMAL + 10)
/* Writes in one transaction: other writers on the host wait for it meanwhile. */
#define BATCH_MAX 256

/* Microseconds between two looks whether it is our turn to write; doubles. */
#define PAUSE_FIRST INT64_C(250)
#define PAUSE_LAST (2 * USEC_PER_MSEC)
/* And for how long: a transaction takes milliseconds. */
#define PATIENCE (30 * USEC_PER_SEC)

struct entry {
    struct entry *next;
    commit_write_fn write;
    commit_done_fn done;
    void *userdata;
    enum uidpool_status status;
    struct problem problem;
};

struct queue {
    struct entry *first, **end;
};

struct committer {
    struct ledger *ledger;
    sd_event *event;
    bool may_block;
    struct deferred work;
    struct await turn;    /* in the writers' queue */
    int64_t queued_since; /* 0: not in it */
    int64_t pause;
    struct queue waiting, written;
};

static void queue_clear(struct queue *q)
{
    while (q->first) {
        struct entry *entry = q->first;

        q->first = entry->next;
        free(entry);
    }
    q->end = &q->first;
}

static void queue_append(struct queue *q, struct entry *entry)
{
    entry->next = NULL;
    *q->end = entry;
    q->end = &entry->next;
}

static struct entry *queue_take(struct queue *q)
{
    struct entry *entry = q->first;

    if (entry) {
        q->first = entry->next;
        if (!q->first)
            q->end = &q->first;
    }
    return entry;
}

static void queue_forget(struct queue *q, const void *userdata)
{
    struct entry **at = &q->first;

    while (*at) {
        struct entry *entry = *at;

        if (entry->userdata == userdata) {
            *at = entry->next;
            free(entry);
        } else
            at = &entry->next;
    }
    q->end = at;
}

static void on_work(void *userdata);

/* Only the transaction's own trouble is returned. */
static enum uidpool_status write_one(struct ledger *l, struct entry *entry, struct problem *p)
{
    enum uidpool_status status = ledger_part_begin(l, p);

    if (status != UIDPOOL_OK)
        return status;
    entry->status = entry->write(l, entry->userdata, &entry->problem);
    status = ledger_part_end(l, entry->status == UIDPOOL_OK, p);
    /* A full disk took the whole transaction along: say that, not that the part is gone. */
    if (status != UIDPOOL_OK && entry->status == UIDPOOL_FAILED) {
        *p = entry->problem;
        return entry->status;
    }
    return status;
}

/* One transaction for up to BATCH_MAX of those that wait, who are then in `written`; unless it
 * could not begin, by `status`. */
static enum uidpool_status write_batch(struct committer *c, enum uidpool_status status,
                                       struct problem *p)
{
    size_t n = 0;

    for (struct entry *entry; n < BATCH_MAX && (entry = queue_take(&c->waiting)); n++) {
        entry->status = UIDPOOL_OK;
        if (status == UIDPOOL_OK)
            status = write_one(c->ledger, entry, p);
        queue_append(&c->written, entry);
    }
    if (status == UIDPOOL_OK)
        status = ledger_commit(c->ledger, p);
    ledger_rollback(c->ledger);
    return status;
}

/* Others write: their turns are short, but one may be stopped in it, and the loop has more to do.
 * True: there is nothing to do before the next look. */
static bool wait_for_turn(struct committer *c, enum uidpool_status *status, struct problem *p)
{
    int64_t now = clock_monotonic_usec();
    bool begun = false;

    if (c->may_block) {
        *status = ledger_begin(c->ledger, p);
        return false;
    }
    *status = ledger_begin_soon(c->ledger, &begun, p);
    if (*status == UIDPOOL_OK && !begun) {
        c->pause = c->queued_since ? c->pause * 2 : PAUSE_FIRST;
        c->pause = c->pause > PAUSE_LAST ? PAUSE_LAST : c->pause;
        c->queued_since = c->queued_since ? c->queued_since : now;
        if (now - c->queued_since < PATIENCE &&
            await_set(&c->turn, c->event, -1, c->pause, on_work, c) == 0)
            return true;
        ledger_begin_never(c->ledger);
        *status = problem_set(p, UIDPOOL_FAILED,
                              "somebody has been writing to the ledger %s for %lld s, so nothing "
                              "was changed. See who has %s.lock open, whether that is stopped, and "
                              "repeat the command",
                              ledger_path(c->ledger), (long long)(PATIENCE / USEC_PER_SEC),
                              ledger_path(c->ledger));
    }
    c->queued_since = 0;
    await_clear(&c->turn);
    return false;
}

static void on_work(void *userdata)
{
    struct committer *c = userdata;
    struct problem problem = {0};
    enum uidpool_status status;

    if (wait_for_turn(c, &status, &problem))
        return;
    status = write_batch(c, status, &problem);
    if (c->waiting.first)
        deferred_wake(&c->work);
    for (struct entry *entry; (entry = queue_take(&c->written));) {
        /* Its own refusal stands; its success is none if the transaction failed. */
        if (entry->status == UIDPOOL_OK && status != UIDPOOL_OK) {
            entry->status = status;
            entry->problem = problem;
        }
        entry->done(entry->status, &entry->problem, entry->userdata);
        free(entry);
    }
}

int committer_new(struct ledger *l, sd_event *event, bool may_block, struct committer **ret)
{
    struct committer *c = calloc(1, sizeof(*c));
    int r;

    if (!c)
        return -ENOMEM;
    c->ledger = l;
    c->event = event;
    c->may_block = may_block;
    c->waiting.end = &c->waiting.first;
    c->written.end = &c->written.first;
    r = deferred_init(&c->work, event, COMMIT_PRIORITY, on_work, c);
    if (r < 0) {
        committer_free(c);
        return r;
    }
    *ret = c;
    return 0;
}

void committer_free(struct committer *c)
{
    if (!c)
        return;
    deferred_clear(&c->work);
    await_clear(&c->turn);
    ledger_begin_never(c->ledger);
    queue_clear(&c->waiting);
    queue_clear(&c->written);
    free(c);
}

int committer_add(struct committer *c, commit_write_fn write, commit_done_fn done, void *userdata)
{
    struct entry *entry = calloc(1, sizeof(*entry));

    if (!entry)
        return -ENOMEM;
    entry->write = write;
    entry->done = done;
    entry->userdata = userdata;
    queue_append(&c->waiting, entry);
    deferred_wake(&c->work);
    return 0;
}

void committer_forget(struct committer *c, const void *userdata)
{
    queue_forget(&c->waiting, userdata);
    queue_forget(&c->written, userdata);
}
