#!/usr/bin/env bats
# Every part may die at any moment: nothing is let through, no sandbox is lost, and the next agent has
# everything again. A comment names the case.

bats_require_minimum_version 1.5.0

OSH_BUILD_DIR=$(readlink -f "${BATS_TEST_DIRNAME:?}/../..")/build/knockout
load helpers

setup_file() { start_knockout; }

teardown_file() { stop_all; }

teardown() {
	[[ ${AGENT_DIR:-} ]] || return 0
	unset OSH_CRASH_AT
	thaw
	! is_gone "$(<"$AGENT_DIR/agent.pid")" || agent_start "$AGENT_DIR"
	osh sandbox delete --all >/dev/null || true
	agent_stop
}

agent_here() { agent_start "$SCRATCH/$BATS_TEST_NUMBER"; }

state_of() {
	BODY=$(osh sandbox get "$1" -o json 2>/dev/null) && json 'b["state"]' || echo none
}

pid_of() {
	BODY=$(osh sandbox get "$1" -o json)
	json 'b["pid"]'
}

# ---- A crash at every step ------------------------------------------------------------------

# What a user may do with a sandbox, up to where the agent dies. 1 when it died.
life() {
	local policy
	policy=$(policy probe)
	agent_here 2>/dev/null &&
		osh sandbox create --name s --policy "$policy" --detach -- sh -c 'echo work >/sandbox/file; exec tail -f /dev/null' &&
		wait_until 5 inside s test -s /sandbox/file &&
		osh policy set s --policy "$(policy probe_more)" --wait &&
		osh policy set s --policy "$policy" --wait &&
		osh sandbox stop s && touch "$SCRATCH/was-stopped" &&
		osh sandbox start s &&
		osh sandbox delete s && touch "$SCRATCH/was-deleted" &&
		agent_stop && [[ ! -e $AGENT_DIR/state/openshelld.lock ]] && touch "$SCRATCH/ended" # its last step
} >"$SCRATCH/life" 2>&1

# What the next agent has to make of it, and what may have been left.
after_life() {
	local at=$1 state
	agent_here || fail "after a crash at point $at no agent starts" || return
	state=$(state_of s)
	[[ $state =~ ^(running|stopped|none)$ ]] || fail "after a crash at point $at it is $state" || return
	if [[ -e $SCRATCH/was-stopped && ! -e $SCRATCH/was-deleted ]]; then
		# Whole on disk, so nothing may be lost but at its deletion.
		[[ $state != none ]] || grep -q "sandbox deleted" <(osh logs s) || fail "point $at lost a sandbox" || return
	fi
	if [[ $state == running ]]; then
		expect_equal "$(probe s tcp l4.test 5999)" EPERM "at point $at, a port that no policy names" || return
	elif [[ $state == stopped ]]; then
		osh sandbox start s >/dev/null || fail "point $at: what is stopped does not start" || return
		expect_equal "$(inside s cat /sandbox/file)" work "point $at" || return
	fi
	osh sandbox delete --all >/dev/null && agent_stop || return
	expect_equal "$("$BUILD/openshelld" --config "$AGENT_DIR/config.yaml" --sweep 2>&1)" "" "what a sweep finds after point $at" || return
	expect_equal "$(find "$AGENT_DIR/state/sandboxes" "$AGENT_DIR/run" -mindepth 1 | head -n 3)" "" "left by point $at"
}

# die_at_each LIFE AFTER: at every crash point of that life; sets $at to how many it has, and one.
die_at_each() {
	for ((at = 1; ; at++)); do
		rm -f "$SCRATCH"/was-* "$SCRATCH/ended"
		export OSH_CRASH_AT=$at
		"$1" || true
		unset OSH_CRASH_AT
		[[ ! -e $SCRATCH/ended ]] || break
		wait_until 5 is_gone "$(<"$AGENT_DIR/agent.pid")" || fail "at point $at it did not die: $(<"$SCRATCH/life")"
		"$2" "$at"
	done
	AGENT_DIR=
	echo "# $at crash points" >&3
}

# F01
@test "the agent dies between any two steps: the next one copes, and nothing is left" {
	local at
	die_at_each life after_life
	((at > 60))
}

# A cgroup of somebody else's is attached and let go. As life().
attached_life() {
	agent_here 2>/dev/null &&
		osh sandbox attach --cgroup "$CG" --name a --policy "$(policy probe)" --allow-degraded && touch "$SCRATCH/was-attached" &&
		osh sandbox detach a && touch "$SCRATCH/was-detached" &&
		agent_stop && touch "$SCRATCH/ended"
} >"$SCRATCH/life" 2>&1

