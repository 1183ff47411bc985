/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who has a right to these uids, and which range is nobody's? Reads /etc/login.defs, /etc/subuid
 * and /etc/subgid, and changes nothing. Who has them now is for hostowners.c to say.
 */
#include "allocator/hostrange.h"

#include "common/cleanup.h"
#include "common/ids.h"

#include <errno.h>
#include <inttypes.h>
#include <libeconf.h>
#include <stdio.h>
#include <string.h>

#define LOGIN_DEFS "/etc/login.defs"

/*
 * Ids that distributions and programs hand out by themselves, whether or not this host has done so
 * yet. The narrower claim stands first, to be the one that is named.
 */
static const struct hostrange_claim fixed[] = {
    /* Debian Policy 9.2.2 */
    {HOSTRANGE_DISTRIBUTION, 0, 99, "Debian's static users"},
    {HOSTRANGE_DISTRIBUTION, 100, 999, "Debian's system users"},
    {HOSTRANGE_DISTRIBUTION, 1000, 59999, "Debian's ordinary users"},
    /* systemd, docs/UIDS-GIDS.md */
    {HOSTRANGE_SYSTEMD, 60001, 60513, "systemd-homed"},
    {HOSTRANGE_SYSTEMD, 60514, 60577, "systemd-nspawn's users"},
    {HOSTRANGE_SYSTEMD, 61184, 65519, "systemd's DynamicUser="},
    {HOSTRANGE_DISTRIBUTION, 65534, 65534, "the user nobody"},
    {HOSTRANGE_DISTRIBUTION, 65535, 65535, "no user at all: it is (uid_t)-1 in 16 bits"},
    {HOSTRANGE_SYSTEMD, 2147352576, 2147418111, "systemd's foreign ids"},
    /* Debian Policy 9.2.2 again: what the ranges above leave of it */
    {HOSTRANGE_DISTRIBUTION, 60000, 65533, "Debian, reserved"},
    /* Nix, nix.conf(5): auto-allocate-uids, start-id, id-count */
    {HOSTRANGE_DEFAULT, 872415232, 880803839, "Nix, auto-allocate-uids"},
    /* kubelet, user namespaces: from 65536 on, 65536 for each of 110 pods by default */
    {HOSTRANGE_DEFAULT, 65536, 65536 + 110 * 65536 - 1, "kubelet's user namespaces"},
    /* systemd, docs/UIDS-GIDS.md */
    {HOSTRANGE_SYSTEMD, 524288, 1879048191, "systemd-nspawn and systemd-nsresourced containers"},
    /* Incus and LXD, where /etc/subuid grants root nothing */
    {HOSTRANGE_DEFAULT, 1000000, 1000999999, "Incus and LXD"},
    /* FreeIPA, ipa-server-install(1), --idstart: 200000 ids from a random place in these */
    {HOSTRANGE_DEFAULT, 200000, 2000199999, "FreeIPA"},
    /* systemd, docs/UIDS-GIDS.md: half the kernel takes an id for a signed number */
    {HOSTRANGE_DISTRIBUTION, UID_END, UINT32_MAX, "no one: devpts and setfsuid(2) misread them"},
};

/* Who wants to know who claims what. */
struct listener {
    struct uid_range range;
    bool (*each)(const struct hostrange_claim *claim, void *userdata);
    void *userdata;
    bool stopped;
};

static void tell(struct listener *l, const struct hostrange_claim *claim)
{
    if (!l->stopped && claim->last >= claim->first &&
        uid_ranges_overlap(l->range.first, l->range.count, claim->first,
                           claim->last - claim->first + 1))
        l->stopped = !l->each(claim, l->userdata);
}

/*
 * login.defs.
 */

static void econf_freep(econf_file **file)
{
    econf_free(*file);
}

/* A number of login.defs, or what shadow takes if there is none. 0 or -EBADMSG. */
static int login_defs_number(econf_file *file, const char *key, uint64_t otherwise, uint64_t *ret)
{
    _cleanup_free_ char *value = NULL;
    econf_err error = file ? econf_getStringValue(file, NULL, key, &value) : ECONF_NOKEY;

    if (error == ECONF_NOKEY || (error == ECONF_SUCCESS && !value)) {
        *ret = otherwise;
        return 0;
    }
    if (error != ECONF_SUCCESS)
        return -EBADMSG;
    /* Up to a comment, or to a next line that libeconf takes for a continued one. */
    value[strcspn(value, " \t\r\n#")] = '\0';
    return parse_u64(value, UINT32_MAX, ret) < 0 ? -EBADMSG : 0;
}

