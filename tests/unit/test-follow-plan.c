/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The rules of following: each by itself, and all of them in a small world that is turned at random
 * (seeded): domains come and go, domids are reused, the store loses all it knows, the daemon is
 * killed. Whatever happens, nobody who lives is killed, and in the end nothing is left behind.
 */
#include "allocator/daemon/follow-plan.h"
#include "common/cleanup.h"
#include "common/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define A "aaaaaaaa-0000-0000-0000-000000000001"
#define B "bbbbbbbb-0000-0000-0000-000000000002"
#define BASE 2115000000u
#define LEDGER "1-2"
#define MOST 64

/* What is known at one moment. */
struct scene {
    struct uidpool_pool pools[4];
    struct uidpool_lease leases[MOST];
    struct follow_domain domains[MOST];
    struct follow_view view;
    struct follow_facts facts;
    struct follow_memory memory;
    struct follow_plan plan;
};

static int begin(void **state)
{
    struct scene *s = calloc(1, sizeof(*s));

    if (!s)
        return -1;
    s->view.domains = s->domains;
    s->facts = (struct follow_facts){.view = &s->view,
                                     .pools = s->pools,
                                     .leases = s->leases,
                                     .ledger = LEDGER,
                                     .newest_event = 100,
                                     .now = USEC_PER_SEC};
    (void)snprintf(s->view.marker, sizeof(s->view.marker), LEDGER " 10");
    *state = s;
    return 0;
}

static int end(void **state)
{
    struct scene *s = *state;

    follow_plan_clear(&s->plan);
    follow_memory_clear(&s->memory);
    free(s);
    return 0;
}

static struct uidpool_pool *add_pool(struct scene *s, enum uidpool_policy policy)
{
    size_t i = s->facts.n_pools++;

    assert_true(i < ELEMENTS_OF(s->pools));
    s->pools[i] = (struct uidpool_pool){.id = 1 + (int64_t)i,
                                        .base = BASE + 1000 * (uid_t)i,
                                        .size = 1000,
                                        .policy = policy,
                                        .follow = true};
    (void)snprintf(s->pools[i].name, sizeof(s->pools[i].name), "pool%zu", i);
    return &s->pools[i];
}

static struct uidpool_lease *add_lease(struct scene *s, int64_t id, int64_t domid, const char *uuid)
{
    struct uidpool_lease *l = &s->leases[s->facts.n_leases++];

    assert_true(s->facts.n_leases <= MOST);
    *l = (struct uidpool_lease){.id = id,
                                .pool_id = 1,
                                .uid = BASE + (uid_t)domid,
                                .count = 1,
                                .domid = domid,
                                .state = UIDPOOL_STATE_LEASED};
    (void)snprintf(l->uuid, sizeof(l->uuid), "%s", uuid);
    return l;
}

static struct uidpool_lease *add_own(struct scene *s, int64_t id, int64_t domid, const char *uuid)
{
    struct uidpool_lease *l = add_lease(s, id, domid, uuid);

    (void)snprintf(l->reason, sizeof(l->reason), FOLLOW_REASON);
    return l;
}

static struct uidpool_lease *add_named(struct scene *s, int64_t id, uid_t uid, const char *name)
{
    struct uidpool_lease *l = add_lease(s, id, UIDPOOL_NO_DOMID, "");

    l->uid = uid;
    (void)snprintf(l->name, sizeof(l->name), "%s", name);
    return l;
}

/* In order of domid. */
static struct follow_domain *add_domain(struct scene *s, int64_t domid, const char *uuid)
{
    struct follow_domain *d = &s->domains[s->view.n_domains++];

    assert_true(s->view.n_domains <= MOST);
    *d = (struct follow_domain){.domid = domid, .kill_uid = UIDPOOL_NO_UID};
    (void)snprintf(d->uuid, sizeof(d->uuid), "%s", uuid);
    s->view.absent[domid / 8] &= (unsigned char)~(1u << (domid % 8));
    return d;
}

static void set_absent(struct scene *s, int64_t domid)
{
    s->view.absent[domid / 8] |= (unsigned char)(1u << (domid % 8));
}

static void no_domains(struct scene *s)
{
    s->view.n_domains = 0;
}

static void plan_at(struct scene *s, int64_t later)
{
    s->facts.now += later;
    follow_plan_clear(&s->plan);
    assert_int_equal(follow_plan_make(&s->memory, &s->facts, &s->plan), 0);
}

static const struct follow_action *find(const struct scene *s, enum follow_kind kind)
{
    const struct follow_action *found = NULL;

    for (size_t i = 0; i < s->plan.n; i++)
        if (s->plan.actions[i].kind == kind) {
            assert_null(found);
            found = &s->plan.actions[i];
        }
    return found;
}

static const struct follow_action *need(const struct scene *s, enum follow_kind kind)
{
    const struct follow_action *found = find(s, kind);

    if (found)
        return found;
    fail_msg("no action of kind %d", (int)kind);
    abort();
}

static void assert_nothing(struct scene *s)
{
    plan_at(s, 1);
    assert_int_equal(s->plan.n, 0);
}

