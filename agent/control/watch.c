#include "control/watch.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "control/agent.h"
#include "control/lifecycle.h"
#include "control/lifecycle_parts.h"
#include "control/recorder.h"
#include "kernel/kernel.h"

#define PERIOD_MS 1000

__attribute__((format(printf, 2, 3)))
static void tell_all(struct osh_agent *agent, const char *format, ...)
{
	const struct osh_agent_sandbox *sandbox;
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	osh_error("%s", text);
	for (sandbox = agent->sandboxes; sandbox; sandbox = sandbox->hh.next) {
		if (sandbox->in_kernel)
			osh_recorder_event(agent->recorder, sandbox, "%s", text);
	}
}

/* Only a new agent mends it: told once. */
static void look_at_hooks(struct osh_agent *agent)
{
	if (agent->hooks_lost || osh_kernel_is_attached(agent->kernel))
		return;
	agent->hooks_lost = true;
	tell_all(agent, "somebody detached the kernel's programs: no sandbox reaches the network until openshelld is "
			"started anew");
}

/* Held open all of it stays in force; without its pin it ends with the agent. */
static void mend_pins(struct osh_agent *agent)
{
	int r = osh_kernel_repin(agent->kernel);

	if (r > 0)
		tell_all(agent, "somebody removed %d pins below %.256s; they are back", r, agent->pin_dir);
	else if (r < 0 && !agent->pins_lost)
		tell_all(agent, "somebody removed pins below %.256s, and they cannot be put back (%s): the rules hold as "
				"long as this agent runs; end the sandboxes before it, or mend that directory",
			 agent->pin_dir, strerror(-r));
	agent->pins_lost = r < 0;
}

static void mend_attachments(struct osh_agent *agent)
{
	struct osh_agent_sandbox *sandbox;

	for (sandbox = agent->sandboxes; sandbox; sandbox = sandbox->hh.next) {
		if (sandbox->state == OSH_AGENT_SANDBOX_RUNNING && osh_lifecycle_is_attached(sandbox))
			osh_attachment_mend(sandbox);
	}
}

static void on_period(struct osh_timer *timer)
{
	struct osh_agent *agent = osh_container_of(timer, struct osh_agent, watch_timer);

	osh_sandbox_keep_covered(agent->host);
	mend_attachments(agent);
	mend_pins(agent);
	look_at_hooks(agent);
	(void)osh_loop_timer_set(agent->loop, timer, PERIOD_MS);
}

void osh_watch_open(struct osh_agent *agent)
{
	int r = osh_kernel_hold_memory(agent->kernel);

	if (r < 0)
		osh_warning("what is removed below %s/memory cannot be put back: %s", agent->pin_dir, strerror(-r));
	agent->watch_timer.on_expire = on_period;
	if (osh_loop_timer_set(agent->loop, &agent->watch_timer, PERIOD_MS) < 0)
		osh_warning("nobody watches whether the kernel's programs stay attached: out of memory");
}

void osh_watch_close(struct osh_agent *agent)
{
	if (agent->loop)
		osh_loop_timer_cancel(agent->loop, &agent->watch_timer);
}
