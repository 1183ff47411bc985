/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A list of findings. Touches only the list that it is given. */
#include "provision/findings.h"

#include "common/cleanup.h"
#include "common/log.h"

#include <stdarg.h>

/* Doubles at the powers of two, so that the length alone tells what is allocated. */
static bool findings_grow(struct findings *f)
{
    struct finding *items;

    if ((f->n & (f->n - 1)) != 0)
        return true;
    items = reallocarray(f->items, f->n ? 2 * f->n : 1, sizeof(*items));
    if (!items)
        return false;
    f->items = items;
    return true;
}

void findings_add(struct findings *f, enum finding_kind kind, const char *format, ...)
{
    _cleanup_free_ char *text = NULL;
    va_list ap;
    int r;

    va_start(ap, format);
    r = vasprintf(&text, format, ap);
    va_end(ap);
    if (r < 0)
        text = NULL; /* undefined after a failure: asprintf(3) */
    if (!text || !findings_grow(f)) {
        f->no_memory = true;
        return;
    }
    text_make_printable(text);
    f->items[f->n++] = (struct finding){.kind = kind, .text = take_ptr(text)};
}

size_t findings_count(const struct findings *f, enum finding_kind kind)
{
    size_t count = 0;

    for (size_t i = 0; i < f->n; i++)
        count += f->items[i].kind == kind;
    return count;
}

void findings_clear(struct findings *f)
{
    for (size_t i = 0; i < f->n; i++)
        free(f->items[i].text);
    free(f->items);
    *f = (struct findings){0};
}
