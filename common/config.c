/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * uidpool.conf(5). Reads the configuration's files, writes nothing, keeps its own copy.
 *
 * libeconf (0.5.1 and later) parses, one file at a time, what vet_text() has let through. Without
 * that it guesses: it joins a line without '=' to the value before, splits long lines, takes the
 * first of two values, forgets a section without keys, or a key of the same name as the last one of
 * the section before, each release in its own way; and it keeps the place of an error in one
 * variable for all threads.
 */
#include "common/config.h"

#include "common/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libeconf.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* Far above what anybody writes; libeconf takes quadratic time over the lines. */
#define FILE_SIZE_MAX (1024 * 1024)
#define FILE_LINES_MAX 8192
#define LINE_LENGTH_MAX 4095
/* uidpool.conf(5) allows one comment sign; later ones on the line are part of the comment. */
#define COMMENT "#"
#define BLANKS " \t\r"

struct section {
    char *name;
    unsigned first_file; /* the number of the first file that has it, from 1 */
    size_t n;
    char **keys; /* NULL-terminated, or NULL */
    char **values;
    unsigned *file; /* the number of the file that set it last */
};

struct config {
    size_t n;
    struct section *sections;
    char **names; /* NULL-terminated, or NULL */
    unsigned files;
    char **paths; /* of the files, NULL-terminated, or NULL */
};

static void econf_file_freep(econf_file **f)
{
    if (*f)
        econf_freeFile(*f);
}

void config_free(struct config *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n; i++) {
        struct section *s = &c->sections[i];

        for (size_t k = 0; k < s->n; k++) {
            free(s->keys[k]);
            free(s->values[k]);
        }
        free(s->keys);
        free(s->values);
        free(s->file);
        free(s->name);
    }
    for (size_t i = 0; c->paths && c->paths[i]; i++)
        free(c->paths[i]);
    free(c->paths);
    free(c->sections);
    free(c->names);
    free(c);
}

static enum uidpool_status no_memory(struct problem *p)
{
    return problem_errno(p, -ENOMEM, "cannot read the configuration");
}

static struct section *find_section(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->sections[i].name, name) == 0)
            return &c->sections[i];
    return NULL;
}

/* Make room for one more and the terminator, which is set. */
static bool grow_list(char ***list, size_t n)
{
    char **grown = reallocarray(*list, n + 2, sizeof(**list));

    if (!grown)
        return false;
    grown[n] = grown[n + 1] = NULL;
    *list = grown;
    return true;
}

/* The next file. */
static bool add_path(struct config *c, const char *path)
{
    if (!grow_list(&c->paths, c->files))
        return false;
    c->paths[c->files] = strdup(path);
    return c->paths[c->files] && ++c->files;
}

static struct section *add_section(struct config *c, const char *name)
{
    struct section *s = find_section(c, name);

    if (s)
        return s;
    s = reallocarray(c->sections, c->n + 1, sizeof(*s));
    if (!s)
        return NULL;
    c->sections = s;
    if (!grow_list(&c->names, c->n))
        return NULL;
    s += c->n;
    *s = (struct section){.name = strdup(name), .first_file = c->files};
    if (!s->name)
        return NULL;
    c->names[c->n++] = s->name;
    return s;
}

static bool find_key(const struct section *s, const char *key, size_t *ret)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->keys[i], key) == 0) {
            *ret = i;
            return true;
        }
    return false;
}

/* Note that this file sets the key. 0, -EEXIST if it did so before, -ENOMEM. */
static int add_key(struct section *s, const char *key, unsigned file)
{
    unsigned *files;
    size_t i;

    if (find_key(s, key, &i)) {
        if (s->file[i] == file)
            return -EEXIST;
        s->file[i] = file;
        return 0;
    }
    if (!grow_list(&s->keys, s->n) || !grow_list(&s->values, s->n))
        return -ENOMEM;
    files = reallocarray(s->file, s->n + 1, sizeof(*files));
    if (!files)
        return -ENOMEM;
    s->file = files;
    s->file[s->n] = file;
    s->keys[s->n] = strdup(key);
    if (!s->keys[s->n])
        return -ENOMEM;
    s->n++;
    return 0;
}

/* Trim [text, text+length) at both ends; returns the new beginning. */
static const char *trim(const char *text, size_t *length)
{
    while (*length > 0 && memchr(BLANKS, *text, strlen(BLANKS))) {
        text++;
        --*length;
    }
    while (*length > 0 && memchr(BLANKS, text[*length - 1], strlen(BLANKS)))
        --*length;
    return text;
}

