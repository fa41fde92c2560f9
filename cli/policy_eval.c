/* `openshell policy eval`: ask a policy file about requests, without an agent. One JSON
 * object a line in, one a line out, in the same order; with `expect` it is a test. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "out.h"
#include "policy/question.h"
#include "policy_tools.h"

/* A body of 1 MiB, each byte spelled with six (\u0001), and the rest. */
#define LINE_BYTES_MAX (8u << 20)

struct values {
	const char *policy, *requests;
};

static const struct osh_option options[] = {
	{ "policy", 0, "FILE", "the policy to ask", OSH_OPTION_TEXT,
	  offsetof(struct values, policy) },
	{ "requests", 0, "FILE",
	  "the requests, one JSON object a line ('-', the default: standard input)",
	  OSH_OPTION_TEXT, offsetof(struct values, requests) },
	OSH_OPTIONS_END,
};

struct run {
	struct osh_policy policy;
	const char *file; /* of the requests, as messages name it */
	size_t line;	  /* from 1 */
	size_t rows, compared, different, malformed;
	struct osh_question question;
	struct osh_question_result result;
};

/* ---- Answers ---------------------------------------- */

/* Text that may come from a request: JSON takes no bytes that are not UTF-8. */
static json_t *json_text(struct osh_str text)
{
	char escaped[4 * OSH_PATH_TARGET_MAX];

	if (osh_str_is_utf8(text))
		return json_stringn(text.data ? text.data : "", text.len);
	osh_str_escape(text, escaped, sizeof(escaped));
	return json_string(escaped);
}

static json_t *text_or_null(struct osh_str text)
{
	return text.len ? json_text(text) : json_null();
}

static json_t *line_or_null(uint32_t line)
{
	return line ? json_integer(line) : json_null();
}

static json_t *describe_answer(const json_t *row, const struct osh_question_result *result)
{
	const struct osh_decision *decision = &result->decision;
	bool allowed = decision->effect == OSH_EFFECT_ALLOW;
	json_t *id = json_object_get(row, "id");
	json_t *answer = json_object();

	if (id)
		json_object_set(answer, "id", id);
	json_object_set_new(answer, "verdict", json_string(osh_effect_name(decision->effect)));
	json_object_set_new(answer, "policy", text_or_null(decision->policy));
	json_object_set_new(answer, "rule", line_or_null(decision->rule_line));
	json_object_set_new(answer, "reason",
			    allowed ? json_null() : text_or_null(osh_str(decision->reason)));
	json_object_set_new(answer, "path", text_or_null(result->path));
	json_object_set_new(answer, "stage",
			    allowed ? json_null()
				    : text_or_null(osh_str(osh_stage_name(decision->stage))));
	if (!allowed && decision->nearest_line)
		json_object_set_new(answer, "nearest", json_integer(decision->nearest_line));
	return answer;
}

static void print_line(json_t *answer)
{
	if (!answer || json_dumpf(answer, stdout, JSON_COMPACT | JSON_ENSURE_ASCII) < 0)
		(void)osh_cli_no_memory();
	putchar('\n');
	json_decref(answer);
}

/* ---- Comparing ---------------------------------------- */

static void say_different(struct run *run, const json_t *row, const char *what, const char *want,
			  const char *got)
{
	const struct osh_decision *decision = &run->result.decision;
	const json_t *id = json_object_get(row, "id");
	char label[128] = "";

	if (json_is_string(id))
		snprintf(label, sizeof(label), "%s: ", json_string_value(id));
	else if (json_is_integer(id))
		snprintf(label, sizeof(label), "%lld: ", (long long)json_integer_value(id));
	osh_cli_error("%s:%zu: %s%s: expected '%s', got '%s'%s%s", run->file, run->line, label,
		      what, want, got, decision->reason[0] ? ": " : "", decision->reason);
}

