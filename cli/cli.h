/* What every command shares: exit statuses, the command table's row, messages
 * to the user. The CLI keeps no state: it asks the agent and prints. */
#ifndef OSH_CLI_CLI_H
#define OSH_CLI_CLI_H

#include <stdbool.h>
#include <stdint.h>

/* As listed in openshell(1). `sandbox create` and `sandbox exec` return the
 * command's own status instead, once it runs. */
enum osh_exit {
	OSH_EXIT_OK = 0,
	OSH_EXIT_FAILED = 1,
	OSH_EXIT_USAGE = 2,
	OSH_EXIT_NO_AGENT = 3,
	OSH_EXIT_TIMEOUT = 124,
};

#define OSH_DEFAULT_SOCKET "/run/openshell/openshell.sock"

struct osh_cli {
	const char *socket;     /* path of the agent's control socket */
	bool socket_is_default; /* neither --socket nor OPENSHELL_SOCKET was given */
};

struct osh_option;

/* One row of the table in main.c: a command is its file plus a row there. */
struct osh_command {
	const char *name;      /* "sandbox create": group and verb, or one word */
	const char *arguments; /* behind the options, for the usage line: "NAME [-- COMMAND]" */
	const char *summary;   /* one line of `openshell --help` */
	const struct osh_option *options; /* ends with a row without a name */
	/* argv holds what follows the command's name. Returns the exit status. */
	int (*run)(struct osh_cli *cli, const struct osh_command *command, int argc, char **argv);
};

extern const struct osh_command osh_command_sandbox_create, osh_command_sandbox_list,
	osh_command_sandbox_get, osh_command_sandbox_connect, osh_command_sandbox_exec,
	osh_command_sandbox_attach_main, osh_command_sandbox_cp, osh_command_sandbox_stop, osh_command_sandbox_start, osh_command_sandbox_delete,
	osh_command_sandbox_attach, osh_command_sandbox_detach;
extern const struct osh_command osh_command_policy_get, osh_command_policy_set, osh_command_policy_list,
	osh_command_policy_validate, osh_command_policy_eval, osh_command_policy_diff,
	osh_command_policy_update, osh_command_policy_rollback, osh_command_policy_explain;
extern const struct osh_command osh_command_provider_create, osh_command_provider_list,
	osh_command_provider_delete;
extern const struct osh_command osh_command_forward_start, osh_command_forward_list,
	osh_command_forward_stop;
extern const struct osh_command osh_command_logs, osh_command_term, osh_command_status;

/* "openshell: message" on standard error, one line, untrusted bytes escaped. */
void osh_cli_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same for what is no error: kept apart so that the call says what it means. */
void osh_cli_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* osh_cli_error, then the command's usage line (NULL: openshell's own). Returns
 * OSH_EXIT_USAGE. */
int osh_cli_misuse(const struct osh_command *command, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* CLOCK_MONOTONIC. */
int64_t osh_cli_now_ms(void);
/* "out of memory", as a failed command. */
int osh_cli_no_memory(void);

#endif
