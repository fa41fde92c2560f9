#!/usr/bin/env bats
# HTTP/2 with the sandbox: every stream is judged by itself, whatever the server speaks.

load helpers

setup_file() {
	start_all
	make_sandbox web probe
}

teardown_file() { stop_all; }

@test "curl speaks HTTP/2: allowed and denied" {
	fetch web https://ok.test/pub/a --http2 -w '\n%{http_version} %{http_code}'
	expect_equal "$STATUS" "2 200"
	expect_equal "$(json 'b["target"]')" /pub/a
	fetch web https://ok.test/secret --http2 -w '\n%{http_version} %{http_code}'
	expect_equal "$STATUS" "2 403"
	expect_equal "$(json 'b["error"]')" policy_denied
}
