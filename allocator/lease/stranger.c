/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who is there, when the census says that a uid is in use: a stranger, or but the dead whom nobody
 * has reaped yet. The scan counts those, and the census is asked again for exactly as many. Jobs in
 * flight share a scan. Touches /proc, the census and the event loop.
 */
#include "allocator/lease/grant.h"
#include "allocator/scan.h"
#include "common/cleanup.h"
#include "common/clock.h"

#include <errno.h>
#include <stdio.h>

/* Looks at a uid that is in use, and microseconds between two: a task on its last moments, a
 * helper's orphan among them, is no stranger, and a hold needs an administrator to end it. */
#define LOOKS 5
#define LOOK_PAUSE (10 * USEC_PER_MSEC)
/* Processes looked at before the loop is asked for other work. */
#define SCAN_CHUNK 128

/*
 * A look.
 */

static void step_look(struct grant *g);
static void step_count(struct grant *g);

static void on_look(struct grant *g, enum witness answer)
{
    if (answer != WITNESS_EMPTY && ++g->who.looks < LOOKS)
        grant_later(g, LOOK_PAUSE, step_look);
    else
        g->who.then(g, answer);
}

static void on_counted(struct grant *g, enum witness answer)
{
    if (answer == WITNESS_EMPTY)
        step_count(g);
    else
        on_look(g, answer);
}

/* As many uids at once as have the same number of zombies. */
static void step_count(struct grant *g)
{
    struct stranger *who = &g->who;
    uid_t uid = who->range.first + who->asked;
    uint32_t left = who->range.count - who->asked, n = 1;
    uint32_t zombies = tasks_zombies_of(&who->tasks, uid);

    if (left == 0) {
        on_look(g, tasks_zombies_stayed(&who->tasks) ? WITNESS_EMPTY : WITNESS_UNKNOWN);
        return;
    }
    while (n < left && tasks_zombies_of(&who->tasks, uid + n) == zombies)
        n++;
    who->asked += n;
    grant_ask_now(g, (struct uid_range){uid, n}, zombies, on_counted);
}

/* NULL: it could not begin. Only where it saw nobody but zombies there is more to ask. */
static void on_scan(struct grant *g, const struct scan *scan)
{
    struct stranger *who = &g->who;
    bool sees = scan && tasks_take(&who->tasks, scan, who->range, NULL) == 0 && !scan_blind(scan);

    who->asked = 0;
    if (sees && tasks_count(&who->tasks, TASK_ZOMBIE) == who->tasks.n)
        step_count(g);
    else
        on_look(g, WITNESS_BUSY);
}

/*
 * The shared scan.
 */

static void begin_scan(struct granter *granter)
{
    struct uid_range ranges[GRANT_CLAIMS_MAX];
    size_t n = 0;

    for (struct grant *g = granter->jobs; g && n < GRANT_CLAIMS_MAX; g = g->next)
        if (g->who.wants_scan) {
            ranges[n++] = g->who.range;
            g->who.wants_scan = false;
            g->who.scanning = true;
        }
    if (n > 0 && scan_new(ranges, n, &granter->scan) < 0)
        granter->scan = NULL;
}

/* A job may end when it is told, and whoever is told of that may add others: look from the start
 * each time. */
static void end_scan(struct granter *granter)
{
    struct scan *scan = take_ptr(granter->scan);
    struct grant *g = granter->jobs;

    while (g) {
        if (!g->who.scanning) {
            g = g->next;
            continue;
        }
        g->who.scanning = false;
        on_scan(g, scan);
        g = granter->jobs;
    }
    scan_free(scan);
}

static bool is_scan_wanted(const struct granter *granter)
{
    for (const struct grant *g = granter->jobs; g; g = g->next)
        if (g->who.wants_scan)
            return true;
    return false;
}

static void on_scanning(void *userdata)
{
    struct granter *granter = userdata;

    if (!granter->scan)
        begin_scan(granter);
    if (granter->scan && scan_step(granter->scan, SCAN_CHUNK) > 0) {
        deferred_wake(&granter->scanning);
        return;
    }
    end_scan(granter);
    if (is_scan_wanted(granter))
        deferred_wake(&granter->scanning);
}

/* Most granters never need one. */
static int wake_scan(struct granter *granter)
{
    int r = 0;

    if (!granter->scanning.work)
        r = deferred_init(&granter->scanning, granter->event, SD_EVENT_PRIORITY_IDLE, on_scanning,
                          granter);
    if (r >= 0)
        deferred_wake(&granter->scanning);
    return r;
}

void stranger_drop_scan(struct granter *granter)
{
    scan_free(take_ptr(granter->scan));
    deferred_clear(&granter->scanning);
}

static void step_look(struct grant *g)
{
    if (wake_scan(g->granter) < 0)
        on_scan(g, NULL);
    else
        g->who.wants_scan = true;
}

/*
 * The door.
 */

void stranger_look(struct grant *g, struct uid_range range, grant_answer_fn then)
{
    g->who.range = range;
    g->who.then = then;
    g->who.looks = 0;
    step_look(g);
}

static void on_first_answer(struct grant *g, enum witness answer)
{
    if (answer == WITNESS_BUSY)
        stranger_look(g, g->who.range, g->who.then);
    else
        g->who.then(g, answer);
}

void stranger_ask(struct grant *g, struct uid_range range, grant_answer_fn then)
{
    g->who.range = range;
    g->who.then = then;
    grant_ask_now(g, range, 0, on_first_answer);
}

const char *stranger_describe(const struct grant *g, char *buf, size_t size)
{
    if (tasks_count(&g->who.tasks, TASK_ALIVE) > 0)
        return tasks_describe(&g->who.tasks, buf, size);
    (void)snprintf(buf, size, "a task that the scan cannot see");
    return buf;
}
