/* `openshell term`: the dashboard. One loop: new verdicts, keys, the list of
 * sandboxes once a second, and a new connection when the agent was restarted. */
#include <errno.h>
#include <limits.h>
#include <ncurses.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "args.h"
#include "base/str.h"
#include "client.h"
#include "feed.h"
#include "out.h"
#include "term_draw.h"
#include "term_model.h"
#include "tty.h"

/* How often the ring is looked at when no key is pressed. */
#define TICK_MS 100
#define SANDBOXES_MS 1000
/* Verdicts taken between two looks at the keyboard. */
#define BATCH_MAX 20000
/* An agent that does not answer within this counts as gone: the screen must live. */
#define ANSWER_MS 2000
#define HISTORY_BYTES (4u << 20) /* about what the model keeps */
#define KEY_ESCAPE 27
#define KEY_DELETE 127

struct term {
	struct osh_cli *cli;
	struct osh_client client;
	struct osh_feed feed;
	struct osh_term_screen screen;
	int64_t sandboxes_due_ms, connect_due_ms;
	bool dirty;
	bool quit;
};

static volatile sig_atomic_t ended_by; /* the signal that asks us to end */

static void on_end(int number)
{
	ended_by = number;
}

static void catch_signals(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	struct sigaction action = { .sa_handler = on_end };

	for (size_t i = 0; i < OSH_COUNT_OF(signals); i++)
		(void)sigaction(signals[i], &action, NULL);
}

/* ---- The agent -------------------------------------------------------------------------- */

static void on_verdict(void *context, const struct osh_verdict *verdict)
{
	struct term *term = context;

	osh_term_model_add(&term->screen.model, verdict);
}

static void disconnect(struct term *term)
{
	osh_feed_close(&term->feed);
	osh_client_close(&term->client);
	term->screen.connected = false;
	term->connect_due_ms = osh_cli_now_ms() + SANDBOXES_MS / 2;
	term->dirty = true;
}

/* Returns 0 or -errno with err. */
static int connect_agent(struct term *term, struct osh_err *err)
{
	int r = osh_client_connect(term->cli, &term->client, err);

	if (r == 0)
		r = osh_feed_open(&term->feed, &term->client, HISTORY_BYTES, 0, on_verdict, term,
				  err);
	if (r < 0) {
		disconnect(term);
		return r;
	}
	term->screen.connected = true;
	term->sandboxes_due_ms = 0;
	term->dirty = true;
	return 0;
}

static void take_verdicts(struct term *term)
{
	struct osh_verdict verdict;
	uint64_t lost;

	for (int i = 0; i < BATCH_MAX && osh_feed_next(&term->feed, &verdict, &lost) > 0; i++) {
		term->screen.model.lost += lost;
		osh_term_model_add(&term->screen.model, &verdict);
		term->dirty = true;
	}
}

static void refresh_sandboxes(struct term *term)
{
	struct osh_wire_reply reply;
	struct osh_err err;

	term->sandboxes_due_ms = osh_cli_now_ms() + SANDBOXES_MS;
	if (osh_client_ask(&term->client, "SandboxList", json_object(), NULL, 0, ANSWER_MS, &reply,
			   &err) < 0) {
		osh_wire_reply_done(&reply);
		disconnect(term);
		return;
	}
	json_decref(term->screen.sandboxes);
	term->screen.sandboxes = json_incref(json_object_get(reply.parameters, "sandboxes"));
	osh_wire_reply_done(&reply);
	term->dirty = true;
}

/* Between calls the socket becomes readable only when its other end is gone. */
static bool is_agent_gone(const struct term *term)
{
	struct pollfd poll_fd = { .fd = term->client.wire.fd, .events = POLLIN };

	return poll(&poll_fd, 1, 0) > 0;
}

static void keep_up(struct term *term)
{
	struct osh_err err;

	if (!term->screen.connected) {
		if (osh_cli_now_ms() >= term->connect_due_ms)
			(void)connect_agent(term, &err);
		return;
	}
	take_verdicts(term);
	if (is_agent_gone(term))
		disconnect(term);
	else if (osh_cli_now_ms() >= term->sandboxes_due_ms)
		refresh_sandboxes(term);
}

/* ---- Keys --------------------------------------------------------------------------------- */

