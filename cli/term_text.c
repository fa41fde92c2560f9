#include "term_text.h"

#include <string.h>

struct filler {
	struct osh_term_piece *piece;
	int room;
	size_t count; /* wide characters */
};

static int put(struct filler *filler, wchar_t c, int columns)
{
	if (filler->piece->columns + columns > filler->room)
		return 0;
	filler->piece->text[filler->count++] = c;
	filler->piece->columns += columns;
	return 1;
}

/* All four characters or none. */
static int put_escape(struct filler *filler, unsigned char byte)
{
	static const char digits[] = "0123456789abcdef";

	if (filler->piece->columns + 4 > filler->room)
		return 0;
	put(filler, L'\\', 1);
	put(filler, L'x', 1);
	put(filler, (wchar_t)digits[byte >> 4], 1);
	return put(filler, (wchar_t)digits[byte & 15], 1);
}

static int put_escapes(struct filler *filler, const char *bytes, size_t len)
{
	if (filler->piece->columns + 4 * (int)len > filler->room)
		return 0;
	for (size_t i = 0; i < len; i++)
		put_escape(filler, (unsigned char)bytes[i]);
	return 1;
}

void osh_term_piece_cut(const char *text, int columns, struct osh_term_piece *ret_piece)
{
	struct filler filler = { .piece = ret_piece, .room = columns };
	size_t left = strlen(text);
	mbstate_t state = { 0 };
	int fits = 1;

	if (filler.room > OSH_TERM_COLUMNS_MAX)
		filler.room = OSH_TERM_COLUMNS_MAX;
	*ret_piece = (struct osh_term_piece){ .columns = 0 };
	while (left) {
		const char *at = text + ret_piece->bytes;
		wchar_t c;
		size_t len = mbrtowc(&c, at, left, &state);
		int width;

		if (len == (size_t)-1 || len == (size_t)-2 || len == 0) {
			memset(&state, 0, sizeof(state));
			len = 1;
			fits = put_escapes(&filler, at, len);
		} else {
			width = wcwidth(c);
			fits = width > 0 ? put(&filler, c, width) : put_escapes(&filler, at, len);
		}
		if (!fits)
			break;
		ret_piece->bytes += len;
		left -= len;
	}
	ret_piece->text[filler.count] = L'\0';
}
