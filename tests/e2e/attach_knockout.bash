# shellcheck shell=bash
# Would the tests notice, of an attached cgroup? What guards it are programs with a link each: a test
# takes one link off, then the next one, too. So no test build is needed, and it is the programs in
# use that are shown to hold.

load helpers
load attach

teardown() {
	release_agent
	remove_place
}

attach_probe() {
	attach "$SCRATCH/probe.yaml"
}

# Attaches and sets LINK, the number of each program's link, and GUARDED: an agent that is held tells nobody.
attach_layers() {
	local name number
	attach_probe || return
	GUARDED=
	! guarded || GUARDED=yes
	declare -gA LINK=()
	while read -r name number; do
		LINK[$name]=$number
	done < <(list_links)
}

# Has this kernel a place for that program?
has_place() {
	case $1 in
	osh_attached_* | osh_file_receive | osh_socket_sendmsg) [[ $GUARDED ]] ;;
	esac
}

# The agent would put it back.
take_off() {
	[[ ${LINK[$1]:-} ]] || fail "$1 is not in force: $(list_links)" || return
	hold_agent
	bpftool link detach id "${LINK[$1]}"
}

# peel LAYER...: attaches, unless that is done, and calls attempt CANARY with every layer on, without the
# first, without the first two, and so on. Nothing arrives until the last is gone, and then it does; at
# once, where a kernel has a place for none of them.
peel() {
	local layer canary
	[[ ${LINK[*]:-} ]] || attach_layers || return
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

# give_ipv6: a way out by IPv6, too, for $NET.
give_ipv6() {
	local px=${WORLD_PX##*/}
	ip -n "$px" addr add fd00:172:30::1/64 dev "c$BATS_TEST_NUMBER" nodad
	ip -n "$NET" addr add fd00:172:30::2/64 dev eth0 nodad
	ip -n "$NET" -6 route add default via fd00:172:30::1
	in_px sysctl -qw net.ipv6.conf.all.forwarding=1
}
