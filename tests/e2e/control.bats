#!/usr/bin/env bats
# The control plane against hostile callers, names, files and texts. Each test names the row of
# the conformance cases (group G) that it covers. Rows that are tested elsewhere:
#   G02 by path, and from a sandbox's cgroup    isolation.bats, the control socket is out of reach
#   G05 golden                                  unit test_policy_cases
#   G06 on the dashboard, a terminal, in a path term.bats, terminal.bats, http.bats
#   G07 a provider's secret                     credentials.bats
#   G09 a slow reader, two readers              unit test_ring
#   G10 frames, descriptors, bounds             unit test_wire, fuzz_wire
#   G12 what is dropped from the environment    isolation.bats
#   G14 escaped, nosniff                        http.bats

bats_require_minimum_version 1.5.0
load helpers

GROUP_ID=61000
ANNE=61001
BOB=61002

# The agent sees a group "openshell", the host does not.
setup_file() {
	start_world
	SCRATCH=$(mktemp -d /tmp/openshell-e2e.XXXXXX)
	chmod 0711 "$SCRATCH"
	export SCRATCH
	mkdir "$SCRATCH/bin"
	{ cat /etc/group && echo "openshell:x:$GROUP_ID:"; } >"$SCRATCH/group"
	ln -s "$BUILD/openshell" "$SCRATCH/bin/openshell"
	cat >"$SCRATCH/bin/openshelld" <<-END
		#!/bin/bash
		exec unshare -m --propagation private bash -c 'mount --bind "\$1" /etc/group && exec "\${@:2}"' \
			_ "$SCRATCH/group" "$BUILD/openshelld" "\$@"
	END
	chmod 0755 "$SCRATCH/bin/openshelld"
	start_agent
	export AGENT_DIR AGENT_PID AGENT_SOCKET
	make_sandbox box probe
}

teardown_file() { stop_all; }

start_agent() { BUILD=$SCRATCH/bin agent_start "$SCRATCH/agent"; }

# as UID COMMAND...: a member of the group.
as() {
	local uid=$1
	shift
	setpriv --reuid "$uid" --regid "$GROUP_ID" --clear-groups "$@"
}

as_anne() { as "$ANNE" "$BUILD/openshell" "$@"; }
as_bob() { as "$BOB" "$BUILD/openshell" "$@"; }

# refused_to WHO COMMAND...: another user's sandbox.
refused_to() {
	run "$@"
	expect_equal "$status" 1 "exit status of: $*"
	expect_contains "$output" "belongs to another user"
}

peer() { /usr/bin/python3 "$E2E/peer.py" "$AGENT_SOCKET" "$@"; }

# call METHOD PARAMETERS: as the CLI would not write it.
call() { /usr/bin/python3 "$E2E/control.py" "$AGENT_SOCKET" "$1" <<<"$2"; }

# call_refused METHOD PARAMETERS: answered with an error, or not at all.
call_refused() {
	local answer
	answer=$(call "$@")
	[[ ! $answer || $answer == *'"error"'* ]] || fail "$1 took $2:" "$answer"
}

descriptors() { find "/proc/$(<"$AGENT_DIR/agent.pid")/fd" -mindepth 1 | wc -l; }
has_descriptors() { (($(descriptors) <= $1)); }

@test "G01: the socket is the group's from the moment that it can be connected to" {
	local pid storm=$SCRATCH/storm
	expect_equal "$(stat -c '%a %U %g' "$AGENT_SOCKET")" "660 root $GROUP_ID"
	run setpriv --reuid 65534 --regid 65534 --clear-groups "$BUILD/openshell" --socket "$AGENT_SOCKET" sandbox list
	expect_equal "$status" 3
	expect_contains "$output" "not allowed"
	run as_anne sandbox list
	expect_equal "$status" 0
	# While it is made anew, by whoever is quick.
	setpriv --reuid 65534 --regid 65534 --clear-groups /usr/bin/python3 - "$AGENT_SOCKET" storm "$storm.end" \
		<"$E2E/peer.py" >"$storm" 3>&- &
	pid=$!
	for _ in 1 2 3; do
		agent_crash
		start_agent
	done
	: >"$storm.end"
	wait "$pid"
	expect_equal "$(<"$storm")" "let in 0"
}

@test "G01: a sandbox is its creator's and root's" {
	as_anne sandbox create --name hers --policy "$(policy probe)" </dev/null
	as_bob sandbox create --name his --policy "$(policy probe)" </dev/null
	expect_equal "$(as_anne sandbox list -o name)" hers
	expect_equal "$(as_bob sandbox list -o name)" his
	expect_contains "$(osh sandbox list -o name)" hers
	# Whatever can be asked for by name.
	refused_to as_bob sandbox get hers
	refused_to as_bob sandbox exec hers -- true
	refused_to as_bob policy get hers
	refused_to as_bob policy list hers
	refused_to as_bob policy set hers --policy "$(policy probe)" --wait
	refused_to as_bob policy update hers --remove-rule web --wait
	refused_to as_bob policy rollback hers --rev 1
	refused_to as_bob logs hers
	refused_to as_bob sandbox delete hers
	refused_to as_bob sandbox get box
	run as_bob sandbox create --name hers --policy "$(policy probe)"
	expect_equal "$status" 1
	# T: the owner may, and root.
	expect_equal "$(as_anne sandbox exec hers -- echo mine)" mine
	as_anne policy set hers --policy "$(policy probe)" --wait
	osh sandbox get hers
	# It stays so over a restart of the agent.
	agent_crash
	start_agent
	refused_to as_bob sandbox delete hers
	as_anne sandbox delete hers
	osh sandbox delete his
}

