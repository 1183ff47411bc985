/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The look for residue, on real files, queues and segments, in mount and IPC namespaces of its own:
 * needs root, and touches nothing of the host.
 */
#include "allocator/residue.h"
#include "common/cleanup.h"
#include "uidpool.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mqueue.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cmocka.h>

#define T 2114584600u
#define X 2114584700u

static const struct uid_range range = {.first = T, .count = 4};

/* Every test begins with these empty. */
static const char *const fresh[] = {"/tmp", "/var", "/run", "/dev/shm"};
static const char *const folders[] = {"/var/tmp",        "/var/spool",    "/var/spool/cron",
                                      "/var/spool/at",   "/run/lock",     "/run/place",
                                      "/run/place/deep", "/run/elsewhere"};
static const char *const places[] = {"/run/place", "/run/missing", NULL};

static int mount_fresh(void **state)
{
    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(fresh); i++)
        if (mount("tmpfs", fresh[i], "tmpfs", 0, "mode=1777") < 0)
            return -1;
    for (size_t i = 0; i < ELEMENTS_OF(folders); i++)
        if (mkdir(folders[i], 0755) < 0)
            return -1;
    return 0;
}

static int unmount_fresh(void **state)
{
    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(fresh); i++)
        if (umount2(fresh[i], MNT_DETACH) < 0)
            return -1;
    return 0;
}

static void make_file(const char *path, uid_t uid, mode_t mode)
{
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(fchown(fd, uid, 0), 0);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static void make_dir(const char *path, uid_t uid)
{
    assert_int_equal(mkdir(path, 0777), 0);
    assert_int_equal(chown(path, uid, 0), 0);
}

/* Walk to the end, in steps of so many. The caller frees. */
static struct residue *walk(unsigned step)
{
    struct residue *r = NULL;

    assert_int_equal(residue_new(range, places, &r), 0);
    while (residue_step(r, step) > 0)
        ;
    return r;
}

static void expect_clean(void)
{
    _cleanup_(residue_freep) struct residue *r = walk(100);

    assert_string_equal(residue_text(r), "");
    assert_int_equal(residue_count(r), 0);
}

/* One look for many: is there anything of one of them? */
static size_t look_for(const struct uid_range *ranges, size_t n)
{
    _cleanup_(residue_freep) struct residue *r = NULL;

    assert_int_equal(residue_new_look(ranges, n, places, &r), 0);
    while (residue_step(r, 10) > 0)
        ;
    assert_int_equal(residue_removed(r), 0);
    return residue_count(r);
}

static size_t open_descriptors(void)
{
    _cleanup_dir_ DIR *d = opendir("/proc/self/fd");
    size_t n = 0;

    assert_non_null(d);
    while (readdir(d))
        n++;
    return n;
}

static void test_nothing_is_clean(void **state)
{
    (void)state;
    make_file("/tmp/other", X, 0644);
    make_file("/tmp/before", T - 1, 0644);
    make_file("/tmp/behind", T + 4, 0644);
    make_file("/run/elsewhere/file", T, 0644);
    expect_clean();
}

static void test_a_look_for_several(void **state)
{
    const struct uid_range both[] = {{T, 1}, {T + 3, 1}}, others[] = {{T + 1, 2}, {T + 4, 1}};
    int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
    struct shmid_ds segment;

    (void)state;
    assert_int_equal(look_for(both, 2), 0);
    make_file("/tmp/theirs", T + 3, 0644);
    assert_int_equal(look_for(both, 2), 1);
    assert_int_equal(look_for(both, 1), 0);
    assert_int_equal(look_for(others, 2), 0);
    /* Found, and left to whoever looks for that one. */
    assert_int_equal(shmctl(id, IPC_STAT, &segment), 0);
    segment.shm_perm.uid = T;
    assert_int_equal(shmctl(id, IPC_SET, &segment), 0);
    assert_int_equal(look_for(both, 2), 2);
    assert_int_equal(look_for(both, 1), 1);
    assert_int_equal(look_for(others, 2), 0);
    assert_int_equal(shmctl(id, IPC_RMID, NULL), 0);
}

static void test_every_place_and_kind(void **state)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "/run/lock/socket"};
    _cleanup_(residue_freep) struct residue *r = NULL;
    _cleanup_fd_ int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)state;
    make_file("/tmp/plain", T, 0644);
    make_dir("/var/tmp/dir", T + 1);
    assert_int_equal(symlink("/run/elsewhere", "/dev/shm/link"), 0);
    assert_int_equal(lchown("/dev/shm/link", T + 2, 0), 0);
    assert_int_equal(bind(s, (struct sockaddr *)&name, sizeof(name)), 0);
    assert_int_equal(chown("/run/lock/socket", T + 3, 0), 0);
    make_file("/run/place/deep/setuid", T, 04755);
    make_file("/run/elsewhere/file", T, 0644);
    r = walk(1);
    assert_string_equal(residue_text(r), "/run/place/deep/setuid (SETUID file), /tmp/plain (file), "
                                         "/var/tmp/dir (directory), /dev/shm/link (symbolic link), "
                                         "/run/lock/socket (socket)");
    assert_int_equal(residue_count(r), 5);
}

