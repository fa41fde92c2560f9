#!/usr/bin/env bats
# Commands, their answers and exit statuses; bad input is refused with nothing half made.

load helpers

bats_require_minimum_version 1.5.0

setup_file() {
	start_all
	make_sandbox demo probe
}

teardown_file() { stop_all; }

# usage COMMAND...: exit 2, a word about it and nothing on stdout.
expect_usage() {
	run --separate-stderr osh "$@"
	expect_equal "$status" 2 "exit status of: $*"
	[[ $stderr == *usage* ]]
	expect_equal "$output" "" "stdout of: $*"
}

# refused PART COMMAND...: exit 1, one clear line that holds PART.
expect_refused() {
	local part=$1
	shift
	run --separate-stderr osh "$@"
	expect_equal "$status" 1 "exit status of: $* ($stderr)"
	expect_contains "$stderr" "$part"
	expect_equal "$(wc -l <<<"$stderr")" 1 "lines of: $stderr"
}

# Policies that break one rule each.
bad_policy() {
	local head='version: 1' i
	case $1 in
	not-utf8) printf '%s\nnetwork_policies: { a\xff: {} }\n' "$head" ;;
	too-large) printf '%s\n#%01100000d\n' "$head" 0 ;;
	too-deep) printf '%s\nnetwork_policies: ' "$head" && for ((i = 0; i < 40; i++)); do printf '{ a: '; done && echo ;;
	alias) printf '%s\nnetwork_policies:\n  a: &x { endpoints: [], binaries: [] }\n  b: *x\n' "$head" ;;
	duplicate) printf '%s\nnetwork_policies:\n  a: { endpoints: [], binaries: [] }\n  a: { endpoints: [], binaries: [] }\n' "$head" ;;
	unknown-key) printf '%s\nnetwork_polices: {}\n' "$head" ;;
	no-version) echo 'network_policies: {}' ;;
	empty) ;;
	broken) printf '%s\nnetwork_policies: [\n' "$head" ;;
	esac
}

@test "unknown command or option, missing value: usage and exit 2" {
	expect_usage
	expect_usage nonsense
	expect_usage sandbox nonsense
	expect_usage --nonsense
	expect_usage --socket
	expect_usage sandbox create --nonsense
	expect_usage sandbox create --name
	expect_usage sandbox get
	expect_usage sandbox exec demo --
	expect_usage policy set demo
	expect_usage policy set demo --policy
	expect_usage provider create --name x
	expect_usage logs
	expect_usage logs demo --since nonsense
	run osh --help
	expect_equal "$status" 0
	expect_contains "$output" "sandbox create"
	run osh --version
	expect_equal "$status" 0
}

@test "no agent: one line that says how to start it, exit 3" {
	local command
	for command in "sandbox list" "sandbox get demo" status "logs demo" "provider list" \
		"sandbox create --name x"; do
		# shellcheck disable=SC2086  # words
		run --separate-stderr osh --socket "$SCRATCH/none.sock" $command
		expect_equal "$status" 3 "exit status of $command ($stderr)"
		expect_contains "$stderr" "start one"
		expect_equal "$(wc -l <<<"$stderr")" 1 "lines of: $stderr"
	done
	run osh sandbox list
	expect_equal "$status" 0
}

@test "status tells of the agent, its proxy and the kernel's features" {
	run osh status
	expect_equal "$status" 0
	expect_contains "$output" "$AGENT_PID"
	BODY=$(osh status -o json)
	expect_equal "$(json 'b["pid"]')" "$AGENT_PID"
	expect_equal "$(json 'b["run_dir"]')" "$AGENT_DIR/run"
	[[ $(json 'len(b["features"]) > 3 and all("present" in f for f in b["features"])') == True ]]
	[[ -d /proc/$(json 'b["proxy_pid"]') ]]
}

@test "list and get show the sandbox" {
	run osh sandbox list
	expect_contains "$output" demo
	expect_contains "$output" running
	BODY=$(osh sandbox get demo -o json)
	expect_equal "$(json 'b["name"]')" demo
	expect_equal "$(json 'b["state"]')" running
	[[ -d /proc/$(json 'b["pid"]') ]]
	run osh sandbox get demo
	expect_equal "$status" 0
	expect_contains "$output" demo
}

