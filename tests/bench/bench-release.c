/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A release against its floor: start the static helper, let it kill, scan once, wait until the
 * victim has ended. Both in turn, on victims like a device model (one process of four threads), on
 * a host with 100, 1,000 and 10,000 processes. Beside it the floor of a release that is proven and
 * remembered, with two durable commits and a census of the reaper and of the victim; what libxl
 * does, which proves nothing; and a hundred releases at once against one.
 *
 * Kills by uid, so it refuses to run unless it is pid 1 of a PID namespace. Its own mounts give
 * /tmp and its like a known number of files to look through.
 */
#include "allocator/census.h"
#include "allocator/engine.h"
#include "allocator/reaper.h"
#include "allocator/revocation/revoker.h"
#include "allocator/scan.h"
#include "common/cleanup.h"
#include "tests/bench/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MANY 100

static struct bystanders {
    pid_t *pids;
    size_t n;
} bystanders;

static void add_bystanders(size_t n)
{
    bystanders.pids = reallocarray(bystanders.pids, n, sizeof(*bystanders.pids));
    if (!bystanders.pids)
        bench_fail("no memory");
    while (bystanders.n < n) {
        pid_t pid = fork();

        if (pid < 0)
            bench_fail("fork: %s", strerror(errno));
        if (pid == 0) {
            bench_become(BENCH_UID_IDLE);
            for (;;)
                (void)pause();
        }
        bystanders.pids[bystanders.n++] = pid;
    }
}

static void end_bystanders(void)
{
    for (size_t i = 0; i < bystanders.n; i++)
        (void)kill(bystanders.pids[i], SIGKILL);
    free(bystanders.pids);
}

static void wait_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    while (poll(&p, 1, -1) < 0)
        if (errno != EINTR)
            bench_fail("poll: %s", strerror(errno));
}

struct floor {
    struct bare *bare;
    int null_fd;
    struct samples kill; /* kill, scan, exits */
    struct samples full; /* and two commits, two censuses */
};

static void ask_census(uid_t uid, int null_fd)
{
    if (census_ask(bench_census(), (struct uid_range){uid, 1}, 0, null_fd) == WITNESS_UNKNOWN)
        bench_fail("the census has no answer");
}

static void measure_floor(struct floor *f)
{
    const struct reaper reaper = {.uid = BENCH_UID_REAPER, .lock_fd = f->null_fd};
    const struct uid_range target = {BENCH_UID_VICTIM, 1};
    _cleanup_fd_ int victim_fd = pidfd_open(bench_start_victim(BENCH_UID_VICTIM), 0);
    _cleanup_fd_ int helper_fd = -1;
    struct scan *scan = NULL;
    int64_t begin = bench_now();

    helper_fd = reaper_start(&reaper, target, target, &f->null_fd, 1);
    if (victim_fd < 0 || helper_fd < 0)
        bench_fail("the helper cannot be started");
    wait_readable(helper_fd);
    if (reaper_finish(helper_fd) < 0 || scan_new(&target, 1, &scan) < 0)
        bench_fail("the helper did not kill, or the scan cannot begin");
    while (scan_step(scan, UINT32_MAX) > 0)
        ;
    wait_readable(victim_fd);
    samples_add(&f->kill, bench_now() - begin);
    ask_census(BENCH_UID_REAPER, f->null_fd);
    ask_census(BENCH_UID_VICTIM, f->null_fd);
    bare_commit(f->bare);
    bare_commit(f->bare);
    samples_add(&f->full, bench_now() - begin);
    scan_free(scan);
}

static int64_t measure_release(struct allocator *a)
{
    struct uidpool_lease_request request = UIDPOOL_LEASE_REQUEST_INIT;
    struct uidpool_selector selector = UIDPOOL_SELECTOR_INIT;
    struct uidpool_lease lease;
    struct problem p = {0};
    int64_t begin;

    request.pool = selector.pool = "bench";
    request.domid = selector.domid = 5;
    bench_check(allocator_lease(a, &request, 10, &lease, &p), &p, "lease");
    (void)bench_start_victim(lease.uid);
    begin = bench_now();
    bench_check(allocator_release(a, &selector, 30, NULL, NULL, &p), &p, "release");
    return bench_now() - begin;
}

