#!/usr/bin/env bats
# A cgroup that exists gets a policy on its network, and is let go again. Its programs run as root in
# the host's own mounts, as those of a service do. A comment names the case (column A of the table).

bats_require_minimum_version 1.5.0

load helpers
load attach

@test "before: all passes; attached: by the policy; detached: all passes again" {
	local before attached after
	before=$(new_canary) attached=$(new_canary) after=$(new_canary)
	direct "$before"
	expect_arrived "$before"
	run attach
	expect_equal "$output" box
	run direct "$attached"
	expect_equal "$output" "connect EPERM"
	expect_absent "$attached"
	expect_equal "$(asked https://ok.test/pub/x)" 200
	expect_equal "$(asked https://ok.test/other)" 403
	expect_equal "$(asked https://no.test/pub/x)" 403
	expect_verdicts 1 box binary=/usr/bin/curl l7_target=/pub/x l7_decision=allow dst_host=ok.test
	expect_verdicts 1 box binary="$PROBES/net-no" dst_port=5432 l7_decision=deny
	osh sandbox detach box
	direct "$after"
	expect_arrived "$after"
	expect_equal "$(ip -n "$NET" -o addr show lo | grep -c 198.18)" 0
	run osh sandbox get box
	expect_equal "$status" 1
}

@test "what is shown of it, and its certificate" {
	attach
	expect_equal "$(osh sandbox list | awk '$1 == "box" { print $2 }')" attached
	run osh sandbox get box
	expect_contains "$output" "attached:    $CG"
	expect_contains "$output" "unenforced:  its processes have "
	osh sandbox get box --ca >"$SCRATCH/ca.pem"
	run in_cgroup curl -sS -m 10 --cacert "$SCRATCH/ca.pem" -o /dev/null -w '%{http_code}' https://ok.test/pub/x
	expect_equal "$output" 200
	run in_cgroup curl -sS -m 10 -o /dev/null https://ok.test/pub/x
	expect_contains "$output" "certificate"
}

@test "--all means cgroups to detach, sandboxes of our own to all others" {
	make_sandbox own default --label kind=own
	attach
	osh sandbox stop --all
	expect_equal "$(osh sandbox list | awk 'NR > 1 { print $1, $2 }' | sort)" $'box attached\nown stopped'
	osh sandbox start --all
	expect_equal "$(osh sandbox detach --all)" "sandbox box detached"
	attach
	expect_equal "$(osh sandbox delete --all)" "sandbox own deleted"
	expect_equal "$(osh sandbox list -o name)" box
}

# A42, F20
@test "what cannot be enforced is named, and refused unless it is allowed" {
	run -1 osh sandbox attach --cgroup "$CG" --name box --policy "$(policy probe)"
	expect_contains "$output" "CAP_SYS_ADMIN"
	expect_contains "${lines[-1]}" "--allow-degraded"
	expect_equal "$(grep -vc "^openshell: not enforced: [^;]*$" <<<"$output")" 1 # a line each, before that one
	run osh sandbox get box
	expect_equal "$status" 1
	# Nothing of it has stayed.
	expect_equal "$(ip -n "$NET" -o addr show lo | grep -c 198.18)" 0
	expect_arrived "$(canary=$(new_canary); direct "$canary" >/dev/null; echo "$canary")"
	run osh sandbox attach --cgroup "$CG" --name box --policy "$(policy probe)" --allow-degraded
	expect_equal "$status" 0
	expect_contains "$output" "not enforced: its processes have CAP_"
}

# A42: one at a time
@test "a capability is named, none is not" {
	local cap
	echo 1 >"$CG/cgroup.kill"
	wait_until 5 empty
	in_cgroup capsh --drop=all --inh= -- -c 'exec tail -f /dev/null --pid='$$ 3>&- &
	wait_until 5 holds_tail
	run osh sandbox attach --cgroup "$CG" --name box --policy "$(policy probe)" --allow-degraded
	expect_equal "$status" 0
	expect_lacks "$output" "CAP_"
}

# A05, A08, A09, A10
@test "UDP goes to the agent's DNS or nowhere; raw and other IP sockets are not made" {
	local canary
	canary=$(new_canary)
	attach
	run in_cgroup /usr/bin/python3 -c 'import socket, sys
def attempt(do):
    try: do(); print("done")
    except PermissionError: print("refused")
def send(family, address): socket.socket(family, socket.SOCK_DGRAM).sendto(sys.argv[1].encode(), address)
def connect(address): s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(address); s.send(sys.argv[1].encode())
attempt(lambda: send(socket.AF_INET, ("203.0.113.10", 443)))
attempt(lambda: connect(("203.0.113.10", 443)))
attempt(lambda: send(socket.AF_INET6, ("2001:db8::10", 443)))
attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 136))
attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262))' "$canary"
	expect_equal "$(paste -sd, <<<"$output")" refused,refused,refused,refused,refused,refused
	run in_cgroup "$PROBES/net-no" fastopen 203.0.113.10 5432 "$canary"
	expect_absent "$canary"
	run in_cgroup /usr/bin/python3 -c 'import socket; print(socket.gethostbyname("ok.test"))'
	[[ $output == 198.18.* || $output == 198.19.* ]] || fail "$output"
}

