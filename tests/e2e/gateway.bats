#!/usr/bin/env bats
# One's own host by its link-local alias: what /etc/hosts says of three names, and of no others.

load helpers

setup_file() {
	start_world
	SCRATCH=$(mktemp -d /tmp/openshell-e2e.XXXXXX)
	export SCRATCH
	chmod 0711 "$SCRATCH"
	cat >"$SCRATCH/hosts" <<-END
		169.254.7.1     host.openshell.internal sly.test
		169.254.169.254 host.docker.internal
	END
	chmod 0644 "$SCRATCH/hosts"
	# The agent alone sees it.
	# shellcheck disable=SC2034  # agent_start reads it
	AGENT_UNDER=(unshare --mount sh -c 'mount --bind "$0" /etc/hosts && exec "$@"' "$SCRATCH/hosts")
	agent_start "$SCRATCH/agent"
	export AGENT_DIR AGENT_PID AGENT_SOCKET
	make_sandbox guest gateway
}

teardown_file() { stop_all; }

@test "the alias of the host reaches its link-local address" {
	local canary
	canary=$(new_canary)
	fetch guest "http://host.openshell.internal/$canary"
	expect_status 200
	expect_equal "$(json 'b["host"]')" host.openshell.internal
	expect_arrived "$canary"
}

@test "no other name does" {
	local canary
	canary=$(new_canary)
	fetch guest "http://sly.test/$canary"
	expect_status 403
	expect_equal "$(json 'b["error"]')" ssrf_denied
	expect_contains "$(json 'b["detail"]')" "internal address"
	expect_absent "$canary"
}

# A28
@test "the metadata service is no host's alias" {
	fetch guest http://host.docker.internal/
	expect_status 403
	expect_equal "$(json 'b["error"]')" ssrf_denied
	expect_contains "$(json 'b["detail"]')" "trusted-gateway check failed"
	expect_equal "$(packets host 169.254.169.254)" 0 "packets to the metadata service"
}

@test "DNS is not asked where the host is" {
	fetch guest http://host.containers.internal/
	expect_status 502
	expect_contains "$(json 'b["detail"]')" "no such name in /etc/hosts"
	refute grep -qF host.containers.internal "$WORLD_DIR/dns.log"
}
