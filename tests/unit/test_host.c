/* Host names from five sources, read by one parser (threats C05 to C10). */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "policy/host.h"

struct good {
	const char *in, *out;
	enum osh_host_kind kind;
};

static const struct good good[] = {
	{ "ok.test", "ok.test", OSH_HOST_NAME },
	{ "OK.TEST.", "ok.test", OSH_HOST_NAME },
	{ "oK.tEsT", "ok.test", OSH_HOST_NAME },
	{ "localhost", "localhost", OSH_HOST_NAME },
	{ "_dmarc.ok.test", "_dmarc.ok.test", OSH_HOST_NAME },
	{ "a-b.c--d.test", "a-b.c--d.test", OSH_HOST_NAME },
	{ "1.2.3.test", "1.2.3.test", OSH_HOST_NAME },
	{ "0x7f.test", "0x7f.test", OSH_HOST_NAME },
	{ "3com", "3com", OSH_HOST_NAME },
	{ "xn--mnchen-3ya.de", "xn--mnchen-3ya.de", OSH_HOST_NAME },
	{ "XN--NXASMQ5B.test", "xn--nxasmq5b.test", OSH_HOST_NAME },
	{ "xn--p1ai", "xn--p1ai", OSH_HOST_NAME },
	{ "203.0.113.10", "203.0.113.10", OSH_HOST_IPV4 },
	{ "[2001:db8::10]", "2001:db8::10", OSH_HOST_IPV6 },
	{ "2001:DB8:0:0::10", "2001:db8::10", OSH_HOST_IPV6 },
	{ "::1", "::1", OSH_HOST_IPV6 },
};

static const char *const bad[] = {
	"",
	".",
	"..",
	"ok.test..",
	".ok.test",
	"ok..test",
	"-ok.test",
	"ok-.test",
	/* old resolvers' addresses and other spellings of one */
	"127.1",
	"0x7f.1",
	"2130706433",
	"0x7f000001",
	"127.0.0.01",
	"127.0.0.1.",
	"1.2.3.4.5",
	"256.1.1.1",
	"1.2.3.0x4",
	"ok.1",
	"ok.0x1",
	"ok.0x",
	"[::ffff:7f00:1]",
	"::ffff:127.0.0.1",
	"[fe80::1%eth0]",
	"fe80::1%1",
	"[::1",
	"::1]",
	"[]",
	"[ok.test]",
	"[1.2.3.4]",
	":::",
	"1:2:3:4:5:6:7:8:9",
	/* bytes that belong to something else */
	"ok test",
	"ok\ttest",
	"ok@test",
	"x@ok.test",
	"ok#test",
	"ok?test",
	"ok/test",
	"ok\\test",
	"ok%00.test",
	"ok%2etest",
	"ok.test:443",
	"*.ok.test",
	"ok,test",
	"m\xc3\xbcnchen.de",
	"ok\xe3\x80\x82test",
	"\xff.test",
	/* bad punycode */
	"xn--",
	"xn--.test",
	"xn--a",
	"xn---",
	"xn--ok-.test",
	"xn--99999999",
	"xn--a-b-",
	"xn--\x7f",
};

Test(host, accepts)
{
	for (size_t i = 0; i < OSH_COUNT_OF(good); i++) {
		struct osh_host host;

		cr_assert_eq(osh_host_parse(osh_str(good[i].in), &host), 0, "%s", good[i].in);
		cr_expect_str_eq(host.text, good[i].out);
		cr_expect_eq(host.kind, good[i].kind, "%s", good[i].in);
	}
}

Test(host, refuses)
{
	for (size_t i = 0; i < OSH_COUNT_OF(bad); i++) {
		struct osh_host host = { .text = "untouched" };

		cr_expect_eq(osh_host_parse(osh_str(bad[i]), &host), -EINVAL, "%s", bad[i]);
		cr_expect_str_eq(host.text, "untouched");
	}
}

