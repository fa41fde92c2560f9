#!/usr/bin/env bats
# The dashboard, seen as a user sees it: in a terminal of its own.

load helpers

setup_file() {
	start_all
	make_sandbox demo probe
	make_sandbox quiet probe
	start_tmux
}

teardown_file() {
	stop_tmux
	stop_all
}

setup() { open_term 120 40; }
teardown() { tmux -L "$TMUX_SOCKET" kill-session -t t 2>/dev/null || true; }

open_term() {
	tmux -L "$TMUX_SOCKET" new-session -d -s t -x "$1" -y "$2" \
		"env TERM=screen-256color LANG=C.UTF-8 '$BUILD/openshell' --socket '$AGENT_SOCKET' term; echo ended \$?; exec cat" 3>&-
	wait_until 10 shows demo
}

screen() { tmux -L "$TMUX_SOCKET" capture-pane -p -t t; }
shows() { screen | grep -qE -- "$1"; }
hides() { ! shows "$1"; }
press() { tmux -L "$TMUX_SOCKET" send-keys -t t "$@"; }

expect_screen() { wait_until 5 shows "$1" || fail "the screen lacks '$1':" "$(screen)"; }
expect_hidden() { wait_until 5 hides "$1" || fail "the screen shows '$1':" "$(screen)"; }

@test "sandboxes and live verdicts" {
	expect_screen quiet
	fetch demo https://ok.test/pub/live
	expect_screen /pub/live
	fetch demo https://ok.test/secret/live -X PUT
	expect_screen /secret/live
}

@test "the detail of a denied entry, under the tutorial's names" {
	fetch demo https://ok.test/api/detail -X PUT
	expect_screen /api/detail
	press End
	press Enter
	expect_screen 'l7_action: +PUT'
	expect_screen 'l7_target: +/api/detail'
	expect_screen 'l7_decision: +deny'
	expect_screen 'dst_host: +ok.test'
	expect_screen 'dst_port: +443'
	expect_screen 'l7_protocol: +rest'
	expect_screen 'policy: +web'
	expect_screen 'l7_deny_reason: +PUT /api/detail not permitted by policy'
	expect_screen 'binary: +/usr/bin/curl'
	expect_screen 'pid: +[0-9]+'
	expect_screen 'lineage: '
	expect_screen 'time: +20[0-9]{2}-'
}

@test "filters: denied, one sandbox, all" {
	fetch demo https://ok.test/pub/allowed
	fetch demo https://ok.test/no/denied
	fetch quiet https://ok.test/pub/elsewhere
	expect_screen /pub/elsewhere
	press d
	expect_hidden /pub/allowed
	expect_hidden /pub/elsewhere
	expect_screen /no/denied
	press a
	expect_screen /pub/elsewhere
	expect_screen /pub/allowed
}

@test "it scrolls" {
	inside demo sh -c 'for i in $(seq 100 180); do echo "url=https://ok.test/pub/row-$i"; done >/sandbox/rows; curl -sS -K /sandbox/rows >/dev/null'
	expect_screen /pub/row-180
	expect_hidden /pub/row-105
	press Home
	expect_hidden /pub/row-180
	press End
	expect_screen /pub/row-180
	press PageUp
	expect_screen /pub/row-1[0-6]
}

@test "it resizes, down to nothing, and lives" {
	local size
	fetch demo https://ok.test/pub/sized
	expect_screen /pub/sized
	for size in "20 5" "200 50" "10 3" "80 24"; do
		tmux -L "$TMUX_SOCKET" resize-window -t t -x "${size% *}" -y "${size#* }"
		press Down
	done
	expect_screen demo
	expect_hidden 'ended [0-9]'
}

@test "hostile bytes are escaped" {
	inside demo sh -c 'cp /usr/bin/curl "$(printf "/tmp/a\033[2Jb\007")"; "$(printf "/tmp/a\033[2Jb\007")" -sS https://ok.test/pub/hostile >/dev/null' || true
	expect_screen 'a\\x1b'
	press End Enter
	expect_screen 'binary: +/tmp/a\\x1b'
	expect_screen demo
}

@test "q leaves, and the terminal is as it was" {
	press q
	expect_screen 'ended 0'
}

@test "it says so when the agent goes, and goes on when it is back" {
	agent_crash
	agent_start "$AGENT_DIR"
	fetch demo https://ok.test/pub/returned
	expect_screen /pub/returned
	expect_hidden 'ended [0-9]'
}
