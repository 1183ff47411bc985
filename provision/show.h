/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A plan and its findings on standard output: as a diff for people, as one JSON object for
 * programs, as sysusers.d(5) lines for image builders. Passwords are never shown. The only room
 * here that knows jansson. Whether it could be written is startup_flush_output()'s to tell. */
#ifndef PROVISION_SHOW_H
#define PROVISION_SHOW_H

#include "provision/lock.h"
#include "provision/plan.h"

/* What a run knows when it is shown. */
struct showing {
    const char *verb; /* "plan", "apply", "check", ... */
    bool json, quiet;
    const struct account_files *files;
    const struct state *state;
    const struct choices *choices;
    const struct roster *roster;
    const struct plan *plan;
    const struct findings *findings;
    const struct leftover *leftovers;
    size_t n_leftovers;
};

/*
 * For people, on standard output unless quiet, a unified diff of each file with some lines of
 * context and at most 20 lines of a block (then how many more), the ledger's steps, the leftovers;
 * nothing at all if there is nothing. Findings go to standard error: show_findings().
 * With json all of it on standard output, on one line:
 * {"verb":..,"changed":bool,"files":[{"file":..,"add":[..],"replace":[{"line":..,"from":..,"to":..,
 * "why":..}]}],"ledger":[{"step":..,...}],"leftovers":[{"path":..,"why":..}],
 * "pools":[{"name":..,"base":..,"size":..,"gid":..,"state":"new|begun|known|retired|stuck"}],
 * "conflicts":[..],"drifts":[..],"warnings":[..]}
 * 0 or a negative errno.
 */
int show_plan(const struct showing *s);

/* On standard error, one line each: "conflict: ...", "drift: ...", "warning: ...". 0 or -ENOMEM:
 * one could not be kept. */
int show_findings(const struct findings *findings);

/* Is there anything that apply would do, or has done? */
bool show_has_changes(const struct showing *s);

/* The roster as lines of sysusers.d(5), and as comments what that format cannot express. */
int show_sysusers(const struct showing *s);

/* NAME's uid and gid, "UID:GID", or {"name":..,"uid":..,"gid":..,"pool":..,"removed":bool}. */
int show_user(const struct user_request *user, bool json);

/* A sentence, or {"retired":..}. */
int show_retired(const char *pool, bool json);

#endif
