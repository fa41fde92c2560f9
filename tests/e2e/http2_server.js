// An HTTP/2 server without HTTP/1.1: http2_server.js PEM PORT. Prints "ready", then one line for
// each connection. POST: the body comes back as it arrives, then a trailer. GET: what arrived.
const http2 = require("http2")
const pem = require("fs").readFileSync(process.argv[2])
const server = http2.createSecureServer({ key: pem, cert: pem })
server.on("session", session => {
	console.log("connection")
	session.on("error", () => {})
})
server.on("stream", (stream, headers) => {
	stream.on("error", () => {})
	if (headers[":method"] !== "POST") {
		stream.respond({ ":status": 200, "content-type": "application/json" })
		stream.end(JSON.stringify(headers))
		return
	}
	stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true })
	stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }))
	stream.pipe(stream)
})
server.listen(+process.argv[3], "203.0.113.10", () => console.log("ready"))
