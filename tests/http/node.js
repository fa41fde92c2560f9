// How Node's HTTP parser (llhttp) takes messages. Each line of standard input is one connection:
// `request` or `response`, and its bytes in hex. For each one, lines on standard output:
//   message WHOLE BODY START... NAME VALUE NAME VALUE...    what Node took for a message
//   end CODE                                                why it stopped; `-`: it did not
// WHOLE is 1 when the message ended; START is method and target, or the status. Names, values, START
// and BODY are hex, `-` when empty.
"use strict";
const fs = require("fs");
const http = require("http");
const { Duplex } = require("stream");

const LIMITS = { maxHeaderSize: 1 << 20, keepAliveTimeout: 0, requestTimeout: 0, headersTimeout: 0 };

// Node 18 has no name for some of the methods that its parser knows.
const hex = (text = "") => Buffer.from(text, "latin1").toString("hex") || "-";

// A connection that no kernel knows: what is pushed arrives, what is written is lost.
const connection = () => new Duplex({ read() {}, write(data, encoding, done) { done(); } });

// Everything that the event loop has to do for the bytes that were pushed is done.
const settled = () => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));

function take(messages, message, start, answer) {
	const entry = { message, start, body: [] };
	messages.push(entry);
	message.on("error", () => {});
	message.on("data", (data) => entry.body.push(data));
	if (answer)
		message.on("end", answer);
}

function report({ messages, code }) {
	const lines = messages.map(({ message, start, body }) =>
		["message", message.complete ? 1 : 0, hex(Buffer.concat(body)),
			...[...start, ...message.rawHeaders].map((text) => hex(text))].join(" "));
	return [...lines, `end ${code || "-"}`].join("\n") + "\n";
}

// ---- Requests: a server ---------------------------------------------------------------

function server() {
	const seen = new WeakMap();
	const listener = http.createServer(LIMITS);
	const onRequest = (request, response) =>
		take(seen.get(request.socket).messages, request, [request.method, request.url], () => response.end());
	for (const event of ["request", "checkContinue", "checkExpectation"])
		listener.on(event, onRequest);
	listener.on("connect", (request) =>
		seen.get(request.socket).messages.push({ message: request, start: [request.method, request.url], body: [] }));
	listener.on("clientError", (error, socket) => {
		seen.get(socket).code = error.code;
		socket.destroy();
	});
	return async (bytes) => {
		const socket = connection();
		const result = { messages: [], code: "" };
		seen.set(socket, result);
		listener.emit("connection", socket);
		socket.push(bytes);
		await settled();
		const said = report(result);
		socket.destroy();
		return said;
	};
}

// ---- Responses: a client ----------------------------------------------------------------

async function receive(bytes) {
	const socket = connection();
	const result = { messages: [], code: "" };
	const request = http.request({ ...LIMITS, host: "ok.test", path: "/", createConnection: () => socket });
	request.on("response", (response) => take(result.messages, response, [String(response.statusCode)]));
	request.on("upgrade", () => { result.code = "UPGRADE"; });
	request.on("error", (error) => { result.code = error.code || error.message; });
	request.end();
	await settled();
	socket.push(bytes);
	socket.push(null);
	await settled();
	const said = report(result);
	socket.destroy();
	return said;
}

async function main() {
	const serve = server();
	for (const line of fs.readFileSync(0, "latin1").split("\n").slice(0, -1)) {
		const [kind, bytes] = line.split(" ");
		fs.writeSync(1, await (kind === "request" ? serve : receive)(Buffer.from(bytes, "hex")));
	}
}

main().then(() => process.exit(0));
