/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The shapes of requests (request.h). Touches nothing. */
#include "allocator/request.h"

#include "common/ids.h"

static enum uidpool_status bad(struct problem *p, const char *what)
{
    return problem_set(p, UIDPOOL_USAGE, "%s", what);
}

enum uidpool_status request_check_name(const char *name, const char *what, struct problem *p)
{
    if (name_is_valid(name))
        return UIDPOOL_OK;
    return problem_set(
        p, UIDPOOL_USAGE,
        "a %s's name has 1 to %d bytes of letters, digits and _ . : @ + -, and begins "
        "with a letter, a digit or _",
        what, UIDPOOL_NAME_MAX);
}

enum uidpool_status request_check_timeout(uint32_t seconds, struct problem *p)
{
    return seconds <= REQUEST_SECONDS_MAX ? UIDPOOL_OK : bad(p, "a timeout is at most ten years");
}

enum uidpool_status request_check_selector(const struct uidpool_selector *s, struct problem *p)
{
    if (!s || s->struct_size < sizeof(*s))
        return bad(p, "the selector was not initialised");
    if (s->domid != UIDPOOL_NO_DOMID && (s->domid < 0 || s->domid > DOMID_LAST))
        return bad(p, "a domid is 0 to 32751");
    if (s->name && request_check_name(s->name, "lease", p) != UIDPOOL_OK)
        return UIDPOOL_USAGE;
    if (s->pool && request_check_name(s->pool, "pool", p) != UIDPOOL_OK)
        return UIDPOOL_USAGE;
    return UIDPOOL_OK;
}

enum uidpool_status request_check_release(const struct uidpool_selector *s, struct problem *p)
{
    enum uidpool_status status = request_check_selector(s, p);

    if (status == UIDPOOL_OK && s->domid == UIDPOOL_NO_DOMID && !s->name &&
        s->uid == UIDPOOL_NO_UID)
        status = bad(p, "say which lease: a domid, a name or a uid");
    return status;
}

enum uidpool_status request_check_lease(const struct uidpool_lease_request *r,
                                        char ret_uuid[static UIDPOOL_UUID_LEN + 1],
                                        struct problem *p)
{
    struct uidpool_selector owner = UIDPOOL_SELECTOR_INIT;

    ret_uuid[0] = '\0';
    if (!r || r->struct_size < sizeof(*r))
        return bad(p, "the lease request was not initialised");
    if ((r->domid != UIDPOOL_NO_DOMID) == (r->name != NULL))
        return bad(p, "a lease is for a domid or for a name: give one of them");
    if (r->uuid && parse_uuid(r->uuid, ret_uuid) < 0)
        return bad(p, "a uuid has 8-4-4-4-12 hexadecimal digits");
    if (r->count > INT32_MAX)
        return bad(p, "a block has at most 2147483647 uids");
    owner.domid = r->domid;
    owner.name = r->name;
    owner.pool = r->pool;
    return request_check_selector(&owner, p);
}

enum uidpool_status request_check_history(const struct uidpool_history_query *q, struct problem *p)
{
    if (!q || q->struct_size < sizeof(*q))
        return bad(p, "the history query was not initialised");
    return request_check_selector(&q->of, p);
}
