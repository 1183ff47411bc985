/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ranges, shared gids, and uids outside of the pools. Asks the world, changes nothing. Who has a
 * claim comes first: the ledger's pools, accounts made by hand, numbers of the configuration; what
 * is chosen freely comes last, so that it never takes what another section names.
 */
#include "provision/choose.h"

#include "allocator/hostrange.h"
#include "common/cleanup.h"
#include "common/ids.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Names of other name services that are told of, for each pool. */
#define NAMES_TOLD_MAX 8

/* Room for a prefix, "-domid" and any number; settings_read() refuses what is too long. */
#define NAME_ROOM (LOGIN_NAME_MAX_LENGTH + sizeof("-domid4294967295"))

struct chooser {
    const struct state *state;
    const struct account_files *files;
    const struct world *world;
    bool thorough;
    struct choices choices;
    struct findings *findings;
    struct problem *p;
};

/* The same, and the pool that is looked at. */
struct choosing {
    const struct chooser *chooser;
    const struct chosen_pool *pool;
};

static const struct entry *find_user(const struct chooser *ch, const char *name)
{
    return table_by_name(&ch->files->tables[FILE_PASSWD], name);
}

static const struct entry *find_group(const struct chooser *ch, const char *name)
{
    return table_by_name(&ch->files->tables[FILE_GROUP], name);
}

static bool is_wanted(const struct chosen_pool *c, unsigned account)
{
    return (c->settings->accounts & account) != 0;
}

/* The name of the account on base + n. */
static void name_of_domid(const struct pool_settings *s, uint32_t n, char ret[static NAME_ROOM])
{
    (void)snprintf(ret, NAME_ROOM, "%s-domid%u", s->prefix, n);
}

/* Is there anything to do for it? */
static bool is_active(const struct chosen_pool *c)
{
    return c->fate != POOL_RETIRED && c->fate != POOL_STUCK;
}

static const struct entry *range_base_user(const struct chooser *ch, const struct chosen_pool *c)
{
    return is_wanted(c, ACCOUNTS_RANGE_BASE) ? find_user(ch, c->settings->range_base) : NULL;
}

/* Empty as long as none was chosen. */
static struct uid_range range_of(const struct chosen_pool *c)
{
    if (c->base == 0)
        return (struct uid_range){0};
    return (struct uid_range){c->base, c->known ? c->known->size : c->settings->size};
}

/* The pool, of the ledger or of those chosen so far, but for `own`, that has one of these uids; or
 * the reaper. NULL: nobody. */
static const char *find_overlap(const struct chooser *ch, struct uid_range range,
                                const struct chosen_pool *own)
{
    for (size_t i = 0; i < ch->choices.n; i++) {
        const struct chosen_pool *c = &ch->choices.pools[i];
        struct uid_range other = range_of(c);

        if (c != own && uid_ranges_overlap(other.first, other.count, range.first, range.count))
            return c->settings->name;
    }
    return state_overlap(ch->state, range);
}

/* Before what find_overlap() gave: no pool's name has a blank. */
static const char *kind_of(const char *who)
{
    return strchr(who, ' ') ? "" : "pool ";
}

/*
 * Ranges.
 */

