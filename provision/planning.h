/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the rooms of a plan share: planner.c (the whole), plan-users.c, plan-groups.c, plan-guards.c
 * (the files) and plan-ledger.c.
 *
 * What a line becomes, and whether one is added, is decided by rules without a memory: it follows
 * from what the plan makes of the other files, never from what they were before. So a run that was
 * cut off is carried on to the same bytes, whichever of the files it had replaced.
 */
#ifndef PROVISION_PLANNING_H
#define PROVISION_PLANNING_H

#include "provision/linetext.h"
#include "provision/nameindex.h"
#include "provision/plan.h"

/* Of each sort so many findings are told one by one, the others as a number. */
#define PLANNING_TOLD_MAX 8

enum complaint {
    COMPLAINT_WANTED_TWICE,
    COMPLAINT_USER_UID,  /* a name on another uid */
    COMPLAINT_UID_TAKEN, /* a uid of another name */
    COMPLAINT_USER_GID,
    COMPLAINT_GROUP_GID,
    COMPLAINT_GID_TAKEN,
    COMPLAINT_ODD_LINE,
    COMPLAINT_REMOVING,
    COMPLAINT_GRANT,
    COMPLAINTS,
};

/* What the files have of a wanted group. */
enum group_place {
    GROUP_MISSING,
    GROUP_THERE,
    GROUP_ELSEWHERE, /* another one serves: by the gid, or as the user's own choice */
};

struct user_place {
    uint32_t passwd; /* 1 + index of the entry; 0: none */
    bool shadow;
};

struct planning {
    const struct choices *choices;
    const struct state *state;
    const struct account_files *files;
    const struct roster *roster;
    const struct user_request *request;
    struct plan plan;
    struct findings *findings;
    size_t told[COMPLAINTS];

    struct nameindex users, groups; /* the roster's, by name */
    struct user_place *user_places; /* one a wanted user */
    struct wanted_group_place {
        enum group_place place;
        uint32_t group; /* GROUP_THERE: 1 + index of the entry */
        bool gshadow;
    } * group_places;     /* one a wanted group */
    bool *gid_wanted;     /* one a line of passwd: a wanted group has its uid as gid; or NULL */
    struct linetext text; /* for whatever line is being written */
    int error;            /* the first; sticky, as nothing is done with the plan then */
};

static inline const struct account_table *planning_table(const struct planning *p,
                                                         enum account_file file)
{
    return &p->files->tables[file];
}

/* The text of an entry's line. */
static inline const char *planning_line(const struct account_table *t, const struct entry *e)
{
    return t->lines.items[e->line];
}

/* A name that is not ours, for "%.*s". */
#define PLANNING_SHOW(entry) \
    (int)((entry)->name_length < 64 ? (entry)->name_length : 64), (entry)->name

void planning_complain(struct planning *p, enum complaint complaint, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Add p->text to a file's draft, or replace an entry's line by it. */
void planning_add(struct planning *p, enum account_file file);
void planning_replace(struct planning *p, enum account_file file, const struct entry *e,
                      const char *why);
/* Behind all complaints: how many of each sort were not told. */
void planning_count_untold(struct planning *p);
/* Complain of an odd line of this file that begins with our name, if there is one. */
void planning_check_odd(struct planning *p, enum account_file file, const char *name);

/* Does field 1 hold a password that no text can match? */
static inline bool planning_is_locked(const char *line)
{
    size_t length;
    const char *password = line_field(line, 1, &length);

    return password && length > 0 && (password[0] == '!' || password[0] == '*');
}

/*
 * In this order: what each file has of the wanted, with what has to be replaced, and what is to be
 * mended of others; then what has to be added.
 */
void plan_groups_compare(struct planning *p);
void plan_users_compare(struct planning *p);
void plan_groups_add(struct planning *p);
void plan_users_add(struct planning *p);
void plan_guards(struct planning *p);
void plan_ledger(struct planning *p);

void plan_groups_add_line(struct planning *p, const char *name, gid_t gid);
/* Longer names are no tool's, and are not mended. utmp(5) has room for 32, useradd(8) takes 32. */
#define PLANNING_MENDED_NAME_MAX 255
/* Give a group a line in gshadow with these members, unless it has one. */
void plan_groups_mend_gshadow(struct planning *p, const char *name, const char *members);

#endif
