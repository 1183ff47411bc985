/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * uidpool history: the journal as a list. Stands on uidpool.h alone.
 */
#include "allocator/cli/cli.h"
#include "allocator/cli/fields.h"
#include "allocator/cli/render.h"
#include "common/cleanup.h"

static bool list_event(const struct uidpool_event *event, void *userdata)
{
    render_list_add(userdata, event);
    return true;
}

enum uidpool_status verb_history(struct uidpool *u, const struct options *o)
{
    _cleanup_(render_list_freep) struct render_list *list = NULL;
    struct uidpool_history_query query = UIDPOOL_HISTORY_QUERY_INIT;
    enum uidpool_status status;

    query.of = cli_selector(o);
    query.since = o->since;
    query.until = o->until;
    query.limit = o->limit;
    list = render_list_new("events", &fields_event, o->json);
    if (!list)
        return cli_no_memory();
    status = uidpool_history(u, &query, list_event, list);
    if (status != UIDPOOL_OK)
        return status;
    return cli_rendered(render_list_print(list));
}
