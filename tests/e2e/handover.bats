#!/usr/bin/env bats
# Sockets that change hands: from outside into a sandbox (A22), and from one program inside to
# another (B16). What a kernel cannot refuse, it tells.

load helpers

setup_file() {
	start_all
	install_probe
	export HELPER=/var/lib/osh-helper-$$
	mkdir "$HELPER"
	{
		cat "$SCRATCH/probe.yaml"
		echo '  helpers:'
		echo "    unix_sockets: [$HELPER/socket, $HELPER/pipe]"
	} >"$SCRATCH/helped.yaml"
	start_helper
	echo "# what changes hands is $(answer) by this kernel" >&3
	make_sandbox plain "$SCRATCH/probe.yaml"
	make_sandbox helped "$SCRATCH/helped.yaml"
}

teardown_file() {
	[[ ! ${HELPER_PID:-} ]] || kill "$HELPER_PID"
	stop_all
	rm -rf "$HELPER"
}

# Outside, where there is a way out: gives whoever connects a TCP socket, or the end of a pipe.
start_helper() {
	# shellcheck disable=SC2016
	in_px /usr/bin/python3 -c 'import os, socket, sys, threading
def listener(name):
    server = socket.socket(socket.AF_UNIX); server.bind(sys.argv[1] + "/" + name); server.listen()
    os.chmod(sys.argv[1] + "/" + name, 0o666)
    return server
def serve(server, make):
    while True:
        peer = server.accept()[0]
        socket.send_fds(peer, [b"x"], [make()])
def pipe():
    ends = os.pipe(); os.write(ends[1], b"through the pipe"); os.close(ends[1])
    return ends[0]
for name, make in ("socket", lambda: socket.socket().detach()), ("pipe", pipe):
    threading.Thread(target=serve, args=(listener(name), make), daemon=True).start()
print("listening", flush=True)
sys.stdin.read()' "$HELPER" >"$SCRATCH/helper" 3>&- < <(tail -f /dev/null --pid=$$) &
	export HELPER_PID=$!
	wait_until 5 has_line "$SCRATCH/helper" listening
}

# What this kernel can do about it: refused, told or unseen.
answer() {
	osh status -o json | /usr/bin/python3 -c 'import json, sys
lsm = next(f for f in json.load(sys.stdin)["features"] if f["name"] == "BPF LSM")
print("refused" if lsm["present"] else "told" if "recorded" in lsm["fallback"] else "unseen")'
}

# ---- From outside ----------------------------------------------------------------------------

# A22
@test "nobody is there to receive a socket from" {
	local canary
	canary=$(new_canary)
	run net_ok plain adopt "$HELPER/socket" 203.0.113.10 5432 "$canary"
	expect_equal "$output" "take ENOENT"
	expect_absent "$canary"
}

# A22: whoever a policy names is trusted with what it hands out, as far as the kernel can tell.
@test "a socket of the host that a named helper hands out is not received" {
	local canary
	run inside helped python3 -c 'import os, socket, sys
helper = socket.socket(socket.AF_UNIX); helper.connect(sys.argv[1])
print(os.read(socket.recv_fds(helper, 1, 1)[1][0], 100))' "$HELPER/pipe" # T
	expect_equal "$output" "b'through the pipe'"
	canary=$(new_canary)
	run net_ok helped adopt "$HELPER/socket" 203.0.113.10 5432 "$canary"
	case $(answer) in
	refused)
		expect_equal "$output" "take EPERM"
		expect_absent "$canary"
		expect_verdicts 1 helped l7_decision=deny binary="$PROBES/net-ok" "l7_deny_reason~outside the sandbox's network"
		;;
	told)
		expect_arrived "$canary"
		expect_verdicts 1 helped l7_decision=audit binary="$PROBES/net-ok" dst_host=203.0.113.10 dst_port=5432 \
			"l7_deny_reason~made outside and handed in"
		;;
	unseen) expect_arrived "$canary" ;;
	*) fail "the kernel's answer is not known" ;;
	esac
}

# A22
@test "a network socket of the caller is not handed inside" {
	run /usr/bin/python3 -c 'import socket, subprocess, sys
for kind in socket.socket(), socket.socketpair()[0]:
    done = subprocess.run([sys.argv[1], "sandbox", "exec", "plain", "--", "echo", "ran"], stdin=kind, capture_output=True, text=True)
    print(done.returncode, done.stdout + done.stderr, end="")' "$BUILD/openshell"
	expect_equal "${#lines[@]}" 2
	expect_contains "${lines[0]}" "descriptor 0 is a network socket of the outside: put a pipe in between"
	expect_equal "${lines[1]}" "0 ran" # T
}

# ---- Inside ------------------------------------------------------------------------------------

# expect_other ATTEMPT CANARY: net-no sent on net-ok's connection.
expect_other() {
	case $(answer) in
	refused)
		expect_equal "$1" "send EPERM"
		expect_absent "$2"
		expect_verdicts 1 plain l7_decision=deny dst_host=l4.test dst_port=5432 binary="$PROBES/net-no" \
			"l7_deny_reason~opened by another program"
		;;
	told) # what was sent until it ended may arrive
		expect_verdicts 1 plain l7_decision=audit dst_host=l4.test dst_port=5432 binary="$PROBES/net-no" \
			"l7_deny_reason~that another program opened, which ends it"
		;;
	unseen) expect_arrived "$2" ;;
	*) fail "the kernel's answer is not known" ;;
	esac
}

setup() {
	osh sandbox delete plain
	make_sandbox plain "$SCRATCH/probe.yaml"
}

# B16
@test "a connection that was handed over is not the receiver's" {
	local canary borrower how=outlive
	[[ $(answer) != unseen ]] || how=borrow
	for borrower in net-no net-ok; do # T
		canary=$(new_canary)
		# shellcheck disable=SC2016  # for the inner shell
		run inside plain sh -c 'rm -f at end && mkfifo end && exec 9<>end && { "$1/net-ok" lend l4.test 5432 at <&9 >/dev/null & } &&
			until test -S at; do :; done; "$1/$2" "$4" at "$3"; kill $!' _ "$PROBES" "$borrower" "$canary" "$how"
		[[ $borrower == net-no ]] || break
		expect_other "$output" "$canary"
		# Where it could not be refused, it is over.
		[[ $(answer) != told ]] || expect_equal "$output" ended
		how=borrow
	done
	# Another process of the same program, started by the same: the same identity.
	expect_contains "$output" "ok l4 ready"
	expect_arrived "$canary"
	[[ $(answer) == unseen ]] || expect_verdicts 1 plain binary="$PROBES/net-no"
}

# B16
@test "a socket that another program connected is that one's" {
	local canary
	canary=$(new_canary)
	run net_no plain made l4.test 5432 "$PROBES/net-ok" "$canary"
	expect_equal "${lines[0]}" "connect ok"
	expect_other "${lines[1]}" "$canary"
}

# B16: a grant covers what its program starts, whoever opened the connection.
@test "a connection that is passed on by exec or fork is that of the program which started it" {
	local canary
	canary=$(new_canary)
	run net_ok plain pass l4.test 5432 "$PROBES/net-no" "$canary"
	expect_contains "$output" "ok l4 ready"
	expect_arrived "$canary"
	expect_verdicts 1 plain l7_decision=allow dst_host=l4.test binary="$PROBES/net-ok"
	expect_verdicts 0 plain binary="$PROBES/net-no" l7_decision=deny
}