# Whole, or not at all: what was not told to be attached is as it was before.
after_attached_life() {
	local at=$1 canary
	agent_here || fail "after a crash at point $at no agent starts" || return
	if [[ $(state_of a) == none ]]; then
		[[ ! -e $SCRATCH/was-attached || $(osh logs a) == *detached* ]] || fail "point $at lost an attachment" || return
		canary=$(new_canary)
		in_cgroup "$PROBES/net-no" tcp 203.0.113.10 5432 "$canary"
		expect_arrived "$canary"
	else
		expect_equal "$(in_cgroup "$PROBES/net-no" tcp 203.0.113.10 5432 "$(new_canary)")" "connect EPERM" "point $at" || return
		osh sandbox detach a
	fi
	agent_stop || return
	expect_equal "$(ip -n "${WORLD_PX##*/}" -o addr show lo | grep -c 198.18)" 0 "addresses left by point $at"
}

in_cgroup() {
	bash -c 'echo $$ >"$1/cgroup.procs" && exec nsenter --net="$2" "${@:3}"' _ "$CG" "$WORLD_PX" "$@"
}

# F01
@test "the agent dies between any two steps of attaching: the cgroup is attached, or as before" {
	local at
	CG=$(cgroup_mount)/osh-recovery-$$
	mkdir "$CG"
	in_cgroup tail -f /dev/null --pid=$$ 3>&- &
	die_at_each attached_life after_attached_life
	echo 1 >"$CG/cgroup.kill"
	is_empty() { grep -q "populated 0" "$CG/cgroup.events"; }
	wait_until 5 is_empty
	rmdir "$CG"
	((at > 20))
}

# ---- Taking over, sweeping ------------------------------------------------------------------

# One with work in it that runs, one that is stopped, one that is not to be kept.
three_sandboxes() {
	agent_here
	osh sandbox create --name runs --policy "$(policy probe)" --detach -- sh -c 'echo work >/sandbox/file; exec tail -f /dev/null'
	wait_until 5 inside runs test -s /sandbox/file
	make_sandbox rests probe
	osh sandbox stop rests
	osh sandbox create --name brief --policy "$(policy probe)" --no-keep -- tail -f /dev/null 3>&- &
	wait_until 5 is_state brief running
}

is_state() { [[ $(state_of "$1") == "$2" ]]; }

take_over() {
	nsenter --net="$WORLD_PX" "$BUILD/openshelld" --config "$AGENT_DIR/config.yaml" --takeover \
		</dev/null >>"$AGENT_DIR/agent.log" 2>&1 3>&- &
	AGENT_PID=$!
	echo "$AGENT_PID" >"$AGENT_DIR/agent.pid"
}

# F23
@test "an agent takes the place of the one that runs, also of one that does not hear" {
	local how old init
	three_sandboxes
	init=$(pid_of runs)
	for how in CONT STOP; do
		old=$(<"$AGENT_DIR/agent.pid")
		kill "-$how" "$old"
		take_over
		wait_until 10 is_gone "$old"
		[[ $how == STOP ]] || wait "$old" # in order: who does not hear is killed
		wait_until 10 osh status
		expect_equal "$(pid_of runs)" "$init"
		expect_equal "$(state_of rests)" stopped
		fetch runs https://ok.test/pub/x
		expect_status 200
	done
	# Where there is none it is a start like any other.
	agent_stop
	take_over
	wait_until 10 osh status
	expect_equal "$(pid_of runs)" "$init"
}

# take_over_at_once: three of them, whose pids are $takers, and what they say in $SCRATCH/taker-N.
take_over_at_once() {
	local i
	takers=()
	for i in 0 1 2; do
		nsenter --net="$WORLD_PX" "$BUILD/openshelld" --config "$AGENT_DIR/config.yaml" --takeover \
			</dev/null >"$SCRATCH/taker-$i" 2>&1 3>&- &
		takers+=($!)
	done
	if ! wait_until 20 is_one_left "${takers[@]}"; then
		kill -9 "${takers[@]}"
		fail "$(tail -n 3 "$SCRATCH/taker-"?)"
	fi
}

# is_one_left PID...: and it answers. From then on it is the tests' agent.
is_one_left() {
	local pid
	local -a left=()
	for pid; do
		is_gone "$pid" || left+=("$pid")
	done
	((${#left[@]} == 1)) && osh status >/dev/null 2>&1 && echo "${left[0]}" >"$AGENT_DIR/agent.pid"
}

# ended_well STATUS FILE: in order, killed since it did not in time, or second.
ended_well() {
	case $1 in
	0) has_line "$2" "stopping on SIGTERM" ;;
	137) cat "$SCRATCH/taker-"? | grep -q "it does not end: killing it" ;;
	3) has_line "$2" "another openshelld \(pid [0-9]+\) was first to take the place in" ;;
	*) false ;;
	esac
}

