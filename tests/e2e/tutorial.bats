#!/usr/bin/env bats
# The tutorial, step by step, in one sandbox: the tests depend on their order.

load helpers

API=https://api.github.com/repos/acme/widgets

setup_file() {
	start_all
	GITHUB_TOKEN=$TOKEN osh provider create --name my-github --type github --from-existing
	make_sandbox demo default --provider my-github
}

teardown_file() { stop_all; }

commit_inside() {
	inside demo sh -c 'cd widgets && echo "$1" >>hello_world.py && git add . &&
		git -c user.name=demo -c user.email=demo@example.com commit -qm "$1"' _ "$1"
}

head_of_main() { git --git-dir="$WORLD_DIR/git/acme/widgets.git" rev-parse main; }

@test "git clone works, with no proxy variable set" {
	run inside demo env
	expect_lacks "${output,,}" _proxy=
	inside demo git clone -q https://github.com/acme/widgets.git
	run inside demo cat widgets/README.md
	expect_equal "$output" "# widgets"
	# Protocol version 2 asks twice: for the refs, then for the objects.
	expect_verdicts 2 demo l7_action=POST l7_target=/acme/widgets.git/git-upload-pack \
		l7_decision=allow dst_host=github.com policy=github_ssh_over_https
}

@test "git push fails with 403, and nothing of it arrives" {
	local canary before
	canary=$(new_canary)
	before=$(head_of_main)
	commit_inside "$canary"
	run inside demo git -C widgets push origin HEAD:main
	((status != 0))
	expect_contains "$output" 403
	expect_equal "$(head_of_main)" "$before"
	settle
	refute has_request 0 '"method": "POST"' git-receive-pack
	expect_verdicts 1 demo l7_action=POST l7_target=/acme/widgets.git/git-receive-pack \
		l7_decision=deny dst_host=github.com dst_port=443 l7_protocol=rest \
		policy=github_ssh_over_https 'lineage~/usr/bin/git' binary=/usr/lib/git-core/git-remote-http
}

@test "curl GET on the API works" {
	fetch demo $API
	expect_status 200
	expect_equal "$(json 'b["full_name"]')" acme/widgets
	expect_verdicts 1 demo l7_action=GET l7_target=/repos/acme/widgets l7_decision=allow \
		dst_host=api.github.com policy=github_rest_api binary=/usr/bin/curl
}

@test "curl PUT gets 403 and a body that says why" {
	local canary
	canary=$(new_canary)
	fetch demo $API/contents/hello_world.py -X PUT -d "{\"message\":\"$canary\",\"content\":\"\"}"
	expect_status 403
	expect_equal "$(json 'b["error"]')" policy_denied
	expect_equal "$(json 'b["policy"]')" github_rest_api
	expect_equal "$(json 'b["detail"]')" "PUT /repos/acme/widgets/contents/hello_world.py not permitted by policy"
	expect_equal "$(json 'b["binary"]')" /usr/bin/curl
	expect_absent "$canary"
	expect_verdicts 1 demo l7_action=PUT l7_target=/repos/acme/widgets/contents/hello_world.py \
		l7_decision=deny dst_host=api.github.com dst_port=443 l7_protocol=rest policy=github_rest_api \
		"l7_deny_reason=PUT /repos/acme/widgets/contents/hello_world.py not permitted by policy"
}

@test "an unlisted host gets the same kind of answer on 443 and on 80" {
	local scheme canary
	for scheme in https http; do
		canary=$(new_canary)
		fetch demo "$scheme://$canary.example.com/x"
		expect_status 403
		expect_equal "$(json 'b["error"]')" policy_denied
		expect_equal "$(json 'b["binary"]')" /usr/bin/curl
		expect_contains "$(json 'b["detail"]')" "$canary.example.com"
		expect_absent "$canary"
		expect_verdicts 1 demo l7_decision=deny dst_host="$canary.example.com"
	done
}

@test "any other port fails at connect with EPERM" {
	local canary
	canary=$(new_canary)
	run probe demo tcp "$canary.example.com" 22 "$canary"
	expect_equal "$output" EPERM
	run probe demo tcp github.com 22 "$canary"
	expect_equal "$output" EPERM
	expect_absent "$canary"
	expect_equal "$(packets port 22)" 0 "packets to port 22"
	expect_verdicts 1 demo l7_decision=deny dst_host="$canary.example.com" dst_port=22 engine=kernel
	expect_verdicts 1 demo l7_decision=deny dst_host=github.com dst_port=22 engine=kernel
}

