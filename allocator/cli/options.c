/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One table of all options, read by getopt_long(3) and the parsers of common/ids.h. Stricter than
 * getopt: no abbreviations, nothing twice, nothing empty. Touches standard error alone.
 */
#include "allocator/cli/options.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/ids.h"
#include "common/log.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <string.h>

#define ALLOWED_UID "1 to 2147483647, but 65534 and 65535"
#define ALLOWED_NAME                                                                  \
    "1 to 63 letters, digits and any of _ . : @ + -, beginning with a letter, digit " \
    "or _"
#define ALLOWED_SECONDS "seconds, 0 to 315360000, or a number with s, m, h or d behind it"
#define ALLOWED_TIME                                                                           \
    "a time: now, today, yesterday, 14:00, 2026-11-17, '2026-11-17 14:00', 'tue 14:00', -90m " \
    "or @SECONDS; not before 1970"

/* Outside of what getopt_long returns for characters. */
#define LONG_BASE 0x1000

struct option_kind {
    const char *name;
    const char *value; /* what help calls it; NULL: a flag */
    int letter;        /* or 0 */
    const char *help;
    const char *allowed;
    int (*parse)(const char *text, struct options *o); /* 0 or a negative errno; NULL: a flag */
};

static int parse_path(const char *text, const char **ret)
{
    if (!*text)
        return -EINVAL;
    if (strlen(text) >= PATH_MAX)
        return -ENAMETOOLONG;
    *ret = text;
    return 0;
}

static int parse_name(const char *text, const char **ret)
{
    if (!name_is_valid(text))
        return -EINVAL;
    *ret = text;
    return 0;
}

/* Times before 1970 are mistakes, and 0 means "open" to the library. */
static int parse_past(const char *text, int64_t *ret)
{
    int64_t usec;
    int r = parse_time(text, &usec);

    if (r < 0)
        return r;
    if (usec <= 0)
        return -ERANGE;
    *ret = usec;
    return 0;
}

static int option_ledger(const char *text, struct options *o)
{
    return parse_path(text, &o->ledger);
}

static int option_config(const char *text, struct options *o)
{
    return parse_path(text, &o->config);
}

static int option_pool(const char *text, struct options *o)
{
    return parse_name(text, &o->pool);
}

static int option_domid(const char *text, struct options *o)
{
    return parse_domid(text, &o->domid);
}

static int option_name(const char *text, struct options *o)
{
    return parse_name(text, &o->name);
}

static int option_uid(const char *text, struct options *o)
{
    return parse_uid(text, &o->uid);
}

static int option_count(const char *text, struct options *o)
{
    return parse_count(text, &o->count);
}

static int option_uuid(const char *text, struct options *o)
{
    return parse_uuid(text, o->uuid);
}

static int option_timeout(const char *text, struct options *o)
{
    return parse_seconds(text, &o->timeout);
}

static int option_base(const char *text, struct options *o)
{
    if (strcmp(text, "auto") == 0) {
        o->base_auto = true;
        return 0;
    }
    return parse_uid(text, &o->base);
}

static int option_size(const char *text, struct options *o)
{
    return parse_count(text, &o->size);
}

static int option_policy(const char *text, struct options *o)
{
    for (enum uidpool_policy p = UIDPOOL_POLICY_DOMID; uidpool_policy_name(p); p++)
        if (strcmp(text, uidpool_policy_name(p)) == 0) {
            o->policy = p;
            return 0;
        }
    return -EINVAL;
}

static int option_group(const char *text, struct options *o)
{
    if (strcmp(text, "per-uid") == 0) {
        o->group_per_uid = true;
        return 0;
    }
    return parse_gid(text, &o->gid);
}

static int option_quarantine(const char *text, struct options *o)
{
    return parse_seconds(text, &o->quarantine);
}

static int option_at(const char *text, struct options *o)
{
    return parse_past(text, &o->at);
}

static int option_since(const char *text, struct options *o)
{
    return parse_past(text, &o->since);
}

static int option_until(const char *text, struct options *o)
{
    return parse_past(text, &o->until);
}

