#include "policy/edit_form.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"

const char *osh_edit_option_key(enum osh_edit_option option)
{
	static const char *const keys[OSH_EDIT_OPTION_COUNT] = {
		[OSH_EDIT_WEBSOCKET_REWRITE] = "websocket_credential_rewrite",
		[OSH_EDIT_BODY_REWRITE] = "request_body_credential_rewrite",
		[OSH_EDIT_UNINSPECTED] = "allow_uninspected_credentials",
	};

	return keys[option];
}

/* ---- Pieces ---------------------------------------- */

/* Cut off what stands before the next `separator`; false when nothing is left. */
static bool take_segment(struct osh_str *rest, char separator, struct osh_str *ret_segment)
{
	const char *end;

	if (!rest->data)
		return false;
	end = osh_str_chr(*rest, separator);
	*ret_segment = *rest;
	if (!end) {
		*rest = (struct osh_str){ 0 };
		return true;
	}
	ret_segment->len = (size_t)(end - rest->data);
	*rest = osh_str_n(end + 1, rest->len - ret_segment->len - 1);
	return true;
}

/* "host:port" from the front; an IPv6 address stands in brackets. */
static int take_place(const char *flag, const char *text, struct osh_str *rest,
		      struct osh_str *ret_host, uint16_t *ret_port_host, struct osh_err *err)
{
	struct osh_str port = { 0 };
	uint64_t number = 0;

	if (osh_str_has_prefix(*rest, "[")) {
		struct osh_str inside = osh_str_n(rest->data + 1, rest->len - 1);

		(void)take_segment(&inside, ']', ret_host);
		if (!inside.data || !osh_str_has_prefix(inside, ":"))
			return osh_err_set(err, EINVAL,
					   "%s %.200s: an address in brackets needs ']:port'", flag,
					   text);
		*rest = osh_str_n(inside.data + 1, inside.len - 1);
	} else {
		(void)take_segment(rest, ':', ret_host);
	}
	if (ret_host->len == 0)
		return osh_err_set(err, EINVAL, "%s %.200s: the host is missing: write host:port",
				   flag, text);
	if (!take_segment(rest, ':', &port) || osh_str_parse_u64(port, UINT16_MAX, &number) < 0 ||
	    number == 0)
		return osh_err_set(err, EINVAL,
				   "%s %.200s: the port must be a number from 1 to 65535", flag,
				   text);
	*ret_port_host = (uint16_t)number;
	return 0;
}

/* ---- Endpoints ---------------------------------------- */

static bool is_word(struct osh_str text, const char *const *words)
{
	for (; *words; words++) {
		if (osh_str_eq_c(text, *words))
			return true;
	}
	return false;
}

static int check_word(const char *flag, const char *text, const char *what, struct osh_str word,
		      const char *const *words, const char *allowed, struct osh_err *err)
{
	if (word.len == 0 || is_word(word, words))
		return 0;
	return osh_err_set(err, EINVAL, "%s %.200s: %s '%.*s' is unknown (allowed: %s)", flag, text,
			   what, (int)word.len, word.data, allowed);
}

static int parse_options(const char *flag, const char *text, struct osh_str list,
			 struct osh_endpoint_form *form, struct osh_err *err)
{
	static const char *const names[OSH_EDIT_OPTION_COUNT] = {
		[OSH_EDIT_WEBSOCKET_REWRITE] = "websocket-credential-rewrite",
		[OSH_EDIT_BODY_REWRITE] = "request-body-credential-rewrite",
		[OSH_EDIT_UNINSPECTED] = "allow-uninspected-credentials",
	};
	struct osh_str name;

	while (take_segment(&list, ',', &name)) {
		size_t i = 0;

		if (name.len == 0)
			continue;
		while (i < OSH_EDIT_OPTION_COUNT && !osh_str_eq_c(name, names[i]))
			i++;
		if (i == OSH_EDIT_OPTION_COUNT)
			return osh_err_set(
				err, EINVAL,
				"%s %.200s: option '%.*s' is unknown (allowed: %s, %s, %s)", flag,
				text, (int)name.len, name.data, names[0], names[1], names[2]);
		form->options[i] = true;
	}
	return 0;
}

