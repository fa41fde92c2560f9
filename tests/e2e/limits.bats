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
		[[ ! $1 ]] || echo "limits: $1"
	} >"$SCRATCH/limited.yaml"
	osh policy set box --policy "$SCRATCH/limited.yaml" --wait
}

# Sets LINE to the next of the coprocess CROWD, waited for.
heard() { read -r -t 20 -u "${CROWD[0]}" LINE; }

@test "flows: beyond the limit 429, live ones go on, a new policy lifts it" {
	local pid
	limit '{ flows: 2 }'
	coproc CROWD { crowd hold ok.test 4; } 3>&-
	pid=$CROWD_PID
	heard
	expect_equal "$LINE" "200 200 429 429"
	fetch box https://ok.test/pub/x
	expect_status 429
	expect_equal "$(json 'b["error"]')" limit_exceeded
	expect_verdicts 3 box engine=policy l7_decision=deny dst_host=ok.test "l7_deny_reason~of this sandbox on flows at once"
	limit '{ flows: 3 }'
	echo >&"${CROWD[1]}"
	heard
	expect_equal "$LINE" "200 200 new 200"
	limit ''
	echo >&"${CROWD[1]}"
	heard
	expect_equal "$LINE" "200 200 new 200"
	eval "exec ${CROWD[1]}>&-"
	wait "$pid"
}

@test "bytes a second: a download takes its time and comes whole" {
	local ms size
	limit '{ bytes_per_second: 50000 }'
	read -r ms size < <(crowd fetch ok.test '/pub/large?n=200000')
	expect_equal "$size" 200000
	((ms > 3000)) || fail "took $ms ms"
	limit ''
	read -r ms size < <(crowd fetch ok.test '/pub/large?n=200000')
	expect_equal "$size" 200000
	((ms < 2500)) || fail "took $ms ms"
}
