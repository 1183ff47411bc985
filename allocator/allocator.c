/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the allocator's operations share: the loop and what works on it, lists of leases, words for
 * people. Touches nothing outside of them. */
#include "allocator/allocator.h"

#include "allocator/committer.h"
#include "allocator/granter.h"
#include "allocator/revoker.h"
#include "common/cleanup.h"
#include "common/clock.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int allocator_attach(struct allocator *a, sd_event *event)
{
    int r = 0;

    if (a->event)
        return 0;
    if (event)
        a->event = sd_event_ref(event);
    else
        r = sd_event_new(&a->event);
    if (r >= 0)
        r = committer_new(a->ledger, a->event, &a->committer);
    if (r >= 0)
        r = revoker_new(a, a->event, &a->revoker);
    if (r >= 0)
        r = granter_new(a, a->event, &a->granter);
    if (r < 0)
        allocator_detach(a);
    return r < 0 ? r : 0;
}

/* The revoker's jobs are perhaps those of the granter's, which wait for them. */
void allocator_detach(struct allocator *a)
{
    revoker_free(a->revoker);
    a->revoker = NULL;
    granter_free(a->granter);
    a->granter = NULL;
    committer_free(a->committer);
    a->committer = NULL;
    a->event = sd_event_unref(a->event);
}

void allocator_progress(struct allocator *a, const char *format, ...)
{
    int64_t now = clock_monotonic_usec();
    char text[512];
    va_list ap;

    if (!a->progress || (a->progress_at && now - a->progress_at < USEC_PER_SEC))
        return;
    a->progress_at = now;
    va_start(ap, format);
    (void)vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    a->progress(text, a->progress_userdata);
}

const char *lease_owner(const struct uidpool_lease *lease, char *buf, size_t size)
{
    if (lease->domid != UIDPOOL_NO_DOMID)
        (void)snprintf(buf, size, "domid %" PRId64, lease->domid);
    else if (lease->name[0])
        (void)snprintf(buf, size, "name %s", lease->name);
    else
        (void)snprintf(buf, size, "nobody");
    return buf;
}

void lease_list_clear(struct lease_list *list)
{
    free(list->items);
    *list = (struct lease_list){0};
}

static bool add_lease(const struct uidpool_lease *lease, void *userdata)
{
    struct lease_list *list = userdata;
    struct uidpool_lease *items;

    if (list->wanted && !list->wanted(lease))
        return true;
    items = reallocarray(list->items, list->n + 1, sizeof(*items));
    if (!items) {
        list->failed = true;
        return false;
    }
    list->items = items;
    list->items[list->n++] = *lease;
    return true;
}

enum uidpool_status lease_list_read(struct ledger *l, const struct uidpool_selector *selector,
                                    bool (*wanted)(const struct uidpool_lease *),
                                    struct lease_list *ret, struct problem *p)
{
    struct lease_list list = {.wanted = wanted};
    enum uidpool_status status = ledger_lease_each(l, selector, add_lease, &list, p);

    if (status == UIDPOOL_OK && list.failed)
        status = problem_set(p, UIDPOOL_FAILED, "no memory for the list of leases");
    if (status == UIDPOOL_OK)
        *ret = list;
    else
        lease_list_clear(&list);
    return status;
}

bool lease_is_unproven(const struct uidpool_lease *lease)
{
    return lease->state == UIDPOOL_STATE_REVOKING ||
           (lease->state == UIDPOOL_STATE_LEASED && lease->other_boot);
}

bool lease_is_rested(const struct uidpool_lease *lease)
{
    return lease->state == UIDPOOL_STATE_QUARANTINED && lease->rest_left == 0;
}
