/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files are replaced whole or not at all: with all that hangs on them, in the right order, and with
 * nothing changed and nothing left behind by whatever fails. The system calls of interest go
 * through functions of this file, which watch them, cut them short and let them fail. Mounts in the
 * private mount namespace that tests/in-namespace makes.
 */
#include "common/atomicfile.h"
#include "common/cleanup.h"
#include "common/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

/* <sys/mount.h> of Debian 12 and <linux/fs.h> define the same things. */
#define MOUNT_READ_ONLY 1
#define MOUNT_REMOUNT 32
#define MOUNT_BIND 4096
extern int mount(const char *, const char *, const char *, unsigned long, const void *);
extern int umount2(const char *, int);

#define OWNER 2115000001u
#define READER 2115000002u
#define STRANGER 2115000003u
#define GROUP 2115000004u

#define ACL "system.posix_acl_access"
#define DEFAULT_ACL "system.posix_acl_default"

static char top[] = "/tmp/test-atomicfile-XXXXXX";
static char dir[PATH_MAX]; /* of the running test */

static const char *in_dir(const char *name)
{
    static char paths[4][PATH_MAX + NAME_MAX + 2];
    static unsigned turn;
    char *path = paths[turn++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
    return path;
}

/*
 * The calls that are watched.
 */
enum call { WRITE, FSYNC, CLOSE, RENAME, CHMOD, CHOWN, SETXATTR, TIMES, COPY, CALLS };

static struct {
    bool armed;
    enum call fail_in;
    unsigned fail_at; /* which of its calls, from 1; 0: none */
    int error;
    bool cut_short; /* writes and copies are interrupted, then do a little */
    bool spy;       /* try to read the temporaries as a stranger */
    bool log;
    bool plant; /* put a symbolic link in the place of what is unlinked */
    unsigned seen[CALLS], spied;
    char events[8192];
} hook;

static void hook_reset(void)
{
    memset(&hook, 0, sizeof(hook));
}

/* Nobody may read the temporary of a target that only OWNER and READER may read. */
static void spy(void)
{
    static const char *const names[] = {".secret.uidpool", ".secret-.uidpool"};

    hook.spy = false;
    for (size_t i = 0; i < ELEMENTS_OF(names); i++) {
        int fd;

        if (seteuid(STRANGER) < 0)
            fail_msg("cannot become a stranger: %s", strerror(errno));
        fd = open(in_dir(names[i]), O_RDONLY | O_CLOEXEC);
        if (fd >= 0 || errno == EACCES)
            hook.spied++;
        if (seteuid(0) < 0)
            fail_msg("cannot become root again: %s", strerror(errno));
        if (fd >= 0)
            fail_msg("a stranger can read %s", names[i]);
    }
    hook.spy = true;
}

static void note(const char *what, const char *a, const char *b)
{
    size_t used = strlen(hook.events);

    if (hook.log)
        snprintf(hook.events + used, sizeof(hook.events) - used, "%s %s%s%s\n", what, a,
                 *b ? " " : "", b);
}

static bool fails(enum call call)
{
    if (!hook.armed)
        return false;
    if (hook.spy)
        spy();
    hook.seen[call]++;
    if (hook.fail_at == 0 || call != hook.fail_in || hook.seen[call] != hook.fail_at)
        return false;
    errno = hook.error;
    return true;
}

/* Every other one is interrupted; the rest may do 1,000 bytes. */
static bool is_interrupted(enum call call, size_t *size)
{
    if (!hook.armed || !hook.cut_short)
        return false;
    if (*size > 1000)
        *size = 1000;
    errno = EINTR;
    return hook.seen[call] % 2 == 1;
}

/* The declarations of libc say nonnull, leaf and so on; these are other functions. */
ssize_t write(int fd, const void *data, size_t size)
{
    if (fails(WRITE) || is_interrupted(WRITE, &size))
        return -1;
    return syscall(SYS_write, fd, data, size);
}

ssize_t copy_file_range(int in, off_t *in_at, int out, off_t *out_at, size_t size, unsigned flags)
{
    if (fails(COPY) || is_interrupted(COPY, &size))
        return -1;
    return syscall(SYS_copy_file_range, in, in_at, out, out_at, size, flags);
}

int fsync(int fd)
{
    char link[64], name[PATH_MAX] = "";

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    if (readlink(link, name, sizeof(name) - 1) > 0)
        note("sync", strncmp(name, dir, strlen(dir)) == 0 ? name + strlen(dir) : name, "");
    if (fails(FSYNC))
        return -1;
    return (int)syscall(SYS_fsync, fd);
}

int close(int fd)
{
    bool failed = fails(CLOSE);
    int r = (int)syscall(SYS_close, fd);

    if (failed)
        errno = hook.error;
    return failed ? -1 : r;
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    note("rename", from, to);
    if (fails(RENAME))
        return -1;
    return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, 0);
}

int unlinkat(int at, const char *name, int flags)
{
    int r = (int)syscall(SYS_unlinkat, at, name, flags), error = errno;

    if (hook.armed && hook.plant)
        assert_int_equal(symlinkat("trap", at, name), 0);
    errno = error;
    return r;
}

int fchmod(int fd, mode_t mode)
{
    int r = fails(CHMOD) ? -1 : (int)syscall(SYS_fchmod, fd, mode);

    if (hook.armed && hook.spy)
        spy();
    return r;
}

int fchown(int fd, uid_t uid, gid_t gid)
{
    return fails(CHOWN) ? -1 : (int)syscall(SYS_fchown, fd, uid, gid);
}

