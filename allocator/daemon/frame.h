/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Varlink's framing: messages are texts, each ended by a NUL. Bytes in, whole messages out. Knows
 * no JSON and no socket. Source: varlink.org, "Transport". */
#ifndef DAEMON_FRAME_H
#define DAEMON_FRAME_H

#include <stdbool.h>
#include <stddef.h>

/* What has come in and was not taken yet. */
struct frame;

/* At most `limit` bytes of a message, without its NUL. NULL: no memory. */
struct frame *frame_new(size_t limit);
void frame_free(struct frame *f);

/* Room for the next bytes from the peer: *ret of so many bytes, never 0 as long as the message at
 * hand is not too long. Nothing is lost that is in it already. -EMSGSIZE: a message is longer than
 * the limit; -ENOMEM; -EBUSY: a whole one waits. */
int frame_room(struct frame *f, char **ret, size_t *ret_size);
/* So many bytes were put there. */
void frame_filled(struct frame *f, size_t n);

/* The next whole message: *ret of *ret_size bytes without the NUL (which follows it), valid until
 * the next call of any other function. False: there is none yet. Call until false. */
bool frame_take(struct frame *f, const char **ret, size_t *ret_size);

/* Does a whole message wait to be taken? */
bool frame_is_whole(struct frame *f);

/* Bytes of a message whose NUL has not come. */
size_t frame_pending(struct frame *f);

#endif
