/* The ways Linux offers to pass bytes on from one connection to another, over loopback: a source
 * sends, a relay passes on, a sink takes. Processor time of the relay, and of all three together,
 * which is what counts where one of them does another's work. bench.md says what was chosen.
 * sockmap needs root. */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/errqueue.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BYTES (256u << 20)
#define CHUNK (64u << 10)
#define RECORD (16u << 10) /* what TLS brings at once */
#define ANSWER (1u << 10)  /* a small answer */
#define ROUNDS 5

struct way {
	const char *name;
	void (*pass)(int from, int to); /* until the source ends */
	bool (*prepare)(int to, int sink);
};

struct line {
	const struct way *way;
	int source, from, to, sink;
	double relay_ns;
};

static void give_up(const char *what)
{
	perror(what);
	exit(1);
}

static double clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

/* ---- Ways ------------------------------------------------------------------------- */

static void write_all(int fd, const char *data, size_t len, int flags)
{
	while (len) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL | flags);

		if (n < 0)
			give_up("send");
		data += n;
		len -= (size_t)n;
	}
}

static void copy(int from, int to, size_t piece)
{
	static _Alignas(4096) char buf[CHUNK];
	ssize_t n;

	while ((n = recv(from, buf, piece, 0)) > 0)
		write_all(to, buf, (size_t)n, 0);
}

static void copy_answers(int from, int to)
{
	int on = 1;

	(void)setsockopt(to, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	copy(from, to, ANSWER);
}

static void copy_records(int from, int to)
{
	copy(from, to, RECORD);
}

static void copy_chunks(int from, int to)
{
	copy(from, to, CHUNK);
}

static void splice_chunks(int from, int to)
{
	int pipe_fd[2];
	ssize_t n;

	if (pipe2(pipe_fd, O_CLOEXEC) < 0)
		give_up("pipe2");
	while ((n = splice(from, NULL, pipe_fd[1], NULL, CHUNK, SPLICE_F_MOVE)) > 0) {
		while (n > 0) {
			ssize_t out = splice(pipe_fd[0], NULL, to, NULL, (size_t)n, SPLICE_F_MOVE);

			if (out <= 0)
				give_up("splice");
			n -= out;
		}
	}
	close(pipe_fd[0]);
	close(pipe_fd[1]);
}

/* The buffer may be written to again only when the kernel says that it is done with it. */
static void await_completion(int fd)
{
	char control[128];
	struct msghdr msg = { .msg_control = control, .msg_controllen = sizeof(control) };

	while (recvmsg(fd, &msg, MSG_ERRQUEUE) < 0) {
		if (errno != EAGAIN)
			give_up("recvmsg");
		msg.msg_controllen = sizeof(control);
		sched_yield();
	}
}

static void zero_copy(int from, int to)
{
	static _Alignas(4096) char buf[CHUNK];
	int on = 1;
	ssize_t n;

	if (setsockopt(to, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof(on)) < 0)
		give_up("SO_ZEROCOPY");
	while ((n = recv(from, buf, sizeof(buf), 0)) > 0) {
		write_all(to, buf, (size_t)n, MSG_ZEROCOPY);
		await_completion(to);
	}
}

/* What the relay sends goes into the sink's queue, past TCP (bpf_msg_redirect_map). */
static bool redirect(int to, int sink)
{
	int map = bpf_map_create(BPF_MAP_TYPE_SOCKMAP, "ways", sizeof(uint32_t), sizeof(uint32_t), 2, NULL);
	const struct bpf_insn program[] = {
		{ .code = BPF_LD | BPF_DW | BPF_IMM, .dst_reg = BPF_REG_2, .src_reg = BPF_PSEUDO_MAP_FD, .imm = map },
		{ 0 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_3, .imm = 0 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_4, .imm = BPF_F_INGRESS },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_msg_redirect_map },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	uint32_t sink_key = 0, to_key = 1;
	int prog = bpf_prog_load(BPF_PROG_TYPE_SK_MSG, "ways", "GPL", program,
				 sizeof(program) / sizeof(program[0]), NULL);

	return map >= 0 && prog >= 0 && bpf_prog_attach(prog, map, BPF_SK_MSG_VERDICT, 0) == 0 &&
	       bpf_map_update_elem(map, &sink_key, &sink, BPF_ANY) == 0 &&
	       bpf_map_update_elem(map, &to_key, &to, BPF_ANY) == 0;
}

static const struct way ways[] = {
	{ "recv and send, 1 KiB", copy_answers, NULL },
	{ "recv and send, 16 KiB", copy_records, NULL },
	{ "recv and send, 64 KiB", copy_chunks, NULL },
	{ "splice(2) through a pipe", splice_chunks, NULL },
	{ "send with MSG_ZEROCOPY, 64 KiB", zero_copy, NULL },
	{ "sockmap towards the sink, 1 KiB", copy_answers, redirect },
	{ "sockmap towards the sink, 16 KiB", copy_records, redirect },
};

/* ---- The line ------------------------------------------------------------------------ */

static void *run_source(void *context)
{
	static char data[CHUNK];
	struct line *line = context;

	for (size_t sent = 0; sent < BYTES; sent += sizeof(data))
		write_all(line->source, data, sizeof(data), 0);
	shutdown(line->source, SHUT_WR);
	return NULL;
}

static void *run_relay(void *context)
{
	struct line *line = context;
	double before = clock_ns(CLOCK_THREAD_CPUTIME_ID);

	line->way->pass(line->from, line->to);
	shutdown(line->to, SHUT_WR);
	line->relay_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - before;
	return NULL;
}

static void connect_pair(int *near, int *far)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(addr);

	*near = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || *near < 0 || bind(listener, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    listen(listener, 1) < 0 || getsockname(listener, (struct sockaddr *)&addr, &len) < 0 ||
	    connect(*near, (struct sockaddr *)&addr, len) < 0)
		give_up("cannot connect to 127.0.0.1");
	*far = accept(listener, NULL, NULL);
	if (*far < 0)
		give_up("accept");
	close(listener);
}

