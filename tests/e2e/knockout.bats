#!/usr/bin/env bats
# Would the tests notice? An agent of the test build goes without one layer of enforcement, then
# without the next one, too. As long as one holds, nothing arrives; without the last, the canary does.
# A comment names the case.
# shellcheck disable=SC2317  # attempt and arrived are called by peel

OSH_BUILD_DIR=$(readlink -f "${BATS_TEST_DIRNAME:?}/../..")/build/knockout
load helpers

setup_file() {
	start_knockout
	# For a sandbox without a network of its own.
	ip -n "${WORLD_PX##*/}" addr add 198.18.0.1/32 dev lo
	ip -n "${WORLD_PX##*/}" addr add fd6f:7368::c612:1/128 dev lo nodad
}

teardown_file() { stop_all; }

teardown() { end_agent; }

end_agent() {
	[[ ${AGENT_DIR:-} ]] || return 0
	! is_gone "$(<"$AGENT_DIR/agent.pid")" || agent_start "$AGENT_DIR"
	osh sandbox delete s || true
	agent_stop
	AGENT_DIR=
}

# without LAYERS: another agent, which goes without these, and a sandbox s under $POLICY.
without() {
	end_agent
	export OSH_LAYERS_OFF=$1
	agent_start "$SCRATCH/$BATS_TEST_NUMBER-${1//[\/,]/-}" || return
	make_sandbox s "${POLICY:-$SCRATCH/probe.yaml}"
}

