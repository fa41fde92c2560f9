#!/usr/bin/env bats
# A sandbox on a terminal: what a person at the keyboard gets.

load helpers

bats_require_minimum_version 1.5.0

setup_file() {
	start_all
	start_tmux
}

teardown_file() {
	stop_tmux
	stop_all
}

teardown() {
	tmux -L "$TMUX_SOCKET" kill-session -t t 2>/dev/null || true
	osh sandbox delete shelly 2>/dev/null || true # of a test that failed
	! [[ -d $(grown) ]] || remove_grown
}

# A cgroup of somebody else's.
grown() { echo "$(cgroup_mount)/$WORLD_NAME-grown"; }
remove_grown() {
	osh sandbox detach grown 2>/dev/null || true
	echo 1 >"$(grown)/cgroup.kill"
	wait_until 5 grep -q "populated 0" "$(grown)/cgroup.events"
	rmdir "$(grown)"
}

# open_terminal ARGUMENT...: `openshell ARGUMENT...` in a terminal of 100 x 30, with the caller's PATH.
open_terminal() {
	tmux -L "$TMUX_SOCKET" new-session -d -s t -x 100 -y 30 -e "PATH=$PATH" \
		"'$BUILD/openshell' --socket '$AGENT_SOCKET' $*; echo ended \$?; stty -a | grep -o ' icanon'; exec cat" 3>&-
}

screen() { tmux -L "$TMUX_SOCKET" capture-pane -p -t t; }
shows() { screen | grep -qE -- "$1"; }
press() { tmux -L "$TMUX_SOCKET" send-keys -t t "$@"; }
type_line() { press -l "$1" && press Enter; }
expect_screen() { wait_until 10 shows "$1" || fail "the screen lacks '$1':" "$(screen)"; }

@test "create -- bash: a shell on a terminal of its own; the sandbox keeps running" {
	open_terminal sandbox create --name shelly --policy "$(policy probe)" -- bash
	expect_screen '[$#] ?$'
	type_line 'echo answer=$((6*7)) on $(tty)'
	expect_screen 'answer=42 on /dev/pts/'
	type_line 'stty size'
	expect_screen '^30 100'
	tmux -L "$TMUX_SOCKET" resize-window -t t -x 90 -y 25
	type_line 'stty size; echo'
	expect_screen '^25 90'
	type_line 'exit 6'
	expect_screen 'ended 6'
	expect_screen icanon
	run osh sandbox get shelly
	expect_equal "$status" 0
	osh sandbox delete shelly
}

@test "Ctrl-C interrupts the program inside, not the connection; job control works" {
	make_sandbox shelly probe
	open_terminal sandbox connect shelly
	expect_screen '[$#] ?$'
	type_line 'tail -f /dev/null; echo interrupted=$?'
	type_line ''
	wait_until 5 runs shelly tail
	press C-c
	expect_screen 'interrupted=130|\^C'
	type_line 'echo still=here$((1+1))'
	expect_screen 'still=here2'
	type_line 'tail -f /dev/null & jobs; kill %1; wait; echo jobs=done$((1+1))'
	expect_screen 'jobs=done2'
	type_line exit
	expect_screen 'ended [0-9]'
	osh sandbox delete shelly
}

@test "a terminal that goes away hangs the program up" {
	make_sandbox shelly probe
	open_terminal sandbox exec shelly -- sh -c "'echo pid=\$\$; exec tail -f /dev/null'"
	expect_screen 'pid=[0-9]+'
	tmux -L "$TMUX_SOCKET" kill-session -t t
	alone() { [[ $(inside shelly sh -c 'cat /proc/[0-9]*/comm' | grep -c '^tail$') == 0 ]]; }
	wait_until 5 alone
	osh sandbox delete shelly
}

@test "hostile output cannot type on the caller's terminal" {
	make_sandbox shelly probe
	open_terminal sandbox exec shelly -- python3 -c "'import fcntl, termios; fcntl.ioctl(0, termios.TIOCSTI, b\"x\")'"
	expect_screen 'Error|ended [1-9]'
	osh sandbox delete shelly
}

