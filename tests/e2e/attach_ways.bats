#!/usr/bin/env bats
# Ways out of an attached cgroup that no policy speaks of, and programs that are not who they seem: as
# in a sandbox, of which the same is asked (ways_out.bash). A comment names the case.

bats_require_minimum_version 1.5.0

load helpers
load attach
load ways_out

inside() { in_cgroup "${@:2}"; }

setup() {
	make_place
	osh sandbox attach --cgroup "$CG" --name box --policy "$SCRATCH/probe.yaml" --allow-degraded 2>/dev/null
	twin
}
# What must work before and after each attempt.
twin() { expect_equal "$(asked https://ok.test/pub/x)" 200; }

# What the program gets for an allowed request.
status_of() { in_cgroup "$@" -sk -m 20 -o /dev/null -w '%{http_code}' "https://${SITE:-ok.test}/pub/${CANARY:-x}"; }

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

# ---- Who -------------------------------------------------------------------------------------------

# B01, B02, B03, B20, B21: the name that counts is the file's own.
@test "the same bytes at another path are another program, whatever it calls itself" {
	local copy
	CANARY=$(new_canary)
	cp /usr/bin/curl "$PROBES/copy"
	ln "$PROBES/copy" "$PROBES/hard"
	ln -s "$PROBES/copy" "$PROBES/curl"
	copy=$PROBES/$(printf 'a\nb"\377')
	cp /usr/bin/curl "$copy"
	for program in "$PROBES/copy" "$PROBES/hard" "$PROBES/curl" "$copy"; do
		expect_equal "$(status_of "$program")" 403 "$program"
	done
	expect_equal "$(status_of bash -c 'exec -a /usr/bin/curl "$0" "$@"' "$PROBES/copy")" 403
	expect_absent "$CANARY"
	expect_verdicts 3 box binary="$PROBES/copy" l7_decision=deny dst_host=ok.test
	ln -sf /usr/bin/curl "$PROBES/curl"
	expect_equal "$(status_of "$PROBES/curl")" 200
	expect_equal "$(status_of bash -c 'exec -a "$1" /usr/bin/curl "${@:2}"' _ "$PROBES/copy")" 200
}

# B05
@test "a program that is replaced, or written to, is refused until the policy is set again" {
	local before
	before=$(new_canary) CANARY=$(new_canary)
	run net_ok box tcp l4.test 5432 "$before"
	expect_arrived "$before"
	cp "$PROBES/net-no" "$PROBES/next"
	echo >>"$PROBES/next"
	mv "$PROBES/next" "$PROBES/net-ok"
	net_ok box tcp l4.test 5432 "$CANARY" || true
	expect_absent "$CANARY"
	osh policy set box --policy "$SCRATCH/probe.yaml" --wait 2>/dev/null
	run net_ok box tcp l4.test 5432 "$CANARY"
	expect_arrived "$CANARY"
	CANARY=$(new_canary)
	echo >>"$PROBES/net-ok"
	net_ok box tcp l4.test 5432 "$CANARY" || true
	expect_absent "$CANARY"
}

# B07
@test "a program without a file has no identity" {
	CANARY=$(new_canary)
	[[ $(status_of /usr/bin/python3 -c 'import os, sys
fd = os.memfd_create("curl")
os.write(fd, open("/usr/bin/curl", "rb").read())
os.execve(fd, ["/usr/bin/curl"] + sys.argv[1:], os.environ)' -4) == 000 ]]
	expect_absent "$CANARY"
	expect_verdicts 1 box "binary~memfd:curl" l7_decision=deny dst_host=ok.test
	expect_equal "$(status_of /usr/bin/python3 -c 'import os, sys
os.execve(os.open("/usr/bin/curl", os.O_RDONLY), ["x"] + sys.argv[1:], os.environ)')" 200
}

# B13
@test "a double fork with its own session keeps binary and lineage" {
	local fork_twice=(/usr/bin/python3 "$E2E/probe.py" fork_twice /usr/bin/curl)
	SITE=tunnel.test # for what runs below timeout
	expect_equal "$(status_of timeout 20 "${fork_twice[@]}")" 200
	expect_verdicts 1 box dst_host=$SITE l7_decision=allow binary=/usr/bin/curl 'lineage~/usr/bin/timeout'
	CANARY=$(new_canary)
	expect_equal "$(status_of "${fork_twice[@]}")" 403
	expect_absent "$CANARY"
}
