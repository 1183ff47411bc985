/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Run the real xenstored or oxenstored where there is no Xen.
 *
 * An LD_PRELOAD library for the DAEMON only (never for its clients).  It
 * stands in for the few parts of libxenctrl, libxenevtchn and libxengnttab
 * which the two xenstore daemons use, and for the files that the kernel of a
 * Xen dom0 provides, so that everything else - the store, watches,
 * transactions, permissions, quotas, the socket protocol - is the real thing.
 *
 * The set of live domains is a directory, $FAKE_XEN_DOMAINS:
 *
 *	touch     $FAKE_XEN_DOMAINS/5			domain 5 is created
 *	echo shutdown > $FAKE_XEN_DOMAINS/5		it shut down, but exists
 *	echo crashed  > $FAKE_XEN_DOMAINS/5		it crashed, but exists
 *	echo dying    > $FAKE_XEN_DOMAINS/5		it is being torn down
 *	rm        $FAKE_XEN_DOMAINS/5			it is gone
 *
 * Domain 0 always exists and needs no file.  All changes but the first raise
 * VIRQ_DOM_EXC, as Xen does when a domain shuts down or dies; a daemon then
 * looks at all domains it knows and fires @releaseDomain.  As with a real
 * Xen, a domain exists for the daemon (and leads to @introduceDomain) only
 * once a client called xs_introduce_domain(), which fails for a domain that
 * has no file.
 *
 * The event channel "device" is an inotify descriptor on that directory: it
 * is readable exactly when something happened there, so no helper thread and
 * no helper process is needed, and it survives the exec() of a live update.
 *
 * Both daemons map a page shared with each domain (the xenstore ring).  Here
 * it is anonymous zeroed memory, so a ring looks empty for ever: domains
 * exist, but no guest can speak.  All requests come through the socket.
 *
 * If $XENSTORED_RUNDIR is set, paths under /var/run/xenstored are sent there.
 * The C daemon and libxenstore honour that variable by themselves; oxenstored
 * has the path compiled in and needs the redirection.
 *
 * This must be built with the headers of the same Xen release as the daemon
 * (struct xc_dominfo and struct xen_domctl_getdomaininfo are not stable).
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <xenctrl.h>
#include <xenevtchn.h>
#include <xengnttab.h>

/*
 * Domains.
 */

struct domain_state {
    bool shutdown, crashed, dying;
};

/* The directory of the domains.  Without it there is nothing to fake. */
static const char *domains_dir(void)
{
    const char *dir = getenv("FAKE_XEN_DOMAINS");

    if (!dir || !*dir) {
        static const char msg[] = "fake-xen: $FAKE_XEN_DOMAINS is not set\n";

        /* If this fails there is nowhere left to complain. */
        _exit(write(STDERR_FILENO, msg, sizeof(msg) - 1) < 0 ? 126 : 127);
    }
    return dir;
}

/* Does domain @domid exist, and in what state?  @st may be NULL. */
static bool domain_lookup(uint32_t domid, struct domain_state *st)
{
    struct domain_state none;
    char path[PATH_MAX], text[32];
    ssize_t n;
    int fd;

    if (!st)
        st = &none;
    memset(st, 0, sizeof(*st));
    if (domid == 0)
        return true;
    if (domid >= DOMID_FIRST_RESERVED)
        return false;
    n = snprintf(path, sizeof(path), "%s/%u", domains_dir(), domid);
    if (n < 0 || (size_t)n >= sizeof(path))
        return false;

    /* Reading makes no event: inotify is not asked for IN_OPEN etc. */
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    n = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    text[strcspn(text, " \t\r\n")] = '\0';

    if (!strcmp(text, "shutdown"))
        st->shutdown = true;
    else if (!strcmp(text, "crashed"))
        st->shutdown = st->crashed = true;
    else if (!strcmp(text, "dying"))
        st->shutdown = st->dying = true;
    return true;
}

