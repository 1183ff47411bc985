/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the rooms of a plan do in common: complain, and write lines into the drafts. Pure. */
#include "provision/planning.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

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

void planning_count_untold(struct planning *p)
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
