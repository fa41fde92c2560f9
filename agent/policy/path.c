#include "policy/path.h"

#include <string.h>

#include "policy/text.h"

const char *osh_path_error_text(enum osh_path_error error)
{
	switch (error) {
	case OSH_PATH_OK:
		return "well formed";
	case OSH_PATH_BAD_BYTE:
		return "the request target holds a control byte, a non-ASCII byte or '#'";
	case OSH_PATH_BAD_ESCAPE:
		return "the request target holds a malformed percent escape or an escaped control "
		       "byte";
	case OSH_PATH_ENCODED_SLASH:
		return "the request target holds an encoded slash (%2F) and the endpoint does not "
		       "set "
		       "allow_encoded_slash";
	case OSH_PATH_ABOVE_ROOT:
		return "the request target climbs above the root with '..'";
	case OSH_PATH_DOT_BESIDE_SLASH:
		return "the request target holds '.' or '..' beside an encoded slash";
	case OSH_PATH_NOT_ABSOLUTE:
		return "the request target is neither an absolute path nor an absolute URL";
	case OSH_PATH_TOO_LONG:
		return "the request target's path is longer than 4096 bytes";
	case OSH_PATH_ERROR_COUNT:
		break;
	}
	return "unknown path error";
}

static bool is_control(unsigned char c)
{
	return c < 0x20 || c == 0x7f;
}

/* Kept as they are; all else is written as %HH (step 7). */
static bool is_plain(unsigned char c)
{
	return osh_ascii_is_alpha((char)c) || osh_ascii_is_digit((char)c) ||
	       (c && strchr("-._~!$&'()*+,;=:@", c));
}

static bool has_bad_byte(struct osh_str s)
{
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.data[i];

		if (is_control(c) || c >= 0x80 || c == '#')
			return true;
	}
	return false;
}

/* Absolute form loses scheme and authority; what remains may be empty. */
static struct osh_str strip_authority(struct osh_str path)
{
	static const char *const schemes[] = { "http://", "https://" };

	for (size_t i = 0; i < 2; i++) {
		size_t len = strlen(schemes[i]);
		const char *slash;

		if (path.len < len || !osh_str_caseeq_c(osh_str_n(path.data, len), schemes[i]))
			continue;
		slash = memchr(path.data + len, '/', path.len - len);
		if (!slash)
			return osh_str("/");
		return osh_str_n(slash, path.len - (size_t)(slash - path.data));
	}
	return path;
}

/* The canonical path as it grows. Every segment is written with its slash in front, so
 * the text is "" or "/a/b" until the trailing slash is settled at the end. */
struct canon {
	char *buf;
	size_t size, len;
	bool full;
};

static void put(struct canon *out, char c)
{
	if (out->len < out->size)
		out->buf[out->len++] = c;
	else
		out->full = true;
}

static void put_escaped(struct canon *out, unsigned char c)
{
	static const char hex[] = "0123456789ABCDEF";

	put(out, '%');
	put(out, hex[c >> 4]);
	put(out, hex[c & 15]);
}

/* A segment under decoding. A kept %2F splits it into parts, of which none may be a dot
 * segment: a server that decodes again would climb. */
struct segment {
	size_t start;     /* where it begins in the output, at its slash */
	size_t part;      /* length of the running part, decoded */
	size_t part_dots; /* how many of it are dots */
	bool has_slash;   /* a %2F was kept */
	bool dotted_part; /* a finished part was "." or ".." */
	bool cut;         /* behind the first ';': parameters, dropped */
	size_t len;       /* decoded length, %2F counted */
	size_t dots;      /* dots in it */
};

static bool is_dots(size_t len, size_t dots)
{
	return len == dots && (len == 1 || len == 2);
}

static void end_part(struct segment *seg)
{
	if (is_dots(seg->part, seg->part_dots))
		seg->dotted_part = true;
	seg->part = seg->part_dots = 0;
}

static void drop_last_segment(struct canon *out)
{
	while (out->len > 0 && out->buf[--out->len] != '/')
		;
}

/* Settle a finished segment: resolve dots, drop empties. *ret_slash says whether the
 * path would end in a slash if this were its last segment. */
