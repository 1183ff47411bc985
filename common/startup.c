/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How a command begins and ends. Touches descriptors 0 to 2 and one signal's disposition. */
#include "common/startup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>

int startup_open_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF &&
            open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
            return -EBADF;
    return 0;
}

int startup_ignore_sigpipe(void)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    return sigaction(SIGPIPE, &ignore, NULL) < 0 ? -errno : 0;
}

int startup_flush_output(void)
{
    static int error = 0;

    if (error == 0 && fflush(stdout) != 0)
        error = -errno;
    if (error == 0 && ferror(stdout))
        error = -EIO; /* an earlier write failed; nobody kept its errno */
    return error;
}