static void choose_known(const struct chooser *ch, struct chosen_pool *c)
{
    const struct pool_settings *s = c->settings;
    const struct uidpool_pool *known = c->known;

    c->base = known->base;
    c->fate = known->provisioning ? POOL_BEGUN : known->retired ? POOL_RETIRED : POOL_KNOWN;
    if (c->fate == POOL_RETIRED) {
        findings_add(ch->findings, FINDING_WARNING,
                     "pool %s is retired, so its section does nothing; remove the section, or "
                     "bring the pool back with 'uidpool pool add %s --base=%u --size=%u' and the "
                     "other rules that 'uidpool pool show %s' shows",
                     s->name, s->name, known->base, known->size, s->name);
        return;
    }
    if (s->size != known->size)
        findings_add(
            ch->findings, FINDING_CONFLICT,
            "pool %s: the configuration says Size=%u, the ledger %u; the name and range of "
            "a pool never change: set Size=%u back, or retire it ('uidpool-provision "
            "retire %s') and give the new range another name",
            s->name, s->size, known->size, known->size, s->name);
    if (!s->base_auto && s->base != known->base)
        findings_add(
            ch->findings, FINDING_CONFLICT,
            "pool %s: the configuration says Base=%u, the ledger %u; the name and range of "
            "a pool never change: set Base=%u back, or Base=auto, or retire it "
            "('uidpool-provision retire %s') and give the new range another name",
            s->name, s->base, known->base, known->base, s->name);
}

/* A range-base account that is there already says where the range is. */
static void adopt_user(const struct chooser *ch, struct chosen_pool *c, const struct entry *user)
{
    const struct pool_settings *s = c->settings;

    if (!uid_range_is_usable(user->id, s->size)) {
        char remove[128] = "";

        /* Whatever was made for this has not uid 0. */
        if (user->id != 0)
            (void)snprintf(remove, sizeof(remove),
                           ", or remove the account while none of its domains runs ('userdel %s')",
                           s->range_base);
        findings_add(ch->findings, FINDING_CONFLICT,
                     "pool %s: the account %s has uid %u, where no %u uids can begin; set "
                     "RangeBase= to another name%s",
                     s->name, s->range_base, user->id, s->size, remove);
        c->fate = POOL_STUCK;
        return;
    }
    if (!s->base_auto && s->base != user->id)
        findings_add(ch->findings, FINDING_CONFLICT,
                     "pool %s: the configuration says Base=%u, but the account %s has uid %u; set "
                     "Base=%u or Base=auto to take its range over, or set RangeBase= to another "
                     "name, or remove the account while none of its domains runs ('userdel %s')",
                     s->name, s->base, s->range_base, user->id, user->id, s->range_base);
    c->base = user->id;
    c->adopted = true;
}

/* Could Base=auto have given this number? */
static bool is_automatic(uint32_t id, uint32_t size)
{
    return id >= HOSTRANGE_AUTO_FIRST && (id - HOSTRANGE_AUTO_FIRST) % HOSTRANGE_AUTO_STEP == 0 &&
           (uint64_t)id + size <= HOSTRANGE_AUTO_END;
}

/* A part of what this pool would have on its base: made from our lines of sysusers.d(5), in an
 * image, or by a tool that was killed over it. */
static const struct entry *find_trace(const struct chooser *ch, const struct chosen_pool *c)
{
    const struct pool_settings *s = c->settings;
    const struct entry *e = NULL;
    char name[NAME_ROOM];

    if (is_wanted(c, ACCOUNTS_RANGE_BASE))
        return find_group(ch, s->range_base);
    if (!is_wanted(c, ACCOUNTS_PER_DOMID))
        return NULL;
    name_of_domid(s, 0, name);
    e = find_user(ch, name);
    return e ? e : find_group(ch, s->group_per_uid ? name : s->prefix);
}

static void adopt_trace(const struct chooser *ch, struct chosen_pool *c)
{
    const struct entry *e = c->settings->base_auto ? find_trace(ch, c) : NULL;

    if (!e || !is_automatic(e->id, c->settings->size))
        return;
    c->base = e->id;
    c->adopted = true;
}

static void adopt(const struct chooser *ch, struct chosen_pool *c)
{
    const struct entry *user = range_base_user(ch, c);

    if (user)
        adopt_user(ch, c, user);
    else
        adopt_trace(ch, c);
}

/* Is there a guard over it? A pool had it, and the ledger that knew of it is lost, or the ledger
 * would be in the way itself. Files may still carry its uids. */