int fsetxattr(int fd, const char *name, const void *value, size_t size, int flags)
{
    return fails(SETXATTR) ? -1 : (int)syscall(SYS_fsetxattr, fd, name, value, size, flags);
}

int futimens(int fd, const struct timespec times[2])
{
    return fails(TIMES) ? -1 : (int)syscall(SYS_utimensat, fd, NULL, times, 0);
}

/*
 * What the directory holds, to the last byte.
 */
struct text {
    char *data;
    size_t size;
};

static void text_end(struct text *t)
{
    free(t->data);
}

static char *read_file(const char *path, size_t *ret_size)
{
    /* O_NOATIME: times are compared. */
    _cleanup_fd_ int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOATIME | O_CLOEXEC);
    struct stat st;
    char *data;

    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    data = calloc(1, (size_t)st.st_size + 1);
    assert_non_null(data);
    assert_int_equal(read(fd, data, (size_t)st.st_size), st.st_size);
    *ret_size = (size_t)st.st_size;
    return data;
}

static void tell_attributes(FILE *to, const char *path)
{
    char names[4096], value[4096];
    ssize_t size = llistxattr(path, names, sizeof(names));

    for (const char *name = names; name < names + size; name += strlen(name) + 1) {
        ssize_t n = lgetxattr(path, name, value, sizeof(value));

        fprintf(to, " %s=", name);
        for (ssize_t i = 0; i < n; i++)
            fprintf(to, "%02x", (unsigned char)value[i]);
    }
}

