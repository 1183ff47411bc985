/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Diagnostics for the administrator, one line each, and making untrusted text harmless to a
 * terminal. Touches standard error alone.
 */
#include "common/log.h"

#include <stdarg.h>
#include <stdio.h>

static const char *log_name = "uidpool";

void log_set_name(const char *name)
{
    log_name = name;
}

/* How many bytes of well-formed UTF-8 that is no control character begin here; 0 if none do. */
static size_t printable_length(const unsigned char *s)
{
    size_t length;

    if (s[0] >= 0x20 && s[0] < 0x7f)
        return 1;
    if (s[0] >= 0xc2 && s[0] <= 0xdf)
        length = 2;
    else if (s[0] >= 0xe0 && s[0] <= 0xef)
        length = 3;
    else if (s[0] >= 0xf0 && s[0] <= 0xf4)
        length = 4;
    else
        return 0;
    /* A NUL is no continuation byte, so this never reads behind the end. */
    for (size_t i = 1; i < length; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    /* C1 controls, overlong forms, surrogates, and what lies above U+10FFFF. */
    if ((s[0] == 0xc2 && s[1] < 0xa0) || (s[0] == 0xe0 && s[1] < 0xa0) ||
        (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return length;
}

void text_make_printable(char *text)
{
    unsigned char *s = (unsigned char *)text;

    while (*s) {
        size_t length = printable_length(s);

        if (length == 0) {
            *s = '?';
            length = 1;
        }
        s += length;
    }
}

void text_sanitize(char *to, unsigned long size, const char *from)
{
    size_t i = 0;

    if (size == 0)
        return;
    for (; i < size - 1 && from[i]; i++)
        to[i] = from[i] >= 0x20 && from[i] < 0x7f ? from[i] : '?';
    to[i] = '\0';
}

static void log_line(const char *kind, const char *format, va_list ap)
    __attribute__((format(printf, 2, 0)));

static void log_line(const char *kind, const char *format, va_list ap)
{
    char text[2048];

    if (vsnprintf(text, sizeof(text), format, ap) < 0)
        return;
    text_make_printable(text);
    fprintf(stderr, "%s: %s%s\n", log_name, kind, text);
}

void log_error(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    log_line("", format, ap);
    va_end(ap);
}

void log_warning(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    log_line("warning: ", format, ap);
    va_end(ap);
}

void log_notice(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    log_line("", format, ap);
    va_end(ap);
}
