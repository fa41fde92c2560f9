#!/usr/bin/env bats
# Rules of an attached cgroup that somebody takes away: hooks that are detached, pins that are removed, while
# the agent runs and while none does.

bats_require_minimum_version 1.5.0

OSH_BUILD_DIR=$(readlink -f "${BATS_TEST_DIRNAME:?}/../..")/build/knockout
load helpers
load attach

setup_file() {
	build_knockout
	start_attaching
}

# ---- Pins ---------------------------------------------------------------------------------------

@test "pins that are removed: the rules stay, the pins come back, and the next agent finds them" {
	local canary pins place
	canary=$(new_canary)
	attach
	pins=$(find /sys/fs/bpf -ignore_readdir_race -path "*/attached/$(stat -c %i "$CG")/*" | sort)
	place=${pins%%/attached/*}/attached
	(($(wc -l <<<"$pins") >= 8)) || fail "$pins"
	hold_agent # it looks once, when all are gone
	in_cgroup rm -r "$place"
	release_agent
	run direct "$canary"
	expect_equal "$output" "connect EPERM"
	expect_equal "$(asked https://ok.test/other)" 403
	are_back() { [[ $(find "$place" -type f 2>/dev/null | sort) == "$pins" ]]; }
	wait_until 10 are_back
	expect_contains "$(<"$AGENT_DIR/agent.log")" "somebody removed $(wc -l <<<"$pins") pins"
	agent_crash
	run direct "$canary"
	expect_equal "$output" "connect EPERM"
	agent_start "$AGENT_DIR"
	expect_equal "$(asked https://ok.test/pub/x)" 200
	run direct "$canary"
	expect_equal "$output" "connect EPERM"
	expect_absent "$canary"
	osh sandbox detach box
	run direct "$canary"
	expect_arrived "$canary"
}

@test "memory of verdicts whose pins are removed: the next agent finds the same" {
	local place before
	attach
	place=$(find /sys/fs/bpf -ignore_readdir_race -path "*/attached/$(stat -c %i "$CG")")
	place=${place%/layout-*}/memory
	list_memory() {
		local pin
		for pin in "$place"/*; do
			echo "${pin##*/} $(bpftool -j map show pinned "$pin" | grep -o '"id":[0-9]*')"
		done
	}
	before=$(list_memory)
	expect_contains "$before" ledger
	expect_contains "$before" "worker0 \"id\":"
	hold_agent
	rm -r "$place"
	release_agent
	is_back() { [[ -d $place && $(list_memory) == "$before" ]]; }
	wait_until 10 is_back
	expect_contains "$(<"$AGENT_DIR/agent.log")" "the lock of the proxy went with $place"
	agent_crash
	agent_start "$AGENT_DIR"
	expect_equal "$(list_memory)" "$before"
	expect_equal "$(asked https://ok.test/pub/x)" 200
}

# ---- Hooks --------------------------------------------------------------------------------------

detach_hooks() {
	local link
	for link in $(list_links | awk '$1 == "osh_connect4" || $1 == "osh_skb_egress" { print $2 }'); do
		bpftool link detach id "$link"
	done
}
hooks_are_back() { (($(list_links | grep -cE '^osh_(connect4|skb_egress) ') == 2)); }
# connect_meanwhile DURING AFTER: a connection that nobody judges; DURING arrives, AFTER is sent by it once
# somebody writes to $SCRATCH/go. CONNECTED is its process.
connect_meanwhile() {
	rm -f "$SCRATCH/go"
	mkfifo "$SCRATCH/go"
	in_cgroup /usr/bin/python3 -c 'import socket, sys
sock = socket.create_connection(("203.0.113.10", 5432)); sock.sendall(sys.argv[1].encode())
open(sys.argv[3]).read()
try: sock.sendall(sys.argv[2].encode())
except OSError: pass' "$@" "$SCRATCH/go" 3>&- &
	CONNECTED=$!
	wait_until 5 arrived "$1" # T
}

