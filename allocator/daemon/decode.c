/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* jansson's parser calls itself for every level and stops at a number that is too large; both are
 * looked at here, in one pass over the text each, before and after. */
#include "allocator/daemon/decode.h"

#include "common/cleanup.h"
#include "common/log.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define DECODE_FLAGS (JSON_REJECT_DUPLICATES | JSON_DECODE_ANY)
#define DIGITS "0123456789"
#define INT64_DIGITS 19

/* Behind the text that begins at `at`, quote and all. */
static size_t skip_text(const char *text, size_t size, size_t at)
{
    for (at++; at < size && text[at] != '"'; at++) {
        if (text[at] == '\\')
            at++;
    }
    return at + 1;
}

static bool is_too_deep(const char *text, size_t size)
{
    size_t depth = 0;

    for (size_t i = 0; i < size; i++) {
        if (text[i] == '"') {
            i = skip_text(text, size, i) - 1;
        } else if (text[i] == '{' || text[i] == '[') {
            if (++depth > DECODE_DEPTH_MAX)
                return true;
        } else if ((text[i] == '}' || text[i] == ']') && depth > 0) {
            depth--;
        }
    }
    return false;
}

static bool is_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

static size_t count_digits(const char *text, size_t size)
{
    size_t n = 0;

    while (n < size && is_of(text[n], DIGITS))
        n++;
    return n;
}

/* -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?, and too large to be had exactly. */
static bool is_huge(const char *number, size_t size)
{
    bool negative = size > 0 && number[0] == '-';
    size_t at = negative, digits = count_digits(number + at, size - at), n;
    const char *most = negative ? "9223372036854775808" : "9223372036854775807";

    if (digits == 0 || (digits > 1 && number[at] == '0'))
        return false;
    if (at + digits == size)
        return digits > INT64_DIGITS ||
               (digits == INT64_DIGITS && memcmp(number + at, most, INT64_DIGITS) > 0);
    at += digits;
    if (number[at] == '.') {
        n = count_digits(number + at + 1, size - at - 1);
        if (n == 0)
            return false;
        at += 1 + n;
    }
    if (at < size && is_of(number[at], "eE")) {
        at++;
        at += at < size && is_of(number[at], "+-");
        n = count_digits(number + at, size - at);
        if (n == 0)
            return false;
        at += n;
    }
    return at == size;
}

static size_t number_size(const char *text, size_t size)
{
    size_t n = 0;

    while (n < size && is_of(text[n], DIGITS "+-.eE"))
        n++;
    return n;
}

/* Every number that is huge, or a real one, becomes 0.5: a text of the same length. */
static char *without_huge_numbers(const char *text, size_t size)
{
    char *copy = malloc(size);
    size_t n;

    if (!copy)
        return NULL;
    memcpy(copy, text, size);
    for (size_t i = 0; i < size; i++) {
        if (copy[i] == '"') {
            i = skip_text(copy, size, i) - 1;
        } else if (is_of(copy[i], DIGITS "-")) {
            n = number_size(copy + i, size - i);
            if (n >= 3 && is_huge(copy + i, n)) {
                memset(copy + i, ' ', n);
                memcpy(copy + i, "0.5", 3);
            }
            i += n - 1;
        }
    }
    return copy;
}

static json_t *load(const char *text, size_t size, json_error_t *error)
{
    return json_loadb(text, size, DECODE_FLAGS, error);
}

static json_t *load_again(const char *text, size_t size, json_error_t *error)
{
    _cleanup_free_ char *copy = without_huge_numbers(text, size);

    return copy ? load(copy, size, error) : NULL;
}

static int explain(const json_error_t *error, char *why, size_t why_size)
{
    char text[JSON_ERROR_TEXT_LENGTH];

    /* It quotes the peer's text. */
    text_sanitize(text, sizeof(text), error->text);
    snprintf(why, why_size, "no JSON at byte %d: %s", error->position, text);
    return -EBADMSG;
}

int decode_json(const char *text, size_t size, json_t **ret, char *why, size_t why_size)
{
    json_error_t error = {0};
    json_t *value;

    if (is_too_deep(text, size)) {
        snprintf(why, why_size, "objects and arrays more than %d deep", DECODE_DEPTH_MAX);
        return -EBADMSG;
    }
    value = load(text, size, &error);
    if (!value && json_error_code(&error) == json_error_numeric_overflow)
        value = load_again(text, size, &error);
    if (!value)
        return json_error_code(&error) == json_error_out_of_memory ? -ENOMEM
                                                                   : explain(&error, why, why_size);
    *ret = value;
    return 0;
}