static bool compare_verdict(struct run *run, const json_t *row)
{
	const char *want = osh_json_text(row, "expect");
	const char *got = osh_effect_name(run->result.decision.effect);

	if (strcmp(want, got) == 0)
		return true;
	say_different(run, row, "verdict", want, got);
	return false;
}

static bool compare_policy(struct run *run, const json_t *row)
{
	const json_t *want = json_object_get(row, "matched_policy");
	struct osh_str got = run->result.decision.policy;
	char name[256];

	if (!want || osh_str_eq_c(got, json_is_null(want) ? "" : json_string_value(want)))
		return true;
	osh_str_escape(got, name, sizeof(name));
	say_different(run, row, "policy", json_is_null(want) ? "none" : json_string_value(want),
		      got.len ? name : "none");
	return false;
}

/* Only of a refusal: an allowed request has neither. */
static bool compare_refusal(struct run *run, const json_t *row)
{
	const struct osh_decision *decision = &run->result.decision;
	const char *part = osh_json_text(row, "reason_contains"),
		   *stage = osh_json_text(row, "stage");
	bool same = true;

	if (part[0] && !strstr(decision->reason, part)) {
		say_different(run, row, "reason", part, decision->reason);
		same = false;
	}
	if (stage[0] && strcmp(stage, osh_stage_name(decision->stage)) != 0) {
		say_different(run, row, "stage", stage, osh_stage_name(decision->stage));
		same = false;
	}
	return same;
}

static void compare(struct run *run, const json_t *row)
{
	bool same = compare_verdict(run, row);

	same = compare_policy(run, row) && same;
	if (run->result.decision.effect != OSH_EFFECT_ALLOW)
		same = compare_refusal(run, row) && same;
	run->compared++;
	run->different += !same;
}

/* ---- Rows ---------------------------------------- */

/* A row that cannot be read has an answer too, so that lines keep their partners. */
static void refuse_row(struct run *run, int column, const char *message)
{
	run->malformed++;
	osh_cli_error("%s:%zu:%d: %s", run->file, run->line, column, message);
	print_line(json_pack("{s:o}", "error", json_text(osh_str(message))));
}

/* What a test expects has to be well-formed, or it would pass for nothing. */
static int check_expectations(const json_t *row, struct osh_err *err)
{
	const json_t *expect = json_object_get(row, "expect");
	const json_t *policy = json_object_get(row, "matched_policy");
	const json_t *reason = json_object_get(row, "reason_contains");
	const char *word = json_string_value(expect);

	if (!expect)
		return 0;
	if (!word ||
	    (strcmp(word, "allow") != 0 && strcmp(word, "deny") != 0 && strcmp(word, "audit") != 0))
		return osh_err_set(err, EINVAL, "expect must be allow, deny or audit");
	if (policy && !json_is_string(policy) && !json_is_null(policy))
		return osh_err_set(err, EINVAL, "matched_policy must be a string or null");
	if (reason && !json_is_string(reason) && !json_is_null(reason))
		return osh_err_set(err, EINVAL, "reason_contains must be a string");
	return 0;
}

static void answer_row(struct run *run, const json_t *row)
{
	struct osh_err err = { 0 };

	if (osh_question_read(row, &run->question, &err) < 0 || check_expectations(row, &err) < 0) {
		refuse_row(run, 1, err.message);
		return;
	}
	osh_question_ask(&run->policy, &run->question, &run->result);
	print_line(describe_answer(row, &run->result));
	if (json_object_get(row, "expect"))
		compare(run, row);
}

static bool is_blank(const char *line, size_t len)
{
	return strspn(line, " \t\r\n") >= len;
}

