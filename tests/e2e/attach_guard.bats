#!/usr/bin/env bats
# What stands behind the network rules of an attached cgroup: programs of others in its place, and what
# a sandbox has namespaces and a seccomp filter for. A comment names the case (column A of the table).

bats_require_minimum_version 1.5.0

load helpers
load attach

teardown() {
	end_cores
	remove_place
}

# ---- Programs of others ------------------------------------------------------------------------

# place_rewrite CGROUP: tests/e2e/programs/rewrite.bpf.c at its connect hook.
place_rewrite() {
	local pin
	pin=$(findmnt -fno TARGET -t bpf)/osh-rewrite-$$
	clang-14 -target bpf -O2 -g -I"/usr/include/$(gcc -print-multiarch)" -c "$E2E/programs/rewrite.bpf.c" \
		-o "$SCRATCH/rewrite.o"
	bpftool prog load "$SCRATCH/rewrite.o" "$pin"
	bpftool cgroup attach "$1" connect4 pinned "$pin" multi
	rm "$pin"
}

# A40
@test "a program of a cgroup below rewrites where to: what it leads to is judged, whatever it says" {
	local canary
	cat >"$SCRATCH/address.yaml" <<-END
		version: 1
		network_policies:
		  server:
		    endpoints: [{ host: 203.0.113.10, port: 80, protocol: rest, enforcement: enforce, access: full }]
		    binaries: [{ path: /usr/bin/curl }]
	END
	osh sandbox attach --cgroup "$CG" --name box --policy "$SCRATCH/address.yaml" --allow-degraded 2>/dev/null
	# ask CGROUP ADDRESS: in the server's name, with the canary.
	ask() { CG=$1 asked "http://$2/pub/$canary" -H "Host: 203.0.113.10"; }
	mkdir "$CG/below"
	canary=$(new_canary)
	expect_equal "$(ask "$CG/below" 203.0.113.10)" 200
	expect_arrived "$canary"
	canary=$(new_canary)
	expect_equal "$(ask "$CG/below" 10.96.0.1)" 403
	expect_absent "$canary"
	place_rewrite "$CG/below"
	# The service leads to the server that the policy names; the server to a trap.
	expect_equal "$(ask "$CG/below" 10.96.0.1)" 200
	expect_arrived "$canary"
	canary=$(new_canary)
	expect_equal "$(ask "$CG/below" 203.0.113.10)" 403
	expect_absent "$canary"
	expect_verdicts 1 box dst_host=203.0.113.66 l7_decision=deny binary=/usr/bin/curl
	# It has no say elsewhere.
	expect_equal "$(ask "$CG" 203.0.113.10)" 200
	expect_arrived "$canary"
	rmdir "$CG/below"
}

# ---- What the kernel holds ----------------------------------------------------------------------

# hold_by COMMAND...: of $CG, instead of the process that waits there, as in_box says.
hold_by() {
	echo 1 >"$CG/cgroup.kill"
	wait_until 5 empty
	in_box "$@" tail -f /dev/null 3>&- &
	wait_until 10 holds_tail
}

attach_whole() { osh sandbox attach --cgroup "$CG" --name box --policy "${1:-$SCRATCH/probe.yaml}"; }

# expect_named ROW: attach says that it cannot hold this, which is all that there is to test of it then.
expect_named() {
	run -1 attach_whole
	expect_contains "$output" "$1"
}