static void tell_file(FILE *to, const char *name)
{
    const char *path = in_dir(name);
    struct stat st;

    assert_int_equal(lstat(path, &st), 0);
    fprintf(to, "%s ino=%ju mode=%o %u:%u links=%ju size=%jd mtime=%jd.%ld ctime=%jd.%ld", name,
            (uintmax_t)st.st_ino, st.st_mode, st.st_uid, st.st_gid, (uintmax_t)st.st_nlink,
            (intmax_t)st.st_size, (intmax_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
            (intmax_t)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
    tell_attributes(to, path);
    if (S_ISREG(st.st_mode)) {
        size_t size = 0;
        _cleanup_free_ char *data = read_file(path, &size);

        fputc('\n', to);
        fwrite(data, 1, size, to);
    }
    fputc('\n', to);
}

static int is_told(const struct dirent *d)
{
    return strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0;
}

static struct text take_snapshot(void)
{
    struct text text = {0};
    struct dirent **entries = NULL;
    FILE *to = open_memstream(&text.data, &text.size);
    int n = scandir(dir, &entries, is_told, alphasort);

    assert_non_null(to);
    assert_true(n >= 0);
    for (int i = 0; i < n; i++) {
        tell_file(to, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    assert_int_equal(fclose(to), 0);
    return text;
}

static void assert_unchanged(const struct text *before)
{
    _cleanup_(text_end) struct text now = take_snapshot();

    if (now.size != before->size || memcmp(now.data, before->data, now.size) != 0)
        fail_msg("changed from\n%.4000s\nto\n%.4000s", before->data, now.data);
}

/*
 * Files to begin with.
 */
static void make_file(const char *name, mode_t mode, const void *data, size_t size)
{
    _cleanup_fd_ int fd = open(in_dir(name), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, size), size);
    assert_int_equal(fchmod(fd, mode), 0);
}

static void make_text(const char *name, const char *text)
{
    make_file(name, 0644, text, strlen(text));
}

static void assert_text(const char *name, const char *text)
{
    size_t size = 0;
    _cleanup_free_ char *data = read_file(in_dir(name), &size);

    assert_string_equal(data, text);
    assert_int_equal(size, strlen(text));
}

static void assert_missing(const char *name)
{
    assert_int_equal(faccessat(AT_FDCWD, in_dir(name), F_OK, AT_SYMLINK_NOFOLLOW), -1);
    assert_int_equal(errno, ENOENT);
}

static void assert_ok(enum uidpool_status status, const struct problem *p)
{
    if (status != UIDPOOL_OK)
        fail_msg("%d: %s", (int)status, p->text);
}

static void assert_refused(enum uidpool_status status, enum uidpool_status wanted,
                           const struct problem *p, const char *words)
{
    if (status != wanted || p->status != wanted || !strstr(p->text, words))
        fail_msg("%d, %d: \"%s\" does not say \"%s\"", (int)status, (int)p->status, p->text, words);
}

static struct atomicfile *new_for_dir(void)
{
    struct atomicfile *a = NULL;
    struct problem p = {0};

    assert_ok(atomicfile_new(dir, &a, &p), &p);
    return a;
}

/* In three pieces, one of them empty; they must live as long as `a`. */
static enum uidpool_status add(struct atomicfile *a, const char *name, const void *data,
                               size_t size, bool backup, struct problem *p)
{
    static struct iovec kept[64][3];
    static size_t next;
    struct iovec *pieces = kept[next++ % ELEMENTS_OF(kept)];

    pieces[0] = (struct iovec){(void *)data, size / 3};
    pieces[1] = (struct iovec){NULL, 0};
    pieces[2] = (struct iovec){(char *)data + size / 3, size - size / 3};
    return atomicfile_add(a, name, pieces, 3, backup, p);
}

static void add_text(struct atomicfile *a, const char *name, const char *text, bool backup)
{
    struct problem p = {0};

    assert_ok(add(a, name, text, strlen(text), backup, &p), &p);
}

/* Both, or fail the test. */
static void carry_out(struct atomicfile *a)
{
    struct problem p = {0};

    assert_ok(atomicfile_prepare(a, &p), &p);
    assert_ok(atomicfile_commit(a, &p), &p);
}

/* passwd and shadow are to be replaced, with backups; and nothing is. */
static void assert_prepare_refused(enum uidpool_status wanted, const char *words)
{
    _cleanup_(text_end) struct text before = take_snapshot();
    _cleanup_(atomicfile_freep) struct atomicfile *a = new_for_dir();
    struct problem p = {0};

    add_text(a, "passwd", "new passwd\n", true);
    add_text(a, "shadow", "new shadow\n", true);
    assert_refused(atomicfile_prepare(a, &p), wanted, &p, words);
    assert_unchanged(&before);
    assert_refused(atomicfile_prepare(a, &p), UIDPOOL_FAILED, &p, "prepared before");
    assert_refused(atomicfile_commit(a, &p), UIDPOOL_FAILED, &p, "not prepared");
    assert_unchanged(&before);
}

/* The same, and it works. */
static void assert_prepare_works(void)
{
    _cleanup_(atomicfile_freep) struct atomicfile *a = new_for_dir();

    add_text(a, "passwd", "new passwd\n", true);
    add_text(a, "shadow", "new shadow\n", true);
    carry_out(a);
    assert_text("passwd", "new passwd\n");
    assert_text("shadow", "new shadow\n");
    assert_text("passwd-", "old passwd\n");
    assert_text("shadow-", "old shadow\n");
    assert_missing(".passwd.uidpool");
    assert_missing(".passwd-.uidpool");
}

/* Each test has a directory of its own, with a passwd and a shadow. */
static int setup(void **state)
{
    static unsigned number;

    (void)state;
    hook_reset();
    snprintf(dir, sizeof(dir), "%s/%u", top, number++);
    assert_int_equal(mkdir(dir, 0755), 0);
    make_text("passwd", "old passwd\n");
    make_file("shadow", 0640, "old shadow\n", 11);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    hook_reset();
    return 0;
}

/*
 * What is kept.
 */
struct acl_entry {
    uint16_t tag, permissions;
    uint32_t id;
};

enum { ACL_OWNER = 1, ACL_USER = 2, ACL_GROUP_OF_FILE = 4, ACL_MASK = 16, ACL_OTHERS = 32 };

/* rw for the owner, `named` for one more user, nothing for the others. -1 if there are no ACLs. */
static int set_acl(const char *path, const char *attribute, uid_t user, uint16_t named)
{
    struct {
        uint32_t version;
        struct acl_entry entries[5];
    } acl = {2,
             {{ACL_OWNER, 6, UINT32_MAX},
              {ACL_USER, named, user},
              {ACL_GROUP_OF_FILE, 0, UINT32_MAX},
              {ACL_MASK, named, UINT32_MAX},
              {ACL_OTHERS, 0, UINT32_MAX}}};

    return setxattr(path, attribute, &acl, sizeof(acl), 0);
}

/* Mode, owner, and the attributes but for what belongs to one file alone. */
static void tell_kept(FILE *to, const char *name)
{
    struct stat st;

    assert_int_equal(lstat(in_dir(name), &st), 0);
    fprintf(to, "mode=%o %u:%u", st.st_mode, st.st_uid, st.st_gid);
    tell_attributes(to, in_dir(name));
}

static struct text kept_of(const char *name)
{
    struct text text = {0};
    FILE *to = open_memstream(&text.data, &text.size);

    assert_non_null(to);
    tell_kept(to, name);
    assert_int_equal(fclose(to), 0);
    return text;
}

static void assert_kept(const char *name, const struct text *wanted)
{
    _cleanup_(text_end) struct text now = kept_of(name);

    assert_string_equal(now.data, wanted->data);
}

static bool can_keep_attributes(void)
{
    if (set_acl(in_dir("passwd"), ACL, READER, 4) < 0 ||
        setxattr(in_dir("passwd"), "user.note", "kept", 4, 0) < 0 ||
        setxattr(in_dir("passwd"), "security.uidpool-test", "label", 5, 0) < 0) {
        print_message("SKIP: ACLs and attributes in %s: %s\n", dir, strerror(errno));
        return false;
    }
    return true;
}

static void test_metadata(void **state)
{
    _cleanup_(atomicfile_freep) struct atomicfile *a = new_for_dir();
    struct timespec times[] = {{1000000000, 5000}, {1100000000, 7000}};
    _cleanup_(text_end) struct text passwd = {0}, shadow = {0};
    struct stat st;

    (void)state;
    assert_int_equal(chown(in_dir("shadow"), OWNER, GROUP), 0);
    assert_int_equal(chmod(in_dir("shadow"), 04750), 0);
    if (!can_keep_attributes())
        skip();
    assert_int_equal(utimensat(AT_FDCWD, in_dir("passwd"), times, 0), 0);
    passwd = kept_of("passwd");
    shadow = kept_of("shadow");
    assert_non_null(strstr(passwd.data, ACL "=02000000"));
    assert_non_null(strstr(passwd.data, "user.note=6b657074"));
    assert_non_null(strstr(passwd.data, "security.uidpool-test=6c6162656c"));
    add_text(a, "passwd", "new passwd\n", true);
    add_text(a, "shadow", "new shadow\n", true);
    carry_out(a);
    assert_text("passwd", "new passwd\n");
    assert_text("passwd-", "old passwd\n");
    assert_kept("passwd", &passwd);
    assert_kept("passwd-", &passwd);
    assert_kept("shadow", &shadow);
    assert_kept("shadow-", &shadow);
    assert_int_equal(stat(in_dir("passwd-"), &st), 0);
    assert_memory_equal(&st.st_atim, &times[0], sizeof(times[0]));
    assert_memory_equal(&st.st_mtim, &times[1], sizeof(times[1]));
    assert_int_equal(stat(in_dir("passwd"), &st), 0);
    assert_true(st.st_mtim.tv_sec > times[1].tv_sec);
}

/* What a directory's default ACL gives to new files does not come to ours; capabilities and what
 * vouches for the contents stay behind. */
static void test_attributes_not_kept(void **state)
{
    static const uint32_t capability[] = {0x02000001, 0x2000, 0, 0, 0};
    _cleanup_(atomicfile_freep) struct atomicfile *a = new_for_dir();
    _cleanup_(text_end) struct text shadow = {0};
    char value[64];

    (void)state;
    if (!can_keep_attributes())
        skip();
    shadow = kept_of("shadow");
    assert_int_equal(set_acl(dir, DEFAULT_ACL, STRANGER, 7), 0);
    make_text("proof", "");
    assert_true(getxattr(in_dir("proof"), ACL, value, sizeof(value)) > 0);
    assert_int_equal(
        setxattr(in_dir("passwd"), "security.capability", capability, sizeof(capability), 0), 0);
    assert_true(getxattr(in_dir("passwd"), "security.capability", value, sizeof(value)) > 0);
    /* An empty one: a write would drop the capability by itself. */
    add_text(a, "passwd", "", true);
    add_text(a, "shadow", "new shadow\n", true);
    carry_out(a);
    assert_kept("shadow", &shadow);
    assert_kept("shadow-", &shadow);
    assert_true(getxattr(in_dir("passwd"), "security.capability", value, sizeof(value)) < 0);
    assert_true(getxattr(in_dir("passwd-"), "security.capability", value, sizeof(value)) < 0);
    assert_int_equal(getxattr(in_dir("passwd"), "user.note", value, sizeof(value)), 4);
}

/* At every call, a stranger whom the directory's default ACL would let in tries the temporaries. */
static void test_never_readable_by_more(void **state)
{
    _cleanup_(atomicfile_freep) struct atomicfile *a = new_for_dir();

    (void)state;
    assert_int_equal(chmod(top, 0755), 0);
    make_file("secret", 0640, "secret\n", 7);
    assert_int_equal(chown(in_dir("secret"), OWNER, GROUP), 0);
    if (set_acl(in_dir("secret"), ACL, READER, 4) < 0 || set_acl(dir, DEFAULT_ACL, STRANGER, 4) < 0)
        print_message("SKIP: ACLs in %s: %s\n", dir, strerror(errno));
    add_text(a, "secret", "more secrets\n", true);
    hook.armed = hook.spy = true;
    carry_out(a);
    hook.armed = false;
    assert_true(hook.spied > 10);
    assert_true(hook.seen[CHMOD] == 2);
    assert_text("secret", "more secrets\n");
}

/* An empty file, and one that is larger than one write. */
static void test_sizes(void **state)
{
    size_t size = 3 << 20, n = 0;
    _cleanup_(atomicfile_freep) struct atomicfile *a = new_for_dir();
    _cleanup_free_ char *data = malloc(size), *old = malloc(size), *now = NULL, *kept = NULL;
    struct problem p = {0};

    (void)state;
    for (size_t i = 0; i < size; i++) {
        data[i] = (char)(i * 7 + i / 4096);
        old[i] = (char)(i * 11 + i / 4096);
    }
    make_file("large", 0644, old, size);
    add_text(a, "passwd", "", true);
    assert_ok(add(a, "large", data, size, true, &p), &p);
    hook.armed = hook.cut_short = true;
    carry_out(a);
    hook.armed = false;
    assert_true(hook.seen[WRITE] > 2 * size / 1000);
    assert_text("passwd", "");
    now = read_file(in_dir("large"), &n);
    assert_int_equal(n, size);
    assert_memory_equal(now, data, size);
    kept = read_file(in_dir("large-"), &n);
    assert_int_equal(n, size);
    assert_memory_equal(kept, old, size);
}

/* Where the kernel cannot copy between files, at once or from the middle on. */
static void test_copy_by_hand(void **state)
{
    size_t size = 200000, n = 0;
    _cleanup_free_ char *old = malloc(size);

    (void)state;
    memset(old, 'x', size);
    make_file("large", 0644, old, size);
    for (unsigned at = 1; at <= 3; at += 2) {
        _cleanup_(atomicfile_freep) struct atomicfile *a = new_for_dir();
        _cleanup_free_ char *kept = NULL;

        add_text(a, "large", "new", true);
        hook.armed = hook.cut_short = true;
        hook.fail_in = COPY;
        hook.fail_at = at;
        hook.error = at == 1 ? EXDEV : EOPNOTSUPP;
        carry_out(a);
        hook_reset();
        kept = read_file(in_dir("large-"), &n);
        assert_int_equal(n, size);
        assert_memory_equal(kept, old, size);
        assert_int_equal(unlink(in_dir("large")), 0);
        make_file("large", 0644, old, size);
    }
}

/* Whatever the power leaves is whole: all temporaries, then the backups, then the targets. */
static void test_order(void **state)
{
    _cleanup_(atomicfile_freep) struct atomicfile *a = new_for_dir();

    (void)state;
    make_text("group", "old group\n");
    add_text(a, "group", "new group\n", false);
    add_text(a, "passwd", "new passwd\n", true);
    hook.armed = hook.log = true;
    carry_out(a);
    hook.armed = false;
    assert_string_equal(hook.events, "sync /.group.uidpool\n"
                                     "sync /.passwd.uidpool\n"
                                     "sync /.passwd-.uidpool\n"
                                     "rename .passwd-.uidpool passwd-\n"
                                     "sync \n"
                                     "rename .group.uidpool group\n"
                                     "rename .passwd.uidpool passwd\n"
                                     "sync \n");
    assert_text("group", "new group\n");
    assert_missing("group-");
    assert_missing(".group-.uidpool");
}

/* Prepared, then given up. */
static void test_no_commit(void **state)
{
    _cleanup_(text_end) struct text before = take_snapshot();
    struct atomicfile *a = new_for_dir();
    struct problem p = {0};

    (void)state;
    add_text(a, "passwd", "new passwd\n", true);
    assert_ok(atomicfile_prepare(a, &p), &p);
    assert_text(".passwd.uidpool", "new passwd\n");
    assert_text(".passwd-.uidpool", "old passwd\n");
    atomicfile_free(a);
    assert_unchanged(&before);
    atomicfile_free(NULL);
}

/*
 * What is refused before anything is written.
 */
static void test_names(void **state)
{
    static const char *const bad[] = {"", ".", "..", "a/b", "/etc/passwd"};
    _cleanup_(atomicfile_freep) struct atomicfile *a = new_for_dir();
    struct atomicfile *none = NULL;
    char name[NAME_MAX + 1];
    struct problem p = {0};

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(bad); i++)
        assert_refused(add(a, bad[i], "", 0, false, &p), UIDPOOL_FAILED, &p, "name");
    memset(name, 'n', NAME_MAX);
    name[NAME_MAX] = '\0';
    assert_refused(add(a, name, "", 0, false, &p), UIDPOOL_FAILED, &p, "too long");
    add_text(a, "passwd", "", true);
    add_text(a, "shadow-", "", false);
    assert_refused(add(a, "passwd", "", 0, false, &p), UIDPOOL_FAILED, &p, "exists");
    assert_refused(add(a, "passwd-", "", 0, false, &p), UIDPOOL_FAILED, &p, "exists");
    assert_refused(add(a, "shadow", "", 0, true, &p), UIDPOOL_FAILED, &p, "exists");
    add_text(a, "shadow", "", false);

    assert_refused(atomicfile_new("etc", &none, &p), UIDPOOL_FAILED, &p, "absolute");
    assert_refused(atomicfile_new(in_dir("passwd"), &none, &p), UIDPOOL_FAILED, &p, "directory");
    assert_refused(atomicfile_new(in_dir("none"), &none, &p), UIDPOOL_FAILED, &p, "directory");
    assert_int_equal(symlink(dir, in_dir("link")), 0);
    assert_refused(atomicfile_new(in_dir("link"), &none, &p), UIDPOOL_FAILED, &p, "directory");
    assert_null(none);
}

static void test_wrong_sort(void **state)
{
    (void)state;
    assert_int_equal(rename(in_dir("shadow"), in_dir("elsewhere")), 0);
    assert_prepare_refused(UIDPOOL_FAILED, "No such file");
    assert_int_equal(symlink("elsewhere", in_dir("shadow")), 0);
    assert_prepare_refused(UIDPOOL_FAILED, "shadow is a symbolic link");
    assert_int_equal(unlink(in_dir("shadow")), 0);
    assert_int_equal(mkfifo(in_dir("shadow"), 0600), 0);
    assert_prepare_refused(UIDPOOL_FAILED, "shadow is no regular file");
    assert_int_equal(unlink(in_dir("shadow")), 0);
    assert_int_equal(mkdir(in_dir("shadow"), 0700), 0);
    assert_prepare_refused(UIDPOOL_FAILED, "shadow is no regular file");
    assert_int_equal(rmdir(in_dir("shadow")), 0);
    assert_int_equal(rename(in_dir("elsewhere"), in_dir("shadow")), 0);

    assert_int_equal(symlink("elsewhere", in_dir("shadow-")), 0);
    assert_prepare_refused(UIDPOOL_FAILED, "shadow- is a symbolic link");
    assert_int_equal(unlink(in_dir("shadow-")), 0);
    assert_int_equal(mkdir(in_dir("shadow-"), 0700), 0);
    assert_prepare_refused(UIDPOOL_FAILED, "shadow- is no regular file");
    assert_int_equal(rmdir(in_dir("shadow-")), 0);
    assert_prepare_works();
}

/* The old file of a second name keeps its bytes: nothing is written into it. */
static void test_hard_link(void **state)
{
    (void)state;
    assert_int_equal(link(in_dir("passwd"), in_dir("snapshot")), 0);
    assert_prepare_works();
    assert_text("snapshot", "old passwd\n");
}

/* Of a run that died here; with hard links and all, nothing is written into them either. */
static void test_leftovers(void **state)
{
    (void)state;
    make_file(".shadow.uidpool", 0666, "half", 4);
    assert_int_equal(link(in_dir(".shadow.uidpool"), in_dir("trap")), 0);
    assert_int_equal(symlink("trap", in_dir(".passwd-.uidpool")), 0);
    assert_prepare_works();
    assert_text("trap", "half");
}

/* Somebody is quicker than we. */
static void test_planted(void **state)
{
    static const char *const traps[] = {"", "trap"};

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(traps); i++) {
        _cleanup_(atomicfile_freep) struct atomicfile *a = new_for_dir();
        struct problem p = {0};

        if (*traps[i])
            make_text(traps[i], "theirs");
        add_text(a, "passwd", "new passwd\n", false);
        hook.armed = hook.plant = true;
        assert_refused(atomicfile_prepare(a, &p), UIDPOOL_FAILED, &p, "File exists");
        hook.armed = false;
        assert_text("passwd", "old passwd\n");
        assert_int_equal(unlink(in_dir(".passwd.uidpool")), 0);
    }
    assert_text("trap", "theirs");
}

static void test_leftover_directory(void **state)
{
    (void)state;
    assert_int_equal(mkdir(in_dir(".shadow-.uidpool"), 0700), 0);
    assert_prepare_refused(UIDPOOL_FAILED, "/.shadow-.uidpool");
    assert_int_equal(rmdir(in_dir(".shadow-.uidpool")), 0);
    assert_prepare_works();
}

static void mount_here(const char *what, const char *where, unsigned long flags)
{
    if (mount(what, where, NULL, flags, NULL) < 0)
        fail_msg("mount %s %s: %s", what, where, strerror(errno));
}

static void test_read_only(void **state)
{
    (void)state;
    mount_here(dir, dir, MOUNT_BIND);
    mount_here(NULL, dir, MOUNT_REMOUNT | MOUNT_BIND | MOUNT_READ_ONLY);
    assert_prepare_refused(UIDPOOL_FAILED, "remount it writable: Read-only file system");
    assert_int_equal(umount2(dir, 0), 0);
    assert_prepare_works();
}

/* A file that is mounted, of the same file system, of another one, and as a backup. */
static void test_mounted(void **state)
{
    static const char *const names[] = {"shadow", "shadow-"};

    (void)state;
    make_text("other", "other\n");
    for (size_t i = 0; i < ELEMENTS_OF(names); i++) {
        if (i == 1)
            make_text("shadow-", "");
        mount_here(in_dir("other"), in_dir(names[i]), MOUNT_BIND);
        assert_prepare_refused(UIDPOOL_FAILED, "on which something is mounted");
        assert_int_equal(umount2(in_dir(names[i]), 0), 0);
        mount_here(in_dir(names[i]), in_dir(names[i]), MOUNT_BIND);
        assert_prepare_refused(UIDPOOL_FAILED, "on which something is mounted");
        assert_int_equal(umount2(in_dir(names[i]), 0), 0);
        mount_here("/proc/version", in_dir(names[i]), MOUNT_BIND);
        {
            _cleanup_(atomicfile_freep) struct atomicfile *a = new_for_dir();
            struct problem p = {0};

            add_text(a, "passwd", "new", true);
            add_text(a, "shadow", "new", true);
            assert_refused(atomicfile_prepare(a, &p), UIDPOOL_FAILED, &p, "is mounted");
            assert_text("passwd", "old passwd\n");
            assert_missing("passwd-");
            assert_missing(".passwd.uidpool");
        }
        assert_int_equal(umount2(in_dir(names[i]), 0), 0);
    }
    assert_prepare_works();
}

/* Its files say that they are on other devices than their directory, and nothing is mounted. */
static void test_overlay(void **state)
{
    static const char *const names[] = {"layer", "layer/upper", "layer/work", "layer/merged"};
    char options[3 * PATH_MAX + 64];
    size_t length = strlen(dir);

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(names); i++) {
        assert_int_equal(mkdir(in_dir(names[i]), 0755), 0);
        if (i == 0)
            assert_int_equal(mount("tmpfs", in_dir("layer"), "tmpfs", 0, NULL), 0);
    }
    snprintf(options, sizeof(options), "lowerdir=%s,upperdir=%s,workdir=%s", dir,
             in_dir("layer/upper"), in_dir("layer/work"));
    if (mount("overlay", in_dir("layer/merged"), "overlay", 0, options) < 0) {
        assert_int_equal(umount2(in_dir("layer"), 0), 0);
        printf("SKIP: no overlay: %s\n", strerror(errno));
        skip();
    }
    snprintf(dir + length, sizeof(dir) - length, "/layer/merged");
    assert_prepare_works();
    dir[length] = '\0';
    assert_int_equal(umount2(in_dir("layer/merged"), 0), 0);
    assert_int_equal(umount2(in_dir("layer"), 0), 0);
}

