/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A draft's whole text in one piece, for tests that compare it. */
#ifndef UNIT_COMPOSE_H
#define UNIT_COMPOSE_H

#include "common/cleanup.h"
#include "provision/lines.h"

#include <errno.h>
#include <string.h>

/* 0 or -ENOMEM; *ret is the caller's to free. */
static inline int compose(const struct draft *d, const struct lines *l, char **ret,
                          size_t *ret_size)
{
    struct draft_text text;
    size_t size = 0;
    char *whole;

    if (draft_compose(d, l, &text) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < ELEMENTS_OF(text.pieces); i++)
        size += text.pieces[i].iov_len;
    whole = malloc(size + 1);
    if (!whole) {
        free(text.kept);
        return -ENOMEM;
    }
    *ret = whole;
    *ret_size = size;
    for (size_t i = 0; i < ELEMENTS_OF(text.pieces); i++)
        if (text.pieces[i].iov_len > 0)
            whole = mempcpy(whole, text.pieces[i].iov_base, text.pieces[i].iov_len);
    free(text.kept);
    return 0;
}

#endif
