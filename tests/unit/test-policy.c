/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who a peer is, as the kernel says, and what it may do. Peers of other uids are processes that
 * connect and lie about nothing, since they cannot. */
#include "allocator/daemon/policy.h"

#include "common/cleanup.h"

#include <errno.h>
#include <grp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cmocka.h>

#define GROUP 2114000000u
#define STRANGER 2114000001u

/* A socket pair whose ends were made by a process with these ids; we keep both. */
static void pair_of(uid_t uid, gid_t gid, const gid_t *groups, size_t n, int pair[2])
{
    char control[CMSG_SPACE(2 * sizeof(int))] = {0}, byte = 0;
    struct iovec piece = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {.msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
    int way[2], status;
    pid_t pid;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, way), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);

        if (!header || setgroups(n, groups) < 0 || setresgid(gid, gid, gid) < 0 ||
            setresuid(uid, uid, uid) < 0)
            _exit(1);
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
            _exit(2);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(2 * sizeof(int));
        memcpy(CMSG_DATA(header), pair, 2 * sizeof(int));
        _exit(sendmsg(way[1], &message, 0) == 1 ? 0 : 3);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(recvmsg(way[0], &message, MSG_CMSG_CLOEXEC), 1);
    if (!CMSG_FIRSTHDR(&message))
        fail();
    else
        memcpy(pair, CMSG_DATA(CMSG_FIRSTHDR(&message)), 2 * sizeof(int));
    close(way[0]);
    close(way[1]);
}

static bool may_change(gid_t group, uid_t uid, gid_t gid, const gid_t *groups, size_t n)
{
    const struct policy policy = {.group = group};
    struct peer peer;
    int pair[2];

    pair_of(uid, gid, groups, n, pair);
    assert_int_equal(policy_identify(&policy, pair[0], &peer), 0);
    close(pair[0]);
    close(pair[1]);
    assert_int_equal(peer.uid, uid);
    assert_int_equal(peer.gid, gid);
    assert_true(peer.pid > 0);
    return peer.may_change;
}

static void test_identify(void **state)
{
    const gid_t one[] = {GROUP}, other[] = {GROUP + 1, GROUP - 1, (gid_t)-2};

    (void)state;
    assert_true(may_change(GROUP, 0, 0, NULL, 0));
    assert_true(may_change((gid_t)-1, 0, 0, NULL, 0));
    assert_false(may_change(GROUP, STRANGER, STRANGER, NULL, 0));
    assert_false(may_change(GROUP, STRANGER, 0, NULL, 0));
    assert_false(may_change(GROUP, STRANGER, STRANGER, other, ELEMENTS_OF(other)));
    assert_true(may_change(GROUP, STRANGER, GROUP, NULL, 0));
    assert_true(may_change(GROUP, STRANGER, STRANGER, one, 1));
    /* There is no such group, and nobody is in it. */
    assert_false(may_change((gid_t)-1, STRANGER, STRANGER, other, ELEMENTS_OF(other)));
}

static void test_many_groups(void **state)
{
    gid_t *many = calloc(65536, sizeof(gid_t));

    (void)state;
    assert_non_null(many);
    for (size_t i = 0; i < 65536; i++)
        many[i] = GROUP + 1 + (gid_t)i;
    assert_false(may_change(GROUP, STRANGER, STRANGER, many, 65536));
    many[40000] = GROUP;
    assert_true(may_change(GROUP, STRANGER, STRANGER, many, 65536));
    assert_true(may_change(GROUP, STRANGER, STRANGER, many, 40001));
    assert_false(may_change(GROUP, STRANGER, STRANGER, many, 33));
    free(many);
}

static void test_no_peer(void **state)
{
    const struct policy policy = {.group = GROUP};
    struct peer peer = {.uid = 77};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)state;
    assert_true(policy_identify(&policy, fd, &peer) < 0);
    close(fd);
    assert_true(policy_identify(&policy, fd, &peer) < 0);
    assert_int_equal(peer.uid, 77);
    assert_false(peer.may_change);
}

static void test_allows(void **state)
{
    static const enum permission all[] = {PERMISSION_ANYONE, PERMISSION_READ, PERMISSION_INSPECT,
                                          PERMISSION_CHANGE};
    const struct peer one = {.uid = STRANGER, .may_change = true}, other = {.uid = STRANGER};

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(all); i++) {
        assert_true(policy_allows(&one, all[i]));
        assert_int_equal(policy_allows(&other, all[i]), i < 2);
    }
    /* What nobody thought of is refused. */
    assert_false(policy_allows(&one, (enum permission)99));
}

static void test_load(void **state)
{
    struct policy policy = {.group = 5};
    const struct group *group;

    (void)state;
    assert_int_equal(policy_load(&policy), 0);
    group = getgrnam(POLICY_GROUP);
    assert_int_equal(policy.group, group ? group->gr_gid : (gid_t)-1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_identify), cmocka_unit_test(test_many_groups),
        cmocka_unit_test(test_no_peer),  cmocka_unit_test(test_allows),
        cmocka_unit_test(test_load),
    };

    if (geteuid() != 0) {
        puts("SKIP: only root can be somebody else");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
