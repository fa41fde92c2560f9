#!/usr/bin/env bats
# Containers of runc, attached: files of their own, a network of their own or the agent's. What a policy
# names exists in the container alone. A comment names the case (column A of the table).

bats_require_minimum_version 1.5.0

load helpers

setup_file() {
	start_all
	make -s -C "$REPO" build/probe
	export APP=/opt/osh-app-$$
	sed "s|/opt/osh-app|$APP|" "$(policy container)" >"$SCRATCH/container.yaml"
	export PREFIX=osh-$$-container
}

teardown_file() {
	rm -rf "$APP"
	stop_all
}

setup() {
	BOX=$PREFIX-$BATS_TEST_NUMBER
	BUNDLE=$SCRATCH/$BOX
	CG=$(cgroup_mount)/$BOX
	make_network "$BOX"
	mkdir -p "$BUNDLE/rootfs$APP"
	mkfifo "$BUNDLE/stdin"
	exec {stdin}<>"$BUNDLE/stdin"
}

teardown() {
	osh sandbox detach box 2>/dev/null || true
	runc_ delete -f "$BOX"
	ip netns del "$BOX"
	rm -rf "$BUNDLE"
}

# runc asks /sys/fs/cgroup which version is in use: where both are, it shall be the second.
runc_() {
	unshare -m --propagation private bash -c 'mount --bind "$0" /sys/fs/cgroup && exec runc --root "$@"' \
		"$(cgroup_mount)" "$SCRATCH/runc" "$@"
}

# make_bundle [NETNS [OPTION...]]: see bundle.py.
make_bundle() {
	runc_ spec --bundle "$BUNDLE"
	/usr/bin/python3 "$E2E/bundle.py" "$BUNDLE" "/$BOX" "${1:-/run/netns/$BOX}" "${@:2}"
	cp /usr/bin/curl "$BUILD/probe" "$BUNDLE/rootfs$APP"
	echo "nameserver $WORLD_DNS" >"$BUNDLE/rootfs/etc/resolv.conf"
}

# It has yet to be started; what it says is in $BUNDLE/said.
create_container() {
	runc_ create --bundle "$BUNDLE" "$BOX" <"$BUNDLE/stdin" >>"$BUNDLE/said" 2>&1 3>&- {stdin}>&- || fail "$(<"$BUNDLE/said")"
}

run_container() { create_container && runc_ start "$BOX"; }

attach() {
	osh sandbox attach --cgroup "$CG" --name box --policy "$SCRATCH/container.yaml" --allow-degraded >"$SCRATCH/attached" 2>&1 ||
		fail "$(<"$SCRATCH/attached")"
	osh sandbox get box --ca >"$BUNDLE/rootfs/etc/ca.pem"
}

# main COMMAND: by the container's main program, which ran before.
main() {
	local mark
	mark=$(new_canary)
	: >"$BUNDLE/said"
	printf '%s\n' "$1" "echo $mark" >&"$stdin"
	wait_until 20 has_line "$BUNDLE/said" "$mark" || fail "$(<"$BUNDLE/said")"
	sed "s/$mark//; /^\$/d" "$BUNDLE/said"
}

# later COMMAND: by a program that its manager starts in it.
later() { runc_ exec "$BOX" sh -c "$1"; }

# status_of PROGRAM [OPTION...] URL: the command; certificates count.
status_of() { echo "$1 -sS -m 10 --cacert /etc/ca.pem -o /dev/null -w '%{http_code}' ${*:2} 2>&1"; }

