#include "policy/graphql.h"

#include "policy/graphql_token.h"

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

/* ---- Grammar ------------------------------------------------------------- */

static bool expect(struct osh_graphql_lexer *p, int token, const char *otherwise)
{
	if (p->token != token)
		return osh_graphql_fail(p, otherwise);
	osh_graphql_advance(p);
	return !p->error;
}

static bool is_word(const struct osh_graphql_lexer *p, const char *word)
{
	return p->token == OSH_TOKEN_NAME && osh_str_eq_c(p->text, word);
}

static bool enter(struct osh_graphql_lexer *p)
{
	if (++p->depth > OSH_GRAPHQL_DEPTH_MAX)
		return osh_graphql_fail(p, "nested deeper than 128 levels");
	return true;
}

static void parse_value(struct osh_graphql_lexer *p);

static void parse_object(struct osh_graphql_lexer *p)
{
	osh_graphql_advance(p);
	while (p->token == OSH_TOKEN_NAME) {
		osh_graphql_advance(p);
		if (!expect(p, ':', "':' is missing in an object"))
			return;
		parse_value(p);
	}
	expect(p, '}', "'}' is missing behind an object");
}

static void parse_list(struct osh_graphql_lexer *p)
{
	osh_graphql_advance(p);
	while (!p->error && p->token != ']' && p->token != OSH_TOKEN_END)
		parse_value(p);
	expect(p, ']', "']' is missing behind a list");
}

static void parse_value(struct osh_graphql_lexer *p)
{
	if (!enter(p))
		return;
	switch (p->token) {
	case '$':
		osh_graphql_advance(p);
		expect(p, OSH_TOKEN_NAME, "a variable lacks its name");
		break;
	case '[':
		parse_list(p);
		break;
	case '{':
		parse_object(p);
		break;
	case OSH_TOKEN_NAME:
	case OSH_TOKEN_NUMBER:
	case OSH_TOKEN_STRING:
		osh_graphql_advance(p);
		break;
	default:
		osh_graphql_fail(p, "a value is missing");
	}
	p->depth--;
}

static void parse_arguments(struct osh_graphql_lexer *p)
{
	if (p->token != '(')
		return;
	osh_graphql_advance(p);
	do {
		if (!expect(p, OSH_TOKEN_NAME, "an argument lacks its name") ||
		    !expect(p, ':', "':' is missing behind an argument"))
			return;
		parse_value(p);
	} while (!p->error && p->token != ')');
	expect(p, ')', "')' is missing");
}

static void parse_directives(struct osh_graphql_lexer *p)
{
	while (p->token == '@') {
		osh_graphql_advance(p);
		if (!expect(p, OSH_TOKEN_NAME, "a directive lacks its name"))
			return;
		parse_arguments(p);
	}
}

static void parse_type(struct osh_graphql_lexer *p)
{
	if (!enter(p))
		return;
	if (p->token == '[') {
		osh_graphql_advance(p);
		parse_type(p);
		expect(p, ']', "']' is missing behind a type");
	} else {
		expect(p, OSH_TOKEN_NAME, "a type is missing");
	}
	if (p->token == '!')
		osh_graphql_advance(p);
	p->depth--;
}

