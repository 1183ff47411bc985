/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What holds of every account file that is accepted, whatever stands in it: for test-files.c and
 * for the fuzzers. Slow and simple, so that it can be believed. */
#ifndef TESTS_TABLE_PROPERTIES_H
#define TESTS_TABLE_PROPERTIES_H

#include "common/cleanup.h"
#include "provision/files.h"
#include "tests/unit/compose.h"

#include <grp.h>
#include <gshadow.h>
#include <pwd.h>
#include <shadow.h>
#include <stdint.h>
#include <string.h>

static inline bool names_are_same(const struct entry *a, const struct entry *b)
{
    return a->name_length == b->name_length && memcmp(a->name, b->name, a->name_length) == 0;
}

/* Blanks as glibc skips them, and what follows. */
static inline const char *behind_blanks(const char *text)
{
    return text + strspn(text, " \t\n\v\f\r");
}

static inline bool is_nis(const char *line)
{
    return *behind_blanks(line) == '+' || *behind_blanks(line) == '-';
}

static inline bool is_nothing(const char *line)
{
    return *behind_blanks(line) == '\0' || *behind_blanks(line) == '#';
}

/* Every line is one of the three, and the entries stand in the order of the lines. */
static inline const char *lines_broken(const struct account_table *t)
{
    size_t nothing = 0;

    for (size_t i = 0; i < t->lines.n; i++)
        nothing += is_nothing(t->lines.items[i]);
    if (nothing + t->n + t->n_odd != t->lines.n)
        return "a line is neither an entry nor odd nor nothing";
    for (size_t i = 0; i < t->n; i++) {
        const struct entry *e = &t->entries[i];

        if (e->line >= t->lines.n || (i > 0 && t->entries[i - 1].line >= e->line))
            return "entries are not in order";
        if (e->name != t->lines.items[e->line] || e->name_length == 0 ||
            e->name[e->name_length] != ':' || memchr(e->name, ':', e->name_length))
            return "an entry has another name than its line";
    }
    return NULL;
}

static inline const char *add_at_broken(const struct account_table *t)
{
    if (t->add_at > t->lines.n)
        return "new lines are to go behind the end";
    if (t->add_at < t->lines.n && !is_nis(t->lines.items[t->add_at]))
        return "new lines are to go before a line that is not of NIS";
    for (size_t i = t->add_at; i < t->lines.n; i++)
        if (!is_nis(t->lines.items[i]) && !is_nothing(t->lines.items[i]))
            return "new lines are to go before an account";
    for (size_t i = t->add_at; i-- > 0;) {
        if (is_nis(t->lines.items[i]))
            return "new lines are to go between lines of NIS";
        if (!is_nothing(t->lines.items[i]))
            break;
    }
    return NULL;
}

static inline const char *names_broken(const struct account_table *t)
{
    bool is_subid = t->file == FILE_SUBUID || t->file == FILE_SUBGID;

    if (table_by_name(t, ":") || table_has_odd(t, ":"))
        return "somebody is found whom there cannot be";
    for (size_t i = 0; i < t->n; i++) {
        _cleanup_free_ char *name = strndup(t->entries[i].name, t->entries[i].name_length);
        size_t first = 0;

        while (!names_are_same(&t->entries[first], &t->entries[i]))
            first++;
        if (!name || table_by_name(t, name) != &t->entries[first])
            return "a name is not found, or not in its first line";
        if (first != i && !is_subid)
            return "a name is there twice";
    }
    for (size_t i = 0; i < t->n_odd; i++) {
        const char *at = behind_blanks(t->odd[i]);
        _cleanup_free_ char *name = strndup(at, strcspn(at, ":"));

        if (!name || !table_has_odd(t, name))
            return "an odd name is not found";
    }
    return NULL;
}

static inline bool ids_in_order(uint32_t a_id, uint32_t a_line, uint32_t b_id, uint32_t b_line)
{
    return a_id < b_id || (a_id == b_id && a_line < b_line);
}

/* The range of all ids holds all entries, in order. */
static inline const char *order_broken(const struct account_table *t)
{
    const struct entry *last = NULL, *next;

    for (size_t i = 0; i < t->n; i++, last = next) {
        next = table_in_range(t, 0, UINT32_MAX, i);
        if (!next || (last && !ids_in_order(last->id, last->line, next->id, next->line)))
            return "the range of all ids does not hold all of them, in order";
    }
    if (table_in_range(t, 0, UINT32_MAX, t->n))
        return "the range of all ids holds more than there are";
    for (size_t i = 1; i < t->n_odd_ids; i++)
        if (!ids_in_order(t->odd_ids[i - 1].id, t->odd_ids[i - 1].at, t->odd_ids[i].id,
                          t->odd_ids[i].at))
            return "odd ids are not in order";
    return NULL;
}

