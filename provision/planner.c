/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The plan as a whole: plan-users.c, plan-groups.c and plan-guards.c plan the files' lines,
 * plan-ledger.c what the ledger is told. Pure. */
#include "provision/planner.h"

#include "provision/planning.h"

#include <errno.h>
#include <stdlib.h>

/* A second line of one name would make the file unreadable. */
static void check_twice(struct planning *p, size_t user, size_t group)
{
    static const char advice[] = "change Prefix= or RangeBase=, for accounts keep their names";

    if (user != NAMEINDEX_NONE)
        planning_complain(p, COMPLAINT_WANTED_TWICE, "user %s would have to be there twice: %s",
                          p->roster->users[user].name, advice);
    if (group != NAMEINDEX_NONE)
        planning_complain(p, COMPLAINT_WANTED_TWICE, "group %s would have to be there twice: %s",
                          p->roster->groups[group].name, advice);
}

static int prepare(struct planning *p)
{
    const struct roster *r = p->roster;
    size_t user, group;

    if (nameindex_make(r->users, r->n_users, sizeof(*r->users), &p->users, &user) < 0 ||
        nameindex_make(r->groups, r->n_groups, sizeof(*r->groups), &p->groups, &group) < 0)
        return -ENOMEM;
    /* One more than there are, as no bytes may be NULL. */
    p->user_places = calloc(r->n_users + 1, sizeof(*p->user_places));
    p->group_places = calloc(r->n_groups + 1, sizeof(*p->group_places));
    if (!p->user_places || !p->group_places)
        return -ENOMEM;
    for (size_t i = 0; i < ACCOUNT_FILES; i++)
        p->plan.drafts[i].add_at = p->files->tables[i].add_at;
    check_twice(p, user, group);
    return 0;
}

static int make(struct planning *p)
{
    int r = prepare(p);

    if (r < 0)
        return r;
    plan_groups_compare(p);
    plan_users_compare(p);
    plan_groups_add(p);
    plan_users_add(p);
    plan_guards(p);
    plan_ledger(p);
    planning_count_untold(p);
    return p->error;
}

int plan_make(const struct choices *choices, const struct state *state,
              const struct account_files *files, const struct roster *roster,
              const struct user_request *request, struct plan *ret, struct findings *findings)
{
    struct planning p = {.choices = choices,
                         .state = state,
                         .files = files,
                         .roster = roster,
                         .request = request,
                         .findings = findings};
    int r = make(&p);

    nameindex_clear(&p.users);
    nameindex_clear(&p.groups);
    free(p.user_places);
    free(p.group_places);
    free(p.gid_wanted);
    linetext_clear(&p.text);
    if (r < 0) {
        plan_clear(&p.plan);
        return r;
    }
    *ret = p.plan;
    return 0;
}
