/* Document to image: entries in order of their keys, endpoints in order of entries. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "policy/builder.h"
#include "policy/glob.h"
#include "policy/text.h"

/* ---- Binaries ------------------------------------------------------------ */

struct compiler {
	struct osh_builder builder;
	const struct osh_policy_compile_options *options;
	const struct osh_entry **entries; /* sorted */
	const struct osh_endpoint **endpoints;
	struct osh_image_entry *image_entries;
	struct osh_image_endpoint *image_endpoints;
	size_t endpoint_count;
};

static uint32_t compile_digest(struct osh_builder *b, struct osh_str hex)
{
	unsigned char digest[32];

	if (hex.len != 2 * sizeof(digest))
		return 0;
	for (size_t i = 0; i < sizeof(digest); i++)
		digest[i] = (unsigned char)(osh_hex_value(hex.data[2 * i]) << 4 |
					    osh_hex_value(hex.data[2 * i + 1]));
	return osh_builder_share(b, digest, sizeof(digest));
}

static struct osh_image_binary compile_binary(struct compiler *c, const struct osh_binary *binary,
					      struct osh_str path)
{
	return (struct osh_image_binary){
		.hash = (uint32_t)osh_image_hash(path),
		.path = osh_builder_str(&c->builder, path),
		.digest = compile_digest(&c->builder, binary->sha256.text),
		.clean = binary->clean.value,
	};
}

static int compare_binaries(const void *a, const void *b)
{
	const struct osh_image_binary *x = a, *y = b;

	return x->hash < y->hash ? -1 : x->hash > y->hash;
}

static void compile_binaries(struct compiler *c, const struct osh_entry *entry,
			     struct osh_image_entry *out)
{
	/* Each literal path may bring its link's target along. */
	_cleanup_free_ struct osh_image_binary *exact =
		calloc(2 * entry->binary_count + 1, sizeof(*exact));
	_cleanup_free_ struct osh_image_binary *globs =
		calloc(entry->binary_count + 1, sizeof(*globs));
	size_t exact_count = 0, glob_count = 0;

	if (!exact || !globs) {
		c->builder.error = -ENOMEM;
		return;
	}
	for (size_t i = 0; i < entry->binary_count; i++) {
		const struct osh_binary *binary = &entry->binaries[i];
		struct osh_str path = binary->path.text;
		char target[OSH_PATH_MAX];
		int leads;

		if (osh_str_chr(path, '*')) {
			globs[glob_count] = compile_binary(c, binary, path);
			globs[glob_count].glob = osh_builder_glob(&c->builder, path, '/');
			glob_count += globs[glob_count].glob != 0;
			continue;
		}
		leads = c->options->resolve_binary ?
				c->options->resolve_binary(c->options->context, path.data, target,
							   sizeof(target)) : -1;
		if (leads != 1)
			exact[exact_count++] = compile_binary(c, binary, path);
		if (leads >= 0 && !osh_str_eq_c(path, target))
			exact[exact_count++] = compile_binary(c, binary, osh_str(target));
	}
	qsort(exact, exact_count, sizeof(*exact), compare_binaries);
	out->exact = osh_builder_list(&c->builder, exact, sizeof(*exact), exact_count);
	out->globs = osh_builder_list(&c->builder, globs, sizeof(*globs), glob_count);
}

/* ---- Endpoints ----------------------------------------------------------- */

/* The route is chosen by a looser reading of the selector: a star crosses slashes there,
 * and "/x" with two stars behind it picks "/x", too. A delimiter that no path holds gives
 * the first. */
static uint32_t compile_loose_path(struct osh_builder *b, struct osh_str path)
{
	char text[OSH_GLOB_PATTERN_MAX + 8];
	size_t len = 0;

	if (path.len == 0 || path.len > OSH_GLOB_PATTERN_MAX / 2)
		return osh_builder_glob(b, path, '\1');
	if (osh_str_has_suffix(path, "/**") && path.len > 3 && 2 * path.len + 4 < sizeof(text)) {
		text[len++] = '{';
		memcpy(text + len, path.data, path.len - 3);
		len += path.len - 3;
		text[len++] = ',';
		memcpy(text + len, path.data, path.len);
		len += path.len;
		text[len++] = '}';
		/* A comma or brace of its own would change the group's meaning. */
		if (!osh_str_chr(path, ',') && !osh_str_chr(path, '{'))
			return osh_builder_glob(b, osh_str_n(text, len), '\1');
	}
	return osh_builder_glob(b, path, '\1');
}

