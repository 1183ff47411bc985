/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The plan's lines of group and gshadow. Ours: there, on their gid, closed to everybody who is not
 * a member. Others': what a killed tool left half done. Pure. */
#include "provision/planning.h"

#include <inttypes.h>
#include <string.h>

/* Our user of this name lives in another group, and may. What roster.c wants a group of_user for is
 * then no business of ours. */
static bool user_has_another(const struct planning *p, const struct wanted_group *w)
{
    const struct entry *user;

    if (!w->of_user)
        return false;
    user = table_by_name(planning_table(p, FILE_PASSWD), w->name);
    return user && user->gid != w->gid;
}

/* `own`: the entry of the wanted group's name, or NULL. */
static enum group_place find_place(const struct planning *p, const struct wanted_group *w,
                                   const struct entry *own)
{
    if (user_has_another(p, w))
        return GROUP_ELSEWHERE;
    if (own && own->id == w->gid)
        return GROUP_THERE;
    if (w->any_name && table_by_id(planning_table(p, FILE_GROUP), w->gid))
        return GROUP_ELSEWHERE;
    return own ? GROUP_THERE : GROUP_MISSING;
}

/* Has another group than `own` (or NULL) this gid? */
static void check_gid(struct planning *p, const struct wanted_group *w, const struct entry *own)
{
    const struct account_table *t = planning_table(p, FILE_GROUP);
    const struct entry *other = table_in_range(t, w->gid, 1, 0);
    const struct id_at *odd = table_odd_in_range(t, w->gid, 1, 0);

    if (own && other == own)
        other = table_in_range(t, w->gid, 1, 1);
    if (other && !w->any_name)
        planning_complain(p, COMPLAINT_GID_TAKEN,
                          "gid %u is to be group %s's, and group %.*s has it in %s: give that one "
                          "another gid ('groupmod -g GID %.*s'), or remove it",
                          w->gid, w->name, PLANNING_SHOW(other), account_file_path(FILE_GROUP),
                          PLANNING_SHOW(other));
    if (odd && (!own || !w->any_name))
        planning_complain(
            p, COMPLAINT_GID_TAKEN,
            "gid %u is to be group %s's, and line %u of %s has it, which is no proper "
            "entry: correct or remove that line",
            w->gid, w->name, odd->at + 1, account_file_path(FILE_GROUP));
}

static void check_group(struct planning *p, const struct wanted_group *w, const struct entry *e)
{
    const char *line = planning_line(planning_table(p, FILE_GROUP), e);

    if (e->id != w->gid)
        planning_complain(p, COMPLAINT_GROUP_GID,
                          "group %s has gid %u in %s, not %u: 'groupmod -g %u %s', or remove it "
                          "('groupdel %s')",
                          w->name, e->id, account_file_path(FILE_GROUP), w->gid, w->gid, w->name,
                          w->name);
    if (!line_field_is(line, 1, "x")) {
        linetext_begin(&p->text);
        linetext_put_fields(&p->text, line, (const char *const[]){NULL, "x"}, 2);
        planning_replace(p, FILE_GROUP, e, "its password belongs into gshadow");
    }
}

static void put_gshadow(struct planning *p, const char *name, const char *members)
{
    linetext_begin(&p->text);
    linetext_put_text(&p->text, name);
    linetext_put_text(&p->text, ":!*::");
    linetext_put_text(&p->text, members);
    planning_add(p, FILE_GSHADOW);
}

void plan_groups_mend_gshadow(struct planning *p, const char *name, const char *members)
{
    const struct account_table *t = planning_table(p, FILE_GSHADOW);

    if (!table_by_name(t, name) && !table_has_odd(t, name))
        put_gshadow(p, name, members);
}

/* The members in a line of group: its last field, so they end with the line. */
static const char *members_of(const struct planning *p, const struct entry *e)
{
    size_t length;
    const char *members = line_field(planning_line(planning_table(p, FILE_GROUP), e), 3, &length);

    return members ? members : "";
}

