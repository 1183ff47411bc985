/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* user add, user remove: one account on one uid of a pool, asked for under the locks. */
#include "provision/request.h"
#include "provision/verbs.h"

struct asking {
    const struct options *options;
    struct user_request request;
    bool later; /* its pool is not there yet */
};

/* The plan would say it too, but with the advice to remove the other: here name and uid are a
 * choice. */
static enum uidpool_status check_files(const struct provision *v, const struct user_request *r,
                                       struct problem *p)
{
    const struct account_table *users = &v->files.tables[FILE_PASSWD];
    const struct entry *user = table_by_name(users, r->name), *other = table_by_id(users, r->uid);

    if (!user && other)
        return problem_set(p, UIDPOOL_CONFLICT,
                           "uid %u is the user %.*s's already; take another with --uid", r->uid,
                           (int)other->name_length, other->name);
    if (!user || user->id == r->uid)
        return UIDPOOL_OK;
    return problem_set(p, UIDPOOL_CONFLICT,
                       "there is a user %s already, with uid %u and not of pool %s; take another "
                       "name",
                       r->name, user->id, r->pool);
}

/* Who has the name or the uid besides the account files? */
static enum uidpool_status check_world(const struct provision *v, const struct user_request *r,
                                       struct problem *p)
{
    bool name_taken = false, uid_taken = false;
    enum uidpool_status status;

    /* A user of the files has name and uid already, and some name services repeat that. */
    if (table_by_name(&v->files.tables[FILE_PASSWD], r->name))
        return UIDPOOL_OK;
    status = world_name_taken(&v->world, r->name, &name_taken, p);
    if (status == UIDPOOL_OK)
        status = world_id_taken(&v->world, r->uid, &uid_taken, p);
    if (status == UIDPOOL_OK && name_taken)
        return problem_set(p, UIDPOOL_CONFLICT,
                           "a name service has a user or a group %s already ('getent passwd %s'); "
                           "take another name",
                           r->name, r->name);
    if (status == UIDPOOL_OK && uid_taken)
        return problem_set(p, UIDPOOL_CONFLICT,
                           "a name service has uid or gid %u already ('getent passwd %u'); take "
                           "another with --uid",
                           r->uid, r->uid);
    return status;
}

static enum uidpool_status ask_add(struct provision *v, struct problem *p)
{
    struct asking *asking = v->userdata;
    const struct options *o = asking->options;
    bool is_new = !state_account(&v->state, o->name);
    enum uidpool_status status = request_add(&v->choices, &v->state, o->name, o->pool, o->uid,
                                             &asking->request, &asking->later, p);

    if (asking->later)
        return status;
    if (status == UIDPOOL_OK && is_new)
        status = request_choose_uid(v->ledger, &asking->request, p);
    if (status == UIDPOOL_OK && is_new)
        status = check_files(v, &asking->request, p);
    if (status == UIDPOOL_OK && is_new)
        status = check_world(v, &asking->request, p);
    if (status == UIDPOOL_OK)
        v->request = &asking->request;
    return status;
}

static enum uidpool_status ask_remove(struct provision *v, struct problem *p)
{
    struct asking *asking = v->userdata;
    enum uidpool_status status =
        request_remove(v->ledger, &v->state, asking->options->name, &asking->request, p);

    if (status == UIDPOOL_OK)
        v->request = &asking->request;
    return status;
}

static enum uidpool_status look_and_carry_out(struct provision *v, struct problem *p)
{
    enum uidpool_status status;

    v->request = NULL;
    status = provision_look(v, true, p);
    return status == UIDPOOL_OK ? provision_carry_out(v, p) : status;
}

static enum uidpool_status run(struct provision *v, const char *verb, const struct options *o,
                               enum uidpool_status (*ask)(struct provision *v, struct problem *p),
                               struct problem *p)
{
    struct asking asking = {.options = o};
    enum uidpool_status status;
    int r = 0;

    v->ask = ask;
    v->userdata = &asking;
    status = look_and_carry_out(v, p);
    if (status == UIDPOOL_OK && asking.later) {
        r = show_findings(&v->findings);
        status = look_and_carry_out(v, p);
    }
    v->userdata = NULL;
    if (status != UIDPOOL_OK) {
        struct showing showing = verbs_showing(v, verb, o);

        /* Whoever takes what is printed for UID:GID gets that or nothing. */
        showing.quiet = true;
        return verbs_refused(showing, status);
    }
    if (r == 0)
        r = show_findings(&v->findings);
    if (r == 0)
        r = show_user(&asking.request, o->json);
    return verbs_shown(r, status, p);
}

enum uidpool_status verb_user_add(struct provision *v, const struct options *o, struct problem *p)
{
    return run(v, "user add", o, ask_add, p);
}

enum uidpool_status verb_user_remove(struct provision *v, const struct options *o,
                                     struct problem *p)
{
    return run(v, "user remove", o, ask_remove, p);
}
