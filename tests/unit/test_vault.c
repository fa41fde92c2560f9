/* Placeholders and secrets: where they are swapped, where they are refused. */
#include "credential/vault.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "credential/base64.h"

#define PLACEHOLDER "ghp_1234567890abcdefghijABCDEFGHIJ123456"
#define SECRET "ghp_S3cretS3cretS3cretS3cretS3cretS3cret"
#define OTHER "nvapi-0987654321zyxwvutsrqponm"
#define OTHER_SECRET "nvapi-other-secret"

static const char *const hosts[] = { "github.com", "api.github.com", NULL };
static const char *const other_hosts[] = { "integrate.api.nvidia.com", NULL };
static struct osh_vault *vault;
static struct osh_buf out;

static void add(const char *placeholder, const char *value, const char *const *to)
{
	struct osh_secret secret;

	cr_assert_eq(osh_secret_init(&secret, osh_str(value)), 0);
	cr_assert_eq(osh_vault_add(vault, "p", placeholder, &secret, to), 0);
	osh_secret_done(&secret);
}

static void set_up(void)
{
	vault = osh_vault_new();
	cr_assert_not_null(vault);
	cr_assert(osh_vault_is_empty(vault));
	add(PLACEHOLDER, SECRET, hosts);
	add(OTHER, OTHER_SECRET, other_hosts);
	osh_buf_init(&out, 16384);
}

static void tear_down(void)
{
	osh_vault_free(vault);
	osh_buf_done(&out);
}

TestSuite(vault, .init = set_up, .fini = tear_down);

/* The scheme as given, and the base64 of "user:password". */
static const char *basic(const char *scheme, const char *plain)
{
	static char value[4096];
	char encoded[2048] = "";

	osh_base64_encode(osh_str(plain), encoded);
	snprintf(value, sizeof(value), "%s%s", scheme, encoded);
	return value;
}

static void expect(const char *host, bool tls, const char *value, enum osh_vault_result want,
		   const char *text)
{
	enum osh_vault_result got = osh_vault_authorization(vault, osh_str(host), tls, osh_str(value), &out);

	cr_expect_eq(got, want, "%s to %s: %d", value, host, got);
	cr_expect(osh_str_eq_c(osh_buf_str(&out), text), "%s to %s gives %.*s", value, host, (int)out.len,
		  osh_buf_bytes(&out) ? osh_buf_bytes(&out) : "");
}

static void expect_replaced(const char *value, const char *text)
{
	expect("api.github.com", true, value, OSH_VAULT_REPLACED, text);
}

static void expect_mismatch(const char *host, bool tls, const char *value)
{
	expect(host, tls, value, OSH_VAULT_MISMATCH, "");
}

Test(vault, bearer_and_token_are_replaced)
{
	expect_replaced("Bearer " PLACEHOLDER, "Bearer " SECRET);
	expect_replaced("bearer   " PLACEHOLDER "  ", "bearer " SECRET);
	expect_replaced("token " PLACEHOLDER, "token " SECRET);
	expect("github.com", true, "Token " PLACEHOLDER, OSH_VAULT_REPLACED, "Token " SECRET);
	expect("integrate.api.nvidia.com", true, "Bearer " OTHER, OSH_VAULT_REPLACED,
	       "Bearer " OTHER_SECRET);
}

Test(vault, basic_is_replaced_as_user_or_password)
{
	char want[1024], encoded[512] = "";

	osh_base64_encode(osh_str("x-access-token:" SECRET), encoded);
	snprintf(want, sizeof(want), "Basic %s", encoded);
	expect_replaced(basic("Basic ", "x-access-token:" PLACEHOLDER), want);
	expect_replaced(basic("basic  ", "x-access-token:" PLACEHOLDER), want);
	memset(encoded, 0, sizeof(encoded));
	osh_base64_encode(osh_str(SECRET ":x-oauth-basic"), encoded);
	snprintf(want, sizeof(want), "Basic %s", encoded);
	expect_replaced(basic("Basic ", PLACEHOLDER ":x-oauth-basic"), want);
	memset(encoded, 0, sizeof(encoded));
	osh_base64_encode(osh_str(SECRET ":"), encoded);
	snprintf(want, sizeof(want), "Basic %s", encoded);
	expect_replaced(basic("Basic ", PLACEHOLDER ":"), want);
}

