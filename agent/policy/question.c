#include "policy/question.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "policy/host.h"

const char *osh_effect_name(enum osh_effect effect)
{
	switch (effect) {
	case OSH_EFFECT_DENY:
		return "deny";
	case OSH_EFFECT_ALLOW:
		return "allow";
	case OSH_EFFECT_AUDIT:
		return "audit";
	}
	return "deny";
}

/* ---- Reading ---------------------------------------- */

/* An absent key may also be written as null. */
static const json_t *get(const json_t *row, const char *key)
{
	const json_t *value = json_object_get(row, key);

	return json_is_null(value) ? NULL : value;
}

static int read_text(const json_t *row, const char *key, struct osh_str *ret_text,
		     struct osh_err *err)
{
	const json_t *value = get(row, key);

	if (!value)
		return 0;
	if (!json_is_string(value))
		return osh_err_set(err, EINVAL, "%s must be a string", key);
	*ret_text = osh_str_n(json_string_value(value), json_string_length(value));
	return 0;
}

static int read_flag(const json_t *row, const char *key, bool *ret_flag, struct osh_err *err)
{
	const json_t *value = get(row, key);

	if (value && !json_is_boolean(value))
		return osh_err_set(err, EINVAL, "%s must be true or false", key);
	*ret_flag = json_is_true(value);
	return 0;
}

static int read_list(const json_t *row, const char *key, size_t max, const json_t **ret_list,
		     struct osh_err *err)
{
	const json_t *list = get(row, key);

	*ret_list = list;
	if (!list)
		return 0;
	if (!json_is_array(list) || json_array_size(list) > max)
		return osh_err_set(err, EINVAL, "%s must be a list of at most %zu strings", key,
				   max);
	for (size_t i = 0; i < json_array_size(list); i++) {
		if (!json_is_string(json_array_get(list, i)))
			return osh_err_set(err, EINVAL, "%s must be a list of strings", key);
	}
	return 0;
}

static int read_subject(const json_t *row, struct osh_question *q, struct osh_err *err)
{
	const json_t *list;
	int r = read_text(row, "binary", &q->binary, err);

	if (r == 0 && q->binary.len == 0)
		r = osh_err_set(err, EINVAL,
				"binary is missing: the path of the program that asks");
	if (r == 0)
		r = read_list(row, "ancestors", OSH_LINEAGE_MAX, &list, err);
	if (r < 0)
		return r;
	q->ancestor_count = json_array_size(list);
	for (size_t i = 0; i < q->ancestor_count; i++) {
		const json_t *item = json_array_get(list, i);

		q->ancestors[i] = osh_str_n(json_string_value(item), json_string_length(item));
	}
	return 0;
}

/* The name is asked about as it stands, in lower case: a dot too many, or bytes that no
 * name has, match nothing. */
static int read_place(const json_t *row, struct osh_question *q, struct osh_err *err)
{
	const json_t *port = get(row, "port");
	struct osh_str host = { 0 };
	int r = read_text(row, "host", &host, err);

	if (r < 0)
		return r;
	if (host.len == 0)
		return osh_err_set(err, EINVAL,
				   "host is missing: the name or address it connects to");
	if (osh_str_copy(host, q->host, sizeof(q->host)) < 0)
		return osh_err_set(err, EINVAL, "host must be at most %d bytes long, without NUL",
				   OSH_HOST_MAX - 1);
	for (char *p = q->host; *p; p++)
		*p = osh_ascii_lower(*p);
	if (!json_is_integer(port) || json_integer_value(port) < 1 ||
	    json_integer_value(port) > UINT16_MAX)
		return osh_err_set(err, EINVAL, "port must be a number from 1 to 65535");
	q->port_host = (uint16_t)json_integer_value(port);
	return 0;
}

