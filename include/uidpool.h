/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libuidpool: leases of uids for virtual machines' device models.
 *
 * A pool is a contiguous range of uids. A lease binds one uid of it, or a contiguous block, to a
 * domid or to a name. A lease ends only after everything that ran as its uids was killed and two
 * independent witnesses, the kernel's own task count (the census) and a walk over /proc (the
 * scan), have both said that nothing is left.
 *
 * Calls block until done. A function that a call is given (`each`, `progress`) must not call the
 * library with the same handle: it gets UIDPOOL_USAGE. A handle serves one thread at a time;
 * different handles are independent, also on one ledger and across processes, but a handle is of no
 * use in a child of fork(2). Every operation needs root, because the ledger and the witnesses do.
 *
 * The library never installs signal handlers, never changes the ids of the calling process and
 * never calls kill(2): small helper programs do, and no SIGCHLD is raised for them.
 */
#ifndef UIDPOOL_H
#define UIDPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The library is built with everything hidden but what stands here. */
#pragma GCC visibility push(default)

/* What an operation came to. The uidpool command exits with the same numbers. */
enum uidpool_status {
    UIDPOOL_OK = 0,
    UIDPOOL_FAILED = 1,        /* it failed; the message says why */
    UIDPOOL_USAGE = 2,         /* an argument is wrong */
    UIDPOOL_NOT_FOUND = 3,     /* no such pool, lease, reservation or name */
    UIDPOOL_CONFLICT = 4,      /* overlaps, held by another, in use by a foreign process, resting */
    UIDPOOL_EXHAUSTED = 5,     /* the pool has no free uid, or no free block of that size */
    UIDPOOL_NOT_PROVEN = 6,    /* something still runs, or cannot be seen; nothing was released */
    UIDPOOL_LEDGER = 7,        /* the ledger is damaged, too new or not safely owned; unchanged */
    UIDPOOL_NOT_PERMITTED = 9, /* the caller may not do this */
    UIDPOOL_FOUND = 10,        /* a check found something; the message says what */
};

/* Where a lease stands. There is no "free": a free uid has no lease. */
enum uidpool_state {
    UIDPOOL_STATE_LEASED = 1,
    UIDPOOL_STATE_REVOKING,    /* to be killed and proven empty; kept until that worked */
    UIDPOOL_STATE_QUARANTINED, /* proven empty; rests before it may be leased again */
    UIDPOOL_STATE_HELD,        /* kept out of use until an administrator clears it */
};

enum uidpool_policy {
    UIDPOOL_POLICY_DOMID = 1, /* uid = base + domid, as libxl's range mode needs */
    UIDPOOL_POLICY_NEXT,      /* round the range: a freed uid comes back as late as possible */
};

/* Longest name of a pool, a reservation or a lease, in bytes, without the NUL. */
#define UIDPOOL_NAME_MAX 63
/* A uuid as text, 8-4-4-4-12 lower-case hexadecimal digits, in bytes, without the NUL. */
#define UIDPOOL_UUID_LEN 36
/* Longest reason stored with a lease, in bytes, without the NUL; longer ones are cut. */
#define UIDPOOL_REASON_MAX 511
/* Seconds that the uidpool command and the daemon give a lease or a release, unless told. */
#define UIDPOOL_TIMEOUT_USUAL 30
/* "No such id" in the fields below. */
#define UIDPOOL_NO_DOMID INT64_C(-1)
#define UIDPOOL_NO_UID ((uid_t)-1)

/* A pool as the ledger has it. */
struct uidpool_pool {
    int64_t id;
    char name[UIDPOOL_NAME_MAX + 1];
    uid_t base;
    uint32_t size; /* uids */
    enum uidpool_policy policy;
    bool group_per_uid;  /* gid = uid for every lease; else all share `gid` */
    gid_t gid;           /* the shared gid; meaningless with group_per_uid */
    uint32_t quarantine; /* seconds a proven uid rests */
    bool follow;         /* the daemon leases and revokes by what xenstore says */
    bool resolve;        /* the daemon answers NSS for leased uids */
    bool retired;        /* gives no leases any more; its range stays taken */
    bool provisioning;   /* gives no leases yet: uidpool-provision has not finished its accounts */
    uid_t next_uid;      /* where the policy `next` looks first */
    /* uids, not leases: */
    uint32_t leased, revoking, quarantined, held, reserved, free;
};

