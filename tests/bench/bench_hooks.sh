#!/bin/bash
# What the kernel half adds to an exec and to a connect inside a sandbox, by the kernel's own
# BPF statistics: all of the hook's time, divided by how often it ran. And a connect that the
# kernel denies from its cache beside one outside that a closed port refuses. Needs root.
set -euo pipefail

cd "$(dirname "$(readlink -f "$0")")/../.."
# shellcheck source=scripts/lib/bench.bash
. scripts/lib/bench.bash

EXECS=2000
CONNECTS=2000
STATS=/proc/sys/kernel/bpf_stats_enabled
before=$(<$STATS)

end_more() { echo "$before" >$STATS; }

# ran NAME: run time in ns and runs so far, of this agent's program: the one loaded last.
ran() {
	bpftool -j prog show | /usr/bin/python3 -c '
import json, sys
mine = [p for p in json.load(sys.stdin) if p.get("name") == sys.argv[1][:15]]
last = max(mine, key=lambda p: p["id"])
print(last.get("run_time_ns", 0), last.get("run_cnt", 0))' "$1"
}

# measure WHAT PROGRAM BOUND_US COMMAND...
measure() {
	local what=$1 program=$2 bound=$3 time0 runs0 time1 runs1
	shift 3
	read -r time0 runs0 < <(ran "$program")
	osh sandbox exec bench -- "$@" >/dev/null
	read -r time1 runs1 < <(ran "$program")
	awk -v what="$what" -v ns=$((time1 - time0)) -v runs=$((runs1 - runs0)) -v bound="$bound" \
		'BEGIN { printf "%-38s %.2f us mean of %d (at most %d)\n", what, ns / runs / 1000, runs, bound }'
}

bench_begin
osh sandbox create --name bench --policy tests/e2e/policies/probe.yaml >/dev/null 2>&1
# Python under a name that no policy names.
osh sandbox exec bench -- cp /usr/bin/python3 /sandbox/unnamed
echo 1 >$STATS
# shellcheck disable=SC2016  # for the shell inside
measure "exec hook" osh_on_exec 5 sh -c 'i=0; while [ $i -lt '$EXECS' ]; do /usr/bin/true; i=$((i + 1)); done'
# connects ADDRESS PORT
connects() {
	printf '%s' "
import socket
to = (socket.gethostbyname('$1'), $2)
for i in range($CONNECTS):
    with socket.socket() as s:
        try: s.connect(to)
        except OSError: pass"
}
measure "connect hook, led to the agent" osh_connect4 2 python3 -c "$(connects ok.test 443)"
measure "connect hook, refused and recorded" osh_connect4 2 python3 -c "$(connects 203.0.113.10 9)"
echo 0 >$STATS # which costs, too

# Median ns of one connect that fails with ERROR. Denied by the proxy at first, then by the kernel.
refused() {
	printf '%s' "
import errno, socket, statistics, sys, time
to, error, took = (socket.gethostbyname('$1'), $2), errno.$3, []
def refused():
    sock = socket.socket()
    try: sock.connect(to)
    except OSError as e: return e.errno == error
    finally: sock.close()
while not refused(): pass
for i in range($CONNECTS):
    sock = socket.socket()
    start = time.perf_counter_ns()
    sock.connect_ex(to)
    took.append(time.perf_counter_ns() - start)
    sock.close()
print(int(statistics.median(took)))"
}
denied=() plain=()
for _ in 1 2 3; do
	denied+=("$(osh sandbox exec bench -- /sandbox/unnamed -c "$(refused l4.test 5432 EPERM)")")
	plain+=("$(nsenter --net="$WORLD_PX" /usr/bin/python3 -c "$(refused 127.0.0.1 9 ECONNREFUSED)")")
done
awk -v denied="$(printf '%s\n' "${denied[@]}" | sort -n | head -n 1)" -v plain="$(printf '%s\n' "${plain[@]}" | sort -n | head -n 1)" \
	'BEGIN { printf "%-38s %.2f times %.1f us of a closed port on loopback (at most 1.2)\n", "connect, denied from the cache", denied / plain, plain / 1000 }'
