/* The decision table of bpf/decide.h, on the host: no root, no kernel. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <string.h>

#include "../../bpf/decide.h"
#include "../../bpf/inject.h"

static struct osh_addr addr_of(const char *text)
{
	struct osh_addr addr = { { 0, 0, htonl(0xffff), 0 } };

	if (inet_pton(AF_INET, text, &addr.word_be[3]) != 1)
		cr_assert_eq(inet_pton(AF_INET6, text, &addr), 1, "%s is no address", text);
	return addr;
}

struct dial_case {
	const char *dst;
	unsigned port;
	unsigned protocol;
	unsigned action;
	unsigned reason; /* when denied */
};

static const struct dial_case dial_cases[] = {
	/* TCP to anywhere is judged; UDP may name a peer; every other protocol may not. */
	{ "203.0.113.10", 443, IPPROTO_TCP, OSH_ACTION_JUDGE, 0 },
	{ "203.0.113.10", 443, IPPROTO_UDP, OSH_ACTION_PEER, 0 },
	{ "203.0.113.10", 443, IPPROTO_SCTP, OSH_ACTION_DENY, OSH_KERNEL_PROTOCOL },
	{ "203.0.113.10", 443, IPPROTO_ICMP, OSH_ACTION_DENY, OSH_KERNEL_PROTOCOL },
	{ "203.0.113.10", 443, 0, OSH_ACTION_DENY, OSH_KERNEL_PROTOCOL },
	{ "2001:db8::10", 443, IPPROTO_TCP, OSH_ACTION_JUDGE, 0 },
	{ "2001:db8::10", 443, IPPROTO_UDP, OSH_ACTION_PEER, 0 },
	{ "::ffff:203.0.113.10", 22, IPPROTO_TCP, OSH_ACTION_JUDGE, 0 },
	{ "64:ff9b::203.0.113.10", 22, IPPROTO_TCP, OSH_ACTION_JUDGE, 0 },
	/* DNS is the agent's, wherever it is sent, loopback and the agent itself included. */
	{ "8.8.8.8", 53, IPPROTO_UDP, OSH_ACTION_DNS, 0 },
	{ "8.8.8.8", 53, IPPROTO_TCP, OSH_ACTION_DNS, 0 },
	{ "8.8.8.8", 5353, IPPROTO_UDP, OSH_ACTION_PEER, 0 },
	{ "8.8.8.8", 53, IPPROTO_UDPLITE, OSH_ACTION_DENY, OSH_KERNEL_PROTOCOL },
	{ "127.0.0.53", 53, IPPROTO_UDP, OSH_ACTION_DNS, 0 },
	{ "::1", 53, IPPROTO_UDP, OSH_ACTION_DNS, 0 },
	{ "198.18.0.1", 53, IPPROTO_UDP, OSH_ACTION_DNS, 0 },
	{ "fd6f:7368::c612:1", 53, IPPROTO_TCP, OSH_ACTION_DNS, 0 },
	/* The agent's addresses are not for dialling; their neighbours are like any other. */
	{ "198.18.0.1", 1, IPPROTO_TCP, OSH_ACTION_DENY, OSH_KERNEL_AGENT_ADDRESS },
	{ "198.18.0.1", 443, IPPROTO_TCP, OSH_ACTION_DENY, OSH_KERNEL_AGENT_ADDRESS },
	{ "::ffff:198.18.0.1", 1, IPPROTO_TCP, OSH_ACTION_DENY, OSH_KERNEL_AGENT_ADDRESS },
	{ "fd6f:7368::c612:1", 1, IPPROTO_TCP, OSH_ACTION_DENY, OSH_KERNEL_AGENT_ADDRESS },
	{ "198.18.0.1", 1, IPPROTO_UDP, OSH_ACTION_DENY, OSH_KERNEL_AGENT_ADDRESS },
	{ "198.18.0.15", 1, IPPROTO_TCP, OSH_ACTION_DENY, OSH_KERNEL_AGENT_ADDRESS },
	{ "fd6f:7368::c612:f", 1, IPPROTO_TCP, OSH_ACTION_DENY, OSH_KERNEL_AGENT_ADDRESS },
	{ "198.18.0.0", 1, IPPROTO_TCP, OSH_ACTION_JUDGE, 0 },
	{ "198.18.0.16", 1, IPPROTO_TCP, OSH_ACTION_JUDGE, 0 },
	{ "fd6f:7368::c612:10", 1, IPPROTO_TCP, OSH_ACTION_JUDGE, 0 },
	{ "fd6f:7369::c612:1", 1, IPPROTO_TCP, OSH_ACTION_JUDGE, 0 },
	/* Loopback in all its spellings, and what only looks like it. */
	{ "127.0.0.1", 8000, IPPROTO_TCP, OSH_ACTION_LEAVE, 0 },
	{ "127.255.255.255", 8000, IPPROTO_UDP, OSH_ACTION_LEAVE, 0 },
	{ "0.0.0.0", 8000, IPPROTO_TCP, OSH_ACTION_LEAVE, 0 },
	{ "::1", 8000, IPPROTO_TCP, OSH_ACTION_LEAVE, 0 },
	{ "::", 8000, IPPROTO_TCP, OSH_ACTION_LEAVE, 0 },
	{ "::ffff:127.0.0.1", 8000, IPPROTO_TCP, OSH_ACTION_LEAVE, 0 },
	{ "::ffff:0.0.0.0", 8000, IPPROTO_TCP, OSH_ACTION_LEAVE, 0 },
	/* Node's inspector, by each of them; its neighbour, and the same port by UDP or elsewhere. */
	{ "127.0.0.1", 9229, IPPROTO_TCP, OSH_ACTION_DENY, OSH_KERNEL_INSPECTOR },
	{ "127.0.0.2", 9229, IPPROTO_TCP, OSH_ACTION_DENY, OSH_KERNEL_INSPECTOR },
	{ "0.0.0.0", 9229, IPPROTO_TCP, OSH_ACTION_DENY, OSH_KERNEL_INSPECTOR },
	{ "::1", 9229, IPPROTO_TCP, OSH_ACTION_DENY, OSH_KERNEL_INSPECTOR },
	{ "::ffff:127.0.0.1", 9229, IPPROTO_TCP, OSH_ACTION_DENY, OSH_KERNEL_INSPECTOR },
	{ "127.0.0.1", 9230, IPPROTO_TCP, OSH_ACTION_LEAVE, 0 },
	{ "127.0.0.1", 9229, IPPROTO_UDP, OSH_ACTION_LEAVE, 0 },
	{ "203.0.113.10", 9229, IPPROTO_TCP, OSH_ACTION_JUDGE, 0 },
	{ "128.0.0.1", 8000, IPPROTO_TCP, OSH_ACTION_JUDGE, 0 },
	{ "255.0.0.1", 8000, IPPROTO_TCP, OSH_ACTION_JUDGE, 0 },
	{ "::127.0.0.1", 8000, IPPROTO_TCP, OSH_ACTION_JUDGE, 0 },
	{ "0.0.0.1", 8000, IPPROTO_TCP, OSH_ACTION_JUDGE, 0 },
	{ "::2", 8000, IPPROTO_TCP, OSH_ACTION_JUDGE, 0 },
	{ "1::1", 8000, IPPROTO_TCP, OSH_ACTION_JUDGE, 0 },
};

