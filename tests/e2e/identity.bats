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

# B01
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

# B03
@test "a symbolic link is what it leads to" {
	inside who ln -s /usr/bin/curl /tmp/link
	expect_equal "$(status_of /tmp/link)" 200
	inside who cp /usr/bin/curl /tmp/unnamed
	inside who ln -sf /tmp/unnamed /tmp/link
	expect_equal "$(status_of /tmp/link)" 403
}

# B20
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

# B12
@test "a script at a path that the policy names is its interpreter, an applet its program" {
	local canary
	canary=$(new_canary)
	inside who cp /usr/bin/curl /tmp/scripted
	inside who sh -c 'printf "#!/bin/sh\nexec /tmp/scripted \"\$@\"\n" >/sandbox/named && chmod +x /sandbox/named'
	expect_equal "$(inside who /sandbox/named -sS -m 20 -o /dev/null -w '%{http_code}' "https://ok.test/pub/$canary")" 403
	expect_absent "$canary"
	expect_verdicts 1 who binary=/tmp/scripted l7_decision=deny 'lineage~/usr/bin/dash' "l7_deny_reason~not allowed"
	inside who ln -sf /bin/busybox /tmp/wget
	run inside who /tmp/wget -qO- "http://plain.test/pub/$canary"
	((status != 0))
	expect_absent "$canary"
	expect_verdicts 1 who "binary~/busybox" l7_decision=deny dst_host=plain.test
	expect_equal "$(inside who wget -qO- "http://plain.test/pub/x" | wc -l)" 1 # T
	inside who rm /sandbox/named
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

# B13
@test "a double fork with its own session keeps binary and lineage" {
	local url=https://tunnel.test/pub/forked
	put who "$E2E/probe.py" /sandbox/probe.py
	run inside who python3 /sandbox/probe.py fork_twice /usr/bin/curl -sS -o /dev/null -w '%{http_code}' $url
	expect_equal "$output" 403
	run inside who timeout 20 python3 /sandbox/probe.py fork_twice /usr/bin/curl -sS -o /dev/null -w '%{http_code}' $url
	expect_equal "$output" 200
	expect_verdicts 1 who l7_target=/pub/forked l7_decision=allow binary=/usr/bin/curl 'lineage~/usr/bin/timeout'
}

# B07
@test "a program without a file has no identity" {
	local run_memfd='import os, sys
data = open("/usr/bin/curl", "rb").read()
fd = os.memfd_create("curl")
os.write(fd, data)
os.execve(fd, ["/usr/bin/curl"] + sys.argv[1:], os.environ)'
	local canary
	canary=$(new_canary)
	run inside who python3 -c "$run_memfd" -4sS -o /dev/null -w '%{http_code}' "https://ok.test/pub/$canary"
	expect_contains "$output" 000
	expect_absent "$canary"
	expect_verdicts 1 who "binary~memfd:curl" l7_decision=deny dst_host=ok.test "l7_deny_reason~could not be told"
	run inside who sh -c 'cp /usr/bin/curl /dev/shm/curl && /dev/shm/curl -sS -o /dev/null -w "%{http_code}" "$1"' _ "https://ok.test/pub/$canary"
	[[ $output == 403 || $output == *"Permission denied"* ]] || fail "$output"
	expect_absent "$canary"
	run inside who python3 -c 'import os, sys; os.execve(os.open("/usr/bin/curl", os.O_RDONLY), ["x"] + sys.argv[1:], os.environ)' \
		-sS -o /dev/null -w '%{http_code}' https://ok.test/pub/x
	expect_equal "$output" 200
}

# B25
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

# ---- Trust on first use -------------------------------------------------------------------

# named_status [PATH]: the status that /sandbox/named, or PATH, gets.
named_status() {
	inside who "${1:-/sandbox/named}" -sS -m 20 -o /dev/null -w '%{http_code}' https://ok.test/pub/x
}

# A program that works like curl and has other bytes.
other_curl() { inside who sh -c 'cat /usr/bin/curl >"$1" && echo >>"$1" && chmod 755 "$1"' _ "$1"; }

# From here on /sandbox/named is curl, used under the policy in force.
fresh_named() {
	inside who sh -c 'rm -rf /sandbox/named && cp /usr/bin/curl /sandbox/named'
	osh policy set who --policy "$(policy probe)" --wait 2>/dev/null
	expect_equal "$(named_status)" 200
}

expect_changed() {
	local canary
	canary=$(new_canary)
	run inside who /sandbox/named -sS -m 20 "https://ok.test/pub/$canary"
	expect_contains "$output" "'/sandbox/named' changed since its first use (set the policy again to accept it)"
	expect_absent "$canary"
	expect_verdicts "$1" who binary=/sandbox/named l7_decision=deny "l7_deny_reason~changed since its first use"
}

# B05
@test "a replaced program is refused until the policy is set again" {
	fresh_named
	other_curl /sandbox/next
	inside who mv /sandbox/next /sandbox/named
	expect_changed 1
	osh policy set who --policy "$(policy probe)" --wait 2>/dev/null
	expect_equal "$(named_status)" 200
}

# B05
@test "bytes written in place, truncated or with the old time put back are refused" {
	fresh_named
	inside who sh -c 'echo >>/sandbox/named'
	expect_changed 2
	fresh_named
	inside who sh -c 'touch -r /sandbox/named /tmp/time && cat /usr/bin/curl >/sandbox/named &&
		echo >>/sandbox/named && touch -r /tmp/time /sandbox/named'
	expect_changed 3
	# What was there at first is welcome again.
	inside who sh -c 'cat /usr/bin/curl >/sandbox/named'
	expect_equal "$(named_status)" 200
}

# B05, B02
@test "the same bytes under a new inode, mode or time are the same program" {
	fresh_named
	inside who sh -c 'chmod 711 /sandbox/named && touch /sandbox/named && ln /sandbox/named /sandbox/linked'
	expect_equal "$(named_status)" 200
	expect_equal "$(named_status /sandbox/linked)" 403
	inside who sh -c 'rm /sandbox/linked && cp /usr/bin/curl /sandbox/next && mv /sandbox/next /sandbox/named'
	expect_equal "$(named_status)" 200
}

# B06
@test "a program that was replaced runs on as what it was" {
	fresh_named
	inside who sh -c 'mkfifo /sandbox/go && cp /usr/bin/node /sandbox/named'
	osh policy set who --policy "$(policy probe)" --wait 2>/dev/null
	local get='const https = require("https"), fs = require("fs");
	const get = then => https.get({ host: "ok.test", path: "/pub/x", agent: false }, r => {
		r.resume(); console.log(r.statusCode); then(); });
	get(() => { fs.readFileSync("/sandbox/go"); get(() => 0); });'
	inside who /sandbox/named -e "$get" >"$SCRATCH/said" &
	local client=$!
	wait_until 20 has_line "$SCRATCH/said" 200
	other_curl /sandbox/next
	inside who mv /sandbox/next /sandbox/named
	inside who sh -c 'echo >/sandbox/go'
	wait "$client"
	expect_equal "$(paste -sd, "$SCRATCH/said")" 200,200
	expect_equal "$(named_status)" 403
	inside who rm /sandbox/go
}

# B06
@test "a name that ends in (deleted) is only a name" {
	fresh_named
	other_curl '/sandbox/named (deleted)'
	expect_equal "$(named_status '/sandbox/named (deleted)')" 403
	expect_verdicts 1 who 'binary=/sandbox/named (deleted)' l7_decision=deny
	expect_equal "$(named_status)" 200
}

@test "trust outlives the proxy" {
	fresh_named
	other_curl /sandbox/next
	inside who mv /sandbox/next /sandbox/named
	kill -9 "$(osh status -o json | /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)["proxy_pid"])')"
	wait_until 10 status_is_answered
	expect_contains "$(inside who /sandbox/named -sS -m 20 https://ok.test/pub/x)" "changed since its first use"
}

@test "trust outlives the agent, too" {
	local get='const https = require("https"), fs = require("fs");
	const get = then => https.get({ host: "ok.test", path: "/pub/x", agent: false }, r => {
		r.resume(); console.log(r.statusCode); then(); });
	get(() => { fs.readFileSync("/sandbox/go"); get(() => 0); });' canary
	canary=$(new_canary)
	inside who sh -c 'rm -rf /sandbox/named /sandbox/go && mkfifo /sandbox/go && cp /usr/bin/node /sandbox/named'
	osh policy set who --policy "$(policy probe)" --wait 2>/dev/null
	# Not by exec, whose connection ends with the agent.
	inside who sh -c '/sandbox/named -e "$1" >/sandbox/said 2>&1 & until test -s /sandbox/said; do :; done' _ "$get"
	other_curl /sandbox/next
	inside who mv /sandbox/next /sandbox/named
	agent_crash
	agent_start "$AGENT_DIR"
	wait_until 10 status_is_answered # T: what was not replaced
	expect_contains "$(inside who /sandbox/named -sS -m 20 "https://ok.test/pub/$canary")" "changed since its first use"
	expect_absent "$canary"
	# What ran then is what it was.
	inside who sh -c 'echo >/sandbox/go; until test "$(wc -l </sandbox/said)" = 2; do :; done'
	expect_equal "$(inside who paste -sd, /sandbox/said)" 200,200
	osh policy set who --policy "$(policy probe)" --wait 2>/dev/null
	expect_equal "$(named_status)" 200
	inside who rm /sandbox/go /sandbox/said
}

@test "trust outlives a stop" {
	fresh_named
	other_curl /sandbox/next
	inside who mv /sandbox/next /sandbox/named
	osh sandbox stop who
	osh sandbox start who
	expect_contains "$(inside who /sandbox/named -sS -m 20 https://ok.test/pub/x)" "changed since its first use"
	expect_equal "$(status_of /usr/bin/curl)" 200 # T
	osh policy set who --policy "$(policy probe)" --wait 2>/dev/null
	expect_equal "$(named_status)" 200
}

status_is_answered() { [[ $(status_of /usr/bin/curl) == 200 ]]; }

@test "a pinned digest is checked" {
	local right wrong
	right=$(sha256sum /usr/bin/curl | cut -d' ' -f1)
	wrong=${right/${right:0:1}/$([[ ${right:0:1} == 0 ]] && echo 1 || echo 0)}
	sed "s|path: /usr/bin/curl }|path: /usr/bin/curl, sha256: $right }|" "$(policy probe)" >"$SCRATCH/right.yaml"
	sed "s|path: /usr/bin/curl }|path: /usr/bin/curl, sha256: $wrong }|" "$(policy probe)" >"$SCRATCH/wrong.yaml"
	osh policy set who --policy "$SCRATCH/right.yaml" --wait 2>/dev/null
	expect_equal "$(status_of /usr/bin/curl)" 200
	osh policy set who --policy "$SCRATCH/wrong.yaml" --wait 2>/dev/null
	expect_contains "$(inside who /usr/bin/curl -sS -m 20 https://ok.test/pub/x)" \
		"'/usr/bin/curl' does not have the sha256 asked for in policy 'web'"
	osh policy set who --policy "$(policy probe)" --wait 2>/dev/null
	expect_equal "$(status_of /usr/bin/curl)" 200
}

# Read for a second, were nothing else to do: long against a request. Started by a
# shell, when Python is ready: its own grant would do for what it starts.
@test "the first use of a large program holds up no other request, nor another's first use" {
	inside who sh -c 'rm -rf /sandbox/named && cp /usr/bin/curl /sandbox/named && truncate -s "${1}M" /sandbox/named' _ \
		$((1000 / ${OSH_TIME_SCALE:-1}))
	osh policy set who --policy "$(policy probe)" --wait 2>/dev/null
	# shellcheck disable=SC2016  # for the inner shell
	run inside who sh -c 'mkfifo ready; { read -r go <ready; for program in /sandbox/named /usr/bin/curl; do
			$program -sS -m 60 -o /dev/null -w "%{http_code}" https://ok.test/pub/x >"${program##*/}.code" &
		done; wait; } & : >named.code; : >curl.code; exec python3 -c "$1"' _ 'import http.client, os, ssl, time
def ask():
    web.request("GET", "/pub/x"); answer = web.getresponse(); answer.read()
    return answer.status
web = http.client.HTTPSConnection("ok.test", context=ssl.create_default_context())
ask()
open("ready", "w").write("go\n")
begin = last = time.monotonic()
statuses, longest = [], 0
while not os.path.getsize("named.code"):
    statuses.append(ask())
    now = time.monotonic(); longest = max(longest, now - last); last = now
ended = [os.stat(name).st_mtime for name in ("curl.code", "named.code")]
print(open("curl.code").read(), open("named.code").read(), set(statuses), len(statuses) > 5,
      longest < (last - begin) / 2, ended == sorted(ended))'
	expect_equal "$output" "200 200 {200} True True True"
	inside who rm /sandbox/named /sandbox/named.code /sandbox/curl.code /sandbox/ready
}

