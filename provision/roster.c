/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who should be there, from the numbers that were chosen and from the ledger. The order is that in
 * which missing ones are added to the files. Touches nothing but its arguments. */
#include "provision/roster.h"

#include "common/cleanup.h"
#include "provision/linetext.h"

#include <errno.h>
#include <string.h>

/* The comments: no ':' and, as in finger(1)'s four fields, no ','. */
#define COMMENT_RANGE_BASE "uidpool range base"
#define COMMENT_SHARED "uidpool shared"
#define COMMENT_REAPER "uidpool reaper"
#define COMMENT_DOMID "uidpool domid"
#define COMMENT_ACCOUNT "uidpool account"

struct making {
    const struct choices *choices;
    const struct state *state;
    struct roster roster;
    struct linetext name;
    bool no_memory;
};

bool roster_has_pool(const struct chosen_pool *pool)
{
    return pool->fate == POOL_NEW || pool->fate == POOL_BEGUN || pool->fate == POOL_KNOWN;
}

/* The array with room for one item more; NULL: no memory, and it stays as it is. */
static void *grow(struct making *m, void *items, size_t n, size_t *allocated, size_t size)
{
    size_t wanted = *allocated ? 2 * *allocated : 16;
    void *more;

    if (n < *allocated)
        return items;
    more = reallocarray(items, wanted, size);
    if (more)
        *allocated = wanted;
    else
        m->no_memory = true;
    return more;
}

static void copy_name(char to[static LOGIN_NAME_MAX_LENGTH + 1], const char *name)
{
    memcpy(to, name, strnlen(name, LOGIN_NAME_MAX_LENGTH));
}

/* The new one, or NULL: no memory. */
static struct wanted_user *want_user(struct making *m, const char *name, uid_t uid, gid_t gid,
                                     const char *comment)
{
    struct roster *r = &m->roster;
    struct wanted_user *users =
        grow(m, r->users, r->n_users, &r->users_allocated, sizeof(*r->users));

    if (!users)
        return NULL;
    r->users = users;
    users += r->n_users++;
    *users = (struct wanted_user){.uid = uid, .gid = gid, .comment = comment};
    copy_name(users->name, name);
    return users;
}

static struct wanted_group *want_group(struct making *m, const char *name, gid_t gid)
{
    struct roster *r = &m->roster;
    struct wanted_group *groups =
        grow(m, r->groups, r->n_groups, &r->groups_allocated, sizeof(*r->groups));

    if (!groups)
        return NULL;
    r->groups = groups;
    groups += r->n_groups++;
    *groups = (struct wanted_group){.gid = gid};
    copy_name(groups->name, name);
    return groups;
}

static void want_group_any(struct making *m, const char *name, gid_t gid)
{
    struct wanted_group *group = want_group(m, name, gid);

    if (group)
        group->any_name = true;
}

static void want_guard(struct making *m, struct uid_range range)
{
    struct roster *r = &m->roster;
    struct wanted_guard *guards =
        grow(m, r->guards, r->n_guards, &r->guards_allocated, sizeof(*r->guards));

    if (!guards)
        return;
    r->guards = guards;
    guards[r->n_guards++] = (struct wanted_guard){.range = range};
}

/* PREFIX-WHAT, or PREFIX-WHAT<number>. */
static const char *name_of(struct making *m, const char *prefix, const char *what,
                           const uint32_t *number)
{
    const char *name;

    linetext_begin(&m->name);
    linetext_put_text(&m->name, prefix);
    linetext_put_text(&m->name, what);
    if (number)
        linetext_put_number(&m->name, *number);
    name = linetext_end(&m->name);
    return name ? name : "";
}

/* A user with the group of its name. One that was made by hand may have another group, and then
 * needs none: adduser --system gives it nogroup. */
static void want_pair(struct making *m, const char *name, uid_t uid, gid_t gid, const char *comment)
{
    struct wanted_user *user = want_user(m, name, uid, gid, comment);
    struct wanted_group *group = want_group(m, name, gid);

    if (!user || !group)
        return;
    user->gid_follows = true;
    group->any_name = true;
    group->of_user = true;
}

/* Outside of every pool; libxl and Xen's tools look for them by name. */
static void want_outsider(struct making *m, const char *prefix, const char *what, uint32_t id,
                          const char *comment)
{
    if (id != 0)
        want_pair(m, name_of(m, prefix, what, NULL), id, id, comment);
}

/* choose() has taken this account's gid for the pool's, or said why it cannot. */
static void want_range_base(struct making *m, const struct chosen_pool *pool)
{
    want_pair(m, pool->settings->range_base, pool->base, pool->gid, COMMENT_RANGE_BASE);
}

static void want_per_domid(struct making *m, const struct chosen_pool *pool)
{
    const struct pool_settings *s = pool->settings;

    /* The gid of a pool that was made without us may be any group's. */
    if (!s->group_per_uid && pool->gid != pool->base)
        want_group_any(m, s->prefix, pool->gid);
    else if (!s->group_per_uid)
        want_group(m, s->prefix, pool->gid);
    for (uint32_t domid = 0; domid < s->size; domid++) {
        const char *name = name_of(m, s->prefix, "-domid", &domid);
        uid_t uid = pool->base + domid;

        want_user(m, name, uid, s->group_per_uid ? uid : pool->gid, COMMENT_DOMID);
        if (s->group_per_uid)
            want_group(m, name, uid);
    }
}

