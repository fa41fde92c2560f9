#include "credential/vault.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "credential/base64.h"

#define ENTRIES_MAX 64
#define HOSTS_MAX 32
#define TEXT_BYTES_MAX 8192
#define VAULT_MAGIC 0x746c7661u /* "avlt" */
#define VAULT_LAYOUT 1u

/* Shorter ones would be found by chance; a longer one, each byte as %HH, would not fit
 * into the tail of a scan. */
#define PLACEHOLDER_BYTES_MIN 16
#define PLACEHOLDER_BYTES_MAX 160
_Static_assert(3 * PLACEHOLDER_BYTES_MAX <= sizeof(((struct osh_vault_scan *)0)->tail),
	       "a percent-encoded placeholder fits into the tail");

struct entry {
	char *provider;
	char *placeholder;
	size_t placeholder_len;
	struct osh_secret secret;
	char *hosts[HOSTS_MAX];
	size_t host_count;
};

struct osh_vault {
	struct entry entries[ENTRIES_MAX];
	size_t count;
};

/* ---- Contents -------------------------------------------------------------------- */

static void entry_done(struct entry *entry)
{
	free(entry->provider);
	free(entry->placeholder);
	osh_secret_done(&entry->secret);
	for (size_t i = 0; i < entry->host_count; i++)
		free(entry->hosts[i]);
	memset(entry, 0, sizeof(*entry));
}

struct osh_vault *osh_vault_new(void)
{
	return calloc(1, sizeof(struct osh_vault));
}

void osh_vault_free(struct osh_vault *vault)
{
	if (!vault)
		return;
	for (size_t i = 0; i < vault->count; i++)
		entry_done(&vault->entries[i]);
	free(vault);
}

bool osh_vault_is_empty(const struct osh_vault *vault)
{
	return vault->count == 0;
}

/* Visible ASCII without what HTTP, URLs and base64 would change. */
static bool placeholder_is_valid(struct osh_str text)
{
	if (text.len < PLACEHOLDER_BYTES_MIN || text.len > PLACEHOLDER_BYTES_MAX)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		char c = text.data[i];

		if (!osh_ascii_is_alpha(c) && !osh_ascii_is_digit(c) && !strchr("-._~", c))
			return false;
	}
	return true;
}

/* What would end the header line, or the line after it. */
static bool secret_is_valid(struct osh_str secret)
{
	if (secret.len == 0 || secret.len > TEXT_BYTES_MAX)
		return false;
	for (size_t i = 0; i < secret.len; i++) {
		if (secret.data[i] == '\r' || secret.data[i] == '\n' || secret.data[i] == '\0')
			return false;
	}
	return true;
}

static char *copy_text(struct osh_str text)
{
	char *copy = malloc(text.len + 1);

	if (copy) {
		memcpy(copy, text.data, text.len);
		copy[text.len] = '\0';
	}
	return copy;
}

/* Start a new entry; its hosts follow by add_host. It counts only once it is whole. */
static int begin_entry(struct osh_vault *vault, struct osh_str provider, struct osh_str placeholder,
		       struct osh_str secret, struct entry **ret_entry)
{
	struct entry *entry;

	if (vault->count == ENTRIES_MAX)
		return -E2BIG;
	if (!placeholder_is_valid(placeholder) || !secret_is_valid(secret))
		return -EINVAL;
	entry = &vault->entries[vault->count];
	entry->provider = copy_text(provider);
	entry->placeholder = copy_text(placeholder);
	entry->placeholder_len = placeholder.len;
	if (!entry->provider || !entry->placeholder ||
	    osh_secret_init(&entry->secret, secret) < 0) {
		entry_done(entry);
		return -ENOMEM;
	}
	*ret_entry = entry;
	return 0;
}

static int add_host(struct entry *entry, struct osh_str host)
{
	if (entry->host_count == HOSTS_MAX)
		return -E2BIG;
	entry->hosts[entry->host_count] = copy_text(host);
	if (!entry->hosts[entry->host_count])
		return -ENOMEM;
	entry->host_count++;
	return 0;
}

