/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a toolstack does around a domain's life, in its smallest form: lease a uid for the domain's
 * device model, run it, release the uid when the domain is gone. Uses <uidpool.h> alone.
 *
 *     cc -o lease lease.c $(pkg-config --cflags --libs libuidpool)
 *     ./lease [LEDGER]
 */
#include <uidpool.h>

#include <inttypes.h>
#include <stdio.h>

/* The domain that this toolstack has just made. */
#define DOMID 5
/* Seconds that the release may take. */
#define TIMEOUT 30

/* Not proven: these still run, so the uid stays taken and the domain's end must be retried. */
static void print_survivors(struct uidpool *u)
{
    const struct uidpool_survivor *list;
    size_t n = uidpool_survivors(u, &list);

    for (size_t i = 0; i < n; i++)
        fprintf(stderr, "survivor: pid %d, tid %d: %s\n", list[i].pid, list[i].tid,
                list[i].command);
}

static enum uidpool_status report(struct uidpool *u, const char *what, enum uidpool_status status)
{
    if (status == UIDPOOL_OK)
        return status;
    fprintf(stderr, "%s: %s\n", what, uidpool_message(u));
    if (status == UIDPOOL_NOT_PROVEN)
        print_survivors(u);
    return status;
}

static bool print_released(const struct uidpool_lease *lease, void *userdata)
{
    (void)userdata;
    printf("released uid %" PRIu32 ": now %s, %" PRIu32 " tasks killed\n", lease->uid,
           uidpool_state_name(lease->state), lease->tasks_killed);
    return true;
}

static enum uidpool_status run_domain(struct uidpool *u, int64_t domid)
{
    struct uidpool_lease_request request = UIDPOOL_LEASE_REQUEST_INIT;
    struct uidpool_selector selector = UIDPOOL_SELECTOR_INIT;
    const struct uidpool_lease *lease;
    enum uidpool_status status;

    request.domid = domid;
    status = report(u, "lease", uidpool_lease(u, &request, TIMEOUT, &lease));
    if (status != UIDPOOL_OK)
        return status;

    /* Here a toolstack starts QEMU, which takes the ids on by itself. */
    printf("-runas %" PRIu32 ":%" PRIu32 "\n", lease->uid, lease->gid);

    selector.domid = domid;
    return report(u, "release", uidpool_release(u, &selector, TIMEOUT, print_released, NULL));
}

int main(int argc, char **argv)
{
    enum uidpool_status status;
    struct uidpool *u;

    status = uidpool_new(argc > 1 ? argv[1] : NULL, NULL, &u);
    if (status != UIDPOOL_OK) {
        fprintf(stderr, "out of memory\n");
        return (int)status;
    }
    status = run_domain(u, DOMID);
    uidpool_free(u);
    return (int)status;
}
