/* `openshell sandbox create` where no agent runs: it starts one. Needs root, because
 * only root may, and because the default socket is put into a /run of our own: a
 * mount namespace with a copy of openshell and, beside it, this program as openshelld. */
#include "test_cli_fake.h"

#include <criterion/criterion.h>
#include <limits.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define DEADLINE_MS 20000
#define HOME "/run/home" /* in the namespace: on its tmpfs */
#define OUTPUT_BYTES 8192

static char out[OUTPUT_BYTES], err[OUTPUT_BYTES];

/* ---- As openshelld ----------------------------------------------------------------------- */

static void write_text(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	if (file) {
		fputs(text, file);
		fclose(file);
	}
}

static void say_ready(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", getenv("NOTIFY_SOCKET"));
	if (sendto(fd, "READY=1", 7, 0, (struct sockaddr *)&address, sizeof(address)) < 0)
		perror("sendto");
	osh_close(fd);
}

/* What a daemon has to be free of: the caller's session, descriptors, environment. */
static void describe_self(void)
{
	char text[512], fds[128] = "";
	extern char **environ;
	int variables = 0;

	for (int fd = 3; fd < 64; fd++) {
		if (fcntl(fd, F_GETFD) >= 0)
			snprintf(fds + strlen(fds), sizeof(fds) - strlen(fds), " %d", fd);
	}
	while (environ[variables])
		variables++;
	snprintf(text, sizeof(text), "pid %d leader %d variables %d token %d fds%s\n",
		 (int)getpid(), getsid(0) == getpid(), variables, getenv("GITHUB_TOKEN") != NULL,
		 fds);
	write_text(HOME "/daemon", text);
}

__attribute__((constructor)) static void be_openshelld(void)
{
	struct fake fake;

	if (strcmp(program_invocation_short_name, "openshelld") != 0)
		return;
	describe_self();
	if (access(HOME "/fail", F_OK) == 0) {
		fputs("starting\nopenshelld: no BTF: mount it\x1b\n", stderr);
		_exit(1);
	}
	mkdir("/run/openshell", 0755);
	if (fake_open(&fake, "/run/openshell") < 0)
		_exit(1);
	say_ready();
	for (;;)
		fake_step(&fake, -1);
}

/* ---- As test ----------------------------------------------------------------------------- */

static void copy_program(const char *from, const char *to)
{
	_cleanup_free_ char *data = NULL;
	size_t len = 0;

	cr_assert_eq(osh_read_file(from, 256u << 20, &data, &len), 0, "cannot read %s", from);
	cr_assert_eq(osh_replace_file(to, data, len, 0755), 0);
}

static void read_all(const char *path, char text[OUTPUT_BYTES])
{
	FILE *file = fopen(path, "re");
	size_t len = file ? fread(text, 1, OUTPUT_BYTES - 1, file) : 0;

	text[len] = '\0';
	if (file)
		fclose(file);
}

static void set_up(void)
{
	const char *build = getenv("OSH_BUILD_DIR");
	char path[PATH_MAX];

	if (geteuid() != 0)
		cr_skip_test("needs root: only root may start an agent, and mount a /run for it");
	snprintf(path, sizeof(path), "%s/openshell", build ? build : "build");
	unsetenv("OPENSHELL_SOCKET");
	cr_assert_eq(unshare(CLONE_NEWNS), 0);
	cr_assert_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	cr_assert_eq(mount("tmpfs", "/run", "tmpfs", 0, NULL), 0);
	cr_assert_eq(mount("tmpfs", "/var/log", "tmpfs", 0, NULL), 0);
	cr_assert_eq(mkdir(HOME, 0755), 0);
	copy_program(path, HOME "/openshell");
	copy_program("/proc/self/exe", HOME "/openshelld");
}

