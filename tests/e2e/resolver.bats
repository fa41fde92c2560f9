#!/usr/bin/env bats
# What the host says of names, /etc/hosts and /etc/resolv.conf, is replaced while the agent runs.

load helpers

# The agent's own /etc, and no servers but those of its resolv.conf.
setup_file() {
	start_world
	make_scratch
	cp -a /etc "$SCRATCH/etc"
	say_hosts ""
	say_servers 203.0.113.98 # nobody
	# shellcheck disable=SC2034  # agent_start reads it
	AGENT_UNDER=(unshare --mount sh -c 'mount --bind "$0" /etc && exec "$@"' "$SCRATCH/etc")
	agent_start "$SCRATCH/agent"
	export AGENT_DIR AGENT_PID AGENT_SOCKET
	make_sandbox box probe
	make_sandbox guest gateway
	put box "$E2E/names.py" /sandbox/names.py
	put guest "$E2E/names.py" /sandbox/names.py
}

# address_in NAME HOST: by DNS, whatever the hosts file in there says.
address_in() { inside "$1" /usr/bin/python3 /sandbox/names.py ask "$2" | cut -d' ' -f2; }

teardown_file() { stop_all; }

eval "whole_$(declare -f agent_config)"
agent_config() { whole_agent_config | grep -v '^dns_servers'; }

# replace FILE: by standard input, as most programs do it.
replace() {
	cat >"$SCRATCH/etc/$1.new"
	chmod 0644 "$SCRATCH/etc/$1.new"
	mv "$SCRATCH/etc/$1.new" "$SCRATCH/etc/$1"
}
say_hosts() { printf '127.0.0.1 localhost\n%s\n' "$1" | replace hosts; }
say_servers() { echo "nameserver $1" | replace resolv.conf; }
queries() { wc -l <"$WORLD_DIR/dns.log"; }

# F23
@test "servers that are replaced: a question under way and new ones are answered by the new" {
	inside box curl -sS -m 30 -o /dev/null -w '%{http_code}' https://ok.test/pub/x >"$SCRATCH/waits" 2>&1 3>&- &
	wait_until 10 asked_nobody
	say_servers "$WORLD_DNS"
	fetch box https://skip.test/pub/x -k
	expect_status 200
	wait_until 20 has_line "$SCRATCH/waits" 200
	rm "$SCRATCH/etc/resolv.conf"
	fetch box https://ok.test/pub/x
	expect_status 200
	say_servers "$WORLD_DNS"
}
asked_nobody() { (($(packets host 203.0.113.98) > 0)); }

@test "a name that is pinned later holds at once, and as long as it is there" {
	local before gateway database
	say_servers "$WORLD_DNS"
	gateway=$(address_in guest host.openshell.internal)
	database=$(address_in box l4.test)
	fetch guest http://host.openshell.internal/ --resolve "host.openshell.internal:80:$gateway"
	expect_status 502
	expect_contains "$(json 'b["detail"]')" "no such name in /etc/hosts"
	say_hosts "169.254.7.1 host.openshell.internal
203.0.113.66 l4.test"
	fetch guest http://host.openshell.internal/ --resolve "host.openshell.internal:80:$gateway"
	expect_status 200
	before=$(queries)
	run probe box tcp "$database" 5432 hi
	expect_contains "$output" "l4 ready"
	expect_equal "$(queries)" "$before" "queries"
	say_hosts ""
	run probe box tcp "$database" 5432 hi
	expect_contains "$output" "l4 ready"
	(($(queries) > before))
}

@test "a hosts file that cannot be read is no file without entries" {
	local before database
	say_servers "$WORLD_DNS"
	database=$(address_in box l4.test)
	before=$(queries)
	chmod 0600 "$SCRATCH/etc/hosts"
	run probe box tcp "$database" 5432 hi
	expect_lacks "$output" "l4 ready"
	expect_equal "$(queries)" "$before" "queries"
	expect_verdicts 1 box dst_host=l4.test "l7_deny_reason~/etc/hosts cannot be read"
	has_line "$AGENT_DIR/agent.log" "cannot read /etc/hosts"
	chmod 0644 "$SCRATCH/etc/hosts"
	run probe box tcp "$database" 5432 hi
	expect_contains "$output" "l4 ready"
}
