/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What people and programs are shown: the diff against diff(1) itself, on random drafts; what is
 * cut, and that no password comes through; the ledger's steps, JSON, sysusers.d(5) lines. Writes to
 * a temporary directory and to its own standard output and error.
 */
#include "provision/show.h"
#include "tests/unit/compose.h"

#include "common/cleanup.h"
#include "provision/diff.h"

#include <fcntl.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define BASE 2113929216u

/* What a function prints to a descriptor, until the next call. */
struct capture {
    int fd, saved, memory;
};

static struct capture capture_begin(int fd)
{
    struct capture c = {fd, dup(fd), memfd_create("printed", MFD_CLOEXEC)};

    fflush(NULL);
    assert_true(c.saved >= 0 && c.memory >= 0);
    assert_int_equal(dup2(c.memory, fd), fd);
    return c;
}

static char *capture_end(struct capture *c)
{
    off_t size;
    char *text;

    fflush(NULL);
    size = lseek(c->memory, 0, SEEK_END);
    assert_true(size >= 0);
    text = calloc(1, (size_t)size + 1);
    assert_non_null(text);
    assert_int_equal(pread(c->memory, text, (size_t)size, 0), size);
    assert_int_equal(dup2(c->saved, c->fd), c->fd);
    close(c->saved);
    close(c->memory);
    return text;
}

/* Everything that a run knows. Empty files, but for those that a test fills. */
struct world_of_one {
    struct account_files files;
    struct state state;
    struct choices choices;
    struct roster roster;
    struct plan plan;
    struct findings findings;
    struct showing showing;
};

static struct account_table *fill_table(struct world_of_one *w, enum account_file file,
                                        const char *text)
{
    struct account_table *t = &w->files.tables[file];
    struct problem p = {0};
    char *data = strdup(text);

    /* Room for one more byte: its NUL. */
    if (table_parse(file, data, strlen(text), t, &p) != UIDPOOL_OK)
        fail_msg("%s", p.text);
    w->plan.drafts[file].add_at = t->add_at;
    return t;
}

static struct world_of_one *world_new(void)
{
    struct world_of_one *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    for (enum account_file file = 0; file < ACCOUNT_FILES; file++)
        w->files.tables[file].file = file;
    w->showing = (struct showing){
        .verb = "plan",
        .files = &w->files,
        .state = &w->state,
        .choices = &w->choices,
        .roster = &w->roster,
        .plan = &w->plan,
        .findings = &w->findings,
    };
    return w;
}

static void world_free(struct world_of_one *w)
{
    for (enum account_file file = 0; file < ACCOUNT_FILES; file++) {
        table_clear(&w->files.tables[file]);
        draft_clear(&w->plan.drafts[file]);
    }
    findings_clear(&w->findings);
    free(w);
}

static char *print_plan(struct world_of_one *w)
{
    struct capture out = capture_begin(STDOUT_FILENO);
    int r = show_plan(&w->showing);
    char *text = capture_end(&out);

    assert_int_equal(r, 0);
    return text;
}

static json_t *print_json(struct world_of_one *w)
{
    _cleanup_free_ char *text = NULL;
    json_error_t error;
    json_t *root;

    w->showing.json = true;
    text = print_plan(w);
    root = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        fail_msg("%s: %s", error.text, text);
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    return root;
}

static void assert_contains(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("'%s' is not in: %s", part, text);
}

static void assert_lacks(const char *text, const char *part)
{
    if (strstr(text, part))
        fail_msg("'%s' is in: %s", part, text);
}

/*
 * The diff.
 */

static uint32_t random_state = 20261121;

static uint32_t random_below(uint32_t n)
{
    random_state = random_state * 1664525 + 1013904223;
    return (random_state >> 8) % n;
}