/* A lease as the ledger has it. */
struct uidpool_lease {
    int64_t id; /* the number of the history event that made it; never used twice */
    int64_t pool_id;
    char pool[UIDPOOL_NAME_MAX + 1];
    uid_t uid; /* the first of `count` */
    gid_t gid; /* of `uid`; with a gid per uid the block's gids are uid, uid+1, ... */
    uint32_t count;
    int64_t domid;                   /* or UIDPOOL_NO_DOMID */
    char name[UIDPOOL_NAME_MAX + 1]; /* or "" */
    char uuid[UIDPOOL_UUID_LEN + 1]; /* or "" */
    enum uidpool_state state;
    char reason[UIDPOOL_REASON_MAX + 1]; /* why it is in this state, or "" */
    int64_t leased_at;                   /* microseconds since 1970, as the clock then said */
    int64_t since;                       /* the same, of the last change of state */
    uint32_t rest_left;                  /* seconds of quarantine, or of a hold's, left; 0 = over */
    bool other_boot;                     /* made before the last reboot */
    bool existing;                       /* uidpool_lease(): it was there already */
    uint32_t attempts;                   /* revocations that could not be proven so far */
    uint32_t step;                       /* how often it changed state */
    uint32_t zombies;                    /* uidpool_release(): unreaped dead tasks, not counted */
    uint32_t tasks_killed;               /* uidpool_release(): tasks seen and now dead */
    uint32_t tasks_scanned;              /* uidpool_release(): tasks the scan looked at */
};

/* A reservation: uids of a pool pinned to a name. */
struct uidpool_reservation {
    char name[UIDPOOL_NAME_MAX + 1];
    char pool[UIDPOOL_NAME_MAX + 1];
    int64_t pool_id;
    uid_t uid;
    uint32_t count;
    int64_t created_at; /* microseconds since 1970 */
};

/* One line of the ledger's append-only journal. */
struct uidpool_event {
    int64_t id;
    int64_t at;         /* microseconds since 1970, as the clock then said */
    const char *boot;   /* boot id, 32 hexadecimal digits */
    const char *what;   /* "leased", "revoking", "proven", "freed", ... */
    const char *pool;   /* or NULL */
    int64_t lease;      /* the lease's id, or 0 */
    uid_t uid;          /* first of count, or UIDPOOL_NO_UID */
    uint32_t count;     /* uids, or 0 */
    int64_t domid;      /* or UIDPOOL_NO_DOMID */
    const char *name;   /* or NULL */
    const char *uuid;   /* or NULL */
    const char *detail; /* or NULL */
};

/* A task that outlived its revocation. */
struct uidpool_survivor {
    pid_t pid;
    pid_t tid;
    uid_t uids[4];    /* real, effective, saved, file system */
    char state;       /* as in proc(5): R S D T t Z X I */
    char command[32]; /* comm, with control characters replaced by '?' */
};

struct uidpool;

/*
 * Make a handle. The ledger is opened by the first operation that needs it.
 * `ledger` NULL means the compiled-in path (/var/lib/uidpool/ledger.db), `config` NULL the layered
 * configuration of uidpool.conf(5), else that directory alone. Both are copied.
 * UIDPOOL_FAILED if there is no memory.
 */
enum uidpool_status uidpool_new(const char *ledger, const char *config, struct uidpool **ret);

/* Close it. NULL is allowed. Nothing is left undone that the ledger does not know. */
void uidpool_free(struct uidpool *u);

/* What the last operation on this handle said, one line without newline. Empty after success, or a
 * warning. Valid until the next operation. It names the pool, the uid, the domid and what to do
 * next. */
const char *uidpool_message(const struct uidpool *u);

/* "leased", "revoking", "quarantined", "held"; "domid", "next". NULL for a wrong value. */
const char *uidpool_state_name(enum uidpool_state state);
const char *uidpool_policy_name(enum uidpool_policy policy);

/* Say what long work is doing: called now and then during lease, release, clear, recover and pool
 * add, at most once a second, with one line of text. NULL turns it off. */
void uidpool_set_progress(struct uidpool *u, void (*progress)(const char *text, void *userdata),
                          void *userdata);

/* The survivors of the last operation that returned UIDPOOL_NOT_PROVEN; the library owns them
 * until the next operation. */
size_t uidpool_survivors(const struct uidpool *u, const struct uidpool_survivor **ret);

/*
 * Pools.
 */