static void want_pool(struct making *m, const struct chosen_pool *pool)
{
    const struct pool_settings *s = pool->settings;

    if (!roster_has_pool(pool))
        return;
    if (s->accounts & ACCOUNTS_RANGE_BASE)
        want_range_base(m, pool);
    if (s->accounts & ACCOUNTS_SHARED)
        want_outsider(m, s->prefix, "-shared", pool->shared_id, COMMENT_SHARED);
    if (s->accounts & ACCOUNTS_REAPER)
        want_outsider(m, s->prefix, "-reaper", pool->reaper_id, COMMENT_REAPER);
    if (s->accounts & ACCOUNTS_PER_DOMID)
        want_per_domid(m, pool);
    want_guard(m, (struct uid_range){pool->base, s->size});
}

/* What the pool of an account says of gids: the settings, else the ledger. */
static bool has_shared_gid(const struct making *m, const char *pool, gid_t gid)
{
    const struct uidpool_pool *known = state_pool(m->state, pool);

    for (size_t i = 0; i < m->choices->n; i++) {
        const struct chosen_pool *chosen = &m->choices->pools[i];

        if (roster_has_pool(chosen) && strcmp(chosen->settings->name, pool) == 0)
            return !chosen->settings->group_per_uid && chosen->gid == gid;
    }
    return known && !known->group_per_uid && known->gid == gid;
}

/* Has a group of this gid been asked for, by a pool or by an account? */
static bool group_is_wanted(const struct making *m, gid_t gid, size_t first_of_accounts)
{
    const struct roster *r = &m->roster;

    for (size_t i = 0; i < m->choices->n; i++) {
        const struct chosen_pool *pool = &m->choices->pools[i];
        unsigned makes = ACCOUNTS_RANGE_BASE | ACCOUNTS_PER_DOMID;

        if (roster_has_pool(pool) && !pool->settings->group_per_uid &&
            (pool->settings->accounts & makes) && pool->gid == gid)
            return true;
    }
    for (size_t i = first_of_accounts; i < r->n_groups; i++)
        if (r->groups[i].gid == gid)
            return true;
    return false;
}

/* The group of an account: its own, or one for all that share the gid, called as their pool is.
 * Whichever has the gid will do, for rules change while accounts keep their gid. */
static void want_account_group(struct making *m, const struct ledger_account *a,
                               size_t first_of_accounts)
{
    bool shared = a->gid != a->uid || has_shared_gid(m, a->pool, a->gid);

    if (!shared)
        want_group_any(m, a->name, a->gid);
    else if (!group_is_wanted(m, a->gid, first_of_accounts))
        want_group_any(m, login_name_is_valid(a->pool) ? a->pool : a->name, a->gid);
}

static void want_account(struct making *m, const struct ledger_account *a, bool expired,
                         size_t first_of_accounts)
{
    struct wanted_user *user = want_user(m, a->name, a->uid, a->gid, COMMENT_ACCOUNT);

    if (user) {
        user->removable = true;
        user->expired = expired;
    }
    want_account_group(m, a, first_of_accounts);
}

/* The account that the ledger is going to have. */
static struct ledger_account requested(const struct user_request *request)
{
    struct ledger_account a = {.uid = request->uid, .gid = request->gid};

    copy_name(a.name, request->name);
    memcpy(a.pool, request->pool, sizeof(a.pool));
    return a;
}

static bool is_expired(const struct ledger_account *a)
{
    return a->state == LEDGER_ACCOUNT_REMOVING || a->state == LEDGER_ACCOUNT_REMOVED;
}

static void want_accounts(struct making *m, const struct user_request *request)
{
    const struct state *s = m->state;
    size_t first = m->roster.n_groups;
    /* What the ledger does not know cannot be removed. */
    bool is_due = request && !request->remove;

    for (size_t i = 0; i <= s->n_accounts; i++) {
        const struct ledger_account *a = i < s->n_accounts ? &s->accounts[i] : NULL;
        int order = !request ? 1 : !a ? -1 : strcmp(request->name, a->name);

        if (is_due && order <= 0) {
            struct ledger_account new = requested(request);

            is_due = false;
            if (order < 0)
                want_account(m, &new, false, first);
        }
        if (a)
            want_account(m, a, order == 0 ? request->remove : is_expired(a), first);
    }
}

int roster_make(const struct choices *choices, const struct state *state,
                const struct user_request *request, struct roster *ret)
{
    struct making m = {.choices = choices, .state = state};

    for (size_t i = 0; i < choices->n; i++)
        want_pool(&m, &choices->pools[i]);
    want_accounts(&m, request);
    m.no_memory = m.no_memory || m.name.no_memory;
    linetext_clear(&m.name);
    if (m.no_memory) {
        roster_clear(&m.roster);
        return -ENOMEM;
    }
    *ret = m.roster;
    return 0;
}

void roster_clear(struct roster *r)
{
    free(r->users);
    free(r->groups);
    free(r->guards);
    *r = (struct roster){0};
}
