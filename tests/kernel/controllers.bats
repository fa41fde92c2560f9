#!/usr/bin/env bats
# On a host whose cgroup2 has every controller (scripts/test-kernel): limits hold, also after a
# stop and a start.

load ../e2e/helpers

bats_require_minimum_version 1.5.0

setup_file() {
	grep -qw pids "$(cgroup_mount)/cgroup.controllers" || fail "cgroup2 has no controllers here"
	start_all
}

teardown_file() { stop_all; }

# As many as may be, and who is told: fork fails inside.
forks() { inside "$1" sh -c 'n=0; while [ $n -lt 60 ]; do sleep 100 & n=$((n + 1)); done; echo all' 2>&1; }

# Touch 200 MiB: killed when that is too much.
takes_memory() { inside "$1" python3 -c 'x = bytearray(200 << 20); print("taken")' 2>&1; }

@test "limits of processes, memory and processors are enforced, and nobody is warned" {
	local said cgroup
	said=$(osh sandbox create --name box --pids 30 --memory 96M --cpu 0.5 </dev/null 2>&1)
	expect_lacks "$said" "not enforced"
	expect_equal "$(osh sandbox get box | sed -n 's/^limits: *//p')" "cpu 0.5, memory 96M, pids 30"
	cgroup=$(cgroup_of "$(osh sandbox get box -o json | /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)["pid"])')")
	expect_equal "$(<"$cgroup/cpu.max")" "50000 100000"
	run forks box
	expect_lacks "$output" all
	osh sandbox stop box
	osh sandbox start box
	run takes_memory box
	expect_lacks "$output" taken
	run forks box
	expect_lacks "$output" all
	osh sandbox delete box
}

@test "without limits the same is let through" {
	make_sandbox free default
	run forks free
	expect_contains "$output" all
	run takes_memory free
	expect_contains "$output" taken
	run osh status
	expect_contains "$(tr -s ' ' <<<"$output")" "cgroup2 controller memory yes -"
}
