/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs that are cut off. Thousands of random hosts: pools and accounts in every state, files that
 * people, useradd(8), newusers(8) and systemd-sysusers(8) made and left half made. For each that is
 * without conflicts:
 *
 *   - the plan does what is wanted, and mends what was torn, as plain text tells it;
 *   - it leaves every line of others as it was, and where it was;
 *   - planning again behind it finds nothing to do;
 *   - planning again when some of the files have been replaced, and the ledger knows the intent
 *     alone, comes to the same bytes: after any number of files in their order, and after any other
 *     choice of them too.
 *
 * The last two hold for files with any bytes in them that can be read at all.
 *
 * SEED=N repeats a random run, ROUNDS=N makes it longer. Pure.
 */
#include "tests/unit/scene.h"

#include "common/clock.h"
#include "common/ids.h"

#include <time.h>

#define LINES_MAX 128
#define LINE_SIZE 192

static unsigned dice;

/* 0..n-1. */
static unsigned roll(unsigned n)
{
    return (unsigned)rand_r(&dice) / 7 % n;
}

static bool one_in(unsigned n)
{
    return roll(n) == 0;
}

static const char *any_of(const char *const *words, size_t n)
{
    return words[roll((unsigned)n)];
}
#define ANY_OF(...) \
    any_of((const char *const[]){__VA_ARGS__}, ELEMENTS_OF(((const char *const[]){__VA_ARGS__})))

/*
 * Files in the making.
 */

struct file_lines {
    char lines[LINES_MAX][LINE_SIZE];
    size_t n;
};

struct host {
    struct file_lines files[ACCOUNT_FILES];
};

