/* `openshell` as a user calls it, against an agent of our own (test_cli_fake.h):
 * arguments, exit statuses, output, programs run inside, terminals. */
#include "test_cli_fake.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <ftw.h>
#include <limits.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <utmp.h>

#define DEADLINE_MS 20000
#define OUTPUT_BYTES (256u << 10)

static char dir[64];
static char program[PATH_MAX];
static pid_t agent;

struct result {
	int status; /* exit status, 128 + signal */
	char out[OUTPUT_BYTES], err[OUTPUT_BYTES];
};
static struct result result;

/* ---- The world of one test -------------------------------------------------------------- */

static void run_agent(void)
{
	struct fake fake;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (fake_open(&fake, dir) < 0)
		_exit(1);
	fake_fill(&fake);
	for (;;)
		fake_step(&fake, -1);
}

static void start_agent(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/openshell.sock", dir);
	agent = fork();
	if (agent == 0)
		run_agent();
	for (int i = 0; access(path, F_OK) < 0; i++) {
		cr_assert_lt(i, DEADLINE_MS, "the fake agent does not start");
		poll(NULL, 0, 1);
	}
	setenv("OPENSHELL_SOCKET", path, 1);
}

static void stop_agent(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/openshell.sock", dir);
	kill(agent, SIGKILL);
	waitpid(agent, NULL, 0);
	unlink(path);
}

static void set_up(void)
{
	const char *build = getenv("OSH_BUILD_DIR");

	snprintf(program, sizeof(program), "%s/openshell", build ? build : "build");
	cr_assert_eq(access(program, X_OK), 0, "%s is missing: run make first", program);
	snprintf(dir, sizeof(dir), "/tmp/openshell-cli.XXXXXX");
	cr_assert(mkdtemp(dir));
	setenv("LC_ALL", "C.UTF-8", 1);
	start_agent();
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st, (void)flag, (void)ftw;
	return remove(path);
}

