/* The proxy before the internet: which hosts go through it, and the words that are exchanged. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "proxy/provision.h"

static struct osh_via via_of(const struct osh_via_settings *settings)
{
	struct osh_buf bytes OSH_CLEANUP(osh_buf_done) = { .max = OSH_VIA_BYTES_MAX, .secret = true };
	struct osh_via via;

	cr_assert(osh_via_encode(settings, &bytes) == 0);
	cr_assert(osh_via_decode(osh_buf_str(&bytes), &via) == 0);
	return via;
}

static struct osh_addresses addresses_of(const char *text)
{
	struct osh_addresses addresses = { .count = *text ? 1 : 0 };
	char mapped[64];

	snprintf(mapped, sizeof(mapped), strchr(text, ':') ? "%s" : "::ffff:%s", text);
	cr_assert(!*text || inet_pton(AF_INET6, mapped, &addresses.items[0]) == 1);
	return addresses;
}

Test(via, whom_it_serves)
{
	static const char *const direct[] = { "inner.test", ".dotted.test", "*.star.test", "10.0.0.0/8",
					      "203.0.113.7", "2001:db8::/32", NULL };
	static const struct { const char *host, *at; bool served; } rows[] = {
		{ "ok.test", "203.0.113.10", true },
		{ "inner.test", "203.0.113.10", false },
		{ "a.b.inner.test", "203.0.113.10", false },
		{ "notinner.test", "203.0.113.10", true },
		{ "inner.test.evil", "203.0.113.10", true },
		{ "dotted.test", "203.0.113.10", false },
		{ "a.star.test", "203.0.113.10", false },
		{ "far.test", "10.9.0.5", false },
		{ "far.test", "11.9.0.5", true },
		{ "far.test", "203.0.113.7", false },
		{ "far.test", "2001:db8::7", false },
		{ "far.test", "", true },
		{ "inner.test", "", false },
		{ "10.9.0.5", "10.9.0.5", false },
		{ "host.docker.internal", "172.17.0.1", false },
	};
	struct osh_via via = via_of(&(struct osh_via_settings){ .host = "proxy.test", .port_host = 3128,
								.direct = direct });
	struct osh_via none = via_of(&(struct osh_via_settings){ .host = NULL });

	for (size_t i = 0; i < OSH_COUNT_OF(rows); i++) {
		struct osh_addresses at = addresses_of(rows[i].at);
		struct osh_host host;

		cr_assert(osh_host_parse(osh_str(rows[i].host), &host) == 0);
		cr_expect(osh_via_serves(&via, &host, &at) == rows[i].served, "%s at %s", rows[i].host, rows[i].at);
		cr_expect(!osh_via_serves(&none, &host, &at));
	}
	/* One address outside is enough. */
	{
		struct osh_addresses at = addresses_of("10.9.0.5");
		struct osh_host host;

		cr_assert(osh_host_parse(osh_str("far.test"), &host) == 0);
		at.items[at.count++] = addresses_of("203.0.113.10").items[0];
		cr_expect(osh_via_serves(&via, &host, &at));
	}
	osh_via_done(&via);
}

Test(via, what_is_no_direct_host)
{
	static const char *const bad[] = { "", ".", "*", "*.", "a b", "10.0.0.0/33", "x/8", "*.*.test", "1.2.3" };
	struct osh_via_direct direct;

	for (size_t i = 0; i < OSH_COUNT_OF(bad); i++)
		cr_expect(osh_via_direct_parse(osh_str(bad[i]), &direct) == -EINVAL, "'%s'", bad[i]);
	cr_expect(osh_via_direct_parse(osh_str("*.ok.test"), &direct) == 0);
}

static const char *connect_text(const struct osh_via *via, const char *host_text, struct osh_buf *room)
{
	struct osh_host host;

	osh_buf_init_secret(room, OSH_VIA_CONNECT_MAX);
	cr_assert(osh_host_parse(osh_str(host_text), &host) == 0);
	cr_assert(osh_via_write_connect(via, &host, 443, room) == 0 && osh_buf_append(room, "", 1) == 0);
	return osh_buf_bytes(room);
}

Test(via, the_question)
{
	struct osh_via open = via_of(&(struct osh_via_settings){ .host = "proxy.test", .port_host = 3128 });
	struct osh_via closed = via_of(&(struct osh_via_settings){
		.host = "proxy.test", .port_host = 3128, .credential = osh_str("Aladdin:open sesame") });
	struct osh_buf room;

	cr_expect_str_eq(connect_text(&open, "ok.test", &room),
			 "CONNECT ok.test:443 HTTP/1.1\r\nHost: ok.test:443\r\n\r\n");
	osh_buf_done(&room);
	cr_expect_str_eq(connect_text(&open, "2001:db8::1", &room),
			 "CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\r\n");
	osh_buf_done(&room);
	/* The example of RFC 7617. */
	cr_expect_str_eq(connect_text(&closed, "ok.test", &room),
			 "CONNECT ok.test:443 HTTP/1.1\r\nHost: ok.test:443\r\n"
			 "Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n");
	osh_buf_done(&room);
	osh_via_done(&closed);
}

