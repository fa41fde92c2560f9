#!/usr/bin/env bats
# F20: kernels that lack something, made of this one by hiding it from an agent. What is needed is named, and
# nothing starts; what can be done without is named by status, with what stands in for it. The rest of the
# row: Landlock at a launch (launch.bats, tests/kernel/no_landlock.bats on a kernel without), a host with
# cgroup v1 alone (tests/kernel/cgroup_v1.bats), cgroups that not all can be enforced on (attach_guard.bats),
# Unix hooks, which no call of its own tells (tests/unit/test_kernel_install.c). We load no module: a host
# without the dummy driver, or any, is as good.

load helpers

setup_file() { start_world && make_scratch; }
teardown_file() { stop_all; }

teardown() {
	AGENT_UNDER=()
	[[ ! -s ${AGENT_DIR:-/nonexistent}/agent.pid ]] || agent_stop || true
}

# hide PATH: from the agents that start next.
hide() {
	# shellcheck disable=SC2016  # for the inner shell
	AGENT_UNDER=(unshare --mount sh -c 'mount -t tmpfs tmpfs "$1" && shift && exec "$@"' _ "$1")
}

# feature NAME: "True" or what is used in its place.
feature() {
	BODY=$(osh status -o json)
	json "[f['present'] or f['fallback'] for f in b['features'] if f['name'] == '$1'][0]"
}

works() {
	local canary
	canary=$(new_canary)
	make_sandbox box probe
	fetch box "https://no.test/$canary"
	expect_status 403
	expect_absent "$canary"
	fetch box https://ok.test/pub/x
	expect_status 200
	run probe box tcp l4.test 5999
	expect_equal "$output" EPERM
	osh sandbox delete box
}

@test "no type information: no start, and its name; the twin starts" {
	hide /sys/kernel/btf
	run agent_start "$SCRATCH/untyped"
	expect_equal "$status" 1
	expect_contains "$output" "this kernel carries no type information (/sys/kernel/btf/vmlinux): use one built with CONFIG_DEBUG_INFO_BTF"
	[[ ! -S $SCRATCH/untyped/run/openshell.sock ]]
	AGENT_UNDER=()
	agent_start "$SCRATCH/untyped" # T
	works
}

# Linux 6.8 and later tell by a call of that number; older ones by a file, which is hidden as well. Where BPF
# is no security module in the first place, this shows the same without our doing.
@test "no security hooks: named with what stands in for them, and the rest holds" {
	hide /sys/kernel/security
	AGENT_UNDER+=(/usr/bin/python3 "$E2E/without_call.py" 461)
	agent_start "$SCRATCH/unhooked"
	expect_contains "$(feature "BPF LSM")" "attached cgroups are guarded less"
	expect_equal "$(feature "cgroup network hooks")" True # T
	works
}

@test "no Landlock: status names what is left, and the twin has it" {
	agent_start "$SCRATCH/unlocked"
	with_strace -o /dev/null -e trace=landlock_create_ruleset -e inject=landlock_create_ruleset:error=EOPNOTSUPP
	expect_contains "$(feature Landlock)" "file access by mounts and uid alone"
	end_strace
	expect_equal "$(feature Landlock)" True
}
