#!/usr/bin/env bats
# Living with sandboxes: finding them by label, stopping and starting, deleting many.

load helpers

bats_require_minimum_version 1.5.0

setup_file() { start_all; }
teardown_file() { stop_all; }

# Whatever a test leaves is the next one's no more.
teardown() {
	osh sandbox delete --all >/dev/null || true
	osh provider delete hub >/dev/null 2>&1 || true
}

names() { osh sandbox list -o name "$@" | sort | tr '\n' ' '; }

# field NAME EXPRESSION: of the interface's Sandbox.
field() {
	BODY=$(osh sandbox get "$1" -o json)
	json "$2"
}

# ---- Several at once ---------------------------------------------------------------------

@test "delete takes several names, a selector, or all; one that fails does not keep the others" {
	local name
	for name in a b c d e; do
		make_sandbox "$name" default --label "kind=$name"
	done
	run -1 osh sandbox delete a nobody b
	expect_contains "$output" "no sandbox named nobody"
	expect_equal "$(names)" "c d e "
	run -2 osh sandbox delete
	run -2 osh sandbox delete c --all
	osh sandbox delete --selector kind=d
	expect_equal "$(names)" "c e "
	osh sandbox delete --all
	expect_equal "$(names)" ""
	osh sandbox delete --all
}

# as_stranger COMMAND...: as a user who may talk to the agent, and owns nothing.
as_stranger() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }

@test "another user's sandboxes are neither deleted, stopped nor started, also by --all" {
	make_sandbox mine default
	chmod 0666 "$AGENT_SOCKET"
	run as_stranger "$BUILD/openshell" sandbox delete --all
	expect_equal "$status" 0
	for verb in delete stop start; do
		run as_stranger "$BUILD/openshell" sandbox "$verb" mine
		expect_equal "$status" 1
		expect_contains "$output" "belongs to another user"
	done
	chmod 0600 "$AGENT_SOCKET"
	expect_equal "$(field mine 'b["state"]')" running
}

@test "labels select" {
	make_sandbox web1 default --label tier=web --label zone/a.b=1
	make_sandbox web2 default --label tier=web
	make_sandbox bare default
	expect_equal "$(names -l tier=web)" "web1 web2 "
	expect_equal "$(names --selector 'tier=web,!zone/a.b')" "web2 "
	expect_equal "$(names -l tier!=web)" "bare "
	expect_equal "$(names -l nothing)" ""
	run -2 osh sandbox list -l =x
	run -1 osh sandbox create --name bad --label 'a b=c' </dev/null
	expect_contains "$output" "label"
	run -2 osh sandbox create --name bad --label plain </dev/null
	run -1 osh sandbox get bad
}

@test "-o yaml says what -o json says" {
	make_sandbox one default --label a=b
	osh sandbox get one -o yaml >"$SCRATCH/one.yaml"
	osh sandbox get one -o json >"$SCRATCH/one.json"
	/usr/bin/python3 - "$SCRATCH/one.json" "$SCRATCH/one.yaml" <<'END'
import json, sys
want = json.load(open(sys.argv[1]))
lines = open(sys.argv[2]).read().splitlines()
got = {l.split(":", 1)[0]: l.split(":", 1)[1].strip() for l in lines if l[0] not in " -"}
assert set(got) == set(want), (set(got) ^ set(want))
assert got["name"] == '"one"' and got["id"] == str(want["id"]) and got["keep"] == "true"
assert "  a: \"b\"" in lines
END
	run osh sandbox list -o yaml
	expect_equal "${lines[0]}" '- name: "one"'
}

# ---- Stop and start ----------------------------------------------------------------------

@test "a stopped sandbox keeps files, user, policy, CA, variables and placeholders" {
	local ca before
	GITHUB_TOKEN=$TOKEN osh provider create --name hub --type github --from-existing
	make_sandbox box default --provider hub --env FAVOURITE=seven --workdir /tmp
	inside box sh -c 'echo kept >/sandbox/file; echo also >/tmp/other; nohup sleep 1000 >/dev/null 2>&1 &'
	osh policy set box --policy "$(policy github_push)" --wait
	ca=$(inside box sha256sum /run/openshell/ca.pem)
	before=$(inside box sh -c 'id -u; echo $FAVOURITE $GITHUB_TOKEN; pwd')

	osh sandbox stop box
	expect_equal "$(field box 'b["state"], b["pid"]')" "('stopped', 0)"
	run -1 osh sandbox exec box -- true
	expect_contains "$output" "openshell sandbox start box"
	run -1 osh policy set box --policy "$(policy probe)"
	osh sandbox stop box # again: nothing happens

	osh sandbox start box
	expect_equal "$(field box 'b["state"]')" running
	expect_equal "$(inside box cat /sandbox/file /tmp/other)" $'kept\nalso'
	expect_equal "$(inside box sh -c 'id -u; echo $FAVOURITE $GITHUB_TOKEN; pwd')" "$before"
	expect_equal "$(inside box sha256sum /run/openshell/ca.pem)" "$ca"
	expect_equal "$(field box 'b["revision"]')" 2
	refute inside box pgrep sleep
	# The policy that was set is the one that holds.
	fetch box https://api.github.com/zen
	expect_status 403
	inside box git ls-remote -q https://github.com/acme/widgets.git
}

