/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * uidpool who: who held a uid at a time, and all that became of that lease. Stands on uidpool.h
 * alone.
 */
#include "allocator/cli/cli.h"
#include "allocator/cli/fields.h"
#include "allocator/cli/render.h"
#include "common/cleanup.h"
#include "common/clock.h"

#include <inttypes.h>
#include <stdio.h>

struct answer {
    struct render_object *object; /* or */
    struct render_list *list;
    uid_t uid;
    int64_t at;
    bool begun;
};

/* What the first event, the grant, says about the holder. */
static void begin_answer(struct answer *a, const struct uidpool_event *grant)
{
    char time[64], holder[FIELDS_TEXT];

    format_time(a->at, time, sizeof(time));
    if (a->object) {
        render_object_number(a->object, "uid", a->uid);
        render_object_text(a->object, "at", time);
        render_object_number(a->object, "lease", grant->lease);
        render_object_text(a->object, "pool", grant->pool);
        if (grant->domid >= 0)
            render_object_number(a->object, "domid", grant->domid);
        else
            render_object_text(a->object, "domid", NULL);
        render_object_text(a->object, "name", grant->name);
        render_object_text(a->object, "uuid", grant->uuid);
        render_object_array(a->object, "events");
        return;
    }
    fields_holder(grant->domid, grant->name, holder);
    printf("uid %" PRIu32 " at %s: %s in pool %s, lease %" PRId64 "%s%s\n\n", a->uid, time, holder,
           grant->pool ? grant->pool : "(none)", grant->lease, grant->uuid ? ", uuid " : "",
           grant->uuid ? grant->uuid : "");
}

static bool add_event(const struct uidpool_event *event, void *userdata)
{
    struct answer *a = userdata;

    if (!a->begun)
        begin_answer(a, event);
    a->begun = true;
    if (a->object)
        render_object_append(a->object, "events", &fields_event, event);
    else
        render_list_add(a->list, event);
    return true;
}

enum uidpool_status verb_who(struct uidpool *u, const struct options *o)
{
    _cleanup_(render_object_freep) struct render_object *object = NULL;
    _cleanup_(render_list_freep) struct render_list *list = NULL;
    struct answer answer = {.uid = o->uid, .at = o->at ? o->at : clock_wall_usec()};
    enum uidpool_status status;

    answer.object = object = o->json ? render_object_new() : NULL;
    answer.list = list = o->json ? NULL : render_list_new("events", &fields_event, false);
    if (!object && !list)
        return cli_no_memory();
    status = uidpool_who(u, o->uid, answer.at, add_event, &answer);
    if (status != UIDPOOL_OK)
        return status;
    return cli_rendered(object ? render_object_print(object) : render_list_print(list));
}