static void assert_revoked(struct scene *s, const struct uidpool_lease *l)
{
    plan_at(s, 1);
    assert_int_equal(s->plan.n, 1);
    assert_ptr_equal(need(s, FOLLOW_REVOKE)->lease, l);
}

static void assert_retried(struct scene *s, const struct uidpool_lease *l)
{
    plan_at(s, 1);
    assert_int_equal(s->plan.n, 1);
    assert_ptr_equal(need(s, FOLLOW_RETRY)->lease, l);
}

/*
 * Domains that appear.
 */

static void a_domain_that_appears_is_leased(void **state)
{
    struct scene *s = *state;
    const struct follow_action *a;

    add_pool(s, UIDPOOL_POLICY_DOMID);
    add_domain(s, 5, A);
    plan_at(s, 0);
    assert_int_equal(s->plan.n, 1);
    a = need(s, FOLLOW_LEASE);
    assert_ptr_equal(a->pool, &s->pools[0]);
    assert_int_equal(a->domain->domid, 5);
    assert_false(a->adopt);
    /* Once, as long as that is under way; and when it has one. */
    assert_nothing(s);
    assert_false(follow_memory_leased(&s->memory, 1, 5, A, false, s->facts.now));
    add_own(s, 20, 5, A);
    assert_nothing(s);
    /* Somebody released it while it lives: it stays so. */
    s->facts.n_leases = 0;
    plan_at(s, 100 * USEC_PER_SEC);
    assert_int_equal(s->plan.n, 0);
}

static void each_pool_leases(void **state)
{
    struct scene *s = *state;

    add_pool(s, UIDPOOL_POLICY_DOMID);
    add_pool(s, UIDPOOL_POLICY_DOMID);
    add_pool(s, UIDPOOL_POLICY_NEXT);
    add_pool(s, UIDPOOL_POLICY_DOMID)->retired = true;
    add_domain(s, 5, A);
    plan_at(s, 0);
    assert_int_equal(s->plan.n, 2);
    assert_ptr_equal(s->plan.actions[0].pool, &s->pools[0]);
    assert_ptr_equal(s->plan.actions[1].pool, &s->pools[1]);
}

static void domain_0_is_the_host(void **state)
{
    struct scene *s = *state;

    add_pool(s, UIDPOOL_POLICY_DOMID);
    add_domain(s, 0, A);
    assert_nothing(s);
    no_domains(s);
    set_absent(s, 0);
    add_own(s, 20, 0, A);
    assert_nothing(s);
}

static void its_process_runs_already(void **state)
{
    struct scene *s = *state;

    add_pool(s, UIDPOOL_POLICY_DOMID);
    add_domain(s, 5, A)->kill_uid = BASE + 5;
    add_domain(s, 6, B)->kill_uid = BASE + 5;
    plan_at(s, 0);
    assert_int_equal(s->plan.n, 2);
    assert_true(s->plan.actions[0].adopt);
    assert_false(s->plan.actions[1].adopt);
}

static void a_uuid_may_come_late(void **state)
{
    struct scene *s = *state;
    struct follow_domain *d;

    add_pool(s, UIDPOOL_POLICY_DOMID);
    d = add_domain(s, 5, "");
    assert_nothing(s);
    assert_int_equal(s->plan.look_at, s->facts.now + 3 * USEC_PER_SEC);
    memcpy(d->uuid, A, sizeof(A));
    plan_at(s, 1);
    assert_non_null(find(s, FOLLOW_LEASE));
    /* Or never. */
    d = add_domain(s, 6, "");
    assert_nothing(s);
    plan_at(s, 3 * USEC_PER_SEC);
    assert_non_null(find(s, FOLLOW_LEASE));
    assert_ptr_equal(need(s, FOLLOW_LEASE)->domain, d);
}

static void a_name_is_enough(void **state)
{
    struct scene *s = *state;
    struct follow_domain *d;
    struct uidpool_lease *l;

    add_pool(s, UIDPOOL_POLICY_DOMID);
    add_pool(s, UIDPOOL_POLICY_DOMID);
    d = add_domain(s, 5, A);
    (void)snprintf(d->name, sizeof(d->name), "web");
    l = add_named(s, 20, BASE + 900, "web");
    plan_at(s, 0);
    /* Not in the other pool. */
    assert_int_equal(s->plan.n, 2);
    assert_ptr_equal(need(s, FOLLOW_LEASE)->pool, &s->pools[1]);
    assert_int_equal(need(s, FOLLOW_KILL_UID)->uid, BASE + 900);
    /* Of another machine, or of none any more. */
    memcpy(l->uuid, B, sizeof(B));
    follow_memory_clear(&s->memory);
    plan_at(s, 0);
    assert_int_equal(s->plan.n, 2);
    assert_null(find(s, FOLLOW_KILL_UID));
}

