#!/usr/bin/env bats
# What was made is removed: nothing of a sandbox, and nothing of an agent, stays.

load helpers
# shellcheck source=scripts/lib/leftovers.bash
. "$REPO/scripts/lib/leftovers.bash"

setup_file() {
	start_all
	make_sandbox once probe
	local cgroup
	BODY=$(osh sandbox get once -o json)
	cgroup=$(dirname "$(cgroup_of "$(json 'b["pid"]')")")
	# Cgroups and pins carry the agent's key, files and processes its directory.
	LEFTOVERS="${cgroup##*openshell-}|$SCRATCH/agent"
	export LEFTOVERS
	[[ $cgroup == *openshell-?* ]]
	osh sandbox delete once
	agent_stop
}

teardown_file() { stop_all; }

teardown() {
	[[ ! -s $AGENT_DIR/agent.pid ]] || agent_stop
}

# Everything under the agent's directories but what grows by design.
list_files() {
	find "$AGENT_DIR" -mindepth 1 -not -path '*/journal/*' -not -name agent.log -printf '%p\n' | sort
}

@test "delete, and the end of --no-keep, leave nothing of the sandbox" {
	agent_start "$SCRATCH/agent"
	# One round first: directories that the agent makes once.
	make_sandbox once probe
	osh sandbox delete once
	leftovers >"$SCRATCH/before"
	list_files >"$SCRATCH/files"
	make_sandbox gone probe
	fetch gone https://ok.test/pub/x
	expect_status 200
	refute same_leftovers "$SCRATCH/before"
	inside gone sh -c 'echo started; exec tail -f /dev/null' >"$SCRATCH/tail" 2>&1 3>&- &
	wait_until 5 has_line "$SCRATCH/tail" started
	osh sandbox delete gone
	expect_same_leftovers "$SCRATCH/before"
	list_files | diff "$SCRATCH/files" -
	osh sandbox create --name passing --policy "$(policy probe)" --no-keep -- true
	expect_same_leftovers "$SCRATCH/before"
	list_files | diff "$SCRATCH/files" -
	run osh sandbox create --name hollow --policy "$(policy probe)" --no-keep -- no-such-command
	expect_equal "$status" 1
	expect_same_leftovers "$SCRATCH/before"
	list_files | diff "$SCRATCH/files" -
	agent_stop
}

@test "a caller that is killed takes its --no-keep sandbox along" {
	local pid
	agent_start "$SCRATCH/agent"
	leftovers >"$SCRATCH/before"
	"$BUILD/openshell" sandbox create --name orphan --policy "$(policy probe)" --no-keep -- \
		sh -c 'echo started; exec tail -f /dev/null' >"$SCRATCH/orphan" 2>&1 3>&- &
	pid=$!
	wait_until 10 has_line "$SCRATCH/orphan" started
	kill -9 "$pid"
	gone() { ! osh sandbox get orphan >/dev/null 2>&1; }
	wait_until 10 gone
	expect_same_leftovers "$SCRATCH/before"
	agent_stop
}

@test "thirty sandboxes, made and deleted, leave what one leaves" {
	local i
	agent_start "$SCRATCH/agent"
	leftovers >"$SCRATCH/before"
	local descriptors
	descriptors=$(find "/proc/$AGENT_PID/fd" -mindepth 1 | wc -l)
	for i in {1..30}; do
		osh sandbox create --name "many-$i" --policy "$(policy probe)" --no-keep -- true
	done
	expect_same_leftovers "$SCRATCH/before"
	expect_equal "$(find "/proc/$AGENT_PID/fd" -mindepth 1 | wc -l)" "$descriptors" "descriptors of the agent"
	agent_stop
}

@test "an agent that is stopped with no sandbox left leaves nothing in the kernel" {
	rm -rf "$SCRATCH/agent"
	leftovers >"$SCRATCH/before"
	agent_start "$SCRATCH/agent"
	make_sandbox brief probe
	osh sandbox delete brief
	refute same_leftovers "$SCRATCH/before"
	agent_stop
	rm -rf "$SCRATCH/agent"
	expect_same_leftovers "$SCRATCH/before"
	expect_equal "$(leftovers)" "" "what is left"
}

@test "a launch step that fails leaves nothing, and the command never runs" {
	agent_start "$SCRATCH/agent"
	leftovers >"$SCRATCH/before"
	local call pid canary
	canary=$(new_canary)
	for call in clone3 pivot_root mount sethostname landlock_restrict_self setresuid seccomp; do
		strace -qq -f -o /dev/null -e trace="$call" -e inject="$call":error=EPERM -p "$AGENT_PID" 3>&- &
		pid=$!
		traced() { grep -q '^TracerPid:[[:space:]]*[1-9]' "/proc/$AGENT_PID/status"; }
		wait_until 5 traced
		run timeout 20 "$BUILD/openshell" sandbox create --name torn --policy "$(policy probe)" --no-keep -- echo "$canary"
		kill "$pid"
		wait_until 5 is_gone "$pid"
		[[ $output != *"$canary"* && $status != 0 ]] || fail "ran without $call: $output"
		expect_same_leftovers "$SCRATCH/before" || fail "after $call failed: $output"
	done
	run osh sandbox create --name whole --policy "$(policy probe)" --no-keep -- echo "$canary"
	expect_contains "$output" "$canary"
	agent_stop
}
