/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* retire: a pool gives no more leases. Changes the ledger alone: files may carry the range's ids,
 * so its accounts and its guard stay. */
#include "build_config.h"
#include "common/cleanup.h"
#include "provision/verbs.h"

enum uidpool_status verb_retire(struct provision *v, const struct options *o, struct problem *p)
{
    _cleanup_(ledger_closep) struct ledger *ledger = NULL;
    struct allocator allocator = {.progress = v->progress};
    enum uidpool_status status = ledger_open(UIDPOOL_LEDGER_PATH, LEDGER_WRITE, &ledger, p);

    allocator.ledger = ledger;
    if (status == UIDPOOL_OK)
        status = allocator_pool_retire(&allocator, o->pool, p);
    if (status != UIDPOOL_OK)
        return status;
    return verbs_shown(show_retired(o->pool, o->json), status, p);
}
