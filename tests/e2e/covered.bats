#!/usr/bin/env bats
# What a sandbox has of its own, or nothing, in place of files of the host stays so when somebody on the host
# replaces those: a mount goes with the file that it lies on.

load helpers

# The agent's own /etc.
setup_file() {
	start_world
	make_scratch
	cp -a /etc "$SCRATCH/etc"
	mkdir -p "$SCRATCH/etc/ssh"
	# shellcheck disable=SC2034  # agent_start reads it
	AGENT_UNDER=(unshare --mount sh -c 'mount --bind "$0" /etc && exec "$@"' "$SCRATCH/etc")
	agent_start "$SCRATCH/agent"
	export AGENT_DIR AGENT_PID AGENT_SOCKET
	make_sandbox box probe
}

teardown_file() { stop_all; }

# replace FILE TEXT: as most programs do it.
replace() {
	echo "$2" >"$SCRATCH/etc/$1.new"
	chmod 0644 "$SCRATCH/etc/$1.new"
	mv "$SCRATCH/etc/$1.new" "$SCRATCH/etc/$1"
}
# Otherwise: it is gone for a moment.
rewrite() {
	rm "$SCRATCH/etc/$1"
	echo "$2" >"$SCRATCH/etc/$1"
	chmod 0644 "$SCRATCH/etc/$1"
}

COVERED=(hosts hostname passwd group resolv.conf nsswitch.conf ssl/certs/ca-certificates.crt)
seen() { inside box sha256sum "${COVERED[@]/#//etc/}" 2>&1; }
# shows WORD: in any file that the sandbox sees below /etc.
shows() { inside box sh -c 'grep -rls "$1" /etc' _ "$1"; }
shows_not() { [[ ! $(shows "$1") ]]; }

@test "a sandbox keeps its own files when the host's are replaced or made anew" {
	local before way file
	before=$(seen)
	for way in replace rewrite; do
		for file in "${COVERED[@]}"; do
			"$way" "$file" "the-host's-$way"
		done
		wait_until 5 shows_not "the-host's-$way" || fail "$way:" "$(shows "the-host's-$way")"
		expect_equal "$(seen)" "$before" "$way"
		fetch box https://ok.test/pub/x
		expect_status 200
	done
	# The twin: where nothing lies over a file, the new one is seen.
	replace other.conf "the-host's-other"
	expect_equal "$(shows "the-host's-other")" /etc/other.conf
}

@test "secrets that are replaced stay hidden, whoever may read them" {
	replace shadow "a-new-secret"
	replace ssh/ssh_host_new_key "another-new-secret"
	wait_until 5 shows_not new-secret || fail "$(shows new-secret)"
	replace ssh/ssh_host_new "no-new-secret"
	expect_equal "$(shows new-secret)" /etc/ssh/ssh_host_new
	rm "$SCRATCH/etc/ssh/ssh_host_new"
}

@test "what is replaced while no agent runs is covered by the next one before it serves" {
	local before pid
	before=$(seen)
	BODY=$(osh sandbox get box -o json)
	pid=$(json 'b["pid"]')
	agent_crash
	replace hosts "the-host's-meanwhile"
	replace shadow "a-secret-meanwhile"
	expect_equal "$(nsenter --target="$pid" --mount cat /etc/hosts)" "the-host's-meanwhile" "a mount goes with its file"
	agent_start "$AGENT_DIR"
	expect_equal "$(seen)" "$before"
	expect_equal "$(shows meanwhile)" ""
}
