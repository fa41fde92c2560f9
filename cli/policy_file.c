#include "policy_file.h"

#include <errno.h>
#include <nettle/base16.h>
#include <nettle/sha2.h>
#include <stdint.h>
#include <stdio.h>
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

static void digest(const char *text, size_t len, char ret_hex[static OSH_SHA256_HEX_BYTES])
{
	uint8_t bytes[SHA256_DIGEST_SIZE];
	struct sha256_ctx context;

	sha256_init(&context);
	sha256_update(&context, len, (const uint8_t *)text);
	sha256_digest(&context, sizeof(bytes), bytes);
	base16_encode_update(ret_hex, sizeof(bytes), bytes);
	ret_hex[OSH_SHA256_HEX_BYTES - 1] = '\0';
}

int osh_policy_file_load(const char *path, struct osh_policy_file *ret_file)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int r;

	*ret_file = (struct osh_policy_file){ .path = path, .fd = -1 };
	if (strcmp(path, "-") == 0)
		r = osh_read_fd(STDIN_FILENO, OSH_POLICY_BYTES_MAX, &text, &len);
	else
		r = osh_read_file(path, OSH_POLICY_BYTES_MAX, &text, &len);
	if (r == 0)
		r = ret_file->fd = osh_memfd_sealed("openshell-policy", text, len);
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
	digest(text, len, ret_file->sha256);
	return OSH_EXIT_OK;
}

void osh_policy_file_done(struct osh_policy_file *file)
{
	file->fd = osh_close(file->fd);
}

json_t *osh_policy_file_describe(const struct osh_policy_file *file, json_t *parameters)
{
	if (parameters &&
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