/* -1 where the file system has no such attributes. */
static int set_chattr(const char *name, int flag, bool on)
{
    _cleanup_fd_ int fd = open(in_dir(name), O_RDONLY | O_CLOEXEC);
    int flags = 0;

    if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
        return -1;
    flags = on ? flags | flag : flags & ~flag;
    return ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

static void test_chattr(void **state)
{
    static const struct {
        const char *name;
        int flag;
        const char *words;
    } cases[] = {
        {"shadow", FS_IMMUTABLE_FL, "shadow, which has the attribute 'i'; first run 'chattr -i /"},
        {"shadow", FS_APPEND_FL, "shadow, which has the attribute 'a'; first run 'chattr -a /"},
        {"shadow-", FS_IMMUTABLE_FL,
         "shadow-, which has the attribute 'i'; first run 'chattr -i /"},
        {"shadow-", FS_APPEND_FL, "shadow-, which has the attribute 'a'; first run 'chattr -a /"},
        {"", FS_IMMUTABLE_FL, "chattr -i "},
        {"", FS_APPEND_FL, "chattr -a "},
    };

    (void)state;
    make_text("shadow-", "older shadow\n");
    if (set_chattr("shadow", FS_IMMUTABLE_FL, true) < 0) {
        print_message("SKIP: the file system of %s has no chattr +i: %s\n", dir, strerror(errno));
        skip();
    }
    assert_int_equal(set_chattr("shadow", FS_IMMUTABLE_FL, false), 0);
    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        assert_int_equal(set_chattr(cases[i].name, cases[i].flag, true), 0);
        assert_prepare_refused(UIDPOOL_NOT_PERMITTED, cases[i].words);
        assert_int_equal(set_chattr(cases[i].name, cases[i].flag, false), 0);
    }
    assert_prepare_works();
}

