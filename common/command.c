/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads a command line by its tables and shows their help. Touches standard output and error. */
#include "common/command.h"

#include "build_config.h"
#include "common/log.h"

#include <errno.h>
#include <getopt.h>
#include <string.h>

/* Outside of what getopt_long returns for characters. */
#define LONG_BASE 0x1000

/* One verb's reading. */
struct reading {
    const struct command *command;
    const struct command_verb *verb; /* NULL: before the verb */
    struct options *options;
    uint64_t *seen;
    bool has_argument;
};

static uint64_t bit(unsigned id)
{
    return UINT64_C(1) << id;
}

/* The only one there is, without a name: a command that is all options. */
static const struct command_verb *nameless_verb(const struct command *c)
{
    const struct command_verb *v = c->verbs;

    return c->n_verbs == 1 && !*v->name ? v : NULL;
}

static const char *name_of(const struct command *c, const struct command_verb *v)
{
    return v && *v->name ? v->name : c->name;
}

/* How it is asked for help. */
static const char *help_of(const struct command *c)
{
    return nameless_verb(c) ? "--help" : "help";
}

static int take_option(struct reading *r, const char *verb, unsigned id, const char *value)
{
    const struct command_option *option = &r->command->options[id];

    if (!((r->command->global | (r->verb ? r->verb->allowed : 0)) & bit(id))) {
        if (r->verb)
            log_error("%s takes no --%s", verb, option->name);
        else
            log_error("--%s is an option of some verbs; write it behind the verb", option->name);
        return -EINVAL;
    }
    if (*r->seen & bit(id) & ~r->command->repeatable) {
        log_error("--%s is given twice", option->name);
        return -EINVAL;
    }
    if (option->parse && option->parse(value, r->options) < 0) {
        log_error("--%s='%.80s' is not allowed; it must be %s", option->name, value,
                  option->allowed);
        return -EINVAL;
    }
    *r->seen |= bit(id);
    return 0;
}

static int take_argument(struct reading *r, const char *verb, const char *text)
{
    const struct command_option *argument = r->verb->argument;

    if (!argument || r->has_argument) {
        if (*r->verb->name)
            log_error("%s: one argument too many: '%.80s'", verb, text);
        else
            log_error("one argument too many: '%.80s'", text);
        return -EINVAL;
    }
    if (argument->parse(text, r->options) < 0) {
        log_error("%s: '%.80s' is no %s; it must be %s", verb, text, argument->name,
                  argument->allowed);
        return -EINVAL;
    }
    r->has_argument = true;
    return 0;
}

/* getopt_long(3) said ':' or '?'. `word` is the one it stumbled over. */
static int refuse(const struct reading *r, int said, const char *word)
{
    const struct command *c = r->command;
    const char *verb = r->verb ? r->verb->name : "", *colon = *verb ? ": " : "";

    if (optopt >= LONG_BASE && optopt < LONG_BASE + (int)c->n_options) {
        const struct command_option *option = &c->options[optopt - LONG_BASE];

        if (said == ':')
            log_error("--%s needs a value: %s", option->name, option->allowed);
        else
            log_error("--%s takes no value", option->name);
    } else if (optopt >= '0' && optopt <= '9')
        log_error("%s%s'%.80s' is a negative number; none is allowed", verb, colon, word);
    else if (optopt > 0 && optopt < LONG_BASE)
        log_error("%s%sunknown option '-%c'; see %s %s", verb, colon, optopt, c->name, help_of(c));
    else
        log_error("%s%sunknown option '%.80s'; see %s %s", verb, colon, word, c->name, help_of(c));
    return -EINVAL;
}

/* Abbreviations would change their meaning when an option is added. */
static bool is_in_full(const char *name, char **argv)
{
    size_t length = strlen(name);

    for (int i = optind - 1; i >= 1 && i >= optind - 2; i--) {
        const char *word = argv[i];

        if (strncmp(word, "--", 2) == 0 && strncmp(word + 2, name, length) == 0 &&
            (word[2 + length] == '\0' || word[2 + length] == '='))
            return true;
    }
    return false;
}

/* `letters` begins with getopt's two flags. */
static void fill_getopt(const struct command *c, struct option longs[COMMAND_OPTIONS_MAX + 1],
                        char letters[COMMAND_OPTIONS_MAX + 3])
{
    size_t n = strlen(letters);

    for (unsigned i = 0; i < c->n_options; i++) {
        longs[i] = (struct option){.name = c->options[i].name,
                                   .has_arg = c->options[i].value ? required_argument : no_argument,
                                   .val = LONG_BASE + (int)i};
        if (c->options[i].letter)
            letters[n++] = (char)c->options[i].letter;
    }
    letters[n] = '\0';
    longs[c->n_options] = (struct option){0};
}

/* An option by what getopt_long(3) returned; n_options if it is none. */
static unsigned option_of(const struct command *c, int said)
{
    if (said >= LONG_BASE && said < LONG_BASE + (int)c->n_options)
        return (unsigned)(said - LONG_BASE);
    for (unsigned i = 0; i < c->n_options; i++)
        if (c->options[i].letter && c->options[i].letter == said)
            return i;
    return c->n_options;
}

