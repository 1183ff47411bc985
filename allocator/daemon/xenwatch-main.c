/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * uidpool-xenwatch [SOCKET]
 *
 * Talks to xenstore for uidpoold, over descriptor 3, as allocator/daemon/xenwatch.h says: a program
 * of its own, since libxenstore waits for the store as long as it takes, and a store that hangs
 * must hang nobody's leases. So this one may be blocked at any time, and is ended from outside when
 * it shows no sign of life; a limit of its own ends it should nobody be there to do so.
 *
 * The descriptor of libxenstore never tells that the store has died: hence the probe.
 *
 * Touches the store and descriptor 3. Draws no conclusions and keeps nothing but a connection.
 */
#include "allocator/daemon/xenwatch.h"
#include "allocator/xenstore.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define DAEMON_FD 3
#define DOMIDS (DOMID_LAST + 1)

/* Microseconds to the next try to connect; doubles up to the last. */
#define CONNECT_FIRST (100 * USEC_PER_MSEC)
#define CONNECT_LAST (5 * USEC_PER_SEC)
/* Between two scans at least, and as long as the last one took: many events make one scan. */
#define SCAN_PAUSE (10 * USEC_PER_MSEC)
/* After this long without an event, look all the same. */
#define SCAN_ALWAYS (60 * USEC_PER_SEC)

/* A set of domids. */
struct domids {
    unsigned char bits[(DOMIDS + 7) / 8];
};

static bool has(const struct domids *set, int64_t domid)
{
    return set->bits[domid / 8] >> (domid % 8) & 1;
}

static void put(struct domids *set, int64_t domid)
{
    set->bits[domid / 8] |= (unsigned char)(1u << (domid % 8));
}

static void take_out(struct domids *set, int64_t domid)
{
    set->bits[domid / 8] &= (unsigned char)~(1u << (domid % 8));
}

struct watcher {
    const char *socket; /* or NULL */
    struct xenstore *store;
    uint64_t connection; /* the how many-th that is */
    int64_t connect_at, backoff;
    int64_t probe_at, said_at;
    bool scan_wanted;
    int64_t scan_at;                      /* not before */
    char marker[XENSTORE_MARKER_MAX + 1]; /* as the last scan found it */
    struct domids wanted;                 /* by the daemon */
    struct domids watched;                /* on this connection */
    struct domids candidates;             /* of the scan */
    int failure;                          /* to write, the last that was told; 0: none */
};

/* Without a daemon there is nothing to do. */
static void say(struct watcher *w, const struct xenwatch_message *m)
{
    int r = xenwatch_send(DAEMON_FD, m, -1);

    if (r < 0) {
        if (r != -EPIPE && r != -ECONNRESET)
            log_error("cannot tell the daemon: %s", strerror(-r));
        exit(r == -EPIPE || r == -ECONNRESET ? EXIT_SUCCESS : EXIT_FAILURE);
    }
    w->said_at = clock_monotonic_usec();
}

static void say_kind(struct watcher *w, enum xenwatch_kind kind)
{
    say(w, &(struct xenwatch_message){.kind = kind, .uid = UIDPOOL_NO_UID});
}

/*
 * The connection.
 */

/* It failed, or could not be made: the old handle never recovers. */
static void lose(struct watcher *w, int error)
{
    struct xenwatch_message m = {.kind = XENWATCH_DOWN, .uid = UIDPOOL_NO_UID};

    xenstore_close(take_ptr(w->store));
    w->backoff = w->backoff * 2 > CONNECT_LAST ? CONNECT_LAST : w->backoff * 2;
    w->connect_at = clock_monotonic_usec() + w->backoff;
    (void)snprintf(m.text, sizeof(m.text), "%s", strerror(-error));
    say(w, &m);
}

static void connect_store(struct watcher *w)
{
    int r = xenstore_open(w->socket, &w->store);

    if (r < 0) {
        lose(w, r);
        return;
    }
    w->connection++;
    w->watched = (struct domids){0};
    w->scan_wanted = true;
    w->scan_at = 0;
    w->probe_at = clock_monotonic_usec() + XENWATCH_ALIVE_SEC * USEC_PER_SEC;
}

/*
 * The scan.
 */

static void add_candidate(int64_t domid, void *userdata)
{
    struct watcher *w = userdata;

    put(&w->candidates, domid);
}