struct uidpool_pool_request {
    size_t struct_size; /* set by UIDPOOL_POOL_REQUEST_INIT */
    const char *name;
    bool base_auto; /* find a range that nobody owns; else `base` */
    uid_t base;
    uint32_t size;
    enum uidpool_policy policy;
    bool group_per_uid;
    bool group_is_base; /* the shared gid is the number of the base; else `gid` */
    gid_t gid;
    uint32_t quarantine; /* seconds */
    bool follow, resolve;
};
#define UIDPOOL_POOL_REQUEST_INIT                                                           \
    {                                                                                       \
        .struct_size = sizeof(struct uidpool_pool_request), .policy = UIDPOOL_POLICY_DOMID, \
        .group_is_base = true, .quarantine = 60,                                            \
    }

/* Make a pool, and the ledger if there is none. The same request again succeeds and changes
 * nothing; it brings a retired pool of the same range back. UIDPOOL_CONFLICT if the name is taken
 * with another range or rule, if the range overlaps another pool or the reaper's uids, or if
 * `base_auto` finds no room, or while it is being provisioned. *ret belongs to the handle until its
 * next operation; may be NULL. */
enum uidpool_status uidpool_pool_add(struct uidpool *u, const struct uidpool_pool_request *request,
                                     const struct uidpool_pool **ret);

/* UIDPOOL_NOT_FOUND if there is none of that name. */
enum uidpool_status uidpool_pool_get(struct uidpool *u, const char *name,
                                     const struct uidpool_pool **ret);

/* Call `each` for every pool in order of base, retired ones too, until it returns false. */
enum uidpool_status uidpool_pool_list(struct uidpool *u,
                                      bool (*each)(const struct uidpool_pool *pool, void *userdata),
                                      void *userdata);

/* Give no more leases from it. UIDPOOL_CONFLICT while leases or revocations live, or while it is
 * being provisioned. */
enum uidpool_status uidpool_pool_retire(struct uidpool *u, const char *name);

/*
 * Reservations. `uid` UIDPOOL_NO_UID lets the pool choose. The same request again succeeds.
 * UIDPOOL_CONFLICT if the uids are reserved or leased, or the name is reserved elsewhere;
 * unreserve: if the name holds a lease.
 */
enum uidpool_status uidpool_reserve(struct uidpool *u, const char *name, const char *pool,
                                    uid_t uid, uint32_t count,
                                    const struct uidpool_reservation **ret);
enum uidpool_status uidpool_unreserve(struct uidpool *u, const char *name);
enum uidpool_status uidpool_reservation_list(struct uidpool *u, const char *pool_or_null,
                                             bool (*each)(const struct uidpool_reservation *r,
                                                          void *userdata),
                                             void *userdata);

/*
 * Leases.
 */
struct uidpool_lease_request {
    size_t struct_size; /* set by UIDPOOL_LEASE_REQUEST_INIT */
    const char *pool;   /* NULL: the only pool there is */
    int64_t domid;      /* exactly one of domid and name */
    const char *name;
    const char *uuid; /* or NULL */
    uint32_t count;   /* uids; 0: the reservation's count, or 1 */
};
#define UIDPOOL_LEASE_REQUEST_INIT                                                      \
    {                                                                                   \
        .struct_size = sizeof(struct uidpool_lease_request), .domid = UIDPOOL_NO_DOMID, \
    }

/*
 * Lease. Durable before it returns. Asking again with the same pool, domid or name, uuid and
 * count gives the same lease (`existing`); with another uuid the old lease is revoked first, which
 * may take `timeout` seconds.
 * UIDPOOL_CONFLICT: the uid is taken, rests, is held, or a foreign process runs as it (then it is
 * held from now on); or the domid's lease has a uuid and the request has none, or the other way.
 * UIDPOOL_EXHAUSTED, UIDPOOL_NOT_FOUND, UIDPOOL_NOT_PROVEN: as above.
 */
enum uidpool_status uidpool_lease(struct uidpool *u, const struct uidpool_lease_request *request,
                                  uint32_t timeout, const struct uidpool_lease **ret);

struct uidpool_selector {
    size_t struct_size; /* set by UIDPOOL_SELECTOR_INIT */
    const char *pool;   /* or NULL: all pools */
    int64_t domid;      /* or UIDPOOL_NO_DOMID */
    const char *name;   /* or NULL */
    uid_t uid;          /* any uid of the block, or UIDPOOL_NO_UID */
};
#define UIDPOOL_SELECTOR_INIT                                                      \
    {                                                                              \
        .struct_size = sizeof(struct uidpool_selector), .domid = UIDPOOL_NO_DOMID, \
        .uid = UIDPOOL_NO_UID,                                                     \
    }

