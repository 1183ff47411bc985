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

#include <stddef.h>

/* Seconds after which a census that somebody stopped counts as BUSY. */
#define CENSUS_PATIENCE_SEC 5

/* The helper, started with the first question and kept for the next ones. One for each handle; it
 * serves one thread. */
struct census;

/* NULL: no memory. */
struct census *census_new(void);
/* Ends the helper. Questions under way are answered to nobody, and hold their claims until then.
 * NULL is allowed. */
void census_free(struct census *c);
/* The helper gives no answer, since somebody has stopped it, say: end it. What it was asked is
 * UNKNOWN at once, and the next question starts another. */
void census_give_up(struct census *c);

/*
 * Ask about every uid of the range. `zombies` is how many dead tasks *each* uid is known to have,
 * which the kernel still counts. `claim_fd` is kept open by whoever asks, until the answer. Returns
 * a descriptor that becomes readable then, and is the caller's to close, at any time; or a negative
 * errno.
 */
int census_start(struct census *c, struct uid_range range, uint32_t zombies, int claim_fd);
/* The same for uids that several have claimed: all the claims are kept open. At most so many. */
#define CENSUS_CLAIMS_MAX 32
int census_start_shared(struct census *c, struct uid_range range, uint32_t zombies,
                        const int *claim_fds, size_t n_claims);

/*
 * The answer, once the descriptor is readable. EMPTY: every uid has exactly `zombies` tasks. BUSY:
 * one has more. UNKNOWN: one has fewer (the zombies were reaped meanwhile: look again), there is no
 * answer yet, or the helper failed; it said why on standard error.
 */
enum witness census_finish(int fd);
/* The same when it was waited for long enough: without an answer the helper is given up. */
enum witness census_finish_late(struct census *c, int fd);

/*
 * How many tasks have a uid of the range as real uid now, the unreaped among them. For the record:
 * it is out of date when it arrives, and no proof. Start as census_start(), then, once readable:
 * 0..CENSUS_TALLY_MAX, the latter for so many and more, or a negative errno (-EAGAIN: not yet).
 */
#define CENSUS_TALLY_MAX 250
int census_tally_start(struct census *c, struct uid_range range, int claim_fd);
int census_tally_finish(int fd);
/* The same for each uid by itself, of which several have claimed some. */
#define CENSUS_TALLIES_MAX 64
int census_tallies_start(struct census *c, struct uid_range range, const int *claim_fds,
                         size_t n_claims);
/* Fills `ret`, one for each uid, 0 for what could not be counted. 0, or a negative errno: it is not
 * filled. */
int census_tallies_finish(int fd, uint32_t count, uint8_t *ret);

/* Start, wait and finish. */
enum witness census_ask(struct census *c, struct uid_range range, uint32_t zombies, int claim_fd);

#endif
