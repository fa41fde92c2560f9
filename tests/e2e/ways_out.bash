# shellcheck shell=bash
# Ways out that are the same for a sandbox and for an attached cgroup: each is given the name, and
# `inside` runs its programs. A comment names the case.

# A11
judge_each_connect() {
	local canary
	canary=$(new_canary)
	run probe "$1" reconnect l4.test 5432 5434 "$canary"
	expect_contains "${lines[0]}" "ok b'l4 ready"
	expect_equal "${lines[1]}" EPERM "the denied port"
	expect_contains "${lines[2]}" "ok b'l4 ready"
	expect_equal "${lines[3]}" "ok " "held back for the resolver"
	# The kernel adds it to what is held back, for the same destination.
	expect_equal "${lines[4]}" "ok " "sent elsewhere"
	expect_absent "$canary"
	expect_verdicts 1 "$1" l7_decision=deny dst_host=l4.test dst_port=5434 engine=kernel
}

# A12
send_to_groups() {
	local canary
	canary=$(new_canary)
	run probe "$1" group "$canary"
	expect_equal "$(head -n 5 <<<"$output" | sort -u)" EPERM "$output"
	expect_equal "${lines[5]}" "ok rcode=0 answers=1" "a query that names its interface"
	expect_absent "$canary"
	expect_verdicts 1 "$1" l7_decision=deny dst_host=224.0.0.251 dst_port=5353
}

# A16, A17: by UDP, and what looks like another address.
judge_disguises() {
	local canary address
	canary=$(new_canary)
	for address in ::ffff:203.0.113.10 2001:db8::10 64:ff9b::cb00:710a 2002:cb00:710a::1 ::cb00:710a; do
		run probe "$1" udp "$address" 443 "$canary"
		expect_equal "$output" $'EPERM\nEPERM\nEPERM\nfast' "UDP to $address"
		run net_no "$1" tcp "$address" 5436 "$canary"
		expect_equal "$output" "connect EPERM" "TCP to $address"
	done
	expect_absent "$canary"
	# A mapped one is the IPv4 address.
	for address in 203.0.113.10 2001:db8::10 64:ff9b::cb00:710a 2002:cb00:710a::1; do
		expect_verdicts 1 "$1" l7_protocol=tcp binary="$PROBES/net-no" dst_host="$address" dst_port=5436
	done
	run probe "$1" resolve l4.test
	address=$(awk '{ print $3 }' <<<"$output")
	run net_ok "$1" tcp "::ffff:$address" 5432 ""
	expect_equal "${lines[0]}" "ok l4 ready"
}

# A37
alternate_programs() {
	# shellcheck disable=SC2016  # for the inner shell
	run inside "$1" sh -c 'i=0; while [ $i -lt 200 ]; do "$1/net-ok" tcp l4.test 5432 ""; "$1/net-no" tcp l4.test 5432 ""
		i=$((i + 1)); done' _ "$PROBES"
	expect_equal "$(grep -c '^ok l4 ready' <<<"$output")" 200
	expect_equal "$(grep -cE '^(connect (EPERM|ECONNRESET)|recv ECONNRESET)' <<<"$output")" 200 \
		"of $(sort <<<"$output" | uniq -c)"
}

# A38
show_dialled_peer() {
	run probe "$1" peer l4.test 5432
	expect_equal "$output" "ok True
ok True
ok rcode=0 answers=1"
	# A host that is denied looks the same.
	run probe "$1" peer no.test 443
	expect_equal "${lines[0]} ${lines[1]}" "ok True ok True"
}
