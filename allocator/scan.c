/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The scan: which tasks have one of these uids? Reads /proc and nothing else; changes nothing,
 * signals nobody. Whatever it could not look at makes its answer UNKNOWN.
 */
#include "allocator/scan.h"

#include "common/cleanup.h"
#include "common/ids.h"
#include "common/log.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

/* The root of every procfs has this inode; a directory of one that is mounted over /proc has not.
 */
#define PROC_ROOT_INODE 1
/* Enough for nearly every status; one with many supplementary groups is read in more steps. */
#define STATUS_SIZE 4096
/* 65,536 groups of eleven bytes each fit (NGROUPS_MAX). What is longer is no status. */
#define STATUS_MAX (1024u * 1024u)
/* How often the list of a process's threads is read while some of them die. */
#define LIST_TRIES 8

struct text {
    char *data;
    size_t size;
};

struct scan {
    DIR *proc;
    struct uid_range *ranges;
    size_t n_ranges;
    uid_t lowest, highest; /* of all ranges: nearly every task is outside, by two comparisons */
    struct scan_task *tasks;
    size_t n_tasks, n_allocated;
    uint32_t looked;
    bool done;
    struct text text;
    char blind[128];
};

static void text_free(struct text *t)
{
    free(t->data);
    t->data = NULL;
}

static int text_grow(struct text *t, size_t size)
{
    char *data;

    if (size > STATUS_MAX)
        return -EFBIG;
    data = realloc(t->data, size);
    if (!data)
        return -ENOMEM;
    t->data = data;
    t->size = size;
    return 0;
}

/* The first reason stays: the later ones often follow from it. */
static void __attribute__((format(printf, 2, 3))) go_blind(struct scan *s, const char *format, ...)
{
    va_list arguments;

    if (s->blind[0])
        return;
    va_start(arguments, format);
    (void)vsnprintf(s->blind, sizeof(s->blind), format, arguments);
    va_end(arguments);
}

/* Open below /proc without crossing a mount: a file system on top of /proc/PID hides the process
 * and answers in its name (-EXDEV). */
static int open_below(int dir, const char *path, uint64_t flags)
{
    struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = RESOLVE_NO_XDEV};
    long fd = syscall(SYS_openat2, dir, path, &how, sizeof(how));

    return fd < 0 ? -errno : (int)fd;
}

/* ENOENT: gone before the file was opened. ESRCH: gone between that and the read. */
static bool is_gone(int r)
{
    return r == -ENOENT || r == -ESRCH;
}

/* A snapshot: procfs makes the whole text at the first read and hands it out in pieces. */
static int read_all(int dir, const char *path, struct text *t)
{
    _cleanup_fd_ int fd = open_below(dir, path, O_RDONLY);
    size_t length = 0;

    if (fd < 0)
        return fd;
    for (;;) {
        ssize_t n = read(fd, t->data + length, t->size - 1 - length);
        int r;

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        length += (size_t)n;
        if (n == 0 || length < t->size - 1)
            break;
        r = text_grow(t, t->size * 4);
        if (r < 0)
            return r;
    }
    t->data[length] = '\0';
    return 0;
}

/* What stands behind "\nKEY:\t" up to the end of its line. comm is the first line and has its
 * newlines escaped by the kernel, so that no process can forge a later one. */
static const char *find_line(const char *text, const char *key, size_t *ret_length)
{
    const char *at = strstr(text, key);

    if (!at)
        return NULL;
    at += strlen(key);
    *ret_length = strcspn(at, "\n");
    return at;
}

/* Four uids with tabs between; 32 bits each, (uid_t)-1 does not occur. */
static int parse_uids(const char *line, size_t length, uid_t ret[static 4])
{
    char copy[64];
    char *rest = copy;
    uid_t uids[4];

    if (length >= sizeof(copy))
        return -EBADMSG;
    memcpy(copy, line, length);
    copy[length] = '\0';
    for (size_t i = 0; i < 4; i++) {
        char *word = strsep(&rest, "\t");
        uint64_t value;

        if (parse_u64(word, UINT32_MAX - 1, &value) < 0)
            return -EBADMSG;
        uids[i] = (uid_t)value;
    }
    if (rest)
        return -EBADMSG;
    memcpy(ret, uids, sizeof(uids));
    return 0;
}

