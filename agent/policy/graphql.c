#include "policy/graphql.h"

#include <string.h>

enum osh_operation_type osh_operation_type_parse(struct osh_str word)
{
	if (osh_str_eq_c(word, "query"))
		return OSH_OPERATION_QUERY;
	if (osh_str_eq_c(word, "mutation"))
		return OSH_OPERATION_MUTATION;
	if (osh_str_eq_c(word, "subscription"))
		return OSH_OPERATION_SUBSCRIPTION;
	return OSH_OPERATION_NONE;
}

/* ---- Characters ------------------------------------------------------------------------ */

enum token {
	TOKEN_END = 0,
	TOKEN_NAME = 256,
	TOKEN_NUMBER,
	TOKEN_STRING,
	TOKEN_SPREAD, /* ... */
	/* any other: the punctuator's own character */
};

struct parser {
	const char *at, *end;
	bool escaped;
	const char *error;
	int token;
	struct osh_str text; /* of a name */
	const char *start;   /* of the token */
	size_t tokens, depth;
};

static bool fail(struct parser *p, const char *error)
{
	if (!p->error)
		p->error = error;
	p->token = TOKEN_END;
	return false;
}

#define CHAR_END (-1)
#define CHAR_ESCAPED 0x10000 /* flag: spelt as \u, so it may only stand in a string */

static int hex_digit(char c)
{
	c = osh_ascii_lower(c);
	return osh_ascii_is_digit(c) ? c - '0' : c - 'a' + 10;
}

/* The character at `at`, and how many bytes it takes. */
static int char_at(const struct parser *p, const char *at, size_t *ret_len)
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
	return CHAR_ESCAPED | hex_digit(at[2]) << 12 | hex_digit(at[3]) << 8 | hex_digit(at[4]) << 4 |
	       hex_digit(at[5]);
}

static int peek(const struct parser *p)
{
	size_t len;

	return char_at(p, p->at, &len);
}

static int next(struct parser *p)
{
	size_t len;
	int c = char_at(p, p->at, &len);

	p->at += len;
	return c;
}

/* The character behind `skip` others. */
static int peek_far(const struct parser *p, int skip)
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

/* ---- Tokens ------------------------------------------------------------------------------- */

static bool is_name_start(int c)
{
	return c > 0 && c < 128 && (osh_ascii_is_alpha((char)c) || c == '_');
}

static bool is_name_char(int c)
{
	return is_name_start(c) || (c >= '0' && c <= '9');
}

static void skip_ignored(struct parser *p)
{
	for (;;) {
		int c = peek(p);

		if (c == '#') {
			while (c != CHAR_END && plain(c) != '\n' && plain(c) != '\r') {
				(void)next(p);
				c = peek(p);
			}
		} else if (c == ',' || (plain(c) > 0 && plain(c) < 128 && strchr(" \t\n\r", plain(c)))) {
			(void)next(p);
		} else {
			return;
		}
	}
}

static void read_name(struct parser *p)
{
	const char *start = p->at;

	while (is_name_char(peek(p)))
		(void)next(p);
	p->text = osh_str_n(start, (size_t)(p->at - start));
	p->token = TOKEN_NAME;
}

static bool skip_digits(struct parser *p)
{
	bool any = false;

	while (peek(p) >= '0' && peek(p) <= '9') {
		(void)next(p);
		any = true;
	}
	return any;
}

static void read_number(struct parser *p)
{
	p->token = TOKEN_NUMBER;
	if (peek(p) == '-')
		(void)next(p);
	if (peek(p) == '0')
		(void)next(p);
	else if (!skip_digits(p))
		fail(p, "a malformed number");
	if (peek(p) == '.') {
		(void)next(p);
		if (!skip_digits(p))
			fail(p, "a malformed number");
	}
	if (peek(p) == 'e' || peek(p) == 'E') {
		(void)next(p);
		if (peek(p) == '+' || peek(p) == '-')
			(void)next(p);
		if (!skip_digits(p))
			fail(p, "a malformed number");
	}
	if (is_name_char(peek(p)) || peek(p) == '.')
		fail(p, "a malformed number");
}

