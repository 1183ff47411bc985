/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who is in the way of a range, on an /etc, a /srv and in a PID namespace of the test's own: needs
 * root, and touches nothing of the host.
 */
#include "provision/world.h"

#include "allocator/hostrange.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "provision/places.h"
#include "provision/provision.h"
#include "tests/unit/name-service.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#define BASE HOSTRANGE_AUTO_FIRST

static const struct uid_range range = {.first = BASE, .count = 64};
static const char *const srv[] = {"/srv", NULL};

/* What a test gets, anew each time. */
static struct account_files files;
static struct findings findings;
static struct problem problem;
static struct world world;

static void write_text(const char *path, const char *text)
{
    _cleanup_file_ FILE *file = fopen(path, "we");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
}

static void read_files(void)
{
    files_clear(&files);
    if (files_read(&files, &problem) != UIDPOOL_OK)
        fail_msg("%s", problem.text);
}

/* An ordinary host: nobody has anything of the range. */
static int set_up(void **state)
{
    (void)state;
    (void)umount2("/srv", MNT_DETACH);
    if (mount("tmpfs", "/srv", "tmpfs", 0, NULL) < 0)
        return -1;
    write_text("/etc/nsswitch.conf", "passwd: files\ngroup: files\n");
    write_text("/etc/passwd", "root:x:0:0::/:/bin/sh\nbefore:x:2113929215:0::/:/bin/sh\n"
                              "behind:x:2113929280:0::/:/bin/sh\n");
    write_text("/etc/group", "root:x:0:\nbefore:x:2113929215:\nbehind:x:2113929280:\n");
    write_text("/etc/shadow", "root:*:1::::::\n");
    write_text("/etc/gshadow", "root:*::\n");
    write_text("/etc/subuid", "alice:100000:65536\n");
    write_text("/etc/subgid", "alice:100000:65536\n");
    write_text("/etc/login.defs", "UID_MIN 1000\nUID_MAX 60000\n");
    read_files();
    world = (struct world){.no_names = true};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    findings_clear(&findings);
    files_clear(&files);
    return 0;
}

static void check_again(struct uid_range r, enum finding_kind kind, enum uidpool_status want)
{
    enum uidpool_status status =
        world_check_range(&world, &files, "xen", r, "mine", kind, &findings, &problem);

    if (status != want)
        fail_msg("%d and not %d: %s", status, want, problem.text);
}

/* Look at the range; the findings are those of this look alone. */
static void check(struct uid_range r)
{
    findings_clear(&findings);
    check_again(r, FINDING_CONFLICT, UIDPOOL_OK);
}

static void expect(enum finding_kind kind, const char *words)
{
    for (size_t i = 0; i < findings.n; i++)
        if (findings.items[i].kind == kind && strstr(findings.items[i].text, words))
            return;
    for (size_t i = 0; i < findings.n; i++)
        print_message("%d: %s\n", findings.items[i].kind, findings.items[i].text);
    fail_msg("no finding of kind %d says \"%s\"", kind, words);
}

static void expect_number(size_t conflicts, size_t warnings)
{
    if (findings_count(&findings, FINDING_CONFLICT) == conflicts &&
        findings_count(&findings, FINDING_WARNING) == warnings)
        return;
    for (size_t i = 0; i < findings.n; i++)
        print_message("%d: %s\n", findings.items[i].kind, findings.items[i].text);
    fail_msg("not %zu conflicts and %zu warnings", conflicts, warnings);
}

/*
 * The files.
 */

static void test_a_free_range(void **state)
{
    (void)state;
    check(range);
    expect_number(0, 0);
}

static void test_users_and_groups(void **state)
{
    (void)state;
    write_text("/etc/passwd",
               "root:x:0:0::/:\neve:x:2113929279:2113929279::/:\nmine:x:2113929216:0::/:\n"
               "mallory:x:2113929220:0::/:\n");
    write_text("/etc/group", "root:x:0:\nmine:x:2113929216:\nsome:x:2113929217:\n");
    read_files();
    check(range);
    expect(FINDING_CONFLICT, "pool xen: 2113929279 is the user eve of /etc/passwd");
    expect(FINDING_CONFLICT, "pool xen: 2113929220 is the user mallory of /etc/passwd");
    expect(FINDING_CONFLICT, "pool xen: 2113929217 is the group some of /etc/group");
    expect_number(3, 0);

    findings_clear(&findings);
    check_again(range, FINDING_DRIFT, UIDPOOL_OK);
    assert_int_equal(findings_count(&findings, FINDING_DRIFT), 3);
    expect_number(0, 0);
    /* A pool that is there has no choice of a range. */
    for (size_t i = 0; i < findings.n; i++)
        assert_null(strstr(findings.items[i].text, "another range"));

    /* Nobody is `own`; and a name that begins like it is another. */
    write_text("/etc/passwd", "root:x:0:0::/:\nmine2:x:2113929216:0::/:\nmin:x:2113929217:0::/:\n");
    read_files();
    check(range);
    expect_number(3, 0);
    findings_clear(&findings);
    assert_int_equal(world_check_range(&world, &files, "xen", range, NULL, FINDING_CONFLICT,
                                       &findings, &problem),
                     UIDPOOL_OK);
    expect_number(4, 0);
}

