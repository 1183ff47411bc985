/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The only file that knows libxenstore. Touches the store and the variable XENSTORED_PATH, which is
 * how libxenstore is told where that is.
 *
 * MUST
 *  1. Call a domain absent only if the store said so: xs_is_domain_introduced() answers "no" also
 *     when it could not ask.
 *  2. Take nothing that is read for more than text.
 */
#include "allocator/xenstore.h"

#include "common/cleanup.h"
#include "common/ids.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <xenstore.h>

#define MARKER "/tool/uidpool/since"

struct xenstore {
    struct xs_handle *xs;
};

/* Of each introduced domain we want to be told about these. The uuid is there before the domain is
 * introduced, or so it is with libxl and XAPI; the kill-uid comes after. */
static const char *const watched[] = {"vm", "image/device-model-kill-uid"};

/* What libxenstore left in errno; a failure without a number is one too. */
static int error_of(int fallback)
{
    return errno > 0 ? -errno : -fallback;
}

static void path_of(char *buf, size_t size, int64_t domid, const char *node)
{
    (void)snprintf(buf, size, "/local/domain/%lld/%s", (long long)domid, node);
}

/* 0 and a text to be freed, NULL if there is no such node or if it holds no text; or a negative
 * errno. */
static int read_text(struct xenstore *x, xs_transaction_t t, const char *path, char **ret)
{
    unsigned length = 0;

    errno = 0;
    char *text = xs_read(x->xs, t, path, &length);
    if (!text && errno == ENOENT) {
        *ret = NULL;
        return 0;
    }
    if (!text)
        return error_of(EIO);
    if (strlen(text) != length) {
        free(text);
        text = NULL;
    }
    *ret = text;
    return 0;
}

/* MUST 1. 1, 0 or a negative errno. */
static int is_introduced(struct xenstore *x, int64_t domid)
{
    errno = 0;
    if (xs_is_domain_introduced(x->xs, (unsigned)domid))
        return 1;
    return errno > 0 ? -errno : 0;
}

/* Set all watches, and see that this store knows of other domains: a guest's own does not. */
static int begin(struct xenstore *x)
{
    int r;

    errno = 0;
    if (!xs_watch(x->xs, "@introduceDomain", "introduce") ||
        !xs_watch(x->xs, "@releaseDomain", "release"))
        return error_of(EIO);
    if (xs_fileno(x->xs) < 0)
        return -EMFILE;
    r = is_introduced(x, 0);
    return r == 0 ? -EACCES : (r < 0 ? r : 0);
}

int xenstore_open(const char *socket, struct xenstore **ret)
{
    struct xenstore *x;
    int r;

    /* Set in any case: without it a socket that is not there makes libxenstore try the kernel's
     * device, which may let us wait without end. */
    if (setenv("XENSTORED_PATH", socket ? socket : xs_daemon_socket(), 1) < 0)
        return -errno;
    x = calloc(1, sizeof(*x));
    if (!x)
        return -ENOMEM;
    errno = 0;
    x->xs = xs_open(0);
    r = x->xs ? begin(x) : error_of(EIO);
    if (r < 0) {
        xenstore_close(x);
        return r;
    }
    *ret = x;
    return 0;
}

void xenstore_close(struct xenstore *x)
{
    if (!x)
        return;
    xs_close(x->xs);
    free(x);
}

int xenstore_fd(const struct xenstore *x)
{
    return xs_fileno(x->xs);
}

int xenstore_take_events(struct xenstore *x)
{
    bool any = false;
    char **event;

    for (;;) {
        errno = 0;
        event = xs_check_watch(x->xs);
        if (!event)
            break;
        free(event);
        any = true;
    }
    return errno == EAGAIN ? any : error_of(EIO);
}

int xenstore_read_marker(struct xenstore *x, char ret[static XENSTORE_MARKER_MAX + 1])
{
    _cleanup_free_ char *text = NULL;
    int r = read_text(x, XBT_NULL, MARKER, &text);

    if (r < 0)
        return r;
    if (!text || strlen(text) > XENSTORE_MARKER_MAX)
        ret[0] = '\0';
    else
        memcpy(ret, text, strlen(text) + 1);
    return 0;
}

int xenstore_write_marker(struct xenstore *x, const char *text)
{
    errno = 0;
    return xs_write(x->xs, XBT_NULL, MARKER, text, (unsigned)strlen(text)) ? 0 : error_of(EIO);
}

