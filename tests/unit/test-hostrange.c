/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who has claimed a range, on an /etc and in a PID namespace of the test's own: needs root, and
 * touches nothing of the host.
 */
#include "allocator/hostrange.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "tests/unit/name-service.h"
#include "uidpool.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cmocka.h>

#define BASE 2114600960u /* 0x7E0A4000, inside the first automatic block but nine */

static const struct uid_range range = {.first = BASE, .count = 64};

static void write_bytes(const char *path, const char *bytes, size_t length)
{
    _cleanup_file_ FILE *file = fopen(path, "we");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
}

static void write_text(const char *path, const char *text)
{
    write_bytes(path, text, strlen(text));
}

/* An ordinary host: nobody has claimed anything of the range. */
static int make_etc(void **state)
{
    (void)state;
    (void)unlink("/etc/login.defs");
    write_text("/etc/nsswitch.conf", "passwd: files\ngroup: files\n");
    write_text("/etc/passwd", "root:x:0:0::/:/bin/sh\n"
                              "before:x:2114600959:0::/:/bin/sh\nbehind:x:2114601024:0::/:\n");
    write_text("/etc/group", "root:x:0:\nbefore:x:2114600959:\nbehind:x:2114601024:\n");
    write_text("/etc/subuid", "# grants\n\nalice:100000:65536\nbob:2114600860:100\n");
    write_text("/etc/subgid", "alice:100000:65536\ncarol:2114601024:5");
    write_text("/etc/login.defs", "UID_MIN\t\t\t 1000\nUID_MAX 60000\nUMASK 022\n");
    return 0;
}

static enum uidpool_status check_both(struct uid_range r, struct problem *p)
{
    enum uidpool_status status = hostrange_check_claims(r, p);

    return status == UIDPOOL_OK ? hostrange_check_owners(r, NULL, NULL, p) : status;
}

/* The answer for the range, its words in `text`. */
static enum uidpool_status check(char text[static 1024])
{
    struct problem p = {0};
    enum uidpool_status status = check_both(range, &p);

    snprintf(text, 1024, "%s", p.text);
    assert_int_equal(p.status, status);
    return status;
}

static void expect(enum uidpool_status want, const char *words)
{
    char text[1024];
    enum uidpool_status status = check(text);

    if (status != want || (words && !strstr(text, words)))
        fail_msg("%d and \"%s\" where %d and \"%s\" were due", status, text, want, words);
}

static void test_a_free_range(void **state)
{
    (void)state;
    expect(UIDPOOL_OK, NULL);
    assert_int_equal(unlink("/etc/login.defs"), 0);
    assert_int_equal(unlink("/etc/subuid"), 0);
    assert_int_equal(unlink("/etc/subgid"), 0);
    expect(UIDPOOL_OK, NULL);
}

static void test_fixed_ranges(void **state)
{
    static const struct {
        uid_t first;
        uint32_t count;
        const char *words;
    } claimed[] = {
        {0, 1, "Debian's static"},
        {999, 1, "system users"},
        {59990, 100, "ordinary users"},
        {61000, 1, "Debian, reserved"},
        {61184, 1, "DynamicUser"},
        {65534, 1, "the user nobody"},
        {65535, 1, "no user at all"},
        {65536, 65536, "kubelet"},
        {131072, 32752, "kubelet"},
        {8000000, 1, "nspawn"},
        {700000000, 1, "nspawn"},
        {872415232, 1, "Nix"},
        {2000199999, 1, "FreeIPA"},
        {2000199999, 2, "FreeIPA"},
        {2147352575, 2, "foreign ids"},
        {2147483647, 2, "2147483648 to 4294967295, which belong to no one"},
        {4294967295, 1, "no one"},
    };
    struct problem p;

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(claimed); i++) {
        struct uid_range r = {.first = claimed[i].first, .count = claimed[i].count};

        assert_int_equal(hostrange_check_claims(r, &p), UIDPOOL_CONFLICT);
        if (!strstr(p.text, claimed[i].words))
            fail_msg("%u: %s", r.first, p.text);
    }
    assert_int_equal(hostrange_check_claims((struct uid_range){.first = BASE}, &p), UIDPOOL_USAGE);
}

/* What was told, one line each. */
struct told {
    char text[4096];
    size_t n, stop_after; /* 0: never */
};

