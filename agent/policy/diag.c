#include "policy/diag.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static size_t count_kept(const struct osh_diags *diags, enum osh_diag_level level)
{
	size_t kept = 0;

	for (size_t i = 0; i < diags->count; i++)
		kept += diags->items[i].level == level;
	return kept;
}

void osh_diag_add(struct osh_diags *diags, enum osh_diag_level level, struct osh_mark mark,
		  const char *format, ...)
{
	struct osh_diag *diag;
	va_list args;

	if (level == OSH_DIAG_ERROR)
		diags->errors++;
	else
		diags->warnings++;
	/* Each level has its own share, so that warnings never crowd out an error. */
	if (diags->count >= OSH_COUNT_OF(diags->items) ||
	    count_kept(diags, level) >= OSH_POLICY_ERRORS_MAX)
		return;
	diag = &diags->items[diags->count++];
	*diag = (struct osh_diag){ .level = level, .line = mark.line, .column = mark.column };
	va_start(args, format);
	vsnprintf(diag->message, sizeof(diag->message), format, args);
	va_end(args);
}

static int compare_diags(const void *a, const void *b)
{
	const struct osh_diag *x = a, *y = b;

	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	if (x->column != y->column)
		return x->column < y->column ? -1 : 1;
	return (int)x->level - (int)y->level;
}

void osh_diag_sort(struct osh_diags *diags)
{
	qsort(diags->items, diags->count, sizeof(diags->items[0]), compare_diags);
}

size_t osh_diag_format(const struct osh_diag *diag, const char *file, char *buf, size_t size)
{
	char escaped_file[256], message[4 * sizeof(diag->message)];
	const char *level = diag->level == OSH_DIAG_WARNING ? "warning: " : "";
	int len;

	osh_str_escape(osh_str(file), escaped_file, sizeof(escaped_file));
	osh_str_escape(osh_str(diag->message), message, sizeof(message));
	len = snprintf(buf, size, "%s:%u:%u: %s%s", escaped_file, diag->line, diag->column, level,
		       message);
	if (len < 0)
		return 0;
	return (size_t)len < size ? (size_t)len : size - 1;
}

/* Levenshtein distance, of words up to 47 bytes; longer ones are far. */
static size_t word_distance(struct osh_str a, struct osh_str b)
{
	size_t row[48];

	if (a.len >= OSH_COUNT_OF(row) || b.len >= OSH_COUNT_OF(row))
		return OSH_COUNT_OF(row);
	for (size_t j = 0; j <= b.len; j++)
		row[j] = j;
	for (size_t i = 1; i <= a.len; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= b.len; j++) {
			size_t above = row[j];
			size_t best = diagonal + (a.data[i - 1] != b.data[j - 1]);

			best = above + 1 < best ? above + 1 : best;
			best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
			diagonal = above;
			row[j] = best;
		}
	}
	return row[b.len];
}

const char *osh_nearest_name(struct osh_str word, const char *const *names)
{
	const char *nearest = NULL;
	size_t best = word.len / 3 + 2;

	for (; *names; names++) {
		struct osh_str name = osh_str(*names);
		size_t distance = word_distance(word, name);

		/* A forgotten or added word ("filesystem" for "filesystem_policy") is near, too. */
		if (distance > 2 && word.len >= 4 &&
		    (osh_str_has_prefix(name, "") &&
		     memmem(name.data, name.len, word.data, word.len)))
			distance = 2;
		if (distance < best) {
			best = distance;
			nearest = *names;
		}
	}
	return nearest;
}
