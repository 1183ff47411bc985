/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Varlink's connections: accepting them, limits for each peer, calls in and answers out, without
 * ever waiting for anybody. What a method does is its interface's.
 *
 * A connection's calls are answered one after the other, in order: the next is read only when the
 * last is answered, so a peer that sends more waits for itself. Limits: connections in all and of
 * one uid, bytes of a message, seconds for a whole message to come, seconds for a peer to take what
 * was written for it, calls of one uid that are being worked on. Each refusal is an error message
 * (below) before the connection is closed, as far as the peer reads it.
 *
 * Peers that may change something are served as the event loop finds them; all others share one
 * turn, user by user, so that however many they are, they take one piece of work at a time. A call
 * that wants an answer is not begun for a peer that has gone.
 */
#ifndef DAEMON_SERVER_H
#define DAEMON_SERVER_H

#include "allocator/daemon/policy.h"

#include <jansson.h>
#include <systemd/sd-event.h>

/* Refusals, each with a `message` that says why. */
#define SERVER_TOO_MANY "io.uidpool.TooMany"
#define SERVER_TOO_LONG "io.uidpool.TooLong"
#define SERVER_TOO_SLOW "io.uidpool.TooSlow"
#define SERVER_BAD_MESSAGE "io.uidpool.BadMessage" /* what message_parse() does not understand */

struct server;
struct call;

struct method {
    const char *name;
    enum permission needs;
    bool streams; /* answers many times; without `more` in the call:
                     org.varlink.service.ExpectedMore */
    /* Answer by one of the functions below, now or later. Permission was checked. `userdata` is the
     * interface's. */
    void (*handle)(struct call *call, void *userdata);
};

struct interface {
    const char *name;        /* "io.uidpool" */
    const char *description; /* in varlink's interface language */
    const struct method *methods;
    size_t n_methods;
    void *userdata;
    /* Answer a peer that may not call a method, `message` says why; NULL:
     * org.varlink.service.PermissionDenied. */
    void (*refuse)(struct call *call, const char *message);
};

struct server_limits {
    unsigned connections;           /* in all */
    unsigned connections_each;      /* of one uid other than 0 */
    unsigned calls_each;            /* of one uid other than 0, being worked on */
    size_t message;                 /* bytes, without the NUL */
    size_t output;                  /* bytes that may wait for one peer: then its stream pauses */
    unsigned receive_sec, send_sec; /* for a whole message to come; for a peer to read something */
};
extern const struct server_limits server_limits_default;

/* org.varlink.service is served besides `interfaces`, which must outlive the server, as `policy`
 * must, which may be loaded again meanwhile. */
int server_new(sd_event *event, const struct policy *policy, const struct server_limits *limits,
               const struct interface *const *interfaces, size_t n_interfaces, struct server **ret);
/* Closes everything; calls that are being worked on stay until they are answered, to nobody. */
void server_free(struct server *s);
static inline void server_freep(struct server **s)
{
    server_free(*s);
}
/* Take connections from a listening socket, which is the server's from now on. */
int server_listen(struct server *s, int fd);
/* Serve a connected stream socket, which is the server's from now on, also on failure. A peer that
 * is refused, which it is told, is no failure. */
int server_adopt(struct server *s, int fd);
/* Take no new connections and no new calls; true when nothing is being worked on or to be sent. */
bool server_drain(struct server *s);
unsigned server_connections(const struct server *s);

/*
 * A call. From handle() on it is the method's until it is answered for the last time, and stays
 * valid until then, also when the peer has gone: then answers go nowhere.
 */
const json_t *call_parameters(const struct call *call);
const struct peer *call_peer(const struct call *call);
bool call_is_gone(const struct call *call);
/* Did the peer say `more`: may there be many answers? For methods that stream only sometimes. */
bool call_wants_more(const struct call *call);
/* The last answer: the call is not the method's any more. `parameters` is taken; NULL: an empty
 * object (or no memory: then the connection is closed). */
void call_reply(struct call *call, json_t *parameters);
/* `error` is the whole name. */
void call_error(struct call *call, const char *error, json_t *parameters);
/* org.varlink.service.InvalidParameter with the member's name. */
void call_invalid(struct call *call, const char *parameter);
/* One of many answers. False: enough waits to be sent; say no more until resume() is called, once,
 * from the loop, when it was taken; or the peer has gone, which call_is_gone() says. */
bool call_continue(struct call *call, json_t *parameters);
/* Called when there is room again, and when the peer has gone, so that the method can end it (by
 * any last answer). */
void call_on_resume(struct call *call, void (*resume)(struct call *call, void *userdata),
                    void *userdata);

#endif