@test "exec passes the exit status, stdin, stdout and stderr through" {
	run inside demo sh -c 'exit 7'
	expect_equal "$status" 7
	run inside demo sh -c 'kill -TERM $$'
	expect_equal "$status" 143
	run inside demo true
	expect_equal "$status" 0
	run osh sandbox exec -n demo -- echo hello
	expect_equal "$output" hello
	run --separate-stderr inside demo sh -c 'echo out; echo err >&2'
	expect_equal "$output" out
	expect_equal "$stderr" err
	run inside demo sh -c 'wc -c' <<<"12345"
	expect_equal "$output" 6
	head -c 3000000 /dev/urandom >"$SCRATCH/bytes"
	inside demo cat <"$SCRATCH/bytes" | cmp - "$SCRATCH/bytes"
}

@test "a sandbox with a command keeps running after the command has ended" {
	run osh sandbox create --name kept --policy "$(policy probe)" -- sh -c 'echo ran; exit 5'
	expect_equal "$status" 5
	expect_contains "$output" ran
	run inside kept echo again
	expect_equal "$output" again
	osh sandbox delete kept
	run osh sandbox get kept
	expect_equal "$status" 1
}

@test "--no-keep: deleted afterwards, exits with the command's status" {
	run osh sandbox create --name passing --policy "$(policy probe)" --no-keep -- sh -c 'exit 9'
	expect_equal "$status" 9
	run osh sandbox get passing
	expect_equal "$status" 1
	run osh sandbox create --policy "$(policy probe)" --no-keep -- true
	expect_equal "$status" 0
}

@test "connect opens a shell, on a terminal of its own" {
	run bash -c 'printf "tty; stty size; exit 3\n" | script -qec "stty rows 31 columns 97; $1 sandbox connect demo" /dev/null' \
		_ "$BUILD/openshell"
	expect_contains "$output" /dev/pts/
	expect_contains "$output" "31 97"
	expect_equal "$status" 3
}

@test "a sandbox that does not exist" {
	expect_refused nobody sandbox get nobody
	expect_refused nobody sandbox delete nobody
	expect_refused nobody sandbox exec nobody -- true
	expect_refused nobody sandbox connect nobody
	expect_refused nobody logs nobody
	expect_refused nobody policy get nobody
	expect_refused nobody policy set nobody --policy "$(policy probe)" --wait
}

@test "a name that is taken, or is no name" {
	local name
	expect_refused demo sandbox create --name demo --policy "$(policy probe)"
	run osh sandbox get demo
	expect_equal "$status" 0
	for name in ../x a/b . A '' 'a b' 'a%s' -- $'a\nb' "$(printf 'x%.0s' {1..64})"; do
		run osh sandbox create "--name=$name" --policy "$(policy probe)"
		((status == 1 || status == 2)) || fail "name '$name' was accepted"
	done
	name=$(printf 'x%.0s' {1..63})
	make_sandbox "$name" probe
	osh sandbox delete "$name"
	expect_equal "$(osh sandbox list -o name)" demo "what is there"
}

@test "a policy file that is bad: refused before anything is made" {
	local kind file=$SCRATCH/bad.yaml
	for kind in not-utf8 too-large too-deep alias duplicate unknown-key no-version empty broken; do
		bad_policy $kind >"$file"
		run osh sandbox create --name bad --policy "$file"
		expect_equal "$status" 1 "exit status for $kind ($output)"
		expect_contains "$output" bad.yaml
		run osh sandbox get bad
		expect_equal "$status" 1 "sandbox made from $kind"
	done
	expect_refused missing.yaml sandbox create --name bad --policy "$SCRATCH/missing.yaml"
	expect_equal "$(find "$AGENT_DIR/state/sandboxes" -mindepth 1 -maxdepth 1 -printf '%f\n')" demo
	printf 'version: 1\nnetwork_policies: {}\n' >"$file"
	osh sandbox create --name good --policy "$file"
	osh sandbox delete good
}

