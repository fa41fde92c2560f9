#!/usr/bin/env bats
# A secret stays outside: the sandbox holds a placeholder, the proxy puts the secret into
# the requests that may carry it, and nowhere else.

load helpers

setup_file() {
	start_all
	GITHUB_TOKEN=$TOKEN osh provider create --name my-github --type github --from-existing
	make_sandbox keeper credentials --provider my-github
	PLACEHOLDER=$(inside keeper printenv GITHUB_TOKEN)
	export PLACEHOLDER
}

teardown_file() { stop_all; }

API=https://api.github.com

# authenticated HEADER...: did GitHub accept this Authorization?
authenticated() {
	fetch keeper $API/user "$@"
	expect_status 200
	json 'b["authenticated"]'
}

# refused ERROR CANARY URL OPTION...: refused with this error, and it never arrives.
refused() {
	local error=$1 canary=$2 url=$3 before
	shift 3
	before=$(seen "$TOKEN")
	fetch keeper "$url" "$@"
	expect_equal "$(json 'b["error"]')" "$error"
	expect_lacks "$BODY" "$TOKEN"
	expect_lacks "$BODY" "$PLACEHOLDER"
	expect_absent "$canary"
	refute wire_has "$PLACEHOLDER"
	expect_equal "$(seen "$PLACEHOLDER")" 0 "requests with the placeholder"
	expect_equal "$(seen "$TOKEN")" "$before" "requests with the token"
}

mismatch() { refused credential_endpoint_mismatch "$@"; }

# arrives PART URL OPTION...: allowed, and a server gets the PART, in which @ is the token.
arrives() {
	local part=$1 url=$2 since
	shift 2
	since=$(mark)
	fetch keeper "$url" "$@"
	expect_status 200
	wait_until 5 has_request "$since" "${part//@/$TOKEN}" || fail "no '$part' in:" "$(events_since "$since")"
	refute has_request "$since" "$PLACEHOLDER"
	refute has_request "$since" resolve:env
}

@test "the placeholder has the shape of the token and is not the token" {
	[[ $PLACEHOLDER =~ ^ghp_[A-Za-z0-9]+$ ]]
	expect_equal "${#PLACEHOLDER}" "${#TOKEN}" "length"
	[[ $PLACEHOLDER != "$TOKEN" ]]
	run inside keeper printenv GH_TOKEN
	expect_equal "$output" "$PLACEHOLDER"
}

@test "Bearer, token and Basic are rewritten for the provider's hosts" {
	local basic
	expect_equal "$(authenticated -H "Authorization: Bearer $PLACEHOLDER")" True Bearer
	expect_equal "$(authenticated -H "Authorization: token $PLACEHOLDER")" True token
	expect_equal "$(authenticated -u "x-access-token:$PLACEHOLDER")" True Basic
	basic=$(printf 'x-access-token:%s' "$PLACEHOLDER" | base64 -w0)
	expect_equal "$(authenticated -H "authorization: basic $basic")" True basic
	# Without, or with another token: as it is.
	expect_equal "$(authenticated)" False none
	expect_equal "$(authenticated -H "Authorization: Bearer ghp_something_else")" False other
	expect_equal "$(seen "$PLACEHOLDER")" 0 "requests with the placeholder"
}

@test "git offers it by itself" {
	run inside keeper git ls-remote https://github.com/acme/widgets.git
	expect_equal "$status" 0
	# A private fetch of refs for pushing needs the token.
	run inside keeper sh -c 'git clone -q https://github.com/acme/widgets.git w && cd w && echo x >credential.txt &&
		git add . && git -c user.name=a -c user.email=a@example.com commit -qm x && git push -q origin HEAD:main'
	expect_equal "$status" 0 "push: $output"
}

# C40
@test "to another host it is refused" {
	local canary
	canary=$(new_canary)
	mismatch "$canary" "https://ok.test/pub/$canary" -H "Authorization: Bearer $PLACEHOLDER"
	expect_verdicts 1 keeper engine=credential dst_host=ok.test "l7_target=/pub/$canary" l7_decision=deny
	fetch keeper "https://ok.test/pub/$canary" -H "Authorization: Bearer unrelated"
	expect_status 200
}

@test "in clear text it is refused" {
	local canary
	canary=$(new_canary)
	mismatch "$canary" "http://api.github.com/$canary" -H "Authorization: Bearer $PLACEHOLDER"
}

ECHO=https://uploads.github.com # says what arrived
NAMED=openshell:resolve:env:GITHUB_TOKEN
ALIAS=sk-OPENSHELL-RESOLVE-ENV-GH_TOKEN

# The stable handle of a variable, and the revision of what is stored.
handle() { printf 'my-github:%s' "$1" | sha256sum | cut -d' ' -f1; }
revision() { osh provider list -o json | /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["created"])'; }

