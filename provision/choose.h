/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The numbers that the configuration leaves open: Base=auto, and the uids of accounts outside of
 * every pool. Everything that was chosen before, by us or by hand, is chosen again: a pool of the
 * ledger keeps its base, an account of the files its uid. So a run that was cut off is carried on
 * with the same numbers.
 */
#ifndef PROVISION_CHOOSE_H
#define PROVISION_CHOOSE_H

#include "provision/settings.h"
#include "provision/state.h"
#include "provision/world.h"

enum pool_fate {
    POOL_NEW,     /* not in the ledger */
    POOL_BEGUN,   /* in the ledger, not finished: an earlier run was cut off */
    POOL_KNOWN,   /* in the ledger */
    POOL_RETIRED, /* in the ledger, retired; nothing is done for it */
    POOL_STUCK,   /* no range could be found; a conflict says why, nothing is done for it */
};

/* One pool of the settings, with every number it needs. */
struct chosen_pool {
    const struct pool_settings *settings;
    enum pool_fate fate;
    bool adopted; /* new, on the number of an account or group that somebody made */
    uid_t base;
    gid_t gid;                        /* the shared gid; the base where each uid has its own */
    uint32_t shared_id;               /* uid and gid of PREFIX-shared; 0 if not wanted */
    uint32_t reaper_id;               /* of PREFIX-reaper; 0 if not wanted */
    const struct uidpool_pool *known; /* or NULL */
};

struct choices {
    struct chosen_pool *pools; /* as settings.pools */
    size_t n;
};

/*
 * Choose for every pool of the settings. What stands in the way becomes a finding (conflicts: a
 * range or size that is not the ledger's, ranges that overlap, an account on another uid, ids in
 * use by others as world_check_range() has it, names that other name services know); the pool's
 * numbers are then as good as could be found, for the plan to be shown. For pools that the ledger
 * has and that are finished, the world is asked only with `thorough` (check), and its answers are
 * drift; so is a pool that was begun and has no section any more. UIDPOOL_FAILED: could not look.
 */
enum uidpool_status choose(const struct settings *settings, const struct state *state,
                           const struct account_files *files, const struct world *world,
                           bool thorough, struct choices *ret, struct findings *findings,
                           struct problem *p);
void choices_clear(struct choices *c);

#endif
