/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the daemon's rooms share: one event loop, one open ledger with its allocator, and each
 * other. main.c makes it, from the ground up, and takes it down the other way round. */
#ifndef DAEMON_DAEMON_H
#define DAEMON_DAEMON_H

#include "allocator/allocator.h"

#include <systemd/sd-event.h>

struct revocations;
struct follow;

struct daemon {
    sd_event *event;
    struct allocator allocator; /* attached to the loop */
    struct revocations *revocations;
    struct follow *follow;
};

#endif
