/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Strict parsers for everything that comes from outside: command lines, configuration, the ledger,
 * account files. Pure: touches no file, no locale and no errno.
 */
#include "common/ids.h"

#include "uidpool.h"

#include <errno.h>
#include <string.h>

#define MINUTE 60u
#define HOUR (60u * MINUTE)
#define DAY (24u * HOUR)
#define SECONDS_MAX (10u * 365u * DAY)

/* The contract of parse_u64() for exactly `length` bytes. */
static int parse_digits(const char *text, size_t length, uint64_t max, uint64_t *ret)
{
    uint64_t value = 0;
    bool too_large = false;

    if (length == 0 || (text[0] == '0' && length > 1))
        return -EINVAL;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -EINVAL;

        uint64_t digit = (uint64_t)(text[i] - '0');

        /* Go on after an overflow: rubbish behind the digits makes it no number at all. */
        if (too_large || __builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, digit, &value))
            too_large = true;
    }
    if (too_large || value > max)
        return -ERANGE;
    *ret = value;
    return 0;
}

int parse_u64(const char *text, uint64_t max, uint64_t *ret)
{
    if (!text)
        return -EINVAL;
    return parse_digits(text, strlen(text), max, ret);
}

int parse_uid(const char *text, uid_t *ret)
{
    uint64_t value;
    int r = parse_u64(text, UINT64_MAX, &value);

    if (r < 0)
        return r;
    if (!uid_is_usable(value))
        return -ERANGE;
    *ret = (uid_t)value;
    return 0;
}

int parse_gid(const char *text, gid_t *ret)
{
    return parse_uid(text, ret);
}

int parse_domid(const char *text, int64_t *ret)
{
    uint64_t value;
    int r = parse_u64(text, DOMID_LAST, &value);

    if (r < 0)
        return r;
    *ret = (int64_t)value;
    return 0;
}

int parse_count(const char *text, uint32_t *ret)
{
    uint64_t value;
    int r = parse_u64(text, UID_END - 1, &value);

    if (r < 0)
        return r;
    if (value == 0)
        return -ERANGE;
    *ret = (uint32_t)value;
    return 0;
}

/* Seconds in a unit, 0 if there is no such unit. */
static uint32_t unit_seconds(char unit)
{
    switch (unit) {
    case 's':
        return 1;
    case 'm':
        return MINUTE;
    case 'h':
        return HOUR;
    case 'd':
        return DAY;
    default:
        return 0;
    }
}

int parse_seconds(const char *text, uint32_t *ret)
{
    uint64_t value;
    uint32_t unit;
    size_t length;
    int r;

    if (!text || !*text)
        return -EINVAL;
    length = strlen(text);
    unit = unit_seconds(text[length - 1]);
    if (unit > 0)
        length--;
    else
        unit = 1;
    r = parse_digits(text, length, SECONDS_MAX / unit, &value);
    if (r < 0)
        return r;
    *ret = (uint32_t)value * unit;
    return 0;
}

bool uid_is_usable(uint64_t uid)
{
    return uid > 0 && uid < UID_END && uid != UID_NOBODY && uid != UID_INVALID_16;
}

bool uid_range_is_usable(uint64_t first, uint64_t count)
{
    if (first == 0 || first >= UID_END || count == 0 || count > UID_END - first)
        return false;
    return !uid_ranges_overlap(first, count, UID_NOBODY, 2);
}

bool uid_ranges_overlap(uint64_t a, uint64_t an, uint64_t b, uint64_t bn)
{
    if (an == 0 || bn == 0)
        return false;
    return a <= b ? b - a < an : a - b < bn;
}

static bool char_is_alphanumeric(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool name_is_valid(const char *name)
{
    size_t length;

    if (!name || (!char_is_alphanumeric(name[0]) && name[0] != '_'))
        return false;
    length = strlen(name);
    if (length > UIDPOOL_NAME_MAX)
        return false;
    for (size_t i = 1; i < length; i++)
        if (!char_is_alphanumeric(name[i]) && !strchr("_.:@+-", name[i]))
            return false;
    return true;
}

bool login_name_is_valid(const char *name)
{
    static const char first[] = "abcdefghijklmnopqrstuvwxyz_";
    static const char rest[] = "abcdefghijklmnopqrstuvwxyz_0123456789-";
    size_t length = strlen(name);

    return length > 0 && length <= LOGIN_NAME_MAX_LENGTH && strchr(first, name[0]) &&
           strspn(name, rest) == length;
}

int parse_uuid(const char *text, char ret[static 37])
{
    static const char shape[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    char out[sizeof(shape)] = "";

    if (!text)
        return -EINVAL;
    for (size_t i = 0; i < sizeof(shape) - 1; i++) {
        char c = text[i];

        if (c >= 'A' && c <= 'F')
            c = (char)(c - 'A' + 'a');
        if (shape[i] == '-' ? c != '-' : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return -EINVAL;
        out[i] = c;
    }
    if (text[sizeof(shape) - 1] != '\0')
        return -EINVAL;
    memcpy(ret, out, sizeof(out));
    return 0;
}
