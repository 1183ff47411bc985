/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The lines of one account file, understood: who stands there, on which id, and what is odd. One
 * pass over the bytes and one allocation an array. Touches only memory.
 */
#include "provision/files.h"

#include "allocator/hostrange.h"
#include "common/cleanup.h"
#include "common/ids.h"

#include <errno.h>
#include <string.h>

#define FIELDS_MAX 9

/* (uid_t)-1 is no user at all: setuid(2) and chown(2) take it for "leave it as it is". */
#define ID_LAST (UINT32_MAX - 1)

static const struct {
    const char *name, *path;
    const char *id;     /* what its third field is called, or NULL */
    const char *mender; /* who finds and removes what is twice there */
    unsigned fields;
} kinds[ACCOUNT_FILES] = {
    [FILE_SUBUID] = {"subuid", FILES_DIRECTORY "/subuid", NULL, NULL, 3},
    [FILE_SUBGID] = {"subgid", FILES_DIRECTORY "/subgid", NULL, NULL, 3},
    [FILE_GROUP] = {"group", FILES_DIRECTORY "/group", "gid", "grpck", 4},
    [FILE_GSHADOW] = {"gshadow", FILES_DIRECTORY "/gshadow", NULL, "grpck", 4},
    [FILE_PASSWD] = {"passwd", FILES_DIRECTORY "/passwd", "uid", "pwck", 7},
    [FILE_SHADOW] = {"shadow", FILES_DIRECTORY "/shadow", NULL, "pwck", 9},
};

const char *account_file_name(enum account_file file)
{
    return kinds[file].name;
}

const char *account_file_path(enum account_file file)
{
    return kinds[file].path;
}

/* As many bytes of a name as fit into a message. */
static int shown(size_t length)
{
    return length < 64 ? (int)length : 64;
}

static bool file_is_subid(enum account_file file)
{
    return file == FILE_SUBUID || file == FILE_SUBGID;
}

/*
 * Fields.
 */

struct field {
    const char *at;
    size_t length;
};

/* The fields of a line that has exactly this many. */
static bool fields_part(const char *line, unsigned wanted, struct field ret[static FIELDS_MAX])
{
    for (unsigned i = 0; i < wanted; i++) {
        const char *end = strchrnul(line, ':');

        ret[i] = (struct field){line, (size_t)(end - line)};
        if (*end == '\0')
            return i + 1 == wanted;
        line = end + 1;
    }
    return false;
}

const char *line_field(const char *line, unsigned n, size_t *ret_length)
{
    while (n-- > 0) {
        line = strchr(line, ':');
        if (!line)
            return NULL;
        line++;
    }
    *ret_length = (size_t)(strchrnul(line, ':') - line);
    return line;
}

bool line_field_is(const char *line, unsigned n, const char *text)
{
    size_t length = 0;
    const char *field = line_field(line, n, &length);

    return field && strlen(text) == length && memcmp(field, text, length) == 0;
}

/* As glibc skips them before a line: isspace(3). */
static const char *skip_blanks(const char *line)
{
    while (*line == ' ' || (*line >= '\t' && *line <= '\r'))
        line++;
    return line;
}

static bool line_is_nis(const char *line)
{
    line = skip_blanks(line);
    return *line == '+' || *line == '-';
}

static bool line_is_nothing(const char *line)
{
    line = skip_blanks(line);
    return *line == '\0' || *line == '#';
}

bool entry_is_guard(const struct entry *e)
{
    return e->name_length == strlen(HOSTRANGE_GUARD) &&
           memcmp(e->name, HOSTRANGE_GUARD, e->name_length) == 0;
}

/*
 * Numbers.
 */

/* A field that holds nothing but a plain number. */
static bool field_number(const char *at, size_t length, uint64_t *ret)
{
    char digits[24];

    if (length >= sizeof(digits))
        return false;
    memcpy(digits, at, length);
    digits[length] = '\0';
    return parse_u64(digits, UINT64_MAX, ret) == 0;
}

/* The id of an odd line as glibc reads it, by strtoul(3): behind blanks, a sign, and zeros. With a
 * minus it is counted back from 2^64. */