static void what_failed_is_tried_again(void **state)
{
    struct scene *s = *state;
    int64_t pause = USEC_PER_SEC;
    struct follow_domain *d;

    add_pool(s, UIDPOOL_POLICY_DOMID);
    d = add_domain(s, 5, A);
    plan_at(s, 0);
    assert_non_null(find(s, FOLLOW_LEASE));
    /* Told once. */
    assert_true(follow_memory_leased(&s->memory, 1, 5, A, true, s->facts.now));
    for (int i = 0; i < 10; i++) {
        plan_at(s, pause - 1);
        assert_int_equal(s->plan.n, 0);
        assert_int_equal(s->plan.look_at, s->facts.now + 1);
        plan_at(s, 1);
        assert_non_null(find(s, FOLLOW_LEASE));
        assert_false(follow_memory_leased(&s->memory, 1, 5, A, true, s->facts.now));
        pause = pause * 2 > 60 * USEC_PER_SEC ? 60 * USEC_PER_SEC : pause * 2;
    }
    /* Something changed in the ledger: sooner, but not at once. */
    s->facts.newest_event++;
    assert_nothing(s);
    plan_at(s, 10 * USEC_PER_SEC);
    assert_non_null(find(s, FOLLOW_LEASE));
    assert_false(follow_memory_leased(&s->memory, 1, 5, A, true, s->facts.now));
    /* libxl said whose the uid is: now. */
    d->kill_uid = BASE + 5;
    plan_at(s, 1);
    assert_true(need(s, FOLLOW_LEASE)->adopt);
    assert_false(follow_memory_leased(&s->memory, 1, 5, A, false, s->facts.now));
    /* Another domain is told of anew. */
    memcpy(d->uuid, B, sizeof(B));
    plan_at(s, 1);
    assert_non_null(find(s, FOLLOW_LEASE));
    assert_false(follow_memory_leased(&s->memory, 1, 5, A, false, s->facts.now));
    assert_true(follow_memory_leased(&s->memory, 1, 5, B, true, s->facts.now));
}

/*
 * Domains that are gone.
 */

static void a_domain_that_was_seen_and_is_gone(void **state)
{
    struct scene *s = *state;
    struct uidpool_lease *l;

    add_pool(s, UIDPOOL_POLICY_DOMID);
    add_domain(s, 5, A);
    /* Older than the store, and nobody's reason: but it was seen. */
    l = add_lease(s, 9, 5, A);
    assert_nothing(s);
    no_domains(s);
    assert_nothing(s); /* nobody said that it is absent */
    set_absent(s, 5);
    assert_revoked(s, l);
    assert_nothing(s); /* that is under way */
    follow_memory_revoked(&s->memory, 9, true, s->facts.now);
    assert_nothing(s);
    assert_int_equal(s->plan.look_at, s->facts.now - 1 + 5 * USEC_PER_SEC);
    plan_at(s, 5 * USEC_PER_SEC);
    assert_non_null(find(s, FOLLOW_REVOKE));
    l->state = UIDPOOL_STATE_REVOKING;
    follow_memory_revoked(&s->memory, 9, false, s->facts.now);
    assert_retried(s, l);
    assert_nothing(s);
    l->state = UIDPOOL_STATE_QUARANTINED;
    assert_nothing(s);
}

static void a_lease_of_our_own_needs_no_witness(void **state)
{
    struct scene *s = *state;

    add_pool(s, UIDPOOL_POLICY_DOMID);
    set_absent(s, 5);
    assert_revoked(s, add_own(s, 11, 5, A));
    /* An adopted one. */
    follow_memory_clear(&s->memory);
    (void)snprintf(s->leases[0].reason, sizeof(s->leases[0].reason),
                   "it ran already; " FOLLOW_REASON);
    assert_revoked(s, &s->leases[0]);
}

static void a_lease_that_nobody_has_seen_used(void **state)
{
    struct scene *s = *state;
    struct uidpool_lease *l;

    add_pool(s, UIDPOOL_POLICY_DOMID);
    set_absent(s, 5);
    l = add_lease(s, 11, 5, A);
    assert_nothing(s);
    assert_int_equal(s->plan.look_at, s->facts.now + FOLLOW_ABSENT_LONG);
    plan_at(s, FOLLOW_ABSENT_LONG - 1);
    assert_int_equal(s->plan.n, 0);
    /* Nobody was looking for a moment: from the start. */
    follow_memory_interrupted(&s->memory);
    assert_nothing(s);
    plan_at(s, FOLLOW_ABSENT_LONG - 1);
    assert_int_equal(s->plan.n, 0);
    assert_revoked(s, l);
    /* In a store that lost something it proves nothing. */
    follow_memory_clear(&s->memory);
    (void)snprintf(s->view.marker, sizeof(s->view.marker), LEDGER " 10 lost");
    assert_nothing(s);
    plan_at(s, 10 * FOLLOW_ABSENT_LONG);
    assert_int_equal(s->plan.n, 0);
}

static void an_old_lease_stays_for_ever(void **state)
{
    struct scene *s = *state;

    add_pool(s, UIDPOOL_POLICY_DOMID);
    set_absent(s, 5);
    add_own(s, 10, 5, A);
    assert_nothing(s);
    plan_at(s, 10 * FOLLOW_ABSENT_LONG);
    assert_int_equal(s->plan.n, 0);
}

