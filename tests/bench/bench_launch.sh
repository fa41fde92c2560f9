#!/bin/bash
# A sandbox from nothing to gone: `sandbox create --no-keep -- true` as a whole command, beside
# bubblewrap, which makes the same namespaces but has no network policy. Needs root.
set -euo pipefail

cd "$(dirname "$(readlink -f "$0")")/../.."
# shellcheck source=scripts/lib/bench.bash
. scripts/lib/bench.bash

ROUNDS=${ROUNDS:-51}
LIMIT_MS=15

ours() { osh sandbox create --no-keep -- /usr/bin/true; }

bubblewrap() {
	bwrap --unshare-all --ro-bind /usr /usr --ro-bind /etc /etc --symlink usr/bin /bin \
		--symlink usr/lib /lib --symlink usr/lib64 /lib64 --proc /proc --dev /dev \
		--tmpfs /tmp /usr/bin/true
}

# percentile FILE PERCENT
percentile() { sort -n "$1" | sed -n "$(((ROUNDS - 1) * $2 / 100 + 1))p"; }

# report NAME FILE
report() {
	printf '%-38s %8s ms median of %d (p90 %s)\n' "$1" "$(as_ms "$(percentile "$2" 50)")" \
		"$ROUNDS" "$(as_ms "$(percentile "$2" 90)")"
}

bench_begin
# Alternating, so that a busy machine slows both.
for ((round = 0; round < ROUNDS; round++)); do
	microseconds_of bubblewrap >>"$scratch/bwrap"
	microseconds_of ours >>"$scratch/ours"
done
report 'bubblewrap, all namespaces' "$scratch/bwrap"
report 'sandbox create --no-keep -- true' "$scratch/ours"
peer=$(percentile "$scratch/bwrap" 50)
mine=$(percentile "$scratch/ours" 50)
printf 'ratio %d.%02d; at most %d ms\n' $((mine / peer)) $((mine * 100 / peer % 100)) "$LIMIT_MS"
((mine <= LIMIT_MS * 1000))
