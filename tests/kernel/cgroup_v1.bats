#!/usr/bin/env bats
# F20. On a host that has mounted cgroup v1 alone (scripts/test-kernel).

load ../e2e/helpers

setup_file() {
	[[ $(</proc/self/mountinfo) != *' - cgroup2 '* ]] || fail "cgroup2 is mounted"
	start_world
	SCRATCH=$(mktemp -d /tmp/openshell-e2e.XXXXXX)
	export SCRATCH
}

teardown_file() { stop_all; }

@test "the agent refuses to start, and says what to mount; mounted, it starts" {
	run agent_start "$SCRATCH/agent"
	expect_equal "$status" 1
	expect_contains "$output" "no cgroup2 file system is mounted: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified"
	mkdir -p /sys/fs/cgroup/unified
	mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
	agent_start "$SCRATCH/agent"
	chmod 0711 "$SCRATCH"
	run osh sandbox create --name box --no-keep -- echo ran
	expect_contains "$output" ran
}
