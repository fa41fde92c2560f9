#!/usr/bin/env bats
# The agent or its proxy dies: nothing is let through, nothing inside is harmed, and it all
# comes back.

bats_require_minimum_version 1.5.0

load helpers
load prober

setup_file() { start_all; }
teardown_file() { stop_all; }

setup() {
	kill -CONT "$(<"$AGENT_DIR/agent.pid")" 2>/dev/null || true
	# A test that failed may have left none.
	osh status >/dev/null 2>&1 || restart
	BOX=survivor-$BATS_TEST_NUMBER
	make_sandbox "$BOX" probe
	fetch "$BOX" https://ok.test/pub/before
	expect_status 200
}

teardown() { osh sandbox delete "$BOX" || true; }

restart() { agent_start "$AGENT_DIR"; }

@test "SIGKILL of the agent: nothing leaves, the sandbox lives, a new agent takes it over" {
	local before
	INIT=$(pid_of_init)
	start_prober
	wait_until 10 allowed_is 200
	agent_crash
	# Allowed traffic fails too while nobody decides: closed, not open.
	wait_until 10 allowed_is failed
	before=$(mark)
	probe_more 3
	refute is_gone "$INIT"
	expect_absent "$PROBER_CANARY"
	refute has_request "$before" /pub/
	restart
	expect_equal "$(pid_of_init)" "$INIT" "pid of the sandbox"
	wait_until 5 serves_again
	probe_more 2
	expect_absent "$PROBER_CANARY"
	run probe "$BOX" tcp l4.test 5999
	expect_equal "$output" EPERM
	run osh policy get "$BOX"
	diff <(echo "$output") "$(policy probe)"
}

@test "after the takeover the policy can be changed, and programs can be run" {
	INIT=$(pid_of_init)
	agent_crash
	restart
	run inside "$BOX" echo hello
	expect_equal "$output" hello
	osh policy set "$BOX" --policy "$(policy probe_more)" --wait
	fetch "$BOX" https://ok.test/pub/x
	expect_status 403
	fetch "$BOX" https://ok.test/api/x -X PUT -d x
	expect_status 200
	# The revision survives the next one as well.
	agent_crash
	restart
	fetch "$BOX" https://ok.test/pub/x
	expect_status 403
}

@test "an agent that is stopped in order leaves sandboxes running, fenced" {
	INIT=$(pid_of_init)
	start_prober
	agent_stop
	refute is_gone "$INIT"
	probe_more 2
	expect_absent "$PROBER_CANARY"
	restart
	wait_until 5 serves_again
}

@test "programs go on when the agent is killed or stopped in order, under the next one too" {
	local how tasks count=1
	INIT=$(pid_of_init)
	tasks=$(cgroup_of "$INIT")/cgroup.procs
	for how in agent_crash agent_stop; do
		inside "$BOX" sh -c 'echo started; exec tail -f /dev/null' >"$SCRATCH/$how" 2>&1 3>&- &
		wait_until 10 has_line "$SCRATCH/$how" started
		$how
		restart
		count=$((count + 1))
		expect_equal "$(wc -l <"$tasks")" $count "processes after $how"
	done
}

@test "SIGKILL of the proxy: another one is started, nothing leaves meanwhile" {
	local proxy
	INIT=$(pid_of_init)
	start_prober
	BODY=$(osh status -o json)
	proxy=$(json 'b["proxy_pid"]')
	kill -9 "$proxy"
	wait_until 5 serves_again
	BODY=$(osh status -o json)
	[[ $(json 'b["proxy_pid"]') != "$proxy" ]]
	(($(json 'b["proxy_restarts"]') >= 1))
	probe_more 2
	expect_absent "$PROBER_CANARY"
	run probe "$BOX" tcp l4.test 5999
	expect_equal "$output" EPERM
}

kill_proxy() { wait_until 10 has_proxy && kill -9 "$PROXY"; }

outlived() { grep -E "$1" "/proc/$INIT/root/sandbox/outlasted" 2>/dev/null; }

