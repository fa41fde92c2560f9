/* Labels of sandboxes: given as KEY=VALUE, asked for with a selector. */
#ifndef OSH_CLI_SELECTOR_H
#define OSH_CLI_SELECTOR_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "args.h"

#define OSH_OPTION_SELECTOR(type) \
	{ "selector", 'l', "TERMS", \
	  "only those with these labels: KEY, !KEY, KEY=VALUE, KEY!=VALUE, with commas", \
	  OSH_OPTION_TEXT, offsetof(type, selector) }

#define OSH_SELECTOR_TERMS_MAX 16
#define OSH_SELECTOR_TEXT_MAX 64 /* of a key or a value, NUL included */

/* All of the terms hold. */
struct osh_selector {
	struct osh_selector_term {
		char key[OSH_SELECTOR_TEXT_MAX], value[OSH_SELECTOR_TEXT_MAX];
		bool has_value; /* the value counts; else whether there is the key */
		bool is_not;
	} terms[OSH_SELECTOR_TERMS_MAX];
	size_t count;
};

/* TERMS; NULL: every sandbox. False: the mistake was reported. */
bool osh_selector_parse(const struct osh_command *command, const char *text,
			struct osh_selector *ret_selector, int *ret_status);
bool osh_selector_matches(const struct osh_selector *selector, const json_t *labels);
/* Take those that do not match out of an array of the interface's Sandbox. */
void osh_selector_filter(const struct osh_selector *selector, json_t *sandboxes);

/* --label values as the interface's object; NULL: a mistake was reported. */
json_t *osh_selector_label_options(const struct osh_command *command, const struct osh_list *labels,
				   int *ret_status);
/* "a=b,c=d", cut when there is no room. */
const char *osh_selector_labels(const json_t *labels, char *buf, size_t size);

#endif
