/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Lines of fields parted by ':', put together piece by piece. Knows no file and no account. */
#include "provision/linetext.h"

#include <stdlib.h>

bool linetext_grow(struct linetext *t, size_t more)
{
    size_t wanted = (t->size + more + 1) * 2;
    char *data;

    if (t->no_memory)
        return false;
    data = realloc(t->data, wanted);
    if (!data) {
        t->no_memory = true;
        return false;
    }
    t->data = data;
    t->allocated = wanted;
    return true;
}

void linetext_put_number(struct linetext *t, uint32_t number)
{
    char digits[10];
    size_t at = sizeof(digits);

    /* Two at a time: each division waits for the one before. */
    for (; number >= 10; number /= 100) {
        digits[--at] = (char)('0' + number % 10);
        digits[--at] = (char)('0' + number % 100 / 10);
    }
    if (number > 0 || at == sizeof(digits))
        digits[--at] = (char)('0' + number);
    linetext_put(t, digits + at, sizeof(digits) - at);
}

void linetext_put_fields(struct linetext *t, const char *line, const char *const *fields,
                         unsigned n_fields)
{
    for (unsigned i = 0; line; i++) {
        const char *colon = strchr(line, ':');

        if (i > 0)
            linetext_put(t, ":", 1);
        if (i < n_fields && fields[i])
            linetext_put_text(t, fields[i]);
        else
            linetext_put(t, line, colon ? (size_t)(colon - line) : strlen(line));
        line = colon ? colon + 1 : NULL;
    }
}

const char *linetext_end(struct linetext *t)
{
    if (t->no_memory || (t->allocated == t->size && !linetext_grow(t, 0)))
        return NULL;
    t->data[t->size] = '\0';
    return t->data;
}

void linetext_clear(struct linetext *t)
{
    free(t->data);
    *t = (struct linetext){0};
}