static void test_spools_and_the_place_itself(void **state)
{
    _cleanup_(residue_freep) struct residue *r = NULL;

    (void)state;
    make_dir("/var/spool/cron/crontabs", 0);
    make_file("/var/spool/cron/crontabs/qemu", T, 0600);
    assert_int_equal(mkfifo("/var/spool/at/job", 0600), 0);
    assert_int_equal(chown("/var/spool/at/job", T, 0), 0);
    assert_int_equal(chown("/run/place", T, 0), 0);
    r = walk(7);
    assert_string_equal(residue_text(r), "/var/spool/cron/crontabs/qemu (file), "
                                         "/var/spool/at/job (FIFO), /run/place (directory)");
}

static void test_many_and_the_loud_one(void **state)
{
    _cleanup_(residue_freep) struct residue *r = NULL;
    char path[64];

    (void)state;
    for (int i = 0; i < 40; i++) {
        snprintf(path, sizeof(path), "/tmp/file-%d", i);
        make_file(path, T, 0644);
    }
    make_file("/run/place/last", T, 06711);
    r = walk(1000);
    assert_int_equal(residue_count(r), 41);
    assert_ptr_equal(strstr(residue_text(r), "/run/place/last (SETUID file), /tmp/file-"),
                     residue_text(r));
    assert_non_null(strstr(residue_text(r), " and 35 more"));
}

static void test_hostile_names(void **state)
{
    _cleanup_(residue_freep) struct residue *r = NULL;
    char path[512], name[NAME_MAX + 1];

    (void)state;
    make_file("/tmp/a\nb\033[2J\xff", T, 0644);
    memset(name, 'n', NAME_MAX);
    name[NAME_MAX] = '\0';
    for (int i = 0; i < 10; i++) {
        name[0] = (char)('0' + i);
        snprintf(path, sizeof(path), "/run/place/%s", name);
        make_file(path, T, 0644);
    }
    r = walk(1000);
    assert_int_equal(residue_count(r), 11);
    assert_ptr_equal(strstr(residue_text(r), "/tmp/a?b?[2J? (file), /run/place/"), residue_text(r));
    assert_non_null(strstr(residue_text(r), "nnn...nnn"));
    assert_non_null(strstr(residue_text(r), "nnn (file)"));
    assert_true(strlen(residue_text(r)) < UIDPOOL_REASON_MAX - 32);
}

/* A chain of directories d/d/d..., of uid `dirs`, in each a file of uid `files` beside the next
 * one. Returns a descriptor of the last. */
