/* Status: the agent, its proxy, what the kernel offers. */
#include <stdio.h>
#include <unistd.h>

#include "control/agent.h"
#include "control/call.h"
#include "control/lifecycle.h"
#include "control/recorder.h"
#include "kernel/kernel.h"
#include "proxy/supervisor.h"
#include "sandbox/sandbox.h"

static json_t *feature_json(const char *name, bool present, const char *fallback)
{
	return json_pack("{s:s, s:b, s:s?}", "name", name, "present", present, "fallback",
			 fallback);
}

static void add_controllers(struct osh_agent *agent, json_t *list)
{
	for (int i = 0; i < OSH_LIMIT_COUNT; i++) {
		const char *controller = osh_limit_controller((enum osh_limit)i);
		char name[64], fallback[64];

		snprintf(name, sizeof(name), "cgroup2 controller %s", controller);
		snprintf(fallback, sizeof(fallback), "--%s is not enforced", controller);
		json_array_append_new(list, feature_json(name, osh_sandbox_has_controller(agent->host, (enum osh_limit)i),
							 fallback));
	}
}

static json_t *features_json(struct osh_agent *agent)
{
	const struct osh_kernel_feature *features;
	size_t count = osh_kernel_features(agent->kernel, &features);
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, feature_json(features[i].name, features[i].present,
							 features[i].fallback));
	json_array_append_new(list, feature_json("Landlock", osh_sandbox_landlock_abi() > 0,
						 "file access by mounts and uid alone"));
	json_array_append_new(list, feature_json("id-mapped mounts", osh_sandbox_has_idmap(agent->host),
						 "sockets in directories of the host that are shown "
						 "inside: by their permissions"));
	add_controllers(agent, list);
	return list;
}

static json_t *counters_json(struct osh_agent *agent)
{
	json_t *object = json_object();

	for (int i = 0; i < OSH_COUNTER_COUNT; i++)
		json_object_set_new(object, osh_counter_name((enum osh_counter)i),
				    json_integer((json_int_t)osh_kernel_counter(
					    agent->kernel, (enum osh_counter)i)));
	return object;
}

static json_t *permissive_json(struct osh_agent *agent)
{
	struct osh_agent_sandbox *sandbox, *next;
	json_t *list = json_array();

	HASH_ITER(hh, agent->sandboxes, sandbox, next) {
		if (sandbox->permissive)
			json_array_append_new(list, json_string(sandbox->name));
	}
	return list;
}

static void get_status(struct osh_call *call)
{
	struct osh_agent *agent = call->agent;

	if (!osh_call_unpack(call, ""))
		return;
	osh_call_reply(
		call,
		json_pack("{s:s, s:i, s:I, s:s, s:s, s:i, s:i, s:i, s:I, s:o, s:o, s:o, s:I, s:I, s:I}",
			  "version", OSH_VERSION, "pid", (int)getpid(), "started",
			  (json_int_t)agent->started, "state_dir", agent->config->state_dir,
			  "run_dir", agent->config->run_dir, "proxy_pid",
			  (int)osh_supervisor_pid(agent->supervisor), "proxy_restarts",
			  (int)osh_supervisor_restarts(agent->supervisor), "workers",
			  (int)osh_supervisor_workers(agent->supervisor), "sandboxes",
			  (json_int_t)agent->sandbox_count, "permissive", permissive_json(agent), "features", features_json(agent),
			  "counters", counters_json(agent), "verdicts_lost",
			  (json_int_t)osh_recorder_lost_count(agent->recorder), "journal_dropped",
			  (json_int_t)osh_recorder_journal_dropped(agent->recorder), "journal_first",
			  (json_int_t)osh_recorder_journal_first(agent->recorder)),
		NULL, 0);
}

const struct osh_method osh_status_methods[] = {
	{ "Status", get_status },
	{ 0 },
};