int xenstore_each_domid(struct xenstore *x, void (*each)(int64_t domid, void *userdata),
                        void *userdata)
{
    unsigned n = 0;

    errno = 0;
    _cleanup_free_ char **names = xs_directory(x->xs, XBT_NULL, "/local/domain", &n);
    if (!names)
        return errno == ENOENT ? 0 : error_of(EIO);
    for (unsigned i = 0; i < n; i++) {
        int64_t domid;

        if (parse_domid(names[i], &domid) == 0)
            each(domid, userdata);
    }
    return 0;
}

/* MUST 2. "/vm/UUID" of libxl and XAPI. */
static int read_uuid(struct xenstore *x, xs_transaction_t t, int64_t domid,
                     char ret[static UIDPOOL_UUID_LEN + 1])
{
    static const char before[] = "/vm/";
    _cleanup_free_ char *text = NULL;
    char path[64];
    int r;

    path_of(path, sizeof(path), domid, "vm");
    r = read_text(x, t, path, &text);
    if (r < 0)
        return r;
    if (!text || strncmp(text, before, strlen(before)) != 0 ||
        parse_uuid(text + strlen(before), ret) < 0)
        ret[0] = '\0';
    return 0;
}

int xenstore_look(struct xenstore *x, int64_t domid, struct xenstore_domain *ret)
{
    struct xenstore_domain d = {.domid = domid, .kill_uid = UIDPOOL_NO_UID};
    _cleanup_free_ char *name = NULL, *kill_uid = NULL;
    char path[64];
    int r = is_introduced(x, domid);

    if (r <= 0)
        return r;
    /* After the question: what is read is of the domain that was introduced, or of a later one, of
     * which we shall be told. */
    r = read_uuid(x, XBT_NULL, domid, d.uuid);
    path_of(path, sizeof(path), domid, "name");
    if (r == 0)
        r = read_text(x, XBT_NULL, path, &name);
    path_of(path, sizeof(path), domid, watched[1]);
    if (r == 0)
        r = read_text(x, XBT_NULL, path, &kill_uid);
    if (r < 0)
        return r;
    if (name && name_is_valid(name))
        memcpy(d.name, name, strlen(name) + 1);
    if (kill_uid)
        (void)parse_uid(kill_uid, &d.kill_uid);
    *ret = d;
    return 1;
}

int xenstore_watch_domain(struct xenstore *x, int64_t domid)
{
    for (size_t i = 0; i < ELEMENTS_OF(watched); i++) {
        char path[64];

        path_of(path, sizeof(path), domid, watched[i]);
        errno = 0;
        if (!xs_watch(x->xs, path, "domain") && errno != EEXIST)
            return error_of(EIO);
    }
    return 0;
}

int xenstore_unwatch_domain(struct xenstore *x, int64_t domid)
{
    for (size_t i = 0; i < ELEMENTS_OF(watched); i++) {
        char path[64];

        path_of(path, sizeof(path), domid, watched[i]);
        errno = 0;
        if (!xs_unwatch(x->xs, path, "domain") && errno != ENOENT)
            return error_of(EIO);
    }
    return 0;
}

/* Within a transaction: what was there when it is committed. */
static int write_if_still(struct xenstore *x, xs_transaction_t t, int64_t domid, const char *uuid,
                          uid_t uid)
{
    char now[UIDPOOL_UUID_LEN + 1], path[64], text[16];
    int r = read_uuid(x, t, domid, now);

    if (r < 0)
        return r;
    if (strcmp(now, uuid) != 0)
        return -ESTALE;
    path_of(path, sizeof(path), domid, watched[1]);
    (void)snprintf(text, sizeof(text), "%u", uid);
    errno = 0;
    return xs_write(x->xs, t, path, text, (unsigned)strlen(text)) ? 0 : error_of(EIO);
}

int xenstore_write_kill_uid(struct xenstore *x, int64_t domid, const char *uuid, uid_t uid)
{
    int r = is_introduced(x, domid);
    xs_transaction_t t;

    if (r <= 0)
        return r < 0 ? r : -ESTALE;
    errno = 0;
    t = xs_transaction_start(x->xs);
    if (t == XBT_NULL)
        return error_of(EIO);
    r = write_if_still(x, t, domid, uuid, uid);
    errno = 0;
    if (!xs_transaction_end(x->xs, t, r < 0) && r == 0)
        r = errno == EAGAIN ? -ESTALE : error_of(EIO);
    return r;
}
