/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * uidpool clear. Stands on uidpool.h alone.
 */
#include "allocator/cli/cli.h"
#include "allocator/cli/fields.h"
#include "allocator/cli/render.h"
#include "common/cleanup.h"

#include <inttypes.h>
#include <stdio.h>

enum uidpool_status verb_clear(struct uidpool *u, const struct options *o)
{
    _cleanup_(render_object_freep) struct render_object *object = NULL;
    const struct uidpool_lease *lease;
    enum uidpool_status status;
    char uids[FIELDS_TEXT];

    status = uidpool_clear(u, o->uid, options_has(o, OPT(TIMEOUT)) ? o->timeout : CLI_TIMEOUT_SEC,
                           &lease);
    if (status != UIDPOOL_OK)
        return status;
    if (!o->json) {
        printf("cleared %s of %s: the hold is over, rests %" PRIu32 " s\n",
               fields_uids(lease->uid, lease->count, uids), lease->pool, lease->rest_left);
        return UIDPOOL_OK;
    }
    object = render_object_new();
    render_object_fields(object, &fields_released, lease);
    return cli_rendered(render_object_print(object));
}
