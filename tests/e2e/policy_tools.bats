#!/usr/bin/env bats
# The tools around a policy: offline (validate, eval, diff), and on a running sandbox
# (list, update, rollback, diff of revisions, explain).

bats_require_minimum_version 1.5.0
load helpers

setup_file() {
	start_all
	GITHUB_TOKEN=$TOKEN osh provider create --name my-github --type github --from-existing
}

teardown_file() { stop_all; }

# A name of its own for each test: records of an earlier one stay under its name.
setup() {
	BOX=tools-$BATS_TEST_NUMBER
	CASES=$REPO/tests/policy/cases
}

teardown() { osh sandbox delete "$BOX" 2>/dev/null || true; }

# The id of the newest verdict of $BOX with these fields, once it is there.
verdict_id() {
	wait_until 5 has_verdicts 1 "$BOX" "$@" || fail "no verdict: $*"
	BODY=$(verdicts "$BOX" "$@" | tail -n 1)
	json 'b["id"]'
}

@test "validate: good files pass, every error of a bad one has its place" {
	osh policy validate "$CASES"/policies/{audit,rest_rules,mcp}.yaml "$REPO/share/default-policy.yaml"
	run osh policy validate "$CASES/policies/odd_rules.yaml" "$CASES/policies/audit.yaml"
	expect_equal "$status" 1
	expect_contains "$output" "odd_rules.yaml:28:87: access: 'readonly' is unknown"
	expect_contains "$output" "odd_rules.yaml:32:68: enforcement: 'enforced' is unknown"
	expect_contains "$output" "odd_rules.yaml:36:59: tls: 'Skip-it' is unknown"
	expect_contains "$output" "audit.yaml: valid"
	BODY=$(osh policy validate -o json "$CASES/policies/odd_rules.yaml" || true)
	expect_equal "$(json 'b["valid"], b["files"][0]["errors"]')" "(False, 3)"
	run osh policy validate /nonexistent.yaml
	expect_equal "$status" 1
	run osh policy validate
	expect_equal "$status" 2
}

@test "every verdict of the case files, through policy eval" {
	local file rows=0 count
	for file in "$CASES"/policies/*.yaml; do
		grep -F "\"policy\": \"${file##*/}\"" "$CASES/verdicts.jsonl" >"$SCRATCH/rows" || continue
		# Typos that are silent defaults elsewhere are errors here (cases/README.md).
		[[ $file == */odd_rules.yaml ]] && continue
		count=$(wc -l <"$SCRATCH/rows")
		osh policy eval --policy "$file" --requests "$SCRATCH/rows" >"$SCRATCH/answers"
		expect_equal "$(wc -l <"$SCRATCH/answers")" "$count" "answers for ${file##*/}"
		rows=$((rows + count))
	done
	expect_equal "$rows" 529 "rows"
}

@test "eval: answers in input order; what is not as expected, or not JSON, is located" {
	printf '%s\n' '{"id":1,"binary":"/usr/bin/curl","host":"ok.test","port":443,"method":"GET","path":"/pub/../pub/a","expect":"allow"}' \
		'{"id":2,"binary":"/usr/bin/curl","host":"ok.test","port":443,"method":"PUT","path":"/pub/a","expect":"allow"}' \
		'not json' '{"id":4,"binary":"/usr/bin/nc","host":"ok.test","port":443}' >"$SCRATCH/rows"
	run --separate-stderr osh policy eval --policy "$(policy probe)" --requests "$SCRATCH/rows"
	expect_equal "$status" 1
	expect_equal "${#lines[@]}" 4 "answers"
	BODY=${lines[0]}
	expect_equal "$(json 'b["verdict"], b["policy"], b["path"], b["stage"]')" "('allow', 'web', '/pub/a', None)"
	BODY=${lines[1]}
	expect_equal "$(json 'b["id"], b["verdict"], b["stage"]')" "(2, 'deny', 'rules')"
	expect_contains "${lines[2]}" '"error"'
	BODY=${lines[3]}
	expect_equal "$(json 'b["verdict"], b["policy"], b["stage"]')" "('deny', None, 'connect')"
	# shellcheck disable=SC2154  # set by run
	expect_contains "$stderr" "rows:2: 2: verdict: expected 'allow', got 'deny'"
	expect_contains "$stderr" "rows:3:"
	# The address guard, and its twin.
	local row='{"binary":"/usr/bin/curl","host":"ok.test","port":443,"resolved":["%s"],"expect":"%s"}\n'
	# shellcheck disable=SC2059  # the format is the row
	printf "$row" 127.0.0.1 deny | osh policy eval --policy "$(policy probe)"
	# shellcheck disable=SC2059
	printf "$row" 93.184.216.34 allow | osh policy eval --policy "$(policy probe)" --requests -
}

