/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzzes the messages of the helper for xenstore: what is understood can be said again, and is then
 * understood as the same. */
#include "allocator/daemon/xenwatch.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[XENWATCH_MESSAGE_MAX + 16] = "", once[XENWATCH_MESSAGE_MAX],
                                     twice[XENWATCH_MESSAGE_MAX];
    struct xenwatch_message m = {.n_wanted = 7};

    if (size >= sizeof(text))
        return 0;
    memcpy(text, data, size);
    if (xenwatch_read(text, &m) < 0) {
        if (m.n_wanted != 7)
            abort();
        return 0;
    }
    if (m.domid < 0 || m.domid > DOMID_LAST || (m.uid != UIDPOOL_NO_UID && !uid_is_usable(m.uid)) ||
        m.n_wanted > XENWATCH_WANT_MAX || (m.name[0] && !name_is_valid(m.name)))
        abort();
    if (xenwatch_write(&m, once) != strlen(once) || xenwatch_read(once, &m) < 0 ||
        xenwatch_write(&m, twice) != strlen(twice) || strcmp(once, twice) != 0)
        abort();
    return 0;
}