/* The defaults are shadow's: login.defs(5). */
static const struct login_defs_range {
    const char *min, *max;
    uint64_t min_otherwise, max_otherwise;
    enum hostrange_kind kind;
    const char *who;
} login_defs[] = {
    {"UID_MIN", "UID_MAX", 1000, 60000, HOSTRANGE_LOGIN_DEFS,
     "useradd (UID_MIN and UID_MAX of " LOGIN_DEFS ")"},
    {"GID_MIN", "GID_MAX", 1000, 60000, HOSTRANGE_LOGIN_DEFS,
     "groupadd (GID_MIN and GID_MAX of " LOGIN_DEFS ")"},
    {"SYS_UID_MIN", "SYS_UID_MAX", 101, 999, HOSTRANGE_LOGIN_DEFS,
     "useradd --system (SYS_UID_MIN of " LOGIN_DEFS ")"},
    {"SYS_GID_MIN", "SYS_GID_MAX", 101, 999, HOSTRANGE_LOGIN_DEFS,
     "groupadd --system (SYS_GID_MIN of " LOGIN_DEFS ")"},
    {"SUB_UID_MIN", "SUB_UID_MAX", 100000, 600100000, HOSTRANGE_LOGIN_DEFS_SUBID,
     "subordinate uids (SUB_UID_MIN and SUB_UID_MAX of " LOGIN_DEFS ")"},
    {"SUB_GID_MIN", "SUB_GID_MAX", 100000, 600100000, HOSTRANGE_LOGIN_DEFS_SUBID,
     "subordinate gids (SUB_GID_MIN and SUB_GID_MAX of " LOGIN_DEFS ")"},
};
#define SYSTEM_USERS (&login_defs[2])

/* UIDPOOL_OK and NULL if there is no such file: the defaults hold. */
static enum uidpool_status login_defs_open(econf_file **ret, struct problem *p)
{
    econf_err error = econf_readFile(ret, LOGIN_DEFS, " \t", "#");

    if (error == ECONF_SUCCESS)
        return UIDPOOL_OK;
    *ret = NULL;
    return error == ECONF_NOFILE
               ? UIDPOOL_OK
               : problem_set(p, UIDPOOL_FAILED, "%s cannot be read: %s; mend it first", LOGIN_DEFS,
                             econf_errString(error));
}

/* `file` may be NULL. *ret_min may lie above *ret_max: nobody gets any. */
static enum uidpool_status login_defs_read(econf_file *file, const struct login_defs_range *range,
                                           uint64_t *ret_min, uint64_t *ret_max, struct problem *p)
{
    uint64_t min, max;

    if (login_defs_number(file, range->min, range->min_otherwise, &min) < 0 ||
        login_defs_number(file, range->max, range->max_otherwise, &max) < 0)
        return problem_set(p, UIDPOOL_FAILED,
                           "%s: %s or %s is not a plain decimal id; mend it first", LOGIN_DEFS,
                           range->min, range->max);
    *ret_min = min;
    *ret_max = max;
    return UIDPOOL_OK;
}

static enum uidpool_status tell_login_defs(struct listener *l, struct problem *p)
{
    _cleanup_(econf_freep) econf_file *file = NULL;
    enum uidpool_status status = login_defs_open(&file, p);

    for (size_t i = 0; i < ELEMENTS_OF(login_defs) && status == UIDPOOL_OK; i++) {
        struct hostrange_claim claim = {.kind = login_defs[i].kind, .who = login_defs[i].who};

        status = login_defs_read(file, &login_defs[i], &claim.first, &claim.last, p);
        if (status == UIDPOOL_OK)
            tell(l, &claim);
    }
    return status;
}

enum uidpool_status hostrange_system_ids(struct uid_range *ret, struct problem *p)
{
    _cleanup_(econf_freep) econf_file *file = NULL;
    enum uidpool_status status = login_defs_open(&file, p);
    uint64_t min, max;

