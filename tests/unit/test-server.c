/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The server with a toy interface, and peers that behave, are slow, or mean harm. One process has
 * both ends and runs the loop until what it waits for is there; peers of other uids are connected
 * by children, which pass the socket on.
 */
#include "allocator/daemon/server.h"

#include "common/cleanup.h"
#include "common/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cmocka.h>

#define PATIENCE (30 * USEC_PER_SEC)
#define MEMBERS 2114000200u  /* a group */
#define STRANGER 2114000201u /* uids from here on */

static const struct policy policy = {.group = MEMBERS};

/* The longest answer that a test reads. */
#define TEXT_MAX (4 << 20)

/*
 * The toy.
 */

static struct toy {
    struct call *kept[64]; /* of Keep and Stream */
    size_t n_kept;
    unsigned begun, resumed, told; /* calls; resume(); answers of a stream */
    unsigned stream_each;          /* what Stream says in one go at most; 0: until told to wait */
    bool stream_goes_on;
} toy;

static void toy_echo(struct call *call, void *userdata)
{
    assert_ptr_equal(userdata, &toy);
    toy.begun++;
    call_reply(call, json_incref((json_t *)(uintptr_t)call_parameters(call)));
}

static void keep(struct call *call)
{
    toy.begun++;
    assert_true(toy.n_kept < ELEMENTS_OF(toy.kept));
    toy.kept[toy.n_kept++] = call;
}

static void toy_keep(struct call *call, void *userdata)
{
    (void)userdata;
    keep(call);
}

static void forget(const struct call *call)
{
    for (size_t i = 0; i < toy.n_kept; i++) {
        if (toy.kept[i] == call) {
            toy.kept[i] = toy.kept[--toy.n_kept];
            return;
        }
    }
    fail();
}

static void release(struct call *call)
{
    forget(call);
    call_reply(call, json_pack("{s:b}", "released", true));
}

static void stream_more(struct call *call)
{
    for (unsigned i = 0; !toy.stream_each || i < toy.stream_each; i++) {
        toy.told++;
        if (!call_continue(call, json_pack("{s:i}", "n", toy.told)))
            return;
    }
}

static void on_resume(struct call *call, void *userdata)
{
    assert_ptr_equal(userdata, &toy);
    toy.resumed++;
    if (call_is_gone(call))
        release(call);
    else if (toy.stream_goes_on)
        stream_more(call);
}

static void toy_stream(struct call *call, void *userdata)
{
    assert_true(call_wants_more(call));
    keep(call);
    call_on_resume(call, on_resume, userdata);
    stream_more(call);
}

/* Says something whether or not it was asked for more. */
static void toy_chatter(struct call *call, void *userdata)
{
    (void)userdata;
    assert_true(call_continue(call, json_pack("{s:i}", "n", 1)) || call_is_gone(call));
    call_reply(call, NULL);
}

static void toy_fail(struct call *call, void *userdata)
{
    (void)userdata;
    call_error(call, "toy.Failed", json_pack("{s:i}", "uid", (int)call_peer(call)->uid));
}

/* An answer of so many bytes. */
static void toy_big(struct call *call, void *userdata)
{
    json_int_t size = json_integer_value(json_object_get(call_parameters(call), "size"));
    char *text = malloc((size_t)size);

    (void)userdata;
    toy.begun++;
    assert_non_null(text);
    memset(text, 'x', (size_t)size);
    call_reply(call, json_pack("{s:s#}", "text", text, (int)size));
    free(text);
}

static const struct method methods[] = {
    {.name = "Echo", .needs = PERMISSION_ANYONE, .handle = toy_echo},
    {.name = "Keep", .needs = PERMISSION_READ, .handle = toy_keep},
    {.name = "Inspect", .needs = PERMISSION_INSPECT, .handle = toy_echo},
    {.name = "Change", .needs = PERMISSION_CHANGE, .handle = toy_echo},
    {.name = "Stream", .needs = PERMISSION_READ, .streams = true, .handle = toy_stream},
    {.name = "Chatter", .needs = PERMISSION_READ, .handle = toy_chatter},
    {.name = "Fail", .needs = PERMISSION_ANYONE, .handle = toy_fail},
    {.name = "Big", .needs = PERMISSION_ANYONE, .handle = toy_big},
};

static const struct interface toys = {.name = "toy",
                                      .description = "interface toy\n",
                                      .methods = methods,
                                      .n_methods = ELEMENTS_OF(methods),
                                      .userdata = &toy};

/*
 * A server, and time that passes.
 */

struct scene {
    sd_event *event;
    struct server *server;
    struct sockaddr_un address;
};

static struct scene scene_of(const struct server_limits *limits)
{
    const struct interface *interfaces[] = {&toys};
    struct scene scene = {0};

    toy = (struct toy){0};
    assert_true(sd_event_new(&scene.event) >= 0);
    assert_int_equal(server_new(scene.event, &policy, limits, interfaces, 1, &scene.server), 0);
    return scene;
}

static void scene_end(struct scene *scene)
{
    while (toy.n_kept > 0)
        release(toy.kept[0]);
    server_free(scene->server);
    sd_event_unref(scene->event);
}

/* One step of the loop, or 10 ms without one. */
static void step(struct scene *scene)
{
    assert_true(sd_event_run(scene->event, 10000) >= 0);
}

#define run_until(scene, condition)                             \
    do {                                                        \
        int64_t _deadline = clock_monotonic_usec() + PATIENCE;  \
        while (!(condition)) {                                  \
            if (clock_monotonic_usec() > _deadline)             \
                fail_msg("waited too long for %s", #condition); \
            step(scene);                                        \
        }                                                       \
    } while (0)

/* All that can happen now. */
static void settle(struct scene *scene)
{
    while (sd_event_run(scene->event, 0) > 0)
        ;
}

static void scene_listen(struct scene *scene)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t size = sizeof(sa_family_t);

    assert_true(fd >= 0);
    scene->address.sun_family = AF_UNIX;
    /* The kernel chooses a name; no file is left over. */
    assert_int_equal(bind(fd, (struct sockaddr *)&scene->address, size), 0);
    size = sizeof(scene->address);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&scene->address, &size), 0);
    assert_int_equal(listen(fd, SOMAXCONN), 0);
    assert_int_equal(server_listen(scene->server, fd), 0);
}

