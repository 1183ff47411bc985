/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who has these ids now? Looks at the running processes and asks the name services, one id after
 * the other; reads /etc/nsswitch.conf where `files` is to be left out. Changes nothing but this
 * process's own choice of name services.
 */
#include "allocator/hostrange.h"
#include "allocator/scan.h"
#include "common/cleanup.h"
#include "common/clock.h"

#include <dlfcn.h>
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <nss.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define NSSWITCH "/etc/nsswitch.conf"

/* A user or group record larger than this is taken for a name service gone wrong. */
#define RECORD_MAX (64u * 1024u * 1024u)

#define SCAN_STEP 512

/*
 * Running processes.
 */

static void scan_freep(struct scan **s)
{
    scan_free(*s);
}

/* A /proc of another PID namespace has this link too, though it leads nowhere. */
static bool is_there_proc(void)
{
    struct stat st;

    return lstat("/proc/self", &st) == 0 || errno != ENOENT;
}

static uint32_t first_id_in(struct uid_range range, const uid_t uids[static 4])
{
    size_t i = 0;

    while (i < 3 && !uid_range_has(range, uids[i]))
        i++;
    return uids[i];
}

enum uidpool_status hostrange_each_process(struct uid_range range,
                                           bool (*each)(const struct hostrange_owner *owner,
                                                        void *userdata),
                                           void *userdata, struct problem *p)
{
    _cleanup_(scan_freep) struct scan *scan = NULL;
    const struct scan_task *tasks = NULL;
    size_t n;
    int r;

    if (!is_there_proc())
        return problem_set(p, UIDPOOL_NOT_FOUND,
                           "there is no /proc here, so that nobody can tell whether a process runs "
                           "as one of the uids %" PRIu32 " to %" PRIu32,
                           range.first, uid_range_last(range));
    r = scan_new(&range, 1, &scan);
    if (r < 0)
        return problem_errno(p, r, "cannot look at the running processes");
    while (scan_step(scan, SCAN_STEP) > 0)
        ;
    n = scan_tasks(scan, &tasks);
    for (size_t i = 0; i < n; i++) {
        struct hostrange_owner owner = {.kind = HOSTRANGE_PROCESS,
                                        .id = first_id_in(range, tasks[i].uids),
                                        .name = tasks[i].command,
                                        .pid = tasks[i].pid};

        /* The threads of a process follow one another. */
        if (i > 0 && tasks[i].pid == tasks[i - 1].pid)
            continue;
        if (!each(&owner, userdata))
            return UIDPOOL_OK;
    }
    if (scan_blind(scan))
        return problem_set(p, UIDPOOL_FAILED,
                           "cannot tell whether a process runs as one of the uids %" PRIu32
                           " to %" PRIu32 ": %s",
                           range.first, uid_range_last(range), scan_blind(scan));
    return UIDPOOL_OK;
}

/*
 * Name services: one look-up.
 */

enum database { USERS, GROUPS, DATABASES };

static const char *const databases[DATABASES] = {[USERS] = "passwd", [GROUPS] = "group"};

/* Of hostrange_skip_files(): there is nobody but `files`. */
static bool nobody_to_ask[DATABASES];

/* Whom to look for: by name, or by id. */
struct key {
    const char *name; /* or NULL */
    uint32_t id;
};

static int look_up_user(struct key key, char *buffer, size_t size, const char **ret_name)
{
    struct passwd user, *found = NULL;
    int error = key.name ? getpwnam_r(key.name, &user, buffer, size, &found)
                         : getpwuid_r(key.id, &user, buffer, size, &found);

    if (error == 0)
        *ret_name = found ? found->pw_name : NULL;
    return error;
}

