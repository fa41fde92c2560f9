#!/usr/bin/env bats
# Servers in sandboxes, reached from the host's loopback.

load helpers

bats_require_minimum_version 1.5.0

setup_file() { start_all; }
teardown_file() { stop_all; }

teardown() { osh sandbox delete --all >/dev/null || true; }

# serve NAME PORT [ADDRESS]: what it answers is its sandbox's name.
serve() {
	inside "$1" sh -c 'cd /sandbox && hostname >name && exec setsid python3 -m http.server "$1" --bind "$2" >/dev/null 2>&1 &' _ "$2" "${3:-127.0.0.1}"
	listens() { inside "$1" python3 -c 'import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])))' "$2" "$3" 2>/dev/null; }
	wait_until 10 listens "$1" "${3:-127.0.0.1}" "$2"
}

# forward ARGUMENT...: in the background; sets LOCAL.
forward() {
	local said
	said=$(osh forward start -d "$@" 2>&1) || { fail "$said"; return; }
	said=$(without_progress "$said")
	LOCAL=${said#127.0.0.1:}
	LOCAL=${LOCAL%% *}
}

get() { curl -sS -m 10 "http://127.0.0.1:$1/$2"; }
refused() { ! curl -sS -m 10 "http://127.0.0.1:$1/" >/dev/null 2>&1; }
forwards() { osh forward list | tail -n +2 | wc -l; }

@test "two sandboxes both serve port 3000" {
	make_sandbox one default
	make_sandbox two default
	serve one 3000
	serve two 3000
	forward 0:3000 one
	local first=$LOCAL
	forward 0:3000 two
	local second=$LOCAL
	expect_equal "$(get "$first" name) $(get "$second" name)" "one two"
	run osh forward list -o json
	BODY=$output
	expect_equal "$(json '[(f["sandbox"], f["port"], f["local_port"]) for f in b]')" "[('one', 3000, $first), ('two', 3000, $second)]"
	osh forward stop 3000 one
	wait_until 5 refused "$first"
	expect_equal "$(get "$second" name)" two
	run -1 osh forward stop 3000 one
	expect_contains "$output" "nobody forwards to port 3000 of one"
	run -1 osh forward stop "$first:3000" two
	expect_contains "$output" "nobody forwards from $first to port 3000 of two"
	osh forward stop "$second:3000" two
	wait_until 5 refused "$second"
	expect_equal "$(forwards)" 0
}

@test "only the host's loopback listens, and only inside's is reached" {
	local pid
	make_sandbox box default
	serve box 3000
	forward 0:3000 box
	pid=$(osh forward list -o json | /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["pid"])')
	run ss -Hltn "sport = :$LOCAL"
	expect_equal "$(wc -l <<<"$output")" 1
	expect_contains "$output" "127.0.0.1:$LOCAL"
	# It is the caller's process, not the agent's.
	[[ $(readlink "/proc/$pid/exe") == "$BUILD/openshell" ]]
	# IPv6 inside is found too.
	serve box 3001 ::1
	forward 0:3001 box
	expect_equal "$(get "$LOCAL" name)" box
}

@test "a port that nobody serves is refused at once, and served later it works" {
	make_sandbox box default
	forward 0:4000 box
	run curl -sS -m 10 "http://127.0.0.1:$LOCAL/"
	((status == 56 || status == 52 || status == 7)) || fail "$status $output"
	serve box 4000
	expect_equal "$(get "$LOCAL" name)" box
	# The agent's own listeners inside are not on that loopback.
	for port in 1 53; do
		forward "0:$port" box
		refused "$LOCAL"
	done
}

@test "much goes through both ways, half-closed too" {
	make_sandbox box default
	inside box sh -c 'cat >/sandbox/echo.py' <<'END'
import socket
server = socket.create_server(("127.0.0.1", 5000))
while True:
    conn, _ = server.accept()
    size = 0
    while data := conn.recv(65536):
        size += len(data)
    conn.sendall(b"%d " % size + b"z" * size)
    conn.close()
END
	inside box sh -c 'setsid python3 /sandbox/echo.py >/dev/null 2>&1 &'
	forward 0:5000 box
	/usr/bin/python3 - "$LOCAL" <<'END'
import concurrent.futures, socket, sys, time
def ask(size):
    for _ in range(500):  # until it listens
        with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as sock:
            sock.settimeout(30)
            try:
                sock.sendall(b"a" * size)
                sock.shutdown(socket.SHUT_WR)
                answer = b""
                while data := sock.recv(65536):
                    answer += data
            except (ConnectionResetError, BrokenPipeError):
                time.sleep(0.02)
                continue
            assert answer == b"%d " % size + b"z" * size, len(answer)
            return
    raise SystemExit("nobody answered")
with concurrent.futures.ThreadPoolExecutor() as pool:
    list(pool.map(ask, (0, 1, 70000, 3000000)))
ask(5000000)
END
}

@test "what cannot be forwarded says why" {
	make_sandbox box default
	forward 0:3000 box
	run -1 osh forward start "$LOCAL:3000" box
	expect_contains "$output" "in use"
	run -1 osh forward start -d "$LOCAL:3000" box
	expect_contains "$output" "in use"
	run -1 osh forward start 0:3000 nobody
	run -1 osh forward start -d 0:3000 nobody
	run -2 osh forward start 0 box
	run -2 osh forward start 70000 box
	run -2 osh forward start 1:2:3 box
	run -2 osh forward start 3000
	osh sandbox stop box
	run -1 osh forward start 0:3000 box
	expect_contains "$output" "is stopped"
}

@test "it ends with the sandbox" {
	local foreground
	make_sandbox box default
	serve box 3000
	forward 0:3000 box
	osh forward start 0:3000 box >"$BATS_TEST_TMPDIR/said" 2>&1 3>&- &
	foreground=$!
	wait_until 5 has_line "$BATS_TEST_TMPDIR/said" 'is port 3000 of sandbox box'
	osh sandbox stop box
	wait_until 5 refused "$LOCAL"
	wait_until 5 is_gone "$foreground"
	expect_contains "$(<"$BATS_TEST_TMPDIR/said")" "sandbox box does not run any more"
	expect_equal "$(forwards)" 0
}

@test "an agent that dies is found again, and open connections go on meanwhile" {
	make_sandbox box default
	serve box 3000
	forward 0:3000 box
	exec {conn}<>"/dev/tcp/127.0.0.1/$LOCAL"
	# Through to the server (3000 is 0BB8), which has answered nobody yet.
	is_through() { inside box grep -q '0100007F:0BB8 .* 01 ' /proc/net/tcp; }
	wait_until 10 is_through
	agent_crash
	printf 'GET /name HTTP/1.0\r\n\r\n' >&"$conn"
	run timeout 10 cat <&"$conn"
	exec {conn}<&-
	expect_equal "${lines[-1]}" box
	agent_start "$AGENT_DIR"
	has_one() { [[ $(forwards) == 1 ]]; }
	wait_until 10 has_one
	expect_equal "$(get "$LOCAL" name)" box
}

@test "another user's sandbox is neither forwarded, listed nor stopped" {
	make_sandbox box default
	serve box 3000
	forward 0:3000 box
	chmod 0666 "$AGENT_SOCKET"
	as_stranger() { setpriv --reuid 65534 --regid 65534 --clear-groups "$BUILD/openshell" "$@"; }
	run as_stranger forward list -o json
	expect_equal "$output" "[]"
	run -1 as_stranger forward start 0:3000 box
	expect_contains "$output" "belongs to another user"
	run -1 as_stranger forward stop 3000 box
	chmod 0600 "$AGENT_SOCKET"
	expect_equal "$(get "$LOCAL" name)" box
	run /usr/bin/python3 "$E2E/control.py" "$AGENT_SOCKET" SandboxDial <<<'{"name": "box", "port": 0, "ipv6": false}'
	expect_contains "$output" Invalid
}
