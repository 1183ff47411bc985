/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * uidpoold: makes the daemon from the ground up, runs its loop, and takes it down the other way
 * round. Touches this process: its limits, its signals, its environment.
 *
 * SIGTERM and SIGINT end it when what is under way is answered, or after a while; SIGHUP makes it
 * read again what an administrator may have changed.
 */
#include "allocator/census.h"
#include "allocator/daemon/activation.h"
#include "allocator/daemon/daemon.h"
#include "allocator/daemon/follow.h"
#include "allocator/daemon/instance.h"
#include "allocator/daemon/journal.h"
#include "allocator/daemon/methods.h"
#include "allocator/daemon/options.h"
#include "allocator/daemon/readiness.h"
#include "allocator/daemon/revocations.h"
#include "allocator/daemon/server.h"
#include "allocator/daemon/status.h"
#include "allocator/daemon/unusable.h"
#include "allocator/daemon/userdb.h"
#include "allocator/engine.h"
#include "allocator/places.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/startup.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* As long as answers may take that are under way when we are to end. What is not answered by then
 * is in the ledger, and goes on when we are started again. */
#define DRAIN_USEC (10 * USEC_PER_SEC)
/* Connections, pidfds and claims; more only where we are given more. */
#define DESCRIPTORS 65536

#define SOCKET_NAME "io.uidpool"

struct service {
    const struct options *options;
    struct activation passed; /* -1 when it is a server's */
    struct daemon daemon;
    struct instance *instance;
    struct places places;
    struct policy policy;
    struct status *status;
    struct methods *methods;
    struct server *server;         /* serves them */
    struct userdb *userdb;         /* or NULL: no pool resolves */
    struct server *names;          /* serves it */
    bool names_failed;             /* not again before a reload */
    bool owns_varlink, owns_names; /* the sockets were made here */
    sd_event_source *drained;      /* looks after each event whether all is answered */
    enum uidpool_status result;
};

/*
 * Going down.
 */

/* Before they are closed: as long as we live nobody puts another one there. */
static void remove_sockets(struct service *s)
{
    if (s->owns_varlink)
        activation_remove(s->options->runtime_dir, SOCKET_NAME);
    if (s->owns_names)
        activation_remove(s->options->userdb_dir, SOCKET_NAME);
    s->owns_varlink = s->owns_names = false;
}

/* The ledger stays as it is; what was not finished is done by the next daemon. */
static void take_down(struct service *s)
{
    struct daemon *d = &s->daemon;

    remove_sockets(s);
    sd_event_source_disable_unref(s->drained);
    server_free(s->names);
    server_free(s->server);
    userdb_free(s->userdb);
    methods_free(s->methods);
    follow_free(d->follow);
    revocations_free(d->revocations);
    status_free(s->status);
    allocator_detach(&d->allocator);
    census_free(d->allocator.census);
    free(d->allocator.survivors);
    instance_free(s->instance);
    ledger_close(d->allocator.ledger);
    places_clear(&s->places);
    close_fd(s->passed.varlink);
    close_fd(s->passed.userdb);
    sd_event_unref(d->event);
}

static bool drain(struct service *s)
{
    bool drained = server_drain(s->server);

    return (!s->names || server_drain(s->names)) && drained;
}

static int on_event(sd_event_source *source, void *userdata)
{
    struct service *s = userdata;

    (void)source;
    return drain(s) ? sd_event_exit(s->daemon.event, (int)s->result) : 0;
}

static int on_patience(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct service *s = userdata;

    (void)source;
    (void)usec;
    journal_say(LOG_NOTICE, "not everybody took their answer; ending all the same");
    return sd_event_exit(s->daemon.event, (int)s->result);
}

/* Whatever cannot be waited for is not waited for. */
static int stop(struct service *s)
{
    sd_event *event = s->daemon.event;
    int r;

    readiness_stopping();
    remove_sockets(s);
    methods_end_streams(s->methods);
    /* Nothing is under way, or we are asked a second time. */
    if (drain(s) || s->drained)
        return sd_event_exit(event, (int)s->result);
    r = sd_event_add_post(event, &s->drained, on_event, s);
    if (r >= 0)
        r = sd_event_add_time_relative(event, NULL, CLOCK_MONOTONIC, (uint64_t)DRAIN_USEC, 0,
                                       on_patience, s);
    return r < 0 ? sd_event_exit(event, (int)s->result) : 0;
}

