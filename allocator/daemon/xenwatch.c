/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The messages between the daemon and uidpool-xenwatch: values to text and back, and over a socket.
 * Both sides use it. Touches nothing else. */
#include "allocator/daemon/xenwatch.h"

#include "common/cleanup.h"
#include "common/log.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* What a message has besides its word, in this order. */
enum field {
    NOTHING,
    DOMID = 1 << 0,
    UUID = 1 << 1,
    UID = 1 << 2,
    NAME = 1 << 3,
    TEXT = 1 << 4,   /* to the end */
    WANTED = 1 << 5, /* to the end */
    CONNECTION = 1 << 6,
};

static const struct {
    const char *word;
    unsigned fields;
} kinds[] = {
    [XENWATCH_ALIVE] = {"alive", NOTHING},
    [XENWATCH_DOWN] = {"down", TEXT},
    [XENWATCH_SCAN] = {"scan", CONNECTION},
    [XENWATCH_MARKER] = {"marker", TEXT},
    [XENWATCH_DOMAIN] = {"domain", DOMID | UUID | UID | NAME},
    [XENWATCH_ABSENT] = {"absent", DOMID},
    [XENWATCH_END] = {"end", NOTHING},
    [XENWATCH_WANT] = {"want", WANTED},
    [XENWATCH_AGAIN] = {"again", NOTHING},
    [XENWATCH_MARK] = {"mark", CONNECTION | TEXT},
    [XENWATCH_KILL_UID] = {"kill-uid", DOMID | UUID | UID},
    [XENWATCH_ASK] = {"ask", CONNECTION | DOMID | UUID},
};

/*
 * Values to text.
 */

static void add(char *buf, size_t *length, const char *text)
{
    int n = snprintf(buf + *length, XENWATCH_MESSAGE_MAX - *length, " %s", text);

    if (n > 0)
        *length += (size_t)n;
    if (*length > XENWATCH_MESSAGE_MAX - 1)
        *length = XENWATCH_MESSAGE_MAX - 1;
}

static void add_number(char *buf, size_t *length, int64_t number)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%lld", (long long)number);
    add(buf, length, text);
}

static const char *or_none(const char *text)
{
    return text[0] ? text : "-";
}

size_t xenwatch_write(const struct xenwatch_message *m, char buf[static XENWATCH_MESSAGE_MAX])
{
    unsigned fields = kinds[m->kind].fields;
    size_t length =
        (size_t)snprintf(buf, XENWATCH_MESSAGE_MAX, "%s", kinds[m->kind].word); /* short */

    if (fields & CONNECTION)
        add_number(buf, &length, (int64_t)m->connection);
    if (fields & DOMID)
        add_number(buf, &length, m->domid);
    if (fields & UUID)
        add(buf, &length, or_none(m->uuid));
    if (fields & UID && m->uid != UIDPOOL_NO_UID)
        add_number(buf, &length, m->uid);
    else if (fields & UID)
        add(buf, &length, "-");
    if (fields & NAME)
        add(buf, &length, or_none(m->name));
    if (fields & TEXT && m->text[0]) {
        char text[XENWATCH_TEXT_MAX + 1];

        text_sanitize(text, sizeof(text), m->text);
        add(buf, &length, text);
    }
    for (size_t i = 0; fields & WANTED && i < m->n_wanted; i++)
        add_number(buf, &length, m->wanted[i]);
    return length;
}

/*
 * Text to values. Each takes its field off `*at`, which is a copy that may be cut to pieces.
 */

static const char *take_field(char **at)
{
    char *field = *at, *end = strchr(field, ' ');

    if (end) {
        *end = '\0';
        *at = end + 1;
    } else
        *at = field + strlen(field);
    return field;
}

static bool take_uuid(char **at, char ret[static UIDPOOL_UUID_LEN + 1])
{
    const char *field = take_field(at);

    return strcmp(field, "-") == 0 || parse_uuid(field, ret) == 0;
}

static bool take_uid(char **at, uid_t *ret)
{
    const char *field = take_field(at);

    return strcmp(field, "-") == 0 || parse_uid(field, ret) == 0;
}