Test(kernel_decide, dial)
{
	for (size_t i = 0; i < sizeof(dial_cases) / sizeof(dial_cases[0]); i++) {
		const struct dial_case *t = &dial_cases[i];
		struct osh_dial dial = {
			.dst = addr_of(t->dst),
			.dst_port_host = (__u16)t->port,
			.ip_protocol = (__u8)t->protocol,
			.sandbox_known = 1,
			.own_netns = 1,
		};
		struct osh_decision d = osh_decide_dial(&dial);

		cr_expect_eq(d.action, t->action, "%s:%u/%u: action %u, want %u", t->dst, t->port,
			     t->protocol, d.action, t->action);
		if (t->action == OSH_ACTION_DENY)
			cr_expect_eq(d.reason, t->reason, "%s:%u/%u: reason %u, want %u", t->dst, t->port,
				     t->protocol, d.reason, t->reason);
	}
}

/* A datagram that leaves at once is judged as connect is, but for naming a peer. */
Test(kernel_decide, datagram)
{
	for (size_t i = 0; i < sizeof(dial_cases) / sizeof(dial_cases[0]); i++) {
		const struct dial_case *t = &dial_cases[i];
		struct osh_dial dial = {
			.dst = addr_of(t->dst),
			.dst_port_host = (__u16)t->port,
			.ip_protocol = (__u8)t->protocol,
			.sandbox_known = 1,
			.own_netns = 1,
			.sends = 1,
		};
		struct osh_decision d = osh_decide_dial(&dial);

		if (t->action == OSH_ACTION_PEER)
			cr_expect(d.action == OSH_ACTION_DENY && d.reason == OSH_KERNEL_PROTOCOL, "%s",
				  t->dst);
		else
			cr_expect(d.action == t->action, "%s", t->dst);
	}
}

