/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * uidpool list. Stands on uidpool.h alone.
 */
#include "allocator/cli/cli.h"
#include "allocator/cli/fields.h"
#include "allocator/cli/render.h"
#include "common/cleanup.h"

static bool list_lease(const struct uidpool_lease *lease, void *userdata)
{
    render_list_add(userdata, lease);
    return true;
}

enum uidpool_status verb_list(struct uidpool *u, const struct options *o)
{
    _cleanup_(render_list_freep) struct render_list *list = NULL;
    struct uidpool_selector selector = cli_selector(o);
    enum uidpool_status status;

    list = render_list_new("leases", &fields_lease, o->json);
    if (!list)
        return cli_no_memory();
    status = uidpool_lease_list(u, &selector, list_lease, list);
    if (status != UIDPOOL_OK)
        return status;
    return cli_rendered(render_list_print(list));
}
