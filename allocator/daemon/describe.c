/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Leases, events, survivors and problems as JSON. Pure: knows no ledger and no connection. */
#include "allocator/daemon/describe.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"

#include <string.h>

/* Takes the value over, also when it fails; NULL is the failure of whoever made it. */
static void set(json_t **object, const char *key, json_t *value)
{
    if (*object && json_object_set_new_nocheck(*object, key, value) < 0) {
        json_decref(*object);
        *object = NULL;
    } else if (!*object)
        json_decref(value);
}

static void set_number(json_t **object, const char *key, int64_t number)
{
    set(object, key, json_integer(number));
}

/* What the ledger holds need not be UTF-8: file names are in it, and it may be damaged. */
static json_t *text_value(const char *text)
{
    json_t *value = json_string(text);
    _cleanup_free_ char *copy = NULL;

    if (value)
        return value;
    copy = strdup(text);
    if (!copy)
        return NULL;
    text_make_printable(copy);
    return json_string(copy);
}

/* NULL and "" are missing. */
static void set_text(json_t **object, const char *key, const char *text)
{
    set(object, key, text && *text ? text_value(text) : json_null());
}

static void set_uid(json_t **object, const char *key, uid_t uid)
{
    set(object, key, uid == UIDPOOL_NO_UID ? json_null() : json_integer(uid));
}

static void set_domid(json_t **object, int64_t domid)
{
    set(object, "domid", domid < 0 ? json_null() : json_integer(domid));
}

static void set_time(json_t **object, const char *key, int64_t usec)
{
    char text[64];

    set_text(object, key, usec == 0 ? NULL : format_time(usec, text, sizeof(text)));
}

json_t *describe_lease(const struct uidpool_lease *lease)
{
    json_t *o = json_object();

    set_number(&o, "lease", lease->id);
    set_text(&o, "pool", lease->pool);
    set_uid(&o, "uid", lease->uid);
    set_uid(&o, "gid", lease->gid);
    set_number(&o, "count", lease->count);
    set_domid(&o, lease->domid);
    set_text(&o, "name", lease->name);
    set_text(&o, "uuid", lease->uuid);
    set_text(&o, "state", uidpool_state_name(lease->state));
    set(&o, "existing", json_boolean(lease->existing));
    set_time(&o, "leased_at", lease->leased_at);
    set_time(&o, "since", lease->since);
    set_number(&o, "rest_left", lease->rest_left);
    set(&o, "other_boot", json_boolean(lease->other_boot));
    set_number(&o, "attempts", lease->attempts);
    set_text(&o, "reason", lease->reason);
    return o;
}

json_t *describe_released(const struct uidpool_lease *lease)
{
    json_t *o = describe_lease(lease);

    set_number(&o, "tasks_scanned", lease->tasks_scanned);
    set_number(&o, "tasks_killed", lease->tasks_killed);
    set_number(&o, "zombies", lease->zombies);
    return o;
}

json_t *describe_event(const struct uidpool_event *event)
{
    json_t *o = json_object();

    set_number(&o, "id", event->id);
    set_time(&o, "at", event->at);
    set_text(&o, "boot", event->boot);
    set_text(&o, "what", event->what);
    set_text(&o, "pool", event->pool);
    set_number(&o, "lease", event->lease);
    set_uid(&o, "uid", event->uid);
    set_number(&o, "count", event->count);
    set_domid(&o, event->domid);
    set_text(&o, "name", event->name);
    set_text(&o, "uuid", event->uuid);
    set_text(&o, "detail", event->detail);
    return o;
}

json_t *describe_survivor(const struct uidpool_survivor *survivor)
{
    const char state[] = {survivor->state, '\0'};
    json_t *o = json_object();

    set_number(&o, "pid", survivor->pid);
    set_number(&o, "tid", survivor->tid);
    set_text(&o, "command", survivor->command);
    set_text(&o, "state", state);
    set_uid(&o, "real", survivor->uids[0]);
    set_uid(&o, "effective", survivor->uids[1]);
    set_uid(&o, "saved", survivor->uids[2]);
    set_uid(&o, "filesystem", survivor->uids[3]);
    return o;
}

json_t *describe_as(const char *name, json_t *value)
{
    json_t *o = json_object();

    set(&o, name, value);
    return o;
}

const char *describe_error(enum uidpool_status status)
{
    switch (status) {
    case UIDPOOL_USAGE:
        return "io.uidpool.InvalidParameter";
    case UIDPOOL_NOT_FOUND:
        return "io.uidpool.NotFound";
    case UIDPOOL_CONFLICT:
        return "io.uidpool.Conflict";
    case UIDPOOL_EXHAUSTED:
        return "io.uidpool.Exhausted";
    case UIDPOOL_NOT_PROVEN:
        return "io.uidpool.NotProven";
    case UIDPOOL_LEDGER:
        return "io.uidpool.LedgerUnusable";
    case UIDPOOL_NOT_PERMITTED: /* to us, by the kernel: no matter who asks */
    case UIDPOOL_FAILED:
    case UIDPOOL_FOUND:
    case UIDPOOL_OK:
        break;
    }
    return "io.uidpool.Failed";
}

json_t *describe_problem(const struct problem *problem, const struct subject *about)
{
    json_t *o = json_object();

    set_text(&o, "pool", about->pool);
    set_uid(&o, "uid", about->uid);
    set_domid(&o, about->domid);
    set(&o, "message", text_value(problem->text));
    return o;
}
