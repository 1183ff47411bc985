/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What uidpool.conf(5) says of pools, as typed values: everything that can be wrong with the text
 * alone is refused here. */
#ifndef PROVISION_SETTINGS_H
#define PROVISION_SETTINGS_H

#include "common/config.h"
#include "common/ids.h"
#include "common/problem.h"
#include "uidpool.h"

#include <stdbool.h>
#include <stdint.h>

/* Accounts=, as bits. */
enum {
    ACCOUNTS_RANGE_BASE = 1, /* PREFIX-range-base on the pool's base: the one libxl looks for */
    ACCOUNTS_SHARED = 2,     /* PREFIX-shared, outside every pool */
    ACCOUNTS_REAPER = 4,     /* PREFIX-reaper, outside every pool */
    ACCOUNTS_PER_DOMID = 8,  /* PREFIX-domid<N> on base + N, for each uid of the pool */
};

/* One [pool NAME] section. */
struct pool_settings {
    char name[UIDPOOL_NAME_MAX + 1];
    bool base_auto;
    uid_t base;
    uint32_t size;
    enum uidpool_policy policy;
    bool group_per_uid;
    uint32_t quarantine; /* seconds */
    bool follow, resolve;
    unsigned accounts;
    char prefix[LOGIN_NAME_MAX_LENGTH + 1];
    char range_base[LOGIN_NAME_MAX_LENGTH + 1]; /* RangeBase=, or PREFIX-range-base; "" without
                                                   ACCOUNTS_RANGE_BASE */
};

struct settings {
    struct pool_settings *pools; /* in the order of the files */
    size_t n;
};

/* UIDPOOL_FAILED names file, section and key, what it holds, and what may stand there: an unknown
 * key of a pool, an unknown word, sizes without Base's room, per-domid or Resolve=yes beside
 * range-base (libxl refuses uids that resolve), range-base or per-domid without Policy=domid,
 * RangeBase= without range-base, more per-domid than domids, names that are no login names or too
 * long, two accounts of one name; an unknown key of [residue], whose values are the library's, and
 * unknown sections. */
enum uidpool_status settings_read(const struct config *config, struct settings *ret,
                                  struct problem *p);
void settings_clear(struct settings *s);
const struct pool_settings *settings_pool(const struct settings *s, const char *name);

#endif
