#!/usr/bin/env bats
# Changing the policy of a running sandbox: whole or not at all, and at once.

load helpers

setup_file() { start_all; }
teardown_file() { stop_all; }

# A name of its own for each test: records of an earlier one stay under its name.
setup() {
	BOX=changing-$BATS_TEST_NUMBER
	make_sandbox "$BOX" probe 2>/dev/null
}

teardown() { osh sandbox delete "$BOX" || true; }

revision() {
	BODY=$(osh sandbox get "$BOX" -o json)
	json 'b["revision"]'
}

# set_raw FILE DIGEST: PolicySet as a hostile or broken client would call it.
set_raw() {
	printf '{"name": "%s", "policy_sha256": "%s", "wait": true}' "$BOX" "$2" |
		/usr/bin/python3 "$E2E/control.py" "$AGENT_SOCKET" PolicySet "$1"
}

@test "the new policy holds as soon as set --wait returns, both ways" {
	local canary
	canary=$(new_canary)
	fetch "$BOX" https://ok.test/pub/x
	expect_status 200
	fetch "$BOX" https://ok.test/api/x -X PUT -d "$canary"
	expect_status 403
	osh policy set "$BOX" --policy "$(policy probe_more)" --wait
	expect_absent "$canary"
	fetch "$BOX" https://ok.test/pub/x
	expect_status 403
	fetch "$BOX" https://ok.test/api/x -X PUT -d "$canary"
	expect_status 200
	expect_arrived "$canary"
	osh policy set "$BOX" --policy "$(policy probe)" --wait
	fetch "$BOX" https://ok.test/pub/x
	expect_status 200
}

@test "policy get returns what was set, byte for byte" {
	osh policy get "$BOX" | cmp - "$(policy probe)"
	osh policy set "$BOX" --policy "$(policy probe_more)" --wait
	osh policy get "$BOX" | cmp - "$(policy probe_more)"
}

@test "an invalid file: file:line:column, exit 1, and the old policy stays whole" {
	local before file=$SCRATCH/invalid.yaml
	before=$(revision)
	sed '/^network_policies/,$d' "$(policy probe)" >"$file"
	printf 'network_policies:\n  web:\n    endpoints:\n      - { host: ok.test, port: 99999 }\n    binarys: []\n' >>"$file"
	run osh policy set "$BOX" --policy "$file" --wait
	expect_equal "$status" 1
	[[ $output =~ invalid.yaml:[0-9]+:[0-9]+:\ .*port ]]
	[[ $output =~ invalid.yaml:[0-9]+:[0-9]+:\ .*binarys ]]
	expect_equal "$(revision)" "$before" revision
	fetch "$BOX" https://ok.test/pub/x
	expect_status 200
	run osh policy set "$BOX" --policy "$SCRATCH/missing.yaml" --wait
	expect_equal "$status" 1
	: >"$file"
	run osh policy set "$BOX" --policy "$file" --wait
	expect_equal "$status" 1
	expect_equal "$(revision)" "$before" revision
	osh policy get "$BOX" | cmp - "$(policy probe)"
}

@test "a proxy that does not answer: 124 when the time is up, and set again works" {
	local proxy
	BODY=$(osh status -o json)
	proxy=$(json 'b["proxy_pid"]')
	kill -STOP "$proxy"
	run osh policy set "$BOX" --policy "$(policy probe_more)" --wait --timeout 1
	kill -CONT "$proxy"
	expect_equal "$status" 124
	osh policy set "$BOX" --policy "$(policy probe_more)" --wait --timeout 20
	fetch "$BOX" https://ok.test/api/x -X PUT -d x
	expect_status 200
}

@test "a kept-alive connection is judged by the new policy at its next request" {
	local pid
	inside "$BOX" sh -c ': >/sandbox/go'
	probe "$BOX" alive ok.test 443 /pub/x >"$SCRATCH/alive" 2>&1 3>&- &
	pid=$!
	answered() { (($(inside "$BOX" cat /sandbox/answers 2>/dev/null | wc -l) >= $1)); }
	inside "$BOX" sh -c 'echo GET GET >>/sandbox/go'
	wait_until 10 answered 2
	osh policy set "$BOX" --policy "$(policy probe_more)" --wait
	inside "$BOX" sh -c 'echo GET >>/sandbox/go'
	wait_until 10 answered 3
	run inside "$BOX" cat /sandbox/answers
	expect_equal "${lines[0]}" "200 same"
	expect_equal "${lines[1]}" "200 same"
	expect_equal "${lines[2]%% *}" 403
	inside "$BOX" sh -c 'echo end >>/sandbox/go'
	wait_until 5 is_gone "$pid"
	expect_verdicts 2 "$BOX" l7_action=GET l7_decision=allow l7_target=/pub/x
	expect_verdicts 1 "$BOX" l7_action=GET l7_decision=deny l7_target=/pub/x
}

