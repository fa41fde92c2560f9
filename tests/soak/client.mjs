// client.mjs SEED SECONDS: as client.py, by HTTP/2 and fetch.
import http2 from "http2"

const URL = "https://ok.test:9450"
const PERIOD = 251
const STREAMS_MAX = 20
const ENOUGH = 50
const counts = {}
const bad = []
let state = 0
for (const c of process.argv[2]) // any seed: a number that is never 0
	state = (Math.imul(state, 31) + c.charCodeAt(0) + 1) >>> 0 || 1

// xorshift32: the same deeds for the same seed.
function dice(below) {
	state ^= state << 13
	state ^= state >>> 17
	state = (state ^ state << 5) >>> 0
	return state % below
}

class Cut extends Error {}

const pattern = size => Buffer.from(Array.from({ length: size }, (_, i) => i % PERIOD))

function expect(actual, expected, what) {
	if (actual !== expected)
		throw new Error(`${what}: expected ${expected}, got ${actual}`)
}

function expectBody(body, size) {
	expect(body.length, size, "bytes")
	for (let i = 0; i < size; i++)
		if (body[i] !== i % PERIOD)
			throw new Error(`byte ${i} is ${body[i]}`)
}

// One stream; `cutAfter` bytes it is reset, unless that is null.
function ask(session, headers, body, cutAfter) {
	return new Promise((done, fail) => {
		const stream = session.request(headers)
		const parts = []
		let status, length = 0, isCut = false
		stream.on("response", h => { status = h[":status"] })
		stream.on("data", part => {
			parts.push(part)
			length += part.length
			if (cutAfter !== null && length >= cutAfter) {
				isCut = true
				stream.close(http2.constants.NGHTTP2_CANCEL)
			}
		})
		stream.on("error", e => fail(isCut ? new Cut() : e))
		stream.on("close", () => isCut ? fail(new Cut()) : stream.rstCode ? fail(new Error(`reset: ${stream.rstCode}`)) :
			done({ status, body: Buffer.concat(parts) }))
		stream.end(body)
	})
}

async function oneStream(session) {
	const size = dice(100000), cutAfter = dice(4) ? null : dice(size + 1)
	switch (dice(5)) {
	case 0: {
		const { status } = await ask(session, { ":path": "/secret" }, undefined, null)
		return expect(status, 403, "status of what is denied")
	}
	case 1: {
		const { body } = await ask(session, { ":method": "POST", ":path": "/api/echo" }, pattern(size), cutAfter)
		return expectBody(body, size)
	}
	case 2: {
		const { body } = await ask(session, { ":path": `/pub/events?${size % 10}` }, undefined, null)
		return expect(body.toString(), Array.from({ length: size % 10 }, (_, i) => `data: ${i}\n\n`).join(""), "events")
	}
	case 3:
		try {
			await ask(session, { ":path": `/pub/cut?${size}` }, undefined, null)
		} catch {
			throw new Cut()
		}
		throw new Error("an answer that broke off came whole")
	default: {
		const { status, body } = await ask(session, { ":path": `/pub/size?${size}` }, undefined, cutAfter)
		expect(status, 200, "status")
		return expectBody(body, size)
	}
	}
}

const settled = all => Promise.allSettled(all).then(results => {
	const failed = results.filter(r => r.status === "rejected").map(r => r.reason)
	const first = failed.find(e => !(e instanceof Cut))
	if (first)
		throw first
	if (failed.length)
		throw new Cut()
})

async function streams() {
	const session = http2.connect(URL)
	session.on("error", () => {})
	try {
		await settled(Array.from({ length: 1 + dice(STREAMS_MAX) }, () => oneStream(session)))
	} finally {
		session.close()
	}
}

// The whole connection goes while its streams are busy.
async function destroyed() {
	const session = http2.connect(URL)
	session.on("error", () => {})
	const all = Array.from({ length: 1 + dice(STREAMS_MAX) }, () => oneStream(session).catch(() => {}))
	await new Promise(go => setTimeout(go, dice(60)))
	session.destroy()
	await Promise.all(all)
	throw new Cut()
}

async function fetched() {
	const size = dice(1 << 20), controller = new AbortController()
	const isCut = dice(3) === 0
	try {
		const answer = await fetch(`${URL}/pub/size?${size}`, { signal: controller.signal })
		if (isCut)
			controller.abort()
		expect(answer.status, 200, "status")
		expectBody(Buffer.from(await answer.arrayBuffer()), size)
	} catch (e) {
		throw isCut ? new Cut() : e
	}
}

const deeds = [streams, streams, destroyed, fetched]

// Each deed was done often enough to be whole and cut.
const isEnough = () => deeds.every(deed => (counts[deed.name] ?? [0, 0]).reduce((a, b) => a + b) >= ENOUGH)

async function work(end, last) {
	while (!bad.length && (Date.now() < end || (Date.now() < last && !isEnough()))) {
		const deed = deeds[dice(deeds.length)]
		counts[deed.name] ??= [0, 0]
		try {
			await deed()
			counts[deed.name][0]++
		} catch (e) {
			if (e instanceof Cut)
				counts[deed.name][1]++
			else
				bad.push(`BAD ${deed.name}: ${e.stack} ${e.cause?.stack ?? ""}`)
		}
	}
}

const ms = process.argv[3] * 1000, end = Date.now() + ms
await Promise.all([work(end, end + 10 * ms), work(end, end + 10 * ms)])
if (bad.length)
	console.log(bad.join("\n"))
console.log(JSON.stringify(counts))
process.exit(bad.length ? 1 : 0)