# ---- Paths --------------------------------------------------------------------------------

# B04
@test "a path that the sandbox may rewrite draws a warning, and its link counts as it was" {
	local warning="the sandbox itself may put any program there"
	inside who sh -c 'mkdir -p /sandbox/bin && cp /usr/bin/curl /sandbox/good && ln -s ../good /sandbox/bin/tool'
	sed 's|/sandbox/named|/sandbox/bin/tool|' "$(policy probe)" >"$SCRATCH/link.yaml"
	run osh policy set who --policy "$SCRATCH/link.yaml" --wait
	expect_contains "$output" "binary path /sandbox/bin/tool: $warning"
	expect_equal "$(named_status /sandbox/bin/tool)" 200
	# Led elsewhere, or made a file of its own, it is not what the policy meant.
	inside who sh -c 'cp /usr/bin/curl /tmp/evil && ln -sf /tmp/evil /sandbox/bin/tool'
	expect_equal "$(named_status /sandbox/bin/tool)" 403
	inside who sh -c 'rm /sandbox/bin/tool && cp /usr/bin/curl /sandbox/bin/tool'
	expect_equal "$(named_status /sandbox/bin/tool)" 403
	expect_equal "$(named_status /sandbox/good)" 200
	# A link of the system's draws none.
	sed 's|/sandbox/named|/usr/bin/python3|' "$(policy probe)" >"$SCRATCH/system.yaml"
	run osh policy set who --policy "$SCRATCH/system.yaml" --wait
	expect_lacks "$output" "$warning"
	osh policy set who --policy "$(policy probe)" --wait 2>/dev/null
}

