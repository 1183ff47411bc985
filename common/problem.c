/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One status and one line of text for the administrator. Touches only the struct it is given.
 */
#include "common/problem.h"

#include "common/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void problem_format(struct problem *p, const char *format, va_list ap)
    __attribute__((format(printf, 2, 0)));

/* The arguments may point into `p` itself, to put words around an earlier text. */
static void problem_format(struct problem *p, const char *format, va_list ap)
{
    char text[sizeof(p->text)];

    if (vsnprintf(text, sizeof(text), format, ap) < 0)
        text[0] = '\0';
    text_make_printable(text);
    memcpy(p->text, text, sizeof(text));
}

enum uidpool_status problem_set(struct problem *p, enum uidpool_status status, const char *format,
                                ...)
{
    va_list ap;

    if (!p)
        return status;
    va_start(ap, format);
    problem_format(p, format, ap);
    va_end(ap);
    p->status = status;
    return status;
}

enum uidpool_status problem_errno(struct problem *p, int error, const char *format, ...)
{
    enum uidpool_status status =
        error == -EPERM || error == -EACCES ? UIDPOOL_NOT_PERMITTED : UIDPOOL_FAILED;
    char buffer[128];
    const char *reason;
    size_t used;
    va_list ap;

    if (!p)
        return status;
    va_start(ap, format);
    problem_format(p, format, ap);
    va_end(ap);
    used = strlen(p->text);
    reason = strerror_r(error < 0 ? -error : error, buffer, sizeof(buffer));
    snprintf(p->text + used, sizeof(p->text) - used, ": %s", reason);
    p->status = status;
    return status;
}
