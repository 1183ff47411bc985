/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * uidpool-reap --reaper=UID --pool=FIRST+COUNT FIRST+COUNT
 *
 * Sends SIGKILL to every process that runs as one of the uids FIRST .. FIRST+COUNT-1, and to nobody
 * else. The kernel chooses whom: kill(-1) is one pass under the lock of the task list, in which a
 * fork cannot slip through, and it is bounded by the permissions of whoever sends. So this program
 * is about one thing: to have given up everything but the target's uid before it sends.
 *
 * MUST
 *  1. Take three arguments, in this order and form, or refuse. No default, no option, no
 *     environment, no file.
 *  2. Refuse as target uid 0, nobody, 65535, 2^31 and above, the reaper, and whatever lies outside
 *     of the pool it was told; refuse as reaper the same, and a uid within the pool.
 *  3. Start as root with all three ids, or refuse: a half-privileged caller may come out with
 *     other ids than it asked for.
 *  4. Refuse while secure bits keep capabilities over a change of ids, or with ambient ones.
 *  5. For each target fork a child that goes down once and never comes back up: nothing that was a
 *     target's uid is ever root again.
 *  6. There drop all groups, set the three gids, set the uids real = reaper, effective = target,
 *     saved = 0 - and read all of it back, with the capabilities. Whatever is not exactly right:
 *     refuse, and signal nobody. With one capability too many kill(-1) ends the whole machine.
 *  7. Say 0 only if the signal was sent for every target. That proves no death: kill(2) says
 *     success even when every single process refused it. The scan and the census prove.
 *
 * Refused, the weaker ways:
 *  - as root, pid by pid: a process that forks faster than we read wins, and a pid that was reused
 *    meanwhile kills a stranger.
 *  - real = target: the target could kill us first, by its real uid. So could it were the saved uid
 *    its own. Hence a reaper uid that nobody else runs as.
 *  - real = 0: root is nobody's target here, but kill(-1) would then reach processes of uid 0.
 *  - trusting setresuid(2) to have dropped the capabilities: with SECBIT_NO_SETUID_FIXUP it
 *    succeeds and keeps them.
 *
 * Exit: 0 sent for every target, 1 failed or refused to run, 2 refused its arguments.
 */
#include "allocator/helpers/helper.h"

#include <grp.h>
#include <linux/securebits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define EXIT_USAGE 2

struct order {
    uid_t reaper;
    struct uid_range pool;
    struct uid_range target;
};

/* What stands behind `option` in `argument`, or a refusal. */
static const char *value_of(const char *argument, const char *option)
{
    size_t length = strlen(option);

    if (strncmp(argument, option, length) != 0)
        fail(EXIT_USAGE, "refused: expected %s..., got '%s'", option, argument);
    return argument + length;
}

/* MUST 1 and 2. */
static struct order read_order(int argc, char *argv[])
{
    struct order o;

    if (argc != 4)
        fail(EXIT_USAGE, "usage: uidpool-reap --reaper=UID --pool=FIRST+COUNT FIRST+COUNT");
    if (parse_uid(value_of(argv[1], "--reaper="), &o.reaper) < 0)
        fail(EXIT_USAGE, "refused: '%s' names no usable uid", argv[1]);
    if (!read_range(value_of(argv[2], "--pool="), &o.pool))
        fail(EXIT_USAGE, "refused: '%s' is no range of usable uids", argv[2]);
    if (!read_range(argv[3], &o.target))
        fail(EXIT_USAGE, "refused: '%s' is no range of usable uids", argv[3]);
    if (!uid_range_has(o.pool, o.target.first) || !uid_range_has(o.pool, uid_range_last(o.target)))
        fail(EXIT_USAGE, "refused: target %s is not within pool %s", argv[3], argv[2]);
    if (uid_range_has(o.pool, o.reaper) || uid_range_has(o.target, o.reaper))
        fail(EXIT_USAGE, "refused: the reaper %u is itself in the pool", o.reaper);
    return o;
}

