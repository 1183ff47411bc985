/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Group commit: what many jobs of one event loop want to write becomes one transaction of the
 * ledger, made durable once for all of them. Whatever asks to be written while a commit is under
 * way, or while other events wait to be looked at, goes into the next one.
 */
#ifndef ALLOCATOR_COMMITTER_H
#define ALLOCATOR_COMMITTER_H

#include "db/ledger.h"

#include <systemd/sd-event.h>

struct committer;

/* Write, within a part of the transaction of its own: if it returns anything but UIDPOOL_OK, what
 * it wrote is undone, and what the others write is not. It may not begin, commit, or add. */
typedef enum uidpool_status (*commit_write_fn)(struct ledger *l, void *userdata, struct problem *p);

/* What came of it, told once, from the loop: UIDPOOL_OK when it is durable; else the write's own
 * status, or that of the transaction which failed as a whole. It may add more. */
typedef void (*commit_done_fn)(enum uidpool_status status, const struct problem *problem,
                               void *userdata);

/* The ledger and the loop must outlive it. `may_block`: the loop has nothing else to do than to
 * wait for its turn to write; else others go on meanwhile, and after 30 s of somebody else's
 * writing what waits fails. 0 or a negative errno. */
int committer_new(struct ledger *l, sd_event *event, bool may_block, struct committer **ret);
/* What is not written yet never is; nobody is told. NULL is allowed. */
void committer_free(struct committer *c);

/* 0 or -ENOMEM. Writes happen in the order in which they were added. */
int committer_add(struct committer *c, commit_write_fn write, commit_done_fn done, void *userdata);
/* Forget everything that was added with this userdata and whose done() was not called yet. */
void committer_forget(struct committer *c, const void *userdata);

#endif
