/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a revocation came to, told the same way by every verb that revokes. Writes sentences or
 * JSON to standard output, survivors and the next step to standard error.
 */
#include "allocator/cli/cli.h"
#include "allocator/cli/fields.h"
#include "allocator/cli/render.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/startup.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Name no more of them; a fork bomb that cannot be killed has thousands. */
#define SURVIVORS_SHOWN 20

enum uidpool_status cli_rendered(int r)
{
    if (r < 0) {
        log_error("cannot prepare the output: %s", strerror(-r));
        return UIDPOOL_FAILED;
    }
    return UIDPOOL_OK;
}

enum uidpool_status cli_no_memory(void)
{
    return cli_rendered(-ENOMEM);
}

struct uidpool_selector cli_selector(const struct options *o)
{
    struct uidpool_selector s = UIDPOOL_SELECTOR_INIT;

    s.pool = o->pool;
    s.domid = o->domid;
    s.name = o->name;
    s.uid = o->uid;
    return s;
}

void report_begin(struct report *r, const char *key, const struct options *o)
{
    *r = (struct report){.key = key, .json = o->json, .quiet = o->quiet};
    if (r->json) {
        r->object = render_object_new();
        render_object_array(r->object, key);
    }
}

static void print_sentence(const char *verb, const struct uidpool_lease *l)
{
    char uids[FIELDS_TEXT], holder[FIELDS_TEXT];

    fields_uids(l->uid, l->count, uids);
    fields_holder(l->domid, l->name, holder);
    if (l->state == UIDPOOL_STATE_HELD)
        printf("held: %s of %s: %s", holder, l->pool, uids);
    else
        printf("%s %s from %s: %s", verb, holder, l->pool, uids);
    /* Nobody looked again at a lease that was proven before. */
    if (l->tasks_scanned > 0)
        printf(", %" PRIu32 " tasks looked at, %" PRIu32 " killed", l->tasks_scanned,
               l->tasks_killed);
    if (l->zombies > 0)
        printf(", %" PRIu32 " zombies that nobody reaped", l->zombies);
    if (l->state == UIDPOOL_STATE_HELD)
        printf(": %s\n", *l->reason ? l->reason : "no reason is stored");
    else
        printf(", rests %" PRIu32 " s\n", l->rest_left);
}

bool report_lease(const struct uidpool_lease *lease, void *userdata)
{
    struct report *r = userdata;

    r->n++;
    if (r->json)
        render_object_append(r->object, r->key, &fields_released, lease);
    else {
        print_sentence(r->key, lease);
        /* The next lease may take long: say now what is done. */
        (void)startup_flush_output();
    }
    if (lease->state == UIDPOOL_STATE_HELD && !r->quiet)
        log_notice("next: look at why uid %" PRIu32
                   " is held, mend it, then run 'uidpool clear %" PRIu32
                   "'; until then it goes to nobody",
                   lease->uid, lease->uid);
    return true;
}

static const char *state_meaning(char state)
{
    switch (state) {
    case 'R':
        return "running";
    case 'S':
        return "sleeping";
    case 'D':
        return "waiting in the kernel: frozen, or for a disk or a server";
    case 'T':
        return "stopped";
    case 't':
        return "stopped by a tracer";
    case 'Z':
        return "zombie, its parent must reap it";
    case 'I':
        return "idle kernel thread";
    case 'X':
        return "dying";
    default:
        return "unknown";
    }
}

void report_survivors(struct uidpool *u)
{
    const struct uidpool_survivor *list = NULL;
    size_t n = uidpool_survivors(u, &list);

    for (size_t i = 0; i < n && i < SURVIVORS_SHOWN; i++) {
        const struct uidpool_survivor *s = &list[i];

        log_error("survivor: pid %d, tid %d, command '%s', state %c (%s), uids: real %" PRIu32
                  ", effective %" PRIu32 ", saved %" PRIu32 ", file system %" PRIu32,
                  s->pid, s->tid, s->command, s->state, state_meaning(s->state), s->uids[0],
                  s->uids[1], s->uids[2], s->uids[3]);
    }
    if (n > SURVIVORS_SHOWN)
        log_error("and %zu more survivors", n - SURVIVORS_SHOWN);
    if (n > 0)
        log_error("next: stop each survivor, thaw its cgroup if it is frozen, mend the disk or "
                  "server it waits for; then run the same command again (uidpool(8), DIAGNOSTICS); "
                  "until it succeeds the uid goes to nobody");
    else
        log_error("next: run the same command again, with a longer --timeout; until it succeeds "
                  "the uid goes to nobody");
}

enum uidpool_status report_end(struct report *r, struct uidpool *u, enum uidpool_status status)
{
    _cleanup_(render_object_freep) struct render_object *object = take_ptr(r->object);
    const struct uidpool_survivor *list = NULL;
    size_t n;

    if (!r->json || (status != UIDPOOL_OK && status != UIDPOOL_NOT_PROVEN && r->n == 0))
        return status;
    if (status == UIDPOOL_NOT_PROVEN) {
        render_object_array(object, "survivors");
        n = uidpool_survivors(u, &list);
        for (size_t i = 0; i < n; i++)
            render_object_append(object, "survivors", &fields_survivor, &list[i]);
    }
    enum uidpool_status printed = cli_rendered(render_object_print(object));

    return status == UIDPOOL_OK ? printed : status;
}
