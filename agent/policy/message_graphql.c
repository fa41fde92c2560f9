/* GraphQL requests: each operation of a body, a query string or a WebSocket payload is
 * judged by the GraphQL rules of the endpoints on its path. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "policy/graphql.h"
#include "policy/json.h"
#include "policy/message.h"

#define NAME_MAX_BYTES 256

/* What one request says, before anything is looked up. */
struct request {
	struct osh_str document;
	bool has_document, escaped;
	struct osh_str operation_name;
	struct osh_str hash, id;
	char name_buf[NAME_MAX_BYTES], hash_buf[NAME_MAX_BYTES], id_buf[NAME_MAX_BYTES];
};

/* ---- Rules --------------------------------------------------------------- */

/* Deny: one field is enough. Allow: every field must be covered. */
static bool fields_match(const struct osh_policy *policy, const struct osh_image_rule *rule,
			 const struct osh_graphql_operation *op, bool deny)
{
	if (!(rule->flags & OSH_RULE_HAS_FIELDS))
		return true;
	for (size_t i = 0; i < op->field_count; i++) {
		bool matches = osh_globs_match_any(policy, rule->graphql.fields, op->fields[i]);

		if (matches && deny)
			return true;
		if (!matches && !deny)
			return false;
	}
	return !deny && op->field_count > 0;
}

static bool rule_matches(const struct osh_policy *policy, const struct osh_image_endpoint *e,
			 const struct osh_image_rule *rule, const void *what, bool deny)
{
	const struct osh_graphql_operation *op = what;

	(void)e;
	if (rule->kind != OSH_RULE_GRAPHQL || (rule->flags & OSH_RULE_NEVER))
		return false;
	if (!(rule->flags & OSH_RULE_ANY_TYPE) && rule->graphql.operation != op->type)
		return false;
	if ((rule->flags & OSH_RULE_HAS_NAME) &&
	    !osh_globs_match_any(policy, rule->graphql.names, op->name))
		return false;
	return fields_match(policy, rule, op, deny);
}

/* A denial names the first rule about this type of operation. */
static bool is_near(const struct osh_policy *policy, const struct osh_image_rule *rule,
		    const void *what)
{
	const struct osh_graphql_operation *op = what;

	(void)policy;
	return rule->kind == OSH_RULE_GRAPHQL && rule->graphql.operation == op->type;
}

/* Type, name and root fields; what is denied stands alone. */
static void note_operation(const struct osh_inquiry *inquiry, const struct osh_graphql_operation *op,
			   bool denied)
{
	static const char *const types[] = {
		[OSH_OPERATION_QUERY] = "query",
		[OSH_OPERATION_MUTATION] = "mutation",
		[OSH_OPERATION_SUBSCRIPTION] = "subscription",
	};
	const char *type = types[op->type] ? types[op->type] : "operation";
	char fields[128] = "";
	size_t len = 0;

	for (size_t i = 0; i < op->field_count && len + 1 < sizeof(fields); i++)
		len += (size_t)snprintf(fields + len, sizeof(fields) - len, "%s%.*s", i ? "," : "",
					OSH_STR_ARGS(op->fields[i]));
	if (denied)
		inquiry->decision->message[0] = '\0';
	osh_decision_note(inquiry->decision, "%s%s%.*s{%s}", type, op->name.len ? " " : "",
			  OSH_STR_ARGS(op->name), fields);
}

/* True when the operation may pass; else the decision says why not. */
static bool judge_operation(const struct osh_inquiry *inquiry,
			    const struct osh_graphql_operation *op)
{
	struct osh_decision *decision = inquiry->decision;
	uint32_t line = 0;
	enum osh_answer answer = osh_inquiry_answer(inquiry, op, &line);

	switch (answer) {
	case OSH_ANSWER_ALLOWED:
		osh_decision_allow(decision, line);
		break;
	case OSH_ANSWER_BLOCKED:
		osh_decision_deny(decision, OSH_STAGE_RULES,
				  "GraphQL operation blocked by endpoint policy");
		decision->rule_line = line;
		break;
	case OSH_ANSWER_NONE:
		osh_decision_deny(decision, OSH_STAGE_RULES,
				  "GraphQL operation not permitted by policy");
		osh_inquiry_find_nearest(inquiry, op);
		break;
	}
	note_operation(inquiry, op, answer != OSH_ANSWER_ALLOWED);
	return answer == OSH_ANSWER_ALLOWED;
}

/* ---- Persisted queries --------------------------------------------------- */

static const struct osh_image_registered *find_registered(const struct osh_inquiry *inquiry,
							  struct osh_str key)
{
	const struct osh_policy *policy = inquiry->match->policy;
	const struct osh_image_endpoint *e;
	size_t i = 0;

