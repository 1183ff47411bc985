/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Accounts of single uids in the ledger. Statements alone; the rules are the schema's, and what
 * stands in the account files is provision's to bring about. */
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/ids.h"
#include "db/internal.h"

#include <string.h>

#define ACCOUNT_SELECT                                      \
    "SELECT a.name, a.uid, a.gid, a.state, a.pool, p.name " \
    "FROM account AS a JOIN pool AS p ON p.base = a.pool "

static const char *const states[] = {
    [LEDGER_ACCOUNT_ADDING] = "adding",
    [LEDGER_ACCOUNT_PRESENT] = "present",
    [LEDGER_ACCOUNT_REMOVING] = "removing",
    [LEDGER_ACCOUNT_REMOVED] = "removed",
};

/* 0 for a word that is none of them. */
static enum ledger_account_state state_of(const char *word)
{
    for (size_t i = LEDGER_ACCOUNT_ADDING; i < ELEMENTS_OF(states); i++)
        if (strcmp(states[i], word) == 0)
            return (enum ledger_account_state)i;
    return 0;
}

static enum uidpool_status read_account(struct ledger *l, sqlite3_stmt *stmt,
                                        struct ledger_account *ret, struct problem *p)
{
    struct ledger_account account = {0};
    int64_t uid = sqlite3_column_int64(stmt, 1), gid = sqlite3_column_int64(stmt, 2);
    char state[16];

    column_text(stmt, 0, account.name, sizeof(account.name));
    column_text(stmt, 3, state, sizeof(state));
    column_text(stmt, 5, account.pool, sizeof(account.pool));
    account.state = state_of(state);
    if (uid < 1 || !uid_is_usable((uint64_t)uid) || gid < 1 || (uint64_t)gid >= UID_END ||
        !name_is_valid(account.name) || account.state == 0)
        return ledger_damaged(l, p, "an account's name, ids or state are impossible");
    account.uid = (uid_t)uid;
    account.gid = (gid_t)gid;
    account.pool_id = sqlite3_column_int64(stmt, 4);
    *ret = account;
    return UIDPOOL_OK;
}

enum uidpool_status ledger_account_insert(struct ledger *l, const struct ledger_account *account,
                                          struct problem *p)
{
    sqlite3_stmt *stmt;
    enum uidpool_status status = statement_get(
        l,
        "INSERT INTO account (name, uid, gid, pool, state, created_at) VALUES (?, ?, ?, ?, ?, ?)",
        &stmt, p);

    if (status != UIDPOOL_OK)
        return status;
    statement_bind(stmt, "tiiiti", account->name, (int64_t)account->uid, (int64_t)account->gid,
                   account->pool_id, states[LEDGER_ACCOUNT_ADDING], clock_wall_usec());
    return statement_run(l, stmt, NULL, p);
}

enum uidpool_status ledger_account_set_state(struct ledger *l, const char *name,
                                             enum ledger_account_state state, struct problem *p)
{
    sqlite3_stmt *stmt;
    enum uidpool_status status =
        statement_get(l, "UPDATE account SET state = ? WHERE name = ?", &stmt, p);
    int changed = 0;

    if (status != UIDPOOL_OK)
        return status;
    statement_bind(stmt, "tt", states[state], name);
    status = statement_run(l, stmt, &changed, p);
    if (status == UIDPOOL_OK && changed == 0)
        return problem_set(p, UIDPOOL_NOT_FOUND, "the ledger has no account %s", name);
    return status;
}

enum uidpool_status ledger_account_by_name(struct ledger *l, const char *name,
                                           struct ledger_account *ret, struct problem *p)
{
    sqlite3_stmt *stmt;
    enum uidpool_status status = statement_get(l, ACCOUNT_SELECT "WHERE a.name = ?", &stmt, p);

    if (status != UIDPOOL_OK)
        return status;
    statement_bind(stmt, "t", name);
    status = statement_row(l, stmt, p);
    if (status == UIDPOOL_NOT_FOUND)
        return problem_set(p, UIDPOOL_NOT_FOUND, "the ledger has no account %s", name);
    if (status == UIDPOOL_OK)
        status = read_account(l, stmt, ret, p);
    sqlite3_reset(stmt);
    return status;
}

enum uidpool_status ledger_account_each(struct ledger *l,
                                        bool (*each)(const struct ledger_account *, void *),
                                        void *userdata, struct problem *p)
{
    sqlite3_stmt *stmt;
    struct ledger_account account;
    enum uidpool_status status = statement_get(l, ACCOUNT_SELECT "ORDER BY a.name", &stmt, p);

    if (status != UIDPOOL_OK)
        return status;
    while ((status = statement_row(l, stmt, p)) == UIDPOOL_OK) {
        status = read_account(l, stmt, &account, p);
        if (status != UIDPOOL_OK || !each(&account, userdata))
            break;
    }
    sqlite3_reset(stmt);
    return status == UIDPOOL_NOT_FOUND ? UIDPOOL_OK : status;
}
