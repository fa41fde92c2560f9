/* Where a policy's tree holds a host and port. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "policy/edit_ops.h"
#include "policy/edit_tree.h"
#include "policy/host.h"

int osh_edit_no_memory(struct osh_editor *e)
{
	return osh_err_set(e->err, ENOMEM, "out of memory");
}

struct osh_yaml_node *osh_edit_network(const struct osh_editor *e)
{
	struct osh_yaml_node *network = osh_tree_find(e->root, "network_policies");

	return network && network->kind == OSH_YAML_MAPPING ? network : NULL;
}

struct osh_yaml_node *osh_edit_first_entry(const struct osh_editor *e)
{
	struct osh_yaml_node *network = osh_edit_network(e);

	return network ? network->first : NULL;
}

struct osh_yaml_node *osh_edit_first_endpoint(const struct osh_yaml_node *entry)
{
	struct osh_yaml_node *endpoints = osh_tree_find(entry, "endpoints");

	return endpoints ? endpoints->first : NULL;
}

/* ---- Hosts and ports ---------------------------------------- */

/* Patterns are compared as they are written, but for case; addresses by what they mean. */
static bool same_host(struct osh_str a, struct osh_str b)
{
	struct osh_host x, y;

	if (osh_str_caseeq(a, b))
		return true;
	return osh_host_parse(a, &x) == 0 && osh_host_parse(b, &y) == 0 &&
	       x.kind != OSH_HOST_NAME && strcmp(x.text, y.text) == 0;
}

static bool is_port(const struct osh_yaml_node *node, uint16_t port_host)
{
	uint64_t value;

	return node && osh_str_parse_u64(node->text, UINT16_MAX, &value) == 0 && value == port_host;
}

struct osh_yaml_node *osh_edit_find_port(const struct osh_yaml_node *ports, uint16_t port_host)
{
	struct osh_yaml_node *port = ports ? ports->first : NULL;

	while (port && !is_port(port, port_host))
		port = port->next;
	return port;
}

/* `ports` wins where both are written. */
bool osh_edit_is_at(const struct osh_yaml_node *endpoint, struct osh_str host, uint16_t port_host)
{
	const struct osh_yaml_node *ports = osh_tree_find(endpoint, "ports");

	if (!same_host(osh_tree_text(endpoint, "host"), host))
		return false;
	return ports ? osh_edit_find_port(ports, port_host) != NULL
		     : is_port(osh_tree_find(endpoint, "port"), port_host);
}

bool osh_edit_covers(const struct osh_yaml_node *entry, struct osh_str host, uint16_t port_host)
{
	for (const struct osh_yaml_node *p = osh_edit_first_endpoint(entry); p; p = p->next) {
		if (osh_edit_is_at(p, host, port_host))
			return true;
	}
	return false;
}

int osh_edit_set_port(struct osh_editor *e, struct osh_yaml_node *endpoint, uint16_t port_host)
{
	char text[8];

	snprintf(text, sizeof(text), "%u", port_host);
	return osh_tree_set(&e->arena, endpoint, "port",
			    osh_tree_scalar(&e->arena, osh_str(text), true));
}

int osh_edit_split_port(struct osh_editor *e, struct osh_yaml_node *entry,
			struct osh_yaml_node **endpoint, uint16_t port_host)
{
	struct osh_yaml_node *endpoints = osh_tree_find(entry, "endpoints");
	struct osh_yaml_node *ports = osh_tree_find(*endpoint, "ports"), *copy;

	if (!ports || ports->count < 2)
		return 0;
	copy = osh_tree_copy(&e->arena, *endpoint);
	if (!copy)
		return osh_edit_no_memory(e);
	osh_tree_remove(copy, osh_tree_find(copy, "ports"));
	if (osh_edit_set_port(e, copy, port_host) < 0)
		return osh_edit_no_memory(e);
	osh_tree_remove(ports, osh_edit_find_port(ports, port_host));
	osh_tree_insert_after(endpoints, *endpoint, copy);
	*endpoint = copy;
	return 0;
}
