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

static const char *const variables[] = { "GITHUB_TOKEN", "GH_TOKEN", NULL };
static const char *const other_variables[] = { "NVIDIA_API_KEY", NULL };

static int try_add(const char *provider, const char *placeholder, struct osh_str value,
		   const char *const *names, const char *const *to)
{
	struct osh_vault_item item = {
		.provider = provider, .placeholder = placeholder, .revision = 3, .variables = names, .hosts = to,
	};
	struct osh_secret secret = { 0 };
	int r;

	if (value.data) {
		cr_assert_eq(osh_secret_init(&secret, value), 0);
		item.secret = &secret;
	}
	r = osh_vault_add(vault, &item);
	osh_secret_done(&secret);
	return r;
}

static void add(const char *provider, const char *placeholder, const char *value,
		const char *const *names, const char *const *to)
{
	cr_assert_eq(try_add(provider, placeholder, osh_str(value), names, to), 0);
}

static void set_up(void)
{
	vault = osh_vault_new();
	cr_assert_not_null(vault);
	cr_assert(osh_vault_is_empty(vault));
	add("my-github", PLACEHOLDER, SECRET, variables, hosts);
	add("my-nvidia", OTHER, OTHER_SECRET, other_variables, other_hosts);
	osh_buf_init_secret(&out, 65536);
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

static void expect_at(const char *host, bool tls, enum osh_vault_text kind, const char *value,
		      enum osh_vault_result want, const char *text)
{
	struct osh_vault_way way = { .host = osh_str(host), .verified_tls = tls };
	enum osh_vault_result got;

	osh_buf_clear(&out);
	got = osh_vault_resolve(vault, &way, kind, osh_str(value), &out);
	cr_expect_eq(got, want, "%s to %s: %d", value, host, got);
	cr_expect(osh_str_eq_c(osh_buf_str(&out), text), "%s to %s gives %.*s", value, host, (int)out.len,
		  osh_buf_bytes(&out) ? osh_buf_bytes(&out) : "");
}

static void expect(enum osh_vault_text kind, const char *value, enum osh_vault_result want, const char *text)
{
	expect_at("api.github.com", true, kind, value, want, text);
}

static void expect_replaced(enum osh_vault_text kind, const char *value, const char *text)
{
	expect(kind, value, OSH_VAULT_REPLACED, text);
}

static void expect_fault(enum osh_vault_text kind, const char *value, enum osh_vault_result want)
{
	expect(kind, value, want, "");
}

#define EVERY_TEXT(kind) for (enum osh_vault_text kind = OSH_VAULT_HEADER; kind <= OSH_VAULT_JSON; kind++)

/* ---- Forms --------------------------------------------------------------------------- */

#define MARKER "openshell:resolve:env:"
#define HANDLE "9f5ab4d2f2c26e2b2d7cf5a1dc1c0bd8b2f2f7b9d9b9a0b5e7b1b0f5c1d2e3f4"

Test(vault, every_form_is_resolved_in_every_text)
{
	char handle[OSH_VAULT_HANDLE_HEX], stable[256], value[512], want[512];
	const char *forms[] = { PLACEHOLDER, MARKER "GITHUB_TOKEN", MARKER "GH_TOKEN", MARKER "v3_GH_TOKEN",
				stable, "xOPENSHELL-RESOLVE-ENV-GH_TOKEN", "sk-ant.~_OPENSHELL-RESOLVE-ENV-GITHUB_TOKEN" };

	cr_assert_eq(osh_vault_handle(osh_str("my-github"), osh_str("GH_TOKEN"), handle), 0);
	snprintf(stable, sizeof(stable), MARKER "s%s_GH_TOKEN", handle);
	EVERY_TEXT(kind) {
		for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
			snprintf(value, sizeof(value), "a=/%s:z", forms[i]);
			snprintf(want, sizeof(want), "a=/%s:z", SECRET);
			expect_replaced(kind, value, want);
		}
	}
}

