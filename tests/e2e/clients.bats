#!/usr/bin/env bats
# The clients that agents bring along work with no setting, whatever the version of HTTP that they and
# the server choose; what the policy does not name is answered 403 and arrives nowhere. Each language's
# own client is in programs.bats.

load helpers

PORT=9446

setup_file() {
	start_all
	nsenter --net="$WORLD_UP" node "$E2E/clients/server.js" "$WORLD_DIR/certs/good.pem" $PORT \
		</dev/null >"$SCRATCH/server.log" 2>&1 3>&- &
	export CLIENTS_SERVER=$!
	GITHUB_TOKEN=$TOKEN osh provider create --name my-github --type github --from-existing
	make_sandbox box clients --provider my-github
	local file
	for file in "$E2E"/clients/* "$E2E"/programs/*etch.*; do
		put box "$file" "/sandbox/${file##*/}"
	done
	wait_until 10 has_line "$SCRATCH/server.log" ready
}

teardown_file() {
	kill "$CLIENTS_SERVER"
	stop_all
}

python() { readlink -f /usr/bin/python3; }

# ---- Requests ---------------------------------------------------------------------------------

# is_inspected VERSION BINARY COMMAND...: the command prints the status of each URL that follows it.
# VERSION of HTTP is what it speaks when it is let choose; the server sees the same.
is_inspected() {
	local version=$1 binary=$2 allowed denied
	allowed=$(new_canary)
	denied=$(new_canary)
	run inside box "${@:3}" "https://ok.test:$PORT/pub/$allowed" "https://ok.test:$PORT/secret/$denied"
	expect_equal "$(paste -sd' ' <<<"$output")" "200 403" "statuses of $binary"
	has_line "$SCRATCH/server.log" "^$version GET /pub/$allowed\$" || fail "$(<"$SCRATCH/server.log")"
	refute has_line "$SCRATCH/server.log" "$denied"
	expect_verdicts 1 box l7_decision=allow "l7_target=/pub/$allowed" "binary=$binary"
	expect_verdicts 1 box l7_decision=deny "l7_target=/secret/$denied" "binary=$binary"
}

@test "curl: HTTP/2 and HTTP/1.1" {
	# shellcheck disable=SC2016  # for the inner shell
	local each='for url; do curl -s $OPTION -o /dev/null -w "%{http_code}\n" "$url"; done'
	is_inspected 2.0 /usr/bin/curl env OPTION= sh -c "$each" _
	is_inspected 1.1 /usr/bin/curl env OPTION=--http1.1 sh -c "$each" _
}

@test "wget" {
	# shellcheck disable=SC2016  # for the inner shell
	is_inspected 1.1 /usr/bin/wget sh -c 'for url; do
		wget -S -O /dev/null "$url" 2>&1 | sed -nE "s/^ *HTTP[^ ]* ([0-9]+).*/\1/p"; done' _
}

@test "nghttp" {
	# shellcheck disable=SC2016  # for the inner shell
	is_inspected 2.0 /usr/bin/nghttp sh -c 'for url; do nghttp -vn "$url" | sed -nE "s/.*recv.* :status: ([0-9]+)/\1/p"; done' _
}

