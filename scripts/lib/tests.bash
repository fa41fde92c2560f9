# shellcheck shell=bash
# Running tests, on this machine or in a guest: each function prints TAP lines.

# run_unit_tests BUILD_DIR LOG_DIR NAME...: programs in BUILD_DIR/tests.
run_unit_tests() {
	local build=$1 logs=$2 name tap status
	for name in "${@:3}"; do
		tap=$logs/$name.tap
		rm -f "$tap"
		status=0
		OSH_BUILD_DIR=$build timeout -k 5 $((300 * ${OSH_TIME_SCALE:-1})) "$build/tests/$name" --jobs "$(nproc)" --quiet --tap="$tap" ||
			status=$?
		cat "$tap" || true
		# A program that died has not reported all of its tests.
		if ((status != 0)) && ! grep -q '^not ok' "$tap"; then
			echo "not ok - $name ended with status $status"
		fi
	done
}

# sanitizers_report_to PREFIX: what they find, leaks at a process's end included, goes into a file
# for each process. A test that passed may have left one behind.
sanitizers_report_to() {
	rm -f "$1".*
	export ASAN_OPTIONS=detect_leaks=1:log_path=$1 UBSAN_OPTIONS=print_stacktrace=1:log_path=$1
	export LSAN_OPTIONS=suppressions=$PWD/tests/leaks.supp:print_suppressions=0
}

# list_sanitizer_reports PREFIX
list_sanitizer_reports() {
	local file
	for file in "$1".*; do
		[[ -s $file ]] || continue
		echo "not ok - ${file##*/}"
		sed 's/^/# /' "$file"
	done
}

# run_bats FILE
run_bats() {
	timeout -k 10 $((600 * ${OSH_TIME_SCALE:-1})) bats --tap "$1" 2>&1
}
