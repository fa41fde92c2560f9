/* `openshell sandbox cp`. */
#include <string.h>

#include "args.h"
#include "copy.h"
#include "openshell/limits.h"

static const struct osh_option options[] = { OSH_OPTIONS_END };

/* "NAME:PATH" with a sandbox's name; a path here that looks so is written "./NAME:PATH". */
static bool is_inside(const char *word, char name[static OSH_NAME_MAX], const char **ret_path)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
	size_t len = strspn(word, letters);

	if (len == 0 || len >= OSH_NAME_MAX || word[len] != ':' || !word[len + 1])
		return false;
	memcpy(name, word, len);
	name[len] = '\0';
	*ret_path = word + len + 1;
	return true;
}

static int run_cp(struct osh_cli *cli, const struct osh_command *command, int argc, char **argv)
{
	_cleanup_client_ struct osh_client client;
	char name[OSH_NAME_MAX], other[OSH_NAME_MAX];
	struct osh_copy copy = { .cli = cli, .sandbox = name };
	bool from_inside, to_inside;
	struct osh_args args;
	int status;

	osh_client_init(&client);
	if (!osh_args_parse(cli, command, argc, argv, NULL, &args, &status))
		return status;
	if (args.count != 2 || args.rest)
		return osh_cli_misuse(command, "cp needs two places");
	copy.from = args.words[0];
	copy.to = args.words[1];
	from_inside = is_inside(copy.from, name, &copy.from);
	to_inside = is_inside(copy.to, from_inside ? other : name, &copy.to);
	if (from_inside == to_inside)
		return osh_cli_misuse(command, "one of the two is NAME:PATH, in a sandbox, the other one here");
	status = osh_client_open(cli, false, &client);
	if (status != OSH_EXIT_OK)
		return status;
	return from_inside ? osh_copy_out(&client, &copy) : osh_copy_in(&client, &copy);
}

const struct osh_command osh_command_sandbox_cp = {
	"sandbox cp", "NAME:PATH PATH | PATH NAME:PATH", "Copy files out of a sandbox, or into it", options,
	run_cp,
};