/* The lowest domain from @first on, or DOMID_FIRST_RESERVED for none. */
static uint32_t next_domain(uint32_t first)
{
    uint32_t best = DOMID_FIRST_RESERVED;
    struct dirent *e;
    DIR *dir;

    if (domain_lookup(first, NULL))
        return first;
    dir = opendir(domains_dir());
    if (!dir)
        return best;
    while ((e = readdir(dir))) {
        char *end;
        unsigned long id = strtoul(e->d_name, &end, 10);

        if (end != e->d_name && !*end && id >= first && id < best)
            best = id;
    }
    closedir(dir);
    return best;
}

/*
 * Call @add(arg, i, domid, state) for the domains from @first on, in order,
 * at most @max times.  Returns how often it was called.  Like the hypercall
 * this answers a question about one domain that does not exist with the next
 * one that does: the daemons compare the number.
 */
static int domains_from(uint32_t first, unsigned int max,
                        void (*add)(void *arg, int i, uint32_t domid,
                                    const struct domain_state *st),
                        void *arg)
{
    struct domain_state st;
    unsigned int n = 0;
    uint32_t id;

    for (id = first; n < max; id++) {
        id = next_domain(id);
        if (id >= DOMID_FIRST_RESERVED)
            break;
        if (domain_lookup(id, &st)) /* it may have gone since */
            add(arg, n++, id, &st);
    }
    return n;
}

/*
 * libxenctrl.
 */

/*
 * The handle: only its address matters.  It must be even and outside the
 * OCaml heap, since oxenstored keeps the bare pointer as an OCaml value.
 */
static long handle __attribute__((aligned(16)));

xc_interface *xc_interface_open(xentoollog_logger *logger, xentoollog_logger *dombuild_logger,
                                unsigned int open_flags)
{
    (void)logger;
    (void)dombuild_logger;
    (void)open_flags;
    domains_dir(); /* fail early and plainly */
    return (xc_interface *)&handle;
}

int xc_interface_close(xc_interface *xch)
{
    (void)xch;
    return 0;
}

/* The OCaml bindings ask for this after each failure: look at errno. */
const xc_error *xc_get_last_error(xc_interface *xch)
{
    static const xc_error none = {.code = XC_ERROR_NONE};

    (void)xch;
    return &none;
}

static void add_dominfo(void *arg, int i, uint32_t domid, const struct domain_state *st)
{
    xc_dominfo_t *d = (xc_dominfo_t *)arg + i;

    memset(d, 0, sizeof(*d));
    d->domid = domid;
    d->dying = st->dying;
    d->shutdown = st->shutdown && !st->crashed;
    d->crashed = st->crashed;
    d->running = !st->shutdown;
    d->shutdown_reason = st->crashed ? SHUTDOWN_crash : SHUTDOWN_poweroff;
}

/* C xenstored uses this one. */
int xc_domain_getinfo(xc_interface *xch, uint32_t first_domid, unsigned int max_doms,
                      xc_dominfo_t *info)
{
    int n;

    (void)xch;
    n = domains_from(first_domid, max_doms, add_dominfo, info);
    if (n == 0) {
        errno = ESRCH;
        return -1;
    }
    return n;
}

static void add_domaininfo(void *arg, int i, uint32_t domid, const struct domain_state *st)
{
    xc_domaininfo_t *d = (xc_domaininfo_t *)arg + i;
    unsigned int reason = st->crashed ? SHUTDOWN_crash : SHUTDOWN_poweroff;

    memset(d, 0, sizeof(*d));
    d->domain = domid;
    if (st->dying)
        d->flags |= XEN_DOMINF_dying;
    if (st->shutdown)
        d->flags |= XEN_DOMINF_shutdown | (reason << XEN_DOMINF_shutdownshift);
    else
        d->flags |= XEN_DOMINF_running;
}

/* oxenstored uses this one. */
int xc_domain_getinfolist(xc_interface *xch, uint32_t first_domain, unsigned int max_domains,
                          xc_domaininfo_t *info)
{
    (void)xch;
    return domains_from(first_domain, max_domains, add_domaininfo, info);
}

