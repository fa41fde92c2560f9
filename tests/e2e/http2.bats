#!/usr/bin/env bats
# HTTP/2 with the sandbox: every stream is judged by itself, whatever the server speaks.

load helpers

setup_file() {
	start_all
	make_sandbox web probe
	make_sandbox both http2
	nsenter --net="$WORLD_UP" node "$E2E/http2_server.js" "$WORLD_DIR/certs/good.pem" 9445 \
		</dev/null >"$SCRATCH/http2.log" 2>&1 3>&- &
	export H2_SERVER=$!
	wait_until 10 has_line "$SCRATCH/http2.log" ready
}

teardown_file() {
	kill "$H2_SERVER"
	stop_all
}

@test "curl speaks HTTP/2: allowed, denied, and each on record" {
	fetch web https://ok.test/pub/a --http2 -w '\n%{http_version} %{http_code}'
	expect_equal "$STATUS" "2 200"
	expect_equal "$(json 'b["target"]')" /pub/a
	fetch web https://ok.test/h2secret --http2 -w '\n%{http_version} %{http_code}'
	expect_equal "$STATUS" "2 403"
	expect_equal "$(json 'b["error"]')" policy_denied
	expect_verdicts 1 web l7_target=/h2secret l7_decision=deny
}

@test "a denied host explains itself over HTTP/2, too" {
	fetch web https://no.test/ --http2 -w '\n%{http_version} %{http_code}'
	expect_equal "$STATUS" "2 403"
}

@test "streams of one connection are judged one by one; a refusal leaves it open" {
	local canary
	canary=$(new_canary)
	cat >"$SCRATCH/streams.js" <<-'END'
		const http2 = require("http2"), canary = process.argv[2]
		const c = http2.connect("https://ok.test")
		c.on("error", e => { console.log("connection", e.code); process.exit(1) })
		const paths = ["/pub/1", "/secret/" + canary, "/pub/../secret", "/pub/2", "/pub/3"]
		const ask = p => new Promise(done => {
			const r = c.request({ ":path": p })
			r.on("response", h => { r.resume(); r.on("end", () => done(h[":status"])) })
			r.on("error", e => done(e.code))
			r.end()
		})
		Promise.all(paths.map(ask)).then(async all => {
			console.log(all.join(" "), await ask("/pub/last"))
			c.close()
		})
	END
	put web "$SCRATCH/streams.js" /sandbox/streams.js
	run inside web node /sandbox/streams.js "$canary"
	expect_equal "$output" "200 403 403 200 200 200"
	expect_absent "$canary"
}

@test "another authority is misdirected, another scheme is refused, CONNECT opens nothing" {
	cat >"$SCRATCH/odd.js" <<-'END'
		const http2 = require("http2")
		const c = http2.connect("https://ok.test")
		c.on("error", e => { console.log("connection", e.code); process.exit(1) })
		const ask = h => new Promise(done => {
			const r = c.request(h)
			r.on("response", a => { r.resume(); r.on("end", () => done(a[":status"])) })
			r.on("error", e => done(e.code))
			r.end()
		})
		const odd = [
			{ ":path": "/pub/x", ":authority": "no.test" },
			{ ":path": "/pub/x", ":scheme": "http" },
			{ ":method": "CONNECT", ":authority": "no.test:443" },
			{ ":path": "/pub/x" },
		]
		Promise.all(odd.map(ask)).then(all => { console.log(all.join(" ")); c.close() })
	END
	put web "$SCRATCH/odd.js" /sandbox/odd.js
	run inside web node /sandbox/odd.js
	local -a codes
	read -r -a codes <<<"$output"
	expect_equal "${codes[0]}" 421
	expect_equal "${codes[1]}" 400
	[[ ${codes[2]} == 4?? || ${codes[2]} == ERR_HTTP2* ]]
	expect_equal "${codes[3]}" 200
}

