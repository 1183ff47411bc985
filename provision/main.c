/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * uidpool-provision: the table of verbs, and what is the same for all of them: permission, --root,
 * the configuration, the message of a failure, and the last look at standard output.
 */
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/startup.h"
#include "provision/alive.h"
#include "provision/verbs.h"

#include <errno.h>
#include <string.h>

struct verb {
    struct command_verb shape; /* first: common/command.c steps over the rest */
    verb_function *run;
    bool changes; /* something, when it succeeds */
};

#define OPT_LOOK (OPT(FILES) | OPT(TIMEOUT))

static const struct verb verbs[] = {
    {{"plan", "[--files=DIR]... [--timeout=SEC]", "show what apply would change",
      .allowed = OPT_LOOK},
     verb_plan},
    {{"apply", "[--files=DIR]... [--timeout=SEC]",
      "make pools and accounts as the configuration says", .allowed = OPT_LOOK},
     verb_apply,
     .changes = true},
    {{"check", "[--files=DIR]... [--timeout=SEC]",
      "plan, and look whether somebody else took what is ours", .allowed = OPT_LOOK},
     verb_check},
    {{"sysusers", "[--files=DIR]... [--timeout=SEC]",
      "print the accounts as lines of sysusers.d(5)", .allowed = OPT_LOOK},
     verb_sysusers},
    {{"user add", "NAME [--pool=POOL] [--uid=UID] [--files=DIR]... [--timeout=SEC]",
      "make an account on one uid of a pool, print UID:GID", .argument = &argument_account,
      .allowed = OPT_LOOK | OPT(POOL) | OPT(UID)},
     verb_user_add,
     .changes = true},
    {{"user remove", "NAME [--files=DIR]... [--timeout=SEC]",
      "lock and expire such an account for ever", .argument = &argument_account,
      .allowed = OPT_LOOK},
     verb_user_remove,
     .changes = true},
    {{"retire", "POOL", "give no more leases from a pool; accounts and range stay",
      .argument = &argument_pool},
     verb_retire,
     .changes = true},
};

static const struct command command = {
    .name = "uidpool-provision",
    .synopsis = "[--root=DIR] [--config=DIR] [--json]",
    .purpose = "Pools of uids and their accounts, as uidpool.conf(5) says.",
    .options = option_kinds,
    .n_options = OPTIONS,
    .global = OPT_GLOBAL,
    .repeatable = OPT(FILES),
    .help = OPT(HELP),
    .version = OPT(VERSION),
    .verbs = verbs,
    .n_verbs = ELEMENTS_OF(verbs),
    .verb_size = sizeof(verbs[0]),
    .finish = options_finish,
};

static void show_progress(const char *text, void *userdata)
{
    (void)userdata;
    log_notice("%s", text);
}

/* From here on every path is one of the other system. */
static enum uidpool_status enter_root(const char *root, struct problem *p)
{
    if (chdir(root) < 0)
        return problem_errno(p, -errno, "cannot enter --root=%s", root);
    /* Of where we are, so that nobody can exchange it between the two. */
    if (chroot(".") < 0)
        return problem_errno(p, -errno, "cannot make %s the root directory", root);
    return UIDPOOL_OK;
}

/* --config is the caller's path, whatever --root says. */
static enum uidpool_status read_config(const struct options *o, struct config **ret,
                                       struct problem *p)
{
    enum uidpool_status status = UIDPOOL_OK;

    if (o->config)
        status = config_read(NULL, o->config, ret, p);
    if (status == UIDPOOL_OK && o->root)
        status = enter_root(o->root, p);
    if (status == UIDPOOL_OK && !o->config)
        status = config_read(NULL, NULL, ret, p);
    return status;
}

static enum uidpool_status run_verb(const struct verb *v, const struct options *o,
                                    struct problem *p)
{
    _cleanup_(config_freep) struct config *config = NULL;
    _cleanup_(provision_clear) struct provision provision = {.timeout = o->timeout};
    enum uidpool_status status;

    /* Both: a set-user-id program would lend root to everybody. */
    if (getuid() != 0 || geteuid() != 0)
        return problem_set(p, UIDPOOL_NOT_PERMITTED, "%s needs root, for the account files",
                           v->shape.name);
    /* Before --root is entered, where there may be no /proc. The ledger's history wants one;
     * without it, in a container, this is no boot that any other was. */
    clock_boot_id_invent();
    if (o->root)
        alive_keep_proc();
    status = read_config(o, &config, p);
    if (status != UIDPOOL_OK)
        return status;
    provision.config = config;
    if (o->verbose || (!o->quiet && isatty(STDERR_FILENO)))
        provision.progress = show_progress;
    world_init(&provision.world, o->offline, o->files[0] ? o->files : NULL, provision.progress,
               NULL);
    return v->run(&provision, o, p);
}

/* Of what was to be printed, and could not be. */
static enum uidpool_status output_failed(const struct verb *v, enum uidpool_status status,
                                         int error)
{
    bool is_done = v && v->changes && status == UIDPOOL_OK;

    if (is_done)
        log_error("cannot write to standard output: %s; '%s' is done all the same", strerror(error),
                  v->shape.name);
    else
        log_error("cannot write to standard output: %s", strerror(error));
    return status == UIDPOOL_OK || status == UIDPOOL_FOUND ? UIDPOOL_FAILED : status;
}

int main(int argc, char **argv)
{
    const struct command_verb *verb;
    struct problem p = {0};
    enum uidpool_status status;
    struct options o;
    int r;

    if (startup_open_descriptors() < 0 || startup_ignore_sigpipe() < 0)
        return UIDPOOL_FAILED;
    log_set_name("uidpool-provision");
    options_init(&o);
    status = command_read(&command, argc, argv, &o, &o.seen, &verb);
    if (verb)
        status = run_verb((const struct verb *)verb, &o, &p);
    if (status != UIDPOOL_OK && *p.text)
        log_error("%s", p.text);
    r = startup_flush_output();
    if (r < 0)
        status = output_failed((const struct verb *)verb, status, -r);
    return (int)status;
}
