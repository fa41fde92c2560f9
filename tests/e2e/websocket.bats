#!/usr/bin/env bats
# WebSockets between a real client and a real server that would both compress: they do where nobody
# looks at texts, and speak in the clear where a rule is about them. What breaks the protocol is in
# protocols.bats, what is no WebSocket in messages.bats.

load helpers

PORT=9447

setup_file() {
	start_all
	nsenter --net="$WORLD_UP" /usr/bin/python3 "$E2E/websocket_peer.py" serve "$WORLD_DIR/certs/good.pem" $PORT \
		</dev/null >"$SCRATCH/server.log" 2>&1 3>&- &
	export WEBSOCKET_SERVER=$!
	make_sandbox box websocket
	put box "$E2E/websocket_peer.py" /sandbox/websocket_peer.py
	wait_until 10 has_line "$SCRATCH/server.log" ready
}

teardown_file() {
	kill "$WEBSOCKET_SERVER"
	stop_all
}

# talk HOST LENGTH...: sets output.
talk() { run inside box timeout 60 python3 websocket_peer.py talk "wss://$1:$PORT/pub/x" "${@:2}"; }

said() { expect_equal "$(paste -sd' ' <<<"$output")" "$*" "what the client saw"; }

@test "compression is the two sides' own affair where no rule is about texts" {
	talk ok.test 5 1000000 5
	said permessage-deflate same same same
	has_line "$SCRATCH/server.log" "^permessage-deflate 1000000$"
}

@test "where a rule is about texts none is agreed upon, and each text is on record" {
	talk ws.test 5 1000000 5
	said none same same same
	has_line "$SCRATCH/server.log" "^none 1000000$"
	expect_verdicts 3 box dst_host=ws.test l7_action=WEBSOCKET_TEXT l7_decision=allow
	# 4 MiB of UTF-8 are the bound; the server never sees more.
	talk ws.test 5 5000000
	said none same closed 1009
	refute has_line "$SCRATCH/server.log" " 5000000$"
	talk ok.test 5000000
	said permessage-deflate same
}

# C22
@test "a text in a thousand frames passes whole, one over the bound not at all" {
	talk ws.test 1048576/1000 5
	said none same same
	has_line "$SCRATCH/server.log" "^none 1048576$"
	talk ws.test 5/1 6000000/5000
	said none same closed 1009
	refute has_line "$SCRATCH/server.log" " 6000000$"
	talk ok.test 1048576/1000
	said permessage-deflate same
}

@test "a new policy closes both kinds with 1012" {
	local host
	for host in ok.test ws.test; do
		inside box timeout 60 python3 websocket_peer.py talk "wss://$host:$PORT/pub/x" on >"$SCRATCH/$host" 2>&1 3>&- &
		eval "${host%.test}=$!"
	done
	wait_until 10 has_line "$SCRATCH/ok.test" same
	wait_until 10 has_line "$SCRATCH/ws.test" same
	sed 's|method: GET, path: "/pub/|method: GET, path: "/other/|' "$(policy websocket)" >"$SCRATCH/narrower.yaml"
	osh policy set box --policy "$SCRATCH/narrower.yaml" --wait
	# shellcheck disable=SC2154  # by eval
	wait_until 10 is_gone "$ok"
	# shellcheck disable=SC2154
	wait_until 10 is_gone "$ws"
	for host in ok.test ws.test; do
		expect_equal "$(tail -n 1 "$SCRATCH/$host")" "closed 1012" "$host"
	done
	osh policy set box --policy "$(policy websocket)" --wait
	talk ok.test 5
	said permessage-deflate same
}
