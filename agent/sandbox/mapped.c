/* The files whose code a process of a sandbox has mapped. */
#include "sandbox/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"

/* proc(5). A process has some hundred mappings; with more than this it cannot be told. */
#define MAPPINGS_MAX 16384

struct mapping {
	unsigned long start, end, inode;
	char permissions[5];
	unsigned major, minor;
};

static bool parse_mapping(const char *line, struct mapping *mapping)
{
	return sscanf(line, "%lx-%lx %4s %*x %x:%x %lu", &mapping->start, &mapping->end,
		      mapping->permissions, &mapping->major, &mapping->minor, &mapping->inode) == 6;
}

static bool holds_code(const struct mapping *mapping)
{
	return mapping->permissions[2] == 'x' && mapping->inode != 0;
}

static bool is_same_file(const struct mapping *a, const struct mapping *b)
{
	return a->inode == b->inode && a->major == b->major && a->minor == b->minor;
}

/* By the mapping itself: its path may lead to another file by now. */
static int may_write_mapping(const struct osh_sandbox_instance *instance, pid_t pid, uid_t uid,
			     const struct mapping *mapping)
{
	char path[96];
	_cleanup_fd_ int fd = -1;

	snprintf(path, sizeof(path), "/proc/%d/map_files/%lx-%lx", (int)pid, mapping->start, mapping->end);
	fd = open(path, O_PATH | O_CLOEXEC);
	return fd < 0 ? -errno : sandbox_may_write_fd(instance, uid, fd);
}

/* All of a sandbox's are one. In an attached cgroup: the process's effective user, or root where it may not
 * be looked into (proc(5)), or has root's rights. */
static int find_user(const struct osh_sandbox_instance *instance, pid_t pid, FILE *maps, uid_t *ret)
{
	_cleanup_free_ char *status = NULL;
	struct stat st;
	int r;

	*ret = instance->record.uid;
	if (!sandbox_is_attached(instance))
		return 0;
	r = sandbox_read_proc(pid, "status", &status);
	if (r < 0)
		return r;
	if (fstat(fileno(maps), &st) < 0)
		return -errno;
	*ret = attached_may_be(pid, status, 0) ? 0 : st.st_uid;
	return 0;
}

static int walk(const struct osh_sandbox_instance *instance, pid_t pid, FILE *maps)
{
	_cleanup_free_ char *line = NULL;
	struct mapping mapping, last = { 0 };
	uid_t uid = 0;
	size_t room = 0;
	int count = 0, r = find_user(instance, pid, maps, &uid);

	while (r == 0 && getline(&line, &room, maps) > 0) {
		if (!parse_mapping(line, &mapping) || ++count > MAPPINGS_MAX)
			return -E2BIG;
		if (!holds_code(&mapping) || is_same_file(&mapping, &last))
			continue;
		r = may_write_mapping(instance, pid, uid, &mapping);
		last = mapping;
	}
	if (r == 0 && ferror(maps))
		return -EIO;
	return r == 0 && count == 0 ? -ESRCH : r; /* it has ended */
}

int osh_sandbox_maps_written_code(struct osh_sandbox_instance *instance, pid_t pid)
{
	char path[32];
	FILE *maps;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = fopen(path, "re");
	if (!maps)
		return -errno;
	r = walk(instance, pid, maps);
	fclose(maps);
	return r;
}
