/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzzes the framing: the text's first bytes say the limit and how it is cut. What comes out is
 * what went in between the NULs, and nothing is ever longer than the limit.
 */
#include "allocator/daemon/frame.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

/* All that is whole: `from` is what has to come next. */
static const uint8_t *take_all(struct frame *f, const uint8_t *from, const uint8_t *end)
{
    const char *message;
    size_t size;

    while (frame_take(f, &message, &size)) {
        require(size < (size_t)(end - from));
        require(memcmp(message, from, size + 1) == 0 && message[size] == '\0');
        require(memchr(message, '\0', size) == NULL);
        from += size + 1;
    }
    require(!frame_is_whole(f));
    require(frame_pending(f) == (size_t)(end - from));
    return from;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = data + size, *taken;
    size_t limit, step, room;
    struct frame *f;
    char *to;
    int r;

    if (size < 3)
        return 0;
    limit = (size_t)data[0] * 8 + data[1] % 8;
    step = (size_t)data[2] + 1;
    f = frame_new(limit);
    if (!f)
        return 0;
    taken = data += 3;
    while (data < end) {
        size_t n = (size_t)(end - data) < step ? (size_t)(end - data) : step;

        r = frame_room(f, &to, &room);
        require(r == 0 || (r == -EMSGSIZE && (size_t)(data - taken) > limit));
        if (r < 0)
            break;
        require(room > 0 && room <= limit + 1);
        n = n < room ? n : room;
        memcpy(to, data, n);
        frame_filled(f, n);
        data += n;
        taken = take_all(f, taken, data);
    }
    frame_free(f);
    return 0;
}