# C40
@test "every form, in every place of a head; and elsewhere none of them" {
	local form canary escaped
	escaped=${PLACEHOLDER:0:4}$(printf '%%%02x' "'${PLACEHOLDER:4:1}")${PLACEHOLDER:5}
	for form in "$PLACEHOLDER" "$NAMED" "openshell:resolve:env:v$(revision)_GH_TOKEN" \
		"openshell:resolve:env:s$(handle GH_TOKEN)_GH_TOKEN" "$ALIAS"; do
		arrives "x-api-key: @" $ECHO/x -H "X-Api-Key: $form"
		arrives "t=@; a=b" $ECHO/x -H "Cookie: t=$form; a=b"
		arrives "/x?a=1&t=@&b=2" "$ECHO/x?a=1&t=$form&b=2"
		arrives "/bot/@/getMe" "$ECHO/bot/$form/getMe"
		canary=$(new_canary)
		mismatch "$canary" "https://ok.test/pub/$canary" -H "X-Api-Key: $form"
		mismatch "$canary" "https://ok.test/pub/$canary?t=$form"
		mismatch "$canary" "https://ok.test/pub/$canary/$form"
	done
	arrives "/x?t=@ " "$ECHO/x?t=$escaped"
	arrives "/x?t=@ " $ECHO/x -G --data-urlencode "t=$NAMED"
	mismatch "$canary" "https://ok.test/pub/$canary?t=$escaped"
	mismatch "$canary" "https://ok.test/pub/$canary" -u "user:$PLACEHOLDER"
}

@test "rules and records see [CREDENTIAL]" {
	arrives "/shown/@/x" "$ECHO/shown/$NAMED/x?t=$PLACEHOLDER"
	expect_verdicts 1 keeper "l7_target=/shown/[CREDENTIAL]/x" l7_decision=allow
	refute grep -qF "$PLACEHOLDER" <(osh logs keeper -o json)
}

@test "a form that names nothing is refused, whether or not there are credentials" {
	local canary
	canary=$(new_canary)
	refused invalid_credential_placeholder "$canary" "$ECHO/$canary" -H "X: openshell:resolve:env:NOPE"
	expect_status 400
	refused invalid_credential_placeholder "$canary" "$ECHO/$canary?t=openshell%3Aresolve%3Aenv%3Av1_GH_TOKEN"
	refused invalid_credential_placeholder "$canary" "https://ok.test/$canary" -H "X: aOPENSHELL-RESOLVE-ENV-NOPE"
	refused invalid_credential_placeholder "$canary" "$ECHO/$canary?$PLACEHOLDER=1"
}

# C40
@test "bodies, where the endpoint says so" {
	arrives 't\": \"@\"' $ECHO/body/x --json "{\"t\": \"$NAMED\"}"
	arrives '"a=1&t=@&b=2"' $ECHO/body/x --data-urlencode a=1 --data-urlencode "t=$NAMED" -d b=2
	arrives '"it is @ !"' $ECHO/body/x -H 'Content-Type: text/plain' -H 'Transfer-Encoding: chunked' -d "it is $ALIAS !"
	# One without any is sent as it is, byte by byte.
	arrives '"{ \"a\" :1}"' $ECHO/body/x --json '{ "a" :1}'
}

@test "in other bodies it is refused, also across chunks" {
	local canary
	canary=$(new_canary)
	mismatch "$canary" https://ok.test/api/x -d "$PLACEHOLDER $canary"
	mismatch "$canary" https://ok.test/api/x --json "[\"$NAMED\", \"$canary\"]"
	refused uninspected_credentials "$canary" $ECHO/x -d "$PLACEHOLDER $canary"
	refused uninspected_credentials "$canary" $ECHO/body/x -F "t=$PLACEHOLDER" -F "c=$canary"
	inside keeper sh -c 'printf "%s" "$1" | gzip >/sandbox/packed' _ "{\"t\": \"$PLACEHOLDER\"}"
	refused uninspected_credentials "$canary" "$ECHO/body/$canary" -H 'Content-Type: application/json' \
		-H 'Content-Encoding: gzip' --data-binary @/sandbox/packed
	# Behind 100 KB, where the body is long on its way.
	inside keeper sh -c 'head -c 100000 /dev/zero | tr "\0" x >/sandbox/body; printf "%s" "$1" >>/sandbox/body' _ "$PLACEHOLDER"
	run inside keeper curl -sS -m 20 -X POST -T /sandbox/body https://ok.test/api/x
	settle
	refute wire_has "$PLACEHOLDER"
	refute grep -qF -- "$PLACEHOLDER" "$WORLD_DIR/requests.log"
	expect_verdicts 3 keeper engine=credential l7_target=/api/x l7_decision=deny
	# What is no placeholder of this sandbox is only text.
	fetch keeper https://ok.test/api/x --json '["openshell:resolve:env:NOPE"]'
	expect_status 200
}

