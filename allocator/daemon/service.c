/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* org.varlink.service: what is here, and what language it speaks. Source: varlink.org,
 * "Service Interface"; PermissionDenied and ExpectedMore as systemd has them. */
#include "allocator/daemon/connection.h"

#include "build_config.h"
#include "common/cleanup.h"

#include <string.h>

static const char description[] =
    "# What every varlink service has: its name, and its interfaces.\n"
    "interface org.varlink.service\n"
    "\n"
    "# All interfaces of the service, and who has made it.\n"
    "method GetInfo() -> (\n"
    "  vendor: string,\n"
    "  product: string,\n"
    "  version: string,\n"
    "  url: string,\n"
    "  interfaces: []string\n"
    ")\n"
    "\n"
    "# The description of one of them.\n"
    "method GetInterfaceDescription(interface: string) -> (description: string)\n"
    "\n"
    "# There is no such interface.\n"
    "error InterfaceNotFound (interface: string)\n"
    "\n"
    "# The interface has no such method.\n"
    "error MethodNotFound (method: string)\n"
    "\n"
    "# The interface has this method, but the service has not.\n"
    "error MethodNotImplemented (method: string)\n"
    "\n"
    "# A parameter is missing, unknown, or not what it should be.\n"
    "error InvalidParameter (parameter: string)\n"
    "\n"
    "# The caller may not do this.\n"
    "error PermissionDenied ()\n"
    "\n"
    "# This method answers only calls that say `more`.\n"
    "error ExpectedMore ()\n";

static json_t *interface_names(const struct server *s)
{
    json_t *names = json_array();

    for (size_t i = 0; i < s->n_interfaces; i++)
        (void)json_array_append_new(names, json_string(s->interfaces[i]->name));
    return names;
}

static void get_info(struct call *call, void *userdata)
{
    static const char *const known[] = {NULL};
    const char *unknown = message_unknown(call_parameters(call), known);

    if (unknown)
        call_invalid(call, unknown);
    else
        call_reply(call, json_pack("{s:s, s:s, s:s, s:s, s:o}", "vendor", "uidpool", "product",
                                   "uidpoold", "version", UIDPOOL_VERSION, "url", "", "interfaces",
                                   interface_names(userdata)));
}

static void get_description(struct call *call, void *userdata)
{
    static const char *const known[] = {"interface", NULL};
    const json_t *parameters = call_parameters(call);
    const char *unknown = message_unknown(parameters, known), *name;
    const struct server *s = userdata;

    if (unknown || message_get_text(parameters, "interface", &name) <= 0) {
        call_invalid(call, unknown ? unknown : "interface");
        return;
    }
    for (size_t i = 0; i < s->n_interfaces; i++) {
        if (strcmp(s->interfaces[i]->name, name) == 0) {
            call_reply(call, json_pack("{s:s}", "description", s->interfaces[i]->description));
            return;
        }
    }
    call_error(call, "org.varlink.service.InterfaceNotFound",
               json_pack("{s:s}", "interface", name));
}

struct interface service_interface(struct server *s)
{
    static const struct method methods[] = {
        {.name = "GetInfo", .needs = PERMISSION_ANYONE, .handle = get_info},
        {.name = "GetInterfaceDescription", .needs = PERMISSION_ANYONE, .handle = get_description},
    };

    return (struct interface){.name = "org.varlink.service",
                              .description = description,
                              .methods = methods,
                              .n_methods = ELEMENTS_OF(methods),
                              .userdata = s};
}
