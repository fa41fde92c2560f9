/* Addresses and prefixes; IPv4 is IPv4-mapped, so one comparison serves both. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "policy/document.h"

static int parse_address(struct osh_str text, struct in6_addr *ret_addr, unsigned *ret_max)
{
	char buf[INET6_ADDRSTRLEN];
	struct in6_addr addr = { 0 };

	if (osh_str_copy(text, buf, sizeof(buf)) < 0)
		return -EINVAL;
	*ret_max = 32;
	addr.s6_addr[10] = addr.s6_addr[11] = 0xff;
	if (inet_pton(AF_INET, buf, &addr.s6_addr[12]) != 1) {
		*ret_max = 128;
		if (inet_pton(AF_INET6, buf, &addr) != 1)
			return -EINVAL;
	}
	*ret_addr = addr;
	return 0;
}

int osh_cidr_parse(struct osh_str text, struct osh_cidr *ret_cidr)
{
	const char *slash = osh_str_chr(text, '/');
	struct osh_str host = slash ? osh_str_n(text.data, (size_t)(slash - text.data)) : text;
	struct osh_cidr cidr = { 0 };
	uint64_t bits;
	unsigned max;

	if (parse_address(host, &cidr.addr, &max) < 0)
		return -EINVAL;
	bits = max;
	if (slash &&
	    osh_str_parse_u64(osh_str_n(slash + 1, text.len - host.len - 1), max, &bits) < 0)
		return -EINVAL;
	cidr.bits = (unsigned)bits + 128 - max;
	*ret_cidr = cidr;
	return 0;
}

bool osh_cidr_holds(const struct osh_cidr *cidr, const struct in6_addr *addr)
{
	unsigned bytes = cidr->bits / 8, rest = cidr->bits % 8;

	if (memcmp(&cidr->addr, addr, bytes) != 0)
		return false;
	return rest == 0 || ((cidr->addr.s6_addr[bytes] ^ addr->s6_addr[bytes]) >> (8 - rest)) == 0;
}