static int on_end(sd_event_source *source, const struct signalfd_siginfo *signal, void *userdata)
{
    (void)source;
    journal_say(LOG_INFO, "ending: %s from pid %u", strsignal((int)signal->ssi_signo),
                signal->ssi_pid);
    return stop(userdata);
}

/* What we have open is no ledger any more, or another daemon may have begun beside us. Started
 * again we have the right one, or say why not. */
static void on_replaced(const char *path, void *userdata)
{
    struct service *s = userdata;

    journal_say(
        LOG_ERR,
        "%s is not the file any more that was opened; ending, so as to be started anew with what "
        "is there now",
        path);
    s->result = UIDPOOL_FAILED;
    (void)sd_event_exit(s->daemon.event, (int)s->result);
}

/*
 * What may change while it runs: at the start and at each reload.
 */

/* Without it root alone may change leases, which is the safe side. */
static void load_policy(struct service *s)
{
    int r = policy_load(&s->policy);

    if (r < 0)
        journal_say(LOG_WARNING,
                    "cannot look up the group " POLICY_GROUP
                    ": %s; root alone may change leases until a reload finds it",
                    strerror(-r));
}

/* A configuration that is wrong leaves the last one that was right. */
static bool reload_places(struct service *s)
{
    struct places places = {NULL, NULL};
    struct problem p = {0};

    if (places_read(s->options->config, &places, &p) != UIDPOOL_OK) {
        journal_say(LOG_ERR, "%s; going on with what was read before", p.text);
        return false;
    }
    s->daemon.allocator.places = (const char *const *)places.items;
    places_clear(&s->places);
    s->places = places;
    return true;
}

/* On the socket that was passed, or on one of our own. */
static enum uidpool_status listen_at(struct server *server, int *passed, const char *dir,
                                     bool *ret_made, struct problem *p)
{
    enum uidpool_status status = UIDPOOL_OK;
    bool make = *passed < 0;
    int r;

    if (make)
        status = activation_listen(dir, SOCKET_NAME, 0666, passed, p);
    if (status != UIDPOOL_OK)
        return status;
    *ret_made = make;
    r = server_listen(server, take_fd(passed));
    return r < 0 ? problem_errno(p, r, "cannot serve %s/" SOCKET_NAME, dir) : UIDPOOL_OK;
}

static enum uidpool_status make_names(struct service *s, struct problem *p)
{
    _cleanup_(server_freep) struct server *names = NULL;
    const struct interface *interface;
    enum uidpool_status status;
    int r = s->userdb ? 0 : userdb_new(&s->daemon, &s->userdb);

    if (r >= 0) {
        interface = userdb_interface(s->userdb);
        r = server_new(s->daemon.event, &s->policy, &server_limits_default, &interface, 1, &names);
    }
    if (r < 0)
        return problem_errno(p, r, "cannot make the server of names");
    status = listen_at(names, &s->passed.userdb, s->options->userdb_dir, &s->owns_names, p);
    if (status == UIDPOOL_OK)
        s->names = take_ptr(names);
    return status;
}

/* Once begun it goes on: which pools resolve is asked at each look-up. Leases do not wait for
 * names, and what fails is not tried again with every change of the ledger. */
static void serve_names(struct service *s)
{
    struct problem p = {0};

    if (s->names || s->names_failed)
        return;
    s->names_failed = make_names(s, &p) != UIDPOOL_OK;
    if (s->names_failed)
        journal_say(LOG_ERR, "%s; leased uids have no names until a reload finds it mended",
                    p.text);
}

static bool note_resolving(const struct uidpool_pool *pool, void *userdata)
{
    bool *resolves = userdata;

    *resolves = pool->resolve && !pool->retired;
    return !*resolves;
}

/* The pools may be others. A socket that was passed is served in any case, for whoever has
 * connected there waits. */
static enum uidpool_status look_at_pools(struct service *s, struct problem *p)
{
    bool resolves = false;
    enum uidpool_status status =
        ledger_pool_each(s->daemon.allocator.ledger, note_resolving, &resolves, p);

