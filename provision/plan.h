/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What has to be changed so that ledger and files are as they should be: the drafts of the files,
 * and what the ledger is told. Made by provision/planner.h. */
#ifndef PROVISION_PLAN_H
#define PROVISION_PLAN_H

#include "provision/roster.h"

/* What the ledger is to be told, in this order. Pools and accounts are begun before the files are
 * touched, and finished behind that: what is begun is the intent that a next run carries on. */
enum ledger_step_kind {
    STEP_POOL_BEGIN,     /* insert it; it gives no leases yet */
    STEP_POOL_CHANGE,    /* policy, group, quarantine, follow, resolve */
    STEP_POOL_FINISH,    /* it may give leases from now on */
    STEP_ACCOUNT_BEGIN,  /* reserve the uid, note the account */
    STEP_ACCOUNT_FINISH, /* made, or locked */
    STEP_ACCOUNT_REMOVE, /* note that it is to be locked */
};

struct ledger_step {
    enum ledger_step_kind kind;
    struct uidpool_pool pool;      /* as it is to be; STEP_POOL_* */
    struct ledger_account account; /* STEP_ACCOUNT_* */
    char detail[160];              /* what changes, for people: "quarantine 60 -> 30" */
};

struct plan {
    struct draft drafts[ACCOUNT_FILES];
    struct ledger_step *steps;
    size_t n_steps;
};

bool plan_is_empty(const struct plan *plan);
void plan_clear(struct plan *plan);

#endif
