/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The scan: the first witness. Walks every task of every process in /proc and compares all four
 * of its uids with the ranges asked for. Sees euid-only tasks, foreign threads and zombies, which
 * the census cannot; is not atomic and ends at its PID namespace, which the census is not.
 *
 * Works in steps, so that an event loop stays awake, and for many ranges at once, so that
 * revocations in flight share one. Changes nothing and signals nobody.
 */
#ifndef ALLOCATOR_SCAN_H
#define ALLOCATOR_SCAN_H

#include "common/range.h"
#include "db/ledger.h"

#include <stddef.h>

struct scan_task {
    pid_t pid; /* thread group */
    pid_t tid;
    uid_t uids[4]; /* real, effective, saved, file system */
    char state;    /* proc(5); 'Z' is a zombie, everything else runs or may run */
    char command[32];
};

struct scan;

/* Prepare a scan for these ranges (copied). 0 or a negative errno. */
int scan_new(const struct uid_range *ranges, size_t n_ranges, struct scan **ret);
void scan_free(struct scan *s);

/* Look at up to `max_processes` more. 1: there are more, 0: done. Trouble is no error here: it
 * makes the answer UNKNOWN. */
int scan_step(struct scan *s, unsigned max_processes);

/* After it is done. Tasks, zombies among them, that have one of their uids in one of the ranges;
 * the scan owns them. */
size_t scan_tasks(const struct scan *s, const struct scan_task **ret);

/* How many tasks it looked at. */
uint32_t scan_looked(const struct scan *s);

/* NULL if the scan saw everything there is to see, else why not (the answer is then UNKNOWN). It
 * cannot see everything without CAP_SYS_PTRACE (hidepid=), in a user namespace that does not map
 * all uids, when /proc is not procfs or something is mounted over a part of it, or when a task's
 * status could not be read for any reason but its end. */
const char *scan_blind(const struct scan *s);

/* BUSY if a task that is not a zombie has a uid in this range; EMPTY if none and the scan was not
 * blind. */
enum witness scan_answer(const struct scan *s, struct uid_range range);

/* Look again at one task. 0 and *ret filled; -ESRCH: it is gone; or a negative errno. */
int scan_look(pid_t pid, pid_t tid, struct scan_task *ret);

/* Read what /proc/PID/status says (NUL-terminated text). Fills uids, state, command, and the number
 * of threads (0 if not said). 0 or -EBADMSG. Public for its fuzzer. */
int scan_parse_status(const char *text, struct scan_task *ret, unsigned *ret_threads);

#endif
