/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Listening sockets, from whoever has started us (LISTEN_FDS, UPSTART_FDS) or made here. */
#ifndef DAEMON_ACTIVATION_H
#define DAEMON_ACTIVATION_H

#include "common/problem.h"

#include <sys/types.h>

/* The sockets that were passed, by what each is bound to. -1: not passed. */
struct activation {
    int varlink; /* RUNTIME-DIR/io.uidpool, or named "varlink" */
    int userdb;  /* USERDB-DIR/io.uidpool, or named "userdb" */
};

/* Take what was passed, and the variables out of the environment. UIDPOOL_FAILED: a descriptor that
 * is no listening stream socket, or more than are known. */
enum uidpool_status activation_take(const char *runtime_dir, const char *userdb_dir,
                                    struct activation *ret, struct problem *p);

/*
 * Make DIR/NAME: the directory is made if it is not there (0755, ours), and must belong to root or
 * to us and be writable by nobody else; mode and owner are right before anybody can connect. A
 * stale socket is replaced, one that answers is another daemon's: UIDPOOL_CONFLICT. Returns the
 * descriptor in *ret.
 */
enum uidpool_status activation_listen(const char *dir, const char *name, mode_t mode, int *ret,
                                      struct problem *p);
/* Remove what activation_listen() has made, while it is open still. */
void activation_remove(const char *dir, const char *name);

#endif
