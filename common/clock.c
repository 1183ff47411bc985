/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The clocks, the boot id, and points in time as people write them. Reads the kernel's clocks and
 * boot id and the time zone, nothing else.
 */
#include "common/clock.h"

#include "common/cleanup.h"
#include "common/ids.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/mount.h>
#include <systemd/sd-id128.h>
#include <time.h>

/* 9999-12-31T23:59:59Z, the last second that can be written with a year of four digits. */
#define LAST_SECOND INT64_C(253402300799)

static int64_t clock_usec(clockid_t id)
{
    struct timespec ts = {0};

    /* Cannot fail: these clocks exist and the pointer is good. */
    (void)clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * USEC_PER_SEC + ts.tv_nsec / 1000;
}

int64_t clock_wall_usec(void)
{
    return clock_usec(CLOCK_REALTIME);
}

int64_t clock_boot_usec(void)
{
    return clock_usec(CLOCK_BOOTTIME);
}

int64_t clock_monotonic_usec(void)
{
    return clock_usec(CLOCK_MONOTONIC);
}

void clock_sleep(int64_t usec)
{
    const struct timespec ts = {.tv_sec = usec / USEC_PER_SEC,
                                .tv_nsec = usec % USEC_PER_SEC * 1000};

    (void)nanosleep(&ts, NULL);
}

/* A /proc that is attached nowhere and goes with its descriptor. It takes CAP_SYS_ADMIN, and in a
 * user namespace a /proc of which nothing is hidden (mount_namespaces(7)). -1: not to be had, by
 * errno. */
