#!/usr/bin/env bats
# Odd messages, byte by byte, in tables: `refused` and, beside it, `served`. In a table CANARY
# stands for a text that must not, or must, arrive.

# shellcheck disable=SC2028  # the escapes are for messages.py
load helpers

setup_file() {
	start_all
	make_sandbox web probe
	put web "$E2E/messages.py" /sandbox/messages.py
}

teardown_file() { stop_all; }

# exchange HOST PORT NAME, a table on standard input: each message gets the statuses before it.
exchange() {
	local cases
	cases=$(cat)
	run inside web python3 /sandbox/messages.py "$@" <<<"$cases"
	diff <(echo "$cases") - <<<"$output" || fail "answered otherwise than the table says"
}

# with_canary COUNT-OF-DECISION EXPECTATION HOST PORT NAME: a table whose messages all have it.
with_canary() {
	local decision=$1 expectation=$2 canary before cases
	shift 2
	canary=$(new_canary)
	cases=$(sed "s/CANARY/$canary/g")
	before=$(count_verdicts web "l7_decision=$decision")
	exchange "$@" <<<"$cases"
	"$expectation" "$canary"
	expect_verdicts $((before + $(wc -l <<<"$cases"))) web "l7_decision=$decision"
}

# Nothing of any message leaves, and each is on record once.
refused() { with_canary deny expect_absent "$@"; }

# Each is on record once; the canary arrives.
served() { with_canary allow expect_arrived "$@"; }

tls=(ok.test 443 ok.test)
plain=(plain.test 80 plain)

# C06, C07, C08, C09, C10, C11, C12
@test "hosts that are none, or another one" {
	refused "${tls[@]}" <<'EOF'
421 GET /pub/CANARY HTTP/1.1\r\nHost: no.test\r\nConnection: close\r\n\r\n
421 GET /pub/CANARY HTTP/1.1\r\nHost: NO.TEST.\r\nConnection: close\r\n\r\n
421 GET /pub/CANARY HTTP/1.1\r\nHost: xok.test\r\nConnection: close\r\n\r\n
421 GET /pub/CANARY HTTP/1.1\r\nHost: a.ok.test\r\nConnection: close\r\n\r\n
421 GET /pub/CANARY HTTP/1.1\r\nHost: 203.0.113.10\r\nConnection: close\r\n\r\n
421 GET /pub/CANARY HTTP/1.1\r\nHost: ok.test:8443\r\nConnection: close\r\n\r\n
421 GET /pub/CANARY HTTP/1.1\r\nHost: xn--ok-cja.test\r\nConnection: close\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: ok.test..\r\nConnection: close\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: 127.1\r\nConnection: close\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: 0x7f.1\r\nConnection: close\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: 2130706433\r\nConnection: close\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: [fe80::1%25lo]\r\nConnection: close\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: ok.test:\r\nConnection: close\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: ok.test:0443\r\nConnection: close\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: ok.test:443:443\r\nConnection: close\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: ok.test:99999\r\nConnection: close\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: x@ok.test\r\nConnection: close\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: ok.test\\.no.test\r\nConnection: close\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: ok.test/\r\nConnection: close\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: ok.test#\r\nConnection: close\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: ok.test?\r\nConnection: close\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: ok.test%00.no.test\r\nConnection: close\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: ok.test\x00.no.test\r\nConnection: close\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: no.test\x00.ok.test\r\nConnection: close\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: ok.test no.test\r\nConnection: close\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: ok.test,no.test\r\nConnection: close\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: b\xc3\xbccher.test\r\nConnection: close\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: \xd0\xbek.test\r\nConnection: close\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: ok\xe3\x80\x82test\r\nConnection: close\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost : ok.test\r\nConnection: close\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nHost: ok.test\r\nConnection: close\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nHost: no.test\r\nConnection: close\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nConnection: close\r\n\r\n
EOF
	served "${tls[@]}" <<'EOF'
200 GET /pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
200 GET /pub/CANARY HTTP/1.1\r\nHost: OK.test.\r\nConnection: close\r\n\r\n
200 GET /pub/CANARY HTTP/1.1\r\nHost: oK.TeSt:443\r\nConnection: close\r\n\r\n
EOF
}

