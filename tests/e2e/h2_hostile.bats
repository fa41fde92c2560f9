#!/usr/bin/env bats
# HTTP/2 by the letter, frame by frame: clients and servers that break its rules, or bend them.

load helpers

setup_file() {
	start_all
	make_sandbox wire h2
	put wire "$E2E/h2wire.py" /sandbox/h2wire.py
	put wire "$E2E/h2_client.py" /sandbox/h2_client.py
	start_server "$SCRATCH/server.log" 9447
	start_server "$SCRATCH/narrow.log" 9448 2
	start_server "$SCRATCH/held.log" 9449
}

teardown_file() {
	xargs kill <"$SCRATCH/servers"
	stop_all
}

# start_server LOG PORT [STREAMS]: see h2_server.py.
start_server() {
	nsenter --net="$WORLD_UP" /usr/bin/python3 "$E2E/h2_server.py" "$WORLD_DIR/certs/good.pem" "${@:2}" \
		</dev/null >"$1" 2>&1 3>&- &
	echo $! >>"$SCRATCH/servers"
	wait_until 10 has_line "$1" ready || fail "$(<"$1")"
}

# client CASE [CANARY]: see h2_client.py; sets lines.
client() { run inside wire timeout 60 /usr/bin/python3 /sandbox/h2_client.py "$@"; }

proxy_pid() {
	BODY=$(osh status -o json)
	json 'b["proxy_pid"]'
}

proxy_memory_kb() { awk '$1 == "VmRSS:" { print $2 }' "/proc/$(proxy_pid)/status"; }
# User and system time, in ticks of 10 ms.
proxy_ticks() { awk '{ print $14 + $15 }' "/proc/$(proxy_pid)/stat"; }

# ---- Clients --------------------------------------------------------------------------------

