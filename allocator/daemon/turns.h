/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whose turn it is: users one after the other, and each user's connections one after the other, so
 * that a user with many busy connections gets no more than one with a single one. Pure. */
#ifndef DAEMON_TURNS_H
#define DAEMON_TURNS_H

#include <stdbool.h>

/* A place in a line. All zero: in none. */
struct turn {
    struct turn *previous, *next;
    bool waiting;
};

struct turn_line {
    struct turn *first, *last;
};

/* One user's; must not go away while somebody waits in it. All zero to begin with. */
struct turn_user {
    struct turn turn; /* among the users */
    struct turn_line line;
};

struct turns {
    struct turn_line users;
};

/* Wait at the end; who waits already stays where he is. */
void turns_add(struct turns *t, struct turn_user *user, struct turn *turn);
/* Wait no longer. */
void turns_remove(struct turns *t, struct turn_user *user, struct turn *turn);
/* Whose turn it is: taken out of the line. NULL: nobody waits. */
struct turn *turns_take(struct turns *t);
bool turns_is_empty(const struct turns *t);

#endif
