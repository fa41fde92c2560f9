#!/usr/bin/env bats
# Requests, one by one: what is judged is what is forwarded.

load helpers

setup_file() {
	start_all
	make_sandbox web probe
}

teardown_file() { stop_all; }

# send REQUEST [HOST PORT SNI|plain]: raw bytes (python escapes), sets REPLY and the lines of
# its status, in order, in CODES.
send() {
	run inside web env REQUEST="$1" python3 /sandbox/probe.py raw_http "${2:-ok.test}" "${3:-443}" "${4:-ok.test}"
	REPLY=$output
	CODES=$(grep -oE '^HTTP/1\.1 [0-9]+' <<<"$REPLY" | cut -d' ' -f2 | paste -sd' ')
}

setup() { put web "$E2E/probe.py" /sandbox/probe.py; }

@test "methods and paths, on TLS and on plain HTTP" {
	fetch web https://ok.test/pub/a/b
	expect_status 200
	expect_equal "$(json 'b["target"]')" /pub/a/b
	fetch web https://ok.test/api/x -d hello
	expect_status 200
	expect_equal "$(json 'b["body"]')" hello
	fetch web https://ok.test/api/x
	expect_status 403
	fetch web https://ok.test/secret
	expect_status 403
	fetch web https://ok.test/pub/x -X DELETE
	expect_status 403
	fetch web http://plain.test/pub/x
	expect_status 200
	fetch web http://plain.test/secret
	expect_status 403
	fetch web http://ok.test/pub/x
	expect_status 403
}

@test "curl, wget, Python and Node by their own means" {
	local url=https://ok.test/pub/client
	run inside web wget -q -O - $url
	expect_contains "$output" '"host": "ok.test"'
	run inside web python3 -c 'import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).status)' $url
	expect_equal "$output" 200
	run inside web node -e 'fetch(process.argv[1]).then(r => console.log(r.status))' $url
	expect_equal "$output" 200
	run inside web node -e 'require("https").get(process.argv[1], r => { console.log(r.statusCode); r.resume() })' $url
	expect_equal "$output" 200
}

# C27
@test "a request that asks to be taken for another method is judged as that one, too" {
	local url=https://ok.test/api/x
	fetch web "$url?_method=POST" -d a=b
	expect_status 200
	fetch web "$url?_method=DELETE" -d a=b
	expect_status 403
	expect_contains "$(json 'b["detail"]')" "DELETE /api/x not permitted by policy (asked for by _method"
	fetch web $url -d 'a=b&_method=POST'
	expect_status 200
	fetch web $url -d 'a=b&%5Fmethod=DELETE'
	expect_status 403
	fetch web $url -F _method=DELETE
	expect_status 403
	fetch web $url -F method=DELETE
	expect_status 200
	# Behind 100 KB, where the body is long on its way: the server never gets the whole.
	inside web sh -c '{ printf a=; head -c 100000 /dev/zero | tr "\0" x; printf "&_method=DELETE"; } >/sandbox/form'
	run inside web curl -sS -m 20 -X POST -H 'Content-Type: application/x-www-form-urlencoded' -T /sandbox/form $url
	expect_absent _method=DELETE
	expect_verdicts 4 web l7_target=/api/x l7_decision=deny "l7_deny_reason~asked for by _method"
}

# G14
@test "an answer that denies says what would be needed" {
	fetch web https://ok.test/api/x?secret=1 -X PUT -D /sandbox/head
	expect_status 403
	expect_equal "$(json 'b["error"]')" policy_denied
	expect_equal "$(json 'b["policy"]')" web
	expect_equal "$(json 'b["method"]')" PUT
	expect_equal "$(json 'b["path"]')" /api/x
	expect_equal "$(json 'b["host"]')" ok.test
	expect_equal "$(json 'b["port"]')" 443
	expect_equal "$(json 'b["binary"]')" /usr/bin/curl
	run inside web cat /sandbox/head
	expect_contains "${output,,}" "content-type: application/json"
	expect_contains "${output,,}" "x-content-type-options: nosniff"
	expect_contains "${output,,}" "x-openshell-policy: web"
}

