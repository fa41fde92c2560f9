/* Text for a terminal cell by cell: what fits in so many columns, in the user's
 * locale. */
#ifndef OSH_CLI_TERM_TEXT_H
#define OSH_CLI_TERM_TEXT_H

#include <stddef.h>
#include <wchar.h>

#define OSH_TERM_COLUMNS_MAX 1024

struct osh_term_piece {
	wchar_t text[OSH_TERM_COLUMNS_MAX + 1]; /* NUL-terminated */
	int columns; /* what it takes on the screen */
	size_t bytes; /* what it takes of the source */
};

/* The longest beginning of `text` that fits `columns`. A wide character that would
 * stick out is left for the next piece; bytes that are no printable character in
 * this locale (also combining ones) are spelt \xHH. */
void osh_term_piece_cut(const char *text, int columns, struct osh_term_piece *ret_piece);

#endif
