/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Choosing a reaper uid that is nobody else's, starting the helper that kills under it, and killing
 * by pidfd the few that it cannot reach. Touches /run/uidpool/reaper.lock and the name services.
 */
#include "allocator/reaper.h"

#include "allocator/scan.h"
#include "build_config.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/ids.h"
#include "common/lockfile.h"
#include "common/pathsafe.h"
#include "common/spawn.h"

#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>

#define REAPER_ACCOUNT "uidpool-reaper"
#define LOCK_DIRECTORY "/run/uidpool"
#define LOCK_PATH LOCK_DIRECTORY "/reaper.lock"

/* Microseconds for which an answer of the name services serves. */
#define ACCOUNTS_LAST (60 * USEC_PER_SEC)

#define HELPER_PATH UIDPOOL_HELPER_DIR "/uidpool-reap"

/*
 * False if there is no such account, and also if the name services cannot tell. Both ways the
 * ledger's uids serve, which are outside of everybody's range, and the census has the last word
 * on whether one of them is in use.
 */
static bool account_find(const char *name, uid_t *ret)
{
    char buffer[16384];
    struct passwd entry, *found = NULL;

    if (getpwnam_r(name, &entry, buffer, sizeof(buffer), &found) != 0 || !found)
        return false;
    *ret = found->pw_uid;
    return true;
}

/* True, and asked again only in a minute: whoever asks is to ask now. */
static bool is_due(int64_t *until)
{
    int64_t now = clock_monotonic_usec();

    if (*until > now)
        return false;
    *until = now + ACCOUNTS_LAST;
    return true;
}

/* The uids that libxl's own reaper and device models run as: it kills the first, we the others.
 * In its range mode a device model has the uid range-base + domid. */
static void libxl_find_uids(struct reaper_accounts *of)
{
    static const struct {
        const char *name;
        uint32_t count;
    } accounts[] = {
        {"xen-qemuuser-reaper", 1},
        {"xen-qemuuser-shared", 1},
        {"xen-qemuuser-range-base", DOMID_LAST + 1},
    };

    if (!is_due(&of->libxl_until))
        return;
    of->n_libxl = 0;
    for (size_t i = 0; i < ELEMENTS_OF(accounts); i++) {
        struct uid_range *range = &of->libxl[of->n_libxl];

        if (account_find(accounts[i].name, &range->first)) {
            range->count = accounts[i].count;
            of->n_libxl++;
        }
    }
}

static bool libxl_has(const struct reaper_accounts *of, uid_t uid)
{
    for (size_t i = 0; i < of->n_libxl; i++)
        if (uid_range_has(of->libxl[i], uid))
            return true;
    return false;
}

struct pool_search {
    uid_t uid;
    bool found;
};

static bool pool_has(const struct uidpool_pool *pool, void *userdata)
{
    struct pool_search *search = userdata;

    search->found = uid_range_has((struct uid_range){pool->base, pool->size}, search->uid);
    return !search->found;
}

/* Refuse a uid that cannot kill, or that a lease may have. `what` names it in the message. */
static enum uidpool_status reaper_judge(struct ledger *l, uid_t uid, const char *what,
                                        struct problem *p)
{
    struct pool_search search = {.uid = uid};
    enum uidpool_status status;

    if (!uid_is_usable(uid))
        return problem_set(p, UIDPOOL_CONFLICT, "%s has the uid %u, which cannot be a reaper: %s",
                           what, uid, "give it an unprivileged uid of its own");
    status = ledger_pool_each(l, pool_has, &search, p);
    if (status != UIDPOOL_OK)
        return status;
    if (search.found)
        return problem_set(p, UIDPOOL_CONFLICT,
                           "%s has the uid %u, which lies within a pool: give it one outside of "
                           "every pool",
                           what, uid);
    return UIDPOOL_OK;
}

/* Which uids may be the reaper: the account's, alone, or the ledger's. */
static enum uidpool_status find_candidates(struct ledger *l, struct reaper_accounts *accounts,
                                           struct uid_range *ret, const char **ret_what,
                                           struct problem *p)
{
    struct uid_range found = {.count = 1};
    enum uidpool_status status;

    if (is_due(&accounts->reaper_until))
        accounts->has_reaper = account_find(REAPER_ACCOUNT, &accounts->reaper);
    found.first = accounts->reaper;
    *ret_what = "the account " REAPER_ACCOUNT;
    if (!accounts->has_reaper) {
        *ret_what = "the ledger's reaper";
        status = ledger_reaper_range(l, &found.first, &found.count, p);
        if (status != UIDPOOL_OK)
            return status;
    }
    *ret = found;
    return UIDPOOL_OK;
}

/* Others may look into the directory, whatever the caller's umask: the daemon's socket is in it. */
static enum uidpool_status open_lock(int *ret, struct problem *p)
{
    static const char *const no_suffix[] = {NULL};
    char why[512];
    int r = 0;