Test(vault, never_to_another_host)
{
	static const char *const others[] = { "no.test", "github.com.no.test", "xgithub.com", "hub.com",
					      "raw.github.com", "integrate.api.nvidia.com", "" };

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		expect_mismatch(others[i], true, "Bearer " PLACEHOLDER);
		expect_mismatch(others[i], true, basic("Basic ", "x:" PLACEHOLDER));
	}
	expect_replaced("Bearer " PLACEHOLDER, "Bearer " SECRET);
}

Test(vault, never_without_verified_tls)
{
	expect_mismatch("api.github.com", false, "Bearer " PLACEHOLDER);
	expect_mismatch("api.github.com", false, basic("Basic ", "x:" PLACEHOLDER));
	expect("api.github.com", false, "Bearer own-token", OSH_VAULT_NONE, "");
}

Test(vault, anywhere_else_in_the_value_is_a_mismatch)
{
	static const char *const values[] = {
		"Bearer x" PLACEHOLDER, "Bearer " PLACEHOLDER "x", "Bearer " PLACEHOLDER " " PLACEHOLDER,
		"Bearer " PLACEHOLDER ",", "Digest username=\"" PLACEHOLDER "\"", PLACEHOLDER,
		PLACEHOLDER " x", "Basic " PLACEHOLDER, "Negotiate " PLACEHOLDER,
		"Bearer ghp%5f1234567890abcdefghijABCDEFGHIJ123456",
	};

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		expect_mismatch("api.github.com", true, values[i]);
	expect_mismatch("api.github.com", true, basic("Basic ", "u:x" PLACEHOLDER));
	expect_mismatch("api.github.com", true, basic("Basic ", PLACEHOLDER));
	expect_mismatch("api.github.com", true, basic("Basic ", "u:a:" PLACEHOLDER));
}

Test(vault, values_without_placeholder_pass_untouched)
{
	static const char *const values[] = { "", "Bearer", "Bearer x", "Basic", "Basic !!!", "Basic dTpw",
					      "Basic dTpw=", "Digest a=b", "   ", ("Bearer " SECRET) };

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		expect("no.test", true, values[i], OSH_VAULT_NONE, "");
	expect("no.test", true, basic("Basic ", "me:pass"), OSH_VAULT_NONE, "");
}

/* A replaced half must not let the other half carry one away. */
Test(vault, both_halves_are_judged)
{
	expect_mismatch("api.github.com", true, basic("Basic ", PLACEHOLDER ":" OTHER));
	expect_mismatch("api.github.com", true, basic("Basic ", OTHER ":" PLACEHOLDER));
}

Test(vault, a_secret_with_a_colon_is_no_user)
{
	add("colon-1234567890abcdef", "a:b", hosts);
	expect_mismatch("github.com", true, basic("Basic ", "colon-1234567890abcdef:x"));
	expect("github.com", true, basic("Basic ", "x:colon-1234567890abcdef"), OSH_VAULT_REPLACED,
	       "Basic eDphOmI=");
}

Test(vault, no_room_means_not_sent)
{
	struct osh_buf small;

	osh_buf_init(&small, 20);
	cr_expect_eq(osh_vault_authorization(vault, osh_str("github.com"), true,
					     osh_str("Bearer " PLACEHOLDER), &small),
		     OSH_VAULT_MISMATCH);
	cr_expect_eq(small.len, 0);
	osh_buf_done(&small);
}

Test(vault, an_empty_vault_finds_nothing)
{
	struct osh_vault *empty = osh_vault_new();

	cr_expect_eq(osh_vault_authorization(empty, osh_str("github.com"), true,
					     osh_str("Bearer " PLACEHOLDER), &out),
		     OSH_VAULT_NONE);
	cr_expect_not(osh_vault_contains(empty, osh_str(PLACEHOLDER)));
	osh_vault_free(empty);
}

/* ---- Contains --------------------------------------------------------------------- */

static bool contains(const char *text)
{
	return osh_vault_contains(vault, osh_str(text));
}

/* Every character but those of `keep` as %HH. */
static void percent_encode(const char *text, const char *keep, char *encoded)
{
	for (; *text; text++) {
		if (*keep && strchr(keep, *text))
			*encoded++ = *text;
		else
			encoded += *text & 1 ? snprintf(encoded, 4, "%%%02x", (unsigned char)*text)
					     : snprintf(encoded, 4, "%%%02X", (unsigned char)*text);
	}
	*encoded = '\0';
}

