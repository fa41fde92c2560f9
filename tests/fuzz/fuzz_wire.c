/* What a peer sends on the control socket: in pieces of any size, then parsed. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "control/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void take_all(struct osh_wire *wire)
{
	struct osh_wire_message message;

	while (osh_wire_take(wire, &message) == 1) {
		if (!json_is_object(message.json) || message.fd_count > OSH_FDS_MAX)
			abort();
		osh_wire_message_done(&message);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct osh_wire wire;
	size_t piece = size ? 1 + data[0] : 1;
	int with_fd = size && (data[0] & 1);
	int zero = 0;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return 0;
	osh_wire_init(&wire, pair[0]);
	for (size_t at = 0; at < size; at += piece) {
		size_t len = size - at < piece ? size - at : piece;

		if (osh_send_fds(pair[1], data + at, len, &zero, with_fd) < 0 ||
		    osh_wire_fill(&wire) < 0)
			break;
		take_all(&wire);
	}
	if (wire.in_fd_count > OSH_FDS_MAX || wire.in.room > OSH_WIRE_BYTES_MAX)
		abort();
	osh_wire_done(&wire);
	osh_close(pair[1]);
	return 0;
}