# start_downloads PATH LAST: see crowd.py; they stand, and go on without an agent.
start_downloads() {
	inside "$BOX" rm -f /sandbox/outlasted
	inside "$BOX" sh -c 'trap "" HUP; exec python3 /sandbox/crowd.py outlast "$@" >/sandbox/outlasted 2>&1' _ "$@" >/dev/null 2>&1 3>&- &
	wait_until 10 outlived '^stand$' >/dev/null || fail "$(cat "/proc/$INIT/root/sandbox/outlasted")"
}

# F03: also of those whose end nothing but the connection's tells.
@test "downloads under way when the proxy dies, or the agent, in order or not, are cut off, never at an end; the next ones work" {
	local how
	INIT=$(pid_of_init)
	put "$BOX" "$E2E/crowd.py" /sandbox/crowd.py
	server_says half 'HTTP/1.1 200 OK\r\n\r\nhalf' # and no more
	for how in kill_proxy agent_crash agent_stop; do
		start_downloads /pub/exact/half no
		$how
		wait_until 10 outlived '^(end|reset) ' >/dev/null || fail "$(cat "/proc/$INIT/root/sandbox/outlasted")"
		expect_equal "$(outlived '^(end|reset) ')" "reset reset reset" "after $how"
		osh status >/dev/null 2>&1 || restart
		wait_until 10 serves_again
		# T
		start_downloads '/pub/stream?n=50' yes
		wait_until 10 outlived '^(end|reset) ' >/dev/null || fail "$(cat "/proc/$INIT/root/sandbox/outlasted")"
		expect_equal "$(outlived '^(end|reset) ')" "end end end" "after $how, the next"
		expect_equal "$(probe "$BOX" tcp l4.test 5999)" EPERM
	done
}

@test "addresses given before a crash keep their names" {
	local before after
	run probe "$BOX" resolve ok.test no.test l4.test
	before=$output
	agent_crash
	restart
	run probe "$BOX" resolve l4.test no.test ok.test
	after=$output
	diff <(sort <<<"$before") <(sort <<<"$after")
}

@test "SIGKILL of a sandbox's init ends the sandbox, and it can be deleted" {
	local pid
	INIT=$(pid_of_init)
	inside "$BOX" sh -c 'echo started; exec tail -f /dev/null' >"$SCRATCH/tail" 2>&1 3>&- &
	pid=$!
	wait_until 5 has_line "$SCRATCH/tail" started
	kill -9 "$INIT"
	wait_until 5 is_gone "$pid"
	dead() { [[ $(osh sandbox get "$BOX" -o json) == *'"dead"'* ]]; }
	wait_until 5 dead
	osh sandbox delete "$BOX"
	run osh sandbox get "$BOX"
	expect_equal "$status" 1
}

# F02
@test "the agent is stopped and goes on: a flow that stood answers meanwhile and afterwards, what is denied stays so" {
	local agent
	agent=$(<"$AGENT_DIR/agent.pid")
	INIT=$(pid_of_init)
	hold_flow "$BOX"
	start_prober
	wait_until 10 allowed_is 200
	kill -STOP "$agent"
	ask_held 1
	probe_more 3
	allowed_is 200
	kill -CONT "$agent"
	ask_held 2
	probe_more 2
	end_held
	expect_absent "$PROBER_CANARY"
	expect_equal "$(probe "$BOX" tcp l4.test 5999)" EPERM
}

# F04: also of programs that left their session and hear no signal.
@test "SIGKILL of a sandbox's init, alone or with the agent: no program of it is left, the one beside it lives" {
	local beside=beside-$BATS_TEST_NUMBER group beside_init
	make_sandbox "$beside" probe
	hold_flow "$beside"
	ask_held 1
	beside_init=$(BODY=$(osh sandbox get "$beside" -o json) && json 'b["pid"]')
	INIT=$(pid_of_init)
	group=$(cgroup_of "$INIT")
	inside "$BOX" sh -c 'setsid sh -c "trap \"\" TERM HUP INT; echo away >/sandbox/away; tail -f /dev/null" </dev/null >/dev/null 2>&1 &
		until [ -e /sandbox/away ]; do sleep 0.02; done'
	is_populated() { grep -qx "populated $1" "$group/cgroup.events"; }
	is_populated 1
	kill -9 "$INIT"
	wait_until 5 is_populated 0 || fail "$(cat "$group"/cgroup.{events,procs})"
	ask_held 2
	expect_equal "$(probe "$beside" tcp l4.test 5999)" EPERM
	group=$(cgroup_of "$beside_init")
	is_populated 1
	# And with the agent.
	agent_crash
	kill -9 "$beside_init"
	wait_until 5 is_populated 0 || fail "$(cat "$group"/cgroup.{events,procs})"
	end_held
	restart
	osh sandbox delete "$beside"
}

