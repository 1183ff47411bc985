/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From a message to a method, in this order: shape, which method, may this peer, does it fit; then
 * the method has the call until it is answered for the last time. Knows no sockets: answers are
 * given to the connection, if there still is one.
 */
#include "allocator/daemon/connection.h"

#include "common/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define VARLINK "org.varlink.service."

char *refusal_text(const char *error, const char *text, size_t *ret_size)
{
    json_t *parameters = json_pack("{s:s}", "message", text);
    char *message = parameters ? message_error(error, parameters, ret_size) : NULL;

    json_decref(parameters);
    return message;
}

static void call_free(struct call *call)
{
    if (call->server) {
        if (call->next)
            call->next->previous = call->previous;
        if (call->previous)
            call->previous->next = call->next;
        else
            call->server->calls = call->next;
        quota_end(&call->server->quota, call->user);
    }
    sd_event_source_disable_unref(call->later);
    message_clear(&call->message);
    free(call);
}

/* Takes the message if it succeeds. */
static struct call *call_new(struct connection *c, struct message *message)
{
    struct server *s = c->server;
    struct call *call = calloc(1, sizeof(*call));

    if (!call)
        return NULL;
    *call = (struct call){
        .server = s, .connection = c, .next = s->calls, .user = c->user, .peer = c->peer};
    call->message = *message;
    message->parameters = NULL;
    if (s->calls)
        s->calls->previous = call;
    s->calls = call;
    c->call = call;
    return call;
}

static const struct interface *find_interface(const struct server *s, const char *name)
{
    for (size_t i = 0; i < s->n_interfaces; i++) {
        if (strcmp(s->interfaces[i]->name, name) == 0)
            return s->interfaces[i];
    }
    return NULL;
}

static const struct method *find_method(const struct interface *interface, const char *name)
{
    for (size_t i = 0; i < interface->n_methods; i++) {
        if (strcmp(interface->methods[i].name, name) == 0)
            return &interface->methods[i];
    }
    return NULL;
}

static void refuse_permission(struct call *call, const struct interface *interface)
{
    char text[128];

    snprintf(text, sizeof(text), "only root and the group " POLICY_GROUP " may do this, not uid %u",
             call->peer.uid);
    if (interface->refuse)
        interface->refuse(call, text);
    else
        call_error(call, VARLINK "PermissionDenied", json_pack("{s:s}", "message", text));
}

static void run(struct call *call)
{
    const struct message *m = &call->message;
    const struct interface *interface = find_interface(call->server, m->interface);
    const struct method *method = interface ? find_method(interface, m->method) : NULL;
    char whole[2 * MESSAGE_METHOD_MAX + 2];

    if (!interface) {
        call_error(call, VARLINK "InterfaceNotFound",
                   json_pack("{s:s}", "interface", m->interface));
    } else if (!method) {
        snprintf(whole, sizeof(whole), "%s.%s", m->interface, m->method);
        call_error(call, VARLINK "MethodNotFound", json_pack("{s:s}", "method", whole));
    } else if (m->upgrade) {
        call_invalid(call, "upgrade");
    } else if (!policy_allows(&call->peer, method->needs)) {
        refuse_permission(call, interface);
    } else if (method->streams && !m->more) {
        call_error(call, VARLINK "ExpectedMore", NULL);
    } else {
        method->handle(call, interface->userdata);
    }
}

void call_begin(struct connection *c, const char *text, size_t size)
{
    struct message message;
    struct call *call;
    char why[256];
    int r;

    r = message_parse(text, size, &message, why, sizeof(why));
    if (r == -EBADMSG) {
        connection_refuse(c, SERVER_BAD_MESSAGE, "%s", why);
        return;
    }
    if (r < 0) {
        c->broken = true;
        return;
    }
    if (c->gone && !message.oneway) {
        message_clear(&message);
        return;
    }
    if (quota_begin(&c->server->quota, c->user) < 0) {
        message_clear(&message);
        connection_refuse(c, SERVER_TOO_MANY,
                          "%u calls of uid %u are being worked on, and more may not be",
                          c->user->calls, c->peer.uid);
        return;
    }
    call = call_new(c, &message);
    if (!call) {
        quota_end(&c->server->quota, c->user);
        message_clear(&message);
        c->broken = true;
        return;
    }
    run(call);
}

void call_resume(struct call *call)
{
    call->waiting = false;
    if (call->resume)
        call->resume(call, call->resume_userdata);
}

const json_t *call_parameters(const struct call *call)
{
    return call->message.parameters;
}

const struct peer *call_peer(const struct call *call)
{
    return &call->peer;
}

bool call_wants_more(const struct call *call)
{
    return call->message.more;
}

bool call_is_gone(const struct call *call)
{
    return !call->connection && !call->message.oneway;
}

/* The last word: the text is taken. */
static void finish(struct call *call, char *text, size_t size)
{
    struct connection *c = call->connection;

    if (c) {
        c->call = NULL;
        if (!call->message.oneway)
            connection_say(c, text, size, true);
        connection_update(c);
    }
    free(text);
    call_free(call);
}

void call_reply(struct call *call, json_t *parameters)
{
    size_t size = 0;
    char *text = call->connection ? message_reply(parameters, false, &size) : NULL;

    json_decref(parameters);
    finish(call, text, size);
}

void call_error(struct call *call, const char *error, json_t *parameters)
{
    size_t size = 0;
    char *text = call->connection ? message_error(error, parameters, &size) : NULL;

    json_decref(parameters);
    finish(call, text, size);
}

void call_invalid(struct call *call, const char *parameter)
{
    call_error(call, VARLINK "InvalidParameter", json_pack("{s:s}", "parameter", parameter));
}

bool call_continue(struct call *call, json_t *parameters)
{
    struct connection *c = call->connection;
    _cleanup_free_ char *text = NULL;
    size_t size = 0;

    /* To a peer that did not say `more` a second answer would be that of its next call. */
    if (c && call->message.more) {
        text = message_reply(parameters, true, &size);
        connection_say(c, text, size, false);
        connection_update(c);
    }
    json_decref(parameters);
    call->waiting = c && output_waiting(&c->output) >= c->server->limits.output;
    return c && !call->waiting;
}

static int on_later(sd_event_source *source, void *userdata)
{
    (void)source;
    call_resume(userdata);
    return 0;
}

void call_on_resume(struct call *call, void (*resume)(struct call *call, void *userdata),
                    void *userdata)
{
    call->resume = resume;
    call->resume_userdata = userdata;
    /* The peer has gone before anybody wanted to know. */
    if (!call->connection && call->server && resume && !call->later)
        (void)sd_event_add_defer(call->server->event, &call->later, on_later, call);
}