/*
 * What fails on the way.
 */

/* A file system of 64 pages, with less room the further it goes, until it fails no longer. */
static void test_disk_full(void **state)
{
    static char large[20 * 4096], filling[64 * 4096];
    unsigned failed = 0, worked = 0;

    (void)state;
    memset(large, 'l', sizeof(large));
    for (unsigned room = 0; room <= 64; room += 3) {
        if (mount("tmpfs", dir, "tmpfs", 0, "size=256k,mode=755") < 0)
            fail_msg("cannot mount a tmpfs: %s", strerror(errno));
        make_text("passwd", "old passwd\n");
        make_text("shadow", "old shadow\n");
        make_file("filling", 0600, filling, sizeof(filling) - (size_t)(room > 2 ? room : 2) * 4096);
        {
            _cleanup_(text_end) struct text before = take_snapshot();
            _cleanup_(atomicfile_freep) struct atomicfile *a = new_for_dir();
            struct problem p = {0};
            enum uidpool_status status;

            assert_ok(add(a, "passwd", large, sizeof(large), true, &p), &p);
            assert_ok(add(a, "shadow", large, sizeof(large), true, &p), &p);
            status = atomicfile_prepare(a, &p);
            worked += status == UIDPOOL_OK;
            failed += status != UIDPOOL_OK;
            if (status != UIDPOOL_OK) {
                assert_refused(status, UIDPOOL_FAILED, &p, "No space left on device");
                assert_unchanged(&before);
            }
        }
        assert_int_equal(umount2(dir, 0), 0);
    }
    assert_true(failed > 10 && worked > 3);
}