static void put(struct host *h, enum account_file file, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void put(struct host *h, enum account_file file, const char *format, ...)
{
    struct file_lines *f = &h->files[file];
    va_list ap;

    assert_true(f->n < LINES_MAX);
    va_start(ap, format);
    assert_true(vsnprintf(f->lines[f->n++], LINE_SIZE, format, ap) < LINE_SIZE);
    va_end(ap);
}

static const enum account_file useradd_order[] = {FILE_PASSWD, FILE_SHADOW, FILE_GROUP,
                                                  FILE_GSHADOW};
static const enum account_file sysusers_order[] = {FILE_GROUP, FILE_GSHADOW, FILE_PASSWD,
                                                   FILE_SHADOW};

/* Which of the four files somebody came to write: bits. */
static unsigned roll_written(void)
{
    const enum account_file *order = one_in(2) ? useradd_order : sysusers_order;
    unsigned bits = 0, n = roll(5);

    if (one_in(3))
        return 1u << FILE_PASSWD | 1u << FILE_SHADOW | 1u << FILE_GROUP | 1u << FILE_GSHADOW;
    if (one_in(4))
        return roll(1u << ACCOUNT_FILES);
    for (unsigned i = 0; i < n; i++)
        bits |= 1u << order[i];
    return bits;
}

static void put_user(struct host *h, unsigned written, const char *name, uid_t uid, gid_t gid)
{
    if (written & 1u << FILE_PASSWD)
        put(h, FILE_PASSWD, "%s:%s:%u:%u:%s", name,
            one_in(3) ? ANY_OF("x", "*", "", "!", "$6$hunter2") : "x", uid, gid,
            ANY_OF("::", "by hand,,,:/var/empty:/bin/sh", "uidpool:/nonexistent:/bin/false"));
    if (written & 1u << FILE_SHADOW)
        put(h, FILE_SHADOW, "%s:%s:%s:%s:", name,
            ANY_OF("!*", "!", "*", "!$6$hunter2", "$6$hunter2", "", "x"),
            ANY_OF("::::", "19000:0:99999:7:", "19000::::3"), ANY_OF("", "", "1", "0", "20000"));
}

static void put_group(struct host *h, unsigned written, const char *name, gid_t gid)
{
    if (written & 1u << FILE_GROUP)
        put(h, FILE_GROUP, "%s:%s:%u:%s", name, one_in(3) ? ANY_OF("x", "*", "", "$6$x") : "x", gid,
            ANY_OF("", "", "alice", "alice,root"));
    if (written & 1u << FILE_GSHADOW)
        put(h, FILE_GSHADOW, "%s:%s:%s:%s", name, ANY_OF("!*", "!", "*", "", "$6$hunter2"),
            ANY_OF("", "", "eve"), ANY_OF("", "", "mallory", "alice"));
}

/* People and their groups, none of our business but where a killed tool left them. */
static void put_strangers(struct host *h)
{
    for (unsigned i = roll(6); i > 0; i--) {
        char name[16];
        uid_t uid = 1000 + i;
        unsigned written = roll_written();

        snprintf(name, sizeof(name), "bob%u", one_in(10) ? 10 * i : i);
        put_user(h, written, name, one_in(12) ? 1001 : uid, one_in(4) ? 100 : uid);
        if (!one_in(5))
            put_group(h, written, one_in(8) ? "club" : name, one_in(8) ? 900 + i : uid);
        else if (one_in(2))
            put_group(h, roll_written(), one_in(2) ? "vm0" : "p0", 800 + i);
        if (one_in(4))
            break;
    }
    for (enum account_file file = FILE_SUBUID; file <= FILE_SUBGID; file++)
        if (one_in(2))
            put(h, file, "bob1:%u:65536", 100000 + 65536 * roll(3));
}

static void put_odd(struct host *h, const struct roster *r)
{
    for (unsigned i = roll(4); i > 0; i--)
        put(h, (enum account_file)roll(ACCOUNT_FILES), "%s",
            ANY_OF("", "# comment", "  ", "half:x", " blank:x:7:7:::", ":x:0:0:::", "-bob1", "bob1",
                   "~uidpool"));
    if (one_in(100) && r->n_users > 0)
        put(h, (enum account_file)(FILE_SUBGID + 1 + roll(4)), "%s:x", r->users[0].name);
}

/* Ours, as they are wanted, or nearly. */
static void put_ours(struct host *h, const struct roster *r)
{
    unsigned bias = roll(4);

    for (size_t i = 0; i < r->n_users; i++) {
        const struct wanted_user *w = &r->users[i];
        unsigned written = bias == 0 ? 0 : roll_written();
        uid_t uid = one_in(200) ? w->uid + 1 : w->uid;
        gid_t gid = one_in(w->gid_follows ? 4 : 200) ? 65534 : w->gid;

        put_user(h, written, w->name, uid, gid);
    }
    for (size_t i = 0; i < r->n_groups; i++) {
        const struct wanted_group *w = &r->groups[i];
        gid_t gid = one_in(w->any_name ? 30 : 200) ? 600 + (gid_t)i : w->gid;

        put_group(h, bias == 0 ? 0 : roll_written(), w->name, gid);
        if (one_in(w->any_name ? 8 : 200)) {
            char name[32];

            snprintf(name, sizeof(name), "other%zu", i);
            put_group(h, 1u << FILE_GROUP, name, w->gid);
        }
    }
}

static void put_guards(struct host *h, const struct roster *r)
{
    for (enum account_file file = FILE_SUBUID; file <= FILE_SUBGID; file++)
        for (size_t i = 0; i < r->n_guards; i++) {
            struct uid_range range = r->guards[i].range;

            if (one_in(2))
                put(h, file, "~uidpool:%u:%u", range.first, range.count + roll(2));
            if (one_in(8))
                put(h, file, "~uidpool:%u:%u", range.first, range.count + roll(2));
            if (one_in(20) && r->n_users > 0)
                put(h, file, "%s:%u:65536", r->users[0].name, 300000u);
        }
}

static void shuffle(struct file_lines *f)
{
    char line[LINE_SIZE];

    for (size_t i = f->n; i > 1; i--) {
        size_t k = roll((unsigned)i);

        memcpy(line, f->lines[k], LINE_SIZE);
        memcpy(f->lines[k], f->lines[i - 1], LINE_SIZE);
        memcpy(f->lines[i - 1], line, LINE_SIZE);
    }
}

/* Is there a line of this name already? A second one would not be read at all. */
static void drop_twins(struct file_lines *f)
{
    size_t kept = 0;

    for (size_t i = 0; i < f->n; i++) {
        size_t length = strcspn(f->lines[i], ":") + 1;
        bool twin = false;

        for (size_t k = 0; k < kept && f->lines[i][0]; k++)
            twin = twin || strncmp(f->lines[k], f->lines[i], length) == 0;
        if (!twin && kept != i)
            memcpy(f->lines[kept], f->lines[i], LINE_SIZE);
        kept += !twin;
    }
    f->n = kept;
}

static char *join(const struct file_lines *f)
{
    char *text = calloc(1, LINES_MAX * LINE_SIZE);
    size_t size = 0;

    assert_non_null(text);
    for (size_t i = 0; i < f->n; i++)
        size += (size_t)snprintf(text + size, LINE_SIZE + 1, "%s\n", f->lines[i]);
    if (size > 0 && one_in(4))
        text[size - 1] = '\0';
    return text;
}

static void make_files(struct scene *s)
{
    _cleanup_(roster_clear) struct roster r = {0};
    _cleanup_free_ struct host *h = calloc(1, sizeof(*h));
    bool nis = one_in(4);

    assert_non_null(h);
    assert_int_equal(roster_make(&s->choices, &s->state, s->has_request ? &s->request : NULL, &r),
                     0);
    put(h, FILE_PASSWD, "root:x:0:0:root:/root:/bin/bash");
    put(h, FILE_SHADOW, "root:*:19700:0:99999:7:::");
    put(h, FILE_GROUP, "root:x:0:");
    put(h, FILE_GSHADOW, "root:*::");
    put_strangers(h);
    put_odd(h, &r);
    put_ours(h, &r);
    put_guards(h, &r);
    for (enum account_file file = FILE_SUBUID; file < ACCOUNT_FILES; file++) {
        if (file > FILE_SUBGID)
            drop_twins(&h->files[file]);
        if (one_in(2))
            shuffle(&h->files[file]);
        if (nis && file > FILE_SUBGID)
            put(h, file, "%s", ANY_OF("+", "+::::::", "-nobody\n+"));
        free(s->text[file]);
        s->text[file] = file <= FILE_SUBGID && one_in(4) ? NULL : join(&h->files[file]);
    }
}

/*
 * Pools and accounts in the making.
 */

static void make_pool(struct scene *s)
{
    static const unsigned kinds[] = {
        0,
        0,
        ACCOUNTS_RANGE_BASE,
        ACCOUNTS_RANGE_BASE | ACCOUNTS_REAPER,
        ACCOUNTS_SHARED | ACCOUNTS_REAPER,
        ACCOUNTS_PER_DOMID,
        ACCOUNTS_PER_DOMID | ACCOUNTS_SHARED,
    };
    static const enum pool_fate fates[] = {POOL_NEW,   POOL_NEW,   POOL_NEW,     POOL_BEGUN,
                                           POOL_KNOWN, POOL_KNOWN, POOL_RETIRED, POOL_STUCK};
    unsigned accounts = kinds[roll(ELEMENTS_OF(kinds))];
    enum pool_fate fate = fates[roll(ELEMENTS_OF(fates))];
    struct chosen_pool *pool = scene_pool(s, accounts, 1 + roll(5));
    struct pool_settings *settings = &s->settings[pool - s->pools];

    settings->group_per_uid = one_in(3);
    if ((accounts & ACCOUNTS_RANGE_BASE) && !settings->group_per_uid && one_in(3))
        pool->gid = 700 + (gid_t)s->choices.n;
    if (fate != POOL_NEW && fate != POOL_STUCK)
        scene_know(s, pool, fate);
    pool->fate = fate;
    if (pool->known && one_in(3)) {
        settings->quarantine = roll(100);
        settings->follow = one_in(2);
        settings->policy = one_in(2) ? UIDPOOL_POLICY_NEXT : UIDPOOL_POLICY_DOMID;
    }
}

/* Of a pool that the ledger has, in or out of the settings. */
static void make_accounts(struct scene *s)
{
    for (size_t i = 0; i < s->state.n_pools; i++) {
        const struct uidpool_pool *pool = &s->known[i];
        const struct chosen_pool *chosen = scene_chosen(s, pool->name);

        if (chosen->settings->accounts & (ACCOUNTS_PER_DOMID | ACCOUNTS_RANGE_BASE))
            continue;
        for (uint32_t k = 0; k < pool->size && s->state.n_accounts < SCENE_ACCOUNTS - 2; k++) {
            bool own = pool->group_per_uid != one_in(10);
            char name[40];

            if (one_in(2))
                continue;
            snprintf(name, sizeof(name), "%c%zu-%u", 'a' + (char)roll(20), i, k);
            (void)scene_account(s, name, pool->name, pool->base + k,
                                own ? pool->base + k : pool->base,
                                (enum ledger_account_state)(LEDGER_ACCOUNT_ADDING + roll(4)));
        }
    }
}

static bool uid_is_taken(const struct scene *s, uid_t uid)
{
    for (size_t i = 0; i < s->state.n_accounts; i++)
        if (s->accounts[i].uid == uid)
            return true;
    return false;
}

static void make_request(struct scene *s)
{
    const struct uidpool_pool *pool = s->state.n_pools ? &s->known[0] : NULL;

    if (s->state.n_accounts > 0 && one_in(2)) {
        const struct ledger_account *a = &s->accounts[roll((unsigned)s->state.n_accounts)];

        scene_request(s, a->name, a->pool, a->uid, a->gid, one_in(2));
    } else if (pool && !pool->retired) {
        const struct chosen_pool *chosen = scene_chosen(s, pool->name);
        uid_t uid = pool->base + roll(pool->size);
        char name[16];

        if (uid_is_taken(s, uid) ||
            (chosen->settings->accounts & (ACCOUNTS_PER_DOMID | ACCOUNTS_RANGE_BASE)))
            return;
        snprintf(name, sizeof(name), "%c-new", 'a' + (char)roll(20));
        scene_request(s, name, pool->name, uid, chosen->settings->group_per_uid ? uid : pool->base,
                      false);
    }
}

/* What no tool writes: some bytes are others. */
static void scramble(struct scene *s)
{
    static const char bytes[] = ":::\n\n\nx01259+-#!* \tav\xff";

    for (unsigned i = 1 + roll(6); i > 0; i--) {
        char *text = s->text[roll(ACCOUNT_FILES)];

        if (text && *text)
            text[roll((unsigned)strlen(text))] = bytes[roll(sizeof(bytes) - 1)];
    }
}

static bool is_readable(const struct scene *s)
{
    bool readable = true;

    for (size_t i = 0; i < ACCOUNT_FILES; i++) {
        const char *text = s->text[i] ? s->text[i] : "";
        struct account_table t = {0};

        readable = readable && table_parse((enum account_file)i, scene_strdup(text), strlen(text),
                                           &t, NULL) == UIDPOOL_OK;
        table_clear(&t);
    }
    return readable;
}

static void make_scene(struct scene *s)
{
    for (unsigned i = roll(SCENE_POOLS + 1); i > 0; i--)
        make_pool(s);
    make_accounts(s);
    make_request(s);
    make_files(s);
}

/*
 * What plain text says. Of the tables only whose name stands on an odd line is asked.
 */

/* The line of this name; *ret_n how many there are. NULL: none. */
static const char *find_line(const char *text, const char *name, size_t *ret_n)
{
    size_t length = strlen(name);
    const char *found = NULL;

    *ret_n = 0;
    for (const char *line = text; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, length) != 0 || line[length] != ':')
            continue;
        if ((*ret_n)++ == 0)
            found = line;
    }
    return found;
}

