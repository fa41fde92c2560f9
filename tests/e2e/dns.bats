#!/usr/bin/env bats
# Names: answered by the agent, so that a question carries nothing out.

load helpers

setup_file() {
	start_all
	make_sandbox names probe
}

teardown_file() { stop_all; }

queries() { wc -l <"$WORLD_DIR/dns.log"; }

# resolve_many CANARY DOMAIN: 200 names are answered, and nobody hears of them.
resolve_many() {
	local names=() i before
	for i in {1..200}; do
		names+=("$1-$i.$2")
	done
	before=$(queries)
	run probe names resolve "${names[@]}"
	expect_equal "$(grep -c '^ok ' <<<"$output")" 200 "names answered"
	expect_absent "$1"
	expect_equal "$(queries)" "$before" "queries to the real server"
}

# D01
@test "a name that is resolved but not reached asks nobody" {
	local canary before
	canary=$(new_canary)
	resolve_many "$canary" no.test
	before=$(queries)
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

wild() {
	sed 's|      - { host: l4.test, port: 5432, protocol: tcp }|&\n      - { host: "*.wild.test", port: 5432, protocol: tcp }|' \
		"$(policy probe)" >"$SCRATCH/wild.yaml"
	osh policy set names --policy "$SCRATCH/wild.yaml" --wait
}

# D01
@test "names under a wildcard: resolved they ask nobody, and one connect asks once" {
	local canary before
	wild
	canary=$(new_canary)
	resolve_many "$canary" wild.test
	before=$(queries)
	echo "$canary.wild.test 93.184.215.14" >>"$WORLD_DIR/zone"
	run probe names tcp "$canary.wild.test" 5432 hi
	expect_contains "$output" "l4 ready"
	expect_equal "$(grep -c "^$canary.wild.test A$" "$WORLD_DIR/dns.log")" 1
	expect_equal "$(queries)" $((before + 2)) "A and AAAA"
	expect_verdicts 1 names "dst_host=$canary.wild.test"
}

# D01
@test "a storm of connects to an allowed name that does not exist asks for it once a second" {
	local asked before=$SECONDS bound
	wild
	run probe names tcp_many missing.wild.test 5432 200
	wait_until 20 has_verdicts 200 names dst_host=missing.wild.test engine=upstream
	bound=$((2 * (SECONDS - before + 2))) # of two workers
	asked=$(grep -c '^missing.wild.test A$' "$WORLD_DIR/dns.log")
	((asked >= 1 && asked <= bound)) || fail "asked $asked times, bound $bound"
	# The twin: one that exists.
	echo "there.wild.test 93.184.215.14" >>"$WORLD_DIR/zone"
	run probe names tcp there.wild.test 5432 hi
	expect_contains "$output" "l4 ready"
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
