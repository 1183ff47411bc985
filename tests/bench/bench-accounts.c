/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Accounts for every domid, against the floor of writing and syncing the same bytes of the same
 * four files, and beside the tools that make accounts otherwise. Whole processes are timed, ours
 * and the floor in turns, each on a fresh tree. Newusers, useradd and adduser get a copy of this
 * host's /etc, in a mount namespace of this program's own, and numbers that they can finish.
 */
#include "tests/bench/bench.h"

#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define BASE UINT32_C(2113929216)
#define ALL BENCH_POOL_SIZE
#define ROUNDS 15
#define PEER_ROUNDS 5
#define SOME 100
#define FEW 30

static const char *const files[] = {"group", "gshadow", "passwd", "shadow"};
#define FILES (sizeof(files) / sizeof(files[0]))

extern char **environ;

/* Nanoseconds. */
struct cost {
    struct samples wall, cpu;
};

static void cost_clear(struct cost *c)
{
    samples_clear(&c->wall);
    samples_clear(&c->cpu);
}

static int64_t nanoseconds(struct timeval t)
{
    return (int64_t)t.tv_sec * 1000000000 + (int64_t)t.tv_usec * 1000;
}

/* PATH_MAX bytes are enough for all of these. */
static char *path_of(char ret[static PATH_MAX], const char *tree, const char *name)
{
    if (snprintf(ret, PATH_MAX, "%s/%s", tree, name) >= PATH_MAX)
        bench_fail("the path is too long");
    return ret;
}

/* What the last program said, for when it fails: some of them say a line for each account. */
#define SAID "said"

static _Noreturn void fail_with_what_it_said(const char *program, const char *said)
{
    char text[4096] = "";
    FILE *file = fopen(said, "re");

    if (file) {
        text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
        (void)fclose(file);
    }
    bench_fail("%s failed: %s", program, text);
}

/* Run it to its end. Adds to both numbers. */
static void run(const char *const argv[], int64_t *wall, int64_t *cpu)
{
    posix_spawn_file_actions_t actions;
    char said[PATH_MAX];
    struct rusage usage;
    int64_t begin;
    int status;
    pid_t pid;

    (void)path_of(said, bench_directory(), SAID);
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    (void)posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    (void)posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, said,
                                           O_WRONLY | O_CREAT | O_TRUNC, 0600);
    begin = bench_now();
    errno = posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)argv, environ);
    if (errno || wait4(pid, &status, 0, &usage) != pid)
        bench_fail("%s: %s", argv[0], strerror(errno));
    *wall += bench_now() - begin;
    *cpu += nanoseconds(usage.ru_utime) + nanoseconds(usage.ru_stime);
    if (status)
        fail_with_what_it_said(argv[0], said);
    (void)posix_spawn_file_actions_destroy(&actions);
}

static void measure(const char *const argv[], struct cost *c)
{
    int64_t wall = 0, cpu = 0;

    sync();
    run(argv, &wall, &cpu);
    samples_add(&c->wall, wall);
    samples_add(&c->cpu, cpu);
}

static FILE *create(const char *tree, const char *name)
{
    char path[PATH_MAX];
    FILE *file;

    file = fopen(path_of(path, tree, name), "we");
    if (!file)
        bench_fail("%s: %s", path, strerror(errno));
    return file;
}

static void close_file(FILE *file)
{
    if (fclose(file) != 0)
        bench_fail("cannot write: %s", strerror(errno));
}

static void write_file(const char *tree, const char *name, const char *text)
{
    FILE *file = create(tree, name);

    (void)fputs(text, file);
    close_file(file);
}

static void make_directories(const char *tree)
{
    static const char *const names[] = {"",        "etc", "etc/uidpool", "var",
                                        "var/lib", "usr", "usr/lib",     "usr/lib/sysusers.d"};
    char path[PATH_MAX];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (mkdir(path_of(path, tree, names[i]), 0755) < 0)
            bench_fail("%s: %s", path, strerror(errno));
}

static void write_configuration(const char *tree, uint32_t size, const char *accounts)
{
    FILE *file = create(tree, "etc/uidpool/uidpool.conf");

    (void)fprintf(file,
                  "[pool bench]\nBase=%u\nSize=%u\nGroup=per-uid\nAccounts=%s\n"
                  "Prefix=xen-qemuuser\n",
                  BASE, size, accounts);
    close_file(file);
}

