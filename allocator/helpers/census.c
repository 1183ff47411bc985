/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * uidpool-census FIRST+COUNT ZOMBIES
 * uidpool-census FIRST+COUNT tally
 * uidpool-census serve
 *
 * Asks the kernel, for each uid FIRST .. FIRST+COUNT-1: has it exactly ZOMBIES tasks, in whichever
 * PID namespace? The kernel counts tasks by real uid, dead ones until they are reaped, and refuses
 * one more by EAGAIN when that exceeds the RLIMIT_NPROC of whoever forks. So a child that is one
 * task of the uid, with the limit 2 + N, may fork if and only if there are at most N others.
 *
 * MUST
 *  1. Take two arguments, in this order and form, or refuse.
 *  2. Start as root with all three ids, in the initial user namespace: the kernel counts for each
 *     user namespace apart.
 *  3. Ask from a child that has the uid as all three ids, no groups and no capability, read back:
 *     with CAP_SYS_RESOURCE or CAP_SYS_ADMIN the limit is not enforced. For several uids one child
 *     goes round: it keeps 0 as saved uid and CAP_SETUID, to come back, and nothing else; while it
 *     asks that is not effective, read back for each.
 *  4. Ask twice. With room for one other less the kernel must refuse. That shows that it enforces
 *     the limit here and now, and that there are not fewer zombies than were told.
 *  5. Leave nothing behind: the question is a fork that cannot succeed, the child dies with its
 *     parent, and is reaped before the answer is given.
 *  6. Take no word from the child that a process of the uid could have put into its mouth. They can
 *     kill and stop it: both mean BUSY. They cannot trace it, nor raise its limit above the hard
 *     one; those of one that goes round cannot touch its limits either, for its ids are not all
 *     theirs.
 *  7. Say EMPTY only by 0. Trouble of any kind is UNKNOWN.
 *
 * Misses tasks that have the uid as effective, saved or file system uid only, and tasks in a user
 * namespace that another uid made: these are charged to its maker. The scan sees them.
 *
 * Exit: 0 EMPTY, 1 BUSY (some uid has more), 2 refused its arguments, 3 UNKNOWN. With "tally",
 * which proves nothing and is for the record: how many tasks there are in all, 250 for so many and
 * more, 251 if it cannot be told, or was refused.
 *
 * To start a program costs ten times what the question does. So with "serve" it takes questions
 * until the socket that is its descriptor 3 ends: each is one message, the two arguments parted by
 * a blank, with descriptors: claims that are held until the answer is given, and last a pipe for
 * that: one byte, the exit status. A process of its own asks each, for one that somebody stopped
 * must not keep others waiting. No byte: UNKNOWN. With "tallies", of which the same is true as of
 * "tally", a byte for each uid.
 */
#include "allocator/helpers/helper.h"

#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum answer {
    ANSWER_EMPTY = 0,
    ANSWER_BUSY = 1,
    ANSWER_USAGE = 2,
    ANSWER_UNKNOWN = 3,
};

/* The same as CENSUS_PATIENCE_SEC of allocator/census.h, for one child. */
#define PATIENCE_MSEC 5000
/* Uids that one child asks about. */
#define ROUND_MAX 64

/* Of /proc/self/ns/user in the initial user namespace, fixed in the kernel (USER_NS_INIT_INO). */
#define USER_NS_INITIAL 0xEFFFFFFDu

/* An exit status has 8 bits. */
#define TALLY_MAX 250
#define TALLY_UNKNOWN 251

/* How to exit when something goes wrong: what cannot be told is no number. */
static int trouble = ANSWER_UNKNOWN;

static int unborn(void *nothing)
{
    (void)nothing;
    return 0;
}

/*
 * Would the kernel let us fork? Asked by a clone that fails in any case: it is told to write the
 * child's pidfd to address 0. EAGAIN: the limit came first. EFAULT: the limit let it pass. Nothing
 * is born that could be stopped, killed, or left over. That the limit comes first is the kernel's
 * habit and in no manual: MUST 4 sees it on each run. Should it succeed, which is trouble, the
 * child ends at once, on its own stack, before clone(2) returns.
 */
static bool may_fork(uid_t uid, rlim_t soft, rlim_t hard)
{
    static _Alignas(16) char stack[8192];
    struct rlimit limit = {.rlim_cur = soft, .rlim_max = hard};

    if (setrlimit(RLIMIT_NPROC, &limit) < 0)
        fail(trouble, "uid %u: RLIMIT_NPROC: %s", uid, strerror(errno));
    if (clone(unborn, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, NULL,
              NULL) >= 0)
        fail(trouble, "uid %u: the clone that must fail succeeded", uid);
    if (errno != EAGAIN && errno != EFAULT)
        fail(trouble, "uid %u: clone: %s", uid, strerror(errno));
    return errno == EFAULT;
}

