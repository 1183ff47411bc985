/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a plan makes of files and ledger, rule by rule, to the byte; and that its time grows with
 * the files and not with their square. Runs that are cut off: test-plan-torn.c. Pure. */
#include "tests/unit/scene.h"

#include <time.h>

/* The files that every scene begins with. */
static const char *const bare[ACCOUNT_FILES] = {
    [FILE_SUBUID] = "",
    [FILE_SUBGID] = "",
    [FILE_GROUP] = "root:x:0:\nalice:x:1000:\n",
    [FILE_GSHADOW] = "root:*::\nalice:!::\n",
    [FILE_PASSWD] = "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/bash\n",
    [FILE_SHADOW] = "root:*:19700:0:99999:7:::\nalice:$y$hunter2:19700:0:99999:7:::\n",
};

static void scene_begin(struct scene *s)
{
    for (size_t i = 0; i < ACCOUNT_FILES; i++)
        scene_set(s, (enum account_file)i, bare[i]);
}

/* Lines behind what is there. */
static void scene_append(struct scene *s, enum account_file file, const char *lines)
{
    char text[4096];

    assert_true(snprintf(text, sizeof(text), "%s%s", s->text[file], lines) < (int)sizeof(text));
    scene_set(s, file, text);
}

static void fail_differently(const char *path, const char *is, const char *expected)
{
    fail_msg("%s is\n%s\nwhere this was due\n%s", path, is, expected);
}

/* The whole file. */
static void assert_text(const struct outcome *o, enum account_file file, const char *expected)
{
    if (strcmp(o->text[file], expected) != 0)
        fail_differently(account_file_path(file), o->text[file], expected);
}

/* What comes behind the scene's own lines, which stay as they are. */
static void assert_added(const struct scene *s, const struct outcome *o, enum account_file file,
                         const char *lines)
{
    char expected[4096];

    snprintf(expected, sizeof(expected), "%s%s", s->text[file], lines);
    assert_text(o, file, expected);
    assert_int_equal(o->plan.drafts[file].n_replaced, 0);
}

/* The last line of the file becomes this one, for that reason, and nothing is added. */
static void assert_last_becomes(const struct outcome *o, enum account_file file, const char *line,
                                const char *why)
{
    const struct draft *d = &o->plan.drafts[file];

    assert_int_equal(d->n_added, 0);
    assert_int_equal(d->n_replaced, 1);
    assert_string_equal(d->replaced[0].text, line);
    assert_string_equal(d->replaced[0].why, why);
    assert_int_equal(d->replaced[0].line, o->files.tables[file].lines.n - 1);
}

static void assert_unchanged(const struct outcome *o, enum account_file file)
{
    assert_true(draft_is_empty(&o->plan.drafts[file]));
}

/* Exactly this one finding; NULL: none. */
static void assert_finding(const struct outcome *o, enum finding_kind kind, const char *text)
{
    if (!text) {
        if (o->findings.n > 0)
            fail_msg("\"%s\" where nothing was due", o->findings.items[0].text);
        return;
    }
    assert_int_equal(o->findings.n, 1);
    assert_int_equal(o->findings.items[0].kind, kind);
    assert_string_equal(o->findings.items[0].text, text);
}

/* As the plan of a new pool left it. */
static void carry_out(struct scene *s)
{
    _cleanup_(outcome_clear) struct outcome o = scene_plan(s);

    assert_finding(&o, FINDING_CONFLICT, NULL);
    for (size_t i = 0; i < ACCOUNT_FILES; i++)
        if (o.text[i])
            scene_set(s, (enum account_file)i, o.text[i]);
    scene_tell_ledger(s, &o.plan, false);
    scene_tell_ledger(s, &o.plan, true);
    s->has_request = false;
}

static void assert_nothing_to_do(const struct scene *s)
{
    _cleanup_(outcome_clear) struct outcome o = scene_plan(s);

    assert_finding(&o, FINDING_CONFLICT, NULL);
    assert_true(plan_is_empty(&o.plan));
}

/*
 * What is added.
 */

static void test_nothing_wanted(void **state)
{
    _cleanup_(scene_clear) struct scene s = {0};

    (void)state;
    scene_begin(&s);
    assert_nothing_to_do(&s);
}

static void test_a_new_pool(void **state)
{
    _cleanup_(scene_clear) struct scene s = {0};
    _cleanup_(outcome_clear) struct outcome o = {0};

    (void)state;
    scene_begin(&s);
    scene_pool(&s, ACCOUNTS_RANGE_BASE | ACCOUNTS_REAPER, 32752);
    o = scene_plan(&s);
    assert_finding(&o, FINDING_CONFLICT, NULL);
    assert_added(&s, &o, FILE_PASSWD,
                 "vm0-range-base:x:2114650112:2114650112:uidpool range base:/nonexistent:"
                 "/usr/sbin/nologin\n"
                 "vm0-reaper:x:501:501:uidpool reaper:/nonexistent:/usr/sbin/nologin\n");
    assert_added(&s, &o, FILE_SHADOW, "vm0-range-base:!*:::::::\nvm0-reaper:!*:::::::\n");
    assert_added(&s, &o, FILE_GROUP, "vm0-range-base:x:2114650112:\nvm0-reaper:x:501:\n");
    assert_added(&s, &o, FILE_GSHADOW, "vm0-range-base:!*::\nvm0-reaper:!*::\n");
    assert_added(&s, &o, FILE_SUBUID, "~uidpool:2114650112:32752\n");
    assert_added(&s, &o, FILE_SUBGID, "~uidpool:2114650112:32752\n");
    carry_out(&s);
    assert_nothing_to_do(&s);
}

static void test_accounts_for_each_domid(void **state)
{
    _cleanup_(scene_clear) struct scene s = {0};
    _cleanup_(outcome_clear) struct outcome o = {0};

    (void)state;
    scene_begin(&s);
    scene_pool(&s, ACCOUNTS_PER_DOMID, 2);
    scene_pool(&s, ACCOUNTS_PER_DOMID, 2);
    s.settings[1].group_per_uid = true;
    o = scene_plan(&s);
    assert_added(
        &s, &o, FILE_PASSWD,
        "vm0-domid0:x:2114650112:2114650112:uidpool domid:/nonexistent:/usr/sbin/nologin\n"
        "vm0-domid1:x:2114650113:2114650112:uidpool domid:/nonexistent:/usr/sbin/nologin\n"
        "vm1-domid0:x:2114750112:2114750112:uidpool domid:/nonexistent:/usr/sbin/nologin\n"
        "vm1-domid1:x:2114750113:2114750113:uidpool domid:/nonexistent:/usr/sbin/nologin\n");
    assert_added(&s, &o, FILE_GROUP,
                 "vm0:x:2114650112:\nvm1-domid0:x:2114750112:\nvm1-domid1:x:2114750113:\n");
    assert_added(&s, &o, FILE_GSHADOW, "vm0:!*::\nvm1-domid0:!*::\nvm1-domid1:!*::\n");
    carry_out(&s);
    assert_nothing_to_do(&s);
}

