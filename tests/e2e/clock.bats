#!/usr/bin/env bats
# F10: the host's wall clock jumps a year either way while an agent runs. Agent, proxy and clients have
# the C library's questions for the time answered by tests/e2e/preload.c.

load helpers

YEAR=$((365 * 86400))

setup_file() { start_preloaded; }

teardown_file() { stop_all; }

setup() {
	preload_agents
	set_clock 0
	start_agent
	make_sandbox box "$SCRATCH/probe.yaml"
	fetch box https://ok.test/pub/before
	expect_status 200
}

teardown() {
	osh sandbox delete --all >/dev/null || true
	agent_stop
}

start_agent() { agent_start "$SCRATCH/$BATS_TEST_NUMBER"; }

# set_clock SECONDS: so far from the real time are all of them from now on.
set_clock() { set_faults "$FAULTS" "$1" && set_faults "$FAULTS.proxy" "$1"; }

# A client of the same host: curl's exit status 60 would be a certificate that is not valid now.
fetch_now() {
	local answer
	answer=$(inside box env LD_PRELOAD="$PROBES/preload.so" FAULTS_FILE="$FAULTS" \
		curl -sS -m 20 -w '\n%{http_code}' "$@" 2>&1) || fail "$answer"
	STATUS=${answer##*$'\n'}
	BODY=${answer%$'\n'*}
}

ms_of() {
	local began=${EPOCHREALTIME/./}
	"$@" >&2
	echo $(((${EPOCHREALTIME/./} - began) / 1000))
}

# What an agent must do all the same, now.
expect_works() { # EXPECTED-STATUS of a server whose certificate is of today
	local ms
	# Leaves: one that was cached, one that is new. Servers' certificates are judged by today's date.
	fetch_now https://ok.test/pub/x
	expect_status "$1"
	fetch_now https://no.test/pub/x
	expect_status 403
	fetch_now http://plain.test/pub/x
	expect_status 200
	# Timers: what is not due goes on, what is due ends.
	expect_equal "$(osh sandbox exec box --timeout 60 -- sh -c 'sleep 0.2; echo whole')" whole
	ms=$(ms_of run osh sandbox exec box --timeout 1 -- sleep 1000)
	((ms >= 900 && ms < 20000)) || fail "a second took $ms ms"
	# Policies.
	osh policy set box --policy "$(policy probe_more)" --wait
	fetch_now http://plain.test/pub/x
	expect_status 403
	osh policy set box --policy "$SCRATCH/probe.yaml" --wait
	fetch_now http://plain.test/pub/x
	expect_status 200
}

expect_one_history() {
	osh logs box -o json | /usr/bin/python3 -c 'import json, sys
ids = [json.loads(line)["id"] for line in sys.stdin]
assert len(ids) >= 5 and ids == sorted(set(ids)), ids'
}

# expect_date NAME SECONDS: it was created when the clock was that far off.
expect_date() {
	local off
	BODY=$(osh sandbox get "$1" -o json)
	off=$(($(json 'b["created"]') - $2 - EPOCHSECONDS))
	((off >= -60 && off <= 0)) || fail "$1 was created $off s from now"
}

# across SECONDS STATUS: the clock jumps, and back; agents end and begin on both sides.
across() {
	local init
	init=$(osh sandbox get box -o json | grep -oP '"pid": \K\d+')
	set_clock "$1"
	expect_works "$2"
	agent_crash
	start_agent
	expect_equal "$(osh sandbox get box -o json | grep -oP '"pid": \K\d+')" "$init"
	expect_works "$2"
	make_sandbox later "$SCRATCH/probe.yaml"
	expect_date later "$1" # or nothing has jumped
	set_clock 0
	expect_works 200
	fetch later https://ok.test/pub/x
	expect_status 200
	agent_crash
	start_agent
	expect_equal "$(osh sandbox get box -o json | grep -oP '"pid": \K\d+')" "$init"
	expect_works 200
	expect_one_history
}

@test "the clock stands still: all works" { across 0 200; }
@test "the clock jumps a year ahead: timers, leaves, policies, records, adoption hold" { across $YEAR 502; }
@test "the clock jumps a year back: timers, leaves, policies, records, adoption hold" { across -$YEAR 502; }

# As much as one file takes, of a year to come: the next record begins another.
@test "the journal is full when the clock jumps back: it is rotated, and numbers go on" {
	local journal=$AGENT_DIR/state/journal last
	agent_stop
	last=$(/usr/bin/python3 -c 'import json, sys
path, size = sys.argv[1] + "/current.jsonl", 32 << 20
record = json.loads(open(path).readlines()[-1])
with open(path, "a") as file:
    while file.tell() < size:
        record["id"] += 1
        file.write(json.dumps(record, separators=(",", ":")) + "\n")
print(record["id"])' "$journal")
	set_clock -$YEAR
	start_agent
	expect_works 502
	[[ $(find "$journal" -name '*.jsonl' | wc -l) == 2 && $(stat -c %s "$journal/1.jsonl") -ge $((32 << 20)) ]]
	(($(stat -c %s "$journal/current.jsonl") < 100000))
	run /usr/bin/python3 -c 'import json, sys
print(json.loads(open(sys.argv[1]).readline())["id"] - int(sys.argv[2]))' "$journal/current.jsonl" "$last"
	expect_equal "$output" 1
	expect_one_history
}