static bool is_guarded(const struct chooser *ch, struct uid_range range)
{
    static const enum account_file files[] = {FILE_SUBUID, FILE_SUBGID};

    for (size_t f = 0; f < ELEMENTS_OF(files); f++) {
        const struct account_table *t = &ch->files->tables[files[f]];

        for (size_t i = 0; i < t->n; i++)
            if (entry_is_guard(&t->entries[i]) &&
                uid_ranges_overlap(range.first, range.count, t->entries[i].id, t->entries[i].count))
                return true;
    }
    return false;
}

static bool range_is_taken(struct uid_range range, void *userdata)
{
    const struct choosing *c = userdata;

    return find_overlap(c->chooser, range, c->pool) != NULL || is_guarded(c->chooser, range);
}

static enum uidpool_status find_base(const struct chooser *ch, struct chosen_pool *c)
{
    struct choosing choosing = {ch, c};
    struct problem why = {0};
    enum uidpool_status status = world_find_base(ch->world, ch->files, c->settings->size,
                                                 range_is_taken, &choosing, &c->base, &why);

    if (status == UIDPOOL_OK)
        return status;
    if (status != UIDPOOL_CONFLICT)
        return problem_set(ch->p, status, "pool %s: %s", c->settings->name, why.text);
    findings_add(ch->findings, FINDING_CONFLICT, "pool %s: %s", c->settings->name, why.text);
    c->fate = POOL_STUCK;
    return UIDPOOL_OK;
}

/* The ledger would refuse it too, but later, and would not say whom. */
static void check_overlap(const struct chooser *ch, const struct chosen_pool *c)
{
    struct uid_range range = range_of(c);
    const char *who = range.count > 0 ? find_overlap(ch, range, c) : NULL;

    if (!who)
        return;
    findings_add(ch->findings, FINDING_CONFLICT,
                 "pool %s: the uids %u to %u overlap those of %s%s; choose another Base=, or "
                 "Base=auto",
                 c->settings->name, range.first, uid_range_last(range), kind_of(who), who);
}

enum turn { TURN_KNOWN, TURN_ADOPTED, TURN_NUMBERS, TURN_AUTO, TURNS };

/* Choose the range if it is this pool's turn. */
static enum uidpool_status choose_range(const struct chooser *ch, struct chosen_pool *c,
                                        enum turn turn)
{
    enum uidpool_status status = UIDPOOL_OK;

    if (c->base != 0 || c->fate == POOL_STUCK || (c->known != NULL) != (turn == TURN_KNOWN))
        return UIDPOOL_OK;
    if (turn == TURN_KNOWN)
        choose_known(ch, c);
    else if (turn == TURN_ADOPTED)
        adopt(ch, c);
    else if (turn == TURN_NUMBERS && !c->settings->base_auto)
        c->base = c->settings->base;
    else if (turn == TURN_AUTO)
        status = find_base(ch, c);
    if (turn != TURN_KNOWN)
        check_overlap(ch, c);
    return status;
}

static enum uidpool_status choose_ranges(const struct chooser *ch)
{
    enum uidpool_status status = UIDPOOL_OK;

    for (enum turn turn = TURN_KNOWN; turn < TURNS; turn++)
        for (size_t i = 0; i < ch->choices.n && status == UIDPOOL_OK; i++)
            status = choose_range(ch, &ch->choices.pools[i], turn);
    return status;
}

/*
 * Shared gids.
 */

/* libxl gives every domain the gid of the range-base account, XAPI counts up from it. */
static void choose_gid_of(const struct chooser *ch, struct chosen_pool *c, const struct entry *user)
{
    const struct pool_settings *s = c->settings;

    if (s->group_per_uid)
        findings_add(ch->findings, FINDING_CONFLICT,
                     "pool %s: the account %s has gid %u, but Group=per-uid makes it %u, as its "
                     "uid; 'groupadd -g %u %s' and 'usermod -g %u %s' move it there, or set "
                     "Group=shared",
                     s->name, s->range_base, user->gid, c->base, c->base, s->range_base, c->base,
                     s->range_base);
    else if (!uid_is_usable(user->gid) && user->gid != UID_NOBODY)
        findings_add(ch->findings, FINDING_CONFLICT,
                     "pool %s: the account %s has gid %u, which no device model may have; give "
                     "it a group of its own ('groupadd -g %u %s' and 'usermod -g %u %s')",
                     s->name, s->range_base, user->gid, c->base, s->range_base, c->base,
                     s->range_base);
    else
        c->gid = user->gid;
}