static int make_chain(int at, unsigned depth, uid_t dirs, uid_t files)
{
    int fd = dup(at);

    for (unsigned i = 0; i < depth; i++) {
        int file = openat(fd, "beside", O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
        int next;

        assert_true(file >= 0);
        assert_int_equal(fchown(file, files, 0), 0);
        close(file);
        assert_int_equal(mkdirat(fd, "d", 0777), 0);
        assert_int_equal(fchownat(fd, "d", dirs, 0, 0), 0);
        next = openat(fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(next >= 0);
        close(fd);
        fd = next;
    }
    return fd;
}

static void test_deep_trees_of_others_hold_nothing(void **state)
{
    _cleanup_fd_ int place = open("/run/place", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    (void)state;
    close_fd(make_chain(place, 5000, X, X));
    expect_clean();
}

static void test_deep_trees_are_walked_whole(void **state)
{
    _cleanup_fd_ int place = open("/run/place", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_(residue_freep) struct residue *r = NULL;
    size_t before = open_descriptors(), most = 0;

    (void)state;
    close_fd(make_chain(place, 3000, X, T));
    assert_int_equal(residue_new(range, places, &r), 0);
    while (residue_step(r, 50) > 0)
        if (open_descriptors() > most)
            most = open_descriptors();
    assert_int_equal(residue_count(r), 3000);
    assert_true(most <= before + 5);
    assert_int_equal(open_descriptors(), before);
}

/* Step until the walk is in this directory: it then has its descriptor open. */
static void walk_until_in(struct residue *r, int dir)
{
    struct stat want, st;
    char path[64];

    assert_int_equal(fstat(dir, &want), 0);
    while (residue_step(r, 1) > 0)
        for (int fd = 3; fd < 32; fd++) {
            snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
            if (fd != dir && stat(path, &st) == 0 && st.st_ino == want.st_ino &&
                st.st_dev == want.st_dev)
                return;
        }
    fail_msg("the walk never came there");
}

/* /run/place/first and /run/place/second, each with a long chain in it. */
static int make_two_chains(uid_t files)
{
    static const char *const names[] = {"/run/place/first", "/run/place/second"};
    int end = -1;

    for (size_t i = 0; i < ELEMENTS_OF(names); i++) {
        _cleanup_fd_ int dir = -1;

        make_dir(names[i], X);
        dir = open(names[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(dir >= 0);
        close_fd(end);
        end = make_chain(dir, 20, X, files);
    }
    return end;
}

static size_t walk_while_moving(uid_t files)
{
    _cleanup_fd_ int end = make_two_chains(files);
    _cleanup_(residue_freep) struct residue *r = NULL;

    assert_int_equal(residue_new(range, places, &r), 0);
    walk_until_in(r, end);
    assert_int_equal(rename("/run/place/second/d/d/d/d/d/d/d/d/d", "/run/elsewhere/d"), 0);
    while (residue_step(r, 1) > 0)
        ;
    return residue_count(r);
}

/* Whatever is still where it was is found: all of the first chain, the way down the second. */
static void test_moved_under_the_walk(void **state)
{
    size_t count = walk_while_moving(T);

    (void)state;
    assert_true(count >= 20 && count <= 40);
}

static void test_moving_holds_nothing(void **state)
{
    (void)state;
    assert_int_equal(walk_while_moving(X), 0);
}

static void test_removed_under_the_walk(void **state)
{
    _cleanup_fd_ int end = make_two_chains(T);
    _cleanup_(residue_freep) struct residue *r = NULL;

    (void)state;
    assert_int_equal(residue_new(range, places, &r), 0);
    walk_until_in(r, end);
    assert_int_equal(unlinkat(end, "../../d", AT_REMOVEDIR), -1); /* there is one in it */
    assert_int_equal(unlinkat(end, "../d", AT_REMOVEDIR), 0);
    while (residue_step(r, 1) > 0)
        ;
    assert_int_equal(residue_count(r), 40);
    assert_null(strstr(residue_text(r), "could not"));
}

static void test_freed_half_way(void **state)
{
    _cleanup_fd_ int end = make_two_chains(T);
    size_t before = open_descriptors();
    struct residue *r = NULL;

    (void)state;
    assert_int_equal(residue_new(range, places, &r), 0);
    walk_until_in(r, end);
    residue_free(r);
    residue_free(NULL);
    assert_int_equal(open_descriptors(), before);
}

static void test_mounts_are_not_crossed(void **state)
{
    (void)state;
    make_dir("/tmp/tmpfs", X);
    make_dir("/tmp/bind", X);
    make_file("/tmp/onto", X, 0644);
    make_file("/run/elsewhere/file", T, 0644);
    assert_int_equal(mount("tmpfs", "/tmp/tmpfs", "tmpfs", 0, "uid=2114584600"), 0);
    make_file("/tmp/tmpfs/file", T, 0644);
    assert_int_equal(mount("/run/elsewhere", "/tmp/bind", NULL, MS_BIND, NULL), 0);
    assert_int_equal(mount("/run/elsewhere/file", "/tmp/onto", NULL, MS_BIND, NULL), 0);
    expect_clean();
}

/* A FUSE file system of another user whose server never answers: root may not look into it, and
 * must neither hang nor hold uids because of it. */
static void test_a_dead_fuse_server(void **state)
{
    _cleanup_fd_ int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    char options[128];

    (void)state;
    if (fuse < 0) {
        print_message("SKIP: no /dev/fuse: %s\n", strerror(errno));
        skip();
    }
    make_dir("/tmp/fuse", X);
    make_file("/tmp/mine", T, 0644);
    assert_int_equal(unlink("/tmp/mine"), 0);
    for (int all = 0; all < 2; all++) {
        _cleanup_fd_ int server = open("/dev/fuse", O_RDWR | O_CLOEXEC);

        snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=%u,group_id=%u%s", server,
                 X, X, all ? ",allow_other" : "");
        assert_int_equal(mount("fuse", "/tmp/fuse", "fuse", MS_NODEV | MS_NOSUID, options), 0);
        alarm(30);
        expect_clean();
        alarm(0);
        assert_int_equal(umount2("/tmp/fuse", MNT_DETACH), 0);
    }
}

static void test_links_are_not_followed(void **state)
{
    (void)state;
    make_file("/run/elsewhere/file", T, 0644);
    assert_int_equal(symlink("/run/elsewhere", "/tmp/link"), 0);
    assert_int_equal(symlink("/tmp/loop", "/tmp/loop"), 0);
    expect_clean();
}

static void test_a_place_that_is_a_link(void **state)
{
    _cleanup_(residue_freep) struct residue *r = NULL;

    (void)state;
    make_file("/run/elsewhere/file", T, 0644);
    assert_int_equal(rmdir("/run/lock"), 0);
    assert_int_equal(symlink("/run/elsewhere", "/run/lock"), 0);
    r = walk(10);
    assert_string_equal(residue_text(r), "/run/lock/file (file)");
}

static void test_trouble_is_residue(void **state)
{
    _cleanup_(residue_freep) struct residue *r = NULL;
    const char *const relative[] = {"tmp", NULL};

    (void)state;
    assert_int_equal(residue_new(range, relative, &r), -EINVAL);
    assert_null(r);
    assert_int_equal(rmdir("/run/lock"), 0);
    make_file("/run/lock", X, 0644);
    r = walk(10);
    assert_int_equal(residue_count(r), 1);
    assert_string_equal(residue_text(r), "/run/lock (could not be looked at: Not a directory)");
}

static void test_access_times_stay(void **state)
{
    struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 2000}};
    struct stat st;

    (void)state;
    make_dir("/tmp/aged", X);
    assert_int_equal(utimensat(AT_FDCWD, "/tmp/aged", old, 0), 0);
    expect_clean();
    assert_int_equal(stat("/tmp/aged", &st), 0);
    assert_int_equal(st.st_atim.tv_sec, 1000);
}

/* Run it in a child that has become `uid`; it answers an id or -1. */
static int as_uid(uid_t uid, int (*what)(void))
{
    int answer = -1, status, ends[2];
    pid_t pid;

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        answer = setresuid(uid, uid, uid) < 0 ? -1 : what();
        _exit(write(ends[1], &answer, sizeof(answer)) != sizeof(answer));
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], &answer, sizeof(answer)), sizeof(answer));
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(answer >= 0);
    return answer;
}

