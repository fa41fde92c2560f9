/* The life of streams on a connection to a server. The input says what happens, step by step:
 * requests come and are given up, the server (nghttp2's own) answers, resets, says goodbye, or
 * sends what no server would; bytes are held back on the way. Whatever the order, no stream
 * outlives what it needs: AddressSanitizer watches. */
#include "proxy/http2_client.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/http_write.h"

#define EXCHANGES 8
#define STEPS_MAX 400

struct exchange {
	struct osh_conn conn;
	bool live;
	bool patient; /* takes nothing for now */
};

static struct {
	struct osh_worker worker;
	struct osh_http2_client *client;
	struct osh_conn *link;      /* the client's; NULL once it has let go */
	struct osh_buf to_client;
	nghttp2_session *server;
	bool answering;             /* the server goes on with bodies */
	struct exchange exchanges[EXCHANGES];
} world;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- Between the two ----------------------------------------------------------------------- */

static void carry(struct osh_conn *conn)
{
	size_t room = osh_buf_free_bytes(&conn->in);
	size_t len = world.to_client.len < room ? world.to_client.len : room;

	if (len && osh_buf_append(&conn->in, osh_buf_bytes(&world.to_client), len) == 0)
		osh_buf_consume(&world.to_client, len);
	if (conn->out.len && world.server)
		(void)nghttp2_session_mem_recv(world.server, (const uint8_t *)osh_buf_bytes(&conn->out), conn->out.len);
	osh_buf_clear(&conn->out);
}

static void let_go(struct osh_conn *conn, bool reset)
{
	(void)conn;
	(void)reset;
	world.client = NULL;
	world.link = NULL;
}

static const struct osh_carrier wire = { .pump = carry, .close = let_go };

static void on_link(struct osh_conn *conn)
{
	(void)conn;
}

/* What the server has to say is on its way. */
static void flush_server(void)
{
	const uint8_t *bytes;
	ssize_t len;

	while (world.server && world.to_client.len < (64 << 10) &&
	       (len = nghttp2_session_mem_send(world.server, &bytes)) > 0)
		(void)osh_buf_append(&world.to_client, bytes, (size_t)len);
}

static void deliver(void)
{
	flush_server();
	if (world.link)
		world.link->on_event(world.link);
	(void)osh_loop_run_once(world.worker.loop, 0);
}

/* ---- The exchanges ------------------------------------------------------------------------- */

static void give_up(struct exchange *ex, bool reset)
{
	if (!ex->live)
		return;
	ex->live = false;
	if (reset)
		osh_conn_reset(&ex->conn);
	else
		osh_conn_close(&ex->conn);
}

static void on_exchange(struct osh_conn *conn)
{
	struct exchange *ex = osh_container_of(conn, struct exchange, conn);

	if (!ex->live || ex->patient)
		return;
	osh_conn_pump(conn);
	osh_buf_clear(&conn->in);
	if (conn->state == OSH_CONN_FAILED || conn->eof)
		give_up(ex, false);
}

static void begin(struct exchange *ex, uint8_t kind)
{
	static const char *const heads[] = {
		"GET / HTTP/1.1\r\nHost: ok.test\r\n\r\n",
		"HEAD / HTTP/1.1\r\nHost: ok.test\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: ok.test\r\nContent-Length: 10\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: ok.test\r\nTransfer-Encoding: chunked\r\n\r\n",
	};

	if (ex->live || !world.client || osh_http2_client_attach(world.client, &ex->conn, on_exchange) < 0)
		return;
	ex->live = true;
	ex->patient = kind & 4;
	ex->conn.want_read = true;
	ex->conn.out.secret = kind & 8;
	(void)osh_buf_append_c(&ex->conn.out, heads[kind % 4]);
	if (kind & 16)
		osh_conn_pump(&ex->conn);
}

static void say_more(struct exchange *ex, uint8_t kind)
{
	static const char *const pieces[] = {
		"0123456789", "5\r\nhello\r\n", "0\r\n\r\n", "0\r\nX-Sum: 1\r\n\r\n", "zz\r\n", "",
	};

	if (!ex->live || ex->conn.state != OSH_CONN_OPEN)
		return;
	(void)osh_buf_append_c(&ex->conn.out, pieces[kind % (sizeof(pieces) / sizeof(pieces[0]))]);
	ex->conn.finish = kind & 64;
	osh_conn_pump(&ex->conn);
}

static void listen_again(struct exchange *ex)
{
	if (!ex->live)
		return;
	ex->patient = false;
	on_exchange(&ex->conn);
}

/* ---- The server -------------------------------------------------------------------------------- */