@test "Python, Node and wget are caught and served just the same" {
	local node_get='fetch(process.argv[1]).then(async r => console.log(r.status, await r.text()), e => { console.log(e); process.exit(1) })'
	# Denied: Python and wget may not use the API, Node may not use GitHub.
	run inside demo python3 -c 'import sys, urllib.request, urllib.error
try: print(urllib.request.urlopen(sys.argv[1]).status)
except urllib.error.HTTPError as e: print(e.code, e.read().decode())' $API
	expect_contains "$output" '403 {'
	expect_contains "$output" '"error":"policy_denied"'
	run inside demo wget -q -S -O - --content-on-error $API
	expect_contains "$output" '"error":"policy_denied"'
	run inside demo node -e "$node_get" $API
	expect_contains "$output" '403 {'
	# Allowed: what the default policy gives to Node and wget.
	run inside demo node -e "$node_get" https://api.anthropic.com/v1/models
	expect_contains "$output" '200 {'
	expect_contains "$output" '"host": "api.anthropic.com"'
	# Not inspected, so it shows the certificate of the real server, under --upstream-ca.
	run inside demo wget -q -O - https://update.code.visualstudio.com/pub/x
	expect_contains "$output" '"host": "update.code.visualstudio.com"'
}

@test "the sandbox reads its own log, and cannot write it" {
	run inside demo cat /var/log/openshell.log
	expect_contains "$output" "DENIED PUT https://api.github.com/repos/acme/widgets/contents/hello_world.py"
	expect_contains "$output" "policy:github_rest_api"
	expect_contains "$output" "not permitted by policy"
	expect_contains "$output" "ALLOWED GET https://api.github.com/repos/acme/widgets"
	run inside demo sh -c 'echo forged >>/var/log/openshell.log'
	((status != 0))
	run inside demo sh -c 'rm -f /var/log/openshell.log; : >/var/log/openshell.log'
	((status != 0))
	run inside demo cat /var/log/openshell.log
	expect_lacks "$output" forged
}

@test "logs: all, denied only, since, as JSON" {
	run osh logs demo
	expect_contains "$output" "ALLOWED GET https://api.github.com/repos/acme/widgets"
	expect_contains "$output" "DENIED PUT https://api.github.com/"
	run osh logs demo --denied
	expect_contains "$output" "DENIED PUT https://api.github.com/"
	expect_lacks "$output" ALLOWED
	run osh logs demo --since 1h --denied
	expect_contains "$output" "DENIED PUT"
	run osh logs demo -o json
	[[ $(head -n 1 <<<"$output") == '{'*'}' ]]
}

@test "logs --tail shows a new verdict as it is made" {
	local canary pid
	canary=$(new_canary)
	"$BUILD/openshell" logs demo --tail >"$SCRATCH/tail" 2>&1 3>&- &
	pid=$!
	wait_until 5 has_line "$SCRATCH/tail" DENIED
	fetch demo "https://$canary.example.com/"
	wait_until 5 has_line "$SCRATCH/tail" "$canary"
	kill "$pid"
}

@test "policy set --wait on the running sandbox: the push and the PUT succeed" {
	local pid revision canary
	canary=$(new_canary)
	BODY=$(osh sandbox get demo -o json)
	pid=$(json 'b["pid"]')
	osh policy set demo --policy "$(policy github_push)" --wait
	inside demo git -C widgets push -q origin HEAD:main
	expect_equal "$(head_of_main)" "$(inside demo git -C widgets rev-parse HEAD)"
	fetch demo $API/contents/hello_api.py -X PUT -H "Authorization: Bearer $(inside demo printenv GITHUB_TOKEN)" \
		-d "{\"message\":\"$canary\",\"content\":\"cHJpbnQoMSkK\"}"
	expect_status 201
	expect_arrived "$canary"
	expect_verdicts 1 demo l7_action=PUT l7_decision=allow policy=github_api \
		l7_target=/repos/acme/widgets/contents/hello_api.py
	BODY=$(osh sandbox get demo -o json)
	expect_equal "$(json 'b["pid"]')" "$pid" "pid of the sandbox"
}

@test "with the new policy another repository stays out of reach" {
	fetch demo https://api.github.com/repos/acme/other/contents/x -X PUT -d '{}'
	expect_status 403
	expect_equal "$(json 'b["policy"]')" github_api
	run inside demo git clone https://github.com/acme/other.git
	((status != 0))
	expect_contains "$output" 403
}

@test "the real token reached GitHub, the placeholder never did" {
	local placeholder
	placeholder=$(inside demo printenv GITHUB_TOKEN)
	(($(seen "$TOKEN") > 0))
	expect_equal "$(seen "$placeholder")" 0 "requests with the placeholder"
	refute wire_has "$placeholder"
}
