#!/usr/bin/env bats
# What guards an attached cgroup on every kernel, peeled off layer by layer (attach_knockout.bash). A
# comment names the case (column A of the table).
# shellcheck disable=SC2317  # attempt and arrived are called by peel

load attach_knockout

# Until the packet guard has dropped it for a while: a connection is tried again and again.
dial() { in_cgroup timeout 3 "$PROBES/net-no" "$@"; }

# ---- Addresses -----------------------------------------------------------------------------------

@test "the connect hook judges each connection, then the packet guard" {
	attempt() { dial tcp 203.0.113.10 5432 "$1"; }
	peel osh_connect4 osh_skb_egress
}

# A17: nobody listens there, so what may arrive is the first packet.
@test "the connect hook judges IPv6, then the packet guard" {
	give_ipv6
	attempt() { dial tcp 2001:db8::10 5437 ""; }
	arrived() { (($(packets 'ip6 and tcp dst port 5437'))); }
	peel osh_connect6 osh_skb_egress
}

# A09
@test "the sendmsg hook judges each datagram, then the packet guard" {
	attempt() { said udp 203.0.113.10 9999 "$1"; }
	peel osh_sendmsg4 osh_skb_egress
}

# A10
@test "the sendmsg hook judges a connected socket's datagrams, too, then the packet guard" {
	attempt() { dial mixed 203.0.113.10 9999 "$1"; }
	peel osh_sendmsg4 osh_skb_egress
}

# D01
@test "the hooks keep queries inside, then the packet guard" {
	attempt() { said dns "$1.no.test" 1 1 203.0.113.10; }
	peel osh_sendmsg4 osh_skb_egress
}

# A17
@test "the sendmsg hook judges datagrams by IPv6, then the packet guard" {
	give_ipv6
	attempt() { said udp 2001:db8::10 9999 "$1"; }
	peel osh_sendmsg6 osh_skb_egress
}

# A13
@test "the packet guard reads the packet, not the address that the program gave" {
	give_ipv6
	attempt() { dial routed ::1 2001:db8::10 9999 "$1"; }
	peel osh_skb_egress
}

# A14
@test "the connect hook sees fast open, then the packet guard" {
	attempt() { dial fastopen 203.0.113.10 5432 "$1"; }
	peel osh_connect4 osh_skb_egress
}

# A15
@test "the connect hook judges the workers of io_uring, then the packet guard" {
	attempt() { dial uring 203.0.113.10 5432 "$1"; }
	peel osh_connect4 osh_skb_egress
}

# A20: a namespace that it has entered. What leads to the agent from its own leads there to nobody.
@test "the connect hook looks at the network that is dialled in, then the packet guard" {
	attempt() { in_cgroup_of_px timeout 3 "$PROBES/net-no" tcp 203.0.113.10 443 "$1"; }
	peel osh_connect4 osh_skb_egress
}

# A25
@test "the connect hook refuses the agent's listener, then the proxy: no record" {
	attempt() { dial tcp 198.18.0.1 1 hello; }
	attach_layers
	run attempt
	expect_equal "$output" "connect EPERM"
	take_off osh_connect4
	run attempt
	[[ $output == "recv ECONNRESET" || $output == "ok " ]] || fail "$output" # closed, with or without a reset
	release_agent
	expect_verdicts 1 box engine=bypass l7_decision=deny "l7_deny_reason~without passing the kernel hook"
}

# A27
@test "the connect hook tells the listeners of others on its loopback from its own, then the packet guard" {
	local listener
	nsenter --net="/run/netns/$NET" /usr/bin/python3 -c 'import socket
server = socket.create_server(("127.0.0.1", 2375)); print("listening", flush=True)
while True: print(server.accept()[0].recv(99).decode(), flush=True)' >"$SCRATCH/others" 3>&- &
	listener=$!
	wait_until 5 has_line "$SCRATCH/others" listening
	attempt() { dial tcp 127.0.0.1 2375 "$1"; }
	arrived() { grep -qF -- "$1" "$SCRATCH/others"; }
	peel osh_connect4 osh_skb_egress
	kill "$listener"
}