Test(vault, what_names_nothing_is_invalid)
{
	static const char *const values[] = {
		MARKER, MARKER "NOPE", MARKER "GITHUB_TOKENX", MARKER "github_token", MARKER "v4_GH_TOKEN",
		MARKER "v_GH_TOKEN", MARKER "vx_GH_TOKEN", MARKER "s" HANDLE "_GH_TOKEN", MARKER "s12_GH_TOKEN",
		MARKER "-GH_TOKEN", "OPENSHELL-RESOLVE-ENV-GH_TOKEN", " OPENSHELL-RESOLVE-ENV-GH_TOKEN",
		"xOPENSHELL-RESOLVE-ENV-", "xOPENSHELL-RESOLVE-ENV-NOPE", "xOPENSHELL-RESOLVE-ENV-GH_TOKEN-x",
		"xOPENSHELL-RESOLVE-ENV-GH_TOKEN.", "%61OPENSHELL-RESOLVE-ENV-GH_TOKEN",
		(MARKER "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
		       "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
		PLACEHOLDER " " MARKER "NOPE",
	};

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		EVERY_TEXT(kind) {
			char pair[1024];

			snprintf(pair, sizeof(pair), "a=%s", values[i]);
			expect_fault(kind, pair, OSH_VAULT_INVALID);
		}
		cr_expect(osh_vault_marks(vault, osh_str(values[i])));
		cr_expect(osh_vault_marks(NULL, osh_str(values[i])), "a sandbox without credentials: %s", values[i]);
		cr_expect_eq(osh_vault_contains(vault, osh_str(values[i])), strstr(values[i], PLACEHOLDER) != NULL,
			     "%s", values[i]);
	}
}

Test(vault, texts_without_placeholder_pass_untouched)
{
	static const char *const values[] = { "", "Bearer x", "Basic", "Basic !!!", "Basic dTpw", "Basic dTpw=",
					      ("Bearer " SECRET), "openshell:resolve", "a=b&c=d", "%%%", "openshell-resolve-env-x" };

	EVERY_TEXT(kind) {
		for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
			expect(kind, values[i], OSH_VAULT_NONE, "");
	}
}

/* ---- Where to --------------------------------------------------------------------------- */

Test(vault, never_to_another_host_nor_in_clear)
{
	static const char *const others[] = { "no.test", "github.com.no.test", "xgithub.com", "hub.com",
					      "raw.github.com", "integrate.api.nvidia.com", "" };
	const char *values[] = { "a=" PLACEHOLDER, "a=" MARKER "GH_TOKEN", "a=xOPENSHELL-RESOLVE-ENV-GH_TOKEN" };

	for (size_t v = 0; v < sizeof(values) / sizeof(values[0]); v++) {
		EVERY_TEXT(kind) {
			for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
				expect_at(others[i], true, kind, values[v], OSH_VAULT_MISMATCH, "");
			expect_at("api.github.com", false, kind, values[v], OSH_VAULT_MISMATCH, "");
			expect_replaced(kind, values[v], "a=" SECRET);
		}
	}
	expect_at("no.test", true, OSH_VAULT_HEADER, basic("Basic ", "x:" PLACEHOLDER), OSH_VAULT_MISMATCH, "");
	expect_fault(OSH_VAULT_HEADER, "a=" PLACEHOLDER " " OTHER, OSH_VAULT_MISMATCH);
}

Test(vault, a_binding_narrows)
{
	struct osh_vault_way way = { .host = osh_str("github.com"), .verified_tls = true,
				     .provider = osh_str("my-github") };

	cr_expect_eq(osh_vault_resolve(vault, &way, OSH_VAULT_PLAIN, osh_str(PLACEHOLDER), &out), OSH_VAULT_REPLACED);
	way.provider = osh_str("my-nvidia");
	cr_expect_eq(osh_vault_resolve(vault, &way, OSH_VAULT_PLAIN, osh_str(PLACEHOLDER), &out), OSH_VAULT_MISMATCH);
	/* It does not widen: another provider's hosts stay its own. */
	cr_expect_eq(osh_vault_resolve(vault, &way, OSH_VAULT_PLAIN, osh_str(OTHER), &out), OSH_VAULT_MISMATCH);
}

/* Of two providers with one variable the first is meant that may go there; handles tell
 * them apart. */
Test(vault, two_providers_with_one_variable)
{
	struct osh_vault_way way = { .host = osh_str("github.com"), .verified_tls = true,
				     .provider = osh_str("second") };
	char handle[OSH_VAULT_HANDLE_HEX], value[256];

	add("second", "ghp_seconDseconDseconDseconDseconDseconD", "second-secret", variables, hosts);
	expect_replaced(OSH_VAULT_PLAIN, MARKER "GH_TOKEN", SECRET);
	cr_assert_eq(osh_vault_handle(osh_str("second"), osh_str("GH_TOKEN"), handle), 0);
	snprintf(value, sizeof(value), MARKER "s%s_GH_TOKEN", handle);
	expect_replaced(OSH_VAULT_PLAIN, value, "second-secret");
	osh_buf_clear(&out);
	cr_expect_eq(osh_vault_resolve(vault, &way, OSH_VAULT_PLAIN, osh_str(MARKER "GH_TOKEN"), &out),
		     OSH_VAULT_REPLACED);
	cr_expect(osh_str_eq_c(osh_buf_str(&out), "second-secret"));
}