/* A tree with a few accounts, where our configuration and that of sysusers want `accounts` more. */
static void make_tree(char ret[static PATH_MAX], uint32_t accounts)
{
    static unsigned number;
    FILE *file;

    if (snprintf(ret, PATH_MAX, "%s/tree-%u", bench_directory(), number++) >= PATH_MAX)
        bench_fail("the path is too long");
    make_directories(ret);
    write_file(ret, "etc/passwd",
               "root:x:0:0:root:/root:/bin/sh\n"
               "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n");
    write_file(ret, "etc/shadow", "root:*:19700::::::\nnobody:*:19700::::::\n");
    write_file(ret, "etc/group", "root:x:0:\nshadow:x:42:\nnogroup:x:65534:\n");
    write_file(ret, "etc/gshadow", "root:*::\nshadow:*::\nnogroup:*::\n");
    write_file(ret, "etc/login.defs", "SYS_UID_MIN 100\nSYS_UID_MAX 999\n");
    write_configuration(ret, accounts, "per-domid");
    file = create(ret, "usr/lib/sysusers.d/bench.conf");
    for (uint32_t i = 0; i < accounts; i++)
        (void)fprintf(file, "u xen-qemuuser-domid%u %u\n", i, BASE + i);
    close_file(file);
}

static void measure_ours(const char *tree, struct cost *c)
{
    char root[PATH_MAX + 16];
    const char *const argv[] = {"../../provision/uidpool-provision", root, "apply", NULL};

    (void)snprintf(root, sizeof(root), "--root=%s", tree);
    measure(argv, c);
}

static void measure_ours_anew(uint32_t accounts, struct cost *c)
{
    char tree[PATH_MAX];

    make_tree(tree, accounts);
    measure_ours(tree, c);
}

/* Where the pool is there already, and with it the ledger: the accounts alone. */
static void measure_ours_of_pool(struct cost *c)
{
    struct cost ignored = {0};
    char tree[PATH_MAX];

    make_tree(tree, ALL);
    write_configuration(tree, ALL, "none");
    measure_ours(tree, &ignored);
    cost_clear(&ignored);
    write_configuration(tree, ALL, "per-domid");
    measure_ours(tree, c);
}

static void measure_sysusers(struct cost *c)
{
    char tree[PATH_MAX], root[PATH_MAX + 16];
    const char *const argv[] = {"systemd-sysusers", root, NULL};

    make_tree(tree, ALL);
    (void)snprintf(root, sizeof(root), "--root=%s", tree);
    measure(argv, c);
}

/* The floor: the four files of `from` replace those of `to`. */
static void write_synced(int from, int to, const char *name, const char *temporary)
{
    _cleanup_fd_ int in = openat(from, name, O_RDONLY | O_CLOEXEC);
    _cleanup_fd_ int out = openat(to, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    struct stat st;
    char *bytes;

    if (in < 0 || out < 0 || fstat(in, &st) < 0)
        bench_fail("%s: %s", name, strerror(errno));
    bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, in, 0);
    if (bytes == MAP_FAILED || write(out, bytes, (size_t)st.st_size) != st.st_size ||
        fsync(out) < 0)
        bench_fail("%s: %s", name, strerror(errno));
    (void)munmap(bytes, (size_t)st.st_size);
}

/* A process of its own, as the work is one. */
static int floor_main(const char *from, const char *to)
{
    _cleanup_fd_ int in = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_fd_ int out = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char temporary[FILES][16];

    for (size_t i = 0; i < FILES; i++) {
        (void)snprintf(temporary[i], sizeof(temporary[i]), "%s.new", files[i]);
        write_synced(in, out, files[i], temporary[i]);
    }
    for (size_t i = 0; i < FILES; i++)
        if (renameat(out, temporary[i], out, files[i]) < 0)
            bench_fail("%s: %s", files[i], strerror(errno));
    if (fsync(out) < 0)
        bench_fail("%s: %s", to, strerror(errno));
    return EXIT_SUCCESS;
}

static void measure_floor(const char *done, struct cost *c)
{
    char tree[PATH_MAX], from[PATH_MAX], to[PATH_MAX];
    const char *const argv[] = {"/proc/self/exe", "--floor", from, to, NULL};

    make_tree(tree, 0);
    path_of(from, done, "etc");
    path_of(to, tree, "etc");
    measure(argv, c);
}

static bool installed(const char *program)
{
    char command[64];
    const char *const argv[] = {"sh", "-c", command, NULL};
    pid_t pid;
    int status;

    (void)snprintf(command, sizeof(command), "command -v %s >/dev/null", program);
    if (posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)argv, environ) != 0 ||
        waitpid(pid, &status, 0) != pid)
        bench_fail("sh: %s", strerror(errno));
    if (status)
        bench_row(program, "-", "-", "-", "-");
    return status == 0;
}