# Everything is reached, with the servers' own certificates.
expect_free() {
	local sent
	sent=$(new_canary)
	cp "$WORLD_CA" "$BUNDLE/rootfs/etc/ca.pem"
	expect_equal "$(main "$(status_of "$APP/curl" -d "$sent" https://ok.test/other)")" 200
	expect_arrived "$sent"
}

# By the policy: programs by their paths in the container, requests by method and path, names by the agent.
# BY: main or later.
expect_judged() {
	local by=$1 refused sent
	refused=$(new_canary) sent=$(new_canary)
	expect_equal "$("$by" "$(status_of "$APP/curl" https://ok.test/pub/"$by")")" 200
	expect_equal "$("$by" "$(status_of "$APP/curl" -d "$refused" https://ok.test/pub/"$by")")" 403
	expect_equal "$("$by" "$(status_of /usr/bin/curl -d "$refused" https://ok.test/pub/"$by")")" 403
	expect_equal "$("$by" "$(status_of "$APP/curl" https://"$refused".ok.test/)")" 403
	expect_equal "$("$by" "$APP/probe tcp l4.test 5432 $sent" | head -n 1)" "ok l4 ready"
	expect_equal "$("$by" "$APP/probe tcp 203.0.113.10 5432 $refused")" "connect EPERM"
	expect_arrived "$sent"
	expect_absent "$refused"
	expect_verdicts 1 box "binary=$APP/curl" "l7_target=/pub/$by" l7_action=GET l7_decision=allow
	expect_verdicts 1 box "binary=$APP/curl" "l7_target=/pub/$by" l7_action=POST l7_decision=deny
	expect_verdicts 1 box "dst_host=$refused.ok.test" "binary=$APP/curl" l7_decision=deny
}

# B18
expect_attached_life() {
	expect_free
	attach
	expect_judged main
	expect_judged later
	expect_verdicts 2 box binary=/usr/bin/curl l7_decision=deny
	expect_verdicts 2 box "binary=$APP/probe" dst_host=l4.test l7_decision=allow
	expect_verdicts 2 box "binary=$APP/probe" dst_host=203.0.113.10 l7_decision=deny
	osh sandbox detach box
	expect_free
}

@test "a container with a network of its own: before, attached, detached" {
	make_bundle
	run_container
	expect_attached_life
	expect_equal "$(ip -n "$BOX" -o addr show lo | grep -c 198.18)" 0
}

@test "a container in the host's network: before, attached, detached" {
	local free
	make_bundle "$WORLD_PX"
	run_container
	expect_attached_life
	# Others in that network are none of its business.
	free=$(new_canary)
	in_px curl -sk -m 10 -d "$free" --resolve ok.test:443:203.0.113.10 https://ok.test/other
	expect_arrived "$free"
}

# B18: what the host has at that path is another file, whoever runs it in there.
@test "the host's file at a path that the policy names is not the container's" {
	local refused sent
	refused=$(new_canary) sent=$(new_canary)
	make_bundle
	run_container
	mkdir "$APP"
	cp "$BUILD/probe" "$APP/probe"
	attach
	bash -c 'echo $$ >"$1/cgroup.procs" && exec nsenter --net="$2" "${@:3}"' _ "$CG" "/run/netns/$BOX" \
		"$APP/probe" tcp l4.test 5432 "$refused" || true
	expect_absent "$refused"
	expect_verdicts 1 box "binary=$APP/probe" l7_decision=deny
	expect_equal "$(later "$APP/probe tcp l4.test 5432 $sent" | head -n 1)" "ok l4 ready"
	expect_arrived "$sent"
}

# A41: attached between its creation and its start, it has never run without rules.
@test "a container that is created, attached and then started" {
	local refused
	refused=$(new_canary)
	echo "$APP/probe tcp 203.0.113.10 5432 $refused" >&"$stdin"
	make_bundle
	create_container
	attach
	runc_ start "$BOX"
	expect_judged main
	expect_contains "$(verdicts box dst_host=203.0.113.10)" "$APP/probe"
	expect_absent "$refused"
}

# A42, A29
@test "a container's capabilities are named, those of runc's own configuration are none" {
	make_bundle
	run_container
	if guarded; then
		# As it is, all holds.
		osh sandbox attach --cgroup "$CG" --name box --policy "$SCRATCH/container.yaml" >"$SCRATCH/attached"
		expect_lacks "$(osh sandbox get box)" unenforced
	else
		attach
	fi
	for row in CAP_ "leave the cgroup" pins filtered signal "System V" core_pattern TIOCSTI; do
		expect_lacks "$(<"$SCRATCH/attached")" "$row"
	done
	expect_contains "$(main 'echo $$ >/sys/fs/cgroup/cgroup.procs')" "Read-only file system"
}

# A36, A44
@test "a container without a filter, or in a namespace of the host, is named with that" {
	make_bundle "/run/netns/$BOX" unfiltered hostpid hostipc
	run_container
	run -1 osh sandbox attach --cgroup "$CG" --name box --policy "$SCRATCH/container.yaml"
	for row in "system calls are not filtered" "may signal programs outside" "System V IPC and POSIX queues are shared"; do
		expect_contains "$output" "$row"
	done
	expect_free
}

@test "a container with more capabilities is named with them" {
	make_bundle "/run/netns/$BOX" CAP_NET_RAW CAP_SYS_ADMIN
	run_container
	run -1 osh sandbox attach --cgroup "$CG" --name box --policy "$SCRATCH/container.yaml"
	guarded && named=CAP_SYS_ADMIN || named="CAP_NET_RAW, CAP_SYS_ADMIN"
	expect_contains "$output" "its processes have $named, and"
	expect_free
}

@test "in a user namespace of its own, those over its network are named, if the kernel does not hold them" {
	make_bundle "" userns CAP_NET_RAW CAP_SYS_ADMIN
	run_container
	attach
	if guarded; then
		expect_lacks "$(<"$SCRATCH/attached")" CAP_
	else
		expect_contains "$(<"$SCRATCH/attached")" "processes have CAP_NET_RAW, and"
	fi
}

# list_pins CGROUP-NUMBER: pins have that for a name.
list_pins() { find /sys/fs/bpf -ignore_readdir_race -path "*/attached/$1*"; }

@test "a container that ends while it is attached leaves nothing" {
	local number
	make_bundle
	run_container
	attach
	number=$(stat -c %i "$CG")
	[[ $(list_pins "$number") ]]
	# Its cgroup is there as long as its manager keeps it.
	runc_ kill "$BOX" KILL
	wait_until 5 grep -q "populated 0" "$CG/cgroup.events"
	expect_equal "$(osh sandbox list | awk '$1 == "box" { print $2 }')" attached
	runc_ delete "$BOX"
	gone() { ! osh sandbox get box >/dev/null 2>&1; }
	wait_until 5 gone
	expect_lacks "$(osh sandbox list)" box
	expect_equal "$(ip -n "$BOX" -o addr show lo | grep -c 198.18)" 0
	expect_equal "$(list_pins "$number")" ""
	[[ ! -e $AGENT_DIR/state/sandboxes/box ]]
	# The same container anew is another cgroup.
	run_container
	expect_free
}

@test "a container that is paused is attached as it is, and goes on by the rules" {
	make_bundle
	run_container
	runc_ pause "$BOX"
	attach
	expect_equal "$(<"$CG/cgroup.freeze")" 1
	runc_ resume "$BOX"
	expect_judged main
}
