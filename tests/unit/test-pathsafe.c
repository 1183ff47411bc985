/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which files and ways to them are refused, in a temporary directory. Another owner's files need
 * root.
 */
#include "common/cleanup.h"
#include "common/pathsafe.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define STRANGER 2114453504u

static char root[] = "/tmp/test-pathsafe-XXXXXX";
static const char *const suffixes[] = {"-wal", "-lock", NULL};

static const char *in_root(const char *name)
{
    static char paths[4][PATH_MAX];
    static unsigned turn;
    char *path = paths[turn++ % 4];

    snprintf(path, PATH_MAX, "%s/%s", root, name);
    return path;
}

static void make_file(const char *name, mode_t mode)
{
    _cleanup_fd_ int fd = open(in_root(name), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(fchmod(fd, mode), 0);
}

static void make_dir(const char *name, mode_t mode)
{
    assert_int_equal(mkdir(in_root(name), 0700), 0);
    assert_int_equal(chmod(in_root(name), mode), 0);
}

static void accept_path(const char *name)
{
    char why[256] = "";
    int r = path_check_safe(in_root(name), suffixes, why, sizeof(why));

    if (r != 0)
        fail_msg("%s: %s (%s)", name, strerror(-r), why);
}

static void refuse_path(const char *name, const char *words)
{
    char why[512] = "";
    int r = path_check_safe(in_root(name), suffixes, why, sizeof(why));

    if (r != -EPERM || !strstr(why, words))
        fail_msg("%s: %d, \"%s\" does not say \"%s\"", name, r, why, words);
    assert_int_equal(path_check_safe(in_root(name), suffixes, why, 0), -EPERM);
}

static void test_good(void **state)
{
    (void)state;
    accept_path("absent");
    make_file("ledger", 0600);
    make_file("ledger-wal", 0644);
    accept_path("ledger");
    make_dir("sub", 0755);
    make_file("sub/ledger", 0400);
    accept_path("sub/ledger");
    accept_path("sub//../sub/./ledger");
    assert_int_equal(path_check_safe(in_root("sub/ledger"), NULL, NULL, 0), 0);
}

static void test_relative(void **state)
{
    char why[256] = "", before[PATH_MAX];

    (void)state;
    assert_non_null(getcwd(before, sizeof(before)));
    make_dir("rel", 0755);
    make_file("rel/ledger", 0600);
    assert_int_equal(chdir(in_root("rel")), 0);
    assert_int_equal(path_check_safe("ledger", suffixes, why, sizeof(why)), 0);
    assert_int_equal(path_check_safe("../rel/ledger", suffixes, why, sizeof(why)), 0);
    assert_int_equal(chmod(in_root("rel"), 0777), 0);
    assert_int_equal(path_check_safe("ledger", suffixes, why, sizeof(why)), -EPERM);
    assert_int_equal(chdir(before), 0);
}

static void test_odd_paths(void **state)
{
    char why[16] = "", path[2 * PATH_MAX];

    (void)state;
    assert_int_equal(path_check_safe("", NULL, why, sizeof(why)), -EINVAL);
    assert_int_equal(path_check_safe("/", NULL, why, sizeof(why)), -EINVAL);
    assert_int_equal(path_check_safe("/tmp/", NULL, why, sizeof(why)), -EINVAL);
    assert_int_equal(path_check_safe("/tmp/..", NULL, why, sizeof(why)), -EINVAL);
    assert_int_equal(path_check_safe(in_root("no/such/dir"), NULL, why, sizeof(why)), -ENOENT);
    make_file("plain", 0600);
    assert_int_equal(path_check_safe(in_root("plain/x"), NULL, why, sizeof(why)), -ENOTDIR);
    memset(path, '/', sizeof(path));
    path[sizeof(path) - 2] = 'x';
    path[sizeof(path) - 1] = '\0';
    assert_int_equal(path_check_safe(path, NULL, why, sizeof(why)), -ENAMETOOLONG);
    memset(path, 'y', 300);
    memcpy(path, "/", 1);
    memcpy(path + 300, "/x", 3);
    assert_int_equal(path_check_safe(path, NULL, why, sizeof(why)), -ENAMETOOLONG);
}

static void test_directories(void **state)
{
    (void)state;
    make_dir("open", 0777);
    refuse_path("open/ledger", "/open may be written by others (mode 0777)");
    make_dir("open/below", 0700);
    refuse_path("open/below/ledger", "/open may be written by others");
    make_dir("group", 0770);
    refuse_path("group/ledger", "chmod go-w it");
    /* Sticky: good enough on the way, as /tmp is, not as the last one. */
    make_dir("sticky", 01777);
    refuse_path("sticky/ledger", "may be written by others (mode 1777)");
    make_dir("sticky/below", 0700);
    accept_path("sticky/below/ledger");
}

static void test_files(void **state)
{
    (void)state;
    make_dir("files", 0755);
    make_file("files/w", 0620);
    refuse_path("files/w", "files/w may be written by others");
    make_file("files/a", 0600);
    make_file("files/a-wal", 0602);
    refuse_path("files/a", "files/a-wal may be written by others");
    make_file("files/b", 0600);
    assert_int_equal(symlink("a", in_root("files/b-lock")), 0);
    refuse_path("files/b", "files/b-lock is a symbolic link");
    assert_int_equal(link(in_root("files/b"), in_root("files/c")), 0);
    assert_int_equal(unlink(in_root("files/b-lock")), 0);
    refuse_path("files/b", "more than one name");
    assert_int_equal(mkfifo(in_root("files/fifo"), 0600), 0);
    refuse_path("files/fifo", "no regular file");
    make_dir("files/dir", 0700);
    refuse_path("files/dir", "no regular file");
    assert_int_equal(symlink("nowhere", in_root("files/dangling")), 0);
    refuse_path("files/dangling", "is a symbolic link");
}

/* A link that others may repoint is as bad as a directory that they may write. */
static void test_links(void **state)
{
    char why[64] = "";

    (void)state;
    make_dir("real", 0755);
    make_dir("links", 0755);
    assert_int_equal(symlink("../real", in_root("links/relative")), 0);
    assert_int_equal(symlink(in_root("real"), in_root("links/absolute")), 0);
    accept_path("links/relative/ledger");
    accept_path("links/absolute/ledger");
    assert_int_equal(chmod(in_root("links"), 0777), 0);
    refuse_path("links/relative/ledger", "/links may be written by others");
    refuse_path("links/absolute/ledger", "/links may be written by others");
    assert_int_equal(chmod(in_root("links"), 0755), 0);
    assert_int_equal(chmod(in_root("real"), 0777), 0);
    refuse_path("links/relative/ledger", in_root("real may be written by others"));
    refuse_path("links/./relative/../real/ledger", in_root("real may be written by others"));
    refuse_path("links/absolute//ledger", in_root("real may be written by others"));
    assert_int_equal(symlink("loop", in_root("links/loop")), 0);
    assert_int_equal(path_check_safe(in_root("links/loop/x"), NULL, why, sizeof(why)), -ELOOP);
}

static void test_strangers(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        print_message("SKIP: only root can make files of another user\n");
        skip();
    }
    make_dir("theirs", 0755);
    assert_int_equal(chown(in_root("theirs"), STRANGER, STRANGER), 0);
    refuse_path("theirs/ledger", "/theirs belongs to uid 2114453504; chown it to root");
    make_dir("theirs/ours", 0755);
    refuse_path("theirs/ours/ledger", "/theirs belongs to uid 2114453504");
    make_dir("ours", 0755);
    make_file("ours/file", 0600);
    assert_int_equal(chown(in_root("ours/file"), STRANGER, STRANGER), 0);
    refuse_path("ours/file", "ours/file belongs to another user");
    assert_int_equal(symlink("../sub", in_root("ours/link")), 0);
    assert_int_equal(lchown(in_root("ours/link"), STRANGER, STRANGER), 0);
    refuse_path("ours/link/ledger", "the symbolic link link in ");
}