static enum osh_path_error end_segment(struct canon *out, struct segment *seg, bool *ret_slash)
{
	end_part(seg);
	*ret_slash = true;
	if (seg->has_slash && seg->dotted_part)
		return OSH_PATH_DOT_BESIDE_SLASH;
	if (seg->len == 0 || is_dots(seg->len, seg->dots))
		out->len = seg->start;
	else
		*ret_slash = false;
	if (is_dots(seg->len, seg->dots) && seg->dots == 2) {
		if (out->len == 0)
			return OSH_PATH_ABOVE_ROOT;
		drop_last_segment(out);
	}
	return OSH_PATH_OK;
}

static void add_byte(struct canon *out, struct segment *seg, unsigned char c)
{
	if (c == ';')
		seg->cut = true;
	if (seg->cut)
		return;
	seg->len++;
	seg->part++;
	seg->dots += c == '.';
	seg->part_dots += c == '.';
	if (is_plain(c))
		put(out, (char)c);
	else
		put_escaped(out, c);
}

static enum osh_path_error add_escape(struct canon *out, struct segment *seg, struct osh_str path,
				      size_t at, bool allow_encoded_slash)
{
	int high = at + 2 < path.len ? osh_hex_value(path.data[at + 1]) : -1;
	int low = at + 2 < path.len ? osh_hex_value(path.data[at + 2]) : -1;
	unsigned char c;

	if (high < 0 || low < 0)
		return OSH_PATH_BAD_ESCAPE;
	c = (unsigned char)(high << 4 | low);
	if (is_control(c))
		return OSH_PATH_BAD_ESCAPE;
	if (c != '/') {
		add_byte(out, seg, c);
		return OSH_PATH_OK;
	}
	if (!allow_encoded_slash)
		return OSH_PATH_ENCODED_SLASH;
	if (seg->cut)
		return OSH_PATH_OK;
	end_part(seg);
	seg->has_slash = true;
	seg->len++;
	put_escaped(out, c);
	return OSH_PATH_OK;
}

static enum osh_path_error canonicalise(struct osh_str path, bool allow_encoded_slash,
					struct canon *out)
{
	struct segment seg = { 0 };
	bool slash = true;
	enum osh_path_error error = OSH_PATH_OK;

	put(out, '/');
	for (size_t i = 1; i < path.len && !error; i++) {
		if (path.data[i] == '/') {
			error = end_segment(out, &seg, &slash);
			seg = (struct segment){ .start = out->len };
			put(out, '/');
		} else if (path.data[i] == '%') {
			error = add_escape(out, &seg, path, i, allow_encoded_slash);
			i += 2;
		} else {
			add_byte(out, &seg, (unsigned char)path.data[i]);
		}
	}
	if (!error)
		error = end_segment(out, &seg, &slash);
	if (!error && slash)
		put(out, '/');
	if (!error && out->full)
		error = OSH_PATH_TOO_LONG;
	return error;
}

enum osh_path_error osh_path_canonicalise(struct osh_str target, bool allow_encoded_slash,
					  char *buf, size_t size, struct osh_path *ret_path)
{
	struct canon out = { .buf = buf, .size = size };
	struct osh_path result = { 0 };
	struct osh_str path = target;
	const char *mark;
	enum osh_path_error error;

	if (has_bad_byte(target))
		return OSH_PATH_BAD_BYTE;
	mark = osh_str_chr(target, '?');
	if (mark) {
		path.len = (size_t)(mark - target.data);
		result.has_query = true;
		result.query = osh_str_n(mark + 1, target.len - path.len - 1);
	}
	path = strip_authority(path);
	if (path.len == 0)
		path = osh_str("/");
	if (path.data[0] != '/')
		return OSH_PATH_NOT_ABSOLUTE;
	if (path.len > OSH_PATH_TARGET_MAX)
		return OSH_PATH_TOO_LONG;
	error = canonicalise(path, allow_encoded_slash, &out);
	if (error)
		return error;
	result.path = osh_str_n(buf, out.len);
	*ret_path = result;
	return OSH_PATH_OK;
}