static void read_block_string(struct parser *p)
{
	for (;;) {
		int c = plain(next(p));

		if (c == CHAR_END) {
			fail(p, "a string without end");
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

static void read_string_escape(struct parser *p)
{
	int c = plain(next(p));

	if (c == 'u' && plain(peek(p)) == '{') {
		while (plain(peek(p)) != '}' && plain(peek(p)) != '"' && peek(p) != CHAR_END)
			(void)next(p);
		return;
	}
	for (int i = 0; c == 'u' && i < 4; i++) {
		int digit = plain(next(p));

		if (digit <= 0 || digit >= 128 || !strchr("0123456789abcdef", osh_ascii_lower((char)digit)))
			fail(p, "a malformed escape in a string");
	}
	if (c <= 0 || c >= 128 || !strchr("\"\\/bfnrtu", c))
		fail(p, "a malformed escape in a string");
}

static void read_string(struct parser *p)
{
	p->token = TOKEN_STRING;
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
			fail(p, "a string without end");
	}
}

static void advance(struct parser *p)
{
	int c;

	if (p->error)
		return;
	skip_ignored(p);
	p->start = p->at;
	c = peek(p);
	if (c == CHAR_END) {
		p->token = TOKEN_END;
		return;
	}
	if (++p->tokens > OSH_GRAPHQL_TOKENS_MAX) {
		fail(p, "more than 20000 tokens");
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
		p->token = TOKEN_SPREAD;
	} else if (c > 0 && c < 128 && strchr("!$&():=@[]{|}", c)) {
		p->token = next(p);
	} else {
		fail(p, "an unexpected character");
	}
}

static bool expect(struct parser *p, int token, const char *otherwise)
{
	if (p->token != token)
		return fail(p, otherwise);
	advance(p);
	return !p->error;
}

static bool is_word(const struct parser *p, const char *word)
{
	return p->token == TOKEN_NAME && osh_str_eq_c(p->text, word);
}

static bool enter(struct parser *p)
{
	if (++p->depth > OSH_GRAPHQL_DEPTH_MAX)
		return fail(p, "nested deeper than 128 levels");
	return true;
}

/* ---- Grammar ---------------------------------------------------------------------------------- */

static void parse_value(struct parser *p);

static void parse_object(struct parser *p)
{
	advance(p);
	while (p->token == TOKEN_NAME) {
		advance(p);
		if (!expect(p, ':', "':' is missing in an object"))
			return;
		parse_value(p);
	}
	expect(p, '}', "'}' is missing behind an object");
}

static void parse_list(struct parser *p)
{
	advance(p);
	while (!p->error && p->token != ']' && p->token != TOKEN_END)
		parse_value(p);
	expect(p, ']', "']' is missing behind a list");
}

static void parse_value(struct parser *p)
{
	if (!enter(p))
		return;
	switch (p->token) {
	case '$':
		advance(p);
		expect(p, TOKEN_NAME, "a variable lacks its name");
		break;
	case '[':
		parse_list(p);
		break;
	case '{':
		parse_object(p);
		break;
	case TOKEN_NAME:
	case TOKEN_NUMBER:
	case TOKEN_STRING:
		advance(p);
		break;
	default:
		fail(p, "a value is missing");
	}
	p->depth--;
}

static void parse_arguments(struct parser *p)
{
	if (p->token != '(')
		return;
	advance(p);
	do {
		if (!expect(p, TOKEN_NAME, "an argument lacks its name") ||
		    !expect(p, ':', "':' is missing behind an argument"))
			return;
		parse_value(p);
	} while (!p->error && p->token != ')');
	expect(p, ')', "')' is missing");
}

static void parse_directives(struct parser *p)
{
	while (p->token == '@') {
		advance(p);
		if (!expect(p, TOKEN_NAME, "a directive lacks its name"))
			return;
		parse_arguments(p);
	}
}

static void parse_type(struct parser *p)
{
	if (!enter(p))
		return;
	if (p->token == '[') {
		advance(p);
		parse_type(p);
		expect(p, ']', "']' is missing behind a type");
	} else {
		expect(p, TOKEN_NAME, "a type is missing");
	}
	if (p->token == '!')
		advance(p);
	p->depth--;
}

static void parse_variables(struct parser *p)
{
	if (p->token != '(')
		return;
	advance(p);
	do {
		if (!expect(p, '$', "a variable is missing") ||
		    !expect(p, TOKEN_NAME, "a variable lacks its name") ||
		    !expect(p, ':', "':' is missing behind a variable"))
			return;
		parse_type(p);
		if (p->token == '=') {
			advance(p);
			parse_value(p);
		}
		parse_directives(p);
	} while (!p->error && p->token != ')');
	expect(p, ')', "')' is missing");
}

/* What a walk over one selection set does with what it meets; NULL members: nothing. */
struct walker {
	void *context;
	void (*on_field)(void *context, struct osh_str name);
	void (*on_spread)(void *context, struct osh_str name);
};

static const struct walker silent = { 0 };

static void parse_selection_set(struct parser *p, const struct walker *walker);

static void parse_field(struct parser *p, const struct walker *walker)
{
	struct osh_str name = p->text;

	advance(p);
	if (p->token == ':') { /* what came before was an alias */
		advance(p);
		name = p->text;
		if (!expect(p, TOKEN_NAME, "a field is missing behind its alias"))
			return;
	}
	if (walker->on_field)
		walker->on_field(walker->context, name);
	parse_arguments(p);
	parse_directives(p);
	if (p->token == '{')
		parse_selection_set(p, &silent);
}

static void parse_fragment_use(struct parser *p, const struct walker *walker)
{
	advance(p);
	if (p->token == TOKEN_NAME && !is_word(p, "on")) {
		if (walker->on_spread)
			walker->on_spread(walker->context, p->text);
		advance(p);
		parse_directives(p);
		return;
	}
	if (p->token == TOKEN_NAME) {
		advance(p);
		if (!expect(p, TOKEN_NAME, "a type is missing behind 'on'"))
			return;
	}
	parse_directives(p);
	parse_selection_set(p, walker); /* an inline fragment: its fields stand at our level */
}

static void parse_selection_set(struct parser *p, const struct walker *walker)
{
	if (!enter(p) || !expect(p, '{', "a selection set is missing"))
		return;
	do {
		if (p->token == TOKEN_NAME)
			parse_field(p, walker);
		else if (p->token == TOKEN_SPREAD)
			parse_fragment_use(p, walker);
		else
			fail(p, "a field is missing");
	} while (!p->error && p->token != '}');
	expect(p, '}', "'}' is missing");
	p->depth--;
}

/* ---- Documents ------------------------------------------------------------------------------------ */

struct fragment {
	struct osh_str name;
	const char *set; /* where its selection set begins */
	bool used;
};

struct document {
	struct parser parser;
	struct osh_str wanted;
	size_t operations, matches;
	const char *set; /* of the selected operation */
	struct osh_graphql_operation *result;
	struct fragment fragments[OSH_GRAPHQL_FRAGMENTS_MAX];
	size_t fragment_count;
	size_t pending[OSH_GRAPHQL_FRAGMENTS_MAX]; /* fragments still to be walked */
	size_t pending_count;
};

static void parse_operation(struct document *d)
{
	struct parser *p = &d->parser;
	enum osh_operation_type type = OSH_OPERATION_QUERY;
	struct osh_str name = { 0 };

	if (p->token == TOKEN_NAME) {
		type = osh_operation_type_parse(p->text);
		if (type == OSH_OPERATION_NONE) {
			fail(p, "only operations and fragments are allowed");
			return;
		}
		advance(p);
		if (p->token == TOKEN_NAME) {
			name = p->text;
			advance(p);
		}
		parse_variables(p);
		parse_directives(p);
	}
	d->operations++;
	if (d->wanted.len == 0 || osh_str_eq(d->wanted, name)) {
		d->matches++;
		d->set = p->start;
		d->result->type = type;
		d->result->name = name;
	}
	parse_selection_set(p, &silent);
}

static void parse_fragment(struct document *d)
{
	struct parser *p = &d->parser;
	struct fragment *fragment = &d->fragments[d->fragment_count];

	if (d->fragment_count == OSH_GRAPHQL_FRAGMENTS_MAX) {
		fail(p, "more than 256 fragments");
		return;
	}
	advance(p);
	if (is_word(p, "on")) {
		fail(p, "a fragment must not be called 'on'");
		return;
	}
	*fragment = (struct fragment){ .name = p->text };
	if (!expect(p, TOKEN_NAME, "a fragment lacks its name"))
		return;
	for (size_t i = 0; i < d->fragment_count; i++) {
		if (osh_str_eq(d->fragments[i].name, fragment->name))
			fail(p, "two fragments have one name");
	}
	if (!is_word(p, "on"))
		fail(p, "'on' is missing behind a fragment's name");
	advance(p);
	expect(p, TOKEN_NAME, "a type is missing behind 'on'");
	parse_directives(p);
	fragment->set = p->start;
	d->fragment_count++;
	parse_selection_set(p, &silent);
}

static void parse_document(struct document *d)
{
	struct parser *p = &d->parser;

	advance(p);
	while (!p->error && p->token != TOKEN_END) {
		if (is_word(p, "fragment"))
			parse_fragment(d);
		else if (p->token == TOKEN_NAME || p->token == '{')
			parse_operation(d);
		else
			fail(p, "an operation is missing");
	}
}

static void collect_field(void *context, struct osh_str name)
{
	struct document *d = context;

	if (d->result->field_count == OSH_GRAPHQL_FIELDS_MAX)
		fail(&d->parser, "more than 512 root fields");
	else
		d->result->fields[d->result->field_count++] = name;
}

/* A fragment is walked once, however often it is used: so loops end, and nothing is lost. */
static void collect_spread(void *context, struct osh_str name)
{
	struct document *d = context;

	for (size_t i = 0; i < d->fragment_count; i++) {
		struct fragment *fragment = &d->fragments[i];

		if (!osh_str_eq(fragment->name, name))
			continue;
		if (!fragment->used)
			d->pending[d->pending_count++] = i;
		fragment->used = true;
		return;
	}
	fail(&d->parser, "a fragment is used that is not defined");
}

static void collect_from(struct document *d, const char *set)
{
	static const struct parser fresh = { 0 };
	const struct walker walker = { .context = d, .on_field = collect_field, .on_spread = collect_spread };
	const char *end = d->parser.end, *error = d->parser.error;
	bool escaped = d->parser.escaped;

	if (error)
		return;
	d->parser = fresh;
	d->parser.at = set;
	d->parser.end = end;
	d->parser.escaped = escaped;
	advance(&d->parser);
	parse_selection_set(&d->parser, &walker);
}

const char *osh_graphql_read(struct osh_str document, bool escaped, struct osh_str operation_name,
			     struct osh_graphql_operation *ret)
{
	struct document d;

	d.parser = (struct parser){
		.at = document.data, .end = document.data + document.len, .escaped = escaped,
	};
	d.wanted = operation_name;
	d.operations = d.matches = d.fragment_count = d.pending_count = 0;
	d.set = NULL;
	d.result = ret;
	ret->type = OSH_OPERATION_NONE;
	ret->name = osh_str_n(NULL, 0);
	ret->field_count = 0;
	if (document.len == 0)
		return "the document is empty";
	parse_document(&d);
	if (d.parser.error)
		return d.parser.error;
	if (d.matches == 0)
		return d.operations ? "operationName names no operation of the document" :
				      "the document holds no operation";
	if (d.matches > 1)
		return "it is ambiguous which operation runs: operationName is missing or not unique";
	collect_from(&d, d.set);
	while (d.pending_count && !d.parser.error)
		collect_from(&d, d.fragments[d.pending[--d.pending_count]].set);
	return d.parser.error;
}
