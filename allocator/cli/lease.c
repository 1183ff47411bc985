/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * uidpool lease. Its standard output is read by toolstacks: the grant or nothing. Stands on
 * uidpool.h alone.
 */
#include "allocator/cli/cli.h"
#include "allocator/cli/fields.h"
#include "allocator/cli/render.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/startup.h"

#include <inttypes.h>
#include <stdio.h>

static int print_grant(const struct uidpool_lease *lease, bool json)
{
    _cleanup_(render_object_freep) struct render_object *object = NULL;
    int r = 0;

    if (json) {
        object = render_object_new();
        render_object_fields(object, &fields_grant, lease);
        r = render_object_print(object);
    } else
        printf("%" PRIu32 ":%" PRIu32 "\n", lease->uid, lease->gid);
    return r < 0 ? r : startup_flush_output();
}

/* The caller cannot know its uid, yet the uid is taken. */
static enum uidpool_status tell_lost_grant(const struct uidpool_lease *lease)
{
    char holder[FIELDS_TEXT];

    log_error(
        "lease %" PRId64 " of pool %s was granted to %s all the same: %" PRIu32 ":%" PRIu32
        "; ask again for the same answer, or give it back with: uidpool release --uid=%" PRIu32,
        lease->id, lease->pool, fields_holder(lease->domid, lease->name, holder), lease->uid,
        lease->gid, lease->uid);
    return UIDPOOL_FAILED;
}

enum uidpool_status verb_lease(struct uidpool *u, const struct options *o)
{
    struct uidpool_lease_request request = UIDPOOL_LEASE_REQUEST_INIT;
    const struct uidpool_lease *lease;
    enum uidpool_status status;

    request.pool = o->pool;
    request.domid = o->domid;
    request.name = o->name;
    request.uuid = *o->uuid ? o->uuid : NULL;
    request.count = o->count;
    status = uidpool_lease(u, &request, options_has(o, OPT(TIMEOUT)) ? o->timeout : CLI_TIMEOUT_SEC,
                           &lease);
    if (status != UIDPOOL_OK)
        return status;
    if (print_grant(lease, o->json) < 0)
        return tell_lost_grant(lease);
    return UIDPOOL_OK;
}