@test "nothing of a stopped sandbox runs, and nothing of it is reachable" {
	local cgroup pid
	make_sandbox box default
	pid=$(field box 'b["pid"]')
	cgroup=$(cgroup_of "$pid")
	inside box sh -c 'setsid sleep 1000 >/dev/null 2>&1 & setsid sleep 1000 >/dev/null 2>&1 &'
	osh sandbox stop box
	expect_equal "$(cat "$cgroup/cgroup.procs")" ""
	is_gone "$pid"
	run find "$AGENT_DIR/run/init" -name 'box*'
	expect_equal "$output" ""
}

@test "stopped sandboxes outlive the agent, however it ends" {
	make_sandbox box default --label a=b
	make_sandbox other default
	inside box sh -c 'echo kept >/sandbox/file'
	osh sandbox stop box other
	agent_stop
	agent_start "$AGENT_DIR"
	expect_equal "$(field box 'b["state"], b["labels"]["a"]')" "('stopped', 'b')"
	osh sandbox start box
	agent_crash
	agent_start "$AGENT_DIR"
	expect_equal "$(field box 'b["state"]')" running
	expect_equal "$(field other 'b["state"]')" stopped
	expect_equal "$(inside box cat /sandbox/file)" kept
	osh sandbox stop box
	osh sandbox delete other
	run -1 osh sandbox start other
}

@test "start says of a running sandbox that it runs, and starts the others" {
	make_sandbox one default
	make_sandbox two default
	osh sandbox stop two
	run -1 osh sandbox start --all
	expect_contains "$output" "sandbox one is running"
	expect_contains "$output" "sandbox two started"
}

# In the order that leaves it stopped or running, wherever the host or the agent ends.
@test "what is kept is on disk before anything is killed" {
	local agent calls=$BATS_TEST_TMPDIR/calls tracer file at_kill at_record
	make_sandbox box default
	agent=$(<"$AGENT_DIR/agent.pid")
	is_traced() { (($(awk '$1 == "TracerPid:" { print $2 }' "/proc/$agent/status"))); }
	strace -qq -y -e trace=fsync,rename,pidfd_send_signal -o "$calls" -p "$agent" 3>&- &
	tracer=$!
	wait_until 10 is_traced
	osh sandbox stop box
	kill "$tracer"
	wait "$tracer" || true
	# Line numbers: the last sync of each file, the record's renaming, the kill.
	line_of() { grep -nE -- "$1" "$calls" | tail -n 1 | cut -d: -f1; }
	at_record=$(line_of '^rename\("[^"]*/record.json.new", "[^"]*/box/record.json"\) += 0')
	at_kill=$(line_of '^pidfd_send_signal\(.*SIGKILL.* = 0')
	((at_record && at_kill && at_record < at_kill)) || fail "$(<"$calls")"
	for file in recipe.json ca.json origin.json 'policy/1[^>]*' box/policy record.json.new; do
		at_file=$(line_of "^fsync\([0-9]+<[^>]*/$file>\) += 0")
		((at_file && at_file < at_record)) || fail "$file:" "$(<"$calls")"
	done
}

# What starting the host anew does: no cgroup, no process, other numbers.
@test "a stopped sandbox starts after its cgroup is gone, as the same user" {
	local cgroup uid
	make_sandbox box default
	inside box sh -c 'echo kept >/sandbox/file'
	uid=$(field box 'b["uid"]')
	cgroup=$(cgroup_of "$(field box 'b["pid"]')")
	osh sandbox stop box
	agent_stop
	rmdir "$cgroup"
	agent_start "$AGENT_DIR"
	expect_equal "$(field box 'b["state"], b["uid"]')" "('stopped', $uid)"
	osh sandbox start box
	expect_equal "$(inside box sh -c 'cat /sandbox/file; id -u')" "kept"$'\n'"$uid"
	fetch box https://api.github.com/zen
	expect_status 200
}

# The record says "stopped" before anything is killed: an agent that dies in between left programs.
@test "what a killed agent had begun to stop is stopped by the next" {
	local pid record
	make_sandbox box default
	inside box sh -c 'echo kept >/sandbox/file; setsid sleep 1000 >/dev/null 2>&1 &'
	pid=$(field box 'b["pid"]')
	agent_crash
	record=$AGENT_DIR/state/sandboxes/box/record.json
	sed -i -E 's/"init_pid": [0-9]+/"init_pid": 0/' "$record"
	agent_start "$AGENT_DIR"
	is_gone "$pid"
	expect_equal "$(field box 'b["state"]')" stopped
	osh sandbox start box
	expect_equal "$(inside box cat /sandbox/file)" kept
}

