/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The verbs of uidpool-provision, and its options as typed values. A verb prints its answer and
 * returns what the command exits with; `p` is what is wrong, for main.c to say, or stays empty. */
#ifndef PROVISION_VERBS_H
#define PROVISION_VERBS_H

#include "common/command.h"
#include "provision/provision.h"
#include "provision/show.h"

enum option_id {
    OPTION_ROOT,
    OPTION_CONFIG,
    OPTION_JSON,
    OPTION_OFFLINE,
    OPTION_QUIET,
    OPTION_VERBOSE,
    OPTION_HELP,
    OPTION_VERSION,
    OPTION_FILES,
    OPTION_TIMEOUT,
    OPTION_POOL,
    OPTION_UID,
    OPTIONS,
};

/* A set of options. */
#define OPT(id) (UINT64_C(1) << OPTION_##id)
#define OPT_GLOBAL                                                                                \
    (OPT(ROOT) | OPT(CONFIG) | OPT(JSON) | OPT(OFFLINE) | OPT(QUIET) | OPT(VERBOSE) | OPT(HELP) | \
     OPT(VERSION))

/* --files may be given so often. */
#define FILES_MAX 32u

struct options {
    uint64_t seen;
    bool json, offline, quiet, verbose;
    const char *root, *config;        /* or NULL */
    const char *files[FILES_MAX + 1]; /* NULL-terminated */
    const char *pool;                 /* or NULL; also the argument of retire */
    const char *name;                 /* of an account */
    uid_t uid;                        /* or UIDPOOL_NO_UID */
    uint32_t timeout;                 /* seconds */
};

/* By enum option_id; and what verbs take besides options. */
extern const struct command_option option_kinds[OPTIONS];
extern const struct command_option argument_account, argument_pool;

void options_init(struct options *o);
/* All words are read: fill the flags, and check what the tables cannot say. */
int options_finish(const char *verb, struct options *o);

/* `v` has what provision.h says that the caller sets. */
typedef enum uidpool_status verb_function(struct provision *v, const struct options *o,
                                          struct problem *p);

verb_function verb_plan, verb_apply, verb_check, verb_sysusers;
verb_function verb_user_add, verb_user_remove;
verb_function verb_retire;

/* What the look has found, to be shown. */
struct showing verbs_showing(const struct provision *v, const char *verb, const struct options *o);
/* The verb's answer when printing came to `r`. */
enum uidpool_status verbs_shown(int r, enum uidpool_status status, struct problem *p);
/* A run that was to change something and did not: show why, and what it removed of the dead all the
 * same. Returns `status`. */
enum uidpool_status verbs_refused(struct showing showing, enum uidpool_status status);

#endif
