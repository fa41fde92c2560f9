#!/usr/bin/env bats
# HTTP/2 with the sandbox: every stream is judged by itself, whatever the server speaks.

load helpers

setup_file() {
	start_all
	make_sandbox web probe
}

teardown_file() { stop_all; }

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