static void test_eight_of_a_sort(void **state)
{
    _cleanup_file_ FILE *file = fopen("/etc/passwd", "we");

    (void)state;
    fprintf(file, "root:x:0:0::/:\n");
    for (unsigned i = 0; i < 64; i++)
        fprintf(file, "user%u:x:%u:0::/:\n", i, BASE + i);
    assert_int_equal(fflush(file), 0);
    write_text("/etc/group", "root:x:0:\nsome:x:2113929217:\n");
    read_files();
    check(range);
    expect(FINDING_CONFLICT, "the user user7 of");
    expect(FINDING_CONFLICT, "pool xen: and 56 more users");
    expect(FINDING_CONFLICT, "the group some");
    expect_number(10, 0);
    check((struct uid_range){BASE, 8});
    expect_number(9, 0);
}

static void test_odd_lines(void **state)
{
    (void)state;
    write_text("/etc/passwd", "root:x:0:0::/:\n# one\neve:x:2113929216:0\n");
    read_files();
    check(range);
    expect(FINDING_CONFLICT, "2113929216 is the id on line 3 of /etc/passwd, which is malformed");
    expect_number(1, 0);
}

static void test_users_of_its_groups(void **state)
{
    (void)state;
    write_text("/etc/passwd", "root:x:0:0::/:\neve:x:1000:2113929216::/:\n"
                              "mine:x:1001:2113929217::/:\nbob:x:1002:2113929280::/:\n");
    read_files();
    check(range);
    expect(FINDING_WARNING, "the user eve of /etc/passwd has the primary group 2113929216");
    expect_number(0, 1);
}

struct asked {
    unsigned users, groups;
};

/* The first ids of the range are its own. */
static bool is_low(const struct account_table *t, const struct entry *e, void *userdata)
{
    struct asked *asked = userdata;

    asked->users += t->file == FILE_PASSWD;
    asked->groups += t->file == FILE_GROUP;
    return e->id < BASE + 2;
}

static void test_what_is_its_own(void **state)
{
    struct asked asked = {0};

    (void)state;
    write_text("/etc/passwd", "root:x:0:0::/:\na:x:2113929216:0::/:\nb:x:2113929217:0::/:\n"
                              "c:x:2113929218:0::/:\n");
    write_text("/etc/group", "root:x:0:\na:x:2113929216:\nd:x:2113929219:\n");
    read_files();
    assert_int_equal(world_check_range_but(&world, &files, "xen", range, is_low, &asked,
                                           FINDING_CONFLICT, &findings, &problem),
                     UIDPOOL_OK);
    assert_int_equal(asked.users, 3);
    assert_int_equal(asked.groups, 2);
    expect(FINDING_CONFLICT, "the user c");
    expect(FINDING_CONFLICT, "the group d");
    expect_number(2, 0);
}

/*
 * Claims.
 */

static void test_grants(void **state)
{
    (void)state;
    write_text("/etc/subuid", "~uidpool:2113929216:64\nalice:2113929270:65536\n");
    write_text("/etc/subgid", "bob:2113929000:217\n");
    check(range);
    expect(FINDING_CONFLICT, "overlap 2113929270 to 2113994805, and may be used by alice "
                             "(/etc/subuid, line 2); take that grant back");
    expect(FINDING_CONFLICT, "bob (/etc/subgid, line 1)");
    expect_number(2, 0);
    write_text("/etc/subuid", "alice:2113929270:many\n");
    check_again(range, FINDING_CONFLICT, UIDPOOL_FAILED);
    assert_non_null(strstr(problem.text, "/etc/subuid, line 1"));
}

static void test_ranges_of_others(void **state)
{
    (void)state;
    check((struct uid_range){61000, 1000});
    expect(FINDING_CONFLICT, "belong to systemd's DynamicUser=");
    expect(FINDING_CONFLICT, "belong to Debian, reserved");
    /* Xen's documented base: nothing but what may come one day. */
    check((struct uid_range){200000, 32752});
    assert_int_equal(findings_count(&findings, FINDING_CONFLICT), 0);
    expect(FINDING_WARNING, "FreeIPA");
    expect(FINDING_WARNING, "kubelet");
    expect(FINDING_WARNING, "SUB_UID_MIN");
    expect(FINDING_WARNING, "see that others are taken there");
    /* Of a pool that is there it was told once. */
    findings_clear(&findings);
    check_again((struct uid_range){200000, 32752}, FINDING_DRIFT, UIDPOOL_OK);
    assert_int_equal(findings.n, 0);
    check_again((struct uid_range){61000, 1000}, FINDING_DRIFT, UIDPOOL_OK);
    expect(FINDING_DRIFT, "belong to Debian, reserved; see that nobody gets one of them");
}

/* What useradd hands out as a uid no guard keeps off; what it grants, one does. */
static void test_login_defs(void **state)
{
    (void)state;
    write_text("/etc/login.defs", "UID_MIN 2113929000\nUID_MAX 2113929216\n");
    check(range);
    expect(FINDING_CONFLICT, "UID_MIN and UID_MAX");
    expect_number(1, 0);
    write_text("/etc/login.defs", "SYS_GID_MIN 2113929279\nSYS_GID_MAX 2113929300\n");
    check(range);
    expect(FINDING_CONFLICT, "SYS_GID_MIN");
    expect_number(1, 0);
    write_text("/etc/login.defs", "SUB_UID_MIN 2113929279\nSUB_UID_MAX 2147000000\n"
                                  "SUB_GID_MIN 2113929279\nSUB_GID_MAX 2147000000\n");
    check(range);
    expect(FINDING_WARNING, "SUB_UID_MIN");
    expect(FINDING_WARNING, "SUB_GID_MIN");
    expect_number(0, 2);
}

