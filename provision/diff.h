/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a draft changes in one account file, as diff -u shows it. Passwords are never shown. */
#ifndef PROVISION_DIFF_H
#define PROVISION_DIFF_H

#include "provision/files.h"

#include <stdio.h>

/* Longer blocks of removed or added lines are cut, and how many more there are is said. */
#define DIFF_BLOCK_MAX 20u
/* Bytes of a line that people see; no limit is 0. */
#define DIFF_LINE_MAX 240u

/* A line of this file as it may be shown: without its password, harmless to a terminal, and with
 * "..." behind its first `limit` bytes if it is longer. *ret is the caller's to free. 0 or -ENOMEM.
 */
int diff_show_line(enum account_file file, const char *line, size_t limit, char **ret);

/* The unified diff with its header, or nothing if the draft is empty. 0 or -ENOMEM; whether it
 * could be written is the stream's to know. */
int diff_print(FILE *to, const struct account_table *table, const struct draft *draft);

#endif
