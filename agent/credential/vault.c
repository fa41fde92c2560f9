#include "credential/vault.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "credential/vault_entry.h"

#define TEXT_BYTES_MAX 8192
#define VAULT_MAGIC 0x746c7661u /* "avlt" */
#define VAULT_LAYOUT 2u

/* Shorter ones would be found by chance; a longer one, each byte as %HH, would not fit
 * into the tail of a scan. */
#define PLACEHOLDER_BYTES_MIN 16
#define PLACEHOLDER_BYTES_MAX 160
_Static_assert(3 * PLACEHOLDER_BYTES_MAX <= sizeof(((struct osh_vault_scan *)0)->tail),
	       "a percent-encoded placeholder fits into the tail");

/* ---- Contents -------------------------------------------------------------------- */

static void free_texts(char **texts, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(texts[i]);
}

static void entry_done(struct osh_vault_entry *entry)
{
	free(entry->provider);
	free(entry->placeholder);
	osh_secret_done(&entry->secret);
	free_texts(entry->variables, entry->variable_count);
	free_texts(entry->hosts, entry->host_count);
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
	return !vault || vault->count == 0;
}

bool osh_vault_serves(const struct osh_vault *vault, struct osh_str host)
{
	for (size_t i = 0; vault && i < vault->count; i++) {
		const struct osh_vault_entry *entry = &vault->entries[i];

		for (size_t h = 0; h < entry->host_count; h++) {
			if (osh_str_eq_c(host, entry->hosts[h]))
				return true;
		}
	}
	return false;
}

int osh_vault_handle(struct osh_str provider, struct osh_str variable,
		     char ret_hex[static OSH_VAULT_HANDLE_HEX])
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	char text[512];
	int len = snprintf(text, sizeof(text), "%.*s:%.*s", (int)provider.len, provider.data,
			   (int)variable.len, variable.data);

	if (len < 0 || (size_t)len >= sizeof(text) ||
	    EVP_Digest(text, (size_t)len, digest, NULL, EVP_sha256(), NULL) != 1)
		return -EIO;
	for (size_t i = 0; i < 32; i++)
		snprintf(ret_hex + 2 * i, 3, "%02x", digest[i]);
	return 0;
}