# A24
@test "the connect hook keeps programs from Node's inspector" {
	attempt() {
		in_cgroup /usr/bin/python3 -c 'import socket, sys
server = socket.create_server(("127.0.0.1", 9229))
socket.create_connection(("127.0.0.1", 9229)).sendall(sys.argv[1].encode())
print(server.accept()[0].recv(99).decode())' "$1" >>"$SCRATCH/inspected"
	}
	arrived() { grep -qF -- "$1" "$SCRATCH/inspected"; }
	peel osh_connect4
}

# A31: whoever is outside must not even learn that somebody listens.
@test "the packet guard drops answers to connections from outside" {
	attempt() {
		: >"$SCRATCH/listens"
		in_cgroup timeout 3 /usr/bin/python3 -c 'import socket, sys
server = socket.create_server(("0.0.0.0", 8080)); print("listening", flush=True)
server.accept()[0].sendall(sys.argv[1].encode())' "$1" >"$SCRATCH/listens" 2>&1 &
		wait_until 5 has_line "$SCRATCH/listens" listening
		nsenter --net="$WORLD_UP" timeout 2 bash -c "exec 4<>/dev/tcp/172.30.$BATS_TEST_NUMBER.2/8080 && cat <&4"
		wait
	}
	peel osh_skb_egress
}

# A30: the one layer that is no program in the kernel, so another agent, of the test build, goes without it.
# TCP keeps sending what the guard drops.
@test "older connections are ended, then the packet guard drops what they send" {
	local canary
	canary=$(new_canary)
	build_knockout
	BUILD=$REPO/build/knockout OSH_LAYERS_OFF=older agent_start "$SCRATCH/older"
	mkfifo "$SCRATCH/go"
	in_cgroup /usr/bin/python3 -c 'import socket, sys
sock = socket.create_connection(("203.0.113.10", 5432)); print("connected", flush=True); open(sys.argv[2]).read()
sock.sendall(sys.argv[1].encode()); print("sent", flush=True); open(sys.argv[2]).read()' \
		"$canary" "$SCRATCH/go" >"$SCRATCH/connection" 3>&- &
	wait_until 5 has_line "$SCRATCH/connection" connected
	attach_layers
	echo >"$SCRATCH/go"
	wait_until 5 has_line "$SCRATCH/connection" sent
	expect_absent "$canary"
	take_off osh_skb_egress
	wait_until 10 arrived "$canary"
	echo >"$SCRATCH/go"
}

# F01: what the hook would judge leads to the agent's port, where nobody listens.
@test "with the agent dead nothing leaves, by either layer" {
	attempt() {
		agent_crash
		dial tcp 203.0.113.10 443 "$1"
	}
	peel osh_connect4 osh_skb_egress
	agent_start "$AGENT_DIR"
}

# ---- Sockets ---------------------------------------------------------------------------------------

# A08
@test "UDP-Lite is no socket to be had, then the packet guard" {
	attempt() { said udplite 203.0.113.10 9999 "$1"; }
	peel osh_attached_socket osh_sock_create osh_skb_egress
}

# A06: to the connect hook it is one of TCP.
@test "MPTCP is no socket to be had, then the connect hook, then the packet guard" {
	attempt() {
		in_cgroup timeout 3 /usr/bin/python3 -c 'import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
sock.connect(("203.0.113.10", 5432)); sock.sendall(sys.argv[1].encode()); sock.recv(9)' "$1"
	}
	peel osh_sock_create osh_connect4 osh_skb_egress
}

# A04: no address hook sees what it sends
@test "a raw socket is not to be had, then the packet guard" {
	attempt() {
		in_cgroup /usr/bin/python3 -c 'import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
sock.sendto(b"\x08\0\0\0\0\0\0\0" + sys.argv[1].encode(), ("203.0.113.10", 0))' "$1"
	}
	peel osh_attached_socket osh_sock_create osh_skb_egress
}

# A26, by both families
@test "the bind hooks keep programs off the agent's ports" {
	local address
	for address in 127.0.0.1 ::1; do
		attempt() {
			in_cgroup /usr/bin/python3 -c 'import socket, sys
socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET).bind((sys.argv[1], 1))
print(sys.argv[2])' "$address" "$1" >>"$SCRATCH/bound"
		}
		arrived() { grep -qF -- "$1" "$SCRATCH/bound"; }
		if [[ $address == *:* ]]; then peel osh_bind6; else peel osh_bind4; fi
	done
}