static void parse_variables(struct osh_graphql_lexer *p)
{
	if (p->token != '(')
		return;
	osh_graphql_advance(p);
	do {
		if (!expect(p, '$', "a variable is missing") ||
		    !expect(p, OSH_TOKEN_NAME, "a variable lacks its name") ||
		    !expect(p, ':', "':' is missing behind a variable"))
			return;
		parse_type(p);
		if (p->token == '=') {
			osh_graphql_advance(p);
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

static void parse_selection_set(struct osh_graphql_lexer *p, const struct walker *walker);

static void parse_field(struct osh_graphql_lexer *p, const struct walker *walker)
{
	struct osh_str name = p->text;

	osh_graphql_advance(p);
	if (p->token == ':') { /* what came before was an alias */
		osh_graphql_advance(p);
		name = p->text;
		if (!expect(p, OSH_TOKEN_NAME, "a field is missing behind its alias"))
			return;
	}
	if (walker->on_field)
		walker->on_field(walker->context, name);
	parse_arguments(p);
	parse_directives(p);
	if (p->token == '{')
		parse_selection_set(p, &silent);
}

static void parse_fragment_use(struct osh_graphql_lexer *p, const struct walker *walker)
{
	osh_graphql_advance(p);
	if (p->token == OSH_TOKEN_NAME && !is_word(p, "on")) {
		if (walker->on_spread)
			walker->on_spread(walker->context, p->text);
		osh_graphql_advance(p);
		parse_directives(p);
		return;
	}
	if (p->token == OSH_TOKEN_NAME) {
		osh_graphql_advance(p);
		if (!expect(p, OSH_TOKEN_NAME, "a type is missing behind 'on'"))
			return;
	}
	parse_directives(p);
	parse_selection_set(p, walker); /* an inline fragment: its fields stand at our level */
}

static void parse_selection_set(struct osh_graphql_lexer *p, const struct walker *walker)
{
	if (!enter(p) || !expect(p, '{', "a selection set is missing"))
		return;
	do {
		if (p->token == OSH_TOKEN_NAME)
			parse_field(p, walker);
		else if (p->token == OSH_TOKEN_SPREAD)
			parse_fragment_use(p, walker);
		else
			osh_graphql_fail(p, "a field is missing");
	} while (!p->error && p->token != '}');
	expect(p, '}', "'}' is missing");
	p->depth--;
}

/* ---- Documents ----------------------------------------------------------- */

struct fragment {
	struct osh_str name;
	const char *set; /* where its selection set begins */
	bool used;
};

struct document {
	struct osh_graphql_lexer parser;
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
	struct osh_graphql_lexer *p = &d->parser;
	enum osh_operation_type type = OSH_OPERATION_QUERY;
	struct osh_str name = { 0 };

	if (p->token == OSH_TOKEN_NAME) {
		type = osh_operation_type_parse(p->text);
		if (type == OSH_OPERATION_NONE) {
			osh_graphql_fail(p, "only operations and fragments are allowed");
			return;
		}
		osh_graphql_advance(p);
		if (p->token == OSH_TOKEN_NAME) {
			name = p->text;
			osh_graphql_advance(p);
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
	struct osh_graphql_lexer *p = &d->parser;
	struct fragment *fragment = &d->fragments[d->fragment_count];

	if (d->fragment_count == OSH_GRAPHQL_FRAGMENTS_MAX) {
		osh_graphql_fail(p, "more than 256 fragments");
		return;
	}
	osh_graphql_advance(p);
	if (is_word(p, "on")) {
		osh_graphql_fail(p, "a fragment must not be called 'on'");
		return;
	}
	*fragment = (struct fragment){ .name = p->text };
	if (!expect(p, OSH_TOKEN_NAME, "a fragment lacks its name"))
		return;
	for (size_t i = 0; i < d->fragment_count; i++) {
		if (osh_str_eq(d->fragments[i].name, fragment->name))
			osh_graphql_fail(p, "two fragments have one name");
	}
	if (!is_word(p, "on"))
		osh_graphql_fail(p, "'on' is missing behind a fragment's name");
	osh_graphql_advance(p);
	expect(p, OSH_TOKEN_NAME, "a type is missing behind 'on'");
	parse_directives(p);
	fragment->set = p->start;
	d->fragment_count++;
	parse_selection_set(p, &silent);
}

static void parse_document(struct document *d)
{
	struct osh_graphql_lexer *p = &d->parser;

	osh_graphql_advance(p);
	while (!p->error && p->token != OSH_TOKEN_END) {
		if (is_word(p, "fragment"))
			parse_fragment(d);
		else if (p->token == OSH_TOKEN_NAME || p->token == '{')
			parse_operation(d);
		else
			osh_graphql_fail(p, "an operation is missing");
	}
}

static void collect_field(void *context, struct osh_str name)
{
	struct document *d = context;

	if (d->result->field_count == OSH_GRAPHQL_FIELDS_MAX)
		osh_graphql_fail(&d->parser, "more than 512 root fields");
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
	osh_graphql_fail(&d->parser, "a fragment is used that is not defined");
}

static void collect_from(struct document *d, const char *set)
{
	static const struct osh_graphql_lexer fresh = { 0 };
	const struct walker walker = { .context = d,
				       .on_field = collect_field,
				       .on_spread = collect_spread };
	const char *end = d->parser.end, *error = d->parser.error;
	bool escaped = d->parser.escaped;

	if (error)
		return;
	d->parser = fresh;
	d->parser.at = set;
	d->parser.end = end;
	d->parser.escaped = escaped;
	osh_graphql_advance(&d->parser);
	parse_selection_set(&d->parser, &walker);
}

const char *osh_graphql_read(struct osh_str document, bool escaped, struct osh_str operation_name,
			     struct osh_graphql_operation *ret)
{
	struct document d;

	d.parser = (struct osh_graphql_lexer){
		.at = document.data,
		.end = document.data + document.len,
		.escaped = escaped,
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
		return "it is ambiguous which operation runs: operationName is missing or not "
		       "unique";
	collect_from(&d, d.set);
	while (d.pending_count && !d.parser.error)
		collect_from(&d, d.fragments[d.pending[--d.pending_count]].set);
	return d.parser.error;
}
