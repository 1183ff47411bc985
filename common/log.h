/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Diagnostics of the commands, on standard error: "uidpool: " and one line. The library never
 * calls this. */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

/* The name before each line; static storage. */
void log_set_name(const char *name);
/* Control characters become '?'. No trailing newline in the format. */
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_notice(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Copy at most size-1 bytes of untrusted text, control characters and bytes above 126 replaced by
 * '?'. */
void text_sanitize(char *to, unsigned long size, const char *from);

/* In place: control characters, and bytes that are not well-formed UTF-8, become '?'. */
void text_make_printable(char *text);

#endif