static int check_endpoint(const char *flag, const char *text, const struct osh_endpoint_form *form,
			  struct osh_err *err)
{
	static const char *const accesses[] = { "read-only", "read-write", "full", NULL };
	static const char *const protocols[] = { "tcp", "rest", "websocket", NULL };
	static const char *const enforcements[] = { "enforce", "audit", NULL };
	int r = check_word(flag, text, "access", form->access, accesses,
			   "read-only, read-write, full", err);

	if (r == 0)
		r = check_word(flag, text, "protocol", form->protocol, protocols,
			       "tcp, rest, websocket", err);
	if (r == 0)
		r = check_word(flag, text, "enforcement", form->enforcement, enforcements,
			       "enforce, audit", err);
	return r;
}

int osh_endpoint_form_parse(const char *flag, const char *text, struct osh_endpoint_form *ret_form,
			    struct osh_err *err)
{
	struct osh_endpoint_form form = { 0 };
	struct osh_str rest = osh_str(text), options = { 0 };
	int r = take_place(flag, text, &rest, &form.host, &form.port_host, err);

	if (r < 0)
		return r;
	(void)(take_segment(&rest, ':', &form.access) && take_segment(&rest, ':', &form.protocol) &&
	       take_segment(&rest, ':', &form.enforcement) && take_segment(&rest, ':', &options));
	if (rest.data)
		return osh_err_set(err, EINVAL,
				   "%s %.200s: too many segments: "
				   "host:port[:access[:protocol[:enforcement[:options]]]]",
				   flag, text);
	r = check_endpoint(flag, text, &form, err);
	if (r == 0)
		r = parse_options(flag, text, options, &form, err);
	if (r == 0)
		*ret_form = form;
	return r;
}

int osh_place_form_parse(const char *flag, const char *text, struct osh_endpoint_form *ret_form,
			 struct osh_err *err)
{
	struct osh_endpoint_form form = { 0 };
	struct osh_str rest = osh_str(text);
	int r = take_place(flag, text, &rest, &form.host, &form.port_host, err);

	if (r == 0 && rest.data)
		r = osh_err_set(err, EINVAL, "%s %.200s: write host:port and nothing behind it",
				flag, text);
	if (r == 0)
		*ret_form = form;
	return r;
}

/* ---- Rules ---------------------------------------- */

/* RFC 9110 5.6.2, in upper case; also WEBSOCKET_TEXT and the `*` of rules. */
static bool copy_method(struct osh_str method, char *buf, size_t size)
{
	if (method.len == 0 || method.len >= size)
		return false;
	for (size_t i = 0; i < method.len; i++) {
		char c = method.data[i];

		if (osh_ascii_is_alpha(c))
			c = (char)(c & 0xdf);
		else if (!osh_ascii_is_digit(c) && !strchr("!#$%&'*+-.^_`|~", c))
			return false;
		buf[i] = c;
	}
	buf[method.len] = '\0';
	return true;
}

int osh_rule_form_parse(const char *flag, const char *text, struct osh_rule_form *ret_form,
			struct osh_err *err)
{
	struct osh_rule_form form = { 0 };
	struct osh_str rest = osh_str(text), method = { 0 };
	int r = take_place(flag, text, &rest, &form.host, &form.port_host, err);

	if (r < 0)
		return r;
	if (!take_segment(&rest, ':', &method) || !rest.data)
		return osh_err_set(err, EINVAL, "%s %.200s: write host:port:METHOD:path_glob", flag,
				   text);
	if (!copy_method(method, form.method, sizeof(form.method)))
		return osh_err_set(err, EINVAL, "%s %.200s: '%.*s' is no method", flag, text,
				   (int)(method.len < 40 ? method.len : 40), method.data);
	form.path = rest;
	if (!osh_str_has_prefix(rest, "/") && !osh_str_eq_c(rest, "**") &&
	    !osh_str_has_prefix(rest, "**/"))
		return osh_err_set(err, EINVAL,
				   "%s %.200s: the path must start with '/', or be '**' or start "
				   "with '**/'",
				   flag, text);
	*ret_form = form;
	return 0;
}