@test "records of before and after stand in one history, with rising numbers" {
	agent_crash
	restart
	fetch "$BOX" https://ok.test/pub/later
	expect_status 200
	expect_verdicts 1 "$BOX" l7_target=/pub/before l7_decision=allow
	expect_verdicts 1 "$BOX" l7_target=/pub/later l7_decision=allow
	run /usr/bin/python3 -c 'import json, sys
ids = [json.loads(line)["id"] for line in sys.stdin]
print(ids == sorted(set(ids)))' < <(osh logs "$BOX" -o json)
	expect_equal "$output" True
}

# What a sandbox has after any number of crashes: its processes, and its place in the list.
expect_same_sandboxes() { # BEFORE
	expect_equal "$(osh sandbox list -o json | /usr/bin/python3 -c 'import json, sys
for s in sorted(json.load(sys.stdin), key=lambda s: s["name"]):
    print(s["name"], s["state"], s["pid"])')" "$1"
}

# Sets PROXY. Between two of them its pid is 0, which to kill(1) means all of us.
has_proxy() {
	BODY=$(osh status -o json)
	PROXY=$(json 'b["proxy_pid"]')
	((PROXY > 0))
}

# Of all that is pinned.
list_links() { find "$(pins)" -path '*/links/*' -type f -exec bpftool link show pinned {} \; | grep -oE '^[0-9]+' | sort -n; }

# F01, F02, F03: each round something dies, or is stopped first, at a moment that the seed chooses.
@test "two hundred deaths under traffic: not a byte too many, no sandbox lost" {
	local i before links sent slowest=0 began took seed=${OSH_SEED:-$RANDOM}
	echo "# seed $seed (OSH_SEED)" >&3
	RANDOM=$seed
	make_sandbox other probe
	make_sandbox rests probe
	osh sandbox stop rests
	INIT=$(pid_of_init)
	before=$(printf 'other running %s\nrests stopped 0\n%s running %s' \
		"$(osh sandbox get other -o json | grep -oP '"pid": \K\d+')" "$BOX" "$INIT")
	links=$(list_links) && [[ $links ]]
	settle
	sent=$(packets 'host 203.0.113.10 and tcp port 5432') # by name, in other tests
	start_prober
	for ((i = 0; i < 200; i++)); do
		read -r -t "0.0$((RANDOM % 10))" <> <(:) || true
		if ((RANDOM % 4 == 0)); then
			wait_until 10 has_proxy # one that keeps dying young comes back later and later
			kill -9 "$PROXY"
			continue
		fi
		((RANDOM % 4)) || kill -STOP "$(<"$AGENT_DIR/agent.pid")"
		agent_crash
		began=${EPOCHREALTIME/./}
		restart
		took=$(((${EPOCHREALTIME/./} - began) / 1000))
		((took <= slowest)) || slowest=$took
	done
	echo "# until the next agent served: at most $slowest ms" >&3
	wait_until 5 serves_again
	expect_same_sandboxes "$before"
	expect_equal "$(list_links)" "$links" "the kernel's own numbers of the links"
	probe_more 2
	expect_absent "$PROBER_CANARY"
	expect_equal "$(packets 'host 203.0.113.10 and tcp port 5432')" "$sent" "packets to an address that nobody may reach"
	# What was left is told.
	(($(osh logs "$BOX" | grep -c "did not stop in order, [0-9]* of its verdicts recovered") >= 100))
	expect_equal "$(osh logs "$BOX" | grep -c "may be missing")" 0
	osh sandbox start rests
	osh sandbox delete other rests
}

# ---- Verdicts ------------------------------------------------------------------------------

# A client inside whose answers are counted: counted.py.
start_counted() {
	INIT=$(pid_of_init)
	put "$BOX" "$E2E/counted.py" /sandbox/counted.py
	inside "$BOX" sh -c 'trap "" HUP; exec python3 /sandbox/counted.py' >/dev/null 2>&1 3>&- &
	answer 3
}

