/* Policy texts, and questions to what loads: the request follows behind a NUL. */
#include <stdlib.h>
#include <string.h>

#include "policy/path.h"
#include "policy/policy.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void ignore_port(void *context, uint16_t port)
{
	(void)context;
	(void)port;
}

static void ask(const struct osh_policy *policy, struct osh_str host, struct osh_str body)
{
	static const char *const methods[] = { "GET", "POST" };
	struct osh_str ancestor = osh_str("/usr/bin/git");
	struct osh_message message = { .body = body };
	struct osh_request_query query = {
		.connect = { .subject = { .binary = osh_str("/usr/bin/curl"),
					  .ancestors = &ancestor,
					  .ancestor_count = 1 },
			     .host = host,
			     .port_host = 443 },
		.path = osh_str("/graphql"),
		.query = body,
		.websocket_upgrade = true,
	};
	struct in6_addr addr = { .s6_addr = { [10] = 0xff, [11] = 0xff, [12] = 10, 0, 0, 1 } };
	struct osh_decision decision;

	for (int i = 0; i < 4; i++) {
		query.method = osh_str(methods[i & 1]);
		message.is_text = i & 2;
		query.message = i ? &message : NULL;
		osh_policy_request(policy, &query, &decision);
		if (decision.effect == OSH_EFFECT_DENY && !decision.reason[0])
			abort();
	}
	(void)osh_policy_address(policy, &query.connect, &addr);
	osh_policy_ports(policy, host, ignore_port, NULL);
	osh_policy_ports(policy, body, ignore_port, NULL); /* as a host of any labels */
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	const unsigned char *split = size ? memchr(data, '\0', size) : NULL;
	size_t len = split ? (size_t)(split - data) : size;
	static struct osh_diags diags;
	struct osh_policy_doc *doc = NULL;
	struct osh_policy policy;
	void *image = NULL;
	size_t image_len;

	memset(&diags, 0, sizeof(diags));
	if (osh_policy_parse(osh_str_n((const char *)data, len), &diags, &doc) < 0) {
		if (diags.errors == 0)
			abort();
		return 0;
	}
	if (osh_policy_compile(doc, NULL, &image, &image_len) ||
	    osh_policy_open(image, image_len, &policy))
		abort();
	ask(&policy, osh_str("a.test"),
	    split ? osh_str_n((const char *)split + 1, size - len - 1) : osh_str(""));
	ask(&policy, osh_str("gql.test"), osh_str("{\"query\":\"{a}\"}"));
	free(image);
	osh_policy_doc_free(doc);
	return 0;
}