static ssize_t body(nghttp2_session *session, int32_t id, uint8_t *room, size_t size, uint32_t *flags,
		    nghttp2_data_source *source, void *context)
{
	static const nghttp2_nv trailer = { (uint8_t *)(uintptr_t)"x-end", (uint8_t *)(uintptr_t)"1", 5, 1, 0 };
	uint8_t kind = (uint8_t)source->fd;

	(void)context;
	if (!world.answering)
		return NGHTTP2_ERR_DEFERRED;
	memset(room, 'x', size);
	if (!(kind & 1))
		return (ssize_t)size;
	*flags = NGHTTP2_DATA_FLAG_EOF;
	if (kind & 2) {
		*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
		(void)nghttp2_submit_trailer(session, id, &trailer, 1);
	}
	return kind & 4 ? 0 : (ssize_t)size;
}

static void answer(int32_t stream, uint8_t kind)
{
	static const char *const statuses[] = { "200", "204", "103", "101" };
	nghttp2_nv status = { (uint8_t *)(uintptr_t)":status", (uint8_t *)(uintptr_t)statuses[kind >> 3 & 3], 7, 3, 0 };
	nghttp2_data_provider provider = { .source = { .fd = kind }, .read_callback = body };

	if (kind & 64)
		(void)nghttp2_submit_headers(world.server, NGHTTP2_FLAG_NONE, stream, NULL, &status, 1, NULL);
	else
		(void)nghttp2_submit_response(world.server, stream, &status, 1, kind & 32 ? NULL : &provider);
}

static void configure(uint8_t kind)
{
	const nghttp2_settings_entry entries[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, kind % 4 },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, (uint32_t)(kind >> 2) * 4096 },
	};

	(void)nghttp2_submit_settings(world.server, NGHTTP2_FLAG_NONE, entries, 2);
}

static void say_goodbye(uint8_t kind)
{
	if (kind & 1)
		(void)nghttp2_session_terminate_session2(world.server, kind >> 1, kind & 8);
	else
		(void)nghttp2_submit_goaway(world.server, NGHTTP2_FLAG_NONE, kind >> 1, NGHTTP2_NO_ERROR, NULL, 0);
}

static void break_link(uint8_t kind)
{
	if (!world.link)
		return;
	if (kind & 1)
		world.link->state = OSH_CONN_FAILED;
	world.link->eof = true;
}

/* ---- Steps ---------------------------------------------------------------------------------------- */

static void step(uint8_t what, uint8_t how)
{
	struct exchange *ex = &world.exchanges[how % EXCHANGES];
	int32_t stream = 2 * (how % 16) + 1;

	switch (what % 14) {
	case 0:
	case 1:
		begin(ex, how >> 3);
		break;
	case 2:
	case 3:
		deliver();
		break;
	case 4:
		give_up(ex, how & 128);
		break;
	case 5:
		say_more(ex, how >> 1);
		break;
	case 6:
		listen_again(ex);
		break;
	case 7:
	case 8:
		answer(stream, how);
		break;
	case 9:
		(void)nghttp2_submit_rst_stream(world.server, NGHTTP2_FLAG_NONE, stream, how >> 4);
		break;
	case 10:
		configure(how);
		break;
	case 11:
		world.answering = how & 1;
		(void)nghttp2_session_resume_data(world.server, stream);
		break;
	case 12:
		if (how & 7)
			(void)osh_buf_append(&world.to_client, &how, 1); /* a byte out of nowhere */
		else
			say_goodbye(how >> 3);
		break;
	case 13:
		if (how < 16)
			break_link(how);
		break;
	}
}

static void open_world(void)
{
	static nghttp2_session_callbacks *none;
	struct osh_conn link;

	if (!none && nghttp2_session_callbacks_new(&none) != 0)
		abort();
	memset(&world, 0, sizeof(world));
	world.worker.loop = osh_loop_new();
	world.worker.pool = osh_upstream_pool_new(&world.worker);
	osh_buf_init(&world.to_client, 1 << 20);
	osh_conn_init_carried(&link, world.worker.loop, &wire, &world, on_link);
	world.client = osh_http2_client_new(&world.worker, &link);
	if (!world.client || nghttp2_session_server_new(&world.server, none, NULL) != 0)
		abort();
	world.link = &world.client->conn;
}

static void close_world(void)
{
	for (size_t i = 0; i < EXCHANGES; i++)
		give_up(&world.exchanges[i], false);
	if (world.client)
		osh_http2_client_end(world.client);
	for (int i = 0; i < 4; i++)
		(void)osh_loop_run_once(world.worker.loop, 0);
	nghttp2_session_del(world.server);
	osh_buf_done(&world.to_client);
	free(world.worker.pool);
	osh_loop_free(world.worker.loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	open_world();
	configure(0xff);
	for (size_t i = 0; i + 1 < size && i < 2 * STEPS_MAX; i += 2)
		step(data[i], data[i + 1]);
	close_world();
	return 0;
}
