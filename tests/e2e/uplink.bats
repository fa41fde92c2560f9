#!/usr/bin/env bats
# The host's way out changes while flows run: another address, another route, a link that is down for a
# while. F23.

bats_require_minimum_version 1.5.0

load helpers

setup_file() {
	start_all
	echo "six.test 2001:db8::10" >>"$WORLD_DIR/zone"
	sed 's/plain\.test/six.test/' "$(policy probe)" >"$SCRATCH/six.yaml"
}
teardown_file() { stop_all; }

setup() {
	PX=${WORLD_PX##*/}
	BOX=box-$BATS_TEST_NUMBER
	make_sandbox "$BOX" probe
	server_says half 'HTTP/1.1 200 OK\r\n\r\nhalf' # and no more
}

# The world's own uplink, whatever a test made of it.
teardown() {
	move_to 203.0.113.1
	osh sandbox delete "$BOX" || true
}

# With all that a link loses that is down.
raise_link() {
	ip -n "$PX" link set px0 up
	ip -n "$PX" addr replace 2001:db8::1/64 dev px0 nodad
	ip -n "$PX" route replace default via 203.0.113.10
	ip -n "$PX" route replace default via 2001:db8::10
}

# move_to ADDRESS: it is the only one of IPv4.
move_to() {
	ip -n "$PX" -4 addr flush dev px0
	ip -n "$PX" addr add "$1/24" dev px0
	raise_link
}

# As some renew a lease: for a moment, which is enough to see it, the host does not have the address.
renew() {
	{
		echo "addr del 203.0.113.1/24 dev px0"
		read -r -t 0.05 <> <(:) || true
		echo "addr add 203.0.113.1/24 dev px0"
		echo "route replace default via 203.0.113.10"
	} | ip -n "$PX" -batch -
}

start_downloads() {
	rm -f "$SCRATCH/outlasted"
	inside "$BOX" /usr/bin/python3 /sandbox/crowd.py outlast "$@" >"$SCRATCH/outlasted" 2>&1 3>&- &
	wait_until 10 has_line "$SCRATCH/outlasted" '^stand$' || fail "$(<"$SCRATCH/outlasted")"
}

end_as() {
	wait_until 5 has_line "$SCRATCH/outlasted" '^(end|reset) ' || fail "they go on: $(<"$SCRATCH/outlasted")"
	expect_equal "$(tail -n 1 "$SCRATCH/outlasted")" "$1"
}

# refused CANARY: where nothing may go, by whatever way out.
refused() {
	expect_equal "$(probe "$BOX" tcp l4.test 5999 "$1")" EPERM
	expect_equal "$(probe "$BOX" tcp 203.0.113.10 5432 "$1")" EPERM
	fetch "$BOX" "https://ok.test/other/$1"
	expect_status 403
}

@test "another address: what stood on the old one is cut off or asked anew within seconds, new flows work, nothing else leaves" {
	local canary proxy
	canary=$(new_canary)
	BODY=$(osh status -o json)
	proxy=$(json 'b["proxy_pid"]')
	osh policy set "$BOX" --policy "$SCRATCH/six.yaml" --wait
	hold_flow "$BOX" # and behind it a connection of the pool
	ask_held 1
	start_downloads /pub/exact/half no six.test # by IPv6
	ip -n "$PX" addr flush dev px0 scope global
	# No way out at all: an error, not a hole.
	refused "$canary"
	end_as "reset reset reset"
	move_to 203.0.113.2
	ask_held 2
	refused "$canary"
	# A name that nobody had asked for, so by DNS; and the same three downloads.
	fetch "$BOX" https://skip.test/pub/x -k
	expect_status 200
	start_downloads '/pub/stream?n=50' yes six.test
	end_as "end end end"
	end_held
	expect_absent "$canary"
	expect_verdicts 2 "$BOX" l7_decision=deny "l7_target=/other/$canary"
	BODY=$(osh status -o json)
	expect_equal "$(json 'b["proxy_pid"], b["proxy_restarts"]')" "($proxy, 0)"
}

@test "an address that is renewed, and a link that is down for a while, end no flow" {
	local canary
	canary=$(new_canary)
	hold_flow "$BOX"
	start_downloads /pub/exact/half no
	renew
	ask_held 1
	ip -n "$PX" link set px0 down
	refused "$canary"
	raise_link
	ask_held 2
	refused "$canary"
	end_held
	expect_absent "$canary"
	expect_equal "$(<"$SCRATCH/outlasted")" stand "downloads that had nothing to say meanwhile"
}
