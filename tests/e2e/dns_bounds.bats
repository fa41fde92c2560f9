#!/usr/bin/env bats
# Names beyond what a program needs: floods, exhaustion, addresses kept too long, every stub.

load helpers

setup_file() {
	start_all
	make_sandbox box probe
	make_sandbox other probe
	put box "$E2E/names.py" /sandbox/names.py
	put other "$E2E/names.py" /sandbox/names.py
}

teardown_file() { stop_all; }

names() { inside "$1" /usr/bin/python3 /sandbox/names.py "${@:2}"; }

# address_in NAME HOST
address_in() { names "$1" ask "$2" | cut -d' ' -f2; }

# by_address NAME HOST ADDRESS: the status, with the name resolved long ago.
by_address() {
	inside "$1" curl -sS -m 20 -o /dev/null -w '%{http_code}' --resolve "$2:443:$3" "https://$2/pub/x" 2>/dev/null
}

queries() { wc -l <"$WORLD_DIR/dns.log"; }

# D03
@test "DNS over TCP: connections that say half a message end in time and keep nobody from asking" {
	run names box streams 100
	expect_equal "$output" "udp True
in time True
tcp True"
}

# D04
@test "DNS over TLS and over HTTPS, by name and by address, are hosts like any other" {
	local canary
	canary=$(new_canary)
	run inside box openssl s_client -4 -connect no.test:853 </dev/null
	expect_contains "$output" "Operation not permitted"
	run inside box curl -sS -m 20 --doh-url https://no.test/dns-query "https://$canary.no.test/"
	((status != 0))
	run inside box curl -sS -k -m 20 --doh-url https://8.8.8.8/dns-query "https://$canary.no.test/"
	((status != 0))
	expect_absent "$canary"
	wait_until 5 has_verdicts 1 box l7_decision=deny dst_host=8.8.8.8 dst_port=443
	# The twin: a resolver that the policy names is asked, like any server.
	canary=$(new_canary)
	run inside box curl -sS -m 20 --doh-url "https://ok.test/api/$canary" https://else.test/
	expect_arrived "$canary"
}

# D11
@test "names that only a resolver could make sense of are answered here" {
	local before
	before=$(queries)
	run names box ask 1.2.3.4 localhost x.localhost nothing.invalid
	expect_equal "$output" "1.2.3.4 rcode=3
localhost 127.0.0.1
x.localhost 127.0.0.1
nothing.invalid rcode=3"
	# A single label and a name for multicast DNS get an address that leads nowhere.
	run names box ask intranet printer.local
	[[ ${lines[0]} == "intranet 198.1"[89].* && ${lines[1]} == "printer.local 198.1"[89].* ]] || fail "$output"
	fetch box http://intranet/
	expect_status 403
	run names box options ok.test
	expect_equal "$output" "$(address_in box ok.test)
$(address_in box ok.test)"
	expect_equal "$(queries)" "$before" "queries to the real server"
}

# stub COMMAND...: it resolves two names as all others do.
stub() {
	run inside box "$@" ok.test localhost
	expect_equal "$output" "ok.test $(address_in box ok.test)
localhost 127.0.0.1"
}

# D11
@test "every stub resolves: glibc, musl, c-ares, Go, Java" {
	local stubs=$E2E/stubs
	gcc -o "$SCRATCH/glibc" "$stubs/resolve.c"
	musl-gcc -static -o "$SCRATCH/musl" "$stubs/resolve.c"
	put box "$SCRATCH/glibc" /sandbox/glibc
	put box "$SCRATCH/musl" /sandbox/musl
	put box "$stubs/resolve.js" /sandbox/resolve.js
	put box "$stubs/resolve.go" /sandbox/resolve.go
	put box "$stubs/Resolve.java" /sandbox/Resolve.java
	stub /sandbox/glibc
	stub /sandbox/musl
	# c-ares itself reads no hosts file, and asks.
	stub node /sandbox/resolve.js
	inside box go build -o /sandbox/go-resolve /sandbox/resolve.go
	stub /sandbox/go-resolve
	stub java /sandbox/Resolve.java
}

# D07
@test "an address kept too long is its name's or nobody's, whatever happened since" {
	local address
	address=$(address_in box ok.test)
	osh policy set box --policy "$(policy probe_more)" --wait
	osh policy set box --policy "$(policy probe)" --wait
	expect_equal "$(by_address box ok.test "$address")" 200
	expect_equal "$(by_address box no.test "$address")" 000 "by another name"
	agent_stop
	agent_start "$AGENT_DIR"
	expect_equal "$(by_address box ok.test "$address")" 200
	expect_equal "$(by_address box no.test "$address")" 000 "by another name"
	expect_equal "$(address_in box ok.test)" "$address"
}

# D12
@test "the addresses of one sandbox lead nowhere in another" {
	local first
	first=$(address_in box ok.test)
	address_in box no.test
	run names other sweep "$first" 64
	expect_equal "$output" ""
	# The twin: its own.
	expect_equal "$(by_address other ok.test "$(address_in other ok.test)")" 200
}

# D14
@test "a flood of questions is cut off and counted, and others are answered" {
	local before after
	before=$(count_verdicts box engine=dns)
	names box flood ok.test 100000 >"$SCRATCH/flood" &
	local flood=$! i
	for i in {1..20}; do
		run names other ask ok.test
		[[ $output == "ok.test 198.1"* ]] || fail "$output"
	done
	fetch other https://ok.test/pub/x
	expect_status 200
	wait "$flood"
	read -r sent answered <"$SCRATCH/flood"
	((sent == 100000 && answered < 50000)) || fail "sent $sent, answered $answered"
	has_verdicts $((before + 1)) box engine=dns
	after=$(count_verdicts box engine=dns)
	((after - before < 100)) || fail "$((after - before)) records"
	[[ $(address_in box ok.test) == 198.1* ]]
}

# D08, and what D07 says of it. The last: this sandbox gets no name any more.
@test "a sandbox that used up its names keeps those that it has, and no other one suffers" {
	local address answers
	address=$(address_in box ok.test)
	run names box exhaust n 8400
	read -r -a answers <<<"$output"
	((answers[0] <= 8192 && answers[0] > 8000 && answers[1] == 8400 - answers[0])) || fail "$output"
	expect_equal "${answers[2]}" True "the first is still there"
	run names box blast more 200000
	read -r -a answers <<<"$output"
	((answers[0] > 190000 && answers[1] > 0 && answers[2] == 0)) || fail "$output"
	expect_equal "$(address_in box one-more.test)" rcode=2
	expect_equal "$(address_in box ok.test)" "$address"
	expect_equal "$(by_address box ok.test "$address")" 200
	has_verdicts 1 box engine=dns "l7_deny_reason~too many different names"
	[[ $(address_in other one-more.test) == 198.1* ]]
	fetch other https://ok.test/pub/x
	expect_status 200
}
