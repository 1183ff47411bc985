/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The plan's lines of subuid and subgid: our guards over the pools' ranges. And whether one of our
 * accounts has a grant there, which it must not: what runs as a guest's uid could map it. Pure. */
#include "provision/planning.h"

#include "allocator/hostrange.h"
#include "common/ids.h"

#include <string.h>

static void plan_guard(struct planning *p, enum account_file file, struct uid_range range)
{
    const struct account_table *t = planning_table(p, file);
    const struct entry *e, *wrong = NULL;

    for (size_t i = 0; (e = table_in_range(t, range.first, 1, i)); i++) {
        if (!entry_is_guard(e))
            continue;
        if (e->count == range.count)
            return;
        if (!wrong)
            wrong = e;
    }
    linetext_begin(&p->text);
    linetext_put_text(&p->text, HOSTRANGE_GUARD ":");
    linetext_put_number(&p->text, range.first);
    linetext_put_text(&p->text, ":");
    linetext_put_number(&p->text, range.count);
    if (wrong)
        planning_replace(p, file, wrong, "the pool has another size");
    else
        planning_add(p, file);
}

/* subuid(5): the owner is a name, or a uid in digits. */
static bool is_ours(const struct planning *p, const struct entry *e)
{
    const struct account_table *users = planning_table(p, FILE_PASSWD);
    const struct entry *user;
    char owner[32];
    uint64_t uid;

    if (nameindex_find(&p->users, e->name, e->name_length) != NAMEINDEX_NONE)
        return true;
    if (e->name_length >= sizeof(owner))
        return false;
    memcpy(owner, e->name, e->name_length);
    owner[e->name_length] = '\0';
    if (parse_u64(owner, UID_END - 1, &uid) < 0)
        return false;
    for (size_t i = 0; i < p->roster->n_guards; i++)
        if (uid_range_has(p->roster->guards[i].range, (uid_t)uid))
            return true;
    /* Accounts outside of every pool, or of a pool whose section is gone. */
    for (size_t i = 0; (user = table_in_range(users, (uint32_t)uid, 1, i)); i++)
        if (nameindex_find(&p->users, user->name, user->name_length) != NAMEINDEX_NONE)
            return true;
    return false;
}

static void check_grants(struct planning *p, enum account_file file)
{
    const struct account_table *t = planning_table(p, file);

    for (size_t i = 0; i < t->n; i++) {
        const struct entry *e = &t->entries[i];

        if (is_ours(p, e))
            planning_complain(p, COMPLAINT_GRANT,
                              "%s grants %u ids from %u on to %.*s, which should have none: remove "
                              "its line %u",
                              account_file_path(file), e->count, e->id, PLANNING_SHOW(e),
                              e->line + 1);
    }
}

/* Does a pool that somebody knows have some of these ids? */
static bool is_known(const struct planning *p, struct uid_range range)
{
    for (size_t i = 0; i < p->roster->n_guards; i++) {
        struct uid_range guard = p->roster->guards[i].range;

        if (uid_ranges_overlap(guard.first, guard.count, range.first, range.count))
            return true;
    }
    return state_overlap(p->state, range) != NULL;
}

/* Guards are written when the ledger has the pool, so one of no pool tells that the ledger was lost
 * and made anew. */
static void tell_of_lost_pools(struct planning *p)
{
    const struct account_table *t = planning_table(p, FILE_SUBUID);

    for (size_t i = 0; i < t->n; i++) {
        const struct entry *e = &t->entries[i];

        if (entry_is_guard(e) && !is_known(p, (struct uid_range){e->id, e->count}))
            findings_add(p->findings, FINDING_WARNING,
                         "%s, line %u: a guard over %u ids from %u on, but the ledger has no such "
                         "pool; if it was lost, see uidpool-provision(8), 'When the ledger is "
                         "lost', and else remove that line",
                         account_file_path(FILE_SUBUID), e->line + 1, e->count, e->id);
    }
}

void plan_guards(struct planning *p)
{
    static const enum account_file files[] = {FILE_SUBUID, FILE_SUBGID};

    for (size_t f = 0; f < 2; f++) {
        if (planning_table(p, files[f])->missing)
            continue;
        for (size_t i = 0; i < p->roster->n_guards; i++)
            plan_guard(p, files[f], p->roster->guards[i].range);
        check_grants(p, files[f]);
    }
    tell_of_lost_pools(p);
}