# peel LAYER...: calls attempt CANARY with every layer on, without the first, without the first two,
# and so on. LAYER may be several with commas: one alone would stop what the other lets through.
peel() {
	local off="" layer canary last=${!#}
	for layer in "" "$@"; do
		off+=${off:+,}$layer
		canary=$(new_canary)
		without "$off" || return
		run attempt "$canary"
		if [[ $layer == "$last" ]]; then
			wait_until 5 arrived "$canary" || fail "nothing noticed: no canary without $off" "$output"
		else
			expect_absent "$canary" || fail "without '$off' it arrives: $output" || return
		fi
	done
}

# ---- Egress ---------------------------------------------------------------------------------

# A02: then no capability, then no device
@test "seccomp keeps AF_PACKET out" {
	attempt() { probe s packet "$1"; }
	peel seccomp user netns
}

# A08
@test "seccomp keeps UDP-Lite out, then sock_create, then the packet guard" {
	attempt() { probe s udplite 203.0.113.10 9999 "$1"; }
	peel seccomp osh_sock_create osh_skb_egress netns
}

# A10
@test "the sendmsg hook judges each datagram, then the packet guard" {
	attempt() { net_no s mixed 203.0.113.10 9999 "$1"; }
	peel osh_sendmsg4 osh_skb_egress netns,osh_connect4
}

# A13
@test "the packet guard reads the packet, not the address that the program gave" {
	attempt() { net_no s routed ::1 2001:db8::10 9999 "$1"; }
	peel osh_skb_egress netns,osh_sendmsg6
}

# A14
@test "the connect hook sees fast open, then the packet guard" {
	attempt() { timeout 3 "$BUILD/openshell" sandbox exec s -- "$PROBES/net-no" fastopen 203.0.113.10 5432 "$1"; }
	peel osh_connect4 osh_skb_egress netns
}

# A15
@test "seccomp keeps io_uring out, then the connect hook judges its workers" {
	attempt() { timeout 3 "$BUILD/openshell" sandbox exec s -- "$PROBES/net-no" uring 203.0.113.10 5432 "$1"; }
	peel seccomp osh_connect4 osh_skb_egress netns
}

# A23. What changed hands nevertheless is ended once it is used, too late to be told apart from a lock
# that gave way: without the one the other goes, too (handover.bats shows it alone).
@test "seccomp keeps a connection from being taken over" {
	# Attached to and let go, it is stopped: only SIGKILL is not put off.
	# shellcheck disable=SC2016  # for the inner shell
	attempt() {
		inside s sh -c 'mkfifo end && exec 9<>end && { "$1/net-ok" hold l4.test 5432 held <&9 & } &&
			until test -s held; do :; done; "$1/net-no" steal held "$2"
			kill -KILL $!' _ "$PROBES" "$1"
	}
	peel seccomp,osh_sent
}

# A25
@test "the connect hook refuses the agent's listener, then the proxy: no record" {
	without ""
	run net_ok s tcp 198.18.0.1 1 hello
	expect_equal "$output" "connect EPERM"
	without osh_connect4
	run net_ok s tcp 198.18.0.1 1 hello
	[[ $output == "recv ECONNRESET" || $output == "ok " ]] # closed, with or without a reset
	expect_verdicts 1 s engine=bypass l7_decision=deny
}

# A32
@test "the mounts hide sockets of the host, then no group is mapped" {
	local hidden=/var/lib/osh-unix-$$ server
	mkdir "$hidden"
	/usr/bin/python3 "$E2E/unix_server.py" "$hidden/socket" >"$SCRATCH/heard" 3>&- < <(tail -f /dev/null --pid=$$) &
	server=$!
	wait_until 5 has_line "$SCRATCH/heard" listening
	attempt() { probe s unix "$1" "$hidden/socket"; }
	arrived() { grep -qF -- "$1" "$SCRATCH/heard"; }
	peel var/lib idmap
	kill "$server"
	rm -r "$hidden"
}

# A39: and every other destination
@test "without any hook there is no way out of the network" {
	attempt() {
		timeout 3 "$BUILD/openshell" sandbox exec s -- "$PROBES/net-no" tcp 203.0.113.10 5432 "$1"
		probe s udp 203.0.113.10 9999 "$1"
	}
	peel hooks netns
}

# D01
@test "the hooks keep queries inside, then the packet guard" {
	attempt() { probe s dns "$1.no.test" 1 1 203.0.113.10; }
	peel osh_sendmsg4,osh_connect4 osh_skb_egress netns
}

# F01: killed, and nobody there to judge
@test "with the agent dead the hooks lead to a closed port, then there is no way out" {
	# shellcheck disable=SC2016  # for the inner shell
	attempt() {
		inside s sh -c '{ until test -e go; do :; done; timeout 3 "$1/net-no" tcp 203.0.113.10 5432 "$2"; echo done; } >out 2>&1 &
			test ! -e out || true' _ "$PROBES" "$1"
		agent_crash
		touch "$AGENT_DIR/state/sandboxes/s/sandbox/go"
		wait_until 5 has_line "$AGENT_DIR/state/sandboxes/s/sandbox/out" '^done'
	}
	peel hooks netns
}

# ---- Identity and requests ---------------------------------------------------------------------

# B01
@test "the path of the binary tells it from its copy" {
	attempt() {
		inside s cp "$PROBES/net-ok" /sandbox/copy
		inside s /sandbox/copy tcp l4.test 5432 "$1"
	}
	peel binary
}

# B05
@test "a program that was replaced is not the one that was trusted" {
	attempt() {
		inside s sh -c 'cp /usr/bin/curl named && ./named -sS -m 10 https://ok.test/pub/first &&
			cp named next && echo >>next && mv next named'
		inside s /sandbox/named -sS -m 10 "https://ok.test/pub/$1"
	}
	peel trust
}

# B09
@test "a program that was started with another's code is not clean" {
	local POLICY=$SCRATCH/clean.yaml
	sed 's|{ path: "/usr/bin/python3\*" }|{ path: "/usr/bin/python3*", clean: true }|' "$SCRATCH/probe.yaml" >"$POLICY"
	attempt() { inside s env LD_PRELOAD=/sandbox/own.so python3 - tcp l4.test 5432 "$1" <"$E2E/probe.py"; }
	peel clean
}

# C02
@test "the authority of a request is that of the connection" {
	attempt() { inside s curl -sS -m 10 -H "Host: no.test" "https://ok.test/pub/$1"; }
	peel authority
}

# C05
@test "an address without a name is in no policy, then not the server's, then not to be dialled" {
	attempt() { inside s curl -sS -m 10 -k --resolve ok.test:443:203.0.113.66 "https://ok.test/pub/$1"; }
	peel policy sni guard
}

# C09
@test "a host that is none is refused" {
	attempt() { inside s env REQUEST="GET /pub/$1 HTTP/1.1\\r\\nHost: ok.test@no.test\\r\\nConnection: close\\r\\n\\r\\n" \
		python3 - raw_http ok.test 443 ok.test <"$E2E/probe.py"; }
	peel authority
}

# C14
@test "a body with two lengths is refused" {
	attempt() { inside s env REQUEST="POST /api/$1 HTTP/1.1\\r\\nHost: ok.test\\r\\nContent-Length: 5\\r\\nTransfer-Encoding: chunked\\r\\nConnection: close\\r\\n\\r\\n0\\r\\n\\r\\n" \
		python3 - raw_http ok.test 443 ok.test <"$E2E/probe.py"; }
	peel framing
}

# C18
@test "every request of a connection is judged" {
	attempt() { inside s env REQUEST="GET /pub/a HTTP/1.1\\r\\nHost: ok.test\\r\\n\\r\\nGET /secret/$1 HTTP/1.1\\r\\nHost: ok.test\\r\\nConnection: close\\r\\n\\r\\n" \
		python3 - raw_http ok.test 443 ok.test <"$E2E/probe.py"; }
	peel rules
}

# C21
@test "after an upgrade frames alone are let through" {
	local handshake="Host: ok.test\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\nSec-WebSocket-Version: 13\\r\\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\\r\\n\\r\\n"
	attempt() { inside s env REQUEST="GET /pub/x HTTP/1.1\\r\\n${handshake}GET /secret/$1/$(printf 'x%.0s' {1..99}) HTTP/1.1\\r\\n" \
		python3 - raw_http ok.test 443 ok.test <"$E2E/probe.py"; }
	peel frames
}

# C23
@test "a path is brought into one form before it is judged" {
	attempt() { inside s curl -sS -m 10 --path-as-is "https://ok.test/pub/../secret/$1"; }
	peel path
}

# D06
@test "an internal address is not dialled" {
	local listener seen=$SCRATCH/dialled
	nsenter --net="$WORLD_PX" /usr/bin/python3 -c 'import socket
server = socket.create_server(("127.0.0.1", 443))
print("listening", flush=True)
while True: print("dialled", server.accept()[1], flush=True)' >"$seen" 3>&- &
	listener=$!
	wait_until 5 has_line "$seen" listening
	attempt() { inside s curl -sS -m 3 https://loop.test/; }
	arrived() { has_line "$seen" dialled; }
	peel guard
	kill "$listener"
}

# E03
@test "a certificate for another host is not taken" {
	attempt() { inside s curl -sS -m 10 "https://wronghost.test/$1"; }
	peel verify
}

# F15
@test "a policy that was cut on its way is not taken" {
	local layers cut=$SCRATCH/cut.yaml digest
	digest=$(sha256sum "$SCRATCH/probe.yaml" | cut -d' ' -f1)
	sed '/^network_policies/,$d' "$SCRATCH/probe.yaml" >"$cut"
	for layers in "" digest; do
		without "$layers"
		run /usr/bin/python3 "$E2E/control.py" "$AGENT_SOCKET" PolicySet "$cut" \
			<<<"{\"name\": \"s\", \"policy_sha256\": \"$digest\", \"wait\": true}"
		[[ $layers ]] || expect_contains "$output" error
	done
	expect_contains "$output" '"revision":2'
}

# F16
@test "a flow ends with the rule that allowed it" {
	attempt() {
		inside s python3 -c 'import os, socket, sys
sock = socket.create_connection(("l4.test", 5432))
sock.recv(100)
open("up", "w").close()
if os.fork(): os._exit(0)
os.setsid()
null = os.open("/dev/null", os.O_RDWR)
for number in range(3): os.dup2(null, number)
while not os.path.exists("go"): pass
try: sock.sendall(sys.argv[1].encode())
finally: open("done", "w").close()' "$1"
		osh policy set s --policy "$(policy audit)" --wait
		touch "$AGENT_DIR/state/sandboxes/s/sandbox/go"
		wait_until 5 test -e "$AGENT_DIR/state/sandboxes/s/sandbox/done"
	}
	peel revocation
}

# F19
@test "a launch step that fails ends the sandbox" {
	printf 'version: 1\nfilesystem_policy: { include_workdir: true, read_only: [/usr, /lib, /no/such/path] }\nlandlock: { compatibility: hard_requirement }\n' \
		>"$SCRATCH/hard.yaml"
	without ""
	run osh sandbox create --name hard --policy "$SCRATCH/hard.yaml"
	expect_equal "$status" 1
	without steps
	run osh sandbox create --name hard --policy "$SCRATCH/hard.yaml"
	expect_equal "$status" 0
	osh sandbox delete hard
}

# G02
@test "a caller from inside is refused" {
	local layers
	for layers in "" peer; do
		without "$layers"
		BODY=$(osh sandbox get s -o json)
		run bash -c 'echo $$ >"$1/cgroup.procs" && exec "$2" --socket "$3" sandbox list' _ \
			"$(cgroup_of "$(json 'b["pid"]')")" "$BUILD/openshell" "$AGENT_SOCKET"
		[[ $layers ]] || expect_lacks "$output" running
	done
	expect_contains "$output" running
}

# G07: what no rule is about is in no record
@test "a secret in a query is not recorded" {
	attempt() { inside s curl -sS -m 10 "https://ok.test/pub/x?token=$1"; }
	arrived() { osh logs s -o json | grep -F -- "$1" >/dev/null; }
	peel path
}

# G07: of the process that holds them; a helper would get it whatever the limit but one
@test "a secret is in no core" {
	local pattern cores=$SCRATCH/cores
	pattern=$(</proc/sys/kernel/core_pattern)
	printf '#!/bin/sh\ngrep -aoE "canary[0-9a-f]{20}" >>%s\n' "$cores" >"$SCRATCH/helper"
	chmod 0755 "$SCRATCH/helper"
	: >"$cores"
	echo "|$SCRATCH/helper" >/proc/sys/kernel/core_pattern
	attempt() {
		local proxy
		GITHUB_TOKEN=$1 osh provider create --name mine --type github --from-existing
		osh sandbox delete s
		make_sandbox s credentials --provider mine
		proxy=$(osh status -o json | /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)["proxy_pid"])')
		kill -SEGV "$proxy"
		wait_until 10 is_gone "$proxy"
	}
	arrived() { grep -qF -- "$1" "$cores"; }
	peel dumpable core || {
		echo "$pattern" >/proc/sys/kernel/core_pattern
		return 1
	}
	echo "$pattern" >/proc/sys/kernel/core_pattern
}

# ---- And the programs in use -------------------------------------------------------------------

@test "no layer can be switched off in a program that is installed" {
	local program
	for program in openshelld openshell openshell-init; do
		refute grep -qa OSH_LAYERS_OFF "$REPO/build/$program"
	done
	grep -qa OSH_LAYERS_OFF "$BUILD/openshelld"
	run make -s -C "$REPO" KNOCKOUT=1 install
	((status != 0))
	expect_contains "$output" "not for use"
}
