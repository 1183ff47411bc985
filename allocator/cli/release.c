/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * uidpool release. Stands on uidpool.h alone.
 */
#include "allocator/cli/cli.h"

enum uidpool_status verb_release(struct uidpool *u, const struct options *o)
{
    struct uidpool_selector selector = cli_selector(o);
    struct report report;
    enum uidpool_status status;

    report_begin(&report, "released", o);
    status =
        uidpool_release(u, &selector, options_has(o, OPT(TIMEOUT)) ? o->timeout : CLI_TIMEOUT_SEC,
                        report_lease, &report);
    return report_end(&report, u, status);
}