static void test_new_lines_go_before_nis(void **state)
{
    _cleanup_(scene_clear) struct scene s = {0};
    _cleanup_(outcome_clear) struct outcome o = {0};

    (void)state;
    scene_begin(&s);
    scene_set(&s, FILE_PASSWD, "root:x:0:0::/root:\n# last\n+::::::");
    scene_set(&s, FILE_SHADOW, "root:*:::::::");
    scene_pool(&s, ACCOUNTS_REAPER, 1);
    o = scene_plan(&s);
    assert_text(&o, FILE_PASSWD,
                "root:x:0:0::/root:\n# last\n"
                "vm0-reaper:x:501:501:uidpool reaper:/nonexistent:/usr/sbin/nologin\n+::::::");
    assert_text(&o, FILE_SHADOW, "root:*:::::::\nvm0-reaper:!*:::::::\n");
}

/*
 * Users that are there.
 */

/* A pool with a reaper, in use, whose files are as they should be. */
static void scene_with_reaper(struct scene *s)
{
    scene_begin(s);
    scene_pool(s, ACCOUNTS_REAPER, 4);
    carry_out(s);
}

/* The same, but the last line of one file is another one. */
static struct outcome plan_with_line(struct scene *s, enum account_file file, const char *line)
{
    size_t length;

    scene_with_reaper(s);
    length = strlen(s->text[file]) - 1;
    while (length > 0 && s->text[file][length - 1] != '\n')
        length--;
    s->text[file][length] = '\0';
    scene_append(s, file, line);
    scene_append(s, file, "\n");
    return scene_plan(s);
}

/* NULL: it stays. */
static void assert_line_becomes(enum account_file file, const char *line, const char *becomes,
                                const char *why)
{
    _cleanup_(scene_clear) struct scene s = {0};
    _cleanup_(outcome_clear) struct outcome o = plan_with_line(&s, file, line);

    assert_finding(&o, FINDING_CONFLICT, NULL);
    assert_int_equal(o.plan.n_steps, 0);
    if (becomes)
        assert_last_becomes(&o, file, becomes, why);
    else
        assert_true(plan_is_empty(&o.plan));
}

static void test_users_keep_what_is_theirs(void **state)
{
    static const char why[] = "its password belongs into shadow";

    (void)state;
    assert_line_becomes(FILE_PASSWD, "vm0-reaper:x:501:501:by hand,,:/var/empty:/bin/false", NULL,
                        NULL);
    assert_line_becomes(FILE_PASSWD, "vm0-reaper:*:501:501:by hand,,:/var/empty:/bin/false",
                        "vm0-reaper:x:501:501:by hand,,:/var/empty:/bin/false", why);
    assert_line_becomes(FILE_PASSWD, "vm0-reaper::501:501:::", "vm0-reaper:x:501:501:::", why);
    assert_line_becomes(FILE_PASSWD,
                        "vm0-reaper:$6$hunter2:501:501:::", "vm0-reaper:x:501:501:::", why);
    /* Another group is no conflict for an account outside of the pools. */
    assert_line_becomes(FILE_PASSWD, "vm0-reaper:x:501:65534:::", NULL, NULL);
}

static void test_nobody_logs_in(void **state)
{
    static const char why[] = "could log in";

    (void)state;
    assert_line_becomes(FILE_SHADOW, "vm0-reaper:!:19000:0:99999:7:::", NULL, NULL);
    assert_line_becomes(FILE_SHADOW, "vm0-reaper:*:19000:0:99999:7:3:20000:", NULL, NULL);
    assert_line_becomes(FILE_SHADOW, "vm0-reaper:!$6$hunter2:19000::::::", NULL, NULL);
    assert_line_becomes(FILE_SHADOW, "vm0-reaper:$6$hunter2:19000:0:99999:7:3:20000:",
                        "vm0-reaper:!*:19000:0:99999:7:3:20000:", why);
    assert_line_becomes(FILE_SHADOW, "vm0-reaper::::::::", "vm0-reaper:!*:::::::", why);
    assert_line_becomes(FILE_SHADOW, "vm0-reaper:x:::::::", "vm0-reaper:!*:::::::", why);
    /* Not made by `user add`, so its expiry date is whoever's. */
    assert_line_becomes(FILE_SHADOW, "vm0-reaper:!*::::::1:", NULL, NULL);
}

static void test_a_password_that_waits(void **state)
{
    _cleanup_(scene_clear) struct scene s = {0};
    _cleanup_(outcome_clear) struct outcome o = {0};

    (void)state;
    scene_begin(&s);
    scene_pool(&s, ACCOUNTS_REAPER, 1);
    scene_append(&s, FILE_SHADOW, "vm0-reaper:$6$hunter2:19000::::::\n");
    scene_append(&s, FILE_GSHADOW, "vm0-reaper:$6$hunter2:eve:mallory\n");
    o = scene_plan(&s);
    assert_last_becomes(&o, FILE_SHADOW, "vm0-reaper:!*:19000::::::", "could log in");
    assert_last_becomes(&o, FILE_GSHADOW, "vm0-reaper:!*::", "could be entered by password");
    assert_int_equal(o.plan.drafts[FILE_PASSWD].n_added, 1);
    assert_int_equal(o.plan.drafts[FILE_GROUP].n_added, 1);
}

static void test_lines_that_are_missing(void **state)
{
    (void)state;
    for (enum account_file file = FILE_SUBUID; file < ACCOUNT_FILES; file++) {
        _cleanup_(scene_clear) struct scene s = {0}, whole = {0};
        _cleanup_(outcome_clear) struct outcome o = {0};

        scene_with_reaper(&s);
        scene_with_reaper(&whole);
        scene_set(&s, file, bare[file]);
        o = scene_plan(&s);
        assert_finding(&o, FINDING_CONFLICT, NULL);
        for (size_t i = 0; i < ACCOUNT_FILES; i++)
            assert_text(&o, (enum account_file)i, whole.text[i]);
        assert_int_equal(o.plan.n_steps, 0);
        assert_false(plan_is_empty(&o.plan));
    }
}

