#!/bin/bash
# Two hundred sandboxes at once: what each costs in memory, how soon the next agent has them all
# again, what a deletion takes, and whether others notice a policy that one of them gets. Needs root.
set -euo pipefail

cd "$(dirname "$(readlink -f "$0")")/../.."
# shellcheck source=scripts/lib/bench.bash
. scripts/lib/bench.bash

COUNT=${COUNT:-200}
EACH_KIB=1536 ADOPTED_MS=1000 DELETED_MS=20
ROUNDS=21
policy=tests/e2e/policies/probe.yaml
status=0

# bound VALUE MOST: remembers a figure that is over its bound.
bound() { (($1 <= $2)) || status=1; }

median() { sort -n | sed -n "$(((ROUNDS + 1) / 2))p"; }

pss_of() { awk '/^Pss:/ { kib += $2 } END { print kib + 0 }' "/proc/$1/smaps_rollup" 2>/dev/null || echo 0; }

# Of every process of ours: the agent and its children, proxy and inits.
processes_kib() {
	local pid sum=0
	for pid in "$AGENT_PID" $(pgrep -P "$AGENT_PID"); do
		sum=$((sum + $(pss_of "$pid")))
	done
	echo "$sum"
}

# What the kernel holds for itself: objects, stacks, page tables, what is per processor. Caches that
# it would give back are not counted.
kernel_kib() { awk '/^(SUnreclaim|KernelStack|PageTables|Percpu):/ { kib += $2 } END { print kib }' /proc/meminfo; }

make_sandboxes() {
	local i
	for ((i = 1; i <= COUNT; i++)); do
		osh sandbox create --name "s$i" --policy "$policy" </dev/null >/dev/null 2>&1
	done
}

measure_memory() {
	local processes kernel
	osh sandbox create --name first --policy "$policy" </dev/null >/dev/null 2>&1 # what is there once
	processes=$(processes_kib) kernel=$(kernel_kib)
	make_sandboxes
	processes=$((($(processes_kib) - processes) / COUNT)) kernel=$((($(kernel_kib) - kernel) / COUNT))
	printf '%d sandboxes: %d KiB each (at most %d): %d of processes, %d of the kernel\n' "$COUNT" \
		$((processes + kernel)) "$EACH_KIB" "$processes" "$kernel"
	bound $((processes + kernel)) "$EACH_KIB"
}

least() { sort -n "$1" | head -n 1; }

# From its start until it answers: then all are adopted. The best of three, as below.
measure_adoption() {
	local took start
	for _ in 1 2 3; do
		agent_crash
		start=${EPOCHREALTIME/./}
		agent_start "$scratch/agent"
		echo $(((${EPOCHREALTIME/./} - start) / 1000)) >>"$scratch/adopted"
		(($(osh sandbox list -o json | grep -c '"running"') == COUNT + 1)) || die "not all were adopted"
	done
	took=$(least "$scratch/adopted")
	printf 'adoption of %d: %d ms (at most %d)\n' "$COUNT" "$took" "$ADOPTED_MS"
	bound "$took" "$ADOPTED_MS"
}

# p99 in microseconds of requests on a kept connection in another sandbox, for four seconds.
p99_us() {
	osh sandbox exec first -- /usr/bin/python3 - <<-'END'
		import http.client, time
		c = http.client.HTTPSConnection("ok.test")
		times, end = [], time.monotonic() + 4
		while time.monotonic() < end:
		    start = time.monotonic_ns()
		    c.request("GET", "/pub/x")
		    c.getresponse().read()
		    times.append(time.monotonic_ns() - start)
		print(sorted(times)[len(times) * 99 // 100] // 1000)
	END
}

# Ten times a second, with one policy and the other in turn.
repeat() {
	local file
	while :; do
		for file in tests/e2e/policies/probe_more.yaml "$policy"; do
			"$@" "$file" >/dev/null 2>&1
			read -r -t 0.1 <> <(:) || true
		done
	done
}

set_policy() { osh policy set s1 --policy "$1" --wait; }
validate() { osh policy validate "$1"; }

# p99_beside COMMAND...: of the requests while that is repeated.
p99_beside() {
	local other
	repeat "$@" &
	other=$!
	p99_us
	kill "$other"
	wait "$other" 2>/dev/null || true
}

# The command costs its processor time wherever the policy goes: so it is held against one that reads the
# same policies and tells nobody. In turn, and of each the best: others may be at work on the machine.
measure_neighbours() {
	local reading setting
	for _ in 1 2 3; do
		p99_beside validate >>"$scratch/reading"
		p99_beside set_policy >>"$scratch/setting"
	done
	reading=$(least "$scratch/reading") setting=$(least "$scratch/setting")
	printf 'p99 of requests in another sandbox: %d us while policies are set ten times a second, %d us while they are read\n' \
		"$setting" "$reading"
	bound "$setting" $((reading * 3 / 2))
}

measure_deletion() {
	local took i
	took=$(for ((i = 1; i <= ROUNDS; i++)); do microseconds_of osh sandbox delete "s$i"; done | median)
	took=$((took / 1000))
	printf 'deletion of one of them, the whole command: %d ms median of %d (at most %d)\n' "$took" "$ROUNDS" "$DELETED_MS"
	bound "$took" "$DELETED_MS"
}

bench_begin
measure_memory
measure_adoption
measure_neighbours
measure_deletion
exit "$status"