Test(vault, contains_finds_every_spelling)
{
	char encoded[512];

	cr_expect(contains(PLACEHOLDER));
	cr_expect(contains("/search?q=" PLACEHOLDER "&x=1"));
	percent_encode(PLACEHOLDER, "", encoded);
	cr_expect(contains(encoded));
	percent_encode(PLACEHOLDER, "ghp", encoded);
	cr_expect(contains(encoded));
	percent_encode(PLACEHOLDER, "ghp_1234567890abcdefghijABCDEFGHIJ12345", encoded);
	cr_expect(contains(encoded), "%s", encoded);
	cr_expect(contains(basic("Basic ", "u:" PLACEHOLDER)));
	cr_expect(contains(basic("bAsIc   ", "u:zz" PLACEHOLDER "zz")));
	cr_expect(contains("x-key: " OTHER));
}

Test(vault, contains_is_not_fooled)
{
	cr_expect_not(contains(""));
	cr_expect_not(contains("ghp_1234567890abcdefghijABCDEFGHIJ12345"));
	cr_expect_not(contains("ghp_1234567890abcdefghijABCDEFGHIJ12345%"));
	cr_expect_not(contains("ghp_1234567890abcdefghijABCDEFGHIJ12345%3"));
	cr_expect_not(contains("%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%"));
	cr_expect_not(contains("GHP_1234567890abcdefghijABCDEFGHIJ123456"));
	cr_expect_not(contains(SECRET));
	cr_expect_not(contains(basic("Basic ", "u:p")));
}

/* ---- Bodies ------------------------------------------------------------------------ */

static bool scan_in_pieces(const char *text, size_t len, size_t piece)
{
	struct osh_vault_scan scan = { .tail_len = 0 };

	for (size_t at = 0; at < len; at += piece) {
		size_t n = len - at < piece ? len - at : piece;

		if (osh_vault_scan(vault, &scan, osh_str_n(text + at, n)))
			return true;
	}
	return false;
}

Test(vault, a_scan_finds_it_however_it_is_cut)
{
	char encoded[512], body[4096];

	percent_encode(PLACEHOLDER, "", encoded);
	for (int form = 0; form < 2; form++) {
		const char *needle = form ? encoded : PLACEHOLDER;

		for (size_t piece = 1; piece < 1500; piece = piece * 3 / 2 + 1) {
			memset(body, '%', sizeof(body));
			memcpy(body + 1234, needle, strlen(needle));
			cr_expect(scan_in_pieces(body, sizeof(body), piece), "pieces of %zu", piece);
			body[1234 + strlen(needle) - 1] = '!';
			cr_expect_not(scan_in_pieces(body, sizeof(body), piece), "pieces of %zu", piece);
		}
	}
}

Test(vault, a_scan_finds_it_at_every_cut_into_two)
{
	struct osh_str text = osh_str("before " PLACEHOLDER " after");

	for (size_t cut = 0; cut <= text.len; cut++) {
		struct osh_vault_scan scan = { .tail_len = 0 };
		bool found = osh_vault_scan(vault, &scan, osh_str_n(text.data, cut));

		found |= osh_vault_scan(vault, &scan, osh_str_n(text.data + cut, text.len - cut));
		cr_expect(found, "cut at %zu", cut);
	}
}

/* ---- Byte form ----------------------------------------------------------------------- */

static struct osh_buf encode(void)
{
	struct osh_buf bytes;

	osh_buf_init(&bytes, 1 << 20);
	cr_assert_eq(osh_vault_encode(vault, &bytes), 0);
	return bytes;
}

Test(vault, round_trip)
{
	struct osh_buf bytes = encode();
	struct osh_vault *back;

	cr_assert_eq(osh_vault_decode(osh_buf_str(&bytes), &back), 0);
	osh_vault_free(vault);
	vault = back;
	osh_buf_done(&bytes);
	expect_replaced("Bearer " PLACEHOLDER, "Bearer " SECRET);
	expect_mismatch("no.test", true, "Bearer " PLACEHOLDER);
	expect("integrate.api.nvidia.com", true, "Bearer " OTHER, OSH_VAULT_REPLACED,
	       "Bearer " OTHER_SECRET);
}

