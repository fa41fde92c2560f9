#include "policy/diff.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "policy/glob.h"
#include "policy/grants.h"

/* How often it is looked whether one grant holds another, before that is given up. */
#define COMPARISONS_MAX 20000000ull

const char *osh_grant_kind_name(enum osh_grant_kind kind)
{
	static const char *const names[OSH_GRANT_KIND_COUNT] = {
		[OSH_GRANT_BYTES] = "bytes",	 [OSH_GRANT_REQUEST] = "request",
		[OSH_GRANT_REFUSAL] = "refusal", [OSH_GRANT_AUDIT] = "audit",
		[OSH_GRANT_LIMIT] = "limit",	 [OSH_GRANT_SETTING] = "setting",
	};

	return kind < OSH_GRANT_KIND_COUNT ? names[kind] : "unknown";
}

/* ---- Order ---------------------------------------- */

static int compare_text(struct osh_str a, struct osh_str b)
{
	size_t len = a.len < b.len ? a.len : b.len;
	int order = len ? memcmp(a.data, b.data, len) : 0;

	return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare_grants(const void *a, const void *b)
{
	const struct osh_grant *x = a, *y = b;
	int order = compare_text(x->binary, y->binary);

	if (order == 0)
		order = compare_text(x->host, y->host);
	if (order == 0)
		order = (int)x->port_host - (int)y->port_host;
	if (order == 0)
		order = compare_text(x->path, y->path);
	if (order == 0)
		order = compare_text(x->method, y->method);
	if (order == 0)
		order = (int)x->kind - (int)y->kind;
	if (order == 0)
		order = (int)x->l7 - (int)y->l7;
	return order ? order : compare_text(x->detail, y->detail);
}

static int compare_changes(const void *a, const void *b)
{
	const struct osh_change *x = a, *y = b;
	int order = compare_grants(&x->grant, &y->grant);

	return order ? order : (int)x->is_gain - (int)y->is_gain;
}

/* ---- Does one hold the other? ---------------------------------------- */

/* Nothing in it but text and `**` as whole components: what it matches of a pattern's own
 * text, it matches of all that the pattern means. */
static bool is_simple(struct osh_str pattern, char delimiter)
{
	for (size_t i = 0; i < pattern.len; i++) {
		bool starts = i == 0 || pattern.data[i - 1] == delimiter;

		if (strchr("?[{\\", pattern.data[i]) && pattern.data[i])
			return false;
		if (pattern.data[i] != '*')
			continue;
		if (!starts || i + 1 >= pattern.len || pattern.data[i + 1] != '*' ||
		    (i + 2 < pattern.len && pattern.data[i + 2] != delimiter))
			return false;
		i++;
	}
	return true;
}

/* Does the text begin as the pattern does, up to its first special character? Most pairs of
 * patterns are told apart by that, without compiling one. */
static bool shares_prefix(struct osh_str pattern, struct osh_str text)
{
	size_t i = 0;

	while (i < pattern.len && !strchr("*?[{\\", pattern.data[i])) {
		if (i == text.len || text.data[i] != pattern.data[i])
			return false;
		i++;
	}
	return true;
}

/* Errs towards no: then a difference is shown that is none. */
static bool glob_holds(struct osh_str outer, struct osh_str inner, char delimiter)
{
	_cleanup_free_ unsigned char *code = NULL;
	size_t len = 0;

	if (osh_str_eq(outer, inner))
		return true;
	if (osh_glob_is_literal(outer) ||
	    (!osh_glob_is_literal(inner) && !is_simple(outer, delimiter)))
		return false;
	if (!shares_prefix(outer, inner))
		return false;
	return osh_glob_compile(outer, delimiter, &code, &len) == OSH_GLOB_OK &&
	       osh_glob_match(code, inner);
}

/* Only `*` makes a glob of a host or a binary. */
static bool name_holds(struct osh_str outer, struct osh_str inner, char delimiter)
{
	if (osh_str_eq(outer, inner))
		return true;
	return osh_str_chr(outer, '*') && glob_holds(outer, inner, delimiter);
}

static bool method_holds(const struct osh_grant *outer, struct osh_str inner)
{
	bool is_http = outer->l7 == OSH_L7_REST || outer->l7 == OSH_L7_WEBSOCKET;

	if (is_http ? osh_str_caseeq(outer->method, inner) : osh_str_eq(outer->method, inner))
		return true;
	return osh_str_eq_c(outer->method, "*") ||
	       (is_http && osh_str_caseeq_c(outer->method, "GET") &&
		osh_str_caseeq_c(inner, "HEAD"));
}

static bool holds(const struct osh_grant *outer, const struct osh_grant *inner)
{
	bool is_request = inner->kind == OSH_GRANT_REQUEST || inner->kind == OSH_GRANT_REFUSAL;

	if (outer->port_host != inner->port_host || outer->kind != inner->kind ||
	    outer->l7 != inner->l7 || !osh_str_eq(outer->detail, inner->detail))
		return false;
	if (inner->binary.len == 0)
		return false; /* of the whole policy: they were not equal */
	if (!name_holds(outer->binary, inner->binary, '/') ||
	    !name_holds(outer->host, inner->host, '.'))
		return false;
	return !is_request ||
	       (method_holds(outer, inner->method) && glob_holds(outer->path, inner->path, '/'));
}

/* ---- Differences ---------------------------------------- */

struct side {
	struct osh_grants grants;
	struct osh_grant *only; /* borrowed from grants: those that the other side lacks */
	size_t only_count;
};

static void sort_unique(struct osh_grants *grants)
{
	size_t kept = 0;

	if (grants->count)
		qsort(grants->items, grants->count, sizeof(grants->items[0]), compare_grants);
	for (size_t i = 0; i < grants->count; i++) {
		if (i == 0 || compare_grants(&grants->items[i], &grants->items[kept - 1]) != 0)
			grants->items[kept++] = grants->items[i];
	}
	grants->count = kept;
}

/* What stands in `a` and not in `b`, both sorted. */
static int find_only(struct side *a, const struct osh_grants *b)
{
	size_t j = 0;

	a->only = a->grants.count ? calloc(a->grants.count, sizeof(*a->only)) : NULL;
	if (a->grants.count && !a->only)
		return -ENOMEM;
	for (size_t i = 0; i < a->grants.count; i++) {
		while (j < b->count && compare_grants(&b->items[j], &a->grants.items[i]) < 0)
			j++;
		if (j == b->count || compare_grants(&b->items[j], &a->grants.items[i]) != 0)
			a->only[a->only_count++] = a->grants.items[i];
	}
	return 0;
}

static bool meets(const struct osh_grant *a, const struct osh_grant *b)
{
	return a->port_host == b->port_host && osh_hosts_overlap(a->host, b->host);
}

/* A connection that nobody looks into carries any request. One endpoint that is inspected
 * has all of the host looked into. */
static bool is_carried(const struct osh_grant *grant, const struct osh_grants *other)
{
	bool carried = false;

	for (size_t i = 0; i < other->count; i++) {
		const struct osh_grant *o = &other->items[i];

		if (!meets(o, grant))
			continue;
		if (o->l7 != OSH_L7_NONE)
			return false;
		carried |= o->kind == OSH_GRANT_BYTES &&
			   name_holds(o->binary, grant->binary, '/') &&
			   name_holds(o->host, grant->host, '.') && o->detail.len == 0;
	}
	return carried;
}

static bool is_held(const struct osh_grant *grant, const struct osh_grants *other)
{
	for (size_t i = 0; i < other->count; i++) {
		if (holds(&other->items[i], grant))
			return true;
	}
	return grant->kind == OSH_GRANT_REQUEST && is_carried(grant, other);
}

static void add_changes(struct osh_changes *changes, const struct side *side,
			const struct osh_grants *other, bool is_after)
{
	for (size_t i = 0; i < side->only_count; i++) {
		const struct osh_grant *grant = &side->only[i];
		bool takes_away = grant->kind == OSH_GRANT_REFUSAL ||
				  grant->kind == OSH_GRANT_LIMIT;

		if (!changes->is_coarse && is_held(grant, other))
			continue;
		changes->items[changes->count++] = (struct osh_change){
			.is_gain = is_after != takes_away,
			.grant = *grant,
		};
	}
}

static int compare_sides(struct side *before, struct side *after, struct osh_changes *changes)
{
	uint64_t work;
	int r;

	sort_unique(&before->grants);
	sort_unique(&after->grants);
	r = find_only(before, &after->grants);
	if (r == 0)
		r = find_only(after, &before->grants);
	if (r < 0)
		return r;
	work = (uint64_t)before->only_count * after->grants.count +
	       (uint64_t)after->only_count * before->grants.count;
	changes->is_coarse = work > COMPARISONS_MAX;
	changes->items =
		calloc(before->only_count + after->only_count + 1, sizeof(*changes->items));
	if (!changes->items)
		return -ENOMEM;
	add_changes(changes, before, &after->grants, false);
	add_changes(changes, after, &before->grants, true);
	if (changes->count)
		qsort(changes->items, changes->count, sizeof(changes->items[0]), compare_changes);
	return 0;
}

int osh_policy_diff(const struct osh_policy_doc *before, const struct osh_policy_doc *after,
		    struct osh_changes *ret_changes)
{
	struct side old = { .grants.arena = &ret_changes->arena },
		    new = { .grants.arena = &ret_changes->arena };
	int r;

	*ret_changes = (struct osh_changes){ 0 };
	r = osh_grants_collect(before, &old.grants);
	if (r == 0)
		r = osh_grants_collect(after, &new.grants);
	if (r == 0)
		r = compare_sides(&old, &new, ret_changes);
	free(old.only);
	free(new.only);
	free(old.grants.items);
	free(new.grants.items);
	if (r < 0)
		osh_changes_done(ret_changes);
	return r;
}

void osh_changes_done(struct osh_changes *changes)
{
	free(changes->items);
	osh_arena_done(&changes->arena);
	*changes = (struct osh_changes){ 0 };
}

/* ---- Text ---------------------------------------- */

static void put(char *buf, size_t size, size_t *len, const char *separator, struct osh_str text)
{
	int n;

	if (text.len == 0)
		return;
	n = snprintf(buf + *len, size - *len, "%s%.*s", separator, (int)text.len, text.data);
	if (n > 0)
		*len = *len + (size_t)n < size ? *len + (size_t)n : size - 1;
}

static void put_place(char *buf, size_t size, size_t *len, const struct osh_grant *grant)
{
	char port[8];

	put(buf, size, len, " ", grant->binary);
	put(buf, size, len, " ", grant->host);
	if (grant->port_host) {
		snprintf(port, sizeof(port), "%u", grant->port_host);
		put(buf, size, len, ":", osh_str(port));
	}
}

/* Of what takes away, a gain is that it is gone. */
static const char *change_remark(const struct osh_change *change)
{
	if (change->grant.kind == OSH_GRANT_REFUSAL)
		return change->is_gain ? "(deny rule gone)" : "(deny rule)";
	if (change->grant.kind == OSH_GRANT_LIMIT)
		return change->is_gain ? "(limit gone)" : "(limit)";
	return "";
}

size_t osh_change_format(const struct osh_change *change, char *buf, size_t size)
{
	const struct osh_grant *grant = &change->grant;
	bool is_http = grant->l7 == OSH_L7_REST || grant->l7 == OSH_L7_WEBSOCKET ||
		       grant->l7 == OSH_L7_NONE;
	size_t len = 0;

	put(buf, size, &len, "", osh_str(change->is_gain ? "+" : "-"));
	put_place(buf, size, &len, grant);
	if (!is_http)
		put(buf, size, &len, " ", osh_str(osh_l7_name(grant->l7)));
	if (grant->kind == OSH_GRANT_BYTES)
		put(buf, size, &len, " ", osh_str("any bytes"));
	if (grant->kind == OSH_GRANT_AUDIT)
		put(buf, size, &len, " ", osh_str("everything else, audited"));
	put(buf, size, &len, " ", grant->method);
	put(buf, size, &len, " ", grant->path);
	put(buf, size, &len, " ", grant->detail);
	put(buf, size, &len, " ", osh_str(change_remark(change)));
	return len;
}