static void write_file(const char *path, const char *data, size_t size)
{
    FILE *file = fopen(path, "we");

    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* diff -u of the two, with the header that ours has. */
static char *real_diff(const char *directory, const char *old, size_t old_size, const char *new,
                       size_t new_size)
{
    char path[2][128], command[512];
    char *text = calloc(1, 65536);
    size_t size;
    FILE *pipe;

    snprintf(path[0], sizeof(path[0]), "%s/old", directory);
    snprintf(path[1], sizeof(path[1]), "%s/new", directory);
    write_file(path[0], old, old_size);
    write_file(path[1], new, new_size);
    snprintf(command, sizeof(command), "diff -u --label /etc/subuid --label /etc/subuid %s %s",
             path[0], path[1]);
    pipe = popen(command, "re");
    assert_non_null(pipe);
    size = fread(text, 1, 65535, pipe);
    text[size] = '\0';
    pclose(pipe);
    unlink(path[0]);
    unlink(path[1]);
    return text;
}

/* A file of up to `n` lines, no two alike, perhaps without its last newline. */
static char *random_file(uint32_t n)
{
    char *text = calloc(1, 64 * (size_t)n + 1);
    size_t at = 0;

    for (uint32_t i = 0; i < n; i++)
        at += (size_t)sprintf(text + at, "old%u:1:1\n", i);
    if (at > 0 && random_below(3) == 0)
        text[at - 1] = '\0';
    return text;
}

/* Many lines replaced, or few, and lines added anywhere; no block so long that it would be cut. */
static void random_draft(struct draft *d, const struct lines *lines)
{
    uint32_t one_in = (lines->n < 13 ? 1 : 3) + random_below(12),
             n_added = random_below(3) * random_below(5);
    char line[64];

    for (size_t i = 0; i < lines->n; i++) {
        snprintf(line, sizeof(line), "new%zu:2:2", i);
        if (random_below(one_in) == 0)
            assert_int_equal(draft_replace(d, i, line, "because"), 0);
    }
    d->add_at = random_below((uint32_t)lines->n + 1);
    for (uint32_t i = 0; i < n_added; i++) {
        snprintf(line, sizeof(line), "added%u:3:3", i);
        assert_int_equal(draft_add(d, line), 0);
    }
}

/* The reason behind the second @@ is ours alone. */
static void strip_reasons(char *text)
{
    char *at = text;

    while ((at = strstr(at, " @@ because"))) {
        memmove(at + 3, at + 11, strlen(at + 11) + 1);
        at += 3;
    }
}

static void compare_diffs(const char *directory, uint32_t n)
{
    struct world_of_one *w = world_new();
    struct draft *d = &w->plan.drafts[FILE_SUBUID];
    _cleanup_free_ char *text = random_file(n), *ours = NULL, *theirs = NULL, *new = NULL;
    const struct account_table *t = fill_table(w, FILE_SUBUID, text);
    size_t size = 0;

    random_draft(d, &t->lines);
    assert_int_equal(compose(d, &t->lines, &new, &size), 0);
    ours = print_plan(w);
    strip_reasons(ours);
    theirs = real_diff(directory, text, strlen(text), new, size);
    assert_string_equal(ours, theirs);
    world_free(w);
}

static void test_as_diff_does_it(void **state)
{
    char directory[] = "/tmp/uidpool-test-show-XXXXXX";

    (void)state;
    assert_non_null(mkdtemp(directory));
    for (uint32_t i = 0; i < 300; i++)
        compare_diffs(directory, random_below(50));
    rmdir(directory);
}

static void test_why_stands_at_the_hunk(void **state)
{
    struct world_of_one *w = world_new();
    _cleanup_free_ char *text = NULL;

    (void)state;
    fill_table(w, FILE_GROUP, "a:x:1:\nb:x:2:\n");
    draft_replace(&w->plan.drafts[FILE_GROUP], 1, "b:x:3:", "another number");
    text = print_plan(w);
    assert_string_equal(text, "--- /etc/group\n+++ /etc/group\n@@ -1,2 +1,2 @@ another number\n"
                              " a:x:1:\n-b:x:2:\n+b:x:3:\n");
    world_free(w);
}

static void add_many(struct draft *d, unsigned n)
{
    char line[64];

    for (unsigned i = 0; i < n; i++) {
        snprintf(line, sizeof(line), "d%u:x:%u:", i, BASE + i);
        assert_int_equal(draft_add(d, line), 0);
    }
}

static size_t count_lines(const char *text, const char *begin)
{
    size_t n = 0;

    for (; *text; text += strcspn(text, "\n"), text += *text == '\n')
        n += strncmp(text, begin, strlen(begin)) == 0;
    return n;
}

static void test_long_blocks_are_cut(void **state)
{
    static const struct {
        unsigned added;
        size_t shown;
        const char *more;
    } cases[] = {
        {20, 20, NULL},
        {21, 21, NULL},
        {22, 20, "\n+... 2 more lines like these\n"},
        {1020, 20, "\n+... 1,000 more lines like these\n"},
        {32772, 20, "\n+... 32,752 more lines like these\n"},
        {1234587, 20, "\n+... 1,234,567 more lines like these\n"},
    };

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        struct world_of_one *w = world_new();
        _cleanup_free_ char *text = NULL;
        char header[64];

        fill_table(w, FILE_GROUP, "root:x:0:\n");
        add_many(&w->plan.drafts[FILE_GROUP], cases[i].added);
        text = print_plan(w);
        snprintf(header, sizeof(header), "@@ -1 +1,%u @@\n", cases[i].added + 1);
        assert_contains(text, header);
        assert_int_equal(count_lines(text, "+d"), cases[i].shown);
        if (cases[i].more)
            assert_contains(text, cases[i].more);
        else
            assert_lacks(text, "more lines");
        world_free(w);
    }
}

