#!/usr/bin/env bats
# Ways out of an attached cgroup that no policy speaks of: as in a sandbox, of which the same is asked
# (ways_out.bash). A comment names the case.

bats_require_minimum_version 1.5.0

load helpers
load attach
load ways_out

inside() { in_cgroup "${@:2}"; }

setup() {
	make_place
	attach "$SCRATCH/probe.yaml"
	twin
}
# What must work before and after each attempt.
twin() { expect_equal "$(asked https://ok.test/pub/x)" 200; }

# ---- Where to -----------------------------------------------------------------------------------

@test "each connect of one descriptor is judged afresh" { judge_each_connect box && twin; }

@test "nothing is sent to groups" { send_to_groups box && twin; }

@test "an address in disguise is judged as what it is" { judge_disguises box && twin; }

@test "alternating programs keep their identities" { alternate_programs box && twin; }

@test "the peer's address is the one that was dialled" { show_dialled_peer box && twin; }

# A18: what means this host is the cgroup's own network.
@test "loopback by all its names is its own, and leads to no agent" {
	run in_cgroup /usr/bin/python3 -c 'import socket
server = socket.create_server(("::", 8000), family=socket.AF_INET6, dualstack_ipv6=True)
for host in "127.0.0.1", "127.0.0.2", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1":
    client = socket.create_connection((host, 8000))
    peer, _ = server.accept()
    client.sendall(b"hello")
    print(peer.recv(10))
for host in "198.18.0.1", "::ffff:198.18.0.1":
    try: socket.create_connection((host, 8000), timeout=5)
    except PermissionError: print("refused")'
	expect_equal "$(sort <<<"$output" | uniq -c | xargs)" "6 bhello 2 refused"
}

# A28
@test "names that lead to the host itself or its metadata service are refused" {
	local host
	for host in loop.test metadata.test mapped.test; do
		[[ $(asked "https://$host/") == @(403|502) ]]
		expect_verdicts 1 box dst_host=$host l7_decision=deny engine=ssrf
	done
	expect_equal "$(packets host 169.254.169.254)" 0 "packets to the metadata service"
	twin
}

# A35: no filter of ours is in front of this door.
@test "a connect by the 32-bit door is a connect" {
	local canary address command=tcp
	[[ $(uname -m) != x86_64 ]] || command=tcp_32
	canary=$(new_canary)
	run net_no box "$command" 203.0.113.10 5432 "$canary"
	expect_equal "$output" "connect EPERM"
	expect_absent "$canary"
	expect_verdicts 1 box dst_host=203.0.113.10 dst_port=5432 l7_decision=deny binary="$PROBES/net-no"
	address=$(probe box resolve l4.test | awk '{ print $3 }')
	run net_ok box "$command" "$address" 5432 "$canary"
	expect_contains "$output" "l4 ready"
	expect_arrived "$canary"
}
