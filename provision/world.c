/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who has an id besides the account files: a look at a range goes through everything that can be
 * asked, the cheapest first. Asks; changes nothing but this process's own environment and choice of
 * name services.
 */
#include "provision/world.h"

#include "allocator/hostrange.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "provision/places.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* So many of each sort are named; an administrator wants the first, a directory may have them all.
 */
#define NAMED_MAX 8

enum sort { CLAIMS, POSSIBLE_CLAIMS, USERS, GROUPS, MEMBERS, NAMES, PROCESSES, FILES, SORTS };

/* Our own answers, and who would pass them on (systemd, src/shared/userdb.c, userdb_start_query()).
 */
#define USERDB_BYPASS "io.uidpool:io.systemd.Multiplexer"

/* One look at one range. */
struct look {
    const struct world *world;
    const struct account_files *files;
    const char *pool; /* or NULL: there is none yet */
    struct uid_range range;
    bool (*is_own)(const struct account_table *t, const struct entry *e, void *userdata);
    void *own_userdata;
    enum finding_kind kind;
    struct findings *findings;
    struct findings *unseen; /* or NULL */
    bool search;             /* the first thing in the way is enough */
    size_t told[SORTS];
    size_t mounts;
};

static enum finding_kind kind_of(const struct look *l, enum sort sort)
{
    return sort == POSSIBLE_CLAIMS || sort == MEMBERS ? FINDING_WARNING : l->kind;
}