# F23
@test "of agents that take over at once one serves, and the others say which or end in order" {
	local init round i status
	local -a takers
	three_sandboxes
	init=$(pid_of runs)
	for ((round = 0; round < 8; round++)); do
		take_over_at_once
		for i in 0 1 2; do
			[[ ${takers[i]} != "$(<"$AGENT_DIR/agent.pid")" ]] || continue
			status=0
			wait "${takers[i]}" || status=$?
			ended_well "$status" "$SCRATCH/taker-$i" || fail "exit status $status: $(<"$SCRATCH/taker-$i")"
		done
		BODY=$(osh status -o json)
		expect_equal "$(json 'b["pid"]')" "$(<"$AGENT_DIR/agent.pid")" "who serves"
		expect_equal "$(pid_of runs),$(state_of runs),$(state_of rests)" "$init,running,stopped"
	done
	fetch runs https://ok.test/pub/x
	expect_status 200
	expect_equal "$(probe runs tcp l4.test 5999)" EPERM
}

# freeze: what SIGTERM, or SIGCONT before it, does not end. Until thaw, which ends each test.
freeze() {
	FROZEN=$(cgroup_mount)/osh-frozen-$$
	mkdir "$FROZEN"
	echo "$1" >"$FROZEN/cgroup.procs"
	echo 1 >"$FROZEN/cgroup.freeze"
	wait_until 5 has_line "$FROZEN/cgroup.events" "frozen 1"
}

thaw() {
	[[ ${FROZEN:-} ]] || return 0
	echo 0 >"$FROZEN/cgroup.freeze"
	wait_until 10 rmdir "$FROZEN" 2>/dev/null
	unset FROZEN
}

# F23: the agent that it was to follow ends when it can. A closed terminal calls nothing off.
@test "a takeover that is called off ends at once, and kills nobody" {
	local taker agent status=0
	three_sandboxes
	agent=$(<"$AGENT_DIR/agent.pid")
	freeze "$agent"
	nsenter --net="$WORLD_PX" "$BUILD/openshelld" --config "$AGENT_DIR/config.yaml" --takeover \
		</dev/null >"$SCRATCH/taker" 2>&1 3>&- &
	taker=$!
	wait_until 5 has_line "$SCRATCH/taker" "taking over from"
	kill -HUP "$taker"
	kill -TERM "$taker"
	wait "$taker" || status=$?
	expect_equal "$status" 1 "exit status"
	has_line "$SCRATCH/taker" "called off; the agent that works in .* was asked to end"
	refute is_gone "$agent"
	thaw
	wait_until 10 is_gone "$agent"
	has_line "$AGENT_DIR/agent.log" "stopping on SIGTERM"
	agent_start "$AGENT_DIR"
	expect_equal "$(state_of runs),$(state_of rests)" running,stopped
}

# Inside: one more request on the flow that it has, for each file ask-N; on a new one where that has ended.
ASKER='import http.client, os, ssl, time
context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
flow = http.client.HTTPSConnection("ok.test", context=context, timeout=60)
def ask():
    flow.request("GET", "/pub/x")
    answer = flow.getresponse()
    answer.read()
    return answer.status
said, number = open("/sandbox/said", "w", buffering=1), 0
while True:
    while not os.path.exists(f"/sandbox/ask-{number}"):
        time.sleep(0.02)
    try:
        print(number, "kept", ask(), file=said)
    except (OSError, http.client.HTTPException):
        flow.close()
        print(number, "ended, anew", ask(), file=said)
    number += 1'

# ask_again INIT N: it is served, by either.
ask_again() {
	: >"/proc/$1/root/sandbox/ask-$2"
	wait_until 10 has_line "/proc/$1/root/sandbox/said" "^$2 .* 200$" || fail "$(<"/proc/$1/root/sandbox/said")"
}

# programs_at DIR FROM: a copy of the programs there, instead of what was there.
programs_at() { rm -rf "$1" && mkdir "$1" && cp "$2"/openshell{,d,-init} "$1/"; }

