/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which uid does libxl give a device model? Its order of looking replayed, as Xen 4.17 has it
 * (tools/libs/light/libxl_dm.c: libxl__domain_get_device_model_uid, libxl__get_reaper_uid), over
 * the account files below ROOT, read by the C library as libxl reads them.
 *
 *   libxl-lookup ROOT [USER]      USER is the domain's device_model_user
 *
 * For every domid from 1 on (0 is dom0): one line for the first, one for each answer of another
 * kind, one that counts; and one for the uid that kills. Writes nothing.
 */
#include "common/ids.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RANGE_BASE "xen-qemuuser-range-base"
#define SHARED "xen-qemuuser-shared"
#define REAPER "xen-qemuuser-reaper"

/* What libxl would do with this domain. */
struct answer {
    enum { REFUSED, BY_RANGE, BY_SHARED, BY_CONFIG } way;
    uid_t uid;
    gid_t gid;
    bool kill_by_uid;
    char clash[64];
};

static _Noreturn void fail(const char *what)
{
    (void)fprintf(stderr, "libxl-lookup: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

/* An error of the look-up ends everything, as it ends the domain. */
static bool by_name(const char *name, struct passwd *ret)
{
    static char buffer[65536];
    struct passwd *found;

    errno = getpwnam_r(name, ret, buffer, sizeof(buffer), &found);
    if (errno)
        fail(name);
    return found;
}

static bool by_uid(uid_t uid, struct passwd *ret)
{
    static char buffer[65536];
    struct passwd *found;

    errno = getpwuid_r(uid, ret, buffer, sizeof(buffer), &found);
    if (errno)
        fail("getpwuid");
    return found;
}

/* base + domid with the base's own gid, unless somebody has that uid. */
static struct answer answer_range(const struct passwd *base, uid_t domid)
{
    struct answer answer = {
        .way = BY_RANGE, .uid = base->pw_uid + domid, .gid = base->pw_gid, .kill_by_uid = true};
    struct passwd clash;

    if (by_uid(answer.uid, &clash)) {
        answer.way = REFUSED;
        (void)snprintf(answer.clash, sizeof(answer.clash), "%s", clash.pw_name);
    }
    return answer;
}

static struct answer look(uid_t domid, const char *device_model_user)
{
    struct answer answer = {.way = REFUSED};
    struct passwd found;

    if (device_model_user) {
        if (by_name(device_model_user, &found))
            answer = (struct answer){BY_CONFIG, found.pw_uid, found.pw_gid, true, ""};
    } else if (by_name(RANGE_BASE, &found)) {
        answer = answer_range(&found, domid);
    } else if (by_name(SHARED, &found)) {
        answer = (struct answer){BY_SHARED, found.pw_uid, found.pw_gid, false, ""};
    }
    if (answer.way != REFUSED && answer.uid == 0)
        answer.way = REFUSED;
    return answer;
}

static void print_answer(uid_t domid, const struct answer *a)
{
    static const char *const ways[] = {"refused", "range", "shared", "config"};

    (void)printf("domid %u: %s", domid, ways[a->way]);
    if (a->way != REFUSED)
        (void)printf(" %u:%u%s", a->uid, a->gid, a->kill_by_uid ? " killed by uid" : "");
    else if (a->clash[0])
        (void)printf(" that is user %s", a->clash);
    (void)printf("\n");
}

/* All of them must get what their base and domid say; the first and the odd ones are printed. */
static void look_at_all(const char *device_model_user)
{
    struct answer first = look(1, device_model_user), other;
    unsigned alike = 1;

    print_answer(1, &first);
    for (uid_t domid = 2; domid <= DOMID_LAST; domid++) {
        uid_t step = first.way == BY_RANGE ? domid - 1 : 0;

        other = look(domid, device_model_user);
        if (other.way == first.way && other.gid == first.gid && other.uid == first.uid + step)
            alike++;
        else
            print_answer(domid, &other);
    }
    (void)printf("alike: %u\n", alike);
}

static void look_for_reaper(void)
{
    struct passwd found;

    if (!by_name(REAPER, &found) && !by_name(RANGE_BASE, &found))
        (void)printf("reaper: none\n");
    else if (found.pw_uid == 0)
        (void)printf("reaper: refused\n");
    else
        (void)printf("reaper: %s %u\n", found.pw_name, found.pw_uid);
}

int main(int argc, char *argv[])
{
    if (argc < 2 || argc > 3) {
        (void)fprintf(stderr, "usage: libxl-lookup ROOT [USER]\n");
        return 2;
    }
    if (chdir(argv[1]) < 0 || chroot(".") < 0)
        fail(argv[1]);
    look_at_all(argv[2]);
    look_for_reaper();
    return EXIT_SUCCESS;
}