/* A limit on the size of files: a short write first, then EFBIG. */
static void test_file_too_large(void **state)
{
    struct rlimit limit, small;
    void (*former)(int) = signal(SIGXFSZ, SIG_IGN);
    static char large[40960];

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small = (struct rlimit){.rlim_cur = 10000, .rlim_max = limit.rlim_max};
    {
        _cleanup_(text_end) struct text before = take_snapshot();
        _cleanup_(atomicfile_freep) struct atomicfile *a = new_for_dir();
        struct problem p = {0};

        add_text(a, "passwd", "new passwd\n", true);
        assert_ok(add(a, "shadow", large, sizeof(large), true, &p), &p);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        assert_refused(atomicfile_prepare(a, &p), UIDPOOL_FAILED, &p, "File too large");
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        assert_unchanged(&before);
    }
    signal(SIGXFSZ, former);
}

/* Let the n-th call of a sort fail in prepare. False if there are fewer. */
static bool prepare_fails(enum call call, unsigned at)
{
    _cleanup_(text_end) struct text before = take_snapshot();
    _cleanup_(atomicfile_freep) struct atomicfile *a = new_for_dir();
    enum uidpool_status status;
    struct problem p = {0};

    add_text(a, "passwd", "new passwd\n", true);
    add_text(a, "shadow", "new shadow\n", true);
    hook_reset();
    hook.armed = true;
    hook.fail_in = call;
    hook.fail_at = at;
    hook.error = EIO;
    status = atomicfile_prepare(a, &p);
    hook.armed = false;
    if (hook.seen[call] < at) {
        assert_ok(status, &p);
        return false;
    }
    assert_refused(status, UIDPOOL_FAILED, &p, "Input/output error");
    assert_unchanged(&before);
    return true;
}

