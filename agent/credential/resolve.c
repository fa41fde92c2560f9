/* Secrets in place of their placeholders. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "credential/base64.h"
#include "credential/vault_entry.h"

/* ---- Which secret ----------------------------------------------------------------------- */

static bool may_go(const struct osh_vault_entry *entry, const struct osh_vault_way *way)
{
	if (!way->verified_tls || (way->provider.len && !osh_str_eq_c(way->provider, entry->provider)))
		return false;
	for (size_t i = 0; i < entry->host_count; i++) {
		if (osh_str_eq_c(way->host, entry->hosts[i]))
			return true;
	}
	return false;
}

/* Two providers may set one variable: the first whose secret may go this way is meant. */
static enum osh_vault_result choose(const struct osh_vault *vault, const struct osh_vault_way *way,
				    const struct osh_placeholder *p, struct osh_str *ret_secret)
{
	enum osh_vault_result worst = OSH_VAULT_INVALID;

	for (size_t i = 0; vault && i < vault->count; i++) {
		const struct osh_vault_entry *entry = &vault->entries[i];

		if (!osh_placeholder_names(p, entry))
			continue;
		if (!osh_secret_is_set(&entry->secret)) {
			worst = OSH_VAULT_UNAVAILABLE;
		} else if (!may_go(entry, way)) {
			worst = OSH_VAULT_MISMATCH;
		} else {
			*ret_secret = osh_secret_reveal(&entry->secret);
			return OSH_VAULT_REPLACED;
		}
	}
	return worst;
}

/* ---- How it is written -------------------------------------------------------------------- */

/* Everything but the unreserved characters (RFC 3986 2.3). */
static int write_escaped(struct osh_str secret, struct osh_buf *out)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < secret.len; i++) {
		char c = secret.data[i];

		if (osh_ascii_is_alpha(c) || osh_ascii_is_digit(c) || strchr("-._~", c))
			r = osh_buf_append(out, &c, 1);
		else
			r = osh_buf_printf(out, "%%%02X", (unsigned char)c);
	}
	return r;
}

/* A string's inside (RFC 8259 7). */
static int write_json(struct osh_str secret, struct osh_buf *out)
{
	int r = osh_str_is_utf8(secret) ? 0 : -EILSEQ;

	for (size_t i = 0; r == 0 && i < secret.len; i++) {
		unsigned char c = (unsigned char)secret.data[i];

		if (c < 0x20)
			r = osh_buf_printf(out, "\\u%04x", c);
		else if (c == '"' || c == '\\')
			r = osh_buf_printf(out, "\\%c", c);
		else
			r = osh_buf_append(out, &c, 1);
	}
	return r;
}

/* A path that was judged must not become another one. */
static bool fits_path(struct osh_str secret)
{
	size_t dots = 0;

	for (size_t i = 0; i < secret.len; i++) {
		if (strchr("/\\?#", secret.data[i]))
			return false;
		dots += secret.data[i] == '.';
	}
	return dots < secret.len && !memmem(secret.data, secret.len, "..", 2);
}

static int write_secret(enum osh_vault_text kind, bool escaped, struct osh_str secret,
			struct osh_buf *out)
{
	switch (kind) {
	case OSH_VAULT_PATH:
		return fits_path(secret) ? write_escaped(secret, out) : -EINVAL;
	case OSH_VAULT_QUERY:
		return write_escaped(secret, out);
	case OSH_VAULT_JSON:
		return escaped ? write_escaped(secret, out) : write_json(secret, out);
	case OSH_VAULT_HEADER:
	case OSH_VAULT_PLAIN:
		break;
	}
	return escaped ? write_escaped(secret, out) : osh_buf_append_str(out, secret);
}

/* ---- Texts ------------------------------------------------------------------------------------ */

static enum osh_vault_result resolve_text(const struct osh_vault *vault, const struct osh_vault_way *way,
					  enum osh_vault_text kind, struct osh_str text,
					  struct osh_buf *out)
{
	enum osh_vault_result result = OSH_VAULT_NONE;
	struct osh_placeholder p = { 0 };
	struct osh_str secret = { 0 };
	size_t from = 0;

	for (unsigned i = 0; osh_placeholder_find(vault, text, from, &p); i++) {
		if (i == OSH_PLACEHOLDERS_MAX)
			return OSH_VAULT_INVALID;
		result = choose(vault, way, &p, &secret);
		if (result != OSH_VAULT_REPLACED)
			return result;
		if (osh_buf_append(out, text.data + from, p.at - from) < 0 ||
		    write_secret(kind, p.escaped, secret, out) < 0)
			return OSH_VAULT_UNAVAILABLE;
		from = p.at + p.len;
	}
	if (osh_buf_append(out, text.data ? text.data + from : NULL, text.len - from) < 0)
		return OSH_VAULT_UNAVAILABLE;
	return result;
}

/* One name=value. No name is rewritten, so none may hold a placeholder. */
static enum osh_vault_result resolve_pair(const struct osh_vault *vault, const struct osh_vault_way *way,
					  struct osh_str pair, struct osh_buf *out)
{
	const char *equals = osh_str_chr(pair, '=');
	size_t name_len = equals ? (size_t)(equals - pair.data) + 1 : pair.len;