/* Absent, or a number that is none, is 0 to the caller: it then lists the threads itself. */
static unsigned parse_threads(const char *text)
{
    char copy[16];
    size_t length;
    const char *line = find_line(text, "\nThreads:\t", &length);
    uint64_t value;

    if (!line || length >= sizeof(copy))
        return 0;
    memcpy(copy, line, length);
    copy[length] = '\0';
    if (parse_u64(copy, INT32_MAX, &value) < 0)
        return 0;
    return (unsigned)value;
}

int scan_parse_status(const char *text, struct scan_task *ret, unsigned *ret_threads)
{
    static const char name_key[] = "Name:\t";
    char name[sizeof(ret->command)];
    const char *line;
    size_t length;
    uid_t uids[4];

    if (strncmp(text, name_key, strlen(name_key)) != 0)
        return -EBADMSG;
    text += strlen(name_key);
    length = strcspn(text, "\n");
    if (length >= sizeof(name))
        length = sizeof(name) - 1;
    memcpy(name, text, length);
    name[length] = '\0';

    line = find_line(text, "\nUid:\t", &length);
    if (!line || parse_uids(line, length, uids) < 0)
        return -EBADMSG;
    line = find_line(text, "\nState:\t", &length);
    if (!line || length == 0)
        return -EBADMSG;

    ret->state = line[0];
    memcpy(ret->uids, uids, sizeof(uids));
    text_sanitize(ret->command, sizeof(ret->command), name);
    *ret_threads = parse_threads(text);
    return 0;
}

/* Is the descriptor the root of a procfs, and of our own PID namespace? Pids of another one mean
 * other processes, or none, to pidfd_open(2). */
static const char *judge_proc(int fd)
{
    struct statfs fs;
    struct stat st;
    char self[16], expected[16];
    ssize_t n;

    if (fstatfs(fd, &fs) < 0 || fs.f_type != PROC_SUPER_MAGIC)
        return "/proc is not procfs";
    if (fstat(fd, &st) < 0 || st.st_ino != PROC_ROOT_INODE)
        return "/proc is a part of procfs only";
    n = readlinkat(fd, "self", self, sizeof(self));
    (void)snprintf(expected, sizeof(expected), "%d", getpid());
    if (n != (ssize_t)strlen(expected) || memcmp(self, expected, (size_t)n) != 0)
        return "/proc shows another PID namespace";
    return NULL;
}

/* In a user namespace that maps some uids alone all others read as 65534. */
static bool sees_every_uid(int proc, struct text *t)
{
    static const char *const identity[] = {"0", "0", "4294967295"};
    char *rest = t->data;

    if (read_all(proc, "self/uid_map", t) < 0)
        return false;
    for (size_t i = 0; i < ELEMENTS_OF(identity); i++) {
        rest += strspn(rest, " ");
        if (strcmp(strsep(&rest, i < 2 ? " " : "\n"), identity[i]) != 0 || !rest)
            return false;
    }
    return *rest == '\0';
}

/* hidepid= hides from everyone who may not trace. The program that we are part of may use
 * libcap-ng itself: give its state back. */
static bool may_trace(void)
{
    void *saved = capng_save_state();
    bool may = capng_get_caps_process() == 0 &&
               capng_have_capability(CAPNG_EFFECTIVE, CAP_SYS_PTRACE) != 0;

    capng_restore_state(&saved);
    return may;
}

static void judge_sight(struct scan *s)
{
    const char *why = judge_proc(dirfd(s->proc));

    if (why)
        go_blind(s, "%s", why);
    else if (!sees_every_uid(dirfd(s->proc), &s->text))
        go_blind(s, "this user namespace does not show every uid");
    else if (!may_trace())
        go_blind(s, "without CAP_SYS_PTRACE /proc may hide processes");
}

