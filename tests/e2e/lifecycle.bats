#!/usr/bin/env bats
# Living with sandboxes: finding them by label, stopping and starting, deleting many.

load helpers

bats_require_minimum_version 1.5.0

setup_file() { start_all; }
teardown_file() { stop_all; }

# Whatever a test leaves is the next one's no more.
teardown() {
	osh sandbox delete --all >/dev/null || true
	osh provider delete hub >/dev/null 2>&1 || true
}

names() { osh sandbox list -o name "$@" | sort | tr '\n' ' '; }

# field NAME EXPRESSION: of the interface's Sandbox.
field() {
	BODY=$(osh sandbox get "$1" -o json)
	json "$2"
}

# ---- Several at once ---------------------------------------------------------------------

@test "delete takes several names, a selector, or all; one that fails does not keep the others" {
	local name
	for name in a b c d e; do
		make_sandbox "$name" default --label "kind=$name"
	done
	run -1 osh sandbox delete a nobody b
	expect_contains "$output" "no sandbox named nobody"
	expect_equal "$(names)" "c d e "
	run -2 osh sandbox delete
	run -2 osh sandbox delete c --all
	osh sandbox delete --selector kind=d
	expect_equal "$(names)" "c e "
	osh sandbox delete --all
	expect_equal "$(names)" ""
	osh sandbox delete --all
}

# as_stranger COMMAND...: as a user who may talk to the agent, and owns nothing.
as_stranger() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }

@test "another user's sandboxes are neither deleted, stopped nor started, also by --all" {
	make_sandbox mine default
	chmod 0666 "$AGENT_SOCKET"
	run as_stranger "$BUILD/openshell" sandbox delete --all
	expect_equal "$status" 0
	for verb in delete stop start; do
		run as_stranger "$BUILD/openshell" sandbox "$verb" mine
		expect_equal "$status" 1
		expect_contains "$output" "belongs to another user"
	done
	chmod 0600 "$AGENT_SOCKET"
	expect_equal "$(field mine 'b["state"]')" running
}

@test "labels select" {
	make_sandbox web1 default --label tier=web --label zone/a.b=1
	make_sandbox web2 default --label tier=web
	make_sandbox bare default
	expect_equal "$(names -l tier=web)" "web1 web2 "
	expect_equal "$(names --selector 'tier=web,!zone/a.b')" "web2 "
	expect_equal "$(names -l tier!=web)" "bare "
	expect_equal "$(names -l nothing)" ""
	run -2 osh sandbox list -l =x
	run -1 osh sandbox create --name bad --label 'a b=c' </dev/null
	expect_contains "$output" "label"
	run -2 osh sandbox create --name bad --label plain </dev/null
	run -1 osh sandbox get bad
}

@test "-o yaml says what -o json says" {
	make_sandbox one default --label a=b
	osh sandbox get one -o yaml >"$SCRATCH/one.yaml"
	osh sandbox get one -o json >"$SCRATCH/one.json"
	/usr/bin/python3 - "$SCRATCH/one.json" "$SCRATCH/one.yaml" <<'END'
import json, sys
want = json.load(open(sys.argv[1]))
lines = open(sys.argv[2]).read().splitlines()
got = {l.split(":", 1)[0]: l.split(":", 1)[1].strip() for l in lines if l[0] not in " -"}
assert set(got) == set(want), (set(got) ^ set(want))
assert got["name"] == '"one"' and got["id"] == str(want["id"]) and got["keep"] == "true"
assert "  a: \"b\"" in lines
END
	run osh sandbox list -o yaml
	expect_equal "${lines[0]}" '- name: "one"'
}

# ---- Stop and start ----------------------------------------------------------------------

