/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ledger's interface over a ledger in a directory of its own: free stretches against a
 * brute-force model, claims, transactions, rests and the queries of history. Runs nothing as any
 * uid. SEED=N repeats a random run.
 */
#include "allocator/machine.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "db/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#define BASE 2114846720u

struct fixture {
    char dir[64];
    char path[96];
    struct ledger *l;
};

static void check_ok(enum uidpool_status status, const struct problem *p, int line)
{
    if (status != UIDPOOL_OK)
        fail_msg("line %d: status %d: %s", line, (int)status, p->text);
}

/* `p` is in scope. */
#define OK(call) check_ok((call), &p, __LINE__)

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct problem p = {0};

    assert_non_null(f);
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/uidpool-test-ledger-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->path, sizeof(f->path), "%s/l.db", f->dir);
    OK(ledger_open(f->path, LEDGER_CREATE, &f->l, &p));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal", ".lock"};
    struct fixture *f = *state;

    ledger_close(f->l);
    for (size_t i = 0; i < ELEMENTS_OF(suffixes); i++) {
        char path[128];

        (void)snprintf(path, sizeof(path), "%s%s", f->path, suffixes[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(f->dir), 0);
    free(f);
    return 0;
}

static struct uidpool_pool add_pool(struct ledger *l, const char *name, uid_t base, uint32_t size)
{
    struct uidpool_pool pool = {
        .base = base, .size = size, .policy = UIDPOOL_POLICY_NEXT, .gid = base, .next_uid = base};
    struct problem p = {0};

    (void)snprintf(pool.name, sizeof(pool.name), "%s", name);
    OK(ledger_begin(l, &p));
    OK(ledger_pool_insert(l, &pool, &p));
    OK(ledger_commit(l, &p));
    OK(ledger_pool_by_name(l, name, &pool, &p));
    assert_int_equal(pool.base, base);
    return pool;
}

/* Within a transaction. */
static struct uidpool_lease grant(struct ledger *l, const struct uidpool_pool *pool, uid_t uid,
                                  uint32_t count, const char *name)
{
    struct uidpool_lease lease = {.pool_id = pool->id,
                                  .uid = uid,
                                  .gid = pool->base,
                                  .count = count,
                                  .domid = UIDPOOL_NO_DOMID};
    struct problem p = {0};

    (void)snprintf(lease.name, sizeof(lease.name), "%s", name);
    OK(lease_step(l, &lease, LEASE_EVENT_GRANT, NULL, 0, &p));
    return lease;
}

static void prove(struct ledger *l, const struct uidpool_lease *lease, enum witness witness)
{
    struct evidence e = {.uids = {lease->uid, lease->count},
                         .lease = lease->id,
                         .step = lease->step,
                         .scan = witness,
                         .census = witness,
                         .tasks_scanned = 100};
    struct problem p = {0};

    OK(ledger_evidence_insert(l, &e, &p));
}

static void step(struct ledger *l, struct uidpool_lease *lease, enum lease_event event,
                 uint32_t rest)
{
    struct problem p = {0};

    OK(lease_step(l, lease, event, NULL, rest, &p));
}

/* From leased to quarantined. */
static void revoke_and_rest(struct ledger *l, struct uidpool_lease *lease, uint32_t rest)
{
    step(l, lease, LEASE_EVENT_RELEASE, 0);
    prove(l, lease, WITNESS_EMPTY);
    step(l, lease, LEASE_EVENT_PROVEN, rest);
}

/* From leased to nothing. */
static void release(struct ledger *l, struct uidpool_lease *lease)
{
    revoke_and_rest(l, lease, 0);
    step(l, lease, LEASE_EVENT_RESTED, 0);
}

static bool print_finding(const char *finding, void *userdata)
{
    (void)userdata;
    print_message("%s\n", finding);
    return true;
}

static void check_is_clean(struct ledger *l)
{
    struct problem p = {0};

    OK(ledger_check(l, print_finding, NULL, &p));
}

/*
 * Free stretches, against a model: who has each uid.
 */

#define MODEL_SIZE 300u
#define MODEL_POOLS 2
#define MODEL_ROUNDS 1500

enum use {
    USE_FREE,
    USE_LEASE,
    USE_RESERVATION,
    USE_RESERVATION_LEASE, /* leased to the name that reserved it */
};

struct block {
    enum use use;
    uint32_t at, count; /* `at` counts from the pool's base */
    char name[16];
    struct uidpool_lease lease;
};

struct model {
    struct uidpool_pool pool;
    bool used[MODEL_SIZE];
    struct block blocks[MODEL_SIZE];
    size_t n_blocks;
    uint32_t reserved, leased;
};

static unsigned dice;

static uint32_t roll(uint32_t sides)
{
    return (uint32_t)rand_r(&dice) % sides;
}

static void seed(void)
{
    const char *text = getenv("SEED");

    dice = text ? (unsigned)strtoul(text, NULL, 10) : (unsigned)clock_wall_usec();
    print_message("SEED=%u\n", dice);
}

static bool is_free_block(const struct model *m, uint32_t at, uint32_t count)
{
    if (count > MODEL_SIZE || at > MODEL_SIZE - count)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (m->used[at + i])
            return false;
    return true;
}

/* How long is the free stretch that this uid lies in? */
static uint32_t stretch_at(const struct model *m, uint32_t at)
{
    uint32_t first = at, last = at;

    while (first > 0 && !m->used[first - 1])
        first--;
    while (last + 1 < MODEL_SIZE && !m->used[last + 1])
        last++;
    return last - first + 1;
}

static void set_used(struct model *m, const struct block *b, bool used)
{
    for (uint32_t i = 0; i < b->count; i++) {
        assert_int_equal(m->used[b->at + i], !used);
        m->used[b->at + i] = used;
    }
}

/* First fit; but a block may pass over stretches of less than twice its length. */
static void check_free_block(struct ledger *l, const struct model *m, uint32_t from, uint32_t count)
{
    struct problem p = {0};
    uid_t got = 0;
    enum uidpool_status status =
        ledger_free_block(l, &m->pool, m->pool.base + from, count, &got, &p);
    bool any = false;

    for (uint32_t at = from; at < MODEL_SIZE; at++)
        any |= is_free_block(m, at, count);
    if (!any) {
        assert_int_equal(status, UIDPOOL_EXHAUSTED);
        assert_int_equal(got, 0);
        return;
    }
    check_ok(status, &p, __LINE__);
    assert_in_range(got, m->pool.base + from, m->pool.base + MODEL_SIZE - 1);
    uint32_t at = got - m->pool.base;
    assert_true(is_free_block(m, at, count));
    for (uint32_t i = from; i < at; i++)
        if (is_free_block(m, i, count) && (count == 1 || stretch_at(m, i) >= 2 * count))
            fail_msg("%u uids from %u on: got %u, but %u is free before it", count, from, at, i);
}

static void check_free_block_last(struct ledger *l, const struct model *m, uint32_t count)
{
    struct problem p = {0};
    uid_t got = 0;
    enum uidpool_status status = ledger_free_block_last(l, &m->pool, count, &got, &p);

    for (uint32_t at = MODEL_SIZE; at-- > 0;)
        if (is_free_block(m, at, count)) {
            check_ok(status, &p, __LINE__);
            assert_int_equal(got, m->pool.base + at);
            return;
        }
    assert_int_equal(status, UIDPOOL_EXHAUSTED);
}

static void check_counts(struct ledger *l, const struct model *m)
{
    struct uidpool_pool pool = m->pool;
    struct problem p = {0};
    uint32_t free_uids = 0;

    for (uint32_t i = 0; i < MODEL_SIZE; i++)
        free_uids += !m->used[i];
    OK(ledger_pool_count(l, &pool, &p));
    assert_int_equal(pool.free, free_uids);
    assert_int_equal(pool.reserved, m->reserved);
    assert_int_equal(pool.leased, m->leased);
    assert_int_equal(pool.revoking + pool.quarantined + pool.held, 0);
}

/* Every uid with whom it belongs to, from the ledger's side. */
static void check_owners(struct ledger *l, const struct model *m)
{
    for (uint32_t at = 0; at < MODEL_SIZE; at++) {
        struct uidpool_reservation r;
        struct uidpool_lease lease;
        uid_t uid = m->pool.base + at;
        bool leased = ledger_lease_at(l, uid, 1, &lease, NULL) == UIDPOOL_OK;
        bool reserved = ledger_reservation_at(l, uid, 1, &r, NULL) == UIDPOOL_OK;

        assert_int_equal(leased || reserved, m->used[at]);
        if (leased)
            assert_true(uid >= lease.uid && uid - lease.uid < lease.count);
        if (reserved)
            assert_true(uid >= r.uid && uid - r.uid < r.count);
    }
}

/* Somewhere in the pool, at least sometimes right beside another block. */
static bool find_room(struct ledger *l, const struct model *m, uint32_t count, uint32_t *ret)
{
    uid_t got;

    switch (roll(3)) {
    case 0:
        *ret = roll(MODEL_SIZE);
        return is_free_block(m, *ret, count);
    case 1:
        if (ledger_free_block_last(l, &m->pool, count, &got, NULL) != UIDPOOL_OK)
            return false;
        break;
    default:
        if (ledger_free_block(l, &m->pool, m->pool.base + roll(MODEL_SIZE), count, &got, NULL) !=
            UIDPOOL_OK)
            return false;
    }
    *ret = got - m->pool.base;
    return true;
}

static void add_block(struct ledger *l, struct model *m, unsigned serial)
{
    struct block b = {.count = roll(2) ? 1 : 1 + roll(20)};
    struct problem p = {0};

    if (!find_room(l, m, b.count, &b.at))
        return;
    (void)snprintf(b.name, sizeof(b.name), "n%u", serial);
    b.use = roll(3) ? USE_LEASE : USE_RESERVATION;
    if (b.use == USE_LEASE) {
        b.lease = grant(l, &m->pool, m->pool.base + b.at, b.count, b.name);
        m->leased += b.count;
    } else {
        struct uidpool_reservation r = {
            .pool_id = m->pool.id, .uid = m->pool.base + b.at, .count = b.count};

        (void)snprintf(r.name, sizeof(r.name), "%s", b.name);
        OK(ledger_reservation_insert(l, &r, &p));
        m->reserved += b.count;
    }
    set_used(m, &b, true);
    m->blocks[m->n_blocks++] = b;
}

static void drop_block(struct ledger *l, struct model *m, size_t i)
{
    struct block *b = &m->blocks[i];
    struct problem p = {0};

    if (b->use != USE_RESERVATION) {
        release(l, &b->lease);
        m->leased -= b->count;
    }
    if (b->use == USE_RESERVATION_LEASE) {
        b->use = USE_RESERVATION;
        return;
    }
    if (b->use == USE_RESERVATION) {
        OK(ledger_reservation_delete(l, b->name, &p));
        m->reserved -= b->count;
    }
    set_used(m, b, false);
    m->blocks[i] = m->blocks[--m->n_blocks];
}

static void change_model(struct ledger *l, struct model *m, unsigned serial)
{
    uint32_t choice = roll(10), i = m->n_blocks ? roll((uint32_t)m->n_blocks) : 0;

    if (m->n_blocks == 0 || choice < 5)
        add_block(l, m, serial);
    else if (choice == 5 && m->blocks[i].use == USE_RESERVATION) {
        struct block *b = &m->blocks[i];

        b->lease = grant(l, &m->pool, m->pool.base + b->at, b->count, b->name);
        b->use = USE_RESERVATION_LEASE;
        m->leased += b->count;
    } else
        drop_block(l, m, i);
}

/* Two pools side by side, so that a stretch could grow from one into the other. */
static void test_free_blocks_against_a_model(void **state)
{
    static struct model models[MODEL_POOLS];
    struct fixture *f = *state;
    struct problem p = {0};

    seed();
    memset(models, 0, sizeof(models));
    for (unsigned i = 0; i < MODEL_POOLS; i++)
        models[i].pool = add_pool(f->l, i ? "q" : "p", BASE + i * MODEL_SIZE, MODEL_SIZE);
    for (unsigned round = 0; round < MODEL_ROUNDS; round++) {
        struct model *m = &models[roll(MODEL_POOLS)];

        OK(ledger_begin(f->l, &p));
        change_model(f->l, m, round);
        OK(ledger_commit(f->l, &p));
        for (unsigned i = 0; i < MODEL_POOLS; i++) {
            check_free_block(f->l, &models[i], 0, 1);
            check_free_block(f->l, &models[i], roll(MODEL_SIZE), 1);
            check_free_block(f->l, &models[i], roll(MODEL_SIZE), 1 + roll(24));
            check_free_block(f->l, &models[i], 0, 1 + roll(100));
            check_free_block_last(f->l, &models[i], 1 + roll(24));
            check_counts(f->l, &models[i]);
        }
        if (round % 100 == 0)
            check_owners(f->l, m);
    }
    check_is_clean(f->l);
}

/* Stretches of 65536 and more are all of one class. */
static void test_free_blocks_in_a_large_pool(void **state)
{
    const uint32_t size = 400000, half = 200000;
    struct fixture *f = *state;
    struct uidpool_pool pool = add_pool(f->l, "large", BASE, size);
    struct problem p = {0};
    uid_t got = 0;

    OK(ledger_begin(f->l, &p));
    (void)grant(f->l, &pool, BASE + half, 1, "middle");
    (void)grant(f->l, &pool, BASE + 70000, 1, "first");
    OK(ledger_commit(f->l, &p));

    OK(ledger_free_block(f->l, &pool, BASE, 70000, &got, &p));
    assert_int_equal(got, BASE);
    OK(ledger_free_block(f->l, &pool, BASE + 1, 70000, &got, &p));
    assert_int_equal(got, BASE + 70001);
    OK(ledger_free_block(f->l, &pool, BASE, 65536, &got, &p));
    assert_int_equal(got, BASE);
    OK(ledger_free_block(f->l, &pool, BASE, 131072, &got, &p));
    assert_int_equal(got, BASE + half + 1);
    OK(ledger_free_block(f->l, &pool, BASE, size - half - 1, &got, &p));
    assert_int_equal(got, BASE + half + 1);
    got = 0;
    assert_int_equal(ledger_free_block(f->l, &pool, BASE, size - half, &got, &p),
                     UIDPOOL_EXHAUSTED);
    assert_int_equal(ledger_free_block(f->l, &pool, BASE, UINT32_MAX, &got, &p), UIDPOOL_EXHAUSTED);
    assert_int_equal(ledger_free_block_last(f->l, &pool, UINT32_MAX, &got, &p), UIDPOOL_EXHAUSTED);
    assert_int_equal(got, 0);
    OK(ledger_free_block_last(f->l, &pool, 70000, &got, &p));
    assert_int_equal(got, BASE + size - 70000);
    check_is_clean(f->l);
}

/*
 * Claims.
 */

static void test_claims_exclude_each_other(void **state)
{
    struct fixture *f = *state;
    struct ledger *other = NULL;
    struct problem p = {0};
    int first, beside, again;

    OK(ledger_open(f->path, LEDGER_WRITE, &other, &p));
    first = ledger_claim_uids(f->l, BASE + 10, 4);
    assert_true(first >= 0);
    /* Also within one process, and on one handle. */
    assert_int_equal(ledger_claim_uids(f->l, BASE + 10, 4), -EAGAIN);
    assert_int_equal(ledger_claim_uids(f->l, BASE + 13, 1), -EAGAIN);
    assert_int_equal(ledger_claim_uids(other, BASE + 7, 4), -EAGAIN);
    assert_int_equal(ledger_claim_uids(other, BASE, 100), -EAGAIN);
    beside = ledger_claim_uids(f->l, BASE + 14, 1);
    assert_true(beside >= 0);
    again = ledger_claim_uids(other, BASE + 9, 1);
    assert_true(again >= 0);
    (void)close_fd(again);
    /* Closing some other descriptor of the file drops nobody's lock. */
    assert_int_equal(ledger_claim_uids(other, BASE + 10, 1), -EAGAIN);
    ledger_close(other);
    assert_int_equal(ledger_claim_uids(f->l, BASE + 10, 1), -EAGAIN);
    (void)close_fd(first);
    first = ledger_claim_uids(f->l, BASE + 10, 4);
    assert_true(first >= 0);
    (void)close_fd(first);
    (void)close_fd(beside);
}

/* A claim is nobody's business in a transaction, and no program that is executed inherits it
 * unasked. */
static void test_claims_stand_beside_transactions(void **state)
{
    struct fixture *f = *state;
    struct problem p = {0};
    int fd, other;

    OK(ledger_begin(f->l, &p));
    fd = ledger_claim_uids(f->l, BASE, 1);
    assert_true(fd >= 0);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    ledger_rollback(f->l);
    assert_int_equal(ledger_claim_uids(f->l, BASE, 1), -EAGAIN);
    (void)close_fd(fd);
    fd = ledger_claim_uids(f->l, BASE, 1);
    other = ledger_claim_uids(f->l, BASE + 1, 1);
    assert_true(fd >= 0 && other >= 0);
    OK(ledger_begin(f->l, &p));
    OK(ledger_commit(f->l, &p));
    assert_int_equal(ledger_claim_uids(f->l, BASE, 1), -EAGAIN);
    (void)close_fd(fd);
    (void)close_fd(other);
}

/* Two lock files are none: whoever has the old one neither writes nor claims any more. */
static void test_a_lock_file_that_was_removed(void **state)
{
    struct fixture *f = *state;
    struct ledger *other = NULL;
    struct problem p = {0};
    char lock[128];
    int fd;

    (void)snprintf(lock, sizeof(lock), "%s.lock", f->path);
    assert_int_equal(unlink(lock), 0);
    assert_int_equal(ledger_begin(f->l, &p), UIDPOOL_LEDGER);
    assert_non_null(strstr(p.text, lock));
    assert_int_equal(ledger_claim_uids(f->l, BASE, 1), -ESTALE);
    OK(ledger_open(f->path, LEDGER_WRITE, &other, &p));
    assert_int_equal(ledger_begin(f->l, &p), UIDPOOL_LEDGER);
    assert_int_equal(ledger_claim_uids(f->l, BASE, 1), -ESTALE);
    OK(ledger_begin(other, &p));
    OK(ledger_commit(other, &p));
    fd = ledger_claim_uids(other, BASE, 1);
    assert_true(fd >= 0);
    (void)close_fd(fd);
    ledger_close(other);
}

/* A child that lives until told otherwise, as a helper would. */
struct child {
    pid_t pid;
    int tell;
};

static struct child fork_waiting(void)
{
    struct child c;
    int fds[2];
    char byte;

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    c.pid = fork();
    assert_true(c.pid >= 0);
    if (c.pid == 0) {
        (void)close(fds[1]);
        _exit(read(fds[0], &byte, 1) == 0 ? 0 : 1);
    }
    (void)close(fds[0]);
    c.tell = fds[1];
    return c;
}

static void end_child(struct child *c)
{
    int status;

    c->tell = close_fd(c->tell);
    assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
    assert_int_equal(status, 0);
}

static void test_claims_survive_in_a_child(void **state)
{
    struct fixture *f = *state;
    int fd = ledger_claim_uids(f->l, BASE, 3), status;
    struct child child;
    pid_t pid;

    assert_true(fd >= 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) /* another process: excluded too */
        _exit(ledger_claim_uids(f->l, BASE + 2, 1) == -EAGAIN ? 0 : 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);

    child = fork_waiting();
    (void)close_fd(fd);
    /* Its own end alone counts, not ours. */
    assert_int_equal(ledger_claim_uids(f->l, BASE, 1), -EAGAIN);
    assert_int_equal(ledger_claim_uids(f->l, BASE + 2, 1), -EAGAIN);
    end_child(&child);
    fd = ledger_claim_uids(f->l, BASE, 3);
    assert_true(fd >= 0);
    (void)close_fd(fd);
}

/*
 * Transactions.
 */

static void test_rollback_undoes_everything(void **state)
{
    struct fixture *f = *state;
    struct uidpool_pool pool = add_pool(f->l, "p", BASE, 40), count;
    struct uidpool_lease lease;
    struct problem p = {0};
    uid_t got = 0;
    int64_t id;

    OK(ledger_begin(f->l, &p));
    lease = grant(f->l, &pool, BASE, 1, "a");
    id = lease.id;
    OK(ledger_pool_set_next(f->l, pool.id, BASE + 1, &p));
    OK(ledger_free_block(f->l, &pool, BASE, 1, &got, &p));
    assert_int_equal(got, BASE + 1);
    ledger_rollback(f->l);
    ledger_rollback(f->l);

    assert_int_equal(ledger_lease_at(f->l, BASE, 1, &lease, &p), UIDPOOL_NOT_FOUND);
    OK(ledger_free_block(f->l, &pool, BASE, 1, &got, &p));
    assert_int_equal(got, BASE);
    OK(ledger_pool_by_name(f->l, "p", &count, &p));
    assert_int_equal(count.next_uid, BASE);
    /* The number of an event that never was is free again. */
    OK(ledger_begin(f->l, &p));
    lease = grant(f->l, &pool, BASE, 1, "b");
    assert_int_equal(lease.id, id);
    OK(ledger_commit(f->l, &p));
    check_is_clean(f->l);
}

static void test_commit_is_seen_by_others(void **state)
{
    struct fixture *f = *state;
    struct uidpool_pool pool = add_pool(f->l, "p", BASE, 40);
    struct uidpool_lease lease;
    struct ledger *other = NULL;
    struct problem p = {0};

    OK(ledger_open(f->path, LEDGER_READ, &other, &p));
    OK(ledger_begin(f->l, &p));
    (void)grant(f->l, &pool, BASE, 2, "a");
    assert_int_equal(ledger_lease_at(other, BASE, 1, &lease, &p), UIDPOOL_NOT_FOUND);
    OK(ledger_commit(f->l, &p));
    OK(ledger_lease_at(other, BASE + 1, 1, &lease, &p));
    assert_string_equal(lease.name, "a");

    /* One consistent state as long as it reads. */
    OK(ledger_begin_read(other, &p));
    OK(ledger_lease_at(other, BASE, 1, &lease, &p));
    OK(ledger_begin(f->l, &p));
    (void)grant(f->l, &pool, BASE + 5, 1, "b");
    OK(ledger_commit(f->l, &p));
    assert_int_equal(ledger_lease_at(other, BASE + 5, 1, &lease, &p), UIDPOOL_NOT_FOUND);
    ledger_rollback(other);
    OK(ledger_lease_at(other, BASE + 5, 1, &lease, &p));
    ledger_close(other);
}

static void test_readers_cannot_write(void **state)
{
    struct fixture *f = *state;
    struct uidpool_pool pool = add_pool(f->l, "p", BASE, 40);
    struct ledger *reader = NULL;
    struct uidpool_lease lease = {.pool_id = pool.id,
                                  .uid = BASE,
                                  .gid = BASE,
                                  .count = 1,
                                  .domid = 5,
                                  .state = UIDPOOL_STATE_LEASED};
    struct problem p = {0};

    OK(ledger_open(f->path, LEDGER_READ, &reader, &p));
    assert_int_not_equal(ledger_lease_insert(reader, &lease, &p), UIDPOOL_OK);
    ledger_rollback(reader);
    assert_int_equal(ledger_lease_at(f->l, BASE, 1, &lease, &p), UIDPOOL_NOT_FOUND);
    ledger_close(reader);
}

#define WRITERS 6u
#define GRANTS 15u

static _Noreturn void write_leases(const char *path, const struct uidpool_pool *pool, unsigned who)
{
    struct ledger *l = NULL;
    struct problem p = {0};
    bool good = ledger_open(path, LEDGER_WRITE, &l, &p) == UIDPOOL_OK;

    for (unsigned i = 0; i < GRANTS && good; i++) {
        struct uidpool_lease lease = {
            .pool_id = pool->id, .gid = BASE, .count = 1, .domid = UIDPOOL_NO_DOMID};

        (void)snprintf(lease.name, sizeof(lease.name), "w%u-%u", who, i);
        good = ledger_begin(l, &p) == UIDPOOL_OK &&
               ledger_free_block(l, pool, pool->base, 1, &lease.uid, &p) == UIDPOOL_OK &&
               lease_step(l, &lease, LEASE_EVENT_GRANT, NULL, 0, &p) == UIDPOOL_OK &&
               ledger_commit(l, &p) == UIDPOOL_OK;
    }
    if (!good)
        (void)fprintf(stderr, "writer %u: %s\n", who, p.text);
    ledger_close(l);
    _exit(good ? 0 : 1);
}

/* A uid that was found free within a write transaction is nobody else's. */
static void test_writers_queue(void **state)
{
    struct fixture *f = *state;
    struct uidpool_pool pool = add_pool(f->l, "p", BASE, WRITERS * GRANTS);
    struct problem p = {0};

    /* SQLite's handles do not survive a fork. */
    ledger_close(f->l);
    for (unsigned i = 0; i < WRITERS; i++) {
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0)
            write_leases(f->path, &pool, i);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        int status;

        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    OK(ledger_open(f->path, LEDGER_WRITE, &f->l, &p));
    OK(ledger_pool_count(f->l, &pool, &p));
    assert_int_equal(pool.leased, WRITERS * GRANTS);
    assert_int_equal(pool.free, 0);
    check_is_clean(f->l);
}

/*
 * Pools that are being provisioned.
 */

struct newest {
    char what[32];
    char detail[256];
};

static bool note_newest(const struct uidpool_event *event, void *userdata)
{
    struct newest *newest = userdata;

    (void)snprintf(newest->what, sizeof(newest->what), "%s", event->what);
    (void)snprintf(newest->detail, sizeof(newest->detail), "%s",
                   event->detail ? event->detail : "");
    return true;
}

/* The newest event. */
static struct newest newest(struct ledger *l)
{
    struct uidpool_history_query query = UIDPOOL_HISTORY_QUERY_INIT;
    struct newest found = {0};
    struct problem p = {0};

    query.limit = 1;
    OK(ledger_history_each(l, &query, note_newest, &found, &p));
    return found;
}

static struct uidpool_pool begin_pool(struct ledger *l)
{
    struct uidpool_pool pool = {.name = "p",
                                .base = BASE,
                                .size = 40,
                                .policy = UIDPOOL_POLICY_NEXT,
                                .gid = BASE,
                                .next_uid = BASE,
                                .retired = true,
                                .provisioning = true};
    struct problem p = {0};

    OK(ledger_begin(l, &p));
    OK(ledger_pool_insert(l, &pool, &p));
    OK(ledger_commit(l, &p));
    OK(ledger_pool_by_name(l, "p", &pool, &p));
    return pool;
}

static void test_a_pool_that_is_being_provisioned(void **state)
{
    struct fixture *f = *state;
    struct uidpool_pool pool = begin_pool(f->l);
    struct uidpool_reservation r = {.name = "r", .pool_id = pool.id, .uid = BASE + 1, .count = 1};
    struct problem p = {0};

    assert_true(pool.retired && pool.provisioning);
    assert_string_equal(newest(f->l).what, "pool-added");
    for (int i = 0; i < 2; i++) {
        OK(ledger_begin(f->l, &p));
        assert_int_equal(i == 0 ? ledger_pool_set_retired(f->l, pool.id, false, &p)
                                : ledger_reservation_insert(f->l, &r, &p),
                         UIDPOOL_CONFLICT);
        ledger_rollback(f->l);
    }

    OK(ledger_begin(f->l, &p));
    OK(ledger_pool_finish(f->l, pool.id, &p));
    OK(ledger_commit(f->l, &p));
    OK(ledger_pool_by_id(f->l, pool.id, &pool, &p));
    assert_true(!pool.retired && !pool.provisioning);
    assert_string_equal(newest(f->l).what, "pool-finished");

    /* Neither twice nor as a way to bring a retired one back. */
    OK(ledger_begin(f->l, &p));
    assert_int_equal(ledger_pool_finish(f->l, pool.id, &p), UIDPOOL_CONFLICT);
    OK(ledger_pool_set_retired(f->l, pool.id, true, &p));
    assert_int_equal(ledger_pool_finish(f->l, pool.id, &p), UIDPOOL_CONFLICT);
    ledger_rollback(f->l);
    check_is_clean(f->l);
}

static void test_a_provisioned_pool_gives_nothing_if_it_is_not_retired(void **state)
{
    struct fixture *f = *state;
    struct uidpool_pool pool = {.name = "p",
                                .base = BASE,
                                .size = 40,
                                .policy = UIDPOOL_POLICY_NEXT,
                                .gid = BASE,
                                .provisioning = true};
    struct problem p = {0};

    OK(ledger_begin(f->l, &p));
    assert_int_equal(ledger_pool_insert(f->l, &pool, &p), UIDPOOL_CONFLICT);
    ledger_rollback(f->l);
}

static void test_a_pool_changes(void **state)
{
    struct fixture *f = *state;
    struct uidpool_pool pool = add_pool(f->l, "p", BASE, 40), now;
    struct problem p = {0};

    pool.policy = UIDPOOL_POLICY_DOMID;
    pool.group_per_uid = true;
    pool.quarantine = 30;
    pool.follow = pool.resolve = true;
    /* Not these. */
    pool.size = 41;
    pool.retired = true;
    (void)snprintf(pool.name, sizeof(pool.name), "q");
    OK(ledger_begin(f->l, &p));
    OK(ledger_pool_update(f->l, &pool, &p));
    OK(ledger_commit(f->l, &p));
    OK(ledger_pool_by_name(f->l, "p", &now, &p));
    assert_int_equal(now.policy, UIDPOOL_POLICY_DOMID);
    assert_int_equal(now.quarantine, 30);
    assert_true(now.group_per_uid && now.follow && now.resolve);
    assert_true(now.size == 40 && !now.retired);
    assert_string_equal(newest(f->l).what, "pool-changed");
    assert_string_equal(newest(f->l).detail,
                        "policy next -> domid, gid 2114846720 -> per-uid, "
                        "quarantine 0 -> 30, follow no -> yes, resolve no -> yes");

    now.group_per_uid = false;
    now.gid = 4711;
    OK(ledger_begin(f->l, &p));
    OK(ledger_pool_update(f->l, &now, &p));
    OK(ledger_pool_set_next(f->l, pool.id, BASE + 7, &p));
    OK(ledger_commit(f->l, &p));
    OK(ledger_pool_by_name(f->l, "p", &now, &p));
    assert_true(!now.group_per_uid && now.gid == 4711);
    assert_string_equal(newest(f->l).detail, "gid per-uid -> 4711");
    check_is_clean(f->l);
}

/*
 * Accounts.
 */

static void reserve(struct ledger *l, const struct uidpool_pool *pool, uid_t uid, const char *name)
{
    struct uidpool_reservation r = {.pool_id = pool->id, .uid = uid, .count = 1};
    struct problem p = {0};

    (void)snprintf(r.name, sizeof(r.name), "%s", name);
    OK(ledger_reservation_insert(l, &r, &p));
}

struct names {
    char text[128];
    unsigned stop_after;
};

static bool note_account(const struct ledger_account *account, void *userdata)
{
    struct names *names = userdata;
    size_t length = strlen(names->text);

    (void)snprintf(names->text + length, sizeof(names->text) - length, "%s:%u:%u:%s:%d ",
                   account->name, account->uid - BASE, account->gid, account->pool,
                   (int)account->state);
    return names->stop_after == 0 || --names->stop_after > 0;
}

static void test_accounts(void **state)
{
    struct fixture *f = *state;
    struct uidpool_pool pool = add_pool(f->l, "p", BASE, 40);
    struct ledger_account account = {
        .name = "web", .pool_id = pool.id, .uid = BASE + 3, .gid = 7, .state = 99};
    struct ledger_account found = {.uid = 1};
    struct names names = {"", 0}, one = {"", 1};
    struct problem p = {0};

    OK(ledger_begin(f->l, &p));
    assert_int_equal(ledger_account_insert(f->l, &account, &p), UIDPOOL_CONFLICT);
    ledger_rollback(f->l);

    OK(ledger_begin(f->l, &p));
    reserve(f->l, &pool, BASE + 3, "web");
    OK(ledger_account_insert(f->l, &account, &p));
    account =
        (struct ledger_account){.name = "db", .pool_id = pool.id, .uid = BASE + 4, .gid = BASE + 4};
    reserve(f->l, &pool, BASE + 4, "db");
    OK(ledger_account_insert(f->l, &account, &p));
    OK(ledger_account_set_state(f->l, "db", LEDGER_ACCOUNT_PRESENT, &p));
    OK(ledger_commit(f->l, &p));

    OK(ledger_account_each(f->l, note_account, &names, &p));
    assert_string_equal(names.text, "db:4:2114846724:p:2 web:3:7:p:1 ");
    OK(ledger_account_each(f->l, note_account, &one, &p));
    assert_string_equal(one.text, "db:4:2114846724:p:2 ");
    assert_int_equal(ledger_account_by_name(f->l, "nobody", &found, &p), UIDPOOL_NOT_FOUND);
    assert_int_equal(found.uid, 1);
    OK(ledger_account_by_name(f->l, "web", &found, &p));
    assert_true(found.uid == BASE + 3 && found.pool_id == pool.id);
    assert_int_equal(found.state, LEDGER_ACCOUNT_ADDING);
    check_is_clean(f->l);
}

static void test_states_of_an_account(void **state)
{
    static const bool edges[5][5] = {
        [LEDGER_ACCOUNT_ADDING][LEDGER_ACCOUNT_PRESENT] = true,
        [LEDGER_ACCOUNT_ADDING][LEDGER_ACCOUNT_REMOVING] = true,
        [LEDGER_ACCOUNT_PRESENT][LEDGER_ACCOUNT_REMOVING] = true,
        [LEDGER_ACCOUNT_REMOVING][LEDGER_ACCOUNT_REMOVED] = true,
        [LEDGER_ACCOUNT_REMOVED][LEDGER_ACCOUNT_ADDING] = true,
    };
    static const enum ledger_account_state way[] = {LEDGER_ACCOUNT_PRESENT, LEDGER_ACCOUNT_REMOVING,
                                                    LEDGER_ACCOUNT_REMOVED, LEDGER_ACCOUNT_ADDING};
    struct fixture *f = *state;
    struct uidpool_pool pool = add_pool(f->l, "p", BASE, 40);
    struct ledger_account account = {.name = "web", .pool_id = pool.id, .uid = BASE, .gid = BASE};
    struct problem p = {0};

    OK(ledger_begin(f->l, &p));
    reserve(f->l, &pool, BASE, "web");
    OK(ledger_account_insert(f->l, &account, &p));
    assert_int_equal(ledger_account_set_state(f->l, "db", LEDGER_ACCOUNT_PRESENT, &p),
                     UIDPOOL_NOT_FOUND);
    OK(ledger_commit(f->l, &p));
    for (size_t i = 0; i < ELEMENTS_OF(way); i++) {
        OK(ledger_account_by_name(f->l, "web", &account, &p));
        for (int to = 0; to <= LEDGER_ACCOUNT_REMOVED; to++) {
            enum ledger_account_state next = (enum ledger_account_state)to;

            OK(ledger_begin(f->l, &p));
            assert_int_equal(ledger_account_set_state(f->l, "web", next, &p),
                             edges[account.state][to] ? UIDPOOL_OK : UIDPOOL_CONFLICT);
            ledger_rollback(f->l);
        }
        OK(ledger_begin(f->l, &p));
        OK(ledger_account_set_state(f->l, "web", way[i], &p));
        OK(ledger_commit(f->l, &p));
    }
    assert_string_equal(newest(f->l).what, "account-adding");
    check_is_clean(f->l);
}

static void test_an_account_keeps_its_reservation(void **state)
{
    struct fixture *f = *state;
    struct uidpool_pool pool = add_pool(f->l, "p", BASE, 40);
    struct ledger_account account = {.name = "web", .pool_id = pool.id, .uid = BASE, .gid = BASE};
    struct problem p = {0};

    OK(ledger_begin(f->l, &p));
    reserve(f->l, &pool, BASE, "web");
    OK(ledger_account_insert(f->l, &account, &p));
    OK(ledger_commit(f->l, &p));
    OK(ledger_begin(f->l, &p));
    assert_int_equal(ledger_reservation_delete(f->l, "web", &p), UIDPOOL_CONFLICT);
    assert_non_null(strstr(p.text, "'uidpool-provision user remove' keeps the uid out of use"));
    ledger_rollback(f->l);
    check_is_clean(f->l);
}

/*
 * In a chroot, as packages are configured: no /proc, no /dev.
 */

static bool work_in_chroot(const char *dir, struct problem *p)
{
    struct ledger *l = NULL;
    struct uidpool_pool pool = {.name = "p",
                                .base = BASE,
                                .size = 40,
                                .policy = UIDPOOL_POLICY_NEXT,
                                .gid = BASE,
                                .retired = true,
                                .provisioning = true};
    struct uidpool_reservation r = {.name = "web", .pool_id = BASE, .uid = BASE + 1, .count = 1};
    struct ledger_account account = {.name = "web", .pool_id = BASE, .uid = BASE + 1, .gid = BASE};
    struct names names = {"", 0};
    bool good;

    if (chroot(dir) < 0 || chdir("/") < 0 || access("/proc", F_OK) == 0 ||
        access("/dev", F_OK) == 0)
        return false;
    good = ledger_open("/lib/ledger.db", LEDGER_CREATE, &l, p) == UIDPOOL_OK &&
           ledger_begin(l, p) == UIDPOOL_OK && ledger_pool_insert(l, &pool, p) == UIDPOOL_OK &&
           ledger_commit(l, p) == UIDPOOL_OK && ledger_begin(l, p) == UIDPOOL_OK &&
           ledger_pool_finish(l, BASE, p) == UIDPOOL_OK &&
           ledger_reservation_insert(l, &r, p) == UIDPOOL_OK &&
           ledger_account_insert(l, &account, p) == UIDPOOL_OK && ledger_commit(l, p) == UIDPOOL_OK;
    ledger_close(l);
    l = NULL;
    good = good && ledger_open("/lib/ledger.db", LEDGER_READ, &l, p) == UIDPOOL_OK &&
           ledger_account_each(l, note_account, &names, p) == UIDPOOL_OK &&
           strncmp(names.text, "web:1:", 6) == 0 &&
           ledger_check(l, print_finding, NULL, p) == UIDPOOL_OK;
    ledger_close(l);
    return good;
}

static void test_in_a_chroot(void **state)
{
    static const char *const left[] = {"ledger.db", "ledger.db-wal", "ledger.db-shm",
                                       "ledger.db.lock"};
    struct fixture *f = *state;
    struct problem p = {0};
    char root[96], path[160];
    int status;
    pid_t pid;

    if (geteuid() != 0) {
        print_message("SKIP: only root can chroot\n");
        skip();
    }
    /* SQLite's handles do not survive a fork. */
    ledger_close(f->l);
    (void)snprintf(root, sizeof(root), "%s/root", f->dir);
    assert_int_equal(mkdir(root, 0700), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        bool good = work_in_chroot(root, &p);

        if (!good)
            (void)fprintf(stderr, "%s\n", p.text);
        _exit(good ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    for (size_t i = 0; i < ELEMENTS_OF(left); i++) {
        (void)snprintf(path, sizeof(path), "%s/lib/%s", root, left[i]);
        (void)unlink(path);
    }
    (void)snprintf(path, sizeof(path), "%s/lib", root);
    (void)rmdir(path);
    assert_int_equal(rmdir(root), 0);
    OK(ledger_open(f->path, LEDGER_WRITE, &f->l, &p));
    assert_int_equal(status, 0);
}

/*
 * Steps of a lease.
 */

static bool count_events(const struct uidpool_event *event, void *userdata)
{
    size_t *n = userdata;

    (void)event;
    ++*n;
    return true;
}

static void test_every_edge_in_the_ledger(void **state)
{
    struct fixture *f = *state;
    struct uidpool_pool pool = add_pool(f->l, "p", BASE, 40);
    struct uidpool_lease lease, hold = {.pool_id = pool.id,
                                        .uid = BASE + 1,
                                        .gid = BASE,
                                        .count = 1,
                                        .domid = UIDPOOL_NO_DOMID};
    struct problem p = {0};
    uid_t got;

    OK(ledger_begin(f->l, &p));
    lease = grant(f->l, &pool, BASE, 1, "a");
    step(f->l, &lease, LEASE_EVENT_RELEASE, 0);
    assert_int_equal(lease.attempts, 0);
    prove(f->l, &lease, WITNESS_BUSY);
    step(f->l, &lease, LEASE_EVENT_NOT_PROVEN, 0);
    assert_int_equal(lease.attempts, 1);
    prove(f->l, &lease, WITNESS_EMPTY);
    step(f->l, &lease, LEASE_EVENT_RESIDUE, 0);
    assert_int_equal(lease.state, UIDPOOL_STATE_HELD);
    prove(f->l, &lease, WITNESS_UNKNOWN);
    step(f->l, &lease, LEASE_EVENT_NOT_PROVEN, 0);
    prove(f->l, &lease, WITNESS_EMPTY);
    step(f->l, &lease, LEASE_EVENT_RESIDUE, 0);
    prove(f->l, &lease, WITNESS_EMPTY);
    step(f->l, &lease, LEASE_EVENT_PROVEN, 0);
    step(f->l, &lease, LEASE_EVENT_RESTED, 0);
    step(f->l, &hold, LEASE_EVENT_FOREIGN, 0);
    assert_int_equal(hold.state, UIDPOOL_STATE_HELD);
    OK(ledger_commit(f->l, &p));

    assert_int_equal(ledger_lease_at(f->l, BASE, 1, &lease, &p), UIDPOOL_NOT_FOUND);
    OK(ledger_lease_at(f->l, BASE + 1, 1, &lease, &p));
    assert_int_equal(lease.state, UIDPOOL_STATE_HELD);
    OK(ledger_free_block(f->l, &pool, BASE + 1, 1, &got, &p));
    assert_int_equal(got, BASE + 2);
    check_is_clean(f->l);
}

/* Whoever read the lease before somebody else moved it must look again. */
static void test_a_stale_step_is_refused(void **state)
{
    struct fixture *f = *state;
    struct uidpool_pool pool = add_pool(f->l, "p", BASE, 40);
    struct uidpool_lease lease, stale;
    struct problem p = {0};

    OK(ledger_begin(f->l, &p));
    lease = stale = grant(f->l, &pool, BASE, 1, "a");
    step(f->l, &lease, LEASE_EVENT_RELEASE, 0);
    OK(ledger_commit(f->l, &p));

    OK(ledger_begin(f->l, &p));
    assert_int_equal(lease_step(f->l, &stale, LEASE_EVENT_RELEASE, NULL, 0, &p), UIDPOOL_CONFLICT);
    assert_int_equal(stale.state, UIDPOOL_STATE_LEASED);
    ledger_rollback(f->l);

    /* Evidence of an earlier step proves nothing now. */
    OK(ledger_begin(f->l, &p));
    stale = lease;
    prove(f->l, &lease, WITNESS_EMPTY);
    step(f->l, &lease, LEASE_EVENT_NOT_PROVEN, 0);
    assert_int_equal(lease_step(f->l, &lease, LEASE_EVENT_PROVEN, NULL, 0, &p), UIDPOOL_CONFLICT);
    ledger_rollback(f->l);

    OK(ledger_begin(f->l, &p));
    struct evidence late = {.uids = {BASE, 1},
                            .lease = stale.id,
                            .step = stale.step - 1,
                            .scan = WITNESS_EMPTY,
                            .census = WITNESS_EMPTY};
    assert_int_equal(ledger_evidence_insert(f->l, &late, &p), UIDPOOL_CONFLICT);
    ledger_rollback(f->l);
    check_is_clean(f->l);
}

/*
 * Rests.
 */

static void test_rested(void **state)
{
    struct fixture *f = *state;
    struct uidpool_pool pool = add_pool(f->l, "p", BASE, 40);
    struct uidpool_lease leases[4], rested[4] = {0};
    struct problem p = {0};
    uint32_t n = 99;

    OK(ledger_lease_rested(f->l, 4, rested, &n, &p));
    assert_int_equal(n, 0);
    OK(ledger_begin(f->l, &p));
    for (uint32_t i = 0; i < 4; i++) {
        char name[] = {(char)('a' + i), '\0'};

        leases[i] = grant(f->l, &pool, BASE + i, 1, name);
    }
    revoke_and_rest(f->l, &leases[0], 3600);
    revoke_and_rest(f->l, &leases[1], 0);
    step(f->l, &leases[2], LEASE_EVENT_RELEASE, 0);
    revoke_and_rest(f->l, &leases[3], 0);
    assert_int_equal(leases[0].rest_left, 3600);
    OK(ledger_commit(f->l, &p));

    /* The longest rested first; those that rest, live or are revoked never. */
    OK(ledger_lease_rested(f->l, 4, rested, &n, &p));
    assert_int_equal(n, 2);
    assert_int_equal(rested[0].uid, BASE + 1);
    assert_int_equal(rested[1].uid, BASE + 3);
    assert_int_equal(rested[0].rest_left, 0);
    OK(ledger_lease_rested(f->l, 1, rested, &n, &p));
    assert_int_equal(n, 1);
    assert_int_equal(rested[0].uid, BASE + 1);

    OK(ledger_begin(f->l, &p));
    assert_int_equal(lease_step(f->l, &leases[0], LEASE_EVENT_RESTED, NULL, 0, &p),
                     UIDPOOL_CONFLICT);
    ledger_rollback(f->l);
    OK(ledger_begin(f->l, &p));
    step(f->l, &rested[0], LEASE_EVENT_RESTED, 0);
    OK(ledger_commit(f->l, &p));
    OK(ledger_lease_rested(f->l, 4, rested, &n, &p));
    assert_int_equal(n, 1);
    OK(ledger_lease_at(f->l, BASE, 1, &leases[0], &p));
    assert_in_range(leases[0].rest_left, 3500, 3600);
}

/*
 * History.
 */

struct seen {
    size_t n, stop_after;
    int64_t ids[64];
    int64_t at[64];
    char what[64][16];
};

static bool note_event(const struct uidpool_event *event, void *userdata)
{
    struct seen *seen = userdata;

    assert_true(seen->n < ELEMENTS_OF(seen->ids));
    seen->ids[seen->n] = event->id;
    seen->at[seen->n] = event->at;
    (void)snprintf(seen->what[seen->n], sizeof(seen->what[0]), "%s", event->what);
    if (seen->n > 0)
        assert_true(event->id > seen->ids[seen->n - 1]);
    seen->n++;
    return seen->n != seen->stop_after;
}

/* The same, read three events of the ledger at a time. */
static void ask_in_pieces(struct ledger *l, const struct uidpool_history_query *query,
                          const struct seen *whole)
{
    struct uidpool_history_query piece = *query;
    struct seen seen = {0};
    struct problem p = {0};
    int64_t newest = 0;

    OK(ledger_history_newest(l, &newest, &p));
    for (; piece.after_id < newest; piece.after_id += 3)
        OK(ledger_history_each_until(l, &piece, piece.after_id + 3, note_event, &seen, &p));
    assert_int_equal(seen.n, whole->n);
    assert_memory_equal(seen.ids, whole->ids, sizeof(seen.ids));
}

static struct seen ask(struct ledger *l, const struct uidpool_history_query *query)
{
    struct seen seen = {0};
    struct problem p = {0};

    OK(ledger_history_each(l, query, note_event, &seen, &p));
    if (query->limit == 0)
        ask_in_pieces(l, query, &seen);
    return seen;
}

/* `changes` are assignments to `q`, with commas between. */
#define ASK(l, changes)                                              \
    ({                                                               \
        struct uidpool_history_query q = UIDPOOL_HISTORY_QUERY_INIT; \
        changes;                                                     \
        ask((l), &q);                                                \
    })

/* Two pools, a block of three for the name a, and a domid's lease that has ended. */
static void write_history(struct ledger *l, struct uidpool_lease *ret_block,
                          struct uidpool_lease *ret_gone)
{
    struct uidpool_pool pool = add_pool(l, "p", BASE, 40), other = add_pool(l, "q", BASE + 40, 40);
    struct uidpool_lease gone = {
        .pool_id = other.id, .uid = BASE + 41, .gid = BASE, .count = 1, .domid = 7};
    struct problem p = {0};

    OK(ledger_begin(l, &p));
    *ret_block = grant(l, &pool, BASE + 4, 3, "a");
    OK(lease_step(l, &gone, LEASE_EVENT_GRANT, NULL, 0, &p));
    release(l, &gone);
    OK(ledger_commit(l, &p));
    *ret_gone = gone;
}

static void test_history_queries(void **state)
{
    struct fixture *f = *state;
    struct uidpool_lease block, gone;
    struct seen seen, all;

    write_history(f->l, &block, &gone);
    all = ASK(f->l, (q.limit = 0));
    assert_int_equal(all.n, 8); /* two pools; leased; leased to freed */
    for (size_t i = 0; i < all.n; i++)
        assert_int_equal(all.ids[i], (int64_t)i + 1);

    seen = ASK(f->l, (q.of.domid = 7));
    assert_int_equal(seen.n, 5);
    assert_string_equal(seen.what[0], "leased");
    assert_string_equal(seen.what[1], "revoking");
    assert_string_equal(seen.what[2], "proven");
    assert_string_equal(seen.what[3], "quarantined");
    assert_string_equal(seen.what[4], "freed");
    seen = ASK(f->l, (q.of.name = "a"));
    assert_int_equal(seen.n, 1);
    assert_int_equal(seen.ids[0], block.id);
    /* Any uid of the block, none beside it; a pool's own events are about no uid. */
    for (uid_t uid = BASE + 3; uid <= BASE + 7; uid++)
        assert_int_equal(ASK(f->l, (q.of.uid = uid)).n, uid > BASE + 3 && uid < BASE + 7);
    assert_int_equal(ASK(f->l, (q.of.pool = "q")).n, 6);
    assert_int_equal(ASK(f->l, (q.of.pool = "p", q.of.domid = 7)).n, 0);
    assert_int_equal(ASK(f->l, (q.of.pool = "nobody")).n, 0);

    /* The newest so many, oldest of them first; and what came after. */
    seen = ASK(f->l, (q.limit = 2));
    assert_int_equal(seen.n, 2);
    assert_int_equal(seen.ids[0], 7);
    seen = ASK(f->l, (q.after_id = 6));
    assert_int_equal(seen.n, 2);
    assert_int_equal(seen.ids[0], 7);
    assert_int_equal(ASK(f->l, (q.after_id = 8)).n, 0);
}

static void test_history_times_and_stopping(void **state)
{
    struct fixture *f = *state;
    struct uidpool_lease block, gone;
    struct seen all, stopped = {.stop_after = 3};
    const struct uidpool_history_query everything = UIDPOOL_HISTORY_QUERY_INIT;
    struct problem p = {0};

    write_history(f->l, &block, &gone);
    all = ASK(f->l, (q.limit = 0));
    /* Inclusive at both ends. */
    assert_int_equal(ASK(f->l, (q.since = all.at[2] + USEC_PER_SEC)).n, 0);
    assert_int_equal(ASK(f->l, (q.until = all.at[0] - 1)).n, 0);
    assert_int_equal(ASK(f->l, (q.until = all.at[0])).ids[0], 1);
    assert_true(ASK(f->l, (q.since = block.leased_at, q.until = block.leased_at)).n >= 1);
    assert_int_equal(ASK(f->l, (q.since = 1)).n, all.n);

    OK(ledger_history_each(f->l, &everything, note_event, &stopped, &p));
    assert_int_equal(stopped.n, 3);
    assert_int_equal(stopped.ids[2], 3);
    /* The statement that was left early can be used again. */
    assert_int_equal(ASK(f->l, (q.limit = 0)).n, all.n);
}

static void test_history_of_a_lease(void **state)
{
    struct fixture *f = *state;
    struct uidpool_lease block, gone;
    struct problem p = {0};
    int64_t id = 0;
    size_t n = 0;

    write_history(f->l, &block, &gone);
    OK(ledger_history_of_lease(f->l, gone.id, count_events, &n, &p));
    assert_int_equal(n, 5);
    n = 0;
    OK(ledger_history_of_lease(f->l, block.id, count_events, &n, &p));
    assert_int_equal(n, 1);
    n = 0;
    OK(ledger_history_of_lease(f->l, 4711, count_events, &n, &p));
    assert_int_equal(n, 0);

    OK(ledger_lease_at_time(f->l, BASE + 6, block.leased_at, &id, &p));
    assert_int_equal(id, block.id);
    OK(ledger_lease_at_time(f->l, BASE + 4, INT64_MAX, &id, &p));
    assert_int_equal(id, block.id);
    assert_int_equal(ledger_lease_at_time(f->l, BASE + 6, block.leased_at - 1, &id, &p),
                     UIDPOOL_NOT_FOUND);
    assert_int_equal(ledger_lease_at_time(f->l, BASE + 7, INT64_MAX, &id, &p), UIDPOOL_NOT_FOUND);
    assert_int_equal(ledger_lease_at_time(f->l, BASE + 41, INT64_MAX, &id, &p), UIDPOOL_NOT_FOUND);

    /* Proven, but held: it is still whose it was. */
    OK(ledger_begin(f->l, &p));
    step(f->l, &block, LEASE_EVENT_RELEASE, 0);
    prove(f->l, &block, WITNESS_EMPTY);
    step(f->l, &block, LEASE_EVENT_RESIDUE, 0);
    OK(ledger_commit(f->l, &p));
    id = 0;
    OK(ledger_lease_at_time(f->l, BASE + 4, INT64_MAX, &id, &p));
    assert_int_equal(id, block.id);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_free_blocks_against_a_model),
        TEST(test_free_blocks_in_a_large_pool),
        TEST(test_claims_exclude_each_other),
        TEST(test_claims_stand_beside_transactions),
        TEST(test_a_lock_file_that_was_removed),
        TEST(test_claims_survive_in_a_child),
        TEST(test_rollback_undoes_everything),
        TEST(test_commit_is_seen_by_others),
        TEST(test_readers_cannot_write),
        TEST(test_writers_queue),
        TEST(test_a_pool_that_is_being_provisioned),
        TEST(test_a_provisioned_pool_gives_nothing_if_it_is_not_retired),
        TEST(test_a_pool_changes),
        TEST(test_accounts),
        TEST(test_states_of_an_account),
        TEST(test_an_account_keeps_its_reservation),
        TEST(test_in_a_chroot),
        TEST(test_every_edge_in_the_ledger),
        TEST(test_a_stale_step_is_refused),
        TEST(test_rested),
        TEST(test_history_queries),
        TEST(test_history_times_and_stopping),
        TEST(test_history_of_a_lease),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