static void assert_conflict(struct scene *s, const char *text)
{
    _cleanup_(outcome_clear) struct outcome o = scene_plan(s);

    assert_finding(&o, FINDING_CONFLICT, text);
}

static void assert_line_conflicts(enum account_file file, const char *line, const char *text)
{
    _cleanup_(scene_clear) struct scene s = {0};
    _cleanup_(outcome_clear) struct outcome o = plan_with_line(&s, file, line);

    assert_finding(&o, FINDING_CONFLICT, text);
}

static void test_users_on_another_uid(void **state)
{
    (void)state;
    assert_line_conflicts(FILE_PASSWD, "vm0-reaper:x:502:501:::",
                          "user vm0-reaper has uid 502 in /etc/passwd, not 501: remove it "
                          "('userdel vm0-reaper'), or give it that uid "
                          "('usermod -u 501 vm0-reaper')");
}

static void test_uids_of_others(void **state)
{
    static const char *const lines[] = {"bob:x:501:1000:::\n", "bob:x:501:1000:::\n"};
    static const char text[] =
        "uid 501 is to be user vm0-reaper's, and user bob has it in /etc/passwd: give that one "
        "another uid ('usermod -u UID bob'), or remove it";

    (void)state;
    /* Beside ours, before it and behind it, and in its place. */
    for (size_t i = 0; i < 3; i++) {
        _cleanup_(scene_clear) struct scene s = {0};

        scene_begin(&s);
        scene_pool(&s, ACCOUNTS_REAPER, 4);
        scene_append(&s, FILE_SHADOW, "bob:*:::::::\n");
        if (i == 0)
            scene_append(&s, FILE_PASSWD, lines[0]);
        if (i < 2)
            scene_append(&s, FILE_PASSWD, "vm0-reaper:x:501:501:::\n");
        if (i > 0)
            scene_append(&s, FILE_PASSWD, lines[1]);
        assert_conflict(&s, text);
    }
}

static void test_uids_and_gids_of_odd_lines(void **state)
{
    _cleanup_(scene_clear) struct scene s = {0};

    (void)state;
    scene_with_reaper(&s);
    scene_append(&s, FILE_PASSWD, "bob:x:501:1000\n");
    assert_conflict(&s, "uid 501 is to be user vm0-reaper's, and line 4 of /etc/passwd has it, "
                        "which is no proper entry: correct or remove that line");
    scene_clear(&s);
    scene_begin(&s);
    scene_pool(&s, ACCOUNTS_REAPER, 4);
    scene_append(&s, FILE_GROUP, "bob:x:501\n");
    assert_conflict(&s, "gid 501 is to be group vm0-reaper's, and line 3 of /etc/group has it, "
                        "which is no proper entry: correct or remove that line");
}

static void test_users_in_another_group(void **state)
{
    _cleanup_(scene_clear) struct scene s = {0};

    (void)state;
    scene_begin(&s);
    scene_pool(&s, ACCOUNTS_PER_DOMID, 1);
    scene_append(&s, FILE_PASSWD, "vm0-domid0:x:2114650112:1000:::\n");
    assert_conflict(&s, "user vm0-domid0 has the group 1000 in /etc/passwd, not 2114650112: "
                        "'usermod -g 2114650112 vm0-domid0', behind 'groupadd -g 2114650112' if "
                        "there is no such group");
}

static void test_odd_lines_of_our_names(void **state)
{
    static const struct {
        enum account_file file;
        const char *line;
    } odd[] = {
        {FILE_PASSWD, "vm0-reaper:x:\n"},         {FILE_PASSWD, "  vm0-reaper\n"},
        {FILE_SHADOW, "vm0-reaper:$6$hunter2\n"}, {FILE_GROUP, "vm0-reaper:x\n"},
        {FILE_GSHADOW, "vm0-reaper:!\n"},
    };

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(odd); i++) {
        _cleanup_(scene_clear) struct scene s = {0};
        char text[256];

        scene_begin(&s);
        scene_pool(&s, ACCOUNTS_REAPER, 1);
        scene_append(&s, odd[i].file, odd[i].line);
        snprintf(text, sizeof(text),
                 "%s has a line that begins with vm0-reaper and is no entry (blanks before it, or "
                 "too few or too many fields): correct or remove it",
                 account_file_path(odd[i].file));
        assert_conflict(&s, text);
    }
}

/*
 * Groups that are there.
 */

static void test_groups_keep_what_is_theirs(void **state)
{
    static const char shut[] = "could be entered by password",
                      members[] = "its members are those of group, its administrators nobody";

    (void)state;
    assert_line_becomes(
        FILE_GROUP, "vm0-reaper::501:", "vm0-reaper:x:501:", "its password belongs into gshadow");
    assert_line_becomes(FILE_GSHADOW, "vm0-reaper:!::", NULL, NULL);
    assert_line_becomes(FILE_GSHADOW, "vm0-reaper:*::", NULL, NULL);
    assert_line_becomes(FILE_GSHADOW, "vm0-reaper:::", "vm0-reaper:!*::", shut);
    assert_line_becomes(FILE_GSHADOW, "vm0-reaper:$6$hunter2:eve:mallory", "vm0-reaper:!*::", shut);
    assert_line_becomes(FILE_GSHADOW, "vm0-reaper:!:eve:", "vm0-reaper:!::", members);
    assert_line_becomes(FILE_GSHADOW, "vm0-reaper:!::mallory", "vm0-reaper:!::", members);
}

static void test_members_stay(void **state)
{
    _cleanup_(scene_clear) struct scene s = {0};
    _cleanup_(outcome_clear) struct outcome o = {0};

    (void)state;
    scene_begin(&s);
    scene_pool(&s, ACCOUNTS_REAPER, 1);
    scene_append(&s, FILE_GROUP, "vm0-reaper:!:501:alice,bob\n");
    o = scene_plan(&s);
    assert_last_becomes(&o, FILE_GROUP, "vm0-reaper:x:501:alice,bob",
                        "its password belongs into gshadow");
    assert_added(&s, &o, FILE_GSHADOW, "vm0-reaper:!*::alice,bob\n");
    carry_out(&s);
    assert_nothing_to_do(&s);
}

static void test_groups_on_another_gid(void **state)
{
    (void)state;
    assert_line_conflicts(FILE_GROUP, "vm0-reaper:x:502:",
                          "group vm0-reaper has gid 502 in /etc/group, not 501: 'groupmod -g 501 "
                          "vm0-reaper', or remove it ('groupdel vm0-reaper')");
}