static void test_replaced_blocks_are_cut_too(void **state)
{
    struct world_of_one *w = world_new();
    char old[4096] = "";
    _cleanup_free_ char *text = NULL;

    (void)state;
    for (unsigned i = 0; i < 50; i++)
        snprintf(old + strlen(old), 32, "n%u:!:1::::::\n", i);
    fill_table(w, FILE_SHADOW, old);
    for (unsigned i = 0; i < 50; i++)
        draft_replace(&w->plan.drafts[FILE_SHADOW], i, "n:!*:::::::", "could log in");
    text = print_plan(w);
    assert_contains(text, "\n-... 30 more lines like these\n+n:!*:::::::\n");
    assert_contains(text, "\n+... 30 more lines like these\n");
    world_free(w);
}

static void test_passwords_are_not_shown(void **state)
{
    static const struct {
        enum account_file file;
        const char *line, *shown;
    } cases[] = {
        {FILE_SHADOW, "root:$6$salt$hash:19000:0:99999:7:::", "root:<password>:19000:0:99999:7:::"},
        {FILE_SHADOW, "root:!$6$salt$hash:1::::::", "root:<password>:1::::::"},
        {FILE_SHADOW, "root:!*:1::::::", "root:!*:1::::::"},
        {FILE_SHADOW, "root:*:1::::::", "root:*:1::::::"},
        {FILE_SHADOW, "root:!:1::::::", "root:!:1::::::"},
        {FILE_SHADOW, "root:!!:1::::::", "root:!!:1::::::"},
        {FILE_SHADOW, "root::1::::::", "root::1::::::"},
        {FILE_SHADOW, "root:x:1::::::", "root:x:1::::::"},
        {FILE_SHADOW, "root:xyz:1::::::", "root:<password>:1::::::"},
        {FILE_SHADOW, "root:$6$hash", "root:<not shown>"},
        {FILE_SHADOW, "root:$6$hash:1:::::", "root:<not shown>"},
        {FILE_SHADOW, "$6$hash", "<not shown>"},
        {FILE_SHADOW, "# root:$6$hash:1::::::", "<not shown>"},
        {FILE_SHADOW, "", ""},
        {FILE_SHADOW, "+::::::::", "+::::::::"},
        {FILE_GSHADOW, "adm:$6$hash:root:syslog", "adm:<password>:root:syslog"},
        {FILE_GSHADOW, "adm:!*::", "adm:!*::"},
        {FILE_GSHADOW, "adm:!", "adm:<not shown>"},
        {FILE_PASSWD, "root:x:0:0:root:/root:/bin/sh", "root:x:0:0:root:/root:/bin/sh"},
        {FILE_PASSWD, "root:oldhash:0:0:root:/root:/bin/sh",
         "root:<password>:0:0:root:/root:/bin/sh"},
        {FILE_PASSWD, "root:oldhash:0", "root:<not shown>:0"},
        {FILE_PASSWD, "+", "+"},
        {FILE_GROUP, "adm:oldhash:4:root", "adm:<password>:4:root"},
        {FILE_GROUP, "adm:*:4:root", "adm:*:4:root"},
        {FILE_SUBUID, "root:100000:65536", "root:100000:65536"},
    };

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        _cleanup_free_ char *shown = NULL;

        assert_int_equal(diff_show_line(cases[i].file, cases[i].line, 0, &shown), 0);
        assert_string_equal(shown, cases[i].shown);
    }
}

