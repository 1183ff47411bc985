/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * uidpool show: who holds a uid now, and what happened to that lease. Stands on uidpool.h alone.
 */
#include "allocator/cli/cli.h"
#include "allocator/cli/fields.h"
#include "allocator/cli/render.h"
#include "common/cleanup.h"

#include <stdio.h>

/* The newest events of the lease that are shown. */
#define EVENTS_SHOWN 20

struct events {
    struct render_object *object; /* or */
    struct render_list *list;
};

static bool add_event(const struct uidpool_event *event, void *userdata)
{
    struct events *events = userdata;

    if (events->object)
        render_object_append(events->object, "events", &fields_event, event);
    else
        render_list_add(events->list, event);
    return true;
}

/* A lease's id is that of the event that made it, and while it lives its uid is nobody else's. */
static enum uidpool_status collect_events(struct uidpool *u, uid_t uid, int64_t lease,
                                          struct events *events)
{
    struct uidpool_history_query query = UIDPOOL_HISTORY_QUERY_INIT;

    query.of.uid = uid;
    query.after_id = lease - 1;
    query.limit = EVENTS_SHOWN;
    return uidpool_history(u, &query, add_event, events);
}

enum uidpool_status verb_show(struct uidpool *u, const struct options *o)
{
    _cleanup_(render_object_freep) struct render_object *object = NULL;
    _cleanup_(render_list_freep) struct render_list *list = NULL;
    const struct uidpool_lease *found;
    struct uidpool_lease lease;
    enum uidpool_status status;

    status = uidpool_describe(u, o->uid, &found);
    if (status != UIDPOOL_OK)
        return status;
    lease = *found; /* the next operation invalidates it */
    object = o->json ? render_object_new() : NULL;
    list = o->json ? NULL : render_list_new("events", &fields_event, false);
    if (!object && !list)
        return cli_no_memory();
    render_object_fields(object, &fields_lease, &lease);
    render_object_array(object, "events");
    status = collect_events(u, o->uid, lease.id, &(struct events){object, list});
    if (status != UIDPOOL_OK)
        return status;
    if (object)
        return cli_rendered(render_object_print(object));
    render_card(&fields_lease, &lease);
    putchar('\n');
    return cli_rendered(render_list_print(list));
}
