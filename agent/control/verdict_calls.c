/* Verdicts leave as descriptors: readers look for themselves. */
#include <errno.h>
#include <string.h>

#include "control/agent.h"
#include "control/call.h"
#include "control/client.h"
#include "control/recorder.h"

static void get_ring(struct osh_call *call)
{
	int fd;

	if (!osh_call_unpack(call, ""))
		return;
	fd = osh_recorder_ring_fd(call->agent->recorder, call->client->peer.uid);
	if (fd < 0) {
		osh_call_error(call, "Failed", "cannot open the verdict ring: %s", strerror(-fd));
		return;
	}
	osh_call_reply(call, json_object(), &fd, 1);
	osh_close(fd);
}

static void get_history(struct osh_call *call)
{
	int fds[OSH_FDS_MAX];
	int count;

	if (!osh_call_unpack(call, ""))
		return;
	/* The journal holds everybody's: users beside root have what their ring remembers. */
	count = call->client->peer.uid != 0 ?
			0 : osh_recorder_history_fds(call->agent->recorder, fds, OSH_COUNT_OF(fds));
	if (count < 0) {
		osh_call_error(call, "Failed", "cannot open the journal: %s", strerror(-count));
		return;
	}
	osh_call_reply(call, json_object(), fds, (size_t)count);
	for (int i = 0; i < count; i++)
		osh_close(fds[i]);
}

const struct osh_method osh_verdict_methods[] = {
	{ "VerdictRing", get_ring },
	{ "VerdictHistory", get_history },
	{ 0 },
};