Test(vault, a_secret_that_is_gone_is_unavailable)
{
	static const char *const none[] = { NULL };

	cr_assert_eq(try_add("gone", "gone-1234567890abcdef", osh_str_n(NULL, 0), none, none), 0);
	EVERY_TEXT(kind)
		expect_fault(kind, "a=gone-1234567890abcdef", OSH_VAULT_UNAVAILABLE);
	cr_expect(osh_vault_contains(vault, osh_str("gone-1234567890abcdef")));
}

/* ---- How it is written ----------------------------------------------------------------------- */

#define ODD "odd-1234567890abcdef"

Test(vault, each_text_has_its_own_escaping)
{
	add("odd", ODD, "a+b \"&=%\t:\xc3\xa9", variables, hosts);
	expect_replaced(OSH_VAULT_HEADER, "X " ODD, "X a+b \"&=%\t:\xc3\xa9");
	expect_replaced(OSH_VAULT_PLAIN, ODD ".", "a+b \"&=%\t:\xc3\xa9.");
	expect_replaced(OSH_VAULT_QUERY, "b=1&a=" ODD "&c=+", "b=1&a=a%2Bb%20%22%26%3D%25%09%3A%C3%A9&c=+");
	expect_replaced(OSH_VAULT_PATH, "/x/" ODD "/y", "/x/a%2Bb%20%22%26%3D%25%09%3A%C3%A9/y");
	expect_replaced(OSH_VAULT_JSON, "{\"k\":\"" ODD "\"}", "{\"k\":\"a+b \\\"&=%\\u0009:\xc3\xa9\"}");
	/* An encoded placeholder sits in something encoded. */
	expect_replaced(OSH_VAULT_HEADER, "t=%6fdd-1234567890abcdef", "t=a%2Bb%20%22%26%3D%25%09%3A%C3%A9");
	expect_replaced(OSH_VAULT_JSON, "\"?u=odd%2D1234567890abcdef\"", "\"?u=a%2Bb%20%22%26%3D%25%09%3A%C3%A9\"");
}

Test(vault, no_json_out_of_bytes_that_are_none)
{
	add("odd", ODD, "\xff\xfe", variables, hosts);
	expect_fault(OSH_VAULT_JSON, "\"" ODD "\"", OSH_VAULT_UNAVAILABLE);
	expect_replaced(OSH_VAULT_QUERY, "a=" ODD, "a=%FF%FE");
}

Test(vault, no_path_becomes_another)
{
	static const char *const bad[] = { "a/b", "a\\b", "a?b", "a#b", "a..b", "..", ".", "/" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char placeholder[32];

		snprintf(placeholder, sizeof(placeholder), "path-secret-number-%zu", i);
		add("odd", placeholder, bad[i], variables, hosts);
		expect_fault(OSH_VAULT_PATH, placeholder, OSH_VAULT_UNAVAILABLE);
		expect_replaced(OSH_VAULT_HEADER, placeholder, bad[i]);
	}
	add("odd", ODD, ".a.b;c", variables, hosts);
	expect_replaced(OSH_VAULT_PATH, "/bot" ODD "/x", "/bot.a.b%3Bc/x");
}

Test(vault, only_values_of_a_query)
{
	expect_fault(OSH_VAULT_QUERY, PLACEHOLDER, OSH_VAULT_INVALID);
	expect_fault(OSH_VAULT_QUERY, "a=1&" PLACEHOLDER "=1", OSH_VAULT_INVALID);
	expect_fault(OSH_VAULT_QUERY, "a=" PLACEHOLDER "&" MARKER "GH_TOKEN", OSH_VAULT_INVALID);
	expect_replaced(OSH_VAULT_QUERY, "&&a=" PLACEHOLDER "&b=openshell%3Aresolve%3Aenv%3AGH_TOKEN&",
			"&&a=" SECRET "&b=" SECRET "&");
	/* A separator in a value, encoded or not, stays what it is. */
	expect_replaced(OSH_VAULT_QUERY, "a==" PLACEHOLDER "%26b", "a==" SECRET "%26b");
}

