# shellcheck shell=bash
# What openshell makes on a host, listed: two lists that are equal prove that nothing stays.

list_leftovers() {
	local mount
	mount=$(awk '$0 ~ / - cgroup2 / { print $5; exit }' /proc/self/mountinfo)
	find "$mount" -type d \( -path '*openshell*' -o -path '*/osh*-*' \) -printf 'cgroup %p\n' 2>/dev/null
	find /run/netns -mindepth 1 -printf 'netns %f\n' 2>/dev/null
	lsns -n -t net -o NS,COMMAND 2>/dev/null | awk '/openshell|osh-/ { print "lsns", $0 }'
	# Mounts: number of them per place, so that a second one on the same place shows.
	awk '{ print "mount", $5 }' /proc/self/mountinfo | grep -vE '^mount /run/netns'
	find /sys/fs/bpf -mindepth 1 -printf 'pin %p\n' 2>/dev/null
	# Programs and links in the kernel: gone some time after the last reference.
	bpftool link list 2>/dev/null | awk '/^[0-9]+:/ { print "link", $2, $3 }'
	find /tmp /run /var/lib -maxdepth 2 \( -name '*openshell*' -o -name 'osh*-*' \) -printf 'file %p\n' 2>/dev/null
	# But for the dead that their parent has not asked for yet.
	ps -eo stat=,pid=,args= | awk '$1 !~ /^Z/ && $3 ~ /openshell/ { $1 = "process"; print }'
}

# Sorted, and of one agent only when LEFTOVERS (an extended regular expression) says which: others
# may work on the same machine.
leftovers() { list_leftovers | grep -E -- "${LEFTOVERS:-.}" | sort; }

same_leftovers() {
	[[ $(leftovers) == "$(<"$1")" ]]
}

# expect_same_leftovers FILE: as it was when FILE was written by leftovers, after at most 10 s
# (the kernel frees links and programs a little after the last reference).
expect_same_leftovers() {
	wait_until 10 same_leftovers "$1" && return
	echo "left behind (+) or missing (-):"
	diff "$1" <(leftovers) | sed -nE 's/^> /+ /p; s/^< /- /p'
	return 1
}