# A42, A29. As a service that is somebody's own.
@test "what the kernel does not hold is named, row by row; where it holds all, nothing is" {
	local row
	plain
	if guarded; then
		run attach_whole
		expect_equal "${lines[-1]}" box
		expect_lacks "$(osh sandbox get box)" unenforced
	else
		run -1 attach_whole
		for row in "sockets of other families than IP are not refused" "another one's place (ptrace)" \
			"Unix sockets are not judged (abstract ones" "handed in are not refused"; do
			expect_contains "$output" "$row"
		done
		attach
	fi
	expect_lacks "$output" CAP_
	expect_lacks "$output" "leave the cgroup"
	expect_equal "$(asked https://ok.test/pub/x)" 200
	osh sandbox detach box

	# The one that may write to the cgroups above, and the one that sees none of them.
	hold_by capsh --drop=all --inh= -- -c 'exec "$@"' _
	run -1 attach_whole
	expect_contains "$output" "its processes may leave the cgroup"
	# shellcheck disable=SC2016  # for the inner shell
	hold_by unshare --mount sh -c 'mount -o remount,bind,ro "$0" && exec capsh --drop=all --inh= -- -c "exec \"\$@\"" _ "$@"' \
		"$(cgroup_mount)"
	run attach_whole
	expect_lacks "$output" "leave the cgroup"
	osh sandbox detach box 2>/dev/null || true
	# shellcheck disable=SC2016
	hold_by unshare --mount --cgroup sh -c 'umount -l "$0" && mount -t cgroup2 none "$0" &&
		exec capsh --drop=all --inh= -- -c "exec \"\$@\"" _ "$@"' "$(cgroup_mount)"
	run attach_whole
	expect_lacks "$output" "leave the cgroup"
}

# plain COMMAND...: somebody's own, with no capability.
plain() { hold_by setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set=-all --inh-caps=-all "$@"; }

# expect_row TEXT COMMAND...: a process that COMMAND starts is named with it, by plain it is not.
expect_row() {
	"${@:2}"
	run -1 attach_whole
	expect_contains "$output" "$1"
	plain
	expect_unnamed "$1"
}

# expect_unnamed TEXT: of the process that is there now.
expect_unnamed() {
	run attach_whole
	expect_lacks "$output" "$1"
	osh sandbox detach box 2>/dev/null || true
}

# A36
@test "system calls that nobody filters are named" {
	unfiltered() { FILTER="env" plain; }
	expect_row "its system calls are not filtered (perf_event_open, keyctl, userfaultfd)" unfiltered
}

# A44
@test "a PID or an IPC namespace that others are in is named" {
	local signals="its processes may signal programs outside" one guest
	local queues="System V IPC and POSIX queues are shared with programs outside"
	in_spaces() { SPACES=$1 plain; }
	expect_row "$signals" in_spaces --ipc
	expect_row "$queues" in_spaces --pid
	# A guest in its own, also one in a namespace within.
	one=$(<"$CG/cgroup.procs")
	for guest in "" "unshare --pid --fork"; do
		# shellcheck disable=SC2086  # words
		nsenter --target "$one" --pid --ipc $guest tail -f /dev/null 3>&- &
		guest=$!
		wait_until 5 has_child_tail "$guest"
		run -1 attach_whole
		expect_contains "$output" "$signals"
		expect_contains "$output" "$queues"
		end_tree "$guest"
		expect_unnamed "$signals"
		expect_unnamed "$queues"
	done
}
# The last one of PID's line is a tail.
has_child_tail() { [[ $(ps -o comm= -p "$(last_child "$1")") == tail ]]; }
last_child() {
	local pid=$1 child
	while child=$(cat "/proc/$pid/task/$pid/children") && [[ $child ]]; do
		pid=${child%% *}
	done
	echo "$pid"
}
end_tree() {
	kill -KILL "$(last_child "$1")" # the first one of its namespace hears nothing else
	wait "$1" || true
}

# A44: who leads its session is outside; in a session of its own it has no terminal.
@test "a terminal of others that it may type into is named" {
	local row="its processes may type into a terminal of others (TIOCSTI)"
	export -f in_box
	export CG NET PROBES
	# on_terminal WORD...: the process, started on one.
	on_terminal() {
		echo 1 >"$CG/cgroup.kill"
		wait_until 5 empty
		SHELL=/bin/bash script -qefc "in_box $* tail -f /dev/null" /dev/null >/dev/null 2>&1 3>&- < <(tail -f /dev/null --pid=$$) &
		wait_until 10 holds_tail
	}
	on_terminal
	run -1 attach_whole
	if [[ $(cat /proc/sys/dev/tty/legacy_tiocsti 2>/dev/null) != 0 ]]; then
		expect_contains "$output" "$row"
	else
		expect_lacks "$output" "$row"
	fi
	on_terminal setsid
	expect_unnamed "$row"
}

