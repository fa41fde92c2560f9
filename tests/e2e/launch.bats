#!/usr/bin/env bats
# Every step of a launch fails in turn: the program inside does not run, or runs as confined as
# ever. Faults are injected from outside, into the agent and the child that it makes.

load helpers

bats_require_minimum_version 1.5.0

setup_file() {
	start_all
	record_calls >"$SCRATCH/calls"
}

teardown_file() { stop_all; }

# What confines a program, as it sees it.
# shellcheck disable=SC2016  # for the shell inside
PROOF='[ "$(id -u)" -ge 2013265920 ] && echo own user
grep -E "^(Cap...|NoNewPrivs|Seccomp):" /proc/self/status | tr "\t" " "
cat /etc/shadow /proc/kcore; ls /root; echo x >/usr/x; echo x >/x; unshare -U true; ulimit -c; echo ran'
CONFINED='own user
CapInh: 0000000000000000
CapPrm: 0000000000000000
CapEff: 0000000000000000
CapBnd: 0000000000000000
CapAmb: 0000000000000000
NoNewPrivs: 1
Seccomp: 2
0
ran'

# create NAME: sets `output` to what the program said, and `status`.
create() { run --separate-stderr osh sandbox create --name "$1" --no-keep -- sh -c "$PROOF"; }

# One good launch, counted: "CALL TIMES-BY-AGENT TIMES-BY-CHILD" for each call that the child
# makes before it is openshell-init.
record_calls() {
	local tracer
	with_strace -o "$SCRATCH/strace"
	osh sandbox create --no-keep -- true >&2
	end_strace
	awk -v agent="$AGENT_PID" '
		!child && /clone3/ && $NF ~ /^[0-9]+$/ { child = $NF }
		!match($2, /^[a-z_0-9]+\(/) { next }
		{ call = substr($2, 1, RLENGTH - 1) }
		$1 == agent { by_agent[call]++ }
		$1 == child && !is_init { by_child[call]++; is_init = call == "execve" }
		END { for (call in by_child) print call, by_agent[call] + 0, by_child[call] }' "$SCRATCH/strace" | sort
}

# Its first call that cannot be the agent's (which are counted apart), and its last.
times_to_fail() {
	local agent=$1 child=$2
	if ((child <= agent)); then
		echo 1
	else
		printf '%s\n' $((agent + 1)) "$child" | uniq
	fi
}

expect_nothing_left() {
	! osh sandbox get "$1" 2>/dev/null || fail "sandbox $1 is left" || return
	[[ ! -e $AGENT_DIR/state/sandboxes/$1 ]] || fail "the state of $1 is left" || return
	[[ -z $(find "$(cgroup_mount)" -path "*openshell*/$1") ]] || fail "the cgroup of $1 is left"
}

# fails_closed CALL WHEN: whether it was refused.
fails_closed() {
	local name=fault-${1//_/-}-$2 tracer
	with_strace -o /dev/null -e "trace=$1" -e "inject=$1:error=EPERM:when=$2"
	create "$name"
	end_strace
	refute is_gone "$AGENT_PID" || exit 1
	expect_nothing_left "$name" || exit 1
	[[ $output != "$CONFINED" ]] || return 1
	[[ $output != *ran* ]] || fail "$1 fails, the ${2}th time, and the program runs:" "$output" || exit 1
	((status != 0)) || fail "$1 fails, the ${2}th time, and create exits 0" || exit 1
}

@test "without a fault the program runs, confined" {
	create whole
	expect_equal "$output" "$CONFINED"
	expect_equal "$status" 0
	expect_nothing_left whole
}

@test "a call of the agent's own fails: the program does not run" {
	local call
	for call in clone3 socketpair bind listen connect chmod chown mkdir rename setns memfd_create; do
		fails_closed "$call" 1 || fail "$call fails, and the program runs"
	done
}

# F19
@test "any call of the child fails: the program does not run, or as confined as ever" {
	local call agent child when
	while read -r call agent child; do
		for when in $(times_to_fail "$agent" "$child"); do
			fails_closed "$call" "$when" || true
		done
	done <"$SCRATCH/calls"
	create whole
	expect_equal "$output" "$CONFINED"
}

# F20: as on a kernel that was booted without it.
@test "without Landlock: best_effort says so and runs, hard_requirement does not" {
	local tracer mode
	for mode in best_effort hard_requirement; do
		sed "s/compatibility: .* }/compatibility: $mode }/" "$REPO/share/default-policy.yaml" >"$SCRATCH/$mode.yaml"
		with_strace -o /dev/null -e trace=landlock_create_ruleset -e inject=landlock_create_ruleset:error=EOPNOTSUPP
		run osh sandbox create --name nolock --no-keep --policy "$SCRATCH/$mode.yaml" -- echo ran
		end_strace
		if [[ $mode == best_effort ]]; then
			expect_equal "$status" 0
			expect_contains "$output" "filesystem_policy is not enforced: this kernel has no Landlock"
			expect_contains "$output" ran
		else
			expect_equal "$status" 1
			expect_contains "$output" "compatibility is hard_requirement"
			expect_lacks "$output" ran
		fi
		expect_nothing_left nolock
	done
	run osh sandbox create --no-keep --policy "$SCRATCH/hard_requirement.yaml" -- echo ran
	expect_equal "$status" 0
	expect_contains "$output" ran
}
