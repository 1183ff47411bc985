/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * uidpool ledger check, backup, upgrade. Stands on uidpool.h alone.
 */
#include "allocator/cli/cli.h"
#include "allocator/cli/render.h"
#include "common/cleanup.h"

#include <stdio.h>

static bool add_finding(const char *finding, void *userdata)
{
    if (userdata)
        render_object_append_text(userdata, "findings", finding);
    else
        printf("%s\n", finding);
    return true;
}

enum uidpool_status verb_ledger_check(struct uidpool *u, const struct options *o)
{
    _cleanup_(render_object_freep) struct render_object *object = NULL;
    enum uidpool_status status, printed;

    if (o->json) {
        object = render_object_new();
        if (!object)
            return cli_no_memory();
        render_object_array(object, "findings");
    }
    status = uidpool_ledger_check(u, add_finding, object);
    if (status != UIDPOOL_OK && status != UIDPOOL_FOUND)
        return status;
    if (!object) {
        if (status == UIDPOOL_OK)
            puts("the ledger is sound");
        return status;
    }
    printed = cli_rendered(render_object_print(object));
    return status == UIDPOOL_OK ? printed : status;
}

enum uidpool_status verb_ledger_backup(struct uidpool *u, const struct options *o)
{
    _cleanup_(render_object_freep) struct render_object *object = NULL;
    enum uidpool_status status = uidpool_ledger_backup(u, o->file);

    if (status != UIDPOOL_OK)
        return status;
    if (!o->json) {
        printf("backed up to %s\n", o->file);
        return UIDPOOL_OK;
    }
    object = render_object_new();
    render_object_text(object, "backup", o->file);
    return cli_rendered(render_object_print(object));
}

enum uidpool_status verb_ledger_upgrade(struct uidpool *u, const struct options *o)
{
    _cleanup_(render_object_freep) struct render_object *object = NULL;
    enum uidpool_status status;
    int from = 0, to = 0;

    status = uidpool_ledger_upgrade(u, &from, &to);
    if (status != UIDPOOL_OK)
        return status;
    if (o->json) {
        object = render_object_new();
        render_object_number(object, "from", from);
        render_object_number(object, "to", to);
        return cli_rendered(render_object_print(object));
    }
    if (from == to)
        printf("the ledger has schema %d already\n", to);
    else
        printf("upgraded the ledger from schema %d to %d\n", from, to);
    return UIDPOOL_OK;
}
