#!/usr/bin/env bats
# The agent or its proxy dies: nothing is let through, nothing inside is harmed, and it all
# comes back.

load helpers
load prober

setup_file() { start_all; }
teardown_file() { stop_all; }

setup() {
	# A test that failed may have left none.
	osh status >/dev/null 2>&1 || restart
	BOX=survivor-$BATS_TEST_NUMBER
	make_sandbox "$BOX" probe
	fetch "$BOX" https://ok.test/pub/before
	expect_status 200
}

teardown() { osh sandbox delete "$BOX" || true; }

restart() { agent_start "$AGENT_DIR"; }

@test "SIGKILL of the agent: nothing leaves, the sandbox lives, a new agent takes it over" {
	local before
	INIT=$(pid_of_init)
	start_prober
	wait_until 10 allowed_is 200
	agent_crash
	# Allowed traffic fails too while nobody decides: closed, not open.
	wait_until 10 allowed_is failed
	before=$(mark)
	probe_more 3
	refute is_gone "$INIT"
	expect_absent "$PROBER_CANARY"
	refute has_request "$before" /pub/
	restart
	expect_equal "$(pid_of_init)" "$INIT" "pid of the sandbox"
	wait_until 5 serves_again
	probe_more 2
	expect_absent "$PROBER_CANARY"
	run probe "$BOX" tcp l4.test 5999
	expect_equal "$output" EPERM
	run osh policy get "$BOX"
	diff <(echo "$output") "$(policy probe)"
}

@test "after the takeover the policy can be changed, and programs can be run" {
	INIT=$(pid_of_init)
	agent_crash
	restart
	run inside "$BOX" echo hello
	expect_equal "$output" hello
	osh policy set "$BOX" --policy "$(policy probe_more)" --wait
	fetch "$BOX" https://ok.test/pub/x
	expect_status 403
	fetch "$BOX" https://ok.test/api/x -X PUT -d x
	expect_status 200
	# The revision survives the next one as well.
	agent_crash
	restart
	fetch "$BOX" https://ok.test/pub/x
	expect_status 403
}

@test "an agent that is stopped in order leaves sandboxes running, fenced" {
	INIT=$(pid_of_init)
	start_prober
	agent_stop
	refute is_gone "$INIT"
	probe_more 2
	expect_absent "$PROBER_CANARY"
	restart
	wait_until 5 serves_again
}

@test "programs go on when the agent is killed or stopped in order, under the next one too" {
	local how tasks count=1
	INIT=$(pid_of_init)
	tasks=$(cgroup_of "$INIT")/cgroup.procs
	for how in agent_crash agent_stop; do
		inside "$BOX" sh -c 'echo started; exec tail -f /dev/null' >"$SCRATCH/$how" 2>&1 3>&- &
		wait_until 10 has_line "$SCRATCH/$how" started
		$how
		restart
		count=$((count + 1))
		expect_equal "$(wc -l <"$tasks")" $count "processes after $how"
	done
}

@test "SIGKILL of the proxy: another one is started, nothing leaves meanwhile" {
	local proxy
	INIT=$(pid_of_init)
	start_prober
	BODY=$(osh status -o json)
	proxy=$(json 'b["proxy_pid"]')
	kill -9 "$proxy"
	wait_until 5 serves_again
	BODY=$(osh status -o json)
	[[ $(json 'b["proxy_pid"]') != "$proxy" ]]
	(($(json 'b["proxy_restarts"]') >= 1))
	probe_more 2
	expect_absent "$PROBER_CANARY"
	run probe "$BOX" tcp l4.test 5999
	expect_equal "$output" EPERM
}

@test "addresses given before a crash keep their names" {
	local before after
	run probe "$BOX" resolve ok.test no.test l4.test
	before=$output
	agent_crash
	restart
	run probe "$BOX" resolve l4.test no.test ok.test
	after=$output
	diff <(sort <<<"$before") <(sort <<<"$after")
}

@test "SIGKILL of a sandbox's init ends the sandbox, and it can be deleted" {
	local pid
	INIT=$(pid_of_init)
	inside "$BOX" tail -f /dev/null 3>&- &
	pid=$!
	kill -9 "$INIT"
	wait_until 5 is_gone "$pid"
	dead() { [[ $(osh sandbox get "$BOX" -o json) == *'"dead"'* ]]; }
	wait_until 5 dead
	osh sandbox delete "$BOX"
	run osh sandbox get "$BOX"
	expect_equal "$status" 1
}

