/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A hash table with open addressing, at most half full. The names in it are our own, so nobody can
 * choose them to collide; those that are asked for may be anybody's. */
#include "provision/nameindex.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Eight bytes at a step: names of accounts differ at their ends, by a digit. */
static uint64_t hash(const char name[static NAMEINDEX_NAME_SIZE])
{
    uint64_t h = 0, part;

    for (size_t i = 0; i < NAMEINDEX_NAME_SIZE; i += sizeof(part)) {
        memcpy(&part, name + i, sizeof(part));
        h = (h ^ part) * UINT64_C(0x9e3779b97f4a7c15);
        h ^= h >> 32;
    }
    return h;
}

static const char *item_name(const struct nameindex *x, size_t item)
{
    return x->items + item * x->stride;
}

/* The slot that holds this name, or that it would go to. */
static uint32_t *find_slot(const struct nameindex *x, const char name[static NAMEINDEX_NAME_SIZE])
{
    size_t at = hash(name) & (x->n_slots - 1);

    while (x->slots[at] && memcmp(item_name(x, x->slots[at] - 1), name, NAMEINDEX_NAME_SIZE) != 0)
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
        uint32_t *slot = find_slot(&x, item_name(&x, i));

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
    char padded[NAMEINDEX_NAME_SIZE] = "";
    uint32_t item;

    if (length >= sizeof(padded))
        return NAMEINDEX_NONE;
    memcpy(padded, name, length);
    item = *find_slot(x, padded);
    return item ? item - 1 : NAMEINDEX_NONE;
}