static void choose_gid(const struct chooser *ch, struct chosen_pool *c)
{
    const struct entry *user = range_base_user(ch, c);
    const struct pool_settings *s = c->settings;

    c->gid = c->base;
    /* A gid that 'uidpool pool add --group' set is kept: no key here says otherwise. */
    if (!s->group_per_uid && c->known && !c->known->group_per_uid)
        c->gid = c->known->gid;
    if (user && user->id == c->base && user->gid != c->gid)
        choose_gid_of(ch, c, user);
    /* As Debian's 'adduser --system' makes it, which is how Xen's documentation does it. */
    if (user && c->gid == UID_NOBODY)
        findings_add(ch->findings, FINDING_WARNING,
                     "pool %s: the account %s is in the group of nobody (%u), so that every "
                     "device model will be; 'groupadd -g %u %s' and 'usermod -g %u %s' give it a "
                     "group of its own",
                     s->name, s->range_base, c->gid, c->base, s->range_base, c->base,
                     s->range_base);
}

/*
 * What the world says of the ranges.
 */

static bool is_named(const struct entry *e, const char *name)
{
    return e->name_length == strlen(name) && memcmp(e->name, name, e->name_length) == 0;
}

/* Is it one that the roster will have here, by its name and its number? A run that was cut off may
 * have written it, or an image may have come with it. */
static bool is_roster_entry(const struct chosen_pool *c, bool group, const struct entry *e)
{
    const struct pool_settings *s = c->settings;
    char name[NAME_ROOM];

    if (is_wanted(c, ACCOUNTS_RANGE_BASE) && e->id == c->base && is_named(e, s->range_base))
        return true;
    if (!is_wanted(c, ACCOUNTS_PER_DOMID))
        return false;
    if (group && !s->group_per_uid)
        return e->id == c->gid && is_named(e, s->prefix);
    name_of_domid(s, e->id - c->base, name);
    return is_named(e, name);
}

/* Has the ledger an account of this name and number, made by `user add`? */
static bool is_ledger_entry(const struct chooser *ch, const struct entry *e)
{
    for (size_t i = 0; i < ch->state->n_accounts; i++)
        if (ch->state->accounts[i].uid == e->id && is_named(e, ch->state->accounts[i].name))
            return true;
    return false;
}

/* Whatever group has the gid of an existing range-base account will do, and so will that of a pool
 * that is in use. */
static bool is_group_in_use(const struct chooser *ch, const struct chosen_pool *c,
                            const struct entry *e)
{
    const struct entry *user = range_base_user(ch, c);

    if (user && user->id == c->base && user->gid == e->id)
        return true;
    return !c->settings->group_per_uid && e->id == c->gid && c->fate == POOL_KNOWN;
}

static bool is_own(const struct account_table *t, const struct entry *e, void *userdata)
{
    const struct choosing *c = userdata;
    bool group = t->file == FILE_GROUP;

    return is_roster_entry(c->pool, group, e) ||
           (group && is_group_in_use(c->chooser, c->pool, e)) || is_ledger_entry(c->chooser, e);
}

