#!/bin/bash
# `policy set --wait` of 1,000 endpoints on a running sandbox: the whole command, from its
# start until every worker enforces the new revision. Needs root.
set -euo pipefail

cd "$(dirname "$(readlink -f "$0")")/../.."
# shellcheck source=scripts/lib/bench.bash
. scripts/lib/bench.bash

ROUNDS=21

write_policy() {
	local i
	printf 'version: 1\nnetwork_policies:\n  bench:\n    binaries: [{ path: /usr/bin/curl }]\n    endpoints:\n'
	for ((i = 0; i < 1000; i++)); do
		printf '      - { host: h%d.%s.test, port: 443, protocol: rest, enforcement: enforce, access: read-only }\n' "$i" "$1"
	done
}

bench_begin
osh sandbox create --name bench --policy tests/e2e/policies/github_push.yaml >/dev/null 2>&1
write_policy a >"$scratch/a.yaml"
write_policy b >"$scratch/b.yaml"
for ((round = 0; round < ROUNDS; round++)); do
	file=$scratch/a.yaml
	((round % 2)) || file=$scratch/b.yaml
	microseconds_of osh policy set bench --policy "$file" --wait
done | sort -n >"$scratch/times"
nth() { as_ms "$(sed -n "$1p" "$scratch/times")"; }
printf 'policy set --wait, 1,000 endpoints     %s ms median of %d (%s to %s; at most 10)\n' \
	"$(nth $(((ROUNDS + 1) / 2)))" "$ROUNDS" "$(nth 1)" "$(nth "$ROUNDS")"
