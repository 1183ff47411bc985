/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One line that says what the daemon has to do, for whoever asks its init: told when it changes, at
 * most once a second. */
#ifndef DAEMON_STATUS_H
#define DAEMON_STATUS_H

#include "allocator/daemon/daemon.h"

struct status;

/* Follows the ledger, also what others write, and the rooms of `d`, which may come and go. `looked`
 * is called as often as the line is written, for who follows the ledger as well. 0 or a negative
 * errno. */
int status_new(struct daemon *d, void (*looked)(void *userdata), void *userdata,
               struct status **ret);
/* NULL is allowed. */
void status_free(struct status *s);
/* Something else than the ledger changed. Takes a struct status, as the rooms' `changed` want it.
 */
void status_changed(void *userdata);

#endif