static int make_shm(void)
{
    return shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
}

static int make_msg(void)
{
    return msgget(IPC_PRIVATE, IPC_CREAT | 0600);
}

static int make_sem(void)
{
    return semget(IPC_PRIVATE, 3, IPC_CREAT | 0600);
}

static int make_queue(void)
{
    return mq_open("/queue-of-t", O_CREAT | O_EXCL | O_RDWR, 0600, NULL) < 0 ? -1 : 0;
}

static int make_other_queue(void)
{
    return mq_open("/queue-of-x", O_CREAT | O_EXCL | O_RDWR, 0600, NULL) < 0 ? -1 : 0;
}

static void test_ipc_is_removed(void **state)
{
    int ours[] = {as_uid(T, make_shm), as_uid(T + 3, make_msg), as_uid(T + 1, make_sem)};
    int others[] = {as_uid(X, make_shm), as_uid(T + 4, make_msg), as_uid(T - 1, make_sem)};
    _cleanup_(residue_freep) struct residue *r = NULL;
    struct shmid_ds shm;
    struct msqid_ds msg;

    (void)state;
    r = walk(1);
    assert_string_equal(residue_text(r), "");
    assert_int_equal(residue_removed(r), 3);
    assert_int_equal(shmctl(ours[0], IPC_STAT, &shm), -1);
    assert_int_equal(msgctl(ours[1], IPC_STAT, &msg), -1);
    assert_int_equal(semctl(ours[2], 0, GETVAL), -1);
    assert_int_equal(shmctl(others[0], IPC_STAT, &shm), 0);
    assert_int_equal(msgctl(others[1], IPC_STAT, &msg), 0);
    assert_int_equal(semctl(others[2], 1, GETVAL), 0);
    assert_int_equal(shmctl(others[0], IPC_RMID, NULL), 0);
    assert_int_equal(msgctl(others[1], IPC_RMID, NULL), 0);
    assert_int_equal(semctl(others[2], 0, IPC_RMID), 0);
}

