#include "base/inet.h"

#include <string.h>
#include <sys/socket.h>

struct in6_addr osh_inet_map(struct in_addr v4)
{
	struct in6_addr mapped = { .s6_addr = { [10] = 0xff, [11] = 0xff } };

	memcpy(&mapped.s6_addr[12], &v4, sizeof(v4));
	return mapped;
}

bool osh_inet_of(const struct sockaddr *name, struct in6_addr *ret_address)
{
	if (name->sa_family == AF_INET)
		*ret_address = osh_inet_map(((const struct sockaddr_in *)(const void *)name)->sin_addr);
	else if (name->sa_family == AF_INET6)
		*ret_address = ((const struct sockaddr_in6 *)(const void *)name)->sin6_addr;
	return name->sa_family == AF_INET || name->sa_family == AF_INET6;
}

bool osh_inet_is(const struct sockaddr *name, const struct in6_addr *address)
{
	struct in6_addr own;

	return osh_inet_of(name, &own) && IN6_ARE_ADDR_EQUAL(&own, address);
}

void osh_inet_leave(int fd, const struct in6_addr *address)
{
	const struct sockaddr nowhere = { .sa_family = AF_UNSPEC };
	struct sockaddr_storage name;
	socklen_t len = sizeof(name);

	if (getsockname(fd, (struct sockaddr *)&name, &len) == 0 && osh_inet_is((struct sockaddr *)&name, address))
		(void)connect(fd, &nowhere, sizeof(nowhere)); /* connect(2): dissolves it */
}
