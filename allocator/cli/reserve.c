/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * uidpool reserve, unreserve. Stands on uidpool.h alone.
 */
#include "allocator/cli/cli.h"
#include "allocator/cli/fields.h"
#include "allocator/cli/render.h"
#include "common/cleanup.h"

#include <stdio.h>

enum uidpool_status verb_reserve(struct uidpool *u, const struct options *o)
{
    _cleanup_(render_object_freep) struct render_object *object = NULL;
    const struct uidpool_reservation *r;
    enum uidpool_status status;
    char uids[FIELDS_TEXT];

    status =
        uidpool_reserve(u, o->name, o->pool, o->uid, options_has(o, OPT(COUNT)) ? o->count : 1, &r);
    if (status != UIDPOOL_OK)
        return status;
    if (!o->json) {
        printf("reserved %s in %s: %s\n", r->name, r->pool, fields_uids(r->uid, r->count, uids));
        return UIDPOOL_OK;
    }
    object = render_object_new();
    render_object_fields(object, &fields_reservation, r);
    return cli_rendered(render_object_print(object));
}

enum uidpool_status verb_unreserve(struct uidpool *u, const struct options *o)
{
    _cleanup_(render_object_freep) struct render_object *object = NULL;
    enum uidpool_status status = uidpool_unreserve(u, o->name);

    if (status != UIDPOOL_OK)
        return status;
    if (!o->json) {
        printf("unreserved %s\n", o->name);
        return UIDPOOL_OK;
    }
    object = render_object_new();
    render_object_text(object, "unreserved", o->name);
    return cli_rendered(render_object_print(object));
}
