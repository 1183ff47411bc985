/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Choosing a reaper uid, and killing by pidfd what kill(-1) cannot reach. With a /run, an
 * /etc/passwd and a ledger of its own; needs root.
 */
#include "allocator/reaper.h"
#include "allocator/scan.h"
#include "common/spawn.h"
#include "tests/unit/processes.h"

#include <cap-ng.h>
#include <sys/fsuid.h>
#include <sys/stat.h>

#define LOCK_DIRECTORY "/run/uidpool"
#define LOCK_PATH LOCK_DIRECTORY "/reaper.lock"
#define PASSWD "/run/passwd"

#define POOL_BASE 2113929216u
#define POOL_SIZE 1000u
#define ACCOUNT "uidpool-reaper"

static struct ledger *ledger;
static struct uid_range reapers; /* the ledger's own */

/* Root, and one account unless `name` is NULL. */
static void write_passwd(const char *name, uid_t uid)
{
    _cleanup_file_ FILE *file = fopen(PASSWD, "we");

    assert_non_null(file);
    assert_true(fputs("root:x:0:0::/root:/bin/sh\n", file) >= 0);
    if (name)
        assert_true(fprintf(file, "%s:x:%u:65534::/:/usr/sbin/nologin\n", name, uid) > 0);
}

static struct reaper take(uid_t after)
{
    struct problem p = {0};
    struct reaper_accounts nothing_known = {0};
    struct reaper r = {0};

    if (reaper_take(ledger, &nothing_known, after, &r, &p) != UIDPOOL_OK)
        fail_msg("%s", p.text);
    return r;
}

static void assert_not_taken(enum uidpool_status status, const char *says)
{
    struct reaper_accounts nothing_known = {0};
    struct reaper r = {.uid = 77, .lock_fd = 77};
    struct problem p = {0};

    assert_int_equal(reaper_take(ledger, &nothing_known, UIDPOOL_NO_UID, &r, &p), status);
    assert_int_equal(r.uid, 77);
    assert_int_equal(r.lock_fd, 77);
    assert_non_null(strstr(p.text, says));
}

/*
 * Choosing.
 */
static void the_ledgers_uids_are_taken_in_turn(void **state)
{
    struct reaper held[4096];
    struct reaper r;

    (void)state;
    write_passwd(NULL, 0);
    assert_in_range(reapers.count, 2, ELEMENTS_OF(held));
    for (uint32_t i = 0; i < reapers.count; i++) {
        held[i] = take(UIDPOOL_NO_UID);
        assert_true(held[i].lock_fd >= 0);
        assert_int_equal(held[i].uid, reapers.first + i);
    }
    r = take(UIDPOOL_NO_UID);
    assert_int_equal(r.lock_fd, -1);
    close(held[1].lock_fd);
    r = take(UIDPOOL_NO_UID);
    assert_int_equal(r.uid, reapers.first + 1);
    close(r.lock_fd);
    for (uint32_t i = 0; i < reapers.count; i++)
        if (i != 1)
            close(held[i].lock_fd);
}

static void one_that_is_in_use_comes_last(void **state)
{
    struct reaper first, second, last;

    (void)state;
    write_passwd(NULL, 0);
    first = take(UIDPOOL_NO_UID);
    close(first.lock_fd);
    second = take(first.uid);
    assert_int_equal(second.uid, first.uid + 1);
    last = take(uid_range_last(reapers));
    assert_int_equal(last.uid, first.uid);
    close(second.lock_fd);
    close(last.lock_fd);
}

static void the_account_is_the_only_one(void **state)
{
    struct reaper r, busy;

    (void)state;
    write_passwd(ACCOUNT, 777);
    r = take(UIDPOOL_NO_UID);
    assert_int_equal(r.uid, 777);
    busy = take(UIDPOOL_NO_UID);
    assert_int_equal(busy.lock_fd, -1);
    busy = take(777);
    assert_int_equal(busy.lock_fd, -1);
    close(r.lock_fd);
    r = take(777);
    assert_int_equal(r.uid, 777);
    close(r.lock_fd);
}

static void accounts_that_cannot_reap_are_refused(void **state)
{
    (void)state;
    write_passwd(ACCOUNT, 0);
    assert_not_taken(UIDPOOL_CONFLICT, "cannot be a reaper");
    write_passwd(ACCOUNT, 65534);
    assert_not_taken(UIDPOOL_CONFLICT, "cannot be a reaper");
    write_passwd(ACCOUNT, POOL_BASE);
    assert_not_taken(UIDPOOL_CONFLICT, "within a pool");
    write_passwd(ACCOUNT, POOL_BASE + POOL_SIZE - 1);
    assert_not_taken(UIDPOOL_CONFLICT, "within a pool");
}

static enum uidpool_status check(uid_t uid)
{
    struct reaper_accounts nothing_known = {0};
    struct reaper r = {.uid = uid, .lock_fd = -1};
    struct problem p = {0};

    return reaper_check(&nothing_known, &r, &p);
}

