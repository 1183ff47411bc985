/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What has to be changed so that ledger and files are as they should be. Pure: the same arguments
 * give the same plan, nothing is read, asked or written. */
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

/*
 * Compare. Findings are conflicts (a name on another uid, a uid of another name, a group's number
 * that is taken, an odd line that begins with one of our names, one name wanted twice), of each
 * sort eight and then how many more; and drift: a grant of subordinate ids to one of our accounts.
 *
 * Ours: a password field that is not `x` becomes `x`; a line of shadow or gshadow that could be
 * used, also one that waits for a user or a group that is not there yet, is locked where it stands;
 * in gshadow the members become those of group, and the administrators nobody. The rest of a line
 * that is there is kept.
 *
 * Besides our own accounts it mends what a killed tool left of others: a user whose password is
 * `x` without a line in shadow gets a locked one; a group whose password is `x` without a line in
 * gshadow gets one with its members; a user whose number is its group's, where no group has that
 * number or the user's name, gets that group.
 *
 * A run that was cut off behind any of the files, in the order of enum account_file, is carried on
 * to the same bytes.
 * 0 or -ENOMEM.
 */
int plan_make(const struct choices *choices, const struct state *state,
              const struct account_files *files, const struct roster *roster,
              const struct user_request *request, struct plan *ret, struct findings *findings);
bool plan_is_empty(const struct plan *plan);
void plan_clear(struct plan *plan);

#endif