# expect_ended AFTER: that connection is of no use any more, and a new one is judged.
expect_ended() {
	echo >"$SCRATCH/go"
	wait "$CONNECTED"
	run direct "$1"
	expect_equal "$output" "connect EPERM"
	expect_absent "$1"
	expect_equal "$(asked https://ok.test/pub/x)" 200
}

# F21
@test "hooks that are detached come back, and what connected meanwhile ends" {
	local during after
	during=$(new_canary) after=$(new_canary)
	attach
	hold_agent
	detach_hooks
	connect_meanwhile "$during" "$after"
	release_agent
	wait_until 5 hooks_are_back
	is_told() { osh logs box | grep -q "somebody detached 2 of its hooks; they are back"; }
	wait_until 5 is_told
	expect_ended "$after"
}

# F21
@test "hooks that are detached while no agent runs come back with the next one, and what connected meanwhile ends" {
	local during after
	during=$(new_canary) after=$(new_canary)
	attach
	agent_crash
	detach_hooks
	connect_meanwhile "$during" "$after"
	agent_start "$AGENT_DIR"
	hooks_are_back
	expect_contains "$(osh logs box)" "2 of its hooks were missing when this agent came; they are back"
	expect_ended "$after"
}

# Of what none is missing, nothing ends: its own connections, which need no agent, go on.
@test "with all its hooks in place a connection outlives the agent" {
	attach
	rm -f "$SCRATCH/go"
	mkfifo "$SCRATCH/go"
	in_cgroup /usr/bin/python3 -c 'import socket, sys
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname()); peer = server.accept()[0]
print("ready", flush=True); open(sys.argv[1]).read()
client.sendall(b"still"); print(peer.recv(5).decode(), flush=True)' "$SCRATCH/go" >"$SCRATCH/own" 2>&1 3>&- &
	CONNECTED=$!
	wait_until 5 has_line "$SCRATCH/own" ready
	agent_crash
	agent_start "$AGENT_DIR"
	echo >"$SCRATCH/go"
	wait "$CONNECTED"
	expect_equal "$(paste -sd, "$SCRATCH/own")" ready,still
	expect_lacks "$(osh logs box)" "hooks were missing"
}

# Of a socket that no rule reaches nothing can be ended: whoever holds it stops, until somebody decides.
bring_outsider() {
	nsenter --net="/run/netns/$NET" /usr/bin/python3 -c 'import os, socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); os.set_inheritable(sock.fileno(), True)
open(sys.argv[1], "w").write(str(os.getpid())); os.execvp("tail", ["tail", "-f", "/dev/null", "--pid=" + sys.argv[2]])' \
		"$CG/cgroup.procs" $$ 3>&- &
	OUTSIDER=$!
	holds_two() { (($(wc -l <"$CG/cgroup.procs") == 2)); }
	wait_until 5 holds_two
}

@test "what got a socket from outside while hooks were missing is frozen by the next agent" {
	attach
	agent_crash
	detach_hooks
	bring_outsider
	agent_start "$AGENT_DIR"
	expect_equal "$(<"$CG/cgroup.freeze")" 1
	expect_contains "$(osh logs box)" "they are frozen until you detach it"
	agent_crash # the one after it lets them go no more than that
	agent_start "$AGENT_DIR"
	expect_equal "$(<"$CG/cgroup.freeze")" 1
	osh sandbox detach box
	expect_equal "$(<"$CG/cgroup.freeze")" 0
}

# F21, F01
@test "nor does it go on when that agent dies between any two steps" {
	local at
	for ((at = 1; ; at++)); do
		attach
		agent_crash
		detach_hooks
		bring_outsider
		! OSH_CRASH_AT=$at agent_start "$AGENT_DIR" 2>/dev/null || break
		agent_start "$AGENT_DIR"
		expect_equal "$(<"$CG/cgroup.freeze")" 1 "at point $at"
		osh sandbox detach box
		kill "$OUTSIDER"
		wait "$OUTSIDER" || true
	done
	expect_equal "$(<"$CG/cgroup.freeze")" 1
	((at > 2))
	agent_crash # it would go on counting
	agent_start "$AGENT_DIR"
}