/*
 * Processes.
 */

struct child {
    pid_t pid;
    int hold; /* it ends when this is closed, here and in those that were started after it */
};

static struct child start(uid_t real, uid_t effective)
{
    struct child c;
    int in[2], out[2];
    char byte;

    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    c.pid = fork();
    assert_true(c.pid >= 0);
    if (c.pid == 0) {
        close(in[1]);
        if (setresuid(real, effective, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ||
            write(out[1], "", 1) != 1)
            _exit(1);
        _exit(read(in[0], &byte, 1) != 0);
    }
    close(in[0]);
    close(out[1]);
    assert_int_equal(read(out[0], &byte, 1), 1);
    close(out[0]);
    c.hold = in[1];
    return c;
}

static void end(struct child c)
{
    close(c.hold);
    assert_int_equal(waitpid(c.pid, NULL, 0), c.pid);
}

static void test_processes(void **state)
{
    struct child one = start(BASE + 63, BASE + 63), two = start(0, BASE);

    (void)state;
    check(range);
    expect(FINDING_CONFLICT, "(test-world) runs as 2113929279; end it, or take another range");
    expect(FINDING_CONFLICT, "(test-world) runs as 2113929216");
    expect_number(2, 0);
    check((struct uid_range){BASE + 1, 62});
    expect_number(0, 0);
    world.skip_processes = true;
    check(range);
    expect_number(0, 0);
    world = (struct world){.offline = true};
    check(range);
    expect_number(0, 0);
    end(two);
    end(one);
    world = (struct world){.no_names = true};
    check(range);
    expect_number(0, 0);
}

/* In a child with a mount namespace of its own; what fails there fails here. */
static void in_child(void (*what)(void))
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        if (unshare(CLONE_NEWNS) < 0)
            _exit(99);
        what();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("it failed in the child: status %x", status);
}

/* An assertion of cmocka's jumps out of a test, which a child must not. */
#define CHILD_EXPECTS(condition)                                                               \
    do {                                                                                       \
        if (!(condition)) {                                                                    \
            fprintf(stderr, "%s:%d: not so: %s; %s\n", __FILE__, __LINE__, #condition,         \
                    problem.text);                                                             \
            for (size_t i_ = 0; i_ < findings.n; i_++)                                         \
                fprintf(stderr, "%d: %s\n", findings.items[i_].kind, findings.items[i_].text); \
            _exit(1);                                                                          \
        }                                                                                      \
    } while (0)

static enum uidpool_status look(void)
{
    return world_check_range(&world, &files, "xen", range, NULL, FINDING_CONFLICT, &findings,
                             &problem);
}

static void child_without_proc(void)
{
    struct findings unseen = {0};
    uid_t base = 0;

    CHILD_EXPECTS(mount("tmpfs", "/proc", "tmpfs", 0, NULL) == 0);
    world_init(&world, false, NULL, NULL, NULL);
    CHILD_EXPECTS(look() == UIDPOOL_OK && look() == UIDPOOL_OK);
    CHILD_EXPECTS(findings.n == 1 && findings.items[0].kind == FINDING_WARNING);
    CHILD_EXPECTS(strstr(findings.items[0].text, "there is no /proc here"));
    /* Somewhere else, where a search says it too. */
    findings_clear(&findings);
    world.unseen = &unseen;
    CHILD_EXPECTS(world_find_base(&world, &files, 9, NULL, NULL, &base, &problem) == UIDPOOL_OK);
    CHILD_EXPECTS(base == BASE && look() == UIDPOOL_OK);
    CHILD_EXPECTS(findings.n == 0 && unseen.n == 1);
    /* Who did not want to ask is told nothing. */
    world.unseen = NULL;
    world.skip_processes = true;
    CHILD_EXPECTS(look() == UIDPOOL_OK && findings.n == 0);
    world_init(&world, true, NULL, NULL, NULL);
    CHILD_EXPECTS(look() == UIDPOOL_OK && findings.n == 0);
}

static void test_no_proc(void **state)
{
    (void)state;
    in_child(child_without_proc);
}

static void child_with_a_hidden_process(void)
{
    uid_t base = 7;

    CHILD_EXPECTS(mount("tmpfs", "/proc/1", "tmpfs", 0, NULL) == 0);
    world_init(&world, false, NULL, NULL, NULL);
    CHILD_EXPECTS(look() == UIDPOOL_FAILED &&
                  strstr(problem.text, "cannot tell whether a process"));
    CHILD_EXPECTS(world_find_base(&world, &files, 9, NULL, NULL, &base, &problem) ==
                      UIDPOOL_FAILED &&
                  base == 7);
}

static void test_a_proc_that_hides(void **state)
{
    (void)state;
    in_child(child_with_a_hidden_process);
}

/*
 * Name services.
 */

static off_t number_of_bytes(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? st.st_size : 0;
}

/* nss-uidpooltest.c knows eve and two groups, the files know mallory. */
static void let_others_know_eve(void)
{
    write_text("/etc/nsswitch.conf", "passwd: files uidpooltest\ngroup: files uidpooltest\n");
    write_text("/etc/passwd", "root:x:0:0::/:\nmallory:x:2113929220:0::/:\n");
    CHILD_EXPECTS(mkdir("/etc/uidpooltest", 0755) == 0 || errno == EEXIST);
    write_text("/etc/uidpooltest/passwd", "eve:x:2113929217:0::/:\n");
    write_text("/etc/uidpooltest/group", "some:x:2113929218:\nteam:x:990:\n");
}