static bool odd_number(const char *line, uint32_t *ret)
{
    size_t length = 0;
    const char *at = line_field(line, 2, &length), *digits;
    uint64_t value;
    bool minus;

    if (!at)
        return false;
    digits = skip_blanks(at);
    minus = *digits == '-';
    digits += minus || *digits == '+';
    while (digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9')
        digits++;
    if (!field_number(digits, (size_t)(at + length - digits), &value))
        return false;
    if (minus)
        value = 0 - value;
    if (value > UINT32_MAX)
        return false;
    *ret = (uint32_t)value;
    return true;
}

/* The number of the line's field `n`, for an entry of the name in its field 0. */
static enum uidpool_status take_number(enum account_file file, size_t line, const char *what,
                                       const struct field *fields, unsigned n, uint32_t *ret,
                                       struct problem *p)
{
    const struct field *number = &fields[n], *name = &fields[0];
    uint64_t value;

    if (field_number(number->at, number->length, &value) && value <= ID_LAST) {
        *ret = (uint32_t)value;
        return UIDPOOL_OK;
    }
    return problem_set(p, UIDPOOL_FAILED,
                       "%s, line %zu: the %s \"%.*s\" of %.*s is no plain decimal number below "
                       "4294967295; mend or remove the line",
                       kinds[file].path, line + 1, what, shown(number->length), number->at,
                       shown(name->length), name->at);
}

/*
 * One line.
 */

/* Both grow at the powers of two, so that the length alone tells what is allocated. */
static int entry_add(struct account_table *t, const struct entry *e)
{
    if ((t->n & (t->n - 1)) == 0) {
        struct entry *entries = reallocarray(t->entries, t->n ? 2 * t->n : 1, sizeof(*entries));

        if (!entries)
            return -ENOMEM;
        t->entries = entries;
    }
    t->entries[t->n++] = *e;
    return 0;
}

static int id_add(struct id_at **ids, size_t *n, uint32_t id, size_t at)
{
    if ((*n & (*n - 1)) == 0) {
        struct id_at *more = reallocarray(*ids, *n ? 2 * *n : 1, sizeof(*more));

        if (!more)
            return -ENOMEM;
        *ids = more;
    }
    (*ids)[(*n)++] = (struct id_at){id, (uint32_t)at};
    return 0;
}

/*
 * Such a line is kept as it is and taken for nobody: glibc and shadow differ about what it says,
 * and pwck(8) would delete it, so what were written because of it would be wrong for one of them.
 * Tested, glibc 2.36: passwd may have from four fields on, group from three, gshadow from one;
 * shadow five, eight or nine; blanks before a line are not there. shadow 4.13: passwd seven, group
 * three or four, gshadow four, shadow as glibc; a blank is a part of the name. NIS lines are
 * nss_compat's, and neither takes them for users.
 */
static int odd_add(struct account_table *t, size_t line)
{
    const char *text = t->lines.items[line];
    uint32_t id;

    if ((t->n_odd & (t->n_odd - 1)) == 0) {
        const char **odd = reallocarray(t->odd, t->n_odd ? 2 * t->n_odd : 1, sizeof(*odd));

        if (!odd)
            return -ENOMEM;
        t->odd = odd;
    }
    t->odd[t->n_odd++] = text;
    if (!kinds[t->file].id || line_is_nis(text) || !odd_number(text, &id))
        return 0;
    return id_add(&t->odd_ids, &t->n_odd_ids, id, line);
}

/* Has the line all that an entry has, in its form? */
static bool line_is_entry(enum account_file file, const char *line,
                          struct field fields[static FIELDS_MAX])
{
    if (line_is_nis(line) || skip_blanks(line) != line)
        return false;
    return fields_part(line, kinds[file].fields, fields) && fields[0].length > 0;
}

static enum uidpool_status take_passwd_or_group(enum account_file file, size_t line,
                                                const struct field *fields, struct entry *e,
                                                struct problem *p)
{
    enum uidpool_status status = take_number(file, line, kinds[file].id, fields, 2, &e->id, p);

    if (status == UIDPOOL_OK && file == FILE_PASSWD)
        status = take_number(file, line, "gid", fields, 3, &e->gid, p);
    return status;
}

/* A grant that cannot be read is odd too: whether it is in the way is for hostrange to say. */
static bool subid_parse(const char *line, struct uid_range *ret)
{
    return hostrange_parse_subid(line, ret) == 0 && ret->first <= ID_LAST;
}

static enum uidpool_status take_line(struct account_table *t, size_t line, struct problem *p)
{
    const char *text = t->lines.items[line];
    struct field fields[FIELDS_MAX];
    struct entry e = {.line = (uint32_t)line};
    struct uid_range granted = {0};
    enum uidpool_status status = UIDPOOL_OK;
    int r;

    if (line_is_nothing(text))
        return UIDPOOL_OK;
    if (!line_is_entry(t->file, text, fields) ||
        (file_is_subid(t->file) && !subid_parse(text, &granted))) {
        r = odd_add(t, line);
    } else {
        e.name = fields[0].at;
        e.name_length = (uint32_t)fields[0].length;
        e.id = granted.first;
        e.count = granted.count;
        if (kinds[t->file].id)
            status = take_passwd_or_group(t->file, line, fields, &e, p);
        r = entry_add(t, &e);
    }
    if (status != UIDPOOL_OK)
        return status;
    return r < 0 ? problem_errno(p, r, "cannot read %s", kinds[t->file].path) : UIDPOOL_OK;
}

/*
 * By name.
 */

/* Eight bytes at a time. Names are root's to choose: nobody is there to make them collide. */
static uint64_t name_hash(const char *name, size_t length)
{
    const uint64_t golden = UINT64_C(0x9e3779b97f4a7c15); /* 2^64 / golden ratio */
    uint64_t hash = length, word;

    for (; length >= sizeof(word); name += sizeof(word), length -= sizeof(word)) {
        memcpy(&word, name, sizeof(word));
        hash = (hash ^ word) * golden;
        hash ^= hash >> 32;
    }
    for (word = 0; length > 0; length--)
        word = word << 8 | (unsigned char)*name++;
    hash = (hash ^ word) * golden;
    return hash ^ hash >> 32;
}

/* The slot of this name, or the free one where it would stand. */
static uint32_t *name_slot(const struct account_table *t, const char *name, size_t length)
{
    size_t mask = t->by_name_slots - 1, at = name_hash(name, length) & mask;

    for (; t->by_name[at] != 0; at = (at + 1) & mask) {
        const struct entry *e = &t->entries[t->by_name[at] - 1];

        if (e->name_length == length && memcmp(e->name, name, length) == 0)
            break;
    }
    return &t->by_name[at];
}

/* Slots hold the index of an entry and 1; half of them or more are free. */
static enum uidpool_status index_names(struct account_table *t, struct problem *p)
{
    t->by_name_slots = 2;
    while (t->by_name_slots < 2 * t->n)
        t->by_name_slots *= 2;
    t->by_name = calloc(t->by_name_slots, sizeof(*t->by_name));
    if (!t->by_name)
        return problem_errno(p, -ENOMEM, "cannot read %s", kinds[t->file].path);
    for (size_t i = 0; i < t->n; i++) {
        const struct entry *e = &t->entries[i];
        uint32_t *slot = name_slot(t, e->name, e->name_length);

        if (*slot == 0)
            *slot = (uint32_t)i + 1;
        else if (!file_is_subid(t->file))
            return problem_set(p, UIDPOOL_FAILED,
                               "%s, line %u is a second line for %.*s, who has line %u already; "
                               "remove one of them, or run %s",
                               kinds[t->file].path, e->line + 1, shown(e->name_length), e->name,
                               t->entries[*slot - 1].line + 1, kinds[t->file].mender);
    }
    return UIDPOOL_OK;
}

const struct entry *table_by_name(const struct account_table *t, const char *name)
{
    uint32_t *slot = t->by_name ? name_slot(t, name, strlen(name)) : NULL;

    return slot && *slot ? &t->entries[*slot - 1] : NULL;
}

/* What stands before the first ':', blanks before it aside. */
static const char *odd_name(const char *line, size_t *ret_length)
{
    line = skip_blanks(line);
    *ret_length = (size_t)(strchrnul(line, ':') - line);
    return line;
}

static int compare_odd_name(const char *line, const char *name, size_t length)
{
    size_t odd_length = 0;
    const char *odd = odd_name(line, &odd_length);
    int order = memcmp(odd, name, odd_length < length ? odd_length : length);

    return order != 0 ? order : (odd_length > length) - (odd_length < length);
}

static int compare_odd(const void *a, const void *b)
{
    const char *left = *(const char *const *)a, *right = *(const char *const *)b;
    size_t length = 0;
    const char *name = odd_name(right, &length);
    int order = compare_odd_name(left, name, length);

    return order != 0 ? order : (left > right) - (left < right);
}

bool table_has_odd(const struct account_table *t, const char *name)
{
    size_t low = 0, high = t->n_odd, length = strlen(name);

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_odd_name(t->odd[middle], name, length);

        if (order == 0)
            return true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

/*
 * By id.
 */

/* Stable, by eight bits of the id a pass, and so in four passes and the time of 4 N. */
static int ids_sort(struct id_at *ids, size_t n)
{
    _cleanup_free_ struct id_at *spare = NULL;
    struct id_at *from = ids, *to;
    size_t sorted = 1;

    while (sorted < n && ids[sorted - 1].id <= ids[sorted].id)
        sorted++;
    if (sorted >= n)
        return 0;
    to = spare = reallocarray(NULL, n, sizeof(*spare));
    if (!spare)
        return -ENOMEM;
    for (unsigned shift = 0; shift < 32; shift += 8) {
        size_t starts[257] = {0};
        struct id_at *swap = from;

        for (size_t i = 0; i < n; i++)
            starts[((from[i].id >> shift) & 0xff) + 1]++;
        for (size_t i = 1; i < 257; i++)
            starts[i] += starts[i - 1];
        for (size_t i = 0; i < n; i++)
            to[starts[(from[i].id >> shift) & 0xff]++] = from[i];
        from = to;
        to = swap;
    }
    return 0;
}

static enum uidpool_status index_ids(struct account_table *t, struct problem *p)
{
    size_t n = 0;
    int r = 0;

    if (kinds[t->file].id || file_is_subid(t->file))
        for (size_t i = 0; i < t->n && r == 0; i++)
            r = id_add(&t->by_id, &n, t->entries[i].id, i);
    if (r == 0)
        r = ids_sort(t->by_id, n);
    if (r == 0)
        r = ids_sort(t->odd_ids, t->n_odd_ids);
    return r < 0 ? problem_errno(p, r, "cannot read %s", kinds[t->file].path) : UIDPOOL_OK;
}

/* The one at place `i` from the first id on; NULL if its id is beyond the range, or there is none.
 */
static const struct id_at *ids_in_range(const struct id_at *ids, size_t n, uint32_t first,
                                        uint32_t count, size_t i)
{
    size_t low = 0, high = n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (ids[middle].id < first)
            low = middle + 1;
        else
            high = middle;
    }
    if (i >= n - low || ids[low + i].id - first >= count)
        return NULL;
    return &ids[low + i];
}

const struct entry *table_in_range(const struct account_table *t, uint32_t first, uint32_t count,
                                   size_t i)
{
    const struct id_at *found = ids_in_range(t->by_id, t->by_id ? t->n : 0, first, count, i);

    return found ? &t->entries[found->at] : NULL;
}

const struct entry *table_by_id(const struct account_table *t, uint32_t id)
{
    return table_in_range(t, id, 1, 0);
}

const struct id_at *table_odd_in_range(const struct account_table *t, uint32_t first,
                                       uint32_t count, size_t i)
{
    return ids_in_range(t->odd_ids, t->n_odd_ids, first, count, i);
}

/*
 * The whole.
 */

/*
 * Where new lines go: before the NIS lines at the end, which must stay the last ones, for
 * nss_compat asks in the order of the lines. A comment or a blank line before the first of them
 * stays before the new lines: it may be the end of a section that another program keeps.
 */
static size_t find_add_at(const struct lines *l)
{
    size_t add_at = l->n;

    for (size_t i = l->n; i-- > 0;) {
        if (line_is_nis(l->items[i]))
            add_at = i;
        else if (!line_is_nothing(l->items[i]))
            break;
    }
    return add_at;
}

enum uidpool_status table_parse(enum account_file file, char *data, size_t size,
                                struct account_table *ret, struct problem *p)
{
    _cleanup_(table_clear) struct account_table t = {.file = file};
    enum uidpool_status status = lines_split(kinds[file].path, data, size, &t.lines, p);

    for (size_t i = 0; i < t.lines.n && status == UIDPOOL_OK; i++)
        status = take_line(&t, i, p);
    if (status == UIDPOOL_OK)
        status = index_names(&t, p);
    if (status == UIDPOOL_OK)
        status = index_ids(&t, p);
    if (status != UIDPOOL_OK)
        return status;
    if (t.n_odd > 0)
        qsort(t.odd, t.n_odd, sizeof(*t.odd), compare_odd);
    t.add_at = find_add_at(&t.lines);
    *ret = t;
    t = (struct account_table){0};
    return UIDPOOL_OK;
}

void table_clear(struct account_table *t)
{
    lines_clear(&t->lines);
    free(t->entries);
    free(t->by_name);
    free(t->by_id);
    free(t->odd);
    free(t->odd_ids);
    *t = (struct account_table){0};
}
