/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Ranges in a list, names in a tree. Touches nothing. */
#include "provision/memory.h"

#include "common/cleanup.h"

#include <search.h>
#include <string.h>

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

bool memory_has_range(const struct memory *m, enum memory_of of, struct uid_range range)
{
    for (size_t i = 0; m && i < m->clear[of].n; i++)
        if (m->clear[of].ranges[i].first == range.first &&
            m->clear[of].ranges[i].count == range.count)
            return true;
    return false;
}

void memory_keep_range(struct memory *m, enum memory_of of, struct uid_range range)
{
    if (m && m->clear[of].n < MEMORY_RANGES && !memory_has_range(m, of, range))
        m->clear[of].ranges[m->clear[of].n++] = range;
}

bool memory_has_name(const struct memory *m, const char *name)
{
    return m && tfind(name, &m->names, compare_names);
}

void memory_keep_name(struct memory *m, const char *name)
{
    _cleanup_free_ char *copy = NULL;

    if (!m || memory_has_name(m, name))
        return;
    /* Without room for it, it will be asked for again. */
    copy = strdup(name);
    if (copy && tsearch(copy, &m->names, compare_names))
        (void)take_ptr(copy);
}

void memory_clear(struct memory *m)
{
    tdestroy(m->names, free);
    *m = (struct memory){0};
}
