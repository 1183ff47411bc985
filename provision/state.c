/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The ledger's pools and accounts, copied within one read transaction. Reads the ledger, changes
 * nothing. */
#include "provision/state.h"

#include "common/cleanup.h"
#include "common/ids.h"

#include <errno.h>
#include <string.h>

/* The arrays double at the powers of two, so that their length alone tells what is allocated. */
static bool has_room(size_t n)
{
    return (n & (n - 1)) != 0;
}

struct reading {
    struct state *state;
    bool no_memory;
};

static bool add_pool(const struct uidpool_pool *pool, void *userdata)
{
    struct reading *r = userdata;
    struct state *s = r->state;

    if (!has_room(s->n_pools)) {
        struct uidpool_pool *pools =
            reallocarray(s->pools, s->n_pools ? 2 * s->n_pools : 1, sizeof(*pools));

        r->no_memory = !pools;
        if (!pools)
            return false;
        s->pools = pools;
    }
    s->pools[s->n_pools++] = *pool;
    return true;
}

static bool add_account(const struct ledger_account *account, void *userdata)
{
    struct reading *r = userdata;
    struct state *s = r->state;

    if (!has_room(s->n_accounts)) {
        struct ledger_account *accounts =
            reallocarray(s->accounts, s->n_accounts ? 2 * s->n_accounts : 1, sizeof(*accounts));

        r->no_memory = !accounts;
        if (!accounts)
            return false;
        s->accounts = accounts;
    }
    s->accounts[s->n_accounts++] = *account;
    return true;
}

static enum uidpool_status read_all(struct ledger *l, struct state *s, struct problem *p)
{
    struct reading reading = {.state = s};
    enum uidpool_status status = ledger_begin_read(l, p);

    if (status == UIDPOOL_OK)
        status = ledger_reaper_range(l, &s->reaper_first, &s->reaper_count, p);
    if (status == UIDPOOL_OK)
        status = ledger_pool_each(l, add_pool, &reading, p);
    if (status == UIDPOOL_OK && !reading.no_memory)
        status = ledger_account_each(l, add_account, &reading, p);
    ledger_rollback(l);
    if (status == UIDPOOL_OK && reading.no_memory)
        status = problem_errno(p, -ENOMEM, "cannot read the ledger %s", ledger_path(l));
    return status;
}

enum uidpool_status state_read(struct ledger *l, struct state *ret, struct problem *p)
{
    _cleanup_(state_clear) struct state s = {
        .exists = l != NULL,
        .reaper_first = LEDGER_REAPER_FIRST,
        .reaper_count = LEDGER_REAPER_COUNT,
    };
    enum uidpool_status status = l ? read_all(l, &s, p) : UIDPOOL_OK;

    if (status == UIDPOOL_OK) {
        *ret = s;
        s = (struct state){0};
    }
    return status;
}

void state_clear(struct state *s)
{
    free(s->pools);
    free(s->accounts);
    *s = (struct state){0};
}

const struct uidpool_pool *state_pool(const struct state *s, const char *name)
{
    for (size_t i = 0; i < s->n_pools; i++)
        if (strcmp(s->pools[i].name, name) == 0)
            return &s->pools[i];
    return NULL;
}

const struct ledger_account *state_account(const struct state *s, const char *name)
{
    for (size_t i = 0; i < s->n_accounts; i++)
        if (strcmp(s->accounts[i].name, name) == 0)
            return &s->accounts[i];
    return NULL;
}

const char *state_overlap(const struct state *s, struct uid_range range)
{
    for (size_t i = 0; i < s->n_pools; i++)
        if (uid_ranges_overlap(s->pools[i].base, s->pools[i].size, range.first, range.count))
            return s->pools[i].name;
    if (uid_ranges_overlap(s->reaper_first, s->reaper_count, range.first, range.count))
        return "the reaper";
    return NULL;
}