static bool tell(struct told *told, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool tell(struct told *told, const char *format, ...)
{
    size_t length = strlen(told->text);
    va_list ap;

    va_start(ap, format);
    vsnprintf(told->text + length, sizeof(told->text) - length, format, ap);
    va_end(ap);
    return ++told->n != told->stop_after;
}

static bool note_claim(const struct hostrange_claim *claim, void *userdata)
{
    static const char *const kinds[] = {
        [HOSTRANGE_DISTRIBUTION] = "distribution",
        [HOSTRANGE_SYSTEMD] = "systemd",
        [HOSTRANGE_DEFAULT] = "default",
        [HOSTRANGE_LOGIN_DEFS] = "login.defs",
        [HOSTRANGE_LOGIN_DEFS_SUBID] = "login.defs-subid",
        [HOSTRANGE_SUBID] = "subid",
    };

    return tell(userdata, "%s %" PRIu64 "-%" PRIu64 " %.*s\n", kinds[claim->kind], claim->first,
                claim->last, (int)strcspn(claim->who, " "), claim->who);
}

static void expect_claims(uid_t first, uint32_t count, const char *want)
{
    struct told told = {0};
    struct problem p = {0};
    struct uid_range r = {first, count};

    assert_int_equal(hostrange_each_claim(r, note_claim, &told, &p), UIDPOOL_OK);
    assert_string_equal(told.text, want);
}

static void test_every_claim(void **state)
{
    struct told told = {.stop_after = 2};
    struct problem p = {0};

    (void)state;
    expect_claims(BASE, 64, "");
    expect_claims(131072, 32752,
                  "default 65536-7274495 kubelet's\n"
                  "login.defs-subid 100000-600100000 subordinate\n"
                  "login.defs-subid 100000-600100000 subordinate\n"
                  "subid 100000-165535 alice\nsubid 100000-165535 alice\n");
    expect_claims(998, 3,
                  "distribution 100-999 Debian's\ndistribution 1000-59999 Debian's\n"
                  "login.defs 1000-60000 useradd\nlogin.defs 1000-60000 groupadd\n"
                  "login.defs 101-999 useradd\nlogin.defs 101-999 groupadd\n");
    expect_claims(61183, 2, "systemd 61184-65519 systemd's\ndistribution 60000-65533 Debian,\n");
    expect_claims(2147352575, 65538, "systemd 2147352576-2147418111 systemd's\n");
    expect_claims(UINT32_MAX, 1, "distribution 2147483648-4294967295 no\n");
    assert_int_equal(hostrange_each_claim((struct uid_range){998, 3}, note_claim, &told, &p),
                     UIDPOOL_OK);
    assert_int_equal(told.n, 2);
    /* What stands behind the last one that was wanted is not even read. */
    write_text("/etc/subuid", "alice:100000:65536\ngarbage\n");
    told = (struct told){.stop_after = 4};
    assert_int_equal(hostrange_each_claim((struct uid_range){131072, 1}, note_claim, &told, &p),
                     UIDPOOL_OK);
    assert_int_equal(
        hostrange_each_claim((struct uid_range){131072, 1}, note_claim, &(struct told){0}, &p),
        UIDPOOL_FAILED);
}

static void test_login_defs_of_this_host(void **state)
{
    (void)state;
    /* What it says of subordinate ids is so; what it does not say is as shadow has it. */
    write_text("/etc/login.defs", "SUB_UID_MAX 200000\n");
    expect_claims(300000, 1,
                  "default 65536-7274495 kubelet's\ndefault 200000-2000199999 FreeIPA\n"
                  "login.defs-subid 100000-600100000 subordinate\n");
    assert_int_equal(unlink("/etc/login.defs"), 0);
    expect_claims(300000, 1,
                  "default 65536-7274495 kubelet's\ndefault 200000-2000199999 FreeIPA\n"
                  "login.defs-subid 100000-600100000 subordinate\n"
                  "login.defs-subid 100000-600100000 subordinate\n");
}

static void test_system_ids(void **state)
{
    struct uid_range r = {1, 2};
    struct problem p = {0};
    static const char *const wrong[] = {
        "SYS_UID_MIN 0\n",     "SYS_UID_MAX 100\n",   "SYS_UID_MIN 500\nSYS_UID_MAX 100\n",
        "SYS_UID_MAX 0x3E7\n", "SYS_UID_MAX 65534\n", "[x\n"};

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(wrong); i++) {
        write_text("/etc/login.defs", wrong[i]);
        assert_int_equal(hostrange_system_ids(&r, &p), UIDPOOL_FAILED);
        assert_non_null(strstr(p.text, "mend it first"));
    }
    assert_true(r.first == 1 && r.count == 2);
    write_text("/etc/login.defs", "SYS_UID_MIN 200\nSYS_UID_MAX\t499\n");
    assert_int_equal(hostrange_system_ids(&r, &p), UIDPOOL_OK);
    assert_true(r.first == 200 && r.count == 300);
    assert_int_equal(unlink("/etc/login.defs"), 0);
    assert_int_equal(hostrange_system_ids(&r, &p), UIDPOOL_OK);
    assert_true(r.first == 101 && r.count == 899);
}

