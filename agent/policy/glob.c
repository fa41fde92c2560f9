#include "policy/glob.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* Compiled form: delimiter, number of alternatives, then each alternative as a 16-bit
 * length (little endian) and its operations. */
enum op {
	OP_END,
	OP_LITERAL, /* length byte, bytes */
	OP_ANY,     /* ? */
	OP_CLASS,   /* negated byte, count byte, (low, high) pairs */
	OP_STAR,    /* any bytes but the delimiter */
	OP_DEEP,    /* stay, or go behind any later delimiter */
	OP_REST,    /* everything that is left */
};

const char *osh_glob_error_text(enum osh_glob_error error)
{
	switch (error) {
	case OSH_GLOB_OK:
		return "well formed";
	case OSH_GLOB_OPEN_CLASS:
		return "'[' without ']'";
	case OSH_GLOB_OPEN_BRACE:
		return "'{' without '}'";
	case OSH_GLOB_STRAY_BRACE:
		return "'}' without '{'";
	case OSH_GLOB_BAD_RANGE:
		return "a range that runs backwards or a class too large";
	case OSH_GLOB_BAD_ESCAPE:
		return "'\\' at the end";
	case OSH_GLOB_TOO_LONG:
		return "longer than 4096 bytes";
	case OSH_GLOB_TOO_MANY:
		return "more than 64 alternatives";
	case OSH_GLOB_NO_MEMORY:
		return "out of memory";
	case OSH_GLOB_ERROR_COUNT:
		break;
	}
	return "unknown glob error";
}

bool osh_glob_is_literal(struct osh_str pattern)
{
	for (size_t i = 0; i < pattern.len; i++) {
		if (pattern.data[i] && strchr("*?[]{}\\", pattern.data[i]))
			return false;
	}
	return true;
}

/* ---- Braces: multiplied out into plain patterns -------------------------- */

/* Index behind an escape or class that starts at i; i + 1 for any other byte. */
static enum osh_glob_error skip_atom(struct osh_str p, size_t i, size_t *ret_next)
{
	if (p.data[i] == '\\') {
		if (i + 1 >= p.len)
			return OSH_GLOB_BAD_ESCAPE;
		*ret_next = i + 2;
		return OSH_GLOB_OK;
	}
	if (p.data[i] != '[') {
		*ret_next = i + 1;
		return OSH_GLOB_OK;
	}
	i++;
	if (i < p.len && (p.data[i] == '!' || p.data[i] == '^'))
		i++;
	if (i < p.len && p.data[i] == ']')
		i++; /* a ']' that comes first is an ordinary member */
	while (i < p.len && p.data[i] != ']')
		i++;
	if (i >= p.len)
		return OSH_GLOB_OPEN_CLASS;
	*ret_next = i + 1;
	return OSH_GLOB_OK;
}

/* Find the first brace group: its '{', and its '}' in *ret_close. *ret_open is p.len when
 * there is none. */
static enum osh_glob_error find_brace(struct osh_str p, size_t *ret_open, size_t *ret_close)
{
	size_t i = 0, open = p.len, depth = 0;

	while (i < p.len) {
		size_t next;
		enum osh_glob_error error = skip_atom(p, i, &next);

		if (error)
			return error;
		if (p.data[i] == '{' && depth++ == 0)
			open = i;
		if (p.data[i] == '}') {
			if (depth == 0)
				return OSH_GLOB_STRAY_BRACE;
			if (--depth == 0) {
				*ret_open = open;
				*ret_close = i;
				return OSH_GLOB_OK;
			}
		}
		i = next;
	}
	*ret_open = p.len;
	return depth ? OSH_GLOB_OPEN_BRACE : OSH_GLOB_OK;
}

struct output {
	unsigned char *code;
	size_t len, room;
	unsigned alternatives;
	char delimiter;
	bool failed;
};

static void emit(struct output *out, unsigned char byte)
{
	if (out->len == out->room) {
		size_t room = out->room ? 2 * out->room : 64;
		unsigned char *code = realloc(out->code, room);

		if (!code) {
			out->failed = true;
			return;
		}
		out->code = code;
		out->room = room;
	}
	out->code[out->len++] = byte;
}

static enum osh_glob_error compile_plain(struct output *out, struct osh_str p);

static enum osh_glob_error expand(struct output *out, struct osh_str p);

