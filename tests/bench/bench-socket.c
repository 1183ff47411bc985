/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon: a lease over the socket against one in the library, 64 callers against one, a release
 * over the socket against one in the library, and a hundred releases at once against one. Floor and
 * work in turn on one ledger. All callers are this one process, with poll(2), so that they cost
 * little beside the daemon.
 *
 * Kills by uid, so it refuses to run unless it is pid 1 of a PID namespace.
 */
#include "allocator/engine.h"
#include "allocator/machine.h"
#include "common/cleanup.h"
#include "tests/bench/bench.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* From the benchmarks' directory, where it is run. */
#define DAEMON "../../allocator/daemon/uidpoold"
#define CALLERS 64
#define MANY 100
#define LEASE_ROUNDS 300
#define RATE_ROUNDS 12
#define RATE_CALLS_ONE 100   /* of one caller in a round */
#define RATE_CALLS_MANY 1280 /* of all callers together */
#define RELEASE_ROUNDS 40
#define TEXT_SIZE 1024

/* A connection with at most one call under way. */
struct caller {
    int fd;
    int64_t sent;
    char text[TEXT_SIZE]; /* the answer, as far as it has come */
    size_t n;
};

struct bench {
    struct allocator allocator; /* on the ledger that the daemon has open as well */
    struct sockaddr_un address;
    pid_t daemon;
    struct caller callers[MANY];
    int64_t domid; /* the last that was used */
};

static const char *directory_of(char *buf, size_t size, const char *name)
{
    if ((size_t)snprintf(buf, size, "%s/%s", bench_directory(), name) >= size)
        bench_fail("the path of %s is too long", name);
    return buf;
}

/* Become the daemon, which tells on `ready` when it serves. */
_Noreturn static void run_daemon(const char *ledger, int ready)
{
    char directory[512], config[600], runtime[600], userdb[600], path[600], fd[32];

    (void)signal(SIGCHLD, SIG_DFL);
    /* Its words would be in the middle of the table. */
    (void)setenv("UIDPOOLD_LOG", "warning", 1);
    (void)snprintf(path, sizeof(path), "--ledger=%s", ledger);
    directory_of(directory, sizeof(directory), "config");
    (void)mkdir(directory, 0755);
    (void)snprintf(config, sizeof(config), "--config=%s", directory);
    (void)snprintf(runtime, sizeof(runtime), "--runtime-dir=%s", bench_directory());
    (void)snprintf(userdb, sizeof(userdb), "--userdb-dir=%s",
                   directory_of(directory, sizeof(directory), "userdb"));
    (void)snprintf(fd, sizeof(fd), "--ready=fd:%d", ready);
    (void)execl(DAEMON, "uidpoold", path, config, runtime, userdb, fd, NULL);
    (void)fprintf(stderr, "benchmark: %s: %s\n", DAEMON, strerror(errno));
    _exit(EXIT_FAILURE);
}

static void start_daemon(struct bench *b)
{
    int ready[2];
    char newline;

    b->address.sun_family = AF_UNIX;
    directory_of(b->address.sun_path, sizeof(b->address.sun_path), "io.uidpool");
    if (pipe(ready) < 0 || (b->daemon = fork()) < 0)
        bench_fail("fork: %s", strerror(errno));
    if (b->daemon == 0) {
        (void)close(ready[0]);
        run_daemon(ledger_path(b->allocator.ledger), ready[1]);
    }
    (void)close(ready[1]);
    if (read(ready[0], &newline, 1) != 1)
        bench_fail("the daemon does not serve");
    (void)close(ready[0]);
}

static void connect_callers(struct bench *b)
{
    for (size_t i = 0; i < MANY; i++) {
        struct caller *c = &b->callers[i];

        c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (c->fd < 0 ||
            connect(c->fd, (const struct sockaddr *)&b->address, sizeof(b->address)) < 0)
            bench_fail("connect: %s", strerror(errno));
    }
}

static void caller_send(struct caller *c, const char *method, int64_t domid)
{
    char text[256];
    int n = snprintf(text, sizeof(text),
                     "{\"method\":\"io.uidpool.%s\",\"parameters\":{\"pool\":\"bench\","
                     "\"domid\":%" PRId64 "}}",
                     method, domid);

    c->n = 0;
    c->sent = bench_now();
    if (send(c->fd, text, (size_t)n + 1, MSG_NOSIGNAL) != n + 1)
        bench_fail("send: %s", strerror(errno));
}