Test(vault, basic_is_opened_and_closed)
{
	static const struct { const char *plain, *want; } rows[] = {
		{ "x-access-token:" PLACEHOLDER, "x-access-token:" SECRET },
		{ PLACEHOLDER ":x-oauth-basic", SECRET ":x-oauth-basic" },
		{ PLACEHOLDER ":", SECRET ":" },
		{ PLACEHOLDER, SECRET },
		{ MARKER "GH_TOKEN:" MARKER "GH_TOKEN", SECRET ":" SECRET },
		{ "u:a:" PLACEHOLDER, "u:a:" SECRET },
		{ "u:" MARKER "GH_TOKEN", "u:" SECRET },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char want[1024], encoded[512] = "";

		osh_base64_encode(osh_str(rows[i].want), encoded);
		snprintf(want, sizeof(want), "Basic %s", encoded);
		expect_replaced(OSH_VAULT_HEADER, basic("bAsIc  ", rows[i].plain), want);
	}
	/* The whole of it may be one credential. */
	expect_replaced(OSH_VAULT_HEADER, "Basic " MARKER "GH_TOKEN", "Basic " SECRET);
	expect_fault(OSH_VAULT_HEADER, basic("Basic ", "u:" MARKER "NOPE"), OSH_VAULT_INVALID);
	expect_fault(OSH_VAULT_HEADER, basic("Basic ", PLACEHOLDER ":" OTHER), OSH_VAULT_MISMATCH);
	expect_fault(OSH_VAULT_HEADER, basic("Basic ", OTHER ":" PLACEHOLDER), OSH_VAULT_MISMATCH);
}

Test(vault, a_secret_with_a_colon_is_no_user)
{
	add("odd", ODD, "a:b", variables, hosts);
	expect_fault(OSH_VAULT_HEADER, basic("Basic ", ODD ":x"), OSH_VAULT_UNAVAILABLE);
	expect_replaced(OSH_VAULT_HEADER, basic("Basic ", "x:" ODD), "Basic eDphOmI=");
}

Test(vault, no_room_means_not_sent)
{
	struct osh_vault_way way = { .host = osh_str("github.com"), .verified_tls = true };
	struct osh_buf small;

	osh_buf_init_secret(&small, 20);
	EVERY_TEXT(kind) {
		cr_expect_eq(osh_vault_resolve(vault, &way, kind, osh_str("a=" PLACEHOLDER), &small),
			     OSH_VAULT_UNAVAILABLE);
		cr_expect_eq(small.len, 0);
	}
	osh_buf_done(&small);
}

Test(vault, so_many_in_one_text_and_no_more)
{
	char text[64 * sizeof(PLACEHOLDER)] = "a=";

	for (int i = 0; i < OSH_PLACEHOLDERS_MAX; i++)
		strcat(text, PLACEHOLDER " ");
	EVERY_TEXT(kind) {
		struct osh_vault_way way = { .host = osh_str("github.com"), .verified_tls = true };

		osh_buf_clear(&out);
		cr_expect_eq(osh_vault_resolve(vault, &way, kind, osh_str(text), &out), OSH_VAULT_REPLACED);
	}
	strcat(text, PLACEHOLDER);
	EVERY_TEXT(kind)
		expect_fault(kind, text, OSH_VAULT_INVALID);
	/* What names nothing counts, too: so many are looked through, more are not. */
	strcpy(text, "a=");
	for (int i = 0; i < OSH_PLACEHOLDERS_MAX; i++)
		strcat(text, MARKER "NO ");
	cr_expect_not(osh_vault_contains(vault, osh_str(text)));
	strcat(text, MARKER "NO ");
	cr_expect(osh_vault_contains(vault, osh_str(text)));
}

Test(vault, an_empty_vault_knows_nothing)
{
	struct osh_vault *empty = osh_vault_new();
	struct osh_vault_way way = { .host = osh_str("github.com"), .verified_tls = true };

	for (int i = 0; i < 2; i++) {
		const struct osh_vault *none = i ? empty : NULL;

		cr_expect(osh_vault_is_empty(none) && !osh_vault_serves(none, osh_str("github.com")));
		cr_expect_eq(osh_vault_resolve(none, &way, OSH_VAULT_HEADER, osh_str("Bearer " PLACEHOLDER), &out),
			     OSH_VAULT_NONE);
		cr_expect_eq(osh_vault_resolve(none, &way, OSH_VAULT_HEADER, osh_str(MARKER "GH_TOKEN"), &out),
			     OSH_VAULT_INVALID);
		cr_expect_not(osh_vault_contains(none, osh_str(MARKER "GH_TOKEN")));
	}
	osh_vault_free(empty);
}