static int run_as(uid_t uid, char *const *argv)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		if (!freopen("/dev/null", "r", stdin) || !freopen("/run/out", "w", stdout) ||
		    !freopen("/run/err", "w", stderr))
			_exit(126);
		fcntl(dup(0), F_SETFD, 0); /* something to leak */
		if (setresuid(uid, uid, uid) < 0)
			_exit(126);
		execv(HOME "/openshell", argv);
		_exit(127);
	}
	for (int i = 0; waitpid(pid, &status, WNOHANG) == 0; i++) {
		if (i == DEADLINE_MS)
			kill(pid, SIGKILL);
		poll(NULL, 0, 1);
	}
	read_all("/run/out", out);
	read_all("/run/err", err);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int run(char *const *argv)
{
	return run_as(0, argv);
}

static char *const create[] = { (char *)"openshell", (char *)"sandbox", (char *)"create",
				(char *)"--name",    (char *)"x",	(char *)"--",
				(char *)"echo",	     (char *)"hello",	NULL };

static pid_t daemon_pid(void)
{
	char text[OUTPUT_BYTES];
	int pid = 0;

	read_all(HOME "/daemon", text);
	cr_assert_eq(sscanf(text, "pid %d", &pid), 1, "no agent was started: %s", err);
	return pid;
}

TestSuite(cli_start, .init = set_up, .timeout = 120);

Test(cli_start, sandbox_create_starts_an_agent)
{
	char text[OUTPUT_BYTES];
	pid_t pid;
	int status;

	setenv("GITHUB_TOKEN", "ghp_canary", 1);
	status = run(create);
	cr_expect_eq(status, 0, "%s", err);
	pid = daemon_pid();
	cr_expect_str_eq(out, "hello\n");
	cr_expect(strstr(err, "no agent was running: started " HOME "/openshelld (pid "), "%s",
		  err);
	cr_expect(strstr(err, "log /var/log/openshelld.log)"), "%s", err);
	read_all(HOME "/daemon", text);
	cr_expect(strstr(text, " leader 1 variables 2 token 0 fds\n"), "%s", text);
	/* It outlived that command; the next one finds it. */
	cr_expect_eq(run(create), 0, "%s", err);
	cr_expect_eq(daemon_pid(), pid);
	cr_expect_null(strstr(err, "started"));
	cr_expect_eq(access("/run/openshell-start", F_OK), -1);
	kill(pid, SIGKILL);
}

Test(cli_start, an_agent_that_cannot_start_says_why)
{
	write_text(HOME "/fail", "");
	cr_expect_eq(run(create), 3);
	cr_expect(
		strstr(err,
		       "openshelld ended at once; see /var/log/openshelld.log: openshelld: no BTF:"
		       " mount it\\x1b\n"),
		"%s", err);
	cr_expect_str_eq(out, "");
	/* Its twin. */
	unlink(HOME "/fail");
	cr_expect_eq(run(create), 0, "%s", err);
	kill(daemon_pid(), SIGKILL);
}

Test(cli_start, only_for_create_and_the_default_socket)
{
	static char *const list[] = { (char *)"openshell", (char *)"sandbox", (char *)"list",
				      NULL };
	static char *const elsewhere[] = { (char *)"openshell",	  (char *)"--socket",
					   (char *)"/run/x.sock", (char *)"sandbox",
					   (char *)"create",	  NULL };

	cr_expect_eq(run(list), 3);
	cr_expect(strstr(err, "start one: sudo systemctl start openshelld"), "%s", err);
	cr_expect_eq(run(elsewhere), 3);
	cr_expect_eq(access(HOME "/daemon", F_OK), -1);
	cr_expect_eq(run(create), 0, "%s", err);
	kill(daemon_pid(), SIGKILL);
}

Test(cli_start, only_for_root)
{
	cr_expect_eq(run_as(65534, create), 3);
	cr_expect(strstr(err, "start one: sudo"), "%s", err);
	cr_expect_eq(access(HOME "/daemon", F_OK), -1);
	cr_expect_eq(run_as(0, create), 0, "%s", err);
	kill(daemon_pid(), SIGKILL);
}