static void row(const char *work, struct cost *floor, struct cost *own, const char *limit)
{
    char text[96];

    (void)snprintf(text, sizeof(text), "%s, time", work);
    bench_row_samples(text, &floor->wall, &own->wall, limit);
    (void)snprintf(text, sizeof(text), "%s, processor", work);
    bench_row_samples(text, &floor->cpu, &own->cpu, limit);
}

static void measure_all(struct cost *own)
{
    struct cost floor = {0}, of_pool = {0}, again = {0}, quarter = {0}, sysusers = {0};
    bool peer = installed("systemd-sysusers");
    char done[PATH_MAX];

    make_tree(done, ALL);
    measure_ours(done, &again);
    cost_clear(&again);
    for (unsigned i = 0; i < ROUNDS; i++) {
        measure_floor(done, &floor);
        measure_ours_anew(ALL, own);
        measure_ours_of_pool(&of_pool);
        measure_ours_anew(ALL / 4, &quarter);
        measure_ours(done, &again);
        if (peer && i < PEER_ROUNDS)
            measure_sysusers(&sysusers);
    }
    row("32752 accounts", &floor, own, "2");
    row("    in a pool that the ledger has", &floor, &of_pool, "2");
    row("    a quarter of them, and all", &quarter, own, "4");
    row("    the same again, nothing to do", &floor, &again, "-");
    if (peer)
        row("    systemd-sysusers", &sysusers, own, "0.20");
    cost_clear(&floor);
    cost_clear(&of_pool);
    cost_clear(&again);
    cost_clear(&quarter);
    cost_clear(&sysusers);
}

/* From here on this program, and what it starts, has an /etc of its own, on the same disk. */
static void enter_private_etc(void)
{
    char etc[PATH_MAX];
    const char *const argv[] = {"cp", "-a", "/etc", etc, NULL};
    int64_t ignored = 0;

    path_of(etc, bench_directory(), "etc");
    run(argv, &ignored, &ignored);
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount(etc, "/etc", NULL, MS_BIND, NULL) < 0)
        bench_fail("no /etc of our own: %s", strerror(errno));
}

static void run_newusers(int64_t *wall, int64_t *cpu)
{
    char list[PATH_MAX];
    const char *const argv[] = {"newusers", list, NULL};
    FILE *file = create(bench_directory(), "newusers");

    for (uint32_t i = 0; i < SOME; i++)
        (void)fprintf(file, "bench-n%u:x:%u:%u::/:/usr/sbin/nologin\n", i, BASE + i, BASE + i);
    close_file(file);
    (void)path_of(list, bench_directory(), "newusers");
    run(argv, wall, cpu);
}

static void run_useradd(int64_t *wall, int64_t *cpu)
{
    char name[32], uid[16];
    const char *const argv[] = {"useradd",           "-l", "-M", "-U", "-u", uid, "-s",
                                "/usr/sbin/nologin", name, NULL};

    for (uint32_t i = 0; i < SOME; i++) {
        (void)snprintf(name, sizeof(name), "bench-u%u", i);
        (void)snprintf(uid, sizeof(uid), "%u", BASE + SOME + i);
        run(argv, wall, cpu);
    }
}

static void run_adduser(int64_t *wall, int64_t *cpu)
{
    char name[32];
    const char *const argv[] = {"adduser",          "--system", "--quiet", "--group",
                                "--no-create-home", name,       NULL};

    for (uint32_t i = 0; i < FEW; i++) {
        (void)snprintf(name, sizeof(name), "bench-a%u", i);
        run(argv, wall, cpu);
    }
}

static void beside(const char *program, uint32_t accounts, void (*run_peer)(int64_t *, int64_t *))
{
    struct cost own = {0}, peer = {0};
    int64_t wall = 0, cpu = 0;
    char work[64];

    if (!installed(program))
        return;
    for (unsigned i = 0; i < PEER_ROUNDS; i++)
        measure_ours_anew(accounts, &own);
    run_peer(&wall, &cpu);
    samples_add(&peer.wall, wall);
    samples_add(&peer.cpu, cpu);
    (void)snprintf(work, sizeof(work), "    %u accounts, %s", accounts, program);
    row(work, &peer, &own, "-");
    cost_clear(&own);
    cost_clear(&peer);
}

int main(int argc, char *argv[])
{
    struct cost own = {0};

    if (argc == 4 && strcmp(argv[1], "--floor") == 0)
        return floor_main(argv[2], argv[3]);
    (void)umask(022);
    measure_all(&own);
    cost_clear(&own);
    enter_private_etc();
    beside("newusers", SOME, run_newusers);
    beside("useradd", SOME, run_useradd);
    beside("adduser", FEW, run_adduser);
    return EXIT_SUCCESS;
}
