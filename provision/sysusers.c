/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The roster as sysusers.d(5) has it, for who builds an image with systemd-sysusers and runs
 * nothing else in it. Writes to standard output. */
#include "provision/show.h"

#include "allocator/hostrange.h"
#include "build_config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* In quotes, as extract_first_word() of systemd and its specifiers want it. */
static void print_quoted(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            putchar('\\');
        if (*text == '%')
            putchar('%');
        putchar(*text);
    }
    putchar('"');
}

static void print_group(const char *name, gid_t gid)
{
    printf("g %s %" PRIu32 "\n", name, gid);
}

static void print_user(const struct wanted_user *user)
{
    printf("u %s %" PRIu32 ":%" PRIu32 " ", user->name, user->uid, user->gid);
    print_quoted(user->comment);
    printf(" /nonexistent /usr/sbin/nologin\n");
}

static bool roster_has_group(const struct roster *roster, gid_t gid)
{
    for (size_t i = 0; i < roster->n_groups; i++)
        if (roster->groups[i].gid == gid)
            return true;
    return false;
}

/* An account that was made by hand may have a group that nobody asked for: without it the user's
 * line is refused. */
static void print_followed_groups(const struct showing *s)
{
    const struct account_table *table = &s->files->tables[FILE_GROUP];

    for (size_t i = 0; i < s->roster->n_users; i++) {
        const struct wanted_user *user = &s->roster->users[i];
        const struct entry *group;
        char name[LOGIN_NAME_MAX_LENGTH + 1];

        if (!user->gid_follows || roster_has_group(s->roster, user->gid))
            continue;
        group = table_by_id(table, user->gid);
        if (!group || group->name_length >= sizeof(name))
            continue;
        memcpy(name, group->name, group->name_length);
        name[group->name_length] = '\0';
        if (login_name_is_valid(name))
            print_group(name, user->gid);
    }
}

static void print_pool(const struct chosen_pool *pool)
{
    const struct pool_settings *settings = pool->settings;

    printf("#   pool %s, uids %" PRIu32 " to %" PRIu32 ", policy %s, ", settings->name, pool->base,
           pool->base + (settings->size - 1), uidpool_policy_name(settings->policy));
    if (settings->group_per_uid)
        printf("each lease's gid is its uid, without a group\n");
    else
        printf("shared gid %" PRIu32 "\n", pool->gid);
}

/* What is in no line. */
static void print_rest(const struct showing *s)
{
    printf("#\n"
           "# What this format cannot say. 'uidpool-provision --root=IMAGE apply' does it all:\n"
           "# - Pools are kept in the ledger, /var/lib/uidpool/ledger.db:\n");
    for (size_t i = 0; i < s->choices->n; i++)
        if (s->choices->pools[i].fate != POOL_STUCK && s->choices->pools[i].fate != POOL_RETIRED)
            print_pool(&s->choices->pools[i]);
    if (s->roster->n_guards > 0)
        printf("# - Lines in /etc/subuid and /etc/subgid that keep useradd(8) off the ranges:\n");
    for (size_t i = 0; i < s->roster->n_guards; i++)
        printf("#   %s:%" PRIu32 ":%" PRIu32 "\n", HOSTRANGE_GUARD,
               s->roster->guards[i].range.first, s->roster->guards[i].range.count);
    printf("# - A number that is taken already: systemd-sysusers takes another and goes on.\n"
           "# - A password that somebody sets later: systemd-sysusers locks new accounts alone.\n");
    for (size_t i = 0; i < s->roster->n_users; i++)
        if (s->roster->users[i].expired)
            printf("# - %s is removed: its account must be expired as well.\n",
                   s->roster->users[i].name);
}

int show_sysusers(const struct showing *s)
{
    printf("# sysusers.d(5), by uidpool-provision %s\n", UIDPOOL_VERSION);
    for (size_t i = 0; i < s->roster->n_groups; i++)
        print_group(s->roster->groups[i].name, s->roster->groups[i].gid);
    print_followed_groups(s);
    for (size_t i = 0; i < s->roster->n_users; i++)
        print_user(&s->roster->users[i]);
    print_rest(s);
    return 0;
}
