#!/usr/bin/env bats
# A program with an allowed name that was made to run somebody else's code.

load helpers

setup_file() {
	start_all
	make_sandbox c clean
	inside c cp /usr/bin/curl /sandbox/own
	inside c sh -c 'cp /usr/lib/x86_64-linux-gnu/libz.so.1 /sandbox/x.so'
}

teardown_file() { stop_all; }

clean_url=https://ok.test/pub/x
any_url=http://plain.test/pub/x

# status_of COMMAND...: HTTP status that curl, started by this command, gets with arguments added.
status_of() { inside c "$@" -sS -m 20 -o /dev/null -w '%{http_code}' "$clean_url"; }

# python_status URL CODE [ASSIGNMENT...]: the status that python gets after running CODE.
python_status() {
	local url=$1 code=$2
	shift 2
	inside c env "$@" /usr/bin/python3 -c "
import sys, urllib.request, urllib.error
$code
try: print(urllib.request.urlopen(sys.argv[1], timeout=20).status)
except urllib.error.HTTPError as e: print(e.code)" "$url"
}

# B09
@test "a program whose environment loads code is refused where clean is asked for" {
	local canary
	canary=$(new_canary)
	expect_equal "$(status_of curl)" 200
	inside c env LD_PRELOAD=/sandbox/x.so curl -sS -m 20 "https://ok.test/pub/$canary" >"$SCRATCH/body"
	expect_contains "$(<"$SCRATCH/body")" "'/usr/bin/curl' was not started clean, as is asked for in policy 'clean'"
	expect_absent "$canary"
	expect_verdicts 1 c binary=/usr/bin/curl l7_decision=deny "l7_deny_reason~was not started clean" dst_host=ok.test
	expect_equal "$(status_of curl)" 200
}

# B10
@test "every variable of the loader and the runtimes counts, a harmless value does not" {
	local variable
	for variable in LD_AUDIT=/sandbox/x.so LD_LIBRARY_PATH=/sandbox LD_LIBRARY_PATH=/usr/lib:/tmp \
		NODE_OPTIONS=--require=/tmp/x BUN_OPTIONS=--preload=x PYTHONPATH=/sandbox PERL5OPT=-Mx \
		RUBYOPT=-rx JAVA_TOOL_OPTIONS=-javaagent:/tmp/x BASH_ENV=/tmp/x GIT_SSH_COMMAND=/tmp/x; do
		expect_equal "$(status_of env "$variable" curl)" 403 "$variable"
	done
	for variable in LD_PRELOAD= LD_LIBRARY_PATH=/usr/lib/x86_64-linux-gnu PYTHONPATH=/usr/lib/python3 \
		NODE_OPTIONS=--max-old-space-size=512 JAVA_TOOL_OPTIONS=-Xmx256m BASH_ENV=/etc/profile; do
		expect_equal "$(status_of env "$variable" curl)" 200 "$variable"
	done
}

@test "an interpreter is held to it, too" {
	expect_equal "$(python_status $clean_url 'pass' A=1)" 200
	expect_equal "$(python_status $clean_url 'pass' PYTHONPATH=/tmp)" 403
	inside c sh -c 'echo "console.error(1)" >/tmp/x.js'
	local get='require("https").get(process.argv[1], r => console.log(r.statusCode))'
	expect_equal "$(inside c env NODE_OPTIONS=--max-old-space-size=512 node -e "$get" $clean_url)" 200
	expect_equal "$(inside c env NODE_OPTIONS='--require /tmp/x.js' node -e "$get" $clean_url 2>/dev/null)" 403
}

@test "an environment too large to be told is not clean" {
	local many='i=0; while [ $i -lt "$1" ]; do export V$i=x; i=$((i + 1)); done; shift; exec "$@"'
	expect_equal "$(status_of sh -c "$many" _ 500 curl)" 200
	expect_equal "$(status_of sh -c "$many" _ 3000 curl)" 403
}

# B11
@test "code mapped later from a file that the sandbox may write is seen" {
	local load='import ctypes; ctypes.CDLL("/sandbox/x.so")'
	expect_equal "$(python_status $clean_url 'import ctypes; ctypes.CDLL("libz.so.1")')" 200
	expect_equal "$(python_status $clean_url "$load")" 403
	# It need not have a name any more.
	expect_equal "$(python_status $clean_url 'import ctypes, shutil, os
shutil.copy("/sandbox/x.so", "/tmp/y.so"); ctypes.CDLL("/tmp/y.so"); os.unlink("/tmp/y.so")')" 403
	# The same where nobody asks for clean.
	expect_equal "$(python_status $any_url "$load")" 200
}

@test "one process that is not clean does not speak for others of its identity" {
	expect_equal "$(python_status $clean_url 'import ctypes; ctypes.CDLL("/sandbox/x.so")')" 403
	expect_equal "$(python_status $clean_url 'pass')" 200
}

@test "a file that the sandbox may write is never clean" {
	expect_equal "$(status_of /sandbox/own)" 403
	run inside c /sandbox/own -sS -m 20 -o /dev/null -w '%{http_code}' $any_url
	expect_equal "$output" 200
}

# B08
@test "a program run through the loader is the loader" {
	local loader
	loader=$(inside c readlink -f /lib64/ld-linux-x86-64.so.2)
	expect_equal "$(status_of "$loader" /usr/bin/curl)" 403
	expect_equal "$(status_of "$loader" --preload /sandbox/x.so /usr/bin/curl)" 403
	expect_verdicts 2 c "binary=$loader" l7_decision=deny
	expect_equal "$(status_of /usr/bin/curl)" 200
}

@test "without clean such a start is let through and recorded once" {
	make_sandbox f clean
	inside f cp /usr/bin/curl /sandbox/own
	local i
	for i in 1 2 3; do
		run inside f env LD_PRELOAD=/sandbox/x.so PYTHONPATH=/tmp curl -sS -m 20 -o /dev/null -w '%{http_code}' $any_url
		expect_contains "$output" 200
	done
	expect_verdicts 1 f binary=/usr/bin/curl l7_protocol=exec l7_decision=audit "l7_deny_reason~its environment loads code"
	run inside f /sandbox/own -sS -m 20 -o /dev/null -w '%{http_code}' $any_url
	expect_equal "$output" 200
	expect_verdicts 1 f binary=/sandbox/own l7_protocol=exec "l7_deny_reason~the sandbox may write its file"
	run inside f curl -sS -m 20 -o /dev/null -w '%{http_code}' $any_url
	expect_equal "$output" 200
	expect_verdicts 2 f l7_protocol=exec
}

# B11
@test "what a configuration file makes a program start is another program below it" {
	inside c cp /usr/bin/curl /tmp/helper
	expect_equal "$(status_of /tmp/helper)" 403
	# A policy that grants to git grants to what git starts.
	inside c git config --global core.sshCommand "/tmp/helper -sS -m 20 -o /tmp/code $clean_url; echo"
	run inside c git ls-remote ssh://ok.test/x
	wait_until 5 has_verdicts 1 c binary=/tmp/helper l7_decision=allow 'lineage~/usr/bin/git'
	run inside c env GIT_SSH_COMMAND="/tmp/helper -sS -m 20 -o /tmp/code https://ok.test/by-env; echo" \
		git ls-remote ssh://ok.test/x
	expect_verdicts 0 c binary=/tmp/helper l7_target=/by-env
	inside c git config --global --unset core.sshCommand
}