/* `prefix` + one member of the group + `suffix`, as a pattern of its own. */
static enum osh_glob_error expand_member(struct output *out, struct osh_str p, size_t open,
					 size_t close, struct osh_str member)
{
	size_t tail = p.len - close - 1;
	_cleanup_free_ char *text = malloc(open + member.len + tail + 1);

	if (!text)
		return OSH_GLOB_NO_MEMORY;
	memcpy(text, p.data, open);
	memcpy(text + open, member.data, member.len);
	memcpy(text + open + member.len, p.data + close + 1, tail);
	return expand(out, osh_str_n(text, open + member.len + tail));
}

static enum osh_glob_error expand(struct output *out, struct osh_str p)
{
	size_t open, close = 0, start, depth = 0;
	enum osh_glob_error error = find_brace(p, &open, &close);

	if (error)
		return error;
	if (open == p.len)
		return compile_plain(out, p);
	start = open + 1;
	for (size_t i = open + 1; i <= close;) {
		size_t next;
		bool end = depth == 0 && (i == close || p.data[i] == ',');

		error = skip_atom(p, i, &next);
		if (!error && end) {
			error = expand_member(out, p, open, close,
					      osh_str_n(p.data + start, i - start));
			start = i + 1;
		}
		if (error)
			return error;
		depth += p.data[i] == '{';
		depth -= i != close && p.data[i] == '}';
		i = next;
	}
	return OSH_GLOB_OK;
}

/* ---- One plain pattern to operations ------------------------------------- */

/* The run of literal bytes being gathered: `at` is where its length byte lies. */
struct literal {
	size_t at;
	bool open;
};

static void emit_literal(struct output *out, struct literal *run, char c)
{
	if (!run->open || out->failed || out->code[run->at] == 255) {
		emit(out, OP_LITERAL);
		run->at = out->len;
		run->open = true;
		emit(out, 0);
	}
	emit(out, (unsigned char)c);
	if (!out->failed)
		out->code[run->at]++;
}

static enum osh_glob_error emit_class(struct output *out, struct osh_str p, size_t i, size_t end)
{
	size_t count_at, count = 0;
	bool negated = p.data[i + 1] == '!' || p.data[i + 1] == '^';

	emit(out, OP_CLASS);
	emit(out, negated);
	count_at = out->len;
	emit(out, 0);
	for (i += negated ? 2 : 1; i < end - 1; i++) {
		unsigned char low = (unsigned char)p.data[i], high = low;

		if (i + 2 < end - 1 && p.data[i + 1] == '-') {
			high = (unsigned char)p.data[i + 2];
			i += 2;
		}
		if (low > high || ++count > 255)
			return OSH_GLOB_BAD_RANGE;
		emit(out, low);
		emit(out, high);
	}
	if (!out->failed)
		out->code[count_at] = (unsigned char)count;
	return OSH_GLOB_OK;
}

/* A run of two or more stars at [i, end). As a whole component it crosses delimiters.
 * Returns the index to go on from. */
static size_t emit_stars(struct output *out, struct osh_str p, size_t i, size_t end)
{
	bool starts = i == 0 || p.data[i - 1] == out->delimiter;

	if (end - i != 2 || !starts || (end < p.len && p.data[end] != out->delimiter)) {
		emit(out, OP_STAR);
		return end;
	}
	if (end == p.len) {
		emit(out, OP_REST);
		return end;
	}
	emit(out, OP_DEEP);
	return end + 1; /* its delimiter belongs to it */
}

static enum osh_glob_error emit_atom(struct output *out, struct osh_str p, size_t *i,
				     struct literal *run)
{
	size_t next, stars = *i;
	enum osh_glob_error error = skip_atom(p, *i, &next);

	if (error)
		return error;
	switch (p.data[*i]) {
	case '*':
		while (stars < p.len && p.data[stars] == '*')
			stars++;
		next = emit_stars(out, p, *i, stars);
		run->open = false;
		break;
	case '?':
		emit(out, OP_ANY);
		run->open = false;
		break;
	case '[':
		error = emit_class(out, p, *i, next);
		run->open = false;
		break;
	case '\\':
		emit_literal(out, run, p.data[*i + 1]);
		break;
	default:
		emit_literal(out, run, p.data[*i]);
	}
	*i = next;
	return error;
}

static enum osh_glob_error compile_plain(struct output *out, struct osh_str p)
{
	struct literal run = { 0 };
	size_t start;

	if (++out->alternatives > OSH_GLOB_ALTERNATIVES_MAX)
		return OSH_GLOB_TOO_MANY;
	start = out->len;
	emit(out, 0);
	emit(out, 0);
	for (size_t i = 0; i < p.len && !out->failed;) {
		enum osh_glob_error error = emit_atom(out, p, &i, &run);

		if (error)
			return error;
	}
	emit(out, OP_END);
	if (out->failed)
		return OSH_GLOB_NO_MEMORY;
	if (out->len - start > UINT16_MAX)
		return OSH_GLOB_TOO_LONG;
	out->code[start] = (unsigned char)((out->len - start - 2) & 255);
	out->code[start + 1] = (unsigned char)((out->len - start - 2) >> 8);
	return OSH_GLOB_OK;
}

