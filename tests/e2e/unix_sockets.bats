#!/usr/bin/env bats
# Unix sockets: a sandbox reaches what its own processes bound and what its policy names, by
# whatever spelling, and nothing else of the host.

load helpers

# Of the host: a directory that every sandbox shows, one that none does, one where a sandbox has
# its own; and an abstract name. The server listens in each.
setup_file() {
	start_all
	export SHOWN=/opt/osh-unix-$$ HIDDEN=/var/lib/osh-unix-$$ SHARED=/tmp/osh-unix-$$ ABSTRACT=@osh-unix-$$
	mkdir -p "$SHOWN" "$HIDDEN" "$SHARED"
	start_server
	{
		cat "$(policy probe)"
		echo '  helpers:'
		echo "    unix_sockets: [$HIDDEN/named, $HIDDEN/named.dgram, $SHARED/agent]"
	} >"$SCRATCH/named.yaml"
	osh policy validate "$SCRATCH/named.yaml"
	osh sandbox create --name box --policy "$SCRATCH/named.yaml" </dev/null
	make_sandbox plain probe
}

teardown_file() {
	[[ ! ${SERVER:-} ]] || kill "$SERVER"
	stop_all
	rm -rf "$SHOWN" "$HIDDEN" "$SHARED"
}

start_server() {
	/usr/bin/python3 "$E2E/unix_server.py" "$SHOWN/shown" "$HIDDEN/named" "$HIDDEN/other" "$SHARED/agent" \
		"$ABSTRACT" >"$SCRATCH/server" 3>&- < <(tail -f /dev/null --pid=$$) &
	export SERVER=$!
	wait_until 5 has_line "$SCRATCH/server" listening
}

heard() { grep -cF -- "$1" "$SCRATCH/server"; }
has_heard() { (($(heard "$1") >= $2)); }

# twin: the named socket, and one of the sandbox's own.
twin() {
	local canary
	canary=$(new_canary)
	run probe box unix "$canary" "$HIDDEN/named"
	expect_equal "$output" "$HIDDEN/named heard sent sent"
	wait_until 5 has_heard "$canary" 3 || fail "$(heard "$canary") texts arrived"
}

setup() { twin; }
teardown() { twin; }

@test "a socket that the policy names is there, its neighbour is not" {
	local canary
	canary=$(new_canary)
	run probe box unix "$canary" "$HIDDEN/other"
	expect_equal "$output" "$HIDDEN/other ENOENT ENOENT ENOENT"
	run probe plain unix "$canary" "$HIDDEN/named"
	expect_equal "$output" "$HIDDEN/named ENOENT ENOENT ENOENT"
	expect_equal "$(heard "$canary")" 0
	# Also at a place that is the sandbox's own.
	run probe box unix "$canary" "$SHARED/agent"
	expect_contains "$output" " heard "
	expect_equal "$(heard "$canary")" 1
}

# A33
@test "a socket in a directory that is shown is refused on its inode, by every spelling of its path" {
	local canary
	canary=$(new_canary)
	inside box test -S "$SHOWN/shown"
	run probe box unix "$canary" "$SHOWN/shown"
	expect_equal "$output" "$SHOWN/shown EACCES EACCES EACCES"
	run probe box unix_spellings "$canary" "$SHOWN/shown"
	expect_equal "$output" $'EACCES\nEACCES\nEACCES\nEACCES\nEACCES\nEACCES'
	expect_equal "$(heard "$canary")" 0
	# The named one, by the same six.
	run probe box unix_spellings "$canary" "$HIDDEN/named"
	expect_equal "$(grep -c '^ok heard$' <<<"$output")" 6 "$output"
	expect_equal "$(heard "$canary")" 6
}

# A33
@test "sockets of the sandbox's own are reached, by every spelling" {
	put box "$E2E/unix_server.py" /sandbox/server.py
	inside box sh -c 'mkfifo end && exec 9<>end && { python3 server.py /sandbox/own @own <&9 >said 2>&1 & } &&
		until grep -q listening said; do :; done'
	run probe box unix hello /sandbox/own @own
	expect_equal "$output" $'/sandbox/own heard sent sent\n@own heard sent sent'
	run probe box unix_spellings hello /sandbox/own
	expect_equal "$(grep -c '^ok heard$' <<<"$output")" 6 "$output"
}

# A34
@test "an abstract name of the host is another network's" {
	local canary
	canary=$(new_canary)
	run probe box unix "$canary" "$ABSTRACT"
	expect_equal "$output" "$ABSTRACT ECONNREFUSED ECONNREFUSED ECONNREFUSED"
	expect_equal "$(heard "$canary")" 0
}

# D13
@test "daemons of the host that everything has: none is there" {
	local path
	for path in /run/docker.sock /var/run/docker.sock /run/containerd/containerd.sock /run/systemd/private \
		/run/dbus/system_bus_socket /run/nscd/socket /tmp/.X11-unix/X0 /dev/log /run/systemd/resolve/io.systemd.Resolve; do
		run probe box unix hello "$path"
		expect_equal "$output" "$path ENOENT ENOENT ENOENT"
	done
}

@test "unix_sockets applies at creation: policy set says so, and what is not there is left out" {
	local canary
	canary=$(new_canary)
	run osh policy set plain --policy "$SCRATCH/named.yaml" --wait
	expect_equal "$status" 0
	expect_contains "$output" "unix_sockets applies at creation and start only"
	run probe plain unix "$canary" "$HIDDEN/named"
	expect_equal "$output" "$HIDDEN/named ENOENT ENOENT ENOENT"
	printf 'version: 1\nnetwork_policies: { a: { unix_sockets: [/var/lib/none, /etc/passwd, %s] } }\n' "$AGENT_SOCKET" >"$SCRATCH/odd.yaml"
	run osh sandbox create --name odd --policy "$SCRATCH/odd.yaml"
	expect_equal "$status" 0
	expect_contains "$output" "/var/lib/none is left out: No such file or directory"
	expect_contains "$output" "/etc/passwd is left out: Socket operation on non-socket"
	# openshell's own are nobody's to grant.
	expect_contains "$output" "$AGENT_SOCKET is left out: Operation not permitted"
	osh sandbox delete odd
}
