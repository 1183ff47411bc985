/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* uidpoold: from the command line to the loop, and down again. */
#include "allocator/daemon/options.h"
#include "common/log.h"
#include "common/startup.h"

#include <unistd.h>

int main(int argc, char **argv)
{
    enum uidpool_status status;
    struct options o;
    bool run = false;

    if (startup_open_descriptors() < 0 || startup_ignore_sigpipe() < 0)
        return UIDPOOL_FAILED;
    log_set_name("uidpoold");
    status = options_read(argc, argv, &o, &run);
    if (run && (getuid() != 0 || geteuid() != 0)) {
        log_error("this needs root, for the ledger and to see every process");
        status = UIDPOOL_NOT_PERMITTED;
    }
    if (startup_flush_output() < 0 && status == UIDPOOL_OK)
        status = UIDPOOL_FAILED;
    return (int)status;
}