/* Wherever a line of shadow comes: context, removed, added, and in JSON. */
static void test_passwords_are_nowhere(void **state)
{
    for (unsigned json = 0; json < 2; json++) {
        struct world_of_one *w = world_new();
        struct draft *d = &w->plan.drafts[FILE_SHADOW];
        _cleanup_free_ char *text = NULL;

        (void)state;
        fill_table(w, FILE_SHADOW, "a:$6$secret:1::::::\nb:$6$secret:1::::::\nc:$6$secret\n");
        draft_replace(d, 1, "b:!$6$secret:1::::::", "locked");
        draft_add(d, "d:$6$secret:::::::");
        w->showing.json = json != 0;
        text = print_plan(w);
        assert_lacks(text, "secret");
        assert_contains(text, "b:<password>:1::::::");
        assert_contains(text, "d:<password>:::::::");
        world_free(w);
    }
}

static void test_harmless_and_short(void **state)
{
    char line[1024] = "a:x:0:0:";
    _cleanup_free_ char *shown = NULL, *tiny = NULL, *exact = NULL;

    (void)state;
    assert_int_equal(diff_show_line(FILE_PASSWD, "a:x:\x1b[2J:\xff:b\ttab:\xc3\xa4", 0, &shown), 0);
    assert_string_equal(shown, "a:x:?[2J:?:b?tab:\xc3\xa4");
    memset(line + 8, 'b', sizeof(line) - 9);
    /* A character that the cut would go through. */
    memcpy(line + DIFF_LINE_MAX - 1, "\xc3\xa4", 2);
    assert_int_equal(diff_show_line(FILE_PASSWD, line, DIFF_LINE_MAX, &tiny), 0);
    assert_int_equal(strlen(tiny), DIFF_LINE_MAX - 1 + 3);
    assert_string_equal(tiny + DIFF_LINE_MAX - 2, "b...");
    line[DIFF_LINE_MAX] = '\0';
    line[DIFF_LINE_MAX - 1] = 'b';
    assert_int_equal(diff_show_line(FILE_PASSWD, line, DIFF_LINE_MAX, &exact), 0);
    assert_string_equal(exact, line);
}

/*
 * The ledger, leftovers, findings.
 */

static const struct uidpool_pool pool = {
    .name = "xen-qemuuser",
    .base = BASE,
    .size = 32752,
    .policy = UIDPOOL_POLICY_DOMID,
    .gid = BASE,
    .quarantine = 60,
    .follow = true,
};
static const struct ledger_account account = {
    .name = "swtpm", .pool = "tpm", .uid = BASE + 7, .gid = BASE + 1};