/* Field `n` of the line that begins here. */
static const char *field(const char *line, unsigned n, char buf[static LINE_SIZE])
{
    size_t length;

    for (; n > 0; n--) {
        line += strcspn(line, ":\n");
        if (*line != ':')
            return "(none)";
        line++;
    }
    length = strcspn(line, ":\n");
    memcpy(buf, line, length);
    buf[length] = '\0';
    return buf;
}

static unsigned count_fields(const char *line)
{
    unsigned n = 1;

    for (; *line && *line != '\n'; line++)
        n += *line == ':';
    return n;
}

static bool field_is(const char *line, unsigned n, const char *text)
{
    char buf[LINE_SIZE];

    return strcmp(field(line, n, buf), text) == 0;
}

static bool same_field(const char *line, const char *other, unsigned n)
{
    char buf[LINE_SIZE];

    return field_is(line, n, field(other, n, buf));
}

static bool field_is_id(const char *line, unsigned n, uint32_t id)
{
    char text[16];

    snprintf(text, sizeof(text), "%u", id);
    return field_is(line, n, text);
}

static bool is_locked(const char *line)
{
    char buf[LINE_SIZE];
    const char *password = field(line, 1, buf);

    return *password == '!' || *password == '*';
}

/* A whole line of so many fields that has this number as field 2, but for the line `but`. */
static const char *find_id(const char *text, unsigned n_fields, uint32_t id, const char *but)
{
    for (const char *line = text; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (*line && !strchr("+-#: ", *line) && line != but && count_fields(line) == n_fields &&
            field_is_id(line, 2, id))
            return line;
    }
    return NULL;
}

