/* The agent's sockets inside a sandbox's network namespace: made by the sandbox
 * folder, used by the proxy folder; the one thing that both know. */
#ifndef OPENSHELL_SOCKETS_H
#define OPENSHELL_SOCKETS_H

struct osh_sandbox_sockets {
	int tcp4, tcp6;         /* listening on gateway:OSH_REDIRECT_PORT */
	int dns_udp4, dns_udp6; /* bound to gateway:OSH_DNS_PORT */
	int dns_tcp4, dns_tcp6; /* listening on gateway:OSH_DNS_PORT */
};
#define OSH_SANDBOX_SOCKETS_COUNT 6

#endif
