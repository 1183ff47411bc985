/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whole rounds: configuration, account files, ledger, and back. On an /etc and a /var/lib of the
 * test's own, in a mount namespace of its own: needs root, and touches nothing of the host.
 */
#include "allocator/hostrange.h"
#include "build_config.h"
#include "common/atomicfile.h"
#include "common/cleanup.h"
#include "provision/provision.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#define BASE HOSTRANGE_AUTO_FIRST
#define LEDGER_DIRECTORY "/var/lib/uidpool"
#define CONFIG "/etc/uidpool"

/* Text of files; numbers of BASE are spelt out, to be read as an administrator would. */
#define PASSWD                               \
    "root:x:0:0:root:/root:/bin/bash\n"      \
    "# kept\n"                               \
    "alice:x:1000:1000::/home/a:/bin/bash\n" \
    "+::::::\n"
#define GROUP "root:x:0:\nshadow:x:42:\nalice:x:1000:\n+:::\n"
#define XEN "[pool xen]\nSize=32752\nPrefix=xen-qemuuser\nAccounts=range-base shared reaper\n"

static const char *const names[ACCOUNT_FILES] = {
    [FILE_SUBUID] = "subuid",   [FILE_SUBGID] = "subgid", [FILE_GROUP] = "group",
    [FILE_GSHADOW] = "gshadow", [FILE_PASSWD] = "passwd", [FILE_SHADOW] = "shadow",
};

static void write_file(const char *path, const char *text)
{
    _cleanup_file_ FILE *file = fopen(path, "we");

    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
}

static void write_etc(enum account_file file, const char *text)
{
    write_file(account_file_path(file), text);
}

/* "" if there is none. */
static const char *read_file(const char *path)
{
    static char text[65536];
    _cleanup_file_ FILE *file = fopen(path, "re");
    size_t n = file ? fread(text, 1, sizeof(text) - 1, file) : 0;

    text[n] = '\0';
    return text;
}

static void remove_all(const char *directory)
{
    _cleanup_dir_ DIR *d = opendir(directory);
    struct dirent *entry;

    while (d && (entry = readdir(d))) {
        char path[512];

        snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (unlink(path) < 0) {
            remove_all(path);
            (void)rmdir(path);
        }
    }
}

static void write_host(void)
{
    remove_all("/etc");
    remove_all("/var/lib");
    write_etc(FILE_PASSWD, PASSWD);
    write_etc(FILE_SHADOW, "root:*:19000:0:99999:7:::\nalice:!:19000:0:99999:7:::\n");
    write_etc(FILE_GROUP, GROUP);
    write_etc(FILE_GSHADOW, "root:*::\nshadow:*::\nalice:!::\n");
    write_etc(FILE_SUBUID, "alice:100000:65536\n");
    write_etc(FILE_SUBGID, "alice:100000:65536\n");
    assert_int_equal(chmod("/etc/shadow", 0640), 0);
    assert_int_equal(chmod("/etc/gshadow", 0640), 0);
    write_file("/etc/nsswitch.conf", "passwd: files\ngroup: files\n");
    write_file("/etc/login.defs", "SYS_UID_MIN 100\nSYS_UID_MAX 999\n");
    assert_int_equal(mkdir(CONFIG, 0755), 0);
    write_file(CONFIG "/uidpool.conf", XEN);
}

/*
 * A run.
 */

struct run {
    struct config *config;
    struct provision v;
    enum uidpool_status status;
    struct problem problem;
    struct user_request request;
};

static void end(struct run *r)
{
    provision_clear(&r->v);
    config_free(r->config);
    *r = (struct run){0};
}

static void look(struct run *r, bool exclusive)
{
    r->status = provision_look(&r->v, exclusive, &r->problem);
}

static void begin(struct run *r)
{
    *r = (struct run){0};
    if (config_read(NULL, CONFIG, &r->config, &r->problem) != UIDPOOL_OK)
        fail_msg("%s", r->problem.text);
    r->v.config = r->config;
    r->v.timeout = 30;
    world_init(&r->v.world, true, NULL, NULL, NULL);
}

static void expect_ok(const struct run *r)
{
    if (r->status != UIDPOOL_OK)
        fail_msg("%d: %s", r->status, r->problem.text);
}

