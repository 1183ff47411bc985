/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One daemon a ledger, and one ledger a daemon: that nobody else serves it, and that it is still
 * the one that was opened. */
#ifndef DAEMON_INSTANCE_H
#define DAEMON_INSTANCE_H

#include "common/clock.h"
#include "common/problem.h"

#include <systemd/sd-event.h>

struct instance;

/* A daemon that is killed while it starts a helper lives on in that for a moment: the helper has
 * its lock and its sockets until it has executed. Who is started again at once waits so long before
 * it believes in another daemon, looking so often. */
#define INSTANCE_GRACE_USEC (2 * USEC_PER_SEC)
#define INSTANCE_LOOK_USEC (20 * USEC_PER_MSEC)

/* Lock LEDGER.daemon, in which our pid and our socket stand for whoever comes next. The ledger has
 * been opened. UIDPOOL_CONFLICT names the daemon that has it. */
enum uidpool_status instance_new(const char *ledger, const char *socket, struct instance **ret,
                                 struct problem *p);
/* NULL is allowed. */
void instance_free(struct instance *i);

/* `replaced` is called from the loop, once, with the first path of the ledger, its lock file and
 * LEDGER.daemon that does not lead any more to what was opened: what is written from now on would
 * be in nobody's ledger, or beside another daemon. 0 or a negative errno. */
int instance_watch(struct instance *i, sd_event *event,
                   void (*replaced)(const char *path, void *userdata), void *userdata);

#endif
