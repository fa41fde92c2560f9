/* Endpoints that one connection could meet together must not contradict each other:
 * whichever of them supplied tls mode or parser, the answer has to be the same. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "policy/document.h"
#include "policy/glob.h"

size_t osh_path_specificity(struct osh_str path)
{
	size_t count = 0;

	for (size_t i = 0; i < path.len; i++)
		count += path.data[i] != '*';
	return count;
}

/* ---- Could two patterns meet? -------------------------------------------- */

#define OVERLAP_MAX 256

static bool chars_meet(char a, char b)
{
	return a == b || a == '?' || b == '?';
}

/* Dynamic programming over both patterns; `*` stands for any run. A class or brace is
 * taken to meet anything: this only ever errs towards a reported conflict. */
bool osh_globs_overlap(struct osh_str a, struct osh_str b)
{
	bool row[OVERLAP_MAX + 1] = { true };

	if (a.len > OVERLAP_MAX || b.len > OVERLAP_MAX)
		return true;
	for (size_t i = 0; i < a.len; i++) {
		if (strchr("[{\\", a.data[i]) && a.data[i])
			return true;
	}
	for (size_t j = 0; j < b.len; j++) {
		if (strchr("[{\\", b.data[j]) && b.data[j])
			return true;
		row[j + 1] = row[j] && b.data[j] == '*';
	}
	for (size_t i = 0; i < a.len; i++) {
		bool diagonal = row[0];

		row[0] = row[0] && a.data[i] == '*';
		for (size_t j = 0; j < b.len; j++) {
			bool above = row[j + 1];

			if (a.data[i] == '*' || b.data[j] == '*')
				row[j + 1] = above || row[j] || diagonal;
			else
				row[j + 1] = diagonal && chars_meet(a.data[i], b.data[j]);
			diagonal = above;
		}
	}
	return row[b.len];
}

static struct osh_str pop_label(struct osh_str *host)
{
	size_t i = host->len;
	struct osh_str label;

	while (i > 0 && host->data[i - 1] != '.')
		i--;
	label = osh_str_n(host->data + i, host->len - i);
	host->len = i ? i - 1 : 0;
	return label;
}

bool osh_hosts_overlap(struct osh_str a, struct osh_str b)
{
	if (!osh_str_chr(a, '*') && !osh_str_chr(b, '*'))
		return osh_str_eq(a, b);
	while (a.len && b.len) {
		struct osh_str x = pop_label(&a), y = pop_label(&b);

		if (osh_str_eq_c(x, "**") || osh_str_eq_c(y, "**"))
			return true;
		if (!osh_globs_overlap(x, y))
			return false;
	}
	return a.len == b.len;
}

static bool paths_overlap(struct osh_str a, struct osh_str b)
{
	if (a.len == 0 || b.len == 0)
		return true;
	return osh_globs_overlap(a, b);
}

/* ---- Two endpoints ------------------------------------------------------- */

/* The first setting in which they differ, NULL when they agree. */
static const char *find_difference(const struct osh_endpoint *a, const struct osh_endpoint *b)
{
	bool strict_a = !a->mcp.strict_tool_names.set || a->mcp.strict_tool_names.value;
	bool strict_b = !b->mcp.strict_tool_names.set || b->mcp.strict_tool_names.value;

	if (a->l7 != b->l7)
		return "protocol";
	if (a->enforce != b->enforce)
		return "enforcement";
	if (a->allow_encoded_slash.value != b->allow_encoded_slash.value)
		return "allow_encoded_slash";
	if (a->websocket_credential_rewrite.value != b->websocket_credential_rewrite.value)
		return "websocket_credential_rewrite";
	if (a->request_body_credential_rewrite.value != b->request_body_credential_rewrite.value)
		return "request_body_credential_rewrite";
	if (!osh_str_eq(a->credential_signing.text, b->credential_signing.text) ||
	    !osh_str_eq(a->signing_service.text, b->signing_service.text) ||
	    !osh_str_eq(a->signing_region.text, b->signing_region.text))
		return "credential signing";
	if (!osh_str_eq(a->credential_binding.provider.text, b->credential_binding.provider.text))
		return "credential_binding";
	if (a->body_limit != b->body_limit)
		return "body limit";
	return strict_a != strict_b ? "strict_tool_names" : NULL;
}

