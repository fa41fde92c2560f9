#!/usr/bin/env bats
# TLS on both sides: the real server is verified, the sandbox trusts its own authority.

load helpers

setup_file() {
	start_all
	make_sandbox trust probe
}

teardown_file() { stop_all; }

# refused_upstream HOST WORD: 502 with the reason, a record, and not one request at the server.
refused_upstream() {
	local since canary
	canary=$(new_canary)
	since=$(mark)
	fetch trust "https://$1/$canary" -d "$canary"
	expect_status 502
	json 'b["error"]'
	expect_contains "${BODY,,}" "$2"
	settle
	refute has_request "$since" '"request"'
	expect_absent "$canary"
	expect_verdicts 1 trust dst_host="$1" l7_decision=deny engine=tls status=502
	fetch trust https://ok.test/pub/x
	expect_status 200
}

# E01
@test "an expired certificate" { refused_upstream expired.test expired; }

# E01
@test "a certificate that is not yet valid" { refused_upstream future.test "not yet valid"; }

# E02
@test "a self-signed certificate" { refused_upstream selfsigned.test self; }

# E03
@test "a valid certificate of another host" { refused_upstream wronghost.test mismatch; }

# E03
@test "a certificate that has the host in its common name only" { refused_upstream cnonly.test mismatch; }

@test "the sandbox's authority is in the system's bundle and in the environment" {
	local variable
	for variable in NODE_EXTRA_CA_CERTS SSL_CERT_FILE REQUESTS_CA_BUNDLE CURL_CA_BUNDLE GIT_SSL_CAINFO \
		GRPC_DEFAULT_SSL_ROOTS_FILE_PATH; do
		run inside trust printenv $variable
		expect_equal "$status" 0 "$variable is set"
		inside trust test -r "$output"
	done
	run inside trust env -u SSL_CERT_FILE -u CURL_CA_BUNDLE curl -sS -o /dev/null -w '%{http_code}' https://ok.test/pub/x
	expect_equal "$output" 200
	run inside trust env -u SSL_CERT_FILE wget -q -O - https://ok.test/pub/x
	expect_contains "$output" '"host": "ok.test"'
	run inside trust sh -c 'echo forged >>"$SSL_CERT_FILE"'
	((status != 0))
}

# E07
@test "the sandbox sees a leaf of its own authority, another sandbox's is not trusted" {
	run inside trust curl -sSv -o /dev/null https://ok.test/pub/x
	expect_contains "$output" trust
	expect_lacks "$output" "openshell test world"
	make_sandbox trust2 probe
	inside trust sh -c 'cat "$NODE_EXTRA_CA_CERTS"' >"$SCRATCH/ca.pem"
	put trust2 "$SCRATCH/ca.pem" /sandbox/other.pem
	run inside trust2 curl -sS --cacert /sandbox/other.pem --capath /nonexistent https://ok.test/pub/x
	((status != 0))
	osh sandbox delete trust2
}

proxy_memory_kb() {
	BODY=$(osh status -o json)
	awk '$1 == "VmRSS:" { print $2 }' "/proc/$(json 'b["proxy_pid"]')/status"
}

# snis HOST DOMAIN COUNT [own]: see snis.py; sets lines, and GREW to what that cost in KiB.
snis() {
	local before
	before=$(proxy_memory_kb)
	run inside many /usr/bin/python3 /sandbox/snis.py "$@"
	GREW=$(($(proxy_memory_kb) - before))
}

# E07
@test "10,000 names that are not the host's get no certificate; those that are allowed do, in bounded memory" {
	sed 's|^      - host: plain.test|      - { host: "*.many.test", port: 443, protocol: rest, enforcement: enforce, access: read-only }\n&|' \
		"$(policy probe)" >"$SCRATCH/many.yaml"
	make_sandbox many "$SCRATCH/many.yaml"
	put many "$E2E/snis.py" /sandbox/snis.py
	snis ok.test other.test 10000
	expect_equal "${lines[0]}" "0 10000"
	((lines[1] <= $(nproc))) || fail "$output" # of each worker one, kept
	((GREW < 20480)) || fail "$GREW KiB"
	# The twins. Once each worker has kept as many as it keeps, the first make way for others.
	for _ in {1..5}; do
		snis ok.test many.test 3000 own
		expect_equal "${lines[0]}" "3000 0"
		((GREW >= 4096)) || break
	done
	((GREW < 4096)) || fail "$GREW KiB"
	fetch many https://ok.test/pub/x
	expect_status 200
	osh sandbox delete many
}

# G08
@test "the authority's key is not inside" {
	run inside trust sh -c 'grep -rlE "BEGIN (EC |RSA )?PRIVATE KEY" /etc/ssl /sandbox /tmp /var/log /run 2>/dev/null | grep -v snakeoil'
	expect_equal "$output" ""
}

# E10
@test "what the sandbox sets in its own environment does not change whom the agent trusts" {
	run inside trust env SSL_CERT_FILE=/dev/null curl -k -sS -o /dev/null -w '%{http_code}' https://selfsigned.test/
	expect_equal "$output" 502
}

