/* Attempts on the kernel's own interface, for what probe.py cannot spell: raw system calls, other
 * ABIs, io_uring, routing headers. One static program, installed twice with the same bytes: as
 * net-ok, which a policy names, and as net-no, which none does.
 *
 *   net-ok COMMAND ARGUMENT...   see `commands` below
 *
 * Prints a line for each attempt: `ok DETAIL`, or what failed and the name of the errno. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/rtnetlink.h>
#include <linux/seccomp.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define RESOLVER "198.18.0.1"
#define PATIENCE_S 10

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

static int report(const char *what, long result)
{
	if (result >= 0)
		printf("%s ok\n", what);
	else
		printf("%s %s\n", what, strerrorname_np(errno));
	fflush(stdout);
	return result < 0;
}

/* ---- Addresses --------------------------------------------------------------------- */

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* One A record of a name, asked as every stub resolver does. */
static int resolve(const char *name, struct in_addr *ret)
{
	unsigned char packet[512] = { 0x12, 0x34, 1, 0, 0, 1 };
	struct sockaddr_in server = { .sin_family = AF_INET, .sin_port = htons(53) };
	const struct timeval patience = { .tv_sec = PATIENCE_S };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	size_t at = 12;
	ssize_t len;

	while (*name && at < 400) {
		size_t label = strcspn(name, ".");

		packet[at++] = (unsigned char)label;
		memcpy(packet + at, name, label);
		at += label;
		name += label + (name[label] == '.');
	}
	packet[at + 2] = packet[at + 4] = 1; /* the root label, A, IN */
	at += 5;
	inet_pton(AF_INET, RESOLVER, &server.sin_addr);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (sendto(fd, packet, at, 0, (struct sockaddr *)&server, sizeof(server)) < 0)
		return -1;
	len = recv(fd, packet, sizeof(packet), 0);
	close(fd);
	if (len < 4 || packet[7] == 0)
		return -1;
	memcpy(ret, packet + len - 4, 4); /* of a single answer the address stands last */
	return 0;
}

static socklen_t parse(const char *host, const char *port, union address *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (inet_pton(AF_INET6, host, &ret->v6.sin6_addr) == 1) {
		ret->v6.sin6_family = AF_INET6;
		ret->v6.sin6_port = htons((uint16_t)atoi(port));
		return sizeof(ret->v6);
	}
	ret->v4.sin_family = AF_INET;
	ret->v4.sin_port = htons((uint16_t)atoi(port));
	if (inet_pton(AF_INET, host, &ret->v4.sin_addr) != 1 && resolve(host, &ret->v4.sin_addr) < 0) {
		printf("resolve failed\n");
		exit(1);
	}
	return sizeof(ret->v4);
}

/* ---- Dialling ------------------------------------------------------------------------ */

/* Sends the text, says what came back first. */
static int talk(int fd, const char *text)
{
	const struct timeval patience = { .tv_sec = PATIENCE_S };
	char answer[201];
	ssize_t len;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (*text && send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
		return report("send", -1);
	len = recv(fd, answer, sizeof(answer) - 1, 0);
	if (len < 0)
		return report("recv", -1);
	answer[len] = '\0';
	printf("ok %s\n", answer);
	return 0;
}

/* tcp HOST PORT TEXT */
static int tcp(char **args)
{
	union address to;
	socklen_t len = parse(args[0], args[1], &to);
	int fd = socket(to.any.sa_family, SOCK_STREAM, 0);

	if (fd < 0)
		return report("socket", -1);
	if (connect(fd, &to.any, len) < 0)
		return report("connect", -1);
	return talk(fd, args[2]);
}

/* fastopen HOST PORT TEXT: the text rides in the SYN, three ways. */
static int fastopen(char **args)
{
	union address to;
	socklen_t len = parse(args[0], args[1], &to);
	struct iovec data = { args[2], strlen(args[2]) };
	struct msghdr message = { .msg_name = &to, .msg_namelen = len, .msg_iov = &data, .msg_iovlen = 1 };
	int one = 1, fd = socket(to.any.sa_family, SOCK_STREAM, 0), failed;

	failed = report("sendto", sendto(fd, args[2], strlen(args[2]), MSG_FASTOPEN, &to.any, len));
	if (!failed)
		failed = talk(fd, "");
	fd = socket(to.any.sa_family, SOCK_STREAM, 0);
	failed |= report("sendmsg", sendmsg(fd, &message, MSG_FASTOPEN));
	fd = socket(to.any.sa_family, SOCK_STREAM, 0);
	setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &one, sizeof(one));
	return failed | report("connect", connect(fd, &to.any, len));
}

