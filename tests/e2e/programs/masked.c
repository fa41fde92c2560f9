/* masked PROGRAM ADDRESS PORT: becomes PROGRAM for whoever reads /proc/PID/exe, and stays what it is
 * (prctl(2), PR_SET_MM_MAP). The kernel wants nothing of the old file mapped, so each piece is copied to
 * memory of no file, and that put in its place. Says what /proc/self/exe reads then, and connects. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PIECES_MAX 16

static struct piece {
	char *begin;
	size_t len;
	int protection;
} pieces[PIECES_MAX];

static size_t find_pieces(const char *own)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512], rights[5], path[256];
	unsigned long begin, end;
	size_t count = 0;

	while (maps && count < PIECES_MAX && fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx %4s %*s %*s %*s %255s", &begin, &end, rights, path) != 4 || strcmp(path, own) != 0)
			continue;
		pieces[count++] = (struct piece){ (char *)begin, end - begin,
						  (rights[0] == 'r' ? PROT_READ : 0) | (rights[1] == 'w' ? PROT_WRITE : 0) |
							  (rights[2] == 'x' ? PROT_EXEC : 0) };
	}
	return count;
}

static void unhook(const struct piece *piece)
{
	void *copy = mmap(NULL, piece->len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memcpy(copy, piece->begin, piece->len);
	mprotect(copy, piece->len, piece->protection);
	mremap(copy, piece->len, piece->len, MREMAP_MAYMOVE | MREMAP_FIXED, piece->begin);
}

/* Of /proc/PID/stat, by its number in proc_pid_stat(5). */
static unsigned long long stat_field(const char *stat, int number)
{
	const char *at = strrchr(stat, ')') + 1; /* behind field 2 */

	for (int field = 3; field < number; field++)
		at = strchr(at + 1, ' ');
	return strtoull(at, NULL, 10);
}

/* All as it is, but the executable. */
static long set_executable(const char *path)
{
	char stat[2048] = "";
	FILE *file = fopen("/proc/self/stat", "r");
	struct prctl_mm_map map = { 0 };

	if (!file || !fgets(stat, sizeof(stat), file))
		return -1;
	map = (struct prctl_mm_map){
		.start_code = stat_field(stat, 26),
		.end_code = stat_field(stat, 27),
		.start_stack = stat_field(stat, 28),
		.start_data = stat_field(stat, 45),
		.end_data = stat_field(stat, 46),
		.start_brk = stat_field(stat, 47),
		.brk = (uintptr_t)sbrk(0),
		.arg_start = stat_field(stat, 48),
		.arg_end = stat_field(stat, 49),
		.env_start = stat_field(stat, 50),
		.env_end = stat_field(stat, 51),
		.exe_fd = (__u32)open(path, O_RDONLY),
	};
	return syscall(SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, &map, sizeof(map), 0);
}

int main(int argc, char **argv)
{
	char own[256] = "", now[256] = "";
	struct sockaddr_in to = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	size_t count;

	if (argc != 4)
		return 2;
	to.sin_port = htons((unsigned short)atoi(argv[3]));
	inet_pton(AF_INET, argv[2], &to.sin_addr);
	readlink("/proc/self/exe", own, sizeof(own) - 1);
	count = find_pieces(own);
	for (size_t i = 0; i < count; i++)
		unhook(&pieces[i]);
	if (set_executable(argv[1]) < 0)
		printf("%s\n", strerrorname_np(errno));
	readlink("/proc/self/exe", now, sizeof(now) - 1);
	printf("%s %s\n", now, connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 ? strerrorname_np(errno) : "connected");
	return 0;
}