static void tear_down(void)
{
	stop_agent();
	nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* ---- Running it -------------------------------------------------------------------------- */

static void read_all(const char *path, char *text)
{
	FILE *file = fopen(path, "re");
	size_t len = file ? fread(text, 1, OUTPUT_BYTES - 1, file) : 0;

	text[len] = '\0';
	if (file)
		fclose(file);
}

static int wait_status(pid_t pid)
{
	int status = 0;

	for (int i = 0; waitpid(pid, &status, WNOHANG) == 0; i++) {
		if (i == DEADLINE_MS) {
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			cr_assert_fail("openshell does not end");
		}
		poll(NULL, 0, 1);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static pid_t spawn(char *const *argv, const char *input)
{
	char path[128];
	pid_t pid = fork();

	if (pid)
		return pid;
	snprintf(path, sizeof(path), "%s/in", dir);
	if (input) {
		FILE *file = fopen(path, "we");

		fputs(input, file);
		fclose(file);
	}
	if (!freopen(input ? path : "/dev/null", "r", stdin))
		_exit(126);
	snprintf(path, sizeof(path), "%s/out", dir);
	if (!freopen(path, "w", stdout))
		_exit(126);
	snprintf(path, sizeof(path), "%s/err", dir);
	if (!freopen(path, "w", stderr))
		_exit(126);
	execv(program, argv);
	_exit(127);
}

static void collect(pid_t pid)
{
	char path[128];

	result.status = wait_status(pid);
	snprintf(path, sizeof(path), "%s/out", dir);
	read_all(path, result.out);
	snprintf(path, sizeof(path), "%s/err", dir);
	read_all(path, result.err);
}

/* Words up to NULL. */
static void run_with(const char *input, ...)
{
	char *argv[32] = { program };
	va_list words;

	va_start(words, input);
	for (int i = 1; i < 31 && (argv[i] = va_arg(words, char *)); i++)
		;
	va_end(words);
	collect(spawn(argv, input));
}

#define run(...) run_with(NULL, __VA_ARGS__, NULL)
#define run_input(...) run_with(__VA_ARGS__, NULL)

static void expect(int status, const char *out, const char *err)
{
	cr_expect_eq(result.status, status, "status %d, not %d; stderr: %s", result.status, status,
		     result.err);
	if (out)
		cr_expect(strstr(result.out, out), "no '%s' in: %s", out, result.out);
	if (err)
		cr_expect(strstr(result.err, err), "no '%s' in: %s", err, result.err);
}

static int count_lines(const char *text)
{
	int lines = 0;

	for (; *text; text++)
		lines += *text == '\n';
	return lines;
}

static char calls_text[OUTPUT_BYTES];

static const char *calls(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/calls", dir);
	read_all(path, calls_text);
	return calls_text;
}

static void wait_call(const char *text)
{
	for (int i = 0; !strstr(calls(), text); i++) {
		cr_assert_lt(i, DEADLINE_MS, "no '%s' in: %s", text, calls_text);
		poll(NULL, 0, 1);
	}
}

TestSuite(cli, .init = set_up, .fini = tear_down, .timeout = 120);

/* ---- Arguments --------------------------------------------------------------------------- */

Test(cli, usage_errors)
{
	static const char *const cases[][6] = {
		{ "no command given", NULL },
		{ "unknown command 'frob'", "frob", NULL },
		{ "unknown command 'sandbox frob'", "sandbox", "frob", NULL },
		{ "'sandbox' needs", "sandbox", NULL },
		{ "unknown option '--frob'", "--frob", NULL },
		{ "'--socket' needs a value", "--socket", NULL },
		{ "'--socket=' needs a value", "--socket=", NULL },
		{ "unknown option '--frob'", "sandbox", "create", "--frob", NULL },
		{ "unknown option '--nam'", "sandbox", "create", "--nam", "x", NULL },
		{ "unknown option '-x'", "sandbox", "list", "-x", NULL },
		{ "'--name' needs a value", "sandbox", "create", "--name", NULL },
		{ "'--name' needs a value", "sandbox", "create", "--name", "--no-keep", NULL },
		{ "--no-keep takes no value", "sandbox", "create", "--no-keep=yes", NULL },
		{ "--name is given twice", "sandbox", "create", "--name=a", "--name=b", NULL },
		{ "unexpected argument 'x'", "sandbox", "create", "x", NULL },
		{ "no command given behind --", "sandbox", "create", "--", NULL },
		{ "--no-keep without a terminal", "sandbox", "create", "--no-keep", NULL },
		{ "--env needs KEY=VALUE", "sandbox", "create", "--env", "A", NULL },
		{ "--tty and --no-tty", "sandbox", "create", "--tty", "--no-tty", NULL },
		{ "NAME is missing", "sandbox", "get", NULL },
		{ "unexpected argument 'b'", "sandbox", "get", "a", "b", NULL },
		{ "unexpected argument '--'", "sandbox", "get", "a", "--", NULL },
		{ "no command given", "sandbox", "exec", "demo", NULL },
		{ "unexpected argument 'true'", "sandbox", "exec", "demo", "true", NULL },
		{ "NAME is missing", "sandbox", "exec", "--", "true", NULL },
		{ "connect opens a shell", "sandbox", "connect", "demo", "--", NULL },
		{ "NAME is missing", "sandbox", "delete", NULL },
		{ "unknown output format 'xml'", "sandbox", "list", "-o", "xml", NULL },
		{ "unknown output format 'name'", "status", "-oname", NULL },
		{ "no policy given", "policy", "set", "demo", NULL },
		{ "--timeout needs --wait", "policy", "set", "demo", "--policy=x", "--timeout=3" },
		{ "--rev needs a number", "policy", "get", "demo", "--rev", "x" },
		{ "--type TYPE is missing", "provider", "create", "--name", "x", NULL },
		{ "--from-existing is missing", "provider", "create", "--name=x", "--type=github",
		  NULL },
		{ "--since needs", "logs", "demo", "--since", "5", NULL },
		{ "--since needs", "logs", "demo", "--since", "m", NULL },
		{ "unexpected argument 'x'", "term", "x", NULL },
	};

	for (size_t i = 0; i < OSH_COUNT_OF(cases); i++) {
		run(cases[i][1], cases[i][1] ? cases[i][2] : NULL, cases[i][3], cases[i][4],
		    cases[i][5]);
		expect(2, NULL, cases[i][0]);
		cr_expect(strstr(result.err, "usage: openshell"), "no usage in: %s", result.err);
		cr_expect_str_eq(result.out, "");
	}
	/* Nothing was asked of the agent by any of them. */
	cr_expect_str_eq(calls(), "");
}

Test(cli, help_and_version)
{
	run("--help");
	expect(0, "sandbox create", NULL);
	run("--version");
	expect(0, "openshell 0", NULL);
	run("sandbox", "--help");
	expect(0, "sandbox exec", NULL);
	run("sandbox", "create", "--no-keep", "--help");
	expect(0, "--provider NAME", NULL);
	cr_expect_str_eq(calls(), "");
}

/* The words of every command and option are in the manual page and the completion. */
Test(cli, documented)
{
	static char page[OUTPUT_BYTES], completion[OUTPUT_BYTES], plain[OUTPUT_BYTES],
		help[OUTPUT_BYTES];
	size_t used = 0;
	int commands = 0, options = 0;

	read_all("share/man/openshell.1", page);
	read_all("share/bash-completion/openshell", completion);
	for (const char *p = page; *p; p++) {
		if (*p != '\\')
			plain[used++] = *p;
	}
	run("--help");
	memcpy(help, result.out, sizeof(help));
	for (char *line = help, *end; (end = strchr(line, '\n')); line = end + 1) {
		char group[32] = "", verb[32] = "";
		char *column;

		*end = '\0';
		if (strncmp(line, "  ", 2) != 0 || !islower((unsigned char)line[2]))
			continue;
		column = strstr(line + 2, "  ");
		if (column)
			*column = '\0';
		cr_assert_geq(sscanf(line, " %31s %31s", group, verb), 1);
		commands++;
		cr_expect(strstr(plain, line + 2), "openshell(1) lacks the command '%s'", line + 2);
		cr_expect(strstr(completion, group) && strstr(completion, verb),
			  "completion lacks '%s'", line + 2);
		if (verb[0])
			run(group, verb, "--help");
		else
			run(group, "--help");
		for (const char *p = result.out; (p = strstr(p, "--")); p += 2) {
			char name[32] = "";

			if (sscanf(p, "--%31[a-z-]", name) != 1)
				continue;
			options++;
			cr_expect(strstr(plain, name), "openshell(1) lacks --%s of '%s'", name,
				  line + 2);
			cr_expect(strstr(completion, name), "completion lacks --%s of '%s'", name,
				  line + 2);
		}
	}
	cr_expect_geq(commands, 14);
	cr_expect_geq(options, 40);
}

Test(cli, no_agent)
{
	stop_agent();
	run("sandbox", "list");
	expect(3, NULL, "start one: sudo openshelld --run-dir /tmp/openshell-cli.");
	cr_expect_eq(count_lines(result.err), 1);
	run("--socket", "/nonexistent/x.sock", "sandbox", "create", "--", "true");
	expect(3, NULL, "no agent answers at /nonexistent/x.sock");
	start_agent();
	run("sandbox", "list");
	expect(0, "demo", NULL);
	run("sandbox", "list", "--socket", "/nonexistent/x.sock");
	expect(3, NULL, NULL);
}

/* ---- Sandboxes --------------------------------------------------------------------------- */

Test(cli, list_and_get)
{
	json_t *json;

	run("sandbox", "list");
	expect(0, "NAME   STATE    AGE  REVISION  ALLOWED  AUDITED  DENIED  PROVIDERS\n"
		  "demo   running  2m   1         12       0        3       my-github\n", NULL);
	run("sandbox", "list", "-o", "name");
	cr_expect_str_eq(result.out, "demo\nother\n");
	run("sandbox", "list", "-ojson");
	json = json_loads(result.out, 0, NULL);
	cr_expect_eq(json_array_size(json), 2);
	json_decref(json);
	run("sandbox", "get", "demo", "--output=json");
	json = json_loads(result.out, 0, NULL);
	cr_expect_str_eq(json_string_value(json_object_get(json, "name")), "demo");
	json_decref(json);
	run("sandbox", "get", "-n", "demo");
	expect(0, "providers:   my-github", NULL);
	expect(0, "mode:        enforcing", NULL);
	run("sandbox", "create", "--name", "loose", "--", "true");
	expect(0, NULL, "sandbox loose is permissive");
	run("sandbox", "get", "loose");
	expect(0, "mode:        permissive", NULL);
	run("sandbox", "get", "gone");
	expect(1, NULL, "openshell: sandbox 'gone' does not exist\n");
}

Test(cli, error_text_is_escaped)
{
	run("sandbox", "get", "a\x1b]0;x\x07");
	expect(1, NULL, "a\\x1b]0;x\\x07");
	cr_expect_null(strchr(result.err, '\x1b'));
	run("sandbox", "get", "\xff");
	expect(1, NULL, "not UTF-8");
	run("sandbox", "get", "caf\xc3\xa9");
	expect(1, NULL, "'caf\xc3\xa9' does not exist");
}

Test(cli, exec_passes_everything_through)
{
	run_input("typed\n", "sandbox", "exec", "demo", "--", "sh", "-c",
		  "cat; echo oops >&2; exit 7");
	expect(7, "typed\n", "oops\n");
	run("sandbox", "exec", "-n", "demo", "--env", "A=b c", "--", "sh", "-c", "echo $A");
	expect(0, "b c\n", NULL);
	run("sandbox", "exec", "demo", "--", "sh", "-c", "kill -TERM $$");
	expect(143, NULL, NULL);
	run("sandbox", "exec", "demo", "--", "no-such-program");
	expect(1, NULL, "no such command: no-such-program");
	cr_expect_eq(count_lines(result.err), 1);
	run("sandbox", "exec", "demo", "--", "echo", "--name", "x");
	expect(0, "--name x\n", NULL);
	run("sandbox", "exec", "gone", "--", "true");
	expect(1, NULL, "does not exist");
}

Test(cli, exec_that_is_killed_hangs_up)
{
	pid_t pid = spawn((char *[]){ program, (char *)"sandbox", (char *)"exec", (char *)"demo",
				      (char *)"--", (char *)"cat", NULL },
			  NULL);

	wait_call("SandboxExec");
	kill(pid, SIGTERM);
	cr_expect_eq(wait_status(pid), 128 + SIGTERM);
}

Test(cli, create_says_the_name_where_it_does_not_disturb)
{
	run("sandbox", "create", "--name", "fresh");
	expect(0, NULL, "warning: landlock: /nonexistent is left out");
	cr_expect_str_eq(result.out, "fresh\n");
	run("sandbox", "create", "--", "echo", "hello");
	expect(0, NULL, "sandbox calm-otter created");
	cr_expect_str_eq(result.out, "hello\n");
	run("sandbox", "get", "calm-otter");
	expect(0, NULL, NULL);
	run("sandbox", "create", "--name", "taken");
	expect(1, NULL, "exists already");
	cr_expect_str_eq(result.out, "");
}

Test(cli, create_sends_what_was_asked)
{
	run("sandbox", "create", "--name", "a", "--provider", "p", "--provider=q", "--env", "A=1",
	    "--env", "B=2", "--label", "tier=1", "--cpu", "1.5", "--memory", "2G", "--pids", "64",
	    "--workdir", "/tmp");
	expect(0, NULL, NULL);
	cr_expect(strstr(calls(),
			 "SandboxCreate {\"env\":[\"A=1\",\"B=2\"],\"keep\":true,"
			 "\"labels\":{\"tier\":\"1\"},\"limits\":{\"cpu_milli\":1500,"
			 "\"memory\":2147483648,\"pids\":64},\"name\":\"a\","
			 "\"providers\":[\"p\",\"q\"],\"workdir\":\"/tmp\"}"),
		  "%s", calls_text);
	run_input("version: 1\n", "sandbox", "create", "--name", "b", "--policy", "-");
	expect(0, NULL, NULL);
	cr_expect(strstr(calls(),
			 "\"policy_sha256\":"
			 "\"09bfcc6a14b83e2192b8673677725c84883ee9cd0c70e45c9ec09daa8f2b2847\""),
		  "%s", calls_text);
}

Test(cli, no_keep_deletes)
{
	run("sandbox", "create", "--name", "brief", "--no-keep", "--", "sh", "-c", "exit 5");
	expect(5, NULL, NULL);
	cr_expect(strstr(calls(), "SandboxDelete {\"name\":\"brief\"}"));
	run("sandbox", "get", "brief");
	expect(1, NULL, NULL);
	/* Its twin stays. */
	run("sandbox", "create", "--name", "lasting", "--", "sh", "-c", "exit 5");
	expect(5, NULL, NULL);
	run("sandbox", "get", "lasting");
	expect(0, NULL, NULL);
}

Test(cli, no_keep_ends_with_the_connection)
{
	pid_t pid = spawn((char *[]){ program, (char *)"sandbox", (char *)"create",
				      (char *)"--name", (char *)"brief", (char *)"--no-keep",
				      (char *)"--", (char *)"sleep", (char *)"60", NULL },
			  NULL);

	wait_call("SandboxExec");
	kill(pid, SIGKILL);
	wait_status(pid);
	wait_call("dropped brief");
}

Test(cli, command_that_does_not_exist_leaves_no_sandbox)
{
	run("sandbox", "create", "--name", "hollow", "--", "no-such-program");
	expect(1, NULL, "no such command");
	run("sandbox", "get", "hollow");
	expect(1, NULL, NULL);
}

Test(cli, delete_several)
{
	run("sandbox", "create", "--name", "a");
	run("sandbox", "delete", "a", "gone", "other");
	expect(1, "sandbox a deleted\nsandbox other deleted\n", "'gone' does not exist");
	run("sandbox", "list", "-o", "name");
	cr_expect_str_eq(result.out, "demo\n");
}

/* ---- Policies ---------------------------------------------------------------------------- */

static const char *write_policy(const char *text, size_t len)
{
	static char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/p.yaml", dir);
	file = fopen(path, "we");
	fwrite(text, 1, len, file);
	fclose(file);
	return path;
}

static const char *policy(const char *text)
{
	return write_policy(text, strlen(text));
}

Test(cli, policy_set)
{
	char want[256];

	run("policy", "set", "demo", "--policy", policy("version: 1\n"), "--wait");
	expect(0, "policy revision 2 of sandbox demo is enforced", NULL);
	run("policy", "set", "demo", "--policy", policy("version: 1\n"), "-o", "json");
	expect(0, "\"revision\": 2", NULL);
	run("policy", "set", "-n", "demo", "--policy", policy("bad"), "--wait");
	snprintf(want, sizeof(want), "%s:3:5: unknown key 'bad\\x1b'\n", policy("bad"));
	expect(1, NULL, want);
	cr_expect(strstr(result.err, "the policy in force stays"));
	run("policy", "set", "demo", "--policy", policy("slow"), "--wait", "--timeout", "1");
	expect(124, NULL, "not every worker");
	cr_expect(strstr(calls(), "\"timeout_ms\":1000"));
	run("policy", "set", "gone", "--policy", policy("version: 1\n"));
	expect(1, NULL, "does not exist");
}

Test(cli, policy_set_without_an_answer_times_out)
{
	run("policy", "set", "demo", "--policy", policy("mute"), "--wait", "--timeout", "1");
	expect(124, NULL, "has not answered");
}

Test(cli, agent_that_dies_meanwhile)
{
	pid_t pid = spawn((char *[]){ program, (char *)"policy", (char *)"set", (char *)"demo",
				      (char *)"--policy", (char *)policy("mute"), NULL }, NULL);

	wait_call("PolicySet");
	stop_agent();
	collect(pid);
	expect(3, NULL, "the agent closed the connection");
	cr_expect_eq(count_lines(result.err), 1);
	start_agent();
	run("status");
	expect(0, NULL, NULL);
}

Test(cli, policy_file_that_cannot_be_sent)
{
	static char large[(1u << 20) + 1];

	memset(large, '#', sizeof(large));
	run("policy", "set", "demo", "--policy", write_policy(large, sizeof(large)));
	expect(1, NULL, "larger than 1048576 bytes");
	run("policy", "set", "demo", "--policy", "/nonexistent.yaml");
	expect(1, NULL, "cannot read policy /nonexistent.yaml: No such file");
	run("policy", "set", "demo", "--policy", dir);
	expect(1, NULL, "Is a directory");
	cr_expect_str_eq(calls(), "");
	/* One of exactly the bound is sent, byte for byte. */
	run("policy", "set", "demo", "--policy", write_policy(large, sizeof(large) - 1));
	expect(0, NULL, NULL);
	cr_expect(strstr(calls(), "PolicySet"));
}

Test(cli, policy_get)
{
	run("policy", "get", "demo");
	expect(0, NULL, NULL);
	cr_expect_str_eq(result.out, "version: 1\n# caf\xc3\xa9\n");
	run("policy", "get", "demo", "--rev", "3", "-o", "json");
	expect(0, "\"policy_hash\": \"0123\"", NULL);
	cr_expect(strstr(calls(), "\"revision\":3"));
	run("policy", "get", "gone");
	expect(1, NULL, "does not exist");
}

/* ---- Providers --------------------------------------------------------------------------- */

Test(cli, provider_secret_travels_in_a_descriptor)
{
	setenv("GITHUB_TOKEN", "ghp_canary", 1);
	run("provider", "create", "--name", "g", "--type", "github", "--from-existing");
	expect(0, "provider g created", NULL);
	cr_expect(strstr(calls(), "ProviderCreate {\"name\":\"g\",\"type\":\"github\"}"), "%s",
		  calls_text);
	cr_expect(strstr(calls(), "secret 10 ghp_canary"), "%s", calls_text);
	cr_expect_null(strstr(result.out, "canary"));
	cr_expect_null(strstr(result.err, "canary"));
	unsetenv("GITHUB_TOKEN");
	setenv("GH_TOKEN", "ghp_second", 1);
	run("provider", "create", "--name", "g", "--type", "github", "--from-existing");
	cr_expect(strstr(calls(), "secret 10 ghp_second"), "%s", calls_text);
	unsetenv("GH_TOKEN");
	run("provider", "create", "--name", "g", "--type", "github", "--from-existing");
	expect(1, NULL, "GITHUB_TOKEN or GH_TOKEN, which is not set");
	run("provider", "create", "--name", "g", "--type", "zork", "--from-existing");
	expect(1, NULL, "unknown provider type 'zork'; there are: anthropic, github");
}

/* While the agent thinks, nobody can read the secret off the CLI. */
Test(cli, provider_secret_is_wiped_from_the_environment)
{
	char path[64], text[65536];
	ssize_t len;
	pid_t pid;
	int fd;

	setenv("GITHUB_TOKEN", "ghp_canary", 1);
	setenv("GH_TOKEN", "ghp_canary2", 1);
	setenv("OSH_TEST_TWIN", "stays", 1);
	kill(agent, SIGSTOP);
	pid = spawn((char *[]){ program, (char *)"provider", (char *)"create", (char *)"--name=g",
				(char *)"--type=github", (char *)"--from-existing", NULL }, NULL);
	snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
	for (int i = 0;; i++) {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		len = read(fd, text, sizeof(text));
		osh_close(fd);
		/* It is openshell by now, and has wiped what it had. */
		if (len > 0 && memmem(text, (size_t)len, "OSH_TEST_TWIN=stays", 19) &&
		    !memmem(text, (size_t)len, "canary", 6))
			break;
		cr_assert_lt(i, DEADLINE_MS, "the secret stays in the environment");
		poll(NULL, 0, 1);
	}
	kill(agent, SIGCONT);
	collect(pid);
	expect(0, NULL, NULL);
	cr_expect(strstr(calls(), "secret 10 ghp_canary"));
}

Test(cli, provider_list_and_delete)
{
	run("provider", "list");
	expect(0, "my-github  github", NULL);
	run("provider", "list", "-o", "name");
	cr_expect_str_eq(result.out, "my-github\n");
	run("provider", "delete", "x");
	expect(1, NULL, "provider 'x' does not exist");
}

/* ---- Status, logs ------------------------------------------------------------------------ */

Test(cli, status)
{
	run("status");
	expect(0, "connect_unix hooks  no     hidden by the mount namespace", NULL);
	cr_expect(strstr(result.out, "ring buffer         yes    -"));
	run("status", "-o", "json");
	expect(0, "\"proxy_pid\": 101", NULL);
}

Test(cli, logs)
{
	run("logs", "demo");
	expect(0, "DENIED PUT https://api.github.com/repos/acme/widgets", NULL);
	cr_expect_eq(count_lines(result.out), 3, "each verdict once, those of others not: %s",
		     result.out);
	cr_expect(strstr(result.out, "/evil\\x1b\\x5d0;title\\x07/\\xe2\\x80\\xae/"));
	run("logs", "demo", "--denied");
	cr_expect_eq(count_lines(result.out), 1);
	run("logs", "-n", "demo", "--since", "5m");
	cr_expect_eq(count_lines(result.out), 2, "%s", result.out);
	run("logs", "demo", "--since", "2h");
	cr_expect_eq(count_lines(result.out), 3);
	run("logs", "demo", "--denied", "-o", "json");
	expect(0, "\"l7_decision\":\"deny\"", NULL);
	run("logs", "gone");
	expect(1, NULL, "does not exist");
}

Test(cli, logs_tail_goes_on_over_a_restart)
{
	char path[128];
	pid_t pid =
		spawn((char *[]){ program, (char *)"logs", (char *)"demo", (char *)"--tail", NULL },
		      NULL);

	snprintf(path, sizeof(path), "%s/out", dir);
	for (int i = 0; read_all(path, result.out), count_lines(result.out) < 3; i++) {
		cr_assert_lt(i, DEADLINE_MS, "%s", result.out);
		poll(NULL, 0, 1);
	}
	stop_agent();
	start_agent(); /* it records four more: three of them are demo's */
	for (int i = 0; read_all(path, result.out), count_lines(result.out) < 6; i++) {
		cr_assert_lt(i, DEADLINE_MS, "%s", result.out);
		poll(NULL, 0, 1);
	}
	cr_expect_eq(count_lines(result.out), 6);
	kill(pid, SIGINT);
	collect(pid);
	expect(128 + SIGINT, NULL, "the agent is back");
}

/* ---- On a terminal ----------------------------------------------------------------------- */

static int terminal;
static struct termios terminal_before; /* as the program found it */

static pid_t spawn_on_terminal(char *const *argv, unsigned short rows, unsigned short columns)
{
	struct winsize size = { .ws_row = rows, .ws_col = columns };
	int ours;
	pid_t pid;

	cr_assert(openpty(&terminal, &ours, NULL, NULL, &size) == 0);
	tcgetattr(terminal, &terminal_before);
	pid = fork();
	if (pid == 0) {
		close(terminal);
		login_tty(ours);
		setenv("TERM", "xterm-256color", 1);
		execv(program, argv);
		_exit(127);
	}
	close(ours);
	return pid;
}

/* Read the terminal until `text` came; the next call looks at what follows it. */
static void wait_screen(const char *text)
{
	static char screen[OUTPUT_BYTES];
	static size_t len;
	char *found;

	while (!(found = memmem(screen, len, text, strlen(text)))) {
		struct pollfd poll_fd = { .fd = terminal, .events = POLLIN };
		ssize_t n;

		cr_assert_gt(poll(&poll_fd, 1, DEADLINE_MS), 0, "no '%s' in: %.*s", text, (int)len,
			     screen);
		if (len > sizeof(screen) / 2) { /* a screen that is drawn again and again */
			memmove(screen, screen + len - 1024, 1024);
			len = 1024;
		}
		n = read(terminal, screen + len, sizeof(screen) / 2);
		cr_assert_gt(n, 0, "ended before '%s': %.*s", text, (int)len, screen);
		len += (size_t)n;
	}
	found += strlen(text);
	len -= (size_t)(found - screen);
	memmove(screen, found, len);
}

static void type(const char *keys)
{
	cr_assert_eq(write(terminal, keys, strlen(keys)), (ssize_t)strlen(keys));
}

static void drain_terminal(pid_t pid, int *ret_status)
{
	char data[4096];
	int status;

	while (read(terminal, data, sizeof(data)) > 0)
		;
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	*ret_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

Test(cli, terminal_is_passed_through)
{
	struct winsize size = { .ws_row = 31, .ws_col = 97 };
	int status;
	pid_t pid =
		spawn_on_terminal((char *[]){ program, (char *)"sandbox", (char *)"exec",
					      (char *)"demo", (char *)"--", (char *)"sh", NULL },
				  25, 81);

	type("stty size; echo term=$TERM\n");
	wait_screen("25 81");
	wait_screen("term=xterm-256color");
	ioctl(terminal, TIOCSWINSZ, &size);
	type("until [ \"$(stty size)\" = '31 97' ]; do :; done; echo re''sized\n");
	wait_screen("resized");
	/* ^C reaches the program inside, not us. */
	type("sh -c 'trap \"echo got-int; exit 3\" INT; echo rea\"\"dy; while :; do sleep 1; done'\n");
	wait_screen("ready");
	type("\x03");
	wait_screen("got-int");
	type("echo still''here; exit 9\n");
	wait_screen("stillhere");
	drain_terminal(pid, &status);
	cr_expect_eq(status, 9);
}

Test(cli, terminal_is_restored_when_killed)
{
	struct termios during, after;
	int status;
	pid_t pid = spawn_on_terminal((char *[]){ program, (char *)"sandbox", (char *)"connect",
						  (char *)"demo", NULL }, 25, 81);

	type("echo con''nected\n");
	wait_screen("connected");
	tcgetattr(terminal, &during);
	cr_expect_eq(during.c_lflag & (ICANON | ECHO | ISIG), 0);
	kill(pid, SIGTERM);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	tcgetattr(terminal, &after);
	cr_expect_eq(after.c_lflag, terminal_before.c_lflag);
	cr_expect_eq(after.c_iflag, terminal_before.c_iflag);
	cr_expect_eq(after.c_oflag, terminal_before.c_oflag);
	wait_call("hangup");
}

Test(cli, create_on_a_terminal_opens_a_shell)
{
	int status;
	pid_t pid = spawn_on_terminal((char *[]){ program, (char *)"sandbox", (char *)"create",
						  (char *)"--name", (char *)"mine", NULL }, 25, 81);

	type("tty; exit 4\n");
	wait_screen("/dev/pts/");
	wait_screen("sandbox mine keeps running; openshell sandbox connect mine");
	drain_terminal(pid, &status);
	cr_expect_eq(status, 4);
}

Test(cli, terminal_for_a_pipe_ends_with_the_input)
{
	run_input("one\ntwo\n", "sandbox", "exec", "demo", "--tty", "--", "cat");
	expect(0, "one", NULL);
	run_input("one\n", "sandbox", "exec", "demo", "--no-tty", "--", "sh", "-c",
		  "tty || exit 6");
	expect(6, "not a tty", NULL);
}

/* Whatever stays a terminal on our side: none of them goes in. */
Test(cli, no_terminal_enters_without_a_pty)
{
	static const char script[] = "for fd in 0 1 2; do test -t $fd && exit 99; done; read line;"
				     " echo \"got $line\"; echo error >&2; cat; echo eof; exit 5";
	int status;
	pid_t pid =
		spawn_on_terminal((char *[]){ program, (char *)"sandbox", (char *)"exec",
					      (char *)"demo", (char *)"--no-tty", (char *)"--",
					      (char *)"sh", (char *)"-c", (char *)script, NULL },
				  25, 81);

	type("typed\n");
	wait_screen("typed"); /* the terminal's own echo: it is not raw */
	wait_screen("got typed\r\nerror\r\n");
	type("more\n");
	wait_screen("more\r\nmore\r\n");
	type("\x04");
	wait_screen("eof");
	drain_terminal(pid, &status);
	cr_expect_eq(status, 5);
	/* Typing to a program that does not read is no harm. */
	pid = spawn_on_terminal((char *[]){ program, (char *)"sandbox", (char *)"exec",
					    (char *)"demo", (char *)"--no-tty", (char *)"--",
					    (char *)"sh", (char *)"-c",
					    (char *)"exec <&-; echo closed; head -c 200000"
						    " /dev/zero | tr '\\0' x; echo; echo done",
					    NULL },
				25, 81);
	wait_screen("closed");
	type("nobody reads this\n");
	wait_screen("xxxxxxxxx\r\ndone");
	drain_terminal(pid, &status);
	cr_expect_eq(status, 0);
}

/* ---- The dashboard ----------------------------------------------------------------------- */

static pid_t open_dashboard(unsigned short rows, unsigned short columns)
{
	return spawn_on_terminal((char *[]){ program, (char *)"term", NULL }, rows, columns);
}

Test(cli, dashboard_needs_a_terminal)
{
	run("term");
	expect(1, NULL, "needs a terminal");
}

Test(cli, dashboard_shows_and_quits)
{
	struct termios after;
	int status;
	pid_t pid = open_dashboard(40, 120);

	wait_screen("demo");
	type("d");
	wait_screen("l7_deny_reason:");
	type("q");
	drain_terminal(pid, &status);
	cr_expect_eq(status, 0);
	tcgetattr(terminal, &after);
	cr_expect_eq(after.c_lflag, terminal_before.c_lflag);
}

Test(cli, dashboard_lives_at_any_size)
{
	static const unsigned short sizes[][2] = {
		{ 5, 20 },  { 1, 1 },	{ 2, 3 },     { 3, 10 },
		{ 10, 40 }, { 24, 80 }, { 100, 400 }, { 1, 200 }
	};
	static const char *const keys[] = { "d",  "s",	"\r", "\x1b[A",	 "\x1b[6~",
					    "/x", "\r", "a",  "\x1b[5~", "" };

	for (size_t i = 0; i < OSH_COUNT_OF(sizes); i++) {
		pid_t pid = open_dashboard(sizes[i][0], sizes[i][1]);
		int status;

		wait_screen("\x1b["); /* it draws */
		for (size_t k = 0; k < OSH_COUNT_OF(sizes); k++) {
			struct winsize size = { .ws_row = sizes[k][0], .ws_col = sizes[k][1] };

			ioctl(terminal, TIOCSWINSZ, &size);
			type(keys[(i + k) % OSH_COUNT_OF(keys)]);
			type("\x1b[B");
		}
		type("\r"); /* whatever was being typed ends */
		type("q");
		drain_terminal(pid, &status);
		cr_expect_eq(status, 0, "size %dx%d: status %d", sizes[i][0], sizes[i][1], status);
		osh_close(terminal);
	}
}

Test(cli, dashboard_says_that_the_agent_is_gone)
{
	int status;
	pid_t pid = open_dashboard(24, 80);

	wait_screen("live");
	stop_agent();
	wait_screen("AGENT GONE");
	start_agent();
	wait_screen("live");
	kill(pid, SIGTERM);
	drain_terminal(pid, &status);
	cr_expect_eq(status, 128 + SIGTERM);
}