static void an_empty_store_proves_nothing(void **state)
{
    struct scene *s = *state;
    struct uidpool_lease *l;
    char marker[64];

    add_pool(s, UIDPOOL_POLICY_DOMID);
    add_domain(s, 5, A);
    l = add_own(s, 20, 5, A);
    assert_nothing(s);
    /* The store is restarted, and the domain lives. */
    follow_memory_interrupted(&s->memory);
    no_domains(s);
    set_absent(s, 5);
    s->view.marker[0] = '\0';
    plan_at(s, 1);
    assert_int_equal(s->plan.n, 2);
    assert_int_equal(need(s, FOLLOW_MARK)->since, 100);
    assert_int_equal(need(s, FOLLOW_STORE_LOST)->count, 1);
    assert_ptr_equal(need(s, FOLLOW_STORE_LOST)->lease, l);
    /* Told once; the marker is written until it is there. */
    s->facts.newest_event = 101;
    assert_nothing(s);
    assert_int_equal(s->plan.look_at, s->facts.now - 1 + 2 * USEC_PER_SEC);
    plan_at(s, 2 * USEC_PER_SEC);
    assert_int_equal(s->plan.n, 1);
    assert_int_equal(need(s, FOLLOW_MARK)->since, 101);
    assert_true(need(s, FOLLOW_MARK)->lost);
    follow_marker(LEDGER, 100, true, marker, sizeof(marker));
    (void)snprintf(s->view.marker, sizeof(s->view.marker), "%s", marker);
    assert_nothing(s);
    plan_at(s, 10 * FOLLOW_ABSENT_LONG);
    assert_int_equal(s->plan.n, 0);
    /* It is introduced again, and dies then. */
    add_domain(s, 5, A);
    assert_nothing(s);
    no_domains(s);
    set_absent(s, 5);
    assert_revoked(s, l);
}

static void a_marker_of_another_is_none(void **state)
{
    static const char *const not_ours[] = {
        "1-2 10 los", "1-2 10 lost ", "1-2 10  lost", "1-2 lost", "1-22 10", "1-2", "1-2 ",
        "1-2 x",      "1-2 010",      "1-2 -1",       "1-3 10",   "1-2 1 ",  "2",   ""};
    struct scene *s = *state;

    add_pool(s, UIDPOOL_POLICY_DOMID);
    set_absent(s, 5);
    add_own(s, 11, 5, A);
    for (size_t i = 0; i < ELEMENTS_OF(not_ours); i++) {
        (void)snprintf(s->view.marker, sizeof(s->view.marker), "%s", not_ours[i]);
        plan_at(s, 1);
        assert_non_null(find(s, FOLLOW_MARK));
        assert_null(find(s, FOLLOW_REVOKE));
        follow_memory_clear(&s->memory);
    }
    /* One that we wrote once, and a later one. */
    (void)snprintf(s->view.marker, sizeof(s->view.marker), LEDGER " 30");
    assert_nothing(s);
    (void)snprintf(s->view.marker, sizeof(s->view.marker), LEDGER " 10");
    plan_at(s, 1);
    assert_non_null(find(s, FOLLOW_MARK));
    assert_null(find(s, FOLLOW_REVOKE));
}

static void leases_by_name_are_their_owners(void **state)
{
    struct scene *s = *state;

    add_pool(s, UIDPOOL_POLICY_NEXT);
    add_named(s, 20, BASE + 3, "web");
    set_absent(s, 5);
    assert_nothing(s);
    plan_at(s, 2 * FOLLOW_ABSENT_LONG);
    assert_int_equal(s->plan.n, 0);
}

static void leases_of_an_earlier_boot_are_not_followed(void **state)
{
    struct scene *s = *state;
    const char *uuid = NULL;
    struct uidpool_lease *l;

    add_pool(s, UIDPOOL_POLICY_DOMID);
    set_absent(s, 5);
    l = add_own(s, 5, 5, A);
    l->other_boot = true;
    assert_retried(s, l);
    assert_nothing(s);
    assert_true(follow_guard(&s->memory, l, &uuid));
    assert_string_equal(uuid, "");
    /* The same machine, started after the reboot: it is another domain, and gets no lease yet. */
    add_domain(s, 5, A);
    plan_at(s, 1);
    assert_int_equal(s->plan.n, 1);
    assert_ptr_equal(need(s, FOLLOW_NEXT_OWNER)->lease, l);
    assert_true(follow_guard(&s->memory, l, &uuid));
    assert_string_equal(uuid, "");
    /* Which lives on when the store is lost. */
    s->view.marker[0] = '\0';
    no_domains(s);
    set_absent(s, 5);
    plan_at(s, 1);
    (void)snprintf(s->view.marker, sizeof(s->view.marker), LEDGER " 100");
    assert_retried(s, l);
    assert_false(follow_guard(&s->memory, l, &uuid));
}

/*
 * The next owner of a domid.
 */

