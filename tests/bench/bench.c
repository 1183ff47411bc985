/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the benchmarks share; see bench.h. The only file of theirs that knows SQLite. */
#include "tests/bench/bench.h"

#include "allocator/census.h"
#include "allocator/machine.h"
#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

/* A log begins anew after the checkpoint at 1,000 pages; a cycle writes a dozen. */
#define WARM_CYCLES 200
#define BARE_WARM_COMMITS 1200
#define VICTIM_THREADS 4
#define FILES 10

static char directory[PATH_MAX];
static pid_t directory_owner;

void bench_fail(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    (void)fputs("benchmark: ", stderr);
    (void)vfprintf(stderr, format, ap);
    (void)fputc('\n', stderr);
    va_end(ap);
    exit(EXIT_FAILURE);
}

void bench_check(enum uidpool_status status, const struct problem *p, const char *what)
{
    if (status != UIDPOOL_OK)
        bench_fail("%s: %s", what, p->text);
}

int64_t bench_now(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void samples_add(struct samples *s, int64_t nanoseconds)
{
    if (s->n == s->allocated) {
        s->allocated = s->allocated ? s->allocated * 2 : 256;
        s->items = reallocarray(s->items, s->allocated, sizeof(*s->items));
        if (!s->items)
            bench_fail("no memory");
    }
    s->items[s->n++] = nanoseconds;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

int64_t samples_percentile(struct samples *s, unsigned percent)
{
    if (s->n == 0)
        bench_fail("no samples");
    qsort(s->items, s->n, sizeof(*s->items), compare);
    return s->items[(s->n - 1) * percent / 100];
}

void samples_clear(struct samples *s)
{
    free(s->items);
    *s = (struct samples){0};
}

void bench_row(const char *work, const char *floor, const char *own, const char *ratio,
               const char *limit)
{
    (void)printf("%-60s %11s %11s %7s %6s\n", work, floor, own, ratio, limit);
    (void)fflush(stdout);
}

void bench_row_samples(const char *work, struct samples *floor, struct samples *own,
                       const char *limit)
{
    double f = (double)samples_percentile(floor, 50) / 1e6;
    double o = (double)samples_percentile(own, 50) / 1e6;
    char floor_text[32], own_text[32], ratio[32];

    (void)snprintf(floor_text, sizeof(floor_text), "%.3f ms", f);
    (void)snprintf(own_text, sizeof(own_text), "%.3f ms", o);
    (void)snprintf(ratio, sizeof(ratio), "%.2f", o / f);
    bench_row(work, floor_text, own_text, ratio, limit);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static void remove_directory(void)
{
    if (getpid() == directory_owner)
        (void)nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

const char *bench_directory(void)
{
    if (directory[0])
        return directory;
    _cleanup_free_ char *here = getcwd(NULL, 0);
    (void)snprintf(directory, sizeof(directory), "%s/bench-XXXXXX", here ? here : ".");
    if (!mkdtemp(directory)) {
        directory[0] = '\0';
        bench_fail("cannot make a directory here: %s", strerror(errno));
    }
    directory_owner = getpid();
    (void)atexit(remove_directory);
    return directory;
}

static char *path_of(const char *name)
{
    char *path;

    if (asprintf(&path, "%s/%s", bench_directory(), name) < 0)
        bench_fail("no memory");
    return path;
}

struct census *bench_census(void)
{
    static struct census *census;

    if (!census)
        census = census_new();
    if (!census)
        bench_fail("no memory");
    return census;
}

void bench_become(uid_t uid)
{
    if (setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
        _exit(EXIT_FAILURE);
}

static void *sleep_for_ever(void *nothing)
{
    for (;;)
        (void)pause();
    return nothing;
}

pid_t bench_start_victim(uid_t uid)
{
    int pipe_fds[2];
    char ready;
    pid_t pid;

    if (pipe2(pipe_fds, O_CLOEXEC) < 0 || (pid = fork()) < 0)
        bench_fail("fork: %s", strerror(errno));
    if (pid == 0) {
        pthread_t thread;

        bench_become(uid);
        for (unsigned i = 1; i < VICTIM_THREADS; i++)
            if (pthread_create(&thread, NULL, sleep_for_ever, NULL) != 0)
                _exit(EXIT_FAILURE);
        if (write(pipe_fds[1], "", 1) != 1)
            _exit(EXIT_FAILURE);
        (void)sleep_for_ever(NULL);
    }
    (void)close(pipe_fds[1]);
    if (read(pipe_fds[0], &ready, 1) != 1)
        bench_fail("the victim does not run");
    (void)close(pipe_fds[0]);
    return pid;
}

void bench_mount_places(void)
{
    static const char *const places[] = {"/tmp", "/var/tmp", "/dev/shm"};
    char path[64];

    for (size_t i = 0; i < ELEMENTS_OF(places); i++)
        if (mount("bench", places[i], "tmpfs", MS_NODEV | MS_NOSUID, "mode=1777") < 0 &&
            errno != ENOENT)
            bench_fail("%s: %s", places[i], strerror(errno));
    for (unsigned i = 0; i < FILES; i++) {
        (void)snprintf(path, sizeof(path), "/tmp/file-%u", i);
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0)
            bench_fail("%s: %s", path, strerror(errno));
        (void)close(fd);
    }
}

void bench_ledger(struct allocator *a, const char *name, enum uidpool_policy policy)
{
    _cleanup_free_ char *path = path_of(name);
    struct uidpool_pool pool = {
        .name = "bench",
        .base = BENCH_UID_FIRST,
        .size = BENCH_POOL_SIZE,
        .policy = policy,
        .gid = BENCH_UID_FIRST,
    };
    struct problem p = {0};

    *a = (struct allocator){.census = bench_census()};
    bench_check(ledger_open(path, LEDGER_CREATE, &a->ledger, &p), &p, "ledger");
    bench_check(ledger_begin(a->ledger, &p), &p, "begin");
    bench_check(ledger_pool_insert(a->ledger, &pool, &p), &p, "pool");
    bench_check(ledger_commit(a->ledger, &p), &p, "commit");
}

void bench_end_lease(struct ledger *l, const struct uidpool_lease *of)
{
    struct uidpool_lease lease = *of;
    struct problem p = {0};

    bench_check(ledger_begin(l, &p), &p, "begin");
    bench_check(lease_step(l, &lease, LEASE_EVENT_RELEASE, NULL, 0, &p), &p, "release");
    struct evidence evidence = {
        .uids = lease_range(&lease),
        .lease = lease.id,
        .step = lease.step,
        .scan = WITNESS_EMPTY,
        .census = WITNESS_EMPTY,
    };
    bench_check(ledger_evidence_insert(l, &evidence, &p), &p, "evidence");
    bench_check(lease_step(l, &lease, LEASE_EVENT_PROVEN, NULL, 0, &p), &p, "proven");
    bench_check(lease_step(l, &lease, LEASE_EVENT_RESTED, NULL, 0, &p), &p, "rested");
    bench_check(ledger_commit(l, &p), &p, "commit");
}

void bench_warm_ledger(struct allocator *a)
{
    struct problem p = {0};

    for (unsigned i = 0; i < WARM_CYCLES; i++) {
        struct uidpool_lease lease = {
            .uid = BENCH_UID_FIRST + BENCH_POOL_SIZE - 1,
            .gid = BENCH_UID_FIRST,
            .count = 1,
            .pool_id = BENCH_UID_FIRST,
            .domid = BENCH_POOL_SIZE - 1,
        };

        bench_check(ledger_begin(a->ledger, &p), &p, "begin");
        bench_check(lease_step(a->ledger, &lease, LEASE_EVENT_GRANT, NULL, 0, &p), &p, "grant");
        bench_check(ledger_commit(a->ledger, &p), &p, "commit");
        bench_end_lease(a->ledger, &lease);
    }
}

struct bare {
    sqlite3 *db;
    sqlite3_stmt *begin, *insert, *commit;
};

static void bare_run(struct bare *b, sqlite3_stmt *stmt)
{
    if (sqlite3_step(stmt) != SQLITE_DONE)
        bench_fail("bare SQLite: %s", sqlite3_errmsg(b->db));
    sqlite3_reset(stmt);
}

struct bare *bare_open(const char *name)
{
    static const char setup[] =
        "PRAGMA page_size = 4096; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
        "CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, value INTEGER NOT NULL) STRICT;";
    _cleanup_free_ char *path = path_of(name);
    struct bare *b = calloc(1, sizeof(*b));

    if (!b)
        bench_fail("no memory");
    if (sqlite3_open_v2(path, &b->db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK ||
        sqlite3_busy_timeout(b->db, 60000) != SQLITE_OK ||
        sqlite3_db_config(b->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL) != SQLITE_OK ||
        sqlite3_exec(b->db, setup, NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(b->db, "BEGIN IMMEDIATE", -1, &b->begin, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(b->db, "INSERT INTO t (value) VALUES (7)", -1, &b->insert, NULL) !=
            SQLITE_OK ||
        sqlite3_prepare_v2(b->db, "COMMIT", -1, &b->commit, NULL) != SQLITE_OK)
        bench_fail("bare SQLite: %s", sqlite3_errmsg(b->db));
    return b;
}

void bare_close(struct bare *b)
{
    sqlite3_finalize(b->begin);
    sqlite3_finalize(b->insert);
    sqlite3_finalize(b->commit);
    sqlite3_close_v2(b->db);
    free(b);
}

void bare_warm(struct bare *b)
{
    for (unsigned i = 0; i < BARE_WARM_COMMITS; i++)
        bare_commit(b);
}

void bare_commit(struct bare *b)
{
    bare_run(b, b->insert);
}

void bare_begin(struct bare *b)
{
    bare_run(b, b->begin);
}

void bare_insert_and_end(struct bare *b)
{
    bare_run(b, b->insert);
    bare_run(b, b->commit);
}
