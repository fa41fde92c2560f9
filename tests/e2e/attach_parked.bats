#!/usr/bin/env bats
# A30: connections that are older than the rules and in no table of descriptors, or in one that is not the
# process's first thread's.

bats_require_minimum_version 1.5.0

load helpers
load attach

# park WAY CANARY: tests/e2e/parked.py in the cgroup; PARKED is its pid.
park() {
	[[ -p $SCRATCH/go ]] || mkfifo "$SCRATCH/go"
	: >"$SCRATCH/parked"
	in_cgroup /usr/bin/python3 "$E2E/parked.py" "$1" "$2" "$SCRATCH/go" >"$SCRATCH/parked" 3>&- &
	wait_until 5 has_line "$SCRATCH/parked" parked
	PARKED=$(head -n 1 "$SCRATCH/parked")
}
# go_on WORD: until it has told so.
go_on() {
	echo >"$SCRATCH/go"
	wait_until 5 has_line "$SCRATCH/parked" "$1"
}

# expect_refused WHAT: attach says so, and leaves nothing.
expect_refused() {
	run -1 osh sandbox attach --cgroup "$CG" --name box --policy "$(policy probe)" --allow-degraded
	expect_contains "$output" "process $PARKED holds $1, which no rule can reach"
	expect_contains "$output" "--keep-established"
	run -1 osh sandbox get box
}

# expect_parked WAY WHAT: refused for it; ended once it is a connection like others.
expect_parked() {
	local canary
	canary=$(new_canary)
	park "$1" "$canary"
	expect_refused "$2"
	go_on taken
	attach
	go_on ended
	expect_absent "$canary"
	osh sandbox detach box
}

# expect_kept WAY RECORD: with --keep-established it goes on, with a record.
expect_kept() {
	park "$1" "$(new_canary)"
	OPTION=--keep-established run attach
	expect_equal "$output" box
	expect_contains "$(osh logs box)" "process $PARKED keeps $2"
	osh sandbox detach box
	kill "$PARKED"
	wait_until 5 is_gone "$PARKED"
}

@test "descriptors under way in a Unix socket are a reason to refuse, or recorded" {
	local way
	for way in stream datagram seqpacket unaccepted; do
		expect_parked "$way" "descriptors that are under way in a Unix socket"
		expect_kept "$way" "descriptors that are under way in a Unix socket, which no rule can reach"
	done
}

@test "files registered with an io_uring are a reason to refuse, or recorded" {
	[[ $(cat /proc/sys/kernel/io_uring_disabled 2>/dev/null || echo 0) != 2 ]] || skip "this kernel has no io_uring"
	expect_parked ring "files registered with an io_uring"
	expect_kept ring "files registered with an io_uring, which no rule can reach"
}

# On Linux before 6.9 nobody gets at them.
@test "a thread's own table is looked through, also when the first thread has ended" {
	local canary way
	for way in thread orphan; do
		canary=$(new_canary)
		park "$way" "$canary"
		if reaches_threads; then
			attach
			go_on ended
			expect_absent "$canary"
			osh sandbox detach box
		else
			expect_refused "a socket in a thread's own table"
			go_on sent
		fi
		wait_until 5 is_gone "$PARKED"
		canary=$(new_canary)
		park "$way" "$canary"
		OPTION=--keep-established run attach
		expect_equal "$output" box
		expect_contains "$(osh logs box)" "process $PARKED keeps "
		go_on sent
		if reaches_threads; then
			expect_arrived "$canary"
		else
			expect_absent "$canary" # made in there: the packets' guard holds it
		fi
		osh sandbox detach box
		wait_until 5 is_gone "$PARKED"
	done
}

# pidfd_open with PIDFD_THREAD
reaches_threads() {
	/usr/bin/python3 -c 'import os; os.pidfd_open(os.getpid(), os.O_EXCL)' 2>/dev/null
}

# So it is with an older kernel, which does not know the flag.
@test "a thread's own table that is out of reach is a reason to refuse, or recorded" {
	local canary call way
	canary=$(new_canary)
	reaches_threads || return 0 # the test before this one has shown it
	park thread "$(new_canary)"
	with_strace -o "$SCRATCH/calls" -e trace=pidfd_open
	OPTION=--keep-established attach
	end_strace
	osh sandbox detach box
	go_on sent
	wait_until 5 is_gone "$PARKED"
	call=$(grep pidfd_open "$SCRATCH/calls" | awk '/, 0x80|O_EXCL|PIDFD_THREAD/ { print NR; exit }')
	[[ $call ]] || fail "no such call: $(<"$SCRATCH/calls")"
	park thread "$canary"
	for way in refused kept; do
		with_strace -o /dev/null -e trace=pidfd_open -e "inject=pidfd_open:error=EINVAL:when=$call"
		if [[ $way == refused ]]; then
			expect_refused "a socket in a thread's own table"
		else
			OPTION=--keep-established attach
			expect_contains "$(osh logs box)" "process $PARKED keeps a socket in a thread's own table"
		fi
		end_strace
	done
	go_on sent
	expect_absent "$canary" # made in there: the packets' guard holds it
}
