#include "proxy/via.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "credential/base64.h"

/* ---- Which hosts ---------------------------------------------------------------------------- */

int osh_via_direct_parse(struct osh_str text, struct osh_via_direct *ret_direct)
{
	struct osh_via_direct direct = { .is_range = osh_cidr_parse(text, &direct.range) == 0 };
	size_t skipped = osh_str_has_prefix(text, "*.") ? 2 : osh_str_has_prefix(text, ".");

	if (!direct.is_range) {
		if (osh_host_parse(osh_str_n(text.data + skipped, text.len - skipped), &direct.host) < 0 ||
		    direct.host.kind != OSH_HOST_NAME)
			return -EINVAL;
	}
	*ret_direct = direct;
	return 0;
}

static bool is_below(const char *name, const char *parent)
{
	size_t len = strlen(name), parent_len = strlen(parent);

	return len >= parent_len && strcmp(name + len - parent_len, parent) == 0 &&
	       (len == parent_len || name[len - parent_len - 1] == '.');
}

static bool are_within(const struct osh_cidr *range, const struct osh_addresses *addresses)
{
	for (size_t i = 0; i < addresses->count; i++) {
		if (!osh_cidr_holds(range, &addresses->items[i]))
			return false;
	}
	return addresses->count > 0;
}

bool osh_via_serves(const struct osh_via *via, const struct osh_host *host,
		    const struct osh_addresses *addresses)
{
	if (!via->port_host || osh_host_is_gateway(osh_str(host->text)) || osh_host_is_localhost(osh_str(host->text)))
		return false;
	for (size_t i = 0; i < via->direct_count; i++) {
		const struct osh_via_direct *direct = &via->direct[i];

		if (direct->is_range ? are_within(&direct->range, addresses) :
				       is_below(host->text, direct->host.text))
			return false;
	}
	return true;
}

/* ---- From the agent -------------------------------------------------------------------------- */

/* Strings, each with its NUL: host, port, credential, then what is reached directly. */
int osh_via_encode(const struct osh_via_settings *settings, struct osh_buf *out)
{
	int r;

	if (!settings->host || !*settings->host)
		return 0;
	r = osh_buf_printf(out, "%s%c%u%c", settings->host, 0, settings->port_host, 0);
	if (r == 0)
		r = osh_buf_append_str(out, settings->credential);
	if (r == 0)
		r = osh_buf_append(out, "", 1);
	for (const char *const *d = settings->direct; r == 0 && d && *d; d++)
		r = osh_buf_append(out, *d, strlen(*d) + 1);
	return r;
}

static int take_text(struct osh_str *bytes, struct osh_str *ret_text)
{
	const char *end = osh_str_chr(*bytes, '\0');

	if (!end)
		return -EBADMSG;
	*ret_text = osh_str_n(bytes->data, (size_t)(end - bytes->data));
	bytes->data = end + 1;
	bytes->len -= ret_text->len + 1;
	return 0;
}

static int keep_credential(struct osh_str credential, struct osh_secret *ret_basic)
{
	char encoded[(OSH_VIA_CREDENTIAL_MAX + 2) / 3 * 4];
	size_t len = osh_base64_encoded_len(credential.len);
	int r;

	if (credential.len == 0)
		return 0;
	if (credential.len > OSH_VIA_CREDENTIAL_MAX)
		return -EBADMSG;
	osh_base64_encode(credential, encoded);
	r = osh_secret_init(ret_basic, osh_str_n(encoded, len));
	osh_wipe(encoded, sizeof(encoded));
	return r;
}

int osh_via_decode(struct osh_str bytes, struct osh_via *ret_via)
{
	struct osh_via via = { .port_host = 0 };
	struct osh_str host, port, credential, direct;
	uint64_t number;

	if (bytes.len == 0) {
		*ret_via = via;
		return 0;
	}
	if (take_text(&bytes, &host) < 0 || take_text(&bytes, &port) < 0 || take_text(&bytes, &credential) < 0 ||
	    osh_host_parse(host, &via.host) < 0 || osh_str_parse_u64(port, UINT16_MAX, &number) < 0)
		return -EBADMSG;
	via.port_host = (uint16_t)number;
	while (bytes.len) {
		if (via.direct_count == OSH_VIA_DIRECT_MAX || take_text(&bytes, &direct) < 0 ||
		    osh_via_direct_parse(direct, &via.direct[via.direct_count++]) < 0)
			return -EBADMSG;
	}
	*ret_via = via;
	return keep_credential(credential, &ret_via->basic);
}

void osh_via_done(struct osh_via *via)
{
	osh_secret_done(&via->basic);
	*via = (struct osh_via){ .port_host = 0 };
}

/* ---- What is said ------------------------------------------------------------------------------ */

int osh_via_write_connect(const struct osh_via *via, const struct osh_host *host, uint16_t port_host,
			  struct osh_buf *out)
{
	bool is_v6 = host->kind == OSH_HOST_IPV6;
	char authority[OSH_HOST_MAX + sizeof("[]:65535")];
	int r;

	snprintf(authority, sizeof(authority), "%s%s%s:%u", is_v6 ? "[" : "", host->text, is_v6 ? "]" : "",
		 port_host);
	r = osh_buf_printf(out, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n", authority, authority);

	if (r == 0 && osh_secret_is_set(&via->basic)) {
		r = osh_buf_append_c(out, "Proxy-Authorization: Basic ");
		if (r == 0)
			r = osh_buf_append_str(out, osh_secret_reveal(&via->basic));
		if (r == 0)
			r = osh_buf_append_c(out, "\r\n");
	}
	return r == 0 ? osh_buf_append_c(out, "\r\n") : r;
}

static void explain_refusal(const struct osh_via *via, const struct osh_http_head *head, char *why,
			    size_t size)
{
	char phrase[128];

	osh_str_escape(head->phrase, phrase, sizeof(phrase));
	if (head->status != 407)
		snprintf(why, size, "refused: %u %s", head->status, phrase);
	else if (osh_secret_is_set(&via->basic))
		snprintf(why, size, "does not take the credential in upstream_proxy_credential (407 %s)", phrase);
	else
		snprintf(why, size, "wants a credential (407 %s): set upstream_proxy_credential", phrase);
}

enum osh_http_result osh_via_read_answer(const struct osh_via *via, struct osh_str in,
					 struct osh_http_scan *scan, size_t *ret_len, char *why, size_t size)
{
	/* As with HEAD, no body follows a success, whatever the fields say. */
	const bool has_no_body = true;
	struct osh_http_error error;
	struct osh_http_head head;

	switch (osh_http_parse_response(in, has_no_body, scan, &head, &error)) {
	case OSH_HTTP_NEED_MORE:
		return OSH_HTTP_NEED_MORE;
	case OSH_HTTP_BAD:
		snprintf(why, size, "gave an answer that is none: %s", error.reason);
		return OSH_HTTP_BAD;
	case OSH_HTTP_DONE:
		break;
	}
	if (head.status < 200 || head.status > 299) {
		explain_refusal(via, &head, why, size);
		return OSH_HTTP_BAD;
	}
	*ret_len = head.len;
	return OSH_HTTP_DONE;
}
