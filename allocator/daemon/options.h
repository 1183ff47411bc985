/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The daemon's command line, as typed values. */
#ifndef DAEMON_OPTIONS_H
#define DAEMON_OPTIONS_H

#include "allocator/daemon/readiness.h"
#include "uidpool.h"

#include <stdbool.h>

struct options {
    const char *ledger;      /* never NULL */
    const char *config;      /* or NULL: the layers of uidpool.conf(5) */
    const char *runtime_dir; /* never NULL, absolute */
    const char *userdb_dir;  /* the same */
    const char *xenstore;    /* or NULL: libxenstore's own choice */
    struct readiness ready;
};

/* UIDPOOL_OK and *ret_run, which is false when help or the version was asked for and printed; or
 * UIDPOOL_USAGE after a message. Strings are argv's. */
enum uidpool_status options_read(int argc, char **argv, struct options *ret, bool *ret_run);

/* "debug", "info", "notice", "warning", "err" (UIDPOOLD_LOG) to syslog(3)'s number. 0 or -EINVAL.
 */
int options_parse_level(const char *text, int *ret);

#endif