static bool tell(struct look *l, enum sort sort, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Is more wanted? */
static bool tell(struct look *l, enum sort sort, const char *format, ...)
{
    char text[1024];
    va_list ap;

    if (l->told[sort]++ >= NAMED_MAX)
        return true;
    va_start(ap, format);
    if (vsnprintf(text, sizeof(text), format, ap) < 0)
        text[0] = '\0';
    va_end(ap);
    findings_add(l->findings, kind_of(l, sort), "%s%s%s%s", l->pool ? "pool " : "",
                 l->pool ? l->pool : "", l->pool ? ": " : "", text);
    return !l->search;
}

static void tell_how_many_more(struct look *l)
{
    static const char *const names[SORTS] = {
        [CLAIMS] = "claims on its ids",
        [POSSIBLE_CLAIMS] = "possible claims on its ids",
        [USERS] = "users of the account files on its ids",
        [GROUPS] = "groups of the account files on its ids",
        [MEMBERS] = "users in its groups",
        [NAMES] = "users and groups of other name services on its ids",
        [PROCESSES] = "tasks that run as its ids",
        [FILES] = "files that carry its ids",
    };

    for (enum sort sort = 0; sort < SORTS; sort++)
        if (l->told[sort] > NAMED_MAX)
            findings_add(l->findings, kind_of(l, sort), "pool %s: and %zu more %s", l->pool,
                         l->told[sort] - NAMED_MAX, names[sort]);
}

static void warn_unseen(struct look *l, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Once, for whichever range it could not be looked at. */
static void warn_unseen(struct look *l, const char *format, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, format);
    if (vsnprintf(text, sizeof(text), format, ap) < 0)
        text[0] = '\0';
    va_end(ap);
    text_make_printable(text); /* as findings_add() keeps it */
    for (size_t i = 0; l->unseen && i < l->unseen->n; i++)
        if (strcmp(l->unseen->items[i].text, text) == 0)
            return;
    if (l->unseen)
        findings_add(l->unseen, FINDING_WARNING, "%s", text);
}

/* What can be done about it, whoever has the id. A pool that is there keeps its range. */
static const char *or_another_range(const struct look *l)
{
    return l->kind == FINDING_DRIFT ? "" : ", or take another range for the pool";
}

static void forward_progress(const char *text, void *userdata)
{
    const struct look *l = userdata;

    if (l->world->progress)
        l->world->progress(text, l->world->userdata);
}

/*
 * What can be asked.
 */

/* A guard keeps useradd(8) from granting; and what a program takes by default is for its
 * administrator to set. Against all others a range has no chance. */
static bool is_possible_only(enum hostrange_kind kind)
{
    return kind == HOSTRANGE_DEFAULT || kind == HOSTRANGE_LOGIN_DEFS_SUBID;
}

static bool note_claim(const struct hostrange_claim *claim, void *userdata)
{
    struct look *l = userdata;
    const char *words = "which belong to", *or_else = or_another_range(l), *advice;
    bool is_known = l->kind == FINDING_DRIFT, is_possible = is_possible_only(claim->kind);

    /* It was told when the pool was made, and would be told at every check. */
    if (is_possible && is_known)
        return true;
    if (is_possible) {
        words = "which are by default meant for";
        advice = "see that others are taken there";
    } else if (claim->kind == HOSTRANGE_SUBID) {
        words = "and may be used by";
        advice = "take that grant back (usermod --del-subuids, --del-subgids)";
    } else if (is_known) {
        advice = "see that nobody gets one of them";
    } else {
        advice = "take another range for the pool";
        or_else = "";
    }
    return tell(l, is_possible ? POSSIBLE_CLAIMS : CLAIMS,
                "its ids %" PRIu32 " to %" PRIu32 " overlap %" PRIu64 " to %" PRIu64
                ", %s %s; %s%s",
                l->range.first, uid_range_last(l->range), claim->first, claim->last, words,
                claim->who, advice, or_else);
}

static enum uidpool_status look_at_claims(struct look *l, struct problem *p)
{
    return hostrange_each_claim(l->range, note_claim, l, p);
}

static bool is_own(const struct look *l, const struct account_table *t, const struct entry *e)
{
    return l->is_own && l->is_own(t, e, l->own_userdata);
}

/* Entries on ids of the range, and odd lines that are such to glibc. */
static void look_at_table(struct look *l, const struct account_table *t, enum sort sort)
{
    const char *path = account_file_path(t->file);
    const struct id_at *odd;
    const struct entry *e;

    for (size_t i = 0; (e = table_in_range(t, l->range.first, l->range.count, i)); i++)
        if (!is_own(l, t, e))
            (void)tell(l, sort, "%" PRIu32 " is the %s %.*s of %s; give it another id%s", e->id,
                       sort == USERS ? "user" : "group", (int)e->name_length, e->name, path,
                       or_another_range(l));
    for (size_t i = 0; (odd = table_odd_in_range(t, l->range.first, l->range.count, i)); i++)
        (void)tell(l, sort,
                   "%" PRIu32 " is the id on line %" PRIu32
                   " of %s, which is malformed and counts all the same; mend the line%s",
                   odd->id, odd->at + 1, path, or_another_range(l));
}

static enum uidpool_status look_at_files(struct look *l, struct problem *p)
{
    const struct account_table *users = &l->files->tables[FILE_PASSWD];

    (void)p;
    look_at_table(l, users, USERS);
    look_at_table(l, &l->files->tables[FILE_GROUP], GROUPS);
    /* Users of other ids may be in a pool's group on purpose, to share files. */
    for (size_t i = 0; i < users->n; i++) {
        const struct entry *e = &users->entries[i];

        if (uid_range_has(l->range, e->gid) && !uid_range_has(l->range, e->id) &&
            !is_own(l, users, e))
            (void)tell(l, MEMBERS,
                       "the user %.*s of %s has the primary group %" PRIu32
                       ", so that device models share files with it; 'usermod --gid' gives it "
                       "another",
                       (int)e->name_length, e->name, account_file_path(FILE_PASSWD), e->gid);
    }
    return UIDPOOL_OK;
}

static bool has_nobody_to_ask(const struct world *w)
{
    return w->offline || w->no_names;
}

/* Some name services repeat the files, as SSSD does with its provider `files`. What stands there
 * was looked at already. */
static bool is_in_files(const struct look *l, const struct hostrange_owner *owner)
{
    enum account_file file = owner->kind == HOSTRANGE_USER ? FILE_PASSWD : FILE_GROUP;
    const struct entry *e = table_by_name(&l->files->tables[file], owner->name);

    return e && e->id == owner->id;
}

static bool note_name(const struct hostrange_owner *owner, void *userdata)
{
    struct look *l = userdata;

    if (is_in_files(l, owner))
        return true;
    return tell(l, NAMES,
                "%" PRIu32 " is the %s %s of another name service than the files (see "
                "/etc/nsswitch.conf); give it another id there%s",
                owner->id, owner->kind == HOSTRANGE_USER ? "user" : "group", owner->name,
                or_another_range(l));
}

static enum uidpool_status look_at_names(struct look *l, struct problem *p)
{
    struct memory *memory = l->world->memory;
    enum uidpool_status status;

    if (has_nobody_to_ask(l->world) || memory_has_range(memory, MEMORY_OF_NAME_SERVICES, l->range))
        return UIDPOOL_OK;
    status = hostrange_each_name(l->range, note_name, forward_progress, l, p);
    if (status == UIDPOOL_OK && l->told[NAMES] == 0)
        memory_keep_range(memory, MEMORY_OF_NAME_SERVICES, l->range);
    return status;
}

static bool note_process(const struct hostrange_owner *owner, void *userdata)
{
    return tell(userdata, PROCESSES, "process %d (%s) runs as %" PRIu32 "; end it%s",
                (int)owner->pid, owner->name, owner->id, or_another_range(userdata));
}

static enum uidpool_status look_at_processes(struct look *l, struct problem *p)
{
    enum uidpool_status status;

    if (l->world->offline || l->world->skip_processes)
        return UIDPOOL_OK;
    status = hostrange_each_process(l->range, note_process, l, p);
    if (status != UIDPOOL_NOT_FOUND)
        return status;
    warn_unseen(l, "there is no /proc here: nobody looked for processes that run as a pool's uids; "
                   "--offline says that there is no need");
    return UIDPOOL_OK;
}

static bool note_file(const struct place_file *file, void *userdata)
{
    struct look *l = userdata;
    bool by_uid = uid_range_has(l->range, file->uid);

    if (!file->is_mount)
        return tell(l, FILES, "%s has the %s %" PRIu32 "; give the file to another%s", file->path,
                    by_uid ? "uid" : "gid", by_uid ? file->uid : file->gid, or_another_range(l));
    if (l->mounts++ < NAMED_MAX)
        warn_unseen(l, "%s is another file system: its files were not looked at", file->path);
    else
        warn_unseen(l, "more other file systems than these were not looked at");
    return true;
}

static enum uidpool_status look_at_places(struct look *l, struct problem *p)
{
    struct memory *memory = l->world->memory;
    enum uidpool_status status;

    if (!l->world->places || memory_has_range(memory, MEMORY_OF_DIRECTORIES, l->range))
        return UIDPOOL_OK;
    status = places_look(l->world->places, l->range, note_file, forward_progress, l, p);
    /* What was not seen is to be told each time. */
    if (status == UIDPOOL_OK && l->told[FILES] == 0 && l->mounts == 0)
        memory_keep_range(memory, MEMORY_OF_DIRECTORIES, l->range);
    return status;
}

/* All of it, or as much as shows that the range is not clear. */
static enum uidpool_status look_at_everything(struct look *l, struct problem *p)
{
    static enum uidpool_status (*const looks[])(struct look * l, struct problem * p) = {
        look_at_claims, look_at_files, look_at_processes, look_at_places, look_at_names,
    };
    enum uidpool_status status = UIDPOOL_OK;

    for (size_t i = 0; i < ELEMENTS_OF(looks) && status == UIDPOOL_OK; i++) {
        if (l->search && l->findings->n > 0)
            break;
        status = looks[i](l, p);
    }
    if (status == UIDPOOL_OK && l->findings->no_memory)
        status = problem_errno(p, -ENOMEM, "cannot tell who has the ids from %" PRIu32 " on",
                               l->range.first);
    return status;
}

/*
 * The room's face.
 */

void world_init(struct world *w, bool offline, const char *const *places,
                void (*progress)(const char *text, void *userdata), void *userdata)
{
    *w = (struct world){
        .offline = offline, .places = places, .progress = progress, .userdata = userdata};
    if (offline)
        return;
    (void)setenv("SYSTEMD_BYPASS_USERDB", USERDB_BYPASS, 1);
    w->no_names = !hostrange_skip_files();
}

enum uidpool_status world_check_range_but(
    const struct world *w, const struct account_files *files, const char *pool,
    struct uid_range range,
    bool (*is_own_entry)(const struct account_table *t, const struct entry *e, void *userdata),
    void *userdata, enum finding_kind kind, struct findings *findings, struct problem *p)
{
    struct look l = {
        .world = w,
        .files = files,
        .pool = pool,
        .range = range,
        .is_own = is_own_entry,
        .own_userdata = userdata,
        .kind = kind,
        .findings = findings,
        .unseen = w->unseen ? w->unseen : findings,
    };
    enum uidpool_status status = look_at_everything(&l, p);

    if (status == UIDPOOL_OK)
        tell_how_many_more(&l);
    return status;
}

static bool has_name(const struct account_table *t, const struct entry *e, void *userdata)
{
    const char *name = userdata;

    (void)t;
    return name && strlen(name) == e->name_length && memcmp(name, e->name, e->name_length) == 0;
}

enum uidpool_status world_check_range(const struct world *w, const struct account_files *files,
                                      const char *pool, struct uid_range range, const char *own,
                                      enum finding_kind kind, struct findings *findings,
                                      struct problem *p)
{
    return world_check_range_but(w, files, pool, range, has_name, (void *)own, kind, findings, p);
}

bool world_may_take_long(const struct world *w)
{
    return !has_nobody_to_ask(w) || w->places;
}

enum uidpool_status world_name_taken(const struct world *w, const char *name, bool *ret_taken,
                                     struct problem *p)
{
    enum uidpool_status status;

    if (has_nobody_to_ask(w) || memory_has_name(w->memory, name)) {
        *ret_taken = false;
        return UIDPOOL_OK;
    }
    status = hostrange_ask_name(name, ret_taken, p);
    if (status == UIDPOOL_OK && !*ret_taken)
        memory_keep_name(w->memory, name);
    return status;
}

enum uidpool_status world_id_taken(const struct world *w, uint32_t id, bool *ret_taken,
                                   struct problem *p)
{
    if (!has_nobody_to_ask(w))
        return hostrange_ask_id(id, ret_taken, p);
    *ret_taken = false;
    return UIDPOOL_OK;
}

enum uidpool_status world_system_ids(struct uid_range *ret, struct problem *p)
{
    return hostrange_system_ids(ret, p);
}

struct search {
    const struct world *world;
    const struct account_files *files;
    bool (*taken)(struct uid_range range, void *userdata);
    void *userdata;
};

static enum uidpool_status check_clear(struct uid_range range, void *userdata, struct problem *p)
{
    const struct search *s = userdata;
    _cleanup_(findings_clear) struct findings found = {0};
    struct look l = {
        .world = s->world,
        .files = s->files,
        .range = range,
        .kind = FINDING_CONFLICT,
        .findings = &found,
        .unseen = s->world->unseen,
        .search = true,
    };
    enum uidpool_status status;

    if (s->taken && s->taken(range, s->userdata))
        return UIDPOOL_CONFLICT;
    status = look_at_everything(&l, p);
    if (status == UIDPOOL_OK && found.n > 0)
        return problem_set(p, UIDPOOL_CONFLICT, "%s", found.items[0].text);
    return status;
}

enum uidpool_status world_find_base(const struct world *w, const struct account_files *files,
                                    uint32_t size, bool (*taken)(struct uid_range, void *userdata),
                                    void *userdata, uid_t *ret, struct problem *p)
{
    struct search search = {w, files, taken, userdata};

    return hostrange_find_by(size, check_clear, &search, ret, p);
}
