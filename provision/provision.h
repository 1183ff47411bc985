/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The way through, the same for every verb: lock, read, choose, plan; then show, or carry out. */
#ifndef PROVISION_PROVISION_H
#define PROVISION_PROVISION_H

#include "allocator/allocator.h"
#include "provision/lock.h"
#include "provision/plan.h"

/* Seconds to wait for other tools' locks unless --timeout says otherwise: lckpwdf(3) waits 15. */
#define PROVISION_TIMEOUT_SEC 60

struct provision {
    /* What the caller sets: */
    const struct config *config;
    struct world world;
    uint32_t timeout; /* seconds, for locks */
    bool thorough;    /* check: ask the world about everything, not only about what is new */
    const struct user_request *request; /* or NULL */
    /* Set `request` by what has been read and chosen, with an exclusive look under the same locks,
     * before the plan is made; or NULL. */
    enum uidpool_status (*ask)(struct provision *v, struct problem *p);
    void (*progress)(const char *text, void *userdata); /* or NULL */
    void *userdata;
    struct memory memory; /* kept from look to look */
    /* What provision_look() fills: */
    struct settings settings;
    struct account_lock *lock;  /* NULL when it was released */
    struct leftover *leftovers; /* account_lock_leftovers(), kept beyond the lock */
    size_t n_leftovers;
    struct ledger *ledger; /* NULL if there is none */
    struct account_files files;
    struct state state;
    struct choices choices;
    struct roster roster;
    struct plan plan;
    struct findings findings;
};

/* Read all and plan. With `exclusive`, after asking those who may take long, under both families of
 * locks, which are kept, and with a ledger that can be written (an older one is upgraded first),
 * made if there is none; else under a shared lock that is released again, and nothing is made.
 * Findings do not make it fail. */
enum uidpool_status provision_look(struct provision *v, bool exclusive, struct problem *p);

/* Do it: the intent, the files, the ledger's end; then release the locks, whatever came of it, so
 * that nobody waits for our output. Needs an exclusive look, and refuses where it found conflicts.
 * On failure the message says what was done, and that the next run carries on. */
enum uidpool_status provision_carry_out(struct provision *v, struct problem *p);

void provision_clear(struct provision *v);

#endif
