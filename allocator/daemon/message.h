/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Varlink's messages: a call out of one JSON object, strictly, and typed values out of its
 * parameters; replies and errors back into text. Pure. */
#ifndef DAEMON_MESSAGE_H
#define DAEMON_MESSAGE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A method's name has an interface and a method of at most so many bytes in all. */
#define MESSAGE_METHOD_MAX 255

struct message {
    char interface[MESSAGE_METHOD_MAX + 1]; /* "io.uidpool" */
    char method[MESSAGE_METHOD_MAX + 1];    /* "Lease" */
    json_t *parameters;                     /* an object, never NULL; owned */
    bool more, oneway, upgrade;
};

/*
 * Understand one call. Refused: what is no JSON object or has something behind it, a member twice,
 * a NUL in a text, depth of more than a few levels, "method" missing or not INTERFACE.METHOD,
 * "parameters" that are no object, flags that are no booleans, more and oneway together, and
 * members that varlink does not know (but extensions are ignored: objects whose name has a dot).
 * 0, -EBADMSG with a line in `why` for the peer, or -ENOMEM.
 */
int message_parse(const char *text, size_t size, struct message *ret, char *why, size_t why_size);
void message_clear(struct message *m);

/*
 * Typed values. A missing member and null both mean "not given". Everything else than the right
 * type in the right range, a real number or one beyond int64 too, is -EINVAL: the caller answers
 * with org.varlink.service.InvalidParameter, which names the member. 1 given, 0 not given (and *ret
 * untouched). Texts belong to the parameters.
 */
int message_get_integer(const json_t *parameters, const char *name, int64_t least, int64_t most,
                        int64_t *ret);
int message_get_text(const json_t *parameters, const char *name, const char **ret);
int message_get_bool(const json_t *parameters, const char *name, bool *ret);
/* NULL, or the first member that is none of `known` (NULL-terminated). */
const char *message_unknown(const json_t *parameters, const char *const *known);

/* One message with its NUL, to be freed; `parameters` is borrowed and may be NULL. NULL: no memory.
 */
char *message_reply(json_t *parameters, bool continues, size_t *ret_size);
char *message_error(const char *error, json_t *parameters, size_t *ret_size);

#endif