@test "tls: skip shows the server's own certificate, after the SNI check" {
	put trust "$WORLD_CA" /sandbox/world.pem
	run inside trust curl -sS --cacert /sandbox/world.pem --capath /nonexistent https://skip.test/anything
	expect_contains "$output" '"host": "skip.test"'
	run inside trust curl -sS --cacert /sandbox/world.pem --capath /nonexistent https://ok.test/pub/x
	((status != 0))
	expect_verdicts 1 trust dst_host=skip.test l7_decision=allow
}

# fingerprint NAME HOST: of the certificate that curl is shown.
fingerprint() {
	inside "$1" curl -sSk -o /dev/null -w '%{certs}' "https://$2/pub/x" |
		openssl x509 -noout -fingerprint -sha256
}

@test "the leaf that a program is shown, and the authority it is given, are ECDSA on P-256" {
	local shown
	shown=$(inside trust curl -sSk -o /dev/null -w '%{certs}' https://ok.test/pub/x | openssl x509 -noout -text)
	expect_contains "$shown" "Signature Algorithm: ecdsa-with-SHA256"
	expect_contains "$shown" "ASN1 OID: prime256v1"
	expect_contains "$shown" "O = openshell sandbox CA"
	# shellcheck disable=SC2016  # for the inner shell
	shown=$(inside trust sh -c 'cat "$NODE_EXTRA_CA_CERTS"' | openssl x509 -noout -text)
	expect_contains "$shown" "Signature Algorithm: ecdsa-with-SHA256"
	expect_contains "$shown" "ASN1 OID: prime256v1"
}

# E11
@test "tls: skip is end to end: the very certificate of the server, elsewhere a leaf of ours" {
	local served
	served=$(openssl x509 -noout -fingerprint -sha256 -in "$WORLD_DIR/certs/good.pem")
	[[ $served == *=* ]]
	expect_equal "$(fingerprint trust skip.test)" "$served"
	[[ $(fingerprint trust ok.test) != "$served" ]]
}

# pinned FILE: a program that trusts the authorities in FILE alone connects to ok.test.
pinned() {
	inside trust python3 -c 'import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[1])
context.wrap_socket(socket.create_connection(("ok.test", 443), 20), server_hostname="ok.test")
print("trusted")' "$1"
}

# E11
@test "a program that trusts a certificate of its own alone: a verdict that says what to do" {
	put trust "$WORLD_DIR/certs/selfsigned.test.crt" /sandbox/pinned.pem
	run pinned /sandbox/pinned.pem
	expect_contains "$output" CERTIFICATE_VERIFY_FAILED
	expect_verdicts 1 trust dst_host=ok.test l7_decision=deny engine=tls \
		"l7_deny_reason~does not accept the sandbox's authority" 'l7_deny_reason~tls: skip' binary~python3
	# Node leaves without a word.
	run inside trust env -u NODE_EXTRA_CA_CERTS node -e 'fetch("https://ok.test/pub/x").catch(e => console.log(e.cause.code))'
	expect_equal "$output" UNABLE_TO_VERIFY_LEAF_SIGNATURE
	expect_verdicts 1 trust dst_host=ok.test l7_decision=deny engine=tls 'l7_deny_reason~tls: skip' binary~node
	# shellcheck disable=SC2016  # for the shell inside
	run pinned "$(inside trust printenv NODE_EXTRA_CA_CERTS)"
	expect_equal "$output" trusted
}

@test "a server that does not answer at all: 502 with the reason" {
	sed 's/host: ok.test/host: gone.test/' "$(policy probe)" >"$SCRATCH/gone.yaml"
	echo "gone.test 203.0.113.10" >>"$WORLD_DIR/zone"
	sed -i 's/port: 443$/port: 4433/' "$SCRATCH/gone.yaml"
	osh sandbox create --name gone --policy "$SCRATCH/gone.yaml"
	fetch gone https://gone.test:4433/pub/x
	expect_status 502
	expect_verdicts 1 gone dst_host=gone.test engine=upstream
	osh sandbox delete gone
}

@test "a name that does not exist: 502 with the reason" {
	sed 's/host: ok.test/host: nowhere.test/' "$(policy probe)" >"$SCRATCH/nowhere.yaml"
	osh sandbox create --name nowhere --policy "$SCRATCH/nowhere.yaml"
	fetch nowhere https://nowhere.test/pub/x
	expect_status 502
	expect_verdicts 1 nowhere dst_host=nowhere.test
	osh sandbox delete nowhere
}

# E10
@test "whom the host trusts is read when the agent starts" {
	fetch trust https://selfsigned.test/x
	expect_status 502
	cat "$WORLD_DIR/certs/selfsigned.test.crt" >>"$WORLD_CA"
	agent_stop
	agent_start "$SCRATCH/agent"
	fetch trust https://selfsigned.test/x
	expect_status 200
	fetch trust https://wronghost.test/x
	expect_status 502
}