static int read_request(const json_t *row, struct osh_question *q, struct osh_err *err)
{
	struct osh_str scheme = { 0 };
	int r = read_text(row, "method", &q->method, err);

	if (r == 0)
		r = read_text(row, "path", &q->target, err);
	if (r == 0)
		r = read_text(row, "scheme", &scheme, err);
	if (r < 0)
		return r;
	if (scheme.len && !osh_str_eq_c(scheme, "http") && !osh_str_eq_c(scheme, "https"))
		return osh_err_set(err, EINVAL, "scheme must be http or https");
	if (!get(row, "method") != !get(row, "path"))
		return osh_err_set(err, EINVAL,
				   "method and path belong together: give both, or none to ask "
				   "about the connection");
	if (get(row, "method") && q->method.len == 0)
		return osh_err_set(err, EINVAL, "method must not be empty");
	q->is_plaintext = osh_str_eq_c(scheme, "http");
	q->has_request = get(row, "method") != NULL;
	return read_flag(row, "ws_upgrade", &q->websocket_upgrade, err);
}

static int read_header(struct osh_question *q, const char *name, const json_t *value,
		       struct osh_err *err)
{
	struct {
		const char *name;
		struct osh_str *text;
	} known[] = {
		{ "Host", &q->authority },
		{ "Content-Type", &q->message.content_type },
		{ "Content-Encoding", &q->message.content_encoding },
		{ "Accept", &q->message.accept },
	};

	if (!json_is_string(value))
		return osh_err_set(err, EINVAL, "header %s must be a string", name);
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strcasecmp(known[i].name, name) != 0)
			continue;
		if (known[i].text->data)
			return osh_err_set(err, EINVAL, "header %s is given twice", known[i].name);
		*known[i].text = osh_str_n(json_string_value(value), json_string_length(value));
	}
	return 0;
}

static int read_message(const json_t *row, struct osh_question *q, struct osh_err *err)
{
	const json_t *headers = get(row, "headers");
	const char *name;
	json_t *value;
	int r = read_text(row, "body", &q->message.body, err);

	q->message.is_text = get(row, "ws_text") != NULL;
	if (r == 0 && q->message.is_text)
		r = read_text(row, "ws_text", &q->message.body, err);
	if (r == 0 && headers && !json_is_object(headers))
		r = osh_err_set(err, EINVAL, "headers must be an object of strings");
	/* The iterator does not change the object; it is only not declared const. */
	json_object_foreach((json_t *)(uintptr_t)headers, name, value)
	{
		if (r == 0)
			r = read_header(q, name, value, err);
	}
	return r;
}

static int parse_address(const char *text, struct in6_addr *ret_addr)
{
	struct in6_addr addr = { .s6_addr = { [10] = 0xff, [11] = 0xff } };

	if (inet_pton(AF_INET, text, &addr.s6_addr[12]) != 1 &&
	    inet_pton(AF_INET6, text, &addr) != 1)
		return -EINVAL;
	*ret_addr = addr;
	return 0;
}

static int read_addresses(const json_t *row, struct osh_question *q, struct osh_err *err)
{
	const json_t *list;
	int r = read_list(row, "resolved", OSH_QUESTION_ADDRESSES_MAX, &list, err);

	if (r < 0)
		return r;
	q->resolved_count = json_array_size(list);
	for (size_t i = 0; i < q->resolved_count; i++) {
		const char *text = json_string_value(json_array_get(list, i));

		if (parse_address(text, &q->resolved[i]) < 0)
			return osh_err_set(err, EINVAL, "resolved: '%.80s' is no IP address", text);
	}
	return 0;
}

int osh_question_read(const json_t *row, struct osh_question *ret_question, struct osh_err *err)
{
	int r = 0;

	*ret_question = (struct osh_question){ 0 };
	if (!json_is_object(row))
		return osh_err_set(err, EINVAL, "a request must be a JSON object");
	r = read_subject(row, ret_question, err);
	if (r == 0)
		r = read_place(row, ret_question, err);
	if (r == 0)
		r = read_request(row, ret_question, err);
	if (r == 0)
		r = read_message(row, ret_question, err);
	if (r == 0)
		r = read_addresses(row, ret_question, err);
	return r;
}

/* ---- Asking ---------------------------------------- */

static void deny(struct osh_decision *decision, enum osh_stage stage, const char *reason)
{
	decision->effect = OSH_EFFECT_DENY;
	decision->stage = stage;
	snprintf(decision->reason, sizeof(decision->reason), "%s", reason);
}

