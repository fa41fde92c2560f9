/* Finding placeholders in texts, however they are spelled. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "credential/base64.h"
#include "credential/vault_entry.h"

#define MARKER "openshell:resolve:env:"
#define ALIAS "OPENSHELL-RESOLVE-ENV-"

/* ---- Bytes ------------------------------------------------------------------------- */

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

static bool is_name_char(char c)
{
	return osh_ascii_is_alpha(c) || osh_ascii_is_digit(c) || c == '_';
}

static bool is_token_char(char c)
{
	return is_name_char(c) || c == '.' || c == '~' || c == '-';
}

/* Does text spell the needle at `at`? */
static bool spells(struct osh_str text, size_t at, struct osh_str needle, size_t *ret_len)
{
	size_t end = at;

	for (size_t i = 0; i < needle.len; i++) {
		char byte;
		size_t took = decode_at(text, end, &byte);

		if (!took || byte != needle.data[i])
			return false;
		end += took;
	}
	*ret_len = end - at;
	return true;
}

/* ---- One needle --------------------------------------------------------------------- */

/* The escape at `escape` is the first one of a spelling that begins at or behind `from`:
 * what stands before it is plain. Tried for each place in the needle that holds the byte. */
static bool escape_belongs(struct osh_str text, size_t from, size_t escape, struct osh_str needle,
			   struct osh_placeholder *ret)
{
	const char *end = needle.data + needle.len, *place = needle.data;
	char byte;

	if (decode_at(text, escape, &byte) != 3)
		return false;
	while ((place = memchr(place, byte, (size_t)(end - place)))) {
		size_t before = (size_t)(place - needle.data);

		if (before <= escape - from &&
		    memcmp(text.data + escape - before, needle.data, before) == 0 &&
		    spells(text, escape - before, needle, &ret->len)) {
			ret->at = escape - before;
			ret->escaped = true;
			return true;
		}
		place++;
	}
	return false;
}

/* The first spelling of the needle. Both searches run at memory speed over bytes that hold
 * neither. */
static bool search(struct osh_str text, size_t from, struct osh_str needle, struct osh_placeholder *ret)
{
	const char *plain, *escape;
	size_t limit = text.len;

	if (from > text.len || text.len - from < needle.len)
		return false;
	plain = memmem(text.data + from, text.len - from, needle.data, needle.len);
	if (plain)
		limit = (size_t)(plain - text.data);
	for (size_t at = from; at < limit; at++) {
		escape = memchr(text.data + at, '%', limit - at);
		if (!escape)
			break;
		at = (size_t)(escape - text.data);
		if (escape_belongs(text, from, at, needle, ret))
			return true;
	}
	if (!plain)
		return false;
	ret->at = limit;
	ret->len = needle.len;
	ret->escaped = false;
	return true;
}

/* ---- The four forms ------------------------------------------------------------------- */

/* The name behind the marker found. */
static void read_name(struct osh_str text, struct osh_placeholder *p)
{
	char byte;
	size_t took;

	p->next = p->at + p->len;
	p->name_len = 0;
	p->form = OSH_PLACEHOLDER_NAME;
	while ((took = decode_at(text, p->at + p->len, &byte)) && is_name_char(byte)) {
		if (p->name_len < sizeof(p->name))
			p->name[p->name_len++] = byte;
		else
			p->form = OSH_PLACEHOLDER_BAD;
		p->escaped |= took > 1;
		p->len += took;
	}
	if (p->name_len == 0)
		p->form = OSH_PLACEHOLDER_BAD;
}

/* An alias is a whole token, with something before the marker. */
static void widen_alias(struct osh_str text, size_t from, struct osh_placeholder *p)
{
	size_t start = p->at;
	char byte;

	while (start > from && is_token_char(text.data[start - 1]))
		start--;
	if (start == p->at || (start > 0 && text.data[start - 1] == '%') ||
	    (decode_at(text, p->at + p->len, &byte) && is_token_char(byte)))
		p->form = OSH_PLACEHOLDER_BAD;
	p->len += p->at - start;
	p->at = start;
}

