/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A lease in the library against its floor: one bare durable SQLite commit and one census of as
 * many uids. Both in turn, the order changing each round, so that a drift of the machine cancels.
 * The lease is ended after each round, out of the measured time, so that as many live as were said.
 */
#include "allocator/census.h"
#include "allocator/engine.h"
#include "allocator/machine.h"
#include "tests/bench/bench.h"

#include "common/cleanup.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define ROUNDS 300
#define SEED 20261120u
/* The end of the pool is left free for blocks; before it the live leases lie between single free
 * uids, as a pool looks that is nearly full. */
#define FREE_AT_END 1700

struct setting {
    struct allocator allocator;
    struct bare *bare;
    int fd;
    enum uidpool_policy policy;
    uint32_t live, count;
    uint32_t slots; /* uids of the pool in front of the free end */
    bool *taken;    /* of each slot */
};

/* Exactly `live` of the slots, chosen evenly, the same ones at each run. */
static void choose_slots(struct setting *s)
{
    uint32_t left = s->live;

    for (uint32_t i = 0; i < s->slots; i++) {
        s->taken[i] = (uint32_t)random() % (s->slots - i) < left;
        left -= s->taken[i];
    }
}

/* All live leases in one transaction; `next` looks first where the leases begin. */
static void fill(struct setting *s)
{
    struct ledger *l = s->allocator.ledger;
    struct problem p = {0};

    bench_check(ledger_begin(l, &p), &p, "begin");
    for (uint32_t i = 0; i < s->slots; i++) {
        struct uidpool_lease lease = {
            .uid = BENCH_UID_FIRST + i,
            .gid = BENCH_UID_FIRST,
            .count = 1,
            .pool_id = BENCH_UID_FIRST,
            .domid = (int64_t)i,
        };

        if (s->taken[i])
            bench_check(lease_step(l, &lease, LEASE_EVENT_GRANT, NULL, 0, &p), &p, "grant");
    }
    bench_check(ledger_commit(l, &p), &p, "commit");
}

/* A domid whose uids are free: a hole for a single one, the free end for a block. */
static int64_t free_domid(const struct setting *s)
{
    uint32_t i;

    if (s->count > 1)
        return s->slots + (uint32_t)random() % (FREE_AT_END - s->count);
    do
        i = (uint32_t)random() % s->slots;
    while (s->taken[i]);
    return i;
}

static int64_t measure_floor(struct setting *s)
{
    struct uid_range uids = {BENCH_UID_VICTIM, s->count};
    int64_t begin = bench_now();

    if (census_ask(bench_census(), uids, 0, s->fd) != WITNESS_EMPTY)
        bench_fail("the census does not say EMPTY");
    bare_commit(s->bare);
    return bench_now() - begin;
}

static int64_t measure_lease(struct setting *s)
{
    struct uidpool_lease_request request = UIDPOOL_LEASE_REQUEST_INIT;
    struct uidpool_lease lease;
    struct problem p = {0};
    int64_t begin, end;

    request.pool = "bench";
    request.domid = free_domid(s);
    request.count = s->count;
    begin = bench_now();
    bench_check(allocator_lease(&s->allocator, &request, 10, &lease, &p), &p, "lease");
    end = bench_now();
    bench_end_lease(s->allocator.ledger, &lease);
    return end - begin;
}

static void measure(struct setting *s)
{
    struct samples floor = {0}, own = {0};
    char work[96];

    for (unsigned i = 0; i < ROUNDS; i++) {
        if (i % 2)
            samples_add(&own, measure_lease(s));
        samples_add(&floor, measure_floor(s));
        if (!(i % 2))
            samples_add(&own, measure_lease(s));
    }
    (void)snprintf(work, sizeof(work), "lease, %u live, policy %s, %s", s->live,
                   uidpool_policy_name(s->policy), s->count == 1 ? "one uid" : "a block of 8");
    bench_row_samples(work, &floor, &own, "1.15");
    samples_clear(&floor);
    samples_clear(&own);
}

static void measure_policy(struct setting *s, enum uidpool_policy policy, uint32_t live)
{
    char name[32];

    s->policy = policy;
    s->live = live;
    choose_slots(s);
    (void)snprintf(name, sizeof(name), "ledger-%u-%d.db", live, policy);
    bench_ledger(&s->allocator, name, policy);
    fill(s);
    bench_warm_ledger(&s->allocator);
    for (s->count = 1; s->count <= 8; s->count *= 8)
        measure(s);
    allocator_detach(&s->allocator);
    ledger_close(s->allocator.ledger);
}

int main(void)
{
    struct setting s = {.slots = BENCH_POOL_SIZE - FREE_AT_END};

    srandom(SEED);
    s.taken = calloc(s.slots, sizeof(*s.taken));
    s.fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (!s.taken || s.fd < 0)
        bench_fail("no memory");
    s.bare = bare_open("bare.db");
    bare_warm(s.bare);
    measure_policy(&s, UIDPOOL_POLICY_DOMID, 10);
    measure_policy(&s, UIDPOOL_POLICY_NEXT, 10);
    measure_policy(&s, UIDPOOL_POLICY_DOMID, 30000);
    measure_policy(&s, UIDPOOL_POLICY_NEXT, 30000);
    bare_close(s.bare);
    (void)close(s.fd);
    free(s.taken);
    return EXIT_SUCCESS;
}
