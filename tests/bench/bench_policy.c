/* What a question costs as the policy grows, and what loading a large file costs. Hosts,
 * binaries and rules are of everyday shape; questions walk over all endpoints, so that no
 * cache line is asked twice in a row. */
#include "policy/policy.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"

#define QUESTIONS 400000u
#define ROUNDS 5 /* the best one counts: the others were disturbed */
#define ENDPOINTS_PER_ENTRY 10u
#define BINARIES 50u

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void die(const char *what)
{
	fprintf(stderr, "bench_policy: %s\n", what);
	exit(1);
}

static void host_of(unsigned i, char *buf, size_t size)
{
	snprintf(buf, size, "a%u.s%u.test", i, i % 97);
}

/* One line an endpoint, presets for rules: 10,000 of them fit into the largest file. */
static struct osh_buf write_policy(unsigned endpoints)
{
	struct osh_buf text;
	char host[64];

	osh_buf_init(&text, OSH_POLICY_BYTES_MAX);
	osh_buf_append_c(&text, "version: 1\nnetwork_policies:\n");
	for (unsigned i = 0; i < endpoints; i++) {
		if (i % ENDPOINTS_PER_ENTRY == 0)
			osh_buf_printf(&text, " e%u:\n  binaries: [{ path: /usr/bin/tool%u }]\n  endpoints:\n",
				       i / ENDPOINTS_PER_ENTRY, i / ENDPOINTS_PER_ENTRY % BINARIES);
		host_of(i, host, sizeof(host));
		if (osh_buf_printf(&text, "  - { host: %s, port: 443, protocol: rest, %s, access: read-only }\n",
				   host, "enforcement: enforce") < 0)
			die("the policy does not fit into a file");
	}
	return text;
}

static void *compile(const struct osh_buf *text, size_t *ret_len)
{
	struct osh_diags *diags = calloc(1, sizeof(*diags));
	struct osh_policy_compile_options options = { .revision = 1 };
	struct osh_policy_doc *doc;
	void *image;

	if (!diags || osh_policy_parse(osh_buf_str(text), diags, &doc) < 0)
		die(diags ? diags->items[0].message : "out of memory");
	if (osh_policy_compile(doc, &options, &image, ret_len) < 0)
		die("cannot compile");
	osh_policy_doc_free(doc);
	free(diags);
	return image;
}

/* Nanoseconds for one allowed request. */
static double measure_questions(const struct osh_policy *policy, unsigned endpoints)
{
	struct osh_request_query query = { .method = osh_str("GET"),
					   .path = osh_str("/repos/acme/contents/a/b/c.py") };
	static struct osh_decision decision;
	double best = 1e9;

	for (int round = 0; round < ROUNDS; round++) {
		double start = now_s(), took;

		for (unsigned i = 0; i < QUESTIONS; i++) {
			unsigned at = (unsigned)((uint64_t)i * 7919 % endpoints);
			char host[64], binary[64];

			host_of(at, host, sizeof(host));
			snprintf(binary, sizeof(binary), "/usr/bin/tool%u", at / ENDPOINTS_PER_ENTRY % BINARIES);
			query.connect.host = osh_str(host);
			query.connect.port_host = 443;
			query.connect.subject.binary = osh_str(binary);
			osh_policy_request(policy, &query, &decision);
			if (decision.effect != OSH_EFFECT_ALLOW)
				die("a question that must be allowed was not");
		}
		took = now_s() - start;
		best = took < best ? took : best;
	}
	return best / QUESTIONS * 1e9;
}

/* What the loop above does besides asking. */
static double measure_overhead(unsigned endpoints)
{
	double best = 1e9;
	volatile size_t sink = 0;

	for (int round = 0; round < ROUNDS; round++) {
		double start = now_s(), took;

		for (unsigned i = 0; i < QUESTIONS; i++) {
			unsigned at = (unsigned)((uint64_t)i * 7919 % endpoints);
			char host[64], binary[64];

			host_of(at, host, sizeof(host));
			snprintf(binary, sizeof(binary), "/usr/bin/tool%u", at / ENDPOINTS_PER_ENTRY % BINARIES);
			sink += osh_str(host).len + osh_str(binary).len;
		}
		took = now_s() - start;
		best = took < best ? took : best;
	}
	return best / QUESTIONS * 1e9;
}

static double question_cost(unsigned endpoints)
{
	struct osh_buf text = write_policy(endpoints);
	struct osh_policy policy;
	size_t len;
	void *image;
	double ns;

	image = compile(&text, &len);
	if (osh_policy_open(image, len, &policy) < 0)
		die("cannot open the image");
	ns = measure_questions(&policy, endpoints) - measure_overhead(endpoints);
	free(image);
	osh_buf_done(&text);
	return ns;
}

static double load_cost(unsigned endpoints)
{
	struct osh_buf text = write_policy(endpoints);
	double best = 1e9;

	for (int round = 0; round < ROUNDS; round++) {
		double start = now_s(), took;
		size_t len;

		free(compile(&text, &len));
		took = now_s() - start;
		best = took < best ? took : best;
	}
	osh_buf_done(&text);
	return best;
}

int main(void)
{
	double small = question_cost(10), large = question_cost(10000);

	printf("one request judged, 10 endpoints      %8.0f ns\n", small);
	printf("one request judged, 10,000 endpoints  %8.0f ns (%.2fx; at most 1.5x)\n", large, large / small);
	printf("requests judged a second, one core    %8.2f M (at least 1 M)\n", 1e3 / large);
	printf("10,000 endpoints loaded               %8.1f ms (at most 100)\n", load_cost(10000) * 1e3);
	return 0;
}