static bool is_key(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        char c = text[i];

        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
              (i > 0 && ((c >= '0' && c <= '9') || c == '-' || c == '_'))))
            return false;
    }
    return length > 0;
}

/* What a line is: at most one of the two, both empty for a comment. */
struct line {
    char section[LINE_LENGTH_MAX + 1];
    char key[LINE_LENGTH_MAX + 1];
};

static void copy_word(char to[static LINE_LENGTH_MAX + 1], const char *from, size_t length)
{
    memcpy(to, from, length);
    to[length] = '\0';
}

static const char *vet_section(const char *text, size_t length, struct line *ret)
{
    const char *inside = text + 1;
    size_t n = length - 2;

    /* The first character: libeconf has a name of its own that begins with '_'. */
    if (length < 3 || text[length - 1] != ']' || !is_key(inside, 1) || memchr(inside, '[', n) ||
        memchr(inside, ']', n) || memchr(BLANKS, inside[n - 1], strlen(BLANKS)))
        return "is not a section such as [pool NAME]";
    copy_word(ret->section, inside, n);
    return NULL;
}

static const char *vet_setting(const char *text, size_t length, bool has_comment, struct line *ret)
{
    const char *equals = memchr(text, '=', length);
    size_t key_length, value_length;
    const char *value;

    if (!equals)
        return "is neither a comment, a [section] nor Key=Value";
    key_length = (size_t)(equals - text);
    (void)trim(text, &key_length);
    if (!is_key(text, key_length))
        return "has a bad key: letters, digits, '-' and '_' are allowed";
    value_length = length - (size_t)(equals + 1 - text);
    value = trim(equals + 1, &value_length);
    if (value_length == 0)
        return "sets no value; leave the line out, or write \"\"";
    /* Releases of libeconf differ in what quotes and a '#' inside of them mean. */
    if (memchr(value, '"', value_length) &&
        (has_comment || value_length < 2 || value[0] != '"' || value[value_length - 1] != '"' ||
         memchr(value + 1, '"', value_length - 2)))
        return "has quotes that are not around all of the value, or a '#' beside them";
    copy_word(ret->key, text, key_length);
    return NULL;
}

/* One line without its newline. NULL if it is good, else what is wrong. */
static const char *vet_line(const char *text, size_t length, struct line *ret)
{
    const char *comment;

    ret->section[0] = ret->key[0] = '\0';
    if (length > LINE_LENGTH_MAX)
        return "is too long";
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];

        if ((c < 0x20 && c != '\t' && !(c == '\r' && i == length - 1)) || c == 0x7f)
            return "holds a control character";
    }
    comment = memchr(text, *COMMENT, length);
    if (comment)
        length = (size_t)(comment - text);
    text = trim(text, &length);
    if (length == 0)
        return NULL;
    if (*text == '[')
        return vet_section(text, length, ret);
    return vet_setting(text, length, comment != NULL, ret);
}

/* Note what one good line says, its value excepted. NULL, or what is wrong. */
static const char *note_line(struct config *c, const struct line *line, struct section **s)
{
    if (line->section[0]) {
        *s = add_section(c, line->section);
        if (!*s)
            return "needs more memory than there is";
    }
    if (line->key[0]) {
        int r = *s ? add_key(*s, line->key, c->files) : -ENOENT;

        if (r == -ENOENT)
            return "stands before the first [section]";
        if (r == -EEXIST)
            return "sets what was set before in the same section";
        if (r < 0)
            return "needs more memory than there is";
    }
    return NULL;
}

/* Look at every line before libeconf does, and note sections and keys in their order. */
static enum uidpool_status vet_text(struct config *c, const char *path, const char *text,
                                    size_t size, struct problem *p)
{
    struct section *section = NULL;
    struct line line;

    for (unsigned n = 1; size > 0; n++) {
        const char *newline = memchr(text, '\n', size);
        size_t length = newline ? (size_t)(newline - text) : size;
        size_t step = newline ? length + 1 : length;
        const char *why;

        if (n > FILE_LINES_MAX)
            return problem_set(p, UIDPOOL_FAILED, "%s has more than %d lines", path,
                               FILE_LINES_MAX);
        why = vet_line(text, length, &line);
        if (!why)
            why = note_line(c, &line, &section);
        if (why)
            return problem_set(p, UIDPOOL_FAILED, "%s:%u: this line %s", path, n, why);
        text += step;
        size -= step;
    }
    return UIDPOOL_OK;
}

