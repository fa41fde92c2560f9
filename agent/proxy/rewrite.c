#include "proxy/rewrite.h"

#include <errno.h>
#include <string.h>

const struct osh_credential_fault osh_credential_invalid = {
	400, "invalid_credential_placeholder",
	"a credential placeholder that names no credential of this sandbox, or stands where none is replaced"
};
const struct osh_credential_fault osh_credential_mismatch = {
	403, "credential_endpoint_mismatch",
	"a credential may go only to the hosts of its provider, over verified TLS, and only through an "
	"endpoint that is not bound to another provider"
};
const struct osh_credential_fault osh_credential_unavailable = {
	500, "credential_unavailable",
	"the credential is gone, or holds bytes that cannot stand where its placeholder does"
};
const struct osh_credential_fault osh_credential_uninspected = {
	403, "uninspected_credentials",
	"a credential placeholder, or what cannot be looked through for one, in a body or message: the "
	"endpoint rewrites JSON, forms and text up to 256 KiB, uncompressed, and only when it says so "
	"(request_body_credential_rewrite, websocket_credential_rewrite)"
};

const struct osh_credential_fault osh_credential_opaque = {
	403, "uninspected_credentials",
	"a credential of this sandbox may go to this host, and the endpoint passes bytes unseen (tls: skip, "
	"protocol: tcp): inspect it (protocol: rest), or say allow_uninspected_credentials: true"
};

/* RFC 9110 9.3.8: no client puts into a TRACE what its reader must not learn. */
static const struct osh_credential_fault credential_returned = {
	405, "method_not_allowed",
	"TRACE gives back what it carries, so no credential goes into it"
};

static struct osh_vault_way way_of(const struct osh_session *s, const struct osh_decision *decision)
{
	return (struct osh_vault_way){
		.host = osh_str(s->host.text),
		.verified_tls = s->tls,
		.provider = decision->credential_provider,
	};
}

/* NULL for NONE and REPLACED. */
static const struct osh_credential_fault *fault_of(enum osh_vault_result result)
{
	switch (result) {
	case OSH_VAULT_NONE:
	case OSH_VAULT_REPLACED:
		return NULL;
	case OSH_VAULT_INVALID:
		return &osh_credential_invalid;
	case OSH_VAULT_MISMATCH:
		return &osh_credential_mismatch;
	case OSH_VAULT_UNAVAILABLE:
		break;
	}
	return &osh_credential_unavailable;
}

const struct osh_credential_fault *osh_rewrite_refusal(const struct osh_session *s)
{
	bool here = s->tls && osh_vault_serves(osh_session_vault(s), osh_str(s->host.text));

	return here ? &osh_credential_uninspected : &osh_credential_mismatch;
}

/* ---- Heads ------------------------------------------------------------------------------ */

/* One part of a head; `*text` then points into `bytes`. */
static const struct osh_credential_fault *resolve_part(const struct osh_vault *vault,
						       const struct osh_vault_way *way,
						       enum osh_vault_text kind, struct osh_str *text,
						       struct osh_buf *bytes)
{
	size_t before = bytes->len;
	enum osh_vault_result result;

	if (!osh_vault_marks(vault, *text))
		return NULL;
	/* All of the room at once: what points into it must not move. */
	if (osh_buf_reserve(bytes, OSH_REWRITE_HEAD_MAX - before) < 0)
		return &osh_credential_unavailable;
	result = osh_vault_resolve(vault, way, kind, *text, bytes);
	if (result == OSH_VAULT_REPLACED)
		*text = osh_str_n(osh_buf_bytes(bytes) + before, bytes->len - before);
	return fault_of(result);
}

const struct osh_credential_fault *osh_rewrite_head(const struct osh_session *s,
						    const struct osh_decision *decision,
						    struct osh_str method, struct osh_path *path,
						    struct osh_http_field *fields, size_t count,
						    struct osh_buf *bytes)
{
	const struct osh_vault *vault = osh_session_vault(s);
	const struct osh_vault_way way = way_of(s, decision);
	const struct osh_credential_fault *fault;

	if (osh_vault_marks(vault, method))
		return &osh_credential_invalid;
	fault = resolve_part(vault, &way, OSH_VAULT_PATH, &path->path, bytes);
	if (!fault)
		fault = resolve_part(vault, &way, OSH_VAULT_QUERY, &path->query, bytes);
	for (size_t i = 0; !fault && i < count; i++) {
		if (osh_vault_marks(vault, fields[i].name))
			return &osh_credential_invalid;
		fault = resolve_part(vault, &way, OSH_VAULT_HEADER, &fields[i].value, bytes);
	}
	if (!fault && bytes->len && osh_str_eq_c(method, "TRACE"))
		return &credential_returned;
	return fault;
}

