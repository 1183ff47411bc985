/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The interface io.uidpool: what each method does with the allocator. The text of the interface,
 * io.uidpool.varlink, is the same that io.uidpool(7) shows. */
#ifndef DAEMON_METHODS_H
#define DAEMON_METHODS_H

#include "allocator/daemon/daemon.h"
#include "allocator/daemon/server.h"

/* What is served at RUNTIME-DIR/io.uidpool. Ends its subscriptions when freed. */
struct methods;
int methods_new(struct daemon *d, struct methods **ret);
/* The loop does not run any more; the server, whose calls they answer, has gone before. */
void methods_free(struct methods *m);
/* Give every call that would go on for long its last answer: before the server is drained. */
void methods_end_streams(struct methods *m);
const struct interface *methods_interface(const struct methods *m);

#endif
