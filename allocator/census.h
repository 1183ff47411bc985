/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The census: the second witness. The kernel counts tasks per real uid over all PID namespaces;
 * the helper uidpool-census asks it, in constant time, whether there are any (facts: a task over
 * RLIMIT_NPROC cannot fork). Misses tasks that have the uid as effective uid only.
 *
 * Two censuses of one uid at once would count each other: hold ledger_claim_uids() meanwhile and
 * pass the claim on.
 */
#ifndef ALLOCATOR_CENSUS_H
#define ALLOCATOR_CENSUS_H

#include "common/range.h"
#include "db/ledger.h"

/* Seconds after which a census that somebody stopped counts as BUSY. */
#define CENSUS_PATIENCE_SEC 5

/*
 * Start it for every uid of the range. `zombies` is how many dead tasks *each* uid is known to
 * have, which the kernel still counts. `claim_fd` is inherited. Returns a pidfd or a negative
 * errno.
 */
int census_start(struct uid_range range, uint32_t zombies, int claim_fd);

/*
 * Its answer, once the pidfd is readable. EMPTY: every uid has exactly `zombies` tasks. BUSY: one
 * has more. UNKNOWN: one has fewer (the zombies were reaped meanwhile: look again), or the helper
 * failed; it said why on standard error.
 */
enum witness census_finish(int pidfd);

/*
 * How many tasks have a uid of the range as real uid now, the unreaped among them. For the record:
 * it is out of date when it arrives, and no proof. Start as census_start(), then, once the pidfd is
 * readable: 0..CENSUS_TALLY_MAX, the latter for so many and more, or a negative errno.
 */
#define CENSUS_TALLY_MAX 250
int census_tally_start(struct uid_range range, int claim_fd);
int census_tally_finish(int pidfd);

/* Start, wait and finish. */
enum witness census_ask(struct uid_range range, uint32_t zombies, int claim_fd);

#endif