@test "records of before and after stand in one history, with rising numbers" {
	agent_crash
	restart
	fetch "$BOX" https://ok.test/pub/later
	expect_status 200
	expect_verdicts 1 "$BOX" l7_target=/pub/before l7_decision=allow
	expect_verdicts 1 "$BOX" l7_target=/pub/later l7_decision=allow
	run /usr/bin/python3 -c 'import json, sys
ids = [json.loads(line)["id"] for line in sys.stdin]
print(ids == sorted(set(ids)))' < <(osh logs "$BOX" -o json)
	expect_equal "$output" True
}

# What a sandbox has after any number of crashes: its processes, and its place in the list.
expect_same_sandboxes() { # BEFORE
	expect_equal "$(osh sandbox list -o json | /usr/bin/python3 -c 'import json, sys
for s in sorted(json.load(sys.stdin), key=lambda s: s["name"]):
    print(s["name"], s["state"], s["pid"])')" "$1"
}

# Sets PROXY. Between two of them its pid is 0, which to kill(1) means all of us.
has_proxy() {
	BODY=$(osh status -o json)
	PROXY=$(json 'b["proxy_pid"]')
	((PROXY > 0))
}

# F01, F02, F03: each round something dies, or is stopped first, at a moment that the seed chooses.
@test "two hundred deaths under traffic: not a byte too many, no sandbox lost" {
	local i before slowest=0 began took seed=${OSH_SEED:-$RANDOM}
	echo "# seed $seed (OSH_SEED)" >&3
	RANDOM=$seed
	make_sandbox other probe
	make_sandbox rests probe
	osh sandbox stop rests
	INIT=$(pid_of_init)
	before=$(printf 'other running %s\nrests stopped 0\n%s running %s' \
		"$(osh sandbox get other -o json | grep -oP '"pid": \K\d+')" "$BOX" "$INIT")
	start_prober
	for ((i = 0; i < 200; i++)); do
		read -r -t "0.0$((RANDOM % 10))" <> <(:) || true
		if ((RANDOM % 4 == 0)); then
			wait_until 10 has_proxy # one that keeps dying young comes back later and later
			kill -9 "$PROXY"
			continue
		fi
		((RANDOM % 4)) || kill -STOP "$(<"$AGENT_DIR/agent.pid")"
		agent_crash
		began=${EPOCHREALTIME/./}
		restart
		took=$(((${EPOCHREALTIME/./} - began) / 1000))
		((took <= slowest)) || slowest=$took
	done
	echo "# until the next agent served: at most $slowest ms" >&3
	wait_until 5 serves_again
	expect_same_sandboxes "$before"
	probe_more 2
	expect_absent "$PROBER_CANARY"
	expect_equal "$(packets 'host 203.0.113.10 and tcp port 5432')" 0 "packets to a port that nobody may reach"
	# What may be missing is told.
	(($(osh logs "$BOX" | grep -c "did not stop in order") >= 100))
	osh sandbox start rests
	osh sandbox delete other rests
}

@test "a policy file torn on disk grants nothing after a restart, until it is set again" {
	local file size cut
	file=$(find "$AGENT_DIR/state/sandboxes/$BOX/policy" -name '*.yaml')
	size=$(stat -c %s "$file")
	cp "$file" "$SCRATCH/whole.yaml"
	for cut in 0 1 $((size / 3)) $((size * 2 / 3)) $((size - 1)); do
		agent_crash
		head -c "$cut" "$SCRATCH/whole.yaml" >"$file"
		restart
		fetch "$BOX" https://ok.test/pub/torn
		[[ $STATUS != 200 ]] || fail "cut at $cut of $size: still allowed"
		fetch "$BOX" https://no.test/pub/torn
		[[ $STATUS != 200 ]]
	done
	settle
	refute has_request 0 /pub/torn
	osh policy set "$BOX" --policy "$(policy probe)" --wait
	fetch "$BOX" https://ok.test/pub/x
	expect_status 200
}
