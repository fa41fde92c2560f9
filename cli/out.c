#include "out.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/str.h"
#include "cli.h"

#define MESSAGE_BYTES 2048
#define CELL_BYTES 1024

__attribute__((format(printf, 1, 0)))
static void print_message(const char *format, va_list args)
{
	char text[MESSAGE_BYTES], line[2 * MESSAGE_BYTES];

	vsnprintf(text, sizeof(text), format, args);
	osh_str_escape(osh_str(text), line, sizeof(line));
	(void)fflush(stdout); /* in the order in which it was said, when both go to one file */
	fprintf(stderr, "openshell: %s\n", line);
}

void osh_cli_error(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	print_message(format, args);
	va_end(args);
}

void osh_cli_note(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	print_message(format, args);
	va_end(args);
}

int64_t osh_cli_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int osh_cli_no_memory(void)
{
	osh_cli_error("out of memory");
	return OSH_EXIT_FAILED;
}

void osh_table_init(struct osh_table *table, size_t columns)
{
	*table = (struct osh_table){ .columns = columns };
}

void osh_table_done(struct osh_table *table)
{
	for (size_t i = 0; i < table->count; i++)
		free(table->cells[i]);
	free(table->cells);
	*table = (struct osh_table){ 0 };
}

void osh_table_add(struct osh_table *table, const char *text)
{
	char escaped[CELL_BYTES];
	char **grown, *cell;

	osh_str_escape(osh_str(text && text[0] ? text : "-"), escaped, sizeof(escaped));
	cell = strdup(escaped);
	grown = cell ? realloc(table->cells, (table->count + 1) * sizeof(*grown)) : NULL;
	if (!grown) {
		free(cell);
		table->failed = true;
		return;
	}
	table->cells = grown;
	table->cells[table->count++] = cell;
}

void osh_table_add_int(struct osh_table *table, int64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRId64, value);
	osh_table_add(table, text);
}

static size_t column_width(const struct osh_table *table, size_t column)
{
	size_t width = 0;

	for (size_t i = column; i < table->count; i += table->columns) {
		size_t len = strlen(table->cells[i]);

		if (len > width)
			width = len;
	}
	return width;
}

int osh_table_print(const struct osh_table *table, FILE *stream)
{
	_cleanup_free_ size_t *widths = calloc(table->columns, sizeof(*widths));

	if (!widths || table->failed)
		return osh_cli_no_memory();
	for (size_t i = 0; i + 1 < table->columns; i++) /* the last one is not padded */
		widths[i] = column_width(table, i);
	for (size_t i = 0; i < table->count; i++) {
		size_t column = i % table->columns;

		fprintf(stream, "%-*s%s", (int)widths[column], table->cells[i],
			column + 1 == table->columns ? "\n" : "  ");
	}
	return OSH_EXIT_OK;
}

void osh_out_field(const char *label, int width, const char *value)
{
	char head[64], escaped[4 * CELL_BYTES];

	snprintf(head, sizeof(head), "%s%s", label, label[0] ? ":" : "");
	osh_str_escape(osh_str(value && value[0] ? value : "-"), escaped, sizeof(escaped));
	printf("%-*s %s\n", width, head, escaped);
}

void osh_out_field_int(const char *label, int width, int64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRId64, value);
	osh_out_field(label, width, text);
}

const char *osh_out_age(int64_t since, char buf[OSH_AGE_BYTES])
{
	static const struct {
		int64_t seconds;
		char unit;
	} units[] = { { 86400, 'd' }, { 3600, 'h' }, { 60, 'm' }, { 1, 's' } };
	int64_t age = (int64_t)time(NULL) - since;
	size_t i = 0;

	if (since <= 0 || age < 0)
		age = 0;
	while (i + 1 < OSH_COUNT_OF(units) && age < units[i].seconds)
		i++;
	snprintf(buf, OSH_AGE_BYTES, "%" PRId64 "%c", age / units[i].seconds % 1000000,
		 units[i].unit);
	return buf;
}

const char *osh_out_time(int64_t unix_seconds, char buf[OSH_TIME_BYTES])
{
	time_t seconds = (time_t)unix_seconds;
	struct tm tm;

	if (unix_seconds <= 0 || !gmtime_r(&seconds, &tm) ||
	    strftime(buf, OSH_TIME_BYTES, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		snprintf(buf, OSH_TIME_BYTES, "-");
	return buf;
}

int osh_out_json(const json_t *json)
{
	if (!json || json_dumpf(json, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII) < 0)
		return osh_cli_no_memory();
	putchar('\n');
	return OSH_EXIT_OK;
}

int osh_out_names(const json_t *array)
{
	char escaped[CELL_BYTES];
	json_t *item;
	size_t i;

	json_array_foreach(array, i, item) {
		osh_str_escape(osh_str(osh_json_text(item, "name")), escaped, sizeof(escaped));
		puts(escaped);
	}
	return OSH_EXIT_OK;
}

const char *osh_json_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

int64_t osh_json_int(const json_t *object, const char *key)
{
	return (int64_t)json_integer_value(json_object_get(object, key));
}

void osh_json_join(const json_t *array, char *buf, size_t size)
{
	size_t i, len = 0;
	json_t *item;

	buf[0] = '\0';
	json_array_foreach(array, i, item) {
		int n = snprintf(buf + len, size - len, "%s%s", i ? "," : "",
				 json_string_value(item));

		if (n < 0 || (size_t)n >= size - len)
			return;
		len += (size_t)n;
	}
}
