#include "proxy/http2_client.h"

#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

#include "base/secret.h"
#include "proxy/upstream_pool.h"

#define WINDOW (256u << 10) /* per stream; servers are far away */
#define WINDOW_MAX (4u << 20)
#define HEAD_MAX (OSH_HTTP_RESPONSE_HEAD_MAX - 1024)
#define STEPS_MAX 64

/* ---- A request ------------------------------------------------------------------------ */

static int submit_request(struct osh_http2_stream *st, const struct osh_http_head *head)
{
	nghttp2_data_provider body = osh_http2_body_of(st);
	struct osh_http2_fields fields;
	bool over;

	st->is_head = osh_str_eq_c(head->method, "HEAD");
	osh_http_body_done(&st->body_out);
	osh_http_body_init(&st->body_out, head->framing, head->length);
	over = osh_http_body_is_over(&st->body_out);
	osh_http2_request_fields(head, st->conn->out.secret, &fields);
	return nghttp2_submit_request(st->mux->session, NULL, fields.items, fields.count,
				      over ? NULL : &body, st);
}

static enum osh_http_result send_head(struct osh_http2_stream *st)
{
	struct osh_buf *out = &st->conn->out;
	struct osh_http_head head;
	struct osh_http_error error;
	enum osh_http_result result;

	st->scan.is_own = true;
	result = osh_http_parse_request(osh_buf_str(out), &st->scan, &head, &error);
	if (result != OSH_HTTP_DONE)
		return result;
	st->mux->conn->out.secret |= out->secret; /* the frames will hold it, too */
	st->id = submit_request(st, &head);
	if (st->id < 0) {
		st->id = 0;
		st->conn->error = EAGAIN; /* no stream left on this connection */
		return OSH_HTTP_BAD;
	}
	st->head_out = true;
	if (out->secret)
		osh_wipe(osh_buf_bytes(out), head.len);
	osh_buf_consume(out, head.len);
	return OSH_HTTP_DONE;
}

/* ---- Its answer ------------------------------------------------------------------------- */

static int take_head(struct osh_http2_stream *st, bool ended)
{
	const struct osh_http2_block *block = &st->mux->block;
	bool interim = osh_str_has_prefix(osh_http2_block_pseudo(block, OSH_HTTP2_STATUS), "1");

	st->head_in = !interim;
	if (!st->conn)
		return 0;
	osh_http2_set_ready(st);
	return osh_http2_write_response(&st->conn->in, block, ended, st->is_head, &st->framing_in);
}

/* ---- The connection ------------------------------------------------------------------------ */

static void reap(struct osh_deferred *deferred)
{
	free(osh_container_of(deferred, struct osh_http2_client, reap));
}

void osh_http2_client_end(struct osh_http2_client *client)
{
	if (client->reap.queued)
		return;
	client->reap.run = reap;
	osh_loop_defer(client->worker->loop, &client->reap);
	osh_upstream_pool_withdraw(client->worker->pool, client);
	DL_DELETE2(client->worker->http2_clients, client, older, newer);
	osh_loop_timer_cancel(client->worker->loop, &client->idle);
	osh_http2_drop(client->mux);
	osh_conn_close(&client->conn);
}

static bool is_useless(const struct osh_http2_client *client, bool moved)
{
	const struct osh_http2 *mux = client->mux;

	if (client->conn.state == OSH_CONN_FAILED || mux->failed || (client->conn.eof && !moved))
		return true;
	return !moved && (osh_http2_is_over(mux) || (!client->shelf && !mux->stream_count));
}

/* Kept for a while when nobody uses it. */
static void watch_idleness(struct osh_http2_client *client)
{
	if (client->mux->stream_count)
		osh_loop_timer_cancel(client->worker->loop, &client->idle);
	else if (!client->idle.slot)
		(void)osh_loop_timer_set(client->worker->loop, &client->idle, osh_upstream_idle.timeout_ms);
}

static void step(struct osh_http2_client *client)
{
	unsigned steps = 0;
	bool moved;

	do {
		osh_conn_pump(&client->conn);
		moved = osh_http2_run(client->mux);
		if (is_useless(client, moved)) {
			osh_conn_pump(&client->conn); /* a GOAWAY may still leave */
			osh_http2_client_end(client);
			return;
		}
	} while (moved && ++steps < STEPS_MAX);
	if (moved)
		osh_http2_schedule(client->mux);
	osh_conn_pump(&client->conn);
	osh_conn_update(&client->conn);
	watch_idleness(client);
}

static void on_conn_event(struct osh_conn *conn)
{
	step(osh_container_of(conn, struct osh_http2_client, conn));
}

static void on_work(struct osh_http2 *mux)
{
	step(mux->owner);
}

static void on_idle(struct osh_timer *timer)
{
	struct osh_http2_client *client = osh_container_of(timer, struct osh_http2_client, idle);

	osh_http2_terminate(client->mux, NGHTTP2_NO_ERROR);
	step(client);
}

/* Requests that it has not looked at fail with EAGAIN; the others go on. */
static void on_goaway(struct osh_http2 *mux)
{
	struct osh_http2_client *client = mux->owner;

	osh_upstream_pool_withdraw(client->worker->pool, client);
}

static const struct osh_http2_role role = {
	.window = WINDOW,
	.window_max = WINDOW_MAX,
	.head_max = HEAD_MAX,
	.take_head = take_head,
	.send_head = send_head,
	.on_goaway = on_goaway,
	.on_work = on_work,
};

struct osh_http2_client *osh_http2_client_new(struct osh_worker *worker, struct osh_conn *conn)
{
	struct osh_http2_client *client = calloc(1, sizeof(*client));

	if (!client)
		return NULL;
	client->worker = worker;
	client->idle.on_expire = on_idle;
	client->mux = osh_http2_new(&role, client, conn);
	if (!client->mux) {
		free(client);
		return NULL;
	}
	DL_APPEND2(worker->http2_clients, client, older, newer);
	osh_conn_move(&client->conn, conn, on_conn_event);
	client->mux->conn = &client->conn;
	client->conn.want_read = true;
	osh_http2_schedule(client->mux);
	return client;
}

/* Before the server's settings are there, its limit is taken for ours: requests beyond it
 * wait their turn on this connection. */
static uint32_t most_streams(const struct osh_http2 *mux)
{
	uint32_t limit = nghttp2_session_get_remote_settings(mux->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);

	return mux->greeted && limit < OSH_HTTP2_STREAMS_MAX ? limit : OSH_HTTP2_STREAMS_MAX;
}

bool osh_http2_client_has_room(const struct osh_http2_client *client)
{
	return client->mux->stream_count < most_streams(client->mux) && !client->mux->terminated && !client->mux->failed &&
	       nghttp2_session_check_request_allowed(client->mux->session);
}

int osh_http2_client_attach(struct osh_http2_client *client, struct osh_conn *conn,
			    void (*on_event)(struct osh_conn *conn))
{
	struct osh_http2_stream *st = osh_http2_stream_new(client->mux, conn);

	if (!st)
		return -ENOMEM;
	osh_conn_init_carried(conn, client->worker->loop, &osh_http2_carrier, st, on_event);
	osh_loop_timer_cancel(client->worker->loop, &client->idle);
	return 0;
}