static void test_ipc_by_its_creator(void **state)
{
    int id = as_uid(T, make_shm);
    _cleanup_(residue_freep) struct residue *r = NULL;
    struct shmid_ds shm;

    (void)state;
    assert_int_equal(shmctl(id, IPC_STAT, &shm), 0);
    shm.shm_perm.uid = X;
    assert_int_equal(shmctl(id, IPC_SET, &shm), 0);
    r = walk(100);
    assert_int_equal(residue_removed(r), 1);
    assert_int_equal(shmctl(id, IPC_STAT, &shm), -1);
}

static void test_ipc_attached_by_somebody(void **state)
{
    int id = as_uid(T, make_shm);
    void *memory = shmat(id, NULL, 0);

    (void)state;
    assert_true(memory != (void *)-1);
    for (int i = 0; i < 2; i++) {
        _cleanup_(residue_freep) struct residue *r = walk(100);

        assert_int_equal(residue_count(r), 1);
        assert_int_equal(residue_removed(r), 0);
        assert_non_null(strstr(residue_text(r), "another process still has it attached"));
    }
    assert_int_equal(shmdt(memory), 0);
    expect_clean();
}

static void test_queues_are_removed(void **state)
{
    _cleanup_(residue_freep) struct residue *r = NULL;

    (void)state;
    if (mq_unlink("/none") < 0 && errno == ENOSYS) {
        print_message("SKIP: this kernel has no POSIX queues\n");
        skip();
    }
    as_uid(T, make_queue);
    as_uid(X, make_other_queue);
    r = walk(3);
    assert_string_equal(residue_text(r), "");
    assert_int_equal(residue_removed(r), 1);
    assert_int_equal(mq_unlink("/queue-of-t"), -1);
    assert_int_equal(mq_unlink("/queue-of-x"), 0);
}

