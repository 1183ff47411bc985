/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Identifiers and numbers from outside: the one place where text becomes a uid, a domid, a count,
 * a name or a uuid. Nothing else in the project parses a number. */
#ifndef COMMON_IDS_H
#define COMMON_IDS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Domids are 0..DOMID_LAST: DOMID_FIRST_RESERVED is 0x7FF0 (xen/include/public/xen.h). */
#define DOMID_LAST 0x7FEF

/* Uids that must never be handed out: 65534 is nobody, 65535 and 4294967295 are (uid_t)-1 in 16
 * and 32 bits (systemd docs/UIDS-GIDS.md). */
#define UID_NOBODY 65534
#define UID_INVALID_16 65535

/* From 2^31 on devpts and setfsuid(2) misread a uid (systemd docs/UIDS-GIDS.md). */
#define UID_END ((uint64_t)1 << 31)

/*
 * Parsers. Decimal digits only: no sign, no space, no leading "0x", nothing behind; no leading
 * zero but "0" itself. 0 or -EINVAL (not such a thing) or -ERANGE (too large, or reserved). *ret is
 * untouched on failure.
 */
int parse_u64(const char *text, uint64_t max, uint64_t *ret);
/* 1..2^31-1 without nobody and 65535. */
int parse_uid(const char *text, uid_t *ret);
/* The same rule for gids. */
int parse_gid(const char *text, gid_t *ret);
/* 0..DOMID_LAST. */
int parse_domid(const char *text, int64_t *ret);
/* 1..2^31-1, a number of uids. */
int parse_count(const char *text, uint32_t *ret);
/* Seconds, 0..10 years; a suffix s, m, h or d is allowed. */
int parse_seconds(const char *text, uint32_t *ret);

/* May this uid be in a pool at all? */
bool uid_is_usable(uint64_t uid);
/* Is every uid of [first, first+count) usable? False also for count 0 and for an overflow. */
bool uid_range_is_usable(uint64_t first, uint64_t count);
/* Do [a, a+an) and [b, b+bn) meet? Empty ranges meet nothing. */
bool uid_ranges_overlap(uint64_t a, uint64_t an, uint64_t b, uint64_t bn);

/* 1..UIDPOOL_NAME_MAX bytes, [A-Za-z0-9_][A-Za-z0-9_.:@+-]*: pools, reservations, leases by name.
 */
bool name_is_valid(const char *name);

/* Login names are shorter than on other systems so that every tool can show them (useradd(8):
 * 32 with the NUL). */
#define LOGIN_NAME_MAX_LENGTH 31
/* [a-z_][a-z0-9_-]*, at most so many bytes. */
bool login_name_is_valid(const char *name);

/* Accepts 8-4-4-4-12 hexadecimal digits, any case; writes 36 lower-case bytes and a NUL. */
int parse_uuid(const char *text, char ret[static 37]);

#endif
