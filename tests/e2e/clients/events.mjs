// events.mjs fetch|http2 URL: as events.py.
import http2 from "http2"

async function* byFetch(url) {
	const answer = await fetch(url + "/events")
	for await (const bytes of answer.body)
		yield Buffer.from(bytes).toString()
}

async function* byHttp2(url) {
	const connection = http2.connect(url)
	for await (const bytes of connection.request({ ":path": new URL(url).pathname + "/events" }))
		yield bytes.toString()
	connection.close()
}

const [by, url] = process.argv.slice(2)
for await (const event of { fetch: byFetch, http2: byHttp2 }[by](url)) {
	console.log(event.trim())
	await fetch(url + "/heard")
}