static uint16_t endpoint_flags(const struct osh_endpoint *e)
{
	unsigned flags = 0;

	flags |= e->tls_skip ? OSH_IMAGE_TLS_SKIP : 0;
	flags |= e->enforce ? OSH_IMAGE_ENFORCE : 0;
	flags |= e->allow_encoded_slash.value ? OSH_IMAGE_ENCODED_SLASH : 0;
	flags |= !e->hostless && !e->host_is_glob ? OSH_IMAGE_HOST_EXACT : 0;
	flags |= e->cidr_count ? OSH_IMAGE_HAS_IPS : 0;
	flags |= e->request_body_credential_rewrite.value ? OSH_IMAGE_REWRITE_BODY : 0;
	flags |= e->websocket_credential_rewrite.value ? OSH_IMAGE_REWRITE_TEXT : 0;
	flags |= e->allow_uninspected_credentials.value ? OSH_IMAGE_UNINSPECTED_CREDENTIALS : 0;
	flags |= e->is_tcp ? OSH_IMAGE_TCP : 0;
	flags |= e->credential_signing.set ? OSH_IMAGE_SIGNED : 0;
	flags |= osh_str_eq_c(e->persisted_queries.text, "allow_registered") ?
			 OSH_IMAGE_REGISTERED :
			 0;
	if (e->mcp.strict_tool_names.set && !e->mcp.strict_tool_names.value)
		flags |= OSH_IMAGE_LOOSE_TOOLS;
	flags |= e->mcp.allow_all_known_mcp_methods.value ? OSH_IMAGE_MCP_PROFILE : 0;
	return (uint16_t)flags;
}

static struct osh_image_list compile_ips(struct osh_builder *b, const struct osh_endpoint *e)
{
	_cleanup_free_ struct osh_image_cidr *ips = calloc(e->cidr_count + 1, sizeof(*ips));

	if (!ips) {
		b->error = -ENOMEM;
		return (struct osh_image_list){ 0 };
	}
	for (size_t i = 0; i < e->cidr_count; i++)
		ips[i] = (struct osh_image_cidr){ .addr = e->cidrs[i].addr,
						  .bits = e->cidrs[i].bits };
	return osh_builder_list(b, ips, sizeof(*ips), e->cidr_count);
}

static uint32_t compile_extras(struct osh_builder *b, const struct osh_endpoint *e)
{
	struct osh_image_extras extras;

	if (e->cidr_count == 0 && e->registry.count == 0 &&
	    e->credential_binding.provider.text.len == 0)
		return 0;
	extras = (struct osh_image_extras){
		.ips = compile_ips(b, e),
		.provider = osh_builder_str(b, e->credential_binding.provider.text),
		.registry = osh_compile_registry(b, e),
	};
	return osh_builder_share(b, &extras, sizeof(extras));
}

static void compile_endpoint(struct osh_builder *b, const struct osh_endpoint *e, uint32_t entry,
			     struct osh_image_endpoint *out)
{
	*out = (struct osh_image_endpoint){
		.entry = entry,
		.line = e->mark.line,
		.flags = endpoint_flags(e),
		.l7 = (uint16_t)e->l7,
		.specificity = (uint32_t)osh_path_specificity(e->path.text),
		.body_limit = e->body_limit,
	};
	out->ports = osh_builder_list(b, e->port_list, sizeof(*e->port_list), e->port_count);
	if (e->path.text.len) {
		out->path_strict = osh_builder_glob(b, e->path.text, '/');
		out->path_loose = compile_loose_path(b, e->path.text);
	}
	out->extras = compile_extras(b, e);
	osh_compile_rules(b, e, out);
}

/* Hosts that are addresses: a client may dial them without a name. */
static void compile_literals(struct compiler *c, struct osh_image_header *header)
{
	_cleanup_free_ struct osh_image_literal *out =
		calloc(c->endpoint_count + 1, sizeof(*out));
	size_t count = 0;

	if (!out) {
		c->builder.error = -ENOMEM;
		return;
	}
	for (size_t i = 0; i < c->endpoint_count; i++) {
		if (!c->endpoints[i]->host_is_address)
			continue;
		out[count].host = osh_builder_str(&c->builder, c->endpoints[i]->host_text);
		out[count++].ports = c->image_endpoints[i].ports;
	}
	header->literals = osh_builder_list(&c->builder, out, sizeof(*out), count);
}

/* ---- Middlewares --------------------------------------------------------- */

static struct osh_image_list compile_patterns(struct osh_builder *b, const struct osh_texts *texts)
{
	_cleanup_free_ uint32_t *globs = calloc(texts->count + 1, sizeof(*globs));

	if (!globs) {
		b->error = -ENOMEM;
		return (struct osh_image_list){ 0 };
	}
	for (size_t i = 0; i < texts->count; i++)
		globs[i] = osh_builder_glob(b, texts->items[i].text, '.');
	return osh_builder_list(b, globs, sizeof(*globs), texts->count);
}

static void compile_middlewares(struct osh_builder *b, const struct osh_policy_doc *doc,
				struct osh_image_header *header)
{
	_cleanup_free_ struct osh_image_middleware *out =
		calloc(doc->middleware_count + 1, sizeof(*out));
	size_t count = 0;

	if (!out) {
		b->error = -ENOMEM;
		return;
	}
	for (size_t i = 0; i < doc->middleware_count; i++) {
		const struct osh_middleware *m = &doc->middlewares[i];

		if (m->fail_open)
			continue;
		out[count].key = osh_builder_str(b, m->key.text);
		out[count].include = compile_patterns(b, &m->include);
		out[count++].exclude = compile_patterns(b, &m->exclude);
	}
	header->middlewares = osh_builder_list(b, out, sizeof(*out), count);
}