static void test_gids_of_others(void **state)
{
    static const char text[] =
        "gid 2114650112 is to be group vm0's, and group bob has it in /etc/group: give that one "
        "another gid ('groupmod -g GID bob'), or remove it";

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        _cleanup_(scene_clear) struct scene s = {0};

        scene_begin(&s);
        scene_pool(&s, ACCOUNTS_PER_DOMID, 1);
        if (i == 1)
            scene_append(&s, FILE_GROUP, "vm0:x:2114650112:\n");
        scene_append(&s, FILE_GROUP, "bob:x:2114650112:\n");
        assert_conflict(&s, text);
    }
}

static void test_any_group_with_the_gid_will_do(void **state)
{
    _cleanup_(scene_clear) struct scene s = {0};

    (void)state;
    scene_begin(&s);
    scene_pool(&s, ACCOUNTS_RANGE_BASE, 4)->gid = 1000;
    carry_out(&s);
    assert_nothing_to_do(&s);
    assert_string_equal(s.text[FILE_GROUP], bare[FILE_GROUP]);
    assert_string_equal(s.text[FILE_GSHADOW], bare[FILE_GSHADOW]);
    assert_non_null(strstr(s.text[FILE_PASSWD], "vm0-range-base:x:2114650112:1000:"));
    /* Also if our name is another group's. */
    scene_append(&s, FILE_GROUP, "vm0-range-base:x:1234:\n");
    scene_append(&s, FILE_GSHADOW, "vm0-range-base:!:eve:\n");
    assert_nothing_to_do(&s);
}

/* adduser --system --group, and without --group. */
static void test_a_user_with_another_group_needs_none(void **state)
{
    _cleanup_(scene_clear) struct scene s = {0};

    (void)state;
    scene_begin(&s);
    scene_pool(&s, ACCOUNTS_SHARED | ACCOUNTS_REAPER, 4);
    scene_append(&s, FILE_PASSWD, "vm0-shared:x:500:777:::\nvm0-reaper:x:501:65534:::\n");
    scene_append(&s, FILE_SHADOW, "vm0-shared:!:::::::\nvm0-reaper:!:::::::\n");
    scene_append(&s, FILE_GROUP, "vm0-shared:x:777:\n");
    carry_out(&s);
    assert_nothing_to_do(&s);
    assert_null(strstr(s.text[FILE_GROUP], "reaper"));
    assert_null(strstr(s.text[FILE_GSHADOW], "reaper"));
    assert_non_null(strstr(s.text[FILE_GSHADOW], "\nvm0-shared:!*::\n"));
}

/*
 * subuid and subgid.
 */

static void test_guards(void **state)
{
    static const struct {
        const char *before, *after;
    } cases[] = {
        {NULL, NULL},
        {"", "~uidpool:2114650112:4\n"},
        {"alice:100000:65536", "alice:100000:65536\n~uidpool:2114650112:4\n"},
        {"~uidpool:2114650112:4\nalice:1:1", "~uidpool:2114650112:4\nalice:1:1"},
        {"~uidpool:2114650112:3\nalice:1:1\n", "~uidpool:2114650112:4\nalice:1:1\n"},
        {"~uidpool:2114650112:3\n~uidpool:2114650112:4\n",
         "~uidpool:2114650112:3\n~uidpool:2114650112:4\n"},
        {"alice:2114650112:4\n", "alice:2114650112:4\n~uidpool:2114650112:4\n"},
        {"~uidpool2:2114650112:4\n", "~uidpool2:2114650112:4\n~uidpool:2114650112:4\n"},
        {"~uidpool:2114650112\n", "~uidpool:2114650112\n~uidpool:2114650112:4\n"},
    };

    (void)state;
    for (size_t i = 0; i < 2 * ELEMENTS_OF(cases); i++) {
        enum account_file file = i % 2 ? FILE_SUBUID : FILE_SUBGID;
        _cleanup_(scene_clear) struct scene s = {0};
        _cleanup_(outcome_clear) struct outcome o = {0};

        scene_begin(&s);
        scene_pool(&s, 0, 4);
        scene_set(&s, file, cases[i / 2].before);
        o = scene_plan(&s);
        assert_finding(&o, FINDING_CONFLICT, NULL);
        if (cases[i / 2].after)
            assert_text(&o, file, cases[i / 2].after);
        else
            assert_null(o.text[file]);
        if (o.plan.drafts[file].n_replaced > 0)
            assert_string_equal(o.plan.drafts[file].replaced[0].why, "the pool has another size");
    }
}

/* The ledger was lost, and the pool gets another range; or another pool is there. */
static void test_a_guard_of_no_pool(void **state)
{
    _cleanup_(scene_clear) struct scene s = {0};
    _cleanup_(outcome_clear) struct outcome o = {0};

    (void)state;
    scene_begin(&s);
    scene_pool(&s, 0, 4);
    scene_set(&s, FILE_SUBUID, "alice:100000:65536\n~uidpool:7000000:9\n");
    scene_set(&s, FILE_SUBGID, "~uidpool:7000000:9\n");
    o = scene_plan(&s);
    assert_finding(&o, FINDING_WARNING,
                   "/etc/subuid, line 2: a guard over 9 ids from 7000000 on, but the ledger has no "
                   "such pool; if it was lost, see uidpool-provision(8), 'When the ledger is "
                   "lost', and else remove that line");
    assert_text(&o, FILE_SUBUID, "alice:100000:65536\n~uidpool:7000000:9\n~uidpool:2114650112:4\n");
}

static void test_grants_to_our_accounts(void **state)
{
    static const struct {
        const char *line, *owner;
    } grants[] = {
        {"vm0-reaper:100000:65536\n", "vm0-reaper"},
        {"501:100000:65536\n", "501"},
        {"500:100000:65536\n", NULL},
        {"2114650112:100000:65536\n", "2114650112"},
        {"2114650115:100000:65536\n", "2114650115"},
        {"2114650116:100000:65536\n", NULL},
        {"alice:100000:65536\n", NULL},
        {"99999999999999999999:100000:65536\n", NULL},
        {"99999999999999999999999999999999999999999999999:100000:65536\n", NULL},
    };

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(grants); i++) {
        _cleanup_(scene_clear) struct scene s = {0};
        _cleanup_(outcome_clear) struct outcome o = {0};
        char text[256];

        scene_with_reaper(&s);
        scene_append(&s, FILE_SUBGID, grants[i].line);
        o = scene_plan(&s);
        snprintf(text, sizeof(text),
                 "/etc/subgid grants 65536 ids from 100000 on to %s, which should have none: "
                 "remove its line 2",
                 grants[i].owner ? grants[i].owner : "");
        assert_finding(&o, FINDING_DRIFT, grants[i].owner ? text : NULL);
        assert_true(plan_is_empty(&o.plan));
    }
}