	while ((e = osh_inquiry_next(inquiry, &i))) {
		struct osh_image_list list = osh_image_extras(policy, e)->registry;
		const struct osh_image_registered *items = osh_image_at(policy, list.offset);

		for (uint32_t j = 0; (e->flags & OSH_IMAGE_REGISTERED) && j < list.count; j++) {
			if (osh_str_eq(osh_image_text(policy, items[j].key), key))
				return &items[j];
		}
	}
	return NULL;
}

/* The registered entry stands in for the document that only the server has. */
static bool load_registered(const struct osh_inquiry *inquiry, const struct request *request,
			    struct osh_graphql_operation *op)
{
	const struct osh_policy *policy = inquiry->match->policy;
	const struct osh_image_registered *item =
		find_registered(inquiry, request->hash.len ? request->hash : request->id);
	const struct osh_image_str *fields;

	if (!item) {
		osh_decision_deny(inquiry->decision, OSH_STAGE_RULES,
				  "GraphQL persisted query is not registered");
		return false;
	}
	fields = osh_image_at(policy, item->fields.offset);
	op->type = (enum osh_operation_type)item->operation;
	op->name = osh_image_text(policy, item->name);
	op->field_count = 0;
	for (uint32_t i = 0; i < item->fields.count; i++) {
		if (op->field_count == OSH_GRAPHQL_FIELDS_MAX)
			return osh_inquiry_reject(inquiry, "the registered query has more than 512 fields");
		op->fields[op->field_count++] = osh_image_text(policy, fields[i]);
	}
	return true;
}

static bool judge_request(const struct osh_inquiry *inquiry, const struct request *request)
{
	struct osh_graphql_operation op;
	const char *fault;

	if (!request->has_document)
		return load_registered(inquiry, request, &op) && judge_operation(inquiry, &op);
	fault = osh_graphql_read(request->document, request->escaped, request->operation_name, &op);
	return fault ? osh_inquiry_reject(inquiry, fault) : judge_operation(inquiry, &op);
}

/* ---- Reading a JSON request ---------------------------------------------- */

/* A string member, decoded; absent and null leave *ret empty. */
static const char *read_string(struct osh_str object, const char *key, char *buf,
			       struct osh_str *ret)
{
	struct osh_str value;

	if (!osh_json_get(object, osh_str(key), &value))
		return "a key is given twice, or in another case";
	if (osh_json_type(value) == OSH_JSON_NONE || osh_json_type(value) == OSH_JSON_NULL)
		return NULL;
	if (osh_json_type(value) != OSH_JSON_STRING)
		return "operationName, hash and id must be strings";
	if (!osh_json_decode(osh_json_raw(value), buf, NAME_MAX_BYTES, ret))
		return "a name is too long or malformed";
	return NULL;
}

static const char *read_hash(struct osh_str extensions, struct request *request)
{
	struct osh_str persisted;

	if (osh_json_type(extensions) == OSH_JSON_NONE ||
	    osh_json_type(extensions) == OSH_JSON_NULL)
		return NULL;
	if (osh_json_type(extensions) != OSH_JSON_OBJECT)
		return "extensions must be an object";
	if (!osh_json_get(extensions, osh_str("persistedQuery"), &persisted))
		return "a key is given twice, or in another case";
	if (osh_json_type(persisted) == OSH_JSON_NONE || osh_json_type(persisted) == OSH_JSON_NULL)
		return NULL;
	if (osh_json_type(persisted) != OSH_JSON_OBJECT)
		return "persistedQuery must be an object";
	return read_string(persisted, "sha256Hash", request->hash_buf, &request->hash);
}

static const char *read_ids(struct osh_str object, struct request *request)
{
	static const char *const keys[] = { "id", "documentId", "queryId" };

	for (size_t i = 0; i < OSH_COUNT_OF(keys); i++) {
		char buf[NAME_MAX_BYTES];
		struct osh_str id = { 0 };
		const char *fault = read_string(object, keys[i], buf, &id);

		if (fault)
			return fault;
		if (id.len && request->id.len)
			return "several ids are given";
		if (id.len) {
			memcpy(request->id_buf, buf, id.len);
			request->id = osh_str_n(request->id_buf, id.len);
		}
	}
	return NULL;
}

static const char *read_object(struct osh_str object, struct request *request)
{
	struct osh_str document, extensions;
	const char *fault;

	*request = (struct request){ .escaped = true };
	if (osh_json_type(object) != OSH_JSON_OBJECT)
		return "it is not an object";
	if (!osh_json_get(object, osh_str("query"), &document) ||
	    !osh_json_get(object, osh_str("extensions"), &extensions))
		return "a key is given twice, or in another case";
	if (osh_json_type(document) == OSH_JSON_STRING) {
		/* An empty text is no document: clients send it beside a hash. */
		request->document = osh_json_raw(document);
		request->has_document = request->document.len > 0;
	} else if (osh_json_type(document) != OSH_JSON_NONE &&
		   osh_json_type(document) != OSH_JSON_NULL) {
		return "query must be a string";
	}
	fault = read_string(object, "operationName", request->name_buf, &request->operation_name);
	if (!fault)
		fault = read_hash(extensions, request);
	if (!fault)
		fault = read_ids(object, request);
	if (!fault && !request->has_document && !request->hash.len && !request->id.len)
		fault = "it holds no query and no id";
	return fault;
}