# ---- The first command, and who looks at it ----------------------------------------------

# runs NAME COMMAND: a process inside has that name.
runs() { inside "$1" sh -c 'cat /proc/[0-9]*/comm' | grep -qx "$2"; }
runs_not() { ! runs "$@"; }

@test "Ctrl-P Ctrl-Q leaves the first command running, attach-main finds it again" {
	open_terminal sandbox create --name shelly --policy "$(policy probe)" -- bash
	expect_screen '[$#] ?$'
	type_line 'echo before=$((40+2))'
	expect_screen 'before=42'
	press C-p C-q
	expect_screen 'attach-main shelly'
	expect_screen 'ended 0'
	expect_screen icanon
	runs shelly bash
	tmux -L "$TMUX_SOCKET" kill-session -t t

	open_terminal sandbox attach-main shelly
	expect_screen 'before=42' # replayed
	type_line 'stty size; echo after=$((40+3))'
	expect_screen '^30 100'
	expect_screen 'after=43'
	# Held back until the next key, then both arrive: the history's last line.
	press C-p y
	type_line 'z; echo typed'
	expect_screen 'after=\$\(\(40\+3\)\)yz'
	type_line 'exit 9'
	expect_screen 'ended 9'
	# Also when it has ended.
	run osh sandbox attach-main shelly </dev/null
	expect_equal "$status" 9
	expect_contains "$output" 'before=42'
	osh sandbox delete shelly
}

@test "the first command outlives a terminal that goes away, a connected shell does not" {
	open_terminal sandbox create --name shelly --policy "$(policy probe)" -- sh -c "'echo up; exec tail -f /dev/null'"
	expect_screen '^up'
	tmux -L "$TMUX_SOCKET" kill-session -t t
	open_terminal sandbox exec shelly -- sh -c "'echo up; exec sleep 1000'"
	expect_screen '^up'
	tmux -L "$TMUX_SOCKET" kill-session -t t
	wait_until 5 runs_not shelly sleep
	runs shelly tail
	osh sandbox delete shelly
}

@test "detached from a connected shell, it goes on" {
	make_sandbox shelly probe
	open_terminal sandbox connect shelly
	expect_screen '[$#] ?$'
	type_line 'tail -f /dev/null'
	wait_until 5 runs shelly tail
	press C-p C-q
	expect_screen 'detached: it goes on in sandbox shelly'
	expect_screen 'ended 0'
	tmux -L "$TMUX_SOCKET" kill-session -t t
	# What would have been hung up with it has been by now.
	open_terminal sandbox exec shelly -- sh -c "'echo up; exec sleep 1000'"
	expect_screen '^up'
	tmux -L "$TMUX_SOCKET" kill-session -t t
	wait_until 5 runs_not shelly sleep
	runs shelly tail
	osh sandbox delete shelly
}

@test "two who are attached see and type the same; a second agent lets them" {
	osh sandbox create --name shelly --policy "$(policy probe)" --detach -- bash
	open_terminal sandbox attach-main shelly
	expect_screen '[$#] ?$'
	agent_crash
	expect_screen 'was lost'
	tmux -L "$TMUX_SOCKET" kill-session -t t
	agent_start "$AGENT_DIR"
	open_terminal sandbox attach-main shelly
	# What is piped in is typed; its end is not the end of a terminal that others use.
	run -0 timeout 20 "$BUILD/openshell" sandbox attach-main shelly < <(echo 'echo both=$((40+2)); exit 0')
	expect_contains "$output" both=42
	expect_screen 'both=42'
	expect_screen 'ended 0'
	osh sandbox delete shelly
}

