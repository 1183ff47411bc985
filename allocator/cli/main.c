/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * uidpool: the table of verbs, and what is the same for all of them: help, permission, the handle,
 * the message of a failure, and the last look at standard output.
 */
#include "allocator/cli/cli.h"
#include "allocator/cli/render.h"
#include "build_config.h"
#include "common/cleanup.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

struct verb {
    const char *name; /* one or two words */
    const char *usage;
    const char *summary;
    struct option_rules rules;
    verb_function *run;
};

static const struct verb verbs[] = {
    {"pool add",
     "NAME --base=UID|auto --size=N [--policy=domid|next] [--group=GID|per-uid] "
     "[--quarantine=SEC] [--follow] [--resolve]",
     "make a pool, and the ledger if there is none",
     {.argument = ARGUMENT_NAME,
      .allowed = OPT(BASE) | OPT(SIZE) | OPT(POLICY) | OPT(GROUP) | OPT(QUARANTINE) | OPT(FOLLOW) |
                 OPT(RESOLVE),
      .required = OPT(BASE) | OPT(SIZE)},
     verb_pool_add},
    {"pool list", "", "all pools and how full they are", {0}, verb_pool_list},
    {"pool show", "NAME", "one pool and its reservations", {ARGUMENT_NAME}, verb_pool_show},
    {"pool retire",
     "NAME",
     "give no more leases from a pool; its range stays taken",
     {ARGUMENT_NAME},
     verb_pool_retire},
    {"reserve",
     "NAME --pool=POOL [--uid=UID] [--count=N]",
     "pin uids to a name, across reboots",
     {.argument = ARGUMENT_NAME,
      .allowed = OPT(POOL) | OPT(UID) | OPT(COUNT),
      .required = OPT(POOL)},
     verb_reserve},
    {"unreserve",
     "NAME",
     "give the pinned uids back to their pool",
     {ARGUMENT_NAME},
     verb_unreserve},
    {"lease",
     "[--pool=POOL] (--domid=N | --name=NAME) [--count=N] [--uuid=UUID] [--timeout=SEC]",
     "lease a uid, print UID:GID",
     {.allowed = OPT(POOL) | OPT(DOMID) | OPT(NAME) | OPT(COUNT) | OPT(UUID) | OPT(TIMEOUT),
      .one_of = OPT(DOMID) | OPT(NAME)},
     verb_lease},
    {"release",
     "(--domid=N | --name=NAME | --uid=UID) [--pool=POOL] [--timeout=SEC]",
     "kill what runs as a leased uid, prove it, let the uid rest",
     {.allowed = OPT(POOL) | OPT(DOMID) | OPT(NAME) | OPT(UID) | OPT(TIMEOUT),
      .one_of = OPT(DOMID) | OPT(NAME) | OPT(UID)},
     verb_release},
    {"list",
     "[--pool=POOL] [--domid=N] [--name=NAME] [--uid=UID]",
     "all leases, also those in revocation, resting or held",
     {.allowed = OPT(POOL) | OPT(DOMID) | OPT(NAME) | OPT(UID)},
     verb_list},
    {"show", "UID", "who holds a uid, and what happened to that lease", {ARGUMENT_UID}, verb_show},
    {"who",
     "UID [--at=TIME]",
     "who held a uid at a time",
     {.argument = ARGUMENT_UID, .allowed = OPT(AT)},
     verb_who},
    {"history",
     "[--uid=UID] [--domid=N] [--name=NAME] [--pool=POOL] [--since=TIME] [--until=TIME] "
     "[--limit=N]",
     "what happened, oldest first",
     {.allowed =
          OPT(UID) | OPT(DOMID) | OPT(NAME) | OPT(POOL) | OPT(SINCE) | OPT(UNTIL) | OPT(LIMIT)},
     verb_history},
    {"recover",
     "[--timeout=SEC]",
     "finish what a crash or a reboot left",
     {.allowed = OPT(TIMEOUT)},
     verb_recover},
    {"clear",
     "UID [--timeout=SEC]",
     "end the hold on a uid, if nothing is left of it",
     {.argument = ARGUMENT_UID, .allowed = OPT(TIMEOUT)},
     verb_clear},
    {"ledger check", "", "look for damage in the ledger", {0}, verb_ledger_check},
    {"ledger backup",
     "FILE",
     "copy the ledger while it is in use",
     {ARGUMENT_FILE},
     verb_ledger_backup},
    {"ledger upgrade", "", "bring the ledger to this version's schema", {0}, verb_ledger_upgrade},
};

/* A missing standard descriptor would be the number of the next file opened, and the ledger must
 * never be standard output. Opened the wrong way round, so that its use still fails. */
static int open_standard_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF &&
            open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
            return -EBADF;
    return 0;
}

/* A closed pipe is a failed write, not a death in the middle of a release. */
static int ignore_sigpipe(void)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    return sigaction(SIGPIPE, &ignore, NULL) < 0 ? -errno : 0;
}

static void print_usage(FILE *to, const struct verb *v)
{
    fprintf(to, "usage: uidpool [OPTION...] %s%s%s\n", v->name, *v->usage ? " " : "", v->usage);
}

static void print_help(FILE *to)
{
    fputs("usage: uidpool [--ledger=FILE] [--config=DIR] [--json] VERB ...\n\n"
          "Leases of uids for virtual machines' device models.\n\n",
          to);
    for (size_t i = 0; i < ELEMENTS_OF(verbs); i++)
        fprintf(to, "  %-15s %s\n", verbs[i].name, verbs[i].summary);
    fprintf(to, "  %-15s %s\n\n", "help [VERB]", "show this help, or that of a verb");
    options_describe(to, OPT_GLOBAL);
    fputs("\nThe manual is uidpool(8).\n", to);
}