/* mixed HOST PORT TEXT: one sendmmsg on a socket that is connected to the resolver; its second message
 * goes elsewhere. Prints how many were sent. */
static int mixed(char **args)
{
	union address resolver, to;
	socklen_t resolver_len = parse(RESOLVER, "53", &resolver), len = parse(args[0], args[1], &to);
	struct iovec data = { args[2], strlen(args[2]) };
	struct mmsghdr messages[3] = { 0 };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (connect(fd, &resolver.any, resolver_len) < 0)
		return report("connect", -1);
	for (size_t i = 0; i < COUNT_OF(messages); i++)
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = &data, .msg_iovlen = 1 };
	messages[1].msg_hdr.msg_name = &to;
	messages[1].msg_hdr.msg_namelen = len;
	printf("sent %d\n", sendmmsg(fd, messages, COUNT_OF(messages), 0));
	return 0;
}

/* routed SEEN VIA PORT TEXT: a datagram that the connect hook sees going to SEEN, with a routing header
 * (type 4, RFC 8754) that makes it leave for VIA; then IPv4's loose source route, as an option and
 * beside one datagram. */
static int routed(char **args)
{
	unsigned char header[40] = { 0, 4, 4, 1, 1 };
	unsigned char lsrr[12] = { 131, 11, 4, 203, 0, 113, 10, 203, 0, 113, 10, 0 };
	char control[CMSG_SPACE(sizeof(lsrr))] = { 0 };
	union address seen, resolver;
	socklen_t len = parse(args[0], args[2], &seen), resolver_len = parse(RESOLVER, "53", &resolver);
	struct iovec data = { args[3], strlen(args[3]) };
	struct msghdr message = { .msg_name = &resolver, .msg_namelen = resolver_len, .msg_iov = &data,
				  .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *ancillary = CMSG_FIRSTHDR(&message);
	int fd = socket(AF_INET6, SOCK_DGRAM, 0), failed;

	inet_pton(AF_INET6, args[0], header + 8); /* the last stop */
	inet_pton(AF_INET6, args[1], header + 24);
	if (setsockopt(fd, IPPROTO_IPV6, IPV6_RTHDR, header, sizeof(header)) < 0)
		failed = report("rthdr", -1);
	else
		failed = report("rthdr", sendto(fd, args[3], strlen(args[3]), 0, &seen.any, len));
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	failed |= report("lsrr", setsockopt(fd, IPPROTO_IP, IP_OPTIONS, lsrr, sizeof(lsrr)));
	ancillary->cmsg_level = IPPROTO_IP;
	ancillary->cmsg_type = IP_RETOPTS;
	ancillary->cmsg_len = CMSG_LEN(sizeof(lsrr));
	memcpy(CMSG_DATA(ancillary), lsrr, sizeof(lsrr));
	return failed | report("retopts", sendmsg(fd, &message, 0));
}

/* One connect by io_uring; `flags` of the entry. Returns what it came to, or -1 with errno. */
static int ring_connect(int fd, const union address *to, socklen_t len, uint32_t setup, uint8_t flags)
{
	struct io_uring_params params = { .flags = setup };
	int ring = (int)syscall(SYS_io_uring_setup, 4, &params);
	struct io_uring_sqe *entries;
	struct io_uring_cqe *done;
	char *sq, *cq;

	if (ring < 0)
		return -1;
	sq = mmap(NULL, params.sq_off.array + params.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, ring,
		  IORING_OFF_SQ_RING);
	cq = mmap(NULL, params.cq_off.cqes + params.cq_entries * sizeof(*done), PROT_READ | PROT_WRITE, MAP_SHARED,
		  ring, IORING_OFF_CQ_RING);
	entries = mmap(NULL, params.sq_entries * sizeof(*entries), PROT_READ | PROT_WRITE, MAP_SHARED, ring,
		       IORING_OFF_SQES);
	entries[0] = (struct io_uring_sqe){ .opcode = IORING_OP_CONNECT, .flags = flags, .fd = fd,
					    .addr = (uintptr_t)to, .off = len };
	*(uint32_t *)(sq + params.sq_off.array) = 0;
	__atomic_store_n((uint32_t *)(sq + params.sq_off.tail), 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring, 1, 1,
		    IORING_ENTER_GETEVENTS | (setup ? IORING_ENTER_SQ_WAKEUP : 0), NULL, 0) < 0)
		return -1;
	done = (struct io_uring_cqe *)(cq + params.cq_off.cqes);
	errno = -done->res;
	return done->res < 0 ? -1 : 0;
}

