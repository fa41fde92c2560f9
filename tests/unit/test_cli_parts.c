/* The parts of the CLI that are pure: text for a terminal, the dashboard's
 * model. They are no part of the library, so they are compiled in here. */
#include "../../cli/term_model.c"
#include "../../cli/term_text.c"

#include <criterion/criterion.h>
#include <locale.h>
#include <stdio.h>

/* ---- Text -------------------------------------------------------------------------------- */

static void expect_piece(const char *text, int columns, const wchar_t *want, int want_columns,
			 size_t bytes)
{
	struct osh_term_piece piece;

	osh_term_piece_cut(text, columns, &piece);
	cr_expect(wcscmp(piece.text, want) == 0, "'%ls', not '%ls'", piece.text, want);
	cr_expect_eq(piece.columns, want_columns);
	cr_expect_eq(piece.bytes, bytes);
}

Test(cli_text, cuts_between_characters)
{
	cr_assert(setlocale(LC_CTYPE, "C.UTF-8"));
	expect_piece("plain", 10, L"plain", 5, 5);
	expect_piece("plain", 3, L"pla", 3, 3);
	expect_piece("plain", 0, L"", 0, 0);
	expect_piece("caf\xc3\xa9", 4, L"caf\u00e9", 4, 5);
	/* Two columns each: the second one would stick out. */
	expect_piece("\xe4\xb8\xad\xe6\x96\x87", 3, L"\u4e2d", 2, 3);
	expect_piece("\xe4\xb8\xad", 1, L"", 0, 0);
	/* Controls, broken UTF-8 and combining characters are spelt out, whole or not at all. */
	expect_piece("a\x1b[", 10, L"a\\x1b[", 6, 3);
	expect_piece("a\x1b[", 4, L"a", 1, 1);
	expect_piece("\xff\xc3", 10, L"\\xff\\xc3", 8, 2);
	expect_piece("e\xcc\x81", 10, L"e\\xcc\\x81", 9, 3);
	expect_piece("e\xcc\x81", 8, L"e", 1, 1);
}

Test(cli_text, spells_bytes_where_the_locale_has_no_characters)
{
	cr_assert(setlocale(LC_CTYPE, "C"));
	expect_piece("caf\xc3\xa9", 20, L"caf\\xc3\\xa9", 11, 5);
}

/* ---- Model ------------------------------------------------------------------------------- */

static struct osh_term_model model;

static void set_up(void)
{
	cr_assert_eq(osh_term_model_init(&model), 0);
}

static void tear_down(void)
{
	osh_term_model_done(&model);
}

TestSuite(cli_model, .init = set_up, .fini = tear_down);

static void add(uint64_t id, const char *sandbox, enum osh_verdict_decision decision)
{
	struct osh_verdict verdict = {
		.id = id, .decision = decision, .sandbox = sandbox, .host = "ok.test",
		.method = "GET", .target = id % 2 ? "/odd" : "/Even",
	};

	osh_term_model_add(&model, &verdict);
}

static uint64_t id_at(size_t row)
{
	struct osh_verdict verdict;

	return osh_term_model_get(&model, row, &verdict) == 0 ? verdict.id : 0;
}

static uint64_t selected_id(void)
{
	return id_at(osh_term_model_row(&model));
}

static void add_ten(void)
{
	for (uint64_t id = 1; id <= 10; id++)
		add(id, id <= 5 ? "demo" : "other", id % 3 ? OSH_VERDICT_ALLOW : OSH_VERDICT_DENY);
}

Test(cli_model, empty)
{
	osh_term_model_move(&model, -5);
	osh_term_model_move(&model, 5);
	osh_term_model_home(&model);
	cr_expect_eq(osh_term_model_scroll(&model, 10), 0);
	cr_expect_eq(osh_term_model_scroll(&model, 0), 0);
	cr_expect_eq(selected_id(), 0);
}

