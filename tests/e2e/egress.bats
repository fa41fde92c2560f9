#!/usr/bin/env bats
# Ways out of a sandbox that no policy speaks of. Each denial beside what must still work.

load helpers

setup_file() {
	start_all
	make_sandbox out probe
}

teardown_file() { stop_all; }

# twin: what must work before and after each attempt.
twin() {
	fetch out https://ok.test/pub/x
	expect_status 200
}

setup() { twin; }
teardown() { twin; }

@test "TCP: an allowed port is served, others fail at once with EPERM" {
	local canary
	canary=$(new_canary)
	run probe out tcp l4.test 5432 "$canary"
	expect_contains "$output" "ok b'l4 ready"
	expect_arrived "$canary"
	canary=$(new_canary)
	run probe out tcp l4.test 5433 "$canary"
	expect_equal "$output" EPERM
	run probe out tcp ok.test 5432 "$canary"
	expect_equal "$output" EPERM
	run probe out tcp 203.0.113.10 5432 "$canary"
	expect_equal "$output" EPERM
	run probe out tcp 2001:db8::10 5432 "$canary"
	expect_equal "$output" EPERM
	run probe out tcp ::ffff:203.0.113.66 5432 "$canary"
	expect_equal "$output" EPERM
	expect_absent "$canary"
	expect_verdicts 1 out l7_decision=allow dst_host=l4.test dst_port=5432
	expect_verdicts 1 out l7_decision=deny dst_host=l4.test dst_port=5433 engine=kernel binary=/usr/bin/python3.11
	expect_verdicts 1 out l7_decision=deny dst_host=ok.test dst_port=5432
	expect_verdicts 1 out l7_decision=deny dst_host=203.0.113.10 dst_port=5432
	# The v6 form of a v4 address is the v4 address.
	expect_verdicts 1 out l7_decision=deny dst_host=203.0.113.66 dst_port=5432
	expect_verdicts 1 out l7_decision=deny dst_host=2001:db8::10 dst_port=5432
}

@test "the address that a program gave is never dialled" {
	local canary
	canary=$(new_canary)
	run inside out curl -sS -m 10 -k --resolve ok.test:443:203.0.113.66 "https://ok.test/pub/$canary"
	expect_absent "$canary"
	expect_equal "$(packets host 203.0.113.66)" 0 "packets to the trap"
	expect_verdicts 1 out l7_decision=deny dst_host=203.0.113.66 dst_port=443
}

@test "AF_PACKET is refused when the socket is made" {
	local canary
	canary=$(new_canary)
	run probe out packet "$canary"
	expect_equal "$output" EPERM
	expect_absent "$canary"
}

@test "UDP-Lite is refused when the socket is made" {
	local canary
	canary=$(new_canary)
	run probe out udplite 203.0.113.10 53 "$canary"
	expect_equal "$output" $'EPERM\nEPERM'
	expect_absent "$canary"
	expect_equal "$(packets 'ip proto 136')" 0 "UDP-Lite packets"
}

@test "raw, ICMP, SCTP, MPTCP and vsock are refused; TCP, UDP and Unix are not" {
	local kind
	# family type protocol: INET raw TCP, UDP, ICMP; INET ICMP datagram; SCTP; MPTCP; vsock; INET6 raw
	for kind in "2 raw 6" "2 raw 17" "2 raw 1" "2 dgram 1" "2 stream 132" "2 stream 262" "40 stream 0" "10 raw 58"; do
		# shellcheck disable=SC2086  # words
		run probe out create $kind
		expect_equal "$output" EPERM "socket($kind)"
	done
	for kind in "2 stream 0" "2 dgram 0" "10 stream 6" "10 dgram 17" "1 stream 0" "16 raw 0"; do
		# shellcheck disable=SC2086
		run probe out create $kind
		expect_contains "$output" ok
	done
}

@test "UDP to anything but the resolver fails at once, so that QUIC falls back" {
	local canary
	canary=$(new_canary)
	run probe out udp 203.0.113.10 443 "$canary"
	expect_equal "$output" $'EPERM\nEPERM\nEPERM\nfast'
	run probe out udp ok.test 443 "$canary"
	expect_equal "$output" $'EPERM\nEPERM\nEPERM\nfast'
	expect_absent "$canary"
	run probe out dns ok.test 1
	expect_contains "$output" "rcode=0 answers=1"
}

@test "a socket connected to the resolver cannot send elsewhere, by no address family" {
	local canary
	canary=$(new_canary)
	run probe out redirect 203.0.113.10 443 "$canary"
	expect_equal "${lines[0]}" EPERM sendto
	expect_equal "${lines[1]}" EPERM sendmsg
	expect_equal "${lines[2]}" EPERM "sendto with AF_UNSPEC"
	expect_equal "${lines[3]}" "ok rcode=0 answers=1" "send to the resolver"
	expect_equal "${lines[4]}" "ok rcode=0 answers=1" "sendto the resolver with AF_UNSPEC"
	expect_absent "$canary"
}

@test "the agent's own listener is not to be dialled" {
	run probe out tcp 198.18.0.1 1 hello
	[[ $output == EPERM ]]
	run probe out tcp ::ffff:198.18.0.1 1 hello
	[[ $output == EPERM ]]
	run probe out tcp fd6f:7368::c612:1 1 hello
	[[ $output == EPERM ]]
}

@test "a synthetic address that was never given out leads nowhere" {
	local canary
	canary=$(new_canary)
	run inside out curl -sS -m 10 -k --resolve "$canary.test:443:198.19.200.200" "https://$canary.test/pub/x"
	expect_absent "$canary"
	run probe out tcp 198.19.200.200 5432 "$canary"
	expect_equal "$output" EPERM
	expect_absent "$canary"
}

@test "a denied connect is answered by the kernel from memory" {
	run probe out tcp_many l4.test 5999 200
	expect_equal "$(grep -c '^EPERM$' <<<"$output")" 200 "refused connects"
	[[ ${lines[-1]} =~ ^slowest\ [0-9]{1,2}$ ]]
}

@test "the peer's address is the one that was dialled" {
	run probe out peer l4.test 5432
	expect_equal "$output" "ok True"
}

@test "programs in a sandbox talk to each other over its own loopback" {
	run inside out python3 -c 'import socket
server = socket.create_server(("127.0.0.1", 8000))
client = socket.create_connection(("127.0.0.1", 8000))
peer, _ = server.accept()
client.sendall(b"hello")
print(peer.recv(10))'
	expect_equal "$output" "b'hello'"
}

@test "without any BPF program nothing leaves either: there is no way out of the namespace" {
	local pid canary
	canary=$(new_canary)
	BODY=$(osh sandbox get out -o json)
	pid=$(json 'b["pid"]')
	# As root, from outside, in the sandbox's network namespace but not in its cgroup: no hook runs.
	run nsenter -t "$pid" -n ip -brief link
	expect_equal "$(wc -l <<<"$output")" 1 "links: $output"
	expect_contains "$output" lo
	run nsenter -t "$pid" -n /usr/bin/python3 "$E2E/probe.py" udp 203.0.113.10 9999 "$canary"
	run nsenter -t "$pid" -n timeout 3 bash -c "echo $canary >/dev/tcp/203.0.113.10/5432"
	((status != 0))
	expect_absent "$canary"
	# The same from the agent's namespace arrives.
	in_px bash -c "echo $canary >/dev/tcp/203.0.113.10/5432"
	expect_arrived "$canary"
}
