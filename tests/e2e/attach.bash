# shellcheck shell=bash
# What the files about attached cgroups share: a cgroup of somebody else's for each test, with a process
# that waits in it, in a network namespace of its own with a way out.

setup_file() { start_attaching; }
start_attaching() {
	start_all
	install_probe
	gcc -O -static -o "$PROBES/filtered" "$E2E/programs/filtered.c"
	PLACE=$(cgroup_mount)/osh-attach-$$
	export PLACE
}

teardown_file() { stop_all; }

setup() { make_place; }
make_place() {
	CG=$PLACE-$BATS_TEST_NUMBER
	mkdir "$CG"
	NET=osh-attach-$$-$BATS_TEST_NUMBER
	make_network "$NET"
	in_cgroup tail -f /dev/null --pid=$$ 3>&- &
	wait_until 5 holds_tail
}

teardown() { remove_place; }
remove_place() {
	osh sandbox detach box 2>/dev/null || true
	echo 1 >"$CG/cgroup.kill"
	wait_until 5 empty
	rmdir "$CG"
	[[ ! ${NET:-} ]] || ip netns del "$NET"
}

# holds_tail [CGROUP]: what waits there has begun; who joined to become it is another program, elsewhere.
holds_tail() { [[ $(ps -o comm= -p "$(paste -sd, "${1:-$CG}/cgroup.procs")") == tail ]]; }
empty() { grep -q "populated 0" "$CG/cgroup.events"; }

# Not yet a program of it when it joins: what it executes then is.
in_cgroup() {
	bash -c 'echo $$ >"$1/cgroup.procs" && exec nsenter --net="/run/netns/$2" "${@:3}"' _ "$CG" "$NET" "$@"
}
# As what a container manager starts: PIDs and IPC are its own (SPACES), its system calls are filtered
# (FILTER). Its parent, outside and in neither namespace, waits for it.
in_box() {
	local pid=() ipc=() spaces=${SPACES---pid --ipc}
	[[ $spaces != *--pid* ]] || pid=(--pid)
	[[ $spaces != *--ipc* ]] || ipc=(--ipc)
	unshare "${pid[@]}" --fork bash -c 'echo 0 >"$1/cgroup.procs" && exec nsenter --net="/run/netns/$2" "${@:3}"' \
		_ "$CG" "$NET" unshare "${ipc[@]}" "${FILTER-$PROBES/filtered}" "$@"
}
in_cgroup_of_px() {
	bash -c 'echo $$ >"$1/cgroup.procs" && exec nsenter --net="$2" "${@:3}"' _ "$CG" "$WORLD_PX" "$@"
}

# attach [POLICY]
attach() {
	# shellcheck disable=SC2086  # none, or one
	osh sandbox attach --cgroup "$CG" --name box --policy "${1:-$(policy probe)}" --allow-degraded ${OPTION:-} 2>/dev/null
}

# The attached cgroup's links: program and number.
list_links() {
	{ bpftool prog show && bpftool link show; } | awk -v cgroup="$(stat -c %i "$CG")" '
		$3 == "name" { name[$1] = $4 }
		$3 == "prog" { program = $4 ":"; link = $1 + 0 }
		$1 == "cgroup_id" && $2 == cgroup { print name[program], link }'
}
# In a session of its own: who is stopped in a group whose last tie to its session ends brings SIGHUP to all of it.
AGENT_UNDER=(setsid)
# Attachments are not mended while it is held.
hold_agent() { kill -STOP "$(<"$AGENT_DIR/agent.pid")" 2>/dev/null || true; }
release_agent() { kill -CONT "$(<"$AGENT_DIR/agent.pid")" 2>/dev/null || true; }

direct() { in_cgroup "$PROBES/net-no" tcp 203.0.113.10 5432 "$1"; } # around every policy
asked() { in_cgroup curl -sk -m 10 -o /dev/null -w '%{http_code}' "$@"; }

# ---- Unix sockets ----------------------------------------------------------------------------------

# serve_unix PATH...: tests/e2e/unix_server.py, outside of the cgroup and in its network.
serve_unix() {
	: >"$SCRATCH/server" # of another test, or server
	nsenter --net="/run/netns/$NET" /usr/bin/python3 "$E2E/unix_server.py" "$@" >"$SCRATCH/server" 3>&- \
		< <(tail -f /dev/null --pid=$$) &
	SERVER=$!
	wait_until 5 has_line "$SCRATCH/server" listening
}

heard() { grep -cF -- "$1" "$SCRATCH/server"; }
said() { in_cgroup /usr/bin/python3 "$E2E/probe.py" "$@"; }
