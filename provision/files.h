/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The account files of /etc: passwd(5), shadow(5), group(5), gshadow(5), subuid(5), subgid(5), read
 * and understood. Writes nothing. The program has changed its root directory before where --root
 * says so: the paths here are always the plain ones.
 */
#ifndef PROVISION_FILES_H
#define PROVISION_FILES_H

#include "provision/lines.h"

/* In the order in which they are replaced: what locks a group or a user stands there before the
 * group or the user does. So a password that waits in shadow for a name of ours opens nothing at
 * any moment. systemd-sysusers renames shadow last: without a line there nobody can log in, but
 * there may be one from before. */
enum account_file {
    FILE_SUBUID,
    FILE_SUBGID,
    FILE_GSHADOW,
    FILE_GROUP,
    FILE_SHADOW,
    FILE_PASSWD,
    ACCOUNT_FILES,
};

#define FILES_DIRECTORY "/etc"
/* "passwd", and "/etc/passwd". */
const char *account_file_name(enum account_file file);
const char *account_file_path(enum account_file file);

/* One line that has the file's number of fields and names somebody. */
struct entry {
    const char *name; /* `name_length` bytes of the line, not NUL-terminated */
    uint32_t name_length;
    uint32_t id;    /* passwd: uid; group: gid; subuid, subgid: the first id */
    uint32_t gid;   /* passwd: the primary group */
    uint32_t count; /* subuid, subgid: ids granted */
    uint32_t line;  /* index into lines.items */
};

/* Whose number. */
struct id_at {
    uint32_t id;
    uint32_t at; /* index into entries, or, of an odd line, into lines.items */
};

/*
 * One file. What is no entry (comments, blank lines, NIS lines that begin with + or -, lines with
 * another number of fields, an empty name, blanks before the name) is kept and never looked at
 * again, but that `odd` tells whose name stands on one, and `odd_ids` whose number: the tools do
 * not agree about such lines. To getpwnam(3) a line of passwd with four fields or with eight is an
 * account, and so is one behind blanks, without them; to shadow's tools the first two are nobody's,
 * and the third's name begins with a blank.
 */
struct account_table {
    enum account_file file;
    bool missing; /* subuid and subgid may be */
    struct lines lines;
    struct entry *entries; /* in the order of the file */
    size_t n;
    uint32_t *by_name;     /* for table_by_name() alone: a hash table, */
    size_t by_name_slots;  /* of so many slots */
    struct id_at *by_id;   /* n, sorted by id, then line; NULL for shadow and gshadow */
    const char **odd;      /* lines that are no entries, blank or comments; sorted by name */
    struct id_at *odd_ids; /* those that could be a user or a group to glibc; sorted as by_id */
    size_t n_odd, n_odd_ids;
    size_t add_at; /* new lines go before the NIS lines at the end */
};

/* Understand one file's bytes. `data` as for lines_split(). UIDPOOL_FAILED with path and line: what
 * lines_split() refuses, two entries of one name (but in subuid and subgid, where that is usual),
 * an id of passwd or group that is no decimal number below 2^32-1. Public for its fuzzers. */
enum uidpool_status table_parse(enum account_file file, char *data, size_t size,
                                struct account_table *ret, struct problem *p);
void table_clear(struct account_table *t);

/* NULL: nobody. Of several lines of one owner in subuid and subgid the first. */
const struct entry *table_by_name(const struct account_table *t, const char *name);
/* The first line with that id (getpwuid(3) takes the first too). */
const struct entry *table_by_id(const struct account_table *t, uint32_t id);
/* The entry with the lowest id in [first, first+count); `i` says which of them, from 0. */
const struct entry *table_in_range(const struct account_table *t, uint32_t first, uint32_t count,
                                   size_t i);
/* Does an odd line begin with this name, blanks before it aside? */
bool table_has_odd(const struct account_table *t, const char *name);
/* As table_in_range(), of the odd lines of passwd and group: glibc may find these ids though they
 * are no entries. */
const struct id_at *table_odd_in_range(const struct account_table *t, uint32_t first,
                                       uint32_t count, size_t i);

/* Is this line of subuid or subgid the guard of a pool (HOSTRANGE_GUARD)? */
bool entry_is_guard(const struct entry *e);

/* Field `n`, from 0, of a line of fields parted by ':'. *ret_length bytes, not NUL-terminated; NULL
 * if the line has no such field. */
const char *line_field(const char *line, unsigned n, size_t *ret_length);
/* Does the field hold exactly this? */
bool line_field_is(const char *line, unsigned n, const char *text);

struct account_files {
    struct account_table tables[ACCOUNT_FILES];
};

/* Read all of them. UIDPOOL_FAILED, naming the file and what to do, also where one is no regular
 * file (a symbolic link would be replaced by a file, or lead out of /etc), where passwd, shadow,
 * group or gshadow is missing, where passwd or group is empty, and where shadow or gshadow is
 * though passwords of passwd or group point there: filling it with locked ones, over the good ones
 * of its backup, would finish what a loss of power began. */
enum uidpool_status files_read(struct account_files *ret, struct problem *p);
void files_clear(struct account_files *f);

#endif