@test "update: what was denied is allowed on the live sandbox, and nothing else" {
	make_sandbox "$BOX" probe
	fetch "$BOX" https://ok.test/api/x -X PUT -d x
	expect_status 403
	run osh policy update "$BOX" --add-allow 'ok.test:443:put:/api/x' --wait
	expect_equal "$status" 0
	expect_contains "$output" "+ /usr/bin/curl ok.test:443 PUT /api/x"
	fetch "$BOX" https://ok.test/api/x -X PUT -d x
	expect_status 200
	fetch "$BOX" https://ok.test/api/y -X PUT -d x
	expect_status 403
	osh policy update "$BOX" --add-deny 'ok.test:443:GET:/pub/secret/**' --wait
	fetch "$BOX" https://ok.test/pub/secret/x
	expect_status 403
	fetch "$BOX" https://ok.test/pub/x
	expect_status 200
	osh policy update "$BOX" --remove-endpoint ok.test:443 --wait
	fetch "$BOX" https://ok.test/pub/x
	expect_status 403
	fetch "$BOX" http://plain.test/pub/x
	expect_status 200
	# Comments of what did not change are still there.
	expect_contains "$(osh policy get "$BOX")" "# Its own certificate, end to end."
}

@test "update: all flags of a call are one revision, or none" {
	make_sandbox "$BOX" probe
	run osh policy update "$BOX" --add-endpoint l4.test:443:full:rest:enforce --binary /usr/bin/curl \
		--remove-rule faulty --add-allow ok.test:443:DELETE:/api/x --wait
	expect_equal "$status" 0
	BODY=$(osh policy list "$BOX" -o json)
	expect_equal "$(json '[(r["revision"], r["status"], r["current"]) for r in b["revisions"]]')" \
		"[(1, 'superseded', False), (2, 'loaded', True)]"
	expect_contains "$(osh policy get "$BOX")" "  allow_l4_test_443:"
	expect_lacks "$(osh policy get "$BOX")" "expired.test"
	run osh policy update "$BOX" --remove-rule inward --remove-rule no-such --wait
	expect_equal "$status" 1
	expect_contains "$output" "no-such"
	expect_contains "$(osh policy get "$BOX")" "inward:"
	run osh policy update "$BOX" --add-endpoint api.github.com:443::rest --binary /usr/bin/curl
	expect_equal "$status" 1
	expect_contains "$output" "needs access or rules"
	BODY=$(osh policy list "$BOX" -o json)
	expect_equal "$(json 'len(b["revisions"])')" 2
}

@test "update --dry-run: prints what would be, changes nothing; misuse is 2" {
	make_sandbox "$BOX" probe
	osh policy update "$BOX" --add-allow ok.test:443:PUT:/x --dry-run >"$SCRATCH/dry.yaml"
	osh policy get "$BOX" | cmp - "$(policy probe)"
	osh policy validate "$SCRATCH/dry.yaml"
	run osh policy diff "$(policy probe)" "$SCRATCH/dry.yaml"
	expect_contains "$output" "+ /usr/bin/curl ok.test:443 PUT /x"
	run osh policy update "$BOX" --add-allow ok.test:443:PUT:/x --wait
	osh policy get "$BOX" | cmp - "$SCRATCH/dry.yaml"
	local -a wrong
	for wrong in "--dry-run --wait --remove-rule web" "" "--add-endpoint a.test:1 --add-endpoint b.test:1 --rule-name x" \
		"--remove-rule web --binary /bin/x" "--remove-rule web --timeout 3"; do
		# shellcheck disable=SC2086  # words
		run osh policy update "$BOX" $wrong
		expect_equal "$status" 2 "exit of: $wrong"
	done
	run osh policy update no-such-box --remove-rule web
	expect_equal "$status" 1
}

@test "two updates at once: neither loses the other" {
	local i
	local -a pids=()
	make_sandbox "$BOX" probe
	for i in 1 2 3 4 5 6; do
		osh policy update "$BOX" --add-allow "ok.test:443:PUT:/n$i" --wait >"$SCRATCH/update-$i" 2>&1 3>&- &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i"; done
	for i in 1 2 3 4 5 6; do
		expect_contains "$(osh policy get "$BOX")" "path: /n$i }"
	done
	BODY=$(osh sandbox get "$BOX" -o json)
	expect_equal "$(json 'b["revision"]')" 7
}