answers() { cat "/proc/$INIT/root/sandbox/answered" 2>/dev/null; }
has_answers() { (($(answers | wc -l) >= $1)); }
# Have it answered so often from the beginning.
goal() {
	echo "$1" >"/proc/$INIT/root/sandbox/goal.new"
	mv "/proc/$INIT/root/sandbox/goal.new" "/proc/$INIT/root/sandbox/goal"
}
# Have it answered so often from now on, and wait for it.
answer() {
	local count=$(($(answers | wc -l) + $1))
	goal "$count"
	wait_until 20 has_answers "$count"
}

# Everything answered is in the journal once, and numbers rise.
expect_each_once() {
	local file=$AGENT_DIR/state/journal/current.jsonl
	answers >"$SCRATCH/answered"
	wait_until 5 has_line "$file" "\"$(tail -n 1 "$SCRATCH/answered" | cut -d' ' -f1)\""
	expect_answered_once "$file"
	BODY=$(osh status -o json)
	expect_equal "$(json 'b["verdicts_lost"], b["journal_dropped"], b["journal_first"]')" "(0, 0, 1)"
}

# The same of a file of records, for what is in $SCRATCH/answered.
expect_answered_once() {
	run -0 /usr/bin/python3 - "$BOX" "$SCRATCH/answered" "$1" <<-'END'
		import collections, json, sys
		box, answered, records = sys.argv[1:]
		records = [json.loads(line) for line in open(records)]
		answered = [line.split() for line in open(answered)]
		ids = [record["id"] for record in records]
		assert ids == sorted(set(ids)), "numbers do not rise"
		times = collections.Counter(r["l7_target"] for r in records if r.get("sandbox") == box and r.get("l7_target"))
		assert {status for path, status in answered} == {"200", "403"}, "no twin"
		bad = [(path, times[path]) for path, status in answered if times[path] != 1]
		assert not bad, f"not once: {bad[:10]} of {len(answered)}"
		assert max(times.values()) == 1, f"twice: {times.most_common(5)}"
		print(len(answered))
	END
	echo "# $output answers" >&3
}

# In the log inside a line may stand twice, and never not at all.
expect_each_in_log() {
	answers | cut -d' ' -f1 | sort -u >"$SCRATCH/paths"
	grep -oE '/(pub|no)/[0-9]+' "/proc/$INIT/root/var/log/openshell.log" | sort -u >"$SCRATCH/logged"
	expect_equal "$(comm -23 "$SCRATCH/paths" "$SCRATCH/logged")" "" "missing in the sandbox's log"
}

# F02
@test "what the proxy recorded while its agent was stopped is there when that one was killed" {
	local follower
	"$BUILD/openshell" logs "$BOX" --tail -o json >"$SCRATCH/followed" 2>/dev/null 3>&- &
	follower=$!
	start_counted
	expect_verdicts 1 "$BOX" l7_target=/pub/2 # and nothing waits in a ring
	kill -STOP "$(<"$AGENT_DIR/agent.pid")"
	answer 200
	agent_crash
	restart
	expect_verdicts 1 "$BOX" "l7_deny_reason~200 of its verdicts recovered"
	answer 3
	expect_each_once
	# The twin: ended in order, nothing is left to recover.
	answer 20
	agent_stop
	restart
	expect_verdicts 1 "$BOX" "l7_deny_reason=sandbox adopted"
	answer 3
	expect_each_once
	# A proxy that is killed leaves the same to the agent that lives.
	kill -STOP "$(<"$AGENT_DIR/agent.pid")"
	answer 100
	wait_until 10 has_proxy_process
	kill -9 "$PROXY"
	kill -CONT "$(<"$AGENT_DIR/agent.pid")"
	answer 3
	expect_each_once
	(($(wc -l <"$SCRATCH/answered") >= 329))
	expect_each_in_log
	# Who followed all the while saw the same.
	wait_until 10 has_line "$SCRATCH/followed" "\"$(tail -n 1 "$SCRATCH/answered" | cut -d' ' -f1)\""
	kill "$follower"
	expect_answered_once "$SCRATCH/followed"
}

