/* Odd messages: the tables of tests/http, and mutations of their lines, the same in every run. */
#ifndef OSH_TESTS_HTTP_CASES_H
#define OSH_TESTS_HTTP_CASES_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/str.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))
#define BYTES_MAX 4096 /* of one connection */

/* ---- Mutations ------------------------------------------------------------------------------ */

/* xorshift64*: the same mutations in every run. */
static uint64_t random_state;

static size_t below(size_t end)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return (size_t)((random_state * 2685821657736338717ull) >> 33) % end;
}

struct bytes {
	char data[BYTES_MAX];
	size_t len;
};

/* Replace `cut` bytes at `at` by `text`, as far as there is room. */
static void put_at(struct bytes *b, size_t at, size_t cut, struct osh_str text)
{
	if (cut > b->len - at)
		cut = b->len - at;
	if (b->len - cut + text.len > sizeof(b->data))
		return;
	memmove(b->data + at + text.len, b->data + at + cut, b->len - at - cut);
	memcpy(b->data + at, text.data, text.len);
	b->len += text.len - cut;
}

/* Copy one line, or what is left of it, to some other place. */
static void repeat_line(struct bytes *b)
{
	size_t from = below(b->len), end = from;
	char line[256];

	while (end < b->len && end - from < sizeof(line) && b->data[end] != '\n')
		end++;
	if (end < b->len)
		end++;
	if (end - from > sizeof(line))
		end = from + sizeof(line);
	memcpy(line, b->data + from, end - from);
	put_at(b, below(b->len), 0, osh_str_n(line, end - from));
}

/* Pieces over which parsers have disagreed. */
static const struct osh_str pieces[] = {
#define PIECE(text) { (text), sizeof(text) - 1 }
	PIECE("\r"), PIECE("\n"), PIECE("\r\n"), PIECE("\n\r"), PIECE("\r\n\r\n"), PIECE(" "), PIECE("\t"),
	PIECE("\x0b"), PIECE("\0"), PIECE("\x7f"), PIECE("\x80"), PIECE("\xff"), PIECE(":"), PIECE(";"),
	PIECE(","), PIECE("\""), PIECE("\\"), PIECE("="), PIECE("0"), PIECE("5"), PIECE("-"), PIECE("_"),
	PIECE("/"), PIECE("?"), PIECE("#"), PIECE("%"), PIECE("\r\n "), PIECE("0\r\n\r\n"), PIECE("5\r\nhello\r\n"),
	PIECE(";a=\"b\""), PIECE("chunked"), PIECE("close"), PIECE("HTTP/1.1"), PIECE("HTTP/1.0"),
	PIECE("Content-Length: 5\r\n"), PIECE("Transfer-Encoding: chunked\r\n"), PIECE("Connection: close\r\n"),
	PIECE("Connection: Upgrade\r\nUpgrade: websocket\r\n"), PIECE("Host: no.test\r\n"),
	PIECE("GET /secret HTTP/1.1\r\nHost: ok.test\r\n\r\n"),
#undef PIECE
};

static void mutate(struct bytes *b, struct osh_str other)
{
	struct osh_str piece = pieces[below(COUNT(pieces))];
	size_t at = below(b->len), start;

	switch (below(6)) {
	case 0:
		put_at(b, at, 0, piece);
		break;
	case 1:
		put_at(b, at, piece.len, piece);
		break;
	case 2:
		put_at(b, at, 1 + below(4), osh_str_n("", 0));
		break;
	case 3:
		b->data[at] ^= (char)(1 << below(8));
		break;
	case 4:
		repeat_line(b);
		break;
	case 5: /* go on as another case does */
		start = below(other.len);
		put_at(b, at, b->len, osh_str_n(other.data + start, other.len - start));
		break;
	}
	if (!b->len)
		b->data[b->len++] = '\n';
}

/* ---- Tables -------------------------------------------------------------------------------- */

/* One line of a table: \r \n \t \0 \\ \xNN. */
static void unescape(const char *line, size_t len, struct bytes *ret)
{
	static const char names[] = "rnt0\\", values[] = "\r\n\t\0\\";
	unsigned value;

	ret->len = 0;
	for (size_t i = 0; i < len; i++) {
		const char *name;

		cr_assert(ret->len < sizeof(ret->data));
		ret->data[ret->len++] = line[i];
		if (line[i] != '\\')
			continue;
		i++;
		name = memchr(names, line[i], sizeof(names) - 1);
		if (line[i] == 'x' && sscanf(line + i + 1, "%2x", &value) == 1) {
			ret->data[ret->len - 1] = (char)value;
			i += 2;
			continue;
		}
		cr_assert(name, "an unknown escape in: %.*s", (int)len, line);
		ret->data[ret->len - 1] = values[name - names];
	}
}

static void source_path(const char *name, char *path, size_t size)
{
	const char *dir = getenv("OSH_SOURCE_DIR");

	snprintf(path, size, "%s/tests/http/%s", dir ? dir : ".", name);
}

static struct bytes seeds[512];
static size_t seed_count;

static void read_seeds(const char *name)
{
	char path[512], *text = NULL, *line, *rest;
	size_t len;

	source_path(name, path, sizeof(path));
	cr_assert(osh_read_file(path, 1 << 20, &text, &len) == 0, "cannot read %s", path);
	for (rest = text; (line = strsep(&rest, "\n"));) {
		if (*line == '#' || !*line)
			continue;
		cr_assert(seed_count < COUNT(seeds));
		unescape(line, strlen(line), &seeds[seed_count++]);
	}
	free(text);
}

#endif