/* A NUL cuts a C string, but not a name. */
Test(host, refuses_nul)
{
	static const char bytes[] = "ok.test\0.no.test";
	struct osh_host host;

	cr_expect_eq(osh_host_parse(osh_str_n(bytes, sizeof(bytes) - 1), &host), -EINVAL);
	cr_expect_eq(osh_host_parse(osh_str_n(bytes, 8), &host), -EINVAL);
	cr_expect_eq(osh_host_parse(osh_str_n(bytes, 7), &host), 0);
}

Test(host, lengths)
{
	char text[300];
	struct osh_host host;

	memset(text, 'a', sizeof(text));
	cr_expect_eq(osh_host_parse(osh_str_n(text, 63), &host), 0);
	cr_expect_eq(osh_host_parse(osh_str_n(text, 64), &host), -EINVAL);
	for (size_t i = 49; i < sizeof(text); i += 50)
		text[i] = '.';
	cr_expect_eq(osh_host_parse(osh_str_n(text, 253), &host), 0);
	cr_expect_eq(strlen(host.text), 253);
	cr_expect_eq(osh_host_parse(osh_str_n(text, 254), &host), -EINVAL);
	text[253] = '.';
	cr_expect_eq(osh_host_parse(osh_str_n(text, 254), &host), 0,
		     "a trailing dot does not count");
}

/* What was parsed once parses again, to itself. */
Test(host, is_idempotent)
{
	for (size_t i = 0; i < OSH_COUNT_OF(good); i++) {
		struct osh_host once, twice;

		cr_assert_eq(osh_host_parse(osh_str(good[i].in), &once), 0);
		cr_assert_eq(osh_host_parse(osh_str(once.text), &twice), 0, "%s", once.text);
		cr_expect_str_eq(once.text, twice.text);
	}
}

Test(host, ipv4_is_mapped)
{
	static const unsigned char mapped[16] = {
		[10] = 0xff, [11] = 0xff, [12] = 203, 0, 113, 10
	};
	struct osh_host host;

	cr_assert_eq(osh_host_parse(osh_str("203.0.113.10"), &host), 0);
	cr_expect_eq(memcmp(&host.addr, mapped, 16), 0);
}

Test(authority, accepts)
{
	static const struct {
		const char *in, *host;
		uint16_t port;
	} rows[] = {
		{ "ok.test", "ok.test", 443 },
		{ "ok.test:443", "ok.test", 443 },
		{ "OK.test.:8443", "ok.test", 8443 },
		{ "[2001:db8::10]", "2001:db8::10", 443 },
		{ "[2001:db8::10]:1", "2001:db8::10", 1 },
		{ "203.0.113.1:65535", "203.0.113.1", 65535 },
	};

	for (size_t i = 0; i < OSH_COUNT_OF(rows); i++) {
		struct osh_host host;
		uint16_t port;

		cr_assert_eq(osh_authority_parse(osh_str(rows[i].in), 443, &host, &port), 0, "%s",
			     rows[i].in);
		cr_expect_str_eq(host.text, rows[i].host);
		cr_expect_eq(port, rows[i].port);
	}
}

Test(authority, refuses)
{
	static const char *const rows[] = {
		"",
		":443",
		"ok.test:",
		"ok.test:0",
		"ok.test:0443",
		"ok.test:65536",
		"ok.test:443:443",
		"ok.test:+443",
		"ok.test: 443",
		"ok.test:4 3",
		"ok.test:https",
		"x@ok.test",
		"x@ok.test:443",
		"2001:db8::10:443x",
		"[2001:db8::10",
		"[2001:db8::10]x",
		"[2001:db8::10]:",
		"ok.test/:443",
		"http://ok.test",
		"ok.test,no.test",
		" ok.test",
		"ok.test ",
	};

	for (size_t i = 0; i < OSH_COUNT_OF(rows); i++) {
		struct osh_host host;
		uint16_t port = 7;

		cr_expect_eq(osh_authority_parse(osh_str(rows[i]), 443, &host, &port), -EINVAL,
			     "%s", rows[i]);
		cr_expect_eq(port, 7);
	}
}
