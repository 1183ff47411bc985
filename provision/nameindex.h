/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which of the wanted users or groups has this name? Asked for every line of every file, so that a
 * plan takes as long as its files are, whatever they are about. */
#ifndef PROVISION_NAMEINDEX_H
#define PROVISION_NAMEINDEX_H

#include <stddef.h>
#include <stdint.h>

#define NAMEINDEX_NONE SIZE_MAX
/* Bytes of a name with the NUL, and NULs behind it. */
#define NAMEINDEX_NAME_SIZE 32

struct nameindex {
    const char *items;
    size_t stride;
    uint32_t *slots; /* 1 + the item's number; 0: nobody */
    size_t n_slots;  /* a power of two */
};

/* Over `n` items of `stride` bytes, each of which begins with its name in NAMEINDEX_NAME_SIZE
 * bytes; they must outlive the index. *ret_twice is the first whose name an earlier one has, or
 * NAMEINDEX_NONE. 0 or -ENOMEM. */
int nameindex_make(const void *items, size_t n, size_t stride, struct nameindex *ret,
                   size_t *ret_twice);
void nameindex_clear(struct nameindex *x);

/* The item's number, or NAMEINDEX_NONE. `name` has `length` bytes. */
size_t nameindex_find(const struct nameindex *x, const char *name, size_t length);

#endif