# A31
@test "answers to connections from outside are dropped; its own loopback is its own" {
	local answer
	answer=$(new_canary)
	attach
	in_cgroup /usr/bin/python3 -c 'import socket, sys
s = socket.create_server(("0.0.0.0", 8080)); print("listening", flush=True)
while True:
    c, _ = s.accept(); c.sendall(sys.argv[1].encode()); c.close()' "$answer" >"$SCRATCH/served" 3>&- &
	wait_until 5 has_line "$SCRATCH/served" listening
	run nsenter --net="$WORLD_UP" timeout 2 bash -c "exec 4<>/dev/tcp/172.30.$BATS_TEST_NUMBER.2/8080 && cat <&4"
	expect_lacks "$output" "$answer"
	expect_absent "$answer"
	run in_cgroup /usr/bin/python3 -c 'import socket; print(socket.create_connection(("127.0.0.1", 8080)).recv(99).decode())'
	expect_equal "$output" "$answer"
}

# A30: made in the cgroup before; made before its process joined
@test "connections that are older end; a socket from outside is refused, or recorded" {
	local canary
	canary=$(new_canary)
	mkfifo "$SCRATCH/go"
	in_cgroup /usr/bin/python3 -c 'import socket, sys
s = socket.create_connection(("203.0.113.10", 5432)); print("connected", flush=True); open(sys.argv[2]).read()
try: s.sendall(sys.argv[1].encode()); print("sent")
except OSError as e: print("ended", flush=True)' "$canary" "$SCRATCH/go" >"$SCRATCH/older" 3>&- &
	wait_until 5 has_line "$SCRATCH/older" connected
	attach
	echo >"$SCRATCH/go"
	wait_until 5 has_line "$SCRATCH/older" ended
	expect_absent "$canary"
	osh sandbox detach box

	in_cgroup /usr/bin/python3 -c 'import socket, sys
s = socket.create_connection(("203.0.113.10", 5432)); print("connected", flush=True); open(sys.argv[2]).read()
s.sendall(sys.argv[1].encode()); s.shutdown(socket.SHUT_WR); s.recv(1); s.close()
try: socket.create_connection(("203.0.113.10", 5432)); print("again")
except PermissionError: print("refused", flush=True)' "$canary" "$SCRATCH/go" >"$SCRATCH/kept" 3>&- &
	wait_until 5 has_line "$SCRATCH/kept" connected
	OPTION=--keep-established attach
	expect_contains "$(osh logs box)" "keeps a connection that is older"
	echo >"$SCRATCH/go"
	expect_arrived "$canary"
	wait_until 5 has_line "$SCRATCH/kept" refused
	osh sandbox detach box

	for protocol in 0 136 1; do # TCP, UDP-Lite, a raw socket
		rm -f "$SCRATCH/joined"
		/usr/bin/python3 -c 'import os, socket, sys
kind = {"0": socket.SOCK_STREAM, "136": socket.SOCK_DGRAM, "1": socket.SOCK_RAW}[sys.argv[3]]
s = socket.socket(socket.AF_INET, kind, int(sys.argv[3])); open(sys.argv[1] + "/cgroup.procs", "w").write(str(os.getpid()))
print("joined", flush=True); open(sys.argv[2]).read()' "$CG" "$SCRATCH/go" "$protocol" >"$SCRATCH/joined" 3>&- &
		wait_until 5 has_line "$SCRATCH/joined" joined
		run -1 osh sandbox attach --cgroup "$CG" --name box --policy "$(policy probe)" --allow-degraded
		expect_contains "$output" "made outside of the cgroup"
		run -1 osh sandbox get box
		[[ $protocol == 1 ]] || echo >"$SCRATCH/go"
		[[ $protocol == 1 ]] || wait $!
	done
	OPTION=--keep-established run attach
	expect_equal "$output" box
	expect_contains "$(osh logs box)" "keeps a socket that was made outside of the cgroup"
	echo >"$SCRATCH/go"
}

