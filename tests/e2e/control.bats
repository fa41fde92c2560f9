#!/usr/bin/env bats
# The control plane against hostile callers, names, files and texts. Each test names the row of
# the conformance cases (group G) that it covers. Rows that are tested elsewhere:
#   G02 by path, and from a sandbox's cgroup    isolation.bats, the control socket is out of reach
#   G05 golden                                  unit test_policy_cases
#   G06 on the dashboard, a terminal, in a path term.bats, terminal.bats, http.bats
#   G07 a provider's secret                     credentials.bats
#   G09 a slow reader, two readers              unit test_ring
#   G10 frames, descriptors, bounds             unit test_wire, fuzz_wire
#   G12 what is dropped from the environment    isolation.bats
#   G14 escaped, nosniff                        http.bats

bats_require_minimum_version 1.5.0
load helpers

GROUP_ID=61000
ANNE=61001
BOB=61002

# The agent sees a group "openshell", the host does not.
setup_file() {
	start_world
	SCRATCH=$(mktemp -d /tmp/openshell-e2e.XXXXXX)
	chmod 0711 "$SCRATCH"
	export SCRATCH
	mkdir "$SCRATCH/bin"
	{ cat /etc/group && echo "openshell:x:$GROUP_ID:"; } >"$SCRATCH/group"
	ln -s "$BUILD/openshell" "$SCRATCH/bin/openshell"
	cat >"$SCRATCH/bin/openshelld" <<-END
		#!/bin/bash
		exec unshare -m --propagation private bash -c 'mount --bind "\$1" /etc/group && exec "\${@:2}"' \
			_ "$SCRATCH/group" "$BUILD/openshelld" "\$@"
	END
	chmod 0755 "$SCRATCH/bin/openshelld"
	start_agent
	export AGENT_DIR AGENT_PID AGENT_SOCKET
	make_sandbox box probe
}

teardown_file() { stop_all; }

start_agent() { BUILD=$SCRATCH/bin agent_start "$SCRATCH/agent"; }

# as UID COMMAND...: a member of the group.
as() {
	local uid=$1
	shift
	setpriv --reuid "$uid" --regid "$GROUP_ID" --clear-groups "$@"
}

as_anne() { as "$ANNE" "$BUILD/openshell" "$@"; }
as_bob() { as "$BOB" "$BUILD/openshell" "$@"; }

# refused_to WHO COMMAND...: another user's sandbox.
refused_to() {
	run "$@"
	expect_equal "$status" 1 "exit status of: $*"
	expect_contains "$output" "belongs to another user"
}

peer() { /usr/bin/python3 "$E2E/peer.py" "$AGENT_SOCKET" "$@"; }

# call METHOD PARAMETERS: as the CLI would not write it.
call() { /usr/bin/python3 "$E2E/control.py" "$AGENT_SOCKET" "$1" <<<"$2"; }

# call_refused METHOD PARAMETERS: answered with an error, or not at all.
call_refused() {
	local answer
	answer=$(call "$@")
	[[ ! $answer || $answer == *'"error"'* ]] || fail "$1 took $2:" "$answer"
}

@test "G01: the socket is the group's from the moment that it can be connected to" {
	local pid storm=$SCRATCH/storm
	expect_equal "$(stat -c '%a %U %g' "$AGENT_SOCKET")" "660 root $GROUP_ID"
	run setpriv --reuid 65534 --regid 65534 --clear-groups "$BUILD/openshell" --socket "$AGENT_SOCKET" sandbox list
	expect_equal "$status" 3
	expect_contains "$output" "not allowed"
	run as_anne sandbox list
	expect_equal "$status" 0
	# While it is made anew, by whoever is quick.
	setpriv --reuid 65534 --regid 65534 --clear-groups /usr/bin/python3 - "$AGENT_SOCKET" storm "$storm.end" \
		<"$E2E/peer.py" >"$storm" 3>&- &
	pid=$!
	for _ in 1 2 3; do
		agent_crash
		start_agent
	done
	: >"$storm.end"
	wait "$pid"
	expect_equal "$(<"$storm")" "let in 0"
}