/* Without capabilities kill(-1) reaches the target's uid alone. */
static bool has_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct set[_LINUX_CAPABILITY_U32S_3];

    return syscall(SYS_capget, &header, set) < 0 || set[0].effective || set[1].effective;
}

/* tools/libs/light/libxl_dm.c, kill_device_model_uid_child(): fork, kill, and believe. */
static int64_t measure_libxl(void)
{
    int64_t begin;
    pid_t pid;

    (void)bench_start_victim(BENCH_UID_PEER);
    begin = bench_now();
    pid = fork();
    if (pid == 0) {
        if (setresuid(BENCH_UID_REAPER, BENCH_UID_PEER, 0) < 0 || has_capabilities())
            _exit(EXIT_FAILURE);
        _exit(kill(-1, SIGKILL) < 0);
    }
    /* SIGCHLD is ignored, so this ends by ECHILD once the child is gone. */
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return bench_now() - begin;
}

/* Leases with victims, released together on one loop. */
static int64_t measure_many(struct allocator *a)
{
    static struct uidpool_lease leases[MANY];
    struct uidpool_lease_request request = UIDPOOL_LEASE_REQUEST_INIT;
    struct problem p = {0};
    int64_t begin;

    request.pool = "bench";
    for (unsigned i = 0; i < MANY; i++) {
        request.domid = 100 + (int64_t)i;
        bench_check(allocator_lease(a, &request, 10, &leases[i], &p), &p, "lease");
        (void)bench_start_victim(leases[i].uid);
    }
    begin = bench_now();
    bench_check(revoke_all(a, REVOCATION_KILL, leases, MANY, 60, NULL, NULL, &p), &p, "release");
    return bench_now() - begin;
}

static void measure(struct allocator *a, size_t processes, unsigned rounds, struct floor *f)
{
    struct samples own = {0}, libxl = {0}, many = {0};
    char work[96];

    add_bystanders(processes);
    for (unsigned i = 0; i < rounds; i++) {
        if (i % 2)
            samples_add(&own, measure_release(a));
        measure_floor(f);
        if (!(i % 2))
            samples_add(&own, measure_release(a));
        samples_add(&libxl, measure_libxl());
        if (i % 10 == 0)
            samples_add(&many, measure_many(a));
    }
    (void)snprintf(work, sizeof(work), "release, %zu processes", processes);
    bench_row_samples(work, &f->kill, &own, "1.3");
    bench_row_samples("    against that floor, two commits and two censuses", &f->full, &own, "-");
    bench_row_samples("    against libxl's reaper: no scan, no proof, no record", &libxl, &own,
                      "-");
    bench_row_samples("    one release, and 100 at once", &own, &many, "3");
    samples_clear(&f->kill);
    samples_clear(&f->full);
    samples_clear(&own);
    samples_clear(&libxl);
    samples_clear(&many);
}

int main(void)
{
    struct allocator a;
    struct floor f = {.null_fd = open("/dev/null", O_RDWR | O_CLOEXEC)};

    if (getpid() != 1 || geteuid() != 0)
        bench_fail("run it as root by tests/in-namespace: it kills by uid");
    if (f.null_fd < 0)
        bench_fail("/dev/null: %s", strerror(errno));
    /* As init does for a device model: what is dead is reaped at once. */
    (void)signal(SIGCHLD, SIG_IGN);
    bench_ledger(&a, "release.db", UIDPOOL_POLICY_DOMID);
    bench_warm_ledger(&a);
    f.bare = bare_open("bare.db");
    bare_warm(f.bare);
    bench_mount_places();
    (void)atexit(end_bystanders);
    measure(&a, 100, 60, &f);
    measure(&a, 1000, 30, &f);
    measure(&a, 10000, 10, &f);
    allocator_detach(&a);
    ledger_close(a.ledger);
    bare_close(f.bare);
    return EXIT_SUCCESS;
}