static void expect(const struct run *r, enum uidpool_status status, const char *words)
{
    if (r->status != status || !strstr(r->problem.text, words))
        fail_msg("%d and \"%s\" where %d and \"%s\" were due", r->status, r->problem.text, status,
                 words);
}

static void expect_no_findings(const struct run *r)
{
    for (size_t i = 0; i < r->v.findings.n; i++)
        fail_msg("found: %s", r->v.findings.items[i].text);
}

/* Look and carry out, with everything in order. */
static void apply_request(const struct user_request *request)
{
    _cleanup_(end) struct run r;

    begin(&r);
    if (request) {
        r.request = *request;
        r.v.request = &r.request;
    }
    look(&r, true);
    expect_ok(&r);
    expect_no_findings(&r);
    r.status = provision_carry_out(&r.v, &r.problem);
    expect_ok(&r);
}

static void apply(void)
{
    apply_request(NULL);
}

/* There is nothing left to do, and `check` has nothing to say. */
static void expect_done(void)
{
    _cleanup_(end) struct run r;

    begin(&r);
    r.v.thorough = true;
    look(&r, false);
    expect_ok(&r);
    expect_no_findings(&r);
    assert_true(plan_is_empty(&r.v.plan));
    assert_int_equal(r.v.n_leftovers, 0);
}

/* All account files, one behind the other. The caller's to free. */
static char *read_host(void)
{
    char *all = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&all, &size);

    assert_non_null(stream);
    for (size_t i = 0; i < ACCOUNT_FILES; i++)
        fprintf(stream, "== %s\n%s", names[i], read_file(account_file_path(i)));
    assert_int_equal(fclose(stream), 0);
    return all;
}