static const struct wanted_user *wanted_user(const struct roster *r, const char *name)
{
    for (size_t i = 0; i < r->n_users; i++)
        if (strcmp(r->users[i].name, name) == 0)
            return &r->users[i];
    return NULL;
}

static const struct wanted_group *wanted_group(const struct roster *r, const char *name)
{
    for (size_t i = 0; i < r->n_groups; i++)
        if (strcmp(r->groups[i].name, name) == 0)
            return &r->groups[i];
    return NULL;
}

static void check_user(const struct scene *s, const struct outcome *o, const struct wanted_user *w)
{
    size_t n;
    const char *line = find_line(o->text[FILE_PASSWD], w->name, &n);
    const char *before = find_line(s->text[FILE_PASSWD], w->name, &n);

    assert_non_null(line);
    (void)find_line(o->text[FILE_PASSWD], w->name, &n);
    assert_int_equal(n, 1);
    assert_true(field_is(line, 1, "x"));
    assert_true(field_is_id(line, 2, w->uid));
    assert_null(find_id(o->text[FILE_PASSWD], 7, w->uid, line));
    assert_true(field_is_id(line, 3, w->gid) || w->gid_follows);
    if (!before)
        assert_true(field_is(line, 4, w->comment) && field_is(line, 5, "/nonexistent") &&
                    field_is(line, 6, "/usr/sbin/nologin"));
    for (unsigned i = 3; before && i < 7; i++)
        assert_true(same_field(line, before, i));
    line = find_line(o->text[FILE_SHADOW], w->name, &n);
    assert_int_equal(n, 1);
    assert_true(is_locked(line));
    assert_int_equal(count_fields(line), 9);
    if (w->removable)
        assert_int_equal(field_is(line, 7, "1"), w->expired);
    before = find_line(s->text[FILE_SHADOW], w->name, &n);
    for (unsigned i = 1; before && i < 9; i++)
        if ((i != 1 || is_locked(before)) && (i != 7 || !w->removable))
            assert_true(same_field(line, before, i));
}

