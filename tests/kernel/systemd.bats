#!/usr/bin/env bats
# Under Debian's systemd, installed as `make install` does it (scripts/test-kernel).

bats_require_minimum_version 1.5.0

load ../e2e/helpers
load ../e2e/prober

BUILD=/usr/local/bin
UNIT_CGROUP=/sys/fs/cgroup/system.slice/openshelld.service

setup_file() {
	[[ $(readlink /proc/1/exe) == */systemd ]] || fail "systemd is not pid 1"
	start_world
	make_scratch
	make_cable
	make -s -C "$REPO" install
	mkdir -p /etc/openshell
	printf '%s\n' "upstream_ca: $WORLD_CA" "dns_servers: [$WORLD_DNS]" >/etc/openshell/openshelld.yaml
	rm /etc/resolv.conf
	echo "nameserver $WORLD_DNS" >/etc/resolv.conf
	systemctl daemon-reload
	systemctl enable -q openshelld
}

teardown_file() { [[ ! ${WORLD_NAME:-} ]] || "$REPO/scripts/world" down "$WORLD_NAME"; }

# From the machine's own network into the world's.
make_cable() {
	ip link add h0 type veth peer name h1 netns "${WORLD_PX##*/}"
	ip addr add 172.30.0.2/24 dev h0
	ip link set h0 up
	ip -n "${WORLD_PX##*/}" addr add 172.30.0.1/24 dev h1
	ip -n "${WORLD_PX##*/}" link set h1 up
	ip route add default via 172.30.0.1
	in_px sysctl -qw net.ipv4.ip_forward=1
	ip -n "${WORLD_UP##*/}" route add 172.30.0.0/24 via 203.0.113.1
}

setup() {
	systemctl start openshelld
	BOX=box
}

teardown() {
	osh sandbox detach work 2>/dev/null || true
	osh sandbox delete --all 2>/dev/null || true
	systemctl stop osh-work.slice 2>/dev/null || true
	systemctl reset-failed openshelld
}

main_pid() { systemctl show -P MainPID openshelld; }

# timed COMMAND...: prints how long it took, in milliseconds.
timed() {
	local begin=$EPOCHREALTIME
	"$@"
	echo $(((${EPOCHREALTIME/./} - ${begin/./}) / 1000))
}

# It is known at once, runs on, is served, and nothing passed meanwhile.
expect_adopted() {
	expect_equal "$(pid_of_init)" "$INIT" "pid of the sandbox"
	refute is_gone "$INIT"
	wait_until 5 serves_again
	probe_more 2
	expect_absent "$PROBER_CANARY"
}

@test "the unit has no fault that systemd knows, and starts at boot" {
	run systemd-analyze verify --man=no openshelld.service
	expect_equal "$output" ""
	expect_equal "$(systemctl is-enabled openshelld)" enabled
	expect_equal "$(systemctl show -P Type,ActiveState openshelld | paste -sd,)" notify,active
	run osh status
	expect_equal "$status" 0
}

# F01, F02
@test "systemctl restart: what runs inside goes on, nothing is let through, all is adopted when it returns" {
	local without with agent
	without=$(timed systemctl restart openshelld)
	make_sandbox "$BOX" probe
	INIT=$(pid_of_init) agent=$(main_pid)
	start_prober
	with=$(timed systemctl restart openshelld)
	echo "# restarted in $with ms with a sandbox, in $without ms without" >&3
	[[ $(main_pid) != "$agent" ]]
	expect_adopted
	# Its programs are none of the service's.
	expect_lacks "$(cat "$UNIT_CGROUP/cgroup.procs")" "$INIT"
}

@test "systemctl stop, then start: in between it is closed, and afterwards as it was" {
	local before
	make_sandbox "$BOX" probe
	INIT=$(pid_of_init)
	start_prober
	wait_until 10 allowed_is 200
	systemctl stop openshelld
	[[ ! -e $UNIT_CGROUP ]] || expect_equal "$(<"$UNIT_CGROUP/cgroup.procs")" ""
	wait_until 10 allowed_is failed
	before=$(mark)
	probe_more 2
	refute has_request "$before" /pub/
	systemctl start openshelld
	expect_adopted
}

