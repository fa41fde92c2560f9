#include "control/watch.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "control/agent.h"
#include "control/lifecycle.h"
#include "control/lifecycle_parts.h"
#include "control/recorder.h"
#include "kernel/kernel.h"

#define PERIOD_MS 1000

/* Only a new agent mends it: told once. */
static void tell_all(struct osh_agent *agent)
{
	static const char text[] = "somebody detached the kernel's programs: no sandbox reaches the network "
				   "until openshelld is started anew";
	const struct osh_agent_sandbox *sandbox;

	agent->hooks_lost = true;
	osh_error("%s", text);
	for (sandbox = agent->sandboxes; sandbox; sandbox = sandbox->hh.next) {
		if (sandbox->in_kernel)
			osh_recorder_event(agent->recorder, sandbox, "%s", text);
	}
}

/* Held open they stay in force; without its pin a link ends with the agent. */
static void mend_pins(struct osh_agent *agent)
{
	int r = osh_kernel_repin(agent->kernel);

	if (r > 0)
		osh_warning("somebody removed %d pins of rules on attached cgroups; they are back", r);
	else if (r < 0 && !agent->pins_lost)
		osh_error("somebody removed the pins of rules on attached cgroups, and they cannot be put back (%s): "
			  "these rules end with this agent; detach and attach anew", strerror(-r));
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

	mend_attachments(agent);
	mend_pins(agent);
	if (!agent->hooks_lost && !osh_kernel_is_attached(agent->kernel))
		tell_all(agent);
	(void)osh_loop_timer_set(agent->loop, timer, PERIOD_MS);
}

void osh_watch_open(struct osh_agent *agent)
{
	agent->watch_timer.on_expire = on_period;
	if (osh_loop_timer_set(agent->loop, &agent->watch_timer, PERIOD_MS) < 0)
		osh_warning("nobody watches whether the kernel's programs stay attached: out of memory");
}

void osh_watch_close(struct osh_agent *agent)
{
	if (agent->loop)
		osh_loop_timer_cancel(agent->loop, &agent->watch_timer);
}
