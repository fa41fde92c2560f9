/* The host of an endpoint: a name, an address, a pattern, or none. */
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "policy/document.h"
#include "policy/glob.h"
#include "policy/host.h"

static bool is_blank(struct osh_str s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (s.data[i] != ' ' && s.data[i] != '\t')
			return false;
	}
	return true;
}

static struct osh_str last_label(struct osh_str host)
{
	size_t i = host.len;

	while (i > 0 && host.data[i - 1] != '.')
		i--;
	return osh_str_n(host.data + i, host.len - i);
}

static size_t count_labels(struct osh_str host)
{
	size_t labels = 1;

	for (size_t i = 0; i < host.len; i++)
		labels += host.data[i] == '.';
	return labels;
}

/* Stars may stand for a whole label anywhere, for a part only in the first one, and `**`
 * only as the whole first one. */
static const char *find_wildcard_fault(struct osh_str host)
{
	size_t start = 0;

	if (osh_str_eq_c(host, "*") || osh_str_eq_c(host, "**"))
		return "matches every host";
	if (count_labels(host) <= 2)
		return osh_str_chr(last_label(host), '*') || osh_str_has_prefix(host, "*.") ||
				       osh_str_has_prefix(host, "**.") ?
			       "is a wildcard directly under a TLD" :
			       "is an intra-label wildcard in a two-label name";
	for (size_t i = 0; i <= host.len; i++) {
		struct osh_str label;

		if (i < host.len && host.data[i] != '.')
			continue;
		label = osh_str_n(host.data + start, i - start);
		if (label.len == 0)
			return "holds empty labels";
		if (label.len >= 2 && memmem(label.data, label.len, "**", 2)) {
			if (start > 0)
				return "has ** outside the first label";
			if (label.len > 2)
				return "has text beside **: it must be the whole first label";
		} else if (start > 0 && osh_str_chr(label, '*') && label.len > 1) {
			return "has a partial wildcard outside the first label";
		}
		start = i + 1;
	}
	return NULL;
}

static bool host_glob_is_broken(struct osh_str host)
{
	unsigned char *code = NULL;
	size_t len;
	bool broken;

	/* A '.' inside brackets or braces would hide a label's end. */
	if (osh_str_chr(host, '{') || osh_str_chr(host, '\\'))
		return true;
	broken = osh_glob_compile(host, '.', &code, &len) != OSH_GLOB_OK;
	free(code);
	for (size_t i = 0, depth = 0; i < host.len && !broken; i++) {
		depth += host.data[i] == '[';
		depth -= depth && host.data[i] == ']';
		broken = depth && host.data[i] == '.';
	}
	return broken;
}

static void check_host_text(struct osh_endpoint *e, struct osh_diags *diags)
{
	struct osh_str host = e->host_text;
	struct osh_host parsed;

	if (host.len >= OSH_HOST_MAX) {
		osh_diag_error(diags, e->host.mark, "host is longer than 255 bytes");
		return;
	}
	if (osh_str_chr(host, '*')) {
		const char *fault = find_wildcard_fault(host);

		e->host_is_glob = true;
		if (fault)
			osh_diag_error(diags, e->host.mark, "host '%.*s' %s", OSH_DIAG_VALUE(host),
				       fault);
		else if (host_glob_is_broken(host))
			osh_diag_error(diags, e->host.mark,
				       "malformed host pattern '%.*s' (use * and ** and ? "
				       "and [..] only)",
				       OSH_DIAG_VALUE(host));
		return;
	}
	if (host.data[host.len - 1] == '.') {
		if (!e->is_tcp)
			osh_diag_warning(diags, e->host.mark,
					 "host '%.*s' ends in a dot: it matches nothing, "
					 "because names are compared without it",
					 OSH_DIAG_VALUE(host));
		return;
	}
	if (osh_host_parse(host, &parsed) < 0) {
		if (!e->is_tcp)
			osh_diag_warning(diags, e->host.mark,
					 "host '%.*s' is not a valid name or address: it "
					 "matches nothing",
					 OSH_DIAG_VALUE(host));
		return;
	}
	e->host_is_address = parsed.kind != OSH_HOST_NAME;
	e->host_addr = parsed.addr;
}

int osh_check_host(struct osh_policy_doc *doc, struct osh_endpoint *e, struct osh_diags *diags)
{
	struct osh_host parsed;
	char *lower;

	e->hostless = is_blank(e->host.text);
	if (e->hostless) {
		if (e->is_tcp)
			osh_diag_error(diags, e->mark, "protocol tcp needs a hostname and a port");
		else if (e->l7 == OSH_L7_MCP || e->l7 == OSH_L7_JSON_RPC)
			osh_diag_error(diags, e->mark, "host is required with protocol %s",
				       osh_l7_name(e->l7));
		else if (!e->allowed_ips.set || e->allowed_ips.count == 0)
			osh_diag_error(diags, e->host.set ? e->host.mark : e->mark,
				       "host is %s and there are no allowed_ips: name a host, or "
				       "the addresses",
				       !e->host.set     ? "absent" :
				       e->host.text.len ? "blank" :
							  "empty");
		return 0;
	}
	lower = osh_arena_copy(&doc->arena, e->host.text);
	if (!lower)
		return -ENOMEM;
	for (size_t i = 0; i < e->host.text.len; i++)
		lower[i] = osh_ascii_lower(lower[i]);
	e->host_text = osh_str_n(lower, e->host.text.len);
	check_host_text(e, diags);
	if (e->host_is_address && osh_host_parse(e->host_text, &parsed) == 0) {
		lower = osh_arena_copy(&doc->arena, osh_str(parsed.text));
		if (!lower)
			return -ENOMEM;
		e->host_text = osh_str(lower);
	}
	return 0;
}