@test "hostile text in a path comes back escaped" {
	fetch web 'https://ok.test/%22%3Cscript%3E%1b%5d'
	[[ $STATUS == 400 || $STATUS == 403 ]]
	json 'b["error"]'
	expect_lacks "$BODY" $'\e'
	run osh logs web
	expect_lacks "$output" $'\e'
}

# C02, C07
@test "Host must be the name that was dialled" {
	local canary since
	canary=$(new_canary)
	since=$(mark)
	fetch web "https://ok.test/pub/$canary" -H "Host: no.test"
	expect_status 421
	fetch web "http://plain.test/pub/$canary" -H "Host: no.test"
	expect_status 421
	send "GET https://no.test/pub/$canary HTTP/1.1\\r\\nHost: ok.test\\r\\n\\r\\n"
	[[ $CODES == 4?? ]]
	send "GET /pub/$canary HTTP/1.1\\r\\nHost: ok.test\\r\\nHost: no.test\\r\\n\\r\\n"
	expect_equal "$CODES" 400
	send "GET /pub/$canary HTTP/1.1\\r\\n\\r\\n"
	expect_equal "$CODES" 400
	expect_absent "$canary"
	expect_verdicts 1 web l7_decision=deny engine=authority dst_host=plain.test
	fetch web "https://ok.test/pub/$canary" -H "Host: OK.TEST:443"
	expect_status 200
	fetch web "https://ok.test/pub/$canary" -H "Host: ok.test."
	expect_status 200
	has_request "$since" "$canary"
}

# C06
@test "an address of IPv6 that the policy names is inspected as a name is" {
	local canary url
	canary=$(new_canary)
	sed 's|^      - host: plain.test|      - { host: "[2001:db8::10]", ports: [80, 443], protocol: rest, enforcement: enforce, \
          rules: [{ allow: { method: GET, path: "/pub/**" } }] }\n&|' "$(policy probe)" >"$SCRATCH/six.yaml"
	make_sandbox six "$SCRATCH/six.yaml"
	for url in "https://[2001:db8::10]" "http://[2001:db8::10]"; do
		fetch six "$url/pub/six" -g
		expect_status 200
		expect_equal "$(json 'b["target"], b["headers"]["host"]')" "('/pub/six', '[2001:db8::10]')"
		fetch six "$url/secret/$canary" -g
		expect_status 403
		expect_equal "$(json 'b["host"]')" 2001:db8::10
	done
	expect_verdicts 2 six dst_host=2001:db8::10 l7_target=/pub/six l7_decision=allow
	expect_verdicts 2 six dst_host=2001:db8::10 "l7_target=/secret/$canary" l7_decision=deny
	# Where no policy names it, and another address where one does.
	fetch web "http://[2001:db8::10]/pub/$canary" -g
	[[ $STATUS != 200 ]]
	expect_verdicts 1 web dst_host=2001:db8::10 l7_decision=deny
	fetch six "http://[2001:db8::11]/pub/$canary" -g
	[[ $STATUS != 200 ]]
	expect_verdicts 1 six dst_host=2001:db8::11 l7_decision=deny
	expect_absent "$canary"
	osh sandbox delete six
}

# C01
@test "SNI must be the name behind the address" {
	local canary address
	canary=$(new_canary)
	run probe web resolve ok.test
	address=$(awk '{ print $3 }' <<<"$output")
	run inside web curl -sS -m 10 -k --resolve "no.test:443:$address" "https://no.test/pub/$canary"
	((status != 0))
	expect_contains "$output" "unrecognized name"
	expect_absent "$canary"
	expect_verdicts 1 web dst_host=ok.test engine=tls l7_decision=deny
	run inside web curl -sS -m 10 --resolve "ok.test:443:$address" "https://ok.test/pub/$canary"
	expect_contains "$output" '"host": "ok.test"'
}

