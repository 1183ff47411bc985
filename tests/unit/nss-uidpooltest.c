/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A name service of the tests' own, as a module of glibc (libnss_uidpooltest.so.2): it knows the
 * users and groups of /etc/uidpooltest/passwd and /etc/uidpooltest/group. The existence of another
 * file there makes it fail: `unavail` and `tryagain` in these ways, `silent` without saying why. If
 * there is a file `watch`, each question is a byte more in `asked`, and also in `asked-under-lock`
 * while somebody holds the lock on the account files.
 */
#include <errno.h>
#include <grp.h>
#include <nss.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER "/etc/uidpooltest/"
#define EXPORT __attribute__((visibility("default")))

EXPORT enum nss_status _nss_uidpooltest_getpwuid_r(uid_t uid, struct passwd *ret, char *buffer,
                                                   size_t size, int *errnop);
EXPORT enum nss_status _nss_uidpooltest_getpwnam_r(const char *name, struct passwd *ret,
                                                   char *buffer, size_t size, int *errnop);
EXPORT enum nss_status _nss_uidpooltest_getgrgid_r(gid_t gid, struct group *ret, char *buffer,
                                                   size_t size, int *errnop);
EXPORT enum nss_status _nss_uidpooltest_getgrnam_r(const char *name, struct group *ret,
                                                   char *buffer, size_t size, int *errnop);

static void add_byte(const char *path)
{
    FILE *file = fopen(path, "ae");

    if (file && fputc('x', file) != EOF)
        (void)fclose(file);
}

/* fcntl(2) would not tell of the process's own lock, and would end it. */
static int is_locked(void)
{
    FILE *file = fopen("/proc/locks", "re");
    char line[256], inode[32];
    struct stat st;
    int found = 0;

    if (stat("/etc/.pwd.lock", &st) < 0)
        st.st_ino = 0;
    (void)snprintf(inode, sizeof(inode), ":%ju ", (uintmax_t)st.st_ino);
    while (file && fgets(line, sizeof(line), file))
        found |= strstr(line, "WRITE") && strstr(line, inode);
    if (file)
        (void)fclose(file);
    return found;
}

static void watch(void)
{
    if (access(FOLDER "watch", F_OK) < 0)
        return;
    add_byte(FOLDER "asked");
    if (is_locked())
        add_byte(FOLDER "asked-under-lock");
}

static enum nss_status open_file(const char *path, FILE **ret, int *errnop)
{
    int before = *errnop;

    watch();
    if (access(FOLDER "silent", F_OK) == 0) {
        *errnop = before;
        return NSS_STATUS_UNAVAIL;
    }
    if (access(FOLDER "unavail", F_OK) == 0) {
        *errnop = ECONNREFUSED;
        return NSS_STATUS_UNAVAIL;
    }
    if (access(FOLDER "tryagain", F_OK) == 0) {
        *errnop = EAGAIN;
        return NSS_STATUS_TRYAGAIN;
    }
    *ret = fopen(path, "re");
    return *ret ? NSS_STATUS_SUCCESS : NSS_STATUS_NOTFOUND;
}

/* `name` NULL: by uid. */
static enum nss_status find_user(const char *name, uid_t uid, struct passwd *ret, char *buffer,
                                 size_t size, int *errnop)
{
    FILE *file;
    struct passwd *found = NULL;
    enum nss_status status = open_file(FOLDER "passwd", &file, errnop);
    int error;

    if (status != NSS_STATUS_SUCCESS)
        return status;
    do
        error = fgetpwent_r(file, ret, buffer, size, &found);
    while (error == 0 && (name ? strcmp(ret->pw_name, name) != 0 : ret->pw_uid != uid));
    (void)fclose(file);
    if (error == ERANGE) {
        *errnop = ERANGE;
        return NSS_STATUS_TRYAGAIN;
    }
    return error == 0 ? NSS_STATUS_SUCCESS : NSS_STATUS_NOTFOUND;
}

static enum nss_status find_group(const char *name, gid_t gid, struct group *ret, char *buffer,
                                  size_t size, int *errnop)
{
    FILE *file;
    struct group *found = NULL;
    enum nss_status status = open_file(FOLDER "group", &file, errnop);
    int error;

    if (status != NSS_STATUS_SUCCESS)
        return status;
    do
        error = fgetgrent_r(file, ret, buffer, size, &found);
    while (error == 0 && (name ? strcmp(ret->gr_name, name) != 0 : ret->gr_gid != gid));
    (void)fclose(file);
    if (error == ERANGE) {
        *errnop = ERANGE;
        return NSS_STATUS_TRYAGAIN;
    }
    return error == 0 ? NSS_STATUS_SUCCESS : NSS_STATUS_NOTFOUND;
}

enum nss_status _nss_uidpooltest_getpwuid_r(uid_t uid, struct passwd *ret, char *buffer,
                                            size_t size, int *errnop)
{
    return find_user(NULL, uid, ret, buffer, size, errnop);
}

enum nss_status _nss_uidpooltest_getpwnam_r(const char *name, struct passwd *ret, char *buffer,
                                            size_t size, int *errnop)
{
    return find_user(name, 0, ret, buffer, size, errnop);
}

enum nss_status _nss_uidpooltest_getgrgid_r(gid_t gid, struct group *ret, char *buffer, size_t size,
                                            int *errnop)
{
    return find_group(NULL, gid, ret, buffer, size, errnop);
}

enum nss_status _nss_uidpooltest_getgrnam_r(const char *name, struct group *ret, char *buffer,
                                            size_t size, int *errnop)
{
    return find_group(name, 0, ret, buffer, size, errnop);
}