@test "a provider without its variable, of no type, with a bad name" {
	run --separate-stderr env -u GITHUB_TOKEN -u GH_TOKEN "$BUILD/openshell" provider create --name p --type github --from-existing
	expect_equal "$status" 1
	expect_contains "$stderr" GITHUB_TOKEN
	GITHUB_TOKEN=x expect_refused nonsense provider create --name p --type nonsense --from-existing
	GITHUB_TOKEN=x run osh provider create --name ../p --type github --from-existing
	((status == 1 || status == 2))
	run osh provider list
	expect_lacks "$output" github
	expect_refused p sandbox create --name needy --provider p
	run osh sandbox get needy
	expect_equal "$status" 1
	GITHUB_TOKEN=x osh provider create --name p --type github --from-existing
	run osh provider list
	expect_contains "$output" github
	osh provider delete p
}

@test "a command that does not exist in the sandbox" {
	expect_refused no-such-command sandbox exec demo -- no-such-command
	run osh sandbox create --name hollow --policy "$(policy probe)" --no-keep -- no-such-command
	expect_equal "$status" 1
	expect_contains "$output" no-such-command
	run osh sandbox get hollow
	expect_equal "$status" 1
}

@test "delete ends what runs inside" {
	local pid
	make_sandbox brief probe
	inside brief sh -c 'echo started; exec tail -f /dev/null' >"$SCRATCH/brief" 2>&1 3>&- &
	pid=$!
	wait_until 5 has_line "$SCRATCH/brief" started
	osh sandbox delete brief
	wait_until 5 is_gone "$pid"
	expect_refused brief sandbox get brief
}

@test "two agents side by side do not meet" {
	local first=$AGENT_SOCKET pid=$AGENT_PID dir=$AGENT_DIR
	agent_start "$SCRATCH/second"
	run osh sandbox list -o name
	expect_equal "$output" ""
	make_sandbox demo probe
	fetch demo https://ok.test/pub/second
	expect_status 200
	osh sandbox delete demo
	agent_stop
	AGENT_PID=$pid AGENT_DIR=$dir
	OPENSHELL_SOCKET=$first
	fetch demo https://ok.test/pub/first
	expect_status 200
}

@test "a second agent on the same directories says so and leaves the first alone" {
	run timeout 10 nsenter --net="$WORLD_PX" "$BUILD/openshelld" --config "$AGENT_DIR/config.yaml"
	((status != 0 && status != 124))
	run osh sandbox list -o name
	expect_equal "$output" demo
}

@test "openshelld: unknown option, bad configuration" {
	run timeout 10 "$BUILD/openshelld" --nonsense
	expect_equal "$status" 2
	printf 'state_dir: %s\nnonsense: 1\n' "$SCRATCH/x" >"$SCRATCH/bad-config.yaml"
	run timeout 10 "$BUILD/openshelld" --config "$SCRATCH/bad-config.yaml"
	((status != 0 && status != 124))
	expect_contains "$output" "bad-config.yaml:2"
}

@test "as root, on the default socket, sandbox create starts an agent and says so" {
	[[ ! -e /run/openshell ]] || skip "an agent runs on this host"
	# Under directories of its own, so that the host's are not touched.
	run in_px unshare -m --propagation private bash -c '
		mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/lib && mount -t tmpfs tmpfs /var/log || exit
		unset OPENSHELL_SOCKET
		"$1" sandbox list
		echo "list: $?"
		"$1" sandbox create --name auto --no-keep -- echo hello
		echo "create: $?"
		pid=$("$1" status -o json | python3 -c "import json, sys; print(json.load(sys.stdin)[\"pid\"])")
		kill "$pid" && tail --pid="$pid" -f /dev/null' _ "$BUILD/openshell"
	expect_contains "$output" "list: 3"
	expect_contains "$output" hello
	expect_contains "$output" "create: 0"
	[[ $output =~ start(ed|ing).*agent|agent.*start(ed|ing)|openshelld ]]
}

@test "make install puts everything in its place" {
	make -s -C "$REPO" install DESTDIR="$SCRATCH/root" PREFIX=/usr
	local file
	for file in bin/openshell sbin/openshelld libexec/openshell/openshell-init share/openshell/default-policy.yaml \
		lib/systemd/system/openshelld.service share/man/man1/openshell.1 share/man/man8/openshelld.8 \
		share/man/man5/openshell-policy.5 share/bash-completion/completions/openshell; do
		[[ -s $SCRATCH/root/usr/$file ]] || fail "missing: $file"
	done
	expect_equal "$("$SCRATCH/root/usr/bin/openshell" --version)" "$(osh --version)"
	grep -q 'ExecStart=/usr/sbin/openshelld' "$SCRATCH/root/usr/lib/systemd/system/openshelld.service"
}

