/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whose uids are these already? Reads /etc/login.defs, /etc/subuid and /etc/subgid, asks the name
 * services, looks at the running processes, and changes nothing.
 */
#include "allocator/hostrange.h"

#include "allocator/scan.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/ids.h"

#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <libeconf.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#define LOGIN_DEFS "/etc/login.defs"

/* A user or group record larger than this is taken for a name service gone wrong. */
#define RECORD_MAX (64u * 1024u * 1024u)

#define SCAN_STEP 512

/* What to do about it is the same whoever has it. */
#define ADVICE "choose another base, or let --base=auto find one"

/*
 * Ids that distributions and programs hand out by themselves, whether or not this host has done so
 * yet. The narrower claim stands first, to be the one that is named.
 */
static const struct {
    uint64_t first, last;
    const char *who;
} fixed[] = {
    /* Debian Policy 9.2.2 */
    {0, 99, "Debian's static users"},
    {100, 999, "Debian's system users"},
    {1000, 59999, "Debian's ordinary users"},
    /* systemd, docs/UIDS-GIDS.md */
    {60001, 60513, "systemd-homed"},
    {60514, 60577, "systemd-nspawn's users"},
    {61184, 65519, "systemd's DynamicUser="},
    {65534, 65534, "the user nobody"},
    {65535, 65535, "no user at all: it is (uid_t)-1 in 16 bits"},
    {2147352576, 2147418111, "systemd's foreign ids"},
    /* Debian Policy 9.2.2 again: what the ranges above leave of it */
    {60000, 65533, "Debian, reserved"},
    /* Nix, nix.conf(5): auto-allocate-uids, start-id, id-count */
    {872415232, 880803839, "Nix, auto-allocate-uids"},
    /* kubelet, user namespaces: from 65536 on, 65536 for each of 110 pods by default */
    {65536, 65536 + 110 * 65536 - 1, "kubelet's user namespaces"},
    /* shadow, login.defs(5): SUB_UID_MIN and SUB_UID_MAX, should this host's file not say */
    {100000, 600100000, "subordinate ids"},
    /* systemd, docs/UIDS-GIDS.md */
    {524288, 1879048191, "systemd-nspawn and systemd-nsresourced containers"},
    /* Incus and LXD, where /etc/subuid grants root nothing */
    {1000000, 1000999999, "Incus and LXD"},
    /* FreeIPA, ipa-server-install(1), --idstart: 200000 ids from a random place in these */
    {200000, 2000199999, "FreeIPA"},
    /* systemd, docs/UIDS-GIDS.md: half the kernel takes an id for a signed number */
    {UID_END, UINT32_MAX, "no one: devpts and setfsuid(2) misread them"},
};

/* Whether that is ours to say: UIDPOOL_CONFLICT if they overlap, else UIDPOOL_OK. */
static enum uidpool_status claim_check(struct uid_range range, uint64_t first, uint64_t last,
                                       const char *who, struct problem *p)
{
    if (last < first || !uid_ranges_overlap(range.first, range.count, first, last - first + 1))
        return UIDPOOL_OK;
    return problem_set(p, UIDPOOL_CONFLICT,
                       "the ids %" PRIu32 " to %" PRIu32 " overlap %" PRIu64 " to %" PRIu64
                       ", which belong to %s; " ADVICE,
                       range.first, uid_range_last(range), first, last, who);
}

static enum uidpool_status check_fixed(struct uid_range range, struct problem *p)
{
    enum uidpool_status status = UIDPOOL_OK;

    for (size_t i = 0; i < ELEMENTS_OF(fixed) && status == UIDPOOL_OK; i++)
        status = claim_check(range, fixed[i].first, fixed[i].last, fixed[i].who, p);
    return status;
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
    econf_err error = econf_getStringValue(file, NULL, key, &value);

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
static const struct {
    const char *min, *max;
    uint64_t min_otherwise, max_otherwise;
    const char *who;
} login_defs[] = {
    {"UID_MIN", "UID_MAX", 1000, 60000, "useradd (UID_MIN and UID_MAX of " LOGIN_DEFS ")"},
    {"GID_MIN", "GID_MAX", 1000, 60000, "groupadd (GID_MIN and GID_MAX of " LOGIN_DEFS ")"},
    {"SYS_UID_MIN", "SYS_UID_MAX", 101, 999, "useradd --system (SYS_UID_MIN of " LOGIN_DEFS ")"},
    {"SYS_GID_MIN", "SYS_GID_MAX", 101, 999, "groupadd --system (SYS_GID_MIN of " LOGIN_DEFS ")"},
    {"SUB_UID_MIN", "SUB_UID_MAX", 100000, 600100000,
     "subordinate uids (SUB_UID_MIN and SUB_UID_MAX of " LOGIN_DEFS ")"},
    {"SUB_GID_MIN", "SUB_GID_MAX", 100000, 600100000,
     "subordinate gids (SUB_GID_MIN and SUB_GID_MAX of " LOGIN_DEFS ")"},
};

static enum uidpool_status check_login_defs(struct uid_range range, struct problem *p)
{
    _cleanup_(econf_freep) econf_file *file = NULL;
    enum uidpool_status status = UIDPOOL_OK;
    econf_err error = econf_readFile(&file, LOGIN_DEFS, " \t", "#");
    uint64_t min, max;

