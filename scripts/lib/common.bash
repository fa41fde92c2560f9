# shellcheck shell=bash
# What every script here shares: errors, and waiting for something with a deadline.

die() {
	echo "${0##*/}: $*" >&2
	exit 1
}

# A short pause between two looks, without a process.
pause() {
	[[ ${idle_fd:-} ]] || exec {idle_fd}<> <(:)
	read -r -t 0.02 -u "$idle_fd" || true
}

# wait_until SECONDS COMMAND...: until the command succeeds; 1 when time is up. That is thrice the seconds,
# for a machine that is busy with other work: what is awaited comes long before, and a bound that is promised
# is measured, not waited for. OSH_TIME_SCALE stretches it on a machine that is that much slower.
wait_until() {
	local deadline=$((SECONDS + 3 * $1 * ${OSH_TIME_SCALE:-1}))
	shift
	until "$@"; do
		((SECONDS <= deadline)) || return 1
		pause
	done
}

# is_gone PID: it ended (a zombie, which its parent has yet to reap, counts).
is_gone() {
	local state
	state=$(awk '/^State:/ { print $2 }' "/proc/$1/status" 2>/dev/null) || return 0
	[[ -z $state || $state == Z ]]
}

# has_line FILE PATTERN (extended regular expression)
has_line() {
	grep -qE -- "$2" "$1" 2>/dev/null
}
