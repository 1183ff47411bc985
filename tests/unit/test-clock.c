/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Points in time as people write them, in zones that make it hard, and the boot id after a
 * "reboot": another file mounted over the kernel's, and in a chroot without /proc.
 */
#include "common/cleanup.h"
#include "common/clock.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* 2026-11-17T14:00:05.123456+01:00, a Tuesday. */
#define NOW INT64_C(1794920405123456)
#define BOOT_ID "/proc/sys/kernel/random/boot_id"

static void set_zone(const char *zone)
{
    setenv("TZ", zone, 1);
    tzset();
}

struct spelling {
    const char *text;
    const char *meaning; /* as format_time() writes it, or NULL if it is refused */
};

static void check(const struct spelling *table, size_t n, int64_t now)
{
    for (size_t i = 0; i < n; i++) {
        int64_t usec = 42;
        char text[64];
        int r = parse_time_at(table[i].text, now, &usec);

        if (!table[i].meaning) {
            if (r != -EINVAL || usec != 42)
                fail_msg("\"%s\" was not refused", table[i].text);
            continue;
        }
        if (r != 0)
            fail_msg("\"%s\" was refused", table[i].text);
        if (strcmp(format_time(usec, text, sizeof(text)), table[i].meaning) != 0)
            fail_msg("\"%s\" is %s, not %s", table[i].text, text, table[i].meaning);
    }
}

static void test_spellings(void **state)
{
    static const struct spelling table[] = {
        {"now", "2026-11-17T14:00:05.123456+01:00"},
        {"today", "2026-11-17T00:00:00.000000+01:00"},
        {"today 13:30", "2026-11-17T13:30:00.000000+01:00"},
        {"yesterday", "2026-11-16T00:00:00.000000+01:00"},
        {"yesterday 23:59:59", "2026-11-16T23:59:59.000000+01:00"},
        {"@0", "1970-01-01T01:00:00.000000+01:00"},
        {"@1794920405", "2026-11-17T14:00:05.000000+01:00"},
        {"@253402297200", "10000-01-01T00:00:00.000000+01:00"},
        {"-90m", "2026-11-17T12:30:05.123456+01:00"},
        {"-5s", "2026-11-17T14:00:00.123456+01:00"},
        {"-2h", "2026-11-17T12:00:05.123456+01:00"},
        {"-1d", "2026-11-16T14:00:05.123456+01:00"},
        {"-0s", "2026-11-17T14:00:05.123456+01:00"},
        {"14:00", "2026-11-17T14:00:00.000000+01:00"},
        {"14:00:05", "2026-11-17T14:00:05.000000+01:00"},
        {"23:59", "2026-11-17T23:59:00.000000+01:00"},
        {"2026-11-17", "2026-11-17T00:00:00.000000+01:00"},
        {"2026-07-17", "2026-07-17T00:00:00.000000+02:00"},
        {"2026-11-17 14:00", "2026-11-17T14:00:00.000000+01:00"},
        {"2026-11-17 14:00:05", "2026-11-17T14:00:05.000000+01:00"},
        {"2026-11-17T14:00:05", "2026-11-17T14:00:05.000000+01:00"},
        {"2026-11-17T14:00:05Z", "2026-11-17T15:00:05.000000+01:00"},
        {"2026-11-17T14:00Z", "2026-11-17T15:00:00.000000+01:00"},
        {"2026-11-17 14:00-05:30", "2026-11-17T20:30:00.000000+01:00"},
        {"2026-11-17T14:00:05.123456+01:00", "2026-11-17T14:00:05.123456+01:00"},
        {"2026-11-17T14:00:05.5", "2026-11-17T14:00:05.500000+01:00"},
        {"2024-02-29", "2024-02-29T00:00:00.000000+01:00"},
        {"2024-02-29T12:00Z", "2024-02-29T13:00:00.000000+01:00"},
        {"1970-01-01T00:00:00Z", "1970-01-01T01:00:00.000000+01:00"},
        {"9999-12-31T23:59:59Z", "10000-01-01T00:59:59.000000+01:00"},
        {"tue", "2026-11-17T00:00:00.000000+01:00"},
        {"Tuesday", "2026-11-17T00:00:00.000000+01:00"},
        {"TUE 14:00", "2026-11-17T14:00:00.000000+01:00"},
        {"tuesday 14:00:06", "2026-11-10T14:00:06.000000+01:00"},
        {"mon", "2026-11-16T00:00:00.000000+01:00"},
        {"wednesday", "2026-11-11T00:00:00.000000+01:00"},
        {"sun 23:00", "2026-11-15T23:00:00.000000+01:00"},
    };

    (void)state;
    set_zone("Europe/Berlin");
    check(table, ELEMENTS_OF(table), NOW);
}