static bool is_taken(uint32_t id)
{
    bool taken = false;

    CHILD_EXPECTS(world_id_taken(&world, id, &taken, &problem) == UIDPOOL_OK);
    return taken;
}

static bool is_name_taken(const char *name)
{
    bool taken = false;

    CHILD_EXPECTS(world_name_taken(&world, name, &taken, &problem) == UIDPOOL_OK);
    return taken;
}

static void child_with_another_service(void)
{
    uid_t base = 0;

    let_others_know_eve();
    world_init(&world, false, NULL, NULL, NULL);
    CHILD_EXPECTS(!world.no_names);
    CHILD_EXPECTS(look() == UIDPOOL_OK && findings.n == 2);
    CHILD_EXPECTS(
        strstr(findings.items[0].text, "pool xen: 2113929217 is the user eve of another"));
    CHILD_EXPECTS(strstr(findings.items[1].text, "2113929218 is the group some of another"));
    CHILD_EXPECTS(is_taken(2113929217) && is_taken(990) && !is_taken(991));
    CHILD_EXPECTS(is_name_taken("eve") && is_name_taken("team") && !is_name_taken("adam"));
    CHILD_EXPECTS(!is_taken(2113929220) && !is_name_taken("mallory"));
    CHILD_EXPECTS(world_find_base(&world, &files, 9, NULL, NULL, &base, &problem) == UIDPOOL_OK);
    CHILD_EXPECTS(base == BASE + HOSTRANGE_AUTO_STEP);
    CHILD_EXPECTS(strstr(getenv("SYSTEMD_BYPASS_USERDB"), "io.uidpool:"));
}

/* As SSSD does with its provider `files`. */
static void child_with_a_service_that_repeats_the_files(void)
{
    let_others_know_eve();
    write_text("/etc/passwd", "root:x:0:0::/:\nmine:x:2113929216:2113929216::/:\n"
                              "mallory:x:2113929220:0::/:\nmoved:x:1000:0::/:\n");
    write_text("/etc/group", "root:x:0:\nmine:x:2113929216:\n");
    write_text("/etc/uidpooltest/passwd", "root:x:0:0::/:\nmine:x:2113929216:2113929216::/:\n"
                                          "mallory:x:2113929220:0::/:\n"
                                          "moved:x:2113929221:0::/:\n");
    write_text("/etc/uidpooltest/group", "root:x:0:\nmine:x:2113929216:\n");
    read_files();
    world_init(&world, false, NULL, NULL, NULL);
    CHILD_EXPECTS(world_check_range(&world, &files, "xen", range, "mine", FINDING_CONFLICT,
                                    &findings, &problem) == UIDPOOL_OK);
    CHILD_EXPECTS(findings.n == 2);
    CHILD_EXPECTS(strstr(findings.items[0].text, "2113929220 is the user mallory of /etc/passwd"));
    CHILD_EXPECTS(strstr(findings.items[1].text, "2113929221 is the user moved of another"));
}

static void child_with_files_alone(void)
{
    let_others_know_eve();
    write_text("/etc/nsswitch.conf", "passwd: files\ngroup: files\n");
    world_init(&world, false, NULL, NULL, NULL);
    CHILD_EXPECTS(world.no_names && look() == UIDPOOL_OK && findings.n == 0);
    CHILD_EXPECTS(!is_taken(2113929220) && !is_name_taken("mallory"));
}

static void child_offline(void)
{
    let_others_know_eve();
    world_init(&world, true, NULL, NULL, NULL);
    CHILD_EXPECTS(look() == UIDPOOL_OK && findings.n == 0);
    CHILD_EXPECTS(!is_taken(2113929217) && !is_name_taken("eve"));
    CHILD_EXPECTS(!is_taken(2113929220) && !is_name_taken("mallory"));
    CHILD_EXPECTS(!getenv("SYSTEMD_BYPASS_USERDB"));
}

static void child_with_an_outage(void)
{
    bool taken = true;
    uid_t base = 7;

    let_others_know_eve();
    write_text("/etc/uidpooltest/unavail", "");
    world_init(&world, false, NULL, NULL, NULL);
    CHILD_EXPECTS(look() == UIDPOOL_FAILED && strstr(problem.text, "could not say"));
    CHILD_EXPECTS(world_id_taken(&world, 5, &taken, &problem) == UIDPOOL_FAILED && taken);
    CHILD_EXPECTS(world_name_taken(&world, "adam", &taken, &problem) == UIDPOOL_FAILED && taken);
    CHILD_EXPECTS(world_find_base(&world, &files, 9, NULL, NULL, &base, &problem) ==
                      UIDPOOL_FAILED &&
                  base == 7);
    world.offline = true;
    CHILD_EXPECTS(world_find_base(&world, &files, 9, NULL, NULL, &base, &problem) == UIDPOOL_OK &&
                  base == BASE);
    CHILD_EXPECTS(unlink("/etc/uidpooltest/unavail") == 0);
}

