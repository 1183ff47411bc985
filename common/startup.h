/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The first and the last thing that every command does: descriptors that can be trusted, and output
 * that was really written. The library never calls this. */
#ifndef COMMON_STARTUP_H
#define COMMON_STARTUP_H

/* A missing standard descriptor would be the number of the next file opened, and neither the ledger
 * nor /etc/shadow must ever be standard output. Opened the wrong way round, so that its use still
 * fails. 0 or a negative errno. */
int startup_open_descriptors(void);

/* A closed pipe is a failed write, not a death in the middle of the work. 0 or a negative errno. */
int startup_ignore_sigpipe(void);

/* Write out what standard output still buffers. 0 or the negative errno of the first failure ever
 * seen here. */
int startup_flush_output(void);

#endif
