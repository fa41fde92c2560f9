#!/usr/bin/env bats
# Denials where no HTTP answer is understood: in the client's own language, or a reset.

load helpers

setup_file() { start_all; }
teardown_file() { stop_all; }

# One of its own for each test: the kernel remembers what was denied.
setup() {
	BOX=denials-$BATS_TEST_NUMBER
	make_sandbox "$BOX" denials
}

teardown() { osh sandbox delete "$BOX" || true; }

ssh_to() { # HOST PORT
	inside "$BOX" ssh -4 -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -p "$2" "$1" true
}

psql_to() { # HOST PORT [PARAMETER...]
	inside "$BOX" psql "host=$1 port=$2 user=me dbname=db connect_timeout=10 ${*:3}" -c 'select 1'
}

bytes_to() { probe "$BOX" tcp "$@"; }

@test "psql reads why; the next time the kernel says no" {
	run psql_to l4.test 5432
	((status != 0))
	expect_contains "$output" "FATAL:  openshell: denied by the sandbox's policy: "
	expect_contains "$output" "/usr/lib/postgresql/"
	expect_verdicts 1 "$BOX" engine=policy l7_decision=deny dst_host=l4.test dst_port=5432
	run psql_to l4.test 5432
	expect_contains "$output" "Operation not permitted"
	# The twin: the program that it is granted to.
	run bytes_to l4.test 5432 hello
	expect_contains "$output" "ok b'l4 ready"
}

# F24
@test "a cached denial is of one policy and one sandbox: neither the next policy nor a namesake meets it" {
	sed '/^  database:/,/^  untouched:/ s|/usr/bin/python3\*|/usr/bin/nobody|' "$(policy probe)" >"$SCRATCH/none.yaml"
	osh sandbox delete "$BOX"
	make_sandbox "$BOX" "$SCRATCH/none.yaml"
	run bytes_to l4.test 5432
	expect_equal "$output" ECONNRESET
	run bytes_to l4.test 5432 # T: under the same policy it is met
	expect_equal "$output" EPERM
	osh policy set "$BOX" --policy "$(policy probe)" --wait
	run bytes_to l4.test 5432 hello
	expect_contains "$output" "ok b'l4 ready"
	osh policy set "$BOX" --policy "$SCRATCH/none.yaml" --wait
	run bytes_to l4.test 5432
	expect_equal "$output" ECONNRESET
	run bytes_to l4.test 5432
	expect_equal "$output" EPERM
	osh sandbox delete "$BOX"
	make_sandbox "$BOX" probe
	run bytes_to l4.test 5432 hello
	expect_contains "$output" "ok b'l4 ready"
}

@test "psql that insists on TLS is told that there is none" {
	run psql_to l4.test 5432 sslmode=require
	((status != 0))
	expect_contains "$output" "server does not support SSL"
}

@test "ssh reads why" {
	run ssh_to l4.test 22
	((status != 0))
	expect_contains "$output" "Received disconnect from "
	expect_contains "$output" "openshell: denied by the sandbox's policy: "
	run ssh_to l4.test 22
	expect_contains "$output" "Operation not permitted"
}

@test "an address that leads inward is refused in words, too" {
	run ssh_to loop.test 2200
	((status != 0))
	expect_contains "$output" "openshell: denied by the sandbox's policy: "
	expect_verdicts 1 "$BOX" engine=ssrf l7_decision=deny dst_host=loop.test
}

@test "TLS ends with access_denied" {
	run inside "$BOX" openssl s_client -4 -connect l4.test:5432 -servername l4.test </dev/null
	((status != 0))
	expect_contains "$output" "alert access denied"
}

@test "others are reset, whether they speak or wait" {
	run inside "$BOX" perl -MIO::Socket::INET -e '
		for my $words ("EHLO me\r\n", "") {
			my $s = IO::Socket::INET->new(PeerAddr => "l4.test", PeerPort => $words ? 5432 : 22) or die "no: $!";
			print $s $words; $s->flush; my $n = sysread($s, my $b, 10);
			print defined $n ? "read $n\n" : "$!\n";
		}'
	expect_equal "$output" "Connection reset by peer"$'\n'"Connection reset by peer"
}

# C37
@test "what is no HTTP is denied on an inspected endpoint, and never arrives" {
	local canary
	canary=$(new_canary)
	run ssh_to ok.test 443
	expect_contains "$output" "HTTP alone may be spoken to it"
	run psql_to ok.test 443
	expect_contains "$output" "HTTP alone may be spoken to it"
	run psql_to plain.test 80
	expect_contains "$output" "HTTP alone may be spoken to it"
	expect_verdicts 3 "$BOX" engine=http l7_decision=deny "l7_deny_reason~HTTP alone"
	# Others are answered as what they were taken for.
	run bytes_to plain.test 80 "$canary"$'\r\n\r\n'
	expect_contains "$output" "HTTP/1.1 400"
	run bytes_to ok.test 443 "EHLO $canary"$'\r\n'
	expect_contains "$output" "HTTP/1.1 400"
	# TLS where the server speaks none: opened, judged, and no server is found behind it.
	fetch "$BOX" "https://plain.test:80/pub/$canary"
	expect_status 504 # it waits for more than a hello
	expect_absent "$canary"
	fetch "$BOX" "https://ok.test/pub/$canary"
	expect_status 200
	expect_arrived "$canary"
}