/* All sandboxes, then each alone, then all again. */
static void next_sandbox(struct term *term)
{
	struct osh_term_model *model = &term->screen.model;
	size_t count = json_array_size(term->screen.sandboxes), next = 0;

	for (size_t i = 0; model->sandbox[0] && i < count; i++) {
		if (strcmp(osh_json_text(json_array_get(term->screen.sandboxes, i), "name"),
			   model->sandbox) == 0)
			next = i + 1;
	}
	/* One that was deleted meanwhile is followed by all, like the last one. */
	if (next >= count || (model->sandbox[0] && next == 0))
		osh_term_model_set_sandbox(model, "");
	else
		osh_term_model_set_sandbox(
			model, osh_json_text(json_array_get(term->screen.sandboxes, next), "name"));
}

static void type(struct term *term, wint_t key)
{
	struct osh_term_screen *screen = &term->screen;
	size_t len = strlen(screen->typed);

	if (key == L'\n' || key == L'\r' || key == KEY_ENTER) {
		screen->typing = false;
		osh_term_model_set_find(&screen->model, screen->typed);
	} else if (key == KEY_ESCAPE) {
		screen->typing = false;
	} else if (key == KEY_BACKSPACE || key == KEY_DELETE || key == L'\b') {
		while (len && ((unsigned char)screen->typed[--len] & 0xc0) == 0x80)
			; /* the whole character */
		screen->typed[len] = '\0';
	} else if (key >= L' ' && key < KEY_MIN) {
		char bytes[MB_LEN_MAX];
		mbstate_t state = { 0 };
		size_t count = wcrtomb(bytes, (wchar_t)key, &state);

		if (count != (size_t)-1 && len + count < sizeof(screen->typed)) {
			memcpy(screen->typed + len, bytes, count);
			screen->typed[len + count] = '\0';
		}
	}
}

static void start_typing(struct osh_term_screen *screen)
{
	screen->typing = true;
	screen->typed[0] = '\0';
}

static void scroll_detail(struct osh_term_screen *screen, long lines)
{
	if (lines < 0 && screen->detail_top < (size_t)-lines)
		screen->detail_top = 0;
	else
		screen->detail_top += (size_t)lines; /* the drawing stops at the end */
}

static void move_by(struct osh_term_screen *screen, long rows)
{
	if (screen->detail_only)
		scroll_detail(screen, rows);
	else
		osh_term_model_move(&screen->model, rows);
}

static void toggle_detail(struct osh_term_screen *screen)
{
	screen->detail_only = !screen->detail_only && screen->model.shown_count > 0;
	screen->detail_top = 0;
	/* What is read does not move away under the eyes. */
	if (screen->detail_only)
		screen->model.follow = false;
	else
		osh_term_model_move(&screen->model, 0);
}

static bool move_key(struct osh_term_screen *screen, wint_t key)
{
	long page = screen->list_rows > 1 ? (long)screen->list_rows - 1 : 1;

	switch (key) {
	case KEY_UP:
	case L'k':
		move_by(screen, -1);
		return true;
	case KEY_DOWN:
	case L'j':
		move_by(screen, 1);
		return true;
	case KEY_PPAGE:
		move_by(screen, -page);
		return true;
	case KEY_NPAGE:
		move_by(screen, page);
		return true;
	case KEY_HOME:
	case L'g':
		move_by(screen, -(long)OSH_TERM_ENTRIES_MAX);
		return true;
	case KEY_END:
	case L'G':
		if (screen->detail_only)
			scroll_detail(screen, OSH_TERM_ENTRIES_MAX);
		else
			osh_term_model_follow(&screen->model);
		return true;
	default:
		return false;
	}
}

static void press(struct term *term, wint_t key)
{
	struct osh_term_screen *screen = &term->screen;

	if (move_key(screen, key))
		return;
	switch (key) {
	case L'q':
		term->quit = true;
		return;
	case L'a':
		osh_term_model_set_sandbox(&screen->model, "");
		osh_term_model_set_find(&screen->model, "");
		osh_term_model_set_denied(&screen->model, false);
		return;
	case L'd':
		osh_term_model_set_denied(&screen->model, !screen->model.denied_only);
		return;
	case L's':
		next_sandbox(term);
		return;
	case L'/':
		screen->detail_only = false;
		start_typing(screen);
		return;
	case L'\n':
	case L'\r':
	case KEY_ENTER:
		toggle_detail(screen);
		return;
	case KEY_ESCAPE:
		if (screen->detail_only)
			toggle_detail(screen);
		else
			osh_term_model_set_find(&screen->model, "");
		return;
	default:
		return;
	}
}