/* True also if it cannot be told. The kernel says EINVAL behind its last capability. */
static bool has_ambient_capability(void)
{
    for (unsigned long capability = 0; capability < 64; capability++) {
        int r = prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, capability, 0, 0);

        if (r != 0)
            return r > 0 || errno != EINVAL || capability == 0;
    }
    return false;
}

/* MUST 3 and 4. */
static void check_caller(void)
{
    int bits = prctl(PR_GET_SECUREBITS);

    if (!owns_three_ids(0, 0, 0))
        fail(EXIT_FAILURE, "refused: real, effective and saved uid must all be 0");
    if (bits < 0 || bits & (SECBIT_NO_SETUID_FIXUP | SECBIT_KEEP_CAPS))
        fail(EXIT_FAILURE, "refused: the secure bits (%#x) keep capabilities", (unsigned)bits);
    if (has_ambient_capability())
        fail(EXIT_FAILURE, "refused: there are ambient capabilities");
}

/* MUST 6, the read-back. */
static void check_powerless(uid_t reaper, uid_t target)
{
    bool no_effective = false, no_permitted;
    gid_t r, e, s;

    if (!owns_three_ids(reaper, target, 0))
        fail(EXIT_FAILURE, "refused for uid %u: the uids are not those that were set", target);
    if (getresgid(&r, &e, &s) < 0 || r != reaper || e != reaper || s != reaper)
        fail(EXIT_FAILURE, "refused for uid %u: the gids are not those that were set", target);
    if (getgroups(0, NULL) != 0)
        fail(EXIT_FAILURE, "refused for uid %u: supplementary groups are left", target);
    if (!read_capabilities(&no_effective, &no_permitted) || !no_effective)
        fail(EXIT_FAILURE, "refused for uid %u: effective capabilities are left", target);
    if (has_ambient_capability())
        fail(EXIT_FAILURE, "refused for uid %u: ambient capabilities are left", target);
}

/* MUST 6, the child. */
static _Noreturn void reap(uid_t reaper, uid_t target)
{
    if (setgroups(0, NULL) < 0)
        fail(EXIT_FAILURE, "uid %u: setgroups: %s", target, strerror(errno));
    if (setresgid(reaper, reaper, reaper) < 0)
        fail(EXIT_FAILURE, "uid %u: setresgid: %s", target, strerror(errno));
    if (setresuid(reaper, target, 0) < 0)
        fail(EXIT_FAILURE, "uid %u: setresuid: %s", target, strerror(errno));
    check_powerless(reaper, target);
    /* ESRCH: there is no other process at all that could be told. */
    if (kill(-1, SIGKILL) < 0 && errno != ESRCH)
        fail(EXIT_FAILURE, "uid %u: kill: %s", target, strerror(errno));
    _exit(EXIT_SUCCESS);
}

/* MUST 5. A child that failed has said why; one that was killed cannot. */
static void reap_in_child(uid_t reaper, uid_t target)
{
    int status;
    pid_t child = fork();

    if (child < 0)
        fail(EXIT_FAILURE, "uid %u: fork: %s", target, strerror(errno));
    if (child == 0)
        reap(reaper, target);
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            fail(EXIT_FAILURE, "uid %u: waitpid: %s", target, strerror(errno));
    if (WIFSIGNALED(status))
        fail(EXIT_FAILURE, "uid %u: somebody killed the child that kills (signal %d)", target,
             WTERMSIG(status));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != EXIT_SUCCESS)
        _exit(EXIT_FAILURE);
}

int main(int argc, char *argv[])
{
    struct order o = read_order(argc, argv);

    check_caller();
    /* With SIGCHLD ignored the kernel would reap the children, and their answers be lost. */
    (void)signal(SIGCHLD, SIG_DFL);
    /* Against a fork bomb the wait is for a processor, not for the kill. Ignoring a failure. */
    (void)setpriority(PRIO_PROCESS, 0, -20);
    for (uint32_t i = 0; i < o.target.count; i++)
        reap_in_child(o.reaper, o.target.first + i);
    return EXIT_SUCCESS;
}