# A43: no limit but 1 keeps a helper from being started.
@test "a helper outside that gets its memory when it crashes is named" {
	local pattern piped limited row="a crash hands its memory to a program outside (core_pattern)"
	dumping() { plain prlimit --core="$1"; }
	pattern=$(</proc/sys/kernel/core_pattern)
	echo "|/bin/false" >/proc/sys/kernel/core_pattern
	dumping 0:0
	run attach_whole
	piped=$output
	dumping 1:1
	run attach_whole
	limited=$output
	echo "$pattern" >/proc/sys/kernel/core_pattern
	expect_contains "$piped" "$row"
	expect_lacks "$limited" "$row"
	osh sandbox detach box 2>/dev/null || true
	[[ $pattern == \|* ]] || { dumping 0:0 && expect_unnamed "$row"; }
}

# A43: no limit keeps a server on a socket from it.
@test "no server outside gets the memory of who crashes in there" {
	local canary
	canary=$(new_canary)
	attach
	serve_cores
	in_cgroup python3 -c "$CRASH" "$canary" 2>/dev/null || true
	ask_cores
	in_cgroup python3 -c "$CRASH" "$canary" 2>/dev/null || true
	expect_no_core "$canary"
}

# ---- Pins ---------------------------------------------------------------------------------------

# A42
@test "who may remove the pins of its rules is named" {
	local row="its processes may remove the rules' pins"
	expect_row "$row" hold_by capsh --drop=all --inh= -- -c 'exec "$@"' _
	# shellcheck disable=SC2016  # for the inner shell
	hold_by unshare --mount sh -c 'umount -l /sys/fs/bpf && exec capsh --drop=all --inh= -- -c "exec \"\$@\"" _ "$@"' _
	expect_unnamed "$row"
}

# with_capabilities NAME...: a process that is nobody and has these alone.
with_capabilities() {
	local list
	list=-all$(printf ',+%s' "$@")
	hold_by setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps "$list" --ambient-caps "$list" --bounding-set "$list"
}

# A42: one at a time; all others that there are to be had, together.
@test "capabilities that the kernel cannot hold are named, the others only where it does not" {
	local cap other=()
	for cap in $(setpriv --dump | awk -F': ' '$1 == "Capability bounding set" { gsub(",", " ", $2); print $2 }'); do
		if [[ $cap != @(sys_admin|dac_read_search|sys_rawio|sys_boot) ]] &&
			{ guarded || [[ $cap != @(net_admin|net_raw|sys_ptrace|sys_module|bpf) ]]; }; then
			other+=("$cap")
			continue
		fi
		with_capabilities "$cap"
		run -1 attach_whole
		expect_contains "$output" "its processes have CAP_${cap^^}, and"
	done
	with_capabilities "${other[@]}"
	expect_unnamed CAP_
}

# To the files of the cgroups above, which are root's, these lead, too; others do not.
@test "a capability that makes up for not being root is one to leave the cgroup with" {
	local cap
	for cap in chown dac_override fowner setuid; do
		FILTER="env" with_capabilities "$cap"
		run -1 attach_whole
		expect_contains "$output" "its processes may leave the cgroup"
		expect_contains "$output" "its processes may remove the rules' pins"
	done
	with_capabilities kill
	expect_unnamed "its processes may leave the cgroup"
	with_capabilities kill
	expect_unnamed "its processes may remove the rules' pins"
}

# A01 to A05
@test "sockets of other families are not made, whatever the capabilities" {
	local before
	before=$(in_cgroup "$PROBES/net-no" families | grep -cE '^(17 3|16 2|38 5) 0$')
	((before >= 2)) || fail "even before: $before"
	guarded || { expect_named "sockets of other families than IP are not refused" && return; }
	attach
	run in_cgroup "$PROBES/net-no" families
	output=$(grep -v -e ESOCKTNOSUPPORT -e EAFNOSUPPORT <<<"$output")
	expect_equal "$(paste -sd, <<<"$output")" "1 1 0,1 2 0,1 3 0,1 5 0,2 1 0,2 2 0,10 1 0,10 2 0,16 2 0,16 3 0"
	expect_contains "$(osh logs box --denied)" "(family 17, type 3, protocol 0)"
	run in_cgroup ip -brief addr
	expect_contains "$output" 198.18.0.1/
	expect_equal "$(asked https://ok.test/pub/x)" 200
}