/*
 * What a killed tool left of others.
 */

static void test_users_without_a_password(void **state)
{
    _cleanup_(scene_clear) struct scene s = {0};
    _cleanup_(outcome_clear) struct outcome o = {0};

    (void)state;
    scene_begin(&s);
    scene_append(&s, FILE_PASSWD,
                 "bob:x:1001:1000:::\n"
                 "carol:*:1002:1000:::\n"    /* has its password where it stands */
                 "dave::1003:1000:::\n"      /* the same: none */
                 "erin:x:1004:1000:::\n"     /* an odd line is not ours to double */
                 "frank:x:1005:1000:::\n"    /* is in shadow */
                 " grace:x:1006:1000:::\n"); /* nobody agrees who that is */
    scene_append(&s, FILE_SHADOW, "erin:!\nfrank:$6$hunter2:::::::\n");
    o = scene_plan(&s);
    assert_finding(&o, FINDING_CONFLICT, NULL);
    assert_added(&s, &o, FILE_SHADOW, "bob:!*:::::::\n");
    assert_unchanged(&o, FILE_PASSWD);
    assert_unchanged(&o, FILE_GROUP);
    assert_unchanged(&o, FILE_GSHADOW);
    carry_out(&s);
    assert_nothing_to_do(&s);
}

static void test_groups_without_gshadow(void **state)
{
    _cleanup_(scene_clear) struct scene s = {0};
    _cleanup_(outcome_clear) struct outcome o = {0};

    (void)state;
    scene_begin(&s);
    scene_append(&s, FILE_GROUP,
                 "staff:x:50:\nkvm:x:51:alice,root\nold:*:52:\nodd:x:53:\nin:x:54:\n");
    scene_append(&s, FILE_GSHADOW, "odd:!\nin:::\n");
    o = scene_plan(&s);
    assert_added(&s, &o, FILE_GSHADOW, "staff:!*::\nkvm:!*::alice,root\n");
    assert_unchanged(&o, FILE_GROUP);
    carry_out(&s);
    assert_nothing_to_do(&s);
}

static void test_users_without_a_group(void **state)
{
    _cleanup_(scene_clear) struct scene s = {0};
    _cleanup_(outcome_clear) struct outcome o = {0};

    (void)state;
    scene_begin(&s);
    scene_pool(&s, ACCOUNTS_PER_DOMID, 1)->gid = 1007; /* group vm0 */
    scene_append(&s, FILE_PASSWD,
                 "bob:x:1001:1001:::\n"   /* gets one */
                 "carol:x:1002:1003:::\n" /* another number: who knows whose */
                 "dave:x:1004:1004:::\n"  /* the name is taken */
                 "erin:x:1005:1005:::\n"  /* the number is taken */
                 "frank:x:1006:1006:::\n" /* gets one, too: shadow is written before group */
                 "grace:x:1007:1007:::\n" /* one of ours will have the number */
                 "vm0:x:1008:1008:::\n"   /* and the name */
                 "henry:x:1001:1001:::\n" /* the number will be bob's */
                 "ivan:x:1009:1009:::\n"  /* gshadow waits for it */
                 "judy:x:1010:1010:::\n"  /* an odd line has the number */
                 "kim:x:1011:1011:::\n"); /* or the name */
    scene_append(&s, FILE_SHADOW, "frank:!:::::::\n");
    scene_append(&s, FILE_GROUP, "dave:*:2004:\nnot-erin:*:1005:\njane:x:1010\nkim:x\n");
    scene_append(&s, FILE_GSHADOW, "ivan:!::\n");
    o = scene_plan(&s);
    assert_finding(&o, FINDING_CONFLICT, NULL);
    assert_added(&s, &o, FILE_GROUP, "bob:x:1001:\nfrank:x:1006:\nivan:x:1009:\nvm0:x:1007:\n");
    assert_added(&s, &o, FILE_GSHADOW, "bob:!*::\nfrank:!*::\nvm0:!*::\n");
    assert_int_equal(o.plan.drafts[FILE_SHADOW].n_added, 11);
    carry_out(&s);
    assert_nothing_to_do(&s);
}

static void test_names_that_are_no_names(void **state)
{
    _cleanup_(scene_clear) struct scene s = {0};
    _cleanup_(outcome_clear) struct outcome o = {0};
    char name[300], line[400];

    (void)state;
    scene_begin(&s);
    for (size_t length = 254; length < 258; length++) {
        memset(name, 'a', length);
        name[length] = '\0';
        snprintf(line, sizeof(line), "%s:x:%zu:1000:::\n", name, 2000 + length);
        scene_append(&s, FILE_PASSWD, line);
        snprintf(line, sizeof(line), "%s:x:%zu:\n", name, 2000 + length);
        scene_append(&s, FILE_GROUP, line);
    }
    o = scene_plan(&s);
    assert_int_equal(o.plan.drafts[FILE_SHADOW].n_added, 2);
    assert_int_equal(o.plan.drafts[FILE_GSHADOW].n_added, 2);
}

/*
 * Accounts of `user add`.
 */

static void test_a_removed_account(void **state)
{
    _cleanup_(scene_clear) struct scene s = {0};

    (void)state;
    scene_begin(&s);
    scene_pool(&s, 0, 4);
    carry_out(&s);
    scene_request(&s, "web", "p0", SCENE_BASE + 1, SCENE_BASE, false);
    carry_out(&s);
    assert_non_null(strstr(s.text[FILE_PASSWD], "\nweb:x:2114650113:2114650112:uidpool account:"
                                                "/nonexistent:/usr/sbin/nologin\n"));
    assert_non_null(strstr(s.text[FILE_SHADOW], "\nweb:!*:::::::\n"));
    assert_non_null(strstr(s.text[FILE_GROUP], "\np0:x:2114650112:\n"));
    assert_nothing_to_do(&s);
    scene_request(&s, "web", "p0", 0, 0, true);
    carry_out(&s);
    assert_non_null(strstr(s.text[FILE_SHADOW], "\nweb:!*::::::1:\n"));
    assert_nothing_to_do(&s);
    /* Whoever wakes it up again. */
    scene_set(&s, FILE_SHADOW, "root:*:::::::\nweb:$6$hunter2:19000::::::");
    carry_out(&s);
    assert_string_equal(s.text[FILE_SHADOW],
                        "root:*:::::::\nweb:!*:19000:::::1:\nalice:!*:::::::\n");
}

