#!/bin/bash
# Ten thousand TLS flows that stand idle after one request: what each costs the proxy in memory,
# and what a new one has to wait meanwhile. Two sandboxes hold half of them each. Needs root.
set -euo pipefail

cd "$(dirname "$(readlink -f "$0")")/../.."
# shellcheck source=scripts/lib/bench.bash
. scripts/lib/bench.bash

FLOWS=${FLOWS:-10000}
LIMIT_KIB=40

make_sandbox() {
	osh sandbox create --name "$1" --policy tests/e2e/policies/probe.yaml </dev/null >/dev/null 2>&1
	osh sandbox exec "$1" -- sh -c 'cat >/sandbox/crowd.py' <tests/e2e/crowd.py
}

crowd() { osh sandbox exec "$1" -- /usr/bin/python3 /sandbox/crowd.py "${@:2}"; }

# hold NAME: half of the flows, until the descriptor `hold` is closed.
hold() {
	crowd "$1" park ok.test $((FLOWS / 2)) <"$scratch/hold" >"$scratch/held.$1" 2>&1 &
	clients+=("$!")
}

rss_kib() { awk '/^VmRSS/ { print $2 }' "/proc/$proxy/status"; }

bench_begin
make_sandbox left
make_sandbox right
proxy=$(osh status -o json | /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)["proxy_pid"])')
clients=()
calm_ms=$(crowd left pace ok.test 500)
before=$(rss_kib)
mkfifo "$scratch/hold"
exec {hold}<>"$scratch/hold"
hold left
hold right
for name in left right; do
	wait_until 300 has_line "$scratch/held.$name" . || die "no idle flows"
	expected="held $((FLOWS / 2)) 0"
	[[ $(tail -n 1 "$scratch/held.$name") == "$expected" ]] || die "$(tail -n 1 "$scratch/held.$name")"
done
crowded_ms=$(crowd left pace ok.test 500)
each=$((($(rss_kib) - before) * 10 / FLOWS))
printf '%d idle TLS flows: %d.%d KiB each, at most %d\n' "$FLOWS" $((each / 10)) $((each % 10)) "$LIMIT_KIB"
printf 'a new flow and a request on it, p99: %s ms beside them, %s ms without\n' "$crowded_ms" "$calm_ms"
kill "${clients[@]}"
wait "${clients[@]}" || true
((each <= LIMIT_KIB * 10))