/* Read argv[1], argv[2], ... Before the verb the first word that is no option ends it. The index of
 * the first word not read, or -EINVAL after a message. */
static int read_words(struct reading *r, int argc, char **argv)
{
    const struct command *c = r->command;
    const char *name = name_of(c, r->verb);
    struct option longs[COMMAND_OPTIONS_MAX + 1];
    /* "+" stops at the first word that is no option, "-" hands it over; both whatever
     * POSIXLY_CORRECT says. */
    char letters[COMMAND_OPTIONS_MAX + 3] = "+:";
    int said, status;

    letters[0] = r->verb ? '-' : '+';
    fill_getopt(c, longs, letters);
    optind = 0;
    opterr = 0;
    while ((said = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
        unsigned id = option_of(c, said);

        if (r->verb && said == 1)
            status = take_argument(r, name, optarg);
        else if (id == c->n_options)
            status = refuse(r, said, argv[optind > 1 ? optind - 1 : 1]);
        else if (said >= LONG_BASE && !is_in_full(c->options[id].name, argv)) {
            log_error("write --%s in full", c->options[id].name);
            status = -EINVAL;
        } else
            status = take_option(r, name, id, optarg);
        if (status < 0)
            return status;
    }
    for (; r->verb && optind < argc; optind++)
        if (take_argument(r, name, argv[optind]) < 0)
            return -EINVAL;
    return optind;
}

/* "--domid=N, --name=NAME or --uid=UID" */
static void join_options(const struct command *c, uint64_t set, const char *last_word, char *ret,
                         size_t size)
{
    size_t at = 0;

    ret[0] = '\0';
    for (unsigned i = 0; i < c->n_options && at < size; i++) {
        const char *glue = at == 0 ? "" : ", ";
        int n;

        if (!(set & bit(i)))
            continue;
        set &= ~bit(i);
        if (at > 0 && set == 0)
            glue = last_word;
        n = snprintf(ret + at, size - at, "%s--%s=%s", glue, c->options[i].name,
                     c->options[i].value);
        if (n < 0)
            return;
        at += (size_t)n;
    }
}

/* Is something missing, or given beside what excludes it? */
static int check_verb(const struct reading *r)
{
    const struct command_verb *v = r->verb;
    uint64_t missing = v->required & ~*r->seen;
    int chosen = __builtin_popcountll(v->one_of & *r->seen);
    char list[256];

    if (v->argument && !r->has_argument) {
        log_error("%s: the argument is missing", v->name);
        return -EINVAL;
    }
    if (missing) {
        join_options(r->command, missing, " and ", list, sizeof(list));
        log_error("%s needs %s", v->name, list);
        return -EINVAL;
    }
    if (v->one_of && chosen != 1) {
        join_options(r->command, v->one_of, " or ", list, sizeof(list));
        log_error(chosen == 0 ? "%s needs %s" : "%s: only one is allowed of %s", v->name, list);
        return -EINVAL;
    }
    return r->command->finish ? r->command->finish(v->name, r->options) : 0;
}

static const struct command_verb *verb_at(const struct command *c, size_t i)
{
    return (const void *)((const char *)c->verbs + i * c->verb_size);
}

static void print_usage(FILE *to, const struct command *c, const struct command_verb *v)
{
    fprintf(to, "usage: %s [OPTION...]%s%s%s%s\n", c->name, *v->name ? " " : "", v->name,
            *v->usage ? " " : "", v->usage);
}

/* One line for each option of the set. */
static void print_options(FILE *to, const struct command *c, uint64_t set)
{
    for (unsigned i = 0; i < c->n_options; i++) {
        const struct command_option *option = &c->options[i];
        char letter[] = "-x, ";
        char left[40];

        if (!(set & bit(i)))
            continue;
        letter[1] = (char)option->letter;
        snprintf(left, sizeof(left), "%s--%s%s%s", option->letter ? letter : "    ", option->name,
                 option->value ? "=" : "", option->value ? option->value : "");
        fprintf(to, "  %-26s %s\n", left, option->help);
    }
}

static void print_help(FILE *to, const struct command *c)
{
    fprintf(to, "usage: %s %s VERB ...\n\n%s\n\n", c->name, c->synopsis, c->purpose);
    for (size_t i = 0; i < c->n_verbs; i++)
        fprintf(to, "  %-15s %s\n", verb_at(c, i)->name, verb_at(c, i)->summary);
    fprintf(to, "  %-15s %s\n\n", "help [VERB]", "show this help, or that of a verb");
    print_options(to, c, c->global);
    fprintf(to, "\nThe manual is %s(8).\n", c->name);
}

static void print_verb_help(const struct command *c, const struct command_verb *v)
{
    print_usage(stdout, c, v);
    printf("\n%s\n\n", v->summary);
    print_options(stdout, c, v->allowed);
    print_options(stdout, c, c->global);
    if (!*v->name)
        printf("\nThe manual is %s(8).\n", c->name);
}

static void print_version(const struct command *c)
{
    printf("%s %s\n", c->name, UIDPOOL_VERSION);
}

/* Is `word` the first of this verb's two? */
static bool begins_with(const struct command_verb *v, const char *word)
{
    size_t length = strlen(word);

    return length > 0 && strncmp(v->name, word, length) == 0 && v->name[length] == ' ';
}

static bool is_group(const struct command *c, const char *word)
{
    for (size_t i = 0; i < c->n_verbs; i++)
        if (begins_with(verb_at(c, i), word))
            return true;
    return false;
}

static void print_group(FILE *to, const struct command *c, const char *word)
{
    for (size_t i = 0; i < c->n_verbs; i++)
        if (begins_with(verb_at(c, i), word))
            print_usage(to, c, verb_at(c, i));
}

/* `second` may be NULL. */
static const struct command_verb *find_verb(const struct command *c, const char *first,
                                            const char *second)
{
    char name[32];

    if (snprintf(name, sizeof(name), "%s%s%s", first, second ? " " : "", second ? second : "") >=
        (int)sizeof(name))
        return NULL;
    for (size_t i = 0; i < c->n_verbs; i++)
        if (strcmp(verb_at(c, i)->name, name) == 0)
            return verb_at(c, i);
    return NULL;
}

static enum uidpool_status unknown_verb(const struct command *c, const char *first,
                                        const char *second)
{
    log_error("unknown verb '%.40s%s%.40s'; see %s help", first, second ? " " : "",
              second ? second : "", c->name);
    return UIDPOOL_USAGE;
}

/* Help for `n` words: a verb, the first half of one, or none. */
static enum uidpool_status help(const struct command *c, char **words, int n)
{
    const struct command_verb *v;

    if (n == 0 || (n == 1 && strcmp(words[0], "help") == 0)) {
        print_help(stdout, c);
        return UIDPOOL_OK;
    }
    if (n == 1 && is_group(c, words[0])) {
        print_group(stdout, c, words[0]);
        return UIDPOOL_OK;
    }
    if (n > 2 || (n == 2 && !is_group(c, words[0]))) {
        log_error("help: one argument too many: '%.80s'", words[n - 1]);
        return UIDPOOL_USAGE;
    }
    v = find_verb(c, words[0], n == 2 ? words[1] : NULL);
    if (!v)
        return unknown_verb(c, words[0], n == 2 ? words[1] : NULL);
    print_verb_help(c, v);
    return UIDPOOL_OK;
}

/* What stands behind the verb's last word, argv[0]. */
static enum uidpool_status read_verb(struct reading *r, int argc, char **argv,
                                     const struct command_verb **ret)
{
    const struct command *c = r->command;

    if (read_words(r, argc, argv) < 0) {
        print_usage(stderr, c, r->verb);
        return UIDPOOL_USAGE;
    }
    if (*r->seen & c->help) {
        print_verb_help(c, r->verb);
        return UIDPOOL_OK;
    }
    if (*r->seen & c->version) {
        print_version(c);
        return UIDPOOL_OK;
    }
    if (check_verb(r) < 0) {
        print_usage(stderr, c, r->verb);
        return UIDPOOL_USAGE;
    }
    *ret = r->verb;
    return UIDPOOL_OK;
}

/* The words ended, or were none, before they named a verb. */
static enum uidpool_status no_verb(const struct reading *r, char **words, int n)
{
    const struct command *c = r->command;

    if (*r->seen & c->help)
        return help(c, words, n);
    if (*r->seen & c->version) {
        print_version(c);
        return UIDPOOL_OK;
    }
    if (n == 1) {
        log_error("%s needs one more word:", words[0]);
        print_group(stderr, c, words[0]);
        return UIDPOOL_USAGE;
    }
    /* An option may have taken it for its value: "--root plan". */
    if (*r->seen)
        log_error("the verb is missing");
    print_help(stderr, c);
    return UIDPOOL_USAGE;
}

/* Global options, the verb's one or two words with global options between them, and the rest. */
enum uidpool_status command_read(const struct command *c, int argc, char **argv, struct options *o,
                                 uint64_t *seen, const struct command_verb **ret)
{
    struct reading r = {.command = c, .options = o, .seen = seen};
    char *words[2] = {NULL, NULL};
    int n = 0;

    *ret = NULL;
    if (argc < 1)
        return UIDPOOL_USAGE;
    r.verb = nameless_verb(c);
    if (r.verb)
        return read_verb(&r, argc, argv, ret);
    for (;;) {
        int at = read_words(&r, argc, argv);

        if (at < 0)
            return UIDPOOL_USAGE;
        argc -= at;
        argv += at;
        if (argc == 0)
            return no_verb(&r, words, n);
        if (n == 0 && strcmp(argv[0], "help") == 0)
            return help(c, argv + 1, argc - 1);
        words[n++] = argv[0];
        r.verb = find_verb(c, words[0], words[1]);
        if (r.verb)
            return read_verb(&r, argc, argv, ret);
        if (n == 2 || !is_group(c, words[0]))
            return unknown_verb(c, words[0], words[1]);
    }
}