static void test_steps(void **state)
{
    struct uidpool_pool other = {.name = "next",
                                 .base = 5,
                                 .size = 1,
                                 .group_per_uid = true,
                                 .policy = UIDPOOL_POLICY_NEXT,
                                 .resolve = true};
    struct ledger_step steps[] = {
        {.kind = STEP_POOL_BEGIN, .pool = pool},
        {.kind = STEP_POOL_BEGIN, .pool = other},
        {.kind = STEP_POOL_CHANGE, .pool = other, .detail = "quarantine 60 -> 30"},
        {.kind = STEP_POOL_FINISH, .pool = pool},
        {.kind = STEP_ACCOUNT_BEGIN, .account = account},
        {.kind = STEP_ACCOUNT_FINISH, .account = account},
        {.kind = STEP_ACCOUNT_REMOVE, .account = account},
    };
    struct world_of_one *w = world_new();
    _cleanup_free_ char *text = NULL, *rest = NULL;

    (void)state;
    w->plan.steps = steps;
    w->plan.n_steps = ELEMENTS_OF(steps);
    text = print_plan(w);
    assert_string_equal(text,
                        "--- ledger\n+++ ledger\n"
                        "+pool xen-qemuuser: uids 2113929216 to 2113961967, policy domid, shared "
                        "gid 2113929216, quarantine 60 s, follow\n"
                        "+pool next: uids 5 to 5, policy next, a gid for each uid, quarantine 0 s, "
                        "resolve\n"
                        "+pool next: quarantine 60 -> 30\n"
                        "+account swtpm: uid 2113929223 of pool tpm, gid 2113929217\n"
                        "+account swtpm: removed; uid 2113929223 of pool tpm stays out of use\n");
    /* What an earlier run had begun is told. */
    w->plan.steps = steps + 3;
    w->plan.n_steps = 1;
    rest = print_plan(w);
    assert_string_equal(rest, "--- ledger\n+++ ledger\n"
                              "+pool xen-qemuuser: finished: it may give leases\n");
    world_free(w);
}

static void test_leftovers(void **state)
{
    struct leftover leftover = {"/etc/passwd+", "a temporary of pid 5\x1b"};
    struct world_of_one *w = world_new();
    _cleanup_free_ char *text = NULL, *quiet = NULL;

    (void)state;
    assert_false(show_has_changes(&w->showing));
    w->showing.leftovers = &leftover;
    w->showing.n_leftovers = 1;
    assert_true(show_has_changes(&w->showing));
    text = print_plan(w);
    assert_string_equal(text, "- /etc/passwd+ (a temporary of pid 5?)\n");
    w->showing.quiet = true;
    quiet = print_plan(w);
    assert_string_equal(quiet, "");
    world_free(w);
}

static void test_findings(void **state)
{
    struct world_of_one *w = world_new();
    struct capture error;
    _cleanup_free_ char *text = NULL, *said = NULL;

    (void)state;
    findings_add(&w->findings, FINDING_WARNING, "one");
    findings_add(&w->findings, FINDING_CONFLICT, "two");
    findings_add(&w->findings, FINDING_DRIFT, "three");
    w->showing.quiet = true;
    error = capture_begin(STDERR_FILENO);
    text = print_plan(w);
    said = capture_end(&error);
    assert_string_equal(text, "");
    assert_string_equal(said,
                        "uidpool: warning: one\nuidpool: conflict: two\nuidpool: drift: three\n");
    w->findings.no_memory = true;
    assert_true(show_findings(&w->findings) < 0);
    assert_true(show_plan(&w->showing) < 0);
    world_free(w);
}

static void test_nothing_is_nothing(void **state)
{
    struct world_of_one *w = world_new();
    _cleanup_free_ char *text = print_plan(w);
    json_auto_t *root = NULL;

    (void)state;
    assert_string_equal(text, "");
    root = print_json(w);
    assert_int_equal(json_object_size(root), 9);
    assert_true(json_is_false(json_object_get(root, "changed")));
    world_free(w);
}

/*
 * JSON.
 */

static const char *json_at(const json_t *root, const char *key, size_t i, const char *field)
{
    return json_string_value(json_object_get(json_array_get(json_object_get(root, key), i), field));
}

