/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzzes points in time, in a zone that has seen every kind of change. What is accepted must lie
 * in the years that can be written, and must read back from what format_time() makes of it.
 */
#include "common/clock.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* 2026-11-17T13:00:05.123456Z, a Tuesday. */
#define NOW INT64_C(1794920405123456)

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    setenv("TZ", "America/Havana", 1);
    tzset();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1), again[64];
    int64_t usec = -1, back;

    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (parse_time_at(text, NOW, &usec) == 0) {
        require(usec >= 0 && usec < INT64_C(253402300800) * USEC_PER_SEC);
        format_time(usec, again, sizeof(again));
        require(parse_time_at(again, NOW, &back) == 0 && back == usec);
    } else {
        require(usec == -1);
    }
    free(text);

    if (size >= sizeof(usec)) {
        memcpy(&usec, data, sizeof(usec));
        format_time(usec, again, sizeof(again));
        require(strlen(again) < sizeof(again));
    }
    return 0;
}
