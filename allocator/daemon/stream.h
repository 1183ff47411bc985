/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Many answers to one call, a page at a time: what is read next is read when the peer has taken
 * most of what was read before, and between two pages the loop looks after everybody else. So
 * neither the length of a list nor a peer that reads slowly costs more than a page of memory. Uids
 * take turns, so that one with many streams reads no faster than one with a single one.
 *
 * As varlink has it, the last answer is the one that does not say `continues`: the last thing read
 * is kept until it is known whether something comes behind it.
 */
#ifndef DAEMON_STREAM_H
#define DAEMON_STREAM_H

#include "allocator/daemon/server.h"
#include "common/problem.h"

#include <systemd/sd-event.h>

/* Answers read in one go. */
#define STREAM_PAGE 32

struct stream_page {
    json_t *items[STREAM_PAGE]; /* whole parameters of an answer */
    size_t n;
    bool failed; /* there was no memory */
};

/* Add an answer, which is taken; NULL is a lack of memory. False: the page is full, or failed. */
bool stream_add(struct stream_page *page, json_t *parameters);

/* What is streamed, and from where on: `state` is malloc'd, and the stream's. */
struct stream_kind {
    /* Add what comes next, as much as has room. *ret_over: nothing is left. Not over and nothing
     * added is allowed: it is called again. */
    enum uidpool_status (*read)(void *state, struct stream_page *page, bool *ret_over,
                                struct problem *p);
    /* Answer for the last time: there was nothing at all; the reading failed, or is cut short. */
    void (*none)(struct call *call);
    void (*fail)(struct call *call, const struct problem *p);
    /* Endless: what is over now goes on when streams_wake() is called. This is the last answer when
     * it is cut short. Else NULL. */
    json_t *(*last)(const void *state);
    /* Before `state` is freed, or NULL. */
    void (*release)(void *state);
};

struct streams;
/* All of one kind of peer; the loop must outlive it. 0 or a negative errno. */
int streams_new(sd_event *event, struct streams **ret);
/* Ends all as streams_end() does, to whoever is still there. NULL is allowed. */
void streams_free(struct streams *s);

/* Answer the call from now on; nothing of it is read from within this function. */
void stream_begin(struct streams *s, struct call *call, const struct stream_kind *kind,
                  void *state);
/* There may be more for those that are endless. */
void streams_wake(struct streams *s);
/* Cut all short: their last answers. */
void streams_end(struct streams *s);

#endif
