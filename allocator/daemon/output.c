/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One buffer, since answers are small and mostly taken at once. The caller sees to it that not too
 * much waits. */
#include "allocator/daemon/output.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* What may be kept while nothing waits. */
#define OUTPUT_SMALL 4096

int output_add(struct output *o, const char *data, size_t size)
{
    size_t waiting = output_waiting(o), wanted = o->capacity ? o->capacity : OUTPUT_SMALL;
    char *bigger;

    if (size > SIZE_MAX / 4 - waiting)
        return -ENOMEM;
    while (wanted < waiting + size)
        wanted *= 2;
    if (wanted > o->capacity) {
        bigger = realloc(o->data, wanted);
        if (!bigger)
            return -ENOMEM;
        o->data = bigger;
        o->capacity = wanted;
    }
    if (o->start > 0) {
        memmove(o->data, o->data + o->start, waiting);
        o->start = 0;
        o->end = waiting;
    }
    memcpy(o->data + o->end, data, size);
    o->end += size;
    return 0;
}

void output_clear(struct output *o)
{
    free(o->data);
    *o = (struct output){0};
}

long output_send(struct output *o, int fd)
{
    ssize_t n;

    if (output_waiting(o) == 0)
        return 0;
    n = send(fd, o->data + o->start, output_waiting(o), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    o->start += (size_t)n;
    if (o->start == o->end) {
        o->start = o->end = 0;
        if (o->capacity > OUTPUT_SMALL)
            output_clear(o);
    }
    return n;
}
