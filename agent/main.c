/* openshelld: the agent, and (as `openshelld proxy`, started by the agent itself) its
 * data plane. Wiring only. */
#include <errno.h>
#include <getopt.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/knockout.h"
#include "base/log.h"
#include "control/agent.h"
#include "control/config.h"
#include "proxy/supervisor.h"
#include "proxy/tls.h"

#define EXIT_USAGE 2
#define EXIT_NOT_FIRST 3 /* --takeover: another was */
#define EXIT_LEFT 4      /* --sweep: attached cgroups in which processes run */
#define FILES_MAX 65536 /* about 20 descriptors per sandbox, 40 per attached cgroup */

static const char usage[] =
	"usage: openshelld [--config FILE] [--state-dir DIR] [--run-dir DIR]\n"
	"                  [--upstream-ca FILE] [--log-level error|warning|info|debug]\n"
	"                  [--takeover | --sweep]\n"
	"       openshelld --version | --help\n"
	"\n"
	"  --config FILE       configuration (default " OSH_CONFIG_FILE ", if it exists)\n"
	"  --state-dir DIR     what outlives a restart (default /var/lib/openshell)\n"
	"  --run-dir DIR       the control socket is in it (default /run/openshell)\n"
	"  --upstream-ca FILE  certificates trusted upstream beside the system's, PEM\n"
	"  --log-level LEVEL   what is told on standard error (default info)\n"
	"  --takeover          end the agent that works there, and take its sandboxes over\n"
	"  --sweep             run no agent: end and remove what an agent that is gone left\n"
	"                      running; files of kept sandboxes stay, as of stopped ones,\n"
	"                      and attached cgroups in which processes run keep their rules\n";

/* Options override the file, so they wait until it was read. */
struct arguments {
	const char *config;
	const char *values[4];
	bool take_over, sweep;
};

static const char *const keys[] = { "state_dir", "run_dir", "upstream_ca", "log_level" };

static const struct option options[] = {
	{ "state-dir", required_argument, NULL, 0 },
	{ "run-dir", required_argument, NULL, 1 },
	{ "upstream-ca", required_argument, NULL, 2 },
	{ "log-level", required_argument, NULL, 3 },
	{ "config", required_argument, NULL, 'c' },
	{ "takeover", no_argument, NULL, 't' },
	{ "sweep", no_argument, NULL, 's' },
	{ "version", no_argument, NULL, 'v' },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

/* Returns -1 to go on, or the exit status. */
static int parse_arguments(int argc, char **argv, struct arguments *arguments)
{
	int option;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			arguments->config = optarg;
			break;
		case 't':
			arguments->take_over = true;
			break;
		case 's':
			arguments->sweep = true;
			break;
		case 'v':
			puts("openshelld " OSH_VERSION);
			return EXIT_SUCCESS;
		case 'h':
			fputs(usage, stdout);
			return EXIT_SUCCESS;
		case '?':
			fputs("Try 'openshelld --help'.\n", stderr); /* getopt named the argument */
			return EXIT_USAGE;
		default:
			arguments->values[option] = optarg;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "openshelld: unexpected argument '%s'\nTry 'openshelld --help'.\n",
			argv[optind]);
		return EXIT_USAGE;
	}
	if (arguments->take_over && arguments->sweep) {
		fputs("openshelld: --takeover and --sweep exclude each other\nTry 'openshelld --help'.\n", stderr);
		return EXIT_USAGE;
	}
	return -1;
}

/* Paths on a command line are relative to where it was typed. */
static int set_value(struct osh_config *config, const char *key, const char *value,
		     struct osh_err *err)
{
	char *path = NULL, *here;
	int r;

	if (strcmp(key, "log_level") == 0 || value[0] == '/' || value[0] == '\0')
		return osh_config_set(config, key, value, err);
	here = getcwd(NULL, 0);
	if (!here || asprintf(&path, "%s/%s", here, value) < 0)
		path = NULL;
	free(here);
	if (!path)
		return osh_err_sys(err, errno, "%s", value);
	r = osh_config_set(config, key, path, err);
	free(path);
	return r;
}

/* Returns -1 to go on, or the exit status. */
static int configure(const struct arguments *arguments, struct osh_config *config)
{
	const char *file = arguments->config ? arguments->config : OSH_CONFIG_FILE;
	struct osh_err err = { 0 };

	osh_config_init(config);
	if (osh_config_load(config, file, !arguments->config, &err) < 0) {
		fprintf(stderr, "openshelld: %s\n", err.message);
		return EXIT_FAILURE;
	}
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		if (arguments->values[i] &&
		    set_value(config, keys[i], arguments->values[i], &err) < 0) {
			fprintf(stderr, "openshelld: --%s: %s\nTry 'openshelld --help'.\n",
				options[i].name, err.message);
			return EXIT_USAGE;
		}
	}
	return -1;
}

/* Secrets pass through this process: no core dump, no ptrace, no /proc/PID/mem for others. */
static void harden(void)
{
	/* One byte: no core file, and unlike 0 no pipe to a core_pattern helper (core(5)). A
	 * sandbox gets the same, and cannot lower it (sandbox/seccomp.c). */
	struct rlimit core = { 1, 1 };
	struct rlimit files;

	umask(077);
	(void)prctl(PR_SET_DUMPABLE, osh_layer_off("dumpable"));
	if (!osh_layer_off("core"))
		(void)setrlimit(RLIMIT_CORE, &core);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < FILES_MAX) {
		files.rlim_cur = files.rlim_max < FILES_MAX ? files.rlim_max : FILES_MAX;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
}

/* OpenSSL 3.0 makes its context at the first use, and crashes at the next if it could not. This asks
 * for the context and survives that. */
static bool has_openssl(void)
{
	return CRYPTO_get_ex_new_index(CRYPTO_EX_INDEX_APP, 0, NULL, NULL, NULL, NULL) >= 0;
}

int main(int argc, char **argv)
{
	static struct osh_config config;
	struct arguments arguments = { 0 };
	struct osh_err err = { 0 };
	bool is_proxy = argc == 2 && strcmp(argv[1], "proxy") == 0;
	int status, r;

	if ((is_proxy && osh_tls_use_blocks() < 0) || !has_openssl()) {
		fputs("openshelld: OpenSSL cannot start: out of memory\n", stderr);
		return EXIT_FAILURE;
	}
	if (is_proxy)
		return osh_proxy_main();
	status = parse_arguments(argc, argv, &arguments);
	if (status < 0)
		status = configure(&arguments, &config);
	if (status >= 0)
		return status;
	if (geteuid() != 0) {
		fputs("openshelld: must run as root: it loads BPF programs and makes namespaces\n",
		      stderr);
		return EXIT_FAILURE;
	}
	harden();
	osh_log_init("openshelld", config.log_level);
	config.take_over = arguments.take_over;
	r = (arguments.sweep ? osh_agent_sweep : osh_agent_run)(&config, &err);
	if (r == 0)
		return EXIT_SUCCESS;
	osh_error("%s", err.message);
	if (arguments.sweep && r == -EINPROGRESS)
		return EXIT_LEFT;
	return arguments.take_over && r == -EALREADY ? EXIT_NOT_FIRST : EXIT_FAILURE;
}