static void libxls_uids_are_refused(void **state)
{
    (void)state;
    write_passwd(NULL, 0);
    assert_int_equal(check(777), UIDPOOL_OK);
    write_passwd("xen-qemuuser-reaper", 777);
    assert_int_equal(check(777), UIDPOOL_CONFLICT);
    assert_int_equal(check(778), UIDPOOL_OK);
    write_passwd("xen-qemuuser-shared", 777);
    assert_int_equal(check(777), UIDPOOL_CONFLICT);
    assert_int_equal(check(778), UIDPOOL_OK);
    write_passwd("xen-qemuuser-range-base", 131072);
    assert_int_equal(check(131071), UIDPOOL_OK);
    assert_int_equal(check(131072), UIDPOOL_CONFLICT);
    assert_int_equal(check(131072 + 0x7FEF), UIDPOOL_CONFLICT);
    assert_int_equal(check(131072 + 0x7FF0), UIDPOOL_OK);
}

static void the_lock_is_made_where_others_may_look(void **state)
{
    mode_t before = umask(0077);
    struct reaper r;
    struct stat st;

    (void)state;
    write_passwd(NULL, 0);
    (void)unlink(LOCK_PATH);
    (void)rmdir(LOCK_DIRECTORY);
    r = take(UIDPOOL_NO_UID);
    umask(before);
    close(r.lock_fd);
    assert_int_equal(stat(LOCK_DIRECTORY, &st), 0);
    assert_int_equal(st.st_mode, S_IFDIR | 0755);
    assert_int_equal(stat(LOCK_PATH, &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0600);
}

static void an_unsafe_lock_is_refused(void **state)
{
    (void)state;
    write_passwd(NULL, 0);
    (void)mkdir(LOCK_DIRECTORY, 0755);
    assert_int_equal(chmod(LOCK_DIRECTORY, 0777), 0);
    assert_not_taken(UIDPOOL_FAILED, LOCK_DIRECTORY);
    assert_int_equal(chmod(LOCK_DIRECTORY, 0755), 0);
    (void)unlink(LOCK_PATH);
    assert_int_equal(symlink("/run/elsewhere", LOCK_PATH), 0);
    assert_not_taken(UIDPOOL_FAILED, LOCK_PATH);
    assert_int_equal(unlink(LOCK_PATH), 0);
    close(take(UIDPOOL_NO_UID).lock_fd);
}

/*
 * Killing through the helper.
 */
static int run_reaper(uid_t first, uint32_t count)
{
    const struct reaper r = {.uid = TEST_UID_LAST, .lock_fd = STDERR_FILENO};
    struct uid_range pool = {TEST_UID_FIRST, TEST_UID_LAST - TEST_UID_FIRST};
    const int claim = STDERR_FILENO;
    _cleanup_fd_ int pidfd = reaper_start(&r, pool, (struct uid_range){first, count}, &claim, 1);
    int result;

    assert_true(pidfd >= 0);
    while ((result = reaper_finish(pidfd)) == -EAGAIN)
        usleep(1000);
    return result;
}

static void the_helper_kills_and_says_so(void **state)
{
    uid_t t = fresh_uids(2);
    pid_t dies = start_plain(t), lives = start_plain(t + 1);

    (void)state;
    assert_int_equal(run_reaper(t, 1), 0);
    assert_killed(dies);
    assert_unharmed(lives);
    /* Not within the pool. */
    assert_int_equal(run_reaper(TEST_UID_LAST - 1, 2), -EIO);
    end(lives);
}

/*
 * Killing one process.
 */
static uid_t odd_uid;
static int ready[2];

static void *become_odd(void *unused)
{
    set_ids(TEST_UID_LAST, odd_uid, TEST_UID_LAST);
    say_ready(ready[1]);
    return wait_in_thread(unused);
}

static void start_odd_thread(void)
{
    char c;

    start_thread(become_odd);
    must(read(ready[0], &c, 1) == 1, "read");
}

/* Threads keep the capabilities that their leader drops. */
static void start_odd_thread_and_drop(void)
{
    start_odd_thread();
    set_ids(TEST_UID_LAST, TEST_UID_LAST, TEST_UID_LAST);
}

/* The task of `pid` that has `t` among its uids. */
static struct scan_task find_task(pid_t pid, uid_t t)
{
    struct uid_range range = {t, 1};
    struct scan_task found = {0};
    const struct scan_task *tasks;
    struct scan *s;
    size_t n;

    assert_int_equal(scan_new(&range, 1, &s), 0);
    while (scan_step(s, 64))
        ;
    n = scan_tasks(s, &tasks);
    for (size_t i = 0; i < n; i++)
        if (tasks[i].pid == pid)
            found = tasks[i];
    scan_free(s);
    assert_int_equal(found.pid, pid);
    return found;
}

static void unreachable_processes_are_killed(void **state)
{
    uid_t t = fresh_uids(2), x = t + 1;
    pid_t dies[3];

    (void)state;
    odd_uid = t;
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    dies[0] = start_as(x, t, x);
    dies[1] = start_life((struct life){.before = start_odd_thread_and_drop});
    dies[2] = start_as(t, x, x);
    for (size_t i = 0; i < ELEMENTS_OF(dies); i++) {
        struct scan_task task = find_task(dies[i], t);

        assert_int_equal(reaper_kill_task(&task, (struct uid_range){t, 1}), 0);
        assert_killed(dies[i]);
        assert_int_equal(reaper_kill_task(&task, (struct uid_range){t, 1}), -ESRCH);
    }
}

static void set_file_system_uid(void)
{
    (void)setfsuid(odd_uid);
}

/* As a file server without root may be, which works for many. */
static void set_file_system_uid_alone(void)
{
    must(prctl(PR_SET_KEEPCAPS, 1) == 0, "prctl");
    set_ids(TEST_UID_LAST, TEST_UID_LAST, TEST_UID_LAST);
    capng_clear(CAPNG_SELECT_CAPS);
    must(capng_update(CAPNG_ADD, (capng_type_t)(CAPNG_EFFECTIVE | CAPNG_PERMITTED), CAP_SETUID) ==
                 0 &&
             capng_apply(CAPNG_SELECT_CAPS) == 0,
         "capng");
    set_file_system_uid();
}

static void privileged_processes_are_spared(void **state)
{
    uid_t t = fresh_uids(2), x = t + 1;
    pid_t lives[6];

    (void)state;
    odd_uid = t;
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    lives[0] = start_as(0, t, 0);
    lives[1] = start_as(x, t, 0);
    lives[2] = start_as(x, 0, t);
    lives[3] = start_life((struct life){.before = start_odd_thread});
    lives[4] = start_life((struct life){.before = set_file_system_uid});
    lives[5] = start_life((struct life){.before = set_file_system_uid_alone});
    for (size_t i = 0; i < ELEMENTS_OF(lives); i++) {
        struct scan_task task = find_task(lives[i], t);

        assert_int_equal(reaper_kill_task(&task, (struct uid_range){t, 1}), -EPERM);
        assert_unharmed(lives[i]);
        end(lives[i]);
    }
}

/* The scan saw it with the uid; now it has another one, is dead, or is somebody else. */
static void what_has_changed_is_spared(void **state)
{
    uid_t t = fresh_uids(2), x = t + 1;
    struct uid_range range = {t, 1};
    pid_t changed = start_as(x, x, x), zombie = start_zombie(t);
    struct scan_task task = {.pid = changed, .tid = changed, .uids = {x, t, x, t}};

    (void)state;
    assert_int_equal(reaper_kill_task(&task, range), -ESRCH);
    assert_unharmed(changed);
    task.tid = zombie;
    assert_int_equal(reaper_kill_task(&task, range), -ESRCH);
    assert_unharmed(changed);
    task.pid = zombie;
    assert_int_equal(reaper_kill_task(&task, range), -ESRCH);
    end(changed);
    reap(zombie);
}

static int make_world(void **state)
{
    struct uidpool_pool pool = {.name = "p",
                                .base = POOL_BASE,
                                .size = POOL_SIZE,
                                .policy = UIDPOOL_POLICY_NEXT,
                                .gid = POOL_BASE,
                                .next_uid = POOL_BASE};
    struct problem p = {0};

    (void)state;
    assert_int_equal(mount("tmpfs", "/run", "tmpfs", 0, "mode=0755"), 0);
    write_passwd(NULL, 0);
    assert_int_equal(mount(PASSWD, "/etc/passwd", NULL, MS_BIND, NULL), 0);
    if (ledger_open("/run/ledger/l.db", LEDGER_CREATE, &ledger, &p) != UIDPOOL_OK ||
        ledger_begin(ledger, &p) != UIDPOOL_OK ||
        ledger_pool_insert(ledger, &pool, &p) != UIDPOOL_OK ||
        ledger_commit(ledger, &p) != UIDPOOL_OK ||
        ledger_reaper_range(ledger, &reapers.first, &reapers.count, &p) != UIDPOOL_OK)
        fail_msg("%s", p.text);
    return 0;
}

static int leave_world(void **state)
{
    (void)state;
    ledger_close(ledger);
    return 0;
}

int main(int argc, char *argv[])
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_ledgers_uids_are_taken_in_turn),
        cmocka_unit_test(one_that_is_in_use_comes_last),
        cmocka_unit_test(the_account_is_the_only_one),
        cmocka_unit_test(accounts_that_cannot_reap_are_refused),
        cmocka_unit_test(libxls_uids_are_refused),
        cmocka_unit_test(the_lock_is_made_where_others_may_look),
        cmocka_unit_test(an_unsafe_lock_is_refused),
        cmocka_unit_test(the_helper_kills_and_says_so),
        cmocka_unit_test(unreachable_processes_are_killed),
        cmocka_unit_test(privileged_processes_are_spared),
        cmocka_unit_test(what_has_changed_is_spared),
    };

    (void)argc;
    run_isolated(argv);
    return cmocka_run_group_tests(tests, make_world, leave_world);
}