static bool holds_cidr(const struct osh_endpoint *e, const struct osh_cidr *cidr)
{
	for (size_t i = 0; i < e->cidr_count; i++) {
		if (e->cidrs[i].bits == cidr->bits && osh_cidr_holds(&e->cidrs[i], &cidr->addr))
			return true;
	}
	return false;
}

static bool same_allowed_ips(const struct osh_endpoint *a, const struct osh_endpoint *b)
{
	for (size_t i = 0; i < a->cidr_count; i++) {
		if (!holds_cidr(b, &a->cidrs[i]))
			return false;
	}
	for (size_t i = 0; i < b->cidr_count; i++) {
		if (!holds_cidr(a, &b->cidrs[i]))
			return false;
	}
	return true;
}

static bool has_extended_config(const struct osh_endpoint *e)
{
	return e->l7 != OSH_L7_NONE || e->cidr_count || e->tls_skip;
}

static const char *find_conflict(const struct osh_endpoint *a, const struct osh_endpoint *b)
{
	if (a->tls_skip != b->tls_skip)
		return "tls";
	if (!same_allowed_ips(a, b))
		return "allowed_ips";
	if (a->is_tcp != b->is_tcp)
		return "protocol tcp";
	if (!has_extended_config(a) || !has_extended_config(b))
		return NULL;
	if (osh_path_specificity(a->path.text) != osh_path_specificity(b->path.text) ||
	    !paths_overlap(a->path.text, b->path.text))
		return NULL;
	return find_difference(a, b);
}

static int share_port(const struct osh_endpoint *a, const struct osh_endpoint *b)
{
	for (size_t i = 0; i < a->port_count; i++) {
		for (size_t j = 0; j < b->port_count; j++) {
			if (a->port_list[i] == b->port_list[j])
				return a->port_list[i];
		}
	}
	return 0;
}

/* ---- Which pairs to look at ---------------------------------------------- */

/* Endpoints are found by what their host surely ends in: an exact host by itself, a
 * pattern by the labels behind its last wildcard label. Two hosts can only meet when one
 * of these texts is a label-wise suffix of the other. */
struct item {
	struct osh_str suffix;
	const struct osh_endpoint *endpoint;
	size_t order;
};

struct index {
	struct item *items; /* sorted by suffix, then order of the file */
	size_t count;
	struct osh_diags *diags;
};

static struct osh_str sure_suffix(const struct osh_endpoint *e)
{
	struct osh_str host = e->host_text, rest = host;
	size_t start = host.len;

	if (!e->host_is_glob)
		return host;
	while (rest.len) {
		struct osh_str label = pop_label(&rest);

		if (!osh_glob_is_literal(label))
			break;
		start = (size_t)(label.data - host.data);
	}
	return osh_str_n(host.data + start, host.len - start);
}

static int compare_strs(struct osh_str a, struct osh_str b)
{
	size_t len = a.len < b.len ? a.len : b.len;
	int order = len ? memcmp(a.data, b.data, len) : 0;

	if (order)
		return order;
	return a.len < b.len ? -1 : a.len > b.len;
}