/* uring HOST PORT TEXT: at once, by a kernel worker, by a kernel thread that polls. */
static int uring(char **args)
{
	static const struct { const char *name; uint32_t setup; uint8_t flags; } ways[] = {
		{ "plain", 0, 0 }, { "async", 0, IOSQE_ASYNC }, { "sqpoll", IORING_SETUP_SQPOLL, 0 },
	};
	union address to;
	socklen_t len = parse(args[0], args[1], &to);
	int failed = 0;

	for (size_t i = 0; i < COUNT_OF(ways); i++) {
		int fd = socket(to.any.sa_family, SOCK_STREAM, 0);
		int r = ring_connect(fd, &to, len, ways[i].setup, ways[i].flags);

		failed |= report(ways[i].name, r);
		if (r == 0)
			failed |= talk(fd, args[2]);
	}
	return failed;
}

/* ---- Sockets and system calls ------------------------------------------------------------- */

static void try_socket(int family, int type, int protocol)
{
	int fd = socket(family, type, protocol);

	if (fd >= 0)
		printf("%d %d %d\n", family, type, protocol);
	else if (errno != EPERM)
		printf("%d %d %d %s\n", family, type, protocol, strerrorname_np(errno));
	close(fd);
}

/* families: every family and type; prints those that are not EPERM. A family without a module must
 * be EPERM, too: refused before the kernel looks for one. */
static int families(char **args)
{
	static const int types[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_RDM, SOCK_SEQPACKET, SOCK_DCCP, 10 };

	(void)args;
	for (int family = 0; family <= 46; family++) {
		for (size_t i = 0; i < COUNT_OF(types); i++)
			try_socket(family, types[i], 0);
	}
	return 0;
}

/* protocols: every protocol of both internet families, likewise. */
static int protocols(char **args)
{
	static const int types[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET };

	(void)args;
	for (int protocol = 0; protocol <= 262; protocol++) {
		for (size_t i = 0; i < COUNT_OF(types); i++) {
			try_socket(AF_INET, types[i], protocol);
			try_socket(AF_INET6, types[i], protocol);
		}
	}
	/* The kernel looks at 32 bits. */
	report("high", syscall(SYS_socket, (1L << 32) | AF_PACKET, SOCK_RAW, 0));
	return 0;
}

/* netlink: what would change the network: a route, a link, the end of somebody's socket. */
static int netlink(char **args)
{
	static const struct { const char *name; uint16_t type; size_t len; } wanted[] = {
		{ "newroute", RTM_NEWROUTE, sizeof(struct rtmsg) },
		{ "newlink", RTM_NEWLINK, sizeof(struct ifinfomsg) },
		{ "newaddr", RTM_NEWADDR, sizeof(struct ifaddrmsg) },
	};
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);

	(void)args;
	for (size_t i = 0; i < COUNT_OF(wanted); i++) {
		struct { struct nlmsghdr head; char body[64]; } message = { .head = {
			.nlmsg_len = (uint32_t)NLMSG_LENGTH(wanted[i].len), .nlmsg_type = wanted[i].type,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE } };
		struct { struct nlmsghdr head; struct nlmsgerr error; char rest[512]; } answer = { 0 };

		send(fd, &message, message.head.nlmsg_len, 0);
		recv(fd, &answer, sizeof(answer), 0);
		errno = -answer.error.error;
		report(wanted[i].name, answer.error.error);
	}
	return 0;
}

/* calls: prints those that do not answer EPERM or ENOSYS. */
static int calls(char **args)
{
	static const int numbers[] = {
		SYS_bpf, SYS_perf_event_open, SYS_keyctl, SYS_add_key, SYS_request_key, SYS_userfaultfd, SYS_mount,
		SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_open_tree, SYS_move_mount, SYS_fsopen, SYS_fsconfig,
		SYS_fsmount, SYS_fspick, SYS_mount_setattr, SYS_kexec_load, SYS_kexec_file_load, SYS_init_module,
		SYS_finit_module, SYS_delete_module, SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register,
		SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_pidfd_getfd, SYS_kcmp, SYS_setns,
		SYS_open_by_handle_at, SYS_fanotify_init, SYS_reboot, SYS_swapon, SYS_acct, SYS_syslog, SYS_iopl,
		SYS_ioperm, SYS_quotactl, SYS_settimeofday, SYS_clock_settime, SYS_vhangup,
	};

	(void)args;
	for (size_t i = 0; i < COUNT_OF(numbers); i++) {
		if (syscall(numbers[i], 0, 0, 0, 0, 0, 0) >= 0 || (errno != EPERM && errno != ENOSYS))
			printf("%d %s\n", numbers[i], strerrorname_np(errno));
	}
	return 0;
}

