/* What somebody else's program below an attached cgroup does: a service's address becomes that of a
 * server, as load balancers do, and the server's becomes that of a trap. It lets all else pass. */
#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define SERVICE 0x0a600001 /* 10.96.0.1 */
#define SERVER 0xcb00710a  /* 203.0.113.10 */
#define TRAP 0xcb007142    /* 203.0.113.66 */

char LICENSE[] SEC("license") = "GPL";

SEC("cgroup/connect4")
int rewrite(struct bpf_sock_addr *ctx)
{
	if (ctx->user_ip4 == bpf_htonl(SERVER))
		ctx->user_ip4 = bpf_htonl(TRAP);
	else if (ctx->user_ip4 == bpf_htonl(SERVICE))
		ctx->user_ip4 = bpf_htonl(SERVER);
	return 1;
}
