/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bytes to lines and back, and drafts of what is to change between. Touches only memory. */
#include "provision/lines.h"

#include "common/cleanup.h"

#include <errno.h>
#include <string.h>

/* Bytes of a usual line of passwd, rounded down: a first guess at how many lines there are. */
#define USUAL_LENGTH 48

static size_t count_newlines(const char *data, const char *end)
{
    size_t n = 0;

    while ((data = memchr(data, '\n', (size_t)(end - data)))) {
        data++;
        n++;
    }
    return n;
}

/* What no line may hold. `length` bytes without the newline. */
static enum uidpool_status check_line(const char *path, size_t number, const char *line,
                                      size_t length, struct problem *p)
{
    if (length > LINES_LENGTH_MAX)
        return problem_set(p, UIDPOOL_FAILED,
                           "%s, line %zu is longer than %u bytes; mend or remove the line", path,
                           number, LINES_LENGTH_MAX);
    /* Every tool would take it for a part of the last field: a shell that does not exist, a
     * member of another name. */
    if (length > 0 && line[length - 1] == '\r')
        return problem_set(p, UIDPOOL_FAILED,
                           "%s, line %zu ends in a carriage return, as in a file from Windows; "
                           "remove it, from all lines with: sed -i 's/\\r$//' %s",
                           path, number, path);
    return UIDPOOL_OK;
}

static enum uidpool_status check_file(const char *path, const char *data, size_t size,
                                      struct problem *p)
{
    const char *nul;

    if (size > LINES_FILE_MAX)
        return problem_set(p, UIDPOOL_FAILED,
                           "%s is larger than %u bytes; remove what does not belong there", path,
                           LINES_FILE_MAX);
    nul = memchr(data, '\0', size);
    if (!nul)
        return UIDPOOL_OK;
    return problem_set(p, UIDPOOL_FAILED,
                       "%s, line %zu holds a NUL byte, as a loss of power leaves them; mend the "
                       "line, or restore the file from its backup %s-",
                       path, count_newlines(data, nul) + 1, path);
}

static int items_grow(struct lines *l, size_t *allocated)
{
    size_t wanted = *allocated ? 2 * *allocated : l->size / USUAL_LENGTH + 16;
    const char **items = reallocarray(l->items, wanted, sizeof(*items));

    if (!items)
        return -ENOMEM;
    l->items = items;
    *allocated = wanted;
    return 0;
}

static enum uidpool_status take_lines(const char *path, struct lines *l, struct problem *p)
{
    char *at = l->data, *end = l->data + l->size;
    enum uidpool_status status;
    size_t allocated = 0;

    while (at < end) {
        char *newline = memchr(at, '\n', (size_t)(end - at));

        l->cut_off = !newline;
        if (!newline)
            newline = end;
        status = check_line(path, l->n + 1, at, (size_t)(newline - at), p);
        if (status != UIDPOOL_OK)
            return status;
        if (l->n == allocated && items_grow(l, &allocated) < 0)
            return problem_errno(p, -ENOMEM, "cannot read %s", path);
        *newline = '\0';
        l->items[l->n++] = at;
        at = newline + 1;
    }
    return UIDPOOL_OK;
}

enum uidpool_status lines_split(const char *path, char *data, size_t size, struct lines *ret,
                                struct problem *p)
{
    _cleanup_(lines_clear) struct lines l = {.data = data, .size = size};
    enum uidpool_status status;

    status = check_file(path, data, size, p);
    if (status != UIDPOOL_OK)
        return status;
    status = take_lines(path, &l, p);
    if (status != UIDPOOL_OK)
        return status;
    *ret = l;
    l = (struct lines){0};
    return UIDPOOL_OK;
}

void lines_clear(struct lines *l)
{
    free(l->data);
    free(l->items);
    *l = (struct lines){0};
}

/*
 * Drafts.
 */

int draft_add(struct draft *d, const char *line)
{
    size_t length = strlen(line);

    if (memchr(line, '\n', length))
        return -EINVAL;
    if (d->added_allocated - d->added_size < length + 1) {
        size_t wanted = 2 * d->added_allocated + length + 1;
        char *added = realloc(d->added, wanted);

        if (!added)
            return -ENOMEM;
        d->added = added;
        d->added_allocated = wanted;
    }
    memcpy(d->added + d->added_size, line, length);
    d->added[d->added_size + length] = '\n';
    d->added_size += length + 1;
    d->n_added++;
    return 0;
}

