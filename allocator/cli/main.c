/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * uidpool: the table of verbs, and what is the same for all of them: permission, the handle, the
 * message of a failure, and the last look at standard output.
 */
#include "allocator/cli/cli.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/startup.h"

#include <locale.h>
#include <string.h>

struct verb {
    struct command_verb shape; /* first: common/command.c steps over the rest */
    verb_function *run;
};

static const struct verb verbs[] = {
    {{"pool add",
      "NAME --base=UID|auto --size=N [--policy=domid|next] [--group=GID|per-uid] "
      "[--quarantine=SEC] [--follow] [--resolve]",
      "make a pool, and the ledger if there is none", .argument = &argument_name,
      .allowed = OPT(BASE) | OPT(SIZE) | OPT(POLICY) | OPT(GROUP) | OPT(QUARANTINE) | OPT(FOLLOW) |
                 OPT(RESOLVE),
      .required = OPT(BASE) | OPT(SIZE)},
     verb_pool_add},
    {{"pool list", "", "all pools and how full they are"}, verb_pool_list},
    {{"pool show", "NAME", "one pool and its reservations", .argument = &argument_name},
     verb_pool_show},
    {{"pool retire", "NAME", "give no more leases from a pool; its range stays taken",
      .argument = &argument_name},
     verb_pool_retire},
    {{"reserve", "NAME --pool=POOL [--uid=UID] [--count=N]", "pin uids to a name, across reboots",
      .argument = &argument_name, .allowed = OPT(POOL) | OPT(UID) | OPT(COUNT),
      .required = OPT(POOL)},
     verb_reserve},
    {{"unreserve", "NAME", "give the pinned uids back to their pool", .argument = &argument_name},
     verb_unreserve},
    {{"lease", "[--pool=POOL] (--domid=N | --name=NAME) [--count=N] [--uuid=UUID] [--timeout=SEC]",
      "lease a uid, print UID:GID",
      .allowed = OPT(POOL) | OPT(DOMID) | OPT(NAME) | OPT(COUNT) | OPT(UUID) | OPT(TIMEOUT),
      .one_of = OPT(DOMID) | OPT(NAME)},
     verb_lease},
    {{"release", "(--domid=N | --name=NAME | --uid=UID) [--pool=POOL] [--timeout=SEC]",
      "kill what runs as a leased uid, prove it, let the uid rest",
      .allowed = OPT(POOL) | OPT(DOMID) | OPT(NAME) | OPT(UID) | OPT(TIMEOUT),
      .one_of = OPT(DOMID) | OPT(NAME) | OPT(UID)},
     verb_release},
    {{"list", "[--pool=POOL] [--domid=N] [--name=NAME] [--uid=UID]",
      "all leases, also those in revocation, resting or held",
      .allowed = OPT(POOL) | OPT(DOMID) | OPT(NAME) | OPT(UID)},
     verb_list},
    {{"show", "UID", "who holds a uid, and what happened to that lease", .argument = &argument_uid},
     verb_show},
    {{"who", "UID [--at=TIME]", "who held a uid at a time", .argument = &argument_uid,
      .allowed = OPT(AT)},
     verb_who},
    {{"history",
      "[--uid=UID] [--domid=N] [--name=NAME] [--pool=POOL] [--since=TIME] [--until=TIME] "
      "[--limit=N]",
      "what happened, oldest first",
      .allowed =
          OPT(UID) | OPT(DOMID) | OPT(NAME) | OPT(POOL) | OPT(SINCE) | OPT(UNTIL) | OPT(LIMIT)},
     verb_history},
    {{"recover", "[--timeout=SEC]", "finish what a crash or a reboot left",
      .allowed = OPT(TIMEOUT)},
     verb_recover},
    {{"clear", "UID [--timeout=SEC]", "end the hold on a uid, if nothing is left of it",
      .argument = &argument_uid, .allowed = OPT(TIMEOUT)},
     verb_clear},
    {{"ledger check", "", "look for damage in the ledger"}, verb_ledger_check},
    {{"ledger backup", "FILE", "copy the ledger while it is in use", .argument = &argument_file},
     verb_ledger_backup},
    {{"ledger upgrade", "", "bring the ledger to this version's schema"}, verb_ledger_upgrade},
};

static const struct command command = {
    .name = "uidpool",
    .synopsis = "[--ledger=FILE] [--config=DIR] [--json]",
    .purpose = "Leases of uids for virtual machines' device models.",
    .options = option_kinds,
    .n_options = OPTIONS,
    .global = OPT_GLOBAL,
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

/* The options are right: ask the library. */
static enum uidpool_status run_verb(const struct verb *v, const struct options *o)
{
    enum uidpool_status status;
    struct uidpool *u;

    /* Both: a set-user-id uidpool would lend root to everybody. */
    if (getuid() != 0 || geteuid() != 0) {
        log_error("%s needs root, for the ledger and to see every process", v->shape.name);
        return UIDPOOL_NOT_PERMITTED;
    }
    status = uidpool_new(o->ledger, o->config, &u);
    if (status != UIDPOOL_OK) {
        log_error("cannot begin: out of memory");
        return status;
    }
    if (o->verbose || (!o->quiet && isatty(STDERR_FILENO)))
        uidpool_set_progress(u, show_progress, NULL);
    status = v->run(u, o);
    /* After success it is a warning, or empty. */
    if (*uidpool_message(u))
        log_error("%s", uidpool_message(u));
    if (status == UIDPOOL_NOT_PROVEN)
        report_survivors(u);
    uidpool_free(u);
    return status;
}

int main(int argc, char **argv)
{
    const struct command_verb *verb;
    enum uidpool_status status;
    struct options o;
    int r;

    if (startup_open_descriptors() < 0 || startup_ignore_sigpipe() < 0)
        return UIDPOOL_FAILED;
    /* For the width of letters in tables; numbers and times are nobody's locale. */
    setlocale(LC_CTYPE, "");
    log_set_name("uidpool");
    options_init(&o);
    status = command_read(&command, argc, argv, &o, &o.seen, &verb);
    if (verb)
        status = run_verb((const struct verb *)verb, &o);
    r = startup_flush_output();
    if (r < 0) {
        log_error("cannot write to standard output: %s", strerror(-r));
        if (status == UIDPOOL_OK)
            status = UIDPOOL_FAILED;
    }
    return (int)status;
}