/* The range of `count` ids from this entry's on, which is in place `at` of all. */
static inline const char *range_broken(const struct account_table *t, size_t at, uint32_t count)
{
    uint32_t id = table_in_range(t, 0, UINT32_MAX, at)->id;
    size_t first = at;

    while (first > 0 && table_in_range(t, 0, UINT32_MAX, first - 1)->id == id)
        first--;
    for (size_t place = 0; place < 3; place++) {
        const struct entry *due = table_in_range(t, 0, UINT32_MAX, first + place);

        if (due && due->id - id >= count)
            due = NULL;
        if (table_in_range(t, id, count, place) != due)
            return "a range does not hold what is in it";
        if (place == 0 && table_by_id(t, id) != due)
            return "an id is not found, or not in its first line";
    }
    return NULL;
}

static inline const char *ids_broken(const struct account_table *t)
{
    const char *broken;

    if (t->file == FILE_SHADOW || t->file == FILE_GSHADOW)
        return t->by_id || t->odd_ids || table_by_id(t, 0) ? "a file without ids has some" : NULL;
    broken = order_broken(t);
    for (size_t i = 0; i < t->n && !broken; i++)
        broken = range_broken(t, i, (uint32_t)i + 1);
    return broken;
}

/* Is what glibc found known, as an entry or as odd? (uid_t)-1 is in no range. */
static inline bool glibc_agrees(const struct account_table *t, const char *name, bool has_id,
                                uint32_t id)
{
    name = behind_blanks(name);
    if (*name == '+' || *name == '-')
        return true;
    for (size_t i = 0; i < t->n; i++)
        if (t->entries[i].name_length == strlen(name) &&
            memcmp(t->entries[i].name, name, strlen(name)) == 0 &&
            (!has_id || t->entries[i].id == id))
            return true;
    return table_has_odd(t, name) &&
           (!has_id || table_odd_in_range(t, id, 1, 0) || id == UINT32_MAX);
}

/* One more of the file to glibc: 1 if it is known here, 0 if not, -1 at the end. */
static inline int glibc_next(const struct account_table *t, FILE *file)
{
    const struct passwd *pw;
    const struct group *gr;
    const struct spwd *sp;
    const struct sgrp *sg;

    if (t->file == FILE_PASSWD)
        return (pw = fgetpwent(file)) ? glibc_agrees(t, pw->pw_name, true, pw->pw_uid) : -1;
    if (t->file == FILE_GROUP)
        return (gr = fgetgrent(file)) ? glibc_agrees(t, gr->gr_name, true, gr->gr_gid) : -1;
    if (t->file == FILE_SHADOW)
        return (sp = fgetspent(file)) ? glibc_agrees(t, sp->sp_namp, false, 0) : -1;
    if (t->file == FILE_GSHADOW)
        return (sg = fgetsgent(file)) ? glibc_agrees(t, sg->sg_namp, false, 0) : -1;
    return -1;
}

/* Nobody whom getpwnam(3) finds in these bytes may be unknown here. They get a newline at the end,
 * for glibc 2.36 misreads a last line without one from memory ("n::12" has gid 122), though not
 * from a file. */
static inline const char *glibc_broken(const struct account_table *t, const char *bytes,
                                       size_t size)
{
    _cleanup_free_ char *copy = malloc(size + 1);
    _cleanup_file_ FILE *file = NULL;
    int known = 1;

    if (!copy)
        return "no memory";
    memcpy(copy, bytes, size);
    copy[size] = '\n';
    file = fmemopen(copy, size + 1, "re");
    while (file && known > 0)
        known = glibc_next(t, file);
    return known == 0 ? "glibc knows somebody who is not known here" : NULL;
}

/* Every second line replaced, and two more. */
static inline const char *drafts_broken(const struct account_table *t, const char *bytes,
                                        size_t size)
{
    _cleanup_(draft_clear) struct draft d = {.add_at = t->add_at};
    _cleanup_free_ char *same = NULL, *more = NULL;
    size_t same_size = 0, more_size = 0, due = size + strlen("a\nseventh\n");

    if (compose(&d, &t->lines, &same, &same_size) < 0 || same_size != size ||
        memcmp(same, bytes, size) != 0)
        return "an unchanged file has changed";
    for (size_t i = t->lines.n / 2; i-- > 0;) {
        due += strlen("four") - strlen(t->lines.items[2 * i + 1]);
        if (draft_replace(&d, 2 * i + 1, "four", "") < 0)
            return "no memory";
    }
    if (t->lines.cut_off && t->add_at == t->lines.n)
        due++;
    if (draft_add(&d, "a") < 0 || draft_add(&d, "seventh") < 0 ||
        compose(&d, &t->lines, &more, &more_size) < 0)
        return "no memory";
    return more_size == due ? NULL : "a draft has another size than its lines";
}

/* What does not hold of the table that these bytes became, or NULL. */
static inline const char *table_broken(const struct account_table *t, const char *bytes,
                                       size_t size)
{
    const char *broken = lines_broken(t);

    if (!broken)
        broken = add_at_broken(t);
    if (!broken)
        broken = names_broken(t);
    if (!broken)
        broken = ids_broken(t);
    if (!broken)
        broken = glibc_broken(t, bytes, size);
    if (!broken)
        broken = drafts_broken(t, bytes, size);
    return broken;
}

#endif