# C34
@test "a request that no HTTP/2 message may be is refused, and its connection serves on" {
	local canary line
	canary=$(new_canary)
	client malformed "$canary"
	((${#lines[@]} > 25)) || fail "$output"
	for line in "${lines[@]}"; do
		# Methods are HTTP's: in lower case it is another one.
		[[ $line == *" reset 1 200" || $line == "lower-method 400 200" ]] || fail "$line"
	done
	expect_absent "$canary"
	expect_verdicts "$(grep -c reset <<<"$output")" wire l7_decision=deny 'l7_deny_reason~HTTP/2: '
}

# C34
@test "a body of another length than was announced ends its stream" {
	client wrong_length
	expect_equal "$output" $'reset 1 200\nreset 1 200'
}

# C03
@test ":authority names the host that was dialled, once and for all" {
	local canary
	canary=$(new_canary)
	client authority "$canary"
	expect_equal "$(tr '\n' ' ' <<<"$output")" "421 421 reset 1 400 400 421 200 200 200 "
	expect_absent "$canary"
}

# C20
@test "no tunnel opens where all methods are allowed: CONNECT, CONNECT-UDP, others" {
	local canary
	canary=$(new_canary)
	client connects "$canary"
	expect_equal "$output" $'405 200\n405 200\n405 200'
	expect_absent "$canary"
}

# C18
@test "allowed, denied, allowed on one connection; a request within a body is none" {
	local canary
	canary=$(new_canary)
	client order "$canary"
	expect_equal "$output" "200 403 200"
	settle
	expect_equal "$(grep -F "$canary" "$WORLD_DIR/requests.log" | grep -c '"target": "/api/first"')" 1
	expect_equal "$(grep -cF "\"target\": \"/secret/$canary\"" "$WORLD_DIR/requests.log")" 0
}

# C19
@test "HTTP/2 is spoken where it was agreed upon, and nowhere else" {
	local canary
	canary=$(new_canary)
	client preface "$canary"
	expect_equal "$output" $'HTTP/1.1 505 HTTP Version Not Supported\nHTTP/1.1 505 HTTP Version Not Supported'
	fetch wire http://plain.test/pub/x --http2 # asks for an upgrade
	expect_status 200
	expect_lacks "$BODY" h2c
	run inside wire curl -sS -m 20 --http2-prior-knowledge "http://plain.test/pub/$canary"
	expect_lacks "$output" "$canary"
	((status != 0))
	expect_absent "$canary"
	fetch wire http://plain.test/pub/x --http1.1
	expect_status 200
}

# C16
@test "a trailer says nothing that a head alone may say" {
	client trailers
	expect_equal "${lines[0]}" "200 grpc-status x-checksum"
	expect_equal "${lines[1]}" "reset 1 "
	expect_equal "${lines[2]}" "reset 1 "
}

# C20
@test "a WebSocket over HTTP/2 is judged as its upgrade would be" {
	local canary
	canary=$(new_canary)
	client sockets "$canary"
	expect_equal "${lines[0]}" "offered 1"
	expect_equal "${lines[1]}" 200
	expect_equal "${lines[2]}" 403
	expect_equal "${lines[3]}" 200
	expect_equal "${lines[4]}" "closed by 1008"
	expect_equal "${lines[5]}" "closed by 1000"
	expect_absent "$canary"
	expect_verdicts 1 wire l7_decision=deny dst_host=ws.test "l7_target=/secret/$canary"
}

@test "a WebSocket over HTTP/2 that no rule reads carries frames alone; its connection goes on" {
	local canary
	canary=$(new_canary)
	client unread "$canary"
	expect_equal "${lines[0]}" 200
	expect_equal "${lines[1]}" "closed by 1002"
	expect_equal "${lines[2]}" 200
	expect_absent "$canary"
	expect_verdicts 1 wire l7_decision=deny l7_action=WEBSOCKET dst_host=ok.test
}

# C35
@test "floods are sent away at no cost to others" {
	local before line memory
	client cookie # what the first connection needs is there
	before=$(proxy_ticks)
	memory=$(proxy_memory_kb)
	client floods
	expect_equal "${#lines[@]}" 8
	for line in "${lines[@]}"; do
		[[ $line == *" sent away" ]] || fail "$output"
	done
	client company
	expect_equal "$output" 200
	(($(proxy_ticks) - before < 100)) || fail "$(($(proxy_ticks) - before)) ticks"
	(($(proxy_memory_kb) - memory < 4096)) || fail "$(($(proxy_memory_kb) - memory)) kB"
	fetch wire https://ok.test/pub/x --http2
	expect_status 200
}

# C32
@test "heads without end, and heads that grow when they are unpacked; a large one passes" {
	local memory
	client cookie
	expect_equal "$output" 200
	memory=$(proxy_memory_kb)
	client continuation
	[[ $output == closed || $output == goaway* ]] || fail "$output"
	client bomb
	expect_equal "$output" "431 200"
	(($(proxy_memory_kb) - memory < 1024)) || fail "$(($(proxy_memory_kb) - memory)) kB"
	fetch wire https://ok.test:9447/pub/size --http2 -H "X-Long: $(printf '%030000d' 0)"
	((BODY > 30000)) || fail "$BODY"
}

# C35
@test "as many streams as are offered; one more ends the connection" {
	local canary
	canary=$(new_canary)
	client streams "$canary"
	expect_equal "${lines[0]}" "100 100 200"
	expect_equal "${lines[1]}" "100 0 goaway 1"
	expect_absent "$canary"
}

# C35
@test "a stream's number is used once" {
	local canary
	canary=$(new_canary)
	client reuse "$canary"
	expect_equal "${lines[0]}" "200 200"
	expect_equal "${lines[1]}" "200 200"
	expect_equal "${lines[2]}" "200 goaway 1"
	expect_absent "$canary"
}

# C35
@test "who takes nothing gets nothing, and keeps nobody waiting" {
	client zero_window
	expect_equal "${lines[0]}" "200 0 403"
	expect_equal "${lines[1]}" "200 3000000"
}

@test "a reader that stops stops its server: what lies between them is bounded" {
	local memory
	fetch wire https://ok.test:9447/pub/ok --http2
	memory=$(proxy_memory_kb)
	mkfifo "$SCRATCH/go"
	inside wire timeout 60 /usr/bin/python3 /sandbox/h2_client.py pressure <"$SCRATCH/go" >"$SCRATCH/pressure" 2>&1 3>&- &
	local client=$!
	exec 9>"$SCRATCH/go"
	wait_until 20 has_line "$SCRATCH/pressure" 200
	fetch wire https://ok.test:9447/pub/sent --http2
	# Ten streams: a window of the server, a window of the client, and two buffers for each.
	((BODY < 10 * 512 * 1024)) || fail "the server sent $BODY"
	(($(proxy_memory_kb) - memory < 10 * 512)) || fail "$(($(proxy_memory_kb) - memory)) kB"
	echo >&9
	exec 9>&-
	wait "$client"
	expect_contains "$(<"$SCRATCH/pressure")" "200 16777216"
}

@test "a reader that keeps up is given a window for far servers; it bounds what is left when it stops" {
	fetch wire https://ok.test:9448/pub/large --http2 -o /dev/null
	expect_status 200
	fetch wire https://ok.test:9448/pub/room --http2
	((BODY > 1 << 20 && BODY <= 4 << 20)) || fail "a window of $BODY"
	# Nobody is given one in advance: see the test before.
	client late_pressure
	((output > 0 && output < 5 << 20)) || fail "$output"
}

# ---- Servers --------------------------------------------------------------------------------

# from_server PATH: sets STATUS and BODY.
from_server() { fetch wire "https://ok.test:9447/pub/$1" --http2; }

@test "an answer that no HTTP/2 message may be reaches nobody, and is told as that" {
	local name
	for name in uppercase cr lf nul colon connection coding no-status two-statuses odd-status late-status path \
		switching two-lengths data-first headers-on-0 push oversized hpack settings text window; do
		from_server $name
		expect_equal "$STATUS" 502 "$name"
		expect_equal "$(json 'b["error"]')" invalid_http_response
		expect_equal "$(json 'b["detail"]')" "the server broke the rules of HTTP/2"
		expect_verdicts 1 wire l7_decision=deny l7_target=/pub/$name 'l7_deny_reason=the server broke the rules of HTTP/2'
	done
	from_server ok
	expect_status 200
}

@test "what breaks behind a good head cuts its answer off" {
	local name
	for name in short long pings all-settings empty-data windows; do
		run inside wire curl -sS -m 20 --http2 "https://ok.test:9447/pub/$name"
		expect_equal "$status" 92 "$name: $output" # CURLE_HTTP2_STREAM
		expect_verdicts 1 wire l7_decision=deny l7_target=/pub/$name 'l7_deny_reason=the server broke the rules of HTTP/2'
	done
	client overflow
	expect_equal "$output" $'200\nreset 2'
	expect_verdicts 1 wire l7_decision=deny l7_target=/pub/overflow 'l7_deny_reason=the server broke the rules of HTTP/2'
	from_server ok
	expect_status 200
}

@test "the heads of a server are bounded" {
	local name memory
	from_server ok
	memory=$(proxy_memory_kb)
	for name in bomb large-head; do
		from_server $name
		expect_equal "$STATUS" 502 "$name"
		expect_equal "$(json 'b["detail"]')" "the server's headers are too large"
	done
	from_server fields
	expect_equal "$(json 'b["detail"]')" "too many headers"
	from_server interims
	expect_equal "$(json 'b["detail"]')" "too many interim responses"
	fetch wire https://ok.test:9447/pub/hinted --http2 -i
	expect_status 200
	expect_contains "$BODY" "HTTP/2 103"
	expect_contains "$BODY" "link: </a>"
	(($(proxy_memory_kb) - memory < 1024)) || fail "$(($(proxy_memory_kb) - memory)) kB"
}

@test "a request that the server has not looked at is sent again" {
	from_server once/goaway
	expect_status 200
	from_server once/refused
	expect_status 200
	expect_equal "$(grep -c once/goaway "$SCRATCH/server.log")" 2
	expect_equal "$(grep -c once/refused "$SCRATCH/server.log")" 2
	# The twins may have had an effect.
	fetch wire https://ok.test:9447/api/reset --http2 -X POST
	expect_status 502
	expect_equal "$(grep -c /api/reset "$SCRATCH/server.log")" 1
}

@test "a request with a body is sent again as long as the body is held" {
	local name call='{"jsonrpc":"2.0","id":1,"method":"count"}'
	for name in refused goaway; do
		fetch wire https://ok.test:9449/api/once/$name --http2 -H 'Content-Type: application/json' -d "$call"
		expect_status 200
		expect_equal "$BODY" "$call"
		expect_equal "$(grep -c once/$name "$SCRATCH/held.log")" 2
	done
	# The twin's has gone on as it came.
	fetch wire https://ok.test:9447/api/once/refused --http2 -d "$call"
	expect_status 502
	expect_contains "$(json 'b["detail"]')" "without looking at it, and its body is not kept"
	expect_equal "$(grep -c api/once/refused "$SCRATCH/server.log")" 1
	fetch wire https://ok.test:9447/api/once/refused --http2 -d "$call"
	expect_status 200
	expect_equal "$BODY" "$call"
}

@test "a server may answer early, however often" {
	client early
	expect_equal "$output" 400
}

@test "a server gets no more streams at once than it takes" {
	client many
	expect_equal "$output" 12
	refute grep "too many" "$SCRATCH/narrow.log"
	expect_equal "$(grep -c held "$SCRATCH/narrow.log")" 12
}

# ---- Both ---------------------------------------------------------------------------------------

@test "anything at all, in any order: the proxy lives, and what is denied never leaves" {
	local before
	before=$(proxy_pid)
	client chaos none 0 25
	expect_equal "$output" "done"
	expect_equal "$(proxy_pid)" "$before" "pid of the proxy"
	settle
	refute grep -q /secret "$SCRATCH/server.log"
	refute grep -q '"target": "/secret' "$WORLD_DIR/requests.log"
	from_server ok
	expect_status 200
	fetch wire https://ok.test/pub/x --http2
	expect_status 200
}
