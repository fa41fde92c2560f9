#!/usr/bin/env bats
# Which program connected, in an attached cgroup: of any user, below any root. The table of what counts as
# injected, and trust on first use, are in injection.bats and identity.bats.

bats_require_minimum_version 1.5.0

load helpers
load attach

# Somebody's own, who may write no program of the system: a clean one is to be had. Not with the environment
# here: bats exports functions, which are code.
as_user() { in_cgroup env -i PATH="$PATH" setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }

# keep RIGHT: KEEPER starts what follows as somebody who keeps that right of root, and no other.
keep() {
	KEEPER=(setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps "-all,+$1" --ambient-caps "-all,+$1"
		--bounding-set "-all,+$1")
}

# status_of AS COMMAND...: what the program, started as AS says, gets for an allowed request.
status_of() { "$@" -sk -m 20 -o /dev/null -w '%{http_code}' "https://${SITE:-ok.test}/pub/${CANARY:-x}"; }

# ---- What runs is what was executed -----------------------------------------------------------------

# refused_as BINARY COMMAND...: what COMMAND sends does not arrive, and is refused as BINARY's.
refused_as() {
	local canary
	canary=$(new_canary)
	run in_cgroup "${@:2}" tcp l4.test 5432 "$canary"
	expect_absent "$canary"
	expect_verdicts 1 box "binary~$1" dst_host=l4.test l7_decision=deny
	run in_cgroup "$PROBES/net-ok" tcp l4.test 5432 "$canary" # T
	expect_contains "$output" "l4 ready"
	expect_arrived "$canary"
}

# B01, B02, B03, B06, B20, B21: the name that counts is the file's own.
@test "the same bytes at another path are another program, whatever it calls itself" {
	local copy
	attach "$SCRATCH/probe.yaml"
	CANARY=$(new_canary)
	cp /usr/bin/curl "$PROBES/copy"
	ln "$PROBES/copy" "$PROBES/hard"
	ln -s "$PROBES/copy" "$PROBES/curl"
	copy=$PROBES/$(printf 'a\nb"\377')
	cp /usr/bin/curl "$copy"
	cp /usr/bin/curl "$PROBES/curl (deleted)"
	for program in "$PROBES/copy" "$PROBES/hard" "$PROBES/curl" "$PROBES/curl (deleted)" "$copy"; do
		expect_equal "$(status_of in_cgroup "$program")" 403 "$program"
	done
	expect_equal "$(status_of in_cgroup bash -c 'exec -a /usr/bin/curl "$0" "$@"' "$PROBES/copy")" 403
	expect_absent "$CANARY"
	expect_verdicts 3 box binary="$PROBES/copy" l7_decision=deny dst_host=ok.test
	ln -sf /usr/bin/curl "$PROBES/curl"
	expect_equal "$(status_of in_cgroup "$PROBES/curl")" 200
	expect_equal "$(status_of in_cgroup bash -c 'exec -a "$1" /usr/bin/curl "${@:2}"' _ "$PROBES/copy")" 200
	rm "$PROBES/hard"
	ln "$PROBES/net-ok" "$PROBES/hard"
	refused_as "$PROBES/hard" "$PROBES/hard"
}

# B21
@test "an odd name is one line" {
	local odd
	attach "$SCRATCH/probe.yaml"
	odd=$PROBES/$'net-ok\n"\377'
	cp "$PROBES/net-ok" "$odd"
	refused_as "$PROBES/net-ok" "$odd"
	expect_equal "$(osh logs box --denied | grep -c 'net-ok.*DENIED\|DENIED.*net-ok')" 1
	rm "$odd"
}

