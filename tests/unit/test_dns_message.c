/* DNS questions as hostile and ordinary stubs send them, and the answers. */
#include "proxy/dns_message.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))
#define BYTES(text) (text), sizeof(text) - 1

/* id 0x1234, RD, then the counts. */
#define HEAD(qd, an, ns, ar) "\x12\x34\x01\x00\0" qd "\0" an "\0" ns "\0" ar
#define ONE HEAD("\1", "\0", "\0", "\0")
#define ONE_EDNS HEAD("\1", "\0", "\0", "\1")
#define NAME "\2ok\4test\0"
#define A_IN "\0\1\0\1"
#define OPT "\0\0\x29\4\xd0\0\0\0\0\0\0"
#define LABEL_63 "\x3f" "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define LABEL_61 "\x3d" "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define LABEL_62 "\x3e" "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const struct {
	const char *name;
	const char *bytes;
	size_t len;
	enum osh_dns_result want;
	enum osh_dns_rcode rcode;
	const char *text;
} table[] = {
	{ "plain", BYTES(ONE NAME A_IN), OSH_DNS_PARSED, OSH_DNS_NOERROR, "ok.test" },
	{ "0x20", BYTES(ONE "\2oK\4TeSt\0" A_IN), OSH_DNS_PARSED, OSH_DNS_NOERROR, "ok.test" },
	{ "underscore", BYTES(ONE "\5_dmarc\2ok\0" A_IN), OSH_DNS_PARSED, OSH_DNS_FORMERR, NULL },
	{ "underscore, right length", BYTES(ONE "\6_dmarc\2ok\0" A_IN), OSH_DNS_PARSED,
	  OSH_DNS_NOERROR, "_dmarc.ok" },
	{ "EDNS", BYTES(ONE_EDNS NAME A_IN OPT), OSH_DNS_PARSED, OSH_DNS_NOERROR, "ok.test" },
	{ "EDNS with a cookie", BYTES(ONE_EDNS NAME A_IN "\0\0\x29\4\xd0\0\0\0\0\0\x0c\0\x0a\0\x08" "12345678"),
	  OSH_DNS_PARSED, OSH_DNS_NOERROR, "ok.test" },
	{ "EDNS version 1", BYTES(ONE_EDNS NAME A_IN "\0\0\x29\4\xd0\0\1\0\0\0\0"), OSH_DNS_PARSED,
	  OSH_DNS_BADVERS, "ok.test" },
	{ "OPT twice", BYTES(HEAD("\1", "\0", "\0", "\2") NAME A_IN OPT OPT), OSH_DNS_PARSED,
	  OSH_DNS_FORMERR, NULL },
	{ "OPT cut off", BYTES(ONE_EDNS NAME A_IN "\0\0\x29\4\xd0"), OSH_DNS_PARSED, OSH_DNS_FORMERR, NULL },
	{ "OPT announced, absent", BYTES(ONE_EDNS NAME A_IN), OSH_DNS_PARSED, OSH_DNS_FORMERR, NULL },
	{ "additional record of another type", BYTES(ONE_EDNS NAME A_IN "\0\0\1\0\1\0\0\0\0\0\4\1\2\3\4"),
	  OSH_DNS_PARSED, OSH_DNS_FORMERR, NULL },
	{ "OPT owned by a name", BYTES(ONE_EDNS NAME A_IN "\1a" OPT), OSH_DNS_PARSED, OSH_DNS_FORMERR, NULL },
	{ "byte behind", BYTES(ONE NAME A_IN "x"), OSH_DNS_PARSED, OSH_DNS_FORMERR, NULL },
	{ "short header", BYTES("\x12\x34\x01\0\0\1\0\0\0\0\0"), OSH_DNS_DROP, 0, NULL },
	{ "empty", BYTES(""), OSH_DNS_DROP, 0, NULL },
	{ "a response", BYTES("\x12\x34\x81\x80\0\1\0\0\0\0\0\0" NAME A_IN), OSH_DNS_DROP, 0, NULL },
	{ "no question", BYTES(HEAD("\0", "\0", "\0", "\0")), OSH_DNS_PARSED, OSH_DNS_FORMERR, NULL },
	{ "two questions", BYTES(HEAD("\2", "\0", "\0", "\0") NAME A_IN NAME A_IN), OSH_DNS_PARSED,
	  OSH_DNS_FORMERR, NULL },
	{ "65535 questions", BYTES("\x12\x34\1\0\xff\xff\0\0\0\0\0\0" NAME A_IN), OSH_DNS_PARSED,
	  OSH_DNS_FORMERR, NULL },
	{ "an answer in the question", BYTES(HEAD("\1", "\1", "\0", "\0") NAME A_IN), OSH_DNS_PARSED,
	  OSH_DNS_FORMERR, NULL },
	{ "TC set", BYTES("\x12\x34\x03\0\0\1\0\0\0\0\0\0" NAME A_IN), OSH_DNS_PARSED, OSH_DNS_FORMERR, NULL },
	{ "name cut off", BYTES(ONE "\2ok\4te"), OSH_DNS_PARSED, OSH_DNS_FORMERR, NULL },
	{ "type cut off", BYTES(ONE NAME "\0\1\0"), OSH_DNS_PARSED, OSH_DNS_FORMERR, NULL },
	{ "pointer to itself", BYTES(ONE "\xc0\x0c" A_IN), OSH_DNS_PARSED, OSH_DNS_FORMERR, NULL },
	{ "pointer after a label", BYTES(ONE "\2ok\xc0\x0c" A_IN), OSH_DNS_PARSED, OSH_DNS_FORMERR, NULL },
	{ "label of 64", BYTES(ONE "\x40" "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\0" A_IN),
	  OSH_DNS_PARSED, OSH_DNS_FORMERR, NULL },
	{ "label of 63", BYTES(ONE LABEL_63 "\0" A_IN), OSH_DNS_PARSED, OSH_DNS_NOERROR,
	  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" },
	{ "name of 253", BYTES(ONE LABEL_63 LABEL_63 LABEL_63 LABEL_61 "\0" A_IN), OSH_DNS_PARSED,
	  OSH_DNS_NOERROR, "?" },
	{ "name of 254", BYTES(ONE LABEL_63 LABEL_63 LABEL_63 LABEL_62 "\0" A_IN), OSH_DNS_PARSED,
	  OSH_DNS_FORMERR, NULL },
	{ "NUL in a label", BYTES(ONE "\3o\0k\4test\0" A_IN), OSH_DNS_PARSED, OSH_DNS_FORMERR, NULL },
	{ "dot in a label", BYTES(ONE "\7ok.test\0" A_IN), OSH_DNS_PARSED, OSH_DNS_FORMERR, NULL },
	{ "space in a label", BYTES(ONE "\3o k\4test\0" A_IN), OSH_DNS_PARSED, OSH_DNS_FORMERR, NULL },
	{ "8-bit label", BYTES(ONE "\3o\xc3\xa9\4test\0" A_IN), OSH_DNS_PARSED, OSH_DNS_FORMERR, NULL },
	{ "root", BYTES(ONE "\0" A_IN), OSH_DNS_PARSED, OSH_DNS_NOERROR, "" },
	{ "class CH", BYTES(ONE NAME "\0\x10\0\3"), OSH_DNS_PARSED, OSH_DNS_NOTIMP, "ok.test" },
	{ "opcode STATUS", BYTES("\x12\x34\x11\0\0\1\0\0\0\0\0\0" NAME A_IN), OSH_DNS_PARSED,
	  OSH_DNS_NOTIMP, NULL },
	{ "opcode UPDATE", BYTES("\x12\x34\x29\0\0\1\0\0\0\0\0\0" NAME A_IN), OSH_DNS_PARSED,
	  OSH_DNS_NOTIMP, NULL },
};

Test(dns_message, questions)
{
	for (size_t i = 0; i < COUNT(table); i++) {
		struct osh_dns_query query = { 0 };
		enum osh_dns_rcode rcode = OSH_DNS_NOERROR;
		enum osh_dns_result got = osh_dns_parse(osh_str_n(table[i].bytes, table[i].len), &query,
							&rcode);

		cr_expect(got == table[i].want, "%s: %d", table[i].name, got);
		if (got == OSH_DNS_DROP)
			continue;
		cr_expect(rcode == table[i].rcode, "%s: rcode %d", table[i].name, rcode);
		cr_expect(query.id == 0x1234, "%s", table[i].name);
		if (table[i].text && strcmp(table[i].text, "?") != 0)
			cr_expect_str_eq(query.name, table[i].text, "%s", table[i].name);
	}
}

Test(dns_message, oversized)
{
	static char bytes[OSH_DNS_QUERY_MAX + 1];
	struct osh_dns_query query;
	enum osh_dns_rcode rcode;

	memcpy(bytes, ONE NAME A_IN, sizeof(ONE NAME A_IN) - 1);
	cr_assert(osh_dns_parse(osh_str_n(bytes, sizeof(bytes)), &query, &rcode) == OSH_DNS_PARSED);
	cr_expect(rcode == OSH_DNS_FORMERR);
}

static size_t answer_to(const char *bytes, size_t len, const char *addr_text, enum osh_dns_rcode rcode,
			unsigned char *buf)
{
	struct osh_dns_query query;
	enum osh_dns_rcode parsed;
	struct in6_addr addr;

	cr_assert(osh_dns_parse(osh_str_n(bytes, len), &query, &parsed) == OSH_DNS_PARSED);
	if (addr_text)
		cr_assert(inet_pton(AF_INET6, addr_text, &addr) == 1);
	return osh_dns_answer(&query, rcode, addr_text ? &addr : NULL, buf);
}

static void expect_bytes(const unsigned char *got, size_t len, const char *want, size_t want_len)
{
	cr_expect(len == want_len && memcmp(got, want, len) == 0, "%zu bytes, wanted %zu", len, want_len);
}

Test(dns_message, answers)
{
	unsigned char buf[OSH_DNS_ANSWER_MAX];
	size_t len;

	/* The letters of the question come back as they were sent. */
	len = answer_to(BYTES(ONE "\2oK\4TeSt\0" A_IN), "::ffff:198.18.0.16", OSH_DNS_NOERROR, buf);
	expect_bytes(buf, len, BYTES("\x12\x34\x81\x80\0\1\0\1\0\0\0\0\2oK\4TeSt\0" A_IN
				     "\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc6\x12\0\x10"));
	len = answer_to(BYTES(ONE NAME "\0\x1c\0\1"), "fd6f:7368::c612:10", OSH_DNS_NOERROR, buf);
	expect_bytes(buf, len, BYTES("\x12\x34\x81\x80\0\1\0\1\0\0\0\0" NAME "\0\x1c\0\1"
				     "\xc0\x0c\0\x1c\0\1\0\0\0\x3c\0\x10\xfd\x6f\x73\x68\0\0\0\0\0\0\0\0"
				     "\xc6\x12\0\x10"));
	len = answer_to(BYTES(ONE NAME "\0\x41\0\1"), NULL, OSH_DNS_NOERROR, buf);
	expect_bytes(buf, len, BYTES("\x12\x34\x81\x80\0\1\0\0\0\0\0\0" NAME "\0\x41\0\1"));
	len = answer_to(BYTES(ONE_EDNS NAME A_IN OPT), NULL, OSH_DNS_NXDOMAIN, buf);
	expect_bytes(buf, len, BYTES("\x12\x34\x81\x83\0\1\0\0\0\0\0\1" NAME A_IN
				     "\0\0\x29\4\xd0\0\0\0\0\0\0"));
	len = answer_to(BYTES(ONE_EDNS NAME A_IN "\0\0\x29\4\xd0\0\1\0\0\0\0"), NULL, OSH_DNS_BADVERS, buf);
	expect_bytes(buf, len, BYTES("\x12\x34\x81\x80\0\1\0\0\0\0\0\1" NAME A_IN
				     "\0\0\x29\4\xd0\1\0\0\0\0\0"));
	/* What could not be read is not echoed. */
	len = answer_to(BYTES(ONE "\2ok\xc0\x0c" A_IN), NULL, OSH_DNS_FORMERR, buf);
	expect_bytes(buf, len, BYTES("\x12\x34\x81\x81\0\0\0\0\0\0\0\0"));
}

/* The longest question with EDNS still fits an answer. */
Test(dns_message, longest_answer)
{
	unsigned char buf[OSH_DNS_ANSWER_MAX];
	size_t len = answer_to(BYTES(ONE_EDNS LABEL_63 LABEL_63 LABEL_63 LABEL_61 "\0" "\0\x1c\0\1" OPT),
			       "::1", OSH_DNS_NOERROR, buf);

	cr_expect(len == 12 + 255 + 4 + 28 + 11, "%zu", len);
}
