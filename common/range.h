/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A contiguous block of uids. */
#ifndef COMMON_RANGE_H
#define COMMON_RANGE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct uid_range {
    uid_t first;
    uint32_t count;
};

static inline uid_t uid_range_last(struct uid_range r)
{
    return r.first + (r.count - 1);
}

static inline bool uid_range_has(struct uid_range r, uid_t uid)
{
    return uid >= r.first && uid - r.first < r.count;
}

#endif
