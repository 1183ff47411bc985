/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Readiness as each init wants it. Touches NOTIFY_SOCKET, one descriptor that was passed for this,
 * and, under upstart, stops this process until upstart has seen it. */
#include "allocator/daemon/readiness.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/ids.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <systemd/sd-daemon.h>

/* What data/upstart/uidpoold.conf is installed as. Upstart names the job to each; so does a session
 * of upstart to whatever is started in it, which nobody would wake again. */
#define UPSTART_JOB "uidpoold"

int readiness_parse(const char *text, struct readiness *ret)
{
    static const struct {
        const char *name;
        enum readiness_kind kind;
    } kinds[] = {
        {"auto", READINESS_AUTO}, {"notify", READINESS_NOTIFY}, {"sigstop", READINESS_SIGSTOP}};
    uint64_t fd;

    for (size_t i = 0; i < ELEMENTS_OF(kinds); i++)
        if (strcmp(text, kinds[i].name) == 0) {
            *ret = (struct readiness){.kind = kinds[i].kind, .fd = -1};
            return 0;
        }
    if (strncmp(text, "fd:", 3) != 0 || parse_u64(text + 3, INT_MAX, &fd) < 0)
        return -EINVAL;
    *ret = (struct readiness){.kind = READINESS_FD, .fd = (int)fd};
    return 0;
}

static bool has_variable(const char *name)
{
    const char *value = getenv(name);

    return value && *value;
}

static enum uidpool_status prepare_fd(int fd, struct problem *p)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY)
        return problem_set(p, UIDPOOL_FAILED,
                           "--ready=fd:%d: descriptor %d is not open for writing; whoever starts "
                           "uidpoold has to pass it",
                           fd, fd);
    if (fd > STDERR_FILENO && fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return problem_errno(p, -errno, "--ready=fd:%d", fd);
    return UIDPOOL_OK;
}

enum uidpool_status readiness_prepare(struct readiness *r, struct problem *p)
{
    const char *job = getenv("UPSTART_JOB");

    if (r->kind == READINESS_AUTO && has_variable("NOTIFY_SOCKET"))
        r->kind = READINESS_NOTIFY;
    else if (r->kind == READINESS_AUTO && job && strcmp(job, UPSTART_JOB) == 0)
        r->kind = READINESS_SIGSTOP;
    else if (r->kind == READINESS_NOTIFY && !has_variable("NOTIFY_SOCKET"))
        return problem_set(p, UIDPOOL_FAILED,
                           "--ready=notify: NOTIFY_SOCKET is not set; start uidpoold from systemd "
                           "(Type=notify) or by start-stop-daemon --notify-await, or leave it out");
    return r->kind == READINESS_FD ? prepare_fd(r->fd, p) : UIDPOOL_OK;
}

/* A standard descriptor stays taken, or the next file would be standard output. */
static int give_back(int fd)
{
    _cleanup_fd_ int null = -1;

    if (fd > STDERR_FILENO)
        return close(fd) < 0 ? -errno : 0;
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    return null >= 0 && dup2(null, fd) == fd ? 0 : -errno;
}

/* s6 and OpenRC read up to the newline; the end of file tells those that read on. */
static enum uidpool_status tell_fd(struct readiness *r, struct problem *p)
{
    int fd = r->fd;
    ssize_t n;

    r->fd = -1;
    do
        n = write(fd, "\n", 1);
    while (n < 0 && errno == EINTR);
    int error = n < 0 ? -errno : 0, closing = give_back(fd);
    if (error == 0)
        error = closing;
    /* Whoever asked has gone away, which is no reason not to serve: the same as if it had read. */
    if (error == 0 || error == -EPIPE)
        return UIDPOOL_OK;
    return problem_errno(p, error, "--ready=fd:%d: cannot write there", fd);
}

enum uidpool_status readiness_ready(struct readiness *r, struct problem *p)
{
    int n;

    switch (r->kind) {
    case READINESS_AUTO:
        return UIDPOOL_OK;
    case READINESS_NOTIFY:
        n = sd_notify(0, "READY=1");
        return n < 0 ? problem_errno(p, n, "cannot tell NOTIFY_SOCKET that uidpoold is ready")
                     : UIDPOOL_OK;
    case READINESS_SIGSTOP:
        /* Until upstart, which waits for this ("expect stop"), says SIGCONT. */
        return raise(SIGSTOP) != 0 ? problem_errno(p, -errno, "cannot stop for upstart")
                                   : UIDPOOL_OK;
    case READINESS_FD:
        return r->fd < 0 ? UIDPOOL_OK : tell_fd(r, p);
    }
    return UIDPOOL_OK;
}

/* One that cannot be told is one that nobody waits for: ignoring. */
void readiness_status(const char *text)
{
    (void)sd_notifyf(0, "STATUS=%s", text);
}

/* Type=notify-reload of systemd 253 and later tells by the time that it was this SIGHUP. */
void readiness_reloading(void)
{
    (void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRId64, clock_monotonic_usec());
}

void readiness_reloaded(void)
{
    (void)sd_notify(0, "READY=1");
}

void readiness_stopping(void)
{
    (void)sd_notify(0, "STOPPING=1");
}

/* What start-stop-daemon prints, and ends with at once, where else it waits for its whole patience;
 * systemd shows both. */
void readiness_failed(const struct problem *p)
{
    int error = EIO;

    if (p->status == UIDPOOL_NOT_FOUND)
        error = ENOENT;
    else if (p->status == UIDPOOL_CONFLICT)
        error = EADDRINUSE;
    else if (p->status == UIDPOOL_LEDGER)
        error = EUCLEAN;
    else if (p->status == UIDPOOL_NOT_PERMITTED)
        error = EPERM;
    (void)sd_notifyf(0, "STATUS=%s\nERRNO=%d", p->text, error);
}

int readiness_watchdog(sd_event *event)
{
    int r = sd_event_set_watchdog(event, true);

    return r < 0 ? r : 0;
}