/* Without a sandbox, or outside its network namespace, nothing else counts. */
Test(kernel_decide, dial_needs_sandbox_and_netns)
{
	for (size_t i = 0; i < sizeof(dial_cases) / sizeof(dial_cases[0]); i++) {
		const struct dial_case *t = &dial_cases[i];
		struct osh_dial dial = {
			.dst = addr_of(t->dst),
			.dst_port_host = (__u16)t->port,
			.ip_protocol = (__u8)t->protocol,
			.own_netns = 1,
		};
		struct osh_decision d = osh_decide_dial(&dial);

		cr_expect(d.action == OSH_ACTION_DENY && d.reason == OSH_KERNEL_NO_SANDBOX, "%s", t->dst);
		dial.sandbox_known = 1;
		dial.own_netns = 0;
		d = osh_decide_dial(&dial);
		cr_expect(d.action == OSH_ACTION_DENY && d.reason == OSH_KERNEL_WRONG_NETNS, "%s", t->dst);
	}
}

/* On a loopback that others may be on, only the sandbox's own listeners are reached; the rest is as ever.
 * Of UDP another's is refused here, and nobody's when the datagram comes. */
Test(kernel_decide, attached_loopback)
{
	for (size_t i = 0; i < sizeof(dial_cases) / sizeof(dial_cases[0]); i++) {
		const struct dial_case *t = &dial_cases[i];
		struct osh_dial dial = {
			.dst = addr_of(t->dst),
			.dst_port_host = (__u16)t->port,
			.ip_protocol = (__u8)t->protocol,
			.sandbox_known = 1,
			.own_netns = 1,
			.attached = 1,
			.receiver = OSH_RECEIVER_OTHERS,
		};
		struct osh_decision d = osh_decide_dial(&dial);
		bool tcp = t->protocol == IPPROTO_TCP;

		if (t->action != OSH_ACTION_LEAVE) {
			cr_expect_eq(d.action, t->action, "%s", t->dst);
			continue;
		}
		cr_expect(d.action == OSH_ACTION_DENY && d.reason == OSH_KERNEL_OTHERS_LOOPBACK, "%s", t->dst);
		dial.host_net = 1; /* a policy may name it; TCP alone */
		cr_expect_eq(osh_decide_dial(&dial).action, tcp ? OSH_ACTION_JUDGE : OSH_ACTION_DENY, "%s", t->dst);
		dial.receiver = OSH_RECEIVER_NONE;
		cr_expect_eq(osh_decide_dial(&dial).action, tcp ? OSH_ACTION_JUDGE : OSH_ACTION_LEAVE, "%s", t->dst);
		dial.host_net = 0;
		cr_expect_eq(osh_decide_dial(&dial).action, tcp ? OSH_ACTION_NOBODY : OSH_ACTION_LEAVE, "%s", t->dst);
		dial.receiver = OSH_RECEIVER_OWN;
		cr_expect_eq(osh_decide_dial(&dial).action, OSH_ACTION_LEAVE, "%s", t->dst);
	}
}