/* What is in the way says to take another range, and this one was nobody's choice. */
static void tell_of_adopted(const struct chooser *ch, const struct chosen_pool *c)
{
    const struct pool_settings *s = c->settings;

    if (c->adopted && (s->base_auto || s->base == c->base) && range_base_user(ch, c))
        findings_add(ch->findings, FINDING_WARNING,
                     "pool %s: its range begins at %u, the uid of the account %s that is there "
                     "already; to have another, remove the account while none of its domains runs "
                     "('userdel %s')%s, and 'uidpool-provision apply' makes it anew",
                     s->name, c->base, s->range_base, s->range_base,
                     s->base_auto ? "" : ", set Base=auto");
}

static enum uidpool_status ask_about_range(const struct chooser *ch, const struct chosen_pool *c)
{
    size_t conflicts = findings_count(ch->findings, FINDING_CONFLICT);
    struct choosing choosing = {ch, c};
    struct world world = *ch->world;
    enum uidpool_status status;

    if (c->fate == POOL_KNOWN && !ch->thorough)
        return UIDPOOL_OK;
    /* An automatic base was found clear of everything a moment ago. */
    if (c->fate == POOL_NEW && !c->adopted && c->settings->base_auto)
        return UIDPOOL_OK;
    /* What runs as the uid of a lease is as it should be; the rest is for 'uidpool audit'. */
    if (c->fate == POOL_KNOWN)
        world.skip_processes = true;
    status = world_check_range_but(
        &world, ch->files, c->settings->name, range_of(c), is_own, &choosing,
        c->fate == POOL_KNOWN ? FINDING_DRIFT : FINDING_CONFLICT, ch->findings, ch->p);
    if (findings_count(ch->findings, FINDING_CONFLICT) > conflicts)
        tell_of_adopted(ch, c);
    return status;
}

/*
 * Names that other name services know.
 */

static enum uidpool_status check_name(const struct chooser *ch, const struct chosen_pool *c,
                                      const char *name, unsigned *n)
{
    bool taken = false;
    enum uidpool_status status;

    /* Some name services repeat the files. */
    if (find_user(ch, name) || find_group(ch, name))
        return UIDPOOL_OK;
    status = world_name_taken(ch->world, name, &taken, ch->p);
    if (taken && (*n)++ < NAMES_TOLD_MAX)
        findings_add(ch->findings, FINDING_CONFLICT,
                     "pool %s: another name service than the files knows a user or a group %s "
                     "('getent passwd %s', 'getent group %s'); remove it there, or choose other "
                     "names with Prefix= and RangeBase=",
                     c->settings->name, name, name, name);
    return status;
}

static enum uidpool_status check_suffixed(const struct chooser *ch, const struct chosen_pool *c,
                                          const char *suffix, unsigned *n)
{
    char name[NAME_ROOM];

    (void)snprintf(name, sizeof(name), "%s%s", c->settings->prefix, suffix);
    return check_name(ch, c, name, n);
}

static enum uidpool_status check_domid_names(const struct chooser *ch, const struct chosen_pool *c,
                                             unsigned *n)
{
    enum uidpool_status status = UIDPOOL_OK;
    char name[NAME_ROOM];

    if (!c->settings->group_per_uid)
        status = check_name(ch, c, c->settings->prefix, n);
    for (uint32_t i = 0; i < range_of(c).count && status == UIDPOOL_OK; i++) {
        name_of_domid(c->settings, i, name);
        status = check_name(ch, c, name, n);
    }
    return status;
}

static enum uidpool_status check_names(const struct chooser *ch, const struct chosen_pool *c)
{
    enum uidpool_status status = UIDPOOL_OK;
    unsigned n = 0;