@test "G01: a sandbox is its creator's and root's" {
	as_anne sandbox create --name hers --policy "$(policy probe)" </dev/null
	as_bob sandbox create --name his --policy "$(policy probe)" </dev/null
	expect_equal "$(as_anne sandbox list -o name)" hers
	expect_equal "$(as_bob sandbox list -o name)" his
	expect_contains "$(osh sandbox list -o name)" hers
	# Whatever can be asked for by name.
	refused_to as_bob sandbox get hers
	refused_to as_bob sandbox exec hers -- true
	refused_to as_bob policy get hers
	refused_to as_bob policy list hers
	refused_to as_bob policy set hers --policy "$(policy probe)" --wait
	refused_to as_bob policy update hers --remove-rule web --wait
	refused_to as_bob policy rollback hers --rev 1
	refused_to as_bob logs hers
	refused_to as_bob sandbox delete hers
	refused_to as_bob sandbox get box
	run as_bob sandbox create --name hers --policy "$(policy probe)"
	expect_equal "$status" 1
	# T: the owner may, and root.
	expect_equal "$(as_anne sandbox exec hers -- echo mine)" mine
	as_anne policy set hers --policy "$(policy probe)" --wait
	osh sandbox get hers
	# It stays so over a restart of the agent.
	agent_crash
	start_agent
	refused_to as_bob sandbox delete hers
	as_anne sandbox delete hers
	osh sandbox delete his
}

@test "G01: verdicts are read by the owner, and by root" {
	local canary
	canary=$(new_canary)
	as_anne sandbox create --name hers --policy "$(policy probe)" </dev/null
	as_anne sandbox exec hers -- curl -sS -o /dev/null "https://ok.test/pub/$canary"
	wait_until 5 has_verdicts 1 hers "l7_target=/pub/$canary"
	expect_contains "$(as_anne logs hers)" "$canary"
	# Not by asking for all that there is.
	as "$BOB" /usr/bin/python3 - "$AGENT_SOCKET" all <"$E2E/peer.py" >"$SCRATCH/seen"
	refute grep -qaF "$canary" "$SCRATCH/seen"
	as "$ANNE" /usr/bin/python3 - "$AGENT_SOCKET" all <"$E2E/peer.py" >"$SCRATCH/seen"
	grep -qaF "$canary" "$SCRATCH/seen"
	as_anne sandbox delete hers
}

@test "G02: a connection to the agent cannot be handed inside" {
	expect_equal "$(peer lend box connection)" "refused io.openshell.PermissionDenied"
	expect_equal "$(peer lend box null)" answered # T: any other descriptor
}

@test "G02, G11: a policy cannot name the agent's directories into the inside" {
	sed "s|read_write: \[/sandbox, |&$AGENT_DIR/run, $AGENT_DIR/state, |" "$(policy probe)" >"$SCRATCH/names-them.yaml"
	run osh sandbox create --name sees --policy "$SCRATCH/names-them.yaml" </dev/null
	expect_equal "$status" 0
	expect_contains "$output" "$AGENT_DIR/run is left out"
	expect_contains "$output" "$AGENT_DIR/state is left out"
	refute inside sees test -e "$AGENT_DIR"
	refute inside sees test -S "$AGENT_SOCKET"
	osh sandbox delete sees
	expect_contains "$(call Status '{}')" '"version"' # T: outside
}

@test "G03: a name that is no name never becomes a path" {
	local name json
	for name in ../x a/b . .. '' 'a\u0000b' 'a\nb' -x "$(printf 'x%.0s' {1..300})" 'a%sb' A 'a b' 'é' /etc; do
		json="\"$name\""
		call_refused SandboxCreate "{\"name\": $json, \"keep\": true}"
		call_refused SandboxGet "{\"name\": $json}"
		call_refused SandboxDelete "{\"name\": $json}"
		call_refused PolicyGet "{\"name\": $json}"
		call_refused ProviderCreate "{\"name\": $json, \"type\": \"github\"}"
		call_refused ProviderDelete "{\"name\": $json}"
		call_refused SandboxCreate "{\"keep\": true, \"providers\": [$json]}"
	done
	expect_equal "$(osh sandbox list -o name)" box "what there is"
	expect_equal "$(ls "$AGENT_DIR/state/sandboxes")" box "what is on disk"
	expect_equal "$(ls "$AGENT_DIR/state/providers")" "" "providers on disk"
	# T: the longest one.
	name=$(printf 'x%.0s' {1..63})
	expect_lacks "$(call SandboxCreate "{\"name\": \"$name\", \"keep\": true}")" '"error"'
	osh sandbox delete "$name"
}

