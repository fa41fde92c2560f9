/* The vault's byte form, an Authorization value, and a body in pieces. The first byte
 * selects; the second says how the rest is cut. */
#include "credential/vault.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PLACEHOLDER "ghp_1234567890abcdef"
#define SECRET "S3CRET!S3CRET!S3CRET"

static void require(bool truth)
{
	if (!truth)
		abort();
}

static struct osh_vault *make_vault(void)
{
	static const char *const hosts[] = { "github.com", NULL };
	struct osh_vault *vault = osh_vault_new();
	struct osh_secret secret;

	require(vault && osh_secret_init(&secret, osh_str(SECRET)) == 0);
	require(osh_vault_add(vault, "p", PLACEHOLDER, &secret, hosts) == 0);
	osh_secret_done(&secret);
	return vault;
}

static bool has_secret(const struct osh_buf *buf)
{
	return buf->len && memmem(osh_buf_bytes(buf), buf->len, SECRET, strlen(SECRET));
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

/* To any other host, or without TLS, the secret never comes out, and whatever carries
 * the placeholder is refused. */
static void fuzz_authorization(struct osh_str value)
{
	struct osh_vault *vault = make_vault();
	enum osh_vault_result here, away, bare;
	struct osh_buf out;

	osh_buf_init(&out, 1u << 20);
	require(osh_buf_reserve(&out, 64) == 0);
	away = osh_vault_authorization(vault, osh_str("no.test"), true, value, &out);
	require(away != OSH_VAULT_REPLACED && out.len == 0);
	bare = osh_vault_authorization(vault, osh_str("github.com"), false, value, &out);
	require(bare == away && out.len == 0);
	here = osh_vault_authorization(vault, osh_str("github.com"), true, value, &out);
	require((here == OSH_VAULT_NONE) == (away == OSH_VAULT_NONE));
	require(here == OSH_VAULT_REPLACED ? out.len > 0 : out.len == 0);
	require(here == OSH_VAULT_REPLACED || !has_secret(&out));
	require(!osh_vault_contains(vault, osh_buf_str(&out)) || here != OSH_VAULT_REPLACED);
	require(away != OSH_VAULT_NONE || !osh_vault_contains(vault, value));
	osh_buf_done(&out);
	osh_vault_free(vault);
}

/* However it is cut, a scan finds what a look at the whole finds. */
static void fuzz_scan(struct osh_str body, size_t piece)
{
	struct osh_vault *vault = make_vault();
	struct osh_vault_scan scan = { .tail_len = 0 };
	bool found = false;

	for (size_t at = 0; at < body.len; at += piece) {
		size_t n = body.len - at < piece ? body.len - at : piece;

		found |= osh_vault_scan(vault, &scan, osh_str_n(body.data + at, n));
	}
	/* A look at the whole also opens a Basic value: not for a body to do. */
	if (body.len && !osh_str_has_prefix(body, " ") && !osh_str_has_prefix(body, "\t") &&
	    !osh_str_caseeq(osh_str_n(body.data, body.len < 5 ? body.len : 5), osh_str("Basic")))
		require(found == osh_vault_contains(vault, body));
	osh_vault_free(vault);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct osh_str rest;

	if (size < 2)
		return 0;
	rest = osh_str_n((const char *)data + 2, size - 2);
	switch (data[0] % 3) {
	case 0:
		fuzz_decode(rest);
		break;
	case 1:
		fuzz_authorization(rest);
		break;
	default:
		fuzz_scan(rest, (size_t)data[1] + 1);
		break;
	}
	return 0;
}
