/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Refuses, over a server of its own. Touches the sockets that were passed and nothing else. */
#include "allocator/daemon/unusable.h"

#include "allocator/daemon/describe.h"
#include "allocator/daemon/server.h"
#include "common/cleanup.h"
#include "common/clock.h"

#include <signal.h>

#include "io.systemd.UserDatabase.inc"
#include "io.uidpool.inc"

/* Whatever is wrong: no other error says that nothing was done and nothing is known, and above all
 * not that there is no such lease. */
static void refuse(struct call *call, void *userdata)
{
    call_error(call, "io.uidpool.LedgerUnusable", describe_problem(userdata, &SUBJECT_NONE));
}

/* nss-systemd goes on to the next service. */
static void refuse_name(struct call *call, void *userdata)
{
    (void)userdata;
    call_error(call, "io.systemd.UserDatabase.ServiceNotAvailable", NULL);
}

static const struct method methods[] = {
    {"Lease", PERMISSION_ANYONE, false, refuse},    {"Release", PERMISSION_ANYONE, false, refuse},
    {"Describe", PERMISSION_ANYONE, false, refuse}, {"List", PERMISSION_ANYONE, false, refuse},
    {"History", PERMISSION_ANYONE, false, refuse},  {"Subscribe", PERMISSION_ANYONE, false, refuse},
};

static const struct method name_methods[] = {
    {"GetUserRecord", PERMISSION_ANYONE, false, refuse_name},
    {"GetGroupRecord", PERMISSION_ANYONE, false, refuse_name},
    {"GetMemberships", PERMISSION_ANYONE, false, refuse_name},
};

/* Takes the socket, if there is one. */
static int serve_on(sd_event *event, const struct policy *policy, const struct interface *interface,
                    int *passed, struct server **ret)
{
    int r;

    if (*passed < 0)
        return 0;
    r = server_new(event, policy, &server_limits_default, &interface, 1, ret);
    return r < 0 ? r : server_listen(*ret, take_fd(passed));
}

/* Ends the loop by what sd-event does without a handler. */
static int prepare(sd_event *event)
{
    int r = sd_event_add_signal(event, NULL, SIGTERM, NULL, NULL);

    if (r >= 0)
        r = sd_event_add_signal(event, NULL, SIGINT, NULL, NULL);
    if (r >= 0)
        r = sd_event_add_time_relative(event, NULL, CLOCK_MONOTONIC, UNUSABLE_SEC * USEC_PER_SEC, 0,
                                       NULL, NULL);
    return r;
}

void unusable_serve(struct activation *passed, const struct problem *why)
{
    struct problem copy = *why;
    const struct interface interface = {.name = "io.uidpool",
                                        .description = io_uidpool,
                                        .methods = methods,
                                        .n_methods = ELEMENTS_OF(methods),
                                        .userdata = &copy};
    const struct interface names = {.name = "io.systemd.UserDatabase",
                                    .description = io_systemd_UserDatabase,
                                    .methods = name_methods,
                                    .n_methods = ELEMENTS_OF(name_methods)};
    const struct policy policy = {.group = (gid_t)-1};
    _cleanup_(sd_event_unrefp) sd_event *event = NULL;
    struct server *varlink = NULL, *userdb = NULL;
    int r;

    if (passed->varlink < 0 && passed->userdb < 0)
        return;
    r = sd_event_new(&event);
    if (r >= 0)
        r = prepare(event);
    if (r >= 0)
        r = serve_on(event, &policy, &interface, &passed->varlink, &varlink);
    if (r >= 0)
        r = serve_on(event, &policy, &names, &passed->userdb, &userdb);
    /* The failure that we are here for is told in any case: ignoring another. */
    if (r >= 0)
        (void)sd_event_loop(event);
    server_free(userdb);
    server_free(varlink);
}
