#!/usr/bin/env bats
# Bounds: what the policy's `limits` hold a sandbox to, and what nobody can use up.

load helpers

setup_file() {
	start_all
	make_sandbox box probe
	put box "$E2E/crowd.py" /sandbox/crowd.py
}

teardown_file() { stop_all; }

crowd() { inside box /usr/bin/python3 /sandbox/crowd.py "$@"; }

# limit LIMITS: the probe policy with these, in force.
limit() {
	{
		cat "$(policy probe)"
		echo '  upload:'
		echo '    endpoints: [{ host: plain.test, port: 80, protocol: rest, enforcement: enforce, access: full }]'
		echo '    binaries: [{ path: "/usr/bin/python3*" }]'
		[[ ! $1 ]] || echo "limits: $1"
	} >"$SCRATCH/limited.yaml"
	osh policy set box --policy "$SCRATCH/limited.yaml" --wait
}

start_crowd() {
	coproc CROWD { crowd "$@"; } 3>&-
	CROWD_ID=$CROWD_PID
}

end_crowd() {
	eval "exec ${CROWD[1]}>&-"
	wait "$CROWD_ID"
}

# Sets LINE to the next of the coprocess CROWD, waited for.
heard() { read -r -t 20 -u "${CROWD[0]}" LINE; }

@test "flows: beyond the limit 429, live ones go on, a new policy lifts it" {
	limit '{ flows: 2 }'
	start_crowd hold ok.test 4
	heard
	expect_equal "$LINE" "200 200 429 429"
	fetch box https://ok.test/pub/x
	expect_status 429
	expect_equal "$(json 'b["error"]')" limit_exceeded
	expect_verdicts 3 box engine=limit l7_decision=deny dst_host=ok.test "l7_deny_reason~of this sandbox on flows at once"
	run osh policy explain "$(verdicts box engine=limit | head -n 1 | sed 's/.*"id":\([0-9]*\).*/\1/')"
	expect_contains "$output" "not so many at once"
	limit '{ flows: 3 }'
	echo >&"${CROWD[1]}"
	heard
	expect_equal "$LINE" "200 200 new 200"
	limit ''
	echo >&"${CROWD[1]}"
	heard
	expect_equal "$LINE" "200 200 new 200"
	end_crowd
}

@test "bytes a second: a download takes its time and comes whole" {
	local ms size
	limit '{ bytes_per_second: 50000 }'
	read -r ms size < <(crowd fetch ok.test '/pub/large?n=200000')
	expect_equal "$size" 200000
	((ms > 3000)) || fail "took $ms ms"
	# By HTTP/2, a stream's bytes are its connection's.
	run inside box curl -sS --http2 -o /dev/null -w '%{http_version} %{size_download} %{time_total}' \
		'https://ok.test/pub/large?n=100000'
	[[ $output =~ ^2\ 100000\ ([1-9])\. ]] || fail "$output"
	expect_verdicts 2 box engine=limit l7_decision=audit 'l7_deny_reason~on bytes a second is reached'
	limit ''
	read -r ms size < <(crowd fetch ok.test '/pub/large?n=200000')
	expect_equal "$size" 200000
	((ms < 2500)) || fail "took $ms ms"
}

proxy_pid() {
	BODY=$(osh status -o json)
	json 'b["proxy_pid"]'
}

# rss PID: KiB.
rss() { awk '/^VmRSS/ { print $2 }' "/proc/$1/status"; }

# An idle flow gives its buffers back within a second.
small_enough() { ((($(rss "$1") - $2) <= 40 * $3)); }

# F13. One sandbox may have 8192 on a worker: two hold them.
@test "100, then 10000 idle flows: 40 KiB each at most, and a new request is answered at once" {
	local proxy before some many
	[[ $BUILD != */san ]] || skip "sanitizers have memory of their own"
	limit ''
	make_sandbox other probe
	put other "$E2E/crowd.py" /sandbox/crowd.py
	proxy=$(proxy_pid)
	crowd pace ok.test 50
	before=$(rss "$proxy")
	start_crowd park ok.test 100
	heard
	expect_equal "$LINE" "held 100 0"
	wait_until 5 small_enough "$proxy" "$before" 100 || fail "$before KiB became $(rss "$proxy")"
	some=$(crowd pace ok.test 200)
	end_crowd
	start_crowd park ok.test 5000
	inside other /usr/bin/python3 /sandbox/crowd.py park ok.test 5000 < <(tail -f /dev/null --pid=$$) >"$SCRATCH/others" 2>&1 3>&- &
	read -r -t $((300 * ${OSH_TIME_SCALE:-1})) -u "${CROWD[0]}" LINE
	expect_equal "$LINE" "held 5000 0"
	wait_until 100 has_line "$SCRATCH/others" "held 5000 0"
	wait_until 5 small_enough "$proxy" "$before" 10000 || fail "$before KiB became $(rss "$proxy")"
	# The slowest but one of a hundred, beside that of the twin.
	many=$(crowd pace ok.test 200)
	echo "# KiB each $((($(rss "$proxy") - before) / 10000)), p99 $some ms with 100, $many ms with 10000" >&3
	((many < 500)) || fail "$some ms with 100, $many ms with 10000"
	end_crowd
	osh sandbox delete other
	fetch box https://ok.test/pub/x
	expect_status 200
}

