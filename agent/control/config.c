#include "control/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/fd.h"
#include "policy/host.h"

#define KNOWN_KEYS \
	"state_dir, run_dir, upstream_ca, upstream_proxy, upstream_proxy_credential, no_proxy, " \
	"dns_servers, workers, log_level"

void osh_config_init(struct osh_config *config)
{
	*config = (struct osh_config){ .log_level = OSH_LOG_INFO };
	snprintf(config->state_dir, sizeof(config->state_dir), "/var/lib/openshell");
	snprintf(config->run_dir, sizeof(config->run_dir), "/run/openshell");
}

/* ---- One value ---------------------------------------- */

static int set_path(char *path, size_t size, const char *key, const char *value,
		    struct osh_err *err)
{
	size_t len = strlen(value);

	if (value[0] != '/')
		return osh_err_set(err, EINVAL, "%s must be an absolute path, not \"%.128s\"", key,
				   value);
	if (len >= size)
		return osh_err_set(err, EINVAL, "%s is longer than %zu bytes", key, size - 1);
	while (len > 1 && value[len - 1] == '/')
		len--;
	memcpy(path, value, len);
	path[len] = '\0';
	return 0;
}

static bool is_address(const char *text)
{
	unsigned char address[sizeof(struct in6_addr)];

	return inet_pton(AF_INET, text, address) == 1 || inet_pton(AF_INET6, text, address) == 1;
}

static bool is_port(const char *text)
{
	uint64_t port;

	return osh_str_parse_u64(osh_str(text), 65535, &port) == 0 && port > 0;
}

/* addr, addr4:port or [addr6]:port */
static bool is_server(const char *text)
{
	char host[64];
	const char *end;

	if (is_address(text))
		return true;
	end = text[0] == '[' ? strstr(text, "]:") : strchr(text, ':');
	if (!end || (size_t)(end - text) >= sizeof(host))
		return false;
	text += text[0] == '[';
	memcpy(host, text, (size_t)(end - text));
	host[end - text] = '\0';
	return is_address(host) && is_port(end + (*end == ']' ? 2 : 1));
}

static int add_server(struct osh_config *config, const char *value, struct osh_err *err)
{
	size_t at = config->dns_server_count;

	if (at == OSH_DNS_SERVERS_MAX)
		return osh_err_set(err, EINVAL, "dns_servers: at most %d", OSH_DNS_SERVERS_MAX);
	if (strlen(value) >= sizeof(config->dns_servers[0]) || !is_server(value))
		return osh_err_set(
			err, EINVAL,
			"dns_servers: \"%.128s\" is not an address, with or without a port", value);
	snprintf(config->dns_servers[at], sizeof(config->dns_servers[at]), "%s", value);
	config->dns_server_count++;
	return 0;
}

/* "http://host:port", with or without its scheme and a slash behind it. */
static int set_proxy(struct osh_config *config, const char *value, struct osh_err *err)
{
	struct osh_str text = osh_str(value);
	struct osh_host host;
	uint16_t port_host;

	if (osh_str_has_prefix(text, "http://"))
		text = osh_str_n(text.data + 7, text.len - 7);
	if (osh_str_has_suffix(text, "/"))
		text.len--;
	if (osh_str_chr(text, '@'))
		return osh_err_set(err, EINVAL, "upstream_proxy: put the credential into a file, and its path "
						"into upstream_proxy_credential");
	if (osh_authority_parse(text, 0, &host, &port_host) < 0 || port_host == 0)
		return osh_err_set(err, EINVAL, "upstream_proxy must be http://HOST:PORT, not \"%.128s\"", value);
	snprintf(config->upstream_proxy, sizeof(config->upstream_proxy), "%s", host.text);
	config->upstream_proxy_port_host = port_host;
	return 0;
}