/*
 * Peers.
 */

static int connected(struct scene *scene)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    assert_int_equal(server_adopt(scene->server, pair[0]), 0);
    return pair[1];
}

static int connect_to(const struct scene *scene)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* Abstract names are five bytes that the kernel chose. */
    socklen_t size = (socklen_t)offsetof(struct sockaddr_un, sun_path) + 6;

    assert_true(fd >= 0);
    if (connect(fd, (const struct sockaddr *)&scene->address, size) < 0) {
        int r = -errno;

        close(fd);
        return r;
    }
    return fd;
}

/* `n` connections of somebody else. */
static void connect_as(const struct scene *scene, uid_t uid, gid_t gid, int *ret, size_t n)
{
    int way[2], status;
    pid_t pid;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, way), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
            _exit(1);
        for (size_t i = 0; i < n; i++) {
            char control[CMSG_SPACE(sizeof(int))] = {0}, byte = 0;
            struct iovec piece = {.iov_base = &byte, .iov_len = 1};
            struct msghdr message = {.msg_iov = &piece,
                                     .msg_iovlen = 1,
                                     .msg_control = control,
                                     .msg_controllen = sizeof(control)};
            struct cmsghdr *header = CMSG_FIRSTHDR(&message);
            int fd = connect_to(scene);

            if (fd < 0 || !header)
                _exit(2);
            header->cmsg_level = SOL_SOCKET;
            header->cmsg_type = SCM_RIGHTS;
            header->cmsg_len = CMSG_LEN(sizeof(int));
            memcpy(CMSG_DATA(header), &fd, sizeof(int));
            if (sendmsg(way[1], &message, 0) != 1)
                _exit(3);
            close(fd);
        }
        _exit(0);
    }
    for (size_t i = 0; i < n; i++) {
        char control[CMSG_SPACE(sizeof(int))], byte;
        struct iovec piece = {.iov_base = &byte, .iov_len = 1};
        struct msghdr message = {.msg_iov = &piece,
                                 .msg_iovlen = 1,
                                 .msg_control = control,
                                 .msg_controllen = sizeof(control)};
        struct cmsghdr *header;

        assert_int_equal(recvmsg(way[0], &message, MSG_CMSG_CLOEXEC), 1);
        header = CMSG_FIRSTHDR(&message);
        if (!header)
            fail();
        else
            memcpy(&ret[i], CMSG_DATA(header), sizeof(int));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    close(way[0]);
    close(way[1]);
}

static void say_bytes(struct scene *scene, int fd, const char *data, size_t size)
{
    int64_t deadline = clock_monotonic_usec() + PATIENCE;

    while (size > 0) {
        ssize_t n = send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);

        assert_true(n >= 0 || errno == EAGAIN);
        assert_true(clock_monotonic_usec() < deadline);
        if (n > 0) {
            data += n;
            size -= (size_t)n;
        } else {
            step(scene);
        }
    }
}

static void say(struct scene *scene, int fd, const char *text)
{
    say_bytes(scene, fd, text, strlen(text) + 1);
}

static void say_call(struct scene *scene, int fd, const char *method, const char *rest)
{
    char text[512];

    snprintf(text, sizeof(text), "{\"method\":\"%s\"%s}", method, rest);
    say(scene, fd, text);
}

/* The next message, running the loop. NULL: the connection is closed. Valid until the next call. */
static const char *hear(struct scene *scene, int fd)
{
    static char text[TEXT_MAX];
    int64_t deadline = clock_monotonic_usec() + PATIENCE;
    size_t size = 0;

    for (;;) {
        ssize_t n = recv(fd, text + size, 1, MSG_DONTWAIT);

        assert_true(clock_monotonic_usec() < deadline);
        if (n == 0 || (n < 0 && errno == ECONNRESET)) {
            assert_int_equal(size, 0);
            return NULL;
        }
        assert_true(n == 1 || errno == EAGAIN);
        if (n < 0)
            step(scene);
        else if (text[size] == '\0')
            return text;
        else
            size++;
        assert_true(size < sizeof(text));
    }
}

static void expect(struct scene *scene, int fd, const char *text)
{
    const char *heard = hear(scene, fd);

    assert_non_null(heard);
    assert_string_equal(heard, text);
}

static void expect_error(struct scene *scene, int fd, const char *error)
{
    const char *heard = hear(scene, fd);
    char head[128];

    snprintf(head, sizeof(head), "{\"error\":\"%s\"", error);
    if (!heard || strncmp(heard, head, strlen(head)) != 0)
        fail_msg("%s instead of %s", heard ? heard : "end of file", error);
}

static void expect_refusal(struct scene *scene, int fd, const char *error)
{
    expect_error(scene, fd, error);
    assert_null(hear(scene, fd));
    close(fd);
}