Test(vault, serves)
{
	cr_expect(osh_vault_serves(vault, osh_str("github.com")));
	cr_expect(osh_vault_serves(vault, osh_str("integrate.api.nvidia.com")));
	cr_expect_not(osh_vault_serves(vault, osh_str("hub.com")));
}

/* ---- For people ------------------------------------------------------------------------------ */

Test(vault, redacted)
{
	static const struct { const char *text, *want; } rows[] = {
		{ "", "" },
		{ "/a/b", "/a/b" },
		{ "/a/" PLACEHOLDER "/b", "/a/[CREDENTIAL]/b" },
		{ "/bot" MARKER "GH_TOKEN/getMe", "/bot[CREDENTIAL]/getMe" },
		{ "x=openshell%3Aresolve%3Aenv%3AGH_TOKEN&y=xOPENSHELL-RESOLVE-ENV-GH_TOKEN", "x=[CREDENTIAL]&y=[CREDENTIAL]" },
		/* What names nothing is nobody's: rules see it as it is. */
		{ MARKER "NOPE", MARKER "NOPE" },
		{ MARKER "NOPE" PLACEHOLDER, MARKER "NOPE[CREDENTIAL]" },
		{ "xOPENSHELL-RESOLVE-ENV-X" PLACEHOLDER, "xOPENSHELL-RESOLVE-ENV-X[CREDENTIAL]" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char buf[256];
		struct osh_str shown = { 0 };

		cr_assert_eq(osh_vault_redact(vault, osh_str(rows[i].text), OSH_CREDENTIAL_SHOWN, buf,
					      strlen(rows[i].text), &shown), 0, "%s", rows[i].text);
		cr_expect(osh_str_eq_c(shown, rows[i].want), "%.*s", (int)shown.len, shown.data);
	}
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
	static const char *const none[] = { NULL };
	struct osh_buf bytes;
	struct osh_vault *back;

	cr_assert_eq(try_add("gone", "gone-1234567890abcdef", osh_str_n(NULL, 0), none, none), 0);
	bytes = encode();
	cr_assert_eq(osh_vault_decode(osh_buf_str(&bytes), &back), 0);
	osh_vault_free(vault);
	vault = back;
	osh_buf_done(&bytes);
	expect_replaced(OSH_VAULT_HEADER, "Bearer " MARKER "v3_GITHUB_TOKEN", "Bearer " SECRET);
	expect_at("no.test", true, OSH_VAULT_HEADER, PLACEHOLDER, OSH_VAULT_MISMATCH, "");
	expect_at("integrate.api.nvidia.com", true, OSH_VAULT_HEADER, OTHER, OSH_VAULT_REPLACED, OTHER_SECRET);
	expect_fault(OSH_VAULT_HEADER, "gone-1234567890abcdef", OSH_VAULT_UNAVAILABLE);
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
	static const char *const bad_variables[] = { "", "A-B", "A B", "K\xc3\x89Y",
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" };
	char too_long[200];

	for (size_t i = 0; i < sizeof(bad_placeholders) / sizeof(bad_placeholders[0]); i++)
		cr_expect_eq(try_add("p", bad_placeholders[i], osh_str("value"), variables, hosts), -EINVAL);
	memset(too_long, 'a', 161);
	too_long[161] = '\0';
	cr_expect_eq(try_add("p", too_long, osh_str("value"), variables, hosts), -EINVAL);
	too_long[160] = '\0';
	cr_expect_eq(try_add("p", too_long, osh_str("value"), variables, hosts), 0);
	for (size_t i = 0; i < sizeof(bad_secrets) / sizeof(bad_secrets[0]); i++)
		cr_expect_eq(try_add("p", PLACEHOLDER "x", bad_secrets[i], variables, hosts), -EINVAL);
	for (size_t i = 0; i < sizeof(bad_variables) / sizeof(bad_variables[0]); i++) {
		const char *const names[] = { bad_variables[i], NULL };

		cr_expect_eq(try_add("p", PLACEHOLDER "x", osh_str("value"), names, hosts), -EINVAL);
	}
}

Test(vault, is_bounded)
{
	char placeholder[64];
	int r = 0, count = 0;

	while (r == 0 && count < 1000) {
		snprintf(placeholder, sizeof(placeholder), "placeholder-number-%06d", count++);
		r = try_add("p", placeholder, osh_str("value"), variables, hosts);
	}
	cr_expect_eq(r, -E2BIG);
	expect_replaced(OSH_VAULT_HEADER, "Bearer " PLACEHOLDER, "Bearer " SECRET);
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
