/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The accounts that there should be, by name and number, whatever the files say. Pure. */
#ifndef PROVISION_ROSTER_H
#define PROVISION_ROSTER_H

#include "provision/choose.h"

struct wanted_user {
    char name[LOGIN_NAME_MAX_LENGTH + 1];
    uid_t uid;
    gid_t gid;
    bool removable;      /* of `user add`: its expiry date says whether it was removed */
    bool expired;        /* `user remove`: kept, and nobody can ever use it */
    bool gid_follows;    /* an account made by hand may have another group: it stays */
    const char *comment; /* GECOS; static */
};

struct wanted_group {
    char name[LOGIN_NAME_MAX_LENGTH + 1];
    gid_t gid;
    bool any_name; /* whichever group has this gid will do */
    bool of_user;  /* for the user of this name; not wanted where that has another group already */
};

/* A line of subuid and subgid that keeps useradd off the range. */
struct wanted_guard {
    struct uid_range range;
};

struct roster {
    struct wanted_user *users;
    size_t n_users, users_allocated;
    struct wanted_group *groups;
    size_t n_groups, groups_allocated;
    struct wanted_guard *guards;
    size_t n_guards, guards_allocated;
};

/* An account that is to be made, or locked, now: `user add`, `user remove`. */
struct user_request {
    char name[LOGIN_NAME_MAX_LENGTH + 1];
    bool remove;
    char pool[UIDPOOL_NAME_MAX + 1];
    uid_t uid;
    gid_t gid;
    bool group_per_uid;
};

/* Of all chosen pools that something is done for, of the ledger's own accounts, and of the request
 * (or NULL), in this order; the request among the accounts by its name, as the ledger will have it
 * when a run that was cut off is carried on. 0 or -ENOMEM. */
int roster_make(const struct choices *choices, const struct state *state,
                const struct user_request *request, struct roster *ret);
void roster_clear(struct roster *r);

/* Is anything done for this pool? Not if it is retired, or stuck. */
bool roster_has_pool(const struct chosen_pool *pool);

#endif