/* The longest of everything fits what is reserved for it. */
Test(via, the_longest_question)
{
	char secret[OSH_VIA_CREDENTIAL_MAX + 1] = "", name[OSH_HOST_MAX] = "";
	struct osh_via_settings settings = { .host = "proxy.test", .port_host = 65535 };
	struct osh_buf room;
	struct osh_via via;

	memset(secret, 'a', OSH_VIA_CREDENTIAL_MAX);
	secret[1] = ':';
	settings.credential = osh_str(secret);
	for (size_t i = 0; i < 252; i++)
		name[i] = i % 2 ? '.' : 'a';
	name[251] = 'b';
	via = via_of(&settings);
	connect_text(&via, name, &room);
	cr_expect(room.room <= OSH_VIA_CONNECT_MAX);
	osh_buf_done(&room);
	osh_via_done(&via);
}

Test(via, answers)
{
	static const struct { const char *text, *credential; enum osh_http_result result; const char *word; } rows[] = {
		{ "HTTP/1.1 200 OK\r\n\r\nhello", "", OSH_HTTP_DONE, NULL },
		{ "HTTP/1.0 200 Connection established\r\n\r\nhello", "", OSH_HTTP_DONE, NULL },
		/* RFC 9110 9.3.6: no body, whatever it says. */
		{ "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhello", "", OSH_HTTP_DONE, NULL },
		{ "HTTP/1.1 200 OK\r\n", "", OSH_HTTP_NEED_MORE, NULL },
		{ "HTTP/1.1 403 No\x1b[2J\r\n\r\n", "", OSH_HTTP_BAD, NULL },
		{ "HTTP/1.1 403 Not for you\r\n\r\n", "", OSH_HTTP_BAD, "refused: 403 Not for you" },
		{ "HTTP/1.1 407 Who?\r\n\r\n", "", OSH_HTTP_BAD, "set upstream_proxy_credential" },
		{ "HTTP/1.1 407 Who?\r\n\r\n", "a:b", OSH_HTTP_BAD, "does not take the credential" },
		{ "HTTP/1.1 302 Elsewhere\r\nLocation: http://evil.test/\r\n\r\n", "", OSH_HTTP_BAD, "302" },
		{ "SSH-2.0-OpenSSH\r\n\r\n", "", OSH_HTTP_BAD, "none" },
	};

	for (size_t i = 0; i < OSH_COUNT_OF(rows); i++) {
		struct osh_via via = via_of(&(struct osh_via_settings){
			.host = "proxy.test", .port_host = 3128, .credential = osh_str(rows[i].credential) });
		struct osh_http_scan scan = { 0 };
		char why[192] = "";
		size_t len = 0;

		cr_expect(osh_via_read_answer(&via, osh_str(rows[i].text), &scan, &len, why, sizeof(why)) ==
			  rows[i].result, "%s", rows[i].text);
		if (rows[i].result == OSH_HTTP_DONE)
			cr_expect_str_eq(rows[i].text + len, "hello");
		cr_expect(!rows[i].word || strstr(why, rows[i].word), "%s: %s", rows[i].text, why);
		cr_expect(!strchr(why, '\x1b'));
		osh_via_done(&via);
	}
}

/* ---- The credential's file ------------------------------------------------------------------------- */

static int load(const char *text, mode_t mode, struct osh_via *ret_via, struct osh_err *err)
{
	struct osh_via_settings settings = { .host = "proxy.test", .port_host = 3128 };
	char path[] = "/tmp/test_via.XXXXXX";
	int fd = mkstemp(path), made;

	cr_assert(osh_write_full(fd, text, strlen(text)) == 0 && fchmod(fd, mode) == 0);
	close(fd);
	made = osh_provision_via(&settings, path, err);
	unlink(path);
	if (made >= 0) {
		char *bytes;
		size_t len;

		cr_assert(osh_memfd_read(made, OSH_VIA_BYTES_MAX, &bytes, &len) == 0);
		cr_assert(osh_via_decode(osh_str_n(bytes, len), ret_via) == 0);
		free(bytes);
		close(made);
		return 0;
	}
	return made;
}

Test(via, files_of_credentials)
{
	static const struct { const char *text; mode_t mode; int result; const char *word; } rows[] = {
		{ "Aladdin:open sesame\n", 0600, 0, NULL },
		{ "Aladdin:open sesame\r\n", 0400, 0, NULL },
		{ "Aladdin:open sesame", 0640, -EPERM, "chmod 600" },
		{ "Aladdin:open sesame", 0604, -EPERM, "chmod 600" },
		{ "Aladdin", 0600, -EINVAL, "user:password" },
		{ "", 0600, -EINVAL, "user:password" },
		{ "a:b\r\nX-Evil: c\n", 0600, -EINVAL, "one line" },
	};
	char long_text[OSH_VIA_CREDENTIAL_MAX + 2];

	for (size_t i = 0; i < OSH_COUNT_OF(rows); i++) {
		struct osh_err err = { 0 };
		struct osh_via via;
		int r = load(rows[i].text, rows[i].mode, &via, &err);

		cr_expect(r == rows[i].result, "%s: %d %s", rows[i].text, r, err.message);
		cr_expect(!rows[i].word || strstr(err.message, rows[i].word), "%s", err.message);
		if (r == 0) {
			cr_expect(osh_str_eq_c(osh_secret_reveal(&via.basic), "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
			osh_via_done(&via);
		}
	}
	memset(long_text, ':', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	{
		struct osh_err err = { 0 };
		struct osh_via via;

		cr_expect(load(long_text, 0600, &via, &err) == -EINVAL);
	}
}