@test "bodies of 8 MB, with and without a length, both ways" {
	inside web sh -c 'head -c 8000000 /dev/zero >/sandbox/big'
	fetch web https://ok.test/api/big --http2 -T /sandbox/big -X POST -o /dev/null
	expect_status 200
	run inside web sh -c 'cat /sandbox/big | curl -sS -T - -X POST -o /dev/null -w "%{http_version} %{http_code}" https://ok.test/api/chunked'
	expect_equal "$output" "2 200"
	run inside web sh -c 'curl -sS "https://ok.test/pub/large?n=8000000" | wc -c'
	expect_equal "$output" 8000000
}

@test "HEAD has no body, and a body may wait to be asked for" {
	local url
	for url in https://ok.test https://ok.test:9445; do
		fetch both $url/pub/x --http2 -I
		expect_status 200
		expect_contains "$BODY" "HTTP/2 200"
		fetch both $url/secret --http2 -I
		expect_status 403
		fetch both $url/api/x --http2 -H 'Expect: 100-continue' -d hello -i
		expect_status 200
		# Node's server never asks for one.
		[[ $url != https://ok.test ]] || expect_contains "$BODY" "HTTP/2 100"
		expect_contains "$BODY" hello
		fetch both $url/secret --http2 -H 'Expect: 100-continue' -d hello -i
		expect_status 403
		expect_lacks "$BODY" "HTTP/2 100"
	done
}

# C35
@test "a program that keeps opening and resetting is sent away, another one is served" {
	cat >"$SCRATCH/reset.py" <<-'END'
		import socket, ssl, struct
		context = ssl.create_default_context()
		context.set_alpn_protocols(["h2"])
		tls = context.wrap_socket(socket.create_connection(("ok.test", 443), 20), server_hostname="ok.test")
		def frame(kind, flags, stream, payload=b""):
		    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload
		# GET https://ok.test/pub/x, by the static table and literals (RFC 7541).
		head = b"\x82\x87\x04\x06/pub/x\x01\x07ok.test"
		flood = b"".join(frame(1, 5, 2 * i + 1, head) + frame(3, 0, 2 * i + 1, struct.pack(">I", 8)) for i in range(1000))
		tls.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0) + flood)
		stream = tls.makefile("rb")
		while True:
		    header = stream.read(9)
		    payload = stream.read(int.from_bytes(header[:3], "big"))
		    if header[3] == 7:
		        print("goaway", struct.unpack(">I", payload[4:8])[0])
		        break
	END
	put web "$SCRATCH/reset.py" /sandbox/reset.py
	run inside web python3 /sandbox/reset.py
	expect_equal "$output" "goaway 11"
	fetch web https://ok.test/pub/x --http2
	expect_status 200
}

@test "nghttp: a hundred streams at once, each judged" {
	make_sandbox hundred h2
	run inside hundred nghttp -ns -m 100 https://ok.test/pub/x
	expect_equal "$(grep -c ' 200 .* /pub/x' <<<"$output")" 100
	run inside hundred nghttp -ns -m 100 https://ok.test/secret
	expect_equal "$(grep -c ' 403 .* /secret' <<<"$output")" 100
	expect_verdicts 100 hundred l7_decision=deny l7_target=/secret
}