static void test_login_defs(void **state)
{
    (void)state;
    write_text("/etc/login.defs", "SUB_UID_MIN 2114601023\nSUB_UID_MAX 2114700000\n");
    expect(UIDPOOL_CONFLICT, "SUB_UID_MIN");
    write_text("/etc/login.defs", "GID_MIN\t2000\nGID_MAX \t 2114600960 # high\n");
    expect(UIDPOOL_CONFLICT, "GID_MAX");
    write_text("/etc/login.defs", "SYS_UID_MAX 2147000000\n");
    expect(UIDPOOL_CONFLICT, "SYS_UID_MIN");
    write_text("/etc/login.defs", "UID_MIN 5\nUID_MAX 2114600959\nSUB_UID_MAX 9\n");
    expect(UIDPOOL_OK, NULL);
    write_text("/etc/login.defs", "UID_MAX 0xffff\n");
    expect(UIDPOOL_FAILED, "UID_MIN or UID_MAX is not a plain decimal id; mend it");
    write_text("/etc/login.defs", "UID_MAX 1000\n[garbage\n");
    expect(UIDPOOL_FAILED, "/etc/login.defs cannot be read");
}

static void test_subids(void **state)
{
    (void)state;
    write_text("/etc/subuid", "alice:2114601023:65536\n");
    expect(UIDPOOL_CONFLICT, "alice (/etc/subuid, line 1); choose another base");
    write_text("/etc/subuid", "alice:0:4294967296\n");
    expect(UIDPOOL_CONFLICT, "alice");
    write_text("/etc/subuid", "alice:2114600960:0\n");
    expect(UIDPOOL_OK, NULL);
    write_text("/etc/subgid", "#\n\nbob:2114600000:961");
    expect(UIDPOOL_CONFLICT, "bob (/etc/subgid, line 3)");
}

static void test_our_own_guard_is_no_grant(void **state)
{
    (void)state;
    write_text("/etc/subuid", "~uidpool:2114600960:64\n~uidpool:0:4294967296\n");
    expect(UIDPOOL_OK, NULL);
    write_text("/etc/subuid", "~uidpool:2114600960:64\n~uidpoolx:2114600960:64\n");
    expect(UIDPOOL_CONFLICT, "~uidpoolx (/etc/subuid, line 2)");
    write_text("/etc/subuid", "~uidpool:2114600960\n");
    expect(UIDPOOL_FAILED, "/etc/subuid, line 1 is not");
}

static void test_subids_that_cannot_be_read(void **state)
{
    static const char *const bad[] = {
        "alice:0x186A0:65536\n",  "alice:100000\n",
        "alice 100000 65536\n",   ":100000:65536\n",
        "alice:100000:65536:\n",  "alice:-1:65536\n",
        "alice:0100000:65536\n",  "alice::\n",
        "alice:100000:65536\r\n", "alice:4294967296:1\n",
    };
    size_t size = 10u * 1024 * 1024;
    _cleanup_free_ char *large = malloc(size);

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(bad); i++) {
        write_text("/etc/subuid", bad[i]);
        expect(UIDPOOL_FAILED, "/etc/subuid, line 1 is not \"name:first:count\"");
    }
    write_bytes("/etc/subuid", "bob:1:1\nalice:2114600960:1\0:65536\n", 35);
    expect(UIDPOOL_FAILED, "/etc/subuid, line 2");
    assert_non_null(large);
    memset(large, '7', size);
    write_bytes("/etc/subuid", large, size);
    expect(UIDPOOL_FAILED, "/etc/subuid, line 1");
    memset(large, 0, size);
    write_bytes("/etc/subuid", large, size);
    expect(UIDPOOL_FAILED, "/etc/subuid, line 1");
    assert_int_equal(unlink("/etc/subuid"), 0);
    assert_int_equal(mkdir("/etc/subuid", 0755), 0);
    expect(UIDPOOL_FAILED, "cannot read /etc/subuid: Is a directory");
    assert_int_equal(rmdir("/etc/subuid"), 0);
}

static void test_parse_subid(void **state)
{
    struct uid_range r = {.first = 1, .count = 2};

    (void)state;
    assert_int_equal(hostrange_parse_subid("", &r), -ENOENT);
    assert_int_equal(hostrange_parse_subid(" \t", &r), -ENOENT);
    assert_int_equal(hostrange_parse_subid("#a:1:2", &r), -ENOENT);
    assert_int_equal(hostrange_parse_subid("a:1", &r), -EBADMSG);
    assert_int_equal(hostrange_parse_subid("a:1:99999999999999999999", &r), -EBADMSG);
    assert_int_equal(hostrange_parse_subid("a:111111111111111111111111111111:1", &r), -EBADMSG);
    assert_true(r.first == 1 && r.count == 2);
    assert_int_equal(hostrange_parse_subid("a b:3:4", &r), 0);
    assert_true(r.first == 3 && r.count == 4);
    assert_int_equal(hostrange_parse_subid("a:4294967290:4294967296", &r), 0);
    assert_true(r.first == 4294967290u && r.count == 5);
}