static int option_limit(const char *text, struct options *o)
{
    uint64_t limit;
    int r = parse_u64(text, INT64_MAX, &limit);

    if (r < 0)
        return r;
    if (limit == 0)
        return -ERANGE;
    o->limit = (int64_t)limit;
    return 0;
}

static const struct option_kind kinds[OPTIONS] = {
    [OPTION_LEDGER] = {"ledger", "FILE", 0, "use this ledger, not the system's", "a path",
                       option_ledger},
    [OPTION_CONFIG] = {"config", "DIR", 0, "read the configuration in this directory alone",
                       "a path", option_config},
    [OPTION_JSON] = {"json", NULL, 0, "answer in JSON", NULL, NULL},
    [OPTION_QUIET] = {"quiet", NULL, 'q', "say nothing on the way, only results and errors", NULL,
                      NULL},
    [OPTION_VERBOSE] = {"verbose", NULL, 'v', "say what is waited for, also without a terminal",
                        NULL, NULL},
    [OPTION_HELP] = {"help", NULL, 'h', "show this help", NULL, NULL},
    [OPTION_VERSION] = {"version", NULL, 'V', "show the version", NULL, NULL},
    [OPTION_POOL] = {"pool", "POOL", 0, "the pool; not needed if there is only one", ALLOWED_NAME,
                     option_pool},
    [OPTION_DOMID] = {"domid", "N", 0, "the domain's number", "0 to 32751", option_domid},
    [OPTION_NAME] = {"name", "NAME", 0, "the name of a lease or reservation", ALLOWED_NAME,
                     option_name},
    [OPTION_UID] = {"uid", "UID", 0, "a uid of the pool", ALLOWED_UID, option_uid},
    [OPTION_COUNT] = {"count", "N", 0, "how many uids, as one block", "1 to 2147483647",
                      option_count},
    [OPTION_UUID] = {"uuid", "UUID", 0, "the virtual machine's uuid",
                     "8-4-4-4-12 hexadecimal digits", option_uuid},
    [OPTION_TIMEOUT] = {"timeout", "SEC", 0,
                        "give up after this many seconds (default 30; recover: 60)",
                        ALLOWED_SECONDS, option_timeout},
    [OPTION_BASE] = {"base", "UID|auto", 0, "the first uid, or auto: find a free range",
                     "auto, or " ALLOWED_UID, option_base},
    [OPTION_SIZE] = {"size", "N", 0, "how many uids the pool has", "1 to 2147483647", option_size},
    [OPTION_POLICY] = {"policy", "POLICY", 0,
                       "domid: uid is base + domid (default); next: round the range",
                       "domid or next", option_policy},
    [OPTION_GROUP] = {"group", "GID|per-uid", 0,
                      "one gid for all (default: the base), or gid = uid",
                      "per-uid, or a gid: " ALLOWED_UID, option_group},
    [OPTION_QUARANTINE] = {"quarantine", "SEC", 0, "how long a proven uid rests (default 60)",
                           ALLOWED_SECONDS, option_quarantine},
    [OPTION_FOLLOW] = {"follow", NULL, 0, "uidpoold leases and revokes by xenstore", NULL, NULL},
    [OPTION_RESOLVE] = {"resolve", NULL, 0, "uidpoold answers name services for leased uids", NULL,
                        NULL},
    [OPTION_AT] = {"at", "TIME", 0, "at that time (default: now)", ALLOWED_TIME, option_at},
    [OPTION_SINCE] = {"since", "TIME", 0, "nothing older", ALLOWED_TIME, option_since},
    [OPTION_UNTIL] = {"until", "TIME", 0, "nothing younger", ALLOWED_TIME, option_until},
    [OPTION_LIMIT] = {"limit", "N", 0, "only the newest N", "1 or more", option_limit},
};

void options_init(struct options *o)
{
    *o = (struct options){
        .uid = UIDPOOL_NO_UID, .domid = UIDPOOL_NO_DOMID, .policy = UIDPOOL_POLICY_DOMID};
}

