/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How things look on standard output: one description of a structure's fields serves the table,
 * the list as JSON, the single object as JSON and the card for people. Knows no structure itself.
 */
#ifndef CLI_RENDER_H
#define CLI_RENDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum field_kind {
    FIELD_U32,    /* uint32_t */
    FIELD_I64,    /* int64_t; missing if negative */
    FIELD_UID,    /* uid_t or gid_t; missing if -1 */
    FIELD_PID,    /* pid_t */
    FIELD_CHARS,  /* char[]; missing if "" */
    FIELD_STRING, /* const char *; missing if NULL or "" */
    FIELD_CHAR,   /* char */
    FIELD_BOOL,   /* bool */
    FIELD_TIME,   /* int64_t, microseconds since 1970; missing if 0 */
    FIELD_STATE,  /* enum uidpool_state */
    FIELD_POLICY, /* enum uidpool_policy */
};

enum {
    FIELD_JSON_ONLY = 1,  /* no column for people */
    FIELD_QUIET_ZERO = 2, /* people see nothing where it is 0 or no */
    FIELD_WRAP = 4,       /* may take several lines on a narrow terminal */
};

struct field {
    const char *key;   /* in JSON */
    const char *title; /* a column's, for people; the card shows it in lower case */
    enum field_kind kind;
    size_t offset; /* in the structure */
    unsigned flags;
};

/* The fields of one structure. */
struct fields {
    const struct field *list;
    size_t n;
};
#define FIELDS(array)                            \
    {                                            \
        .list = (array), .n = ELEMENTS_OF(array) \
    }

/* A list of things: a table for people, {"NAME":[...]} as JSON. Failures to add are remembered and
 * told by print, which answers 0 or a negative errno and says nothing by itself. */
struct render_list;
struct render_list *render_list_new(const char *name, const struct fields *fields, bool json);
void render_list_add(struct render_list *l, const void *thing);
int render_list_print(struct render_list *l);
void render_list_free(struct render_list *l);
static inline void render_list_freep(struct render_list **l)
{
    render_list_free(*l);
}

/* One JSON object, on one line. As above: a failure to add is told by print. NULL, for want of
 * memory, may be passed on to all of them. */
struct render_object;
struct render_object *render_object_new(void);
void render_object_fields(struct render_object *o, const struct fields *fields, const void *thing);
void render_object_text(struct render_object *o, const char *key, const char *text_or_null);
void render_object_number(struct render_object *o, const char *key, int64_t number);
/* An empty array, then things appended to it. */
void render_object_array(struct render_object *o, const char *key);
void render_object_append(struct render_object *o, const char *key, const struct fields *fields,
                          const void *thing);
void render_object_append_text(struct render_object *o, const char *key, const char *text);
int render_object_print(struct render_object *o);
void render_object_free(struct render_object *o);
static inline void render_object_freep(struct render_object **o)
{
    render_object_free(*o);
}

/* "title: value" lines for people; missing values are left out. */
void render_card(const struct fields *fields, const void *thing);

#endif
