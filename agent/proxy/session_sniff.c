/* The first bytes of a flow: which protocol they are, and whether TLS names the host that was
 * dialled. They are looked at in the socket; who speaks the protocol reads them there. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/knockout.h"
#include "proxy/farewell.h"
#include "proxy/hello.h"
#include "proxy/http2_server.h"
#include "proxy/relay.h"
#include "proxy/rewrite.h"
#include "proxy/session_decide.h"
#include "proxy/session_step.h"
#include "proxy/tls.h"

enum sniffed { SNIFF_MORE, SNIFF_TLS, SNIFF_PLAIN, SNIFF_FOREIGN, SNIFF_EMPTY, SNIFF_BAD };

/* Plain, or of a protocol that has words of its own for a refusal? */
static enum sniffed sniff_plain(struct osh_str bytes)
{
	switch (osh_tongue_of(bytes)) {
	case OSH_TONGUE_SSH:
	case OSH_TONGUE_POSTGRES:
	case OSH_TONGUE_POSTGRES_ASKS:
		return SNIFF_FOREIGN;
	case OSH_TONGUE_UNKNOWN:
	case OSH_TONGUE_MORE:
	case OSH_TONGUE_TLS:
		break;
	}
	return SNIFF_PLAIN;
}

/* Look at the first bytes without taking them: OpenSSL or the relay will read them
 * from the socket. */
static enum sniffed sniff(struct osh_session *s, char name[OSH_HOST_MAX])
{
	char bytes[OSH_HELLO_BYTES_MAX];
	struct osh_hello hello;
	int low_water;
	ssize_t n;

	name[0] = '\0';
	if (!s->conn.readable)
		return SNIFF_MORE; /* stepped for another reason */
	n = recv(s->conn.io.fd, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		s->conn.readable = false;
		return SNIFF_MORE;
	}
	if (n <= 0)
		return SNIFF_EMPTY;
	if ((size_t)n == s->sniffed)
		return SNIFF_BAD; /* ended in the middle: the low-water mark was not reached */
	if (bytes[0] != OSH_HELLO_FIRST_BYTE)
		return sniff_plain(osh_str_n(bytes, (size_t)n));
	switch (osh_hello_parse(osh_str_n(bytes, (size_t)n), &hello)) {
	case OSH_HELLO_DONE:
		return osh_str_copy(hello.sni, name, OSH_HOST_MAX) == 0 ? SNIFF_TLS : SNIFF_BAD;
	case OSH_HELLO_BAD:
		return SNIFF_BAD;
	case OSH_HELLO_NEED_MORE:
		break;
	}
	/* Sleep until there is more than what was looked at. */
	s->sniffed = (size_t)n;
	s->conn.readable = false;
	low_water = (int)n + 1;
	(void)setsockopt(s->conn.io.fd, SOL_SOCKET, SO_RCVLOWAT, &low_water, sizeof(low_water));
	return SNIFF_MORE;
}

static void stop_sniffing(struct osh_session *s)
{
	int low_water = 1;

	if (s->sniffed)
		(void)setsockopt(s->conn.io.fd, SOL_SOCKET, SO_RCVLOWAT, &low_water, sizeof(low_water));
	s->conn.hold_read = false;
	s->conn.readable = true;
}

/* A fatal alert before any handshake (RFC 8446 6.2), then the end. */
static void end_with_alert(struct osh_session *s, unsigned char description)
{
	const unsigned char alert[] = { 21, 3, 1, 0, 2, 2, description };
	char waste[OSH_HELLO_BYTES_MAX];

	/* Unread bytes would turn the close into a reset and the alert would be lost. */
	while (recv(s->conn.io.fd, waste, sizeof(waste), MSG_DONTWAIT) > 0)
		;
	(void)!send(s->conn.io.fd, alert, sizeof(alert), MSG_NOSIGNAL | MSG_DONTWAIT);
	osh_session_end(s, false);
}

#define ALERT_ACCESS_DENIED 49
#define ALERT_DECODE_ERROR 50
#define ALERT_INTERNAL_ERROR 80
#define ALERT_UNRECOGNIZED_NAME 112

static bool sni_matches(struct osh_session *s, const char *sni)
{
	struct osh_host named;

	return osh_layer_off("sni") || !*sni || (osh_host_parse(osh_str(sni), &named) == 0 &&
			 strcmp(named.text, s->host.text) == 0);
}

static void refuse_sni(struct osh_session *s, const char *sni)
{
	char reason[OSH_HOST_MAX + 300];

	snprintf(reason, sizeof(reason), "TLS server name %.255s is not the host dialled (%.255s)", sni,
		 s->host.text);
	osh_session_record(s, OSH_ENGINE_TLS, OSH_VERDICT_DENY, reason);
	end_with_alert(s, ALERT_UNRECOGNIZED_NAME);
}

