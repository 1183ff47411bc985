/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The plan's lines of passwd and shadow. Ours: there, on their uid, closed to every password.
 * Others': what a killed tool left half done. Pure. */
#include "provision/planning.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* shadow(5): the expiry date, in days since 1970; 1 is how usermod(8) would have an account locked,
 * as 0 is not the same to all. */
#define SHADOW_EXPIRE 7
#define SHADOW_EXPIRED "1"

static void check_user(struct planning *p, const struct wanted_user *w, const struct entry *e)
{
    const char *path = account_file_path(FILE_PASSWD),
               *line = planning_line(planning_table(p, FILE_PASSWD), e);

    if (e->id != w->uid)
        planning_complain(p, COMPLAINT_USER_UID,
                          "user %s has uid %u in %s, not %u: remove it ('userdel %s'), or give it "
                          "that uid ('usermod -u %u %s')",
                          w->name, e->id, path, w->uid, w->name, w->uid, w->name);
    if (e->gid != w->gid && !w->gid_follows)
        planning_complain(p, COMPLAINT_USER_GID,
                          "user %s has the group %u in %s, not %u: 'usermod -g %u %s', behind "
                          "'groupadd -g %u' if there is no such group",
                          w->name, e->gid, path, w->gid, w->gid, w->name, w->gid);
    if (!line_field_is(line, 1, "x")) {
        linetext_begin(&p->text);
        linetext_put_fields(&p->text, line, (const char *const[]){NULL, "x"}, 2);
        planning_replace(p, FILE_PASSWD, e, "its password belongs into shadow");
    }
}

/* Has another user than `own` (or NULL) this uid? */
static void check_uid(struct planning *p, const struct wanted_user *w, const struct entry *own)
{
    const struct account_table *t = planning_table(p, FILE_PASSWD);
    const char *path = account_file_path(FILE_PASSWD);
    const struct entry *other = table_in_range(t, w->uid, 1, 0);
    const struct id_at *odd = table_odd_in_range(t, w->uid, 1, 0);

    if (own && other == own)
        other = table_in_range(t, w->uid, 1, 1);
    if (other)
        planning_complain(p, COMPLAINT_UID_TAKEN,
                          "uid %u is to be user %s's, and user %.*s has it in %s: give that one "
                          "another uid ('usermod -u UID %.*s'), or remove it",
                          w->uid, w->name, PLANNING_SHOW(other), path, PLANNING_SHOW(other));
    if (odd)
        planning_complain(p, COMPLAINT_UID_TAKEN,
                          "uid %u is to be user %s's, and line %u of %s has it, which is no proper "
                          "entry: correct or remove that line",
                          w->uid, w->name, odd->at + 1, path);
}

/* A line of shadow is made fit where it stands, also while it waits for a user that is not there:
 * it must not matter whether passwd was replaced already. */
static void compare_shadow(struct planning *p, const struct entry *e)
{
    size_t i = nameindex_find(&p->users, e->name, e->name_length);
    const char *line = planning_line(planning_table(p, FILE_SHADOW), e), *expire = NULL;
    bool is_locked = planning_is_locked(line);
    const struct wanted_user *w;

    if (i == NAMEINDEX_NONE)
        return;
    p->user_places[i].shadow = true;
    w = &p->roster->users[i];
    if (w->removable && line_field_is(line, SHADOW_EXPIRE, SHADOW_EXPIRED) != w->expired)
        expire = w->expired ? SHADOW_EXPIRED : "";
    if (is_locked && !expire)
        return;
    linetext_begin(&p->text);
    linetext_put_fields(&p->text, line,
                        (const char *const[SHADOW_EXPIRE + 1]){
                            [1] = is_locked ? NULL : "!*", [SHADOW_EXPIRE] = expire},
                        SHADOW_EXPIRE + 1);
    planning_replace(p, FILE_SHADOW, e,
                     !is_locked   ? "could log in"
                     : w->expired ? "is to be locked for ever"
                                  : "is to be used again");
}

static void put_shadow(struct planning *p, const char *name, bool expired)
{
    linetext_begin(&p->text);
    linetext_put_text(&p->text, name);
    linetext_put_text(&p->text, expired ? ":!*::::::" SHADOW_EXPIRED ":" : ":!*:::::::");
    planning_add(p, FILE_SHADOW);
}

/* Which lines of passwd have a uid that is to be the gid of a wanted group. Looked for only where
 * a user without a group is found. */