# C23
@test "path tricks: normalised and judged, or refused; what is forwarded is what was judged" {
	local path since
	since=$(mark)
	for path in /pub/../secret /pub/%2e%2e/secret '/pub/..;/secret' /pub/%2E%2E/%73ecret /pub//../../secret; do
		fetch web "https://ok.test$path" --path-as-is
		[[ $STATUS == 403 || $STATUS == 400 ]] || fail "$path: $STATUS"
	done
	for path in /pub/x%2fy /pub/%5c..%5csecret /pub/%00 /pub/%zz /pub/%c0%af; do
		fetch web "https://ok.test$path" --path-as-is
		[[ $STATUS == 400 || $STATUS == 403 || $STATUS == 200 ]]
		[[ $path == /pub/%5c* || $path == /pub/%c0* || $STATUS != 200 ]] || fail "$path: $STATUS"
	done
	settle
	refute has_request "$since" /secret
	refute has_request "$since" /../
	fetch web https://ok.test/pub/a/../b --path-as-is
	expect_status 200
	expect_equal "$(json 'b["target"]')" /pub/b
	fetch web https://ok.test/pub/caf%C3%A9/%7E
	expect_status 200
	expect_equal "$(json 'b["target"]')" '/pub/caf%C3%A9/~'
	expect_verdicts 1 web l7_target=/pub/b l7_decision=allow
	fetch web 'https://ok.test/pub/q?a=1&b=%2f'
	expect_equal "$(json 'b["target"]')" '/pub/q?a=1&b=%2f'
}

# C14
@test "ambiguous framing is refused, and no byte of it is forwarded" {
	local canary head="POST /api/x HTTP/1.1\\r\\nHost: ok.test\\r\\n" bad
	canary=$(new_canary)
	local hidden="GET /secret/$canary HTTP/1.1\\r\\nHost: ok.test\\r\\n\\r\\n"
	for bad in \
		"${head}Content-Length: 5\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n0\\r\\n\\r\\n$hidden" \
		"${head}Content-Length: 5\\r\\nContent-Length: 6\\r\\n\\r\\nhello$hidden" \
		"${head}Content-Length: +5\\r\\n\\r\\nhello$hidden" \
		"${head}Content-Length: 0x5\\r\\n\\r\\nhello$hidden" \
		"${head}Transfer-Encoding: xchunked\\r\\n\\r\\n0\\r\\n\\r\\n$hidden" \
		"${head}Transfer-Encoding: chunked, chunked\\r\\n\\r\\n0\\r\\n\\r\\n$hidden" \
		"${head}Transfer-Encoding:\\x0bchunked\\r\\n\\r\\n0\\r\\n\\r\\n$hidden" \
		"${head}Transfer-Encoding : chunked\\r\\n\\r\\n0\\r\\n\\r\\n$hidden" \
		"GET /pub/x HTTP/1.1\\nHost: ok.test\\n\\n$hidden" \
		"GET /pub/x HTTP/1.1\\r\\nHost: ok.test\\r\\nX: a\\r\\n b\\r\\n\\r\\n$hidden" \
		"GET /pub/x HTTP/1.1\\r\\nHost: ok.test\\r\\nX: a\\0b\\r\\n\\r\\n$hidden" \
		"GET /pub/x\\x01 HTTP/1.1\\r\\nHost: ok.test\\r\\n\\r\\n$hidden" \
		"GET /pub/x HTTP/1.2\\r\\nHost: ok.test\\r\\n\\r\\n$hidden"; do
		send "$bad"
		[[ $CODES == 400 || $CODES == 501 || $CODES == 505 || $CODES == "" ]] || fail "$bad" "answered: $CODES"
	done
	expect_absent "$canary"
	send "${head}Connection: close\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n5;x=y\\r\\nhello\\r\\n0\\r\\n\\r\\n"
	expect_equal "$CODES" 200
	expect_contains "$REPLY" '"body": "hello"'
	send "${head}Connection: close\\r\\nContent-Length: 5\\r\\n\\r\\nhello"
	expect_equal "$CODES" 200
}