@test "G04: policy texts made to hurt a reader are refused with their place, quickly and in little memory" {
	mkdir "$SCRATCH/bombs"
	run /usr/bin/python3 "$E2E/yaml_bombs.py" "$BUILD/openshell" "$SCRATCH/bombs"
	expect_equal "$output" ""
	# The agent reads with the same parser, and goes on.
	local file
	for file in "$SCRATCH"/bombs/{alias-bomb,deep-flow,not-utf8,nul,tag,port-leading-zero}.yaml; do
		run osh policy set box --policy "$file" --wait
		expect_equal "$status" 1 "${file##*/}"
		expect_contains "$output" "$file:"
	done
	osh policy set box --policy "$SCRATCH/bombs/ten-thousand-endpoints.yaml" --wait # T
	osh policy set box --policy "$(policy probe)" --wait
}

# Does the entry ENTRY (YAML, flow) of a policy let curl GET https://ok.test/x?
lets_through() {
	printf 'version: 1\nnetwork_policies:\n  web: %s\n' "$1" >"$SCRATCH/entry.yaml"
	echo '{"binary":"/usr/bin/curl","host":"ok.test","port":443,"method":"GET","path":"/x"}' |
		osh policy eval --policy "$SCRATCH/entry.yaml" 2>/dev/null | grep -F '"verdict":"allow"' >/dev/null
}

@test "G05: what is empty, absent or misspelt never means all" {
	local host='host: ok.test, port: 443, protocol: rest, enforcement: enforce'
	local binaries='binaries: [{ path: /usr/bin/curl }]' entry
	for entry in '{}' '~' '[]' "{ $binaries }" "{ $binaries, endpoints: [] }" "{ $binaries, endpoints: [{}] }" \
		"{ $binaries, endpoints: [{ $host }] }" "{ $binaries, endpoints: [{ $host, rules: [] }] }" \
		"{ $binaries, endpoints: [{ $host, rules: [{}] }] }" "{ $binaries, endpoints: [{ $host, rules: [{ allow: {} }] }] }" \
		"{ $binaries, endpoints: [{ $host, rules: [{ allow: { method: GET } }] }] }" \
		"{ $binaries, endpoints: [{ $host, rules: [{ allow: { path: /x } }] }] }" \
		"{ $binaries, endpoints: [{ $host, access: '' }] }" "{ $binaries, endpoints: [{ $host, access: ful }] }" \
		"{ $binaries, endpoints: [{ $host, access: full, deny_rules: [{}] }] }" \
		"{ $binaries, endpoints: [{ host: '', port: 443, protocol: rest, access: full }] }" \
		"{ $binaries, endpoints: [{ port: 443, protocol: rest, access: full }] }" \
		"{ $binaries, endpoints: [{ host: ok.test, protocol: rest, access: full }] }" \
		"{ $binaries, endpoints: [{ host: ok.test, ports: [], protocol: rest, access: full }] }" \
		"{ $binaries, endpoint: [{ $host, access: full }] }" \
		"{ endpoints: [{ $host, access: full }] }" "{ binaries: [], endpoints: [{ $host, access: full }] }" \
		"{ binaries: [{}], endpoints: [{ $host, access: full }] }" "{ binaries: [{ path: '' }], endpoints: [{ $host, access: full }] }" \
		"{ binary: [{ path: /usr/bin/curl }], endpoints: [{ $host, access: full }] }"; do
		refute lets_through "$entry"
	done
	lets_through "{ $binaries, endpoints: [{ $host, access: full }] }" # T
}

