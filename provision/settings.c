/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * [pool NAME] of uidpool.conf(5): one table of keys, then what the values must be to each other.
 * Judges the text alone; touches no file.
 */
#include "provision/settings.h"

#include "common/cleanup.h"
#include "common/ids.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define POOL "pool "

/* Values are shown up to so many bytes, so that what may stand there instead is not cut off. */
#define SHOWN_MAX 80

/* Room for any account name that is to be judged: a prefix, "-domid" and a number. */
#define NAME_ROOM (LOGIN_NAME_MAX_LENGTH + 32)

/*
 * The keys. Each function takes one value: true, or false if it is no such thing.
 */

static bool take_base(const char *value, struct pool_settings *ret)
{
    ret->base_auto = strcmp(value, "auto") == 0;
    return ret->base_auto || parse_uid(value, &ret->base) == 0;
}

static bool take_size(const char *value, struct pool_settings *ret)
{
    return parse_count(value, &ret->size) == 0;
}

/* Which of two words it is. */
static bool take_word(const char *value, const char *no, const char *yes, bool *ret)
{
    *ret = strcmp(value, yes) == 0;
    return *ret || strcmp(value, no) == 0;
}

static bool take_policy(const char *value, struct pool_settings *ret)
{
    bool next;

    if (!take_word(value, "domid", "next", &next))
        return false;
    ret->policy = next ? UIDPOOL_POLICY_NEXT : UIDPOOL_POLICY_DOMID;
    return true;
}

static bool take_group(const char *value, struct pool_settings *ret)
{
    return take_word(value, "shared", "per-uid", &ret->group_per_uid);
}

static bool take_quarantine(const char *value, struct pool_settings *ret)
{
    return parse_seconds(value, &ret->quarantine) == 0;
}

static bool take_follow(const char *value, struct pool_settings *ret)
{
    return take_word(value, "no", "yes", &ret->follow);
}

static bool take_resolve(const char *value, struct pool_settings *ret)
{
    return take_word(value, "no", "yes", &ret->resolve);
}

/* The bit of one word, 0 if there is none. */
static unsigned accounts_bit(const char *word, size_t length)
{
    static const struct {
        const char *word;
        unsigned bit;
    } words[] = {
        {"range-base", ACCOUNTS_RANGE_BASE},
        {"shared", ACCOUNTS_SHARED},
        {"reaper", ACCOUNTS_REAPER},
        {"per-domid", ACCOUNTS_PER_DOMID},
    };

    for (size_t i = 0; i < ELEMENTS_OF(words); i++)
        if (strlen(words[i].word) == length && memcmp(words[i].word, word, length) == 0)
            return words[i].bit;
    return 0;
}

static bool take_accounts(const char *value, struct pool_settings *ret)
{
    static const char blanks[] = " \t";

    ret->accounts = 0;
    if (strcmp(value, "none") == 0)
        return true;
    value += strspn(value, blanks);
    while (*value) {
        size_t length = strcspn(value, blanks);
        unsigned bit = accounts_bit(value, length);

        if (bit == 0 || (ret->accounts & bit))
            return false;
        ret->accounts |= bit;
        value += length;
        value += strspn(value, blanks);
    }
    return ret->accounts != 0;
}

static bool take_login_name(const char *value, char ret[static LOGIN_NAME_MAX_LENGTH + 1])
{
    if (!login_name_is_valid(value))
        return false;
    snprintf(ret, LOGIN_NAME_MAX_LENGTH + 1, "%s", value);
    return true;
}

static bool take_prefix(const char *value, struct pool_settings *ret)
{
    return take_login_name(value, ret->prefix);
}

static bool take_range_base(const char *value, struct pool_settings *ret)
{
    return take_login_name(value, ret->range_base);
}

#define A_YES_OR_NO "'yes' or 'no'"
#define A_LOGIN_NAME                                                                      \
    "a login name: at most 31 lower-case letters, digits, '-' and '_', beginning with a " \
    "letter or '_'"

static const struct key {
    const char *name;
    bool (*take)(const char *value, struct pool_settings *ret);
    const char *wanted; /* what may stand there */
} keys[] = {
    {"Base", take_base, "'auto' or a uid from 1 to 2147483647, but not 65534 or 65535"},
    {"Size", take_size, "a number of uids from 1 to 2147483647"},
    {"Policy", take_policy, "'domid' or 'next'"},
    {"Group", take_group, "'shared' or 'per-uid'"},
    {"Quarantine", take_quarantine,
     "a number of seconds up to ten years, or one with s, m, h or d behind it"},
    {"Follow", take_follow, A_YES_OR_NO},
    {"Resolve", take_resolve, A_YES_OR_NO},
    {"Accounts", take_accounts,
     "'none' alone, or one or more of 'range-base', 'shared', 'reaper' and 'per-domid', each once"},
    {"Prefix", take_prefix, A_LOGIN_NAME},
    {"RangeBase", take_range_base, A_LOGIN_NAME},
};

