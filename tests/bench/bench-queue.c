/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Is the writers' queue fair? Processes that write in a loop, as fast as they can: through the
 * ledger's queue, and into a bare SQLite file whose busy handler decides. How much more did the
 * luckiest commit than the unluckiest, and how much longer than the median was the longest wait?
 */
#include "common/cleanup.h"
#include "tests/bench/bench.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECONDS 5
#define WRITERS_MAX 64
#define WAITS_MAX 65536

struct writer {
    int64_t commits, longest;
    int64_t waits[WAITS_MAX]; /* the first of them */
};

struct shared {
    pthread_barrier_t start;
    struct writer writers[WRITERS_MAX];
};

static void count(struct writer *w, int64_t wait)
{
    if (w->commits < WAITS_MAX)
        w->waits[w->commits] = wait;
    if (wait > w->longest)
        w->longest = wait;
    w->commits++;
}

static void write_ledger(struct shared *shared, struct writer *w, const char *path)
{
    struct ledger *l = NULL;
    struct problem p = {0};

    bench_check(ledger_open(path, LEDGER_WRITE, &l, &p), &p, "ledger");
    (void)pthread_barrier_wait(&shared->start);
    for (int64_t now = bench_now(), end = now + SECONDS * INT64_C(1000000000); now < end;) {
        int64_t before = bench_now();

        bench_check(ledger_begin(l, &p), &p, "begin");
        int64_t wait = bench_now() - before;
        bench_check(ledger_pool_set_next(l, BENCH_UID_FIRST,
                                         BENCH_UID_FIRST + (uid_t)(w->commits % 1000), &p),
                    &p, "next");
        bench_check(ledger_commit(l, &p), &p, "commit");
        count(w, wait);
        now = bench_now();
    }
    ledger_close(l);
}

static void write_bare(struct shared *shared, struct writer *w)
{
    struct bare *b = bare_open("queue-bare.db");

    (void)pthread_barrier_wait(&shared->start);
    for (int64_t now = bench_now(), end = now + SECONDS * INT64_C(1000000000); now < end;) {
        int64_t before = bench_now();

        bare_begin(b);
        int64_t wait = bench_now() - before;
        bare_insert_and_end(b);
        count(w, wait);
        now = bench_now();
    }
    bare_close(b);
}

struct turn_result {
    int64_t fewest, most, longest, median;
};

static struct turn_result judge(const struct shared *shared, unsigned n)
{
    struct turn_result o = {.fewest = INT64_MAX};
    struct samples waits = {0};

    for (unsigned i = 0; i < n; i++) {
        const struct writer *w = &shared->writers[i];

        o.fewest = w->commits < o.fewest ? w->commits : o.fewest;
        o.most = w->commits > o.most ? w->commits : o.most;
        o.longest = w->longest > o.longest ? w->longest : o.longest;
        for (int64_t j = 0; j < w->commits && j < WAITS_MAX; j++)
            samples_add(&waits, w->waits[j]);
    }
    o.median = samples_percentile(&waits, 50);
    samples_clear(&waits);
    return o;
}

/* Let `n` processes write; into the ledger at `path`, or with NULL into the bare file. */
static struct turn_result compete(unsigned n, const char *path)
{
    struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    pthread_barrierattr_t attributes;
    struct turn_result o;
    int status;

    if (shared == MAP_FAILED)
        bench_fail("no memory");
    (void)pthread_barrierattr_init(&attributes);
    (void)pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    (void)pthread_barrier_init(&shared->start, &attributes, n);
    for (unsigned i = 0; i < n; i++) {
        pid_t pid = fork();

        if (pid < 0)
            bench_fail("fork: %s", strerror(errno));
        if (pid > 0)
            continue;
        if (path)
            write_ledger(shared, &shared->writers[i], path);
        else
            write_bare(shared, &shared->writers[i]);
        _exit(EXIT_SUCCESS);
    }
    for (unsigned i = 0; i < n; i++)
        if (wait(&status) < 0 || status != 0)
            bench_fail("a writer failed");
    o = judge(shared, n);
    (void)munmap(shared, sizeof(*shared));
    return o;
}

static void ratio_text(char *buf, size_t size, int64_t a, int64_t b)
{
    if (b == 0)
        (void)snprintf(buf, size, "%" PRId64 " : 0", a);
    else
        (void)snprintf(buf, size, "%.*f x", a / b < 10 ? 2 : 0, (double)a / (double)b);
}

static void compare_with_bare(unsigned n, const char *path)
{
    struct turn_result bare = compete(n, NULL), own = compete(n, path);
    char work[96], bare_text[32], own_text[32];

    (void)snprintf(work, sizeof(work), "%u writers, most commits of one : fewest", n);
    ratio_text(bare_text, sizeof(bare_text), bare.most, bare.fewest);
    ratio_text(own_text, sizeof(own_text), own.most, own.fewest);
    bench_row(work, bare_text, own_text, "-", "-");
    (void)snprintf(work, sizeof(work), "%u writers, longest wait : median", n);
    ratio_text(bare_text, sizeof(bare_text), bare.longest, bare.median);
    ratio_text(own_text, sizeof(own_text), own.longest, own.median);
    bench_row(work, bare_text, own_text, "-", "50 x");
    (void)snprintf(work, sizeof(work), "%u writers, longest wait", n);
    (void)snprintf(bare_text, sizeof(bare_text), "%.1f ms", (double)bare.longest / 1e6);
    (void)snprintf(own_text, sizeof(own_text), "%.1f ms", (double)own.longest / 1e6);
    bench_row(work, bare_text, own_text, "-", "-");
}

int main(void)
{
    struct allocator a;
    _cleanup_free_ char *path = NULL;

    bench_ledger(&a, "queue.db", UIDPOOL_POLICY_NEXT);
    bench_warm_ledger(&a);
    path = strdup(ledger_path(a.ledger));
    ledger_close(a.ledger);
    if (!path)
        bench_fail("no memory");
    struct bare *b = bare_open("queue-bare.db");
    bare_warm(b);
    bare_close(b);
    compare_with_bare(4, path);
    compare_with_bare(64, path);
    return EXIT_SUCCESS;
}
