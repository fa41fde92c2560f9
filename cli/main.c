/* `openshell`: global options, the table of commands, and the way to the one
 * that was asked for. */
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "args.h"
#include "cli.h"

static const struct osh_command *const commands[] = {
	&osh_command_sandbox_create,
	&osh_command_sandbox_list,
	&osh_command_sandbox_get,
	&osh_command_sandbox_connect,
	&osh_command_sandbox_exec,
	&osh_command_sandbox_attach_main,
	&osh_command_sandbox_cp,
	&osh_command_sandbox_stop,
	&osh_command_sandbox_start,
	&osh_command_sandbox_delete,
	&osh_command_sandbox_attach,
	&osh_command_sandbox_detach,
	&osh_command_policy_get,
	&osh_command_policy_set,
	&osh_command_policy_list,
	&osh_command_policy_diff,
	&osh_command_policy_update,
	&osh_command_policy_rollback,
	&osh_command_policy_explain,
	&osh_command_policy_validate,
	&osh_command_policy_eval,
	&osh_command_provider_create,
	&osh_command_provider_list,
	&osh_command_provider_delete,
	&osh_command_forward_start,
	&osh_command_forward_list,
	&osh_command_forward_stop,
	&osh_command_logs,
	&osh_command_term,
	&osh_command_status,
};
#define COMMANDS_COUNT (sizeof(commands) / sizeof(commands[0]))

static const char usage_line[] =
	"usage: openshell [--socket PATH] COMMAND [OPTION...] [ARGUMENT...]\n";

/* Does `group` lead `name` ("sandbox" leads "sandbox create")? */
static bool is_group_of(const char *group, const char *name)
{
	size_t len = strlen(group);

	return strncmp(group, name, len) == 0 && name[len] == ' ';
}

static bool is_group(const char *word)
{
	for (size_t i = 0; i < COMMANDS_COUNT; i++) {
		if (is_group_of(word, commands[i]->name))
			return true;
	}
	return false;
}

/* `group` NULL: all of them. */
static void print_commands(FILE *stream, const char *group)
{
	for (size_t i = 0; i < COMMANDS_COUNT; i++) {
		if (!group || is_group_of(group, commands[i]->name))
			fprintf(stream, "  %-20s %s\n", commands[i]->name, commands[i]->summary);
	}
}

static void print_help(void)
{
	fputs(usage_line, stdout);
	fputs("\ncommands:\n", stdout);
	print_commands(stdout, NULL);
	fputs("\noptions:\n"
	      "  --socket PATH    the agent's socket (OPENSHELL_SOCKET, " OSH_DEFAULT_SOCKET ")\n"
	      "  --help           this text; behind a command: its options\n"
	      "  --version        the version\n"
	      "\nSee openshell(1).\n",
	      stdout);
}

int osh_cli_misuse(const struct osh_command *command, const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	osh_cli_error("%s", text);
	if (command)
		osh_args_usage(stderr, command);
	else
		fputs(usage_line, stderr);
	fprintf(stderr, "try: openshell%s%s --help\n", command ? " " : "",
		command ? command->name : "");
	return OSH_EXIT_USAGE;
}

/* A program that is started with 0, 1 or 2 closed would get its socket or a
 * policy file there, and print into it. */
static int open_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= 2);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

/* Options before the command. Returns the index of the first word behind them,
 * or -1 with *ret_status. */
static int parse_global(struct osh_cli *cli, int argc, char **argv, int *ret_status)
{
	int i = 1;

	for (; i < argc && argv[i][0] == '-'; i++) {
		const char *word = argv[i];

		*ret_status = OSH_EXIT_OK;
		if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
			print_help();
			return -1;
		}
		if (strcmp(word, "--version") == 0) {
			puts("openshell " OSH_VERSION);
			return -1;
		}
		if (strncmp(word, "--socket=", 9) == 0 && word[9]) {
			cli->socket = word + 9;
		} else if (strcmp(word, "--socket") == 0 && i + 1 < argc && argv[i + 1][0] != '-') {
			cli->socket = argv[++i];
		} else {
			bool is_socket =
				strncmp(word, "--socket", 8) == 0 && (!word[8] || word[8] == '=');

			*ret_status = osh_cli_misuse(NULL,
						     is_socket ? "option '%s' needs a value: PATH" :
								 "unknown option '%s'",
						     word);
			return -1;
		}
		cli->socket_is_default = false;
	}
	return i;
}

static int no_such_command(const char *word, const char *verb)
{
	if (!is_group(word))
		return osh_cli_misuse(NULL, "unknown command '%s'", word);
	if (verb)
		osh_cli_error("unknown command '%s %s'", word, verb);
	else
		osh_cli_error("'%s' needs one of these commands", word);
	fputs(usage_line, stderr);
	print_commands(stderr, word);
	return OSH_EXIT_USAGE;
}

static int run_command(struct osh_cli *cli, int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : NULL;

	for (size_t i = 0; i < COMMANDS_COUNT; i++) {
		const struct osh_command *command = commands[i];
		const char *rest = command->name + strlen(argv[0]);

		if (strcmp(command->name, argv[0]) == 0)
			return command->run(cli, command, argc - 1, argv + 1);
		if (verb && is_group_of(argv[0], command->name) && strcmp(rest + 1, verb) == 0)
			return command->run(cli, command, argc - 2, argv + 2);
	}
	if (verb && is_group(argv[0]) && (strcmp(verb, "--help") == 0 || strcmp(verb, "-h") == 0)) {
		printf("usage: openshell %s COMMAND [OPTION...] [ARGUMENT...]\n\ncommands:\n",
		       argv[0]);
		print_commands(stdout, argv[0]);
		return OSH_EXIT_OK;
	}
	return no_such_command(argv[0], verb);
}

int main(int argc, char **argv)
{
	const char *socket = getenv("OPENSHELL_SOCKET");
	struct osh_cli cli = {
		.socket = socket && socket[0] ? socket : OSH_DEFAULT_SOCKET,
		.socket_is_default = !(socket && socket[0]),
	};
	int status, first;

	if (open_standard_descriptors() < 0)
		return OSH_EXIT_FAILED;
	setlocale(LC_CTYPE, "");
	first = parse_global(&cli, argc, argv, &status);
	if (first == argc)
		status = osh_cli_misuse(NULL, "no command given");
	else if (first > 0)
		status = run_command(&cli, argc - first, argv + first);
	/* What could not be written (disk full, closed pipe) is a failure too. */
	if ((fflush(stdout) != 0 || ferror(stdout)) && status == OSH_EXIT_OK) {
		osh_cli_error("cannot write the output: %s", strerror(errno));
		status = OSH_EXIT_FAILED;
	}
	return status;
}
