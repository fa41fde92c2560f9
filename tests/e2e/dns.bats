#!/usr/bin/env bats
# Names: answered by the agent, so that a question carries nothing out.

load helpers

setup_file() {
	start_all
	make_sandbox names probe
}

teardown_file() { stop_all; }

queries() { wc -l <"$WORLD_DIR/dns.log"; }

# D01
@test "a name that is resolved but not reached asks nobody" {
	local canary names=() i before
	canary=$(new_canary)
	for i in {1..200}; do
		names+=("$canary-$i.no.test")
	done
	before=$(queries)
	run probe names resolve "${names[@]}"
	expect_equal "$(grep -c '^ok ' <<<"$output")" 200 "names answered"
	expect_absent "$canary"
	expect_equal "$(queries)" "$before" "queries to the real server"
	# A denied connect asks nobody either.
	fetch names "https://$canary.no.test/"
	expect_status 403
	expect_absent "$canary"
	expect_equal "$(queries)" "$before" "queries to the real server"
	# The twin: an allowed one asks.
	fetch names https://ok.test/pub/x
	expect_status 200
	grep -q '^ok.test A$' "$WORLD_DIR/dns.log"
}

@test "every name has one address, of each family, in a private range" {
	run probe names resolve ok.test no.test OK.TEST ok.test.
	expect_equal "${#lines[@]}" 4
	[[ ${lines[0]} =~ ^ok\ ok.test\ 198\.1[89]\.[0-9.]+\ v6=1$ ]]
	local address=${lines[0]#ok ok.test } other=${lines[1]#ok no.test }
	[[ $address != "$other" ]]
	expect_equal "${lines[2]}" "ok OK.TEST $address"
	expect_equal "${lines[3]}" "ok ok.test. $address"
}

# D02
@test "other record types get an empty answer, at once, and never leave" {
	local kind before canary
	canary=$(new_canary)
	before=$(queries)
	# NS CNAME SOA NULL PTR MX TXT SRV SVCB HTTPS
	for kind in 2 5 6 10 12 15 16 33 64 65; do
		run probe names dns "$canary.ok.test" $kind
		[[ $output =~ ^ok\ rcode=[034]\ answers=0 ]] || fail "type $kind: $output"
	done
	# ANY, AXFR, and class CH
	run probe names dns "$canary.ok.test" 255
	[[ $output =~ ^ok\ rcode=[0345]\ answers=0 ]]
	run probe names dns "$canary.ok.test" 252
	[[ $output =~ ^ok\ rcode=[0345]\ answers=0 ]]
	run probe names dns "$canary.ok.test" 16 3
	[[ $output =~ ^ok\ rcode=[0345]\ answers=0 ]]
	expect_absent "$canary"
	expect_equal "$(queries)" "$before" "queries to the real server"
	run probe names dns ok.test 1
	expect_contains "$output" "ok rcode=0 answers=1"
	run probe names dns ok.test 28
	expect_contains "$output" "ok rcode=0 answers=1"
}

# D05
@test "another resolver's address is answered by the agent, under that address" {
	local before
	before=$(packets port 53)
	run probe names dns ok.test 1 1 203.0.113.10
	expect_contains "$output" "ok rcode=0 answers=1 from=203.0.113.10"
	run probe names dns ok.test 1 1 8.8.8.8
	expect_contains "$output" "ok rcode=0 answers=1 from=8.8.8.8"
	settle
	expect_equal "$(packets port 53)" "$before" "packets to port 53"
}

# D03
@test "DNS over TCP: whole, byte by byte, and two on one connection" {
	run probe names dns_tcp ok.test 1
	expect_equal "$output" "ok rcode=0 answers=1"
	run probe names dns_tcp ok.test 1 1
	expect_equal "$output" "ok rcode=0 answers=1"
	run probe names dns_tcp ok.test 16
	expect_equal "$output" "ok rcode=0 answers=0"
}

# D09
@test "malformed messages are refused or dropped, and the resolver lives" {
	local head=123401000001000000000000 good=12340100000100000000000002 long
	long=$(printf '61%.0s' {1..64})
	good=${head}026f6b047465737400
	run probe names dns_raw \
		1234 \
		123401000000000000000000 \
		"12340100ffff000000000000${good#"$head"}00010001" \
		"${head}c00c00010001" \
		"${head}40${long}0000010001" \
		"123481000001000000000000${good#"$head"}00010001" \
		"${good}0001" \
		"${good}00010001"
	# Answered with an error or not at all, but never with an address; the last one is good.
	local i
	for i in 0 1 2 3 4 5 6; do
		[[ ${lines[i]} == timeout || ${lines[i]} =~ rcode=[1-9]\ answers=0 ]] || fail "message $i: ${lines[i]}"
	done
	expect_contains "${lines[7]}" "rcode=0 answers=1"
	BODY=$(osh status -o json)
	expect_equal "$(json 'b["proxy_restarts"]')" 0 "restarts of the proxy"
}

# D11
@test "localhost is the sandbox's own" {
	run inside names getent ahostsv4 localhost
	expect_contains "$output" 127.0.0.1
	refute grep -q localhost "$WORLD_DIR/dns.log"
}

# D12
@test "an address of one sandbox means nothing in another" {
	local address
	make_sandbox names2 probe
	run probe names resolve ok.test
	address=$(awk '{ print $3 }' <<<"${lines[0]}")
	run inside names2 curl -sS -m 10 -k -o /dev/null -w '%{http_code}' --resolve "ok.test:443:$address" https://ok.test/pub/x
	[[ $output != *200 ]]
	run probe names2 resolve ok.test
	fetch names2 https://ok.test/pub/x
	expect_status 200
	osh sandbox delete names2
}

# D06
@test "names that lead inward are refused after the lookup" {
	local host
	for host in loop.test metadata.test mapped.test; do
		fetch names "https://$host/"
		[[ $STATUS == 403 || $STATUS == 502 ]]
		expect_verdicts 1 names dst_host=$host l7_decision=deny engine=ssrf
	done
	fetch names https://ok.test/pub/x
	expect_status 200
}
