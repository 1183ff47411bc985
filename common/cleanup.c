/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the cleanup attributes call and a header cannot hold. Touches nothing but the descriptor it
 * is given.
 */
#include "common/cleanup.h"

#include <errno.h>

int close_fd(int fd)
{
    int saved = errno;

    /* Linux frees the descriptor whatever close(2) answers: never retried. */
    if (fd >= 0)
        (void)close(fd);
    errno = saved;
    return -1;
}
