/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzzes one account file, FUZZED_FILE (the parser of subgid is that of subuid). Whatever is
 * refused has a reason and leaves the table alone; whatever is accepted holds what
 * table-properties.h says: it comes back byte for byte, its look-ups agree with a walk, drafts of
 * it have the size of their lines, and glibc finds nobody else in it.
 */
#include "tests/unit/table-properties.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "%s\n", what);
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct account_table t = {.n = 77};
    struct problem p = {.status = UIDPOOL_OK};
    /* As much as the parser asks for, and nothing more. */
    char *bytes = malloc(size + 1);
    const char *broken;

    if (!bytes)
        return 0;
    memcpy(bytes, data, size);
    if (table_parse(FUZZED_FILE, bytes, size, &t, &p) != UIDPOOL_OK) {
        require(p.status == UIDPOOL_FAILED && strstr(p.text, account_file_path(FUZZED_FILE)),
                "refused without a reason");
        require(t.n == 77 && !t.lines.data && !t.entries, "refused, and changed");
        return 0;
    }
    broken = table_broken(&t, (const char *)data, size);
    require(!broken, broken);
    table_clear(&t);
    return 0;
}