static void test_every_call_fails(void **state)
{
    static const struct {
        enum call call;
        unsigned at_least;
    } calls[] = {{WRITE, 2},    {FSYNC, 4}, {CHMOD, 4}, {CHOWN, 4},
                 {SETXATTR, 6}, {TIMES, 2}, {COPY, 2}};

    (void)state;
    assert_int_equal(chown(in_dir("passwd"), OWNER, GROUP), 0);
    assert_int_equal(chown(in_dir("shadow"), OWNER, GROUP), 0);
    if (!can_keep_attributes())
        skip();
    for (size_t i = 0; i < ELEMENTS_OF(calls); i++) {
        unsigned at = 1;

        while (prepare_fails(calls[i].call, at))
            at++;
        assert_true(at > calls[i].at_least);
        (void)unlink(in_dir("passwd-"));
        (void)unlink(in_dir("shadow-"));
    }
}

/* Closing a temporary may tell of a write that failed; closing what was only read may not. */
static void test_close_fails(void **state)
{
    unsigned failed = 0;

    (void)state;
    for (unsigned at = 1; at < 20; at++) {
        _cleanup_(text_end) struct text before = take_snapshot();
        _cleanup_(atomicfile_freep) struct atomicfile *a = new_for_dir();
        struct problem p = {0};

        add_text(a, "passwd", "new passwd\n", true);
        hook_reset();
        hook.armed = true;
        hook.fail_in = CLOSE;
        hook.fail_at = at;
        hook.error = EDQUOT;
        if (atomicfile_prepare(a, &p) != UIDPOOL_OK) {
            failed++;
            hook.armed = false;
            assert_refused(p.status, UIDPOOL_FAILED, &p, "quota");
            assert_unchanged(&before);
        }
        hook.armed = false;
    }
    assert_int_equal(failed, 2);
}

