/* What commands print: aligned tables, times, JSON. Untrusted bytes are escaped
 * here, on the way out, and nowhere else. */
#ifndef OSH_CLI_OUT_H
#define OSH_CLI_OUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Rows of text in aligned columns; the first row is the heading. */
struct osh_table {
	size_t columns;
	size_t count; /* cells */
	char **cells; /* owned, escaped */
	bool failed;  /* memory ran out: printed by osh_table_print */
};

void osh_table_init(struct osh_table *table, size_t columns);
void osh_table_done(struct osh_table *table);
/* The next cell, row by row. NULL shows as "-". */
void osh_table_add(struct osh_table *table, const char *text);
void osh_table_add_int(struct osh_table *table, int64_t value);
/* Returns the exit status. */
int osh_table_print(const struct osh_table *table, FILE *stream);

/* "Label:    value", the label padded to `width`. */
void osh_out_field(const char *label, int width, const char *value);
void osh_out_field_int(const char *label, int width, int64_t value);

#define OSH_AGE_BYTES 16
/* "42s", "17m", "5h", "12d" since a Unix time. */
const char *osh_out_age(int64_t since, char buf[OSH_AGE_BYTES]);
#define OSH_TIME_BYTES 40
/* "2026-01-02T03:04:05Z". */
const char *osh_out_time(int64_t unix_seconds, char buf[OSH_TIME_BYTES]);

/* Indented, ASCII only, so that no text can steer a terminal. Returns the exit
 * status. */
int osh_out_json(const json_t *json);

/* The same as YAML. Returns the exit status. */
int osh_out_yaml(const json_t *json);

/* The "name" of each object in an array, one a line. Returns the exit status. */
int osh_out_names(const json_t *array);

/* Fields of a reply; absent or of another type: "" and 0. */
const char *osh_json_text(const json_t *object, const char *key);
int64_t osh_json_int(const json_t *object, const char *key);
/* The texts of an array, with commas; cut between two when there is no room. */
void osh_json_join(const json_t *array, char *buf, size_t size);

#endif
