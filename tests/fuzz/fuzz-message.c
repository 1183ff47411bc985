/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzzes the understanding of calls. What is refused leaves the outputs alone and says why in
 * printable letters; what is understood has names, parameters, values of one kind each, and can be
 * written and read again.
 */
#include "allocator/daemon/decode.h"
#include "allocator/daemon/message.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void check_refused(const struct message *m, const char *why)
{
    struct message untouched;

    memset(&untouched, 0x5a, sizeof(untouched));
    require(memcmp(m, &untouched, sizeof(untouched)) == 0);
    require(why[0] != '\0');
    for (; *why; why++)
        require(*why >= ' ' && *why < 0x7f);
}

static void check_value(const json_t *parameters, const char *name)
{
    const char *text = NULL;
    int64_t n = 0;
    bool flag;
    int given = 0, r;

    r = message_get_integer(parameters, name, -5, 5, &n);
    require((r == 1 || r == 0 || r == -EINVAL) && n >= -5 && n <= 5);
    given += r == 1;
    r = message_get_text(parameters, name, &text);
    require((r == 1) == (text != NULL));
    given += r == 1;
    given += message_get_bool(parameters, name, &flag) == 1;
    require(given <= 1);
}

static void check_round_trip(json_t *parameters)
{
    char why[64], *text;
    json_t *again;
    size_t size;

    text = message_reply(parameters, true, &size);
    require(text && text[size - 1] == '\0' && strlen(text) == size - 1);
    require(decode_json(text, size - 1, &again, why, sizeof(why)) == 0);
    require(json_equal(json_object_get(again, "parameters"), parameters));
    json_decref(again);
    free(text);
}

static void check_understood(struct message *m)
{
    const char *name;
    json_t *value;

    require(m->interface[0] && m->method[0] && !strchr(m->method, '.'));
    require(strlen(m->interface) + 1 + strlen(m->method) <= MESSAGE_METHOD_MAX);
    require(json_is_object(m->parameters) && !(m->more && m->oneway));
    json_object_foreach(m->parameters, name, value) check_value(m->parameters, name);
    check_round_trip(m->parameters);
    message_clear(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* Not terminated: reading beyond it is an error that the sanitizer sees. */
    char *text = malloc(size ? size : 1);
    struct message m;
    char why[64] = "";
    int r;

    if (!text)
        return 0;
    memcpy(text, data, size);
    memset(&m, 0x5a, sizeof(m));
    r = message_parse(text, size, &m, why, sizeof(why));
    require(r == 0 || r == -EBADMSG);
    if (r < 0)
        check_refused(&m, why);
    else
        check_understood(&m);
    free(text);
    return 0;
}