bool osh_placeholder_find(const struct osh_vault *vault, struct osh_str text, size_t from,
			  struct osh_placeholder *ret)
{
	const struct osh_str marker = osh_str(MARKER), alias = osh_str(ALIAS);
	struct osh_placeholder found;
	bool any = false, is_alias = false;

	for (size_t i = 0; vault && i < vault->count; i++) {
		const struct osh_vault_entry *entry = &vault->entries[i];

		if (!search(text, from, osh_str(entry->placeholder), &found) ||
		    (any && found.at >= ret->at))
			continue;
		found.form = OSH_PLACEHOLDER_OWN;
		found.entry = entry;
		found.next = found.at + found.len;
		*ret = found;
		any = true;
	}
	if (search(text, from, marker, &found) && (!any || found.at < ret->at)) {
		read_name(text, &found);
		*ret = found;
		any = true;
	}
	if (search(text, from, alias, &found) && (!any || found.at < ret->at)) {
		read_name(text, &found);
		*ret = found;
		any = is_alias = true;
	}
	if (is_alias)
		widen_alias(text, from, ret);
	return any;
}

/* ---- Whose ---------------------------------------------------------------------------- */

static bool has_variable(const struct osh_vault_entry *entry, struct osh_str name)
{
	for (size_t i = 0; i < entry->variable_count; i++) {
		if (osh_str_eq_c(name, entry->variables[i]))
			return true;
	}
	return false;
}

/* "v<revision>_KEY" */
static bool is_revision(const struct osh_vault_entry *entry, struct osh_str name)
{
	const char *end = osh_str_chr(name, '_');
	size_t len = end ? (size_t)(end - name.data) : 0;
	uint64_t revision;

	return len > 1 && name.data[0] == 'v' &&
	       osh_str_parse_u64(osh_str_n(name.data + 1, len - 1), UINT64_MAX, &revision) == 0 &&
	       revision == entry->revision &&
	       has_variable(entry, osh_str_n(end + 1, name.len - len - 1));
}

/* "s<handle>_KEY" */
static bool is_handle(const struct osh_vault_entry *entry, struct osh_str name)
{
	const size_t head = OSH_VAULT_HANDLE_HEX; /* "s" and the digits */
	char handle[OSH_VAULT_HANDLE_HEX];
	struct osh_str key;

	if (name.len <= head + 1 || name.data[0] != 's' || name.data[head] != '_')
		return false;
	key = osh_str_n(name.data + head + 1, name.len - head - 1);
	return has_variable(entry, key) &&
	       osh_vault_handle(osh_str(entry->provider), key, handle) == 0 &&
	       osh_str_eq_c(osh_str_n(name.data + 1, head - 1), handle);
}

bool osh_placeholder_names(const struct osh_placeholder *p, const struct osh_vault_entry *entry)
{
	struct osh_str name = osh_str_n(p->name, p->name_len);

	switch (p->form) {
	case OSH_PLACEHOLDER_OWN:
		return p->entry == entry;
	case OSH_PLACEHOLDER_NAME:
		return has_variable(entry, name) || is_revision(entry, name) || is_handle(entry, name);
	case OSH_PLACEHOLDER_BAD:
		break;
	}
	return false;
}

static bool names_any(const struct osh_vault *vault, const struct osh_placeholder *p)
{
	for (size_t i = 0; vault && i < vault->count; i++) {
		if (osh_placeholder_names(p, &vault->entries[i]))
			return true;
	}
	return false;
}

/* ---- Basic ------------------------------------------------------------------------------ */

void osh_basic_done(struct osh_basic *basic)
{
	osh_wipe(basic->bytes, basic->room);
	free(basic->bytes);
	*basic = (struct osh_basic){ 0 };
}