static json_int_t number_at(const json_t *root, const char *key, size_t i, const char *field)
{
    const json_t *value = json_object_get(json_array_get(json_object_get(root, key), i), field);

    assert_true(json_is_integer(value));
    return json_integer_value(value);
}

static void test_json_files(void **state)
{
    struct world_of_one *w = world_new();
    struct draft *d = &w->plan.drafts[FILE_SHADOW];
    json_auto_t *root = NULL;
    const json_t *file, *replaced;

    (void)state;
    fill_table(w, FILE_SHADOW, "a:!:1::::::\nb:!:1::::::\n");
    draft_add(d, "c:!*:::::::");
    draft_replace(d, 1, "b:!*:1::::::", "could log in");
    root = print_json(w);
    assert_string_equal(json_string_value(json_object_get(root, "verb")), "plan");
    assert_true(json_is_true(json_object_get(root, "changed")));
    assert_int_equal(json_array_size(json_object_get(root, "files")), 1);
    assert_string_equal(json_at(root, "files", 0, "file"), "/etc/shadow");
    file = json_array_get(json_object_get(root, "files"), 0);
    assert_string_equal(json_string_value(json_array_get(json_object_get(file, "add"), 0)),
                        "c:!*:::::::");
    replaced = json_object_get(file, "replace");
    assert_int_equal(json_array_size(replaced), 1);
    assert_int_equal(number_at(file, "replace", 0, "line"), 2);
    assert_string_equal(json_at(file, "replace", 0, "from"), "b:!:1::::::");
    assert_string_equal(json_at(file, "replace", 0, "to"), "b:!*:1::::::");
    assert_string_equal(json_at(file, "replace", 0, "why"), "could log in");
    world_free(w);
}

static void test_json_ledger(void **state)
{
    struct ledger_step steps[] = {
        {.kind = STEP_POOL_BEGIN, .pool = pool},
        {.kind = STEP_ACCOUNT_FINISH, .account = account, .detail = "made"},
    };
    struct pool_settings settings[] = {{.name = "xen", .size = 5}, {.name = "per", .size = 6}};
    struct chosen_pool chosen[] = {
        {.settings = &settings[0], .fate = POOL_STUCK},
        {.settings = &settings[1], .fate = POOL_KNOWN, .base = BASE, .gid = BASE + 1},
    };
    struct leftover leftover = {"/etc/passwd.lock", "empty"};
    struct world_of_one *w = world_new();
    json_auto_t *root = NULL;

    (void)state;
    w->plan.steps = steps;
    w->plan.n_steps = ELEMENTS_OF(steps);
    w->choices = (struct choices){chosen, ELEMENTS_OF(chosen)};
    w->showing.leftovers = &leftover;
    w->showing.n_leftovers = 1;
    findings_add(&w->findings, FINDING_CONFLICT, "two");
    root = print_json(w);
    assert_string_equal(json_at(root, "ledger", 0, "step"), "pool-begin");
    assert_string_equal(json_at(root, "ledger", 0, "pool"), "xen-qemuuser");
    assert_string_equal(json_at(root, "ledger", 0, "policy"), "domid");
    assert_int_equal(number_at(root, "ledger", 0, "base"), BASE);
    assert_int_equal(number_at(root, "ledger", 0, "gid"), BASE);
    assert_string_equal(json_at(root, "ledger", 1, "step"), "account-finish");
    assert_string_equal(json_at(root, "ledger", 1, "account"), "swtpm");
    assert_int_equal(number_at(root, "ledger", 1, "uid"), BASE + 7);
    assert_string_equal(json_at(root, "ledger", 1, "detail"), "made");
    assert_string_equal(json_at(root, "leftovers", 0, "path"), "/etc/passwd.lock");
    assert_string_equal(json_at(root, "leftovers", 0, "why"), "empty");
    assert_string_equal(json_at(root, "pools", 0, "state"), "stuck");
    assert_null(json_at(root, "pools", 0, "base"));
    assert_string_equal(json_at(root, "pools", 1, "state"), "known");
    assert_int_equal(number_at(root, "pools", 1, "base"), BASE);
    assert_int_equal(number_at(root, "pools", 1, "gid"), BASE + 1);
    assert_int_equal(number_at(root, "pools", 1, "size"), 6);
    assert_int_equal(json_array_size(json_object_get(root, "conflicts")), 1);
    assert_int_equal(json_array_size(json_object_get(root, "drifts")), 0);
    assert_int_equal(json_array_size(json_object_get(root, "warnings")), 0);
    world_free(w);
}