@test "statuses, signals and a time limit come through a terminal too" {
	make_sandbox shelly probe
	run -5 osh sandbox exec shelly --tty -- sh -c 'exit 5' </dev/null
	run -143 osh sandbox exec shelly --tty -- sh -c 'kill -TERM $$' </dev/null
	run -124 osh sandbox exec shelly --tty --timeout 1 -- sleep 1000 </dev/null
	expect_contains "$output" "had not ended after 1 s"
	runs_not shelly sleep
	# All that was written arrives before the status, however much it is.
	run osh sandbox exec shelly --tty -- sh -c 'seq 1 100000; exit 3' </dev/null
	expect_equal "$status" 3
	expect_equal "$(tr -d '\r' <<<"${lines[-1]}")" 100000
	osh sandbox delete shelly
}

@test "attach-main replays the last MiB, and loses nothing from then on" {
	osh sandbox create --name shelly --policy "$(policy probe)" --detach -- sh -c 'seq 400000; read -r go; seq 400001 900000' >/dev/null
	wrote_all() { timeout 2 "$BUILD/openshell" sandbox attach-main shelly </dev/null | tail -c 20 | grep -q 400000; }
	wait_until 20 wrote_all
	osh sandbox attach-main shelly >"$SCRATCH/out" < <(echo)
	/usr/bin/python3 - "$SCRATCH/out" <<'END'
import sys
text = open(sys.argv[1], newline="").read()
lines = [l for l in text.split("\r\n") if l]
first = int(lines[1])  # the first may be cut
assert 390000 > first > 100000, first
assert lines[-1] == "900000", lines[-1]
want = first
for line in lines[1:]:
    assert int(line) == want, (line, want)
    want += 1
END
	osh sandbox delete shelly
}

@test "attach-main of another user's sandbox, or of one without a first command, is refused" {
	make_sandbox bare probe
	run osh sandbox attach-main bare </dev/null
	expect_equal "$status" 1
	expect_contains "$output" "no first command"
	run osh sandbox attach-main nobody </dev/null
	expect_equal "$status" 1
	osh sandbox create --name mine --policy "$(policy probe)" --detach -- cat >/dev/null
	chmod 0666 "$AGENT_SOCKET"
	run setpriv --reuid 65534 --regid 65534 --clear-groups "$BUILD/openshell" sandbox attach-main mine </dev/null
	chmod 0600 "$AGENT_SOCKET"
	expect_equal "$status" 1
	expect_contains "$output" "belongs to another user"
	osh sandbox delete bare mine
}

@test "start runs the first command again, or another one" {
	# shellcheck disable=SC2016  # for the shell inside
	osh sandbox create --name again --policy "$(policy probe)" --detach -- sh -c 'echo run $(($(cat /sandbox/n 2>/dev/null || echo 0) + 1)) | tee /sandbox/line; tr -dc 0-9 </sandbox/line >/sandbox/n; exec tail -f /dev/null' >/dev/null
	said() { timeout 2 "$BUILD/openshell" sandbox attach-main again </dev/null | grep -q "$1"; }
	wait_until 10 said 'run 1'
	BODY=$(osh sandbox get again -o json)
	expect_contains "$(json 'b["command"]')" "echo run"
	osh sandbox stop again
	osh sandbox start again
	wait_until 10 said 'run 2'
	osh sandbox stop again
	osh sandbox start again -- sh -c 'echo another; exit 5'
	run -5 osh sandbox attach-main again </dev/null
	expect_contains "$output" another
	osh sandbox stop again
	run -1 osh sandbox start again -- no-such-program
	expect_contains "$output" "no such command"
	expect_contains "$output" "stopped again"
	osh sandbox start again
	run -5 osh sandbox attach-main again </dev/null
	osh sandbox delete again
}

@test "what takes long counts its seconds in one line, which goes away" {
	local agent
	agent=$(<"$AGENT_DIR/agent.pid") # a test before may have started another one
	kill -STOP "$agent"
	open_terminal sandbox list
	wait_until 10 shows 'waiting for the agent \.\.\. [2-9] s' || { kill -CONT "$agent"; fail "$(screen)"; }
	expect_equal "$(screen | grep -c waiting)" 1
	kill -CONT "$agent"
	expect_screen 'ended 0'
	refute shows waiting
	shows '^NAME'
}