static void the_next_owner_is_left_alone(void **state)
{
    struct scene *s = *state;
    struct uidpool_lease *l;

    add_pool(s, UIDPOOL_POLICY_DOMID);
    add_domain(s, 5, A);
    l = add_own(s, 20, 5, A);
    assert_nothing(s);
    memcpy(s->domains[0].uuid, B, sizeof(B));
    s->domains[0].kill_uid = BASE + 5;
    plan_at(s, 1);
    assert_int_equal(s->plan.n, 1);
    assert_ptr_equal(need(s, FOLLOW_NEXT_OWNER)->lease, l);
    plan_at(s, 2 * FOLLOW_ABSENT_LONG);
    assert_int_equal(s->plan.n, 0);
    no_domains(s);
    set_absent(s, 5);
    assert_revoked(s, l);
}

static void who_is_being_revoked_keeps_the_uid(void **state)
{
    struct scene *s = *state;

    add_pool(s, UIDPOOL_POLICY_DOMID);
    add_own(s, 20, 5, A)->state = UIDPOOL_STATE_REVOKING;
    add_domain(s, 5, B);
    plan_at(s, 0);
    assert_int_equal(s->plan.n, 1);
    assert_non_null(find(s, FOLLOW_NEXT_OWNER));
    /* By name, of the same uid. */
    follow_memory_clear(&s->memory);
    s->facts.n_leases = 0;
    add_named(s, 20, BASE + 5, "web")->state = UIDPOOL_STATE_REVOKING;
    assert_nothing(s);
    /* A block that reaches it. */
    follow_memory_clear(&s->memory);
    s->leases[0].uid = BASE + 2;
    s->leases[0].count = 4;
    assert_nothing(s);
    follow_memory_clear(&s->memory);
    s->leases[0].count = 3;
    plan_at(s, 1);
    assert_non_null(find(s, FOLLOW_LEASE));
}

static void the_guard_asks_the_right_question(void **state)
{
    struct scene *s = *state;
    const char *uuid = "x";
    struct uidpool_lease *l;

    add_pool(s, UIDPOOL_POLICY_DOMID);
    l = add_lease(s, 20, 5, A);
    assert_false(follow_guard(&s->memory, l, &uuid)); /* nothing was seen yet */
    add_domain(s, 5, A);
    assert_nothing(s);
    assert_true(follow_guard(&s->memory, l, &uuid));
    assert_string_equal(uuid, A);
    /* It was gone: whoever is there now is another, whatever its uuid. */
    no_domains(s);
    set_absent(s, 5);
    assert_revoked(s, l);
    l->state = UIDPOOL_STATE_REVOKING;
    add_domain(s, 5, A);
    plan_at(s, 1);
    assert_non_null(find(s, FOLLOW_NEXT_OWNER));
    assert_true(follow_guard(&s->memory, l, &uuid));
    assert_string_equal(uuid, "");
    /* After a restart of ours nobody knows which it is. */
    follow_memory_clear(&s->memory);
    assert_nothing(s);
    assert_true(follow_guard(&s->memory, l, &uuid));
    assert_string_equal(uuid, "");
    /* In a store that lost what was before the lease its absence proves nothing. */
    follow_memory_clear(&s->memory);
    (void)snprintf(s->view.marker, sizeof(s->view.marker), LEDGER " 20 lost");
    no_domains(s);
    set_absent(s, 5);
    assert_retried(s, l);
    assert_false(follow_guard(&s->memory, l, &uuid));
    /* In the first one of this boot it does. */
    follow_memory_clear(&s->memory);
    (void)snprintf(s->view.marker, sizeof(s->view.marker), LEDGER " 20");
    assert_retried(s, l);
    assert_true(follow_guard(&s->memory, l, &uuid));
    assert_string_equal(uuid, "");
}

/* A store that is not marked yet is one and the same all the while. */
static void a_next_owner_before_the_marker(void **state)
{
    struct scene *s = *state;
    const char *uuid = "x";
    struct uidpool_lease *l;

    add_pool(s, UIDPOOL_POLICY_DOMID);
    l = add_own(s, 20, 5, A);
    l->state = UIDPOOL_STATE_REVOKING;
    add_domain(s, 5, B);
    s->view.marker[0] = '\0';
    plan_at(s, 1);
    assert_non_null(find(s, FOLLOW_NEXT_OWNER));
    plan_at(s, 1);
    assert_null(find(s, FOLLOW_NEXT_OWNER));
    assert_false(follow_guard(&s->memory, l, &uuid));
    /* It goes before the marker is seen. */
    (void)snprintf(s->view.marker, sizeof(s->view.marker), LEDGER " 100");
    no_domains(s);
    set_absent(s, 5);
    assert_retried(s, l);
    assert_true(follow_guard(&s->memory, l, &uuid));
    assert_string_equal(uuid, "");
}