# C33
@test "1000 slow clients: heads end at their deadline, others are served meanwhile" {
	local proxy spent
	limit ''
	proxy=$(proxy_pid)
	start_crowd dawdle plain.test 1000
	heard
	expect_equal "$LINE" started
	(($(crowd pace ok.test 200) < 500))
	spent=$(cpu_ms "$proxy")
	read -r -t 60 -u "${CROWD[0]}" LINE
	expect_equal "$LINE" "408 800"
	# Some thirty seconds of a byte a second each.
	(($(cpu_ms "$proxy") - spent < 10000)) || fail "spent $spent ms, then $(cpu_ms "$proxy")"
	end_crowd
}

@test "a flood of denied connects is counted, not told one by one, and others are served" {
	local before told agent spent flood
	limit ''
	make_sandbox other probe
	put other "$E2E/crowd.py" /sandbox/crowd.py
	before=$(osh logs box -o json | wc -l)
	agent=$(<"$AGENT_DIR/agent.pid")
	spent=$(cpu_ms "$agent")
	crowd bounce ok.test 9999 50000 >"$SCRATCH/bounced" 3>&- & # no coprocess: bash forgets one that has ended
	flood=$!
	(($(inside other /usr/bin/python3 /sandbox/crowd.py pace ok.test 100) < 500))
	wait "$flood"
	expect_equal "$(<"$SCRATCH/bounced")" "refused 50000"
	spent=$(($(cpu_ms "$agent") - spent))
	((spent < 250)) || fail "refusals took $spent ms of the agent" # some 30 are usual
	expect_verdicts 50000 box engine=kernel l7_decision=deny dst_host=ok.test dst_port=9999
	told=$(($(osh logs box -o json | wc -l) - before))
	((told < 100)) || fail "$told records"
	osh sandbox delete other
	fetch box https://ok.test/pub/x
	expect_status 200
}

# The port of each is another: none equals the one before.
kinds_told() {
	osh logs box -o json | /usr/bin/python3 -c '
import json, re, sys
told = beyond = 0
for record in map(json.loads, sys.stdin):
    many = re.match(r"(\d+) more refusals by the kernel within a second, of too many kinds", record.get("l7_deny_reason", ""))
    beyond += int(many[1]) if many else 0
    told += record.get("dst_port", 0) >= 10000
print(told, beyond)'
}

are_told() {
	local told beyond
	read -r told beyond < <(kinds_told)
	((told + beyond >= $1))
}

@test "a flood of connects that differ is told up to a number, the rest is counted" {
	local told beyond
	expect_equal "$(crowd bounce ok.test 10000 5000 5000)" "refused 5000"
	wait_until 5 are_told 5000 || true
	read -r told beyond < <(kinds_told)
	((told >= 256 && beyond >= 1 && told + beyond == 5000)) || fail "$told told, $beyond counted"
}

# F06: an agent of its own, that cannot have more than 256; nor can its proxy.
@test "out of descriptors: new flows are refused, live ones go on, nothing spins" {
	local proxy base spent
	AGENT_UNDER=(setpriv --bounding-set=-sys_resource prlimit --nofile=256:256)
	agent_start "$SCRATCH/poor"
	make_sandbox box probe
	put box "$E2E/crowd.py" /sandbox/crowd.py
	fetch box https://ok.test/pub/x
	expect_status 200
	proxy=$(proxy_pid)
	base=$(descriptors "$proxy")
	start_crowd park ok.test 220
	heard
	[[ $LINE =~ ^held\ ([0-9]+)\ ([0-9]+)$ ]]
	((BASH_REMATCH[1] >= 20 && BASH_REMATCH[2] >= 1)) || fail "$LINE"
	# Each of the proxy's two threads says it once.
	wait_until 5 has_verdicts 1 box l7_decision=deny "l7_deny_reason~no descriptors left"
	(($(count_verdicts box l7_decision=deny "l7_deny_reason~no descriptors left") <= 2))
	# Refused, not left to wait; and nothing is done between two of them.
	spent=$(cpu_ms "$proxy")
	expect_equal "$(crowd knock ok.test 40)" "refused 40"
	# Two seconds at least, of a processor less than a fifth.
	(($(cpu_ms "$proxy") - spent < 400)) || fail "spins: $(($(cpu_ms "$proxy") - spent)) ms"
	# Live ones find descriptors for their servers.
	echo >&"${CROWD[1]}"
	heard
	expect_equal "$LINE" "served 20"
	end_crowd
	wait_until 10 has_at_most "$proxy" $((base + 40))
	fetch box https://ok.test/pub/x
	expect_status 200
	BODY=$(osh status -o json)
	expect_equal "$(json 'b["proxy_restarts"]')" 0
	osh sandbox delete box
	agent_stop
}
