#!/usr/bin/env bats
# gRPC by its own library on both sides: each call is a request of HTTP/2, judged by its method.

load helpers

setup_file() {
	start_all
	make_sandbox calls grpc
	nsenter --net="$WORLD_UP" /usr/bin/python3 "$E2E/grpc_server.py" "$WORLD_DIR/certs/good.pem" 9446 \
		</dev/null >"$SCRATCH/grpc.log" 2>&1 3>&- &
	export GRPC_SERVER=$!
	wait_until 20 has_line "$SCRATCH/grpc.log" ready
	put calls "$E2E/grpc_client.py" /sandbox/client.py
}

teardown_file() {
	kill "$GRPC_SERVER"
	stop_all
}

# call WHAT...: see grpc_client.py; sets lines. The library logs to the other output.
call() { call_to ok.test:9446 "$@"; }
call_to() { run inside calls sh -c 'exec timeout 60 /usr/bin/python3 /sandbox/client.py "$@" 2>/dev/null' _ "$@"; }

WHOLE="['1'] ['two', b'\\x00\\xff', 'three']" # the metadata before and behind the messages

@test "unary, and streams of the server, of the client and of both" {
	call one many count talk
	expect_equal "${lines[0]}" "OK b'hello' $WHOLE"
	expect_equal "${lines[1]}" "OK 10 $WHOLE"
	expect_equal "${lines[2]}" "OK b'7' $WHOLE"
	expect_equal "${lines[3]}" "OK b'abc' $WHOLE"
	expect_verdicts 1 calls l7_decision=allow l7_target=/test.Echo/Talk l7_action=POST
}

@test "a server that speaks before its client does" {
	call listen
	expect_equal "${lines[0]}" "first 1"
	expect_equal "${lines[1]}" "OK b'now' $WHOLE"
}

@test "the metadata and the deadline of a call reach the server" {
	call one
	expect_equal "$(grep '^One ' "$SCRATCH/grpc.log" | tail -n 1)" "One hello b'\\x01\\x02' deadline"
}

@test "a message of 3 MB, both ways" {
	call large
	expect_equal "$output" 3000000
}

@test "what the server refuses is the server's word" {
	call abort
	expect_equal "$output" "RESOURCE_EXHAUSTED enough: 100% ü"
}

@test "a method that the policy does not name never arrives; the same channel calls on" {
	call secret absent one
	expect_equal "${lines[0]}" "PERMISSION_DENIED POST /test.Echo/Secret not permitted by policy"
	expect_equal "${lines[1]}" "PERMISSION_DENIED POST /test.Other/One not permitted by policy"
	expect_contains "${lines[2]}" "OK b'hello'"
	refute grep -q Secret "$SCRATCH/grpc.log"
	expect_verdicts 1 calls l7_decision=deny l7_target=/test.Echo/Secret l7_action=POST
	expect_verdicts 1 calls l7_decision=deny l7_target=/test.Other/One l7_action=POST
}

@test "a host that the policy does not name is told in the same words" {
	call_to no.test:443 one
	expect_contains "$output" "PERMISSION_DENIED "
	expect_verdicts 1 calls l7_decision=deny dst_host=no.test
}

@test "either side may end a call early, and the other is told" {
	local before
	before=$(grep -c "Talk ended" "$SCRATCH/grpc.log") || true
	call enough cancel late one
	expect_equal "${lines[0]}" "OUT_OF_RANGE no more"
	expect_equal "${lines[1]}" "b'word'"
	expect_contains "${lines[2]}" CANCELLED
	expect_contains "${lines[3]}" DEADLINE_EXCEEDED
	expect_contains "${lines[4]}" "OK b'hello'"
	wait_until 10 ended_more_than $((before + 1))
}

ended_more_than() { (($(grep -c "Talk ended" "$SCRATCH/grpc.log") > $1)); }
