#include "selector.h"

#include <string.h>

#include "base/str.h"
#include "out.h"

/* "!=" is looked for first: it ends with the other one. */
static bool parse_term(struct osh_str text, struct osh_selector_term *ret_term)
{
	struct osh_selector_term term = { 0 };
	const char *equals = osh_str_chr(text, '=');
	struct osh_str key = text, value = { 0 };

	if (equals) {
		key.len = (size_t)(equals - text.data);
		value = osh_str_n(equals + 1, text.len - key.len - 1);
		term.has_value = true;
		term.is_not = key.len && key.data[key.len - 1] == '!';
		key.len -= term.is_not;
	} else if (key.len && key.data[0] == '!') {
		term.is_not = true;
		key = osh_str_n(key.data + 1, key.len - 1);
	}
	if (value.len && value.data[0] == '=') /* KEY==VALUE */
		value = osh_str_n(value.data + 1, value.len - 1);
	if (!key.len || osh_str_copy(key, term.key, sizeof(term.key)) < 0 ||
	    osh_str_copy(value, term.value, sizeof(term.value)) < 0)
		return false;
	*ret_term = term;
	return true;
}

bool osh_selector_parse(const struct osh_command *command, const char *text,
			struct osh_selector *ret_selector, int *ret_status)
{
	struct osh_selector selector = { 0 };

	for (const char *rest = text; rest; rest = *rest ? rest + 1 : NULL) {
		size_t len = strcspn(rest, ",");

		if (selector.count == OSH_SELECTOR_TERMS_MAX ||
		    !parse_term(osh_str_n(rest, len), &selector.terms[selector.count++])) {
			*ret_status = osh_cli_misuse(command,
						     "--selector needs KEY, !KEY, KEY=VALUE or KEY!=VALUE"
						     " with commas between, not '%s'", text);
			return false;
		}
		rest += len;
	}
	*ret_selector = selector;
	return true;
}

static bool holds(const struct osh_selector_term *term, const json_t *labels)
{
	const char *value = json_string_value(json_object_get(labels, term->key));
	bool found = value && (!term->has_value || strcmp(value, term->value) == 0);

	return found != term->is_not;
}

bool osh_selector_matches(const struct osh_selector *selector, const json_t *labels)
{
	for (size_t i = 0; i < selector->count; i++) {
		if (!holds(&selector->terms[i], labels))
			return false;
	}
	return true;
}

void osh_selector_filter(const struct osh_selector *selector, json_t *sandboxes)
{
	for (size_t i = json_array_size(sandboxes); i-- > 0;) {
		const json_t *sandbox = json_array_get(sandboxes, i);

		if (!osh_selector_matches(selector, json_object_get(sandbox, "labels")))
			(void)json_array_remove(sandboxes, i);
	}
}

json_t *osh_selector_label_options(const struct osh_command *command, const struct osh_list *labels,
				   int *ret_status)
{
	json_t *object = json_object();

	for (size_t i = 0; object && i < labels->count; i++) {
		const char *item = labels->items[i], *equals = strchr(item, '=');
		size_t len = equals ? (size_t)(equals - item) : 0;

		if (!len) {
			*ret_status = osh_cli_misuse(command, "--label needs KEY=VALUE, not '%s'", item);
			json_decref(object);
			return NULL;
		}
		if (json_object_setn_new(object, item, len, json_string(equals + 1)) < 0) {
			json_decref(object);
			object = NULL;
		}
	}
	if (!object)
		*ret_status = osh_cli_no_memory();
	return object;
}

const char *osh_selector_labels(const json_t *labels, char *buf, size_t size)
{
	const char *key;
	size_t len = 0;
	json_t *value;

	buf[0] = '\0';
	/* The iterator does not change the object; it is only not declared const. */
	json_object_foreach((json_t *)(uintptr_t)labels, key, value) {
		int n = snprintf(buf + len, size - len, "%s%s=%s", len ? "," : "", key,
				 json_string_value(value));

		if (n < 0 || (size_t)n >= size - len) {
			buf[len] = '\0';
			break;
		}
		len += (size_t)n;
	}
	return buf;
}