static void take_line(struct run *run, const char *line, size_t len)
{
	json_error_t error;
	json_t *row;

	if (is_blank(line, len))
		return;
	run->rows++;
	if (len > LINE_BYTES_MAX) {
		refuse_row(run, 1, "the line is longer than 8 MiB");
		return;
	}
	row = json_loadb(line, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
	if (row)
		answer_row(run, row);
	else
		refuse_row(run, error.column > 0 ? error.column : 1, error.text);
	json_decref(row);
}

/* getline(3) with a bound. Returns the length, or -1 at the end or on a failure; of a line
 * that is too long only its beginning is kept, with one byte more than is allowed. */
static ssize_t read_line(FILE *stream, char **line, size_t *room)
{
	size_t len = 0;
	int c = EOF;

	while ((c = getc_unlocked(stream)) != EOF) {
		if (len + 1 >= *room) {
			size_t more = *room ? 2 * *room : 4096;
			char *grown = realloc(*line, more);

			if (!grown)
				return -1;
			*line = grown;
			*room = more;
		}
		if (c == '\n')
			break;
		if (len <= LINE_BYTES_MAX)
			(*line)[len++] = (char)c;
	}
	if (c == EOF && (len == 0 || ferror(stream)))
		return -1;
	(*line)[len] = '\0';
	return (ssize_t)len;
}

static int take_lines(struct run *run, FILE *stream)
{
	_cleanup_free_ char *line = NULL;
	size_t room = 0;
	ssize_t len;

	errno = 0;
	while ((len = read_line(stream, &line, &room)) >= 0) {
		run->line++;
		take_line(run, line, (size_t)len);
	}
	if (feof(stream) && !ferror(stream))
		return OSH_EXIT_OK;
	osh_cli_error("cannot read %s: %s", run->file, strerror(errno));
	return OSH_EXIT_FAILED;
}

/* ---- The command ---------------------------------------- */

static int conclude(const struct run *run, int status)
{
	if (run->compared)
		osh_cli_note("%zu of %zu rows are as expected", run->compared - run->different,
			     run->compared);
	if (run->malformed)
		osh_cli_error("%zu of %zu rows could not be read", run->malformed, run->rows);
	return status == OSH_EXIT_OK && (run->different || run->malformed) ? OSH_EXIT_FAILED
									   : status;
}

static int ask_all(struct run *run, const char *requests)
{
	bool is_stdin = !requests || strcmp(requests, "-") == 0;
	FILE *stream = is_stdin ? stdin : fopen(requests, "re");
	int status;

	run->file = is_stdin ? "<stdin>" : requests;
	if (!stream) {
		osh_cli_error("cannot read %s: %s", requests, strerror(errno));
		return OSH_EXIT_FAILED;
	}
	status = take_lines(run, stream);
	if (!is_stdin)
		(void)fclose(stream); /* it was only read */
	return conclude(run, status);
}

static int run_eval(struct osh_cli *cli, const struct osh_command *command, int argc, char **argv)
{
	_cleanup_free_ struct run *run = calloc(1, sizeof(*run));
	_cleanup_free_ void *image = NULL;
	struct osh_policy_source source;
	struct values values = { 0 };
	struct osh_args args;
	size_t len = 0;
	int status = OSH_EXIT_FAILED;

	if (!run)
		return osh_cli_no_memory();
	if (!osh_args_parse(cli, command, argc, argv, &values, &args, &status) ||
	    !osh_args_none(command, &args, &status))
		return status;
	if (!values.policy)
		return osh_cli_misuse(command, "no policy given: --policy FILE");
	if (osh_policy_source_load(values.policy, &source) < 0)
		osh_policy_source_report(&source, true);
	else if (osh_policy_compile(source.doc, NULL, &image, &len) < 0 ||
		 osh_policy_open(image, len, &run->policy) < 0)
		osh_cli_error("%s is too large to be compiled", values.policy);
	else
		status = ask_all(run, values.requests);
	osh_policy_source_done(&source);
	return status;
}

const struct osh_command osh_command_policy_eval = {
	"policy eval",
	"--policy FILE [--requests FILE]",
	"Ask a policy file about requests, without an agent",
	options,
	run_eval,
};
