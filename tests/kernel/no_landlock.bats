#!/usr/bin/env bats
# F20. On a kernel that was booted without Landlock (scripts/test-kernel): what a policy wants decides.

load ../e2e/helpers

setup_file() {
	[[ $(</sys/kernel/security/lsm) != *landlock* ]] || fail "this kernel has Landlock"
	start_all
	sed 's/compatibility: .* }/compatibility: hard_requirement }/' "$REPO/share/default-policy.yaml" >"$SCRATCH/hard.yaml"
}

teardown_file() { stop_all; }

@test "best_effort says what is not enforced, and what remains holds" {
	local path
	run osh sandbox create --name soft --policy "$REPO/share/default-policy.yaml"
	expect_equal "$status" 0
	expect_contains "$output" "filesystem_policy is not enforced: this kernel has no Landlock"
	inside soft sh -c 'echo x >/tmp/f && cat /tmp/f'
	for path in /usr/x /etc/passwd /usr/bin/curl; do
		run inside soft sh -c "echo x >>$path"
		((status != 0)) || fail "$path is writable"
	done
	run probe soft tcp github.com 22 hello
	expect_equal "$output" EPERM
	osh sandbox delete soft
}

@test "hard_requirement is refused, and nothing of the program runs" {
	run osh sandbox create --name hard --no-keep --policy "$SCRATCH/hard.yaml" -- echo ran
	expect_equal "$status" 1
	expect_contains "$output" "this kernel has no Landlock, and compatibility is hard_requirement"
	expect_lacks "$output" ran
	run osh sandbox get hard
	expect_equal "$status" 1
}

@test "status names it" {
	BODY=$(osh status -o json)
	expect_contains "$BODY" '"file access by mounts and uid alone"'
}