/* ---- All ----------------------------------------------------------------- */

static int compare_entries(const void *a, const void *b)
{
	struct osh_str x = (*(const struct osh_entry *const *)a)->key.text;
	struct osh_str y = (*(const struct osh_entry *const *)b)->key.text;
	size_t len = x.len < y.len ? x.len : y.len;
	int order = len ? memcmp(x.data, y.data, len) : 0;

	return order ? order : x.len < y.len ? -1 : x.len > y.len;
}

static size_t count_endpoints(const struct osh_policy_doc *doc)
{
	size_t count = 0;

	for (size_t i = 0; i < doc->entry_count; i++)
		count += doc->entries[i].endpoint_count;
	return count;
}

static int prepare(struct compiler *c, const struct osh_policy_doc *doc)
{
	size_t endpoints = count_endpoints(doc);

	c->entries = calloc(doc->entry_count + 1, sizeof(*c->entries));
	c->endpoints = calloc(endpoints + 1, sizeof(*c->endpoints));
	c->image_entries = calloc(doc->entry_count + 1, sizeof(*c->image_entries));
	c->image_endpoints = calloc(endpoints + 1, sizeof(*c->image_endpoints));
	if (!c->entries || !c->endpoints || !c->image_entries || !c->image_endpoints)
		return -ENOMEM;
	for (size_t i = 0; i < doc->entry_count; i++)
		c->entries[i] = &doc->entries[i];
	qsort(c->entries, doc->entry_count, sizeof(*c->entries), compare_entries);
	return 0;
}

static struct osh_policy_limits compile_limits(const struct osh_limits *limits)
{
	return (struct osh_policy_limits){
		.flows = (uint32_t)limits->flows.value,
		.flows_per_second = (uint32_t)limits->flows_per_second.value,
		.bytes_per_second = (uint32_t)limits->bytes_per_second.value,
	};
}

static void compile_entry(struct compiler *c, const struct osh_entry *entry, uint32_t number)
{
	struct osh_image_entry *out = &c->image_entries[number];

	out->key = osh_builder_str(&c->builder, entry->key.text);
	out->line = entry->key.mark.line;
	out->limits = compile_limits(&entry->limits);
	compile_binaries(c, entry, out);
	for (size_t i = 0; i < entry->endpoint_count && !c->builder.error; i++) {
		c->endpoints[c->endpoint_count] = &entry->endpoints[i];
		compile_endpoint(&c->builder, &entry->endpoints[i], number,
				 &c->image_endpoints[c->endpoint_count]);
		c->endpoint_count++;
	}
}

static int compile_all(struct compiler *c, const struct osh_policy_doc *doc)
{
	struct osh_image_header header = {
		.magic = OSH_IMAGE_MAGIC,
		.version = OSH_IMAGE_VERSION,
		.revision = c->options->revision,
		.permissive = doc->permissive,
		.limits = compile_limits(&doc->limits),
	};

	osh_builder_reserve(&c->builder, 16384 + 256 * count_endpoints(doc));
	osh_builder_put(&c->builder, NULL, sizeof(header));
	for (size_t i = 0; i < doc->entry_count && !c->builder.error; i++)
		compile_entry(c, c->entries[i], (uint32_t)i);
	header.entries.count = (uint32_t)doc->entry_count;
	header.entries.offset = osh_builder_put_at_line(
		&c->builder, c->image_entries, sizeof(*c->image_entries) * doc->entry_count);
	header.endpoints.count = (uint32_t)c->endpoint_count;
	header.endpoints.offset =
		osh_builder_put_at_line(&c->builder, c->image_endpoints,
					sizeof(*c->image_endpoints) * c->endpoint_count);
	osh_compile_hosts(&c->builder, c->endpoints, c->endpoint_count, &header);
	compile_literals(c, &header);
	compile_middlewares(&c->builder, doc, &header);
	osh_builder_put(&c->builder, NULL, 8); /* nothing before it ends at the very end */
	if (c->builder.error)
		return c->builder.error;
	header.len = (uint32_t)c->builder.len;
	memcpy(c->builder.data, &header, sizeof(header));
	return 0;
}

int osh_policy_compile(const struct osh_policy_doc *doc,
		       const struct osh_policy_compile_options *options, void **ret_image,
		       size_t *ret_len)
{
	static const struct osh_policy_compile_options no_options = { 0 };
	struct compiler c = { .options = options ? options : &no_options };
	int r = prepare(&c, doc);

	if (r == 0)
		r = compile_all(&c, doc);
	free(c.entries);
	free(c.endpoints);
	free(c.image_entries);
	free(c.image_endpoints);
	osh_builder_done(&c.builder, r == 0);
	if (r < 0)
		return r;
	*ret_image = c.builder.data;
	*ret_len = c.builder.len;
	return 0;
}
