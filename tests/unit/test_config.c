/* The agent's configuration file. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "control/config.h"

static int parse(const char *text, struct osh_config *config, struct osh_err *err)
{
	osh_config_init(config);
	return osh_config_parse(config, osh_str(text), "f.yaml", err);
}

Test(config, defaults)
{
	struct osh_config config;
	struct osh_err err = { 0 };

	cr_assert(eq(int, parse("", &config, &err), 0));
	cr_expect_str_eq(config.state_dir, "/var/lib/openshell");
	cr_expect_str_eq(config.run_dir, "/run/openshell");
	cr_expect_str_empty(config.upstream_ca);
	cr_expect(eq(sz, config.dns_server_count, 0));
	cr_expect(eq(uint, config.workers, 0));
	cr_expect(eq(int, config.log_level, OSH_LOG_INFO));
}

Test(config, every_key)
{
	struct osh_config config;
	struct osh_err err = { 0 };

	cr_assert(eq(int,
		     parse("# all of it\n"
			   "state_dir: /srv/state/\n"
			   "run_dir: \"/run/other\"\n"
			   "upstream_ca: /etc/ca.pem\n"
			   "dns_servers: [192.0.2.1, \"192.0.2.2:5353\", '2001:db8::1', "
			   "'[2001:db8::2]:53']\n"
			   "upstream_proxy: http://Proxy.example:3128/\n"
			   "upstream_proxy_credential: /etc/proxy\n"
			   "no_proxy: [inner.example, '*.other.example', 10.0.0.0/8]\n"
			   "workers: 2\n"
			   "log_level: debug\n",
			   &config, &err),
		     0),
		  "%s", err.message);
	cr_expect_str_eq(config.state_dir, "/srv/state");
	cr_expect_str_eq(config.run_dir, "/run/other");
	cr_expect_str_eq(config.upstream_ca, "/etc/ca.pem");
	cr_assert(eq(sz, config.dns_server_count, 4));
	cr_expect_str_eq(config.dns_servers[0], "192.0.2.1");
	cr_expect_str_eq(config.dns_servers[3], "[2001:db8::2]:53");
	cr_expect_str_eq(config.upstream_proxy, "proxy.example");
	cr_expect(eq(uint, config.upstream_proxy_port_host, 3128));
	cr_expect_str_eq(config.upstream_proxy_credential, "/etc/proxy");
	cr_assert(eq(sz, config.no_proxy_count, 3));
	cr_expect_str_eq(config.no_proxy[1], "*.other.example");
	cr_expect(eq(uint, config.workers, 2));
	cr_expect(eq(int, config.log_level, OSH_LOG_DEBUG));
}

struct bad_case {
	const char *text, *message;
};

Test(config, mistakes_are_told_with_their_place)
{
	static const struct bad_case cases[] = {
		{ "state_dir: /a\nworker: 2\n", "f.yaml:2:9: unknown key \"worker\"" },
		{ "run_dir: run\n", "f.yaml:1:10: run_dir must be an absolute path" },
		{ "workers: 9\n", "f.yaml:1:10: workers must be" },
		{ "workers: -1\n", "f.yaml:1:10: workers must be" },
		{ "workers: [2]\n", "f.yaml:1:10: workers takes one plain value" },
		{ "log_level: loud\n", "f.yaml:1:12: log_level must be" },
		{ "dns_servers: 192.0.2.1\n", "f.yaml:1:14: dns_servers takes a list" },
		{ "dns_servers: [dns.example]\n",
		  "f.yaml:1:15: dns_servers: \"dns.example\" is not an address" },
		{ "dns_servers: ['192.0.2.1:0']\n", "is not an address" },
		{ "dns_servers: ['192.0.2.1:65536']\n", "is not an address" },
		{ "dns_servers: ['[192.0.2.1]']\n", "is not an address" },
		{ "upstream_proxy: https://p.example:1\n", "f.yaml:1:17: upstream_proxy must be http://HOST:PORT" },
		{ "upstream_proxy: p.example\n", "upstream_proxy must be" },
		{ "upstream_proxy: http://p.example:0\n", "upstream_proxy must be" },
		{ "upstream_proxy: http://u:p@p.example:1\n", "upstream_proxy_credential" },
		{ "upstream_proxy_credential: p\n", "must be an absolute path" },
		{ "no_proxy: inner.example\n", "no_proxy takes a list" },
		{ "no_proxy: [10.0.0.0/33]\n", "f.yaml:1:12: no_proxy: \"10.0.0.0/33\" is no name" },
		{ "workers: 1\nworkers: 2\n", "f.yaml:2:1: key \"workers\" is repeated" },
		{ "- workers\n", "f.yaml:1:1: expected \"key: value\" lines" },
		{ "workers: [\n", "f.yaml:2:1: " },
		{ "[a]: b\n", "f.yaml:1:1: not a key" },
		{ "\"workers\\0\": 1\n", "f.yaml:1:1: not a key" },
	};

	for (size_t i = 0; i < OSH_COUNT_OF(cases); i++) {
		struct osh_config config;
		struct osh_err err = { 0 };

		cr_expect(eq(int, parse(cases[i].text, &config, &err), -EINVAL), "%s",
			  cases[i].text);
		cr_expect(strstr(err.message, cases[i].message) != NULL, "%s: %s", cases[i].text,
			  err.message);
	}
}

Test(config, at_most_sixteen_servers)
{
	struct osh_config config;
	struct osh_err err = { 0 };

	osh_config_init(&config);
	for (int i = 0; i < OSH_DNS_SERVERS_MAX; i++)
		cr_assert(eq(int, osh_config_set(&config, "dns_servers", "192.0.2.1", &err), 0));
	cr_expect(eq(int, osh_config_set(&config, "dns_servers", "192.0.2.1", &err), -EINVAL));
}

Test(config, files)
{
	char path[] = "/tmp/test_config.XXXXXX";
	struct osh_config config;
	struct osh_err err = { 0 };
	int fd = mkstemp(path);

	osh_config_init(&config);
	cr_assert(eq(int, osh_write_full(fd, "workers: 3\n", 11), 0));
	close(fd);
	cr_expect(eq(int, osh_config_load(&config, path, false, &err), 0));
	cr_expect(eq(uint, config.workers, 3));
	unlink(path);
	cr_expect(eq(int, osh_config_load(&config, path, true, &err), 0));
	cr_expect(eq(int, osh_config_load(&config, path, false, &err), -ENOENT));
	cr_expect(strstr(err.message, path) != NULL);
}
