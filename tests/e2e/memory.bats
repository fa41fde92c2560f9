#!/usr/bin/env bats
# F07: memory runs out at any allocation, for once or from then on (tests/e2e/preload.c). Nothing is let
# through, the program says so or ends with a word, and the next one has everything again.

load helpers

EVER=1000000000 # allocations

setup_file() {
	start_preloaded
	echo "# seed ${OSH_SEED:=$RANDOM} (OSH_SEED)" >&3
	export OSH_SEED
}

teardown_file() { stop_all; }

setup() {
	RANDOM=$OSH_SEED
	preload_agents
	set_faults "$FAULTS"
	agent_start "$SCRATCH/agent"
	make_sandbox box "$SCRATCH/probe.yaml"
	CANARY=$(new_canary)
	OTHER=made-$WORLD_NAME
	served
}

teardown() {
	set_faults "$FAULTS"
	set_faults "$FAULTS.proxy"
	! is_gone "$(<"$AGENT_DIR/agent.pid")" || agent_start "$AGENT_DIR"
	osh sandbox delete --all >/dev/null || true
	agent_stop
}

served() {
	fetch box https://ok.test/pub/x
	expect_status 200
}

# sample MOST COUNT: so many numbers from 1 to MOST, one in each of as many equal parts.
sample() {
	local i
	for ((i = 0; i < $2; i++)); do
		echo $((1 + i * $1 / $2 + (RANDOM * 32768 + RANDOM) % ($1 / $2 + 1)))
	done
}

pid_of_init() { osh sandbox get box -o json | grep -oP '"pid": \K\d+'; }
features() { osh status -o json | /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)["features"])'; }

# expect_last_word STATUS WHAT: an agent does not crash, and says why it ends.
expect_last_word() {
	(($1 == 1)) || fail "$2: it ends with $1:" "$(tail -n 5 "$AGENT_DIR/agent.log")"
	grep -q "openshelld: " <(grep -v ": info: " "$AGENT_DIR/agent.log") || fail "$2: it ends without a word"
}

has_begun() { is_gone "$AGENT_PID" || has_line "$AGENT_DIR/agent.log" "info: serving in"; }

# begin_without FIRST COUNT: an agent that starts without these allocations, to its end.
begin_without() {
	local result=0 what="without $2 allocations from $1 on"
	: >"$AGENT_DIR/agent.log"
	set_faults "$FAULTS" 0 "$1" "$2"
	agent_program </dev/null >>"$AGENT_DIR/agent.log" 2>&1 3>&- &
	AGENT_PID=$!
	echo "$AGENT_PID" >"$AGENT_DIR/agent.pid"
	wait_until 20 has_begun || fail "$what it neither serves nor ends" || return
	set_faults "$FAULTS"
	if is_gone "$AGENT_PID"; then
		wait "$AGENT_PID" || result=$?
		expect_last_word "$result" "$what"
		return
	fi
	wait_until 20 agent_answers
	expect_equal "$(features)" "$FEATURES" "what it believes of the kernel $what" || return
	kill "$AGENT_PID"
	wait "$AGENT_PID" || fail "$what it serves, and cannot stop"
}

@test "an agent starts without memory: it serves all, or ends with a word and touches nothing" {
	local all first init
	init=$(pid_of_init)
	FEATURES=$(features)
	inside box sh -c 'trap "" HUP; while :; do curl -sk -m 2 "https://no.test/$1" "http://203.0.113.10/$1"; done' _ "$CANARY" \
		>/dev/null 2>&1 3>&- & # which goes on without the agent that started it
	agent_stop
	set_faults "$FAULTS"
	agent_start "$AGENT_DIR"
	all=$(allocations "$FAULTS")
	agent_stop
	# The first thousand are its own, most of the others OpenSSL's and the policy's.
	for first in $(sample 1000 30) $(sample "$all" 10); do
		begin_without "$first" 1
		refute is_gone "$init"
	done
	for first in $(sample 1000 8); do
		begin_without "$first" $EVER
		refute is_gone "$init"
	done
	agent_start "$AGENT_DIR"
	expect_equal "$(pid_of_init)" "$init"
	served
	expect_absent "$CANARY"
}

# alive WHAT: the agent is there, or another one after a last word.
alive() {
	local result=0
	is_gone "$AGENT_PID" || return 0
	wait "$AGENT_PID" || result=$?
	expect_last_word "$result" "$1" || return
	agent_start "$AGENT_DIR"
}

# attempt FIRST COUNT COMMAND...: the agent lacks these allocations meanwhile; sets `output`, `status` and
# USED, how many it asked for.
attempt() {
	local first=$1 count=$2
	shift 2
	: >"$AGENT_DIR/agent.log"
	set_faults "$FAULTS" 0 "$first" "$count"
	run timeout 30 "$BUILD/openshell" "$@" </dev/null
	USED=$(allocations "$FAULTS")
	set_faults "$FAULTS"
	((status != 124)) || fail "$* hangs without $count allocations from $first on" || return
	alive "$* without $count allocations from $first on"
}