/* What was clear is not asked for again, what was not is. */
static void child_with_a_memory(void)
{
    const struct uid_range clear = {2113929220, 20};
    struct memory memory = {0};
    bool taken = true;

    let_others_know_eve();
    world_init(&world, false, NULL, NULL, NULL);
    world.skip_processes = true;
    world.memory = &memory;
    CHILD_EXPECTS(world_may_take_long(&world));
    CHILD_EXPECTS(look() == UIDPOOL_OK && findings.n == 2 && !is_name_taken("adam") &&
                  is_name_taken("eve"));
    CHILD_EXPECTS(world_check_range(&world, &files, "xen", clear, NULL, FINDING_CONFLICT, &findings,
                                    &problem) == UIDPOOL_OK &&
                  findings.n == 2);
    write_text("/etc/uidpooltest/unavail", "");
    CHILD_EXPECTS(world_check_range(&world, &files, "xen", clear, NULL, FINDING_CONFLICT, &findings,
                                    &problem) == UIDPOOL_OK);
    CHILD_EXPECTS(!is_name_taken("adam"));
    CHILD_EXPECTS(look() == UIDPOOL_FAILED);
    CHILD_EXPECTS(world_name_taken(&world, "eve", &taken, &problem) == UIDPOOL_FAILED);
    memory_clear(&memory);
    CHILD_EXPECTS(world_name_taken(&world, "adam", &taken, &problem) == UIDPOOL_FAILED);
    CHILD_EXPECTS(unlink("/etc/uidpooltest/unavail") == 0);
}

/* Others wait for us to release the locks: name services are asked for a range before. */
static void child_that_lets_nobody_wait(void)
{
    _cleanup_(provision_clear) struct provision provision = {.timeout = 30};
    _cleanup_(config_freep) struct config *config = NULL;

    CHILD_EXPECTS(mount("tmpfs", "/var/lib", "tmpfs", 0, NULL) == 0);
    let_others_know_eve();
    write_text("/etc/uidpooltest/watch", "");
    CHILD_EXPECTS(mkdir("/etc/uidpool", 0755) == 0);
    write_text("/etc/uidpool/uidpool.conf", "[pool a]\nSize=64\nAccounts=range-base\n"
                                            "[pool b]\nBase=2114060288\nSize=9\n"
                                            "Accounts=per-domid\nPrefix=vm\n");
    CHILD_EXPECTS(config_read(NULL, NULL, &config, &problem) == UIDPOOL_OK);
    provision.config = config;
    world_init(&provision.world, false, NULL, NULL, NULL);
    CHILD_EXPECTS(provision_look(&provision, true, &problem) == UIDPOOL_OK);
    CHILD_EXPECTS(provision.findings.n == 0 && provision.choices.n == 2);
    CHILD_EXPECTS(provision.choices.pools[0].base == BASE + HOSTRANGE_AUTO_STEP);
    CHILD_EXPECTS(provision.lock != NULL);
    /* The first base was not clear, so it was asked for again, up to the one id that is taken. */
    CHILD_EXPECTS(number_of_bytes("/etc/uidpooltest/asked") > 2 * (64 + 9));
    CHILD_EXPECTS(number_of_bytes("/etc/uidpooltest/asked-under-lock") <= 4);
}

static void test_name_services(void **state)
{
    (void)state;
    in_child(child_with_files_alone);
    in_child(child_offline);
    if (!name_service_is_built()) {
        print_message("SKIP: libnss_uidpooltest.so.2 is not built\n");
        skip();
    }
    in_child(child_with_another_service);
    in_child(child_with_a_memory);
    in_child(child_that_lets_nobody_wait);
    in_child(child_with_an_outage);
    in_child(child_with_a_service_that_repeats_the_files);
}

/*
 * Files.
 */

static void put(const char *path, uid_t uid, gid_t gid)
{
    write_text(path, "");
    assert_int_equal(chown(path, uid, gid), 0);
}

static void test_files(void **state)
{
    (void)state;
    world.places = srv;
    put("/srv/clean", BASE - 1, BASE + 64);
    check(range);
    expect_number(0, 0);
    put("/srv/by-uid", BASE, 0);
    assert_int_equal(mkdir("/srv/a", 0700), 0);
    assert_int_equal(mkdir("/srv/a/b", 0700), 0);
    put("/srv/a/b/by-gid", 0, BASE + 63);
    assert_int_equal(symlink("/etc/passwd", "/srv/a/link"), 0);
    assert_int_equal(lchown("/srv/a/link", BASE + 1, 0), 0);
    assert_int_equal(mkdir("/srv/a/c", 0700), 0);
    assert_int_equal(chown("/srv/a/c", BASE + 2, 0), 0);
    assert_int_equal(mkfifo("/srv/a/c/fifo", 0600), 0);
    assert_int_equal(chown("/srv/a/c/fifo", BASE + 3, 0), 0);
    check(range);
    expect(FINDING_CONFLICT, "pool xen: /srv/by-uid has the uid 2113929216; give the file to");
    expect(FINDING_CONFLICT, "/srv/a/b/by-gid has the gid 2113929279");
    expect(FINDING_CONFLICT, "/srv/a/link has the uid 2113929217");
    expect(FINDING_CONFLICT, "/srv/a/c has the uid 2113929218");
    expect(FINDING_CONFLICT, "/srv/a/c/fifo has the uid 2113929219");
    expect_number(5, 0);
    /* Offline too: an image has files. */
    world.offline = true;
    check(range);
    expect_number(5, 0);
}

