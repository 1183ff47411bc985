/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Time as this project uses it: the wall clock for people, the boot clock for rests, and the boot
 * id that tells one from the other side of a reboot. */
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#define USEC_PER_SEC INT64_C(1000000)
#define USEC_PER_MSEC INT64_C(1000)

/* Microseconds since 1970. May jump either way. */
int64_t clock_wall_usec(void);
/* Microseconds since boot, suspended time included (CLOCK_BOOTTIME). Never goes back. */
int64_t clock_boot_usec(void);
/* Microseconds of CLOCK_MONOTONIC, for deadlines; sd_event's CLOCK_MONOTONIC. */
int64_t clock_monotonic_usec(void);
/* Wait, or until a signal comes. */
void clock_sleep(int64_t usec);

/* The kernel's boot id: 32 lower-case hexadecimal digits and a NUL. 0 or a negative errno. Once
 * known it is known for good, also behind a chroot(2). Where there is no /proc it takes
 * CAP_SYS_ADMIN to find out. */
int clock_boot_id(char ret[static 33]);
/* For a program that makes no lease: if the boot id cannot be had, be in a boot from now on that
 * never was. What is stamped with it counts as done before a reboot, which is the safe side. */
void clock_boot_id_invent(void);

/* A point in time as people write it, in local time unless a zone is given, to microseconds since
 * 1970: "now", "today", "yesterday", "@SECONDS", "-90m" (also s, h, d), "14:00" and "14:00:05"
 * (today), "2026-11-17", "2026-11-17 14:00[:05]", the same with T between, and with Z or +01:00
 * behind, "tue", "tuesday 14:00" (the last one that is not in the future). 0 or -EINVAL. */
int parse_time(const char *text, int64_t *ret);
/* The same, as seen from `now` (microseconds since 1970). */
int parse_time_at(const char *text, int64_t now, int64_t *ret);

/* "2026-11-17T14:00:05.123456+01:00" in local time. Returns `buf`. */
const char *format_time(int64_t usec, char *buf, size_t size);

#endif
