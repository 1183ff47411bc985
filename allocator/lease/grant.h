/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A lease under way, and the granter it belongs to: what allocator/lease/granter.c (jobs, events,
 * claims), question.c (the census, for neighbours at once), lease.c (the rules) and stranger.c (who
 * is there) have in common. Nobody else includes this; granter.h is the door.
 */
#ifndef ALLOCATOR_GRANT_H
#define ALLOCATOR_GRANT_H

#include "allocator/committer.h"
#include "allocator/deferred.h"
#include "allocator/lease/granter.h"
#include "allocator/pool.h"
#include "allocator/tasks.h"
#include "common/range.h"

/* Claims at once: each is a descriptor, and mostly a process that asks. */
#define GRANT_CLAIMS_MAX 128

struct grant;
struct question;
struct scan;

typedef void (*grant_fn)(struct grant *g);
/* The census, or it and the scan, have an answer. */
typedef void (*grant_answer_fn)(struct grant *g, enum witness answer);

/* A look at uids that the census called busy: stranger.c's alone, but for `tasks`. */
struct stranger {
    struct uid_range range;
    unsigned looks;
    bool wants_scan, scanning;
    struct tasks tasks; /* what the last look saw */
    uint32_t asked;     /* uids of the range that were counted beside their zombies */
    grant_answer_fn then;
};

struct grant {
    struct granter *granter;
    struct grant *next; /* in order of arrival */

    /* What was asked for. The request's texts are the four arrays. */
    struct grant_request request;
    char pool_name[UIDPOOL_NAME_MAX + 1], name[UIDPOOL_NAME_MAX + 1];
    char uuid[UIDPOOL_UUID_LEN + 1], reason[UIDPOOL_REASON_MAX + 1];
    int64_t deadline;
    outcome_fn done;
    void *userdata;

    /* What it waits for. With none of it, it is in the hands of the committer or the revoker. */
    grant_fn wake; /* what the armed event runs, or its turn when it is ready */
    bool ready;
    bool queued; /* behind another job for the same owner */
    sd_event_source *timer, *io;
    int64_t backoff;
    int answer_fd;
    grant_answer_fn then;

    /* Its question, while that is under way or to be asked in this turn. */
    bool asks, asks_alone;
    struct grant *beside; /* next one of the same question */

    /* The rules' own: lease.c. */
    struct uidpool_pool pool;
    struct uidpool_reservation reserved;
    bool is_reserved;
    struct pool_walk walk;
    struct uid_range want; /* the candidate; claimed while claim_fd is not -1 */
    int claim_fd;
    size_t claim;          /* its place among the granter's */
    bool in_hands;         /* a free candidate was claimed by somebody else */
    unsigned foreign;      /* strangers met */
    unsigned refusals;     /* by the ledger */
    uint32_t hold_at;      /* of a block, the uid that is looked at */
    bool overtaken;        /* the owner had a lease by the time of the write */
    bool ran_already;      /* adopted */
    bool other_boot;       /* rests that a reboot ended are to be freed */
    size_t revoking;       /* revocations that come first, */
    struct problem failed; /* and what came of the first that failed */
    struct stranger who;   /* is in the way */

    struct uidpool_lease lease; /* with an id: it is in the ledger */
    struct problem problem;
    struct uidpool_survivor *survivors;
    size_t n_survivors;
};

struct granter {
    struct allocator *allocator;
    sd_event *event;
    struct grant *jobs, **end;
    size_t n_jobs;
    bool in_turn;
    struct grant *claims[GRANT_CLAIMS_MAX]; /* who has one, in no order */
    size_t n_claims;
    struct deferred work; /* begins jobs, and asks for those who want to */
    struct question *questions;
    /* How full the pool was that was counted last, when that was, and how long it took. */
    struct uidpool_pool counted;
    int64_t counted_at, count_took;
    struct scan *scan; /* shared by all who look for strangers */
    struct deferred scanning;
};

/* Have a turn: somebody is ready, or asks. */
void granter_wake(struct granter *granter);

/* How to go on, last statement of a step each: in the granter's next turn; in so many microseconds;
 * or over. Without events a job ends. */
void grant_soon(struct grant *g, grant_fn wake);
void grant_later(struct grant *g, int64_t usec, grant_fn wake);
void grant_end(struct grant *g, enum uidpool_status status);

bool grant_is_late(const struct grant *g);
/* Microseconds to the next try: longer each time, never beyond the deadline. */
int64_t grant_backoff(struct grant *g);

/* Add them to what the job will tell. */
void grant_keep_survivors(struct grant *g, const struct outcome *outcome);

/* Is another job for the same owner, in the same pool, under way since before this one? */
bool grant_is_behind(const struct grant *g);

/* Claim g->want. 0, -EAGAIN, or another negative errno as ledger_claim_uids(). */
int grant_claim(struct grant *g);
void grant_unclaim(struct grant *g);
/* Do uids that a job of this granter has claimed lie in the range? *ret_behind: the first uid
 * behind them. Costs no system call. */
bool grant_meets_claims(const struct grant *g, struct uid_range range, uid_t *ret_behind);

/* Ask the census about uids that g->want has, `zombies` of each. */
void grant_ask_now(struct grant *g, struct uid_range range, uint32_t zombies, grant_answer_fn then);

/* question.c: the same about g->want, without zombies, together with neighbours that ask in this
 * turn. */
void grant_ask(struct grant *g, grant_answer_fn then);
/* Send what was asked since the last turn. */
void granter_send_questions(struct granter *granter);
void granter_drop_questions(struct granter *granter);

/* Have it written with others. */
void grant_write(struct grant *g, commit_write_fn write, commit_done_fn done);

/* lease.c: the first step. */
void grant_begin(struct grant *g);
/* The same in a moment, since somebody else was faster; `status`: did the ledger refuse it? */
void grant_look_again(struct grant *g, enum uidpool_status status);
/* The next one of the walk that can be had; the last one's claim is dropped. */
void grant_next_candidate(struct grant *g);
/* The owner's leases that are leased or being revoked. */
enum uidpool_status grant_read_owner(const struct grant *g, struct lease_list *ret,
                                     struct problem *p);
/* Is there but one candidate? */
static inline bool grant_is_fixed(const struct grant *g)
{
    return g->walk.fixed != UIDPOOL_NO_UID;
}

/* award.c: the census's answer about g->want, which is claimed. */
void award_asked(struct grant *g, enum witness answer);

/* stranger.c: does anything run as these uids, of g->want? `look`: the census called them busy
 * already. The kernel also counts the dead whom nobody has reaped yet, such as a former holder's;
 * they are no stranger. UNKNOWN when they are being reaped all the time. */
void stranger_ask(struct grant *g, struct uid_range range, grant_answer_fn then);
void stranger_look(struct grant *g, struct uid_range range, grant_answer_fn then);
/* After BUSY: a name for whoever is there, as far as the last look saw. Returns `buf`. */
const char *stranger_describe(const struct grant *g, char *buf, size_t size);
void stranger_drop_scan(struct granter *granter);

#endif