static void test_names(void **state)
{
    (void)state;
    write_text("/etc/passwd", "root:x:0:0::/:\nqemu:x:2114601023:0::/:/bin/false\n");
    expect(UIDPOOL_CONFLICT, "2114601023 is the user qemu; choose another base");
    write_text("/etc/passwd", "root:x:0:0::/:\n");
    write_text("/etc/group", "root:x:0:\nqemus:x:2114600960:\n");
    expect(UIDPOOL_CONFLICT, "2114600960 is the group qemus");
}

static void test_a_large_group(void **state)
{
    _cleanup_file_ FILE *file = fopen("/etc/group", "we");

    (void)state;
    fprintf(file, "big:x:2114600961:first");
    for (int i = 0; i < 40000; i++)
        fprintf(file, ",member-%d", i);
    fprintf(file, "\n");
    assert_int_equal(fflush(file), 0);
    expect(UIDPOOL_CONFLICT, "2114600961 is the group big");
}

static void test_an_outage_frees_nothing(void **state)
{
    (void)state;
    assert_int_equal(unlink("/etc/group"), 0);
    expect(UIDPOOL_FAILED, "could not say whether there is a group 2114600960");
    assert_int_equal(unlink("/etc/passwd"), 0);
    expect(UIDPOOL_FAILED, "could not say whether there is a user 2114600960");
}

static void test_a_process(void **state)
{
    int in[2], out[2];
    char byte;
    pid_t pid;

    (void)state;
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(in[1]);
        if (setresuid(0, BASE + 5, 0) < 0 || write(out[1], "", 1) != 1)
            _exit(1);
        _exit(read(in[0], &byte, 1) != 0);
    }
    close(in[0]);
    assert_int_equal(read(out[0], &byte, 1), 1);
    expect(UIDPOOL_CONFLICT, "(test-hostrange) runs as uid 2114600965");
    close(in[1]);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    close(out[0]);
    close(out[1]);
    expect(UIDPOOL_OK, NULL);
}

static bool note_owner(const struct hostrange_owner *owner, void *userdata)
{
    static const char *const kinds[] = {
        [HOSTRANGE_USER] = "user", [HOSTRANGE_GROUP] = "group", [HOSTRANGE_PROCESS] = "process"};

    assert_int_equal(owner->pid > 0, owner->kind == HOSTRANGE_PROCESS);
    return tell(userdata, "%s %s %" PRIu32 "\n", kinds[owner->kind], owner->name, owner->id - BASE);
}

/* Ends with its last descriptor of the pipe. */
static void *wait_for_end(void *fd)
{
    char byte;

    (void)!read(*(int *)fd, &byte, 1);
    return NULL;
}

/* Two threads, the process named so, with BASE + saved as saved uid. Returns when it is. */
static pid_t start_process(const char *name, uint32_t saved, int end_fd)
{
    int ready[2];
    char byte;
    pid_t pid;

    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        pthread_t thread;

        close(ready[0]);
        /* The system call is for one thread alone; the other inherits it. */
        if (syscall(SYS_setresuid, 0, 0, BASE + saved) < 0 || prctl(PR_SET_NAME, name) < 0 ||
            pthread_create(&thread, NULL, wait_for_end, &end_fd) != 0 ||
            write(ready[1], "", 1) != 1)
            _exit(1);
        (void)wait_for_end(&end_fd);
        _exit(0);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return pid;
}

static void test_every_process(void **state)
{
    struct told all = {0}, one = {.stop_after = 1};
    struct problem p = {0};
    pid_t pids[2];
    int end[2];

    (void)state;
    assert_int_equal(pipe2(end, O_CLOEXEC), 0);
    pids[0] = start_process("first", 7, end[0]);
    pids[1] = start_process("second", 63, end[0]);
    assert_int_equal(hostrange_each_process(range, note_owner, &all, &p), UIDPOOL_OK);
    assert_string_equal(all.text, "process first 7\nprocess second 63\n");
    assert_int_equal(hostrange_each_process(range, note_owner, &one, &p), UIDPOOL_OK);
    assert_string_equal(one.text, "process first 7\n");
    assert_int_equal(hostrange_check_processes(range, &p), UIDPOOL_CONFLICT);
    assert_non_null(strstr(p.text, "(first) runs as uid 2114600967, one of"));
    assert_int_equal(hostrange_check_names(range, NULL, NULL, &p), UIDPOOL_OK);
    assert_int_equal(write(end[1], "1234", 4), 4);
    close(end[1]);
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(waitpid(pids[i], NULL, 0), pids[i]);
    close(end[0]);
    assert_int_equal(hostrange_check_processes(range, &p), UIDPOOL_OK);
}

