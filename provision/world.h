/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who has an id or a name besides the account files: name services, systemd, login.defs, subid
 * grants, processes, files. Asks, and changes nothing. */
#ifndef PROVISION_WORLD_H
#define PROVISION_WORLD_H

#include "common/range.h"
#include "provision/files.h"
#include "provision/findings.h"
#include "provision/memory.h"

/* What to ask. */
struct world {
    bool offline;              /* neither name services nor processes: an image, a chroot */
    bool skip_processes;       /* do not ask for processes */
    bool no_names;             /* there is no name service but the files */
    const char *const *places; /* directories whose files must not carry the ids, NULL-terminated,
                                  or NULL */
    struct findings *unseen;   /* where to warn, once each, of what could not be looked at: no
                                  /proc, other file systems below the places. NULL: where the
                                  range's findings go, and nowhere in a search for a base */
    struct memory *memory;     /* of what was found clear, or NULL */
    void (*progress)(const char *text, void *userdata); /* or NULL */
    void *userdata;
};

/* Set up: from now on the name services are asked without `files`, which we read ourselves, and
 * without our own answers (SYSTEMD_BYPASS_USERDB). */
void world_init(struct world *w, bool offline, const char *const *places,
                void (*progress)(const char *text, void *userdata), void *userdata);

/* Is there anybody to ask who may take long? */
bool world_may_take_long(const struct world *w);

/*
 * Everything that is in the way of a pool on this range, each as a finding of `kind`, with what to
 * do: an entry of passwd or group (but for those of the name `own`, or NULL), a grant in subuid or
 * subgid, one of systemd's ranges, a distribution's; a user or group of another name service, or
 * that one could not say; a process; a file below the places. What a program could take by default
 * one day (login.defs' ranges, Nix, Incus, FreeIPA, kubelet) is a warning, for a guard is set. At
 * most 8 of each sort, then how many more. UIDPOOL_OK, or UIDPOOL_FAILED if it could not look: an
 * outage is no answer.
 */
enum uidpool_status world_check_range(const struct world *w, const struct account_files *files,
                                      const char *pool, struct uid_range range, const char *own,
                                      enum finding_kind kind, struct findings *findings,
                                      struct problem *p);

/* The same where the pool may have several entries in the range already: `is_own` says of an entry
 * of passwd or group, t->file telling which, whether it is the pool's. world_check_range() is this
 * with a comparison of names. */
enum uidpool_status world_check_range_but(const struct world *w, const struct account_files *files,
                                          const char *pool, struct uid_range range,
                                          bool (*is_own)(const struct account_table *t,
                                                         const struct entry *e, void *userdata),
                                          void *userdata, enum finding_kind kind,
                                          struct findings *findings, struct problem *p);

/* Does another name service than the files know a user or a group of this name, or of this id?
 * UIDPOOL_OK and *ret_taken, or UIDPOOL_FAILED: an outage. Offline: never taken. */
enum uidpool_status world_name_taken(const struct world *w, const char *name, bool *ret_taken,
                                     struct problem *p);
enum uidpool_status world_id_taken(const struct world *w, uint32_t id, bool *ret_taken,
                                   struct problem *p);

/* SYS_UID_MIN and SYS_UID_MAX of /etc/login.defs, where adduser and useradd --system take uids. */
enum uidpool_status world_system_ids(struct uid_range *ret, struct problem *p);

/* The lowest base for `size` uids that all of the above are clear of, and for which `taken` says
 * false. UIDPOOL_CONFLICT: there is none. */
enum uidpool_status world_find_base(const struct world *w, const struct account_files *files,
                                    uint32_t size, bool (*taken)(struct uid_range, void *userdata),
                                    void *userdata, uid_t *ret, struct problem *p);

#endif
