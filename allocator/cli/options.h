/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The command line's shape: every option of every verb, what each may hold, and which of them a
 * verb takes. What passes here is a typed value; verbs never see text that could be wrong. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "common/command.h"
#include "uidpool.h"

#include <stdbool.h>
#include <stdint.h>

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

/* All words are read: fill the flags, and check what the tables cannot say. 0, or -EINVAL after a
 * message. */
int options_finish(const char *verb, struct options *o);

/* By enum option_id; and what verbs take besides options. */
extern const struct command_option option_kinds[OPTIONS];
extern const struct command_option argument_name, argument_uid, argument_file;

#endif
