/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What server.c, connection.c and call.c know of each other: the server's inside, which nobody else
 * includes. server.c accepts, connection.c moves bytes, call.c finds methods and brings answers. */
#ifndef DAEMON_CONNECTION_H
#define DAEMON_CONNECTION_H

#include "allocator/daemon/frame.h"
#include "allocator/daemon/message.h"
#include "allocator/daemon/output.h"
#include "allocator/daemon/quota.h"
#include "allocator/daemon/refusals.h"
#include "allocator/daemon/server.h"
#include "allocator/daemon/turns.h"
#include "allocator/deferred.h"

#include <stdint.h>

struct listener;

struct server {
    sd_event *event;
    const struct policy *policy;
    struct server_limits limits;
    struct interface service; /* org.varlink.service */
    const struct interface **interfaces;
    size_t n_interfaces;
    struct quota quota;
    struct turns turns;
    struct deferred turn;   /* of whoever may change nothing */
    sd_event_source *pause; /* in listening */
    struct refusals refusals;
    struct listener *listeners;
    struct connection *connections;
    struct call *calls; /* being worked on, of peers that have gone too */
    int spare;          /* a descriptor to refuse somebody with when there are no more */
    bool draining;
    unsigned refused; /* connections, that the administrator was not told of */
    int64_t told;     /* when he was told last, or 0 */
};

struct connection {
    struct server *server;
    struct connection *previous, *next;
    struct quota_user *user;
    struct peer peer;
    int fd;
    sd_event_source *io, *timer;
    uint32_t events; /* that epoll has found */
    struct turn turn;
    struct frame *frame;
    struct output output;
    struct call *call;           /* that is being worked on, or NULL */
    int64_t receive_by, send_by; /* 0: nothing is waited for */
    int64_t timer_at;
    int queued;   /* bytes that the kernel had for the peer when send_by was set */
    bool eof;     /* the peer says no more, but may still read */
    bool gone;    /* the peer does not read any more */
    bool closing; /* to be closed when all is sent */
    bool broken;  /* to be closed now */
    bool moved;   /* the peer has taken something since send_by was set */
    bool working; /* in its turn, whose end looks after everything */
};

struct call {
    struct server *server;         /* NULL: freed */
    struct connection *connection; /* NULL: gone */
    struct call *previous, *next;
    struct quota_user *user;
    struct peer peer;
    struct message message;
    void (*resume)(struct call *call, void *userdata);
    void *resume_userdata;
    sd_event_source *later; /* tells resume() that the peer has gone */
    bool waiting;           /* the method was told to wait */
};

/* Takes the descriptor, also on failure; `user` counts it already. */
int connection_new(struct server *s, int fd, const struct peer *peer, struct quota_user *user);
/* Its call goes on alone. With `tell` the method hears of it now. */
void connection_free(struct connection *c, bool tell);
/* Go on with whatever there is to do, a bounded piece of it. May free it. */
void connection_work(struct connection *c);
/* Something has changed: wait for the right things. Frees nothing. */
void connection_update(struct connection *c);
/* Send a whole message; NULL: there was no memory for it. `now`: it is worth a system call. */
void connection_say(struct connection *c, const char *message, size_t size, bool now);
/* Say what is wrong, and close. */
void connection_refuse(struct connection *c, const char *error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Understand a message and begin what it calls for. */
void call_begin(struct connection *c, const char *text, size_t size);
/* The peer takes more, or has gone: the method is told. May end the call. */
void call_resume(struct call *call);

/* The message of a refusal, to be freed, or NULL. */
char *refusal_text(const char *error, const char *text, size_t *ret_size);

/* org.varlink.service, for this server. */
struct interface service_interface(struct server *s);

#endif
