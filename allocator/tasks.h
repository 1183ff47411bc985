/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What one scan saw of one lease's uids, and what became of each task since. Looks at /proc,
 * signals nobody. */
#ifndef ALLOCATOR_TASKS_H
#define ALLOCATOR_TASKS_H

#include "allocator/scan.h"
#include "common/range.h"

#include <stdbool.h>
#include <stddef.h>

enum task_fate {
    TASK_ALIVE = 0, /* or not known to be anything else */
    TASK_ZOMBIE,    /* dead, not reaped by its parent; the kernel still counts it */
    TASK_DEAD,      /* gone */
    TASK_OTHER,     /* lives, but has none of the uids any more */
};

struct task {
    struct scan_task is;
    enum task_fate fate;
    bool counted; /* when the scan saw it: task_is_counted() */
};

struct tasks {
    struct uid_range range;
    struct task *items;
    size_t n;
};

/* Take the scan's tasks that have a uid of the range; replaces what was there. *ret_gone (or NULL):
 * how many of the former ones it did not see again. 0 or -ENOMEM. */
int tasks_take(struct tasks *t, const struct scan *s, struct uid_range range, size_t *ret_gone);
void tasks_clear(struct tasks *t);

/* Look again at one task and remember its fate; returns it. A task that cannot be looked at is
 * alive. */
enum task_fate tasks_look(struct tasks *t, size_t i);

/* How many have this fate. */
size_t tasks_count(const struct tasks *t, enum task_fate fate);

/* How many zombies the kernel counts for this uid: those that have it as real uid. */
uint32_t tasks_zombies_of(const struct tasks *t, uid_t uid);

/* Look again at the zombies: is each still one? A zombie that was reaped while the census counted
 * would have hidden somebody else. */
bool tasks_zombies_stayed(struct tasks *t);

/* Can kill(2) with this uid as effective uid reach it: its real or saved uid is in the range
 * (kill(2)). */
bool task_is_reachable(const struct scan_task *task, struct uid_range range);

/* Does the kernel's census count it: its real uid is in the range. Then it counts as well whatever
 * the task started, also when the task came after the kill and ended unseen. */
bool task_is_counted(const struct scan_task *task, struct uid_range range);

/* Were all of them counted, when the scan saw them? What had the uid as effective or saved uid
 * alone may have left children that only another scan can see. */
bool tasks_all_counted(const struct tasks *t);

/* The first few that live, in one line: "pid 12 tid 12 (qemu) state D uids 5/5/5/5, and 3 more". */
const char *tasks_describe(const struct tasks *t, char *buf, size_t size);

#endif