static void check_group(const struct scene *s, const struct outcome *o,
                        const struct wanted_group *w)
{
    size_t n;
    const char *line = find_line(o->text[FILE_GROUP], w->name, &n), *gshadow;
    const char *user = find_line(s->text[FILE_PASSWD], w->name, &n);

    if (w->of_user && user && !field_is_id(user, 3, w->gid))
        return;
    if (w->any_name && find_id(s->text[FILE_GROUP], 4, w->gid, NULL) &&
        !(line && field_is_id(line, 2, w->gid)))
        return;
    (void)find_line(o->text[FILE_GROUP], w->name, &n);
    assert_int_equal(n, 1);
    assert_true(field_is_id(line, 2, w->gid));
    assert_true(field_is(line, 1, "x"));
    assert_true(w->any_name || !find_id(o->text[FILE_GROUP], 4, w->gid, line));
    gshadow = find_line(o->text[FILE_GSHADOW], w->name, &n);
    assert_int_equal(n, 1);
    assert_true(is_locked(gshadow));
    assert_true(field_is(gshadow, 2, ""));
    assert_true(same_field(gshadow, line, 3));
}

/* Everybody's password is where passwd and group say it is. */
static void check_others(const struct scene *s, const struct outcome *o)
{
    char name[LINE_SIZE];
    size_t n;

    for (const char *line = o->text[FILE_PASSWD]; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (!*line || strchr("+-#: ", *line) || count_fields(line) != 7 || !field_is(line, 1, "x"))
            continue;
        (void)find_line(o->text[FILE_SHADOW], field(line, 0, name), &n);
        assert_true(n == 1 || table_has_odd(&o->files.tables[FILE_SHADOW], name));
        if (wanted_user(&o->roster, name) || find_line(s->text[FILE_SHADOW], name, &n) ||
            table_has_odd(&o->files.tables[FILE_SHADOW], name) || !same_field(line, line, 3))
            continue;
        {
            char gid[LINE_SIZE];
            uint64_t id;

            /* A torn user with a number of its own: it has a group now. */
            assert_int_equal(parse_u64(field(line, 3, gid), UINT32_MAX, &id), 0);
            if (!field_is(line, 2, gid) || find_id(o->text[FILE_PASSWD], 7, (uint32_t)id, line) ||
                find_line(s->text[FILE_GROUP], name, &n) ||
                table_has_odd(&o->files.tables[FILE_GROUP], name) || wanted_group(&o->roster, name))
                continue;
            assert_non_null(find_id(o->text[FILE_GROUP], 4, (uint32_t)id, NULL));
        }
    }
    for (const char *line = o->text[FILE_GROUP]; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (!*line || strchr("+-#: ", *line) || count_fields(line) != 4 || !field_is(line, 1, "x"))
            continue;
        (void)find_line(o->text[FILE_GSHADOW], field(line, 0, name), &n);
        assert_true(n == 1 || table_has_odd(&o->files.tables[FILE_GSHADOW], name));
    }
}