    if (error == ECONF_NOFILE)
        return UIDPOOL_OK;
    if (error != ECONF_SUCCESS)
        return problem_set(p, UIDPOOL_FAILED, "%s cannot be read: %s; mend it first", LOGIN_DEFS,
                           econf_errString(error));
    for (size_t i = 0; i < ELEMENTS_OF(login_defs) && status == UIDPOOL_OK; i++) {
        if (login_defs_number(file, login_defs[i].min, login_defs[i].min_otherwise, &min) < 0 ||
            login_defs_number(file, login_defs[i].max, login_defs[i].max_otherwise, &max) < 0)
            return problem_set(p, UIDPOOL_FAILED,
                               "%s: %s or %s is not a plain decimal id; mend it first", LOGIN_DEFS,
                               login_defs[i].min, login_defs[i].max);
        status = claim_check(range, min, max, login_defs[i].who, p);
    }
    return status;
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

/* One line, with or without its newline. */
static enum uidpool_status check_subid_line(struct uid_range range, const char *path,
                                            unsigned long number, char *line, size_t length,
                                            struct problem *p)
{
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
    if (granted.count == 0)
        return UIDPOOL_OK;
    snprintf(who, sizeof(who), "%.*s (%s, line %lu)", (int)strcspn(line, ":"), line, path, number);
    return claim_check(range, granted.first, uid_range_last(granted), who, p);
}

static enum uidpool_status check_subid(struct uid_range range, const char *path, struct problem *p)
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
    while (status == UIDPOOL_OK) {
        errno = 0;
        length = getline(&line, &size, file);
        if (length < 0)
            break;
        status = check_subid_line(range, path, ++number, line, (size_t)length, p);
    }
    if (status == UIDPOOL_OK && !feof(file))
        status = problem_errno(p, errno ? -errno : -EIO, "cannot read %s", path);
    return status;
}

/*
 * Running processes.
 */

static void scan_freep(struct scan **s)
{
    scan_free(*s);
}

static enum uidpool_status check_processes(struct uid_range range, struct problem *p)
{
    _cleanup_(scan_freep) struct scan *scan = NULL;
    const struct scan_task *tasks = NULL;
    size_t n;
    int r = scan_new(&range, 1, &scan);

    if (r < 0)
        return problem_errno(p, r, "cannot look at the running processes");
    while (scan_step(scan, SCAN_STEP) > 0)
        ;
    n = scan_tasks(scan, &tasks);
    if (n > 0)
        return problem_set(p, UIDPOOL_CONFLICT,
                           "process %d (%s) runs as uid %" PRIu32 ", one of %" PRIu32 " to %" PRIu32
                           "; end it, or " ADVICE,
                           (int)tasks[0].pid, tasks[0].command,
                           uid_range_has(range, tasks[0].uids[0])   ? tasks[0].uids[0]
                           : uid_range_has(range, tasks[0].uids[1]) ? tasks[0].uids[1]
                           : uid_range_has(range, tasks[0].uids[2]) ? tasks[0].uids[2]
                                                                    : tasks[0].uids[3],
                           range.first, uid_range_last(range));
    if (scan_blind(scan))
        return problem_set(p, UIDPOOL_FAILED,
                           "cannot tell whether a process runs as one of the uids %" PRIu32
                           " to %" PRIu32 ": %s",
                           range.first, uid_range_last(range), scan_blind(scan));
    return UIDPOOL_OK;
}

/*
 * Name services.
 */

enum database { USERS, GROUPS };

/* One look-up. 0 and *ret_name, NULL if there is no such id; or a positive errno. */
static int look_up(enum database database, uint32_t id, char *buffer, size_t size,
                   const char **ret_name)
{
    struct passwd user, *found_user = NULL;
    struct group group, *found_group = NULL;
    int error;

    if (database == USERS) {
        error = getpwuid_r(id, &user, buffer, size, &found_user);
        if (error == 0)
            *ret_name = found_user ? found_user->pw_name : NULL;
    } else {
        error = getgrgid_r(id, &group, buffer, size, &found_group);
        if (error == 0)
            *ret_name = found_group ? found_group->gr_name : NULL;
    }
    return error;
}

struct records {
    char *buffer; /* grows as the largest record needs */
    size_t size;
};

static void records_done(struct records *records)
{
    free(records->buffer);
}

/*
 * The same, with room for the largest record. Not found is 0 and NULL alone: getpwnam(3) allows
 * ENOENT, ESRCH, EBADF and EPERM to mean it too, but glibc gives those only when the last service
 * that it asked was unavailable, which is an outage.
 */
static int name_of(struct records *records, enum database database, uint32_t id,
                   const char **ret_name)
{
    for (;;) {
        int error = ERANGE;

        if (records->buffer)
            error = look_up(database, id, records->buffer, records->size, ret_name);
        if (error == EINTR)
            continue;
        if (error != ERANGE)
            return -error;
        if (records->size >= RECORD_MAX)
            return -ERANGE;
        records->size = records->size ? 2 * records->size : 4096;
        free(records->buffer);
        records->buffer = malloc(records->size);
        if (!records->buffer)
            return -ENOMEM;
    }
}

static enum uidpool_status check_name(struct records *records, enum database database, uint32_t id,
                                      struct problem *p)
{
    const char *what = database == USERS ? "user" : "group";
    const char *name = NULL;
    int r = name_of(records, database, id, &name);