# No byte that steers a terminal, and text that is UTF-8.
expect_plain() {
	refute grep -qP '[\x00-\x08\x0b-\x1f\x7f]' "$1"
	refute grep -qP '\xc2[\x80-\x9f]|\xe2\x80[\xaa-\xae]' "$1"
	iconv -f UTF-8 -t UTF-8 "$1" >/dev/null
}

@test "G06: text from inside is escaped wherever it is shown, one record a line" {
	local before
	put box /usr/bin/curl /sandbox/readable-é
	before=$(osh logs box -o json | wc -l)
	inside box sh -c 'set -- "$(printf "a\033]52;c;eA==\007\302\233b\r\n2026 FORGED\342\200\256c\377")"
		cp /usr/bin/curl "/sandbox/$1"
		"/sandbox/$1" -sS -m 5 -o /dev/null https://ok.test/pub/x
		/sandbox/readable-é -sS -m 5 -o /dev/null https://ok.test/pub/x
		curl -sS -m 5 -o /dev/null --request-target "/pub/$1" https://ok.test/
		curl -sS -m 5 -o /dev/null -H "X-A: $1" https://ok.test/pub/x
		curl -sS -m 5 -o /dev/null -H "Host: $1" https://ok.test/pub/x
		curl -sS -m 5 -o /dev/null -X "$1" https://ok.test/pub/x
		curl -sS -m 5 -o /dev/null "https://$1.test/"' >/dev/null 2>&1 || true
	wait_until 5 has_verdicts 1 box binary~readable-é
	osh logs box >"$SCRATCH/text"
	osh logs box -o json >"$SCRATCH/json"
	osh policy explain "$(tail -n 1 "$SCRATCH/json" | grep -oP '(?<="id":)[0-9]+')" >"$SCRATCH/explained"
	inside box cat /var/log/openshell.log >"$SCRATCH/inside"
	cat "$AGENT_DIR"/state/journal/* >"$SCRATCH/journal"
	local file
	for file in text json explained inside journal; do
		expect_plain "$SCRATCH/$file"
		refute grep -q '^2026 FORGED' "$SCRATCH/$file"
	done
	expect_plain "$AGENT_DIR/agent.log"
	/usr/bin/python3 -c 'import json, sys
for line in open(sys.argv[1]): json.loads(line)' "$SCRATCH/json"
	(($(wc -l <"$SCRATCH/json") == $(wc -l <"$SCRATCH/text") && $(wc -l <"$SCRATCH/text") > before + 1))
	for file in text explained inside; do refute grep -qF 'x5cx' "$SCRATCH/$file"; done # escaped once
	grep -qF 'x1b' "$SCRATCH/text" # shown, in a form that does nothing
	grep -qF 'readable-é' "$SCRATCH/text" # T
}

# What a canary could be in: state, logs, the rings and memfds of agent and proxy, and what
# every process shows of itself.
places_of() {
	local canary=$1 pid
	pid=$(<"$AGENT_DIR/agent.pid")
	grep -rlaF -- "$canary" "$AGENT_DIR" /var/log/openshell.log 2>/dev/null
	for pid in "$pid" $(pgrep -P "$pid"); do
		find "/proc/$pid/fd" -lname '*memfd:openshell-*' 2>/dev/null |
			while read -r fd; do grep -qaF -- "$canary" "$fd" && echo "$(readlink "$fd") of $pid"; done
	done
	env -u CANARY bash -c 'read -r canary
		for p in /proc/[0-9]*; do
			grep -qaF -- "$canary" "$p/cmdline" "$p/environ" && [[ $(tr "\0" "\n" <$p/environ) != *BATS_* ]] && echo "$p"
		done 2>/dev/null' <<<"$canary"
	return 0
}

@test "G07: secrets in a query, a header and a body are nowhere but at their server" {
	local query header body
	query=$(new_canary) header=$(new_canary) body=$(new_canary)
	printf 'url = "https://ok.test/pub/x?token=%s"\nheader = "Authorization: Bearer %s"\n' "$query" "$header" >"$SCRATCH/allowed"
	printf 'next\nurl = "https://ok.test/api/x"\ndata = "secret=%s"\n' "$body" >>"$SCRATCH/allowed"
	printf 'url = "https://ok.test/no/x?token=%s"\nheader = "Authorization: Bearer %s"\n' "$query" "$header" >"$SCRATCH/denied"
	inside box curl -sS -K - <"$SCRATCH/allowed" >/dev/null
	inside box curl -sS -K - <"$SCRATCH/denied" >"$SCRATCH/page"
	expect_contains "$(<"$SCRATCH/page")" policy_denied
	wait_until 5 has_verdicts 1 box l7_target=/no/x
	local canary
	for canary in "$query" "$header" "$body"; do
		refute grep -qF "$canary" "$SCRATCH/page"
		refute grep -qF "$canary" <(osh logs box -o json)
		refute grep -qF "$canary" <(inside box cat /var/log/openshell.log)
		expect_equal "$(places_of "$canary")" "" "places of a secret"
		expect_arrived "$canary" # T: at the server, from the allowed request
	done
	# The search itself finds what is there.
	expect_contains "$(places_of "state_dir: $AGENT_DIR")" "$AGENT_DIR/config.yaml"
}

@test "G07: the agent shows its memory to nobody, and leaves no core" {
	local pid
	pid=$(<"$AGENT_DIR/agent.pid")
	run as_anne_reads "/proc/$pid/mem"
	expect_contains "$output" "ermission denied"
	run as_anne_reads "/proc/$pid/environ"
	expect_contains "$output" "ermission denied"
	expect_equal "$(awk '/Max core file size/ { print $5, $6 }' "/proc/$pid/limits")" "1 1"
	agent_end SEGV
	wait_until 5 is_gone "$pid"
	expect_equal "$(find "$AGENT_DIR" / -maxdepth 1 -name 'core*' -type f -newer "$AGENT_DIR/config.yaml")" "" "core files"
	start_agent
	osh sandbox get box # T: and it goes on
}

# shellcheck disable=SC2069  # what it says, not what it reads
as_anne_reads() { as "$ANNE" cat "$1" 2>&1 >/dev/null; }

@test "G08: keys and state are root's alone, and nothing of them is inside" {
	local odd
	odd=$(find "$AGENT_DIR/state" -type f ! -perm 0600 ! -path '*/root/*' ! -path '*/home/*' ! -path '*/tmp/*' ! -name openshell.log -printf '%m %p\n')
	expect_equal "$odd" "" "files that are not 0600"
	expect_equal "$(find "$AGENT_DIR/state" ! -uid 0 -type f -path '*/policy/*')" "" "policies of others"
	refute as "$ANNE" ls "$AGENT_DIR/state"
	run inside box sh -c 'grep -rlsF -e "PRIVATE KEY" /etc /run /var /sandbox /tmp 2>/dev/null'
	expect_equal "$output" "" "private keys inside"
	inside box sh -c 'grep -q CERTIFICATE "$SSL_CERT_FILE"' # T: the certificate is
	# A state directory that is a link, or that others can write, is not used.
	local dir=$SCRATCH/elsewhere
	mkdir -p "$dir/real"
	ln -s "$dir/real" "$dir/state"
	printf 'state_dir: %s\nrun_dir: %s\n' "$dir/state" "$dir/run" >"$dir/config.yaml"
	run timeout 10 nsenter --net="$WORLD_PX" "$BUILD/openshelld" --config "$dir/config.yaml"
	((status != 0 && status != 124))
	expect_contains "$output" "$dir/state is not a directory"
	rm "$dir/state"
	mkdir -m 0777 "$dir/state"
	chmod 0777 "$dir/state"
	run timeout 10 nsenter --net="$WORLD_PX" "$BUILD/openshelld" --config "$dir/config.yaml"
	((status != 0 && status != 124))
	expect_contains "$output" "can be written by others"
}

@test "G09: the ring can be read, and by nobody written" {
	run peer ring
	expect_lacks "$output" POSSIBLE
	expect_equal "${#lines[@]}" 6
	expect_contains "$output" "read possible" # T
}

@test "G10: peers that abuse the protocol are closed or wait, and harm nobody" {
	local agent before
	agent=$(<"$AGENT_DIR/agent.pid")
	before=$(descriptors "$agent")
	expect_equal "$(peer huge)" closed
	expect_equal "$(peer deep)" closed
	expect_equal "$(peer raw 'no json\0')" closed
	expect_equal "$(peer raw '[]\0')" closed
	expect_equal "$(peer raw '{"method":"io.openshell.Status"}')" closed # no NUL
	expect_equal "$(peer raw '{"method":"io.openshell.Status","method":"x"}\0')" closed
	expect_equal "$(peer raw '{"method":"Status"}\0')" "refused org.varlink.service.InterfaceNotFound"
	expect_equal "$(peer raw '{"method":"io.openshell.None"}\0')" "refused org.varlink.service.MethodNotFound"
	expect_equal "$(peer raw '{"method":"io.openshell.SandboxGet","parameters":{"name":1}}\0')" "refused io.openshell.Invalid"
	expect_equal "$(peer unasked)" answered
	expect_equal "$(peer mute)" waits
	expect_equal "$(peer many 10000)" "answered of 10000"
	run osh sandbox list # T
	expect_equal "$status" 0
	wait_until 5 has_at_most "$agent" "$before" || fail "descriptors: $before before, $(descriptors "$agent") after"
}

@test "G10: a peer that does not read holds up no other" {
	local pid
	peer mute >/dev/null 3>&- &
	pid=$!
	expect_contains "$(call Status '{}')" '"version"'
	osh policy set box --policy "$(policy probe)" --wait
	wait "$pid"
}

@test "G11: nothing that is written inside becomes policy" {
	BODY=$(osh sandbox get box -o json)
	local before path
	before=$(json 'b["revision"], b["policy_hash"]')
	for path in /etc/openshell/policy.yaml /etc/navigator/policy.yaml /etc/openshell/openshelld.yaml; do
		refute inside box sh -c 'mkdir -p "${1%/*}" && cat >"$1"' _ "$path" <"$(policy probe_more)"
	done
	for path in /sandbox/policy.yaml /sandbox/.config/openshell/policy.yaml /tmp/policy.yaml; do
		inside box sh -c 'mkdir -p "${1%/*}" && cat >"$1"' _ "$path" <"$(policy probe_more)"
	done
	inside box env OPENSHELL_SANDBOX_POLICY=/sandbox/policy.yaml OPENSHELL_NETWORK_BINARY_IDENTITY=disabled \
		curl -sS -o /dev/null https://ok.test/pub/x
	fetch box https://ok.test/api/x -X PUT -d x
	expect_status 403
	agent_crash
	start_agent
	fetch box https://ok.test/api/x -X PUT -d x
	expect_status 403
	BODY=$(osh sandbox get box -o json)
	expect_equal "$(json 'b["revision"], b["policy_hash"]')" "$before"
	osh policy set box --policy "$(policy probe_more)" --wait # T: from outside it does
	fetch box https://ok.test/api/x -X PUT -d x
	expect_status 200
	osh policy set box --policy "$(policy probe)" --wait
}

@test "G12: variables that lead out are dropped unless they are named" {
	run env SSH_AUTH_SOCK=/x DBUS_SESSION_BUS_ADDRESS=x XDG_RUNTIME_DIR=/x DOCKER_HOST=x KUBECONFIG=/x \
		GITHUB_TOKEN=secret NPM_TOKEN=secret LD_LIBRARY_PATH=/x LD_AUDIT='' BASH_ENV=/x PYTHONPATH=/x NODE_OPTIONS='' \
		GIT_SSH_COMMAND=x http_proxy=http://x HTTPS_PROXY=http://x TERM=dumb LANG=C.UTF-8 \
		"$BUILD/openshell" sandbox exec box -- env
	local name
	for name in SSH_AUTH_SOCK DBUS_ XDG_RUNTIME_DIR DOCKER_HOST KUBECONFIG TOKEN LD_ BASH_ENV PYTHONPATH NODE_OPTIONS GIT_SSH proxy PROXY; do
		expect_lacks "$output" "$name"
	done
	expect_contains "$output" PATH= # T
	expect_contains "$output" LANG=C.UTF-8
	run osh sandbox create --name named --policy "$(policy probe)" --env NPM_TOKEN=mine --no-keep -- printenv NPM_TOKEN
	expect_contains "$output" mine
}

@test "G13: what would reach the kernel or a device cannot be opened" {
	local path
	for path in /proc/kcore /proc/sysrq-trigger /proc/sys/kernel/core_pattern /proc/sys/net/ipv4/ip_forward /proc/kmsg \
		/proc/kallsyms /sys/kernel /sys/fs/cgroup /sys/fs/bpf /dev/mem /dev/kmsg /dev/vda /dev/sda /dev/fuse /dev/net/tun /dev/kvm; do
		refute inside box sh -c ': >>"$1"' _ "$path"
		case $path in
		*/sys/kernel/core_pattern | */ip_forward | */kallsyms) ;; # says nothing that is secret
		*) refute inside box sh -c 'head -c 1 "$1" | grep -q .' _ "$path" ;;
		esac
	done
	refute inside box mknod /tmp/node b 8 0
	inside box sh -c ': >/dev/null && head -c 1 /dev/urandom >/dev/null && head -c 1 /dev/zero >/dev/null' # T
}

