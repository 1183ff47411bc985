/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One buffer that never holds more than a longest message and its NUL: so that a peer that sends
 * without end is noticed at the limit, whatever it sends. */
#include "allocator/daemon/frame.h"

#include "common/cleanup.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

/* To begin with, and what an idle peer may keep. */
#define FRAME_SMALL 2048

struct frame {
    size_t limit;
    char *data;
    size_t capacity; /* at most limit + 1 */
    size_t start;    /* of the message at hand */
    size_t searched; /* no NUL from `start` to here */
    size_t end;
};

struct frame *frame_new(size_t limit)
{
    struct frame *f;

    if (limit >= SIZE_MAX / 2)
        return NULL;
    f = calloc(1, sizeof(*f));
    if (f)
        f->limit = limit;
    return f;
}

void frame_free(struct frame *f)
{
    if (!f)
        return;
    free(f->data);
    free(f);
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Costs no more than what came with the messages that were taken: their rest moves once. */
static void move_to_front(struct frame *f)
{
    if (f->start == 0)
        return;
    memmove(f->data, f->data + f->start, f->end - f->start);
    f->searched -= f->start;
    f->end -= f->start;
    f->start = 0;
}

static int grow(struct frame *f)
{
    size_t most = f->limit + 1;
    size_t wanted = f->capacity ? f->capacity : least(FRAME_SMALL, most);
    char *data;

    while (wanted < most && wanted - f->end < wanted / 2)
        wanted = least(wanted * 2, most);
    if (wanted == f->capacity)
        return 0;
    data = realloc(f->data, wanted);
    if (!data)
        return -ENOMEM;
    f->data = data;
    f->capacity = wanted;
    return 0;
}

/* A peer that said much once keeps no buffer for it. */
static void forget_all(struct frame *f)
{
    f->start = f->searched = f->end = 0;
    if (f->capacity > FRAME_SMALL) {
        free(f->data);
        f->data = NULL;
        f->capacity = 0;
    }
}

/* No byte is looked at twice: `searched` stays at the NUL that was found. */
static const char *find_nul(struct frame *f)
{
    const char *nul = NULL;

    if (f->searched < f->end)
        nul = memchr(f->data + f->searched, '\0', f->end - f->searched);
    f->searched = nul ? (size_t)(nul - f->data) : f->end;
    return nul;
}

bool frame_is_whole(struct frame *f)
{
    if (f->start == f->end)
        forget_all(f);
    return find_nul(f) != NULL;
}

int frame_room(struct frame *f, char **ret, size_t *ret_size)
{
    int r;

    if (find_nul(f))
        return -EBUSY;
    move_to_front(f);
    if (f->end > f->limit)
        return -EMSGSIZE;
    r = grow(f);
    if (r < 0)
        return r;
    *ret = f->data + f->end;
    *ret_size = f->capacity - f->end;
    return 0;
}

void frame_filled(struct frame *f, size_t n)
{
    f->end += least(n, f->capacity - f->end);
}

bool frame_take(struct frame *f, const char **ret, size_t *ret_size)
{
    const char *nul;

    if (!frame_is_whole(f))
        return false;
    nul = f->data + f->searched;
    *ret = f->data + f->start;
    *ret_size = (size_t)(nul - *ret);
    f->start = ++f->searched;
    return true;
}

size_t frame_pending(struct frame *f)
{
    const char *nul = find_nul(f);

    if (nul)
        nul = memrchr(nul, '\0', f->end - f->searched);
    return nul ? f->end - (size_t)(nul - f->data) - 1 : f->end - f->start;
}
