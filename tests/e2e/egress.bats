#!/usr/bin/env bats
# Ways out of a sandbox that no policy speaks of. Each denial beside what must still work: an
# allowed request goes before and after every test. A comment names the case.

load helpers
load ways_out

setup_file() {
	start_all
	install_probe
	make_sandbox out "$SCRATCH/probe.yaml"
}

teardown_file() { stop_all; }

# twin: what must work before and after each attempt.
twin() {
	fetch out https://ok.test/pub/x
	expect_status 200
}

setup() { twin; }
teardown() { twin; }

# A16, A17: by TCP.
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

# C05
@test "the address that a program gave is never dialled" {
	local canary
	canary=$(new_canary)
	run inside out curl -sS -m 10 -k --resolve ok.test:443:203.0.113.66 "https://ok.test/pub/$canary"
	expect_absent "$canary"
	expect_equal "$(packets host 203.0.113.66)" 0 "packets to the trap"
	expect_verdicts 1 out l7_decision=deny dst_host=203.0.113.66 dst_port=443
}

# A02
@test "AF_PACKET is refused when the socket is made" {
	local canary
	canary=$(new_canary)
	run probe out packet "$canary"
	expect_equal "$output" EPERM
	expect_absent "$canary"
}

# A08
@test "UDP-Lite is refused when the socket is made" {
	local canary
	canary=$(new_canary)
	run probe out udplite 203.0.113.10 53 "$canary"
	expect_equal "$output" $'EPERM\nEPERM'
	expect_absent "$canary"
	expect_equal "$(packets 'ip proto 136')" 0 "UDP-Lite packets"
}

# None where none can be loaded. Who uses them is not asked.
list_modules() { cut -d' ' -f1 /proc/modules 2>/dev/null | sort || true; }

# A01, A03, A04, A06, A07: refused before the kernel looks for a module, so EPERM whatever is built in.
@test "of all families, types and protocols only TCP, UDP, Unix and routes can be had" {
	local modules pid
	modules=$(list_modules)
	run net_no out families
	# Types that a family does not have are its own business.
	output=$(grep -v ESOCKTNOSUPPORT <<<"$output")
	expect_equal "$(paste -sd, <<<"$output")" "1 1 0,1 2 0,1 3 0,1 5 0,2 1 0,2 2 0,10 1 0,10 2 0,16 2 0,16 3 0"
	run net_no out protocols
	expect_equal "${lines[-1]}" "high EPERM" "a family in the low half of 64 bits"
	output=$(grep -v -e EPROTONOSUPPORT -e high <<<"$output")
	expect_equal "$(paste -sd, <<<"$output")" \
		"2 1 0,10 1 0,2 2 0,10 2 0,2 1 6,10 1 6,2 2 17,10 2 17"
	expect_equal "$(list_modules)" "$modules" "loaded modules"
	# Neither where the host lets everybody ping.
	BODY=$(osh sandbox get out -o json)
	pid=$(json 'b["pid"]')
	nsenter -t "$pid" -n sh -c 'echo "0 2147483647" >/proc/sys/net/ipv4/ping_group_range'
	run probe out create 2 dgram 1
	expect_equal "$output" EPERM
}

# A05
@test "netlink shows routes and changes nothing" {
	local protocol
	for protocol in 4 6 9 16; do # SOCK_DIAG, XFRM, AUDIT, GENERIC
		run probe out create 16 raw $protocol
		expect_equal "$output" EPERM "netlink protocol $protocol"
	done
	run net_no out netlink
	expect_equal "$output" $'newroute EPERM\nnewlink EPERM\nnewaddr EPERM'
	run inside out ip -brief addr
	expect_contains "$output" 198.18.0.1/
	run inside out python3 -c 'import socket; print(socket.getaddrinfo("ok.test", 443, flags=socket.AI_ADDRCONFIG)[0][4][1])'
	expect_equal "$output" 443
}

only_dns="only TCP, and UDP to port 53, may leave a sandbox"

# A09
@test "UDP to anything but the resolver fails at once, so that QUIC falls back" {
	local canary
	canary=$(new_canary)
	run probe out udp 203.0.113.10 443 "$canary"
	expect_equal "$output" $'EPERM\nEPERM\nEPERM\nfast'
	run probe out udp ok.test 443 "$canary"
	expect_equal "$output" $'EPERM\nEPERM\nEPERM\nfast'
	expect_absent "$canary"
	expect_verdicts 3 out l7_protocol=udp dst_host=203.0.113.10 dst_port=443 "l7_deny_reason=$only_dns"
	expect_verdicts 3 out l7_protocol=udp dst_host=ok.test dst_port=443 "l7_deny_reason=$only_dns"
	run probe out dns ok.test 1
	expect_contains "$output" "rcode=0 answers=1"
}

# A10
@test "a socket connected to the resolver cannot send elsewhere, by no address family" {
	local canary
	canary=$(new_canary)
	run probe out redirect 203.0.113.10 443 "$canary"
	expect_equal "${lines[0]}" EPERM sendto
	expect_equal "${lines[1]}" EPERM sendmsg
	expect_equal "${lines[2]}" EPERM "sendto with AF_UNSPEC"
	expect_equal "${lines[3]}" "ok rcode=0 answers=1" "send to the resolver"
	expect_equal "${lines[4]}" "ok rcode=0 answers=1" "sendto the resolver with AF_UNSPEC"
	run net_no out mixed 203.0.113.10 443 "$canary"
	expect_equal "$output" "sent 1" "of three by one sendmmsg, the second elsewhere"
	expect_absent "$canary"
	expect_verdicts 1 out l7_protocol=udp binary="$PROBES/net-no" dst_host=203.0.113.10 "l7_deny_reason=$only_dns"
}

