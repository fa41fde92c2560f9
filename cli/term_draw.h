/* The dashboard on the screen: from the state to characters, by ncurses. */
#ifndef OSH_CLI_TERM_DRAW_H
#define OSH_CLI_TERM_DRAW_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "term_model.h"

struct osh_term_screen {
	struct osh_term_model model;
	json_t *sandboxes;    /* owned: the interface's []Sandbox; NULL before the first answer */
	bool connected;
	bool detail_only;     /* the selected verdict fills the screen */
	size_t detail_top;    /* first line of it then */
	bool typing;          /* the line behind '/' */
	char typed[OSH_TERM_FIND_BYTES];
	size_t list_rows;     /* of the last drawing: what a page is */
};

/* Colours, where the terminal has them and NO_COLOR is not set. */
void osh_term_draw_init(void);
/* Everything, whatever the size of the terminal. */
void osh_term_draw(struct osh_term_screen *screen);

#endif
