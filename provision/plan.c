/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A plan's life behind its making. */
#include "provision/plan.h"

#include <stdlib.h>

bool plan_is_empty(const struct plan *plan)
{
    for (size_t i = 0; i < ACCOUNT_FILES; i++)
        if (!draft_is_empty(&plan->drafts[i]))
            return false;
    return plan->n_steps == 0;
}

void plan_clear(struct plan *plan)
{
    for (size_t i = 0; i < ACCOUNT_FILES; i++)
        draft_clear(&plan->drafts[i]);
    free(plan->steps);
    *plan = (struct plan){0};
}
