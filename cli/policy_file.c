#include "policy_file.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "cli.h"
#include "openshell/limits.h"
#include "out.h"
#include "policy/policy.h"

static const char *display_name(const char *path)
{
	return strcmp(path, "-") == 0 ? "<stdin>" : path;
}

/* The length of the UTF-8 character at p (RFC 3629), 0 when there is none. NUL
 * counts as none: it has no place in a text file. */
static size_t character_length(const unsigned char *p, size_t left)
{
	static const struct {
		unsigned char first, last, second_first, second_last;
		size_t len;
	} forms[] = {
		{ 0x01, 0x7f, 0, 0, 1 },       { 0xc2, 0xdf, 0x80, 0xbf, 2 },
		{ 0xe0, 0xe0, 0xa0, 0xbf, 3 }, { 0xe1, 0xec, 0x80, 0xbf, 3 },
		{ 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 },
		{ 0xf0, 0xf0, 0x90, 0xbf, 4 }, { 0xf1, 0xf3, 0x80, 0xbf, 4 },
		{ 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};

	for (size_t i = 0; i < OSH_COUNT_OF(forms); i++) {
		if (p[0] < forms[i].first || p[0] > forms[i].last)
			continue;
		if (forms[i].len > left)
			return 0;
		if (forms[i].len > 1 &&
		    (p[1] < forms[i].second_first || p[1] > forms[i].second_last))
			return 0;
		for (size_t k = 2; k < forms[i].len; k++) {
			if ((p[k] & 0xc0) != 0x80)
				return 0;
		}
		return forms[i].len;
	}
	return 0;
}

/* JSON carries UTF-8 only, so this cannot be left to the agent's parser. */
static int check_text(const struct osh_policy_file *file)
{
	const unsigned char *p = (const unsigned char *)file->text;
	uint32_t line = 1, column = 1;
	size_t len;

	for (size_t i = 0; i < file->len; i += len, column++) {
		len = character_length(p + i, file->len - i);
		if (!len) {
			fprintf(stderr, "%s:%u:%u: byte 0x%02x is not UTF-8 text\n",
				display_name(file->path), line, column, p[i]);
			return OSH_EXIT_FAILED;
		}
		if (p[i] == '\n') {
			line++;
			column = 0;
		}
	}
	return OSH_EXIT_OK;
}

int osh_policy_file_load(const char *path, struct osh_policy_file *ret_file)
{
	struct osh_policy_file file = { .path = path };
	int r;

	*ret_file = file;
	if (strcmp(path, "-") == 0)
		r = osh_read_fd(STDIN_FILENO, OSH_POLICY_BYTES_MAX, &file.text, &file.len);
	else
		r = osh_read_file(path, OSH_POLICY_BYTES_MAX, &file.text, &file.len);
	if (r == -EFBIG) {
		osh_cli_error("policy %s is larger than %u bytes, the most a policy may have",
			      display_name(path), OSH_POLICY_BYTES_MAX);
		return OSH_EXIT_FAILED;
	}
	if (r < 0) {
		osh_cli_error("cannot read policy %s: %s", display_name(path),
			      r == -EINVAL ? "not a regular file" : strerror(-r));
		return OSH_EXIT_FAILED;
	}
	*ret_file = file;
	osh_sha256_hex(file.text, file.len, ret_file->sha256);
	return check_text(ret_file);
}

void osh_policy_file_done(struct osh_policy_file *file)
{
	free(file->text);
	*file = (struct osh_policy_file){ 0 };
}

json_t *osh_policy_file_attach(const struct osh_policy_file *file, json_t *parameters)
{
	if (!parameters)
		return NULL;
	if (json_object_set_new(parameters, "policy", json_stringn(file->text, file->len)) < 0 ||
	    json_object_set_new(parameters, "policy_sha256", json_string(file->sha256)) < 0) {
		json_decref(parameters);
		return NULL;
	}
	return parameters;
}

/* About the file as a whole, or (a warning without a line) about the host. */
static void print_plain(const char *path, const json_t *diagnostic, bool is_warning)
{
	const char *message = osh_json_text(diagnostic, "message");

	if (is_warning)
		osh_cli_note("warning: %s", message);
	else
		osh_cli_error("%s: %s", path ? display_name(path) : "policy", message);
}

static void print_located(const char *path, const json_t *diagnostic, bool is_warning)
{
	struct osh_diag diag = {
		.level = is_warning ? OSH_DIAG_WARNING : OSH_DIAG_ERROR,
		.line = (uint32_t)osh_json_int(diagnostic, "line"),
		.column = (uint32_t)osh_json_int(diagnostic, "column"),
	};
	char line[2048];

	snprintf(diag.message, sizeof(diag.message), "%s", osh_json_text(diagnostic, "message"));
	osh_diag_format(&diag, display_name(path), line, sizeof(line));
	fprintf(stderr, "%s\n", line);
}

void osh_policy_file_report(const char *path, const json_t *diagnostics)
{
	json_t *diagnostic;
	size_t i;

	json_array_foreach(diagnostics, i, diagnostic) {
		bool is_warning = strcmp(osh_json_text(diagnostic, "level"), "warning") == 0;

		if (path && osh_json_int(diagnostic, "line") > 0)
			print_located(path, diagnostic, is_warning);
		else
			print_plain(path, diagnostic, is_warning);
	}
}