static int add_no_proxy(struct osh_config *config, const char *value, struct osh_err *err)
{
	struct osh_via_direct direct;

	if (config->no_proxy_count == OSH_VIA_DIRECT_MAX)
		return osh_err_set(err, EINVAL, "no_proxy: at most %d", OSH_VIA_DIRECT_MAX);
	if (osh_via_direct_parse(osh_str(value), &direct) < 0)
		return osh_err_set(err, EINVAL, "no_proxy: \"%.128s\" is no name, address or prefix", value);
	snprintf(config->no_proxy[config->no_proxy_count++], sizeof(config->no_proxy[0]), "%s", value);
	return 0;
}

static int set_workers(struct osh_config *config, const char *value, struct osh_err *err)
{
	uint64_t workers;

	if (osh_str_parse_u64(osh_str(value), UINT32_MAX, &workers) < 0 ||
	    workers > OSH_CONFIG_WORKERS_MAX)
		return osh_err_set(err, EINVAL,
				   "workers must be 0 (one per processor) to %d, not \"%.64s\"",
				   OSH_CONFIG_WORKERS_MAX, value);
	config->workers = (unsigned)workers;
	return 0;
}

static int set_log_level(struct osh_config *config, const char *value, struct osh_err *err)
{
	if (osh_log_level_parse(value, &config->log_level) < 0)
		return osh_err_set(err, EINVAL,
				   "log_level must be error, warning, info or debug, not \"%.64s\"",
				   value);
	return 0;
}

int osh_config_set(struct osh_config *config, const char *key, const char *value,
		   struct osh_err *err)
{
	if (strcmp(key, "state_dir") == 0)
		return set_path(config->state_dir, sizeof(config->state_dir), key, value, err);
	if (strcmp(key, "run_dir") == 0)
		return set_path(config->run_dir, sizeof(config->run_dir), key, value, err);
	if (strcmp(key, "upstream_ca") == 0)
		return set_path(config->upstream_ca, sizeof(config->upstream_ca), key, value, err);
	if (strcmp(key, "upstream_proxy") == 0)
		return set_proxy(config, value, err);
	if (strcmp(key, "upstream_proxy_credential") == 0)
		return set_path(config->upstream_proxy_credential, sizeof(config->upstream_proxy_credential),
				key, value, err);
	if (strcmp(key, "no_proxy") == 0)
		return add_no_proxy(config, value, err);
	if (strcmp(key, "dns_servers") == 0)
		return add_server(config, value, err);
	if (strcmp(key, "workers") == 0)
		return set_workers(config, value, err);
	if (strcmp(key, "log_level") == 0)
		return set_log_level(config, value, err);
	return osh_err_set(err, EINVAL, "unknown key \"%.64s\" (known: " KNOWN_KEYS ")", key);
}

/* ---- The file ---------------------------------------- */

struct reading {
	struct osh_config *config;
	yaml_document_t *document;
	const char *name;
	struct osh_err *err;
};

/* Put the place in front of err's message. */
static int fail_at(struct reading *reading, yaml_mark_t mark)
{
	return osh_err_wrap(reading->err, "%.200s:%zu:%zu", reading->name, mark.line + 1,
			    mark.column + 1);
}

/* The text of a scalar, or NULL: no scalar, or with a NUL inside. */
static const char *scalar_text(const yaml_node_t *node)
{
	const char *text = (const char *)node->data.scalar.value;

	if (node->type != YAML_SCALAR_NODE || strlen(text) != node->data.scalar.length)
		return NULL;
	return text;
}

static int apply_scalar(struct reading *reading, const char *key, const yaml_node_t *node)
{
	const char *text = scalar_text(node);

	if (!text)
		osh_err_set(reading->err, EINVAL, "%.64s takes one plain value", key);
	else if (osh_config_set(reading->config, key, text, reading->err) == 0)
		return 0;
	return fail_at(reading, node->start_mark);
}

