/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The census, this side of the helper: starting it and understanding its exit status. The helper
 * itself, uidpool-census, is allocator/helpers/census.c.
 */
#include "allocator/census.h"

#include "build_config.h"
#include "common/cleanup.h"
#include "common/spawn.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>

#define HELPER_PATH UIDPOOL_HELPER_DIR "/uidpool-census"

/* The helper's exit statuses. Every other one is UNKNOWN. */
#define EXIT_EMPTY 0
#define EXIT_BUSY 1

static int start(struct uid_range range, char *what, int claim_fd)
{
    char range_argument[32];
    char *argv[] = {(char[]){"uidpool-census"}, range_argument, what, NULL};

    (void)snprintf(range_argument, sizeof(range_argument), "%u+%u", range.first, range.count);
    return spawn_helper(HELPER_PATH, argv, &claim_fd, 1);
}

int census_start(struct uid_range range, uint32_t zombies, int claim_fd)
{
    char zombies_argument[16];

    (void)snprintf(zombies_argument, sizeof(zombies_argument), "%u", zombies);
    return start(range, zombies_argument, claim_fd);
}

int census_tally_start(struct uid_range range, int claim_fd)
{
    return start(range, (char[]){"tally"}, claim_fd);
}

int census_tally_finish(int pidfd)
{
    int r = spawn_reap(pidfd);

    return r > CENSUS_TALLY_MAX ? -EIO : r;
}

enum witness census_finish(int pidfd)
{
    switch (spawn_reap(pidfd)) {
    case EXIT_EMPTY:
        return WITNESS_EMPTY;
    case EXIT_BUSY:
        return WITNESS_BUSY;
    default:
        return WITNESS_UNKNOWN;
    }
}

enum witness census_ask(struct uid_range range, uint32_t zombies, int claim_fd)
{
    _cleanup_fd_ int pidfd = census_start(range, zombies, claim_fd);
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    int n;

    if (pidfd < 0)
        return WITNESS_UNKNOWN;
    /* Without end: the helper has its own patience, and nobody but root can stop it. */
    do
        n = poll(&p, 1, -1);
    while (n < 0 && errno == EINTR);
    return n == 1 ? census_finish(pidfd) : WITNESS_UNKNOWN;
}