/* Directories that were clean are not walked again, others are. */
static void test_a_memory_of_files(void **state)
{
    struct memory memory = {0};

    (void)state;
    world.places = srv;
    world.memory = &memory;
    assert_true(world_may_take_long(&world));
    put("/srv/other", BASE + 64, 0);
    check(range);
    put("/srv/file", BASE, 0);
    check(range);
    expect_number(0, 0);
    for (int i = 0; i < 2; i++) {
        check((struct uid_range){BASE, 65});
        expect_number(4, 0); /* two files, and the user and the group `behind` */
    }
    memory_clear(&memory);
    check(range);
    expect_number(1, 0);
    /* A mount point is to be told each time. */
    assert_int_equal(unlink("/srv/file"), 0);
    assert_int_equal(mkdir("/srv/mount", 0700), 0);
    assert_int_equal(mount("tmpfs", "/srv/mount", "tmpfs", 0, NULL), 0);
    for (int i = 0; i < 2; i++) {
        check(range);
        expect_number(0, 1);
    }
    memory_clear(&memory);
    world.places = NULL;
    assert_false(world_may_take_long(&world));
}

static void test_places(void **state)
{
    static const char *const missing[] = {"/srv", "/srv/missing", NULL};
    static const char *const no_directory[] = {"/srv/file", NULL};
    static const char *const link[] = {"/srv/link", "/srv/x/", NULL};
    static const char *const top[] = {"/", NULL};

    (void)state;
    put("/srv/file", 0, 0);
    assert_int_equal(mkdir("/srv/x", 0700), 0);
    assert_int_equal(mkdir("/srv/y", 0700), 0);
    assert_int_equal(chown("/srv/x", BASE, 0), 0);
    put("/srv/y/file", BASE, 0);
    /* A place may be a link; below, none is followed. */
    assert_int_equal(symlink("y", "/srv/link"), 0);
    assert_int_equal(symlink("/srv/y", "/srv/x/link"), 0);
    world.places = link;
    check(range);
    expect(FINDING_CONFLICT, "/srv/link/file has");
    expect(FINDING_CONFLICT, "/srv/x has");
    expect_number(2, 0);
    world.places = missing;
    check_again(range, FINDING_CONFLICT, UIDPOOL_FAILED);
    assert_non_null(strstr(problem.text, "/srv/missing: No such file or directory; mend that, or"));
    world.places = no_directory;
    check_again(range, FINDING_CONFLICT, UIDPOOL_FAILED);
    assert_non_null(strstr(problem.text, "/srv/file: Not a directory"));
    /* The root has no name of its own; /srv is another file system here. */
    world.places = top;
    check(range);
    expect(FINDING_WARNING, "/srv is another file system: its files were not looked at");
    for (size_t i = 0; i < findings.n; i++)
        assert_null(strstr(findings.items[i].text, "//"));
}

/* What is mounted on a file says nothing about the file system that it hides. */
static void test_a_mounted_file(void **state)
{
    (void)state;
    put("/srv/file", BASE, BASE);
    put("/srv/point", 0, 0);
    assert_int_equal(mount("/srv/file", "/srv/point", NULL, MS_BIND, NULL), 0);
    world.places = srv;
    check(range);
    expect(FINDING_CONFLICT, "/srv/file has the uid");
    expect(FINDING_WARNING, "/srv/point is another file system");
    expect_number(1, 1);
}

static void test_mounts_below(void **state)
{
    char path[64];
    uid_t base = 0;
    struct findings unseen = {0};

    (void)state;
    for (unsigned i = 0; i < 12; i++) {
        snprintf(path, sizeof(path), "/srv/mount%u", i);
        assert_int_equal(mkdir(path, 0700), 0);
        /* A part of the same file system has no other device number. */
        assert_int_equal(i % 2 ? mount("/srv", path, NULL, MS_BIND, NULL)
                               : mount("tmpfs", path, "tmpfs", 0, NULL),
                         0);
    }
    put("/srv/mount0/file", BASE, BASE);
    world.places = srv;
    check(range);
    expect(FINDING_WARNING, "is another file system: its files were not looked at");
    expect(FINDING_WARNING, "more other file systems than these");
    expect_number(0, 9);
    check_again(range, FINDING_CONFLICT, UIDPOOL_OK);
    expect_number(0, 9);
    /* They are in nobody's way. */
    world.unseen = &unseen;
    assert_int_equal(world_find_base(&world, &files, 9, NULL, NULL, &base, &problem), UIDPOOL_OK);
    assert_int_equal(base, BASE);
    assert_int_equal(unseen.n, 9);
    findings_clear(&unseen);
}

static bool count_file(const struct place_file *file, void *userdata)
{
    unsigned *count = userdata;

    (void)file;
    ++*count;
    return true;
}

static bool want_no_more(const struct place_file *file, void *userdata)
{
    (void)count_file(file, userdata);
    return false;
}

static void test_the_first_is_enough(void **state)
{
    static const char *const twice[] = {"/srv", "/srv", NULL};
    unsigned count = 0;

    (void)state;
    put("/srv/one", BASE, 0);
    put("/srv/two", BASE, 0);
    assert_int_equal(places_look(twice, range, count_file, NULL, &count, &problem), UIDPOOL_OK);
    assert_int_equal(count, 4);
    count = 0;
    assert_int_equal(places_look(twice, range, want_no_more, NULL, &count, &problem), UIDPOOL_OK);
    assert_int_equal(count, 1);
}

/* As somebody who is not root, to whom a directory can be closed. */
static void child_before_a_closed_door(void)
{
    unsigned count = 0;

    CHILD_EXPECTS(setresgid(BASE - 1, BASE - 1, BASE - 1) == 0);
    CHILD_EXPECTS(setresuid(BASE - 1, BASE - 1, BASE - 1) == 0);
    CHILD_EXPECTS(places_look(srv, range, count_file, NULL, &count, &problem) == UIDPOOL_FAILED);
    CHILD_EXPECTS(strstr(problem.text, "the ids 2113929216 to 2113929279: /srv/open/closed: Perm"));
    CHILD_EXPECTS(problem.status == UIDPOOL_FAILED);
}