@test "a dead sandbox can be started, one that is not kept cannot be stopped" {
	make_sandbox box default
	inside box sh -c 'echo kept >/sandbox/file'
	kill -KILL "$(field box 'b["pid"]')"
	is_dead() { [[ $(field box 'b["state"]') == dead ]]; }
	wait_until 5 is_dead
	osh sandbox start box
	expect_equal "$(inside box cat /sandbox/file)" kept

	osh sandbox create --name brief --no-keep -- sleep 1000 </dev/null >/dev/null 2>&1 3>&- &
	local creator=$!
	is_running() { osh sandbox exec brief -- true 2>/dev/null; }
	wait_until 10 is_running
	run -1 osh sandbox stop brief
	expect_contains "$output" "not kept"
	kill "$creator"
}

@test "a start that fails leaves the sandbox stopped, and says why" {
	GITHUB_TOKEN=$TOKEN osh provider create --name hub --type github --from-existing
	make_sandbox box default --provider hub
	osh sandbox stop box
	osh provider delete hub
	run -1 osh sandbox start box
	expect_contains "$output" "no provider hub"
	expect_equal "$(field box 'b["state"]')" stopped
	# Made again, it starts.
	GITHUB_TOKEN=$TOKEN osh provider create --name hub --type github --from-existing
	osh sandbox start box
}

@test "the policy's sections about files hold from the next start on, its user never changes" {
	local uid
	make_sandbox box default
	uid=$(field box 'b["uid"]')
	cat >"$SCRATCH/narrow.yaml" <<-'END'
		version: 1
		filesystem_policy:
		  include_workdir: false
		  read_only: [/usr, /lib, /proc, /dev/urandom, /etc, /sandbox]
		  read_write: [/tmp, /dev/null]
		process: { run_as_user: "2013265999", run_as_group: "2013265999" }
	END
	run -0 osh policy set box --policy "$SCRATCH/narrow.yaml" --wait
	expect_contains "$output" "filesystem_policy applies at creation and start only"
	expect_contains "$output" "process applies at creation only"
	inside box sh -c 'echo x >/sandbox/before'
	osh sandbox stop box
	osh sandbox start box
	run inside box sh -c 'echo x >/sandbox/after'
	expect_contains "$output" "Permission denied"
	expect_equal "$(inside box sh -c 'cat /sandbox/before; echo x >/tmp/x; id -u')" x$'\n'"$uid"
	# In force now, so no more to say.
	run -0 osh policy set box --policy "$SCRATCH/narrow.yaml" --wait
	expect_lacks "$output" "filesystem_policy applies"
}

