/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzzes the parser of /proc/PID/status. Whatever it refuses leaves its outputs alone; whatever it
 * takes has a state and a printable command.
 */
#include "allocator/scan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void check_refused(const struct scan_task *task, unsigned threads)
{
    struct scan_task untouched;

    memset(&untouched, 0x5a, sizeof(untouched));
    require(memcmp(task, &untouched, sizeof(untouched)) == 0);
    require(threads == 77);
}

static void check_taken(const struct scan_task *task)
{
    require(task->state != '\0' && task->state != '\n');
    for (size_t i = 0; i < 4; i++)
        require(task->uids[i] != (uid_t)-1);
    require(memchr(task->command, '\0', sizeof(task->command)) != NULL);
    for (const char *c = task->command; *c; c++)
        require((unsigned char)*c >= ' ' && *c != 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    struct scan_task task;
    unsigned threads = 77;
    int r;

    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    memset(&task, 0x5a, sizeof(task));
    r = scan_parse_status(text, &task, &threads);
    require(r == 0 || r == -EBADMSG);
    if (r < 0)
        check_refused(&task, threads);
    else
        check_taken(&task);
    free(text);
    return 0;
}
