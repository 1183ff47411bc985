/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the daemon tells the administrator: to the journal with structured fields (UIDPOOL_UID,
 * UIDPOOL_DOMID, UIDPOOL_POOL, UIDPOOL_NAME, UIDPOOL_UUID, UIDPOOL_LEASE, MESSAGE_ID), if standard
 * error is the journal's (JOURNAL_STREAM); to syslog, if it is /dev/null, as start-stop-daemon
 * leaves it; else a line on standard error, for whoever logs behind it. Message ids are explained
 * in data/uidpool.catalog.
 *
 * A logger that does not read holds nobody up: lines to a pipe, to a socket and to syslog are
 * dropped then, and counted.
 */
#ifndef DAEMON_JOURNAL_H
#define DAEMON_JOURNAL_H

#include "uidpool.h"

#include <syslog.h>

enum journal_message {
    JOURNAL_PLAIN, /* no message id */
    JOURNAL_LEASED,
    JOURNAL_RELEASED,   /* proven; quarantined or free */
    JOURNAL_HELD,       /* proven, but residue */
    JOURNAL_NOT_PROVEN, /* a try failed; it will be repeated */
    JOURNAL_REFUSED,    /* a domain in xenstore cannot have its uid */
    JOURNAL_NEXT_OWNER, /* a domid was reused before its last uid was proven empty */
    JOURNAL_STORE_LOST, /* xenstore lost its state: domains are not followed any more */
};

/* Begin; `least` is the least important priority that is told (LOG_INFO, ...). */
void journal_open(int least);
/* Control characters become '?'. */
void journal_say(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same, about a lease (or NULL). */
void journal_lease(int priority, enum journal_message message, const struct uidpool_lease *lease,
                   const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