static bool is_silent(int fd)
{
    char c;

    return recv(fd, &c, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN;
}

static void echo_works(struct scene *scene, int fd)
{
    say_call(scene, fd, "toy.Echo", ",\"parameters\":{\"n\":1}");
    expect(scene, fd, "{\"parameters\":{\"n\":1}}");
}

/*
 * Calls.
 */

static void test_calls(void **state)
{
    struct scene scene = scene_of(&server_limits_default);
    int fd = connected(&scene);

    (void)state;
    assert_int_equal(server_connections(scene.server), 1);
    echo_works(&scene, fd);
    say_call(&scene, fd, "toy.Fail", "");
    expect(&scene, fd, "{\"error\":\"toy.Failed\",\"parameters\":{\"uid\":0}}");
    say_call(&scene, fd, "toy.Nothing", "");
    expect(&scene, fd,
           "{\"error\":\"org.varlink.service.MethodNotFound\","
           "\"parameters\":{\"method\":\"toy.Nothing\"}}");
    say_call(&scene, fd, "toy.toy.Echo", "");
    expect(&scene, fd,
           "{\"error\":\"org.varlink.service.InterfaceNotFound\","
           "\"parameters\":{\"interface\":\"toy.toy\"}}");
    say_call(&scene, fd, "toy.Stream", "");
    expect(&scene, fd, "{\"error\":\"org.varlink.service.ExpectedMore\",\"parameters\":{}}");
    say_call(&scene, fd, "toy.Echo", ",\"upgrade\":true");
    expect(&scene, fd,
           "{\"error\":\"org.varlink.service.InvalidParameter\","
           "\"parameters\":{\"parameter\":\"upgrade\"}}");
    /* It may say more; the method does not. */
    say_call(&scene, fd, "toy.Echo", ",\"more\":true");
    expect(&scene, fd, "{\"parameters\":{}}");
    say_call(&scene, fd, "toy.Chatter", ",\"more\":true");
    expect(&scene, fd, "{\"continues\":true,\"parameters\":{\"n\":1}}");
    expect(&scene, fd, "{\"parameters\":{}}");
    /* One that was not asked for more must not answer twice. */
    say_call(&scene, fd, "toy.Chatter", "");
    expect(&scene, fd, "{\"parameters\":{}}");
    echo_works(&scene, fd);
    close(fd);
    run_until(&scene, server_connections(scene.server) == 0);
    scene_end(&scene);
}

static void test_service(void **state)
{
    struct scene scene = scene_of(&server_limits_default);
    int fd = connected(&scene);
    const char *text;

    (void)state;
    say_call(&scene, fd, "org.varlink.service.GetInfo", ",\"parameters\":{}");
    text = hear(&scene, fd);
    assert_non_null(strstr(text, "\"interfaces\":[\"toy\",\"org.varlink.service\"]"));
    assert_non_null(strstr(text, "\"product\":\"uidpoold\""));
    say_call(&scene, fd, "org.varlink.service.GetInterfaceDescription",
             ",\"parameters\":{\"interface\":\"toy\"}");
    expect(&scene, fd, "{\"parameters\":{\"description\":\"interface toy\\n\"}}");
    say_call(&scene, fd, "org.varlink.service.GetInterfaceDescription",
             ",\"parameters\":{\"interface\":\"org.varlink.service\"}");
    assert_non_null(strstr(hear(&scene, fd), "method GetInterfaceDescription("));
    say_call(&scene, fd, "org.varlink.service.GetInterfaceDescription",
             ",\"parameters\":{\"interface\":\"toys\"}");
    expect_error(&scene, fd, "org.varlink.service.InterfaceNotFound");
    say_call(&scene, fd, "org.varlink.service.GetInterfaceDescription", "");
    expect(&scene, fd,
           "{\"error\":\"org.varlink.service.InvalidParameter\","
           "\"parameters\":{\"parameter\":\"interface\"}}");
    say_call(&scene, fd, "org.varlink.service.GetInfo", ",\"parameters\":{\"x\\u00e4\":1}");
    expect(&scene, fd,
           "{\"error\":\"org.varlink.service.InvalidParameter\","
           "\"parameters\":{\"parameter\":\"x\xc3\xa4\"}}");
    close(fd);
    scene_end(&scene);
}

static void test_permissions(void **state)
{
    struct scene scene = scene_of(&server_limits_default);
    int stranger, member, root = connected(&scene);

    (void)state;
    scene_listen(&scene);
    connect_as(&scene, STRANGER, STRANGER, &stranger, 1);
    connect_as(&scene, STRANGER, MEMBERS, &member, 1);
    echo_works(&scene, stranger);
    say_call(&scene, stranger, "toy.Change", "");
    expect_error(&scene, stranger, "org.varlink.service.PermissionDenied");
    say_call(&scene, stranger, "toy.Inspect", "");
    expect_error(&scene, stranger, "org.varlink.service.PermissionDenied");
    assert_int_equal(toy.begun, 1);
    say_call(&scene, member, "toy.Change", "");
    expect(&scene, member, "{\"parameters\":{}}");
    say_call(&scene, root, "toy.Change", "");
    expect(&scene, root, "{\"parameters\":{}}");
    say_call(&scene, stranger, "toy.Fail", "");
    expect(&scene, stranger, "{\"error\":\"toy.Failed\",\"parameters\":{\"uid\":2114000201}}");
    close(root);
    close(member);
    close(stranger);
    scene_end(&scene);
}

/* Sent in one go: answered one after the other, in order, also when the first takes long. */
static void test_pipeline(void **state)
{
    struct scene scene = scene_of(&server_limits_default);
    int fd = connected(&scene), other = connected(&scene);
    char text[64];

    (void)state;
    say_call(&scene, fd, "toy.Keep", "");
    for (int i = 0; i < 100; i++) {
        snprintf(text, sizeof(text), ",\"parameters\":{\"n\":%d}", i);
        say_call(&scene, fd, "toy.Echo", text);
    }
    say_call(&scene, fd, "toy.Keep", "");
    settle(&scene);
    assert_int_equal(toy.begun, 1);
    assert_true(is_silent(fd));
    echo_works(&scene, other);
    release(toy.kept[0]);
    expect(&scene, fd, "{\"parameters\":{\"released\":true}}");
    for (int i = 0; i < 100; i++) {
        snprintf(text, sizeof(text), "{\"parameters\":{\"n\":%d}}", i);
        expect(&scene, fd, text);
    }
    run_until(&scene, toy.n_kept == 1);
    assert_true(is_silent(fd));
    /* Half of the next call is there when the answer goes out. */
    say_bytes(&scene, fd, "{\"method\":\"to", 13);
    release(toy.kept[0]);
    expect(&scene, fd, "{\"parameters\":{\"released\":true}}");
    say_bytes(&scene, fd, "y.Echo\"}", 9);
    expect(&scene, fd, "{\"parameters\":{}}");
    close(fd);
    close(other);
    scene_end(&scene);
}

static void test_oneway(void **state)
{
    struct scene scene = scene_of(&server_limits_default);
    int fd = connected(&scene);

    (void)state;
    say_call(&scene, fd, "toy.Echo", ",\"oneway\":true,\"parameters\":{\"n\":5}");
    say_call(&scene, fd, "toy.Fail", ",\"oneway\":true");
    say_call(&scene, fd, "toy.None", ",\"oneway\":true");
    say_call(&scene, fd, "toy.Stream", ",\"oneway\":true");
    say_call(&scene, fd, "toy.Keep", ",\"oneway\":true");
    echo_works(&scene, connected(&scene));
    run_until(&scene, toy.n_kept == 1);
    say_call(&scene, fd, "toy.Echo", ",\"parameters\":{\"n\":6}");
    settle(&scene);
    assert_true(is_silent(fd));
    release(toy.kept[0]);
    expect(&scene, fd, "{\"parameters\":{\"n\":6}}");
    assert_int_equal(toy.begun, 4);
    close(fd);
    scene_end(&scene);
}

/* Who goes at once has still said what wants no answer, and is not answered what does. */
static void test_say_and_go(void **state)
{
    struct scene scene = scene_of(&server_limits_default);
    int fd = connected(&scene);

    (void)state;
    for (int i = 0; i < 3; i++) {
        say_call(&scene, fd, "toy.Keep", ",\"oneway\":true");
        say_call(&scene, fd, "toy.Echo", "");
    }
    close(fd);
    for (unsigned i = 0; i < 3; i++) {
        run_until(&scene, toy.n_kept == 1);
        assert_int_equal(toy.begun, i + 1);
        assert_false(call_is_gone(toy.kept[0]));
        settle(&scene);
        /* One after the other. */
        assert_int_equal(toy.begun, i + 1);
        release(toy.kept[0]);
    }
    run_until(&scene, server_connections(scene.server) == 0);
    assert_int_equal(toy.begun, 3);
    scene_end(&scene);
}

/* The same, when it goes while the first is being worked on. */
static void test_go_while_worked_on(void **state)
{
    struct scene scene = scene_of(&server_limits_default);
    int fd = connected(&scene);

    (void)state;
    for (int i = 0; i < 3; i++)
        say_call(&scene, fd, "toy.Keep", ",\"oneway\":true");
    run_until(&scene, toy.n_kept == 1);
    close(fd);
    for (unsigned i = 0; i < 3; i++) {
        run_until(&scene, toy.n_kept == 1);
        settle(&scene);
        assert_int_equal(toy.begun, i + 1);
        release(toy.kept[0]);
    }
    run_until(&scene, server_connections(scene.server) == 0);
    scene_end(&scene);
}

/* An answer that cannot be written, as without memory: a peer that waits for it has to know. */
static void test_no_answer(void **state)
{
    struct scene scene = scene_of(&server_limits_default);
    json_t *snake = json_object();
    int fd = connected(&scene);
    struct call *call;

    (void)state;
    say_call(&scene, fd, "toy.Keep", "");
    run_until(&scene, toy.n_kept == 1);
    settle(&scene);
    assert_int_equal(json_object_set_new(snake, "tail", json_object()), 0);
    assert_int_equal(json_object_set(json_object_get(snake, "tail"), "head", snake), 0);
    call = toy.kept[0];
    forget(call);
    call_reply(call, json_incref(snake));
    assert_null(hear(&scene, fd));
    assert_int_equal(server_connections(scene.server), 0);
    json_object_clear(json_object_get(snake, "tail"));
    json_decref(snake);
    close(fd);
    scene_end(&scene);
}

/* Half closed: it says no more, but hears all answers. */
static void test_half_closed(void **state)
{
    struct scene scene = scene_of(&server_limits_default);
    int fd = connected(&scene);

    (void)state;
    say_call(&scene, fd, "toy.Keep", "");
    say_call(&scene, fd, "toy.Echo", "");
    say_bytes(&scene, fd, "{\"half", 6);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    run_until(&scene, toy.n_kept == 1);
    settle(&scene);
    release(toy.kept[0]);
    expect(&scene, fd, "{\"parameters\":{\"released\":true}}");
    expect(&scene, fd, "{\"parameters\":{}}");
    assert_null(hear(&scene, fd));
    assert_int_equal(server_connections(scene.server), 0);
    close(fd);
    /* Nothing is left but to close. */
    fd = connected(&scene);
    say_call(&scene, fd, "toy.Keep", "");
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    run_until(&scene, toy.n_kept == 1);
    settle(&scene);
    release(toy.kept[0]);
    expect(&scene, fd, "{\"parameters\":{\"released\":true}}");
    assert_null(hear(&scene, fd));
    close(fd);
    /* More than is done in one go. */
    fd = connected(&scene);
    for (int i = 0; i < 50; i++)
        say_call(&scene, fd, "toy.Echo", "");
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    for (int i = 0; i < 50; i++)
        expect(&scene, fd, "{\"parameters\":{}}");
    assert_null(hear(&scene, fd));
    close(fd);
    /* Nothing was said at all. */
    fd = connected(&scene);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    assert_null(hear(&scene, fd));
    close(fd);
    /* It does not want to hear anything. */
    fd = connected(&scene);
    assert_int_equal(shutdown(fd, SHUT_RD), 0);
    say_call(&scene, fd, "toy.Echo", "");
    close(fd);
    run_until(&scene, server_connections(scene.server) == 0);
    scene_end(&scene);
}

static void test_gone_while_worked_on(void **state)
{
    struct scene scene = scene_of(&server_limits_default);
    int fd = connected(&scene);

    (void)state;
    say_call(&scene, fd, "toy.Keep", "");
    say_call(&scene, fd, "toy.Echo", "");
    run_until(&scene, toy.n_kept == 1);
    assert_false(call_is_gone(toy.kept[0]));
    assert_false(server_drain(scene.server));
    close(fd);
    run_until(&scene, call_is_gone(toy.kept[0]));
    run_until(&scene, server_connections(scene.server) == 0);
    assert_int_equal(toy.resumed, 0);
    /* Too late to be told by the connection; told nevertheless. */
    call_on_resume(toy.kept[0], on_resume, &toy);
    assert_int_equal(toy.resumed, 0);
    run_until(&scene, toy.resumed == 1);
    assert_int_equal(toy.n_kept, 0);
    assert_int_equal(toy.begun, 1);
    assert_true(server_drain(scene.server));
    scene_end(&scene);
}

/* A server that goes leaves its calls to their methods. */
static void test_freed_while_worked_on(void **state)
{
    struct scene scene = scene_of(&server_limits_default);
    int fds[3] = {connected(&scene), connected(&scene), connected(&scene)};

    (void)state;
    say_call(&scene, fds[0], "toy.Keep", "");
    say_call(&scene, fds[1], "toy.Stream", ",\"more\":true");
    say_call(&scene, fds[2], "toy.Keep", ",\"oneway\":true");
    run_until(&scene, toy.n_kept == 3);
    server_free(scene.server);
    scene.server = NULL;
    for (size_t i = 0; i < 3; i++) {
        struct call *call = toy.kept[0];

        assert_int_equal(call_peer(call)->uid, 0);
        assert_false(call_continue(call, NULL));
        call_on_resume(call, on_resume, &toy);
        release(call);
        while (recv(fds[i], &(char){0}, 1, MSG_DONTWAIT) > 0)
            ;
        assert_int_equal(recv(fds[i], &(char){0}, 1, MSG_DONTWAIT), 0);
        close(fds[i]);
    }
    settle(&scene);
    assert_int_equal(toy.resumed, 0);
    sd_event_unref(scene.event);
    server_free(NULL);
}

static void test_drain(void **state)
{
    struct scene scene = scene_of(&server_limits_default);
    int fd = connected(&scene), idle = connected(&scene);

    (void)state;
    scene_listen(&scene);
    say_call(&scene, fd, "toy.Keep", "");
    say_call(&scene, fd, "toy.Echo", "");
    run_until(&scene, toy.n_kept == 1);
    assert_false(server_drain(scene.server));
    say_call(&scene, idle, "toy.Echo", "");
    close(connect_to(&scene));
    settle(&scene);
    assert_int_equal(toy.begun, 1);
    assert_int_equal(server_connections(scene.server), 2);
    release(toy.kept[0]);
    assert_true(server_drain(scene.server));
    expect(&scene, fd, "{\"parameters\":{\"released\":true}}");
    settle(&scene);
    assert_int_equal(toy.begun, 1);
    close(fd);
    close(idle);
    run_until(&scene, server_connections(scene.server) == 0);
    scene_end(&scene);
}

/*
 * Streams.
 */

static void test_stream_pauses(void **state)
{
    struct server_limits limits = server_limits_default;
    struct scene scene;
    unsigned n = 0, told;
    char text[64];
    int fd;

    (void)state;
    limits.output = 1000;
    scene = scene_of(&limits);
    fd = connected(&scene);
    toy.stream_goes_on = true;
    say_call(&scene, fd, "toy.Stream", ",\"more\":true");
    /* Nobody reads: what the kernel holds and 1000 bytes, then no more. */
    settle(&scene);
    told = toy.told;
    assert_true(told > 30 && told < 30000);
    settle(&scene);
    assert_int_equal(toy.told, told);
    /* Somebody reads: everything comes, in order, and it goes on. */
    while (n < told + 1000) {
        snprintf(text, sizeof(text), "{\"continues\":true,\"parameters\":{\"n\":%u}}", ++n);
        expect(&scene, fd, text);
    }
    assert_true(toy.told > told && toy.resumed > 0);
    close(fd);
    run_until(&scene, toy.n_kept == 0);
    assert_int_equal(server_connections(scene.server), 0);
    scene_end(&scene);
}

/* Told once that the peer has gone, whether or not it was waiting. */
static void test_stream_ends_with_its_peer(void **state)
{
    struct scene scene = scene_of(&server_limits_default);
    int fd = connected(&scene);

    (void)state;
    toy.stream_each = 1;
    say_call(&scene, fd, "toy.Stream", ",\"more\":true");
    expect(&scene, fd, "{\"continues\":true,\"parameters\":{\"n\":1}}");
    settle(&scene);
    assert_int_equal(toy.resumed, 0);
    assert_true(call_continue(toy.kept[0], json_pack("{s:i}", "n", 7)));
    expect(&scene, fd, "{\"continues\":true,\"parameters\":{\"n\":7}}");
    close(fd);
    run_until(&scene, toy.n_kept == 0);
    assert_int_equal(toy.resumed, 1);
    scene_end(&scene);
}

/* A reader that has stopped is closed in the end, and the method hears of it. */
static void test_stream_to_nobody(void **state)
{
    struct server_limits limits = server_limits_default;
    struct scene scene;
    int fd;

    (void)state;
    limits.send_sec = 1;
    scene = scene_of(&limits);
    fd = connected(&scene);
    toy.stream_goes_on = true;
    say_call(&scene, fd, "toy.Stream", ",\"more\":true");
    run_until(&scene, toy.n_kept == 1);
    run_until(&scene, toy.n_kept == 0);
    assert_int_equal(server_connections(scene.server), 0);
    close(fd);
    scene_end(&scene);
}

static void test_stream_ends(void **state)
{
    struct scene scene = scene_of(&server_limits_default);
    int fd = connected(&scene);

    (void)state;
    toy.stream_each = 2;
    say_call(&scene, fd, "toy.Stream", ",\"more\":true");
    say_call(&scene, fd, "toy.Echo", "");
    run_until(&scene, toy.n_kept == 1);
    release(toy.kept[0]);
    expect(&scene, fd, "{\"continues\":true,\"parameters\":{\"n\":1}}");
    expect(&scene, fd, "{\"continues\":true,\"parameters\":{\"n\":2}}");
    expect(&scene, fd, "{\"parameters\":{\"released\":true}}");
    expect(&scene, fd, "{\"parameters\":{}}");
    close(fd);
    scene_end(&scene);
}

/*
 * Hostile peers.
 */

static void test_bad_messages(void **state)
{
    static const char *const bad[] = {
        "",
        "hello",
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "{\"method\":\"toy.Echo\"}{}",
        "{\"method\":\"Echo\"}",
        "{\"method\":\"toy.Echo\",\"method\":\"toy.Change\"}",
        "{\"method\":\"toy.Echo\",\"parameters\":[]}",
        "{\"method\":\"toy.Echo\",\"more\":1}",
        "{\"method\":\"toy.Echo\",\"error\":\"x\"}",
        "{\"method\":\"toy.Echo\",\"parameters\":{\"a\":\"\xff\"}}",
    };
    struct scene scene = scene_of(&server_limits_default);

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(bad); i++) {
        int fd = connected(&scene);

        echo_works(&scene, fd);
        say(&scene, fd, bad[i]);
        /* Not even looked at. */
        say_call(&scene, fd, "toy.Change", "");
        expect_refusal(&scene, fd, "io.uidpool.BadMessage");
        assert_int_equal(toy.begun, i + 1);
    }
    assert_int_equal(server_connections(scene.server), 0);
    scene_end(&scene);
}