    /* 32,752 names would be put together to ask nobody. */
    if (ch->world->offline || ch->world->no_names)
        return UIDPOOL_OK;
    if (is_wanted(c, ACCOUNTS_RANGE_BASE))
        status = check_name(ch, c, c->settings->range_base, &n);
    if (status == UIDPOOL_OK && is_wanted(c, ACCOUNTS_SHARED))
        status = check_suffixed(ch, c, "-shared", &n);
    if (status == UIDPOOL_OK && is_wanted(c, ACCOUNTS_REAPER))
        status = check_suffixed(ch, c, "-reaper", &n);
    if (status == UIDPOOL_OK && is_wanted(c, ACCOUNTS_PER_DOMID))
        status = check_domid_names(ch, c, &n);
    if (status == UIDPOOL_OK && n > NAMES_TOLD_MAX)
        findings_add(ch->findings, FINDING_CONFLICT,
                     "pool %s: another name service knows %u more of its names", c->settings->name,
                     n - NAMES_TOLD_MAX);
    return status;
}

/*
 * Accounts outside of every pool.
 */

/* Whose account outside of every pool has this id, of those chosen so far. NULL: nobody's. */
static const struct chosen_pool *find_outside(const struct chooser *ch, uint32_t id)
{
    for (size_t i = 0; i < ch->choices.n; i++)
        if (ch->choices.pools[i].shared_id == id || ch->choices.pools[i].reaper_id == id)
            return &ch->choices.pools[i];
    return NULL;
}

/* One that is there already: what it has must do. */
static uint32_t take_existing(const struct chooser *ch, const struct chosen_pool *c,
                              const char *name, bool group, uint32_t id)
{
    const char *what = group ? "group" : "account", *del = group ? "groupdel" : "userdel";
    const char *who = find_overlap(ch, (struct uid_range){id, 1}, NULL);
    const struct chosen_pool *other = find_outside(ch, id);

    if (!uid_is_usable(id)) {
        findings_add(ch->findings, FINDING_CONFLICT,
                     "pool %s: the %s %s has the id %u, which it may not have; remove it ('%s "
                     "%s'), or choose another Prefix=",
                     c->settings->name, what, name, id, del, name);
        return 0;
    }
    if (who)
        findings_add(ch->findings, FINDING_CONFLICT,
                     "pool %s: the %s %s has the id %u, one of those of %s%s, but must be "
                     "outside of every pool; remove it ('%s %s'), or choose another Prefix=",
                     c->settings->name, what, name, id, kind_of(who), who, del, name);
    if (other)
        findings_add(ch->findings, FINDING_CONFLICT,
                     "pool %s: the %s %s has the id %u, and so has another account of pool %s; "
                     "remove one of them ('%s %s'), or choose another Prefix=",
                     c->settings->name, what, name, id, other->settings->name, del, name);
    return id;
}

static bool is_in_table(const struct account_table *t, uint32_t id)
{
    return table_by_id(t, id) || table_odd_in_range(t, id, 1, 0);
}

/* In the files, in a pool, or chosen for another account of this run? */
static bool id_is_spoken_for(const struct chooser *ch, uint32_t id)
{
    return !uid_is_usable(id) || find_outside(ch, id) ||
           is_in_table(&ch->files->tables[FILE_PASSWD], id) ||
           is_in_table(&ch->files->tables[FILE_GROUP], id) ||
           find_overlap(ch, (struct uid_range){id, 1}, NULL);
}

/* From the top, as useradd --system does it: other hosts of a site are more likely to agree. Zero
 * if none is free. */
static enum uidpool_status find_free_id(const struct chooser *ch, struct uid_range ids,
                                        uint32_t *ret)
{
    for (uint32_t i = ids.count; i-- > 0;) {
        bool taken = false;
        enum uidpool_status status;

        if (id_is_spoken_for(ch, ids.first + i))
            continue;
        status = world_id_taken(ch->world, ids.first + i, &taken, ch->p);
        if (status != UIDPOOL_OK)
            return status;
        if (!taken) {
            *ret = ids.first + i;
            return UIDPOOL_OK;
        }
    }
    return UIDPOOL_OK;
}