static void test_no_list_is_no_proof(void **state)
{
    _cleanup_(residue_freep) struct residue *r = NULL;

    (void)state;
    assert_int_equal(mount("tmpfs", "/proc/sysvipc", "tmpfs", 0, NULL), 0);
    r = walk(10);
    assert_int_equal(umount2("/proc/sysvipc", MNT_DETACH), 0);
    assert_int_equal(residue_count(r), 3);
    assert_non_null(strstr(residue_text(r), "/proc/sysvipc/shm (could not be looked at: No such"));
}

static void test_parse_ipc(void **state)
{
    static const char *const bad[] = {
        "",
        "\n",
        "         0          1   600",
        "         0          x   600       4096     1     1      0  1  2  3  4\n",
        "         0 4294967296   600       4096     1     1      0  1  2  3  4\n",
        "         0          1   698       4096     1     1      0  1  2  3  4\n",
        "         0          1   600       4096     1     1      0  4294967296  2  3  4\n",
        "         0          1   600       4096     1     1      0  -1  2  3  4\n",
        "         0          1   600 99999999999999999999999999  1  1   0  1  2  3  4\n",
    };
    uid_t uid = 7, cuid = 8;
    int id = 9;

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(bad); i++)
        assert_int_equal(residue_parse_ipc("shm", bad[i], &id, &uid, &cuid), -EBADMSG);
    assert_int_equal(residue_parse_ipc("pip", "0 1 2 3 4 5 6 7 8 9", &id, &uid, &cuid), -EBADMSG);
    assert_true(uid == 7 && cuid == 8 && id == 9);
    assert_int_equal(
        residue_parse_ipc("shm", "-559038737 32770 01600 18446744073709551615 1 2 3 4294967295 5 6",
                          &id, &uid, &cuid),
        0);
    assert_true(id == 32770 && uid == UINT32_MAX && cuid == 6);
    assert_int_equal(
        residue_parse_ipc("sem", "  0    4   0    3   11    0    12   0  0  1\n", &id, &uid, &cuid),
        0);
    assert_true(id == 4 && uid == 11 && cuid == 12);
}

#define on_fresh(test) cmocka_unit_test_setup_teardown(test, mount_fresh, unmount_fresh)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_ipc),
        on_fresh(test_nothing_is_clean),
        on_fresh(test_a_look_for_several),
        on_fresh(test_every_place_and_kind),
        on_fresh(test_spools_and_the_place_itself),
        on_fresh(test_many_and_the_loud_one),
        on_fresh(test_hostile_names),
        on_fresh(test_deep_trees_of_others_hold_nothing),
        on_fresh(test_deep_trees_are_walked_whole),
        on_fresh(test_moved_under_the_walk),
        on_fresh(test_moving_holds_nothing),
        on_fresh(test_removed_under_the_walk),
        on_fresh(test_freed_half_way),
        on_fresh(test_mounts_are_not_crossed),
        on_fresh(test_a_dead_fuse_server),
        on_fresh(test_links_are_not_followed),
        on_fresh(test_a_place_that_is_a_link),
        on_fresh(test_trouble_is_residue),
        on_fresh(test_access_times_stay),
        on_fresh(test_ipc_is_removed),
        on_fresh(test_ipc_by_its_creator),
        on_fresh(test_ipc_attached_by_somebody),
        on_fresh(test_queues_are_removed),
        on_fresh(test_no_list_is_no_proof),
    };

    if (geteuid() != 0 || unshare(CLONE_NEWNS | CLONE_NEWIPC) < 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        print_message("SKIP: needs root and namespaces of its own: %s\n", strerror(errno));
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