/* A group that is not ours. */
static void mend_group(struct planning *p, const struct entry *e)
{
    char name[PLANNING_MENDED_NAME_MAX + 1];

    if (!line_field_is(planning_line(planning_table(p, FILE_GROUP), e), 1, "x") ||
        e->name_length > PLANNING_MENDED_NAME_MAX)
        return;
    memcpy(name, e->name, e->name_length);
    name[e->name_length] = '\0';
    plan_groups_mend_gshadow(p, name, members_of(p, e));
}

static void compare_group(struct planning *p, const struct entry *e, size_t entry)
{
    size_t i = nameindex_find(&p->groups, e->name, e->name_length);

    if (i == NAMEINDEX_NONE || find_place(p, &p->roster->groups[i], e) == GROUP_ELSEWHERE) {
        mend_group(p, e);
        return;
    }
    p->group_places[i].group = (uint32_t)entry + 1;
    check_group(p, &p->roster->groups[i], e);
}

static const char *wanted_members(const struct planning *p, size_t i)
{
    uint32_t entry = p->group_places[i].group;

    return entry ? members_of(p, &planning_table(p, FILE_GROUP)->entries[entry - 1]) : "";
}

/* newgrp(1) lets in whom gshadow names, whatever group says, and an administrator may name whom he
 * likes; so a line that was left there is made to say what group says, and to name none. */
static void compare_gshadow(struct planning *p, const struct entry *e)
{
    size_t i = nameindex_find(&p->groups, e->name, e->name_length);
    const char *line = planning_line(planning_table(p, FILE_GSHADOW), e), *members;
    bool is_locked = planning_is_locked(line);

    if (i == NAMEINDEX_NONE || p->group_places[i].place == GROUP_ELSEWHERE)
        return;
    p->group_places[i].gshadow = true;
    members = wanted_members(p, i);
    if (is_locked && line_field_is(line, 2, "") && line_field_is(line, 3, members))
        return;
    linetext_begin(&p->text);
    linetext_put_fields(&p->text, line,
                        (const char *const[]){NULL, is_locked ? NULL : "!*", "", members}, 4);
    planning_replace(p, FILE_GSHADOW, e,
                     is_locked ? "its members are those of group, its administrators nobody"
                               : "could be entered by password");
}

void plan_groups_compare(struct planning *p)
{
    const struct account_table *groups = planning_table(p, FILE_GROUP),
                               *gshadow = planning_table(p, FILE_GSHADOW);

    for (size_t entry = 0; entry < groups->n; entry++)
        compare_group(p, &groups->entries[entry], entry);
    for (size_t i = 0; i < p->roster->n_groups; i++) {
        const struct wanted_group *w = &p->roster->groups[i];
        struct wanted_group_place *place = &p->group_places[i];
        const struct entry *own = place->group ? &groups->entries[place->group - 1] : NULL;

        place->place = find_place(p, w, own);
        if (place->place == GROUP_ELSEWHERE)
            continue;
        check_gid(p, w, own);
        planning_check_odd(p, FILE_GROUP, w->name);
        planning_check_odd(p, FILE_GSHADOW, w->name);
    }
    for (size_t entry = 0; entry < gshadow->n; entry++)
        compare_gshadow(p, &gshadow->entries[entry]);
}

void plan_groups_add_line(struct planning *p, const char *name, gid_t gid)
{
    linetext_begin(&p->text);
    linetext_put_text(&p->text, name);
    linetext_put_text(&p->text, ":x:");
    linetext_put_number(&p->text, gid);
    linetext_put_text(&p->text, ":");
    planning_add(p, FILE_GROUP);
}

void plan_groups_add(struct planning *p)
{
    for (size_t i = 0; i < p->roster->n_groups; i++) {
        const struct wanted_group *w = &p->roster->groups[i];
        const struct wanted_group_place *place = &p->group_places[i];

        if (place->place == GROUP_MISSING)
            plan_groups_add_line(p, w->name, w->gid);
        if (place->place != GROUP_ELSEWHERE && !place->gshadow)
            put_gshadow(p, w->name, wanted_members(p, i));
    }
}
