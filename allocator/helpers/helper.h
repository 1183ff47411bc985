/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What uidpool-reap and uidpool-census share: reading a range of uids, and refusing. Nothing here
 * changes an id or signals anybody. */
#ifndef HELPERS_HELPER_H
#define HELPERS_HELPER_H

#include "common/ids.h"
#include "common/range.h"

#include <err.h>
#include <errno.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Say why on standard error and end at once. No exit handler runs: a forked child must not run
 * those of its parent. */
static inline _Noreturn void __attribute__((format(printf, 2, 3)))
fail(int status, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vwarnx(format, arguments);
    va_end(arguments);
    _exit(status);
}

/* FIRST+COUNT. No uid of it may be 0, nobody, 65535 or above 2^31 - 1 (common/ids.h). */
static inline bool read_range(const char *text, struct uid_range *ret)
{
    char first[sizeof("4294967295")] = "";
    const char *plus = strchr(text, '+');
    struct uid_range range;

    if (!plus || (size_t)(plus - text) >= sizeof(first))
        return false;
    memcpy(first, text, (size_t)(plus - text));
    if (parse_uid(first, &range.first) < 0 || parse_count(plus + 1, &range.count) < 0 ||
        !uid_range_is_usable(range.first, range.count))
        return false;
    *ret = range;
    return true;
}

static inline bool owns_three_ids(uid_t real, uid_t effective, uid_t saved)
{
    uid_t r, e, s;

    return getresuid(&r, &e, &s) == 0 && r == real && e == effective && s == saved;
}

/* The capabilities of this task: is the effective set empty, and the permitted one? */
static inline bool read_capabilities(bool *ret_no_effective, bool *ret_no_permitted)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct set[_LINUX_CAPABILITY_U32S_3];

    if (syscall(SYS_capget, &header, set) < 0)
        return false;
    *ret_no_effective = set[0].effective == 0 && set[1].effective == 0;
    *ret_no_permitted = set[0].permitted == 0 && set[1].permitted == 0;
    return true;
}

#endif
