#!/usr/bin/env bats
# What stands behind the network rules of an attached cgroup: programs of others in its place, and what
# a sandbox has namespaces and a seccomp filter for. A comment names the case (column A of the table).

bats_require_minimum_version 1.5.0

load helpers
load attach

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
