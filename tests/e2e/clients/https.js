// Prints the HTTP status of each URL, by Node's older client.
const https = require("https")
const ask = url => new Promise((done, fail) =>
	https.get(url, answer => answer.resume().on("end", () => done(answer.statusCode))).on("error", fail))
process.argv.slice(2).reduce((before, url) => before.then(() => ask(url)).then(console.log), Promise.resolve())
