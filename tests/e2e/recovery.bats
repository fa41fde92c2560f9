#!/usr/bin/env bats
# Every part may die at any moment: nothing is let through, no sandbox is lost, and the next agent has
# everything again. A comment names the case.

OSH_BUILD_DIR=$(readlink -f "${BATS_TEST_DIRNAME:?}/../..")/build/knockout
load helpers

setup_file() {
	build_knockout
	start_world
	SCRATCH=$(mktemp -d /tmp/openshell-e2e.XXXXXX)
	chmod 0711 "$SCRATCH"
	export SCRATCH
	install_probe
}

teardown_file() { stop_all; }

teardown() {
	[[ ${AGENT_DIR:-} ]] || return 0
	unset OSH_CRASH_AT
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
		agent_stop && touch "$SCRATCH/ended"
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
	expect_equal "$(find "$AGENT_DIR/state/sandboxes" "$AGENT_DIR/run" -mindepth 1 | head -n 3)" "" "left by point $at"
}

# F01
@test "the agent dies between any two steps: the next one copes, and nothing is left" {
	local at
	for ((at = 1; ; at++)); do
		rm -f "$SCRATCH"/was-* "$SCRATCH/ended"
		export OSH_CRASH_AT=$at
		life || true
		unset OSH_CRASH_AT
		[[ ! -e $SCRATCH/ended ]] || break
		wait_until 5 is_gone "$(<"$AGENT_DIR/agent.pid")" || fail "at point $at it did not die: $(<"$SCRATCH/life")"
		after_life "$at"
	done
	AGENT_DIR=
	echo "# $at crash points" >&3
	((at > 60))
}