static void read_keys(struct term *term)
{
	wint_t key;
	int kind;

	while (!term->quit && (kind = get_wch(&key)) != ERR) {
		term->dirty = true; /* also by KEY_RESIZE, which has no other effect */
		if (kind == KEY_CODE_YES && key == KEY_RESIZE)
			continue;
		if (term->screen.typing)
			type(term, key);
		else
			press(term, key);
	}
}

/* A terminal that went away leaves nobody to show anything to. */
static void wait_keys(struct term *term)
{
	struct pollfd poll_fd = { .fd = STDIN_FILENO, .events = POLLIN };

	if (poll(&poll_fd, 1, TICK_MS) > 0 && (poll_fd.revents & (POLLHUP | POLLERR | POLLNVAL)))
		term->quit = true;
}

/* ---- The whole ------------------------------------------------------------------------------ */

static int open_screen(SCREEN **ret_screen)
{
	const char *type_name = getenv("TERM");

	*ret_screen = newterm(NULL, stdout, stdin);
	if (!*ret_screen) {
		osh_cli_error(
			"terminal type '%s' is unknown: set TERM, or openshell logs NAME --tail",
			type_name ? type_name : "");
		return OSH_EXIT_FAILED;
	}
	(void)set_term(*ret_screen);
	(void)set_escdelay(25);
	(void)cbreak();
	(void)noecho();
	(void)nonl();
	(void)keypad(stdscr, TRUE);
	(void)nodelay(stdscr, TRUE);
	osh_term_draw_init();
	return OSH_EXIT_OK;
}

static int run_loop(struct term *term)
{
	while (!term->quit && !ended_by) {
		keep_up(term);
		if (term->dirty)
			osh_term_draw(&term->screen);
		term->dirty = false;
		wait_keys(term);
		read_keys(term);
	}
	return ended_by ? 128 + ended_by : OSH_EXIT_OK;
}

static int show(struct term *term)
{
	struct osh_err err = { 0 };
	SCREEN *ncurses;
	int status, r;

	/* Errors first, while they can still be read. */
	status = osh_client_open(term->cli, false, &term->client);
	if (status != OSH_EXIT_OK)
		return status;
	term->client.doing = NULL; /* the screen is ours */
	r = osh_feed_open(&term->feed, &term->client, HISTORY_BYTES, 0, on_verdict, term, &err);
	if (r < 0) {
		osh_cli_error("%s", err.message);
		return OSH_EXIT_FAILED;
	}
	term->screen.connected = true;
	term->dirty = true;
	status = open_screen(&ncurses);
	if (status != OSH_EXIT_OK)
		return status;
	catch_signals();
	status = run_loop(term);
	(void)endwin();
	delscreen(ncurses);
	return status;
}

static int run_term(struct osh_cli *cli, const struct osh_command *command, int argc, char **argv)
{
	struct term term = { .cli = cli };
	char nothing;
	struct osh_args args;
	int status;

	if (!osh_args_parse(cli, command, argc, argv, &nothing, &args, &status) ||
	    !osh_args_none(command, &args, &status))
		return status;
	if (!osh_tty_is_interactive()) {
		osh_cli_error(
			"the dashboard needs a terminal; openshell logs NAME --tail does not");
		return OSH_EXIT_FAILED;
	}
	if (osh_term_model_init(&term.screen.model) < 0)
		return osh_cli_no_memory();
	osh_client_init(&term.client);
	osh_feed_init(&term.feed, NULL);
	status = show(&term);
	osh_feed_close(&term.feed);
	osh_client_close(&term.client);
	json_decref(term.screen.sandboxes);
	osh_term_model_done(&term.screen.model);
	return status;
}

static const struct osh_option options[] = { OSH_OPTIONS_END };

const struct osh_command osh_command_term = {
	"term", "", "Watch sandboxes and verdicts live, on the whole terminal", options, run_term,
};