@test "a stopped sandbox whose state is damaged does not start, says so, and can be deleted" {
	local file
	for file in recipe.json ca.json policy; do
		make_sandbox box default
		osh sandbox stop box
		if [[ $file == policy ]]; then
			for policy in "$AGENT_DIR"/state/sandboxes/box/policy/*; do
				echo '#' >>"$policy"
			done
		else
			truncate -s 20 "$AGENT_DIR/state/sandboxes/box/$file"
		fi
		run -1 osh sandbox start box
		[[ $output == *damaged* || $output == *"not what was stored"* ]] || fail "$output"
		expect_equal "$(field box 'b["state"]')" stopped
		osh sandbox delete box
		[[ ! -e $AGENT_DIR/state/sandboxes/box ]]
	done
}

# Unlike the files above the record is read before anything is known of the sandbox.
@test "a sandbox whose record is damaged loses nothing but its use, says so, and can be deleted" {
	local state=$AGENT_DIR/state/sandboxes/box verb
	make_sandbox box default
	inside box sh -c 'echo kept >/sandbox/file'
	osh sandbox stop box
	agent_stop
	truncate -s 20 "$state/record.json"
	agent_start "$AGENT_DIR"
	expect_equal "$(field box 'b["state"], b["pid"]')" "('damaged', 0)"
	expect_equal "$(<"$state/sandbox/file")" kept
	for verb in "start box" "stop box" "exec box -- true"; do
		# shellcheck disable=SC2086  # words
		run -1 osh sandbox $verb
		expect_contains "$output" damaged
		expect_contains "$output" delete
	done
	expect_equal "$(<"$state/sandbox/file")" kept
	osh sandbox delete box
	[[ ! -e $state ]]
	make_sandbox box default
	inside box true
}

# ---- Limits ------------------------------------------------------------------------------

has_controller() { grep -qw "$1" "$(cgroup_mount)/cgroup.controllers"; }

@test "limits are enforced, or create and get say that they are not" {
	local said cgroup
	said=$(osh sandbox create --name box --cpu 0.5 --memory 256M --pids 40 </dev/null 2>&1)
	cgroup=$(cgroup_of "$(field box 'b["pid"]')")
	if has_controller pids; then
		expect_lacks "$said" "no pids controller"
		expect_equal "$(<"$cgroup/pids.max")" 40
		run inside box sh -c 'for i in $(seq 100); do sleep 60 & done; echo all'
		expect_lacks "$output" all
	else
		expect_contains "$said" "--pids is not enforced: this host's cgroup2 has no pids controller"
		expect_contains "$(osh sandbox get box)" "pids 40 (not enforced: no pids controller"
		run osh status
		expect_contains "$(tr -s ' ' <<<"$output")" "cgroup2 controller pids no --pids is not enforced"
	fi
	if has_controller memory; then
		expect_equal "$(<"$cgroup/memory.max")" $((256 << 20))
	else
		expect_contains "$said" "--memory is not enforced"
		expect_equal "$(field box '"memory" in b["unenforced"]')" True
	fi
	if has_controller cpu; then
		expect_equal "$(<"$cgroup/cpu.max")" "50000 100000"
	else
		expect_contains "$said" "--cpu is not enforced"
	fi
	# Without limits nobody is warned.
	said=$(osh sandbox create --name free </dev/null 2>&1)
	expect_lacks "$said" "not enforced"
	run -2 osh sandbox create --name bad --memory lots </dev/null
	run -2 osh sandbox create --name bad --cpu 0 </dev/null
}

# ---- exec --------------------------------------------------------------------------------

@test "exec ends what takes too long, with 124, and its time is not others'" {
	make_sandbox box default
	run -124 osh sandbox exec box --timeout 1 -- sleep 1000
	expect_contains "$output" "killed"
	refute inside box pgrep sleep
	# It may tidy up; what does not end then is killed.
	run -124 osh sandbox exec box --timeout 1 -- sh -c 'trap "echo tidied; exit 3" TERM; sleep 1000 & wait'
	expect_contains "$output" tidied
	run -124 osh sandbox exec box --timeout 1 -- sh -c 'trap "" TERM; sleep 1000'
	run -7 osh sandbox exec box --timeout 60 -- sh -c 'exit 7'
	run -2 osh sandbox exec box --timeout soon -- true
}

@test "exec passes statuses, signals, input, directory and variables" {
	make_sandbox box default --workdir /usr
	run -0 osh sandbox exec box -- true
	run -42 osh sandbox exec box -- sh -c 'exit 42'
	run -143 osh sandbox exec box -- sh -c 'kill -TERM $$'
	run -137 osh sandbox exec box -- sh -c 'kill -KILL $$'
	expect_equal "$(echo typed | osh sandbox exec box -- cat)" typed
	expect_equal "$(inside box pwd)" /usr
	expect_equal "$(osh sandbox exec box --workdir /etc --env A=1 -- sh -c 'pwd; echo $A')" $'/etc\n1'
	run -1 osh sandbox exec box --workdir /nowhere -- true
}

# ---- cp ----------------------------------------------------------------------------------

# In a directory of its own, with hostile.tar's twin beside it to see whether anything moved.
copy_place() {
	PLACE=$BATS_TEST_TMPDIR/place
	mkdir -p "$PLACE/out"
	echo mine >"$PLACE/mine"
}

@test "cp brings files and trees in and out, whole, named as asked" {
	copy_place
	make_sandbox box default
	mkdir -p "$PLACE/tree/sub dir"
	head -c 3000000 /dev/urandom >"$PLACE/tree/sub dir/big"
	printf 'x' >"$PLACE/tree/-n"
	ln -s "sub dir/big" "$PLACE/tree/link"
	chmod 0755 "$PLACE/tree/-n"

	osh sandbox cp "$PLACE/tree" box:/sandbox
	osh sandbox cp "$PLACE/mine" box:renamed # relative: where programs start
	expect_equal "$(inside box sh -c 'cat renamed; stat -c "%u %a" tree/-n; id -u')" "mine"$'\n'"$(field box 'b["uid"]') 755"$'\n'"$(field box 'b["uid"]')"
	osh sandbox cp box:/sandbox/tree "$PLACE/out"
	osh sandbox cp box:/sandbox/renamed "$PLACE/again"
	diff -r "$PLACE/tree" "$PLACE/out/tree"
	expect_equal "$(readlink "$PLACE/out/tree/link")" "sub dir/big"
	expect_equal "$(stat -c '%U %a' "$PLACE/out/tree/-n")" "root 755"
	expect_equal "$(<"$PLACE/again")" mine
	# tar would take this for a tab.
	cp "$PLACE/mine" "$PLACE/a\tb"
	osh sandbox cp "$PLACE/a\tb" box:/sandbox
	osh sandbox cp 'box:a\tb' "$PLACE/c\td"
	expect_equal "$(<"$PLACE/c\td")" mine
	# A file is replaced, a directory is not merged with.
	osh sandbox cp box:renamed "$PLACE/again"
	run -1 osh sandbox cp box:tree "$PLACE/out"
	expect_contains "$output" "is a directory already"
	run -1 osh sandbox cp "$PLACE/tree" box:/sandbox
	expect_contains "$output" "is a directory already"
	expect_equal "$(inside box sh -c 'ls -A /sandbox | grep -c openshell-cp')" 0
	run find "$PLACE" -name '*openshell-cp*'
	expect_equal "$output" ""
}

@test "cp says what is missing, and what it cannot mean" {
	copy_place
	make_sandbox box default
	run -1 osh sandbox cp box:/sandbox/none "$PLACE/out"
	expect_contains "$output" "no such file: /sandbox/none"
	expect_lacks "$output" "tar:"
	run -1 osh sandbox cp "$PLACE/none" box:/sandbox
	run -1 osh sandbox cp nobody:/x "$PLACE/out"
	expect_contains "$output" "no sandbox named nobody"
	expect_lacks "$output" "tar:"
	run -1 osh sandbox cp "$PLACE/mine" box:/none/mine
	expect_equal "$output" "/none is no directory that can be written to"
	run -1 osh sandbox cp "$PLACE/mine" box:/usr/bin/mine
	refute inside box test -e /usr/bin/mine
	run -1 osh sandbox cp box:/ "$PLACE/out"
	run -2 osh sandbox cp "$PLACE/mine" "$PLACE/out"
	run -2 osh sandbox cp box:a box:b
	run -2 osh sandbox cp box:a
	expect_equal "$(ls -A "$PLACE/out")" ""
}

# staged DIR: what has arrived of a copy that goes on.
# A tar of the sandbox's own, which answers for the one that is asked for.
@test "cp shows what a program inside says, and lets it do nothing to the terminal" {
	copy_place
	make_sandbox hostile default --env PATH=/sandbox/bin:/usr/bin:/bin
	inside hostile sh -c 'mkdir bin && printf "#!/bin/sh\nprintf \"\\033]0;title\\007words\\nmore\\n\" >&2; exit 1\n" >bin/tar && chmod +x bin/tar'
	run -1 osh sandbox cp hostile:/etc/passwd "$PLACE/out"
	expect_equal "$output" $'\\x1b]0;title\\x07words\nmore'
	run -1 osh sandbox cp hostile:/etc/none "$PLACE/out" # T
	expect_contains "$output" "/etc/none"
	osh sandbox delete hostile
}

staged() { compgen -G "$1/.openshell-cp.*/endless"; }
nothing_staged() { ! compgen -G "$1/.openshell-cp.*"; }

@test "cp that is interrupted leaves nothing, out or in" {
	local signal copier tar
	copy_place
	make_sandbox box default --env PATH=/sandbox/bin:/usr/bin:/bin
	inside box truncate -s 1T endless
	for signal in INT TERM HUP KILL; do
		# As from a terminal: a process group of its own, and INT not ignored.
		env --default-signal=INT setsid "$BUILD/openshell" sandbox cp box:endless "$PLACE/out" </dev/null >/dev/null 2>&1 3>&- &
		copier=$!
		wait_until 10 staged "$PLACE/out"
		kill "-$signal" "-$copier"
		wait_until 10 nothing_staged "$PLACE/out" || fail "after SIG$signal:" "$(ls -A "$PLACE/out")"
		wait_until 10 is_gone "$copier"
		expect_equal "$(ls -A "$PLACE/out")" ""
	done
	# Clearing away inside, which takes long here, outlives being hung up.
	inside box sh -c 'mkdir bin; mkfifo go; printf "#!/bin/sh\n: >began; read -r x <go; exec /bin/rm \"\$@\"\n" >bin/rm; chmod 0755 bin/rm'
	truncate -s 1T "$PLACE/endless"
	"$BUILD/openshell" sandbox cp "$PLACE/endless" box:copy </dev/null >/dev/null 2>&1 3>&- &
	copier=$!
	wait_until 10 inside box sh -c 'ls .openshell-cp/*/endless' >/dev/null 2>&1
	tar=$(pgrep -P "$copier" -x tar)
	kill "$tar"
	wait_until 10 inside box test -e began
	kill "$copier"
	wait_until 10 is_gone "$copier"
	inside box timeout 5 sh -c 'echo >go' # the hang-up was sent before
	wait_until 10 inside box sh -c '! ls -d .openshell-cp' >/dev/null 2>&1
	refute inside box test -e copy
}

# copy_endless NAME PATH: begins, and is in the middle; sets $copier.
copy_endless() {
	setsid "$BUILD/openshell" sandbox cp "$PLACE/endless" "$1:$2" </dev/null >/dev/null 2>&1 3>&- &
	copier=$!
	is_arriving() { compgen -G "$AGENT_DIR/state/sandboxes/$1/*/.openshell-cp/*/endless"; }
	wait_until 10 is_arriving "$1" || fail "no copy begins"
}

# Its tar outlives a client that is killed, until nobody reads it.
end_copy() {
	kill -9 "-$copier" 2>/dev/null || true
	wait_until 10 is_gone "$copier"
}

# What is left of copies into it, on disk; what else is there.
copies_of() { find "$AGENT_DIR/state/sandboxes/$1/"{sandbox,tmp} -path '*/.openshell-cp*'; }
has_no_copies() { [[ ! $(copies_of "$1") ]]; }
files_of() { find "$AGENT_DIR/state/sandboxes/$1/"{sandbox,tmp} -mindepth 1 -printf '%P\n' | sort | tr '\n' ' '; }

@test "cp in that ends with its sandbox, its client or its agent leaves nothing there" {
	local copier init how
	copy_place
	make_sandbox box default
	truncate -s 1T "$PLACE/endless"
	mkdir "$PLACE/empty"
	osh sandbox cp "$PLACE/empty" box:work
	osh sandbox cp "$PLACE/mine" box:work
	osh sandbox cp "$PLACE/mine" box:/tmp

	# Stopped in the middle; at both places, below the top.
	copy_endless box work
	osh sandbox stop box
	end_copy
	has_no_copies box || fail "after stop: $(copies_of box)"
	osh sandbox start box >/dev/null
	copy_endless box /tmp
	osh sandbox stop box
	end_copy
	has_no_copies box || fail "after stop: $(copies_of box)"
	osh sandbox start box >/dev/null

	# All of it killed, with and without the agent.
	for how in init agent; do
		copy_endless box work
		init=$(field box 'b["pid"]')
		[[ $how == init ]] || agent_crash
		kill -9 "$init"
		wait_until 10 is_gone "$init"
		[[ $how == init ]] || agent_start "$AGENT_DIR"
		end_copy
		wait_until 10 is_ended box
		osh sandbox start box >/dev/null
		has_no_copies box || fail "after $how was killed: $(copies_of box)"
	done

	# The client alone, then under an agent that was killed: the sandbox goes on.
	copy_endless box work
	end_copy
	wait_until 10 has_no_copies box || fail "after the client was killed: $(copies_of box)"
	copy_endless box work
	agent_crash
	agent_start "$AGENT_DIR"
	end_copy
	wait_until 10 has_no_copies box || fail "after agent and client were killed: $(copies_of box)"

	# What was there stays, and what comes whole is there.
	osh sandbox cp "$PLACE/mine" box:work/again
	osh sandbox stop box
	expect_equal "$(files_of box)" "mine work work/again work/mine "
	osh sandbox start box >/dev/null
	expect_equal "$(inside box cat work/mine work/again /tmp/mine)" $'mine\nmine\nmine'
}

is_ended() { [[ $(field "$1" 'b["state"]') =~ ^(dead|stopped)$ ]]; }

# tar sees nothing wrong with an archive that ends where a member does.
@test "cp whose tar is killed between two members brings nothing, in or out" {
	local name
	copy_place
	make_sandbox box default --env PATH=/sandbox/bin:/usr/bin:/bin
	mkdir -p "$PLACE/tree" "$PLACE/bin"
	for name in a b; do head -c 9216 /dev/zero >"$PLACE/tree/$name"; done
	cat >"$PLACE/bin/tar" <<'END'
#!/bin/sh
/usr/bin/tar --sort=name "$@" | head -c 10240 # tree, a
kill -9 $$
END
	chmod 0755 "$PLACE/bin/tar"
	PATH=$PLACE/bin:$PATH "$PLACE/bin/tar" --create --file=- --directory="$PLACE" tree | /usr/bin/tar t # or it shows nothing
	PATH=$PLACE/bin:$PATH run -1 osh sandbox cp "$PLACE/tree" box:/sandbox
	expect_equal "$output" "what was sent ends in the middle"
	expect_equal "$(inside box ls -A /sandbox)" ""
	# The twin, also of trees that have the name of what marks the end.
	for name in tree proc sys; do
		mv "$PLACE/tree" "$PLACE/$name" 2>/dev/null || true
		osh sandbox cp "$PLACE/$name" box:/sandbox
		expect_equal "$(inside box ls /sandbox "/sandbox/$name" | tr '\n' ' ')" "/sandbox: $name  /sandbox/$name: a b "
		inside box rm -r "/sandbox/$name"
		mv "$PLACE/$name" "$PLACE/tree" 2>/dev/null || true
	done
	# The other way the status of tar says it.
	osh sandbox cp "$PLACE/tree" box:/sandbox
	osh sandbox cp "$PLACE/bin" box:/sandbox
	run -1 osh sandbox cp box:tree "$PLACE/out"
	expect_equal "$(ls -A "$PLACE/out")" ""
	inside box rm -r bin
	osh sandbox cp box:tree "$PLACE/out"
	diff -r "$PLACE/tree" "$PLACE/out/tree"
}

# Who runs inside may have put anything where copies arrive.
@test "cp in does without a place for copies that is none, and stop clears it away" {
	local obstacle copier
	copy_place
	make_sandbox box default
	for obstacle in ": >.openshell-cp" "ln -s elsewhere .openshell-cp" "ln -s nowhere .openshell-cp" \
		"mkfifo .openshell-cp" "mkdir -p .openshell-cp/x; chmod 0 .openshell-cp"; do
		inside box sh -c "mkdir elsewhere full empty; touch full/mine; $obstacle"
		osh sandbox cp "$PLACE/mine" box:brought
		osh sandbox cp "$PLACE/mine" box:full # a file is replaced
		# Nor does what is in the middle, or what fails, leave anything or take anything away.
		truncate -s 1T "$PLACE/endless"
		"$BUILD/openshell" sandbox cp "$PLACE/endless" box:empty </dev/null >/dev/null 2>&1 3>&- &
		copier=$!
		wait_until 10 inside box sh -c 'ls empty/.openshell-cp.*/endless' >/dev/null 2>&1 || fail "no copy begins: $obstacle"
		inside box test ! -e nowhere
		expect_equal "$(inside box ls -A elsewhere)" "" "$obstacle"
		kill "$copier"
		wait_until 10 is_gone "$copier"
		wait_until 10 inside box sh -c '[ -d empty ] && [ ! "$(ls -A empty)" ]' || fail "left: $obstacle"
		osh sandbox stop box
		has_no_copies box || fail "after stop: $(copies_of box)"
		expect_equal "$(files_of box)" "brought elsewhere empty full full/mine "
		osh sandbox start box >/dev/null
		expect_equal "$(inside box cat brought full/mine)" $'mine\nmine'
		inside box rm -rf brought elsewhere empty full
	done
	# Full of the names that the agent itself gives while it removes a tree.
	inside box sh -c 'mkdir .openshell-cp && cd .openshell-cp && seq -f .removing-%.0f/a/b 0 999 | xargs mkdir -p'
	osh sandbox stop box
	has_no_copies box || fail "after stop: $(copies_of box)"
	wait_until 20 has_no_trash || fail "not removed: $(ls -A "$AGENT_DIR/state/sandboxes")"
	osh sandbox start box >/dev/null
}

has_no_trash() { ! compgen -G "$AGENT_DIR/state/sandboxes/.removing-*"; }

@test "cp out: no link leads out, nothing but the one name is written" {
	local bad
	copy_place
	make_sandbox box default
	# shellcheck disable=SC2016  # for the shell inside
	inside box sh -c 'mkdir -p t/a/b; cd t
		ln -s /etc/shadow absolute; ln -s ../../mine up; ln -s a/../../mine through; ln -s missing/../../../mine dangling
		ln -s .. a/b/two; ln -s b/two/../../../mine a/by-link; ln -s a/b good; ln -s nothing also-good
		mkfifo pipe; echo s >suid; chmod 6755 suid'
	run -1 osh sandbox cp box:t "$PLACE/out/t"
	for bad in absolute up through dangling a/by-link pipe; do
		expect_contains "$output" "t/$bad is left out"
		[[ ! -L $PLACE/out/t/$bad && ! -e $PLACE/out/t/$bad ]] || fail "$bad came out"
	done
	expect_equal "$(readlink "$PLACE/out/t/good") $(readlink "$PLACE/out/t/also-good")" "a/b nothing"
	expect_equal "$(stat -c %a "$PLACE/out/t/suid")" 755
	expect_equal "$(<"$PLACE/mine")" mine

	# A link at the end is followed inside, where it leads to what is there.
	inside box sh -c 'ln -s /etc/hostname name; ln -s /etc/shadow secret'
	osh sandbox cp box:name "$PLACE/out/name"
	expect_equal "$(<"$PLACE/out/name")" box
	run osh sandbox cp box:secret "$PLACE/out/secret"
	[[ ! -s $PLACE/out/secret ]] || fail "the host's secret came out"
	# What the host shows inside to root alone is not read by way of the agent either.
	echo hidden >/etc/osh-hidden-$$
	chmod 0600 /etc/osh-hidden-$$
	run osh sandbox cp "box:/etc/osh-hidden-$$" "$PLACE/out/hidden"
	rm /etc/osh-hidden-$$
	expect_equal "$status" 1
	[[ ! -e $PLACE/out/hidden ]]
}

@test "cp in: a link inside leads nowhere but inside" {
	copy_place
	make_sandbox box default
	inside box sh -c "ln -s $PLACE/out way-out; ln -s /tmp way-tmp"
	run -1 osh sandbox cp "$PLACE/mine" box:/sandbox/way-out/x
	expect_equal "$(ls -A "$PLACE/out")" ""
	osh sandbox cp "$PLACE/mine" box:/sandbox/way-tmp
	expect_equal "$(inside box cat /tmp/mine)" mine
}

# The sandbox's tar lies: what arrives is looked through all the same.
@test "cp out: an archive with other names, ways up or links in its names brings nothing" {
	copy_place
	make_sandbox box default --env PATH=/sandbox/bin:/usr/bin:/bin
	/usr/bin/python3 - "$BATS_TEST_TMPDIR" <<'END'
import io, sys, tarfile
def archive(name, *members):
    with tarfile.open(f"{sys.argv[1]}/{name}.tar", "w") as tar:
        for path, fields in members:
            info = tarfile.TarInfo(path)
            for key, value in fields.items():
                setattr(info, key, value)
            data = b"evil\n" if info.isreg() else b""
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
place = sys.argv[1] + "/place"
link = lambda to, kind=tarfile.SYMTYPE: {"type": kind, "linkname": to}
archive("two", ("wanted", {}), (".bashrc", {}))
archive("up", ("wanted", {}), ("../mine", {}))
archive("top", (place + "/mine", {}))
archive("link", ("wanted", link(place)), ("wanted/mine", {}))
archive("hard", ("wanted", link(place + "/mine", tarfile.LNKTYPE)))
archive("only", ("wanted", link("../mine")))
archive("good", ("wanted", {}))
END
	inside box mkdir bin
	for lie in two up link hard only; do
		osh sandbox cp "$BATS_TEST_TMPDIR/$lie.tar" box:lie.tar
		inside box sh -c 'printf "#!/bin/sh\ncat /sandbox/lie.tar\n" >bin/tar; chmod 0755 bin/tar'
		run osh sandbox cp box:/tmp "$PLACE/out/wanted"
		inside box rm bin/tar lie.tar
		((status == 1)) || fail "$lie: $status $output"
		expect_equal "$(<"$PLACE/mine") $(ls -A "$PLACE") $(ls -A "$PLACE/out")" $'mine mine\nout ' "$lie"
	done
	# The twins: what was asked for, and a path from the top, which is none any more here.
	for lie in top good; do
		osh sandbox cp "$BATS_TEST_TMPDIR/$lie.tar" box:lie.tar
		inside box sh -c 'printf "#!/bin/sh\ncat /sandbox/lie.tar\n" >bin/tar; chmod 0755 bin/tar'
		rm -rf "$PLACE/out/wanted"
		osh sandbox cp box:/tmp "$PLACE/out/wanted"
		inside box rm bin/tar lie.tar
		expect_equal "$(<"$PLACE/mine")" mine
	done
	expect_equal "$(<"$PLACE/out/wanted")" evil
}

@test "create --upload puts files there before the command runs, or makes nothing" {
	copy_place
	mkdir "$PLACE/src"
	echo in >"$PLACE/src/file"
	run osh sandbox create --name up --upload "$PLACE/src" --upload "$PLACE/mine:/tmp" -- cat /sandbox/src/file /tmp/mine </dev/null
	expect_contains "$output" $'in\nmine'
	# Also what programs start in.
	run -0 osh sandbox create --name there --workdir /sandbox/src --upload "$PLACE/src" -- cat file </dev/null
	expect_contains "$output" in
	run -1 osh sandbox create --name gone --upload "$PLACE/none" -- true </dev/null
	expect_contains "$output" "deleted again"
	run -1 osh sandbox get gone
}

@test "create --detach says the name alone, and excludes what it cannot do" {
	expect_equal "$(osh sandbox create --name away --detach -- sleep 1000 </dev/null)" away
	inside away pgrep sleep
	run -2 osh sandbox create --detach </dev/null
	run -2 osh sandbox create --detach --no-tty -- true </dev/null
	run -2 osh sandbox create --detach --no-keep -- true </dev/null
	run -2 osh sandbox create --keep --no-keep -- true </dev/null
	run -1 osh sandbox create --name none --detach -- no-such-program </dev/null
	run -1 osh sandbox get none
}

@test "cp of another user's sandbox is refused" {
	make_sandbox mine default
	mkdir -m 0777 "$SCRATCH/strange"
	chmod 0666 "$AGENT_SOCKET"
	run as_stranger "$BUILD/openshell" sandbox cp mine:/etc/hostname "$SCRATCH/strange/x"
	chmod 0600 "$AGENT_SOCKET"
	expect_equal "$(ls -A "$SCRATCH/strange")" ""
	expect_equal "$status" 1
	expect_contains "$output" "belongs to another user"
}

# ---- What the CLI would never send -------------------------------------------------------

# ask METHOD PARAMETERS: the name of the error, or "answered".
ask() {
	BODY=$(/usr/bin/python3 "$E2E/control.py" "$AGENT_SOCKET" "$1" <<<"$2")
	json 'b.get("error", "answered").rsplit(".", 1)[-1]'
}

@test "odd calls are refused, and change nothing" {
	make_sandbox box default
	local method parameters want
	while IFS='|' read -r method parameters want; do
		expect_equal "$(ask "$method" "$parameters")" "$want" "$method $parameters"
	done <<'END'
SandboxStop|{"name": "none"}|NotFound
SandboxStop|{}|Invalid
SandboxStart|{"name": "box", "more": 1}|Invalid
SandboxStart|{"name": "box"}|Failed
SandboxAttach|{"name": "box"}|Invalid
SandboxDetach|{"name": "box", "pid": 1}|NotFound
SandboxDetach|{"name": "box", "pid": "1"}|Invalid
SandboxExec|{"name": "box", "tty": true, "first": true}|Invalid
SandboxExec|{"name": "box", "tty": true, "argv": ["true"], "timeout_ms": -1}|Invalid
ForwardStart|{"name": "box", "port": 1, "local_port": 1}|Invalid
ForwardStart|{"name": "box", "port": 65536, "local_port": 1}|Invalid
ForwardStop|{"name": "box", "port": 3000}|NotFound
SandboxDial|{"name": "box", "port": 0, "ipv6": false}|Invalid
SandboxDial|{"name": "box", "port": 70000, "ipv6": false}|Invalid
SandboxCreate|{"name": "new", "keep": true, "workdir": "relative"}|Invalid
SandboxCreate|{"name": "new", "keep": true, "labels": {"a": 1}}|Invalid
SandboxCreate|{"name": "new", "keep": true, "labels": ["a"]}|Invalid
SandboxCreate|{"name": "new", "keep": true, "limits": {"pids": -1}}|Invalid
SandboxCreate|{"name": "new", "keep": true, "limits": {"disk": 1}}|Invalid
SandboxCreate|{"name": "new", "keep": true, "limits": 1}|Invalid
SandboxList|{}|answered
END
	expect_equal "$(names)" "box "
	expect_equal "$(field box 'b["state"]')" running
}
