/* network_middlewares: read and checked, so that a reference file loads. This agent runs
 * none: hosts that a fail-closed one covers are denied (evaluate.c). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy/document.h"
#include "policy/glob.h"

#define PATTERNS_MAX 32

/* Patterns are kept in lower case, as hosts are. Returns 0 or -ENOMEM. */
static int check_patterns(struct osh_policy_doc *doc, struct osh_texts *patterns,
			  struct osh_diags *diags)
{
	for (size_t i = 0; i < patterns->count; i++) {
		struct osh_text *pattern = &patterns->items[i];
		unsigned char *code = NULL;
		size_t len;
		char *lower;

		if (!pattern->set)
			continue;
		if (pattern->text.len == 0 ||
		    osh_glob_compile(pattern->text, '.', &code, &len) != OSH_GLOB_OK) {
			osh_diag_error(diags, pattern->mark, "malformed host pattern '%.*s'",
				       OSH_DIAG_VALUE(pattern->text));
			continue;
		}
		free(code);
		lower = osh_arena_copy(&doc->arena, pattern->text);
		if (!lower)
			return -ENOMEM;
		for (size_t j = 0; j < pattern->text.len; j++)
			lower[j] = osh_ascii_lower(lower[j]);
		pattern->text.data = lower;
	}
	return 0;
}

static void check_on_error(struct osh_middleware *m, struct osh_diags *diags)
{
	if (!m->on_error.set || osh_str_eq_c(m->on_error.text, "fail_closed"))
		return;
	m->fail_open = osh_str_eq_c(m->on_error.text, "fail_open");
	if (!m->fail_open)
		osh_diag_error(diags, m->on_error.mark,
			       "on_error: '%.*s' is unknown (allowed: fail_closed, "
			       "fail_open)",
			       OSH_DIAG_VALUE(m->on_error.text));
}

static void check_skip_endpoints(const struct osh_policy_doc *doc, const struct osh_middleware *m,
				 struct osh_diags *diags)
{
	for (size_t i = 0; i < doc->entry_count; i++) {
		for (size_t j = 0; j < doc->entries[i].endpoint_count; j++) {
			const struct osh_endpoint *e = &doc->entries[i].endpoints[j];

			for (size_t k = 0; e->tls_skip && !e->hostless && k < m->include.count;
			     k++) {
				if (osh_hosts_overlap(m->include.items[k].text, e->host_text))
					osh_diag_error(
						diags, m->include.items[k].mark,
						"fail-closed selector "
						"covers a tls: skip endpoint (line %u): '%.*s'",
						e->mark.line,
						OSH_DIAG_VALUE(m->include.items[k].text));
			}
		}
	}
}

static int check_middleware(struct osh_policy_doc *doc, struct osh_middleware *m,
			    struct osh_diags *diags)
{
	int r;

	if (m->middleware.text.len == 0)
		osh_diag_error(diags, m->key.mark,
			       "middleware '%.*s': implementation name is required "
			       "(middleware: ...)",
			       OSH_DIAG_VALUE(m->key.text));
	if (!m->has_selector)
		osh_diag_error(diags, m->key.mark,
			       "middleware '%.*s': endpoint selector is required "
			       "(endpoints: { include: [...] })",
			       OSH_DIAG_VALUE(m->key.text));
	else if (m->include.count == 0)
		osh_diag_error(diags, m->key.mark,
			       "middleware '%.*s': selector needs an include pattern",
			       OSH_DIAG_VALUE(m->key.text));
	if (m->include.count + m->exclude.count > PATTERNS_MAX)
		osh_diag_error(diags, m->include.mark,
			       "middleware '%.*s': more than %d selector patterns",
			       OSH_DIAG_VALUE(m->key.text), PATTERNS_MAX);
	check_on_error(m, diags);
	r = check_patterns(doc, &m->include, diags);
	if (r == 0)
		r = check_patterns(doc, &m->exclude, diags);
	if (!m->fail_open)
		check_skip_endpoints(doc, m, diags);
	osh_diag_warning(diags, m->key.mark, "middleware '%.*s' is not run by this agent: %s",
			 OSH_DIAG_VALUE(m->key.text),
			 m->fail_open ? "its traffic passes without it (fail_open)" :
					"hosts that it covers are denied (fail_closed)");
	return r;
}

#define MIDDLEWARES_MAX 256

int osh_check_middlewares(struct osh_policy_doc *doc, struct osh_diags *diags)
{
	int r = 0;

	if (doc->middleware_count > MIDDLEWARES_MAX) {
		osh_diag_error(diags, doc->middlewares[0].key.mark, "more than %d middlewares",
			       MIDDLEWARES_MAX);
		return 0;
	}
	for (size_t i = 0; i < doc->middleware_count && r == 0; i++) {
		struct osh_middleware *m = &doc->middlewares[i];

		r = check_middleware(doc, m, diags);
		for (size_t j = 0; j < i; j++) {
			if (doc->middlewares[j].order.value == m->order.value)
				osh_diag_error(
					diags, m->order.set ? m->order.mark : m->key.mark,
					"duplicate order %llu: middleware '%.*s' has it, too",
					(unsigned long long)m->order.value,
					OSH_DIAG_VALUE(doc->middlewares[j].key.text));
		}
	}
	return r;
}
