/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The lease's state machine, held against a table of its own: every state with every event, and
 * values that are neither. Pure; test-ledger.c walks the same edges in a ledger.
 */
#include "allocator/machine.h"
#include "common/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* What may happen, edge by edge; whatever is not here is refused. */
static const struct edge {
    enum uidpool_state from;
    enum lease_event event;
    enum uidpool_state to;
} edges[] = {
    {LEASE_FREE, LEASE_EVENT_GRANT, UIDPOOL_STATE_LEASED},
    {LEASE_FREE, LEASE_EVENT_FOREIGN, UIDPOOL_STATE_HELD},
    {UIDPOOL_STATE_LEASED, LEASE_EVENT_RELEASE, UIDPOOL_STATE_REVOKING},
    {UIDPOOL_STATE_REVOKING, LEASE_EVENT_NOT_PROVEN, UIDPOOL_STATE_REVOKING},
    {UIDPOOL_STATE_REVOKING, LEASE_EVENT_PROVEN, UIDPOOL_STATE_QUARANTINED},
    {UIDPOOL_STATE_REVOKING, LEASE_EVENT_RESIDUE, UIDPOOL_STATE_HELD},
    {UIDPOOL_STATE_QUARANTINED, LEASE_EVENT_RESTED, LEASE_FREE},
    {UIDPOOL_STATE_HELD, LEASE_EVENT_NOT_PROVEN, UIDPOOL_STATE_HELD},
    {UIDPOOL_STATE_HELD, LEASE_EVENT_RESIDUE, UIDPOOL_STATE_HELD},
    {UIDPOOL_STATE_HELD, LEASE_EVENT_PROVEN, UIDPOOL_STATE_QUARANTINED},
};

static const enum uidpool_state states[] = {
    LEASE_FREE,         UIDPOOL_STATE_LEASED, UIDPOOL_STATE_REVOKING, UIDPOOL_STATE_QUARANTINED,
    UIDPOOL_STATE_HELD,
};

static enum uidpool_state expected(enum uidpool_state from, enum lease_event event)
{
    for (size_t i = 0; i < ELEMENTS_OF(edges); i++)
        if (edges[i].from == from && edges[i].event == event)
            return edges[i].to;
    return LEASE_REFUSED;
}

static void test_every_state_with_every_event(void **state)
{
    size_t allowed = 0;

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(states); i++)
        for (enum lease_event event = 0; event < LEASE_EVENTS; event++) {
            enum uidpool_state to = lease_next(states[i], event);

            if (to != expected(states[i], event))
                fail_msg("state %d, event %d leads to %d, not to %d", (int)states[i], (int)event,
                         (int)to, (int)expected(states[i], event));
            allowed += to != LEASE_REFUSED;
        }
    assert_int_equal(allowed, ELEMENTS_OF(edges));
}

/* An event after the last, or a state of a later version, must not read beyond the table. */
static void test_values_out_of_range(void **state)
{
    static const int wrong[] = {-1, -2, 5, 6, 7, 100, INT32_MAX, INT32_MIN};

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(wrong); i++) {
        for (enum lease_event event = 0; event < LEASE_EVENTS; event++)
            assert_int_equal(lease_next((enum uidpool_state)wrong[i], event), LEASE_REFUSED);
        if (wrong[i] >= 0 && wrong[i] < LEASE_EVENTS)
            continue;
        for (size_t s = 0; s < ELEMENTS_OF(states); s++)
            assert_int_equal(lease_next(states[s], (enum lease_event)wrong[i]), LEASE_REFUSED);
    }
}

/* A lease can end only over quarantined, and be quarantined only after it was revoked or held: no
 * shorter way to be free exists. */
static void test_no_way_around_the_proof(void **state)
{
    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(states); i++)
        for (enum lease_event event = 0; event < LEASE_EVENTS; event++) {
            enum uidpool_state to = lease_next(states[i], event);

            if (to == LEASE_FREE)
                assert_int_equal(states[i], UIDPOOL_STATE_QUARANTINED);
            if (to == UIDPOOL_STATE_QUARANTINED)
                assert_int_equal(event, LEASE_EVENT_PROVEN);
            if (to == UIDPOOL_STATE_LEASED)
                assert_int_equal(states[i], LEASE_FREE);
        }
}

/* A refused step asks no ledger, changes nothing, and says which uid and what was wanted. */
static void test_refused_step(void **state)
{
    static const struct {
        enum uidpool_state from;
        enum lease_event event;
        const char *says;
    } refused[] = {
        {LEASE_FREE, LEASE_EVENT_RELEASE, "uid 7 is free and cannot be revoked"},
        {LEASE_FREE, LEASE_EVENT_RESTED, "uid 7 is free and cannot end"},
        {UIDPOOL_STATE_LEASED, LEASE_EVENT_GRANT, "uid 7 is leased and cannot be leased"},
        {UIDPOOL_STATE_LEASED, LEASE_EVENT_PROVEN, "uid 7 is leased and cannot be proven empty"},
        {UIDPOOL_STATE_REVOKING, LEASE_EVENT_RESTED, "uid 7 is revoking and cannot end"},
        {UIDPOOL_STATE_HELD, LEASE_EVENT_RESTED, "uid 7 is held and cannot end"},
        {(enum uidpool_state)9, LEASE_EVENT_RESTED, "uid 7 is in an unknown state and cannot end"},
        {UIDPOOL_STATE_HELD, (enum lease_event)LEASE_EVENTS, "uid 7 is held and cannot do that"},
    };

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(refused); i++) {
        struct uidpool_lease lease = {.uid = 7, .count = 1, .state = refused[i].from}, before;
        struct problem p = {0};

        memcpy(&before, &lease, sizeof(before));
        assert_int_equal(lease_step(NULL, &lease, refused[i].event, "why", 60, &p),
                         UIDPOOL_CONFLICT);
        assert_int_equal(p.status, UIDPOOL_CONFLICT);
        assert_string_equal(p.text, refused[i].says);
        assert_memory_equal(&lease, &before, sizeof(before));
        assert_int_equal(lease_step(NULL, &lease, refused[i].event, NULL, 0, NULL),
                         UIDPOOL_CONFLICT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_state_with_every_event),
        cmocka_unit_test(test_values_out_of_range),
        cmocka_unit_test(test_no_way_around_the_proof),
        cmocka_unit_test(test_refused_step),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
