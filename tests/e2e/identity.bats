#!/usr/bin/env bats
# Which program connected: told by the kernel at exec, not by what a process says.

load helpers

setup_file() {
	start_all
	make_sandbox who probe
}

teardown_file() { stop_all; }

# status_of PROGRAM...: the status that this program gets for an allowed request.
status_of() {
	inside who "$@" -sS -m 20 -o /dev/null -w '%{http_code}' https://ok.test/pub/x
}

@test "the same bytes at another path are another program" {
	local canary
	canary=$(new_canary)
	expect_equal "$(status_of /usr/bin/curl)" 200
	inside who cp /usr/bin/curl /tmp/curl
	expect_equal "$(inside who /tmp/curl -sS -m 20 -o /dev/null -w '%{http_code}' "https://ok.test/pub/$canary")" 403
	expect_absent "$canary"
	expect_verdicts 1 who binary=/tmp/curl l7_decision=deny dst_host=ok.test
	expect_equal "$(status_of /usr/bin/curl)" 200
	# And the other way: a copy at a path that the policy names is that program.
	inside who cp /usr/bin/curl /sandbox/named
	expect_equal "$(status_of /sandbox/named)" 200
}

@test "a symbolic link is what it leads to" {
	inside who ln -s /usr/bin/curl /tmp/link
	expect_equal "$(status_of /tmp/link)" 200
	inside who cp /usr/bin/curl /tmp/unnamed
	inside who ln -sf /tmp/unnamed /tmp/link
	expect_equal "$(status_of /tmp/link)" 403
}

@test "a name in argv or in comm changes nothing" {
	inside who cp /usr/bin/curl /tmp/liar
	run inside who bash -c 'exec -a /usr/bin/curl /tmp/liar "$@"' _ -sS -o /dev/null -w '%{http_code}' https://ok.test/pub/x
	expect_equal "$output" 403
	run inside who bash -c 'exec -a /tmp/liar /usr/bin/curl "$@"' _ -sS -o /dev/null -w '%{http_code}' https://ok.test/pub/x
	expect_equal "$output" 200
}

@test "a script is its interpreter" {
	inside who sh -c 'printf "#!/bin/sh\nexec /usr/bin/curl \"\$@\"\n" >/sandbox/script && chmod +x /sandbox/script'
	expect_equal "$(status_of /sandbox/script)" 200
	inside who cp /usr/bin/curl /tmp/plain
	inside who sh -c 'printf "#!/bin/sh\nexec /tmp/plain \"\$@\"\n" >/sandbox/script'
	expect_equal "$(status_of /sandbox/script)" 403
}

@test "an ancestor grants what the policy gives to it" {
	local url=https://tunnel.test/pub/x
	run inside who curl -sS -o /dev/null -w '%{http_code}' $url
	expect_equal "$output" 403
	run inside who timeout 20 curl -sS -o /dev/null -w '%{http_code}' $url
	expect_equal "$output" 200
	run inside who timeout 20 sh -c "sh -c 'curl -sS -o /dev/null -w %{http_code} $url'"
	expect_equal "$output" 200
	expect_verdicts 2 who dst_host=tunnel.test l7_decision=allow 'lineage~/usr/bin/timeout'
	expect_verdicts 1 who dst_host=tunnel.test l7_decision=deny
}

@test "a double fork with its own session keeps binary and lineage" {
	local url=https://tunnel.test/pub/forked
	put who "$E2E/probe.py" /sandbox/probe.py
	run inside who python3 /sandbox/probe.py fork_twice /usr/bin/curl -sS -o /dev/null -w '%{http_code}' $url
	expect_equal "$output" 403
	run inside who timeout 20 python3 /sandbox/probe.py fork_twice /usr/bin/curl -sS -o /dev/null -w '%{http_code}' $url
	expect_equal "$output" 200
	expect_verdicts 1 who l7_target=/pub/forked l7_decision=allow binary=/usr/bin/curl 'lineage~/usr/bin/timeout'
}

@test "a program without a file has no identity" {
	local run_memfd='import os, sys
data = open("/usr/bin/curl", "rb").read()
fd = os.memfd_create("curl")
os.write(fd, data)
os.execve(fd, ["/usr/bin/curl"] + sys.argv[1:], os.environ)'
	run inside who python3 -c "$run_memfd" -sS -o /dev/null -w '%{http_code}' https://ok.test/pub/x
	[[ $output == 403 || $output == *000 ]]
	run inside who python3 -c 'import os, sys; os.execve(os.open("/usr/bin/curl", os.O_RDONLY), ["x"] + sys.argv[1:], os.environ)' \
		-sS -o /dev/null -w '%{http_code}' https://ok.test/pub/x
	expect_equal "$output" 200
}

@test "binaries and hosts are not mixed between policies" {
	# timeout may reach tunnel.test, curl ok.test: curl alone not tunnel.test, timeout's child of
	# another name not ok.test.
	run inside who curl -sS -o /dev/null -w '%{http_code}' https://tunnel.test/pub/y
	expect_equal "$output" 403
	inside who cp /usr/bin/curl /tmp/child
	run inside who timeout 20 /tmp/child -sS -o /dev/null -w '%{http_code}' https://ok.test/pub/y
	expect_equal "$output" 403
	run inside who timeout 20 /tmp/child -sS -o /dev/null -w '%{http_code}' https://tunnel.test/pub/y
	expect_equal "$output" 200
}
