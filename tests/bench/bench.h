/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the benchmarks share: a clock, samples and their medians, a directory on a real disk, the
 * ledger in it, and the bare SQLite file beside it that is their floor. Writes below that directory
 * alone. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include "allocator/allocator.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/* The benchmarks' own uids: the kernel counts tasks over all PID namespaces, so what runs at the
 * same time must keep off them. */
#define BENCH_UID_FIRST UINT32_C(2114912256)
#define BENCH_POOL_SIZE UINT32_C(32752)
/* For idle bystanders, the floor's victims and the floor's reaper. */
#define BENCH_UID_IDLE (BENCH_UID_FIRST + 4 * UINT32_C(65536))
#define BENCH_UID_VICTIM (BENCH_UID_IDLE + 1)
#define BENCH_UID_PEER (BENCH_UID_IDLE + 2)
#define BENCH_UID_REAPER (BENCH_UID_IDLE + 65536)

/* Say what failed and end the program. */
_Noreturn void bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same for a status that is not UIDPOOL_OK. */
void bench_check(enum uidpool_status status, const struct problem *p, const char *what);

/* Nanoseconds of CLOCK_MONOTONIC. */
int64_t bench_now(void);

/* Durations in nanoseconds. */
struct samples {
    int64_t *items;
    size_t n, allocated;
};

void samples_add(struct samples *s, int64_t nanoseconds);
/* 0..100; sorts them. */
int64_t samples_percentile(struct samples *s, unsigned percent);
void samples_clear(struct samples *s);

/* One line of the table: the work, its floor or peer, the work itself, their ratio and the limit
 * ("-" for none), the last two as text. */
void bench_row(const char *work, const char *floor, const char *own, const char *ratio,
               const char *limit);
/* The same from samples: medians and their ratio. */
void bench_row_samples(const char *work, struct samples *floor, struct samples *own,
                       const char *limit);

/* A directory below the working directory, made at the first call and removed with all in it when
 * the program ends. */
const char *bench_directory(void);

/* The one that floor and work ask alike. */
struct census *bench_census(void);

/* A process of that uid, like a device model: a few threads that sleep. They run when this returns.
 */
pid_t bench_start_victim(uid_t uid);
/* In a child: all three uids and gids. */
void bench_become(uid_t uid);
/* The places that are searched for residue, with a known number of files in them. */
void bench_mount_places(void);

/* A fresh ledger there, with the one pool "bench" at BENCH_UID_FIRST, whose
 * uids do not rest. */
void bench_ledger(struct allocator *a, const char *name, enum uidpool_policy policy);

/* An unproven lease becomes free without a kill: the evidence is made up. One transaction. */
void bench_end_lease(struct ledger *l, const struct uidpool_lease *lease);

/* Lease without a census and end it, until the write-ahead log has come round: only then does it
 * overwrite itself instead of growing, which is cheaper to sync. */
void bench_warm_ledger(struct allocator *a);

/* SQLite as bare as a durable commit can be: WAL, synchronous=FULL, one prepared one-row insert. */
struct bare;
struct bare *bare_open(const char *name);
void bare_close(struct bare *b);
void bare_commit(struct bare *b);
/* As bench_warm_ledger(). */
void bare_warm(struct bare *b);
/* BEGIN IMMEDIATE under the busy handler; then insert and COMMIT. */
void bare_begin(struct bare *b);
void bare_insert_and_end(struct bare *b);

#endif
