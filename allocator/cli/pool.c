/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * uidpool pool add, list, show, retire. Stands on uidpool.h alone.
 */
#include "allocator/cli/cli.h"
#include "allocator/cli/fields.h"
#include "allocator/cli/render.h"
#include "common/cleanup.h"

#include <inttypes.h>
#include <stdio.h>

/* The card of a pool, or its object, without its reservations. */
static enum uidpool_status print_pool(const struct uidpool_pool *pool, bool json)
{
    struct uidpool_pool view = fields_pool_view(pool);
    _cleanup_(render_object_freep) struct render_object *object = NULL;

    if (!json) {
        render_card(&fields_pool, &view);
        return UIDPOOL_OK;
    }
    object = render_object_new();
    render_object_fields(object, &fields_pool, &view);
    return cli_rendered(render_object_print(object));
}

enum uidpool_status verb_pool_add(struct uidpool *u, const struct options *o)
{
    struct uidpool_pool_request request = UIDPOOL_POOL_REQUEST_INIT;
    const struct uidpool_pool *pool = NULL;
    enum uidpool_status status;

    request.name = o->name;
    request.base_auto = o->base_auto;
    request.base = o->base;
    request.size = o->size;
    request.policy = o->policy;
    request.follow = o->follow;
    request.resolve = o->resolve;
    if (options_has(o, OPT(GROUP))) {
        request.group_is_base = false;
        request.group_per_uid = o->group_per_uid;
        request.gid = o->gid;
    }
    if (options_has(o, OPT(QUARANTINE)))
        request.quarantine = o->quarantine;
    status = uidpool_pool_add(u, &request, &pool);
    if (status != UIDPOOL_OK)
        return status;
    return print_pool(pool, o->json);
}

static bool list_pool(const struct uidpool_pool *pool, void *userdata)
{
    struct uidpool_pool view = fields_pool_view(pool);

    render_list_add(userdata, &view);
    return true;
}

enum uidpool_status verb_pool_list(struct uidpool *u, const struct options *o)
{
    _cleanup_(render_list_freep) struct render_list *list = NULL;
    enum uidpool_status status;

    list = render_list_new("pools", &fields_pool, o->json);
    if (!list)
        return cli_no_memory();
    status = uidpool_pool_list(u, list_pool, list);
    if (status != UIDPOOL_OK)
        return status;
    return cli_rendered(render_list_print(list));
}

static bool show_reservation(const struct uidpool_reservation *r, void *userdata)
{
    struct render_object *object = userdata;
    char uids[FIELDS_TEXT];

    if (object)
        render_object_append(object, "reservations", &fields_reservation, r);
    else
        printf("reservation:   %s: %s\n", r->name, fields_uids(r->uid, r->count, uids));
    return true;
}

enum uidpool_status verb_pool_show(struct uidpool *u, const struct options *o)
{
    _cleanup_(render_object_freep) struct render_object *object = NULL;
    const struct uidpool_pool *pool;
    struct uidpool_pool view;
    enum uidpool_status status;

    status = uidpool_pool_get(u, o->name, &pool);
    if (status != UIDPOOL_OK)
        return status;
    view = fields_pool_view(pool);
    if (o->json) {
        object = render_object_new();
        if (!object)
            return cli_no_memory();
        render_object_fields(object, &fields_pool, &view);
        render_object_array(object, "reservations");
    } else
        render_card(&fields_pool, &view);
    status = uidpool_reservation_list(u, o->name, show_reservation, object);
    if (status != UIDPOOL_OK || !object)
        return status;
    return cli_rendered(render_object_print(object));
}

enum uidpool_status verb_pool_retire(struct uidpool *u, const struct options *o)
{
    const struct uidpool_pool *pool;
    enum uidpool_status status;

    status = uidpool_pool_retire(u, o->name);
    if (status == UIDPOOL_OK)
        status = uidpool_pool_get(u, o->name, &pool);
    if (status != UIDPOOL_OK)
        return status;
    if (o->json)
        return print_pool(pool, true);
    printf("retired %s: its range stays taken, it gives no more leases\n", pool->name);
    return UIDPOOL_OK;
}