/* The ledger calls it a lease of this boot as soon as it is being revoked. */
static void what_the_last_boot_left_is_revoked(void **state)
{
    struct scene *s = *state;
    const char *uuid = "x";
    struct uidpool_lease *l;

    add_pool(s, UIDPOOL_POLICY_DOMID);
    l = add_own(s, 20, 5, A);
    l->other_boot = true;
    assert_int_equal(follow_memory_renew(&s->memory, &s->facts), 0);
    l->state = UIDPOOL_STATE_REVOKING;
    l->other_boot = false;
    set_absent(s, 5);
    s->view.marker[0] = '\0';
    plan_at(s, 1);
    assert_int_equal(s->plan.n, 1);
    assert_false(need(s, FOLLOW_MARK)->lost);
    (void)snprintf(s->view.marker, sizeof(s->view.marker), LEDGER " 100");
    assert_retried(s, l);
    assert_true(follow_guard(&s->memory, l, &uuid));
    assert_string_equal(uuid, "");
    /* Also by the next daemon, which knows no more than the ledger. */
    follow_memory_clear(&s->memory);
    assert_retried(s, l);
    assert_true(follow_guard(&s->memory, l, &uuid));
    assert_string_equal(uuid, "");
    /* But not in a store that is another one than it was. */
    follow_memory_clear(&s->memory);
    s->view.marker[0] = '\0';
    plan_at(s, 1);
    assert_true(need(s, FOLLOW_MARK)->lost);
    (void)snprintf(s->view.marker, sizeof(s->view.marker), LEDGER " 100 lost");
    assert_retried(s, l);
    assert_false(follow_guard(&s->memory, l, &uuid));
}

static void a_revocation_goes_on_when_the_store_is_lost(void **state)
{
    struct scene *s = *state;
    const char *uuid = "x";
    struct uidpool_lease *l;

    add_pool(s, UIDPOOL_POLICY_DOMID);
    l = add_own(s, 20, 5, A);
    set_absent(s, 5);
    assert_revoked(s, l);
    l->state = UIDPOOL_STATE_REVOKING;
    assert_retried(s, l);
    s->view.marker[0] = '\0';
    plan_at(s, 1);
    assert_false(follow_guard(&s->memory, l, &uuid));
    (void)snprintf(s->view.marker, sizeof(s->view.marker), LEDGER " 100");
    assert_retried(s, l);
    assert_true(follow_guard(&s->memory, l, &uuid));
    assert_string_equal(uuid, "");
}

/*
 * The kill-uid.
 */

static void the_kill_uid_is_kept(void **state)
{
    struct scene *s = *state;
    struct follow_domain *d;

    add_pool(s, UIDPOOL_POLICY_NEXT);
    d = add_domain(s, 5, A);
    add_lease(s, 20, 5, A)->uid = BASE + 77;
    plan_at(s, 0);
    assert_int_equal(s->plan.n, 1);
    assert_int_equal(need(s, FOLLOW_KILL_UID)->uid, BASE + 77);
    assert_ptr_equal(need(s, FOLLOW_KILL_UID)->domain, d);
    /* libxl writes what it thinks. */
    d->kill_uid = BASE + 5;
    plan_at(s, 1);
    assert_int_equal(need(s, FOLLOW_KILL_UID)->uid, BASE + 77);
    /* It was refused: not on and on. */
    assert_nothing(s);
    assert_true(s->plan.look_at > s->facts.now);
    plan_at(s, 2 * USEC_PER_SEC);
    assert_non_null(find(s, FOLLOW_KILL_UID));
    d->kill_uid = BASE + 77;
    assert_nothing(s);
    d->kill_uid = UIDPOOL_NO_UID;
    plan_at(s, 1);
    assert_non_null(find(s, FOLLOW_KILL_UID));
}

static void a_name_of_two_domains_is_nobodys(void **state)
{
    struct scene *s = *state;

    add_pool(s, UIDPOOL_POLICY_NEXT);
    add_named(s, 20, BASE + 3, "web");
    for (int i = 5; i < 8; i++)
        (void)snprintf(add_domain(s, i, "")->name, UIDPOOL_NAME_MAX, i < 7 ? "web" : "other");
    assert_nothing(s);
    (void)snprintf(s->domains[0].name, UIDPOOL_NAME_MAX, "wea");
    plan_at(s, 0);
    assert_ptr_equal(need(s, FOLLOW_KILL_UID)->domain, &s->domains[1]);
}

static void kill_uids_of_the_domid_policy_are_libxls(void **state)
{
    struct scene *s = *state;

    add_pool(s, UIDPOOL_POLICY_DOMID);
    add_domain(s, 5, A)->kill_uid = 12345;
    add_own(s, 20, 5, A);
    assert_nothing(s);
}

/*
 * A world.
 */

#define DOMIDS 6

/* A domain as the hypervisor has it. Nothing runs for it before it is introduced for the first
 * time, and that goes on when the store is lost. */
struct life {
    bool lives, introduced, runs;
    bool released; /* by the toolstack, which then asks no more */
    char uuid[UIDPOOL_UUID_LEN + 1];
};

struct world {
    struct scene *s;
    struct life lives[DOMIDS + 1];
    struct uidpool_lease leases[MOST]; /* the ledger's */
    size_t n_leases;
    int64_t events, now;
    uint64_t random;
    unsigned machines, lost, revoked, leased;
    int64_t writing; /* a marker is under way to the store; -1: none */
    bool writing_lost;
    bool stale; /* what was seen is of another connection than there is now */
};

/* xorshift64. */
static unsigned dice(struct world *w, unsigned n)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return (unsigned)(w->random % n);
}

