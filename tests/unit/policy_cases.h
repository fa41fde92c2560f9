/* Rows of tests/policy/cases: reading them, and asking the engine as the proxy does. */
#ifndef OSH_TESTS_POLICY_CASES_H
#define OSH_TESTS_POLICY_CASES_H

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "policy/host.h"
#include "policy/path.h"
#include "policy/policy.h"

/* Text that grows in a fixed buffer; the test fails when it is full. */
struct case_writer {
	char *buf;
	size_t size, len;
};

static inline void case_put(struct case_writer *w, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static inline void case_put(struct case_writer *w, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(w->buf + w->len, w->size - w->len, format, args);
	va_end(args);
	cr_assert(n >= 0 && w->len + (size_t)n < w->size, "the buffer is full");
	w->len += (size_t)n;
}

static inline void case_path(const char *name, char *buf, size_t size)
{
	const char *dir = getenv("OSH_SOURCE_DIR");

	snprintf(buf, size, "%s/tests/policy/cases/%s", dir ? dir : ".", name);
}

/* The whole file; the test fails when it cannot be read. */
static inline struct osh_str case_read(const char *name)
{
	char path[512], *data = NULL;
	size_t len = 0;

	case_path(name, path, sizeof(path));
	cr_assert_eq(osh_read_file(path, 8 << 20, &data, &len), 0, "cannot read %s", path);
	return osh_str_n(data, len);
}

/* Call `each` for every row of a .jsonl file; returns how many there were. */
static inline size_t case_each(const char *name, void (*each)(json_t *row))
{
	struct osh_str text = case_read(name);
	char *line = (char *)text.data;
	size_t rows = 0;

	while (*line) {
		char *end = strchr(line, '\n');
		json_error_t error;
		json_t *row;

		if (end)
			*end = '\0';
		row = json_loads(line, JSON_ALLOW_NUL, &error);
		cr_assert_not_null(row, "%s: row %zu: %s", name, rows + 1, error.text);
		each(row);
		json_decref(row);
		rows++;
		line = end ? end + 1 : line + strlen(line);
	}
	free((char *)text.data);
	return rows;
}

static inline const char *case_text(json_t *row, const char *key)
{
	const char *text = json_string_value(json_object_get(row, key));

	return text ? text : "";
}

static inline struct osh_str case_str(json_t *row, const char *key)
{
	json_t *value = json_object_get(row, key);

	return osh_str_n(json_string_value(value), json_string_length(value));
}

/* A compiled policy; `image` is malloc'ed. */
struct case_policy {
	void *image;
	struct osh_policy policy;
};

static inline void case_print(const struct osh_diags *diags)
{
	for (size_t i = 0; i < diags->count; i++) {
		char line[1024];

		osh_diag_format(&diags->items[i], "policy", line, sizeof(line));
		fprintf(stderr, "%s\n", line);
	}
}

static inline void case_compile(struct osh_str text, struct case_policy *ret)
{
	struct osh_diags *diags = calloc(1, sizeof(*diags));
	struct osh_policy_doc *doc = NULL;
	size_t len = 0;

	if (osh_policy_parse(text, diags, &doc) < 0) {
		case_print(diags);
		cr_assert_fail("policy does not load");
	}
	cr_assert_eq(osh_policy_compile(doc, NULL, &ret->image, &len), 0);
	cr_assert_eq(osh_policy_open(ret->image, len, &ret->policy), 0);
	osh_policy_doc_free(doc);
	free(diags);
}

/* Does the text load? Findings are in *ret. */
static inline bool case_loads(struct osh_str text, struct osh_diags *ret)
{
	struct osh_policy_doc *doc = NULL;

	memset(ret, 0, sizeof(*ret));
	if (osh_policy_parse(text, ret, &doc) < 0) {
		cr_assert(ret->errors > 0 && ret->count > 0, "refused without an error");
		return false;
	}
	osh_policy_doc_free(doc);
	return true;
}

#endif
