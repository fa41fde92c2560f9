#!/usr/bin/env bats
# Every protocol of the policy language on the wire: a denied case beside its allowed twin.

load helpers

setup_file() {
	start_all
	make_sandbox all protocols
	put all "$E2E/probe.py" /sandbox/probe.py
}

teardown_file() { stop_all; }

# post HOST PATH BODY [OPTION...]: JSON, over TLS.
post() {
	local host=$1 path=$2 body=$3
	shift 3
	fetch all "https://$host$path" -H 'Content-Type: application/json' --data-binary "$body" "$@"
}

# ws HOST PATH WORD...: see probe.py; sets lines.
ws() { run inside all timeout 30 python3 /sandbox/probe.py websocket "$@"; }

gql() { printf '{"query":"%s"}' "$1"; }

rpc() { printf '{"jsonrpc":"2.0","id":1,"method":"%s","params":%s}' "$1" "${2:-{\}}"; }

# has_lines: the output is exactly these lines.
has_lines() { expect_equal "$output" "$(printf '%s\n' "$@")" output; }

@test "rest: query matchers" {
	fetch all 'https://query.test/search?scope=public-code&q=x'
	expect_status 200
	fetch all 'https://query.test/search?scope=private&q=x'
	expect_status 403
	fetch all 'https://query.test/search?scope=public&scope=private'
	expect_status 403
	fetch all 'https://query.test/search?q=x'
	expect_status 403
	expect_verdicts 1 all dst_host=query.test l7_decision=allow l7_target=/search l7_protocol=rest
	run osh logs all
	expect_lacks "$output" public-code
}

@test "rest: an encoded slash only where the endpoint allows it" {
	fetch all https://slash.test/pkg/a%2fb/info --path-as-is
	expect_status 200
	expect_equal "$(json 'b["target"]')" /pkg/a%2Fb/info
	fetch all https://ok.test/pkg/a%2fb/info --path-as-is
	[[ $STATUS == 400 || $STATUS == 403 ]]
	fetch all https://ok.test/pkg/a/info
	expect_status 200
}

@test "rest: enforcement audit forwards and records a violation" {
	fetch all https://no.test/pub/x
	expect_status 200
	fetch all https://no.test/api/x -X DELETE
	expect_status 200
	expect_verdicts 1 all dst_host=no.test l7_decision=audit l7_action=DELETE
	expect_verdicts 1 all dst_host=no.test l7_decision=allow l7_action=GET
	# What cannot be understood is denied all the same.
	fetch all https://no.test/pub/%zz --path-as-is
	expect_status 400
}

