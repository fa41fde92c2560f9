#include "term_model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "verdict/format.h"
#include "verdict/ring.h"

#define LINE_BYTES (8u << 10)

int osh_term_model_init(struct osh_term_model *model)
{
	*model = (struct osh_term_model){ .follow = true };
	model->entries = calloc(OSH_TERM_ENTRIES_MAX, sizeof(*model->entries));
	model->shown = calloc(OSH_TERM_ENTRIES_MAX, sizeof(*model->shown));
	if (!model->entries || !model->shown) {
		osh_term_model_done(model);
		return -ENOMEM;
	}
	return 0;
}

void osh_term_model_done(struct osh_term_model *model)
{
	for (size_t i = 0; model->entries && i < OSH_TERM_ENTRIES_MAX; i++)
		free(model->entries[i].bytes);
	free(model->entries);
	free(model->shown);
	*model = (struct osh_term_model){ 0 };
}

static struct osh_term_entry *entry_at(const struct osh_term_model *model, uint64_t number)
{
	return &model->entries[number % OSH_TERM_ENTRIES_MAX];
}

static uint64_t number_at(const struct osh_term_model *model, size_t row)
{
	return model->shown[(model->shown_at + row) % OSH_TERM_ENTRIES_MAX];
}

/* ---- Filters ----------------------------------------------------------------------- */

static bool contains(const char *text, const char *find)
{
	size_t len = strlen(find);

	for (; *text; text++) {
		if (osh_str_caseeq(osh_str_n(text, strnlen(text, len)), osh_str_n(find, len)))
			return true;
	}
	return false;
}

static bool passes(const struct osh_term_model *model, const struct osh_verdict *verdict)
{
	const char *sandbox = verdict->sandbox ? verdict->sandbox : "";
	char line[LINE_BYTES];

	if (model->denied_only && verdict->decision != OSH_VERDICT_DENY)
		return false;
	if (model->sandbox[0] && strcmp(model->sandbox, sandbox) != 0)
		return false;
	if (!model->find[0] || contains(sandbox, model->find))
		return true;
	osh_verdict_line(verdict, line, sizeof(line));
	return contains(line, model->find);
}

static void show(struct osh_term_model *model, uint64_t number)
{
	model->shown[(model->shown_at + model->shown_count) % OSH_TERM_ENTRIES_MAX] = number;
	model->shown_count++;
}

/* The first row whose entry is not older than `number`. */
static size_t row_of(const struct osh_term_model *model, uint64_t number)
{
	size_t low = 0, high = model->shown_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (number_at(model, middle) < number)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The selection rests on an entry that is shown. */
static void settle(struct osh_term_model *model)
{
	size_t row;

	if (model->shown_count == 0)
		return;
	row = model->follow ? model->shown_count - 1 : row_of(model, model->selected);
	if (row >= model->shown_count)
		row = model->shown_count - 1;
	model->selected = number_at(model, row);
}

static void filter_again(struct osh_term_model *model)
{
	struct osh_verdict verdict;

	model->shown_at = model->shown_count = 0;
	for (uint64_t n = model->first; n < model->end; n++) {
		const struct osh_term_entry *entry = entry_at(model, n);

		if (osh_verdict_decode(entry->bytes, entry->len, &verdict) == 0 &&
		    passes(model, &verdict))
			show(model, n);
	}
	settle(model);
}

void osh_term_model_set_denied(struct osh_term_model *model, bool denied_only)
{
	model->denied_only = denied_only;
	filter_again(model);
}

void osh_term_model_set_sandbox(struct osh_term_model *model, const char *sandbox)
{
	(void)osh_str_copy(osh_str(sandbox), model->sandbox, sizeof(model->sandbox));
	filter_again(model);
}

void osh_term_model_set_find(struct osh_term_model *model, const char *find)
{
	(void)osh_str_copy(osh_str(find), model->find, sizeof(model->find));
	filter_again(model);
}

/* ---- Entries ----------------------------------------------------------------------- */

static void drop_oldest(struct osh_term_model *model)
{
	struct osh_term_entry *entry = entry_at(model, model->first);

	free(entry->bytes);
	*entry = (struct osh_term_entry){ 0 };
	if (model->shown_count && number_at(model, 0) == model->first) {
		model->shown_at = (model->shown_at + 1) % OSH_TERM_ENTRIES_MAX;
		model->shown_count--;
		model->top -= model->top > 0; /* the rows on the screen stay where they are */
	}
	model->first++;
}

void osh_term_model_add(struct osh_term_model *model, const struct osh_verdict *verdict)
{
	char bytes[OSH_VERDICT_BYTES_MAX];
	size_t len = osh_verdict_encode(verdict, bytes);
	char *copy = malloc(len);

	if (!copy) {
		model->lost++;
		return;
	}
	memcpy(copy, bytes, len);
	if (model->end - model->first == OSH_TERM_ENTRIES_MAX)
		drop_oldest(model);
	*entry_at(model, model->end) = (struct osh_term_entry){ .bytes = copy, .len = len };
	if (passes(model, verdict))
		show(model, model->end);
	model->end++;
	settle(model);
}

/* ---- Selection --------------------------------------------------------------------- */

size_t osh_term_model_row(const struct osh_term_model *model)
{
	return model->shown_count ? row_of(model, model->selected) : 0;
}

void osh_term_model_move(struct osh_term_model *model, long rows)
{
	size_t last = model->shown_count - 1, row;

	if (model->shown_count == 0)
		return;
	row = osh_term_model_row(model);
	if (rows < 0)
		row = row > (size_t)-rows ? row - (size_t)-rows : 0;
	else
		row = last - row > (size_t)rows ? row + (size_t)rows : last;
	model->follow = row == last;
	model->selected = number_at(model, row);
}

void osh_term_model_home(struct osh_term_model *model)
{
	osh_term_model_move(model, -(long)OSH_TERM_ENTRIES_MAX);
}

void osh_term_model_follow(struct osh_term_model *model)
{
	model->follow = true;
	settle(model);
}

size_t osh_term_model_scroll(struct osh_term_model *model, size_t height)
{
	size_t row = osh_term_model_row(model);
	size_t last_top = model->shown_count > height ? model->shown_count - height : 0;

	if (model->follow)
		model->top = last_top;
	if (model->top > row)
		model->top = row;
	if (height && row >= model->top + height)
		model->top = row - height + 1;
	if (model->top > last_top)
		model->top = last_top;
	return model->top;
}

int osh_term_model_get(const struct osh_term_model *model, size_t row,
		       struct osh_verdict *ret_verdict)
{
	const struct osh_term_entry *entry;

	if (row >= model->shown_count)
		return -ENOENT;
	entry = entry_at(model, number_at(model, row));
	return osh_verdict_decode(entry->bytes, entry->len, ret_verdict) < 0 ? -ENOENT : 0;
}