# What waits in the cgroup does so in the agent's own network.
move_to_px() {
	echo 1 >"$CG/cgroup.kill"
	wait_until 5 empty
	in_cgroup_of_px tail -f /dev/null --pid=$$ 3>&- &
	wait_until 5 holds_tail
}

# attach_in_px [POLICY]
attach_in_px() {
	move_to_px
	attach "$@"
}

# serve_local ADDRESS PORT: a server outside, which answers any request with 200; its pid is in SERVERS.
serve_local() {
	local said=$SCRATCH/local-$1-$2
	: >"$said" # of another test
	nsenter --net="${WHERE:-$WORLD_PX}" /usr/bin/python3 -c 'import http.server, socketserver, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "5"); self.end_headers(); self.wfile.write(b"local")
    do_POST = do_GET
    log_message = lambda *a: None
socketserver.TCPServer.allow_reuse_address = True
server = socketserver.ThreadingTCPServer((sys.argv[1], int(sys.argv[2])), Handler)
print("listening", flush=True); server.serve_forever()' "$1" "$2" >"$said" 3>&- &
	SERVERS+=($!)
	wait_until 5 has_line "$said" listening
}

stop_local() {
	kill "${SERVERS[@]}"
	wait "${SERVERS[@]}" || true
}

# A27, with the agent's own network
@test "on a shared loopback its own listeners are reached, those of the host are not" {
	local -a SERVERS=()
	serve_local 127.0.0.1 2375
	attach_in_px
	run in_cgroup_of_px /usr/bin/python3 -c 'import socket
own = socket.create_server(("127.0.0.1", 0))
print(socket.create_connection(own.getsockname()) and "own")
for address in ("127.0.0.1", "0.0.0.0", "127.0.0.2", "203.0.113.1"):
    try: print(socket.create_connection((address, 2375), timeout=3) and "reached")
    except OSError as e: print(e.errno)'
	expect_equal "$(paste -sd, <<<"$output")" own,1,1,1,1
	run in_cgroup_of_px curl -sk -m 10 -o /dev/null -w '%{http_code}' https://ok.test/pub/x
	expect_equal "$output" 200
	# Others in that network are none of its business.
	run in_px curl -sk -m 10 -o /dev/null -w '%{http_code}' --resolve ok.test:443:203.0.113.10 https://ok.test/pub/x
	expect_equal "$output" 200
	stop_local
}

# A27: also what is bound, and listens afterwards. What was made outside and brought along is not the
# cgroup's own: who made it may hold it, too.
@test "on a shared loopback its own listeners are reached that are older, those of a neighbour are not" {
	local -a SERVERS=()
	serve_local 127.0.0.1 2375
	move_to_px
	mkfifo "$SCRATCH/listen-now"
	in_cgroup_of_px /usr/bin/python3 -c 'import socket, sys
listens = socket.create_server(("127.0.0.1", 2380)); bound = socket.socket(); bound.bind(("127.0.0.1", 2381))
print("bound", flush=True); open(sys.argv[1]).read(); bound.listen(); print("both", flush=True); open(sys.argv[1]).read()' \
		"$SCRATCH/listen-now" >"$SCRATCH/listeners" 3>&- &
	wait_until 5 has_line "$SCRATCH/listeners" bound
	nsenter --net="$WORLD_PX" /usr/bin/python3 -c 'import os, signal, socket, sys
listens = socket.create_server(("127.0.0.1", 2382)); open(sys.argv[1] + "/cgroup.procs", "w").write(str(os.getpid()))
print("joined", flush=True); signal.pause()' "$CG" >"$SCRATCH/brought" 3>&- &
	wait_until 5 has_line "$SCRATCH/brought" joined
	OPTION=--keep-established attach
	echo >"$SCRATCH/listen-now"
	wait_until 5 has_line "$SCRATCH/listeners" both
	run in_cgroup_of_px /usr/bin/python3 -c 'import socket
for port in 2380, 2381, 2375, 2382:
    try: print(socket.create_connection(("127.0.0.1", port), timeout=3) and "reached")
    except OSError as e: print(e.errno)'
	expect_equal "$(paste -sd, <<<"$output")" reached,reached,1,1
	stop_local
}

# serve_stubs: resolvers of the host's on loopback, by UDP and TCP, which tell what they hear.
serve_stubs() {
	nsenter --net="$WORLD_PX" /usr/bin/python3 -c 'import select, socket
sockets = [socket.socket(type=kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM) for _ in range(2)]
for s, host in zip(sockets, ["127.0.0.53", "127.0.0.11"] * 2):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind((host, 53))
    if s.type == socket.SOCK_STREAM: s.listen()
print("listening", flush=True)
while True:
    for s in select.select(sockets, [], [])[0]:
        print((s if s.type == socket.SOCK_DGRAM else s.accept()[0]).recv(999), s.getsockname()[0], flush=True)' \
		>"$SCRATCH/stubs" 3>&- &
	SERVERS+=($!)
	wait_until 5 has_line "$SCRATCH/stubs" listening
}

