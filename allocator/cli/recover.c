/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * uidpool recover. Stands on uidpool.h alone.
 */
#include "allocator/cli/cli.h"
#include "common/log.h"

enum uidpool_status verb_recover(struct uidpool *u, const struct options *o)
{
    struct report report;
    enum uidpool_status status;

    report_begin(&report, "recovered", o);
    status = uidpool_recover(u, options_has(o, OPT(TIMEOUT)) ? o->timeout : CLI_TIMEOUT_RECOVER_SEC,
                             report_lease, &report);
    if (status == UIDPOOL_OK && report.n == 0 && o->verbose)
        log_notice("nothing to recover");
    return report_end(&report, u, status);
}
