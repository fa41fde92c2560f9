#include "term_draw.h"

#include <inttypes.h>
#include <ncurses.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/str.h"
#include "out.h"
#include "term_text.h"
#include "verdict/format.h"

#define LINE_BYTES 4096
#define NS_PER_SECOND 1000000000ull

/* Colour only repeats what the words say. */
enum colour { PLAIN, RED, GREEN, YELLOW, CYAN };

#define SANDBOX_ROWS_MAX 5
#define DETAIL_ROWS_MAX 18
#define LABEL_COLUMNS 16 /* "l7_deny_reason: " */

struct layout {
	int columns, rows;
	int sandboxes;           /* rows from line 1 on */
	int list_at, list;       /* heading's line, rows beneath it */
	int detail_at, detail;   /* likewise; 0: not shown */
};

void osh_term_draw_init(void)
{
	const char *no_colour = getenv("NO_COLOR");

	if (!has_colors() || (no_colour && no_colour[0]))
		return;
	start_color();
	(void)use_default_colors();
	init_pair(RED, COLOR_RED, -1);
	init_pair(GREEN, COLOR_GREEN, -1);
	init_pair(YELLOW, COLOR_YELLOW, -1);
	init_pair(CYAN, COLOR_CYAN, -1);
}

static attr_t colour_of(enum osh_verdict_decision decision)
{
	switch (decision) {
	case OSH_VERDICT_ALLOW:
		return COLOR_PAIR(GREEN);
	case OSH_VERDICT_AUDIT:
		return COLOR_PAIR(YELLOW);
	case OSH_VERDICT_DENY:
	case OSH_VERDICT_DECISION_COUNT:
		break;
	}
	return COLOR_PAIR(RED);
}

/* ---- Lines --------------------------------------------------------------------------- */

/* `text` in at most `columns`; returns how many it took. */
static int put(int y, int x, int columns, const char *text)
{
	struct osh_term_piece piece;

	if (columns <= 0)
		return 0;
	osh_term_piece_cut(text, columns, &piece);
	(void)mvaddwstr(y, x, piece.text); /* ERR in the last corner: written all the same */
	return piece.columns;
}

/* A whole line with these attributes, filled with blanks. */
static void put_line(int y, int columns, attr_t attributes, const char *text)
{
	int used;

	attrset(attributes);
	used = put(y, 0, columns, text);
	if (used < columns)
		(void)mvhline(y, used, ' ' | attributes, columns - used);
	attrset(A_NORMAL);
}

/* "-- Text -----------------". */
static void put_heading(int y, int columns, const char *text)
{
	int used;

	attrset(A_BOLD | COLOR_PAIR(CYAN));
	(void)mvhline(y, 0, MB_CUR_MAX > 1 ? 0 : '-', columns);
	used = put(y, 2, columns - 2, " ");
	used += put(y, 2 + used, columns - 2 - used, text);
	(void)put(y, 2 + used, columns - 2 - used, " ");
	attrset(A_NORMAL);
}

/* ---- Layout -------------------------------------------------------------------------- */

static struct layout make_layout(const struct osh_term_screen *screen)
{
	struct layout layout = { .columns = getmaxx(stdscr), .rows = getmaxy(stdscr) };
	int count = (int)json_array_size(screen->sandboxes);
	int body = layout.rows - 2; /* title and help */
	int most = body >= 24 ? SANDBOX_ROWS_MAX : body >= 12 ? 2 : body >= 6 ? 1 : 0;
	int room;

	layout.sandboxes = count < most ? count : most;
	layout.list_at = 1 + layout.sandboxes;
	room = body - layout.sandboxes - 2; /* two headings */
	if (room >= 9) {
		layout.detail = room < 18 ? room * 2 / 3 : room - 5;
		if (layout.detail > DETAIL_ROWS_MAX)
			layout.detail = DETAIL_ROWS_MAX;
		layout.list = room - layout.detail;
		layout.detail_at = layout.list_at + layout.list + 1;
	} else {
		layout.list = body - layout.sandboxes - 1;
	}
	if (layout.list < 0)
		layout.list = 0;
	return layout;
}

/* ---- Title and sandboxes --------------------------------------------------------------- */

