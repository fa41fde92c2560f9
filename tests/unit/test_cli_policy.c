/* The policy commands as a user calls them: offline, and against an agent of our own
 * (test_cli_fake.h). */
#include "test_cli_fake.h"

#include <criterion/criterion.h>
#include <ftw.h>
#include <limits.h>
#include <stdarg.h>
#include <sys/stat.h>

#include "policy_cases.h"

#define DEADLINE_MS 20000
#define OUTPUT_BYTES (1u << 20)

static char dir[64];
static pid_t agent;
static int status;
static char out[OUTPUT_BYTES], err[OUTPUT_BYTES];

static void in_dir(const char *name, char path[static 128])
{
	snprintf(path, 128, "%s/%s", dir, name);
}

static void set_up(void)
{
	snprintf(dir, sizeof(dir), "/tmp/openshell-policy.XXXXXX");
	cr_assert(mkdtemp(dir));
	setenv("OPENSHELL_SOCKET", "/nonexistent/openshell.sock", 1);
}

static void serve(void)
{
	struct fake fake;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (fake_open(&fake, dir) < 0)
		_exit(1);
	fake_fill(&fake);
	for (;;)
		fake_step(&fake, -1);
}

static void set_up_agent(void)
{
	char path[128];

	set_up();
	in_dir("openshell.sock", path);
	agent = fork();
	if (agent == 0)
		serve();
	for (int i = 0; access(path, F_OK) < 0; i++) {
		cr_assert_lt(i, DEADLINE_MS, "the fake agent does not start");
		poll(NULL, 0, 1);
	}
	setenv("OPENSHELL_SOCKET", path, 1);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st, (void)flag, (void)ftw;
	return remove(path);
}

