/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads the one section of the configuration that the allocator itself needs. */
#include "allocator/places.h"

#include "common/cleanup.h"
#include "common/config.h"

#include <errno.h>
#include <string.h>

/* Split at white space. `file` is where it stands. */
static enum uidpool_status split(const char *text, const char *file, struct places *places,
                                 struct problem *p)
{
    size_t n = 0;
    char *rest = NULL;

    places->text = strdup(text);
    places->items = calloc(strlen(text) / 2 + 2, sizeof(*places->items));
    if (!places->text || !places->items)
        return problem_errno(p, -ENOMEM, "cannot read the configuration");
    for (char *place = strtok_r(places->text, " \t\n", &rest); place;
         place = strtok_r(NULL, " \t\n", &rest)) {
        if (place[0] != '/')
            return problem_set(p, UIDPOOL_FAILED, "%s, [residue] Places=: %s is no absolute path",
                               file, place);
        places->items[n++] = place;
    }
    return UIDPOOL_OK;
}

enum uidpool_status places_read(const char *dir, struct places *ret, struct problem *p)
{
    _cleanup_(config_freep) struct config *config = NULL;
    struct places places = {NULL, NULL};
    enum uidpool_status status = config_read(NULL, dir, &config, p);
    const char *text = NULL;

    if (status == UIDPOOL_OK)
        status = config_check_keys(config, "residue", (const char *const[]){"Places", NULL}, p);
    if (status == UIDPOOL_OK)
        text = config_get(config, "residue", "Places");
    if (text)
        status = split(text, config_file(config, "residue", "Places"), &places, p);
    if (status == UIDPOOL_OK)
        *ret = places;
    else
        places_clear(&places);
    return status;
}

void places_clear(struct places *places)
{
    free(places->items);
    free(places->text);
    *places = (struct places){NULL, NULL};
}