@test "a proxy that does not answer: 124, and rollback takes the change back" {
	local proxy
	make_sandbox "$BOX" probe
	BODY=$(osh status -o json)
	proxy=$(json 'b["proxy_pid"]')
	kill -STOP "$proxy"
	run osh policy update "$BOX" --add-allow ok.test:443:PUT:/api/x --wait --timeout 1
	kill -CONT "$proxy"
	expect_equal "$status" 124
	osh policy rollback "$BOX" --rev 1 --wait
	fetch "$BOX" https://ok.test/api/x -X PUT -d x
	expect_status 403
	osh policy get "$BOX" | cmp - "$(policy probe)"
	BODY=$(osh policy list "$BOX" -o json)
	expect_equal "$(json '[r["revision"] for r in b["revisions"] if r["current"]]')" "[3]"
	osh policy rollback "$BOX" --rev 2 --wait
	fetch "$BOX" https://ok.test/api/x -X PUT -d x
	expect_status 200
	run osh policy rollback "$BOX" --rev 99
	expect_equal "$status" 1
	expect_contains "$output" "no policy revision 99"
	run osh policy rollback "$BOX"
	expect_equal "$status" 2
}

@test "get and diff of revisions" {
	make_sandbox "$BOX" probe
	osh policy set "$BOX" --policy "$(policy probe_more)" --wait
	osh policy get "$BOX" --rev 1 --base | cmp - "$(policy probe)"
	osh policy get "$BOX" --full -o yaml | cmp - "$(policy probe_more)"
	# What a provider brings is where its secret may go, never a permission.
	make_sandbox "$BOX-with" probe --provider my-github
	osh policy get "$BOX-with" --full | cmp - "$(policy probe)"
	fetch "$BOX-with" https://api.github.com/zen
	expect_status 403
	osh sandbox delete "$BOX-with"
	osh policy diff "$BOX@1" "$BOX@2" >"$SCRATCH/revisions"
	osh policy diff "$(policy probe)" "$(policy probe_more)" | cmp - "$SCRATCH/revisions"
	grep -qxF -- "- /usr/bin/curl plain.test:80 GET /pub/**" "$SCRATCH/revisions"
	grep -qxF -- "+ /usr/bin/curl ok.test:443 PUT /api/**" "$SCRATCH/revisions" ||
		fail "$(<"$SCRATCH/revisions")"
	osh policy diff "$BOX@2" "$BOX@1" | sed 's/^+/=/; s/^-/+/; s/^=/-/' | sort | cmp - <(sort "$SCRATCH/revisions")
	run osh policy diff "$BOX@1" "$BOX@1"
	expect_equal "$status:$output" "0:"
	run osh policy diff "$BOX@9" "$BOX@1"
	expect_equal "$status" 1
	osh policy list "$BOX" -o yaml | grep -q "status: \"superseded\""
}

# run_command: what explain proposes for verdict $1, done.
run_command() {
	local -a words
	BODY=$(osh policy explain "$1" -o json)
	mapfile -t words < <(json '"\n".join(b["command"])')
	expect_equal "${words[0]}" openshell
	osh "${words[@]:1}"
}

# make_change ID: what explain tells a person to edit for that verdict, done.
make_change() {
	BODY=$(osh policy explain "$1" -o json)
	osh policy get "$BOX" >"$SCRATCH/edited.yaml"
	/usr/bin/python3 -c 'import json, re, sys
change = json.loads(sys.argv[1])["change"]
lines = open(sys.argv[2]).read().split("\n")
at = change["line"] - 1
if change["kind"] == "remove":
    assert lines[at].strip() == change["text"], lines[at]
    del lines[at]
    if change["empties"]:
        assert lines[at - 1].strip() == "deny_rules:", lines[at - 1]
        del lines[at - 1]
else:
    lines.insert(at + 1, re.match(" *", lines[at])[0] + change["text"])
open(sys.argv[2], "w").write("\n".join(lines))' "$BODY" "$SCRATCH/edited.yaml"
	osh policy set "$BOX" --policy "$SCRATCH/edited.yaml" --wait
}

# post URL BODY
post() { fetch "$BOX" "$1" -d "$2" -H 'Content-Type: application/json'; }

call() { echo "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"$1\"${2:+,\"params\":$2}}"; }

# expect_mended URL BODY OTHER FIELD: denied, made allowed by the change that is proposed for
# it, while OTHER stays denied.
expect_mended() {
	local id
	post "$1" "$2"
	expect_status 403
	id=$(verdict_id "$4" l7_decision=deny)
	expect_contains "$(osh policy explain "$id")" "openshell policy set $BOX"
	make_change "$id"
	post "$1" "$2"
	expect_status 200
	post "$1" "$3"
	expect_status 403
	run osh policy explain "$id"
	expect_contains "$output" "in force now allows it"
}

