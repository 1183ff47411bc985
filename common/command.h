/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The shape of a command line, the same for every command of the project: options, a verb of one or
 * two words, its options and its argument, and help for all of it. Tables say what there is.
 * Stricter than getopt_long(3), which it uses: no abbreviations, nothing twice, nothing empty.
 */
#ifndef COMMON_COMMAND_H
#define COMMON_COMMAND_H

#include "uidpool.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* What was read, as typed values. Each command defines its own. */
struct options;

/* One option, or the argument that some verbs take. */
struct command_option {
    const char *name;  /* of an argument: what messages call it */
    const char *value; /* what help calls it; NULL: a flag */
    int letter;        /* or 0 */
    const char *help;
    const char *allowed;                               /* what it may hold, for messages */
    int (*parse)(const char *text, struct options *o); /* 0 or a negative errno; NULL: a flag */
};

/* Sets of options are bits by their index in the table, which has at most this many. */
#define COMMAND_OPTIONS_MAX 64

struct command_verb {
    const char *name; /* one or two words; of a command's only verb "": it is all options */
    const char *usage;
    const char *summary;
    const struct command_option *argument; /* it needs exactly one; NULL: it takes none */
    uint64_t allowed;                      /* besides the global ones */
    uint64_t required;                     /* all of these */
    uint64_t one_of;                       /* exactly one of these, unless empty */
};

struct command {
    const char *name;
    const char *synopsis; /* global options, for help */
    const char *purpose;  /* one sentence */
    const struct command_option *options;
    unsigned n_options;
    uint64_t global;        /* before the verb or behind it; the others behind it alone */
    uint64_t repeatable;    /* may be given again; parse() sees each */
    uint64_t help, version; /* which of the options these are */
    const void *verbs;      /* an array of structures that begin with a struct command_verb */
    size_t n_verbs, verb_size;
    /* All is read: what the tables cannot say, or NULL. 0, or -EINVAL after a message. */
    int (*finish)(const char *verb, struct options *o);
};

/*
 * Read a whole command line. UIDPOOL_OK and the verb, which is to be run now, or NULL, when the
 * help or the version was asked for and printed; or UIDPOOL_USAGE after a message. `seen` becomes
 * the set of the options that were given; it is filled before finish() is called.
 */
enum uidpool_status command_read(const struct command *c, int argc, char **argv, struct options *o,
                                 uint64_t *seen, const struct command_verb **ret);

#endif