enum osh_glob_error osh_glob_compile(struct osh_str pattern, char delimiter,
				     unsigned char **ret_code, size_t *ret_len)
{
	struct output out = { .delimiter = delimiter };
	enum osh_glob_error error;

	if (pattern.len > OSH_GLOB_PATTERN_MAX)
		return OSH_GLOB_TOO_LONG;
	emit(&out, (unsigned char)delimiter);
	emit(&out, 0);
	error = out.failed ? OSH_GLOB_NO_MEMORY : expand(&out, pattern);
	if (error) {
		free(out.code);
		return error;
	}
	out.code[1] = (unsigned char)out.alternatives;
	*ret_code = out.code;
	*ret_len = out.len;
	return OSH_GLOB_OK;
}

/* ---- Matching ------------------------------------------------------------ */

static bool class_holds(const unsigned char *op, unsigned char c)
{
	bool negated = op[1];
	size_t count = op[2];

	for (size_t i = 0; i < count; i++) {
		if (c >= op[3 + 2 * i] && c <= op[4 + 2 * i])
			return !negated;
	}
	return negated;
}

/* Where to go on after a mismatch: the operation behind the last star (or deep star) and
 * the place in the text from which it was tried. A star never crosses the delimiter, so
 * when it is used up only the last deep star can give; earlier ones need not be tried
 * again, because each reaches a superset from its first fit. */
struct retry {
	const unsigned char *op;
	size_t at;
};

/* Move the star, or else the deep star, one step on. False: no match. */
static bool step_back(struct retry *star, struct retry *deep, struct osh_str text, char delimiter,
		      const unsigned char **op, size_t *pos)
{
	if (star->op && star->at < text.len && text.data[star->at] != delimiter) {
		star->at++;
		*op = star->op;
		*pos = star->at;
		return true;
	}
	star->op = NULL;
	if (!deep->op)
		return false;
	while (deep->at < text.len && text.data[deep->at] != delimiter)
		deep->at++;
	if (deep->at >= text.len)
		return false;
	deep->at++;
	*op = deep->op;
	*pos = deep->at;
	return true;
}

/* Consume what a one-way operation takes; false on mismatch. */
static bool take(const unsigned char **op, struct osh_str text, size_t *pos, char delimiter)
{
	const unsigned char *at = *op;
	size_t len;

	switch ((enum op)*at) {
	case OP_LITERAL:
		len = at[1];
		if (text.len - *pos < len || memcmp(text.data + *pos, at + 2, len) != 0)
			return false;
		*pos += len;
		*op = at + 2 + len;
		return true;
	case OP_ANY:
		if (*pos >= text.len || text.data[*pos] == delimiter)
			return false;
		(*pos)++;
		*op = at + 1;
		return true;
	case OP_CLASS:
		if (*pos >= text.len || text.data[*pos] == delimiter ||
		    !class_holds(at, (unsigned char)text.data[*pos]))
			return false;
		(*pos)++;
		*op = at + 3 + 2 * at[2];
		return true;
	case OP_END:
		return *pos == text.len;
	case OP_STAR:
	case OP_DEEP:
	case OP_REST:
		break;
	}
	return false;
}

static bool match_one(const unsigned char *op, struct osh_str text, char delimiter)
{
	struct retry star = { 0 }, deep = { 0 };
	size_t pos = 0;

	for (;;) {
		if (*op == OP_REST)
			return true;
		if (*op == OP_STAR) {
			star = (struct retry){ .op = ++op, .at = pos };
			continue;
		}
		if (*op == OP_DEEP) {
			deep = (struct retry){ .op = ++op, .at = pos };
			star.op = NULL;
			continue;
		}
		if (!take(&op, text, &pos, delimiter)) {
			if (!step_back(&star, &deep, text, delimiter, &op, &pos))
				return false;
		} else if (*op == OP_END && pos == text.len) {
			return true;
		}
	}
}

bool osh_glob_match(const unsigned char *code, struct osh_str text)
{
	char delimiter = (char)code[0];
	unsigned alternatives = code[1];

	code += 2;
	for (unsigned i = 0; i < alternatives; i++) {
		if (match_one(code + 2, text, delimiter))
			return true;
		code += 2 + (size_t)(code[0] | code[1] << 8);
	}
	return false;
}