static int apply_list(struct reading *reading, const char *key, const yaml_node_t *node)
{
	if (node->type != YAML_SEQUENCE_NODE) {
		osh_err_set(reading->err, EINVAL, "%s takes a list", key);
		return fail_at(reading, node->start_mark);
	}
	for (yaml_node_item_t *item = node->data.sequence.items.start;
	     item < node->data.sequence.items.top; item++) {
		int r = apply_scalar(reading, key,
				     yaml_document_get_node(reading->document, *item));

		if (r < 0)
			return r;
	}
	return 0;
}

static bool is_repeated(struct reading *reading, const yaml_node_t *map,
			const yaml_node_pair_t *pair)
{
	const char *key = scalar_text(yaml_document_get_node(reading->document, pair->key));

	for (const yaml_node_pair_t *p = map->data.mapping.pairs.start; p < pair; p++) {
		const char *other = scalar_text(yaml_document_get_node(reading->document, p->key));

		if (key && other && strcmp(key, other) == 0)
			return true;
	}
	return false;
}

static int apply_pair(struct reading *reading, const yaml_node_t *map, const yaml_node_pair_t *pair)
{
	const yaml_node_t *key_node = yaml_document_get_node(reading->document, pair->key);
	const yaml_node_t *value = yaml_document_get_node(reading->document, pair->value);
	const char *key = scalar_text(key_node);

	if (!key || is_repeated(reading, map, pair)) {
		osh_err_set(reading->err, EINVAL, key ? "key \"%.64s\" is repeated" : "not a key",
			    key);
		return fail_at(reading, key_node->start_mark);
	}
	if (strcmp(key, "dns_servers") == 0 || strcmp(key, "no_proxy") == 0)
		return apply_list(reading, key, value);
	return apply_scalar(reading, key, value);
}

static int apply_document(struct reading *reading)
{
	yaml_node_t *root = yaml_document_get_root_node(reading->document);

	if (!root)
		return 0; /* empty, or nothing but comments */
	if (root->type != YAML_MAPPING_NODE) {
		osh_err_set(reading->err, EINVAL, "expected \"key: value\" lines (" KNOWN_KEYS ")");
		return fail_at(reading, root->start_mark);
	}
	for (yaml_node_pair_t *pair = root->data.mapping.pairs.start;
	     pair < root->data.mapping.pairs.top; pair++) {
		int r = apply_pair(reading, root, pair);

		if (r < 0)
			return r;
	}
	return 0;
}

static int load_document(struct reading *reading, yaml_parser_t *parser)
{
	yaml_mark_t mark;

	if (yaml_parser_load(parser, reading->document))
		return 0;
	if (parser->error == YAML_MEMORY_ERROR || !parser->problem)
		return osh_err_sys(reading->err, ENOMEM, "%.200s", reading->name);
	mark = parser->problem_mark;
	osh_err_set(reading->err, EINVAL, "%s", parser->problem);
	return fail_at(reading, mark);
}

int osh_config_parse(struct osh_config *config, struct osh_str text, const char *name,
		     struct osh_err *err)
{
	yaml_document_t document;
	struct osh_err unread;
	struct reading reading = {
		.config = config, .document = &document, .name = name, .err = err ? err : &unread
	};
	yaml_parser_t parser;
	int r;

	if (!yaml_parser_initialize(&parser))
		return osh_err_sys(err, ENOMEM, "%.200s", name);
	yaml_parser_set_input_string(&parser, (const unsigned char *)text.data, text.len);
	r = load_document(&reading, &parser);
	if (r == 0) {
		r = apply_document(&reading);
		yaml_document_delete(&document);
	}
	yaml_parser_delete(&parser);
	return r;
}

int osh_config_load(struct osh_config *config, const char *path, bool optional, struct osh_err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int r = osh_read_file(path, OSH_CONFIG_BYTES_MAX, &text, &len);

	if (r == -ENOENT && optional)
		return 0;
	if (r < 0)
		return osh_err_sys(err, -r, "cannot read the configuration %s", path);
	return osh_config_parse(config, osh_str_n(text, len), path, err);
}
