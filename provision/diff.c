/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A unified diff made from a draft, which knows what changes: nothing is compared. Reads a table
 * and a draft, writes to the stream that it is given. */
#include "provision/diff.h"

#include "common/cleanup.h"
#include "common/log.h"

#include <errno.h>
#include <string.h>

/* Lines of context, as diff -u has them. */
#define CONTEXT 3

#define HIDDEN "<not shown>"
#define PASSWORD "<password>"

/* Fields of a whole line. */
static unsigned fields_of(enum account_file file)
{
    static const unsigned fields[ACCOUNT_FILES] = {
        [FILE_SUBUID] = 3,  [FILE_SUBGID] = 3, [FILE_GROUP] = 4,
        [FILE_GSHADOW] = 4, [FILE_PASSWD] = 7, [FILE_SHADOW] = 9,
    };

    return fields[file];
}

static unsigned count_fields(const char *line)
{
    unsigned n = 1;

    while ((line = strchr(line, ':'))) {
        line++;
        n++;
    }
    return n;
}

/* Nothing, a lock sign, or the sign that the password stands in another file. */
static bool tells_nothing(const char *field, size_t length)
{
    return (length == 1 && field[0] == 'x') || strspn(field, "!*") >= length;
}

/* Which bytes of the line are a secret, and what is shown for them. No bytes: none are. */
static const char *find_secret(enum account_file file, const char *line, size_t *ret_length)
{
    bool is_shadow = file == FILE_SHADOW || file == FILE_GSHADOW;
    const char *colon = strchr(line, ':'), *field;

    *ret_length = 0;
    if (file == FILE_SUBUID || file == FILE_SUBGID)
        return line;
    /* Nobody knows what stands where in a line that is none of ours to understand. */
    if (is_shadow && (line[0] == '#' || count_fields(line) != fields_of(file))) {
        field = line[0] == '#' || !colon ? line : colon + 1;
        *ret_length = strlen(field);
        return field;
    }
    if (!colon)
        return line;
    field = colon + 1;
    *ret_length = strcspn(field, ":");
    if (tells_nothing(field, *ret_length))
        *ret_length = 0;
    return field;
}

static const char *secret_sign(enum account_file file, const char *line)
{
    return count_fields(line) == fields_of(file) && line[0] != '#' ? PASSWORD : HIDDEN;
}

/* Not in the middle of a character. */
static void cut_line(char *line, size_t limit)
{
    if (strlen(line) <= limit)
        return;
    while (limit > 0 && ((unsigned char)line[limit] & 0xc0) == 0x80)
        limit--;
    /* Over what is cut off; where that is shorter than the dots, so are they. */
    for (unsigned i = 0; i < 3 && line[limit]; i++)
        line[limit++] = '.';
    line[limit] = '\0';
}

int diff_show_line(enum account_file file, const char *line, size_t limit, char **ret)
{
    size_t secret;
    const char *at = find_secret(file, line, &secret);
    char *shown;

    if (secret == 0)
        shown = strdup(line);
    else if (asprintf(&shown, "%.*s%s%s", (int)(at - line), line, secret_sign(file, line),
                      at + secret) < 0)
        shown = NULL;
    if (!shown)
        return -ENOMEM;
    text_make_printable(shown);
    if (limit > 0)
        cut_line(shown, limit);
    *ret = shown;
    return 0;
}

/* One file's diff while it is printed. */
struct diff {
    FILE *to;
    const struct account_table *table;
    const struct draft *draft;
    size_t add_at;
    bool completed;    /* the last line gets its missing newline, as lines are added behind it */
    size_t replaced;   /* replacements that were met already */
    bool added, ended; /* and the block of added lines, and that last line */
    size_t shift;      /* lines added so far */
};

static size_t lines_of(const struct diff *d)
{
    return d->table->lines.n;
}

/* The replacement of this line, or NULL. */
static const struct line_replacement *replacement_of(const struct diff *d, size_t line)
{
    size_t low = 0, high = d->draft->n_replaced;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (d->draft->replaced[middle].line < line)
            low = middle + 1;
        else
            high = middle;
    }
    return low < d->draft->n_replaced && d->draft->replaced[low].line == line
               ? &d->draft->replaced[low]
               : NULL;
}

static bool is_replaced(const struct diff *d, size_t line)
{
    return (d->completed && line + 1 == lines_of(d)) || replacement_of(d, line);
}

/* The next place that changes: *ret_end is behind it, and is *ret_first where lines are added
 * alone. `take` it, or only look. */
static bool next_change(struct diff *d, bool take, size_t *ret_first, size_t *ret_end)
{
    const struct draft *draft = d->draft;
    size_t replaced =
        d->replaced < draft->n_replaced ? draft->replaced[d->replaced].line : SIZE_MAX;
    size_t added = d->added || draft->n_added == 0 ? SIZE_MAX : d->add_at;
    size_t last = d->ended || !d->completed ? SIZE_MAX : lines_of(d) - 1;
    size_t first = replaced < last ? replaced : last;
    bool is_added = added <= first;

    if (is_added)
        first = added;
    if (first == SIZE_MAX)
        return false;
    *ret_first = first;
    *ret_end = is_added ? first : first + 1;
    if (take) {
        d->added |= is_added;
        d->replaced += !is_added && first == replaced;
        d->ended |= !is_added && first == last;
    }
    return true;
}

static int print_line(struct diff *d, char sign, const char *line)
{
    _cleanup_free_ char *shown = NULL;
    int r = diff_show_line(d->table->file, line, DIFF_LINE_MAX, &shown);

    if (r < 0)
        return r;
    fprintf(d->to, "%c%s\n", sign, shown);
    return 0;
}