/* 1 and the file's text; 0 if it is /dev/null, which hides a file and says nothing; or an errno. */
static int read_text(const char *path, char **ret, size_t *ret_size)
{
    _cleanup_free_ char *text = NULL;
    _cleanup_fd_ int fd = -1;
    struct stat st;
    size_t size = 0, capacity;

    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3))
        return 0;
    if (!S_ISREG(st.st_mode))
        return -EBADF;
    if (st.st_size > FILE_SIZE_MAX)
        return -EFBIG;
    /* One more than it holds, to see whether it grows meanwhile. */
    capacity = (size_t)st.st_size + 1;
    text = malloc(capacity);
    if (!text)
        return -ENOMEM;
    while (size < capacity) {
        ssize_t n = read(fd, text + size, capacity - size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        size += (size_t)n;
    }
    if (size == capacity)
        return -EBUSY;
    *ret = take_ptr(text);
    *ret_size = size;
    return 1;
}

/* A value, from the file that was parsed last. */
static enum uidpool_status take_value(const char *path, econf_file *parsed, struct section *s,
                                      size_t i, struct problem *p)
{
    _cleanup_free_ char *value = NULL;
    econf_err e;

    e = econf_getStringValue(parsed, s->name, s->keys[i], &value);
    if (e != ECONF_SUCCESS)
        return problem_set(p, UIDPOOL_FAILED, "%s: [%s] %s: %s", path, s->name, s->keys[i],
                           econf_errString(e));
    if (!value)
        value = strdup("");
    if (!value)
        return no_memory(p);
    /* libeconf takes a line of blanks, or an indented comment, for more of the value. */
    value[strcspn(value, "\n")] = '\0';
    free(s->values[i]);
    s->values[i] = take_ptr(value);
    return UIDPOOL_OK;
}

/* All values that this file sets. */
static enum uidpool_status take_values(struct config *c, const char *path, econf_file *parsed,
                                       struct problem *p)
{
    for (size_t n = 0; n < c->n; n++) {
        struct section *s = &c->sections[n];

        for (size_t i = 0; i < s->n; i++) {
            enum uidpool_status status = UIDPOOL_OK;

            if (s->file[i] == c->files)
                status = take_value(path, parsed, s, i, p);
            if (status != UIDPOOL_OK)
                return status;
        }
    }
    return UIDPOOL_OK;
}

/* Whoever linked a profile and mistyped its name would have no pool, and hear nothing. */
static bool leads_nowhere(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
}

/* Lay one file over what was read so far. A missing one is none. */
static enum uidpool_status read_one(struct config *c, const char *path, struct problem *p)
{
    _cleanup_(econf_file_freep) econf_file *parsed = NULL;
    _cleanup_free_ char *text = NULL;
    enum uidpool_status status;
    size_t size = 0;
    econf_err e;
    int r;

    r = read_text(path, &text, &size);
    if (r == -ENOENT && leads_nowhere(path))
        return problem_set(
            p, UIDPOOL_FAILED,
            "%s is a symbolic link to a file that is not there; correct or remove it", path);
    if (r == 0 || r == -ENOENT)
        return UIDPOOL_OK;
    if (r == -EBADF)
        return problem_set(p, UIDPOOL_FAILED, "%s is no regular file", path);
    if (r == -EFBIG)
        return problem_set(p, UIDPOOL_FAILED, "%s is larger than %d bytes", path, FILE_SIZE_MAX);
    if (r < 0)
        return problem_errno(p, r, "cannot read %s", path);
    if (!add_path(c, path))
        return no_memory(p);
    status = vet_text(c, path, text, size, p);
    if (status != UIDPOOL_OK)
        return status;
    e = econf_readFile(&parsed, path, "=", COMMENT);
    if (e != ECONF_SUCCESS)
        return problem_set(p, UIDPOOL_FAILED, "cannot read %s: %s", path, econf_errString(e));
    return take_values(c, path, parsed, p);
}

static int is_drop_in(const struct dirent *e)
{
    size_t length = strlen(e->d_name);

    return e->d_name[0] != '.' && length > 5 && strcmp(e->d_name + length - 5, ".conf") == 0;
}

