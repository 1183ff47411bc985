/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A start that failed on sockets that were passed. Whoever has connected there waits, and would
 * have us started again at once, and again, until whoever starts us gives up for good. So they are
 * told why, for a while, and only then is the failure a failure.
 */
#ifndef DAEMON_UNUSABLE_H
#define DAEMON_UNUSABLE_H

#include "allocator/daemon/activation.h"
#include "common/problem.h"

/* Longer than five starts in ten seconds and twelve in a minute take, which is where systemd gives
 * up: by its own default, and by our unit. */
#define UNUSABLE_SEC 6

/* Answer every call with what is wrong, for UNUSABLE_SEC or until SIGTERM or SIGINT, which must be
 * blocked. The sockets are closed afterwards. Nothing to do if none was passed. */
void unusable_serve(struct activation *passed, const struct problem *why);

#endif