@test "G01: verdicts are read by the owner, and by root" {
	local canary
	canary=$(new_canary)
	as_anne sandbox create --name hers --policy "$(policy probe)" </dev/null
	as_anne sandbox exec hers -- curl -sS -o /dev/null "https://ok.test/pub/$canary"
	wait_until 5 has_verdicts 1 hers "l7_target=/pub/$canary"
	expect_contains "$(as_anne logs hers)" "$canary"
	# Not by asking for all that there is.
	as "$BOB" /usr/bin/python3 - "$AGENT_SOCKET" all <"$E2E/peer.py" >"$SCRATCH/seen"
	refute grep -qaF "$canary" "$SCRATCH/seen"
	as "$ANNE" /usr/bin/python3 - "$AGENT_SOCKET" all <"$E2E/peer.py" >"$SCRATCH/seen"
	grep -qaF "$canary" "$SCRATCH/seen"
	as_anne sandbox delete hers
}

@test "G02: a connection to the agent cannot be handed inside" {
	expect_equal "$(peer lend box connection)" "refused io.openshell.PermissionDenied"
	expect_equal "$(peer lend box null)" answered # T: any other descriptor
}

@test "G02: a policy that shows the run directory inside does not open the socket" {
	sed "s|read_write: \[/sandbox, |&$AGENT_DIR/run, |" "$(policy probe)" >"$SCRATCH/shows-run.yaml"
	osh policy validate "$SCRATCH/shows-run.yaml"
	run osh sandbox create --name sees --policy "$SCRATCH/shows-run.yaml" </dev/null
	if ((status == 0)); then
		run probe sees unix "$AGENT_SOCKET"
		expect_lacks "$output" connected
		run inside sees python3 -c 'import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(b"{\"method\":\"io.openshell.Status\"}\0")
print("answer", s.recv(100))' "$AGENT_SOCKET"
		((status != 0))
		expect_lacks "$output" '"version"'
		osh sandbox delete sees
	fi
	# T: the same outside.
	expect_contains "$(call Status '{}')" '"version"'
}

@test "G03: a name that is no name never becomes a path" {
	local name json
	for name in ../x a/b . .. '' 'a\u0000b' 'a\nb' -x "$(printf 'x%.0s' {1..300})" 'a%sb' A 'a b' 'é' /etc; do
		json="\"$name\""
		call_refused SandboxCreate "{\"name\": $json, \"keep\": true}"
		call_refused SandboxGet "{\"name\": $json}"
		call_refused SandboxDelete "{\"name\": $json}"
		call_refused PolicyGet "{\"name\": $json}"
		call_refused ProviderCreate "{\"name\": $json, \"type\": \"github\"}"
		call_refused ProviderDelete "{\"name\": $json}"
		call_refused SandboxCreate "{\"keep\": true, \"providers\": [$json]}"
	done
	expect_equal "$(osh sandbox list -o name)" box "what there is"
	expect_equal "$(ls "$AGENT_DIR/state/sandboxes")" box "what is on disk"
	expect_equal "$(ls "$AGENT_DIR/state/providers")" "" "providers on disk"
	# T: the longest one.
	name=$(printf 'x%.0s' {1..63})
	expect_lacks "$(call SandboxCreate "{\"name\": \"$name\", \"keep\": true}")" '"error"'
	osh sandbox delete "$name"
}

@test "G09: the ring can be read, and by nobody written" {
	run peer ring
	expect_lacks "$output" POSSIBLE
	expect_equal "${#lines[@]}" 6
	expect_contains "$output" "read possible" # T
}

@test "G10: peers that abuse the protocol are closed or wait, and harm nobody" {
	local before
	before=$(descriptors)
	expect_equal "$(peer huge)" closed
	expect_equal "$(peer deep)" closed
	expect_equal "$(peer raw 'no json\0')" closed
	expect_equal "$(peer raw '[]\0')" closed
	expect_equal "$(peer raw '{"method":"io.openshell.Status"}')" closed # no NUL
	expect_equal "$(peer raw '{"method":"io.openshell.Status","method":"x"}\0')" closed
	expect_equal "$(peer raw '{"method":"Status"}\0')" "refused org.varlink.service.InterfaceNotFound"
	expect_equal "$(peer raw '{"method":"io.openshell.None"}\0')" "refused org.varlink.service.MethodNotFound"
	expect_equal "$(peer raw '{"method":"io.openshell.SandboxGet","parameters":{"name":1}}\0')" "refused io.openshell.Invalid"
	expect_equal "$(peer unasked)" answered
	expect_equal "$(peer mute)" waits
	expect_equal "$(peer many 10000)" "answered of 10000"
	run osh sandbox list # T
	expect_equal "$status" 0
	wait_until 5 has_descriptors "$before" || fail "descriptors: $before before, $(descriptors) after"
}

@test "G10: a peer that does not read holds up no other" {
	local pid
	peer mute >/dev/null 3>&- &
	pid=$!
	expect_contains "$(call Status '{}')" '"version"'
	osh policy set box --policy "$(policy probe)" --wait
	wait "$pid"
}
