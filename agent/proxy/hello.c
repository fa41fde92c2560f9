#include "proxy/hello.h"

#include <stdbool.h>
#include <string.h>

#define RECORD_HEADER 5
#define RECORD_MAX (16u << 10)
#define HANDSHAKE_HEADER 4
#define CLIENT_HELLO 1
#define EXTENSION_SERVER_NAME 0
#define NAME_TYPE_HOST 0
#define EXTENSIONS_MAX 128

/* Bytes still to be read; `bad` sticks, so that a parser checks once per field. */
struct cursor {
	const unsigned char *at;
	size_t left;
	bool bad;
};

static struct cursor take(struct cursor *c, size_t len)
{
	struct cursor part = { .at = c->at };

	if (c->bad || len > c->left) {
		c->bad = true;
		part.bad = true;
		return part;
	}
	part.left = len;
	c->at += len;
	c->left -= len;
	return part;
}

static size_t take_number(struct cursor *c, size_t width)
{
	struct cursor part = take(c, width);
	size_t value = 0;

	for (size_t i = 0; i < part.left; i++)
		value = value << 8 | part.at[i];
	return value;
}

/* A vector: its length in `width` bytes, then that many bytes. */
static struct cursor take_vector(struct cursor *c, size_t width)
{
	size_t len = take_number(c, width);

	return take(c, len);
}

/* Join the fragments of the handshake stream: a hello may be cut into records anywhere.
 * Stops when `room` holds the message whose length its header tells. */
static enum osh_hello_result join_records(struct osh_str bytes, unsigned char *room, size_t *ret_len)
{
	struct cursor c = { .at = (const unsigned char *)bytes.data, .left = bytes.len };
	size_t len = 0, want = HANDSHAKE_HEADER;

	while (len < want) {
		size_t record_len, part_len;

		if (c.left < RECORD_HEADER) {
			/* Refuse early what cannot become a record. */
			bool plausible = (c.left < 1 || c.at[0] == OSH_HELLO_FIRST_BYTE) &&
					 (c.left < 2 || c.at[1] == 3);

			return plausible ? OSH_HELLO_NEED_MORE : OSH_HELLO_BAD;
		}
		record_len = (size_t)c.at[3] << 8 | c.at[4];
		if (c.at[0] != OSH_HELLO_FIRST_BYTE || c.at[1] != 3 || record_len == 0 ||
		    record_len > RECORD_MAX)
			return OSH_HELLO_BAD;
		(void)take(&c, RECORD_HEADER);
		part_len = record_len < c.left ? record_len : c.left;
		memcpy(room + len, c.at, part_len);
		(void)take(&c, part_len);
		len += part_len;
		if (len >= 1 && room[0] != CLIENT_HELLO)
			return OSH_HELLO_BAD;
		if (len >= HANDSHAKE_HEADER)
			want = HANDSHAKE_HEADER +
			       ((size_t)room[1] << 16 | (size_t)room[2] << 8 | room[3]);
		if (want > OSH_HELLO_BYTES_MAX)
			return OSH_HELLO_BAD;
		if (len < want && part_len < record_len)
			return OSH_HELLO_NEED_MORE;
	}
	*ret_len = want;
	return OSH_HELLO_DONE;
}

static bool copy_name(struct cursor name, struct osh_hello *ret)
{
	if (name.left == 0 || name.left >= sizeof(ret->name))
		return false;
	for (size_t i = 0; i < name.left; i++) {
		if (name.at[i] <= 0x20 || name.at[i] >= 0x7f)
			return false;
	}
	memcpy(ret->name, name.at, name.left);
	ret->name[name.left] = '\0';
	ret->sni = osh_str_n(ret->name, name.left);
	return true;
}

/* Exactly one name: two would let the two ends of a connection disagree. */
static bool parse_server_name(struct cursor extension, struct osh_hello *ret)
{
	struct cursor list = take_vector(&extension, 2);
	size_t type = take_number(&list, 1);
	struct cursor name = take_vector(&list, 2);

	return !list.bad && !extension.bad && extension.left == 0 && list.left == 0 &&
	       type == NAME_TYPE_HOST && copy_name(name, ret);
}

/* RFC 8446 4.2: no extension twice. */
static bool note_type(uint16_t *seen, size_t *count, size_t type)
{
	if (*count == EXTENSIONS_MAX)
		return false;
	for (size_t i = 0; i < *count; i++) {
		if (seen[i] == type)
			return false;
	}
	seen[(*count)++] = (uint16_t)type;
	return true;
}

static bool parse_extensions(struct cursor extensions, struct osh_hello *ret)
{
	uint16_t seen[EXTENSIONS_MAX];
	size_t count = 0;

	while (extensions.left) {
		size_t type = take_number(&extensions, 2);
		struct cursor body = take_vector(&extensions, 2);

		if (extensions.bad || !note_type(seen, &count, type))
			return false;
		if (type == EXTENSION_SERVER_NAME && !parse_server_name(body, ret))
			return false;
	}
	return true;
}

static bool parse_client_hello(struct cursor c, struct osh_hello *ret)
{
	struct cursor session_id, ciphers, compressions, extensions;
	size_t major = take_number(&c, 1);

	(void)take(&c, 1 + 32); /* minor version, random */
	session_id = take_vector(&c, 1);
	ciphers = take_vector(&c, 2);
	compressions = take_vector(&c, 1);
	if (c.bad || major != 3 || session_id.left > 32 || ciphers.left < 2 || ciphers.left % 2 ||
	    compressions.left < 1)
		return false;
	if (c.left == 0) /* allowed before TLS 1.3 */
		return true;
	extensions = take_vector(&c, 2);
	return !c.bad && c.left == 0 && parse_extensions(extensions, ret);
}

enum osh_hello_result osh_hello_parse(struct osh_str bytes, struct osh_hello *ret_hello)
{
	unsigned char message[OSH_HELLO_BYTES_MAX];
	struct cursor c = { .at = message };
	enum osh_hello_result result;

	if (bytes.len > OSH_HELLO_BYTES_MAX)
		bytes.len = OSH_HELLO_BYTES_MAX;
	result = join_records(bytes, message, &c.left);
	if (result == OSH_HELLO_NEED_MORE && bytes.len == OSH_HELLO_BYTES_MAX)
		return OSH_HELLO_BAD; /* it would never fit */
	if (result != OSH_HELLO_DONE)
		return result;
	(void)take(&c, HANDSHAKE_HEADER);
	ret_hello->sni = osh_str_n(ret_hello->name, 0);
	ret_hello->name[0] = '\0';
	return parse_client_hello(c, ret_hello) ? OSH_HELLO_DONE : OSH_HELLO_BAD;
}
