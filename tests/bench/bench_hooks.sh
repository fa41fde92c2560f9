#!/bin/bash
# What the kernel half adds to an exec and to a connect inside a sandbox, by the kernel's own
# BPF statistics: all of the hook's time, divided by how often it ran. Needs root.
set -euo pipefail

cd "$(dirname "$(readlink -f "$0")")/../.."
export BUILD=$PWD/build
# shellcheck source=scripts/lib/common.bash
. scripts/lib/common.bash
# shellcheck source=scripts/lib/agent.bash
. scripts/lib/agent.bash

EXECS=2000
CONNECTS=2000
STATS=/proc/sys/kernel/bpf_stats_enabled
scratch=$(mktemp -d)
world=bench-$$
before=$(<$STATS)

clean_up() {
	echo "$before" >$STATS
	"$BUILD/openshell" sandbox delete bench >/dev/null 2>&1 || true
	agent_stop || true
	scripts/world down "$world" || true
	rm -rf "$scratch"
}

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
	"$BUILD/openshell" sandbox exec bench -- "$@" >/dev/null
	read -r time1 runs1 < <(ran "$program")
	awk -v what="$what" -v ns=$((time1 - time0)) -v runs=$((runs1 - runs0)) -v bound="$bound" \
		'BEGIN { printf "%-38s %.2f us mean of %d (at most %d)\n", what, ns / runs / 1000, runs, bound }'
}

trap clean_up EXIT
# shellcheck source=/dev/null
. "$(scripts/world up "$world")"
agent_start "$scratch/agent"
"$BUILD/openshell" sandbox create --name bench --policy tests/e2e/policies/probe.yaml >/dev/null 2>&1
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
measure "connect hook, refused and recorded" osh_connect4 20 python3 -c "$(connects 203.0.113.10 9)"
