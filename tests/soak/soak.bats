#!/usr/bin/env bats
# A soak: agent and proxy with sanitizers, traffic of every kind at once, flows killed at random by both
# sides, the policy set meanwhile. Nothing that was not killed may suffer, and nothing may stay.
#   SOAK_SECONDS (60)   how long        SOAK_SEED   the deeds of an earlier run again
#   OSH_BUILD_DIR (build/san)           build/tsan looks at what threads share

export OSH_BUILD_DIR=${OSH_BUILD_DIR:-build/san}
load ../e2e/helpers

SOAK=$BATS_TEST_DIRNAME
SECONDS_TO_SOAK=${SOAK_SECONDS:-60}

setup_file() {
	start_world
	SCRATCH=$(mktemp -d /tmp/openshell-soak.XXXXXX)
	chmod 0711 "$SCRATCH"
	export SCRATCH
	rm -f "$WORLD_DIR/capture.pcap"
	agent_start "$SCRATCH/agent"
	export AGENT_DIR AGENT_PID AGENT_SOCKET
	start_server node "$SOAK/server.js" 9450
	start_server /usr/bin/python3 "$SOAK/sockets.py" 9451
	start_server /usr/bin/python3 "$E2E/grpc_server.py" 9452
	write_policies
	local name
	for name in one two; do
		make_sandbox $name "$SCRATCH/flop.yaml"
		put $name "$SOAK/deeds.py" /sandbox/deeds.py
		put $name "$SOAK/client.py" /sandbox/client.py
		put $name "$SOAK/client.mjs" /sandbox/client.mjs
		put $name "$SOAK/calls.py" /sandbox/calls.py
		put $name "$E2E/crowd.py" /sandbox/crowd.py
	done
	export SOAK_SEED=${SOAK_SEED:-$RANDOM$RANDOM}
}

teardown_file() {
	local file
	for file in "$SCRATCH"/server-*.pid; do
		kill "$(<"$file")" 2>/dev/null || true
	done
	stop_all
}

# start_server COMMAND SCRIPT PORT
start_server() {
	nsenter --net="$WORLD_UP" "$1" "$2" "$WORLD_DIR/certs/good.pem" "$3" </dev/null >"$SCRATCH/server-$3.log" 2>&1 3>&- &
	echo $! >"$SCRATCH/server-$3.pid"
	wait_until 20 has_line "$SCRATCH/server-$3.log" ready
}

# Of every second revision: what /flip/ is granted by, and what ends the flows that hold it.
write_policies() {
	sed 's/@FLIP@/flip/' "$SOAK/policy.yaml" >"$SCRATCH/flip.yaml"
	sed 's/@FLIP@/flop/' "$SOAK/policy.yaml" >"$SCRATCH/flop.yaml"
	{ cat "$SCRATCH/flop.yaml" && echo 'limits: { flows: 4 }'; } >"$SCRATCH/limited.yaml"
}

proxy_pid() { osh status -o json | /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)["proxy_pid"])'; }

# Of each kind, how many; but for the one that each worker keeps in reserve from its first flow on.
descriptors() {
	find "/proc/$(proxy_pid)/fd" -mindepth 1 -printf '%l\n' | sed 's/:\[[0-9]*\]$//; /eventfd/d' | sort | uniq -c
}

has_base_descriptors() { [[ $(descriptors) == "$(<"$SCRATCH/base")" ]]; }

# What the proxy's connections are: here, and in the sandboxes' namespaces.
show_connections() {
	local name pid
	diff "$SCRATCH/base" <(descriptors)
	in_px ss -tnpo
	for name in one two; do
		pid=$(osh sandbox get $name -o json | /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)["pid"])')
		nsenter --net --target "$pid" ss -tanpo
	done
}

all_gone() {
	local pid
	for pid; do
		is_gone "$pid" || return 1
	done
}

# What the sanitizers said, and the proxy's death by it. Addresses are for addr2line: a confined proxy
# starts no program that knows their names.
reports() {
	refute grep -aE -A60 "Sanitizer|runtime error|ended: (signal|status)" "$AGENT_DIR/agent.log"
}

# What both sides say of a deed that went wrong, beyond this run.
keep_logs() {
	mkdir -p "$BUILD/soak"
	cp "$SCRATCH"/client-* "$SCRATCH"/server-*.log "$BUILD/soak"
	fail "see $BUILD/soak"
}

@test "mixed traffic: what is not killed comes whole, what is denied is denied" {
	local name client i=0
	local -a pids=() revisions=(flip flop)
	descriptors >"$SCRATCH/base"
	proxy_pid >"$SCRATCH/proxy"
	for name in one two; do
		for client in "python3 client.py" "node client.mjs" "python3 calls.py"; do
			# shellcheck disable=SC2086  # two words
			inside $name $client "$SOAK_SEED.$name" "$SECONDS_TO_SOAK" >"$SCRATCH/client-$name-${client##* }" 2>&1 3>&- &
			pids+=($!)
		done
	done
	until all_gone "${pids[@]}"; do
		osh policy set one --policy "$SCRATCH/${revisions[i % 2]}.yaml" --wait >/dev/null 2>&1
		osh policy set two --policy "$SCRATCH/${revisions[++i % 2]}.yaml" --wait >/dev/null 2>&1
	done
	echo "# seed $SOAK_SEED, $i policies" >&3
	cat "$SCRATCH"/client-* | sed 's/^/# /' >&3
	reports
	for pid in "${pids[@]}"; do
		wait "$pid" || keep_logs
	done
	((i > 4))
	# Every kind was there, whole and cut.
	/usr/bin/python3 - "$SCRATCH"/client-* <<-'EOF'
		import json, sys
		total = {}
		for name in sys.argv[1:]:
		    for deed, (whole, cut) in json.loads(open(name).read().splitlines()[-1]).items():
		        before = total.setdefault(deed, [0, 0])
		        before[0] += whole
		        before[1] += cut
		never = {"names": 1, "refused_call": 1, "cut_by_server": 0, "destroyed": 0, "torn_channel": 0}  # never cut; never whole
		missing = [deed for deed, both in total.items() for i in (0, 1) if not both[i] and never.get(deed) != i]
		sys.exit(f"never happened: {missing}" if missing else 0)
	EOF
}

@test "no flow is stuck: the proxy's descriptors are those of the beginning, its counters start anew" {
	expect_equal "$(proxy_pid)" "$(<"$SCRATCH/proxy")" "the same proxy"
	# Kept upstream connections end by themselves, after 30 s.
	wait_until 60 has_base_descriptors || fail "$(show_connections)"
	local name pid
	for name in one two; do
		osh policy set $name --policy "$SCRATCH/limited.yaml" --wait
		coproc CROWD { inside $name python3 /sandbox/crowd.py hold ok.test 5; } 3>&-
		pid=$CROWD_PID
		read -r -t 60 -u "${CROWD[0]}" LINE
		expect_equal "$LINE" "200 200 200 200 429"
		eval "exec ${CROWD[1]}>&-"
		wait "$pid" || true
	done
}

@test "no sanitizer found anything, and nothing leaked" {
	local name
	for name in one two; do
		osh sandbox delete $name
	done
	agent_stop
	reports
	[[ $BUILD != */san ]] || has_line "$AGENT_DIR/agent.log" "looked for leaks"
}