static const struct spelling refused[] = {
    {"", NULL},
    {" ", NULL},
    {" now", NULL},
    {"now ", NULL},
    {"Now", NULL},
    {"nowadays", NULL},
    {"todays", NULL},
    {"today14:00", NULL},
    {"today  14:00", NULL},
    {"today 14:00 ", NULL},
    {"today 14", NULL},
    {"tomorrow", NULL},
    {"@", NULL},
    {"@-1", NULL},
    {"@ 1", NULL},
    {"@1.5", NULL},
    {"@253402300800", NULL},
    {"@99999999999999999999", NULL},
    {"-", NULL},
    {"-90", NULL},
    {"-m", NULL},
    {"--5m", NULL},
    {"-5w", NULL},
    {"-3651d", NULL},
    {"+5m", NULL},
    {"5m", NULL},
    {"24:00", NULL},
    {"14:60", NULL},
    {"23:59:60", NULL},
    {"23:59:61", NULL},
    {"14:00:60", NULL},
    {"2026-11-17T14:00:60Z", NULL},
    {"1:00", NULL},
    {"14:0", NULL},
    {"14:00:5", NULL},
    {"14:00:05.5", NULL},
    {"14:00Z", NULL},
    {"14.00", NULL},
    {"2026", NULL},
    {"2026-11", NULL},
    {"2026-1-7", NULL},
    {"26-11-17", NULL},
    {"2026-11-17Z", NULL},
    {"2026-11-17 ", NULL},
    {"2026-11-17T", NULL},
    {"2026-11-17T14", NULL},
    {"2026-11-17_14:00", NULL},
    {"2026-11-17  14:00", NULL},
    {"2026-11-17 14:00 Z", NULL},
    {"2026-11-17T14:00:05.", NULL},
    {"2026-11-17T14:00:05.1234567", NULL},
    {"2026-11-17T14:00+0100", NULL},
    {"2026-11-17T14:00+24:00", NULL},
    {"2026-11-17T14:00+01:60", NULL},
    {"2026-11-17T14:00+01:00x", NULL},
    {"2026-00-10", NULL},
    {"2026-13-10", NULL},
    {"2026-11-00", NULL},
    {"2026-11-31", NULL},
    {"2026-02-29", NULL},
    {"2026-02-30T00:00Z", NULL},
    {"2026-02-29T00:00Z", NULL},
    {"-026-11-17", NULL},
    {"1969-12-31", NULL},
    {"1969-12-31T23:59:59Z", NULL},
    {"0000-01-01", NULL},
    {"t", NULL},
    {"tues", NULL},
    {"tuesdays", NULL},
    {"tue14:00", NULL},
    {"tue ", NULL},
    {"tue 2026-11-17", NULL},
    {"nonsense", NULL},
};

static void test_refused(void **state)
{
    int64_t usec = 42;

    (void)state;
    set_zone("Europe/Berlin");
    check(refused, ELEMENTS_OF(refused), NOW);
    assert_int_equal(parse_time_at(NULL, NOW, &usec), -EINVAL);
    assert_int_equal(parse_time_at("-1d", INT64_C(86399) * USEC_PER_SEC, &usec), -EINVAL);
}

/* Hours that a zone skips or repeats, midnight among them. */
static void test_zone_changes(void **state)
{
    static const struct spelling berlin[] = {
        {"2026-03-29T01:59", "2026-03-29T01:59:00.000000+01:00"},
        {"2026-03-29T02:30", "2026-03-29T03:30:00.000000+02:00"},
        {"2026-03-29T03:00", "2026-03-29T03:00:00.000000+02:00"},
        {"2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00.000000+02:00"},
        {"2026-10-25T02:30:00+01:00", "2026-10-25T02:30:00.000000+01:00"},
    };
    static const struct spelling havana[] = {
        {"2026-03-08", "2026-03-08T01:00:00.000000-04:00"},
        {"2026-03-08T00:10", "2026-03-08T01:10:00.000000-04:00"},
        {"2026-03-07", "2026-03-07T00:00:00.000000-05:00"},
        /* "Now" is the day after, 09:00. */
        {"yesterday", "2026-03-08T01:00:00.000000-04:00"},
        {"sun 00:30", "2026-03-08T01:30:00.000000-04:00"},
    };
    /* Not a summer time but a new zone, from +05:30 to +06:30 at midnight. */
    static const struct spelling colombo[] = {
        {"1996-05-24 23:59", "1996-05-24T23:59:00.000000+05:30"},
        {"1996-05-25", "1996-05-25T01:00:00.000000+06:30"},
        {"1996-05-25 00:59", "1996-05-25T01:59:00.000000+06:30"},
        {"1996-05-25 01:00", "1996-05-25T01:00:00.000000+06:30"},
    };
    /* The 30th was left out. */
    static const struct spelling apia[] = {
        {"2011-12-29", "2011-12-29T00:00:00.000000-10:00"},
        {"2011-12-30", NULL},
        {"2011-12-31", "2011-12-31T00:00:00.000000+14:00"},
    };
    static const struct spelling kathmandu[] = {
        {"2026-11-17T14:00", "2026-11-17T14:00:00.000000+05:45"},
    };
    static const struct spelling newfoundland[] = {
        {"2026-11-17T14:00", "2026-11-17T14:00:00.000000-03:30"},
    };

    (void)state;
    set_zone("Europe/Berlin");
    check(berlin, ELEMENTS_OF(berlin), NOW);
    set_zone("America/Havana");
    check(havana, ELEMENTS_OF(havana), INT64_C(1773061200) * USEC_PER_SEC);
    set_zone("Asia/Colombo");
    check(colombo, ELEMENTS_OF(colombo), NOW);
    set_zone("Pacific/Apia");
    check(apia, ELEMENTS_OF(apia), NOW);
    set_zone("Asia/Kathmandu");
    check(kathmandu, ELEMENTS_OF(kathmandu), NOW);
    set_zone("America/St_Johns");
    check(newfoundland, ELEMENTS_OF(newfoundland), NOW);
}