static void set_flag(enum option_id id, struct options *o)
{
    if (id == OPTION_JSON)
        o->json = true;
    else if (id == OPTION_QUIET)
        o->quiet = true;
    else if (id == OPTION_VERBOSE)
        o->verbose = true;
    else if (id == OPTION_FOLLOW)
        o->follow = true;
    else if (id == OPTION_RESOLVE)
        o->resolve = true;
}

static int take_option(const char *verb, enum option_id id, const char *value, uint64_t allowed,
                       struct options *o)
{
    const struct option_kind *kind = &kinds[id];

    if (!(allowed & (UINT64_C(1) << id))) {
        log_error("%s takes no --%s", verb, kind->name);
        return -EINVAL;
    }
    if (o->seen & (UINT64_C(1) << id)) {
        log_error("--%s is given twice", kind->name);
        return -EINVAL;
    }
    if (!kind->parse)
        set_flag(id, o);
    else if (kind->parse(value, o) < 0) {
        log_error("--%s='%.80s' is not allowed; it must be %s", kind->name, value, kind->allowed);
        return -EINVAL;
    }
    o->seen |= UINT64_C(1) << id;
    return 0;
}

static int take_argument(const char *verb, enum argument argument, const char *text,
                         struct options *o)
{
    static const char *const what[] = {NULL, "name", "uid", "file"};
    static const char *const allowed[] = {NULL, ALLOWED_NAME, ALLOWED_UID, "a path"};
    int r = 0;

    if (argument == ARGUMENT_NONE || (argument == ARGUMENT_NAME && o->name) ||
        (argument == ARGUMENT_UID && o->uid != UIDPOOL_NO_UID) ||
        (argument == ARGUMENT_FILE && o->file)) {
        log_error("%s: one argument too many: '%.80s'", verb, text);
        return -EINVAL;
    }
    if (argument == ARGUMENT_NAME)
        r = parse_name(text, &o->name);
    else if (argument == ARGUMENT_UID)
        r = parse_uid(text, &o->uid);
    else
        r = parse_path(text, &o->file);
    if (r < 0)
        log_error("%s: '%.80s' is no %s; it must be %s", verb, text, what[argument],
                  allowed[argument]);
    return r < 0 ? -EINVAL : 0;
}

/* getopt_long(3) said ':' or '?'. `word` is the one it stumbled over. */
static int refuse(const char *verb, int said, const char *word)
{
    if (optopt >= LONG_BASE && optopt < LONG_BASE + OPTIONS) {
        const struct option_kind *kind = &kinds[optopt - LONG_BASE];

        if (said == ':')
            log_error("--%s needs a value: %s", kind->name, kind->allowed);
        else
            log_error("--%s takes no value", kind->name);
    } else if (optopt >= '0' && optopt <= '9')
        log_error("%s: '%.80s' is a negative number; none is allowed", verb, word);
    else if (optopt > 0 && optopt < LONG_BASE)
        log_error("%s: unknown option '-%c'", verb, optopt);
    else
        log_error("%s: unknown option '%.80s'", verb, word);
    return -EINVAL;
}

/* Abbreviations would change their meaning when an option is added. */
static bool is_in_full(const char *name, char **argv)
{
    size_t length = strlen(name);

    for (int i = optind - 1; i >= 1 && i >= optind - 2; i--) {
        const char *word = argv[i];

        if (strncmp(word, "--", 2) == 0 && strncmp(word + 2, name, length) == 0 &&
            (word[2 + length] == '\0' || word[2 + length] == '='))
            return true;
    }
    return false;
}

static void fill_getopt(struct option ret[static OPTIONS + 1])
{
    for (int i = 0; i < OPTIONS; i++)
        ret[i] = (struct option){.name = kinds[i].name,
                                 .has_arg = kinds[i].value ? required_argument : no_argument,
                                 .val = LONG_BASE + i};
    ret[OPTIONS] = (struct option){0};
}