/* namespaces: every kind, by unshare, clone and clone3; prints those that work. */
static int namespaces(char **args)
{
	static const unsigned kinds[] = { CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWIPC,
					  CLONE_NEWUTS, CLONE_NEWCGROUP, CLONE_NEWTIME };
	struct { uint64_t word[11]; } clone3 = { { 0 } };

	(void)args;
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		long pid;

		if (syscall(SYS_unshare, kinds[i]) == 0 || errno != EPERM)
			printf("unshare %#x %s\n", kinds[i], strerrorname_np(errno));
		if (kinds[i] == CLONE_NEWTIME)
			continue; /* its bit means another thing to clone */
		pid = syscall(SYS_clone, kinds[i] | SIGCHLD, 0, 0, 0, 0);
		if (pid == 0)
			_exit(0);
		if (pid > 0 || errno != EPERM)
			printf("clone %#x %s\n", kinds[i], strerrorname_np(errno));
		clone3.word[0] = kinds[i];
		pid = syscall(SYS_clone3, &clone3, sizeof(clone3));
		if (pid == 0)
			_exit(0);
		if (pid > 0 || errno != ENOSYS)
			printf("clone3 %#x %s\n", kinds[i], strerrorname_np(errno));
	}
	return 0;
}

#ifdef __x86_64__
static long call_32(long number, long first, long second, long third)
{
	long result;

	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(number), "b"(first), "c"(second), "d"(third)
			 : "memory", "r8", "r9", "r10", "r11");
	return result;
}

static void call_by_int80(void)
{
	_exit(call_32(359, AF_VSOCK, SOCK_STREAM, 0) >= 0); /* socket */
}

static void call_by_x32(void)
{
	long result = syscall(0x40000000 | SYS_socket, AF_VSOCK, SOCK_STREAM, 0);

	_exit(result >= 0 ? 1 : errno == ENOSYS || errno == EPERM ? 0 : 2);
}

/* The 32-bit door cuts pointers. */
static void *low_copy(const void *data, size_t len)
{
	void *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	return low == MAP_FAILED ? NULL : memcpy(low, data, len);
}

/* tcp_32 HOST PORT TEXT: connects by the 32-bit door. */
static int tcp_32(char **args)
{
	union address to;
	socklen_t len = parse(args[0], args[1], &to);
	long fd = call_32(359, to.any.sa_family, SOCK_STREAM, 0);                  /* socket */
	long r = fd < 0 ? fd : call_32(362, fd, (long)low_copy(&to, len), (long)len); /* connect */

	if (r < 0) {
		errno = (int)-r;
		return report("connect", -1);
	}
	return talk((int)fd, args[2]);
}

static void in_child(const char *name, void (*call)(void))
{
	pid_t child = fork();
	int status = 0;

	if (child == 0)
		call();
	waitpid(child, &status, 0);
	if (WIFSIGNALED(status))
		printf("%s %s\n", name, sigabbrev_np(WTERMSIG(status)));
	else
		printf("%s %s\n", name, WEXITSTATUS(status) == 0 ? "refused" : "worked");
	fflush(stdout);
}
#endif

/* abi: a vsock by the 32-bit and by the x32 door, and a socket that may be by the common one. */
static int abi(char **args)
{
	(void)args;
#ifdef __x86_64__
	in_child("int80", call_by_int80);
	in_child("x32", call_by_x32);
#endif
	return report("native", socket(AF_UNIX, SOCK_STREAM, 0));
}

/* filter: a filter of one's own that allows everything installs and loosens nothing. */
static int filter(char **args)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = { .len = 1, .filter = &allow };

	(void)args;
	report("install", syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
	return report("vsock", socket(AF_VSOCK, SOCK_STREAM, 0));
}

/* ---- Another program's identity -------------------------------------------------------------- */