static void start_handshake(struct osh_session *s, const char *sni)
{
	struct osh_host named;
	const char *as = s->host.text;
	SSL *ssl;

	/* An explanation is given under the name that the client expects. */
	if (s->denied && osh_host_parse(osh_str(sni), &named) == 0)
		as = named.text;
	ssl = osh_tls_accept_new(s->view, as, s->denied);
	if (!ssl || osh_conn_start_tls(&s->conn, ssl) < 0) {
		end_with_alert(s, ALERT_INTERNAL_ERROR);
		return;
	}
	s->tls = true;
	osh_session_set_state(s, OSH_SESSION_HANDSHAKE);
}

static void start_http(struct osh_session *s)
{
	if (s->tls && osh_tls_speaks_http2(s->conn.ssl)) {
		if (osh_http2_begin(s) < 0)
			osh_session_end(s, true);
		return;
	}
	s->conn.want_read = true;
	osh_session_set_state(s, OSH_SESSION_HTTP);
}

static void record_bad_start(struct osh_session *s)
{
	if (!s->denied)
		osh_session_record(s, OSH_ENGINE_TLS, OSH_VERDICT_DENY, "malformed TLS ClientHello");
}

/* Neither TLS nor HTTP, where a policy inspects requests or a denial is explained. */
static void refuse_foreign(struct osh_session *s)
{
	static const char reason[] = "this endpoint is inspected: HTTP alone may be spoken to it";

	if (!s->denied)
		osh_session_record(s, OSH_ENGINE_HTTP, OSH_VERDICT_DENY, reason);
	osh_session_take_leave(s, s->denied ? s->decision.reason : reason);
}

bool osh_session_step_sniff(struct osh_session *s)
{
	char sni[OSH_HOST_MAX];

	switch (sniff(s, sni)) {
	case SNIFF_MORE:
		return false;
	case SNIFF_EMPTY: /* it asked for nothing */
		osh_session_end(s, false);
		return false;
	case SNIFF_BAD:
		record_bad_start(s);
		end_with_alert(s, ALERT_DECODE_ERROR);
		return false;
	case SNIFF_PLAIN:
		stop_sniffing(s);
		start_http(s);
		return true;
	case SNIFF_FOREIGN:
		stop_sniffing(s);
		refuse_foreign(s);
		return true;
	case SNIFF_TLS:
		if (!s->denied && !sni_matches(s, sni)) {
			refuse_sni(s, sni);
			return false;
		}
		stop_sniffing(s);
		start_handshake(s, sni);
		return !s->reap.queued;
	}
	return false;
}

bool osh_session_step_relay(struct osh_session *s)
{
	bool let_go = false;
	char sni[OSH_HOST_MAX];

	if (s->conn.hold_read) {
		switch (sniff(s, sni)) {
		case SNIFF_MORE:
			break;
		case SNIFF_BAD:
			record_bad_start(s);
			osh_session_end(s, true);
			return false;
		case SNIFF_TLS:
			if (!sni_matches(s, sni)) {
				refuse_sni(s, sni);
				return false;
			}
			if (osh_session_guards_credential(s)) {
				osh_session_record(s, OSH_ENGINE_CREDENTIAL, OSH_VERDICT_DENY,
					       osh_credential_opaque.reason);
				end_with_alert(s, ALERT_ACCESS_DENIED);
				return false;
			}
			let_go = true;
			break;
		case SNIFF_PLAIN:
		case SNIFF_FOREIGN:
		case SNIFF_EMPTY:
			let_go = true;
			break;
		}
	}
	if (let_go)
		stop_sniffing(s);
	/* What was held can be read only now: step again for it. */
	return osh_relay_step(s) || (let_go && !s->reap.queued);
}

static void record_failed_handshake(struct osh_session *s)
{
	char why[256], reason[400];

	if (s->denied)
		return; /* it has its verdict */
	osh_tls_failure(&s->conn, why, sizeof(why));
	if (osh_tls_distrusted(&s->conn))
		snprintf(reason, sizeof(reason),
			 "the program does not accept the sandbox's authority (%s): if it trusts only a certificate "
			 "of its own, give this endpoint tls: skip", why);
	else
		snprintf(reason, sizeof(reason), "the TLS handshake with the program failed: %s", why);
	osh_session_record(s, OSH_ENGINE_TLS, OSH_VERDICT_DENY, reason);
}

bool osh_session_step_handshake(struct osh_session *s)
{
	if (s->conn.state == OSH_CONN_HANDSHAKE)
		return false;
	if (s->conn.state == OSH_CONN_FAILED) {
		record_failed_handshake(s);
		osh_session_end(s, false);
		return false;
	}
	start_http(s);
	return !s->reap.queued;
}