/* An option by what getopt_long(3) returned; OPTIONS if it is none. */
static enum option_id option_of(int said)
{
    if (said >= LONG_BASE && said < LONG_BASE + OPTIONS)
        return (enum option_id)(said - LONG_BASE);
    for (int i = 0; i < OPTIONS; i++)
        if (kinds[i].letter == said)
            return (enum option_id)i;
    return OPTIONS;
}

int options_read(int argc, char **argv, const struct option_rules *rules, struct options *o)
{
    /* "+" stops at the first word that is no option, "-" hands it over; both whatever
     * POSIXLY_CORRECT says. */
    const char *letters = rules ? "-:qvhV" : "+:qvhV";
    uint64_t allowed = OPT_GLOBAL | (rules ? rules->allowed : 0);
    struct option longs[OPTIONS + 1];
    int said, r;

    fill_getopt(longs);
    optind = 0;
    opterr = 0;
    while ((said = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
        enum option_id id = option_of(said);

        if (rules && said == 1)
            r = take_argument(argv[0], rules->argument, optarg, o);
        else if (id == OPTIONS)
            r = refuse(argv[0], said, argv[optind > 1 ? optind - 1 : 1]);
        else if (said >= LONG_BASE && !is_in_full(kinds[id].name, argv)) {
            log_error("write --%s in full", kinds[id].name);
            r = -EINVAL;
        } else
            r = take_option(argv[0], id, optarg, allowed, o);
        if (r < 0)
            return r;
    }
    for (; rules && optind < argc; optind++)
        if (take_argument(argv[0], rules->argument, argv[optind], o) < 0)
            return -EINVAL;
    return optind;
}

/* "--domid=N, --name=NAME or --uid=UID" */
static void join_options(uint64_t set, const char *last_word, char *ret, size_t size)
{
    size_t at = 0;

    ret[0] = '\0';
    for (int i = 0; i < OPTIONS && at < size; i++) {
        const char *glue = at == 0 ? "" : ", ";
        int n;

        if (!(set & (UINT64_C(1) << i)))
            continue;
        set &= ~(UINT64_C(1) << i);
        if (at > 0 && set == 0)
            glue = last_word;
        n = snprintf(ret + at, size - at, "%s--%s=%s", glue, kinds[i].name, kinds[i].value);
        if (n < 0)
            return;
        at += (size_t)n;
    }
}

int options_check(const char *verb, const struct option_rules *rules, const struct options *o)
{
    uint64_t missing = rules->required & ~o->seen;
    int chosen = __builtin_popcountll(rules->one_of & o->seen);
    char list[256];

    if ((rules->argument == ARGUMENT_NAME && !o->name) ||
        (rules->argument == ARGUMENT_UID && o->uid == UIDPOOL_NO_UID) ||
        (rules->argument == ARGUMENT_FILE && !o->file)) {
        log_error("%s: the argument is missing", verb);
        return -EINVAL;
    }
    if (missing) {
        join_options(missing, " and ", list, sizeof(list));
        log_error("%s needs %s", verb, list);
        return -EINVAL;
    }
    if (rules->one_of && chosen != 1) {
        join_options(rules->one_of, " or ", list, sizeof(list));
        log_error(chosen == 0 ? "%s needs %s" : "%s: only one is allowed of %s", verb, list);
        return -EINVAL;
    }
    if (o->quiet && o->verbose) {
        log_error("%s: only one is allowed of --quiet and --verbose", verb);
        return -EINVAL;
    }
    if (o->since && o->until && o->since > o->until) {
        log_error("%s: --since is after --until: nothing can match", verb);
        return -EINVAL;
    }
    return 0;
}

void options_describe(FILE *to, uint64_t set)
{
    for (int i = 0; i < OPTIONS; i++) {
        const struct option_kind *kind = &kinds[i];
        char letter[] = "-x, ";
        char left[40];

        if (!(set & (UINT64_C(1) << i)))
            continue;
        letter[1] = (char)kind->letter;
        snprintf(left, sizeof(left), "%s--%s%s%s", kind->letter ? letter : "    ", kind->name,
                 kind->value ? "=" : "", kind->value ? kind->value : "");
        fprintf(to, "  %-26s %s\n", left, kind->help);
    }
}
