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

# mismatch URL OPTION...: refused as a placeholder in the wrong place, and it never arrives.
mismatch() {
	local canary=$1 url=$2
	shift 2
	fetch keeper "$url" "$@"
	expect_status 403
	expect_equal "$(json 'b["error"]')" credential_endpoint_mismatch
	expect_lacks "$BODY" "$TOKEN"
	expect_absent "$canary"
	refute wire_has "$PLACEHOLDER"
	expect_equal "$(seen "$PLACEHOLDER")" 0 "requests with the placeholder"
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

@test "in any other place it is refused: query, path, header, Basic to another host" {
	local canary escaped
	canary=$(new_canary)
	mismatch "$canary" "$API/user?$canary=$PLACEHOLDER"
	mismatch "$canary" "$API/$canary/$PLACEHOLDER"
	# One letter of it percent-encoded.
	escaped=${PLACEHOLDER:0:4}$(printf '%%%02x' "'${PLACEHOLDER:4:1}")${PLACEHOLDER:5}
	mismatch "$canary" "$API/user?$canary=$escaped"
	mismatch "$canary" "$API/$canary" -H "X-Token: $PLACEHOLDER"
	mismatch "$canary" "https://ok.test/pub/$canary" -u "user:$PLACEHOLDER"
	mismatch "$canary" "https://ok.test/pub/$canary" -H "Cookie: t=$PLACEHOLDER"
}

@test "in a body it is refused, also across chunks" {
	local canary
	canary=$(new_canary)
	mismatch "$canary" https://ok.test/api/x -d "$PLACEHOLDER $canary"
	# Behind 100 KB, where the body is long on its way.
	inside keeper sh -c 'head -c 100000 /dev/zero | tr "\0" x >/sandbox/body; printf "%s" "$1" >>/sandbox/body' _ "$PLACEHOLDER"
	run inside keeper curl -sS -m 20 -X POST -T /sandbox/body https://ok.test/api/x
	settle
	refute wire_has "$PLACEHOLDER"
	refute grep -qF -- "$PLACEHOLDER" "$WORLD_DIR/requests.log"
	expect_verdicts 2 keeper engine=credential l7_target=/api/x l7_decision=deny
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
