/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The command line's shape: every option of every verb, what each may hold, and which of them a
 * verb takes. What passes here is a typed value; verbs never see text that could be wrong. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "uidpool.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum option_id {
    OPTION_LEDGER,
    OPTION_CONFIG,
    OPTION_JSON,
    OPTION_QUIET,
    OPTION_VERBOSE,
    OPTION_HELP,
    OPTION_VERSION,
    OPTION_POOL,
    OPTION_DOMID,
    OPTION_NAME,
    OPTION_UID,
    OPTION_COUNT,
    OPTION_UUID,
    OPTION_TIMEOUT,
    OPTION_BASE,
    OPTION_SIZE,
    OPTION_POLICY,
    OPTION_GROUP,
    OPTION_QUARANTINE,
    OPTION_FOLLOW,
    OPTION_RESOLVE,
    OPTION_AT,
    OPTION_SINCE,
    OPTION_UNTIL,
    OPTION_LIMIT,
    OPTIONS,
};

/* A set of options. */
#define OPT(id) (UINT64_C(1) << OPTION_##id)
#define OPT_GLOBAL \
    (OPT(LEDGER) | OPT(CONFIG) | OPT(JSON) | OPT(QUIET) | OPT(VERBOSE) | OPT(HELP) | OPT(VERSION))

/* The one argument that is no option. */
enum argument { ARGUMENT_NONE, ARGUMENT_NAME, ARGUMENT_UID, ARGUMENT_FILE };

/* What a verb takes. */
struct option_rules {
    enum argument argument;
    uint64_t allowed;  /* besides OPT_GLOBAL */
    uint64_t required; /* all of these */
    uint64_t one_of;   /* exactly one of these, unless empty */
};

struct options {
    uint64_t seen;
    bool json, quiet, verbose, follow, resolve;
    const char *ledger; /* or NULL */
    const char *config; /* or NULL */
    const char *pool;   /* or NULL */
    const char *name;   /* or NULL; also the argument NAME */
    const char *file;   /* the argument FILE */
    uid_t uid;          /* or UIDPOOL_NO_UID; also the argument UID */
    int64_t domid;      /* or UIDPOOL_NO_DOMID */
    uint32_t count;     /* or 0 */
    char uuid[UIDPOOL_UUID_LEN + 1];
    uint32_t timeout; /* seconds; meaningful if seen */
    bool base_auto;
    uid_t base;
    uint32_t size;
    enum uidpool_policy policy;
    bool group_per_uid;
    gid_t gid;
    uint32_t quarantine;      /* seconds; meaningful if seen */
    int64_t at, since, until; /* microseconds since 1970, or 0 */
    int64_t limit;            /* or 0 */
};

void options_init(struct options *o);

static inline bool options_has(const struct options *o, uint64_t set)
{
    return (o->seen & set) != 0;
}

/*
 * Read argv[1], argv[2], ... into `o`; argv[0] is what messages call the verb. Without `rules` only
 * OPT_GLOBAL is known, and the first word that is no option ends it. Returns the index of the first
 * word not read, or -EINVAL after a message that names the option and says what is allowed.
 */
int options_read(int argc, char **argv, const struct option_rules *rules, struct options *o);

/* All words are read: is something missing, or given beside what excludes it? 0 or -EINVAL. */
int options_check(const char *verb, const struct option_rules *rules, const struct options *o);

/* One line for each option of the set, as help shows them. */
void options_describe(FILE *to, uint64_t set);

#endif
