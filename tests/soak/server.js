// server.js PEM PORT: HTTP/2 and HTTP/1.1, what both kinds of client ask for. Prints "ready".
//   GET /pub/size?N    N bytes of the pattern        GET /pub/events?N   N server-sent events
//   GET /pub/cut?N     a longer answer, the connection (or stream) ended after N bytes of it
//   POST /api/echo     the body, as it comes
const http2 = require("http2")
const pem = require("fs").readFileSync(process.argv[2])
const PERIOD = 251
const pattern = Buffer.from(Array.from({ length: PERIOD * 1000 }, (_, i) => i % PERIOD))

function* piecesOf(size) {
	for (let left = size; left > 0; left -= pattern.length)
		yield left < pattern.length ? pattern.subarray(0, left) : pattern
}

async function sendPattern(answer, size) {
	for (const piece of piecesOf(size))
		if (!answer.write(piece))
			await new Promise(go => { answer.once("drain", go); answer.once("close", go) })
	answer.end()
}

async function sendEvents(answer, count) {
	answer.setHeader("content-type", "text/event-stream")
	for (let i = 0; i < count && !answer.destroyed; i++) {
		answer.write(`data: ${i}\n\n`)
		await new Promise(go => setTimeout(go, 5))
	}
	answer.end()
}

function cut(request, answer, size) {
	answer.setHeader("content-length", size + 1000)
	answer.write(pattern.subarray(0, size % pattern.length + 1), () =>
		answer.stream ? answer.stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR) : request.socket.destroy())
}

function serve(request, answer) {
	const [path, number] = request.url.split("?")
	request.on("error", () => {})
	answer.on("error", () => {})
	if (path === "/api/echo")
		return request.pipe(answer)
	request.resume()
	if (path === "/pub/events")
		return sendEvents(answer, +number)
	if (path === "/pub/cut")
		return cut(request, answer, +number)
	if (!answer.stream)
		answer.setHeader("content-length", +number || 0)
	sendPattern(answer, +number || 0)
}

const server = http2.createSecureServer({ key: pem, cert: pem, allowHTTP1: true }, serve)
server.on("session", session => session.on("error", () => {}))
server.on("secureConnection", socket => socket.on("error", () => {}))
server.listen(+process.argv[3], "203.0.113.10", () => console.log("ready"))