static void test_deep_nesting(void **state)
{
    struct scene scene = scene_of(&server_limits_default);
    int fd = connected(&scene);
    char text[60001];

    (void)state;
    memset(text, '[', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    say(&scene, fd, text);
    expect_refusal(&scene, fd, "io.uidpool.BadMessage");
    scene_end(&scene);
}

/* At the limit it is a message, and one byte more is too long. */
static void test_too_long(void **state)
{
    struct server_limits limits = server_limits_default;
    struct scene scene;
    char text[1001];
    int fd;

    (void)state;
    limits.message = 1000;
    scene = scene_of(&limits);
    fd = connected(&scene);
    memset(text, ' ', sizeof(text));
    memcpy(text, "{\"method\":\"toy.Echo\"}", 21);
    text[1000] = '\0';
    say_bytes(&scene, fd, text, sizeof(text));
    expect(&scene, fd, "{\"parameters\":{}}");
    text[1000] = ' ';
    say_bytes(&scene, fd, text, sizeof(text));
    expect_refusal(&scene, fd, "io.uidpool.TooLong");
    scene_end(&scene);
}

/* 100 MB without a NUL: refused at the limit, whatever is still to come. */
static void test_endless_message(void **state)
{
    struct scene scene = scene_of(&server_limits_default);
    int fd = connected(&scene);
    char piece[4096];
    size_t sent = 0;

    (void)state;
    memset(piece, 'x', sizeof(piece));
    while (sent < (100 << 20)) {
        ssize_t n = send(fd, piece, sizeof(piece), MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno != EAGAIN)
            break;
        if (n < 0)
            step(&scene);
        else
            sent += (size_t)n;
    }
    assert_true(errno == EPIPE || errno == ECONNRESET);
    assert_true(sent >= server_limits_default.message && sent < (1 << 20));
    expect_refusal(&scene, fd, "io.uidpool.TooLong");
    scene_end(&scene);
}

static void test_half_a_message(void **state)
{
    struct server_limits limits = server_limits_default;
    int64_t begun = clock_monotonic_usec();
    struct scene scene;
    int64_t next = 0;
    int half, idle, kept, drip;

    (void)state;
    limits.receive_sec = 1;
    scene = scene_of(&limits);
    idle = connected(&scene);
    kept = connected(&scene);
    half = connected(&scene);
    drip = connected(&scene);
    say_bytes(&scene, half, "{\"method\":", 10);
    /* Bytes that come now and then buy no time. */
    say_bytes(&scene, drip, "{", 1);
    /* While its call is being worked on nobody waits for its next one. */
    say_call(&scene, kept, "toy.Keep", "");
    say_bytes(&scene, kept, "{\"method\":", 10);
    while (server_connections(scene.server) > 2) {
        assert_true(clock_monotonic_usec() < begun + PATIENCE);
        step(&scene);
        if (clock_monotonic_usec() >= next) {
            (void)!send(drip, " ", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
            next = clock_monotonic_usec() + 10 * USEC_PER_MSEC;
        }
    }
    assert_true(clock_monotonic_usec() - begun >= USEC_PER_SEC);
    expect_refusal(&scene, half, "io.uidpool.TooSlow");
    expect_refusal(&scene, drip, "io.uidpool.TooSlow");
    echo_works(&scene, idle);
    /* And now it does. */
    release(toy.kept[0]);
    expect(&scene, kept, "{\"parameters\":{\"released\":true}}");
    expect_refusal(&scene, kept, "io.uidpool.TooSlow");
    close(idle);
    scene_end(&scene);
}

/* A steady flow of messages, each of which begins in the piece of the last one, is not slow. */
static void test_steady_flow(void **state)
{
    struct server_limits limits = server_limits_default;
    static const char text[] = "{\"method\":\"toy.Echo\",\"oneway\":true}";
    int64_t begun = clock_monotonic_usec();
    struct scene scene;
    size_t at = 0;
    int fd;

    (void)state;
    limits.receive_sec = 1;
    scene = scene_of(&limits);
    fd = connected(&scene);
    for (unsigned i = 0; clock_monotonic_usec() < begun + 5 * USEC_PER_SEC / 2; i++) {
        /* A message's last bytes, and the first ones of the next. */
        say_bytes(&scene, fd, text + at, sizeof(text) - at);
        at = 1 + i % 20;
        say_bytes(&scene, fd, text, at);
        step(&scene);
    }
    say_bytes(&scene, fd, text + at, sizeof(text) - at);
    echo_works(&scene, fd);
    close(fd);
    scene_end(&scene);
}

/* It calls and calls and never reads: little is worked on, and then it is closed. */
static void test_never_reads(void **state)
{
    struct server_limits limits = server_limits_default;
    struct scene scene;
    int fd, other;
    unsigned begun;

    (void)state;
    limits.send_sec = 1;
    limits.output = 1000;
    scene = scene_of(&limits);
    fd = connected(&scene);
    other = connected(&scene);
    for (int i = 0; i < 100; i++)
        say_call(&scene, fd, "toy.Big", ",\"parameters\":{\"size\":60000}");
    settle(&scene);
    begun = toy.begun;
    /* The kernel's buffer, ours, and the one that went beyond. */
    assert_true(begun >= 1 && begun < 5);
    echo_works(&scene, other);
    run_until(&scene, server_connections(scene.server) == 1);
    assert_int_equal(toy.begun, begun + 1);
    echo_works(&scene, other);
    close(fd);
    close(other);
    scene_end(&scene);
}

/* One that reads slowly, but does read, is served. */
static void test_reads_slowly(void **state)
{
    struct server_limits limits = server_limits_default;
    struct scene scene;
    int64_t begun = clock_monotonic_usec(), next = 0;
    size_t got = 0;
    char byte[8192];
    int fd;

    (void)state;
    limits.send_sec = 1;
    scene = scene_of(&limits);
    fd = connected(&scene);
    say_call(&scene, fd, "toy.Big", ",\"parameters\":{\"size\":400000}");
    while (got < 400000) {
        assert_true(clock_monotonic_usec() < begun + PATIENCE);
        step(&scene);
        if (clock_monotonic_usec() >= next) {
            ssize_t n = recv(fd, byte, sizeof(byte), MSG_DONTWAIT);

            assert_true(n > 0 || (n < 0 && errno == EAGAIN));
            got += n > 0 ? (size_t)n : 0;
            next = clock_monotonic_usec() + 100 * USEC_PER_MSEC;
        }
    }
    assert_true(clock_monotonic_usec() - begun > 2 * USEC_PER_SEC);
    echo_works(&scene, connected(&scene));
    close(fd);
    scene_end(&scene);
}

/* While one user floods with calls on many connections, another one's single call waits for a few
 * of them, not for one of each connection. */
static void test_flood_delays_nobody(void **state)
{
    static const char text[] = "{\"method\":\"toy.Echo\",\"oneway\":true}";
    struct scene scene = scene_of(&server_limits_default);
    int flooders[20], one;

    (void)state;
    scene_listen(&scene);
    connect_as(&scene, STRANGER, STRANGER, flooders, ELEMENTS_OF(flooders));
    connect_as(&scene, STRANGER + 1, STRANGER, &one, 1);
    run_until(&scene, server_connections(scene.server) == ELEMENTS_OF(flooders) + 1);
    settle(&scene);
    for (size_t i = 0; i < ELEMENTS_OF(flooders); i++) {
        for (int j = 0; j < 1000; j++)
            (void)!send(flooders[i], text, sizeof(text), MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    /* All of them wait for their turns. */
    for (size_t i = 0; i < 2 * ELEMENTS_OF(flooders); i++)
        step(&scene);
    toy.begun = 0;
    assert_int_equal(send(one, "{\"method\":\"toy.Fail\"}", 22, MSG_NOSIGNAL), 22);
    while (is_silent(one))
        step(&scene);
    assert_true(toy.begun < ELEMENTS_OF(flooders) / 2);
    for (size_t i = 0; i < ELEMENTS_OF(flooders); i++)
        close(flooders[i]);
    close(one);
    scene_end(&scene);
}

/* Nor does it keep others from being let in, or anything else of the loop from its turn. */
static void test_flood_leaves_the_loop_to_others(void **state)
{
    static const char text[] = "{\"method\":\"toy.Echo\",\"oneway\":true}";
    struct scene scene = scene_of(&server_limits_default);
    int flooders[20], one;

    (void)state;
    scene_listen(&scene);
    connect_as(&scene, STRANGER, STRANGER, flooders, ELEMENTS_OF(flooders));
    run_until(&scene, server_connections(scene.server) == ELEMENTS_OF(flooders));
    settle(&scene);
    for (size_t i = 0; i < ELEMENTS_OF(flooders); i++) {
        for (int j = 0; j < 1000; j++)
            (void)!send(flooders[i], text, sizeof(text), MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    for (size_t i = 0; i < 2 * ELEMENTS_OF(flooders); i++)
        step(&scene);
    toy.begun = 0;
    one = connect_to(&scene);
    assert_int_equal(send(one, "{\"method\":\"toy.Fail\"}", 22, MSG_NOSIGNAL), 22);
    while (is_silent(one))
        step(&scene);
    assert_true(toy.begun < ELEMENTS_OF(flooders) / 2);
    for (size_t i = 0; i < ELEMENTS_OF(flooders); i++)
        close(flooders[i]);
    close(one);
    scene_end(&scene);
}

/*
 * Limits.
 */

static void test_connections_of_one(void **state)
{
    struct server_limits limits = server_limits_default;
    struct scene scene;
    int many[6], other, root;

    (void)state;
    limits.connections_each = 4;
    scene = scene_of(&limits);
    scene_listen(&scene);
    connect_as(&scene, STRANGER, STRANGER, many, ELEMENTS_OF(many));
    connect_as(&scene, STRANGER + 1, STRANGER, &other, 1);
    for (size_t i = 4; i < 6; i++) {
        /* A client that writes first finds its error too. */
        settle(&scene);
        say_call(&scene, many[i], "toy.Echo", "");
        expect_refusal(&scene, many[i], "io.uidpool.TooMany");
    }
    echo_works(&scene, other);
    root = connected(&scene);
    echo_works(&scene, root);
    close(many[0]);
    run_until(&scene, server_connections(scene.server) == 5);
    connect_as(&scene, STRANGER, STRANGER, many, 1);
    for (size_t i = 0; i < 4; i++) {
        echo_works(&scene, many[i]);
        close(many[i]);
    }
    close(other);
    close(root);
    scene_end(&scene);
}

static void test_connections_in_all(void **state)
{
    struct server_limits limits = server_limits_default;
    struct scene scene;
    int fds[9];

    (void)state;
    limits.connections = 8;
    scene = scene_of(&limits);
    for (size_t i = 0; i < 9; i++)
        fds[i] = connected(&scene);
    assert_int_equal(server_connections(scene.server), 8);
    expect_refusal(&scene, fds[8], "io.uidpool.TooMany");
    for (size_t i = 0; i < 8; i++) {
        echo_works(&scene, fds[i]);
        close(fds[i]);
    }
    scene_end(&scene);
}

/* Calls whose peers have gone count until they are done. */
static void test_calls_of_one(void **state)
{
    struct server_limits limits = server_limits_default;
    struct scene scene;
    int fds[4], root;

    (void)state;
    limits.calls_each = 3;
    scene = scene_of(&limits);
    scene_listen(&scene);
    connect_as(&scene, STRANGER, STRANGER, fds, 4);
    for (size_t i = 0; i < 3; i++) {
        say_call(&scene, fds[i], "toy.Keep", "");
        run_until(&scene, toy.n_kept == i + 1);
        close(fds[i]);
    }
    run_until(&scene, server_connections(scene.server) == 1);
    say_call(&scene, fds[3], "toy.Keep", "");
    expect_refusal(&scene, fds[3], "io.uidpool.TooMany");
    root = connected(&scene);
    for (size_t i = 0; i < 5; i++)
        echo_works(&scene, root);
    release(toy.kept[0]);
    connect_as(&scene, STRANGER, STRANGER, fds, 1);
    echo_works(&scene, fds[0]);
    close(fds[0]);
    close(root);
    scene_end(&scene);
}

/* More than are let in, more than wait to be told, more than the kernel queues: a crowd. */
static void test_crowd(void **state)
{
    struct server_limits limits = server_limits_default;
    static int crowd[10000];
    struct scene scene;
    struct rlimit many = {.rlim_cur = 16384, .rlim_max = 16384};
    size_t n = 0, refused = 0;
    int root;

    (void)state;
    if (setrlimit(RLIMIT_NOFILE, &many) < 0) {
        puts("SKIP: so many descriptors are not to be had");
        skip();
    }
    limits.connections = 100;
    scene = scene_of(&limits);
    scene_listen(&scene);
    while (n < ELEMENTS_OF(crowd)) {
        crowd[n] = connect_to(&scene);
        assert_true(crowd[n] >= 0 || crowd[n] == -EAGAIN);
        if (crowd[n] >= 0)
            n++;
        else
            step(&scene);
    }
    settle(&scene);
    assert_int_equal(server_connections(scene.server), 100);
    for (size_t i = 0; i < n; i++)
        refused += !is_silent(crowd[i]);
    assert_int_equal(refused, n - 100);
    expect_error(&scene, crowd[n - 1], "io.uidpool.TooMany");
    for (size_t i = 0; i < n; i++)
        close(crowd[i]);
    run_until(&scene, server_connections(scene.server) == 0);
    root = connect_to(&scene);
    echo_works(&scene, root);
    close(root);
    scene_end(&scene);
}

static unsigned steps_in(struct scene *scene, int64_t usec)
{
    int64_t end = clock_monotonic_usec() + usec;
    unsigned n = 0;

    while (clock_monotonic_usec() < end)
        n += sd_event_run(scene->event, 10000) > 0;
    return n;
}

/* No descriptors: refused with the one that was kept back, and no loop that goes round and round.
 */
static void test_no_descriptors(void **state)
{
    struct scene scene = scene_of(&server_limits_default);
    struct rlimit before, none = {0};
    int fds[100], next;

    (void)state;
    scene_listen(&scene);
    for (size_t i = 0; i < ELEMENTS_OF(fds); i++)
        fds[i] = connect_to(&scene);
    next = fcntl(0, F_DUPFD_CLOEXEC, 3);
    assert_true(next >= 0);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){.rlim_cur = (rlim_t)next, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    for (size_t i = 0; i < ELEMENTS_OF(fds); i++)
        expect_error(&scene, fds[i], "io.uidpool.TooMany");
    assert_int_equal(server_connections(scene.server), 0);
    for (size_t i = 0; i < ELEMENTS_OF(fds); i++)
        close(fds[i]);
    fds[0] = connect_to(&scene);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){.rlim_max = before.rlim_max}), 0);
    /* Not even the one that was kept back can be had again: the door stays closed a while. */
    assert_true(steps_in(&scene, 2 * USEC_PER_SEC) < 20);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    if (fds[0] >= 0) {
        run_until(&scene, server_connections(scene.server) == 1 || !is_silent(fds[0]));
        close(fds[0]);
    }
    fds[0] = connect_to(&scene);
    echo_works(&scene, fds[0]);
    close(fds[0]);
    scene_end(&scene);
}

/* Nobody does anything: neither does the loop. */
static void test_idle(void **state)
{
    struct scene scene = scene_of(&server_limits_default);
    int fds[5];

    (void)state;
    scene_listen(&scene);
    for (size_t i = 0; i < 3; i++)
        fds[i] = connected(&scene);
    connect_as(&scene, STRANGER, STRANGER, fds + 3, 2);
    for (size_t i = 0; i < 5; i++) {
        echo_works(&scene, fds[i]);
        say_call(&scene, fds[i], i % 2 ? "toy.Keep" : "toy.Echo", "");
        if (i < 4)
            assert_int_equal(shutdown(fds[i], i < 2 ? SHUT_WR : SHUT_RD), 0);
    }
    settle(&scene);
    assert_true(steps_in(&scene, USEC_PER_SEC) < 5);
    for (size_t i = 0; i < 5; i++)
        close(fds[i]);
    scene_end(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_service),
        cmocka_unit_test(test_permissions),
        cmocka_unit_test(test_pipeline),
        cmocka_unit_test(test_oneway),
        cmocka_unit_test(test_say_and_go),
        cmocka_unit_test(test_go_while_worked_on),
        cmocka_unit_test(test_no_answer),
        cmocka_unit_test(test_half_closed),
        cmocka_unit_test(test_gone_while_worked_on),
        cmocka_unit_test(test_freed_while_worked_on),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_stream_pauses),
        cmocka_unit_test(test_stream_ends_with_its_peer),
        cmocka_unit_test(test_stream_to_nobody),
        cmocka_unit_test(test_stream_ends),
        cmocka_unit_test(test_bad_messages),
        cmocka_unit_test(test_deep_nesting),
        cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_endless_message),
        cmocka_unit_test(test_half_a_message),
        cmocka_unit_test(test_steady_flow),
        cmocka_unit_test(test_never_reads),
        cmocka_unit_test(test_reads_slowly),
        cmocka_unit_test(test_flood_delays_nobody),
        cmocka_unit_test(test_flood_leaves_the_loop_to_others),
        cmocka_unit_test(test_connections_of_one),
        cmocka_unit_test(test_connections_in_all),
        cmocka_unit_test(test_calls_of_one),
        cmocka_unit_test(test_crowd),
        cmocka_unit_test(test_no_descriptors),
        cmocka_unit_test(test_idle),
    };

    if (geteuid() != 0) {
        puts("SKIP: only root can be somebody else");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
