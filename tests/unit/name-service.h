/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How a unit test gets at nss-uidpooltest.c: glibc looks for its modules where it looks for
 * libraries, and asks for LD_LIBRARY_PATH when a program begins. */
#ifndef TESTS_UNIT_NAME_SERVICE_H
#define TESTS_UNIT_NAME_SERVICE_H

#include <dlfcn.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Where a test may put more modules, when it has an /etc of its own. What is not there when the
 * program begins is not looked into later. */
#define NAME_SERVICE_FOLDER "/etc"

/* The first thing in main(): begin this program anew where the module, which lies beside it, will
 * be found. */
static inline void name_service_prepare(char *argv[])
{
    char path[PATH_MAX], folder[PATH_MAX], folders[PATH_MAX + sizeof(NAME_SERVICE_FOLDER)];
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
    const char *now = getenv("LD_LIBRARY_PATH");

    if (length < 0)
        return;
    path[length] = '\0';
    memcpy(folder, path, (size_t)length + 1);
    (void)snprintf(folders, sizeof(folders), "%s:" NAME_SERVICE_FOLDER, dirname(folder));
    if (now && strcmp(now, folders) == 0)
        return;
    (void)setenv("LD_LIBRARY_PATH", folders, 1);
    (void)execv(path, argv);
}

/* Is it there at all? */
static inline bool name_service_is_built(void)
{
    void *module = dlopen("libnss_uidpooltest.so.2", RTLD_LAZY | RTLD_LOCAL);

    return module && dlclose(module) == 0;
}

/* Let it pass for another service that is installed: one that cannot answer, as it has none of that
 * one's functions. 0 or a negative errno. */
static inline int name_service_pretend(const char *service)
{
    void *module = dlopen("libnss_uidpooltest.so.2", RTLD_LAZY | RTLD_LOCAL);
    char path[PATH_MAX], link[sizeof(NAME_SERVICE_FOLDER) + 64];

    if (!module)
        return -ENOENT;
    int r = dlinfo(module, RTLD_DI_ORIGIN, path);
    (void)dlclose(module);
    (void)strncat(path, "/libnss_uidpooltest.so.2", sizeof(path) - strlen(path) - 1);
    (void)snprintf(link, sizeof(link), NAME_SERVICE_FOLDER "/libnss_%s.so.2", service);
    return r == 0 && symlink(path, link) == 0 ? 0 : -errno;
}

#endif