@test "a stopped sandbox keeps files, user, policy, CA, variables and placeholders" {
	local ca before
	GITHUB_TOKEN=$TOKEN osh provider create --name hub --type github --from-existing
	make_sandbox box default --provider hub --env FAVOURITE=seven --workdir /tmp
	inside box sh -c 'echo kept >/sandbox/file; echo also >/tmp/other; nohup sleep 1000 >/dev/null 2>&1 &'
	osh policy set box --policy "$(policy github_push)" --wait
	ca=$(inside box sha256sum /run/openshell/ca.pem)
	before=$(inside box sh -c 'id -u; echo $FAVOURITE $GITHUB_TOKEN; pwd')

	osh sandbox stop box
	expect_equal "$(field box 'b["state"], b["pid"]')" "('stopped', 0)"
	run -1 osh sandbox exec box -- true
	expect_contains "$output" "openshell sandbox start box"
	run -1 osh policy set box --policy "$(policy probe)"
	osh sandbox stop box # again: nothing happens

	osh sandbox start box
	expect_equal "$(field box 'b["state"]')" running
	expect_equal "$(inside box cat /sandbox/file /tmp/other)" $'kept\nalso'
	expect_equal "$(inside box sh -c 'id -u; echo $FAVOURITE $GITHUB_TOKEN; pwd')" "$before"
	expect_equal "$(inside box sha256sum /run/openshell/ca.pem)" "$ca"
	expect_equal "$(field box 'b["revision"]')" 2
	refute inside box pgrep sleep
	# The policy that was set is the one that holds.
	fetch box https://api.github.com/zen
	expect_status 403
	inside box git ls-remote -q https://github.com/acme/widgets.git
}

@test "nothing of a stopped sandbox runs, and nothing of it is reachable" {
	local cgroup pid
	make_sandbox box default
	pid=$(field box 'b["pid"]')
	cgroup=$(cgroup_of "$pid")
	inside box sh -c 'setsid sleep 1000 >/dev/null 2>&1 & setsid sleep 1000 >/dev/null 2>&1 &'
	osh sandbox stop box
	expect_equal "$(cat "$cgroup/cgroup.procs")" ""
	is_gone "$pid"
	run find "$AGENT_DIR/run/init" -name 'box*'
	expect_equal "$output" ""
}

@test "stopped sandboxes outlive the agent, however it ends" {
	make_sandbox box default --label a=b
	make_sandbox other default
	inside box sh -c 'echo kept >/sandbox/file'
	osh sandbox stop box other
	agent_stop
	agent_start "$AGENT_DIR"
	expect_equal "$(field box 'b["state"], b["labels"]["a"]')" "('stopped', 'b')"
	osh sandbox start box
	agent_crash
	agent_start "$AGENT_DIR"
	expect_equal "$(field box 'b["state"]')" running
	expect_equal "$(field other 'b["state"]')" stopped
	expect_equal "$(inside box cat /sandbox/file)" kept
	osh sandbox stop box
	osh sandbox delete other
	run -1 osh sandbox start other
}

@test "start says of a running sandbox that it runs, and starts the others" {
	make_sandbox one default
	make_sandbox two default
	osh sandbox stop two
	run -1 osh sandbox start --all
	expect_contains "$output" "sandbox one is running"
	expect_contains "$output" "sandbox two started"
}

# What starting the host anew does: no cgroup, no process, other numbers.
@test "a stopped sandbox starts after its cgroup is gone, as the same user" {
	local cgroup uid
	make_sandbox box default
	inside box sh -c 'echo kept >/sandbox/file'
	uid=$(field box 'b["uid"]')
	cgroup=$(cgroup_of "$(field box 'b["pid"]')")
	osh sandbox stop box
	agent_stop
	rmdir "$cgroup"
	agent_start "$AGENT_DIR"
	expect_equal "$(field box 'b["state"], b["uid"]')" "('stopped', $uid)"
	osh sandbox start box
	expect_equal "$(inside box sh -c 'cat /sandbox/file; id -u')" "kept"$'\n'"$uid"
	fetch box https://api.github.com/zen
	expect_status 200
}

# The record says "stopped" before anything is killed: an agent that dies in between left programs.
@test "what a killed agent had begun to stop is stopped by the next" {
	local pid record
	make_sandbox box default
	inside box sh -c 'echo kept >/sandbox/file; setsid sleep 1000 >/dev/null 2>&1 &'
	pid=$(field box 'b["pid"]')
	agent_crash
	record=$AGENT_DIR/state/sandboxes/box/record.json
	sed -i -E 's/"init_pid": [0-9]+/"init_pid": 0/' "$record"
	agent_start "$AGENT_DIR"
	is_gone "$pid"
	expect_equal "$(field box 'b["state"]')" stopped
	osh sandbox start box
	expect_equal "$(inside box cat /sandbox/file)" kept
}