static int compare_items(const void *a, const void *b)
{
	const struct item *x = a, *y = b;
	int order = compare_strs(x->suffix, y->suffix);

	if (order)
		return order;
	/* Patterns first: an exact host meets only those and its equals. */
	if (x->endpoint->host_is_glob != y->endpoint->host_is_glob)
		return x->endpoint->host_is_glob ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

static size_t find_first(const struct index *index, struct osh_str suffix)
{
	size_t low = 0, high = index->count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (compare_strs(index->items[middle].suffix, suffix) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct osh_str shown_host(const struct item *item)
{
	return item->endpoint->hostless ? osh_str("hostless: any host") : item->endpoint->host_text;
}

static void report(const struct index *index, const struct item *a, const struct item *b)
{
	const struct item *first = a->order < b->order ? a : b, *second = first == a ? b : a;
	int port = share_port(a->endpoint, b->endpoint);
	const char *what = port ? find_conflict(a->endpoint, b->endpoint) : NULL;

	if (!what || !(a->endpoint->hostless || b->endpoint->hostless ||
		       osh_hosts_overlap(a->endpoint->host_text, b->endpoint->host_text)))
		return;
	osh_diag_error(index->diags, second->endpoint->mark,
		       "endpoint %.*s:%d and the one at line %u (%.*s) "
		       "overlap with different %s: both must say the same",
		       OSH_DIAG_VALUE(shown_host(second)), port, first->endpoint->mark.line,
		       OSH_DIAG_VALUE(shown_host(first)), what);
}

/* Compare `item` with all of this suffix that come before it in the file, so that no
 * pair is reported twice; equal suffixes see each other from both sides. */
static void compare_group(const struct index *index, const struct item *item, struct osh_str suffix)
{
	bool same = osh_str_eq(suffix, item->suffix);

	for (size_t i = find_first(index, suffix);
	     i < index->count && osh_str_eq(index->items[i].suffix, suffix); i++) {
		const struct item *other = &index->items[i];

		if (!same && !other->endpoint->host_is_glob && !other->endpoint->hostless)
			break; /* a shorter exact host never meets a longer one */
		if (!same || other->order < item->order)
			report(index, item, other);
	}
}

static void compare_item(const struct index *index, const struct item *item)
{
	struct osh_str suffix = item->suffix;

	for (;;) {
		const char *dot;

		compare_group(index, item, suffix);
		if (suffix.len == 0)
			return;
		dot = osh_str_chr(suffix, '.');
		suffix = dot ? osh_str_n(dot + 1, suffix.len - (size_t)(dot + 1 - suffix.data)) :
			       osh_str_n(suffix.data, 0);
	}
}

/* Exact hosts that many endpoints name (path selectors of one API) meet only among
 * themselves; a policy that would make this quadratic beyond reason is refused. */
#define GROUP_MAX 4096

static void check_group_sizes(const struct index *index)
{
	size_t run = 0;

	for (size_t i = 0; i < index->count; i++) {
		bool same = i && osh_str_eq(index->items[i].suffix, index->items[i - 1].suffix);

		run = same ? run + 1 : 1;
		if (run == GROUP_MAX + 1)
			osh_diag_error(index->diags, index->items[i].endpoint->mark,
				       "more than %d endpoints for '%.*s'", GROUP_MAX,
				       OSH_DIAG_VALUE(index->items[i].suffix));
	}
}

static size_t fill(const struct osh_policy_doc *doc, struct item *items)
{
	size_t count = 0;

	for (size_t i = 0; i < doc->entry_count; i++) {
		for (size_t j = 0; j < doc->entries[i].endpoint_count; j++) {
			const struct osh_endpoint *e = &doc->entries[i].endpoints[j];

			if (e->broken || e->port_count == 0)
				continue;
			items[count] = (struct item){ .suffix = sure_suffix(e),
						      .endpoint = e,
						      .order = count };
			count++;
		}
	}
	return count;
}

int osh_check_overlaps(const struct osh_policy_doc *doc, struct osh_diags *diags)
{
	_cleanup_free_ struct item *items = NULL;
	struct index index = { .diags = diags };
	size_t total = 0;

	for (size_t i = 0; i < doc->entry_count; i++)
		total += doc->entries[i].endpoint_count;
	if (total == 0)
		return 0;
	items = calloc(total, sizeof(*items));
	if (!items)
		return -ENOMEM;
	index.items = items;
	index.count = fill(doc, items);
	qsort(items, index.count, sizeof(*items), compare_items);
	check_group_sizes(&index);
	for (size_t i = 0; i < index.count; i++)
		compare_item(&index, &items[i]);
	return 0;
}
