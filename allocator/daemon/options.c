/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One table of the daemon's options, for common/command.h, and what each may hold. Touches standard
 * output and error alone. */
#include "allocator/daemon/options.h"

#include "build_config.h"
#include "common/cleanup.h"
#include "common/command.h"
#include "common/log.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <syslog.h>

enum option_id {
    OPTION_LEDGER,
    OPTION_CONFIG,
    OPTION_RUNTIME_DIR,
    OPTION_USERDB_DIR,
    OPTION_READY,
    OPTION_XENSTORE,
    OPTION_HELP,
    OPTION_VERSION,
    OPTIONS,
};

#define OPT(id) (UINT64_C(1) << OPTION_##id)

static int parse_path(const char *text, const char **ret)
{
    if (!*text)
        return -EINVAL;
    if (strlen(text) >= PATH_MAX)
        return -ENAMETOOLONG;
    *ret = text;
    return 0;
}

/* A daemon's working directory is nobody's. */
static int parse_absolute(const char *text, const char **ret)
{
    return *text == '/' ? parse_path(text, ret) : -EINVAL;
}

static int option_ledger(const char *text, struct options *o)
{
    return parse_absolute(text, &o->ledger);
}

static int option_config(const char *text, struct options *o)
{
    return parse_absolute(text, &o->config);
}

static int option_runtime_dir(const char *text, struct options *o)
{
    return parse_absolute(text, &o->runtime_dir);
}

static int option_userdb_dir(const char *text, struct options *o)
{
    return parse_absolute(text, &o->userdb_dir);
}

static int option_ready(const char *text, struct options *o)
{
    return readiness_parse(text, &o->ready);
}

static int option_xenstore(const char *text, struct options *o)
{
    return parse_absolute(text, &o->xenstore);
}

static const struct command_option option_kinds[OPTIONS] = {
    [OPTION_LEDGER] = {"ledger", "FILE", 0, "use this ledger, not the system's", "an absolute path",
                       option_ledger},
    [OPTION_CONFIG] = {"config", "DIR", 0, "read the configuration in this directory alone",
                       "an absolute path", option_config},
    [OPTION_RUNTIME_DIR] = {"runtime-dir", "DIR", 0, "make the socket here (/run/uidpool)",
                            "an absolute path", option_runtime_dir},
    [OPTION_USERDB_DIR] = {"userdb-dir", "DIR", 0,
                           "and the one for names here (/run/systemd/userdb)", "an absolute path",
                           option_userdb_dir},
    [OPTION_READY] = {"ready", "HOW", 0, "say so: auto, notify, sigstop or fd:N (auto)",
                      "auto, notify, sigstop, or fd: and the number of an open descriptor",
                      option_ready},
    [OPTION_XENSTORE] = {"xenstore", "SOCKET", 0, "xenstored's socket, if not the usual one",
                         "an absolute path", option_xenstore},
    [OPTION_HELP] = {"help", NULL, 'h', "show this help", NULL, NULL},
    [OPTION_VERSION] = {"version", NULL, 'V', "show the version", NULL, NULL},
};

/* There is nothing to choose from: all is options. */
static const struct command_verb verbs[] = {
    {"", "",
     "Lease uids over Varlink, follow xenstore's domains, answer for names of leased uids."},
};

static const struct command command = {
    .name = "uidpoold",
    .options = option_kinds,
    .n_options = OPTIONS,
    .global = OPT(LEDGER) | OPT(CONFIG) | OPT(RUNTIME_DIR) | OPT(USERDB_DIR) | OPT(READY) |
              OPT(XENSTORE) | OPT(HELP) | OPT(VERSION),
    .help = OPT(HELP),
    .version = OPT(VERSION),
    .verbs = verbs,
    .n_verbs = ELEMENTS_OF(verbs),
    .verb_size = sizeof(verbs[0]),
};

enum uidpool_status options_read(int argc, char **argv, struct options *ret, bool *ret_run)
{
    struct options o = {.ledger = UIDPOOL_LEDGER_PATH,
                        .runtime_dir = "/run/uidpool",
                        .userdb_dir = "/run/systemd/userdb",
                        .ready = {.kind = READINESS_AUTO, .fd = -1}};
    const struct command_verb *verb = NULL;
    uint64_t seen = 0;
    enum uidpool_status status = command_read(&command, argc, argv, &o, &seen, &verb);

    if (status == UIDPOOL_OK) {
        *ret = o;
        *ret_run = verb != NULL;
    }
    return status;
}

int options_parse_level(const char *text, int *ret)
{
    static const struct {
        const char *name;
        int level;
    } levels[] = {
        {"debug", LOG_DEBUG},     {"info", LOG_INFO}, {"notice", LOG_NOTICE},
        {"warning", LOG_WARNING}, {"err", LOG_ERR},
    };

    for (size_t i = 0; i < ELEMENTS_OF(levels); i++)
        if (strcmp(text, levels[i].name) == 0) {
            *ret = levels[i].level;
            return 0;
        }
    return -EINVAL;
}
