/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tables and lists by libsmartcols, single JSON objects by jansson: the one file that knows either.
 * Writes to standard output alone.
 */
#include "allocator/cli/render.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/ids.h"
#include "uidpool.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <libsmartcols/libsmartcols.h>
#include <stdio.h>
#include <string.h>

/* Room for every value but strings, which are not copied. */
#define VALUE_SIZE 64

struct render_list {
    struct libscols_table *table;
    const struct fields *fields;
    bool json;
    int error;
};

struct render_object {
    json_t *root;
    bool failed;
};

static const void *field_at(const struct field *f, const void *thing)
{
    return (const char *)thing + f->offset;
}

static const char *time_text(int64_t usec, bool json, char *buf, size_t size)
{
    if (usec == 0)
        return NULL;
    format_time(usec, buf, size);
    if (!json && strlen(buf) > 19) {
        /* 2026-11-17T14:00:05.123456+01:00: people can do without the rest. */
        buf[10] = ' ';
        buf[19] = '\0';
    }
    return buf;
}

/* For the kinds that are no number. */
static const char *word_text(const struct field *f, const void *at, bool json, char *buf,
                             size_t size)
{
    if (f->kind == FIELD_CHARS)
        return *(const char *)at ? at : NULL;
    if (f->kind == FIELD_STRING) {
        const char *text = *(const char *const *)at;

        return text && *text ? text : NULL;
    }
    if (f->kind == FIELD_BOOL)
        return *(const bool *)at ? "yes" : "no";
    if (f->kind == FIELD_TIME)
        return time_text(*(const int64_t *)at, json, buf, size);
    if (f->kind == FIELD_STATE)
        return uidpool_state_name(*(const enum uidpool_state *)at);
    if (f->kind == FIELD_POLICY)
        return uidpool_policy_name(*(const enum uidpool_policy *)at);
    snprintf(buf, size, "%c", *(const char *)at);
    return *buf ? buf : NULL;
}

static bool field_is_number(const struct field *f)
{
    return f->kind == FIELD_U32 || f->kind == FIELD_I64 || f->kind == FIELD_UID ||
           f->kind == FIELD_PID;
}

/* -1: missing. */
static int64_t field_number(const struct field *f, const void *thing)
{
    const void *at = field_at(f, thing);

    if (f->kind == FIELD_I64)
        return *(const int64_t *)at < 0 ? -1 : *(const int64_t *)at;
    if (f->kind == FIELD_PID)
        return *(const pid_t *)at;
    if (f->kind == FIELD_UID && *(const uid_t *)at == UIDPOOL_NO_UID)
        return -1;
    return *(const uint32_t *)at;
}

/* NULL: missing. The text lives in the thing, in `buf`, or for ever. */
static const char *field_text(const struct field *f, const void *thing, bool json,
                              char buf[static VALUE_SIZE])
{
    if (field_is_number(f)) {
        int64_t number = field_number(f, thing);

        if (number < 0 || (!json && number == 0 && (f->flags & FIELD_QUIET_ZERO)))
            return NULL;
        snprintf(buf, VALUE_SIZE, "%" PRId64, number);
        return buf;
    }
    if (!json && f->kind == FIELD_BOOL && (f->flags & FIELD_QUIET_ZERO) &&
        !*(const bool *)field_at(f, thing))
        return NULL;
    return word_text(f, field_at(f, thing), json, buf, VALUE_SIZE);
}

static int add_column(struct render_list *l, const struct field *f)
{
    struct libscols_column *column;
    int flags = 0;

    if (!l->json && (f->flags & FIELD_JSON_ONLY))
        return 0;
    if (field_is_number(f))
        flags |= SCOLS_FL_RIGHT;
    if (f->flags & FIELD_WRAP)
        flags |= SCOLS_FL_WRAP;
    column = scols_table_new_column(l->table, l->json ? f->key : f->title, 0, flags);
    if (!column)
        return -ENOMEM;
    if (field_is_number(f))
        return scols_column_set_json_type(column, SCOLS_JSON_NUMBER);
    if (f->kind == FIELD_BOOL)
        return scols_column_set_json_type(column, SCOLS_JSON_BOOLEAN);
    return scols_column_set_json_type(column, SCOLS_JSON_STRING);
}

struct render_list *render_list_new(const char *name, const struct fields *fields, bool json)
{
    _cleanup_(render_list_freep) struct render_list *l = calloc(1, sizeof(*l));