# query ADDRESS NAME: by UDP, then by TCP; the address that each answer ends with, or the error.
QUERY='import socket, struct, sys
query = struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + b"".join(bytes([len(l)]) + l.encode() for l in sys.argv[2].split(".")) + b"\0\0\1\0\1"
for kind, head in (socket.SOCK_DGRAM, b""), (socket.SOCK_STREAM, struct.pack("!H", len(query))):
    try:
        s = socket.socket(type=kind); s.settimeout(float(sys.argv[3])); s.connect((sys.argv[1], 53)); s.sendall(head + query)
        print(socket.inet_ntoa(s.recv(999)[-4:]))
    except OSError as e: print(type(e).__name__)'

# D15
@test "resolvers on loopback are no way around the agent's, by UDP and TCP; what the policy names there is one" {
	local -a SERVERS=()
	local stub
	serve_stubs
	serve_local 127.0.0.1 2376
	attach_in_px "$(policy localhost)"
	for stub in 127.0.0.53 127.0.0.11; do
		run in_cgroup_of_px /usr/bin/python3 -c "$QUERY" "$stub" ok.test 5
		[[ $(paste -sd, <<<"$output") =~ ^198\.1[89]\.[0-9.]+,198\.1[89]\.[0-9.]+$ ]] || fail "$stub: $output"
	done
	run in_cgroup_of_px curl -s -m 10 -o /dev/null -w '%{http_code}' http://localhost:2376/any
	expect_equal "$output" 200
	expect_equal "$(<"$SCRATCH/stubs")" listening
	# They hear who is not attached.
	for stub in 127.0.0.53 127.0.0.11; do
		in_px /usr/bin/python3 -c "$QUERY" "$stub" other.test 0.2 >/dev/null
		heard_twice() { (($(grep -c "other.*$stub" "$SCRATCH/stubs") == 2)); }
		wait_until 5 heard_twice
	done
	stop_local
}

# hear_local PORT: a UDP server outside, on loopback of the cgroup's network, which tells what it hears.
hear_local() {
	: >"$SCRATCH/heard-$1" # of another test
	nsenter --net="/run/netns/$NET" /usr/bin/python3 -c 'import socket, sys
s = socket.socket(type=socket.SOCK_DGRAM); s.bind(("127.0.0.1", int(sys.argv[1]))); print("listening", flush=True)
while True: print(s.recv(99).decode(), flush=True)' "$1" >"$SCRATCH/heard-$1" 3>&- &
	SERVERS+=($!)
	wait_until 5 has_line "$SCRATCH/heard-$1" listening
}