# F23: what an upgrade does. The builds differ, so that it is seen which one runs.
@test "an agent of another build takes over from one whose file is gone, or is another one by now" {
	local old init denied round=0 from builds=("$REPO/build" "$BUILD")
	programs_at "$SCRATCH/first" "$BUILD"
	BUILD=$SCRATCH/first
	agent_here
	osh sandbox create --name runs --policy "$(policy probe)" --detach -- /usr/bin/python3 -c "$ASKER" 2>/dev/null
	init=$(pid_of runs)
	wait_until 5 test -e "/proc/$init/root/sandbox/said"
	ask_again "$init" 0
	for from in "${builds[@]}"; do
		old=$(<"$AGENT_DIR/agent.pid")
		rm -r "$BUILD"
		[[ $((++round)) == 2 ]] || BUILD=$SCRATCH/second # and then at the same place
		programs_at "$BUILD" "$from"
		expect_contains "$(readlink "/proc/$old/exe")" "(deleted)"
		take_over
		wait_until 10 is_gone "$old"
		wait "$old" # in order
		wait_until 10 osh status >/dev/null
		BODY=$(osh status -o json)
		expect_equal "$(json 'b["pid"]')" "$AGENT_PID" "the agent's pid"
		cmp "/proc/$AGENT_PID/exe" "$from/openshelld"
		expect_equal "$(pid_of runs),$(state_of runs)" "$init,running"
		ask_again "$init" "$round"
		denied=$(new_canary)
		fetch runs "https://ok.test/other/$denied"
		expect_status 403
		expect_equal "$(probe runs tcp l4.test 5999)" EPERM
		expect_absent "$denied"
		fetch runs https://ok.test/pub/x
		expect_status 200
		# Also what is made from now on.
		make_sandbox "next-$round" probe
		fetch "next-$round" https://ok.test/pub/x
		expect_status 200
	done
}

# F18
@test "a sweep ends and removes what no agent takes over, and keeps files" {
	local init
	three_sandboxes
	init=$(pid_of runs)
	run -1 "$BUILD/openshelld" --config "$AGENT_DIR/config.yaml" --sweep
	expect_contains "$output" "another openshelld"
	refute is_gone "$init"
	agent_crash
	run -0 "$BUILD/openshelld" --config "$AGENT_DIR/config.yaml" --sweep
	expect_contains "$output" "sandbox runs: ended; its files stay"
	expect_contains "$output" "sandbox brief: ended and removed"
	is_gone "$init"
	expect_equal "$(find "$AGENT_DIR/run" -mindepth 1)" ""
	run -0 "$BUILD/openshelld" --config "$AGENT_DIR/config.yaml" --sweep
	expect_equal "$output" "" # nothing is left
	agent_here
	expect_equal "$(osh sandbox list -o name | sort | paste -sd,)" rests,runs
	osh sandbox start runs rests
	expect_equal "$(inside runs cat /sandbox/file)" work
}

# The pins of the agent under which NAME runs: its cgroup carries the same key.
pins_of() {
	local cgroup
	cgroup=$(cgroup_of "$(pid_of "$1")")
	cgroup=${cgroup%/*}
	echo "/sys/fs/bpf/openshell${cgroup##*openshell-}"
}

# F23: as by a restart of the service, after which the old agent is gone.
@test "after an upgrade that changes the layout the way back and the sweep lead out, as the message says" {
	local pins layout init
	agent_here
	make_sandbox runs probe
	echo work | inside runs sh -c 'cat >/sandbox/file'
	init=$(pid_of runs)
	pins=$(pins_of runs)
	layout=$(basename "$pins"/layout-*)
	agent_stop
	mv "$pins/$layout" "$pins/layout-0"
	run -1 agent_program
	expect_contains "$output" "start that version again"
	expect_contains "$output" "openshelld --sweep"
	refute is_gone "$init"
	expect_fenced "$init"
	mv "$pins/layout-0" "$pins/$layout"
	agent_here # that version
	expect_equal "$(pid_of runs)" "$init"
	fetch runs https://ok.test/pub/x
	expect_status 200
	agent_stop
	mv "$pins/$layout" "$pins/layout-0"
	run -0 "$BUILD/openshelld" --config "$AGENT_DIR/config.yaml" --sweep
	expect_contains "$output" "sandbox runs: ended; its files stay"
	is_gone "$init"
	[[ ! -e $pins ]]
	agent_here
	osh sandbox start runs
	expect_equal "$(inside runs cat /sandbox/file)" work
	fetch runs https://ok.test/pub/x
	expect_status 200
}

# expect_fenced INIT: in its cgroup and network nothing is reached.
expect_fenced() {
	local said
	said=$(bash -c 'echo $$ >"$1/cgroup.procs" && exec nsenter --net="/proc/$2/ns/net" "$3" tcp 203.0.113.10 5432 "$4"' \
		_ "$(cgroup_of "$1")" "$1" "$PROBES/net-no" "$(new_canary)") || true
	expect_equal "$said" "connect EPERM"
}

# F04: agent and init are dead, or the host was started anew.
@test "a sandbox whose programs have ended under no agent is stopped, with its files" {
	local init
	three_sandboxes
	init=$(pid_of runs)
	agent_crash
	kill -9 "$init"
	wait_until 5 is_gone "$init"
	agent_here
	expect_equal "$(state_of runs),$(state_of rests),$(state_of brief)" stopped,stopped,none
	osh sandbox start runs
	expect_equal "$(inside runs cat /sandbox/file)" work
	fetch runs https://ok.test/pub/x
	expect_status 200
}