static void check_guards(const struct outcome *o)
{
    for (enum account_file file = FILE_SUBUID; file <= FILE_SUBGID; file++)
        for (size_t i = 0; o->text[file] && i < o->roster.n_guards; i++) {
            struct uid_range range = o->roster.guards[i].range;
            char line[64], text[LINES_MAX * LINE_SIZE];

            snprintf(line, sizeof(line), "\n~uidpool:%u:%u\n", range.first, range.count);
            snprintf(text, sizeof(text), "\n%s\n", o->text[file]);
            assert_non_null(strstr(text, line));
        }
}

static bool is_ours(const struct outcome *o, enum account_file file, const char *line)
{
    char name[LINE_SIZE];

    (void)field(line, 0, name);
    if (file <= FILE_SUBGID)
        return strcmp(name, "~uidpool") == 0;
    return file == FILE_PASSWD || file == FILE_SHADOW ? wanted_user(&o->roster, name) != NULL
                                                      : wanted_group(&o->roster, name) != NULL;
}

/* Lines of others stand as they stood; what is new stands in one place, before the NIS lines. */
static void check_order(const struct scene *s, const struct outcome *o, enum account_file file)
{
    const char *before = s->text[file], *after = o->text[file];
    size_t add_at = o->plan.drafts[file].add_at, n_added = o->plan.drafts[file].n_added;

    for (size_t i = 0; *after; i++) {
        size_t length = strcspn(after, "\n"), was = strcspn(before, "\n");

        if (i >= add_at && i < add_at + n_added) {
            if (*before && strchr("+-", *before) == NULL)
                fail_msg("a line was added before \"%s\"", before);
        } else {
            if (length != was || memcmp(before, after, length) != 0)
                assert_true(is_ours(o, file, before) &&
                            memcmp(before, after, strcspn(before, ":") + 1) == 0);
            before += was + (before[was] == '\n');
        }
        after += length + (after[length] == '\n');
    }
    assert_string_equal(before, "");
}