static void test_an_account_comes_and_goes(void **state)
{
    _cleanup_(scene_clear) struct scene s = {0};
    _cleanup_(outcome_clear) struct outcome o = {0}, back = {0}, gone = {0};

    (void)state;
    scene_begin(&s);
    scene_pool(&s, 0, 4);
    carry_out(&s);
    scene_append(&s, FILE_PASSWD, "web:x:2114650113:2114650113:::\n");
    scene_append(&s, FILE_GROUP, "web:*:2114650113:\n");
    scene_append(&s, FILE_GSHADOW, "web:!::\n");
    scene_append(&s, FILE_SHADOW, "web:!:19000:::::20000:\n");
    (void)scene_account(&s, "web", "p0", SCENE_BASE + 1, SCENE_BASE + 1, LEDGER_ACCOUNT_REMOVED);
    o = scene_plan(&s);
    assert_last_becomes(&o, FILE_SHADOW, "web:!:19000:::::1:", "is to be locked for ever");
    carry_out(&s);
    scene_request(&s, "web", "p0", 0, 0, false);
    back = scene_plan(&s);
    assert_last_becomes(&back, FILE_SHADOW, "web:!:19000::::::", "is to be used again");
    carry_out(&s);
    scene_set(&s, FILE_SHADOW, bare[FILE_SHADOW]);
    scene_request(&s, "web", "p0", 0, 0, true);
    gone = scene_plan(&s);
    assert_added(&s, &gone, FILE_SHADOW, "web:!*::::::1:\n");
}

/*
 * The ledger.
 */

/* "begin p0, finish p0": the plan's steps, in order. */
static void assert_steps(const struct scene *s, const char *expected)
{
    static const char *const names[] = {
        [STEP_POOL_BEGIN] = "begin",      [STEP_POOL_CHANGE] = "change",
        [STEP_POOL_FINISH] = "finish",    [STEP_ACCOUNT_BEGIN] = "add",
        [STEP_ACCOUNT_FINISH] = "finish", [STEP_ACCOUNT_REMOVE] = "remove",
    };
    _cleanup_(outcome_clear) struct outcome o = scene_plan(s);
    char text[1024] = "";
    size_t n = 0;

    for (size_t i = 0; i < o.plan.n_steps; i++) {
        const struct ledger_step *step = &o.plan.steps[i];
        bool is_pool = step->kind <= STEP_POOL_FINISH;

        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s %s", i ? ", " : "",
                              names[step->kind], is_pool ? step->pool.name : step->account.name);
        if (*step->detail && step->kind != STEP_ACCOUNT_FINISH)
            n += (size_t)snprintf(text + n, sizeof(text) - n, " (%s)", step->detail);
    }
    assert_string_equal(text, expected);
    assert_false(*expected && plan_is_empty(&o.plan));
}

static void test_steps_of_pools(void **state)
{
    _cleanup_(scene_clear) struct scene s = {0};

    (void)state;
    scene_begin(&s);
    scene_set(&s, FILE_SUBUID, NULL);
    scene_set(&s, FILE_SUBGID, NULL);
    scene_pool(&s, 0, 4);
    scene_pool(&s, 0, 4);
    assert_steps(&s, "begin p0 (uids 2114650112 to 2114650115), begin p1 (uids 2114750112 to "
                     "2114750115), finish p0, finish p1");
    s.pools[0].fate = POOL_STUCK;
    s.pools[1].fate = POOL_RETIRED;
    assert_steps(&s, "");
    s.pools[0].fate = POOL_NEW;
    scene_know(&s, &s.pools[1], POOL_BEGUN);
    assert_steps(&s, "begin p0 (uids 2114650112 to 2114650115), finish p0, finish p1");
    s.settings[1].quarantine = 30;
    assert_steps(&s, "begin p0 (uids 2114650112 to 2114650115), change p1 (quarantine 60 -> 30), "
                     "finish p0, finish p1");
    carry_out(&s);
    assert_steps(&s, "");
    assert_int_equal(s.known[0].quarantine, 30);
}

static void test_changes_of_pools(void **state)
{
    _cleanup_(scene_clear) struct scene s = {0};
    _cleanup_(outcome_clear) struct outcome o = {0};
    struct uidpool_pool *known;

    (void)state;
    scene_begin(&s);
    scene_set(&s, FILE_SUBUID, NULL);
    scene_set(&s, FILE_SUBGID, NULL);
    known = scene_know(&s, scene_pool(&s, 0, 4), POOL_KNOWN);
    assert_steps(&s, "");
    known->next_uid = SCENE_BASE + 3;
    s.settings[0].policy = UIDPOOL_POLICY_NEXT;
    s.settings[0].follow = s.settings[0].resolve = true;
    s.pools[0].gid = 77;
    assert_steps(&s, "change p0 (policy domid -> next, group 2114650112 -> 77, follow no -> yes, "
                     "resolve no -> yes)");
    o = scene_plan(&s);
    assert_int_equal(o.plan.steps[0].pool.id, known->id);
    assert_int_equal(o.plan.steps[0].pool.next_uid, SCENE_BASE + 3);
    assert_int_equal(o.plan.steps[0].pool.gid, 77);
    assert_int_equal(o.plan.steps[0].pool.policy, UIDPOOL_POLICY_NEXT);
    assert_true(o.plan.steps[0].pool.follow && o.plan.steps[0].pool.resolve);
    s.settings[0].policy = UIDPOOL_POLICY_DOMID;
    s.settings[0].follow = s.settings[0].resolve = false;
    s.settings[0].group_per_uid = true;
    assert_steps(&s, "change p0 (group 2114650112 -> per-uid)");
    /* Then the gid means nothing. */
    known->group_per_uid = true;
    assert_steps(&s, "");
    s.settings[0].group_per_uid = false;
    assert_steps(&s, "change p0 (group per-uid -> 77)");
}