static void test_every_name(void **state)
{
    struct told all = {0}, two = {.stop_after = 2}, one = {.stop_after = 1};
    struct problem p = {0};

    (void)state;
    write_text("/etc/passwd", "root:x:0:0::/:\na:x:2114600960:0::/:\nb:x:2114601023:0::/:\n");
    write_text("/etc/group", "root:x:0:\ng:x:2114600960:\nh:x:2114600970:\n");
    assert_int_equal(hostrange_each_name(range, note_owner, NULL, &all, &p), UIDPOOL_OK);
    assert_string_equal(all.text, "user a 0\ngroup g 0\ngroup h 10\nuser b 63\n");
    assert_int_equal(hostrange_each_name(range, note_owner, NULL, &two, &p), UIDPOOL_OK);
    assert_string_equal(two.text, "user a 0\ngroup g 0\n");
    assert_int_equal(hostrange_each_name(range, note_owner, NULL, &one, &p), UIDPOOL_OK);
    assert_string_equal(one.text, "user a 0\n");
    assert_int_equal(hostrange_check_processes(range, &p), UIDPOOL_OK);
}

/* 'y', 'n', or '?' for an outage. */
static char ask_id(uint32_t id)
{
    struct problem p = {0};
    bool found = false;

    errno = 0;
    if (hostrange_ask_id(id, &found, &p) != UIDPOOL_OK)
        return p.status == UIDPOOL_FAILED && strstr(p.text, "could not say whether") ? '?' : '!';
    return found ? 'y' : 'n';
}

static char ask_name(const char *name)
{
    struct problem p = {0};
    bool found = false;

    errno = 0;
    if (hostrange_ask_name(name, &found, &p) != UIDPOOL_OK)
        return p.status == UIDPOOL_FAILED && strstr(p.text, name) ? '?' : '!';
    return found ? 'y' : 'n';
}

static void test_asking_for_one(void **state)
{
    (void)state;
    write_text("/etc/passwd", "root:x:0:0::/:\nqemu:x:2114601023:0::/:\n");
    write_text("/etc/group", "root:x:0:\nqemus:x:2114600960:\n");
    assert_int_equal(ask_id(2114601023), 'y');
    assert_int_equal(ask_id(2114600960), 'y');
    assert_int_equal(ask_id(2114600961), 'n');
    assert_int_equal(ask_name("qemu"), 'y');
    assert_int_equal(ask_name("qemus"), 'y');
    assert_int_equal(ask_name("qem"), 'n');
    assert_int_equal(unlink("/etc/group"), 0);
    assert_int_equal(ask_id(2114601023), 'y');
    assert_int_equal(ask_id(2114600961), '?');
    assert_int_equal(ask_name("qem"), '?');
}

/*
 * What changes the process for good: in children.
 */

#define CHILD_EXPECTS(condition)                                            \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "line %d: not so: %s\n", __LINE__, #condition); \
            _exit(1);                                                       \
        }                                                                   \
    } while (0)