/*
 * Release every lease that the selector (domid, name or uid) names: kill, prove, look for residue.
 * `timeout` is in seconds, for each from when it begins; a hundred run at once, fewer where few
 * descriptors may be open. `each` (or NULL) is told of each lease that is now quarantined or held.
 * UIDPOOL_NOT_PROVEN if one of them could not be proven in time: it stays in
 * UIDPOOL_STATE_REVOKING, its survivors can be asked for, and the call can be repeated. A lease
 * already quarantined or held counts as released. UIDPOOL_NOT_FOUND if there is none.
 */
enum uidpool_status uidpool_release(struct uidpool *u, const struct uidpool_selector *selector,
                                    uint32_t timeout,
                                    bool (*each)(const struct uidpool_lease *lease, void *userdata),
                                    void *userdata);

/* Call `each` for every lease that matches, in order of uid, until it returns false. A selector
 * with nothing set matches all. No match is UIDPOOL_OK. */
enum uidpool_status uidpool_lease_list(struct uidpool *u, const struct uidpool_selector *selector,
                                       bool (*each)(const struct uidpool_lease *lease,
                                                    void *userdata),
                                       void *userdata);

/* Who holds this uid now. UIDPOOL_NOT_FOUND: nobody. */
enum uidpool_status uidpool_describe(struct uidpool *u, uid_t uid,
                                     const struct uidpool_lease **ret);

struct uidpool_history_query {
    size_t struct_size;         /* set by UIDPOOL_HISTORY_QUERY_INIT */
    struct uidpool_selector of; /* all of these that are set must match */
    int64_t since, until;       /* microseconds since 1970, inclusive; 0: open */
    int64_t after_id;           /* only events with a greater id; 0: all */
    int64_t limit;              /* the newest so many, 0: all */
};
#define UIDPOOL_HISTORY_QUERY_INIT                                                        \
    {                                                                                     \
        .struct_size = sizeof(struct uidpool_history_query), .of = UIDPOOL_SELECTOR_INIT, \
    }

/* Call `each` for every matching event, oldest first, until it returns false. The event's strings
 * are valid during the call. */
enum uidpool_status uidpool_history(struct uidpool *u, const struct uidpool_history_query *query,
                                    bool (*each)(const struct uidpool_event *event, void *userdata),
                                    void *userdata);

/* Who held this uid at that time (microseconds since 1970): the grant, then every event of that
 * lease. UIDPOOL_NOT_FOUND: nobody. */
enum uidpool_status uidpool_who(struct uidpool *u, uid_t uid, int64_t at,
                                bool (*each)(const struct uidpool_event *event, void *userdata),
                                void *userdata);

/* Finish what a crash or a reboot left: leases of another boot and unproven revocations are
 * killed and proven, expired quarantines end. Idempotent. `timeout` as above.
 * UIDPOOL_NOT_PROVEN if some could not be proven. */
enum uidpool_status uidpool_recover(struct uidpool *u, uint32_t timeout,
                                    bool (*each)(const struct uidpool_lease *lease, void *userdata),
                                    void *userdata);

/* End the hold on a uid. UIDPOOL_NOT_PROVEN while a witness does not say EMPTY, UIDPOOL_CONFLICT
 * while residue is there (the message names it) or the uid is not held. */
enum uidpool_status uidpool_clear(struct uidpool *u, uid_t uid, uint32_t timeout,
                                  const struct uidpool_lease **ret);

/*
 * The ledger itself.
 */
/* Integrity, foreign keys and the ledger's own rules. `each` gets a line for everything wrong.
 * UIDPOOL_FOUND if anything is, UIDPOOL_LEDGER if it cannot be read at all. */
enum uidpool_status uidpool_ledger_check(struct uidpool *u,
                                         bool (*each)(const char *finding, void *userdata),
                                         void *userdata);
/* Copy it while it is in use, to a new file of mode 0600. UIDPOOL_CONFLICT if that exists. */
enum uidpool_status uidpool_ledger_backup(struct uidpool *u, const char *file);
/* Bring an older schema up to this version's; done in one transaction a step. */
enum uidpool_status uidpool_ledger_upgrade(struct uidpool *u, int *ret_from, int *ret_to);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