@test "the shell completes commands and the names of sandboxes" {
	complete_words() {
		PATH=$BUILD:$PATH bash -c '. "$1/share/bash-completion/openshell"
			shift
			function=$(complete -p openshell | sed -E "s/.*-F ([^ ]+).*/\1/")
			COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
			"$function" openshell "${@: -1}" "${@: -2:1}"
			echo "${COMPREPLY[@]}"' _ "$REPO" "$@"
	}
	run complete_words openshell ''
	expect_contains "$output" sandbox
	expect_contains "$output" policy
	for group in sandbox policy provider forward; do
		run complete_words openshell "$group" ''
		expect_equal "$(tr ' ' '\n' <<<"${output% --help}" | sort)" \
			"$(osh "$group" --help | awk -v group="$group" '$1 == group { print $2 }' | sort)" "$group"
	done
	run complete_words openshell sandbox cr
	expect_equal "$output" create
	run complete_words openshell sandbox delete de
	expect_contains "$output" demo
	for words in "sandbox attach-main" "sandbox stop" "sandbox start" "sandbox exec" "policy get" "forward start 3000" "forward stop 3000"; do
		# shellcheck disable=SC2086  # several words
		run complete_words openshell $words de
		expect_equal "$output" demo "$words"
	done
	run complete_words openshell sandbox cp de
	expect_equal "$output" demo:
	run complete_words openshell sandbox create --l
	expect_equal "$output" --label
	# What each command's help names, and no value is taken for a NAME.
	osh --help | awk '/^commands:/ { on = 1; next } /^$/ { on = 0 } on' | sed -E 's/^  (.*[a-z])  .*/\1/; s/ +$//' >"$SCRATCH/commands"
	while read -ra words; do
		osh "${words[@]}" --help | sed -nE 's/^  (-., |    )(--[a-z-]+( [A-Z]+)?).*/\2/p' >"$SCRATCH/options"
		run complete_words openshell "${words[@]}" --
		expect_equal "$(tr ' ' '\n' <<<"$output" | sort)" "$(cut -d ' ' -f 1 "$SCRATCH/options" | sort -u)" "${words[*]}"
		[[ ${words[*]} == "sandbox "@(exec|get|delete) || ${words[*]} == logs ]] || continue
		while read -r option value; do
			[[ $value && $option != --socket ]] || continue
			run complete_words openshell "${words[@]}" "$option" x de
			expect_equal "$output" demo "${words[*]} $option"
		done <"$SCRATCH/options"
	done <"$SCRATCH/commands"
	run complete_words openshell sandbox attach --cgroup /pro
	expect_equal "$output" /proc
	run complete_words openshell forward ''
	expect_equal "$output" "start list stop --help"
}

# ---- What takes longer than a second -----------------------------------------------------

# thaw: the agent goes on, whatever became of the test.
thaw() { kill -CONT "$(<"$AGENT_DIR/agent.pid")"; }

# answers_at_once COMMAND...: within the second that nothing is said in; what it said in $said. On a machine that
# is busy it may take longer, which tells nothing.
answers_at_once() {
	local begun=${EPOCHREALTIME/./}
	said=$("$@" 2>&1) && ((${EPOCHREALTIME/./} - begun < 1000000))
}

@test "what takes long says so in one plain line, and in none when it does not" {
	local asker said
	# Not by run(), which takes such lines away.
	wait_until 10 answers_at_once osh sandbox list || fail "never within a second: $said"
	expect_contains "$said" NAME
	expect_lacks "$said" ...
	wait_until 10 answers_at_once osh sandbox exec demo -- true || fail "never within a second: $said"
	expect_equal "$said" ""
	kill -STOP "$(<"$AGENT_DIR/agent.pid")"
	osh sandbox list >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" 3>&- &
	asker=$!
	wait_until 10 has_line "$BATS_TEST_TMPDIR/err" '^openshell: waiting for the agent \.\.\.$' || { thaw; fail "nothing was said"; }
	thaw
	wait "$asker"
	expect_contains "$(<"$BATS_TEST_TMPDIR/out")" NAME
	expect_equal "$(wc -l <"$BATS_TEST_TMPDIR/err")" 1
}
