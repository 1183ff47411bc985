/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Between the daemon and uidpool-xenwatch, which talks to xenstore for it: one text a message, over
 * a socket pair that keeps messages apart (SOCK_SEQPACKET). It is descriptor 3 of
 *
 *   uidpool-xenwatch [SOCKET]
 *
 * which ends when the daemon does. DOMID, UID and UUID are as elsewhere; "-" stands for none.
 *
 * The helper says
 *   alive                      now and then. The store has answered just before, or there is none
 *   down WHY                   there is no connection to a store. What it said before is history
 *   scan CONNECTION            a look at all domains begins; connections are counted
 *   marker [TEXT]              what the store holds as our marker
 *   domain DOMID UUID UID NAME is introduced; UID is its device-model-kill-uid
 *   absent DOMID               is wanted, and not introduced
 *   end                        the look is complete: all of it was said by one store, in one life
 * A scan that has no end is no scan. Whoever is neither called a domain nor absent is unknown.
 *
 * The daemon says
 *   want DOMID...              these are of interest also when they are absent, from now on
 *   again                      scan again
 *   mark CONNECTION TEXT       write the marker, if it is this connection still, and scan again: a
 *                              store that is not the one that was looked at must not get it
 *   kill-uid DOMID UUID UID    write device-model-kill-uid, if it is this domain still, and scan
 *                              again
 *   ask CONNECTION DOMID UUID  may what runs for this domid be killed, by what this connection
 *                              says? With a pipe, for the answer: "y" if the domid is not
 *                              introduced, or is with this very uuid; "n" if it is with another,
 *                              or none; nothing if it cannot be told
 *
 * Whatever the store holds is passed on only where it has the form that is said here, and the
 * daemon checks that again.
 */
#ifndef DAEMON_XENWATCH_H
#define DAEMON_XENWATCH_H

#include "common/ids.h"
#include "uidpool.h"

#include <stddef.h>
#include <stdint.h>

/* Longest message, with its NUL, which is not sent. */
#define XENWATCH_MESSAGE_MAX 1024
/* Longest WHY or TEXT, without the NUL. */
#define XENWATCH_TEXT_MAX 127
/* Most domids of one `want`: each has five digits and a blank. */
#define XENWATCH_WANT_MAX 128

/* Seconds between two signs of life of a helper that does nothing else. */
#define XENWATCH_ALIVE_SEC 2
/* Seconds without one after which the helper counts as stuck, in a store that does not answer; a
 * little later it ends itself, should nobody be there to end it. */
#define XENWATCH_PATIENCE_SEC 30

enum xenwatch_kind {
    XENWATCH_ALIVE = 1,
    XENWATCH_DOWN,
    XENWATCH_SCAN,
    XENWATCH_MARKER,
    XENWATCH_DOMAIN,
    XENWATCH_ABSENT,
    XENWATCH_END,
    XENWATCH_WANT,
    XENWATCH_AGAIN,
    XENWATCH_MARK,
    XENWATCH_KILL_UID,
    XENWATCH_ASK,
};

#define XENWATCH_MAY 'y'
#define XENWATCH_MAY_NOT 'n'

/* What is not of the kind is 0, "" or none. */
struct xenwatch_message {
    enum xenwatch_kind kind;
    uint64_t connection;
    int64_t domid;
    char uuid[UIDPOOL_UUID_LEN + 1];
    char name[UIDPOOL_NAME_MAX + 1];
    uid_t uid;                        /* or UIDPOOL_NO_UID */
    char text[XENWATCH_TEXT_MAX + 1]; /* WHY or TEXT */
    int64_t wanted[XENWATCH_WANT_MAX];
    size_t n_wanted;
};

/* Into `buf`; returns the length without the NUL. A text that is too long is cut. Pure. */
size_t xenwatch_write(const struct xenwatch_message *m, char buf[static XENWATCH_MESSAGE_MAX]);
/* 0, or -EBADMSG if it is not exactly of the form above. Pure. */
int xenwatch_read(const char *text, struct xenwatch_message *ret);

/*
 * Over a descriptor. `fd` (or -1) goes along. Neither waits where the descriptor does not. Negative
 * errno: -EAGAIN; -EPIPE or -ECONNRESET if the other side has gone; -EBADMSG, after which more may
 * be read. Receiving: a descriptor that came along, else -1, is in *ret_fd.
 */
int xenwatch_send(int to, const struct xenwatch_message *m, int fd);
int xenwatch_receive(int from, struct xenwatch_message *ret, int *ret_fd);

#endif
