/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the verbs show of uidpool.h's structures: tables for render.h, and a few words for
 * sentences. Nothing here prints.
 */
#include "allocator/cli/fields.h"

#include "common/cleanup.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#define LEASE(key, title, kind, member, flags)                          \
    {                                                                   \
        key, title, kind, offsetof(struct uidpool_lease, member), flags \
    }
#define POOL(key, title, kind, member, flags)                          \
    {                                                                  \
        key, title, kind, offsetof(struct uidpool_pool, member), flags \
    }
#define RESERVATION(key, title, kind, member)                             \
    {                                                                     \
        key, title, kind, offsetof(struct uidpool_reservation, member), 0 \
    }
#define EVENT(key, title, kind, member, flags)                          \
    {                                                                   \
        key, title, kind, offsetof(struct uidpool_event, member), flags \
    }
#define SURVIVOR(key, title, kind, member)                             \
    {                                                                  \
        key, title, kind, offsetof(struct uidpool_survivor, member), 0 \
    }

/* design.md's order, the same for every answer about a lease. */
#define LEASE_FIRST                                                                                \
    LEASE("lease", "LEASE", FIELD_I64, id, 0), LEASE("pool", "POOL", FIELD_CHARS, pool, 0),        \
        LEASE("uid", "UID", FIELD_UID, uid, 0), LEASE("gid", "GID", FIELD_UID, gid, 0),            \
        LEASE("count", "COUNT", FIELD_U32, count, 0),                                              \
        LEASE("domid", "DOMID", FIELD_I64, domid, 0), LEASE("name", "NAME", FIELD_CHARS, name, 0), \
        LEASE("uuid", "UUID", FIELD_CHARS, uuid, FIELD_JSON_ONLY),                                 \
        LEASE("state", "STATE", FIELD_STATE, state, 0)

static const struct field grant[] = {
    LEASE_FIRST,
    LEASE("existing", "EXISTING", FIELD_BOOL, existing, 0),
};
const struct fields fields_grant = FIELDS(grant);

static const struct field lease[] = {
    LEASE_FIRST,
    LEASE("leased_at", "LEASED", FIELD_TIME, leased_at, FIELD_JSON_ONLY),
    LEASE("since", "SINCE", FIELD_TIME, since, 0),
    LEASE("rest_left", "REST", FIELD_U32, rest_left, FIELD_QUIET_ZERO),
    LEASE("other_boot", "OTHER BOOT", FIELD_BOOL, other_boot, FIELD_JSON_ONLY | FIELD_QUIET_ZERO),
    LEASE("attempts", "TRIED", FIELD_U32, attempts, FIELD_QUIET_ZERO),
    LEASE("reason", "REASON", FIELD_CHARS, reason, FIELD_WRAP),
};
const struct fields fields_lease = FIELDS(lease);

static const struct field released[] = {
    LEASE_FIRST,
    LEASE("reason", "REASON", FIELD_CHARS, reason, 0),
    LEASE("rest_left", "REST", FIELD_U32, rest_left, 0),
    LEASE("attempts", "TRIED", FIELD_U32, attempts, 0),
    LEASE("tasks_scanned", "LOOKED AT", FIELD_U32, tasks_scanned, 0),
    LEASE("tasks_killed", "KILLED", FIELD_U32, tasks_killed, 0),
    LEASE("zombies", "ZOMBIES", FIELD_U32, zombies, 0),
};
const struct fields fields_released = FIELDS(released);