# C18
@test "two requests in one segment are judged each, a body is never taken for a request" {
	local canary since
	canary=$(new_canary)
	since=$(mark)
	send "GET /pub/1 HTTP/1.1\\r\\nHost: ok.test\\r\\n\\r\\nGET /secret/$canary HTTP/1.1\\r\\nHost: ok.test\\r\\nConnection: close\\r\\n\\r\\n"
	expect_equal "$CODES" "200 403"
	expect_absent "$canary"
	local body="GET /secret/x HTTP/1.1\\r\\nHost: ok.test\\r\\n\\r\\n"
	send "POST /api/1 HTTP/1.1\\r\\nHost: ok.test\\r\\nContent-Length: 41\\r\\n\\r\\n${body}GET /pub/2 HTTP/1.1\\r\\nHost: ok.test\\r\\nConnection: close\\r\\n\\r\\n"
	expect_equal "$CODES" "200 200"
	settle
	refute has_request "$since" '"target": "/secret'
	send "GET /pub/3 HTTP/1.1\\r\\nHost: ok.test\\r\\n\\r\\nGET /pub/4 HTTP/1.1\\r\\nHost: ok.test\\r\\nConnection: close\\r\\n\\r\\n"
	expect_equal "$CODES" "200 200"
}

# C37
@test "bytes that are no HTTP are not relayed on an inspected port" {
	local canary
	canary=$(new_canary)
	send "EHLO $canary\\r\\n" plain.test 80 plain
	[[ $CODES == 400 || $REPLY == closed || $REPLY == error* ]]
	send "PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n$canary" plain.test 80 plain
	[[ $CODES == [45]?? || $REPLY == closed || $REPLY == error* ]]
	send "\\x16\\x03\\x01\\x00\\x05$canary" ok.test 443 plain
	expect_absent "$canary"
	send "GET /pub/x HTTP/1.1\\r\\nHost: plain.test\\r\\nConnection: close\\r\\n\\r\\n" plain.test 80 plain
	expect_equal "$CODES" 200
	BODY=$(osh status -o json)
	expect_equal "$(json 'b["proxy_restarts"]')" 0 "restarts of the proxy"
}

# C32
@test "an oversized head ends its flow with an answer, not the proxy" {
	local long
	long=$(printf 'x%.0s' {1..70000})
	inside web sh -c 'cat >/sandbox/long' <<<"X-Long: $long"
	fetch web https://ok.test/pub/x -H @/sandbox/long --http1.1 # this curl sends no such block
	[[ $STATUS == 431 || $STATUS == 400 ]]
	fetch web "https://ok.test/pub/$(printf 'x%.0s' {1..20000})"
	[[ $STATUS == 414 || $STATUS == 431 || $STATUS == 400 ]]
	fetch web https://ok.test/pub/x -H "Cookie: $(printf 'x%.0s' {1..15000})"
	expect_status 200
	BODY=$(osh status -o json)
	expect_equal "$(json 'b["proxy_restarts"]')" 0 "restarts of the proxy"
}

# C28
@test "headers that lead a server elsewhere are not forwarded" {
	fetch web https://ok.test/pub/x -H 'X-HTTP-Method-Override: DELETE' -H 'X-Original-URL: /secret' \
		-H 'X-Forwarded-Host: no.test' -H 'Forwarded: host=no.test' -H 'X-Request-Id: 7'
	expect_status 200
	local names
	names=$(json '" ".join(b["headers"])')
	expect_lacks "$names" override
	expect_lacks "$names" original
	expect_lacks "$names" forwarded
	expect_contains "$names" x-request-id
}