static void in_child(void (*what)(void))
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        what();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void leave_mounts(void)
{
    CHILD_EXPECTS(unshare(CLONE_NEWNS) == 0 &&
                  mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
}

static void child_without_proc(void)
{
    struct told told = {0};
    struct problem p = {0};

    leave_mounts();
    /* An empty directory, and after that nothing at all. */
    for (int i = 0; i < 2; i++) {
        CHILD_EXPECTS(i == 0 ? mount("tmpfs", "/proc", "tmpfs", MS_RDONLY, NULL) == 0
                             : chroot("/etc") == 0 && chdir("/") == 0);
        CHILD_EXPECTS(hostrange_check_processes(range, &p) == UIDPOOL_NOT_FOUND);
        CHILD_EXPECTS(strstr(p.text, "there is no /proc here"));
        CHILD_EXPECTS(hostrange_each_process(range, note_owner, &told, &p) == UIDPOOL_NOT_FOUND);
        CHILD_EXPECTS(hostrange_check_owners(range, NULL, NULL, &p) == UIDPOOL_FAILED);
        CHILD_EXPECTS(strstr(p.text, "there is no /proc here") && told.n == 0);
    }
}

static void child_with_a_part_of_proc(void)
{
    struct problem p = {0};

    leave_mounts();
    CHILD_EXPECTS(mount("tmpfs", "/proc/1", "tmpfs", 0, NULL) == 0);
    CHILD_EXPECTS(hostrange_check_processes(range, &p) == UIDPOOL_FAILED);
    CHILD_EXPECTS(strstr(p.text, "cannot tell whether a process runs"));
}

static void test_no_proc_is_not_a_blind_one(void **state)
{
    (void)state;
    in_child(child_without_proc);
    in_child(child_with_a_part_of_proc);
}

/* nss-uidpooltest.c knows eve and a group; the files know those of make_etc(). */
static void make_others(const char *passwd, const char *group)
{
    char text[512];

    snprintf(text, sizeof(text), "%s\n%s\n", passwd, group);
    write_text("/etc/nsswitch.conf", text);
    CHILD_EXPECTS(mkdir("/etc/uidpooltest", 0755) == 0 || errno == EEXIST);
    write_text("/etc/uidpooltest/passwd", "eve:x:2114600970:0::/:\n");
    write_text("/etc/uidpooltest/group", "some:x:2114600971:\n");
}

static void child_asks_the_others(void)
{
    struct told told = {0};
    struct problem p = {0};

    make_others(" passwd:files uidpooltest", "group\t:  files [SUCCESS=merge] uidpooltest");
    CHILD_EXPECTS(ask_id(2114600970) == 'y' && ask_name("before") == 'y');
    CHILD_EXPECTS(hostrange_skip_files());
    CHILD_EXPECTS(ask_id(2114600970) == 'y' && ask_id(2114600971) == 'y');
    CHILD_EXPECTS(ask_name("eve") == 'y' && ask_name("some") == 'y');
    CHILD_EXPECTS(ask_name("before") == 'n' && ask_name("root") == 'n' && ask_id(0) == 'n');
    CHILD_EXPECTS(hostrange_each_name(range, note_owner, NULL, &told, &p) == UIDPOOL_OK);
    CHILD_EXPECTS(strcmp(told.text, "user eve 10\ngroup some 11\n") == 0);
    /* A new nsswitch.conf is for the next process. */
    write_text("/etc/nsswitch.conf", "passwd: files\ngroup: files\n");
    CHILD_EXPECTS(ask_name("eve") == 'y' && ask_name("before") == 'n');
}

static void child_asks_nobody(void)
{
    static const char *const lines[][2] = {
        {"passwd: files", "group: files"},
        {"passwd: files # uidpooltest", "#group: uidpooltest"},
        {"hosts: files", ""},
        {"passwd: uidpooltest\npasswd: files", "group:"},
        {"passwd: compat", "group: compat [NOTFOUND=return]files"},
        {"passwd: uidpoolnosuch files", "group: files [ NOTFOUND = return ] uidpoolnosuch"},
    };
    int status;

    for (size_t i = 0; i < ELEMENTS_OF(lines); i++) {
        pid_t pid = fork();

        if (pid == 0) {
            make_others(lines[i][0], lines[i][1]);
            CHILD_EXPECTS(!hostrange_skip_files());
            CHILD_EXPECTS(ask_name("eve") == 'n' && ask_name("before") == 'n');
            CHILD_EXPECTS(ask_name("root") == 'n' && ask_id(0) == 'n');
            /* Nor is there anybody who could fail. */
            CHILD_EXPECTS(unlink("/etc/passwd") == 0 && ask_id(1) == 'n');
            write_text("/etc/passwd", "");
            _exit(0);
        }
        CHILD_EXPECTS(waitpid(pid, &status, 0) == pid);
        if (status != 0)
            fprintf(stderr, "\"%s\", \"%s\"\n", lines[i][0], lines[i][1]);
        CHILD_EXPECTS(status == 0);
    }
}

static void child_without_nsswitch(void)
{
    CHILD_EXPECTS(unlink("/etc/nsswitch.conf") == 0);
    CHILD_EXPECTS(!hostrange_skip_files() && ask_name("root") == 'n');
}

/* One of the two databases has others, the other has none. */
static void child_asks_for_groups_alone(void)
{
    make_others("passwd: files", "group: uidpooltest files");
    CHILD_EXPECTS(hostrange_skip_files());
    CHILD_EXPECTS(ask_name("some") == 'y' && ask_name("eve") == 'n' && ask_name("root") == 'n');
    write_text("/etc/uidpooltest/unavail", "");
    CHILD_EXPECTS(ask_name("some") == '?');
    CHILD_EXPECTS(unlink("/etc/uidpooltest/unavail") == 0);
}

/* In each place of the line, in each way to fail. */
static void child_sees_an_outage(void)
{
    static const char *const services[] = {
        "files uidpooltest",
        "uidpooltest files",
        "uidpooltest systemd",
        "uidpooltest [NOTFOUND=return] systemd",
        "uidpooltest[!UNAVAIL=return]systemd files",
    };
    static const char *const outages[] = {"unavail", "tryagain", "silent"};

    for (size_t i = 0; i < ELEMENTS_OF(services); i++) {
        int status;
        pid_t pid = fork();

        if (pid == 0) {
            char passwd[128], group[128], path[64];

            snprintf(passwd, sizeof(passwd), "passwd: %s", services[i]);
            snprintf(group, sizeof(group), "group: %s", services[i]);
            make_others(passwd, group);
            CHILD_EXPECTS(hostrange_skip_files());
            CHILD_EXPECTS(ask_name("eve") == 'y' && ask_name("adam") == 'n');
            for (size_t j = 0; j < ELEMENTS_OF(outages); j++) {
                snprintf(path, sizeof(path), "/etc/uidpooltest/%s", outages[j]);
                write_text(path, "");
                CHILD_EXPECTS(ask_name("eve") == '?' && ask_id(2114600960) == '?');
                CHILD_EXPECTS(unlink(path) == 0);
            }
            CHILD_EXPECTS(ask_name("eve") == 'y' && ask_name("adam") == 'n');
            _exit(0);
        }
        CHILD_EXPECTS(waitpid(pid, &status, 0) == pid);
        if (status != 0)
            fprintf(stderr, "\"%s\"\n", services[i]);
        CHILD_EXPECTS(status == 0);
    }
}

/* An administrator may say that one may be down. */
static void child_allows_an_outage(void)
{
    make_others("passwd: uidpooltest [UNAVAIL=continue] systemd files",
                "group: uidpooltest [UNAVAIL=continue] systemd");
    CHILD_EXPECTS(hostrange_skip_files());
    CHILD_EXPECTS(ask_name("eve") == 'y');
    write_text("/etc/uidpooltest/unavail", "");
    CHILD_EXPECTS(ask_name("eve") == 'n');
    CHILD_EXPECTS(unlink("/etc/uidpooltest/unavail") == 0);
}

/* `compat` is the files, and what they import. */
static void child_looks_behind_compat(void)
{
    make_others("passwd: compat systemd\npasswd_compat: files uidpooltest",
                "group: compat [NOTFOUND=return] systemd");
    CHILD_EXPECTS(hostrange_skip_files());
    CHILD_EXPECTS(ask_name("eve") == 'y' && ask_name("some") == 'n');
    CHILD_EXPECTS(ask_name("before") == 'n' && ask_name("root") == 'y');
}

static void child_without_imports(void)
{
    make_others("passwd: compat", "group: files");
    CHILD_EXPECTS(name_service_pretend("nis") == 0);
    CHILD_EXPECTS(!hostrange_skip_files() && unlink("/etc/libnss_nis.so.2") == 0);
}

/* Nobody need name NIS: a line in the file is enough. */
static void child_looks_at_imports(void)
{
    make_others("passwd: compat", "group: compat");
    CHILD_EXPECTS(name_service_pretend("nis") == 0);
    write_text("/etc/group", "root:x:0:\n+:::\n");
    CHILD_EXPECTS(hostrange_skip_files());
    CHILD_EXPECTS(ask_name("root") == '?');
}

static void test_without_files(void **state)
{
    (void)state;
    in_child(child_asks_nobody);
    in_child(child_without_nsswitch);
    if (!name_service_is_built()) {
        print_message("SKIP: libnss_uidpooltest.so.2 is not built\n");
        skip();
    }
    (void)make_etc(NULL);
    in_child(child_asks_the_others);
    in_child(child_asks_for_groups_alone);
    in_child(child_sees_an_outage);
    in_child(child_allows_an_outage);
    in_child(child_looks_behind_compat);
    in_child(child_without_imports);
    in_child(child_looks_at_imports);
}

struct asked {
    unsigned taken, progress;
};

static bool first_two_are_taken(struct uid_range r, void *userdata)
{
    struct asked *asked = userdata;

    asked->taken++;
    assert_int_equal(r.count, 1000);
    return r.first < HOSTRANGE_AUTO_FIRST + 2 * HOSTRANGE_AUTO_STEP;
}

static bool all_are_taken(struct uid_range r, void *userdata)
{
    struct asked *asked = userdata;

    assert_true((uint64_t)r.first + r.count <= HOSTRANGE_AUTO_END);
    asked->taken++;
    return true;
}

static void count_progress(const char *text, void *userdata)
{
    struct asked *asked = userdata;

    assert_non_null(strstr(text, "asking the name services for the ids from 2113929216 on"));
    asked->progress++;
}

static void test_find(void **state)
{
    struct asked asked = {0};
    struct problem p = {0};
    uid_t base = 0;

    (void)state;
    assert_int_equal(hostrange_find(1000, NULL, NULL, NULL, &base, &p), UIDPOOL_OK);
    assert_int_equal(base, HOSTRANGE_AUTO_FIRST);
    /* The first two are pools, the third is somebody's subuids, the fourth has a user. */
    write_text("/etc/subuid", "alice:2114060289:1\n");
    write_text("/etc/passwd", "root:x:0:0::/:\nqemu:x:2114126823:0::/:\n");
    assert_int_equal(hostrange_find(1000, first_two_are_taken, NULL, &asked, &base, &p),
                     UIDPOOL_OK);
    assert_int_equal(base, HOSTRANGE_AUTO_FIRST + 4 * HOSTRANGE_AUTO_STEP);
    assert_int_equal(asked.taken, 5);
}

static void test_find_nothing(void **state)
{
    struct asked asked = {0};
    struct problem p = {0};
    uid_t base = 7;

    (void)state;
    assert_int_equal(hostrange_find(65536, all_are_taken, NULL, &asked, &base, &p),
                     UIDPOOL_CONFLICT);
    assert_int_equal(asked.taken, (HOSTRANGE_AUTO_END - HOSTRANGE_AUTO_FIRST) / 65536);
    assert_non_null(strstr(p.text, "has 65536 free ids behind it, for the last one tried: a pool"));
    assert_int_equal(hostrange_find(UINT32_MAX, NULL, NULL, NULL, &base, &p), UIDPOOL_CONFLICT);
    assert_int_equal(hostrange_find(0, NULL, NULL, NULL, &base, &p), UIDPOOL_CONFLICT);
    /* An outage ends the search: the next range would be no better known. */
    assert_int_equal(unlink("/etc/passwd"), 0);
    assert_int_equal(hostrange_find(10, NULL, NULL, NULL, &base, &p), UIDPOOL_FAILED);
    assert_non_null(strstr(p.text, "could not say"));
    assert_int_equal(base, 7);
}

/* The first two are in the way, the first with words. */
static enum uidpool_status check_third(struct uid_range r, void *userdata, struct problem *p)
{
    unsigned *n = userdata;

    assert_int_equal(r.count, 100);
    assert_int_equal(r.first, HOSTRANGE_AUTO_FIRST + *n * HOSTRANGE_AUTO_STEP);
    switch ((*n)++) {
    case 0:
        return problem_set(p, UIDPOOL_CONFLICT, "odd");
    case 1:
        return UIDPOOL_CONFLICT;
    default:
        return UIDPOOL_OK;
    }
}

static enum uidpool_status check_until_an_outage(struct uid_range r, void *userdata,
                                                 struct problem *p)
{
    unsigned *n = userdata;

    (void)r;
    return ++*n < 5 ? UIDPOOL_CONFLICT : problem_set(p, UIDPOOL_FAILED, "down");
}

static enum uidpool_status check_nothing(struct uid_range r, void *userdata, struct problem *p)
{
    (void)userdata;
    return r.first == HOSTRANGE_AUTO_FIRST ? problem_set(p, UIDPOOL_CONFLICT, "odd")
                                           : UIDPOOL_CONFLICT;
}

static void test_find_by_another_rule(void **state)
{
    struct problem p = {0};
    unsigned n = 0;
    uid_t base = 7;

    (void)state;
    assert_int_equal(hostrange_find_by(9, check_until_an_outage, &n, &base, &p), UIDPOOL_FAILED);
    assert_string_equal(p.text, "down");
    assert_int_equal(n, 5);
    /* What an earlier one was called is not what the last one is. */
    assert_int_equal(hostrange_find_by(9, check_nothing, NULL, &base, &p), UIDPOOL_CONFLICT);
    assert_non_null(strstr(p.text, "has 9 free ids behind it; ask for fewer"));
    assert_int_equal(base, 7);
    n = 0;
    assert_int_equal(hostrange_find_by(100, check_third, &n, &base, &p), UIDPOOL_OK);
    assert_int_equal(base, HOSTRANGE_AUTO_FIRST + 2 * HOSTRANGE_AUTO_STEP);
}

static void test_progress(void **state)
{
    int64_t begin = clock_monotonic_usec();
    struct asked asked = {0};
    struct problem p = {0};
    uid_t base = 0;

    (void)state;
    assert_int_equal(hostrange_find(100000, NULL, count_progress, &asked, &base, &p), UIDPOOL_OK);
    assert_true(asked.progress <= (clock_monotonic_usec() - begin) / USEC_PER_SEC);
}

#define on_etc(test) cmocka_unit_test_setup(test, make_etc)

static int run(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_subid),
        on_etc(test_a_free_range),
        on_etc(test_fixed_ranges),
        on_etc(test_every_claim),
        on_etc(test_login_defs_of_this_host),
        on_etc(test_system_ids),
        on_etc(test_login_defs),
        on_etc(test_subids),
        on_etc(test_our_own_guard_is_no_grant),
        on_etc(test_subids_that_cannot_be_read),
        on_etc(test_names),
        on_etc(test_a_large_group),
        on_etc(test_an_outage_frees_nothing),
        on_etc(test_a_process),
        on_etc(test_every_process),
        on_etc(test_every_name),
        on_etc(test_asking_for_one),
        on_etc(test_no_proc_is_not_a_blind_one),
        on_etc(test_without_files),
        on_etc(test_find),
        on_etc(test_find_by_another_rule),
        on_etc(test_find_nothing),
        on_etc(test_progress),
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
        mount("tmpfs", "/etc", "tmpfs", 0, NULL) < 0) {
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