    if (mkdir(LOCK_DIRECTORY, 0755) == 0)
        r = chmod(LOCK_DIRECTORY, 0755) < 0 ? -errno : 0;
    else if (errno != EEXIST)
        r = -errno;
    if (r < 0)
        return problem_errno(p, r, "cannot make " LOCK_DIRECTORY);
    r = path_check_safe(LOCK_PATH, no_suffix, why, sizeof(why));
    if (r == -EPERM)
        return problem_set(p, UIDPOOL_FAILED, "%s", why);
    if (r == 0)
        r = lockfile_open(LOCK_PATH);
    if (r < 0)
        return problem_errno(p, r, "cannot open " LOCK_PATH);
    *ret = r;
    return UIDPOOL_OK;
}

enum uidpool_status reaper_take(struct ledger *l, struct reaper_accounts *accounts, uid_t after,
                                struct reaper *ret, struct problem *p)
{
    _cleanup_fd_ int lock = -1;
    struct uid_range candidates;
    enum uidpool_status status;
    const char *what;
    uint32_t skip;

    status = find_candidates(l, accounts, &candidates, &what, p);
    if (status == UIDPOOL_OK)
        status = open_lock(&lock, p);
    if (status != UIDPOOL_OK)
        return status;
    skip = uid_range_has(candidates, after) ? after - candidates.first + 1 : 0;
    for (uint32_t i = 0; i < candidates.count; i++) {
        uid_t uid = candidates.first + (i + skip) % candidates.count;
        int r;

        status = reaper_judge(l, uid, what, p);
        if (status != UIDPOOL_OK)
            return status;
        r = lockfile_try(lock, (off_t)uid, 1);
        if (r < 0 && r != -EAGAIN)
            return problem_errno(p, r, "cannot lock the reaper uid %u in " LOCK_PATH, uid);
        if (r == 0) {
            *ret = (struct reaper){.uid = uid, .lock_fd = take_fd(&lock)};
            return UIDPOOL_OK;
        }
    }
    *ret = (struct reaper){.uid = UIDPOOL_NO_UID, .lock_fd = -1};
    return UIDPOOL_OK;
}

enum uidpool_status reaper_check(struct reaper_accounts *accounts, const struct reaper *r,
                                 struct problem *p)
{
    libxl_find_uids(accounts);
    if (libxl_has(accounts, r->uid))
        return problem_set(p, UIDPOOL_CONFLICT,
                           "the reaper has the uid %u, which libxl uses for its own reaper or "
                           "device models: give the account " REAPER_ACCOUNT " another one",
                           r->uid);
    return UIDPOOL_OK;
}

int reaper_start(const struct reaper *r, struct uid_range pool, struct uid_range target,
                 const int *claim_fds, size_t n_claim_fds)
{
    char reaper_option[32], pool_option[48], target_argument[32];
    char *argv[] = {(char[]){"uidpool-reap"}, reaper_option, pool_option, target_argument, NULL};
    int keep[1 + REAPER_CLAIMS_MAX] = {r->lock_fd};

    if (n_claim_fds > REAPER_CLAIMS_MAX)
        return -E2BIG;
    memcpy(keep + 1, claim_fds, n_claim_fds * sizeof(*claim_fds));
    (void)snprintf(reaper_option, sizeof(reaper_option), "--reaper=%u", r->uid);
    (void)snprintf(pool_option, sizeof(pool_option), "--pool=%u+%u", pool.first, pool.count);
    (void)snprintf(target_argument, sizeof(target_argument), "%u+%u", target.first, target.count);
    return spawn_helper(HELPER_PATH, argv, keep, 1 + n_claim_fds);
}

int reaper_finish(int pidfd)
{
    int r = spawn_reap(pidfd);

    return r > 0 ? -EIO : r;
}

/*
 * May this process be killed for the sake of one of its tasks? Not where one of that task's or of
 * the leader's real, effective and saved uids is 0: that is a privileged server, or a program
 * setuid to root, which acts as this uid for a moment and as others in the next. Not for a file
 * system uid alone: the same.
 */
static bool may_be_killed(const struct scan_task *task, const struct scan_task *leader,
                          struct uid_range range)
{
    bool runs_as = false;

    for (size_t i = 0; i < 3; i++) {
        if (task->uids[i] == 0 || leader->uids[i] == 0)
            return false;
        runs_as = runs_as || uid_range_has(range, task->uids[i]);
    }
    return runs_as;
}

static bool has_uid_in(const struct scan_task *t, struct uid_range range)
{
    for (size_t i = 0; i < 4; i++)
        if (uid_range_has(range, t->uids[i]))
            return true;
    return false;
}

int reaper_kill_task(const struct scan_task *t, struct uid_range range)
{
    /* The pidfd first: what is seen below is then either this process, or a later one of the same
     * pid, and then the signal finds this one dead. By pid it would kill the later one. */
    _cleanup_fd_ int pidfd = pidfd_open(t->pid, 0);
    struct scan_task task, leader;
    int r;

    if (pidfd < 0)
        return -errno;
    r = scan_look(t->pid, t->tid, &task);
    if (r == 0)
        r = scan_look(t->pid, t->pid, &leader);
    if (r < 0)
        return r;
    if (task.state == 'Z' || !has_uid_in(&task, range))
        return -ESRCH;
    if (!may_be_killed(&task, &leader, range))
        return -EPERM;
    return pidfd_send_signal(pidfd, SIGKILL, NULL, 0) < 0 ? -errno : 0;
}
