/* What a question costs as the policy grows, and what loading a large file costs. Hosts,
 * binaries and rules are of everyday shape, names as long in a small policy as in a large
 * one. Questions jump over all endpoints in an order that no predictor learns, so that the
 * cache lines of the large policy are paid for. */
#include "policy/policy.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/mem.h"

#define QUESTIONS 200000u
#define ROUNDS 9 /* the best one counts: the others were disturbed */
#define SMALL 10u
#define LARGE 10000u
#define ENDPOINTS_PER_ENTRY 10u
#define BINARIES 50u
#define NAMES 10007u /* a prime: host numbers are scattered below it */

/* What the endpoints of a policy look like. */
struct shape {
	const char *name;
	bool wildcard;  /* the host's first label is a star */
	bool own_rules; /* each endpoint has its own path, instead of a preset */
};

static const struct shape shapes[] = {
	{ .name = "presets" },
	{ .name = "rules of their own", .own_rules = true },
	{ .name = "wildcard hosts", .wildcard = true },
};

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void die(const char *what)
{
	fprintf(stderr, "bench_policy: %s\n", what);
	exit(1);
}

/* `first` is the star of a wildcard, what a client says for it, or nothing. */
static void host_of(unsigned i, const char *first, char *buf, size_t size)
{
	snprintf(buf, size, "%sa%u.s%u.io", first, i * 7919 % NAMES, i % 97);
}

static void binary_of(unsigned i, char *buf, size_t size)
{
	snprintf(buf, size, "/usr/bin/tool%u", i / ENDPOINTS_PER_ENTRY % BINARIES);
}

static void write_endpoint(struct osh_buf *text, const struct shape *shape, unsigned i)
{
	char host[64];

	host_of(i, shape->wildcard ? "*." : "", host, sizeof(host));
	osh_buf_printf(text, "  - {host: '%s',port: 443,protocol: rest,", host);
	if (shape->own_rules)
		osh_buf_printf(text, "rules: [{allow: {method: GET,path: /%u/**}}]}\n", i);
	else
		osh_buf_append_c(text, "access: read-only,enforcement: enforce}\n");
}

/* One line an endpoint: 10,000 of them fit into the largest file. */
static struct osh_buf write_policy(const struct shape *shape, unsigned endpoints)
{
	struct osh_buf text;
	char binary[64];

	osh_buf_init(&text, 2 * OSH_POLICY_BYTES_MAX);
	osh_buf_append_c(&text, "version: 1\nnetwork_policies:\n");
	for (unsigned i = 0; i < endpoints; i++) {
		binary_of(i, binary, sizeof(binary));
		if (i % ENDPOINTS_PER_ENTRY == 0)
			osh_buf_printf(&text, " e%u:\n  binaries: [{path: %s}]\n  endpoints:\n", i, binary);
		write_endpoint(&text, shape, i);
	}
	if (text.len > OSH_POLICY_BYTES_MAX)
		die("the policy does not fit into a file");
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

/* ---- Questions ----------------------------------------------------------- */

struct question {
	char host[64], binary[64], path[64];
	struct osh_request_query query;
};

static void write_question(struct question *q, const struct shape *shape, unsigned i)
{
	host_of(i, shape->wildcard ? "www." : "", q->host, sizeof(q->host));
	binary_of(i, q->binary, sizeof(q->binary));
	snprintf(q->path, sizeof(q->path), "/%u/acme/contents/a/b/c.py", i);
	q->query.method = osh_str("GET");
	q->query.path = osh_str(q->path);
	q->query.connect.host = osh_str(q->host);
	q->query.connect.port_host = 443;
	q->query.connect.subject.binary = osh_str(q->binary);
}

/* Nanoseconds for one allowed request; without a policy what the loop itself costs. */
static double measure(const struct osh_policy *policy, const struct shape *shape, unsigned endpoints)
{
	static struct osh_decision decision;
	struct question question = { .host = "" };
	double best = 1e9;

	for (int round = 0; round < ROUNDS; round++) {
		double start = now_s(), took;
		uint32_t random = 1;

		for (unsigned i = 0; i < QUESTIONS; i++) {
			random = random * 1664525 + 1013904223; /* Numerical Recipes */
			write_question(&question, shape, (unsigned)((uint64_t)random * endpoints >> 32));
			if (!policy)
				continue;
			osh_policy_request(policy, &question.query, &decision);
			if (decision.effect != OSH_EFFECT_ALLOW)
				die("a question that must be allowed was not");
		}
		took = now_s() - start;
		best = took < best ? took : best;
	}
	return best / QUESTIONS * 1e9;
}

static double question_cost(const struct shape *shape, unsigned endpoints)
{
	struct osh_buf text = write_policy(shape, endpoints);
	struct osh_policy policy;
	size_t len;
	void *image;
	double ns;

	image = compile(&text, &len);
	if (osh_policy_open(image, len, &policy) < 0)
		die("cannot open the image");
	ns = measure(&policy, shape, endpoints) - measure(NULL, shape, endpoints);
	free(image);
	osh_buf_done(&text);
	return ns;
}

static void compare(const struct shape *shape)
{
	double small = question_cost(shape, SMALL), large = question_cost(shape, LARGE);

	printf("one request judged, %s\n", shape->name);
	printf("  10 endpoints                        %8.0f ns\n", small);
	printf("  10,000 endpoints                    %8.0f ns (%.2fx; at most 1.5x)\n", large, large / small);
	printf("  requests a second, one core         %8.2f M (at least 1 M)\n", 1e3 / large);
}

/* ---- Loading ------------------------------------------------------------- */

static double load_cost(unsigned endpoints)
{
	struct osh_buf text = write_policy(&shapes[0], endpoints);
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
	for (size_t i = 0; i < OSH_COUNT_OF(shapes); i++)
		compare(&shapes[i]);
	printf("1,000 endpoints loaded                %8.1f ms\n", load_cost(1000) * 1e3);
	printf("10,000 endpoints loaded               %8.1f ms (at most 100)\n", load_cost(LARGE) * 1e3);
	return 0;
}