static void test_format(void **state)
{
    char text[64];

    (void)state;
    set_zone("UTC0");
    assert_string_equal(format_time(0, text, sizeof(text)), "1970-01-01T00:00:00.000000+00:00");
    assert_string_equal(format_time(-1, text, sizeof(text)), "1969-12-31T23:59:59.999999+00:00");
    assert_string_equal(format_time(INT64_MAX, text, sizeof(text)),
                        "294247-01-10T04:00:54.775807+00:00");
    assert_string_equal(format_time(0, text, 5), "1970");
}

static void test_clocks(void **state)
{
    int64_t boot = clock_boot_usec(), monotonic = clock_monotonic_usec();
    int64_t parsed = 0;

    (void)state;
    assert_true(boot > 0 && monotonic > 0 && boot >= monotonic - USEC_PER_SEC);
    assert_true(clock_boot_usec() >= boot);
    assert_true(clock_monotonic_usec() >= monotonic);
    assert_int_equal(parse_time("now", &parsed), 0);
    assert_true(llabs(parsed - clock_wall_usec()) < 10 * USEC_PER_SEC);
}

static void test_boot_id(void **state)
{
    _cleanup_file_ FILE *f = fopen(BOOT_ID, "re");
    char kernel[64] = "", id[33] = "";
    size_t n = 0;

    (void)state;
    assert_non_null(f);
    assert_non_null(fgets(kernel, sizeof(kernel), f));
    assert_int_equal(clock_boot_id(id), 0);
    assert_int_equal(strlen(id), 32);
    for (const char *c = kernel; *c && *c != '\n'; c++)
        if (*c != '-')
            assert_int_equal(*c, id[n++]);
    assert_int_equal(n, 32);
}

/* Runs in a mount namespace of its own, in a new program: the answer may be kept within one. */
static int print_other_boot_id(const char *replacement)
{
    char *argv[] = {(char *)"test-clock", (char *)"boot-id", NULL};

    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount(replacement, BOOT_ID, NULL, MS_BIND, NULL) < 0)
        return 2;
    execv("/proc/self/exe", argv);
    return 3;
}

