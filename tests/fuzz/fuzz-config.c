/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzzes the configuration, libeconf included. What is accepted must hang together: every section
 * and key that is listed can be asked for, and no value holds a line break.
 */
#include "common/config.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[] = "/tmp/fuzz-config-XXXXXX";
static char file[sizeof(dir) + 16];

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void clean_up(void)
{
    (void)unlink(file);
    (void)rmdir(dir);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    require(mkdtemp(dir) != NULL);
    snprintf(file, sizeof(file), "%s/uidpool.conf", dir);
    atexit(clean_up);
    return 0;
}

static void check(const struct config *c)
{
    for (const char *const *s = config_sections(c); *s; s++) {
        require(**s != '\0');
        for (const char *const *k = config_keys(c, *s); *k; k++) {
            const char *value = config_get(c, *s, *k);

            require(**k != '\0' && value && !strpbrk(value, "\n\r"));
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config *c = NULL;
    struct problem p = {0};
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    require(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    close(fd);
    if (config_read(NULL, dir, &c, &p) == UIDPOOL_OK) {
        check(c);
        config_free(c);
    } else {
        require(c == NULL && p.status != UIDPOOL_OK && p.text[0] != '\0');
    }
    return 0;
}