static void say_in_chroot(const char *path, const char *words)
{
    char why[256] = "";

    assert_int_equal(path_check_safe(path, suffixes, why, sizeof(why)), -EPERM);
    assert_string_equal(why, words);
}

/* An image has no /proc, and the message has to say where all the same. */
static void test_without_proc(void **state)
{
    _cleanup_fd_ int out = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

    (void)state;
    if (geteuid() != 0) {
        print_message("SKIP: only root can change its root directory\n");
        skip();
    }
    make_dir("var", 0755);
    make_dir("var/lib", 0777);
    make_file("ledger-in-root", 0666);
    assert_int_equal(chroot(root), 0);
    assert_int_equal(chdir("/"), 0);
    say_in_chroot("/var/lib/ledger",
                  "/var/lib may be written by others (mode 0777); chmod go-w it");
    say_in_chroot("/ledger-in-root", "/ledger-in-root may be written by others; chmod go-w it");
    assert_int_equal(chmod("/", 0770), 0);
    say_in_chroot("ledger-in-root", "/ may be written by others (mode 0770); chmod go-w it");
    assert_int_equal(chmod("/", 0700), 0);
    assert_int_equal(fchdir(out), 0);
    assert_int_equal(chroot("."), 0);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int make_root(void **state)
{
    (void)state;
    return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
    (void)state;
    return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),      cmocka_unit_test(test_relative),
        cmocka_unit_test(test_odd_paths), cmocka_unit_test(test_directories),
        cmocka_unit_test(test_files),     cmocka_unit_test(test_links),
        cmocka_unit_test(test_strangers), cmocka_unit_test(test_without_proc),
    };

    return cmocka_run_group_tests(tests, make_root, remove_root);
}
