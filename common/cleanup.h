/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Resources that free themselves at the end of their scope, and how to move one out of it. */
#ifndef COMMON_CLEANUP_H
#define COMMON_CLEANUP_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))

/* Give the pointer away: the variable is NULL afterwards. */
#define take_ptr(p)                        \
    ({                                     \
        __typeof__(p) *_take_ptr = &(p);   \
        __typeof__(p) _taken = *_take_ptr; \
        *_take_ptr = NULL;                 \
        _taken;                            \
    })

/* Give the descriptor away: the variable is -1 afterwards. */
static inline int take_fd(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}

/* Close it unless it is -1; always answers -1, for `fd = close_fd(fd)`. Keeps errno. */
int close_fd(int fd);

static inline void close_fdp(int *fd)
{
    *fd = close_fd(*fd);
}

static inline void freep(void *p)
{
    free(*(void **)p);
}

static inline void closedirp(DIR **d)
{
    if (*d)
        closedir(*d);
}

static inline void fclosep(FILE **f)
{
    if (*f)
        fclose(*f);
}

#define _cleanup_fd_ _cleanup_(close_fdp)
#define _cleanup_free_ _cleanup_(freep)
#define _cleanup_dir_ _cleanup_(closedirp)
#define _cleanup_file_ _cleanup_(fclosep)

#define ELEMENTS_OF(a) (sizeof(a) / sizeof((a)[0]))

#endif