    if (r < 0)
        return problem_set(p, UIDPOOL_FAILED,
                           "the name services could not say whether there is a %s %" PRIu32
                           ": %s; try again when they answer, or see /etc/nsswitch.conf",
                           what, id, strerror(-r));
    if (name)
        return problem_set(p, UIDPOOL_CONFLICT, "%" PRIu32 " is the %s %s; " ADVICE, id, what,
                           name);
    return UIDPOOL_OK;
}

static enum uidpool_status check_names(struct uid_range range,
                                       void (*progress)(const char *text, void *userdata),
                                       void *userdata, struct problem *p)
{
    _cleanup_(records_done) struct records records = {0};
    int64_t told = clock_monotonic_usec();
    enum uidpool_status status = UIDPOOL_OK;
    char text[128];

    for (uint32_t i = 0; i < range.count && status == UIDPOOL_OK; i++) {
        if (progress && clock_monotonic_usec() - told >= USEC_PER_SEC) {
            snprintf(text, sizeof(text),
                     "asking the name services for the ids from %" PRIu32 " on: %" PRIu32
                     " of %" PRIu32,
                     range.first, i, range.count);
            progress(text, userdata);
            told = clock_monotonic_usec();
        }
        status = check_name(&records, USERS, range.first + i, p);
        if (status == UIDPOOL_OK)
            status = check_name(&records, GROUPS, range.first + i, p);
    }
    return status;
}

/*
 * All of it, the cheapest first.
 */

enum uidpool_status hostrange_check_claims(struct uid_range range, struct problem *p)
{
    enum uidpool_status status;

    if (range.count == 0)
        return problem_set(p, UIDPOOL_USAGE, "a range of no ids is none");
    status = check_fixed(range, p);
    if (status == UIDPOOL_OK)
        status = check_login_defs(range, p);
    if (status == UIDPOOL_OK)
        status = check_subid(range, "/etc/subuid", p);
    if (status == UIDPOOL_OK)
        status = check_subid(range, "/etc/subgid", p);
    return status;
}

enum uidpool_status hostrange_check_owners(struct uid_range range,
                                           void (*progress)(const char *text, void *userdata),
                                           void *userdata, struct problem *p)
{
    enum uidpool_status status = UIDPOOL_OK;

    if (range.count > 0)
        status = check_processes(range, p);
    if (status == UIDPOOL_OK)
        status = check_names(range, progress, userdata, p);
    return status;
}

enum uidpool_status hostrange_check(struct uid_range range,
                                    void (*progress)(const char *text, void *userdata),
                                    void *userdata, struct problem *p)
{
    enum uidpool_status status = hostrange_check_claims(range, p);

    return status == UIDPOOL_OK ? hostrange_check_owners(range, progress, userdata, p) : status;
}

enum uidpool_status hostrange_find(uint32_t size, bool (*taken)(struct uid_range, void *userdata),
                                   void (*progress)(const char *text, void *userdata),
                                   void *userdata, uid_t *ret, struct problem *p)
{
    struct problem last = {.text = "all are pools already"};

    for (uint64_t base = HOSTRANGE_AUTO_FIRST; size > 0 && base + size <= HOSTRANGE_AUTO_END;
         base += HOSTRANGE_AUTO_STEP) {
        struct uid_range range = {.first = (uid_t)base, .count = size};
        enum uidpool_status status;

        if (taken && taken(range, userdata))
            continue;
        status = hostrange_check(range, progress, userdata, &last);
        if (status == UIDPOOL_OK)
            *ret = range.first;
        else if (status == UIDPOOL_CONFLICT)
            continue;
        else
            problem_set(p, status, "%s", last.text);
        return status;
    }
    return problem_set(p, UIDPOOL_CONFLICT,
                       "no base between %" PRIu32 " and %" PRIu32 " has %" PRIu32
                       " free ids behind it (the last one tried: %s); ask for fewer, or give "
                       "--base=UID",
                       HOSTRANGE_AUTO_FIRST, HOSTRANGE_AUTO_END - 1, size, last.text);
}