    if (status == UIDPOOL_OK && (resolves || s->passed.userdb >= 0))
        serve_names(s);
    return status;
}

/* What cannot be read now is read with the next change: ignoring. */
static void on_change(void *userdata)
{
    (void)look_at_pools(userdata, NULL);
}

static int on_reload(sd_event_source *source, const struct signalfd_siginfo *signal, void *userdata)
{
    struct service *s = userdata;
    struct problem p = {0};
    bool read;

    (void)source;
    (void)signal;
    readiness_reloading();
    load_policy(s);
    read = reload_places(s);
    s->names_failed = false;
    if (look_at_pools(s, &p) != UIDPOOL_OK)
        journal_say(LOG_ERR, "%s; the next reload tries again", p.text);
    status_changed(s->status);
    journal_say(LOG_INFO, "read %sthe pools and the group again",
                read ? "the configuration, " : "");
    readiness_reloaded();
    return 0;
}

/*
 * Going up, step by step. Each either does all of its work or says why not; take_down() undoes what
 * was done.
 */

static enum uidpool_status open_ledger(struct service *s, struct problem *p)
{
    struct allocator *a = &s->daemon.allocator;
    char socket[PATH_MAX];
    enum uidpool_status status = places_read(s->options->config, &s->places, p);

    if (status == UIDPOOL_OK)
        status = ledger_open(s->options->ledger, LEDGER_WRITE, &a->ledger, p);
    if (status != UIDPOOL_OK)
        return status;
    (void)snprintf(socket, sizeof(socket), "%s/" SOCKET_NAME, s->options->runtime_dir);
    status = instance_new(s->options->ledger, socket, &s->instance, p);
    if (status != UIDPOOL_OK)
        return status;
    a->places = (const char *const *)s->places.items;
    a->census = census_new();
    return a->census ? UIDPOOL_OK : problem_errno(p, -ENOMEM, "cannot begin");
}

static enum uidpool_status make_loop(struct service *s, struct problem *p)
{
    struct daemon *d = &s->daemon;
    int r = sd_event_default(&d->event);

    if (r >= 0)
        r = sd_event_add_signal(d->event, NULL, SIGTERM, on_end, s);
    if (r >= 0)
        r = sd_event_add_signal(d->event, NULL, SIGINT, on_end, s);
    if (r >= 0)
        r = sd_event_add_signal(d->event, NULL, SIGHUP, on_reload, s);
    if (r >= 0)
        r = readiness_watchdog(d->event);
    if (r >= 0)
        r = instance_watch(s->instance, d->event, on_replaced, s);
    if (r >= 0)
        r = allocator_attach(&d->allocator, d->event);
    if (r >= 0)
        r = status_new(d, on_change, s, &s->status);
    return r < 0 ? problem_errno(p, r, "cannot make the event loop") : UIDPOOL_OK;
}

/* First what a crash or a reboot has left. */
static enum uidpool_status make_revocations(struct service *s, struct problem *p)
{
    return revocations_new(&s->daemon, status_changed, s->status, &s->daemon.revocations, p);
}

/* Before the loop runs: revocations ask it whether they may kill. */
static enum uidpool_status make_follow(struct service *s, struct problem *p)
{
    int r =
        follow_new(&s->daemon, s->options->xenstore, status_changed, s->status, &s->daemon.follow);

    return r < 0 ? problem_errno(p, r, "cannot follow xenstore") : UIDPOOL_OK;
}

static enum uidpool_status make_server(struct service *s, struct problem *p)
{
    const struct interface *interface;
    int r = methods_new(&s->daemon, &s->methods);

    load_policy(s);
    if (r >= 0) {
        interface = methods_interface(s->methods);
        r = server_new(s->daemon.event, &s->policy, &server_limits_default, &interface, 1,
                       &s->server);
    }
    return r < 0 ? problem_errno(p, r, "cannot make the server") : UIDPOOL_OK;
}

static enum uidpool_status listen_varlink(struct service *s, struct problem *p)
{
    return listen_at(s->server, &s->passed.varlink, s->options->runtime_dir, &s->owns_varlink, p);
}

