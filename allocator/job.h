/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A revocation under way, and the revoker it belongs to: what allocator/job.c (events and ends),
 * revoke.c (the phases) and revoker.c (the queue and the shared scan) have in common. Nobody else
 * includes this; revoker.h is the door.
 */
#ifndef ALLOCATOR_JOB_H
#define ALLOCATOR_JOB_H

#include "allocator/reaper.h"
#include "allocator/residue.h"
#include "allocator/revocation.h"
#include "allocator/scan.h"
#include "allocator/tasks.h"

#include <systemd/sd-event.h>

struct job;
struct revoker;

typedef void (*phase_fn)(struct job *job);

struct job {
    struct revoker *revoker;
    struct job *next;
    enum revocation_kind kind;
    struct uidpool_lease lease;
    struct uidpool_pool pool;
    bool was_other_boot;
    int64_t timeout, deadline;
    revocation_done_fn done;
    void *userdata;

    bool active, wants_scan, scanning;
    phase_fn wake; /* what the armed event runs */
    sd_event_source *timer, *io;
    int64_t backoff, killed_at;

    int claim_fd, helper_fd, census_fd, tally_fd, wait_fd;
    struct reaper reaper;
    uid_t reaper_in_use; /* the last one that the census found to be */
    struct tasks tasks;
    size_t task;          /* the one waited for */
    uint32_t census_done; /* uids of the range the census has called empty */
    uint32_t census_now;  /* and how many it is asked about */
    bool tallied;
    uint32_t tally;  /* tasks the kernel counted before the first kill */
    uint32_t killed; /* tasks that earlier scans saw and later ones did not */
    struct residue *residue;
    char residue_text[384];
    struct evidence evidence;
    struct problem problem;
};

struct revoker {
    struct allocator *allocator;
    sd_event *event;
    struct job *jobs; /* in order of arrival */
    size_t n_jobs, n_active;
    struct scan *scan;
    sd_event_source *work; /* begins and steps the scan, and starts waiting jobs */
};

/* A job with nothing begun. NULL if there is no memory. */
struct job *job_new(struct revoker *r, enum revocation_kind kind, const struct uidpool_lease *lease,
                    int64_t timeout);
/* Drops everything it has: helpers are ended and reaped first. */
void job_free(struct job *job);
/* Takes the job out of the revoker, tells its owner, frees it. Last statement of a phase. */
void job_end(struct job *job, enum uidpool_status status);
/* Run `wake` in `usec`, or, with a descriptor, as soon as that is readable. Last statement of a
 * phase: without events it ends the job. */
void job_later(struct job *job, int fd, int64_t usec, phase_fn wake);
/* The same, with the patience that a helper for so many uids deserves. */
void job_await(struct job *job, int pidfd, uint32_t uids, phase_fn wake);
bool job_is_late(const struct job *job);
/* Microseconds to the next look: longer each time, never beyond the deadline. */
int64_t job_backoff(struct job *job);

/* Have the revoker look for work: a scan that is wanted, a job that may begin. */
void revoker_wake(struct revoker *r);

#endif
