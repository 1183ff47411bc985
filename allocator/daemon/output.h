/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bytes that wait until a peer takes them. */
#ifndef DAEMON_OUTPUT_H
#define DAEMON_OUTPUT_H

#include <stddef.h>

struct output {
    char *data;
    size_t capacity, start, end;
};

/* 0 or -ENOMEM: then nothing was added. */
int output_add(struct output *o, const char *data, size_t size);
static inline size_t output_waiting(const struct output *o)
{
    return o->end - o->start;
}
/* Give the socket what it takes now, without waiting. How much that was, or a negative errno
 * (-EPIPE: nobody reads any more), after which all still waits. */
long output_send(struct output *o, int fd);
void output_clear(struct output *o);

#endif