static bool judge_object(const struct osh_inquiry *inquiry, struct osh_str object)
{
	struct request request;
	const char *fault = read_object(object, &request);

	return fault ? osh_inquiry_reject(inquiry, fault) : judge_request(inquiry, &request);
}

void osh_judge_graphql_payload(const struct osh_inquiry *inquiry, struct osh_str payload)
{
	(void)judge_object(inquiry, payload);
}

/* ---- POST ---------------------------------------------------------------- */

static bool check_object(const struct osh_inquiry *inquiry, struct osh_str object)
{
	struct osh_graphql_operation op;
	struct request request;
	const char *fault = read_object(object, &request);

	if (!fault && request.has_document)
		fault = osh_graphql_read(request.document, true, request.operation_name, &op);
	return fault ? osh_inquiry_reject(inquiry, fault) : true;
}

static bool is_multipart(struct osh_str content_type)
{
	return content_type.len >= 10 &&
	       osh_str_caseeq_c(osh_str_n(content_type.data, 10), "multipart/");
}

static void judge_post(const struct osh_inquiry *inquiry)
{
	if (is_multipart(inquiry->query->message->content_type))
		(void)osh_inquiry_reject(inquiry, "multipart bodies are not inspected");
	else
		osh_inquiry_judge_json(inquiry);
}

/* ---- GET ----------------------------------------------------------------- */

/* Parameters of a GET: each at most once, so that no server can read another one. */
struct parameters {
	struct request request;
	size_t documents, names, extensions, ids;
	char document_buf[OSH_QUERY_MAX];
	const char *fault;
};

static void keep(struct parameters *p, size_t *count, struct osh_str value, char *buf, size_t size,
		 struct osh_str *ret)
{
	if ((*count)++)
		p->fault = "a parameter is given twice, or several ids are";
	else if (value.len > size)
		p->fault = "a parameter is too long";
	else if (value.len) {
		memcpy(buf, value.data, value.len);
		*ret = osh_str_n(buf, value.len);
	}
}

static void keep_extensions(struct parameters *p, struct osh_str value)
{
	const char *fault = value.len ? osh_json_check(value) : NULL;

	if (p->extensions++)
		fault = "a parameter is given twice";
	if (!fault && value.len)
		fault = read_hash(osh_json_root(value), &p->request);
	if (fault)
		p->fault = fault;
}

static void read_parameter(struct parameters *p, struct osh_str key, struct osh_str value)
{
	struct request *r = &p->request;

	if (osh_str_eq_c(key, "query")) {
		keep(p, &p->documents, value, p->document_buf, sizeof(p->document_buf),
		     &r->document);
		r->has_document = r->document.len > 0;
	} else if (osh_str_eq_c(key, "operationName")) {
		keep(p, &p->names, value, r->name_buf, sizeof(r->name_buf), &r->operation_name);
	} else if (osh_str_eq_c(key, "extensions")) {
		keep_extensions(p, value);
	} else if (osh_str_eq_c(key, "id") || osh_str_eq_c(key, "documentId") ||
		   osh_str_eq_c(key, "queryId")) {
		keep(p, &p->ids, value, r->id_buf, sizeof(r->id_buf), &r->id);
	}
}

static void judge_get(const struct osh_inquiry *inquiry)
{
	char key_buf[OSH_QUERY_MAX], value_buf[OSH_QUERY_MAX];
	struct osh_str rest = inquiry->query->query, key, value;
	struct parameters p = { .fault = NULL };

	if (inquiry->query->message->body.len) {
		(void)osh_inquiry_reject(inquiry, "a GET must not carry a body");
		return;
	}
	while (osh_query_next(&rest, key_buf, value_buf, &key, &value))
		read_parameter(&p, key, value);
	if (!p.fault && !p.request.has_document && !p.request.hash.len && !p.request.id.len)
		p.fault = "it holds no query and no id";
	if (p.fault)
		(void)osh_inquiry_reject(inquiry, p.fault);
	else
		(void)judge_request(inquiry, &p.request);
}

void osh_judge_graphql(const struct osh_inquiry *inquiry)
{
	if (osh_str_eq_c(inquiry->query->method, "POST"))
		judge_post(inquiry);
	else if (osh_str_eq_c(inquiry->query->method, "GET"))
		judge_get(inquiry);
	else
		(void)osh_inquiry_reject(inquiry, "GraphQL requests are GET or POST");
}

const struct osh_dialect osh_graphql_dialect = {
	.name = "GraphQL",
	.check = check_object,
	.judge = judge_object,
	.matches = rule_matches,
	.is_near = is_near,
};
