/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Locks in files and a fair queue over them. Touches the lock file it is told, and never unlinks
 * one: somebody may be waiting on the old inode.
 */
#include "common/lockfile.h"

#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>

int lockfile_open(const char *path)
{
    _cleanup_fd_ int fd = -1;
    struct stat st;

    /* O_RDWR and O_NONBLOCK: a FIFO in the lock's place must not hang us. */
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK, 0600);
    if (fd < 0)
        return errno == ELOOP ? -EPERM : -errno;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || (st.st_uid != 0 && st.st_uid != geteuid()) ||
        (st.st_mode & (S_IWGRP | S_IWOTH)))
        return -EPERM;
    return take_fd(&fd);
}

static int set_lock(int fd, short type, off_t at, off_t length, bool wait)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = at, .l_len = length};
    int command = wait ? F_OFD_SETLKW : F_OFD_SETLK;

    /* To fcntl(2) a length of 0 means "to the end of the file". */
    if (at < 0 || length <= 0)
        return -EINVAL;
    while (fcntl(fd, command, &lock) < 0) {
        if (errno == EACCES)
            return -EAGAIN;
        if (errno != EINTR)
            return -errno;
    }
    return 0;
}

int lockfile_try(int fd, off_t at, off_t length)
{
    return set_lock(fd, F_WRLCK, at, length, false);
}

int lockfile_try_shared(int fd, off_t at, off_t length)
{
    return set_lock(fd, F_RDLCK, at, length, false);
}

int lockfile_holder(int fd, off_t at, off_t length, pid_t *ret)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = length};

    if (at < 0 || length <= 0)
        return -EINVAL;
    if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
        return -errno;
    *ret = lock.l_type != F_UNLCK && lock.l_pid > 0 ? lock.l_pid : 0;
    return 0;
}

int lockfile_wait(int fd, off_t at, off_t length)
{
    return set_lock(fd, F_WRLCK, at, length, true);
}

int lockfile_unlock(int fd, off_t at, off_t length)
{
    return set_lock(fd, F_UNLCK, at, length, false);
}

/* The queue's bytes: the door, the place inside, then those who wait, one behind the other. */
#define INSIDE 1
#define FIRST_PLACE 2

/* The place behind the last one that somebody holds. Only at the door is the answer true for longer
 * than it takes to read it. */
static int find_place(int fd, off_t first, off_t *ret)
{
    off_t place = first;

    for (;;) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = place};

        if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
            return -errno;
        if (lock.l_type == F_UNLCK)
            break;
        place = lock.l_start + lock.l_len;
    }
    *ret = place;
    return 0;
}

/* Takes a place at the end of the queue. -EAGAIN: somebody is at the door, and we do not wait. */
static int queue_up(int fd, off_t at, bool wait, off_t *ret)
{
    off_t place = at + FIRST_PLACE;
    int r, unlock;

    r = wait ? lockfile_wait(fd, at, 1) : lockfile_try(fd, at, 1);
    if (r < 0)
        return r;
    r = find_place(fd, place, &place);
    if (r == 0)
        r = lockfile_try(fd, place, 1);
    unlock = lockfile_unlock(fd, at, 1);
    if (r == 0 && unlock < 0) {
        (void)lockfile_unlock(fd, place, 1);
        r = unlock;
    }
    if (r == 0)
        *ret = place;
    return r;
}

int lockfile_queue_enter(int fd, off_t at)
{
    off_t place = at + FIRST_PLACE, from;
    int r;

    r = queue_up(fd, at, true, &place);
    if (r < 0)
        return r;
    /* Whoever stands before us lets go of that place once inside, or by dying: then somebody else
     * may still be inside, so that is a lock of its own. */
    from = place;
    if (place > at + FIRST_PLACE) {
        from = place - 1;
        r = lockfile_wait(fd, from, 1);
    }
    if (r == 0)
        r = lockfile_wait(fd, at + INSIDE, 1);
    (void)lockfile_unlock(fd, from, place - from + 1);
    return r;
}

/* The place, and the one before it if we have that too. */
void lockfile_queue_give_up(int fd, struct lockfile_turn *turn)
{
    if (turn->place)
        (void)lockfile_unlock(fd, turn->place - turn->is_next, 1 + turn->is_next);
    *turn = (struct lockfile_turn){0};
}

int lockfile_queue_ask(int fd, off_t at, struct lockfile_turn *turn)
{
    int r = turn->place ? 0 : queue_up(fd, at, false, &turn->place);

    if (r == 0 && !turn->is_next && turn->place > at + FIRST_PLACE) {
        r = lockfile_try(fd, turn->place - 1, 1);
        turn->is_next = r == 0;
    }
    if (r == 0)
        r = lockfile_try(fd, at + INSIDE, 1);
    if (r != -EAGAIN)
        lockfile_queue_give_up(fd, turn);
    return r;
}

int lockfile_queue_leave(int fd, off_t at)
{
    return lockfile_unlock(fd, at + INSIDE, 1);
}
