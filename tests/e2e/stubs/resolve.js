// c-ares, as Node uses it: the IPv4 address of each name.
const { resolve4 } = require("dns").promises;

(async () => {
	for (const name of process.argv.slice(2)) {
		const found = await resolve4(name).catch(() => ["none"]);
		console.log(name, found[0]);
	}
})();
