/* A flow that is denied where no HTTP answer is understood: what it says first tells in which
 * language to refuse it. */
#include <stdio.h>
#include <string.h>

#include "proxy/farewell.h"
#include "proxy/session_step.h"

void osh_session_take_leave(struct osh_session *s, const char *reason)
{
	char copy[sizeof(s->decision.reason)];

	/* It may live in what is let go here. */
	snprintf(copy, sizeof(copy), "%s", reason);
	memcpy(s->decision.reason, copy, sizeof(copy));
	osh_upstream_free(s->upstream);
	s->upstream = NULL;
	s->denied = true;
	s->conn.want_read = true;
	s->conn.hold_read = false;
	s->conn.readable = true;
	osh_session_set_state(s, OSH_SESSION_FAREWELL);
}

/* There is no encryption to be had: it starts up without, or goes. */
static bool decline_encryption(struct osh_session *s)
{
	if (osh_farewell_write(OSH_TONGUE_POSTGRES_ASKS, "", &s->conn.out) < 0) {
		osh_session_end(s, true);
		return false;
	}
	osh_buf_consume(&s->conn.in, OSH_POSTGRES_REQUEST_BYTES);
	return true;
}

bool osh_session_step_farewell(struct osh_session *s)
{
	enum osh_tongue tongue = osh_tongue_of(osh_buf_str(&s->conn.in));

	if (s->conn.state == OSH_CONN_FAILED) {
		osh_session_end(s, true);
		return false;
	}
	switch (tongue) {
	case OSH_TONGUE_MORE:
		if (s->conn.eof)
			osh_session_end(s, true);
		return false;
	case OSH_TONGUE_POSTGRES_ASKS:
		return decline_encryption(s);
	case OSH_TONGUE_UNKNOWN:
	case OSH_TONGUE_TLS:
	case OSH_TONGUE_SSH:
	case OSH_TONGUE_POSTGRES:
		break;
	}
	if (osh_farewell_write(tongue, s->decision.reason, &s->conn.out) < 0) {
		osh_session_end(s, true);
		return false;
	}
	s->conn.finish = true;
	osh_session_set_state(s, OSH_SESSION_CLOSING);
	return true;
}