hold_agent() { kill -STOP "$(<"$AGENT_DIR/agent.pid")"; }
release_agent() { kill -CONT "$(<"$AGENT_DIR/agent.pid")"; }

# long_on_terminal DOING ARGUMENT...: the agent is held until a line says so; at the end there is none.
long_on_terminal() {
	hold_agent
	open_terminal "${@:2}"
	wait_until 10 shows "^$1 \.\.\. [1-9][0-9]* s" || { release_agent; fail "no line '$1':" "$(screen)"; }
	release_agent
	expect_screen 'ended 0'
	refute shows "$1"
	tmux -L "$TMUX_SOCKET" kill-session -t t
}

# long_in_file DOING ARGUMENT...: one whole line where errors go, nothing that counts or is taken back.
long_in_file() {
	local out=$SCRATCH/long.out err=$SCRATCH/long.err asker
	: >"$err"
	hold_agent
	osh "${@:2}" >"$out" 2>"$err" </dev/null 3>&- &
	asker=$!
	wait_until 10 has_line "$err" "^openshell: $1 \.\.\.$" || { release_agent; fail "no line '$1':" "$(<"$err")"; }
	release_agent
	wait "$asker"
	expect_equal "$(grep -c "$1" "$err")" 1 "lines of $1"
	refute grep -qP '\r|\e|\d s$' "$err"
	refute grep -q "$1" "$out"
}

@test "what takes long says what it is: creating, stopping, starting, deleting, attaching, detaching" {
	local way group
	group=$(grown)
	mkdir "$group"
	# shellcheck disable=SC2016  # for the inner shell
	unshare --net bash -c 'echo $$ >"$1/cgroup.procs" && exec tail -f /dev/null' _ "$group" 3>&- &
	wait_until 5 grep -q "populated 1" "$group/cgroup.events"
	for way in long_on_terminal long_in_file; do
		"$way" "creating the sandbox" sandbox create --name shelly --policy "$(policy probe)" -- true
		"$way" "stopping sandbox shelly" sandbox stop shelly
		"$way" "starting the sandbox" sandbox start shelly
		"$way" "deleting sandbox shelly" sandbox delete shelly
		"$way" attaching sandbox attach --cgroup "$group" --name grown --policy "$(policy probe)" --allow-degraded
		"$way" "detaching sandbox grown" sandbox detach grown
	done
}

# A tar for who is given this PATH, which begins when somebody writes to its pipe, and not before.
held_tar() {
	mkdir -p "$SCRATCH/held"
	mkfifo "$SCRATCH/begin"
	printf '#!/bin/sh\nread -r _ <"%s"\nexec "%s" "$@"\n' "$SCRATCH/begin" "$(command -v tar)" >"$SCRATCH/held/tar"
	chmod +x "$SCRATCH/held/tar"
	echo "$SCRATCH/held:$PATH"
}

@test "cp that takes long says so on a terminal, and once in a file" {
	local asker path
	make_sandbox shelly probe
	path=$(held_tar)
	echo what is copied >"$SCRATCH/file"
	PATH=$path open_terminal sandbox cp "$SCRATCH/file" shelly:/sandbox/one
	expect_screen '^copying \.\.\. [1-9][0-9]* s'
	echo >"$SCRATCH/begin"
	expect_screen 'ended 0'
	refute shows copying
	PATH=$path osh sandbox cp "$SCRATCH/file" shelly:/sandbox/two >"$SCRATCH/long.out" 2>"$SCRATCH/long.err" 3>&- &
	asker=$!
	wait_until 10 has_line "$SCRATCH/long.err" '^openshell: copying \.\.\.$' || fail "$(<"$SCRATCH/long.err")"
	echo >"$SCRATCH/begin"
	wait "$asker"
	expect_equal "$(<"$SCRATCH/long.out")$(grep -v 'waiting for the agent' "$SCRATCH/long.err")" "openshell: copying ..."
	expect_equal "$(inside shelly cat /sandbox/one /sandbox/two)" "$(cat "$SCRATCH/file" "$SCRATCH/file")"
	osh sandbox delete shelly
}
