/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whose uids are these already, on this host? The fixed ranges of distributions and systemd, of
 * login.defs, the grants of /etc/subuid and /etc/subgid, every name service, and running processes.
 */
#ifndef ALLOCATOR_HOSTRANGE_H
#define ALLOCATOR_HOSTRANGE_H

#include "common/problem.h"
#include "common/range.h"
#include "db/ledger.h"

/* Bases that are found automatically are multiples of 64 Ki between these two: above FreeIPA's
 * range, below systemd's foreign ids. */
#define HOSTRANGE_AUTO_FIRST UINT32_C(2113929216) /* 0x7E000000 */
#define HOSTRANGE_AUTO_END LEDGER_REAPER_FIRST    /* 0x7FFD0000 */
#define HOSTRANGE_AUTO_STEP UINT32_C(65536)

/* Who owns the line in /etc/subuid and /etc/subgid that keeps useradd(8) off a pool's range. No
 * account can be called that, so newuidmap(1) maps it for nobody; Debian's useradd and adduser
 * refuse a name that begins with '~'. A line of this owner is no grant. */
#define HOSTRANGE_GUARD "~uidpool"

/* What to do about it is the same whoever has it. */
#define HOSTRANGE_ADVICE "choose another base, or let --base=auto find one"

enum hostrange_kind {
    HOSTRANGE_DISTRIBUTION, /* Debian's own, nobody, no user at all */
    HOSTRANGE_SYSTEMD,
    HOSTRANGE_DEFAULT,          /* what a program takes by default if it is ever installed */
    HOSTRANGE_LOGIN_DEFS,       /* what useradd and groupadd may hand out as uid or gid */
    HOSTRANGE_LOGIN_DEFS_SUBID, /* what useradd may grant: SUB_UID_MIN, SUB_GID_MIN; a guard keeps
                                   it off, which does not help against the former */
    HOSTRANGE_SUBID,            /* granted in /etc/subuid or /etc/subgid */
};

struct hostrange_claim {
    enum hostrange_kind kind;
    uint64_t first, last;
    const char *who; /* valid during the call */
};

/* Call `each` for every claim that overlaps the range, until it returns false. UIDPOOL_OK, or
 * UIDPOOL_FAILED: a file could not be read. */
enum uidpool_status hostrange_each_claim(struct uid_range range,
                                         bool (*each)(const struct hostrange_claim *claim,
                                                      void *userdata),
                                         void *userdata, struct problem *p);

/*
 * Does somebody have the right to these ids, whether used or not: a distribution, systemd,
 * login.defs, subuid, subgid? UIDPOOL_OK: nobody. UIDPOOL_CONFLICT: `p` says who, and what to do.
 * UIDPOOL_FAILED: a file could not be read.
 */
enum uidpool_status hostrange_check_claims(struct uid_range range, struct problem *p);

/*
 * Does somebody have one of these ids now: a user or a group of any name service, or a process? The
 * answers as above; UIDPOOL_FAILED also when a name service is down, as not-found and error are two
 * answers. `progress` may be NULL; the name services are asked for every single id, which may take
 * long.
 */
enum uidpool_status hostrange_check_owners(struct uid_range range,
                                           void (*progress)(const char *text, void *userdata),
                                           void *userdata, struct problem *p);

/* The two halves of it. UIDPOOL_NOT_FOUND: there is no /proc here, not even one that hides
 * something; check_owners() makes UIDPOOL_FAILED of it. */
enum uidpool_status hostrange_check_processes(struct uid_range range, struct problem *p);
enum uidpool_status hostrange_check_names(struct uid_range range,
                                          void (*progress)(const char *text, void *userdata),
                                          void *userdata, struct problem *p);

/* The same, all of them and not the first alone. */
struct hostrange_owner {
    enum { HOSTRANGE_USER, HOSTRANGE_GROUP, HOSTRANGE_PROCESS } kind;
    uint32_t id;
    const char *name; /* of a process its command; valid during the call */
    pid_t pid;        /* of a process */
};

/* Call `each` for every one of them, a process once, until it returns false. UIDPOOL_OK, or
 * UIDPOOL_FAILED: could not see all, those that were seen have been told; UIDPOOL_NOT_FOUND: there
 * is no /proc here. */
enum uidpool_status hostrange_each_process(struct uid_range range,
                                           bool (*each)(const struct hostrange_owner *owner,
                                                        void *userdata),
                                           void *userdata, struct problem *p);
enum uidpool_status hostrange_each_name(
    struct uid_range range, bool (*each)(const struct hostrange_owner *owner, void *userdata),
    void (*progress)(const char *text, void *userdata), void *userdata, struct problem *p);

/* Ask the name services for one user or group, by id or by name. UIDPOOL_OK and *ret_found, or
 * UIDPOOL_FAILED: not-found and an outage are two answers. */
enum uidpool_status hostrange_ask_id(uint32_t id, bool *ret_found, struct problem *p);
enum uidpool_status hostrange_ask_name(const char *name, bool *ret_found, struct problem *p);

/*
 * From now on, in this process, ask the name services without `files`: for who reads those himself.
 * Returns false if no other service is left to be asked; then nobody is found.
 *
 * Of what /etc/nsswitch.conf names, a service that is not installed is left out. Any other that
 * cannot answer is an outage, wherever in the line it stands, unless the line says otherwise
 * ([UNAVAIL=continue]). `compat` reads the files too: its place take the services of passwd_compat
 * and group_compat, or `nis` if the file has lines that begin with '+'.
 */
bool hostrange_skip_files(void);

/* SYS_UID_MIN and SYS_UID_MAX of login.defs(5). UIDPOOL_FAILED: the file cannot be read. */
enum uidpool_status hostrange_system_ids(struct uid_range *ret, struct problem *p);

/* Both halves, and claims. */
enum uidpool_status hostrange_check(struct uid_range range,
                                    void (*progress)(const char *text, void *userdata),
                                    void *userdata, struct problem *p);

/*
 * The lowest base that is free by hostrange_check() and for which `taken` says false (the ledger's
 * own pools). UIDPOOL_CONFLICT: there is none.
 */
enum uidpool_status hostrange_find(uint32_t size, bool (*taken)(struct uid_range, void *userdata),
                                   void (*progress)(const char *text, void *userdata),
                                   void *userdata, uid_t *ret, struct problem *p);

/* The same by another rule: the lowest automatic base of which `check` says UIDPOOL_OK. It says
 * UIDPOOL_CONFLICT, and why, for the next one to be tried, and anything else to end the search. */
enum uidpool_status hostrange_find_by(uint32_t size,
                                      enum uidpool_status (*check)(struct uid_range range,
                                                                   void *userdata,
                                                                   struct problem *p),
                                      void *userdata, uid_t *ret, struct problem *p);

/* One line of /etc/subuid or /etc/subgid, "name:first:count", without its newline. 0, -ENOENT for a
 * blank line or a comment, or -EBADMSG. Public for its fuzzer. */
int hostrange_parse_subid(const char *line, struct uid_range *ret);

#endif