@test "G14: a denial speaks of its own request, and of no other rule" {
	local canary
	canary=$(new_canary)
	fetch box "https://ok.test/%3Cscript%3E$canary?$canary=1" -X DELETE -H "Authorization: Bearer $canary-header" -b "c=$canary-cookie"
	expect_status 403
	expect_equal "$(json 'b["rule_missing"]["method"], b["rule_missing"]["path"]')" "('DELETE', '/%3Cscript%3E$canary')" # T
	expect_equal "$(json 'b["policy"]')" web
	expect_lacks "$BODY" "<script"
	expect_lacks "$BODY" "$canary-"
	expect_lacks "$BODY" "$canary=1"
	local other
	for other in database untouched faulty inward descendants l4.test skip.test plain.test '/pub/**' '/api/**' wget "$AGENT_DIR"; do
		expect_lacks "$BODY" "$other"
	done
}

# A sum over the sandbox's counters and over its records.
counts() {
	BODY=$(osh sandbox get box -o json)
	json 'b["allowed"] + b["audited"] + b["denied"]'
}
records() { osh logs box -o json | grep -cvF '"l7_protocol":"sandbox"'; }
counts_are_records() { (($(counts) == $(records))); }

@test "G15: one record for a decision, whole; hostile names leave nothing behind" {
	osh sandbox delete box
	make_sandbox box probe
	local keys
	BODY=$(osh status -o json)
	keys=$(json 'sorted(b["counters"])')
	inside box sh -c 'for i in $(seq 20); do
			echo "url=https://ok.test/pub/$i"; echo "url=https://ok.test/no/$i"
		done >/sandbox/urls; curl -sS -K /sandbox/urls >/dev/null' || true
	wait_until 5 has_verdicts 20 box l7_decision=deny l7_action=GET
	expect_equal "$(count_verdicts box l7_action=GET l7_decision=deny)" 20 denied
	expect_equal "$(count_verdicts box l7_action=GET l7_decision=allow)" 20 "allowed" # T
	BODY=$(verdicts box l7_target=/no/7)
	expect_equal "$(json '[b[k] for k in ("binary", "dst_host", "dst_port", "l7_action", "policy", "revision", "status")]')" \
		"['/usr/bin/curl', 'ok.test', 443, 'GET', 'web', 1, 403]"
	[[ $(json 'b["lineage"]') == *init* ]]
	# Names by the thousand, each asked for once.
	inside box python3 -c 'import socket
for i in range(3000):
    try: socket.getaddrinfo(f"h{i}.hostile.test", 443)
    except OSError: pass
for i in range(50):
    try: socket.create_connection((f"h{i}.hostile.test", 4444), timeout=5)
    except OSError: pass'
	wait_until 10 counts_are_records || fail "counted $(counts), recorded $(records)"
	BODY=$(osh status -o json)
	expect_equal "$(json 'sorted(b["counters"])')" "$keys" "what is counted"
	fetch box https://ok.test/pub/after
	expect_status 200
}
