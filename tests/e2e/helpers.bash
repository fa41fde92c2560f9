# shellcheck shell=bash
# What the end-to-end tests share. Each file has one world and one agent, made by
# start_all in setup_file and removed by stop_all in teardown_file.

REPO=$(readlink -f "${BATS_TEST_DIRNAME:?}/../..")
export REPO
export BUILD=${OSH_BUILD_DIR:-$REPO/build}
[[ $BUILD == /* ]] || BUILD=$REPO/$BUILD
E2E=$REPO/tests/e2e
# shellcheck source=scripts/lib/common.bash
. "$REPO/scripts/lib/common.bash"
# shellcheck source=scripts/lib/agent.bash
. "$REPO/scripts/lib/agent.bash"

# ---- World and agent ---------------------------------------------------------------------

start_world() {
	export WORLD_NAME=osh-$$
	local file
	file=$("$REPO/scripts/world" up "$WORLD_NAME") || return
	# shellcheck disable=SC1090  # the world names the file
	. "$file"
	TOKEN=$(<"$WORLD_DIR/token")
	export TOKEN
}

make_scratch() {
	SCRATCH=$(mktemp -d /tmp/openshell-e2e.XXXXXX)
	chmod 0711 "$SCRATCH"
	export SCRATCH
}

start_all() {
	start_world || return
	make_scratch
	agent_start "$SCRATCH/agent" || return
	export AGENT_DIR AGENT_PID AGENT_SOCKET
}

# Every agent started in this file, whoever started it: a test may have ended early.
stop_all() {
	local file name
	for file in "${SCRATCH:-/nonexistent}"/*/agent.pid; do
		[[ -s $file ]] || continue
		AGENT_DIR=${file%/agent.pid}
		OPENSHELL_SOCKET=$AGENT_DIR/run/openshell.sock
		for name in $(osh sandbox list -o name 2>/dev/null); do
			osh sandbox delete "$name" || true
		done
		agent_stop
	done
	[[ ! ${WORLD_NAME:-} ]] || "$REPO/scripts/world" down "$WORLD_NAME"
	rm -rf ${SCRATCH:+"$SCRATCH"} ${PROBES:+"$PROBES"}
}

# The programs of the test build (agent/base/knockout.h), which more than one file uses.
# build_once ARGUMENT...: make, one of the test files that run side by side after the other.
build_once() { flock "$REPO/build" make -s -j2 -C "$REPO" "$@"; }
build_knockout() { build_once KNOCKOUT=1; }

# A world for agents of the test build, which each test starts by itself.
start_knockout() {
	build_knockout
	start_world
	make_scratch
	install_probe
}

# A world for agents that have tests/e2e/preload.c, and FAULTS, the file that tells it of faults. Sandboxes
# see both, in $PROBES.
start_preloaded() {
	start_world
	make_scratch
	install_probe
	build_once build/preload.so
	cp "$REPO/build/preload.so" "$PROBES/"
	export FAULTS=$PROBES/faults
	truncate -s 0 "$FAULTS" "$FAULTS.proxy"
	set_faults "$FAULTS" && set_faults "$FAULTS.proxy"
	chmod 0644 "$FAULTS"{,.proxy} "$PROBES/preload.so"
}

preload_agents() { AGENT_UNDER=(env "LD_PRELOAD=$PROBES/preload.so" "FAULTS_FILE=$FAULTS"); }

# set_faults FILE [CLOCK-OFF [FIRST COUNT]]: COUNT allocations from the FIRST one on will fail.
set_faults() {
	local number bytes='' i
	for number in "${2:-0}" "${3:-0}" "${4:-0}" 0; do
		for i in {1..8}; do
			printf -v bytes '%s\\x%02x' "$bytes" $((number & 255))
			number=$((number >> 8))
		done
	done
	printf '%b' "$bytes" 1<>"$1"
}

# allocations FILE: since set_faults.
allocations() { od -An -t u8 -j 24 -N 8 "$1" | tr -d ' '; }

# A tmux server for this file, with one session that stays: a server whose last session ends goes,
# and the next session meets it on its way out.
start_tmux() {
	export TMUX_SOCKET=osh-$$
	tmux -L "$TMUX_SOCKET" -f /dev/null new-session -d -s stays cat 3>&-
}

# The server leaves its socket behind.
stop_tmux() {
	tmux -L "$TMUX_SOCKET" kill-server 2>/dev/null || true
	rm -f "${TMUX_TMPDIR:-/tmp}/tmux-$UID/$TMUX_SOCKET"
}

# Is BPF one of this kernel's security modules, so that it guards what is attached?
guarded() {
	osh status -o json | /usr/bin/python3 -c 'import json, sys
sys.exit(not any(f["name"] == "BPF LSM" and f["present"] for f in json.load(sys.stdin)["features"]))'
}

cgroup_mount() { awk '$0 ~ / - cgroup2 / { print $5; exit }' /proc/self/mountinfo; }

cgroup_of() {
	echo "$(cgroup_mount)$(awk -F: '$1 == 0 { print $3 }' "/proc/$1/cgroup")"
}

in_px() { nsenter --net="$WORLD_PX" "$@"; }

# ---- The program under test ------------------------------------------------------------------

osh() { "$BUILD/openshell" "$@"; }

# What the CLI says on stderr where the agent takes longer than a second, as it does on a busy
# machine, is no part of what a test compares.
PROGRESS=$'openshell: [a-z][a-z ]* \\.\\.\\.(\n|$)'
without_progress() {
	local text=$1
	while [[ $text =~ $PROGRESS ]]; do
		text=${text/"${BASH_REMATCH[0]}"/}
	done
	printf '%s' "$text"
}

# bats' own, without it.
eval "bats_$(declare -f run)"
run() {
	local result=0
	bats_run "$@" || result=$?
	if [[ $output =~ $PROGRESS ]]; then
		output=$(without_progress "$output")
		bats_separate_lines lines output
	fi
	if [[ ${stderr:-} =~ $PROGRESS ]]; then
		stderr=$(without_progress "$stderr")
		bats_separate_lines stderr_lines stderr
	fi
	return "$result"
}

policy() { echo "$E2E/policies/$1.yaml"; }

# make_sandbox NAME POLICY [OPTION...]: POLICY is a name in policies/, a path, or "default".
make_sandbox() {
	local name=$1 file=$2 said
	shift 2
	[[ $file == /* || $file == default ]] || file=$(policy "$file")
	[[ $file == default ]] || set -- --policy "$file" "$@"
	said=$(osh sandbox create --name "$name" "$@" </dev/null 2>&1) || fail "$said"
}

# inside NAME COMMAND...
inside() {
	local name=$1
	shift
	osh sandbox exec "$name" -- "$@"
}

# put NAME FILE PATH: a copy of FILE at PATH inside, executable.
put() {
	inside "$1" sh -c 'cat >"$1" && chmod 0755 "$1"' _ "$3" <"$2"
}

# probe NAME ARGUMENT...: tests/e2e/probe.py, by the sandbox's own python.
probe() {
	local name=$1
	shift
	inside "$name" /usr/bin/python3 - "$@" <"$E2E/probe.py"
}

# install_probe: tests/e2e/probe.c as $PROBES/net-ok, which $SCRATCH/probe.yaml names, and as net-no,
# which nothing names: the same bytes, in a directory that every sandbox shows.
install_probe() {
	build_once build/probe || return
	export PROBES=/opt/osh-probe-$$
	mkdir "$PROBES"
	cp "$REPO/build/probe" "$PROBES/net-ok"
	cp "$REPO/build/probe" "$PROBES/net-no"
	sed "s|/opt/osh-probe|$PROBES|; s|read_only: \[|&$PROBES, |" "$(policy probe)" >"$SCRATCH/probe.yaml"
}

# net_ok NAME COMMAND..., net_no: the probe, by either name.
net_ok() { inside "$1" "$PROBES/net-ok" "${@:2}"; }
net_no() { inside "$1" "$PROBES/net-no" "${@:2}"; }

# fetch NAME URL [OPTION...]: sets STATUS (of HTTP) and BODY.
fetch() {
	local name=$1 url=$2 answer
	shift 2
	answer=$(inside "$name" curl -sS -m 20 -w '\n%{http_code}' "$@" "$url" 2>&1)
	answer=$(without_progress "$answer")
	STATUS=${answer##*$'\n'}
	BODY=${answer%$'\n'*}
}

# json EXPRESSION: of $BODY as `b`, e.g. json 'b["error"]'.
json() {
	/usr/bin/python3 -c 'import json, sys; b = json.loads(sys.argv[2]); print(eval(sys.argv[1]))' "$1" "$BODY"
}

# ---- Assertions ---------------------------------------------------------------------------------

# A bare `! command` does not fail a test; this does.
refute() {
	! "$@" || fail "should have failed: $*"
}

fail() {
	printf '%s\n' "$@" >&2
	return 1
}

# expect_equal ACTUAL EXPECTED [WHAT]
expect_equal() {
	[[ $1 == "$2" ]] || fail "${3:-value}: expected '$2', got '$1'" "status: ${STATUS:-} body: ${BODY:-}"
}

# expect_contains TEXT PART
expect_contains() {
	[[ $1 == *"$2"* ]] || fail "expected '$2' in:" "$1"
}

expect_lacks() {
	[[ $1 != *"$2"* ]] || fail "did not expect '$2' in:" "$1"
}

expect_status() { expect_equal "$STATUS" "$1" "HTTP status"; }

# server_says NAME RESPONSE: the server answers /pub/exact/NAME with these bytes (printf's escapes).
server_says() {
	mkdir -p "$WORLD_DIR/files"
	printf '%b' "$2" >"$WORLD_DIR/files/$1"
}

# hold_flow NAME: a flow to ok.test that stays, from in there. ask_held TIMES: it has answered that often, and as
# often a new one has. end_held: no more of it.
hold_flow() {
	put "$1" "$E2E/crowd.py" /sandbox/crowd.py
	rm -f "$SCRATCH/held"
	mkfifo "$SCRATCH/asks"
	inside "$1" /usr/bin/python3 /sandbox/crowd.py hold ok.test 1 <"$SCRATCH/asks" >"$SCRATCH/held" 2>&1 3>&- &
	exec {asks}>"$SCRATCH/asks"
	rm "$SCRATCH/asks"
	wait_until 10 has_line "$SCRATCH/held" '^200$' || fail "$(<"$SCRATCH/held")"
}

held_answered() { (($(grep -cx '200 new 200' "$SCRATCH/held") >= $1)); }
ask_held() {
	echo >&"$asks"
	wait_until 10 held_answered "$1" || fail "$(<"$SCRATCH/held")"
}
end_held() { exec {asks}>&-; }

# ---- Witnesses: what was recorded, what arrived ------------------------------------------------

# verdicts NAME FIELD=VALUE...: the sandbox's records whose fields have these values, as
# JSON lines. FIELD~PART asks for a part.
verdicts() {
	local name=$1
	shift
	osh logs "$name" -o json | /usr/bin/python3 "$E2E/verdicts.py" "$@"
}

count_verdicts() { verdicts "$@" | wc -l; }

has_verdicts() {
	local count=$1
	shift
	(($(count_verdicts "$@") >= count))
}

# expect_verdicts COUNT NAME FIELD=VALUE...: exactly that many, once they have arrived.
expect_verdicts() {
	local count=$1
	shift
	wait_until 5 has_verdicts "$count" "$@" || true
	local got
	got=$(count_verdicts "$@")
	((got == count)) || fail "expected $count records with: ${*:2}; got $got of:" \
		"$(osh logs "$1" -o json | tail -n 6)"
}

# A text that stands nowhere else.
new_canary() { echo "canary$(od -An -N10 -tx1 /dev/urandom | tr -d ' \n')"; }

wire_has() { grep -qaF -- "$1" "$WORLD_DIR/capture.pcap"; }

# Everything that was sent before now has been captured and logged when this returns.
settle() {
	local marker
	marker=$(new_canary)
	in_px bash -c "echo $marker >/dev/udp/203.0.113.10/9999"
	wait_until 5 wire_has "$marker" && wait_until 5 has_line "$WORLD_DIR/requests.log" "$marker"
}

arrived() {
	grep -qaF -- "$1" "$WORLD_DIR/capture.pcap" "$WORLD_DIR/requests.log" "$WORLD_DIR/dns.log"
}

expect_arrived() { wait_until 5 arrived "$1" || fail "'$1' did not arrive at any server"; }

expect_absent() {
	settle || return
	! arrived "$1" || fail "'$1' left the machine:" \
		"$(grep -aFc -- "$1" "$WORLD_DIR/capture.pcap" "$WORLD_DIR/requests.log" "$WORLD_DIR/dns.log")"
}

# packets FILTER: how many frames on the wire match (tcpdump's language).
packets() { tcpdump -nr "$WORLD_DIR/capture.pcap" "$@" 2>/dev/null | wc -l; }

# How many requests arrived with TEXT in their head, in clear or inside Basic.
seen() { /usr/bin/python3 "$REPO/scripts/world.d/seen" "$WORLD_DIR" "$1"; }

# has_request SINCE PART...: a request after line SINCE of the log, with all PARTs in its record.
has_request() {
	local since=$1 found part
	shift
	found=$(events_since "$since" | grep -F '"event": "request"')
	for part in "$@"; do
		found=$(grep -F -- "$part" <<<"$found")
	done
	[[ $found ]]
}

# What the servers saw since MARK (a number of lines): marks=$(mark); events_since "$marks"
mark() { wc -l <"$WORLD_DIR/requests.log"; }
events_since() { tail -n +$(($1 + 1)) "$WORLD_DIR/requests.log"; }

# ---- Networks of others -------------------------------------------------------------------------

# make_network NAME: a namespace as a container's manager makes one, with a cable into the world, which
# routes. One for each test.
make_network() {
	local net=172.30.$BATS_TEST_NUMBER
	ip netns add "$1"
	ip -n "${WORLD_PX##*/}" link add "c$BATS_TEST_NUMBER" type veth peer name eth0 netns "$1"
	ip -n "${WORLD_PX##*/}" addr add "$net.1/24" dev "c$BATS_TEST_NUMBER"
	ip -n "${WORLD_PX##*/}" link set "c$BATS_TEST_NUMBER" up
	ip -n "$1" link set lo up
	ip -n "$1" addr add "$net.2/24" dev eth0
	ip -n "$1" link set eth0 up
	ip -n "$1" route add default via "$net.1"
	in_px sysctl -qw net.ipv4.ip_forward=1
	ip -n "${WORLD_UP##*/}" route replace "$net.0/24" via 203.0.113.1
}

# ---- What a process uses --------------------------------------------------------------------------

# cpu_ms PID: spent so far.
cpu_ms() { awk -v hz="$(getconf CLK_TCK)" '{ print int(($14 + $15) * 1000 / hz) }' "/proc/$1/stat"; }

descriptors() { find "/proc/$1/fd" -mindepth 1 | wc -l; }
has_at_most() { (($(descriptors "$1") <= $2)); } # PID COUNT: descriptors

# ---- Servers of core dumps ----------------------------------------------------------------------

# shellcheck disable=SC2034  # for the files
CRASH="import ctypes; ctypes.string_at(0)" # a canary that follows lies in its memory

# serve_cores: core_pattern leads to tests/e2e/core_server.py from here to expect_no_core, or to end_cores
# in teardown; ask_cores: in the form that asks first.
serve_cores() {
	[[ $(printf '%s\n' 6.16 "$(uname -r)" | sort -V | head -n 1) == 6.16 ]] || skip "core_pattern knows no sockets before Linux 6.16"
	rm -f "$SCRATCH/core.socket"
	/usr/bin/python3 "$E2E/core_server.py" "$SCRATCH/core.socket" >"$SCRATCH/core.out" 3>&- < <(tail -f /dev/null --pid=$$) &
	CORE_SERVER=$!
	wait_until 5 has_line "$SCRATCH/core.out" listening
	CORE_PATTERN=$(</proc/sys/kernel/core_pattern)
	echo "@$SCRATCH/core.socket" >/proc/sys/kernel/core_pattern
}
ask_cores() { echo "@@$SCRATCH/core.socket" >/proc/sys/kernel/core_pattern; }
end_cores() {
	[[ ${CORE_SERVER:-} ]] || return 0
	echo "$CORE_PATTERN" >/proc/sys/kernel/core_pattern
	kill "$CORE_SERVER"
	CORE_SERVER=
}

# expect_no_core CANARY: nobody came so far; who crashes outside does come, in both forms, with a canary of
# its own.
expect_no_core() {
	local twin
	twin=$(new_canary)
	prlimit --core=1:1 python3 -c "$CRASH" "$twin" 2>/dev/null || true
	wait_until 5 has_line "$SCRATCH/core.out" connected
	echo "@$SCRATCH/core.socket" >/proc/sys/kernel/core_pattern
	prlimit --core=1:1 python3 -c "$CRASH" "$twin" 2>/dev/null || true
	wait_until 5 has_line "$SCRATCH/core.out" "$twin"
	end_cores
	expect_equal "$(<"$SCRATCH/core.out")" $'listening\nconnected\nconnected\n'"$twin" "crashes"
	refute grep -F -- "$1" "$SCRATCH/core.out"
}

# ---- Faults from outside ----------------------------------------------------------------------

is_traced() { (($(awk '$1 == "TracerPid:" { print $2 }' "/proc/$traced/status"))); }
# strace_on PID OPTION...: strace on it and what it makes, until end_strace.
strace_on() {
	traced=$1
	strace -f -qq "${@:2}" -p "$traced" 3>&- &
	tracer=$!
	wait_until 10 is_traced || fail "strace does not attach"
}
# with_strace OPTION...: the same on the agent.
with_strace() {
	AGENT_PID=$(<"$AGENT_DIR/agent.pid") # a test before this one may have started another
	strace_on "$AGENT_PID" "$@"
}
end_strace() {
	kill "$tracer" || true # it ends with whom it traces
	wait "$tracer" 2>/dev/null || true
	! is_traced 2>/dev/null
}
