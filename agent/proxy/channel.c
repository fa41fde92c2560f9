#include "proxy/channel.h"

#include <errno.h>

int osh_channel_send(int sock, const struct osh_channel_message *message, const int *fds,
		     size_t fd_count)
{
	return osh_send_fds(sock, message, sizeof(*message), fds, fd_count);
}

int osh_channel_recv(int sock, struct osh_channel_message *message, int fds[static OSH_FDS_MAX],
		     size_t *ret_fd_count)
{
	size_t len;
	int r = osh_recv_fds(sock, message, sizeof(*message), &len, fds, OSH_FDS_MAX, ret_fd_count);

	if (r < 0)
		return r;
	if (len == 0)
		return -ECONNRESET;
	if (len != sizeof(*message) || message->type == 0 || message->type >= OSH_CHANNEL_TYPE_COUNT) {
		for (size_t i = 0; i < *ret_fd_count; i++)
			osh_close(fds[i]);
		return -EBADMSG;
	}
	message->name[sizeof(message->name) - 1] = '\0';
	message->dns_servers[sizeof(message->dns_servers) - 1] = '\0';
	return 0;
}
