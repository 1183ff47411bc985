/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* uidpool.conf(5): libeconf's layers below one interface. */
#ifndef COMMON_CONFIG_H
#define COMMON_CONFIG_H

#include "common/problem.h"

#include <stddef.h>

struct config;

/*
 * Read the layers /usr/lib/uidpool, /run/uidpool, /etc/uidpool, later ones over earlier ones:
 * uidpool.conf, then uidpool.conf.d/\*.conf sorted by name, in each. A file hides those of the same
 * name in earlier layers, as libeconf and systemd do it; /dev/null in its place hides and says
 * nothing. With `dir` that directory alone, which must exist. No file at all is an empty
 * configuration. `root` (or NULL) is put before each of the three. UIDPOOL_FAILED names file and
 * line of what could not be read.
 */
enum uidpool_status config_read(const char *root, const char *dir, struct config **ret,
                                struct problem *p);
void config_free(struct config *c);
static inline void config_freep(struct config **c)
{
    config_free(*c);
}

/* The value of a key without the quotes around it, NULL if it is not set. Belongs to the
 * configuration. */
const char *config_get(const struct config *c, const char *section, const char *key);

/* The names of all sections, NULL-terminated, in the order of the files. Belongs to the
 * configuration. */
const char *const *config_sections(const struct config *c);

/* The keys of one section, NULL-terminated, so that an unknown one can be refused. Belongs to the
 * configuration. */
const char *const *config_keys(const struct config *c, const char *section);

/* For messages: the path of the file that the value of a key is from, or, with `key` NULL or not
 * set, of the first file that has the section; "uidpool.conf" if none has. Belongs to the
 * configuration. */
const char *config_file(const struct config *c, const char *section, const char *key);

/* UIDPOOL_FAILED names file and key if the section has one that is not among `known`, which ends
 * with NULL. */
enum uidpool_status config_check_keys(const struct config *c, const char *section,
                                      const char *const *known, struct problem *p);

#endif
