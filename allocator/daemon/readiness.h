/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Telling whoever has started us that we serve, what we do, and that we are alive, in the way that
 * it understands. */
#ifndef DAEMON_READINESS_H
#define DAEMON_READINESS_H

#include "common/problem.h"

#include <systemd/sd-event.h>

enum readiness_kind {
    READINESS_AUTO,    /* notify, if NOTIFY_SOCKET is set; sigstop, if upstart says that we are its
                          job uidpoold (UPSTART_JOB); else none */
    READINESS_NOTIFY,  /* NOTIFY_SOCKET: systemd, start-stop-daemon --notify-await */
    READINESS_SIGSTOP, /* upstart, "expect stop" */
    READINESS_FD,      /* a newline on a descriptor, then close: s6, dinit, OpenRC */
};

struct readiness {
    enum readiness_kind kind;
    int fd; /* of READINESS_FD, else -1 */
};

/* "auto", "notify", "sigstop", "fd:N". 0 or -EINVAL. Pure. */
int readiness_parse(const char *text, struct readiness *ret);
/* First of all, before any file is opened, which could be given the number of READINESS_FD: decide
 * what AUTO means, and look whether it can be done. UIDPOOL_FAILED if it was asked for by name and
 * cannot. */
enum uidpool_status readiness_prepare(struct readiness *r, struct problem *p);
/* Once, when everything is served. UIDPOOL_FAILED if it was asked for by name and cannot be done.
 */
enum uidpool_status readiness_ready(struct readiness *r, struct problem *p);
/* No-ops where nobody listens. */
void readiness_status(const char *text);
void readiness_reloading(void);
/* The reloading is over. */
void readiness_reloaded(void);
void readiness_stopping(void);
/* Instead of being ready: it cannot start, so that nobody waits for it any longer. */
void readiness_failed(const struct problem *p);
/* Keep the watchdog of systemd content, as long as the loop runs. 0 or a negative errno. */
int readiness_watchdog(sd_event *event);

#endif
