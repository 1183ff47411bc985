/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* JSON from a stranger: jansson's parser, kept from what it would do with hostile texts. Pure. */
#ifndef DAEMON_DECODE_H
#define DAEMON_DECODE_H

#include <jansson.h>
#include <stddef.h>

/* Objects and arrays in each other: a call, its parameters, and what those may hold. */
#define DECODE_DEPTH_MAX 8

/*
 * One value, with nothing behind it. Refused: what is no JSON, deeper nesting, a member twice, a
 * NUL in a text, what is no UTF-8. A number that fits neither int64 nor a double is taken for the
 * real number 0.5, which no one wants either, so that whoever expects a number can name its member.
 * 0, -EBADMSG with a line in `why`, or -ENOMEM.
 */
int decode_json(const char *text, size_t size, json_t **ret, char *why, size_t why_size);

#endif