static void test_the_longest_change_is_told_whole(void **state)
{
    _cleanup_(scene_clear) struct scene s = {0};
    struct uidpool_pool *known;

    (void)state;
    scene_begin(&s);
    known = scene_know(&s, scene_pool(&s, 0, 4), POOL_KNOWN);
    known->quarantine = 4000000000;
    known->gid = 4000000000;
    known->resolve = known->follow = true;
    s.settings[0].quarantine = 3000000000;
    s.settings[0].policy = UIDPOOL_POLICY_NEXT;
    assert_steps(&s, "change p0 (policy domid -> next, group 4000000000 -> 2114650112, quarantine "
                     "4000000000 -> 3000000000, follow yes -> no, resolve yes -> no)");
}

/* One account, in one state, and one request; what the ledger is told, and what it has then. */
struct account_case {
    enum ledger_account_state before; /* 0: not there */
    int request;                      /* 0: none, 1: add, -1: remove */
    const char *steps;
    enum ledger_account_state after; /* 0: not there */
};

static void scene_of_case(struct scene *s, const struct account_case *c)
{
    scene_begin(s);
    scene_set(s, FILE_SUBUID, NULL);
    scene_set(s, FILE_SUBGID, NULL);
    scene_know(s, scene_pool(s, 0, 4), POOL_KNOWN);
    if (c->before)
        (void)scene_account(s, "web", "p0", SCENE_BASE + 1, SCENE_BASE, c->before);
    (void)scene_account(s, "other", "p0", SCENE_BASE + 2, SCENE_BASE, LEDGER_ACCOUNT_PRESENT);
    if (c->request)
        scene_request(s, "web", "p0", SCENE_BASE + 1, SCENE_BASE, c->request < 0);
}

static void test_steps_of_accounts(void **state)
{
    static const char add[] = "add web (uid 2114650113), finish web",
                      remove[] = "remove web (uid 2114650113), finish web";
    static const struct account_case cases[] = {
        {0, 1, add, LEDGER_ACCOUNT_PRESENT},
        {0, -1, "", 0},
        {LEDGER_ACCOUNT_ADDING, 0, "finish web", LEDGER_ACCOUNT_PRESENT},
        {LEDGER_ACCOUNT_ADDING, 1, "finish web", LEDGER_ACCOUNT_PRESENT},
        {LEDGER_ACCOUNT_ADDING, -1, remove, LEDGER_ACCOUNT_REMOVED},
        {LEDGER_ACCOUNT_PRESENT, 0, "", LEDGER_ACCOUNT_PRESENT},
        {LEDGER_ACCOUNT_PRESENT, 1, "", LEDGER_ACCOUNT_PRESENT},
        {LEDGER_ACCOUNT_PRESENT, -1, remove, LEDGER_ACCOUNT_REMOVED},
        {LEDGER_ACCOUNT_REMOVING, 0, "finish web", LEDGER_ACCOUNT_REMOVED},
        {LEDGER_ACCOUNT_REMOVING, -1, "finish web", LEDGER_ACCOUNT_REMOVED},
        {LEDGER_ACCOUNT_REMOVED, 0, "", LEDGER_ACCOUNT_REMOVED},
        {LEDGER_ACCOUNT_REMOVED, 1, add, LEDGER_ACCOUNT_PRESENT},
        {LEDGER_ACCOUNT_REMOVED, -1, "", LEDGER_ACCOUNT_REMOVED},
    };

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        _cleanup_(scene_clear) struct scene s = {0};
        const struct ledger_account *web;

        scene_of_case(&s, &cases[i]);
        assert_steps(&s, cases[i].steps);
        carry_out(&s);
        web = state_account(&s.state, "web");
        assert_int_equal(web ? web->state : 0, cases[i].after);
        assert_nothing_to_do(&s);
    }
}

static void test_a_removal_that_was_cut_off(void **state)
{
    _cleanup_(scene_clear) struct scene s = {0};

    (void)state;
    scene_begin(&s);
    scene_know(&s, scene_pool(&s, 0, 4), POOL_KNOWN);
    (void)scene_account(&s, "web", "p0", SCENE_BASE + 1, SCENE_BASE, LEDGER_ACCOUNT_REMOVING);
    scene_request(&s, "web", "p0", SCENE_BASE + 1, SCENE_BASE, false);
    assert_conflict(&s, "the removal of web was cut off: 'uidpool-provision apply' finishes it, "
                        "and then it can be added again");
}

static void test_what_is_begun_comes_first(void **state)
{
    _cleanup_(scene_clear) struct scene s = {0};

    (void)state;
    scene_begin(&s);
    scene_pool(&s, 0, 4);
    scene_know(&s, scene_pool(&s, 0, 4), POOL_KNOWN);
    s.settings[1].resolve = true;
    (void)scene_account(&s, "a", "p1", SCENE_BASE + 100001, SCENE_BASE, LEDGER_ACCOUNT_ADDING);
    (void)scene_account(&s, "b", "p1", SCENE_BASE + 100002, SCENE_BASE, LEDGER_ACCOUNT_PRESENT);
    scene_request(&s, "b", "p1", 0, 0, true);
    assert_steps(&s, "begin p0 (uids 2114650112 to 2114650115), change p1 (resolve no -> yes), "
                     "remove b (uid 2114750114), finish p0, finish a, finish b");
    scene_request(&s, "c", "p1", SCENE_BASE + 100003, SCENE_BASE, false);
    assert_steps(&s, "begin p0 (uids 2114650112 to 2114650115), change p1 (resolve no -> yes), "
                     "add c (uid 2114750115), finish p0, finish a, finish c");
}

/*
 * Many.
 */

static void test_one_name_twice(void **state)
{
    _cleanup_(scene_clear) struct scene s = {0};

    (void)state;
    scene_begin(&s);
    scene_know(&s, scene_pool(&s, ACCOUNTS_RANGE_BASE, 4), POOL_KNOWN);
    (void)scene_account(&s, "vm0-range-base", "p0", SCENE_BASE + 1, SCENE_BASE,
                        LEDGER_ACCOUNT_PRESENT);
    assert_conflict(&s, "user vm0-range-base would have to be there twice: change Prefix= or "
                        "RangeBase=, for accounts keep their names");
}

static void test_many_conflicts_are_counted(void **state)
{
    _cleanup_(scene_clear) struct scene s = {0};
    _cleanup_(outcome_clear) struct outcome o = {0};
    char line[64];

    (void)state;
    scene_begin(&s);
    scene_pool(&s, ACCOUNTS_PER_DOMID, 12);
    for (unsigned i = 0; i < 12; i++) {
        snprintf(line, sizeof(line), "vm0-domid%u:x:%u:2114650112:::\n", i, 3000 + i);
        scene_append(&s, FILE_PASSWD, line);
    }
    o = scene_plan(&s);
    assert_int_equal(findings_count(&o.findings, FINDING_CONFLICT), 9);
    assert_string_equal(o.findings.items[8].text, "and 4 more users on another uid");
}