/*
 * Not to be traced, and to die with the helper: MUST 5 and 6. Each change of the effective uid
 * undoes both, so the effective uid goes first and the others, by which the uid's processes may
 * signal us, last: there is no moment at which they could stop a child that nobody would miss.
 */
static void change_uids(uid_t uid, uid_t saved, pid_t parent)
{
    int death = 0;

    if (setresuid(0, uid, 0) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0 ||
        prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        fail(trouble, "uid %u: cannot become it: %s", uid, strerror(errno));
    if (getppid() != parent)
        _exit(trouble);
    if (setresuid(uid, uid, saved) < 0)
        fail(trouble, "uid %u: cannot become it: %s", uid, strerror(errno));
    if (prctl(PR_GET_DUMPABLE) != 0 || prctl(PR_GET_PDEATHSIG, &death) < 0 || death != SIGKILL)
        fail(trouble, "uid %u: the child would be traceable, or outlive its parent", uid);
}

/* MUST 3. The hard limit is set while that is still allowed. */
static void become(uid_t uid, rlim_t hard, pid_t parent)
{
    struct rlimit limit = {.rlim_cur = hard, .rlim_max = hard};
    bool no_effective = false, no_permitted = false;
    gid_t r, e, s;

    if (setrlimit(RLIMIT_NPROC, &limit) < 0)
        fail(trouble, "uid %u: RLIMIT_NPROC: %s", uid, strerror(errno));
    if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0)
        fail(trouble, "uid %u: cannot become it: %s", uid, strerror(errno));
    change_uids(uid, uid, parent);
    if (!owns_three_ids(uid, uid, uid) || getresgid(&r, &e, &s) < 0 || r != uid || e != uid ||
        s != uid || getgroups(0, NULL) != 0)
        fail(trouble, "uid %u: the ids are not those that were set", uid);
    if (!read_capabilities(&no_effective, &no_permitted) || !no_effective || !no_permitted)
        fail(trouble, "uid %u: capabilities are left", uid);
}

/* MUST 4, by a task of the uid. */
static enum answer put_question(uid_t uid, uint64_t zombies)
{
    rlim_t hard = 2 + zombies;

    if (may_fork(uid, hard - 1, hard)) {
        if (zombies == 0)
            fail(trouble, "uid %u: RLIMIT_NPROC is not enforced", uid);
        return ANSWER_UNKNOWN; /* some were reaped since they were counted: no news */
    }
    return may_fork(uid, hard, hard) ? ANSWER_EMPTY : ANSWER_BUSY;
}

/* The child: MUST 3 to 6. */
static _Noreturn void ask(uid_t uid, uint64_t zombies, pid_t parent)
{
    become(uid, 2 + zombies, parent);
    _exit((int)put_question(uid, zombies));
}

/* What goes round keeps the one capability that it needs to come back. */
static void keep_setuid_alone(uid_t gid, rlim_t hard)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct set[_LINUX_CAPABILITY_U32S_3] = {
        {.effective = 1u << CAP_SETUID, .permitted = 1u << CAP_SETUID}};
    struct rlimit limit = {.rlim_cur = hard, .rlim_max = hard};

    if (setrlimit(RLIMIT_NPROC, &limit) < 0)
        fail(trouble, "RLIMIT_NPROC: %s", strerror(errno));
    if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 ||
        syscall(SYS_capset, &header, set) < 0)
        fail(trouble, "cannot give up groups and capabilities: %s", strerror(errno));
}

/* One uid of those that a child goes round. MUST 3 and 6. */
static void become_for_now(uid_t uid, pid_t parent)
{
    bool no_effective = false, no_permitted;

    change_uids(uid, 0, parent);
    if (!owns_three_ids(uid, uid, 0))
        fail(trouble, "uid %u: the ids are not those that were set", uid);
    if (!read_capabilities(&no_effective, &no_permitted) || !no_effective)
        fail(trouble, "uid %u: capabilities are left", uid);
}

static void come_back(uid_t uid)
{
    if (setresuid(0, 0, 0) < 0)
        fail(trouble, "uid %u: cannot come back: %s", uid, strerror(errno));
}

/* The child for several uids: MUST 3 to 6. One fork is dearer than twenty uids. */
static _Noreturn void ask_each(struct uid_range range, uint64_t zombies, pid_t parent)
{
    keep_setuid_alone(range.first, 2 + zombies);
    for (uint32_t i = 0; i < range.count; i++) {
        enum answer answer;

        become_for_now(range.first + i, parent);
        answer = put_question(range.first + i, zombies);
        if (answer != ANSWER_EMPTY)
            _exit((int)answer);
        come_back(range.first + i);
    }
    _exit(ANSWER_EMPTY);
}