/* ---- Bodies ----------------------------------------------------------------------------- */

static bool has_case_prefix(struct osh_str text, const char *prefix)
{
	size_t len = strlen(prefix);

	return text.len >= len && osh_str_caseeq_c(osh_str_n(text.data, len), prefix);
}

static bool has_case_suffix(struct osh_str text, const char *suffix)
{
	size_t len = strlen(suffix);

	return text.len >= len && osh_str_caseeq_c(osh_str_n(text.data + text.len - len, len), suffix);
}

/* JSON, a form, or text: what secrets can be written into. */
static bool find_kind(struct osh_str content_type, enum osh_vault_text *ret_kind)
{
	struct osh_str type = osh_str_until(content_type, "; \t"); /* before any parameters (RFC 9110 8.3.1) */

	if (osh_str_caseeq_c(type, "application/json") || has_case_suffix(type, "+json"))
		*ret_kind = OSH_VAULT_JSON;
	else if (osh_str_caseeq_c(type, "application/x-www-form-urlencoded"))
		*ret_kind = OSH_VAULT_QUERY;
	else if (has_case_prefix(type, "text/"))
		*ret_kind = OSH_VAULT_PLAIN;
	else
		return false;
	return true;
}

bool osh_rewrite_wants_body(const struct osh_decision *decision, struct osh_str content_type,
			    uint64_t length)
{
	enum osh_vault_text kind;

	if (!decision->rewrite_body || length == 0 || !find_kind(content_type, &kind))
		return false;
	/* The policy says that what is too large may pass unseen. */
	return !decision->uninspected_credentials || length == UINT64_MAX ||
	       length <= OSH_REWRITE_BODY_MAX;
}

/* Compressed: only looked into. */
static const struct osh_credential_fault *check_coded(const struct osh_session *s,
						      const struct osh_inspection *inspection)
{
	struct osh_message message;
	struct osh_buf inflated;
	const char *obstacle = osh_inspection_read(inspection, &inflated, &message);
	const struct osh_credential_fault *fault = NULL;

	if (obstacle || message.content_encoding.len || message.too_large)
		fault = &osh_credential_uninspected;
	else if (osh_vault_marks(osh_session_vault(s), message.body))
		fault = osh_rewrite_refusal(s);
	osh_buf_done(&inflated);
	return fault;
}

const struct osh_credential_fault *osh_rewrite_body(const struct osh_session *s,
						    const struct osh_decision *decision,
						    const struct osh_inspection *inspection,
						    struct osh_buf *out)
{
	struct osh_str encoding = osh_str(inspection->content_encoding.value);
	struct osh_str body = osh_buf_str(&inspection->body);
	const struct osh_vault *vault = osh_session_vault(s);
	const struct osh_vault_way way = way_of(s, decision);
	const struct osh_credential_fault *fault = NULL;
	enum osh_vault_text kind;

	if (!decision->rewrite_body || !find_kind(osh_str(inspection->content_type.value), &kind))
		return NULL;
	if (inspection->too_large) /* a part of it is gone */
		return &osh_credential_uninspected;
	if (body.len > OSH_REWRITE_BODY_MAX)
		fault = &osh_credential_uninspected;
	else if (inspection->content_encoding.count > 1 ||
		 osh_coding_parse(encoding) != OSH_CODING_NONE)
		fault = check_coded(s, inspection);
	else if (osh_vault_marks(vault, body))
		fault = fault_of(osh_vault_resolve(vault, &way, kind, body, out));
	return fault == &osh_credential_uninspected && decision->uninspected_credentials ? NULL : fault;
}

/* A JSON value is what most of them are; a secret with quotes must not end its string. */
static enum osh_vault_text kind_of_text(struct osh_str text)
{
	size_t i = 0;

	while (i < text.len && strchr(" \t\r\n", text.data[i]))
		i++;
	return i < text.len && strchr("{[\"", text.data[i]) ? OSH_VAULT_JSON : OSH_VAULT_PLAIN;
}

const struct osh_credential_fault *osh_rewrite_text(const struct osh_session *s,
						    const struct osh_decision *decision,
						    struct osh_str text, struct osh_buf *out)
{
	const struct osh_vault *vault = osh_session_vault(s);
	const struct osh_vault_way way = way_of(s, decision);
	const struct osh_credential_fault *fault;

	if (!decision->rewrite_text) {
		fault = osh_vault_contains(vault, text) ? osh_rewrite_refusal(s) : NULL;
		return fault == &osh_credential_uninspected && decision->uninspected_credentials ? NULL :
												   fault;
	}
	if (!osh_vault_marks(vault, text))
		return NULL;
	return fault_of(osh_vault_resolve(vault, &way, kind_of_text(text), text, out));
}