/* Visible ASCII without what HTTP, URLs and base64 would change. */
static bool placeholder_is_valid(struct osh_str text)
{
	if (text.len < PLACEHOLDER_BYTES_MIN || text.len > PLACEHOLDER_BYTES_MAX)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		char c = text.data[i];

		if (!osh_ascii_is_alpha(c) && !osh_ascii_is_digit(c) && (!c || !strchr("-._~", c)))
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

static bool variable_is_valid(struct osh_str text)
{
	if (text.len == 0 || text.len > OSH_VAULT_VARIABLE_BYTES_MAX)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		char c = text.data[i];

		if (!osh_ascii_is_alpha(c) && !osh_ascii_is_digit(c) && c != '_')
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

static int add_text(char **texts, size_t *count, size_t max, struct osh_str text)
{
	if (*count == max)
		return -E2BIG;
	texts[*count] = copy_text(text);
	if (!texts[*count])
		return -ENOMEM;
	(*count)++;
	return 0;
}

static int add_host(struct osh_vault_entry *entry, struct osh_str host)
{
	return add_text(entry->hosts, &entry->host_count, OSH_VAULT_HOSTS_MAX, host);
}

static int add_variable(struct osh_vault_entry *entry, struct osh_str variable)
{
	if (!variable_is_valid(variable))
		return -EINVAL;
	return add_text(entry->variables, &entry->variable_count, OSH_VAULT_VARIABLES_MAX, variable);
}

/* Start a new entry; variables and hosts follow. It counts only once it is whole. A secret
 * without bytes is gone. */
static int begin_entry(struct osh_vault *vault, struct osh_str provider, struct osh_str placeholder,
		       struct osh_str secret, struct osh_vault_entry **ret_entry)
{
	struct osh_vault_entry *entry;

	if (vault->count == OSH_VAULT_ENTRIES_MAX)
		return -E2BIG;
	if (!placeholder_is_valid(placeholder) || (secret.data && !secret_is_valid(secret)))
		return -EINVAL;
	entry = &vault->entries[vault->count];
	entry->provider = copy_text(provider);
	entry->placeholder = copy_text(placeholder);
	if (!entry->provider || !entry->placeholder ||
	    (secret.data && osh_secret_init(&entry->secret, secret) < 0)) {
		entry_done(entry);
		return -ENOMEM;
	}
	*ret_entry = entry;
	return 0;
}

int osh_vault_add(struct osh_vault *vault, const struct osh_vault_item *item)
{
	struct osh_str secret = item->secret ? osh_secret_reveal(item->secret) : osh_str_n(NULL, 0);
	struct osh_vault_entry *entry;
	int r = begin_entry(vault, osh_str(item->provider), osh_str(item->placeholder), secret, &entry);

	if (r < 0)
		return r;
	entry->revision = item->revision;
	for (const char *const *v = item->variables; r == 0 && *v; v++)
		r = add_variable(entry, osh_str(*v));
	for (const char *const *h = item->hosts; r == 0 && *h; h++)
		r = add_host(entry, osh_str(*h));
	if (r < 0)
		entry_done(entry);
	else
		vault->count++;
	return r;
}

/* ---- Byte form ------------------------------------------------------------------- */

/* u32 magic, layout, number of entries; per entry: provider, placeholder, secret, u64
 * revision, variables, hosts. A text is u32 length and bytes, a list u32 number and texts.
 * Native byte order. */

static size_t text_size(size_t len)
{
	return sizeof(uint32_t) + len;
}

static size_t list_size(char *const *texts, size_t count)
{
	size_t size = sizeof(uint32_t);

	for (size_t i = 0; i < count; i++)
		size += text_size(strlen(texts[i]));
	return size;
}

static size_t entry_size(const struct osh_vault_entry *entry)
{
	return text_size(strlen(entry->provider)) + text_size(strlen(entry->placeholder)) +
	       text_size(osh_secret_reveal(&entry->secret).len) + sizeof(entry->revision) +
	       list_size(entry->variables, entry->variable_count) +
	       list_size(entry->hosts, entry->host_count);
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

static void put_list(struct osh_buf *buf, char *const *texts, size_t count)
{
	put_u32(buf, count);
	for (size_t i = 0; i < count; i++)
		put_text(buf, osh_str(texts[i]));
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
		const struct osh_vault_entry *entry = &vault->entries[i];

		put_text(buf, osh_str(entry->provider));
		put_text(buf, osh_str(entry->placeholder));
		put_text(buf, osh_secret_reveal(&entry->secret));
		(void)osh_buf_append(buf, &entry->revision, sizeof(entry->revision));
		put_list(buf, entry->variables, entry->variable_count);
		put_list(buf, entry->hosts, entry->host_count);
	}
	return 0;
}

static bool take_bytes(struct osh_str *data, void *ret, size_t len)
{
	if (data->len < len)
		return false;
	memcpy(ret, data->data, len);
	data->data += len;
	data->len -= len;
	return true;
}

static bool take_u32(struct osh_str *data, uint32_t max, uint32_t *ret_value)
{
	return take_bytes(data, ret_value, sizeof(*ret_value)) && *ret_value <= max;
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

static int decode_list(struct osh_str *data, struct osh_vault_entry *entry, uint32_t max,
		       int (*add)(struct osh_vault_entry *entry, struct osh_str text))
{
	uint32_t count;

	if (!take_u32(data, max, &count))
		return -EBADMSG;
	for (uint32_t i = 0; i < count; i++) {
		struct osh_str text;
		int r;

		if (!take_text(data, &text) || text.len == 0 || osh_str_chr(text, '\0'))
			return -EBADMSG;
		r = add(entry, text);
		if (r < 0)
			return r == -ENOMEM ? r : -EBADMSG;
	}
	return 0;
}

static int decode_entry(struct osh_str *data, struct osh_vault *vault)
{
	struct osh_str provider, placeholder, secret;
	struct osh_vault_entry *entry;
	uint64_t revision;
	int r;

	if (!take_text(data, &provider) || !take_text(data, &placeholder) ||
	    !take_text(data, &secret) || !take_bytes(data, &revision, sizeof(revision)) ||
	    osh_str_chr(provider, '\0'))
		return -EBADMSG;
	if (secret.len == 0)
		secret.data = NULL;
	r = begin_entry(vault, provider, placeholder, secret, &entry);
	if (r < 0)
		return r == -ENOMEM ? r : -EBADMSG;
	entry->revision = revision;
	r = decode_list(data, entry, OSH_VAULT_VARIABLES_MAX, add_variable);
	if (r == 0)
		r = decode_list(data, entry, OSH_VAULT_HOSTS_MAX, add_host);
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
	    !take_u32(&data, OSH_VAULT_ENTRIES_MAX, &count))
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
