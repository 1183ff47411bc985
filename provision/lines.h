/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A text file as lines, so that what is not ours goes back byte for byte: odd lines, comments,
 * their order, and a missing newline at the end. Knows nothing of accounts. */
#ifndef PROVISION_LINES_H
#define PROVISION_LINES_H

#include "common/problem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* Longer lines are refused: no account, and no group of all of a pool's accounts, is that long. */
#define LINES_LENGTH_MAX (1024u * 1024u)
/* Bytes; a larger file is refused. 2^18 accounts fit. */
#define LINES_FILE_MAX (64u * 1024u * 1024u)

struct lines {
    char *data;         /* every newline has become a NUL */
    size_t size;        /* bytes, without the NUL that was put behind the last line */
    const char **items; /* the lines, without newlines */
    size_t n;
    bool cut_off; /* the last line has no newline */
};

/* Take `data` (size bytes, and room for one more) apart; it belongs to *ret, or is freed on
 * failure. UIDPOOL_FAILED names `path` and the line: a NUL, a carriage return before the newline, a
 * line or a file too long. */
enum uidpool_status lines_split(const char *path, char *data, size_t size, struct lines *ret,
                                struct problem *p);
void lines_clear(struct lines *l);

/* A draft of the same file: some lines replaced, some added before line `add_at`. */
struct line_replacement {
    size_t line;     /* index into items */
    char *text;      /* without newline; owned by whoever owns the draft */
    const char *why; /* static */
};

struct draft {
    struct line_replacement *replaced; /* in order of line */
    size_t n_replaced;
    char *added; /* whole lines, each with its newline */
    size_t added_size, added_allocated;
    size_t n_added;
    size_t add_at; /* added lines stand before this one; lines.n: at the end */
};

/* 0, -ENOMEM, or -EINVAL: more than one line, which would be a way to slip in an account. */
int draft_add(struct draft *d, const char *line);
/* Replace a line; a second replacement of the same line takes the place of the first. `text` is
 * copied. Cheap in the order of the file. 0, -ENOMEM or -EINVAL as above. */
int draft_replace(struct draft *d, size_t line, const char *text, const char *why);
/* The line as the draft has it. */
const char *draft_line(const struct draft *d, const struct lines *l, size_t line);
bool draft_is_empty(const struct draft *d);
void draft_clear(struct draft *d);
/* The whole new file, in pieces, as 32,752 added lines are not copied once more. A line without
 * newline gets one if something is added behind it. `kept` is the caller's to free; the pieces live
 * as long as it and the draft do. 0 or -ENOMEM. */
struct draft_text {
    char *kept; /* the old lines, some of them replaced */
    struct iovec pieces[3];
};
int draft_compose(const struct draft *d, const struct lines *l, struct draft_text *ret);

#endif