static int open_proc(void)
{
    int fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

static int copy_ranges(struct scan *s, const struct uid_range *ranges, size_t n_ranges)
{
    if (n_ranges == 0)
        return -EINVAL;
    s->ranges = calloc(n_ranges, sizeof(*ranges));
    if (!s->ranges)
        return -ENOMEM;
    s->lowest = UID_END;
    for (size_t i = 0; i < n_ranges; i++) {
        if (!uid_range_is_usable(ranges[i].first, ranges[i].count))
            return -EINVAL;
        s->ranges[i] = ranges[i];
        if (s->lowest > ranges[i].first)
            s->lowest = ranges[i].first;
        if (s->highest < uid_range_last(ranges[i]))
            s->highest = uid_range_last(ranges[i]);
    }
    s->n_ranges = n_ranges;
    return 0;
}

static void scan_freep(struct scan **s)
{
    scan_free(*s);
}

int scan_new(const struct uid_range *ranges, size_t n_ranges, struct scan **ret)
{
    _cleanup_(scan_freep) struct scan *s = calloc(1, sizeof(*s));
    _cleanup_fd_ int fd = -1;
    int r;

    if (!s)
        return -ENOMEM;
    r = copy_ranges(s, ranges, n_ranges);
    if (r == 0)
        r = text_grow(&s->text, STATUS_SIZE);
    if (r < 0)
        return r;
    fd = open_proc();
    if (fd < 0)
        return fd;
    s->proc = fdopendir(fd);
    if (!s->proc)
        return -errno;
    (void)take_fd(&fd);
    judge_sight(s);
    *ret = take_ptr(s);
    return 0;
}

void scan_free(struct scan *s)
{
    if (!s)
        return;
    if (s->proc)
        closedir(s->proc);
    text_free(&s->text);
    free(s->ranges);
    free(s->tasks);
    free(s);
}

static bool is_asked_for(const struct scan *s, const struct scan_task *t)
{
    for (size_t i = 0; i < 4; i++) {
        if (t->uids[i] < s->lowest || t->uids[i] > s->highest)
            continue;
        for (size_t j = 0; j < s->n_ranges; j++)
            if (uid_range_has(s->ranges[j], t->uids[i]))
                return true;
    }
    return false;
}

/* Tasks of one process stand together; one that is looked at twice is kept once, as last seen. */
static int keep_task(struct scan *s, const struct scan_task *t)
{
    for (size_t i = s->n_tasks; i > 0 && s->tasks[i - 1].pid == t->pid; i--)
        if (s->tasks[i - 1].tid == t->tid) {
            s->tasks[i - 1] = *t;
            return 0;
        }
    if (s->n_tasks == s->n_allocated) {
        size_t n = s->n_allocated ? s->n_allocated * 2 : 16;
        struct scan_task *tasks = reallocarray(s->tasks, n, sizeof(*tasks));

        if (!tasks)
            return -ENOMEM;
        s->tasks = tasks;
        s->n_allocated = n;
    }
    s->tasks[s->n_tasks++] = *t;
    return 0;
}

/* Read one status. 0, or a negative errno of which is_gone() are harmless. */
static int look(int dir, const char *path, struct text *text, struct scan_task *ret,
                unsigned *ret_threads)
{
    int r = read_all(dir, path, text);

    if (r < 0)
        return r;
    return scan_parse_status(text->data, ret, ret_threads);
}

static int count_task(struct scan *s, const struct scan_task *t)
{
    s->looked++;
    return is_asked_for(s, t) ? keep_task(s, t) : 0;
}

/* How far a list of threads was read, and whether one of them died meanwhile. */
struct listing {
    pid_t pid;
    int dir;
    int64_t position;
    bool died;
};

static int look_at_thread(struct scan *s, struct listing *l, pid_t tid)
{
    struct scan_task t = {.pid = l->pid, .tid = tid};
    unsigned threads;
    char path[32];
    int r;

    (void)snprintf(path, sizeof(path), "%d/status", tid);
    r = look(l->dir, path, &s->text, &t, &threads);
    if (r == 0)
        return count_task(s, &t);
    if (!is_gone(r))
        return r;
    l->died = true;
    return 0;
}

/* One buffer full of the list. A gap in the positions is a thread that died before it was listed.
 */
static int look_at_entries(struct scan *s, struct listing *l, const char *buffer, size_t length)
{
    const struct dirent64 *entry;

    for (size_t at = 0; at < length; at += entry->d_reclen) {
        uint64_t tid;
        int r = 0;

        entry = (const void *)(buffer + at);
        if (entry->d_off != l->position + 1)
            l->died = true;
        l->position = entry->d_off;
        if (parse_u64(entry->d_name, INT32_MAX, &tid) == 0)
            r = look_at_thread(s, l, (pid_t)tid);
        if (r < 0)
            return r;
    }
    return 0;
}

static int list_threads(struct scan *s, pid_t pid, bool *ret_died)
{
    _Alignas(struct dirent64) char buffer[32768];
    struct listing l = {.pid = pid};
    _cleanup_fd_ int dir = -1;
    char path[32];

    (void)snprintf(path, sizeof(path), "%d/task", pid);
    l.dir = dir = open_below(dirfd(s->proc), path, O_RDONLY | O_DIRECTORY);
    if (dir < 0)
        return dir;
    for (;;) {
        ssize_t n = getdents64(dir, buffer, sizeof(buffer));
        int r;

        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        r = look_at_entries(s, &l, buffer, (size_t)n);
        if (r < 0)
            return r;
    }
    *ret_died = l.died;
    return 0;
}

/*
 * Every thread of one process. The kernel goes on from a thread to the next, and where the thread
 * died under it ends the list, or goes on by counting, which leaves out as many as have died
 * (fs/proc/base.c, proc_task_readdir()). So the list is complete only if nobody died meanwhile,
 * and is read again if somebody did. What was seen once counts. After so many times that is
 * accepted: not to answer would let any process keep all uids from being proven, by threads that
 * come and go.
 */
static int look_at_every_thread(struct scan *s, pid_t pid)
{
    uint32_t looked = s->looked;
    bool died = true;
    int r = 0;

    for (unsigned i = 0; i < LIST_TRIES && r == 0 && died; i++) {
        s->looked = looked;
        r = list_threads(s, pid, &died);
    }
    return r;
}

static void look_at_process(struct scan *s, pid_t pid)
{
    struct scan_task t = {.pid = pid, .tid = pid};
    unsigned threads;
    char path[32];
    int r;

    (void)snprintf(path, sizeof(path), "%d/status", pid);
    r = look(dirfd(s->proc), path, &s->text, &t, &threads);
    /*
     * One thread: the leader, whose status this was, is the only task, and one file is opened
     * instead of three. The number is of all tasks not yet reaped, so that a dead leader with
     * live threads says more than one. It is 0 when the leader went away while its text was made,
     * which also happens when another thread executes a program and takes over its pid.
     */
    if (r == 0 && threads == 1)
        r = count_task(s, &t);
    else if (r == 0)
        r = look_at_every_thread(s, pid);
    if (r == -EXDEV)
        go_blind(s, "something is mounted over a part of /proc/%d", pid);
    else if (r < 0 && !is_gone(r))
        go_blind(s, "/proc/%d: %s", pid, strerrordesc_np(-r));
}

int scan_step(struct scan *s, unsigned max_processes)
{
    while (!s->done && max_processes > 0) {
        struct dirent *entry;
        uint64_t pid;

        errno = 0;
        entry = readdir(s->proc);
        if (!entry) {
            if (errno != 0)
                go_blind(s, "/proc: %s", strerrordesc_np(errno));
            s->done = true;
        } else if (parse_u64(entry->d_name, INT32_MAX, &pid) == 0) {
            look_at_process(s, (pid_t)pid);
            max_processes--;
        }
    }
    return s->done ? 0 : 1;
}

size_t scan_tasks(const struct scan *s, const struct scan_task **ret)
{
    *ret = s->tasks;
    return s->n_tasks;
}

uint32_t scan_looked(const struct scan *s)
{
    return s->looked;
}

const char *scan_blind(const struct scan *s)
{
    return s->blind[0] ? s->blind : NULL;
}

/* Did scan_new() hear of every uid of this range? Nobody looked for the others. */
static bool was_asked_for(const struct scan *s, struct uid_range range)
{
    for (size_t i = 0; i < s->n_ranges; i++)
        if (uid_range_has(s->ranges[i], range.first) &&
            uid_range_has(s->ranges[i], uid_range_last(range)))
            return true;
    return false;
}

enum witness scan_answer(const struct scan *s, struct uid_range range)
{
    if (range.count == 0 || !was_asked_for(s, range))
        return WITNESS_UNKNOWN;
    for (size_t i = 0; i < s->n_tasks; i++)
        for (size_t j = 0; j < 4 && s->tasks[i].state != 'Z'; j++)
            if (uid_range_has(range, s->tasks[i].uids[j]))
                return WITNESS_BUSY;
    return s->done && !s->blind[0] ? WITNESS_EMPTY : WITNESS_UNKNOWN;
}

int scan_look(pid_t pid, pid_t tid, struct scan_task *ret)
{
    _cleanup_(text_free) struct text text = {0};
    _cleanup_fd_ int proc = open_proc();
    struct scan_task t = {.pid = pid, .tid = tid};
    unsigned threads;
    char path[48];
    int r;

    if (proc < 0)
        return proc;
    if (judge_proc(proc))
        return -EXDEV;
    r = text_grow(&text, STATUS_SIZE);
    if (r < 0)
        return r;
    (void)snprintf(path, sizeof(path), "%d/task/%d/status", pid, tid);
    r = look(proc, path, &text, &t, &threads);
    if (r < 0)
        return is_gone(r) ? -ESRCH : r;
    *ret = t;
    return 0;
}