/* The authority of a target in absolute form; empty for a path. */
static struct osh_str target_authority(struct osh_str target)
{
	const char *start = target.len ? memmem(target.data, target.len, "://", 3) : NULL;
	const char *end;

	if (!start || target.data[0] == '/')
		return osh_str("");
	start += 3;
	end = memchr(start, '/', target.len - (size_t)(start - target.data));
	return osh_str_n(start,
			 end ? (size_t)(end - start) : target.len - (size_t)(start - target.data));
}

static bool names_host(const struct osh_question *q, struct osh_str authority)
{
	struct osh_host host;
	uint16_t port_host;

	return osh_authority_parse(authority, q->is_plaintext ? 80 : 443, &host, &port_host) == 0 &&
	       strcmp(host.text, q->host) == 0 && port_host == q->port_host;
}

/* As the proxy does: authority, then the target, a second time when it holds an encoded
 * slash that some endpoint may allow. */
static bool prepare(const struct osh_question *q, struct osh_request_query *query,
		    struct osh_question_result *result)
{
	struct osh_str absolute = target_authority(q->target);
	enum osh_path_error error;
	struct osh_path path;

	if ((q->authority.len && !names_host(q, q->authority)) ||
	    (absolute.len && !names_host(q, absolute))) {
		deny(&result->decision, OSH_STAGE_AUTHORITY,
		     "the request names another host than the connection is to");
		return false;
	}
	error = osh_path_canonicalise(q->target, false, result->path_bytes,
				      sizeof(result->path_bytes), &path);
	if (error == OSH_PATH_ENCODED_SLASH)
		error = osh_path_canonicalise(q->target, true, result->path_bytes,
					      sizeof(result->path_bytes), &path);
	if (error) {
		deny(&result->decision, OSH_STAGE_PARSE, osh_path_error_text(error));
		return false;
	}
	result->path = query->path = path.path;
	query->query = path.query;
	return true;
}

static void ask_request(const struct osh_policy *policy, const struct osh_question *q,
			const struct osh_connect_query *connect, struct osh_question_result *result)
{
	struct osh_message message = q->message;
	struct osh_request_query query = {
		.connect = *connect,
		.method = q->method,
		.websocket_upgrade = q->websocket_upgrade,
	};

	if (!prepare(q, &query, result))
		return;
	/* First by its head alone: that says how much of the body would be read. */
	osh_policy_request(policy, &query, &result->decision);
	if (result->decision.effect == OSH_EFFECT_DENY && result->decision.body_limit)
		message.too_large = message.body.len > result->decision.body_limit;
	query.message = &message;
	osh_policy_request(policy, &query, &result->decision);
}

/* Every address of the answer has to pass. */
static void ask_addresses(const struct osh_policy *policy, const struct osh_question *q,
			  const struct osh_connect_query *connect, struct osh_decision *decision)
{
	for (size_t i = 0; i < q->resolved_count && decision->effect != OSH_EFFECT_DENY; i++) {
		enum osh_address_verdict verdict =
			osh_policy_address(policy, connect, &q->resolved[i]);

		if (verdict == OSH_ADDRESS_ALLOW)
			continue;
		decision->effect = OSH_EFFECT_DENY;
		decision->stage = OSH_STAGE_CONNECT;
		snprintf(decision->reason, sizeof(decision->reason), "%s:%u blocked: %s", q->host,
			 q->port_host, osh_address_verdict_detail(verdict));
	}
}

void osh_question_ask(const struct osh_policy *policy, const struct osh_question *question,
		      struct osh_question_result *ret_result)
{
	struct osh_connect_query connect = {
		.subject = { .binary = question->binary,
			     .ancestors = question->ancestors,
			     .ancestor_count = question->ancestor_count },
		.host = osh_str(question->host),
		.port_host = question->port_host,
	};

	ret_result->path = (struct osh_str){ 0 };
	osh_policy_connect(policy, &connect, &ret_result->decision);
	if (question->has_request && ret_result->decision.effect != OSH_EFFECT_DENY)
		ask_request(policy, question, &connect, ret_result);
	if (ret_result->decision.effect != OSH_EFFECT_DENY)
		ask_addresses(policy, question, &connect, &ret_result->decision);
}
