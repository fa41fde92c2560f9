// A server of HTTP/2 and HTTP/1.1 on one port: server.js PEM PORT. Prints "ready", then for each
// request its version, method and path. /pub/events sends an event, and the next one only once
// /pub/heard was asked for: a client that is not shown each as it comes waits forever.
const http2 = require("http2")
const pem = require("fs").readFileSync(process.argv[2])
const EVENTS = 3
let sendNext = () => {}

function sendEvents(answer) {
	let sent = 0
	answer.writeHead(200, { "content-type": "text/event-stream" })
	sendNext = () => {
		if (sent < EVENTS)
			answer.write(`data: ${++sent}\n\n`)
		else
			answer.end()
	}
	sendNext()
}

const server = http2.createSecureServer({ key: pem, cert: pem, allowHTTP1: true }, (request, answer) => {
	console.log(request.httpVersion, request.method, request.url)
	request.resume()
	if (request.url.startsWith("/pub/events"))
		return sendEvents(answer)
	if (request.url.startsWith("/pub/heard"))
		sendNext()
	answer.end("ok\n")
})
server.on("session", session => session.on("error", () => {}))
server.on("stream", stream => stream.on("error", () => {}))
server.listen(+process.argv[3], "203.0.113.10", () => console.log("ready"))