@test "texts of a WebSocket, where the endpoint says so" {
	put keeper "$E2E/probe.py" /sandbox/probe.py
	run inside keeper timeout 30 python3 /sandbox/probe.py websocket uploads.github.com /chat/1 "{\"token\":\"$NAMED\"}"
	expect_equal "$status" 0
	wait_until 5 grep -qF "{\\\"token\\\":\\\"$TOKEN\\\"}" "$WORLD_DIR/requests.log"
	# It sends every message back: what a server repeats, a sandbox reads.
	expect_contains "$output" "$TOKEN"
	run inside keeper timeout 30 python3 /sandbox/probe.py websocket uploads.github.com /chat/1 openshell:resolve:env:NOPE
	expect_contains "$output" "close 1008"
}

@test "a host granted as a whole is opened for its credential; tls: skip is refused there" {
	arrives "Bearer @" https://raw.githubusercontent.com/x -H "Authorization: Bearer $PLACEHOLDER"
	fetch keeper https://codeload.github.com/x
	expect_status 403
	expect_equal "$(json 'b["error"]')" uninspected_credentials
	expect_verdicts 1 keeper engine=credential dst_host=codeload.github.com
	# A sandbox without credentials has none to lose.
	make_sandbox bare credentials
	run inside bare curl -sS -m 20 --cacert /dev/null https://codeload.github.com/x
	expect_contains "$output" certificate
	expect_verdicts 1 bare dst_host=codeload.github.com l7_decision=allow
	osh sandbox delete bare
}

@test "nothing goes unsigned where the policy demands a signature" {
	local canary
	canary=$(new_canary)
	refused credential_unavailable "$canary" "$ECHO/signed/$canary"
	expect_status 500
}

@test "a request that the policy denies carries no secret anywhere" {
	local before
	before=$(seen "$TOKEN")
	fetch keeper $API/forbidden -X DELETE -H "Authorization: Bearer $PLACEHOLDER"
	expect_status 403
	expect_equal "$(json 'b["error"]')" policy_denied
	expect_equal "$(seen "$TOKEN")" "$before" "requests with the token"
}

@test "a server that is not verified never gets the secret" {
	local before
	before=$(seen "$TOKEN")
	mv "$WORLD_DIR/certs/selfsigned.test.pem" "$WORLD_DIR/certs/uploads.github.com.pem"
	fetch keeper https://uploads.github.com/x -H "Authorization: Bearer $PLACEHOLDER"
	mv "$WORLD_DIR/certs/uploads.github.com.pem" "$WORLD_DIR/certs/selfsigned.test.pem"
	expect_status 502
	expect_equal "$(seen "$TOKEN")" "$before" "requests with the token"
}

@test "the secret is in no log, no argument, no environment, and in one file of root" {
	local files
	{
		osh logs keeper -o json
		osh sandbox get keeper -o json
		osh provider list
		inside keeper cat /var/log/openshell.log
	} >"$SCRATCH/logs"
	refute grep -qF -- "$TOKEN" "$SCRATCH/logs"
	refute grep -qF -- "$TOKEN" "$AGENT_DIR/agent.log"
	# Every process of this machine but the test's own.
	run env -u TOKEN bash -c 'for p in /proc/[0-9]*; do
		grep -qaF -f "$1" "$p/cmdline" && echo "$p cmdline $(tr "\0" " " <$p/cmdline)"
		[[ $(tr "\0" "\n" <$p/environ) == *BATS_* ]] || { grep -qaF -f "$1" "$p/environ" && echo "$p environ"; }
	done 2>/dev/null' _ "$WORLD_DIR/token"
	expect_equal "$output" ""
	# In clear, or in base64 as the provider's file has it.
	files=$(find "$AGENT_DIR" -type f -exec grep -lF -e "$TOKEN" -e "$(printf %s "$TOKEN" | base64 -w0)" {} +)
	expect_equal "$files" "$AGENT_DIR/state/providers/my-github.json" "files with the secret"
	expect_equal "$(stat -c '%a %U' "$files")" "600 root"
}

@test "the secret is not to be found inside" {
	inside keeper sh -c 'cat >/sandbox/needle' <<<"${TOKEN:0:20}"
	run inside keeper sh -c 'grep -raF -f /sandbox/needle /sandbox /tmp /etc /var /run /proc/1 2>/dev/null | grep -v needle | head -n 3'
	refute grep -qF -- "$TOKEN" <<<"$output"
	run inside keeper env
	expect_lacks "$output" "$TOKEN"
	expect_contains "$output" "$PLACEHOLDER"
}

@test "two sandboxes of one provider have placeholders of their own" {
	local other
	make_sandbox keeper2 credentials --provider my-github
	other=$(inside keeper2 printenv GITHUB_TOKEN)
	[[ $other != "$PLACEHOLDER" ]]
	fetch keeper2 $API/user -H "Authorization: Bearer $PLACEHOLDER"
	expect_equal "$(json 'b["authenticated"]')" False
	fetch keeper2 $API/user -H "Authorization: Bearer $other"
	expect_equal "$(json 'b["authenticated"]')" True
	osh sandbox delete keeper2
}