static bool take_name(char **at, char ret[static UIDPOOL_NAME_MAX + 1])
{
    const char *field = take_field(at);

    if (strcmp(field, "-") == 0)
        return true;
    if (!name_is_valid(field))
        return false;
    memcpy(ret, field, strlen(field) + 1);
    return true;
}

static bool take_text(char **at, char ret[static XENWATCH_TEXT_MAX + 1])
{
    size_t length = strlen(*at);

    if (length > XENWATCH_TEXT_MAX)
        return false;
    text_sanitize(ret, XENWATCH_TEXT_MAX + 1, *at);
    *at += length;
    return true;
}

static bool take_wanted(char **at, struct xenwatch_message *m)
{
    while (**at) {
        if (m->n_wanted == XENWATCH_WANT_MAX ||
            parse_domid(take_field(at), &m->wanted[m->n_wanted]) < 0)
            return false;
        m->n_wanted++;
    }
    return true;
}

static bool take_fields(char **at, unsigned fields, struct xenwatch_message *m)
{
    if (fields & CONNECTION && parse_u64(take_field(at), INT64_MAX, &m->connection) < 0)
        return false;
    if (fields & DOMID && parse_domid(take_field(at), &m->domid) < 0)
        return false;
    if (fields & UUID && !take_uuid(at, m->uuid))
        return false;
    if (fields & UID && !take_uid(at, &m->uid))
        return false;
    if (fields & NAME && !take_name(at, m->name))
        return false;
    if (fields & TEXT && !take_text(at, m->text))
        return false;
    if (fields & WANTED && !take_wanted(at, m))
        return false;
    return **at == '\0';
}

int xenwatch_read(const char *text, struct xenwatch_message *ret)
{
    struct xenwatch_message m = {.uid = UIDPOOL_NO_UID};
    char copy[XENWATCH_MESSAGE_MAX];
    char *at = copy;
    size_t length = strlen(text);

    /* A blank at the end would be a field that is not there. */
    if (length >= sizeof(copy) || length == 0 || text[length - 1] == ' ')
        return -EBADMSG;
    memcpy(copy, text, length + 1);
    const char *word = take_field(&at);
    for (size_t i = 1; i < ELEMENTS_OF(kinds); i++)
        if (strcmp(word, kinds[i].word) == 0) {
            m.kind = (enum xenwatch_kind)i;
            if (!take_fields(&at, kinds[i].fields, &m))
                return -EBADMSG;
            *ret = m;
            return 0;
        }
    return -EBADMSG;
}

/*
 * Over a socket.
 */

union control {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
};

int xenwatch_send(int to, const struct xenwatch_message *m, int fd)
{
    char text[XENWATCH_MESSAGE_MAX];
    union control control = {0};
    struct iovec data = {text, xenwatch_write(m, text)};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
    ssize_t n;

    if (fd >= 0) {
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(fd));
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
        message.msg_control = &control;
        message.msg_controllen = sizeof(control);
    }
    do
        n = sendmsg(to, &message, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

int xenwatch_receive(int from, struct xenwatch_message *ret, int *ret_fd)
{
    char text[XENWATCH_MESSAGE_MAX];
    union control control = {0};
    struct iovec data = {text, sizeof(text) - 1};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    _cleanup_fd_ int fd = -1;
    const struct cmsghdr *header;
    ssize_t n;
    int r;

    do
        n = recvmsg(from, &message, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    header = CMSG_FIRSTHDR(&message);
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
        header->cmsg_len == CMSG_LEN(sizeof(fd)))
        memcpy(&fd, CMSG_DATA(header), sizeof(fd));
    if (n == 0)
        return -EPIPE;
    text[n] = '\0';
    if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC) || strlen(text) != (size_t)n)
        return -EBADMSG;
    r = xenwatch_read(text, ret);
    if (r == 0 && ret_fd)
        *ret_fd = take_fd(&fd);
    else if (r == 0 && fd >= 0)
        r = -EBADMSG; /* nobody asked for one */
    return r;
}
