/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzzes every parser of numbers, names and uuids. Whatever is accepted must be what its contract
 * says, and must read back as it was written.
 */
#include "common/ids.h"
#include "uidpool.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void check_number(const char *text)
{
    uint64_t value;
    char again[32];

    if (parse_u64(text, UINT64_MAX, &value) == 0) {
        snprintf(again, sizeof(again), "%" PRIu64, value);
        require(strcmp(again, text) == 0);
        require(parse_u64(text, value, &value) == 0);
        require(value == 0 || parse_u64(text, value - 1, &value) < 0);
    }
}

static void check_ids(const char *text)
{
    uid_t uid;
    gid_t gid;
    int64_t domid;
    uint32_t count, seconds;

    if (parse_uid(text, &uid) == 0)
        require(uid_is_usable(uid) && uid_range_is_usable(uid, 1));
    if (parse_gid(text, &gid) == 0)
        require(uid_is_usable(gid));
    if (parse_domid(text, &domid) == 0)
        require(domid >= 0 && domid <= DOMID_LAST);
    if (parse_count(text, &count) == 0)
        require(count > 0 && count < UID_END);
    if (parse_seconds(text, &seconds) == 0)
        require(seconds <= 10u * 365u * 86400u);
}

static void check_words(const char *text)
{
    char uuid[37], again[37];

    if (name_is_valid(text))
        require(strlen(text) > 0 && strlen(text) <= UIDPOOL_NAME_MAX &&
                !strpbrk(text, "/ \n\"'\\"));
    if (parse_uuid(text, uuid) == 0) {
        require(strlen(uuid) == UIDPOOL_UUID_LEN);
        require(parse_uuid(uuid, again) == 0 && strcmp(uuid, again) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    uint64_t numbers[4] = {0};

    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    check_number(text);
    check_ids(text);
    check_words(text);
    free(text);

    memcpy(numbers, data, size < sizeof(numbers) ? size : sizeof(numbers));
    require(uid_ranges_overlap(numbers[0], numbers[1], numbers[2], numbers[3]) ==
            uid_ranges_overlap(numbers[2], numbers[3], numbers[0], numbers[1]));
    if (uid_range_is_usable(numbers[0], numbers[1]))
        require(uid_is_usable(numbers[0]) && uid_is_usable(numbers[0] + numbers[1] - 1));
    return 0;
}