static int open_detached_proc(void)
{
    _cleanup_fd_ int context = fsopen("proc", FSOPEN_CLOEXEC);

    if (context < 0 || fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return -1;
    return fsmount(context, FSMOUNT_CLOEXEC,
                   MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
}

/* Packages are configured in chroots that have no /proc. */
static int ask_detached_proc(sd_id128_t *ret)
{
    char text[SD_ID128_UUID_STRING_MAX] = "";
    _cleanup_fd_ int proc = open_detached_proc();
    _cleanup_fd_ int fd = -1;

    if (proc < 0)
        return -errno;
    fd = openat(proc, "sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return -errno;
    if (read(fd, text, sizeof(text) - 1) != sizeof(text) - 1)
        return -EIO;
    return sd_id128_from_string(text, ret);
}

/* Kept, because a process may leave for a chroot where it cannot be asked for any more. */
static char boot_id[SD_ID128_STRING_MAX];

static void keep_boot_id(sd_id128_t id)
{
    (void)sd_id128_to_string(id, boot_id);
}

int clock_boot_id(char ret[static 33])
{
    sd_id128_t id = SD_ID128_NULL;
    int r;

    if (!boot_id[0]) {
        r = sd_id128_get_boot(&id);
        /* The first is what libsystemd makes of the second where nothing is mounted on /proc. Who
         * may not mount one either is told that there is none. */
        if ((r == -ENOSYS || r == -ENOENT) && ask_detached_proc(&id) == 0)
            r = 0;
        if (r < 0)
            return r;
        if (sd_id128_is_null(id))
            return -ENODATA;
        keep_boot_id(id);
    }
    memcpy(ret, boot_id, sizeof(boot_id));
    return 0;
}

void clock_boot_id_invent(void)
{
    char known[33];
    sd_id128_t id;

    /* Cannot fail where getrandom(2) works; else the boot id stays unknown. */
    if (clock_boot_id(known) < 0 && sd_id128_randomize(&id) == 0)
        keep_boot_id(id);
}

/* Does the beginning of the text look like this? '0' in the shape stands for any digit. It is what
 * makes strptime(3) strict, which takes spaces, signs and missing digits. */
static bool has_shape(const char *text, const char *shape)
{
    for (; *shape; shape++, text++)
        if (*shape == '0' ? *text < '0' || *text > '9' : *text != *shape)
            return false;
    return true;
}

/* Moves *text behind "14:00" or "14:00:05". A leap second is refused: no clock of ours counts it.
 */
static int take_time_of_day(const char **text, struct tm *tm)
{
    bool seconds = has_shape(*text, "00:00:00");

    if (!seconds && !has_shape(*text, "00:00"))
        return -EINVAL;
    tm->tm_sec = 0;
    *text = strptime(*text, seconds ? "%H:%M:%S" : "%H:%M", tm);
    return *text && tm->tm_sec < 60 ? 0 : -EINVAL;
}

/* Moves *text behind ".5" or ".123456", if it is there. */
static int take_fraction(const char **text, int64_t *ret_usec)
{
    int64_t usec = 0;
    int digits = 0;

    if (**text != '.') {
        *ret_usec = 0;
        return 0;
    }
    for (++*text; has_shape(*text, "0"); ++*text) {
        if (++digits > 6)
            return -EINVAL;
        usec = usec * 10 + (**text - '0');
    }
    if (digits == 0)
        return -EINVAL;
    for (; digits < 6; digits++)
        usec *= 10;
    *ret_usec = usec;
    return 0;
}

/* Moves *text behind "Z" or "+01:00". -ENOENT if there is no zone. */
static int take_zone(const char **text, int64_t *ret_east)
{
    int hours, minutes;
    int64_t east;

    if (**text == 'Z') {
        ++*text;
        *ret_east = 0;
        return 0;
    }
    if (!has_shape(*text, "+00:00") && !has_shape(*text, "-00:00"))
        return -ENOENT;
    hours = ((*text)[1] - '0') * 10 + ((*text)[2] - '0');
    minutes = ((*text)[4] - '0') * 10 + ((*text)[5] - '0');
    if (hours > 23 || minutes > 59)
        return -EINVAL;
    east = hours * 3600 + minutes * 60;
    *ret_east = **text == '-' ? -east : east;
    *text += 6;
    return 0;
}

static int seconds_to_usec(int64_t seconds, int64_t usec, int64_t *ret)
{
    if (seconds < 0 || seconds > LAST_SECOND)
        return -EINVAL;
    *ret = seconds * USEC_PER_SEC + usec;
    return 0;
}

/*
 * Local time to seconds. The date may lie outside its month when `normalize` says so (for "six
 * days ago"), else a 30th of February is refused. Where a zone skips an hour, the time that does
 * not exist moves by that hour, forward: also when it is midnight, so that every day begins.
 */
static int local_to_seconds(const struct tm *tm, bool normalize, int64_t *ret)
{
    struct tm noon = *tm, out = *tm;
    time_t t;

    noon.tm_hour = 12;
    noon.tm_isdst = -1;
    noon.tm_wday = -1;
    (void)mktime(&noon);
    /* -1 is a good answer of mktime(3) too; the day of the week tells. */
    if (noon.tm_wday < 0 ||
        (!normalize && (noon.tm_mday != tm->tm_mday || noon.tm_mon != tm->tm_mon)))
        return -EINVAL;

    out.tm_isdst = -1;
    out.tm_wday = -1;
    t = mktime(&out);
    if (out.tm_wday < 0)
        return -EINVAL;
    /* mktime(3) went back over the gap: take the zone as it was before, which lands behind it. */
    if (out.tm_mday != noon.tm_mday) {
        struct tm utc = *tm;

        t = timegm(&utc) - out.tm_gmtoff;
    }
    *ret = t;
    return 0;
}

/* The same in UTC. */
static int utc_to_seconds(const struct tm *tm, int64_t *ret)
{
    struct tm out = *tm;
    time_t t = timegm(&out);

    if (out.tm_mday != tm->tm_mday || out.tm_mon != tm->tm_mon)
        return -EINVAL;
    *ret = t;
    return 0;
}

/* Midnight of the day `days` after that of `now`; the rest of *ret is unset. */
static int day_of(int64_t now, int days, struct tm *ret)
{
    time_t seconds = (time_t)(now / USEC_PER_SEC);

    if (!localtime_r(&seconds, ret))
        return -EINVAL;
    ret->tm_mday += days;
    ret->tm_hour = ret->tm_min = ret->tm_sec = 0;
    return 0;
}

/* "", or a space and "14:00[:05]" to the end of the text. */
static int parse_rest_of_day(const char *text, struct tm *tm)
{
    int r;

    if (*text == '\0')
        return 0;
    if (*text++ != ' ')
        return -EINVAL;
    r = take_time_of_day(&text, tm);
    if (r < 0)
        return r;
    return *text == '\0' ? 0 : -EINVAL;
}

/* "2026-11-17", "2026-11-17 14:00[:05[.123456]][Z|+01:00]", or with T between. */
static int parse_date(const char *text, int64_t *ret)
{
    struct tm tm = {0};
    int64_t seconds, usec = 0, east;
    bool has_zone = false;
    int r;

    text = strptime(text, "%Y-%m-%d", &tm);
    if (!text)
        return -EINVAL;
    if (*text == ' ' || *text == 'T') {
        text++;
        r = take_time_of_day(&text, &tm);
        if (r < 0)
            return r;
        r = take_fraction(&text, &usec);
        if (r < 0)
            return r;
        r = take_zone(&text, &east);
        if (r < 0 && r != -ENOENT)
            return r;
        has_zone = r == 0;
    }
    if (*text != '\0')
        return -EINVAL;
    r = has_zone ? utc_to_seconds(&tm, &seconds) : local_to_seconds(&tm, false, &seconds);
    if (r < 0)
        return r;
    return seconds_to_usec(has_zone ? seconds - east : seconds, usec, ret);
}

/* 0 (Sunday) to 6, *text behind the name; or -ENOENT. */
static int take_weekday(const char **text)
{
    static const char *const names[] = {
        "sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday",
    };
    size_t length = strcspn(*text, " ");

    for (int i = 0; i < (int)ELEMENTS_OF(names); i++) {
        if (length != 3 && length != strlen(names[i]))
            continue;
        if (strncasecmp(*text, names[i], length) == 0) {
            *text += length;
            return i;
        }
    }
    return -ENOENT;
}

/* "tue", "tuesday 14:00": the last one that is not in the future. */
static int parse_weekday(const char *text, int weekday, int64_t now, int64_t *ret)
{
    struct tm tm;
    int64_t seconds;
    int r;

    r = day_of(now, 0, &tm);
    if (r < 0)
        return r;
    tm.tm_mday -= (tm.tm_wday - weekday + 7) % 7;
    r = parse_rest_of_day(text, &tm);
    if (r < 0)
        return r;
    r = local_to_seconds(&tm, true, &seconds);
    if (r < 0)
        return r;
    if (seconds > now / USEC_PER_SEC) {
        tm.tm_mday -= 7;
        r = local_to_seconds(&tm, true, &seconds);
        if (r < 0)
            return r;
    }
    return seconds_to_usec(seconds, 0, ret);
}

/* "today", "yesterday", either with a time behind, and "14:00[:05]" alone. */
static int parse_near_day(const char *text, int64_t now, int64_t *ret)
{
    struct tm tm;
    int64_t seconds;
    bool yesterday = strncmp(text, "yesterday", 9) == 0;
    int r;

    r = day_of(now, yesterday ? -1 : 0, &tm);
    if (r < 0)
        return r;
    if (yesterday) {
        r = parse_rest_of_day(text + 9, &tm);
    } else if (strncmp(text, "today", 5) == 0) {
        r = parse_rest_of_day(text + 5, &tm);
    } else {
        r = take_time_of_day(&text, &tm);
        if (r == 0 && *text != '\0')
            r = -EINVAL;
    }
    if (r < 0)
        return r;
    r = local_to_seconds(&tm, true, &seconds);
    if (r < 0)
        return r;
    return seconds_to_usec(seconds, 0, ret);
}

/* "-90m": the unit is required, or "-1700000000" would quietly mean something. */
static int parse_ago(const char *text, int64_t now, int64_t *ret)
{
    uint32_t seconds;

    if (!*text || !strchr("smhd", text[strlen(text) - 1]) || parse_seconds(text, &seconds) < 0)
        return -EINVAL;
    if (now < seconds * USEC_PER_SEC)
        return -EINVAL;
    *ret = now - seconds * USEC_PER_SEC;
    return 0;
}

int parse_time_at(const char *text, int64_t now, int64_t *ret)
{
    uint64_t seconds;
    int weekday;

    if (!text)
        return -EINVAL;
    if (strcmp(text, "now") == 0) {
        *ret = now;
        return 0;
    }
    if (*text == '@') {
        if (parse_u64(text + 1, (uint64_t)LAST_SECOND, &seconds) < 0)
            return -EINVAL;
        return seconds_to_usec((int64_t)seconds, 0, ret);
    }
    if (*text == '-')
        return parse_ago(text + 1, now, ret);
    if (has_shape(text, "0000-00-00"))
        return parse_date(text, ret);
    weekday = take_weekday(&text);
    if (weekday >= 0)
        return parse_weekday(text, weekday, now, ret);
    return parse_near_day(text, now, ret);
}

int parse_time(const char *text, int64_t *ret)
{
    return parse_time_at(text, clock_wall_usec(), ret);
}

const char *format_time(int64_t usec, char *buf, size_t size)
{
    int64_t seconds = usec / USEC_PER_SEC;
    int fraction = (int)(usec % USEC_PER_SEC);
    time_t t;
    struct tm tm;
    long east;

    if (fraction < 0) {
        fraction += (int)USEC_PER_SEC;
        seconds--;
    }
    t = (time_t)seconds;
    if (!localtime_r(&t, &tm)) {
        /* Beyond the years that struct tm holds. */
        snprintf(buf, size, "@%lld.%06d", (long long)seconds, fraction);
        return buf;
    }
    east = tm.tm_gmtoff < 0 ? -tm.tm_gmtoff : tm.tm_gmtoff;
    snprintf(buf, size, "%04d-%02d-%02dT%02d:%02d:%02d.%06d%c%02ld:%02ld", tm.tm_year + 1900,
             tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, fraction,
             tm.tm_gmtoff < 0 ? '-' : '+', east / 3600, east / 60 % 60);
    return buf;
}