@test "explain: GraphQL, JSON-RPC and MCP get the one rule that is missing, with its place" {
	make_sandbox "$BOX" protocols
	expect_mended https://gql.test/graphql '{"query":"mutation Close { closeIssue }"}' \
		'{"query":"mutation Close { closeIssue deleteIssue }"}' 'l7_message=mutation Close{closeIssue}'
	expect_mended https://rpc.test/ "$(call eth_sendTransaction)" "$(call eth_sign)" l7_message=eth_sendTransaction
	expect_mended https://mcp.test/ "$(call tools/call '{"name":"write_file","arguments":{}}')" \
		"$(call tools/call '{"name":"write_files","arguments":{}}')" 'l7_message=tools/call write_file'
	expect_mended https://mcp.test/ "$(call resources/read '{"uri":"file:///x"}')" \
		"$(call resources/subscribe '{"uri":"file:///x"}')" l7_message=resources/read
}

@test "explain: a deny rule is named with its line, what it holds back, and whether that is all" {
	local id
	make_sandbox "$BOX" protocols
	post https://mcp.test/ "$(call tools/call '{"name":"repo.delete","arguments":{}}')"
	expect_status 403
	id=$(verdict_id 'l7_message=tools/call repo.delete')
	run osh policy explain "$id"
	expect_contains "$output" "remove the deny rule at line $(grep -n 'tool: repo.delete' "$(policy protocols)" | cut -d: -f1) "
	expect_contains "$output" "+ /usr/bin/curl mcp.test:443 mcp tools/call tool=repo.delete (deny rule gone)"
	expect_lacks "$output" "not enough"
	make_change "$id"
	post https://mcp.test/ "$(call tools/call '{"name":"repo.delete","arguments":{}}')"
	expect_status 200
	post https://mcp.test/ "$(call tools/call '{"name":"delete","arguments":{}}')"
	expect_status 403
	# One that holds back what no rule allows.
	osh policy update "$BOX" --add-deny 'slash.test:443:PUT:/pkg/x' --wait
	fetch "$BOX" https://slash.test/pkg/x -X PUT -d x
	expect_status 403
	run osh policy explain "$(verdict_id l7_target=/pkg/x l7_action=PUT)"
	expect_contains "$output" "remove the deny rule"
	expect_contains "$output" "not enough"
}

@test "explain: a denied request, its nearest policy, and a change that works and is small" {
	local id
	make_sandbox "$BOX" probe
	fetch "$BOX" https://ok.test/api/a*b -X PUT -d x -g
	expect_status 403
	id=$(verdict_id l7_action=PUT l7_decision=deny)
	run osh policy explain "$id"
	expect_equal "$status" 0
	expect_contains "$output" "not permitted by policy"
	expect_contains "$output" "openshell policy update $BOX --add-allow 'ok.test:443:PUT:/api/a[*]b' --wait"
	run_command "$id"
	fetch "$BOX" https://ok.test/api/a*b -X PUT -d x -g
	expect_status 200
	fetch "$BOX" https://ok.test/api/axb -X PUT -d x
	expect_status 403
	run osh policy explain "$id"
	expect_contains "$output" "in force now allows it"
}

@test "explain: a program that no entry names, a port that none has, a deny rule, nothing at all" {
	local id
	make_sandbox "$BOX" probe
	put "$BOX" /usr/bin/curl /sandbox/other
	inside "$BOX" /sandbox/other -sS -m 20 -o /dev/null https://ok.test/pub/x || true
	id=$(verdict_id binary=/sandbox/other l7_decision=deny)
	run_command "$id"
	inside "$BOX" /sandbox/other -sSf -m 20 -o /dev/null https://ok.test/pub/x
	refute inside "$BOX" /sandbox/other -sSf -m 20 -o /dev/null -X DELETE https://ok.test/pub/x
	run probe "$BOX" tcp l4.test 9999
	expect_equal "$output" EPERM
	id=$(verdict_id dst_port=9999 l7_decision=deny)
	run_command "$id"
	run probe "$BOX" tcp l4.test 9999
	expect_lacks "$output" EPERM
	osh policy update "$BOX" --add-deny 'ok.test:443:GET:/pub/no' --wait
	fetch "$BOX" https://ok.test/pub/no
	expect_status 403
	id=$(verdict_id l7_target=/pub/no l7_decision=deny)
	run osh policy explain "$id"
	expect_equal "$status" 0
	expect_contains "$output" "deny rule"
	expect_lacks "$output" "openshell policy update"
	run osh policy explain 999999999
	expect_equal "$status" 1
	run osh policy explain x
	expect_equal "$status" 2
}
