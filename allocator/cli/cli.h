/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The verbs, one file each. A verb gets a handle and options that are already right, prints its
 * answer, and returns what the command exits with. What the library says on failure is printed by
 * main.c alone. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "allocator/cli/options.h"
#include "uidpool.h"

#include <stdbool.h>

typedef enum uidpool_status verb_function(struct uidpool *u, const struct options *o);

verb_function verb_pool_add, verb_pool_list, verb_pool_show, verb_pool_retire;
verb_function verb_reserve, verb_unreserve;
verb_function verb_lease, verb_release;
verb_function verb_list, verb_show, verb_who, verb_history;
verb_function verb_recover, verb_clear;
verb_function verb_ledger_check, verb_ledger_backup, verb_ledger_upgrade;

/* Seconds a revocation may take unless --timeout says otherwise. */
#define CLI_TIMEOUT_SEC UIDPOOL_TIMEOUT_USUAL
#define CLI_TIMEOUT_RECOVER_SEC 60

/* What a renderer's print came to, as a verb's answer; says what went wrong. */
enum uidpool_status cli_rendered(int r);
enum uidpool_status cli_no_memory(void);

/* --pool, --domid, --name and --uid as the library wants them. */
struct uidpool_selector cli_selector(const struct options *o);

/*
 * The report of revocations, shared by release and recover: one sentence for each lease, or one
 * JSON object {"KEY":[...]}, with "survivors":[...] if something could not be proven.
 */
struct render_object;
struct report {
    const char *key; /* also the sentence's first word */
    struct render_object *object;
    bool json, quiet;
    size_t n;
};

void report_begin(struct report *r, const char *key, const struct options *o);
/* For the library's `each`; userdata is the report. */
bool report_lease(const struct uidpool_lease *lease, void *userdata);
/* Print what is not printed yet and free all. `status` is what the library said, and what is
 * returned unless printing failed. */
enum uidpool_status report_end(struct report *r, struct uidpool *u, enum uidpool_status status);

/* Name the survivors of the last operation on standard error, and what to do about them. */
void report_survivors(struct uidpool *u);

#endif