@test "a flow that the new policy denies ends; one that it still allows goes on" {
	local pid
	local talk='import socket, sys
s = socket.create_connection(("l4.test", 5432), timeout=60)
print(s.recv(100), flush=True)
s.sendall(b"one")
print(s.recv(100), flush=True)
try: print("end", s.recv(100), flush=True)
except OSError as e: print("end", e, flush=True)'
	inside "$BOX" python3 -c "$talk" >"$SCRATCH/flow" 2>&1 3>&- &
	pid=$!
	wait_until 10 has_line "$SCRATCH/flow" one
	# The same policy again: the flow is judged again and stays.
	osh policy set "$BOX" --policy "$(policy probe)" --wait
	refute is_gone "$pid"
	expect_equal "$(wc -l <"$SCRATCH/flow")" 2 "lines of the flow"
	osh policy set "$BOX" --policy "$(policy probe_more)" --wait
	wait_until 1 is_gone "$pid"
	has_line "$SCRATCH/flow" end
}

@test "a denial that the kernel remembers is forgotten with the policy" {
	run probe "$BOX" tcp ok.test 8443
	expect_equal "$output" EPERM
	run probe "$BOX" tcp ok.test 8443
	expect_equal "$output" EPERM
	sed 's/port: 443$/port: 8443/' "$(policy probe_more)" >"$SCRATCH/8443.yaml"
	osh policy set "$BOX" --policy "$SCRATCH/8443.yaml" --wait
	fetch "$BOX" https://ok.test:8443/api/x -X PUT -d x
	expect_status 200
	osh policy set "$BOX" --policy "$(policy probe)" --wait
	run probe "$BOX" tcp ok.test 8443
	expect_equal "$output" EPERM
}

@test "audit: forwarded, and recorded as what it is" {
	osh policy set "$BOX" --policy "$(policy audit)" --wait
	fetch "$BOX" https://ok.test/api/x -X DELETE
	expect_status 200
	expect_verdicts 1 "$BOX" l7_action=DELETE l7_decision=audit
	fetch "$BOX" https://ok.test/pub/x
	expect_verdicts 1 "$BOX" l7_action=GET l7_decision=allow policy=watched
}

@test "a policy that was cut on its way is refused at every length" {
	local digest size cut file=$SCRATCH/cut.yaml before
	before=$(revision)
	digest=$(sha256sum "$(policy probe_more)" | cut -d' ' -f1)
	size=$(stat -c %s "$(policy probe_more)")
	for ((cut = 0; cut < size; cut += 37)); do
		head -c "$cut" "$(policy probe_more)" >"$file"
		run set_raw "$file" "$digest"
		expect_contains "$output" '"error"'
	done
	expect_equal "$(revision)" "$before" revision
	fetch "$BOX" https://ok.test/pub/x
	expect_status 200
	run set_raw "$(policy probe_more)" "$digest"
	expect_lacks "$output" '"error"'
	fetch "$BOX" https://ok.test/pub/x
	expect_status 403
}

# F15
@test "a policy that had a bit flipped on its way is refused, whichever it was" {
	local before size file
	file=$(policy probe_more)
	before=$(revision)
	size=$(stat -c %s "$file")
	run /usr/bin/python3 "$E2E/flips.py" "$AGENT_SOCKET" "$BOX" "$file" 3
	expect_equal "$output" $((8 * ((size + 2) / 3))) "flips, all refused"
	expect_equal "$(revision)" "$before" revision
	osh policy get "$BOX" | cmp - "$(policy probe)"
	fetch "$BOX" https://ok.test/pub/x
	expect_status 200
	fetch "$BOX" https://ok.test/api/x -X PUT -d x
	expect_status 403
	run set_raw "$file" "$(sha256sum "$file" | cut -d' ' -f1)"
	expect_lacks "$output" '"error"'
	osh policy get "$BOX" | cmp - "$file"
	fetch "$BOX" https://ok.test/api/x -X PUT -d x
	expect_status 200
}

@test "static sections change nothing in a running sandbox, and a warning says so" {
	sed -e 's/read_write: \[\/sandbox, /read_write: [/' "$(policy probe)" >"$SCRATCH/static.yaml"
	run osh policy set "$BOX" --policy "$SCRATCH/static.yaml" --wait
	expect_equal "$status" 0
	expect_contains "$output" "creation"
	inside "$BOX" touch /sandbox/still-writable
}

@test "the revisions of one sandbox do not touch another" {
	make_sandbox other probe
	osh policy set "$BOX" --policy "$(policy probe_more)" --wait
	fetch other https://ok.test/pub/x
	expect_status 200
	fetch "$BOX" https://ok.test/pub/x
	expect_status 403
	osh sandbox delete other
}
