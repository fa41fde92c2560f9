#include "policy/graphql_token.h"

#include <string.h>

#include "policy/text.h"

/* ---- Characters ---------------------------------------------------------- */

bool osh_graphql_fail(struct osh_graphql_lexer *p, const char *error)
{
	if (!p->error)
		p->error = error;
	p->token = OSH_TOKEN_END;
	return false;
}

#define CHAR_END (-1)
#define CHAR_ESCAPED 0x10000 /* flag: spelt as \u, so it may only stand in a string */

/* The character at `at`, and how many bytes it takes. */
static int char_at(const struct osh_graphql_lexer *p, const char *at, size_t *ret_len)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";

	*ret_len = 1;
	if (at >= p->end) {
		*ret_len = 0;
		return CHAR_END;
	}
	if (!p->escaped || *at != '\\')
		return (unsigned char)*at;
	*ret_len = 2;
	if (at[1] != 'u')
		return (unsigned char)to[strchr(from, at[1]) - from];
	*ret_len = 6;
	return CHAR_ESCAPED | osh_hex_value(at[2]) << 12 | osh_hex_value(at[3]) << 8 |
	       osh_hex_value(at[4]) << 4 | osh_hex_value(at[5]);
}

static int peek(const struct osh_graphql_lexer *p)
{
	size_t len;

	return char_at(p, p->at, &len);
}

static int next(struct osh_graphql_lexer *p)
{
	size_t len;
	int c = char_at(p, p->at, &len);

	p->at += len;
	return c;
}

/* The character behind `skip` others. */
static int peek_far(const struct osh_graphql_lexer *p, int skip)
{
	const char *at = p->at;
	size_t len;

	while (skip-- > 0) {
		(void)char_at(p, at, &len);
		at += len;
	}
	return char_at(p, at, &len);
}

static int plain(int c)
{
	return c == CHAR_END ? c : c & 0xffff;
}

/* ---- Tokens -------------------------------------------------------------- */

static bool is_name_start(int c)
{
	return c > 0 && c < 128 && (osh_ascii_is_alpha((char)c) || c == '_');
}

static bool is_name_char(int c)
{
	return is_name_start(c) || (c >= '0' && c <= '9');
}

static void skip_ignored(struct osh_graphql_lexer *p)
{
	for (;;) {
		int c = peek(p);

		if (c == '#') {
			while (c != CHAR_END && plain(c) != '\n' && plain(c) != '\r') {
				(void)next(p);
				c = peek(p);
			}
		} else if (c == ',' ||
			   (plain(c) > 0 && plain(c) < 128 && strchr(" \t\n\r", plain(c)))) {
			(void)next(p);
		} else {
			return;
		}
	}
}

static void read_name(struct osh_graphql_lexer *p)
{
	const char *start = p->at;

	while (is_name_char(peek(p)))
		(void)next(p);
	p->text = osh_str_n(start, (size_t)(p->at - start));
	p->token = OSH_TOKEN_NAME;
}

static bool skip_digits(struct osh_graphql_lexer *p)
{
	bool any = false;

	while (peek(p) >= '0' && peek(p) <= '9') {
		(void)next(p);
		any = true;
	}
	return any;
}

static void read_number(struct osh_graphql_lexer *p)
{
	p->token = OSH_TOKEN_NUMBER;
	if (peek(p) == '-')
		(void)next(p);
	if (peek(p) == '0')
		(void)next(p);
	else if (!skip_digits(p))
		osh_graphql_fail(p, "a malformed number");
	if (peek(p) == '.') {
		(void)next(p);
		if (!skip_digits(p))
			osh_graphql_fail(p, "a malformed number");
	}
	if (peek(p) == 'e' || peek(p) == 'E') {
		(void)next(p);
		if (peek(p) == '+' || peek(p) == '-')
			(void)next(p);
		if (!skip_digits(p))
			osh_graphql_fail(p, "a malformed number");
	}
	if (is_name_char(peek(p)) || peek(p) == '.')
		osh_graphql_fail(p, "a malformed number");
}

static void read_block_string(struct osh_graphql_lexer *p)
{
	for (;;) {
		int c = plain(next(p));

		if (c == CHAR_END) {
			osh_graphql_fail(p, "a string without end");
			return;
		}
		if (c == '\\' && plain(peek(p)) == '"' && plain(peek_far(p, 1)) == '"' &&
		    plain(peek_far(p, 2)) == '"') {
			(void)next(p);
			(void)next(p);
			(void)next(p);
		} else if (c == '"' && plain(peek(p)) == '"' && plain(peek_far(p, 1)) == '"') {
			(void)next(p);
			(void)next(p);
			return;
		}
	}
}

static void read_string_escape(struct osh_graphql_lexer *p)
{
	int c = plain(next(p));

	if (c == 'u' && plain(peek(p)) == '{') {
		while (plain(peek(p)) != '}' && plain(peek(p)) != '"' && peek(p) != CHAR_END)
			(void)next(p);
		return;
	}
	for (int i = 0; c == 'u' && i < 4; i++) {
		int digit = plain(next(p));

		if (digit <= 0 || digit >= 128 ||
		    !strchr("0123456789abcdef", osh_ascii_lower((char)digit)))
			osh_graphql_fail(p, "a malformed escape in a string");
	}
	if (c <= 0 || c >= 128 || !strchr("\"\\/bfnrtu", c))
		osh_graphql_fail(p, "a malformed escape in a string");
}

static void read_string(struct osh_graphql_lexer *p)
{
	p->token = OSH_TOKEN_STRING;
	(void)next(p);
	if (plain(peek(p)) == '"' && plain(peek_far(p, 1)) == '"') {
		(void)next(p);
		(void)next(p);
		read_block_string(p);
		return;
	}
	while (!p->error) {
		int c = plain(next(p));

		if (c == '"')
			return;
		if (c == '\\')
			read_string_escape(p);
		else if (c == CHAR_END || c == '\n' || c == '\r')
			osh_graphql_fail(p, "a string without end");
	}
}

void osh_graphql_advance(struct osh_graphql_lexer *p)
{
	int c;

	if (p->error)
		return;
	skip_ignored(p);
	p->start = p->at;
	c = peek(p);
	if (c == CHAR_END) {
		p->token = OSH_TOKEN_END;
		return;
	}
	if (++p->tokens > OSH_GRAPHQL_TOKENS_MAX) {
		osh_graphql_fail(p, "more than 20000 tokens");
		return;
	}
	if (is_name_start(c)) {
		read_name(p);
	} else if (c == '-' || (c >= '0' && c <= '9')) {
		read_number(p);
	} else if (c == '"') {
		read_string(p);
	} else if (c == '.' && peek_far(p, 1) == '.' && peek_far(p, 2) == '.') {
		(void)next(p);
		(void)next(p);
		(void)next(p);
		p->token = OSH_TOKEN_SPREAD;
	} else if (c > 0 && c < 128 && strchr("!$&():=@[]{|}", c)) {
		p->token = next(p);
	} else {
		osh_graphql_fail(p, "an unexpected character");
	}
}