# The agent's pins: its cgroup carries the same key.
pins() {
	local cgroup
	cgroup=$(cgroup_of "$(pid_of_init)")
	cgroup=${cgroup%/*}
	echo "/sys/fs/bpf/openshell${cgroup##*openshell-}"
}

# The memory of the kernel goes with the host.
@test "verdicts that may be missing after the host went down are told, and only then" {
	local pins
	pins=$(pins)
	agent_crash
	restart
	expect_verdicts 0 "$BOX" "l7_deny_reason~may be missing"
	agent_crash
	rm -r "$pins/memory"
	restart
	expect_verdicts 1 "$BOX" "l7_deny_reason~may be missing"
	fetch "$BOX" https://ok.test/pub/after
	expect_status 200
	expect_verdicts 1 "$BOX" l7_target=/pub/after
}

# F18
@test "a sweep saves the verdicts that a killed agent left" {
	start_counted
	kill -STOP "$(<"$AGENT_DIR/agent.pid")"
	answer 50
	answers >"$SCRATCH/answered"
	agent_crash
	run -0 "$BUILD/openshelld" --config "$AGENT_DIR/config.yaml" --sweep
	expect_answered_once "$AGENT_DIR/state/journal/current.jsonl"
	restart
	osh logs "$BOX" --all -o json >"$SCRATCH/told"
	expect_answered_once "$SCRATCH/told"
}

# F08, of the proxy's rings.
@test "more verdicts than a ring holds while the agent is stopped: the oldest are lost, and counted" {
	local lost there
	start_counted
	kill -STOP "$(<"$AGENT_DIR/agent.pid")"
	answer 2100 # each of two workers' rings holds 1024
	agent_crash
	restart
	BODY=$(osh status -o json)
	lost=$(json 'b["verdicts_lost"]')
	there=$(count_verdicts "$BOX" l7_target~/ dst_host=ok.test)
	((lost > 0)) && expect_equal "$((there + lost))" "$(($(answers | wc -l) + 1))" # with setup's
	has_line "$AGENT_DIR/state/journal/current.jsonl" "\"$lost verdicts of the proxy were overwritten"
}

# The agent's child, without asking it.
has_proxy_process() {
	PROXY=$(pgrep -P "$(<"$AGENT_DIR/agent.pid")" -f "openshelld proxy")
}

# F01, F02
@test "a hundred deaths under traffic: each verdict is in the journal once" {
	local i seed=${OSH_SEED:-$RANDOM}
	echo "# seed $seed (OSH_SEED)" >&3
	RANDOM=$seed
	start_counted
	for ((i = 0; i < 100; i++)); do
		goal $(($(answers | wc -l) + 400)) # fewer than a ring holds
		read -r -t "0.0$((RANDOM % 10))" <> <(:) || true
		case $((RANDOM % 8)) in
		0) ! has_proxy_process || kill -9 "$PROXY" ;;
		1) agent_stop && restart ;;
		2 | 3) kill -STOP "$(<"$AGENT_DIR/agent.pid")" && read -r -t 0.05 <> <(:) || agent_crash && restart ;;
		*) agent_crash && restart ;;
		esac
	done
	wait_until 10 serves_again
	answer 3
	expect_each_once
	expect_each_in_log
}

# What the journal says behind line SINCE of refused connects to port 5999: those recorded, and those
# known by number only.
refusals_in_journal() {
	/usr/bin/python3 - "$AGENT_DIR/state/journal/current.jsonl" "$SINCE" <<-'END'
		import itertools, json, re, sys
		recorded = by_number = 0
		for record in map(json.loads, itertools.islice(open(sys.argv[1]), int(sys.argv[2]), None)):
		    reason = record.get("l7_deny_reason", "")
		    if number := re.match(r"up to (\d+) refusals by the kernel are known by number only", reason):
		        by_number += int(number[1])
		    elif record.get("dst_port") == 5999:
		        more = re.search(r"\((\d+) more within a second\)", reason)
		        recorded += int(more[1]) if more else 1
		print(recorded, by_number)
	END
}

all_refusals_are_told() {
	local recorded by_number
	read -r recorded by_number < <(refusals_in_journal)
	((recorded + by_number >= $1))
}

# The kernel's refusals wait in a ring of its own; an agent counts those of a second.
@test "refusals of the kernel are recorded or told by their number, whenever the agent is killed" {
	local i refused recorded by_number
	INIT=$(pid_of_init)
	SINCE=$(wc -l <"$AGENT_DIR/state/journal/current.jsonl")
	inside "$BOX" sh -c 'trap "" HUP; exec python3 -' >/dev/null 2>&1 3>&- <<-'END' &
		import os, socket, time
		count = 0
		while not os.path.exists("/sandbox/enough"):
		    with socket.socket() as s:
		        try:
		            s.connect(("203.0.113.10", 5999))
		        except PermissionError:
		            count += 1
		    time.sleep(0.001)
		with open("/sandbox/refused.new", "w") as file:
		    file.write(str(count))
		os.rename("/sandbox/refused.new", "/sandbox/refused")
	END
	wait_until 10 all_refusals_are_told 20
	for ((i = 0; i < 5; i++)); do
		agent_crash
		restart
	done
	touch "/proc/$INIT/root/sandbox/enough"
	wait_until 20 test -e "/proc/$INIT/root/sandbox/refused"
	refused=$(<"/proc/$INIT/root/sandbox/refused")
	wait_until 10 all_refusals_are_told "$refused"
	agent_stop
	restart
	read -r recorded by_number < <(refusals_in_journal)
	echo "# $refused refusals: $recorded recorded, $by_number by number" >&3
	((recorded <= refused && recorded + by_number >= refused && by_number > 0))
}

@test "a policy file torn on disk grants nothing after a restart, until it is set again" {
	local file size cut
	file=$(find "$AGENT_DIR/state/sandboxes/$BOX/policy" -name '*.yaml')
	size=$(stat -c %s "$file")
	cp "$file" "$SCRATCH/whole.yaml"
	for cut in 0 1 $((size / 3)) $((size * 2 / 3)) $((size - 1)); do
		agent_crash
		head -c "$cut" "$SCRATCH/whole.yaml" >"$file"
		restart
		fetch "$BOX" https://ok.test/pub/torn
		[[ $STATUS != 200 ]] || fail "cut at $cut of $size: still allowed"
		fetch "$BOX" https://no.test/pub/torn
		[[ $STATUS != 200 ]]
	done
	settle
	refute has_request 0 /pub/torn
	osh policy set "$BOX" --policy "$(policy probe)" --wait
	fetch "$BOX" https://ok.test/pub/x
	expect_status 200
}

# flip FILE AT BIT
flip() {
	/usr/bin/python3 -c 'import sys
with open(sys.argv[1], "r+b") as file:
    text = bytearray(file.read())
    text[int(sys.argv[2])] ^= 1 << int(sys.argv[3])
    file.seek(0)
    file.write(text)' "$@"
}

# F15: also where the text still is a policy, and another one.
@test "a policy file with a bit flipped on disk grants nothing after a restart, and the whole one does" {
	local file i at bit seed=${OSH_SEED:-$RANDOM}
	echo "# seed $seed (OSH_SEED)" >&3
	RANDOM=$seed
	file=$(find "$AGENT_DIR/state/sandboxes/$BOX/policy" -name '*.yaml')
	cp "$file" "$SCRATCH/whole.yaml"
	for i in {0..5}; do
		agent_crash
		at=$((RANDOM % $(stat -c %s "$SCRATCH/whole.yaml"))) bit=$((RANDOM % 8))
		if ((i == 0)); then # /pub becomes /qub
			at=$(($(grep -bom 1 /pub/ "$SCRATCH/whole.yaml" | cut -d: -f1) + 1)) bit=0
		fi
		cp "$SCRATCH/whole.yaml" "$file"
		flip "$file" "$at" "$bit"
		((i > 0)) || [[ $(grep -c /qub/ "$file") == 1 ]]
		restart
		fetch "$BOX" https://ok.test/qub/flipped
		[[ $STATUS != 200 ]] || fail "byte $at bit $bit: more is allowed"
		fetch "$BOX" https://ok.test/pub/flipped
		[[ $STATUS != 200 ]] || fail "byte $at bit $bit: still allowed"
		expect_equal "$(probe "$BOX" tcp l4.test 5999)" EPERM "byte $at bit $bit"
	done
	settle
	refute has_request 0 /flipped
	agent_crash
	cp "$SCRATCH/whole.yaml" "$file"
	restart
	fetch "$BOX" https://ok.test/pub/x
	expect_status 200
	fetch "$BOX" https://ok.test/qub/x
	expect_status 403
}

# What the agent and its sandboxes have on this machine, one a line, but what grows by design. By numbers where
# the numbers are the survivor's, by names where an agent's are its own.
belongings() {
	local cgroup agent
	agent=$(<"$AGENT_DIR/agent.pid")
	cgroup=$(dirname "$(cgroup_of "$INIT")")
	find "$cgroup" -type d -printf 'cgroup %p\n'
	find "$cgroup" -name cgroup.procs -exec cat {} + | sed 's/^/process /'
	pgrep -P "$agent" -a | sed -E 's/^[0-9]+/child/'
	pgrep -f "^[^ ]*openshell.* (--config|--socket) $AGENT_DIR/" | grep -vx "$agent" | sed 's/^/program /'
	find "/sys/fs/bpf/openshell${cgroup##*openshell-}" -printf 'pin %p\n'
	find "$AGENT_DIR" -not -path '*/journal/*' -printf 'file %p\n'
	grep -hF "$AGENT_DIR/" /proc/self/mountinfo "/proc/$agent/mountinfo" | awk '{ print "mount", $5 }'
	in_px ip -o link | awk '{ print "link", $2 }'
	in_px ip -o addr | awk '{ print "address", $4 }'
	readlink "/proc/$agent/fd/"* | sed -E '/^net:/!s/\[[0-9]+\]//; s/^/holds /'
}
same_belongings() { [[ $(belongings | sort) == "$(<"$1")" ]]; }

# One more sandbox, made and deleted; the agent is killed at some moment of it.
die_amid_round() {
	local pid
	{ osh sandbox create --name "$1" --policy "$(policy probe)" --no-keep -- true </dev/null; osh sandbox delete "$1"; } \
		>/dev/null 2>&1 3>&- &
	pid=$!
	read -r -t "0.0$((RANDOM % 8))$((RANDOM % 10))" <> <(:) || true
	agent_crash
	wait "$pid" || true
	restart || return
	osh sandbox delete "$1" >/dev/null 2>&1 || true
}

# F18
@test "five hundred sandboxes, made and deleted under seeded deaths of the agent, leave nothing" {
	local i said deaths=0 seed=${OSH_SEED:-$RANDOM}
	echo "# seed $seed (OSH_SEED)" >&3
	RANDOM=$seed
	INIT=$(pid_of_init)
	inside "$BOX" sh -c 'tail -f /dev/null >/dev/null 2>&1 &'
	agent_crash
	restart
	make_sandbox first probe
	refute same_belongings <(belongings | sort | grep -v first)
	osh sandbox delete first >/dev/null
	belongings | sort >"$SCRATCH/belongings"
	has_line "$SCRATCH/belongings" "file .*/ca.*pem" && has_line "$SCRATCH/belongings" "^pin " &&
		has_line "$SCRATCH/belongings" "^holds net"
	for ((i = 0; i < 500; i++)); do
		if ((RANDOM % 40 == 0)); then
			die_amid_round "round-$i" || fail "no agent after death $deaths in round $i"
			deaths=$((deaths + 1))
			expect_equal "$(pid_of_init)" "$INIT" "pid of the survivor after death $deaths in round $i"
			fetch "$BOX" https://ok.test/pub/x
			expect_status 200
		elif ((RANDOM % 10 == 0)); then # kept ones take longer: what is kept is on disk first
			said=$(osh sandbox create --name "round-$i" --policy "$(policy probe)" </dev/null 2>&1 && osh sandbox delete "round-$i" 2>&1) ||
				fail "round $i: $said"
		else
			said=$(osh sandbox create --name "round-$i" --policy "$(policy probe)" --no-keep -- true </dev/null 2>&1) ||
				fail "round $i: $said"
		fi
	done
	echo "# $deaths deaths" >&3
	((deaths > 0))
	wait_until 10 same_belongings "$SCRATCH/belongings" || fail "$(diff "$SCRATCH/belongings" <(belongings | sort))"
	expect_equal "$(probe "$BOX" tcp l4.test 5999)" EPERM
	expect_equal "$(osh sandbox list -o name)" "$BOX"
}