static enum uidpool_status choose_outside(const struct chooser *ch, const struct chosen_pool *c,
                                          const char *suffix, uint32_t *ret)
{
    char name[NAME_ROOM];
    const struct entry *user, *group;
    struct uid_range ids;
    enum uidpool_status status;

    (void)snprintf(name, sizeof(name), "%s%s", c->settings->prefix, suffix);
    user = find_user(ch, name);
    group = find_group(ch, name);
    if (user || group) {
        *ret = take_existing(ch, c, name, !user, user ? user->id : group->id);
        return UIDPOOL_OK;
    }
    status = world_system_ids(&ids, ch->p);
    if (status == UIDPOOL_OK)
        status = find_free_id(ch, ids, ret);
    if (status == UIDPOOL_OK && *ret == 0)
        findings_add(ch->findings, FINDING_CONFLICT,
                     "pool %s: none of the ids %u to %u is free as uid and gid for the account %s; "
                     "make room, or set SYS_UID_MIN and SYS_UID_MAX in /etc/login.defs",
                     c->settings->name, ids.first, uid_range_last(ids), name);
    return status;
}

/* All but the ranges, which all pools have by now. */
static enum uidpool_status choose_rest(const struct chooser *ch, struct chosen_pool *c)
{
    enum uidpool_status status;

    if (!is_active(c))
        return UIDPOOL_OK;
    choose_gid(ch, c);
    status = ask_about_range(ch, c);
    if (status == UIDPOOL_OK)
        status = check_names(ch, c);
    if (status == UIDPOOL_OK && is_wanted(c, ACCOUNTS_SHARED))
        status = choose_outside(ch, c, "-shared", &c->shared_id);
    if (status == UIDPOOL_OK && is_wanted(c, ACCOUNTS_REAPER))
        status = choose_outside(ch, c, "-reaper", &c->reaper_id);
    return status;
}

static bool has_section(const struct settings *settings, const char *name)
{
    for (size_t i = 0; i < settings->n; i++)
        if (strcmp(settings->pools[i].name, name) == 0)
            return true;
    return false;
}

/* A pool of the ledger alone is somebody's who uses `uidpool pool add`; but this one is nobody's
 * unless it is finished. */
static void tell_of_begun(const struct chooser *ch, const struct settings *settings)
{
    for (size_t i = 0; i < ch->state->n_pools; i++) {
        const struct uidpool_pool *pool = &ch->state->pools[i];

        if (pool->provisioning && !has_section(settings, pool->name))
            findings_add(ch->findings, FINDING_DRIFT,
                         "pool %s was begun and not finished, and the configuration has no section "
                         "for it any more; put [pool %s] with Base=%u and Size=%u back, so that "
                         "'uidpool-provision apply' finishes it",
                         pool->name, pool->name, pool->base, pool->size);
    }
}

enum uidpool_status choose(const struct settings *settings, const struct state *state,
                           const struct account_files *files, const struct world *world,
                           bool thorough, struct choices *ret, struct findings *findings,
                           struct problem *p)
{
    _cleanup_(choices_clear) struct choices choices = {
        .pools = calloc(settings->n ? settings->n : 1, sizeof(*choices.pools)),
        .n = settings->n,
    };
    enum uidpool_status status;

    if (!choices.pools)
        return problem_errno(p, -ENOMEM, "cannot choose uids for the pools");
    for (size_t i = 0; i < settings->n; i++) {
        choices.pools[i].settings = &settings->pools[i];
        choices.pools[i].known = state_pool(state, settings->pools[i].name);
    }
    const struct chooser ch = {state, files, world, thorough, choices, findings, p};
    tell_of_begun(&ch, settings);
    status = choose_ranges(&ch);
    for (size_t i = 0; i < choices.n && status == UIDPOOL_OK; i++)
        status = choose_rest(&ch, &choices.pools[i]);
    if (status == UIDPOOL_OK) {
        *ret = choices;
        choices = (struct choices){0};
    }
    return status;
}

void choices_clear(struct choices *c)
{
    free(c->pools);
    *c = (struct choices){0};
}