/* By halves, by a task of the uid. */
static unsigned count_others(uid_t uid)
{
    unsigned least = 0, most = TALLY_MAX;

    while (least < most) {
        unsigned middle = (least + most) / 2;

        if (may_fork(uid, 2 + middle, 2 + TALLY_MAX))
            most = middle;
        else
            least = middle + 1;
    }
    return least;
}

/* The child that counts. */
static _Noreturn void tally(uid_t uid, pid_t parent)
{
    become(uid, 2 + TALLY_MAX, parent);
    _exit((int)count_others(uid));
}

/* The same for several. Whoever kills it keeps those behind him from being counted. */
static _Noreturn void tally_each(struct uid_range range, unsigned char *counts, pid_t parent)
{
    keep_setuid_alone(range.first, 2 + TALLY_MAX);
    for (uint32_t i = 0; i < range.count; i++) {
        become_for_now(range.first + i, parent);
        counts[i] = (unsigned char)count_others(range.first + i);
        come_back(range.first + i);
    }
    _exit(EXIT_SUCCESS);
}

/* Wait until it ends or patience does; then it was stopped, and whoever stopped it is alive. */
static void wait_or_kill(pid_t child)
{
    struct pollfd p = {.fd = pidfd_open(child, 0), .events = POLLIN};
    int n;

    if (p.fd < 0)
        fail(trouble, "pidfd_open: %s", strerror(errno));
    n = poll(&p, 1, PATIENCE_MSEC);
    if (n < 1 && pidfd_send_signal(p.fd, SIGKILL, NULL, 0) < 0)
        fail(trouble, "pidfd_send_signal: %s", strerror(errno));
    (void)close(p.fd);
}

/* Run a child for one uid or several, for zombies or a tally of one. Its exit status; -1: it was
 * kept from an answer. */
static int run_child(struct uid_range range, bool tallying, uint64_t zombies)
{
    int status;
    pid_t parent = getpid(), child = fork();

    if (child < 0)
        fail(trouble, "uid %u: fork: %s", range.first, strerror(errno));
    if (child == 0 && tallying)
        tally(range.first, parent);
    if (child == 0 && range.count > 1)
        ask_each(range, zombies, parent);
    if (child == 0)
        ask(range.first, zombies, parent);
    wait_or_kill(child);
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            fail(trouble, "uid %u: waitpid: %s", range.first, strerror(errno));
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* MUST 6 and 7: a child that said nothing was kept from it by somebody who lives. */
static enum answer count(struct uid_range range, uint64_t zombies)
{
    while (range.count > 0) {
        struct uid_range some = {range.first, range.count < ROUND_MAX ? range.count : ROUND_MAX};

        switch (run_child(some, false, zombies)) {
        case ANSWER_EMPTY:
            break;
        case ANSWER_BUSY:
        case -1:
            return ANSWER_BUSY;
        default:
            return ANSWER_UNKNOWN;
        }
        range.first += some.count;
        range.count -= some.count;
    }
    return ANSWER_EMPTY;
}

static int count_all(struct uid_range range)
{
    int all = 0;

    for (uint32_t i = 0; i < range.count && all < TALLY_MAX; i++) {
        int tasks = run_child((struct uid_range){range.first + i, 1}, true, 0);

        if (tasks < 0 || tasks > TALLY_MAX)
            return TALLY_UNKNOWN;
        all += tasks;
    }
    return all < TALLY_MAX ? all : TALLY_MAX;
}

/* A byte for each, of at most ROUND_MAX. */
static void tell_each(struct uid_range range, int to)
{
    unsigned char *counts =
        mmap(NULL, ROUND_MAX, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t parent = getpid(), child;

    if (counts == MAP_FAILED)
        fail(trouble, "mmap: %s", strerror(errno));
    memset(counts, TALLY_UNKNOWN, ROUND_MAX);
    child = fork();
    if (child < 0)
        fail(trouble, "uid %u: fork: %s", range.first, strerror(errno));
    if (child == 0)
        tally_each(range, counts, parent);
    wait_or_kill(child);
    while (waitpid(child, NULL, 0) < 0)
        if (errno != EINTR)
            fail(trouble, "uid %u: waitpid: %s", range.first, strerror(errno));
    if (write(to, counts, range.count) != (ssize_t)range.count)
        _exit(trouble);
}

/* MUST 2. */
static void check_caller(void)
{
    struct stat st;

    if (!owns_three_ids(0, 0, 0))
        fail(trouble, "refused: real, effective and saved uid must all be 0");
    if (stat("/proc/self/ns/user", &st) < 0)
        fail(trouble, "/proc/self/ns/user: %s", strerror(errno));
    if (st.st_ino != USER_NS_INITIAL)
        fail(trouble, "refused: this is not the initial user namespace");
}

/* One question, in words. The answer is what to exit with. */
static int answer(const char *range_text, const char *what)
{
    struct uid_range range;
    uint64_t zombies = 0;
    bool tallying = strcmp(what, "tally") == 0;
    int usage = tallying ? TALLY_UNKNOWN : ANSWER_USAGE;

    if (!read_range(range_text, &range))
        fail(usage, "refused: '%s' is no range of usable uids", range_text);
    if (!tallying && parse_u64(what, INT32_MAX, &zombies) < 0)
        fail(usage, "refused: '%s' is no number of tasks", what);
    if (tallying)
        trouble = TALLY_UNKNOWN;
    check_caller();
    /* With SIGCHLD ignored the kernel would reap the child, and its answer be lost. */
    (void)signal(SIGCHLD, SIG_DFL);
    return tallying ? count_all(range) : (int)count(range, zombies);
}

/*
 * Serving.
 */

#define SERVE_FD 3
#define QUESTION_MAX 64
/* The same as CENSUS_CLAIMS_MAX of allocator/census.h. */
#define CLAIMS_MAX 32

struct question {
    char text[QUESTION_MAX];
    int fds[CLAIMS_MAX + 1]; /* claims, and last where to answer */
    size_t n_fds;
};

/* How many descriptors came; fewer than two or more than there may be: the question is none. */
static size_t count_fds(const struct msghdr *message)
{
    const struct cmsghdr *header = CMSG_FIRSTHDR(message);
    size_t size;

    if (message->msg_flags & (MSG_TRUNC | MSG_CTRUNC) || !header ||
        header->cmsg_type != SCM_RIGHTS || header->cmsg_len < CMSG_LEN(0))
        return 0;
    size = header->cmsg_len - CMSG_LEN(0);
    return size % sizeof(int) == 0 && size <= sizeof(int) * (CLAIMS_MAX + 1) ? size / sizeof(int)
                                                                             : 0;
}

/* False: that was the last one. */
static bool receive(struct question *q)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(q->fds))];
    } control = {0};
    struct iovec data = {q->text, sizeof(q->text) - 1};
    struct msghdr message = {
        .msg_iov = &data,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };
    ssize_t n;

    do
        n = recvmsg(SERVE_FD, &message, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n == 0)
        return false;
    q->n_fds = n > 0 ? count_fds(&message) : 0;
    if (q->n_fds < 2)
        fail(ANSWER_UNKNOWN, "a question that is none");
    q->text[n] = '\0';
    memcpy(q->fds, CMSG_DATA(&control.header), q->n_fds * sizeof(int));
    return true;
}