static void print_verb_help(const struct verb *v)
{
    print_usage(stdout, v);
    printf("\n%s\n\n", v->summary);
    options_describe(stdout, v->rules.allowed);
    options_describe(stdout, OPT_GLOBAL);
}

/* Is `word` the first word of a verb of two? */
static bool is_group(const char *word)
{
    size_t length = strlen(word);

    for (size_t i = 0; i < ELEMENTS_OF(verbs); i++)
        if (length > 0 && strncmp(verbs[i].name, word, length) == 0 && verbs[i].name[length] == ' ')
            return true;
    return false;
}

/* `second` may be NULL. */
static const struct verb *find_verb(const char *first, const char *second)
{
    char name[32];

    if (snprintf(name, sizeof(name), "%s%s%s", first, second ? " " : "", second ? second : "") >=
        (int)sizeof(name))
        return NULL;
    for (size_t i = 0; i < ELEMENTS_OF(verbs); i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

static enum uidpool_status unknown_verb(const char *first, const char *second)
{
    log_error("unknown verb '%.40s%s%.40s'; see uidpool help", first, second ? " " : "",
              second ? second : "");
    return UIDPOOL_USAGE;
}

static enum uidpool_status incomplete_verb(const char *first)
{
    size_t length = strlen(first);

    log_error("%s needs one more word:", first);
    for (size_t i = 0; i < ELEMENTS_OF(verbs); i++)
        if (strncmp(verbs[i].name, first, length) == 0 && verbs[i].name[length] == ' ')
            print_usage(stderr, &verbs[i]);
    return UIDPOOL_USAGE;
}

/* Help for `n` words: a verb, the first half of one, or none. */
static enum uidpool_status help(char **words, int n)
{
    const struct verb *v;

    if (n == 0 || (n == 1 && strcmp(words[0], "help") == 0)) {
        print_help(stdout);
        return UIDPOOL_OK;
    }
    if (n == 1 && is_group(words[0])) {
        size_t length = strlen(words[0]);

        for (size_t i = 0; i < ELEMENTS_OF(verbs); i++)
            if (strncmp(verbs[i].name, words[0], length) == 0 && verbs[i].name[length] == ' ')
                print_usage(stdout, &verbs[i]);
        return UIDPOOL_OK;
    }
    if (n > 2 || (n == 2 && !is_group(words[0]))) {
        log_error("help: one argument too many: '%.80s'", words[n - 1]);
        return UIDPOOL_USAGE;
    }
    v = find_verb(words[0], n == 2 ? words[1] : NULL);
    if (!v)
        return unknown_verb(words[0], n == 2 ? words[1] : NULL);
    print_verb_help(v);
    return UIDPOOL_OK;
}

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
        log_error("%s needs root, for the ledger and to see every process", v->name);
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

static enum uidpool_status print_version(void)
{
    puts("uidpool " UIDPOOL_VERSION);
    return UIDPOOL_OK;
}

/* argv[0] is the last word of the verb. */
static enum uidpool_status parse_verb(const struct verb *v, int argc, char **argv,
                                      struct options *o)
{
    char name[32];

    snprintf(name, sizeof(name), "%s", v->name);
    argv[0] = name;
    if (options_read(argc, argv, &v->rules, o) < 0) {
        print_usage(stderr, v);
        return UIDPOOL_USAGE;
    }
    if (options_has(o, OPT(HELP))) {
        print_verb_help(v);
        return UIDPOOL_OK;
    }
    if (options_has(o, OPT(VERSION)))
        return print_version();
    if (options_check(v->name, &v->rules, o) < 0) {
        print_usage(stderr, v);
        return UIDPOOL_USAGE;
    }
    return run_verb(v, o);
}

/* Global options, the verb's one or two words with global options between them, and the rest. */
static enum uidpool_status parse(int argc, char **argv)
{
    char own_name[] = "uidpool";
    char *words[2] = {NULL, NULL};
    const struct verb *v = NULL;
    struct options o;
    int n = 0;

    options_init(&o);
    argv[0] = own_name;
    while (!v) {
        int at = options_read(argc, argv, NULL, &o);

        if (at < 0)
            return UIDPOOL_USAGE;
        argc -= at;
        argv += at;
        if (argc == 0)
            break;
        if (n == 0 && strcmp(argv[0], "help") == 0)
            return help(argv + 1, argc - 1);
        words[n++] = argv[0];
        v = find_verb(words[0], words[1]);
        if (!v && (n == 2 || !is_group(words[0])))
            return unknown_verb(words[0], words[1]);
    }
    if (v)
        return parse_verb(v, argc, argv, &o);
    if (options_has(&o, OPT(HELP)))
        return help(words, n);
    if (options_has(&o, OPT(VERSION)))
        return print_version();
    if (n == 1)
        return incomplete_verb(words[0]);
    print_help(stderr);
    return UIDPOOL_USAGE;
}

int main(int argc, char **argv)
{
    enum uidpool_status status;
    int r;

    if (open_standard_descriptors() < 0 || ignore_sigpipe() < 0)
        return UIDPOOL_FAILED;
    /* For the width of letters in tables; numbers and times are nobody's locale. */
    setlocale(LC_CTYPE, "");
    log_set_name("uidpool");
    status = argc < 1 ? UIDPOOL_USAGE : parse(argc, argv);
    r = render_flush();
    if (r < 0) {
        log_error("cannot write to standard output: %s", strerror(-r));
        if (status == UIDPOOL_OK)
            status = UIDPOOL_FAILED;
    }
    return (int)status;
}