    if (status == UIDPOOL_OK)
        status = login_defs_read(file, SYSTEM_USERS, &min, &max, p);
    if (status != UIDPOOL_OK)
        return status;
    if (!uid_range_is_usable(min, max - min + 1))
        return problem_set(p, UIDPOOL_FAILED,
                           "%s: SYS_UID_MIN to SYS_UID_MAX, %" PRIu64 " to %" PRIu64
                           ", is no range of uids for accounts; mend it first",
                           LOGIN_DEFS, min, max);
    *ret = (struct uid_range){.first = (uid_t)min, .count = (uint32_t)(max - min + 1)};
    return UIDPOOL_OK;
}

/*
 * subuid and subgid.
 */

int hostrange_parse_subid(const char *line, struct uid_range *ret)
{
    const char *first = strchr(line, ':');
    const char *count = first ? strchr(first + 1, ':') : NULL;
    uint64_t from, n;
    char digits[24];

    if (line[strspn(line, " \t")] == '\0' || line[0] == '#')
        return -ENOENT;
    if (!count || first == line || (size_t)(count - first) > sizeof(digits))
        return -EBADMSG;
    memcpy(digits, first + 1, (size_t)(count - first - 1));
    digits[count - first - 1] = '\0';
    if (parse_u64(digits, UINT32_MAX, &from) < 0 || parse_u64(count + 1, UINT64_MAX, &n) < 0)
        return -EBADMSG;
    /* More than there are from there on is all of them. */
    if (n > UINT32_MAX - from)
        n = UINT32_MAX - from;
    *ret = (struct uid_range){.first = (uid_t)from, .count = (uint32_t)n};
    return 0;
}

static bool is_guard(const char *line)
{
    return strncmp(line, HOSTRANGE_GUARD ":", strlen(HOSTRANGE_GUARD ":")) == 0;
}

/* One line, with or without its newline. */
static enum uidpool_status tell_subid_line(struct listener *l, const char *path,
                                           unsigned long number, char *line, size_t length,
                                           struct problem *p)
{
    struct hostrange_claim claim = {.kind = HOSTRANGE_SUBID};
    struct uid_range granted;
    char who[256];
    int r;

    if (length > 0 && line[length - 1] == '\n')
        line[--length] = '\0';
    r = strlen(line) == length ? hostrange_parse_subid(line, &granted) : -EBADMSG;
    if (r == -ENOENT)
        return UIDPOOL_OK;
    /* Other programs read numbers more generously: what is no grant to us may be one to them. */
    if (r < 0)
        return problem_set(p, UIDPOOL_FAILED,
                           "%s, line %lu is not \"name:first:count\" in decimal numbers, so what "
                           "it grants is not known; mend or remove it first",
                           path, number);
    if (granted.count == 0 || is_guard(line))
        return UIDPOOL_OK;
    snprintf(who, sizeof(who), "%.*s (%s, line %lu)", (int)strcspn(line, ":"), line, path, number);
    claim.first = granted.first;
    claim.last = uid_range_last(granted);
    claim.who = who;
    tell(l, &claim);
    return UIDPOOL_OK;
}

static enum uidpool_status tell_subids(struct listener *l, const char *path, struct problem *p)
{
    enum uidpool_status status = UIDPOOL_OK;
    _cleanup_file_ FILE *file = fopen(path, "re");
    _cleanup_free_ char *line = NULL;
    unsigned long number = 0;
    size_t size = 0;
    ssize_t length;

    if (!file && errno == ENOENT)
        return UIDPOOL_OK;
    if (!file)
        return problem_errno(p, -errno, "cannot open %s", path);
    while (status == UIDPOOL_OK && !l->stopped) {
        errno = 0;
        length = getline(&line, &size, file);
        if (length < 0)
            break;
        status = tell_subid_line(l, path, ++number, line, (size_t)length, p);
    }
    if (status == UIDPOOL_OK && !l->stopped && !feof(file))
        status = problem_errno(p, errno ? -errno : -EIO, "cannot read %s", path);
    return status;
}

/*
 * All claims, those that need no file first.
 */