static void born(struct world *w, int64_t domid, bool introduced)
{
    struct life *life = &w->lives[domid];

    if (life->lives)
        return;
    *life = (struct life){.lives = true, .introduced = introduced, .runs = introduced};
    (void)snprintf(life->uuid, sizeof(life->uuid), "%08x-0000-0000-0000-000000000000",
                   ++w->machines);
}

static struct uidpool_lease *write_lease(struct world *w, int64_t domid, const char *uuid,
                                         const char *reason)
{
    struct uidpool_lease *l = &w->leases[w->n_leases];

    for (size_t i = 0; i < w->n_leases; i++)
        if (w->leases[i].domid == domid)
            return NULL; /* its uid is taken */
    assert_true(w->n_leases++ < MOST);
    *l = (struct uidpool_lease){.id = ++w->events,
                                .pool_id = 1,
                                .uid = BASE + (uid_t)domid,
                                .count = 1,
                                .domid = domid,
                                .state = UIDPOOL_STATE_LEASED};
    (void)snprintf(l->uuid, sizeof(l->uuid), "%s", uuid);
    (void)snprintf(l->reason, sizeof(l->reason), "%s", reason);
    w->leased++;
    return l;
}

/* A try of the revocations: the guard, then the kill. */
static void try_revocation(struct world *w, size_t i)
{
    const struct uidpool_lease *l = &w->leases[i];
    const struct life *life = &w->lives[l->domid];
    const char *uuid = NULL;

    if (w->stale || l->state != UIDPOOL_STATE_REVOKING || !follow_guard(&w->s->memory, l, &uuid))
        return;
    if (life->lives && life->introduced && strcmp(life->uuid, uuid) != 0)
        return;
    /* The kill. */
    if (life->runs && strcmp(life->uuid, l->uuid) != 0)
        fail_msg("domid %d: lease %d of %s, and %s was killed", (int)l->domid, (int)l->id, l->uuid,
                 life->uuid);
    follow_memory_revoked(&w->s->memory, l->id, false, w->now);
    w->leases[i] = w->leases[--w->n_leases];
    w->events++;
    w->revoked++;
}

static void carry_out(struct world *w, const struct follow_action *a)
{
    const struct life *life;

    switch (a->kind) {
    case FOLLOW_LEASE: {
        bool given = write_lease(w, a->domain->domid, a->domain->uuid, FOLLOW_REASON) != NULL;

        (void)follow_memory_leased(&w->s->memory, 1, a->domain->domid, a->domain->uuid, !given,
                                   w->now);
        break;
    }
    case FOLLOW_REVOKE:
        life = &w->lives[a->lease->domid];
        if (life->runs && strcmp(life->uuid, a->lease->uuid) == 0)
            fail_msg("domid %d lives, and its lease %d is revoked", (int)a->lease->domid,
                     (int)a->lease->id);
        for (size_t i = 0; i < w->n_leases; i++)
            if (w->leases[i].id == a->lease->id)
                w->leases[i].state = UIDPOOL_STATE_REVOKING;
        w->events++;
        break;
    case FOLLOW_MARK:
        w->writing = a->since;
        w->writing_lost = a->lost;
        break;
    case FOLLOW_RETRY:
    case FOLLOW_KILL_UID:
    case FOLLOW_NEXT_OWNER:
    case FOLLOW_STORE_LOST:
        break;
    }
}

/* One scan and what follows from it. */
static void follow(struct world *w)
{
    struct scene *s = w->s;

    w->stale = false;
    no_domains(s);
    for (int64_t domid = 1; domid <= DOMIDS; domid++)
        if (w->lives[domid].lives && w->lives[domid].introduced)
            add_domain(s, domid, w->lives[domid].uuid);
        else
            set_absent(s, domid);
    memcpy(s->leases, w->leases, sizeof(s->leases));
    s->facts.n_leases = w->n_leases;
    s->facts.newest_event = w->events;
    s->facts.now = w->now;
    plan_at(s, 0);
    for (size_t i = 0; i < s->plan.n; i++)
        carry_out(w, &s->plan.actions[i]);
}

/* What is written reaches this store, or never any. */
static void write_marker(struct world *w)
{
    if (w->writing >= 0)
        follow_marker(LEDGER, w->writing, w->writing_lost, w->s->view.marker,
                      sizeof(w->s->view.marker));
    w->writing = -1;
}

static void lose_store(struct world *w)
{
    follow(w); /* what was not seen by then is the assumption of follow_memory_forget_store() */
    for (int64_t domid = 1; domid <= DOMIDS; domid++)
        w->lives[domid].introduced = false;
    w->s->view.marker[0] = '\0';
    w->writing = -1;
    w->stale = true;
    follow_memory_interrupted(&w->s->memory);
    w->s->facts.connection++;
    w->lost++;
}

static void release(struct world *w, struct uidpool_lease *l)
{
    l->state = UIDPOOL_STATE_REVOKING;
    w->lives[l->domid].released = true;
}

