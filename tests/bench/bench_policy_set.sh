#!/bin/bash
# `policy set --wait` of 1,000 endpoints on a running sandbox: the whole command, from its
# start until every worker enforces the new revision. Needs root.
set -euo pipefail

cd "$(dirname "$(readlink -f "$0")")/../.."
export BUILD=$PWD/build
# shellcheck source=scripts/lib/common.bash
. scripts/lib/common.bash
# shellcheck source=scripts/lib/agent.bash
. scripts/lib/agent.bash

ROUNDS=21
scratch=$(mktemp -d)
world=bench-$$

clean_up() {
	"$BUILD/openshell" sandbox delete bench >/dev/null 2>&1 || true
	agent_stop || true
	scripts/world down "$world" || true
	rm -rf "$scratch"
}

write_policy() {
	local i
	printf 'version: 1\nnetwork_policies:\n  bench:\n    binaries: [{ path: /usr/bin/curl }]\n    endpoints:\n'
	for ((i = 0; i < 1000; i++)); do
		printf '      - { host: h%d.%s.test, port: 443, protocol: rest, enforcement: enforce, access: read-only }\n' "$i" "$1"
	done
}

# Milliseconds of one command, three digits behind the point.
milliseconds_of() {
	local start=${EPOCHREALTIME/./} end
	"$@" >/dev/null
	end=${EPOCHREALTIME/./}
	printf '%d.%03d\n' $(((end - start) / 1000)) $(((end - start) % 1000))
}

trap clean_up EXIT
# shellcheck source=/dev/null
. "$(scripts/world up "$world")"
agent_start "$scratch/agent"
"$BUILD/openshell" sandbox create --name bench --policy tests/e2e/policies/github_push.yaml >/dev/null 2>&1
write_policy a >"$scratch/a.yaml"
write_policy b >"$scratch/b.yaml"
for ((round = 0; round < ROUNDS; round++)); do
	file=$scratch/a.yaml
	((round % 2)) || file=$scratch/b.yaml
	milliseconds_of "$BUILD/openshell" policy set bench --policy "$file" --wait
done | sort -n >"$scratch/times"
printf 'policy set --wait, 1,000 endpoints     %s ms median of %d (%s to %s; at most 10)\n' \
	"$(sed -n "$(((ROUNDS + 1) / 2))p" "$scratch/times")" "$ROUNDS" \
	"$(head -n 1 "$scratch/times")" "$(tail -n 1 "$scratch/times")"
