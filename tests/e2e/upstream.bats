#!/usr/bin/env bats
# The way to the real servers: which of their addresses is dialled, and for how long it is believed.

load helpers

setup_file() {
	start_all
	sed 's/host: wronghost\.test/host: race.test/' "$(policy probe)" >"$SCRATCH/probe.yaml"
	make_sandbox up "$SCRATCH/probe.yaml"
}

teardown_file() { stop_all; }

# set_zone NAME ADDRESS...: what the world's name server says from now on.
set_zone() {
	sed -i "/^$1 /d" "$WORLD_DIR/zone"
	echo "$*" >>"$WORLD_DIR/zone"
}

questions() { grep -c "^$1 A$" "$WORLD_DIR/dns.log" || true; }

# Bytes have no pool: each connection is dialled anew.
say() { probe up tcp l4.test 5432 hello; }

# D10
@test "an answer is believed for no longer than it says: a TTL of 0 is asked for each time" {
	local i
	set_zone l4.test 203.0.113.10
	for i in 1 2 3 4 5; do
		run say
		expect_contains "$output" "l4 ready"
		expect_equal "$(questions l4.test)" "$i"
	done
}

# D06, A28
@test "a name that leads elsewhere from one connection to the next" {
	local bad
	for bad in 127.0.0.1 169.254.169.254 ::1 ::ffff:127.0.0.1 fe80::1 0.0.0.0 \
		"203.0.113.10 127.0.0.1" "203.0.113.10 ::1"; do
		set_zone l4.test 203.0.113.10
		run say
		expect_contains "$output" "l4 ready"
		# shellcheck disable=SC2086  # several addresses
		set_zone l4.test $bad
		run say
		expect_lacks "$output" "l4 ready"
	done
	expect_verdicts 8 up dst_host=l4.test l7_decision=deny engine=ssrf
	# Where it may lead, it leads.
	set_zone l4.test 203.0.113.66
	run say
	expect_contains "$output" "l4 ready"
}

@test "a family that is broken costs a moment: the other one is raced" {
	set_zone race.test 2001:db8::66 203.0.113.10
	fetch up https://race.test/x
	# The world's certificate has no such name; it was reached, and TLS says so.
	expect_status 502
	expect_contains "$(json 'b["reason"]')" mismatch
	settle
	(($(packets 'icmp6 and ip6[40] == 135 and dst net ff02::1:ff00:0/104') > 0))
}

@test "nobody there: said with the name, not the sandbox's address" {
	set_zone race.test 203.0.113.99
	fetch up https://race.test/x
	expect_status 502
	expect_contains "$(json 'b["reason"]')" "cannot connect to race.test:443"
}

# F11; the other steps are in tests/unit/test_proxy_silence.c, with shorter deadlines. What the server says on
# this port has no way back, as behind a firewall that drops it.
@test "a server that does not answer a SYN: 504 after some seconds, and nothing of it stays" {
	local proxy before
	BODY=$(osh status -o json)
	proxy=$(json 'b["proxy_pid"]')
	fetch up https://ok.test/pub/x
	expect_status 200
	before=$(descriptors "$proxy")
	ip -n "${WORLD_UP##*/}" rule add pref 10 ipproto tcp sport 80 blackhole
	fetch up http://plain.test/pub/x
	ip -n "${WORLD_UP##*/}" rule del pref 10
	expect_status 504
	expect_equal "$(json 'b["error"]')" upstream_timeout
	expect_verdicts 1 up dst_host=plain.test l7_decision=deny engine=upstream status=504 "l7_deny_reason~timed out"
	wait_until 5 has_at_most "$proxy" "$before"
	fetch up http://plain.test/pub/x # T
	expect_status 200
}