@test "killed: systemd starts it again" {
	local agent
	make_sandbox "$BOX" probe
	INIT=$(pid_of_init) agent=$(main_pid)
	start_prober
	kill -9 "$agent"
	is_back() { [[ $(systemctl is-active openshelld) == active && $(main_pid) != "$agent" ]]; }
	wait_until 10 is_back
	expect_adopted
}

@test "limits hold over systemd's own work on cgroups" {
	local cgroup
	osh sandbox create --name "$BOX" --cpu 0.5 --memory 96M --pids 30 </dev/null
	cgroup=$(cgroup_of "$(pid_of_init)")
	systemctl daemon-reload
	systemctl daemon-reexec
	systemd-run -q --scope --slice=osh-other.slice true
	expect_equal "$(<"$cgroup/cpu.max")" "50000 100000"
	expect_equal "$(<"$cgroup/memory.max")" $((96 << 20))
	run inside "$BOX" sh -c 'n=0; while [ $n -lt 60 ]; do sleep 100 & n=$((n + 1)); done; echo all'
	expect_lacks "$output" all
}

# in_scope COMMAND...: of the slice that is attached.
in_scope() { systemd-run -q --scope --slice=osh-work.slice "$@"; }
asked() { in_scope curl -sk -m 10 -o /dev/null -w '%{http_code}' "$@"; }

# The output of a service goes to the journal, by a Unix socket: a policy has to name that.
journaled() {
	cat "$(policy probe)"
	printf '  journal:\n    unix_sockets: [/run/systemd/journal/stdout]\n'
}

@test "a slice is attached: its scopes and services, also those started later" {
	local free refused
	free=$(new_canary) refused=$(new_canary)
	systemd-run -q --unit=osh-worker --slice=osh-work.slice tail -f /dev/null
	expect_equal "$(asked -d "$free" https://ok.test/other)" 200
	expect_arrived "$free"
	run -1 osh sandbox attach --cgroup /sys/fs/cgroup/osh.slice/osh-work.slice --policy "$(policy probe)" --allow-degraded
	expect_contains "$output" "a Unix socket that leads outside of the cgroup"
	journaled >"$SCRATCH/journaled.yaml"
	osh sandbox attach --cgroup /sys/fs/cgroup/osh.slice/osh-work.slice --name work --policy "$SCRATCH/journaled.yaml" --allow-degraded
	expect_equal "$(asked https://ok.test/pub/scope)" 200
	expect_equal "$(asked -d "$refused" https://ok.test/other)" 403
	systemctl restart osh-worker
	systemd-run -q --slice=osh-work.slice -p Type=oneshot -p "StandardOutput=file:$SCRATCH/said" \
		curl -sk -m 10 -o /dev/null -w '%{http_code}' -d "$refused" https://ok.test/other
	expect_equal "$(<"$SCRATCH/said")" 403
	expect_verdicts 1 work binary=/usr/bin/curl l7_target=/pub/scope l7_decision=allow
	systemctl restart openshelld
	expect_equal "$(asked -d "$refused" https://ok.test/other)" 403
	expect_absent "$refused"
	osh sandbox detach work
	expect_equal "$(asked -d "$free" https://ok.test/other)" 200
}

@test "a service is attached: its end is the end of the rules" {
	systemd-run -q --unit=osh-worker --slice=osh-work.slice tail -f /dev/null
	begun() { [[ $(<"/proc/$(systemctl show -P MainPID osh-worker)/comm") == tail ]]; } # not one that is to become it
	wait_until 10 begun
	journaled >"$SCRATCH/journaled.yaml"
	osh sandbox attach --cgroup /sys/fs/cgroup/osh.slice/osh-work.slice/osh-worker.service --name work --policy "$SCRATCH/journaled.yaml" --allow-degraded
	expect_equal "$(osh sandbox list | awk '$1 == "work" { print $2 }')" attached
	systemctl stop osh-worker
	gone() { ! osh sandbox get work >/dev/null 2>&1; }
	wait_until 5 gone
}

@test "stopped with no sandbox, it leaves nothing" {
	systemctl stop openshelld
	[[ ! -e $UNIT_CGROUP ]]
	expect_equal "$(find /sys/fs/bpf /sys/fs/cgroup -name '*openshell*')" ""
	refute pgrep -x openshelld
}
