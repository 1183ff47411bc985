/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A hash table with open addressing, at most half full. The names in it are our own, so nobody can
 * choose them to collide; those that are asked for may be anybody's. */
#include "provision/nameindex.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* FNV-1a. */
static uint64_t hash(const char *name, size_t length)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < length; i++)
        h = (h ^ (unsigned char)name[i]) * UINT64_C(0x100000001b3);
    return h ^ h >> 32;
}

static const char *item_name(const struct nameindex *x, size_t item)
{
    return x->items + item * x->stride;
}

static bool is_called(const struct nameindex *x, size_t item, const char *name, size_t length)
{
    const char *its = item_name(x, item);

    return strncmp(its, name, length) == 0 && its[length] == '\0';
}

/* The slot that holds this name, or that it would go to. */
static uint32_t *find_slot(const struct nameindex *x, const char *name, size_t length)
{
    size_t at = hash(name, length) & (x->n_slots - 1);

    while (x->slots[at] && !is_called(x, x->slots[at] - 1, name, length))
        at = (at + 1) & (x->n_slots - 1);
    return &x->slots[at];
}

int nameindex_make(const void *items, size_t n, size_t stride, struct nameindex *ret,
                   size_t *ret_twice)
{
    struct nameindex x = {.items = items, .stride = stride, .n_slots = 2};
    size_t twice = NAMEINDEX_NONE;

    if (n >= UINT32_MAX / 4)
        return -ENOMEM;
    while (x.n_slots < 2 * n)
        x.n_slots *= 2;
    x.slots = calloc(x.n_slots, sizeof(*x.slots));
    if (!x.slots)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        const char *name = item_name(&x, i);
        uint32_t *slot = find_slot(&x, name, strlen(name));

        if (*slot == 0)
            *slot = (uint32_t)i + 1;
        else if (twice == NAMEINDEX_NONE)
            twice = i;
    }
    *ret = x;
    *ret_twice = twice;
    return 0;
}

void nameindex_clear(struct nameindex *x)
{
    free(x->slots);
    *x = (struct nameindex){0};
}

size_t nameindex_find(const struct nameindex *x, const char *name, size_t length)
{
    uint32_t item = *find_slot(x, name, length);

    return item ? item - 1 : NAMEINDEX_NONE;
}