Test(kernel_decide, flow)
{
	static const struct {
		struct osh_flow_facts facts;
		unsigned action, reason;
	} cases[] = {
		{ { 7, 0, 443, 0, 0, 0 }, OSH_ACTION_REDIRECT, 0 },
		{ { 7, 0, 80, 0, 0, 0 }, OSH_ACTION_REDIRECT, 0 },
		{ { 7, 0, 22, 0, 0, 0 }, OSH_ACTION_DENY, OSH_KERNEL_NOT_REACHABLE },
		{ { 7, 0, 22, 0, 1, 0 }, OSH_ACTION_REDIRECT, 0 },
		{ { 7, 0, 22, 1, 1, 0 }, OSH_ACTION_DENY, OSH_KERNEL_CACHED_DENIAL },
		{ { 7, 0, 443, 1, 0, 0 }, OSH_ACTION_DENY, OSH_KERNEL_CACHED_DENIAL },
		{ { 0, 0, 443, 0, 1, 0 }, OSH_ACTION_DENY, OSH_KERNEL_NO_IDENTITY },
		{ { 7, OSH_EXE_UNLINKED, 443, 0, 1, 0 }, OSH_ACTION_DENY, OSH_KERNEL_NO_IDENTITY },
		{ { 7, OSH_EXE_NO_PATH, 443, 0, 1, 0 }, OSH_ACTION_DENY, OSH_KERNEL_NO_IDENTITY },
		{ { 7, OSH_EXE_TOO_DEEP, 443, 0, 1, 0 }, OSH_ACTION_DENY, OSH_KERNEL_NO_IDENTITY },
		/* On the host's loopback what no policy names is not ours to answer for. */
		{ { 7, 0, 443, 0, 0, 1 }, OSH_ACTION_DENY, OSH_KERNEL_OTHERS_LOOPBACK },
		{ { 7, 0, 443, 0, 1, 1 }, OSH_ACTION_REDIRECT, 0 },
		{ { 7, 0, 22, 0, 0, 1 }, OSH_ACTION_DENY, OSH_KERNEL_OTHERS_LOOPBACK },
		/* How it was started is for the policy to judge. */
		{ { 7, OSH_EXE_INJECTED, 443, 0, 0, 0 }, OSH_ACTION_REDIRECT, 0 },
		{ { 7, OSH_EXE_LOADER, 443, 0, 0, 0 }, OSH_ACTION_REDIRECT, 0 },
		{ { 7, OSH_EXE_WRITABLE, 443, 0, 0, 0 }, OSH_ACTION_REDIRECT, 0 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct osh_decision d = osh_decide_flow(&cases[i].facts);

		cr_expect_eq(d.action, cases[i].action, "row %zu", i);
		if (cases[i].action == OSH_ACTION_DENY)
			cr_expect_eq(d.reason, cases[i].reason, "row %zu", i);
	}
}

Test(kernel_decide, gateway_keeps_the_form_dialled)
{
	static const struct {
		const char *dst, *gateway;
	} cases[] = {
		{ "203.0.113.10", "198.18.0.1" },
		{ "::ffff:203.0.113.10", "::ffff:198.18.0.1" },
		{ "2001:db8::10", "fd6f:7368::c612:1" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct osh_addr dst = addr_of(cases[i].dst), want = addr_of(cases[i].gateway), gateway;

		osh_addr_gateway_for(&dst, OSH_GATEWAY, &gateway);
		cr_expect_arr_eq(&gateway, &want, sizeof(want), "%s", cases[i].dst);
		cr_expect(osh_addr_is_gateway(&gateway));
	}
}

/* Every family, type and protocol: just these four may be made. */
Test(kernel_decide, socket)
{
	int allowed = 0;

	for (unsigned family = 0; family < 46; family++)
		for (unsigned type = 0; type <= 10; type++)
			for (unsigned protocol = 0; protocol <= 262; protocol++)
				allowed += osh_decide_socket(family, type, protocol);
	cr_expect_eq(allowed, 4);
	cr_expect(osh_decide_socket(AF_INET, SOCK_STREAM, IPPROTO_TCP));
	cr_expect(osh_decide_socket(AF_INET6, SOCK_STREAM, IPPROTO_TCP));
	cr_expect(osh_decide_socket(AF_INET, SOCK_DGRAM, IPPROTO_UDP));
	cr_expect(osh_decide_socket(AF_INET6, SOCK_DGRAM, IPPROTO_UDP));
}

/* What a seccomp filter would let through, and nothing else of all that there is. */
Test(kernel_decide, family)
{
	static const int internet[] = { AF_INET, AF_INET6 };
	unsigned allowed = 0;

	for (unsigned family = 0; family < 46; family++)
		for (unsigned type = 0; type <= 10; type++)
			for (unsigned protocol = 0; protocol <= 262; protocol++)
				allowed += osh_decide_family(family, type, protocol);
	/* Unix: every type, and the kernel takes protocol 0 alone. Two of IP, two types, three protocols. */
	cr_expect_eq(allowed, 11 * 263 + 2 * 2 * 3 + 11);
	for (size_t i = 0; i < 2; i++) {
		cr_expect(osh_decide_family(internet[i], SOCK_STREAM, 0));
		cr_expect(osh_decide_family(internet[i], SOCK_DGRAM, IPPROTO_UDP));
		cr_expect_not(osh_decide_family(internet[i], SOCK_RAW, IPPROTO_TCP));
		cr_expect_not(osh_decide_family(internet[i], SOCK_STREAM, 262), "MPTCP");
		cr_expect_not(osh_decide_family(internet[i], SOCK_DGRAM, IPPROTO_ICMP));
	}
	cr_expect(osh_decide_family(AF_NETLINK, SOCK_RAW, 0));
	cr_expect_not(osh_decide_family(AF_NETLINK, SOCK_RAW, 9), "audit");
	cr_expect_not(osh_decide_family(AF_PACKET, SOCK_RAW, 0));
}

Test(kernel_decide, bind)
{
	cr_expect_not(osh_decide_bind(OSH_REDIRECT_PORT));
	cr_expect_not(osh_decide_bind(OSH_DNS_PORT));
	cr_expect(osh_decide_bind(0));
	cr_expect(osh_decide_bind(8000));
}

Test(kernel_decide, unix_dial)
{
	static const struct {
		struct osh_unix_dial dial;
		unsigned reason; /* 0: looked up further */
	} cases[] = {
		{ { .sandbox_known = 1, .own_netns = 1 }, 0 },
		{ { .sandbox_known = 1, .own_netns = 0 }, OSH_KERNEL_WRONG_NETNS },
		{ { .sandbox_known = 0, .own_netns = 1 }, OSH_KERNEL_NO_SANDBOX },
		/* Who dumps core goes nowhere, not even within its own network; it is told as that. */
		{ { .sandbox_known = 1, .own_netns = 1, .dumping = 1 }, OSH_KERNEL_CORE_DUMP },
		{ { .sandbox_known = 1, .own_netns = 0, .dumping = 1 }, OSH_KERNEL_CORE_DUMP },
		{ { .sandbox_known = 0, .own_netns = 1, .dumping = 1 }, OSH_KERNEL_NO_SANDBOX },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		cr_expect_eq(osh_decide_unix(&cases[i].dial), cases[i].reason, "row %zu", i);
}

Test(kernel_decide, packet)
{
	static const struct {
		const char *dst;
		unsigned ifindex, version, words, protocol;
		int pass;
	} cases[] = {
		{ "127.0.0.1", 1, 4, 5, IPPROTO_TCP, 1 },
		{ "127.0.0.1", 2, 4, 5, IPPROTO_TCP, 0 },
		{ "198.18.0.1", 1, 4, 5, IPPROTO_TCP, 1 },
		{ "198.18.0.1", 2, 4, 5, IPPROTO_TCP, 0 },
		{ "198.18.0.1", 1, 4, 5, IPPROTO_UDP, 1 },
		{ "198.18.0.1", 1, 4, 5, IPPROTO_UDPLITE, 0 },
		{ "198.18.0.1", 1, 4, 5, IPPROTO_RAW, 0 },
		{ "198.18.0.1", 1, 4, 5, IPPROTO_ICMP, 1 },
		{ "198.18.0.1", 1, 4, 5, IPPROTO_ICMPV6, 0 },
		{ "198.18.0.1", 1, 4, 7, IPPROTO_TCP, 0 },   /* IP options: LSRR */
		{ "203.0.113.10", 1, 4, 5, IPPROTO_TCP, 0 },
		{ "224.0.0.251", 1, 4, 5, IPPROTO_UDP, 0 },
		{ "::1", 1, 6, 0, IPPROTO_TCP, 1 },
		{ "::1", 1, 6, 0, IPPROTO_ROUTING, 0 },      /* IPV6_RTHDR */
		{ "::1", 1, 6, 0, IPPROTO_HOPOPTS, 0 },
		{ "::1", 1, 6, 0, IPPROTO_DSTOPTS, 0 },
		{ "::1", 1, 6, 0, IPPROTO_FRAGMENT, 1 },
		{ "::1", 1, 6, 0, IPPROTO_ICMPV6, 1 },
		{ "::1", 1, 6, 0, IPPROTO_IPIP, 0 },
		{ "fd6f:7368::c612:1", 1, 6, 0, IPPROTO_TCP, 1 },
		{ "fd6f:7368::c612:10", 1, 6, 0, IPPROTO_TCP, 0 },
		{ "2001:db8::10", 1, 6, 0, IPPROTO_TCP, 0 },
		{ "ff02::fb", 1, 6, 0, IPPROTO_UDP, 0 },
		{ "127.0.0.1", 1, 0, 5, IPPROTO_TCP, 0 },    /* not IP at all */
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct osh_packet packet = {
			.dst = addr_of(cases[i].dst),
			.ifindex = cases[i].ifindex,
			.version = (__u8)cases[i].version,
			.header_words = (__u8)cases[i].words,
			.protocol = (__u8)cases[i].protocol,
		};

		cr_expect_eq(osh_decide_packet(&packet), cases[i].pass, "row %zu: %s", i, cases[i].dst);
	}
}

/* Of hop-by-hop headers only a lone jumbo length before TCP passes. */
Test(kernel_decide, jumbo)
{
	static const struct {
		__u8 header[8];
		__u8 protocol;
	} cases[] = {
		{ { IPPROTO_TCP, 0, 0xc2, 4, 0, 1, 0, 0 }, IPPROTO_TCP },
		{ { IPPROTO_UDP, 0, 0xc2, 4, 0, 1, 0, 0 }, IPPROTO_HOPOPTS },
		{ { IPPROTO_ROUTING, 0, 0xc2, 4, 0, 1, 0, 0 }, IPPROTO_HOPOPTS },
		{ { IPPROTO_TCP, 1, 0xc2, 4, 0, 1, 0, 0 }, IPPROTO_HOPOPTS },
		{ { IPPROTO_TCP, 0, 0x05, 4, 0, 1, 0, 0 }, IPPROTO_HOPOPTS }, /* router alert */
		{ { IPPROTO_TCP, 0, 0xc2, 3, 0, 1, 0, 0 }, IPPROTO_HOPOPTS },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		cr_expect_eq(osh_protocol_behind_jumbo(cases[i].header), cases[i].protocol, "row %zu", i);
}

/* ---- bpf/inject.h ----------------------------------------------------------------- */

/* As the exec hook reads a variable that fits into one piece. */
static int is_harmful(const char *variable)
{
	char text[OSH_ENV_TEXT_MAX + OSH_ENV_SLACK] = "";
	struct osh_env_scan scan = { 0 };
	unsigned value;

	cr_assert_lt(strlen(variable), OSH_ENV_TEXT_MAX);
	memcpy(text, variable, strlen(variable));
	scan.kind = osh_env_kind(text, &value);
	if (scan.kind == OSH_ENV_HARMLESS || text[value] == '\0')
		return 0;
	if (scan.kind == OSH_ENV_ANY)
		return 1;
	while (!osh_env_step(&scan, &text[value]))
		value++;
	return scan.harmful != 0;
}

Test(kernel_decide, environment)
{
	static const char *const harmful[] = {
		"LD_PRELOAD=/tmp/x.so", "LD_PRELOAD=x.so", "LD_PRELOAD=/usr/lib/a.so:/tmp/x.so",
		"LD_PRELOAD=/usr/lib/a.so /tmp/x.so", "LD_AUDIT=/sandbox/a.so", "LD_LIBRARY_PATH=/tmp",
		"LD_LIBRARY_PATH=:/usr/lib/x", "LD_LIBRARY_PATH=/usr/lib/x::/lib/y",
		"LD_LIBRARY_PATH=/usr/../tmp", "LD_LIBRARY_PATH=/usr/lib/$ORIGIN", "LD_LIBRARY_PATH=.",
		"LD_LIBRARY_PATH=/usr/lib/x;/tmp", "LD_LIBRARY_PATH=/usrlocal/lib", "LD_LIBRARY_PATH=/usr",
		"NODE_OPTIONS=--require /tmp/x.js", "NODE_OPTIONS=--require=/tmp/x.js", "NODE_OPTIONS=-r x",
		"NODE_OPTIONS=--import x", "NODE_OPTIONS=--experimental_loader x",
		"NODE_OPTIONS=--max-old-space-size=512 --require x",
		"NODE_OPTIONS=--max-old-space-size=512\t--require x",
		"NODE_OPTIONS=\"--require\" x", "NODE_PATH=/sandbox/lib", "BUN_OPTIONS=--preload x",
		"PYTHONPATH=/sandbox", "PYTHONHOME=/tmp/x", "PYTHONPYCACHEPREFIX=/tmp/x",
		"PYTHONUSERBASE=/tmp", "PYTHONSTARTUP=/tmp/x", "PERL5OPT=-Mx", "PERL5LIB=/tmp", "PERLLIB=/tmp",
		"PERL5DB=BEGIN{}", "RUBYOPT=-r/tmp/x", "RUBYLIB=/tmp", "JAVA_TOOL_OPTIONS=-javaagent:/tmp/x.jar",
		"JAVA_TOOL_OPTIONS=-Xbootclasspath/a:/tmp/x", "JDK_JAVA_OPTIONS=@/tmp/x",
		"_JAVA_OPTIONS=-XX:OnError=x", "CLASSPATH=/tmp/x.jar", "DOTNET_STARTUP_HOOKS=/tmp/x.dll",
		"CORECLR_PROFILER_PATH=/tmp/x.so", "PHPRC=/tmp", "PHP_INI_SCAN_DIR=/tmp", "LUA_INIT=x()",
		"LUA_PATH=./?.lua;;", "LUA_CPATH=/tmp/?.so", "BASH_ENV=/tmp/x", "BASH_FUNC_ls%%=() { x; }",
		"ENV=/tmp/x", "GIT_SSH_COMMAND=/tmp/x", "GIT_SSH=/tmp/x", "GIT_PROXY_COMMAND=/tmp/x",
		"GIT_EXTERNAL_DIFF=/tmp/x", "GIT_EXEC_PATH=/tmp", "GCONV_PATH=/tmp", "OPENSSL_CONF=/tmp/x",
		"OPENSSL_MODULES=/tmp", "OPENSSL_ENGINES=/tmp",
	};
	static const char *const harmless[] = {
		"", "A", "=", "PATH=/tmp", "HOME=/sandbox", "LD_PRELOAD", "LD_PRELOAD=", "LD_PRELOADED=/tmp/x",
		"XLD_PRELOAD=/tmp/x", "ld_preload=/tmp/x", "LD_BIND_NOW=1", "LD_PRELOAD=/usr/lib/a.so",
		"LD_PRELOAD=/usr/lib/a.so:/lib/b.so", "LD_LIBRARY_PATH=/usr/lib/x:/lib64/y:/opt/z",
		"NODE_OPTIONS=--max-old-space-size=512", "NODE_OPTIONS=--no-warnings --use-openssl-ca",
		"NODE_EXTRA_CA_CERTS=/tmp/x", "NODE_ENV=test", "PYTHONUNBUFFERED=1", "PYTHONPATH=/usr/lib/python3",
		"PYTHONSTARTUP=", "JAVA_TOOL_OPTIONS=-Xmx512m -Xss1m", "RUBYOPT=-W0", "BASH_ENV=/etc/profile",
		"ENVIRONMENT=/tmp/x", "GIT_SSH=/usr/bin/ssh", "GIT_SSL_CAINFO=/run/openshell/ca.pem",
		"GIT_CONFIG_COUNT=1", "GIT_SSH_COMMAND=",
	};

	for (size_t i = 0; i < sizeof(harmful) / sizeof(harmful[0]); i++)
		cr_expect(is_harmful(harmful[i]), "%s", harmful[i]);
	for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
		cr_expect(!is_harmful(harmless[i]), "%s", harmless[i]);
}

Test(kernel_decide, who_may_write_a_file)
{
	static const struct osh_writer somebody = { .uid = 1000, .euid = 1000, .suid = 1000 },
				       root = { .uid = 0, .euid = 0, .suid = 0 };

	cr_expect(osh_may_write(&root, 1000, 0555), "root may write everything");
	cr_expect(osh_may_write(&somebody, 1000, 0555), "the owner may change the mode");
	cr_expect(osh_may_write(&somebody, 0, 0757));
	cr_expect(osh_may_write(&somebody, 0, 0775), "its group, or an ACL");
	cr_expect_not(osh_may_write(&somebody, 0, 0755));
}

Test(kernel_decide, who_writes_as_root)
{
	static const unsigned rights[] = { CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_SETUID, CAP_SETFCAP, CAP_SYS_ADMIN };
	static const struct osh_writer were[] = {
		{ .uid = 0, .euid = 1000, .suid = 1000 },
		{ .uid = 1000, .euid = 0, .suid = 1000 },
		{ .uid = 1000, .euid = 1000, .suid = 0 },
	};
	struct osh_writer somebody = { .uid = 1000, .euid = 1000, .suid = 1000 };

	for (size_t i = 0; i < sizeof(were) / sizeof(were[0]); i++)
		cr_expect(osh_writes_as_root(&were[i]), "row %zu", i);
	for (size_t i = 0; i < sizeof(rights) / sizeof(rights[0]); i++) {
		somebody.permitted = 1ull << rights[i];
		cr_expect(osh_writes_as_root(&somebody), "with %u", rights[i]);
	}
	somebody.permitted = 1ull << CAP_NET_BIND_SERVICE | 1ull << CAP_KILL;
	cr_expect_not(osh_writes_as_root(&somebody));
	somebody.permitted = 0;
	cr_expect_not(osh_writes_as_root(&somebody));
}
