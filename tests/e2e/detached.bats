#!/usr/bin/env bats
# Somebody detaches every kernel program by force: the network namespace alone still holds.

load helpers

setup_file() { start_all; }
teardown_file() { stop_all; }

links() {
	local cgroup
	BODY=$(osh sandbox get out -o json)
	cgroup=$(dirname "$(cgroup_of "$(json 'b["pid"]')")")
	find "/sys/fs/bpf/openshell${cgroup##*openshell-}" -path '*/links/*' -type f
}

# A39
@test "with all links detached nothing leaves; a new agent protects again" {
	local canary link count=0 address
	canary=$(new_canary)
	make_sandbox out probe
	fetch out https://ok.test/pub/x
	expect_status 200
	run probe out tcp 203.0.113.10 5432 "$canary"
	expect_equal "$output" EPERM
	for link in $(links); do
		# Tracing links cannot be detached by force; what they record is not what holds.
		bpftool link detach pinned "$link" 2>/dev/null && count=$((count + 1))
	done
	((count >= 8)) || fail "only $count links could be detached"
	# Now nothing in the kernel says no: whatever the answer, no packet may arrive.
	for address in 203.0.113.10 2001:db8::10 198.19.200.200; do
		run timeout 20 "$BUILD/openshell" sandbox exec out -- timeout 5 python3 - tcp "$address" 5432 "$canary" <"$E2E/probe.py"
		expect_lacks "$output" "l4 ready"
	done
	run timeout 20 "$BUILD/openshell" sandbox exec out -- timeout 5 python3 - udp 203.0.113.10 9999 "$canary" <"$E2E/probe.py"
	expect_absent "$canary"
	expect_equal "$(packets 'dst host 203.0.113.10 and port 5432')" 0 "packets that left"
	# The next agent puts new ones in their place, around what runs.
	agent_stop
	agent_start "$AGENT_DIR"
	run probe out tcp 203.0.113.10 5432 "$canary"
	expect_equal "$output" EPERM
	fetch out https://ok.test/pub/x
	expect_status 200
}