static void test_boot_id_of_another_boot(void **state)
{
    char replacement[] = "/tmp/test-clock-XXXXXX";
    static const char uuid[] = "11112222-3333-4444-5555-666677778888\n";
    int fd, status = 0;
    pid_t pid;

    (void)state;
    if (geteuid() != 0) {
        print_message("SKIP: only root can mount over the boot id\n");
        skip();
    }
    fd = mkstemp(replacement);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, uuid, sizeof(uuid) - 1), sizeof(uuid) - 1);
    close_fd(fd);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(print_other_boot_id(replacement));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(unlink(replacement), 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/*
 * Behind a chroot(2). In new programs, because the answer is kept.
 */

#define EXPECT(condition)                                                         \
    do {                                                                          \
        if (!(condition)) {                                                       \
            (void)fprintf(stderr, "line %d: not so: %s\n", __LINE__, #condition); \
            return 1;                                                             \
        }                                                                         \
    } while (0)

/* The working directory is an empty one. */
static int enter_empty_root(void)
{
    EXPECT(chroot(".") == 0);
    EXPECT(access("/proc", F_OK) < 0);
    return 0;
}

/* So that it may mount nothing any more. */
static int give_up_mounting(void)
{
    capng_get_caps_process();
    EXPECT(capng_update(CAPNG_DROP, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_SYS_ADMIN) == 0);
    EXPECT(capng_apply(CAPNG_SELECT_CAPS) == 0);
    return 0;
}

/* How much there is to read of what is mounted. */
static size_t size_of(int fd)
{
    char buffer[4096];
    size_t total = 0;
    ssize_t n;

    (void)lseek(fd, 0, SEEK_SET);
    while ((n = read(fd, buffer, sizeof(buffer))) > 0)
        total += (size_t)n;
    return total;
}

static int ask_without_proc(const char *want)
{
    char id[33] = "";
    int mounts = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC), spare = dup(mounts);
    size_t before = size_of(mounts);

    EXPECT(mounts >= 0 && before > 0 && close(spare) == 0);
    EXPECT(enter_empty_root() == 0);
    EXPECT(clock_boot_id(id) == 0);
    EXPECT(strcmp(id, want) == 0);
    /* Nothing was attached, nothing is left open. */
    EXPECT(size_of(mounts) == before);
    EXPECT(dup(mounts) == spare && dup(mounts) == spare + 1);
    /* Nothing to ask for again, and nothing to invent. */
    EXPECT(give_up_mounting() == 0);
    clock_boot_id_invent();
    EXPECT(clock_boot_id(id) == 0 && strcmp(id, want) == 0);
    return 0;
}

static int ask_before(const char *want)
{
    char id[33] = "";

    EXPECT(clock_boot_id(id) == 0);
    EXPECT(enter_empty_root() == 0 && give_up_mounting() == 0);
    memset(id, 0, sizeof(id));
    EXPECT(clock_boot_id(id) == 0 && strcmp(id, want) == 0);
    return 0;
}

static int invent(const char *not_this)
{
    char id[33] = "untouched", again[33] = "";

    EXPECT(enter_empty_root() == 0 && give_up_mounting() == 0);
    EXPECT(clock_boot_id(id) < 0 && strcmp(id, "untouched") == 0);
    clock_boot_id_invent();
    EXPECT(clock_boot_id(id) == 0);
    EXPECT(strlen(id) == 32 && strspn(id, "0123456789abcdef") == 32);
    EXPECT(strcmp(id, not_this) != 0);
    clock_boot_id_invent();
    EXPECT(clock_boot_id(again) == 0 && strcmp(id, again) == 0);
    /* For whom it is to be another one than everybody else's. */
    EXPECT(write(STDOUT_FILENO, id, 32) == 32);
    return 0;
}

static const struct {
    const char *name;
    int (*run)(const char *id);
} modes[] = {
    {"without-proc", ask_without_proc},
    {"before", ask_before},
    {"invent", invent},
};

/* This program again, in that mode and directory; its output goes to `out`. */
static int run_mode(const char *mode, const char *id, const char *dir, int out)
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        char *argv[] = {(char *)"test-clock", (char *)mode, (char *)id, NULL};

        if (chdir(dir) == 0 && dup2(out, STDOUT_FILENO) >= 0)
            execv("/proc/self/exe", argv);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void test_boot_id_behind_a_chroot(void **state)
{
    char dir[] = "/tmp/uidpool-test-clock-XXXXXX", id[33] = "", invented[2][33] = {"", ""};
    int ends[2];

    (void)state;
    if (geteuid() != 0) {
        print_message("SKIP: only root can chroot\n");
        skip();
    }
    assert_non_null(mkdtemp(dir));
    assert_int_equal(clock_boot_id(id), 0);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(run_mode("without-proc", id, dir, ends[1]), 0);
    assert_int_equal(run_mode("before", id, dir, ends[1]), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(run_mode("invent", id, dir, ends[1]), 0);
        assert_int_equal(read(ends[0], invented[i], 32), 32);
    }
    assert_string_not_equal(invented[0], invented[1]);
    (void)close_fd(ends[0]);
    (void)close_fd(ends[1]);
    assert_int_equal(rmdir(dir), 0);
}

int main(int argc, char *argv[])
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spellings),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_zone_changes),
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_clocks),
        cmocka_unit_test(test_boot_id),
        cmocka_unit_test(test_boot_id_of_another_boot),
        cmocka_unit_test(test_boot_id_behind_a_chroot),
    };

    if (argc == 2 && strcmp(argv[1], "boot-id") == 0) {
        char id[33] = "";

        return clock_boot_id(id) == 0 && strcmp(id, "11112222333344445555666677778888") == 0 ? 0
                                                                                             : 1;
    }
    /* _exit(), because the leak sanitizer needs a /proc. */
    for (size_t i = 0; argc == 3 && i < ELEMENTS_OF(modes); i++)
        if (strcmp(argv[1], modes[i].name) == 0)
            _exit(modes[i].run(argv[2]));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