/* `n` accounts with a group each, in reverse order, so that every line is to be replaced. */
static char *make_torn_file(enum account_file file, unsigned n)
{
    char *text = malloc(n * 80 + 64);
    size_t size = 0;

    assert_non_null(text);
    for (unsigned i = n; i-- > 0;) {
        if (file == FILE_PASSWD)
            size += (size_t)snprintf(text + size, 80, "vm0-domid%u:*:%u:%u::/:/bin/false\n", i,
                                     SCENE_BASE + i, SCENE_BASE + i);
        else if (file == FILE_SHADOW)
            size += (size_t)snprintf(text + size, 80, "vm0-domid%u:$6$hunter2:::::::\n", i);
        else if (file == FILE_GROUP)
            size += (size_t)snprintf(text + size, 80, "vm0-domid%u::%u:\n", i, SCENE_BASE + i);
        else if (file == FILE_GSHADOW)
            size += (size_t)snprintf(text + size, 80, "vm0-domid%u:$6$hunter2:eve:\n", i);
    }
    text[size] = '\0';
    return text;
}

/* Others, all of whose lines but those of passwd are missing. */
static char *make_strangers(unsigned n)
{
    char *text = malloc(n * 80 + 64);
    size_t size = 0;

    assert_non_null(text);
    for (unsigned i = 0; i < n; i++)
        size += (size_t)snprintf(text + size, 80, "bob%u:x:%u:%u::/:/bin/false\n", i, 100000 + i,
                                 100000 + i);
    return text;
}

enum load { LOAD_NEW, LOAD_DONE, LOAD_REVERSED, LOAD_STRANGERS, LOADS };

static void scene_load(struct scene *s, enum load load, unsigned n)
{
    scene_begin(s);
    scene_pool(s, ACCOUNTS_PER_DOMID, n);
    s->settings[0].group_per_uid = true;
    if (load == LOAD_DONE)
        carry_out(s);
    for (enum account_file file = FILE_GROUP; load == LOAD_REVERSED && file < ACCOUNT_FILES;
         file++) {
        free(s->text[file]);
        s->text[file] = make_torn_file(file, n);
    }
    if (load == LOAD_STRANGERS) {
        free(s->text[FILE_PASSWD]);
        s->text[FILE_PASSWD] = make_strangers(n);
    }
}

/* The processor's seconds for a roster and a plan, the best of some. */
static double measure(const struct scene *s, const struct account_files *files)
{
    double best = 1e9;

    for (int round = 0; round < 5; round++) {
        _cleanup_(roster_clear) struct roster roster = {0};
        _cleanup_(plan_clear) struct plan plan = {0};
        _cleanup_(findings_clear) struct findings findings = {0};
        clock_t began = clock();
        double took;

        assert_int_equal(roster_make(&s->choices, &s->state, NULL, &roster), 0);
        assert_int_equal(plan_make(&s->choices, &s->state, files, &roster, NULL, &plan, &findings),
                         0);
        took = (double)(clock() - began) / CLOCKS_PER_SEC;
        best = took < best ? took : best;
    }
    return best;
}

static double measure_load(enum load load, unsigned n)
{
    _cleanup_(scene_clear) struct scene s = {0};
    struct account_files files = {0};
    double took;

    scene_load(&s, load, n);
    scene_parse(&s, &files);
    took = measure(&s, &files);
    for (size_t i = 0; i < ACCOUNT_FILES; i++)
        table_clear(&files.tables[i]);
    return took;
}

/* Sixteen times as many may take sixteen times as long, and caches three times that; a loop in a
 * loop would take 256 times as long. */
static void test_time_grows_with_the_files(void **state)
{
    static const char *const names[LOADS] = {"new", "done", "reversed", "strangers"};

    (void)state;
    for (enum load load = LOAD_NEW; load < LOADS; load++) {
        double small = measure_load(load, 2047), large = measure_load(load, 32752);

        print_message("%s: 2047 accounts %.2f ms, 32752 accounts %.2f ms\n", names[load],
                      small * 1e3, large * 1e3);
        assert_true(large < 50 * (small > 1e-4 ? small : 1e-4));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_wanted),
        cmocka_unit_test(test_a_new_pool),
        cmocka_unit_test(test_accounts_for_each_domid),
        cmocka_unit_test(test_new_lines_go_before_nis),
        cmocka_unit_test(test_users_keep_what_is_theirs),
        cmocka_unit_test(test_nobody_logs_in),
        cmocka_unit_test(test_a_password_that_waits),
        cmocka_unit_test(test_lines_that_are_missing),
        cmocka_unit_test(test_users_on_another_uid),
        cmocka_unit_test(test_uids_of_others),
        cmocka_unit_test(test_uids_and_gids_of_odd_lines),
        cmocka_unit_test(test_users_in_another_group),
        cmocka_unit_test(test_odd_lines_of_our_names),
        cmocka_unit_test(test_groups_keep_what_is_theirs),
        cmocka_unit_test(test_members_stay),
        cmocka_unit_test(test_groups_on_another_gid),
        cmocka_unit_test(test_gids_of_others),
        cmocka_unit_test(test_any_group_with_the_gid_will_do),
        cmocka_unit_test(test_a_user_with_another_group_needs_none),
        cmocka_unit_test(test_guards),
        cmocka_unit_test(test_a_guard_of_no_pool),
        cmocka_unit_test(test_grants_to_our_accounts),
        cmocka_unit_test(test_users_without_a_password),
        cmocka_unit_test(test_groups_without_gshadow),
        cmocka_unit_test(test_users_without_a_group),
        cmocka_unit_test(test_names_that_are_no_names),
        cmocka_unit_test(test_a_removed_account),
        cmocka_unit_test(test_an_account_comes_and_goes),
        cmocka_unit_test(test_steps_of_pools),
        cmocka_unit_test(test_changes_of_pools),
        cmocka_unit_test(test_the_longest_change_is_told_whole),
        cmocka_unit_test(test_steps_of_accounts),
        cmocka_unit_test(test_a_removal_that_was_cut_off),
        cmocka_unit_test(test_what_is_begun_comes_first),
        cmocka_unit_test(test_one_name_twice),
        cmocka_unit_test(test_many_conflicts_are_counted),
        cmocka_unit_test(test_time_grows_with_the_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
