/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* plan, apply, check, sysusers: the way through of provision.h, and what is shown of it. */
#include "provision/verbs.h"

#include "common/log.h"

struct showing verbs_showing(const struct provision *v, const char *verb, const struct options *o)
{
    return (struct showing){
        .verb = verb,
        .json = o->json,
        .quiet = o->quiet,
        .files = &v->files,
        .state = &v->state,
        .choices = &v->choices,
        .roster = &v->roster,
        .plan = &v->plan,
        .findings = &v->findings,
        .leftovers = v->leftovers,
        .n_leftovers = v->n_leftovers,
    };
}

enum uidpool_status verbs_shown(int r, enum uidpool_status status, struct problem *p)
{
    if (r < 0 && (status == UIDPOOL_OK || status == UIDPOOL_FOUND))
        return problem_errno(p, r, "cannot prepare the output");
    return status;
}

enum uidpool_status verbs_refused(struct showing showing, enum uidpool_status status)
{
    static const struct plan nothing;

    showing.plan = &nothing;
    /* Whatever else failed is told on standard error alone. */
    if (showing.json && findings_count(showing.findings, FINDING_CONFLICT) == 0)
        (void)show_findings(showing.findings);
    else
        (void)show_plan(&showing);
    return status;
}

static enum uidpool_status look(struct provision *v, const char *verb, const struct options *o,
                                struct showing *ret, struct problem *p)
{
    enum uidpool_status status = provision_look(v, false, p);

    *ret = verbs_showing(v, verb, o);
    if (status != UIDPOOL_OK)
        (void)show_findings(&v->findings);
    return status;
}

enum uidpool_status verb_plan(struct provision *v, const struct options *o, struct problem *p)
{
    struct showing showing;
    enum uidpool_status status = look(v, "plan", o, &showing, p);

    if (status != UIDPOOL_OK)
        return status;
    if (findings_count(&v->findings, FINDING_CONFLICT) > 0)
        status = UIDPOOL_CONFLICT;
    else if (show_has_changes(&showing))
        status = UIDPOOL_FOUND;
    return verbs_shown(show_plan(&showing), status, p);
}

/* Conflicts are findings too: to look is all that was asked for. */
enum uidpool_status verb_check(struct provision *v, const struct options *o, struct problem *p)
{
    struct showing showing;
    enum uidpool_status status;

    v->thorough = true;
    status = look(v, "check", o, &showing, p);
    if (status != UIDPOOL_OK)
        return status;
    if (show_has_changes(&showing) || findings_count(&v->findings, FINDING_CONFLICT) > 0 ||
        findings_count(&v->findings, FINDING_DRIFT) > 0)
        status = UIDPOOL_FOUND;
    return verbs_shown(show_plan(&showing), status, p);
}

enum uidpool_status verb_sysusers(struct provision *v, const struct options *o, struct problem *p)
{
    struct showing showing;
    enum uidpool_status status = look(v, "sysusers", o, &showing, p);
    int r;

    if (status != UIDPOOL_OK)
        return status;
    r = show_findings(&v->findings);
    if (findings_count(&v->findings, FINDING_CONFLICT) > 0)
        return UIDPOOL_CONFLICT;
    return verbs_shown(r < 0 ? r : show_sysusers(&showing), status, p);
}

enum uidpool_status verb_apply(struct provision *v, const struct options *o, struct problem *p)
{
    enum uidpool_status status = provision_look(v, true, p);
    struct showing showing;

    if (status == UIDPOOL_OK)
        status = provision_carry_out(v, p);
    showing = verbs_showing(v, "apply", o);
    if (status != UIDPOOL_OK)
        return verbs_refused(showing, status);
    if (o->verbose && !show_has_changes(&showing))
        log_notice("nothing to do: ledger and account files are as the configuration says");
    return verbs_shown(show_plan(&showing), status, p);
}