/* Take what has come. True when the answer is whole. */
static bool caller_receive(struct caller *c)
{
    ssize_t n = recv(c->fd, c->text + c->n, sizeof(c->text) - c->n, 0);

    if (n <= 0)
        bench_fail("recv: %s", n < 0 ? strerror(errno) : "closed, or too long an answer");
    c->n += (size_t)n;
    if (c->text[c->n - 1] != '\0')
        return false;
    if (strstr(c->text, "\"error\""))
        bench_fail("the daemon answers %s", c->text);
    return true;
}

static int64_t call(struct caller *c, const char *method, int64_t domid)
{
    caller_send(c, method, domid);
    while (!caller_receive(c))
        ;
    return bench_now() - c->sent;
}

/* So many callers each ask again as soon as they are answered, until so many calls are made, for
 * the domids behind b->domid. What each waited goes to `waits`. Returns the time for all. */
static int64_t call_at_once(struct bench *b, const char *method, unsigned callers, unsigned calls,
                            struct samples *waits)
{
    struct pollfd fds[MANY];
    unsigned sent = 0, answered = 0;
    int64_t begin = bench_now();

    for (; sent < callers; sent++) {
        fds[sent] = (struct pollfd){.fd = b->callers[sent].fd, .events = POLLIN};
        caller_send(&b->callers[sent], method, ++b->domid);
    }
    while (answered < calls) {
        if (poll(fds, callers, -1) < 0)
            bench_fail("poll: %s", strerror(errno));
        for (unsigned i = 0; i < callers; i++) {
            struct caller *c = &b->callers[i];

            if (!fds[i].revents || !caller_receive(c))
                continue;
            samples_add(waits, bench_now() - c->sent);
            answered++;
            if (sent < calls) {
                caller_send(c, method, ++b->domid);
                sent++;
            }
        }
    }
    return bench_now() - begin;
}

/* End all leases without a kill, so that each round finds the same. */
static void end_leases(struct bench *b)
{
    struct ledger *l = b->allocator.ledger;
    struct uidpool_selector all = UIDPOOL_SELECTOR_INIT;
    struct lease_list list = {0};
    struct problem p = {0};

    bench_check(lease_list_read(l, &all, NULL, &list, &p), &p, "list");
    for (size_t i = 0; i < list.n; i++)
        bench_end_lease(l, &list.items[i]);
    lease_list_clear(&list);
    b->domid = 0;
}

static int64_t lease_in_library(struct bench *b)
{
    struct uidpool_lease_request request = UIDPOOL_LEASE_REQUEST_INIT;
    struct uidpool_lease lease;
    struct problem p = {0};
    int64_t begin = bench_now();

    request.pool = "bench";
    request.domid = ++b->domid;
    bench_check(allocator_lease(&b->allocator, &request, 10, &lease, &p), &p, "lease");
    return bench_now() - begin;
}

static void measure_lease(struct bench *b)
{
    struct samples library = {0}, own = {0};

    for (unsigned i = 0; i < LEASE_ROUNDS; i++) {
        if (i % 2)
            samples_add(&own, call(&b->callers[0], "Lease", ++b->domid));
        samples_add(&library, lease_in_library(b));
        if (!(i % 2))
            samples_add(&own, call(&b->callers[0], "Lease", ++b->domid));
        if (i % 10 == 9)
            end_leases(b);
    }
    bench_row_samples("a lease: in the library, over the socket", &library, &own, "-");
    samples_clear(&library);
    samples_clear(&own);
}

static void print_rates(struct samples *one, struct samples *many)
{
    double slow = 1e9 / (double)samples_percentile(one, 50);
    double fast = 1e9 / (double)samples_percentile(many, 50);
    char slow_text[32], fast_text[32], ratio[32];

    (void)snprintf(slow_text, sizeof(slow_text), "%.0f/s", slow);
    (void)snprintf(fast_text, sizeof(fast_text), "%.0f/s", fast);
    (void)snprintf(ratio, sizeof(ratio), "%.2f", fast / slow);
    bench_row("leases over the socket: 1 caller, 64 callers", slow_text, fast_text, ratio, ">= 8");
}