# B05
@test "a program that is replaced, or written to, is refused until the policy is set again" {
	attach "$SCRATCH/probe.yaml"
	local before
	before=$(new_canary) CANARY=$(new_canary)
	run in_cgroup "$PROBES/net-ok" tcp l4.test 5432 "$before"
	expect_arrived "$before"
	cp "$PROBES/net-no" "$PROBES/next"
	echo >>"$PROBES/next"
	mv "$PROBES/next" "$PROBES/net-ok"
	in_cgroup "$PROBES/net-ok" tcp l4.test 5432 "$CANARY" || true
	expect_absent "$CANARY"
	osh policy set box --policy "$SCRATCH/probe.yaml" --wait 2>/dev/null
	run in_cgroup "$PROBES/net-ok" tcp l4.test 5432 "$CANARY"
	expect_arrived "$CANARY"
	CANARY=$(new_canary)
	echo >>"$PROBES/net-ok"
	in_cgroup "$PROBES/net-ok" tcp l4.test 5432 "$CANARY" || true
	expect_absent "$CANARY"
	expect_verdicts 2 box "binary=$PROBES/net-ok" l7_decision=deny "l7_deny_reason~changed since its first use"
}

# B07
@test "a program without a file has no identity" {
	attach "$SCRATCH/probe.yaml"
	CANARY=$(new_canary)
	[[ $(status_of in_cgroup /usr/bin/python3 -c 'import os, sys
fd = os.memfd_create("curl")
os.write(fd, open("/usr/bin/curl", "rb").read())
os.execve(fd, ["/usr/bin/curl"] + sys.argv[1:], os.environ)' -4) == 000 ]]
	expect_absent "$CANARY"
	expect_verdicts 1 box "binary~memfd:curl" l7_decision=deny dst_host=ok.test
	expect_equal "$(status_of in_cgroup /usr/bin/python3 -c 'import os, sys
os.execve(os.open("/usr/bin/curl", os.O_RDONLY), ["x"] + sys.argv[1:], os.environ)')" 200
}

# B08, B12
@test "what a loader or an interpreter runs is its, not the file's" {
	local loader place=$SCRATCH/place
	loader=$(readlink -f /lib64/ld-linux-x86-64.so.2)
	mkdir "$place"
	attach "$SCRATCH/probe.yaml"
	expect_equal "$(status_of in_cgroup "$loader" /usr/bin/curl)" 403
	expect_equal "$(status_of in_cgroup /usr/bin/curl)" 200
	printf '#!/bin/sh\nexec "%s" "$@"\n' "$PROBES/net-no" >"$place/net-ok"
	chmod +x "$place/net-ok"
	sed "s|$PROBES/net-ok|$place/net-ok|" "$SCRATCH/probe.yaml" >"$SCRATCH/script.yaml"
	osh policy set box --policy "$SCRATCH/script.yaml" --wait 2>/dev/null
	run in_cgroup "$place/net-ok" tcp l4.test 5432 x
	expect_lacks "$output" "l4 ready"
	cp "$PROBES/net-ok" "$place/net-ok"
	run in_cgroup "$place/net-ok" tcp l4.test 5432 x # T
	expect_contains "$output" "l4 ready"
	rm -r "$place"
}

# B13
@test "a double fork with its own session keeps binary and lineage" {
	local fork_twice=(/usr/bin/python3 "$E2E/probe.py" fork_twice /usr/bin/curl)
	attach "$SCRATCH/probe.yaml"
	SITE=tunnel.test # for what runs below timeout
	expect_equal "$(status_of in_cgroup timeout 20 "${fork_twice[@]}")" 200
	expect_verdicts 1 box dst_host=$SITE l7_decision=allow binary=/usr/bin/curl 'lineage~/usr/bin/timeout'
	CANARY=$(new_canary)
	expect_equal "$(status_of in_cgroup "${fork_twice[@]}")" 403
	expect_absent "$CANARY"
}

# B15
@test "a chain of starts that is deeper than is told is nobody's" {
	local chain='n=$1; shift; if [ "$n" -gt 0 ]; then exec sh -c "$CHAIN" _ $((n - 1)) "$@"; fi; exec "$@"'
	export CHAIN=$chain
	attach "$SCRATCH/probe.yaml"
	run in_cgroup sh -c "$chain" _ 70 "$PROBES/net-ok" tcp l4.test 5432 x
	expect_lacks "$output" "l4 ready"
	run in_cgroup sh -c "$chain" _ 5 "$PROBES/net-ok" tcp l4.test 5432 x # T
	expect_contains "$output" "l4 ready"
}

# B14
@test "a thread that executes, and a child with its parent's memory, are what runs" {
	local way before after
	attach "$SCRATCH/probe.yaml"
	for way in threaded vforked; do
		before=$(new_canary) after=$(new_canary)
		run in_cgroup "$PROBES/net-no" "$way" l4.test 5432 "$before" "$after" "$PROBES/net-ok"
		expect_absent "$before"
		expect_arrived "$after"
		# And what was allowed before goes on under the other name: its starter is what is granted.
		before=$(new_canary) after=$(new_canary)
		run in_cgroup "$PROBES/net-ok" "$way" l4.test 5432 "$before" "$after" "$PROBES/net-no"
		expect_arrived "$before"
		expect_arrived "$after"
	done
	expect_verdicts 2 box "binary=$PROBES/net-no" l7_decision=deny
	expect_verdicts 2 box "binary=$PROBES/net-ok" l7_decision=allow "lineage~$PROBES/net-no"
	expect_verdicts 2 box "binary=$PROBES/net-no" l7_decision=allow "lineage~$PROBES/net-ok"
}

# B17
@test "a process that gives itself another executable keeps its name" {
	local address
	gcc -O -static -o "$PROBES/masked" "$E2E/programs/masked.c"
	attach "$SCRATCH/probe.yaml"
	address=$(said resolve l4.test | awk '{ print $3 }')
	run in_cgroup "$PROBES/net-ok" tcp "$address" 5432 "" # T
	expect_contains "$output" "l4 ready"
	run in_cgroup "$PROBES/masked" "$PROBES/net-ok" "$address" 5432
	expect_contains "$output" "$PROBES/net-ok "
	expect_verdicts 1 box dst_host=l4.test binary="$PROBES/masked" l7_decision=deny
	expect_verdicts 1 box dst_host=l4.test binary="$PROBES/net-ok"
}

# B18
@test "a program at the same path below another root is not the one that the policy names" {
	local real fake root=$SCRATCH/root
	real=$(new_canary) fake=$(new_canary)
	mkdir -p "$root$PROBES"
	cp "$PROBES/net-ok" "$root$PROBES/net-ok"
	attach "$SCRATCH/probe.yaml"
	run in_cgroup "$PROBES/net-ok" tcp l4.test 5432 "$real"
	expect_arrived "$real"
	run in_cgroup chroot "$root" "$PROBES/net-ok" tcp l4.test 5432 "$fake"
	expect_absent "$fake"
	expect_contains "$(osh logs box --denied)" "$PROBES/net-ok"
	run in_cgroup "$PROBES/net-ok" tcp l4.test 5432 "$(new_canary)"
	expect_contains "$output" "l4 ready"
	rm -r "$root"
}

# B19
@test "what is mounted over an allowed program is not that one" {
	local canary
	canary=$(new_canary)
	attach "$SCRATCH/probe.yaml"
	in_cgroup "$PROBES/net-ok" tcp l4.test 5432 "$canary"
	expect_arrived "$canary"
	canary=$(new_canary)
	# shellcheck disable=SC2016  # for the inner shell
	run in_cgroup unshare --mount sh -c 'mount --bind "$1/net-no" "$1/net-ok" && exec "$1/net-ok" tcp l4.test 5432 "$2"' _ "$PROBES" "$canary"
	expect_absent "$canary"
	# The file itself, by another mount.
	# shellcheck disable=SC2016
	run in_cgroup unshare --mount sh -c 'mount --bind "$1" "$1" && exec "$1/net-ok" tcp l4.test 5432 "$2"' _ "$PROBES" "$canary"
	expect_contains "$output" "l4 ready"
}

# ---- Who ran before ---------------------------------------------------------------------------------

# B23
@test "who runs already is what it is, its children below it; but never clean" {
	mkfifo "$SCRATCH/start"
	in_cgroup /usr/bin/python3 -c 'import http.client, ssl, subprocess, sys
print("waiting", flush=True); open(sys.argv[1]).read()
web = http.client.HTTPSConnection("ok.test", context=ssl._create_unverified_context(), timeout=10)
web.request("GET", "/pub/late"); print(web.getresponse().status, flush=True)
print(subprocess.run(["curl", "-sk", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}", "https://ok.test/pub/child"],
    capture_output=True, text=True).stdout, flush=True)' "$SCRATCH/start" >"$SCRATCH/late" 2>&1 3>&- &
	wait_until 5 has_line "$SCRATCH/late" waiting
	attach
	echo go >"$SCRATCH/start"
	wait_until 20 eval '[[ $(wc -l <"$SCRATCH/late") == 3 ]]'
	expect_equal "$(paste -sd, "$SCRATCH/late")" waiting,200,200
	expect_verdicts 1 box l7_target=/pub/late 'binary~python3' l7_decision=allow
	expect_verdicts 1 box l7_target=/pub/child binary=/usr/bin/curl 'lineage~python3' l7_decision=allow
	osh sandbox detach box
	rm "$SCRATCH/start"
}

# B23, of clean
@test "who runs already is not clean, what is started then may be" {
	local get='import http.client, ssl, sys
print("waiting", flush=True); sys.argv[1:] and open(sys.argv[1]).read()
web = http.client.HTTPSConnection("ok.test", context=ssl._create_unverified_context(), timeout=20)
web.request("GET", "/pub/late"); print(web.getresponse().status)'
	mkfifo "$SCRATCH/start"
	chmod 711 "$SCRATCH"
	chmod 644 "$SCRATCH/start"
	rm -f "$SCRATCH/late"
	as_user /usr/bin/python3 -c "$get" "$SCRATCH/start" >"$SCRATCH/late" 2>&1 3>&- &
	wait_until 5 has_line "$SCRATCH/late" waiting
	attach "$(policy clean)"
	echo go >"$SCRATCH/start"
	wait_until 20 eval '[[ $(wc -l <"$SCRATCH/late") == 2 ]]'
	expect_equal "$(paste -sd, "$SCRATCH/late")" waiting,403
	expect_verdicts 1 box l7_decision=deny "l7_deny_reason~was not started clean" 'binary~python3'
	expect_equal "$(as_user /usr/bin/python3 -c "$get" | paste -sd,)" waiting,200
	osh sandbox detach box
	rm "$SCRATCH/start"
}

# ---- Clean ------------------------------------------------------------------------------------------

# B09, B10
@test "a program whose environment loads code is refused where clean is asked for" {
	local variable place=$SCRATCH/place
	install -d -m 777 "$place"
	cp /usr/lib/x86_64-linux-gnu/libz.so.1 "$place/x.so"
	attach "$(policy clean)"
	expect_equal "$(status_of as_user curl)" 200
	for variable in "LD_PRELOAD=$place/x.so" "LD_AUDIT=$place/x.so" "LD_LIBRARY_PATH=$place" \
		NODE_OPTIONS=--require=/tmp/x BASH_ENV=/tmp/x; do
		expect_equal "$(status_of as_user env "$variable" curl)" 403 "$variable"
	done
	for variable in LD_LIBRARY_PATH=/usr/lib/x86_64-linux-gnu NODE_OPTIONS=--max-old-space-size=512; do
		expect_equal "$(status_of as_user env "$variable" curl)" 200 "$variable"
	done
	expect_verdicts 5 box binary=/usr/bin/curl l7_decision=deny "l7_deny_reason~was not started clean"
	rm -r "$place"
}

# B11
@test "code from a file that somebody of the cgroup may write is not clean" {
	local place=$SCRATCH/place load='import ctypes, sys, urllib.request, urllib.error, ssl
ctypes.CDLL(sys.argv[1])
try: print(urllib.request.urlopen("https://ok.test/pub/x", timeout=20, context=ssl._create_unverified_context()).status)
except urllib.error.HTTPError as e: print(e.code)'
	install -d -m 755 "$place"
	attach "$(policy clean)"
	# load OWNER MODE: python's status after it has loaded such a file.
	load() {
		install -o "$1" -m "$2" /usr/lib/x86_64-linux-gnu/libz.so.1 "$place/x.so"
		as_user /usr/bin/python3 -c "$load" "$place/x.so"
		rm "$place/x.so"
	}
	expect_equal "$(load root 644)" 200
	expect_equal "$(load root 666)" 403
	expect_equal "$(load 65534 644)" 403
	expect_equal "$(load 65533 644)" 403
	# Nor where nothing but that file can be written, by the right to write root's.
	install -m 644 /usr/lib/x86_64-linux-gnu/libz.so.1 "$place/x.so"
	# load_with RIGHT
	load_with() {
		local -a KEEPER
		keep "$1"
		# shellcheck disable=SC2016  # for the inner shell
		in_cgroup env -i PATH="$PATH" unshare --mount sh -c 'mount --rbind / /mnt && mount -o remount,bind,ro /mnt &&
			mount --bind "$0" "/mnt$0" && exec chroot /mnt "$@"' "$place" "${KEEPER[@]}" /usr/bin/python3 -c "$load" "$place/x.so"
	}
	expect_equal "$(load_with net_bind_service)" 200
	expect_equal "$(load_with dac_override)" 403
	rm -r "$place"
}

# B24: nothing forbids the bit here. Who becomes root by it may write what it runs.
@test "a program with the setuid bit gains nothing" {
	local named=$PROBES/named
	install /usr/bin/curl "$named"
	sed "s|/usr/bin/curl, clean|$named, clean|; s|/usr/bin/curl }|$named }|" "$(policy clean)" >"$SCRATCH/setuid.yaml"
	attach "$SCRATCH/setuid.yaml"
	expect_equal "$(status_of as_user "$named")" 200
	chmod 4755 "$named"
	osh policy set box --policy "$SCRATCH/setuid.yaml" --wait 2>/dev/null # the bit changed the file
	expect_equal "$(status_of as_user "$named")" 403
	expect_verdicts 1 box "binary=$named" l7_decision=deny "l7_deny_reason~was not started clean"
	chmod 755 "$named"
	osh policy set box --policy "$SCRATCH/setuid.yaml" --wait 2>/dev/null
	expect_equal "$(status_of as_user "$named")" 200
	rm "$named"
}

@test "who has root's rights on files may write what it runs, whoever it is" {
	local named=$PROBES/named # /usr is read-only in some places
	install /usr/bin/curl "$named"
	sed "s|/usr/bin/curl, clean|$named, clean|" "$(policy clean)" >"$SCRATCH/rights.yaml"
	# with RIGHT: the program of somebody who keeps it, and has no other.
	with() {
		local -a KEEPER
		keep "$1"
		status_of in_cgroup env -i PATH="$PATH" "${KEEPER[@]}" "$named"
	}
	attach "$SCRATCH/rights.yaml"
	expect_equal "$(with net_bind_service)" 200
	expect_equal "$(with dac_override)" 403
	expect_equal "$(with chown)" 403
	expect_equal "$(with setfcap)" 403
	# Who is root no longer, but may be again.
	expect_equal "$(status_of in_cgroup env -i PATH="$PATH" setpriv --ruid 0 --euid 65534 --regid 65534 --clear-groups \
		--inh-caps -all --bounding-set -all "$named")" 403
	expect_verdicts 4 box "binary=$named" l7_decision=deny "l7_deny_reason~was not started clean"
	rm "$named"
}

@test "root may write what it runs, and is clean where nothing can be written" {
	attach "$(policy clean)"
	expect_equal "$(status_of in_cgroup curl)" 403
	expect_verdicts 1 box binary=/usr/bin/curl l7_decision=deny "l7_deny_reason~was not started clean"
	# shellcheck disable=SC2016  # for the inner shell
	expect_equal "$(status_of in_cgroup unshare --mount sh -c 'mount -o bind,ro / /mnt && exec chroot /mnt "$@"' _ curl)" 200
}
