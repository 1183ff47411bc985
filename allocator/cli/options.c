/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One table of all options, for common/command.h, and what each may hold, by the parsers of
 * common/ids.h. Touches standard error alone.
 */
#include "allocator/cli/options.h"

#include "common/clock.h"
#include "common/ids.h"
#include "common/log.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#define ALLOWED_UID "1 to 2147483647, but not 65534 or 65535"
#define ALLOWED_NAME                                                                  \
    "1 to 63 letters, digits and any of _ . : @ + -, beginning with a letter, digit " \
    "or _"
#define ALLOWED_SECONDS "seconds, 0 to 315360000, or a number with s, m, h or d behind it"
#define ALLOWED_TIME                                                                           \
    "a time: now, today, yesterday, 14:00, 2026-11-17, '2026-11-17 14:00', 'tue 14:00', -90m " \
    "or @SECONDS; not before 1970"

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

const struct command_option option_kinds[OPTIONS] = {
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

static int argument_file_parse(const char *text, struct options *o)
{
    return parse_path(text, &o->file);
}

const struct command_option argument_name = {
    .name = "name", .allowed = ALLOWED_NAME, .parse = option_name};
const struct command_option argument_uid = {
    .name = "uid", .allowed = ALLOWED_UID, .parse = option_uid};
const struct command_option argument_file = {
    .name = "file", .allowed = "a path", .parse = argument_file_parse};

void options_init(struct options *o)
{
    *o = (struct options){
        .uid = UIDPOOL_NO_UID, .domid = UIDPOOL_NO_DOMID, .policy = UIDPOOL_POLICY_DOMID};
}

int options_finish(const char *verb, struct options *o)
{
    o->json = options_has(o, OPT(JSON));
    o->quiet = options_has(o, OPT(QUIET));
    o->verbose = options_has(o, OPT(VERBOSE));
    o->follow = options_has(o, OPT(FOLLOW));
    o->resolve = options_has(o, OPT(RESOLVE));
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