# A23
@test "no program takes another one's place, nor looks into its memory; it may look at it" {
	local canary pid
	canary=$(new_canary)
	attach "$SCRATCH/probe.yaml"
	in_cgroup "$PROBES/net-ok" hold l4.test 5432 "$SCRATCH/held" < <(tail -f /dev/null --pid=$$) 3>&- &
	wait_until 10 test -s "$SCRATCH/held"
	read -r pid _ <"$SCRATCH/held"
	run in_cgroup grep -c net-ok "/proc/$pid/cmdline"
	expect_equal "$output" 1
	in_cgroup strace -o /dev/null true && traced=yes || traced=no
	if guarded; then
		run in_cgroup "$PROBES/net-no" steal "$SCRATCH/held" "$canary"
		expect_equal "$output" $'pidfd_getfd EPERM\nprocess_vm_writev EPERM\nmem EACCES\nptrace EPERM'
		expect_absent "$canary"
		expect_equal "$traced" no
		expect_contains "$(osh logs box --denied)" "may not act as another one"
	else
		expect_equal "$traced" yes
	fi
	strace -o /dev/null true # T
	in_cgroup kill "$pid"
}

# A36, A42
@test "no program takes hooks away, or changes the network around them" {
	in_cgroup bpftool prog list >/dev/null
	in_cgroup ip link set lo mtu 60000
	guarded || { expect_named CAP_NET_ADMIN && return; }
	attach
	run in_cgroup bpftool prog list
	expect_contains "$output" "Operation not permitted"
	expect_contains "$(osh logs box --denied)" "bpf(2) could take the rules away"
	run in_cgroup ip link set lo mtu 50000
	expect_contains "$output" "Operation not permitted"
	run in_cgroup tc qdisc add dev lo clsact
	expect_contains "$output" "Operation not permitted"
	expect_contains "$(in_cgroup ip link show lo)" "mtu 60000"
	osh sandbox detach box
	in_cgroup ip link set lo mtu 65536
}

# A23, older
@test "a program that is traced already is named" {
	in_cgroup strace -f -o /dev/null tail -f /dev/null --pid=$$ 3>&- &
	is_traced() { cat /proc/[0-9]*/status 2>/dev/null | awk '$1 == "Name:" { n = $2 } $1 == "TracerPid:" && $2 && n == "tail" { f = 1 } END { exit !f }'; }
	wait_until 10 is_traced
	expect_named "one of its processes traces another"
	hold_by
	run attach_whole
	expect_lacks "$output" traces
}

# A02, A30: older
@test "a socket of another family that is there already is a reason to refuse, or recorded" {
	guarded || { expect_named "sockets of other families than IP are not refused" && return; }
	mkfifo "$SCRATCH/packet"
	in_cgroup /usr/bin/python3 -c 'import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); n = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)
print("made", flush=True); open(sys.argv[1]).read()' "$SCRATCH/packet" >"$SCRATCH/made" 3>&- &
	wait_until 5 has_line "$SCRATCH/made" made
	run -1 osh sandbox attach --cgroup "$CG" --name box --policy "$SCRATCH/probe.yaml" --allow-degraded
	expect_contains "$output" "a socket of another family than IP"
	OPTION=--keep-established attach
	expect_contains "$(osh logs box)" "keeps a socket of another family than IP"
	osh sandbox detach box
	echo >"$SCRATCH/packet"
	wait $!
	attach
}

# ---- Unix sockets ----------------------------------------------------------------------------------

name_sockets() {
	cat "$SCRATCH/probe.yaml"
	echo '  helpers:'
	echo "    unix_sockets: [$1]"
}

