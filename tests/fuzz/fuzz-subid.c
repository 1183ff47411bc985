/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The lines of /etc/subuid and /etc/subgid. */
#include "allocator/hostrange.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct uid_range range = {.first = 7, .count = 8};
    char *line = malloc(size + 1);
    int r;

    if (!line)
        return 0;
    memcpy(line, data, size);
    line[size] = '\0';
    r = hostrange_parse_subid(line, &range);
    /* Untouched on failure, and no grant goes round the end. */
    if (r < 0 ? range.first != 7 || range.count != 8
              : (uint64_t)range.first + range.count > UINT32_MAX)
        abort();
    free(line);
    return 0;
}