static void turn(struct world *w)
{
    int64_t domid = 1 + (int64_t)dice(w, DOMIDS);
    struct life *life = &w->lives[domid];
    unsigned what = dice(w, 1000);

    w->now += dice(w, 4) ? (int64_t)dice(w, 1000000) : 700 * USEC_PER_SEC;
    if (what < 150)
        born(w, domid, dice(w, 10) > 0);
    else if (what < 250)
        *life = (struct life){0};
    else if (what < 300)
        life->introduced = life->runs = life->lives;
    else if (what < 350 && !life->released)
        write_lease(w, domid, life->lives ? life->uuid : B, "");
    else if (what < 370 && w->n_leases > 0)
        release(w, &w->leases[dice(w, (unsigned)w->n_leases)]);
    else if (what < 600 && w->n_leases > 0)
        try_revocation(w, dice(w, (unsigned)w->n_leases));
    else if (what < 610)
        lose_store(w);
    else if (what < 630)
        follow_memory_clear(&w->s->memory);
    else if (what < 700)
        write_marker(w);
    else
        follow(w);
}

/* Calm: all who live have a lease, and only they. */
static void settle(struct world *w)
{
    for (int64_t domid = 1; domid <= DOMIDS; domid++)
        w->lives[domid] = (struct life){0};
    lose_store(w);
    w->n_leases = 0; /* those older than the store are the administrator's */
    for (int round = 0; round < 20; round++) {
        w->now += 700 * USEC_PER_SEC;
        if (round < 10)
            born(w, 1 + (int64_t)dice(w, DOMIDS), true);
        if (round == 12)
            w->lives[1] = (struct life){0};
        follow(w);
        write_marker(w);
        follow(w);
        for (size_t i = w->n_leases; i-- > 0;)
            try_revocation(w, i);
    }
    for (int64_t domid = 1; domid <= DOMIDS; domid++) {
        size_t n = 0;

        for (size_t i = 0; i < w->n_leases; i++)
            n += w->leases[i].domid == domid;
        assert_int_equal(n, w->lives[domid].lives);
    }
}

static void nobody_who_lives_is_killed(void **state)
{
    unsigned lost = 0, revoked = 0, leased = 0;

    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct world w = {.s = *state,
                          .now = USEC_PER_SEC,
                          .events = 10,
                          .random = seed * 0x9E3779B97F4A7C15u,
                          .writing = -1};

        follow_memory_clear(&w.s->memory);
        w.s->facts.n_pools = 0;
        w.s->view.marker[0] = '\0';
        add_pool(w.s, UIDPOOL_POLICY_DOMID);
        for (int i = 0; i < 1000; i++)
            turn(&w);
        settle(&w);
        lost += w.lost;
        revoked += w.revoked;
        leased += w.leased;
    }
    print_message("%u leases, %u revoked, %u stores lost\n", leased, revoked, lost);
    assert_true(lost > 1000 && revoked > 1000);
}

static void a_view_is_searched(void **state)
{
    struct scene *s = *state;
    const struct follow_domain *d = NULL;

    for (int64_t domid = 2; domid < 60; domid += 3)
        add_domain(s, domid, A);
    set_absent(s, 3);
    for (int64_t domid = 0; domid < 70; domid++) {
        enum follow_presence p = follow_view_find(&s->view, domid, &d);

        if (domid % 3 == 2 && domid < 60) {
            assert_int_equal(p, FOLLOW_PRESENT);
            assert_int_equal(d->domid, domid);
        } else
            assert_int_equal(p, domid == 3 ? FOLLOW_ABSENT : FOLLOW_UNKNOWN);
    }
    assert_int_equal(follow_view_find(&s->view, -1, NULL), FOLLOW_UNKNOWN);
    set_absent(s, DOMID_LAST);
    assert_int_equal(follow_view_find(&s->view, DOMID_LAST, NULL), FOLLOW_ABSENT);
    assert_int_equal(follow_view_find(&s->view, DOMID_LAST + 1, NULL), FOLLOW_UNKNOWN);
    assert_int_equal(follow_view_find(&s->view, INT64_MAX, NULL), FOLLOW_UNKNOWN);
}

#define test(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(a_view_is_searched),
        test(a_domain_that_appears_is_leased),
        test(each_pool_leases),
        test(domain_0_is_the_host),
        test(its_process_runs_already),
        test(a_uuid_may_come_late),
        test(a_name_is_enough),
        test(what_failed_is_tried_again),
        test(a_domain_that_was_seen_and_is_gone),
        test(a_lease_of_our_own_needs_no_witness),
        test(a_lease_that_nobody_has_seen_used),
        test(an_old_lease_stays_for_ever),
        test(an_empty_store_proves_nothing),
        test(a_marker_of_another_is_none),
        test(leases_by_name_are_their_owners),
        test(leases_of_an_earlier_boot_are_not_followed),
        test(the_next_owner_is_left_alone),
        test(who_is_being_revoked_keeps_the_uid),
        test(the_guard_asks_the_right_question),
        test(a_next_owner_before_the_marker),
        test(what_the_last_boot_left_is_revoked),
        test(a_revocation_goes_on_when_the_store_is_lost),
        test(the_kill_uid_is_kept),
        test(a_name_of_two_domains_is_nobodys),
        test(kill_uids_of_the_domid_policy_are_libxls),
        test(nobody_who_lives_is_killed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
