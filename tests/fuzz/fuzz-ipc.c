/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The lines of /proc/sysvipc: other users decide what stands in some of their columns. */
#include "allocator/residue.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const kinds[] = {"shm", "msg", "sem", "none"};
    char *line = malloc(size + 1);

    if (!line)
        return 0;
    memcpy(line, data, size);
    line[size] = '\0';
    for (size_t i = 0; i < 4; i++) {
        uid_t uid = 1, cuid = 2;
        int id = -3;
        int r = residue_parse_ipc(kinds[i], line, &id, &uid, &cuid);

        /* Untouched on failure, a possible id otherwise. */
        if (r < 0 ? id != -3 || uid != 1 || cuid != 2 : id < 0)
            abort();
    }
    free(line);
    return 0;
}