	if (osh_vault_marks(vault, osh_str_n(pair.data, name_len)))
		return OSH_VAULT_INVALID;
	if (osh_buf_append(out, pair.data, name_len) < 0)
		return OSH_VAULT_UNAVAILABLE;
	return resolve_text(vault, way, OSH_VAULT_QUERY,
			    osh_str_n(pair.data + name_len, pair.len - name_len), out);
}

static enum osh_vault_result resolve_pairs(const struct osh_vault *vault, const struct osh_vault_way *way,
					   struct osh_str text, struct osh_buf *out)
{
	enum osh_vault_result result = OSH_VAULT_NONE;

	/* Most hold none: their pairs, of which there may be many, are not looked at. */
	if (!osh_vault_marks(vault, text))
		return osh_buf_append_str(out, text) < 0 ? OSH_VAULT_UNAVAILABLE : OSH_VAULT_NONE;
	for (size_t at = 0; at <= text.len;) {
		const char *end = memchr(text.data + at, '&', text.len - at);
		size_t len = end ? (size_t)(end - text.data) - at : text.len - at;
		enum osh_vault_result one =
			resolve_pair(vault, way, osh_str_n(text.data + at, len), out);

		if (one != OSH_VAULT_NONE)
			result = one;
		if (one != OSH_VAULT_NONE && one != OSH_VAULT_REPLACED)
			return one;
		if (end && osh_buf_append(out, "&", 1) < 0)
			return OSH_VAULT_UNAVAILABLE;
		at += len + 1;
	}
	return result;
}

/* ---- Basic ---------------------------------------------------------------------------------------- */

static enum osh_vault_result close_basic(struct osh_str pair, struct osh_buf *out)
{
	static const char scheme[] = "Basic ";
	size_t len = osh_base64_encoded_len(pair.len);

	if (osh_buf_reserve(out, sizeof(scheme) - 1 + len) < 0)
		return OSH_VAULT_UNAVAILABLE;
	(void)osh_buf_append_c(out, scheme);
	osh_base64_encode(pair, osh_buf_tail(out));
	osh_buf_grew(out, len);
	return OSH_VAULT_REPLACED;
}

/* The first colon ends the user (RFC 7617 2), but for those inside of a placeholder. */
static size_t find_user_end(const struct osh_vault *vault, struct osh_str pair)
{
	struct osh_placeholder p = { 0 };
	size_t from = 0;

	for (unsigned i = 0; i <= OSH_PLACEHOLDERS_MAX; i++) {
		bool found = osh_placeholder_find(vault, pair, from, &p);
		size_t end = found ? p.at : pair.len;
		const char *colon = memchr(pair.data + from, ':', end - from);

		if (colon)
			return (size_t)(colon - pair.data);
		if (!found)
			break;
		from = p.at + p.len;
	}
	return pair.len;
}

/* User and password by themselves: a user's secret with a colon would be cut in two. */
static enum osh_vault_result resolve_basic(const struct osh_vault *vault, const struct osh_vault_way *way,
					   struct osh_str pair, struct osh_buf *out)
{
	struct osh_buf plain OSH_CLEANUP(osh_buf_done) = { .max = out->max, .secret = true };
	size_t user_len = find_user_end(vault, pair);
	enum osh_vault_result user, password;

	user = resolve_text(vault, way, OSH_VAULT_HEADER, osh_str_n(pair.data, user_len), &plain);
	if (user != OSH_VAULT_NONE && user != OSH_VAULT_REPLACED)
		return user;
	if (plain.len && memchr(osh_buf_bytes(&plain), ':', plain.len))
		return OSH_VAULT_UNAVAILABLE;
	password = resolve_text(vault, way, OSH_VAULT_HEADER,
				osh_str_n(pair.data + user_len, pair.len - user_len), &plain);
	if (password != OSH_VAULT_NONE && password != OSH_VAULT_REPLACED)
		return password;
	return user == OSH_VAULT_NONE && password == OSH_VAULT_NONE ? OSH_VAULT_NONE :
								      close_basic(osh_buf_str(&plain), out);
}

static enum osh_vault_result resolve_header(const struct osh_vault *vault, const struct osh_vault_way *way,
					    struct osh_str value, struct osh_buf *out)
{
	struct osh_basic basic OSH_CLEANUP(osh_basic_done) = { 0 };
	enum osh_vault_result result = OSH_VAULT_NONE;
	int r = osh_basic_decode(value, &basic);

	if (r < 0)
		return OSH_VAULT_UNAVAILABLE;
	if (r > 0)
		result = resolve_basic(vault, way, osh_str_n(basic.bytes, basic.len), out);
	/* What is no base64 may still be a placeholder that stands for all of it. */
	return result == OSH_VAULT_NONE ? resolve_text(vault, way, OSH_VAULT_HEADER, value, out) : result;
}

/* ---- The face --------------------------------------------------------------------------------------- */

enum osh_vault_result osh_vault_resolve(const struct osh_vault *vault, const struct osh_vault_way *way,
					enum osh_vault_text kind, struct osh_str text, struct osh_buf *out)
{
	size_t before = out->len;
	enum osh_vault_result result;

	if (text.len == 0)
		return OSH_VAULT_NONE;
	if (kind == OSH_VAULT_HEADER)
		result = resolve_header(vault, way, text, out);
	else if (kind == OSH_VAULT_QUERY)
		result = resolve_pairs(vault, way, text, out);
	else
		result = resolve_text(vault, way, kind, text, out);
	if (result != OSH_VAULT_REPLACED)
		out->len = before;
	return result;
}