/* Be told of what changes before it is read, so that nothing is missed. 1, 0 or a negative errno,
 * as xenstore_look(). */
static int look_and_watch(struct watcher *w, int64_t domid, struct xenstore_domain *ret)
{
    int r = xenstore_look(w->store, domid, ret);

    if (r == 1 && !has(&w->watched, domid)) {
        r = xenstore_watch_domain(w->store, domid);
        put(&w->watched, domid);
        return r < 0 ? r : xenstore_look(w->store, domid, ret);
    }
    if (r == 0 && has(&w->watched, domid)) {
        take_out(&w->watched, domid);
        r = xenstore_unwatch_domain(w->store, domid);
    }
    return r;
}

static int tell_domain(struct watcher *w, int64_t domid)
{
    struct xenwatch_message m = {.kind = XENWATCH_ABSENT, .domid = domid, .uid = UIDPOOL_NO_UID};
    struct xenstore_domain d;
    int r = look_and_watch(w, domid, &d);

    if (r < 0)
        return r;
    if (r == 1) {
        m.kind = XENWATCH_DOMAIN;
        m.uid = d.kill_uid;
        (void)snprintf(m.uuid, sizeof(m.uuid), "%s", d.uuid);
        (void)snprintf(m.name, sizeof(m.name), "%s", d.name);
    }
    if (r == 1 || has(&w->wanted, domid))
        say(w, &m);
    return 0;
}

static int tell_all(struct watcher *w)
{
    struct xenwatch_message marker = {.kind = XENWATCH_MARKER, .uid = UIDPOOL_NO_UID};
    struct xenwatch_message begin = {
        .kind = XENWATCH_SCAN, .connection = w->connection, .uid = UIDPOOL_NO_UID};
    int r;

    say(w, &begin);
    r = xenstore_read_marker(w->store, w->marker);
    if (r < 0)
        return r;
    (void)snprintf(marker.text, sizeof(marker.text), "%s", w->marker);
    say(w, &marker);
    w->candidates = w->wanted;
    for (size_t i = 0; i < sizeof(w->watched.bits); i++)
        w->candidates.bits[i] |= w->watched.bits[i];
    r = xenstore_each_domid(w->store, add_candidate, w);
    /* Domain 0 is the host. */
    for (int64_t domid = 1; domid < DOMIDS && r == 0; domid++)
        if (has(&w->candidates, domid))
            r = tell_domain(w, domid);
    if (r == 0)
        say_kind(w, XENWATCH_END);
    return r;
}

static void scan(struct watcher *w)
{
    int64_t begin = clock_monotonic_usec(), end;
    int r;

    w->scan_wanted = false;
    r = tell_all(w);
    end = clock_monotonic_usec();
    w->scan_at = end + SCAN_PAUSE + (end - begin);
    if (r < 0) {
        lose(w, r);
        return;
    }
    w->backoff = CONNECT_FIRST / 2;
}

/*
 * What the daemon wants.
 */

static void answer(struct watcher *w, const struct xenwatch_message *m, int fd)
{
    struct xenstore_domain d;
    bool asked = w->store && m->connection == w->connection;
    int r = asked ? xenstore_look(w->store, m->domid, &d) : -ENOTCONN;
    char say = XENWATCH_MAY;

    if (r == 1 && (!d.uuid[0] || strcmp(d.uuid, m->uuid) != 0))
        say = XENWATCH_MAY_NOT;
    /* Who asked may have lost patience; ignoring that. */
    if (r >= 0)
        (void)!write(fd, &say, sizeof(say));
    else if (asked)
        lose(w, r);
}

static void probe(struct watcher *w);

/* The daemon sees in the next scan what came of it. */
static void wrote(struct watcher *w, const char *what, int r)
{
    w->scan_wanted = true;
    if (r == 0 || r == -ESTALE)
        return;
    if (w->failure != r)
        log_error("xenstore: cannot write %s: %s", what, strerror(-r));
    w->failure = r;
    probe(w); /* a store that is dead says so again, one that refused lives */
}

