/* What a client speaks, by its first bytes, and what it is told. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/mem.h"
#include "proxy/farewell.h"

#define BYTES(text) { (text), sizeof(text) - 1 }

Test(farewell, tongues)
{
	static const struct {
		struct osh_str bytes;
		enum osh_tongue tongue;
	} rows[] = {
		{ BYTES(""), OSH_TONGUE_MORE },
		{ BYTES("\x16"), OSH_TONGUE_MORE },
		{ BYTES("\x16\x03"), OSH_TONGUE_TLS },
		{ BYTES("\x16\x03\x01\x02\x00\x01"), OSH_TONGUE_TLS },
		{ BYTES("\x16\x04"), OSH_TONGUE_UNKNOWN },
		{ BYTES("S"), OSH_TONGUE_MORE },
		{ BYTES("SSH-2.0"), OSH_TONGUE_MORE },
		{ BYTES("SSH-2.0-OpenSSH_9.2\r\n"), OSH_TONGUE_SSH },
		{ BYTES("SSH-1.5-old\r\n"), OSH_TONGUE_UNKNOWN },
		{ BYTES("SEARCH / HTTP/1.1\r\n"), OSH_TONGUE_UNKNOWN },
		{ BYTES("GET / HTTP/1.1\r\n"), OSH_TONGUE_UNKNOWN },
		{ BYTES("\0"), OSH_TONGUE_MORE },
		{ BYTES("\0\0\0\x08\x04\xd2\x16"), OSH_TONGUE_MORE },
		{ BYTES("\0\0\0\x08\x04\xd2\x16\x2f"), OSH_TONGUE_POSTGRES_ASKS }, /* SSLRequest */
		{ BYTES("\0\0\0\x08\x04\xd2\x16\x30"), OSH_TONGUE_POSTGRES_ASKS }, /* GSSENCRequest */
		{ BYTES("\0\0\0\x08\x04\xd2\x16\x2e"), OSH_TONGUE_UNKNOWN },       /* CancelRequest */
		{ BYTES("\0\0\0\x29\0\x03\0\0user\0me\0"), OSH_TONGUE_POSTGRES },
		{ BYTES("\0\0\0\x29\0\x02\0\0user\0me\0"), OSH_TONGUE_UNKNOWN },
		{ BYTES("\0\0\xff\xff\0\x03\0\0"), OSH_TONGUE_UNKNOWN },
		{ BYTES("\0\x01\0\0\0\x03\0\0"), OSH_TONGUE_UNKNOWN },
	};

	for (size_t i = 0; i < OSH_COUNT_OF(rows); i++)
		cr_expect_eq(osh_tongue_of(rows[i].bytes), rows[i].tongue, "row %zu", i);
}

static struct osh_str words(enum osh_tongue tongue, const char *reason)
{
	static struct osh_buf out;

	osh_buf_done(&out);
	osh_buf_init(&out, OSH_FAREWELL_BYTES_MAX);
	cr_assert(osh_farewell_write(tongue, reason, &out) == 0);
	return osh_buf_str(&out);
}

static bool is(struct osh_str s, const char *bytes, size_t len)
{
	return s.len == len && memcmp(s.data, bytes, len) == 0;
}

#define SAID "openshell: denied by the sandbox's policy: no\\x0a"

Test(farewell, words)
{
	static const char postgres[] = "E\0\0\0\x4dSFATAL\0VFATAL\0C28000\0M" SAID "\0";
	struct osh_buf none;
	struct osh_str s;

	s = words(OSH_TONGUE_TLS, "no");
	cr_expect(is(s, "\x15\x03\x01\0\2\2\x31", 7), "fatal access_denied");
	s = words(OSH_TONGUE_POSTGRES_ASKS, "no");
	cr_expect(is(s, "N", 1));
	s = words(OSH_TONGUE_POSTGRES, "no\n");
	cr_expect(s.len == 1 + (size_t)s.data[4], "its length is right: %zu", s.len);
	cr_expect(is(s, postgres, sizeof(postgres)), "%zu", s.len);
	osh_buf_init(&none, OSH_FAREWELL_BYTES_MAX);
	cr_expect(osh_farewell_write(OSH_TONGUE_UNKNOWN, "no", &none) < 0 && none.len == 0);
}

/* One packet of whole blocks (RFC 4253 6), with the code and text of a disconnect (11.1). */
Test(farewell, ssh)
{
	static const char banner[] = "SSH-2.0-openshell\r\n";
	char reason[600];

	for (size_t len = 0; len < sizeof(reason); len += 37) {
		struct osh_str s;
		const unsigned char *packet;
		size_t packet_len, padding, text_len;

		memset(reason, 'x', len);
		reason[len] = '\0';
		s = words(OSH_TONGUE_SSH, reason);
		cr_assert(s.len > sizeof(banner) - 1 + 14 && memcmp(s.data, banner, sizeof(banner) - 1) == 0);
		packet = (const unsigned char *)s.data + sizeof(banner) - 1;
		packet_len = (size_t)packet[2] << 8 | packet[3];
		padding = packet[4];
		cr_expect(4 + packet_len == s.len - (sizeof(banner) - 1) && (4 + packet_len) % 8 == 0);
		cr_expect(padding >= 4 && memcmp(packet + 5, "\1\0\0\0\1", 5) == 0);
		text_len = (size_t)packet[12] << 8 | packet[13];
		cr_expect_eq(packet_len, 1 + 1 + 4 + 4 + text_len + 4 + padding);
		cr_expect(memcmp(packet + 14, "openshell: denied", 17) == 0);
	}
}
