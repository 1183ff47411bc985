/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The fate of a process of which a pid in a file is all that is known. Reads /proc where there is
 * one, or was one before the chroot; changes nothing.
 */
#include "provision/alive.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/ids.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

/* The one from before a chroot, or -1. */
static int kept_proc = -1;

void alive_keep_proc(void)
{
    if (kept_proc < 0)
        kept_proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* A descriptor or a negative errno. */
static int open_proc(void)
{
    int fd = kept_proc < 0 ? open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC)
                           : fcntl(kept_proc, F_DUPFD_CLOEXEC, 0);

    return fd < 0 ? -errno : fd;
}

/* One line's worth of a file of /proc, as a string. False where that cannot be had. */
static bool read_proc(pid_t pid, const char *name, char *buf, size_t size)
{
    _cleanup_fd_ int proc = open_proc(), fd = -1;
    char path[64];
    ssize_t n;

    snprintf(path, sizeof(path), "%d/%s", (int)pid, name);
    if (proc >= 0)
        fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    n = read(fd, buf, size - 1);
    if (n <= 0)
        return false;
    buf[n] = '\0';
    return true;
}

/* Is /proc that of our own PID namespace? In a chroot it may be the host's, where the same number
 * is another process. */
static bool proc_is_ours(void)
{
    _cleanup_fd_ int proc = open_proc();
    char target[32], self[32];
    ssize_t n = proc < 0 ? -1 : readlinkat(proc, "self", target, sizeof(target) - 1);

    if (n < 0)
        return false;
    target[n] = '\0';
    snprintf(self, sizeof(self), "%d", (int)getpid());
    return strcmp(target, self) == 0;
}

/* Field 22 of proc(5)'s stat, in microseconds since boot. The command in field 2 may hold blanks
 * and parentheses, but nothing behind it does. */
static int parse_start(char *stat, int64_t *ret)
{
    long per_second = sysconf(_SC_CLK_TCK);
    char *at = strrchr(stat, ')');
    uint64_t ticks;
    int r;

    for (int field = 3; at && field <= 22; field++)
        at = strchr(at + 1, ' ');
    if (!at || per_second <= 0)
        return -EINVAL;
    at++;
    at[strcspn(at, " \n")] = '\0';
    r = parse_u64(at, INT64_MAX / USEC_PER_SEC, &ticks);
    if (r == 0)
        *ret = (int64_t)ticks * USEC_PER_SEC / per_second;
    return r;
}

/*
 * Did the process with that pid begin after `since`? Whoever writes its pid into a file began
 * before that; and where there is no /proc to ask, it did not begin before the kernel. But two
 * clocks are compared: the file's, which is coarse by a tick, or by two seconds on some file
 * systems, where it shows no fractions; and the wall clock at the process's beginning, as today's
 * wall clock has it. If that was set forward meanwhile, the answer may be yes for the very process
 * that wrote the file. This is about the second family of locks, and who holds those holds
 * .pwd.lock as well, but for shadow's tools with --prefix: so it takes one of these, and a clock
 * that is set while it runs. To wait in vain for a pid that the next boot has given to a daemon is
 * what everybody would meet.
 */
static bool began_after(pid_t pid, struct timespec since)
{
    int64_t booted = clock_wall_usec() - clock_boot_usec(), start = 0, latest;
    char stat[1024];

    /* Nobody's clock said that; numbers that overflow below. */
    if (since.tv_sec > INT64_MAX / USEC_PER_SEC - 3)
        return false;
    if (since.tv_sec < 0)
        return true;
    latest = since.tv_sec * USEC_PER_SEC + since.tv_nsec / 1000;
    latest += since.tv_nsec ? USEC_PER_SEC / 10 : 2 * USEC_PER_SEC;
    if (booted > latest)
        return true;
    if (!proc_is_ours() || !read_proc(pid, "stat", stat, sizeof(stat)) ||
        parse_start(stat, &start) < 0)
        return false;
    return booted + start > latest;
}

enum fate fate_of_writer(pid_t pid, struct timespec since)
{
    _cleanup_fd_ int fd = -1;
    struct pollfd dead;
    bool another;

    if (pid == getpid())
        return FATE_ANOTHER;
    /* EINVAL and ENOENT: the number is in use, by a thread or as a process group, and that only
     * after the process that had it was gone. kill(2) would find it alive. */
    fd = pidfd_open(pid, 0);
    if (fd < 0)
        return errno == ESRCH || errno == EINVAL || errno == ENOENT ? FATE_GONE : FATE_ALIVE;
    another = began_after(pid, since);
    /* Readable as soon as it is dead, waited for or not. Asked last, so that what /proc said was of
     * the process that we hold. */
    dead = (struct pollfd){.fd = fd, .events = POLLIN};
    if (poll(&dead, 1, 0) > 0)
        return FATE_GONE;
    return another ? FATE_ANOTHER : FATE_ALIVE;
}

const char *process_text(pid_t pid, char *buf, size_t size)
{
    char raw[64], command[64];

    if (proc_is_ours() && read_proc(pid, "comm", raw, sizeof(raw))) {
        raw[strcspn(raw, "\n")] = '\0';
        text_sanitize(command, sizeof(command), raw);
        snprintf(buf, size, "process %d (%s)", (int)pid, command);
    } else {
        snprintf(buf, size, "process %d", (int)pid);
    }
    return buf;
}