enum uidpool_status hostrange_each_claim(struct uid_range range,
                                         bool (*each)(const struct hostrange_claim *claim,
                                                      void *userdata),
                                         void *userdata, struct problem *p)
{
    struct listener l = {.range = range, .each = each, .userdata = userdata};
    enum uidpool_status status = UIDPOOL_OK;

    if (range.count == 0)
        return problem_set(p, UIDPOOL_USAGE, "a range of no ids is none");
    for (size_t i = 0; i < ELEMENTS_OF(fixed); i++)
        tell(&l, &fixed[i]);
    if (!l.stopped)
        status = tell_login_defs(&l, p);
    if (status == UIDPOOL_OK && !l.stopped)
        status = tell_subids(&l, "/etc/subuid", p);
    if (status == UIDPOOL_OK && !l.stopped)
        status = tell_subids(&l, "/etc/subgid", p);
    return status;
}

struct first_claim {
    struct uid_range range;
    struct problem *problem;
    enum uidpool_status status;
};

static bool refuse_claim(const struct hostrange_claim *claim, void *userdata)
{
    struct first_claim *first = userdata;

    first->status = problem_set(first->problem, UIDPOOL_CONFLICT,
                                "the ids %" PRIu32 " to %" PRIu32 " overlap %" PRIu64 " to %" PRIu64
                                ", which belong to %s; " HOSTRANGE_ADVICE,
                                first->range.first, uid_range_last(first->range), claim->first,
                                claim->last, claim->who);
    return false;
}

enum uidpool_status hostrange_check_claims(struct uid_range range, struct problem *p)
{
    struct first_claim first = {.range = range, .problem = p, .status = UIDPOOL_OK};
    enum uidpool_status status = hostrange_each_claim(range, refuse_claim, &first, p);

    return status == UIDPOOL_OK ? first.status : status;
}

/*
 * A range that is nobody's.
 */

enum uidpool_status hostrange_check(struct uid_range range,
                                    void (*progress)(const char *text, void *userdata),
                                    void *userdata, struct problem *p)
{
    enum uidpool_status status = hostrange_check_claims(range, p);

    return status == UIDPOOL_OK ? hostrange_check_owners(range, progress, userdata, p) : status;
}

enum uidpool_status hostrange_find_by(uint32_t size,
                                      enum uidpool_status (*check)(struct uid_range range,
                                                                   void *userdata,
                                                                   struct problem *p),
                                      void *userdata, uid_t *ret, struct problem *p)
{
    struct problem last = {0};

    for (uint64_t base = HOSTRANGE_AUTO_FIRST; size > 0 && base + size <= HOSTRANGE_AUTO_END;
         base += HOSTRANGE_AUTO_STEP) {
        struct uid_range range = {.first = (uid_t)base, .count = size};
        enum uidpool_status status;

        last = (struct problem){0};
        status = check(range, userdata, &last);
        if (status == UIDPOOL_CONFLICT)
            continue;
        if (status != UIDPOOL_OK)
            return problem_set(p, status, "%s", last.text);
        *ret = range.first;
        return UIDPOOL_OK;
    }
    return problem_set(p, UIDPOOL_CONFLICT,
                       "no base between %" PRIu32 " and %" PRIu32 " has %" PRIu32
                       " free ids behind it%s%s; ask for fewer, or give the base yourself",
                       HOSTRANGE_AUTO_FIRST, HOSTRANGE_AUTO_END - 1, size,
                       last.text[0] ? ", for the last one tried: " : "", last.text);
}

struct search {
    bool (*taken)(struct uid_range, void *userdata);
    void (*progress)(const char *text, void *userdata);
    void *userdata;
};

static enum uidpool_status check_found(struct uid_range range, void *userdata, struct problem *p)
{
    const struct search *s = userdata;

    if (s->taken && s->taken(range, s->userdata))
        return problem_set(p, UIDPOOL_CONFLICT, "a pool or the reaper has ids of it");
    return hostrange_check(range, s->progress, s->userdata, p);
}

enum uidpool_status hostrange_find(uint32_t size, bool (*taken)(struct uid_range, void *userdata),
                                   void (*progress)(const char *text, void *userdata),
                                   void *userdata, uid_t *ret, struct problem *p)
{
    struct search search = {taken, progress, userdata};

    return hostrange_find_by(size, check_found, &search, ret, p);
}