static size_t drain(int fd)
{
	static char data[CHUNK];
	size_t got = 0;
	ssize_t n;

	while (got < BYTES && (n = recv(fd, data, sizeof(data), 0)) > 0)
		got += (size_t)n;
	return got;
}

static bool measure(const struct way *way, double *relay, double *all)
{
	struct line line = { .way = way };
	pthread_t source, relayer;
	double before;
	size_t got;

	connect_pair(&line.source, &line.from);
	connect_pair(&line.to, &line.sink);
	if (way->prepare && !way->prepare(line.to, line.sink))
		return false;
	before = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	if (pthread_create(&source, NULL, run_source, &line))
		give_up("pthread_create");
	if (pthread_create(&relayer, NULL, run_relay, &line))
		give_up("pthread_create");
	got = drain(line.sink);
	pthread_join(source, NULL);
	pthread_join(relayer, NULL);
	if (got != BYTES) {
		fprintf(stderr, "%s: %zu bytes arrived of %u\n", way->name, got, BYTES);
		exit(1);
	}
	*all = (clock_ns(CLOCK_PROCESS_CPUTIME_ID) - before) / BYTES;
	*relay = line.relay_ns / BYTES;
	close(line.source);
	close(line.from);
	close(line.to);
	close(line.sink);
	return true;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int main(void)
{
	enum { WAYS = sizeof(ways) / sizeof(ways[0]) };
	static double relay[WAYS][ROUNDS], all[WAYS][ROUNDS];
	static bool works[WAYS];

	/* In turn, so that what else the machine does meets all. */
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < WAYS; i++)
			works[i] = measure(&ways[i], &relay[i][round], &all[i][round]);
	}
	printf("%-34s %14s %14s\n", "passing bytes on over loopback", "relay ns/byte", "all ns/byte");
	for (int i = 0; i < WAYS; i++) {
		qsort(relay[i], ROUNDS, sizeof(double), compare);
		qsort(all[i], ROUNDS, sizeof(double), compare);
		if (works[i])
			printf("%-34s %14.3f %14.3f\n", ways[i].name, relay[i][ROUNDS / 2], all[i][ROUNDS / 2]);
		else
			printf("%-34s not to be had here\n", ways[i].name);
	}
	return 0;
}