@test "each connect of one descriptor is judged afresh" { judge_each_connect out; }

@test "nothing is sent to groups, not even within the network" { send_to_groups out; }

# A13: the connect hook sees ::1, or the resolver.
@test "no packet takes a route of its own" {
	local canary
	canary=$(new_canary)
	run net_no out routed ::1 2001:db8::10 9999 "$canary"
	expect_equal "${lines[0]}" "rthdr EPERM"
	expect_equal "${lines[1]}" "lsrr EPERM"
	[[ ${lines[2]} =~ ^retopts\ (EPERM|EINVAL)$ ]]
	expect_absent "$canary"
	expect_equal "$(packets ip6 proto 43)" 0 "routed packets"
	# Recorded is where it would have gone.
	expect_verdicts 1 out dst_host=2001:db8::10 l7_decision=deny l7_deny_reason~dropped
	run inside out python3 -c 'import socket
server = socket.create_server(("::1", 9999), family=socket.AF_INET6)
client = socket.socket(socket.AF_INET6)
client.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 16)
client.connect(("::1", 9999)); print("connected")'
	expect_equal "$output" connected
}

# A14
@test "TCP fast open is a connect like any other" {
	local canary denied
	canary=$(new_canary)
	denied=$(new_canary)
	run net_ok out fastopen l4.test 5432 "$canary"
	expect_equal "${lines[0]}" "sendto ok"
	expect_equal "${lines[1]}" "ok l4 ready"
	expect_arrived "$canary"
	run net_no out fastopen 203.0.113.10 5435 "$denied"
	expect_equal "$output" $'sendto EPERM\nsendmsg EPERM\nconnect EPERM'
	expect_absent "$denied"
	expect_verdicts 3 out dst_host=203.0.113.10 dst_port=5435 'l7_deny_reason=no policy names this address and port'
}

# A15
@test "io_uring is not to be had; epoll is" {
	local canary
	canary=$(new_canary)
	run net_no out uring 203.0.113.10 5432 "$canary"
	expect_equal "$output" $'plain EPERM\nasync EPERM\nsqpoll EPERM'
	expect_absent "$canary"
	run inside out python3 -c 'import select; select.epoll(); print("epoll")'
	expect_equal "$output" epoll
}

@test "an address in disguise is judged as what it is" { judge_disguises out; }

# A19
@test "options that choose a device or a mark lead nowhere else" {
	local canary
	canary=$(new_canary)
	run probe out options 203.0.113.10 5437 "$canary"
	expect_equal "$output" $'mark EPERM EPERM\ntransparent EPERM EPERM\ndevice set EPERM\ninterface set EPERM\ntos set EPERM'
	expect_absent "$canary"
	expect_verdicts 5 out dst_host=203.0.113.10 dst_port=5437 'l7_deny_reason=no policy names this address and port'
	run probe out options l4.test 5432 ""
	expect_equal "$(grep -c "ok b'l4 ready" <<<"$output")" 5 "$output"
}

@test "alternating programs keep their identities" { alternate_programs out; }

# A25
@test "the agent's own listeners are not to be dialled" {
	local address
	for address in 198.18.0.1 ::ffff:198.18.0.1 fd6f:7368::c612:1; do
		run net_ok out tcp "$address" 1 hello
		expect_equal "$output" "connect EPERM" "$address"
	done
	expect_verdicts 2 out engine=bypass dst_port=1 dst_host=198.18.0.1
	# What means this host is the sandbox's own loopback, where nobody listens.
	for address in 0.0.0.0 ::1 127.0.0.1 127.0.0.2; do
		run net_ok out tcp "$address" 1 hello
		expect_equal "$output" "connect ECONNREFUSED" "$address"
	done
	run net_ok out tcp l4.test 5432 ""
	expect_equal "${lines[0]}" "ok l4 ready"
}

# D12
@test "a synthetic address that was never given out leads nowhere" {
	local canary
	canary=$(new_canary)
	run inside out curl -sS -m 10 -k --resolve "$canary.test:443:198.19.200.200" "https://$canary.test/pub/x"
	expect_absent "$canary"
	run probe out tcp 198.19.200.200 5432 "$canary"
	expect_equal "$output" EPERM
	expect_absent "$canary"
}

@test "a denied connect is answered by the kernel: the proxy need not run" {
	local address proxy
	address=$(inside out python3 -c 'import socket; print(socket.gethostbyname("l4.test"))')
	BODY=$(osh status -o json)
	proxy=$(json 'b["proxy_pid"]')
	kill -STOP "$proxy"
	run probe out tcp_many "$address" 5999 200
	kill -CONT "$proxy"
	expect_equal "$(grep -c '^EPERM$' <<<"$output")" 200 "refused connects"
	run probe out tcp_many "$address" 5432 1 # T
	expect_equal "${lines[0]%% *}" ok
}

@test "the peer's address is the one that was dialled" { show_dialled_peer out; }

# A18
@test "programs in a sandbox talk to each other over its own loopback" {
	run inside out python3 -c 'import socket
server = socket.create_server(("::", 8000), family=socket.AF_INET6, dualstack_ipv6=True)
for host in "127.0.0.1", "127.0.0.2", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1":
    client = socket.create_connection((host, 8000))
    peer, _ = server.accept()
    client.sendall(b"hello")
    print(peer.recv(10))'
	expect_equal "$(sort <<<"$output" | uniq -c | xargs)" "6 bhello"
	# Its other address is the agent's.
	run probe out tcp 198.18.0.1 8000 hello
	expect_equal "$output" EPERM
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