# C31
@test "an upload of 8 MB, a download of 8 MB, chunks, Expect: 100-continue" {
	inside web sh -c 'head -c 8000000 /dev/zero >/sandbox/big'
	fetch web https://ok.test/api/big -T /sandbox/big -X POST -H 'Expect: 100-continue'
	expect_status 200
	has_line "$WORLD_DIR/requests.log" '"size": 8000000'
	run inside web sh -c 'cat /sandbox/big | curl -sS -T - -X POST -o /dev/null -w "%{http_code}" https://ok.test/api/chunked'
	expect_equal "$output" 200
	run inside web sh -c 'curl -sS "https://ok.test/pub/large?n=8000000" | wc -c'
	expect_equal "$output" 8000000
	run inside web curl -sS 'https://ok.test/pub/stream?n=50'
	expect_equal "${#lines[@]}" 50
	# Denied before the body is asked for.
	fetch web https://ok.test/pub/big -T /sandbox/big -X POST -H 'Expect: 100-continue'
	expect_status 403
}

# answers_late VERSION: nothing comes before the server answers, while others are served; then all does.
answers_late() {
	local canary client i
	canary=$(new_canary)
	inside web curl -sSi "--http$1" "https://ok.test/pub/held/$canary" >"$SCRATCH/late" 3>&- &
	client=$!
	wait_until 10 has_line "$WORLD_DIR/requests.log" "$canary"
	for i in {1..20}; do
		fetch web "https://ok.test/pub/$i"
		expect_status 200
	done
	[[ ! -s $SCRATCH/late ]] || fail "came too early: $(<"$SCRATCH/late")"
	echo "let go: $canary" >"$WORLD_DIR/gate"
	wait "$client"
	expect_contains "$(head -n 1 "$SCRATCH/late")" "HTTP/$1 200"
	expect_equal "$(tail -n 1 "$SCRATCH/late")" "let go: $canary"
	expect_verdicts 1 web "l7_target=/pub/held/$canary" l7_decision=allow
}

@test "long poll: an answer that begins late comes whole, by both versions" {
	mkfifo "$WORLD_DIR/gate"
	answers_late 1.1
	answers_late 2
}

# As often as they wait for each other: a server that is slower than we are gives them one by one.
@test "records of a large answer leave together, and a small one at once" {
	BODY=$(osh status -o json)
	strace_on "$(json 'b["proxy_pid"]')" -o "$SCRATCH/sent" -e trace=sendto
	fetch web https://ok.test/pub/x
	refute grep -q MSG_MORE "$SCRATCH/sent"
	leave_together() {
		[[ $(inside web sh -c 'curl -sS "https://ok.test/pub/large?n=8000000" | wc -c') == 8000000 ]] &&
			grep -q MSG_MORE "$SCRATCH/sent"
	}
	wait_until 30 leave_together
	end_strace
}

@test "an answer that breaks off is an error for the client, no clean end" {
	run inside web curl -sS -m 10 https://ok.test/pub/drop
	((status != 0))
	fetch web https://ok.test/pub/x
	expect_status 200
}

@test "HEAD, OPTIONS and an unknown method follow the rules of their own" {
	run inside web curl -sS -I -o /dev/null -w '%{http_code}' https://ok.test/pub/x
	expect_equal "$output" 200
	fetch web https://ok.test/pub/x -X OPTIONS
	expect_status 403
	fetch web https://ok.test/pub/x -X BREW
	expect_status 403
	fetch web https://ok.test/pub/x -X CONNECT --http1.1
	[[ $STATUS == 4?? ]]
}

@test "every request has exactly one record" {
	local canary i
	canary=$(new_canary)
	inside web sh -c 'for i in 1 2 3 4 5 6 7 8; do echo "url=https://ok.test/pub/$1/$i"; echo "url=https://ok.test/no/$1/$i"; done >/sandbox/urls
		curl -sS -K /sandbox/urls >/dev/null' _ "$canary"
	for i in {1..8}; do
		expect_verdicts 1 web "l7_target=/pub/$canary/$i" l7_decision=allow
		expect_verdicts 1 web "l7_target=/no/$canary/$i" l7_decision=deny
	done
}
