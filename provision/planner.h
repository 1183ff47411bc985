/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Makes the plan. Pure: the same arguments give the same plan, nothing is read, asked or written.
 */
#ifndef PROVISION_PLANNER_H
#define PROVISION_PLANNER_H

#include "provision/plan.h"

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

#endif
