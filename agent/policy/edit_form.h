/* The one-line forms themselves. Private to agent/policy. */
#ifndef OSH_POLICY_EDIT_FORM_H
#define OSH_POLICY_EDIT_FORM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

enum osh_edit_option {
	OSH_EDIT_WEBSOCKET_REWRITE,
	OSH_EDIT_BODY_REWRITE,
	OSH_EDIT_UNINSPECTED,
	OSH_EDIT_OPTION_COUNT,
};
const char *osh_edit_option_key(enum osh_edit_option option); /* in an endpoint */

/* Borrows from the text; what an empty segment left out is empty. */
struct osh_endpoint_form {
	struct osh_str host; /* without brackets */
	uint16_t port_host;
	struct osh_str access, protocol, enforcement;
	bool options[OSH_EDIT_OPTION_COUNT];
};

struct osh_rule_form {
	struct osh_str host;
	uint16_t port_host;
	char method[32]; /* upper case */
	struct osh_str path;
};

/* `flag` is named in messages. Returns 0 or -EINVAL. */
int osh_endpoint_form_parse(const char *flag, const char *text, struct osh_endpoint_form *ret_form,
			    struct osh_err *err);
/* host:port and nothing behind. */
int osh_place_form_parse(const char *flag, const char *text, struct osh_endpoint_form *ret_form,
			 struct osh_err *err);
int osh_rule_form_parse(const char *flag, const char *text, struct osh_rule_form *ret_form,
			struct osh_err *err);

#endif