# A32, A33, A34, D13
@test "of the Unix sockets outside those that the policy names are reached, by every spelling" {
	local canary dir=$SCRATCH/unix
	mkdir "$dir"
	canary=$(new_canary)
	serve_unix "$dir/named" "$dir/other" "@osh-$$"
	name_sockets "$dir/named, $dir/named.dgram, $dir/absent" >"$SCRATCH/named.yaml"
	run said unix "$canary" "$dir/other" "@osh-$$"
	expect_equal "$output" "$dir/other heard sent sent"$'\n'"@osh-$$ heard sent sent" # T
	guarded || { expect_named "Unix sockets are not judged" && return; }
	osh sandbox attach --cgroup "$CG" --name box --policy "$SCRATCH/named.yaml" --allow-degraded 2>/dev/null
	expect_contains "$(osh logs box)" "unix_sockets: $dir/absent is left out"
	canary=$(new_canary)
	run said unix "$canary" "$dir/other" "@osh-$$"
	expect_equal "$output" "$dir/other EPERM EPERM EPERM"$'\n'"@osh-$$ EPERM EPERM EPERM"
	run said unix_spellings "$canary" "$dir/other"
	expect_equal "$(paste -sd, <<<"$output")" EPERM,EPERM,EPERM,EPERM,EPERM,EPERM
	expect_equal "$(heard "$canary")" 0
	# One for each kind of refusal, one for all that equal it within a second; with what to name.
	expect_verdicts 3 box l7_decision=deny 'binary~python3' l7_protocol=unix "l7_deny_reason~(it is bound to @osh-$$"
	expect_verdicts 2 box l7_decision=deny 'binary~python3' l7_protocol=unix "l7_deny_reason~(it is bound to $dir/other.dgram)"
	run said unix "$canary" "$dir/named"
	expect_equal "$output" "$dir/named heard sent sent"
	run said unix_spellings "$canary" "$dir/named"
	expect_equal "$(grep -c '^ok heard$' <<<"$output")" 6 "$output"
	ln "$dir/named" "$dir/hard"
	ln "$dir/other" "$dir/hard-other"
	run said unix "$canary" "$dir/hard" "$dir/hard-other"
	expect_contains "$output" "$dir/hard heard"
	expect_contains "$output" "$dir/hard-other EPERM"
	kill "$SERVER"
}

# A32, A34: also those of a cgroup below.
@test "Unix sockets that its programs bound are its own" {
	local dir=$SCRATCH/own-unix
	mkdir "$dir" "$CG/below"
	attach
	CG=$CG/below in_cgroup /usr/bin/python3 "$E2E/unix_server.py" "$dir/own" "@osh-own-$$" >"$dir/said" 3>&- \
		< <(tail -f /dev/null --pid=$$) &
	wait_until 5 has_line "$dir/said" listening
	run said unix hello "$dir/own" "@osh-own-$$"
	expect_equal "$output" "$dir/own heard sent sent"$'\n'"@osh-own-$$ heard sent sent"
	run said unix_spellings hello "$dir/own"
	expect_equal "$(grep -c '^ok heard$' <<<"$output")" 6 "$output"
	echo 1 >"$CG/below/cgroup.kill"
	gone() { rmdir "$CG/below" 2>/dev/null; }
	wait_until 5 gone
}

# A32: what is within reach is what the policy names now, as it is now.
@test "policy set lets it reach a Unix socket, and takes it back" {
	local canary dir=$SCRATCH/set
	guarded || { expect_named "Unix sockets are not judged" && return; }
	mkdir "$dir"
	serve_unix "$dir/named"
	attach "$SCRATCH/probe.yaml"
	tried() { said unix hello "$dir/named"; }
	expect_equal "$(tried)" "$dir/named EPERM EPERM EPERM"
	name_sockets "$dir/named, $dir/named.dgram" >"$SCRATCH/named.yaml"
	run osh policy set box --policy "$SCRATCH/named.yaml" --wait
	expect_lacks "$output" "applies at creation"
	expect_equal "$(tried)" "$dir/named heard sent sent"
	agent_crash
	agent_start "$AGENT_DIR"
	expect_equal "$(tried)" "$dir/named heard sent sent"
	# Another one at its place is another one, until that is said again.
	kill "$SERVER"
	rm "$dir"/named*
	serve_unix "$dir/named"
	expect_equal "$(tried)" "$dir/named EPERM EPERM EPERM"
	osh policy set box --policy "$SCRATCH/named.yaml" --wait 2>/dev/null
	expect_equal "$(tried)" "$dir/named heard sent sent"
	osh policy set box --policy "$SCRATCH/probe.yaml" --wait 2>/dev/null
	expect_equal "$(tried)" "$dir/named EPERM EPERM EPERM"
	kill "$SERVER"
}

