# shellcheck shell=bash
# What the files about attached cgroups share: a cgroup of somebody else's for each test, with a process
# that waits in it, in a network namespace of its own with a way out.

setup_file() {
	start_all
	install_probe
	PLACE=$(cgroup_mount)/osh-attach-$$
	export PLACE
}

teardown_file() { stop_all; }

setup() {
	CG=$PLACE-$BATS_TEST_NUMBER
	mkdir "$CG"
	make_network
	in_cgroup tail -f /dev/null --pid=$$ 3>&- &
	wait_until 5 populated
}

teardown() {
	osh sandbox detach box 2>/dev/null || true
	echo 1 >"$CG/cgroup.kill"
	wait_until 5 empty
	rmdir "$CG"
	[[ ! ${NET:-} ]] || ip netns del "$NET"
}

populated() { grep -q "populated 1" "$CG/cgroup.events"; }
empty() { grep -q "populated 0" "$CG/cgroup.events"; }

make_network() {
	NET=osh-attach-$$-$BATS_TEST_NUMBER
	ip netns add "$NET"
	ip -n "${WORLD_PX##*/}" link add "c$BATS_TEST_NUMBER" type veth peer name eth0 netns "$NET"
	ip -n "${WORLD_PX##*/}" addr add "172.30.$BATS_TEST_NUMBER.1/24" dev "c$BATS_TEST_NUMBER"
	ip -n "${WORLD_PX##*/}" link set "c$BATS_TEST_NUMBER" up
	ip -n "$NET" link set lo up
	ip -n "$NET" addr add "172.30.$BATS_TEST_NUMBER.2/24" dev eth0
	ip -n "$NET" link set eth0 up
	ip -n "$NET" route add default via "172.30.$BATS_TEST_NUMBER.1"
	in_px sysctl -qw net.ipv4.ip_forward=1
	ip -n "${WORLD_UP##*/}" route replace "172.30.$BATS_TEST_NUMBER.0/24" via 203.0.113.1
}

# Not yet a program of it when it joins: what it executes then is.
in_cgroup() {
	bash -c 'echo $$ >"$1/cgroup.procs" && exec nsenter --net="/run/netns/$2" "${@:3}"' _ "$CG" "$NET" "$@"
}
in_cgroup_of_px() {
	bash -c 'echo $$ >"$1/cgroup.procs" && exec nsenter --net="$2" "${@:3}"' _ "$CG" "$WORLD_PX" "$@"
}

attach() {
	# shellcheck disable=SC2086  # none, or one
	osh sandbox attach --cgroup "$CG" --name box --policy "$(policy probe)" --allow-degraded ${OPTION:-} 2>/dev/null
}

# Is BPF one of this kernel's security modules, so that it guards what is attached?
guarded() {
	osh status -o json | /usr/bin/python3 -c 'import json, sys
sys.exit(not any(f["name"] == "BPF LSM" and f["present"] for f in json.load(sys.stdin)["features"]))'
}

direct() { in_cgroup "$PROBES/net-no" tcp 203.0.113.10 5432 "$1"; } # around every policy
asked() { in_cgroup curl -sk -m 10 -o /dev/null -w '%{http_code}' "$@"; }