/* Where the text is from, and what is wrong with it. */
struct judging {
    const struct config *config;
    struct problem *problem;
};

static const char *file_of(const struct judging *j, const char *pool, const char *key)
{
    char section[sizeof(POOL) + UIDPOOL_NAME_MAX];

    snprintf(section, sizeof(section), POOL "%s", pool);
    return config_file(j->config, section, key);
}

/* Refuse a value, or with `value` NULL what is not set. */
static enum uidpool_status refuse(const struct judging *j, const char *pool, const char *key,
                                  const char *value, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

static enum uidpool_status refuse(const struct judging *j, const char *pool, const char *key,
                                  const char *value, const char *format, ...)
{
    const char *dots = value && strlen(value) > SHOWN_MAX ? "..." : "";
    char why[512];
    va_list ap;

    va_start(ap, format);
    if (vsnprintf(why, sizeof(why), format, ap) < 0)
        why[0] = '\0';
    va_end(ap);
    return problem_set(j->problem, UIDPOOL_FAILED, "%s, [pool %s] %s=%.*s%s: %s",
                       file_of(j, pool, key), pool, key, SHOWN_MAX, value ? value : "", dots, why);
}

/* "Base, Size, ..." */
static const char *known_keys(char *buf, size_t size)
{
    size_t used = 0;

    buf[0] = '\0';
    for (size_t i = 0; i < ELEMENTS_OF(keys) && used < size; i++)
        used += (size_t)snprintf(buf + used, size - used, "%s%s", i > 0 ? ", " : "", keys[i].name);
    return buf;
}

static enum uidpool_status take_key(const struct judging *j, const char *name, const char *value,
                                    struct pool_settings *ret)
{
    char known[256];

    for (size_t i = 0; i < ELEMENTS_OF(keys); i++) {
        if (strcmp(keys[i].name, name) != 0)
            continue;
        if (keys[i].take(value, ret))
            return UIDPOOL_OK;
        return refuse(j, ret->name, name, value, "may be %s", keys[i].wanted);
    }
    return problem_set(
        j->problem, UIDPOOL_FAILED, "%s, [pool %s] %.*s=: there is no such key; a pool has %s",
        file_of(j, ret->name, name), ret->name, SHOWN_MAX, name, known_keys(known, sizeof(known)));
}

/*
 * What the values must be to each other.
 */

static enum uidpool_status check_range(const struct judging *j, const struct pool_settings *s)
{
    char base[16];

    if (s->size == 0)
        return refuse(j, s->name, "Size", NULL,
                      "must be set to the number of uids; %d is one for each domid there can be",
                      DOMID_LAST + 1);
    if (s->base_auto || uid_range_is_usable(s->base, s->size))
        return UIDPOOL_OK;
    snprintf(base, sizeof(base), "%" PRIu32, s->base);
    return refuse(j, s->name, "Base", base,
                  "with Size=%" PRIu32 " the last uid is %" PRIu64
                  ", but a pool ends at 2147483647 or before and must not have 65534 or 65535",
                  s->size, (uint64_t)s->base + s->size - 1);
}

/* What the toolstacks that look for such accounts take for granted. */
static enum uidpool_status check_accounts(const struct judging *j, const struct pool_settings *s)
{
    bool range_base = s->accounts & ACCOUNTS_RANGE_BASE;
    bool per_domid = s->accounts & ACCOUNTS_PER_DOMID;

    if (range_base && per_domid)
        return refuse(j, s->name, "Accounts", "range-base per-domid",
                      "only one of the two can be: beside range-base libxl refuses every domain "
                      "whose uid is an account");
    if ((range_base || per_domid) && s->policy != UIDPOOL_POLICY_DOMID)
        return refuse(j, s->name, "Policy", "next",
                      "must be 'domid' with Accounts=%s: toolstacks take base + domid",
                      range_base ? "range-base" : "per-domid");
    if (range_base && s->resolve)
        return refuse(j, s->name, "Resolve", "yes",
                      "must be 'no' with Accounts=range-base: libxl refuses every domain whose "
                      "uid resolves to a name");
    if (per_domid && s->size > DOMID_LAST + 1)
        return refuse(j, s->name, "Accounts", "per-domid",
                      "Size=%" PRIu32 " is more than the %d domids there can be", s->size,
                      DOMID_LAST + 1);
    if (!range_base && s->range_base[0])
        return refuse(j, s->name, "RangeBase", s->range_base,
                      "names the account that Accounts=range-base asks for; set that, or leave "
                      "this out");
    return UIDPOOL_OK;
}

/*
 * The names of accounts.
 */

/* Behind Prefix=. */
static const struct {
    unsigned bit;
    const char *suffix;
} suffixes[] = {
    {ACCOUNTS_RANGE_BASE, "-range-base"},
    {ACCOUNTS_SHARED, "-shared"},
    {ACCOUNTS_REAPER, "-reaper"},
    {ACCOUNTS_PER_DOMID, "-domid"},
};

/* The longest name that this suffix makes. */
static void longest_name(const struct pool_settings *s, size_t suffix, char ret[static NAME_ROOM])
{
    char number[16] = "";

    if (suffixes[suffix].bit == ACCOUNTS_PER_DOMID)
        snprintf(number, sizeof(number), "%" PRIu32, s->size - 1);
    snprintf(ret, NAME_ROOM, "%s%s%s", s->prefix, suffixes[suffix].suffix, number);
}

static enum uidpool_status check_lengths(const struct judging *j, const struct pool_settings *s)
{
    char name[NAME_ROOM];

    for (size_t i = 0; i < ELEMENTS_OF(suffixes); i++) {
        if (!(s->accounts & suffixes[i].bit) ||
            (suffixes[i].bit == ACCOUNTS_RANGE_BASE && s->range_base[0]))
            continue;
        longest_name(s, i, name);
        if (strlen(name) > LOGIN_NAME_MAX_LENGTH)
            return refuse(j, s->name, "Prefix", s->prefix,
                          "is too long: %s would be an account, and those have at most %d "
                          "characters",
                          name, LOGIN_NAME_MAX_LENGTH);
    }
    return UIDPOOL_OK;
}

/* Every name of a user or group that a pool makes, but for those with a domid. */
struct fixed_names {
    char names[4][NAME_ROOM];
    size_t n;
};

static void list_fixed_names(const struct pool_settings *s, struct fixed_names *ret)
{
    *ret = (struct fixed_names){0};
    if (s->accounts & ACCOUNTS_RANGE_BASE)
        snprintf(ret->names[ret->n++], NAME_ROOM, "%s", s->range_base);
    if (s->accounts & ACCOUNTS_SHARED)
        snprintf(ret->names[ret->n++], NAME_ROOM, "%s-shared", s->prefix);
    if (s->accounts & ACCOUNTS_REAPER)
        snprintf(ret->names[ret->n++], NAME_ROOM, "%s-reaper", s->prefix);
    if ((s->accounts & ACCOUNTS_PER_DOMID) && !s->group_per_uid)
        snprintf(ret->names[ret->n++], NAME_ROOM, "%s", s->prefix);
}

/* Is it PREFIX-domid<N> of this pool? */
static bool is_domid_name(const struct pool_settings *s, const char *name)
{
    size_t length = strlen(s->prefix);
    uint64_t domid;

    return (s->accounts & ACCOUNTS_PER_DOMID) && strncmp(name, s->prefix, length) == 0 &&
           strncmp(name + length, "-domid", 6) == 0 &&
           parse_u64(name + length + 6, s->size - 1, &domid) == 0;
}

/* Does the pool, whose fixed names these are, make an account of this name? `skip`: but for that
 * one of them. */
static bool makes_name(const struct pool_settings *s, const struct fixed_names *fixed, size_t skip,
                       const char *name)
{
    for (size_t i = 0; i < fixed->n; i++)
        if (i != skip && strcmp(fixed->names[i], name) == 0)
            return true;
    return is_domid_name(s, name);
}

static enum uidpool_status refuse_twice(const struct judging *j, const struct pool_settings *a,
                                        const struct pool_settings *b, const char *name)
{
    const char *file = file_of(j, a->name, NULL), *other = file_of(j, b->name, NULL);
    bool is_one = strcmp(file, other) == 0;

    if (a == b)
        return refuse(j, a->name, "RangeBase", a->range_base,
                      "this pool has another account of that name already; choose another name");
    return problem_set(j->problem, UIDPOOL_FAILED,
                       "[pool %s] and [pool %s] would both make the account %s; set another "
                       "Prefix= or RangeBase= for one of them, in %s%s%s",
                       b->name, a->name, name, other, is_one ? "" : " or ", is_one ? "" : file);
}

/* Would two pools, or one pool twice, make one account? */
static enum uidpool_status check_pair(const struct judging *j, const struct pool_settings *a,
                                      const struct pool_settings *b)
{
    struct fixed_names of_a, of_b;
    char first[NAME_ROOM];

    list_fixed_names(a, &of_a);
    list_fixed_names(b, &of_b);
    for (size_t i = 0; i < of_a.n; i++)
        if (makes_name(b, &of_b, a == b ? i : SIZE_MAX, of_a.names[i]))
            return refuse_twice(j, a, b, of_a.names[i]);
    for (size_t i = 0; i < of_b.n; i++)
        if (is_domid_name(a, of_b.names[i]))
            return refuse_twice(j, a, b, of_b.names[i]);
    snprintf(first, sizeof(first), "%s-domid0", b->prefix);
    if (a != b && is_domid_name(a, first) && is_domid_name(b, first))
        return refuse_twice(j, a, b, first);
    return UIDPOOL_OK;
}

static enum uidpool_status check_twice(const struct judging *j, const struct settings *settings)
{
    enum uidpool_status status = UIDPOOL_OK;

    for (size_t a = 0; a < settings->n && status == UIDPOOL_OK; a++)
        for (size_t b = 0; b <= a && status == UIDPOOL_OK; b++)
            status = check_pair(j, &settings->pools[a], &settings->pools[b]);
    return status;
}

/*
 * The sections.
 */

static enum uidpool_status read_pool(const struct config *config, const char *section,
                                     struct pool_settings *ret, struct problem *p)
{
    const struct judging j = {config, p};
    const char *name = section + strlen(POOL);
    struct pool_settings s = {.base_auto = true, .policy = UIDPOOL_POLICY_DOMID, .quarantine = 60};
    enum uidpool_status status = UIDPOOL_OK;

    if (!name_is_valid(name))
        return problem_set(p, UIDPOOL_FAILED,
                           "%s, [%.*s%s]: a pool's name has 1 to %d letters, digits and any of "
                           "_.:@+-, begins with a letter, a digit or _, and stands one blank "
                           "behind 'pool'",
                           config_file(config, section, NULL), SHOWN_MAX, section,
                           strlen(section) > SHOWN_MAX ? "..." : "", UIDPOOL_NAME_MAX);
    snprintf(s.name, sizeof(s.name), "%s", name);
    snprintf(s.prefix, sizeof(s.prefix), "xen-qemuuser");
    for (const char *const *k = config_keys(config, section); *k && status == UIDPOOL_OK; k++)
        status = take_key(&j, *k, config_get(config, section, *k), &s);
    if (status == UIDPOOL_OK)
        status = check_range(&j, &s);
    if (status == UIDPOOL_OK)
        status = check_accounts(&j, &s);
    if (status == UIDPOOL_OK)
        status = check_lengths(&j, &s);
    if (status != UIDPOOL_OK)
        return status;
    if ((s.accounts & ACCOUNTS_RANGE_BASE) && !s.range_base[0])
        snprintf(s.range_base, sizeof(s.range_base), "%.*s-range-base", LOGIN_NAME_MAX_LENGTH - 11,
                 s.prefix);
    *ret = s;
    return UIDPOOL_OK;
}

static enum uidpool_status read_section(const struct config *config, const char *section,
                                        struct settings *s, struct problem *p)
{
    enum uidpool_status status = UIDPOOL_OK;

    if (strncmp(section, POOL, strlen(POOL)) == 0) {
        status = read_pool(config, section, &s->pools[s->n], p);
        s->n += status == UIDPOOL_OK;
    } else if (strcmp(section, "residue") == 0) {
        status = config_check_keys(config, section, (const char *const[]){"Places", NULL}, p);
    } else {
        status = problem_set(p, UIDPOOL_FAILED,
                             "%s, [%.*s%s]: there is no such section; there are [pool NAME] and "
                             "[residue]",
                             config_file(config, section, NULL), SHOWN_MAX, section,
                             strlen(section) > SHOWN_MAX ? "..." : "");
    }
    return status;
}

enum uidpool_status settings_read(const struct config *config, struct settings *ret,
                                  struct problem *p)
{
    const struct judging j = {config, p};
    const char *const *sections = config_sections(config);
    _cleanup_(settings_clear) struct settings s = {0};
    enum uidpool_status status = UIDPOOL_OK;
    size_t n = 0;

    while (sections[n])
        n++;
    s.pools = calloc(n ? n : 1, sizeof(*s.pools));
    if (!s.pools)
        return problem_errno(p, -ENOMEM, "cannot read the configuration");
    for (size_t i = 0; i < n && status == UIDPOOL_OK; i++)
        status = read_section(config, sections[i], &s, p);
    if (status == UIDPOOL_OK)
        status = check_twice(&j, &s);
    if (status != UIDPOOL_OK)
        return status;
    *ret = (struct settings){.pools = take_ptr(s.pools), .n = s.n};
    return UIDPOOL_OK;
}

void settings_clear(struct settings *s)
{
    free(s->pools);
    *s = (struct settings){0};
}

const struct pool_settings *settings_pool(const struct settings *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->pools[i].name, name) == 0)
            return &s->pools[i];
    return NULL;
}
