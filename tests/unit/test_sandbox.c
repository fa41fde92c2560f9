/* A sandbox from outside: launch, commands, terminals, ends. Needs root. */
#include "sandbox_world.h"

TestSuite(sandbox, .init = make_world, .fini = sweep_world, .timeout = 60);

Test(sandbox, runs_a_command_and_reports_its_status)
{
	static struct run run;

	launch_default();
	cr_expect(eq(int, sh(&run, "echo hello; exit 7"), 7));
	cr_expect(eq(str, run.output, "hello"));
	cr_expect(eq(int, sh(&run, "exit 0"), 0));
	cr_expect(eq(int, sh(&run, "kill -TERM $$"), 143));
	cr_expect(eq(int, sh(&run, "kill -SEGV $$"), 139));
	end_world();
}