static bool gid_is_wanted(struct planning *p, size_t entry)
{
    const struct account_table *t = planning_table(p, FILE_PASSWD);
    const struct entry *e;

    if (!p->gid_wanted) {
        p->gid_wanted = calloc(t->n, sizeof(*p->gid_wanted));
        if (!p->gid_wanted) {
            p->error = -ENOMEM;
            return true;
        }
        for (size_t i = 0; i < p->roster->n_groups; i++)
            for (size_t k = 0; (e = table_in_range(t, p->roster->groups[i].gid, 1, k)); k++)
                p->gid_wanted[e - t->entries] = true;
    }
    return p->gid_wanted[entry];
}

/* Did useradd(8) or newusers(8) want to make a group for this user and came not so far? Where the
 * numbers are the same, and number and name are nobody's, it cannot have been another's. */
static bool lacks_group(struct planning *p, const struct entry *e, const char *name)
{
    const struct account_table *users = planning_table(p, FILE_PASSWD),
                               *groups = planning_table(p, FILE_GROUP);

    return e->id == e->gid && table_by_id(users, e->id) == e && !table_by_id(groups, e->gid) &&
           !table_odd_in_range(groups, e->gid, 1, 0) && !table_by_name(groups, name) &&
           !table_has_odd(groups, name) &&
           nameindex_find(&p->groups, e->name, e->name_length) == NAMEINDEX_NONE &&
           !gid_is_wanted(p, (size_t)(e - users->entries));
}

/* A user that is not ours. */
static void mend_user(struct planning *p, const struct entry *e)
{
    const struct account_table *shadow = planning_table(p, FILE_SHADOW);
    char name[PLANNING_MENDED_NAME_MAX + 1];

    if (!line_field_is(planning_line(planning_table(p, FILE_PASSWD), e), 1, "x") ||
        e->name_length > PLANNING_MENDED_NAME_MAX)
        return;
    memcpy(name, e->name, e->name_length);
    name[e->name_length] = '\0';
    if (!table_by_name(shadow, name) && !table_has_odd(shadow, name))
        put_shadow(p, name, false);
    /* They write group behind shadow. */
    if (!lacks_group(p, e, name))
        return;
    plan_groups_add_line(p, name, e->gid);
    plan_groups_mend_gshadow(p, name, "");
}

void plan_users_compare(struct planning *p)
{
    const struct account_table *users = planning_table(p, FILE_PASSWD),
                               *shadow = planning_table(p, FILE_SHADOW);

    for (size_t entry = 0; entry < users->n; entry++) {
        const struct entry *e = &users->entries[entry];
        size_t i = nameindex_find(&p->users, e->name, e->name_length);

        if (i == NAMEINDEX_NONE) {
            mend_user(p, e);
            continue;
        }
        p->user_places[i].passwd = (uint32_t)entry + 1;
        check_user(p, &p->roster->users[i], e);
    }
    for (size_t i = 0; i < p->roster->n_users; i++) {
        const struct wanted_user *w = &p->roster->users[i];
        uint32_t own = p->user_places[i].passwd;

        check_uid(p, w, own ? &users->entries[own - 1] : NULL);
        planning_check_odd(p, FILE_PASSWD, w->name);
        planning_check_odd(p, FILE_SHADOW, w->name);
    }
    for (size_t entry = 0; entry < shadow->n; entry++)
        compare_shadow(p, &shadow->entries[entry]);
}

static void put_passwd(struct planning *p, const struct wanted_user *w)
{
    linetext_begin(&p->text);
    linetext_put_text(&p->text, w->name);
    linetext_put_text(&p->text, ":x:");
    linetext_put_number(&p->text, w->uid);
    linetext_put_text(&p->text, ":");
    linetext_put_number(&p->text, w->gid);
    linetext_put_text(&p->text, ":");
    linetext_put_text(&p->text, w->comment);
    linetext_put_text(&p->text, ":/nonexistent:/usr/sbin/nologin");
    planning_add(p, FILE_PASSWD);
}

void plan_users_add(struct planning *p)
{
    for (size_t i = 0; i < p->roster->n_users; i++) {
        const struct wanted_user *w = &p->roster->users[i];

        if (!p->user_places[i].passwd)
            put_passwd(p, w);
        if (!p->user_places[i].shadow)
            put_shadow(p, w->name, w->expired);
    }
}