static const struct field pool[] = {
    POOL("name", "NAME", FIELD_CHARS, name, 0),
    POOL("base", "BASE", FIELD_UID, base, 0),
    POOL("size", "SIZE", FIELD_U32, size, 0),
    POOL("policy", "POLICY", FIELD_POLICY, policy, 0),
    POOL("group_per_uid", "GROUP PER UID", FIELD_BOOL, group_per_uid, FIELD_JSON_ONLY),
    POOL("gid", "GID", FIELD_UID, gid, 0),
    POOL("quarantine", "QUARANTINE", FIELD_U32, quarantine, 0),
    POOL("follow", "FOLLOW", FIELD_BOOL, follow, FIELD_QUIET_ZERO),
    POOL("resolve", "RESOLVE", FIELD_BOOL, resolve, FIELD_JSON_ONLY),
    POOL("retired", "RETIRED", FIELD_BOOL, retired, FIELD_QUIET_ZERO),
    POOL("provisioning", "PROVISIONING", FIELD_BOOL, provisioning, FIELD_QUIET_ZERO),
    POOL("next_uid", "NEXT", FIELD_UID, next_uid, FIELD_JSON_ONLY),
    POOL("leased", "LEASED", FIELD_U32, leased, 0),
    POOL("revoking", "REVOKING", FIELD_U32, revoking, 0),
    POOL("quarantined", "RESTING", FIELD_U32, quarantined, 0),
    POOL("held", "HELD", FIELD_U32, held, 0),
    POOL("reserved", "RESERVED", FIELD_U32, reserved, 0),
    POOL("free", "FREE", FIELD_U32, free, 0),
};
const struct fields fields_pool = FIELDS(pool);

static const struct field reservation[] = {
    RESERVATION("name", "NAME", FIELD_CHARS, name),
    RESERVATION("pool", "POOL", FIELD_CHARS, pool),
    RESERVATION("uid", "UID", FIELD_UID, uid),
    RESERVATION("count", "COUNT", FIELD_U32, count),
    RESERVATION("created_at", "SINCE", FIELD_TIME, created_at),
};
const struct fields fields_reservation = FIELDS(reservation);

static const struct field event[] = {
    EVENT("id", "ID", FIELD_I64, id, 0),
    EVENT("at", "TIME", FIELD_TIME, at, 0),
    EVENT("boot", "BOOT", FIELD_STRING, boot, FIELD_JSON_ONLY),
    EVENT("what", "WHAT", FIELD_STRING, what, 0),
    EVENT("pool", "POOL", FIELD_STRING, pool, 0),
    EVENT("lease", "LEASE", FIELD_I64, lease, FIELD_QUIET_ZERO),
    EVENT("uid", "UID", FIELD_UID, uid, 0),
    EVENT("count", "COUNT", FIELD_U32, count, FIELD_QUIET_ZERO),
    EVENT("domid", "DOMID", FIELD_I64, domid, 0),
    EVENT("name", "NAME", FIELD_STRING, name, 0),
    EVENT("uuid", "UUID", FIELD_STRING, uuid, FIELD_JSON_ONLY),
    EVENT("detail", "DETAIL", FIELD_STRING, detail, FIELD_WRAP),
};
const struct fields fields_event = FIELDS(event);

static const struct field survivor[] = {
    SURVIVOR("pid", "PID", FIELD_PID, pid),
    SURVIVOR("tid", "TID", FIELD_PID, tid),
    SURVIVOR("command", "COMMAND", FIELD_CHARS, command),
    SURVIVOR("state", "STATE", FIELD_CHAR, state),
    SURVIVOR("real", "REAL", FIELD_UID, uids[0]),
    SURVIVOR("effective", "EFFECTIVE", FIELD_UID, uids[1]),
    SURVIVOR("saved", "SAVED", FIELD_UID, uids[2]),
    SURVIVOR("filesystem", "FILE SYSTEM", FIELD_UID, uids[3]),
};
const struct fields fields_survivor = FIELDS(survivor);

const char *fields_uids(uid_t uid, uint32_t count, char buf[static FIELDS_TEXT])
{
    if (count <= 1)
        snprintf(buf, FIELDS_TEXT, "uid %" PRIu32, uid);
    else
        snprintf(buf, FIELDS_TEXT, "uids %" PRIu32 "-%" PRIu32, uid, uid + (count - 1));
    return buf;
}

const char *fields_holder(int64_t domid, const char *name, char buf[static FIELDS_TEXT])
{
    if (domid >= 0)
        snprintf(buf, FIELDS_TEXT, "domid %" PRId64, domid);
    else if (name && *name)
        snprintf(buf, FIELDS_TEXT, "name %s", name);
    else
        snprintf(buf, FIELDS_TEXT, "nobody");
    return buf;
}

struct uidpool_pool fields_pool_view(const struct uidpool_pool *p)
{
    struct uidpool_pool view = *p;

    if (view.group_per_uid)
        view.gid = (gid_t)-1;
    return view;
}
