/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the ledger knows, read in one go, so that a plan can be made without it. */
#ifndef PROVISION_STATE_H
#define PROVISION_STATE_H

#include "db/ledger.h"

struct state {
    bool exists; /* there is a ledger */
    struct uidpool_pool *pools;
    size_t n_pools;
    struct ledger_account *accounts; /* those of `user add` */
    size_t n_accounts;
    uid_t reaper_first; /* the uids kept for the reaper */
    uint32_t reaper_count;
};

/* `l` NULL: no ledger yet, and what a new one would have. */
enum uidpool_status state_read(struct ledger *l, struct state *ret, struct problem *p);
void state_clear(struct state *s);

const struct uidpool_pool *state_pool(const struct state *s, const char *name);
const struct ledger_account *state_account(const struct state *s, const char *name);
/* A pool or the reaper that has one of these uids, or NULL; "the reaper". */
const char *state_overlap(const struct state *s, struct uid_range range);

#endif