/* auth-scheme 1*SP credentials (RFC 9110 11.4). */
int osh_basic_decode(struct osh_str value, struct osh_basic *ret_basic)
{
	static const char scheme[] = "Basic";
	size_t len = sizeof(scheme) - 1;

	*ret_basic = (struct osh_basic){ 0 };
	while (value.len && (value.data[0] == ' ' || value.data[0] == '\t'))
		value.data++, value.len--;
	while (value.len && (value.data[value.len - 1] == ' ' || value.data[value.len - 1] == '\t'))
		value.len--;
	if (value.len <= len || !osh_str_caseeq_c(osh_str_n(value.data, len), scheme))
		return 0;
	value = osh_str_n(value.data + len, value.len - len);
	if (value.data[0] != ' ' && value.data[0] != '\t')
		return 0;
	while (value.len && (value.data[0] == ' ' || value.data[0] == '\t'))
		value.data++, value.len--;
	ret_basic->room = value.len + 1;
	ret_basic->bytes = malloc(ret_basic->room);
	if (!ret_basic->bytes)
		return -ENOMEM;
	return osh_base64_decode(value, ret_basic->bytes, &ret_basic->len) == 0;
}

/* ---- Questions ---------------------------------------------------------------------------- */

/* `known`: only those that name a secret count. */
static bool holds(const struct osh_vault *vault, struct osh_str text, bool known)
{
	struct osh_placeholder p = { 0 };
	size_t from = 0;

	for (unsigned i = 0; osh_placeholder_find(vault, text, from, &p); i++) {
		/* Too many to look at are taken for the worst. */
		if (!known || i == OSH_PLACEHOLDERS_MAX || names_any(vault, &p))
			return true;
		from = p.next;
	}
	return false;
}

static bool holds_or_hides(const struct osh_vault *vault, struct osh_str text, bool known)
{
	struct osh_basic basic OSH_CLEANUP(osh_basic_done) = { 0 };
	int r;

	if (text.len == 0)
		return false;
	if (holds(vault, text, known))
		return true;
	r = osh_basic_decode(text, &basic);
	return r < 0 || (r > 0 && holds(vault, osh_str_n(basic.bytes, basic.len), known));
}

bool osh_vault_marks(const struct osh_vault *vault, struct osh_str text)
{
	return holds_or_hides(vault, text, false);
}

bool osh_vault_contains(const struct osh_vault *vault, struct osh_str text)
{
	return !osh_vault_is_empty(vault) && holds_or_hides(vault, text, true);
}

/* ---- Bodies ---------------------------------------------------------------------------------- */

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

	if (osh_vault_is_empty(vault) || piece.len == 0)
		return false;
	/* What crosses the border lies within tail + head; the rest within the piece. */
	memcpy(seam, scan->tail, scan->tail_len);
	memcpy(seam + scan->tail_len, piece.data, head_len);
	found = (scan->tail_len &&
		 holds(vault, osh_str_n(seam, scan->tail_len + head_len), true)) ||
		holds(vault, piece, true);
	keep_tail(scan, piece);
	return found;
}

/* ---- For people -------------------------------------------------------------------------------- */

int osh_vault_redact(const struct osh_vault *vault, struct osh_str text, const char *shown, char *buf,
		     size_t size, struct osh_str *ret_text)
{
	struct osh_buf out = { .data = buf, .room = size, .max = size };
	struct osh_placeholder p = { 0 };
	size_t from = 0;
	int r = 0;

	for (unsigned i = 0; r == 0 && osh_placeholder_find(vault, text, from, &p); i++) {
		if (i == OSH_PLACEHOLDERS_MAX)
			return -E2BIG;
		bool known = names_any(vault, &p);

		r = osh_buf_append(&out, text.data + from, (known ? p.at : p.next) - from);
		if (r == 0 && known)
			r = osh_buf_append_c(&out, shown);
		from = known ? p.at + p.len : p.next;
	}
	if (r == 0)
		r = osh_buf_append(&out, text.data ? text.data + from : NULL, text.len - from);
	if (r == 0)
		*ret_text = osh_buf_str(&out);
	return r;
}