static void obey(struct watcher *w, const struct xenwatch_message *m, int fd)
{
    switch (m->kind) {
    case XENWATCH_WANT:
        for (size_t i = 0; i < m->n_wanted; i++)
            put(&w->wanted, m->wanted[i]);
        break;
    case XENWATCH_AGAIN:
        w->scan_wanted = true;
        break;
    case XENWATCH_MARK:
        if (w->store && m->connection == w->connection)
            wrote(w, "the marker", xenstore_write_marker(w->store, m->text));
        break;
    case XENWATCH_KILL_UID:
        if (w->store && m->uid != UIDPOOL_NO_UID)
            wrote(w, "device-model-kill-uid",
                  xenstore_write_kill_uid(w->store, m->domid, m->uuid, m->uid));
        break;
    case XENWATCH_ASK:
        if (fd >= 0)
            answer(w, m, fd);
        break;
    case XENWATCH_ALIVE:
    case XENWATCH_DOWN:
    case XENWATCH_SCAN:
    case XENWATCH_MARKER:
    case XENWATCH_DOMAIN:
    case XENWATCH_ABSENT:
    case XENWATCH_END:
    default:
        log_error("the daemon said what it never says");
        exit(EXIT_FAILURE);
    }
}

static void take_order(struct watcher *w)
{
    struct xenwatch_message m;
    _cleanup_fd_ int fd = -1;
    int r = xenwatch_receive(DAEMON_FD, &m, &fd);

    if (r == -EPIPE || r == -ECONNRESET)
        exit(EXIT_SUCCESS);
    if (r < 0) {
        log_error("cannot hear the daemon: %s", strerror(-r));
        exit(EXIT_FAILURE);
    }
    obey(w, &m, fd);
}

/*
 * The loop.
 */

/* A question that the store must answer; a marker that has changed is news. */
static void probe(struct watcher *w)
{
    char marker[XENSTORE_MARKER_MAX + 1];
    int r = xenstore_take_events(w->store);

    w->scan_wanted |= r == 1;
    if (r >= 0)
        r = xenstore_read_marker(w->store, marker);
    if (r < 0) {
        lose(w, r);
        return;
    }
    w->scan_wanted |= strcmp(marker, w->marker) != 0;
    w->probe_at = clock_monotonic_usec() + XENWATCH_ALIVE_SEC * USEC_PER_SEC;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Milliseconds, rounded up. */
static int pause_until(const struct watcher *w)
{
    int64_t at = w->said_at + XENWATCH_ALIVE_SEC * USEC_PER_SEC, left;

    if (!w->store)
        at = earlier(at, w->connect_at);
    else if (w->scan_wanted)
        at = earlier(at, w->scan_at);
    if (w->store)
        at = earlier(at, w->probe_at);
    left = at - clock_monotonic_usec();
    return left <= 0 ? 0 : (int)((left + USEC_PER_MSEC - 1) / USEC_PER_MSEC);
}

/* What is due. */
static void work(struct watcher *w)
{
    int64_t now = clock_monotonic_usec();

    if (!w->store && now >= w->connect_at)
        connect_store(w);
    if (w->store && now >= w->probe_at)
        probe(w);
    if (w->store && now >= w->scan_at + SCAN_ALWAYS)
        w->scan_wanted = true;
    if (w->store && w->scan_wanted && now >= w->scan_at)
        scan(w);
    /* With a store it was just probed, for that is due as often. */
    if (now >= w->said_at + XENWATCH_ALIVE_SEC * USEC_PER_SEC)
        say_kind(w, XENWATCH_ALIVE);
}

static void wait_and_hear(struct watcher *w)
{
    struct pollfd p[] = {{.fd = DAEMON_FD, .events = POLLIN},
                         {.fd = w->store ? xenstore_fd(w->store) : -1, .events = POLLIN}};
    int n = poll(p, ELEMENTS_OF(p), pause_until(w));

    if (n <= 0)
        return;
    if (p[1].revents) {
        int r = xenstore_take_events(w->store);

        if (r < 0)
            lose(w, r);
        w->scan_wanted |= r == 1;
    }
    if (p[0].revents)
        take_order(w);
}

int main(int argc, char *argv[])
{
    struct watcher w = {.backoff = CONNECT_FIRST / 2};

    log_set_name("uidpool-xenwatch");
    if (argc > 2) {
        log_error("usage: uidpool-xenwatch [SOCKET], started by uidpoold");
        return EXIT_FAILURE;
    }
    w.socket = argc == 2 ? argv[1] : NULL;
    for (;;) {
        /* Longer than the daemon's patience. */
        (void)alarm(2 * XENWATCH_PATIENCE_SEC);
        work(&w);
        wait_and_hear(&w);
    }
}