static void tear_down(void)
{
	if (agent > 0) {
		kill(agent, SIGKILL);
		waitpid(agent, NULL, 0);
	}
	nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* Returns its path, good until four more were written. */
static const char *write_text(const char *name, const char *text)
{
	static char paths[4][128];
	static size_t next;
	char *path = paths[next++ % OSH_COUNT_OF(paths)];
	FILE *file;

	in_dir(name, path);
	file = fopen(path, "we");
	cr_assert_not_null(file);
	fputs(text, file);
	cr_assert_eq(fclose(file), 0);
	return path;
}

static void redirect(const char *name, const char *mode, FILE *stream)
{
	char path[128];

	in_dir(name, path);
	if (!freopen(path, mode, stream))
		_exit(126);
}

static void read_back(const char *name, char *text)
{
	char path[128];
	FILE *file;
	size_t len;

	in_dir(name, path);
	file = fopen(path, "re");
	cr_assert_not_null(file);
	len = fread(text, 1, OUTPUT_BYTES - 1, file);
	text[len] = '\0';
	fclose(file);
}

/* `openshell policy WORDS...` (up to NULL), `input` on its standard input. */
static void run_policy(const char *input, ...)
{
	char program[PATH_MAX];
	char *argv[32] = { program, (char *)"policy" };
	const char *build = getenv("OSH_BUILD_DIR");
	va_list words;
	pid_t pid;
	int raw;

	snprintf(program, sizeof(program), "%s/openshell", build ? build : "build");
	va_start(words, input);
	for (int i = 2; i < 31 && (argv[i] = va_arg(words, char *)); i++)
		;
	va_end(words);
	write_text("in", input);
	pid = fork();
	if (pid == 0) {
		redirect("in", "r", stdin);
		redirect("out", "w", stdout);
		redirect("err", "w", stderr);
		execv(program, argv);
		_exit(127);
	}
	cr_assert_eq(waitpid(pid, &raw, 0), pid);
	status = WIFEXITED(raw) ? WEXITSTATUS(raw) : 128 + WTERMSIG(raw);
	read_back("out", out);
	read_back("err", err);
}

#define run(...) run_policy(__VA_ARGS__, NULL)

static void expect(int want, const char *out_part, const char *err_part)
{
	cr_expect_eq(status, want, "status %d, not %d; %s", status, want, err);
	if (out_part)
		cr_expect(strstr(out, out_part), "no '%s' in: %s", out_part, out);
	if (err_part)
		cr_expect(strstr(err, err_part), "no '%s' in: %s", err_part, err);
}

TestSuite(cli_policy, .init = set_up, .fini = tear_down, .timeout = 60);
TestSuite(cli_policy_agent, .init = set_up_agent, .fini = tear_down, .timeout = 60);

/* ---- validate ------------------------------------------------------------ */

/* Many files a call: a process for each would take the most of this test's time. */
#define BATCH 24

static char paths[BATCH][128];
static json_t *rows[BATCH];
static size_t batch, checked;
static bool want_valid;

static void check_file(json_t *row, const json_t *file)
{
	const json_t *first = json_array_get(json_object_get(file, "diagnostics"), 0);

	cr_expect_eq(json_is_true(json_object_get(file, "valid")), want_valid, "%s",
		     case_text(row, "id"));
	if (!want_valid || case_text(row, "warning_about")[0])
		cr_expect_gt(json_integer_value(json_object_get(first, "line")), 0,
			     "%s has no place", case_text(row, "id"));
	checked++;
}

static void validate_batch(void)
{
	json_t *answer, *files;

	for (size_t i = batch; i < BATCH; i++)
		paths[i][0] = '\0';
		/* The names stand in an array of arrays: those that are left over end the words. */
#define P(i) (paths[i][0] ? paths[i] : NULL)
	run("", "validate", "-o", "json", P(0), P(1), P(2), P(3), P(4), P(5), P(6), P(7), P(8),
	    P(9), P(10), P(11), P(12), P(13), P(14), P(15), P(16), P(17), P(18), P(19), P(20),
	    P(21), P(22), P(23));
	cr_expect_eq(status, want_valid ? 0 : 1, "%s", err);
	answer = json_loads(out, 0, NULL);
	files = json_object_get(answer, "files");
	cr_assert_eq(json_array_size(files), batch, "%s", out);
	for (size_t i = 0; i < batch; i++) {
		check_file(rows[i], json_array_get(files, i));
		json_decref(rows[i]);
	}
	json_decref(answer);
	batch = 0;
}

static void add_row(json_t *row)
{
	char name[32];

	snprintf(name, sizeof(name), "%zu.yaml", batch);
	snprintf(paths[batch], sizeof(paths[batch]), "%s",
		 write_text(name, case_text(row, "yaml")));
	rows[batch] = json_incref(row);
	if (++batch == BATCH)
		validate_batch();
}

static void validate_all(const char *file, bool is_valid, size_t at_least)
{
	checked = 0;
	want_valid = is_valid;
	case_each(file, add_row);
	if (batch)
		validate_batch();
	cr_expect_geq(checked, at_least);
}

Test(cli_policy, validate_the_cases)
{
	validate_all("valid.jsonl", true, 40);
	validate_all("invalid.jsonl", false, 141);
}

Test(cli_policy, validate_output)
{
	const char *path = write_text("bad.yaml", "version: 2\nmodus: x\n");

	run("", "validate", path, "-o", "json");
	expect(1, "\"valid\": false", NULL);
	cr_expect(strstr(out, "\"line\": 1") && strstr(out, "\"column\": 10"), "%s", out);
	run("", "validate", path, "--output=yaml");
	expect(1, "valid: false\n", NULL);
	run("version: 1\n", "validate", "-");
	expect(0, "<stdin>: valid", NULL);
	run("version: 1\n# \xff\n", "validate", "-");
	expect(1, "<stdin>: invalid", "<stdin>:2:3: byte 0xff");
	run("", "validate", "/nonexistent");
	expect(1, NULL, "cannot read the policy: No such file");
	run("", "validate");
	expect(2, NULL, "FILE is missing");
	run("", "validate", path, "-o", "xml");
	expect(2, NULL, "text, json or yaml");
}

/* ---- eval ---------------------------------------------------------------- */

static const char small[] =
	"version: 1\nnetwork_policies:\n  p:\n    endpoints:\n"
	"      - { host: a.test, port: 443, protocol: rest, enforcement: enforce, access: "
	"read-only }\n"
	"      - { host: '*.b.test', port: 443, protocol: rest, access: read-only }\n"
	"    binaries: [{ path: /bin/a }]\n";

#define ROW(rest) "{\"binary\":\"/bin/a\",\"host\":\"a.test\",\"port\":443" rest "}\n"

static void eval(const char *requests)
{
	char policy[128];

	snprintf(policy, sizeof(policy), "%s", write_text("policy.yaml", small));
	run(requests, "eval", "--policy", policy);
}

Test(cli_policy, eval_answers)
{
	eval(ROW(",\"method\":\"GET\",\"path\":\"/x/%2e%2e/y?q=1\"") "\n" ROW(
		",\"id\":\"two\",\"method\":\"post\",\"path\":\"/z\"") ROW(",\"ancestors\":null"));
	cr_expect_str_eq(out, "{\"verdict\":\"allow\",\"policy\":\"p\",\"rule\":5,\"reason\":null,"
			      "\"path\":\"/y\",\"stage\":null}\n"
			      "{\"id\":\"two\",\"verdict\":\"deny\",\"policy\":\"p\",\"rule\":5,"
			      "\"reason\":\"post /z not permitted by policy\","
			      "\"path\":\"/z\",\"stage\":\"rules\",\"nearest\":5}\n"
			      "{\"verdict\":\"allow\",\"policy\":\"p\",\"rule\":5,\"reason\":null,"
			      "\"path\":null,\"stage\":null}\n");
	expect(0, NULL, NULL);
	eval("{\"binary\":\"/bin/"
	     "a\",\"host\":\"x.b.test\",\"port\":443,\"method\":\"PUT\",\"path\":\"/"
	     "\",\"expect\":\"audit\"}\n");
	expect(0, "\"verdict\":\"audit\"", "1 of 1 rows are as expected");
}

Test(cli_policy, eval_compares)
{
	eval(ROW(",\"expect\":\"deny\",\"id\":\"x1\""));
	expect(1, "\"verdict\":\"allow\"", "<stdin>:1: x1: verdict: expected 'deny', got 'allow'");
	eval(ROW(",\"expect\":\"allow\",\"matched_policy\":\"q\""));
	expect(1, NULL, "policy: expected 'q', got 'p'");
	eval(ROW(",\"expect\":\"allow\",\"matched_policy\":null"));
	expect(1, NULL, "policy: expected 'none', got 'p'");
	eval(ROW(",\"expect\":\"deny\",\"method\":\"PUT\",\"path\":\"/"
		 "\",\"reason_contains\":\"blocked\""));
	expect(1, NULL, "reason: expected 'blocked'");
	eval(ROW(",\"expect\":\"deny\",\"method\":\"PUT\",\"path\":\"/\",\"reason_contains\":\"not "
		 "permitted\",\"matched_policy\":\"p\""));
	expect(0, NULL, "1 of 1 rows are as expected");
}

Test(cli_policy, eval_guards_addresses)
{
	eval("{\"binary\":\"/bin/"
	     "a\",\"host\":\"x.b.test\",\"port\":443,\"resolved\":[\"10.0.0.1\"],\"expect\":"
	     "\"deny\"}\n"
	     "{\"binary\":\"/bin/"
	     "a\",\"host\":\"x.b.test\",\"port\":443,\"resolved\":[\"93.184.216.34\",\"::ffff:10.0."
	     "0.1\"],\"expect\":\"deny\"}\n"
	     "{\"binary\":\"/bin/"
	     "a\",\"host\":\"x.b.test\",\"port\":443,\"resolved\":[\"93.184.216.34\"],\"expect\":"
	     "\"allow\"}\n");
	expect(0, "x.b.test:443 blocked: internal address", "3 of 3");
}

Test(cli_policy, eval_refuses_what_it_cannot_read)
{
	static const struct {
		const char *line, *part;
	} cases[] = {
		{ "{\n", "<stdin>:1:" },
		{ "[]\n", "must be a JSON object" },
		{ "{\"binary\":1}\n", "binary must be a string" },
		{ "{\"binary\":\"/a\",\"host\":\"h\",\"port\":0}\n", "port must be" },
		{ "{\"binary\":\"/a\",\"host\":\"h\",\"port\":\"443\"}\n", "port must be" },
		{ "{\"binary\":\"/a\",\"port\":443}\n", "host is missing" },
		{ ROW(",\"method\":\"GET\""), "belong together" },
		{ ROW(",\"ancestors\":[1]"), "ancestors must be" },
		{ ROW(",\"resolved\":[\"300.1.1.1\"]"), "is no IP address" },
		{ ROW(",\"headers\":{\"Host\":1}"), "header Host" },
		{ ROW(",\"headers\":{\"Host\":\"a\",\"host\":\"b\"}"), "given twice" },
		{ ROW(",\"expect\":\"allowed\""), "expect must be" },
		{ ROW(",\"host\":\"b\""), "duplicate" },
	};

	for (size_t i = 0; i < OSH_COUNT_OF(cases); i++) {
		eval(cases[i].line);
		expect(1, "{\"error\":", cases[i].part);
	}
	/* The others are answered all the same, each in its place. */
	eval(ROW("") "nonsense\n" ROW(""));
	expect(1, "stage\":null}\n{\"error\":", "1 of 3 rows could not be read");
	run("", "eval", "--policy", "/nonexistent");
	expect(1, NULL, "cannot read the policy");
	run("", "eval");
	expect(2, NULL, "--policy FILE");
}

/* ---- diff ---------------------------------------------------------------- */

Test(cli_policy, diff_of_files)
{
	char a[128], b[128];

	snprintf(a, sizeof(a), "%s", write_text("a.yaml", small));
	snprintf(b, sizeof(b), "%s", write_text("b.yaml", "version: 1\n"));
	run("", "diff", b, a);
	expect(0, "+ /bin/a a.test:443 GET /**\n", NULL);
	run("", "diff", a, b, "-o", "json");
	expect(0, "\"change\": \"lost\"", NULL);
	run("", "diff", a, a);
	expect(0, "", NULL);
	cr_expect_str_empty(out);
	run("", "diff", a);
	expect(2, NULL, "two policies");
	run("", "diff", a, "box@1");
	expect(3, NULL, NULL);
}

/* ---- With an agent ------------------------------------------------------- */

Test(cli_policy_agent, update_is_one_call)
{
	run("", "update", "demo", "--add-endpoint", "a.test:443", "--add-allow=a.test:443:GET:/x",
	    "--binary", "/bin/a", "--rule-name", "mine", "--dry-run");
	expect(1, NULL, "not inspected");
	run("", "update", "demo", "--add-endpoint", "a.test:443::rest:enforce",
	    "--add-allow=a.test:443:get:/x", "--binary", "/bin/a", "--rule-name", "mine",
	    "--dry-run");
	expect(0, "# caf\xc3\xa9\nnetwork_policies:\n  mine:\n", NULL);
	run("", "update", "gone", "--remove-rule", "x", "--dry-run");
	expect(1, NULL, "does not exist");
	run("", "update", "demo", "--dry-run", "--wait", "--remove-rule", "x");
	expect(2, NULL, "--dry-run");
	run("", "update", "demo");
	expect(2, NULL, "nothing to change");
	run("", "get", "demo", "--base", "--full");
	expect(2, NULL, "exclude each other");
	run("", "get", "demo", "--rev", "0");
	expect(2, NULL, "--rev needs a number");
	run("", "rollback", "demo");
	expect(2, NULL, "--rev N");
}

Test(cli_policy_agent, explain_names_what_was_tried)
{
	char id[8];

	/* Among the first verdicts of the fake is a denied PUT of curl's. */
	for (int i = 1; i < 9; i++) {
		snprintf(id, sizeof(id), "%d", i);
		run("", "explain", id);
		if (strstr(out, "DENIED") && strstr(out, "PUT"))
			break;
	}
	expect(0,
	       "openshell policy update other --add-endpoint api.github.com:443::rest:enforce "
	       "--add-allow "
	       "api.github.com:443:PUT:/repos/acme/widgets/contents/hello_world.py --binary "
	       "/usr/bin/curl "
	       "--wait\n",
	       NULL);
	run("", "explain", "99999");
	expect(1, NULL, "no verdict 99999");
	run("", "explain", "x");
	expect(2, NULL, "must be a number");
	run("", "explain");
	expect(2, NULL, "VERDICT");
}
