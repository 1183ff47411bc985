/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A plan as a whole: plan-users.c, plan-groups.c and plan-guards.c plan the files' lines,
 * plan-ledger.c what the ledger is told. Pure. */
#include "provision/plan.h"

#include "provision/planning.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    enum finding_kind kind;
    const char *others; /* those that are not told one by one */
} complaints[COMPLAINTS] = {
    [COMPLAINT_WANTED_TWICE] = {FINDING_CONFLICT, "accounts wanted twice"},
    [COMPLAINT_USER_UID] = {FINDING_CONFLICT, "users on another uid"},
    [COMPLAINT_UID_TAKEN] = {FINDING_CONFLICT, "uids that another user has"},
    [COMPLAINT_USER_GID] = {FINDING_CONFLICT, "users with another group"},
    [COMPLAINT_GROUP_GID] = {FINDING_CONFLICT, "groups on another gid"},
    [COMPLAINT_GID_TAKEN] = {FINDING_CONFLICT, "gids that another group has"},
    [COMPLAINT_ODD_LINE] = {FINDING_CONFLICT, "lines that are no entries"},
    [COMPLAINT_REMOVING] = {FINDING_CONFLICT, "removals"},
    [COMPLAINT_GRANT] = {FINDING_DRIFT, "grants to accounts that should have none"},
};

void planning_complain(struct planning *p, enum complaint complaint, const char *format, ...)
{
    char text[1024];
    va_list ap;

    if (p->told[complaint]++ >= PLANNING_TOLD_MAX)
        return;
    va_start(ap, format);
    (void)vsnprintf(text, sizeof(text), format, ap); /* cut if too long */
    va_end(ap);
    findings_add(p->findings, complaints[complaint].kind, "%s", text);
}

static void count_untold(struct planning *p)
{
    for (size_t i = 0; i < COMPLAINTS; i++)
        if (p->told[i] > PLANNING_TOLD_MAX)
            findings_add(p->findings, complaints[i].kind, "and %zu more %s",
                         p->told[i] - PLANNING_TOLD_MAX, complaints[i].others);
}

void planning_add(struct planning *p, enum account_file file)
{
    const char *line = linetext_end(&p->text);
    int r = line ? draft_add(&p->plan.drafts[file], line) : -ENOMEM;

    if (r < 0 && p->error == 0)
        p->error = r;
}

void planning_replace(struct planning *p, enum account_file file, const struct entry *e,
                      const char *why)
{
    const char *line = linetext_end(&p->text);
    int r = line ? draft_replace(&p->plan.drafts[file], e->line, line, why) : -ENOMEM;

    if (r < 0 && p->error == 0)
        p->error = r;
}

void planning_check_odd(struct planning *p, enum account_file file, const char *name)
{
    if (planning_table(p, file)->n_odd > 0 && table_has_odd(planning_table(p, file), name))
        planning_complain(p, COMPLAINT_ODD_LINE,
                          "%s has a line that begins with %s and is no entry (blanks before it, or "
                          "too few or too many fields): correct or remove it",
                          account_file_path(file), name);
}

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
    count_untold(p);
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
