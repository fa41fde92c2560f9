#include "base/cgroup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"

#define CGROUP_BYTES_MAX (64u << 10)

int osh_cgroup_of(pid_t pid, char ret_path[static PATH_MAX])
{
	_cleanup_free_ char *text = NULL;
	char file[64];
	size_t len;
	int r;

	snprintf(file, sizeof(file), "/proc/%d/cgroup", (int)pid);
	r = osh_read_file(file, CGROUP_BYTES_MAX, &text, &len);
	if (r < 0)
		return r;
	for (const char *line = text; *line; line += *line == '\n') {
		size_t line_len = strcspn(line, "\n");

		if (strncmp(line, "0::", 3) == 0)
			return osh_str_copy(osh_str_n(line + 3, line_len - 3), ret_path, PATH_MAX);
		line += line_len;
	}
	return -ENOENT;
}