static void test_an_unreadable_directory(void **state)
{
    (void)state;
    assert_int_equal(mkdir("/srv/open", 0755), 0);
    assert_int_equal(mkdir("/srv/open/closed", 0700), 0);
    in_child(child_before_a_closed_door);
}

/* Deeper than descriptors last, and as long as a path may be; longer ones are told of. */
static void test_depth(void **state)
{
    char name[101];
    unsigned depth = 0, count = 0;
    int fd = open("/srv", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    (void)state;
    memset(name, 'd', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    for (; depth < 38; depth++) {
        int next;

        assert_int_equal(mkdirat(fd, name, 0700), 0);
        next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(next >= 0);
        close(fd);
        fd = next;
    }
    assert_int_equal(fchown(fd, BASE, 0), 0);
    assert_int_equal(places_look(srv, range, count_file, NULL, &count, &problem), UIDPOOL_OK);
    assert_int_equal(count, 1);
    for (; depth < 45; depth++) {
        int next;

        assert_int_equal(mkdirat(fd, name, 0700), 0);
        next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(next >= 0);
        close(fd);
        fd = next;
    }
    close(fd);
    assert_int_equal(places_look(srv, range, count_file, NULL, &count, &problem), UIDPOOL_FAILED);
    assert_non_null(strstr(problem.text, "cannot tell whether files carry the ids"));
}

/* Directories, files and links of one name come and go, until killed. */
static _Noreturn void churn(void)
{
    char path[64], inside[80];

    for (unsigned i = 0;; i++) {
        snprintf(path, sizeof(path), "/srv/churn/%u", i % 3);
        snprintf(inside, sizeof(inside), "%s/inside", path);
        (void)mkdir(path, 0700);
        (void)mkdir(inside, 0700);
        (void)rename(inside, "/srv/churn/moved");
        (void)rmdir(path);
        if (symlink("/etc", path) == 0)
            (void)unlink(path);
        (void)mknod(path, S_IFREG | 0600, 0);
        (void)unlink(path);
        (void)rmdir("/srv/churn/moved");
    }
}

static void test_comings_and_goings(void **state)
{
    unsigned count = 0;
    pid_t pid;

    (void)state;
    assert_int_equal(mkdir("/srv/churn", 0700), 0);
    for (unsigned i = 0; i < 200; i++) {
        char path[64];

        snprintf(path, sizeof(path), "/srv/churn/still%u", i);
        assert_int_equal(mkdir(path, 0700), 0);
    }
    put("/srv/churn/still7/file", BASE, 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        churn();
    for (unsigned i = 0; i < 500; i++)
        if (places_look(srv, range, count_file, NULL, &count, &problem) != UIDPOOL_OK)
            break;
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    if (count != 500)
        fail_msg("%u: %s", count, problem.text);
}

static unsigned progressed;

static void count_progress(const char *text, void *userdata)
{
    assert_ptr_equal(userdata, &progressed);
    assert_non_null(strstr(text, "looking for files with the ids from 2113929216 on in /srv: "));
    progressed++;
}

/* One file takes more than a second to look at, so progress is told, once, behind it. */
static bool take_a_second(const struct place_file *file, void *userdata)
{
    int64_t begin = clock_monotonic_usec();

    (void)file;
    (void)userdata;
    while (clock_monotonic_usec() - begin <= USEC_PER_SEC)
        ;
    return true;
}

static void test_progress(void **state)
{
    char path[64];

    (void)state;
    for (unsigned i = 0; i < 5000; i++) {
        snprintf(path, sizeof(path), "/srv/%u", i);
        put(path, 0, 0);
    }
    progressed = 0;
    assert_int_equal(chown("/srv", BASE, 0), 0);
    assert_int_equal(places_look(srv, range, take_a_second, count_progress, &progressed, &problem),
                     UIDPOOL_OK);
    assert_int_equal(progressed, 1);
}

static void end_well(const char *text, void *userdata)
{
    CHILD_EXPECTS(userdata == &progressed && strstr(text, "from 2113929216 on: "));
    _exit(0);
}

/* So many ids that it takes more than a second, however fast that is; the end is not waited for. */
static void child_with_much_to_do(void)
{
    (void)alarm(60);
    world = (struct world){.skip_processes = true, .progress = end_well, .userdata = &progressed};
    (void)world_check_range(&world, &files, "xen", (struct uid_range){BASE, 33000000}, NULL,
                            FINDING_CONFLICT, &findings, &problem);
    _exit(1);
}

static void test_progress_is_handed_on(void **state)
{
    (void)state;
    in_child(child_with_much_to_do);
}

/*
 * The search.
 */

static bool first_is_taken(struct uid_range r, void *userdata)
{
    unsigned *asked = userdata;

    assert_int_equal(r.count, 1000);
    ++*asked;
    return r.first == BASE;
}

static uid_t nth(unsigned n)
{
    return BASE + n * HOSTRANGE_AUTO_STEP;
}

static void test_find(void **state)
{
    unsigned asked = 0;
    uid_t base = 0;
    char text[256];
    struct child child = start(nth(5), nth(5));

    (void)state;
    assert_int_equal(world_find_base(&world, &files, 1000, NULL, NULL, &base, &problem),
                     UIDPOOL_OK);
    assert_int_equal(base, nth(1)); /* the first has the group `behind` */
    snprintf(text, sizeof(text), "root:x:0:0::/:\neve:x:%u:0::/:\nbob:x:7:%u::/:\n", nth(1) + 999,
             nth(7));
    write_text("/etc/passwd", text);
    snprintf(text, sizeof(text), "root:x:0:\nsome:x:%u:\n", nth(2));
    write_text("/etc/group", text);
    snprintf(text, sizeof(text), "alice:%u:9\n", nth(3) + 5);
    write_text("/etc/subuid", text);
    /* What is a warning to others is avoided here. */
    snprintf(text, sizeof(text), "SUB_UID_MIN %u\nSUB_UID_MAX %u\n", nth(4), nth(4) + 1);
    write_text("/etc/login.defs", text);
    put("/srv/file", 0, nth(6) + 3);
    read_files();
    world.places = srv;
    assert_int_equal(world_find_base(&world, &files, 1000, first_is_taken, &asked, &base, &problem),
                     UIDPOOL_OK);
    assert_int_equal(base, nth(8));
    assert_int_equal(asked, 9);
    world.offline = true;
    world.places = NULL;
    assert_int_equal(world_find_base(&world, &files, 1000, first_is_taken, &asked, &base, &problem),
                     UIDPOOL_OK);
    assert_int_equal(base, nth(5));
    end(child);
}

static bool all_are_taken(struct uid_range r, void *userdata)
{
    (void)r;
    (void)userdata;
    return true;
}

static void test_find_nothing(void **state)
{
    uid_t base = 7;

    (void)state;
    world.offline = true;
    assert_int_equal(world_find_base(&world, &files, 9, all_are_taken, NULL, &base, &problem),
                     UIDPOOL_CONFLICT);
    assert_non_null(strstr(problem.text, "has 9 free ids behind it"));
    assert_int_equal(problem.status, UIDPOOL_CONFLICT);
    write_text("/etc/subuid", "alice:2113929216:33500000\n");
    assert_int_equal(world_find_base(&world, &files, 9, NULL, NULL, &base, &problem),
                     UIDPOOL_CONFLICT);
    assert_non_null(strstr(problem.text, "may be used by alice"));
    assert_int_equal(world_find_base(&world, &files, UINT32_MAX, NULL, NULL, &base, &problem),
                     UIDPOOL_CONFLICT);
    /* What is not free is not looked at any further: here that would be an error. */
    world.places = (const char *const[]){"/srv/missing", NULL};
    assert_int_equal(world_find_base(&world, &files, 9, NULL, NULL, &base, &problem),
                     UIDPOOL_CONFLICT);
    write_text("/etc/subuid", "alice:?\n");
    assert_int_equal(world_find_base(&world, &files, 9, NULL, NULL, &base, &problem),
                     UIDPOOL_FAILED);
    assert_int_equal(base, 7);
}

static void test_system_ids(void **state)
{
    struct uid_range ids = {0};

    (void)state;
    assert_int_equal(world_system_ids(&ids, &problem), UIDPOOL_OK);
    assert_int_equal(uid_range_last(ids), 999);
    write_text("/etc/login.defs", "SYS_UID_MIN 400\nSYS_UID_MAX 499\n");
    assert_int_equal(world_system_ids(&ids, &problem), UIDPOOL_OK);
    assert_true(ids.first == 400 && ids.count == 100);
}

#define on_host(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

static int run(void)
{
    const struct CMUnitTest tests[] = {
        on_host(test_a_free_range),
        on_host(test_users_and_groups),
        on_host(test_eight_of_a_sort),
        on_host(test_odd_lines),
        on_host(test_users_of_its_groups),
        on_host(test_what_is_its_own),
        on_host(test_grants),
        on_host(test_ranges_of_others),
        on_host(test_login_defs),
        on_host(test_processes),
        on_host(test_no_proc),
        on_host(test_a_proc_that_hides),
        on_host(test_name_services),
        on_host(test_files),
        on_host(test_a_memory_of_files),
        on_host(test_places),
        on_host(test_mounts_below),
        on_host(test_a_mounted_file),
        on_host(test_the_first_is_enough),
        on_host(test_an_unreadable_directory),
        on_host(test_depth),
        on_host(test_comings_and_goings),
        on_host(test_progress),
        on_host(test_progress_is_handed_on),
        on_host(test_find),
        on_host(test_find_nothing),
        on_host(test_system_ids),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* In a child, to the end. Its exit status. */
static int run_in_child(int (*what)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0)
        exit(what());
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
        return 1;
    return WEXITSTATUS(status);
}

static int run_in_namespaces(void)
{
    if (mount("proc", "/proc", "proc", 0, NULL) < 0 ||
        mount("tmpfs", "/etc", "tmpfs", 0, NULL) < 0 ||
        mount("tmpfs", "/srv", "tmpfs", 0, NULL) < 0) {
        print_message("SKIP: may not mount: %s\n", strerror(errno));
        return 77;
    }
    /* _exit(), because the leak sanitizer cannot look into the first process of a PID namespace,
     * nor into one whose children's namespace has ended. */
    _exit(run_in_child(run));
}

/* A PID namespace of its own, so that no process of the host has one of the uids. */
int main(int argc, char *argv[])
{
    (void)argc;
    name_service_prepare(argv);
    if (geteuid() != 0 || unshare(CLONE_NEWNS | CLONE_NEWPID) < 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        print_message("SKIP: needs root and namespaces of its own: %s\n", strerror(errno));
        return 77;
    }
    _exit(run_in_child(run_in_namespaces));
}
