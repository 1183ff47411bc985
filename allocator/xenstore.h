/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xenstore, as far as following domains needs it. Blocking, and libxenstore starts a thread: for a
 * program of its own, uidpool-xenwatch, which nobody waits for.
 *
 * A handle is of one life of one store: all that is read through it is of the same store, for a
 * store that was restarted is reached by a new handle alone. After any failure but -ESTALE a handle
 * is of no use any more: close it and open another one.
 */
#ifndef ALLOCATOR_XENSTORE_H
#define ALLOCATOR_XENSTORE_H

#include "uidpool.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct xenstore;

/* A domain that has been introduced to xenstore. */
struct xenstore_domain {
    int64_t domid;
    char uuid[UIDPOOL_UUID_LEN + 1]; /* or "": none, or not a uuid */
    char name[UIDPOOL_NAME_MAX + 1]; /* or "": none, or no name that a lease could have */
    uid_t kill_uid;                  /* of image/device-model-kill-uid, or UIDPOOL_NO_UID */
};

/* Longest text of the marker, without the NUL. */
#define XENSTORE_MARKER_MAX 95

/* Connect to the store at `socket`, a socket or a xenbus device, or with NULL to the socket that
 * libxenstore was built for; and be told of domains that come and go. -EACCES if domain 0 is not
 * known there: then this is no store that could tell us of others. 0 or a negative errno. */
int xenstore_open(const char *socket, struct xenstore **ret);
/* NULL is allowed. */
void xenstore_close(struct xenstore *x);

/* Readable when something happened; it stays silent when the store dies. */
int xenstore_fd(const struct xenstore *x);
/* Take what is told. 1: look again; 0: nothing; or a negative errno. */
int xenstore_take_events(struct xenstore *x);

/* Our marker, "" if there is none. Asks the store, so it also shows that it lives. */
int xenstore_read_marker(struct xenstore *x, char ret[static XENSTORE_MARKER_MAX + 1]);
int xenstore_write_marker(struct xenstore *x, const char *text);

/* Call `each` for every domid that has a directory, which proves nothing: look at each. */
int xenstore_each_domid(struct xenstore *x, void (*each)(int64_t domid, void *userdata),
                        void *userdata);
/* 1: it is introduced; 0: it is not, beyond doubt; or a negative errno. */
int xenstore_look(struct xenstore *x, int64_t domid, struct xenstore_domain *ret);
/* Be told when the uuid or the kill-uid of the domain changes. */
int xenstore_watch_domain(struct xenstore *x, int64_t domid);
int xenstore_unwatch_domain(struct xenstore *x, int64_t domid);

/* Write image/device-model-kill-uid, if the domain is introduced and has this uuid (or "" and
 * none); -ESTALE if not, or if something else changed there meanwhile. */
int xenstore_write_kill_uid(struct xenstore *x, int64_t domid, const char *uuid, uid_t uid);

#endif