/* Where the replacement of this line stands, or would. */
static size_t replaced_find(const struct draft *d, size_t line)
{
    size_t low = 0, high = d->n_replaced;

    /* Most are replaced in the order of the file. */
    if (high == 0 || d->replaced[high - 1].line < line)
        return high;
    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (d->replaced[middle].line < line)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool replaced_has(const struct draft *d, size_t at, size_t line)
{
    return at < d->n_replaced && d->replaced[at].line == line;
}

/* Makes room for one more at this place. Grows at the powers of two, so that the length alone
 * tells what is allocated. */
static int replaced_open(struct draft *d, size_t at)
{
    size_t n = d->n_replaced;

    if ((n & (n - 1)) == 0) {
        struct line_replacement *items = reallocarray(d->replaced, n ? 2 * n : 1, sizeof(*items));

        if (!items)
            return -ENOMEM;
        d->replaced = items;
    }
    memmove(d->replaced + at + 1, d->replaced + at, (n - at) * sizeof(*d->replaced));
    d->replaced[at] = (struct line_replacement){0};
    d->n_replaced++;
    return 0;
}

int draft_replace(struct draft *d, size_t line, const char *text, const char *why)
{
    size_t at = replaced_find(d, line);
    _cleanup_free_ char *copy = NULL;

    if (strchr(text, '\n'))
        return -EINVAL;
    copy = strdup(text);
    if (!copy)
        return -ENOMEM;
    if (!replaced_has(d, at, line) && replaced_open(d, at) < 0)
        return -ENOMEM;
    free(d->replaced[at].text);
    d->replaced[at] = (struct line_replacement){line, take_ptr(copy), why};
    return 0;
}

const char *draft_line(const struct draft *d, const struct lines *l, size_t line)
{
    size_t at = replaced_find(d, line);

    return replaced_has(d, at, line) ? d->replaced[at].text : l->items[line];
}

bool draft_is_empty(const struct draft *d)
{
    return d->n_replaced == 0 && d->n_added == 0;
}

void draft_clear(struct draft *d)
{
    for (size_t i = 0; i < d->n_replaced; i++)
        free(d->replaced[i].text);
    free(d->replaced);
    free(d->added);
    *d = (struct draft){0};
}

/*
 * Composing.
 */

static char *put(char *to, const char *bytes, size_t size)
{
    if (size > 0)
        memcpy(to, bytes, size);
    return to + size;
}

/* Where line `i` begins in the file; for the line behind the last, where the file ends. */
static size_t line_start(const struct lines *l, size_t i)
{
    return i < l->n ? (size_t)(l->items[i] - l->data) : l->size;
}

/* The lines [from, to) as they were. */
static char *put_stretch(char *at, const struct lines *l, size_t from, size_t to)
{
    size_t begin = line_start(l, from);
    char *end = put(at, l->data + begin, line_start(l, to) - begin);

    for (size_t i = from; i < to; i++)
        if (i + 1 < l->n || !l->cut_off)
            at[line_start(l, i + 1) - begin - 1] = '\n';
    return end;
}

/* The lines [from, to), of which some may be replaced; `next` is the first replacement that was
 * not put yet. */
static char *put_lines(char *at, const struct draft *d, const struct lines *l, size_t from,
                       size_t to, size_t *next)
{
    for (; *next < d->n_replaced && d->replaced[*next].line < to; (*next)++) {
        const struct line_replacement *r = &d->replaced[*next];

        at = put_stretch(at, l, from, r->line);
        at = put(at, r->text, strlen(r->text));
        if (r->line + 1 < l->n || !l->cut_off)
            *at++ = '\n';
        from = r->line + 1;
    }
    return put_stretch(at, l, from, to);
}

/* At most so many bytes. */
static size_t kept_size(const struct draft *d, const struct lines *l)
{
    size_t size = l->size + 1;

    for (size_t i = 0; i < d->n_replaced; i++)
        size += strlen(d->replaced[i].text) + 1;
    return size;
}

int draft_compose(const struct draft *d, const struct lines *l, struct draft_text *ret)
{
    size_t add_at = d->add_at < l->n ? d->add_at : l->n, next = 0;
    char *kept = malloc(kept_size(d, l)), *middle, *end;

    if (!kept)
        return -ENOMEM;
    middle = put_lines(kept, d, l, 0, add_at, &next);
    if (add_at == l->n && l->cut_off && d->n_added > 0)
        *middle++ = '\n';
    end = put_lines(middle, d, l, add_at, l->n, &next);
    *ret = (struct draft_text){
        .kept = kept,
        .pieces = {{kept, (size_t)(middle - kept)},
                   {d->added, d->added_size},
                   {middle, (size_t)(end - middle)}},
    };
    return 0;
}
