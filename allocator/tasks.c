/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What one scan saw of one lease's uids, and what became of each task since. Looks at /proc,
 * signals nobody. */
#include "allocator/tasks.h"

#include "common/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* So many are named; an administrator wants the first, a fork bomb has thousands. */
#define DESCRIBE_MAX 4

static bool has_uid_of(const struct scan_task *task, struct uid_range range)
{
    for (size_t i = 0; i < ELEMENTS_OF(task->uids); i++)
        if (uid_range_has(range, task->uids[i]))
            return true;
    return false;
}

bool task_is_counted(const struct scan_task *task, struct uid_range range)
{
    return uid_range_has(range, task->uids[0]);
}

bool task_is_reachable(const struct scan_task *task, struct uid_range range)
{
    return uid_range_has(range, task->uids[0]) || uid_range_has(range, task->uids[2]);
}

/* The scan goes up in pid and then in tid, so both lists do. */
static size_t count_gone(const struct tasks *before, const struct tasks *after)
{
    size_t gone = 0, j = 0;

    for (size_t i = 0; i < before->n; i++) {
        const struct scan_task *old = &before->items[i].is;

        while (j < after->n &&
               (after->items[j].is.pid < old->pid ||
                (after->items[j].is.pid == old->pid && after->items[j].is.tid < old->tid)))
            j++;
        if (j == after->n || after->items[j].is.pid != old->pid ||
            after->items[j].is.tid != old->tid)
            gone++;
    }
    return gone;
}

int tasks_take(struct tasks *t, const struct scan *s, struct uid_range range, size_t *ret_gone)
{
    const struct scan_task *seen;
    size_t n = scan_tasks(s, &seen);
    struct tasks now = {.range = range, .items = calloc(n ? n : 1, sizeof(*now.items))};

    if (!now.items)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        if (has_uid_of(&seen[i], range))
            now.items[now.n++] = (struct task){
                .is = seen[i],
                .fate = seen[i].state == 'Z' ? TASK_ZOMBIE : TASK_ALIVE,
                .counted = task_is_counted(&seen[i], range),
            };
    if (ret_gone)
        *ret_gone = count_gone(t, &now);
    tasks_clear(t);
    *t = now;
    return 0;
}

void tasks_clear(struct tasks *t)
{
    free(t->items);
    t->items = NULL;
    t->n = 0;
}

enum task_fate tasks_look(struct tasks *t, size_t i)
{
    struct task *task = &t->items[i];
    struct scan_task now;
    int r = scan_look(task->is.pid, task->is.tid, &now);

    if (r == -ESRCH)
        task->fate = TASK_DEAD;
    else if (r < 0)
        task->fate = TASK_ALIVE;
    else {
        task->is = now;
        task->fate = !has_uid_of(&now, t->range) ? TASK_OTHER
                     : now.state == 'Z'          ? TASK_ZOMBIE
                                                 : TASK_ALIVE;
    }
    return task->fate;
}

size_t tasks_count(const struct tasks *t, enum task_fate fate)
{
    size_t count = 0;

    for (size_t i = 0; i < t->n; i++)
        count += t->items[i].fate == fate;
    return count;
}

uint32_t tasks_zombies_of(const struct tasks *t, uid_t uid)
{
    uint32_t count = 0;

    for (size_t i = 0; i < t->n; i++)
        count += t->items[i].fate == TASK_ZOMBIE && t->items[i].is.uids[0] == uid;
    return count;
}

bool tasks_zombies_stayed(struct tasks *t)
{
    bool stayed = true;

    for (size_t i = 0; i < t->n; i++)
        if (t->items[i].fate == TASK_ZOMBIE && tasks_look(t, i) != TASK_ZOMBIE)
            stayed = false;
    return stayed;
}

bool tasks_all_counted(const struct tasks *t)
{
    for (size_t i = 0; i < t->n; i++)
        if (!t->items[i].counted)
            return false;
    return true;
}

const char *tasks_describe(const struct tasks *t, char *buf, size_t size)
{
    size_t alive = tasks_count(t, TASK_ALIVE), named = 0, at = 0;

    buf[0] = '\0';
    for (size_t i = 0; i < t->n && named < DESCRIBE_MAX && at < size; i++) {
        const struct scan_task *task = &t->items[i].is;

        if (t->items[i].fate != TASK_ALIVE)
            continue;
        at +=
            (size_t)snprintf(buf + at, size - at, "%spid %d tid %d (%s) state %c uids %u/%u/%u/%u",
                             named ? ", " : "", task->pid, task->tid, task->command, task->state,
                             task->uids[0], task->uids[1], task->uids[2], task->uids[3]);
        named++;
    }
    if (alive > named && at < size)
        (void)snprintf(buf + at, size - at, ", and %zu more", alive - named);
    return buf;
}