int osh_vault_add(struct osh_vault *vault, const char *provider, const char *placeholder,
		  const struct osh_secret *secret, const char *const *hosts)
{
	struct entry *entry;
	int r = begin_entry(vault, osh_str(provider), osh_str(placeholder),
			    osh_secret_reveal(secret), &entry);

	if (r < 0)
		return r;
	for (; r == 0 && *hosts; hosts++)
		r = add_host(entry, osh_str(*hosts));
	if (r < 0)
		entry_done(entry);
	else
		vault->count++;
	return r;
}

/* ---- Byte form ------------------------------------------------------------------- */

/* u32 magic, layout, number of entries; per entry: provider, placeholder, secret, u32
 * number of hosts, hosts. A text is u32 length and bytes. Native byte order. */

static size_t text_size(size_t len)
{
	return sizeof(uint32_t) + len;
}

static size_t entry_size(const struct entry *entry)
{
	size_t size = text_size(strlen(entry->provider)) + text_size(entry->placeholder_len) +
		      text_size(osh_secret_reveal(&entry->secret).len) + sizeof(uint32_t);

	for (size_t i = 0; i < entry->host_count; i++)
		size += text_size(strlen(entry->hosts[i]));
	return size;
}

/* The room is reserved before: these cannot fail. */
static void put_u32(struct osh_buf *buf, size_t value)
{
	uint32_t word = (uint32_t)value;

	(void)osh_buf_append(buf, &word, sizeof(word));
}

static void put_text(struct osh_buf *buf, struct osh_str text)
{
	put_u32(buf, text.len);
	(void)osh_buf_append_str(buf, text);
}

int osh_vault_encode(const struct osh_vault *vault, struct osh_buf *buf)
{
	size_t size = 3 * sizeof(uint32_t);
	int r;

	for (size_t i = 0; i < vault->count; i++)
		size += entry_size(&vault->entries[i]);
	/* All at once: a buffer that grew would leave a copy of secrets in freed memory. */
	r = osh_buf_reserve(buf, size);
	if (r < 0)
		return r;
	put_u32(buf, VAULT_MAGIC);
	put_u32(buf, VAULT_LAYOUT);
	put_u32(buf, vault->count);
	for (size_t i = 0; i < vault->count; i++) {
		const struct entry *entry = &vault->entries[i];

		put_text(buf, osh_str(entry->provider));
		put_text(buf, osh_str_n(entry->placeholder, entry->placeholder_len));
		put_text(buf, osh_secret_reveal(&entry->secret));
		put_u32(buf, entry->host_count);
		for (size_t h = 0; h < entry->host_count; h++)
			put_text(buf, osh_str(entry->hosts[h]));
	}
	return 0;
}

static bool take_u32(struct osh_str *data, uint32_t max, uint32_t *ret_value)
{
	if (data->len < sizeof(*ret_value))
		return false;
	memcpy(ret_value, data->data, sizeof(*ret_value));
	data->data += sizeof(*ret_value);
	data->len -= sizeof(*ret_value);
	return *ret_value <= max;
}

static bool take_text(struct osh_str *data, struct osh_str *ret_text)
{
	uint32_t len;

	if (!take_u32(data, TEXT_BYTES_MAX, &len) || len > data->len)
		return false;
	*ret_text = osh_str_n(data->data, len);
	data->data += len;
	data->len -= len;
	return true;
}

static int decode_hosts(struct osh_str *data, struct entry *entry)
{
	uint32_t count;

	if (!take_u32(data, HOSTS_MAX, &count))
		return -EBADMSG;
	for (uint32_t i = 0; i < count; i++) {
		struct osh_str host;
		int r;

		if (!take_text(data, &host) || host.len == 0 || memchr(host.data, '\0', host.len))
			return -EBADMSG;
		r = add_host(entry, host);
		if (r < 0)
			return r;
	}
	return 0;
}

static int decode_entry(struct osh_str *data, struct osh_vault *vault)
{
	struct osh_str provider, placeholder, secret;
	struct entry *entry;
	int r;

	if (!take_text(data, &provider) || !take_text(data, &placeholder) ||
	    !take_text(data, &secret) || (provider.len && memchr(provider.data, '\0', provider.len)))
		return -EBADMSG;
	r = begin_entry(vault, provider, placeholder, secret, &entry);
	if (r < 0)
		return r == -ENOMEM ? r : -EBADMSG;
	r = decode_hosts(data, entry);
	if (r < 0)
		entry_done(entry);
	else
		vault->count++;
	return r;
}