# A30, of Unix sockets
@test "a Unix socket that leads outside already is a reason to refuse, or recorded; its own are none" {
	local dir=$SCRATCH/older
	guarded || { expect_named "Unix sockets are not judged" && return; }
	mkdir "$dir"
	mkfifo "$dir/go"
	/usr/bin/python3 -c 'import socket, sys
server = socket.socket(socket.AF_UNIX); server.bind(sys.argv[1]); server.listen(); print("listening", flush=True)
peer = server.accept()[0]; peer.sendall(b"heard " + peer.recv(99)); sys.stdin.read()' "$dir/outside" >"$dir/said" 3>&- \
		< <(tail -f /dev/null --pid=$$) &
	SERVER=$!
	wait_until 5 has_line "$dir/said" listening
	# holds WHERE: connected there, besides what is its own.
	holds() {
		in_cgroup /usr/bin/python3 -c 'import socket, sys
pair, own = socket.socketpair(), socket.socket(socket.AF_UNIX)
own.bind(""); own.listen()
client = socket.socket(socket.AF_UNIX); client.connect(own.getsockname() if sys.argv[1] == "own" else sys.argv[1])
print("connected", flush=True); open(sys.argv[2]).read()
if sys.argv[1] != "own": client.sendall(b"on and on"); print(client.recv(99).decode())' "$1" "$dir/go" >"$dir/held" 3>&- &
		wait_until 5 has_line "$dir/held" connected
	}
	holds "$dir/outside"
	run -1 attach
	run -1 osh sandbox attach --cgroup "$CG" --name box --policy "$SCRATCH/probe.yaml" --allow-degraded
	expect_contains "$output" "a Unix socket that leads outside of the cgroup"
	# T: one that the policy names.
	name_sockets "$dir/outside" >"$dir/named.yaml"
	osh sandbox attach --cgroup "$CG" --name box --policy "$dir/named.yaml" --allow-degraded 2>/dev/null
	expect_lacks "$(osh logs box)" "keeps a Unix socket"
	osh sandbox detach box
	OPTION=--keep-established attach
	expect_contains "$(osh logs box)" "keeps a Unix socket that leads outside of the cgroup"
	osh sandbox detach box
	echo >"$dir/go"
	wait_until 5 has_line "$dir/held" "heard on and on"
	: >"$dir/held"
	holds own
	attach
	echo >"$dir/go"
	kill "$SERVER"
}

# ---- Sockets and networks from elsewhere ------------------------------------------------------------

# A22: made in the same network, and outside of the cgroup.
@test "a socket that is handed in is not received where the kernel guards it; elsewhere it is told" {
	local canary dir=$SCRATCH/handed
	canary=$(new_canary)
	mkdir "$dir"
	nsenter --net="/run/netns/$NET" /usr/bin/python3 -c 'import os, socket, sys, threading
def serve(server, make):
    while True: socket.send_fds(server.accept()[0], [b"x"], [make().detach()])
pair = socket.socketpair()
for name, make in (("tcp", socket.socket), ("stream", lambda: socket.socket(socket.AF_UNIX)), ("pair", pair[0].dup),
                   ("datagram", lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))):
    server = socket.socket(socket.AF_UNIX); server.bind(sys.argv[1] + "/" + name); server.listen()
    threading.Thread(target=serve, args=(server, make), daemon=True).start()
