/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A revocation under way, and the revoker it belongs to: what allocator/revocation/job.c (events
 * and ends), revoke.c (the phases), volley.c (kills) and revoker.c (the queue and the shared scan)
 * have in common. Nobody else includes this; revoker.h is the door.
 */
#ifndef ALLOCATOR_JOB_H
#define ALLOCATOR_JOB_H

#include "allocator/await.h"
#include "allocator/committer.h"
#include "allocator/deferred.h"
#include "allocator/machine.h"
#include "allocator/reaper.h"
#include "allocator/residue.h"
#include "allocator/revocation/revocation.h"
#include "allocator/scan.h"
#include "allocator/tasks.h"

#include <systemd/sd-event.h>

struct job;
struct revoker;
struct rollcall;
struct volley;

typedef void (*phase_fn)(struct job *job);

struct job {
    struct revoker *revoker;
    struct job *next;
    enum revocation_kind kind;
    struct uidpool_lease lease;
    struct uidpool_pool pool;
    bool was_other_boot;
    int64_t timeout, deadline;
    const struct revocation_guard *guard; /* or NULL */
    outcome_fn done;
    void *userdata;

    bool active, wants_scan, scanning;
    phase_fn wake; /* what `await` is for */
    struct await await;
    int64_t backoff, killed_at;

    /* What it wants to have done, with others who want the same. */
    bool wants_kill, wants_count, wants_sweep, sweeping;
    struct volley *volley;
    struct rollcall *rollcall;
    struct job *beside; /* the next one of the same volley or roll call */
    bool ready;         /* the lease is durably in revoking */
    bool killed_alone, counted_alone;

    phase_fn allowed; /* what the guard is asked for */
    int guard_fd;

    /* The write that is with the committer. */
    enum lease_event event;
    uint32_t rest;
    struct uidpool_lease stepped;

    int claim_fd, census_fd, wait_fd;
    struct tasks tasks;
    size_t task;          /* the one waited for */
    uint32_t census_done; /* uids of the range the census has called empty */
    uint32_t census_now;  /* and how many it is asked about */
    bool tallied;
    uint32_t tally;  /* tasks the kernel counted before the first kill */
    uint32_t killed; /* tasks that earlier scans saw and later ones did not */
    struct residue *residue;
    char detail[640];                    /* of the evidence: why it failed, or what was left */
    char reason[UIDPOOL_REASON_MAX + 1]; /* of the lease */
    struct evidence evidence;
    struct uidpool_survivor *survivors;
    size_t n_survivors;
    struct problem problem;
};

struct revoker {
    struct allocator *allocator;
    sd_event *event;
    struct job *jobs, **end; /* in order of arrival */
    size_t n_jobs, n_active, active_max;
    struct volley *volleys;
    struct rollcall *rollcalls;
    struct reaper_accounts accounts;
    struct orphan *orphans;
    struct scan *scan;
    int64_t scan_wanted, scan_begun, scan_cost;
    struct residue *sweep;
    sd_event_source *begin; /* waiting jobs */
    struct deferred muster; /* kills and questions, for those who want them together */
    sd_event_source *work;  /* begins and steps the scan and the sweep */
    sd_event_source *hurry; /* the same, where the loop has always something better to do */
};

/* A job with nothing begun. NULL if there is no memory. */
struct job *job_new(struct revoker *r, enum revocation_kind kind, const struct uidpool_lease *lease,
                    int64_t timeout);
/* Drops everything it has; what it was about to write never is. */
void job_free(struct job *job);
/* Takes the job out of the revoker. */
void job_unlink(struct job *job);
/* Takes the job out of the revoker, tells its owner, frees it. Last statement of a phase. */
void job_end(struct job *job, enum uidpool_status status);
/* Run `wake` in `usec`, or, with a descriptor, as soon as that is readable. Last statement of a
 * phase: without events it ends the job. */
void job_later(struct job *job, int fd, int64_t usec, phase_fn wake);
/* The same, with the patience that a helper for so many uids deserves. */
void job_await(struct job *job, int fd, uint32_t uids, phase_fn wake);
int64_t helper_patience(uint32_t uids);
bool job_is_late(const struct job *job);
/* Microseconds to the next look: longer each time, never beyond the deadline. */
int64_t job_backoff(struct job *job);

/* Give `write` to the committer; `done` gets the job. Last statement of a phase. */
void job_commit(struct job *job, commit_write_fn write, commit_done_fn done);
/* Remember who outlived the kill, for the outcome. */
void job_keep_survivors(struct job *job);

/* Have the revoker begin a job, if one waits and may; */
void revoker_wake(struct revoker *r);
/* look after those that want to be killed or counted, when all that is ready had its turn; */
void revoker_muster(struct revoker *r);
/* and scan or sweep for those who want that. */
void revoker_work(struct revoker *r);
/* The active jobs of which `wants` is true, in order of uid; n_active at most. */
size_t revoker_collect(const struct revoker *r, bool (*wants)(const struct job *),
                       struct job **ret);
/* End a helper whose answer nobody wants any more, without waiting for that, and reap it when it is
 * gone. Until then it holds what it inherited: a claim, a reaper's lock. Takes the pidfd. */
void revoker_bury(struct revoker *r, int pidfd);

#endif
