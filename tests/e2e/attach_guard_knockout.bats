#!/usr/bin/env bats
# What guards an attached cgroup where BPF is a security module, peeled off layer by layer
# (attach_knockout.bash): Debian's 6.1 is one such kernel. Elsewhere it is shown that nothing else holds
# it, as attach then says. A comment names the case (column A of the table).
# shellcheck disable=SC2317  # attempt and arrived are called by peel

load attach_knockout

# A02: in the world's own network, where a frame needs no route.
@test "no packet socket is made" {
	attempt() { in_cgroup_of_px /usr/bin/python3 "$E2E/probe.py" packet "$1"; }
	peel osh_attached_socket
}

# A13: no layer but this one, here either.
@test "the packet guard reads an IPv6 packet, not the address that the program gave" {
	give_ipv6
	attempt() { in_cgroup timeout 3 "$PROBES/net-no" routed ::1 2001:db8::10 9999 "$1"; }
	peel osh_skb_egress
}

# A32: by stream, and by datagram, which is connected or not
@test "Unix sockets are judged where they lead to" {
	local way
	local -A layers=([stream]=osh_attached_unix_connect [datagram]=osh_attached_unix_send)
	mkdir "$SCRATCH/unix"
	serve_unix "$SCRATCH/unix/other"
	attempt() { said unix "$1" "$SCRATCH/unix/other"; }
	arrived() { grep -qF -- "$way $1" "$SCRATCH/server"; }
	for way in stream datagram; do
		peel "${layers[$way]}"
	done
	kill "$SERVER"
}

# A23, A42, A36
@test "no program acts as another one, changes the network, or takes a hook away" {
	# witness FILE: what an attempt may leave there is what arrives.
	witness() {
		WITNESS=$SCRATCH/$1
		arrived() { grep -qsF -- "$1" "$WITNESS"; }
	}
	witness attached
	attempt() { in_cgroup strace -o "$WITNESS" true "$1"; }
	peel osh_attached_ptrace

	witness traced
	attempt() { said traced "$1" >>"$WITNESS"; }
	peel osh_attached_traceme

	attempt() { in_cgroup ip link set lo alias "$1"; }
	arrived() { ip -n "$NET" link show lo | grep -qF -- "$1"; }
	peel osh_attached_capable

	# The links of what holds the next connection, by their numbers.
	attempt() {
		local layer
		for layer in osh_connect4 osh_skb_egress; do
			in_cgroup bpftool link detach id "${LINK[$layer]}"
		done
		in_cgroup timeout 3 "$PROBES/net-no" tcp 203.0.113.10 5432 "$1"
	}
	arrived() { wire_has "$1"; }
	peel osh_attached_bpf
}

# A23, B16. A kernel without that layer ends what changed hands once it is used: too late for the canary.
@test "a connection is not taken over, then not sent on" {
	attempt() {
		local pid
		rm -f "$SCRATCH/held"
		in_cgroup "$PROBES/net-ok" hold l4.test 5432 "$SCRATCH/held" < <(tail -f /dev/null --pid=$$) >/dev/null 3>&- &
		wait_until 10 test -s "$SCRATCH/held"
		read -r pid _ <"$SCRATCH/held"
		in_cgroup "$PROBES/net-no" steal "$SCRATCH/held" "$1"
		kill -KILL "$pid"
	}
	guarded || {
		attach_probe
		run attempt late
		release_agent
		expect_verdicts 1 box l7_decision=audit binary="$PROBES/net-no" "l7_deny_reason~that another program opened, which ends it"
		return
	}
	peel osh_attached_ptrace osh_socket_sendmsg
}

# A22
@test "a socket from outside is not asked for, then not received" {
	local helper
	nsenter --net="/run/netns/$NET" /usr/bin/python3 -c 'import socket, sys
server = socket.socket(socket.AF_UNIX); server.bind(sys.argv[1]); server.listen(); print("listening", flush=True)
while True: socket.send_fds(server.accept()[0], [b"x"], [socket.socket().detach()])' "$SCRATCH/hands" >"$SCRATCH/helper" 3>&- &
	helper=$!
	wait_until 5 has_line "$SCRATCH/helper" listening
	attempt() { in_cgroup timeout 5 "$PROBES/net-no" adopt "$SCRATCH/hands" 203.0.113.10 5432 "$1"; }
	peel osh_attached_unix_connect osh_file_receive
	kill "$helper"
}