/*
 * Pages shared with a domain.
 */

static void *map_page(uint32_t domid, size_t len, int prot)
{
    void *p;

    if (!domain_lookup(domid, NULL)) {
        errno = EINVAL; /* what the kernel's gntdev makes of it */
        return NULL;
    }
    p = mmap(NULL, len, prot, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* oxenstored maps the ring by frame number and gives it back by munmap(). */
void *xc_map_foreign_range(xc_interface *xch, uint32_t dom, int size, int prot, unsigned long mfn)
{
    (void)xch;
    (void)mfn;
    return map_page(dom, size, prot);
}

/* C xenstored maps the ring by a well-known grant reference. */
xengnttab_handle *xengnttab_open(struct xentoollog_logger *logger, unsigned int open_flags)
{
    (void)logger;
    (void)open_flags;
    return (xengnttab_handle *)&handle;
}

int xengnttab_close(xengnttab_handle *xgt)
{
    (void)xgt;
    return 0;
}

int xengnttab_set_max_grants(xengnttab_handle *xgt, uint32_t nr_grants)
{
    (void)xgt;
    (void)nr_grants;
    return 0;
}

void *xengnttab_map_grant_ref(xengnttab_handle *xgt, uint32_t domid, uint32_t ref, int prot)
{
    (void)xgt;
    (void)ref;
    return map_page(domid, getpagesize(), prot);
}

int xengnttab_unmap(xengnttab_handle *xgt, void *start_address, uint32_t count)
{
    (void)xgt;
    return munmap(start_address, (size_t)count * getpagesize());
}

/*
 * Event channels.
 */

/*
 * Ports have fixed numbers, so that nothing need be remembered over the
 * exec() of a live update.
 */
#define PORT_DOM_EXC 1
#define PORT_OF_DOMAIN(id) (2 + (evtchn_port_t)(id))

/* One event handle is all a daemon opens; keep its descriptor here. */
static int evtchn_fd = -1;

#define DOMAINS_CHANGED (IN_CLOSE_WRITE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO)

xenevtchn_handle *xenevtchn_open(struct xentoollog_logger *logger, unsigned int flags)
{
    (void)logger;
    evtchn_fd = inotify_init1(flags & XENEVTCHN_NO_CLOEXEC ? 0 : IN_CLOEXEC);
    return evtchn_fd < 0 ? NULL : (xenevtchn_handle *)&handle;
}

/* After a live update: the inotify descriptor is inherited, watch and all. */
xenevtchn_handle *xenevtchn_fdopen(struct xentoollog_logger *logger, int fd,
                                   unsigned int open_flags)
{
    char link[64], what[64] = "";

    (void)logger;
    (void)open_flags;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    if (readlink(link, what, sizeof(what) - 1) < 0 || strcmp(what, "anon_inode:inotify")) {
        errno = EBADF;
        return NULL;
    }
    evtchn_fd = fd;
    return (xenevtchn_handle *)&handle;
}

/*
 * The OCaml bindings finalise a handle even if opening it had failed, with
 * whatever its memory held: that is not ours to close.
 */
int xenevtchn_close(xenevtchn_handle *xce)
{
    if (xce == (xenevtchn_handle *)&handle && evtchn_fd >= 0) {
        close(evtchn_fd);
        evtchn_fd = -1;
    }
    return 0;
}

int xenevtchn_fd(xenevtchn_handle *xce)
{
    (void)xce;
    return evtchn_fd;
}

xenevtchn_port_or_error_t xenevtchn_bind_virq(xenevtchn_handle *xce, unsigned int virq)
{
    (void)xce;
    if (virq != VIRQ_DOM_EXC) {
        errno = EINVAL;
        return -1;
    }
    /* Adding the same watch twice (live update) changes nothing. */
    if (inotify_add_watch(evtchn_fd, domains_dir(), DOMAINS_CHANGED) < 0) {
        fprintf(stderr, "fake-xen: cannot watch %s: %m\n", domains_dir());
        return -1;
    }
    return PORT_DOM_EXC;
}

xenevtchn_port_or_error_t xenevtchn_bind_interdomain(xenevtchn_handle *xce, uint32_t domid,
                                                     evtchn_port_t remote_port)
{
    (void)xce;
    (void)remote_port;
    if (!domain_lookup(domid, NULL)) {
        errno = ESRCH;
        return -1;
    }
    return PORT_OF_DOMAIN(domid);
}

int xenevtchn_unbind(xenevtchn_handle *xce, evtchn_port_t port)
{
    (void)xce;
    (void)port;
    return 0;
}

/* Nobody is at the other end of a ring. */
int xenevtchn_notify(xenevtchn_handle *xce, evtchn_port_t port)
{
    (void)xce;
    (void)port;
    return 0;
}

/* Is this change of the directory one that Xen would announce? */
static bool announced(const struct inotify_event *ev)
{
    struct domain_state st;
    unsigned long domid;
    char *end;

    if (ev->mask & IN_Q_OVERFLOW)
        return true;
    if (!ev->len)
        return false;
    domid = strtoul(ev->name, &end, 10);
    if (end == ev->name || *end || domid >= DOMID_FIRST_RESERVED)
        return false;
    if (ev->mask & (IN_DELETE | IN_MOVED_FROM))
        return true;
    /* Written or moved here: not if that made a new, running domain. */
    return domain_lookup(domid, &st) && (st.shutdown || st.dying);
}

/*
 * The descriptor was readable.  Take what is there; many changes make one
 * event, as with a real event channel.  There must be an answer (C xenstored
 * exits upon an error), so when nothing of note happened, say that domain 0
 * rang: its ring is empty and the daemon goes back to sleep.
 */
xenevtchn_port_or_error_t xenevtchn_pending(xenevtchn_handle *xce)
{
    char buf[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    xenevtchn_port_or_error_t port = PORT_OF_DOMAIN(0);
    ssize_t len, at;

    (void)xce;
    do
        len = read(evtchn_fd, buf, sizeof(buf));
    while (len < 0 && errno == EINTR);
    if (len < 0)
        return -1;

    for (at = 0; at < len;) {
        const struct inotify_event *ev = (void *)(buf + at);

        if (announced(ev))
            port = PORT_DOM_EXC;
        at += sizeof(*ev) + ev->len;
    }
    return port;
}

int xenevtchn_unmask(xenevtchn_handle *xce, evtchn_port_t port)
{
    (void)xce;
    (void)port;
    return 0;
}

/*
 * Files.
 */

/* Find the C library's own function of this name. */
#define REAL(name)                 \
    static __typeof__(&name) real; \
    if (!real)                     \
    real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

/* A file that exists only in memory; like the real ones, not for exec(). */
static int memory_file(const char *name, const char *text, off_t size)
{
    int fd = memfd_create(name, MFD_CLOEXEC);

    if (fd < 0)
        return -1;
    if (ftruncate(fd, size) || pwrite(fd, text, strlen(text), 0) != (ssize_t)strlen(text)) {
        close(fd);
        return -1;
    }
    return fd;
}

/*
 * Domain 0 learns its ring and its event channel from the kernel.  And
 * oxenstored raises its limit of open files to the number in fs/nr_open, and
 * exits if it may not; a container usually may not.  Tell it the limit it
 * already has, which stays in force.
 *
 * Returns a descriptor, -1 for an error, or -2 if @path is none of these.
 */
static int open_kernel_file(const char *path)
{
    struct rlimit rl;
    char text[32];

    if (!strcmp(path, "/proc/xen/xsd_kva"))
        return memory_file("xsd_kva", "", getpagesize());
    if (!strcmp(path, "/proc/xen/xsd_port"))
        return memory_file("xsd_port", "1", 1); /* no newline! */
    if (!strcmp(path, "/proc/sys/fs/nr_open") && !getrlimit(RLIMIT_NOFILE, &rl) &&
        rl.rlim_max < 1048576) {
        snprintf(text, sizeof(text), "%lu\n", (unsigned long)rl.rlim_max);
        return memory_file("nr_open", text, strlen(text));
    }
    return -2;
}

/* Send /var/run/xenstored to $XENSTORED_RUNDIR; @buf has PATH_MAX bytes. */
static const char *redirect(const char *path, char *buf)
{
    static const char *const from[] = {
        "/var/run/xenstored",
        "/run/xenstored",
    };
    const char *to = getenv("XENSTORED_RUNDIR");
    size_t i, len;
    int n;

    for (i = 0; to && *to && path && i < sizeof(from) / sizeof(*from); i++) {
        len = strlen(from[i]);
        if (strncmp(path, from[i], len) || (path[len] && path[len] != '/'))
            continue;
        n = snprintf(buf, PATH_MAX, "%s%s", to, path + len);
        if (n >= 0 && n < PATH_MAX)
            return buf;
    }
    return path;
}

/* The mode is an argument only if a file may be made. */
#define GET_MODE(flags, mode)                                        \
    do {                                                             \
        mode = 0;                                                    \
        if (((flags)&O_CREAT) || ((flags)&O_TMPFILE) == O_TMPFILE) { \
            va_list ap;                                              \
                                                                     \
            va_start(ap, flags);                                     \
            mode = va_arg(ap, mode_t);                               \
            va_end(ap);                                              \
        }                                                            \
    } while (0)

int open(const char *path, int flags, ...)
{
    REAL(open);
    char buf[PATH_MAX];
    mode_t mode;
    int fd = open_kernel_file(path);

    if (fd != -2)
        return fd;
    GET_MODE(flags, mode);
    return real(redirect(path, buf), flags, mode);
}

int open64(const char *path, int flags, ...)
{
    REAL(open64);
    char buf[PATH_MAX];
    mode_t mode;
    int fd = open_kernel_file(path);

    if (fd != -2)
        return fd;
    GET_MODE(flags, mode);
    return real(redirect(path, buf), flags, mode);
}

int unlink(const char *path)
{
    REAL(unlink);
    char buf[PATH_MAX];

    return real(redirect(path, buf));
}

int mkdir(const char *path, mode_t mode)
{
    REAL(mkdir);
    char buf[PATH_MAX];

    return real(redirect(path, buf), mode);
}

int chmod(const char *path, mode_t mode)
{
    REAL(chmod);
    char buf[PATH_MAX];

    return real(redirect(path, buf), mode);
}

int stat64(const char *path, struct stat64 *st)
{
    REAL(stat64);
    char buf[PATH_MAX];

    return real(redirect(path, buf), st);
}

int bind(int fd, const struct sockaddr *addr, socklen_t len)
{
    REAL(bind);
    struct sockaddr_un un;
    char path[sizeof(un.sun_path) + 1], buf[PATH_MAX];
    const char *to;
    size_t n;

    if (addr->sa_family != AF_UNIX || len > sizeof(un) ||
        len <= offsetof(struct sockaddr_un, sun_path))
        return real(fd, addr, len);

    /* The path need not end with a NUL byte. */
    n = len - offsetof(struct sockaddr_un, sun_path);
    memcpy(path, (const char *)addr + offsetof(struct sockaddr_un, sun_path), n);
    path[n] = '\0';
    to = redirect(path, buf);
    if (to == path)
        return real(fd, addr, len);

    memset(&un, 0, sizeof(un));
    un.sun_family = AF_UNIX;
    if (strlen(to) >= sizeof(un.sun_path)) {
        fprintf(stderr, "fake-xen: %s: too long for a socket\n", to);
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(un.sun_path, to);
    return real(fd, (struct sockaddr *)&un, sizeof(un));
}