/* A disk that fails in the middle of the renames: which were replaced is said. */
static void test_commit_fails(void **state)
{
    static const char *const words[] = {"replaced nothing", "replaced group of", ""};

    (void)state;
    make_text("group", "old group\n");
    for (unsigned done = 0; done < 3; done++) {
        _cleanup_(atomicfile_freep) struct atomicfile *a = new_for_dir();
        struct problem p = {0};

        add_text(a, "group", "new group\n", false);
        add_text(a, "shadow", "new shadow\n", false);
        assert_ok(atomicfile_prepare(a, &p), &p);
        hook_reset();
        hook.armed = true;
        hook.fail_in = done == 2 ? FSYNC : RENAME;
        hook.fail_at = done == 2 ? 1 : done + 1;
        hook.error = EIO;
        assert_refused(atomicfile_commit(a, &p), UIDPOOL_FAILED, &p, words[done]);
        hook.armed = false;
        assert_int_equal(hook.seen[FSYNC], 1);
        assert_text("group", done > 0 ? "new group\n" : "old group\n");
        assert_text("shadow", done > 1 ? "new shadow\n" : "old shadow\n");
        assert_refused(atomicfile_commit(a, &p), UIDPOOL_FAILED, &p, "not prepared");
        atomicfile_free(take_ptr(a));
        assert_missing(".group.uidpool");
        assert_missing(".shadow.uidpool");
        assert_int_equal(unlink(in_dir("group")), 0);
        make_text("group", "old group\n");
    }
}

/* The same where the backups get their names: no target is touched then. */
static void test_backups_fail(void **state)
{
    static const struct {
        enum call call;
        unsigned at;
        const char *words;
    } cases[] = {{RENAME, 1, "cannot replace passwd-"},
                 {RENAME, 2, "cannot replace shadow-"},
                 {FSYNC, 1, "replaced nothing"}};

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        _cleanup_(atomicfile_freep) struct atomicfile *a = new_for_dir();
        struct problem p = {0};

        add_text(a, "passwd", "new passwd\n", true);
        add_text(a, "shadow", "new shadow\n", true);
        assert_ok(atomicfile_prepare(a, &p), &p);
        hook_reset();
        hook.armed = true;
        hook.fail_in = cases[i].call;
        hook.fail_at = cases[i].at;
        hook.error = EIO;
        assert_refused(atomicfile_commit(a, &p), UIDPOOL_FAILED, &p, cases[i].words);
        hook.armed = false;
        assert_text("passwd", "old passwd\n");
        assert_text("shadow", "old shadow\n");
        atomicfile_free(take_ptr(a));
        assert_missing(".passwd.uidpool");
        assert_missing(".shadow-.uidpool");
    }
    assert_prepare_works();
}

/*
 * How fast: the sizes are those of a pool with an account for each uid.
 */
enum { FILES = 4, LARGE = 2 << 20, ROUNDS = 15 };

static const char *const fast_names[FILES] = {"f1", "f2", "f3", "f4"};

static int64_t bare(const char *data)
{
    _cleanup_fd_ int directory = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int64_t begin = clock_monotonic_usec();

    for (size_t i = 0; i < FILES; i++) {
        _cleanup_fd_ int fd = openat(directory, ".bare", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

        assert_int_equal(write(fd, data, LARGE), LARGE);
        assert_int_equal(fsync(fd), 0);
        assert_int_equal(renameat(directory, ".bare", directory, fast_names[i]), 0);
    }
    assert_int_equal(fsync(directory), 0);
    return clock_monotonic_usec() - begin;
}

static int64_t ours(const char *data, bool backup)
{
    _cleanup_(atomicfile_freep) struct atomicfile *a = NULL;
    int64_t begin = clock_monotonic_usec();
    struct problem p = {0};

    a = new_for_dir();
    for (size_t i = 0; i < FILES; i++)
        assert_ok(add(a, fast_names[i], data, LARGE, backup, &p), &p);
    carry_out(a);
    return clock_monotonic_usec() - begin;
}

static int compare_times(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static void test_speed(void **state)
{
    int64_t times[3][ROUNDS];
    char *data = malloc(LARGE);

    (void)state;
    memset(data, 'x', LARGE);
    (void)bare(data);
    for (unsigned i = 0; i < ROUNDS; i++) {
        times[0][i] = bare(data);
        times[1][i] = ours(data, false);
        times[2][i] = ours(data, true);
    }
    for (unsigned i = 0; i < 3; i++)
        qsort(times[i], ROUNDS, sizeof(times[i][0]), compare_times);
    print_message(
        "median of %d, %d files of %d bytes: bare %jd us, ours %jd us (%.2f), with "
        "backups %jd us (%.2f)\n",
        ROUNDS, FILES, LARGE, (intmax_t)times[0][ROUNDS / 2], (intmax_t)times[1][ROUNDS / 2],
        (double)times[1][ROUNDS / 2] / (double)times[0][ROUNDS / 2], (intmax_t)times[2][ROUNDS / 2],
        (double)times[2][ROUNDS / 2] / (double)times[0][ROUNDS / 2]);
    free(data);
    /* Other programs use the disk as well; the best of each is what the code costs. */
    assert_true(times[1][0] < 2 * times[0][0]);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int make_top(void **state)
{
    (void)state;
    return mkdtemp(top) ? 0 : -1;
}

static int remove_top(void **state)
{
    (void)state;
    return nftw(top, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_metadata),
        TEST(test_attributes_not_kept),
        TEST(test_never_readable_by_more),
        TEST(test_sizes),
        TEST(test_copy_by_hand),
        TEST(test_order),
        TEST(test_no_commit),
        TEST(test_names),
        TEST(test_wrong_sort),
        TEST(test_hard_link),
        TEST(test_leftovers),
        TEST(test_planted),
        TEST(test_leftover_directory),
        TEST(test_read_only),
        TEST(test_mounted),
        TEST(test_overlay),
        TEST(test_chattr),
        TEST(test_disk_full),
        TEST(test_file_too_large),
        TEST(test_every_call_fails),
        TEST(test_close_fails),
        TEST(test_commit_fails),
        TEST(test_backups_fail),
        TEST(test_speed),
    };

    return cmocka_run_group_tests(tests, make_top, remove_top);
}