@test "git: clone and push over HTTP/2, also what it sends in chunks" {
	local said refused
	GITHUB_TOKEN=$TOKEN osh provider create --name hub --type github --from-existing >/dev/null
	make_sandbox coder "$(policy github_push)" --provider hub
	# A push of more than http.postBuffer has no length.
	said=$(inside coder sh -ec 'export GIT_TRACE_CURL=1 GIT_TRACE_CURL_NO_DATA=1
		git -c http.version=HTTP/2 clone -q https://github.com/acme/widgets.git w && cd w
		git config user.name a && git config user.email a@example.com
		head -c 3000000 /dev/urandom >noise && git add noise && git commit -qm noise
		git -c http.version=HTTP/2 push -q origin HEAD:main' 2>&1)
	expect_contains "$said" "<= Recv header: HTTP/2 200"
	expect_lacks "$said" "HTTP/1.1 "
	expect_equal "$(git --git-dir="$WORLD_DIR/git/acme/widgets.git" cat-file -s main:noise)" 3000000
	refused=$(inside coder env GIT_TRACE_CURL=1 git -c http.version=HTTP/2 clone -q https://github.com/acme/other.git 2>&1) &&
		fail "cloned another"
	expect_contains "$refused" "<= Recv header: HTTP/2 403"
}

# E12
@test "a server that knows HTTP/2 alone: by h2 and by HTTP/1.1, judged alike" {
	local option
	for option in --http2 --http1.1; do
		fetch both https://ok.test:9445/pub/x $option -H 'X-Some: thing' -b 'a=1; b=2'
		expect_status 200
		expect_equal "$(json 'b[":path"]')" /pub/x
		expect_equal "$(json 'b[":authority"]')" ok.test:9445
		expect_equal "$(json 'b["x-some"]')" thing
		expect_equal "$(json 'b["cookie"]')" "a=1; b=2"
		fetch both https://ok.test:9445/secret $option
		expect_status 403
		fetch both https://ok.test:9445/api/x $option -d hello
		expect_status 200
		expect_equal "$BODY" hello
	done
}

@test "many streams share one connection to the server; both directions flow at once, trailers arrive" {
	local before
	before=$(grep -c connection "$SCRATCH/http2.log")
	cat >"$SCRATCH/echo.js" <<-'END'
		const http2 = require("http2")
		const c = http2.connect("https://ok.test:9445")
		c.on("error", e => { console.log("connection", e.code); process.exit(1) })
		// Says the next word only when the last came back.
		const talk = () => new Promise(done => {
			const r = c.request({ ":method": "POST", ":path": "/api/echo", te: "trailers" })
			let left = 5
			r.write("word")
			r.on("data", () => --left ? r.write("word") : r.end())
			r.on("trailers", t => done(t["grpc-status"]))
			r.on("error", e => done(e.code))
		})
		const large = () => new Promise(done => {
			const r = c.request({ ":method": "POST", ":path": "/api/large" })
			let len = 0
			r.on("data", d => len += d.length)
			r.on("end", () => done(len))
			r.on("error", e => done(e.code))
			r.end(Buffer.alloc(2000000))
		})
		Promise.all([...Array(40).keys()].map(talk)).then(async all => {
			console.log(all.every(s => s === "0"), await large())
			c.close()
		})
	END
	put both "$SCRATCH/echo.js" /sandbox/echo.js
	run inside both timeout 30 node /sandbox/echo.js
	expect_equal "$output" "true 2000000"
	(($(grep -c connection "$SCRATCH/http2.log") - before <= 1)) || fail "$(<"$SCRATCH/http2.log")"
}

@test "a new policy ends the streams that it denies, and nothing else of the connection" {
	cat >"$SCRATCH/hold.js" <<-'END'
		const http2 = require("http2")
		const c = http2.connect("https://ok.test:9445")
		c.on("error", e => { console.log("connection", e.code); process.exit(1) })
		const hold = path => {
			const r = c.request({ ":method": "POST", ":path": path })
			r.on("data", d => console.log(path, d.toString()))
			r.on("error", e => { console.log(path, "ended"); kept.end("last") })
			r.write("open")
			return r
		}
		const kept = hold("/api/kept")
		kept.on("end", () => { console.log("/api/kept whole"); c.close() })
		hold("/api/lost")
	END
	put both "$SCRATCH/hold.js" /sandbox/hold.js
	inside both timeout 30 node /sandbox/hold.js >"$SCRATCH/hold.log" 2>&1 3>&- &
	local client=$!
	wait_until 10 has_line "$SCRATCH/hold.log" "/api/kept open"
	wait_until 10 has_line "$SCRATCH/hold.log" "/api/lost open"
	sed 's|/api/\*\*|/api/kept|' "$(policy http2)" >"$SCRATCH/narrow.yaml"
	osh policy set both --policy "$SCRATCH/narrow.yaml" --wait
	wait "$client"
	expect_contains "$(<"$SCRATCH/hold.log")" "/api/lost ended"
	expect_contains "$(<"$SCRATCH/hold.log")" "/api/kept last"
	expect_contains "$(<"$SCRATCH/hold.log")" "/api/kept whole"
}
