/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What varlink.org's page "Method Call" says of calls and replies, and nothing beyond it. */
#include "allocator/daemon/message.h"

#include "allocator/daemon/decode.h"
#include "common/cleanup.h"
#include "common/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int refuse(char *why, size_t why_size, const char *text)
{
    snprintf(why, why_size, "%s", text);
    return -EBADMSG;
}

static const json_t *given(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);

    return json_is_null(value) ? NULL : value;
}

/* Letters, digits, dots and dashes: whatever else may be wrong with the name, it may be shown. */
static bool is_name(const char *text, size_t size)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";

    return size > 0 && size <= MESSAGE_METHOD_MAX && strspn(text, allowed) == size;
}

static int read_method(const json_t *call, struct message *m, char *why, size_t why_size)
{
    const json_t *value = json_object_get(call, "method");
    const char *text = json_string_value(value), *dot;

    if (!text)
        return refuse(why, why_size, "a call needs \"method\", a text");
    dot = strrchr(text, '.');
    if (!is_name(text, json_string_length(value)) || !dot || dot == text || !dot[1])
        return refuse(why, why_size, "\"method\" is not INTERFACE.METHOD");
    memcpy(m->interface, text, (size_t)(dot - text));
    memcpy(m->method, dot + 1, strlen(dot + 1));
    return 0;
}

static int read_parameters(const json_t *call, struct message *m, char *why, size_t why_size)
{
    json_t *value = json_object_get(call, "parameters");

    if (value && !json_is_null(value)) {
        if (!json_is_object(value))
            return refuse(why, why_size, "\"parameters\" is no object");
        m->parameters = json_incref(value);
        return 0;
    }
    m->parameters = json_object();
    return m->parameters ? 0 : -ENOMEM;
}

static int read_flags(const json_t *call, struct message *m, char *why, size_t why_size)
{
    if (message_get_bool(call, "more", &m->more) < 0 ||
        message_get_bool(call, "oneway", &m->oneway) < 0 ||
        message_get_bool(call, "upgrade", &m->upgrade) < 0)
        return refuse(why, why_size, "\"more\", \"oneway\" or \"upgrade\" is no boolean");
    if (m->more && m->oneway)
        return refuse(why, why_size, "\"more\" answers and \"oneway\" none");
    return 0;
}

/* Extensions are objects with a name in reverse-domain notation, and may be ignored. */
static int check_members(json_t *call, char *why, size_t why_size)
{
    static const char *const known[] = {"method", "parameters", "more", "oneway", "upgrade", NULL};
    char shown[64];
    const char *name;
    json_t *value;

    json_object_foreach(call, name, value)
    {
        bool found = strchr(name, '.') && json_is_object(value);

        for (size_t i = 0; known[i] && !found; i++)
            found = strcmp(name, known[i]) == 0;
        if (!found) {
            text_sanitize(shown, sizeof(shown), name);
            snprintf(why, why_size, "a call has no member \"%s\"", shown);
            return -EBADMSG;
        }
    }
    return 0;
}

static int read_call(json_t *call, struct message *m, char *why, size_t why_size)
{
    int r;

    if (!json_is_object(call))
        return refuse(why, why_size, "a call is a JSON object");
    r = check_members(call, why, why_size);
    if (r == 0)
        r = read_method(call, m, why, why_size);
    if (r == 0)
        r = read_flags(call, m, why, why_size);
    if (r == 0)
        r = read_parameters(call, m, why, why_size);
    return r;
}

int message_parse(const char *text, size_t size, struct message *ret, char *why, size_t why_size)
{
    _cleanup_(json_decrefp) json_t *call = NULL;
    struct message m = {0};
    int r;

    r = decode_json(text, size, &call, why, why_size);
    if (r == 0)
        r = read_call(call, &m, why, why_size);
    if (r < 0)
        return r;
    *ret = m;
    return 0;
}

void message_clear(struct message *m)
{
    json_decref(m->parameters);
    m->parameters = NULL;
}

int message_get_integer(const json_t *parameters, const char *name, int64_t least, int64_t most,
                        int64_t *ret)
{
    const json_t *value = given(parameters, name);

    if (!value)
        return 0;
    if (!json_is_integer(value) || json_integer_value(value) < least ||
        json_integer_value(value) > most)
        return -EINVAL;
    *ret = json_integer_value(value);
    return 1;
}

int message_get_text(const json_t *parameters, const char *name, const char **ret)
{
    const json_t *value = given(parameters, name);

    if (!value)
        return 0;
    if (!json_is_string(value))
        return -EINVAL;
    *ret = json_string_value(value);
    return 1;
}

int message_get_bool(const json_t *parameters, const char *name, bool *ret)
{
    const json_t *value = given(parameters, name);

    if (!value)
        return 0;
    if (!json_is_boolean(value))
        return -EINVAL;
    *ret = json_is_true(value);
    return 1;
}

const char *message_unknown(const json_t *parameters, const char *const *known)
{
    /* Iterating changes nothing, but jansson wants to be able to. */
    json_t *object = (json_t *)(uintptr_t)parameters, *value;
    const char *name;

    json_object_foreach(object, name, value)
    {
        size_t i = 0;

        while (known[i] && strcmp(name, known[i]) != 0)
            i++;
        if (!known[i])
            return name;
    }
    return NULL;
}

/* Both are borrowed. */
static char *write_message(const char *key, json_t *word, json_t *parameters, size_t *ret_size)
{
    _cleanup_(json_decrefp) json_t *message = json_object(), *empty = NULL;
    char *text;

    if (!parameters)
        parameters = empty = json_object();
    if (word && json_object_set(message, key, word) < 0)
        return NULL;
    if (json_object_set(message, "parameters", parameters) < 0)
        return NULL;
    text = json_dumps(message, JSON_COMPACT);
    if (text)
        *ret_size = strlen(text) + 1;
    return text;
}

char *message_reply(json_t *parameters, bool continues, size_t *ret_size)
{
    return write_message("continues", continues ? json_true() : NULL, parameters, ret_size);
}

char *message_error(const char *error, json_t *parameters, size_t *ret_size)
{
    _cleanup_(json_decrefp) json_t *name = json_string(error);

    return name ? write_message("error", name, parameters, ret_size) : NULL;
}