static void draw_title(const struct osh_term_screen *screen, const struct layout *layout)
{
	size_t count = json_array_size(screen->sandboxes);
	char text[LINE_BYTES], lost[80] = "";

	if (screen->model.lost)
		snprintf(lost, sizeof(lost),
			 "  %" PRIu64 " verdicts came too fast, see openshell logs",
			 screen->model.lost);
	snprintf(text, sizeof(text), " openshell  %zu sandbox%s  %s%s", count,
		 count == 1 ? "" : "es", screen->connected ? "live" : "AGENT GONE, reconnecting",
		 lost);
	put_line(0, layout->columns, A_REVERSE | (screen->connected ? 0 : A_BOLD), text);
}

static attr_t state_attributes(const char *state)
{
	if (strcmp(state, "running") == 0 || strcmp(state, "attached") == 0)
		return 0;
	return strcmp(state, "stopped") == 0 ? A_DIM : COLOR_PAIR(RED);
}

static void draw_sandbox(int y, const struct layout *layout, const json_t *sandbox, bool is_chosen)
{
	char text[LINE_BYTES], name[4 * OSH_NAME_MAX], state[64], age[OSH_AGE_BYTES];

	osh_str_escape(osh_str(osh_json_text(sandbox, "name")), name, sizeof(name));
	osh_str_escape(osh_str(osh_json_text(sandbox, "state")), state, sizeof(state));
	snprintf(text, sizeof(text),
		 "%c %-20s %-8s %" PRId64 " allowed, %" PRId64 " audited, %" PRId64
		 " denied  rev %" PRId64 "  age %s",
		 is_chosen ? '>' : ' ', name, state, osh_json_int(sandbox, "allowed"),
		 osh_json_int(sandbox, "audited"), osh_json_int(sandbox, "denied"),
		 osh_json_int(sandbox, "revision"),
		 osh_out_age(osh_json_int(sandbox, "created"), age));
	put_line(y, layout->columns, (is_chosen ? A_BOLD : 0) | state_attributes(state), text);
}

static size_t chosen_sandbox(const struct osh_term_screen *screen)
{
	json_t *sandbox;
	size_t i;

	json_array_foreach(screen->sandboxes, i, sandbox) {
		if (strcmp(osh_json_text(sandbox, "name"), screen->model.sandbox) == 0)
			return i;
	}
	return SIZE_MAX;
}

static void draw_sandboxes(const struct osh_term_screen *screen, const struct layout *layout)
{
	size_t chosen = chosen_sandbox(screen), top = 0;

	if (chosen != SIZE_MAX && layout->sandboxes && chosen >= (size_t)layout->sandboxes)
		top = chosen - (size_t)layout->sandboxes + 1;
	for (int i = 0; i < layout->sandboxes; i++)
		draw_sandbox(1 + i, layout, json_array_get(screen->sandboxes, top + (size_t)i),
			     top + (size_t)i == chosen);
}

/* ---- The list -------------------------------------------------------------------------- */

static void add_escaped(char *buf, size_t size, const char *text)
{
	size_t len = strlen(buf);

	osh_str_escape(osh_str(text), buf + len, size - len);
}

static void add_plain(char *buf, size_t size, const char *text)
{
	size_t len = strlen(buf);

	snprintf(buf + len, size - len, "%s", text);
}

static bool is_set(const char *text)
{
	return text && text[0];
}

/* "PUT api.github.com:443/repos/x", "l4 db.test:5432"; "sandbox created" for what is
 * about no destination. */
static void describe(const struct osh_verdict *verdict, char *buf, size_t size)
{
	char port[16] = "";

	buf[0] = '\0';
	if (!is_set(verdict->host) && is_set(verdict->reason)) {
		add_escaped(buf, size, verdict->reason);
		return;
	}
	if (is_set(verdict->method))
		add_escaped(buf, size, verdict->method);
	else if (is_set(verdict->protocol))
		add_escaped(buf, size, verdict->protocol);
	else
		add_plain(buf, size, osh_verdict_engine_name(verdict->engine));
	add_plain(buf, size, " ");
	if (is_set(verdict->host)) {
		bool v6 = strchr(verdict->host, ':') != NULL; /* RFC 3986 3.2.2 */

		add_plain(buf, size, v6 ? "[" : "");
		add_escaped(buf, size, verdict->host);
		add_plain(buf, size, v6 ? "]" : "");
	}
	if (verdict->dst_port_host)
		snprintf(port, sizeof(port), ":%u", verdict->dst_port_host);
	add_plain(buf, size, port);
	if (is_set(verdict->target))
		add_escaped(buf, size, verdict->target);
}

