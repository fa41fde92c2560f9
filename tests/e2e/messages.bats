#!/usr/bin/env bats
# Odd messages, byte by byte, in tables: `refused` and, beside it, `served`. In a table CANARY
# stands for a text that must not, or must, arrive.

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

@test "without SNI the name behind the address is the host" {
	refused ok.test 443 none <<'EOF'
421 GET /pub/CANARY HTTP/1.1\r\nHost: no.test\r\nConnection: close\r\n\r\n
EOF
	served ok.test 443 none <<'EOF'
200 GET /pub/CANARY HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n
EOF
}

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