/* As answer(), but for the form. */
static _Noreturn void answer_tallies(const char *range_text, int to)
{
    struct uid_range range;

    trouble = TALLY_UNKNOWN;
    if (!read_range(range_text, &range) || range.count > ROUND_MAX)
        fail(trouble, "refused: '%s' is no range of up to %d usable uids", range_text, ROUND_MAX);
    check_caller();
    (void)signal(SIGCHLD, SIG_DFL);
    tell_each(range, to);
    _exit(EXIT_SUCCESS);
}

/* The process that asks one question. It keeps the claims, and a socket of nobody. */
static _Noreturn void ask_and_tell(struct question *q)
{
    char *what = strchr(q->text, ' ');
    unsigned char byte;

    (void)close(SERVE_FD);
    if (!what)
        fail(ANSWER_USAGE, "a question of one word");
    *what++ = '\0';
    if (strcmp(what, "tallies") == 0)
        answer_tallies(q->text, q->fds[q->n_fds - 1]);
    byte = (unsigned char)answer(q->text, what);
    if (write(q->fds[q->n_fds - 1], &byte, sizeof(byte)) != (ssize_t)sizeof(byte))
        _exit(ANSWER_UNKNOWN);
    _exit(byte);
}

static int serve(void)
{
    struct question q;

    check_caller();
    /* Nobody waits for those who ask: their answer is what they write. */
    if (signal(SIGCHLD, SIG_IGN) == SIG_ERR)
        fail(ANSWER_UNKNOWN, "signal: %s", strerror(errno));
    while (receive(&q)) {
        pid_t pid = fork();

        if (pid == 0)
            ask_and_tell(&q);
        if (pid < 0)
            warnx("fork: %s", strerror(errno));
        for (size_t i = 0; i < q.n_fds; i++)
            (void)close(q.fds[i]);
    }
    return 0;
}

int main(int argc, char *argv[])
{
    if (argc == 2 && strcmp(argv[1], "serve") == 0)
        return serve();
    if (argc != 3)
        fail(argc > 2 && strcmp(argv[2], "tally") == 0 ? TALLY_UNKNOWN : ANSWER_USAGE,
             "usage: uidpool-census {FIRST+COUNT {ZOMBIES|tally} | serve}");
    return answer(argv[1], argv[2]);
}