/* hold HOST PORT FILE: connects, writes its pid and the descriptor's number to FILE, waits for the end
 * of its input. */
static int hold(char **args)
{
	union address to;
	socklen_t len = parse(args[0], args[1], &to);
	int fd = socket(to.any.sa_family, SOCK_STREAM, 0);
	FILE *file;
	char byte;

	if (connect(fd, &to.any, len) < 0)
		return report("connect", -1);
	prctl(PR_SET_DUMPABLE, 1);
	file = fopen(args[2], "w");
	fprintf(file, "%d %d\n", (int)getpid(), fd);
	fclose(file);
	return read(0, &byte, 1) < 0;
}

/* steal FILE TEXT: takes over what `hold` holds, four ways; sends the text by what it gets. */
static int steal(char **args)
{
	int pid = 0, number = 0, pidfd, fd, failed;
	FILE *file = fopen(args[0], "r");
	char path[64], word[8] = "stolen", *at = word;
	struct iovec here = { word, sizeof(word) }, there = { &at, sizeof(word) };

	if (!file || fscanf(file, "%d %d", &pid, &number) != 2)
		return report("read", -1);
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
	failed = report("pidfd_getfd", fd);
	if (!failed)
		failed = talk(fd, args[1]);
	failed |= report("process_vm_writev", process_vm_writev(pid, &here, 1, &there, 1, 0));
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	failed |= report("mem", open(path, O_RDWR));
	failed |= report("ptrace", ptrace(PTRACE_ATTACH, pid, NULL, NULL));
	return failed;
}

/* ---- Descriptors that change hands -------------------------------------------------------------- */

static struct sockaddr_un at_path(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	return address;
}

/* One byte and, with `fd` not negative, a descriptor. */
static ssize_t give(int to, int fd)
{
	union { struct cmsghdr head; char room[CMSG_SPACE(sizeof(int))]; } control = { .head = {
		.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS } };
	struct iovec data = { (char[]){ 'x' }, 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control,
				  .msg_controllen = sizeof(control) };

	memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
	return sendmsg(to, &message, 0);
}

/* The descriptor that arrives; -1: none, or not to be had. */
static int take(const char *path)
{
	union { struct cmsghdr head; char room[CMSG_SPACE(sizeof(int))]; } control = { 0 };
	struct sockaddr_un from = at_path(path);
	char byte;
	struct iovec data = { &byte, 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control,
				  .msg_controllen = sizeof(control) };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	if (connect(fd, (struct sockaddr *)&from, sizeof(from)) < 0 || recvmsg(fd, &message, 0) < 0)
		return -1;
	if (!CMSG_FIRSTHDR(&message)) {
		errno = EPERM;
		return -1;
	}
	memcpy(&fd, CMSG_DATA(&control.head), sizeof(fd));
	return fd;
}

/* lend HOST PORT PATH: connects, and gives the connection to whoever connects to the Unix socket at
 * PATH, which is there once it listens. Ends with its input. */
static int lend(char **args)
{
	union address to;
	socklen_t len = parse(args[0], args[1], &to);
	struct sockaddr_un here = at_path(args[2]);
	int fd = socket(to.any.sa_family, SOCK_STREAM, 0), server = socket(AF_UNIX, SOCK_STREAM, 0);
	char byte;

	if (connect(fd, &to.any, len) < 0)
		return report("connect", -1);
	strncat(here.sun_path, ".unready", sizeof(here.sun_path) - strlen(here.sun_path) - 1);
	if (bind(server, (struct sockaddr *)&here, sizeof(here)) < 0 || listen(server, 1) < 0 ||
	    rename(here.sun_path, args[2]) < 0)
		return report("bind", -1);
	report("give", give(accept(server, NULL, NULL), fd));
	return read(0, &byte, 1) < 0;
}

/* borrow PATH TEXT: takes a connection from there and sends the text on it. */
static int borrow(char **args)
{
	int fd = take(args[0]);

	return fd < 0 ? report("take", -1) : talk(fd, args[1]);
}

/* outlive PATH TEXT: the same, over and over until the connection has ended: a kernel that tells of what
 * was sent may miss one (a program of it is not entered twice on one processor). */