int osh_vault_decode(struct osh_str data, struct osh_vault **ret_vault)
{
	uint32_t magic, layout, count;
	struct osh_vault *vault;
	int r = 0;

	if (!take_u32(&data, UINT32_MAX, &magic) || magic != VAULT_MAGIC ||
	    !take_u32(&data, UINT32_MAX, &layout) || layout != VAULT_LAYOUT ||
	    !take_u32(&data, ENTRIES_MAX, &count))
		return -EBADMSG;
	vault = osh_vault_new();
	if (!vault)
		return -ENOMEM;
	for (uint32_t i = 0; r == 0 && i < count; i++)
		r = decode_entry(&data, vault);
	if (r == 0 && data.len)
		r = -EBADMSG;
	if (r < 0) {
		osh_vault_free(vault);
		return r;
	}
	*ret_vault = vault;
	return 0;
}

/* ---- Finding placeholders ---------------------------------------------------------- */

static int hex_value(char c)
{
	if (osh_ascii_is_digit(c))
		return c - '0';
	c = osh_ascii_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One byte of `text` at `at`, percent-decoded. Returns the characters it took, 0 at
 * the end. */
static size_t decode_at(struct osh_str text, size_t at, char *ret_byte)
{
	if (at >= text.len)
		return 0;
	*ret_byte = text.data[at];
	if (text.data[at] == '%' && text.len - at >= 3) {
		int high = hex_value(text.data[at + 1]), low = hex_value(text.data[at + 2]);

		if (high >= 0 && low >= 0) {
			*ret_byte = (char)(high << 4 | low);
			return 3;
		}
	}
	return 1;
}

/* Does text, from `at` on, spell what is left of a placeholder? */
static bool spells(struct osh_str text, size_t at, struct osh_str rest)
{
	for (size_t i = 0; i < rest.len; i++) {
		char byte;
		size_t took = decode_at(text, at, &byte);

		if (!took || byte != rest.data[i])
			return false;
		at += took;
	}
	return true;
}

/* The escape at `at` is the first one of an encoded placeholder: what stands before it
 * is plain. Tried for each place in the placeholder that holds the escaped byte. */
static bool escape_belongs(struct osh_str text, size_t at, struct osh_str placeholder)
{
	const char *end = placeholder.data + placeholder.len;
	const char *place = placeholder.data;
	char byte;

	if (decode_at(text, at, &byte) != 3)
		return false;
	while ((place = memchr(place, byte, (size_t)(end - place)))) {
		size_t before = (size_t)(place - placeholder.data);

		if (before <= at &&
		    memcmp(text.data + at - before, placeholder.data, before) == 0 &&
		    spells(text, at, osh_str_n(place, (size_t)(end - place))))
			return true;
		place++;
	}
	return false;
}

/* Both searches run at memory speed over bytes that hold neither. */
static bool text_has(struct osh_str text, struct osh_str placeholder)
{
	const char *escape = text.data;

	if (text.len < placeholder.len)
		return false;
	if (memmem(text.data, text.len, placeholder.data, placeholder.len))
		return true;
	while ((escape = memchr(escape, '%', text.len - (size_t)(escape - text.data)))) {
		if (escape_belongs(text, (size_t)(escape - text.data), placeholder))
			return true;
		escape++;
	}
	return false;
}

static struct osh_str placeholder_of(const struct entry *entry)
{
	return osh_str_n(entry->placeholder, entry->placeholder_len);
}

static bool has_any(const struct osh_vault *vault, struct osh_str text)
{
	for (size_t i = 0; i < vault->count; i++) {
		if (text_has(text, placeholder_of(&vault->entries[i])))
			return true;
	}
	return false;
}

/* ---- Header values ------------------------------------------------------------------ */

struct credentials {
	struct osh_str scheme;
	struct osh_str rest;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static struct osh_str trim(struct osh_str text)
{
	while (text.len && is_blank(text.data[0]))
		text.data++, text.len--;
	while (text.len && is_blank(text.data[text.len - 1]))
		text.len--;
	return text;
}

/* auth-scheme 1*SP credentials (RFC 9110, 11.4). */
static struct credentials split_scheme(struct osh_str value)
{
	size_t len = 0;

	value = trim(value);
	while (len < value.len && !is_blank(value.data[len]))
		len++;
	return (struct credentials){
		.scheme = osh_str_n(value.data, len),
		.rest = trim(osh_str_n(value.data + len, value.len - len)),
	};
}

/* The user:password inside a Basic value, in wiped memory. */
struct basic {
	char *bytes;
	size_t room, len;
};

static void basic_done(struct basic *basic)
{
	osh_wipe(basic->bytes, basic->room);
	free(basic->bytes);
}

/* Returns 1, 0 when it is no base64, -ENOMEM. */
static int decode_basic(struct osh_str text, struct basic *ret_basic)
{
	ret_basic->room = text.len + 1;
	ret_basic->bytes = malloc(ret_basic->room);
	if (!ret_basic->bytes)
		return -ENOMEM;
	return osh_base64_decode(text, ret_basic->bytes, &ret_basic->len) == 0;
}

bool osh_vault_contains(const struct osh_vault *vault, struct osh_str bytes)
{
	struct credentials credentials;
	struct basic basic OSH_CLEANUP(basic_done) = { 0 };
	int r;

	if (vault->count == 0 || bytes.len == 0)
		return false;
	if (has_any(vault, bytes))
		return true;
	credentials = split_scheme(bytes);
	if (!osh_str_caseeq_c(credentials.scheme, "Basic"))
		return false;
	r = decode_basic(credentials.rest, &basic);
	/* What cannot be looked into is taken for the worst. */
	return r < 0 || (r > 0 && has_any(vault, osh_str_n(basic.bytes, basic.len)));
}

static bool may_go_to(const struct entry *entry, struct osh_str host)
{
	for (size_t i = 0; i < entry->host_count; i++) {
		if (osh_str_eq_c(host, entry->hosts[i]))
			return true;
	}
	return false;
}

static const struct entry *find_entry(const struct osh_vault *vault, struct osh_str text)
{
	for (size_t i = 0; i < vault->count; i++) {
		if (osh_str_eq(text, placeholder_of(&vault->entries[i])))
			return &vault->entries[i];
	}
	return NULL;
}

/* One part of a credential: a placeholder as a whole (then *ret_entry), or none in it.
 * False: a placeholder that must not be here. */
static bool judge_part(const struct osh_vault *vault, struct osh_str host, bool verified_tls,
		       struct osh_str part, const struct entry **ret_entry)
{
	*ret_entry = find_entry(vault, part);
	if (*ret_entry)
		return verified_tls && may_go_to(*ret_entry, host);
	return !has_any(vault, part);
}

static struct osh_str resolve(const struct entry *entry, struct osh_str part)
{
	return entry ? osh_secret_reveal(&entry->secret) : part;
}

static enum osh_vault_result rewrite_whole(const struct osh_vault *vault, struct osh_str host,
					   bool verified_tls, struct credentials credentials,
					   struct osh_buf *out)
{
	const struct entry *entry;
	struct osh_str secret;

	if (!judge_part(vault, host, verified_tls, credentials.rest, &entry))
		return OSH_VAULT_MISMATCH;
	if (!entry)
		return OSH_VAULT_NONE;
	secret = osh_secret_reveal(&entry->secret);
	if (osh_buf_reserve(out, credentials.scheme.len + 1 + secret.len) < 0)
		return OSH_VAULT_MISMATCH; /* cannot be sent as it should: not at all */
	(void)osh_buf_append_str(out, credentials.scheme);
	(void)osh_buf_append(out, " ", 1);
	(void)osh_buf_append_str(out, secret);
	return OSH_VAULT_REPLACED;
}

static enum osh_vault_result write_basic(struct osh_str user, struct osh_str password,
					 struct osh_buf *out)
{
	size_t len = user.len + 1 + password.len;
	struct basic plain OSH_CLEANUP(basic_done) = { .bytes = malloc(len), .room = len };
	size_t encoded = osh_base64_encoded_len(len);

	if (!plain.bytes || osh_buf_reserve(out, 6 + encoded) < 0)
		return OSH_VAULT_MISMATCH;
	memcpy(plain.bytes, user.data, user.len);
	plain.bytes[user.len] = ':';
	memcpy(plain.bytes + user.len + 1, password.data, password.len);
	(void)osh_buf_append(out, "Basic ", 6);
	osh_base64_encode(osh_str_n(plain.bytes, len), osh_buf_tail(out));
	osh_buf_grew(out, encoded);
	return OSH_VAULT_REPLACED;
}

static enum osh_vault_result rewrite_pair(const struct osh_vault *vault, struct osh_str host,
					  bool verified_tls, struct osh_str pair,
					  struct osh_buf *out)
{
	const char *colon = memchr(pair.data, ':', pair.len);
	const struct entry *for_user, *for_password;
	struct osh_str user, password;

	if (!colon)
		return has_any(vault, pair) ? OSH_VAULT_MISMATCH : OSH_VAULT_NONE;
	user = osh_str_n(pair.data, (size_t)(colon - pair.data));
	password = osh_str_n(colon + 1, pair.len - user.len - 1);
	if (!judge_part(vault, host, verified_tls, user, &for_user) ||
	    !judge_part(vault, host, verified_tls, password, &for_password))
		return OSH_VAULT_MISMATCH;
	if (!for_user && !for_password)
		return has_any(vault, pair) ? OSH_VAULT_MISMATCH : OSH_VAULT_NONE;
	user = resolve(for_user, user);
	/* The first colon ends the user (RFC 7617): such a secret would be cut in two. */
	if (memchr(user.data, ':', user.len))
		return OSH_VAULT_MISMATCH;
	return write_basic(user, resolve(for_password, password), out);
}

static enum osh_vault_result rewrite_basic(const struct osh_vault *vault, struct osh_str host,
					   bool verified_tls, struct osh_str text,
					   struct osh_buf *out)
{
	struct basic basic OSH_CLEANUP(basic_done) = { 0 };
	int r = decode_basic(text, &basic);

	if (r < 0 || has_any(vault, text))
		return OSH_VAULT_MISMATCH;
	if (r == 0)
		return OSH_VAULT_NONE;
	return rewrite_pair(vault, host, verified_tls, osh_str_n(basic.bytes, basic.len), out);
}

enum osh_vault_result osh_vault_authorization(const struct osh_vault *vault, struct osh_str host,
					      bool verified_tls, struct osh_str value,
					      struct osh_buf *out)
{
	struct credentials credentials;

	osh_buf_clear(out);
	if (vault->count == 0 || value.len == 0)
		return OSH_VAULT_NONE;
	credentials = split_scheme(value);
	if (osh_str_caseeq_c(credentials.scheme, "Bearer") ||
	    osh_str_caseeq_c(credentials.scheme, "token"))
		return rewrite_whole(vault, host, verified_tls, credentials, out);
	if (osh_str_caseeq_c(credentials.scheme, "Basic"))
		return rewrite_basic(vault, host, verified_tls, credentials.rest, out);
	return has_any(vault, value) ? OSH_VAULT_MISMATCH : OSH_VAULT_NONE;
}

/* ---- Bodies ---------------------------------------------------------------------- */

/* The last bytes of tail and piece together become the new tail. */
static void keep_tail(struct osh_vault_scan *scan, struct osh_str piece)
{
	size_t room = sizeof(scan->tail);
	size_t old;

	if (piece.len >= room) {
		memcpy(scan->tail, piece.data + piece.len - room, room);
		scan->tail_len = room;
		return;
	}
	old = scan->tail_len < room - piece.len ? scan->tail_len : room - piece.len;
	memmove(scan->tail, scan->tail + scan->tail_len - old, old);
	memcpy(scan->tail + old, piece.data, piece.len);
	scan->tail_len = old + piece.len;
}

bool osh_vault_scan(const struct osh_vault *vault, struct osh_vault_scan *scan,
		    struct osh_str piece)
{
	char seam[2 * sizeof(scan->tail)];
	size_t head_len = piece.len < sizeof(scan->tail) ? piece.len : sizeof(scan->tail);
	bool found;

	if (vault->count == 0 || piece.len == 0)
		return false;
	/* What crosses the border lies within tail + head; the rest within the piece. */
	memcpy(seam, scan->tail, scan->tail_len);
	memcpy(seam + scan->tail_len, piece.data, head_len);
	found = (scan->tail_len && has_any(vault, osh_str_n(seam, scan->tail_len + head_len))) ||
		has_any(vault, piece);
	keep_tail(scan, piece);
	return found;
}