static void check_outcome(const struct scene *s, const struct outcome *o)
{
    for (size_t i = 0; i < o->roster.n_users; i++)
        check_user(s, o, &o->roster.users[i]);
    for (size_t i = 0; i < o->roster.n_groups; i++)
        check_group(s, o, &o->roster.groups[i]);
    check_others(s, o);
    check_guards(o);
    for (enum account_file file = FILE_SUBUID; file < ACCOUNT_FILES; file++)
        if (s->text[file])
            check_order(s, o, file);
}

/*
 * The properties.
 */

static void assert_same_files(const struct outcome *a, const struct outcome *b, unsigned written)
{
    for (size_t i = 0; i < ACCOUNT_FILES; i++) {
        if (!a->text[i] && !b->text[i])
            continue;
        if (strcmp(a->text[i], b->text[i]) != 0)
            fail_msg("files %x had been written when the run was cut off, and %s is\n%s\nwhere "
                     "this was due:\n%s",
                     written, account_file_path((enum account_file)i), b->text[i], a->text[i]);
    }
}

/* Some files have been replaced; the ledger knows the intent. Carry it on, by the same command or
 * by another one. */
static void check_torn(const struct scene *s, const struct outcome *whole, unsigned written,
                       bool same_command)
{
    _cleanup_(scene_clear) struct scene torn = scene_copy(s);
    _cleanup_(outcome_clear) struct outcome again = {0};

    scene_anchor(&torn, s);
    scene_tell_ledger(&torn, &whole->plan, false);
    torn.has_request = s->has_request && same_command;
    for (size_t i = 0; i < ACCOUNT_FILES; i++)
        if (written & 1u << i)
            scene_set(&torn, (enum account_file)i, whole->text[i]);
    again = scene_plan(&torn);
    assert_int_equal(findings_count(&again.findings, FINDING_CONFLICT), 0);
    assert_same_files(whole, &again, written);
    for (size_t i = 0; i < again.plan.n_steps; i++)
        assert_true(step_is_end(&again.plan.steps[i]));
}

static void check_done(const struct scene *s, const struct outcome *whole)
{
    _cleanup_(scene_clear) struct scene done = scene_copy(s);
    _cleanup_(outcome_clear) struct outcome again = {0};

    scene_anchor(&done, s);
    scene_tell_ledger(&done, &whole->plan, false);
    scene_tell_ledger(&done, &whole->plan, true);
    for (size_t i = 0; i < ACCOUNT_FILES; i++)
        scene_set(&done, (enum account_file)i, whole->text[i]);
    for (int round = 0; round < 2; round++) {
        again = scene_plan(&done);
        assert_int_equal(findings_count(&again.findings, FINDING_CONFLICT), 0);
        assert_true(plan_is_empty(&again.plan));
        outcome_clear(&again);
        done.has_request = false;
    }
}

/* What there was to see, so that a run that saw nothing does not count. */
struct seen {
    unsigned quiet, conflicts, empty, made_groups, replaced, added, mixed, requests, accounts;
};

static size_t count_made_groups(const struct outcome *o)
{
    const struct draft *groups = &o->plan.drafts[FILE_GROUP];
    char name[LINE_SIZE];
    size_t made = 0;

    for (size_t at = 0; at < groups->added_size;) {
        const char *line = groups->added + at;

        made += wanted_group(&o->roster, field(line, 0, name)) == NULL;
        at += strcspn(line, "\n") + 1;
    }
    return made;
}