@test "a dead sandbox can be started, one that is not kept cannot be stopped" {
	make_sandbox box default
	inside box sh -c 'echo kept >/sandbox/file'
	kill -KILL "$(field box 'b["pid"]')"
	is_dead() { [[ $(field box 'b["state"]') == dead ]]; }
	wait_until 5 is_dead
	osh sandbox start box
	expect_equal "$(inside box cat /sandbox/file)" kept

	osh sandbox create --name brief --no-keep -- sleep 1000 </dev/null >/dev/null 2>&1 3>&- &
	local creator=$!
	is_running() { osh sandbox exec brief -- true 2>/dev/null; }
	wait_until 10 is_running
	run -1 osh sandbox stop brief
	expect_contains "$output" "not kept"
	kill "$creator"
}

@test "a start that fails leaves the sandbox stopped, and says why" {
	GITHUB_TOKEN=$TOKEN osh provider create --name hub --type github --from-existing
	make_sandbox box default --provider hub
	osh sandbox stop box
	osh provider delete hub
	run -1 osh sandbox start box
	expect_contains "$output" "no provider hub"
	expect_equal "$(field box 'b["state"]')" stopped
	# Made again, it starts.
	GITHUB_TOKEN=$TOKEN osh provider create --name hub --type github --from-existing
	osh sandbox start box
}

# ---- Limits ------------------------------------------------------------------------------

has_controller() { grep -qw "$1" "$(cgroup_mount)/cgroup.controllers"; }

@test "limits are enforced, or create and get say that they are not" {
	local said cgroup
	said=$(osh sandbox create --name box --cpu 0.5 --memory 256M --pids 40 </dev/null 2>&1)
	cgroup=$(cgroup_of "$(field box 'b["pid"]')")
	if has_controller pids; then
		expect_lacks "$said" "no pids controller"
		expect_equal "$(<"$cgroup/pids.max")" 40
		run inside box sh -c 'for i in $(seq 100); do sleep 60 & done; echo all'
		expect_lacks "$output" all
	else
		expect_contains "$said" "--pids is not enforced: this host's cgroup2 has no pids controller"
		expect_contains "$(osh sandbox get box)" "pids 40 (not enforced: no pids controller"
	fi
	if has_controller memory; then
		expect_equal "$(<"$cgroup/memory.max")" $((256 << 20))
	else
		expect_contains "$said" "--memory is not enforced"
		expect_equal "$(field box '"memory" in b["unenforced"]')" True
	fi
	if has_controller cpu; then
		expect_equal "$(<"$cgroup/cpu.max")" "50000 100000"
	else
		expect_contains "$said" "--cpu is not enforced"
	fi
	# Without limits nobody is warned.
	said=$(osh sandbox create --name free </dev/null 2>&1)
	expect_lacks "$said" "not enforced"
	run -2 osh sandbox create --name bad --memory lots </dev/null
	run -2 osh sandbox create --name bad --cpu 0 </dev/null
}

# ---- exec --------------------------------------------------------------------------------

@test "exec ends what takes too long, with 124, and its time is not others'" {
	make_sandbox box default
	run -124 osh sandbox exec box --timeout 1 -- sleep 1000
	expect_contains "$output" "killed"
	refute inside box pgrep sleep
	# It may tidy up; what does not end then is killed.
	run -124 osh sandbox exec box --timeout 1 -- sh -c 'trap "echo tidied; exit 3" TERM; sleep 1000 & wait'
	expect_contains "$output" tidied
	run -124 osh sandbox exec box --timeout 1 -- sh -c 'trap "" TERM; sleep 1000'
	run -7 osh sandbox exec box --timeout 60 -- sh -c 'exit 7'
	run -2 osh sandbox exec box --timeout soon -- true
}

@test "exec passes statuses, signals, input, directory and variables" {
	make_sandbox box default --workdir /usr
	run -0 osh sandbox exec box -- true
	run -42 osh sandbox exec box -- sh -c 'exit 42'
	run -143 osh sandbox exec box -- sh -c 'kill -TERM $$'
	run -137 osh sandbox exec box -- sh -c 'kill -KILL $$'
	expect_equal "$(echo typed | osh sandbox exec box -- cat)" typed
	expect_equal "$(inside box pwd)" /usr
	expect_equal "$(osh sandbox exec box --workdir /etc --env A=1 -- sh -c 'pwd; echo $A')" $'/etc\n1'
	run -1 osh sandbox exec box --workdir /nowhere -- true
}