static const char *base_name(const char *path)
{
	const char *slash = path ? strrchr(path, '/') : NULL;

	return slash ? slash + 1 : path ? path : "";
}

/* Left-aligned in `width` columns and a blank; returns the next column. */
static int put_column(int y, int x, int width, int columns, const char *text)
{
	char escaped[LINE_BYTES];

	osh_str_escape(osh_str(text), escaped, sizeof(escaped));
	(void)put(y, x, x + width <= columns ? width : columns - x, escaped);
	return x + width + 1;
}

static void draw_row(int y, const struct osh_term_screen *screen, const struct layout *layout,
		     size_t row)
{
	bool is_selected = row == osh_term_model_row(&screen->model);
	struct osh_verdict verdict;
	char text[LINE_BYTES], when[16] = "";
	time_t seconds;
	struct tm tm;
	int x = 0;

	if (osh_term_model_get(&screen->model, row, &verdict) < 0)
		return;
	seconds = (time_t)(verdict.time_ns / NS_PER_SECOND);
	if (gmtime_r(&seconds, &tm))
		(void)strftime(when, sizeof(when), "%H:%M:%S", &tm);
	put_line(y, layout->columns, is_selected ? A_REVERSE : A_NORMAL, is_selected ? ">" : " ");
	attrset(is_selected ? A_REVERSE : A_NORMAL);
	x = 1;
	if (layout->columns >= 40)
		x = put_column(y, x, 8, layout->columns, when);
	attrset((is_selected ? A_REVERSE : A_NORMAL) | colour_of(verdict.decision));
	snprintf(text, sizeof(text), "%s%s", layout->columns >= 76 ? "l7_decision=" : "",
		 osh_verdict_decision_name(verdict.decision));
	x = put_column(y, x, layout->columns >= 76 ? 17 : 5, layout->columns, text);
	attrset(is_selected ? A_REVERSE : A_NORMAL);
	if (layout->columns >= 60 && !screen->model.sandbox[0])
		x = put_column(y, x, layout->columns >= 100 ? 20 : 12, layout->columns,
			       verdict.sandbox);
	if (layout->columns >= 100)
		x = put_column(y, x, 10, layout->columns, base_name(verdict.binary));
	describe(&verdict, text, sizeof(text));
	(void)put(y, x, layout->columns - x, text);
	attrset(A_NORMAL);
}

static void describe_filters(const struct osh_term_screen *screen, char *buf, size_t size)
{
	const struct osh_term_model *model = &screen->model;
	size_t row = osh_term_model_row(model);
	char place[64];

	snprintf(buf, size, "Verdicts: %s", model->denied_only ? "denied" : "all");
	if (model->sandbox[0]) {
		add_plain(buf, size, " of ");
		add_escaped(buf, size, model->sandbox);
	}
	if (model->find[0]) {
		add_plain(buf, size, " with \"");
		add_escaped(buf, size, model->find);
		add_plain(buf, size, "\"");
	}
	snprintf(place, sizeof(place), " - %zu/%zu%s", model->shown_count ? row + 1 : 0,
		 model->shown_count, model->follow ? ", newest" : "");
	add_plain(buf, size, place);
}

static void draw_list(struct osh_term_screen *screen, const struct layout *layout)
{
	size_t top = osh_term_model_scroll(&screen->model, (size_t)layout->list);
	char text[LINE_BYTES];

	screen->list_rows = (size_t)layout->list;
	describe_filters(screen, text, sizeof(text));
	put_heading(layout->list_at, layout->columns, text);
	if (screen->model.shown_count == 0 && layout->list > 0)
		(void)put(layout->list_at + 1, 2, layout->columns - 2,
			  screen->model.end ? "no verdict passes the filters; a shows all" :
					      "no verdict yet");
	for (int i = 0; i < layout->list; i++)
		draw_row(layout->list_at + 1 + i, screen, layout, top + (size_t)i);
}

/* ---- The selected verdict ---------------------------------------------------------------- */

struct detail {
	int y, rows, columns;
	size_t skip;  /* lines above the first one shown */
	size_t lines; /* so far */
	attr_t decision;
};