Test(cli_model, follows_the_newest_until_the_user_moves)
{
	add_ten();
	cr_expect_eq(selected_id(), 10);
	add(11, "demo", OSH_VERDICT_DENY);
	cr_expect_eq(selected_id(), 11);
	osh_term_model_move(&model, -3);
	cr_expect_eq(selected_id(), 8);
	cr_expect_not(model.follow);
	add(12, "demo", OSH_VERDICT_DENY);
	cr_expect_eq(selected_id(), 8);
	osh_term_model_home(&model);
	cr_expect_eq(selected_id(), 1);
	osh_term_model_follow(&model);
	cr_expect_eq(selected_id(), 12);
	osh_term_model_move(&model, -1);
	osh_term_model_move(&model, 100);
	cr_expect(model.follow);
}

Test(cli_model, filters)
{
	add_ten();
	osh_term_model_set_denied(&model, true);
	cr_expect_eq(model.shown_count, 3);
	cr_expect_eq(selected_id(), 9);
	osh_term_model_set_sandbox(&model, "demo");
	cr_expect_eq(model.shown_count, 1);
	cr_expect_eq(selected_id(), 3);
	osh_term_model_set_denied(&model, false);
	cr_expect_eq(model.shown_count, 5);
	osh_term_model_set_find(&model, "even");
	cr_expect_eq(model.shown_count, 2);
	cr_expect_eq(id_at(0), 2);
	osh_term_model_set_find(&model, "nowhere");
	cr_expect_eq(model.shown_count, 0);
	cr_expect_eq(selected_id(), 0);
	osh_term_model_set_find(&model, "");
	osh_term_model_set_sandbox(&model, "");
	cr_expect_eq(model.shown_count, 10);
	/* What arrives is filtered too. */
	osh_term_model_set_sandbox(&model, "demo");
	add(11, "other", OSH_VERDICT_DENY);
	cr_expect_eq(model.shown_count, 5);
	add(12, "demo", OSH_VERDICT_ALLOW);
	cr_expect_eq(model.shown_count, 6);
}

Test(cli_model, a_filter_keeps_the_selection_or_its_neighbour)
{
	add_ten();
	osh_term_model_move(&model, -4);
	cr_expect_eq(selected_id(), 6);
	osh_term_model_set_denied(&model, true);
	cr_expect_eq(selected_id(), 6);
	osh_term_model_set_denied(&model, false);
	osh_term_model_move(&model, -2);
	cr_expect_eq(selected_id(), 4);
	osh_term_model_set_denied(&model, true);
	cr_expect_eq(selected_id(), 6);
}

Test(cli_model, scrolls)
{
	add_ten();
	cr_expect_eq(osh_term_model_scroll(&model, 4), 6);
	osh_term_model_move(&model, -2);
	cr_expect_eq(osh_term_model_scroll(&model, 4), 6, "the selection is still on the screen");
	osh_term_model_move(&model, -4);
	cr_expect_eq(osh_term_model_scroll(&model, 4), 3);
	cr_expect_eq(osh_term_model_scroll(&model, 1), 3);
	cr_expect_eq(osh_term_model_scroll(&model, 100), 0);
	osh_term_model_follow(&model);
	cr_expect_eq(osh_term_model_scroll(&model, 4), 6);
}

Test(cli_model, forgets_the_oldest)
{
	const uint64_t total = 2 * OSH_TERM_ENTRIES_MAX + 5;

	for (uint64_t id = 1; id <= total; id++) {
		add(id, "demo", id % 2 ? OSH_VERDICT_ALLOW : OSH_VERDICT_DENY);
		if (id == 10)
			osh_term_model_move(&model, -5);
	}
	cr_expect_eq(model.shown_count, OSH_TERM_ENTRIES_MAX);
	cr_expect_eq(id_at(0), total - OSH_TERM_ENTRIES_MAX + 1);
	cr_expect_eq(selected_id(), id_at(0), "the selected one is gone: its neighbour");
	osh_term_model_set_denied(&model, true);
	cr_expect_eq(model.shown_count, OSH_TERM_ENTRIES_MAX / 2);
	osh_term_model_follow(&model);
	cr_expect_eq(selected_id(), total - 1);
}