# C04
@test "without SNI the name behind the address is the host" {
	refused ok.test 443 none <<'EOF'
421 GET /pub/CANARY HTTP/1.1\r\nHost: no.test\r\nConnection: close\r\n\r\n
EOF
	served ok.test 443 none <<'EOF'
200 GET /pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
EOF
}

# C13
@test "targets and request lines" {
	refused "${tls[@]}" <<'EOF'
421 GET https://no.test/pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
421 GET https://ok.test/pub/CANARY HTTP/1.1\r\nHost: no.test\r\nConnection: close\r\n\r\n
421 GET https://ok.test:8443/pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
400 GET https://x@ok.test/pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
400 GET http://ok.test/pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
400 GET ftp://ok.test/pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
400 GET ok.test:443 HTTP/1.1\r\nHost: ok.test\r\nX: CANARY\r\nConnection: close\r\n\r\n
400 GET * HTTP/1.1\r\nHost: ok.test\r\nX: CANARY\r\nConnection: close\r\n\r\n
400 GET pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
400 GET  /pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
400 GET HTTP/1.1\r\nHost: ok.test\r\nX: CANARY\r\nConnection: close\r\n\r\n
400 GET /pub/CANARY#x HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
400 GET /pub/CANARY\tx HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
400 GET /pub/CANARY\xe9 HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
400 GET /pub/CANARY\x00 HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
400 GET /pub/CANARY\r\n
400 GET /pub/CANARY http/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
505 GET /pub/CANARY HTTP/1.2\r\nHost: ok.test\r\nConnection: close\r\n\r\n
505 GET /pub/CANARY HTTP/2.0\r\nHost: ok.test\r\nConnection: close\r\n\r\n
505 PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nCANARY
400 get /pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
400 GeT /pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
400 GET\t/pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
400 G(T /pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
403 TRACE /pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
403 BREW /pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
403 HEAD /api/CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
403 CONNECT ok.test:443 HTTP/1.1\r\nHost: ok.test\r\nX: CANARY\r\n\r\nGET /pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
421 CONNECT no.test:443 HTTP/1.1\r\nHost: no.test:443\r\nX: CANARY\r\n\r\nGET /CANARY HTTP/1.1\r\nHost: no.test\r\nConnection: close\r\n\r\n
EOF
	served "${tls[@]}" <<'EOF'
200 GET https://OK.test:443/pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
200 GET /pub/CANARY HTTP/1.0\r\nHost: ok.test\r\n\r\n
200 HEAD /pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
200 \r\nGET /pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
EOF
	refute arrived 'GET https://OK.test' # the server gets the path alone
}

# C24
@test "paths: what is judged is what is forwarded" {
	local since
	since=$(mark)
	refused "${tls[@]}" <<'EOF'
403 GET /pub/../CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
403 GET /pub/%2e%2E/CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
403 GET /pub/./.././CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
403 GET //pub//..//CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
403 GET /Pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
403 GET /public/CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
403 GET /?/pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
400 GET /../pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
400 GET /pub/x%2fCANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
400 GET /pub/%00CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
400 GET /pub/%zzCANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
400 GET /pub/CANARY% HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
EOF
	served "${tls[@]}" <<'EOF'
200 GET /pub/a/../CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
200 GET /pub/CANARY/ HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
200 GET /pub//CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
200 GET /pub/%43ANARY%2d%7E/CANARY?a=%2F..%2f&b HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
EOF
	refute has_request "$since" '/../'
	refute has_request "$since" '/%2e'
}

# C14
@test "two lengths, codings, and how they are written" {
	refused "${tls[@]}" <<'EOF'
400 POST /api/CANARY HTTP/1.1\r\nHost: ok.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /secret HTTP/1.1\r\nHost: ok.test\r\n\r\n
400 POST /api/CANARY HTTP/1.1\r\nHost: ok.test\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n
400 POST /api/CANARY HTTP/1.1\r\nHost: ok.test\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello
400 POST /api/CANARY HTTP/1.1\r\nHost: ok.test\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!
400 POST /api/CANARY HTTP/1.1\r\nHost: ok.test\r\nContent-Length: 5, 5\r\n\r\nhello
400 POST /api/CANARY HTTP/1.1\r\nHost: ok.test\r\nContent-Length: +5\r\n\r\nhello
400 POST /api/CANARY HTTP/1.1\r\nHost: ok.test\r\nContent-Length: -1\r\n\r\nhello
400 POST /api/CANARY HTTP/1.1\r\nHost: ok.test\r\nContent-Length: 0x5\r\n\r\nhello
400 POST /api/CANARY HTTP/1.1\r\nHost: ok.test\r\nContent-Length: 18446744073709551621\r\n\r\nhello
400 POST /api/CANARY HTTP/1.1\r\nHost: ok.test\r\nContent-Length: 5\t\r\n\r\nhello
400 POST /api/CANARY HTTP/1.1\r\nHost: ok.test\r\nTransfer-Encoding: identity\r\n\r\nhello
400 POST /api/CANARY HTTP/1.1\r\nHost: ok.test\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n
400 POST /api/CANARY HTTP/1.1\r\nHost: ok.test\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n
400 POST /api/CANARY HTTP/1.1\r\nHost: ok.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n
400 POST /api/CANARY HTTP/1.1\r\nHost: ok.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n
400 POST /api/CANARY HTTP/1.1\r\nHost: ok.test\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n
400 POST /api/CANARY HTTP/1.0\r\nHost: ok.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n
400 POST /api/CANARY HTTP/1.1\r\nHost: ok.test\r\nTransfer-Encoding\x0b: chunked\r\n\r\n0\r\n\r\n
400 POST /api/CANARY HTTP/1.1\r\nHost: ok.test\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n
400 POST /api/CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: Content-Length\r\nContent-Length: 5\r\n\r\nhello
EOF
	served "${tls[@]}" <<'EOF'
200 POST /api/CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n
200 POST /api/CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello
200 POST /api/CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\nContent-Length: 5 \r\n\r\nhello
EOF
}

# C11, C17
@test "line ends, blanks and bytes that do not belong into a head" {
	refused "${tls[@]}" <<'EOF'
400 GET /pub/CANARY HTTP/1.1\nHost: ok.test\n\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: ok.test\nX: y\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nX: y\r\n\n
400 GET /pub/CANARY HTTP/1.1\r\r\nHost: ok.test\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nX: y\rZ: z\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nX: y\r\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\n X: y\r\nHost: ok.test\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nX: y\r\n z\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nX: y\r\n\tz\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nX: a\x00b\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nX: \x1b[2J\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nX: caf\xe9\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nX y: z\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nX\x00: z\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: ok.test\r\n: z\r\n\r\n
400 GET /pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nnonsense\r\n\r\n
400 \r\n\r\nGET /pub/CANARY HTTP/1.1\r\nHost: ok.test\r\n\r\n
400 \nGET /pub/CANARY HTTP/1.1\r\nHost: ok.test\r\n\r\n
EOF
	served "${tls[@]}" <<EOF
200 GET /pub/CANARY HTTP/1.1\\r\\nHost: ok.test\\r\\nConnection: close\\r\\nX: $(printf 'x%.0s' {1..15000})\\r\\n\\r\\n
200 GET /pub/CANARY HTTP/1.1\\r\\nHost: ok.test\\r\\nConnection: close\\r\\nX:\\ta\\tb \\xc3\\xa9 \\t\\r\\nY:\\r\\n\\r\\n
200 \\r\\nGET /pub/CANARY HTTP/1.1\\r\\nHost: ok.test\\r\\nConnection: close\\r\\n\\r\\n
EOF
}

# C15
@test "chunks: what is no chunk ends the request, and nothing behind it goes on" {
	local canary post='POST /api/x HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n'
	canary=$(new_canary)
	# The head was allowed: nothing is told of a body before it comes.
	exchange "${tls[@]}" <<EOF
400 ${post}5 \\r\\n$canary\\r\\n0\\r\\n\\r\\n
400 ${post}0x5\\r\\n$canary\\r\\n0\\r\\n\\r\\n
400 ${post}-5\\r\\n$canary\\r\\n0\\r\\n\\r\\n
400 ${post}5\\n$canary\\r\\n0\\r\\n\\r\\n
400 ${post}10000000000000005\\r\\n$canary\\r\\n0\\r\\n\\r\\n
400 ${post}5;a b\\r\\n$canary\\r\\n0\\r\\n\\r\\n
400 ${post}5; a=b\\r\\n$canary\\r\\n0\\r\\n\\r\\n
400 ${post}5;$(printf 'x%.0s' {1..20000})\\r\\n$canary\\r\\n0\\r\\n\\r\\n
400 ${post}1\\r\\nx0\\r\\n$canary\\r\\n0\\r\\n\\r\\n
400 ${post}1\\r\\nx\\n5\\r\\n$canary\\r\\n0\\r\\n\\r\\n
400 ${post}0\\r\\nX : $canary\\r\\n\\r\\n
400 ${post}0\\r\\n$canary\\r\\n\\r\\n
400 ${post}0\\r\\nContent-Length: 5\\r\\nX: $canary\\r\\n\\r\\n
400 ${post}0\\r\\nTransfer-Encoding: chunked\\r\\nX: $canary\\r\\n\\r\\n
EOF
	expect_absent "$canary"
	expect_verdicts 14 web l7_decision=deny l7_target=/api/x engine=http
	exchange "${tls[@]}" <<EOF
200 ${post}5;name="a b";c\\r\\nhello\\r\\n1A\\r\\n$canary\\r\\n000\\r\\n\\r\\n
EOF
	has_line "$WORLD_DIR/requests.log" "\"body\": \"hello$canary\", \"size\": 31"
}

# C16
@test "trailers: what belongs into a head is dropped, the rest passes" {
	local canary since post='POST /api/trailers HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n'
	canary=$(new_canary)
	since=$(mark)
	exchange "${tls[@]}" <<EOF
200 ${post}2\\r\\nhi\\r\\n0\\r\\nHost: no.test\\r\\nAuthorization: $canary\\r\\nCookie: $canary\\r\\nX-Forwarded-For: $canary\\r\\nGrpc-Status: 7\\r\\n\\r\\n
EOF
	expect_absent "$canary"
	has_request "$since" '"trailers": "Grpc-Status: 7\r\n"'
}

# C28
@test "headers of one hop, and those that lead a server elsewhere, stay here: each alone" {
	local canary name since count=0
	canary=$(new_canary)
	since=$(mark)
	for name in X-HTTP-Method-Override X_HTTP_Method_Override X-HTTP-Method X-Method-Override X-Original-URL \
		X-Rewrite-URL X-Forwarded-For X-Forwarded-Host X_Forwarded_Proto Forwarded X-Host X-Real-IP Keep-Alive \
		Proxy-Authorization Proxy-Connection TE Trailer HTTP2-Settings X-Named; do
		echo "200 GET /pub/hops HTTP/1.1\\r\\nHost: ok.test\\r\\nConnection: close, X-Named\\r\\n$name: $canary\\r\\n\\r\\n"
	done >"$SCRATCH/hops"
	exchange "${tls[@]}" <"$SCRATCH/hops"
	expect_absent "$canary"
	count=$(events_since "$since" | grep -c '"target": "/pub/hops"')
	expect_equal "$count" "$(wc -l <"$SCRATCH/hops")" "requests that arrived"
	served "${tls[@]}" <<'EOF'
200 GET /pub/x HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\nX-Request-Id: CANARY\r\n\r\n
EOF
}

# C18
@test "one after another on one connection: each is judged, a body is never a request" {
	local since
	since=$(mark)
	exchange "${tls[@]}" <<'EOF'
200,403,200 GET /pub/1 HTTP/1.1\r\nHost: ok.test\r\n\r\nGET /secret HTTP/1.1\r\nHost: ok.test\r\n\r\nGET /pub/2 HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
403,200 POST /secret HTTP/1.1\r\nHost: ok.test\r\nContent-Length: 41\r\n\r\nGET /secret/1 HTTP/1.1\r\nHost: ok.test\r\n\r\nGET /pub/3 HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
200,400 GET /pub/4 HTTP/1.1\r\nHost: ok.test\r\n\r\nGET /pub/5\r\n\r\nGET /pub/6 HTTP/1.1\r\nHost: ok.test\r\n\r\n
200,421 GET /pub/7 HTTP/1.1\r\nHost: ok.test\r\n\r\nGET /pub/8 HTTP/1.1\r\nHost: no.test\r\nConnection: close\r\n\r\n
200 GET /pub/9 HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\nGET /pub/10 HTTP/1.1\r\nHost: ok.test\r\n\r\n
200 GET /pub/11 HTTP/1.0\r\nHost: ok.test\r\n\r\nGET /pub/12 HTTP/1.0\r\nHost: ok.test\r\n\r\n
200,200 GET /pub/13 HTTP/1.0\r\nHost: ok.test\r\nConnection: keep-alive\r\n\r\nGET /pub/14 HTTP/1.0\r\nHost: ok.test\r\n\r\n
EOF
	# A hundred at once, in their order.
	{
		printf '200,%.0s' {1..99}
		printf '200 '
		printf 'GET /pub/deep%d HTTP/1.1\\r\\nHost: ok.test\\r\\n\\r\\n' {1..99}
		echo 'GET /pub/deep100 HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n'
	} >"$SCRATCH/deep"
	exchange "${tls[@]}" <"$SCRATCH/deep"
	settle
	for target in 5 6 8 10 12; do
		refute has_request "$since" "\"target\": \"/pub/$target\""
	done
	refute has_request "$since" '"target": "/secret'
	expect_equal "$(events_since "$since" | grep -oE '/pub/deep[0-9]+ ' | paste -sd '')" "$(printf '/pub/deep%d ' {1..100})"
}

# C31
@test "Expect: nobody is asked for a body that is refused" {
	exchange "${tls[@]}" <<'EOF'
403 POST /secret HTTP/1.1\r\nHost: ok.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n
417 POST /api/x HTTP/1.1\r\nHost: ok.test\r\nExpect: a-miracle\r\nContent-Length: 5\r\n\r\n
100,200 POST /api/x HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\nhello
200 POST /api/x HTTP/1.0\r\nHost: ok.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello
EOF
}

# C19
@test "no upgrade but the one to WebSocket; the HTTP/2 preface is no HTTP/1.1" {
	local canary since
	canary=$(new_canary)
	since=$(mark)
	exchange "${plain[@]}" <<EOF
403 GET /secret/$canary HTTP/1.1\\r\\nHost: plain.test\\r\\nConnection: close, Upgrade, HTTP2-Settings\\r\\nUpgrade: h2c\\r\\nHTTP2-Settings: AAMAAABkAAQAAP__\\r\\n\\r\\n
505 PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n$canary
EOF
	expect_absent "$canary"
	exchange "${plain[@]}" <<'EOF'
200 GET /pub/tls HTTP/1.1\r\nHost: plain.test\r\nConnection: close, Upgrade\r\nUpgrade: TLS/1.0\r\n\r\n
200 GET /pub/h2c HTTP/1.1\r\nHost: plain.test\r\nConnection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n
EOF
	has_request "$since" /pub/tls
	has_request "$since" /pub/h2c
	refute has_request "$since" HTTP2-Settings
	refute has_request "$since" Upgrade
}

# ---- Servers ----------------------------------------------------------------------------------

# asks SANDBOX NAME...: one after another on one connection, by curl.
asks() {
	local box=$1 name urls=()
	shift
	for name; do urls+=("https://ok.test/pub/$name" -o /dev/null); done
	run inside "$box" curl -sS --http1.1 -w '%{http_code} ' "${urls[@]}"
}

# C39
@test "an answer that can be read in two ways reaches nobody, and its connection is done with" {
	local row name
	while read -r name row; do
		server_says "$name" "$row"
		fetch web "https://ok.test/pub/exact/$name" --http1.1
		[[ $STATUS == 502 ]] || fail "$name: $STATUS $BODY"
		expect_equal "$(json 'b["error"]')" invalid_http_response
	done <<'EOF'
both HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n
lengths HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!
gzip HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello
body204 HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello
chunked204 HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n
unasked101 HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nraw
early HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\nhello
old103 HTTP/1.0 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
lf HTTP/1.1 200 OK\nContent-Length: 2\n\nok
fold HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 2\r\n\r\nok
space HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok
ICY ICY 200 OK\r\nContent-Length: 2\r\n\r\nok
EOF
	expect_verdicts 12 web l7_decision=deny engine=http "l7_target~/pub/exact/"
}

@test "an answer beyond the bounds of heads is none" {
	local long
	long=$(printf 'x%.0s' {1..62000})
	server_says large-head "HTTP/1.1 200 OK\\r\\nX: $long\\r\\nContent-Length: 2\\r\\n\\r\\nok"
	server_says many-fields "HTTP/1.1 200 OK\\r\\n$(printf 'a: b\\r\\n%.0s' {1..101})Content-Length: 2\\r\\n\\r\\nok"
	server_says many-hints "$(printf 'HTTP/1.1 103 Early Hints\\r\\n\\r\\n%.0s' {1..17})HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok"
	server_says within "$(printf 'HTTP/1.1 103 Early Hints\\r\\n\\r\\n%.0s' {1..16})HTTP/1.1 200 OK\\r\\nX: ${long:0:50000}\\r\\n$(printf 'a: b\\r\\n%.0s' {1..98})Content-Length: 2\\r\\n\\r\\nok"
	exchange "${tls[@]}" <<'EOF'
502 GET /pub/exact/large-head HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
502 GET /pub/exact/many-fields HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
103,103,103,103,103,103,103,103,103,103,103,103,103,103,103,103,502 GET /pub/exact/many-hints HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
103,103,103,103,103,103,103,103,103,103,103,103,103,103,103,103,200 GET /pub/exact/within HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
EOF
}

@test "answers of every kind come as they are" {
	server_says hints 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
	server_says empty 'HTTP/1.1 204 No Content\r\nX: y\r\n\r\n'
	server_says same 'HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nETag: "x"\r\n\r\n'
	server_says reset 'HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n'
	server_says chunks 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\nDigest: x\r\n\r\n'
	asks web exact/hints exact/empty exact/same exact/reset exact/chunks x
	expect_equal "$output" "200 204 304 205 200 200 "
	run inside web curl -sS --http1.1 -i https://ok.test/pub/exact/hints
	expect_contains "$output" "HTTP/1.1 103 Early Hints"
	expect_contains "$output" "Link: </a>"
	run inside web curl -sS --http1.1 -I https://ok.test/pub/exact/same
	expect_contains "$output" "Content-Length: 9"
	run inside web curl -sS --http1.0 -i https://ok.test/pub/exact/hints
	expect_lacks "$output" 103
	run inside web curl -sS --http1.0 https://ok.test/pub/exact/chunks
	expect_equal "$output" ok
}

connections_since() { events_since "$1" | grep -c '"event": "connection"'; }

@test "what belongs to the connection with the server stays there" {
	server_says hops 'HTTP/1.1 200 OK\r\nConnection: X-Named, Upgrade\r\nX-Named: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2,h2c\r\nProxy-Authenticate: Basic\r\nTrailer: X\r\nTE: x\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nVia: 1.1 x\r\nContent-Length: 2\r\n\r\nok'
	run inside web curl -sS --http1.1 -i https://ok.test/pub/exact/hops
	expect_equal "$(tr -d '\r' <<<"$output" | sort -f | paste -sd'|')" \
		"|Content-Length: 2|HTTP/1.1 200 OK|ok|Set-Cookie: a=1|Set-Cookie: b=2|Via: 1.1 x"
}

# C39
@test "an answer too many is nobody's: not the next request's, not another sandbox's" {
	local since
	server_says poison 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison'
	server_says clean 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
	run inside web curl -sS --http1.1 https://ok.test/pub/exact/poison https://ok.test/pub/after
	expect_contains "$output" '"target": "/pub/after"'
	expect_lacks "$output" poison
	# The twin: a clean connection is used again, by the same sandbox alone.
	asks web exact/clean
	make_sandbox other probe
	since=$(mark)
	asks web exact/clean exact/clean
	expect_equal "$(connections_since "$since")" 0 connections
	fetch other https://ok.test/pub/after --http1.1
	expect_equal "$(json 'b["target"]')" /pub/after
	expect_equal "$(connections_since "$since")" 1 connections
	osh sandbox delete other
}

# C38
@test "where a server points to is judged anew; no other service is offered" {
	server_says away 'HTTP/1.1 302 Found\r\nLocation: https://no.test/pub/x\r\nContent-Length: 0\r\n\r\n'
	server_says near 'HTTP/1.1 302 Found\r\nLocation: https://ok.test/pub/near\r\nContent-Length: 0\r\n\r\n'
	server_says alt 'HTTP/1.1 200 OK\r\nAlt-Svc: h3=":443"\r\nX-Kept: 1\r\nContent-Length: 2\r\n\r\nok'
	fetch web https://ok.test/pub/exact/away -L
	expect_status 403
	expect_equal "$(json 'b["host"]')" no.test
	fetch web https://ok.test/pub/exact/near -L
	expect_status 200
	run inside web curl -sS --http1.1 -i https://ok.test/pub/exact/alt
	expect_contains "$output" X-Kept
	expect_lacks "$output" Alt-Svc
}

# ---- WebSocket --------------------------------------------------------------------------------

# The key of RFC 6455 1.3, and its answer.
handshake='Host: ok.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'
accepted='HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: '

# C21
@test "an upgrade that is not accepted stays HTTP; one that is carries frames alone" {
	local canary
	canary=$(new_canary)
	server_says upgrade-200 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
	server_says upgrade-426 'HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno'
	server_says upgrade-other "${accepted}AAAAAAAAAAAAAAAAAAAAAAAAAAA=\\r\\n\\r\\n"
	server_says upgrade-http "${accepted}s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\\r\\n\\r\\nHTTP/1.1 299 Not a frame\\r\\n\\r\\n"
	server_says upgrade-real "${accepted}s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\\r\\n\\r\\n"
	exchange "${tls[@]}" <<EOF
200,403 GET /pub/exact/upgrade-200 HTTP/1.1\\r\\n${handshake}GET /secret/$canary HTTP/1.1\\r\\nHost: ok.test\\r\\nConnection: close\\r\\n\\r\\n
426,403 GET /pub/exact/upgrade-426 HTTP/1.1\\r\\n${handshake}GET /secret/$canary HTTP/1.1\\r\\nHost: ok.test\\r\\nConnection: close\\r\\n\\r\\n
502,403 GET /pub/exact/upgrade-other HTTP/1.1\\r\\n${handshake}GET /secret/$canary HTTP/1.1\\r\\nHost: ok.test\\r\\nConnection: close\\r\\n\\r\\n
101 GET /pub/exact/upgrade-http HTTP/1.1\\r\\n${handshake}
101 GET /pub/exact/upgrade-real HTTP/1.1\\r\\n${handshake}GET /secret/$canary HTTP/1.1\\r\\nHost: ok.test\\r\\nConnection: close\\r\\n\\r\\n
403,403 GET /secret/$canary HTTP/1.1\\r\\n${handshake}GET /secret/$canary HTTP/1.1\\r\\nHost: ok.test\\r\\nConnection: close\\r\\n\\r\\n
EOF
	expect_absent "$canary"
	expect_verdicts 2 web l7_action=WEBSOCKET l7_decision=deny "l7_target~/pub/exact/upgrade-"
}

# ---- Too large, and something else ------------------------------------------------------------

# Kilobytes of memory that the proxy holds.
proxy_memory() {
	BODY=$(osh status -o json)
	awk '$1 == "VmRSS:" { print $2 }' "/proc/$(json 'b["proxy_pid"]')/status"
}

# large_heads: a table of what no head may be.
large_heads() {
	local long
	long=$(printf 'x%.0s' {1..66000})
	cat <<EOF
431 GET /pub/CANARY HTTP/1.1\\r\\nHost: ok.test\\r\\nX: $long\\r\\n\\r\\n
414 GET /pub/CANARY/$long HTTP/1.1\\r\\nHost: ok.test\\r\\n\\r\\n
414 GET /pub/CANARY/${long:0:17000} HTTP/1.1\\r\\nHost: ok.test\\r\\n\\r\\n
431 GET /pub/CANARY HTTP/1.1\\r\\nHost: ok.test\\r\\n$(printf 'a:b\\r\\n%.0s' {1..10000})\\r\\n
400 ${long:0:100} /pub/CANARY HTTP/1.1\\r\\nHost: ok.test\\r\\n\\r\\n
EOF
}

# C32
@test "heads beyond their bounds end their flow with an answer, and leave no memory behind" {
	local before after cases
	large_heads >"$SCRATCH/large"
	refused "${tls[@]}" <"$SCRATCH/large"
	before=$(proxy_memory)
	for _ in {1..20}; do cat "$SCRATCH/large"; done >"$SCRATCH/larger"
	refused "${tls[@]}" <"$SCRATCH/larger"
	after=$(proxy_memory)
	((after - before < 1024)) || fail "$before kB before, $after kB after"
	served "${tls[@]}" <<EOF
200 GET /pub/CANARY HTTP/1.1\\r\\nHost: ok.test\\r\\nConnection: close\\r\\nCookie: $(printf 'x%.0s' {1..15000})\\r\\n$(printf 'a:b\\r\\n%.0s' {1..97})\\r\\n
EOF
}

# C37
@test "what is neither TLS nor HTTP is not relayed where requests are inspected" {
	local canary
	canary=$(new_canary)
	exchange "${plain[@]}" <<EOF
400 EHLO $canary\\r\\nSTARTTLS\\r\\n
closed \\x00\\x00\\x00\\x08\\x04\\xd2\\x16\\x2f$canary
closed \\x16\\x03\\x01\\x00\\x05$canary
EOF
	# A port for TLS takes HTTP in the clear only to refuse it; one for HTTP takes no TLS.
	exchange ok.test 443 plain <<EOF
400 220 $canary\\r\\n
421 GET /pub/$canary HTTP/1.1\\r\\nHost: ok.test\\r\\nConnection: close\\r\\n\\r\\n
EOF
	exchange plain.test 80 plain.test <<EOF
421 GET /pub/$canary HTTP/1.1\\r\\nHost: plain.test\\r\\nConnection: close\\r\\n\\r\\n
EOF
	expect_absent "$canary"
	exchange "${plain[@]}" <<EOF
200 GET /pub/$canary HTTP/1.1\\r\\nHost: plain.test\\r\\nConnection: close\\r\\n\\r\\n
EOF
	run probe web tcp l4.test 5432 hello
	expect_contains "$output" "l4 ready"
}