static enum uidpool_status go_up(struct service *s, struct problem *p)
{
    static enum uidpool_status (*const steps[])(struct service *, struct problem *) = {
        open_ledger, make_loop,     make_revocations, make_follow,
        make_server, look_at_pools, listen_varlink,
    };
    enum uidpool_status status = UIDPOOL_OK;

    for (size_t i = 0; i < ELEMENTS_OF(steps) && status == UIDPOOL_OK; i++)
        status = steps[i](s, p);
    return status;
}

static enum uidpool_status run_loop(struct service *s, struct readiness *ready, struct problem *p)
{
    enum uidpool_status status = readiness_ready(ready, p);
    int r;

    if (status != UIDPOOL_OK)
        return status;
    status_changed(s->status);
    r = sd_event_loop(s->daemon.event);
    return r < 0 ? problem_errno(p, r, "the event loop failed") : (enum uidpool_status)r;
}

/*
 * The process.
 */

static void raise_limits(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= DESCRIPTORS)
        return;
    limit.rlim_cur = limit.rlim_max < DESCRIPTORS ? limit.rlim_max : DESCRIPTORS;
    /* With fewer it serves fewer: ignoring. */
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        errno = 0;
}

static int block_signals(void)
{
    sigset_t set;

    if (sigemptyset(&set) < 0 || sigaddset(&set, SIGTERM) < 0 || sigaddset(&set, SIGINT) < 0 ||
        sigaddset(&set, SIGHUP) < 0)
        return -errno;
    return sigprocmask(SIG_BLOCK, &set, NULL) < 0 ? -errno : 0;
}

/* Before any file is opened: a descriptor that was passed must not be one of ours. */
static enum uidpool_status prepare(const struct options *o, struct readiness *ready,
                                   struct activation *passed, struct problem *p)
{
    enum uidpool_status status;
    int r;

    (void)umask(0077);
    raise_limits();
    r = block_signals();
    if (r == 0 && (chdir("/") < 0 || setenv("SYSTEMD_BYPASS_USERDB", "1", 1) < 0))
        r = -errno;
    if (r < 0)
        return problem_errno(p, r, "cannot begin");
    status = readiness_prepare(ready, p);
    if (status == UIDPOOL_OK)
        status = activation_take(o->runtime_dir, o->userdb_dir, passed, p);
    return status;
}

static enum uidpool_status serve(const struct options *o)
{
    struct service s = {.options = o, .passed = {-1, -1}};
    struct readiness ready = o->ready;
    struct problem p = {0};
    enum uidpool_status status = prepare(o, &ready, &s.passed, &p);

    if (status == UIDPOOL_OK)
        status = go_up(&s, &p);
    if (status == UIDPOOL_OK)
        status = run_loop(&s, &ready, &p);
    if (status != UIDPOOL_OK && *p.text) {
        journal_say(LOG_ERR, "%s", p.text);
        unusable_serve(&s.passed, &p);
        readiness_failed(&p);
    }
    take_down(&s);
    return status;
}

static void open_journal(void)
{
    const char *text = getenv("UIDPOOLD_LOG");
    int level = LOG_INFO;
    int r = text && *text ? options_parse_level(text, &level) : 0;

    journal_open(level);
    if (r < 0)
        journal_say(LOG_WARNING,
                    "UIDPOOLD_LOG=%.40s is none of debug, info, notice, warning, err; "
                    "taking info",
                    text);
}

int main(int argc, char **argv)
{
    enum uidpool_status status;
    struct options o;
    bool run = false;

    if (startup_open_descriptors() < 0 || startup_ignore_sigpipe() < 0)
        return UIDPOOL_FAILED;
    log_set_name("uidpoold");
    status = options_read(argc, argv, &o, &run);
    if (startup_flush_output() < 0 && status == UIDPOOL_OK)
        return UIDPOOL_FAILED;
    if (!run)
        return (int)status;
    open_journal();
    /* Both: a set-user-id daemon would lend root to everybody. */
    if (getuid() != 0 || geteuid() != 0) {
        journal_say(LOG_ERR, "this needs root, for the ledger and to see every process");
        return UIDPOOL_NOT_PERMITTED;
    }
    return (int)serve(&o);
}