static void measure_rates(struct bench *b)
{
    struct samples one = {0}, many = {0}, waits = {0}, longest = {0}, ignored = {0};

    for (unsigned i = 0; i < RATE_ROUNDS; i++) {
        samples_add(&one, call_at_once(b, "Lease", 1, RATE_CALLS_ONE, &ignored) / RATE_CALLS_ONE);
        end_leases(b);
        samples_add(&many,
                    call_at_once(b, "Lease", CALLERS, RATE_CALLS_MANY, &waits) / RATE_CALLS_MANY);
        end_leases(b);
    }
    samples_add(&longest, samples_percentile(&waits, 100));
    print_rates(&one, &many);
    bench_row_samples("    wait of one of 64 callers: median, longest of all", &waits, &longest,
                      "10");
    samples_clear(&one);
    samples_clear(&many);
    samples_clear(&waits);
    samples_clear(&longest);
    samples_clear(&ignored);
}

/* Lease, each with a victim that runs as its uid, for the domids 1 to n. */
static void lease_victims(struct bench *b, unsigned n)
{
    for (unsigned i = 1; i <= n; i++) {
        (void)call(&b->callers[0], "Lease", i);
        (void)bench_start_victim(BENCH_UID_FIRST + i);
    }
    b->domid = 0;
}

static int64_t release_in_library(struct bench *b)
{
    struct uidpool_selector selector = UIDPOOL_SELECTOR_INIT;
    struct problem p = {0};
    int64_t begin;

    lease_victims(b, 1);
    selector.pool = "bench";
    selector.domid = 1;
    begin = bench_now();
    bench_check(allocator_release(&b->allocator, &selector, 30, NULL, NULL, &p), &p, "release");
    return bench_now() - begin;
}

static int64_t release_over_socket(struct bench *b, unsigned n)
{
    struct samples ignored = {0};
    int64_t took;

    lease_victims(b, n);
    took = call_at_once(b, "Release", n, n, &ignored);
    samples_clear(&ignored);
    return took;
}

/* What a hundred victims need to die, killed by pid, which proves nothing. */
static int64_t kill_victims(void)
{
    int fds[MANY];
    int64_t begin;

    for (unsigned i = 0; i < MANY; i++) {
        fds[i] = pidfd_open(bench_start_victim(BENCH_UID_FIRST + 1 + i), 0);
        if (fds[i] < 0)
            bench_fail("pidfd_open: %s", strerror(errno));
    }
    begin = bench_now();
    for (unsigned i = 0; i < MANY; i++)
        if (pidfd_send_signal(fds[i], SIGKILL, NULL, 0) < 0)
            bench_fail("cannot kill a victim: %s", strerror(errno));
    for (unsigned i = 0; i < MANY; i++) {
        struct pollfd p = {.fd = fds[i], .events = POLLIN};

        if (poll(&p, 1, -1) < 0)
            bench_fail("poll: %s", strerror(errno));
        (void)close(fds[i]);
    }
    return bench_now() - begin;
}

static void measure_release(struct bench *b)
{
    struct samples library = {0}, own = {0}, many = {0}, deaths = {0};

    for (unsigned i = 0; i < RELEASE_ROUNDS; i++) {
        if (i % 2)
            samples_add(&own, release_over_socket(b, 1));
        samples_add(&library, release_in_library(b));
        if (!(i % 2))
            samples_add(&own, release_over_socket(b, 1));
        if (i % 5 > 0)
            continue;
        samples_add(&deaths, kill_victims());
        samples_add(&many, release_over_socket(b, MANY));
    }
    bench_row_samples("a release: in the library, over the socket", &library, &own, "-");
    bench_row_samples("releases over the socket: 1, and 100 at once", &own, &many, "3");
    bench_row_samples("    100 victims killed by pid, and 100 releases", &deaths, &many, "-");
    samples_clear(&library);
    samples_clear(&own);
    samples_clear(&many);
    samples_clear(&deaths);
}

int main(void)
{
    static struct bench b;

    if (getpid() != 1 || geteuid() != 0)
        bench_fail("run it as root by tests/in-namespace: it kills by uid");
    /* As init does for a device model: what is dead is reaped at once. */
    (void)signal(SIGCHLD, SIG_IGN);
    bench_ledger(&b.allocator, "socket.db", UIDPOOL_POLICY_DOMID);
    bench_warm_ledger(&b.allocator);
    bench_mount_places();
    start_daemon(&b);
    connect_callers(&b);
    measure_lease(&b);
    measure_rates(&b);
    measure_release(&b);
    (void)kill(b.daemon, SIGTERM);
    ledger_close(b.allocator.ledger);
    return EXIT_SUCCESS;
}