# A27: it had the network to itself when it was attached.
@test "who joins its network later is not reached on loopback; what is its own is, by TCP and UDP" {
	local -a SERVERS=()
	local canary
	canary=$(new_canary)
	attach
	WHERE=/run/netns/$NET serve_local 127.0.0.1 2376
	hear_local 2377
	run in_cgroup /usr/bin/python3 -c 'import socket, sys
UDP = socket.SOCK_DGRAM
def attempt(do):
    try: print(do())
    except OSError as e: print(e.errno)
def send(port): return socket.socket(type=UDP).sendto(sys.argv[1].encode(), ("127.0.0.1", port))
def connect(port): s = socket.socket(type=UDP); s.connect(("127.0.0.1", port)); return s.send(sys.argv[1].encode())
def dial(port): return socket.create_connection(("127.0.0.1", port), timeout=3) and "reached"
for do, port in (dial, 2376), (send, 2377), (connect, 2377), (dial, 2378), (send, 2378):
    attempt(lambda: do(port))
def own(family, host, connected):
    server = socket.socket(family, UDP); server.bind((host, 0)); client = socket.socket(family, UDP)
    where = ("::1" if family == socket.AF_INET6 else "127.0.0.1", server.getsockname()[1])
    if connected: client.connect(where)
    client.send(b"q") if connected else client.sendto(b"q", where)
    server.settimeout(3); client.settimeout(3)
    server.sendto(b"own", server.recvfrom(9)[1])
    return client.recv(9).decode()
for family, host in (socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::1"), (socket.AF_INET6, "::"):
    attempt(lambda: own(family, host, False))
    attempt(lambda: own(family, host, True))' "$canary"
	# Where nobody listens it is as everywhere.
	expect_equal "$(paste -sd, <<<"$output")" 1,1,1,111,1,own,own,own,own,own,own,own,own
	expect_lacks "$(<"$SCRATCH/heard-2377")" "$canary"
	expect_verdicts 1 box dst_host=127.0.0.1 dst_port=2376 l7_decision=deny binary~python3
	expect_verdicts 2 box dst_host=127.0.0.1 dst_port=2377 l7_decision=deny binary~python3
	expect_verdicts 0 box dst_host=127.0.0.1 dst_port=2378
	stop_local
}

# A27: nothing is asked of a connected socket any more but by the packet.
@test "a datagram goes to nobody who has taken the place of its receiver" {
	local -a SERVERS=()
	local canary
	canary=$(new_canary)
	attach
	mkfifo "$SCRATCH/send-now"
	in_cgroup /usr/bin/python3 -c 'import socket, sys
own = socket.socket(type=socket.SOCK_DGRAM); own.bind(("127.0.0.1", 2377))
s = socket.socket(type=socket.SOCK_DGRAM); s.connect(own.getsockname()); s.send(b"own"); print(own.recv(9).decode(), flush=True)
own.close(); print("left", flush=True); open(sys.argv[2]).read()
try: s.send(sys.argv[1].encode()); print("sent", flush=True)
except PermissionError: print("refused", flush=True)' "$canary" "$SCRATCH/send-now" >"$SCRATCH/sender" 3>&- &
	wait_until 5 has_line "$SCRATCH/sender" left
	hear_local 2377
	echo >"$SCRATCH/send-now"
	wait_until 5 has_line "$SCRATCH/sender" "refused|sent"
	expect_equal "$(paste -sd, "$SCRATCH/sender")" own,left,refused
	expect_lacks "$(<"$SCRATCH/heard-2377")" "$canary"
	expect_contains "$(osh logs box --denied)" "loopback"
	stop_local
}

# A27: which of them it is the kernel decides by source and destination; at connect the source is not known.
@test "of those that listen at one port only its own are reached" {
	local -a SERVERS=()
	attach
	mkfifo "$SCRATCH/dial-now"
	in_cgroup /usr/bin/python3 -c 'import socket, sys
own = [socket.create_server((f"127.0.0.{host}", 2383), reuse_port=True) for host in range(1, 17)]
print("listening", flush=True); open(sys.argv[1]).read()
for s in own * 3:
    try: print(socket.create_connection(s.getsockname(), timeout=0.1) and "reached", flush=True)
    except OSError: pass
print("done", flush=True)' "$SCRATCH/dial-now" >"$SCRATCH/dialler" 3>&- &
	wait_until 5 has_line "$SCRATCH/dialler" listening
	nsenter --net="/run/netns/$NET" /usr/bin/python3 -c 'import select, socket
beside = [socket.create_server((f"127.0.0.{host}", 2383), reuse_port=True) for host in range(1, 17)]
print("listening", flush=True)
while True:
    for s in select.select(beside, [], [])[0]: print(s.accept()[1], flush=True)' >"$SCRATCH/beside" 3>&- &
	SERVERS+=($!)
	wait_until 5 has_line "$SCRATCH/beside" listening
	echo >"$SCRATCH/dial-now"
	wait_until 10 has_line "$SCRATCH/dialler" "^done"
	expect_contains "$(<"$SCRATCH/dialler")" reached
	expect_equal "$(<"$SCRATCH/beside")" listening
	stop_local
}

# A27
@test "what the host serves on loopback is reached where the policy names it as localhost, and by no other way" {
	local -a SERVERS=()
	# of URL [OPTION...]: curl's status, or its exit status where there is none.
	of() { in_cgroup_of_px curl -s -m 10 -o /dev/null -w '%{http_code}' "$@" || echo " $?"; }
	serve_local 127.0.0.1 2375
	serve_local 127.0.0.1 2376
	serve_local 127.0.0.1 2377
	serve_local 127.0.0.2 2375
	attach_in_px "$(policy localhost)"
	expect_equal "$(of http://localhost:2375/pub/x)" 200
	expect_equal "$(of http://localhost:2375/pub/x -X POST)" 403
	expect_equal "$(of http://localhost:2375/other)" 403
	expect_equal "$(of http://localhost:2376/any -X POST)" 200
	expect_equal "$(of http://127.0.0.1:2376/any)" 200
	# By another name than it has in the policy; a port, an address, a program that it does not name.
	expect_equal "$(of http://127.0.0.1:2375/pub/x)" 421
	expect_equal "$(of http://localhost:2377/)" "000 7"
	expect_equal "$(of http://127.0.0.2:2375/pub/x)" "000 7"
	expect_equal "$(of http://0.0.0.0:2375/pub/x)" "000 7"
	run in_cgroup_of_px /usr/bin/python3 -c 'import socket
s = socket.create_connection(("127.0.0.1", 2376), timeout=5); s.sendall(b"GET / HTTP/1.0\r\n\r\n"); print(s.recv(99))'
	expect_lacks "$output" 200
	expect_verdicts 1 box dst_host=localhost dst_port=2375 l7_decision=allow
	expect_verdicts 2 box dst_host=localhost dst_port=2375 l7_decision=deny binary=/usr/bin/curl l7_target~/
	stop_local
}

@test "localhost is the host's alone: not what others serve on the loopback of another network" {
	local -a SERVERS=()
	WHERE=/run/netns/$NET serve_local 127.0.0.1 2376
	serve_local 127.0.0.1 2376
	attach "$(policy localhost)"
	run in_cgroup curl -s -m 10 http://localhost:2376/any
	expect_equal "$status" 7
	stop_local
}

@test "two that share a network are two" {
	local other=$CG-other
	attach
	mkdir "$other"
	bash -c 'echo $$ >"$1/cgroup.procs"; exec nsenter --net="/run/netns/$2" tail -f /dev/null --pid="$3"' _ "$other" "$NET" $$ 3>&- &
	wait_until 5 holds_tail "$other"
	sed 's|/pub/\*\*|/api/**|; s|POST|GET|' "$(policy probe)" >"$SCRATCH/other.yaml"
	osh sandbox attach --cgroup "$other" --name other --policy "$SCRATCH/other.yaml" --allow-degraded 2>/dev/null
	expect_equal "$(asked https://ok.test/pub/x)" 200
	CG=$other run asked https://ok.test/pub/x
	expect_equal "$output" 403
	expect_verdicts 1 other l7_target=/pub/x l7_decision=deny
	osh sandbox detach other
	echo 1 >"$other/cgroup.kill"
	wait_until 5 grep -q "populated 0" "$other/cgroup.events"
	rmdir "$other"
}

@test "places that are none, the agent's own, or taken are refused" {
	local mount inner
	mount=$(cgroup_mount)
	attach
	mkdir "$CG/below"
	make_sandbox inner probe
	BODY=$(osh sandbox get inner -o json)
	inner=$(cgroup_of "$(json 'b["pid"]')")
	expect_contains "$inner" "$mount/openshell-"
	# Another agent's, whose sandboxes these would be.
	for place in openshell-other openshell; do
		[[ ! -e $mount/$place ]] || continue # there is one
		mkdir -p "$mount/$place/box"
		run -1 osh sandbox attach --cgroup "$mount/$place/box" --policy "$(policy probe)" --allow-degraded
		rmdir "$mount/$place/box" "$mount/$place"
		expect_contains "$output" "belongs to another agent's sandboxes"
	done
	for place in "$SCRATCH" "$SCRATCH/none" "$mount" "$CG" "$CG/below" "$inner" "${inner%/*}"; do
		run -1 osh sandbox attach --cgroup "$place" --policy "$(policy probe)" --allow-degraded
	done
	rmdir "$CG/below"
	run -1 osh sandbox delete box
	expect_contains "$output" "sandbox detach box"
	run -1 osh sandbox stop box
	run -1 osh sandbox exec box -- true
	run -1 osh sandbox detach inner
	osh sandbox delete inner
	run -2 osh sandbox attach --policy "$(policy probe)"
}

# F01, F02: links outlive the agent, and the next one has it again.
@test "the agent dies: nothing leaves; the next one takes it over; the cgroup goes: so does it" {
	local canary
	canary=$(new_canary)
	attach
	agent_crash
	run direct "$canary"
	run asked https://ok.test/pub/x
	[[ $output != 200 ]]
	expect_absent "$canary"
	agent_start "$AGENT_DIR"
	expect_equal "$(asked https://ok.test/pub/x)" 200
	run direct "$canary"
	expect_equal "$output" "connect EPERM"
	osh policy set box --policy "$(policy probe_more)" --wait 2>/dev/null
	expect_equal "$(asked https://ok.test/pub/x)" 403
	echo 1 >"$CG/cgroup.kill"
	wait_until 5 empty
	rmdir "$CG"
	gone() { ! osh sandbox get box >/dev/null 2>&1; }
	wait_until 5 gone
	mkdir "$CG" # for teardown
}

sweep() { "$BUILD/openshelld" --config "$AGENT_DIR/config.yaml" --sweep; }

# F18: of two and a sandbox of our own, the one in which processes run keeps its rules.
@test "a sweep takes the rules from no process, and leaves them to the next agent; where none runs nothing stays" {
	local canary after other=$CG-2 pins
	canary=$(new_canary) after=$(new_canary)
	mkdir "$other"
	CG=$other in_cgroup tail -f /dev/null --pid=$$ 3>&- &
	wait_until 5 holds_tail "$other"
	osh sandbox attach --cgroup "$other" --name other --policy "$(policy probe)" --allow-degraded 2>/dev/null
	attach
	make_sandbox own probe
	agent_crash
	echo 1 >"$other/cgroup.kill"
	CG=$other wait_until 5 empty
	for _ in 1 2; do
		run -4 sweep
		expect_contains "$output" "sandbox box: processes run in $CG and keep its rules"
		expect_contains "$output" "openshell sandbox detach box"
		run direct "$canary"
		expect_equal "$output" "connect EPERM"
		expect_equal "$(CG=$other list_links)" ""
	done
	expect_absent "$canary"
	rmdir "$other"
	agent_start "$AGENT_DIR"
	expect_equal "$(osh sandbox list -o name | sort | paste -sd,)" box,own
	run direct "$canary"
	expect_equal "$output" "connect EPERM"
	expect_equal "$(asked https://ok.test/pub/x)" 200
	expect_equal "$(asked https://ok.test/other)" 403
	osh sandbox start own
	fetch own https://ok.test/pub/x
	expect_status 200
	osh sandbox delete own
	agent_crash
	echo 1 >"$CG/cgroup.kill"
	wait_until 5 empty
	run -0 sweep
	expect_contains "$output" "sandbox box: detached from $CG"
	pins=$(grep -oP 'maps below \K\S+' <<<"$output")
	[[ $pins && ! -e $pins ]]
	direct "$after"
	expect_arrived "$after"
	expect_absent "$canary"
	agent_start "$AGENT_DIR"
	run -1 osh sandbox get box
}

@test "its record is damaged: a copy is in force; all of it is: nothing is reached until it is attached anew" {
	local canary state=$AGENT_DIR/state/sandboxes/box
	canary=$(new_canary)
	attach
	agent_crash
	truncate -s 20 "$state/record.json"
	agent_start "$AGENT_DIR"
	has_line "$AGENT_DIR/agent.log" "box/record.json was damaged or gone: its copy is in force"
	expect_equal "$(osh sandbox list | awk '$1 == "box" { print $2 }')" attached
	run direct "$canary"
	expect_equal "$output" "connect EPERM"
	expect_equal "$(asked https://ok.test/pub/x)" 200
	expect_equal "$(asked https://ok.test/other)" 403
	cmp "$state/record.json" "$state/attached.json"

	# Neither an agent that stops with nothing else to watch over nor the next one lets it go.
	agent_crash
	truncate -s 20 "$state/record.json" "$state/attached.json"
	for _ in 1 2; do
		agent_start "$AGENT_DIR"
		has_line "$AGENT_DIR/agent.log" "attached to the cgroup with inode $(stat -c %i "$CG") is not known any more"
		run osh sandbox get box
		[[ $output == *damaged* || $output == *"no sandbox"* ]] || fail "$output"
		run direct "$canary"
		expect_equal "$output" "connect EPERM"
		refute [ "$(asked https://ok.test/pub/x)" = 200 ]
		osh sandbox delete box 2>/dev/null || true
		agent_stop
	done
	expect_absent "$canary"
	agent_start "$AGENT_DIR"
	attach
	expect_equal "$(asked https://ok.test/pub/x)" 200
	run direct "$canary"
	expect_equal "$output" "connect EPERM"
	osh sandbox detach box
	direct "$canary"
	expect_arrived "$canary"
	expect_equal "$(list_links)" ""
}

@test "nothing is known of it any more: --sweep lets it go, and not before" {
	local canary after
	canary=$(new_canary) after=$(new_canary)
	attach
	agent_crash
	truncate -s 20 "$AGENT_DIR/state/sandboxes/box/"{record,attached}.json
	run direct "$canary"
	expect_equal "$output" "connect EPERM"
	run -0 sweep
	direct "$after"
	expect_arrived "$after"
	expect_absent "$canary"
	expect_equal "$(list_links)" ""
	agent_start "$AGENT_DIR"
	expect_equal "$(osh sandbox list | awk '$1 == "box" { print $2 }')" damaged
	osh sandbox delete box
}

@test "nothing is in it when the next agent comes: what starts there reaches nothing, until it is attached anew" {
	local canary
	canary=$(new_canary)
	attach
	agent_crash
	echo 1 >"$CG/cgroup.kill"
	wait_until 5 empty
	agent_start "$AGENT_DIR"
	expect_equal "$(osh sandbox list | awk '$1 == "box" { print $2 }')" attached
	run direct "$canary"
	run asked https://ok.test/pub/x
	[[ $output != 200 ]] || fail "reached"
	expect_absent "$canary"
	in_cgroup tail -f /dev/null --pid=$$ 3>&- &
	wait_until 5 holds_tail
	osh sandbox detach box
	attach
	expect_equal "$(asked https://ok.test/pub/x)" 200
}

# As when the agent dies while it looks through the sockets; who froze it otherwise meant it.
@test "a cgroup that was left frozen goes on under the next agent" {
	attach
	agent_crash
	: >"$AGENT_DIR/state/sandboxes/box/frozen"
	echo 1 >"$CG/cgroup.freeze"
	agent_start "$AGENT_DIR"
	expect_equal "$(<"$CG/cgroup.freeze")" 0
	expect_equal "$(asked https://ok.test/pub/x)" 200
	agent_crash
	echo 1 >"$CG/cgroup.freeze"
	agent_start "$AGENT_DIR"
	expect_equal "$(<"$CG/cgroup.freeze")" 1
	echo 0 >"$CG/cgroup.freeze"
}

# A41: what is sent once attach has returned is another text than what was sent before.
@test "attached in the middle of forks and connections: nothing sent afterwards arrives" {
	local before after
	before=$(new_canary) after=$(new_canary)
	echo "$before" >"$SCRATCH/word"
	in_cgroup /usr/bin/python3 -c 'import os, signal, socket, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    if os.fork() == 0:
        try:
            s = socket.create_connection(("203.0.113.10", 5432), timeout=1)
            s.sendall(open(sys.argv[1]).read().encode()); s.shutdown(socket.SHUT_WR); s.recv(9)
        except OSError: pass
        os._exit(0)
    try: os.waitpid(-1, 0)
    except ChildProcessError: pass' "$SCRATCH/word" 3>&- &
	expect_arrived "$before"
	attach
	echo "$after" >"$SCRATCH/word.new" && mv "$SCRATCH/word.new" "$SCRATCH/word"
	has_verdicts_soon() { has_verdicts 1 box dst_host=203.0.113.10 l7_decision=deny; }
	wait_until 10 has_verdicts_soon
	expect_absent "$after"
	expect_equal "$(asked https://ok.test/pub/x)" 200
}

# G02: on the host's own file system, and as root.
@test "what is attached has no say in its own rules" {
	run in_cgroup "$BUILD/openshell" sandbox list # not yet
	expect_equal "$status" 0
	attach
	# It may have written before it hears why nobody listens.
	run in_cgroup "$BUILD/openshell" sandbox detach box
	[[ $status != 0 ]]
	run in_cgroup "$BUILD/openshell" policy set box --policy "$(policy probe_more)"
	[[ $status != 0 ]]
	if guarded; then # on its way already
		expect_contains "$(osh logs box --denied)" "a Unix socket of the outside"
	else
		expect_equal "$(grep -c "refused: calls from inside a sandbox are refused" "$AGENT_DIR/agent.log")" 2
	fi
	expect_equal "$(osh sandbox list | awk '$1 == "box" { print $2, $4 }')" "attached 1"
}

# With no way back from a network that it entered, the agent ends itself.
restart_ended() {
	wait_until 10 is_gone "$AGENT_PID"
	agent_start "$AGENT_DIR"
}

# F19: each of these calls of the agent's, each time that it makes it for that
@test "a step that fails: attached and enforced, or as before, with nothing left" {
	local call count at canary tracer step=1
	((${OSH_TIME_SCALE:-1} == 1)) || step=3 # where it takes minutes; the agent's own rounds are among the calls
	for call in bpf setns pidfd_open getdents64 sendmsg; do
		with_strace -o "$SCRATCH/attaching" -e "trace=$call"
		attach
		end_strace
		osh sandbox detach box
		count=$(grep -c "$call" "$SCRATCH/attaching")
		for ((at = 1; at <= count; at += step)); do
			with_strace -o /dev/null -e "trace=$call" -e "inject=$call:error=EPERM:when=$at"
			run attach
			end_strace
			osh status >/dev/null || restart_ended
			canary=$(new_canary)
			if ((status == 0)); then
				expect_equal "$(direct "$canary")" "connect EPERM" "with $call failing, the ${at}th time"
				osh sandbox detach box
			else
				run -1 osh sandbox get box
				direct "$canary"
				expect_arrived "$canary"
			fi
			expect_equal "$(ip -n "$NET" -o addr show lo | grep -c 198.18)" 0 "addresses, $call, the ${at}th time"
		done
	done
}