static int look_up_group(struct key key, char *buffer, size_t size, const char **ret_name)
{
    struct group group, *found = NULL;
    int error = key.name ? getgrnam_r(key.name, &group, buffer, size, &found)
                         : getgrgid_r(key.id, &group, buffer, size, &found);

    if (error == 0)
        *ret_name = found ? found->gr_name : NULL;
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
 * With room for the largest record. 0 and *ret_name, NULL if there is none; or a negative errno.
 * Not found is 0 and NULL alone: getpwnam(3) allows ENOENT, ESRCH, EBADF and EPERM to mean it too,
 * but glibc gives those only when the last service that it asked was unavailable, which is an
 * outage. It returns errno then, which a service may have left as it was.
 */
static int find(struct records *records, enum database database, struct key key,
                const char **ret_name)
{
    if (nobody_to_ask[database]) {
        *ret_name = NULL;
        return 0;
    }
    for (;;) {
        int error = ERANGE;

        errno = EIO;
        if (records->buffer)
            error = (database == USERS ? look_up_user : look_up_group)(key, records->buffer,
                                                                       records->size, ret_name);
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

static enum uidpool_status ask(struct records *records, enum database database, struct key key,
                               const char **ret_name, struct problem *p)
{
    int r = find(records, database, key, ret_name);
    char id[16];

    if (r == 0)
        return UIDPOOL_OK;
    (void)snprintf(id, sizeof(id), "%" PRIu32, key.id);
    return problem_set(p, UIDPOOL_FAILED,
                       "the name services could not say whether there is a %s %s: %s; try again "
                       "when they answer, or see " NSSWITCH,
                       database == USERS ? "user" : "group", key.name ? key.name : id,
                       strerror(-r));
}

static enum uidpool_status ask_both(struct key key, bool *ret_found, struct problem *p)
{
    _cleanup_(records_done) struct records records = {0};
    const char *name = NULL;
    enum uidpool_status status = ask(&records, USERS, key, &name, p);

    if (status == UIDPOOL_OK && !name)
        status = ask(&records, GROUPS, key, &name, p);
    if (status == UIDPOOL_OK)
        *ret_found = name != NULL;
    return status;
}

enum uidpool_status hostrange_ask_id(uint32_t id, bool *ret_found, struct problem *p)
{
    return ask_both((struct key){.id = id}, ret_found, p);
}

enum uidpool_status hostrange_ask_name(const char *name, bool *ret_found, struct problem *p)
{
    return ask_both((struct key){.name = name}, ret_found, p);
}

/*
 * Name services: a range.
 */

/* Whom is told, and of what. */
struct asking {
    struct records records;
    struct uid_range range;
    bool (*each)(const struct hostrange_owner *owner, void *userdata);
    void (*progress)(const char *text, void *userdata); /* or NULL */
    void *userdata;
    int64_t told; /* clock_monotonic_usec() of the last progress */
    bool stopped;
};

static void tell_progress(struct asking *a, uint32_t done)
{
    char text[128];

    if (!a->progress || clock_monotonic_usec() - a->told < USEC_PER_SEC)
        return;
    snprintf(text, sizeof(text),
             "asking the name services for the ids from %" PRIu32 " on: %" PRIu32 " of %" PRIu32,
             a->range.first, done, a->range.count);
    a->progress(text, a->userdata);
    a->told = clock_monotonic_usec();
}

static enum uidpool_status ask_for_owner(struct asking *a, enum database database, uint32_t id,
                                         struct problem *p)
{
    struct hostrange_owner owner = {.kind = database == USERS ? HOSTRANGE_USER : HOSTRANGE_GROUP,
                                    .id = id};
    enum uidpool_status status = ask(&a->records, database, (struct key){.id = id}, &owner.name, p);

    if (status == UIDPOOL_OK && owner.name)
        a->stopped = !a->each(&owner, a->userdata);
    return status;
}

static void asking_done(struct asking *a)
{
    records_done(&a->records);
}

enum uidpool_status hostrange_each_name(
    struct uid_range range, bool (*each)(const struct hostrange_owner *owner, void *userdata),
    void (*progress)(const char *text, void *userdata), void *userdata, struct problem *p)
{
    _cleanup_(asking_done) struct asking a = {.range = range,
                                              .each = each,
                                              .progress = progress,
                                              .userdata = userdata,
                                              .told = clock_monotonic_usec()};
    enum uidpool_status status = UIDPOOL_OK;

    for (uint32_t i = 0; i < range.count && status == UIDPOOL_OK && !a.stopped; i++) {
        tell_progress(&a, i);
        status = ask_for_owner(&a, USERS, range.first + i, p);
        if (status == UIDPOOL_OK && !a.stopped)
            status = ask_for_owner(&a, GROUPS, range.first + i, p);
    }
    return status;
}

/*
 * The first owner is one too many.
 */

struct first_owner {
    struct uid_range range;
    void (*progress)(const char *text, void *userdata);
    void *userdata;
    struct problem *problem;
    enum uidpool_status status;
};

static bool refuse_owner(const struct hostrange_owner *owner, void *userdata)
{
    struct first_owner *first = userdata;

    if (owner->kind == HOSTRANGE_PROCESS)
        first->status = problem_set(first->problem, UIDPOOL_CONFLICT,
                                    "process %d (%s) runs as uid %" PRIu32 ", one of %" PRIu32
                                    " to %" PRIu32 "; end it, or " HOSTRANGE_ADVICE,
                                    (int)owner->pid, owner->name, owner->id, first->range.first,
                                    uid_range_last(first->range));
    else
        first->status = problem_set(first->problem, UIDPOOL_CONFLICT,
                                    "%" PRIu32 " is the %s %s; " HOSTRANGE_ADVICE, owner->id,
                                    owner->kind == HOSTRANGE_USER ? "user" : "group", owner->name);
    return false;
}

static void forward_progress(const char *text, void *userdata)
{
    const struct first_owner *first = userdata;

    if (first->progress)
        first->progress(text, first->userdata);
}

enum uidpool_status hostrange_check_processes(struct uid_range range, struct problem *p)
{
    struct first_owner first = {.range = range, .problem = p, .status = UIDPOOL_OK};
    enum uidpool_status status = hostrange_each_process(range, refuse_owner, &first, p);

    return status == UIDPOOL_OK ? first.status : status;
}

enum uidpool_status hostrange_check_names(struct uid_range range,
                                          void (*progress)(const char *text, void *userdata),
                                          void *userdata, struct problem *p)
{
    struct first_owner first = {.range = range,
                                .progress = progress,
                                .userdata = userdata,
                                .problem = p,
                                .status = UIDPOOL_OK};
    enum uidpool_status status =
        hostrange_each_name(range, refuse_owner, forward_progress, &first, p);

    return status == UIDPOOL_OK ? first.status : status;
}

enum uidpool_status hostrange_check_owners(struct uid_range range,
                                           void (*progress)(const char *text, void *userdata),
                                           void *userdata, struct problem *p)
{
    struct problem why = {0};
    enum uidpool_status status = UIDPOOL_OK;

    if (range.count > 0)
        status = hostrange_check_processes(range, &why);
    if (status != UIDPOOL_OK)
        return problem_set(p, status == UIDPOOL_NOT_FOUND ? UIDPOOL_FAILED : status, "%s",
                           why.text);
    return hostrange_check_names(range, progress, userdata, p);
}

/*
 * Without `files`. Read as glibc reads it (nss/nss_database.c, process_line()): a comment begins
 * anywhere, leading blanks do not matter, a name ends at a blank or a colon, the last line for a
 * name counts, what is malformed is passed over. libeconf would take a leading blank for a
 * continued line and "[" for a section.
 */

enum { PASSWD, GROUP, PASSWD_COMPAT, GROUP_COMPAT, CHOICES };

struct choices {
    char *services[CHOICES]; /* what stands behind the name, or NULL */
};

static void choices_done(struct choices *c)
{
    for (size_t i = 0; i < CHOICES; i++)
        free(c->services[i]);
}

static void read_choice(struct choices *c, char *line)
{
    static const char *const names[CHOICES] = {"passwd", "group", "passwd_compat", "group_compat"};
    size_t length;

    line[strcspn(line, "#\n")] = '\0';
    line += strspn(line, " \t\v\f\r");
    length = strcspn(line, ": \t\v\f\r");
    for (size_t i = 0; i < CHOICES; i++) {
        if (strlen(names[i]) != length || strncmp(line, names[i], length) != 0)
            continue;
        free(c->services[i]);
        c->services[i] = strdup(line + length + strspn(line + length, ": \t\v\f\r"));
    }
}

/* Nothing is read where glibc reads nothing. */
static void read_choices(struct choices *ret)
{
    _cleanup_file_ FILE *file = fopen(NSSWITCH, "re");
    _cleanup_free_ char *line = NULL;
    size_t size = 0;

    while (file && getline(&line, &size, file) >= 0)
        read_choice(ret, line);
}

/* Has the file lines that ask `compat` for users or groups of NIS (nsswitch.conf(5))? */
static bool has_imports(const char *path)
{
    _cleanup_file_ FILE *file = fopen(path, "re");
    _cleanup_free_ char *line = NULL;
    size_t size = 0;

    while (file && getline(&line, &size, file) >= 0)
        if (line[0] == '+')
            return true;
    return false;
}

/* As glibc looks for it. */
static bool is_installed(const char *service)
{
    char name[96];
    void *module;

    if (snprintf(name, sizeof(name), "libnss_%s.so.2", service) >= (int)sizeof(name))
        return false;
    module = dlopen(name, RTLD_LAZY | RTLD_LOCAL);
    if (!module)
        return false;
    (void)dlclose(module);
    return true;
}

static void write_others(FILE *out, const char *line, const char *instead_of_compat);

/* One service and, if there is one, what stands in the brackets behind it. */
static void write_service(FILE *out, const char *service, const char *action, size_t action_length,
                          const char *instead_of_compat)
{
    if (strcmp(service, "files") == 0)
        return;
    if (strcmp(service, "compat") == 0)
        write_others(out, instead_of_compat, "");
    else if (is_installed(service))
        (void)fprintf(out, "%s [UNAVAIL=return TRYAGAIN=return %.*s] ", service, (int)action_length,
                      action);
}

static void write_others(FILE *out, const char *line, const char *instead_of_compat)
{
    static const char blanks[] = " \t\v\f\r";

    while (*(line += strspn(line, blanks))) {
        size_t length = strcspn(line, " \t\v\f\r["), action_length = 0;
        _cleanup_free_ char *service = strndup(line, length);
        const char *action = "";

        line += length;
        line += strspn(line, blanks);
        if (*line == '[') {
            action = line + 1;
            action_length = strcspn(action, "]");
            line = action + action_length;
            line += *line == ']';
        }
        if (service && length > 0)
            write_service(out, service, action, action_length, instead_of_compat);
    }
}

/* Give glibc the line without `files`. If that cannot be, `files` answers too: the caller takes the
 * accounts it knows itself for another's, and refuses. */
static void configure(enum database database, const char *line, const char *compat)
{
    _cleanup_free_ char *others = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&others, &size);

    if (!out)
        return;
    write_others(out, line, compat);
    if (fclose(out) != 0)
        return;
    if (size == 0)
        nobody_to_ask[database] = true;
    else
        (void)__nss_configure_lookup(databases[database], others);
}

bool hostrange_skip_files(void)
{
    static const char *const files[DATABASES] = {[USERS] = "/etc/passwd", [GROUPS] = "/etc/group"};
    _cleanup_(choices_done) struct choices choices = {0};

    read_choices(&choices);
    for (enum database i = USERS; i < DATABASES; i++) {
        /* The default of all is `files` (glibc, nss_database_select_default()). */
        const char *line = choices.services[i == USERS ? PASSWD : GROUP];
        const char *compat = choices.services[i == USERS ? PASSWD_COMPAT : GROUP_COMPAT];

        if (!compat)
            compat = has_imports(files[i]) ? "nis" : "";
        configure(i, line ? line : "", compat);
    }
    return !nobody_to_ask[USERS] || !nobody_to_ask[GROUPS];
}