# B21
@test "an odd path is one line in the log, and no other program" {
	# Not as an argument: those of the agent are text.
	local run_odd='odd=$(printf "/tmp/a\nb\042\377") && cp /usr/bin/curl "$odd" && exec "$odd" "$@"'
	expect_equal "$(inside who sh -c "$run_odd" _ -sS -m 20 -o /dev/null -w '%{http_code}' https://ok.test/pub/odd)" 403
	expect_verdicts 1 who 'binary~/tmp/a' l7_decision=deny
	expect_equal "$(osh logs who | grep -c '/tmp/a')" 1
}

# B07
@test "a file that was never in a directory has no identity" {
	local run_tmpfile='import os, sys
fd = os.open("/tmp", os.O_TMPFILE | os.O_RDWR, 0o700)
os.write(fd, open("/usr/bin/curl", "rb").read())
ro = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
os.close(fd)
os.execve(ro, ["/usr/bin/curl"] + sys.argv[1:], os.environ)'
	run inside who /usr/bin/env python3 -c "$run_tmpfile" -sS -m 20 -o /dev/null -w '%{http_code}' https://ok.test/pub/x
	[[ $output == 403 || $output == *000 ]] || fail "$output"
}

# B17
@test "a process cannot give itself another executable" {
	run inside who python3 -c 'import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
fd = os.open("/usr/bin/curl", os.O_RDONLY)
print(libc.prctl(35, 13, fd, 0, 0), ctypes.get_errno())'
	expect_equal "$output" "-1 1"
}

# B24
@test "a copy with the setuid bit gains nothing" {
	fresh_named
	inside who chmod 4755 /sandbox/named
	expect_equal "$(named_status)" 200
	inside who sh -c 'cp /usr/bin/id /tmp/id && chmod 4755 /tmp/id'
	expect_equal "$(inside who /tmp/id -u)" "$(inside who /usr/bin/id -u)"
}
