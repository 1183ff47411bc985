/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Small things that the allocator's operations share: lists of leases, survivors, words for people.
 * Touches nothing outside of them. */
#include "allocator/allocator.h"

#include "common/cleanup.h"
#include "common/clock.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

void outcome_keep_survivors(const struct outcome *outcome, struct uidpool_survivor **items,
                            size_t *n)
{
    struct uidpool_survivor *all;

    if (outcome->n_survivors == 0)
        return;
    all = reallocarray(*items, *n + outcome->n_survivors, sizeof(*all));
    if (!all)
        return;
    memcpy(all + *n, outcome->survivors, outcome->n_survivors * sizeof(*all));
    *items = all;
    *n += outcome->n_survivors;
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
