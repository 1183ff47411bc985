/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whether the process that once wrote its pid into a file is still there. Asks the kernel and
 * /proc; sends no signals. */
#ifndef PROVISION_ALIVE_H
#define PROVISION_ALIVE_H

#include <stddef.h>
#include <sys/types.h>
#include <time.h>

/* Before a chroot(2): keep /proc open, so that what follows is asked there. Without a /proc, and
 * where it is called again, it does nothing. */
void alive_keep_proc(void);

enum fate {
    FATE_ALIVE,  /* there, or it cannot be known */
    FATE_GONE,   /* no process has that pid, or one that is dead and was not waited for */
    FATE_ANOTHER /* the process that has the pid now began after `since` */
};

/* Of the process that had this pid when it wrote the file, at `since` by the wall clock (the file's
 * mtime). Ourselves cannot be it: the caller knows what it wrote. */
enum fate fate_of_writer(pid_t pid, struct timespec since);

/* "process 4711 (useradd)", without the command's name where that cannot be had. Returns `buf`. */
const char *process_text(pid_t pid, char *buf, size_t size);

#endif
