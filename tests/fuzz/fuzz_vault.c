/* The vault's byte form, texts to resolve and to redact, and a body in pieces. The first byte
 * selects; the second says how the rest is cut, or what it is. */
#include "credential/vault.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PLACEHOLDER "ghp_1234567890abcdef"
#define SECRET "S3CRET!S3CRET!S3CRET"
/* One that would break out of wherever it is put. */
#define SHARP "odd-1234567890abcdef"
#define SHARP_SECRET "S3CRET!\"&=/..?#:%41"

static void require(bool truth)
{
	if (!truth)
		abort();
}

static void add(struct osh_vault *vault, const char *provider, const char *placeholder, const char *value,
		const char *variable)
{
	struct osh_secret secret;
	struct osh_vault_item item = {
		.provider = provider,
		.placeholder = placeholder,
		.revision = 1,
		.variables = (const char *const[]){ variable, NULL },
		.hosts = (const char *const[]){ "github.com", NULL },
		.secret = &secret,
	};

	require(osh_secret_init(&secret, osh_str(value)) == 0);
	require(osh_vault_add(vault, &item) == 0);
	osh_secret_done(&secret);
}

static struct osh_vault *make_vault(void)
{
	struct osh_vault *vault = osh_vault_new();

	require(vault);
	add(vault, "p", PLACEHOLDER, SECRET, "GH");
	add(vault, "odd", SHARP, SHARP_SECRET, "ODD");
	return vault;
}

static size_t count(struct osh_str text, char c)
{
	size_t n = 0;

	for (size_t i = 0; i < text.len; i++)
		n += text.data[i] == c;
	return n;
}

/* What decodes encodes to the same bytes. */
static void fuzz_decode(struct osh_str data)
{
	struct osh_vault *vault;
	struct osh_buf again;

	if (osh_vault_decode(data, &vault) < 0)
		return;
	osh_buf_init(&again, 16u << 20);
	require(osh_vault_encode(vault, &again) == 0 && osh_str_eq(osh_buf_str(&again), data));
	osh_buf_done(&again);
	osh_vault_free(vault);
}

/* What was rewritten has the structure that it had. */
static void check_structure(enum osh_vault_text kind, struct osh_str text, struct osh_str out)
{
	const char *kept = kind == OSH_VAULT_PATH ? "/\\?#" : kind == OSH_VAULT_QUERY ? "&=" : "";

	for (; *kept; kept++)
		require(count(text, *kept) == count(out, *kept));
	/* Every quote of a secret came with a backslash, which no placeholder holds. */
	if (kind == OSH_VAULT_JSON)
		require(count(out, '"') - count(text, '"') == count(out, '\\') - count(text, '\\'));
}

/* To any other host, or without TLS, the secret never comes out, and whatever carries
 * the placeholder is refused. */
static void fuzz_resolve(struct osh_str text, enum osh_vault_text kind)
{
	const struct osh_vault_way here = { .host = osh_str("github.com"), .verified_tls = true };
	const struct osh_vault_way away = { .host = osh_str("no.test"), .verified_tls = true };
	const struct osh_vault_way bare = { .host = osh_str("github.com") };
	struct osh_vault *vault = make_vault();
	enum osh_vault_result result, refused;
	struct osh_buf out;

	osh_buf_init_secret(&out, 4u << 20);
	refused = osh_vault_resolve(vault, &away, kind, text, &out);
	require(refused != OSH_VAULT_REPLACED && out.len == 0);
	require(osh_vault_resolve(vault, &bare, kind, text, &out) == refused && out.len == 0);
	result = osh_vault_resolve(vault, &here, kind, text, &out);
	require((result == OSH_VAULT_NONE) == (refused == OSH_VAULT_NONE));
	require(result == OSH_VAULT_REPLACED ? out.len > 0 : out.len == 0);
	require(result == OSH_VAULT_NONE || osh_vault_marks(vault, text));
	require(result != OSH_VAULT_NONE || kind != OSH_VAULT_HEADER || !osh_vault_marks(vault, text));
	require(result != OSH_VAULT_REPLACED || !osh_vault_contains(vault, osh_buf_str(&out)));
	if (result == OSH_VAULT_REPLACED)
		check_structure(kind, text, osh_buf_str(&out));
	osh_buf_done(&out);
	osh_vault_free(vault);
}

/* What people see is no longer than what came, and shows no placeholder of a secret's shape. (A
 * name may end anew where one was cut out of it: a form, of nothing that was there.) */
static void fuzz_redact(struct osh_str text)
{
	struct osh_vault *vault = make_vault();
	char *buf = malloc(text.len + 1);
	struct osh_str shown;

	if (osh_vault_redact(vault, text, OSH_CREDENTIAL_SHOWN, buf, text.len, &shown) == 0) {
		require(shown.len <= text.len);
		require(!memmem(buf, shown.len, PLACEHOLDER, strlen(PLACEHOLDER)));
		require(!memmem(buf, shown.len, SHARP, strlen(SHARP)));
	}
	free(buf);
	osh_vault_free(vault);
}

/* Too many to be looked at in one go, each of them harmless. */
static bool is_crowded(const struct osh_vault *vault, struct osh_str text)
{
	char *buf = malloc(text.len + 1);
	struct osh_str shown;
	int r = osh_vault_redact(vault, text, "", buf, text.len + 1, &shown);

	free(buf);
	return r == -E2BIG;
}

/* However it is cut, a scan finds what a look at the whole finds. It may find more: what a cut
 * ends could be one, and has to be taken for it. */
static void fuzz_scan(struct osh_str body, size_t piece)
{
	struct osh_vault *vault = make_vault();
	struct osh_vault_scan scan = { .tail_len = 0 };
	bool found = false;
	size_t at = 0;

	while (!found && at < body.len) {
		size_t n = body.len - at < piece ? body.len - at : piece;

		found = osh_vault_scan(vault, &scan, osh_str_n(body.data + at, n));
		at += n;
	}
	require(!found || osh_vault_contains(vault, osh_str_n(body.data, at)));
	/* A look at the whole also opens a Basic value: not for a body to do. */
	if (!found && !is_crowded(vault, body) && body.len && body.data[0] != ' ' && body.data[0] != '\t' &&
	    !osh_str_caseeq(osh_str_n(body.data, body.len < 5 ? body.len : 5), osh_str("Basic")))
		require(!osh_vault_contains(vault, body));
	osh_vault_free(vault);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct osh_str rest;

	if (size < 2)
		return 0;
	rest = osh_str_n((const char *)data + 2, size - 2);
	switch (data[0] % 4) {
	case 0:
		fuzz_decode(rest);
		break;
	case 1:
		fuzz_resolve(rest, (enum osh_vault_text)(data[1] % (OSH_VAULT_JSON + 1)));
		break;
	case 2:
		fuzz_redact(rest);
		break;
	default:
		fuzz_scan(rest, (size_t)data[1] + 1);
		break;
	}
	return 0;
}