static bool exists(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

/* But for locks, which stay. */
static void expect_no_temporaries(void)
{
    for (size_t i = 0; i < ACCOUNT_FILES; i++) {
        char path[64];

        snprintf(path, sizeof(path), "/etc/.%s" ATOMICFILE_SUFFIX, names[i]);
        assert_false(exists(path));
        snprintf(path, sizeof(path), "/etc/.%s-" ATOMICFILE_SUFFIX, names[i]);
        assert_false(exists(path));
        snprintf(path, sizeof(path), "/etc/%s.lock", names[i]);
        assert_false(exists(path));
    }
}

/* Could useradd take its lock now? */
static bool is_locked(void)
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        int fd = open("/etc/.pwd.lock", O_RDWR | O_CLOEXEC);
        struct flock lock = {.l_type = F_WRLCK};

        _exit(fd >= 0 && fcntl(fd, F_SETLK, &lock) < 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WEXITSTATUS(status) == 1;
}

static struct uidpool_pool get_pool(const char *name)
{
    _cleanup_(ledger_closep) struct ledger *l = NULL;
    struct uidpool_pool pool = {0};
    struct problem p;

    assert_int_equal(ledger_open(UIDPOOL_LEDGER_PATH, LEDGER_READ, &l, &p), UIDPOOL_OK);
    if (ledger_pool_by_name(l, name, &pool, &p) != UIDPOOL_OK)
        fail_msg("%s", p.text);
    return pool;
}

/* 0: none. */
static enum ledger_account_state account_state(const char *name)
{
    _cleanup_(ledger_closep) struct ledger *l = NULL;
    struct ledger_account account = {0};
    struct problem p;

    assert_int_equal(ledger_open(UIDPOOL_LEDGER_PATH, LEDGER_READ, &l, &p), UIDPOOL_OK);
    (void)ledger_account_by_name(l, name, &account, &p);
    return account.state;
}

/* As another program would. */
static void insert_pool(const char *name, uid_t base, uint32_t size, bool provisioning)
{
    _cleanup_(ledger_closep) struct ledger *l = NULL;
    struct uidpool_pool pool = {
        .base = base,
        .size = size,
        .gid = base,
        .policy = UIDPOOL_POLICY_DOMID,
        .quarantine = 60,
        .retired = provisioning,
        .provisioning = provisioning,
    };
    struct problem p;

    snprintf(pool.name, sizeof(pool.name), "%s", name);
    if (ledger_open(UIDPOOL_LEDGER_PATH, LEDGER_CREATE, &l, &p) != UIDPOOL_OK ||
        ledger_begin(l, &p) != UIDPOOL_OK || ledger_pool_insert(l, &pool, &p) != UIDPOOL_OK ||
        ledger_commit(l, &p) != UIDPOOL_OK)
        fail_msg("%s", p.text);
}

/* Nobody is in the writers' queue any more, or the child is killed. */
static void expect_writable_ledger(void)
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        struct ledger *l = NULL;
        struct problem p;

        (void)alarm(30);
        _exit(ledger_open(UIDPOOL_LEDGER_PATH, LEDGER_WRITE, &l, &p) != UIDPOOL_OK ||
              ledger_begin(l, &p) != UIDPOOL_OK);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/*
 * Rounds.
 */

static const char provisioned[] =
    "== subuid\nalice:100000:65536\n~uidpool:2113929216:32752\n"
    "== subgid\nalice:100000:65536\n~uidpool:2113929216:32752\n"
    "== gshadow\nroot:*::\nshadow:*::\nalice:!::\n"
    "xen-qemuuser-range-base:!*::\nxen-qemuuser-shared:!*::\nxen-qemuuser-reaper:!*::\n"
    "== group\nroot:x:0:\nshadow:x:42:\nalice:x:1000:\n"
    "xen-qemuuser-range-base:x:2113929216:\nxen-qemuuser-shared:x:999:\n"
    "xen-qemuuser-reaper:x:998:\n+:::\n"
    "== shadow\nroot:*:19000:0:99999:7:::\nalice:!:19000:0:99999:7:::\n"
    "xen-qemuuser-range-base:!*:::::::\nxen-qemuuser-shared:!*:::::::\n"
    "xen-qemuuser-reaper:!*:::::::\n"
    "== passwd\nroot:x:0:0:root:/root:/bin/bash\n# kept\nalice:x:1000:1000::/home/a:/bin/bash\n"
    "xen-qemuuser-range-base:x:2113929216:2113929216:uidpool range base:/nonexistent:"
    "/usr/sbin/nologin\n"
    "xen-qemuuser-shared:x:999:999:uidpool shared:/nonexistent:/usr/sbin/nologin\n"
    "xen-qemuuser-reaper:x:998:998:uidpool reaper:/nonexistent:/usr/sbin/nologin\n+::::::\n";

static void expect_host(const char *text)
{
    _cleanup_free_ char *all = read_host();

    assert_string_equal(all, text);
}

static void test_a_first_round(void **state)
{
    struct uidpool_pool pool;
    struct stat st;

    (void)state;
    write_host();
    apply();
    expect_host(provisioned);
    expect_no_temporaries();
    pool = get_pool("xen");
    assert_int_equal(pool.base, BASE);
    assert_int_equal(pool.gid, BASE);
    assert_int_equal(pool.size, 32752);
    assert_false(pool.retired || pool.provisioning);
    assert_string_equal(read_file("/etc/passwd-"), PASSWD);
    assert_string_equal(read_file("/etc/group-"), GROUP);
    assert_int_equal(stat("/etc/shadow", &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(stat("/etc/shadow-", &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    expect_done();

    /* The second run does nothing: not even the inodes are new. */
    assert_int_equal(stat("/etc/shadow", &st), 0);
    ino_t before = st.st_ino;
    apply();
    assert_int_equal(stat("/etc/shadow", &st), 0);
    assert_int_equal(st.st_ino, before);
    expect_host(provisioned);
}

static void test_a_look_changes_nothing(void **state)
{
    _cleanup_free_ char *before = NULL;
    _cleanup_(end) struct run r;

    (void)state;
    write_host();
    before = read_host();
    begin(&r);
    look(&r, false);
    expect_ok(&r);
    expect_no_findings(&r);
    assert_false(plan_is_empty(&r.v.plan));
    assert_null(r.v.lock);
    assert_null(r.v.ledger);
    assert_false(r.v.state.exists);
    assert_false(exists(LEDGER_DIRECTORY));
    assert_false(exists("/etc/.pwd.lock"));
    expect_host(before);
    /* And cannot be carried out. */
    r.status = provision_carry_out(&r.v, &r.problem);
    expect(&r, UIDPOOL_FAILED, "are not locked");
    expect_host(before);
    /* The same run may look again. */
    look(&r, true);
    expect_ok(&r);
    assert_true(is_locked());
    assert_false(exists(LEDGER_DIRECTORY));
    r.status = provision_carry_out(&r.v, &r.problem);
    expect_ok(&r);
    assert_false(is_locked());
    expect_host(provisioned);
    look(&r, true);
    expect_ok(&r);
    assert_true(r.v.state.exists);
    assert_true(plan_is_empty(&r.v.plan));
    r.status = provision_carry_out(&r.v, &r.problem);
    expect_ok(&r);
    assert_false(is_locked());
}

static void test_leftovers_outlive_the_lock(void **state)
{
    _cleanup_(end) struct run r;

    (void)state;
    write_host();
    write_file("/etc/passwd.lock", "");
    write_file("/etc/.pwd.lock", "");
    assert_int_equal(chmod("/etc/.pwd.lock", 0600), 0);
    begin(&r);
    look(&r, false);
    expect_ok(&r);
    assert_null(r.v.lock);
    assert_int_equal(r.v.n_leftovers, 1);
    assert_string_equal(r.v.leftovers[0].path, "/etc/passwd.lock");
    assert_true(exists("/etc/passwd.lock"));
    end(&r);
    apply();
    expect_host(provisioned);
    expect_no_temporaries();
}

/* Neither the files nor the ledger, which there is none of. */
static void test_conflicts_leave_nothing(void **state)
{
    _cleanup_free_ char *before = NULL;
    _cleanup_(end) struct run r;

    (void)state;
    write_host();
    write_file(CONFIG "/uidpool.conf", XEN "Base=2113929216\n");
    write_etc(FILE_PASSWD, "root:x:0:0:root:/root:/bin/bash\nbob:x:2113929217:100::/:/bin/sh\n"
                           "carol:x:2113929218:100::/:/bin/sh\n");
    write_etc(FILE_SHADOW, "root:*:::::::\nbob:*:::::::\ncarol:*:::::::\n");
    before = read_host();
    begin(&r);
    look(&r, true);
    expect_ok(&r);
    assert_int_equal(findings_count(&r.v.findings, FINDING_CONFLICT), 2);
    r.status = provision_carry_out(&r.v, &r.problem);
    expect(&r, UIDPOOL_CONFLICT, "2 conflicts are in the way; nothing was changed");
    assert_false(is_locked());
    assert_false(exists(LEDGER_DIRECTORY));
    assert_false(exists("/etc/passwd-"));
    expect_host(before);
    expect_no_temporaries();
    /* Which automatic bases keep clear of. */
    end(&r);
    write_file(CONFIG "/uidpool.conf", XEN);
    apply();
    assert_int_equal(get_pool("xen").base, BASE + HOSTRANGE_AUTO_STEP);
    expect_done();
}

static void test_what_cannot_be_read(void **state)
{
    _cleanup_(end) struct run r;

    (void)state;
    write_host();
    write_file(CONFIG "/uidpool.conf", "[pool xen]\nSize=0\n");
    begin(&r);
    look(&r, true);
    expect(&r, UIDPOOL_FAILED, "Size");
    assert_false(exists("/etc/.pwd.lock"));
    end(&r);

    write_file(CONFIG "/uidpool.conf", XEN);
    assert_int_equal(unlink("/etc/shadow"), 0);
    begin(&r);
    look(&r, true);
    expect(&r, UIDPOOL_FAILED, "/etc/shadow");
    assert_false(is_locked());
    assert_false(exists(LEDGER_DIRECTORY));
    end(&r);

    write_host();
    assert_int_equal(mkdir(LEDGER_DIRECTORY, 0700), 0);
    write_file(UIDPOOL_LEDGER_PATH, "no database, and longer than the header of one would be: "
                                    "................................................");
    assert_int_equal(chmod(UIDPOOL_LEDGER_PATH, 0600), 0);
    for (int exclusive = 0; exclusive < 2; exclusive++) {
        begin(&r);
        look(&r, exclusive);
        expect(&r, UIDPOOL_LEDGER, UIDPOOL_LEDGER_PATH);
        assert_null(r.v.lock);
        end(&r);
    }
}

/* A file that cannot be replaced shows before the ledger hears of anything. */
static void test_files_that_refuse(void **state)
{
    _cleanup_free_ char *before = NULL;
    _cleanup_(end) struct run r;

    (void)state;
    write_host();
    before = read_host();
    begin(&r);
    look(&r, true);
    expect_ok(&r);
    assert_int_equal(mount("/etc/shadow", "/etc/shadow", NULL, MS_BIND, NULL), 0);
    r.status = provision_carry_out(&r.v, &r.problem);
    assert_int_equal(umount("/etc/shadow"), 0);
    assert_int_equal(r.status, r.problem.status);
    expect(&r, UIDPOOL_FAILED, "nothing was changed");
    assert_false(exists(LEDGER_DIRECTORY));
    assert_false(is_locked());
    expect_host(before);
    expect_no_temporaries();
    apply();
    expect_host(provisioned);
}

/* Somebody else's pool came between the look and the intent. */
static void test_a_ledger_that_refuses(void **state)
{
    _cleanup_free_ char *before = NULL;
    _cleanup_(end) struct run r;

    (void)state;
    write_host();
    before = read_host();
    begin(&r);
    look(&r, true);
    expect_ok(&r);
    insert_pool("other", BASE + 32751, 10, false);
    r.status = provision_carry_out(&r.v, &r.problem);
    expect(&r, UIDPOOL_CONFLICT, "overlaps another pool");
    expect(&r, UIDPOOL_CONFLICT, "; nothing was changed");
    expect_host(before);
    expect_no_temporaries();
    expect_writable_ledger();
    end(&r);
    apply();
    assert_int_equal(get_pool("xen").base, BASE + HOSTRANGE_AUTO_STEP);
    expect_done();
}

/* All that a cut-off run can have left, up to the last rename: the next one ends the same. */
static void test_cut_off_runs(void **state)
{
    _cleanup_free_ char *files[ACCOUNT_FILES] = {NULL};

    (void)state;
    write_host();
    apply();
    for (size_t i = 0; i < ACCOUNT_FILES; i++)
        assert_non_null(files[i] = strdup(read_file(account_file_path(i))));
    for (size_t n = 0; n <= ACCOUNT_FILES; n++) {
        write_host();
        insert_pool("xen", BASE, 32752, true);
        for (size_t i = 0; i < n; i++)
            write_etc(i, files[i]);
        write_file("/etc/.passwd" ATOMICFILE_SUFFIX, "root:x:0:0");
        apply();
        expect_host(provisioned);
        expect_no_temporaries();
        assert_false(get_pool("xen").provisioning);
        assert_false(get_pool("xen").retired);
        expect_done();
    }
    for (size_t i = 0; i < ACCOUNT_FILES; i++)
        free(take_ptr(files[i]));
}

/* The numbers are the ledger's, though others would be chosen today. */
static void test_carried_on_with_the_same_numbers(void **state)
{
    (void)state;
    write_host();
    insert_pool("xen", BASE + 3 * HOSTRANGE_AUTO_STEP, 32752, true);
    apply();
    assert_int_equal(get_pool("xen").base, BASE + 3 * HOSTRANGE_AUTO_STEP);
    expect_done();
}

static void test_changes(void **state)
{
    struct uidpool_pool pool;
    struct stat before, st;

    (void)state;
    write_host();
    apply();
    assert_int_equal(stat("/etc/passwd", &before), 0);
    write_file(CONFIG "/uidpool.conf", XEN "Quarantine=30\nFollow=yes\n");
    apply();
    assert_int_equal(stat("/etc/passwd", &st), 0);
    assert_int_equal(st.st_ino, before.st_ino);
    pool = get_pool("xen");
    assert_int_equal(pool.quarantine, 30);
    assert_true(pool.follow);
    expect_host(provisioned);
    expect_done();

    /* The gid is the account's, as libxl has it. */
    write_etc(FILE_PASSWD,
              "root:x:0:0:root:/root:/bin/bash\n"
              "xen-qemuuser-range-base:x:2113929216:42:Xen:/nonexistent:/usr/sbin/nologin\n"
              "xen-qemuuser-shared:x:999:999:uidpool shared:/nonexistent:/usr/sbin/nologin\n"
              "xen-qemuuser-reaper:x:998:998:uidpool reaper:/nonexistent:/usr/sbin/nologin\n");
    apply();
    assert_int_equal(get_pool("xen").gid, 42);
    expect_done();
}

static void test_an_adopted_range(void **state)
{
    (void)state;
    write_host();
    write_etc(FILE_PASSWD, "root:x:0:0:root:/root:/bin/bash\n"
                           "xen-qemuuser-range-base:x:2114060288:42::/:/usr/sbin/nologin\n");
    write_etc(FILE_SHADOW, "root:*:::::::\nxen-qemuuser-range-base:!:::::::\n");
    apply();
    assert_int_equal(get_pool("xen").base, 2114060288);
    assert_int_equal(get_pool("xen").gid, 42);
    /* It stays as it was made. */
    assert_non_null(strstr(read_file("/etc/passwd"),
                           "xen-qemuuser-range-base:x:2114060288:42::/:/usr/sbin/nologin\n"));
    expect_done();
}

static void test_two_pools_and_none(void **state)
{
    struct stat before, st;

    (void)state;
    write_host();
    write_file(CONFIG "/uidpool.conf", "[pool a]\nSize=70000\nPolicy=next\nGroup=per-uid\n"
                                       "[pool b]\nSize=20\nPrefix=b\nAccounts=per-domid reaper\n");
    apply();
    assert_int_equal(get_pool("a").base, BASE);
    assert_true(get_pool("a").group_per_uid);
    assert_int_equal(get_pool("b").base, BASE + 2 * HOSTRANGE_AUTO_STEP);
    assert_non_null(strstr(read_file("/etc/passwd"), "b-domid19:x:2114060307:2114060288:"));
    expect_done();

    /* Without sections nothing is wanted, and nothing is taken away. */
    write_file(CONFIG "/uidpool.conf", "");
    apply();
    assert_int_equal(get_pool("a").size, 70000);
    expect_done();
    write_host();
    write_file(CONFIG "/uidpool.conf", "");
    apply();
    assert_false(exists(LEDGER_DIRECTORY));

    /* What another tool left is mended all the same, and a file that is whole is left alone. */
    assert_int_equal(stat("/etc/passwd", &before), 0);
    write_etc(FILE_SHADOW, "root:*:19000:0:99999:7:::\n");
    apply();
    assert_int_equal(stat("/etc/passwd", &st), 0);
    assert_int_equal(st.st_ino, before.st_ino);
    assert_non_null(strstr(read_file("/etc/shadow"), "\nalice:"));
    assert_false(exists(LEDGER_DIRECTORY));
}

/*
 * Accounts of single uids.
 */

static struct user_request request_for(const char *name, bool remove)
{
    struct user_request request = {.remove = remove, .pool = "xen", .uid = BASE + 7, .gid = BASE};

    snprintf(request.name, sizeof(request.name), "%s", name);
    return request;
}

static void test_an_account(void **state)
{
    struct user_request add = request_for("backup", false), remove = request_for("backup", true);

    (void)state;
    write_host();
    write_file(CONFIG "/uidpool.conf", "[pool xen]\nSize=100\n");
    apply();
    apply_request(&add);
    assert_int_equal(account_state("backup"), LEDGER_ACCOUNT_PRESENT);
    assert_non_null(strstr(read_file("/etc/passwd"), "backup:x:2113929223:2113929216:"));
    expect_done();
    apply_request(&add);
    expect_done();

    apply_request(&remove);
    assert_int_equal(account_state("backup"), LEDGER_ACCOUNT_REMOVED);
    assert_non_null(strstr(read_file("/etc/shadow"), "backup:!*::::::1:\n"));
    expect_done();
    apply_request(&add);
    assert_int_equal(account_state("backup"), LEDGER_ACCOUNT_PRESENT);
    assert_non_null(strstr(read_file("/etc/shadow"), "backup:!*:::::::\n"));
    expect_done();
}

static unsigned asked;

static enum uidpool_status ask_for_backup(struct provision *v, struct problem *p)
{
    static struct user_request request;

    (void)p;
    asked++;
    /* All that it may need is there. */
    assert_non_null(v->lock);
    assert_non_null(v->ledger);
    request = request_for("backup", false);
    request.gid = v->choices.pools[0].gid;
    v->request = &request;
    return UIDPOOL_OK;
}

static enum uidpool_status ask_in_vain(struct provision *v, struct problem *p)
{
    (void)v;
    return problem_set(p, UIDPOOL_EXHAUSTED, "in vain");
}

static enum uidpool_status lose_a_finding(struct provision *v, struct problem *p)
{
    (void)p;
    v->findings.no_memory = true;
    return UIDPOOL_OK;
}

static void test_asking(void **state)
{
    _cleanup_(end) struct run r;

    (void)state;
    write_host();
    write_file(CONFIG "/uidpool.conf", "[pool xen]\nSize=100\n");
    apply();
    begin(&r);
    r.v.ask = ask_in_vain;
    look(&r, true);
    expect(&r, UIDPOOL_EXHAUSTED, "in vain");
    assert_null(r.v.lock);
    r.v.ask = lose_a_finding;
    look(&r, true);
    expect(&r, UIDPOOL_FAILED, "Cannot allocate memory");
    assert_null(r.v.lock);

    r.v.ask = ask_for_backup;
    asked = 0;
    look(&r, true);
    expect_ok(&r);
    r.status = provision_carry_out(&r.v, &r.problem);
    expect_ok(&r);
    assert_int_equal(asked, 1);
    assert_int_equal(account_state("backup"), LEDGER_ACCOUNT_PRESENT);
    expect_done();
}

/* The reservation and the account are one: neither is made where the other is refused. */
static void test_an_account_that_is_refused(void **state)
{
    struct user_request request = request_for("backup", false);
    _cleanup_free_ char *before = NULL;
    struct uidpool_reservation r = {.name = "web", .uid = BASE + 7, .count = 1};
    _cleanup_(end) struct run run;

    (void)state;
    write_host();
    write_file(CONFIG "/uidpool.conf", "[pool xen]\nSize=100\n");
    apply();
    before = read_host();
    begin(&run);
    run.v.request = &request;
    look(&run, true);
    expect_ok(&run);
    snprintf(r.pool, sizeof(r.pool), "xen");
    {
        _cleanup_(ledger_closep) struct ledger *l = NULL;
        struct allocator a = {0};
        struct problem p;

        assert_int_equal(ledger_open(UIDPOOL_LEDGER_PATH, LEDGER_WRITE, &l, &p), UIDPOOL_OK);
        a.ledger = l;
        assert_int_equal(ledger_begin(l, &p), UIDPOOL_OK);
        assert_int_equal(allocator_reserve_within(&a, &r, &p), UIDPOOL_OK);
        assert_int_equal(ledger_commit(l, &p), UIDPOOL_OK);
    }
    run.status = provision_carry_out(&run.v, &run.problem);
    expect(&run, UIDPOOL_CONFLICT, "uid 2113929223 of pool xen is reserved for web");
    assert_int_equal(account_state("backup"), 0);
    expect_host(before);
    expect_no_temporaries();
}

/* What `user add` had begun, the next run of whatever verb ends. */
static void test_an_account_that_was_cut_off(void **state)
{
    _cleanup_(ledger_closep) struct ledger *l = NULL;
    struct uidpool_reservation r = {.name = "backup", .uid = BASE + 7, .count = 1};
    struct ledger_account account = {.name = "backup", .uid = BASE + 7, .gid = BASE};
    struct allocator a = {0};
    struct problem p;

    (void)state;
    write_host();
    write_file(CONFIG "/uidpool.conf", "[pool xen]\nSize=100\n");
    apply();
    snprintf(r.pool, sizeof(r.pool), "xen");
    assert_int_equal(ledger_open(UIDPOOL_LEDGER_PATH, LEDGER_WRITE, &l, &p), UIDPOOL_OK);
    a.ledger = l;
    assert_int_equal(ledger_begin(l, &p), UIDPOOL_OK);
    assert_int_equal(allocator_reserve_within(&a, &r, &p), UIDPOOL_OK);
    account.pool_id = r.pool_id;
    assert_int_equal(ledger_account_insert(l, &account, &p), UIDPOOL_OK);
    assert_int_equal(ledger_commit(l, &p), UIDPOOL_OK);
    apply();
    assert_int_equal(account_state("backup"), LEDGER_ACCOUNT_PRESENT);
    assert_non_null(strstr(read_file("/etc/passwd"), "backup:x:2113929223:2113929216:"));
    expect_done();

    assert_int_equal(ledger_begin(l, &p), UIDPOOL_OK);
    assert_int_equal(ledger_account_set_state(l, "backup", LEDGER_ACCOUNT_REMOVING, &p),
                     UIDPOOL_OK);
    assert_int_equal(ledger_commit(l, &p), UIDPOOL_OK);
    apply();
    assert_int_equal(account_state("backup"), LEDGER_ACCOUNT_REMOVED);
    assert_non_null(strstr(read_file("/etc/shadow"), "backup:!*::::::1:\n"));
    expect_done();
}

/*
 * What the ledger says, as it is read.
 */

static void test_state(void **state)
{
    _cleanup_(state_clear) struct state s = {0};
    _cleanup_(ledger_closep) struct ledger *l = NULL;
    struct problem p;

    (void)state;
    assert_int_equal(state_read(NULL, &s, &p), UIDPOOL_OK);
    assert_false(s.exists);
    assert_int_equal(s.n_pools + s.n_accounts, 0);
    assert_string_equal(
        state_overlap(&s, (struct uid_range){LEDGER_REAPER_FIRST + LEDGER_REAPER_COUNT - 1, 1}),
        "the reaper");
    assert_null(
        state_overlap(&s, (struct uid_range){LEDGER_REAPER_FIRST + LEDGER_REAPER_COUNT, 1}));
    state_clear(&s);

    write_host();
    for (unsigned i = 0; i < 5; i++) {
        char name[8];

        snprintf(name, sizeof(name), "p%u", i);
        insert_pool(name, BASE + i * 100, 100, i == 2);
    }
    assert_int_equal(ledger_open(UIDPOOL_LEDGER_PATH, LEDGER_READ, &l, &p), UIDPOOL_OK);
    assert_int_equal(state_read(l, &s, &p), UIDPOOL_OK);
    assert_true(s.exists);
    assert_int_equal(s.n_pools, 5);
    assert_int_equal(s.reaper_first, LEDGER_REAPER_FIRST);
    assert_int_equal(s.reaper_count, LEDGER_REAPER_COUNT);
    assert_int_equal(state_pool(&s, "p3")->base, BASE + 300);
    assert_true(state_pool(&s, "p2")->provisioning);
    assert_null(state_pool(&s, "p"));
    assert_null(state_account(&s, "p3"));
    assert_string_equal(state_overlap(&s, (struct uid_range){BASE + 399, 1}), "p3");
    assert_string_equal(state_overlap(&s, (struct uid_range){BASE - 5, 6}), "p0");
    assert_null(state_overlap(&s, (struct uid_range){BASE - 5, 5}));
    assert_null(state_overlap(&s, (struct uid_range){BASE + 500, 1000}));
}

static int run_all(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_state),
        cmocka_unit_test(test_a_first_round),
        cmocka_unit_test(test_a_look_changes_nothing),
        cmocka_unit_test(test_leftovers_outlive_the_lock),
        cmocka_unit_test(test_conflicts_leave_nothing),
        cmocka_unit_test(test_what_cannot_be_read),
        cmocka_unit_test(test_files_that_refuse),
        cmocka_unit_test(test_a_ledger_that_refuses),
        cmocka_unit_test(test_cut_off_runs),
        cmocka_unit_test(test_carried_on_with_the_same_numbers),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_an_adopted_range),
        cmocka_unit_test(test_two_pools_and_none),
        cmocka_unit_test(test_an_account),
        cmocka_unit_test(test_asking),
        cmocka_unit_test(test_an_account_that_is_refused),
        cmocka_unit_test(test_an_account_that_was_cut_off),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* A mount namespace of its own, or it would write to the host's /etc. */
int main(void)
{
    if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", "/etc", "tmpfs", 0, "mode=755") < 0 ||
        mount("tmpfs", "/var/lib", "tmpfs", 0, "mode=755") < 0) {
        print_message("SKIP: needs root and a mount namespace of its own: %s\n", strerror(errno));
        return 77;
    }
    return run_all();
}
