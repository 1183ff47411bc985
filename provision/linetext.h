/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One line of an account file while it is written: a buffer that is used for every line. A hundred
 * thousand lines have to cost no more than writing them to the disk, so nothing here is printf(3).
 */
#ifndef PROVISION_LINETEXT_H
#define PROVISION_LINETEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Begin with all zero. */
struct linetext {
    char *data;
    size_t size, allocated;
    bool no_memory; /* sticky, as callers ask once, at the end */
};

/* Room for `more` bytes and a NUL; false: no memory. */
bool linetext_grow(struct linetext *t, size_t more);

static inline void linetext_begin(struct linetext *t)
{
    t->size = 0;
}

static inline void linetext_put(struct linetext *t, const char *bytes, size_t n)
{
    if (t->allocated - t->size <= n && !linetext_grow(t, n))
        return;
    memcpy(t->data + t->size, bytes, n);
    t->size += n;
}

static inline void linetext_put_text(struct linetext *t, const char *text)
{
    linetext_put(t, text, strlen(text));
}

void linetext_put_number(struct linetext *t, uint32_t number);
/* `line` again, where fields[i] is not NULL with that as field i, from 0. */
void linetext_put_fields(struct linetext *t, const char *line, const char *const *fields,
                         unsigned n_fields);
/* The line, valid until the next one begins. NULL: no memory. */
const char *linetext_end(struct linetext *t);
void linetext_clear(struct linetext *t);

#endif