print("listening", flush=True); sys.stdin.read()' "$dir" >"$dir/said" 3>&- < <(tail -f /dev/null --pid=$$) &
	local helper=$!
	wait_until 5 has_line "$dir/said" listening
	name_sockets "$dir/tcp, $dir/stream, $dir/pair, $dir/datagram" >"$SCRATCH/named.yaml"
	osh sandbox attach --cgroup "$CG" --name box --policy "$SCRATCH/named.yaml" --allow-degraded 2>/dev/null
	run in_cgroup "$PROBES/net-ok" adopt "$dir/tcp" 203.0.113.10 5432 "$canary"
	if guarded; then
		expect_equal "$output" "take EPERM"
		expect_absent "$canary"
		expect_verdicts 1 box l7_decision=deny binary="$PROBES/net-ok" "l7_deny_reason~made outside of the attached cgroup"
		expect_equal "$(in_cgroup "$PROBES/net-ok" adopt "$dir/stream" 203.0.113.10 5432 "")" "take EPERM"
		expect_equal "$(in_cgroup "$PROBES/net-ok" adopt "$dir/datagram" 203.0.113.10 5432 "")" "take EPERM"
	else
		expect_verdicts 1 box l7_decision=audit binary="$PROBES/net-ok" "l7_deny_reason~made outside and handed in"
	fi
	# A connection to whoever hands it out, and a socket of its own.
	run in_cgroup "$PROBES/net-ok" adopt "$dir/pair" 203.0.113.10 5432 ""
	refute grep -q take <<<"$output"
	run in_cgroup "$PROBES/net-ok" tcp l4.test 5432 "$canary"
	expect_contains "$output" "l4 ready"
	kill "$helper"
}

# A20
@test "in another network nothing is reached, whoever asks" {
	local canary
	canary=$(new_canary)
	in_cgroup_of_px "$PROBES/net-ok" tcp 203.0.113.10 5432 "$canary"
	expect_arrived "$canary"
	canary=$(new_canary)
	attach "$SCRATCH/probe.yaml"
	run in_cgroup_of_px "$PROBES/net-ok" tcp 203.0.113.10 5432 "$canary"
	expect_equal "$output" "connect EPERM"
	expect_absent "$canary"
	expect_verdicts 1 box l7_decision=deny binary="$PROBES/net-ok" "l7_deny_reason~outside the sandbox's network"
	run in_cgroup "$PROBES/net-ok" tcp l4.test 5432 "$canary"
	expect_contains "$output" "l4 ready"
}

# A24, A25, A26
@test "the agent's ports and address, and Node's inspector, are not to be had" {
	attach
	run in_cgroup /usr/bin/python3 -c 'import errno, socket
def attempt(do):
    try: do(); print("done")
    except OSError as error: print(errno.errorcode[error.errno])
def bind(port): socket.socket().bind(("127.0.0.1", port))
def dial(host, port): socket.create_connection((host, port), timeout=5)
for port in 1, 53, 8000: attempt(lambda: bind(port))
for port in 9229, 8229: server = socket.create_server(("127.0.0.1", port)); attempt(lambda: dial("127.0.0.1", port))
attempt(lambda: dial("198.18.0.1", 1))'
	expect_equal "$(paste -sd, <<<"$output")" EPERM,EPERM,done,EPERM,done,EPERM
}

# ---- Ways around, with all capabilities ---------------------------------------------------------------

# A13, A19
@test "no option of a socket leads elsewhere" {
	local canary
	canary=$(new_canary)
	attach
	run in_cgroup "$PROBES/net-no" routed ::1 2001:db8::10 9999 "$canary"
	expect_absent "$canary"
	expect_equal "$(packets 'ip6 proto 43 or ip[0] & 0xf > 5')" 0 "routed packets"
	run said options 203.0.113.10 5437 "$canary"
	expect_equal "$(grep -c ' EPERM$' <<<"$output")" 5 "$output"
	expect_absent "$canary"
	run said options l4.test 5432 "" # T
	expect_equal "$(grep -c "ok b'l4 ready" <<<"$output")" 5 "$output"
}

# A15
@test "io_uring connects in its owner's name" {
	local canary
	canary=$(new_canary)
	attach "$SCRATCH/probe.yaml"
	run in_cgroup "$PROBES/net-no" uring 203.0.113.10 5432 "$canary"
	expect_equal "$output" $'plain EPERM\nasync EPERM\nsqpoll EPERM'
	expect_absent "$canary"
	run in_cgroup "$PROBES/net-ok" uring l4.test 5432 "$canary"
	expect_equal "$(grep -c 'l4 ready' <<<"$output")" 3 "$output"
	expect_verdicts 3 box dst_host=l4.test binary="$PROBES/net-ok" l7_decision=allow
}
