#!/usr/bin/env bats
# A sandbox on a terminal: what a person at the keyboard gets.

load helpers

setup_file() {
	start_all
	export TMUX_SOCKET=osh-$$
}

teardown_file() {
	tmux -L "$TMUX_SOCKET" kill-server 2>/dev/null
	stop_all
}

teardown() { tmux -L "$TMUX_SOCKET" kill-session -t t 2>/dev/null || true; }

# open_terminal ARGUMENT...: `openshell ARGUMENT...` in a terminal of 100 x 30.
open_terminal() {
	tmux -L "$TMUX_SOCKET" -f /dev/null new-session -d -s t -x 100 -y 30 \
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
	press C-c
	expect_screen 'interrupted=130|\^C'
	type_line 'echo still=here$((1+1))'
	expect_screen 'still=here2'
	type_line 'tail -f /dev/null & jobs; kill %1; wait; echo jobs=done$((1+1))'
	expect_screen 'jobs=done2'
	press C-d
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
