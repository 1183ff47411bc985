/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The daemon's side of uidpool-xenwatch: started, started again when it has died or shows no sign
 * of life, each time later, and ended with us. What it says is passed on (xenwatch.h). */
#ifndef DAEMON_XENHELPER_H
#define DAEMON_XENHELPER_H

#include "allocator/daemon/xenwatch.h"

#include <systemd/sd-event.h>

struct xenhelper;

/* Called from the loop. None may free the helper. */
struct xenhelper_calls {
    void (*began)(void *userdata); /* a new one, which knows nothing yet */
    void (*said)(const struct xenwatch_message *m, void *userdata);
    void (*ended)(void *userdata); /* what it said is history */
};

/* `path` of the program, and of xenstored's socket, or NULL; both must outlive it. It is started
 * from the loop. 0 or a negative errno. */
int xenhelper_new(sd_event *event, const char *path, const char *socket,
                  const struct xenhelper_calls *calls, void *userdata, struct xenhelper **ret);
/* NULL is allowed. */
void xenhelper_free(struct xenhelper *h);

/* `fd` or -1 goes along. 0, or a negative errno: -ENOTCONN if none runs now; -EAGAIN if it does not
 * listen, as when the store hangs. */
int xenhelper_send(struct xenhelper *h, const struct xenwatch_message *m, int fd);

#endif