static int outlive(char **args)
{
	const struct timeval moment = { .tv_usec = 100000 };
	char answer[200];
	int fd = take(args[0]);

	if (fd < 0)
		return report("take", -1);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &moment, sizeof(moment));
	for (int i = 0; i < PATIENCE_S * 10; i++) {
		ssize_t len;

		if (send(fd, args[1], strlen(args[1]), MSG_NOSIGNAL) < 0 && errno != EPIPE && errno != ECONNRESET)
			return report("send", -1);
		do
			len = recv(fd, answer, sizeof(answer), 0);
		while (len > 0);
		if (len == 0 || errno != EAGAIN) {
			printf("ended\n");
			return 0;
		}
	}
	errno = ETIMEDOUT;
	return report("recv", -1);
}

/* adopt PATH HOST PORT TEXT: takes a socket from there, connects it, and sends the text. */
static int adopt(char **args)
{
	union address to;
	socklen_t len = parse(args[1], args[2], &to);
	int fd = take(args[0]);

	if (fd < 0)
		return report("take", -1);
	if (connect(fd, &to.any, len) < 0)
		return report("connect", -1);
	return talk(fd, args[3]);
}

/* pass HOST PORT PROGRAM TEXT: connects and becomes PROGRAM, which sends on descriptor 9. */
static int pass(char **args)
{
	union address to;
	socklen_t len = parse(args[0], args[1], &to);
	int fd = socket(to.any.sa_family, SOCK_STREAM, 0);

	if (connect(fd, &to.any, len) < 0)
		return report("connect", -1);
	dup2(fd, 9);
	execl(args[2], args[2], "send", "9", args[3], NULL);
	return report("exec", -1);
}

/* send FD TEXT */
static int send_on(char **args)
{
	return talk(atoi(args[0]), args[1]);
}

/* made HOST PORT PROGRAM TEXT: makes a socket that its child PROGRAM connects, and sends on it. */
static int made(char **args)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	pid_t child;

	dup2(fd, 9);
	child = fork();
	if (child == 0) {
		execl(args[2], args[2], "dial", "9", args[0], args[1], NULL);
		_exit(1);
	}
	waitpid(child, NULL, 0);
	return talk(9, args[3]);
}

/* dial FD HOST PORT */
static int dial(char **args)
{
	union address to;
	socklen_t len = parse(args[1], args[2], &to);

	return report("connect", connect(atoi(args[0]), &to.any, len));
}

/* ---- Who executes -------------------------------------------------------------------------------- */

static void *dial_and_execute(void *context)
{
	char **args = context;

	tcp(args);
	fflush(stdout);
	execl(args[4], args[4], "tcp", args[0], args[1], args[3], NULL);
	_exit(1);
}

/* threaded HOST PORT BEFORE AFTER PROGRAM: a thread that is not the first sends BEFORE, and becomes the first
 * when it executes PROGRAM, which sends AFTER. */
static int threaded(char **args)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, dial_and_execute, args) != 0)
		return 1;
	pthread_join(thread, NULL);
	return 1;
}

/* vforked, the same: a child that still has its parent's memory. */
static int vforked(char **args)
{
	pid_t child = vfork();

	if (child == 0)
		dial_and_execute(args);
	return waitpid(child, NULL, 0) < 0;
}

/* ---- Which ------------------------------------------------------------------------------------ */

static const struct {
	const char *name;
	int arguments;
	int (*run)(char **args);
} commands[] = {
	{ "tcp", 3, tcp },
	{ "fastopen", 3, fastopen },
	{ "mixed", 3, mixed },
	{ "routed", 4, routed },
	{ "uring", 3, uring },
	{ "families", 0, families },
	{ "protocols", 0, protocols },
	{ "netlink", 0, netlink },
	{ "calls", 0, calls },
	{ "namespaces", 0, namespaces },
	{ "abi", 0, abi },
#ifdef __x86_64__
	{ "tcp_32", 3, tcp_32 },
#endif
	{ "filter", 0, filter },
	{ "hold", 3, hold },
	{ "steal", 2, steal },
	{ "lend", 3, lend },
	{ "borrow", 2, borrow },
	{ "outlive", 2, outlive },
	{ "adopt", 4, adopt },
	{ "pass", 4, pass },
	{ "send", 2, send_on },
	{ "made", 4, made },
	{ "dial", 3, dial },
	{ "threaded", 5, threaded },
	{ "vforked", 5, vforked },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < COUNT_OF(commands); i++) {
		if (strcmp(argv[1], commands[i].name) == 0 && argc - 2 == commands[i].arguments)
			return commands[i].run(argv + 2);
	}
	fprintf(stderr, "net-ok COMMAND ARGUMENT...: see tests/e2e/probe.c\n");
	return 2;
}