/* With `plain`, of files that plain text can be trusted to tell about. */
static void check_scene(const struct scene *s, bool plain, struct seen *seen)
{
    _cleanup_(outcome_clear) struct outcome whole = scene_plan(s);
    size_t made;

    if (findings_count(&whole.findings, FINDING_CONFLICT) > 0) {
        seen->conflicts++;
        return;
    }
    seen->quiet++;
    seen->empty += plan_is_empty(&whole.plan);
    seen->requests += s->has_request;
    seen->accounts += s->state.n_accounts > 0;
    if (plain)
        check_outcome(s, &whole);
    made = count_made_groups(&whole);
    seen->made_groups += made > 0;
    for (size_t i = 0; i < ACCOUNT_FILES; i++) {
        seen->replaced += whole.plan.drafts[i].n_replaced > 0;
        seen->added += whole.plan.drafts[i].n_added > 0;
    }
    check_done(s, &whole);
    for (unsigned n = 0; n <= ACCOUNT_FILES; n++) {
        check_torn(s, &whole, (1u << n) - 1, false);
        check_torn(s, &whole, (1u << n) - 1, true);
    }
    for (unsigned i = 0; i < 8; i++) {
        unsigned written = roll(1u << ACCOUNT_FILES);

        check_torn(s, &whole, written, one_in(2));
        seen->mixed++;
    }
}

static unsigned number_from(const char *variable, unsigned otherwise)
{
    const char *text = getenv(variable);
    uint64_t number = otherwise;

    if (text)
        assert_int_equal(parse_u64(text, UINT32_MAX, &number), 0);
    return (unsigned)number;
}

static void tell_seen(const struct seen *seen)
{
    print_message("%u without conflicts, %u with; %u had nothing to do, %u made groups for others, "
                  "%u files with replaced lines, %u with added ones; %u torn out of order; %u "
                  "requests, %u with accounts\n",
                  seen->quiet, seen->conflicts, seen->empty, seen->made_groups, seen->replaced,
                  seen->added, seen->mixed, seen->requests, seen->accounts);
}

static unsigned begin_rounds(unsigned *ret_rounds)
{
    unsigned seed = number_from("SEED", 0);

    *ret_rounds = number_from("ROUNDS", 10000);
    if (seed == 0)
        seed = (unsigned)clock_wall_usec();
    print_message("SEED=%u ROUNDS=%u\n", seed, *ret_rounds);
    return seed;
}

static void test_random_hosts(void **state)
{
    unsigned rounds, seed = begin_rounds(&rounds);
    struct seen seen = {0};

    (void)state;
    for (unsigned i = 0; i < rounds; i++) {
        _cleanup_(scene_clear) struct scene s = {0};

        dice = seed + i;
        make_scene(&s);
        check_scene(&s, true, &seen);
    }
    tell_seen(&seen);
    assert_true(seen.quiet > rounds / 3 && seen.conflicts > rounds / 50);
    assert_true(seen.made_groups > rounds / 50 && seen.requests > rounds / 50);
    assert_true(seen.replaced > rounds / 3 && seen.added > rounds && seen.accounts > rounds / 20);
}

/* Whatever is read at all is planned, and carried on, by the same rules. */
static void test_scrambled_hosts(void **state)
{
    unsigned rounds, seed = begin_rounds(&rounds), unreadable = 0;
    struct seen seen = {0};

    (void)state;
    for (unsigned i = 0; i < rounds; i++) {
        _cleanup_(scene_clear) struct scene s = {0};

        dice = seed + i;
        make_scene(&s);
        scramble(&s);
        if (is_readable(&s))
            check_scene(&s, false, &seen);
        else
            unreadable++;
    }
    print_message("%u could not be read; ", unreadable);
    tell_seen(&seen);
    assert_true(seen.quiet > rounds / 10 && seen.conflicts > rounds / 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_hosts),
        cmocka_unit_test(test_scrambled_hosts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
