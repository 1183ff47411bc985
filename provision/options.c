/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One table of all options of uidpool-provision, for common/command.h, and what each may hold.
 * Touches standard error alone. */
#include "common/ids.h"
#include "common/log.h"
#include "provision/verbs.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#define ALLOWED_UID "1 to 2147483647, but not 65534 or 65535"
#define ALLOWED_POOL                                                                  \
    "1 to 63 letters, digits and any of _ . : @ + -, beginning with a letter, digit " \
    "or _"
#define ALLOWED_ACCOUNT "1 to 31 lower-case letters, digits, _ and -, beginning with a letter or _"
#define ALLOWED_SECONDS "seconds, 0 to 315360000, or a number with s, m, h or d behind it"

static int parse_path(const char *text, const char **ret)
{
    if (!*text)
        return -EINVAL;
    if (strlen(text) >= PATH_MAX)
        return -ENAMETOOLONG;
    *ret = text;
    return 0;
}

static int option_root(const char *text, struct options *o)
{
    return parse_path(text, &o->root);
}

static int option_config(const char *text, struct options *o)
{
    return parse_path(text, &o->config);
}

/* A relative one would mean something else below --root. */
static int option_files(const char *text, struct options *o)
{
    size_t n = 0;

    while (o->files[n])
        n++;
    if (*text != '/' || n >= FILES_MAX)
        return -EINVAL;
    return parse_path(text, &o->files[n]);
}

static int option_timeout(const char *text, struct options *o)
{
    return parse_seconds(text, &o->timeout);
}

static int option_pool(const char *text, struct options *o)
{
    if (!name_is_valid(text))
        return -EINVAL;
    o->pool = text;
    return 0;
}

static int option_uid(const char *text, struct options *o)
{
    return parse_uid(text, &o->uid);
}

static int argument_account_parse(const char *text, struct options *o)
{
    if (!login_name_is_valid(text))
        return -EINVAL;
    o->name = text;
    return 0;
}

const struct command_option option_kinds[OPTIONS] = {
    [OPTION_ROOT] = {"root", "DIR", 0, "work on the system in this directory (implies --offline)",
                     "a path", option_root},
    [OPTION_CONFIG] = {"config", "DIR", 0, "read the configuration in this directory alone",
                       "a path", option_config},
    [OPTION_JSON] = {"json", NULL, 0, "answer in JSON", NULL, NULL},
    [OPTION_OFFLINE] = {"offline", NULL, 0, "ask neither name services nor processes", NULL, NULL},
    [OPTION_QUIET] = {"quiet", NULL, 'q', "print no diff, say nothing on the way", NULL, NULL},
    [OPTION_VERBOSE] = {"verbose", NULL, 'v', "say what is waited for, also without a terminal",
                        NULL, NULL},
    [OPTION_HELP] = {"help", NULL, 'h', "show this help", NULL, NULL},
    [OPTION_VERSION] = {"version", NULL, 'V', "show the version", NULL, NULL},
    [OPTION_FILES] = {"files", "DIR", 0, "files below must carry none of a new pool's ids",
                      "an absolute path; at most 32 of them", option_files},
    [OPTION_TIMEOUT] = {"timeout", "SEC", 0, "wait so long for other tools' locks (default 60)",
                        ALLOWED_SECONDS, option_timeout},
    [OPTION_POOL] = {"pool", "POOL", 0, "the pool; not needed if there is only one", ALLOWED_POOL,
                     option_pool},
    [OPTION_UID] = {"uid", "UID", 0, "a uid of the pool (default: the last free one)", ALLOWED_UID,
                    option_uid},
};

const struct command_option argument_account = {
    .name = "account name", .allowed = ALLOWED_ACCOUNT, .parse = argument_account_parse};
const struct command_option argument_pool = {
    .name = "pool name", .allowed = ALLOWED_POOL, .parse = option_pool};

void options_init(struct options *o)
{
    *o = (struct options){.uid = UIDPOOL_NO_UID, .timeout = PROVISION_TIMEOUT_SEC};
}

static bool has(const struct options *o, uint64_t set)
{
    return (o->seen & set) != 0;
}

int options_finish(const char *verb, struct options *o)
{
    o->json = has(o, OPT(JSON));
    o->quiet = has(o, OPT(QUIET));
    o->verbose = has(o, OPT(VERBOSE));
    /* Name services would be those of this system, and processes too. */
    o->offline = has(o, OPT(OFFLINE) | OPT(ROOT));
    if (o->quiet && o->verbose) {
        log_error("%s: only one is allowed of --quiet and --verbose", verb);
        return -EINVAL;
    }
    if (o->json && strcmp(verb, "sysusers") == 0) {
        log_error("sysusers takes no --json: its answer is lines of sysusers.d(5)");
        return -EINVAL;
    }
    return 0;
}
