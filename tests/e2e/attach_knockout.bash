# shellcheck shell=bash
# Would the tests notice, of an attached cgroup? What guards it are programs with a link each: a test
# takes one link off, then the next one, too. So no test build is needed, and it is the programs in
# use that are shown to hold.

load helpers
load attach

# The attached cgroup's links: program and number.
list_links() {
	bpftool -j link show >"$SCRATCH/links"
	bpftool -j prog show >"$SCRATCH/programs"
	/usr/bin/python3 -c 'import json, os, sys
links, programs = (json.load(open(file)) for file in sys.argv[1:3])
name = {program["id"]: program.get("name") for program in programs}
for link in links:
    if link.get("cgroup_id") == os.stat(sys.argv[3]).st_ino: print(name[link["prog_id"]], link["id"])' \
		"$SCRATCH/links" "$SCRATCH/programs" "$CG"
}

# Has this kernel a place for that program?
has_place() {
	case $1 in
	osh_attached_* | osh_file_receive | osh_socket_sendmsg) guarded ;;
	esac
}

# Sets LINK: the number of each program's link.
read_links() {
	local name number
	declare -gA LINK=()
	while read -r name number; do
		LINK[$name]=$number
	done < <(list_links)
}

take_off() {
	[[ ${LINK[$1]:-} ]] || fail "$1 is not in force: $(list_links)" || return
	bpftool link detach id "${LINK[$1]}"
}

attach_probe() {
	osh sandbox attach --cgroup "$CG" --name box --policy "$SCRATCH/probe.yaml" --allow-degraded 2>/dev/null
}

# peel LAYER...: attaches, and calls attempt CANARY with every layer on, without the first, without the first
# two, and so on. Nothing arrives until the last is gone, and then it does; at once, where a kernel has a
# place for none of them.
peel() {
	local layer canary
	attach_probe || return
	read_links
	for layer; do
		has_place "$layer" || continue
		canary=$(new_canary)
		run attempt "$canary"
		expect_absent "$canary" || fail "with $layer it arrives: $output" || return
		take_off "$layer" || return
	done
	canary=$(new_canary)
	run attempt "$canary"
	wait_until 5 arrived "$canary" || fail "nothing noticed: no canary without $*" "$output"
}