@test "openssl s_client: the chain is whole, HTTP is spoken by hand" {
	# shellcheck disable=SC2016  # for the inner shell
	is_inspected 1.1 /usr/bin/openssl sh -c 'for url; do
		path=/${url#https://*/} at=${url#https://}
		printf "GET $path HTTP/1.1\r\nHost: ${at%%/*}\r\nConnection: close\r\n\r\n" |
			openssl s_client -quiet -ign_eof -verify_return_error -verify_hostname ok.test -servername ok.test \
				-connect "${at%%/*}" 2>/dev/null | sed -nE "s/^HTTP[^ ]* ([0-9]+).*/\1/p"; done' _
}

@test "Node: https" { is_inspected 1.1 /usr/bin/node node https.js; }

@test "Python: requests and aiohttp, where the server would speak HTTP/2" {
	local library
	for library in requests aiohttp; do
		is_inspected 1.1 "$(python)" python3 fetch.py "$library"
	done
}

# compile RESULT COMMAND...: once for all tests that run what comes of it.
compile() {
	run inside box sh -c 'test -e "$1" || { shift; "$@"; }' _ "$@"
	expect_equal "$status" 0 "$output"
}

compile_go() { compile fetch go build -o /sandbox/fetch fetch.go; }
compile_java() { compile Connection.class javac Fetch.java Connection.java; }

@test "Go: net/http by HTTP/2" {
	compile_go
	is_inspected 2.0 /sandbox/fetch ./fetch
}

@test "Java: HttpClient by HTTP/2, HttpsURLConnection" {
	local java
	java=$(readlink -f /usr/bin/java)
	compile_java
	is_inspected 2.0 "$java" java Fetch
	is_inspected 1.1 "$java" java Connection
	# Where TLS agreed upon nothing it asks for an upgrade to HTTP/2.
	expect_equal "$(inside box java Fetch http://plain.test/pub/x http://plain.test/secret)" $'200\n403'
}

# Programs that others start with an environment of their own.
@test "without one variable of the environment: curl, wget, git, Python, OpenSSL, Go, Java" {
	local url=https://ok.test/pub/x program
	run inside box env -i /usr/bin/curl -s -o /dev/null -w '%{http_code}' $url
	expect_equal "$output" 200
	run inside box env -i /usr/bin/wget -q -O - $url
	expect_contains "$output" '"host": "ok.test"'
	run inside box env -i /usr/bin/git ls-remote https://github.com/acme/widgets.git HEAD
	expect_contains "$output" HEAD
	run inside box env -i /usr/bin/python3 -c "import urllib.request; print(urllib.request.urlopen('$url').status)"
	expect_equal "$output" 200
	run inside box env -i /usr/bin/openssl s_client -brief -verify_return_error -connect ok.test:443 -servername ok.test </dev/null
	expect_contains "$output" "Verification: OK"
	compile_go
	compile_java
	for program in ./fetch "/usr/bin/java Fetch" "/usr/bin/java Connection" "/usr/bin/python3 fetch.py requests"; do
		# shellcheck disable=SC2086  # a program and its arguments
		run inside box env -i $program $url
		expect_equal "$output" 200 "$program"
	done
}

# The one that brings roots of its own and reads no file but by its variable.
@test "Node without one variable of the environment trusts nobody new, and is told so in the log" {
	run inside box env -i /usr/bin/node https.js https://ok.test/pub/x
	((status != 0)) || fail "$output"
	expect_verdicts 1 box l7_decision=deny engine=tls binary=/usr/bin/node
	run inside box env -i NODE_EXTRA_CA_CERTS=/run/openshell/ca.pem /usr/bin/node https.js https://ok.test/pub/x
	expect_equal "$output" 200
}

@test "variables for programs that bring roots of their own: each file holds the sandbox's authority" {
	local variable
	for variable in DENO_CERT AWS_CA_BUNDLE; do
		# shellcheck disable=SC2016  # for the inner shell
		run inside box sh -c 'curl -s --cacert "$(printenv "$1")" --capath /nonexistent -o /dev/null -w "%{http_code}" \
			https://ok.test/pub/x' _ $variable
		expect_equal "$output" 200 $variable
	done
}

# ---- Streams ----------------------------------------------------------------------------------

# gets_each_event COMMAND...: one event after the other, each as it was sent.
gets_each_event() {
	run inside box timeout 30 "$@" "https://ok.test:$PORT/pub"
	expect_equal "$(paste -sd' ' <<<"$output")" "data: 1 data: 2 data: 3" "events of $1 $2"
}

@test "server-sent events: curl, Python, Node, by both versions" {
	gets_each_event ./events.sh
	gets_each_event python3 events.py requests
	gets_each_event python3 events.py aiohttp
	gets_each_event node events.mjs fetch
	gets_each_event node events.mjs http2
	has_line "$SCRATCH/server.log" "^2.0 GET /pub/events"
	has_line "$SCRATCH/server.log" "^1.1 GET /pub/events"
	fetch box "https://ok.test:$PORT/events" -H 'Accept: text/event-stream'
	expect_status 403
}

# talks BINARY COMMAND...: the WebSocket client's URL and texts follow the command.
talks() {
	local binary=$1 canary
	canary=$(new_canary)
	run inside box timeout 60 "${@:2}" "wss://ws.test/v1/chat/$canary" hello "more $canary"
	expect_equal "$(paste -sd' ' <<<"$output")" "ready hello more $canary"
	expect_verdicts 2 box l7_action=WEBSOCKET_TEXT l7_decision=allow "l7_target=/v1/chat/$canary" "binary=$binary"
	canary=$(new_canary)
	run inside box timeout 60 "${@:2}" "wss://ws.test/v1/listen" "$canary"
	expect_equal "$(paste -sd' ' <<<"$output")" "ready closed 1008"
	run inside box timeout 60 "${@:2}" "wss://ws.test/$canary" hello
	expect_equal "$output" "status 403"
	expect_absent "$canary"
	expect_verdicts 1 box l7_decision=deny "l7_target=/$canary" "binary=$binary"
}

@test "WebSocket: Python's websockets and aiohttp, Java" {
	talks "$(python)" python3 websocket.py websockets
	talks "$(python)" python3 websocket.py aiohttp
	run inside box javac Socket.java
	expect_equal "$status" 0 "$output"
	talks "$(readlink -f /usr/bin/java)" java Socket
}

# ---- Repositories -----------------------------------------------------------------------------

@test "git: clone, push, fetch; another repository is refused" {
	run inside box sh -ec 'git clone -q https://github.com/acme/widgets.git one; cp -r one two
		cd one; git config user.name a; git config user.email a@b; echo more >more; git add more; git commit -qm more
		git push -q origin HEAD:main; cd ../two; git fetch -q; git log --format=%s -n 1 origin/main'
	expect_equal "$status" 0 "$output"
	expect_equal "$output" more
	run inside box git clone -q https://github.com/acme/other.git
	((status != 0))
	expect_contains "$output" 403
	expect_verdicts 1 box l7_decision=allow l7_target=/acme/widgets.git/git-receive-pack policy=repository
}

# make_apt_repository DIR: one package, without a signature.
make_apt_repository() {
	local tree=$SCRATCH/oshdemo packages
	mkdir -p "$1" "$tree/DEBIAN"
	printf 'Package: oshdemo\nVersion: 1.0\nArchitecture: all\nMaintainer: a <a@b>\nDescription: demo\n' >"$tree/DEBIAN/control"
	dpkg-deb -b --root-owner-group "$tree" "$1/oshdemo.deb" >/dev/null
	packages="$(<"$tree/DEBIAN/control")
Filename: ./oshdemo.deb
Size: $(stat -c %s "$1/oshdemo.deb")
SHA256: $(sha256sum <"$1/oshdemo.deb" | cut -d' ' -f1)"
	echo "$packages" >"$1/Packages"
	printf 'Date: %s\nSHA256:\n %s %s Packages\n' "$(date -Ru)" \
		"$(sha256sum <"$1/Packages" | cut -d' ' -f1)" "$(stat -c %s "$1/Packages")" >"$1/Release"
}

# apt_inside URL COMMAND: with directories of its own, since it does not run as root.
apt_inside() {
	# shellcheck disable=SC2016  # for the inner shell
	run inside box sh -ec 'mkdir -p apt/lists/partial apt/archives/partial; cd apt; : >status
		echo "deb [trusted=yes] $1 ./" >sources
		exec apt-get -q -o Dir::Etc::sourcelist="$PWD/sources" -o Dir::Etc::sourceparts=- -o Dir::Cache="$PWD" \
			-o Dir::State="$PWD" -o Dir::State::status="$PWD/status" -o Acquire::Retries=0 $2' _ "$1" "$2"
}

@test "apt updates from and downloads of a repository that the policy names, and of no other" {
	local canary
	canary=$(new_canary)
	make_apt_repository "$WORLD_DIR/files/apt"
	apt_inside https://ok.test/pub/files/apt update
	expect_equal "$status" 0 "$output"
	apt_inside https://ok.test/pub/files/apt "download oshdemo"
	expect_equal "$status" 0 "$output"
	run inside box dpkg-deb -f apt/oshdemo_1.0_all.deb Package
	expect_equal "$output" oshdemo
	apt_inside "https://ok.test/secret/$canary" update
	((status != 0))
	expect_contains "$output" "403"
	expect_absent "$canary"
	expect_verdicts 1 box l7_decision=deny "l7_target=/secret/$canary/Release" binary=/usr/lib/apt/methods/http
}
