/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Peers that cannot be served: each is told why, and then closed. */
#ifndef DAEMON_REFUSALS_H
#define DAEMON_REFUSALS_H

#include <stdbool.h>
#include <stddef.h>
#include <systemd/sd-event.h>

/*
 * A peer that connects, writes its call and then reads would fail at writing and never see the
 * error message, if its connection were closed at once. So it stays open until the peer has said
 * something, for a second at most, and so many at a time; who comes while those wait is closed at
 * once.
 */
#define REFUSALS_WAITING_MAX 64

struct refusal;

struct refusals {
    sd_event *event;
    struct refusal *first;
    unsigned waiting;
};

/* Refuse this connection, which is taken, with a whole message. With `wait` as above. */
void refusals_tell(struct refusals *r, int fd, const char *message, size_t size, bool wait);
/* Close all that wait. */
void refusals_clear(struct refusals *r);

#endif
