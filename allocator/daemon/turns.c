/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Lines within a line. Owns nothing. */
#include "allocator/daemon/turns.h"

#include <stddef.h>

static void enter(struct turn_line *line, struct turn *turn)
{
    if (turn->waiting)
        return;
    *turn = (struct turn){.previous = line->last, .waiting = true};
    if (line->last)
        line->last->next = turn;
    else
        line->first = turn;
    line->last = turn;
}

static void leave(struct turn_line *line, struct turn *turn)
{
    if (!turn->waiting)
        return;
    if (turn->previous)
        turn->previous->next = turn->next;
    else
        line->first = turn->next;
    if (turn->next)
        turn->next->previous = turn->previous;
    else
        line->last = turn->previous;
    *turn = (struct turn){0};
}

static struct turn_user *user_of(struct turn *turn)
{
    return (struct turn_user *)(void *)((char *)turn - offsetof(struct turn_user, turn));
}

void turns_add(struct turns *t, struct turn_user *user, struct turn *turn)
{
    enter(&user->line, turn);
    enter(&t->users, &user->turn);
}

void turns_remove(struct turns *t, struct turn_user *user, struct turn *turn)
{
    leave(&user->line, turn);
    if (!user->line.first)
        leave(&t->users, &user->turn);
}

struct turn *turns_take(struct turns *t)
{
    struct turn_user *user;
    struct turn *turn;

    if (!t->users.first)
        return NULL;
    user = user_of(t->users.first);
    turn = user->line.first;
    leave(&t->users, &user->turn);
    leave(&user->line, turn);
    if (user->line.first)
        enter(&t->users, &user->turn);
    return turn;
}

bool turns_is_empty(const struct turns *t)
{
    return !t->users.first;
}
