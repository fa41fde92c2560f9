/* org.varlink.service: what every Varlink service says of itself. */
#include <string.h>

#include "control/call.h"
#include "control/embed.h"
#include "control/wire.h"

static void get_info(struct osh_call *call)
{
	if (!osh_call_unpack(call, ""))
		return;
	osh_call_reply(call,
		       json_pack("{s:s, s:s, s:s, s:s, s:[s, s]}", "vendor", "openshell", "product",
				 "openshelld", "version", OSH_VERSION, "url", "", "interfaces",
				 "org.varlink.service", OSH_WIRE_INTERFACE),
		       NULL, 0);
}

static const char service_interface[] =
	"# The Varlink service interface.\n"
	"interface org.varlink.service\n"
	"\n"
	"method GetInfo() -> (vendor: string, product: string, version: string, url: string,\n"
	"  interfaces: []string)\n"
	"method GetInterfaceDescription(interface: string) -> (description: string)\n"
	"\n"
	"error InterfaceNotFound (interface: string)\n"
	"error MethodNotFound (method: string)\n"
	"error MethodNotImplemented (method: string)\n"
	"error InvalidParameter (parameter: string)\n";

static void get_interface_description(struct osh_call *call)
{
	const char *interface, *text = NULL;

	if (!osh_call_unpack(call, "s:s", "interface", &interface))
		return;
	if (strcmp(interface, OSH_WIRE_INTERFACE) == 0)
		text = osh_embed_interface();
	else if (strcmp(interface, "org.varlink.service") == 0)
		text = service_interface;
	if (text)
		osh_call_reply(call, json_pack("{s:s}", "description", text), NULL, 0);
	else
		osh_call_error_object(call, "org.varlink.service.InterfaceNotFound",
				      json_pack("{s:s}", "interface", interface));
}

const struct osh_method osh_service_methods[] = {
	{ "GetInfo", get_info },
	{ "GetInterfaceDescription", get_interface_description },
	{ 0 },
};