/* The last line of a file that has no newline there. */
static void print_cut_off(struct diff *d, size_t line)
{
    if (d->table->lines.cut_off && line + 1 == lines_of(d))
        fputs("\\ No newline at end of file\n", d->to);
}

/* 32,752 */
static void print_count(FILE *to, size_t n)
{
    char digits[24];
    int length = snprintf(digits, sizeof(digits), "%zu", n);

    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0)
            fputc(',', to);
        fputc(digits[i], to);
    }
}

static void print_more(struct diff *d, char sign, size_t n)
{
    fprintf(d->to, "%c... ", sign);
    print_count(d->to, n);
    fprintf(d->to, " more line%s like %s\n", n == 1 ? "" : "s", n == 1 ? "this" : "these");
}

/* A block of lines with one sign, of which some may be left to be shown. */
struct block {
    char sign;
    size_t left, hidden;
};

static struct block block_begin(char sign, size_t n)
{
    /* One line more takes as much room as saying so. */
    size_t shown = n <= DIFF_BLOCK_MAX + 1 ? n : DIFF_BLOCK_MAX;

    return (struct block){sign, shown, n - shown};
}

static int block_print(struct diff *d, struct block *b, const char *line)
{
    if (b->left == 0)
        return 0;
    b->left--;
    return print_line(d, b->sign, line);
}

static void block_end(struct diff *d, const struct block *b)
{
    if (b->hidden > 0)
        print_more(d, b->sign, b->hidden);
}

static int print_added(struct diff *d, struct block *b)
{
    const char *line = d->draft->added, *end = line + d->draft->added_size;

    while (line < end && b->left > 0) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        _cleanup_free_ char *copy = strndup(line, (size_t)(newline - line));
        int r = copy ? block_print(d, b, copy) : -ENOMEM;

        if (r < 0)
            return r;
        line = newline + 1;
    }
    return 0;
}

/* The lines [first, end), all replaced, and the added ones if they belong before, among or behind
 * them. */
static int print_change(struct diff *d, size_t first, size_t end, bool added)
{
    struct block old = block_begin('-', end - first);
    struct block new = block_begin('+', end - first + (added ? d->draft->n_added : 0));
    int r = 0;

    for (size_t i = first; i < end && r == 0; i++)
        r = block_print(d, &old, d->table->lines.items[i]);
    block_end(d, &old);
    if (end > first)
        print_cut_off(d, end - 1);
    for (size_t i = first; i <= end && r == 0; i++) {
        if (added && i == d->add_at)
            r = print_added(d, &new);
        if (r == 0 && i < end)
            r = block_print(d, &new, draft_line(d->draft, &d->table->lines, i));
    }
    block_end(d, &new);
    if (end > first && !d->completed)
        print_cut_off(d, end - 1);
    return r;
}

/* "12,3", as diff writes it. */
static void print_range(FILE *to, char sign, size_t first, size_t n)
{
    fprintf(to, " %c%zu", sign, n == 0 ? first : first + 1);
    if (n != 1)
        fprintf(to, ",%zu", n);
}

/* The lines [first, end) with all that changes among them. `added`: the added ones too. */
static int print_hunk(struct diff *d, size_t first, size_t end, bool added, const char *why)
{
    size_t n_added = added ? d->draft->n_added : 0;

    fputs("@@", d->to);
    print_range(d->to, '-', first, end - first);
    print_range(d->to, '+', first + d->shift, end - first + n_added);
    fprintf(d->to, " @@%s%s\n", why ? " " : "", why ? why : "");
    d->shift += n_added;
    for (size_t i = first; i < end || (added && i == end);) {
        size_t behind = i;
        bool here;
        int r;

        while (behind < end && is_replaced(d, behind))
            behind++;
        here = added && d->add_at >= i && d->add_at <= behind;
        if (here || behind > i) {
            r = print_change(d, i, behind, here);
            added &= !here;
        } else {
            r = print_line(d, ' ', d->table->lines.items[behind]);
            print_cut_off(d, behind++);
        }
        if (r < 0)
            return r;
        i = behind;
    }
    return 0;
}

/* Changes that are so near to each other that their context meets make one hunk. */
static bool next_hunk(struct diff *d, size_t *ret_first, size_t *ret_end, bool *ret_added,
                      const char **ret_why)
{
    bool added_before = d->added;
    size_t replaced_before = d->replaced;
    size_t first, end, next, behind;

    if (!next_change(d, true, &first, &end))
        return false;
    while (next_change(d, false, &next, &behind) && next - end <= 2 * CONTEXT) {
        (void)next_change(d, true, &next, &behind);
        end = behind;
    }
    *ret_first = first > CONTEXT ? first - CONTEXT : 0;
    *ret_end = lines_of(d) - end > CONTEXT ? end + CONTEXT : lines_of(d);
    *ret_added = d->added && !added_before;
    *ret_why = d->replaced > replaced_before ? d->draft->replaced[replaced_before].why : NULL;
    return true;
}

int diff_print(FILE *to, const struct account_table *table, const struct draft *draft)
{
    struct diff d = {.to = to, .table = table, .draft = draft};
    const char *path = account_file_path(table->file), *why;
    size_t first, end;
    bool added;

    if (draft_is_empty(draft))
        return 0;
    d.add_at = draft->add_at < lines_of(&d) ? draft->add_at : lines_of(&d);
    d.completed = table->lines.cut_off && draft->n_added > 0 && d.add_at == lines_of(&d);
    fprintf(to, "--- %s\n+++ %s\n", path, path);
    while (next_hunk(&d, &first, &end, &added, &why)) {
        int r = print_hunk(&d, first, end, added, why);

        if (r < 0)
            return r;
    }
    return 0;
}