static void detail_line(struct detail *detail, const char *label, const char *value,
			attr_t attributes, struct osh_term_piece *ret_piece)
{
	size_t line = detail->lines++;
	int x = detail->columns >= 2 * LABEL_COLUMNS ? LABEL_COLUMNS : (int)strlen(label);
	int y = detail->y + (int)(line - detail->skip);

	if (x >= detail->columns)
		x = 0;
	osh_term_piece_cut(value, detail->columns - x, ret_piece);
	if (line < detail->skip || line - detail->skip >= (size_t)detail->rows)
		return;
	attrset(A_BOLD);
	(void)put(y, 0, x, label);
	attrset(attributes);
	(void)mvaddwstr(y, x, ret_piece->text);
	attrset(A_NORMAL);
}

/* "l7_action:      PUT", long values on several lines. */
static void detail_field(void *context, const char *name, const char *value)
{
	struct detail *detail = context;
	attr_t attributes = strcmp(name, "l7_decision") == 0 ? detail->decision | A_BOLD : A_NORMAL;
	struct osh_term_piece piece;
	char label[64];

	snprintf(label, sizeof(label), "%-*s", LABEL_COLUMNS, name);
	if (strlen(name) < sizeof(label) - 1)
		label[strlen(name)] = ':';
	do {
		detail_line(detail, label, value, attributes, &piece);
		value += piece.bytes;
		value += strspn(value, " "); /* a wrapped line starts with a word */
		memset(label, ' ', strlen(label));
	} while (*value && piece.bytes);
}

/* Returns how many lines it would take. *ret_id is the verdict's number, 0: none is selected. */
static size_t draw_fields(const struct osh_term_screen *screen, int y, int rows, int columns,
			  size_t skip, uint64_t *ret_id)
{
	struct detail detail = { .y = y, .rows = rows, .columns = columns, .skip = skip };
	struct osh_verdict verdict;

	*ret_id = 0;
	if (osh_term_model_get(&screen->model, osh_term_model_row(&screen->model), &verdict) < 0)
		return 0;
	*ret_id = verdict.id;
	detail.decision = colour_of(verdict.decision);
	osh_verdict_fields(&verdict, detail_field, &detail);
	return detail.lines;
}

static void draw_detail(const struct osh_term_screen *screen, const struct layout *layout)
{
	char text[64], id[32] = "";
	uint64_t number;
	size_t lines;

	if (layout->detail == 0)
		return;
	lines = draw_fields(screen, layout->detail_at + 1, layout->detail, layout->columns, 0, &number);
	if (number) /* what `openshell policy explain` takes */
		snprintf(id, sizeof(id), ": verdict %" PRIu64, number);
	snprintf(text, sizeof(text), "Selected%s%s", id,
		 lines > (size_t)layout->detail ? " (enter: all of it)" : "");
	put_heading(layout->detail_at, layout->columns, text);
}

static void draw_detail_only(struct osh_term_screen *screen, const struct layout *layout)
{
	int rows = layout->rows - 2;
	uint64_t id;
	size_t lines = draw_fields(screen, 1, rows, layout->columns, SIZE_MAX, &id); /* count */
	size_t last_top = rows > 0 && lines > (size_t)rows ? lines - (size_t)rows : 0;

	if (screen->detail_top > last_top)
		screen->detail_top = last_top;
	(void)draw_fields(screen, 1, rows, layout->columns, screen->detail_top, &id);
}

/* ---- All ----------------------------------------------------------------------------------- */

static void draw_help(const struct osh_term_screen *screen, const struct layout *layout)
{
	char text[LINE_BYTES];
	int used;

	if (layout->rows < 2)
		return;
	if (!screen->typing) {
		put_line(layout->rows - 1, layout->columns, A_REVERSE,
			 screen->detail_only ? " enter back  up/down scroll  q quit" :
			 " q quit  a all  d denied  s sandbox  / find  enter detail  end newest");
		return;
	}
	osh_str_escape(osh_str(screen->typed), text, sizeof(text));
	put_line(layout->rows - 1, layout->columns, A_NORMAL, "/");
	used = put(layout->rows - 1, 1, layout->columns - 2, text);
	(void)move(layout->rows - 1, 1 + used);
}

void osh_term_draw(struct osh_term_screen *screen)
{
	struct layout layout = make_layout(screen);

	erase();
	draw_title(screen, &layout);
	if (screen->detail_only) {
		draw_detail_only(screen, &layout);
	} else {
		draw_sandboxes(screen, &layout);
		draw_list(screen, &layout);
		draw_detail(screen, &layout);
	}
	(void)curs_set(screen->typing ? 1 : 0);
	draw_help(screen, &layout);
	refresh();
}