Test(vault, damaged_bytes_are_refused)
{
	struct osh_buf bytes = encode();
	struct osh_vault *back = NULL;

	for (size_t len = 0; len < bytes.len; len++)
		cr_expect_eq(osh_vault_decode(osh_str_n(osh_buf_bytes(&bytes), len), &back), -EBADMSG);
	cr_assert_eq(osh_buf_append(&bytes, "x", 1), 0);
	cr_expect_eq(osh_vault_decode(osh_buf_str(&bytes), &back), -EBADMSG);
	osh_buf_bytes(&bytes)[0] ^= 1;
	bytes.len--;
	cr_expect_eq(osh_vault_decode(osh_buf_str(&bytes), &back), -EBADMSG);
	osh_buf_done(&bytes);
}

Test(vault, what_would_break_a_header_or_a_scan_is_not_taken)
{
	static const char *const bad_placeholders[] = { "", "short", "has blank 1234567890", "percent%1234567890",
							"colon:12345678901234" };
	static const struct osh_str bad_secrets[] = { { "", 0 }, { "a\r\nb", 4 }, { "a\nb", 3 }, { "a\0b", 3 } };
	char too_long[200];
	struct osh_secret secret;

	cr_assert_eq(osh_secret_init(&secret, osh_str("value")), 0);
	for (size_t i = 0; i < sizeof(bad_placeholders) / sizeof(bad_placeholders[0]); i++)
		cr_expect_eq(osh_vault_add(vault, "p", bad_placeholders[i], &secret, hosts), -EINVAL);
	memset(too_long, 'a', 161);
	too_long[161] = '\0';
	cr_expect_eq(osh_vault_add(vault, "p", too_long, &secret, hosts), -EINVAL);
	too_long[160] = '\0';
	cr_expect_eq(osh_vault_add(vault, "p", too_long, &secret, hosts), 0);
	osh_secret_done(&secret);
	for (size_t i = 0; i < sizeof(bad_secrets) / sizeof(bad_secrets[0]); i++) {
		cr_assert_eq(osh_secret_init(&secret, bad_secrets[i]), 0);
		cr_expect_eq(osh_vault_add(vault, "p", PLACEHOLDER "x", &secret, hosts), -EINVAL);
		osh_secret_done(&secret);
	}
}

Test(vault, is_bounded)
{
	struct osh_secret secret;
	char placeholder[64];
	int r = 0, count = 0;

	cr_assert_eq(osh_secret_init(&secret, osh_str("value")), 0);
	while (r == 0 && count < 1000) {
		snprintf(placeholder, sizeof(placeholder), "placeholder-number-%06d", count++);
		r = osh_vault_add(vault, "p", placeholder, &secret, hosts);
	}
	cr_expect_eq(r, -E2BIG);
	osh_secret_done(&secret);
	expect_replaced("Bearer " PLACEHOLDER, "Bearer " SECRET);
}

/* ---- Base64 ------------------------------------------------------------------------ */

Test(base64, rfc4648_vectors)
{
	static const char *const rows[][2] = { { "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" },
					       { "foob", "Zm9vYg==" }, { "fooba", "Zm9vYmE=" },
					       { "foobar", "Zm9vYmFy" }, { "\xfb\xff", "+/8=" } };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[32] = "", plain[32] = "";
		size_t len = 99;

		osh_base64_encode(osh_str(rows[i][0]), text);
		cr_expect_str_eq(text, rows[i][1]);
		cr_expect_eq(strlen(text), osh_base64_encoded_len(strlen(rows[i][0])));
		cr_assert_eq(osh_base64_decode(osh_str(rows[i][1]), plain, &len), 0);
		cr_expect(osh_str_eq_c(osh_str_n(plain, len), rows[i][0]));
	}
}

Test(base64, anything_else_is_refused)
{
	static const char *const bad[] = { "Z", "Zg=x", "Z g=", "Zg\n", "Zg-_", "====", "Zm9vY", "Zg===" };
	char plain[32];
	size_t len;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_expect_eq(osh_base64_decode(osh_str(bad[i]), plain, &len), -EINVAL, "%s", bad[i]);
	cr_assert_eq(osh_base64_decode(osh_str("Zg"), plain, &len), 0, "padding may be left out");
	cr_expect_eq(len, 1);
}