/* By byte value: alphasort(3) depends on the locale. */
static int compare_names(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* Has a later layer a file of this name? Then that one is read instead. */
static bool is_hidden(char *const later[], const char *name)
{
    char path[PATH_MAX];
    struct stat st;

    for (; *later; later++)
        if (snprintf(path, sizeof(path), "%s/%s", *later, name) < (int)sizeof(path) &&
            lstat(path, &st) == 0)
            return true;
    return false;
}

static enum uidpool_status read_file_of_layer(struct config *c, char *const layer[],
                                              const char *name, struct problem *p)
{
    char path[PATH_MAX];

    if (is_hidden(layer + 1, name))
        return UIDPOOL_OK;
    if (snprintf(path, sizeof(path), "%s/%s", *layer, name) >= (int)sizeof(path))
        return problem_errno(p, -ENAMETOOLONG, "cannot read %s/%s", *layer, name);
    return read_one(c, path, p);
}

static enum uidpool_status read_layer(struct config *c, char *const layer[], struct problem *p)
{
    char name[PATH_MAX];
    struct dirent **entries = NULL;
    enum uidpool_status status;
    int n;

    status = read_file_of_layer(c, layer, "uidpool.conf", p);
    if (status != UIDPOOL_OK)
        return status;
    if (snprintf(name, sizeof(name), "%s/uidpool.conf.d", *layer) >= (int)sizeof(name))
        return problem_errno(p, -ENAMETOOLONG, "cannot read %s/uidpool.conf.d", *layer);
    n = scandir(name, &entries, is_drop_in, compare_names);
    if (n < 0)
        return errno == ENOENT ? UIDPOOL_OK : problem_errno(p, -errno, "cannot read %s", name);
    for (int i = 0; i < n; i++) {
        if (status == UIDPOOL_OK) {
            snprintf(name, sizeof(name), "uidpool.conf.d/%s", entries[i]->d_name);
            status = read_file_of_layer(c, layer, name, p);
        }
        free(entries[i]);
    }
    free(entries);
    return status;
}

static void layers_free(char *(*layers)[4])
{
    for (size_t i = 0; i < 3; i++)
        free((*layers)[i]);
}

enum uidpool_status config_read(const char *root, const char *dir, struct config **ret,
                                struct problem *p)
{
    static const char *const places[] = {"/usr/lib/uidpool", "/run/uidpool", "/etc/uidpool"};
    _cleanup_(layers_free) char *layers[4] = {NULL};
    _cleanup_(config_freep) struct config *c = NULL;
    struct stat st;

    if (dir) {
        /* A mistyped --config must not pass for an empty configuration. */
        if (stat(dir, &st) < 0)
            return problem_errno(p, -errno, "cannot read the configuration in %s", dir);
        if (!S_ISDIR(st.st_mode))
            return problem_errno(p, -ENOTDIR, "cannot read the configuration in %s", dir);
    }
    for (size_t i = 0; i < (dir ? 1 : ELEMENTS_OF(places)); i++)
        if (asprintf(&layers[i], "%s%s", dir || !root ? "" : root, dir ? dir : places[i]) < 0) {
            layers[i] = NULL;
            return no_memory(p);
        }
    c = calloc(1, sizeof(*c));
    if (!c)
        return no_memory(p);
    for (size_t i = 0; layers[i]; i++) {
        enum uidpool_status status = read_layer(c, layers + i, p);

        if (status != UIDPOOL_OK)
            return status;
    }
    *ret = take_ptr(c);
    return UIDPOOL_OK;
}

const char *config_get(const struct config *c, const char *section, const char *key)
{
    const struct section *s = find_section(c, section);
    size_t i;

    return s && find_key(s, key, &i) ? s->values[i] : NULL;
}

static const char *const nothing[] = {NULL};

const char *const *config_sections(const struct config *c)
{
    return c->names ? (const char *const *)c->names : nothing;
}

const char *const *config_keys(const struct config *c, const char *section)
{
    const struct section *s = find_section(c, section);

    return s && s->keys ? (const char *const *)s->keys : nothing;
}

const char *config_file(const struct config *c, const char *section, const char *key)
{
    const struct section *s = find_section(c, section);
    size_t i;

    if (!s)
        return "uidpool.conf";
    return c->paths[(key && find_key(s, key, &i) ? s->file[i] : s->first_file) - 1];
}

enum uidpool_status config_check_keys(const struct config *c, const char *section,
                                      const char *const *known, struct problem *p)
{
    for (const char *const *key = config_keys(c, section); *key; key++) {
        const char *const *k = known;
        char list[256] = "";

        while (*k && strcmp(*k, *key) != 0)
            k++;
        if (*k)
            continue;
        for (k = known; *k; k++)
            snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s",
                     k == known ? "" : ", ", *k);
        return problem_set(p, UIDPOOL_FAILED,
                           "%s, [%s] %.80s=: there is no such key; this section has %s",
                           config_file(c, section, *key), section, *key, list);
    }
    return UIDPOOL_OK;
}