@test "graphql: the operation in the body decides, and the body goes on as it came" {
	local canary
	canary=$(new_canary)
	post gql.test /graphql "$(gql 'query Me { viewer { login } }')"
	expect_status 200
	expect_equal "$(json 'b["body"]')" "$(gql 'query Me { viewer { login } }')"
	post gql.test /graphql "$(gql "mutation IssueNew { createIssue(title: \\\"$canary\\\") { id } }")"
	expect_status 200
	expect_arrived "$canary"
	canary=$(new_canary)
	post gql.test /graphql "$(gql "mutation Nuke { deleteRepository(id: \\\"$canary\\\") }")"
	expect_status 403
	expect_equal "$(json 'b["error"]')" policy_denied
	expect_equal "$(json 'b["protocol"]')" graphql
	post gql.test /graphql "$(gql "query Q { viewer secrets(x: \\\"$canary\\\") }")"
	expect_status 403
	expect_absent "$canary"
	expect_verdicts 1 all dst_host=gql.test l7_decision=deny 'l7_message=mutation Nuke{deleteRepository}'
	expect_verdicts 1 all dst_host=gql.test l7_decision=allow 'l7_message=query Me{viewer}' l7_action=POST l7_target=/graphql
	run osh logs all
	expect_lacks "$output" "$canary"
}

# C29
@test "graphql: a batch passes whole or not at all; GET is read from the query string" {
	local canary
	canary=$(new_canary)
	post gql.test /graphql "[$(gql '{ viewer }'),$(gql '{ searchCode }')]"
	expect_status 200
	post gql.test /graphql "[$(gql '{ viewer }'),$(gql "mutation Nuke { deleteRepository(id: \\\"$canary\\\") }")]"
	expect_status 403
	expect_absent "$canary"
	fetch all 'https://gql.test/graphql?query=%7Bviewer%7D'
	expect_status 200
	fetch all "https://gql.test/graphql?query=mutation%7BdeleteRepository%7D&x=$canary"
	expect_status 403
	expect_absent "$canary"
	post gql.test /other "$(gql '{ viewer }')"
	expect_status 403
	post gql.test /graphql 'no json'
	expect_status 403
	expect_contains "$(json 'b["reason"]')" "GraphQL request rejected"
}

# C30
@test "a compressed body is read; what cannot be read is denied" {
	local canary kind
	canary=$(new_canary)
	inside all python3 -c 'import gzip, sys, zlib
good = b"{\"query\":\"query Squeezed { viewer }\"}"
bad = b"{\"query\":\"mutation { deleteRepository(id: \\\"%s\\\") }\"}" % sys.argv[1].encode()
for name, body in (("good", good), ("bad", bad)):
    open(f"/sandbox/{name}.plain", "wb").write(body)
    # RFC 8878 3.1.1: one segment of so many bytes, in one block that is the last and left as it is.
    frame = b"\x28\xb5\x2f\xfd\x20" + bytes([len(body)]) + (len(body) << 3 | 1).to_bytes(3, "little") + body
    open(f"/sandbox/{name}.zstd", "wb").write(frame)
    open(f"/sandbox/{name}.gzip", "wb").write(gzip.compress(body))
    open(f"/sandbox/{name}.deflate", "wb").write(zlib.compress(body))
open("/sandbox/two.gzip", "wb").write(gzip.compress(good) + gzip.compress(bad))
open("/sandbox/bomb.gzip", "wb").write(gzip.compress(b" " * (64 << 20) + good))' "$canary"
	for kind in gzip deflate; do
		post gql.test /graphql "@/sandbox/good.$kind" -H "Content-Encoding: $kind"
		expect_status 200
		expect_equal "$(json 'b["headers"]["content-encoding"]')" "$kind"
		expect_contains "$(json 'b["body"]')" "query Squeezed"
		post gql.test /graphql "@/sandbox/bad.$kind" -H "Content-Encoding: $kind"
		expect_status 403
	done
	post gql.test /graphql "@/sandbox/good.gzip" -H 'Content-Encoding: br'
	expect_status 403
	expect_contains "$(json 'b["reason"]')" "br"
	# By its name: nobody here unpacks it, so nobody knows which of the two it is.
	for kind in good bad; do
		post gql.test /graphql "@/sandbox/$kind.zstd" -H 'Content-Encoding: zstd'
		expect_status 403
		expect_contains "$(json 'b["reason"]')" "zstd"
	done
	post gql.test /graphql "@/sandbox/good.plain"
	expect_status 200
	post gql.test /graphql "@/sandbox/good.gzip" -H 'Content-Encoding: gzip, gzip'
	expect_status 403
	post gql.test /graphql "@/sandbox/good.gzip" -H 'Content-Encoding: gzip' -H 'Content-Encoding: identity'
	expect_status 403
	post gql.test /graphql "@/sandbox/two.gzip" -H 'Content-Encoding: gzip'
	expect_status 403
	post gql.test /graphql "@/sandbox/bomb.gzip" -H 'Content-Encoding: gzip'
	expect_status 403
	expect_contains "$(json 'b["reason"]')" "larger than the 65536 bytes"
	fetch all https://gql.test/graphql -H 'Content-Type: application/json; charset=utf-7' --data-binary "$(gql '{ viewer }')"
	expect_status 403
	expect_absent "$canary"
}

# C29: what reads them by their labels finds another operation, or none.
@test "graphql: UTF-16 and multipart bodies are denied, the same in UTF-8 passes" {
	local canary kind
	canary=$(new_canary)
	inside all python3 -c 'import sys
text = "{\"query\":\"query Plain { viewer(x: \\\"%s\\\") }\"}" % sys.argv[1]
for kind in "utf-16", "utf-16-le", "utf-16-be":
    open(f"/sandbox/gql.{kind}", "wb").write(text.encode(kind))
open("/sandbox/gql.utf-8", "w").write(text)' "$canary"
	for kind in utf-16 utf-16-le utf-16-be; do
		post gql.test /graphql "@/sandbox/gql.$kind"
		expect_status 403
		expect_contains "$(json 'b["reason"]')" "GraphQL request rejected"
		fetch all https://gql.test/graphql -H "Content-Type: application/json; charset=$kind" \
			--data-binary "@/sandbox/gql.$kind"
		expect_status 403
	done
	# As clients upload files (graphql-multipart-request-spec), and as a form.
	fetch all https://gql.test/graphql -F 'operations=<gql.utf-8' -F 'map={}'
	expect_status 403
	expect_contains "$(json 'b["reason"]')" "multipart bodies are not inspected"
	fetch all https://gql.test/graphql -H 'Content-Type: multipart/form-data; boundary=x' --data-binary "@/sandbox/gql.utf-8"
	expect_status 403
	expect_absent "$canary"
	post gql.test /graphql "@/sandbox/gql.utf-8"
	expect_status 200
	expect_arrived "$canary"
}

@test "a body over the bound is denied, one within it passes, however they are framed" {
	inside all python3 -c 'for size in 65536, 65537:
    start, end = b"{\"query\":\"query Big { viewer }\",\"variables\":{\"x\":\"", b"\"}}"
    open(f"/sandbox/{size}", "wb").write(start + b"x" * (size - len(start) - len(end)) + end)'
	local since
	since=$(mark)
	post gql.test /graphql @/sandbox/65536
	expect_status 200
	post gql.test /graphql @/sandbox/65536 -H 'Transfer-Encoding: chunked'
	expect_status 200
	has_request "$since" '"size": 65536'
	post gql.test /graphql @/sandbox/65537
	expect_status 403
	post gql.test /graphql @/sandbox/65537 -H 'Transfer-Encoding: chunked'
	expect_status 403
	post gql.test /graphql @/sandbox/65536 -H 'Expect: 100-continue'
	expect_status 200
	post gql.test /graphql @/sandbox/65537 -H 'Expect: 100-continue'
	expect_status 403
	settle
	refute has_request "$since" '"size": 65537'
}

@test "json-rpc: the method decides, parameters are never logged" {
	local canary
	canary=$(new_canary)
	post rpc.test / "$(rpc eth_call "[\"$canary\"]")"
	expect_status 200
	expect_arrived "$canary"
	canary=$(new_canary)
	post rpc.test / "$(rpc eth_sendTransaction "[\"$canary\"]")"
	expect_status 403
	post rpc.test / "[$(rpc eth_call),$(rpc eth_sendTransaction "[\"$canary\"]")]"
	expect_status 403
	post rpc.test / '{"jsonrpc":"2.0","id":1,"result":1}'
	expect_status 403
	fetch all https://rpc.test/
	expect_status 403
	expect_absent "$canary"
	post rpc.test / "[$(rpc eth_call),$(rpc eth_blockNumber)]"
	expect_status 200
	expect_verdicts 2 all dst_host=rpc.test l7_decision=deny l7_message=eth_sendTransaction
	expect_verdicts 1 all dst_host=rpc.test l7_decision=allow 'l7_message=eth_call, eth_blockNumber'
	run osh logs all
	expect_lacks "$output" "$canary"
}

@test "mcp: methods and tools, streams and responses" {
	post mcp.test /mcp "$(rpc tools/call '{"name":"read_status","arguments":{"a":1}}')"
	expect_status 200
	post mcp.test /mcp "$(rpc tools/call '{"name":"repo.read"}')"
	expect_status 200
	post mcp.test /mcp "$(rpc tools/call '{"name":"repo.delete"}')"
	expect_status 403
	post mcp.test /mcp "$(rpc tools/call '{"name":"send_email"}')"
	expect_status 403
	post mcp.test /mcp "$(rpc tools/call '{"name":"read status"}')"
	expect_status 403
	post mcp.test /mcp "$(rpc resources/list)"
	expect_status 403
	post mcp.test /mcp "$(rpc tools/list)"
	expect_status 200
	post mcp.test /mcp '{"jsonrpc":"2.0","id":7,"result":{}}'
	expect_status 200
	fetch all https://mcp.test/mcp -H 'Accept: text/event-stream'
	expect_status 200
	fetch all https://mcp.test/mcp
	expect_status 403
	fetch all https://mcp.test/mcp -X DELETE
	expect_status 403
	expect_verdicts 1 all dst_host=mcp.test l7_decision=deny 'l7_message=tools/call send_email' l7_protocol=mcp
	expect_verdicts 1 all dst_host=mcp.test l7_decision=allow 'l7_message=tools/call read_status'
}

@test "websocket: each text is judged before it goes on" {
	local canary
	canary=$(new_canary)
	ws ws.test /v1/chat/1 hello "frag=one |and |two" "bin=raw" "ping=p" bye
	has_lines "status 101" "text ready" "text hello" "text one and two" "bin raw" "pong p" "text bye"
	ws ws.test /v1/listen "bin=$canary" "$canary-text" "bin=after"
	has_lines "status 101" "text ready" "bin $canary" "close 1008 WEBSOCKET_TEXT /v1/listen not permitted by policy"
	expect_absent "$canary-text"
	ws ws.test /v2/chat x
	has_lines "status 403"
	fetch all https://ws.test/v1/chat/1
	expect_status 403
	expect_contains "$(json 'b["reason"]')" "valid WebSocket upgrade"
	expect_verdicts 3 all dst_host=ws.test l7_action=WEBSOCKET_TEXT l7_decision=allow l7_target=/v1/chat/1
	expect_verdicts 1 all dst_host=ws.test l7_action=WEBSOCKET_TEXT l7_decision=deny l7_target=/v1/listen
	settle
	refute grep -aq permessage-deflate "$WORLD_DIR/requests.log"
}

# C22
@test "websocket: what breaks the protocol closes with its code" {
	ws ws.test /v1/chat/2 "unmasked=x"
	expect_contains "$output" "close 1002"
	ws ws.test /v1/chat/2 "hex=c18000000000"
	expect_contains "$output" "close 1002"
	ws ws.test /v1/chat/2 "hex=808000000000"
	expect_contains "$output" "close 1002 a continuation frame continues nothing"
	ws ws.test /v1/chat/2 "hex=01810000000078818000000000"
	expect_contains "$output" "close 1002 a message begins before the last one ended"
	ws ws.test /v1/chat/2 "hex=098000000000"
	expect_contains "$output" "close 1002 a control frame is fragmented"
	ws ws.test /v1/chat/2 "hex=82ff800000000000000000000000"
	expect_contains "$output" "close 1002 a frame's length"
	ws ws.test /v1/chat/2 "hex=82ff7fffffffffffffff00000000"
	expect_contains "$output" "close 1009"
	ws ws.test /v1/chat/2 "hex=838000000000"
	expect_contains "$output" "close 1002 a frame has an unknown opcode"
	ws ws.test /v1/chat/2 "hex=818200000000c328"
	expect_contains "$output" "close 1007"
	ws ws.test /v1/chat/2 "big=4194305"
	expect_contains "$output" "close 1009"
	ws ws.test /v1/chat/2 "big=4194304"
	has_lines "status 101" "text ready" "text 4194304 bytes"
	ws ws.test /v1/chat/2 "hex=818200000000c3a9" "hex=880200000000"
	expect_contains "$output" "text é"
}

@test "graphql over websocket" {
	local canary
	canary=$(new_canary)
	ws rt.test /graphql '{"type":"connection_init"}' \
		'{"type":"subscribe","id":"1","payload":{"query":"subscription On { messageAdded }"}}' \
		"{\"type\":\"subscribe\",\"id\":\"2\",\"payload\":{\"query\":\"mutation { deleteAll(x: \\\"$canary\\\") }\"}}"
	expect_contains "$output" 'text {"type":"connection_init"}'
	expect_contains "$output" "subscription On"
	expect_contains "$output" "close 1008 GraphQL operation not permitted by policy"
	expect_absent "$canary"
	ws rt.test /graphql 'no json'
	expect_contains "$output" "close 1008 GraphQL message rejected"
	expect_verdicts 1 all dst_host=rt.test l7_decision=allow 'l7_message=subscription On{messageAdded}'
	expect_verdicts 1 all dst_host=rt.test l7_decision=deny 'l7_message=mutation{deleteAll}'
}

@test "an upgrade through a rest endpoint is relayed unseen" {
	ws wsrest.test /any hello "bin=x"
	has_lines "status 101" "text ready" "text hello" "bin x"
	fetch all https://wsrest.test/any -X POST -d x
	expect_status 403
}

@test "tls: skip and tcp carry bytes, to their own host and port alone" {
	run inside all curl -sS -m 10 --cacert "$(world_ca_inside)" https://skip.test/any -o /dev/null -w '%{http_code}'
	expect_equal "$output" 200
	run probe all tcp l4.test 5432 hello
	expect_contains "$output" "l4 ready"
	run probe all tcp ok.test 5432
	expect_equal "$output" EPERM
	run probe all tcp l4.test 8443
	expect_equal "$output" EPERM
}

# The world's own CA, for what is not terminated.
world_ca_inside() {
	put all "$WORLD_CA" /sandbox/world-ca.pem
	echo /sandbox/world-ca.pem
}

@test "hostless with allowed_ips: by name and by address, inside the list alone" {
	fetch all http://private.test:9443/a
	expect_status 200
	fetch all http://10.9.0.5:9443/a
	expect_status 200
	local canary
	canary=$(new_canary)
	run inside all curl -sS -m 10 "http://outside.test:9443/$canary"
	((status != 0)) || expect_contains "$output" ssrf_denied
	run inside all curl -sS -m 10 "http://203.0.113.10:9443/$canary"
	((status != 0)) || expect_contains "$output" ssrf_denied
	expect_absent "$canary"
	expect_verdicts 2 all dst_port=9443 engine=ssrf l7_decision=deny
}

@test "a new policy: open bodies and texts are judged by it" {
	local pid file=$SCRATCH/narrower.yaml
	make_sandbox shifting protocols
	put shifting "$E2E/probe.py" /sandbox/probe.py
	inside shifting timeout 30 python3 /sandbox/probe.py websocket ws.test /v1/chat/3 hello wait >"$SCRATCH/shifting" 2>&1 3>&- &
	pid=$!
	wait_until 10 has_line "$SCRATCH/shifting" "text hello"
	osh policy set shifting --policy "$(policy protocols)" --wait
	refute is_gone "$pid"
	sed 's|method: GET, path: "/v1/\*\*"|method: GET, path: "/v9/**"|' "$(policy protocols)" >"$file"
	osh policy set shifting --policy "$file" --wait
	wait_until 5 is_gone "$pid"
	has_line "$SCRATCH/shifting" "close 1012"
	osh sandbox delete shifting
}

@test "permissive: everything the policy denies is let through and recorded, and said" {
	local said
	said=$(osh sandbox create --name loose --policy "$(policy permissive)" 2>&1 </dev/null)
	expect_contains "$said" permissive
	run osh sandbox get loose
	expect_contains "$output" "permissive: denials are let through"
	run osh sandbox get all
	expect_contains "$output" enforcing
	run osh status
	expect_contains "$output" loose
	fetch loose https://ok.test/pub/x
	expect_status 200
	fetch loose https://ok.test/secret
	expect_status 200
	fetch loose http://public.test/any
	expect_status 200
	run probe loose tcp public.test 5432 hello
	expect_contains "$output" "l4 ready"
	run probe loose tcp 93.184.215.14 5432 hello
	expect_contains "$output" "l4 ready"
	# The address guard and what cannot be understood stay.
	fetch loose https://loop.test/x
	expect_status 403
	run probe loose tcp outside.test 5432 hello
	expect_lacks "$output" "l4 ready"
	fetch loose https://ok.test/pub/%zz --path-as-is
	expect_status 400
	expect_verdicts 1 loose l7_target=/secret l7_decision=audit mode=permissive
	expect_verdicts 1 loose dst_host=public.test dst_port=80 l7_decision=audit mode=permissive
	expect_verdicts 1 loose dst_host=public.test dst_port=5432 l7_decision=audit
	expect_verdicts 1 loose dst_host=93.184.215.14 dst_port=5432 l7_decision=audit
	expect_verdicts 1 loose dst_host=loop.test l7_decision=deny engine=ssrf
	expect_verdicts 1 loose dst_host=outside.test l7_decision=deny engine=ssrf
	run osh logs loose
	expect_equal "$(grep -vc 'mode:permissive' <<<"$output")" 0 "lines without the mode"
	# Back in force: at once, on every port.
	osh policy set loose --policy "$(policy probe)" --wait
	fetch loose https://ok.test/secret
	expect_status 403
	run probe loose tcp public.test 5432
	expect_equal "$output" EPERM
	run osh sandbox get loose
	expect_contains "$output" enforcing
	osh sandbox delete loose
}