    if (!l)
        return NULL;
    l->fields = fields;
    l->json = json;
    l->table = scols_new_table();
    if (!l->table || scols_table_set_name(l->table, name) < 0)
        return NULL;
    scols_table_enable_json(l->table, json);
    for (size_t i = 0; i < fields->n; i++)
        if (add_column(l, &fields->list[i]) < 0)
            return NULL;
    return take_ptr(l);
}

void render_list_add(struct render_list *l, const void *thing)
{
    struct libscols_line *line;
    size_t column = 0;

    if (l->error < 0)
        return;
    line = scols_table_new_line(l->table, NULL);
    if (!line) {
        l->error = -ENOMEM;
        return;
    }
    for (size_t i = 0; i < l->fields->n && l->error == 0; i++) {
        const struct field *f = &l->fields->list[i];
        char buf[VALUE_SIZE];
        const char *text;

        if (!l->json && (f->flags & FIELD_JSON_ONLY))
            continue;
        text = field_text(f, thing, l->json, buf);
        if (text)
            l->error = scols_line_set_data(line, column, text);
        column++;
    }
}

int render_list_print(struct render_list *l)
{
    if (l->error < 0)
        return l->error;
    return scols_print_table(l->table);
}

void render_list_free(struct render_list *l)
{
    if (!l)
        return;
    scols_unref_table(l->table);
    free(l);
}

struct render_object *render_object_new(void)
{
    struct render_object *o = calloc(1, sizeof(*o));

    if (!o)
        return NULL;
    o->root = json_object();
    o->failed = !o->root;
    return o;
}

/* jansson takes the value over, also when it fails, and refuses NULL. */
static void set_value(struct render_object *o, const char *key, json_t *value)
{
    if (!o)
        json_decref(value);
    else if (json_object_set_new(o->root, key, value) < 0)
        o->failed = true;
}

static json_t *field_value(const struct field *f, const void *thing)
{
    char buf[VALUE_SIZE];
    const char *text;

    if (field_is_number(f)) {
        int64_t number = field_number(f, thing);

        return number < 0 ? json_null() : json_integer(number);
    }
    if (f->kind == FIELD_BOOL)
        return json_boolean(*(const bool *)field_at(f, thing));
    text = field_text(f, thing, true, buf);
    return text ? json_string(text) : json_null();
}

void render_object_fields(struct render_object *o, const struct fields *fields, const void *thing)
{
    for (size_t i = 0; o && i < fields->n; i++)
        set_value(o, fields->list[i].key, field_value(&fields->list[i], thing));
}

void render_object_text(struct render_object *o, const char *key, const char *text_or_null)
{
    set_value(o, key, text_or_null ? json_string(text_or_null) : json_null());
}

void render_object_number(struct render_object *o, const char *key, int64_t number)
{
    set_value(o, key, json_integer(number));
}

void render_object_array(struct render_object *o, const char *key)
{
    set_value(o, key, json_array());
}

void render_object_append(struct render_object *o, const char *key, const struct fields *fields,
                          const void *thing)
{
    struct render_object item = {.root = json_object()};

    if (!o) {
        json_decref(item.root);
        return;
    }
    render_object_fields(&item, fields, thing);
    if (item.failed || json_array_append_new(json_object_get(o->root, key), item.root) < 0)
        o->failed = true;
}

void render_object_append_text(struct render_object *o, const char *key, const char *text)
{
    if (o && json_array_append_new(json_object_get(o->root, key), json_string(text)) < 0)
        o->failed = true;
}

int render_object_print(struct render_object *o)
{
    if (!o || o->failed)
        return -ENOMEM;
    /* A failed write is seen by startup_flush_output(), through the stream's error flag. */
    if (json_dumpf(o->root, stdout, JSON_COMPACT) == 0)
        putchar('\n');
    return 0;
}

void render_object_free(struct render_object *o)
{
    if (!o)
        return;
    json_decref(o->root);
    free(o);
}

void render_card(const struct fields *fields, const void *thing)
{
    for (size_t i = 0; i < fields->n; i++) {
        const struct field *f = &fields->list[i];
        char buf[VALUE_SIZE];
        const char *text = field_text(f, thing, false, buf);

        if (text && f->title) {
            char title[VALUE_SIZE];
            size_t n = 0;

            for (; f->title[n] && n < sizeof(title) - 2; n++)
                title[n] = (char)tolower((unsigned char)f->title[n]);
            title[n] = ':';
            title[n + 1] = '\0';
            printf("%-14s %s\n", title, text);
        }
    }
}