static void test_user(void **state)
{
    struct user_request user = {.name = "swtpm", .pool = "tpm", .uid = 7, .gid = 8};
    struct capture out = capture_begin(STDOUT_FILENO);
    _cleanup_free_ char *text = NULL;

    (void)state;
    assert_int_equal(show_user(&user, false), 0);
    user.remove = true;
    assert_int_equal(show_user(&user, true), 0);
    assert_int_equal(show_retired("tpm", true), 0);
    text = capture_end(&out);
    assert_string_equal(
        text, "7:8\n{\"name\":\"swtpm\",\"uid\":7,\"gid\":8,\"pool\":\"tpm\",\"removed\":true}\n"
              "{\"retired\":\"tpm\"}\n");
}

/*
 * sysusers.d(5). That systemd-sysusers takes it is test-provision.py's to show.
 */

static void test_sysusers(void **state)
{
    struct wanted_user users[] = {
        {.name = "xen-range-base", .uid = BASE, .gid = BASE, .comment = "100% \"odd\""},
        {.name = "by-hand", .uid = 5, .gid = 6, .gid_follows = true, .comment = "x"},
        {.name = "gone", .uid = 7, .gid = BASE, .expired = true, .comment = "x"},
    };
    struct wanted_group groups[] = {{.name = "xen-range-base", .gid = BASE}};
    struct wanted_guard guards[] = {{{BASE, 32752}}};
    struct pool_settings settings = {.name = "xen", .size = 32752, .policy = UIDPOOL_POLICY_DOMID};
    struct chosen_pool chosen = {.settings = &settings, .base = BASE, .gid = BASE};
    struct world_of_one *w = world_new();
    struct capture out;
    _cleanup_free_ char *text = NULL;

    (void)state;
    fill_table(w, FILE_GROUP, "root:x:0:\nhands:x:6:\n");
    w->choices = (struct choices){&chosen, 1};
    w->roster = (struct roster){.users = users,
                                .n_users = ELEMENTS_OF(users),
                                .groups = groups,
                                .n_groups = 1,
                                .guards = guards,
                                .n_guards = 1};
    out = capture_begin(STDOUT_FILENO);
    assert_int_equal(show_sysusers(&w->showing), 0);
    text = capture_end(&out);
    assert_contains(text, "\ng xen-range-base 2113929216\ng hands 6\n"
                          "u xen-range-base 2113929216:2113929216 \"100%% \\\"odd\\\"\" "
                          "/nonexistent /usr/sbin/nologin\n"
                          "u by-hand 5:6 \"x\" /nonexistent /usr/sbin/nologin\n");
    assert_contains(text, "\n#   pool xen, uids 2113929216 to 2113961967, policy domid, ");
    assert_contains(text, "\n#   ~uidpool:2113929216:32752\n");
    assert_contains(text, "\n# - gone is removed");
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_diff_does_it),
        cmocka_unit_test(test_why_stands_at_the_hunk),
        cmocka_unit_test(test_long_blocks_are_cut),
        cmocka_unit_test(test_replaced_blocks_are_cut_too),
        cmocka_unit_test(test_passwords_are_not_shown),
        cmocka_unit_test(test_passwords_are_nowhere),
        cmocka_unit_test(test_harmless_and_short),
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_leftovers),
        cmocka_unit_test(test_findings),
        cmocka_unit_test(test_nothing_is_nothing),
        cmocka_unit_test(test_json_files),
        cmocka_unit_test(test_json_ledger),
        cmocka_unit_test(test_user),
        cmocka_unit_test(test_sysusers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
