/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who has claimed a range, on an /etc and in a PID namespace of the test's own: needs root, and
 * touches nothing of the host.
 */
#include "allocator/hostrange.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "uidpool.h"

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
        {8000000, 1, "subordinate"},
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
    assert_non_null(strstr(p.text, "has 65536 free ids behind it (the last one tried: all are"));
    assert_int_equal(hostrange_find(UINT32_MAX, NULL, NULL, NULL, &base, &p), UIDPOOL_CONFLICT);
    assert_int_equal(hostrange_find(0, NULL, NULL, NULL, &base, &p), UIDPOOL_CONFLICT);
    /* An outage ends the search: the next range would be no better known. */
    assert_int_equal(unlink("/etc/passwd"), 0);
    assert_int_equal(hostrange_find(10, NULL, NULL, NULL, &base, &p), UIDPOOL_FAILED);
    assert_non_null(strstr(p.text, "could not say"));
    assert_int_equal(base, 7);
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
        on_etc(test_login_defs),
        on_etc(test_subids),
        on_etc(test_subids_that_cannot_be_read),
        on_etc(test_names),
        on_etc(test_a_large_group),
        on_etc(test_an_outage_frees_nothing),
        on_etc(test_a_process),
        on_etc(test_find),
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
int main(void)
{
    if (geteuid() != 0 || unshare(CLONE_NEWNS | CLONE_NEWPID) < 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        print_message("SKIP: needs root and namespaces of its own: %s\n", strerror(errno));
        return 77;
    }
    _exit(run_in_child(run_in_namespaces));
}