# Whether it was there when the answer got lost, or was never made: it runs whole, or nothing of it is left.
creates() {
	attempt "$1" "$2" sandbox create --name "$OTHER" --policy "$SCRATCH/probe.yaml" --detach -- tail -f /dev/null
	if ((status == 0)); then
		expect_equal "$(probe "$OTHER" tcp l4.test 5999)" EPERM || return
	fi
	osh sandbox delete "$OTHER" >/dev/null 2>&1 || true
	[[ ! -e $AGENT_DIR/state/sandboxes/$OTHER ]] || fail "without $2 from $1 on its state is left" || return
	[[ -z $(find "$(cgroup_mount)" -path "*openshell*/$OTHER") ]] || fail "without $2 from $1 on its cgroup is left"
}

@test "a sandbox is made without memory: it is whole, or nothing of it is there" {
	local all first init
	init=$(pid_of_init)
	creates 0 0
	expect_equal "$status" 0
	all=$USED
	for first in $(sample "$all" 40); do creates "$first" 1; done
	for first in $(sample "$all" 6); do creates "$first" $EVER; done
	expect_equal "$(pid_of_init)" "$init"
	served
}

# Which of two policies is in force: by what only one of them allows, and as the agent tells it.
expect_one_policy() {
	local told
	told=$(osh policy get box)
	fetch box https://ok.test/pub/x
	if [[ $told == "$(<"$SCRATCH/probe.yaml")" ]]; then
		expect_status 200
	else
		expect_equal "$told" "$(<"$(policy probe_more)")"
		expect_status 403
	fi
}

@test "a policy is set without memory: one of the two is in force, and told" {
	local first all
	attempt 0 0 policy set box --policy "$(policy probe_more)" --wait
	all=$USED
	osh policy set box --policy "$SCRATCH/probe.yaml" --wait
	for first in $(sample "$all" 25); do
		attempt "$first" 1 policy set box --policy "$(policy probe_more)" --wait
		((status != 0)) || expect_equal "$(osh policy get box)" "$(<"$(policy probe_more)")"
		expect_one_policy
		osh policy set box --policy "$SCRATCH/probe.yaml" --wait
	done
	for first in $(sample "$all" 6); do
		attempt "$first" $EVER policy set box --policy "$(policy probe_more)" --wait
		expect_one_policy
		osh policy set box --policy "$SCRATCH/probe.yaml" --wait
	done
	served
}

# ask FIRST COUNT URL: of a proxy that lacks these allocations.
ask() {
	set_faults "$FAULTS.proxy" 0 "$1" "$2"
	fetch box "$3" -m 5 || true
	set_faults "$FAULTS.proxy"
}

@test "requests are judged without memory: served, refused or ended, none let through" {
	local first all served=0 ended=0
	: >"$AGENT_DIR/agent.log"
	for first in $(sample 900 40) $(sample 900 10); do
		ask "$first" $((served + ended < 40 ? 1 : EVER)) https://ok.test/pub/x
		if [[ $STATUS == 200 ]]; then served=$((served + 1)); else ended=$((ended + 1)); fi
		ask "$first" 1 "https://no.test/pub/$CANARY"
		[[ $STATUS != 200 ]] || fail "without allocation $first it is let through"
	done
	((served > 2 && ended > 10)) || fail "$served served, $ended ended"
	served # on the connection to the server that the next one finds
	set_faults "$FAULTS.proxy"
	served
	all=$(allocations "$FAULTS.proxy")
	for ((first = all - 50; first <= all; first++)); do # each, while the answer is queued for HTTP/2
		ask "$first" 1 https://ok.test/pub/x
	done
	expect_absent "$CANARY"
	served
	expect_lacks "$(<"$AGENT_DIR/agent.log")" "ended: signal"
}

proxy_pid() { osh status -o json | grep -oP '"proxy_pid": ?\K\d+'; }
has_another() { [[ $(proxy_pid) != "$1" && $(proxy_pid) != 0 ]]; }

@test "a proxy starts without memory: it serves, or ends with a word and another one does" {
	local first proxy
	: >"$AGENT_DIR/agent.log"
	for first in $(sample 40 3) $(sample 6000 4); do
		proxy=$(proxy_pid)
		set_faults "$FAULTS.proxy" 0 "$first" 1
		kill -9 "$proxy"
		wait_until 30 has_another "$proxy"
		fetch box "https://no.test/pub/$CANARY" -m 5 || true
		[[ $STATUS != 200 ]] || fail "without allocation $first it is let through"
		set_faults "$FAULTS.proxy"
		wait_until 20 eval "served 2>/dev/null"
	done
	expect_absent "$CANARY"
	expect_lacks "$(sed '/ended: signal 9;/d' "$AGENT_DIR/agent.log")" "ended: signal"
}
